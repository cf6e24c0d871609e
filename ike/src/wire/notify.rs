//! The Notify payload (RFC 7296 section 3.10) and its types.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Reader, WireError, Writer};

/// A notify message type: errors below 16384, status from there on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotifyType(pub u16);

macro_rules! notify_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl NotifyType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

notify_types! {
    /// A payload that we do not know was marked critical.
    UNSUPPORTED_CRITICAL_PAYLOAD = 1;
    /// No IKE SA has this SPI.
    INVALID_IKE_SPI = 4;
    /// Major version not supported.
    INVALID_MAJOR_VERSION = 5;
    /// The message breaks the format.
    INVALID_SYNTAX = 7;
    /// The message ID is outside the window.
    INVALID_MESSAGE_ID = 9;
    /// An ESP packet had an unknown SPI.
    INVALID_SPI = 11;
    /// None of the proposals is acceptable.
    NO_PROPOSAL_CHOSEN = 14;
    /// Another Diffie-Hellman group is wanted; two bytes say which.
    INVALID_KE_PAYLOAD = 17;
    /// The peer is not who it says, or its key is another one.
    AUTHENTICATION_FAILED = 24;
    /// Only one address pair per SA.
    SINGLE_PAIR_REQUIRED = 34;
    /// No more SAs on this IKE SA.
    NO_ADDITIONAL_SAS = 35;
    /// No internal address for the peer.
    INTERNAL_ADDRESS_FAILURE = 36;
    /// A configuration payload was expected.
    FAILED_CP_REQUIRED = 37;
    /// The traffic selectors are not acceptable.
    TS_UNACCEPTABLE = 38;
    /// The packet does not fit the SA's selectors.
    INVALID_SELECTORS = 39;
    /// None of the addresses of an update can be used (RFC 4555).
    UNACCEPTABLE_ADDRESSES = 40;
    /// There is a NAT although the peer wants none (RFC 4555).
    UNEXPECTED_NAT_DETECTED = 41;
    /// Try again later: another exchange is in the way.
    TEMPORARY_FAILURE = 43;
    /// The CHILD_SA to rekey does not exist.
    CHILD_SA_NOT_FOUND = 44;
    /// This is the only IKE SA between the two identities.
    INITIAL_CONTACT = 16384;
    /// How many exchanges may be under way.
    SET_WINDOW_SIZE = 16385;
    /// More selectors would have been possible.
    ADDITIONAL_TS_POSSIBLE = 16386;
    /// IPComp offer.
    IPCOMP_SUPPORTED = 16387;
    /// Hash of the sender's address and port.
    NAT_DETECTION_SOURCE_IP = 16388;
    /// Hash of the receiver's address and port.
    NAT_DETECTION_DESTINATION_IP = 16389;
    /// The initiator must return this before the responder keeps any state.
    COOKIE = 16390;
    /// Transport mode is wanted.
    USE_TRANSPORT_MODE = 16391;
    /// The exchange replaces the SA with this SPI.
    REKEY_SA = 16393;
    /// No padding against traffic analysis, please.
    ESP_TFC_PADDING_NOT_SUPPORTED = 16394;
    /// Non-first fragments may come over this SA.
    NON_FIRST_FRAGMENTS_ALSO = 16395;
    /// MOBIKE (RFC 4555).
    MOBIKE_SUPPORTED = 16396;
    /// A further IPv4 address of the sender (RFC 4555).
    ADDITIONAL_IP4_ADDRESS = 16397;
    /// A further IPv6 address of the sender (RFC 4555).
    ADDITIONAL_IP6_ADDRESS = 16398;
    /// The sender has no further address (RFC 4555).
    NO_ADDITIONAL_ADDRESSES = 16399;
    /// From now on the SAs run between the addresses of this message (RFC 4555).
    UPDATE_SA_ADDRESSES = 16400;
    /// To be returned as it is, which shows that the address can be reached (RFC 4555).
    COOKIE2 = 16401;
    /// The addresses of the message as its sender knows them; no NAT may have changed them (RFC 4555).
    NO_NATS_ALLOWED = 16402;
    /// IKE_AUTH may come without a CHILD_SA (RFC 6023).
    CHILDLESS_IKEV2_SUPPORTED = 16418;
    /// IKE fragmentation (RFC 7383).
    IKEV2_FRAGMENTATION_SUPPORTED = 16430;
    /// Hash algorithms for signatures (RFC 7427).
    SIGNATURE_HASH_ALGORITHMS = 16431;
    /// A post-quantum pre-shared key can be used (RFC 8784).
    USE_PPK = 16435;
    /// Which one the initiator has used; empty, that the responder has used it too (RFC 8784).
    PPK_IDENTITY = 16436;
    /// The initiator's AUTH data without it (RFC 8784).
    NO_PPK_AUTH = 16437;
}

impl NotifyType {
    /// Errors end the negotiation that they are about; status notifications only inform.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

impl fmt::Display for NotifyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None if self.is_error() => write!(f, "error notify {}", self.0),
            None => write!(f, "status notify {}", self.0),
        }
    }
}

impl fmt::Debug for NotifyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for NotifyType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A Notify payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Protocol of the SPI: 0 without one, else 2 (AH) or 3 (ESP).
    pub protocol: u8,
    /// The SPI that the notification is about, or nothing.
    pub spi: Vec<u8>,
    /// What is notified.
    pub kind: NotifyType,
    /// Data that belongs to the type.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification about no particular SA, without data.
    #[must_use]
    pub const fn new(kind: NotifyType) -> Self {
        Self {
            protocol: 0,
            spi: Vec::new(),
            kind,
            data: Vec::new(),
        }
    }

    /// A notification about no particular SA, with data.
    #[must_use]
    pub const fn with_data(kind: NotifyType, data: Vec<u8>) -> Self {
        Self {
            protocol: 0,
            spi: Vec::new(),
            kind,
            data,
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let protocol = r.u8("notify protocol")?;
        let spi_len = r.u8("notify SPI size")?;
        let kind = NotifyType(r.u16("notify type")?);
        let spi = r.take(usize::from(spi_len), "notify SPI")?.to_vec();
        Ok(Self {
            protocol,
            spi,
            kind,
            data: r.rest().to_vec(),
        })
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u8(self.protocol);
        out.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        out.u16(self.kind.0);
        out.bytes(&self.spi);
        out.bytes(&self.data);
    }
}
