//! What an exploration starts from, and what has to come of it.

use std::time::Duration;

use ike::{
    Connection, ConnectionId, Encryption, EsnPolicy, EspProposal, Group, IkeProposal, Integrity,
    Prf, Secret,
};
use std::net::{IpAddr, Ipv4Addr};

use super::step::{Order, Side};

pub const ID: ConnectionId = ConnectionId(1);

pub const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
];

/// Which of the four nonces of two crossed exchanges is the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Low {
    RequestOfA,
    RequestOfB,
    /// B's, in the answer to A.
    ResponseOfB,
    /// A's, in the answer to B.
    ResponseOfA,
}

impl Low {
    pub const ALL: [Self; 4] = [
        Self::RequestOfA,
        Self::RequestOfB,
        Self::ResponseOfB,
        Self::ResponseOfA,
    ];

    /// Who initiated the exchange that stays: the one without the lowest nonce.
    pub fn winner(self) -> Side {
        match self {
            Self::RequestOfA | Self::ResponseOfB => Side::B,
            Self::RequestOfB | Self::ResponseOfA => Side::A,
        }
    }

    /// Whether it is this side's, in a message of this kind.
    pub fn is_of(self, side: Side, response: bool) -> bool {
        (self == Self::RequestOfA && side == Side::A && !response)
            || (self == Self::RequestOfB && side == Side::B && !response)
            || (self == Self::ResponseOfB && side == Side::B && response)
            || (self == Self::ResponseOfA && side == Side::A && response)
    }
}

/// Whose first guess at a Diffie-Hellman group is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    Right,
    WrongOfA,
    WrongOfB,
    BothWrong,
}

/// When the ESP packets come by which a side learns that the peer uses a new SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    None,
    /// At once.
    Busy,
    /// At every possible moment.
    Free,
}

/// How far the two are when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No SA yet.
    Cold,
    /// IKE_AUTH was answered a moment ago.
    Fresh,
    /// Both have heard of each other since.
    Warm,
}

/// What has to come of every schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One working child, and the IKE SA never was down.
    NeverDown,
    /// One working child, and the tunnel never was down. A lost answer to a question after a hint
    /// may lead to another IKE SA.
    Replaced,
    /// One working child at last.
    Up,
    /// Nothing is left.
    Down,
}

/// Two endpoints and what is asked of them.
#[derive(Debug, Clone)]
pub struct Setup {
    pub name: String,
    pub orders: Vec<(Side, Order)>,
    pub low: Option<Low>,
    /// Of CREATE_CHILD_SA for children.
    pub child_guess: Guess,
    /// Of IKE_SA_INIT and of rekeying the IKE SA.
    pub ike_guess: Guess,
    pub traffic: Traffic,
    pub start: Start,
    pub initiates: [bool; 2],
    /// Whether the first child has an exchange of its own.
    pub childless: bool,
    pub outcome: Outcome,
    /// A millisecond passes with every step. Where SAs are set up, their age decides; elsewhere time
    /// stands still between timers, so that more ways lead to the same state.
    pub time_passes: bool,
    pub seed: u64,
}

impl Setup {
    /// Orders at a tunnel that stands; A initiated it.
    pub fn new(orders: &[(Side, Order)]) -> Self {
        let is_of = |list: &[Order]| orders.iter().all(|(_, order)| list.contains(order));
        let outcome = if is_of(&[Order::RekeyChild, Order::RekeyIke]) {
            Outcome::NeverDown
        } else if is_of(&[Order::RekeyChild, Order::RekeyIke, Order::Liveness]) {
            Outcome::Replaced
        } else {
            Outcome::Up
        };
        let names: Vec<String> = orders
            .iter()
            .map(|(side, order)| format!("{side}.{}", order.name()))
            .collect();
        Self {
            name: names.join(" "),
            orders: orders.to_vec(),
            low: None,
            child_guess: Guess::Right,
            ike_guess: Guess::Right,
            traffic: Traffic::Busy,
            start: Start::Warm,
            initiates: [true, false],
            childless: false,
            outcome,
            time_passes: orders.iter().any(|(_, order)| order.sets_up()),
            seed: 1,
        }
    }

    fn named(mut self, what: &str) -> Self {
        self.name = format!("{}, {what}", self.name);
        self
    }

    pub fn low(mut self, low: Low) -> Self {
        self.low = Some(low);
        self.named(&format!("lowest nonce: {low:?}"))
    }

    pub fn child_guess(mut self, guess: Guess) -> Self {
        self.child_guess = guess;
        self.named(&format!("child group: {guess:?}"))
    }

    pub fn ike_guess(mut self, guess: Guess) -> Self {
        self.ike_guess = guess;
        self.named(&format!("IKE group: {guess:?}"))
    }

    pub fn traffic(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self.named(&format!("traffic: {traffic:?}"))
    }

    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self.named(&format!("{start:?}"))
    }

    pub fn both_initiate(mut self) -> Self {
        self.initiates = [true, true];
        self.named("both initiate")
    }

    pub fn childless(mut self) -> Self {
        self.childless = true;
        self.named("childless")
    }

    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The connection as one side has it.
    pub fn connection(&self, side: Side) -> Connection {
        let at = side.index();
        let psk = Secret::from_slice(b"a shared secret of some length");
        let mut c = Connection::new(ID, "oci-1", ADDRESSES[at], ADDRESSES[1 - at], psk);
        c.ike = vec![IkeProposal {
            encryption: Encryption::AesCbc256,
            integrity: Some(Integrity::HmacSha256_128),
            prf: Prf::HmacSha256,
            groups: match self.child_guess {
                Guess::Right => groups(self.ike_guess, side),
                // The IKE SA's group is what is guessed first for a child.
                _ => vec![Group::Ecp256],
            },
        }];
        c.esp = vec![EspProposal {
            encryption: Encryption::AesGcm256,
            integrity: None,
            groups: groups(self.child_guess, side),
            esn: EsnPolicy::Either,
        }];
        c.pfs.ike_group = self.child_guess == Guess::Right;
        c.initiate = self.initiates[at];
        c.childless = self.childless;
        if !self.orders.iter().any(|(_, order)| order.sets_up()) {
            // Nobody is given up: whatever goes wrong is the exchanges' doing.
            c.liveness.give_up = Duration::from_secs(900);
        }
        c
    }
}

/// A wrong guess is a group that only this side has, before the common one.
fn groups(guess: Guess, side: Side) -> Vec<Group> {
    match (guess, side) {
        (Guess::WrongOfA | Guess::BothWrong, Side::A) => vec![Group::Ecp256, Group::Curve25519],
        (Guess::WrongOfB | Guess::BothWrong, Side::B) => vec![Group::Ecp384, Group::Curve25519],
        _ => vec![Group::Curve25519],
    }
}
