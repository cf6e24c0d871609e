use proptest::prelude::*;

use super::*;

const WIDE: Multipath = Multipath {
    maximum: 64,
    relax: true,
};

fn candidate(last: u8) -> Candidate {
    Candidate {
        local_rank: None,
        weight: 7,
        local_pref: 100,
        hops: 1,
        origin: Origin::Igp,
        neighbor_as: Asn(31898),
        med: 0,
        external: true,
        router_id: Ipv4Addr::new(1, 1, 1, last),
        cluster_hops: 0,
        peer_address: Ipv4Addr::new(10, 0, 0, last).into(),
        as_path: 1,
        next_hop: Some(Ipv4Addr::new(10, 0, 0, last).into()),
    }
}

#[test]
fn each_step_decides_when_all_before_it_are_equal() {
    type Change = fn(&mut Candidate);
    let worse: [(LostBy, Change); 9] = [
        (LostBy::Weight, |it| it.weight = 0),
        (LostBy::LocalPref, |it| it.local_pref = 99),
        (LostBy::AsPathLength, |it| it.hops = 2),
        (LostBy::Origin, |it| it.origin = Origin::Egp),
        (LostBy::MultiExitDisc, |it| it.med = 1),
        (LostBy::InternalPeer, |it| it.external = false),
        (LostBy::RouterId, |it| it.router_id = Ipv4Addr::BROADCAST),
        (LostBy::ClusterList, |it| it.cluster_hops = 1),
        (LostBy::PeerAddress, |it| {
            it.peer_address = Ipv4Addr::BROADCAST.into();
        }),
    ];
    for (index, (reason, change)) in worse.iter().enumerate() {
        // The loser is better by everything that comes later.
        let mut winner = candidate(5);
        for (_, later) in worse.iter().skip(index + 1) {
            later(&mut winner);
        }
        let mut loser = candidate(5);
        change(&mut loser);
        let selection = select(&[loser, winner], WIDE);
        assert_eq!(selection.best, Some(1), "{reason:?}");
        assert_eq!(selection.lost_by, [Some(*reason), None]);
    }
}

#[test]
fn a_route_of_our_own_beats_any_learned_one() {
    let own = Candidate {
        local_rank: Some(2),
        local_pref: 0,
        hops: 9,
        ..candidate(9)
    };
    let selection = select(&[candidate(1), own], WIDE);
    assert_eq!(selection.best, Some(1));
    assert_eq!(selection.lost_by[0], Some(LostBy::LocalRoute));
    assert!(selection.set.is_empty());
}

#[test]
fn med_counts_only_within_one_neighboring_as() {
    let high = Candidate {
        med: 50,
        ..candidate(1)
    };
    let low_elsewhere = Candidate {
        med: 10,
        neighbor_as: Asn(1),
        ..candidate(2)
    };
    let selection = select(&[high, low_elsewhere], WIDE);
    assert_eq!(selection.best, Some(0));
    assert_eq!(selection.set, [0, 1]);
}

#[test]
fn strict_multipath_needs_the_same_path_and_every_next_hop_counts_once() {
    let strict = Multipath {
        maximum: 2,
        relax: false,
    };
    let other_path = Candidate {
        as_path: 2,
        ..candidate(2)
    };
    let twin = Candidate {
        next_hop: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
        ..candidate(3)
    };
    let all = [candidate(1), other_path, twin, candidate(4), candidate(5)];
    let selection = select(&all, strict);
    assert_eq!(selection.set, [0, 3]);
    let expected = [
        MultipathVerdict::InSet,
        MultipathVerdict::DifferentAsPath,
        MultipathVerdict::SameNextHop,
        MultipathVerdict::InSet,
        MultipathVerdict::BeyondMaximum { maximum: 2 },
    ];
    assert_eq!(selection.multipath, expected);
}

/// Candidates that differ in few values, so that ties are frequent, and never in peer.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0u32..2, 0u32..2, 0u32..3, 0u32..3, any::<bool>(), 0u8..3);
    prop::collection::vec(one, 1..8).prop_map(|all| {
        (1..)
            .zip(all)
            .map(
                |(last, (pref, hops, neighbor_as, med, external, id))| Candidate {
                    local_pref: 100 + pref,
                    hops,
                    neighbor_as: Asn(neighbor_as + 1),
                    med,
                    external,
                    router_id: Ipv4Addr::new(1, 1, 1, id),
                    ..candidate(last)
                },
            )
            .collect()
    })
}

/// The order of everything but MED, for candidates among which it cannot be compared.
fn rank(it: &Candidate) -> impl Ord + use<> {
    let before = (std::cmp::Reverse(it.local_pref), it.hops, it.origin);
    (
        before,
        !it.external,
        it.router_id,
        it.cluster_hops,
        it.peer_address,
    )
}

proptest! {
    #[test]
    fn the_outcome_does_not_depend_on_the_order_of_arrival(
        all in candidates(),
        turns in 0usize..8,
    ) {
        let mut turned = all.clone();
        turned.rotate_left(turns % all.len());
        turned.reverse();
        let pick = |all: &[Candidate]| {
            let selection = select(all, WIDE);
            let set: Vec<_> = selection.set.iter().map(|it| all[*it].peer_address).collect();
            (selection.best.map(|it| all[it].peer_address), set)
        };
        prop_assert_eq!(pick(&all), pick(&turned));
    }

    #[test]
    fn without_med_the_best_is_the_least_of_a_total_order(mut all in candidates()) {
        for it in &mut all {
            it.med = 0;
        }
        let least = (0..all.len()).min_by_key(|it| rank(&all[*it]));
        prop_assert_eq!(select(&all, WIDE).best, least);
    }

    #[test]
    fn taking_a_loser_away_that_has_no_med_changes_nothing(
        mut all in candidates(),
        which in any::<prop::sample::Index>(),
    ) {
        for it in &mut all {
            it.med = 0;
        }
        let best = select(&all, WIDE).best.map(|it| all[it]);
        let gone = which.index(all.len());
        if best != Some(all[gone]) {
            all.remove(gone);
            prop_assert_eq!(select(&all, WIDE).best.map(|it| all[it]), best);
        }
    }

    #[test]
    fn every_selection_is_consistent(all in candidates(), maximum in 1u16..5, relax: bool) {
        let selection = select(&all, Multipath { maximum, relax });
        let best = selection.best.expect("there are candidates");
        prop_assert_eq!(selection.set[0], best);
        prop_assert!(selection.set.len() <= usize::from(maximum));
        for (index, lost_by) in selection.lost_by.iter().enumerate() {
            prop_assert_eq!(lost_by.is_none(), index == best);
            let in_set = selection.multipath[index] == MultipathVerdict::InSet;
            prop_assert_eq!(in_set, selection.set.contains(&index));
        }
    }
}
