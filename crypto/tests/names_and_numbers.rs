//! The registry's numbers, the names, the sizes, and what is never printed.

use crypto::ikev2::child_keys;
use crypto::{Encryption, Error, Group, Integrity, Kem, Opener, Prf, Sealer, Secret, Suite};

#[test]
fn encryption_algorithms_have_the_numbers_and_sizes_of_their_rfcs() {
    use Encryption::{
        AesCbc128, AesCbc192, AesCbc256, AesGcm128, AesGcm192, AesGcm256, ChaCha20Poly1305,
    };
    // Name, transform, key bits, then octets of key, salt, IV, block and ICV.
    let table = [
        (AesCbc128, "aes128", 12, Some(128), [16, 0, 16, 16, 0]),
        (AesCbc192, "aes192", 12, Some(192), [24, 0, 16, 16, 0]),
        (AesCbc256, "aes256", 12, Some(256), [32, 0, 16, 16, 0]),
        (AesGcm128, "aes128gcm16", 20, Some(128), [16, 4, 8, 1, 16]),
        (AesGcm192, "aes192gcm16", 20, Some(192), [24, 4, 8, 1, 16]),
        (AesGcm256, "aes256gcm16", 20, Some(256), [32, 4, 8, 1, 16]),
        (
            ChaCha20Poly1305,
            "chacha20poly1305",
            28,
            None,
            [32, 4, 8, 1, 16],
        ),
    ];
    assert_eq!(table.map(|row| row.0), Encryption::ALL);
    for (algorithm, name, id, bits, [key, salt, iv, block, icv]) in table {
        assert_eq!(algorithm.to_string(), name);
        assert_eq!(algorithm.transform(), (id, bits));
        assert_eq!(Encryption::from_transform(id, bits), Some(algorithm));
        assert_eq!((algorithm.key_len(), algorithm.salt_len()), (key, salt));
        assert_eq!(algorithm.keymat_len(), key + salt);
        assert_eq!((algorithm.iv_len(), algorithm.block_len()), (iv, block));
        assert_eq!((algorithm.icv_len(), algorithm.is_aead()), (icv, icv > 0));
    }
    for unknown in [
        (12, None),
        (12, Some(64)),
        (20, None),
        (28, Some(256)),
        (3, None),
    ] {
        assert_eq!(Encryption::from_transform(unknown.0, unknown.1), None);
    }
}

#[test]
fn integrity_algorithms_have_the_numbers_and_sizes_of_their_rfcs() {
    use Integrity::{HmacSha1_96, HmacSha256_128, HmacSha384_192, HmacSha512_256};
    let table = [
        (HmacSha1_96, "sha1", 2, 20, 12),
        (HmacSha256_128, "sha256", 12, 32, 16),
        (HmacSha384_192, "sha384", 13, 48, 24),
        (HmacSha512_256, "sha512", 14, 64, 32),
    ];
    assert_eq!(table.map(|row| row.0), Integrity::ALL);
    for (algorithm, name, id, key, icv) in table {
        assert_eq!(algorithm.to_string(), name);
        assert_eq!(
            (algorithm.id(), Integrity::from_id(id)),
            (id, Some(algorithm))
        );
        assert_eq!((algorithm.key_len(), algorithm.icv_len()), (key, icv));
    }
    assert_eq!(Integrity::from_id(0), None);
}

#[test]
fn prfs_have_the_numbers_and_sizes_of_their_rfcs() {
    use Prf::{HmacSha1, HmacSha256, HmacSha384, HmacSha512};
    let table = [
        (HmacSha1, "prfsha1", 2, 20),
        (HmacSha256, "prfsha256", 5, 32),
        (HmacSha384, "prfsha384", 6, 48),
        (HmacSha512, "prfsha512", 7, 64),
    ];
    assert_eq!(table.map(|row| row.0), Prf::ALL);
    for (prf, name, id, len) in table {
        assert_eq!(prf.to_string(), name);
        assert_eq!((prf.id(), Prf::from_id(id)), (id, Some(prf)));
        assert_eq!((prf.key_len(), prf.output_len()), (len, len));
        assert_eq!(prf.compute(b"", &[]).len(), len);
    }
    assert_eq!(Prf::from_id(1), None);
}

