//! Two sites with a tunnel between them.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::{Gateway, Launch, Net, Ns, UdpFlow, eventually_true, kernel_route};

pub(crate) const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Packets a second of each flow.
pub(crate) const RATE: u32 = 100;

/// A site with one tunnel. `plane` is a line or more of `[daemon]`.
pub(crate) struct Side {
    name: &'static str,
    address: &'static str,
    remote: &'static str,
    inside: &'static str,
    pub(crate) network: &'static str,
    asn: u32,
    remote_asn: u32,
    initiate: bool,
    plane: &'static str,
    esp: &'static str,
    /// More lines of the tunnel's.
    tunnel: &'static str,
}

pub(crate) const HERE: Side = Side {
    name: "here",
    address: "203.0.113.10",
    remote: "198.51.100.1",
    inside: "10.1.0.0/31",
    network: "192.168.2.0/24",
    asn: 65000,
    remote_asn: 65010,
    initiate: true,
    plane: "",
    esp: "aes256gcm16-ecp256",
    tunnel: "",
};

pub(crate) const THERE: Side = Side {
    name: "there",
    address: "198.51.100.1",
    remote: "203.0.113.10",
    inside: "10.1.0.1/31",
    network: "10.0.0.0/24",
    asn: 65010,
    remote_asn: 65000,
    initiate: false,
    plane: "",
    esp: "aes256gcm16-ecp256",
    tunnel: "",
};

impl Side {
    pub(crate) fn on(self, plane: &'static str) -> Self {
        Self { plane, ..self }
    }

    pub(crate) fn with(self, tunnel: &'static str) -> Self {
        Self { tunnel, ..self }
    }

    pub(crate) fn offering(self, esp: &'static str) -> Self {
        Self { esp, ..self }
    }

    pub(crate) fn launch(&self) -> Launch {
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
            esp,
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
esp = ["{esp}"]
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

pub(crate) struct Pair {
    pub(crate) here: Gateway,
    pub(crate) there: Gateway,
    pub(crate) ns: [Ns; 4],
    _net: Net,
}

impl Pair {
    /// Both daemons, each with a machine behind it, when traffic can pass.
    #[track_caller]
    pub(crate) fn up(here: Side, there: Side) -> Self {
        let (net, ns) = network([&here, &there]);
        let [_, left, right, _] = &ns;
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
    pub(crate) fn wait_until_up(&self) {
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
    pub(crate) fn flows(&self) -> [UdpFlow; 2] {
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
    pub(crate) fn spis(side: &Gateway) -> Vec<String> {
        let tunnel = side.tunnel("other");
        let children = tunnel["children"].as_array().cloned().unwrap_or_default();
        children
            .iter()
            .flat_map(|child| ["spi_in", "spi_out"].map(|key| child[key].to_string()))
            .collect()
    }
}

/// The machine near, the gateways here and there, and the machine far, joined.
#[track_caller]
pub(crate) fn network([here, there]: [&Side; 2]) -> (Net, [Ns; 4]) {
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
    for (ns, side) in [(left, here), (right, there)] {
        let (address, peer) = (format!("{}/32", side.address), side.remote);
        ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
    }
    (net, ns)
}
