//! Sending and receiving several datagrams with one system call, with their local addresses and
//! TOS.
#![expect(
    unsafe_code,
    reason = "sendmmsg and recvmmsg take arrays of structures full of pointers"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

use libc::{c_int, cmsghdr, iovec, mmsghdr, msghdr};

/// Socket option and control message: cut what is sent (udp(7)).
pub(crate) const UDP_SEGMENT: c_int = 103;
/// Socket option and control message: what was received is several (udp(7)).
pub(crate) const UDP_GRO: c_int = 104;

/// The most datagrams of one call.
pub(crate) const BATCH: usize = 64;

/// Up to so many, less is prepared for a call: with trains it is the usual case.
const FEW: usize = 8;

/// A datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// What stands before the payload; may be empty.
    pub(crate) marker: &'a [u8],
    /// The payload.
    pub(crate) payload: &'a [u8],
    /// The source address; the kernel chooses if there is none.
    pub(crate) source: Option<IpAddr>,
    /// The destination. The port is 0 for raw sockets.
    pub(crate) destination: SocketAddr,
    /// Type of service or traffic class.
    pub(crate) tos: u8,
    /// That the payload is several datagrams of this length, of which the last may be shorter (`UDP_SEGMENT`).
    pub(crate) segment: Option<u16>,
}

impl Outgoing<'_> {
    /// An empty datagram.
    pub(crate) const fn to(destination: SocketAddr) -> Self {
        Self {
            marker: &[],
            payload: &[],
            source: None,
            destination,
            tos: 0,
            segment: None,
        }
    }
}

/// A datagram that was received; its bytes are in the buffer of the same index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    /// Its length in the buffer.
    pub(crate) len: usize,
    /// Whether the buffer was too short.
    pub(crate) truncated: bool,
    /// Where it came from.
    pub(crate) source: SocketAddr,
    /// The address that it was sent to, if the socket is set up to tell.
    pub(crate) destination: Option<IpAddr>,
    /// Type of service or traffic class, if the socket is set up to tell.
    pub(crate) tos: Option<u8>,
    /// That these are several datagrams of this length, of which the last may be shorter (`UDP_GRO`).
    pub(crate) segment: Option<usize>,
}

impl Incoming {
    const NONE: Self = Self {
        len: 0,
        truncated: false,
        source: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        destination: None,
        tos: None,
        segment: None,
    };
}

/// Sends the first datagrams of a batch, at most [`BATCH`], without waiting. Returns how many; the
/// error is that of the first one.
pub(crate) fn send(fd: BorrowedFd<'_>, batch: &[Outgoing<'_>]) -> io::Result<usize> {
    if batch.len() <= FEW {
        send_some::<FEW>(fd, batch)
    } else {
        send_some::<BATCH>(fd, batch)
    }
}

fn send_some<const N: usize>(fd: BorrowedFd<'_>, batch: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut names = [Name::EMPTY; N];
    let mut controls = [Control::EMPTY; N];
    let mut vectors = [[EMPTY_VECTOR; 2]; N];
    let mut messages = [EMPTY_MESSAGE; N];
    let count = batch.len().min(N);

    let parts = names
        .iter_mut()
        .zip(&mut controls)
        .zip(&mut vectors)
        .zip(&mut messages);
    for (datagram, (((name, control), vector), message)) in batch.iter().zip(parts) {
        *name = Name::encode(datagram.destination);
        let control_len = control.encode(datagram);
        *vector = [datagram.marker, datagram.payload].map(|bytes| iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        point(&mut message.msg_hdr, name, vector, control);
        message.msg_hdr.msg_namelen = name.len as _;
        message.msg_hdr.msg_controllen = control_len as _;
    }
    // SAFETY: the first `count` messages point to names, vectors and control buffers of this
    // function and to the callers' slices, all of which outlive the call, with their lengths;
    // sending only reads them.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as _,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives what is there, one datagram per `slot_len` bytes of the buffer, at most [`BATCH`],
/// without waiting. Returns what was received, which fills the first of `incoming`.
pub(crate) fn receive<'a>(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot_len: usize,
    incoming: &'a mut [Incoming; BATCH],
) -> io::Result<&'a [Incoming]> {
    if buffer.len() <= slot_len * FEW {
        receive_some::<FEW>(fd, buffer, slot_len, incoming)
    } else {
        receive_some::<BATCH>(fd, buffer, slot_len, incoming)
    }
}

