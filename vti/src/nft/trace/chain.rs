//! From rule to rule and from chain to chain, along every base chain of a packet's path.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::super::firewall::Listing;
use super::super::wire::expression::Verdict;
use super::super::wire::family;
use super::super::wire::object::{Base, ChainObject, Element, RuleObject, SetObject};
use super::packet::Packet;
use super::rule::{Effect, Wish, evaluate};
use super::words::rule_words;
use super::{At, Doubt, Flow, Outcome, Path, Place, When};

/// A table: its family and name.
type TableKey<'a> = (u8, &'a str);

/// All rules, by where they are.
pub(super) struct Walk<'a> {
    base_chains: Vec<(&'a ChainObject, &'a Base)>,
    rules: BTreeMap<(TableKey<'a>, &'a str), Vec<&'a RuleObject>>,
    sets: BTreeMap<(TableKey<'a>, &'a str), &'a (SetObject, Vec<Element>)>,
}

/// In which ways a chain can end for a packet.
#[derive(Debug, Clone, Default)]
struct Ends {
    accepts: bool,
    /// The end is reached, or a return: the caller goes on.
    falls: bool,
    drops: Vec<Place>,
    rewrites: Vec<Place>,
    doubts: Vec<Doubt>,
}

impl Ends {
    fn merge(&mut self, other: Self) {
        self.accepts |= other.accepts;
        self.drops.extend(other.drops);
        self.rewrites.extend(other.rewrites);
        self.doubts.extend(other.doubts);
    }
}

/// What one base chain does with a packet.
enum Fate {
    Passes,
    Dropped(Place),
    Rewritten(Place),
    Unclear(Place, Vec<Doubt>),
}

impl<'a> Walk<'a> {
    pub(super) fn new(listing: &'a Listing) -> Self {
        let bases = listing.chains.iter();
        let mut base_chains: Vec<_> = bases
            .filter_map(|chain| Some((chain, chain.base.as_ref()?)))
            .collect();
        base_chains.sort_by_key(|(_, base)| base.priority);
        let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for rule in &listing.rules {
            let key = ((rule.family, rule.table.as_str()), rule.chain.as_str());
            rules.entry(key).or_default().push(rule);
        }
        let sets = listing.sets.iter();
        let sets = sets.map(|set| {
            (
                ((set.0.family, set.0.table.as_str()), set.0.name.as_str()),
                set,
            )
        });
        Self {
            base_chains,
            rules,
            sets: sets.collect(),
        }
    }

    /// Follows one packet through all base chains in order.
    pub(super) fn follow(&self, flow: &Flow, packet: &Packet<'_>) -> Outcome {
        let mut unclear = None;
        let mut rewritten = None;
        for (number, words) in hooks(flow.path) {
            for (chain, base) in &self.base_chains {
                let applies = base.hook == *number && sees(chain.family, packet.is_ipv6());
                // Address translation is decided once, by the first packet of a connection.
                if !applies || (base.kind == "nat" && packet.is_established()) {
                    continue;
                }
                match self.fate(chain, base, words, packet) {
                    Fate::Passes => {}
                    Fate::Dropped(by) => {
                        let remedy = remedy(&by, flow);
                        return Outcome::Dropped {
                            by,
                            when: When::Always,
                            remedy,
                        };
                    }
                    Fate::Rewritten(by) => rewritten = rewritten.or(Some(by)),
                    Fate::Unclear(by, doubts) => unclear = unclear.or(Some((by, doubts))),
                }
            }
        }
        match (rewritten, unclear) {
            (Some(by), _) => {
                let remedy = remedy(&by, flow);
                Outcome::Rewritten { by, remedy }
            }
            (None, Some((by, doubts))) => Outcome::Unclear { by, doubts },
            (None, None) => Outcome::Passes,
        }
    }

    fn fate(
        &self,
        chain: &ChainObject,
        base: &Base,
        hook: &'static str,
        packet: &Packet<'_>,
    ) -> Fate {
        let visit = Visit {
            walk: self,
            table: (chain.family, &chain.table),
            base_chain: &chain.name,
            hook,
            packet,
            seen: RefCell::default(),
        };
        let mut ends = visit.chain(&chain.name);
        if ends.falls && base.policy_drop {
            ends.drops.push(visit.place(&chain.name, At::Policy));
        } else if ends.falls {
            ends.accepts = true;
        }
        let Ends {
            accepts,
            drops,
            rewrites,
            doubts,
            ..
        } = ends;
        match (
            drops.into_iter().next(),
            rewrites.into_iter().next(),
            accepts,
        ) {
            (None, None, _) => Fate::Passes,
            (Some(by), None, false) => Fate::Dropped(by),
            (None, Some(by), false) => Fate::Rewritten(by),
            (Some(by), _, _) | (None, Some(by), true) => Fate::Unclear(by, doubts),
        }
    }
}

/// One packet in one base chain.
struct Visit<'w> {
    walk: &'w Walk<'w>,
    table: TableKey<'w>,
    base_chain: &'w str,
    hook: &'static str,
    packet: &'w Packet<'w>,
    /// How each chain ends: it depends on nothing but the packet, so chains that are reached in many ways
    /// are followed once.
    seen: RefCell<BTreeMap<String, Ends>>,
}

