//! A long-running program inside a namespace: its log, its end.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Ns;
use crate::view;
use crate::wait::{OrFail, patience};

/// How long a program may take to end when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What to start: a command, its environment, and how much of the machine it sees.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Environment variables on top of the test's own.
    pub env: Vec<(String, String)>,
    /// Give it a `/run` of its own, empty, and a `/sys` that shows its own namespace's interfaces.
    pub own_run: bool,
    /// Files that it sees in place of others: where each is, and which path it takes; only with `own_run`.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl Program {
    /// A program by its arguments, in the test's own environment and view.
    #[must_use]
    pub fn new(argv: &[&str]) -> Self {
        Self {
            argv: argv.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }

    /// The same, with one more environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same, with a `/run` and a `/sys` of its own.
    #[must_use]
    pub fn own_run(mut self) -> Self {
        self.own_run = true;
        self
    }

    /// The same, with a file in place of another one in its view.
    #[must_use]
    pub fn file(mut self, file: &Path, instead_of: &str) -> Self {
        self.files
            .push((file.to_owned(), PathBuf::from(instead_of)));
        self
    }

    /// The command that starts it so that it dies with the thread that calls `spawn`: the wrapping program becomes the
    /// daemon, so the process id is the daemon's own.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.args(&self.argv).envs(self.env.clone());
        command.stdin(Stdio::null());
        command
    }

    /// Starts the command in the calling thread's network namespace, in the program's own view if it has one.
    fn spawn(&self, mut command: Command) -> std::io::Result<Child> {
        if !self.own_run {
            return command.spawn();
        }
        view::within(&self.files, || command.spawn())?
    }
}

/// A running program. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Daemon {
    ns: Ns,
    name: String,
    program: Program,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a program in a namespace; what it prints goes to `NAME.log` in the namespace's folder.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, name: &str, program: Program) -> Self {
        let mut daemon = Self {
            ns: ns.clone(),
            name: name.to_owned(),
            program,
            log: ns.dir().join(format!("{name}.log")),
            child: None,
        };
        daemon.spawn();
        daemon
    }

    #[track_caller]
    fn spawn(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .or_fail(format_args!("open {}", self.log.display()));
        let mut command = self.program.command();
        command.stderr(log.try_clone().or_fail("share a log file"));
        command.stdout(log);
        let program = self.program.clone();
        let started = self.ns.run(move || program.spawn(command));
        self.child = Some(started.or_fail(format_args!("start {}", self.name)));
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it runs.
    #[must_use]
    pub fn ns(&self) -> &Ns {
        &self.ns
    }

    /// The file that has what it printed, over all its starts.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that it printed, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, when it has ended by itself.
    #[track_caller]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().or_fail("look at a process")
    }

    /// Sends a signal to it.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().or_fail(format_args!("{} runs", self.name));
        let pid = i32::try_from(pid).or_fail("a process id");
        kill(Pid::from_raw(pid), signal).or_fail(format_args!("signal {}", self.name));
    }

    /// Kills it (SIGKILL) and waits for its end; nothing if it has ended already.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM) and gives its exit status.
    ///
    /// # Panics
    /// When it has not ended after 5 s.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.end_by(Signal::SIGTERM)
    }

    /// Sends it a signal upon which it ends, and gives its exit status.
    ///
    /// # Panics
    /// When it has not ended after 5 s.
    #[track_caller]
    pub fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let started = Instant::now();
        let limit = STOP_LIMIT * patience();
        loop {
            if let Some(status) = self.ended() {
                self.child = None;
                return status;
            }
            assert!(
                started.elapsed() < limit,
                "{} has not ended {limit:?} after {signal}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it if it runs, and starts the same program again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Resident set size in KiB, from `/proc/PID/status`.
    #[must_use]
    pub fn rss_kib(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
