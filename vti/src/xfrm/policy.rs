//! Policies: which packets need which SA.

use std::net::IpAddr;

use super::abi::{ANY_ALGORITHM, MODE_TUNNEL, OFFLOAD_PACKET, attr, msg, size};
use super::field::{
    Bound, Lifetime, Mark, Selector, address_at, be32_at, bind, family_of, put_address,
};
use super::message::Message;
use super::state::{SaId, put_id};
use crate::netlink::{NLM_F_ACK, NLM_F_DUMP, attributes, u8_at, u16_at, u32_at};
use crate::plane::Binding;

/// Where a policy is asked: `XFRM_POLICY_IN` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// For packets to this host.
    In,
    /// For packets that leave.
    Out,
    /// For packets that are forwarded.
    Forward,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 3] = [Self::In, Self::Out, Self::Forward];

    const fn number(self) -> u8 {
        match self {
            Self::In => 0,
            Self::Out => 1,
            Self::Forward => 2,
        }
    }

    /// Policies of a single socket have numbers of their own (3 and 4) and are no concern of anybody else's.
    pub(super) const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::In),
            1 => Some(Self::Out),
            2 => Some(Self::Forward),
            _ => None,
        }
    }
}

/// What becomes of a packet that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It passes, by the SA of the template if there is one.
    Allow,
    /// It is dropped.
    Block,
}

/// What tells one policy from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyId {
    /// Where it is asked.
    pub hook: Hook,
    /// Which packets.
    pub selector: Selector,
    /// What ties it to its interface.
    pub binding: Binding,
}

/// The SA that a policy asks for: `struct xfrm_user_tmpl`, tunnel mode ESP with any algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// The receiver, and the SPI, or 0 for any of the reqid's. The unspecified address is any.
    pub id: SaId,
    /// The sender; the unspecified address is any.
    pub source: IpAddr,
    /// The reqid of the SAs that will do.
    pub reqid: u32,
    /// Whether it is of tunnel mode. Ours always are.
    pub tunnel: bool,
}

/// A policy of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which one.
    pub id: PolicyId,
    /// Which of several that select a packet is asked first: the one with the lowest.
    pub priority: u32,
    /// What becomes of the packets.
    pub action: Action,
    /// By which SA.
    pub template: Option<Template>,
    /// The index of the device that looks it up in the kernel's stead, where the SA is the device's as well.
    pub offload: Option<u32>,
}

impl Policy {
    /// The request to have exactly this policy, in place of the one of its id if there is one.
    pub(crate) fn put(&self) -> Message {
        let message = Message::new(msg::UPDPOLICY, NLM_F_ACK).fixed(|into| {
            self.id.selector.put(into);
            Lifetime::default().put(into);
            into.extend_from_slice(&[0; 32]);
            into.extend_from_slice(&self.priority.to_ne_bytes());
            // The index is the kernel's.
            into.extend_from_slice(&[0; 4]);
            into.push(self.id.hook.number());
            into.push(match self.action {
                Action::Allow => 0,
                Action::Block => 1,
            });
            into.extend_from_slice(&[0; 2 + 4]);
        });
        bind(message, self.id.binding)
            .maybe(self.template, |message, template| {
                message.attribute(attr::TMPL, |into| template.put(into))
            })
            .maybe(self.offload, |message, interface| {
                message.attribute(attr::OFFLOAD_DEV, |into| {
                    into.extend_from_slice(&interface.to_ne_bytes());
                    into.extend_from_slice(&[OFFLOAD_PACKET, 0, 0, 0]);
                })
            })
    }
}

impl PolicyId {
    pub(crate) fn delete(&self) -> Message {
        let message = Message::new(msg::DELPOLICY, NLM_F_ACK).fixed(|into| {
            self.selector.put(into);
            into.extend_from_slice(&[0; 4]);
            into.push(self.hook.number());
            into.extend_from_slice(&[0; 3]);
        });
        bind(message, self.binding)
    }
}

