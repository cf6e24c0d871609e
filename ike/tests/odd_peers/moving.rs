//! A peer that says by MOBIKE (RFC 4555) that it is elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ike::wire::{Exchange, Header, NotifyType, Payload};
use ike::{Event, Path};

use super::peer::{OURS, Peer, Raw, THEIRS, connection, kinds, notify, notify_with};

const SPI: u32 = 0x1000;
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// Up; whether both sides have MOBIKE is what each of them says.
fn up(ours: bool, theirs: bool) -> Peer {
    let mut c = connection();
    c.mobike = ours;
    let mut peer = Peer::with(c);
    peer.init(|_| {});
    let answer = peer.auth(SPI, |payloads| {
        if theirs {
            payloads.push(notify(NotifyType::MOBIKE_SUPPORTED));
        }
    });
    let said = kinds(&answer).contains(&NotifyType::MOBIKE_SUPPORTED);
    assert_eq!(said, ours && theirs);
    peer
}

/// The peer says from another address that it is there.
fn moved(peer: &mut Peer, more: &[Raw]) -> Vec<Payload> {
    peer.from = (ELSEWHERE, 4500).into();
    let mut payloads = vec![notify(NotifyType::UPDATE_SA_ADDRESSES)];
    payloads.extend_from_slice(more);
    peer.ask(Exchange::Informational, &payloads)
}

/// The paths that the SAs were moved to.
fn paths(peer: &Peer) -> Vec<Path> {
    let paths = peer.events.iter().filter_map(|event| match event {
        Event::PathChanged { path, .. } => Some(*path),
        _ => None,
    });
    paths.collect()
}

/// The endpoint's question whether the peer is where it says, with its cookie.
fn take_check(peer: &mut Peer) -> (Header, Vec<u8>) {
    let (header, payloads) = peer.take_request().expect("a question");
    let cookie = payloads.iter().find_map(|payload| match payload {
        Payload::Notify(n) if n.kind == NotifyType::COOKIE2 => Some(n.data.clone()),
        _ => None,
    });
    (header, cookie.expect("a cookie"))
}

#[test]
fn an_update_moves_the_sas_and_a_returned_cookie_proves_the_address() {
    let mut peer = up(true, true);
    let cookie = vec![7; 20];
    let answer = moved(
        &mut peer,
        &[notify_with(NotifyType::COOKIE2, cookie.clone())],
    );
    let returned = |p: &Payload| matches!(p, Payload::Notify(n) if n.kind == NotifyType::COOKIE2 && n.data == cookie);
    assert!(answer.iter().any(returned), "{answer:?}");
    let [path] = paths(&peer)[..] else {
        panic!("not one move")
    };
    assert_eq!(path.remote, SocketAddr::new(ELSEWHERE, 4500));
    assert_eq!(path.local.ip(), OURS);
    let (header, cookie) = take_check(&mut peer);
    assert!((8..=64).contains(&cookie.len()));
    peer.answer(header, &[notify_with(NotifyType::COOKIE2, cookie)]);
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    // Nothing more is asked, and no address is proved twice.
    assert!(peer.take_request().is_none());
    moved(&mut peer, &[]);
    assert!(peer.take_request().is_none());
}

#[test]
fn a_peer_that_cannot_return_the_cookie_loses_the_sa() {
    for wrong in [vec![], vec![notify_with(NotifyType::COOKIE2, vec![1; 16])]] {
        let mut peer = up(true, true);
        moved(&mut peer, &[]);
        let (header, _) = take_check(&mut peer);
        peer.answer(header, &wrong);
        let (_, payloads) = peer.take_request().expect("a request to delete");
        assert!(payloads.iter().any(|p| matches!(p, Payload::Delete(_))));
    }
}

#[test]
fn without_mobike_on_both_sides_an_update_moves_nothing() {
    for (ours, theirs) in [(true, false), (false, true), (false, false)] {
        let mut peer = up(ours, theirs);
        let answer = moved(&mut peer, &[notify_with(NotifyType::COOKIE2, vec![7; 20])]);
        assert_eq!(kinds(&answer), []);
        assert_eq!(paths(&peer), []);
        assert_eq!(peer.children(), 1);
    }
}

#[test]
fn a_nat_that_the_peer_does_not_want_is_named_and_nothing_moves() {
    let addresses = |from: IpAddr| {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [4500_u16.to_be_bytes(), 500_u16.to_be_bytes()].concat();
        let data = [octets(from), octets(OURS), ports].concat();
        notify_with(NotifyType::NO_NATS_ALLOWED, data)
    };
    let mut peer = up(true, true);
    let answer = moved(&mut peer, &[addresses(THEIRS)]);
    assert_eq!(kinds(&answer), [NotifyType::UNEXPECTED_NAT_DETECTED]);
    assert_eq!(paths(&peer), []);
    let answer = moved(&mut peer, &[addresses(ELSEWHERE)]);
    assert_eq!(kinds(&answer), []);
    assert_eq!(paths(&peer).len(), 1);
}

#[test]
fn further_addresses_of_a_peer_are_taken_without_a_word() {
    let mut peer = up(true, true);
    let announced = [
        notify_with(NotifyType::ADDITIONAL_IP4_ADDRESS, vec![203, 0, 113, 7]),
        notify_with(NotifyType::ADDITIONAL_IP6_ADDRESS, vec![0x20; 16]),
        notify(NotifyType::NO_ADDITIONAL_ADDRESSES),
    ];
    let answer = peer.ask(Exchange::Informational, &announced);
    assert_eq!(answer, []);
    assert_eq!(paths(&peer), []);
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
}
