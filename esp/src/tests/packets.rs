//! Whole ESP packets by others.

use crypto::{Encryption, Integrity, Secret, Suite};

use super::{bytes, pair};
use crate::{DropReason, InboundSa, NextHeader, OutboundSa, SaParameters, Spi};

/// Keys, numbers and bytes of a packet whose inner packet is [`INNER`]. The keys are those of
/// [`super::parameters`], the IV of CBC packets counts up from 0x30.
struct Packet {
    suite: (Encryption, Option<Integrity>),
    sequence: u64,
    esn: bool,
    bytes: &'static str,
}

const INNER: &str = "4500001d000040004011b7bdc0000201c63364020035003500090000aa";

/// Computed with Python: pyca/cryptography 48.0.0 for the ciphers, hmac and hashlib for the MACs.
const PACKETS: &[Packet] = &[
    Packet {
        suite: (Encryption::AesCbc128, Some(Integrity::HmacSha1_96)),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee0100000007303132333435363738393a3b3c3d3e3fcd3a7bf60a3a1161665cbe16\
            f968b455b0d0c19688fa3d2c172d1c4a3379f0446fcb830f350e700725f3d1d8",
    },
    Packet {
        suite: (Encryption::AesCbc128, Some(Integrity::HmacSha1_96)),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee0100000002303132333435363738393a3b3c3d3e3fcd3a7bf60a3a1161665cbe16\
            f968b455b0d0c19688fa3d2c172d1c4a3379f044a7a856c5f43963a1d806622e",
    },
    Packet {
        suite: (Encryption::AesCbc192, Some(Integrity::HmacSha256_128)),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee0100000007303132333435363738393a3b3c3d3e3ff09ffd9ca892dd2132b5db09\
            7744e54602b05e94443f1550d8dd6923affd27d38f336ec74cfb549c617d2c75a1eebb9b",
    },
    Packet {
        suite: (Encryption::AesCbc192, Some(Integrity::HmacSha256_128)),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee0100000002303132333435363738393a3b3c3d3e3ff09ffd9ca892dd2132b5db09\
            7744e54602b05e94443f1550d8dd6923affd27d32358b8d03c0cd40fa8111ba5e0d138e5",
    },
    Packet {
        suite: (Encryption::AesCbc256, Some(Integrity::HmacSha384_192)),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee0100000007303132333435363738393a3b3c3d3e3fd599949853e0e3092ebac6f4\
            921578a9b627fd7295e603910d72445103f23403e72c7aa1ad72a079c1d090e94f336619\
            374772ded11d457b",
    },
    Packet {
        suite: (Encryption::AesCbc256, Some(Integrity::HmacSha384_192)),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee0100000002303132333435363738393a3b3c3d3e3fd599949853e0e3092ebac6f4\
            921578a9b627fd7295e603910d72445103f23403a05a7ace793cff158522f65933d60c7a\
            f7a07e304fbc8f30",
    },
    Packet {
        suite: (Encryption::AesCbc256, Some(Integrity::HmacSha512_256)),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee0100000007303132333435363738393a3b3c3d3e3fd599949853e0e3092ebac6f4\
            921578a9b627fd7295e603910d72445103f23403509577ebf94e775252622abcecb80179\
            187249b548abc47500828e2339a24b1d",
    },
    Packet {
        suite: (Encryption::AesCbc256, Some(Integrity::HmacSha512_256)),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee0100000002303132333435363738393a3b3c3d3e3fd599949853e0e3092ebac6f4\
            921578a9b627fd7295e603910d72445103f23403abc8a270e4d0a7c88e85442c4681668a\
            8d56650f7069da1736dd3f7c2a50e638",
    },
    Packet {
        suite: (Encryption::AesGcm128, None),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee01000000070000000000000007911e1dd0e38f80be5ef5e179d3d01e79767e0530\
            b403eb543686b4a06dff3ace1197dc51400d26c3ba7b16c56a02b99e",
    },
    Packet {
        suite: (Encryption::AesGcm128, None),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee01000000020000000100000002dd4184a84a92f076d279e335c56bcce08e92a1ad\
            69d54d5b6d8137f7121984b0a6f7ab62c54d3ca32b643facb86743a2",
    },
    Packet {
        suite: (Encryption::AesGcm192, None),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee01000000070000000000000007fc1e3bcef3d613c3e4cf456a95fb0e629113fca1\
            f0ffaf4784629d358d72cd51801e9d5c25d37f2113f59719b3d3e6aa",
    },
    Packet {
        suite: (Encryption::AesGcm192, None),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee010000000200000001000000029c42c1dc6f815f21163a4a8e166318d886a18fc3\
            ea830104c17336b13e61bc5a61dbbb517f0f8888c4c21e4e0306242f",
    },
    Packet {
        suite: (Encryption::AesGcm256, None),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee01000000070000000000000007d30fecadad9c610390edb335806a0b34e8a3d439\
            c662b60e93c135e8c15ef70eed7889bfb4f054a94dbc2dfb1fe89f67",
    },
    Packet {
        suite: (Encryption::AesGcm256, None),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee01000000020000000100000002a39117e27c6066674ad893e5da46e7b6fe7b29e9\
            0aaef72d66feff64c435213d35571a8a55a110fa4d5bebbf056ec3d5",
    },
    Packet {
        suite: (Encryption::ChaCha20Poly1305, None),
        sequence: 0x7,
        esn: false,
        bytes: "c0ffee010000000700000000000000078a5cca8fd96f47462b24c1aaaf353021bddb6acb\
            d1d06e67e78175dae29f096ca7ce9a45753bfea4fe39950863645363",
    },
    Packet {
        suite: (Encryption::ChaCha20Poly1305, None),
        sequence: 0x100000002,
        esn: true,
        bytes: "c0ffee01000000020000000100000002a9417a7098c0a970c5089ab170441e03e479a4de\
            1656cdd4e9a9346efc502e3a88761e9571718e0b12de35343adff592",
    },
];

