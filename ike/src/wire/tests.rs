//! Tables of bytes and values, used both ways; and what may never happen on any bytes.

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| char::from(b).to_digit(16).expect("a hex digit"))
        .map(|d| u8::try_from(d).expect("below 16"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn header(exchange: Exchange, first: u8, flags: Flags, message_id: u32) -> Header {
    Header {
        spi_i: IkeSpi(*b"ABCDEFGH"),
        spi_r: IkeSpi::ZERO,
        next_payload: first,
        exchange,
        flags,
        message_id,
    }
}

fn net(text: &str) -> TrafficSelector {
    text.parse::<IpNet>().expect("a network").into()
}

/// Written by hand from the figures of RFC 7296 section 3.
fn table() -> Vec<(&'static str, Message)> {
    let request = Flags {
        initiator: true,
        response: false,
    };
    let answer = Flags {
        initiator: false,
        response: true,
    };
    let sa = Proposal {
        number: 1,
        protocol: Protocol::Ike,
        spi: Vec::new(),
        transforms: vec![
            Transform::with_key(TransformType::Encryption, 12, Some(256)),
            Transform::new(TransformType::Prf, 2),
            Transform::new(TransformType::Integrity, 2),
            Transform::new(TransformType::Group, 14),
        ],
    };
    let esp = |number, esn| Proposal {
        number,
        protocol: Protocol::Esp,
        spi: vec![1, 2, 3, 4],
        transforms: vec![Transform::new(TransformType::Esn, esn)],
    };
    vec![
        (
            "4142434445464748 0000000000000000 21 20 22 08 00000000 0000005c
             2200 0030  0000 002c 01 01 00 04
               0300 000c 01 00 000c 800e 0100
               0300 0008 02 00 0002
               0300 0008 03 00 0002
               0000 0008 04 00 000e
             0000 0010  000e 0000 0102030405060708",
            Message {
                header: header(Exchange::IkeSaInit, 33, request, 0),
                payloads: vec![
                    Payload::Sa(vec![sa]),
                    Payload::Ke(KeyExchange {
                        group: 14,
                        data: (1..=8).collect(),
                    }),
                ],
            },
        ),
        (
            "4142434445464748 0000000000000000 29 20 22 20 00000000 00000038
             2900 0012 00 00 4006 00010203040506070809
             0000 000a 00 00 0011 0013",
            Message {
                header: header(Exchange::IkeSaInit, 41, answer, 0),
                payloads: vec![
                    Payload::Notify(Notify::with_data(NotifyType::COOKIE, (0..10).collect())),
                    Payload::Notify(Notify::with_data(
                        NotifyType::INVALID_KE_PAYLOAD,
                        vec![0, 19],
                    )),
                ],
            },
        ),
        (
            "4142434445464748 0000000000000000 23 20 23 08 00000001 000000e7
             2700 000c 01 000000 c0000201
             2400 0010 02 000000 deadbeef01020304
             2300 000f 02 000000 6472672e636f6d
             2300 000b 03 000000 614062
             2300 0018 05 000000 20010db8000000000000000000000001
             2300 000a 0b 000000 0102
             2300 000a 09 000000 3000
             2100 0009 0a 000000 30
             2c00 0024 0200 0014 01 03 04 01 01020304 0000 0008 05 00 0001
                       0000 000c 02 03 04 00 01020304
             2d00 0018 01 000000 07 00 0010 0000 ffff 00000000 ffffffff
             0000 0018 01 000000 07 06 0010 0050 0051 0a000000 0a0000ff",
            Message {
                header: header(Exchange::IkeAuth, 35, request, 1),
                payloads: vec![
                    Payload::IdI(Identity::Ipv4([192, 0, 2, 1].into())),
                    Payload::Auth {
                        method: 2,
                        data: vec![0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4],
                    },
                    Payload::IdR(Identity::Fqdn("drg.com".into())),
                    Payload::IdI(Identity::Email("a@b".into())),
                    Payload::IdI(Identity::Ipv6("2001:db8::1".parse().expect("an address"))),
                    Payload::IdI(Identity::KeyId(vec![1, 2])),
                    Payload::IdI(Identity::Dn(vec![0x30, 0])),
                    Payload::IdI(Identity::Other {
                        kind: 10,
                        data: vec![0x30],
                    }),
                    Payload::Sa(vec![
                        esp(1, 1),
                        Proposal {
                            transforms: Vec::new(),
                            ..esp(2, 1)
                        },
                    ]),
                    Payload::TsI(vec![TrafficSelector::any_v4()]),
                    Payload::TsR(vec![net("10.0.0.0/24").restricted(6, 80, 81)]),
                ],
            },
        ),
        (
            "4142434445464748 0000000000000000 2a 20 25 08 00000005 00000034
             2a00 0010 03 04 0002 11111111 22222222
             0000 0008 01 00 0000",
            Message {
                header: header(Exchange::Informational, 42, request, 5),
                payloads: vec![
                    Payload::Delete(Delete {
                        protocol: Protocol::Esp,
                        spis: vec![0x1111_1111, 0x2222_2222],
                    }),
                    Payload::Delete(Delete {
                        protocol: Protocol::Ike,
                        spis: Vec::new(),
                    }),
                ],
            },
        ),
        (
            "4142434445464748 0000000000000000 2c 20 24 28 00000007 00000064
             2b00 0040 02 000000
               07 00 0010 0000 ffff 00000000 ffffffff
               08 11 0028 01f4 01f4 20010db8000000000000000000000000
                                    20010db8000000000000000000000fff
             0000 0008 43575931",
            Message {
                header: header(
                    Exchange::CreateChildSa,
                    44,
                    Flags {
                        initiator: true,
                        response: true,
                    },
                    7,
                ),
                payloads: vec![
                    Payload::TsI(vec![
                        TrafficSelector::any_v4(),
                        net("2001:db8::/116").restricted(17, 500, 500),
                    ]),
                    Payload::Vendor(b"CWY1".to_vec()),
                ],
            },
        ),
        (
            "4142434445464748 0000000000000000 21 20 24 00 00000002 0000004c
             0000 0030
               0200 0014 01 03 04 01 01020304 0000 0008 05 00 0000
               0000 0018 02 03 04 01 01020304 0000 000c 05 00 0001 800e 0080",
            Message {
                header: header(Exchange::CreateChildSa, 33, Flags::default(), 2),
                payloads: vec![Payload::Sa(vec![esp(1, 0), {
                    let mut second = esp(2, 1);
                    second.transforms[0].key_bits = Some(128);
                    second
                }])],
            },
        ),
    ]
}

#[test]
fn the_table_holds_both_ways() {
    for (n, (text, message)) in table().into_iter().enumerate() {
        let bytes = hex(text);
        let mut fixed = bytes.clone();
        let len = u32::try_from(bytes.len()).expect("short");
        fixed[24..28].copy_from_slice(&len.to_be_bytes());
        assert_eq!(Message::decode(&fixed), Ok(message.clone()), "entry {n}");
        assert_eq!(message.encode(), fixed, "entry {n}");
    }
}

#[test]
fn no_prefix_of_a_message_decodes_or_panics() {
    for (text, _) in table() {
        let bytes = hex(text);
        for len in 0..bytes.len() {
            assert!(Message::decode(&bytes[..len]).is_err());
            let _ = sk::inspect(&bytes[..len]);
            // The same with a header that tells the shortened length.
            let mut cut = bytes[..len].to_vec();
            if let Some(field) = cut.get_mut(24..28) {
                field.copy_from_slice(&u32::try_from(len).expect("short").to_be_bytes());
                let _ = Message::decode(&cut);
                let _ = sk::inspect(&cut);
            }
        }
    }
}

#[test]
fn a_critical_payload_that_nobody_knows_is_refused_and_a_known_one_is_not() {
    let message = |kind: u8, critical: u8| {
        let mut bytes = hex("4142434445464748 0000000000000000 00 20 22 08 00000000 00000020");
        bytes[16] = kind;
        bytes.extend_from_slice(&[0, critical, 0, 4]);
        Message::decode(&bytes)
    };
    assert_eq!(
        message(200, 0x80),
        Err(WireError::UnsupportedCritical { payload_type: 200 })
    );
    assert!(message(200, 0).is_ok());
    // CERTREQ is defined, so its critical bit means nothing (RFC 7296 section 2.5).
    assert!(message(38, 0x80).is_ok());
}

#[test]
fn selectors_meet_where_both_cover() {
    let cases = [
        ("0.0.0.0/0", "10.0.0.0/8", Some("10.0.0.0/8")),
        ("10.1.0.0/16", "10.0.0.0/8", Some("10.1.0.0/16")),
        ("10.1.0.0/16", "10.2.0.0/16", None),
        ("::/0", "0.0.0.0/0", None),
        ("2001:db8::/32", "::/0", Some("2001:db8::/32")),
    ];
    for (a, b, both) in cases {
        assert_eq!(net(a).intersect(&net(b)), both.map(net), "{a} and {b}");
        assert_eq!(net(b).intersect(&net(a)), both.map(net), "{b} and {a}");
        assert_eq!(net(a).to_string(), a);
    }
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), any::<Option<u16>>()).prop_map(|(kind, id, key_bits)| {
        let kind = match kind % 6 {
            0 => TransformType::Encryption,
            1 => TransformType::Prf,
            2 => TransformType::Integrity,
            3 => TransformType::Group,
            4 => TransformType::Esn,
            _ => TransformType::Other(kind | 0x80),
        };
        Transform::with_key(kind, id, key_bits)
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let spi = prop_oneof![Just(0usize), Just(4), Just(8)]
        .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    (any::<u8>(), spi, prop::collection::vec(transform(), 0..20)).prop_map(
        |(number, spi, transforms)| {
            let protocol = if spi.len() == 4 {
                Protocol::Esp
            } else {
                Protocol::Ike
            };
            Proposal {
                number,
                protocol,
                spi,
                transforms,
            }
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    let bytes = |range| prop::collection::vec(any::<u8>(), range);
    let selectors = prop::collection::vec(
        (any::<u32>(), 0u8..=32).prop_map(|(address, len)| {
            let net = ipnet::Ipv4Net::new(address.into(), len).expect("a prefix length");
            TrafficSelector::from(IpNet::from(net))
        }),
        0..8,
    );
    prop_oneof![
        prop::collection::vec(proposal(), 1..6).prop_map(Payload::Sa),
        (any::<u16>(), bytes(0..300))
            .prop_map(|(group, data)| Payload::Ke(KeyExchange { group, data })),
        any::<[u8; 4]>().prop_map(|a| Payload::IdI(Identity::Ipv4(a.into()))),
        any::<[u8; 16]>().prop_map(|a| Payload::IdR(Identity::Ipv6(a.into()))),
        "[a-z.]{0,40}".prop_map(|name| Payload::IdI(Identity::Fqdn(name))),
        bytes(0..40).prop_map(|id| Payload::IdR(Identity::KeyId(id))),
        (any::<u8>(), bytes(0..64)).prop_map(|(method, data)| Payload::Auth { method, data }),
        bytes(16..257).prop_map(Payload::Nonce),
        (any::<u8>(), bytes(0..9), any::<u16>(), bytes(0..64)).prop_map(
            |(protocol, spi, kind, data)| {
                Payload::Notify(Notify {
                    protocol,
                    spi,
                    kind: NotifyType(kind),
                    data,
                })
            }
        ),
        prop::collection::vec(any::<u32>(), 0..9).prop_map(|spis| Payload::Delete(Delete {
            protocol: Protocol::Esp,
            spis
        })),
        bytes(0..40).prop_map(Payload::Vendor),
        selectors.prop_map(Payload::TsI),
    ]
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same(
        payloads in prop::collection::vec(payload(), 0..8),
        message_id: u32,
        response: bool,
    ) {
        let flags = Flags { initiator: !response, response };
        let mut header = header(Exchange::IkeAuth, 0, flags, message_id);
        let bytes = Message { header, payloads: payloads.clone() }.encode();
        header.next_payload = bytes[16];
        prop_assert_eq!(Message::decode(&bytes), Ok(Message { header, payloads }));
    }

    #[test]
    fn arbitrary_bytes_never_panic(first: u8, body in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(payloads) = decode_chain(first, &body) {
            let mut out = Writer::new();
            let again = encode_chain(&payloads, &mut out);
            // Reserved bits, foreign attributes and unknown selectors are lost, nothing else.
            prop_assert!(decode_chain(again, &out.into_bytes()).is_ok());
        }
        let _ = Message::decode(&body);
        let _ = sk::inspect(&body);
    }
}

#[test]
fn what_auth_covers_of_ike_intermediate_is_as_if_it_were_neither_encrypted_nor_cut() {
    // By hand from RFC 9242 section 3.3.2: lengths of 44 and 16 octets, whatever IV, padding and checksum add, and type 46 in the header.
    let expected = hex(
        "4142434445464748 4142434445464749 2E 20 2B 08 00000001 0000002C
         22 00 0010
         00 00 000C 0024 0000 01020304",
    );
    let header = Header {
        spi_r: IkeSpi(*b"ABCDEFGI"),
        ..header(
            Exchange::IkeIntermediate,
            PayloadType::SKF,
            Flags {
                initiator: true,
                response: false,
            },
            1,
        )
    };
    let payloads = [Payload::Ke(KeyExchange {
        group: 36,
        data: vec![1, 2, 3, 4],
    })];
    assert_eq!(sk::intermediate_octets_of(header, &payloads), expected);
    let body = &expected[HEADER_LEN + 4..];
    assert_eq!(sk::intermediate_octets(header, 34, body), expected);
}
