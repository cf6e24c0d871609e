//! What two OPENs come to (RFC 4271, section 6.2; RFC 5492; RFC 6793).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::error::SessionError;
use crate::event::{Agreed, DownReason, PeerRestart};
use crate::wire::{
    Capabilities, Capability, Families, Family, Notification, Open, RestartCapability,
};
use crate::{Asn, PeerConfig};

/// Our side of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) config: &'a PeerConfig,
    /// Our AS on this session.
    pub(crate) local_asn: Asn,
    pub(crate) router_id: Ipv4Addr,
    /// Packets pass on the peer's interface, as far as we know.
    pub(crate) interface_up: bool,
    /// We have restarted, and are not done with it (R bit).
    pub(crate) restarting: bool,
    /// Our forwarding has survived since the last session (F bit).
    pub(crate) forwarding_preserved: bool,
}

/// How long routes are kept for a peer's return at most, whatever it asks for: who never comes back must not attract traffic
/// for an hour.
const LONGEST_ABSENCE: Duration = Duration::from_secs(600);

impl Terms<'_> {
    /// What we can do.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let families = self.config.families;
        let mut capabilities: Vec<Capability> =
            families.iter().map(Capability::Multiprotocol).collect();
        capabilities.extend([
            Capability::RouteRefresh,
            Capability::FourOctetAs(self.local_asn),
            Capability::EnhancedRouteRefresh,
        ]);
        if self.offers_extended_next_hop() {
            let pair = (Family::IPV4_UNICAST, Family::IPV6_UNICAST.afi);
            capabilities.push(Capability::ExtendedNextHop(vec![pair]));
        }
        if let Some(ours) = self.config.graceful_restart {
            let forwarding = |family| (family, self.forwarding_preserved);
            let kept = families.iter().filter(|_| ours.forwarding);
            capabilities.push(Capability::GracefulRestart(RestartCapability {
                restarted: self.restarting,
                notification: ours.notification,
                restart_time: ours.restart_time,
                families: kept.map(forwarding).collect(),
            }));
        }
        Capabilities(capabilities)
    }

    /// Whether IPv4 prefixes may come to us with an IPv6 next hop (RFC 8950): where the session is one of IPv6, as nothing else
    /// tells that we have IPv6 addresses there.
    fn offers_extended_next_hop(&self) -> bool {
        self.config.address.is_ipv6() && self.config.families.contains(Family::IPV4_UNICAST)
    }

    /// How both sides take part in graceful restart; `None` if one of them does not.
    fn graceful_restart(&self, open: &Open) -> Option<PeerRestart> {
        let ours = self.config.graceful_restart?;
        let theirs = open.capabilities.graceful_restart()?;
        let that = |holds: fn(bool) -> bool| -> Families {
            let families = self.config.families.iter();
            families
                .filter(|family| theirs.family(*family).is_some_and(holds))
                .collect()
        };
        Some(PeerRestart {
            restarted: theirs.restarted,
            restart_time: theirs.restart_time.min(LONGEST_ABSENCE),
            notification: ours.notification && theirs.notification,
            forwards: that(|_| true),
            forwarding_preserved: that(|preserved| preserved),
        })
    }

    /// How long the routes of a peer are kept whose session ended for this reason; `None` is not at all. Whatever the timers
    /// say, nothing is kept behind an interface that carries nothing.
    pub(super) fn retention(&self, agreed: &Agreed, reason: &DownReason) -> Option<Duration> {
        let restart = agreed.graceful_restart.as_ref()?;
        let graceful = match reason {
            // RFC 4724, section 4.2.
            DownReason::ConnectionLost { .. } => true,
            // RFC 8538, section 4.
            DownReason::NotificationReceived(it) => restart.notification && !it.is_hard_reset(),
            DownReason::Failed(SessionError::MaximumPrefixes { .. }) => false,
            DownReason::Failed(_) => restart.notification,
            DownReason::Ceased(_) | DownReason::PathDown => false,
        };
        let kept = graceful && !restart.forwards.is_empty() && self.interface_up;
        kept.then_some(restart.restart_time)
    }

    /// Our OPEN.
    pub(super) fn open(&self) -> Open {
        let hold_time = self.config.hold_time.as_secs();
        Open {
            my_as: self.local_asn.as_two_octets(),
            hold_time: u16::try_from(hold_time).unwrap_or(u16::MAX),
            identifier: self.router_id,
            capabilities: self.capabilities(),
        }
    }

    /// What the session agrees on, or what stands against it.
    pub(super) fn judge(&self, open: &Open, local: IpAddr) -> Result<Agreed, SessionError> {
        let four_octet_as = open.capabilities.four_octet_as();
        let offered = four_octet_as.unwrap_or(Asn(u32::from(open.my_as)));
        let expected = self.config.remote_asn;
        let allowed = &self.config.allowed_asns;
        if !allowed.is_empty() && !allowed.contains(&offered) {
            let allowed = allowed.clone();
            return Err(SessionError::PeerAsNotAllowed { offered, allowed });
        }
        if allowed.is_empty() && offered != expected {
            return Err(SessionError::PeerAs { offered, expected });
        }
        // RFC 6286, section 2.2: between ASes the same identifier is allowed.
        let same = open.identifier == self.router_id && offered == self.local_asn;
        if same || open.identifier.is_unspecified() {
            let (offered, ours) = (open.identifier, self.router_id);
            return Err(SessionError::Identifier { offered, ours });
        }
        if matches!(open.hold_time, 1 | 2) {
            return Err(SessionError::HoldTime {
                seconds: open.hold_time,
            });
        }
        let ours = self.config.families;
        let carried = ours.iter().filter(|it| open.capabilities.carries(*it));
        let families: Families = carried.collect();
        if families.is_empty() {
            return Err(SessionError::NoCommonFamily { ours });
        }
        let hold_time = self
            .config
            .hold_time
            .min(Duration::from_secs(open.hold_time.into()));
        Ok(Agreed {
            remote_asn: offered,
            remote_id: open.identifier,
            local_address: local,
            hold_time,
            keepalive: keepalive(hold_time, self.config.keepalive),
            four_octet_as: four_octet_as.is_some(),
            route_refresh: open.capabilities.route_refresh(),
            enhanced_route_refresh: open.capabilities.enhanced_route_refresh(),
            graceful_restart: self.graceful_restart(open),
            families,
            extended_next_hop: self.offers_extended_next_hop()
                && open.capabilities.extended_next_hop(),
        })
    }
}

impl Agreed {
    /// A goodbye after which the peer keeps nothing that we taught it (RFC 8538, section 5).
    pub(super) fn without_grace(&self, goodbye: Notification) -> Notification {
        match &self.graceful_restart {
            Some(restart) if restart.notification => goodbye.into_hard_reset(),
            _ => goodbye,
        }
    }
}

/// How often to send KEEPALIVE: a third of the hold time, or oftener if the operator wants that, but
/// not oftener than once a second (RFC 4271, section 4.4).
pub(super) fn keepalive(hold_time: Duration, wanted: Option<Duration>) -> Duration {
    if hold_time.is_zero() {
        return Duration::ZERO;
    }
    let third = hold_time / 3;
    wanted.map_or(third, |wanted| {
        wanted.clamp(Duration::from_secs(1), third.max(Duration::from_secs(1)))
    })
}
