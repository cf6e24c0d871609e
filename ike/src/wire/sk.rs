//! The Encrypted payload, whole (RFC 7296 section 3.14) and in fragments (RFC 7383).
//!
//! [`Plain`] is the proof of authenticity: only [`Protection::open`] makes one, and only after the
//! integrity check.

use std::sync::Arc;

use crypto::{CryptoRng, Opener, Sealer, Secret, Suite};
use thiserror::Error;

use super::{HEADER_LEN, Header, Payload, PayloadType, Reader, WireError, Writer, encode_chain};

/// Bytes of the generic payload header, and of the fragment numbers after it in an SKF payload.
const GENERIC_LEN: usize = 4;
const FRAGMENT_LEN: usize = 4;

/// A protected message could not be read. Both kinds are dropped without an answer, because
/// nothing says that the peer sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The bytes are not a protected message.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// The integrity check failed.
    #[error("integrity check failed")]
    Authentication,
}

/// The decrypted and authenticated content of a message or of one fragment.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    /// The header.
    pub header: Header,
    /// Number and total of the fragment, if it is one.
    pub fragment: Option<(u16, u16)>,
    /// Type of the first payload inside.
    pub first: u8,
    /// The payloads' bytes.
    pub body: Vec<u8>,
}

/// Both directions of an IKE SA's encryption.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub struct Protection {
    suite: Suite,
    sealer: Arc<Sealer>,
    opener: Arc<Opener>,
    /// Explicit IV of the next AEAD message: a counter never repeats (RFC 5282 section 3).
    next_iv: u64,
}

/// The keys of one direction.
#[derive(Debug, Clone, Copy)]
pub struct DirectionSecrets<'a> {
    /// SK_ei or SK_er.
    pub encryption: &'a Secret,
    /// SK_ai or SK_ar; empty for AEAD.
    pub integrity: &'a Secret,
}

impl Protection {
    /// Prepares both directions.
    ///
    /// # Errors
    /// The keys' lengths do not fit the suite.
    pub fn new(
        suite: Suite,
        outbound: DirectionSecrets<'_>,
        inbound: DirectionSecrets<'_>,
    ) -> Result<Self, crypto::Error> {
        Ok(Self {
            suite,
            sealer: Arc::new(Sealer::new(suite, outbound.encryption, outbound.integrity)?),
            opener: Arc::new(Opener::new(suite, inbound.encryption, inbound.integrity)?),
            next_iv: 0,
        })
    }

