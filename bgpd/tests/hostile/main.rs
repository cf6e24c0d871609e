//! One speaker and a peer that does what it wants: wrong messages in every state, random octets,
//! random orders.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod refresh;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bgpd::view::RouteFilter;
use bgpd::wire::{
    AsPath, Capabilities, Capability, Family, Framer, MessageKind, Notification, Open, Origin,
    PathAttributes, RestartCapability, RouteRefresh, UpdateBuilder, UpdateFrame, end_of_rib,
    keepalive,
};
use bgpd::{
    Action, Asn, Command, ConnId, Event, GracefulRestart, LocalRoute, LocalSource, PeerConfig,
    Policy, Role, Speaker, SpeakerConfig, State,
};
use proptest::prelude::*;

/// A speaker with one passive peer.
struct Victim {
    speaker: Speaker,
    now: Instant,
    /// What it wrote on the last connection.
    said: Vec<u8>,
    closed: Vec<ConnId>,
    events: Vec<Event>,
}

impl Victim {
    fn new() -> Self {
        Self::with(peer())
    }

    /// One whose peer is helped when it restarts.
    fn helping() -> Self {
        let mut peer = peer();
        peer.graceful_restart = Some(GracefulRestart {
            restart_time: Duration::from_secs(60),
            notification: true,
            forwarding: true,
        });
        Self::with(peer)
    }

