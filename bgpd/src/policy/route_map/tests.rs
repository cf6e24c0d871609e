//! Maps beside an evaluator that asks everything of every rule, one after the other, in the plainest way.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::policy::{AsPathNode, Policies, PolicyTable, Refusal, Rule};
use crate::wire::{AsPath, Origin};
use crate::{Policy, Role};

/// A route with all that rules can ask for.
#[derive(Clone, Debug)]
struct Route {
    prefix: IpNet,
    attributes: PathAttributes,
    local_pref: u32,
    source: ExportSource,
}

fn lists() -> Vec<PrefixList> {
    let rule = |seq, decision, prefix: &str, le| Rule {
        seq,
        decision,
        prefix: prefix.parse().unwrap(),
        ge: None,
        le,
    };
    vec![
        PrefixList::new(
            "b",
            vec![rule(5, Decision::Permit, "10.1.0.0/16", Some(32))],
        ),
        PrefixList::new(
            "a",
            vec![
                rule(5, Decision::Deny, "10.0.1.0/24", None),
                rule(10, Decision::Permit, "10.0.0.0/16", Some(24)),
            ],
        ),
    ]
}

fn range(most: u32) -> impl Strategy<Value = NumberRange> {
    (0..=most, 0..=most).prop_map(|(low, more)| NumberRange::new(low, low + more))
}

fn standard() -> impl Strategy<Value = StandardPattern> {
    (range(2), range(2)).prop_map(|(upper, lower)| StandardPattern { upper, lower })
}

fn large() -> impl Strategy<Value = LargePattern> {
    (range(1), range(1), range(1)).prop_map(|(a, b, c)| LargePattern([a, b, c]))
}

fn extended() -> impl Strategy<Value = ExtendedPattern> {
    prop_oneof![
        (2_u8..4, range(2), range(2)).prop_map(|(sub_type, administrator, value)| {
            ExtendedPattern::Of {
                sub_type,
                administrator,
                value,
            }
        }),
        some_extended().prop_map(ExtendedPattern::Exactly),
    ]
}

fn some_standard() -> impl Strategy<Value = Community> {
    (0_u32..3, 0_u32..3).prop_map(|(upper, lower)| Community(upper << 16 | lower))
}

fn some_large() -> impl Strategy<Value = LargeCommunity> {
    (0_u32..2, 0_u32..2, 0_u32..2).prop_map(|(a, b, c)| LargeCommunity([a, b, c]))
}

fn some_extended() -> impl Strategy<Value = ExtendedCommunity> {
    (0_u8..3, 2_u8..4, 0_u8..3, 0_u8..3, any::<bool>()).prop_map(|(kind, sub, a, b, stays)| {
        let kind = kind | if stays { 0x40 } else { 0 };
        ExtendedCommunity([kind, sub, 0, a, 0, 0, 0, b])
    })
}

fn as_path() -> impl Strategy<Value = AsPathRegex> {
    let one = || range(3).prop_map(|it| AsPathNode::OneOf(vec![it]));
    let node = prop_oneof![
        one(),
        one().prop_map(|it| AsPathNode::Sequence(vec![AsPathNode::Start, it])),
        one().prop_map(|it| AsPathNode::Sequence(vec![it, AsPathNode::End])),
    ];
    node.prop_map(|node| AsPathRegex::new(&node).unwrap())
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        Just("192.0.2.0/25"),
        Just("192.0.2.1/32"),
        Just("198.51.100.0/24")
    ]
    .prop_map(|text| text.parse().unwrap())
}

fn source() -> impl Strategy<Value = ExportSource> {
    prop_oneof![
        prop_oneof![Just("one"), Just("other")].prop_map(|name| ExportSource::Learned {
            peer: name.into(),
            role: Role::Lan,
            internal: false,
            client: false,
        }),
        prop_oneof![Just(LocalSource::Connected), Just(LocalSource::Static)]
            .prop_map(|source| ExportSource::Local { source }),
    ]
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let lists = prop_oneof![Just("a"), Just("b"), Just("nowhere")].prop_map(str::to_owned);
    let names = prop_oneof![Just("one"), Just("third")].prop_map(PeerName::from);
    let sources = prop_oneof![
        Just(RouteSource::Learned),
        Just(RouteSource::Own(LocalSource::Static))
    ];
    (
        (
            vec(lists, 0..3),
            vec(as_path(), 0..2),
            vec(standard(), 0..2),
            vec(extended(), 0..2),
        ),
        (
            vec(large(), 0..2),
            vec(network(), 0..2),
            of(range(3)),
            of(range(3)),
        ),
        (vec(names, 0..2), vec(sources, 0..2)),
    )
        .prop_map(|(first, second, third)| Conditions {
            prefix_lists: first.0,
            as_paths: first.1,
            communities: first.2,
            extended_communities: first.3,
            large_communities: second.0,
            next_hops: second.1,
            med: second.2,
            local_pref: second.3,
            neighbors: third.0,
            sources: third.1,
        })
}