    /// Encrypts a message into one datagram or, if it is longer than `max_len` bytes and the peer
    /// can put fragments together, into several.
    ///
    /// # Errors
    /// The cipher refuses; it does so only on a defect of ours.
    pub fn seal(
        &mut self,
        header: Header,
        payloads: &[Payload],
        max_len: Option<usize>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Vec<u8>>, crypto::Error> {
        let mut plain = Writer::new();
        let first = encode_chain(payloads, &mut plain);
        let plain = plain.into_bytes();
        let overhead =
            HEADER_LEN + GENERIC_LEN + self.suite.iv_len() + self.suite.icv_len() + self.pad_max();
        match max_len {
            Some(max) if overhead + plain.len() > max => {
                let room = max.saturating_sub(overhead + FRAGMENT_LEN).max(64);
                let total = plain.len().div_ceil(room);
                let total = u16::try_from(total).unwrap_or(u16::MAX);
                (1..=total)
                    .zip(plain.chunks(room))
                    .map(|(number, chunk)| {
                        // Only the first fragment names the first payload (RFC 7383, 2.5).
                        let first = if number == 1 {
                            first
                        } else {
                            PayloadType::NONE
                        };
                        self.seal_one(header, first, chunk, Some((number, total)), rng)
                    })
                    .collect()
            }
            _ => Ok(vec![self.seal_one(header, first, &plain, None, rng)?]),
        }
    }

    /// Most bytes that padding and its length field can take.
    const fn pad_max(&self) -> usize {
        self.suite.block_len()
    }

    fn seal_one(
        &mut self,
        header: Header,
        first: u8,
        plain: &[u8],
        fragment: Option<(u16, u16)>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, crypto::Error> {
        let block = self.suite.block_len();
        let padded = (plain.len() + 1).next_multiple_of(block);
        let pad_len = padded - plain.len() - 1;
        let mut iv = vec![0; self.suite.iv_len()];
        if self.suite.encryption.is_aead() {
            iv.copy_from_slice(&self.next_iv.to_be_bytes());
            self.next_iv += 1;
        } else {
            rng.fill_bytes(&mut iv);
        }
        let mut icv = vec![0; self.suite.icv_len()];
        let extra = if fragment.is_some() { FRAGMENT_LEN } else { 0 };
        let payload_len = GENERIC_LEN + extra + iv.len() + padded + icv.len();

        let sk = if fragment.is_some() {
            PayloadType::SKF
        } else {
            PayloadType::SK
        };
        let mut out = opening(header, sk, first, payload_len);
        if let Some((number, total)) = fragment {
            out.u16(number);
            out.u16(total);
        }
        let mut message = out.into_bytes();
        let mut body = Vec::with_capacity(padded);
        body.extend_from_slice(plain);
        body.resize(padded - 1, 0);
        body.push(u8::try_from(pad_len).unwrap_or(u8::MAX));
        self.sealer.seal(&message, &iv, &mut body, &[], &mut icv)?;
        message.extend_from_slice(&iv);
        message.extend_from_slice(&body);
        message.extend_from_slice(&icv);
        Ok(message)
    }

    /// Encrypts content that need not be well-formed, for those who try what a peer makes of it.
    ///
    /// # Errors
    /// The cipher refuses.
    #[cfg(feature = "explore")]
    pub fn conceal(
        &mut self,
        plain: &Plain,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, crypto::Error> {
        self.seal_one(plain.header, plain.first, &plain.body, plain.fragment, rng)
    }

    /// Checks and decrypts one datagram.
    ///
    /// # Errors
    /// [`OpenError`]; the datagram is then to be dropped.
    pub fn open(&self, bytes: &[u8]) -> Result<Plain, OpenError> {
        let sealed = Sealed::parse(bytes)?;
        let mut r = Reader::new(sealed.content);
        let iv = r.take(self.suite.iv_len(), "IV")?;
        let rest = r.rest();
        let split = rest
            .len()
            .checked_sub(self.suite.icv_len())
            .ok_or(WireError::Truncated {
                what: "integrity checksum",
            })?;
        let (ciphertext, icv) = rest.split_at(split);
        if ciphertext.is_empty() || ciphertext.len() % self.suite.block_len() != 0 {
            return Err(WireError::Length {
                what: "encrypted payload",
            }
            .into());
        }
        let mut body = ciphertext.to_vec();
        self.opener
            .open(sealed.aad, iv, &mut body, &[], icv)
            .map_err(|_| OpenError::Authentication)?;
        let pad_len = usize::from(body.pop().unwrap_or(0));
        let len = body
            .len()
            .checked_sub(pad_len)
            .ok_or(WireError::Length { what: "padding" })?;
        body.truncate(len);
        Ok(Plain {
            header: sealed.header,
            fragment: sealed.fragment,
            first: sealed.first,
            body,
        })
    }
}

/// A protected message taken apart, before any check.
#[derive(Debug, PartialEq, Eq)]
struct Sealed<'a> {
    header: Header,
    fragment: Option<(u16, u16)>,
    first: u8,
    /// Everything before the IV.
    aad: &'a [u8],
    /// IV, ciphertext and checksum.
    content: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, body) = Header::decode(bytes)?;
        let mut r = Reader::new(body);
        let mut payload_type = header.next_payload;
        loop {
            if payload_type == PayloadType::NONE {
                return Err(WireError::Syntax {
                    what: "message without an encrypted payload",
                });
            }
            let next = r.u8("next payload")?;
            r.u8("critical bit")?;
            let length = usize::from(r.u16("payload length")?);
            let rest = length
                .checked_sub(GENERIC_LEN)
                .ok_or(WireError::Length { what: "payload" })?;
            let content = r.take(rest, "payload")?;
            if payload_type != PayloadType::SK && payload_type != PayloadType::SKF {
                payload_type = next;
                continue;
            }
            // The encrypted payload must be the last one (section 3.14).
            if !r.is_empty() {
                return Err(WireError::Length {
                    what: "encrypted payload",
                });
            }
            let mut inner = Reader::new(content);
            let fragment = if payload_type == PayloadType::SKF {
                let (number, total) = (inner.u16("fragment")?, inner.u16("fragment")?);
                if number == 0 || number > total {
                    return Err(WireError::Syntax {
                        what: "fragment number",
                    });
                }
                Some((number, total))
            } else {
                None
            };
            let content = inner.rest();
            let aad = bytes
                .get(..bytes.len() - content.len())
                .ok_or(WireError::Length {
                    what: "encrypted payload",
                })?;
            return Ok(Self {
                header,
                fragment,
                first: next,
                aad,
                content,
            });
        }
    }
}

/// What IKE_INTERMEDIATE's authentication covers of a message (RFC 9242 section 3.3.2): the header and the Encrypted payload's own, as if the
/// latter held what it holds in clear and in one piece, and that content. `first` is the type of its first payload.
#[must_use]
pub fn intermediate_octets(header: Header, first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = opening(header, PayloadType::SK, first, GENERIC_LEN + body.len());
    out.bytes(body);
    out.into_bytes()
}

/// The header of a message that has nothing but one payload of the type `sk`, and the generic header of that: `payload_len` octets with
/// this, and `first` is the type of the first payload inside (RFC 7296 section 3.14).
fn opening(header: Header, sk: u8, first: u8, payload_len: usize) -> Writer {
    let mut out = Writer::new();
    Header {
        next_payload: sk,
        ..header
    }
    .encode(payload_len, &mut out);
    let generic = out.len();
    out.u8(first);
    out.u8(0);
    out.u16(0);
    out.patch_u16(generic + 2, payload_len);
    out
}

/// The same of a message that is about to be sent.
#[must_use]
pub fn intermediate_octets_of(header: Header, payloads: &[Payload]) -> Vec<u8> {
    let mut body = Writer::new();
    let first = encode_chain(payloads, &mut body);
    intermediate_octets(header, first, &body.into_bytes())
}

/// Reads the structure of a protected message without keys: the entrance for fuzzing.
///
/// # Errors
/// [`WireError`] where the bytes break the format.
pub fn inspect(bytes: &[u8]) -> Result<Header, WireError> {
    Sealed::parse(bytes).map(|sealed| sealed.header)
}
