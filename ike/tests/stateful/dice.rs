//! Scripts at random, the same for the same seed.

/// Longest script in octets.
const MOST: u64 = 300;

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // SplitMix64's step: seeds that are next to each other give scripts that are not.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn script(&mut self) -> Vec<u8> {
        let length = 2 + self.next() % MOST;
        (0..length).map(|_| (self.next() >> 56) as u8).collect()
    }
}
