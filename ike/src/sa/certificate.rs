//! Certificates in IKE_AUTH (RFC 7296 sections 3.6 and 3.7, RFC 4945): which are sent and asked for, and whether the peer's will do.

use crypto::signature::PublicKey;
use crypto::x509::{AlternativeName, Certificate, DistinguishedName};

use super::parts::Parts;
use crate::connection::{Auth, Certificates, Connection};
use crate::error::{Cause, CertificateFault};
use crate::wire::{Identity, Payload};

/// Certificate encoding: X.509 Certificate - Signature.
pub(crate) const X509: u8 = 4;

/// More certificates of one message are not looked at.
pub(crate) const MOST_CERTIFICATES: usize = 8;

/// More authorities are not asked for in one message, which has to get through in few fragments.
const MOST_REQUESTED: usize = 32;

pub(crate) fn fault(fault: CertificateFault) -> Cause {
    Cause::Certificate {
        fault: Box::new(fault),
    }
}

/// CERT payloads with our own certificate and those between it and its authority; none for a pre-shared key.
pub(crate) fn ours(c: &Connection) -> Vec<Payload> {
    let Auth::Certificate(certificates) = &c.auth else {
        return Vec::new();
    };
    let sent = certificates.credential.sent().take(MOST_CERTIFICATES);
    sent.map(|one| Payload::Cert {
        encoding: X509,
        data: one.der().to_vec(),
    })
    .collect()
}

/// CERTREQ with the authorities that these connections trust; none where all have pre-shared keys.
pub(crate) fn request<'a>(connections: impl Iterator<Item = &'a Connection>) -> Option<Payload> {
    let mut ids: Vec<[u8; 20]> = Vec::new();
    for c in connections {
        if let Auth::Certificate(certificates) = &c.auth {
            let trusted = certificates.trust.authorities().iter();
            ids.extend(trusted.map(Certificate::key_id));
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(MOST_REQUESTED);
    (!ids.is_empty()).then(|| Payload::CertReq {
        encoding: X509,
        data: ids.concat(),
    })
}

/// Whether the peer, by its CERTREQ, trusts other authorities and not the one that our certificates lead to, as far as they tell:
/// an authority that is not in our file cannot be found among those that it asks for.
fn asks_for_others(certificates: &Certificates, requested: &[[u8; 20]]) -> bool {
    if requested.is_empty() {
        return false;
    }
    let chain = certificates.credential.chain();
    // Our authority stands in the chain, or is the one that we trust too, as where both ends have theirs of one.
    let known = chain.iter().chain(certificates.trust.authorities());
    let above = known.filter(|one| {
        one.is_authority()
            && (chain.iter()).any(|certificate| certificate.issuer().is_same(one.subject()))
    });
    let mut is_known = false;
    for authority in above {
        is_known = true;
        if requested.contains(&authority.key_id()) {
            return false;
        }
    }
    is_known
}

/// The peer has refused us.
pub(crate) fn refused(c: &Connection, ours: &Certificates, requested: &[[u8; 20]]) -> Cause {
    let own = ours.credential.certificate();
    let text = |name: fn(&Certificate) -> &DistinguishedName| {
        own.map(|own| name(own).to_string()).unwrap_or_default()
    };
    fault(CertificateFault::Refused {
        ours: c.local_id.clone(),
        theirs: c.remote_id.clone(),
        subject: text(Certificate::subject),
        issuer: text(Certificate::issuer),
        asks_for_others: asks_for_others(ours, requested),
    })
}

/// The peer's certificate with its key, if an authority of ours vouches for it and it names the identity.
pub(crate) fn accept(
    ours: &Certificates,
    identity: &Identity,
    parts: &Parts,
    now: Option<u64>,
) -> Result<(Certificate, PublicKey), Cause> {
    let first = parts.certificates.first();
    let first = first.ok_or_else(|| fault(CertificateFault::Missing))?;
    let now = now.ok_or_else(|| Cause::Local {
        what: "the time of day is not known, so no certificate can be judged".to_owned(),
    })?;
    let certificate = (ours.trust.verify(&parts.certificates, now)).map_err(|reason| {
        let subject = Certificate::from_der(first).map(|one| one.subject().to_string());
        fault(CertificateFault::Untrusted {
            subject,
            reason: reason.to_string(),
        })
    })?;
    if !is_named(&certificate, identity) {
        return Err(fault(CertificateFault::Identity {
            subject: certificate.subject().to_string(),
            identity: identity.clone(),
            names: names(&certificate),
        }));
    }
    let key = certificate.public_key().ok_or_else(|| {
        fault(CertificateFault::Untrusted {
            subject: Some(certificate.subject().to_string()),
            reason: "its key is none of RSA, ECDSA on P-256 or P-384, and Ed25519".to_owned(),
        })
    })?;
    Ok((certificate, key))
}

/// Whether a certificate is about who an identity names (RFC 4945 section 3.1).
pub(crate) fn is_named(certificate: &Certificate, identity: &Identity) -> bool {
    let has = |wanted: &dyn Fn(&AlternativeName) -> bool| certificate.names().iter().any(wanted);
    match identity {
        Identity::Ipv4(_) | Identity::Ipv6(_) | Identity::Fqdn(_) => {
            has(&|name| match (name, identity) {
                (AlternativeName::Address(std::net::IpAddr::V4(a)), Identity::Ipv4(b)) => a == b,
                (AlternativeName::Address(std::net::IpAddr::V6(a)), Identity::Ipv6(b)) => a == b,
                (AlternativeName::Dns(a), Identity::Fqdn(b)) => a.eq_ignore_ascii_case(b),
                _ => false,
            })
        }
        Identity::Email(b) => has(&|name| match name {
            // The part before the @ is the host's business, and may tell letters' cases apart (RFC 5280 section 7.5).
            AlternativeName::Email(a) => match (a.rsplit_once('@'), b.rsplit_once('@')) {
                (Some((a, at)), Some((b, bt))) => a == b && at.eq_ignore_ascii_case(bt),
                _ => a == b,
            },
            _ => false,
        }),
        Identity::Dn(der) => (certificate.subject()).is_same(&DistinguishedName::from_der(der)),
        Identity::KeyId(_) | Identity::Other { .. } => false,
    }
}

/// Whom a certificate names, for people.
fn names(certificate: &Certificate) -> Vec<String> {
    let names = certificate.names().iter().take(8);
    names.map(ToString::to_string).collect()
}
