//! The seam between the daemon and a data plane: what carries packets between tunnel interfaces and
//! peers.
//!
//! The daemon negotiates, then says here which tunnels and security associations exist; a plane
//! makes it so, and tells what happens through [`PlaneEvent`]s. There is the userspace plane
//! ([`crate::user`]); a kernel plane (XFRM) fits the same trait. Nothing outside this crate can
//! tell them apart but by [`DataPlane::kind`].
//!
//! Invariants:
//! - A tunnel may have several inbound SAs and has at most one outbound SA.
//!   [`DataPlane::set_outbound`] switches at once, so a rekey is: add the new inbound SA, switch
//!   the outbound one, remove the old inbound SA when the peer has switched too.
//! - What is not routed into a tunnel's interface is never encrypted, and only authentic packets
//!   leave it.
//! - The interface exists from [`DataPlane::add_tunnel`] to [`DataPlane::remove_tunnel`], whatever
//!   happens to SAs; its addresses, MTU and state belong to the host ([`crate`]'s other half).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crypto::{Secret, Suite};
use esp::{DropCounts, Limits, Spi};

use crate::user::IkeSender;

/// Which tunnel: the reqid that binds an interface to its CHILD_SAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u32);

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The numbers that we use as if_id or as mark, one for each tunnel, so that what is ours in the kernel's security databases
/// can be told from what belongs to others. They begin with `ca05`, for the eye.
pub const BINDINGS: std::ops::RangeInclusive<u32> = 0xca05_0001..=0xca05_ffff;

/// What ties an interface of the kernel's to policies and states, so that only what is routed into it is ever encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// The `if_id` of an `xfrm` interface.
    IfId(u32),
    /// The keys of a `vti` interface, which become marks (`mark/0xffffffff`) in the lookup.
    Mark(u32),
}

impl Binding {
    /// The if_id, or the mark.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::IfId(number) | Self::Mark(number) => number,
        }
    }

    /// Whether the number is out of [`BINDINGS`].
    #[must_use]
    pub fn is_ours(self) -> bool {
        BINDINGS.contains(&self.number())
    }
}

/// A tunnel, as far as it does not depend on any SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSpec {
    /// Its name in this interface.
    pub id: TunnelId,
    /// The name of the interface to create, at most 15 bytes.
    pub interface: String,
    /// Whether the MSS of TCP connections through the tunnel is lowered to what fits.
    pub mss_clamp: bool,
    /// The anti-replay window of its inbound SAs, in packets: 64 to 8192.
    pub replay_window: u32,
    /// The MTU of the path to the peer as the outer packets see it. A smaller one that the kernel
    /// learns is respected as well.
    pub outer_mtu: u16,
    /// Whether the outer packets carry the inner ones' DSCP. ECN is always copied (RFC 6040).
    pub copy_dscp: bool,
    /// What ties its interface to its SAs in the kernel plane, out of [`BINDINGS`]; the userspace plane needs none.
    pub binding: Option<Binding>,
    /// What the network device takes over, in the kernel plane.
    pub offload: Offload,
}

/// What a network device does for the kernel's ESP. If it refuses an SA, that SA is the processor's, and
/// [`PlaneEvent::OffloadRefused`] says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing.
    #[default]
    Off,
    /// Encryption and authentication.
    Crypto {
        /// The name of the device that the outer packets pass.
        device: String,
    },
    /// All of ESP, headers and policies included (Linux 6.2 and later).
    Packet {
        /// The name of the device that the outer packets pass.
        device: String,
    },
}

/// How ESP packets travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encap {
    /// As IP protocol 50.
    #[default]
    None,
    /// In UDP (RFC 3948).
    Udp {
        /// Our port: the plane's NAT traversal port.
        local_port: u16,
        /// The peer's port, as its NAT shows it.
        remote_port: u16,
    },
}

impl From<Encap> for esp::Encapsulation {
    fn from(encap: Encap) -> Self {
        match encap {
            Encap::None => Self::None,
            Encap::Udp { .. } => Self::Udp,
        }
    }
}

