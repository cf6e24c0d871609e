//! The machine beside a matcher that tries everything.

use proptest::prelude::*;

use super::*;

/// Every place behind a match that begins at `from`: obvious, and of any slowness.
fn ends(node: &AsPathNode, path: &[u32], from: usize) -> Vec<usize> {
    let take = |fits: bool| if fits { vec![from + 1] } else { Vec::new() };
    let mut found = match node {
        AsPathNode::Any => take(from < path.len()),
        AsPathNode::OneOf(ranges) => take(
            path.get(from)
                .is_some_and(|asn| ranges.iter().any(|it| it.low <= *asn && *asn <= it.high)),
        ),
        AsPathNode::Start => [from].into_iter().filter(|it| *it == 0).collect(),
        AsPathNode::End => [from].into_iter().filter(|it| *it == path.len()).collect(),
        AsPathNode::Sequence(nodes) => nodes.iter().fold(vec![from], |places, node| {
            places
                .into_iter()
                .flat_map(|place| ends(node, path, place))
                .collect()
        }),
        AsPathNode::Either(nodes) => nodes.iter().flat_map(|it| ends(it, path, from)).collect(),
        AsPathNode::Repeat { node, least, most } => {
            // More rounds than the path is long find nothing new, but for those that are asked for.
            let rounds = most.unwrap_or(least + path.len() as u32 + 1);
            let mut places = vec![from];
            let mut all = if *least == 0 {
                places.clone()
            } else {
                Vec::new()
            };
            for round in 1..=rounds {
                places = places
                    .into_iter()
                    .flat_map(|it| ends(node, path, it))
                    .collect();
                places.sort_unstable();
                places.dedup();
                if round >= *least {
                    all.extend(&places);
                }
            }
            all
        }
    };
    found.sort_unstable();
    found.dedup();
    found
}

fn node() -> impl Strategy<Value = AsPathNode> {
    let range = (0_u32..4, 0_u32..3).prop_map(|(low, more)| NumberRange::new(low, low + more));
    let leaf = prop_oneof![
        4 => proptest::collection::vec(range, 1..3).prop_map(AsPathNode::OneOf),
        1 => Just(AsPathNode::Any),
        1 => Just(AsPathNode::Start),
        1 => Just(AsPathNode::End),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            several.prop_map(AsPathNode::Sequence),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(AsPathNode::Either),
            (inner, 0_u32..3, proptest::option::of(0_u32..3)).prop_map(|(node, least, more)| {
                AsPathNode::Repeat {
                    node: Box::new(node),
                    least,
                    most: more.map(|it| least + it),
                }
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_machine_finds_what_trying_everything_finds(
        node in node(),
        path in proptest::collection::vec(0_u32..6, 0..7),
    ) {
        let Ok(regex) = AsPathRegex::new(&node) else { return Ok(()) };
        let obvious = (0..=path.len()).any(|from| !ends(&node, &path, from).is_empty());
        prop_assert_eq!(regex.is_match(path.into_iter().map(Asn)), obvious);
    }
}

fn asn(number: u32) -> AsPathNode {
    AsPathNode::OneOf(vec![NumberRange::new(number, number)])
}

fn repeat(node: AsPathNode, least: u32, most: Option<u32>) -> AsPathNode {
    AsPathNode::Repeat {
        node: Box::new(node),
        least,
        most,
    }
}

#[test]
fn an_expression_that_is_bad_for_others_takes_a_moment() {
    // (1*)* 2 over 1 1 1 … : exponential for whoever goes back.
    let inner = repeat(repeat(asn(1), 0, None), 0, None);
    let regex = AsPathRegex::new(&AsPathNode::Sequence(vec![inner, asn(2)])).unwrap();
    assert!(!regex.is_match((0..5_000).map(|_| Asn(1))));
    assert!(regex.is_match((0..5_000).map(|_| Asn(1)).chain([Asn(2)])));
}

#[test]
fn repetitions_that_multiply_are_refused() {
    let nothing = AsPathNode::Sequence(Vec::new());
    let deep = (0..8).fold(nothing, |node, _| repeat(node, 255, Some(255)));
    assert_eq!(AsPathRegex::new(&deep), Err(TooLarge));
    let wide = repeat(repeat(asn(1), 0, Some(255)), 0, Some(255));
    assert_eq!(AsPathRegex::new(&wide), Err(TooLarge));
}

#[test]
fn the_empty_path_has_a_beginning_and_an_end() {
    let empty = AsPathNode::Sequence(vec![AsPathNode::Start, AsPathNode::End]);
    let regex = AsPathRegex::new(&empty).unwrap();
    assert!(regex.is_match([]));
    assert!(!regex.is_match([Asn(1)]));
}
