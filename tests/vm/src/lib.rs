//! A virtual machine with Debian's stock kernel, for what only a kernel with ESP, VTI and xfrm interfaces can prove.
//!
//! ```no_run
//! use std::time::Duration;
//! use vm::{Boot, Payload, Vm};
//!
//! let payload = Payload::new().file("target/debug/causeway", "/usr/bin/causeway");
//! let mut vm = Vm::start(Boot::Bench, &payload);
//! let said = vm.run("causeway --version", Duration::from_secs(30));
//! assert_eq!(said.code, 0, "{}", said.text);
//! ```
//!
//! How it works:
//! - **The image** ([`Boot`] says what of it runs) is a real Debian, made once by `guest/build-image.sh` from the mirrors of
//!   this machine's apt, and kept in `target/vm` under a hash of what it is made of. It is never written to: the machine's
//!   changes are in its memory.
//! - **The warm state**: after its first boot, with cryptography loaded and its agent idle, the machine's whole state is kept
//!   in a file. Every [`Vm::start`] after that goes on from there, in half a second instead of half a minute.
//!   Its clock is set and its random generator reseeded before it does anything else.
//! - **The payload** is a drive with the files that the caller wants inside, at the paths that the caller names.
//! - **The agent** inside runs scripts that come over a virtio port, and gives what they print and how they end.
//!   [`Vm::fetch`] brings files out.
//! - QEMU dies with the thread that started it; with KVM where that works, emulated where it does not ([`Vm::emulated`]).
//!
//! The first caller makes what is missing, under a lock, and everybody else waits for it. `CAUSEWAY_VM_CONSOLE=1` in the
//! environment shows the guest's console and what it prints as it goes.
//!
//! Not here: which tests run inside; see `tests/kernel_plane/` at the root.

mod agent;
mod cache;
mod image;
mod machine;
mod payload;
mod qmp;
mod warm;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::OrFail as _;

use crate::image::Image;
use crate::machine::Machine;
pub use crate::payload::Payload;

/// How long the machine may take for a word with its agent, on a busy host.
const MOMENT: Duration = Duration::from_secs(60);

/// What runs in the machine beside its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// Nothing but the agent: the bench starts what it wants.
    Bench,
    /// systemd, booted to its multi-user target.
    Systemd,
}

/// What a script in the machine said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit status as the shell sees it: 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// Standard output and standard error, as they came.
    pub text: String,
}

/// A running virtual machine. Dropping it ends it.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
}

impl Vm {
    /// A machine in the state after its boot, with the payload in place, the right time and random numbers of its own.
    ///
    /// # Panics
    /// When the machine can't be made or does not answer: the message says what was missing, with QEMU's or the image
    /// maker's own words.
    #[track_caller]
    #[must_use]
    pub fn start(boot: Boot, payload: &Payload) -> Self {
        lab::require(&["qemu-system-x86_64", "setpriv", "mke2fs"]);
        let image = Image::get();
        let drive = payload.drive();
        let mut vm = Self {
            machine: warm::restore(&image, boot, &drive),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.or_fail("the time of day").as_secs_f64();
        // RNDRESEEDCRNG (0x5207) has the kernel draw new keys from what was just mixed into its pool. Without it two machines
        // would go on from the same state, and choose the same SPIs, nonces and keys.
        let mut script = format!(
            "date -s @{now:.3} >/dev/null && perl -e 'open(F, \">\", \"/dev/urandom\") && syswrite(F, pack(\"H*\", \"{}\")) \
             && ioctl(F, 0x5207, 0) or die \"reseed: $!\"' && mount -o ro /dev/vdb /payload",
            seed()
        );
        let _ = write!(script, " && {}", payload.placing());
        let said = vm.run(&script, MOMENT);
        assert_eq!(said.code, 0, "prepare the machine: {}", said.text);
        vm
    }

    /// Runs a script with bash, to its end.
    ///
    /// # Panics
    /// When it has not ended within `limit`: the message carries what it printed.
    #[track_caller]
    pub fn run(&mut self, script: &str, limit: Duration) -> Finished {
        self.machine.run(script, limit)
    }

    /// Brings files and folders out of the machine, below `into`; their paths stay, without the leading slash.
    ///
    /// # Panics
    /// When one is not there.
    #[track_caller]
    pub fn fetch(&mut self, paths: &[&str], into: &Path) {
        let quoted: Vec<_> = paths
            .iter()
            .map(|path| quote(path.trim_start_matches('/')))
            .collect();
        let before = self.machine.files().len();
        let script = format!("tar -C / -c {} >\"$VM_FILES\"", quoted.join(" "));
        let said = self.run(&script, MOMENT);
        assert_eq!(said.code, 0, "bring {paths:?} out: {}", said.text);
        let files = self.machine.files();
        let archive = self.machine.dir().join("files.tar");
        std::fs::write(&archive, files.get(before..).unwrap_or_default())
            .or_fail("write the files that came out");
        std::fs::create_dir_all(into).or_fail(format_args!("create {}", into.display()));
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(into)
            .status();
        assert!(
            unpacked.or_fail("start tar").success(),
            "unpack what came out of the machine"
        );
    }

    /// Whether the machine's processor is emulated, several times slower than a real one.
    #[must_use]
    pub fn emulated(&self) -> bool {
        self.machine.emulated()
    }

    /// How long the machine has had a processor so far, in seconds of one processor.
    #[must_use]
    pub fn processor(&self) -> u64 {
        self.machine.processor()
    }

    /// What the kernel and the boot printed.
    #[must_use]
    pub fn console(&self) -> String {
        self.machine.console()
    }
}

/// 64 bytes of the host's randomness, in hexadecimal.
fn seed() -> String {
    use std::io::Read as _;
    let mut bytes = [0_u8; 64];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    read.or_fail("read /dev/urandom");
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
