//! Our table as nf_tables messages.
//!
//! Expressions are those that the `nft` program makes of the same text, so a table that we loaded lists as
//! the one that [`super::render`] prints. [`super::observe`] compares with the same expressions.

use super::ruleset::Action;
use super::set::{KeyType, Set, prefix_len, successor};
use super::table::{
    Chain, Direction, Family, Match, Operand, PRIORITY, Rule, Side, TABLE, Table, Then, log_prefix,
};
use super::wire::attribute::Attributes;
use super::wire::expression::{
    Comparison, Expr, LookupResult, Register, Verdict, base, ct, meta, rt,
};
use super::wire::family;
use super::wire::message::{APPEND, CREATE, Kind, Message};
use super::wire::object::{Element, encode_comment, set_flags};

/// Elements in one message. An attribute holds 64 KiB, and the largest element takes under 100 bytes.
/// Even, so that the two ends of a range stay together.
const ELEMENTS_PER_MESSAGE: usize = 512;
/// The kernel replaces `%d` by a number of its own.
const ANONYMOUS_NAME: &str = "__set%d";
const NF_ACCEPT: u32 = 1;
const TCP: u8 = 6;
/// In a TCP header (RFC 9293, section 3.1): where the flags are, and the one that opens a connection.
const TCP_FLAGS: u32 = 13;
const SYN: u8 = 0x02;
/// The option "maximum segment size" (RFC 9293, section 3.2): its kind, and where in it the size is.
const MSS_KIND: u8 = 2;
const MSS_VALUE: u32 = 2;

/// Deletes the table, whether or not it is there.
pub(super) fn remove() -> Vec<Message> {
    vec![
        new_table(),
        table_message(Kind::DelTable, "deleting the table", |_| {}),
    ]
}

/// Replaces the table, whether or not it is there.
pub(super) fn replace(table: &Table) -> Vec<Message> {
    let mut messages = remove();
    messages.push(new_table());
    let mut set_ids = 0..;
    let mut next_id = || set_ids.next().unwrap_or_default();
    for (name, set) in &table.sets {
        let id = next_id();
        let flags = if set.key.is_interval() {
            set_flags::INTERVAL
        } else {
            0
        };
        messages.push(new_set(name, set.key, flags, id));
        messages.extend(add_elements(name, set, flags, Some(id)));
    }
    messages.extend(table.chains.iter().map(new_chain));
    for chain in &table.chains {
        for rule in &chain.rules {
            let expressions = expressions(rule, |set| {
                let id = next_id();
                let flags = set_flags::ANONYMOUS | set_flags::CONSTANT | interval_flag(set);
                messages.push(new_set(ANONYMOUS_NAME, set.key, flags, id));
                messages.extend(add_elements(ANONYMOUS_NAME, set, flags, Some(id)));
                (ANONYMOUS_NAME.to_owned(), id)
            });
            messages.push(new_rule(chain, rule, &expressions));
        }
    }
    messages
}

/// Replaces the elements of one named set.
pub(super) fn replace_elements(name: &str, set: &Set) -> Vec<Message> {
    let flush = table_message(
        Kind::DelElements,
        &format!("emptying the set {name}"),
        |body| {
            body.string(2, name);
        },
    );
    let flags = if set.key.is_interval() {
        set_flags::INTERVAL
    } else {
        0
    };
    let mut messages = vec![flush];
    messages.extend(add_elements(name, set, flags, None));
    messages
}

/// Anonymous sets only have the flag where they need it.
fn interval_flag(set: &Set) -> u32 {
    let has_range = set.intervals().iter().any(|interval| !interval.is_single());
    if has_range { set_flags::INTERVAL } else { 0 }
}

/// Messages about the table itself name it in attribute 1, like all the others.
fn table_message(kind: Kind, doing: &str, fill: impl FnOnce(&mut Attributes)) -> Message {
    let doing = format!("{doing} (table inet {TABLE})");
    Message::new(kind, family::INET, doing).body(|body| {
        body.string(1, TABLE);
        fill(body);
    })
}

