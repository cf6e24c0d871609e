//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624).

/// The one's complement sum of some bytes, not yet complemented, added to `sum`. An odd last byte
/// counts as the high half of a word, so only the last of several calls may have one.
pub(crate) fn add(sum: u32, bytes: &[u8]) -> u32 {
    // The sum does not care for the order of bytes (RFC 1071 section 2 (B)), nor for the size of the words if the carries
    // come back in the end ((A), (C)): four bytes at a time, as they lie in memory.
    let (words, rest) = bytes.as_chunks::<4>();
    let native: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let native = fold(native + u64::from(u32::from_ne_bytes(last)));
    u32::from(fold(u64::from(sum) + u64::from(u16::from_be(native))))
}

/// 16 bits, with all carries.
const fn fold(mut sum: u64) -> u16 {
    while sum > u16::MAX as u64 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The checksum that belongs to a sum.
pub(crate) fn finish(sum: u32) -> [u8; 2] {
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    (!(folded as u16)).to_be_bytes()
}

/// The checksum after one 16-bit word that it covers has changed: RFC 1624 equation 3, HC' = ~(~HC
/// + ~m + m').
pub(crate) fn update(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let word = |bytes| u32::from(u16::from_be_bytes(bytes));
    let not = |bytes| u32::from(!u16::from_be_bytes(bytes));
    finish(not(checksum) + not(old) + word(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        // RFC 1071 section 3.
        let sum = add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum, 0xddf2);
        assert_eq!(finish(sum), [0x22, 0x0d]);
    }

    #[test]
    fn the_example_of_rfc_1624_updates() {
        // RFC 1624 section 4: the case that the older equation gets wrong.
        assert_eq!(
            update([0xdd, 0x2f], [0x55, 0x55], [0x32, 0x85]),
            [0x00, 0x00]
        );
    }

    #[test]
    fn an_odd_last_byte_is_the_high_half_of_a_word() {
        assert_eq!(add(0, &[0x01, 0x02, 0x03]), 0x0102 + 0x0300);
    }
}
