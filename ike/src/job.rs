//! Diffie-Hellman computations that are too slow for the caller's loop: they leave the endpoint as jobs and come back as outcomes.
//!
//! A job is a value like any other: it can be run at once, later, on another thread or never, and in any order. The endpoint
//! holds nothing up for it, and takes its silence for a peer that was never heard.

use std::fmt;

use crypto::{Group, Secret};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Names a job of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(crate) u64);

/// A key pair to be made and joined with a peer's public value. Its secrets are zeroized when it goes.
pub struct Job {
    pub(crate) id: JobId,
    pub(crate) group: Group,
    /// The peer's public value, as its KE payload had it.
    pub(crate) peer: Vec<u8>,
    /// What our private value is drawn from.
    pub(crate) seed: Secret,
}

/// What came of a job, for [`crate::Endpoint::handle_outcome`].
pub struct Outcome {
    pub(crate) id: JobId,
    pub(crate) exchanged: Result<Exchanged, crypto::Error>,
}

/// A Diffie-Hellman exchange, done.
pub(crate) struct Exchanged {
    pub(crate) group: Group,
    /// Our public value, as the KE payload carries it.
    pub(crate) public: Vec<u8>,
    pub(crate) shared: Secret,
}

impl Job {
    /// The group, by which it can be told how long it takes: milliseconds to some tens of them.
    #[must_use]
    pub const fn group(&self) -> Group {
        self.group
    }

    /// Computes: takes the processor for as long as the group asks.
    #[must_use]
    pub fn run(self) -> Outcome {
        let seed = <[u8; 32]>::try_from(self.seed.expose()).unwrap_or_default();
        let mut rng = StdRng::from_seed(seed);
        Outcome {
            id: self.id,
            exchanged: Exchanged::compute(self.group, &self.peer, &mut rng),
        }
    }
}

impl Exchanged {
    /// Makes a key pair and joins it with the peer's public value.
    ///
    /// # Errors
    /// Where that is none of the group's.
    pub(crate) fn compute(
        group: Group,
        peer: &[u8],
        rng: &mut dyn crypto::CryptoRng,
    ) -> Result<Self, crypto::Error> {
        let key = group.generate(rng);
        Ok(Self {
            group,
            shared: key.agree(peer)?,
            public: key.public().to_vec(),
        })
    }
}

/// Whether the group's arithmetic is worth leaving the loop for. What is not takes less than a third of a millisecond.
pub(crate) const fn is_slow(group: Group) -> bool {
    !matches!(group, Group::Curve25519 | Group::Ecp256)
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({}, {})", self.id.0, self.group)
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outcome({})", self.id.0)
    }
}
