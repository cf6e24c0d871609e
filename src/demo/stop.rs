//! Ending early: whoever waits, waits here, so that Ctrl-C is heard at any time.
//!
//! A signal only sets a flag; the tour sees it at its next pause and takes down what it has built, in the same way as at
//! its end. Signals are caught by a handler and not blocked, because a blocked signal would stay blocked in the daemons.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::problem::Problem;

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the tour has to end. Clones are one and the same.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Listens for SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// The thread or the handlers can't be set up.
    pub(super) fn on_signals() -> Result<Self, Problem> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Problem::system("start a runtime for signals"))?;
        let [mut interrupt, mut terminate, mut hangup] = {
            let _inside = runtime.enter();
            let on = |kind| signal(kind).map_err(Problem::system("listen for signals"));
            [
                on(SignalKind::interrupt())?,
                on(SignalKind::terminate())?,
                on(SignalKind::hangup())?,
            ]
        };
        let heard = stop.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            _ = interrupt.recv() => heard.ask(),
                            _ = terminate.recv() => heard.ask(),
                            _ = hangup.recv() => heard.ask(),
                        }
                    }
                });
            })
            .map_err(Problem::system("start a thread for signals"))?;
        Ok(stop)
    }

    /// Asks for the end.
    pub(super) fn ask(&self) {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Whether the end was asked for.
    pub(super) fn is_asked(&self) -> bool {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Problem::Interrupted`] once the end was asked for.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.is_asked() {
            Err(Problem::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Waits for that long, or until the end is asked for.
    pub(super) fn pause(&self, span: Duration) -> Result<(), Problem> {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .changed
            .wait_timeout_while(asked, span, |asked| !*asked);
        let (asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *asked {
            Err(Problem::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Waits until the end is asked for.
    pub(super) fn wait(&self) {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.changed.wait_while(asked, |asked| !*asked));
    }

    /// Looks again and again until there is a result. `look` says in words what is missing as long as there is none; `tell`
    /// hears it.
    ///
    /// # Errors
    /// [`Problem::Late`] after `limit`, [`Problem::Interrupted`], or what `look` cannot do at all.
    pub(super) fn until<T>(
        &self,
        what: &'static str,
        limit: Duration,
        tell: impl Fn(&str),
        mut look: impl FnMut() -> Result<Result<T, String>, Problem>,
    ) -> Result<T, Problem> {
        let start = Instant::now();
        loop {
            let last = match look()? {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            if start.elapsed() >= limit {
                return Err(Problem::Late {
                    what,
                    waited: limit,
                    last,
                });
            }
            tell(&last);
            self.pause(LOOK)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_the_end_is_asked_for() {
        let stop = Stop::default();
        assert!(stop.pause(Duration::ZERO).is_ok());
        let asker = stop.clone();
        let thread = std::thread::spawn(move || asker.ask());
        stop.wait();
        assert!(matches!(
            stop.pause(Duration::from_secs(600)),
            Err(Problem::Interrupted)
        ));
        thread.join().unwrap();
    }

    #[test]
    fn waiting_says_what_was_missing_last() {
        let stop = Stop::default();
        let late = stop.until::<()>(
            "a miracle",
            Duration::ZERO,
            |_| {},
            || Ok(Err("nothing happens".into())),
        );
        assert_eq!(
            late.unwrap_err().to_string(),
            "a miracle: not within 0 s; nothing happens"
        );
        let mut looks = 0;
        let found = stop.until(
            "the third look",
            Duration::from_secs(60),
            |_| {},
            || {
                looks += 1;
                Ok(if looks == 3 {
                    Ok(looks)
                } else {
                    Err("not yet".into())
                })
            },
        );
        assert_eq!(found.unwrap(), 3);
    }
}
