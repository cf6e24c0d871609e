//! From one plan to another, touching only what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bgpd::policy::Policies;
use bgpd::{EffectKind, PeerConfig, PeerName};
use ike::ConnectionId;
use vti::plane::TunnelId;

use super::naming::Naming;
use super::{Effect, Gateway, PlaneChange, Tunnel};
use crate::plan::{Plan, TunnelPlan};

impl Gateway {
    /// Becomes what `plan` says, and tells what that touched: one line for each thing, none if nothing differs.
    ///
    /// # Errors
    /// When the speaker refuses a peer; what went before stays done.
    pub(crate) fn reload(&mut self, now: Instant, plan: Plan) -> Result<Vec<String>, String> {
        let touched = self.adopt(now, plan);
        self.settle(now);
        touched
    }

    pub(super) fn adopt(&mut self, now: Instant, mut plan: Plan) -> Result<Vec<String>, String> {
        let mut touched = Vec::new();
        plan.keep_addresses(&self.plan);
        self.adopt_tunnels(now, &plan, &mut touched);
        self.adopt_speaker(now, &plan, &mut touched)?;
        self.adopt_peers(now, &plan, &mut touched)?;
        self.adopt_ranges(now, &plan, &mut touched)?;
        self.adopt_shutdowns(now, &plan, &mut touched)?;
        let ruleset = plan.ruleset();
        if ruleset != self.plan.ruleset() {
            touched.push("firewall: rules replaced".into());
            self.effects
                .push_back(Effect::Firewall(ruleset.map(Arc::new)));
        }
        let redistribution_differs = plan.redistribute != self.plan.redistribute;
        let routes_differ = plan.routes != self.plan.routes;
        let before = std::mem::replace(&mut self.plan, plan);
        self.adopt_bfd(now, &before, &mut touched);
        if redistribution_differs {
            touched.push("bgp: redistribution changed".into());
        }
        if routes_differ {
            touched.push("routes: the site's own changed".into());
        }
        if (redistribution_differs || routes_differ) && self.facts_are_known {
            self.announce_local_routes(now);
        }
        self.effects
            .push_back(Effect::Watch(Arc::new(self.plan.outline())));
        self.desired_is_stale = true;
        Ok(touched)
    }

    fn adopt_tunnels(&mut self, now: Instant, plan: &Plan, touched: &mut Vec<String>) {
        let wanted: BTreeMap<u32, &TunnelPlan> = plan
            .tunnels
            .iter()
            .map(|tunnel| (tunnel.spec.id.0, tunnel))
            .collect();
        // A tunnel whose interface changes is another tunnel.
        let leaving: Vec<u32> = self
            .tunnels
            .iter()
            .filter(|(id, tunnel)| {
                wanted
                    .get(*id)
                    .is_none_or(|new| new.spec != tunnel.plan.spec || new.name != tunnel.plan.name)
            })
            .map(|(id, _)| *id)
            .collect();
        let mut held = BTreeSet::new();
        for id in leaving {
            let tunnel = self.tunnels.get(&id).filter(|tunnel| tunnel.held_down);
            held.extend(tunnel.map(|tunnel| tunnel.plan.name.clone()));
            self.remove_tunnel(now, id, touched);
        }
        for (id, new) in wanted {
            if self.tunnels.contains_key(&id) {
                self.replace_tunnel(now, id, new, touched);
                continue;
            }
            self.add_tunnel(now, id, new, touched);
            // What was taken down by hand stays down, and its neighbors are still told to rest.
            if held.contains(&new.name) {
                self.hold(now, id);
            }
        }
    }

    fn add_tunnel(&mut self, now: Instant, id: u32, new: &TunnelPlan, touched: &mut Vec<String>) {
        touched.push(format!("{}: tunnel added", new.name));
        self.effects
            .push_back(Effect::Plane(PlaneChange::AddTunnel(new.spec.clone())));
        self.bgp_command(
            now,
            bgpd::Command::SetInterface {
                name: new.interface().to_owned(),
                up: false,
            },
        );
        let mut tunnel = Tunnel::new(now, new.clone());
        if let Some(Err(reason)) = self.facts.paths.get(&new.connection.remote) {
            tunnel.lose_path(reason);
        }
        self.tunnels.insert(id, tunnel);
        self.follow_paths(now);
        self.look_up(id);
    }

    fn remove_tunnel(&mut self, now: Instant, id: u32, touched: &mut Vec<String>) {
        let Some(tunnel) = self.tunnels.remove(&id) else {
            return;
        };
        touched.push(format!("{}: tunnel removed", tunnel.plan.name));
        if tunnel.source().is_some() {
            self.ike_command(now, ike::Command::Remove(ConnectionId(id)));
        }
        self.bgp_command(
            now,
            bgpd::Command::SetInterface {
                name: tunnel.plan.interface().to_owned(),
                up: false,
            },
        );
        self.effects
            .push_back(Effect::Plane(PlaneChange::RemoveTunnel(TunnelId(id))));
    }

    fn replace_tunnel(
        &mut self,
        now: Instant,
        id: u32,
        new: &TunnelPlan,
        touched: &mut Vec<String>,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let differs = !tunnel.plan.is_the_same(new);
        let negotiates_anew = tunnel.plan.negotiates_otherwise(new);
        let is_named_otherwise = tunnel.plan.remote_name != new.remote_name;
        tunnel.plan = new.clone();
        if !differs {
            return;
        }
        touched.push(format!("{}: tunnel changed", new.name));
        // Should the new peer be reached from another address, the path that is looked up next corrects it.
        let source = tunnel.source();
        if negotiates_anew {
            tunnel.forget_suites();
        }
        if is_named_otherwise {
            tunnel.naming = Naming::default();
        }
        if new.remote().is_none() && source.is_some() {
            // Nothing is left of the old peer, and the new one's address is not known yet.
            tunnel.forget_source();
            self.ike_command(now, ike::Command::Remove(ConnectionId(id)));
        } else if let Some(source) = source.filter(|_| negotiates_anew) {
            let connection = tunnel.connection(source);
            tunnel.told();
            self.ike_command(now, ike::Command::Replace(Box::new(connection)));
        }
        if is_named_otherwise {
            self.look_up(id);
        }
    }

