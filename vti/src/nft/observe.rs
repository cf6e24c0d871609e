//! What the kernel holds under our table's name, compared with what it should hold.
//!
//! The comparison is of meaning, not of a mark or a hash: every chain, rule, set and element is read back.
//! So a rule that somebody inserted, an element that somebody deleted and a flushed ruleset all show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::encode::expressions;
use super::ruleset::{Ruleset, RulesetError};
use super::set::{Interval, KeyType, Set, predecessor};
use super::table::{PRIORITY, TABLE, Table};
use super::wire::expression::Expr;
use super::wire::object::{Base, ChainObject, Element, RuleObject, SetObject, set_flags};

/// Packets and bytes that matched a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, with the IP header.
    pub bytes: u64,
}

/// Our table as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    shape: Option<Shape>,
    counters: BTreeMap<String, Count>,
    generation: u32,
}

/// One way in which the kernel's table is not the desired one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "difference")]
pub enum Difference {
    /// There is no table.
    TableMissing,
    /// A set is not there.
    SetMissing {
        /// Its name.
        set: String,
    },
    /// A set is there that should not be.
    SetUnexpected {
        /// Its name.
        set: String,
    },
    /// A set has keys of another type.
    SetType {
        /// Its name.
        set: String,
    },
    /// A set has other elements.
    SetElements {
        /// Its name.
        set: String,
        /// The elements that it has, as nft writes them.
        found: String,
        /// The elements that it should have.
        wanted: String,
    },
    /// A chain is not there.
    ChainMissing {
        /// Its name.
        chain: String,
    },
    /// A chain is there that should not be.
    ChainUnexpected {
        /// Its name.
        chain: String,
    },
    /// A chain has another hook, priority, policy or type.
    ChainBase {
        /// Its name.
        chain: String,
    },
    /// A chain has other rules.
    Rules {
        /// Its name.
        chain: String,
        /// How many rules it has.
        found: usize,
        /// How many it should have.
        wanted: usize,
        /// Number of the first rule that differs, from 1.
        first: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableMissing => write!(f, "table inet {TABLE} is missing"),
            Self::SetMissing { set } => write!(f, "set {set} is missing"),
            Self::SetUnexpected { set } => write!(f, "set {set} should not be there"),
            Self::SetType { set } => write!(f, "set {set} has keys of another type"),
            Self::SetElements { set, found, wanted } => {
                write!(
                    f,
                    "set {set} holds {{ {found} }} and should hold {{ {wanted} }}"
                )
            }
            Self::ChainMissing { chain } => write!(f, "chain {chain} is missing"),
            Self::ChainUnexpected { chain } => write!(f, "chain {chain} should not be there"),
            Self::ChainBase { chain } => {
                write!(f, "chain {chain} has another hook, priority or policy")
            }
            Self::Rules {
                chain,
                found,
                wanted,
                first,
            } => write!(
                f,
                "chain {chain} has {found} rules and should have {wanted}; rule {first} differs"
            ),
        }
    }
}

impl Observed {
    /// Whether there is no table of ours.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.shape.is_none()
    }

    /// Whether there is a table of our name at all.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.shape.is_some()
    }

    /// Counters by the rule's name. Rules of the same name, such as those for IPv4 and IPv6, are summed.
    #[must_use]
    pub fn counters(&self) -> &BTreeMap<String, Count> {
        &self.counters
    }

    /// The kernel's generation number of all nf_tables rules: while it stays, nobody changed anything.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// How the table differs from what it should be; empty when it is right.
    ///
    /// # Errors
    /// When the ruleset does not validate.
    pub fn differences(&self, desired: &Ruleset) -> Result<Vec<Difference>, RulesetError> {
        Ok(self.differences_from(&desired.table()?))
    }

    pub(super) fn differences_from(&self, desired: &Table) -> Vec<Difference> {
        let Some(found) = &self.shape else {
            return vec![Difference::TableMissing];
        };
        let wanted = Shape::desired(desired);
        let mut differences = Vec::new();
        compare_sets(found, &wanted, &mut differences);
        compare_chains(found, &wanted, &mut differences);
        differences
    }

    pub(super) fn absent(generation: u32) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    pub(super) fn from_objects(
        generation: u32,
        chains: Vec<ChainObject>,
        rules: Vec<RuleObject>,
        sets: Vec<(SetObject, Vec<Element>)>,
    ) -> Self {
        let mut counters: BTreeMap<String, Count> = BTreeMap::new();
        for rule in &rules {
            let Some(name) = &rule.comment else { continue };
            for expr in &rule.expressions {
                if let Expr::Counter { packets, bytes } = expr {
                    let count = counters.entry(name.clone()).or_default();
                    count.packets = count.packets.saturating_add(*packets);
                    count.bytes = count.bytes.saturating_add(*bytes);
                }
            }
        }
        let shape = Some(Shape::found(chains, rules, sets));
        Self {
            shape,
            counters,
            generation,
        }
    }
}

