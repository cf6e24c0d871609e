//! Profiles: what is known about a cloud's gateway or a node's speaker, as data.
//!
//! A profile gives defaults, which the file can override, and limits, which turn into diagnostics. The numbers for `oci`
//! are Oracle's published ones: supported IPsec parameters, Site-to-Site VPN set-up and troubleshooting pages.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use crate::console::{self, Console};
use crate::model::Pfs;
use crate::proposal::{Encryption, Group, Integrity};

/// The kind of gateway at the other end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Any IKEv2 gateway.
    Generic,
    /// An Oracle Cloud DRG.
    Oci,
}

impl Profile {
    /// Its name in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What is known about it.
    #[must_use]
    pub const fn facts(self) -> &'static TunnelProfile {
        match self {
            Self::Generic => &GENERIC,
            Self::Oci => &OCI,
        }
    }
}

/// The kind of speaker that a neighbor outside the tunnels is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeighborKind {
    /// Cilium's BGP control plane.
    Cilium,
    /// Any speaker.
    Generic,
    /// MetalLB.
    Metallb,
}

impl NeighborKind {
    /// Its name in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cilium => "cilium",
            Self::Generic => "generic",
            Self::Metallb => "metallb",
        }
    }

    /// Its timers.
    #[must_use]
    pub const fn timers(self) -> Timers {
        match self {
            // Cilium and MetalLB offer 90 s and 30 s by themselves, and the lower of two hold times counts: nine
            // seconds so that a node which vanishes without a word is out of the ECMP set soon.
            Self::Cilium | Self::Metallb => Timers::seconds(9, 3, 5),
            Self::Generic => Timers::seconds(90, 30, 5),
        }
    }
}

/// BGP timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The hold time that we offer.
    pub hold: Duration,
    /// The pause between KEEPALIVEs.
    pub keepalive: Duration,
    /// The longest pause between two attempts to connect.
    pub connect_retry: Duration,
}

impl Timers {
    const fn seconds(hold: u64, keepalive: u64, connect_retry: u64) -> Self {
        Self {
            hold: Duration::from_secs(hold),
            keepalive: Duration::from_secs(keepalive),
            connect_retry: Duration::from_secs(connect_retry),
        }
    }
}

/// Defaults and limits for tunnels to one kind of gateway.
#[derive(Debug)]
pub struct TunnelProfile {
    /// Its name in a file.
    pub name: &'static str,
    /// What people call the thing at the other end.
    pub peer: &'static str,
    /// What its console calls things, where it has one.
    pub console: Option<&'static Console>,
    /// Proposals for the IKE SA, the preferred one first.
    pub ike: &'static [&'static str],
    /// Proposals for CHILD_SAs, the preferred one first.
    pub esp: &'static [&'static str],
    /// Freedom in CREATE_CHILD_SA.
    pub pfs: Pfs,
    /// Lifetime of the IKE SA.
    pub ike_lifetime: Duration,
    /// Lifetime of CHILD_SAs.
    pub child_lifetime: Duration,
    /// Silence after which the peer is probed.
    pub liveness: Duration,
    /// When a silent peer is given up.
    pub liveness_timeout: Duration,
    /// The AS that the peer usually is.
    pub remote_asn: Option<u32>,
    /// ASNs that the peer does not accept from us.
    pub refused_asns: &'static [u32],
    /// BGP timers.
    pub timers: Timers,
    /// Hold times that the peer supports, in seconds, both inclusive.
    pub hold_range: Option<(u64, u64)>,
    /// How many prefixes it bears from us.
    pub prefix_cap: Option<u32>,
    /// How many more times our AS stands in front of what it is told over a backup tunnel.
    pub backup_prepend: u8,
    /// Whether its sessions can have a TCP MD5 key.
    pub md5: bool,
    /// Whether it speaks BFD through its tunnels.
    pub bfd: bool,
    /// The pre-shared keys that it takes.
    pub psk: PskRule,
    /// Whether it can have a post-quantum one beside (RFC 8784).
    pub ppk: bool,
    /// Whether it can do with certificates in place of a pre-shared key.
    pub certificates: bool,
    /// Ranges that inside addresses must avoid, both ends inclusive.
    pub forbidden_inside: &'static [(Ipv4Addr, Ipv4Addr)],
    /// In a /31 it is usual that our address is the lower one.
    pub ours_is_lower: bool,
    /// What it accepts, where that is published.
    pub accepts: Option<Accepts>,
}

/// The pre-shared keys that a peer takes.
#[derive(Debug)]
pub struct PskRule {
    /// Whether an octet may be in one.
    pub allows: fn(u8) -> bool,
    /// The same for people.
    pub allowed: &'static str,
    /// The fewest octets with which we are not uneasy.
    pub fewest: usize,
}

