//! Tests that need to choose sequence numbers and IVs.

mod packets;
mod published;
mod sa;

use crypto::{Encryption, Integrity, Secret, Suite};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::{InboundSa, Limits, MAX_OVERHEAD, NextHeader, OutboundSa, SaParameters, Spi};

/// Every suite that can be negotiated.
pub(crate) const SUITES: [(Encryption, Option<Integrity>); 16] = [
    (Encryption::AesCbc128, Some(Integrity::HmacSha1_96)),
    (Encryption::AesCbc128, Some(Integrity::HmacSha256_128)),
    (Encryption::AesCbc128, Some(Integrity::HmacSha384_192)),
    (Encryption::AesCbc128, Some(Integrity::HmacSha512_256)),
    (Encryption::AesCbc192, Some(Integrity::HmacSha1_96)),
    (Encryption::AesCbc192, Some(Integrity::HmacSha256_128)),
    (Encryption::AesCbc192, Some(Integrity::HmacSha384_192)),
    (Encryption::AesCbc192, Some(Integrity::HmacSha512_256)),
    (Encryption::AesCbc256, Some(Integrity::HmacSha1_96)),
    (Encryption::AesCbc256, Some(Integrity::HmacSha256_128)),
    (Encryption::AesCbc256, Some(Integrity::HmacSha384_192)),
    (Encryption::AesCbc256, Some(Integrity::HmacSha512_256)),
    (Encryption::AesGcm128, None),
    (Encryption::AesGcm192, None),
    (Encryption::AesGcm256, None),
    (Encryption::ChaCha20Poly1305, None),
];

pub(crate) const SPI: Spi = Spi(0xc0ff_ee01);

/// Keys that count up: from 1 for the cipher, from 0x80 for the MAC.
pub(crate) fn parameters(suite: (Encryption, Option<Integrity>), esn: bool) -> SaParameters {
    let suite = Suite::new(suite.0, suite.1).unwrap();
    let count = |from: u8, len: usize| Secret::new((from..).take(len).collect());
    SaParameters {
        spi: SPI,
        suite,
        keymat: count(1, suite.keymat_len()),
        integrity: count(0x80, suite.integrity_key_len()),
        esn,
        limits: Limits::default(),
    }
}

pub(crate) fn pair(suite: (Encryption, Option<Integrity>), esn: bool) -> (OutboundSa, InboundSa) {
    let parameters = parameters(suite, esn);
    (
        OutboundSa::new(&parameters).unwrap(),
        InboundSa::new(&parameters, 1024).unwrap(),
    )
}

/// An IPv4 UDP packet of this length, at least 20.
pub(crate) fn inner(len: usize) -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2,
    ];
    packet.extend((0..).map(|i: u32| i as u8).take(len - packet.len()));
    packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    packet
}

/// The ESP packet for an inner packet.
pub(crate) fn seal(sa: &OutboundSa, inner: &[u8]) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut buffer = [vec![0; MAX_OVERHEAD], inner.to_vec(), vec![0; MAX_OVERHEAD]].concat();
    let payload = MAX_OVERHEAD..MAX_OVERHEAD + inner.len();
    let sealed = sa
        .seal(&mut buffer, payload, NextHeader::Ipv4, &mut rng)
        .unwrap();
    buffer[sealed.packet].to_vec()
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0);
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
