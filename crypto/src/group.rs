//! Diffie-Hellman groups (IKEv2 transform type 4): their numbers, names, and key agreement.
//!
//! Public values are as a KE payload carries them, shared secrets as the key schedule takes them
//! (RFC 7296 §2.14, RFC 5903 §7, RFC 8031 §3.1). A peer's public value is validated before it meets
//! our private one.

mod ecp;
mod modp;
mod primes;

use std::fmt;
use std::str::FromStr;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{Error, Secret, constant_time_eq};

/// A Diffie-Hellman group. The discriminant is the IANA transform ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Group {
    /// 1024-bit MODP (RFC 2409 §6.2). Legacy: within reach of large attackers.
    Modp1024 = 2,
    /// 1536-bit MODP (RFC 3526 §2). Legacy.
    Modp1536 = 5,
    /// 2048-bit MODP (RFC 3526 §3).
    Modp2048 = 14,
    /// 3072-bit MODP (RFC 3526 §4).
    Modp3072 = 15,
    /// 4096-bit MODP (RFC 3526 §5).
    Modp4096 = 16,
    /// NIST P-256 (RFC 5903 §3.1).
    Ecp256 = 19,
    /// NIST P-384 (RFC 5903 §3.2).
    Ecp384 = 20,
    /// NIST P-521 (RFC 5903 §3.3).
    Ecp521 = 21,
    /// Curve25519 (RFC 8031).
    Curve25519 = 31,
}

impl Group {
    /// Every group, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Modp1024,
        Self::Modp1536,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Curve25519,
    ];

    /// The IANA transform ID.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The group with this transform ID, or `None` where we have none.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.id() == id)
    }

    /// The length of a public value in octets.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp1024 => 128,
            Self::Modp1536 => 192,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            Self::Curve25519 => 32,
        }
    }

    /// Whether it is too weak to be offered unless the peer can do nothing else: RFC 8247 §2.4 says
    /// SHOULD NOT of both.
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::Modp1024 | Self::Modp1536)
    }

    /// A fresh key pair. A MODP pair costs one modular exponentiation, milliseconds for the large
    /// groups.
    #[must_use]
    pub fn generate(self, rng: &mut dyn CryptoRng) -> KeyPair {
        // On an elliptic curve a draw can be 0, or not below the order, and is then no private
        // value: practically never, but for P-521 every other time.
        loop {
            let private = self.draw_private(rng);
            if let Some(public) = self.public_of(private.expose()) {
                return KeyPair {
                    group: self,
                    private,
                    public,
                };
            }
        }
    }

    fn draw_private(self, rng: &mut dyn CryptoRng) -> Secret {
        let mut private = Secret::zeroed(self.private_len());
        rng.fill_bytes(private.expose_mut());
        if let Some(first) = private.expose_mut().first_mut() {
            match self {
                // The order has 521 bits: 66 octets, of which the first holds one bit.
                Self::Ecp521 => *first &= 1,
                Self::Ecp256 | Self::Ecp384 | Self::Curve25519 => {}
                // An exponent is exactly as long as it is meant to be.
                Self::Modp1024
                | Self::Modp1536
                | Self::Modp2048
                | Self::Modp3072
                | Self::Modp4096 => *first |= 0x80,
            }
        }
        private
    }

    /// The length of a private value in octets. Exponents have twice the bits of the group's
    /// strength, by the larger of the two estimates of RFC 3526 §8, rounded up to whole words: more
    /// would cost time and add nothing.
    const fn private_len(self) -> usize {
        match self {
            Self::Modp1024 | Self::Modp1536 | Self::Ecp256 | Self::Curve25519 => 32,
            Self::Modp2048 => 40,
            Self::Modp3072 => 56,
            Self::Modp4096 => 64,
            Self::Ecp384 => 48,
            Self::Ecp521 => 66,
        }
    }

    /// The public value of `private`, or `None` where that is no private value of the group.
    fn public_of(self, private: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ecp256 => ecp::public::<p256::NistP256>(private),
            Self::Ecp384 => ecp::public::<p384::NistP384>(private),
            Self::Ecp521 => ecp::public::<p521::NistP521>(private),
            Self::Curve25519 => {
                let scalar = Zeroizing::new(<[u8; 32]>::try_from(private).ok()?);
                // By way of the Edwards curve, for which there are tables of the base point: a fourth of the ladder's time.
                let secret = x25519_dalek::StaticSecret::from(*scalar);
                Some(x25519_dalek::PublicKey::from(&secret).to_bytes().to_vec())
            }
            Self::Modp1024 | Self::Modp1536 | Self::Modp2048 | Self::Modp3072 | Self::Modp4096 => {
                // The generator of each is 2.
                let mut generator = vec![0; self.public_len()];
                *generator.last_mut()? = 2;
                modp::power(self, &generator, private).map(|power| power.expose().to_vec())
            }
        }
    }

    /// The shared secret of `private` and `peer`, or `None` where `peer` is not an acceptable
    /// public value.
    fn shared_of(self, private: &[u8], peer: &[u8]) -> Option<Secret> {
        match self {
            Self::Ecp256 => ecp::shared::<p256::NistP256>(private, peer),
            Self::Ecp384 => ecp::shared::<p384::NistP384>(private, peer),
            Self::Ecp521 => ecp::shared::<p521::NistP521>(private, peer),
            Self::Curve25519 => {
                let scalar = Zeroizing::new(<[u8; 32]>::try_from(private).ok()?);
                let shared = x25519_dalek::x25519(*scalar, peer.try_into().ok()?);
                let shared = Zeroizing::new(shared);
                // A point of small order leads to zero whatever our private value is. The check is
                // optional in RFC 7748 §6.1; a peer that fails it is not worth a tunnel.
                let zero = constant_time_eq(&*shared, &[0; 32]);
                (!zero).then(|| Secret::from_slice(&*shared))
            }
            Self::Modp1024 | Self::Modp1536 | Self::Modp2048 | Self::Modp3072 | Self::Modp4096 => {
                modp::power(self, peer, private)
            }
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Modp1024 => "modp1024",
            Self::Modp1536 => "modp1536",
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::Modp4096 => "modp4096",
            Self::Ecp256 => "ecp256",
            Self::Ecp384 => "ecp384",
            Self::Ecp521 => "ecp521",
            Self::Curve25519 => "curve25519",
        })
    }
}

