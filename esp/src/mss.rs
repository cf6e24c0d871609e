//! TCP MSS clamping: connections through the tunnel never make segments that do not fit it.

use crate::{InnerPacket, IpVersion, checksum};

const TCP: u8 = 6;
const TCP_HEADER_LEN: usize = 20;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lowers the maximum segment size that a SYN announces (RFC 9293 section 3.7.1) to what fits
/// `mtu`, and corrects the checksum. Returns whether the packet was changed.
///
/// Nothing is ever raised, and a SYN without the option is left alone: its sender then gets
/// segments of 536 (or 1220) bytes, which fit.
pub fn clamp_mss(packet: &mut [u8], inner: &InnerPacket, mtu: u16) -> bool {
    let Some((TCP, offset)) = inner.transport(packet) else {
        return false;
    };
    let ip_header = match inner.version {
        IpVersion::V4 => 20,
        IpVersion::V6 => 40,
    };
    let most = mtu.saturating_sub(ip_header + TCP_HEADER_LEN as u16);
    packet
        .get_mut(offset..inner.total_len)
        .and_then(|segment| clamp_segment(segment, most))
        .is_some()
}

fn clamp_segment(segment: &mut [u8], most: u16) -> Option<()> {
    let header = segment.first_chunk::<TCP_HEADER_LEN>()?;
    let [.., offset, flags, _, _, sum0, sum1, _, _] = *header;
    if flags & SYN == 0 {
        return None;
    }
    let header_len = usize::from(offset >> 4) * 4;
    let at = find_mss(segment.get(..header_len)?)?;
    let &old = segment.get(at..)?.first_chunk::<2>()?;
    if u16::from_be_bytes(old) <= most {
        return None;
    }
    let new = most.to_be_bytes();
    segment
        .get_mut(at..)?
        .first_chunk_mut::<2>()
        .map(|mss| *mss = new)?;
    // At an odd offset the value's two bytes belong to two words, which is the same as one word
    // with its bytes exchanged (RFC 1071 section 2 (B)).
    let [old, new] = if at % 2 == 0 {
        [old, new]
    } else {
        [swap(old), swap(new)]
    };
    let sum = checksum::update([sum0, sum1], old, new);
    segment
        .get_mut(16..)?
        .first_chunk_mut::<2>()
        .map(|checksum| *checksum = sum)
}

const fn swap([a, b]: [u8; 2]) -> [u8; 2] {
    [b, a]
}

/// Where the MSS option's value lies.
fn find_mss(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER_LEN;
    loop {
        match *header.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if kind == OPTION_MSS {
                    return (len == 4 && at + 4 <= header.len()).then_some(at + 2);
                }
                // An option is at least its kind and length; less would loop for ever.
                at += if len >= 2 { len } else { return None };
            }
        }
    }
}
