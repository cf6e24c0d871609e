//! Peers that look wrong and are right, peers that are wrong, and people in between: what is legal is
//! met, what is not is refused in the way that RFC 7296 says, and nothing unproven ends an SA.

#![expect(
    unreachable_pub,
    reason = "each module of this test uses a part of the peer"
)]
#![expect(
    clippy::expect_used,
    reason = "a scripted peer that cannot say its part has to fail"
)]

mod hostile;
mod lingering;
mod moving;
mod peer;

use ike::Group;
use ike::wire::{Exchange, Message, NotifyType, Payload, Transform, TransformType};

use peer::{Peer, Raw, connection, esp_proposal, ike_proposal, kinds, notify};

/// The child that is set up with IKE_AUTH, as the peer calls it.
const SPI: u32 = 0x1000;

/// Whether IKE_AUTH was answered with a child.
#[track_caller]
fn assert_up(peer: &Peer, answer: &[Payload]) {
    assert!(
        answer.iter().any(|p| matches!(p, Payload::Sa(_))),
        "{answer:?}"
    );
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    assert_eq!(peer.outbound, Some(SPI));
}

fn vendor(text: &str) -> Raw {
    Payload::Vendor(text.as_bytes().to_vec()).into()
}

fn unknown(kind: u8, critical: bool) -> Raw {
    Raw {
        kind,
        flags: if critical { 0x80 } else { 0 },
        body: vec![1, 2, 3],
    }
}

#[test]
fn payloads_come_in_any_order() {
    let mut peer = Peer::new();
    peer.init(|payloads| payloads.reverse());
    let answer = peer.auth(SPI, |payloads| payloads.reverse());
    assert_up(&peer, &answer);
    let mut child = peer::child_payloads(0x2000, peer.nonce(), Some(SPI));
    child.reverse();
    let answer = peer.ask(Exchange::CreateChildSa, &child);
    assert!(
        answer.iter().any(|p| matches!(p, Payload::Sa(_))),
        "{answer:?}"
    );
}

#[test]
fn what_nobody_knows_is_passed_over() {
    let clutter = |payloads: &mut Vec<Raw>| {
        payloads.insert(0, vendor("strongSwan"));
        payloads.insert(2, notify(NotifyType(40_001)));
        payloads.insert(1, unknown(200, false));
        payloads.push(unknown(49, false));
        payloads.push(vendor(""));
        payloads.push(notify(NotifyType(16_999)));
    };
    let mut peer = Peer::new();
    peer.init(clutter);
    let answer = peer.auth(SPI, clutter);
    assert_up(&peer, &answer);
    let mut child = peer::child_payloads(0x2000, peer.nonce(), Some(SPI));
    clutter(&mut child);
    let answer = peer.ask(Exchange::CreateChildSa, &child);
    assert!(
        answer.iter().any(|p| matches!(p, Payload::Sa(_))),
        "{answer:?}"
    );
}

#[test]
fn reserved_bits_and_a_higher_minor_version_mean_nothing() {
    let dirty = |payloads: &mut Vec<Raw>| {
        for payload in payloads {
            // The critical bit is ignored too, in payloads that everybody knows.
            payload.flags = 0xFF;
            match payload.kind {
                // KE: after the group. IDi: after the type, but it is part of the proof.
                34 => payload.body[2..4].fill(0xFF),
                // AUTH, TSi, TSr: after the first byte.
                39 | 44 | 45 => payload.body[1..4].fill(0xFF),
                _ => {}
            }
        }
    };
    let mut peer = Peer::new();
    peer.version = 0x2F;
    // All reserved bits, and V.
    peer.odd_flags = 0xD7;
    peer.init(dirty);
    let answer = peer.auth(SPI, dirty);
    assert_up(&peer, &answer);
}

