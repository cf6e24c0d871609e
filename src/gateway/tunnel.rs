//! One tunnel as the gateway sees it: what was asked for, how its peer is reached, whether packets pass.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crypto::Suite;
use ike::Negotiation;
use tracing::warn;

use vti::plane::Direction;

use super::naming::Naming;
use super::said::{Field, Said};
use crate::plan::TunnelPlan;

/// Every IPv4 host takes packets of this size (RFC 791), so no interface is made smaller.
const LEAST_MTU: u16 = 576;

/// The way to a peer's outer address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalPath {
    /// The address that packets to the peer come from.
    pub(crate) source: IpAddr,
    /// The interface that they leave through.
    pub(crate) interface: String,
    /// What that path carries, in octets.
    pub(crate) mtu: u16,
}

/// How long to wait before the data plane is asked again for what it refused: twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long nothing may come in before that is worth a word.
const SILENCE: Duration = Duration::from_secs(8);

/// How many packets have to be unanswered: fewer may be such that need no answer.
const UNANSWERED: u64 = 3;

/// What has come in, and what has not been answered.
#[derive(Clone)]
struct Heard {
    since: Instant,
    packets_in: u64,
    packets_out: u64,
    unanswered: u64,
}

/// A tunnel.
#[derive(Clone)]
pub(crate) struct Tunnel {
    pub(crate) plan: TunnelPlan,
    /// How its peer was reached last; IKE starts when this is known.
    path: Option<LocalPath>,
    /// Why its peer cannot be reached now.
    unreachable: Option<String>,
    /// Taken down by hand.
    pub(crate) held_down: bool,
    /// Since when packets pass, or do not.
    pub(crate) since: Instant,
    /// What made packets stop, in words.
    reason: Option<String>,
    /// The last failure, with when it was.
    pub(crate) failure: Option<(Instant, String)>,
    /// Where to change what it is about.
    pub(crate) fields: Vec<Field>,
    /// The suites that were negotiated last.
    suites: BySa,
    /// Why the peer does not let them be rekeyed, since it last did.
    refused_rekeys: BySa,
    /// Why the network card does not do what it was asked for.
    pub(crate) offload_refused: Option<String>,
    /// How often packets stopped passing.
    pub(crate) downs: u64,
    /// How many exchanges failed.
    pub(crate) failures: u64,
    /// How often its IKE_SA and its CHILD_SA were rekeyed.
    rekeys: (u64, u64),
    /// How often somebody deleted an SA that packets needed.
    pub(crate) lost_sas: u64,
    /// How often somebody deleted or changed a policy, and it was put back.
    pub(crate) restored_policies: u64,
    up: bool,
    /// SAs of a process before this one carry its packets, until IKE has ones of ours.
    inherits: bool,
    /// What BGP was told last of the interface.
    published: bool,
    /// Where IKE was told to send from; `None` before it was told of the connection.
    source: Option<IpAddr>,
    /// Where IKE was told to send to.
    destination: Option<IpAddr>,
    /// What becomes of the peer's DNS name, where it has one.
    pub(super) naming: Naming,
    /// What the present outbound SA costs each packet.
    carrier: Option<(Suite, bool)>,
    path_mtu: Option<u16>,
    /// What came in last, and what went out unanswered since.
    heard: Heard,
    /// Outbound SPI to inbound SPI, for all SAs that live.
    pairs: BTreeMap<u32, u32>,
    /// The SPIs of the pair that carries our packets: inbound, outbound.
    pair: Option<(u32, u32)>,
    /// One of that pair was deleted under us, and its successor is not there yet.
    has_lost: bool,
    refused: Option<Refusal>,
}

/// Something in words about the IKE_SA, and about the CHILD_SA.
#[derive(Clone, Default)]
struct BySa {
    ike: Option<String>,
    esp: Option<String>,
}

impl BySa {
    const fn of(&mut self, what: Negotiation) -> &mut Option<String> {
        match what {
            Negotiation::Ike => &mut self.ike,
            Negotiation::Esp => &mut self.esp,
        }
    }
}

/// What the data plane did not take last.
#[derive(Clone)]
struct Refusal {
    text: String,
    when: Instant,
    /// How often in a row.
    times: u32,
    /// Nothing has been tried since.
    is_current: bool,
}

