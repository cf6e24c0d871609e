//! Proof of identity (RFC 7296 section 2.15): by a pre-shared key, or by a signature whose key a certificate vouches for
//! (RFC 7427, RFC 4754, RFC 8420).

use crypto::signature::{PublicKey, SignatureHash, SignatureScheme};
use crypto::x509::Certificate;
use crypto::{Prf, Secret, constant_time_eq, ikev2};

use super::certificate;
use super::parts::Parts;
use crate::connection::{Auth, Connection};
use crate::error::{Cause, CertificateFault};
use crate::wire::{Identity, Notify, NotifyType, Payload};

/// AUTH method: Shared Key Message Integrity Code.
pub(crate) const SHARED_KEY_MIC: u8 = 2;
/// AUTH method: ECDSA with SHA-256 on P-256 (RFC 4754).
const ECDSA_256: u8 = 9;
/// AUTH method: ECDSA with SHA-384 on P-384 (RFC 4754).
const ECDSA_384: u8 = 10;
/// AUTH method: Digital Signature (RFC 7427).
const DIGITAL_SIGNATURE: u8 = 14;

/// An identity whose owner has proved to have the key. Only [`Signed::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authenticated {
    identity: Identity,
    certificate: Option<Certificate>,
}

impl Authenticated {
    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What vouches for the identity, where a pre-shared key does not.
    pub(crate) const fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }
}

/// What one side signs: its first message, the other side's nonce and its own identity.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) nonce: &'a [u8],
    pub(crate) identity: &'a Identity,
    /// IntAuth: both sides' proofs of IKE_INTERMEDIATE and the message ID of IKE_AUTH, or nothing (RFC 9242 section 3.3.1).
    pub(crate) intermediate: &'a [u8],
}

/// How we prove ourselves to a peer, now that its IKE_SA_INIT has said what it can verify.
pub(crate) enum Prover<'a> {
    Psk(&'a Secret),
    Key(&'a crypto::signature::SigningKey, SignatureScheme),
}

/// What a peer's proof is held against.
pub(crate) enum Verifier<'a> {
    Psk(&'a Secret),
    Key(Box<Certificate>, PublicKey, Form),
}

/// How a signature stands in the AUTH payload.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Behind its AlgorithmIdentifier.
    Named,
    /// Alone: the AUTH method says which it is.
    Bare(SignatureScheme),
}

impl<'a> Prover<'a> {
    /// `hashes` is the peer's SIGNATURE_HASH_ALGORITHMS, if it has sent one.
    pub(crate) fn new(c: &'a Connection, hashes: Option<&[u16]>) -> Result<Self, Cause> {
        let key = match &c.auth {
            Auth::PreShared(psk) => return Ok(Self::Psk(psk)),
            Auth::Certificate(certificates) => certificates.credential.key(),
        };
        let scheme = match hashes {
            Some(hashes) => key.scheme(hashes),
            // Who knows no RFC 7427 has a method for each curve, and for RSA one with SHA-1.
            None => {
                let fixed = [SignatureHash::Sha256, SignatureHash::Sha384];
                let kinds = [
                    crypto::signature::KeyKind::P256,
                    crypto::signature::KeyKind::P384,
                ];
                (kinds.into_iter().zip(fixed))
                    .find(|(kind, _)| *kind == key.kind())
                    .map(|(_, hash)| SignatureScheme::EcdsaFixed(hash))
            }
        };
        scheme.map(|scheme| Self::Key(key, scheme)).ok_or_else(|| {
            certificate::fault(CertificateFault::PeerCannotVerify {
                key: key.kind().to_string(),
                hashes: hashes.map(<[u16]>::to_vec),
            })
        })
    }

    /// AUTH method.
    pub(crate) const fn method(&self) -> u8 {
        match self {
            Self::Psk(_) => SHARED_KEY_MIC,
            Self::Key(_, SignatureScheme::EcdsaFixed(SignatureHash::Sha384)) => ECDSA_384,
            Self::Key(_, SignatureScheme::EcdsaFixed(_)) => ECDSA_256,
            Self::Key(..) => DIGITAL_SIGNATURE,
        }
    }
}

impl<'a> Verifier<'a> {
    /// What the peer's proof by `method` is held against: for a certificate, after its way to an authority of ours has been found and
    /// its names have been compared with `identity`. `now` is in seconds since 1970 began.
    pub(crate) fn new(
        c: &'a Connection,
        (method, identity): (u8, &Identity),
        parts: &Parts,
        now: Option<u64>,
    ) -> Result<Self, Cause> {
        let certificates = match &c.auth {
            Auth::PreShared(psk) if method == SHARED_KEY_MIC => return Ok(Self::Psk(psk)),
            Auth::PreShared(_) => return Err(Cause::AuthMethod { method }),
            Auth::Certificate(certificates) => certificates,
        };
        let form = match method {
            DIGITAL_SIGNATURE => Form::Named,
            ECDSA_256 => Form::Bare(SignatureScheme::EcdsaFixed(SignatureHash::Sha256)),
            ECDSA_384 => Form::Bare(SignatureScheme::EcdsaFixed(SignatureHash::Sha384)),
            _ => return Err(certificate::fault(CertificateFault::Method { method })),
        };
        let (certificate, key) = certificate::accept(certificates, identity, parts, now)?;
        Ok(Self::Key(Box::new(certificate), key, form))
    }
}

