//! Numbers and communities as rules speak of them: single ones, ranges, anything.

use crate::wire::{Community, ExtendedCommunity, LargeCommunity};

/// Numbers from one to another, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The lowest.
    pub low: u32,
    /// The highest.
    pub high: u32,
}

impl NumberRange {
    /// All numbers.
    pub const ANY: Self = Self::new(0, u32::MAX);

    /// From `low` to `high`.
    #[must_use]
    pub const fn new(low: u32, high: u32) -> Self {
        Self { low, high }
    }

    /// Whether a number is among them.
    #[must_use]
    pub const fn contains(self, number: u32) -> bool {
        self.low <= number && number <= self.high
    }
}

/// What a rule says of communities of one size.
pub trait CommunityPattern<C> {
    /// Whether the rule is about this one.
    fn matches(&self, community: C) -> bool;
}

/// Communities by their two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardPattern {
    /// The upper half, an AS by convention.
    pub upper: NumberRange,
    /// The lower half.
    pub lower: NumberRange,
}

impl CommunityPattern<Community> for StandardPattern {
    fn matches(&self, Community(value): Community) -> bool {
        self.upper.contains(value >> 16) && self.lower.contains(value & 0xffff)
    }
}

/// Large communities by their three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargePattern(pub [NumberRange; 3]);

impl CommunityPattern<LargeCommunity> for LargePattern {
    fn matches(&self, LargeCommunity(numbers): LargeCommunity) -> bool {
        self.0
            .iter()
            .zip(numbers)
            .all(|(range, number)| range.contains(number))
    }
}

/// Extended communities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedPattern {
    /// Exactly this one.
    Exactly(ExtendedCommunity),
    /// Transitive ones of this sub-type, of an AS or an address.
    Of {
        /// The sub-type.
        sub_type: u8,
        /// The AS.
        administrator: NumberRange,
        /// The number after it.
        value: NumberRange,
    },
}

impl CommunityPattern<ExtendedCommunity> for ExtendedPattern {
    fn matches(&self, community: ExtendedCommunity) -> bool {
        match self {
            Self::Exactly(exactly) => community == *exactly,
            Self::Of {
                sub_type,
                administrator,
                value,
            } => {
                community.is_transitive()
                    && community.parts().is_some_and(|(kind, of, number)| {
                        kind == *sub_type && administrator.contains(of) && value.contains(number)
                    })
            }
        }
    }
}

/// A change of the communities of one size: first those that stay, then those that come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommunityEdit<C, P> {
    /// Take all away first.
    pub clear: bool,
    /// Take these away.
    pub remove: Vec<P>,
    /// Add these, unless they are there.
    pub add: Vec<C>,
}

impl<C, P> Default for CommunityEdit<C, P> {
    fn default() -> Self {
        Self {
            clear: false,
            remove: Vec::new(),
            add: Vec::new(),
        }
    }
}

impl<C: Copy + PartialEq, P: CommunityPattern<C>> CommunityEdit<C, P> {
    /// Carries it out.
    pub(crate) fn apply(&self, to: &mut Vec<C>) {
        if self.clear {
            to.clear();
        }
        to.retain(|it| !self.remove.iter().any(|pattern| pattern.matches(*it)));
        for new in &self.add {
            if !to.contains(new) {
                to.push(*new);
            }
        }
    }

    /// Whether it changes nothing, whatever it is applied to.
    pub(crate) fn is_idle(&self) -> bool {
        !self.clear && self.remove.is_empty() && self.add.is_empty()
    }
}