fn edit<C: Clone + std::fmt::Debug, P: Clone + std::fmt::Debug>(
    pattern: impl Strategy<Value = P>,
    community: impl Strategy<Value = C>,
) -> impl Strategy<Value = CommunityEdit<C, P>> {
    (any::<bool>(), vec(pattern, 0..2), vec(community, 0..3))
        .prop_map(|(clear, remove, add)| CommunityEdit { clear, remove, add })
}

fn actions() -> impl Strategy<Value = Actions> {
    (
        (of(0_u32..5), of(0_u32..5), of(0_u16..5), 0_u8..4),
        of(Just(Ipv4Addr::new(192, 0, 2, 200))),
        edit(standard(), some_standard()),
        edit(extended(), some_extended()),
        edit(large(), some_large()),
    )
        .prop_map(
            |((local_pref, med, weight, prepend), next_hop, standard, extended, large)| Actions {
                local_pref,
                med,
                weight,
                prepend,
                next_hop,
                communities: standard,
                extended_communities: extended,
                large_communities: large,
            },
        )
}

fn map() -> impl Strategy<Value = RouteMap> {
    let decision = prop_oneof![3 => Just(Decision::Permit), 1 => Just(Decision::Deny)];
    let rule = (decision, conditions(), actions());
    vec(rule, 0..5).prop_map(|rules| {
        let rules = rules.into_iter().zip(1..);
        let rules = rules.map(|((decision, conditions, actions), seq)| RouteRule {
            // Written backwards, as the order of sequence numbers is what counts.
            seq: 100 - seq,
            decision,
            conditions,
            actions,
        });
        RouteMap::new("map", rules.collect())
    })
}

fn route() -> impl Strategy<Value = Route> {
    let prefix = (0_u8..2, 0_u8..3, 16_u8..26).prop_map(|(second, third, length)| {
        let prefix = format!("10.{second}.{third}.0/{length}");
        prefix.parse::<IpNet>().unwrap().trunc()
    });
    (
        prefix,
        vec(0_u32..5, 0..4),
        (
            vec(some_standard(), 0..3),
            vec(some_extended(), 0..3),
            vec(some_large(), 0..3),
        ),
        (of(0_u8..5), of(0_u32..5), 0_u32..5),
        source(),
    )
        .prop_map(
            |(prefix, path, communities, (next_hop, med, local_pref), source)| {
                let mut attributes = PathAttributes::local(Origin::Igp);
                attributes.as_path = AsPath::sequence(path);
                attributes.communities = communities.0;
                attributes.extended_communities = communities.1;
                attributes.large_communities = communities.2;
                attributes.next_hop = next_hop.map(|last| Ipv4Addr::new(192, 0, 2, last).into());
                attributes.med = med;
                Route {
                    prefix,
                    attributes,
                    local_pref,
                    source,
                }
            },
        )
}

