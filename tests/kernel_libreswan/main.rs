//! The habits of Libreswan, which Oracle's head-ends are, each shown by a real one before our daemon on the kernel's plane,
//! inside the virtual machine.
//!
//! ```text
//!  here (Causeway) 10.1.0.0 ──wan0 203.0.113.10 ═══ 198.51.100.1 wan0── there (Libreswan) 10.1.0.1
//! ```
//!
//! What both ends have at last is read from their kernels, and from nobody who might be wrong about himself.

mod crossing;
mod defaults;
mod large;
mod pfs;
mod restart;
mod retransmit;
mod timing;

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::{
    Connection, FlowReport, Gateway, Launch, Libreswan, Net, Ns, UdpFlow, addresses as at,
    esp_spis, eventually, eventually_true, ping,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const SOON: Duration = Duration::from_secs(10);

/// Packets a second of each flow.
const RATE: u32 = 50;

/// IKE between the two: no NAT is on the way.
const IKE: &str = "udp sport 500";

/// Of those the requests that make or replace SAs (CREATE_CHILD_SA is 36; the R flag is 0x20: RFC 7296 section 3.1).
const REQUEST: &str = "udp sport 500 @th,208,8 36 @th,216,8 & 0x20 == 0";

/// Both ends as a test wants them.
struct Ends {
    /// Our tunnel's `ike`, `esp`, each left to the profile where empty, and more lines.
    ike: String,
    esp: String,
    ours: String,
    initiate: bool,
    theirs: Connection,
}

impl Ends {
    /// aes256-sha1-modp2048 and aes256gcm16, as at the reference site. We initiate, and nothing is rekeyed by itself.
    fn new() -> Self {
        let mut theirs = Connection::new("cpe", at::HEAD_ENDS[0], at::GATEWAY, at::PSKS[0]);
        theirs.extra.push("retransmit-interval=500ms".to_owned());
        Self {
            ike: "\"aes256-sha1-modp2048\"".to_owned(),
            esp: "\"aes256gcm16-modp2048\"".to_owned(),
            ours: String::new(),
            initiate: true,
            theirs,
        }
    }

    /// With more lines of Libreswan's own for its connection.
    fn theirs(mut self, lines: &[&str]) -> Self {
        self.theirs
            .extra
            .extend(lines.iter().map(ToString::to_string));
        self
    }

    fn launch(&self) -> Launch {
        let Self { ours, initiate, .. } = self;
        let line = |key: &str, proposals: &str| match proposals {
            "" => String::new(),
            some => format!("{key} = [{some}]\n"),
        };
        let (ike, esp) = (line("ike", &self.ike), line("esp", &self.esp));
        let (address, remote) = (at::GATEWAY, at::HEAD_ENDS[0]);
        let site = format!(
            "[gateway]\nname = \"here\"\nwan = \"wan0\"\naddress = \"{address}\"\nnetworks = [\"192.168.2.0/24\"]\n\n\
             [tunnel.drg]\nremote = \"{remote}\"\npsk = {{ file = \"{{dir}}/drg.psk\" }}\ninside = \"10.1.0.0/31\"\n\
             initiate = {initiate}\n{ike}{esp}{ours}\n\
             [daemon]\ndata-plane = \"kernel\"\nsocket = \"{{dir}}/control.sock\"\n"
        );
        Launch::new(CAUSEWAY, &site).secret("drg.psk", at::PSKS[0])
    }

    /// Starts both, Libreswan first, and does not wait for the tunnel.
    #[track_caller]
    fn start(self) -> Tunnel {
        lab::require_kernel_esp();
        let net = Net::new();
        let ns = ["here", "there"].map(|name| net.ns(name));
        let [left, right] = &ns;
        net.veth((left, "wan0", ""), (right, "wan0", ""));
        for (ns, address, peer) in [
            (left, at::GATEWAY, at::HEAD_ENDS[0]),
            (right, at::HEAD_ENDS[0], at::GATEWAY),
        ] {
            let address = format!("{address}/32");
            ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
        }
        let launch = self.launch();
        Tunnel {
            swan: Libreswan::start(right, "10.1.0.1/31", self.theirs),
            here: Gateway::start(left, &launch),
            ns,
            _net: net,
        }
    }

    /// The same, up.
    #[track_caller]
    fn up(self) -> Tunnel {
        let tunnel = self.start();
        tunnel.is_up();
        tunnel
    }
}

/// Our daemon, Libreswan, and the cable between them.
struct Tunnel {
    here: Gateway,
    swan: Libreswan,
    ns: [Ns; 2],
    _net: Net,
}

impl Tunnel {
    fn left(&self) -> &Ns {
        &self.ns[0]
    }

    fn right(&self) -> &Ns {
        &self.ns[1]
    }

    /// Waits until the tunnel carries packets.
    #[track_caller]
    fn is_up(&self) {
        self.here.wait_for_tunnels(&["drg"], SOON);
        eventually_true(SOON, "packets pass", || {
            ping(self.left(), at::INSIDE_THEIRS[0], 1, &[]).all()
        });
    }

    /// Numbered packets through the tunnel in both directions, once some have passed.
    #[track_caller]
    fn flows(&self) -> [UdpFlow; 2] {
        let [left, right] = &self.ns;
        let flows = [
            UdpFlow::start(left, right, Ipv4Addr::new(10, 1, 0, 1), RATE, 64),
            UdpFlow::start(right, left, Ipv4Addr::new(10, 1, 0, 0), RATE, 64),
        ];
        for flow in &flows {
            flow.wait_for(10, SOON);
        }
        flows
    }

    /// Asks our side to replace the CHILD_SA and then the IKE_SA.
    #[track_caller]
    fn rekey(&self) {
        self.act("rekey");
    }

    /// Has our side do something with its tunnel.
    #[track_caller]
    fn act(&self, action: &str) {
        let asked = self.here.command(&["tunnel", "drg", action]);
        assert!(asked.ok(), "{}", asked.stderr);
    }

    /// Our inbound SPIs, of all children.
    #[track_caller]
    fn spis(&self) -> Vec<String> {
        let children = self.here.tunnel("drg")["children"].clone();
        let children = children.as_array().cloned().unwrap_or_default();
        children
            .iter()
            .filter_map(|child| child["spi_in"].as_str().map(ToOwned::to_owned))
            .collect()
    }

    /// Waits until our side has one child, with another SPI than one of `before`.
    #[track_caller]
    fn wait_for_another_child(&self, before: &[String]) {
        eventually_true(
            SOON,
            "our side has another child",
            || matches!(self.spis().as_slice(), [spi] if !before.contains(spi)),
        );
    }

    /// Waits until both kernels have the SAs of one child and no others, and Libreswan one IKE_SA with one child; then
    /// the tunnel works.
    #[track_caller]
    fn settles_on_one_child(&self, limit: Duration) {
        let took = eventually_true(limit, "both have the same one child", || {
            let [ours, theirs] = [self.left(), self.right()].map(esp_spis);
            ours.len() == 2 && ours == theirs
        });
        println!("one child after {took:?}");
        let sas = eventually(limit, "Libreswan has one IKE_SA with its child", || {
            let sas = self.swan.list_sas();
            (sas.len() == 1 && sas[0].children.len() == 1).then_some(sas)
        });
        eventually_true(limit, "we have one child", || self.spis().len() == 1);
        let tunnel = self.here.tunnel("drg");
        assert_eq!(tunnel["state"], "up", "{tunnel}");
        let kernel = esp_spis(self.left());
        assert!(
            kernel
                .iter()
                .any(|spi| spi.ends_with(&sas[0].children[0].spi_in)),
            "{sas:?} against {kernel:?}"
        );
        let pinged = ping(self.left(), at::INSIDE_THEIRS[0], 3, &[]);
        assert!(pinged.all(), "{}", pinged.text);
    }
}

/// Ends the flows; nothing of them was lost.
#[track_caller]
fn nothing_was_lost(flows: [UdpFlow; 2]) {
    for (way, report) in ["there", "back"].iter().zip(ended(flows)) {
        assert_eq!(
            (report.lost, report.duplicated),
            (0, 0),
            "{way}: {report:?}"
        );
    }
}

/// The same where we have asked for a child, and Libreswan has answered. It sends on the new SA before its answer has left,
/// and nobody can have the keys before that: what is on the way until we have made the SA is lost, once. All else is not.
#[track_caller]
fn nothing_was_lost_but_at_our_rekey(flows: [UdpFlow; 2]) {
    let [there, back] = ended(flows);
    println!("there: {there:?}\nback: {back:?}");
    assert_eq!((there.lost, there.duplicated), (0, 0), "there: {there:?}");
    let at_once = u64::from(RATE) * 2;
    assert!(
        back.lost <= at_once && back.duplicated == 0,
        "back: {back:?}"
    );
}

#[track_caller]
fn ended(flows: [UdpFlow; 2]) -> [FlowReport; 2] {
    for flow in &flows {
        flow.wait_for(20, SOON);
    }
    flows.map(UdpFlow::stop)
}
