//! AlgorithmIdentifiers of signatures, as they stand in the AUTH payload (RFC 7427 section 3 and appendix A, RFC 8420 appendix A).

use super::{SignatureHash, SignatureScheme};
use crate::der::{Der, encode, tag};

/// 1.2.840.113549.1.1: what follows is the algorithm.
const PKCS1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
const MGF1: u8 = 8;
const PSS: u8 = 10;
/// 1.2.840.10045.4.3: ecdsa-with-SHA2.
const ECDSA: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
/// 2.16.840.1.101.3.4.2: what follows is the hash.
const SHA2: [u8; 8] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

/// The hash by the last arc of its own object identifier.
const fn sha2(arc: u8) -> Option<SignatureHash> {
    match arc {
        1 => Some(SignatureHash::Sha256),
        2 => Some(SignatureHash::Sha384),
        3 => Some(SignatureHash::Sha512),
        _ => None,
    }
}

const fn arc(hash: SignatureHash) -> u8 {
    match hash {
        SignatureHash::Sha256 | SignatureHash::Identity => 1,
        SignatureHash::Sha384 => 2,
        SignatureHash::Sha512 => 3,
    }
}

const fn digest_len(hash: SignatureHash) -> u8 {
    match hash {
        SignatureHash::Sha256 | SignatureHash::Identity => 32,
        SignatureHash::Sha384 => 48,
        SignatureHash::Sha512 => 64,
    }
}

impl SignatureScheme {
    /// The AlgorithmIdentifier in DER. The fixed form of ECDSA has none of its own and gives that of the other form.
    #[must_use]
    pub fn identifier(self) -> Vec<u8> {
        let null = encode(tag::NULL, &[]);
        let pkcs1 = |last: u8| encode(tag::OID, &[&PKCS1, &[last]]);
        match self {
            Self::RsaPkcs1(hash) => encode(tag::SEQUENCE, &[&pkcs1(10 + arc(hash)), &null]),
            Self::RsaPss(hash) => {
                let digest = encode(tag::OID, &[&SHA2, &[arc(hash)]]);
                let digest = encode(tag::SEQUENCE, &[&digest, &null]);
                let mgf = encode(tag::SEQUENCE, &[&pkcs1(MGF1), &digest]);
                let salt = encode(tag::INTEGER, &[&[digest_len(hash)]]);
                let parameters = encode(
                    tag::SEQUENCE,
                    &[
                        &encode(tag::explicit(0), &[&digest]),
                        &encode(tag::explicit(1), &[&mgf]),
                        &encode(tag::explicit(2), &[&salt]),
                    ],
                );
                encode(tag::SEQUENCE, &[&pkcs1(PSS), &parameters])
            }
            Self::Ecdsa(hash) | Self::EcdsaFixed(hash) => {
                let oid = encode(tag::OID, &[&ECDSA, &[1 + arc(hash)]]);
                encode(tag::SEQUENCE, &[&oid])
            }
            Self::Ed25519 => encode(tag::SEQUENCE, &[&encode(tag::OID, &[super::oid::ED25519])]),
        }
    }

    /// The scheme that an AlgorithmIdentifier names. `None` where it is broken, or something that we refuse: SHA-1, PSS with another
    /// mask or salt than those of RFC 8017's own advice.
    #[must_use]
    pub fn from_identifier(der: &[u8]) -> Option<Self> {
        let mut outer = Der::new(der);
        let mut inner = outer.inside(tag::SEQUENCE)?;
        outer.end()?;
        let oid = inner.take(tag::OID)?;
        if oid == super::oid::ED25519 {
            inner.end()?;
            return Some(Self::Ed25519);
        }
        let (last, family) = oid.split_last()?;
        if family == ECDSA {
            let hash = sha2(last.checked_sub(1)?)?;
            inner.end()?;
            return Some(Self::Ecdsa(hash));
        }
        if family != PKCS1 {
            return None;
        }
        if *last == PSS {
            let parameters = inner.inside(tag::SEQUENCE)?;
            inner.end()?;
            return pss(parameters).map(Self::RsaPss);
        }
        let hash = sha2(last.checked_sub(10)?)?;
        inner.optional(tag::NULL);
        inner.end()?;
        Some(Self::RsaPkcs1(hash))
    }
}

/// RSASSA-PSS-params (RFC 8017 appendix A.2.3). What is left out stands for SHA-1, which we refuse.
fn pss(mut parameters: Der<'_>) -> Option<SignatureHash> {
    let hash = digest(&mut parameters.inside(tag::explicit(0))?)?;
    let mut mgf = parameters.inside(tag::explicit(1))?.inside(tag::SEQUENCE)?;
    let (last, family) = mgf.take(tag::OID)?.split_last()?;
    let masks = family == PKCS1 && *last == MGF1 && digest(&mut mgf)? == hash;
    let salt = parameters.inside(tag::explicit(2))?.take(tag::INTEGER)?;
    let trailer = match parameters.optional(tag::explicit(3)) {
        Some(inner) => Der::new(inner).take(tag::INTEGER)? == [1],
        None => true,
    };
    parameters.end()?;
    (masks && trailer && salt == [digest_len(hash)]).then_some(hash)
}

fn digest(reader: &mut Der<'_>) -> Option<SignatureHash> {
    let mut algorithm = reader.inside(tag::SEQUENCE)?;
    let (last, family) = algorithm.take(tag::OID)?.split_last()?;
    algorithm.optional(tag::NULL);
    algorithm.end()?;
    if family == SHA2 { sha2(*last) } else { None }
}
