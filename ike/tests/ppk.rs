//! Post-quantum pre-shared keys (RFC 8784): what both ends make of each other's.

mod common;

use common::{A, B, ID, Pair, connection, ms, secs};
use ike::wire::{Exchange, Message, NotifyType, Payload};
use ike::{Command, Event, Note, Ppk, Secret};

fn ppk(id: &str, secret: &[u8], required: bool) -> Option<Ppk> {
    Some(Ppk {
        id: id.to_owned(),
        secret: Secret::from_slice(secret),
        required,
    })
}

const KEY: &[u8] = b"thirty-two octets that nobody knows";

/// A initiates, each with its key.
fn run(a: Option<Ppk>, b: Option<Ppk>) -> Pair {
    let mut pair = Pair::new().with_traffic(ms(10));
    let [mut first, mut second] = [connection(A), connection(B)];
    (first.ppk, second.ppk) = (a, b);
    second.initiate = false;
    pair.add(B, second);
    pair.add(A, first);
    pair.run_for(secs(5));
    pair
}

/// Whether each side's IKE SA has the key.
fn mixed(pair: &Pair) -> [bool; 2] {
    pair.assert_one_working_child();
    let unreadable = pair.sides.iter().map(|side| side.plane.unreadable);
    assert_eq!(unreadable.sum::<u32>(), 0);
    pair.status().map(|side| side.connections[0].ike_sas[0].ppk)
}

fn notes(pair: &Pair) -> [usize; 2] {
    [A, B].map(|side| {
        let absent =
            |e: &Event| matches!(e, Event::Note(Note::WithoutPpk { id, .. }) if id == "k1");
        pair.count(side, absent)
    })
}

/// The first failure of each side, after the peer's name and address.
fn first_failures(pair: &Pair) -> [String; 2] {
    assert!(!pair.is_up());
    [A, B].map(|side| {
        let failure = pair.failures(side).first().cloned().unwrap_or_default();
        let text = failure.split_once(":500: ").map(|(_, text)| text);
        text.unwrap_or_default().to_owned()
    })
}

#[test]
fn a_key_that_both_have_is_used() {
    for required in [true, false] {
        let pair = run(ppk("k1", KEY, required), ppk("k1", KEY, required));
        assert_eq!(mixed(&pair), [true, true]);
        assert_eq!(notes(&pair), [0, 0]);
    }
}

#[test]
fn it_is_kept_by_rekeyings_from_either_side() {
    let mut pair = run(ppk("k1", KEY, true), ppk("k1", KEY, true));
    for side in [A, B] {
        for command in [Command::RekeyIke(ID), Command::RekeyChild(ID)] {
            pair.command(side, command);
            pair.run_for(secs(20));
            assert_eq!(mixed(&pair), [true, true]);
        }
    }
}

#[test]
fn an_optional_key_that_only_one_side_has_is_not_used_and_that_side_says_so() {
    let pair = run(ppk("k1", KEY, false), None);
    assert_eq!((mixed(&pair), notes(&pair)), ([false; 2], [1, 0]));
    let pair = run(None, ppk("k1", KEY, false));
    assert_eq!((mixed(&pair), notes(&pair)), ([false; 2], [0, 1]));
}

#[test]
fn two_optional_keys_of_different_names_are_not_used_and_both_say_so() {
    let pair = run(ppk("k1", KEY, false), ppk("k2", KEY, false));
    assert_eq!((mixed(&pair), notes(&pair)), ([false; 2], [1, 0]));
    assert_eq!(
        pair.count(
            B,
            |e| matches!(e, Event::Note(Note::WithoutPpk { id, .. }) if id == "k2")
        ),
        1
    );
}

#[test]
fn a_required_key_that_the_responder_does_not_have_ends_the_attempt_before_our_identity_is_shown() {
    let pair = run(ppk("k1", KEY, true), None);
    let [a, b] = first_failures(&pair);
    assert_eq!(
        a,
        "IKE_SA_INIT: the peer uses no post-quantum key (PPK), we require ours, 'k1': give the peer the same, or let ours be optional"
    );
    assert_eq!(b, "");
    let sent = |t: &ike::Transmit| t.payload.get(18).copied();
    assert!(pair.sides[A].sent.iter().all(|t| sent(t) == Some(34)));
}

