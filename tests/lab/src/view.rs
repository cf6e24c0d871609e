//! A view of the file system for one program: an empty `/run`, and a `/sys` that shows its own network namespace.

use std::fs::File;
use std::io::Result;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Does something in a new view, in which each of `files` is what another path names: `("/tmp/x", "/etc/group")`. What is started meanwhile
/// keeps the view; the calling thread, which has to be of a network namespace of its own, gets its old one back.
///
/// The thread makes the view by itself: `mount` and `unshare` as programs cost an emulated machine a second for each daemon.
pub(crate) fn within<T>(files: &[(PathBuf, PathBuf)], job: impl FnOnce() -> T) -> Result<T> {
    let before = File::open("/proc/thread-self/ns/mnt")?;
    let folder = std::env::current_dir()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let done = arrange(files).map(|()| job());
    setns(before, CloneFlags::CLONE_NEWNS)?;
    // Entering a view leads to its root.
    std::env::set_current_dir(folder)?;
    done
}

fn arrange(files: &[(PathBuf, PathBuf)]) -> Result<()> {
    const NOTHING: Option<&str> = None;
    // What is mounted here stays here.
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    )?;
    mount(
        Some("run"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        NOTHING,
    )?;
    mount(
        Some("sys"),
        "/sys",
        Some("sysfs"),
        MsFlags::empty(),
        NOTHING,
    )?;
    for (file, instead_of) in files {
        mount(Some(file), instead_of, NOTHING, MsFlags::MS_BIND, NOTHING)?;
    }
    Ok(())
}
