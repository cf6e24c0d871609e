//! Our own daemon as one side of the bench.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, Program};
use crate::netns::{Finished, Ns};
use crate::wait::{OrFail, eventually_true};

/// How long the daemon may take until it answers on its control socket.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What to launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program: `env!("CARGO_BIN_EXE_causeway")`.
    pub binary: PathBuf,
    /// The site file's text. `{dir}` in it becomes the folder of the secrets.
    pub site: String,
    /// Secret files by name, written with mode 0600 into that folder.
    pub secrets: Vec<(String, String)>,
    /// What it sees in place of files of the machine: each path with its text. The copy is beside the secrets, by its last name.
    pub files: Vec<(String, String)>,
}

impl Launch {
    /// A launch of `binary` with a site file and no secrets yet.
    #[must_use]
    pub fn new(binary: &str, site: &str) -> Self {
        Self {
            binary: PathBuf::from(binary),
            site: site.to_owned(),
            secrets: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The same, with a text in place of a file of the machine's, such as `/etc/hosts`.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// The same, with one more secret file.
    #[must_use]
    pub fn secret(mut self, name: &str, text: &str) -> Self {
        self.secrets.push((name.to_owned(), text.to_owned()));
        self
    }
}

/// A running `causeway run`.
#[derive(Debug)]
pub struct Gateway {
    daemon: Daemon,
    dir: PathBuf,
    binary: PathBuf,
    launched: Instant,
}

impl Gateway {
    /// Writes the site file and its secrets, and starts the daemon in a namespace. Does not wait for it: see
    /// [`Gateway::start`].
    #[track_caller]
    #[must_use]
    pub fn launch(ns: &Ns, launch: &Launch) -> Self {
        let dir = ns.dir().join("causeway");
        std::fs::create_dir_all(&dir).or_fail("create a folder for the daemon");
        for (name, text) in &launch.secrets {
            write_secret(&dir.join(name), text);
        }
        let config = dir.join("site.toml");
        std::fs::write(&config, place(&launch.site, &dir)).or_fail("write the site file");
        let binary = launch.binary.display().to_string();
        let (config, socket) = (config.display().to_string(), socket(&dir));
        let argv = [
            binary.as_str(),
            "run",
            "--config",
            &config,
            "--socket",
            &socket,
        ];
        let mut program = Program::new(&argv);
        for (path, text) in &launch.files {
            let copy = dir.join(Path::new(path).file_name().unwrap_or_default());
            std::fs::write(&copy, text).or_fail(format_args!("write {}", copy.display()));
            program = program.file(&copy, path);
        }
        let program = program
            .own_run()
            .env("RUST_BACKTRACE", "1")
            .env("NO_COLOR", "1");
        Self {
            launched: Instant::now(),
            daemon: Daemon::start(ns, "causeway", program),
            dir,
            binary: launch.binary.clone(),
        }
    }

    /// Starts the daemon and waits until it answers on its control socket.
    ///
    /// # Panics
    /// When it ends, or does not answer within 10 s: the message carries what it printed.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, launch: &Launch) -> Self {
        let mut gateway = Self::launch(ns, launch);
        gateway.wait_for_answer();
        gateway
    }

    #[track_caller]
    fn wait_for_answer(&mut self) {
        eventually_true(
            START_LIMIT,
            "the daemon answers on its control socket",
            || {
                if let Some(status) = self.daemon.ended() {
                    panic!("the daemon has ended with {status}:\n{}", self.daemon.log());
                }
                self.command(&["status", "--json"]).ok()
            },
        );
    }

    /// Runs one of the CLI's commands against this daemon.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Finished {
        let (binary, socket) = (self.binary.display().to_string(), socket(&self.dir));
        let mut argv = vec![binary.as_str()];
        argv.extend(words);
        argv.extend(["--socket", &socket]);
        self.daemon.ns().try_exec(&argv)
    }

