//! Prefix lists: ordered rules, the first that matches decides, and what no rule matches is denied.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::Serialize;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Let it pass.
    Permit,
    /// Stop it.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its place; smaller ones are asked first.
    pub seq: u32,
    /// What it does.
    pub decision: Decision,
    /// What a prefix must be inside of, and equal to without `ge` and `le`.
    pub prefix: IpNet,
    /// The shortest length that matches.
    pub ge: Option<u8>,
    /// The longest length that matches.
    pub le: Option<u8>,
}

impl Rule {
    /// The lengths that match: exactly the prefix's own, unless `ge` or `le` widens that; `ge` alone
    /// reaches up to a host's address, `le` alone starts at the prefix's own length.
    #[must_use]
    pub fn lengths(&self) -> RangeInclusive<u8> {
        let own = self.prefix.prefix_len();
        match (self.ge, self.le) {
            (None, None) => own..=own,
            (Some(ge), None) => ge.max(own)..=self.prefix.max_prefix_len(),
            (None, Some(le)) => own..=le,
            (Some(ge), Some(le)) => ge.max(own)..=le,
        }
    }

    /// Whether the rule is about this prefix.
    #[must_use]
    pub fn matches(&self, prefix: &IpNet) -> bool {
        self.prefix.contains(prefix) && self.lengths().contains(&prefix.prefix_len())
    }
}

/// A named list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixList {
    /// Its name, which [`Policy::PrefixList`](crate::Policy) refers to.
    pub name: String,
    rules: Vec<Rule>,
}

impl PrefixList {
    /// Puts the rules into the order of their sequence numbers.
    #[must_use]
    pub fn new(name: impl Into<String>, mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| rule.seq);
        Self {
            name: name.into(),
            rules,
        }
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule that decides about a prefix; `None` is the implicit denial at the end.
    #[must_use]
    pub fn decide(&self, prefix: &IpNet) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(seq: u32, decision: Decision, prefix: &str, ge: Option<u8>, le: Option<u8>) -> Rule {
        let prefix = prefix.parse().unwrap();
        Rule {
            seq,
            decision,
            prefix,
            ge,
            le,
        }
    }

    #[test]
    fn lengths_follow_ge_and_le() {
        let cases = [
            (None, None, "10.0.0.0/16", true),
            (None, None, "10.0.1.0/24", false),
            (None, None, "10.0.0.0/8", false),
            (None, Some(24), "10.0.0.0/16", true),
            (None, Some(24), "10.0.1.0/24", true),
            (None, Some(24), "10.0.1.0/25", false),
            (Some(24), None, "10.0.0.0/16", false),
            (Some(24), None, "10.0.1.1/32", true),
            (Some(20), Some(24), "10.0.0.0/19", false),
            (Some(20), Some(24), "10.0.16.0/20", true),
            (Some(20), Some(24), "10.1.16.0/20", false),
        ];
        for (ge, le, prefix, expected) in cases {
            let rule = rule(1, Decision::Permit, "10.0.0.0/16", ge, le);
            let matches = rule.matches(&prefix.parse().unwrap());
            assert_eq!(matches, expected, "ge {ge:?} le {le:?} {prefix}");
        }
    }

    #[test]
    fn everything_and_the_default_route_are_told_apart() {
        let default = rule(1, Decision::Permit, "0.0.0.0/0", None, None);
        let everything = rule(1, Decision::Permit, "0.0.0.0/0", None, Some(32));
        let (zero, other) = ("0.0.0.0/0".parse().unwrap(), "10.0.0.0/8".parse().unwrap());
        assert!(default.matches(&zero) && !default.matches(&other));
        assert!(everything.matches(&zero) && everything.matches(&other));
    }

    #[test]
    fn the_first_rule_by_sequence_decides_and_none_denies() {
        let list = PrefixList::new(
            "list",
            vec![
                rule(20, Decision::Permit, "10.0.0.0/8", None, Some(32)),
                rule(10, Decision::Deny, "10.1.0.0/16", None, Some(32)),
            ],
        );
        let decide = |prefix: &str| list.decide(&prefix.parse().unwrap()).map(|it| it.seq);
        assert_eq!(decide("10.1.2.0/24"), Some(10));
        assert_eq!(decide("10.2.2.0/24"), Some(20));
        assert_eq!(decide("192.168.0.0/24"), None);
    }
}
