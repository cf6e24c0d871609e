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
