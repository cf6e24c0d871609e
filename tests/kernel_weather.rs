//! Rekeys on a path that loses and delays packets, with peers that use the kernel's ESP, inside the virtual machine.
//!
//! ```text
//!  home 203.0.113.10 wan0 ═══ 50 ms and 5 % loss each way ═══ wan0 198.51.100.1 cloud
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{
    Cloud, DataPlane, Gateway, HeadEnd, Launch, Net, Netem, Ns, OrFail as _, Peers,
    addresses as at, eventually_true, tcp_transfer,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Each loss of an IKE message costs a retransmission, the first of which the peers send after seconds.
const SOON: Duration = Duration::from_secs(20);

const WEATHER: &str = "delay 50ms loss 5%";

/// Libreswan answers a rekey whose KE payload is not of the IKE_SA's group with INVALID_SYNTAX.
const ESP: &str = "aes256gcm16-modp2048";

/// What a kernel counts when it could not make sense of an ESP packet that it has an SA for (`/proc/net/xfrm_stat`).
const NOT_UNDERSTOOD: [&str; 6] = [
    "XfrmInError",
    "XfrmInStateProtoError",
    "XfrmInStateModeError",
    "XfrmInStateSeqError",
    "XfrmInStateMismatch",
    "XfrmInTmplMismatch",
];

/// Our daemon on the kernel's plane and one head-end.
struct Path {
    gateway: Gateway,
    end: HeadEnd,
    home: Ns,
    cloud: Ns,
    _net: Net,
}

impl Path {
    #[track_caller]
    fn up(kind: &str, peers: Peers) -> Self {
        lab::require_kernel_esp();
        let net = Net::new();
        let (home, cloud) = (net.ns("home"), net.ns("cloud"));
        net.veth((&home, "wan0", ""), (&cloud, "wan0", ""));
        for (ns, address, peer) in [
            (&home, at::GATEWAY, at::HEAD_ENDS[0]),
            (&cloud, at::HEAD_ENDS[0], at::GATEWAY),
        ] {
            let address = format!("{address}/32");
            ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
        }
        let end = HeadEnd::start(peers, &cloud, "10.1.0.1/31", Cloud::connection(0));
        let site = format!(
            r#"
[gateway]
name = "home"
wan = "wan0"
address = "{}"
networks = ["192.168.2.0/24"]

[tunnel.oci-1]
profile = "oci"
remote = "{}"
psk = {{ file = "{{dir}}/oci-1.psk" }}
inside = "10.1.0.0/31"
ike = ["aes256-sha1-modp2048"]
esp = ["{ESP}"]

[daemon]
data-plane = "kernel"
interface-kind = "{kind}"
socket = "{{dir}}/control.sock"
"#,
            at::GATEWAY,
            at::HEAD_ENDS[0]
        );
        let launch = Launch::new(CAUSEWAY, &site).secret("oci-1.psk", at::PSKS[0]);
        let gateway = Gateway::start(&home, &launch);
        gateway.wait_for_tunnels(&["oci-1"], SOON);
        Self {
            gateway,
            end,
            home,
            cloud,
            _net: net,
        }
    }

    /// The SPIs of our children: inbound, outbound.
    fn ours(&self) -> Vec<[String; 2]> {
        let tunnel = self.gateway.tunnel("oci-1");
        let children = tunnel["children"].as_array().cloned().unwrap_or_default();
        let spi = |child: &serde_json::Value, key: &str| {
            let text = child[key].as_str().unwrap_or_default();
            text.trim_start_matches('0').to_owned()
        };
        children
            .iter()
            .map(|child| [spi(child, "spi_in"), spi(child, "spi_out")])
            .collect()
    }

    /// The same of the peer's, as we would call them.
    fn theirs(&self) -> Vec<[String; 2]> {
        let spi = |text: &str| text.trim_start_matches('0').to_owned();
        let children = self.end.installed();
        children
            .iter()
            .map(|child| [spi(&child.spi_out), spi(&child.spi_in)])
            .collect()
    }

    /// Waits until both sides have one child, the same, and another one than before. Gives its SPIs.
    #[track_caller]
    fn wait_for_successor(&self, before: &[String; 2]) -> [String; 2] {
        let mut found = None;
        eventually_true(SOON, "both sides have one other child, the same", || {
            let (ours, theirs) = (self.ours(), self.theirs());
            found = match (ours.as_slice(), theirs.as_slice()) {
                ([one], [other]) if one == other && one != before => Some(one.clone()),
                _ => None,
            };
            found.is_some()
        });
        found.or_fail("a child")
    }
}

/// What the kernel has counted of a namespace, by name.
fn counted(ns: &Ns, name: &str) -> u64 {
    let text = ns.exec(&["cat", "/proc/net/xfrm_stat"]);
    let mut lines = text.lines().map(str::split_whitespace);
    let count = lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next())?);
    count
        .and_then(|count| count.parse().ok())
        .or_fail(format_args!("{name} is not in {text}"))
}