fn new_table() -> Message {
    let fill = |body: &mut Attributes| {
        body.u32(2, 0);
    };
    table_message(Kind::NewTable, "creating the table", fill).flags(CREATE)
}

fn new_set(name: &str, key: KeyType, flags: u32, id: u32) -> Message {
    let fill = |body: &mut Attributes| {
        body.string(2, name)
            .u32(3, flags)
            .u32(4, key.number())
            .u32(5, key.len())
            .u32(10, id);
        body.bytes(13, &key_user_data(key));
    };
    table_message(Kind::NewSet, &format!("creating the set {name}"), fill).flags(CREATE)
}

/// How `nft` is to print the keys: their byte order (1 is the host's, 2 the network's; a name counts as
/// the host's, a concatenation as neither). Without it a listing shows names backwards.
fn key_user_data(key: KeyType) -> Vec<u8> {
    const KEY_BYTE_ORDER: u8 = 0;
    let order: u32 = match key {
        KeyType::Ifname => 1,
        KeyType::IfnameIpv4 | KeyType::IfnameIpv6 => 0,
        KeyType::Ipv4 | KeyType::Ipv6 | KeyType::Service | KeyType::Protocol => 2,
    };
    let mut data = vec![KEY_BYTE_ORDER, 4];
    data.extend(order.to_ne_bytes());
    data
}

fn add_elements(name: &str, set: &Set, flags: u32, id: Option<u32>) -> Vec<Message> {
    let elements = elements(set, flags & set_flags::INTERVAL != 0);
    let chunks = elements.chunks(ELEMENTS_PER_MESSAGE).map(|chunk| {
        let fill = |body: &mut Attributes| {
            body.string(2, name);
            if let Some(id) = id {
                body.u32(4, id);
            }
            body.nested(3, |list| {
                chunk.iter().for_each(|element| element.encode(list))
            });
        };
        table_message(Kind::NewElements, &format!("filling the set {name}"), fill).flags(CREATE)
    });
    chunks.collect()
}

/// The kernel's form of intervals: where each begins and, as an element of its own, where it has ended.
/// One that reaches the highest key has no end.
fn elements(set: &Set, interval: bool) -> Vec<Element> {
    let mut elements = Vec::new();
    for range in set.intervals() {
        elements.push(Element::new(range.low.clone(), false));
        if interval {
            let end = successor(&range.high).map(|end| Element::new(end, true));
            elements.extend(end);
        }
    }
    elements
}

fn new_chain(chain: &Chain) -> Message {
    let fill = |body: &mut Attributes| {
        body.string(3, chain.name);
        if let Some(hook) = chain.hook {
            body.nested(4, |nested| {
                nested.u32(1, hook as u32).u32(2, PRIORITY.cast_unsigned());
            });
            body.u32(5, NF_ACCEPT).string(7, "filter");
        }
    };
    table_message(
        Kind::NewChain,
        &format!("creating the chain {}", chain.name),
        fill,
    )
    .flags(CREATE)
}

fn new_rule(chain: &Chain, rule: &Rule, expressions: &[Expr]) -> Message {
    let fill = |body: &mut Attributes| {
        body.string(2, chain.name);
        body.nested(4, |list| {
            expressions.iter().for_each(|expr| expr.encode(list))
        });
        body.bytes(7, &encode_comment(&rule.name));
    };
    let doing = format!(
        "adding the rule \"{}\" to the chain {}",
        rule.name, chain.name
    );
    table_message(Kind::NewRule, &doing, fill).flags(CREATE | APPEND)
}

