//! Chains of certificates: which are accepted, what is said of the others, and that none keeps us busy.

#![expect(clippy::expect_used, reason = "tests")]

use crypto::Secret;
use crypto::signature::SigningKey;
use crypto::x509::{
    Certificate, Credential, CredentialError, DistinguishedName, Trust, TrustError, Untrusted, date,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

/// 2026-11-21, in seconds since 1970 began.
const NOW: u64 = 1_795_219_200;

type Signer = Issuer<'static, KeyPair>;

struct Authority {
    issuer: Signer,
    params: CertificateParams,
    der: Vec<u8>,
    pem: String,
}

fn authority_params(name: &str, path: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::new([]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(path);
    params
}

fn authority(params: CertificateParams, above: Option<&Signer>) -> Authority {
    let key = KeyPair::generate().expect("a key");
    let signed = match above {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    let signed = signed.expect("a certificate");
    Authority {
        der: signed.der().to_vec(),
        pem: signed.pem(),
        issuer: Issuer::new(params.clone(), key),
        params,
    }
}

fn root(name: &str) -> Authority {
    authority(
        authority_params(name, BasicConstraints::Unconstrained),
        None,
    )
}

fn below(name: &str, above: &Authority) -> Authority {
    let params = authority_params(name, BasicConstraints::Unconstrained);
    authority(params, Some(&above.issuer))
}

/// A gateway's certificate and its serial number.
fn leaf(issuer: &Signer, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::new(["gw.example".to_owned()]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, "gw");
    params.serial_number = Some(SerialNumber::from(77));
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&key, issuer).expect("a certificate");
    signed.der().to_vec()
}

fn trust(authority: &Authority) -> Trust {
    Trust::new(authority.pem.as_bytes()).expect("an authority")
}

#[test]
fn a_chain_of_several_authorities_is_followed_in_any_order_and_with_strangers_among_them() {
    let top = root("top");
    let (middle, stranger) = (below("middle", &top), root("stranger"));
    let last = below("last", &middle);
    let own = leaf(&last.issuer, |_| {});
    let trust = trust(&top);
    for others in [
        vec![last.der.clone(), middle.der.clone()],
        vec![middle.der, stranger.der, last.der.clone(), top.der],
    ] {
        let chain: Vec<Vec<u8>> = std::iter::once(own.clone()).chain(others).collect();
        let certificate = trust.verify(&chain, NOW).expect("a way");
        assert!(certificate.subject().to_string().contains("CN=gw"));
    }
    let lacks = trust.verify(&[own, last.der], NOW);
    assert!(
        matches!(lacks, Err(Untrusted::UnknownIssuer { .. })),
        "{lacks:?}"
    );
}

#[test]
fn a_pinned_certificate_is_trusted_by_itself_and_vouches_for_nobody() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["gw.example".to_owned()]).expect("parameters");
    params.not_after = date_time_ymd(2030, 1, 1);
    let own = params.self_signed(&key).expect("a certificate");
    let trust = Trust::new(own.pem().as_bytes()).expect("an anchor");
    let chain = [own.der().to_vec()];
    assert!(trust.verify(&chain, NOW).is_ok());
    assert_eq!(
        trust.verify(&chain, 2 * NOW),
        Err(Untrusted::Expired {
            until: 1_893_456_000
        })
    );
    let other = KeyPair::generate().expect("a key");
    let forged = params.self_signed(&other).expect("a certificate");
    assert!(trust.verify(&[forged.der().to_vec()], NOW).is_err());
    let below = leaf(&Issuer::new(params, key), |_| {});
    for chain in [vec![below.clone()], vec![below, own.der().to_vec()]] {
        assert!(trust.verify(&chain, NOW).is_err());
    }
    // One that an authority has issued, which is not trusted itself.
    let issued = leaf(&root("top").issuer, |_| {});
    let trust = Trust::new(&issued).expect("an anchor");
    assert!(trust.verify(&[issued], NOW).is_ok());
    // What openssl req -x509 makes of a gateway is an authority's.
    let alone = root("alone");
    assert!(
        self::trust(&alone)
            .verify(std::slice::from_ref(&alone.der), NOW)
            .is_ok()
    );
}

