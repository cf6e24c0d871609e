//! The AEADs of ESP and IKE: AES-GCM (RFC 4106, RFC 5282) and ChaCha20-Poly1305 (RFC 7634).
//!
//! A nonce is the 4-octet salt from KEYMAT and the 8-octet IV of the packet.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::Zeroizing;

use crate::{Encryption, Error};

/// A keyed AEAD with the salt of its SA. It serves both directions.
pub(crate) struct Aead {
    encryption: Encryption,
    cipher: Cipher,
    salt: Zeroizing<[u8; 4]>,
}

enum Cipher {
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
}

impl Aead {
    /// `None` where `encryption` is no AEAD or `keymat` is not its key and salt.
    pub(crate) fn new(encryption: Encryption, keymat: &[u8]) -> Option<Self> {
        let (key, salt) = keymat.split_at_checked(encryption.key_len())?;
        let cipher = match encryption {
            Encryption::AesGcm128 => Cipher::Gcm128(keyed(key)?),
            Encryption::AesGcm192 => Cipher::Gcm192(keyed(key)?),
            Encryption::AesGcm256 => Cipher::Gcm256(keyed(key)?),
            Encryption::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305(keyed(key)?),
            Encryption::AesCbc128 | Encryption::AesCbc192 | Encryption::AesCbc256 => return None,
        };
        Some(Self {
            encryption,
            cipher,
            salt: Zeroizing::new(salt.try_into().ok()?),
        })
    }

    pub(crate) fn seal(&self, aad: &[u8], iv: [u8; 8], body: &mut [u8]) -> Result<[u8; 16], Error> {
        let nonce = self.nonce(iv).into();
        let got = body.len();
        match &self.cipher {
            Cipher::Gcm128(c) => c.encrypt_inout_detached(&nonce, aad, body.into()),
            Cipher::Gcm192(c) => c.encrypt_inout_detached(&nonce, aad, body.into()),
            Cipher::Gcm256(c) => c.encrypt_inout_detached(&nonce, aad, body.into()),
            Cipher::ChaCha20Poly1305(c) => c.encrypt_inout_detached(&nonce, aad, body.into()),
        }
        .map(Into::into)
        .map_err(|_| Error::BodyTooLong {
            encryption: self.encryption,
            got,
        })
    }

    /// Decrypts only after the tag has been found right: a body that is refused stays ciphertext.
    pub(crate) fn open(
        &self,
        aad: &[u8],
        iv: [u8; 8],
        body: &mut [u8],
        tag: [u8; 16],
    ) -> Result<(), Error> {
        let nonce = self.nonce(iv).into();
        let tag = tag.into();
        match &self.cipher {
            Cipher::Gcm128(c) => c.decrypt_inout_detached(&nonce, aad, body.into(), &tag),
            Cipher::Gcm192(c) => c.decrypt_inout_detached(&nonce, aad, body.into(), &tag),
            Cipher::Gcm256(c) => c.decrypt_inout_detached(&nonce, aad, body.into(), &tag),
            Cipher::ChaCha20Poly1305(c) => c.decrypt_inout_detached(&nonce, aad, body.into(), &tag),
        }
        .map_err(|_| Error::Authentication)
    }

    fn nonce(&self, iv: [u8; 8]) -> [u8; 12] {
        let [s0, s1, s2, s3] = *self.salt;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = iv;
        [s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, i6, i7]
    }
}

fn keyed<C: KeyInit>(key: &[u8]) -> Option<Box<C>> {
    C::new_from_slice(key).ok().map(Box::new)
}
