//! The plane's sockets: UDP for IKE, UDP for NAT traversal (shared by IKE and ESP), raw IP protocol
//! 50.
//!
//! Outer packets and fragmentation: ESP packets carry DF (`IP_PMTUDISC_DO`). They are made to fit
//! the path, so that a fragment is a fault; if the path turns out to be narrower the kernel learns
//! it from ICMP, refuses the next packet with EMSGSIZE, and the plane makes the inner packets
//! smaller. IKE messages may be fragmented (RFC 7296 section 2 leaves large ones to IP, or to RFC
//! 7383).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::holder;
use super::{Offloads, UserPlaneConfig};
use crate::plane::{Encap, Error};
use crate::sys::datagrams::{UDP_GRO, UDP_SEGMENT};
use crate::sys::sockopt as raw_sockopt;

/// What the kernel may queue per socket, in bytes. It holds about 3 ms of 10 Gbit/s, and is the
/// kernel's memory, not ours.
const SOCKET_BUFFER: usize = 4 << 20;

const ESP: i32 = 50;

#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) ports: Arc<IkePorts>,
    pub(super) esp: Socket,
    /// Where the kernel puts the IKE messages that come to the NAT traversal port, so that they neither wait behind ESP
    /// packets nor are dropped with them when there are too many. Without it they come with the ESP packets.
    pub(super) nat_ike: Option<Socket>,
    /// Whether the kernel cuts large datagrams (`UDP_SEGMENT`). It turns off when a device on the way cannot.
    pub(super) segments: AtomicBool,
}

impl Sockets {
    pub(super) fn open(config: &UserPlaneConfig) -> Result<Self, Error> {
        Ok(Self {
            // The raw socket comes first: from then on the kernel does not answer ESP with
            // "protocol unreachable".
            esp: open_raw(config.bind)?,
            ports: Arc::new(IkePorts::open(config)?),
            nat_ike: None,
            segments: AtomicBool::new(false),
        })
    }

    /// Lets the kernel tell IKE from ESP on the NAT traversal port, if it can: a second socket of the same port, and a
    /// filter that chooses. The port was bound without sharing it, so it is nobody else's; who shares it now must be of
    /// the same user and ask for it.
    pub(super) fn separate_ike(&mut self) {
        let UserPlaneConfig { bind, nat_port, .. } = self.config;
        let separate = || {
            self.nat.set_reuse_port(true)?;
            let domain = Domain::for_address(SocketAddr::new(bind, nat_port));
            let kind = Type::DGRAM.nonblocking().cloexec();
            let socket = Socket::new(domain, kind, Some(Protocol::UDP))?;
            if bind.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_port(true)?;
            ask_for_addresses(&socket, bind)?;
            socket.bind(&SocketAddr::new(bind, nat_port).into())?;
            enlarge_buffers(&socket);
            // The sockets are numbered in the order in which they came. IKE begins with the non-ESP marker (RFC 3948
            // section 2.2); what is too short to be loaded is given to the first one.
            raw_sockopt::choose_by_first_word(socket.as_fd(), 0, 1)?;
            Ok::<_, io::Error>(socket)
        };
        match separate() {
            Ok(socket) => self.nat_ike = Some(socket),
            Err(cause) => {
                tracing::info!(%cause, "the kernel does not tell IKE from ESP: they share a queue");
                let _ = self.nat.set_reuse_port(false);
            }
        }
    }

    /// Lets the kernel cut and merge datagrams on the NAT traversal port, as far as it is wanted and it can.
    pub(super) fn offload(&self) {
        let Offloads { segment, merge, .. } = self.config.offloads;
        let nat = self.nat.as_fd();
        // Setting no size changes nothing, but asks whether the option exists: Linux 4.18.
        let asked = |wanted: bool, what, name, value| {
            let result = wanted.then(|| raw_sockopt::set(nat, libc::SOL_UDP, name, value));
            match &result {
                Some(Err(cause)) => {
                    tracing::info!(%cause, "the kernel does not {what} datagrams: slower, but it works")
                }
                Some(Ok(())) => tracing::debug!("the kernel can {what} datagrams"),
                None => tracing::info!("the kernel is not asked to {what} datagrams"),
            }
            matches!(result, Some(Ok(())))
        };
        let cuts = asked(segment, "cut", UDP_SEGMENT, 0);
        self.segments.store(cuts, Ordering::Relaxed);
        asked(merge, "merge", UDP_GRO, 1);
    }
}

impl Deref for Sockets {
    type Target = IkePorts;

    fn deref(&self) -> &IkePorts {
        &self.ports
    }
}

/// The two UDP ports of IKE, which either plane has.
#[derive(Debug)]
pub(crate) struct IkePorts {
    pub(crate) config: UserPlaneConfig,
    pub(crate) ike: Socket,
    pub(crate) nat: Socket,
}

impl IkePorts {
    pub(crate) fn open(config: &UserPlaneConfig) -> Result<Self, Error> {
        Ok(Self {
            config: *config,
            ike: open_udp(config.bind, config.ike_port, Fragmentation::Allowed)?,
            nat: open_udp(config.bind, config.nat_port, Fragmentation::Forbidden)?,
        })
    }

    /// The same with a socket for NAT traversal that a process before this one has opened, and set up as this one would.
    pub(crate) fn with(config: &UserPlaneConfig, nat: Socket) -> Result<Self, Error> {
        Ok(Self {
            config: *config,
            ike: open_udp(config.bind, config.ike_port, Fragmentation::Allowed)?,
            nat,
        })
    }

