//! The way of IKE's messages through the ports that it shares with the data plane, and NAT
//! keepalives.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use esp::{KEEPALIVE, NON_ESP_MARKER};
use tokio::sync::mpsc;

use super::sockets::IkePorts;
use crate::plane::PlaneEvent;
use crate::sys::datagrams::{self, Outgoing};

/// Places in the daemon's queue that IKE messages do not take. Anybody can send those, as many as they like; what else the plane
/// has to say is rare, and some of it is said only once.
const RESERVED: usize = 128;

/// No IKE message is longer than this, in octets, with room to spare: a queue full of larger ones would cost a lot of memory.
const LONGEST_IKE: usize = 16 << 10;

/// Hands a received message to the daemon, or counts it as dropped.
pub(crate) fn deliver(
    events: &mpsc::Sender<PlaneEvent>,
    dropped: &AtomicU64,
    local: SocketAddr,
    remote: SocketAddr,
    message: &[u8],
) {
    let crowded = events.capacity() <= RESERVED.min(events.max_capacity() / 2);
    let event = || PlaneEvent::IkeDatagram {
        local,
        remote,
        payload: message.to_vec(),
    };
    if message.len() > LONGEST_IKE || crowded || events.try_send(event()).is_err() {
        dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends IKE messages. Cheap to clone, and usable beside the plane's own threads; it never waits. It
/// keeps the plane's sockets, and so their ports, as long as it lives.
#[derive(Clone, Debug)]
pub struct IkeSender {
    sockets: Arc<IkePorts>,
}

/// Why a datagram could not be sent. IKE retransmits, so this is for the log.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The local port is none of the plane's.
    #[error(
        "no socket is bound to UDP port {port}: IKE is on {ike_port}, NAT traversal on {nat_port}"
    )]
    Port {
        /// The port.
        port: u16,
        /// The IKE port.
        ike_port: u16,
        /// The NAT traversal port.
        nat_port: u16,
    },
    /// The kernel refuses.
    #[error("cannot send from {local} to {remote}: {cause}")]
    Io {
        /// Where from.
        local: SocketAddr,
        /// Where to.
        remote: SocketAddr,
        /// What the kernel says.
        cause: io::Error,
    },
}

impl IkeSender {
    pub(crate) const fn new(sockets: Arc<IkePorts>) -> Self {
        Self { sockets }
    }

    /// Sends an IKE message. `local` chooses the socket by its port, and the source address unless
    /// it is unspecified. On the NAT traversal port the non-ESP marker is put in front (RFC 3948
    /// section 2.2).
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let marker: &[u8] = if self.is_nat_port(local) {
            &NON_ESP_MARKER
        } else {
            &[]
        };
        self.transmit(local, remote, marker, payload)
    }

    /// Sends a NAT keepalive (RFC 3948 section 2.3) from the NAT traversal port.
    ///
    /// # Errors
    /// [`SendError`]; the port of `local` must be the NAT traversal port.
    pub fn keepalive(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), SendError> {
        if !self.is_nat_port(local) {
            return Err(self.wrong_port(local.port()));
        }
        self.transmit(local, remote, &[], &KEEPALIVE)
    }

    fn is_nat_port(&self, local: SocketAddr) -> bool {
        local.port() == self.sockets.config.nat_port
    }

    fn wrong_port(&self, port: u16) -> SendError {
        let config = &self.sockets.config;
        SendError::Port {
            port,
            ike_port: config.ike_port,
            nat_port: config.nat_port,
        }
    }

    fn transmit(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        marker: &[u8],
        payload: &[u8],
    ) -> Result<(), SendError> {
        let nat = self.is_nat_port(local);
        let socket = match local.port() {
            _ if nat => &self.sockets.nat,
            port if port == self.sockets.config.ike_port => &self.sockets.ike,
            port => return Err(self.wrong_port(port)),
        };
        let source = (!local.ip().is_unspecified()).then(|| local.ip());
        let datagram = Outgoing {
            marker,
            payload,
            source,
            destination: remote,
            tos: 0,
            segment: None,
        };
        let send = || datagrams::send(socket.as_fd(), &[datagram]);
        let sent = match send() {
            Err(cause) if nat && cause.raw_os_error() == Some(libc::EMSGSIZE) => {
                self.sockets.nat_fragmenting(send)
            }
            sent => sent,
        };
        sent.map(drop).map_err(|cause| SendError::Io {
            local,
            remote,
            cause,
        })
    }
}
