//! What systemd is told, and what it keeps for us; nothing where there is no systemd.

use std::os::fd::{AsFd as _, BorrowedFd};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::NotifyState;
use tracing::info;
use vti::kept::{self, KeptPort};
use vti::plane::PlaneKind;
use vti::user::UserPlaneConfig;

/// How long systemd may take to let go of what it has kept, in milliseconds.
const LETTING_GO: u16 = 5_000;

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

/// The NAT traversal port of a run before this one, where this run's plane has a use for it. Else systemd has let go of it when this
/// returns, so that the port is free.
pub(crate) fn kept(kind: PlaneKind, ports: &UserPlaneConfig) -> Option<KeptPort> {
    match (KeptPort::handed_over(ports), kind) {
        (Ok(None), _) => return None,
        (Ok(Some(port)), PlaneKind::Kernel) => {
            info!("systemd has kept the port of NAT traversal open for the kernel");
            return Some(port);
        }
        (Ok(Some(_)), PlaneKind::Userspace) => {}
        (Err(why), _) => info!("what systemd has kept is of no use: {why}"),
    }
    let_go();
    None
}

/// Has systemd keep a socket open for the next run, whatever becomes of this one.
pub(crate) fn keep(port: BorrowedFd<'_>) {
    let states = [
        NotifyState::FdStore,
        NotifyState::FdName(kept::NAME),
        // An error on the socket, such as an ICMP message leaves there, is no reason to close it.
        NotifyState::Custom("FDPOLL=0"),
    ];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[port]) {
        tracing::debug!(%error, "systemd does not keep the port of NAT traversal");
    }
}

/// Has systemd close what it keeps, and waits until it has.
fn let_go() {
    let told = || -> std::io::Result<()> {
        sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(kept::NAME)])?;
        // It closes the end of a pipe when it has read all that came before (`sd_notify_barrier(3)`).
        let (wait, end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[end.as_fd()])?;
        drop(end);
        let mut ends = [PollFd::new(wait.as_fd(), PollFlags::empty())];
        poll(&mut ends, PollTimeout::from(LETTING_GO))?;
        Ok(())
    };
    if let Err(error) = told() {
        tracing::debug!(%error, "systemd was not told to let go of the port of NAT traversal");
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is no socket and nothing is sent; that is no failure.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
