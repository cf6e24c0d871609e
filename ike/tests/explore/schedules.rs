//! Schedules that once broke a promise, each with what was wrong.

use super::catalogue;
use super::search::run;
use super::step::parse;
use super::world::World;

/// Runs a schedule of a set-up of the catalogue.
#[track_caller]
fn hold(name: &str, schedule: &str) -> World {
    let setup = catalogue::all()
        .into_iter()
        .find(|setup| setup.name == name);
    let setup = setup.unwrap_or_else(|| panic!("no set-up is called {name}"));
    let steps = parse(schedule).unwrap_or_else(|error| panic!("{error}"));
    match run(&setup, &steps, false) {
        Ok(world) => world,
        Err(trouble) => panic!("{name}: {schedule}: {trouble:?}"),
    }
}

/// The loser's DELETE of its redundant SA came before the winner had the answer to its own request,
/// and was reported as the end of an IKE SA that nobody had seen.
#[test]
fn the_end_of_a_redundant_ike_sa_is_no_event_while_the_collision_is_open() {
    hold(
        "A.rekey-ike B.rekey-ike, lowest nonce: RequestOfB",
        "A.rekey-ike B.rekey-ike >A1c4? >B1c0? >A1c0! >B2f0?",
    );
}

/// Without any ESP packet since IKE_AUTH the responder took the first child for no better than one
/// that the peer did not have yet, and sent on that.
#[test]
fn an_idle_responder_waits_for_the_peer_before_it_uses_the_new_child() {
    hold(
        "A.rekey-child B.rekey-child, lowest nonce: RequestOfA, traffic: None",
        "A.rekey-child >A1c4?",
    );
}

/// A hint that the peer had lost the SA, and an answer that came late: the attempt that was begun
/// beside the SA went on although the SA had proved to live, and replaced it.
#[test]
fn an_attempt_beside_an_sa_that_lives_after_all_is_dropped() {
    let world = hold(
        "A.liveness B.liveness",
        "A.liveness >A1f4? tA >A1f4? >A2i0? >B1f4! >B1f4! >B2i0!",
    );
    assert_eq!(world.hosts.map(|host| host.tally.ike_down), [0, 0]);
}

/// The peer's rekeying of the IKE SA took a child's rekeying that was put off with the old SA: nobody
/// rekeyed the child any more, until its lifetime was over.
#[test]
fn a_childs_rekeying_that_was_put_off_is_done_on_the_new_ike_sa() {
    hold(
        "A.rekey-child B.rekey-ike",
        "B.rekey-ike A.rekey-child >A1c4? >B1c4! >B1c0? >A1c0!",
    );
}

/// After INITIAL_CONTACT the initiator kept its old SA as a reserve, and fell back to it, although
/// the peer had dropped it.
#[test]
fn whoever_says_initial_contact_lets_its_own_old_sas_go_too() {
    hold(
        "B.delete-ike A.liveness",
        "A.liveness >A1f4? tA >A1f4? >A2i0? >B2i0! >A2a1? >B2a1! B.delete-ike",
    );
}
