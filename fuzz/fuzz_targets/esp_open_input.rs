//! What the bytes of an `esp_open` input mean; shared by the fuzz target and the test that replays
//! its corpus.

use crypto::{Encryption, Integrity, Secret, Suite};
use esp::{
    DropReason, InboundSa, Limits, MAX_TOO_BIG_LEN, SaParameters, Spi, clamp_mss, decapsulate_ecn,
    fragments, too_big,
};

const SUITES: [(Encryption, Option<Integrity>); 4] = [
    (Encryption::AesGcm128, None),
    (Encryption::AesCbc256, Some(Integrity::HmacSha1_96)),
    (Encryption::ChaCha20Poly1305, None),
    (Encryption::AesCbc128, Some(Integrity::HmacSha384_192)),
];

/// Opens the input: one byte chooses suite and ESN, one the outer TOS, the rest is the packet. Keys
/// count up from 1, and the SPI is the packet's own, so that only the ICV stands between the fuzzer
/// and the decrypted packet; committed seeds have a right one. What opens goes through all that the
/// data plane does with it.
pub(crate) fn open(input: &[u8]) -> Option<Result<usize, DropReason>> {
    let (&[choice, tos], packet) = input.split_first_chunk()?;
    let (encryption, integrity) = *SUITES.get(usize::from(choice & 3))?;
    let suite = Suite::new(encryption, integrity).ok()?;
    let key = |len: usize| Secret::new((1..=u8::MAX).take(len).collect());
    let parameters = SaParameters {
        spi: Spi::of_packet(packet)?,
        suite,
        keymat: key(suite.keymat_len()),
        integrity: key(suite.integrity_key_len()),
        esn: choice & 4 != 0,
        limits: Limits::default(),
    };
    let inbound = InboundSa::new(&parameters, 64).ok()?;
    let mut packet = packet.to_vec();
    let opened = match inbound.open(&mut packet) {
        Ok(opened) => opened,
        Err(reason) => return Some(Err(reason)),
    };
    let inner = packet.get_mut(opened.payload)?;
    assert_eq!(inner.len(), opened.inner.total_len);
    if let Err(reason) = decapsulate_ecn(inner, &opened.inner, tos) {
        return Some(Err(reason));
    }
    let mtu = 576 + u16::from(tos);
    clamp_mss(inner, &opened.inner, mtu);
    let _ = too_big(inner, &opened.inner, mtu, &mut [0; MAX_TOO_BIG_LEN]);
    for fragment in fragments(inner, &opened.inner, mtu) {
        assert!(fragment.len() <= usize::from(mtu));
        assert!(
            fragment
                .write(inner, &mut vec![0; fragment.len()])
                .is_some()
        );
    }
    Some(Ok(inner.len()))
}
