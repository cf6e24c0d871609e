//! What the kernel calls our suites.

use crypto::{Encryption, Integrity, Secret, Suite};

use super::abi::{attr, size};
use super::message::Message;

/// An algorithm as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// As `ip xfrm state` prints it.
    pub text: &'static str,
    /// The ICV, or what of it is kept, in bits.
    pub icv_bits: u32,
}

/// The cipher's name, and the module of the kernel that has it.
#[must_use]
pub const fn cipher(encryption: Encryption) -> (Name, &'static str) {
    let (text, module) = match encryption {
        Encryption::AesCbc128 | Encryption::AesCbc192 | Encryption::AesCbc256 => {
            ("cbc(aes)", "cbc")
        }
        Encryption::AesGcm128 | Encryption::AesGcm192 | Encryption::AesGcm256 => {
            ("rfc4106(gcm(aes))", "gcm")
        }
        Encryption::ChaCha20Poly1305 => ("rfc7539esp(chacha20,poly1305)", "chacha20poly1305"),
    };
    let icv_bits = (encryption.icv_len() * 8) as u32;
    (Name { text, icv_bits }, module)
}

/// The integrity algorithm's name, and the module of the kernel that has it.
#[must_use]
pub const fn authenticator(integrity: Integrity) -> (Name, &'static str) {
    let (text, module) = match integrity {
        Integrity::HmacSha1_96 => ("hmac(sha1)", "sha1_generic"),
        Integrity::HmacSha256_128 => ("hmac(sha256)", "sha256_generic"),
        Integrity::HmacSha384_192 => ("hmac(sha384)", "sha512_generic"),
        Integrity::HmacSha512_256 => ("hmac(sha512)", "sha512_generic"),
    };
    let icv_bits = (integrity.icv_len() * 8) as u32;
    (Name { text, icv_bits }, module)
}

/// The modules that the kernel needs for a suite, for advice.
#[must_use]
pub fn modules(suite: Suite) -> String {
    let mut modules = vec!["esp4", cipher(suite.encryption).1];
    match suite.integrity {
        Some(integrity) => modules.extend(["authenc", authenticator(integrity).1, "echainiv"]),
        None => modules.push("seqiv"),
    }
    modules.join(" ")
}

/// Appends the suite's attributes with its keys.
pub(super) fn put(message: Message, suite: Suite, keymat: &Secret, integrity: &Secret) -> Message {
    let (name, _) = cipher(suite.encryption);
    match suite.integrity {
        // struct xfrm_algo_aead: key and salt are one.
        None => message.attribute(attr::ALG_AEAD, |into| {
            put_header(into, name.text, keymat, Some(name.icv_bits));
        }),
        Some(algorithm) => {
            let (mac, _) = authenticator(algorithm);
            message
                // struct xfrm_algo_auth: truncated as the RFCs say, not as the kernel does by itself.
                .attribute(attr::ALG_AUTH_TRUNC, |into| {
                    put_header(into, mac.text, integrity, Some(mac.icv_bits));
                })
                // struct xfrm_algo
                .attribute(attr::ALG_CRYPT, |into| {
                    put_header(into, name.text, keymat, None);
                })
        }
    }
}

fn put_header(into: &mut Vec<u8>, name: &str, key: &Secret, icv_bits: Option<u32>) {
    let mut field = [0; size::ALGORITHM_NAME];
    for (to, from) in field.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    into.extend_from_slice(&field);
    let bits = u32::try_from(key.len() * 8).unwrap_or(u32::MAX);
    into.extend_from_slice(&bits.to_ne_bytes());
    if let Some(bits) = icv_bits {
        into.extend_from_slice(&bits.to_ne_bytes());
    }
    into.extend_from_slice(key.expose());
}
