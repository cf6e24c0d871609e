//! Tables, chains, rules, sets and elements as the kernel lists them.

use super::super::error::Error;
use super::attribute::{Attributes, DATA_VALUE, DATA_VERDICT, Fields};
use super::expression::{Expr, Verdict};

/// A chain of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ChainObject {
    pub(in super::super) family: u8,
    pub(in super::super) table: String,
    pub(in super::super) name: String,
    pub(in super::super) base: Option<Base>,
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Base {
    /// `enum nf_inet_hooks`.
    pub(in super::super) hook: u32,
    pub(in super::super) priority: i32,
    /// `filter`, `nat` or `route`.
    pub(in super::super) kind: String,
    pub(in super::super) policy_drop: bool,
}

/// A rule of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct RuleObject {
    pub(in super::super) family: u8,
    pub(in super::super) table: String,
    pub(in super::super) chain: String,
    pub(in super::super) handle: u64,
    pub(in super::super) comment: Option<String>,
    pub(in super::super) expressions: Vec<Expr>,
}

/// A set or map, without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct SetObject {
    pub(in super::super) family: u8,
    pub(in super::super) table: String,
    pub(in super::super) name: String,
    pub(in super::super) flags: u32,
    pub(in super::super) key_type: u32,
}

/// Flags of a set (`enum nft_set_flags`).
pub(in super::super) mod set_flags {
    pub(in super::super::super) const ANONYMOUS: u32 = 0x1;
    pub(in super::super::super) const CONSTANT: u32 = 0x2;
    pub(in super::super::super) const INTERVAL: u32 = 0x4;
}

/// One element. In an interval set a range is two of them: where it begins and, exclusively, where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Element {
    pub(in super::super) key: Vec<u8>,
    /// The inclusive end, in sets of concatenated ranges.
    pub(in super::super) key_end: Option<Vec<u8>>,
    pub(in super::super) interval_end: bool,
    pub(in super::super) catch_all: bool,
    pub(in super::super) verdict: Option<Verdict>,
    pub(in super::super) data: Option<Vec<u8>>,
}

const ELEMENT_INTERVAL_END: u32 = 1;
const ELEMENT_CATCH_ALL: u32 = 2;

impl Element {
    pub(in super::super) fn new(key: Vec<u8>, interval_end: bool) -> Self {
        Self {
            key,
            key_end: None,
            interval_end,
            catch_all: false,
            verdict: None,
            data: None,
        }
    }

    pub(in super::super) fn encode(&self, list: &mut Attributes) {
        list.nested(1, |element| {
            if self.interval_end {
                element.u32(3, ELEMENT_INTERVAL_END);
            }
            element.data(1, &self.key);
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let fields = Fields::parse(bytes)?;
        let flags = fields.u32(3).unwrap_or(0);
        let data = fields.nested(2);
        let verdict = data.as_ref().and_then(|data| data.nested(DATA_VERDICT));
        Ok(Self {
            key: fields.data(1).unwrap_or_default().to_vec(),
            key_end: fields.data(10).map(<[u8]>::to_vec),
            interval_end: flags & ELEMENT_INTERVAL_END != 0,
            catch_all: flags & ELEMENT_CATCH_ALL != 0,
            verdict: verdict.and_then(|verdict| Verdict::decode(&verdict)),
            data: data
                .and_then(|data| data.bytes(DATA_VALUE))
                .map(<[u8]>::to_vec),
        })
    }

    /// The elements in one message of a dump.
    pub(in super::super) fn decode_list(attributes: &[u8]) -> Result<Vec<Self>, Error> {
        let fields = Fields::parse(attributes)?;
        let Some(list) = fields.bytes(3) else {
            return Ok(Vec::new());
        };
        Fields::parse(list)?
            .iter()
            .map(|(_, element)| Self::decode(element))
            .collect()
    }
}

fn missing(what: &'static str) -> impl FnOnce() -> Error {
    move || Error::Malformed { what }
}

impl ChainObject {
    pub(in super::super) fn decode(family: u8, attributes: &[u8]) -> Result<Self, Error> {
        const NF_DROP: u32 = 0;
        let fields = Fields::parse(attributes)?;
        let base = fields.nested(4).and_then(|hook| {
            Some(Base {
                hook: hook.u32(1)?,
                priority: hook.u32(2)?.cast_signed(),
                kind: fields.string(7).unwrap_or_default(),
                policy_drop: fields.u32(5) == Some(NF_DROP),
            })
        });
        Ok(Self {
            family,
            table: fields
                .string(1)
                .ok_or_else(missing("chain without table"))?,
            name: fields.string(3).ok_or_else(missing("chain without name"))?,
            base,
        })
    }
}

impl RuleObject {
    pub(in super::super) fn decode(family: u8, attributes: &[u8]) -> Result<Self, Error> {
        let fields = Fields::parse(attributes)?;
        let expressions = fields.nested(4).map(|list| Expr::decode_list(&list));
        Ok(Self {
            family,
            table: fields.string(1).ok_or_else(missing("rule without table"))?,
            chain: fields.string(2).ok_or_else(missing("rule without chain"))?,
            handle: fields.u64(3).unwrap_or(0),
            comment: fields.bytes(7).and_then(decode_comment),
            expressions: expressions.unwrap_or_default(),
        })
    }
}

impl SetObject {
    pub(in super::super) fn decode(family: u8, attributes: &[u8]) -> Result<Self, Error> {
        let fields = Fields::parse(attributes)?;
        Ok(Self {
            family,
            table: fields.string(1).ok_or_else(missing("set without table"))?,
            name: fields.string(2).ok_or_else(missing("set without name"))?,
            flags: fields.u32(3).unwrap_or(0),
            key_type: fields.u32(4).unwrap_or(0),
        })
    }
}

/// A rule's comment as `nft` stores it in the user data: type 0, length, text, NUL.
pub(in super::super) fn encode_comment(comment: &str) -> Vec<u8> {
    let mut data = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    data.extend(comment.bytes().take(usize::from(u8::MAX) - 1));
    data.push(0);
    data
}

fn decode_comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == 0 {
            let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        data = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_behind_other_user_data() {
        let mut data = vec![7, 2, 9, 9];
        data.extend(encode_comment("wan-esp"));
        assert_eq!(decode_comment(&data).as_deref(), Some("wan-esp"));
        for length in 0..data.len() {
            let _ = decode_comment(&data[..length]);
        }
    }

    #[test]
    fn an_element_reads_back_as_it_was_written() {
        let mut list = Attributes::default();
        let elements = [
            Element::new(vec![1, 2], false),
            Element::new(vec![1, 3], true),
        ];
        let mut body = Attributes::default();
        elements
            .iter()
            .for_each(|element| element.encode(&mut list));
        body.bytes(3, list.as_bytes());
        assert_eq!(Element::decode_list(body.as_bytes()).unwrap(), elements);
    }
}
