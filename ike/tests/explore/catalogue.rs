//! What is explored: every pair of exchanges that can cross, and some threes.

use super::setup::{Guess, Low, Outcome, Setup, Start, Traffic};
use super::step::{Order, Side};

use Order::{DeleteChild, DeleteIke, Liveness, RekeyChild, RekeyIke, Restart, Up};
use Side::{A, B};

/// All set-ups.
pub fn all() -> Vec<Setup> {
    let mut all = crossed_rekeyings();
    all.extend(pairs());
    all.extend(wrong_groups());
    all.extend(beginnings());
    all.extend(threes());
    all
}

/// The same exchange from both sides, with the lowest nonce in each of the four messages.
pub fn crossed_rekeyings() -> Vec<Setup> {
    let mut list = Vec::new();
    for order in [RekeyChild, RekeyIke] {
        for low in Low::ALL {
            list.push(Setup::new(&[(A, order), (B, order)]).low(low));
        }
    }
    for low in Low::ALL {
        let both = Setup::new(&[(A, RekeyChild), (B, RekeyChild)]).low(low);
        list.push(both.traffic(Traffic::None));
    }
    for low in [Low::RequestOfA, Low::ResponseOfA] {
        let both = Setup::new(&[(A, RekeyChild), (B, RekeyChild)]).low(low);
        list.push(both.traffic(Traffic::Free));
    }
    list
}

/// Every two different things that can be asked of a tunnel that stands.
pub fn pairs() -> Vec<Setup> {
    let orders = [
        RekeyChild,
        RekeyIke,
        DeleteChild,
        DeleteIke,
        Liveness,
        Restart,
    ];
    let mut list = Vec::new();
    for (at, first) in orders.into_iter().enumerate() {
        for second in orders.into_iter().skip(at) {
            let same = first == second;
            if !(same && matches!(first, RekeyChild | RekeyIke)) {
                list.push(Setup::new(&[(A, first), (B, second)]));
            }
            if !same {
                list.push(Setup::new(&[(B, first), (A, second)]));
            }
        }
    }
    // Both of one side.
    for side in [A, B] {
        list.push(Setup::new(&[(side, RekeyChild), (side, RekeyIke)]));
        list.push(Setup::new(&[(side, RekeyChild), (side, DeleteChild)]));
        list.push(Setup::new(&[(side, RekeyChild), (side, DeleteIke)]));
        list.push(Setup::new(&[(side, RekeyIke), (side, DeleteIke)]));
    }
    list
}

/// INVALID_KE_PAYLOAD inside of a rekeying and inside of a collision.
pub fn wrong_groups() -> Vec<Setup> {
    let mut list = Vec::new();
    for guess in [Guess::WrongOfA, Guess::WrongOfB, Guess::BothWrong] {
        for low in [Low::RequestOfA, Low::RequestOfB] {
            let child = Setup::new(&[(A, RekeyChild), (B, RekeyChild)]);
            list.push(child.child_guess(guess).low(low));
        }
        let mixed = Setup::new(&[(A, RekeyChild), (B, RekeyIke)]);
        list.push(mixed.child_guess(guess));
        let deleted = Setup::new(&[(A, RekeyChild), (B, DeleteChild)]);
        list.push(deleted.child_guess(guess));
    }
    list
}

/// Setting up: by both at once, with wrong guesses, after both have started afresh, and things that
/// are asked before the peer has been heard.
pub fn beginnings() -> Vec<Setup> {
    let cold = || {
        Setup::new(&[(A, Up), (B, Up)])
            .start(Start::Cold)
            .outcome(Outcome::Up)
    };
    let mut list = vec![
        cold().ike_guess(Guess::WrongOfA),
        cold().ike_guess(Guess::BothWrong),
    ];
    list.extend(Low::ALL.map(|low| cold().low(low)));
    list.push(cold().both_initiate());
    list.push(cold().childless());
    list.push(cold().childless().both_initiate());
    for second in [Restart, RekeyChild, RekeyIke, DeleteIke] {
        let both = Setup::new(&[(A, Restart), (B, second)]).both_initiate();
        list.push(both.outcome(Outcome::Up));
    }
    for order in [RekeyChild, RekeyIke, DeleteChild, DeleteIke] {
        list.push(Setup::new(&[(B, order)]).start(Start::Fresh));
        list.push(Setup::new(&[(A, order), (B, order)]).start(Start::Fresh));
    }
    for order in [RekeyIke, DeleteIke, Restart] {
        let childless = Setup::new(&[(A, order), (B, order)]).childless();
        list.push(childless.both_initiate().outcome(Outcome::Up));
    }
    for order in [DeleteIke, DeleteChild] {
        list.push(Setup::new(&[(A, order), (B, order)]).both_initiate());
    }
    list
}

pub fn threes() -> Vec<Setup> {
    vec![
        Setup::new(&[(A, RekeyChild), (A, RekeyIke), (B, RekeyChild)]),
        Setup::new(&[(A, RekeyChild), (B, RekeyChild), (B, RekeyIke)]),
        Setup::new(&[(A, RekeyIke), (B, RekeyIke), (B, RekeyChild)]),
        Setup::new(&[(A, RekeyChild), (B, RekeyChild), (A, DeleteChild)]),
        Setup::new(&[(A, RekeyIke), (B, RekeyIke), (A, DeleteIke)]),
        Setup::new(&[(A, RekeyChild), (A, Liveness), (B, RekeyIke)]),
    ]
}
