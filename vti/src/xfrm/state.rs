//! States: SAs in the kernel.

use std::net::IpAddr;

use crypto::{Secret, Suite};

use super::abi::{
    AF_INET, AF_INET6, IPPROTO_ESP, MODE_TUNNEL, OFFLOAD_INBOUND, OFFLOAD_PACKET, SA_DIR_IN,
    SA_DIR_OUT, STATE_AF_UNSPEC, STATE_ESN, UDP_ENCAP_ESPINUDP, XFLAG_DONT_ENCAP_DSCP, attr, msg,
    size,
};
use super::algorithm;
use super::field::{
    Bound, Lifetime, Mark, Usage, address_at, be16_at, be32_at, bind, family_of, put_address,
    u64_at,
};
use super::message::Message;
use crate::netlink::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, attributes, u8_at, u16_at,
    u32_at,
};
use crate::plane::{Binding, Direction};

/// The kernel's largest replay window, in packets: XFRMA_REPLAY_ESN_MAX.
pub const LARGEST_WINDOW: u32 = 4096;

/// What tells one ESP state from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaId {
    /// The receiver's outer address.
    pub destination: IpAddr,
    /// The receiver's SPI.
    pub spi: u32,
}

/// Where sequence numbers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The last number sent.
    pub sent: u64,
    /// The highest number received.
    pub received: u64,
    /// The numbers received below it, as the kernel's ring of bits; empty if none was.
    pub bitmap: Vec<u32>,
}

/// UDP encapsulation (RFC 3948), as the packets' headers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPorts {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
}

/// Work that a network device takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadTo {
    /// The device's index.
    pub interface: u32,
    /// All of ESP rather than cryptography alone.
    pub packet: bool,
}

/// A state that we ask the kernel for: ESP in tunnel mode for either IP version.
#[derive(Clone, Debug)]
pub struct NewState<'a> {
    /// Its address and SPI.
    pub id: SaId,
    /// The sender's outer address.
    pub source: IpAddr,
    /// What ties it to the templates of its policies.
    pub reqid: u32,
    /// What ties it to its interface.
    pub binding: Binding,
    /// Which way it carries packets.
    pub direction: Direction,
    /// Whether to name the direction to the kernel. One that knows it (Linux 6.10) checks for each what the other must not have;
    /// one that does not wants a replay window even of an outbound SA with ESN.
    pub name_direction: bool,
    /// The algorithms.
    pub suite: Suite,
    /// The cipher's key, with its salt.
    pub keymat: &'a Secret,
    /// The integrity key; empty for AEAD suites.
    pub integrity: &'a Secret,
    /// Whether sequence numbers are extended.
    pub esn: bool,
    /// The anti-replay window in packets, for an inbound SA: up to [`LARGEST_WINDOW`].
    pub window: u32,
    /// Where its sequence numbers begin.
    pub replay: Replay,
    /// UDP encapsulation.
    pub encap: Option<UdpPorts>,
    /// How much it may carry.
    pub lifetime: Lifetime,
    /// Whether outer packets carry the inner ones' DSCP.
    pub copy_dscp: bool,
    /// The mark that outer packets get, for routing them.
    pub output_mark: Option<u32>,
    /// Seconds between two reports of a changed NAT mapping.
    pub mapping_interval: Option<u32>,
    /// The device that takes it over.
    pub offload: Option<OffloadTo>,
}

