//! One session: its variables, its states and what a packet does to it (RFC 5880, section 6.8).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use crate::config::{SessionConfig, SessionName, Terms};
use crate::event::{DownReason, Event, Transmit};
use crate::packet::{ControlPacket, Diagnostic, Discriminator, State};
use crate::sessions::Discard;
use crate::view;

mod timers;

pub use timers::SLOW;

/// What the peer's Required Min RX Interval is taken to be before it has said so (RFC 5880, section 6.8.1).
const UNHEARD_MIN_RX: Duration = Duration::from_micros(1);

/// What a call has at hand.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) transmits: &'a mut VecDeque<Transmit>,
    pub(crate) events: &'a mut VecDeque<Event>,
}

/// One session, with the variables of RFC 5880, section 6.8.1 under their names there.
#[derive(Debug)]
pub(crate) struct Session {
    name: SessionName,
    pub(crate) config: SessionConfig,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    pub(crate) discriminator: Discriminator,
    /// DesiredMinTxInterval: what our packets say.
    desired_min_tx: Duration,
    /// What paces our packets; behind the other while a Poll Sequence has yet to announce a slower pace (section 6.8.3).
    paced_min_tx: Duration,
    /// RequiredMinRxInterval: what our packets say.
    required_min_rx: Duration,
    /// What the Detection Time is made of; behind the other while a Poll Sequence has yet to announce a faster pace.
    detected_min_rx: Duration,
    poll: Poll,
    remote: Remote,
    /// When the next periodic packet is due.
    transmit_at: Option<Instant>,
    /// A packet between two periodic ones has been sent.
    prompted: bool,
    /// When a packet was heard last, while that is not too long ago.
    heard_at: Option<Instant>,
    /// The intervals that were told last.
    told: Option<(Option<Duration>, Duration)>,
    /// A session that is wanted no more says AdminDown until then.
    leaving: Option<Instant>,
    counters: Counters,
}

/// A Poll Sequence (section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    None,
    /// Our periodic packets carry the Poll bit until a Final comes.
    Active,
    /// And once more then, as our terms have changed since it began.
    ActiveAndAgain,
}

/// What the peer said last.
#[derive(Clone, Debug)]
struct Remote {
    discriminator: Option<Discriminator>,
    state: State,
    diagnostic: Diagnostic,
    desired_min_tx: Duration,
    required_min_rx: Duration,
    detect_mult: u8,
    demand: bool,
    control_plane_independent: bool,
}

#[derive(Debug, Default)]
struct Counters {
    received: u64,
    sent: u64,
    ups: u64,
    discarded: BTreeMap<&'static str, u64>,
}

impl Remote {
    fn unheard() -> Self {
        Self {
            discriminator: None,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            desired_min_tx: Duration::ZERO,
            required_min_rx: UNHEARD_MIN_RX,
            detect_mult: 0,
            demand: false,
            control_plane_independent: false,
        }
    }

    fn of(packet: &ControlPacket) -> Self {
        Self {
            discriminator: Some(packet.my_discriminator),
            state: packet.state,
            diagnostic: packet.diagnostic,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            detect_mult: packet.detect_mult,
            demand: packet.demand,
            control_plane_independent: packet.control_plane_independent,
        }
    }
}

impl Session {
    /// A session that is down, and sends at once unless it is passive.
    pub(crate) fn new(
        turn: &mut Turn<'_>,
        name: SessionName,
        config: SessionConfig,
        discriminator: Discriminator,
    ) -> Self {
        let required_min_rx = config.terms.required_min_rx;
        let mut session = Self {
            desired_min_tx: config.terms.desired_min_tx.max(SLOW),
            paced_min_tx: config.terms.desired_min_tx.max(SLOW),
            required_min_rx,
            detected_min_rx: required_min_rx,
            name,
            config,
            state: State::Down,
            since: turn.now,
            diagnostic: Diagnostic::NONE,
            discriminator,
            poll: Poll::None,
            remote: Remote::unheard(),
            transmit_at: None,
            prompted: false,
            heard_at: None,
            told: None,
            leaving: None,
            counters: Counters::default(),
        };
        session.transmit_soon(turn);
        session
    }

    /// Takes other terms; the peer is asked to adapt by a Poll Sequence, and the session stays as it is.
    pub(crate) fn adapt(&mut self, turn: &mut Turn<'_>, terms: Terms) {
        self.config.terms = terms;
        self.apply_terms(turn);
    }

    /// Waits for the peer, or does not.
    pub(crate) fn set_passive(&mut self, turn: &mut Turn<'_>, passive: bool) {
        self.config.passive = passive;
        self.transmit_soon(turn);
    }

