//! Fragmentation of IPv4 packets before encryption (RFC 791 section 3.2, RFC 4303 section 3.3.4):
//! the far end host reassembles them, not the tunnel's other end.

use std::ops::Range;

use crate::{InnerPacket, IpVersion, checksum};

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
/// The longest IPv4 header.
const MAX_HEADER_LEN: usize = 60;

/// One fragment of a packet, not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    header: [u8; MAX_HEADER_LEN],
    header_len: usize,
    data: Range<usize>,
}

impl Fragment {
    /// The fragment's length, in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a fragment has a header and is never empty"
    )]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.header_len + (self.data.end - self.data.start)
    }

    /// Writes the fragment of `packet`, which is the one that was given to [`fragments`]. `None` if
    /// it does not fit `out`.
    #[must_use]
    pub fn write(&self, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        let (header, data) = out
            .get_mut(..self.len())?
            .split_at_mut_checked(self.header_len)?;
        header.copy_from_slice(self.header.get(..self.header_len)?);
        data.copy_from_slice(packet.get(self.data.clone())?);
        Some(self.len())
    }
}

/// The fragments of an IPv4 packet for this MTU, in order. Nothing if the packet must not be
/// fragmented, is IPv6, or if the MTU has no room for 8 bytes of data.
///
/// Whether the packet fits in one piece is for the caller to know; it would be its only fragment
/// then.
pub fn fragments(
    packet: &[u8],
    inner: &InnerPacket,
    mtu: u16,
) -> impl Iterator<Item = Fragment> + use<> {
    let plan = Plan::new(packet, inner, mtu);
    plan.into_iter()
        .flat_map(|plan| (0..plan.count).map(move |index| plan.fragment(index)))
}

/// What the fragments have in common.
#[derive(Clone)]
struct Plan {
    first_header: [u8; MAX_HEADER_LEN],
    later_header: [u8; MAX_HEADER_LEN],
    header_len: usize,
    total_len: usize,
    /// The bytes of data in each fragment but the last: a multiple of 8.
    step: usize,
    count: usize,
    /// The offset and flags of the packet, which can be a fragment itself.
    offset: u16,
    more: bool,
}

impl Plan {
    fn new(packet: &[u8], inner: &InnerPacket, mtu: u16) -> Option<Self> {
        if inner.version != IpVersion::V4 || inner.dont_fragment {
            return None;
        }
        let header_len = inner.header_len;
        let mut first_header = [0; MAX_HEADER_LEN];
        first_header
            .get_mut(..header_len)?
            .copy_from_slice(packet.get(..header_len)?);
        let mut later_header = first_header;
        blank_uncopied_options(later_header.get_mut(20..header_len)?);
        let data_len = inner.total_len.checked_sub(header_len)?;
        let room = usize::from(mtu).checked_sub(header_len)?;
        let step = room - room % 8;
        if step == 0 {
            return None;
        }
        let [_, _, _, _, _, _, flags0, flags1, ..] = first_header;
        let flags = u16::from_be_bytes([flags0, flags1]);
        let count = data_len.div_ceil(step).max(1);
        Some(Self {
            first_header,
            later_header,
            header_len,
            total_len: inner.total_len,
            step,
            count,
            offset: flags & OFFSET_MASK,
            more: flags & MORE_FRAGMENTS != 0,
        })
    }

    fn fragment(&self, index: usize) -> Fragment {
        let start = index * self.step;
        let data_start = self.header_len + start;
        let data = data_start..self.total_len.min(data_start + self.step);
        let mut header = if index == 0 {
            self.first_header
        } else {
            self.later_header
        };
        let more = self.more || index + 1 < self.count;
        // At most 65535 / 8, so it fits; an offset beyond 13 bits is the sender's packet's own
        // overflow.
        let units = (start / 8) as u16;
        let flags =
            self.offset.wrapping_add(units) & OFFSET_MASK | if more { MORE_FRAGMENTS } else { 0 };
        let total_len = (self.header_len + data.len()) as u16;
        let [_, _, len0, len1, _, _, flags0, flags1, _, _, sum0, sum1, ..] = &mut header;
        [*len0, *len1] = total_len.to_be_bytes();
        [*flags0, *flags1] = flags.to_be_bytes();
        [*sum0, *sum1] = [0, 0];
        let sum = checksum::finish(checksum::add(
            0,
            header.get(..self.header_len).unwrap_or(&[]),
        ));
        let [_, _, _, _, _, _, _, _, _, _, sum0, sum1, ..] = &mut header;
        [*sum0, *sum1] = sum;
        Fragment {
            header,
            header_len: self.header_len,
            data,
        }
    }
}

/// Only options with the copied flag belong into later fragments (RFC 791 section 3.1); the others
/// become no-operations, so that all headers have the same length.
fn blank_uncopied_options(options: &mut [u8]) {
    const COPIED: u8 = 0x80;
    const END: u8 = 0;
    const NOP: u8 = 1;
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let len = match kind {
            END => return,
            NOP => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or(0)).max(2),
        };
        let end = (at + len).min(options.len());
        if kind & COPIED == 0
            && let Some(option) = options.get_mut(at..end)
        {
            option.fill(NOP);
        }
        at = end;
    }
}