impl<'w> Visit<'w> {
    fn chain(&self, name: &str) -> Ends {
        if let Some(ends) = self.seen.borrow().get(name) {
            return ends.clone();
        }
        // The kernel refuses loops. This only keeps a listing that lies from hanging us.
        self.seen.borrow_mut().insert(
            name.to_owned(),
            Ends {
                falls: true,
                ..Ends::default()
            },
        );
        let ends = self.follow_rules(name);
        self.seen.borrow_mut().insert(name.to_owned(), ends.clone());
        ends
    }

    fn follow_rules(&self, chain: &str) -> Ends {
        let mut ends = Ends::default();
        let rules = self
            .walk
            .rules
            .get(&(self.table, chain))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let sets = |name: &str| self.walk.sets.get(&(self.table, name)).copied();
        for (index, rule) in rules.iter().enumerate() {
            let effect = evaluate(&rule.expressions, self.packet, &sets);
            if effect.wishes.is_empty() {
                continue;
            }
            let place = || self.place_of(chain, index, rule);
            let Effect {
                wishes,
                certain,
                on,
            } = effect;
            let mut goes_on = !certain;
            for wish in wishes {
                goes_on |= self.carry_out(wish, &place, &mut ends);
            }
            if let Some(on) = on {
                ends.doubts.push(Doubt { place: place(), on });
            }
            if !goes_on {
                return ends;
            }
        }
        ends.falls = true;
        ends
    }

    /// Whether the next rule is reached.
    fn carry_out(&self, wish: Wish, place: &dyn Fn() -> Place, ends: &mut Ends) -> bool {
        match wish {
            Wish::Redirect => ends.rewrites.push(place()),
            // Another source only matters to what is routed: our own packets have the right one already.
            Wish::Translate if self.hook == "postrouting" => ends.rewrites.push(place()),
            Wish::Translate => ends.accepts = true,
            Wish::Unknown | Wish::Verdict(Verdict::Other(_)) => {
                ends.accepts = true;
                ends.drops.push(place());
                return true;
            }
            Wish::Verdict(Verdict::Accept) => ends.accepts = true,
            Wish::Verdict(Verdict::Drop) => ends.drops.push(place()),
            Wish::Verdict(Verdict::Queue) => {
                ends.accepts = true;
                ends.drops.push(place());
                ends.doubts.push(Doubt {
                    place: place(),
                    on: "a program behind a queue".into(),
                });
            }
            Wish::Verdict(Verdict::Return) => ends.falls = true,
            Wish::Verdict(Verdict::Continue | Verdict::Break) => return true,
            Wish::Verdict(Verdict::Jump(chain)) => {
                let inner = self.chain(&chain);
                let falls = inner.falls;
                ends.merge(inner);
                return falls;
            }
            Wish::Verdict(Verdict::Goto(chain)) => {
                let inner = self.chain(&chain);
                ends.falls |= inner.falls;
                ends.merge(inner);
            }
        }
        false
    }

    fn place(&self, chain: &str, at: At) -> Place {
        Place {
            family: family::words(self.table.0),
            table: self.table.1.to_owned(),
            chain: chain.to_owned(),
            base_chain: self.base_chain.to_owned(),
            hook: self.hook,
            at,
        }
    }

    fn place_of(&self, chain: &str, index: usize, rule: &RuleObject) -> Place {
        let sets = |name: &str| self.walk.sets.get(&(self.table, name)).copied();
        let text = rule_words(&rule.expressions, self.table.0 == family::IPV6, &sets);
        self.place(
            chain,
            At::Rule {
                handle: rule.handle,
                position: index + 1,
                text,
            },
        )
    }
}

/// The hooks of a path, in order, with their names.
fn hooks(path: Path) -> &'static [(u32, &'static str)] {
    match path {
        Path::In => &[(0, "prerouting"), (1, "input")],
        Path::Through => &[(0, "prerouting"), (2, "forward"), (4, "postrouting")],
        Path::Out => &[(3, "output")],
    }
}

fn sees(chain_family: u8, ipv6: bool) -> bool {
    match chain_family {
        family::INET => true,
        family::IPV6 => ipv6,
        _ => !ipv6,
    }
}

/// A rule at the beginning of the base chain that accepts the flow.
fn remedy(by: &Place, flow: &Flow) -> String {
    let Place {
        family,
        table,
        base_chain,
        hook,
        ..
    } = by;
    let mut flow = flow.clone();
    // What is followed for one host between here and the cloud holds for all of them.
    if flow.path == Path::Through {
        (flow.source, flow.destination) = (None, None);
    }
    // A chain before routing does not know the outgoing interface, and one after it no incoming one.
    match *hook {
        "prerouting" => flow.outgoing = None,
        "postrouting" => flow.incoming = None,
        _ => {}
    }
    let matches = flow.matches();
    format!("nft insert rule {family} {table} {base_chain} {matches} accept")
}