impl Tunnel {
    /// A tunnel through which nothing passes yet.
    pub(crate) fn new(now: Instant, plan: TunnelPlan) -> Self {
        Self {
            plan,
            path: None,
            unreachable: Some("the way to its peer is not known yet".into()),
            held_down: false,
            since: now,
            reason: None,
            failure: None,
            fields: Vec::new(),
            suites: BySa::default(),
            refused_rekeys: BySa::default(),
            offload_refused: None,
            downs: 0,
            failures: 0,
            rekeys: (0, 0),
            lost_sas: 0,
            restored_policies: 0,
            up: false,
            inherits: false,
            published: false,
            source: None,
            destination: None,
            naming: Naming::default(),
            carrier: None,
            path_mtu: None,
            heard: Heard {
                since: now,
                packets_in: 0,
                packets_out: 0,
                unanswered: 0,
            },
            pairs: BTreeMap::new(),
            pair: None,
            has_lost: false,
            refused: None,
        }
    }

    /// How often its IKE_SA and its CHILD_SA were rekeyed.
    pub(crate) const fn rekeys(&self) -> (u64, u64) {
        self.rekeys
    }

    /// One of its SAs was rekeyed.
    pub(crate) const fn count_rekey(&mut self, what: Negotiation) {
        match what {
            Negotiation::Ike => self.rekeys.0 += 1,
            Negotiation::Esp => self.rekeys.1 += 1,
        }
    }

    /// Whether packets pass: the one truth that routes, next hops and `status` follow.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Packets pass from now on.
    pub(crate) fn rise(&mut self, now: Instant) {
        self.up = true;
        self.inherits = false;
        self.since = now;
        self.reason = None;
        // The data plane may still refuse it, and then it counts as one time more.
        if let Some(refused) = &mut self.refused {
            refused.is_current = false;
        }
    }

    /// Packets no longer pass. Returns whether they did before.
    pub(crate) fn fall(&mut self, now: Instant, reason: String) -> bool {
        let was_up = std::mem::replace(&mut self.up, false);
        if was_up {
            self.since = now;
            self.downs += 1;
        }
        self.reason = Some(reason);
        was_up
    }

    /// A process before this one has left routes through it, and the SAs to go with them.
    pub(crate) fn inherit(&mut self) {
        self.inherits = true;
    }

    /// What was left is worth nothing any more. Returns whether it was until now.
    pub(crate) fn disinherit(&mut self) -> bool {
        std::mem::replace(&mut self.inherits, false)
    }

    /// Whether BGP may use the interface, if that differs from what it was told last.
    pub(crate) fn usability(&mut self, link_is_up: bool) -> Option<bool> {
        let usable = (self.up || self.inherits) && link_is_up;
        let told = std::mem::replace(&mut self.published, usable);
        (told != usable).then_some(usable)
    }

    /// Remembers what went wrong last, until packets pass.
    pub(crate) fn note_failure(&mut self, now: Instant, text: String) {
        if !self.up {
            self.reason = Some(text.clone());
        }
        self.failure = Some((now, text));
        self.fields.clear();
    }

    /// The same, with where to change what it is about.
    pub(crate) fn note_said(&mut self, now: Instant, said: Said) {
        self.note_failure(now, said.text);
        self.fields = said.fields;
    }

    /// Learns the suite that was negotiated. Returns the one before it, where that was another one.
    pub(crate) fn take_suite(&mut self, what: Negotiation, suite: &str) -> Option<String> {
        let before = self.suites.of(what).replace(suite.to_owned());
        before.filter(|before| before != suite)
    }

    /// The site file has changed what is offered, so that another suite is no surprise.
    pub(crate) fn forget_suites(&mut self) {
        self.suites = BySa::default();
        self.refused_rekeys = BySa::default();
    }

    /// The peer refused to have the IKE_SA or the CHILD_SA rekeyed, for this reason, or none: it was rekeyed.
    pub(crate) fn note_rekey(&mut self, what: Negotiation, refused: Option<String>) {
        *self.refused_rekeys.of(what) = refused;
    }