/// The expressions of a rule. `anonymous` is asked for the name and number of a set for values that are
/// written in the rule.
pub(super) fn expressions(
    rule: &Rule,
    mut anonymous: impl FnMut(&Set) -> (String, u32),
) -> Vec<Expr> {
    let mut out = Vec::new();
    for condition in &rule.matches {
        push_match(&mut out, condition, &mut anonymous);
    }
    match rule.then {
        Then::Decide(action) => {
            out.push(Expr::Counter {
                packets: 0,
                bytes: 0,
            });
            out.push(Expr::Verdict(match action {
                Action::Accept => Verdict::Accept,
                Action::Drop => Verdict::Drop,
            }));
        }
        Then::Jump(chain) => out.push(Expr::Verdict(Verdict::Jump(chain.to_owned()))),
        Then::Log => {
            out.push(Expr::Limit {
                rate: 5,
                unit: 1,
                burst: 5,
                over: false,
            });
            out.push(Expr::Log {
                prefix: Some(log_prefix(&rule.name)),
            });
        }
        Then::ClampMss => push_clamp(&mut out),
    }
    out
}

fn push_match(
    out: &mut Vec<Expr>,
    condition: &Match,
    anonymous: &mut impl FnMut(&Set) -> (String, u32),
) {
    let to = Register::FIRST;
    match condition {
        Match::Established => push_established(out),
        Match::Syn => push_syn(out),
        Match::Family(family) => push_family(out, *family),
        Match::Interface(direction, operand) => {
            let key = match direction {
                Direction::In => meta::IIFNAME,
                Direction::Out => meta::OIFNAME,
            };
            out.push(Expr::Meta { key, to });
            push_operand(out, operand, anonymous);
        }
        Match::Address(family, side, operand) => {
            push_family(out, *family);
            let (offset, len) = address_field(*family, *side);
            match whole_byte_prefix(operand) {
                Some(prefix) => {
                    let len = prefix.len() as u32;
                    out.push(Expr::Payload {
                        base: base::NETWORK,
                        offset,
                        len,
                        to,
                    });
                    out.push(Expr::Cmp {
                        register: to,
                        op: Comparison::Equal,
                        value: prefix,
                    });
                }
                None => {
                    out.push(Expr::Payload {
                        base: base::NETWORK,
                        offset,
                        len,
                        to,
                    });
                    push_operand(out, operand, anonymous);
                }
            }
        }
        Match::InterfaceAndSource(family, set) => {
            push_family(out, *family);
            let (offset, len) = address_field(*family, Side::Source);
            out.push(Expr::Meta {
                key: meta::IIFNAME,
                to,
            });
            let second = Register::SECOND;
            out.push(Expr::Payload {
                base: base::NETWORK,
                offset,
                len,
                to: second,
            });
            out.push(lookup(set.clone(), 0));
        }
        Match::Protocol(operand) => {
            out.push(Expr::Meta {
                key: meta::L4PROTO,
                to,
            });
            push_operand(out, operand, anonymous);
        }
        Match::Port(protocol, operand) => {
            out.push(Expr::Meta {
                key: meta::L4PROTO,
                to,
            });
            out.push(Expr::Cmp {
                register: to,
                op: Comparison::Equal,
                value: vec![*protocol],
            });
            out.push(Expr::Payload {
                base: base::TRANSPORT,
                offset: 2,
                len: 2,
                to,
            });
            push_operand(out, operand, anonymous);
        }
    }
}

fn push_syn(out: &mut Vec<Expr>) {
    let register = Register::FIRST;
    out.push(Expr::Meta {
        key: meta::L4PROTO,
        to: register,
    });
    out.push(Expr::Cmp {
        register,
        op: Comparison::Equal,
        value: vec![TCP],
    });
    out.push(Expr::Payload {
        base: base::TRANSPORT,
        offset: TCP_FLAGS,
        len: 1,
        to: register,
    });
    out.push(Expr::Bitwise {
        from: register,
        to: register,
        mask: vec![SYN],
        xor: vec![0],
    });
    out.push(Expr::Cmp {
        register,
        op: Comparison::NotEqual,
        value: vec![0],
    });
}

fn push_clamp(out: &mut Vec<Expr>) {
    let register = Register::FIRST;
    out.push(Expr::Route {
        key: rt::TCP_MSS,
        to: register,
    });
    out.push(Expr::Byteorder {
        from: register,
        to: register,
        len: 2,
        size: 2,
    });
    out.push(Expr::SetTcpOption {
        kind: MSS_KIND,
        offset: MSS_VALUE,
        len: 2,
        from: register,
    });
}

