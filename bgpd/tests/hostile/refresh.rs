//! Enhanced route refresh (RFC 7313), between one speaker and a peer that says what the test wants.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgpd::wire::{
    Capability, Family, Framer, MessageKind, Open, RefreshKind, RouteRefresh, UpdateFrame,
    end_of_rib, keepalive,
};
use bgpd::{ConnId, Event};

use super::{Victim, announce};

const SECOND: Duration = Duration::from_secs(1);

/// What the peer can do.
#[derive(Clone, Copy)]
struct Peer {
    enhanced: bool,
    restarts: bool,
}

const PLAIN: Peer = Peer {
    enhanced: false,
    restarts: false,
};
const ENHANCED: Peer = Peer {
    enhanced: true,
    restarts: false,
};
const RESTARTING: Peer = Peer {
    enhanced: true,
    restarts: true,
};

/// A speaker with an established session.
struct Bench {
    victim: Victim,
    conn: ConnId,
}

impl Bench {
    fn new(peer: Peer) -> Self {
        let mut victim = if peer.restarts {
            Victim::helping()
        } else {
            Victim::new()
        };
        let conn = victim.accept();
        let mut bench = Self { victim, conn };
        bench.hear(&open(peer).emit());
        bench.hear(&keepalive());
        bench.victim.said.clear();
        bench
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.victim.hear(self.conn, bytes);
    }

    fn mark(&mut self, kind: RefreshKind) {
        let family = Family::IPV4_UNICAST;
        self.hear(&RouteRefresh { family, kind }.message());
    }

    fn pass(&mut self, time: Duration) {
        self.victim.now += time;
        self.hear(&keepalive());
        self.victim.speaker.handle_timeout(self.victim.now);
        self.victim.drain();
    }

    /// Our own prefixes.
    fn originate(&mut self, count: u32) {
        self.victim.originate(Ipv4Addr::new(11, 0, 0, 0), count);
        self.victim.drain();
    }

    /// What was said since the last call, KEEPALIVEs left out: a word for a mark, a number for the prefixes between them.
    fn told(&mut self) -> Vec<String> {
        let mut framer = Framer::default();
        framer.push(&std::mem::take(&mut self.victim.said));
        let mut told = Vec::new();
        let mut prefixes = 0;
        while let Some(message) = framer.message().unwrap() {
            let word = match message.kind {
                MessageKind::Update => {
                    let update = UpdateFrame::parse(&message.body).unwrap();
                    prefixes += update.announced.len();
                    update.is_end_of_rib().then(|| "End-of-RIB".to_owned())
                }
                MessageKind::RouteRefresh => Some(format!(
                    "{:?}",
                    RouteRefresh::parse(&message.body).unwrap().kind
                )),
                MessageKind::Keepalive => None,
                other => Some(format!("{other:?}")),
            };
            if let Some(word) = word {
                if prefixes > 0 {
                    told.push(std::mem::take(&mut prefixes).to_string());
                }
                told.push(word);
            }
        }
        if prefixes > 0 {
            told.push(prefixes.to_string());
        }
        told
    }

    /// The peer's prefixes that we have.
    fn received(&self) -> Vec<String> {
        let routes = self.victim.speaker.received("peer").unwrap();
        let mut prefixes: Vec<_> = routes.iter().map(|it| it.prefix.to_string()).collect();
        prefixes.sort();
        prefixes
    }

    /// What the journal says was lost without a word: how much, and whether the peer said that it was done.
    fn lost(&self) -> Vec<(usize, bool)> {
        let lost = self.victim.events.iter().filter_map(|event| match event {
            Event::NotRefreshed {
                prefixes, ended, ..
            } => Some((*prefixes, *ended)),
            _ => None,
        });
        lost.collect()
    }
}

fn open(peer: Peer) -> Open {
    let mut open = super::open(31898);
    open.hold_time = 0;
    let capabilities = &mut open.capabilities.0;
    if !peer.restarts {
        capabilities.retain(|it| !matches!(it, Capability::GracefulRestart(_)));
    }
    if peer.enhanced {
        capabilities.push(Capability::EnhancedRouteRefresh);
    }
    open
}

const A: &str = "10.1.0.0/16";
const B: &str = "10.2.0.0/16";
const C: &str = "10.3.0.0/16";

#[test]
fn what_is_sent_again_is_between_marks_for_a_peer_that_knows_them() {
    for (peer, expected) in [
        (ENHANCED, vec!["Begin", "2500", "End"]),
        (PLAIN, vec!["2500", "End-of-RIB"]),
    ] {
        let mut bench = Bench::new(peer);
        bench.originate(2500);
        assert_eq!(bench.told(), ["2500"]);
        bench.mark(RefreshKind::Request);
        assert_eq!(bench.told(), expected);
    }
}

