//! The state that every machine goes on from: booted, its modules loaded, its agent idle.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::OrFail as _;

use crate::Boot;
use crate::cache::{self, Key};
use crate::image::Image;
use crate::machine::{Accelerator, Devices, Machine, tail};
use crate::payload;

/// How long a boot may take, emulated on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// Within this time a machine with working KVM has booted. There are hosts whose `/dev/kvm` opens, and whose
/// guests then stand still.
const KVM_SIGN: Duration = Duration::from_secs(10);

/// A machine in the state after its boot, with this payload's drive. The state is made first if it is not there.
#[track_caller]
pub(crate) fn restore(image: &Image, boot: Boot, payload: &Path) -> Machine {
    let accelerator = accelerator(image);
    let devices = Devices {
        image,
        boot,
        accelerator,
    };
    let version = Command::new("qemu-system-x86_64").arg("--version").output();
    let version = version.or_fail("start qemu-system-x86_64").stdout;
    // The guest knows how large the payload's drive is, though not what is on it; and how fast this processor's counter runs.
    let known = Key::new()
        .and(version)
        .and(payload::SIZE.to_be_bytes())
        .and(processor());
    let key = devices
        .arguments()
        .iter()
        .fold(known, |key, argument| key.and(argument));
    let name = match boot {
        Boot::Bench => "bench",
        Boot::Systemd => "systemd",
    };
    let folder = cache::folder(image.dir(), name, key, |dir| {
        let blank = dir.join("blank.img");
        payload::blank(&blank);
        let mut machine = Machine::start(&devices, &blank, None);
        warm_up(&mut machine);
        machine.save(&dir.join("state"));
    });
    Machine::start(&devices, payload, Some(&folder.join("state")))
}

/// The name of this machine's processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name"));
    name.unwrap_or_default().to_owned()
}

#[track_caller]
fn warm_up(machine: &mut Machine) {
    let started = Instant::now();
    if machine.wait_until_ready(BOOT_LIMIT).is_none() {
        panic!(
            "the virtual machine has not booted:\n{}\n--- QEMU\n{}",
            tail(&machine.console()),
            machine.words()
        );
    }
    let booted = started.elapsed();
    let said = machine.run("/usr/lib/causeway-vm/warm-up", BOOT_LIMIT);
    assert_eq!(said.code, 0, "warm the virtual machine up: {}", said.text);
    eprintln!(
        "the virtual machine booted in {:.1} s and is warm after {:.1} s. {}",
        booted.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        said.text.trim()
    );
}

/// KVM where a guest runs with it, found out once for an image.
fn accelerator(image: &Image) -> Accelerator {
    let folder = cache::folder(image.dir(), "accelerator", Key::new(), |dir| {
        let word = if kvm_works(image, dir) { "kvm" } else { "tcg" };
        std::fs::write(dir.join("word"), word).or_fail("write down the accelerator");
    });
    let word = std::fs::read_to_string(folder.join("word")).or_fail("read the accelerator");
    [Accelerator::Kvm, Accelerator::Tcg]
        .into_iter()
        .find(|accelerator| accelerator.word() == word)
        .or_fail(format_args!("know the accelerator {word}"))
}

fn kvm_works(image: &Image, dir: &Path) -> bool {
    if !Path::new("/dev/kvm").exists() {
        return false;
    }
    let devices = Devices {
        image,
        boot: Boot::Bench,
        accelerator: Accelerator::Kvm,
    };
    let blank = dir.join("blank.img");
    payload::blank(&blank);
    // Without the right to open it QEMU ends at once, and says so by a panic here.
    let started = std::panic::catch_unwind(|| Machine::start(&devices, &blank, None));
    let Ok(mut machine) = started else {
        return false;
    };
    let works = machine.wait_until_ready(KVM_SIGN).is_some();
    drop(machine);
    let _ = std::fs::remove_file(blank);
    works
}