fn iv(packet: &Packet) -> Vec<u8> {
    match packet.suite.1 {
        Some(_) => (0x30..0x40).collect(),
        None => packet.sequence.to_be_bytes().to_vec(),
    }
}

#[test]
fn packets_are_sealed_as_an_independent_implementation_seals_them() {
    let inner = bytes(INNER);
    for expected in PACKETS {
        let (outbound, _) = pair(expected.suite, expected.esn);
        let layout = outbound.layout();
        let mut packet = vec![0; layout.sealed_len(inner.len())];
        packet[layout.header_len()..][..inner.len()].copy_from_slice(&inner);
        outbound
            .seal_with(
                &mut packet,
                inner.len(),
                NextHeader::Ipv4,
                expected.sequence,
                &iv(expected),
            )
            .unwrap();
        assert_eq!(
            packet,
            bytes(expected.bytes),
            "{} {}",
            outbound.suite(),
            expected.esn
        );
    }
}

#[test]
fn the_packets_of_an_independent_implementation_open() {
    for packet in PACKETS {
        let (_, inbound) = pair(packet.suite, packet.esn);
        inbound.set_highest_sequence(packet.sequence - 1);
        let mut received = bytes(packet.bytes);
        let opened = inbound.open(&mut received).unwrap();
        assert_eq!(received[opened.payload], bytes(INNER));
        assert_eq!(opened.sequence, packet.sequence);
    }
}

#[test]
fn counter_suites_use_the_sequence_number_as_iv() {
    for expected in PACKETS.iter().filter(|packet| packet.suite.1.is_none()) {
        let (outbound, _) = pair(expected.suite, expected.esn);
        outbound.set_last_sequence(expected.sequence - 1);
        assert_eq!(super::seal(&outbound, &bytes(INNER)), bytes(expected.bytes));
    }
}

/// A test case of draft-mcgrew-gcm-test-01 section 4.
struct Gcm {
    /// Key and salt.
    keymat: &'static str,
    sequence: u64,
    esn: bool,
    packet: &'static str,
    /// With padding and trailer.
    plaintext: &'static str,
}

