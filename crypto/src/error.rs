//! What can go wrong, grouped by who is at fault.

use thiserror::Error;

use crate::{Encryption, Group, Integrity, Kem};

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    // The peer, or somebody between us and the peer.
    /// The integrity check value does not belong to this packet and key. The body is still
    /// encrypted.
    #[error("the integrity check value does not match")]
    Authentication,
    /// A received packet's body is not a whole number of cipher blocks.
    #[error("a body of {got} octets is not a multiple of the block length {block}")]
    BodyLength {
        /// Octets per block.
        block: usize,
        /// Octets in the body.
        got: usize,
    },
    /// A packet's IV has the wrong length for its cipher.
    #[error("{encryption} needs an IV of {expected} octets, not {got}")]
    IvLength {
        /// The cipher.
        encryption: Encryption,
        /// Octets it needs.
        expected: usize,
        /// Octets given.
        got: usize,
    },
    /// A packet's integrity check value has the wrong length for its suite.
    #[error("the integrity check value has {got} octets, not {expected}")]
    IcvLength {
        /// Octets the suite needs.
        expected: usize,
        /// Octets given.
        got: usize,
    },
    /// A public value has the wrong length for its group.
    #[error("a public value of {group} has {expected} octets, not {got}")]
    PublicLength {
        /// The group.
        group: Group,
        /// Octets of a public value there.
        expected: usize,
        /// Octets received.
        got: usize,
    },
    /// A public value is outside the group's range or not on its curve (RFC 6989 §2), or, for
    /// Curve25519, leads to an all-zero shared secret (RFC 7748 §6.1).
    #[error("the public value is not acceptable for {group}")]
    PublicInvalid {
        /// The group.
        group: Group,
    },
    /// An encapsulation key or a ciphertext has the wrong length, or the former is out of range.
    #[error("the public value is not acceptable for {kem}")]
    KemInput {
        /// The mechanism.
        kem: Kem,
    },

    // The configuration, or a proposal.
    /// An AEAD protects integrity itself: a separate algorithm must not be negotiated (RFC 5282
    /// §8).
    #[error("{encryption} authenticates by itself and takes no {integrity}")]
    IntegrityUnwanted {
        /// The AEAD.
        encryption: Encryption,
        /// The superfluous algorithm.
        integrity: Integrity,
    },
    /// Encryption without integrity is not a protection (RFC 8221 §4).
    #[error("{encryption} needs an integrity algorithm")]
    IntegrityMissing {
        /// The cipher.
        encryption: Encryption,
    },
    /// No Diffie-Hellman group has this name.
    #[error("no group is called \"{name}\"")]
    UnknownGroup {
        /// What was asked for.
        name: String,
    },

    // The caller.
    /// Encryption key material of the wrong length.
    #[error("{encryption} needs {expected} octets of key material, not {got}")]
    KeymatLength {
        /// The cipher.
        encryption: Encryption,
        /// Octets it needs: key and salt.
        expected: usize,
        /// Octets given.
        got: usize,
    },
    /// An integrity key of the wrong length.
    #[error("the integrity key has {got} octets, not {expected}")]
    IntegrityKeyLength {
        /// Octets the suite needs; 0 for an AEAD.
        expected: usize,
        /// Octets given.
        got: usize,
    },
    /// Octets to authenticate after the body, with an AEAD: RFC 4106 §5 puts the high half of an
    /// extended sequence number inside the additional authenticated data.
    #[error("an AEAD authenticates nothing after the body, but was given {got} octets")]
    TailWithAead {
        /// Octets given.
        got: usize,
    },
    /// More octets in one packet than the cipher can protect under one nonce.
    #[error("a body of {got} octets is too long for {encryption}")]
    BodyTooLong {
        /// The cipher.
        encryption: Encryption,
        /// Octets in the body.
        got: usize,
    },
    /// `prf+` counts its blocks in one octet (RFC 7296 §2.13).
    #[error("prf+ was asked for {requested} octets and can give {limit}")]
    PrfPlusTooLong {
        /// Octets asked for.
        requested: usize,
        /// 255 times the output length of the PRF.
        limit: usize,
    },
}
