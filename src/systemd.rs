//! What systemd is told; nothing where there is no systemd.

use sd_notify::NotifyState;

/// The gateway works: also after a reload.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("running")]);
}

/// The site file is being read again.
pub(crate) fn reloading() {
    let states = match NotifyState::monotonic_usec_now() {
        Ok(now) => vec![NotifyState::Reloading, now],
        Err(_) => vec![NotifyState::Reloading],
    };
    notify(&states);
}

/// The end has begun.
pub(crate) fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("taking leave of the peers"),
    ]);
}

/// The loop turns.
pub(crate) fn watchdog() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is no socket and nothing is sent; that is no failure.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
