//! What an operator may tell the gateway to do.

use std::time::Instant;

use ike::ConnectionId;
use tracing::info;
use vti::plane::TunnelId;

use super::{Effect, Gateway, PlaneChange};
use crate::control::{Refusal, TunnelCommand};

impl Gateway {
    /// Acts on one tunnel by name, and says what happens now.
    pub(crate) fn tunnel(&mut self, now: Instant, name: &str, command: TunnelCommand) -> Result<String, Refusal> {
        let names = || self.tunnels.values().map(|t| t.plan.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(id) = self.tunnels.iter().find(|(_, tunnel)| tunnel.plan.name == name).map(|(id, _)| *id) else {
            return Err(Refusal::NotFound(format!("there is no tunnel {name}; the site file has {}", names())));
        };
        let said = self.tunnel_by_id(now, id, command);
        self.settle(now);
        said
    }

    fn tunnel_by_id(&mut self, now: Instant, id: u32, command: TunnelCommand) -> Result<String, Refusal> {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return Err(Refusal::NotFound(format!("there is no tunnel {id}")));
        };
        let name = tunnel.plan.name.clone();
        let connection = ConnectionId(id);
        match command {
            TunnelCommand::Up => {
                tunnel.held_down = false;
                if tunnel.is_up() {
                    return Ok(format!("{name} is up"));
                }
                info!(tunnel = %name, "brought up by hand");
                self.ike_command(now, ike::Command::Up(connection));
                Ok(format!("{name} is being brought up; see `causeway status`"))
            }
            TunnelCommand::Down => {
                tunnel.held_down = true;
                info!(tunnel = %name, "taken down by hand");
                self.ike_command(now, ike::Command::Down(connection));
                Ok(format!("{name} is taken down and stays down until `causeway tunnel {name} up` or a restart"))
            }
            TunnelCommand::Rekey => {
                if !tunnel.is_up() {
                    return Err(Refusal::Failed(format!("{name} is not up, so there is nothing to rekey")));
                }
                info!(tunnel = %name, "rekeyed by hand");
                self.ike_command(now, ike::Command::RekeyChild(connection));
                self.ike_command(now, ike::Command::RekeyIke(connection));
                Ok(format!("{name} rekeys its CHILD_SA and its IKE_SA now; see `causeway tunnels`"))
            }
        }
    }

    /// Ends all BGP sessions with a word to the neighbors, while the tunnels still carry it.
    pub(crate) fn leave_neighbors(&mut self, now: Instant) {
        self.bgp_command(now, bgpd::Command::Shutdown { text: "the gateway stops".into() });
        self.settle(now);
    }

    /// Ends all SAs, telling the peers. With `clean_up` everything that is ours leaves the host as well.
    pub(crate) fn stop(&mut self, now: Instant, clean_up: bool) {
        self.ike_command(now, ike::Command::Shutdown);
        self.stopping = true;
        self.desired_is_stale = clean_up;
        self.settle(now);
        if clean_up {
            self.effects.push_back(Effect::Firewall(None));
            for id in self.tunnels.keys() {
                self.effects.push_back(Effect::Plane(PlaneChange::RemoveTunnel(TunnelId(*id))));
            }
        }
    }
}
