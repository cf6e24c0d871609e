//! Any bytes as a certificate, its name, a key or an algorithm: no panic, and no way from it to an authority that has not signed it.
#![no_main]

use crypto::signature::{PublicKey, SignatureScheme};
use crypto::x509::{Certificate, DistinguishedName, Trust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = DistinguishedName::from_der(bytes).to_string();
    if let Some(scheme) = SignatureScheme::from_identifier(bytes) {
        assert!(SignatureScheme::from_identifier(&scheme.identifier()).is_some());
    }
    if let Some(key) = PublicKey::from_spki(bytes) {
        let _ = key.verifies(SignatureScheme::Ed25519, b"message", bytes);
    }
    if let Some(certificate) = Certificate::from_der(bytes) {
        let _ = (certificate.subject().to_string(), certificate.serial());
        let _ = certificate.public_key();
    }
    let authority = Trust::new(include_bytes!("../corpus/certificate/authority"));
    if let Ok(trust) = authority
        && let Ok(certificate) = trust.verify(&[bytes.to_vec()], 1_900_000_000)
    {
        let seed: &[u8] = include_bytes!("../corpus/certificate/gateway");
        assert!(certificate.der() == seed || trust.authorities().contains(&certificate));
    }
});