    /// Whether ESP can travel between these addresses, so encapsulated, by these sockets.
    pub(crate) fn check_path(
        &self,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error> {
        self.check_family(local)?;
        self.check_family(remote)?;
        let UserPlaneConfig {
            ike_port, nat_port, ..
        } = self.config;
        match encap {
            Encap::Udp { local_port, .. } if local_port != nat_port => Err(Error::Port {
                port: local_port,
                ike_port,
                nat_port,
            }),
            _ => Ok(()),
        }
    }

    /// Whether an outer address can be used with these sockets.
    fn check_family(&self, address: IpAddr) -> Result<(), Error> {
        let bound = self.config.bind;
        if address.is_ipv4() == bound.is_ipv4() {
            Ok(())
        } else {
            Err(Error::AddressFamily { address, bound })
        }
    }

    /// Sends one datagram from the NAT traversal port even if IP has to fragment it: for IKE. ESP
    /// packets that are sent in the same moment lack DF, which does no harm.
    pub(super) fn nat_fragmenting<T>(&self, send: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        set_fragmentation(self.nat.as_fd(), self.config.bind, Fragmentation::Allowed)?;
        let sent = send();
        set_fragmentation(self.nat.as_fd(), self.config.bind, Fragmentation::Forbidden)?;
        sent
    }
}

/// Waits until the socket takes another datagram, or until the time is up.
pub(super) fn wait_writable(fd: BorrowedFd<'_>, most: Duration) {
    let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::ZERO);
    // Whatever comes of it: the next attempt to send tells.
    let _ = nix::poll::poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout);
}

/// What the kernel believes that the path carries, in bytes of IP packets: asked through a socket
/// of its own, because only connected ones tell.
pub(crate) fn path_mtu(local: IpAddr, remote: IpAddr) -> io::Result<u16> {
    let domain = Domain::for_address(SocketAddr::new(remote, 0));
    let socket = Socket::new(domain, Type::DGRAM.cloexec(), None)?;
    if !local.is_unspecified() {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    // Nothing is sent: any port will do.
    socket.connect(&SocketAddr::new(remote, 9).into())?;
    let mtu = match remote {
        IpAddr::V4(_) => nix::sys::socket::getsockopt(&socket, sockopt::IpMtu)?,
        IpAddr::V6(_) => raw_sockopt::get(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU)?,
    };
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

#[derive(Clone, Copy)]
enum Fragmentation {
    Allowed,
    Forbidden,
}

fn open_raw(bind: IpAddr) -> Result<Socket, Error> {
    let action = "open a raw socket for ESP";
    let domain = Domain::for_address(SocketAddr::new(bind, 0));
    let socket = Socket::new(
        domain,
        Type::RAW.nonblocking().cloexec(),
        Some(Protocol::from(ESP)),
    )
    .map_err(|cause| match cause.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted {
            action,
            capability: "CAP_NET_RAW",
        },
        _ => Error::System { action, cause },
    })?;
    let set_up = || {
        set_fragmentation(socket.as_fd(), bind, Fragmentation::Forbidden)?;
        ask_for_addresses(&socket, bind)?;
        socket.bind(&SockAddr::from(SocketAddr::new(bind, 0)))
    };
    set_up().map_err(|cause| Error::System {
        action: "set up the raw socket for ESP",
        cause,
    })?;
    enlarge_buffers(&socket);
    Ok(socket)
}

fn open_udp(bind: IpAddr, port: u16, fragmentation: Fragmentation) -> Result<Socket, Error> {
    let address = SocketAddr::new(bind, port);
    let domain = Domain::for_address(address);
    let system = |action| move |cause| Error::System { action, cause };
    let socket = Socket::new(
        domain,
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )
    .map_err(system("open a UDP socket"))?;
    let set_up = || {
        if bind.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        set_fragmentation(socket.as_fd(), bind, fragmentation)?;
        ask_for_addresses(&socket, bind)
    };
    set_up().map_err(system("set up a UDP socket"))?;
    socket
        .bind(&address.into())
        .map_err(|cause| match cause.raw_os_error() {
            Some(libc::EADDRINUSE) => Error::PortInUse {
                address: bind,
                port,
                holder: holder::of_udp_port(port),
            },
            Some(libc::EACCES) => Error::NotPermitted {
                action: "bind a UDP port below 1024",
                capability: "CAP_NET_BIND_SERVICE",
            },
            _ => Error::System {
                action: "bind a UDP port",
                cause,
            },
        })?;
    enlarge_buffers(&socket);
    Ok(socket)
}

/// Lets received datagrams tell the address that they were sent to, and their TOS.
fn ask_for_addresses(socket: &Socket, bind: IpAddr) -> io::Result<()> {
    match bind {
        IpAddr::V4(_) => {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
            setsockopt(socket, sockopt::IpRecvTos, &true)?;
        }
        IpAddr::V6(_) => {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(socket, sockopt::Ipv6RecvTClass, &true)?;
        }
    }
    Ok(())
}

fn set_fragmentation(
    fd: BorrowedFd<'_>,
    bind: IpAddr,
    fragmentation: Fragmentation,
) -> io::Result<()> {
    let (level, name, value) = match (bind, fragmentation) {
        (IpAddr::V4(_), Fragmentation::Forbidden) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DO,
        ),
        (IpAddr::V4(_), Fragmentation::Allowed) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        ),
        (IpAddr::V6(_), Fragmentation::Forbidden) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DO,
        ),
        (IpAddr::V6(_), Fragmentation::Allowed) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        ),
    };
    raw_sockopt::set(fd, level, name, value)
}

/// As large as wanted if we may exceed the system's limit, else as large as the limit permits;
/// either works.
fn enlarge_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
    tracing::debug!(
        fd = socket.as_raw_fd(),
        receive = socket.recv_buffer_size().unwrap_or(0),
        send = socket.send_buffer_size().unwrap_or(0),
        "socket buffers"
    );
}