/// One direction of a CHILD_SA.
#[derive(Clone, Debug)]
pub struct SaSpec {
    /// The receiver's SPI.
    pub spi: u32,
    /// The algorithms.
    pub suite: Suite,
    /// The encryption key and, where the suite has one, the salt.
    pub keymat: Secret,
    /// The integrity key; empty for AEAD suites.
    pub integrity: Secret,
    /// Whether sequence numbers are extended.
    pub esn: bool,
    /// How the packets travel.
    pub encap: Encap,
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// When [`PlaneEvent::SoftLimit`] and [`PlaneEvent::HardLimit`] come.
    pub limits: Limits,
    /// After which time the SA is ended by whoever carries it, where it outlives this process: the daemon has replaced or removed it long
    /// before, if it lives.
    pub outlived: Option<Duration>,
}

impl SaSpec {
    pub(crate) fn parameters(&self) -> esp::SaParameters {
        esp::SaParameters {
            spi: Spi(self.spi),
            suite: self.suite,
            keymat: self.keymat.clone(),
            integrity: self.integrity.clone(),
            esn: self.esn,
            limits: self.limits,
        }
    }
}

/// What a data plane is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneKind {
    /// TUN interfaces and ESP in this process.
    Userspace,
    /// XFRM states and policies.
    Kernel,
}

impl fmt::Display for PlaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Userspace => "userspace",
            Self::Kernel => "kernel",
        })
    }
}

/// What a tunnel has carried since it was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelCounters {
    /// Inner packets received, authentic and delivered to the interface.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Inner packets sent.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets dropped, by reason. Inbound packets whose SPI is unknown belong to no tunnel:
    /// [`DataPlane::stray`].
    pub drops: DropCounts,
    /// When the last authentic packet came in: a sign of life of the peer, so that IKE need not ask
    /// (RFC 7296 section 2.4).
    pub last_inbound: Option<Instant>,
    /// When the last packet was sent.
    pub last_outbound: Option<Instant>,
}

/// Which way an SA carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// What one SA has carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaCounters {
    /// The receiver's SPI.
    pub spi: u32,
    /// Which way it goes.
    pub direction: Direction,
    /// Packets.
    pub packets: u64,
    /// Bytes of inner packets.
    pub bytes: u64,
    /// The highest sequence number so far.
    pub sequence: u64,
}

/// Something that the daemon wants to know.
///
/// Events that a stranger can cause ([`UnknownSpi`](Self::UnknownSpi),
/// [`IkeDatagram`](Self::IkeDatagram)) may be lost when the channel is full, counted. The others
/// come again with the next packet until they were delivered, then never again for the same SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneEvent {
    /// The first authentic packet on an inbound SA: the peer has switched to it.
    FirstInbound {
        /// Whose.
        tunnel: TunnelId,
        /// Which SA.
        spi: u32,
    },
    /// An SA of either direction wants a successor.
    SoftLimit {
        /// Whose.
        tunnel: TunnelId,
        /// Which SA.
        spi: u32,
        /// Which way it goes.
        direction: Direction,
    },
    /// An SA has carried all that it may, and drops packets now.
    HardLimit {
        /// Whose.
        tunnel: TunnelId,
        /// Which SA.
        spi: u32,
        /// Which way it goes.
        direction: Direction,
    },
    /// An ESP packet for no SA that we know: perhaps the peer still has one that we forgot. At most
    /// one a second.
    UnknownSpi {
        /// The SPI.
        spi: u32,
        /// Where it came from; the port is 0 without UDP encapsulation.
        from: SocketAddr,
    },
    /// An authentic packet came from another address or port than the tunnel sends to: the peer's
    /// NAT has changed its mapping (RFC 7296 section 2.23). Told once per change.
    NatMapping {
        /// Whose.
        tunnel: TunnelId,
        /// The SA on which it came.
        spi: u32,
        /// Where it came from.
        from: SocketAddr,
    },
    /// The kernel has learned that the path to the peer carries less than
    /// [`TunnelSpec::outer_mtu`]. The plane answers packets that no longer fit with "too big" by
    /// itself.
    PathMtu {
        /// Whose.
        tunnel: TunnelId,
        /// What the path carries, in bytes of outer packets.
        outer_mtu: u16,
    },
    /// The tunnel's interface has been deleted by somebody else. Nothing passes until the tunnel is
    /// removed and added again.
    InterfaceLost {
        /// Whose.
        tunnel: TunnelId,
    },
    /// Somebody else deleted or changed an SA of ours. It is never put back, since its keys must not
    /// begin again with old sequence numbers: it wants a successor at once, and nothing passes on it.
    SaLost {
        /// Whose.
        tunnel: TunnelId,
        /// Which SA.
        spi: u32,
        /// Which way it went.
        direction: Direction,
    },
    /// Somebody else deleted or changed a policy of the tunnel's; it has been put back.
    PolicyRestored {
        /// Whose.
        tunnel: TunnelId,
    },
    /// The device does not take over an SA, so the processor does its work.
    OffloadRefused {
        /// Whose.
        tunnel: TunnelId,
        /// What the kernel says.
        reason: String,
    },
    /// An IKE message, without the non-ESP marker.
    IkeDatagram {
        /// Where it was sent to: address and port.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// The message.
        payload: Vec<u8>,
    },
    /// A thread of the plane has ended because of an error that it cannot go on after. The daemon
    /// should end too.
    Failed {
        /// What happened.
        reason: String,
    },
}

