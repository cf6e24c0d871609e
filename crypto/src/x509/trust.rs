//! Whom we trust, and whether a chain leads there (RFC 5280 section 6, RFC 4945 section 5).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{
    CertRevocationList, EndEntityCert, Error as Webpki, ExpirationPolicy,
    ExtendedKeyUsageValidator, KeyPurposeIdIter, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::certificate::Certificate;
use super::name::DistinguishedName;

/// More certificates of one peer are not looked at.
pub(crate) const MOST_CERTIFICATES: usize = 8;

/// Signatures of certificates and revocation lists. SHA-1 is not among them.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
    webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Why files do not say whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is no certificate.
    #[error("holds no certificate (a PEM block \"CERTIFICATE\", or DER)")]
    NoCertificate,
    /// A certificate cannot be used as an anchor.
    #[error(
        "holds the certificate of {subject}, which cannot be trusted as an authority: {reason}"
    )]
    Unusable {
        /// Whose certificate it is.
        subject: DistinguishedName,
        /// Why.
        reason: String,
    },
    /// There is no revocation list.
    #[error("holds no revocation list (a PEM block \"X509 CRL\", or DER)")]
    NoCrl,
    /// A revocation list cannot be used.
    #[error("holds a revocation list that cannot be used: {reason}")]
    UnusableCrl {
        /// Why.
        reason: String,
    },
}

/// Why a chain is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// A certificate cannot be read.
    #[error("it is broken or longer than 16 KiB")]
    Broken,
    /// It is over.
    #[error("it has expired: it, or one above it, was valid until {}", date(*.until))]
    Expired {
        /// In seconds since 1970 began.
        until: u64,
    },
    /// It has not begun.
    #[error("it is not valid yet: it, or one above it, is valid from {}; our clock says {}", date(*.from), date(*.now))]
    NotYetValid {
        /// In seconds since 1970 began.
        from: u64,
        /// Our time.
        now: u64,
    },
    /// No chain leads to an authority of ours.
    #[error("no authority of ours has issued it: its issuer is {issuer}, we trust {ours}")]
    UnknownIssuer {
        /// Who has signed the peer's certificate.
        issuer: DistinguishedName,
        /// Whom we trust.
        ours: String,
    },
    /// A revocation list has it.
    #[error("its issuer, {issuer}, or one above has revoked it (serial number {serial})")]
    Revoked {
        /// The peer's certificate's issuer.
        issuer: DistinguishedName,
        /// The number of the peer's certificate.
        serial: String,
    },
    /// The revocation list is too old to tell.
    #[error("the revocation list that would tell whether it is revoked was to be replaced by {}", date(*.until))]
    CrlExpired {
        /// In seconds since 1970 began.
        until: u64,
    },
    /// An authority's certificate, or the peer's, is for something else.
    #[error("the certificate of {subject} is not for this: its keyUsage has no {missing}")]
    KeyUsage {
        /// Whose.
        subject: DistinguishedName,
        /// What it lacks.
        missing: &'static str,
    },
    /// Any other rule of RFC 5280.
    #[error("{reason}")]
    Invalid {
        /// Which.
        reason: String,
    },
}

/// Authorities that we trust, and what they have revoked.
#[derive(Clone)]
pub struct Trust {
    authorities: Vec<Certificate>,
    anchors: Vec<TrustAnchor<'static>>,
    /// The lists as they came, by which two of these are compared.
    crl_octets: Vec<Vec<u8>>,
    crls: Arc<[CertRevocationList<'static>]>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.crl_octets == other.crl_octets
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Trust({}; {} CRLs)",
            self.subjects(),
            self.crl_octets.len()
        )
    }
}

