//! Diffie-Hellman: the MODP groups against values that Python and OpenSSL computed (see
//! `vectors/README.md`), and what holds for every group.

use std::collections::BTreeMap;

use crate::given::{hex, key_pair};
use crypto::{Error, Group};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    primes: BTreeMap<u16, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    group: u16,
    private: String,
    public: String,
    peer: String,
    shared: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/modp.json")).unwrap()
}

#[test]
fn modp_groups_compute_the_public_value_and_the_shared_secret_that_python_does() {
    let mut with_leading_zero = 0;
    for case in vectors().cases {
        let group = Group::from_id(case.group).unwrap();
        let ours = key_pair(group, &hex(&case.private));
        assert_eq!(ours.group(), group);
        assert_eq!(ours.public(), hex(&case.public), "{group}");
        let shared = ours.agree(&hex(&case.peer)).unwrap();
        assert_eq!(shared.expose(), hex(&case.shared), "{group}");
        with_leading_zero += usize::from(shared.expose().first() == Some(&0));
    }
    assert_eq!(
        with_leading_zero, 5,
        "a leading zero is part of the secret, once for each group"
    );
}

#[test]
fn modp_groups_refuse_public_values_outside_their_range() {
    for case in vectors().cases.iter().step_by(2) {
        let group = Group::from_id(case.group).unwrap();
        let prime = hex(&vectors().primes[&case.group]);
        let ours = key_pair(group, &hex(&case.private));

        // 0, 1, p-1, p and p+1: the primes end in 64 one bits, so the neighbours are easy to write.
        let mut zero = vec![0; prime.len()];
        let mut refused = vec![zero.clone()];
        *zero.last_mut().unwrap() = 1;
        refused.push(zero);
        let mut below = prime.clone();
        *below.last_mut().unwrap() -= 1;
        refused.extend([below.clone(), prime.clone(), vec![0xff; prime.len()]]);
        for public in refused {
            assert_eq!(
                ours.agree(&public),
                Err(Error::PublicInvalid { group }),
                "{group}"
            );
        }

        // 2 and p-2 are the first and the last that are allowed.
        let mut two = vec![0; prime.len()];
        *two.last_mut().unwrap() = 2;
        assert_eq!(
            ours.agree(&two).unwrap().expose(),
            ours.public(),
            "2 is the generator"
        );
        *below.last_mut().unwrap() -= 1;
        assert!(ours.agree(&below).is_ok(), "{group}");
    }
}

#[test]
fn every_group_refuses_a_public_value_of_another_length() {
    for group in Group::ALL {
        let ours = group.generate(&mut seeded(group.id().into()));
        let expected = group.public_len();
        for got in [0, 1, expected - 1, expected + 1] {
            let refused = ours.agree(&vec![2; got]);
            assert_eq!(
                refused,
                Err(Error::PublicLength {
                    group,
                    expected,
                    got
                })
            );
        }
    }
}

#[test]
fn two_sides_of_every_group_find_the_same_secret_and_a_third_another() {
    for group in Group::ALL {
        let [a, b, c] = [1, 2, 3].map(|seed| group.generate(&mut seeded(seed)));
        assert_eq!(a.public().len(), group.public_len());
        let shared = a.agree(b.public()).unwrap();
        assert_eq!(shared, b.agree(a.public()).unwrap(), "{group}");
        assert_ne!(shared, c.agree(a.public()).unwrap(), "{group}");
    }
}

#[test]
fn a_seed_decides_a_key_pair() {
    for group in Group::ALL {
        let [a, b, other] = [7, 7, 8].map(|seed| group.generate(&mut seeded(seed)));
        assert_eq!(a.public(), b.public());
        assert_ne!(a.public(), other.public());
    }
}

fn seeded(seed: u64) -> rand::rngs::StdRng {
    rand::SeedableRng::seed_from_u64(seed)
}