    fn with(peer: PeerConfig) -> Self {
        let config = SpeakerConfig {
            asn: Asn(65000),
            router_id: Ipv4Addr::new(1, 1, 1, 1),
            maximum_paths: 4,
            multipath_relax: true,
        };
        let mut speaker = Speaker::new(config, [7; 32]);
        let now = Instant::now();
        speaker
            .command(now, Command::AddPeer(Box::new(peer)))
            .unwrap();
        Self {
            speaker,
            now,
            said: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Gives it so many prefixes of its own, each a /32, from this one on.
    fn originate(&mut self, first: Ipv4Addr, count: u32) {
        let routes = (0..count).map(|number| LocalRoute {
            prefix: format!("{}/32", Ipv4Addr::from(u32::from(first) + number))
                .parse()
                .unwrap(),
            source: LocalSource::Connected,
            interface: Some("lan0".into()),
            redistribute: true,
        });
        let routes = Command::SetLocalRoutes(routes.collect());
        self.speaker.command(self.now, routes).unwrap();
    }

    fn accept(&mut self) -> ConnId {
        let remote = SocketAddr::from(([10, 0, 0, 1], 40000));
        let local = SocketAddr::from(([10, 0, 0, 0], 179));
        let conn = self
            .speaker
            .handle_accepted(self.now, remote, local)
            .unwrap();
        self.drain();
        conn
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        self.speaker.handle_bytes(self.now, conn, bytes);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.speaker.poll_action() {
            match action {
                Action::Send { conn, bytes } => {
                    self.speaker.handle_sent(self.now, conn, bytes.len());
                    self.said.extend(bytes);
                }
                Action::Close { conn } => self.closed.push(conn),
                Action::Connect { .. } => {}
            }
        }
        while self.speaker.poll_fib().is_some() {}
        while let Some(event) = self.speaker.poll_event() {
            self.events.push(event);
        }
    }

    fn state(&self) -> State {
        self.speaker.summary(self.now).peers[0].state
    }

    /// Brings a new connection into a state.
    fn bring_to(&mut self, state: State) -> ConnId {
        let conn = self.accept();
        if state >= State::OpenConfirm {
            self.hear(conn, &open(31898).emit());
        }
        if state >= State::Established {
            self.hear(conn, &keepalive());
        }
        assert_eq!(self.state(), state);
        conn
    }

    /// The NOTIFICATION that the speaker ended with.
    fn goodbye(&self) -> Option<(u8, u8)> {
        let mut framer = Framer::default();
        framer.push(&self.said);
        let mut last = None;
        while let Some(message) = framer.message().unwrap() {
            last = Some(message);
        }
        let last = last.filter(|message| message.kind == MessageKind::Notification)?;
        Notification::parse(&last.body).map(|it| (it.code, it.subcode))
    }
}

fn peer() -> PeerConfig {
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let mut peer = PeerConfig::new("peer", address.into(), Asn(31898), Role::Cloud);
    peer.passive = true;
    peer.import = Some(Policy::PermitAll);
    peer.export = Some(Policy::PermitAll);
    peer
}

fn open(asn: u32) -> Open {
    Open {
        my_as: Asn(asn).as_two_octets(),
        hold_time: 90,
        identifier: Ipv4Addr::new(2, 2, 2, 2),
        capabilities: Capabilities(vec![
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::RouteRefresh,
            Capability::FourOctetAs(Asn(asn)),
            Capability::GracefulRestart(RestartCapability {
                restarted: true,
                notification: true,
                restart_time: Duration::from_secs(120),
                families: vec![(Family::IPV4_UNICAST, true)],
            }),
        ]),
    }
}

fn announce(prefixes: &[&str]) -> Vec<u8> {
    let mut set = PathAttributes::local(Origin::Igp);
    set.as_path = AsPath::sequence([31898]);
    set.next_hop = Some(Ipv4Addr::new(10, 0, 0, 1).into());
    let mut attributes = Vec::new();
    set.emit(true, &mut attributes);
    let mut bytes = Vec::new();
    let mut builder = UpdateBuilder::announce(&attributes).unwrap();
    for prefix in prefixes {
        builder.push(prefix.parse().unwrap(), &mut bytes);
    }
    builder.finish(&mut bytes);
    bytes
}

/// The state before, what comes in, the state after, and the NOTIFICATION that it is answered by.
type Case = (State, Vec<u8>, State, Option<(u8, u8)>);

#[test]
fn each_message_in_each_state_has_the_answer_of_the_table() {
    use State::{Established, OpenConfirm, OpenSent};
    let refresh = RouteRefresh::request(Family::IPV4_UNICAST).message();
    let long_refresh = {
        let mut bytes = refresh.clone();
        bytes[17] += 1;
        bytes.push(0);
        bytes
    };
    let cases: [Case; 16] = [
        (OpenSent, open(31898).emit(), OpenConfirm, None),
        (OpenSent, keepalive(), State::Idle, Some((5, 1))),
        (
            OpenSent,
            end_of_rib(Family::IPV4_UNICAST),
            State::Idle,
            Some((5, 1)),
        ),
        (OpenSent, refresh.clone(), State::Idle, Some((5, 1))),
        (OpenSent, Notification::cease(2).emit(), State::Active, None),
        (OpenSent, Notification::new(2, 2).emit(), State::Idle, None),
        (OpenConfirm, keepalive(), Established, None),
        (OpenConfirm, open(31898).emit(), State::Idle, Some((5, 2))),
        (
            OpenConfirm,
            announce(&["10.0.0.0/8"]),
            State::Idle,
            Some((5, 2)),
        ),
        (
            OpenConfirm,
            Notification::cease(7).emit(),
            State::Active,
            None,
        ),
        (Established, keepalive(), Established, None),
        (Established, announce(&["10.9.0.0/16"]), Established, None),
        (Established, refresh, Established, None),
        (Established, long_refresh, State::Idle, Some((7, 1))),
        (Established, open(31898).emit(), State::Idle, Some((5, 3))),
        (
            Established,
            Notification::cease(2).emit(),
            State::Active,
            None,
        ),
    ];
    for (before, message, after, goodbye) in cases {
        let mut victim = Victim::new();
        let conn = victim.bring_to(before);
        victim.hear(conn, &message);
        let what = format!("{before} and message type {}", message[18]);
        assert_eq!(victim.state(), after, "{what}");
        assert_eq!(victim.goodbye(), goodbye, "{what}");
        let ended = matches!(after, State::Idle | State::Active);
        assert_eq!(victim.closed.contains(&conn), ended, "{what}");
    }
}

#[test]
fn an_open_with_values_that_cannot_be_is_answered_by_their_subcode() {
    type Change = fn(&mut Open);
    let cases: [(&str, Change, (u8, u8)); 7] = [
        (
            "another AS",
            |it| it.capabilities.0[2] = Capability::FourOctetAs(Asn(1)),
            (2, 2),
        ),
        (
            "AS 0",
            |it| it.capabilities.0[2] = Capability::FourOctetAs(Asn(0)),
            (2, 2),
        ),
        (
            "identifier 0.0.0.0",
            |it| it.identifier = Ipv4Addr::UNSPECIFIED,
            (2, 3),
        ),
        ("a hold time of one second", |it| it.hold_time = 1, (2, 6)),
        ("a hold time of two seconds", |it| it.hold_time = 2, (2, 6)),
        (
            "IPv6 only",
            |it| it.capabilities.0[0] = Capability::Multiprotocol(Family { afi: 2, safi: 1 }),
            (2, 7),
        ),
        (
            "an OLD speaker of another AS",
            |it| it.capabilities.0.truncate(2),
            (0, 0),
        ),
    ];
    for (what, change, expected) in cases {
        let mut victim = Victim::new();
        let conn = victim.accept();
        let mut open = open(31898);
        change(&mut open);
        victim.hear(conn, &open.emit());
        let expected = Some(expected).filter(|it| *it != (0, 0));
        assert_eq!(victim.goodbye(), expected, "{what}");
    }
}

#[test]
fn what_is_not_bgp_is_told_so_by_its_first_octet() {
    let mut victim = Victim::new();
    let conn = victim.accept();
    victim.hear(conn, b"GET / HTTP/1.1\r\n");
    assert_eq!(victim.goodbye(), Some((1, 1)));
    assert!(victim.closed.contains(&conn));
}

#[test]
fn a_second_connection_never_hurts_an_established_one() {
    let mut victim = Victim::new();
    let first = victim.bring_to(State::Established);
    let second = victim.accept();
    assert_eq!(victim.state(), State::Established);
    victim.said.clear();
    victim.hear(second, &open(31898).emit());
    assert!(victim.closed.contains(&second));
    assert!(!victim.closed.contains(&first));
    // The established connection is probed, so that a peer that has lost it says so.
    assert!(victim.said.ends_with(&keepalive()));
    let third = victim.accept();
    victim
        .speaker
        .handle_closed(victim.now, first, "reset by peer");
    victim.drain();
    let next = victim.accept();
    victim.hear(next, &open(31898).emit());
    victim.hear(next, &keepalive());
    assert_eq!(victim.state(), State::Established);
    assert!(victim.closed.contains(&third));
}

#[test]
fn a_stranger_is_turned_away() {
    let mut victim = Victim::new();
    let local = SocketAddr::from(([10, 0, 0, 0], 179));
    let remote = SocketAddr::from(([10, 0, 0, 2], 40000));
    let refused = victim
        .speaker
        .handle_accepted(victim.now, remote, local)
        .unwrap_err();
    assert_eq!(refused.to_string(), "no peer has the address 10.0.0.2");
}

#[test]
fn a_malformed_update_costs_its_prefixes_and_not_the_session() {
    let mut victim = Victim::new();
    let conn = victim.bring_to(State::Established);
    victim.hear(conn, &announce(&["10.9.0.0/16"]));
    assert_eq!(victim.speaker.summary(victim.now).fib_prefixes, 1);
    let mut bad = announce(&["10.9.0.0/16"]);
    // ORIGIN's value: marker, length, type, two lengths, then flags, code, length, value.
    bad[19 + 4 + 3] = 9;
    victim.hear(conn, &bad);
    assert_eq!(victim.state(), State::Established);
    let neighbor = victim.speaker.neighbor(victim.now, "peer").unwrap();
    assert_eq!((neighbor.summary.received, neighbor.update_faults), (0, 1));
    assert_eq!(victim.speaker.summary(victim.now).fib_prefixes, 0);
}

#[test]
fn prefixes_that_come_and_go_for_ever_leave_no_trace() {
    let mut victim = Victim::new();
    let conn = victim.bring_to(State::Established);
    for round in 0..2000u32 {
        let prefix = Ipv4Addr::from(0x0a00_0000 + (round << 8));
        victim.hear(conn, &announce(&[&format!("{prefix}/24")]));
        let mut bytes = Vec::new();
        let mut builder = UpdateBuilder::withdraw(Family::IPV4_UNICAST);
        builder.push(format!("{prefix}/24").parse().unwrap(), &mut bytes);
        builder.finish(&mut bytes);
        victim.hear(conn, &bytes);
    }
    let summary = victim.speaker.summary(victim.now);
    assert_eq!(
        (summary.prefixes, summary.paths, summary.attribute_sets),
        (0, 0, 0)
    );
}

#[test]
fn any_number_of_refreshes_asked_for_in_one_breath_is_two_rounds_and_the_last_one_is_whole() {
    const ROUTES: u32 = 3000;
    let mut victim = Victim::new();
    victim.originate(Ipv4Addr::new(10, 0, 0, 0), ROUTES);
    let conn = victim.bring_to(State::Established);
    victim.said.clear();
    victim.hear(
        conn,
        &RouteRefresh::request(Family::IPV4_UNICAST)
            .message()
            .repeat(500),
    );

    let mut framer = Framer::default();
    framer.push(&victim.said);
    let mut rounds = vec![0];
    while let Some(message) = framer.message().unwrap() {
        let update = UpdateFrame::parse(&message.body).unwrap();
        if update.is_end_of_rib() {
            rounds.push(0);
        } else if let Some(round) = rounds.last_mut() {
            *round += update.announced.len();
        }
    }
    assert_eq!(rounds, [ROUTES as usize, ROUTES as usize, 0]);
}

/// What may happen to a speaker.
#[derive(Clone, Debug)]
enum Happening {
    Accept,
    Bytes(Vec<u8>),
    Damaged { which: u8, at: u16, by: u8 },
    Closed,
    Time(u16),
    Interface(bool),
    Connected,
    Failed,
    Order(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Accept),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Happening::Bytes),
        (0u8..8, any::<u16>(), 0u8..4).prop_map(|(which, at, by)| Happening::Damaged {
            which,
            at,
            by
        }),
        (0u8..8).prop_map(|which| Happening::Damaged {
            which,
            at: 0,
            by: 0
        }),
        Just(Happening::Closed),
        (0u16..20_000).prop_map(Happening::Time),
        any::<bool>().prop_map(Happening::Interface),
        Just(Happening::Connected),
        Just(Happening::Failed),
        (0u8..8).prop_map(Happening::Order),
    ]
}

