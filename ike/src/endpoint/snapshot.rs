//! The status of everything at one moment.

use std::time::Instant;

use super::Endpoint;
use super::tunnel::Tunnel;
use crate::connection::ConnectionId;
use crate::sa::established::Established;
use crate::sa::{Link, Sa, State};
use crate::status::{CertificateStatus, ConnectionStatus, IkeSaStatus, Phase, Status};

impl Endpoint {
    /// The picture at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        Status {
            connections: self
                .tunnels
                .iter()
                .map(|(id, t)| self.connection(now, *id, t))
                .collect(),
            half_open: self.half_open(),
            counters: self.cx.counters,
        }
    }

    fn connection(&self, now: Instant, id: ConnectionId, tunnel: &Tunnel) -> ConnectionStatus {
        let sas = || self.sas.of(id);
        let name = self
            .cx
            .connections
            .get(&id)
            .map(|c| c.name.clone())
            .unwrap_or_default();
        let attempt = tunnel
            .next_attempt
            .filter(|_| self.needs_attempt(id, tunnel));
        let established = |sa: &Sa| {
            sa.established()
                .map(|e| ike_sa(now, &sa.link, e, tunnel.outbound))
        };
        let (last_error_at, last_error) = tunnel.last_error.clone().unzip();
        ConnectionStatus {
            id,
            name,
            phase: phase(tunnel, sas()),
            attempts: tunnel.attempts,
            next_attempt_in: attempt.map(|at| at.saturating_duration_since(now)),
            up_for: tunnel
                .up_since
                .map(|since| now.saturating_duration_since(since)),
            last_error,
            last_error_age: last_error_at.map(|at| now.saturating_duration_since(at)),
            ike_sas: sas().filter_map(established).collect(),
        }
    }
}

fn phase<'a>(tunnel: &Tunnel, sas: impl Iterator<Item = &'a Sa>) -> Phase {
    if tunnel.outbound.is_some() {
        return Phase::Up;
    }
    let reached = sas.map(|sa| match &sa.state {
        State::Established(e) if e.is_usable() => (3, Phase::NoChild),
        State::IntermediateSent(_) | State::AuthSent(_) => (2, Phase::Auth),
        State::InitSent(_) => (1, Phase::Init),
        _ => (0, Phase::Down),
    });
    match reached.max_by_key(|(rank, _)| *rank) {
        Some((1.., phase)) => phase,
        _ if tunnel.wanted => Phase::BackingOff,
        _ if tunnel.removed => Phase::Down,
        _ => Phase::Waiting,
    }
}

fn ike_sa(now: Instant, link: &Link, e: &Established, outbound: Option<u32>) -> IkeSaStatus {
    let until = |at: Instant| at.saturating_duration_since(now);
    IkeSaStatus {
        id: link.id(),
        role: link.role,
        suite: e.channel.suite.to_string(),
        ppk: e.channel.ppk,
        peer: e.peer.identity().clone(),
        certificate: e.peer.certificate().map(|one| CertificateStatus {
            subject: one.subject().to_string(),
            issuer: one.issuer().to_string(),
            not_after: one.validity().1,
        }),
        path: link.path,
        age: now.saturating_duration_since(e.since),
        rekey_in: e.rekey_at.map(until),
        last_heard: now.saturating_duration_since(e.last_heard),
        retransmits: link.window.repeats(),
        fragmentation: e.channel.fragmentation,
        mobike: e.mobike,
        children: e
            .children
            .values()
            .map(|child| child.status(now, outbound == Some(child.sa.spi_in)))
            .collect(),
    }
}
