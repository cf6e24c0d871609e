//! The side roads of the exchanges: cookies, other groups, fragments, ESN, PFS, hostile datagrams.

mod common;

use common::{A, ADDRESSES, B, Fate, ID, Pair, connection, ms, secs};
use ike::wire::{Exchange, Header};
use ike::{Command, Connection, EndpointConfig, EsnPolicy, Event, Group, PfsPolicy, Phase, Prf};

/// Two ends, changed; A initiates.
fn pair_of(change: impl Fn(usize, &mut Connection)) -> Pair {
    let mut pair = Pair::new();
    for side in [B, A] {
        let mut c = connection(side);
        c.initiate = side == A;
        change(side, &mut c);
        pair.add(side, c);
    }
    pair
}

fn pfs(pair: &Pair, side: usize) -> Option<String> {
    pair.sides[side]
        .plane
        .outbound
        .as_ref()
        .and_then(|sa| sa.pfs.clone())
}

#[test]
fn a_responder_under_load_demands_cookies_and_an_initiator_brings_them() {
    let config = EndpointConfig {
        cookie_threshold: 0,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::with_config(1, config);
    pair.a_initiates();
    let took = pair.run_until(secs(1), Pair::is_up);
    assert!(took <= ms(60), "{took:?}");
    assert_eq!(pair.status()[B].counters.cookies_sent, 1);
    pair.run_for(secs(1));
    pair.assert_one_working_child();
}

#[test]
fn the_group_that_the_responder_asks_for_is_used() {
    let mut pair = pair_of(|side, c| {
        c.ike[0].groups = if side == A {
            vec![Group::Ecp256, Group::Curve25519]
        } else {
            vec![Group::Curve25519]
        };
    });
    let took = pair.run_until(secs(1), Pair::is_up);
    assert!(took <= ms(60), "{took:?}");
    let suite = pair.status()[A].connections[0].ike_sas[0].suite.clone();
    assert_eq!(suite, "aes256-sha256-curve25519");
    pair.command(A, Command::RekeyIke(ID));
    pair.run_for(secs(10));
    pair.assert_one_working_child();
}

#[test]
fn the_configured_group_gives_pfs_at_the_first_rekeying() {
    for rekeyer in [A, B] {
        let mut pair = pair_of(|_, c| c.esp[0].groups = vec![Group::Ecp256]);
        pair.run_until(secs(1), Pair::is_up);
        assert_eq!(pfs(&pair, A), None);
        pair.run_for(secs(30));
        pair.command(rekeyer, Command::RekeyChild(ID));
        pair.run_for(secs(10));
        pair.assert_one_working_child();
        assert_eq!(pfs(&pair, A).as_deref(), Some("ecp256"));
    }
}

#[test]
fn a_peer_that_wants_another_pfs_group_is_met_on_the_ike_group() {
    // We offer ecp256; the peer has curve25519, which is the IKE SA's group as well.
    let mut pair = pair_of(|side, c| {
        let group = if side == A {
            Group::Ecp256
        } else {
            Group::Curve25519
        };
        c.esp[0].groups = vec![group];
        c.pfs = PfsPolicy {
            ike_group: side == A,
            none: false,
        };
    });
    pair.run_until(secs(1), Pair::is_up);
    pair.run_for(secs(30));
    pair.command(A, Command::RekeyChild(ID));
    pair.run_for(secs(10));
    pair.assert_one_working_child();
    assert_eq!(pfs(&pair, A).as_deref(), Some("curve25519"));
    assert_eq!(pair.count(A, |e| matches!(e, Event::Failure(_))), 0);
}

#[test]
fn a_peer_without_pfs_is_accepted_only_where_that_is_permitted() {
    for permitted in [true, false] {
        let mut pair = pair_of(|side, c| {
            if side == A {
                c.esp[0].groups = Vec::new();
                c.pfs.ike_group = false;
            } else {
                c.pfs.none = permitted;
            }
        });
        pair.run_until(secs(1), Pair::is_up);
        pair.run_for(secs(30));
        let before = pair.sides[A].plane.outbound.clone();
        pair.command(A, Command::RekeyChild(ID));
        pair.run_for(secs(10));
        pair.assert_one_working_child();
        assert_eq!(pair.sides[A].plane.outbound != before, permitted);
        assert_eq!(pair.failures(B).is_empty(), permitted);
    }
}

#[test]
fn sequence_numbers_are_agreed_upon() {
    use EsnPolicy::{Either, Never, Require};
    let cases = [(Either, Either, Some(true)), (Either, Never, Some(false))];
    let more = [
        (Never, Either, Some(false)),
        (Require, Either, Some(true)),
        (Require, Never, None),
    ];
    for (a, b, esn) in cases.into_iter().chain(more) {
        let mut pair = pair_of(|side, c| c.esp[0].esn = if side == A { a } else { b });
        pair.run_for(secs(1));
        let got = pair.sides[A].plane.outbound.as_ref().map(|sa| sa.esn);
        assert_eq!(got, esn, "{a:?} with {b:?}");
    }
}

#[test]
fn long_messages_travel_in_fragments_even_when_some_are_lost() {
    let name = |side: usize| format!("{}.example", "x".repeat(700 + side));
    let mut pair = pair_of(|side, c| {
        c.local_id = ike::Identity::Fqdn(name(side));
        c.remote_id = ike::Identity::Fqdn(name(1 - side));
        c.fragment_size = 576;
    });
    pair.set_loss(0.2);
    pair.run_until(secs(60), Pair::is_up);
    let longest = pair
        .sides
        .iter()
        .flat_map(|s| &s.sent)
        .map(|t| t.payload.len())
        .max();
    assert!(longest.is_some_and(|len| len <= 576 - 28), "{longest:?}");
    pair.set_loss(0.0);
    pair.run_for(secs(40));
    pair.assert_one_working_child();
    assert!(pair.status()[A].connections[0].ike_sas[0].fragmentation);
}

#[test]
fn an_offer_of_many_proposals_is_understood() {
    let mut pair = pair_of(|side, c| {
        if side == A {
            let right = c.ike[0].clone();
            let mut wrong = right.clone();
            wrong.prf = Prf::HmacSha1;
            wrong.groups = vec![Group::Curve25519; 90];
            c.ike = vec![wrong.clone(); 70];
            wrong.groups = vec![Group::Curve25519; 252];
            c.ike.push(wrong);
            c.ike.push(right);
        }
    });
    pair.run_until(secs(1), Pair::is_up);
    let first = &pair.sides[A].sent[0].payload;
    assert!(first.len() > 50_000, "{}", first.len());
}

#[test]
fn replayed_and_garbled_datagrams_change_nothing() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    pair.command(A, Command::RekeyChild(ID));
    pair.run_for(secs(20));
    let before = pair.sides[B].plane.outbound.clone();
    let sent: Vec<_> = pair.sides[A].sent.clone();
    pair.forget_events();
    for transmit in &sent {
        let mut garbled = transmit.payload.clone();
        for at in (0..garbled.len()).step_by(7) {
            garbled[at] ^= 0x41;
            let (to, from) = (transmit.remote, transmit.local);
            pair.sides[B]
                .endpoint
                .handle_datagram(pair.now, to, from, &garbled);
            garbled[at] ^= 0x41;
        }
        for len in 0..transmit.payload.len() {
            let cut = &transmit.payload[..len];
            let (to, from) = (transmit.remote, transmit.local);
            pair.sides[B]
                .endpoint
                .handle_datagram(pair.now, to, from, cut);
        }
        let (to, from) = (transmit.remote, transmit.local);
        pair.sides[B]
            .endpoint
            .handle_datagram(pair.now, to, from, &transmit.payload);
    }
    pair.run_for(secs(120));
    pair.assert_one_working_child();
    assert_eq!(pair.sides[B].plane.outbound, before);
    let counters = pair.status()[B].counters;
    assert!(
        counters.malformed > 100 && counters.bad_integrity > 10,
        "{counters:?}"
    );
}