impl NewState<'_> {
    /// The request to add it: EEXIST if there is one of its id.
    pub(crate) fn add(&self) -> Message {
        self.message(msg::NEWSA, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// The request to change the one of its id: its lifetime and the ports of its encapsulation, where both have one. Keys and
    /// sequence numbers stay.
    pub(crate) fn update(&self) -> Message {
        self.message(msg::UPDSA, NLM_F_REPLACE)
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let message = Message::new(kind, flags | NLM_F_ACK).fixed(|into| self.put_info(into));
        let message = algorithm::put(message, self.suite, self.keymat, self.integrity);
        let message = bind(message, self.binding);
        let message = match self.replay_window() {
            Some(window) => message.attribute(attr::REPLAY_ESN_VAL, |into| {
                put_replay(into, window, &self.replay);
            }),
            None => message,
        };
        message
            .maybe(self.encap, |message, ports| {
                message.attribute(attr::ENCAP, |into| put_encap(into, ports))
            })
            .maybe(
                // It is about what is sent, and a kernel that knows the direction says so.
                (!(self.copy_dscp || self.name_direction && self.inbound())).then_some(()),
                |message, ()| message.number(attr::SA_EXTRA_FLAGS, XFLAG_DONT_ENCAP_DSCP),
            )
            .maybe(self.output_mark, |message, mark| {
                message
                    .number(attr::SET_MARK, mark)
                    .number(attr::SET_MARK_MASK, u32::MAX)
            })
            .maybe(
                self.mapping_interval
                    .filter(|_| self.inbound() && self.encap.is_some()),
                |message, seconds| message.number(attr::MTIMER_THRESH, seconds),
            )
            .maybe(self.offload, |message, offload| {
                let inbound = if self.inbound() { OFFLOAD_INBOUND } else { 0 };
                let packet = if offload.packet { OFFLOAD_PACKET } else { 0 };
                message.attribute(attr::OFFLOAD_DEV, |into| {
                    into.extend_from_slice(&offload.interface.to_ne_bytes());
                    into.extend_from_slice(&[inbound | packet, 0, 0, 0]);
                })
            })
            .maybe(self.name_direction.then_some(()), |message, ()| {
                let direction = if self.inbound() {
                    SA_DIR_IN
                } else {
                    SA_DIR_OUT
                };
                message.attribute(attr::SA_DIR, |into| into.push(direction))
            })
    }

    fn inbound(&self) -> bool {
        self.direction == Direction::Inbound
    }

    /// The window that the kernel is told; `None` if its default state of sequence numbers will do.
    fn replay_window(&self) -> Option<u32> {
        match self.direction {
            Direction::Inbound => Some(self.window.clamp(32, LARGEST_WINDOW)),
            Direction::Outbound if self.esn && !self.name_direction => Some(32),
            Direction::Outbound => (self.esn || self.replay.sent > 0).then_some(0),
        }
    }

    /// `struct xfrm_usersa_info`.
    fn put_info(&self, into: &mut Vec<u8>) {
        // The selector: every packet, of either IP version.
        into.extend_from_slice(&[0; size::SELECTOR]);
        put_id(into, self.id);
        put_address(into, self.source);
        self.lifetime.put(into);
        // What it has carried, its faults, and the kernel's own sequence number of the request.
        into.extend_from_slice(&[0; 32 + 12 + 4]);
        into.extend_from_slice(&self.reqid.to_ne_bytes());
        into.extend_from_slice(&family_of(self.id.destination).to_ne_bytes());
        into.push(MODE_TUNNEL);
        // The window is in an attribute of its own.
        into.push(0);
        into.push(STATE_AF_UNSPEC | if self.esn { STATE_ESN } else { 0 });
        into.extend_from_slice(&[0; 7]);
    }
}

/// `struct xfrm_id`.
pub(super) fn put_id(into: &mut Vec<u8>, id: SaId) {
    put_address(into, id.destination);
    into.extend_from_slice(&id.spi.to_be_bytes());
    into.extend_from_slice(&[IPPROTO_ESP, 0, 0, 0]);
}

/// `struct xfrm_replay_state_esn`.
fn put_replay(into: &mut Vec<u8>, window: u32, replay: &Replay) {
    let words = window.div_ceil(32);
    let low = |number: u64| (number & u64::from(u32::MAX)) as u32;
    let high = |number: u64| (number >> 32) as u32;
    for value in [
        words,
        low(replay.sent),
        low(replay.received),
        high(replay.sent),
        high(replay.received),
        window,
    ] {
        into.extend_from_slice(&value.to_ne_bytes());
    }
    for index in 0..words as usize {
        let word = replay.bitmap.get(index).copied().unwrap_or(0);
        into.extend_from_slice(&word.to_ne_bytes());
    }
}

/// `struct xfrm_encap_tmpl`.
fn put_encap(into: &mut Vec<u8>, ports: UdpPorts) {
    into.extend_from_slice(&UDP_ENCAP_ESPINUDP.to_ne_bytes());
    into.extend_from_slice(&ports.source.to_be_bytes());
    into.extend_from_slice(&ports.destination.to_be_bytes());
    into.extend_from_slice(&[0; 2 + 16]);
}

/// `struct xfrm_usersa_id` with what a lookup by mark needs.
fn about(kind: u16, flags: u16, id: SaId, binding: Option<Binding>) -> Message {
    let message = Message::new(kind, flags).fixed(|into| {
        put_address(into, id.destination);
        into.extend_from_slice(&id.spi.to_be_bytes());
        into.extend_from_slice(&family_of(id.destination).to_ne_bytes());
        into.extend_from_slice(&[IPPROTO_ESP, 0]);
    });
    message.maybe(binding, bind)
}

pub(crate) fn delete(id: SaId, binding: Binding) -> Message {
    about(msg::DELSA, NLM_F_ACK, id, Some(binding))
}

pub(crate) fn get(id: SaId, binding: Binding) -> Message {
    about(msg::GETSA, 0, id, Some(binding))
}

/// Asks for all states.
pub(crate) fn dump() -> Message {
    // Filters may follow the message's header, and nothing else: the kernel warns in its log of what it takes for a damaged one.
    Message::new(msg::GETSA, NLM_F_DUMP)
}

/// Faults of what arrived on a state: `struct xfrm_stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Packets left of the replay window.
    pub too_old: u32,
    /// Packets that were seen before.
    pub replayed: u32,
    /// Packets whose ICV did not verify.
    pub integrity: u32,
}

