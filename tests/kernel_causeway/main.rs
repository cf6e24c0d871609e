//! Two of our daemons with a tunnel between them, on each of the data planes and interfaces, inside the virtual machine.
//!
//! ```text
//!  near 192.168.2.250 ── here ──wan0 203.0.113.10 ═══ 198.51.100.1 wan0── there ── far 10.0.0.9
//! ```

mod lacking;
mod pair;
mod succession;

use std::net::Ipv4Addr;

use lab::{Ns, eventually_true, ping};

use crate::pair::{CAUSEWAY, HERE, Pair, SOON, Side, THERE};

/// Traffic both ways, full-sized packets too, and rekeys of both SAs from either side under it, with nothing lost.
#[track_caller]
fn they_serve_each_other(here: Side, there: Side) {
    let pair = Pair::up(here, there);
    let pinged = ping(&pair.ns[0], "10.0.0.9", 3, &["-s", "1300", "-M", "do"]);
    assert!(pinged.all(), "{}", pinged.text);
    let flows = pair.flows();
    for side in [&pair.here, &pair.there] {
        let before = Pair::spis(side);
        let asked = side.command(&["tunnel", "other", "rekey"]);
        assert!(asked.ok(), "{}", asked.stderr);
        eventually_true(SOON, "one child with other SPIs", || {
            let after = Pair::spis(side);
            after.len() == 2 && after.iter().all(|spi| !before.contains(spi))
        });
        for flow in &flows {
            flow.wait_for(100, SOON);
        }
    }
    for flow in flows {
        let report = flow.stop();
        assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    }
}

#[test]
fn kernel_to_kernel_with_xfrm_interfaces() {
    they_serve_each_other(
        HERE.on("data-plane = \"kernel\"\ninterface-kind = \"xfrm\""),
        THERE.on("data-plane = \"kernel\"\ninterface-kind = \"xfrm\""),
    );
}

#[test]
fn a_vti_to_an_xfrm_interface() {
    they_serve_each_other(
        HERE.on("data-plane = \"kernel\"\ninterface-kind = \"vti\""),
        THERE.on("data-plane = \"kernel\"\ninterface-kind = \"xfrm\""),
    );
}

#[test]
fn kernel_to_userspace() {
    they_serve_each_other(
        HERE.on("data-plane = \"kernel\""),
        THERE.on("data-plane = \"userspace\""),
    );
}

/// Path MTU discovery is no help where its messages are dropped, as in many clouds: connections have to agree on what fits.
#[test]
fn forwarded_connections_agree_on_segments_that_fit_the_tunnel() {
    // ESP with AES-GCM over IPv4 leaves 1446 octets of 1500; headers and timestamps of TCP take 52.
    const FITS: u32 = 1446 - 52;
    const KERNEL: &str = "data-plane = \"kernel\"";
    // Only one side clamps: each direction's announcement passes it.
    let mut pair = Pair::up(HERE.on(KERNEL), THERE.on(KERNEL).with("mss-clamp = false"));
    let [near, left, right, far] = &pair.ns;
    let has_rules = |ns: &Ns| ns.exec(&["nft", "list", "ruleset"]).contains("maxseg size");
    assert!(has_rules(left) && !has_rules(right));
    let agreed = lab::tcp_segments(near, far, Ipv4Addr::new(10, 0, 0, 9));
    assert_eq!(agreed, [FITS; 2]);
    let agreed = lab::tcp_segments(far, near, Ipv4Addr::new(192, 168, 2, 250));
    assert_eq!(agreed, [FITS; 2]);
    assert!(pair.here.stop().success(), "{}", pair.here.log());
    let left = &pair.ns[1];
    assert!(!has_rules(left));
    let file = pair.here.dir().join("site.toml").display().to_string();
    let plan = left.exec(&[CAUSEWAY, "plan", &file]);
    assert!(plan.contains("maxseg size set rt mtu"), "{plan}");
}