/// Packets that belong to no tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrayCounters {
    /// Dropped packets, by reason.
    pub drops: DropCounts,
    /// IKE messages that the daemon was too slow to take.
    pub ike_dropped: u64,
    /// NAT keepalives received.
    pub keepalives: u64,
}

/// A data plane. Calls are short and never wait for a peer.
pub trait DataPlane: Send {
    /// What it is made of.
    fn kind(&self) -> PlaneKind;

    /// Prepares all that does not depend on an SA. The userspace plane creates the interface, without
    /// addresses and down; the kernel plane installs policies which drop what is routed into it as long
    /// as there is no SA, and leaves the interface to the host's half of this crate. What an earlier
    /// process left in the kernel for the same tunnel goes on carrying its packets until
    /// [`set_outbound`](Self::set_outbound).
    ///
    /// # Errors
    /// [`Error::InterfaceExists`], [`Error::TunnelExists`], or what the system says.
    fn add_tunnel(&mut self, spec: &TunnelSpec) -> Result<(), Error>;

    /// Removes all SAs of the tunnel, and the interface if the plane made it.
    ///
    /// # Errors
    /// [`Error::NoSuchTunnel`].
    fn remove_tunnel(&mut self, tunnel: TunnelId) -> Result<(), Error>;

    /// Receives on one more SA.
    ///
    /// # Errors
    /// [`Error::SpiInUse`], [`Error::NoSuchTunnel`], or what is wrong with the SA.
    fn add_inbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error>;

    /// Sends on this SA from now on; the one before is gone.
    ///
    /// # Errors
    /// [`Error::NoSuchTunnel`], or what is wrong with the SA.
    fn set_outbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error>;

    /// Receives no more on this SA.
    ///
    /// # Errors
    /// [`Error::NoSuchSa`].
    fn remove_inbound(&mut self, tunnel: TunnelId, spi: u32) -> Result<(), Error>;

    /// Sends nothing any more; no error if nothing was sent before.
    ///
    /// # Errors
    /// [`Error::NoSuchTunnel`].
    fn clear_outbound(&mut self, tunnel: TunnelId) -> Result<(), Error>;

