//! The SAs that a peer says it has. The words are strongSwan's, whichever program it is.

/// An IKE_SA of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeSa {
    /// The connection's name.
    pub name: String,
    /// The peer's number for it: another one after a rekey.
    pub unique_id: u32,
    /// `ESTABLISHED`, `CONNECTING`, `REKEYING` …
    pub state: String,
    /// Whether the peer was the initiator.
    pub initiator: bool,
    /// The port that the peer uses: 4500 after the float.
    pub local_port: u16,
    /// The other side's address, as the peer sees it.
    pub remote_host: String,
    /// The other side's port, as the peer sees it.
    pub remote_port: u16,
    /// The other side's identity.
    pub remote_id: String,
    /// Encryption, integrity, PRF and DH group, as strongSwan writes them: `AES_CBC-256/HMAC_SHA1_96/…`.
    pub suite: String,
    /// Its children.
    pub children: Vec<ChildSa>,
}

/// A CHILD_SA of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSa {
    /// The child's name in the configuration.
    pub name: String,
    /// The peer's number for it: another one after a rekey.
    pub unique_id: u32,
    /// The reqid.
    pub reqid: u32,
    /// `INSTALLED`, `REKEYING`, `REKEYED` …
    pub state: String,
    /// Whether ESP is encapsulated in UDP.
    pub encap: bool,
    /// The SPI that the other side sends with, hexadecimal.
    pub spi_in: String,
    /// The SPI that the peer sends with, hexadecimal.
    pub spi_out: String,
    /// Encryption, integrity and, after a rekey with PFS, the DH group.
    pub suite: String,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// The peer's own traffic selectors.
    pub local_ts: Vec<String>,
    /// The other side's traffic selectors.
    pub remote_ts: Vec<String>,
}
