//! What the data plane refuses or has lost, and the way back.
//!
//! Both are failures of this host, so the peer hears of them nothing but what it has to know: that an SA is deleted, or that another one
//! takes its place. It is never told an error of negotiation, which would send its operator looking at proposals.

use std::time::{Duration, Instant};

use ike::ConnectionId;
use tracing::{debug, error, warn};
use vti::host::Report;
use vti::op::Op;
use vti::plane::{Direction, TunnelId, TunnelSpec};

use super::{Effect, Gateway, PlaneChange, Tunnel};

/// How long a lost SA's successor may take before everything is negotiated anew.
const SUCCESSION: Duration = Duration::from_secs(10);

/// How long the data plane has to refuse a tunnel again before anybody relies on it.
const PROBATION: Duration = Duration::from_millis(200);

/// What the data plane did not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// To have the tunnel at all.
    Tunnel,
    /// To take an SA of it.
    Sa,
    /// To send to another address.
    Path,
    /// To let go of something.
    Removal,
}

/// Something that is done later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The tunnel goes, and stays away.
    Hold(u32),
    /// The data plane is asked for the tunnel again.
    Offer(u32),
    /// The tunnel is negotiated again.
    Release(u32),
    /// A lost SA should have a successor by now.
    Succession(u32),
    /// The peer's name is looked up, unless the tunnel is up by then.
    LookUp(u32),
}

impl Due {
    /// Whose it is.
    pub(super) const fn tunnel(self) -> u32 {
        match self {
            Self::Hold(id)
            | Self::Offer(id)
            | Self::Release(id)
            | Self::Succession(id)
            | Self::LookUp(id) => id,
        }
    }
}

