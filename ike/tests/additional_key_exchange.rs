//! An additional key exchange with ML-KEM: in IKE_INTERMEDIATE (RFC 9242), and in IKE_FOLLOWUP_KE when the IKE SA is rekeyed (RFC 9370).

mod common;

use common::{A, B, Fate, ID, Pair, connection, ms, secs};
use ike::wire::{Exchange, Header};
use ike::{Command, Connection, Event, IkeProposal, Kem, Ppk, Secret};

/// Offers and accepts this mechanism, and then none.
fn with(kem: Kem) -> impl Fn(&mut Connection) {
    move |c| {
        let plain = c.ike[0].clone();
        let kems = vec![kem];
        c.ike = vec![
            IkeProposal {
                kems,
                ..plain.clone()
            },
            plain,
        ];
    }
}

/// Takes nothing without it.
fn only(kem: Kem) -> impl Fn(&mut Connection) {
    move |c| c.ike[0].kems = vec![kem]
}

fn none(_: &mut Connection) {}

fn pair(a: impl Fn(&mut Connection), b: impl Fn(&mut Connection)) -> Pair {
    start(Pair::new().with_traffic(ms(5)), a, b)
}

fn start(mut pair: Pair, a: impl Fn(&mut Connection), b: impl Fn(&mut Connection)) -> Pair {
    let [mut first, mut second] = [connection(A), connection(B)];
    a(&mut first);
    b(&mut second);
    second.initiate = false;
    pair.add(B, second);
    pair.add(A, first);
    pair.run_for(secs(10));
    pair
}

/// The suite of the only IKE SA, which is the same on both sides.
#[track_caller]
fn suite(pair: &Pair) -> String {
    pair.assert_one_working_child();
    let [a, b] = pair
        .status()
        .map(|side| side.connections[0].ike_sas[0].suite.clone());
    assert_eq!(a, b);
    assert_eq!([A, B].map(|side| pair.sides[side].plane.unreadable), [0, 0]);
    assert_eq!(
        [A, B].map(|side| pair.failures(side)),
        [const { Vec::<String>::new() }; 2]
    );
    a
}

/// How many datagrams of an exchange a side has sent.
fn sent(pair: &Pair, side: usize, exchange: Exchange) -> usize {
    let headers = pair.sides[side]
        .sent
        .iter()
        .filter_map(|t| Header::decode(&t.payload).ok());
    headers
        .filter(|(header, _)| header.exchange == exchange)
        .count()
}

const PLAIN: &str = "aes256-sha256-curve25519";

#[test]
fn both_that_have_it_use_it_and_what_is_too_long_goes_in_fragments() {
    for kem in Kem::ALL {
        let pair = pair(with(kem), with(kem));
        assert_eq!(suite(&pair), format!("{PLAIN}-ke1_{kem}"));
        assert_eq!(sent(&pair, A, Exchange::IkeIntermediate), 2);
        assert!(sent(&pair, B, Exchange::IkeIntermediate) >= 1);
        let longest = pair
            .sides
            .iter()
            .flat_map(|s| &s.sent)
            .map(|t| t.payload.len())
            .max();
        assert!(longest <= Some(1280 - 28), "{longest:?}");
    }
}

#[test]
fn one_that_does_not_have_it_is_met_without() {
    for pair in [
        pair(with(Kem::MlKem768), none),
        pair(none, with(Kem::MlKem768)),
        pair(with(Kem::MlKem768), with(Kem::MlKem1024)),
    ] {
        assert_eq!(suite(&pair), PLAIN);
        assert_eq!(sent(&pair, A, Exchange::IkeIntermediate), 0);
    }
}

#[test]
fn one_that_must_have_it_refuses_one_that_does_not_and_says_what_differs() {
    let pair = pair(none, only(Kem::MlKem768));
    let [_, b] = [A, B].map(|side| pair.failures(side).concat());
    assert!(
        b.contains(&format!(
            "we accept {PLAIN}-ke1_mlkem768, the peer offers {PLAIN}; nearest: additional key exchange ke1_mlkem768 here against none there"
        )),
        "{b}"
    );
}

#[test]
fn it_is_part_of_every_rekeying_of_the_ike_sa_by_either_side() {
    let mut pair = pair(with(Kem::MlKem768), with(Kem::MlKem768));
    for side in [A, B, A] {
        pair.forget_events();
        let before = pair.status()[A].connections[0].ike_sas[0].id;
        pair.command(side, Command::RekeyIke(ID));
        pair.run_for(secs(20));
        assert_eq!(suite(&pair), format!("{PLAIN}-ke1_mlkem768"));
        assert_ne!(pair.status()[A].connections[0].ike_sas[0].id, before);
        assert!(sent(&pair, side, Exchange::IkeFollowupKe) >= 1);
        for side in [A, B] {
            assert_eq!(
                pair.count(side, |e| matches!(e, Event::IkeRekeyed { .. })),
                1
            );
            assert_eq!(
                pair.count(side, |e| matches!(e, Event::TunnelDown { .. })),
                0
            );
        }
        pair.command(side, Command::RekeyChild(ID));
        pair.run_for(secs(20));
        suite(&pair);
    }
}

