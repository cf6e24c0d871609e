//! Encryption and integrity algorithms: sizes, names and IANA numbers.
//!
//! Source of the numbers: IANA, "Internet Key Exchange Version 2 (IKEv2) Parameters", transform
//! types 1 and 3.

use std::fmt;

/// An encryption algorithm (IKEv2 transform type 1). All lengths are in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encryption {
    /// AES-CBC with a 128-bit key (RFC 3602).
    AesCbc128,
    /// AES-CBC with a 192-bit key (RFC 3602).
    AesCbc192,
    /// AES-CBC with a 256-bit key (RFC 3602).
    AesCbc256,
    /// AES-GCM with a 128-bit key and a 16-octet ICV (RFC 4106, RFC 5282).
    AesGcm128,
    /// AES-GCM with a 192-bit key and a 16-octet ICV (RFC 4106, RFC 5282).
    AesGcm192,
    /// AES-GCM with a 256-bit key and a 16-octet ICV (RFC 4106, RFC 5282).
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
}

impl Encryption {
    /// Every algorithm, weakest key first within a mode.
    pub const ALL: [Self; 7] = [
        Self::AesCbc128,
        Self::AesCbc192,
        Self::AesCbc256,
        Self::AesGcm128,
        Self::AesGcm192,
        Self::AesGcm256,
        Self::ChaCha20Poly1305,
    ];

    /// The cipher's key, without a salt.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCbc128 | Self::AesGcm128 => 16,
            Self::AesCbc192 | Self::AesGcm192 => 24,
            Self::AesCbc256 | Self::AesGcm256 | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The salt that follows the key in KEYMAT and begins every nonce (RFC 4106 §8.1, RFC 7634 §2).
    #[must_use]
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// What the cipher takes from KEYMAT: key and salt.
    #[must_use]
    pub const fn keymat_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// The IV that travels in each packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// What the plaintext's length must be a multiple of; 1 for an AEAD.
    #[must_use]
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }

    /// Whether it authenticates as well as encrypts.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        match self {
            Self::AesCbc128 | Self::AesCbc192 | Self::AesCbc256 => false,
            Self::AesGcm128 | Self::AesGcm192 | Self::AesGcm256 | Self::ChaCha20Poly1305 => true,
        }
    }

    /// The integrity check value that the cipher itself makes; 0 unless it is an AEAD.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        if self.is_aead() { 16 } else { 0 }
    }

    /// The IANA transform ID and, where the algorithm takes one, the Key Length attribute in bits.
    #[must_use]
    pub const fn transform(self) -> (u16, Option<u16>) {
        match self {
            Self::AesCbc128 => (12, Some(128)),
            Self::AesCbc192 => (12, Some(192)),
            Self::AesCbc256 => (12, Some(256)),
            Self::AesGcm128 => (20, Some(128)),
            Self::AesGcm192 => (20, Some(192)),
            Self::AesGcm256 => (20, Some(256)),
            // The key has one length, so the attribute MUST NOT be sent (RFC 7634 §4).
            Self::ChaCha20Poly1305 => (28, None),
        }
    }

    /// The algorithm of a transform, or `None` where we have none. The Key Length attribute decides
    /// as much as the ID does (RFC 7296 §3.3.5).
    #[must_use]
    pub fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.transform() == (id, key_bits))
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AesCbc128 => "aes128",
            Self::AesCbc192 => "aes192",
            Self::AesCbc256 => "aes256",
            Self::AesGcm128 => "aes128gcm16",
            Self::AesGcm192 => "aes192gcm16",
            Self::AesGcm256 => "aes256gcm16",
            Self::ChaCha20Poly1305 => "chacha20poly1305",
        })
    }
}

/// An integrity algorithm (IKEv2 transform type 3). All lengths are in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integrity {
    /// HMAC-SHA-1, cut to 96 bits (RFC 2404).
    HmacSha1_96,
    /// HMAC-SHA-256, cut to 128 bits (RFC 4868).
    HmacSha256_128,
    /// HMAC-SHA-384, cut to 192 bits (RFC 4868).
    HmacSha384_192,
    /// HMAC-SHA-512, cut to 256 bits (RFC 4868).
    HmacSha512_256,
}

impl Integrity {
    /// Every algorithm, shortest first.
    pub const ALL: [Self; 4] = [
        Self::HmacSha1_96,
        Self::HmacSha256_128,
        Self::HmacSha384_192,
        Self::HmacSha512_256,
    ];

    /// The key: as long as the hash's output (RFC 2404 §3, RFC 4868 §2.1.1).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// The integrity check value in each packet.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }

    /// The IANA transform ID.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::HmacSha1_96 => 2,
            Self::HmacSha256_128 => 12,
            Self::HmacSha384_192 => 13,
            Self::HmacSha512_256 => 14,
        }
    }

    /// The algorithm with this transform ID, or `None` where we have none.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HmacSha1_96 => "sha1",
            Self::HmacSha256_128 => "sha256",
            Self::HmacSha384_192 => "sha384",
            Self::HmacSha512_256 => "sha512",
        })
    }
}
