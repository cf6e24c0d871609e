//! The anti-replay window (RFC 4303 section 3.4.3) as a ring of words (RFC 6479), and the
//! reconstruction of the sequence number's high half (RFC 4303 appendix A).

use crate::DropReason;

/// The sequence numbers that were received lately.
///
/// Numbers right of the highest one seen move the window; numbers in it are accepted once; numbers
/// left of it never. The ring has at least one word more than the window, so that moving it clears
/// whole words and never shifts (RFC 6479 section 2).
///
/// Use: [`infer`](Self::infer) and [`check`](Self::check) before a packet is authenticated,
/// [`accept`](Self::accept) after, which checks again because another thread may have been faster.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// How many numbers the window holds, a multiple of 64.
    size: u64,
    /// The highest number accepted; 0 before the first.
    top: u64,
    /// Bit `n % 64` of word `n / 64 % words.len()` is set if `n` was accepted. The length is a
    /// power of two.
    words: Box<[u64]>,
}

impl ReplayWindow {
    /// The smallest window: RFC 4303 section 3.4.3 wants 64 as the default.
    pub const MIN_SIZE: u32 = 64;
    /// The largest window.
    pub const MAX_SIZE: u32 = 8192;

    /// A window for `size` packets, brought into 64..=8192 and rounded up to a multiple of 64.
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = size
            .clamp(Self::MIN_SIZE, Self::MAX_SIZE)
            .next_multiple_of(64);
        let words = (size as usize / 64 + 1).next_power_of_two();
        Self {
            size: u64::from(size),
            top: 0,
            words: vec![0; words].into_boxed_slice(),
        }
    }

    /// How many packets the window holds.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The highest sequence number accepted so far; 0 before the first.
    #[must_use]
    pub const fn top(&self) -> u64 {
        self.top
    }

    /// The full sequence number that a packet's low half stands for (RFC 4303 appendix A2.1 and
    /// A2.2): the one in the window or, failing that, the next one right of it.
    ///
    /// # Errors
    /// [`DropReason::TooOld`] for a number that would lie before the first one.
    pub const fn infer(&self, low: u32) -> Result<u64, DropReason> {
        const SUBSPACE: u64 = 1 << 32;
        let top_low = self.top % SUBSPACE;
        let top_high = self.top / SUBSPACE;
        let low = low as u64;
        let high = if top_low >= self.size - 1 {
            // Case A: the window lies within one subspace.
            let bottom = top_low + 1 - self.size;
            if low >= bottom {
                Some(top_high)
            } else {
                top_high.checked_add(1)
            }
        } else {
            // Case B: the window reaches back into the subspace before.
            let bottom = SUBSPACE + top_low + 1 - self.size;
            if low >= bottom {
                top_high.checked_sub(1)
            } else {
                Some(top_high)
            }
        };
        match high {
            Some(high) if high < SUBSPACE => Ok(high * SUBSPACE + low),
            _ => Err(DropReason::TooOld),
        }
    }

    /// Whether a packet with this number could be accepted.
    ///
    /// # Errors
    /// [`DropReason::Replayed`] if it was accepted before (or is 0, which is never sent),
    /// [`DropReason::TooOld`] if the window has moved past it.
    pub fn check(&self, sequence: u64) -> Result<(), DropReason> {
        if sequence == 0 {
            return Err(DropReason::Replayed);
        }
        if sequence > self.top {
            return Ok(());
        }
        if self.top - sequence >= self.size {
            return Err(DropReason::TooOld);
        }
        let (word, bit) = self.position(sequence);
        match self.words.get(word) {
            Some(word) if word & bit == 0 => Ok(()),
            _ => Err(DropReason::Replayed),
        }
    }

    /// Marks a number as received, once its packet is known to be authentic.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn accept(&mut self, sequence: u64) -> Result<(), DropReason> {
        self.check(sequence)?;
        if sequence > self.top {
            // Every word between the two tops is new. More than a whole ring need not be cleared.
            let words = self.words.len() as u64;
            let from = self.top / 64 + 1;
            let to = sequence / 64;
            let from = from.max((to + 1).saturating_sub(words));
            for number in from..=to {
                let (word, _) = self.position(number * 64);
                if let Some(word) = self.words.get_mut(word) {
                    *word = 0;
                }
            }
            self.top = sequence;
        }
        let (word, bit) = self.position(sequence);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
        Ok(())
    }

    const fn position(&self, sequence: u64) -> (usize, u64) {
        let word = (sequence / 64) as usize & (self.words.len() - 1);
        (word, 1 << (sequence % 64))
    }
}