    /// Why the tunnel, which is up, will not stay so: its SAs cannot be rekeyed.
    pub(crate) fn will_fail(&self) -> impl Iterator<Item = &str> {
        let BySa { ike, esp } = &self.refused_rekeys;
        let refused = esp.iter().chain(ike).map(String::as_str);
        refused.filter(|_| self.up)
    }

    /// Takes the way to the peer, and says what IKE has to be told, and what people have, where our address is another one than before.
    pub(crate) fn take_path(&mut self, path: &LocalPath) -> Option<(ike::Command, Option<String>)> {
        self.unreachable = None;
        let remote = self.plan.connection.remote;
        if self.path.as_ref() == Some(path) && self.destination == Some(remote) {
            return None;
        }
        self.path = Some(path.clone());
        self.path_mtu = None;
        let was_destination = self.destination.replace(remote);
        let before = self.source.replace(path.source);
        if (before, was_destination) == (Some(path.source), Some(remote)) {
            return None;
        }
        let connection = Box::new(self.connection(path.source));
        let Some(before) = before else {
            self.reason = None;
            return Some((ike::Command::Add(connection), None));
        };
        let said = (before != path.source).then(|| {
            format!(
                "our address towards {remote} is {} now, on {}, and was {before}: the tunnel moves there at once",
                path.source, path.interface
            )
        });
        Some((ike::Command::Move(connection), said))
    }

    /// IKE knows nothing of the connection any more.
    pub(crate) fn forget_source(&mut self) {
        (self.path, self.source, self.destination) = (None, None, None);
    }

    /// IKE was told of the connection as it is planned now.
    pub(crate) fn told(&mut self) {
        self.destination = Some(self.plan.connection.remote);
    }

    /// The peer cannot be reached. What runs goes on: routes come and go while links renegotiate.
    pub(crate) fn lose_path(&mut self, reason: &str) {
        if self.unreachable.as_deref() != Some(reason) {
            warn!(tunnel = %self.plan.name, "{reason}");
            self.unreachable = Some(reason.to_owned());
        }
    }

    /// Nothing can be tried before that is known.
    pub(crate) fn wait_for(&mut self, what: String) {
        self.unreachable = Some(what);
    }

    /// Why packets do not pass, in words, as far as it is known here.
    pub(crate) fn why_down(&self) -> Option<&str> {
        let why = self.unreachable.as_ref().or(self.reason.as_ref())?;
        (!self.up).then_some(why)
    }

    /// Where IKE was told to send from, once it was told of the connection.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Takes what the tunnel has carried so far. Returns whether the peer was heard since the last time.
    pub(crate) fn count(&mut self, now: Instant, packets_in: u64, packets_out: u64) -> bool {
        let answered = packets_in != self.heard.packets_in;
        if answered || !self.up {
            self.heard = Heard {
                since: now,
                packets_in,
                packets_out,
                unanswered: 0,
            };
        } else {
            self.heard.unanswered = packets_out.saturating_sub(self.heard.packets_out);
        }
        answered
    }

    /// Whether packets go out and none come back although IKE is answered: what a box on the way does that lets IKE pass and stops ESP.
    pub(crate) fn silence(&self, now: Instant) -> Option<String> {
        let quiet = now.saturating_duration_since(self.heard.since);
        if !self.up || quiet < SILENCE || self.heard.unanswered < UNANSWERED {
            return None;
        }
        let remote = self.plan.connection.remote;
        let (what, instead) = match self.carrier {
            Some((_, true)) => ("ESP in UDP port 4500", "allow UDP 4500 both ways"),
            Some((_, false)) | None => (
                "ESP (IP protocol 50)",
                "allow protocol 50 both ways, or set encapsulation = \"force\"",
            ),
        };
        Some(format!(
            "IKE is answered, but no ESP has come from {remote} for {} s while {} packets went out: something on the way stops {what}, or the peer does not route into its tunnel; {instead}",
            quiet.as_secs(),
            self.heard.unanswered
        ))
    }

    /// The connection as IKE wants it, from this source address.
    pub(crate) fn connection(&self, source: IpAddr) -> ike::Connection {
        let mut connection = self.plan.connection.clone();
        connection.local = source;
        if self.plan.local_id_follows_address {
            connection.local_id = source.into();
        }
        connection
    }

