use super::*;

#[test]
fn the_reference_sites_suite_has_the_prf_of_its_hash() {
    let proposal = IkeProposal::parse("aes256-sha1-modp2048").unwrap();
    assert_eq!(
        proposal,
        IkeProposal {
            encryption: Encryption::AesCbc256,
            integrity: Some(Integrity::HmacSha1_96),
            prf: Prf::HmacSha1,
            groups: vec![Group::Modp2048],
            kems: Vec::new(),
        }
    );
}

#[test]
fn what_is_parsed_is_printed_the_same() {
    for text in [
        "aes256-sha1-modp2048",
        "aes256gcm16-prfsha384-ecp384",
        "aes128-sha256-prfsha512-ecp256-modp2048",
        "aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke1_mlkem1024",
    ] {
        assert_eq!(IkeProposal::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "aes256gcm16",
        "aes256gcm16-ecp384-modp2048-modp1536",
        "aes256-sha1-modp2048-noesn",
        "chacha20poly1305-esn",
    ] {
        assert_eq!(EspProposal::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn an_additional_key_exchange_belongs_to_the_ike_sa() {
    let misplaced = EspProposal::parse("aes256gcm16-ecp384-ke1_mlkem768");
    assert!(matches!(
        misplaced,
        Err(ProposalError::Misplaced { word, at: 19, .. }) if word == "ke1_mlkem768"
    ));
    let twice = IkeProposal::parse("aes256-sha256-ecp384-ke1_mlkem768-ke1_mlkem768");
    assert!(matches!(twice, Err(ProposalError::Misplaced { .. })));
}

#[test]
fn an_unknown_word_is_named_with_its_place_and_the_nearest_one() {
    assert_eq!(
        IkeProposal::parse("aes256-shq384-ecp384"),
        Err(ProposalError::UnknownWord {
            word: "shq384".to_owned(),
            at: 7,
            near: Some("sha384")
        })
    );
    assert!(matches!(
        IkeProposal::parse(""),
        Err(ProposalError::UnknownWord { at: 0, .. })
    ));
}

#[test]
fn a_proposal_is_complete_or_refused() {
    for text in [
        "aes256-sha256",
        "aes256-modp2048",
        "aes256gcm16-ecp384",
        "sha256-ecp256",
    ] {
        assert!(
            matches!(IkeProposal::parse(text), Err(ProposalError::Missing { .. })),
            "{text}"
        );
    }
    assert!(matches!(
        EspProposal::parse("aes256"),
        Err(ProposalError::Missing { .. })
    ));
}

#[test]
fn a_word_in_the_wrong_place_is_refused() {
    for text in [
        "aes256-aes128-sha1-ecp256",
        "aes256-sha1-sha256-ecp256",
        "aes256-sha1-ecp256-esn",
        "aes256-sha1-ecp256-ecp256",
    ] {
        assert!(
            matches!(
                IkeProposal::parse(text),
                Err(ProposalError::Misplaced { .. })
            ),
            "{text}"
        );
    }
    for text in [
        "aes256gcm16-sha256",
        "aes256gcm16-prfsha256",
        "aes256gcm16-esn-noesn",
    ] {
        assert!(
            matches!(
                EspProposal::parse(text),
                Err(ProposalError::Misplaced { .. })
            ),
            "{text}"
        );
    }
}
