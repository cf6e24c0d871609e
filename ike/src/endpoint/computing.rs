//! IKE_SA_INIT requests whose keys are computed outside ([`Job`]).
//!
//! Such a request counts as half open: it costs us memory, and the computation. There is one job for a request however often it
//! is repeated.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crypto::{Group, Secret};

use crate::job::{Job, JobId};
use crate::sa::Addresses;

/// An outcome that takes longer does not come, or is for a peer that has given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The requests that wait, by their jobs.
#[derive(Default)]
pub(super) struct Computing {
    waiting: BTreeMap<JobId, Awaited>,
    jobs: VecDeque<Job>,
    last: u64,
}

/// A request that waits.
pub(super) struct Awaited {
    from: Addresses,
    request: Vec<u8>,
    until: Instant,
}

impl Awaited {
    pub(super) fn new(now: Instant, from: Addresses, request: &[u8]) -> Self {
        Self {
            from,
            request: request.to_vec(),
            until: now + PATIENCE,
        }
    }
}

impl Computing {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of them came from an address.
    pub(super) fn of(&self, source: IpAddr) -> usize {
        let of_source = |one: &&Awaited| one.from.remote.ip() == source;
        self.waiting.values().filter(of_source).count()
    }

    /// Whether this very request waits.
    pub(super) fn awaits(&self, from: Addresses, request: &[u8]) -> bool {
        let mut all = self.waiting.values();
        all.any(|one| one.from.remote == from.remote && one.request == request)
    }

    pub(super) fn begin(&mut self, awaited: Awaited, group: Group, peer: Vec<u8>, seed: Secret) {
        self.last += 1;
        let id = JobId(self.last);
        self.waiting.insert(id, awaited);
        self.jobs.push_back(Job {
            id,
            group,
            peer,
            seed,
        });
    }

    pub(super) fn poll(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// The request that a job was for, where it came from, and that nobody waits for it any more.
    pub(super) fn take(&mut self, id: JobId) -> Option<(Addresses, Vec<u8>)> {
        let awaited = self.waiting.remove(&id)?;
        Some((awaited.from, awaited.request))
    }

    /// Lets go of those that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.waiting.retain(|_, one| one.until > now);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().map(|one| one.until).min()
    }

    /// Lets go of all.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.jobs.clear();
    }
}
