//! The kernel's side of the firewall: read our table, make it right, take it away.

use std::collections::BTreeMap;

use nix::errno::Errno;
use serde::Serialize;

use super::encode;
use super::error::Error;
use super::observe::{Difference, Observed};
use super::ruleset::Ruleset;
use super::socket::NetfilterSocket;
use super::table::{TABLE, Table};
use super::wire::attribute::Fields;
use super::wire::family;
use super::wire::message::{Kind, Message};
use super::wire::object::{ChainObject, Element, RuleObject, SetObject};

/// How often the rules are read again when somebody changes them meanwhile.
const ATTEMPTS: u32 = 8;

/// Our table in the network namespace of the thread that called [`Firewall::open`].
///
/// Calls are synchronous, but the kernel answers at once: none of them waits for anything but a lock.
pub struct Firewall {
    socket: NetfilterSocket,
}

/// What [`Firewall::apply`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// The table was right already.
    Unchanged,
    /// Only elements of these sets were replaced: rules and counters stay.
    Elements {
        /// Names of the sets.
        sets: Vec<String>,
    },
    /// The table was made anew, for these reasons; counters begin at zero.
    Replaced {
        /// What was wrong with it.
        because: Vec<Difference>,
    },
}

/// Chains, rules and sets of one table or of several.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) generation: u32,
    pub(super) chains: Vec<ChainObject>,
    pub(super) rules: Vec<RuleObject>,
    pub(super) sets: Vec<(SetObject, Vec<Element>)>,
}

impl Firewall {
    /// Opens the socket and makes sure that the kernel has nf_tables and lets us use it.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN; [`Error::Unsupported`] without nf_tables.
    pub fn open() -> Result<Self, Error> {
        let mut firewall = Self {
            socket: NetfilterSocket::open()?,
        };
        match firewall.generation() {
            // What nfnetlink says about a subsystem that is not there.
            Err(Error::Refused {
                doing,
                errno: errno @ Errno::EINVAL,
            }) => Err(Error::Unsupported { doing, errno }),
            Err(error) => Err(error),
            Ok(_) => Ok(firewall),
        }
    }

    /// The generation number of all rules in this network namespace. It changes with every change that
    /// anybody makes, so a cheap look at it tells whether [`Firewall::observe`] is worth its while.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let question = Message::new(
            Kind::GetGeneration,
            family::UNSPEC,
            "asking nf_tables for its generation",
        );
        let answer = self.socket.get(&question)?;
        Fields::parse(&answer)?
            .u32(1)
            .ok_or(Error::Malformed { what: "generation" })
    }

    /// Makes the kernel's table what `ruleset` says, in one transaction. If only elements of sets differ,
    /// only they are replaced; if nothing differs, nothing is sent.
    ///
    /// # Errors
    /// [`Error::Ruleset`] before anything is touched; otherwise the kernel's refusal, after which the
    /// table is as it was.
    pub fn apply(&mut self, ruleset: &Ruleset) -> Result<Applied, Error> {
        let table = ruleset.table()?;
        let because = self.observe()?.differences_from(&table);
        if because.is_empty() {
            return Ok(Applied::Unchanged);
        }
        if let Some(sets) = only_elements(&because, &table) {
            let messages: Vec<Message> = sets
                .iter()
                .filter_map(|name| Some(encode::replace_elements(name, table.sets.get(name)?)))
                .flatten()
                .collect();
            self.socket.commit(&messages)?;
            return Ok(Applied::Elements { sets });
        }
        self.socket.commit(&encode::replace(&table))?;
        Ok(Applied::Replaced { because })
    }

    /// Takes our table away. It is no error if it is not there.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove(&mut self) -> Result<(), Error> {
        self.socket.commit(&encode::remove())
    }

    /// Reads our table.
    ///
    /// # Errors
    /// When the kernel does not answer, or the rules never hold still.
    pub fn observe(&mut self) -> Result<Observed, Error> {
        let is_ours = |found: u8, table: &str| found == family::INET && table == TABLE;
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            if !self.has_table()? {
                return Ok(Observed::absent(generation));
            }
            let Some(listing) = self.list(is_ours)? else {
                continue;
            };
            let Listing {
                generation,
                chains,
                rules,
                sets,
            } = listing;
            return Ok(Observed::from_objects(generation, chains, rules, sets));
        }
        Err(Error::Unstable { attempts: ATTEMPTS })
    }

    fn has_table(&mut self) -> Result<bool, Error> {
        let question = Message::new(Kind::GetTable, family::INET, "looking for our table");
        let question = question.body(|body| {
            body.string(1, TABLE);
        });
        match self.socket.get(&question) {
            Ok(_) => Ok(true),
            Err(Error::Refused {
                errno: Errno::ENOENT,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads everything in the wanted tables, until it holds still.
    pub(super) fn list_stable(
        &mut self,
        wanted: impl Fn(u8, &str) -> bool + Copy,
    ) -> Result<Listing, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(listing) = self.list(wanted)? {
                return Ok(listing);
            }
        }
        Err(Error::Unstable { attempts: ATTEMPTS })
    }

    /// `None` when the rules changed while they were read.
    fn list(&mut self, wanted: impl Fn(u8, &str) -> bool) -> Result<Option<Listing>, Error> {
        let generation = self.generation()?;
        let list = |kind, what: &str| {
            Message::new(kind, family::UNSPEC, format!("listing nf_tables {what}"))
        };
        let mut chains = self
            .socket
            .dump(&list(Kind::GetChain, "chains"), ChainObject::decode)?;
        chains.retain(|chain| wanted(chain.family, &chain.table));
        let mut rules = self
            .socket
            .dump(&list(Kind::GetRule, "rules"), RuleObject::decode)?;
        rules.retain(|rule| wanted(rule.family, &rule.table));
        let mut found = self
            .socket
            .dump(&list(Kind::GetSet, "sets"), SetObject::decode)?;
        found.retain(|set| wanted(set.family, &set.table));
        let mut sets = Vec::with_capacity(found.len());
        for set in found {
            let Some(elements) = self.elements(&set)? else {
                return Ok(None);
            };
            sets.push((set, elements));
        }
        let stable = self.generation()? == generation;
        Ok(stable.then_some(Listing {
            generation,
            chains,
            rules,
            sets,
        }))
    }

    /// `None` when the set is gone.
    fn elements(&mut self, set: &SetObject) -> Result<Option<Vec<Element>>, Error> {
        let doing = format!("listing the set {}", set.name);
        let question = Message::new(Kind::GetElements, set.family, doing).body(|body| {
            body.string(1, &set.table).string(2, &set.name);
        });
        let read = |_, attributes: &[u8]| Element::decode_list(attributes);
        match self.socket.dump(&question, read) {
            Ok(parts) => Ok(Some(parts.into_iter().flatten().collect())),
            Err(Error::Refused {
                errno: Errno::ENOENT,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The sets whose elements differ, if that is all that differs.
fn only_elements(because: &[Difference], table: &Table) -> Option<Vec<String>> {
    let names: Option<BTreeMap<String, ()>> = because
        .iter()
        .map(|difference| match difference {
            Difference::SetElements { set, .. } if table.sets.contains_key(set) => {
                Some((set.clone(), ()))
            }
            _ => None,
        })
        .collect();
    names.map(|names| names.into_keys().collect())
}
