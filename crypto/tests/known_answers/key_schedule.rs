//! The key schedule of IKEv2 against values from elsewhere: see `vectors/README.md`.

use crate::given::hex;
use crypto::ikev2::{ChildKeys, SkKeys, child_keys, initial_keys, psk_auth, rekeyed_keys};
use crypto::{Encryption, Error, Integrity, Prf, Secret, Suite};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prf: String,
    next_prf: String,
    suite: String,
    ni: String,
    nr: String,
    spi_i: String,
    spi_r: String,
    shared: String,
    initial: SevenKeys,
    next_ni: String,
    next_nr: String,
    next_spi_i: String,
    next_spi_r: String,
    next_shared: String,
    rekeyed: SevenKeys,
    child: FourKeys,
    child_pfs: FourKeys,
    psk: String,
    message: String,
    nonce: String,
    id: String,
    auth: String,
}

#[derive(Deserialize)]
pub(crate) struct SevenKeys {
    pub(crate) d: String,
    pub(crate) ai: String,
    pub(crate) ar: String,
    pub(crate) ei: String,
    pub(crate) er: String,
    pub(crate) pi: String,
    pub(crate) pr: String,
}

#[derive(Deserialize)]
pub(crate) struct FourKeys {
    ei: String,
    ai: String,
    er: String,
    ar: String,
}

impl SevenKeys {
    pub(crate) fn assert_equal(&self, keys: &SkKeys, what: &str) {
        let pairs = [
            (&self.d, &keys.d),
            (&self.ai, &keys.ai),
            (&self.ar, &keys.ar),
            (&self.ei, &keys.ei),
            (&self.er, &keys.er),
            (&self.pi, &keys.pi),
            (&self.pr, &keys.pr),
        ];
        for (expected, key) in pairs {
            assert_eq!(key.expose(), hex(expected), "{what}");
        }
    }
}

impl FourKeys {
    pub(crate) fn assert_equal(&self, keys: &ChildKeys, what: &str) {
        assert_eq!(keys.initiator.keymat.expose(), hex(&self.ei), "{what}");
        assert_eq!(keys.initiator.integrity.expose(), hex(&self.ai), "{what}");
        assert_eq!(keys.responder.keymat.expose(), hex(&self.er), "{what}");
        assert_eq!(keys.responder.integrity.expose(), hex(&self.ar), "{what}");
    }
}

#[test]
fn the_whole_schedule_is_what_an_independent_implementation_says() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/ikev2.json")).unwrap();
    let mut prfs = Vec::new();
    for case in vectors.cases {
        let (prf, next_prf) = (prf(&case.prf), prf(&case.next_prf));
        let suite = suite(&case.suite);
        let what = format!("{prf}, {suite}");

        let (ni, nr, shared) = (hex(&case.ni), hex(&case.nr), secret(&case.shared));
        let (spi_i, spi_r) = (spi(&case.spi_i), spi(&case.spi_r));
        let initial = initial_keys(prf, suite, &ni, &nr, &shared, spi_i, spi_r).unwrap();
        case.initial.assert_equal(&initial, &what);

        let child = child_keys(prf, &initial.d, None, &ni, &nr, suite).unwrap();
        case.child.assert_equal(&child, &what);

        let (ni, nr, shared) = (
            hex(&case.next_ni),
            hex(&case.next_nr),
            secret(&case.next_shared),
        );
        let child = child_keys(prf, &initial.d, Some(&shared), &ni, &nr, suite).unwrap();
        case.child_pfs.assert_equal(&child, &what);

        let (spi_i, spi_r) = (spi(&case.next_spi_i), spi(&case.next_spi_r));
        let rekeyed = rekeyed_keys(
            next_prf, suite, prf, &initial.d, &ni, &nr, &shared, spi_i, spi_r,
        )
        .unwrap();
        case.rekeyed.assert_equal(&rekeyed, &what);

        let maced_id = prf.compute(initial.pi.expose(), &[&hex(&case.id)]);
        let octets = [
            &hex(&case.message)[..],
            &hex(&case.nonce),
            maced_id.expose(),
        ];
        let auth = psk_auth(prf, &secret(&case.psk), &octets);
        assert_eq!(auth.expose(), hex(&case.auth), "{what}");
        prfs.extend([prf, next_prf]);
    }
    assert!(Prf::ALL.iter().all(|prf| prfs.contains(prf)));
}