#[track_caller]
fn rekeys_in_bad_weather(kind: &str, peers: Peers) {
    let path = Path::up(kind, peers);
    let [child] = &path.ours()[..] else {
        panic!("{:?}", path.ours());
    };
    let weather = [&path.home, &path.cloud].map(|ns| Netem::on(ns, "wan0", WEATHER));
    let over = Arc::new(AtomicBool::new(false));
    // One transfer after the other, each compared byte by byte, for as long as the rekeys take.
    let transfers = {
        let (over, from, to) = (Arc::clone(&over), path.home.clone(), path.cloud.clone());
        let address = at::INSIDE_THEIRS[0].parse().or_fail("an address");
        thread::spawn(move || -> Result<u64, String> {
            let mut bytes = 0;
            while !over.load(Ordering::Relaxed) {
                bytes += tcp_transfer(&from, &to, address, 100_000)?.bytes;
            }
            Ok(bytes)
        })
    };

    let asked = path.gateway.command(&["tunnel", "oci-1", "rekey"]);
    assert!(asked.ok(), "{}", asked.stderr);
    let child = path.wait_for_successor(child);
    let ike = path.end.list_sas()[0].unique_id;
    let rekeyed = path.end.rekey_child("cpe");
    assert!(rekeyed.ok(), "{}{}", rekeyed.stdout, rekeyed.stderr);
    let child = path.wait_for_successor(&child);
    let rekeyed = path.end.rekey_ike("cpe");
    assert!(rekeyed.ok(), "{}{}", rekeyed.stdout, rekeyed.stderr);
    eventually_true(
        SOON,
        "the IKE_SA has another number",
        || matches!(path.end.list_sas().as_slice(), [sa] if sa.unique_id != ike),
    );
    over.store(true, Ordering::Relaxed);
    let bytes = transfers.join().or_fail("the thread of the transfers");
    let bytes = bytes.unwrap_or_else(|error| panic!("{error}\n{}", path.end.log()));

    assert_eq!(
        (path.ours(), path.theirs()),
        (vec![child.clone()], vec![child])
    );
    assert_eq!(path.gateway.tunnel("oci-1")["times_down"], 0);
    for (ns, weather) in [&path.home, &path.cloud].into_iter().zip(&weather) {
        let (lost, no_state) = (weather.dropped(), counted(ns, "XfrmInNoStates"));
        println!(
            "{}: {lost} lost, {no_state} without an SA; {bytes} bytes went over",
            ns.name()
        );
        assert!(lost > 0, "nothing was lost on the way");
        for name in NOT_UNDERSTOOD {
            assert_eq!(counted(ns, name), 0, "{name} of {}", ns.name());
        }
    }
}

#[test]
fn strongswan_with_a_vti_through_loss_and_delay() {
    rekeys_in_bad_weather("xfrm", Peers::StrongSwan(DataPlane::Vti));
}

#[test]
fn libreswan_through_loss_and_delay() {
    rekeys_in_bad_weather("vti", Peers::Libreswan);
}
