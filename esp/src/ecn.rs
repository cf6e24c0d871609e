//! DSCP and ECN across the tunnel (RFC 4301 section 5.1.2, RFC 6040).

use crate::{DropReason, InnerPacket, IpVersion, checksum};

const ECN_MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The outer header's type of service or traffic class for a packet that enters the tunnel: RFC
/// 6040's normal mode, in which the ECN field is copied. The DSCP is copied if the tunnel is
/// configured so; it is a covert channel otherwise (RFC 4301 section 5.1.2.1 note 6).
#[must_use]
pub const fn outer_tos(inner: &InnerPacket, copy_dscp: bool) -> u8 {
    if copy_dscp {
        inner.tos
    } else {
        inner.tos & ECN_MASK
    }
}

/// Combines the outer ECN field with the inner one for a packet that leaves the tunnel: the table
/// of RFC 6040 section 4.2. The inner DSCP stays as it is.
///
/// # Errors
/// [`DropReason::CongestionMark`] if congestion was marked on a packet whose transport cannot react
/// to it.
pub fn decapsulate_ecn(
    packet: &mut [u8],
    inner: &InnerPacket,
    outer_tos: u8,
) -> Result<(), DropReason> {
    let inner_ecn = inner.tos & ECN_MASK;
    let arriving = match (inner_ecn, outer_tos & ECN_MASK) {
        (NOT_ECT, CE) => return Err(DropReason::CongestionMark),
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        (inner, _) => inner,
    };
    if arriving != inner_ecn {
        set_tos(packet, inner.version, inner.tos & !ECN_MASK | arriving);
    }
    Ok(())
}

fn set_tos(packet: &mut [u8], version: IpVersion, tos: u8) {
    match version {
        IpVersion::V4 => {
            let Some([version, old, _, _, _, _, _, _, _, _, sum0, sum1]) =
                packet.first_chunk_mut::<12>()
            else {
                return;
            };
            let sum = checksum::update([*sum0, *sum1], [*version, *old], [*version, tos]);
            *old = tos;
            [*sum0, *sum1] = sum;
        }
        IpVersion::V6 => {
            let Some([b0, b1]) = packet.first_chunk_mut::<2>() else {
                return;
            };
            *b0 = *b0 & 0xf0 | tos >> 4;
            *b1 = *b1 & 0x0f | tos << 4;
        }
    }
}
