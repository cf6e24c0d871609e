//! Rekeying a child, undisturbed and against everything that can cross it.

use super::setup::{Guess, Low, Outcome, Setup, Traffic};
use super::step::{Order, Side};
use super::{Expected, NOTHING, Row, row, run, with_low};

use Order::{DeleteChild, DeleteIke, RekeyChild, RekeyIke};
use Side::{A, B};

/// One child was replaced, which both sides say once.
const REKEYED: Expected = Expected {
    child: [1, 1],
    ..NOTHING
};

fn one(side: Side) -> Setup {
    Setup::new(&[(side, RekeyChild)])
}

fn both() -> Setup {
    Setup::new(&[(A, RekeyChild), (B, RekeyChild)])
}

/// What is not to be checked at the end is left out of the orders.
fn free(mut setup: Setup, outcome: Outcome) -> Setup {
    setup.orders.clear();
    setup.outcome(outcome)
}

#[test]
fn a_child_is_rekeyed_by_one_side() {
    let quiet = || one(A).traffic(Traffic::None);
    run(vec![
        row(
            "by A",
            one(A),
            "A.rekey-child >A1c4? >B1c4! >A1f5? >B1f5!",
            REKEYED,
        ),
        row(
            "by B",
            one(B),
            "B.rekey-child >B1c0? >A1c0! >B1f1? >A1f1!",
            REKEYED,
        ),
        row(
            "by A, with a group that B refuses",
            one(A).child_guess(Guess::WrongOfA),
            "A.rekey-child >A1c4? >B1c4! >A1c5? >B1c5! >A1f6? >B1f6!",
            REKEYED,
        ),
        row(
            "by B, with a group that A refuses",
            one(B).child_guess(Guess::WrongOfB),
            "B.rekey-child >B1c0? >A1c0! >B1c1? >A1c1! >B1f2? >A1f2!",
            REKEYED,
        ),
        row(
            "the responder's own soft limit of the same child is ignored",
            quiet(),
            "A.rekey-child >A1c4? B.soft-expire >B1c4! >A1f5? >B1f5!",
            REKEYED,
        ),
        row(
            "the responder's hard limit ends the old child, whose deletion never came",
            free(quiet(), Outcome::NeverDown),
            "A.rekey-child >A1c4? >B1c4! xA1f5? B.delete-child >B1f0? >A1f0!",
            REKEYED,
        ),
        row(
            "the responder deletes the old child before its answer has arrived",
            free(quiet(), Outcome::Up),
            "A.rekey-child >A1c4? B.delete-child tB >B1f0? >A1f0! >B1c4!",
            Expected {
                down: [1, 0],
                child: [0, 1],
                ..NOTHING
            },
        ),
        row(
            "the responder deletes the old child after its answer has arrived",
            free(quiet(), Outcome::NeverDown),
            "A.rekey-child >A1c4? >B1c4! B.delete-child >B1f0? >A1f5? >B1f5! >A1f0!",
            REKEYED,
        ),
        row(
            "the responder has lost the child: a new one is made",
            free(
                Setup::new(&[(A, RekeyChild), (B, DeleteChild)]),
                Outcome::Up,
            ),
            "A.rekey-child B.delete-child >B1f0? >A1f0! >A1c4? >B1c4!",
            Expected {
                down: [1, 1],
                ..NOTHING
            },
        ),
        row(
            "the deletion of the old child is lost again and again",
            one(A),
            "A.rekey-child >A1c4? >B1c4! xA1f5? tA xA1f5? tA xA1f5?",
            REKEYED,
        ),
    ]);
}

/// The same schedule with the lowest nonce in each message.
fn each_low(
    name: &str,
    lows: &[Low],
    schedule: &str,
    expected: impl Fn(Low) -> Expected,
) -> Vec<Row> {
    lows.iter()
        .map(|low| {
            row(
                with_low(name, *low),
                both().low(*low),
                schedule,
                expected(*low),
            )
        })
        .collect()
}

#[test]
fn both_sides_rekey_a_child_at_once() {
    let noticed = |low: Low| REKEYED.winner(low.winner());
    let mut rows = each_low(
        "requests and responses cross",
        &Low::ALL,
        "A.rekey-child B.rekey-child >A1c4? >B1c0? >A1c0! >B1c4!",
        noticed,
    );
    // B deletes the old child at once if its own one stays. If not, it sees first whether A sends on it all the same.
    let (stays, goes): (Vec<_>, Vec<_>) = Low::ALL.into_iter().partition(|low| low.winner() == B);
    for (lows, pause) in [(stays, ""), (goes, "tB ")] {
        rows.extend(each_low(
            "A's answer comes after B's deletion was answered",
            &lows,
            &format!(
                "A.rekey-child B.rekey-child >A1c4? >B1c0? >A1c0! {pause}>B1f1? >A1f1! >B1c4!"
            ),
            noticed,
        ));
        rows.extend(each_low(
            "A's answer comes after B's deletion",
            &lows,
            &format!(
                "A.rekey-child B.rekey-child >A1c4? >B1c0? >A1c0! {pause}>B1f1? >B1c4! >A1f1!"
            ),
            noticed,
        ));
    }
    run(rows);
}

