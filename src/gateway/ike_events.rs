//! What IKE says, carried to the data plane, BGP and the journal.

use std::time::{Duration, Instant};

use ike::wire::Exchange;
use ike::{ChildSa, Diagnosis, DownReason, Event, Negotiation, Note, Role};
use tracing::{debug, info, trace, warn};
use vti::plane::{Encap, SaSpec, TunnelId};

use super::{Effect, Gateway, PlaneChange, said};

/// How long past its lifetime an SA may stand in the kernel: for IKE to end it in good order, if anybody does.
const OUTLIVES: Duration = Duration::from_secs(60);

/// Which half of a CHILD_SA.
#[derive(Clone, Copy)]
enum Half {
    Inbound,
    Outbound,
}

impl Gateway {
    pub(super) fn handle_ike(&mut self, now: Instant, event: Event) {
        self.verify_by(now, &event);
        match event {
            Event::IkeUp {
                connection,
                role,
                peer,
                suite,
                path,
                ..
            } => {
                self.judge_suite(now, connection.0, Negotiation::Ike, &suite);
                let name = self.tunnel_name(connection.0);
                info!(tunnel = %name, %peer, "IKE_SA established with {} by {suite}, {} {}", path.remote, words(role), nat(&path));
                self.journal
                    .record(now, format!("{name}: IKE_SA established by {suite}"));
            }
            Event::IkeRekeyed {
                connection, suite, ..
            } => {
                self.judge_suite(now, connection.0, Negotiation::Ike, &suite);
                let name = self.tunnel_name(connection.0);
                self.rekeyed(connection.0, Negotiation::Ike);
                info!(tunnel = %name, "IKE_SA rekeyed");
                self.journal.record(now, format!("{name}: IKE_SA rekeyed"));
            }
            Event::IkeDown {
                connection, reason, ..
            } => {
                let name = self.tunnel_name(connection.0);
                info!(tunnel = %name, "IKE_SA gone: {}", describe(&reason));
                self.journal
                    .record(now, format!("{name}: IKE_SA gone: {}", describe(&reason)));
            }
            Event::InboundAdd(child) => self.add_inbound(&child),
            Event::OutboundUse(child) => self.use_outbound(now, &child),
            Event::InboundRemove { connection, spi_in } => {
                if let Some(tunnel) = self.tunnels.get_mut(&connection.0) {
                    tunnel.forget_pair(spi_in);
                }
                self.plane(PlaneChange::RemoveInbound(TunnelId(connection.0), spi_in));
            }
            Event::OutboundClear { connection } => {
                self.plane(PlaneChange::ClearOutbound(TunnelId(connection.0)))
            }
            Event::ChildRekeyed {
                connection,
                new_spi_in,
                ..
            } => {
                let name = self.tunnel_name(connection.0);
                self.rekeyed(connection.0, Negotiation::Esp);
                info!(tunnel = %name, "CHILD_SA rekeyed, inbound SPI {new_spi_in:08x}");
                self.journal
                    .record(now, format!("{name}: CHILD_SA rekeyed"));
            }
            Event::TunnelUp { connection } => self.tunnel_up(now, connection.0),
            Event::TunnelDown { connection, reason } => {
                self.tunnel_down(now, connection.0, &reason)
            }
            Event::PathChanged { connection, path } => {
                let name = self.tunnel_name(connection.0);
                info!(tunnel = %name, "packets go from {} to {} now, {}", path.local, path.remote, nat(&path));
                if let Some(tunnel) = self.tunnels.get_mut(&connection.0) {
                    let before = tunnel.inner_mtu();
                    tunnel.carry(path.encapsulated);
                    self.desired_is_stale |= tunnel.inner_mtu() != before;
                }
                self.plane(PlaneChange::UpdatePath(TunnelId(connection.0), path));
            }
            Event::Failure(diagnosis) => self.failed(now, &diagnosis),
            Event::Note(note) => self.note(now, &note),
        }
    }

    fn failed(&mut self, now: Instant, diagnosis: &Diagnosis) {
        let Some(tunnel) = self.tunnels.get_mut(&diagnosis.connection.0) else {
            return;
        };
        tunnel.failures += 1;
        let said = said::failure(diagnosis, &tunnel.plan, tunnel.source());
        let last = tunnel.failure.as_ref().map(|(_, last)| last);
        if last == Some(&said.text) {
            debug!("{}", said.text);
        } else {
            warn!("{}", said.text);
            self.journal.record(now, said.text.clone());
        }
        let is_rekey =
            diagnosis.exchange == Exchange::CreateChildSa && diagnosis.role == Role::Initiator;
        if let Some(what) = said::negotiation(&diagnosis.cause).filter(|_| is_rekey) {
            tunnel.note_rekey(what, Some(said.text.clone()));
        }
        tunnel.note_said(now, said);
    }