fn message(which: u8) -> Vec<u8> {
    match which {
        0 => open(31898).emit(),
        1 => keepalive(),
        2 => announce(&["10.9.0.0/16"]),
        3 => announce(&["0.0.0.0/0"]),
        4 => RouteRefresh::request(Family::IPV4_UNICAST).message(),
        5 => end_of_rib(Family::IPV4_UNICAST),
        6 => Notification::cease(2).emit(),
        _ => Notification::new(3, 1).emit(),
    }
}

fn order(which: u8) -> Command {
    let name = || "peer".into();
    let route = |redistribute| LocalRoute {
        prefix: "10.9.0.0/16".parse().unwrap(),
        source: LocalSource::Connected,
        interface: Some("vti1".into()),
        redistribute,
    };
    let replaced = |change: fn(&mut PeerConfig)| {
        let mut peer = peer();
        change(&mut peer);
        Command::ReplacePeer(Box::new(peer))
    };
    match which {
        0 => Command::EnablePeer(name()),
        1 => Command::DisablePeer {
            peer: name(),
            text: "bye".into(),
        },
        2 => Command::ResetPeer(name()),
        3 => Command::PathDown(name()),
        4 => Command::SetLocalRoutes(vec![route(true)]),
        5 => Command::SetLocalRoutes(vec![]),
        6 => replaced(|it| it.passive = false),
        _ => replaced(|it| it.interface = Some("vti1".into())),
    }
}