/// Without the one whose SPI is 0, and three whose keys and layout are those of others here.
const GCM: &[Gcm] = &[
    Gcm {
        keymat: "4c80cdefbb5d10da906ac73c3613a6342e443b68",
        sequence: 0x8765432100000000,
        esn: true,
        packet: "00004321000000004956ed7e3b244cfefecf537e729d5b07dc30df528dd22b768d1b9873\
            6696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff62\
            47aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
        plaintext: "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000\
            045f736970045f756470037369700963796265726369747902646b000021000101020201",
    },
    Gcm {
        keymat: "feffe9928665731c6d6a8f9467308308cafebabe",
        sequence: 0xa,
        esn: false,
        packet: "0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304a5a5897d\
            33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4\
            ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a",
        plaintext: "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d0010000010000\
            00000000037369700963796265726369747902646b00000100010001",
    },
    Gcm {
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
        sequence: 0x2,
        esn: false,
        packet: "4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d6a78107f\
            1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99def842d8eb335f4ee\
            cfdbf831824b4c4915956c96",
        plaintext: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee00000000070024000\
            20bf0000020405b40101040201020201",
    },
    Gcm {
        keymat: "3de09874b388e6491988d0c3607eae1f57690e43",
        sequence: 0x1010101010101010,
        esn: true,
        packet: "42f67e3f101010104e280000a2fca1a3fba2caa4853cf9f0f22cb10d86dd83b0fec75691\
            cf1a04b00d1138ec9c35791765acbd8701ad79845bf9fe3fba487bc91755e6662b4c8d0d\
            1f5e22739530320ae0d731cc978ecafaeae88f00e80d6e48",
        plaintext: "4500003c99c300008001cb7c40679318010101010800085c020043006162636465666768\
            696a6b6c6d6e6f707172737475767761626364656667686901020201",
    },
    Gcm {
        keymat: "3de09874b388e6491988d0c3607eae1f57690e43",
        sequence: 0x1010101010101010,
        esn: true,
        packet: "42f67e3f101010104e280000a2fca1a3fba2ca845e5df9f0f22c3e6e86dd831e1fc65792\
            cd1af9130e1379ed369f071f35e034be95f112e4e7d05d35",
        plaintext: "4500001c42a200008001441f406793b6e00000020a00f5ff01020201",
    },
    Gcm {
        keymat: "feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe",
        sequence: 0xa,
        esn: false,
        packet: "0000a5f80000000afacedbaddecaf888a5b1f8066029aea40e598b8122de02420938b3ab\
            33f828e687b8858b5bfbdbd0315b27452144cc7795457b9652037f5318027b5b4cd7a636",
        plaintext: "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e501016d0\
            75680001",
    },
    Gcm {
        keymat: "abbccddef00112233445566778899aabdecaf888",
        sequence: 0x1,
        esn: true,
        packet: "0000010000000001cafedebaceface7418a6fd42f72cbf4ab2a2ea901f73d814e3e7f243\
            d95412e1c349c1d2fbec168f9190feebaf2cb01984e65863965d7472b79da345e0e78019\
            1f0d2f0e0f496c226f2127b27db35724e7845d68651f57e65f354f75ff17015769623436",
        plaintext: "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d500004e20\
            001e8c18d75b81dc91baa0476b91b924b280389d92c963bac046ec959b6266c04722b149\
            23010101",
    },
    Gcm {
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab73616c74",
        sequence: 0x156f3126dd0db99b,
        esn: true,
        packet: "17405e67dd0db99b616e640169766563f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde\
            98ef67549d524a3018d9a57ff4d3a31ce673119e451626c2415771e3b7eebca614c89b35",
        plaintext: "45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb71260250101f64\
            6d540001",
    },
    Gcm {
        keymat: "7d773d00c144c525ac619d18c84a3f47d9664267",
        sequence: 0xffffffff,
        esn: false,
        packet: "335467aeffffffff43457e9182443bc6437f866bcb3f699fe9b0822bac961c4504bef270",
        plaintext: "01020201",
    },
    Gcm {
        keymat: "6c6567616c697a656d6172696a75616e61616e64646f69746265666f726569617475726e",
        sequence: 0xffffffffffffffff,
        esn: true,
        packet: "796b6963ffffffff333021696765746df97ab2aa356d8edce17644ac8c78e25dd24dedbb\
            29ebf1b64a274b39b49c3a864cd3d78ca4ae68a32b42458fb57dbe821dcc63b9d0937ba2\
            945f669368661a329fb4c053",
        plaintext: "45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768\
            696a6b6c6d6e6f707172737401020201",
    },
];

