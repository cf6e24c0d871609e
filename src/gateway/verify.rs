//! Rekeys both SAs of a tunnel before it is time, and reports: what would otherwise show after an hour shows now.
//!
//! The first CHILD_SA comes with the IKE_SA and has no Diffie-Hellman exchange of its own, so a group that the ends do not have in common
//! is found out at its first rekeying. Three stages, one after the other: the CHILD_SA, the IKE_SA, and whether packets still pass. A
//! refusal ends its stage and not the tunnel: the SA that was to be replaced stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ike::wire::Exchange;
use ike::{Cause, ConnectionId, Diagnosis, Event, Negotiation, Note, Role};
use serde::Serialize;
use serde_json::Value;
use tracing::{info, warn};
use vti::plane::TunnelId;

use super::ike_events::describe;
use super::said::{self, Field};
use super::view::{VERSION, milliseconds};
use super::{Effect, Gateway};
use crate::control::Refusal;

/// How long all of it may take; a peer that is silent for so long is given up meanwhile, with the liveness that the profiles have.
const BOUND: Duration = Duration::from_secs(25);

/// How long packets may take to show up: a BGP neighbor sends one every six seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often packets are counted.
const LOOK: Duration = Duration::from_millis(250);

/// How many packets have to be unanswered: fewer may be such that need no answer.
const UNANSWERED: u64 = 3;

/// Those under way, by the tunnel's number.
pub(super) type Verifications = BTreeMap<u32, Verification>;

/// One under way.
pub(super) struct Verification {
    stage: Stage,
    /// When the stage began.
    since: Instant,
    /// When it is over in any case.
    over_at: Instant,
    report: Report,
    /// Our inbound SPI of the CHILD_SA that carries our packets now.
    spi_in: u32,
    /// The first packet on that one has come.
    is_used: bool,
    counting: Option<Counting>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Child,
    Ike,
    Traffic,
}

/// What was counted when the SAs were new, and when to count again.
struct Counting {
    packets_in: u64,
    packets_out: u64,
    next: Instant,
}

/// What there is to tell.
#[derive(Default, Serialize)]
struct Report {
    version: u32,
    tunnel: String,
    /// Both SAs were rekeyed, and nothing speaks against the tunnel carrying packets.
    verified: bool,
    message: String,
    child: Rekeying,
    ike: Rekeying,
    /// Packets since both were rekeyed, or refused.
    traffic: Option<Traffic>,
}

/// What became of one SA.
#[derive(Default, Serialize)]
struct Rekeying {
    before: Option<Negotiated>,
    /// None where it was not rekeyed.
    after: Option<Negotiated>,
    /// How long the exchange took, or until it was refused; with the deletion of the old SA.
    milliseconds: Option<u64>,
    /// Offers that the peer refused, in order, and that were followed by another one.
    refusals: Vec<RefusedOffer>,
    failure: Option<Failure>,
}

/// What both sides agreed upon.
#[derive(Serialize, Clone, PartialEq, Eq)]
struct Negotiated {
    suite: String,
    /// The group of its own Diffie-Hellman exchange, if it had one.
    group: Option<String>,
}

#[derive(Serialize)]
struct RefusedOffer {
    /// The group that was offered; none if there was no exchange.
    offered: Option<String>,
    /// The peer's notification.
    answer: String,
    /// The group that the peer asks for, where it says so.
    wanted: Option<String>,
}

/// Why an SA was not rekeyed.
#[derive(Serialize)]
struct Failure {
    text: String,
    /// The group that the peer asks for, where it says so.
    wanted: Option<String>,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Traffic {
    packets_in: u64,
    packets_out: u64,
    milliseconds: u64,
}

impl Verification {
    fn rekeying(&mut self, what: Negotiation) -> &mut Rekeying {
        match what {
            Negotiation::Ike => &mut self.report.ike,
            Negotiation::Esp => &mut self.report.child,
        }
    }

    /// What is being rekeyed now.
    const fn negotiation(&self) -> Option<Negotiation> {
        match self.stage {
            Stage::Child => Some(Negotiation::Esp),
            Stage::Ike => Some(Negotiation::Ike),
            Stage::Traffic => None,
        }
    }

    /// Closes the present stage's rekeying.
    fn close(&mut self, now: Instant, after: Option<Negotiated>, failure: Option<Failure>) {
        let milliseconds = milliseconds(now.saturating_duration_since(self.since));
        if let Some(what) = self.negotiation() {
            let rekeying = self.rekeying(what);
            rekeying.milliseconds = Some(milliseconds);
            rekeying.after = after;
            rekeying.failure = failure;
        }
    }

