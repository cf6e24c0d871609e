//! Proposals: `aes256-sha1-modp2048`, read into neutral types.
//!
//! The words are those of strongSwan and Libreswan people. Here is no cryptography, only the meaning of the words; the
//! names of the types are those of the crate that has it. A proposal that parses is complete: it has what its protocol
//! needs and nothing that contradicts.

use std::fmt;

use crate::suggest;

/// An encryption algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// AES-CBC, 128-bit key (RFC 3602).
    AesCbc128,
    /// AES-CBC, 192-bit key.
    AesCbc192,
    /// AES-CBC, 256-bit key.
    AesCbc256,
    /// AES-GCM, 128-bit key, 16-octet ICV (RFC 4106, RFC 5282).
    AesGcm128,
    /// AES-GCM, 192-bit key, 16-octet ICV.
    AesGcm192,
    /// AES-GCM, 256-bit key, 16-octet ICV.
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
}

impl Encryption {
    /// Whether it authenticates by itself, so that an integrity algorithm must not stand beside it (RFC 7296 §3.3).
    #[must_use]
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::AesCbc128 | Self::AesCbc192 | Self::AesCbc256)
    }
}

/// An integrity algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Integrity {
    /// HMAC-SHA-1-96 (RFC 2404).
    HmacSha1_96,
    /// HMAC-SHA-256-128 (RFC 4868).
    HmacSha256_128,
    /// HMAC-SHA-384-192 (RFC 4868).
    HmacSha384_192,
    /// HMAC-SHA-512-256 (RFC 4868).
    HmacSha512_256,
}

/// A pseudo-random function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prf {
    /// PRF-HMAC-SHA-1.
    HmacSha1,
    /// PRF-HMAC-SHA-256.
    HmacSha256,
    /// PRF-HMAC-SHA-384.
    HmacSha384,
    /// PRF-HMAC-SHA-512.
    HmacSha512,
}

/// A Diffie-Hellman group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Group 2.
    Modp1024,
    /// Group 5.
    Modp1536,
    /// Group 14.
    Modp2048,
    /// Group 15.
    Modp3072,
    /// Group 16.
    Modp4096,
    /// Group 19.
    Ecp256,
    /// Group 20.
    Ecp384,
    /// Group 21.
    Ecp521,
    /// Group 31.
    Curve25519,
}

/// A key encapsulation mechanism, for an additional key exchange (RFC 9370).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kem {
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// ML-KEM-1024.
    MlKem1024,
}

/// Whether 64-bit sequence numbers are wanted (RFC 4304).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Esn {
    /// Offer both and accept either; the word is absent.
    Either,
    /// Only extended ones: `esn`.
    Require,
    /// Only 32-bit ones: `noesn`.
    Never,
}

/// One acceptable combination for the IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeProposal {
    /// Cipher.
    pub encryption: Encryption,
    /// Integrity; `None` exactly for AEAD ciphers.
    pub integrity: Option<Integrity>,
    /// Pseudo-random function.
    pub prf: Prf,
    /// Groups, the preferred one first; never empty.
    pub groups: Vec<Group>,
    /// For an additional key exchange, the preferred one first; empty is none.
    pub kems: Vec<Kem>,
}

/// One acceptable combination for CHILD_SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
    /// Cipher.
    pub encryption: Encryption,
    /// Integrity; `None` exactly for AEAD ciphers.
    pub integrity: Option<Integrity>,
    /// Groups for perfect forward secrecy, the preferred one first; empty is none.
    pub groups: Vec<Group>,
    /// Sequence numbers.
    pub esn: Esn,
}