#[test]
fn proposals_may_be_numbered_with_gaps_and_the_answer_names_the_right_one() {
    let mut peer = Peer::new();
    let answer = peer.init(|payloads| {
        let mut foreign = ike_proposal(2, Vec::new(), Group::Curve25519);
        foreign.transforms[1] = Transform::new(TransformType::Prf, 999);
        let right = ike_proposal(9, Vec::new(), Group::Curve25519);
        payloads[0] = Payload::Sa(vec![foreign, right]).into();
    });
    let number = answer.iter().find_map(|payload| match payload {
        Payload::Sa(proposals) => Some(proposals[0].number),
        _ => None,
    });
    assert_eq!(number, Some(9));
    let answer = peer.auth(SPI, |payloads| {
        let mut foreign = esp_proposal(3, SPI);
        foreign.transforms[0] = Transform::new(TransformType::Encryption, 999);
        payloads[2] = Payload::Sa(vec![foreign, esp_proposal(7, SPI)]).into();
    });
    assert_up(&peer, &answer);
}

/// The type that an UNSUPPORTED_CRITICAL_PAYLOAD names.
fn unsupported(answer: &[Payload]) -> Option<Vec<u8>> {
    answer.iter().find_map(|payload| match payload {
        Payload::Notify(n) if n.kind == NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD => {
            Some(n.data.clone())
        }
        _ => None,
    })
}

#[test]
fn an_unknown_payload_that_is_critical_is_refused_and_named() {
    let mut peer = Peer::new();
    let answer = peer.init(|payloads| payloads.push(unknown(200, true)));
    assert_eq!(unsupported(&answer), Some(vec![200]));
    assert_eq!(peer.endpoint.status(peer.now).half_open, 0);

    let mut peer = Peer::new();
    peer.init(|_| {});
    let answer = peer.auth(SPI, |payloads| payloads.insert(0, unknown(201, true)));
    assert_eq!(unsupported(&answer), Some(vec![201]));
    assert_eq!(peer.ike_sas(), 0);

    let mut peer = Peer::up(SPI);
    let answer = peer.ask(Exchange::Informational, &[unknown(202, true)]);
    assert_eq!(unsupported(&answer), Some(vec![202]));
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    // The SA goes on.
    assert_eq!(peer.ask(Exchange::Informational, &[]), Vec::new());
}

#[test]
fn an_exchange_that_nobody_knows_is_refused_and_the_sa_goes_on() {
    let mut peer = Peer::up(SPI);
    let answer = peer.ask(Exchange::Other(99), &[]);
    assert_eq!(kinds(&answer), [NotifyType::INVALID_SYNTAX]);
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
}

#[test]
fn a_group_that_the_peer_refuses_in_rekeying_the_ike_sa_is_replaced_by_the_one_it_wants() {
    let mut peer = Peer::with(connection());
    peer.init(|_| {});
    let answer = peer.auth(SPI, |_| {});
    assert_up(&peer, &answer);
    // The peer has been heard, so it knows the SA.
    peer.ask(Exchange::Informational, &[]);
    peer.command(ike::Command::RekeyIke(peer::ID));
    let (header, payloads) = peer.take_request().expect("a request");
    assert_eq!(group(&payloads), Some(Group::Curve25519.id()));
    let mut invalid = notify(NotifyType::INVALID_KE_PAYLOAD);
    invalid.body.extend(Group::Ecp256.id().to_be_bytes());
    peer.answer(header, &[invalid.clone()]);
    let (header, payloads) = peer.take_request().expect("a second request");
    assert_eq!(group(&payloads), Some(Group::Ecp256.id()));
    // Twice the same wish is no reason to go round for ever.
    peer.answer(header, &[invalid]);
    assert!(peer.take_request().is_none());
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
}

fn group(payloads: &[Payload]) -> Option<u16> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Ke(ke) => Some(ke.group),
        _ => None,
    })
}

#[test]
fn the_answer_to_another_major_version_says_ours_and_makes_nothing() {
    let mut peer = Peer::new();
    peer.version = 0x30;
    let answer = peer.init(|_| {});
    assert_eq!(kinds(&answer), [NotifyType::INVALID_MAJOR_VERSION]);
    let status = peer.endpoint.status(peer.now);
    assert_eq!((status.half_open, status.counters.bad_version), (0, 1));
    // Inside an SA the same message changes nothing.
    let mut peer = Peer::up(SPI);
    let mut request = peer.request(Exchange::Informational, &[]);
    request[17] = 0x30;
    peer.send(&request);
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    let answers: Vec<_> = peer
        .inbox
        .iter()
        .filter_map(|b| Message::decode(b).ok())
        .collect();
    let names: Vec<_> = answers
        .iter()
        .flat_map(|answer| kinds(&answer.payloads))
        .collect();
    assert_eq!(names, [NotifyType::INVALID_MAJOR_VERSION]);
}