    fn timeout(&self) -> Instant {
        let look = self.counting.as_ref().map(|counting| counting.next);
        look.map_or(self.over_at, |look| look.min(self.over_at))
    }
}

impl Gateway {
    /// Begins to verify a tunnel; [`Effect::Verified`] brings the report.
    ///
    /// # Errors
    /// When there is no such tunnel, it is not up, or it is being verified.
    pub(crate) fn verify(&mut self, now: Instant, name: &str) -> Result<TunnelId, Refusal> {
        let id = self.tunnel_of(name)?;
        let is_up = self.tunnels.get(&id).is_some_and(super::Tunnel::is_up);
        let Some((spi_in, child)) = self.child_now(now, id).filter(|_| is_up) else {
            return Err(Refusal::Failed(format!(
                "{name} is not up, so there is nothing to verify"
            )));
        };
        if self.verifications.contains_key(&id) {
            return Err(Refusal::Failed(format!("{name} is being verified already")));
        }
        info!(tunnel = %name, "verified by hand: its CHILD_SA and its IKE_SA are rekeyed");
        let mut report = Report {
            version: VERSION,
            tunnel: name.to_owned(),
            ..Report::default()
        };
        report.child.before = Some(child);
        report.ike.before = self.ike_now(now, id);
        let verification = Verification {
            stage: Stage::Child,
            since: now,
            over_at: now + BOUND,
            report,
            spi_in,
            is_used: false,
            counting: None,
        };
        self.verifications.insert(id, verification);
        self.ike_command(now, ike::Command::RekeyChild(ConnectionId(id)));
        self.settle(now);
        Ok(TunnelId(id))
    }

    /// When a verification has something to do.
    pub(super) fn verification_timeout(&self) -> Option<Instant> {
        self.verifications.values().map(Verification::timeout).min()
    }

    /// Takes what IKE says of a tunnel that is being verified.
    pub(super) fn verify_by(&mut self, now: Instant, event: &Event) {
        match event {
            Event::ChildRekeyed {
                connection,
                new_spi_in,
                ..
            } => {
                let id = connection.0;
                let after = self.child_now(now, id).map(|(_, child)| child);
                if let Some(it) = self.at(id, Stage::Child) {
                    it.spi_in = *new_spi_in;
                    it.close(now, after, None);
                    self.next_stage(now, id);
                }
            }
            Event::IkeRekeyed { connection, .. } => {
                let id = connection.0;
                let after = self.ike_now(now, id);
                if let Some(it) = self.at(id, Stage::Ike) {
                    it.close(now, after, None);
                    self.next_stage(now, id);
                }
            }
            Event::Failure(diagnosis) => self.verification_failed(now, diagnosis),
            Event::TunnelDown { connection, reason } => {
                let text = format!("the tunnel went down: {}", describe(reason));
                self.give_up_verifying(now, connection.0, text);
            }
            Event::Note(Note::OfferRefused {
                connection,
                negotiation,
                offered,
                notify,
                wanted,
            }) => {
                if let Some(it) = self.verifications.get_mut(&connection.0) {
                    it.rekeying(*negotiation).refusals.push(RefusedOffer {
                        offered: offered.clone(),
                        answer: notify.to_string(),
                        wanted: wanted.clone(),
                    });
                }
            }
            _ => {}
        }
    }

    /// The first packet on an inbound SA has come.
    pub(super) fn verify_inbound(&mut self, tunnel: TunnelId, spi: u32) {
        if let Some(it) = self.verifications.get_mut(&tunnel.0) {
            it.is_used |= it.spi_in == spi;
        }
    }

    /// Takes what a tunnel has carried so far.
    pub(super) fn verify_count(&mut self, now: Instant, tunnel: TunnelId, count: (u64, u64)) {
        let Some(it) = self.at(tunnel.0, Stage::Traffic) else {
            return;
        };
        let (packets_in, packets_out) = count;
        let counting = it.counting.get_or_insert(Counting {
            packets_in,
            packets_out,
            next: now + LOOK,
        });
        // One may have come in before the counters were looked at for the first time.
        let since = milliseconds(now.saturating_duration_since(it.since));
        let traffic = Traffic {
            packets_in: (packets_in.saturating_sub(counting.packets_in)).max(u64::from(it.is_used)),
            packets_out: packets_out.saturating_sub(counting.packets_out),
            milliseconds: since,
        };
        let both_ways = traffic.packets_in > 0 && traffic.packets_out > 0;
        let is_over = now >= it.since + PATIENCE;
        it.report.traffic = Some(traffic);
        if both_ways || is_over {
            self.report(now, tunnel.0);
        }
    }

    /// Counts what is to be counted, and ends what takes too long.
    pub(super) fn go_on_verifying(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .verifications
            .iter()
            .filter(|(_, it)| it.timeout() <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(it) = self.verifications.get_mut(&id) else {
                continue;
            };
            if it.over_at <= now {
                let text = format!(
                    "not answered within {} s; it goes on, see `causeway tunnels`",
                    BOUND.as_secs()
                );
                self.give_up_verifying(now, id, text);
            } else if let Some(counting) = &mut it.counting {
                counting.next = now + LOOK;
                self.effects.push_back(Effect::Count(TunnelId(id)));
            }
        }
    }

    fn at(&mut self, id: u32, stage: Stage) -> Option<&mut Verification> {
        self.verifications
            .get_mut(&id)
            .filter(|it| it.stage == stage)
    }

