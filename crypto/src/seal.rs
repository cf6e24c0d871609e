//! One direction of an SA: sealing what we send, opening what we receive.
//!
//! Both work in place on the caller's buffer, allocate nothing and expand no key per packet. They
//! are `Sync`: an SA may be used from several threads, and the uniqueness of AEAD IVs (RFC 4106
//! §3.1) is the caller's to keep.

use std::fmt;

use crate::aead::Aead;
use crate::cbc::{CbcDecryptor, CbcEncryptor};
use crate::mac::{Hash, KeyedMac};
use crate::{Error, Integrity, Secret, Suite};

/// Encrypts and authenticates packets of one SA in one direction.
pub struct Sealer {
    suite: Suite,
    transform: Transform<CbcEncryptor>,
}

/// Authenticates and decrypts packets of one SA in one direction.
pub struct Opener {
    suite: Suite,
    transform: Transform<CbcDecryptor>,
}

enum Transform<Cbc> {
    Aead(Aead),
    EncryptThenMac { cipher: Cbc, mac: Box<KeyedMac> },
}

impl Sealer {
    /// Keys a sealer with `keymat`, the encryption key followed by the salt of an AEAD, and with
    /// `integrity_key`, which is empty for an AEAD.
    ///
    /// # Errors
    ///
    /// [`Error::KeymatLength`] or [`Error::IntegrityKeyLength`] where a key does not fit the suite;
    /// [`Error::IntegrityUnwanted`] or [`Error::IntegrityMissing`] for a suite that [`Suite::new`]
    /// would refuse.
    pub fn new(suite: Suite, keymat: &Secret, integrity_key: &Secret) -> Result<Self, Error> {
        let transform = Transform::new(suite, keymat, integrity_key, CbcEncryptor::new)?;
        Ok(Self { suite, transform })
    }

    /// The algorithms in use.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts `body` in place and writes the integrity check value to `icv`.
    ///
    /// Authenticated are `aad`, `iv`, the ciphertext and `tail`, in this order. The tail is for the
    /// high half of an extended sequence number, which a separate integrity algorithm covers after
    /// the packet (RFC 4303 §2.2.1); it must be empty for an AEAD. The IV must be unpredictable for
    /// CBC (RFC 3602 §3) and never used twice for an AEAD.
    ///
    /// # Errors
    ///
    /// [`Error::IvLength`], [`Error::IcvLength`], [`Error::BodyLength`] or [`Error::TailWithAead`]
    /// where an argument does not fit the suite, [`Error::BodyTooLong`] for a body beyond the
    /// AEAD's limit. The buffers are then as they were.
    pub fn seal(
        &self,
        aad: &[u8],
        iv: &[u8],
        body: &mut [u8],
        tail: &[u8],
        icv: &mut [u8],
    ) -> Result<(), Error> {
        check_shape(self.suite, body.len(), icv.len())?;
        match &self.transform {
            Transform::Aead(aead) => {
                check_no_tail(tail)?;
                let tag = aead.seal(aad, fixed_iv(self.suite, iv)?, body)?;
                icv.copy_from_slice(&tag);
            }
            Transform::EncryptThenMac { cipher, mac } => {
                let block_iv = fixed_iv(self.suite, iv)?;
                cipher.encrypt(block_iv, body);
                mac.compute(&[aad, iv, body, tail], icv);
            }
        }
        Ok(())
    }
}

impl Opener {
    /// Keys an opener; the arguments and errors are those of [`Sealer::new`].
    ///
    /// # Errors
    ///
    /// See [`Sealer::new`].
    pub fn new(suite: Suite, keymat: &Secret, integrity_key: &Secret) -> Result<Self, Error> {
        let transform = Transform::new(suite, keymat, integrity_key, CbcDecryptor::new)?;
        Ok(Self { suite, transform })
    }

    /// The algorithms in use.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Checks `icv` and, if it is right, decrypts `body` in place. The arguments are those of
    /// [`Sealer::seal`].
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] where any authenticated octet or the ICV was changed, or the keys
    /// differ; the body then is still the ciphertext. [`Error::IvLength`], [`Error::IcvLength`],
    /// [`Error::BodyLength`] or [`Error::TailWithAead`] where an argument does not fit the suite.
    pub fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        body: &mut [u8],
        tail: &[u8],
        icv: &[u8],
    ) -> Result<(), Error> {
        check_shape(self.suite, body.len(), icv.len())?;
        match &self.transform {
            Transform::Aead(aead) => {
                check_no_tail(tail)?;
                let expected = self.suite.icv_len();
                let tag = icv.try_into().map_err(|_| Error::IcvLength {
                    expected,
                    got: icv.len(),
                })?;
                aead.open(aad, fixed_iv(self.suite, iv)?, body, tag)
            }
            Transform::EncryptThenMac { cipher, mac } => {
                let block_iv = fixed_iv(self.suite, iv)?;
                // First the MAC: no decrypted octet influences anything until the packet is
                // authentic.
                if !mac.verify(&[aad, iv, body, tail], icv) {
                    return Err(Error::Authentication);
                }
                cipher.decrypt(block_iv, body);
                Ok(())
            }
        }
    }
}

impl<Cbc> Transform<Cbc> {
    fn new(
        suite: Suite,
        keymat: &Secret,
        integrity_key: &Secret,
        cbc: impl FnOnce(crate::Encryption, &[u8]) -> Option<Cbc>,
    ) -> Result<Self, Error> {
        // The fields of a suite are public, so its invariant is checked again where it matters.
        let Suite {
            encryption,
            integrity,
        } = Suite::new(suite.encryption, suite.integrity)?;
        let wrong_keymat = || Error::KeymatLength {
            encryption,
            expected: encryption.keymat_len(),
            got: keymat.len(),
        };
        let expected = suite.integrity_key_len();
        if integrity_key.len() != expected {
            return Err(Error::IntegrityKeyLength {
                expected,
                got: integrity_key.len(),
            });
        }
        match integrity {
            None => Aead::new(encryption, keymat.expose())
                .map(Self::Aead)
                .ok_or_else(wrong_keymat),
            Some(integrity) => Ok(Self::EncryptThenMac {
                cipher: cbc(encryption, keymat.expose()).ok_or_else(wrong_keymat)?,
                mac: Box::new(KeyedMac::new(hash(integrity), integrity_key.expose())),
            }),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.suite)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({})", self.suite)
    }
}

const fn hash(integrity: Integrity) -> Hash {
    match integrity {
        Integrity::HmacSha1_96 => Hash::Sha1,
        Integrity::HmacSha256_128 => Hash::Sha256,
        Integrity::HmacSha384_192 => Hash::Sha384,
        Integrity::HmacSha512_256 => Hash::Sha512,
    }
}

fn check_shape(suite: Suite, body: usize, icv: usize) -> Result<(), Error> {
    let block = suite.block_len();
    if !body.is_multiple_of(block) {
        return Err(Error::BodyLength { block, got: body });
    }
    let expected = suite.icv_len();
    if icv != expected {
        return Err(Error::IcvLength { expected, got: icv });
    }
    Ok(())
}

const fn check_no_tail(tail: &[u8]) -> Result<(), Error> {
    if tail.is_empty() {
        Ok(())
    } else {
        Err(Error::TailWithAead { got: tail.len() })
    }
}

fn fixed_iv<const N: usize>(suite: Suite, iv: &[u8]) -> Result<[u8; N], Error> {
    iv.try_into().map_err(|_| Error::IvLength {
        encryption: suite.encryption,
        expected: N,
        got: iv.len(),
    })
}