/// A peer before which our side has these groups for CHILD_SAs, beside curve25519 for IKE; its child is up.
fn with_pfs(groups: &[Group]) -> Peer {
    let mut c = connection();
    c.esp[0].groups = groups.to_vec();
    let mut peer = Peer::with(c);
    peer.init(|_| {});
    let answer = peer.auth(SPI, |_| {});
    assert_up(&peer, &answer);
    // The peer has been heard, so it knows the SA.
    peer.ask(Exchange::Informational, &[]);
    peer
}

#[test]
fn the_first_value_in_a_childs_rekeying_is_of_the_ike_sas_group_where_our_proposals_permit_it() {
    for (groups, first) in [
        (vec![Group::Ecp256, Group::Curve25519], Group::Curve25519),
        (vec![Group::Ecp256, Group::Ecp384], Group::Ecp256),
    ] {
        let mut peer = with_pfs(&groups);
        peer.command(ike::Command::RekeyChild(peer::ID));
        let (_, payloads) = peer.take_request().expect("a request");
        assert_eq!(group(&payloads), Some(first.id()));
        let offered = payloads.iter().find_map(|payload| match payload {
            Payload::Sa(proposals) => Some(proposals[0].transforms.clone()),
            _ => None,
        });
        let offered: Vec<u16> = offered
            .unwrap_or_default()
            .iter()
            .filter(|t| t.kind == TransformType::Group)
            .map(|t| t.id)
            .collect();
        let all: Vec<u16> = groups.iter().map(|group| group.id()).collect();
        assert_eq!(offered, all, "the others stay on offer");
    }
}

/// What Libreswan answers to a value that is not of the group which it chose.
#[test]
fn a_value_that_is_called_invalid_syntax_is_followed_by_one_of_each_other_group() {
    let mut peer = with_pfs(&[Group::Ecp256, Group::Ecp384]);
    peer.command(ike::Command::RekeyChild(peer::ID));
    let mut tried = Vec::new();
    while let Some((header, payloads)) = peer.take_request() {
        tried.push(group(&payloads).expect("a value"));
        peer.answer(header, &[notify(NotifyType::INVALID_SYNTAX)]);
    }
    assert_eq!(tried, [Group::Ecp256.id(), Group::Ecp384.id()]);
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
}

#[test]
fn a_refused_first_rekey_leaves_the_tunnel_up_and_says_what_to_change() {
    let mut peer = with_pfs(&[Group::Ecp256]);
    peer.command(ike::Command::RekeyChild(peer::ID));
    let (header, _) = peer.take_request().expect("a request");
    peer.answer(header, &[notify(NotifyType::NO_PROPOSAL_CHOSEN)]);
    assert!(peer.take_request().is_none());
    assert_eq!((peer.ike_sas(), peer.children()), (1, 1));
    assert_eq!(peer.outbound, Some(SPI));
    let said: Vec<String> = peer
        .events
        .iter()
        .filter_map(|event| match event {
            ike::Event::Failure(diagnosis) => Some(diagnosis.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    for word in ["NO_PROPOSAL_CHOSEN", "ecp256", "PFS", "esp", "pfs"] {
        assert!(said[0].contains(word), "{word}: {said:?}");
    }
}

/// A child that the peer will not let us make is not asked for over and over: only IKE_AUTH gives one without a group.
#[test]
fn where_every_group_is_refused_the_ike_sa_ends_with_its_child() {
    let mut peer = with_pfs(&[Group::Ecp256]);
    for _ in 0..4000 {
        peer.wait(std::time::Duration::from_secs(1));
        while let Some((header, payloads)) = peer.take_request() {
            match header.exchange {
                Exchange::CreateChildSa => {
                    assert!(peer.children() > 0, "a child is asked for: {payloads:?}");
                    peer.answer(header, &[notify(NotifyType::NO_PROPOSAL_CHOSEN)]);
                }
                _ => peer.answer(header, &[]),
            }
        }
        if peer.ike_sas() == 0 {
            return;
        }
    }
    panic!("still {} IKE SAs", peer.ike_sas());
}