#[test]
fn each_rule_that_is_broken_is_named() {
    let top = root("top");
    let trust = trust(&top);
    let said = |change: &dyn Fn(&mut CertificateParams)| {
        let refused = trust.verify(&[leaf(&top.issuer, |params| change(params))], NOW);
        refused.expect_err("a refusal").to_string()
    };
    let text = said(&|params| params.not_after = date_time_ymd(2025, 3, 1));
    assert!(text.contains("valid until 2025-03-01"), "{text}");
    let text = said(&|params| params.not_before = date_time_ymd(2027, 3, 1));
    assert!(
        text.contains("valid from 2027-03-01; our clock says 2026-11-21"),
        "{text}"
    );
    let text = said(&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert!(text.contains("keyUsage has no digitalSignature"), "{text}");
    let text = said(&|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    });
    assert!(text.contains("neither ipsecIKE nor serverAuth"), "{text}");
    let text = said(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(text.contains("an authority's own certificate"), "{text}");
    for fits in [
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]),
        ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]),
    ] {
        let own = leaf(&top.issuer, |params| {
            params.extended_key_usages = vec![fits]
        });
        assert!(trust.verify(&[own], NOW).is_ok());
    }
}

#[test]
fn only_authorities_issue_and_only_as_deep_as_they_may() {
    let top = root("top");
    let trust = trust(&top);
    // A gateway's certificate in place of an authority's.
    let gateway = authority(
        {
            let mut params = authority_params("gateway", BasicConstraints::Unconstrained);
            params.is_ca = IsCa::ExplicitNoCa;
            params
        },
        Some(&top.issuer),
    );
    let own = leaf(&gateway.issuer, |_| {});
    assert!(trust.verify(&[own, gateway.der], NOW).is_err());
    // An authority that may have none below it.
    let narrow = authority(
        authority_params("narrow", BasicConstraints::Constrained(0)),
        Some(&top.issuer),
    );
    let under = below("under", &narrow);
    let own = leaf(&under.issuer, |_| {});
    let refused = trust.verify(&[own, under.der, narrow.der], NOW);
    let text = refused.expect_err("a refusal").to_string();
    assert!(text.contains("more authorities above it"), "{text}");
    // An authority whose key is for something else.
    let mut params = authority_params("mute", BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let mute = authority(params, Some(&top.issuer));
    let own = leaf(&mute.issuer, |_| {});
    let text = trust
        .verify(&[own, mute.der], NOW)
        .expect_err("a refusal")
        .to_string();
    assert!(text.contains("keyUsage has no keyCertSign"), "{text}");
}

fn crl(by: &Signer, serials: &[u64], until: i32) -> String {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(by).expect("a list").pem().expect("PEM")
}

#[test]
fn what_is_revoked_anywhere_on_the_way_is_refused() {
    let top = root("top");
    let middle = authority(
        {
            let mut params = authority_params("middle", BasicConstraints::Unconstrained);
            params.serial_number = Some(SerialNumber::from(5));
            params
        },
        Some(&top.issuer),
    );
    let chain = [leaf(&middle.issuer, |_| {}), middle.der.clone()];
    let judged = |lists: &str| {
        let trust = trust(&top).with_crls(lists.as_bytes()).expect("lists");
        trust.verify(&chain, NOW).map(|_| ())
    };
    assert_eq!(judged(&crl(&middle.issuer, &[76], 2030)), Ok(()));
    let both = format!(
        "{}{}",
        crl(&top.issuer, &[], 2030),
        crl(&middle.issuer, &[77], 2030)
    );
    assert!(matches!(judged(&both), Err(Untrusted::Revoked { .. })));
    assert!(matches!(
        judged(&crl(&top.issuer, &[5], 2030)),
        Err(Untrusted::Revoked { .. })
    ));
    // A list that was to be replaced long ago tells nothing.
    assert!(matches!(
        judged(&crl(&middle.issuer, &[], 2025)),
        Err(Untrusted::CrlExpired { .. })
    ));
    // A list by somebody who only has the authority's name.
    let imposter = authority(top.params.clone(), None);
    let forged = judged(&crl(&imposter.issuer, &[5], 2030)).expect_err("a refusal");
    assert!(!matches!(forged, Untrusted::Revoked { .. }), "{forged:?}");
}

#[test]
fn files_that_hold_something_else_are_refused() {
    let top = root("top");
    assert_eq!(Trust::new(b"nothing"), Err(TrustError::NoCertificate));
    assert_eq!(
        trust(&top).with_crls(top.pem.as_bytes()),
        Err(TrustError::NoCrl)
    );
    let key =
        |text: &str| SigningKey::from_pem(&Secret::new(text.as_bytes().to_vec())).expect("a key");
    let (ours, other) = (
        KeyPair::generate().expect("a key"),
        KeyPair::generate().expect("a key"),
    );
    let params = CertificateParams::new(["gw.example".to_owned()]).expect("parameters");
    let own = params
        .signed_by(&ours, &top.issuer)
        .expect("a certificate")
        .pem();
    assert_eq!(
        Credential::new(b"nothing", key(&ours.serialize_pem())),
        Err(CredentialError::NoCertificate)
    );
    let refused = Credential::new(own.as_bytes(), key(&other.serialize_pem()));
    assert!(matches!(refused, Err(CredentialError::OtherKey { .. })));
    let credential = Credential::new(
        format!("{own}{}", top.pem).as_bytes(),
        key(&ours.serialize_pem()),
    );
    // The authority's own certificate is not sent.
    assert_eq!(credential.expect("a credential").sent().count(), 1);
}

#[test]
fn authorities_that_vouch_for_each_other_lead_nowhere_and_end() {
    let (one, two) = (root("one"), root("two"));
    let sign = |who: &Authority, by: &Authority| {
        let signed = who.params.signed_by(who.issuer.key(), &by.issuer);
        signed.expect("a certificate").der().to_vec()
    };
    let chain = [
        leaf(&one.issuer, |_| {}),
        sign(&one, &two),
        sign(&two, &one),
    ];
    let refused = trust(&root("top")).verify(&chain, NOW);
    assert!(
        matches!(refused, Err(Untrusted::UnknownIssuer { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_hundred_certificates_are_not_looked_at() {
    let top = root("top");
    let last = below("last", &top);
    let mut chain = vec![leaf(&last.issuer, |_| {})];
    chain.extend(std::iter::repeat_n(root("other").der, 98));
    chain.push(last.der);
    let refused = trust(&top).verify(&chain, NOW);
    assert!(
        matches!(refused, Err(Untrusted::UnknownIssuer { .. })),
        "{refused:?}"
    );
}

/// One certificate with an RSA key of so many octets, signed by nobody.
fn with_rsa_key(octets: usize) -> Vec<u8> {
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let length = body.len() as u32;
        [
            &[tag, 0x84],
            length.to_be_bytes().as_slice(),
            body.as_slice(),
        ]
        .concat()
    }
    let modulus = [&[0], vec![0xff; octets].as_slice()].concat();
    let key = der(0x30, &[&der(2, &[&modulus]), &der(2, &[&[1, 0, 1]])]);
    let rsa = der(
        0x30,
        &[&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0]],
    );
    der(0x30, &[&rsa, &der(3, &[&[0], &key])])
}

#[test]
fn an_rsa_key_of_any_size_verifies_nothing_and_costs_nothing() {
    use crypto::signature::{PublicKey, SignatureHash, SignatureScheme};
    for octets in [1, 64, 2_000, 60_000] {
        let key = PublicKey::from_spki(&with_rsa_key(octets)).expect("a key");
        let scheme = SignatureScheme::RsaPss(SignatureHash::Sha256);
        assert!(!key.verifies(scheme, b"message", &vec![1; octets]));
    }
}

#[test]
fn a_certificate_cut_at_any_octet_or_changed_at_any_is_no_other_one() {
    let top = root("top");
    let trust = trust(&top);
    let own = leaf(&top.issuer, |_| {});
    for end in 0..own.len() {
        assert_eq!(
            trust.verify(&[own[..end].to_vec()], NOW),
            Err(Untrusted::Broken),
            "{end}"
        );
        let mut changed = own.clone();
        changed[end] ^= 0x41;
        assert!(trust.verify(&[changed], NOW).is_err(), "{end}");
    }
    let long = [own, vec![0; 20_000]].concat();
    assert_eq!(trust.verify(&[long], NOW), Err(Untrusted::Broken));
    assert_eq!(trust.verify(&[], NOW), Err(Untrusted::Broken));
}

#[test]
fn names_are_compared_by_what_they_say() {
    let name = |text: &str| DistinguishedName::parse(text).expect("a name");
    let ours = name("C=DE, O=Example\\, Inc., CN=gateway");
    assert_eq!(ours.to_string(), "C=DE, O=Example\\, Inc., CN=gateway");
    assert!(ours.is_same(&name("c=de,o=EXAMPLE\\, INC.,cn=Gateway")));
    // The order counts, and so does what is missing.
    assert!(!ours.is_same(&name("CN=gateway, O=Example\\, Inc., C=DE")));
    assert!(!ours.is_same(&name("C=DE, CN=gateway")));
    for wrong in ["", "gateway", "XX=1", "CN=", "CN=a, ", "CN"] {
        assert_eq!(DistinguishedName::parse(wrong), None, "{wrong:?}");
    }
    // What a stranger puts there does not get into logs as it is.
    let odd = name("CN=a\nb\u{7}");
    assert!(!odd.to_string().contains(|letter: char| letter.is_control()));
    let der = DistinguishedName::from_der(b"\x01\x02");
    assert_eq!(der.to_string(), "DER:0102");
    assert!(!der.is_same(&ours) && der.is_same(&der.clone()));
}

/// Replays the fuzzer's corpus: what it once found stays fixed, without a fuzzer at hand.
#[test]
fn every_seed_of_the_fuzzer_passes_and_only_what_the_authority_signed_is_trusted() {
    /// 2030, when all of them are valid.
    const LATER: u64 = 1_900_000_000;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/certificate");
    let seed = |name: &str| std::fs::read(format!("{folder}/{name}")).expect("a seed");
    let trust = Trust::new(&seed("authority")).expect("an authority");
    let gateway = trust.verify(&[seed("gateway")], LATER).expect("a way");
    let names: Vec<String> = gateway.names().iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["gw.example", "192.0.2.1", "2001:db8::1", "gw@example.net"]
    );
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("a corpus") {
        let octets = std::fs::read(entry.expect("an entry").path()).expect("a seed");
        for end in 0..octets.len() {
            let _ = DistinguishedName::from_der(&octets[..end]).to_string();
            let _ = crypto::signature::SignatureScheme::from_identifier(&octets[..end]);
            assert_eq!(
                crypto::signature::PublicKey::from_spki(&octets[..end]),
                None
            );
            assert!(trust.verify(&[octets[..end].to_vec()], LATER).is_err());
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn days_are_those_of_the_calendar() {
    for (seconds, day) in [
        (0, "1970-01-01"),
        (951_782_400, "2000-02-29"),
        (951_868_800, "2000-03-01"),
        (1_795_219_200, "2026-11-21"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(date(seconds), day);
    }
    let top = root("top");
    let own = leaf(&top.issuer, |params| {
        params.not_before = date_time_ymd(2000, 2, 29);
        params.not_after = date_time_ymd(2100, 3, 1);
    });
    let (begins, ends) = Certificate::from_der(&own)
        .expect("a certificate")
        .validity();
    assert_eq!((begins, ends), (951_782_400, 4_107_542_400));
}

proptest! {
    #[test]
    fn no_octets_make_a_reader_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Certificate::from_der(&octets);
        let _ = crypto::signature::PublicKey::from_spki(&octets);
        let _ = crypto::signature::SignatureScheme::from_identifier(&octets);
        let name = DistinguishedName::from_der(&octets);
        let _ = name.to_string();
        prop_assert!(name.is_same(&name));
    }
}