/// Why a text is no proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// A word that names no algorithm.
    #[error("\"{word}\" is no algorithm")]
    UnknownWord {
        /// The word.
        word: String,
        /// Where it is in the text, in octets.
        at: usize,
        /// A word that was perhaps meant.
        near: Option<&'static str>,
    },
    /// A word that has no place here: a second cipher, a PRF in an ESP proposal.
    #[error("\"{word}\" has no place here: {why}")]
    Misplaced {
        /// The word.
        word: String,
        /// Where it is in the text, in octets.
        at: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something is missing.
    #[error("{what} is missing")]
    Missing {
        /// What.
        what: &'static str,
        /// The words of which one is to be added.
        choices: &'static str,
    },
}

enum Word {
    Encryption(Encryption),
    Integrity(Integrity),
    Prf(Prf),
    Group(Group),
    Kem(Kem),
    Esn(Esn),
}

/// Every encryption word; the first for an algorithm is the one that we write.
const ENCRYPTION: &[(&str, Encryption)] = &[
    ("aes128", Encryption::AesCbc128),
    ("aes192", Encryption::AesCbc192),
    ("aes256", Encryption::AesCbc256),
    ("aes128gcm16", Encryption::AesGcm128),
    ("aes192gcm16", Encryption::AesGcm192),
    ("aes256gcm16", Encryption::AesGcm256),
    ("chacha20poly1305", Encryption::ChaCha20Poly1305),
    ("aes", Encryption::AesCbc128),
    ("aes128gcm128", Encryption::AesGcm128),
    ("aes192gcm128", Encryption::AesGcm192),
    ("aes256gcm128", Encryption::AesGcm256),
];

const INTEGRITY: &[(&str, Integrity)] = &[
    ("sha1", Integrity::HmacSha1_96),
    ("sha256", Integrity::HmacSha256_128),
    ("sha384", Integrity::HmacSha384_192),
    ("sha512", Integrity::HmacSha512_256),
    ("sha", Integrity::HmacSha1_96),
    ("sha2_256", Integrity::HmacSha256_128),
    ("sha2_384", Integrity::HmacSha384_192),
    ("sha2_512", Integrity::HmacSha512_256),
];

const PRF: &[(&str, Prf)] = &[
    ("prfsha1", Prf::HmacSha1),
    ("prfsha256", Prf::HmacSha256),
    ("prfsha384", Prf::HmacSha384),
    ("prfsha512", Prf::HmacSha512),
];

const GROUP: &[(&str, Group)] = &[
    ("modp1024", Group::Modp1024),
    ("modp1536", Group::Modp1536),
    ("modp2048", Group::Modp2048),
    ("modp3072", Group::Modp3072),
    ("modp4096", Group::Modp4096),
    ("ecp256", Group::Ecp256),
    ("ecp384", Group::Ecp384),
    ("ecp521", Group::Ecp521),
    ("curve25519", Group::Curve25519),
    ("x25519", Group::Curve25519),
];

const KEM: &[(&str, Kem)] = &[
    ("ke1_mlkem768", Kem::MlKem768),
    ("ke1_mlkem1024", Kem::MlKem1024),
];

const ESN: &[(&str, Esn)] = &[("esn", Esn::Require), ("noesn", Esn::Never)];

/// The words that name an encryption algorithm, for messages.
const ENCRYPTION_CHOICES: &str =
    "aes128, aes192, aes256, aes128gcm16, aes192gcm16, aes256gcm16, chacha20poly1305";
const INTEGRITY_CHOICES: &str = "sha1, sha256, sha384, sha512";
const PRF_CHOICES: &str = "prfsha1, prfsha256, prfsha384, prfsha512";
const GROUP_CHOICES: &str =
    "modp2048, modp3072, modp4096, ecp256, ecp384, ecp521, curve25519; legacy: modp1024, modp1536";

