//! Keys of which some bits are known, looked up in sets and maps.

use super::super::observe::intervals;
use super::super::set::Interval;
use super::super::wire::expression::Comparison;
use super::super::wire::object::{Element, SetObject, set_flags};
use super::packet::{Byte, Truth, compare, equal};

/// Whether the bytes are between the two, both included.
pub(super) fn within(bytes: &[Byte], low: &[u8], high: &[u8]) -> Truth {
    let everything = low.iter().all(|&byte| byte == 0) && high.iter().all(|&byte| byte == 0xff);
    if everything {
        return Truth::Yes;
    }
    let above = compare(bytes, Comparison::GreaterOrEqual, low);
    let below = compare(bytes, Comparison::LessOrEqual, high);
    match (above, below) {
        (Truth::Yes, Truth::Yes) => Truth::Yes,
        (Truth::No, _) | (_, Truth::No) => Truth::No,
        _ => Truth::Maybe,
    }
}

/// The elements that the key does or may equal.
pub(super) fn candidates<'s>(
    set: &SetObject,
    elements: &'s [Element],
    key: impl Fn(usize) -> Vec<Byte>,
) -> Vec<(&'s Element, Truth)> {
    let ranges: Vec<(&Element, Interval)> = if set.flags & set_flags::INTERVAL == 0 {
        let single = |element: &'s Element| (element, Interval::single(element.key.clone()));
        elements
            .iter()
            .filter(|element| !element.catch_all)
            .map(single)
            .collect()
    } else if elements.iter().any(|element| element.key_end.is_some()) {
        let range = |element: &'s Element| {
            let high = element
                .key_end
                .clone()
                .unwrap_or_else(|| element.key.clone());
            (
                element,
                Interval {
                    low: element.key.clone(),
                    high,
                },
            )
        };
        elements
            .iter()
            .filter(|element| !element.catch_all)
            .map(range)
            .collect()
    } else {
        let begin = |low: &[u8]| {
            let mut starts = elements.iter().filter(|e| !e.interval_end && !e.catch_all);
            starts.find(|element| element.key == low)
        };
        let ranges = intervals(elements).into_iter();
        ranges
            .filter_map(|range| Some((begin(&range.low)?, range)))
            .collect()
    };
    let fields = field_lengths(set.key_type);
    let judged = ranges.into_iter().map(|(element, range)| {
        let bytes = key(range.low.len());
        let truth = if range.is_single() {
            equal(&bytes, &range.low)
        } else {
            field_wise(&bytes, &range, fields.as_deref())
        };
        (element, truth)
    });
    judged.filter(|(_, truth)| *truth != Truth::No).collect()
}

/// In a concatenation every field is a range of its own.
fn field_wise(bytes: &[Byte], range: &Interval, fields: Option<&[usize]>) -> Truth {
    let Some(fields) = fields else {
        return Truth::Maybe;
    };
    if fields.len() < 2 {
        return within(bytes, &range.low, &range.high);
    }
    if fields.iter().sum::<usize>() != bytes.len() {
        return Truth::Maybe;
    }
    let mut verdict = Truth::Yes;
    let mut at = 0;
    for len in fields {
        let span = at..at + len;
        at += len;
        let parts = (
            bytes.get(span.clone()),
            range.low.get(span.clone()),
            range.high.get(span),
        );
        let truth = match parts {
            (Some(bytes), Some(low), Some(high)) if low == high => equal(bytes, low),
            (Some(bytes), Some(low), Some(high)) => within(bytes, low, high),
            _ => Truth::Maybe,
        };
        match truth {
            Truth::No => return Truth::No,
            Truth::Maybe => verdict = Truth::Maybe,
            Truth::Yes => {}
        }
    }
    verdict
}

/// Bytes of each field of a concatenation, padded to registers, from the type number that `nft` stores: six
/// bits for each. `None` for types whose length we do not know; a single field needs none.
fn field_lengths(key_type: u32) -> Option<Vec<usize>> {
    let mut lengths = Vec::new();
    let mut rest = key_type;
    while rest != 0 {
        lengths.push(match rest & 0x3f {
            7 | 12 | 13 | 19 => 4,
            8 | 41 => 16,
            9 => 8,
            _ if rest == key_type && rest < 0x40 => 0,
            _ => return None,
        });
        rest >>= 6;
    }
    lengths.reverse();
    Some(lengths)
}
