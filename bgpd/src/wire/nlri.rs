//! Prefixes as they stand in UPDATEs (RFC 4271, section 4.3; RFC 4760, section 5): a length in bits, then as many octets
//! as it takes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Family;
use super::reader::Reader;

/// Reads a family's prefixes up to the end of the field; `None` if one is longer than an address of the family or than what
/// is left. Bits behind the prefix's length are of no meaning and are cleared. A family that is not IPv6 is read as IPv4.
#[must_use]
pub fn parse(family: Family, field: &[u8]) -> Option<Vec<IpNet>> {
    if family == Family::IPV6_UNICAST {
        each::<16>(field)
    } else {
        each::<4>(field)
    }
}

/// Prefixes of addresses of `N` octets.
fn each<const N: usize>(field: &[u8]) -> Option<Vec<IpNet>>
where
    IpAddr: From<[u8; N]>,
{
    let mut reader = Reader::new(field);
    let mut prefixes = Vec::new();
    while !reader.is_empty() {
        let length = reader.u8()?;
        if usize::from(length) > N * 8 {
            return None;
        }
        let octets = reader.take(usize::from(length.div_ceil(8)))?;
        let mut address = [0; N];
        address
            .iter_mut()
            .zip(octets)
            .for_each(|(to, from)| *to = *from);
        prefixes.push(IpNet::new(address.into(), length).ok()?.trunc());
    }
    Some(prefixes)
}

/// Appends one prefix.
pub fn emit(prefix: IpNet, out: &mut Vec<u8>) {
    let length = prefix.prefix_len();
    let octets = usize::from(length.div_ceil(8));
    out.push(length);
    match prefix.network() {
        IpAddr::V4(address) => out.extend(address.octets().iter().take(octets)),
        IpAddr::V6(address) => out.extend(address.octets().iter().take(octets)),
    }
}

/// How many octets [`emit`] appends.
#[must_use]
pub fn size(prefix: IpNet) -> usize {
    1 + usize::from(prefix.prefix_len().div_ceil(8))
}
