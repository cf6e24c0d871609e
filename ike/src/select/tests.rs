use super::*;
use crate::wire::Transform;

fn ike(encryption: Encryption, integrity: Option<Integrity>, groups: &[Group]) -> IkeProposal {
    IkeProposal {
        encryption,
        integrity,
        prf: Prf::HmacSha256,
        groups: groups.to_vec(),
        kems: Vec::new(),
    }
}

fn esp(groups: &[Group], esn: EsnPolicy) -> EspProposal {
    EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: groups.to_vec(),
        esn,
    }
}

#[test]
fn an_offer_of_ours_is_acceptable_to_ourselves_and_the_answer_is_a_single_choice() {
    let sha = Some(Integrity::HmacSha256_128);
    let ours = [
        ike(
            Encryption::AesCbc256,
            sha,
            &[Group::Ecp384, Group::Modp2048],
        ),
        ike(Encryption::AesGcm128, None, &[Group::Curve25519]),
    ];
    let offer = offer_ike(&ours, None);
    let choice = choose_ike(&ours, &offer, None).expect("a choice");
    assert_eq!(choice.chosen.group, Group::Ecp384);
    assert!(is_single_choice(std::slice::from_ref(&choice.answer)));
    assert!(!is_single_choice(&offer));
    let again = choose_ike(&ours, &[choice.answer], None).expect("the same choice");
    assert_eq!(again.chosen, choice.chosen);
}

#[test]
fn the_group_of_the_ke_payload_saves_a_round() {
    let sha = Some(Integrity::HmacSha256_128);
    let ours = [ike(
        Encryption::AesCbc256,
        sha,
        &[Group::Ecp384, Group::Modp2048],
    )];
    let choice = choose_ike(&ours, &offer_ike(&ours, None), Some(14)).expect("a choice");
    assert_eq!(choice.chosen.group, Group::Modp2048);
}

#[test]
fn a_foreign_attribute_or_transform_type_is_never_chosen() {
    let ours = [ike(Encryption::AesGcm256, None, &[Group::Ecp384])];
    let mut offer = offer_ike(&ours, None);
    offer[0].transforms[0].foreign = true;
    let mismatch = choose_ike(&ours, &offer, None).expect_err("nothing");
    assert_eq!(mismatch.nearest[0].what, "encryption");
    let mut offer = offer_ike(&ours, None);
    offer[0]
        .transforms
        .push(Transform::new(TransformType::Other(6), 1));
    assert!(choose_ike(&ours, &offer, None).is_err());
}

#[test]
fn pfs_follows_the_table() {
    let (g20, g14, g5) = (Group::Ecp384, Group::Modp2048, Group::Modp1536);
    let none: &[Group] = &[];
    // Ours, the peer's offer, IKE's group, none accepted; what comes out.
    type Row<'a> = (
        &'a [Group],
        &'a [Group],
        Option<Group>,
        bool,
        Result<Option<Group>, ()>,
    );
    let table: [Row<'_>; 8] = [
        (&[g20], &[g20], None, false, Ok(Some(g20))),
        (&[g20], &[g14], None, false, Err(())),
        (&[g20], &[g14], Some(g14), false, Ok(Some(g14))),
        (&[g20, g5], &[g14, g5], Some(g14), false, Ok(Some(g14))),
        (&[g20], none, None, false, Err(())),
        (&[g20], none, None, true, Ok(None)),
        (none, none, Some(g14), false, Ok(None)),
        (none, &[g14], Some(g14), false, Ok(Some(g14))),
    ];
    for (n, (ours, theirs, ike, none, expected)) in table.into_iter().enumerate() {
        let offer = offer_esp(
            &[esp(theirs, EsnPolicy::Either)],
            4096,
            &GroupOffer::Configured,
        );
        let ke = theirs.first().map(|g| g.id());
        let groups = ChildGroups::Create { ike, none };
        let got = choose_esp(&[esp(ours, EsnPolicy::Either)], &offer, groups, ke);
        assert_eq!(
            got.map(|c| c.chosen.group).map_err(drop),
            expected,
            "row {n}"
        );
    }
}

#[test]
fn groups_in_ike_auth_do_not_matter() {
    let offer = offer_esp(
        &[esp(&[Group::Modp1024], EsnPolicy::Never)],
        4096,
        &GroupOffer::Configured,
    );
    let ours = [esp(&[Group::Ecp384], EsnPolicy::Either)];
    let choice = choose_esp(&ours, &offer, ChildGroups::FirstChild, None).expect("a choice");
    assert_eq!(choice.chosen.group, None);
    assert!(!choice.chosen.esn);
}
