//! NAT detection (RFC 7296 section 2.23), and how encapsulation is forced.

use std::net::{IpAddr, SocketAddr};

use rand::Rng as _;

use crate::connection::Encapsulation;
use crate::context::Context;
use crate::wire::{IkeSpi, Notify, NotifyType, Payload};

/// What the peer's hashes say about the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Detected {
    /// The peer sent hashes, so it can do NAT traversal.
    pub(crate) supported: bool,
    /// Our address was changed on the way.
    pub(crate) local_nat: bool,
    /// The peer's address was changed on the way, or the peer forces encapsulation.
    pub(crate) remote_nat: bool,
}

fn hash(spi_i: IkeSpi, spi_r: IkeSpi, address: SocketAddr) -> [u8; 20] {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => crypto::sha1(&[&spi_i.0, &spi_r.0, &ip.octets(), &port]),
        IpAddr::V6(ip) => crypto::sha1(&[&spi_i.0, &spi_r.0, &ip.octets(), &port]),
    }
}

/// The two notifications for a message from `local` to `remote`; none where encapsulation is
/// ruled out.
pub(crate) fn announce(
    cx: &mut Context,
    encapsulation: Encapsulation,
    (spi_i, spi_r): (IkeSpi, IkeSpi),
    local: SocketAddr,
    remote: SocketAddr,
) -> Vec<Payload> {
    let source = match encapsulation {
        Encapsulation::Never => return Vec::new(),
        Encapsulation::Auto => hash(spi_i, spi_r, local),
        // A hash that cannot match makes the peer see a NAT in front of us.
        Encapsulation::Force => {
            let mut random = [0; 20];
            cx.rng.fill_bytes(&mut random);
            random
        }
    };
    let destination = hash(spi_i, spi_r, remote);
    let notify = |kind, data: [u8; 20]| Payload::Notify(Notify::with_data(kind, data.to_vec()));
    vec![
        notify(NotifyType::NAT_DETECTION_SOURCE_IP, source),
        notify(NotifyType::NAT_DETECTION_DESTINATION_IP, destination),
    ]
}

/// Compares the peer's notifications with the addresses of the datagram that carried them.
pub(crate) fn detect<'a>(
    notifies: impl Iterator<Item = &'a Notify> + Clone,
    (spi_i, spi_r): (IkeSpi, IkeSpi),
    local: SocketAddr,
    remote: SocketAddr,
) -> Detected {
    let hashes = |kind| {
        let of_kind = notifies.clone().filter(move |n| n.kind == kind);
        of_kind.map(|n| n.data.as_slice())
    };
    let mut sources = hashes(NotifyType::NAT_DETECTION_SOURCE_IP).peekable();
    let mut destinations = hashes(NotifyType::NAT_DETECTION_DESTINATION_IP).peekable();
    if sources.peek().is_none() || destinations.peek().is_none() {
        return Detected::default();
    }
    Detected {
        supported: true,
        // A peer with several addresses sends several source hashes; one has to match.
        remote_nat: !sources.any(|h| h == hash(spi_i, spi_r, remote)),
        local_nat: !destinations.any(|h| h == hash(spi_i, spi_r, local)),
    }
}

/// The notifications among payloads.
pub(crate) fn notifies(payloads: &[Payload]) -> impl Iterator<Item = &Notify> + Clone {
    payloads.iter().filter_map(|payload| match payload {
        Payload::Notify(notify) => Some(notify),
        _ => None,
    })
}
