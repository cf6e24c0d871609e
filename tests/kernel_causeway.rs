//! Two of our daemons with a tunnel between them, on each of the data planes and interfaces, inside the virtual machine.
//!
//! ```text
//!  near 192.168.2.250 ── here ──wan0 203.0.113.10 ═══ 198.51.100.1 wan0── there ── far 10.0.0.9
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::{Gateway, Launch, Net, Ns, UdpFlow, eventually_true, kernel_route, ping};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const SOON: Duration = Duration::from_secs(15);

/// Packets a second of each flow.
const RATE: u32 = 100;

/// A site with one tunnel. `plane` is a line or more of `[daemon]`.
struct Side {
    name: &'static str,
    address: &'static str,
    remote: &'static str,
    inside: &'static str,
    network: &'static str,
    asn: u32,
    remote_asn: u32,
    initiate: bool,
    plane: &'static str,
    /// More lines of the tunnel's.
    tunnel: &'static str,
}

const HERE: Side = Side {
    name: "here",
    address: "203.0.113.10",
    remote: "198.51.100.1",
    inside: "10.1.0.0/31",
    network: "192.168.2.0/24",
    asn: 65000,
    remote_asn: 65010,
    initiate: true,
    plane: "",
    tunnel: "",
};

const THERE: Side = Side {
    name: "there",
    address: "198.51.100.1",
    remote: "203.0.113.10",
    inside: "10.1.0.1/31",
    network: "10.0.0.0/24",
    asn: 65010,
    remote_asn: 65000,
    initiate: false,
    plane: "",
    tunnel: "",
};

impl Side {
    fn on(self, plane: &'static str) -> Self {
        Self { plane, ..self }
    }

    fn with(self, tunnel: &'static str) -> Self {
        Self { tunnel, ..self }
    }

    fn launch(&self) -> Launch {
        let Self {
            name,
            address,
            remote,
            inside,
            network,
            asn,
            remote_asn,
            initiate,
            plane,
            tunnel,
        } = self;
        let site = format!(
            r#"
[gateway]
name = "{name}"
wan = "wan0"
address = "{address}"
networks = ["{network}"]

[tunnel.other]
remote = "{remote}"
psk = {{ file = "{{dir}}/other.psk" }}
inside = "{inside}"
initiate = {initiate}
ike = ["aes256-sha256-ecp256"]
esp = ["aes256gcm16-ecp256"]
{tunnel}

[bgp]
asn = {asn}
redistribute = ["connected"]

[bgp.neighbor.other]
tunnel = "other"
remote-asn = {remote_asn}
hold-time = "30s"
keepalive = "10s"
restart-time = "120s"
import = "all"
export = "ours"

[prefix-list]
ours = [{{ permit = "{network}" }}]

[daemon]
{plane}
socket = "{{dir}}/control.sock"
"#
        );
        Launch::new(CAUSEWAY, &site).secret("other.psk", "Asecretbetweenthetwo0123456789")
    }
}

struct Pair {
    here: Gateway,
    there: Gateway,
    ns: [Ns; 4],
    _net: Net,
}

impl Pair {
    /// Both daemons, each with a machine behind it, when traffic can pass.
    #[track_caller]
    fn up(here: Side, there: Side) -> Self {
        lab::require_kernel_esp();
        let net = Net::new();
        let ns = ["near", "here", "there", "far"].map(|name| net.ns(name));
        let [near, left, right, far] = &ns;
        net.veth(
            (near, "eth0", "192.168.2.250/24"),
            (left, "lan0", "192.168.2.1/24"),
        );
        net.veth((far, "eth0", "10.0.0.9/24"), (right, "lan0", "10.0.0.1/24"));
        near.route("default via 192.168.2.1");
        far.route("default via 10.0.0.1");
        net.veth((left, "wan0", ""), (right, "wan0", ""));
        for (ns, side) in [(left, &here), (right, &there)] {
            let (address, peer) = (format!("{}/32", side.address), side.remote);
            ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
        }
        let pair = Self {
            there: Gateway::start(right, &there.launch()),
            here: Gateway::start(left, &here.launch()),
            ns,
            _net: net,
        };
        pair.wait_until_up();
        pair
    }

    #[track_caller]
    fn wait_until_up(&self) {
        for side in [&self.here, &self.there] {
            side.wait_for_tunnels(&["other"], SOON);
        }
        let [_, left, right, _] = &self.ns;
        eventually_true(SOON, "both have each other's network", || {
            kernel_route(left, THERE.network).is_some()
                && kernel_route(right, HERE.network).is_some()
        });
    }