impl FromStr for Group {
    type Err = Error;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|group| group.to_string() == name)
            .ok_or_else(|| Error::UnknownGroup {
                name: name.to_owned(),
            })
    }
}

/// A private value and its public value. The private value is zeroed on drop and never leaves.
pub struct KeyPair {
    group: Group,
    private: Secret,
    public: Vec<u8>,
}

impl KeyPair {
    /// The group of the pair.
    #[must_use]
    pub const fn group(&self) -> Group {
        self.group
    }

    /// Our public value, as the KE payload carries it.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret with the owner of the public value `peer`: g^ir of the key schedule. For
    /// MODP it is as long as the prime (RFC 7296 §2.14), on an elliptic curve it is the x
    /// coordinate (RFC 5903 §7).
    ///
    /// It costs what [`Group::generate`] does: run it off the event loop.
    ///
    /// # Errors
    ///
    /// [`Error::PublicLength`] where `peer` has the wrong length, [`Error::PublicInvalid`] where it
    /// fails the tests of RFC 6989 §2 or RFC 7748 §6.1.
    pub fn agree(&self, peer: &[u8]) -> Result<Secret, Error> {
        let (group, expected) = (self.group, self.group.public_len());
        if peer.len() != expected {
            return Err(Error::PublicLength {
                group,
                expected,
                got: peer.len(),
            });
        }
        group
            .shared_of(self.private.expose(), peer)
            .ok_or(Error::PublicInvalid { group })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.group)
    }
}