fn push_established(out: &mut Vec<Expr>) {
    let register = Register::FIRST;
    let mask = (ct::ESTABLISHED | ct::RELATED).to_ne_bytes().to_vec();
    out.push(Expr::Ct {
        key: ct::STATE,
        to: register,
    });
    out.push(Expr::Bitwise {
        from: register,
        to: register,
        mask,
        xor: vec![0; 4],
    });
    out.push(Expr::Cmp {
        register,
        op: Comparison::NotEqual,
        value: vec![0; 4],
    });
}

/// Before a field of the IP header is loaded, the header must be of that family. Once in a rule is enough.
fn push_family(out: &mut Vec<Expr>, family: Family) {
    let to = Register::FIRST;
    let load = Expr::Meta {
        key: meta::NFPROTO,
        to,
    };
    if out.contains(&load) {
        return;
    }
    let number = match family {
        Family::V4 => family::IPV4,
        Family::V6 => family::IPV6,
    };
    let op = Comparison::Equal;
    out.push(load);
    out.push(Expr::Cmp {
        register: to,
        op,
        value: vec![number],
    });
}

/// Compares what is in the first register.
fn push_operand(
    out: &mut Vec<Expr>,
    operand: &Operand,
    anonymous: &mut impl FnMut(&Set) -> (String, u32),
) {
    let register = Register::FIRST;
    let set = match operand {
        Operand::Named(name) => return out.push(lookup(name.clone(), 0)),
        Operand::Inline(set) => set,
    };
    let compare = |op, value: &[u8]| Expr::Cmp {
        register,
        op,
        value: value.to_vec(),
    };
    match set.intervals() {
        [only] if only.is_single() => out.push(compare(Comparison::Equal, &only.low)),
        [only] => match prefix_len(only) {
            Some(length) if matches!(set.key, KeyType::Ipv4 | KeyType::Ipv6) => {
                let mask = prefix_mask(only.low.len(), length);
                let xor = vec![0; mask.len()];
                out.push(Expr::Bitwise {
                    from: register,
                    to: register,
                    mask,
                    xor,
                });
                out.push(compare(Comparison::Equal, &only.low));
            }
            _ => {
                out.push(compare(Comparison::GreaterOrEqual, &only.low));
                out.push(compare(Comparison::LessOrEqual, &only.high));
            }
        },
        _ => {
            let (name, id) = anonymous(set);
            out.push(lookup(name, id));
        }
    }
}

fn lookup(set: String, set_id: u32) -> Expr {
    let register = Register::FIRST;
    Expr::Lookup {
        register,
        set,
        set_id,
        result: LookupResult::Membership,
        inverted: false,
    }
}

/// Offset and length in the IP header, in bytes.
fn address_field(family: Family, side: Side) -> (u32, u32) {
    match (family, side) {
        (Family::V4, Side::Source) => (12, 4),
        (Family::V4, Side::Destination) => (16, 4),
        (Family::V6, Side::Source) => (8, 16),
        (Family::V6, Side::Destination) => (24, 16),
    }
}

/// The bytes of a single prefix that ends at a byte's end: only so many are loaded, and no mask is needed.
fn whole_byte_prefix(operand: &Operand) -> Option<Vec<u8>> {
    let Operand::Inline(set) = operand else {
        return None;
    };
    let [only] = set.intervals() else { return None };
    let length = prefix_len(only).filter(|length| *length > 0 && length % 8 == 0)?;
    only.low
        .get(..usize::try_from(length / 8).ok()?)
        .map(<[u8]>::to_vec)
}

fn prefix_mask(len: usize, prefix: u32) -> Vec<u8> {
    let bits = |index: usize| (prefix as usize).saturating_sub(index * 8).min(8);
    (0..len)
        .map(|index| !(0xff_u8.checked_shr(bits(index) as u32).unwrap_or(0)))
        .collect()
}
