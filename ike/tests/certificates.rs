//! Certificates in place of pre-shared keys, in both roles: who gets in, and what is said of those who do not.

#![expect(clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{A, ADDRESSES, B, Pair, connection, ms, secs};
use crypto::Secret;
use crypto::signature::SigningKey;
use crypto::x509::{Credential, Trust};
use ike::wire::{Exchange, Message, NotifyType, Payload};
use ike::{Auth, Cause, CertificateFault, Certificates, Command, Event, Identity, Ppk};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// 2026-11-21, in seconds since 1970 began.
const NOW: u64 = 1_795_219_200;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn issue(&self, key: &KeyPair, name: &str, names: &[String]) -> Auth {
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        let key = SigningKey::from_pem(&Secret::new(key.serialize_pem().into_bytes()));
        let credential = Credential::new(certificate.pem().as_bytes(), key.expect("a key"));
        Auth::Certificate(Arc::new(Certificates {
            credential: credential.expect("a credential"),
            trust: Trust::new(self.pem.as_bytes()).expect("an authority"),
        }))
    }

    /// A certificate with the side's address.
    fn of(&self, side: usize) -> Auth {
        let key = KeyPair::generate().expect("a key");
        self.issue(&key, ["a", "b"][side], &[ADDRESSES[side].to_string()])
    }
}

/// A initiates; `change` has the last word about both connections.
fn start(change: impl FnOnce(&Authority, &mut [ike::Connection; 2])) -> Pair {
    let authority = Authority::new("root");
    let mut both = [connection(A), connection(B)];
    for side in [A, B] {
        both[side].auth = authority.of(side);
    }
    both[B].initiate = false;
    change(&authority, &mut both);
    let mut pair = Pair::new().with_traffic(ms(10));
    for side in &mut pair.sides {
        side.endpoint.set_clock(pair.start, NOW);
    }
    let [a, b] = both;
    pair.add(B, b);
    pair.add(A, a);
    pair
}

fn run(change: impl FnOnce(&Authority, &mut [ike::Connection; 2])) -> Pair {
    let mut pair = start(change);
    pair.run_for(secs(5));
    pair
}

/// What a side has against the other's proof.
fn fault(pair: &Pair, side: usize) -> CertificateFault {
    assert!(!pair.is_up());
    let of = |event: &Event| match event {
        Event::Failure(diagnosis) => match &diagnosis.cause {
            Cause::Certificate { fault } => Some((**fault).clone()),
            _ => None,
        },
        _ => None,
    };
    let found = pair.sides[side].events.iter().find_map(of);
    found.unwrap_or_else(|| panic!("{:?}", pair.failures(side)))
}

fn sealed_sizes(pair: &Pair, side: usize) -> usize {
    pair.sides[side]
        .sent
        .iter()
        .map(|sent| sent.payload.len())
        .max()
        .unwrap_or(0)
}

#[test]
fn certificates_of_one_authority_bring_the_tunnel_up_and_are_in_the_status() {
    let mut pair = run(|_, _| {});
    pair.assert_one_working_child();
    let [a, b] = pair.status();
    for (status, subject) in [(a, "CN=b"), (b, "CN=a")] {
        let certificate = status.connections[0].ike_sas[0].certificate.clone();
        let certificate = certificate.expect("a certificate");
        assert!(
            certificate.subject.contains(subject),
            "{}",
            certificate.subject
        );
        assert!(certificate.issuer.contains("CN=root") && certificate.not_after > NOW);
    }
    assert!(sealed_sizes(&pair, A) <= 1280);
    // It is still known after the IKE SA has been replaced.
    pair.command(A, Command::RekeyIke(common::ID));
    pair.run_for(secs(30));
    pair.assert_one_working_child();
    let certificate = &pair.status()[A].connections[0].ike_sas[0].certificate;
    assert!(certificate.is_some());
}

#[test]
fn it_comes_up_over_a_bad_link_and_with_a_post_quantum_key() {
    let mut pair = start(|_, both| {
        for c in both {
            c.ppk = Some(Ppk {
                id: "k1".to_owned(),
                secret: Secret::from_slice(b"thirty-two octets that nobody knows"),
                required: true,
            });
        }
    })
    .lossy(0.2);
    pair.run_for(secs(60));
    pair.set_loss(0.0);
    pair.run_for(secs(20));
    pair.assert_one_working_child();
    assert!(
        pair.status()
            .iter()
            .all(|side| side.connections[0].ike_sas[0].ppk)
    );
}

#[test]
fn pre_shared_keys_say_nothing_of_certificates() {
    let pair = run(|_, both| {
        for side in [A, B] {
            both[side].auth = connection(side).auth;
        }
    });
    pair.assert_one_working_child();
    for sent in pair.sides.iter().flat_map(|side| &side.sent) {
        if let Ok(message) = Message::decode(&sent.payload)
            && message.header.exchange == Exchange::IkeSaInit
        {
            assert!(message.payloads.iter().all(|payload| match payload {
                Payload::Notify(n) => n.kind != NotifyType::SIGNATURE_HASH_ALGORITHMS,
                Payload::CertReq { .. } => false,
                _ => true,
            }));
        }
    }
}

