//! AS_PATH and AS4_PATH (RFC 4271, section 4.3; RFC 6793).

use std::fmt;

use serde::{Serialize, Serializer};

use super::fault::Problem;
use super::reader::Reader;
use crate::Asn;

/// What a segment's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum SegmentKind {
    /// An unordered set (type 1).
    Set,
    /// The ASes passed, last one first (type 2).
    Sequence,
    /// The same inside a confederation (type 3, RFC 5065).
    ConfedSequence,
    /// An unordered set inside a confederation (type 4).
    ConfedSet,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Its kind.
    pub kind: SegmentKind,
    /// Its numbers, 1 to 255.
    pub asns: Vec<Asn>,
}

/// The ASes that a route has passed, the nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath(pub Vec<Segment>);

impl AsPath {
    /// A path of one sequence; empty for a route of our own.
    #[must_use]
    pub fn sequence(asns: impl IntoIterator<Item = u32>) -> Self {
        let asns: Vec<Asn> = asns.into_iter().map(Asn).collect();
        if asns.is_empty() {
            return Self::default();
        }
        Self(vec![Segment {
            kind: SegmentKind::Sequence,
            asns,
        }])
    }

    /// The length that paths are compared by: a set counts as one, confederation segments as nothing
    /// (RFC 4271, section 9.1.2.2; RFC 5065, section 5.3).
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.0
            .iter()
            .map(|segment| match segment.kind {
                SegmentKind::Sequence => u32::try_from(segment.asns.len()).unwrap_or(u32::MAX),
                SegmentKind::Set => 1,
                SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
            })
            .sum()
    }

    /// All numbers in it.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.0
            .iter()
            .flat_map(|segment| segment.asns.iter().copied())
    }

    /// The AS that told it to us: the first number of a leading sequence.
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        let segment = self
            .0
            .first()
            .filter(|segment| segment.kind == SegmentKind::Sequence)?;
        segment.asns.first().copied()
    }

    /// Whether the number occurs anywhere: the route has been here (RFC 4271, section 9.1.2).
    #[must_use]
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|it| it == asn)
    }

    /// How often the number occurs.
    #[must_use]
    pub fn count(&self, asn: Asn) -> usize {
        self.asns().filter(|it| *it == asn).count()
    }

    /// Takes all numbers out that `goes` holds for.
    pub fn remove(&mut self, goes: impl Fn(Asn) -> bool) {
        for segment in &mut self.0 {
            segment.asns.retain(|asn| !goes(*asn));
        }
        self.0.retain(|segment| !segment.asns.is_empty());
    }

    /// Puts one number in the place of another, everywhere.
    pub fn replace(&mut self, old: Asn, new: Asn) {
        let asns = self.0.iter_mut().flat_map(|segment| &mut segment.asns);
        for asn in asns.filter(|asn| **asn == old) {
            *asn = new;
        }
    }

    /// Puts our AS in front, `times` times (RFC 4271, section 5.1.2).
    pub fn prepend(&mut self, asn: Asn, times: usize) {
        for _ in 0..times {
            match self.0.first_mut() {
                Some(Segment {
                    kind: SegmentKind::Sequence,
                    asns,
                }) if asns.len() < 255 => {
                    asns.insert(0, asn);
                }
                _ => {
                    let first = Segment {
                        kind: SegmentKind::Sequence,
                        asns: vec![asn],
                    };
                    self.0.insert(0, first);
                }
            }
        }
    }

    /// Reads an attribute's value with numbers of four octets, or two.
    pub(super) fn parse(value: &[u8], four_octets: bool) -> Result<Self, Problem> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while !reader.is_empty() {
            let kind = match reader.u8() {
                Some(1) => SegmentKind::Set,
                Some(2) => SegmentKind::Sequence,
                Some(3) => SegmentKind::ConfedSequence,
                Some(4) => SegmentKind::ConfedSet,
                _ => return Err(Problem::Segment),
            };
            let count = reader
                .u8()
                .filter(|count| *count > 0)
                .ok_or(Problem::Segment)?;
            let mut asns = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                let asn = if four_octets {
                    reader.u32()
                } else {
                    reader.u16().map(u32::from)
                };
                asns.push(Asn(asn.ok_or(Problem::Segment)?));
            }
            segments.push(Segment { kind, asns });
        }
        Ok(Self(segments))
    }

    /// Writes the attribute's value; numbers that do not fit two octets become AS_TRANS.
    pub(super) fn emit(&self, four_octets: bool, out: &mut Vec<u8>) {
        for segment in &self.0 {
            for asns in segment.asns.chunks(255) {
                out.push(match segment.kind {
                    SegmentKind::Set => 1,
                    SegmentKind::Sequence => 2,
                    SegmentKind::ConfedSequence => 3,
                    SegmentKind::ConfedSet => 4,
                });
                out.push(u8::try_from(asns.len()).unwrap_or(u8::MAX));
                for asn in asns {
                    if four_octets {
                        out.extend_from_slice(&asn.0.to_be_bytes());
                    } else {
                        out.extend_from_slice(&asn.as_two_octets().to_be_bytes());
                    }
                }
            }
        }
    }

    /// Puts AS4_PATH in the place of the tail of an OLD speaker's AS_PATH (RFC 6793, section 4.2.3).
    /// An AS4_PATH longer than the AS_PATH is ignored.
    #[must_use]
    pub(super) fn merged_with(self, as4_path: Self) -> Self {
        let Some(mut lead) = self.hops().checked_sub(as4_path.hops()) else {
            return self;
        };
        let mut merged = Self::default();
        for segment in self.0 {
            if lead == 0 {
                break;
            }
            match segment.kind {
                SegmentKind::Sequence => {
                    let taken = usize::try_from(lead)
                        .unwrap_or(usize::MAX)
                        .min(segment.asns.len());
                    lead -= u32::try_from(taken).unwrap_or(lead);
                    let asns = segment.asns.into_iter().take(taken).collect();
                    merged.0.push(Segment {
                        kind: SegmentKind::Sequence,
                        asns,
                    });
                }
                SegmentKind::Set => {
                    lead -= 1;
                    merged.0.push(segment);
                }
                SegmentKind::ConfedSequence | SegmentKind::ConfedSet => merged.0.push(segment),
            }
        }
        for segment in as4_path.0 {
            merged.append(segment);
        }
        merged
    }

    /// Adds a segment at the end, in one piece with a sequence before it where that is possible.
    fn append(&mut self, segment: Segment) {
        match self.0.last_mut() {
            Some(last)
                if last.kind == SegmentKind::Sequence
                    && segment.kind == SegmentKind::Sequence
                    && last.asns.len() + segment.asns.len() <= 255 =>
            {
                last.asns.extend(segment.asns);
            }
            _ => self.0.push(segment),
        }
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let (open, between, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfedSequence => ("(", " ", ")"),
                SegmentKind::ConfedSet => ("[", ",", "]"),
            };
            f.write_str(open)?;
            for (index, asn) in segment.asns.iter().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                write!(f, "{asn}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

impl Serialize for AsPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