#[test]
fn groups_have_the_numbers_and_sizes_of_their_rfcs() {
    let table = [
        ("modp1024", 2, 128),
        ("modp1536", 5, 192),
        ("modp2048", 14, 256),
        ("modp3072", 15, 384),
        ("modp4096", 16, 512),
        ("ecp256", 19, 64),
        ("ecp384", 20, 96),
        ("ecp521", 21, 132),
        ("curve25519", 31, 32),
    ];
    for (group, (name, id, public)) in Group::ALL.into_iter().zip(table) {
        assert_eq!((group.id(), Group::from_id(id)), (id, Some(group)));
        assert_eq!(
            (group.to_string().as_str(), name.parse()),
            (name, Ok(group))
        );
        assert_eq!(group.public_len(), public);
        assert_eq!(group.is_legacy(), id == 2 || id == 5);
    }
    assert_eq!(Group::from_id(1), None);
    for name in ["modp768", "MODP2048", "", "14"] {
        assert_eq!(
            name.parse::<Group>(),
            Err(Error::UnknownGroup {
                name: name.to_owned()
            })
        );
    }
}

#[test]
fn a_suite_says_its_name_and_what_a_packet_costs() {
    let sha1 = Suite::new(Encryption::AesCbc256, Some(Integrity::HmacSha1_96)).unwrap();
    assert_eq!(sha1.to_string(), "aes256-sha1");
    assert_eq!(
        (sha1.iv_len(), sha1.icv_len(), sha1.block_len()),
        (16, 12, 16)
    );
    assert_eq!((sha1.keymat_len(), sha1.integrity_key_len()), (32, 20));

    let gcm = Suite::new(Encryption::AesGcm256, None).unwrap();
    assert_eq!(gcm.to_string(), "aes256gcm16");
    assert_eq!((gcm.iv_len(), gcm.icv_len(), gcm.block_len()), (8, 16, 1));
    assert_eq!((gcm.keymat_len(), gcm.integrity_key_len()), (36, 0));
}

#[test]
fn names_can_be_aligned() {
    assert_eq!(format!("{:<8}|", Group::Ecp256), "ecp256  |");
    assert_eq!(format!("{:>8}|", Encryption::AesCbc128), "  aes128|");
}

#[test]
fn nothing_that_holds_a_key_prints_it() {
    let secret = Secret::new(vec![0xab; 32]);
    assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");

    let suite = Suite::new(Encryption::AesCbc256, Some(Integrity::HmacSha256_128)).unwrap();
    let sealer = Sealer::new(suite, &secret, &secret).unwrap();
    let opener = Opener::new(suite, &secret, &secret).unwrap();
    assert_eq!(
        format!("{sealer:?}, {opener:?}"),
        "Sealer(aes256-sha256), Opener(aes256-sha256)"
    );

    let keys = child_keys(Prf::HmacSha256, &secret, None, b"", b"", suite).unwrap();
    assert_eq!(
        format!("{:?}", keys.initiator),
        "DirectionKeys { keymat: Secret(32 bytes), integrity: Secret(32 bytes) }"
    );

    let mut rng: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(1);
    let pair = Group::Curve25519.generate(&mut rng);
    assert_eq!(format!("{pair:?}"), "KeyPair(curve25519)");
}

#[test]
fn secrets_are_equal_exactly_where_their_octets_are() {
    let secret = Secret::from_slice(b"octets");
    assert_eq!(secret, Secret::new(b"octets".to_vec()));
    for other in [&b"octetS"[..], b"octet", b"octets ", b""] {
        assert_ne!(secret, Secret::from_slice(other));
        assert!(!crypto::constant_time_eq(secret.expose(), other));
    }
    assert!(Secret::default().is_empty());
    assert_eq!((secret.len(), secret.is_empty()), (6, false));
}

#[test]
fn errors_name_the_algorithm_and_both_lengths() {
    let error = Error::PublicLength {
        group: Group::Ecp384,
        expected: 96,
        got: 64,
    };
    assert_eq!(
        error.to_string(),
        "a public value of ecp384 has 96 octets, not 64"
    );
    let suite = Suite::new(Encryption::AesGcm256, None).unwrap();
    let error = Sealer::new(suite, &Secret::new(vec![0; 32]), &Secret::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "aes256gcm16 needs 36 octets of key material, not 32"
    );
}

#[test]
fn sealers_openers_and_key_pairs_cross_threads() {
    fn send<T: Send>() {}
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Sealer>();
    send_and_sync::<Opener>();
    send_and_sync::<Secret>();
    send::<crypto::KeyPair>();
}

#[test]
fn kems_have_the_numbers_of_the_registry_and_the_lengths_of_fips_203() {
    let table = [("mlkem768", 36, 1184, 1088), ("mlkem1024", 37, 1568, 1568)];
    for (kem, (name, id, public, ciphertext)) in Kem::ALL.into_iter().zip(table) {
        assert_eq!((kem.id(), Kem::from_id(id)), (id, Some(kem)));
        assert_eq!(kem.to_string(), name);
        assert_eq!(
            (kem.public_len(), kem.ciphertext_len()),
            (public, ciphertext)
        );
    }
    assert_eq!(Kem::from_id(35), None);
}