impl Trust {
    /// Trusts every certificate of a file (PEM or DER): itself, and if it is an authority's, what it has issued.
    ///
    /// # Errors
    /// [`TrustError`] where there is none, or one that cannot be used.
    pub fn new(authorities: &[u8]) -> Result<Self, TrustError> {
        let authorities = Certificate::all(authorities);
        if authorities.is_empty() {
            return Err(TrustError::NoCertificate);
        }
        // Any other certificate is trusted for itself and vouches for nobody.
        let vouching = authorities.iter().filter(|one| one.is_authority());
        let anchors = vouching.map(|authority| {
            let der = CertificateDer::from(authority.der());
            let anchor = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
            anchor.map_err(|error| TrustError::Unusable {
                subject: authority.subject().clone(),
                reason: said(&error),
            })
        });
        Ok(Self {
            anchors: anchors.collect::<Result<_, _>>()?,
            authorities,
            crl_octets: Vec::new(),
            crls: Arc::from([]),
        })
    }

    /// The same with the revocation lists of a file (PEM or DER).
    ///
    /// # Errors
    /// [`TrustError`] where there is none, or one that cannot be used.
    pub fn with_crls(mut self, lists: &[u8]) -> Result<Self, TrustError> {
        self.crl_octets = super::blocks(lists, SectionKind::Crl);
        if self.crl_octets.is_empty() {
            return Err(TrustError::NoCrl);
        }
        let crls = self.crl_octets.iter().map(|der| {
            let list = OwnedCertRevocationList::from_der(der);
            let reason = |error: Webpki| TrustError::UnusableCrl {
                reason: said(&error),
            };
            list.map(CertRevocationList::from).map_err(reason)
        });
        self.crls = crls.collect::<Result<Vec<_>, _>>()?.into();
        Ok(self)
    }

    /// The authorities' certificates.
    #[must_use]
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// Whom we trust, for people.
    #[must_use]
    pub fn subjects(&self) -> String {
        let subjects = self.authorities.iter().take(4);
        let mut list: Vec<String> = subjects.map(|one| one.subject().to_string()).collect();
        if self.authorities.len() > list.len() {
            list.push("others".to_owned());
        }
        list.join(" and ")
    }

    /// Finds a way from the first certificate over any of the others to an authority of ours, and looks each up in the revocation lists.
    /// `now` is in seconds since 1970 began.
    ///
    /// No more than eight certificates are looked at, and the search itself is bounded: strangers choose what comes in.
    ///
    /// # Errors
    /// [`Untrusted`] where there is none, with the reason for the likeliest.
    pub fn verify(&self, chain: &[Vec<u8>], now: u64) -> Result<Certificate, Untrusted> {
        let (own, others) = chain.split_first().ok_or(Untrusted::Broken)?;
        let certificate = Certificate::from_der(own).ok_or(Untrusted::Broken)?;
        if !certificate.may_sign() {
            return Err(Untrusted::KeyUsage {
                subject: certificate.subject().clone(),
                missing: "digitalSignature",
            });
        }
        if self.authorities.contains(&certificate) {
            return within(certificate, now);
        }
        let refused = |error: Webpki| self.refusal(&error, &certificate, now);
        let own = CertificateDer::from(own.as_slice());
        let end_entity = EndEntityCert::try_from(&own).map_err(refused)?;
        let between: Vec<CertificateDer<'_>> = others
            .iter()
            .take(MOST_CERTIFICATES - 1)
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let lists: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        // Whoever names a list wants it to be current; an authority without a list revokes nothing.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let path = end_entity
            .verify_for_usage(
                ALGORITHMS,
                &self.anchors,
                &between,
                UnixTime::since_unix_epoch(Duration::from_secs(now)),
                Purposes,
                revocation,
                None,
            )
            .map_err(refused)?;
        for one in path.intermediate_certificates() {
            let authority = Certificate::from_der(&one.der()).ok_or(Untrusted::Broken)?;
            if !authority.may_certify() {
                return Err(Untrusted::KeyUsage {
                    subject: authority.subject().clone(),
                    missing: "keyCertSign",
                });
            }
        }
        Ok(certificate)
    }

