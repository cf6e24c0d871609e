//! Network namespaces without a name, each held by a thread of the test process.
//!
//! A thread enters a new namespace (`unshare(CLONE_NEWNET)`) and then runs what it is given: commands that it starts
//! and sockets that it opens are inside. Other programs reach the namespace by the thread's id, where they would take a
//! process id (`ip link … netns TID`, `nsenter -t TID -n`). When the last handle is dropped the thread ends, and the
//! kernel removes the namespace and every interface in it as soon as no process is left inside.

use std::any::Any;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use crate::wait::OrFail;

/// How much of each daemon's log is printed when a test fails.
const LOG_LINES_SHOWN: usize = 60;

type Job = Box<dyn FnOnce() + Send>;

/// One network: the folder of its daemons' files, and the maker of its namespaces and cables.
#[derive(Debug)]
pub struct Net {
    dir: PathBuf,
}

impl Net {
    /// An empty network with a fresh folder.
    ///
    /// # Panics
    /// When the tests may not make namespaces here (not root), or a tool is missing.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        crate::tools::require(&["ip", "nft", "setpriv", "unshare"]);
        let dir = std::env::temp_dir().join(format!(
            "causeway-lab-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        // What is there already is of a killed test that had our process id.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).or_fail(format_args!("create {}", dir.display()));
        Self { dir }
    }

    /// The folder that goes when this network goes. Files ending in `.log` in it are shown when the test fails.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new namespace with its loopback up, no route filter and no duplicate address detection.
    #[must_use]
    pub fn ns(&self, name: &str) -> Ns {
        let ns = self.ns_with_nothing_up(name);
        ns.exec(&["ip", "link", "set", "lo", "up"]);
        ns
    }

    /// The same, its loopback still down.
    pub(crate) fn ns_with_nothing_up(&self, name: &str) -> Ns {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let entered = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid().as_raw());
                let usable = entered.is_ok();
                let _ = tell.send(entered);
                if usable {
                    inbox.into_iter().for_each(|job| job());
                }
            })
            .or_fail("start a thread");
        let tid = told
            .recv()
            .or_fail("the thread of a namespace says that it runs")
            .or_fail("enter a new network namespace (are you root?)");
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).or_fail(format_args!("create {}", dir.display()));
        let ns = Ns(Arc::new(Inner {
            name: name.to_owned(),
            dir,
            tid,
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        }));
        for (key, value) in [
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/all/accept_dad", "0"),
        ] {
            ns.sysctl(key, value);
        }
        ns
    }

    /// A cable: an interface in each of two namespaces, up, with an address (`"203.0.113.10/24"`) or none (`""`).
    pub fn veth(&self, a: (&Ns, &str, &str), b: (&Ns, &str, &str)) {
        let add = format!(
            "link add {} type veth peer name {} netns {}\n",
            a.1,
            b.1,
            b.0.tid()
        );
        for (before, (ns, link, address)) in [(add.as_str(), a), ("", b)] {
            let mut batch = before.to_owned();
            if !address.is_empty() {
                let _ = writeln!(batch, "addr add {address} dev {link}");
            }
            let _ = writeln!(batch, "link set {link} up");
            ns.ip(&batch);
        }
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_logs(&self.dir);
        }
        if std::env::var_os("CAUSEWAY_LAB_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Prints the end of every log below `dir` to standard error.
fn print_logs(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            print_logs(&path);
        } else if path.extension().is_some_and(|e| e == "log") {
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- the end of {}", path.display());
            for line in lines.iter().skip(from) {
                eprintln!("{line}");
            }
        }
    }
}

/// What a finished command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl Finished {
    /// Whether the exit status is 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// A handle on a network namespace. Clones are the same namespace; it lives as long as the last of them.