    #[track_caller]
    fn flows(&self) -> [UdpFlow; 2] {
        let [near, _, _, far] = &self.ns;
        let flows = [
            UdpFlow::start(near, far, Ipv4Addr::new(10, 0, 0, 9), RATE, 400),
            UdpFlow::start(far, near, Ipv4Addr::new(192, 168, 2, 250), RATE, 400),
        ];
        for flow in &flows {
            flow.wait_for(50, SOON);
        }
        flows
    }

    /// The outbound and inbound SPIs of one side.
    fn spis(side: &Gateway) -> Vec<String> {
        let tunnel = side.tunnel("other");
        let children = tunnel["children"].as_array().cloned().unwrap_or_default();
        children
            .iter()
            .flat_map(|child| ["spi_in", "spi_out"].map(|key| child[key].to_string()))
            .collect()
    }
}

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
    assert!(!has_rules(&pair.ns[1]));
}

/// What the kernel has of the tunnel's: the interface's number, and the SPIs of its SAs.
fn in_the_kernel(ns: &Ns) -> (String, Vec<String>) {
    let link = ns.exec(&["ip", "-o", "link", "show", "cw-other"]);
    let number = link.split(':').next().unwrap_or_default().to_owned();
    let states = ns.exec(&["ip", "xfrm", "state"]);
    let spis = states
        .lines()
        .filter_map(|line| line.trim().strip_prefix("proto esp spi "))
        .filter_map(|rest| rest.split_whitespace().next().map(str::to_owned))
        .collect();
    (number, spis)
}

/// The daemon of one side ends as `end` has it and another one takes over, under flow: nothing is lost and nothing is left.
#[track_caller]
fn another_one_takes_over(end: impl FnOnce(&mut Pair, &[UdpFlow; 2])) {
    const KERNEL: &str = "data-plane = \"kernel\"";
    let mut pair = Pair::up(HERE.on(KERNEL), THERE.on(KERNEL));
    let flows = pair.flows();
    let (interface, before) = in_the_kernel(&pair.ns[1]);
    assert_eq!(before.len(), 2, "{before:?}");

    end(&mut pair, &flows);
    assert_eq!(
        in_the_kernel(&pair.ns[1]),
        (interface.clone(), before.clone())
    );
    pair.here.restart();
    pair.wait_until_up();
    for flow in &flows {
        flow.wait_for(u64::from(RATE) * 2, SOON);
    }
    eventually_true(
        Duration::from_secs(40),
        "the kernel has the SAs of the new child and no others",
        || {
            let (number, after) = in_the_kernel(&pair.ns[1]);
            assert_eq!(number, interface, "the interface never vanished");
            after.len() == 2 && after.iter().all(|spi| !before.contains(spi))
        },
    );
    for report in flows.map(UdpFlow::stop) {
        println!("{report:?}");
        assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    }
    let policies = pair.ns[1].exec(&["ip", "xfrm", "policy"]);
    assert_eq!(policies.matches("dir out").count(), 1, "{policies}");

    assert!(pair.here.stop().success(), "{}", pair.here.log());
    for what in ["state", "policy"] {
        assert_eq!(pair.ns[1].exec(&["ip", "xfrm", what]), "", "left {what}");
    }
}

#[test]
fn traffic_goes_on_while_the_daemon_is_dead_and_the_next_one_takes_it_over() {
    another_one_takes_over(|pair, flows| {
        pair.here.kill9();
        for flow in flows {
            flow.wait_for(u64::from(RATE) * 5, SOON);
        }
    });
}

#[test]
fn a_restart_loses_no_packet() {
    another_one_takes_over(|pair, _| {
        // What the unit has systemd send for a restart.
        let status = pair.here.hand_over();
        assert!(status.success(), "{}", pair.here.log());
    });
}

/// Seconds after which the kernel ends an SA, of each that it has: what `ip` says of "expire add".
fn hard_limits(ns: &Ns) -> Vec<String> {
    let states = ns.exec(&["ip", "-s", "xfrm", "state"]);
    let lines = states.lines().map(str::trim);
    let limits = lines.filter_map(|line| line.strip_prefix("expire add: "));
    limits.map(str::to_owned).collect()
}

#[test]
fn the_sas_of_a_daemon_that_never_comes_back_end_in_the_kernel() {
    const KERNEL: &str = "data-plane = \"kernel\"";
    let mut pair = Pair::up(
        HERE.on(KERNEL),
        THERE.on(KERNEL).with("child-lifetime = \"20m\""),
    );
    pair.here.kill9();
    pair.there.kill9();
    let limit = |seconds: u32| format!("soft 0(sec), hard {seconds}(sec)");
    // A minute more than IKE would have kept them.
    let [_, left, right, _] = &pair.ns;
    assert_eq!(hard_limits(left), [limit(3660), limit(3660)]);
    assert_eq!(hard_limits(right), [limit(1260), limit(1260)]);
}
