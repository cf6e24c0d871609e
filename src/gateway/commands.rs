//! What an operator may tell the gateway to do.

use std::time::{Duration, Instant};

use ike::ConnectionId;
use tracing::info;
use vti::plane::TunnelId;

use super::{Due, Effect, Gateway, PlaneChange};
use crate::control::{NeighborCommand, Refusal, Rekeyed, TunnelCommand};

/// How long a neighbor has to take our last word before its tunnel goes, and a peer before its interface does.
pub(crate) const FAREWELL: Duration = Duration::from_millis(200);

impl Gateway {
    /// Acts on one tunnel by name, and says what happens now.
    pub(crate) fn tunnel(
        &mut self,
        now: Instant,
        name: &str,
        command: TunnelCommand,
    ) -> Result<String, Refusal> {
        let id = self.tunnel_of(name)?;
        let said = self.tunnel_by_id(now, id, command);
        self.settle(now);
        said
    }

    /// The number of the tunnel of this name.
    pub(super) fn tunnel_of(&self, name: &str) -> Result<u32, Refusal> {
        let names = || {
            self.tunnels
                .values()
                .map(|t| t.plan.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.tunnels
            .iter()
            .find(|(_, tunnel)| tunnel.plan.name == name)
            .map(|(id, _)| *id)
            .ok_or_else(|| {
                Refusal::NotFound(format!(
                    "there is no tunnel {name}; the site file has {}",
                    names()
                ))
            })
    }

    fn tunnel_by_id(
        &mut self,
        now: Instant,
        id: u32,
        command: TunnelCommand,
    ) -> Result<String, Refusal> {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return Err(Refusal::NotFound(format!("there is no tunnel {id}")));
        };
        let name = tunnel.plan.name.clone();
        let connection = ConnectionId(id);
        match command {
            TunnelCommand::Up => {
                let was_held = std::mem::replace(&mut tunnel.held_down, false);
                if tunnel.is_up() && !was_held {
                    return Ok(format!("{name} is up"));
                }
                info!(tunnel = %name, "brought up by hand");
                let lacks_its_interface = self.due.iter().any(|(_, due)| *due == Due::Offer(id));
                self.due.retain(|(_, due)| due.tunnel() != id);
                self.resume_neighbors(now, id);
                if lacks_its_interface {
                    self.do_now(now, Due::Offer(id));
                } else {
                    self.ike_command(now, ike::Command::Up(connection));
                }
                Ok(format!("{name} is being brought up; see `causeway status`"))
            }
            TunnelCommand::Down => {
                tunnel.held_down = true;
                info!(tunnel = %name, "taken down by hand");
                self.release_neighbors(now, id);
                self.disinherit(now, id);
                self.due
                    .retain(|(_, due)| due.tunnel() != id || *due == Due::Offer(id));
                self.due.push((now + FAREWELL, Due::Hold(id)));
                Ok(format!(
                    "{name} is taken down and stays down until `causeway tunnel {name} up` or a restart"
                ))
            }
            TunnelCommand::Rekey(what) => {
                if !tunnel.is_up() {
                    return Err(Refusal::Failed(format!(
                        "{name} is not up, so there is nothing to rekey"
                    )));
                }
                let (commands, said): (&[_], _) = match what {
                    Rekeyed::Both => (
                        &[
                            ike::Command::RekeyChild(connection),
                            ike::Command::RekeyIke(connection),
                        ],
                        "its CHILD_SA and its IKE_SA",
                    ),
                    Rekeyed::Child => (&[ike::Command::RekeyChild(connection)], "its CHILD_SA"),
                    Rekeyed::Ike => (&[ike::Command::RekeyIke(connection)], "its IKE_SA"),
                };
                info!(tunnel = %name, "{said} rekeyed by hand");
                for command in commands {
                    self.ike_command(now, command.clone());
                }
                Ok(format!("{name} rekeys {said} now; see `causeway tunnels`"))
            }
        }
    }

    /// Acts on one neighbor's session, by its name or address, and says what happens now.
    pub(crate) fn neighbor(
        &mut self,
        now: Instant,
        name: &str,
        command: NeighborCommand,
    ) -> Result<String, Refusal> {
        let peer = self.peer(name)?.name.clone();
        let neighbor = self.bgp.neighbor(now, peer.as_str());
        let agreed = neighbor.as_ref().and_then(|it| it.agreed.as_ref());
        let Some(agreed) = agreed else {
            return Err(Refusal::Failed(format!(
                "there is no session with {peer}; see `causeway bgp neighbor {peer}` for why"
            )));
        };
        let said = match command {
            NeighborCommand::Refresh if !agreed.route_refresh => {
                return Err(Refusal::Failed(format!(
                    "{peer} cannot be asked to send its routes again (it has no route refresh); `causeway bgp reset {peer}` ends the session, and a new one begins"
                )));
            }
            NeighborCommand::Refresh => {
                info!(neighbor = %peer, "asked by hand to send its routes again");
                self.bgp_command(now, bgpd::Command::RefreshPeer(peer.clone()));
                format!("{peer} is asked to send all its routes again")
            }
            NeighborCommand::Reset => {
                info!(neighbor = %peer, "reset by hand");
                self.bgp_command(now, bgpd::Command::ResetPeer(peer.clone()));
                format!("the session with {peer} is ended, and a new one begins")
            }
        };
        self.settle(now);
        Ok(said)
    }

    /// Keeps a tunnel down until it is brought up by hand.
    pub(super) fn hold(&mut self, now: Instant, id: u32) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.held_down = true;
            self.ike_command(now, ike::Command::Hold(ConnectionId(id)));
        }
    }

    /// Ends the sessions over a tunnel with a word, so that the other side turns to its other ways at once instead of waiting for a hold
    /// time while it sends into a tunnel that is gone.
    fn release_neighbors(&mut self, now: Instant, id: u32) {
        for peer in self.neighbors_over(id) {
            self.bgp_command(
                now,
                bgpd::Command::DisablePeer {
                    peer,
                    text: "the tunnel is taken down".into(),
                },
            );
        }
    }

    fn resume_neighbors(&mut self, now: Instant, id: u32) {
        for peer in self.neighbors_over(id) {
            if !self.plan.shut_down.contains_key(&peer) {
                self.bgp_command(now, bgpd::Command::EnablePeer(peer.clone()));
                self.hold_strict(now, &peer);
            }
        }
    }

    fn neighbors_over(&self, id: u32) -> Vec<bgpd::PeerName> {
        let Some(tunnel) = self.tunnels.get(&id) else {
            return Vec::new();
        };
        let over =
            |peer: &&bgpd::PeerConfig| peer.interface.as_deref() == Some(tunnel.plan.interface());
        self.plan
            .peers
            .iter()
            .filter(over)
            .map(|peer| peer.name.clone())
            .collect()
    }

    /// Ends all BGP sessions with a word to the neighbors, while the tunnels still carry it.
    pub(crate) fn leave_neighbors(&mut self, now: Instant) {
        self.bgp_command(
            now,
            bgpd::Command::Shutdown {
                text: "the gateway stops".into(),
            },
        );
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
                self.effects
                    .push_back(Effect::Plane(PlaneChange::RemoveTunnel(TunnelId(*id))));
            }
        }
    }
}