impl IkeProposal {
    /// Reads a proposal for the IKE SA. The PRF follows from the integrity algorithm where none is named.
    ///
    /// # Errors
    /// Says which word is wrong, or what is missing.
    pub fn parse(text: &str) -> Result<Self, ProposalError> {
        let parts = Parts::parse(text)?;
        if let Some((_, word, at)) = parts.esn {
            let why = "sequence numbers belong to an ESP proposal";
            return Err(ProposalError::Misplaced { word, at, why });
        }
        let (encryption, integrity) = parts.cipher()?;
        let prf = match (parts.prf, integrity) {
            (Some((prf, ..)), _) => prf,
            (None, Some(integrity)) => integrity.prf(),
            // RFC 5282 §8: an AEAD cipher says nothing about the PRF.
            (None, None) => {
                return Err(ProposalError::Missing {
                    what: "the PRF",
                    choices: PRF_CHOICES,
                });
            }
        };
        if parts.groups.is_empty() {
            return Err(ProposalError::Missing {
                what: "the Diffie-Hellman group",
                choices: GROUP_CHOICES,
            });
        }
        Ok(Self {
            encryption,
            integrity,
            prf,
            groups: parts.groups,
            kems: parts.kems.into_iter().map(|(kem, ..)| kem).collect(),
        })
    }
}

impl EspProposal {
    /// Reads a proposal for CHILD_SAs. Groups are for perfect forward secrecy; without one there is none.
    ///
    /// # Errors
    /// Says which word is wrong, or what is missing.
    pub fn parse(text: &str) -> Result<Self, ProposalError> {
        let parts = Parts::parse(text)?;
        if let Some((_, word, at)) = parts.prf {
            let why = "ESP has no pseudo-random function";
            return Err(ProposalError::Misplaced { word, at, why });
        }
        if let Some((_, word, at)) = parts.kems.first().cloned() {
            let why = "an additional key exchange belongs to an IKE proposal; what it gives is in the keys of CHILD_SAs too";
            return Err(ProposalError::Misplaced { word, at, why });
        }
        let (encryption, integrity) = parts.cipher()?;
        let esn = parts.esn.map_or(Esn::Either, |(esn, ..)| esn);
        Ok(Self {
            encryption,
            integrity,
            groups: parts.groups,
            esn,
        })
    }
}

impl Integrity {
    /// The PRF with the same hash.
    #[must_use]
    pub const fn prf(self) -> Prf {
        match self {
            Self::HmacSha1_96 => Prf::HmacSha1,
            Self::HmacSha256_128 => Prf::HmacSha256,
            Self::HmacSha384_192 => Prf::HmacSha384,
            Self::HmacSha512_256 => Prf::HmacSha512,
        }
    }
}

/// What the words of a text stand for, each with its place.
#[derive(Default)]
struct Parts {
    encryption: Option<Encryption>,
    integrity: Option<(Integrity, String, usize)>,
    prf: Option<(Prf, String, usize)>,
    groups: Vec<Group>,
    kems: Vec<(Kem, String, usize)>,
    esn: Option<(Esn, String, usize)>,
}

impl Parts {
    fn parse(text: &str) -> Result<Self, ProposalError> {
        let mut parts = Self::default();
        let mut at = 0;
        for word in text.split('-') {
            parts.add(word, at)?;
            at += word.len() + 1;
        }
        Ok(parts)
    }

    fn add(&mut self, text: &str, at: usize) -> Result<(), ProposalError> {
        let word = text.to_owned();
        let twice = |why| {
            Err(ProposalError::Misplaced {
                word: word.clone(),
                at,
                why,
            })
        };
        match lookup(text) {
            None => {
                let near = suggest::nearest(text, words());
                return Err(ProposalError::UnknownWord { word, at, near });
            }
            Some(Word::Encryption(encryption)) => {
                if self.encryption.replace(encryption).is_some() {
                    return twice("one cipher to a proposal; write a second proposal");
                }
            }
            Some(Word::Integrity(integrity)) => {
                if self
                    .integrity
                    .replace((integrity, word.clone(), at))
                    .is_some()
                {
                    return twice("one integrity algorithm to a proposal; write a second proposal");
                }
            }
            Some(Word::Prf(prf)) => {
                if self.prf.replace((prf, word.clone(), at)).is_some() {
                    return twice("one PRF to a proposal; write a second proposal");
                }
            }
            Some(Word::Group(group)) => {
                if self.groups.contains(&group) {
                    return twice("the same group twice");
                }
                self.groups.push(group);
            }
            Some(Word::Kem(kem)) => {
                if self.kems.iter().any(|(each, ..)| *each == kem) {
                    return twice("the same key exchange twice");
                }
                self.kems.push((kem, word, at));
            }
            Some(Word::Esn(esn)) => {
                if self.esn.replace((esn, word.clone(), at)).is_some() {
                    return twice("esn or noesn, once");
                }
            }
        }
        Ok(())
    }

