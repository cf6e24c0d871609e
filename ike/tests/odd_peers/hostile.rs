//! Forged, replayed and reflected datagrams, and floods.

use std::time::Duration;

use ike::wire::{Exchange, Flags, Header, IkeSpi, Message, Notify, NotifyType, Payload};
use ike::{Command, DownReason, Event};

use super::peer::{ID, Peer, notify};

const SPI: u32 = 0x1000;

/// An unprotected message under the SPIs of an SA.
fn forged(spis: (IkeSpi, IkeSpi), exchange: Exchange, flags: Flags, id: u32, kind: u16) -> Vec<u8> {
    let header = Header {
        spi_i: spis.0,
        spi_r: spis.1,
        next_payload: 0,
        exchange,
        flags,
        message_id: id,
    };
    let notify = Notify {
        protocol: 0,
        spi: Vec::new(),
        kind: NotifyType(kind),
        data: vec![0, 14],
    };
    Message {
        header,
        payloads: vec![Payload::Notify(notify)],
    }
    .encode()
}

#[test]
fn no_unprotected_notification_ends_an_sa() {
    let exchanges = [
        Exchange::IkeSaInit,
        Exchange::IkeAuth,
        Exchange::CreateChildSa,
        Exchange::Informational,
    ];
    let mut peer = Peer::up(SPI);
    // A request of ours is under way, so that an answer to it can be forged.
    peer.ask(Exchange::Informational, &[]);
    peer.command(Command::RekeyChild(ID));
    let spis = peer.spis;
    let mut sent = 0;
    for exchange in exchanges {
        for kind in (1..=50).chain([16_384, 16_390, 16_393]) {
            for id in [0, 1, 2, 3, u32::MAX] {
                for (initiator, response) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    let flags = Flags {
                        initiator,
                        response,
                    };
                    peer.send(&forged(spis, exchange, flags, id, kind));
                    sent += 1;
                }
            }
        }
    }
    assert!(sent > 4000);
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    let down = |event: &&Event| {
        matches!(
            event,
            Event::IkeDown { .. } | Event::TunnelDown { .. } | Event::OutboundClear { .. }
        )
    };
    assert_eq!(peer.events.iter().find(down), None);
    // The rekeying is still there to be answered.
    let (header, _) = peer.take_request().expect("our request");
    let nonce = peer.nonce();
    peer.answer(header, &super::peer::child_payloads(0x2000, nonce, None));
    assert_eq!(peer.outbound, Some(0x2000));
}

#[test]
fn our_own_messages_sent_back_to_us_change_nothing() {
    let mut peer = Peer::up(SPI);
    peer.ask(Exchange::Informational, &[]);
    peer.command(Command::RekeyChild(ID));
    let request = peer.inbox.last().expect("our request").clone();
    peer.send(&request);
    // The same with the flag turned, so that it seems to come from the other side.
    let mut turned = request;
    turned[19] ^= 0x08;
    peer.send(&turned);
    turned[19] ^= 0x20;
    peer.send(&turned);
    let counters = peer.endpoint.status(peer.now).counters;
    assert_eq!((counters.unknown_spi, counters.bad_integrity), (1, 2));
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
}

#[test]
fn a_request_that_is_replayed_gets_the_same_answer_once_and_old_ones_get_none() {
    let mut peer = Peer::up(SPI);
    let nonce = peer.nonce();
    let rekey = super::peer::child_payloads(0x2000, nonce, Some(SPI));
    let request = peer.request(Exchange::CreateChildSa, &rekey);
    peer.send(&request);
    peer.send(&request);
    assert_eq!(peer.inbox.len(), 2);
    assert_eq!(peer.inbox[0], peer.inbox[1]);
    assert_eq!(peer.children(), 2);
    peer.inbox.clear();
    peer.ask(Exchange::Informational, &[]);
    peer.send(&request);
    assert!(peer.inbox.is_empty());
    assert_eq!(peer.children(), 2);
}

#[test]
fn an_authenticated_error_notification_alone_does_not_end_the_sa() {
    let mut peer = Peer::up(SPI);
    for kind in [
        NotifyType::INVALID_SPI,
        NotifyType::INVALID_SYNTAX,
        NotifyType(8191),
    ] {
        peer.ask(Exchange::Informational, &[notify(kind)]);
    }
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    peer.ask(
        Exchange::Informational,
        &[notify(NotifyType::AUTHENTICATION_FAILED)],
    );
    let reason = DownReason::Refused(NotifyType::AUTHENTICATION_FAILED);
    let refused = |event: &Event| matches!(event, Event::IkeDown { reason: r, .. } if *r == reason);
    assert!(peer.events.iter().any(refused));
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("a number of KiB")
}

