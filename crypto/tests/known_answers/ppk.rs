//! Post-quantum pre-shared keys in the key schedule (RFC 8784) against values from elsewhere: see `vectors/README.md`.

use crate::given::hex;
use crate::key_schedule::{FourKeys, SevenKeys, prf, secret, spi, suite};
use crypto::ikev2::{child_keys, initial_keys, mix_ppk, psk_auth, rekeyed_keys};
use crypto::{Prf, Secret};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prf: String,
    suite: String,
    ni: String,
    nr: String,
    spi_i: String,
    spi_r: String,
    shared: String,
    ppk: String,
    plain: SevenKeys,
    mixed: ThreeKeys,
    psk: String,
    message: String,
    id: String,
    no_ppk_auth: String,
    auth: String,
    child: FourKeys,
    next_ni: String,
    next_nr: String,
    next_spi_i: String,
    next_spi_r: String,
    next_shared: String,
    rekeyed: SevenKeys,
}

#[derive(Deserialize)]
struct ThreeKeys {
    d: String,
    pi: String,
    pr: String,
}

#[test]
fn a_ppk_changes_three_keys_and_all_that_follows_from_them() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/ppk.json")).unwrap();
    assert_eq!(vectors.cases.len(), Prf::ALL.len());
    for case in vectors.cases {
        let (prf, suite, ppk) = (prf(&case.prf), suite(&case.suite), secret(&case.ppk));
        let what = format!("{prf}, {suite}");
        let (ni, nr) = (hex(&case.ni), hex(&case.nr));
        let (spi_i, spi_r) = (spi(&case.spi_i), spi(&case.spi_r));
        let shared = secret(&case.shared);
        let plain = initial_keys(prf, suite, &ni, &nr, &shared, spi_i, spi_r).unwrap();
        case.plain.assert_equal(&plain, &what);

        let mix = |key| mix_ppk(prf, &ppk, key).unwrap();
        let (d, pi, pr) = (mix(&plain.d), mix(&plain.pi), mix(&plain.pr));
        assert_eq!(d.expose(), hex(&case.mixed.d), "{what}");
        assert_eq!(pi.expose(), hex(&case.mixed.pi), "{what}");
        assert_eq!(pr.expose(), hex(&case.mixed.pr), "{what}");

        let auth = |key: &Secret| {
            let maced_id = prf.compute(key.expose(), &[&hex(&case.id)]);
            let octets = [&hex(&case.message)[..], &nr, maced_id.expose()];
            psk_auth(prf, &secret(&case.psk), &octets)
        };
        assert_eq!(auth(&pi).expose(), hex(&case.auth), "{what}");
        assert_eq!(auth(&plain.pi).expose(), hex(&case.no_ppk_auth), "{what}");

        let child = child_keys(prf, &d, None, &ni, &nr, suite).unwrap();
        case.child.assert_equal(&child, &what);

        let (ni, nr) = (hex(&case.next_ni), hex(&case.next_nr));
        let (spi_i, spi_r) = (spi(&case.next_spi_i), spi(&case.next_spi_r));
        let shared = secret(&case.next_shared);
        let rekeyed = rekeyed_keys(prf, suite, prf, &d, &ni, &nr, &shared, spi_i, spi_r).unwrap();
        case.rekeyed.assert_equal(&rekeyed, &what);
    }
}