impl Gateway {
    /// Does what was put off until now.
    pub(super) fn do_what_is_due(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|(when, _)| *when <= now);
        self.due = later;
        for (_, due) in due {
            self.do_now(now, due);
        }
        self.end_inheritance(now);
    }

    pub(super) fn do_now(&mut self, now: Instant, due: Due) {
        let connection = ConnectionId(due.tunnel());
        match due {
            Due::Hold(_) => self.ike_command(now, ike::Command::Hold(connection)),
            Due::Release(id) => {
                // What is held down by hand is not released by time.
                if self.tunnels.get(&id).is_some_and(|t| !t.held_down) {
                    self.ike_command(now, ike::Command::Release(connection));
                }
            }
            Due::Offer(id) => {
                let Some(tunnel) = self.tunnels.get(&id) else {
                    return;
                };
                let spec = tunnel.plan.spec.clone();
                self.offer(spec);
                self.due.push((now + PROBATION, Due::Release(id)));
            }
            Due::Succession(id) => {
                if self.tunnels.get(&id).is_some_and(|t| t.has_lost()) {
                    self.negotiate_anew(now, id);
                }
            }
            Due::LookUp(id) => self.try_next_address(now, id),
        }
    }

    /// The data plane did not do what it was told. Without an SA nothing can pass, whatever was negotiated: what stands is deleted in
    /// good order, and tried again later.
    pub(super) fn handle_refusal(
        &mut self,
        now: Instant,
        id: TunnelId,
        what: Refused,
        reason: &str,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(&id.0) else {
            return;
        };
        let text = format!("the data plane refuses: {reason}");
        let is_news = tunnel
            .failure
            .as_ref()
            .is_none_or(|(_, last)| *last != text);
        if is_news {
            error!(tunnel = %tunnel.plan.name, "{text}");
        } else {
            debug!(tunnel = %tunnel.plan.name, "{text}");
        }
        let again = match what {
            Refused::Removal => {
                tunnel.note_failure(now, text);
                return;
            }
            // Its successor begins on the new path.
            Refused::Path => {
                tunnel.note_failure(now, text);
                self.ike_command(now, ike::Command::RekeyChild(ConnectionId(id.0)));
                return;
            }
            Refused::Tunnel => Due::Offer(id.0),
            Refused::Sa => Due::Release(id.0),
        };
        // Of a pair of SAs both are refused, and a tunnel's before them.
        let is_pending = self.due.iter().any(|(_, due)| match due {
            Due::Offer(_) => due.tunnel() == id.0,
            Due::Release(_) => due.tunnel() == id.0 && what == Refused::Sa,
            Due::Hold(_) | Due::Succession(_) | Due::LookUp(_) => false,
        });
        if is_pending {
            return;
        }
        let pause = tunnel.refuse(now, text.clone());
        tunnel.note_failure(now, text.clone());
        self.take_down(now, id.0, text);
        self.due
            .retain(|(_, due)| due.tunnel() != id.0 || *due == Due::LookUp(id.0));
        self.ike_command(now, ike::Command::Hold(ConnectionId(id.0)));
        self.due.push((now + pause, again));
    }

    /// Somebody deleted an SA. If it is one that our packets need, nothing passes until IKE, which lives, has made another.
    pub(super) fn replace_lost_sa(
        &mut self,
        now: Instant,
        id: TunnelId,
        spi: u32,
        direction: Direction,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(&id.0) else {
            return;
        };
        let name = tunnel.plan.name.clone();
        let way = match direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        let Some(spi_in) = tunnel.lose_sa(spi, direction) else {
            debug!(tunnel = %name, "somebody deleted the {way} SA {spi:08x}, which carried nothing any more");
            return;
        };
        let text = format!("somebody deleted its {way} SA {spi:08x}; it is being replaced");
        self.take_down(now, id.0, text);
        self.ike_command(now, ike::Command::SoftExpired { spi: spi_in });
        self.due.push((now + SUCCESSION, Due::Succession(id.0)));
    }

    /// Somebody deleted or changed a policy of a tunnel's, and the plane has put it back: nothing left in clear text, but packets may have
    /// been dropped meanwhile, and whoever did it may do it again.
    pub(super) fn note_restored_policy(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id.0) else {
            return;
        };
        tunnel.restored_policies += 1;
        let (name, times) = (tunnel.plan.name.clone(), tunnel.restored_policies);
        let again = match times {
            1 => String::new(),
            times => format!(", {times} times so far; another IPsec program on this host?"),
        };
        let text =
            format!("somebody deleted or changed an IPsec policy of its; it was put back{again}");
        // Who does it all day must not push everything else out of the journal.
        if times.is_power_of_two() {
            warn!(tunnel = %name, "{text}");
            self.journal.record(now, format!("{name}: {text}"));
        } else {
            debug!(tunnel = %name, "{text}");
        }
    }

    /// Somebody deleted a tunnel's interface, and its SAs with it: it is made again, and negotiated anew.
    pub(super) fn restore_interface(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get(&id.0) else {
            return;
        };
        warn!(tunnel = %tunnel.plan.name, "interface {} was deleted by somebody; it is made again", tunnel.plan.interface());
        self.remake_interface(now, id);
    }

    /// A TUN could not be made while another plane's interface had its name. Now that it is gone, it is tried again.
    pub(super) fn take_freed_names(&mut self, now: Instant, report: &Report) {
        let freed = |tunnel: &Tunnel| {
            let is_it =
                |op: &Op| matches!(op, Op::DelLink { dev } if *dev == tunnel.plan.interface);
            tunnel.plan.spec.binding.is_none() && report.applied.iter().any(is_it)
        };
        let ids: Vec<u32> = self
            .tunnels
            .iter()
            .filter(|(_, tunnel)| !self.stopping && freed(tunnel))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.remake_interface(now, TunnelId(id));
        }
    }

    /// Has the plane make a tunnel anew, with SAs that are negotiated anew.
    fn remake_interface(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get(&id.0) else {
            return;
        };
        let spec = tunnel.plan.spec.clone();
        self.offer(spec);
        // What was to be tried again has been, and a second time would be refused.
        self.due
            .retain(|(_, due)| !matches!(due, Due::Offer(it) | Due::Release(it) if *it == id.0));
        self.negotiate_anew(now, id.0);
        self.desired_is_stale = true;
    }

    /// Asks the plane for a tunnel, whatever it has of it: one that it had already would be refused for ever.
    fn offer(&mut self, spec: TunnelSpec) {
        let changes = [
            PlaneChange::RemoveTunnel(spec.id),
            PlaneChange::AddTunnel(spec),
        ];
        self.effects.extend(changes.map(Effect::Plane));
    }

    /// Ends all SAs of a tunnel, and has them negotiated again unless somebody holds it down.
    fn negotiate_anew(&mut self, now: Instant, id: u32) {
        let held_down = self.tunnels.get(&id).is_some_and(|t| t.held_down);
        self.ike_command(now, ike::Command::Down(ConnectionId(id)));
        if !held_down {
            self.ike_command(now, ike::Command::Release(ConnectionId(id)));
        }
    }
}
