//! A certification authority of a test's own.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

use crate::wait::OrFail;

/// RSA keys take seconds to make, so there is one for all; it is secret from nobody.
const RSA: &str = include_str!("../../../crypto/tests/keys/rsa.pkcs8.pem");

/// What is made here is in a format that OpenSSL 3.0 does not read (RFC 5958 with the public key).
const ED25519: &str = include_str!("../../../crypto/tests/keys/ed25519.pkcs8.pem");

/// What a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// RSA, 2048 bits.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl KeyType {
    #[track_caller]
    fn make(self) -> KeyPair {
        let kind: &'static SignatureAlgorithm = match self {
            Self::Rsa => return KeyPair::from_pem(RSA).or_fail("read the RSA key"),
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => return KeyPair::from_pem(ED25519).or_fail("read the Ed25519 key"),
        };
        KeyPair::generate_for(kind).or_fail("make a key")
    }
}

/// A certificate with its key and what vouches for it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, then those between it and its authority, in PEM.
    pub certificate: String,
    /// Its key in PEM.
    pub key: String,
    serial: SerialNumber,
}

/// An authority with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM.
    pub certificate: String,
    /// Those between it and the topmost one, its own first; empty for that one.
    between: String,
}

impl Authority {
    /// One that has signed itself.
    #[track_caller]
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = KeyType::P256.make();
        let params = Self::params(name);
        let certificate = params.self_signed(&key).or_fail("sign an authority").pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            between: String::new(),
        }
    }

    /// One that this one vouches for.
    #[track_caller]
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let key = KeyType::P384.make();
        let params = Self::params(name);
        let signed = params.signed_by(&key, &self.issuer);
        let certificate = signed.or_fail("sign an authority").pem();
        Self {
            issuer: Issuer::new(params, key),
            between: format!("{certificate}{}", self.between),
            certificate,
        }
    }

    #[track_caller]
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new([]).or_fail("an authority");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// A certificate for a gateway with these subjectAltNames (addresses and host names), valid for as long as it matters.
    #[track_caller]
    #[must_use]
    pub fn issue(&self, kind: KeyType, name: &str, names: &[&str]) -> Issued {
        self.issue_until(kind, name, names, 4090)
    }

    /// The same, until the beginning of a year.
    #[track_caller]
    #[must_use]
    pub fn issue_until(&self, kind: KeyType, name: &str, names: &[&str], year: i32) -> Issued {
        self.sign(kind, name, names, |params| {
            params.not_after = date_time_ymd(year, 1, 1);
        })
    }

    #[track_caller]
    fn sign(
        &self,
        kind: KeyType,
        name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).or_fail("names of a certificate");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = kind.make();
        let serial = SerialNumber::from(u64::from(serial_of(&key)));
        params.serial_number = Some(serial.clone());
        let signed = params.signed_by(&key, &self.issuer);
        Issued {
            certificate: format!(
                "{}{}",
                signed.or_fail("sign a certificate").pem(),
                self.between
            ),
            key: key.serialize_pem(),
            serial,
        }
    }

    /// The same from so many days after now to so many; negative ones are before now.
    #[track_caller]
    #[must_use]
    pub fn issue_for_days(&self, name: &str, names: &[&str], days: (i64, i64)) -> Issued {
        let at = |days: i64| {
            let length = Duration::from_secs(days.unsigned_abs() * 86_400);
            let now = SystemTime::now();
            if days < 0 { now - length } else { now + length }
        };
        self.sign(KeyType::P256, name, names, |params| {
            params.not_before = at(days.0).into();
            params.not_after = at(days.1).into();
        })
    }

    /// Its revocation list in PEM, with these on it, to be replaced in the far future.
    #[track_caller]
    #[must_use]
    pub fn revoke(&self, issued: &[&Issued]) -> String {
        let revoked = issued.iter().map(|one| RevokedCertParams {
            serial_number: one.serial.clone(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(4090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list
            .signed_by(&self.issuer)
            .or_fail("sign a revocation list");
        signed.pem().or_fail("a revocation list in PEM")
    }
}

/// A number that differs from key to key, as far as a test needs.
fn serial_of(key: &KeyPair) -> u32 {
    let octets = key.public_key_raw().iter();
    octets.fold(1u32, |sum, octet| {
        sum.wrapping_mul(31).wrapping_add(u32::from(*octet))
    }) >> 1
}
