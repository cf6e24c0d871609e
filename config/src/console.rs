//! What a cloud's console calls the things that both ends of a tunnel have to agree on.
//!
//! Each is the words on the page and, in brackets, the name in the cloud's API and command line, which changes less often.

/// The names in one cloud's console.
#[derive(Debug, PartialEq, Eq)]
pub struct Console {
    /// What people call the console: `Oracle's console`.
    pub name: &'static str,
    /// The pre-shared key.
    pub psk: &'static str,
    /// The IKE version.
    pub version: &'static str,
    /// The algorithms of the IKE SA.
    pub ike: &'static str,
    /// The algorithms of CHILD_SAs.
    pub esp: &'static str,
    /// The group of the exchange that a CHILD_SA's rekeying has of its own.
    pub pfs: &'static str,
    /// Who we are, as the cloud knows us.
    pub local_id: &'static str,
    /// Our public address, as the cloud knows it, and what to do when it is another one.
    pub address: &'static str,
    /// The cloud's outer address, which is its identity too.
    pub remote: &'static str,
    /// Whether the tunnel is for routes or for certain networks only.
    pub selectors: &'static str,
    /// Whether the cloud initiates.
    pub initiation: &'static str,
}

/// Oracle's, for a tunnel of a Site-to-Site VPN connection; names of the API as in `oci network ip-sec-tunnel`.
pub(crate) const OCI: Console = Console {
    name: "Oracle's console",
    psk: "the tunnel's Shared secret (shared-secret)",
    version: "the tunnel's IKE version, which has to be IKEv2 (ike-version V2)",
    ike: "the tunnel's Phase one (ISAKMP) configuration (phase-one-config)",
    esp: "the tunnel's Phase two (IPSec) configuration (phase-two-config)",
    pfs: "the Perfect forward secrecy Diffie-Hellman group in the tunnel's Phase two (IPSec) configuration (pfs-dh-group)",
    local_id: "the connection's CPE IKE identifier and its type (cpe-local-identifier)",
    address: "the CPE's public IP address (cpe-ip), which cannot be changed: for another one make a new CPE object and connection",
    remote: "the tunnel's Oracle VPN IP address (vpn-ip)",
    selectors: "the tunnel's Routing type, which has to be BGP or static and not policy-based (routing)",
    initiation: "the tunnel's Oracle initiation (oracle-initiation)",
};
