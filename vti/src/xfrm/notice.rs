//! What the kernel says by itself: something was added, changed, deleted, used up or moved.

use std::net::{IpAddr, SocketAddr};

use super::abi::{AF_INET, AF_INET6, attr, msg, size};
use super::field::{Selector, Usage, address_at, be16_at, be32_at};
use super::policy::{Hook, PolicySeen};
use super::state::{Replay, SaId, StateSeen, is_ip, read_replay, read_short_replay};
use crate::netlink::{Answer, attributes, u8_at, u16_at, u32_at};

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A state was added, or changed.
    StatePut(Box<StateSeen>),
    /// A state was deleted.
    StateDeleted(Box<StateSeen>),
    /// All states were deleted.
    StatesFlushed,
    /// A state has carried what it may.
    Expired {
        /// The state.
        state: Box<StateSeen>,
        /// Whether it is gone, or wants a successor.
        hard: bool,
    },
    /// A policy was added, or changed.
    PolicyPut(Box<PolicySeen>),
    /// A policy was deleted.
    PolicyDeleted(Box<PolicySeen>),
    /// All policies were deleted.
    PoliciesFlushed,
    /// A policy has expired.
    PolicyExpired(Box<PolicySeen>),
    /// A packet needs a state that does not exist.
    Acquire {
        /// The receiver.
        destination: IpAddr,
        /// The sender.
        source: IpAddr,
        /// The packet.
        selector: Selector,
    },
    /// Packets of a state come from another address or port than they did.
    Mapping {
        /// The state.
        id: SaId,
        /// Its reqid.
        reqid: u32,
        /// Where they came from.
        old: SocketAddr,
        /// Where they come from now.
        new: SocketAddr,
    },
    /// Where a state's counters are.
    Progress {
        /// The state.
        id: SaId,
        /// Its reqid.
        reqid: u32,
        /// Its sequence numbers.
        replay: Option<Replay>,
        /// What it has carried.
        usage: Option<Usage>,
    },
    /// Policies and states were given other outer addresses.
    Migrated {
        /// Where the policy is asked.
        hook: Option<Hook>,
        /// Its packets.
        selector: Selector,
        /// Old (sender, receiver) and new.
        moves: Vec<Move>,
    },
}

/// One entry of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The old sender and receiver.
    pub from: (IpAddr, IpAddr),
    /// The new ones.
    pub to: (IpAddr, IpAddr),
    /// The states' reqid.
    pub reqid: u32,
}

impl Notice {
    /// Reads a notification. `None` for one of no interest here, and for bytes that make none.
    pub(crate) fn read(answer: &Answer<'_>) -> Option<Self> {
        let body = answer.body;
        Some(match answer.kind {
            msg::NEWSA | msg::UPDSA => {
                Self::StatePut(Box::new(StateSeen::read(body, size::SA_INFO)?))
            }
            msg::DELSA => Self::StateDeleted(Box::new(StateSeen::read_deleted(body)?)),
            msg::FLUSHSA => Self::StatesFlushed,
            msg::EXPIRE => Self::Expired {
                state: Box::new(StateSeen::read(body, size::EXPIRE)?),
                hard: u8_at(body, size::SA_INFO)? != 0,
            },
            msg::NEWPOLICY | msg::UPDPOLICY => {
                Self::PolicyPut(Box::new(PolicySeen::read(body, size::POLICY_INFO)?))
            }
            msg::DELPOLICY => Self::PolicyDeleted(Box::new(PolicySeen::read_deleted(body)?)),
            msg::FLUSHPOLICY => Self::PoliciesFlushed,
            msg::POLEXPIRE => {
                Self::PolicyExpired(Box::new(PolicySeen::read(body, size::POLEXPIRE)?))
            }
            msg::ACQUIRE => acquire(body)?,
            msg::MAPPING => mapping(body)?,
            msg::NEWAE => progress(body)?,
            msg::MIGRATE => migrated(body)?,
            _ => return None,
        })
    }
}

/// `struct xfrm_user_acquire`.
fn acquire(body: &[u8]) -> Option<Notice> {
    let body = body.get(..size::ACQUIRE)?;
    let selector = Selector::read(body.get(40..)?)?;
    // The outer addresses have no family of their own, and the selector's is that of the inner packet. Those of IPv4 have
    // nothing in their last twelve bytes.
    let family = |at: usize| match body.get(at + 4..at + 16) {
        Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => AF_INET,
        _ => AF_INET6,
    };
    Some(Notice::Acquire {
        destination: address_at(body, 0, family(0))?,
        source: address_at(body, 24, family(24))?,
        selector,
    })
}

/// `struct xfrm_user_mapping`.
fn mapping(body: &[u8]) -> Option<Notice> {
    let body = body.get(..size::MAPPING)?;
    let family = u16_at(body, 20).filter(|&family| is_ip(family))?;
    let from = |address, port| {
        Some(SocketAddr::new(
            address_at(body, address, family)?,
            be16_at(body, port)?,
        ))
    };
    Some(Notice::Mapping {
        id: sa_id(body)?,
        reqid: u32_at(body, 24)?,
        old: from(28, 60)?,
        new: from(44, 62)?,
    })
}

/// `struct xfrm_aevent_id`.
fn progress(body: &[u8]) -> Option<Notice> {
    let fixed = body.get(..size::AEVENT)?;
    let find = |kind| attributes(body, size::AEVENT).find(|(found, _)| *found == kind);
    let long = find(attr::REPLAY_ESN_VAL).and_then(|(_, value)| Some(read_replay(value)?.1));
    let short = find(attr::REPLAY_VAL).and_then(|(_, value)| read_short_replay(value));
    Some(Notice::Progress {
        id: sa_id(fixed)?,
        reqid: u32_at(fixed, 44)?,
        replay: long.or(short),
        usage: find(attr::LTIME_VAL).and_then(|(_, value)| Usage::read(value, 0)),
    })
}

/// `struct xfrm_userpolicy_id`, then an array of `struct xfrm_user_migrate`.
fn migrated(body: &[u8]) -> Option<Notice> {
    let fixed = body.get(..size::POLICY_ID)?;
    let (_, moves) = attributes(body, size::POLICY_ID).find(|(kind, _)| *kind == attr::MIGRATE)?;
    Some(Notice::Migrated {
        hook: Hook::of(u8_at(fixed, 60)?),
        selector: Selector::read(fixed)?,
        moves: moves
            .chunks_exact(size::MIGRATE)
            .filter_map(|entry| {
                let (old, new) = (u16_at(entry, 72)?, u16_at(entry, 74)?);
                Some(Move {
                    from: (address_at(entry, 16, old)?, address_at(entry, 0, old)?),
                    to: (address_at(entry, 48, new)?, address_at(entry, 32, new)?),
                    reqid: u32_at(entry, 68)?,
                })
            })
            .collect(),
    })
}

/// `struct xfrm_usersa_id`.
fn sa_id(bytes: &[u8]) -> Option<SaId> {
    Some(SaId {
        destination: address_at(bytes, 0, u16_at(bytes, 20)?)?,
        spi: be32_at(bytes, 16)?,
    })
}
