//! The demo's daemons: our own program, started in a namespace, asked over its control socket, ended for certain.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vti::netns::NetNs;

use super::problem::Problem;
use super::site;
use super::status::{Neighbor, Status};
use super::topology::Place;
use crate::cli::client;

/// How long a daemon may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Daemon {
    place: Place,
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon of a place; its site file is in `dir` already.
    ///
    /// # Errors
    /// Its log can't be made, or it can't be started.
    pub(super) fn start(place: Place, namespace: &NetNs, dir: &Path) -> Result<Self, Problem> {
        let log = dir.join("log");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(Problem::system(format!("write {}", log.display())))?;
        // The running program itself, also if its file has been replaced since. Not in our process group, so that Ctrl-C is ours alone.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("causeway")
            .args(["run", "--config"])
            .arg(dir.join("site.toml"))
            .current_dir("/")
            .env_clear()
            .envs(std::env::var_os("CAUSEWAY_LOG").map(|filter| ("CAUSEWAY_LOG", filter)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0);
        let child = namespace.spawn(&mut command)?;
        Ok(Self {
            place,
            child,
            socket: site::socket(dir),
            log,
        })
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer, or not as we understand.
    pub(super) fn status(&self) -> Result<Status, Problem> {
        self.ask("/v1/status")
    }

    /// One neighbor, with the prefixes that it sent and was told.
    ///
    /// # Errors
    /// It does not answer, or has no such neighbor.
    pub(super) fn neighbor(&self, name: &str) -> Result<Neighbor, Problem> {
        self.ask(&format!("/v1/bgp/neighbors/{name}"))
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let failed = |reason: String| Problem::Daemon {
            daemon: self.place.name(),
            reason,
        };
        let answer =
            client::get(&self.socket, path).map_err(|failure| failed(failure.to_string()))?;
        serde_json::from_value(answer)
            .map_err(|error| failed(format!("{path} is not as expected: {error}")))
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The memory that it has in RAM, in octets; `None` once it is gone.
    pub(super) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// The end of its log, and what ended it if it has ended.
    pub(super) fn last_words(&self, lines: usize) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all.iter()
            .skip(all.len().saturating_sub(lines))
            .map(|line| (*line).to_owned())
            .collect()
    }

    /// How it ended, if it has.
    pub(super) fn end(&mut self) -> Option<String> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.to_string())
    }

    /// Asks it to stop, without waiting.
    pub(super) fn ask_to_stop(&self) {
        // It may have ended by itself.
        let _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// Waits until it has stopped by itself. `false` if it had to be killed.
    pub(super) fn stopped(mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < GOODBYE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) => return true,
                Err(_) => return false,
            }
        }
        false
    }

    /// Kills it without a word to anybody (SIGKILL).
    pub(super) fn kill(self) {
        drop(self);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prefixes of a list, for comparing and for showing.
pub(super) fn prefixes<'a>(
    routes: impl IntoIterator<Item = &'a super::status::Route>,
) -> BTreeSet<IpNet> {
    routes.into_iter().map(|route| route.prefix).collect()
}
