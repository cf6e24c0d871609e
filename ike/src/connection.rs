//! What the shell asks for: connections and their parameters.
//!
//! These are the parameter types of an ideal client. Nothing here knows a configuration file.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::x509::{Credential, Trust};
use crypto::{Encryption, Group, Integrity, Kem, Prf, Secret};
use serde::Serialize;

use crate::wire::{Identity, TrafficSelector};

/// Names a connection; the caller chooses the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConnectionId(pub u32);

/// The UDP ports of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// IKE without encapsulation: 500.
    pub ike: u16,
    /// IKE and ESP with encapsulation: 4500 (RFC 3948).
    pub nat: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            ike: 500,
            nat: 4500,
        }
    }
}

/// One acceptable combination for the IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeProposal {
    /// Cipher.
    pub encryption: Encryption,
    /// Integrity; none for AEAD ciphers.
    pub integrity: Option<Integrity>,
    /// Pseudo-random function.
    pub prf: Prf,
    /// Diffie-Hellman groups, the preferred one first.
    pub groups: Vec<Group>,
    /// Mechanisms for an additional key exchange (RFC 9370), the preferred one first; empty means that there is none.
    pub kems: Vec<Kem>,
}

/// Whether 64-bit sequence numbers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum EsnPolicy {
    /// Offer both, prefer extended, accept either.
    #[default]
    Either,
    /// Only extended sequence numbers.
    Require,
    /// Only 32-bit sequence numbers.
    Never,
}

/// One acceptable combination for CHILD_SAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspProposal {
    /// Cipher.
    pub encryption: Encryption,
    /// Integrity; none for AEAD ciphers.
    pub integrity: Option<Integrity>,
    /// Groups for perfect forward secrecy, the preferred one first; none means no PFS.
    pub groups: Vec<Group>,
    /// Sequence numbers.
    pub esn: EsnPolicy,
}

impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        // The PRF goes without saying where it is the integrity algorithm's.
        let integrity = self.integrity.map(|i| format!("prf{i}"));
        if integrity != Some(self.prf.to_string()) {
            write!(f, "-{}", self.prf)?;
        }
        self.groups
            .iter()
            .try_for_each(|group| write!(f, "-{group}"))?;
        self.kems.iter().try_for_each(|kem| write!(f, "-ke1_{kem}"))
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        self.groups
            .iter()
            .try_for_each(|group| write!(f, "-{group}"))?;
        match self.esn {
            EsnPolicy::Either => Ok(()),
            EsnPolicy::Require => f.write_str("-esn"),
            EsnPolicy::Never => f.write_str("-noesn"),
        }
    }
}

/// Which Diffie-Hellman groups CREATE_CHILD_SA may use beside those in the ESP proposals.
///
/// The first CHILD_SA has no exchange of its own, so a disagreement shows only at its first rekey;
/// being liberal here is what keeps a tunnel from dying after its first hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PfsPolicy {
    /// Accept, and fall back to, the group of the IKE SA.
    pub ike_group: bool,
    /// Accept, and finally fall back to, no exchange at all.
    pub none: bool,
}

impl Default for PfsPolicy {
    fn default() -> Self {
        Self {
            ike_group: true,
            none: false,
        }
    }
}

/// When the peer is asked whether it lives, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Liveness {
    /// Silence after which we ask.
    pub interval: Duration,
    /// Time that an exchange may stay without an answer before the IKE SA is taken for dead.
    pub give_up: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            give_up: Duration::from_secs(20),
        }
    }
}

/// How requests are repeated: at `first`, then doubling up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Retransmission {
    /// Wait before the first repetition.
    pub first: Duration,
    /// Longest wait between two repetitions.
    pub cap: Duration,
}

impl Retransmission {
    /// How often the longest wait doubles at most.
    const DOUBLINGS: u32 = 3;
    /// Attempts that go unanswered before it doubles again: a minute's worth.
    const PATIENCE: u32 = 6;

    /// The same after so many attempts without an answer. A peer that restarts is met as soon as it is back; one that has been away for
    /// minutes is asked less often, but for ever.
    pub(crate) fn wearied(self, attempts: u32) -> Self {
        let doublings = (attempts.saturating_sub(1) / Self::PATIENCE).min(Self::DOUBLINGS);
        Self {
            first: self.first,
            cap: self.cap * (1 << doublings),
        }
    }
}

impl Default for Retransmission {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            cap: Duration::from_secs(4),
        }
    }
}

