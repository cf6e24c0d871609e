//! What BFD's word does, beside what the site file and the operator want.

use std::time::{Duration, Instant};

use ::bfd::{Diagnostic, DownReason, Event};
use bgpd::Action;
use config::{Source, Unseen};

use crate::control::TunnelCommand;
use crate::gateway::{Effect, Gateway, Inherited, Input};
use crate::plan::{Keys, Plan};

/// A gateway with a neighbor on the LAN, and these lines for it.
fn plan(lines: &str) -> Plan {
    let text = format!(
        r#"
[gateway]
address = "203.0.113.10"
networks = ["192.168.2.0/24"]

[tunnel.cloud]
remote = "198.51.100.1"
psk = {{ env = "UNUSED" }}
inside = "10.1.0.0/31"

[bgp]
asn = 65000

[bgp.neighbor.cloud]
tunnel = "cloud"
remote-asn = 65001
import = "none"
export = "none"
bfd = {{ strict = true }}

[bgp.neighbor.node]
address = "192.168.2.31"
remote-asn = 65002
source = "lan0"
import = "none"
export = "none"
{lines}
"#
    );
    let loaded = config::load(&Source::new("site.toml", &text), &Unseen);
    let site = loaded
        .site
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let key = crypto::Secret::from_slice(b"a shared secret of some length");
    let keys = Keys::from([("cloud".to_owned(), key.into())]);
    Plan::of(&site, &keys).expect("the plan is made")
}

struct Bed {
    now: Instant,
    gateway: Gateway,
    /// The node's dials that are out.
    dials: Vec<bgpd::ConnId>,
    /// What BFD was asked for, newest last.
    asked: Vec<Vec<String>>,
}

impl Bed {
    fn new(lines: &str) -> Self {
        let now = Instant::now();
        let gateway = Gateway::new(now, plan(lines), [1; 32], [2; 32], Inherited::default());
        let mut bed = Self {
            now,
            gateway: gateway.expect("the gateway starts"),
            dials: Vec::new(),
            asked: Vec::new(),
        };
        bed.gateway.handle(now, Input::Tick);
        bed.drain();
        bed
    }

    fn tell(&mut self, event: Event) {
        self.gateway.handle(self.now, Input::Bfd(event));
        self.drain();
    }

    fn reload(&mut self, lines: &str) -> Vec<String> {
        let touched = self.gateway.reload(self.now, plan(lines));
        self.drain();
        touched.expect("it is taken")
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.gateway.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.gateway.handle(self.now, Input::Tick);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(effect) = self.gateway.poll_effect() {
            match effect {
                Effect::Bgp(Action::Connect { peer, conn, .. }) if peer.as_str() == "node" => {
                    self.dials.push(conn);
                }
                Effect::Bgp(Action::Close { conn }) => self.dials.retain(|one| *one != conn),
                Effect::Bfd(wanted) => {
                    let names = wanted.keys().map(ToString::to_string);
                    self.asked.push(names.collect());
                }
                _ => {}
            }
        }
    }

    fn is_tried(&self) -> bool {
        !self.dials.is_empty()
    }
}

fn up() -> Event {
    Event::Up {
        session: "node".into(),
    }
}

fn down(reason: DownReason) -> Event {
    Event::Down {
        session: "node".into(),
        reason,
        after: Duration::from_secs(60),
        control_plane_independent: false,
    }
}

#[test]
fn without_strict_nothing_waits_for_bfd() {
    let bed = Bed::new("bfd = true");
    assert!(bed.is_tried());
    assert_eq!(bed.asked, [["cloud", "node"]]);
}

#[test]
fn with_strict_a_session_is_tried_only_while_bfd_is_up_or_switched_off() {
    let mut bed = Bed::new("bfd = { strict = true }");
    bed.pass(Duration::from_secs(30));
    assert!(!bed.is_tried());
    bed.tell(up());
    assert!(bed.is_tried());
    bed.tell(down(DownReason::NeighborSignaledDown(Diagnostic::NONE)));
    bed.pass(Duration::from_secs(30));
    assert!(!bed.is_tried());
    bed.tell(Event::SwitchedOff {
        session: "node".into(),
    });
    assert!(bed.is_tried());
    bed.tell(up());
    bed.tell(down(DownReason::NeighborAdminDown));
    assert!(bed.is_tried());
}

#[test]
fn a_neighbor_that_is_kept_down_is_not_watched_and_not_woken_by_bfd() {
    let mut bed = Bed::new("shutdown = true\nbfd = { strict = true }");
    assert_eq!(bed.asked, [["cloud"]]);
    bed.tell(up());
    bed.pass(Duration::from_secs(30));
    assert!(!bed.is_tried());
}

#[test]
fn bfd_does_not_wake_a_neighbor_whose_tunnel_is_held_down_by_hand() {
    let mut bed = Bed::new("");
    let said = bed.gateway.tunnel(bed.now, "cloud", TunnelCommand::Down);
    assert!(said.is_ok());
    bed.tell(Event::Up {
        session: "cloud".into(),
    });
    let summary = bed.gateway.bgp.summary(bed.now);
    let cloud = summary.peers.iter().find(|it| it.name.as_str() == "cloud");
    let problem = cloud.and_then(|it| it.problem.clone()).unwrap_or_default();
    assert!(problem.contains("the tunnel is taken down"), "{problem}");
}

#[test]
fn a_reload_says_what_it_does_to_bfd_and_asks_only_for_what_differs() {
    let mut bed = Bed::new("bfd = true");
    assert!(bed.reload("bfd = true").is_empty());
    assert_eq!(bed.asked.len(), 1);
    let table = [
        (
            "bfd = { min-tx = \"1s\" }",
            "node: BFD's timers change, its session stays",
            true,
        ),
        (
            "bfd = { min-tx = \"1s\", passive = true }",
            "node: BFD changes, its session stays",
            true,
        ),
        ("bfd = { multihop = true }", "node: BFD begins anew", true),
        (
            "bfd = { multihop = true, strict = true }",
            "node: BFD changes, its session stays",
            false,
        ),
        ("", "node: BFD ends", true),
        ("bfd = true", "node: BFD begins", true),
    ];
    for (lines, said, asks) in table {
        let before = bed.asked.len();
        assert_eq!(bed.reload(lines), [said], "{lines}");
        assert_eq!(bed.asked.len() > before, asks, "{lines}");
    }
}

#[test]
fn strict_that_is_taken_back_lets_the_neighbor_try() {
    let mut bed = Bed::new("bfd = { strict = true }");
    assert!(!bed.is_tried());
    bed.reload("bfd = true");
    assert!(bed.is_tried());
}

#[test]
fn what_is_heard_of_a_path_that_is_watched_no_more_means_nothing() {
    let mut bed = Bed::new("");
    bed.tell(down(DownReason::NeighborAdminDown));
    bed.tell(up());
    let status = bed.gateway.bgp_summary(bed.now).expect("a summary");
    assert!(status["neighbors"][1]["bfd"].is_null());
    assert!(bed.is_tried());
}