#[test]
fn a_required_key_that_the_initiator_does_not_have_is_missed() {
    let pair = run(None, ppk("k1", KEY, true));
    let [a, b] = first_failures(&pair);
    assert!(a.contains("refuses us with AUTHENTICATION_FAILED"), "{a}");
    assert!(!a.contains("PPK"), "{a}");
    assert_eq!(
        b,
        "IKE_AUTH: the peer uses no post-quantum key (PPK), we require ours, 'k1': give the peer the same, or let ours be optional"
    );
}

#[test]
fn a_required_key_of_another_name_is_named_by_both() {
    let pair = run(ppk("k1", KEY, true), ppk("k2", KEY, false));
    let [a, b] = first_failures(&pair);
    assert!(
        a.ends_with(
            "the pre-shared keys differ, or the post-quantum keys (PPK) do, or the peer's is not named 'k1', or the peer expects another ID \
             of us"
        ),
        "{a}"
    );
    assert_eq!(
        b,
        "IKE_AUTH: the peer names the post-quantum key (PPK) 'k1', ours is 'k2': both ends need the same name and key"
    );
    let pair = run(ppk("k1", KEY, false), ppk("k2", KEY, true));
    let [_, b] = first_failures(&pair);
    assert!(b.contains("names the post-quantum key (PPK) 'k1'"), "{b}");
}

#[test]
fn another_key_of_the_same_name_is_told_from_a_wrong_psk_where_the_initiator_would_do_without() {
    let other = b"thirty-two octets of another key ..";
    let [_, b] = first_failures(&run(ppk("k1", KEY, false), ppk("k1", other, false)));
    assert_eq!(
        b,
        "IKE_AUTH: the post-quantum keys (PPK) 'k1' differ; the pre-shared keys are the same"
    );
    let [_, b] = first_failures(&run(ppk("k1", KEY, true), ppk("k1", other, true)));
    assert!(
        b.ends_with("the pre-shared keys differ, or the post-quantum keys (PPK) 'k1' do"),
        "{b}"
    );
}

#[test]
fn only_a_side_with_a_key_speaks_of_keys() {
    let pair = run(None, None);
    for side in &pair.sides {
        for transmit in &side.sent {
            let message = Message::decode(&transmit.payload);
            let Ok(message) = message else { continue };
            let speaks = message.payloads.iter().any(
                |payload| matches!(payload, Payload::Notify(n) if n.kind == NotifyType::USE_PPK),
            );
            assert!(!speaks);
            assert_eq!(message.header.exchange, Exchange::IkeSaInit);
        }
    }
    assert_eq!(mixed(&pair), [false, false]);
}

#[test]
fn a_forged_answer_without_use_ppk_cannot_take_an_optional_key_away_in_silence() {
    // Whoever strips USE_PPK from IKE_SA_INIT is found out by AUTH, which covers both messages.
    let mut pair = Pair::new();
    let [mut a, mut b] = [connection(A), connection(B)];
    (a.ppk, b.ppk) = (ppk("k1", KEY, false), ppk("k1", KEY, false));
    b.initiate = false;
    pair.filter = Some(Box::new(|side, transmit| {
        let Ok(mut message) = Message::decode(&transmit.payload) else {
            return common::Fate::Deliver;
        };
        if side != B || message.header.exchange != Exchange::IkeSaInit {
            return common::Fate::Deliver;
        }
        message
            .payloads
            .retain(|p| !matches!(p, Payload::Notify(n) if n.kind == NotifyType::USE_PPK));
        common::Fate::Replace(message.encode())
    }));
    pair.add(B, b);
    pair.add(A, a);
    pair.run_for(secs(5));
    assert!(!pair.is_up());
    let [a, b] = [A, B].map(|side| pair.failures(side).concat());
    assert!(
        a.contains("does not verify") || b.contains("does not verify"),
        "{a}\n{b}"
    );
}

#[test]
fn no_key_shows_in_events_or_status() {
    let pair = run(ppk("k1", KEY, false), ppk("k1", KEY, false));
    let shown = format!(
        "{:?}{:?}{:?}",
        pair.sides[A].events,
        pair.status(),
        connection(A)
    );
    let secret = ppk("k1", KEY, true);
    assert!(!format!("{shown}{secret:?}").contains("thirty-two"));
}