    fn refusal(&self, error: &Webpki, certificate: &Certificate, now: u64) -> Untrusted {
        match error {
            Webpki::BadDer | Webpki::BadDerTime => Untrusted::Broken,
            Webpki::CertExpired { not_after, .. } => Untrusted::Expired {
                until: not_after.as_secs(),
            },
            Webpki::CertNotValidYet { not_before, .. } => Untrusted::NotYetValid {
                from: not_before.as_secs(),
                now,
            },
            Webpki::UnknownIssuer => Untrusted::UnknownIssuer {
                issuer: certificate.issuer().clone(),
                ours: self.subjects(),
            },
            Webpki::CertRevoked => Untrusted::Revoked {
                issuer: certificate.issuer().clone(),
                serial: certificate.serial(),
            },
            Webpki::CrlExpired { next_update, .. } => Untrusted::CrlExpired {
                until: next_update.as_secs(),
            },
            other => Untrusted::Invalid {
                reason: said(other),
            },
        }
    }
}

/// The certificate, on a day between its first and its last.
fn within(certificate: Certificate, now: u64) -> Result<Certificate, Untrusted> {
    match certificate.validity() {
        (from, _) if now < from => Err(Untrusted::NotYetValid { from, now }),
        (_, until) if until < now => Err(Untrusted::Expired { until }),
        _ => Ok(certificate),
    }
}

/// What extendedKeyUsage may say, where it is there: RFC 4945 section 5.1.3.12, and what authorities for TLS put into what they issue,
/// which every other IKE daemon accepts.
struct Purposes;

impl ExtendedKeyUsageValidator for Purposes {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Webpki> {
        const KP: [usize; 8] = [1, 3, 6, 1, 5, 5, 7, 3];
        const ANY: [usize; 5] = [2, 5, 29, 37, 0];
        const IKE_INTERMEDIATE: [usize; 9] = [1, 3, 6, 1, 5, 5, 8, 2, 2];
        let mut is_bare = true;
        for purpose in purposes {
            is_bare = false;
            let oid = purpose?.to_decoded_oid();
            let fits = match oid.split_last() {
                // serverAuth, clientAuth, ipsecEndSystem, ipsecTunnel, ipsecUser, ipsecIKE
                Some((last, family)) if *family == KP => matches!(last, 1 | 2 | 5 | 6 | 7 | 17),
                _ => oid == ANY || oid == IKE_INTERMEDIATE,
            };
            if fits {
                return Ok(());
            }
        }
        if is_bare {
            return Ok(());
        }
        Err(Webpki::UnsupportedNameType)
    }
}

/// webpki's word for a rule, in ours where it is one of the likelier.
fn said(error: &Webpki) -> String {
    match error {
        Webpki::CaUsedAsEndEntity => "it is an authority's own certificate, not one of a gateway",
        Webpki::EndEntityUsedAsCa => "it was issued by a certificate that is no authority's",
        Webpki::PathLenConstraintViolated | Webpki::MaximumPathDepthExceeded => {
            "there are more authorities above it than one of them permits"
        }
        Webpki::NameConstraintViolation => "an authority above it may not issue for these names",
        Webpki::InvalidSignatureForPublicKey => {
            "the signature on it, or on one above it, is not by the key of its issuer"
        }
        Webpki::UnsupportedCriticalExtension => "it has a critical extension that we do not know",
        Webpki::UnsupportedNameType => {
            "its extendedKeyUsage has neither ipsecIKE nor serverAuth nor clientAuth"
        }
        Webpki::UnsupportedSignatureAlgorithmContext(_)
        | Webpki::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "it, or one above it, is signed by an algorithm that we do not accept, such as SHA-1"
        }
        Webpki::MaximumSignatureChecksExceeded
        | Webpki::MaximumPathBuildCallsExceeded
        | Webpki::MaximumNameConstraintComparisonsExceeded => {
            "finding a way through the certificates takes too long"
        }
        other => return format!("it breaks RFC 5280 ({other:?})"),
    }
    .to_owned()
}

/// The day of a time in seconds since 1970 began, as `2026-11-21`.
#[must_use]
pub fn date(seconds: u64) -> String {
    // Days of the Gregorian calendar, counted in years that begin in March.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let m = (5 * of_year + 2) / 153;
    let day = of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
