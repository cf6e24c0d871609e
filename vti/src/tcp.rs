//! TCP socket options that routing protocols want and no library offers.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::sys::sockopt;

/// `TCP_RTO_MAX_MS` of linux/tcp.h (Linux 6.15 and later).
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// `TCP_THIN_LINEAR_TIMEOUTS` of linux/tcp.h.
const TCP_THIN_LINEAR_TIMEOUTS: libc::c_int = 16;

/// Keeps the pause between retransmissions short, so that a session that slept through a tunnel's outage goes on within a moment of
/// its end instead of after a minute of back-off. At least 1 s, the kernel's lower bound.
///
/// # Errors
/// The kernel is older than Linux 6.15 and knows no upper bound; then the first six pauses are linear instead.
pub fn limit_retransmission_pause(socket: impl AsFd, pause: Duration) -> io::Result<()> {
    let fd = socket.as_fd();
    let milliseconds =
        libc::c_int::try_from(pause.as_millis().max(1000)).unwrap_or(libc::c_int::MAX);
    sockopt::set(fd, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, milliseconds).or_else(|error| {
        sockopt::set(fd, libc::IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1)?;
        Err(error)
    })
}
