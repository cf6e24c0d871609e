//! One rule and one packet: does it match, and what does it want?

use super::super::wire::expression::{Comparison, Expr, LookupResult, Register, Verdict};
use super::super::wire::object::{Element, SetObject};
use super::lookup::{candidates, within};
use super::packet::{Byte, Loaded, Packet, Truth, compare, known, unknown};
use super::words::{ct_words, meta_words, payload_words};
use super::xt;

/// What a rule wants if it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Verdict(Verdict),
    /// The packet goes to another destination.
    Redirect,
    /// The packet gets another source.
    Translate,
    /// We do not know what it wants.
    Unknown,
}

/// The result of a rule for a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    /// What it may want; several for a verdict map whose key is not known. Empty: nothing.
    pub(super) wishes: Vec<Wish>,
    /// Whether one of the wishes is surely carried out. Not with no wish at all.
    pub(super) certain: bool,
    /// What kept us from being certain.
    pub(super) on: Option<String>,
}

impl Effect {
    fn none() -> Self {
        Self {
            wishes: Vec::new(),
            certain: true,
            on: None,
        }
    }
}

/// Finds a set of the rule's table by name.
pub(super) type Sets<'a> = &'a dyn Fn(&str) -> Option<&'a (SetObject, Vec<Element>)>;

const REGISTER_BYTES: usize = 64;

struct Machine<'a> {
    packet: &'a Packet<'a>,
    sets: Sets<'a>,
    registers: [Byte; REGISTER_BYTES],
    /// The last thing that was loaded, to name what a doubt is about.
    last_loaded: String,
    /// The key of `meta` that a register holds, if it was the last thing loaded.
    last_meta: Option<(Register, u32)>,
    doubt: Option<String>,
}

/// Runs a rule's expressions. They are a conjunction: the first that does not match ends it.
pub(super) fn evaluate<'a>(expressions: &[Expr], packet: &'a Packet<'a>, sets: Sets<'a>) -> Effect {
    let registers = [Byte::UNKNOWN; REGISTER_BYTES];
    let mut machine = Machine {
        packet,
        sets,
        registers,
        last_loaded: String::new(),
        last_meta: None,
        doubt: None,
    };
    let mut wishes = Vec::new();
    let mut complete = true;
    for expr in expressions {
        match machine.step(expr) {
            Step::Truth(Truth::No) => return Effect::none(),
            Step::Truth(Truth::Maybe) => machine.doubt_about(expr),
            Step::Truth(Truth::Yes) => {}
            Step::Wishes { found, certain } => {
                if found.is_empty() {
                    return Effect::none();
                }
                wishes = found;
                complete = certain;
                if !certain {
                    machine.doubt_about(expr);
                }
                break;
            }
        }
    }
    let certain = complete && machine.doubt.is_none();
    Effect {
        wishes,
        certain,
        on: machine.doubt,
    }
}

enum Step {
    Truth(Truth),
    /// The rule ends here with one of these.
    Wishes {
        found: Vec<Wish>,
        certain: bool,
    },
}

fn sure(wish: Wish) -> Step {
    Step::Wishes {
        found: vec![wish],
        certain: true,
    }
}

