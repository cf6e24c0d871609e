//! The two responders, on one network with the initiators, and what the kernel says of their processes.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use ike::Group;
use lab::{Connection, Daemon, Gateway, Launch, Net, Ns, OrFail as _, StrongSwan};

use crate::generator::Selectors;

/// The responder's outer address.
pub(crate) const RESPONDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// An inside address at strongSwan's side.
const THEIR_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);

pub(crate) const PSK: &str = "vc3Hk0lTn7xqZbRm2sWd9yJf4uGaQe8o";

/// Ticks of the processor's clock in a second, as `/proc/PID/stat` counts (USER_HZ).
const TICKS: f64 = 100.0;

/// The outer address of an initiator.
pub(crate) fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xC612_0001 + u32::try_from(index).unwrap_or(u32::MAX))
}

/// Its inside address, where it has one: the second of a /31.
pub(crate) fn inside(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0A40_0001 + 2 * u32::try_from(index).unwrap_or(u32::MAX))
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Causeway,
    StrongSwan,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Causeway => "causeway",
            Self::StrongSwan => "strongSwan",
        }
    }

    pub(crate) const fn selectors(self) -> Selectors {
        match self {
            Self::Causeway => Selectors::Any,
            Self::StrongSwan => Selectors::Inside(THEIR_INSIDE),
        }
    }
}

/// A responder that is ready, and the namespace of those who initiate.
pub(crate) struct Bed {
    pub(crate) initiators: Ns,
    program: Program,
    _net: Net,
}

enum Program {
    Causeway(Gateway),
    StrongSwan(StrongSwan),
}

impl Bed {
    /// Starts a responder for `count` initiators that use `groups`.
    pub(crate) fn start(kind: Kind, count: usize, groups: &[Group]) -> Self {
        let net = Net::new();
        let (responder, initiators) = (net.ns("responder"), net.ns("initiators"));
        net.veth(
            (&responder, "wire", &format!("{RESPONDER}/24")),
            (&initiators, "wire", "192.0.2.2/24"),
        );
        responder.route("198.18.0.0/15 via 192.0.2.2");
        let addresses = (0..count).fold(String::new(), |mut batch, index| {
            let _ = writeln!(batch, "addr add {}/32 dev lo", address(index));
            batch
        });
        initiators.ip(&addresses);
        let program = match kind {
            Kind::Causeway => Program::Causeway(causeway(&responder, count, groups)),
            Kind::StrongSwan => Program::StrongSwan(strongswan(&responder, groups)),
        };
        let bed = Self {
            initiators,
            program,
            _net: net,
        };
        bed.rest();
        bed
    }

    fn daemon(&self) -> &Daemon {
        match &self.program {
            Program::Causeway(gateway) => gateway.daemon(),
            Program::StrongSwan(swan) => swan.daemon(),
        }
    }

    fn pid(&self) -> u32 {
        self.daemon().pid().or_fail("the responder runs")
    }

    /// Seconds of the processor that the process has used, all its threads and the kernel's part.
    pub(crate) fn cpu(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.pid());
        let text = fs::read_to_string(&path).or_fail("read what the responder has used");
        // The name, in brackets, may have blanks.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|tick| tick.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS
    }

    /// The same of its first thread, which is the daemon's loop.
    pub(crate) fn cpu_of_loop(&self) -> f64 {
        let pid = self.pid();
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"));
        let text = text.or_fail("read what the responder's loop has used");
        let nanoseconds = text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<f64>().ok());
        nanoseconds.unwrap_or_default() / 1e9
    }

    /// Octets of memory that are its own.
    pub(crate) fn memory(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()));
        let text = text.or_fail("read the responder's memory");
        let line = text.lines().find(|line| line.starts_with("Private_Dirty:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.unwrap_or_default() * 1024.0
    }

    /// Waits until the process does nothing worth speaking of.
    pub(crate) fn rest(&self) {
        let mut before = self.cpu();
        loop {
            thread::sleep(Duration::from_millis(700));
            let now = self.cpu();
            if now - before < 0.03 {
                return;
            }
            before = now;
        }
    }

    /// How many tunnels the responder says are up.
    pub(crate) fn up(&self) -> usize {
        match &self.program {
            Program::Causeway(gateway) => {
                let status = gateway.status();
                let tunnels = status["tunnels"].as_array().map_or(&[][..], Vec::as_slice);
                tunnels.iter().filter(|one| one["state"] == "up").count()
            }
            Program::StrongSwan(swan) => swan.installed().len(),
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        match &self.program {
            Program::Causeway(gateway) => gateway.log(),
            Program::StrongSwan(swan) => swan.log(),
        }
    }
}

fn causeway(ns: &Ns, count: usize, groups: &[Group]) -> Gateway {
    let mut site = format!(
        "[gateway]\naddress = \"{RESPONDER}\"\n\n[daemon]\ndata-plane = \"userspace\"\nlog = \"warn\"\n\n\
         [firewall]\nenabled = false\n"
    );
    let [ike, esp] = ["aes256-sha256", "aes256gcm16"].map(|suite| {
        let of = |group: &Group| format!("\"{suite}-{group}\"");
        groups.iter().map(of).collect::<Vec<_>>().join(", ")
    });
    for index in 0..count {
        let ours = Ipv4Addr::from(u32::from(inside(index)) - 1);
        let _ = write!(
            site,
            "\n[tunnel.t{index}]\nremote = \"{}\"\npsk = {{ file = \"{{dir}}/t{index}.psk\" }}\ninside = \"{ours}/31\"\n\
             ike = [{ike}]\nesp = [{esp}]\ninitiate = false\nmtu = 1400\nliveness = \"1h\"\nliveness-timeout = \"1h\"\n",
            address(index)
        );
    }
    let built = env!("CARGO_BIN_EXE_causeway").to_owned();
    let binary = std::env::var("CAUSEWAY").unwrap_or(built);
    let launch = (0..count).fold(Launch::new(&binary, &site), |launch, index| {
        launch.secret(&format!("t{index}.psk"), PSK)
    });
    Gateway::start(ns, &launch)
}

/// One connection for all initiators: the responder narrows its selectors to those of each.
fn strongswan(ns: &Ns, groups: &[Group]) -> StrongSwan {
    let mut connection = Connection::new("t", &RESPONDER.to_string(), "%any", PSK);
    let words = |group: &Group| match group {
        Group::Curve25519 => "x25519".to_owned(),
        other => other.to_string(),
    };
    let all = |suite: &str| {
        let of = |group: &Group| format!("{suite}-{}", words(group));
        groups.iter().map(of).collect::<Vec<_>>().join(",")
    };
    connection.ike = all("aes256-sha256");
    connection.esp = format!("{},aes256gcm16", all("aes256gcm16"));
    connection.local_ts = format!("{THEIR_INSIDE}/32");
    connection.remote_ts = "10.64.0.0/10".to_owned();
    let inside = format!("{THEIR_INSIDE}/32");
    StrongSwan::start_quietly(ns, &[&inside], vec![connection])
}
