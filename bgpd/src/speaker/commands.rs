//! Carrying out orders.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Speaker, multipath};
use crate::config::EffectKind;
use crate::event::{Event, StaleEnd};
use crate::policy::{Policies, PolicyTable};
use crate::rib::PeerIndex;
use crate::session::Session;
use crate::wire::Notification;
use crate::{Asn, Command, CommandError, LocalRoute, PeerConfig, PeerName, SpeakerConfig};

/// One path's peer has two octets, and one number stands for ourselves.
const MAX_PEERS: usize = u16::MAX as usize - 1;

impl Speaker {
    /// Carries out an order.
    ///
    /// # Errors
    ///
    /// Why it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        self.begin(now);
        match command {
            Command::Configure(config) => self.configure(now, config)?,
            Command::AddPeer(config) => self.add_peer(now, *config)?,
            Command::ReplacePeer(config) => self.replace_peer(now, *config)?,
            Command::RemovePeer(name) => self.remove_peer(now, &name)?,
            Command::SetRanges(ranges) => self.set_ranges(now, ranges)?,
            Command::EnablePeer(name) => {
                let index = self.existing(&name)?;
                self.session(now, index, |session, turn| session.start(turn));
            }
            Command::DisablePeer { peer, text } => {
                let index = self.existing(&peer)?;
                self.session(now, index, |session, turn| session.disable(turn, &text));
                self.sweep_absent(index, StaleEnd::Ended);
            }
            Command::ResetPeer(name) => {
                let index = self.existing(&name)?;
                let cease = Notification::cease(Notification::ADMINISTRATIVE_RESET);
                self.session(now, index, |session, turn| session.reset(turn, cease));
                self.sweep_absent(index, StaleEnd::Ended);
            }
            Command::RefreshPeer(name) => {
                let index = self.existing(&name)?;
                self.session(now, index, |session, turn| session.ask_refresh(turn));
            }
            Command::SetPolicy(policies) => self.set_policy(policies),
            Command::SetLocalRoutes(routes) => self.set_local_routes(routes),
            Command::SetNextHop { address, interface } => {
                if self.rib.resolver.set_next_hop(address, interface) {
                    self.rib.refresh_hops();
                }
            }
            Command::SetInterface { name, up } => self.set_interface(now, name, up),
            Command::PathDown(name) => {
                let index = self.existing(&name)?;
                self.session(now, index, |session, turn| session.path_down(turn));
                self.sweep_absent(index, StaleEnd::PathDown);
            }
            Command::BfdDown {
                peer,
                control_plane_independent,
            } => {
                let index = self.existing(&peer)?;
                self.session(now, index, |session, turn| session.bfd_down(turn));
                if control_plane_independent {
                    self.sweep_absent(index, StaleEnd::PathDown);
                }
            }
            Command::HoldPeer { peer, text } => {
                let index = self.existing(&peer)?;
                self.session(now, index, |session, turn| session.hold(turn, &text));
            }
            Command::Shutdown { text } => {
                for index in self.indices() {
                    self.session(now, index, |session, turn| session.disable(turn, &text));
                    self.sweep_absent(index, StaleEnd::Ended);
                }
            }
        }
        self.settle();
        Ok(())
    }

    fn existing(&self, name: &PeerName) -> Result<PeerIndex, CommandError> {
        self.named(name.as_str())
            .ok_or_else(|| CommandError::UnknownPeer { peer: name.clone() })
    }

    fn configure(&mut self, now: Instant, config: SpeakerConfig) -> Result<(), CommandError> {
        own_asn(config.asn)?;
        let old = std::mem::replace(&mut self.config, config);
        self.rib.set_multipath(multipath(&self.config));
        for index in self.indices() {
            let Some(peer) = self.peer(index) else {
                continue;
            };
            let same_asn = peer.local_asn(&old) == peer.local_asn(&self.config);
            if !same_asn || old.router_id != self.config.router_id {
                let cease = Notification::cease(Notification::CONFIGURATION_CHANGE);
                self.session(now, index, |session, turn| session.reset(turn, cease));
                self.sweep_absent(index, StaleEnd::Ended);
            }
        }
        Ok(())
    }

    pub(super) fn add_peer(
        &mut self,
        now: Instant,
        config: PeerConfig,
    ) -> Result<(), CommandError> {
        parameters(&config)?;
        self.give_way(now, &config);
        let name = config.name.clone();
        if self.names.contains_key(&name) {
            return Err(CommandError::DuplicateName { peer: name });
        }
        self.check(&config)?;
        let slot = match self.peers.iter().position(Option::is_none) {
            Some(slot) => slot,
            None if self.peers.len() >= MAX_PEERS => {
                return Err(CommandError::TooManyPeers { limit: MAX_PEERS });
            }
            None => {
                self.peers.push(None);
                self.peers.len() - 1
            }
        };
        let index = PeerIndex(u16::try_from(slot).unwrap_or(u16::MAX));
        if let Some(place) = self.peers.get_mut(slot) {
            *place = Some(Peer::new(config, Session::new(now)));
        }
        self.names.insert(name, index);
        self.session(now, index, |session, turn| session.start(turn));
        Ok(())
    }

    pub(super) fn replace_peer(
        &mut self,
        now: Instant,
        config: PeerConfig,
    ) -> Result<(), CommandError> {
        let index = self.existing(&config.name)?;
        if self
            .peer(index)
            .is_some_and(|it| it.config.address != config.address)
        {
            parameters(&config)?;
            self.give_way(now, &config);
        }
        self.check(&config)?;
        let Some(peer) = self.peer_mut(index) else {
            return Ok(());
        };
        let effect = peer.config.effect_of(&config);
        peer.config = config;
        match effect.kind {
            EffectKind::Reset => {
                let cease = Notification::cease(Notification::CONFIGURATION_CHANGE);
                self.session(now, index, |session, turn| session.reset(turn, cease));
                self.sweep_absent(index, StaleEnd::Ended);
            }
            EffectKind::Refresh | EffectKind::None => {
                self.session(now, index, |session, turn| session.adjust(turn));
                if effect.fields.contains(&"max_prefixes_in") {
                    self.session(now, index, |session, turn| session.limit_changed(turn));
                }
                if effect.kind == EffectKind::Refresh {
                    self.refresh_teacher(index);
                    self.rejudge(index);
                    self.tell_anew();
                }
            }
        }
        self.enforce_limit(now, index);
        Ok(())
    }

    fn remove_peer(&mut self, now: Instant, name: &PeerName) -> Result<(), CommandError> {
        let index = self.existing(name)?;
        let cease = Notification::cease(Notification::PEER_DECONFIGURED);
        self.session(now, index, |session, turn| session.cease(turn, cease));
        self.settle();
        // As the member of a range it may have gone by itself.
        if self.named(name.as_str()) == Some(index) {
            self.forget_peer(index);
        }
        Ok(())
    }

    /// Forgets a peer whose session is over.
    pub(super) fn forget_peer(&mut self, index: PeerIndex) {
        self.rib.forget_teacher(index);
        self.forget_restart(index);
        let place = self.peers.get_mut(usize::from(index.0));
        if let Some(peer) = place.and_then(Option::take) {
            self.names.remove(&peer.config.name);
        }
    }

    fn set_policy(&mut self, policies: Policies) {
        let policy = PolicyTable::new(policies);
        if policy == self.policy {
            return;
        }
        self.policy = policy;
        for index in self.indices() {
            self.rejudge(index);
        }
        self.tell_anew();
    }

    fn set_local_routes(&mut self, routes: Vec<LocalRoute>) {
        self.rib.set_local(routes);
        self.local_routes_are_known();
    }

    fn set_interface(&mut self, now: Instant, name: String, up: bool) {
        if !self.rib.resolver.set_interface(&name, up) {
            return;
        }
        let prefixes = self.rib.refresh_hops();
        for index in self.indices() {
            let over = |peer: &Peer| peer.config.interface.as_deref() == Some(name.as_str());
            if self.peer(index).is_some_and(over) {
                self.session(now, index, |session, turn| session.interface_changed(turn));
                if !up {
                    self.sweep_absent(index, StaleEnd::PathDown);
                }
            }
        }
        self.outbox.tell(Event::InterfaceChanged {
            interface: name,
            up,
            prefixes,
        });
    }

    /// Whether a peer's parameters can be true beside those of the others.
    fn check(&self, config: &PeerConfig) -> Result<(), CommandError> {
        parameters(config)?;
        let address = config.address;
        match self.at_address(address) {
            Some((_, peer)) if peer.config.name != config.name => {
                let peer = peer.config.name.clone();
                Err(CommandError::DuplicateAddress { address, peer })
            }
            _ => Ok(()),
        }
    }
}

/// Whether a peer's parameters can be true at all.
pub(super) fn parameters(config: &PeerConfig) -> Result<(), CommandError> {
    if let Some(asn) = config.local_asn {
        own_asn(asn)?;
    }
    own_asn(config.remote_asn)?;
    hold_time(config.hold_time)?;
    match config.address {
        IpAddr::V6(it) if it.is_unicast_link_local() => {
            let address = config.address;
            Err(CommandError::LinkLocalAddress { address })
        }
        _ => Ok(()),
    }
}

pub(super) fn own_asn(asn: Asn) -> Result<(), CommandError> {
    if matches!(asn, Asn::ZERO | Asn::TRANS) {
        Err(CommandError::ReservedAsn { asn })
    } else {
        Ok(())
    }
}

fn hold_time(time: Duration) -> Result<(), CommandError> {
    match time.as_secs() {
        0 | 3..=65535 => Ok(()),
        seconds => Err(CommandError::HoldTime { seconds }),
    }
}