#[test]
fn with_nothing_to_send_the_marks_are_sent_all_the_same() {
    let mut bench = Bench::new(ENHANCED);
    bench.mark(RefreshKind::Request);
    assert_eq!(bench.told(), ["Begin", "End"]);
}

#[test]
fn requests_in_one_breath_are_two_whole_rounds() {
    let mut bench = Bench::new(ENHANCED);
    bench.originate(2500);
    bench.victim.said.clear();
    bench.hear(
        &RouteRefresh::request(Family::IPV4_UNICAST)
            .message()
            .repeat(100),
    );
    assert_eq!(
        bench.told(),
        ["Begin", "2500", "End", "Begin", "2500", "End"]
    );
}

#[test]
fn what_is_not_sent_again_is_swept_at_the_end_and_stays_until_then() {
    let mut bench = Bench::new(ENHANCED);
    bench.hear(&announce(&[A, B]));
    bench.mark(RefreshKind::Begin);
    bench.hear(&announce(&[B, C]));
    assert_eq!(bench.received(), [A, B, C]);
    bench.mark(RefreshKind::End);
    assert_eq!(bench.received(), [B, C]);
    assert_eq!(bench.lost(), [(1, true)]);
}

#[test]
fn an_end_without_a_beginning_means_nothing() {
    let mut bench = Bench::new(ENHANCED);
    bench.hear(&announce(&[A]));
    bench.mark(RefreshKind::End);
    bench.mark(RefreshKind::Unknown(9));
    assert_eq!(bench.received(), [A]);
    assert!(bench.told().is_empty());
}

#[test]
fn a_refresh_that_does_not_end_is_ended() {
    let mut bench = Bench::new(ENHANCED);
    bench.hear(&announce(&[A, B]));
    bench.mark(RefreshKind::Begin);
    bench.hear(&announce(&[B]));
    bench.pass(359 * SECOND);
    assert_eq!(bench.received(), [A, B]);
    let due = bench.victim.speaker.poll_timeout().unwrap();
    assert!(due <= bench.victim.now + SECOND);
    bench.pass(SECOND);
    assert_eq!(bench.received(), [B]);
    assert_eq!(bench.lost(), [(1, false)]);
    bench.mark(RefreshKind::End);
    assert_eq!(bench.received(), [B]);
}

#[test]
fn without_the_capability_the_octet_means_nothing() {
    let mut bench = Bench::new(PLAIN);
    bench.hear(&announce(&[A]));
    for kind in [RefreshKind::Begin, RefreshKind::End] {
        bench.mark(kind);
        assert_eq!(bench.told(), ["End-of-RIB"], "it is a request");
        assert_eq!(bench.received(), [A]);
    }
}

#[test]
fn before_end_of_rib_a_beginning_is_ignored() {
    let mut bench = Bench::new(RESTARTING);
    bench.hear(&announce(&[A]));
    bench.mark(RefreshKind::Begin);
    bench.mark(RefreshKind::End);
    assert_eq!(bench.received(), [A]);
    bench.hear(&end_of_rib(Family::IPV4_UNICAST));
    bench.mark(RefreshKind::Begin);
    bench.mark(RefreshKind::End);
    assert!(bench.received().is_empty());
}

#[test]
fn beginnings_that_follow_each_other_count_once_in_a_second() {
    let mut bench = Bench::new(ENHANCED);
    bench.hear(&announce(&[A]));
    bench.mark(RefreshKind::Begin);
    bench.hear(&announce(&[A]));
    bench.mark(RefreshKind::Begin);
    bench.mark(RefreshKind::End);
    assert_eq!(bench.received(), [A]);
    bench.pass(SECOND);
    bench.mark(RefreshKind::Begin);
    bench.hear(&announce(&[A]));
    bench.pass(SECOND);
    bench.mark(RefreshKind::Begin);
    bench.mark(RefreshKind::End);
    assert!(bench.received().is_empty());
}

#[test]
fn a_session_that_is_lost_meanwhile_leaves_no_time_to_wait_for() {
    let mut bench = Bench::new(ENHANCED);
    bench.hear(&announce(&[A]));
    bench.mark(RefreshKind::Begin);
    bench
        .victim
        .speaker
        .handle_closed(bench.victim.now, bench.conn, "reset");
    bench.victim.drain();
    bench.victim.now += 400 * SECOND;
    bench.victim.speaker.handle_timeout(bench.victim.now);
    bench.victim.drain();
    assert!(bench.lost().is_empty());
}
