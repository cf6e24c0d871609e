//! A rule of somebody else's in the manner of the nft language.
//!
//! For people who look for the rule in their own files: close to what `nft list ruleset` prints, but not
//! meant to be loaded. What we cannot read is written in angle brackets.

use super::super::observe::intervals;
use super::super::set::{
    Interval, KeyType, address_text, hex, interval_text, name_text, protocol_text,
};
use super::super::wire::expression::{
    Comparison, Expr, LookupResult, Register, Verdict, base, ct, meta,
};
use super::super::wire::object::set_flags;
use super::rule::Sets;

/// How the value in a register is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Address,
    Port,
    Protocol,
    Name,
    Family,
    State,
    HostNumber,
    Raw,
}

struct Loaded {
    register: Register,
    words: String,
    style: Style,
    mask: Option<Vec<u8>>,
}

struct Writer<'a> {
    sets: Sets<'a>,
    loaded: Vec<Loaded>,
    /// The transport protocol that an earlier expression has established, to name ports.
    protocol: Option<u8>,
    ipv6: bool,
    words: Vec<String>,
}

/// The whole rule. `ipv6` says how to read the network header before the rule itself has said so.
pub(super) fn rule_words<'a>(expressions: &[Expr], ipv6: bool, sets: Sets<'a>) -> String {
    let mut writer = Writer {
        sets,
        loaded: Vec::new(),
        protocol: None,
        ipv6,
        words: Vec::new(),
    };
    for (index, expr) in expressions.iter().enumerate() {
        writer.write(expr, expressions.get(index + 1..).unwrap_or_default());
    }
    writer.words.join(" ")
}

