//! The plane's threads: starting, waking, waiting until they have seen a change, and ending them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc;

use crate::plane::{Error, PlaneEvent};

/// Enough for the arrays of one batch, with a wide margin; the default of 2 MiB would count against
/// small machines.
const STACK_SIZE: usize = 256 << 10;

/// A thread that is stuck longer than this, in a system call that should not block, is not waited
/// for.
const SYNCHRONIZE_TIMEOUT: Duration = Duration::from_secs(2);

/// A thread's side: what wakes it, and how it says that it has looked.
#[derive(Debug)]
pub(crate) struct Worker {
    wake: EventFd,
    stop: AtomicBool,
    /// How often it was asked to look.
    asked: AtomicU64,
    /// How often it had been asked when it looked last. `u64::MAX` when it has ended.
    looked: Mutex<u64>,
    changed: Condvar,
}

impl Worker {
    fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            wake: EventFd::from_value_and_flags(0, flags)?,
            stop: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            looked: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    /// Whether the thread has to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// To be called when the thread is awake, with a function that lets go of what the published
    /// state no longer has.
    pub(crate) fn look(&self, refresh: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let asked = self.asked.load(Ordering::Acquire);
        // Empty already if the thread was awake for another reason.
        let _ = self.wake.read();
        refresh()?;
        self.has_looked(asked);
        Ok(())
    }

    /// Sleeps until the thread is asked to look, or a moment.
    fn pause(&self) {
        let mut wake = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut wake, PollTimeout::from(100u8));
        let _ = self.wake.read();
    }

    fn has_looked(&self, asked: u64) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if *looked != asked {
            *looked = asked;
            self.changed.notify_all();
        }
    }

    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Release);
        // It can only fail when the counter is full, and then the thread is being woken.
        let _ = self.wake.write(1);
    }

    fn wait_until_looked(&self) {
        let asked = self.asked.load(Ordering::Acquire);
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self
            .changed
            .wait_timeout_while(looked, SYNCHRONIZE_TIMEOUT, |looked| *looked < asked);
        if matches!(result, Ok((_, timeout)) if timeout.timed_out()) {
            tracing::warn!("a thread of the data plane does not answer");
        }
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// All threads of a plane. Dropping this ends them and waits for them.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    threads: Vec<(Arc<Worker>, JoinHandle<()>)>,
}

impl Workers {
    /// Starts a thread, which runs until it is stopped or fails.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        events: mpsc::Sender<PlaneEvent>,
        run: impl FnOnce(&Worker) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let system = |cause| Error::System {
            action: "start a thread of the data plane",
            cause,
        };
        let worker = Arc::new(Worker::new().map_err(system)?);
        let own = Arc::clone(&worker);
        let body = move || {
            let mut ended = Ended {
                worker: &own,
                events,
                name,
                cause: None,
            };
            ended.cause = run(&own).err();
        };
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_SIZE)
            .spawn(body)
            .map_err(system)?;
        self.threads.push((worker, handle));
        Ok(())
    }

    /// Lets all threads look at the published state.
    pub(crate) fn wake(&self) {
        for (worker, _) in &self.threads {
            worker.ask();
        }
    }

    /// Waits until all threads have looked, so that nothing uses what was replaced before.
    pub(crate) fn synchronize(&self) {
        self.wake();
        for (worker, _) in &self.threads {
            worker.wait_until_looked();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (worker, _) in &self.threads {
            worker.stop.store(true, Ordering::Release);
        }
        self.wake();
        for (_, handle) in self.threads.drain(..) {
            // A thread that has panicked has said so already.
            let _ = handle.join();
        }
    }
}

/// Says when a thread ends, however it does: that it holds nothing any more, and if it was not
/// asked to end, why it did.
struct Ended<'a> {
    worker: &'a Worker,
    events: mpsc::Sender<PlaneEvent>,
    name: &'static str,
    cause: Option<io::Error>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.worker.has_looked(u64::MAX);
        let name = self.name;
        let reason = match &self.cause {
            Some(cause) => format!("thread {name}: {cause}"),
            None if std::thread::panicking() => format!("thread {name} has panicked"),
            None => return,
        };
        tracing::error!(reason, "the data plane has failed");
        // There is nothing else to do, so it waits for room in the channel; but not for ever, since
        // nobody may be reading.
        let mut event = PlaneEvent::Failed { reason };
        while !self.worker.stopped() {
            match self.events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(back)) => event = back,
                _ => return,
            }
            self.worker.pause();
        }
    }
}
