//! Peers by DNS name: which of a name's addresses a tunnel uses, and when the name is looked up again.
//!
//! A name is looked up when its tunnel is added, at once when the tunnel fails, and then again and again until it is up: each time the
//! tunnel goes on with the address after the one that was tried. While a tunnel is up nothing is looked up: the peer is where it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::losses::Due;
use super::{Effect, Gateway};
use crate::plan::Plan;

/// How long one address gets to bring the tunnel up: a whole attempt of IKE's, which then says why it failed, and a little.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long after a failure to resolve the next attempt comes: twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What becomes of a peer's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naming {
    /// A question is under way.
    is_asked: bool,
    /// The address in use has had its time.
    is_over: bool,
    /// How often in a row the name could not be resolved.
    failures: u32,
    /// What was said of that last.
    said: Option<String>,
}

impl Gateway {
    /// Gives a new plan the addresses that names have in this one.
    pub(crate) fn keep_addresses(&self, plan: &mut Plan) {
        plan.keep_addresses(&self.plan);
    }

    /// Looks a peer's name up, if it has one.
    pub(super) fn look_up(&mut self, id: u32) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let Some(name) = tunnel.plan.remote_name.clone() else {
            return;
        };
        if self.stopping || tunnel.naming.is_asked {
            return;
        }
        tunnel.naming.is_asked = true;
        // Why the last attempt failed says more than that there is another one.
        if tunnel.plan.remote().is_none() && tunnel.naming.failures == 0 {
            tunnel.wait_for(format!("{name} is being looked up"));
        }
        self.effects.push_back(Effect::Resolve(name));
    }

    /// The address in use has had its time: another one, unless the tunnel is up by now.
    pub(super) fn try_next_address(&mut self, now: Instant, id: u32) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.is_up() {
            return;
        }
        if tunnel.held_down {
            return self.look_up_at(now + PATIENCE, id);
        }
        tunnel.naming.is_over = true;
        self.look_up(id);
    }

    /// Takes what a name stands for.
    pub(super) fn handle_resolved(
        &mut self,
        now: Instant,
        name: &str,
        outcome: &Result<Vec<IpAddr>, String>,
    ) {
        let asking = self.tunnels.iter().filter(|(_, tunnel)| {
            tunnel.naming.is_asked && tunnel.plan.remote_name.as_deref() == Some(name)
        });
        let ids: Vec<u32> = asking.map(|(id, _)| *id).collect();
        for id in ids {
            match outcome {
                Ok(addresses) => self.take_addresses(now, id, name, addresses),
                Err(why) => self.lack_address(now, id, name, why),
            }
        }
    }

    fn take_addresses(&mut self, now: Instant, id: u32, name: &str, addresses: &[IpAddr]) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let is_over = std::mem::take(&mut tunnel.naming.is_over);
        tunnel.naming = Naming::default();
        // It came up while the answer was under way.
        if tunnel.is_up() {
            return;
        }
        self.look_up_at(now + PATIENCE, id);
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        let in_use = tunnel.plan.remote();
        if let Some(next) = choose(addresses, in_use, is_over).filter(|it| in_use != Some(*it)) {
            let of = match addresses.len() {
                1 => String::new(),
                count => format!(", one of {count} addresses"),
            };
            let text = format!("{name} is {next}{of}");
            info!(tunnel = %tunnel.plan.name, "{text}");
            let text = format!("{}: {text}", tunnel.plan.name);
            self.journal.record(now, text);
            self.use_address(now, id, next);
        }
    }

    /// A name that does not resolve is said once; an address that it had is tried on.
    fn lack_address(&mut self, now: Instant, id: u32, name: &str, why: &str) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.naming.is_asked = false;
        if tunnel.is_up() {
            return;
        }
        let pause = SHORTEST_PAUSE
            .saturating_mul(1 << tunnel.naming.failures.min(6))
            .min(LONGEST_PAUSE);
        tunnel.naming.failures += 1;
        let instead = match tunnel.plan.remote() {
            Some(last) => format!("; {last}, which it was last, is tried on"),
            None => {
                "; correct remote, or this host's resolver (getent ahostsv4 tells what it says)"
                    .to_owned()
            }
        };
        let text = format!("cannot look {name} up: {why}{instead}");
        if tunnel.plan.remote().is_none() {
            tunnel.wait_for(text.clone());
        }
        if tunnel.naming.said.as_ref() != Some(&text) {
            warn!(tunnel = %tunnel.plan.name, "{text}");
            let line = format!("{}: {text}", tunnel.plan.name);
            tunnel.naming.said = Some(text);
            self.journal.record(now, line);
        }
        self.look_up_at(now + pause, id);
    }

    fn look_up_at(&mut self, when: Instant, id: u32) {
        self.due.retain(|(_, due)| *due != Due::LookUp(id));
        self.due.push((when, Due::LookUp(id)));
    }

    /// From now on the peer is there: for IKE, the firewall, and the routes that keep the way to it out of the tunnels.
    fn use_address(&mut self, now: Instant, id: u32, address: IpAddr) {
        let own = (self.plan.tunnels.iter_mut()).filter(|plan| plan.spec.id.0 == id);
        own.for_each(|plan| plan.connection.remote = address);
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.plan.connection.remote = address;
            tunnel.wait_for(format!("the way to {address} is not known yet"));
        }
        self.effects
            .push_back(Effect::Watch(Arc::new(self.plan.outline())));
        self.effects
            .push_back(Effect::Firewall(self.plan.ruleset().map(Arc::new)));
        self.desired_is_stale = true;
        self.follow_paths(now);
    }
}

/// The address to go on with: the one in use while the name still has it, or the one after it when its time is over.
fn choose(addresses: &[IpAddr], in_use: Option<IpAddr>, is_over: bool) -> Option<IpAddr> {
    let place = in_use.and_then(|it| addresses.iter().position(|address| *address == it));
    let next = match place {
        Some(place) if is_over => (place + 1) % addresses.len(),
        Some(place) => place,
        None => 0,
    };
    addresses.get(next).copied()
}

#[cfg(test)]
mod tests;
