//! What holds for every suite and every packet.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crypto::{Encryption, Error, Integrity, Opener, Sealer, Secret, Suite};
use proptest::prelude::*;

fn suites() -> Vec<Suite> {
    let mut suites = Vec::new();
    for encryption in Encryption::ALL {
        let integrities: Vec<_> = if encryption.is_aead() {
            vec![None]
        } else {
            Integrity::ALL.into_iter().map(Some).collect()
        };
        suites.extend(
            integrities
                .into_iter()
                .map(|i| Suite::new(encryption, i).unwrap()),
        );
    }
    suites
}

/// A packet of one suite, with its keys.
#[derive(Clone, Debug)]
struct Packet {
    suite: Suite,
    keymat: Vec<u8>,
    integrity_key: Vec<u8>,
    aad: Vec<u8>,
    iv: Vec<u8>,
    body: Vec<u8>,
    tail: Vec<u8>,
}

impl Packet {
    fn sealer(&self) -> Sealer {
        let (keymat, key) = self.keys();
        Sealer::new(self.suite, &keymat, &key).unwrap()
    }

    fn opener(&self) -> Opener {
        let (keymat, key) = self.keys();
        Opener::new(self.suite, &keymat, &key).unwrap()
    }

    fn keys(&self) -> (Secret, Secret) {
        (
            Secret::from_slice(&self.keymat),
            Secret::from_slice(&self.integrity_key),
        )
    }

    /// The ICV; the body becomes ciphertext.
    fn seal(&mut self) -> Vec<u8> {
        let mut icv = vec![0; self.suite.icv_len()];
        self.sealer()
            .seal(&self.aad, &self.iv, &mut self.body, &self.tail, &mut icv)
            .unwrap();
        icv
    }

