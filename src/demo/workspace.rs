//! The demo's folder, which is also the sign that it lives: a folder that nobody has locked belongs to a demo that was killed,
//! and its remains are swept at the next start.
//!
//! The lock is on the folder itself and the kernel takes it away with the process, so a process id that is used again fools
//! nobody. A folder is locked before it gets its name, and it is the first thing that a demo makes and the last that it removes.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::umount;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vti::netns::NetNs;

use super::problem::Problem;

/// Where demos have their folders: in memory, for root, gone after a reboot as namespaces are.
const RUN: &str = "/run";
const FOLDER: &str = "causeway-demo-";
const NAMESPACE: &str = "cwdemo-";
/// Where the names of namespaces are: a mount, which the first one to need it makes.
const NAMES: &str = "/run/netns";

/// How long a killed daemon may take to go.
const DEATH: Duration = Duration::from_secs(2);

/// The folder of one demo. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: PathBuf,
    prefix: String,
    made_names: bool,
    _lock: File,
}

impl Workspace {
    /// A new folder, which only its owner may enter.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn create() -> Result<Self, Problem> {
        let number = std::process::id();
        let unborn = Path::new(RUN).join(format!(".{FOLDER}{number}"));
        let dir = Path::new(RUN).join(format!("{FOLDER}{number}"));
        let failed = |doing: &str| Problem::system(format!("{doing} {}", dir.display()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&unborn)
            .map_err(failed("make"))?;
        let lock = File::open(&unborn).map_err(failed("open"))?;
        lock.try_lock()
            .map_err(io::Error::from)
            .map_err(failed("lock"))?;
        fs::rename(&unborn, &dir).map_err(failed("name"))?;
        Ok(Self {
            dir,
            prefix: format!("{NAMESPACE}{number}-"),
            made_names: !Path::new(NAMES).exists(),
            _lock: lock,
        })
    }

    /// What the names of this demo's namespaces begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A folder in it, made if there is none.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Problem> {
        let folder = self.dir.join(name);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made.map_err(Problem::system(format!("make {}", folder.display())))?;
        Ok(folder)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.dir.display(), %error, "folder not removed");
        }
        if self.made_names && NetNs::names("").is_empty() {
            // Refused where somebody has made a namespace just now, which is right.
            let _ = umount(NAMES).map(|()| fs::remove_dir(NAMES));
        }
    }
}

/// Removes what demos left behind that were killed: processes, namespaces, folders. Returns how many demos that were.
///
/// # Errors
/// Something can't be removed.
pub(super) fn sweep() -> Result<usize, Problem> {
    let mut swept = 0;
    for (number, dir) in folders()? {
        let Ok(lock) = File::open(&dir) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        end_daemons(&dir);
        delete_namespaces(&format!("{NAMESPACE}{number}-"))?;
        fs::remove_dir_all(&dir).map_err(Problem::system(format!("remove {}", dir.display())))?;
        swept += 1;
    }
    // Somebody may have removed a folder by hand.
    for name in NetNs::names(NAMESPACE) {
        let number = name
            .trim_start_matches(NAMESPACE)
            .split('-')
            .next()
            .unwrap_or_default();
        if !Path::new(RUN).join(format!("{FOLDER}{number}")).exists() {
            NetNs::delete(&name)?;
        }
    }
    Ok(swept)
}

/// The folders of all demos, with their numbers.
fn folders() -> Result<Vec<(u32, PathBuf)>, Problem> {
    let entries = fs::read_dir(RUN).map_err(Problem::system(format!("read {RUN}")))?;
    let numbered = entries.flatten().filter_map(|entry| {
        let number = entry
            .file_name()
            .to_str()?
            .strip_prefix(FOLDER)?
            .parse()
            .ok()?;
        Some((number, entry.path()))
    });
    Ok(numbered.collect())
}

fn delete_namespaces(prefix: &str) -> Result<(), Problem> {
    for name in NetNs::names(prefix) {
        NetNs::delete(&name)?;
    }
    Ok(())
}

/// Ends the daemons whose site file is in that folder, and waits until they are gone.
fn end_daemons(dir: &Path) {
    for pid in daemons(dir) {
        // It may have ended by itself since.
        let _ = kill(pid, Signal::SIGKILL);
    }
    let start = Instant::now();
    while !daemons(dir).is_empty() && start.elapsed() < DEATH {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that run with a site file in that folder: `causeway run --config DIR/…`.
pub(super) fn daemons(dir: &Path) -> Vec<Pid> {
    let inside = format!("{}/", dir.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let mut words = line.split(|octet| *octet == 0);
        let is_run = words.nth(1) == Some(b"run");
        (is_run && words.any(|word| word.starts_with(inside.as_bytes())))
            .then(|| Pid::from_raw(pid))
    });
    found.collect()
}
