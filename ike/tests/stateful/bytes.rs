//! The input, read one choice at a time.

/// What is left of it. When nothing is left, everything reads as 0.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    /// One of so many; 0 of none.
    pub fn below(&mut self, count: usize) -> usize {
        let wide =
            usize::from(self.byte()) | usize::from(if count > 256 { self.byte() } else { 0 }) << 8;
        wide % count.max(1)
    }

    /// One of a list, which is not empty.
    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}