fn receive_some<'a, const N: usize>(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot_len: usize,
    incoming: &'a mut [Incoming; BATCH],
) -> io::Result<&'a [Incoming]> {
    let mut names = [Name::EMPTY; N];
    let mut controls = [Control::EMPTY; N];
    let mut vectors = [[EMPTY_VECTOR; 1]; N];
    let mut messages = [EMPTY_MESSAGE; N];
    let slots = buffer.chunks_exact_mut(slot_len);
    let count = slots.len().min(N);

    let parts = names
        .iter_mut()
        .zip(&mut controls)
        .zip(&mut vectors)
        .zip(&mut messages);
    for (slot, (((name, control), vector), message)) in slots.zip(parts) {
        *vector = [iovec {
            iov_base: slot.as_mut_ptr().cast(),
            iov_len: slot.len(),
        }];
        point(&mut message.msg_hdr, name, vector, control);
    }
    // SAFETY: the first `count` messages point to names, vectors and control buffers of this
    // function and to the caller's buffers, all of which are exclusively ours and outlive the call,
    // with their lengths.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as _,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let parts = names.iter().zip(&controls).zip(&messages).take(received);
    for (to, ((name, control), message)) in incoming.iter_mut().zip(parts) {
        *to = Incoming {
            len: message.msg_len as usize,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            source: name.decode().unwrap_or(Incoming::NONE.source),
            ..Incoming::NONE
        };
        control.decode(message.msg_hdr.msg_controllen as _, to);
    }
    Ok(incoming.get(..received).unwrap_or(&[]))
}

/// Room for the results of [`receive`].
pub(crate) const fn incoming() -> [Incoming; BATCH] {
    [Incoming::NONE; BATCH]
}

const EMPTY_VECTOR: iovec = iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

const EMPTY_MESSAGE: mmsghdr = {
    // SAFETY: all-zero bytes are a valid msghdr (null pointers, zero lengths); some C libraries
    // have private padding in it.
    let msg_hdr = unsafe { std::mem::zeroed::<msghdr>() };
    mmsghdr {
        msg_hdr,
        msg_len: 0,
    }
};

/// Lets a message use the whole of these buffers.
fn point<const N: usize>(
    header: &mut msghdr,
    name: &mut Name,
    vectors: &mut [iovec; N],
    control: &mut Control,
) {
    header.msg_name = name.bytes.as_mut_ptr().cast();
    header.msg_namelen = NAME_LEN as _;
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = N as _;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN as _;
}

const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();

/// A `sockaddr_in` or `sockaddr_in6`, as bytes: the kernel copies it and asks for no alignment.
#[derive(Clone, Copy)]
struct Name {
    bytes: [u8; NAME_LEN],
    len: usize,
}

impl Name {
    const EMPTY: Self = Self {
        bytes: [0; NAME_LEN],
        len: 0,
    };

