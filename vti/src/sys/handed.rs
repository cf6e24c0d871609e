//! Descriptors that the service manager hands to a process at its start (`sd_listen_fds(3)`).
#![expect(
    unsafe_code,
    reason = "a descriptor that comes as a number has no owner yet"
)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// All of them, each with its name: at the first call, and none at another. None where there is no service manager.
///
/// # Errors
/// What the service manager says of them cannot be understood, or there are fewer than it says.
pub(crate) fn take() -> io::Result<Vec<(String, OwnedFd)>> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let numbers = sd_notify::listen_fds_with_names()?;
    Ok(numbers
        .map(|(number, name)| {
            // SAFETY: the service manager left the number open for this very process (`LISTEN_PID`) to own, it has just been
            // found open, and no other call gives it to anybody.
            let owned = unsafe { OwnedFd::from_raw_fd(number) };
            (name, owned)
        })
        .collect())
}
