//! The BFD Control packet (RFC 5880, section 4).

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

/// The only version there is (RFC 5880, section 4.1).
const VERSION: u8 = 1;

/// The mandatory section, in octets (section 4.1).
const MANDATORY: u8 = 24;

/// A packet with the Authentication Present bit has at least a type and a length more (section 6.8.6).
const MANDATORY_AND_AUTHENTICATION: u8 = 26;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION_PRESENT: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// What tells one session from another on one system; never zero (RFC 5880, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Discriminator(pub NonZeroU32);

/// The state of a session (RFC 5880, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// Kept down on purpose.
    AdminDown,
    /// Down, or just begun.
    Down,
    /// The peer is heard, and does not hear us yet.
    Init,
    /// Both hear each other.
    Up,
}

/// Why the last change of state from Up happened, as a packet carries it (RFC 5880, section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostic(u8);

/// A control packet whose syntax is right.
///
/// Intervals are whole microseconds on the wire, 0 to 2³²-1 of them; [`ControlPacket::emit`] writes the largest for what is longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// Why the sender's session last went down.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// The sender wants an answer with `final_` (section 6.5).
    pub poll: bool,
    /// The answer to a `poll`.
    pub final_: bool,
    /// The sender's BFD lives on while its control plane is away.
    pub control_plane_independent: bool,
    /// The sender wants no periodic packets while both are Up (section 6.6).
    pub demand: bool,
    /// So many packets missing in a row are a failure; never zero.
    pub detect_mult: u8,
    /// The sender's discriminator.
    pub my_discriminator: Discriminator,
    /// What the sender has heard of the receiver's; `None` is none.
    pub your_discriminator: Option<Discriminator>,
    /// The shortest interval at which the sender would like to send.
    pub desired_min_tx: Duration,
    /// The shortest interval at which the sender can receive; zero asks for no periodic packets.
    pub required_min_rx: Duration,
    /// The same for echo packets; zero is no echo function.
    pub required_min_echo_rx: Duration,
    /// What is known of the authentication section.
    pub authentication: Option<Authentication>,
}

/// What an authentication section says of itself (RFC 5880, sections 4.2 to 4.4). Its password or digest is not kept: nothing here
/// could verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Authentication {
    /// How it authenticates.
    pub kind: AuthenticationType,
    /// Which key.
    pub key_id: u8,
    /// The sequence number, which passwords do not have.
    pub sequence: Option<u32>,
}

/// The registered types of authentication (RFC 5880, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum AuthenticationType {
    /// A password that everybody can read.
    SimplePassword,
    /// Keyed MD5.
    KeyedMd5,
    /// Keyed MD5 whose sequence number grows with each packet.
    MeticulousKeyedMd5,
    /// Keyed SHA1.
    KeyedSha1,
    /// Keyed SHA1 whose sequence number grows with each packet.
    MeticulousKeyedSha1,
}

/// What is wrong with a packet's syntax. Such a packet is dropped and nothing else (RFC 5880, section 6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Error)]
pub enum Malformed {
    /// Another version.
    #[error("version {0}, where 1 is expected")]
    Version(u8),
    /// The length field says less than the least, or more than there is.
    #[error("a length field of {field} in a datagram of {datagram} octets")]
    Length {
        /// What the field says.
        field: u8,
        /// How many octets there are.
        datagram: usize,
    },
    /// Detect Mult is zero.
    #[error("Detect Mult is zero")]
    DetectMult,
    /// The Multipoint bit is set.
    #[error("the Multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("My Discriminator is zero")]
    MyDiscriminator,
    /// Your Discriminator is zero in a state that is reached only by hearing it.
    #[error("Your Discriminator is zero in state {0}")]
    YourDiscriminator(State),
    /// The authentication section contradicts itself, or is of a type that nobody has registered.
    #[error("an authentication section of type {kind} and {length} octets")]
    Authentication {
        /// Its type.
        kind: u8,
        /// Its length.
        length: u8,
    },
}

