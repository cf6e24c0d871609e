//! One QEMU process: its devices, its ports, its end.

use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::OrFail as _;

use crate::agent::{Agent, Answer};
use crate::image::Image;
use crate::qmp::Qmp;
use crate::{Boot, Finished};

/// How long QEMU may take until it has connected its ports.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How much of the console and of a script's words is shown when something goes wrong.
const LINES_SHOWN: usize = 60;

/// The unit of processor times in `/proc`: a second's hundredth, on every Linux of ours.
const TICKS: u64 = 100;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's translator: about ten times slower, and everywhere.
    Tcg,
}

impl Accelerator {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    const fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }
}

/// The machine's devices. A state can only be gone on from with the same ones: [`Devices::arguments`] is part of its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Devices<'a> {
    pub(crate) image: &'a Image,
    pub(crate) boot: Boot,
    pub(crate) accelerator: Accelerator,
}

impl Devices<'_> {
    pub(crate) fn arguments(&self) -> Vec<String> {
        // A kernel that stands still shows where each processor does.
        let mut append = "console=ttyS0 panic=-1 mitigations=off nokaslr loglevel=5 \
                          softlockup_all_cpu_backtrace=1"
            .to_owned();
        if self.accelerator == Accelerator::Tcg {
            // The translator's counter is one for all processors, though the kernel does not find it so when they start one after
            // the other. Without it each look at the clock is an access to an emulated timer: a fourth of all time.
            append.push_str(" tsc=reliable clocksource=tsc");
            // A program that lies elsewhere each time it is started is translated anew each time: a third of all time.
            append.push_str(" norandmaps");
        }
        if self.boot == Boot::Systemd {
            append.push_str(" causeway-vm=systemd systemd.show_status=false");
        }
        let root = format!(
            "file={},format=raw,if=virtio,readonly=on",
            self.image.file("root.img")
        );
        [
            "-machine",
            "pc",
            "-accel",
            self.accelerator.argument(),
            "-cpu",
            "max,pcid=off",
            "-m",
            "1536",
            "-smp",
            "2",
            "-no-reboot",
            "-nodefaults",
            "-display",
            "none",
            "-kernel",
            &self.image.file("vmlinuz"),
            "-initrd",
            &self.image.file("initramfs"),
            "-append",
            &append,
            "-device",
            "virtio-rng-pci",
            "-drive",
            &root,
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    dir: PathBuf,
    agent: Agent,
    qmp: Qmp,
    accelerator: Accelerator,
    shown: usize,
}

impl Machine {
    /// Starts QEMU: with a saved state from there, else from its boot. Does not wait for the guest.
    #[track_caller]
    pub(crate) fn start(devices: &Devices<'_>, payload: &Path, state: Option<&Path>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = std::env::temp_dir().join(format!(
            "causeway-vm-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).or_fail(format_args!("create {}", dir.display()));
        let path = |name: &str| dir.join(name).display().to_string();
        let listen = |name: &str| {
            let listener = UnixListener::bind(path(name)).or_fail("bind a socket for QEMU");
            listener
                .set_nonblocking(true)
                .or_fail("set a socket non-blocking");
            listener
        };
        let (control, qmp) = (listen("control"), listen("qmp"));
        let mut arguments = devices.arguments();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(ToString::to_string));
        add(&[
            "-drive",
            &format!(
                "file={},format=raw,if=virtio,readonly=on",
                payload.display()
            ),
        ]);
        add(&["-serial", &format!("file:{}", path("console"))]);
        add(&["-qmp", &format!("unix:{},server=off", path("qmp"))]);
        add(&["-device", "virtio-serial-pci"]);
        for (name, backend) in [
            (
                "control",
                format!("socket,path={},server=off", path("control")),
            ),
            ("output", format!("file,path={}", path("output"))),
            ("files", format!("file,path={}", path("files"))),
        ] {
            add(&["-chardev", &format!("{backend},id={name}")]);
            add(&[
                "-device",
                &format!("virtserialport,chardev={name},name={name}"),
            ]);
        }
        if let Some(state) = state {
            add(&["-incoming", &format!("exec:cat '{}'", state.display())]);
        }
        let words = std::fs::File::create(path("qemu")).or_fail("create a file for QEMU's words");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(words.try_clone().or_fail("share a file"))
            .stderr(words)
            .spawn();
        let mut child = child.or_fail("start qemu-system-x86_64");
        let control = accept(&mut child, &control, &dir);
        let qmp = accept(&mut child, &qmp, &dir);
        Self {
            child,
            dir,
            agent: Agent::new(control),
            qmp: Qmp::new(qmp),
            accelerator: devices.accelerator,
            shown: 0,
        }
    }

    /// Waits until the agent says that it is ready. `None` when `limit` has passed, or the machine has ended.
    pub(crate) fn wait_until_ready(&mut self, limit: Duration) -> Option<()> {
        match self.agent.wait(limit, || ()) {
            Answer::Line(line) => {
                assert_eq!(line, "ready", "the agent's first word");
                Some(())
            }
            Answer::Silence | Answer::Gone => None,
        }
    }

    /// Runs a script to its end.
    #[track_caller]
    pub(crate) fn run(&mut self, script: &str, limit: Duration) -> Finished {
        let before = self.output().len();
        let showing = std::env::var_os("CAUSEWAY_VM_CONSOLE").is_some();
        self.agent.send(script);
        let (output, mut shown) = (self.dir.join("output"), self.shown.max(before));
        let answer = self.agent.wait(limit, || {
            if showing {
                shown = show(&output, shown);
            }
        });
        if showing {
            self.shown = show(&output, shown);
        }
        let text = self.output().get(before..).map(ToOwned::to_owned);
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        let code = match &answer {
            Answer::Line(line) => line
                .strip_prefix("exit ")
                .and_then(|code| code.parse().ok()),
            Answer::Silence | Answer::Gone => None,
        };
        if let Some(code) = code {
            return Finished { code, text };
        }
        let why = match answer {
            Answer::Line(line) => format!("the agent said {line:?} instead of `exit N`"),
            Answer::Silence => format!("a script has not ended within {limit:?}"),
            Answer::Gone => "the machine has ended during a script".to_owned(),
        };
        panic!(
            "{why}. It printed:\n{}\n--- the console\n{}\n--- QEMU\n{}",
            tail(&text),
            tail(&self.console()),
            self.words()
        );
    }

    /// Writes the state to a file; the machine stands still afterwards.
    pub(crate) fn save(&mut self, file: &Path) {
        self.qmp.save(&file.display().to_string());
    }

    /// How long QEMU has had a processor so far, in seconds of one processor.
    pub(crate) fn processor(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The fields after the name, which may contain anything but ends with the last parenthesis (proc(5): utime is the 14th).
        let stat = stat.unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields = fields.split_whitespace().skip(11).take(2);
        fields
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum::<u64>()
            / TICKS
    }

    pub(crate) fn emulated(&self) -> bool {
        self.accelerator == Accelerator::Tcg
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the kernel and the boot printed.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&self.read("console")).replace('\r', "")
    }

    /// What came out of the port for files.
    pub(crate) fn files(&self) -> Vec<u8> {
        self.read("files")
    }

    /// What QEMU itself printed.
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&self.read("qemu")).into_owned()
    }

    fn output(&self) -> Vec<u8> {
        self.read("output")
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.join(name)).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Prints what a file has more than `from` bytes, and gives its length.
fn show(file: &Path, from: usize) -> usize {
    let bytes = std::fs::read(file).unwrap_or_default();
    eprint!(
        "{}",
        String::from_utf8_lossy(bytes.get(from..).unwrap_or_default())
    );
    bytes.len()
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES_SHOWN);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Waits until QEMU connects a port.
#[track_caller]
fn accept(child: &mut Child, listener: &UnixListener, dir: &Path) -> UnixStream {
    let started = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream
                    .set_nonblocking(false)
                    .or_fail("set a socket blocking");
                return stream;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("wait for QEMU: {error}"),
        }
        let ended = child.try_wait().or_fail("look at QEMU");
        let words = || std::fs::read_to_string(dir.join("qemu")).unwrap_or_default();
        assert!(
            ended.is_none(),
            "QEMU has ended with {ended:?}:\n{}",
            words()
        );
        assert!(
            started.elapsed() < START_LIMIT,
            "QEMU has not connected its ports within {START_LIMIT:?}:\n{}",
            words()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