    /// Sends to, and from, other outer addresses: MOBIKE, or a NAT mapping that changed. No error
    /// without an outbound SA.
    ///
    /// # Errors
    /// [`Error::NoSuchTunnel`].
    fn update_path(
        &mut self,
        tunnel: TunnelId,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error>;

    /// What the tunnel has carried; `None` if there is no such tunnel.
    fn counters(&self, tunnel: TunnelId) -> Option<TunnelCounters>;

    /// What the tunnel's SAs have carried, inbound ones first, in the order of their SPIs.
    fn sa_counters(&self, tunnel: TunnelId) -> Vec<SaCounters>;

    /// The largest inner packet that the tunnel carries now, for the interface's MTU: from outer
    /// MTU, suite and encapsulation. `None` without an outbound SA.
    fn inner_mtu(&self, tunnel: TunnelId) -> Option<u16>;

    /// Packets that belong to no tunnel.
    fn stray(&self) -> StrayCounters;

    /// To be called once, when all tunnels that are wanted have been added: removes what an earlier
    /// process left in the kernel for others. Returns how many objects that were.
    fn sweep(&mut self) -> usize {
        0
    }

    /// What somebody has to keep open for packets to go on passing while there is no process of ours. `None` where none pass then.
    fn to_be_kept(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Sends IKE messages and NAT keepalives from the ports that the plane shares with IKE.
    fn ike_sender(&self) -> IkeSender;
}

/// Why a data plane could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An interface of the name exists and is not this plane's.
    #[error(
        "cannot create interface {interface}: one of that name exists already, and is not ours"
    )]
    InterfaceExists {
        /// The name.
        interface: String,
    },
    /// A name that no interface can have.
    #[error("{interface:?} cannot be an interface's name: 1 to 15 bytes, no slash, no space")]
    InterfaceName {
        /// The name.
        interface: String,
    },
    /// The id is taken.
    #[error("tunnel {tunnel} exists already")]
    TunnelExists {
        /// The id.
        tunnel: TunnelId,
    },
    /// There is no such tunnel.
    #[error("there is no tunnel {tunnel}")]
    NoSuchTunnel {
        /// The id.
        tunnel: TunnelId,
    },
    /// Another SA has the SPI.
    #[error("SPI {spi} is in use by tunnel {holder}")]
    SpiInUse {
        /// The SPI.
        spi: Spi,
        /// Whose it is.
        holder: TunnelId,
    },
    /// There is no such inbound SA.
    #[error("tunnel {tunnel} has no inbound SA {spi}")]
    NoSuchSa {
        /// The tunnel.
        tunnel: TunnelId,
        /// The SPI.
        spi: Spi,
    },
    /// The kernel plane was given a tunnel without a number of ours that ties its interface to its SAs.
    #[error(
        "tunnel {tunnel} has no binding out of ca050001 to ca05ffff, so its policies would catch what is not routed into it"
    )]
    NoBinding {
        /// The id.
        tunnel: TunnelId,
    },
    /// The kernel refuses something that the kernel plane needs: a matter of this host.
    #[error(transparent)]
    Kernel(#[from] crate::kernel_plane::Reason),
    /// Keys or SPI are unusable.
    #[error(transparent)]
    Sa(#[from] esp::Error),
    /// The outer addresses are of another family than the plane's sockets.
    #[error(
        "{address} is not of the address family of {bound}, on which the data plane's sockets are bound"
    )]
    AddressFamily {
        /// The outer address.
        address: IpAddr,
        /// What the sockets are bound to.
        bound: IpAddr,
    },
    /// A port that no socket of the plane has.
    #[error(
        "UDP port {port} is not one of the data plane's: IKE is on {ike_port}, NAT traversal on {nat_port}"
    )]
    Port {
        /// The port.
        port: u16,
        /// The IKE port.
        ike_port: u16,
        /// The NAT traversal port.
        nat_port: u16,
    },
    /// Somebody else has the port.
    #[error("UDP port {port} on {address} is in use by {}", name_of(holder.as_deref()))]
    PortInUse {
        /// The address that was to be bound.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The process that has it, if it could be found: its name and pid.
        holder: Option<String>,
    },
    /// A capability is missing.
    #[error(
        "not permitted to {action}: {capability} is needed (run as root, or see the systemd unit)"
    )]
    NotPermitted {
        /// What was tried.
        action: &'static str,
        /// What it takes.
        capability: &'static str,
    },
    /// There is no TUN driver.
    #[error(
        "cannot open /dev/net/tun: {cause}; load the module (modprobe tun), or give the container the device"
    )]
    NoTun {
        /// What the kernel says.
        cause: io::Error,
    },
    /// Something else that the kernel refuses.
    #[error("cannot {action}: {cause}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel says.
        cause: io::Error,
    },
}

fn name_of(holder: Option<&str>) -> &str {
    holder.unwrap_or("a process that we may not see; another IKE daemon?")
}