impl ControlPacket {
    /// Reads a datagram and makes all checks of RFC 5880, section 6.8.6 that need no session. Octets beyond the length field are
    /// ignored.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let short = |field| Malformed::Length {
            field,
            datagram: datagram.len(),
        };
        let field = datagram.get(3).copied().unwrap_or_default();
        let &[first, second, detect_mult, _, ..] = datagram else {
            return Err(short(field));
        };
        if first >> 5 != VERSION {
            return Err(Malformed::Version(first >> 5));
        }
        let has = |bit: u8| second & bit != 0;
        let least = match has(AUTHENTICATION_PRESENT) {
            true => MANDATORY_AND_AUTHENTICATION,
            false => MANDATORY,
        };
        let packet = datagram
            .get(..usize::from(field))
            .filter(|_| field >= least)
            .ok_or(short(field))?;
        let word = |index: usize| {
            packet
                .get(4 * index..)
                .and_then(<[u8]>::first_chunk)
                .map(|octets| u32::from_be_bytes(*octets))
                .ok_or(short(field))
        };
        if detect_mult == 0 {
            return Err(Malformed::DetectMult);
        }
        if has(MULTIPOINT) {
            return Err(Malformed::Multipoint);
        }
        let discriminator = |value| NonZeroU32::new(value).map(Discriminator);
        let my_discriminator = discriminator(word(1)?).ok_or(Malformed::MyDiscriminator)?;
        let your_discriminator = discriminator(word(2)?);
        let state = State::from_bits(second >> 6);
        if your_discriminator.is_none() && matches!(state, State::Init | State::Up) {
            return Err(Malformed::YourDiscriminator(state));
        }
        let authentication = match has(AUTHENTICATION_PRESENT) {
            true => Some(Authentication::parse(
                packet.get(usize::from(MANDATORY)..).unwrap_or_default(),
            )?),
            false => None,
        };
        let interval = |value: u32| Duration::from_micros(u64::from(value));
        Ok(Self {
            diagnostic: Diagnostic(first & 0x1f),
            state,
            poll: has(POLL),
            final_: has(FINAL),
            control_plane_independent: has(CONTROL_PLANE_INDEPENDENT),
            demand: has(DEMAND),
            detect_mult,
            my_discriminator,
            your_discriminator,
            desired_min_tx: interval(word(3)?),
            required_min_rx: interval(word(4)?),
            required_min_echo_rx: interval(word(5)?),
            authentication,
        })
    }

    /// The packet as it is sent: 24 octets, as no authentication is ever sent.
    #[must_use]
    pub fn emit(&self) -> [u8; MANDATORY as usize] {
        let bit = |set, bit| if set { bit } else { 0 };
        let flags = self.state.bits() << 6
            | bit(self.poll, POLL)
            | bit(self.final_, FINAL)
            | bit(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | bit(self.demand, DEMAND);
        let micros = |interval: Duration| u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
        let words = [
            u32::from_be_bytes([
                VERSION << 5 | self.diagnostic.0,
                flags,
                self.detect_mult,
                MANDATORY,
            ]),
            self.my_discriminator.0.get(),
            self.your_discriminator.map_or(0, |it| it.0.get()),
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        let mut octets = [0; MANDATORY as usize];
        for (place, word) in octets.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

impl Authentication {
    /// Reads a section; `rest` is the packet from its first octet on, up to what the length field says.
    fn parse(rest: &[u8]) -> Result<Self, Malformed> {
        let &[kind, length, ..] = rest else {
            return Err(Malformed::Authentication { kind: 0, length: 0 });
        };
        let malformed = Malformed::Authentication { kind, length };
        let section = rest.get(..usize::from(length)).ok_or(malformed)?;
        let (kind, lengths) = match kind {
            1 => (AuthenticationType::SimplePassword, 4..=19),
            2 => (AuthenticationType::KeyedMd5, 24..=24),
            3 => (AuthenticationType::MeticulousKeyedMd5, 24..=24),
            4 => (AuthenticationType::KeyedSha1, 28..=28),
            5 => (AuthenticationType::MeticulousKeyedSha1, 28..=28),
            _ => return Err(malformed),
        };
        let key_id = *section
            .get(2)
            .filter(|_| lengths.contains(&length))
            .ok_or(malformed)?;
        let sequence = match kind {
            AuthenticationType::SimplePassword => None,
            _ => section
                .get(4..)
                .and_then(<[u8]>::first_chunk)
                .map(|octets| u32::from_be_bytes(*octets)),
        };
        Ok(Self {
            kind,
            key_id,
            sequence,
        })
    }
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

impl Diagnostic {
    /// Nothing to say.
    pub const NONE: Self = Self(0);
    /// The peer was not heard within the Detection Time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The peer said that it is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// Kept down on purpose.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// The code of five bits, or `None` where there are more.
    #[must_use]
    pub fn new(code: u8) -> Option<Self> {
        (code < 32).then_some(Self(code))
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            code => return write!(f, "diagnostic {code}"),
        })
    }
}

impl fmt::Display for AuthenticationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SimplePassword => "simple password",
            Self::KeyedMd5 => "keyed MD5",
            Self::MeticulousKeyedMd5 => "meticulous keyed MD5",
            Self::KeyedSha1 => "keyed SHA1",
            Self::MeticulousKeyedSha1 => "meticulous keyed SHA1",
        })
    }
}