    fn next_stage(&mut self, now: Instant, id: u32) {
        let Some(it) = self.verifications.get_mut(&id) else {
            return;
        };
        it.since = now;
        match it.stage {
            Stage::Child => {
                it.stage = Stage::Ike;
                self.ike_command(now, ike::Command::RekeyIke(ConnectionId(id)));
            }
            Stage::Ike => {
                it.stage = Stage::Traffic;
                self.effects.push_back(Effect::Count(TunnelId(id)));
            }
            Stage::Traffic => {}
        }
    }

    fn verification_failed(&mut self, now: Instant, diagnosis: &Diagnosis) {
        let id = diagnosis.connection.0;
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        let ours =
            diagnosis.exchange == Exchange::CreateChildSa && diagnosis.role == Role::Initiator;
        let said = said::failure(diagnosis, &tunnel.plan, tunnel.source());
        let Some(it) = self.verifications.get_mut(&id).filter(|_| ours) else {
            return;
        };
        let about = said::negotiation(&diagnosis.cause);
        let Some(now_rekeyed) = it
            .negotiation()
            .filter(|now| about.is_none_or(|it| it == *now))
        else {
            return;
        };
        let last = it.rekeying(now_rekeyed).refusals.last();
        let wanted = match &diagnosis.cause {
            Cause::InvalidKe { wanted, .. } => Some(wanted.clone()),
            _ => last.and_then(|last| last.wanted.clone()),
        };
        let failure = Failure {
            text: said.text,
            wanted,
            fields: said.fields,
        };
        it.close(now, None, Some(failure));
        // A peer that is silent is not asked the next thing; the tunnel goes down.
        if !matches!(diagnosis.cause, Cause::NoAnswer { .. }) {
            self.next_stage(now, id);
        }
    }

    /// Ends a verification before it is complete.
    fn give_up_verifying(&mut self, now: Instant, id: u32, text: String) {
        let Some(it) = self.verifications.get_mut(&id) else {
            return;
        };
        let is_open = it
            .negotiation()
            .is_some_and(|what| it.rekeying(what).failure.is_none());
        if is_open {
            let failure = Failure {
                text,
                wanted: None,
                fields: Vec::new(),
            };
            it.close(now, None, Some(failure));
        }
        self.report(now, id);
    }

    fn report(&mut self, now: Instant, id: u32) {
        let Some(Verification { mut report, .. }) = self.verifications.remove(&id) else {
            return;
        };
        let name = report.tunnel.clone();
        let failures = [&report.child, &report.ike].map(|rekeying| rekeying.failure.as_ref());
        let one_way = report
            .traffic
            .as_ref()
            .is_some_and(|traffic| traffic.packets_in == 0 && traffic.packets_out >= UNANSWERED);
        let complete = report.child.after.is_some() && report.ike.after.is_some();
        let why = match failures {
            [Some(failure), _] => Some(format!("the CHILD_SA was not rekeyed: {}", failure.text)),
            [None, Some(failure)] => Some(format!("the IKE_SA was not rekeyed: {}", failure.text)),
            [None, None] if one_way => Some(
                "both SAs were rekeyed, and packets go out and none come back since then"
                    .to_owned(),
            ),
            [None, None] if !complete => Some("it ended before both SAs were rekeyed".to_owned()),
            [None, None] => None,
        };
        report.verified = why.is_none();
        report.message = match why {
            None => format!("{name} is verified: both its SAs can be rekeyed"),
            Some(why) => format!("{name} is not verified: {why}"),
        };
        if report.verified {
            info!("{}", report.message);
        } else {
            warn!("{}", report.message);
        }
        self.journal.record(now, report.message.clone());
        let value = serde_json::to_value(&report).unwrap_or(Value::Null);
        self.effects
            .push_back(Effect::Verified(TunnelId(id), value));
    }

    /// The CHILD_SA that carries our packets: our inbound SPI of it, and what it is.
    fn child_now(&self, now: Instant, id: u32) -> Option<(u32, Negotiated)> {
        let status = self.ike.status(now);
        let connection = status.connections.into_iter().find(|one| one.id.0 == id)?;
        let mut children = connection.ike_sas.into_iter().flat_map(|sa| sa.children);
        let child = children.find(|child| child.outbound)?;
        let negotiated = Negotiated {
            suite: child.suite,
            group: child.pfs,
        };
        Some((child.spi_in, negotiated))
    }

    /// The newest IKE_SA.
    fn ike_now(&self, now: Instant, id: u32) -> Option<Negotiated> {
        let status = self.ike.status(now);
        let connection = status.connections.into_iter().find(|one| one.id.0 == id)?;
        let sa = connection.ike_sas.into_iter().min_by_key(|sa| sa.age)?;
        // An IKE_SA always has a group, and its suite ends with it, or with the additional key exchanges after it.
        let mut words = sa.suite.rsplit('-');
        let group = words
            .find(|word| !word.starts_with("ke1_"))
            .map(str::to_owned);
        Some(Negotiated {
            suite: sa.suite,
            group,
        })
    }
}