    fn rekeyed(&mut self, id: u32, what: Negotiation) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.note_rekey(what, None);
            tunnel.count_rekey(what);
        }
    }

    /// Says so when the peer has chosen other algorithms than before: the tunnel works, and the next who looks for a fault should know.
    fn judge_suite(&mut self, now: Instant, id: u32, what: Negotiation, suite: &str) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if let Some(before) = tunnel.take_suite(what, suite) {
            let text = said::drift(&tunnel.plan, what, &before, suite);
            warn!("{text}");
            self.journal.record(now, text);
        }
    }

    fn tunnel_up(&mut self, now: Instant, id: u32) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.rise(now);
        let (name, interface) = (tunnel.plan.name.clone(), tunnel.plan.interface().to_owned());
        info!(tunnel = %name, "tunnel up on {interface}");
        self.journal.record(now, format!("{name}: tunnel up"));
        self.publish(now, id);
    }

    fn tunnel_down(&mut self, now: Instant, id: u32, reason: &DownReason) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.forget_loss();
        // Our own failure, which made us take it down, says more than that we did.
        let text = tunnel
            .refusal()
            .map_or_else(|| describe(reason), str::to_owned);
        self.take_down(now, id, text);
    }

    /// Packets no longer pass, for this reason.
    pub(super) fn take_down(&mut self, now: Instant, id: u32, text: String) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if !tunnel.fall(now, text.clone()) {
            self.disinherit(now, id);
            return;
        }
        let name = tunnel.plan.name.clone();
        warn!(tunnel = %name, "tunnel down: {text}");
        self.journal
            .record(now, format!("{name}: tunnel down: {text}"));
        self.forget_inherited_over(id);
        self.publish(now, id);
        self.look_up(id);
    }

    /// Tells BGP whether a tunnel carries packets: its CHILD_SA is usable and its interface is up. This is the one line that ties routes
    /// to tunnels; next hops leave and come back by it at once, not when a hold time is over.
    pub(super) fn publish(&mut self, now: Instant, id: u32) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let link_is_up = self
            .facts
            .links
            .get(tunnel.plan.interface())
            .copied()
            .unwrap_or(false);
        let Some(up) = tunnel.usability(link_is_up) else {
            return;
        };
        let name = tunnel.plan.interface().to_owned();
        self.bgp_command(now, bgpd::Command::SetInterface { name, up });
    }

    fn add_inbound(&mut self, child: &ChildSa) {
        if let Some(tunnel) = self.tunnels.get_mut(&child.connection.0) {
            tunnel.learn_pair(child.spi_in, child.spi_out);
        }
        self.plane(PlaneChange::AddInbound(
            TunnelId(child.connection.0),
            spec(child, Half::Inbound),
        ));
    }

    fn use_outbound(&mut self, now: Instant, child: &ChildSa) {
        let suite = child.suite.to_string();
        self.judge_suite(now, child.connection.0, Negotiation::Esp, &suite);
        let mut has_lost = false;
        if let Some(tunnel) = self.tunnels.get_mut(&child.connection.0) {
            let before = tunnel.inner_mtu();
            tunnel.set_carrier(child.suite, child.encapsulated);
            has_lost = tunnel.take_pair((child.spi_in, child.spi_out));
            self.desired_is_stale |= tunnel.inner_mtu() != before;
        }
        self.plane(PlaneChange::SetOutbound(
            TunnelId(child.connection.0),
            spec(child, Half::Outbound),
        ));
        // For IKE the tunnel never was down.
        if has_lost {
            self.tunnel_up(now, child.connection.0);
        }
    }

    fn note(&mut self, now: Instant, note: &Note) {
        match note {
            // Anybody can cause these two, packet by packet.
            Note::Stranger { remote } => trace!(%remote, "a stranger asks for an IKE_SA"),
            Note::CookiesDemanded { half_open } => {
                warn!(
                    "{half_open} handshakes are half open: a flood, or many peers at once; cookies are demanded from now on"
                );
            }
            Note::Collision {
                connection,
                ours_stays,
            } => {
                let name = self.tunnel_name(connection.0);
                let kept = if *ours_stays { "ours" } else { "the peer's" };
                info!(tunnel = %name, "both sides negotiated at once; {kept} stays");
            }
            Note::OfferRefused {
                connection,
                negotiation,
                offered,
                notify,
                wanted,
            } => {
                let name = self.tunnel_name(connection.0);
                let what = match negotiation {
                    Negotiation::Ike => "IKE_SA",
                    Negotiation::Esp => "CHILD_SA",
                };
                let offered = offered.as_deref().unwrap_or("no exchange of its own");
                let wanted = wanted
                    .as_deref()
                    .map_or_else(String::new, |group| format!(" and wants {group}"));
                info!(tunnel = %name, "the peer refuses to rekey the {what} with {offered}: {notify}{wanted}; the next that the site file allows is tried");
            }
            Note::SeveralChildren {
                connection,
                kept,
                ended,
            } => {
                let name = self.tunnel_name(connection.0);
                let count = ended.len() + 1;
                let ended: Vec<String> = ended.iter().map(|spi| format!("{spi:08x}")).collect();
                let text = format!(
                    "{name}: the peer and we had {count} CHILD_SAs for this tunnel; inbound SPI {kept:08x} stays, {} ends",
                    ended.join(", ")
                );
                warn!("{text}");
                self.journal.record(now, text);
            }
            Note::UnprotectedNotify { connection, notify } => {
                let name = self.tunnel_name(connection.0);
                trace!(tunnel = %name, "an unprotected {notify} says that the peer lost its SA; asking the peer");
            }
            Note::WithoutPpk { connection, id } => {
                let name = self.tunnel_name(connection.0);
                let text = format!(
                    "{name}: the peer does not use the post-quantum key (PPK) '{id}'; the IKE_SA stands without it, as the site file permits"
                );
                warn!("{text}");
                self.journal.record(now, text);
            }
            Note::PeerRestarted { connection } => {
                let name = self.tunnel_name(connection.0);
                info!(tunnel = %name, "the peer has restarted");
                self.journal
                    .record(now, format!("{name}: the peer has restarted"));
            }
        }
    }

    fn plane(&mut self, change: PlaneChange) {
        self.effects.push_back(Effect::Plane(change));
    }

    pub(super) fn tunnel_name(&self, id: u32) -> String {
        self.tunnels
            .get(&id)
            .map_or_else(|| format!("tunnel {id}"), |tunnel| tunnel.plan.name.clone())
    }
}

