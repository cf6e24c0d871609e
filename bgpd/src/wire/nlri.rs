//! Prefixes as they stand in UPDATEs (RFC 4271, section 4.3): a length in bits, then as many octets
//! as it takes.

use ipnet::{IpNet, Ipv4Net};

use super::reader::Reader;

/// Reads IPv4 prefixes up to the end of the field; `None` if one is longer than 32 bits or than what
/// is left. Bits behind the prefix's length are of no meaning and are cleared.
#[must_use]
pub fn parse_ipv4(field: &[u8]) -> Option<Vec<IpNet>> {
    let mut reader = Reader::new(field);
    let mut prefixes = Vec::new();
    while !reader.is_empty() {
        let length = reader.u8()?;
        if length > 32 {
            return None;
        }
        let octets = reader.take(usize::from(length.div_ceil(8)))?;
        let mut address = [0; 4];
        address
            .iter_mut()
            .zip(octets)
            .for_each(|(to, from)| *to = *from);
        prefixes.push(Ipv4Net::new(address.into(), length).ok()?.trunc().into());
    }
    Some(prefixes)
}

/// Appends one prefix.
pub fn emit(prefix: IpNet, out: &mut Vec<u8>) {
    let length = prefix.prefix_len();
    let octets = usize::from(length.div_ceil(8));
    out.push(length);
    match prefix.network() {
        std::net::IpAddr::V4(address) => out.extend(address.octets().iter().take(octets)),
        std::net::IpAddr::V6(address) => out.extend(address.octets().iter().take(octets)),
    }
}

/// How many octets [`emit`] appends.
#[must_use]
pub fn size(prefix: IpNet) -> usize {
    1 + usize::from(prefix.prefix_len().div_ceil(8))
}