#[test]
fn a_flood_with_the_address_of_a_peer_costs_little_memory_and_does_not_keep_the_peer_out() {
    let mut peer = Peer::new();
    let template = peer.init_request(|_| {});
    let before = resident();
    for n in 0..20_000_u64 {
        let mut flood = template.clone();
        flood[..8].copy_from_slice(&(n + 1).to_be_bytes());
        peer.send(&flood);
        peer.inbox.clear();
    }
    let grown = resident().saturating_sub(before);
    let status = peer.endpoint.status(peer.now);
    assert_eq!(status.half_open, 5);
    assert_eq!(status.counters.cookies_sent, 20_000 - 5);
    assert!(grown < 4096, "{grown} KiB more than before");
    // The peer itself brings the cookie back, and is let in.
    let cookie = cookie(&peer.init(|_| {})).expect("a cookie");
    peer.wait(Duration::from_secs(25));
    peer.init(|payloads| payloads.insert(0, cookie.into()));
    let answer = peer.auth(SPI, |_| {});
    assert!(
        answer.iter().any(|p| matches!(p, Payload::Sa(_))),
        "{answer:?}"
    );
    assert_eq!(peer.ike_sas(), 1);
}

fn cookie(answer: &[Payload]) -> Option<Payload> {
    let is_cookie =
        |payload: &&Payload| matches!(payload, Payload::Notify(n) if n.kind == NotifyType::COOKIE);
    answer.iter().find(is_cookie).cloned()
}

#[test]
fn a_cookie_is_good_until_its_secret_has_changed_twice_and_only_for_its_sender() {
    let flooded = || {
        let mut peer = Peer::new();
        for n in 0..5_u64 {
            let mut flood = peer.init_request(|_| {});
            flood[..8].copy_from_slice(&(n + 1).to_be_bytes());
            peer.send(&flood);
        }
        peer.inbox.clear();
        let cookie = cookie(&peer.init(|_| {})).expect("a cookie");
        (peer, cookie)
    };
    let accepted = |answer: &[Payload]| answer.iter().any(|p| matches!(p, Payload::Sa(_)));
    let refill = |peer: &mut Peer| {
        // The first ones are forgotten by then; others keep the cookies demanded.
        for n in 0..5_u64 {
            let mut flood = peer.init_request(|_| {});
            flood[..8].copy_from_slice(&(n + 101).to_be_bytes());
            peer.send(&flood);
        }
        peer.inbox.clear();
    };
    let (mut peer, good) = flooded();
    peer.wait(Duration::from_secs(70));
    refill(&mut peer);
    assert!(accepted(
        &peer.init(|payloads| payloads.insert(0, good.into()))
    ));

    let (mut peer, old) = flooded();
    peer.wait(Duration::from_secs(70));
    refill(&mut peer);
    assert!(cookie(&peer.init(|_| {})).is_some());
    peer.wait(Duration::from_secs(70));
    refill(&mut peer);
    assert!(!accepted(
        &peer.init(|payloads| payloads.insert(0, old.into()))
    ));

    let (mut peer, foreign) = flooded();
    peer.spis.0 = IkeSpi([9; 8]);
    assert!(!accepted(
        &peer.init(|payloads| payloads.insert(0, foreign.into()))
    ));
    assert_eq!(peer.endpoint.status(peer.now).counters.bad_cookie, 1);
}

#[test]
fn a_peer_that_makes_children_without_end_is_stopped() {
    let mut peer = Peer::up(SPI);
    let mut old = SPI;
    let mut refused = Vec::new();
    for n in 1..100 {
        let nonce = peer.nonce();
        let new = SPI + n;
        let answer = peer.ask(
            Exchange::CreateChildSa,
            &super::peer::child_payloads(new, nonce, Some(old)),
        );
        match super::peer::kinds(&answer).first() {
            Some(kind) => refused.push(*kind),
            None => old = new,
        }
    }
    assert_eq!(peer.children(), 16);
    assert_eq!(refused.len(), 99 - 15);
    assert!(
        refused
            .iter()
            .all(|kind| *kind == NotifyType::NO_ADDITIONAL_SAS)
    );
    assert!(peer.inbound.len() <= 16);
}