    fn encode(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        let mut put = |offset: usize, bytes: &[u8]| {
            if let Some(to) = name.bytes.get_mut(offset..offset + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        put(0, &(family as libc::sa_family_t).to_ne_bytes());
        put(2, &address.port().to_be_bytes());
        let len = match address {
            SocketAddr::V4(v4) => {
                put(4, &v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                put(8, &v6.ip().octets());
                put(24, &v6.scope_id().to_ne_bytes());
                NAME_LEN
            }
        };
        Self { len, ..name }
    }

    fn decode(&self) -> Option<SocketAddr> {
        let family = libc::sa_family_t::from_ne_bytes(*self.bytes.first_chunk()?);
        let port = u16::from_be_bytes(*self.bytes.get(2..)?.first_chunk()?);
        match c_int::from(family) {
            libc::AF_INET => {
                let ip: [u8; 4] = *self.bytes.get(4..)?.first_chunk()?;
                Some(SocketAddrV4::new(ip.into(), port).into())
            }
            libc::AF_INET6 => {
                let ip: [u8; 16] = *self.bytes.get(8..)?.first_chunk()?;
                let scope = u32::from_ne_bytes(*self.bytes.get(24..)?.first_chunk()?);
                Some(SocketAddrV6::new(ip.into(), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    bytes
        .first_chunk::<4>()
        .map(|octets| Ipv4Addr::from(*octets).into())
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    bytes
        .first_chunk::<16>()
        .map(|octets| Ipv6Addr::from(*octets).into())
}

const CONTROL_LEN: usize = 128;
const CONTROL_HEADER_LEN: usize = size_of::<cmsghdr>();

/// A buffer of control messages. Each is `struct cmsghdr` (length as a size_t, level, type), data,
/// and padding to a multiple of a word.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

impl Control {
    const EMPTY: Self = Self([0; CONTROL_LEN]);

    /// Writes the source address and TOS of a datagram; returns the length used.
    fn encode(&mut self, datagram: &Outgoing<'_>) -> usize {
        let mut used = 0;
        match datagram.source {
            // struct in_pktinfo: interface, address to send from, unused.
            Some(IpAddr::V4(source)) => {
                let mut info = [0; 12];
                if let Some(to) = info.get_mut(4..8) {
                    to.copy_from_slice(&source.octets());
                }
                used = self.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // struct in6_pktinfo: address, interface.
            Some(IpAddr::V6(source)) => {
                let mut info = [0; 20];
                if let Some(to) = info.first_chunk_mut() {
                    *to = source.octets();
                }
                used = self.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        let (level, kind) = match datagram.destination {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        used = self.put(used, level, kind, &c_int::from(datagram.tos).to_ne_bytes());
        if let Some(segment) = datagram.segment {
            used = self.put(used, libc::SOL_UDP, UDP_SEGMENT, &segment.to_ne_bytes());
        }
        used
    }

    fn put(&mut self, at: usize, level: c_int, kind: c_int, data: &[u8]) -> usize {
        let len = CONTROL_HEADER_LEN + data.len();
        let end = at + len.next_multiple_of(size_of::<usize>());
        let Some(space) = self.0.get_mut(at..end) else {
            return at;
        };
        let header = len
            .to_ne_bytes()
            .into_iter()
            .chain(level.to_ne_bytes())
            .chain(kind.to_ne_bytes())
            .chain(data.iter().copied());
        for (to, from) in space.iter_mut().zip(header) {
            *to = from;
        }
        end
    }

    fn decode(&self, len: usize, to: &mut Incoming) {
        let mut rest = self.0.get(..len).unwrap_or(&self.0);
        while let Some((level, kind, data, next)) = next_control(rest) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // The address in the packet's header, not the one that routing chose.
                    to.destination = data.get(8..).and_then(v4);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => to.destination = v6(data),
                (libc::IPPROTO_IP, libc::IP_TOS) => to.tos = data.first().copied(),
                (libc::SOL_UDP, UDP_GRO) => {
                    to.segment = data
                        .first_chunk()
                        .and_then(|b| usize::try_from(c_int::from_ne_bytes(*b)).ok())
                        .filter(|len| *len > 0);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    to.tos = data.first_chunk().map(|b| c_int::from_ne_bytes(*b) as u8);
                }
                _ => {}
            }
            rest = next;
        }
    }
}

/// The first control message of a buffer: level, type, data, and what follows.
fn next_control(bytes: &[u8]) -> Option<(c_int, c_int, &[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<{ size_of::<usize>() }>()?;
    let (level, rest) = rest.split_first_chunk::<{ size_of::<c_int>() }>()?;
    let (kind, _) = rest.split_first_chunk::<{ size_of::<c_int>() }>()?;
    let len = usize::from_ne_bytes(*len);
    let data = bytes.get(CONTROL_HEADER_LEN..len)?;
    let next = bytes
        .get(len.next_multiple_of(size_of::<usize>())..)
        .unwrap_or(&[]);
    Some((
        c_int::from_ne_bytes(*level),
        c_int::from_ne_bytes(*kind),
        data,
        next,
    ))
}