/// A table without what the kernel chooses: handles, names of anonymous sets, order of elements, counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Shape {
    sets: BTreeMap<String, SetShape>,
    chains: BTreeMap<String, ChainShape>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SetShape {
    Known(Set),
    /// Keys of a type that we never make.
    Foreign,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ChainShape {
    base: Option<Base>,
    rules: Vec<(Option<String>, Vec<Expr>)>,
}

impl Shape {
    fn desired(table: &Table) -> Self {
        let sets = table.sets.iter();
        let sets = sets
            .map(|(name, set)| (name.clone(), SetShape::Known(set.clone())))
            .collect();
        let chains = table.chains.iter().map(|chain| {
            let base = chain.hook.map(|hook| Base {
                hook: hook as u32,
                priority: PRIORITY,
                kind: "filter".to_owned(),
                policy_drop: false,
            });
            let rules = chain.rules.iter().map(|rule| {
                let expressions = expressions(rule, |set| (braces(set), 0));
                (Some(rule.name.clone()), expressions)
            });
            (
                chain.name.to_owned(),
                ChainShape {
                    base,
                    rules: rules.collect(),
                },
            )
        });
        Self {
            sets,
            chains: chains.collect(),
        }
    }

    fn found(
        chains: Vec<ChainObject>,
        rules: Vec<RuleObject>,
        sets: Vec<(SetObject, Vec<Element>)>,
    ) -> Self {
        let mut shape = Self::default();
        let mut anonymous = BTreeMap::new();
        for (set, elements) in sets {
            let content = set_shape(&set, &elements);
            if set.flags & set_flags::ANONYMOUS == 0 {
                shape.sets.insert(set.name, content);
            } else if let SetShape::Known(content) = content {
                anonymous.insert(set.name, braces(&content));
            }
        }
        for chain in chains {
            shape.chains.insert(
                chain.name,
                ChainShape {
                    base: chain.base,
                    rules: Vec::new(),
                },
            );
        }
        for rule in rules {
            if let Some(chain) = shape.chains.get_mut(&rule.chain) {
                let expressions = rule.expressions.into_iter();
                let expressions = expressions.map(|expr| neutral(expr, &anonymous)).collect();
                chain.rules.push((rule.comment, expressions));
            }
        }
        shape
    }
}

fn braces(set: &Set) -> String {
    format!("{{ {} }}", set.elements_text())
}

/// An expression without counts, and with the content of an anonymous set in place of its name.
fn neutral(expr: Expr, anonymous: &BTreeMap<String, String>) -> Expr {
    match expr {
        Expr::Counter { .. } => Expr::Counter {
            packets: 0,
            bytes: 0,
        },
        Expr::Lookup {
            register,
            set,
            set_id,
            result,
            inverted,
        } => {
            let set = anonymous.get(&set).cloned().unwrap_or(set);
            Expr::Lookup {
                register,
                set,
                set_id,
                result,
                inverted,
            }
        }
        other => other,
    }
}

fn set_shape(set: &SetObject, elements: &[Element]) -> SetShape {
    let Some(key) = KeyType::ALL
        .into_iter()
        .find(|key| key.number() == set.key_type)
    else {
        return SetShape::Foreign;
    };
    let intervals = if set.flags & set_flags::INTERVAL != 0 {
        intervals(elements)
    } else {
        elements
            .iter()
            .map(|element| Interval::single(element.key.clone()))
            .collect()
    };
    SetShape::Known(Set::new(key, intervals))
}

/// Joins beginnings and ends, which the kernel lists in no particular order.
pub(super) fn intervals(elements: &[Element]) -> Vec<Interval> {
    // At the same key the end of one range comes before the beginning of the next.
    let mut sorted: Vec<&Element> = elements
        .iter()
        .filter(|element| !element.catch_all)
        .collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key).then(b.interval_end.cmp(&a.interval_end)));
    let mut found = Vec::new();
    for (index, element) in sorted.iter().enumerate() {
        if element.interval_end {
            continue;
        }
        let end = sorted
            .get(index + 1)
            .and_then(|next| predecessor(&next.key));
        let high = end.unwrap_or_else(|| vec![0xff; element.key.len()]);
        found.push(Interval {
            low: element.key.clone(),
            high,
        });
    }
    found
}

fn compare_sets(found: &Shape, wanted: &Shape, out: &mut Vec<Difference>) {
    let names: BTreeSet<&String> = found.sets.keys().chain(wanted.sets.keys()).collect();
    for name in names {
        let set = name.clone();
        match (found.sets.get(name), wanted.sets.get(name)) {
            (None, _) => out.push(Difference::SetMissing { set }),
            (_, None) => out.push(Difference::SetUnexpected { set }),
            (Some(a), Some(b)) if a == b => {}
            (Some(SetShape::Known(a)), Some(SetShape::Known(b))) if a.key == b.key => {
                let (found, wanted) = (a.elements_text(), b.elements_text());
                out.push(Difference::SetElements { set, found, wanted });
            }
            _ => out.push(Difference::SetType { set }),
        }
    }
}

fn compare_chains(found: &Shape, wanted: &Shape, out: &mut Vec<Difference>) {
    let names: BTreeSet<&String> = found.chains.keys().chain(wanted.chains.keys()).collect();
    for name in names {
        let chain = name.clone();
        match (found.chains.get(name), wanted.chains.get(name)) {
            (None, _) => out.push(Difference::ChainMissing { chain }),
            (_, None) => out.push(Difference::ChainUnexpected { chain }),
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if a.base != b.base => out.push(Difference::ChainBase { chain }),
            (Some(a), Some(b)) => {
                let same = a
                    .rules
                    .iter()
                    .zip(&b.rules)
                    .take_while(|(a, b)| a == b)
                    .count();
                let (found, wanted) = (a.rules.len(), b.rules.len());
                out.push(Difference::Rules {
                    chain,
                    found,
                    wanted,
                    first: same + 1,
                });
            }
        }
    }
}