/// Algorithms that a peer accepts.
#[derive(Debug)]
pub struct Accepts {
    /// Ciphers for the IKE SA.
    pub ike_encryption: &'static [Encryption],
    /// Integrity for the IKE SA.
    pub ike_integrity: &'static [Integrity],
    /// Ciphers for CHILD_SAs.
    pub esp_encryption: &'static [Encryption],
    /// Integrity for CHILD_SAs.
    pub esp_integrity: &'static [Integrity],
    /// Groups for both.
    pub groups: &'static [Group],
}

const AES_CBC: &[Encryption] = &[
    Encryption::AesCbc128,
    Encryption::AesCbc192,
    Encryption::AesCbc256,
];

const OCI: TunnelProfile = TunnelProfile {
    name: "oci",
    peer: "Oracle's DRG",
    console: Some(&console::OCI),
    // Oracle's own recommendation for phase 1; it takes no GCM there.
    ike: &["aes256-sha384-ecp384"],
    // Its default group for PFS is 5, hence the last place for it.
    esp: &["aes256gcm16-ecp384-modp2048-modp1536"],
    pfs: Pfs {
        ike_group: true,
        none: false,
    },
    ike_lifetime: Duration::from_secs(28_800),
    child_lifetime: Duration::from_secs(3_600),
    // Oracle gives us up after 20 s without a sign of life.
    liveness: Duration::from_secs(10),
    liveness_timeout: Duration::from_secs(20),
    remote_asn: Some(31_898),
    refused_asns: &[65_534],
    timers: Timers::seconds(18, 6, 5),
    hold_range: Some((18, 180)),
    prefix_cap: Some(2_000),
    // Oracle takes the shortest AS path; MED is compared only when all else is equal.
    backup_prepend: 2,
    md5: false,
    bfd: false,
    psk: PskRule {
        allows: |octet| octet.is_ascii_alphanumeric() || octet == b' ',
        allowed: "letters, digits and spaces",
        fewest: 20,
    },
    ppk: false,
    certificates: false,
    forbidden_inside: &[
        (
            Ipv4Addr::new(169, 254, 10, 0),
            Ipv4Addr::new(169, 254, 19, 255),
        ),
        (
            Ipv4Addr::new(169, 254, 100, 0),
            Ipv4Addr::new(169, 254, 109, 255),
        ),
        (
            Ipv4Addr::new(169, 254, 192, 0),
            Ipv4Addr::new(169, 254, 201, 255),
        ),
    ],
    ours_is_lower: true,
    accepts: Some(Accepts {
        ike_encryption: AES_CBC,
        ike_integrity: &[
            Integrity::HmacSha1_96,
            Integrity::HmacSha256_128,
            Integrity::HmacSha384_192,
        ],
        esp_encryption: &[
            Encryption::AesCbc128,
            Encryption::AesCbc192,
            Encryption::AesCbc256,
            Encryption::AesGcm128,
            Encryption::AesGcm192,
            Encryption::AesGcm256,
        ],
        esp_integrity: &[Integrity::HmacSha1_96, Integrity::HmacSha256_128],
        groups: &[
            Group::Modp1024,
            Group::Modp1536,
            Group::Modp2048,
            Group::Ecp256,
            Group::Ecp384,
        ],
    }),
};

const GENERIC: TunnelProfile = TunnelProfile {
    name: "generic",
    peer: "the peer",
    console: None,
    // Two of ours use ML-KEM; whoever has never heard of it takes one of the others.
    ike: &[
        "aes256gcm16-prfsha384-ecp384-ke1_mlkem768",
        "aes256gcm16-prfsha384-ecp384",
        "aes256-sha384-ecp384",
        "aes256-sha256-ecp256-modp2048",
    ],
    esp: &[
        "aes256gcm16-ecp384-ecp256-modp2048",
        "aes256-sha256-ecp384-ecp256-modp2048",
    ],
    pfs: Pfs {
        ike_group: true,
        none: false,
    },
    ike_lifetime: Duration::from_secs(28_800),
    child_lifetime: Duration::from_secs(3_600),
    liveness: Duration::from_secs(10),
    liveness_timeout: Duration::from_secs(20),
    remote_asn: None,
    refused_asns: &[],
    timers: Timers::seconds(30, 10, 5),
    hold_range: None,
    prefix_cap: None,
    backup_prepend: 2,
    md5: true,
    bfd: true,
    // RFC 7296 §2.15: any octets; those that survive a text file and a console are printable.
    psk: PskRule {
        allows: |octet| octet == b' ' || octet.is_ascii_graphic(),
        allowed: "printable ASCII characters",
        fewest: 20,
    },
    ppk: true,
    certificates: true,
    forbidden_inside: &[],
    ours_is_lower: false,
    accepts: None,
};