impl Machine<'_> {
    fn step(&mut self, expr: &Expr) -> Step {
        Step::Truth(match expr {
            Expr::Meta { key, to } => {
                self.last_loaded = meta_words(*key);
                let step = self.load(*to, self.packet.meta(*key));
                self.last_meta = Some((*to, *key));
                return step;
            }
            Expr::Payload {
                base,
                offset,
                len,
                to,
            } => {
                let ipv6 = self.packet.is_ipv6();
                self.last_loaded = payload_words(*base, *offset, *len, ipv6, None);
                return self.load(*to, self.packet.payload(*base, *offset, *len));
            }
            Expr::Ct { key, to } => {
                self.last_loaded = ct_words(*key);
                self.store(*to, &self.packet.conntrack(*key))
            }
            Expr::Route { to, .. } => {
                "rt".clone_into(&mut self.last_loaded);
                // At most an IPv6 next hop.
                self.store(*to, &[Byte::UNKNOWN; 16])
            }
            Expr::Fib { result, flags, to } => self.fib(*result, *flags, *to),
            Expr::Immediate { to, value } => self.store(*to, &known(value)),
            Expr::Bitwise {
                from,
                to,
                mask,
                xor,
            } => {
                let bytes = self.read(*from, mask.len());
                let masked = bytes.iter().zip(mask.iter().zip(xor));
                let masked: Vec<Byte> = masked
                    .map(|(byte, (&mask, &xor))| byte.mask_xor(mask, xor))
                    .collect();
                self.store(*to, &masked)
            }
            Expr::Byteorder {
                from,
                to,
                len,
                size,
            } => {
                let bytes = self.read(*from, *len as usize);
                let size = (*size).max(1) as usize;
                let swapped = bytes
                    .chunks(size)
                    .flat_map(|part| part.iter().rev().copied());
                self.store(*to, &swapped_for_host(&bytes, swapped.collect()))
            }
            Expr::Cmp {
                register,
                op,
                value,
            } => self.compare(*register, *op, value),
            Expr::Range {
                register,
                inside,
                low,
                high,
            } => {
                let found = within(&self.read(*register, low.len()), low, high);
                if *inside { found } else { found.not() }
            }
            Expr::Lookup {
                register,
                set,
                result,
                inverted,
                ..
            } => {
                return self.lookup(*register, set, *result, *inverted);
            }
            Expr::Xt {
                target: false,
                name,
                revision,
                data,
            } => xt::matches(name, *revision, data, self.packet),
            Expr::Xt {
                target: true, name, ..
            } => match xt::target(name) {
                None => Truth::Yes,
                Some(Wish::Unknown) => {
                    return Step::Wishes {
                        found: vec![Wish::Unknown],
                        certain: false,
                    };
                }
                Some(wish) => return sure(wish),
            },
            Expr::Verdict(Verdict::Continue) | Expr::Counter { .. } | Expr::Log { .. } => {
                Truth::Yes
            }
            Expr::Effect { .. } => Truth::Yes,
            // A header that is cut short ends the rule.
            Expr::SetTcpOption { .. } => Truth::Maybe,
            Expr::Verdict(Verdict::Break) => Truth::No,
            Expr::Limit { .. } => Truth::Maybe,
            Expr::Verdict(verdict) => return sure(Wish::Verdict(verdict.clone())),
            Expr::Reject => return sure(Wish::Verdict(Verdict::Drop)),
            Expr::Redirect => return sure(Wish::Redirect),
            Expr::Translate => return sure(Wish::Translate),
            // It may load any register, match or not.
            Expr::Unknown { .. } => {
                self.registers = [Byte::UNKNOWN; REGISTER_BYTES];
                self.last_meta = None;
                Truth::Maybe
            }
        })
    }

    fn compare(&self, register: Register, op: Comparison, value: &[u8]) -> Truth {
        let excluded = self
            .last_meta
            .is_some_and(|(from, key)| from == register && self.packet.excludes(key, value));
        match op {
            Comparison::Equal if excluded => Truth::No,
            Comparison::NotEqual if excluded => Truth::Yes,
            _ => compare(&self.read(register, value.len()), op, value),
        }
    }

    fn doubt_about(&mut self, expr: &Expr) {
        let about = match expr {
            Expr::Unknown { name } => format!("the expression `{name}`"),
            Expr::Xt { name, .. } => format!("the iptables extension `{name}`"),
            Expr::Limit { .. } => "a rate limit".to_owned(),
            _ => format!("`{}`", self.last_loaded),
        };
        self.doubt.get_or_insert(about);
    }

    fn load(&mut self, to: Register, loaded: Loaded) -> Step {
        Step::Truth(match loaded {
            Loaded::Bytes(bytes) => self.store(to, &bytes),
            Loaded::Break => Truth::No,
        })
    }

    /// Shorter values are padded with zeros to a multiple of four bytes, as the kernel does.
    fn store(&mut self, to: Register, bytes: &[Byte]) -> Truth {
        // Another value in the same register is no longer what `meta` said.
        if self.last_meta.is_some_and(|(register, _)| register == to) {
            self.last_meta = None;
        }
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        let bytes = bytes
            .iter()
            .copied()
            .chain(std::iter::repeat_n(Byte::new(0), padding));
        let registers = self.registers.iter_mut().skip(to.offset());
        registers
            .zip(bytes)
            .for_each(|(register, byte)| *register = byte);
        Truth::Yes
    }

    fn read(&self, from: Register, len: usize) -> Vec<Byte> {
        let mut bytes: Vec<Byte> = self
            .registers
            .iter()
            .skip(from.offset())
            .take(len)
            .copied()
            .collect();
        bytes.resize(len, Byte::UNKNOWN);
        bytes
    }

    fn fib(&mut self, result: u32, flags: u32, to: Register) -> Truth {
        const ADDRESS_TYPE: u32 = 3;
        self.last_loaded = "fib".to_owned();
        let bytes = if result == ADDRESS_TYPE {
            self.packet.address_type(flags)
        } else {
            unknown(16)
        };
        self.store(to, &bytes)
    }

    fn lookup(&mut self, from: Register, set: &str, result: LookupResult, inverted: bool) -> Step {
        let Some((set, elements)) = (self.sets)(set) else {
            return Step::Truth(Truth::Maybe);
        };
        let catch_all = elements.iter().filter(|element| element.catch_all);
        let candidates = candidates(set, elements, |len| self.read(from, len));
        let exact = candidates.iter().any(|(_, truth)| *truth == Truth::Yes);
        let found = match (exact, candidates.is_empty(), catch_all.clone().count()) {
            (true, _, _) | (_, true, 1..) => Truth::Yes,
            (_, true, _) => Truth::No,
            _ => Truth::Maybe,
        };
        match result {
            LookupResult::Membership if inverted => Step::Truth(found.not()),
            LookupResult::Membership => Step::Truth(found),
            // What the map holds is not followed further.
            LookupResult::Data(to) => {
                self.store(to, &unknown(16));
                Step::Truth(if found == Truth::No {
                    Truth::No
                } else {
                    Truth::Maybe
                })
            }
            LookupResult::Verdict => {
                let chosen = candidates.iter().map(|(element, _)| *element);
                let chosen = chosen.chain(catch_all.filter(|_| !exact));
                let verdicts = chosen.filter_map(|element| element.verdict.clone());
                let found: Vec<Wish> = verdicts.map(Wish::Verdict).collect();
                let certain = found.len() == 1 && (exact || candidates.is_empty());
                Step::Wishes { found, certain }
            }
        }
    }
}

/// Network and host order only differ on little-endian machines.
fn swapped_for_host(bytes: &[Byte], swapped: Vec<Byte>) -> Vec<Byte> {
    if cfg!(target_endian = "big") {
        bytes.to_vec()
    } else {
        swapped
    }
}
