//! One side: its endpoint, its data plane, its randomness, and what it has said.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::hash::{Hash, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use ike::{ChildSa, Endpoint, EndpointConfig, Event};
use rand::{TryCryptoRng, TryRng};

use super::step::Side;

/// Numbers from a counter, so that the generator of a copied world goes on where the first one's is.
/// Draws of 32 bytes, which nonces are, begin as wanted.
#[derive(Clone)]
pub struct Dice {
    at: Arc<AtomicU64>,
    pub first: Arc<AtomicU16>,
}

pub const UNBIASED: u16 = 0x100;

impl Dice {
    fn new(at: u64) -> Self {
        Self {
            at: Arc::new(AtomicU64::new(at)),
            first: Arc::new(AtomicU16::new(UNBIASED)),
        }
    }

    /// Another one that will give the same numbers.
    fn copy(&self) -> Self {
        Self::new(self.at.load(Ordering::Relaxed))
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        let step = 0x9E37_79B9_7F4A_7C15;
        let mut z = self
            .at
            .fetch_add(step, Ordering::Relaxed)
            .wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
        let first = u8::try_from(self.first.load(Ordering::Relaxed));
        if let (32, Ok(first)) = (bytes.len(), first) {
            bytes[0] = first;
        }
        Ok(())
    }
}

impl TryCryptoRng for Dice {}

/// What a data plane has been told.
#[derive(Default, Clone)]
pub struct Plane {
    pub inbound: BTreeMap<u32, Rc<ChildSa>>,
    pub outbound: Option<Rc<ChildSa>>,
    /// Inbound SPIs of SAs whose hard limit was reached.
    pub expired: BTreeSet<u32>,
    pub seen: BTreeSet<u32>,
}

/// How often something was said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub child_rekeyed: u32,
    pub ike_rekeyed: u32,
    pub tunnel_down: u32,
    pub ike_down: u32,
    pub failures: u32,
    /// Collisions that this side's exchange won, and lost.
    pub won: u32,
    pub lost: u32,
}

pub struct Host {
    pub endpoint: Endpoint,
    pub plane: Plane,
    pub tally: Tally,
    pub dice: Dice,
    /// How often it has started afresh.
    pub starts: u64,
}

impl Host {
    pub fn new(seed: u64, side: Side, starts: u64) -> Self {
        let dice = Dice::new(digest(&(seed, side, starts)));
        Self {
            endpoint: Endpoint::with_rng(EndpointConfig::default(), Box::new(dice.clone())),
            plane: Plane::default(),
            tally: Tally::default(),
            dice,
            starts,
        }
    }

    pub fn fork(&self) -> Self {
        let dice = self.dice.copy();
        Self {
            endpoint: self.endpoint.fork(Box::new(dice.clone())),
            plane: self.plane.clone(),
            tally: self.tally,
            dice,
            starts: self.starts,
        }
    }
}

pub fn digest(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// An event on one line.
pub fn brief(event: &Event) -> String {
    match event {
        Event::InboundAdd(sa) => format!("InboundAdd {:08x} (out {:08x})", sa.spi_in, sa.spi_out),
        Event::OutboundUse(sa) => format!("OutboundUse {:08x} of {:08x}", sa.spi_out, sa.spi_in),
        Event::InboundRemove { spi_in, .. } => format!("InboundRemove {spi_in:08x}"),
        other => format!("{other:?}"),
    }
}