#[derive(Clone, Debug)]
pub struct Ns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    dir: PathBuf,
    tid: i32,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ns {
    /// The name, for messages and folders.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A folder for the files of what runs in it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The id of the thread that holds the namespace, for programs that take a process id.
    #[must_use]
    pub fn tid(&self) -> i32 {
        self.0.tid
    }

    /// What the kernel calls this namespace (`net:[4026532…]`): equal for every process inside it.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        let link = format!("/proc/{}/task/{}/ns/net", std::process::id(), self.0.tid);
        std::fs::read_link(&link).or_fail(format_args!("read {link}"))
    }

    /// Runs `job` inside the namespace and gives its result. Sockets that it opens stay in the namespace, and so do
    /// threads that it starts. A panic in `job` goes on in the caller.
    #[track_caller]
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel::<Result<T, Box<dyn Any + Send>>>();
        let boxed: Job = Box::new(move || {
            let _ = tell.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let sent = match self.0.jobs.lock() {
            Ok(jobs) => jobs.as_ref().is_some_and(|jobs| jobs.send(boxed).is_ok()),
            Err(_) => false,
        };
        assert!(sent, "the thread of namespace {} has ended", self.name());
        match told.recv().or_fail("the result of a job in a namespace") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Starts a thread inside the namespace.
    #[track_caller]
    pub fn thread<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.run(move || std::thread::spawn(job))
    }

    /// Runs a command inside to its end, and gives all that it said, whatever its exit status.
    #[track_caller]
    pub fn try_exec(&self, argv: &[&str]) -> Finished {
        self.exec_with_input(argv, "")
    }

    /// Runs a command inside to its end and gives its standard output.
    ///
    /// # Panics
    /// When its exit status is not 0: the message carries the command and its standard error.
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> String {
        let finished = self.try_exec(argv);
        assert!(
            finished.ok(),
            "in {}: `{}` gave {:?}: {}{}",
            self.name(),
            argv.join(" "),
            finished.code,
            finished.stderr,
            finished.stdout
        );
        finished.stdout
    }

    /// As [`Ns::try_exec`], with text for the command's standard input.
    #[track_caller]
    pub fn exec_with_input(&self, argv: &[&str], input: &str) -> Finished {
        let (program, arguments) = argv.split_first().or_fail("a command has a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .run(move || command.spawn())
            .or_fail(format_args!("start `{}`", argv.join(" ")));
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ends without reading its input is not an error.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .or_fail(format_args!("wait for `{}`", argv.join(" ")));
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a batch of commands of `ip`, a line each, in one process.
    ///
    /// # Panics
    /// When ip refuses one.
    #[track_caller]
    pub fn ip(&self, batch: &str) {
        let finished = self.exec_with_input(&["ip", "-batch", "-"], batch);
        assert!(
            finished.ok(),
            "in {}: ip refused:\n{batch}\n{}",
            self.name(),
            finished.stderr
        );
    }

    /// Loads an nftables script.
    ///
    /// # Panics
    /// When nft refuses it.
    #[track_caller]
    pub fn nft(&self, script: &str) {
        let finished = self.exec_with_input(&["nft", "-f", "-"], script);
        assert!(finished.ok(), "nft refused:\n{script}\n{}", finished.stderr);
    }

    /// Sets a sysctl of the namespace; `key` with slashes, below `/proc/sys`.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        let value = value.to_owned();
        let what = format!("set {key} to {value}");
        self.run(move || std::fs::write(path, value)).or_fail(what);
    }

    /// Reads a sysctl of the namespace.
    #[track_caller]
    #[must_use]
    pub fn read_sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/{key}");
        let text = self.run(move || std::fs::read_to_string(path));
        text.or_fail(format_args!("read {key}")).trim().to_owned()
    }

    /// Lets the namespace forward IPv4 packets.
    #[track_caller]
    pub fn forward(&self) {
        self.sysctl("net/ipv4/ip_forward", "1");
    }

    /// Adds a route: `ip route add` and these words.
    #[track_caller]
    pub fn route(&self, words: &str) {
        let mut argv = vec!["ip", "route", "add"];
        argv.extend(words.split_whitespace());
        self.exec(&argv);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        if let Ok(mut thread) = self.thread.lock()
            && let Some(thread) = thread.take()
        {
            let _ = thread.join();
        }
    }
}
