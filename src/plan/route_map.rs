//! Route maps, for BGP.

use bgpd::policy::{
    Actions, AsPathNode, AsPathRegex, CommunityEdit, Conditions, Decision, ExtendedPattern,
    LargePattern, NumberRange, RouteMap, RouteRule, RouteSource, StandardPattern,
};
use bgpd::wire::{Community, ExtendedCommunity, LargeCommunity};
use bgpd::{LocalSource, PeerName};
use config::model::{self, Redistribute as Kind};

/// The site's maps.
///
/// # Errors
/// An expression that is too large, which the site file's check should have found.
pub(super) fn route_maps(site: &model::Site) -> Result<Vec<RouteMap>, String> {
    let map = |(name, map): (&String, &model::RouteMap)| {
        let rules = map.rules.iter().map(|rule| {
            self::rule(rule, site)
                .map_err(|error| format!("route map {name}, rule {}: {error}", rule.seq))
        });
        Ok(RouteMap::new(
            name.as_str(),
            rules.collect::<Result<_, _>>()?,
        ))
    };
    site.route_maps.iter().map(map).collect()
}

pub(super) const fn decision(action: model::PrefixAction) -> Decision {
    match action {
        model::PrefixAction::Permit => Decision::Permit,
        model::PrefixAction::Deny => Decision::Deny,
    }
}

fn rule(rule: &model::RouteRule, site: &model::Site) -> Result<RouteRule, String> {
    Ok(RouteRule {
        seq: rule.seq,
        decision: decision(rule.action),
        conditions: conditions(&rule.conditions, site)?,
        actions: actions(&rule.changes),
    })
}

fn conditions(it: &model::RouteConditions, site: &model::Site) -> Result<Conditions, String> {
    let regex = |path: &model::AsPathExpression| {
        AsPathRegex::new(&node(&path.node)).map_err(|error| format!("\"{path}\": {error}"))
    };
    let neighbors = site.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    let asked = neighbors.filter(|neighbor| it.neighbors.contains(&neighbor.group));
    let ranges = site.bgp.iter().flat_map(|bgp| &bgp.ranges);
    let ranges = ranges.map(|range| &range.template);
    let ranges = ranges.filter(|range| it.neighbors.contains(&range.group));
    Ok(Conditions {
        prefix_lists: it.prefix_lists.clone(),
        as_paths: it.as_paths.iter().map(regex).collect::<Result<_, _>>()?,
        communities: it.communities.iter().map(standard).collect(),
        extended_communities: it.extended_communities.iter().map(extended).collect(),
        large_communities: it.large_communities.iter().map(large).collect(),
        next_hops: it.next_hops.clone(),
        med: it.med.map(range),
        local_pref: it.local_pref.map(range),
        neighbors: asked
            .chain(ranges)
            .map(|it| PeerName::from(it.name.as_str()))
            .collect(),
        sources: it.sources.iter().map(source).collect(),
    })
}

fn actions(it: &model::RouteChanges) -> Actions {
    let communities = &it.communities;
    let extended_communities = &it.extended_communities;
    let large_communities = &it.large_communities;
    Actions {
        local_pref: it.local_pref,
        med: it.med,
        weight: it.weight,
        prepend: it.prepend,
        next_hop: it.next_hop,
        communities: edit(communities, |it| Community(it.0), standard),
        extended_communities: edit(extended_communities, |it| ExtendedCommunity(it.0), extended),
        large_communities: edit(large_communities, |it| LargeCommunity(it.0), large),
    }
}

fn edit<A, B, C, D>(
    edit: &model::CommunityEdit<A, B>,
    community: impl Fn(&A) -> C,
    pattern: impl Fn(&B) -> D,
) -> CommunityEdit<C, D> {
    CommunityEdit {
        clear: edit.clear,
        remove: edit.remove.iter().map(pattern).collect(),
        add: edit.add.iter().map(community).collect(),
    }
}

const fn range(range: model::NumberRange) -> NumberRange {
    NumberRange::new(range.low, range.high)
}

fn standard(pattern: &model::CommunityPattern) -> StandardPattern {
    StandardPattern {
        upper: range(pattern.upper),
        lower: range(pattern.lower),
    }
}

fn large(pattern: &model::LargeCommunityPattern) -> LargePattern {
    LargePattern(pattern.0.map(range))
}

fn extended(pattern: &model::ExtendedCommunityPattern) -> ExtendedPattern {
    match pattern {
        model::ExtendedCommunityPattern::Exactly(exactly) => {
            ExtendedPattern::Exactly(ExtendedCommunity(exactly.0))
        }
        model::ExtendedCommunityPattern::Of {
            sub_type,
            administrator,
            value,
        } => ExtendedPattern::Of {
            sub_type: *sub_type,
            administrator: range(*administrator),
            value: range(*value),
        },
    }
}

fn source(source: &model::RouteSource) -> RouteSource {
    match source {
        model::RouteSource::Bgp => RouteSource::Learned,
        model::RouteSource::Host(Kind::Connected) => RouteSource::Own(LocalSource::Connected),
        model::RouteSource::Host(Kind::Static) => RouteSource::Own(LocalSource::Static),
        model::RouteSource::Host(Kind::Kernel) => RouteSource::Own(LocalSource::Kernel),
    }
}

fn node(node: &model::AsPathNode) -> AsPathNode {
    let all = |nodes: &[model::AsPathNode]| nodes.iter().map(self::node).collect();
    match node {
        model::AsPathNode::Any => AsPathNode::Any,
        model::AsPathNode::OneOf(ranges) => {
            AsPathNode::OneOf(ranges.iter().copied().map(range).collect())
        }
        model::AsPathNode::Start => AsPathNode::Start,
        model::AsPathNode::End => AsPathNode::End,
        model::AsPathNode::Sequence(nodes) => AsPathNode::Sequence(all(nodes)),
        model::AsPathNode::Either(nodes) => AsPathNode::Either(all(nodes)),
        model::AsPathNode::Repeat { node, least, most } => AsPathNode::Repeat {
            node: Box::new(self::node(node)),
            least: *least,
            most: *most,
        },
    }
}
