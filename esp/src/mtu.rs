//! How large an inner packet can be without its outer packet being fragmented.

use crypto::Suite;

use crate::Layout;
use crate::packet::TRAILER_LEN;

/// What carries the ESP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encapsulation {
    /// IP protocol 50.
    #[default]
    None,
    /// UDP, for NAT traversal (RFC 3948).
    Udp,
}

impl Encapsulation {
    /// Bytes between the outer IP header and the ESP header.
    #[must_use]
    pub const fn overhead(self) -> usize {
        match self {
            Self::None => 0,
            Self::Udp => 8,
        }
    }
}

/// The tunnel's MTU: the largest inner packet whose outer packet is at most `outer_mtu` bytes. 0 if
/// there is none.
///
/// The encrypted part (payload, padding and trailer) is a whole number of cipher blocks, so the MTU
/// moves in steps.
#[must_use]
pub fn tunnel_mtu(
    outer_mtu: u16,
    suite: Suite,
    encapsulation: Encapsulation,
    outer_v6: bool,
) -> u16 {
    let layout = Layout::of(suite);
    let outer_ip = if outer_v6 { 40 } else { 20 };
    let around = outer_ip + encapsulation.overhead() + layout.header_len() + layout.icv_len;
    let encrypted = usize::from(outer_mtu).saturating_sub(around);
    let whole_blocks = encrypted - encrypted % layout.alignment;
    u16::try_from(whole_blocks.saturating_sub(TRAILER_LEN)).unwrap_or(u16::MAX)
}
