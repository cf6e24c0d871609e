//! What can happen next to two endpoints, as text: a schedule is a line that can be read, kept and
//! run again.
//!
//! | text | meaning |
//! |---|---|
//! | `A.rekey-child` | the command for side A |
//! | `>A1c0?` | this datagram arrives |
//! | `=A1c0?` | a copy of it arrives, and it stays under way |
//! | `xA1c0?` | it is lost |
//! | `tA` | A's next timer fires |
//! | `~A` | an ESP packet from A arrives at B |
//!
//! A datagram is named by its sender, the IKE SA in the order of appearance, the exchange (`i`nit,
//! inter`m`ediate, `a`uth, `c`reate child, follow-up `k`ey exchange, in`f`ormational), the message ID, and `?` or `!` for request or response.
//! Where one such message was sent with other bytes (after a cookie, say), `'` is appended.

use std::fmt;
use std::str::FromStr;

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What somebody wants of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    RekeyChild,
    RekeyIke,
    /// The soft limit of the child that carries traffic is reached.
    SoftExpire,
    /// The child's hard limit is reached.
    DeleteChild,
    /// The IKE SA is deleted; whoever is to initiate sets up a new one.
    DeleteIke,
    /// Ask whether the peer lives.
    Liveness,
    /// The process starts afresh and knows nothing.
    Restart,
    /// The connection is wanted.
    Up,
}

impl Order {
    pub const ALL: [Self; 8] = [
        Self::RekeyChild,
        Self::RekeyIke,
        Self::SoftExpire,
        Self::DeleteChild,
        Self::DeleteIke,
        Self::Liveness,
        Self::Restart,
        Self::Up,
    ];

    /// Whether an IKE SA is set up because of it.
    pub fn sets_up(self) -> bool {
        matches!(self, Self::DeleteIke | Self::Restart | Self::Up)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::RekeyChild => "rekey-child",
            Self::RekeyIke => "rekey-ike",
            Self::SoftExpire => "soft-expire",
            Self::DeleteChild => "delete-child",
            Self::DeleteIke => "delete-ike",
            Self::Liveness => "liveness",
            Self::Restart => "restart",
            Self::Up => "up",
        }
    }
}

/// A datagram's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub from: Side,
    /// The IKE SA, in the order of appearance, from 1.
    pub sa: u8,
    /// `i`, `a`, `c`, `f`.
    pub exchange: char,
    pub id: u32,
    pub response: bool,
    /// How many messages with the same name, but other bytes, came before.
    pub variant: u8,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Command(Side, Order),
    Deliver(Label),
    Duplicate(Label),
    Drop(Label),
    Timer(Side),
    Esp(Side),
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.response { '!' } else { '?' };
        write!(
            f,
            "{}{}{}{}{mark}",
            self.from, self.sa, self.exchange, self.id
        )?;
        (0..self.variant).try_for_each(|_| f.write_str("'"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(side, order) => write!(f, "{side}.{}", order.name()),
            Self::Deliver(label) => write!(f, ">{label}"),
            Self::Duplicate(label) => write!(f, "={label}"),
            Self::Drop(label) => write!(f, "x{label}"),
            Self::Timer(side) => write!(f, "t{side}"),
            Self::Esp(side) => write!(f, "~{side}"),
        }
    }
}

/// The text is no step.
#[derive(Debug)]
pub struct BadStep(String);

impl fmt::Display for BadStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no step of a schedule", self.0)
    }
}

impl FromStr for Side {
    type Err = BadStep;

    fn from_str(text: &str) -> Result<Self, BadStep> {
        match text {
            "A" => Ok(Self::A),
            "B" => Ok(Self::B),
            _ => Err(BadStep(text.to_owned())),
        }
    }
}

impl FromStr for Label {
    type Err = BadStep;

    fn from_str(text: &str) -> Result<Self, BadStep> {
        let bad = || BadStep(text.to_owned());
        let name = text.trim_end_matches('\'');
        let variant = u8::try_from(text.len() - name.len()).map_err(|_| bad())?;
        let response = name.ends_with('!');
        let body = name.strip_suffix(['?', '!']).ok_or_else(bad)?;
        let from = body.get(..1).ok_or_else(bad)?.parse()?;
        let body = body.get(1..).ok_or_else(bad)?;
        let at = body.find(['i', 'a', 'c', 'f']).ok_or_else(bad)?;
        let sa = body[..at].parse().map_err(|_| bad())?;
        let exchange = body[at..].chars().next().ok_or_else(bad)?;
        let id = body[at + 1..].parse().map_err(|_| bad())?;
        Ok(Self {
            from,
            sa,
            exchange,
            id,
            response,
            variant,
        })
    }
}

impl FromStr for Step {
    type Err = BadStep;

    fn from_str(text: &str) -> Result<Self, BadStep> {
        let bad = || BadStep(text.to_owned());
        if let Some((side, name)) = text.split_once('.') {
            let order = Order::ALL.into_iter().find(|order| order.name() == name);
            return Ok(Self::Command(side.parse()?, order.ok_or_else(bad)?));
        }
        let rest = text.get(1..).ok_or_else(bad)?;
        match &text[..1] {
            ">" => Ok(Self::Deliver(rest.parse()?)),
            "=" => Ok(Self::Duplicate(rest.parse()?)),
            "x" => Ok(Self::Drop(rest.parse()?)),
            "t" => Ok(Self::Timer(rest.parse()?)),
            "~" => Ok(Self::Esp(rest.parse()?)),
            _ => Err(bad()),
        }
    }
}

/// Reads a schedule: steps between blanks.
pub fn parse(schedule: &str) -> Result<Vec<Step>, BadStep> {
    schedule.split_whitespace().map(str::parse).collect()
}

/// Writes a schedule.
pub fn print(steps: &[Step]) -> String {
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    steps.join(" ")
}
