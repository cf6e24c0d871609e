//! Many initiators in one thread: an endpoint of `ike` for each tunnel, each with an address of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use ike::wire::TrafficSelector;
use ike::{
    Command, Connection, ConnectionId, Encryption, Endpoint, EndpointConfig, EsnPolicy,
    EspProposal, Event, Group, IkeProposal, Integrity, Liveness, Prf, Secret, Transmit,
    TransmitKind,
};
use lab::OrFail as _;
use nix::libc::{in_addr, in_pktinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};

use crate::responders::{PSK, address, inside};

/// How many handshakes are under way at a time: below where either responder demands cookies.
const UNDER_WAY: usize = 8;

/// In front of an IKE message on UDP 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// How long a handshake may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Which selectors the responder wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selectors {
    /// All traffic.
    Any,
    /// Our own inside address and this one of the responder.
    Inside(Ipv4Addr),
}

/// Initiators, and the two sockets that they share.
pub(crate) struct Generator {
    sockets: [UdpSocket; 2],
    tunnels: Vec<Endpoint>,
    /// Those that are not up yet, and since when they try.
    under_way: BTreeMap<usize, Instant>,
    up: BTreeSet<usize>,
}

impl Generator {
    /// `count` tunnels to `remote`, none of which has begun. Call it in the namespace that has the addresses.
    pub(crate) fn new(count: usize, group: Group, remote: Ipv4Addr, selectors: Selectors) -> Self {
        let socket = |port| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).or_fail("bind a socket");
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).or_fail("ask for addresses");
            socket
        };
        let tunnels = (0..count).map(|index| {
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&index.to_be_bytes());
            let mut endpoint = Endpoint::new(EndpointConfig::default(), seed);
            let mut connection = connection(address(index), remote, group);
            if let Selectors::Inside(theirs) = selectors {
                let one = |address| {
                    vec![TrafficSelector::from(ipnet::IpNet::from(IpAddr::V4(
                        address,
                    )))]
                };
                connection.local_ts = one(inside(index));
                connection.remote_ts = one(theirs);
            }
            connection.initiate = false;
            endpoint.command(Instant::now(), Command::Add(Box::new(connection)));
            endpoint
        });
        Self {
            tunnels: tunnels.collect(),
            sockets: [socket(500), socket(4500)],
            under_way: BTreeMap::new(),
            up: BTreeSet::new(),
        }
    }

    /// Brings all tunnels up, a few at a time.
    ///
    /// # Panics
    /// When one does not come up.
    pub(crate) fn open(&mut self) {
        let mut next = 0;
        while self.up.len() < self.tunnels.len() {
            let now = Instant::now();
            while self.under_way.len() < UNDER_WAY && next < self.tunnels.len() {
                self.under_way.insert(next, now);
                if let Some(endpoint) = self.tunnels.get_mut(next) {
                    endpoint.command(now, Command::Up(ConnectionId(0)));
                }
                self.drain(next);
                next += 1;
            }
            self.wait();
            self.receive();
            let late: Vec<usize> = self.under_way.keys().copied().collect();
            for index in late {
                let since = self.under_way.get(&index).copied().unwrap_or(now);
                assert!(since.elapsed() < LIMIT, "tunnel {index} does not come up");
                let now = Instant::now();
                if let Some(endpoint) = self.tunnels.get_mut(index)
                    && endpoint.poll_timeout().is_some_and(|at| at <= now)
                {
                    endpoint.handle_timeout(now);
                    self.drain(index);
                }
            }
        }
    }

    /// Waits for a datagram, but not past the next repetition.
    fn wait(&self) {
        let mut fds = self
            .sockets
            .each_ref()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        poll(&mut fds, PollTimeout::from(20_u8)).or_fail("wait for a datagram");
    }

    fn receive(&mut self) {
        for number in 0..self.sockets.len() {
            let mut buffer = [0; 4096];
            while let Some((local, remote, len)) = self.take(number, &mut buffer) {
                let Some(payload) = buffer.get(..len) else {
                    continue;
                };
                let payload = match local.port() {
                    4500 => match payload.strip_prefix(&NON_ESP_MARKER) {
                        Some(payload) => payload,
                        None => continue,
                    },
                    _ => payload,
                };
                let index = index_of(*local.ip());
                if let Some(endpoint) = self.tunnels.get_mut(index) {
                    endpoint.handle_datagram(Instant::now(), local.into(), remote.into(), payload);
                    self.drain(index);
                }
            }
        }
    }

    /// A datagram of a socket, if there is one: to whom, from whom, and how long.
    fn take(
        &self,
        number: usize,
        buffer: &mut [u8],
    ) -> Option<(SocketAddrV4, SocketAddrV4, usize)> {
        let socket = self.sockets.get(number)?;
        let mut space = nix::cmsg_space!(in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrIn>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        )
        .ok()?;
        let remote = received.address?;
        let to = received.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
            }
            _ => None,
        })?;
        let port = socket.local_addr().ok()?.port();
        let remote = SocketAddrV4::new(remote.ip(), remote.port());
        Some((SocketAddrV4::new(to, port), remote, received.bytes))
    }

    fn drain(&mut self, index: usize) {
        let Some(endpoint) = self.tunnels.get_mut(index) else {
            return;
        };
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::TunnelUp { .. } => {
                    self.under_way.remove(&index);
                    self.up.insert(index);
                }
                Event::Failure(diagnosis) => eprintln!("tunnel {index}: {diagnosis}"),
                _ => {}
            }
        }
        let mut sends = Vec::new();
        while let Some(transmit) = endpoint.poll_transmit() {
            sends.push(transmit);
        }
        sends.iter().for_each(|transmit| self.send(transmit));
    }

    fn send(&self, transmit: &Transmit) {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (transmit.local, transmit.remote)
        else {
            return;
        };
        let [plain, nat] = &self.sockets;
        let is_nat = local.port() == 4500;
        let marker: &[u8] = match transmit.kind {
            TransmitKind::Ike if is_nat => &NON_ESP_MARKER,
            _ => &[],
        };
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr {
                s_addr: u32::from(*local.ip()).to_be(),
            },
            ipi_addr: in_addr { s_addr: 0 },
        };
        // Lost like any datagram where the socket is full: it is repeated.
        let _ = sendmsg(
            if is_nat { nat } else { plain }.as_raw_fd(),
            &[IoSlice::new(marker), IoSlice::new(&transmit.payload)],
            &[ControlMessage::Ipv4PacketInfo(&info)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(remote)),
        );
    }
}

/// Which tunnel has this outer address.
fn index_of(local: Ipv4Addr) -> usize {
    let index = u32::from(local).wrapping_sub(u32::from(address(0)));
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// A connection with the suite that is measured.
pub(crate) fn connection(local: Ipv4Addr, remote: Ipv4Addr, group: Group) -> Connection {
    let psk = Secret::from_slice(PSK.as_bytes());
    let (local, remote) = (local.into(), remote.into());
    let mut connection = Connection::new(ConnectionId(0), "t", local, remote, psk);
    connection.ike = vec![IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha256,
        groups: vec![group],
        kems: Vec::new(),
    }];
    connection.esp = vec![EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: vec![group],
        esn: EsnPolicy::Either,
    }];
    connection.liveness = Liveness {
        interval: Duration::from_secs(3600),
        give_up: LIMIT,
    };
    connection
}