#[test]
fn a_responder_asks_for_its_authorities_in_its_first_message() {
    let pair = run(|_, _| {});
    let first = pair.sides[B].sent.first().expect("a response");
    let message = Message::decode(&first.payload).expect("a message");
    let asked = message.payloads.iter().find_map(|payload| match payload {
        Payload::CertReq { encoding: 4, data } => Some(data.len()),
        _ => None,
    });
    assert_eq!(asked, Some(20));
}

#[test]
fn nothing_falls_back_from_certificates_to_a_key_or_back() {
    let pair = run(|_, both| both[B].auth = connection(B).auth);
    assert!(!pair.is_up());
    assert!(
        pair.failures(B)[0].contains("authenticates by method"),
        "{:?}",
        pair.failures(B)
    );
    let pair = run(|_, both| both[A].auth = connection(A).auth);
    assert_eq!(fault(&pair, B), CertificateFault::Method { method: 2 });
}

#[test]
fn another_authority_is_refused_on_whichever_side_it_is() {
    let pair = run(|_, both| both[A].auth = Authority::new("other").of(A));
    let CertificateFault::Untrusted { reason, .. } = fault(&pair, B) else {
        panic!("{:?}", fault(&pair, B));
    };
    assert!(
        reason.contains("no authority of ours has issued it"),
        "{reason}"
    );
    let CertificateFault::Refused {
        asks_for_others, ..
    } = fault(&pair, A)
    else {
        panic!("{:?}", fault(&pair, A));
    };
    assert!(asks_for_others);
    // The same with the responder as the stranger: the initiator tells it.
    let pair = run(|authority, both| {
        let Auth::Certificate(strange) = Authority::new("other").of(B) else {
            return;
        };
        let Auth::Certificate(known) = authority.of(B) else {
            return;
        };
        both[B].auth = Auth::Certificate(Arc::new(Certificates {
            credential: strange.credential.clone(),
            trust: known.trust.clone(),
        }));
    });
    assert!(matches!(
        fault(&pair, A),
        CertificateFault::Untrusted { .. }
    ));
}

#[test]
fn the_identity_has_to_be_in_the_certificate() {
    let pair = run(|_, both| {
        both[A].local_id = Identity::Fqdn("a.example".into());
        both[B].remote_id = Identity::Fqdn("a.example".into());
    });
    let text = pair.failures(B)[0].clone();
    assert!(
        text.contains("the peer says it is ID_FQDN 'a.example', and its certificate is about")
            && text.contains("also named 192.0.2.1 (subjectAltName)"),
        "{text}"
    );
}

#[test]
fn names_subjects_and_addresses_are_identities() {
    let pair = run(|authority, both| {
        let key = KeyPair::generate().expect("a key");
        both[A].auth = authority.issue(&key, "Gate Way", &["A.example".to_owned()]);
        both[A].local_id = Identity::Fqdn("a.example".into());
        both[B].remote_id = Identity::Fqdn("a.example".into());
        let Auth::Certificate(own) = &both[B].auth else {
            return;
        };
        let subject = own
            .credential
            .certificate()
            .expect("a certificate")
            .subject();
        let id = Identity::Dn(subject.der().to_vec());
        // What is written in other letters is the same subject.
        let text = subject.to_string().to_uppercase();
        let parsed = crypto::x509::DistinguishedName::parse(&text).expect("a name");
        assert_ne!(parsed.der(), subject.der());
        both[B].local_id = id;
        both[A].remote_id = Identity::Dn(parsed.der().to_vec());
    });
    pair.assert_one_working_child();
}

#[test]
fn a_certificate_that_is_over_or_has_not_begun_is_refused() {
    for (now, words) in [
        (67_000_000_000_000, "it has expired"),
        (10, "it is not valid yet"),
    ] {
        let mut pair = start(|_, _| {});
        pair.sides[B].endpoint.set_clock(pair.start, now);
        pair.run_for(secs(5));
        let CertificateFault::Untrusted { reason, .. } = fault(&pair, B) else {
            panic!("{:?}", fault(&pair, B));
        };
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn without_the_time_of_day_no_certificate_is_believed() {
    let authority = Authority::new("root");
    let mut pair = Pair::new();
    for side in [B, A] {
        let mut c = connection(side);
        c.auth = authority.of(side);
        c.initiate = side == A;
        pair.add(side, c);
    }
    pair.run_for(secs(5));
    assert!(!pair.is_up());
    assert!(pair.failures(B)[0].contains("the time of day is not known"));
}

#[test]
fn another_certificate_of_ours_leaves_what_stands_and_other_authorities_do_not() {
    let mut other = None;
    let mut pair = run(|authority, _| other = Some(authority.of(A)));
    pair.assert_one_working_child();
    let before = pair.status()[A].connections[0].ike_sas[0].id;
    let mut c = connection(A);
    c.auth = other.expect("a certificate");
    pair.command(A, Command::Replace(Box::new(c.clone())));
    pair.run_for(secs(2));
    assert_eq!(pair.status()[A].connections[0].ike_sas[0].id, before);
    c.auth = Authority::new("new").of(A);
    pair.command(A, Command::Replace(Box::new(c)));
    pair.run_for(secs(5));
    assert!(!pair.is_up());
}