#[test]
fn the_gcm_packets_of_draft_mcgrew_are_authentic_and_decrypt() {
    for case in GCM {
        let keymat = Secret::new(bytes(case.keymat));
        let encryption = match keymat.len() {
            20 => Encryption::AesGcm128,
            28 => Encryption::AesGcm192,
            _ => Encryption::AesGcm256,
        };
        let mut packet = bytes(case.packet);
        let parameters = SaParameters {
            spi: Spi::of_packet(&packet).unwrap(),
            suite: Suite::new(encryption, None).unwrap(),
            keymat,
            integrity: Secret::default(),
            esn: case.esn,
            limits: crate::Limits::default(),
        };
        let inbound = InboundSa::new(&parameters, 64).unwrap();
        if case.sequence > 1 {
            inbound.set_highest_sequence(case.sequence - 1);
        }
        // The trailers say "ICMP", which no tunnel carries; by then the packet is authentic and
        // decrypted.
        assert_eq!(inbound.open(&mut packet), Err(DropReason::NextHeader));
        assert_eq!(inbound.highest_sequence(), case.sequence);
        let plaintext = bytes(case.plaintext);
        assert_eq!(packet[16..16 + plaintext.len()], plaintext);
    }
}

#[test]
fn the_chacha20_poly1305_packet_of_rfc_7634_appendix_a_is_sealed_and_opens() {
    let inner = bytes(
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec1000073627\
            08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b\
            2c2d2e2f3031323334353637",
    );
    let expected = bytes(
        &[
            // SPI, sequence number, IV.
            "01020304000000051011121314151617",
            "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099\
            d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b50\
            2773f6fb94e664da9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43",
        ]
        .concat(),
    );
    let parameters = SaParameters {
        spi: Spi(0x0102_0304),
        suite: Suite::new(Encryption::ChaCha20Poly1305, None).unwrap(),
        keymat: Secret::new((0x80..0xa4).collect()),
        integrity: Secret::default(),
        esn: false,
        limits: crate::Limits::default(),
    };
    let outbound = OutboundSa::new(&parameters).unwrap();
    let mut packet = vec![0; outbound.layout().sealed_len(inner.len())];
    packet[16..][..inner.len()].copy_from_slice(&inner);
    let iv: Vec<u8> = (0x10..0x18).collect();
    outbound
        .seal_with(&mut packet, inner.len(), NextHeader::Ipv4, 5, &iv)
        .unwrap();
    assert_eq!(packet, expected);
    let opened = InboundSa::new(&parameters, 64)
        .unwrap()
        .open(&mut packet)
        .unwrap();
    assert_eq!(packet[opened.payload], inner);
}

#[test]
fn the_tunnel_packet_of_rfc_3602_section_4_is_encrypted_the_same() {
    // Case 7. The RFC has no integrity algorithm, so the ICV is not compared.
    let inner = bytes(
        "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d02a20400\
            08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b\
            2c2d2e2f3031323334353637",
    );
    let expected = bytes(
        &[
            "0000876500000002",
            "f4e765244f6407adf13dc1380f673f37",
            "773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec7\
            8ac53aad7a0f022b859243c647752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2\
            201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
        ]
        .concat(),
    );
    let suite = Suite::new(Encryption::AesCbc128, Some(Integrity::HmacSha1_96)).unwrap();
    let parameters = SaParameters {
        spi: Spi(0x8765),
        suite,
        keymat: Secret::new(bytes("0123456789abcdef0123456789abcdef")),
        integrity: Secret::new(vec![1; 20]),
        esn: false,
        limits: crate::Limits::default(),
    };
    let outbound = OutboundSa::new(&parameters).unwrap();
    let mut packet = vec![0; outbound.layout().sealed_len(inner.len())];
    packet[24..][..inner.len()].copy_from_slice(&inner);
    let iv = bytes("f4e765244f6407adf13dc1380f673f37");
    outbound
        .seal_with(&mut packet, inner.len(), NextHeader::Ipv4, 2, &iv)
        .unwrap();
    assert_eq!(packet[..packet.len() - 12], expected);
    let opened = InboundSa::new(&parameters, 64)
        .unwrap()
        .open(&mut packet)
        .unwrap();
    assert_eq!(packet[opened.payload], inner);
}
