//! Two endpoints, their data planes, and the datagrams between them; every step is chosen from
//! outside, and after every step the promises are checked.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher as _};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ike::wire::{Exchange, Header, IkeSpi, PayloadType};
use ike::{Command, ConnectionStatus, Event, IkeSaId, Note, Transmit, TransmitKind};

use super::host::{Host, Tally, UNBIASED, brief, digest};
use super::setup::{ADDRESSES, ID, Outcome, Setup, Start, Traffic};
use super::step::{Label, Order, Side, Step};

/// A timer that is due may fire so much later, after one of the other side's.
const LATE: Duration = Duration::from_millis(100);

/// A timer further away is no part of the exchanges at hand.
const SOON: Duration = Duration::from_secs(5);

/// In so much time everything has to have settled.
const PATIENCE: Duration = Duration::from_secs(600);

/// Inbound SAs of one tunnel at once, those in their grace included.
const MOST_INBOUND: usize = 8;

/// IKE SAs of one tunnel at once.
const MOST_IKE: usize = 4;

/// What may still be done to a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Budget {
    pub losses: u8,
    pub duplicates: u8,
    /// Timers that fire while datagrams are under way.
    pub early_timers: u8,
    /// All timers.
    pub timers: u8,
}

impl Budget {
    /// Whether everything that can be done with `other` can be done with this.
    pub fn covers(self, other: Self) -> bool {
        self.losses >= other.losses
            && self.duplicates >= other.duplicates
            && self.early_timers >= other.early_timers
            && self.timers >= other.timers
    }
}

/// Why a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The schedule asks for what cannot happen now.
    Impossible(String),
    /// A promise is broken.
    Violation(String),
}

fn violation<T>(what: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Violation(what.into()))
}

#[derive(Clone)]
struct Flight {
    label: Label,
    transmit: Rc<Transmit>,
    digest: u64,
}

pub struct World {
    pub setup: Rc<Setup>,
    start: Instant,
    now: Instant,
    pub hosts: [Host; 2],
    net: Vec<Flight>,
    pub orders: Vec<(Side, Order)>,
    pub budget: Budget,
    /// IKE SAs in the order of appearance, by the initiator's SPI.
    sas: Vec<IkeSpi>,
    /// Every message that was ever sent, by name: one name, one content.
    sent: BTreeMap<Label, u64>,
    protected: BTreeSet<u64>,
    /// Keys and SPIs that were ever installed.
    keys: BTreeSet<u64>,
    spis: BTreeSet<(Side, u32)>,
    /// SPIs that a side lost by starting afresh.
    lost: BTreeSet<(Side, u32)>,
    /// A's IKE SA and its inbound SPI when it begins.
    first: Option<(IkeSaId, u32)>,
    trace: bool,
    pub most_inbound: usize,
}

impl World {
    /// # Errors
    /// A promise was broken before anything was asked.
    pub fn new(setup: &Setup, budget: Budget) -> Result<Self, Trouble> {
        let now = Instant::now();
        let mut world = Self {
            setup: Rc::new(setup.clone()),
            start: now,
            now,
            hosts: Side::BOTH.map(|side| Host::new(setup.seed, side, 0)),
            net: Vec::new(),
            orders: setup.orders.clone(),
            budget,
            sas: Vec::new(),
            sent: BTreeMap::new(),
            protected: BTreeSet::new(),
            keys: BTreeSet::new(),
            spis: BTreeSet::new(),
            lost: BTreeSet::new(),
            first: None,
            trace: false,
            most_inbound: 0,
        };
        for side in [Side::B, Side::A] {
            let mut connection = setup.connection(side);
            connection.initiate &= setup.start != Start::Cold && side == Side::A;
            world.tell(side, Command::Add(Box::new(connection)))?;
        }
        if setup.start != Start::Cold {
            while let Some(label) = world.net.first().map(|flight| flight.label) {
                world.deliver(label, false)?;
            }
            if setup.start == Start::Warm {
                world.run_for(Duration::from_secs(15))?;
            }
            if let Err(why) = world.one_child() {
                return violation(format!("it does not even come up: {why}"));
            }
        }
        for side in Side::BOTH {
            if setup.initiates[side.index()] && (setup.start == Start::Cold || side == Side::B) {
                world.tell(side, Command::Replace(Box::new(setup.connection(side))))?;
            }
        }
        world
            .hosts
            .iter_mut()
            .for_each(|host| host.tally = Tally::default());
        let status = world.status(Side::A);
        let ike = status.ike_sas.first();
        world.first = ike.and_then(|ike| Some((ike.id, ike.children.first()?.spi_in)));
        world.sas.drain(..world.sas.len().saturating_sub(1));
        if setup.start == Start::Cold {
            world.sas.clear();
        }
        Ok(world)
    }

