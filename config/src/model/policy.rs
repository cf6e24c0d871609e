//! Route maps, and what their rules speak of.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{PrefixAction, Redistribute};

/// A route map: the first rule whose conditions a route meets decides, and what none is about is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteMap {
    /// The line of the file on which it begins (from 1).
    pub line: usize,
    /// The rules by ascending sequence number.
    pub rules: Vec<RouteRule>,
}

/// One rule of a route map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteRule {
    /// Its place; unique in its map.
    pub seq: u32,
    /// What it says.
    pub action: PrefixAction,
    /// What a route has to meet.
    pub conditions: RouteConditions,
    /// What becomes of a route that is permitted.
    pub changes: RouteChanges,
}

/// Conditions, which all have to hold. An empty list, or `None`, is none; of a list one item has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteConditions {
    /// Prefix lists, of which one permits its prefix.
    pub prefix_lists: Vec<String>,
    /// Expressions that its AS path matches.
    pub as_paths: Vec<AsPathExpression>,
    /// Communities that it has (RFC 1997).
    pub communities: Vec<CommunityPattern>,
    /// Extended communities that it has (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunityPattern>,
    /// Large communities that it has (RFC 8092).
    pub large_communities: Vec<LargeCommunityPattern>,
    /// Networks that its next hop is in.
    pub next_hops: Vec<IpNet>,
    /// MULTI_EXIT_DISC, where it has one.
    pub med: Option<NumberRange>,
    /// LOCAL_PREF.
    pub local_pref: Option<NumberRange>,
    /// Neighbors' sections of which one taught it.
    pub neighbors: Vec<String>,
    /// Where it comes from.
    pub sources: Vec<RouteSource>,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteSource {
    /// A neighbor taught it.
    Bgp,
    /// It is one of the host's.
    Host(Redistribute),
}

/// What becomes of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteChanges {
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Preference before LOCAL_PREF, for ourselves alone.
    pub weight: Option<u16>,
    /// How many more times an AS stands in front of the path: the neighbor's on the way in, ours on the way out.
    pub prepend: u8,
    /// NEXT_HOP.
    pub next_hop: Option<Ipv4Addr>,
    /// Communities.
    pub communities: CommunityEdit<Community, CommunityPattern>,
    /// Extended communities.
    pub extended_communities: CommunityEdit<ExtendedCommunity, ExtendedCommunityPattern>,
    /// Large communities.
    pub large_communities: CommunityEdit<LargeCommunity, LargeCommunityPattern>,
}

/// A change of the communities of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommunityEdit<C, P> {
    /// All that are there go first.
    pub clear: bool,
    /// Those that go.
    pub remove: Vec<P>,
    /// Those that come.
    pub add: Vec<C>,
}

impl<C, P> Default for CommunityEdit<C, P> {
    fn default() -> Self {
        Self {
            clear: false,
            remove: Vec::new(),
            add: Vec::new(),
        }
    }
}

/// Numbers from one to another, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NumberRange {
    /// The lowest.
    pub low: u32,
    /// The highest.
    pub high: u32,
}

/// A community (RFC 1997).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Community(pub u32);

/// A large community (RFC 8092).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LargeCommunity(pub [u32; 3]);

/// An extended community (RFC 4360), type first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// Communities by their halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CommunityPattern {
    /// The upper half.
    pub upper: NumberRange,
    /// The lower half.
    pub lower: NumberRange,
}

/// Large communities by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LargeCommunityPattern(pub [NumberRange; 3]);

/// Extended communities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtendedCommunityPattern {
    /// Exactly this one.
    Exactly(ExtendedCommunity),
    /// Route targets or route origins by their numbers.
    Of {
        /// 2 for targets, 3 for origins.
        sub_type: u8,
        /// The AS.
        administrator: NumberRange,
        /// The number after it.
        value: NumberRange,
    },
}

/// An expression over AS paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsPathExpression {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub node: AsPathNode,
}

impl fmt::Display for AsPathExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for AsPathExpression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A part of an expression, whose letters are AS numbers. It is found anywhere in a path that it is not tied to an end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsPathNode {
    /// `.`: any one AS.
    Any,
    /// `65000`, `[65000-65100, 65500]`: one AS out of these.
    OneOf(Vec<NumberRange>),
    /// `^`: the path begins here.
    Start,
    /// `$`: the path ends here.
    End,
    /// One after the other.
    Sequence(Vec<Self>),
    /// `a | b`
    Either(Vec<Self>),
    /// `*`, `+`, `?`, `{2}`, `{2,}`, `{2,4}`
    Repeat {
        /// What.
        node: Box<Self>,
        /// How often at least.
        least: u32,
        /// How often at most; `None` is any number of times.
        most: Option<u32>,
    },
}
