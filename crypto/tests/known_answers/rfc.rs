//! The examples that the RFCs and NIST print, one test for each document.

use crate::given::{hex, key_pair};
use crypto::{Encryption, Group, Integrity, Opener, Prf, Sealer, Secret, Suite};

#[test]
fn rfc_3602_section_4_aes_128_cbc() {
    let cbc = Encryption::AesCbc128;
    assert_cbc(
        cbc,
        "06a9214036b8a15b512e03d534120006",
        "3dafba429d9eb430b422da802c9fac41",
        b"Single block msg",
        "e353779c1079aeb82708942dbe77181a",
    );
    assert_cbc(
        cbc,
        "c286696d887c9aa0611bbb3e2025a45a",
        "562e17996d093d28ddb3ba695a2e6f58",
        &(0..0x20).collect::<Vec<u8>>(),
        "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
    );
    assert_cbc(
        cbc,
        "56e47a38c5598974bc46903dba290349",
        "8ce82eefbea0da3c44699ed7db51b7d9",
        &(0xa0..0xe0).collect::<Vec<u8>>(),
        "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e
         35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
    );
}

#[test]
fn nist_sp_800_38a_appendix_f_2_aes_cbc() {
    let iv = "000102030405060708090a0b0c0d0e0f";
    let plain = hex(
        "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
         30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710",
    );
    assert_cbc(
        Encryption::AesCbc128,
        "2b7e151628aed2a6abf7158809cf4f3c",
        iv,
        &plain,
        "7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2
         73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7",
    );
    assert_cbc(
        Encryption::AesCbc192,
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        iv,
        &plain,
        "4f021db243bc633d7178183a9fa071e8 b4d9ada9ad7dedf4e5e738763f69145a
         571b242012fb7ae07fa9baac3df102e0 08b0e27988598881d920a9e64f5615cd",
    );
    assert_cbc(
        Encryption::AesCbc256,
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        iv,
        &plain,
        "f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d
         39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b",
    );
}

#[test]
fn gcm_specification_appendix_b_cases_4_10_and_16() {
    let key = "feffe9928665731c6d6a8f9467308308";
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let cases = [
        (
            Encryption::AesGcm128,
            key.to_owned(),
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            Encryption::AesGcm192,
            format!("{key}feffe9928665731c"),
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710",
            "2519498e80f1478f37ba55bd6d27618c",
        ),
        (
            Encryption::AesGcm256,
            format!("{key}{key}"),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];
    for (encryption, key, cipher, icv) in cases {
        let keymat = format!("{key}cafebabe");
        assert_aead(
            encryption,
            &keymat,
            "facedbaddecaf888",
            aad,
            plain,
            cipher,
            icv,
        );
    }
}

#[test]
fn rfc_7634_appendix_a_chacha20_poly1305_in_esp() {
    assert_aead(
        Encryption::ChaCha20Poly1305,
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3",
        "1011121314151617",
        "0102030400000005",
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
         0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
         2425262728292a2b2c2d2e2f303132333435363701020204",
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
         14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
         cbec163fac469b502773f6fb94e664da9165b82829f641e0",
        "76aaa8266b7fb0f7b11b369907e1ad43",
    );
}

#[test]
fn rfc_2202_hmac_sha_1() {
    let counting: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &str); 7] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b617318655057264e28bc0b6fb378c8ef146be00",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
        ),
        (
            &counting,
            &[0xcd; 50],
            "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
        ),
        (
            &[0x0c; 20],
            b"Test With Truncation",
            "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
        ),
        (
            &[0xaa; 80],
            LONG_KEY,
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            &[0xaa; 80],
            LONG_KEY_AND_DATA,
            "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
        ),
    ];
    for (key, data, output) in cases {
        assert_eq!(Prf::HmacSha1.compute(key, &[data]).expose(), hex(output));
    }
}

const LONG_KEY: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
const LONG_KEY_AND_DATA: &[u8] =
    b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data";

#[test]
fn rfc_4231_hmac_sha_2() {
    let cases: [(&[u8], &[u8], [&str; 3]); 4] = [
        (
            &[0x0b; 20],
            b"Hi There",
            [
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec6
                 82aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ],
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            [
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47
                 e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ],
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            [
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
                "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9feb
                 e83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
                "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39
                 bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
            ],
        ),
        (
            &[0xaa; 131],
            LONG_KEY,
            [
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f
                 3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352
                 6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ],
        ),
    ];
    for (key, data, outputs) in cases {
        for (prf, output) in [Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512]
            .iter()
            .zip(outputs)
        {
            let (start, rest) = data.split_at(data.len() / 3);
            assert_eq!(
                prf.compute(key, &[start, &[], rest]).expose(),
                hex(output),
                "{prf}"
            );
        }
    }
}

