//! What waits to be polled, and what a call has at hand.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;

use crate::event::{Action, ConnId, Event};

/// How many events wait at most; beyond that they are counted.
const MAX_EVENTS: usize = 4096;

/// Effects and events in order, and the source of chance and of connections' names.
#[derive(Debug)]
pub(crate) struct Outbox {
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    lost: u64,
    next_conn: u64,
    rng: StdRng,
}

impl Outbox {
    pub(crate) fn new(rng: StdRng) -> Self {
        Self {
            actions: VecDeque::new(),
            events: VecDeque::new(),
            lost: 0,
            next_conn: 1,
            rng,
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.lost += 1;
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events
            .pop_front()
            .or_else(|| match std::mem::take(&mut self.lost) {
                0 => None,
                count => Some(Event::EventsLost { count }),
            })
    }

    pub(crate) fn next_conn(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        conn
    }

    /// A moment between three quarters and the whole of `span` from now (RFC 4271, section 10).
    pub(crate) fn jittered(&mut self, now: Instant, span: Duration) -> Instant {
        now + span.mul_f64(self.rng.random_range(0.75..=1.0))
    }
}
