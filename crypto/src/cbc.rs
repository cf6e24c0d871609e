//! AES-CBC over whole blocks (RFC 3602), with the key schedule of one direction kept.

use aes::cipher::array::Array;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt as _, BlockModeEncrypt as _,
    BlockSizeUser, InnerIvInit as _, KeyInit, consts::U16,
};
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc};
use cbc::{Decryptor, Encryptor};

use crate::Encryption;

/// The encrypting half of a key.
pub(crate) enum CbcEncryptor {
    Aes128(Box<Aes128Enc>),
    Aes192(Box<Aes192Enc>),
    Aes256(Box<Aes256Enc>),
}

impl CbcEncryptor {
    /// `None` where `encryption` is not AES-CBC or `key` is not as long as its key.
    pub(crate) fn new(encryption: Encryption, key: &[u8]) -> Option<Self> {
        match encryption {
            Encryption::AesCbc128 => keyed(key).map(Self::Aes128),
            Encryption::AesCbc192 => keyed(key).map(Self::Aes192),
            Encryption::AesCbc256 => keyed(key).map(Self::Aes256),
            _ => None,
        }
    }

    /// Encrypts the whole blocks of `body`; the caller has checked that there is nothing else.
    pub(crate) fn encrypt(&self, iv: [u8; 16], body: &mut [u8]) {
        match self {
            Self::Aes128(aes) => encrypt_blocks(&**aes, iv, body),
            Self::Aes192(aes) => encrypt_blocks(&**aes, iv, body),
            Self::Aes256(aes) => encrypt_blocks(&**aes, iv, body),
        }
    }
}

/// The decrypting half of a key.
pub(crate) enum CbcDecryptor {
    Aes128(Box<Aes128Dec>),
    Aes192(Box<Aes192Dec>),
    Aes256(Box<Aes256Dec>),
}

impl CbcDecryptor {
    /// `None` where `encryption` is not AES-CBC or `key` is not as long as its key.
    pub(crate) fn new(encryption: Encryption, key: &[u8]) -> Option<Self> {
        match encryption {
            Encryption::AesCbc128 => keyed(key).map(Self::Aes128),
            Encryption::AesCbc192 => keyed(key).map(Self::Aes192),
            Encryption::AesCbc256 => keyed(key).map(Self::Aes256),
            _ => None,
        }
    }

    /// Decrypts the whole blocks of `body`; the caller has checked that there is nothing else.
    pub(crate) fn decrypt(&self, iv: [u8; 16], body: &mut [u8]) {
        match self {
            Self::Aes128(aes) => decrypt_blocks(&**aes, iv, body),
            Self::Aes192(aes) => decrypt_blocks(&**aes, iv, body),
            Self::Aes256(aes) => decrypt_blocks(&**aes, iv, body),
        }
    }
}

fn keyed<C: KeyInit>(key: &[u8]) -> Option<Box<C>> {
    C::new_from_slice(key).ok().map(Box::new)
}

// The mode borrows the cipher: a packet costs no copy of the key schedule.
fn encrypt_blocks<C>(aes: &C, iv: [u8; 16], body: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(body);
    Encryptor::inner_iv_init(aes, &iv.into()).encrypt_blocks(blocks);
}

fn decrypt_blocks<C>(aes: &C, iv: [u8; 16], body: &mut [u8])
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(body);
    Decryptor::inner_iv_init(aes, &iv.into()).decrypt_blocks(blocks);
}