impl Writer<'_> {
    fn write(&mut self, expr: &Expr, rest: &[Expr]) {
        match expr {
            Expr::Meta { key, to } => self.load(*to, meta_words(*key), meta_style(*key)),
            Expr::Ct { key, to } => {
                let style = if *key == ct::STATE {
                    Style::State
                } else {
                    Style::HostNumber
                };
                self.load(*to, ct_words(*key), style);
            }
            Expr::Payload {
                base,
                offset,
                len,
                to,
            } => {
                let words = payload_words(*base, *offset, *len, self.ipv6, self.protocol);
                let style = payload_style(&words);
                self.load(*to, words, style);
            }
            Expr::Route { to, .. } => self.load(*to, "rt".to_owned(), Style::HostNumber),
            Expr::Fib { to, .. } => self.load(*to, "fib".to_owned(), Style::HostNumber),
            Expr::Immediate { .. } | Expr::Byteorder { .. } => {}
            Expr::Bitwise { from, mask, .. } => {
                if let Some(loaded) = self.loaded.iter_mut().find(|it| it.register == *from) {
                    loaded.mask = Some(mask.clone());
                }
            }
            Expr::Cmp {
                register,
                op,
                value,
            } => self.compare(*register, *op, value, rest),
            Expr::Range {
                register,
                inside,
                low,
                high,
            } => {
                let (words, style) = self.loaded(*register);
                let not = if *inside { "" } else { "!= " };
                let (low, high) = (value_words(style, low), value_words(style, high));
                self.words.push(format!("{words} {not}{low}-{high}"));
            }
            Expr::Lookup {
                set,
                result,
                inverted,
                ..
            } => self.lookup(set, *result, *inverted),
            other => self.words.extend(statement_words(other)),
        }
    }

    fn load(&mut self, register: Register, words: String, style: Style) {
        self.loaded.retain(|loaded| loaded.register != register);
        self.loaded.push(Loaded {
            register,
            words,
            style,
            mask: None,
        });
    }

    fn loaded(&self, register: Register) -> (String, Style) {
        let found = self
            .loaded
            .iter()
            .find(|loaded| loaded.register == register);
        found.map_or(("<something>".to_owned(), Style::Raw), |it| {
            (it.words.clone(), it.style)
        })
    }

    fn compare(&mut self, register: Register, op: Comparison, value: &[u8], rest: &[Expr]) {
        let mask = self
            .loaded
            .iter()
            .find(|it| it.register == register)
            .and_then(|it| it.mask.clone());
        let (words, style) = self.loaded(register);
        match (style, op, value) {
            // Said again by the address or port that follows.
            (Style::Family, Comparison::Equal, [family]) => {
                self.ipv6 = *family == 10;
                if loads(rest, base::NETWORK) {
                    return;
                }
            }
            (Style::Protocol, Comparison::Equal, [protocol]) => {
                self.protocol = Some(*protocol);
                if loads(rest, base::TRANSPORT) {
                    return;
                }
            }
            _ => {}
        }
        let op_words = match op {
            Comparison::Equal => "",
            Comparison::NotEqual => "!= ",
            Comparison::Less => "< ",
            Comparison::LessOrEqual => "<= ",
            Comparison::Greater => "> ",
            Comparison::GreaterOrEqual => ">= ",
        };
        self.words.push(match mask {
            None if style == Style::Address && value.len() < 4 => {
                let mut address = value.to_vec();
                address.resize(if self.ipv6 { 16 } else { 4 }, 0);
                let prefix = value.len() * 8;
                format!("{words} {op_words}{}/{prefix}", address_text(&address))
            }
            None => format!("{words} {op_words}{}", value_words(style, value)),
            // "Any of these bits" is how the language writes a state.
            Some(mask) if op == Comparison::NotEqual && value.iter().all(|&byte| byte == 0) => {
                format!("{words} {}", value_words(style, &mask))
            }
            Some(mask) if style == Style::Address => {
                let prefix: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
                format!("{words} {op_words}{}/{prefix}", address_text(value))
            }
            Some(mask) => format!(
                "{words} & {} {op_words}{}",
                hex(&mask),
                value_words(style, value)
            ),
        });
    }

    fn lookup(&mut self, name: &str, result: LookupResult, inverted: bool) {
        let keys: Vec<_> = self
            .loaded
            .iter()
            .map(|loaded| loaded.words.clone())
            .collect();
        let concatenated = (self.sets)(name).is_some_and(|(set, _)| set.key_type >= 0x40);
        let key = match keys.last() {
            _ if concatenated => keys.join(" . "),
            Some(last) => last.clone(),
            None => "<something>".to_owned(),
        };
        let style = self.loaded.last().map_or(Style::Raw, |loaded| loaded.style);
        let set = self.set_words(name, if concatenated { Style::Raw } else { style });
        let not = if inverted { "!= " } else { "" };
        self.words.push(match result {
            LookupResult::Membership => format!("{key} {not}{set}"),
            LookupResult::Verdict => format!("{key} vmap {set}"),
            LookupResult::Data(_) => format!("{key} map {set}"),
        });
    }

    /// `@name`, or the elements of a set that has none.
    fn set_words(&self, name: &str, style: Style) -> String {
        const SHOWN: usize = 8;
        let Some((set, elements)) = (self.sets)(name) else {
            return format!("@{name}");
        };
        if set.flags & set_flags::ANONYMOUS == 0 {
            return format!("@{name}");
        }
        let verdict = |low: &[u8]| {
            let mut starts = elements.iter().filter(|element| !element.interval_end);
            let found = starts.find(|element| element.key == low)?;
            Some(format!(" : {}", verdict_words(found.verdict.as_ref()?)))
        };
        let ranges = if set.flags & set_flags::INTERVAL == 0 {
            elements
                .iter()
                .map(|element| Interval::single(element.key.clone()))
                .collect()
        } else {
            intervals(elements)
        };
        let known = KeyType::ALL
            .into_iter()
            .find(|key| key.number() == set.key_type);
        let words = |range: &Interval| {
            let key = match known {
                Some(key) => interval_text(key, range),
                None if range.is_single() => value_words(style, &range.low),
                None => {
                    format!(
                        "{}-{}",
                        value_words(style, &range.low),
                        value_words(style, &range.high)
                    )
                }
            };
            key + &verdict(&range.low).unwrap_or_default()
        };
        let mut shown: Vec<String> = ranges.iter().take(SHOWN).map(words).collect();
        if ranges.len() > SHOWN {
            shown.push("…".to_owned());
        }
        format!("{{ {} }}", shown.join(", "))
    }
}

/// Whether the next thing that is loaded is from this header.
fn loads(rest: &[Expr], header: u32) -> bool {
    let mut next = rest.iter().filter(|expr| {
        !matches!(
            expr,
            Expr::Meta {
                key: meta::IIFNAME,
                ..
            }
        )
    });
    matches!(next.next(), Some(Expr::Payload { base, .. }) if *base == header)
}

fn statement_words(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Counter { .. } => "counter".to_owned(),
        Expr::Verdict(verdict) => verdict_words(verdict),
        Expr::Limit {
            rate, unit, over, ..
        } => {
            let unit = match unit {
                1 => "second".to_owned(),
                60 => "minute".to_owned(),
                3600 => "hour".to_owned(),
                other => format!("{other}s"),
            };
            format!(
                "limit rate {}{rate}/{unit}",
                if *over { "over " } else { "" }
            )
        }
        Expr::Log {
            prefix: Some(prefix),
        } => format!("log prefix \"{prefix}\""),
        Expr::Log { prefix: None } => "log".to_owned(),
        Expr::Reject => "reject".to_owned(),
        Expr::Redirect => "dnat".to_owned(),
        Expr::Translate => "masquerade".to_owned(),
        Expr::Xt {
            target: true, name, ..
        } => format!("<iptables target {name}>"),
        Expr::Xt { name, .. } => format!("<iptables match {name}>"),
        Expr::SetTcpOption { kind, .. } => format!("tcp option {kind} set"),
        Expr::Effect { name } => name.clone(),
        Expr::Unknown { name } => format!("<{name}>"),
        _ => return None,
    })
}

fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Queue => "queue".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Break => "break".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Return => "return".to_owned(),
        Verdict::Other(code) => format!("<verdict {code}>"),
    }
}

pub(super) fn meta_words(key: u32) -> String {
    let name = match key {
        meta::PROTOCOL => "meta protocol",
        3 => "meta mark",
        meta::IIF => "iif",
        meta::OIF => "oif",
        meta::IIFNAME => "iifname",
        meta::OIFNAME => "oifname",
        meta::NFPROTO => "meta nfproto",
        meta::L4PROTO => "meta l4proto",
        10 => "meta skuid",
        meta::PKTTYPE => "meta pkttype",
        21 => "iifgroup",
        22 => "oifgroup",
        other => return format!("<meta {other}>"),
    };
    name.to_owned()
}

fn meta_style(key: u32) -> Style {
    match key {
        meta::IIFNAME | meta::OIFNAME => Style::Name,
        meta::NFPROTO => Style::Family,
        meta::L4PROTO => Style::Protocol,
        meta::PROTOCOL => Style::Raw,
        _ => Style::HostNumber,
    }
}

pub(super) fn ct_words(key: u32) -> String {
    let name = match key {
        ct::STATE => "ct state",
        1 => "ct direction",
        2 => "ct status",
        3 => "ct mark",
        other => return format!("<ct {other}>"),
    };
    name.to_owned()
}

/// A field of a header by its offset and length in bytes.
pub(super) fn payload_words(
    header: u32,
    offset: u32,
    len: u32,
    ipv6: bool,
    protocol: Option<u8>,
) -> String {
    let transport = protocol.map_or_else(|| "th".to_owned(), protocol_text);
    match (header, ipv6, offset, len) {
        (base::NETWORK, false, 12, 1..=4) => "ip saddr".to_owned(),
        (base::NETWORK, false, 16, 1..=4) => "ip daddr".to_owned(),
        (base::NETWORK, false, 9, 1) => "ip protocol".to_owned(),
        (base::NETWORK, false, 6, 2) => "ip frag-off".to_owned(),
        (base::NETWORK, true, 8, 1..=16) => "ip6 saddr".to_owned(),
        (base::NETWORK, true, 24, 1..=16) => "ip6 daddr".to_owned(),
        (base::NETWORK, true, 6, 1) => "ip6 nexthdr".to_owned(),
        (base::TRANSPORT, _, 0, 1) if matches!(protocol, Some(1 | 58)) => {
            format!("{transport} type")
        }
        (base::TRANSPORT, _, 0, 2) => format!("{transport} sport"),
        (base::TRANSPORT, _, 2, 2) => format!("{transport} dport"),
        _ => format!("<{len} bytes at {offset} of header {header}>"),
    }
}

fn payload_style(words: &str) -> Style {
    match words.rsplit(' ').next() {
        Some("saddr" | "daddr") => Style::Address,
        Some("sport" | "dport") => Style::Port,
        Some("protocol" | "nexthdr") => Style::Protocol,
        _ => Style::Raw,
    }
}

fn value_words(style: Style, value: &[u8]) -> String {
    match (style, value) {
        (Style::Address, _) => address_text(value),
        (Style::Port, [high, low]) => u16::from_be_bytes([*high, *low]).to_string(),
        (Style::Protocol, [number]) => protocol_text(*number),
        (Style::Name, [.., 0]) => name_text(value),
        // Not padded: only the beginning is compared.
        (Style::Name, _) => format!("\"{}*\"", String::from_utf8_lossy(value)),
        (Style::Family, [10]) => "ipv6".to_owned(),
        (Style::Family, [2]) => "ipv4".to_owned(),
        (Style::State, [a, b, c, d]) => state_words(u32::from_ne_bytes([*a, *b, *c, *d])),
        (Style::HostNumber, [a, b, c, d]) => u32::from_ne_bytes([*a, *b, *c, *d]).to_string(),
        _ => hex(value),
    }
}

fn state_words(state: u32) -> String {
    let names = [
        (1, "invalid"),
        (2, "established"),
        (4, "related"),
        (8, "new"),
        (64, "untracked"),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| state & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join(",")
}
