//! Additional key exchanges in the key schedule (RFC 9242, RFC 9370) against values from elsewhere: see `vectors/README.md`.

use crate::given::hex;
use crate::key_schedule::{SevenKeys, prf, secret, spi, suite};
use crypto::Prf;
use crypto::ikev2::{initial_keys, intermediate_auth, psk_auth, rekeyed_keys, updated_keys};
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
    initial: SevenKeys,
    request: String,
    response: String,
    int_auth_i: String,
    int_auth_r: String,
    additional: String,
    updated: SevenKeys,
    psk: String,
    message: String,
    id: String,
    message_id: u32,
    auth: String,
    next_ni: String,
    next_nr: String,
    next_spi_i: String,
    next_spi_r: String,
    next_shared: String,
    next_additional: String,
    rekeyed: SevenKeys,
}

#[test]
fn an_additional_key_exchange_changes_all_keys_and_what_auth_covers() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../vectors/additional.json")).unwrap();
    assert_eq!(vectors.cases.len(), Prf::ALL.len());
    for case in vectors.cases {
        let (prf, suite) = (prf(&case.prf), suite(&case.suite));
        let what = format!("{prf}, {suite}");
        let (ni, nr) = (hex(&case.ni), hex(&case.nr));
        let (spi_i, spi_r) = (spi(&case.spi_i), spi(&case.spi_r));
        let shared = secret(&case.shared);
        let initial = initial_keys(prf, suite, &ni, &nr, &shared, spi_i, spi_r).unwrap();
        case.initial.assert_equal(&initial, &what);

        let int_auth_i = intermediate_auth(prf, &initial.pi, &[], &hex(&case.request));
        let int_auth_r = intermediate_auth(prf, &initial.pr, &[], &hex(&case.response));
        assert_eq!(int_auth_i.expose(), hex(&case.int_auth_i), "{what}");
        assert_eq!(int_auth_r.expose(), hex(&case.int_auth_r), "{what}");

        let shared = secret(&case.additional);
        let updated =
            updated_keys(prf, suite, &initial.d, &ni, &nr, &shared, spi_i, spi_r).unwrap();
        case.updated.assert_equal(&updated, &what);

        let maced_id = prf.compute(updated.pi.expose(), &[&hex(&case.id)]);
        let octets = [
            &hex(&case.message)[..],
            &nr,
            maced_id.expose(),
            int_auth_i.expose(),
            int_auth_r.expose(),
            &case.message_id.to_be_bytes(),
        ];
        let auth = psk_auth(prf, &secret(&case.psk), &octets);
        assert_eq!(auth.expose(), hex(&case.auth), "{what}");

        let (ni, nr) = (hex(&case.next_ni), hex(&case.next_nr));
        let (spi_i, spi_r) = (spi(&case.next_spi_i), spi(&case.next_spi_r));
        let shared = secret(&case.next_shared);
        let additional = secret(&case.next_additional);
        let rekeyed = rekeyed_keys(
            prf,
            suite,
            prf,
            &updated.d,
            &ni,
            &nr,
            &shared,
            Some(&additional),
            spi_i,
            spi_r,
        )
        .unwrap();
        case.rekeyed.assert_equal(&rekeyed, &what);
    }
}