fn spec(child: &ChildSa, half: Half) -> SaSpec {
    let (spi, keys) = match half {
        Half::Inbound => (child.spi_in, &child.keys_in),
        Half::Outbound => (child.spi_out, &child.keys_out),
    };
    SaSpec {
        spi,
        suite: child.suite,
        keymat: keys.keymat.clone(),
        integrity: keys.integrity.clone(),
        esn: child.esn,
        encap: encap(child.encapsulated, child.local.port(), child.remote.port()),
        local: child.local.ip(),
        remote: child.remote.ip(),
        limits: esp::Limits::default(),
        outlived: Some(child.lifetime + OUTLIVES),
    }
}

/// How ESP travels on an IKE SA's path: inside UDP it uses IKE's own ports.
pub(crate) fn encap(encapsulated: bool, local_port: u16, remote_port: u16) -> Encap {
    if encapsulated {
        Encap::Udp {
            local_port,
            remote_port,
        }
    } else {
        Encap::None
    }
}

fn words(role: Role) -> &'static str {
    match role {
        Role::Initiator => "initiated by us,",
        Role::Responder => "initiated by the peer,",
    }
}

fn nat(path: &ike::Path) -> &'static str {
    match (path.local_nat, path.remote_nat, path.encapsulated) {
        (true, true, _) => "NAT on both sides",
        (true, false, _) => "we are behind a NAT",
        (false, true, _) => "the peer is behind a NAT, or says so",
        (false, false, true) => "no NAT, ESP in UDP",
        (false, false, false) => "no NAT",
    }
}

/// Why something went down, as a person says it.
pub(crate) fn describe(reason: &DownReason) -> String {
    match reason {
        DownReason::Administrative => "taken down on our side".into(),
        DownReason::DeletedByPeer => "the peer deleted it".into(),
        DownReason::NoAnswer => "the peer does not answer any more".into(),
        DownReason::PeerRestarted => "the peer has restarted".into(),
        DownReason::Refused(notify) => format!("the peer refused: {notify}"),
        DownReason::Expired => "its lifetime was over before it could be replaced".into(),
        DownReason::Duplicate => "both sides had set one up; the other one stays".into(),
        DownReason::Replaced => "a new one took its place".into(),
        DownReason::Moved => "our outer address has changed".into(),
        DownReason::Local => "something failed on our side".into(),
    }
}
