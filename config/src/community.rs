//! Communities and patterns of them, as operators write them.

use std::net::Ipv4Addr;

use crate::model::{
    Community, CommunityPattern, ExtendedCommunity, ExtendedCommunityPattern, LargeCommunity,
    LargeCommunityPattern, NumberRange,
};

/// The names of the registry that have one.
const WELL_KNOWN: [(&str, u32); 6] = [
    ("graceful-shutdown", 0xffff_0000),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
    ("no-peer", 0xffff_ff04),
];

const ANY: NumberRange = NumberRange {
    low: 0,
    high: u32::MAX,
};

/// A number, `*`, `[100-199]` or `100-199`.
pub(crate) fn range(text: &str) -> Option<NumberRange> {
    if text == "*" {
        return Some(ANY);
    }
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let (low, high) = inner.split_once('-').unwrap_or((inner, inner));
    let (low, high) = (number(low)?, number(high)?);
    (low <= high).then_some(NumberRange { low, high })
}

/// Digits alone, without a sign.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    text.bytes()
        .all(|letter| letter.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Parts between colons, exactly so many.
fn parts<const N: usize, T>(text: &str, part: impl Fn(&str) -> Option<T>) -> Option<[T; N]> {
    let parts: Option<Vec<T>> = text.split(':').map(part).collect();
    parts?.try_into().ok()
}

/// A range of numbers that fit `most`; anything fits.
fn within(range: NumberRange, most: u32) -> Option<NumberRange> {
    (range == ANY || range.high <= most).then_some(range)
}

/// `65000:100`, or a name.
pub(crate) fn standard(text: &str) -> Option<Community> {
    if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
        return Some(Community(*value));
    }
    let [upper, lower] = parts(text, number)?;
    let (upper, lower) = (u16::try_from(upper).ok()?, u16::try_from(lower).ok()?);
    Some(Community(u32::from(upper) << 16 | u32::from(lower)))
}

/// The same with ranges for numbers.
pub(crate) fn standard_pattern(text: &str) -> Option<CommunityPattern> {
    let one = |number| NumberRange {
        low: number,
        high: number,
    };
    if let Some(Community(value)) = standard(text) {
        return Some(CommunityPattern {
            upper: one(value >> 16),
            lower: one(value & 0xffff),
        });
    }
    let [upper, lower] = parts(text, range)?;
    Some(CommunityPattern {
        upper: within(upper, u32::from(u16::MAX))?,
        lower: within(lower, u32::from(u16::MAX))?,
    })
}

/// `65000:1:2`
pub(crate) fn large(text: &str) -> Option<LargeCommunity> {
    parts(text, number).map(LargeCommunity)
}

/// The same with ranges for numbers.
pub(crate) fn large_pattern(text: &str) -> Option<LargeCommunityPattern> {
    parts(text, range).map(LargeCommunityPattern)
}

/// `rt:65000:100`, `ro:192.0.2.1:5`, or all eight octets as `0x0002fde800000064`.
pub(crate) fn extended(text: &str) -> Option<ExtendedCommunity> {
    if let Some(digits) = text.strip_prefix("0x") {
        let octets = u64::from_str_radix(digits, 16).ok()?;
        return (digits.len() == 16 && !digits.starts_with('+'))
            .then(|| ExtendedCommunity(octets.to_be_bytes()));
    }
    let (sub_type, rest) = sub_type(text)?;
    let (administrator, value) = rest.split_once(':')?;
    let value = number(value)?;
    let [v, w, x, y] = value.to_be_bytes();
    let short = value <= u32::from(u16::MAX);
    if let Ok(address) = administrator.parse::<Ipv4Addr>() {
        let [a, b, c, d] = address.octets();
        return short.then_some(ExtendedCommunity([1, sub_type, a, b, c, d, x, y]));
    }
    let asn = number(administrator)?;
    let [a, b, c, d] = asn.to_be_bytes();
    // RFC 4360 §3.1 and RFC 5668: two octets of AS leave four for the value, four leave two.
    match u16::try_from(asn) {
        Ok(_) => Some(ExtendedCommunity([0, sub_type, c, d, v, w, x, y])),
        Err(_) => short.then_some(ExtendedCommunity([2, sub_type, a, b, c, d, x, y])),
    }
}

/// The same with ranges for numbers.
pub(crate) fn extended_pattern(text: &str) -> Option<ExtendedCommunityPattern> {
    // An AS may be written in two octets or in four, so numbers are asked for and not octets.
    let of = |(sub_type, rest)| {
        let [administrator, value] = parts(rest, range)?;
        Some(ExtendedCommunityPattern::Of {
            sub_type,
            administrator,
            value,
        })
    };
    sub_type(text)
        .and_then(of)
        .or_else(|| extended(text).map(ExtendedCommunityPattern::Exactly))
}

fn sub_type(text: &str) -> Option<(u8, &str)> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "rt" => Some((2, rest)),
        "ro" => Some((3, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_as_they_are_written() {
        assert_eq!(standard("65000:100"), Some(Community(0xfde8_0064)));
        assert_eq!(standard("no-export"), Some(Community(0xffff_ff01)));
        assert_eq!(
            large("4200000000:1:2"),
            Some(LargeCommunity([4_200_000_000, 1, 2]))
        );
        let cases = [
            ("rt:65000:100", [0, 2, 0xfd, 0xe8, 0, 0, 0, 100]),
            ("ro:4200000000:9", [2, 3, 0xfa, 0x56, 0xea, 0, 0, 9]),
            ("rt:192.0.2.1:9", [1, 2, 192, 0, 2, 1, 0, 9]),
            ("0x4004000100000009", [0x40, 4, 0, 1, 0, 0, 0, 9]),
        ];
        for (text, octets) in cases {
            assert_eq!(extended(text), Some(ExtendedCommunity(octets)), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_none() {
        for text in [
            "65536:1",
            "1:65536",
            "1",
            "1:2:3",
            "+1:2",
            "1:-2",
            "",
            ":",
            "No-Export",
        ] {
            assert_eq!(standard(text), None, "{text}");
        }
        for text in [
            "rt:4200000000:65536",
            "rt:192.0.2.1:65536",
            "xx:1:2",
            "0x12",
            "0x+004000100000009",
        ] {
            assert_eq!(extended(text), None, "{text}");
        }
        for text in ["1:2", "4294967296:1:1", "1:2:3:4"] {
            assert_eq!(large(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_have_ranges() {
        let range = |low, high| NumberRange { low, high };
        let pattern = standard_pattern("65000:[100-199]").unwrap();
        assert_eq!(
            (pattern.upper, pattern.lower),
            (range(65000, 65000), range(100, 199))
        );
        assert_eq!(standard_pattern("*:7").unwrap().upper, ANY);
        assert_eq!(standard_pattern("1:[9-3]"), None);
        assert_eq!(standard_pattern("1:70000-80000"), None);
        assert_eq!(
            large_pattern("1:*:5-6").unwrap().0,
            [range(1, 1), ANY, range(5, 6)]
        );
        assert_eq!(
            extended_pattern("rt:65000:*"),
            Some(ExtendedCommunityPattern::Of {
                sub_type: 2,
                administrator: range(65000, 65000),
                value: ANY
            })
        );
    }
}