/// A state as the kernel shows it, without its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSeen {
    /// Its address and SPI.
    pub id: SaId,
    /// The IP protocol: 50 for ESP.
    pub protocol: u8,
    /// The sender's outer address.
    pub source: IpAddr,
    /// What ties it to the templates of its policies.
    pub reqid: u32,
    /// Whether it is of tunnel mode.
    pub tunnel: bool,
    /// Its mark, if it has one.
    pub mark: Option<Mark>,
    /// Its if_id, if it has one.
    pub if_id: Option<u32>,
    /// Which way it carries packets, where the kernel knows.
    pub direction: Option<Direction>,
    /// Whether sequence numbers are extended.
    pub esn: bool,
    /// The anti-replay window in packets.
    pub window: u32,
    /// Where sequence numbers are.
    pub replay: Replay,
    /// UDP encapsulation.
    pub encap: Option<UdpPorts>,
    /// How much it may carry.
    pub lifetime: Lifetime,
    /// What it has carried.
    pub usage: Usage,
    /// What was wrong with packets that arrived on it.
    pub faults: Faults,
    /// When it was last used, in seconds since 1970.
    pub last_used: Option<u64>,
    /// The kernel's names of its algorithms with their keys' lengths in bits.
    pub algorithms: Vec<(String, u32)>,
    /// The mark that outer packets get.
    pub output_mark: Option<u32>,
    /// The index of the device that takes it over.
    pub offload: Option<u32>,
}