#[test]
fn the_schedule_is_what_the_self_test_of_openssl_says() {
    // Copied as numbers from the first cases of OpenSSL's
    // test/recipes/30-test_evp_data/evpkdf_ikev2.txt.
    let (ni, nr) = (hex("3651FEF5C9C35E93"), hex("C09A8B90A3F04D59"));
    let (spi_i, spi_r) = (spi("8E5C3AE507221684"), spi("B1F201BB155C3ACD"));
    let shared = secret(
        "D084A30166A50FB7325C3960874A839449EF9741C2F4F947D0201DD8C1269273D79509F37E3CA3EB4FA2FE2A28254E28
         9CD3F34DAD4EB4DF1A07685A4B8A94FA61E2491F7598B3CE65547FF133B3F63D1AC4175EAA695033F3CEDB026A6873A3
         6455172A8540B8A5D23A0143BED0390EE49B168269D75FFFEE9FB62BE965993C",
    );
    let dkm = hex(
        "462B9DD525D4FD71169174272779E704BAF62C6231779AE9EFE8C58B21916B42
         010164AF2111EBD762F6916CA9A6F0EE05C8B320E4EE27705521DE2589ADEA18
         78F1A551738AF7C88DC4F0BB0C096A3F7D1F1A670FC79F49F678D60D665BB371",
    );
    let suite = suite("aes256-sha256");
    let keys = initial_keys(Prf::HmacSha256, suite, &ni, &nr, &shared, spi_i, spi_r).unwrap();
    assert_eq!(
        [keys.d.expose(), keys.ai.expose(), keys.ar.expose()].concat(),
        dkm
    );

    let child = child_keys(Prf::HmacSha256, &keys.d, None, &ni, &nr, suite).unwrap();
    let expected = "23647677E7D403FA1E3006F19840AEE18AD9FECC4215814C4131BDEBA98433D8";
    assert_eq!(child.initiator.keymat.expose(), hex(expected));

    let shared = secret(
        "52F00AB174C25D5B7139AE5FF4E8E9EDDEE5992D2E36ADF8A559FFD90DAB1442E4FBE429D320C0F33552A17D1557FA41
         EA70E8FB916C4FA27ED52B5F8EBD8461AFA78F1159159A64055AC5F6319E29C28EAE58CBC6847770F32C3FED1D047504
         84F854790F95E9EC01BC5BC461F24966462E359511329305038E94DEB6DD42C2",
    );
    let child = child_keys(Prf::HmacSha256, &keys.d, Some(&shared), &ni, &nr, suite).unwrap();
    let expected = "6A919387A5FA2835FE8A8237E4A14845BD2B9930DB87EFF7ADF268F621860049";
    assert_eq!(child.initiator.keymat.expose(), hex(expected));

    // The case gives SKEYSEED; the keys follow from it by prf+.
    let skeyseed = hex("90722C42BD849E9B72D240FC254174270FA8295DE6F0338DAFC303A9EC104F12");
    let prf = Prf::HmacSha256;
    let rekeyed = rekeyed_keys(prf, suite, prf, &keys.d, &ni, &nr, &shared, spi_r, spi_i).unwrap();
    let d = prf
        .plus(&skeyseed, &[&ni, &nr, &spi_r, &spi_i], 32)
        .unwrap();
    assert_eq!(rekeyed.d, d);
}

#[test]
fn prf_plus_gives_255_outputs_and_not_one_octet_more() {
    for prf in Prf::ALL {
        let limit = 255 * prf.output_len();
        let all = prf.plus(b"key", &[b"se", b"ed"], limit).unwrap();
        assert_eq!(all.len(), limit);
        // Every shorter stream is its beginning, and the parts of a seed are one seed.
        for len in [
            0,
            1,
            prf.output_len() - 1,
            prf.output_len(),
            prf.output_len() + 1,
        ] {
            let stream = prf.plus(b"key", &[b"seed"], len).unwrap();
            assert_eq!(stream.expose(), &all.expose()[..len]);
        }
        let refused = prf.plus(b"key", &[b"seed"], limit + 1);
        assert_eq!(
            refused,
            Err(Error::PrfPlusTooLong {
                requested: limit + 1,
                limit
            })
        );
    }
}

pub(crate) fn secret(digits: &str) -> Secret {
    Secret::new(hex(digits))
}

pub(crate) fn spi(digits: &str) -> [u8; 8] {
    hex(digits).try_into().unwrap()
}

pub(crate) fn prf(name: &str) -> Prf {
    Prf::ALL
        .into_iter()
        .find(|prf| prf.to_string() == name)
        .unwrap()
}

pub(crate) fn suite(name: &str) -> Suite {
    let mut integrities = vec![None];
    integrities.extend(Integrity::ALL.map(Some));
    Encryption::ALL
        .into_iter()
        .flat_map(|encryption| {
            integrities
                .iter()
                .map(move |&integrity| (encryption, integrity))
        })
        .filter_map(|(encryption, integrity)| Suite::new(encryption, integrity).ok())
        .find(|suite| suite.to_string() == name)
        .unwrap()
}