#[test]
fn a_flood_of_handshakes_is_bounded() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    let init = pair.sides[A].sent[0].payload.clone();
    for n in 0u64..5000 {
        let mut flood = init.clone();
        flood[..8].copy_from_slice(&(n + 1).to_be_bytes());
        let (to, from) = ((ADDRESSES[B], 500).into(), (ADDRESSES[A], 500).into());
        pair.sides[B]
            .endpoint
            .handle_datagram(pair.now, to, from, &flood);
        while pair.sides[B].endpoint.poll_transmit().is_some() {}
    }
    // All of them come from one address, and none brings a cookie.
    assert_eq!(pair.status()[B].half_open, 5);
    assert_eq!(pair.phase(B), Phase::Up);
    pair.run_for(secs(31));
    assert_eq!(pair.status()[B].half_open, 0);
}

#[test]
fn another_major_version_is_answered_with_ours() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    let mut version3 = pair.sides[A].sent[0].payload.clone();
    version3[17] = 0x30;
    let (to, from) = ((ADDRESSES[B], 500).into(), (ADDRESSES[A], 500).into());
    pair.sides[B]
        .endpoint
        .handle_datagram(pair.now, to, from, &version3);
    let answer = pair.sides[B].endpoint.poll_transmit().expect("an answer");
    let (header, _) = Header::decode(&answer.payload).expect("a header");
    assert_eq!(header.exchange, Exchange::IkeSaInit);
    assert!(header.flags.response);
    let message = ike::wire::Message::decode(&answer.payload).expect("a message");
    assert!(format!("{message:?}").contains("INVALID_MAJOR_VERSION"));
}

#[test]
fn a_forged_hint_that_the_peer_forgot_us_only_makes_us_ask() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    pair.run_for(secs(5));
    let mut answer = pair.sides[B].sent[0].payload.clone();
    // Our own IKE_SA_INIT response, made into a complaint about message 2.
    answer.truncate(28);
    answer.extend_from_slice(&[0, 0, 0, 8, 0, 0, 0, 4]);
    answer[16] = 41;
    answer[18] = 37;
    answer[27] = 36;
    pair.forget_events();
    pair.inject(A, &answer);
    pair.run_for(secs(3));
    pair.assert_one_working_child();
    assert_eq!(
        pair.count(A, |e| matches!(e, Event::Note(_))),
        1,
        "{:?}",
        pair.sides[A].events
    );
    assert_eq!(pair.count(A, |e| matches!(e, Event::TunnelDown { .. })), 0);
}

#[test]
fn a_lost_delete_of_the_old_child_does_not_keep_it_for_ever() {
    let mut pair = pair_of(|_, c| c.liveness.give_up = secs(60));
    pair.run_until(secs(1), Pair::is_up);
    pair.run_for(secs(30));
    let mut dropped = 0;
    pair.filter = Some(Box::new(move |side, t| {
        // A's DELETE, the first INFORMATIONAL, five times.
        if side == A && t.payload[18] == 37 && dropped < 5 {
            dropped += 1;
            return Fate::Drop;
        }
        Fate::Deliver
    }));
    pair.command(A, Command::RekeyChild(ID));
    pair.run_for(secs(60));
    pair.assert_one_working_child();
}