#[test]
fn a_request_to_rekey_comes_after_the_peers_exchange() {
    let lows = [Low::RequestOfA, Low::RequestOfB, Low::ResponseOfA];
    // B saw no collision, so A has no answer to compare with.
    let unseen = |_| REKEYED;
    let mut rows = each_low(
        "B refuses for the moment, and its deletion comes after that",
        &lows,
        "A.rekey-child B.rekey-child >B1c0? >A1c0! >A1c4? >B1c4! >B1f1? >A1f1!",
        unseen,
    );
    rows.extend(each_low(
        "B refuses for the moment, and its deletion comes before that",
        &lows,
        "A.rekey-child B.rekey-child >B1c0? >A1c0! >A1c4? >B1f1? >B1c4! >A1f1!",
        unseen,
    ));
    rows.extend(each_low(
        "B has deleted the child",
        &lows,
        "A.rekey-child B.rekey-child >B1c0? >A1c0! >B1f1? >A1f1! >A1c4? >B1c4!",
        unseen,
    ));
    rows.extend(each_low(
        "B is deleting the child",
        &lows,
        "A.rekey-child B.rekey-child >B1c0? >A1c0! >B1f1? >A1c4? >B1c4! >A1f1!",
        unseen,
    ));
    run(rows);
}

#[test]
fn wrong_groups_inside_a_collision() {
    let wrong = |low| both().child_guess(Guess::BothWrong).low(low);
    let mut rows = Vec::new();
    for low in Low::ALL {
        rows.push(row(
            with_low("both are refused, and both ask again at once", low),
            wrong(low),
            "A.rekey-child B.rekey-child >A1c4? >B1c0? >A1c0! >B1c4! >A1c5? >B1c1? >A1c1! >B1c5!",
            REKEYED.winner(low.winner()),
        ));
    }
    for low in [Low::RequestOfA, Low::RequestOfB, Low::ResponseOfA] {
        rows.push(row(
            with_low("both are refused, and A asks again when B is done", low),
            wrong(low),
            "A.rekey-child B.rekey-child >A1c4? >B1c0? >A1c0! >B1c4! >B1c1? >A1c1! >A1c5? >B1c5! >B1f2? >A1f2!",
            REKEYED,
        ));
    }
    run(rows);
}

#[test]
fn a_child_is_rekeyed_by_one_side_and_deleted_by_the_other() {
    let setup = |rekeyer: Side| {
        let both = [(rekeyer, RekeyChild), (rekeyer.other(), DeleteChild)];
        free(Setup::new(&both), Outcome::Up)
    };
    let gone = Expected {
        down: [1, 1],
        ..NOTHING
    };
    run(vec![
        row(
            "A rekeys",
            setup(A),
            "A.rekey-child B.delete-child >A1c4? >B1f0? >B1c4! >A1f0!",
            gone,
        ),
        row(
            "B rekeys",
            setup(B),
            "B.rekey-child A.delete-child >B1c0? >A1f4? >A1c0! >B1f4!",
            gone,
        ),
        row(
            "A rekeys, the deletion is lost",
            setup(A),
            "A.rekey-child B.delete-child xB1f0? >A1c4? >B1c4!",
            gone,
        ),
        row(
            "B rekeys, the deletion is lost",
            setup(B),
            "B.rekey-child A.delete-child xA1f4? >B1c0? >A1c0!",
            gone,
        ),
        row(
            "A rekeys, its request is lost",
            setup(A),
            "A.rekey-child B.delete-child xA1c4? >B1f0? >A1f0!",
            gone,
        ),
        row(
            "B rekeys, its request is lost",
            setup(B),
            "B.rekey-child A.delete-child xB1c0? >A1f4? >B1f4!",
            gone,
        ),
        row(
            "A rekeys, the refusal is late",
            setup(A),
            "A.rekey-child B.delete-child >A1c4? >B1f0? >A1f0! >B1c4!",
            gone,
        ),
        row(
            "B rekeys, the refusal is late",
            setup(B),
            "B.rekey-child A.delete-child >B1c0? >A1f4? >B1f4! >A1c0!",
            gone,
        ),
    ]);
}

#[test]
fn a_child_is_rekeyed_while_the_ike_sa_is_rekeyed_or_deleted() {
    let with =
        |rekeyer: Side, other| Setup::new(&[(rekeyer, RekeyChild), (rekeyer.other(), other)]);
    let later = Expected {
        ike: [1, 1],
        ..REKEYED
    };
    let down = Expected {
        down: [1, 1],
        ..NOTHING
    };
    run(vec![
        row(
            "A rekeys the child, B the IKE SA: both are put off, both are done later",
            with(A, RekeyIke),
            "A.rekey-child B.rekey-ike >A1c4? >B1c0? >B1c4! >A1c0!",
            later,
        ),
        row(
            "B rekeys the child, A the IKE SA: both are put off, both are done later",
            with(B, RekeyIke),
            "B.rekey-child A.rekey-ike >B1c0? >A1c4? >A1c0! >B1c4!",
            later,
        ),
        row(
            "A rekeys the child, B deletes the IKE SA",
            free(with(A, DeleteIke), Outcome::Up),
            "A.rekey-child B.delete-ike >A1c4? >B1f0? >B1c4! >A1f0!",
            down,
        ),
        row(
            "B rekeys the child, A deletes the IKE SA",
            free(with(B, DeleteIke), Outcome::Up),
            "B.rekey-child A.delete-ike >B1c0? >A1f4? >A1c0! >B1f4!",
            down,
        ),
    ]);
}