    /// What `causeway status --json` says.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Value {
        let finished = self.command(&["status", "--json"]);
        assert!(finished.ok(), "causeway status: {}", finished.stderr);
        serde_json::from_str(&finished.stdout)
            .or_fail(format_args!("read the status: {}", finished.stdout))
    }

    /// One tunnel of the status; `null` when there is none of this name.
    #[track_caller]
    #[must_use]
    pub fn tunnel(&self, name: &str) -> Value {
        member(&self.status()["tunnels"], "name", name)
    }

    /// One neighbor of the status by its address; `null` when there is none.
    #[track_caller]
    #[must_use]
    pub fn neighbor(&self, address: &str) -> Value {
        member(&self.status()["bgp"]["neighbors"], "address", address)
    }

    /// What the status says that somebody may have to act upon, one after the other.
    #[track_caller]
    #[must_use]
    pub fn problems(&self) -> String {
        let status = self.status();
        let problems = status["problems"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        problems
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Waits until the tunnels of these names are up, and gives the time since the launch.
    #[track_caller]
    pub fn wait_for_tunnels(&self, names: &[&str], limit: Duration) -> Duration {
        eventually_true(limit, format_args!("tunnels {names:?} are up"), || {
            let status = self.status();
            names
                .iter()
                .all(|name| member(&status["tunnels"], "name", name)["state"] == "up")
        });
        self.launched.elapsed()
    }

    /// Waits until the sessions with these neighbors are Established, and gives the time since the launch.
    #[track_caller]
    pub fn wait_for_bgp(&self, addresses: &[&str], limit: Duration) -> Duration {
        eventually_true(
            limit,
            format_args!("BGP with {addresses:?} is Established"),
            || {
                let neighbors = &self.status()["bgp"]["neighbors"];
                let up = |address: &&str| {
                    member(neighbors, "address", address)["state"] == "Established"
                };
                addresses.iter().all(up)
            },
        );
        self.launched.elapsed()
    }

    /// Replaces the site file and asks the daemon to read it again (SIGHUP).
    #[track_caller]
    pub fn reload(&self, site: &str) {
        let config = self.dir.join("site.toml");
        std::fs::write(config, place(site, &self.dir)).or_fail("write the site file");
        self.daemon.signal(Signal::SIGHUP);
    }

    /// Ends the daemon without a word to anyone (SIGKILL).
    pub fn kill9(&mut self) {
        self.daemon.kill();
    }

    /// Starts the daemon again after [`Gateway::kill9`] or [`Gateway::stop`], and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.spawn_again();
        self.wait_for_answer();
    }

    /// As [`Gateway::restart`], without waiting.
    #[track_caller]
    pub fn spawn_again(&mut self) {
        self.launched = Instant::now();
        self.daemon.restart();
    }

    /// Its exit status, when it has ended by itself.
    #[track_caller]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.ended()
    }

    /// Asks the daemon to end (SIGTERM) and gives its exit status.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.daemon.stop()
    }

    /// Has the daemon leave everything to its successor (SIGUSR2, as the unit does for a restart), and gives its exit status.
    #[track_caller]
    pub fn hand_over(&mut self) -> ExitStatus {
        self.daemon.end_by(Signal::SIGUSR2)
    }

    /// All that it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The folder of its site file and secrets.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Gateway {
    /// When the test fails: what the daemon itself says about it, as far as it still can.
    fn drop(&mut self) {
        if std::thread::panicking() && self.daemon.pid().is_some() {
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.command(&["status"])
            }));
            if let Ok(status) = asked {
                eprintln!("--- causeway status\n{}{}", status.stdout, status.stderr);
            }
        }
    }
}

/// The member of a JSON array whose `key` is `value`.
fn member(array: &Value, key: &str, value: &str) -> Value {
    let mut items = array.as_array().into_iter().flatten();
    items
        .find(|item| item[key] == value)
        .cloned()
        .unwrap_or_default()
}

fn socket(dir: &Path) -> String {
    dir.join("control.sock").display().to_string()
}

fn place(site: &str, dir: &Path) -> String {
    site.replace("{dir}", &dir.display().to_string())
}

fn write_secret(path: &Path, text: &str) {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    let mut file = file.or_fail(format_args!("create {}", path.display()));
    file.write_all(text.as_bytes())
        .or_fail(format_args!("write {}", path.display()));
}
