//! Tunnels: the IKE and ESP parameters of one way to a cloud, and its point-to-point interface.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{Asn, serialize_duration, serialize_text};
use crate::profile::Profile;
use crate::proposal::{EspProposal, IkeProposal};

/// One tunnel. Its traffic selectors are 0.0.0.0/0 on both sides: routes decide what enters it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tunnel {
    /// What people call it.
    pub name: String,
    /// The line of the file on which it begins (from 1).
    pub line: usize,
    /// Whose defaults it took.
    pub profile: Profile,
    /// Where the peer is.
    pub remote: Remote,
    /// How both ends prove who they are.
    pub auth: Auth,
    /// The post-quantum pre-shared key.
    pub ppk: Option<Ppk>,
    /// The addresses inside the tunnel.
    pub inside: Inside,
    /// The tunnel interface's name, at most 15 octets.
    pub interface: String,
    /// What the interface is on the kernel's data plane.
    pub interface_kind: InterfaceKind,
    /// What binds the interface to its CHILD_SAs; unique, 1 to 65535.
    pub reqid: u32,
    /// Who we say that we are; `None` is the outer source address.
    pub local_id: Option<Identity>,
    /// Who the peer has to be.
    pub remote_id: Identity,
    /// What we offer for the IKE SA, the preferred one first; never empty.
    pub ike: Vec<IkeProposal>,
    /// What we offer for CHILD_SAs, the preferred one first; never empty.
    pub esp: Vec<EspProposal>,
    /// Freedom in CREATE_CHILD_SA beyond the ESP proposals.
    pub pfs: Pfs,
    /// Whether the first CHILD_SA has an exchange of its own, where the peer can do with that (RFC 6023).
    pub childless: bool,
    /// Hard lifetime of the IKE SA.
    #[serde(serialize_with = "serialize_duration")]
    pub ike_lifetime: Duration,
    /// Hard lifetime of a CHILD_SA.
    #[serde(serialize_with = "serialize_duration")]
    pub child_lifetime: Duration,
    /// Whether ESP travels in UDP.
    pub encapsulation: Encapsulation,
    /// Whether we initiate; we always answer.
    pub initiate: bool,
    /// Whether SAs follow when an outer address changes, where the peer has that too (MOBIKE, RFC 4555).
    pub mobike: bool,
    /// Silence after which the peer is asked whether it lives.
    #[serde(serialize_with = "serialize_duration")]
    pub liveness: Duration,
    /// How long a question may stay without an answer before the peer is taken for dead.
    #[serde(serialize_with = "serialize_duration")]
    pub liveness_timeout: Duration,
    /// The interface's MTU.
    pub mtu: Mtu,
    /// Whether TCP's MSS is clamped to what fits.
    pub mss_clamp: bool,
    /// The anti-replay window, in packets: 128 to 4096, which is what the kernel takes.
    pub replay_window: u32,
    /// What the network card does of ESP on the kernel's data plane.
    pub offload: Offload,
    /// Which of several tunnels traffic takes; `None` shares it with the others like it.
    pub role: Option<TunnelRole>,
    /// The AS at the other end, where the profile knows it.
    pub remote_asn: Option<Asn>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remote {
    /// At this outer address.
    Address(IpAddr),
    /// At an address that this DNS name has.
    Name(String),
}

impl Remote {
    /// The outer address, where the site file says it.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// The DNS name, where the site file has one instead.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Which of several tunnels traffic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelRole {
    /// This one, while it works.
    Primary,
    /// This one only while no other works.
    Backup,
}

impl TunnelRole {
    /// LOCAL_PREF of what its neighbor teaches us.
    pub(crate) const fn local_pref(self) -> u32 {
        match self {
            Self::Primary => 200,
            Self::Backup => 50,
        }
    }
}

/// The largest reqid: it is the lower half of an interface's mark or if_id.
pub const LARGEST_REQID: u32 = 65_535;