    /// Is wanted no more: says AdminDown for as long as the peer would wait for a packet, so that it does not take this for a failure
    /// (RFC 5880, section 6.8.16).
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>) {
        if self.leaving.is_some() {
            return;
        }
        let pace = self.transmit_interval().unwrap_or(SLOW);
        let patience = pace * u32::from(self.config.terms.detect_mult);
        self.leaving = Some(turn.now + patience);
        self.state = State::AdminDown;
        self.desired_min_tx = self.desired_min_tx.max(SLOW);
        self.diagnostic = Diagnostic::ADMINISTRATIVELY_DOWN;
        self.since = turn.now;
        self.transmit_soon(turn);
    }

    /// Whether it has said its last word.
    pub(crate) fn is_gone(&self, now: Instant) -> bool {
        self.leaving.is_some_and(|until| until <= now)
    }

    pub(crate) fn name(&self) -> &SessionName {
        &self.name
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Counts a packet that is not heard. Returns whether it is the first for this reason.
    pub(crate) fn discard(&mut self, why: &Discard) -> bool {
        let count = self.counters.discarded.entry(why.name()).or_default();
        *count += 1;
        *count == 1
    }

    /// Hears a packet that is this session's: RFC 5880, section 6.8.6 from "Set bfd.RemoteDiscr" on.
    pub(crate) fn handle(&mut self, turn: &mut Turn<'_>, packet: &ControlPacket) {
        self.counters.received += 1;
        let before = std::mem::replace(&mut self.remote, Remote::of(packet));
        if packet.final_ {
            self.finish_poll();
        }
        match (self.state, packet.state) {
            (State::AdminDown, _) => return,
            (State::Down, State::AdminDown) => {
                if before.state != State::AdminDown {
                    turn.events.push_back(Event::SwitchedOff {
                        session: self.name.clone(),
                    });
                }
            }
            (State::Init | State::Up, State::AdminDown) => {
                self.fall(turn, DownReason::NeighborAdminDown);
            }
            (State::Down, State::Down) => self.enter(turn, State::Init),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(turn, State::Up);
            }
            (State::Up, State::Down) => {
                self.fall(turn, DownReason::NeighborSignaledDown(packet.diagnostic));
            }
            (State::Down, State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => {}
        }
        self.heard_at = Some(turn.now);
        if packet.poll {
            // At once, and whatever the pace (section 6.8.7).
            self.transmit(turn, true);
        }
        self.keep_pace(turn);
        self.tell_intervals(turn);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        if self.detect_at().is_some_and(|at| at <= turn.now) {
            let after = self.detection_time();
            self.heard_at = None;
            // Who is not heard has no discriminator (section 6.8.1), and what it said of its pace is not true for ever.
            let diagnostic = self.remote.diagnostic;
            let independent = self.remote.control_plane_independent;
            self.remote = Remote {
                diagnostic,
                control_plane_independent: independent,
                ..Remote::unheard()
            };
            if matches!(self.state, State::Init | State::Up) {
                self.fall(turn, DownReason::DetectionTimeExpired { after });
            }
        }
        if self.transmit_at.is_some_and(|at| at <= turn.now) {
            self.transmit_at = None;
            self.prompted = false;
            if self.may_transmit() {
                self.transmit(turn, false);
                self.schedule(turn);
            }
        }
    }

    /// The next moment at which something is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.transmit_at, self.detect_at(), self.leaving]
            .into_iter()
            .flatten()
            .min()
    }

    /// To Init or Up.
    fn enter(&mut self, turn: &mut Turn<'_>, state: State) {
        self.state = state;
        if state == State::Up {
            self.since = turn.now;
            self.diagnostic = Diagnostic::NONE;
            self.counters.ups += 1;
            turn.events.push_back(Event::Up {
                session: self.name.clone(),
            });
            self.apply_terms(turn);
        }
        self.prompt(turn);
    }

    /// From Init or Up to Down.
    fn fall(&mut self, turn: &mut Turn<'_>, reason: DownReason) {
        let was = std::mem::replace(&mut self.state, State::Down);
        self.diagnostic = match reason {
            DownReason::DetectionTimeExpired { .. } => Diagnostic::DETECTION_TIME_EXPIRED,
            DownReason::NeighborSignaledDown(_) | DownReason::NeighborAdminDown => {
                Diagnostic::NEIGHBOR_SIGNALED_DOWN
            }
        };
        if was == State::Up {
            turn.events.push_back(Event::Down {
                session: self.name.clone(),
                reason,
                after: turn.now.saturating_duration_since(self.since),
                control_plane_independent: self.remote.control_plane_independent,
            });
            self.since = turn.now;
            self.told = None;
        }
        self.apply_terms(turn);
        self.prompt(turn);
    }

    /// Whether periodic packets are to be sent at all (section 6.8.7).
    fn may_transmit(&self) -> bool {
        let waits = self.config.passive && self.remote.discriminator.is_none();
        let unwanted = self.remote.required_min_rx.is_zero();
        let demanded = self.remote.demand
            && self.state == State::Up
            && self.remote.state == State::Up
            && self.poll == Poll::None;
        !(waits || unwanted || demanded)
    }

    fn transmit(&mut self, turn: &mut Turn<'_>, answers_poll: bool) {
        let packet = ControlPacket {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.poll != Poll::None && !answers_poll,
            final_: answers_poll,
            control_plane_independent: false,
            demand: false,
            detect_mult: self.config.terms.detect_mult,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: Duration::ZERO,
            authentication: None,
        };
        self.counters.sent += 1;
        turn.transmits.push_back(Transmit {
            session: self.name.clone(),
            peer: self.config.peer,
            local: self.config.local,
            interface: self.config.interface.clone(),
            hops: self.config.hops,
            payload: packet.emit(),
        });
    }

    /// What there is to see.
    pub(crate) fn view(&self, now: Instant) -> view::Session {
        view::Session {
            name: self.name.clone(),
            peer: self.config.peer,
            hops: self.config.hops,
            state: self.state,
            remote_state: self.remote.state,
            diagnostic: self.diagnostic,
            remote_diagnostic: self.remote.diagnostic,
            discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            transmit_interval: self
                .transmit_interval()
                .filter(|_| self.transmit_at.is_some()),
            detection_time: self.detection_time(),
            remote_detect_mult: self.remote.detect_mult,
            remote_control_plane_independent: self.remote.control_plane_independent,
            since: now.saturating_duration_since(self.since),
            ups: self.counters.ups,
            received: self.counters.received,
            sent: self.counters.sent,
            discarded: self.counters.discarded.clone(),
        }
    }
}