/// A speaker, and what is remembered of its connections.
struct Storm {
    victim: Victim,
    dials: Vec<ConnId>,
    conns: Vec<ConnId>,
    helping: bool,
}

impl Storm {
    fn happen(&mut self, happening: Happening) {
        let Victim { speaker, now, .. } = &mut self.victim;
        let last = self.conns.last().copied().unwrap_or(ConnId(99));
        let dial = self.dials.last().copied().unwrap_or(ConnId(98));
        let local = SocketAddr::from(([10, 0, 0, 0], 179));
        let remote = SocketAddr::from(([10, 0, 0, 1], 40000));
        match happening {
            Happening::Accept => self
                .conns
                .extend(speaker.handle_accepted(*now, remote, local)),
            Happening::Bytes(bytes) => speaker.handle_bytes(*now, last, &bytes),
            Happening::Damaged { which, at, by } => {
                let mut bytes = message(which);
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= by;
                speaker.handle_bytes(*now, last, &bytes);
            }
            Happening::Closed => speaker.handle_closed(*now, last, "reset"),
            Happening::Time(milliseconds) => {
                *now += Duration::from_millis(milliseconds.into());
                speaker.handle_timeout(*now);
            }
            Happening::Interface(up) => {
                let _ = speaker.command(
                    *now,
                    Command::SetInterface {
                        name: "vti1".into(),
                        up,
                    },
                );
            }
            Happening::Connected => {
                speaker.handle_connected(*now, dial, local, remote);
                self.conns.push(dial);
            }
            Happening::Failed => speaker.handle_connect_failed(*now, dial, "refused"),
            Happening::Order(which) => {
                let _ = speaker.command(*now, order(which));
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        let speaker = &mut self.victim.speaker;
        while let Some(action) = speaker.poll_action() {
            match action {
                Action::Connect { conn, .. } => self.dials.push(conn),
                Action::Send { conn, bytes } => {
                    let known = self.conns.contains(&conn) || self.dials.contains(&conn);
                    assert!(
                        known && !self.victim.closed.contains(&conn),
                        "sent on {conn:?}"
                    );
                    speaker.handle_sent(self.victim.now, conn, bytes.len());
                }
                Action::Close { conn } => {
                    assert!(!self.victim.closed.contains(&conn), "{conn:?} closed twice");
                    self.victim.closed.push(conn);
                }
            }
        }
        while speaker.poll_fib().is_some() {}
        while speaker.poll_event().is_some() {}
    }

    fn check(&self) {
        let speaker = &self.victim.speaker;
        let summary = speaker.summary(self.victim.now);
        let peer = &summary.peers[0];
        let received = speaker.received("peer").unwrap();
        assert_eq!(received.len(), peer.received as usize);
        assert!(peer.accepted <= peer.received && peer.stale <= peer.received);
        let stale = speaker.routes(&RouteFilter::default());
        let stale = stale
            .iter()
            .flat_map(|route| &route.paths)
            .filter(|path| path.stale);
        assert_eq!(stale.count(), peer.stale as usize);
        assert!(self.helping || peer.stale == 0);
        if peer.state != State::Established {
            assert_eq!((peer.received, peer.advertised), (peer.stale, 0));
            assert!(summary.fib_prefixes <= peer.stale as usize);
            assert!(peer.problem.is_some(), "a session that is down says why");
        }
        let routes = speaker.routes(&RouteFilter::default());
        assert_eq!(routes.len(), summary.prefixes);
        for route in routes {
            let best = route.paths.iter().filter(|path| path.best).count();
            assert!(best <= 1);
            assert!(route.next_hops.is_empty() || best == 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_sequence_of_happenings_breaks_the_invariants(
        happenings in prop::collection::vec(happening(), 0..60),
        helping in any::<bool>(),
    ) {
        let victim = if helping { Victim::helping() } else { Victim::new() };
        let mut storm = Storm { victim, dials: Vec::new(), conns: Vec::new(), helping };
        for happening in happenings {
            storm.happen(happening);
            storm.check();
        }
        // Whatever was kept is not kept for ever.
        for _ in 0..12 {
            storm.happen(Happening::Time(65_000));
            storm.check();
        }
        let summary = storm.victim.speaker.summary(storm.victim.now);
        prop_assert_eq!(summary.peers[0].stale, 0);
    }

    #[test]
    fn no_octets_after_the_handshake_make_it_panic(
        pieces in prop::collection::vec((0u8..8, any::<u16>(), any::<u8>()), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut victim = Victim::new();
        let conn = victim.bring_to(State::Established);
        for (which, at, by) in pieces {
            let mut bytes = message(which);
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= by;
            victim.hear(conn, &bytes);
        }
        victim.hear(conn, &tail);
        // The body of an UPDATE of any content.
        let mut update = vec![0xff; 16];
        update.extend((tail.len() as u16 + 19).to_be_bytes());
        update.push(2);
        update.extend(&tail);
        victim.hear(conn, &update);
    }
}