/// What is done with a peer that has a smaller part of the traffic in mind (RFC 7296 section 2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Narrowing {
    /// Refuse it, and say what each side has. Routes decide what enters a route-based tunnel, so a narrower one would be up and
    /// lose what does not fit, BGP's own packets first.
    #[default]
    Refuse,
    /// Take what both sides have.
    Accept,
}

/// Whether ESP goes inside UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Encapsulation {
    /// If there is a NAT on the way, or the peer wants it.
    #[default]
    Auto,
    /// Always: we make the peer believe in a NAT.
    Force,
    /// Never: NAT detection is not offered.
    Never,
}

/// A post-quantum pre-shared key (RFC 8784): mixed into the keys of the IKE SA, so that whoever breaks its key exchange later still has
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ppk {
    /// Its name, which both ends have and which goes over the wire encrypted.
    pub id: String,
    /// The key: 256 bits of entropy or more.
    pub secret: Secret,
    /// Whether there is no tunnel without it.
    pub required: bool,
}

/// How both sides of a connection prove who they are. Nothing falls back from one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Both know a pre-shared key (RFC 7296 section 2.15).
    PreShared(Secret),
    /// Both sign, with keys that certificates vouch for.
    Certificate(Arc<Certificates>),
}

impl From<Secret> for Auth {
    fn from(psk: Secret) -> Self {
        Self::PreShared(psk)
    }
}

/// Our own certificate with its key, and whom we trust to vouch for the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// What we prove ourselves by.
    pub credential: Credential,
    /// Who vouches for the peer.
    pub trust: Trust,
}

impl Certificates {
    /// Whether our certificate has this identity, without which no peer believes it.
    #[must_use]
    pub fn names(&self, identity: &Identity) -> bool {
        (self.credential.certificate())
            .is_some_and(|own| crate::sa::certificate::is_named(own, identity))
    }
}

/// One tunnel: an IKE SA with its CHILD_SA, which the endpoint keeps up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The caller's number for it.
    pub id: ConnectionId,
    /// What people call it; used in diagnoses.
    pub name: String,
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// The peer's ports.
    pub remote_ports: Ports,
    /// Who we say that we are.
    pub local_id: Identity,
    /// Who the peer has to be.
    pub remote_id: Identity,
    /// How both sides prove who they are.
    pub auth: Auth,
    /// The post-quantum pre-shared key, if there is one.
    pub ppk: Option<Ppk>,
    /// Acceptable combinations for the IKE SA, the preferred one first.
    pub ike: Vec<IkeProposal>,
    /// Acceptable combinations for CHILD_SAs, the preferred one first.
    pub esp: Vec<EspProposal>,
    /// Further freedom in CREATE_CHILD_SA.
    pub pfs: PfsPolicy,
    /// As initiator, where the peer can do with it, leave the first child to an exchange of its own after IKE_AUTH, which gives it the PFS
    /// that its successors have (RFC 6023).
    pub childless: bool,
    /// Our side of the traffic.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side of the traffic.
    pub remote_ts: Vec<TrafficSelector>,
    /// Whether less than these selectors will do.
    pub narrowing: Narrowing,
    /// Lifetime of the IKE SA; it is rekeyed at 70–85 % of it.
    pub ike_lifetime: Duration,
    /// Lifetime of a CHILD_SA; it is rekeyed at 55–65 % of it.
    pub child_lifetime: Duration,
    /// Dead peer detection.
    pub liveness: Liveness,
    /// Repetition of requests to a peer that has answered before.
    pub retransmission: Retransmission,
    /// Repetition of IKE_SA_INIT, for ever: `cap` is how late a peer that appears is noticed, and after some minutes of silence eight
    /// times that.
    pub initiation: Retransmission,
    /// UDP encapsulation.
    pub encapsulation: Encapsulation,
    /// Whether we initiate; we always answer.
    pub initiate: bool,
    /// Largest IP packet for IKE messages that can be fragmented (RFC 7383), in bytes.
    pub fragment_size: u16,
    /// Offer MOBIKE (RFC 4555): where both sides have it, SAs follow when an address changes. IKE then uses the NAT ports from IKE_AUTH on.
    pub mobike: bool,
    /// Say INITIAL_CONTACT when we have no other IKE SA with the peer.
    pub initial_contact: bool,
}