/// The two addresses inside a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inside {
    /// Ours; in a /31 it may be the even one (RFC 3021).
    pub ours: Ipv4Addr,
    /// The peer's.
    pub peer: Ipv4Addr,
    /// The prefix length: 30 or 31.
    pub prefix_len: u8,
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ours, self.prefix_len)
    }
}

/// Where a secret is kept. The value itself never enters this crate's types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// A systemd credential (`LoadCredential=`), by name.
    Credential(String),
    /// An environment variable.
    Env(String),
    /// A file that nobody but its owner may read.
    File(PathBuf),
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// How both ends of a tunnel prove who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Both know a pre-shared key.
    Psk(SecretSource),
    /// Both sign, with keys that certificates vouch for.
    Certificate(Certificate),
}

/// Our certificate with its key, and who vouches for the peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// The file with our certificate and those between it and its authority.
    pub file: PathBuf,
    /// Where its private key is.
    pub key: SecretSource,
    /// The file with the authorities that we trust.
    pub ca: PathBuf,
    /// The file with what they have revoked.
    pub crl: Option<PathBuf>,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, key in {}, trusts {}",
            self.file.display(),
            self.key,
            self.ca.display()
        )?;
        match &self.crl {
            Some(crl) => write!(f, ", revoked are those in {}", crl.display()),
            None => Ok(()),
        }
    }
}

/// A post-quantum pre-shared key (RFC 8784).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ppk {
    /// Its name, which both ends have.
    pub id: String,
    /// Where the key is.
    pub secret: SecretSource,
    /// Whether there is no tunnel without it.
    pub required: bool,
}

/// An IKE identity (RFC 7296 §3.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Email(String),
    /// ID_DER_ASN1_DN: the subject of a certificate, as text.
    DistinguishedName(String),
}

impl Identity {
    /// The identity that a text stands for: an address, else with an `@` inside a mail address, else a name (one `@`
    /// in front says so outright); with an `=` inside it is the subject of a certificate, such as `C=DE, CN=gateway`. `None` where it is empty or holds anything but printable ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        if text.contains('=') && !text.starts_with('@') && !text.chars().any(char::is_control) {
            return Some(Self::DistinguishedName(text.to_owned()));
        }
        let name = text.strip_prefix('@').unwrap_or(text);
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) {
            return None;
        }
        Some(if name.contains('@') {
            Self::Email(name.to_owned())
        } else {
            Self::Fqdn(name.to_owned())
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Fqdn(name) | Self::Email(name) | Self::DistinguishedName(name) => {
                f.write_str(name)
            }
        }
    }
}

/// Which Diffie-Hellman exchanges CREATE_CHILD_SA may do beside those of the ESP proposals. The first CHILD_SA does none,
/// so a disagreement shows only at its first rekey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pfs {
    /// Accept the IKE SA's group, and fall back to it.
    pub ike_group: bool,
    /// Accept none at all, and fall back to that last.
    pub none: bool,
}

impl fmt::Display for Pfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ike_group, self.none) {
            (_, true) => "any",
            (true, false) => "ike-group",
            (false, false) => "strict",
        })
    }
}

/// Whether ESP travels in UDP (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// When there is a NAT between us.
    Auto,
    /// Always.
    Force,
    /// Never.
    Never,
}

/// What a tunnel's interface is on the kernel's data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// The best that the kernel has.
    Auto,
    /// An `xfrm` interface, bound by its `if_id`.
    Xfrm,
    /// A `vti` interface, bound by its keys.
    Vti,
}

/// What a network card does of ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// Nothing.
    None,
    /// Encryption and authentication; the kernel builds the packets.
    Crypto,
    /// The whole packet.
    Packet,
}

/// The MTU of a tunnel interface, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mtu {
    /// What fits, by the outer MTU and the negotiated suite.
    Auto,
    /// This.
    Fixed(u16),
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(octets) => octets.fmt(f),
        }
    }
}

impl Serialize for IkeProposal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_text(self, serializer)
    }
}

impl Serialize for EspProposal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_text(self, serializer)
    }
}
