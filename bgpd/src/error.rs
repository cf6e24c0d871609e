//! What we hold against a peer, grouped by what it broke, and the NOTIFICATION that says so.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use crate::Asn;
use crate::session::State;
use crate::wire::{
    Families, Family, HeaderError, MessageKind, Notification, OpenError, UpdateFault,
};

/// Why we end a session. Each value carries what was received and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The stream is not BGP (RFC 4271, section 6.1).
    #[error("it does not speak BGP: {0}")]
    Header(HeaderError),
    /// The OPEN cannot be read (section 6.2).
    #[error("its OPEN cannot be accepted: {0}")]
    Open(OpenError),
    /// The peer is in another AS than the site file says.
    #[error("it says that it is AS {offered}, our side expects AS {expected}")]
    PeerAs {
        /// What its OPEN says.
        offered: Asn,
        /// What its parameters here say.
        expected: Asn,
    },
    /// The peer is in none of the ASes that it may be in.
    #[error("it says that it is AS {offered}, and only {} may connect", numbers(.allowed))]
    PeerAsNotAllowed {
        /// What its OPEN says.
        offered: Asn,
        /// What its parameters here allow.
        allowed: Vec<Asn>,
    },
    /// The BGP Identifier is zero, or ours although we are in one AS (RFC 6286, section 2.2).
    #[error("its BGP identifier is {offered}, ours is {ours}")]
    Identifier {
        /// The peer's.
        offered: Ipv4Addr,
        /// Ours.
        ours: Ipv4Addr,
    },
    /// A hold time of one or two seconds (section 4.2).
    #[error("it wants a hold time of {seconds} s, which is neither 0 nor at least 3")]
    HoldTime {
        /// What its OPEN says.
        seconds: u16,
    },
    /// The peer names address families, and none of ours is among them.
    #[error("it does not offer {ours}, which is all that the session is for")]
    NoCommonFamily {
        /// Those that we offer.
        ours: Families,
    },
    /// An UPDATE with a fault that no session survives (RFC 7606).
    #[error("its UPDATE cannot be accepted: {0}")]
    Update(UpdateFault),
    /// A ROUTE-REFRESH of a wrong length (RFC 7313, section 5).
    #[error("its ROUTE-REFRESH has {length} octets")]
    RouteRefresh {
        /// Its body's length.
        length: usize,
    },
    /// Nothing was heard for the hold time (section 6.5).
    #[error("nothing was heard from it for {after:?}")]
    HoldTimerExpired {
        /// The negotiated hold time.
        after: Duration,
    },
    /// Nothing could be sent for the send hold time: it does not read (RFC 9687).
    #[error("it has not taken anything that we sent for {after:?}")]
    SendHoldTimerExpired {
        /// The send hold time.
        after: Duration,
    },
    /// A message that does not belong into this state (section 6.6; RFC 6608).
    #[error("it sent {kind:?} while the session was {state}")]
    UnexpectedMessage {
        /// The state.
        state: State,
        /// The message.
        kind: MessageKind,
    },
    /// More prefixes than the peer may send (RFC 4486).
    #[error("it sent {received} prefixes of {}, the limit is {limit}", name(*.family))]
    MaximumPrefixes {
        /// Of which family.
        family: Family,
        /// How many it sent.
        received: u32,
        /// How many it may send.
        limit: u32,
    },
}

fn name(family: Family) -> Families {
    [family].into_iter().collect()
}

fn numbers(asns: &[Asn]) -> String {
    let numbers: Vec<String> = asns.iter().map(|asn| format!("AS {asn}")).collect();
    numbers.join(", ")
}

impl SessionError {
    /// The message that tells the peer.
    #[must_use]
    pub fn notification(&self) -> Notification {
        let with = |code, subcode, data: Vec<u8>| Notification {
            code,
            subcode,
            data,
        };
        match self {
            Self::Header(error) => match error {
                HeaderError::NotSynchronized => Notification::new(1, 1),
                HeaderError::BadLength { length } => with(1, 2, length.to_be_bytes().to_vec()),
                HeaderError::BadType { kind } => with(1, 3, vec![*kind]),
            },
            Self::Open(error) => match error {
                OpenError::Version { .. } => with(2, 1, vec![0, 4]),
                OpenError::Malformed => Notification::new(2, 0),
                OpenError::Parameter { .. } => Notification::new(2, 4),
            },
            Self::PeerAs { .. } | Self::PeerAsNotAllowed { .. } => Notification::new(2, 2),
            Self::Identifier { .. } => Notification::new(2, 3),
            Self::HoldTime { .. } => Notification::new(2, 6),
            // RFC 5492, section 3: the capabilities that we miss, as they should have been sent.
            Self::NoCommonFamily { ours } => {
                let capability = |family: Family| {
                    let [high, low] = family.afi.to_be_bytes();
                    [1, 4, high, low, 0, family.safi]
                };
                with(2, 7, ours.iter().flat_map(capability).collect())
            }
            Self::Update(fault) => fault.notification(),
            Self::RouteRefresh { .. } => Notification::new(7, 1),
            Self::HoldTimerExpired { .. } => Notification::new(4, 0),
            Self::SendHoldTimerExpired { .. } => Notification::new(8, 0),
            Self::UnexpectedMessage { state, .. } => match state {
                State::OpenSent => Notification::new(5, 1),
                State::OpenConfirm => Notification::new(5, 2),
                State::Established => Notification::new(5, 3),
                State::Idle | State::Connect | State::Active => Notification::new(5, 0),
            },
            Self::MaximumPrefixes { family, limit, .. } => {
                // RFC 4486, section 4: AFI, SAFI and the upper bound.
                let [high, low] = family.afi.to_be_bytes();
                let mut data = vec![high, low, family.safi];
                data.extend(limit.to_be_bytes());
                with(6, Notification::MAXIMUM_PREFIXES, data)
            }
        }
    }

    /// Whether trying again at once could end differently: the way was broken, not the peer.
    #[must_use]
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::HoldTimerExpired { .. } | Self::SendHoldTimerExpired { .. }
        )
    }
}