impl Connection {
    /// A route-based tunnel with the addresses as identities, 0.0.0.0/0 selectors and defaults that
    /// suit a cloud gateway: aes256-sha384-ecp384 and aes256gcm16 with PFS, 8 h and 1 h.
    #[must_use]
    pub fn new(
        id: ConnectionId,
        name: impl Into<String>,
        local: IpAddr,
        remote: IpAddr,
        auth: impl Into<Auth>,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            local,
            remote,
            remote_ports: Ports::default(),
            local_id: Identity::from(local),
            remote_id: Identity::from(remote),
            auth: auth.into(),
            ppk: None,
            ike: vec![IkeProposal {
                encryption: Encryption::AesCbc256,
                integrity: Some(Integrity::HmacSha384_192),
                prf: Prf::HmacSha384,
                groups: vec![Group::Ecp384],
                kems: Vec::new(),
            }],
            esp: vec![EspProposal {
                encryption: Encryption::AesGcm256,
                integrity: None,
                groups: vec![Group::Ecp384],
                esn: EsnPolicy::Either,
            }],
            pfs: PfsPolicy::default(),
            childless: false,
            local_ts: vec![TrafficSelector::any_v4()],
            remote_ts: vec![TrafficSelector::any_v4()],
            narrowing: Narrowing::Refuse,
            ike_lifetime: Duration::from_secs(28_800),
            child_lifetime: Duration::from_secs(3_600),
            liveness: Liveness::default(),
            retransmission: Retransmission::default(),
            initiation: Retransmission {
                first: Duration::from_millis(250),
                cap: Duration::from_millis(400),
            },
            encapsulation: Encapsulation::Auto,
            initiate: true,
            fragment_size: 1280,
            mobike: false,
            initial_contact: true,
        }
    }

    /// Whether MOBIKE is offered: never without NAT detection, which moving needs to know how ESP travels.
    pub(crate) fn offers_mobike(&self) -> bool {
        self.mobike && self.encapsulation != Encapsulation::Never
    }

    /// The peer's address for IKE_SA_INIT.
    pub(crate) const fn remote_ike(&self) -> SocketAddr {
        SocketAddr::new(self.remote, self.remote_ports.ike)
    }
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

/// What the shell tells the endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A new connection; it is brought up if it initiates.
    Add(Box<Connection>),
    /// New parameters for a connection. What needs a new IKE SA brings the old one down first;
    /// lifetimes, liveness and timing change in place.
    Replace(Box<Connection>),
    /// The same connection between other outer addresses: the host has another one, or the peer was found elsewhere. An IKE SA that
    /// stands and has MOBIKE is told of our address; another one carries traffic, as well as that works, until a new one takes its place,
    /// which is tried at once.
    Move(Box<Connection>),
    /// Delete the connection and its SAs, and tell the peer.
    Remove(ConnectionId),
    /// Want the connection up, and try at once.
    Up(ConnectionId),
    /// Delete the SAs and stay down until `Up` or until the peer initiates.
    Down(ConnectionId),
    /// Delete the SAs, and neither initiate nor answer until `Up`, whatever parameters come meanwhile.
    Hold(ConnectionId),
    /// End a hold: answer again, and initiate where the connection does.
    Release(ConnectionId),
    /// Rekey the CHILD_SA now.
    RekeyChild(ConnectionId),
    /// Rekey the IKE SA now.
    RekeyIke(ConnectionId),
    /// The data plane has authenticated the first packet on this inbound SA.
    InboundTraffic {
        /// Our inbound SPI.
        spi: u32,
    },
    /// The data plane's soft limit (packets or bytes) on a SA is reached: rekey.
    SoftExpired {
        /// Our inbound SPI.
        spi: u32,
    },
    /// The hard limit is reached: the SA can no longer be used.
    HardExpired {
        /// Our inbound SPI.
        spi: u32,
    },
    /// Authenticated traffic has come in: the peer lives.
    AnyTraffic(ConnectionId),
    /// An authenticated ESP packet has come from a new address of a peer behind a NAT
    /// (RFC 7296 section 2.23).
    PeerMoved {
        /// Our inbound SPI.
        spi: u32,
        /// Where the packet came from.
        remote: SocketAddr,
    },
    /// ESP packets with a SPI that we do not have have come from this address: ask the peer.
    UnknownSpi {
        /// Where they came from.
        remote: IpAddr,
    },
    /// Delete every SA and tell the peers; nothing is initiated or answered any more.
    Shutdown,
}