impl Template {
    fn put(&self, into: &mut Vec<u8>) {
        put_id(into, self.id);
        into.extend_from_slice(&family_of(self.id.destination).to_ne_bytes());
        into.extend_from_slice(&[0; 2]);
        put_address(into, self.source);
        into.extend_from_slice(&self.reqid.to_ne_bytes());
        // Mode; not shared; not optional.
        into.extend_from_slice(&[MODE_TUNNEL, 0, 0, 0]);
        for _ in 0..3 {
            into.extend_from_slice(&ANY_ALGORITHM.to_ne_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size::TEMPLATE)?;
        let family = u16_at(bytes, 24)?;
        Some(Self {
            id: SaId {
                destination: address_at(bytes, 0, family)?,
                spi: be32_at(bytes, 16)?,
            },
            source: address_at(bytes, 28, family)?,
            reqid: u32_at(bytes, 44)?,
            tunnel: u8_at(bytes, 48)? == MODE_TUNNEL,
        })
    }
}

/// Asks for all policies.
pub(crate) fn dump() -> Message {
    Message::new(msg::GETPOLICY, NLM_F_DUMP).fixed(|into| {
        into.extend_from_slice(&[0; size::POLICY_ID]);
    })
}

/// Asks what becomes of packets that no policy selects.
pub(crate) fn get_default() -> Message {
    Message::new(msg::GETDEFAULT, 0).fixed(|into| into.extend_from_slice(&[0; 4]))
}

/// What becomes of packets that no policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultActions {
    /// Of those to this host.
    pub inbound: Action,
    /// Of those that are forwarded.
    pub forwarded: Action,
    /// Of those that leave.
    pub outbound: Action,
}

impl DefaultActions {
    /// `struct xfrm_userpolicy_default`.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        // XFRM_USERPOLICY_BLOCK is 1, XFRM_USERPOLICY_ACCEPT 2.
        let action = |at| {
            u8_at(body, at).map(|action| match action {
                1 => Action::Block,
                _ => Action::Allow,
            })
        };
        Some(Self {
            inbound: action(0)?,
            forwarded: action(1)?,
            outbound: action(2)?,
        })
    }
}

/// A policy as the kernel shows it, ours or somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySeen {
    /// Where it is asked.
    pub hook: Hook,
    /// Which packets.
    pub selector: Selector,
    /// Its precedence: the lowest is asked first.
    pub priority: u32,
    /// The kernel's number for it.
    pub index: u32,
    /// What becomes of the packets.
    pub action: Action,
    /// By which SAs, from the inside out.
    pub templates: Vec<Template>,
    /// Its mark, if it has one.
    pub mark: Option<Mark>,
    /// Its if_id, if it has one.
    pub if_id: Option<u32>,
}

impl PolicySeen {
    /// What ties it to an interface, if it is like one of ours.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        let (mark, if_id) = (self.mark, self.if_id);
        Bound { mark, if_id }.binding()
    }

    /// What tells it from others, if it is like one of ours.
    #[must_use]
    pub fn id(&self) -> Option<PolicyId> {
        Some(PolicyId {
            hook: self.hook,
            selector: self.selector.clone(),
            binding: self.binding()?,
        })
    }

    /// Whether it is exactly that policy.
    #[must_use]
    pub fn is(&self, policy: &Policy) -> bool {
        self.id().as_ref() == Some(&policy.id)
            && self.priority == policy.priority
            && self.action == policy.action
            && self.templates == Vec::from_iter(policy.template)
    }

    /// `struct xfrm_userpolicy_info` and the attributes after `fixed` bytes. `None` also for policies of single sockets.
    pub(super) fn read(body: &[u8], fixed: usize) -> Option<Self> {
        let mut policy = Self::read_info(body)?;
        policy.read_attributes(body, fixed);
        Some(policy)
    }

    /// A deleted policy: `struct xfrm_userpolicy_id`, then the structure as an attribute like all others.
    pub(super) fn read_deleted(body: &[u8]) -> Option<Self> {
        let (_, info) =
            attributes(body, size::POLICY_ID).find(|(kind, _)| *kind == attr::POLICY)?;
        let mut policy = Self::read_info(info)?;
        policy.read_attributes(body, size::POLICY_ID);
        Some(policy)
    }

    fn read_info(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size::POLICY_INFO)?;
        Some(Self {
            hook: Hook::of(u8_at(bytes, 160)?)?,
            selector: Selector::read(bytes)?,
            priority: u32_at(bytes, 152)?,
            index: u32_at(bytes, 156)?,
            action: match u8_at(bytes, 161)? {
                0 => Action::Allow,
                _ => Action::Block,
            },
            templates: Vec::new(),
            mark: None,
            if_id: None,
        })
    }

    fn read_attributes(&mut self, body: &[u8], fixed: usize) {
        let mut bound = Bound::default();
        for (kind, value) in attributes(body, fixed) {
            if !bound.note(kind, value) && kind == attr::TMPL {
                let templates = value.chunks_exact(size::TEMPLATE);
                self.templates = templates.filter_map(Template::read).collect();
            }
        }
        (self.mark, self.if_id) = (bound.mark, bound.if_id);
    }
}