#[test]
fn rekeyings_that_cross_leave_one_ike_sa() {
    for seed in 1..=12 {
        let pair = Pair::seeded(seed).with_traffic(ms(5));
        let mut pair = start(pair, with(Kem::MlKem768), with(Kem::MlKem768));
        pair.forget_events();
        pair.command(A, Command::RekeyIke(ID));
        pair.run_for(ms(seed * 2));
        pair.command(B, Command::RekeyIke(ID));
        pair.run_for(secs(60));
        assert_eq!(suite(&pair), format!("{PLAIN}-ke1_mlkem768"));
        for side in [A, B] {
            assert_eq!(
                pair.count(side, |e| matches!(e, Event::TunnelDown { .. })),
                0
            );
        }
    }
}

#[test]
fn it_works_over_a_link_that_loses_and_repeats() {
    for seed in 1..=10 {
        let link = Pair::seeded(seed).lossy(0.25).duplicating(0.2);
        let mut pair = start(link, with(Kem::MlKem768), with(Kem::MlKem768));
        pair.run_until(secs(120), Pair::is_up);
        for side in [A, B] {
            pair.command(side, Command::RekeyIke(ID));
            pair.run_for(secs(60));
        }
        pair.set_loss(0.0);
        pair.run_for(secs(60));
        pair.assert_one_working_child();
        let suite = &pair.status()[A].connections[0].ike_sas[0].suite;
        assert_eq!(*suite, format!("{PLAIN}-ke1_mlkem768"));
    }
}

#[test]
fn a_lost_answer_to_ike_intermediate_is_given_again_although_the_keys_have_changed() {
    let mut first = true;
    let mut pair = Pair::new();
    pair.filter = Some(Box::new(move |side, transmit| {
        let header = Header::decode(&transmit.payload);
        let intermediate =
            header.is_ok_and(|(header, _)| header.exchange == Exchange::IkeIntermediate);
        if side == B && intermediate && std::mem::take(&mut first) {
            return Fate::Drop;
        }
        Fate::Deliver
    }));
    let pair = start(pair, with(Kem::MlKem768), with(Kem::MlKem768));
    assert_eq!(suite(&pair), format!("{PLAIN}-ke1_mlkem768"));
    assert!(pair.status()[B].counters.repeated_requests >= 1);
}

#[test]
fn a_ppk_and_a_first_child_of_its_own_go_with_it() {
    let all = |c: &mut Connection| {
        with(Kem::MlKem1024)(c);
        c.childless = true;
        c.ppk = Some(Ppk {
            id: "k1".to_owned(),
            secret: Secret::from_slice(b"thirty-two octets that nobody knows"),
            required: true,
        });
    };
    let pair = pair(all, all);
    assert_eq!(suite(&pair), format!("{PLAIN}-ke1_mlkem1024"));
    let sa = &pair.status()[A].connections[0].ike_sas[0];
    assert!(sa.ppk && sa.children[0].pfs.is_some());
}

#[test]
fn a_peer_that_never_goes_on_with_a_rekeying_does_not_stop_ours() {
    let mut pair = pair(with(Kem::MlKem768), with(Kem::MlKem768));
    let mut held = true;
    // A's IKE_FOLLOWUP_KE is lost until B has given up waiting for it.
    let start = pair.now;
    pair.forget_events();
    pair.filter = Some(Box::new(move |side, transmit| {
        let header = Header::decode(&transmit.payload);
        let followup = header.is_ok_and(|(header, _)| header.exchange == Exchange::IkeFollowupKe);
        if side == A && followup && std::mem::take(&mut held) {
            return Fate::Hold;
        }
        if side == A && followup {
            return Fate::Drop;
        }
        Fate::Deliver
    }));
    pair.command(A, Command::RekeyIke(ID));
    pair.run_for(secs(12));
    pair.filter = None;
    pair.command(B, Command::RekeyChild(ID));
    pair.run_for(secs(60));
    assert!(pair.now > start);
    suite(&pair);
    assert_eq!(pair.count(A, |e| matches!(e, Event::TunnelDown { .. })), 0);
    assert_eq!(pair.count(A, |e| matches!(e, Event::IkeRekeyed { .. })), 1);
}
