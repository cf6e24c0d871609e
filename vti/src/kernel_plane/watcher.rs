//! The thread that hears what the kernel says, and looks at what it does not say.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Shared;
use super::watch::{AUDIT, FIRST_LOOK, SLOWEST_LOOK};
use crate::user::sockets::path_mtu;
use crate::user::worker::Worker;
use crate::xfrm::Listener;

/// How often the kernel is asked what the ways to the peers carry.
const PATHS: Duration = Duration::from_secs(5);

/// How soon the daemon's full queue is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(50);

pub(super) struct Watcher {
    listener: Listener,
    shared: Arc<Shared>,
    next_look: Duration,
    paths_due: Instant,
    audit_due: Instant,
}

impl Watcher {
    pub(super) fn new(listener: Listener, shared: &Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            listener,
            shared: Arc::clone(shared),
            next_look: FIRST_LOOK,
            paths_due: now + PATHS,
            audit_due: now + AUDIT,
        }
    }

    pub(super) fn run(&mut self, worker: &Worker) -> io::Result<()> {
        let mut pause = PATHS;
        while !worker.stopped() {
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut polled = [readable(worker.as_fd()), readable(self.listener.as_fd())];
            let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
            match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let [wake, _] = polled.each_ref().map(|fd| fd.any() == Some(true));
            if wake {
                // An SA may have been added: its first packet is to be seen soon.
                self.next_look = FIRST_LOOK;
                worker.look(|| Ok(()))?;
            }
            if worker.stopped() {
                break;
            }
            pause = self.turn(Instant::now())?;
        }
        Ok(())
    }

    /// One look at everything. Returns when the next one is due.
    fn turn(&mut self, now: Instant) -> io::Result<Duration> {
        let shared = Arc::clone(&self.shared);
        // Under the lock, so that what a call of the daemon's causes is not heard before it is known.
        let mut core = shared.core();
        let heard = self
            .listener
            .hear()
            .map_err(|refusal| io::Error::from_raw_os_error(refusal.errno as i32))?;
        let mut outcome = core.hear(heard);
        if now >= self.audit_due {
            self.audit_due = now + AUDIT;
            outcome = outcome.and(core.audit());
        }
        if let Err(reason) = outcome {
            // Again soon, rather than in a minute.
            tracing::warn!("{reason}");
            self.audit_due = now + SLOWEST_LOOK;
        }
        let waiting = core.look(now);
        let full = shared.say(&mut core);
        let ways = (now >= self.paths_due).then(|| core.ways());
        drop(core);
        if let Some(ways) = ways {
            self.paths_due = now + PATHS;
            self.ask_paths(&ways);
        }

        let mut pause = self
            .paths_due
            .min(self.audit_due)
            .saturating_duration_since(now);
        if waiting {
            pause = pause.min(self.next_look);
            self.next_look = (self.next_look * 2).min(SLOWEST_LOOK);
        }
        if full {
            pause = pause.min(QUEUE_FULL);
        }
        Ok(pause.max(Duration::from_millis(1)))
    }

    fn ask_paths(&self, ways: &[(crate::plane::TunnelId, std::net::IpAddr, std::net::IpAddr)]) {
        for &(tunnel, local, remote) in ways {
            // Without a route there is nothing to learn.
            if let Ok(mtu) = path_mtu(local, remote) {
                let mut core = self.shared.core();
                core.learn_path_mtu(tunnel, mtu);
                self.shared.say(&mut core);
            }
        }
    }
}
