//! The slow arithmetic of IKE, on threads of its own: a handshake with a large Diffie-Hellman group takes tens of milliseconds,
//! and the loop has other peers to answer meanwhile.
//!
//! Threads are started with the first job. How many jobs there may be is the endpoint's decision
//! ([`ike::EndpointConfig::job_limit`]), so the queue needs no bound of its own.

use std::sync::mpsc::{self as jobs, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use ike::{Job, Outcome};
use tokio::sync::mpsc;
use tracing::error;

/// Jobs that may be outside at a time: with the largest groups, seconds of work. What comes beyond is repeated by its peer.
pub(crate) const LIMIT: usize = 64;

/// Threads at most: the processors belong to the packets.
const MOST_THREADS: usize = 4;

/// The threads, once there are some.
pub(crate) struct Arithmetic {
    told: mpsc::Sender<Outcome>,
    threads: Option<jobs::Sender<Job>>,
}

impl Arithmetic {
    /// None yet. Outcomes come to the receiver, in any order.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Outcome>) {
        let (told, outcomes) = mpsc::channel(LIMIT);
        let threads = None;
        (Self { told, threads }, outcomes)
    }

    /// Has a job run. Where no thread can be started it is lost, and its peer tries again.
    pub(crate) fn run(&mut self, job: Job) {
        let threads = self.threads.get_or_insert_with(|| start(&self.told));
        if threads.send(job).is_err() {
            // The next one tries to start threads again.
            self.threads = None;
        }
    }
}

/// Starts as many threads as leave one processor to the others, and one at least.
fn start(told: &mpsc::Sender<Outcome>) -> jobs::Sender<Job> {
    let (sender, queue) = jobs::channel();
    let queue = Arc::new(Mutex::new(queue));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    for number in 0..processors.saturating_sub(1).clamp(1, MOST_THREADS) {
        let (queue, told) = (Arc::clone(&queue), told.clone());
        let thread = thread::Builder::new()
            .name(format!("arithmetic-{number}"))
            .spawn(move || work(&queue, &told));
        if let Err(error) = thread {
            error!("no thread for the arithmetic of IKE can be started: {error}");
        }
    }
    sender
}

/// Runs jobs until there is nobody left who has some or wants their outcome.
fn work(queue: &Mutex<Receiver<Job>>, told: &mpsc::Sender<Outcome>) {
    let next = || queue.lock().ok().and_then(|queue| queue.recv().ok());
    while let Some(job) = next() {
        if told.blocking_send(job.run()).is_err() {
            return;
        }
    }
}