    /// Learns what a pair of SAs is called in each direction.
    pub(crate) fn learn_pair(&mut self, spi_in: u32, spi_out: u32) {
        self.pairs.insert(spi_out, spi_in);
    }

    /// Forgets a pair of SAs.
    pub(crate) fn forget_pair(&mut self, spi_in: u32) {
        self.pairs.retain(|_, inbound| *inbound != spi_in);
    }

    /// The inbound SPI of the pair with this outbound one.
    pub(crate) fn inbound_of(&self, spi_out: u32) -> Option<u32> {
        self.pairs.get(&spi_out).copied()
    }

    /// Learns which pair of SAs carries our packets now. Returns whether it takes the place of a lost one.
    pub(crate) fn take_pair(&mut self, pair: (u32, u32)) -> bool {
        self.pair = Some(pair);
        std::mem::take(&mut self.has_lost)
    }

    /// One of its SAs is gone. Returns the inbound SPI of the pair, if it is the one that carries our packets.
    pub(crate) fn lose_sa(&mut self, spi: u32, direction: Direction) -> Option<u32> {
        let (inbound, outbound) = self.pair?;
        let carries = match direction {
            Direction::Inbound => spi == inbound,
            Direction::Outbound => spi == outbound,
        };
        self.has_lost |= carries;
        self.lost_sas += u64::from(carries);
        carries.then_some(inbound)
    }

    /// Whether a lost SA still has no successor.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// IKE knows by itself that nothing passes.
    pub(crate) fn forget_loss(&mut self) {
        self.has_lost = false;
        self.pair = None;
    }

    /// The data plane did not take something that nothing passes without. Returns how long to wait before it is tried again: longer each
    /// time, until that was long ago.
    pub(crate) fn refuse(&mut self, now: Instant, text: String) -> Duration {
        let times = self
            .refused
            .as_ref()
            .filter(|last| now.saturating_duration_since(last.when) < LONGEST_PAUSE * 2)
            .map_or(0, |last| last.times);
        self.refused = Some(Refusal {
            text,
            when: now,
            times: times + 1,
            is_current: true,
        });
        SHORTEST_PAUSE
            .saturating_mul(1 << times.min(8))
            .min(LONGEST_PAUSE)
    }

    /// What the data plane refused, while that is why nothing passes.
    pub(crate) fn refusal(&self) -> Option<&str> {
        let refused = self.refused.as_ref()?;
        refused.is_current.then_some(refused.text.as_str())
    }

    /// What each packet costs from now on.
    pub(crate) fn set_carrier(&mut self, suite: Suite, encapsulated: bool) {
        self.carrier = Some((suite, encapsulated));
    }

    /// ESP goes in UDP, or no longer, with the same suite.
    pub(crate) fn carry(&mut self, encapsulated: bool) {
        if let Some((_, in_udp)) = &mut self.carrier {
            *in_udp = encapsulated;
        }
    }

    /// The path has turned out to carry less than its first link.
    pub(crate) fn limit_outer_mtu(&mut self, mtu: u16) {
        self.path_mtu = Some(mtu);
    }

    /// What the way to the peer carries, in octets.
    pub(crate) fn outer_mtu(&self) -> u16 {
        let link = self.path.as_ref().map_or(1500, |path| path.mtu);
        self.path_mtu.map_or(link, |limit| limit.min(link))
    }

    /// The interface's MTU: the site file's, or what the outer path leaves room for. Before the first SA the first proposal counts, with
    /// encapsulation, so that the value rarely changes when the tunnel comes up.
    pub(crate) fn inner_mtu(&self) -> u16 {
        if let Some(mtu) = self.plan.mtu {
            return mtu;
        }
        let outer_is_v6 = self.plan.connection.remote.is_ipv6();
        let (suite, encapsulated) = self
            .carrier
            .or_else(|| self.plan.suites().next().map(|suite| (suite, true)))
            .unzip();
        let encapsulation = if encapsulated.unwrap_or(true) {
            esp::Encapsulation::Udp
        } else {
            esp::Encapsulation::None
        };
        suite
            .map_or(LEAST_MTU, |suite| {
                esp::tunnel_mtu(self.outer_mtu(), suite, encapsulation, outer_is_v6)
            })
            .max(LEAST_MTU)
    }
}