    fn open(&mut self, icv: &[u8]) -> Result<(), Error> {
        self.opener()
            .open(&self.aad, &self.iv, &mut self.body, &self.tail, icv)
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    (prop::sample::select(suites()), 0..100_usize).prop_flat_map(|(suite, blocks)| {
        let octets = |len: usize| prop::collection::vec(any::<u8>(), len);
        let tail = if suite.integrity.is_some() {
            0..=4
        } else {
            0..=0
        };
        (
            octets(suite.keymat_len()),
            octets(suite.integrity_key_len()),
            prop::collection::vec(any::<u8>(), 0..40),
            octets(suite.iv_len()),
            octets(blocks * suite.block_len()),
            prop::collection::vec(any::<u8>(), tail),
        )
            .prop_map(move |(keymat, integrity_key, aad, iv, body, tail)| Packet {
                suite,
                keymat,
                integrity_key,
                aad,
                iv,
                body,
                tail,
            })
    })
}

proptest! {
    #[test]
    fn what_was_sealed_opens_to_what_it_was(plain in packet()) {
        let mut packet = plain.clone();
        let icv = packet.seal();
        prop_assert!(plain.body.len() < 16 || packet.body != plain.body);
        prop_assert_eq!(packet.open(&icv), Ok(()));
        prop_assert_eq!(packet.body, plain.body);
    }

    #[test]
    fn a_packet_with_any_bit_flipped_is_refused_and_stays_as_it_came(
        mut packet in packet(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut icv = packet.seal();
        let Packet { aad, iv, body, tail, .. } = &mut packet;
        let fields = [aad, iv, body, tail, &mut icv];
        let total = fields.iter().map(|field| field.len()).sum();
        let mut place = place.index(total);
        for field in fields {
            if let Some(octet) = field.get_mut(place) {
                *octet ^= 1 << bit;
                break;
            }
            place -= field.len();
        }
        let before = packet.body.clone();
        prop_assert_eq!(packet.open(&icv), Err(Error::Authentication));
        prop_assert_eq!(packet.body, before);
    }

    #[test]
    fn another_key_opens_nothing(
        mut packet in packet(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let icv = packet.seal();
        // CBC authenticates with the integrity key alone.
        let key = match packet.suite.integrity {
            Some(_) => &mut packet.integrity_key,
            None => &mut packet.keymat,
        };
        let place = place.index(key.len());
        key[place] ^= 1 << bit;
        prop_assert_eq!(packet.open(&icv), Err(Error::Authentication));
    }

    #[test]
    fn an_integrity_check_value_that_nobody_computed_is_refused(
        mut packet in packet(),
        icv in prop::collection::vec(any::<u8>(), 32),
    ) {
        let len = packet.suite.icv_len();
        prop_assert_eq!(packet.open(&icv[..len]), Err(Error::Authentication));
    }
}

#[test]
fn a_packet_of_the_wrong_shape_is_refused_with_the_reason() {
    for suite in suites() {
        let keymat = Secret::new(vec![1; suite.keymat_len()]);
        let key = Secret::new(vec![2; suite.integrity_key_len()]);
        let sealer = Sealer::new(suite, &keymat, &key).unwrap();
        let opener = Opener::new(suite, &keymat, &key).unwrap();
        let (iv_len, icv_len, block) = (suite.iv_len(), suite.icv_len(), suite.block_len());
        let both = |iv: usize, body: usize, tail: usize, icv: usize| {
            let (iv, tail) = (vec![3; iv], vec![4; tail]);
            let mut plain = vec![5; body];
            let sealed = sealer.seal(b"aad", &iv, &mut plain, &tail, &mut vec![0; icv]);
            if sealed.is_err() {
                assert_eq!(
                    plain,
                    vec![5; body],
                    "{suite}: a refused body is left alone"
                );
            }
            let opened = opener.open(b"aad", &iv, &mut vec![5; body], &tail, &vec![0; icv]);
            assert_eq!(
                sealed.clone().err(),
                opened.err().filter(|e| *e != Error::Authentication)
            );
            sealed
        };
        assert_eq!(both(iv_len, 32, 0, icv_len), Ok(()));
        let encryption = suite.encryption;
        for got in [0, iv_len - 1, iv_len + 1] {
            let error = Error::IvLength {
                encryption,
                expected: iv_len,
                got,
            };
            assert_eq!(both(got, 32, 0, icv_len), Err(error));
        }
        for got in [0, icv_len - 1, icv_len + 1] {
            let error = Error::IcvLength {
                expected: icv_len,
                got,
            };
            assert_eq!(both(iv_len, 32, 0, got), Err(error));
        }
        if suite.encryption.is_aead() {
            assert_eq!(
                both(iv_len, 32, 4, icv_len),
                Err(Error::TailWithAead { got: 4 })
            );
            assert_eq!(both(iv_len, 33, 0, icv_len), Ok(()));
        } else {
            assert_eq!(both(iv_len, 32, 4, icv_len), Ok(()));
            assert_eq!(
                both(iv_len, 33, 0, icv_len),
                Err(Error::BodyLength { block, got: 33 })
            );
        }
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused_with_the_reason() {
    for suite in suites() {
        let (keymat, key) = (suite.keymat_len(), suite.integrity_key_len());
        let new = |keymat: usize, key: usize| {
            let (keymat, key) = (Secret::new(vec![1; keymat]), Secret::new(vec![2; key]));
            let sealer = Sealer::new(suite, &keymat, &key).map(|sealer| sealer.suite());
            assert_eq!(
                sealer,
                Opener::new(suite, &keymat, &key).map(|opener| opener.suite())
            );
            sealer
        };
        assert_eq!(new(keymat, key), Ok(suite));
        let encryption = suite.encryption;
        for got in [0, keymat - 1, keymat + 1, encryption.key_len() - 1] {
            let error = Error::KeymatLength {
                encryption,
                expected: keymat,
                got,
            };
            assert_eq!(new(got, key), Err(error), "{suite}");
        }
        for got in [key + 1, key + 16, 1] {
            let error = Error::IntegrityKeyLength { expected: key, got };
            assert_eq!(new(keymat, got), Err(error), "{suite}");
        }
    }
}

#[test]
fn a_suite_that_was_put_together_by_hand_is_checked_before_it_is_keyed() {
    let (aead, cbc) = (Encryption::AesGcm256, Encryption::AesCbc256);
    let sha1 = Integrity::HmacSha1_96;
    let (keymat, key) = (Secret::new(vec![0; 36]), Secret::new(vec![0; 20]));
    let suite = Suite {
        encryption: aead,
        integrity: Some(sha1),
    };
    let error = Error::IntegrityUnwanted {
        encryption: aead,
        integrity: sha1,
    };
    assert_eq!(Sealer::new(suite, &keymat, &key).unwrap_err(), error);
    assert_eq!(Suite::new(aead, Some(sha1)), Err(error));

    let keymat = Secret::new(vec![0; 32]);
    let suite = Suite {
        encryption: cbc,
        integrity: None,
    };
    let error = Error::IntegrityMissing { encryption: cbc };
    assert_eq!(
        Opener::new(suite, &keymat, &Secret::default()).unwrap_err(),
        error
    );
    assert_eq!(Suite::new(cbc, None), Err(error));
}
