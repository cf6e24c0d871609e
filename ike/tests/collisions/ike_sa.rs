//! Rekeying the IKE SA, undisturbed and against everything that can cross it.

use super::setup::{Low, Outcome, Setup};
use super::step::{Order, Side};
use super::{Expected, NOTHING, Row, row, run, with_low};

use Order::{DeleteIke, RekeyIke};
use Side::{A, B};

const REKEYED: Expected = Expected {
    ike: [1, 1],
    ..NOTHING
};

fn one(side: Side) -> Setup {
    Setup::new(&[(side, RekeyIke)])
}

fn both() -> Setup {
    Setup::new(&[(A, RekeyIke), (B, RekeyIke)])
}

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

const THREE: [Low; 3] = [Low::RequestOfA, Low::RequestOfB, Low::ResponseOfA];

#[test]
fn the_ike_sa_is_rekeyed_by_one_side() {
    run(vec![
        row(
            "by A",
            one(A),
            "A.rekey-ike >A1c4? >B1c4! >A1f5? >B1f5!",
            REKEYED,
        ),
        row(
            "by B",
            one(B),
            "B.rekey-ike >B1c0? >A1c0! >B1f1? >A1f1!",
            REKEYED,
        ),
    ]);
}

#[test]
fn both_sides_rekey_the_ike_sa_at_once() {
    let noticed = |low: Low| REKEYED.winner(low.winner());
    let mut rows = each_low(
        "requests and responses cross",
        &Low::ALL,
        "A.rekey-ike B.rekey-ike >A1c4? >B1c0? >A1c0! >B1c4!",
        noticed,
    );
    // If B has won, its deletion of the old SA tells A so; A has no need of the answer any more.
    rows.extend(each_low(
        "A's answer comes after B's deletion",
        &Low::ALL,
        "A.rekey-ike B.rekey-ike >A1c4? >B1c0? >A1c0!",
        noticed,
    ));
    run(rows);
}

#[test]
fn a_request_to_rekey_the_ike_sa_is_lost_or_late() {
    let unseen = |_| REKEYED;
    let mut rows = each_low(
        "A's request is lost, and repeated when B is done",
        &THREE,
        "A.rekey-ike B.rekey-ike xA1c4? >B1c0? >A1c0!",
        unseen,
    );
    rows.extend(each_low(
        "A's request comes when B is done",
        &THREE,
        "A.rekey-ike B.rekey-ike >B1c0? >A1c0! >A1c4? >B1c4!",
        unseen,
    ));
    rows.extend(each_low(
        "A's request comes after B's deletion",
        &THREE,
        "A.rekey-ike B.rekey-ike >B1c0? >A1c0! >B1f1? >A1f1! >A1c4?",
        unseen,
    ));
    run(rows);
}

#[test]
fn the_ike_sa_is_rekeyed_by_one_side_and_deleted_by_the_other() {
    let setup = |rekeyer: Side| {
        let mut setup = Setup::new(&[(rekeyer, RekeyIke), (rekeyer.other(), DeleteIke)]);
        setup.orders.clear();
        setup.outcome(Outcome::Up)
    };
    let down = Expected {
        down: [1, 1],
        ..NOTHING
    };
    run(vec![
        row(
            "A rekeys",
            setup(A),
            "A.rekey-ike B.delete-ike >A1c4? >B1f0? >B1c4! >A1f0!",
            down,
        ),
        row(
            "B rekeys",
            setup(B),
            "B.rekey-ike A.delete-ike >B1c0? >A1f4? >A1c0! >B1f4!",
            down,
        ),
        row(
            "A rekeys, the deletion is lost",
            setup(A),
            "A.rekey-ike B.delete-ike xB1f0? >A1c4? >B1c4!",
            down,
        ),
        row(
            "B rekeys, the deletion is lost",
            setup(B),
            "B.rekey-ike A.delete-ike xA1f4? >B1c0? >A1c0!",
            // A's new SA says INITIAL_CONTACT, so that one takes the place of the other.
            Expected {
                down: [1, 0],
                ..NOTHING
            },
        ),
    ]);
}
