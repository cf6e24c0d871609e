//! Fragmentation before encryption.

use esp::fragments;
use proptest::prelude::*;

use super::{is_valid, parse, v4, v6};

fn split(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    fragments(packet, &parse(packet), mtu)
        .map(|fragment| {
            let mut out = vec![0; fragment.len()];
            assert_eq!(fragment.write(packet, &mut out), Some(fragment.len()));
            out
        })
        .collect()
}

fn flags(piece: &[u8]) -> u16 {
    u16::from_be_bytes([piece[6], piece[7]])
}

/// What the end host does: checks each header and puts the data together by offset.
fn reassemble(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut data = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let inner = parse(piece);
        assert_eq!(inner.total_len, piece.len());
        assert!(is_valid(&[&piece[..inner.header_len]]), "header checksum");
        assert_eq!(
            usize::from(flags(piece) & 0x1fff) * 8,
            data.len(),
            "no gap, no overlap"
        );
        assert_eq!(
            flags(piece) & 0x2000 != 0,
            index + 1 < pieces.len(),
            "more fragments"
        );
        data.extend_from_slice(&piece[inner.header_len..]);
    }
    data
}

proptest! {
    #[test]
    fn fragments_fit_and_make_the_packet_again(
        len in 0..9000_usize,
        options in 0..=10_usize,
        mtu in 68..1500_u16,
    ) {
        let payload: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
        let packet = v4(17, 0, &vec![1; options * 4], &payload);
        let pieces = split(&packet, mtu);
        prop_assert!(pieces.iter().all(|piece| piece.len() <= usize::from(mtu)));
        prop_assert_eq!(reassemble(&pieces), payload);
    }
}

#[test]
fn a_fragment_is_fragmented_further_with_its_own_offset() {
    // At 185 * 8, with more to come.
    let pieces = split(&v4(17, 0x2000 | 185, &[], &[7; 1000]), 600);
    let flags: Vec<u16> = pieces.iter().map(|piece| flags(piece)).collect();
    assert_eq!(flags, [0x2000 | 185, 0x2000 | (185 + 72)]);
}

#[test]
fn only_options_with_the_copied_flag_are_in_later_fragments() {
    // Record route (7, not copied), router alert (148, copied).
    let options = [7, 4, 4, 0, 148, 4, 0, 0];
    let pieces = split(&v4(17, 0, &options, &[7; 100]), 76);
    assert_eq!(pieces[0][20..28], options);
    assert_eq!(pieces[1][20..28], [1, 1, 1, 1, 148, 4, 0, 0]);
}

#[test]
fn what_must_not_be_fragmented_is_not() {
    assert!(
        split(&v4(17, 0x4000, &[], &[7; 1000]), 600).is_empty(),
        "DF"
    );
    assert!(split(&v6(17, &[7; 1000]), 600).is_empty(), "IPv6");
    assert!(
        split(&v4(17, 0, &[], &[7; 1000]), 27).is_empty(),
        "no room for data"
    );
}