#[test]
fn rfc_2202_and_rfc_4868_the_truncated_codes_that_packets_carry() {
    let sha1 = Integrity::HmacSha1_96;
    assert_icv(
        sha1,
        &[0x0c; 20],
        b"Test With Truncation",
        "4c1a03424b55e07fe7f27be1",
    );
    assert_icv(sha1, &[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af4");
    // RFC 4868 §2.7.2, its third case for each function.
    assert_icv(
        Integrity::HmacSha256_128,
        &[0xaa; 32],
        &[0xdd; 50],
        "cdcb1220d1ecccea91e53aba3092f962",
    );
    assert_icv(
        Integrity::HmacSha384_192,
        &[0xaa; 48],
        &[0xdd; 50],
        "809f439be00274321d4a538652164b53554a508184a0c316",
    );
    assert_icv(
        Integrity::HmacSha512_256,
        &[0xaa; 64],
        &[0xdd; 50],
        "2ee7acd783624ca9398710f3ee05ae41b9f9b0510c87e49e586cc9bf961733d8",
    );
}

#[test]
fn rfc_3174_section_7_3_sha_1() {
    assert_eq!(
        crypto::sha1(&[b"a", b"", b"bc"]),
        *hex("a9993e364706816aba3e25717850c26c9cd0d89d")
    );
    let long: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_eq!(
        crypto::sha1(&[long]),
        *hex("84983e441c3bd26ebaae4aa1f95129e5e54670f1")
    );
}

#[test]
fn rfc_5903_section_8_ecp_groups() {
    assert_agreement(
        Group::Ecp256,
        "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180
         5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
        "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63
         56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
    );
    assert_agreement(
        Group::Ecp384,
        "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F16
         0647B67414DCE655E35B538041E649EE3FAEF896783AB194",
        "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA
         9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
        "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060
         855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
        "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571
         DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
        "11187331C279962D93D604243FD592CB9D0A926F422E4718
         7521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
    );
    assert_agreement(
        Group::Ecp521,
        "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA
         85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
        "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3
         BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E
         017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A7
         88015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
        "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C67
         7D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
        "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97
         C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F
         015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B
         6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
        "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D142
         7E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA",
    );
}

#[test]
fn rfc_7748_section_6_1_curve25519() {
    assert_agreement(
        Group::Curve25519,
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    );
}

#[test]
fn rfc_8031_appendix_a_curve25519() {
    // The RFC prints the private values as numbers; here they are octets, the lowest first.
    assert_agreement(
        Group::Curve25519,
        "701fb4308655b476b6789b7325f9ea8cddd16a58533ff6d9e60009464a5f9d54",
        "48d5ddd4061257ba166fa3f9bbdb74f1a4e81c089384fa77f790709f0dfbc766",
        "0854645253290d60ddadd0e030bacd9e5501efdc220755a1e978f1b839a05648",
        "0be7c1f5aad87d7e448662673298a443478b859745179eaf564c79c0ef6eee25",
        "c74950607a12327f3204d94b6825bfb068b7f8319a9e3708ed3d43ce8130c950",
    );
}

fn assert_cbc(encryption: Encryption, key: &str, iv: &str, plain: &[u8], cipher: &str) {
    let suite = Suite::new(encryption, Some(Integrity::HmacSha1_96)).unwrap();
    let (keymat, integrity_key) = (Secret::new(hex(key)), Secret::new(vec![7; 20]));
    let (iv, mut body, mut icv) = (hex(iv), plain.to_vec(), [0; 12]);
    let sealer = Sealer::new(suite, &keymat, &integrity_key).unwrap();
    sealer.seal(&[], &iv, &mut body, &[], &mut icv).unwrap();
    assert_eq!(body, hex(cipher));
    let opener = Opener::new(suite, &keymat, &integrity_key).unwrap();
    opener.open(&[], &iv, &mut body, &[], &icv).unwrap();
    assert_eq!(body, plain);
}

fn assert_aead(
    encryption: Encryption,
    keymat: &str,
    iv: &str,
    aad: &str,
    plain: &str,
    cipher: &str,
    tag: &str,
) {
    let suite = Suite::new(encryption, None).unwrap();
    let (keymat, integrity_key) = (Secret::new(hex(keymat)), Secret::default());
    let (iv, aad, mut body, mut icv) = (hex(iv), hex(aad), hex(plain), [0; 16]);
    let sealer = Sealer::new(suite, &keymat, &integrity_key).unwrap();
    sealer.seal(&aad, &iv, &mut body, &[], &mut icv).unwrap();
    assert_eq!(body, hex(cipher), "{encryption}");
    assert_eq!(icv, *hex(tag), "{encryption}");
    let opener = Opener::new(suite, &keymat, &integrity_key).unwrap();
    opener.open(&aad, &iv, &mut body, &[], &icv).unwrap();
    assert_eq!(body, hex(plain), "{encryption}");
}

/// A packet without a body whose header and IV are together `message`, and then one with a tail.
fn assert_icv(integrity: Integrity, key: &[u8], message: &[u8], expected: &str) {
    let suite = Suite::new(Encryption::AesCbc128, Some(integrity)).unwrap();
    let (keymat, key) = (Secret::new(vec![0; 16]), Secret::from_slice(key));
    let (aad, iv) = message.split_at(message.len() - 16);
    let mut icv = vec![0; integrity.icv_len()];
    let sealer = Sealer::new(suite, &keymat, &key).unwrap();
    sealer.seal(aad, iv, &mut [], &[], &mut icv).unwrap();
    assert_eq!(icv, hex(expected), "{integrity}");
    if let Some((iv, tail)) = aad
        .split_at_checked(16)
        .map(|(head, _)| (head, &message[16..]))
    {
        sealer.seal(&[], iv, &mut [], tail, &mut icv).unwrap();
        assert_eq!(icv, hex(expected), "{integrity}");
    }
}

fn assert_agreement(group: Group, i: &str, gi: &str, r: &str, gr: &str, shared: &str) {
    let (initiator, responder) = (key_pair(group, &hex(i)), key_pair(group, &hex(r)));
    assert_eq!(initiator.public(), hex(gi), "{group}");
    assert_eq!(responder.public(), hex(gr), "{group}");
    assert_eq!(
        initiator.agree(responder.public()).unwrap().expose(),
        hex(shared),
        "{group}"
    );
    assert_eq!(
        responder.agree(initiator.public()).unwrap().expose(),
        hex(shared),
        "{group}"
    );
}