    /// Prints what happens.
    pub fn traced(mut self) -> Self {
        self.trace = true;
        self
    }

    fn host(&mut self, side: Side) -> &mut Host {
        &mut self.hosts[side.index()]
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            let at = self.now.saturating_duration_since(self.start).as_millis();
            eprintln!("{at:>8} {}", text());
        }
    }

    /// A second world in the same state.
    pub fn fork(&self) -> Self {
        Self {
            setup: Rc::clone(&self.setup),
            start: self.start,
            now: self.now,
            hosts: [self.hosts[0].fork(), self.hosts[1].fork()],
            net: self.net.clone(),
            orders: self.orders.clone(),
            budget: self.budget,
            sas: self.sas.clone(),
            sent: self.sent.clone(),
            protected: self.protected.clone(),
            keys: self.keys.clone(),
            spis: self.spis.clone(),
            lost: self.lost.clone(),
            first: self.first,
            trace: self.trace,
            most_inbound: self.most_inbound,
        }
    }

    /// The value that two worlds share which can come to the same, the budget aside.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.now.hash(&mut hasher);
        for host in &self.hosts {
            host.endpoint.feed(&mut hasher);
            let plane = &host.plane;
            plane.inbound.keys().for_each(|spi| spi.hash(&mut hasher));
            let outbound = plane.outbound.as_ref().map(|sa| sa.spi_in);
            (outbound, &plane.expired, &plane.seen, host.starts).hash(&mut hasher);
        }
        let mut net: Vec<(Label, u64)> = self.net.iter().map(|f| (f.label, f.digest)).collect();
        net.sort_unstable();
        let mut orders = self.orders.clone();
        orders.sort_unstable();
        (net, orders, &self.lost).hash(&mut hasher);
        hasher.finish()
    }

    /// Chooses how the nonces begin that this side draws next.
    fn bias(&mut self, side: Side, response: bool) {
        let first = match self.setup.low {
            None => UNBIASED,
            Some(low) if low.is_of(side, response) => 0x00,
            Some(_) => 0xFF,
        };
        self.host(side).dice.first.store(first, Ordering::Relaxed);
    }

    fn tell(&mut self, side: Side, command: Command) -> Result<(), Trouble> {
        self.bias(side, false);
        let now = self.now;
        self.host(side).endpoint.command(now, command);
        self.drain(side)
    }

    /// Takes what an endpoint has to say.
    fn drain(&mut self, side: Side) -> Result<(), Trouble> {
        loop {
            if let Some(event) = self.host(side).endpoint.poll_event() {
                self.say(|| format!("    {side} {}", brief(&event)));
                self.apply_event(side, event)?;
            } else if let Some(transmit) = self.host(side).endpoint.poll_transmit() {
                if transmit.kind == TransmitKind::Ike {
                    self.post(side, transmit)?;
                }
            } else {
                break;
            }
        }
        let inbound = self.hosts[side.index()].plane.inbound.len();
        self.most_inbound = self.most_inbound.max(inbound);
        if inbound > MOST_INBOUND {
            return violation(format!("{side} has {inbound} inbound SAs at once"));
        }
        if self.setup.traffic == Traffic::Busy {
            for from in Side::BOTH {
                if self.fresh_esp(from) {
                    self.esp(from)?;
                }
            }
        }
        Ok(())
    }

    fn apply_event(&mut self, side: Side, event: Event) -> Result<(), Trouble> {
        let Host { plane, tally, .. } = &mut self.hosts[side.index()];
        match event {
            Event::InboundAdd(sa) => {
                // Both sides install it once.
                if !self
                    .keys
                    .insert(digest(&(side, sa.keys_in.keymat.expose())))
                {
                    return violation(format!("{side} installs a key for the second time"));
                }
                if !self.spis.insert((side, sa.spi_in)) {
                    return violation(format!("{side} uses an inbound SPI for the second time"));
                }
                plane.inbound.insert(sa.spi_in, Rc::new(*sa));
            }
            Event::OutboundUse(sa) => {
                if !plane.inbound.contains_key(&sa.spi_in) {
                    return violation(format!("{side} sends on an SA without its twin"));
                }
                plane.outbound = Some(Rc::new(*sa));
            }
            Event::InboundRemove { spi_in, .. } => {
                plane.seen.remove(&spi_in);
                if plane.inbound.remove(&spi_in).is_none() {
                    return violation(format!("{side} removes an SA that is not there"));
                }
            }
            Event::OutboundClear { .. } => plane.outbound = None,
            Event::TunnelDown { reason, .. } => {
                tally.tunnel_down += 1;
                if matches!(self.setup.outcome, Outcome::NeverDown | Outcome::Replaced) {
                    return violation(format!("{side}'s tunnel goes down: {reason:?}"));
                }
            }
            Event::IkeDown { reason, .. } => {
                tally.ike_down += 1;
                if self.setup.outcome == Outcome::NeverDown {
                    return violation(format!("{side}'s IKE SA goes down: {reason:?}"));
                }
            }
            Event::ChildRekeyed { .. } => tally.child_rekeyed += 1,
            Event::IkeRekeyed { .. } => tally.ike_rekeyed += 1,
            Event::Failure(_) => tally.failures += 1,
            Event::Note(Note::Collision { ours_stays, .. }) => {
                tally.won += u32::from(ours_stays);
                tally.lost += u32::from(!ours_stays);
            }
            _ => {}
        }
        Ok(())
    }

    fn post(&mut self, from: Side, transmit: Transmit) -> Result<(), Trouble> {
        let Ok((header, _)) = Header::decode(&transmit.payload) else {
            return violation(format!("{from} sends what is no IKE message"));
        };
        let sa = match self.sas.iter().position(|spi| *spi == header.spi_i) {
            Some(at) => at,
            None => {
                self.sas.push(header.spi_i);
                self.sas.len() - 1
            }
        };
        let mut label = Label {
            from,
            sa: u8::try_from(sa + 1).unwrap_or(u8::MAX),
            exchange: match header.exchange {
                Exchange::IkeSaInit => 'i',
                Exchange::IkeAuth => 'a',
                Exchange::CreateChildSa => 'c',
                Exchange::IkeIntermediate => 'm',
                Exchange::IkeFollowupKe => 'k',
                Exchange::Informational | Exchange::Other(_) => 'f',
            },
            id: header.message_id,
            response: header.flags.response,
            variant: 0,
        };
        let digest = digest(&transmit.payload);
        while let Some(before) = self.sent.get(&label).filter(|before| **before != digest) {
            // Two that are protected must not share an ID; complaints without protection may.
            if header.next_payload == PayloadType::SK && self.protected.contains(before) {
                return violation(format!("two different messages are called {label}"));
            }
            label.variant += 1;
        }
        self.sent.insert(label, digest);
        if header.next_payload == PayloadType::SK {
            self.protected.insert(digest);
        }
        self.say(|| format!("    {from} sends {label}"));
        self.net.push(Flight {
            label,
            transmit: Rc::new(transmit),
            digest,
        });
        Ok(())
    }

    fn position(&self, label: Label) -> Result<usize, Trouble> {
        let at = self.net.iter().position(|flight| flight.label == label);
        at.ok_or_else(|| {
            let names: Vec<String> = self.net.iter().map(|f| f.label.to_string()).collect();
            Trouble::Impossible(format!("no {label} is under way, only {names:?}"))
        })
    }

    fn deliver(&mut self, label: Label, keep: bool) -> Result<(), Trouble> {
        let at = self.position(label)?;
        let transmit = if keep {
            Rc::clone(&self.net[at].transmit)
        } else {
            self.net.remove(at).transmit
        };
        let to = label.from.other();
        self.bias(to, !label.response);
        let now = self.now;
        let Transmit { local, remote, .. } = *transmit;
        let endpoint = &mut self.host(to).endpoint;
        endpoint.handle_datagram(now, remote, local, &transmit.payload);
        self.drain(to)
    }

    /// Lets a side's next timer fire.
    fn fire(&mut self, side: Side) -> Result<(), Trouble> {
        let Some(at) = self.hosts[side.index()].endpoint.poll_timeout() else {
            return Err(Trouble::Impossible(format!("{side} has no timer")));
        };
        self.now = self.now.max(at);
        self.bias(side, false);
        let now = self.now;
        self.host(side).endpoint.handle_timeout(now);
        self.drain(side)?;
        let next = self.hosts[side.index()].endpoint.poll_timeout();
        if next.is_some_and(|next| next <= now) {
            return violation(format!("a timer of {side} does not go away"));
        }
        Ok(())
    }

    /// Whether an ESP packet from this side would be news to the peer.
    fn fresh_esp(&self, from: Side) -> bool {
        let to = &self.hosts[from.other().index()].plane;
        self.hosts[from.index()]
            .plane
            .outbound
            .as_ref()
            .is_some_and(|sa| {
                to.inbound.contains_key(&sa.spi_out) && !to.seen.contains(&sa.spi_out)
            })
    }

    fn esp(&mut self, from: Side) -> Result<(), Trouble> {
        let Some(spi) = self.hosts[from.index()]
            .plane
            .outbound
            .as_ref()
            .map(|sa| sa.spi_out)
        else {
            return Err(Trouble::Impossible(format!(
                "{from} has nothing to send on"
            )));
        };
        let to = from.other();
        self.host(to).plane.seen.insert(spi);
        self.tell(to, Command::InboundTraffic { spi })
    }

    fn order(&mut self, side: Side, order: Order) -> Result<(), Trouble> {
        let remote = ADDRESSES[side.other().index()];
        let command = match order {
            Order::RekeyChild => Command::RekeyChild(ID),
            Order::RekeyIke => Command::RekeyIke(ID),
            Order::SoftExpire | Order::DeleteChild => {
                let Some(out) = &self.hosts[side.index()].plane.outbound else {
                    return Ok(());
                };
                let spi = out.spi_in;
                if order == Order::SoftExpire {
                    Command::SoftExpired { spi }
                } else {
                    self.host(side).plane.expired.insert(spi);
                    Command::HardExpired { spi }
                }
            }
            Order::DeleteIke => {
                // As an operator's edit does: delete, and set up again with other parameters.
                let mut connection = self.setup.connection(side);
                connection.narrowing = ike::Narrowing::Accept;
                Command::Replace(Box::new(connection))
            }
            Order::Liveness => Command::UnknownSpi { remote },
            Order::Up => Command::Up(ID),
            Order::Restart => {
                let starts = self.hosts[side.index()].starts + 1;
                let new = Host::new(self.setup.seed, side, starts);
                let old = std::mem::replace(self.host(side), new);
                self.lost
                    .extend(old.plane.inbound.keys().map(|spi| (side, *spi)));
                let connection = self.setup.connection(side);
                Command::Add(Box::new(connection))
            }
        };
        self.tell(side, command)
    }

    /// Does one thing, and checks the promises.
    ///
    /// # Errors
    /// It cannot be done now, or a promise is broken.
    pub fn step(&mut self, step: Step) -> Result<(), Trouble> {
        self.say(|| step.to_string());
        if self.setup.time_passes {
            self.now += Duration::from_millis(1);
        }
        match step {
            Step::Command(side, order) => {
                if let Some(at) = self.orders.iter().position(|o| *o == (side, order)) {
                    self.orders.remove(at);
                }
                self.order(side, order)?;
            }
            Step::Deliver(label) => self.deliver(label, false)?,
            Step::Duplicate(label) => {
                self.budget.duplicates = self.budget.duplicates.saturating_sub(1);
                self.deliver(label, true)?;
            }
            Step::Drop(label) => {
                self.budget.losses = self.budget.losses.saturating_sub(1);
                let at = self.position(label)?;
                self.net.remove(at);
            }
            Step::Timer(side) => {
                self.budget.timers = self.budget.timers.saturating_sub(1);
                if !self.net.is_empty() {
                    self.budget.early_timers = self.budget.early_timers.saturating_sub(1);
                }
                self.fire(side)?;
            }
            Step::Esp(side) => self.esp(side)?,
        }
        for side in Side::BOTH {
            let ike = self.status(side).ike_sas.len();
            if ike > MOST_IKE {
                return violation(format!("{side} has {ike} IKE SAs at once"));
            }
        }
        self.check()
    }

    /// No packet that is sent now is unreadable.
    fn check(&self) -> Result<(), Trouble> {
        for side in Side::BOTH {
            let (from, to) = (&self.hosts[side.index()], &self.hosts[side.other().index()]);
            let Some(out) = &from.plane.outbound else {
                continue;
            };
            let expected = to.plane.inbound.get(&out.spi_out);
            if expected.is_some_and(|sa| sa.keys_in == out.keys_out) {
                continue;
            }
            // The peer has lost it, or has not had our answer yet and there is no other.
            let spi = (side.other(), out.spi_out);
            let early = !self.spis.contains(&spi) && !self.has_another(side, out.spi_in);
            if !early && !self.lost.contains(&spi) {
                return violation(format!(
                    "{side} sends on {:08x}, which the peer cannot read",
                    out.spi_out
                ));
            }
        }
        Ok(())
    }

    /// Whether this side could send on another child, which the peer has as well.
    fn has_another(&self, side: Side, spi_in: u32) -> bool {
        let children = |side| {
            let ike_sas = self.status(side).ike_sas.into_iter();
            ike_sas.flat_map(|ike| ike.children)
        };
        let there: BTreeSet<u32> = children(side.other()).map(|child| child.spi_in).collect();
        let expired = &self.hosts[side.index()].plane.expired;
        children(side)
            .filter(|child| child.spi_in != spi_in && !expired.contains(&child.spi_in))
            .any(|child| there.contains(&child.spi_out))
    }

    /// What can happen next.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut labels: Vec<Label> = self.net.iter().map(|flight| flight.label).collect();
        labels.dedup();
        labels.sort_unstable();
        labels.dedup();
        steps.extend(labels.iter().map(|label| Step::Deliver(*label)));
        let mut orders = self.orders.clone();
        orders.sort_unstable();
        orders.dedup();
        steps.extend(
            orders
                .iter()
                .map(|(side, order)| Step::Command(*side, *order)),
        );
        if self.setup.traffic == Traffic::Free {
            let fresh = Side::BOTH.into_iter().filter(|side| self.fresh_esp(*side));
            steps.extend(fresh.map(Step::Esp));
        }
        if self.budget.losses > 0 {
            steps.extend(labels.iter().map(|label| Step::Drop(*label)));
        }
        if self.budget.duplicates > 0 {
            steps.extend(labels.iter().map(|label| Step::Duplicate(*label)));
        }
        let early = !self.net.is_empty();
        let may = if early {
            self.budget.early_timers > 0
        } else {
            self.orders.is_empty()
        };
        if may && self.budget.timers > 0 {
            steps.extend(self.timers());
        }
        steps
    }

    /// The timers that may be the next to fire.
    fn timers(&self) -> Vec<Step> {
        let due = |side: &Side| self.hosts[side.index()].endpoint.poll_timeout();
        let Some(first) = Side::BOTH.iter().filter_map(due).min() else {
            return Vec::new();
        };
        if first > self.now + SOON {
            return Vec::new();
        }
        Side::BOTH
            .into_iter()
            .filter(|side| due(side).is_some_and(|at| at <= first.max(self.now) + LATE))
            .map(Step::Timer)
            .collect()
    }

    /// Lets everything arrive and every timer fire in time.
    fn run_for(&mut self, duration: Duration) -> Result<(), Trouble> {
        let end = self.now + duration;
        loop {
            if let Some(label) = self.net.first().map(|flight| flight.label) {
                self.deliver(label, false)?;
                self.check()?;
                continue;
            }
            let due =
                |side: &Side| Some((self.hosts[side.index()].endpoint.poll_timeout()?, *side));
            match Side::BOTH.iter().filter_map(due).min() {
                Some((at, side)) if at <= end => {
                    self.fire(side)?;
                    self.check()?;
                }
                _ => {
                    self.now = end;
                    return Ok(());
                }
            }
        }
    }

    /// Lets the network do its work from now on, and sees what comes of it. Returns how long it took.
    ///
    /// # Errors
    /// It does not come to what the set-up promises.
    pub fn finish(&mut self) -> Result<Duration, Trouble> {
        for (side, order) in std::mem::take(&mut self.orders) {
            self.say(|| format!("{side}.{}", order.name()));
            self.order(side, order)?;
        }
        let begin = self.now;
        loop {
            self.run_for(Duration::from_secs(5))?;
            let state = self.settled();
            let took = self.now - begin;
            match state {
                Ok(()) => {
                    // It has to stay so through an exchange.
                    self.run_for(Duration::from_secs(12))?;
                    if self.settled().is_ok() {
                        return Ok(took);
                    }
                }
                Err(why) if took > PATIENCE => {
                    return violation(format!("it does not come to an end: {why}"));
                }
                Err(_) => {}
            }
        }
    }

    fn settled(&self) -> Result<(), String> {
        match self.setup.outcome {
            Outcome::NeverDown => self.one_child().and_then(|()| self.rekeyed()),
            Outcome::Replaced | Outcome::Up => self.one_child(),
            Outcome::Down => {
                for side in Side::BOTH {
                    if !self.status(side).ike_sas.is_empty() {
                        return Err(format!("{side} still has an IKE SA"));
                    }
                }
                Ok(())
            }
        }
    }

    /// What was to be rekeyed has been, sooner or later.
    fn rekeyed(&self) -> Result<(), String> {
        let asked = |wanted| self.setup.orders.iter().any(|(_, order)| *order == wanted);
        let status = self.status(Side::A);
        let ike = &status.ike_sas[0];
        if asked(Order::RekeyIke) && Some(ike.id) == self.first.map(|(id, _)| id) {
            return Err("the IKE SA was not rekeyed".to_owned());
        }
        if asked(Order::RekeyChild)
            && Some(ike.children[0].spi_in) == self.first.map(|(_, spi)| spi)
        {
            return Err("the child was not rekeyed".to_owned());
        }
        Ok(())
    }

    pub fn status(&self, side: Side) -> ConnectionStatus {
        let status = self.hosts[side.index()].endpoint.status(self.now);
        status
            .connections
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no connection"))
    }

    /// Both sides have one IKE SA and one child, which fit, and which will be rekeyed.
    ///
    /// # Errors
    /// What is not so.
    pub fn one_child(&self) -> Result<(), String> {
        let [a, b] = Side::BOTH.map(|side| self.status(side));
        for (side, status) in Side::BOTH.into_iter().zip([&a, &b]) {
            let [ike] = status.ike_sas.as_slice() else {
                return Err(format!("{side} has {} IKE SAs", status.ike_sas.len()));
            };
            let [child] = ike.children.as_slice() else {
                return Err(format!("{side} has {} children", ike.children.len()));
            };
            if !child.outbound {
                return Err(format!("{side} does not send on its child"));
            }
            if ike.rekey_in.is_none() || child.rekey_in.is_none() {
                return Err(format!("{side} has an SA that it will not rekey"));
            }
            let inbound = self.hosts[side.index()].plane.inbound.len();
            if inbound != 1 {
                return Err(format!("{side} has {inbound} inbound SAs"));
            }
        }
        let (a, b) = (&a.ike_sas[0], &b.ike_sas[0]);
        if a.id != b.id {
            return Err("the sides have different IKE SAs".to_owned());
        }
        let (a, b) = (&a.children[0], &b.children[0]);
        if (a.spi_in, a.spi_out) != (b.spi_out, b.spi_in) {
            return Err("the sides have different children".to_owned());
        }
        self.check().map_err(|trouble| format!("{trouble:?}"))
    }
}