impl Signed<'_> {
    /// The AUTH data; `key` is SK_pi or SK_pr, whose side signs.
    pub(crate) fn prove(
        &self,
        prf: Prf,
        prover: &Prover<'_>,
        key: &Secret,
    ) -> Result<Vec<u8>, Cause> {
        match prover {
            Prover::Psk(psk) => Ok(self.mic(prf, psk, key).expose().to_vec()),
            Prover::Key(signer, scheme) => {
                let message = self.octets(prf, key);
                let signature = signer.sign(*scheme, &message).ok_or_else(|| Cause::Local {
                    what: "no signature could be made: the operating system gives no randomness"
                        .to_owned(),
                })?;
                Ok(match scheme {
                    SignatureScheme::EcdsaFixed(_) => signature,
                    named => named_signature(*named, &signature),
                })
            }
        }
    }

    /// Checks AUTH data.
    pub(crate) fn verify(
        &self,
        prf: Prf,
        verifier: &Verifier<'_>,
        key: &Secret,
        data: &[u8],
    ) -> Option<Authenticated> {
        let (is_proven, certificate) = match verifier {
            Verifier::Psk(psk) => {
                let expected = self.mic(prf, psk, key);
                (constant_time_eq(expected.expose(), data), None)
            }
            Verifier::Key(certificate, public, form) => {
                let (scheme, signature) = match form {
                    Form::Bare(scheme) => (*scheme, data),
                    Form::Named => read_named(data)?,
                };
                let message = self.octets(prf, key);
                let is_proven = public.verifies(scheme, &message, signature);
                (is_proven, Some((**certificate).clone()))
            }
        };
        is_proven.then(|| Authenticated {
            identity: self.identity.clone(),
            certificate,
        })
    }

    fn mic(&self, prf: Prf, psk: &Secret, key: &Secret) -> Secret {
        let maced_id = self.maced_id(prf, key);
        let octets = [
            self.message,
            self.nonce,
            maced_id.expose(),
            self.intermediate,
        ];
        ikev2::psk_auth(prf, psk, &octets)
    }

    fn octets(&self, prf: Prf, key: &Secret) -> Vec<u8> {
        let maced_id = self.maced_id(prf, key);
        [
            self.message,
            self.nonce,
            maced_id.expose(),
            self.intermediate,
        ]
        .concat()
    }

    fn maced_id(&self, prf: Prf, key: &Secret) -> Secret {
        prf.compute(key.expose(), &[&self.identity.to_body()])
    }
}

/// A signature behind its AlgorithmIdentifier, whose length comes first (RFC 7427 section 3).
fn named_signature(scheme: SignatureScheme, signature: &[u8]) -> Vec<u8> {
    let identifier = scheme.identifier();
    let length = u8::try_from(identifier.len()).unwrap_or(u8::MAX);
    [&[length], identifier.as_slice(), signature].concat()
}

fn read_named(data: &[u8]) -> Option<(SignatureScheme, &[u8])> {
    let (length, rest) = data.split_first()?;
    let (identifier, signature) = rest.split_at_checked(usize::from(*length))?;
    Some((SignatureScheme::from_identifier(identifier)?, signature))
}

/// Why a proof by a signature fails, as far as its head tells.
pub(crate) fn signature_fault(verifier: &Verifier<'_>, data: &[u8]) -> Option<Cause> {
    let Verifier::Key(certificate, public, form) = verifier else {
        return None;
    };
    let scheme = match form {
        Form::Bare(scheme) => Some(*scheme),
        Form::Named => read_named(data).map(|(scheme, _)| scheme),
    };
    Some(certificate::fault(CertificateFault::Signature {
        subject: certificate.subject().to_string(),
        key: public.kind().to_string(),
        scheme: scheme.map(|scheme| scheme.to_string()),
    }))
}

/// SIGNATURE_HASH_ALGORITHMS: what we can verify.
pub(crate) fn hash_algorithms() -> Payload {
    let ids = SignatureHash::ALL.iter();
    let data = ids.flat_map(|hash| hash.id().to_be_bytes()).collect();
    let kind = NotifyType::SIGNATURE_HASH_ALGORITHMS;
    Payload::Notify(Notify::with_data(kind, data))
}

/// The peer's SIGNATURE_HASH_ALGORITHMS, if it has sent one.
pub(crate) fn hashes(parts: &Parts) -> Option<Vec<u16>> {
    let notify = parts.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)?;
    let (ids, _) = notify.data.as_chunks::<2>();
    Some(ids.iter().map(|id| u16::from_be_bytes(*id)).collect())
}

/// IntAuth from the proofs of IKE_INTERMEDIATE; nothing where there was none.
pub(crate) fn intermediate(proofs: &[u8], message_id: u32) -> Vec<u8> {
    if proofs.is_empty() {
        return Vec::new();
    }
    [proofs, &message_id.to_be_bytes()].concat()
}