    fn adopt_speaker(
        &mut self,
        now: Instant,
        plan: &Plan,
        touched: &mut Vec<String>,
    ) -> Result<(), String> {
        if plan.speaker != self.plan.speaker {
            touched.push("bgp: the speaker's own parameters changed".into());
            self.try_bgp(now, bgpd::Command::Configure(plan.speaker.clone()))?;
        }
        if let Some(what) = differing(&self.plan.policies, &plan.policies) {
            touched.push(format!("bgp: {what} changed; kept routes are judged anew"));
            self.try_bgp(now, bgpd::Command::SetPolicy(plan.policies.clone()))?;
        }
        Ok(())
    }

    fn adopt_peers(
        &mut self,
        now: Instant,
        plan: &Plan,
        touched: &mut Vec<String>,
    ) -> Result<(), String> {
        let old: BTreeMap<PeerName, PeerConfig> = self
            .plan
            .peers
            .iter()
            .map(|peer| (peer.name.clone(), peer.clone()))
            .collect();
        let new: BTreeMap<PeerName, &PeerConfig> = plan
            .peers
            .iter()
            .map(|peer| (peer.name.clone(), peer))
            .collect();
        let keys = md5_keys(new.values().copied());
        if keys != md5_keys(old.values()) {
            self.effects.push_back(Effect::Sign(keys));
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            touched.push(format!("{name}: neighbor removed"));
            self.try_bgp(now, bgpd::Command::RemovePeer(name.clone()))?;
        }
        for (name, peer) in new {
            let peer = Box::new(peer.clone());
            match old.get(&name) {
                None => {
                    touched.push(format!("{name}: neighbor added"));
                    self.try_bgp(now, bgpd::Command::AddPeer(peer))?;
                }
                Some(before) if *before != *peer => {
                    let effect = before.effect_of(&peer);
                    let how = match effect.kind {
                        EffectKind::None => "without touching the session",
                        EffectKind::Refresh => "routes judged anew, the session stays",
                        EffectKind::Reset => "the session is reset",
                    };
                    touched.push(format!(
                        "{name}: neighbor changed ({}): {how}",
                        effect.fields.join(", ")
                    ));
                    self.try_bgp(now, bgpd::Command::ReplacePeer(peer))?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn adopt_ranges(
        &mut self,
        now: Instant,
        plan: &Plan,
        touched: &mut Vec<String>,
    ) -> Result<(), String> {
        if plan.ranges == self.plan.ranges {
            return Ok(());
        }
        let (old, new) = (&self.plan.ranges, &plan.ranges);
        for range in new {
            match old.iter().find(|old| old.name == range.name) {
                None => touched.push(format!("{}: range of neighbors added", range.name)),
                Some(before) if before != range => {
                    touched.push(format!("{}: range of neighbors changed", range.name));
                }
                Some(_) => {}
            }
        }
        for range in old {
            if !new.iter().any(|new| new.name == range.name) {
                touched.push(format!("{}: range of neighbors removed", range.name));
            }
        }
        self.try_bgp(now, bgpd::Command::SetRanges(plan.ranges.clone()))
    }

    fn adopt_shutdowns(
        &mut self,
        now: Instant,
        plan: &Plan,
        touched: &mut Vec<String>,
    ) -> Result<(), String> {
        let before = self.plan.shut_down.clone();
        for (name, text) in plan
            .shut_down
            .iter()
            .filter(|(name, _)| !before.contains_key(*name))
        {
            touched.push(format!("{name}: neighbor shut down"));
            let text = text.clone();
            self.try_bgp(
                now,
                bgpd::Command::DisablePeer {
                    peer: name.clone(),
                    text,
                },
            )?;
        }
        for name in before
            .keys()
            .filter(|name| !plan.shut_down.contains_key(*name))
        {
            // One that left the file altogether is gone already.
            if plan.peers.iter().any(|peer| peer.name == *name) {
                touched.push(format!("{name}: neighbor no longer shut down"));
                self.try_bgp(now, bgpd::Command::EnablePeer(name.clone()))?;
            }
        }
        Ok(())
    }

    fn try_bgp(&mut self, now: Instant, command: bgpd::Command) -> Result<(), String> {
        self.bgp
            .command(now, command)
            .map_err(|error| format!("BGP: {error}"))
    }
}

/// Which policies are others; `None` if all are the same.
pub(super) fn differing(old: &Policies, new: &Policies) -> Option<&'static str> {
    let lists = old.prefix_lists != new.prefix_lists;
    let maps = old.route_maps != new.route_maps;
    match (lists, maps) {
        (true, true) => Some("prefix lists and route maps"),
        (true, false) => Some("prefix lists"),
        (false, true) => Some("route maps"),
        (false, false) => None,
    }
}

/// Whose connections are signed, and with what.
fn md5_keys<'a>(peers: impl Iterator<Item = &'a PeerConfig>) -> BTreeMap<IpAddr, bgpd::Md5Key> {
    peers
        .filter_map(|peer| Some((peer.address, peer.md5.clone()?)))
        .collect()
}