/// Whether a route meets all conditions of a rule.
fn meets(rule: &RouteRule, route: &Route) -> bool {
    let (it, set) = (&rule.conditions, &route.attributes);
    let mut all = Vec::new();
    if !it.prefix_lists.is_empty() {
        let mut permitted = false;
        for list in lists()
            .iter()
            .filter(|list| it.prefix_lists.contains(&list.name))
        {
            let first = list.rules().iter().find(|rule| rule.matches(&route.prefix));
            permitted |= first.is_some_and(|rule| rule.decision == Decision::Permit);
        }
        all.push(permitted);
    }
    if !it.as_paths.is_empty() {
        all.push(
            it.as_paths
                .iter()
                .any(|regex| regex.is_match(set.as_path.asns())),
        );
    }
    if !it.communities.is_empty() {
        all.push(set.communities.iter().any(|have| {
            it.communities.iter().any(|want| {
                let (upper, lower) = (have.0 / 65536, have.0 % 65536);
                (want.upper.low..=want.upper.high).contains(&upper)
                    && (want.lower.low..=want.lower.high).contains(&lower)
            })
        }));
    }
    if !it.extended_communities.is_empty() {
        all.push(set.extended_communities.iter().any(|have| {
            it.extended_communities
                .iter()
                .any(|want| want.matches(*have))
        }));
    }
    if !it.large_communities.is_empty() {
        all.push(set.large_communities.iter().any(|have| {
            it.large_communities.iter().any(|want| {
                (0..3).all(|at| want.0[at].low <= have.0[at] && have.0[at] <= want.0[at].high)
            })
        }));
    }
    if !it.next_hops.is_empty() {
        all.push(match set.next_hop {
            Some(hop) => it.next_hops.iter().any(|net| net.contains(&hop)),
            None => false,
        });
    }
    if let Some(range) = it.med {
        all.push(
            set.med
                .is_some_and(|med| (range.low..=range.high).contains(&med)),
        );
    }
    if let Some(range) = it.local_pref {
        all.push((range.low..=range.high).contains(&route.local_pref));
    }
    if !it.neighbors.is_empty() {
        all.push(match &route.source {
            ExportSource::Learned { peer, .. } => it.neighbors.contains(peer),
            ExportSource::Local { .. } => false,
        });
    }
    if !it.sources.is_empty() {
        all.push(match &route.source {
            ExportSource::Learned { .. } => it.sources.contains(&RouteSource::Learned),
            ExportSource::Local { source } => it.sources.contains(&RouteSource::Own(*source)),
        });
    }
    all.into_iter().all(|holds| holds)
}

/// What becomes of a list of communities, item by item.
fn edited<C: Copy + Ord, P: CommunityPattern<C>>(
    edit: &CommunityEdit<C, P>,
    before: &[C],
) -> Vec<C> {
    let mut after = Vec::new();
    for it in before {
        if !edit.clear && !edit.remove.iter().any(|pattern| pattern.matches(*it)) {
            after.push(*it);
        }
    }
    for new in &edit.add {
        if !after.contains(new) {
            after.push(*new);
        }
    }
    after
}

const PREPENDED: Asn = Asn(77);

fn changed(rule: &RouteRule, before: &PathAttributes) -> PathAttributes {
    let (it, mut after) = (&rule.actions, before.clone());
    if let Some(local_pref) = it.local_pref {
        after.local_pref = Some(local_pref);
    }
    if let Some(med) = it.med {
        after.med = Some(med);
    }
    if let Some(next_hop) = it.next_hop {
        after.next_hop = Some(next_hop.into());
    }
    let ahead = std::iter::repeat_n(PREPENDED.0, usize::from(it.prepend));
    after.as_path = AsPath::sequence(ahead.chain(before.as_path.asns().map(|asn| asn.0)));
    after.communities = edited(&it.communities, &before.communities);
    after.extended_communities = edited(&it.extended_communities, &before.extended_communities);
    after.large_communities = edited(&it.large_communities, &before.large_communities);
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_map_does_what_its_rules_say_one_after_the_other(map in map(), route in route()) {
        let mut expected = Err(None);
        for rule in map.rules() {
            if meets(rule, &route) {
                expected = match rule.decision {
                    Decision::Permit => Ok((rule.seq, changed(rule, &route.attributes))),
                    Decision::Deny => Err(Some(rule.seq)),
                };
                break;
            }
        }

        let policies = Policies { prefix_lists: lists(), route_maps: vec![map] };
        let (table, policy) = (PolicyTable::new(policies), Policy::RouteMap("map".into()));
        let judge = table.judge(Some(&policy), |map| map.rules_for(&RouteFacts {
            attributes: &route.attributes,
            local_pref: route.local_pref,
            source: &route.source,
        }));
        let got = match judge.decide(&route.prefix) {
            Ok(permit) => {
                let mut after = route.attributes.clone();
                if let Some((_, actions)) = permit.actions() {
                    actions.apply(&mut after, Some(PREPENDED));
                }
                Ok((permit.name().unwrap().seq.unwrap(), after))
            }
            Err(Refusal::RouteMap(rule)) => Err(rule.seq),
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(got, expected);
    }
}
