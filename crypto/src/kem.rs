//! Key encapsulation (IKEv2 transform type 4, as an additional key exchange of RFC 9370): ML-KEM (FIPS 203).
//!
//! The initiator's KE payload carries an encapsulation key, the responder's a ciphertext. The one who encapsulates needs no key pair, so
//! this is not the shape of a [`Group`](crate::Group).

use std::fmt;

use ml_kem::{
    Decapsulate as _, DecapsulationKey, Encapsulate as _, EncapsulationKey, KeyExport as _,
    MlKem768, MlKem1024, TryKeyInit as _,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{Error, Secret};

/// A key encapsulation mechanism. The discriminant is the IANA transform ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kem {
    /// ML-KEM-768: about the strength of AES-192.
    MlKem768 = 36,
    /// ML-KEM-1024: about the strength of AES-256.
    MlKem1024 = 37,
}

/// Octets of the seed (d, z) that a decapsulation key is made from (FIPS 203 section 7.1).
const SEED_LEN: usize = 64;

impl Kem {
    /// Every mechanism, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::MlKem768, Self::MlKem1024];

    /// The IANA transform ID.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The mechanism with this transform ID, or `None` where we have none.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kem| kem.id() == id)
    }

    /// The length of an encapsulation key in octets.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
        }
    }

    /// The length of a ciphertext in octets.
    #[must_use]
    pub const fn ciphertext_len(self) -> usize {
        match self {
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
        }
    }

    /// A fresh key pair.
    #[must_use]
    pub fn generate(self, rng: &mut dyn CryptoRng) -> KemKey {
        let mut seed = Secret::zeroed(SEED_LEN);
        rng.fill_bytes(seed.expose_mut());
        let public = self.public_of(&seed).unwrap_or_default();
        KemKey {
            kem: self,
            seed,
            public,
        }
    }

    fn public_of(self, seed: &Secret) -> Option<Vec<u8>> {
        let seed = seed.expose().try_into().ok()?;
        Some(match self {
            Self::MlKem768 => DecapsulationKey::<MlKem768>::from_seed(seed)
                .encapsulation_key()
                .to_bytes()
                .to_vec(),
            Self::MlKem1024 => DecapsulationKey::<MlKem1024>::from_seed(seed)
                .encapsulation_key()
                .to_bytes()
                .to_vec(),
        })
    }

    /// A fresh shared secret for the owner of the encapsulation key `public`, and the ciphertext that tells it.
    ///
    /// # Errors
    ///
    /// [`Error::KemInput`] where `public` has the wrong length or fails the check of FIPS 203 section 7.2.
    pub fn encapsulate(
        self,
        public: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, Secret), Error> {
        let refused = Error::KemInput { kem: self };
        Ok(match self {
            Self::MlKem768 => {
                let key =
                    EncapsulationKey::<MlKem768>::new_from_slice(public).map_err(|_| refused)?;
                let (ciphertext, shared) = key.encapsulate_with_rng(rng);
                (
                    ciphertext.to_vec(),
                    Secret::from_slice(&Zeroizing::new(shared)),
                )
            }
            Self::MlKem1024 => {
                let key =
                    EncapsulationKey::<MlKem1024>::new_from_slice(public).map_err(|_| refused)?;
                let (ciphertext, shared) = key.encapsulate_with_rng(rng);
                (
                    ciphertext.to_vec(),
                    Secret::from_slice(&Zeroizing::new(shared)),
                )
            }
        })
    }
}

impl fmt::Display for Kem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MlKem768 => "mlkem768",
            Self::MlKem1024 => "mlkem1024",
        })
    }
}

/// A decapsulation key and its encapsulation key. The former is zeroed on drop and never leaves.
pub struct KemKey {
    kem: Kem,
    /// What the decapsulation key is made from, each time that it is needed: once.
    seed: Secret,
    public: Vec<u8>,
}

impl KemKey {
    /// The mechanism of the pair.
    #[must_use]
    pub const fn kem(&self) -> Kem {
        self.kem
    }

    /// The encapsulation key, as the KE payload carries it.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret that `ciphertext` tells. One that was changed on the way gives another secret, and no error (FIPS 203 section 6.3).
    ///
    /// # Errors
    ///
    /// [`Error::KemInput`] where `ciphertext` has the wrong length.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, Error> {
        let refused = || Error::KemInput { kem: self.kem };
        let seed = self.seed.expose().try_into().map_err(|_| refused())?;
        Ok(match self.kem {
            Kem::MlKem768 => {
                let key = DecapsulationKey::<MlKem768>::from_seed(seed);
                let shared = key.decapsulate_slice(ciphertext).map_err(|_| refused())?;
                Secret::from_slice(&Zeroizing::new(shared))
            }
            Kem::MlKem1024 => {
                let key = DecapsulationKey::<MlKem1024>::from_seed(seed);
                let shared = key.decapsulate_slice(ciphertext).map_err(|_| refused())?;
                Secret::from_slice(&Zeroizing::new(shared))
            }
        })
    }
}

impl fmt::Debug for KemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemKey({})", self.kem)
    }
}