    fn cipher(&self) -> Result<(Encryption, Option<Integrity>), ProposalError> {
        let Some(encryption) = self.encryption else {
            return Err(ProposalError::Missing {
                what: "the cipher",
                choices: ENCRYPTION_CHOICES,
            });
        };
        match (&self.integrity, encryption.is_aead()) {
            (Some((_, word, at)), true) => Err(ProposalError::Misplaced {
                word: word.clone(),
                at: *at,
                why: "the cipher authenticates by itself; for the PRF write prfsha256, prfsha384 or prfsha512",
            }),
            (None, false) => Err(ProposalError::Missing {
                what: "the integrity algorithm",
                choices: INTEGRITY_CHOICES,
            }),
            (integrity, _) => Ok((
                encryption,
                integrity.as_ref().map(|(integrity, ..)| *integrity),
            )),
        }
    }
}

fn lookup(text: &str) -> Option<Word> {
    find(ENCRYPTION, text)
        .map(Word::Encryption)
        .or_else(|| find(INTEGRITY, text).map(Word::Integrity))
        .or_else(|| find(PRF, text).map(Word::Prf))
        .or_else(|| find(GROUP, text).map(Word::Group))
        .or_else(|| find(KEM, text).map(Word::Kem))
        .or_else(|| find(ESN, text).map(Word::Esn))
}

fn find<T: Copy>(table: &[(&'static str, T)], text: &str) -> Option<T> {
    table
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, value)| *value)
}

fn words() -> impl Iterator<Item = &'static str> {
    let encryption = ENCRYPTION.iter().map(|(word, _)| *word);
    let integrity = INTEGRITY.iter().map(|(word, _)| *word);
    let prf = PRF.iter().map(|(word, _)| *word);
    let group = GROUP.iter().map(|(word, _)| *word);
    encryption
        .chain(integrity)
        .chain(prf)
        .chain(group)
        .chain(KEM.iter().map(|(word, _)| *word))
        .chain(ESN.iter().map(|(word, _)| *word))
}

fn word_of<T: PartialEq>(table: &'static [(&'static str, T)], value: &T) -> &'static str {
    table
        .iter()
        .find(|(_, each)| each == value)
        .map_or("?", |(word, _)| word)
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(word_of(ENCRYPTION, self))
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(word_of(INTEGRITY, self))
    }
}

impl fmt::Display for Prf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(word_of(PRF, self))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(word_of(GROUP, self))
    }
}

impl fmt::Display for Kem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(word_of(KEM, self))
    }
}

impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encryption.fmt(f)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        if self.integrity.map(Integrity::prf) != Some(self.prf) {
            write!(f, "-{}", self.prf)?;
        }
        self.groups
            .iter()
            .try_for_each(|group| write!(f, "-{group}"))?;
        self.kems.iter().try_for_each(|kem| write!(f, "-{kem}"))
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encryption.fmt(f)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        self.groups
            .iter()
            .try_for_each(|group| write!(f, "-{group}"))?;
        match self.esn {
            Esn::Either => Ok(()),
            Esn::Require => f.write_str("-esn"),
            Esn::Never => f.write_str("-noesn"),
        }
    }
}

#[cfg(test)]
mod tests;
