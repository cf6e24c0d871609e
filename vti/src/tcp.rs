//! TCP socket options that routing protocols want and no library offers.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::sys::sockopt;

/// `TCP_RTO_MAX_MS` of linux/tcp.h (Linux 6.15 and later).
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// `TCP_THIN_LINEAR_TIMEOUTS` of linux/tcp.h.
const TCP_THIN_LINEAR_TIMEOUTS: libc::c_int = 16;

/// Keeps the pause between retransmissions short, so that a session that slept through a tunnel's outage goes on within a moment of
/// its end instead of after a minute of back-off. At least 1 s, the kernel's lower bound.
///
/// # Errors
/// The kernel is older than Linux 6.15 and knows no upper bound; then the first six pauses are linear instead.
pub fn limit_retransmission_pause(socket: impl AsFd, pause: Duration) -> io::Result<()> {
    let fd = socket.as_fd();
    let milliseconds =
        libc::c_int::try_from(pause.as_millis().max(1000)).unwrap_or(libc::c_int::MAX);
    sockopt::set(fd, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, milliseconds).or_else(|error| {
        sockopt::set(fd, libc::IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1)?;
        Err(error)
    })
}

/// `TCP_MD5SIG_MAXKEYLEN` of linux/tcp.h.
pub const LONGEST_MD5_KEY: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h: a `sockaddr_storage`, one octet each of flags and prefix length, the key's length in 16 bits, an
/// interface index in 32, and room for the longest key.
const MD5SIG: usize = 128 + 1 + 1 + 2 + 4 + LONGEST_MD5_KEY;

/// Has all segments to and from a peer signed with this key (RFC 2385), on a socket that is to be connected or that listens; `None`
/// takes the key away. Segments that are not signed with it are dropped by the kernel in silence.
///
/// # Errors
/// The key is longer than [`LONGEST_MD5_KEY`] octets or empty, or the kernel has no TCP MD5.
pub fn sign(socket: impl AsFd, peer: IpAddr, key: Option<&[u8]>) -> io::Result<()> {
    let key = match key {
        Some(key) if key.is_empty() || key.len() > LONGEST_MD5_KEY => {
            let octets = key.len();
            let reason =
                format!("a TCP MD5 key has 1 to {LONGEST_MD5_KEY} octets, this one has {octets}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Some(key) => key,
        // A key of no octets is how the kernel is told to forget one.
        None => &[],
    };
    let value = md5sig(peer, key);
    sockopt::set_octets(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_MD5SIG, &value)
}

fn md5sig(peer: IpAddr, key: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(Vec::with_capacity(MD5SIG));
    // Port 0 and flow 0 stand for any.
    match peer {
        IpAddr::V4(address) => {
            value.extend((libc::AF_INET as u16).to_ne_bytes());
            value.extend([0, 0]);
            value.extend(address.octets());
        }
        IpAddr::V6(address) => {
            value.extend((libc::AF_INET6 as u16).to_ne_bytes());
            value.extend([0; 6]);
            value.extend(address.octets());
        }
    }
    value.resize(130, 0);
    let length = u16::try_from(key.len()).unwrap_or(0);
    value.extend(length.to_ne_bytes());
    value.extend([0; 4]);
    value.extend(key);
    value.resize(MD5SIG, 0);
    value
}

/// `IPV6_MINHOPCOUNT` of linux/in6.h.
const IPV6_MINHOPCOUNT: libc::c_int = 73;

/// Drops whatever arrives from that peer with a smaller TTL, or hop limit, than this (RFC 5082).
///
/// # Errors
/// The socket is not one of the peer's address family.
pub fn demand_ttl(socket: impl AsFd, peer: IpAddr, least: u8) -> io::Result<()> {
    let (level, option) = match peer {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT),
    };
    sockopt::set(socket.as_fd(), level, option, least.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_structure_as_it_is_laid_out_here() {
        let value = md5sig("192.0.2.1".parse().unwrap(), b"key");
        assert_eq!(value.len(), 216);
        assert_eq!(value[4..8], [192, 0, 2, 1]);
        assert_eq!(value[130..132], 3u16.to_ne_bytes());
        assert_eq!(&value[136..140], b"key\0");
    }

    #[test]
    fn keys_that_cannot_be_are_refused_with_their_length() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = "127.0.0.1".parse().unwrap();
        for key in [&[0; 81][..], &[]] {
            let refusal = sign(&socket, peer, Some(key)).unwrap_err().to_string();
            assert!(refusal.contains("1 to 80"), "{refusal}");
        }
        sign(&socket, peer, Some(b"a key")).unwrap();
        sign(&socket, peer, None).unwrap();
    }
}