impl StateSeen {
    /// What ties it to an interface, if it is like one of ours.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        let (mark, if_id) = (self.mark, self.if_id);
        Bound { mark, if_id }.binding()
    }

    /// `struct xfrm_usersa_info` and the attributes after `fixed` bytes.
    pub(super) fn read(body: &[u8], fixed: usize) -> Option<Self> {
        let mut state = Self::read_info(body)?;
        state.read_attributes(body, fixed);
        Some(state)
    }

    /// A deleted state: `struct xfrm_usersa_id`, then the structure as an attribute like all others.
    pub(super) fn read_deleted(body: &[u8]) -> Option<Self> {
        let (_, info) = attributes(body, size::SA_ID).find(|(kind, _)| *kind == attr::SA)?;
        let mut state = Self::read_info(info)?;
        state.read_attributes(body, size::SA_ID);
        Some(state)
    }

    fn read_info(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size::SA_INFO)?;
        let family = u16_at(bytes, 212)?;
        let flags = u8_at(bytes, 216)?;
        Some(Self {
            id: SaId {
                destination: address_at(bytes, 56, family)?,
                spi: be32_at(bytes, 72)?,
            },
            protocol: u8_at(bytes, 76)?,
            source: address_at(bytes, 80, family)?,
            reqid: u32_at(bytes, 208)?,
            tunnel: u8_at(bytes, 214)? == MODE_TUNNEL,
            mark: None,
            if_id: None,
            direction: None,
            esn: flags & STATE_ESN != 0,
            window: u8_at(bytes, 215)?.into(),
            replay: Replay::default(),
            encap: None,
            lifetime: Lifetime::read(bytes, 96)?,
            usage: Usage::read(bytes, 160)?,
            faults: Faults {
                too_old: u32_at(bytes, 192)?,
                replayed: u32_at(bytes, 196)?,
                integrity: u32_at(bytes, 200)?,
            },
            last_used: None,
            algorithms: Vec::new(),
            output_mark: None,
            offload: None,
        })
    }

    fn read_attributes(&mut self, body: &[u8], fixed: usize) {
        let mut bound = Bound::default();
        for (kind, value) in attributes(body, fixed) {
            if bound.note(kind, value) {
                continue;
            }
            match kind {
                attr::ALG_AEAD | attr::ALG_CRYPT | attr::ALG_AUTH_TRUNC => {
                    self.algorithms.extend(read_algorithm(value));
                }
                // The kernel says the same twice, for those who do not know ALG_AUTH_TRUNC.
                attr::ALG_AUTH => {}
                attr::ENCAP => self.encap = read_encap(value),
                attr::REPLAY_VAL => {
                    if let Some(replay) = read_short_replay(value) {
                        self.replay = replay;
                    }
                }
                attr::REPLAY_ESN_VAL => {
                    if let Some((window, replay)) = read_replay(value) {
                        (self.window, self.replay) = (window, replay);
                    }
                }
                attr::LASTUSED => self.last_used = u64_at(value, 0),
                attr::SET_MARK => self.output_mark = u32_at(value, 0),
                attr::OFFLOAD_DEV => self.offload = u32_at(value, 0),
                attr::SA_DIR => {
                    self.direction = match u8_at(value, 0) {
                        Some(SA_DIR_IN) => Some(Direction::Inbound),
                        Some(SA_DIR_OUT) => Some(Direction::Outbound),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        (self.mark, self.if_id) = (bound.mark, bound.if_id);
    }
}

fn read_algorithm(value: &[u8]) -> Option<(String, u32)> {
    let name = value.get(..size::ALGORITHM_NAME)?;
    Some((
        crate::netlink::text(name),
        u32_at(value, size::ALGORITHM_NAME)?,
    ))
}

fn read_encap(value: &[u8]) -> Option<UdpPorts> {
    (u16_at(value, 0)? == UDP_ENCAP_ESPINUDP).then_some(UdpPorts {
        source: be16_at(value, 2)?,
        destination: be16_at(value, 4)?,
    })
}

/// `struct xfrm_replay_state`, for windows of up to 32.
pub(super) fn read_short_replay(value: &[u8]) -> Option<Replay> {
    Some(Replay {
        sent: u32_at(value, 0)?.into(),
        received: u32_at(value, 4)?.into(),
        bitmap: vec![u32_at(value, 8)?],
    })
}

/// The window and the rest of `struct xfrm_replay_state_esn`.
pub(super) fn read_replay(value: &[u8]) -> Option<(u32, Replay)> {
    let number =
        |low, high| Some(u64::from(u32_at(value, high)?) << 32 | u64::from(u32_at(value, low)?));
    let words = u32_at(value, 0)?.min(LARGEST_WINDOW / 32);
    let bitmap = (0..words as usize).map_while(|index| u32_at(value, 24 + index * 4));
    Some((
        u32_at(value, 20)?,
        Replay {
            sent: number(4, 12)?,
            received: number(8, 16)?,
            bitmap: bitmap.collect(),
        },
    ))
}

/// Whether an address can be an outer one of this family of states.
pub(super) const fn is_ip(family: u16) -> bool {
    matches!(family, AF_INET | AF_INET6)
}
