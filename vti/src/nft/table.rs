//! The table `inet causeway` between the model and the two ways out: text and netlink.
//!
//! Both the printed form ([`super::text`]) and the messages ([`super::encode`]) are made from these types,
//! so a rule cannot mean one thing on paper and another in the kernel.

use std::collections::BTreeMap;

use super::ruleset::Action;
use super::set::{KeyType, Set};

/// Name of the one table that is ours, in the `inet` family.
pub const TABLE: &str = "causeway";

/// A little before `filter` (0), so that our counters see packets which a host firewall then drops.
pub(super) const PRIORITY: i32 = -10;

/// The whole table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) sets: BTreeMap<String, Set>,
    /// In order: a chain comes before those that jump to it.
    pub(super) chains: Vec<Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// `None` for one that others jump to.
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// Where the kernel enters a base chain. The numbers are those of `enum nf_inet_hooks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Input = 1,
    Forward = 2,
}

impl Hook {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Stored as the rule's comment: the name of its counter.
    pub(super) name: String,
    pub(super) matches: Vec<Match>,
    pub(super) then: Then,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Count, then decide.
    Decide(Action),
    /// Go on in another chain and come back.
    Jump(&'static str),
    /// Only write to the log, at most five lines a second: a limit in the deciding rule would make the
    /// rule itself stop matching.
    Log,
    /// Lower the MSS that a SYN announces to what the packet's route and the way back carry.
    ClampMss,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// The packet belongs to a connection that was let through before, or is an ICMP error about one.
    Established,
    Family(Family),
    Interface(Direction, Operand),
    Address(Family, Side, Operand),
    /// The pair of incoming interface and source address.
    InterfaceAndSource(Family, String),
    Protocol(Operand),
    /// A TCP segment that opens a connection, or answers one that does.
    Syn,
    /// Destination port of one transport protocol.
    Port(u8, Operand),
}

/// What is compared with: one of the table's named sets, or values written in the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    Named(String),
    Inline(Set),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The address part of the nft language's keywords.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    pub(super) fn pair_key(self) -> KeyType {
        match self {
            Self::V4 => KeyType::IfnameIpv4,
            Self::V6 => KeyType::IfnameIpv6,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Rule {
    pub(super) fn new(name: impl Into<String>, matches: Vec<Match>, then: Then) -> Self {
        Self {
            name: name.into(),
            matches,
            then,
        }
    }
}

/// What a log line begins with, so that it can be found by the rule's name.
pub(super) fn log_prefix(rule: &str) -> String {
    format!("{TABLE}: {rule} ")
}
