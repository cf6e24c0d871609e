//! The machine does what a test relies on: it runs commands, says how they end, sees its payload, and gives files back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::OrFail as _;
use vm::{Boot, Payload, Vm};

const MOMENT: Duration = Duration::from_secs(60);

#[test]
fn a_script_runs_in_debians_own_kernel_and_says_how_it_ended() {
    let mut vm = Vm::start(Boot::Bench, &Payload::new());
    let kernel = vm.run("uname -r; id -u", MOMENT);
    assert!(
        kernel.text.contains("-cloud-amd64") && kernel.text.ends_with("\n0\n"),
        "{kernel:?}"
    );
    assert_eq!(kernel.code, 0);
    let failed = vm.run("echo out; echo err >&2; exit 7", MOMENT);
    assert_eq!((failed.code, failed.text.as_str()), (7, "out\nerr\n"));
    assert_eq!(vm.run("kill -9 $$", MOMENT).code, 137);
    let clock = vm.run("date +%s", MOMENT).text;
    let clock: u64 = clock.trim().parse().or_fail("a time");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .or_fail("a time");
    assert!(
        now.as_secs().abs_diff(clock) < 60,
        "{clock} is far from {now:?}"
    );
}

#[test]
fn the_kernel_has_esp_vti_xfrm_interfaces_and_netem() {
    let mut vm = Vm::start(Boot::Bench, &Payload::new());
    let said = vm.run(
        "set -e\n\
         ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel \
           aead 'rfc4106(gcm(aes))' 0x$(printf '%072d' 0) 128\n\
         ip link add vti1 type vti local 192.0.2.1 remote 192.0.2.2 key 1\n\
         ip link add xfrm1 type xfrm dev lo if_id 1\n\
         tc qdisc add dev lo root netem delay 10ms loss 1%\n\
         ip xfrm state | grep -c gcm",
        MOMENT,
    );
    assert_eq!(said.code, 0, "{}", said.text);
}

#[test]
fn files_go_in_and_come_out() {
    let dir = std::env::temp_dir().join(format!("causeway-vm-test-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("in/below")).or_fail("create a folder");
    std::fs::write(dir.join("in/below/word"), "yes").or_fail("write a file");
    let own = std::env::current_exe().or_fail("this program's path");
    let payload = Payload::new()
        .file(dir.join("in"), "/opt/folder")
        .file(&own, "/opt/programs/own test");
    let mut vm = Vm::start(Boot::Bench, &payload);
    let listed = vm.run("'/opt/programs/own test' --list", MOMENT);
    assert!(
        listed.text.contains("files_go_in_and_come_out: test"),
        "{listed:?}"
    );
    let said = vm.run(
        "mkdir -p /var/out && cp /opt/folder/below/word /var/out/ && seq 100000 >/var/out/numbers",
        MOMENT,
    );
    assert_eq!(said.code, 0, "{}", said.text);
    vm.fetch(&["/var/out"], &dir.join("out"));
    vm.fetch(&["/var/out/word"], &dir.join("again"));
    let word = std::fs::read_to_string(dir.join("out/var/out/word")).or_fail("read");
    let again = std::fs::read_to_string(dir.join("again/var/out/word")).or_fail("read");
    let numbers = std::fs::read_to_string(dir.join("out/var/out/numbers")).or_fail("read");
    std::fs::remove_dir_all(&dir).or_fail("remove a folder");
    assert_eq!((word.as_str(), again.as_str()), ("yes", "yes"));
    assert_eq!(numbers.lines().count(), 100_000);
    assert_eq!(numbers.lines().last(), Some("100000"));
}

#[test]
fn two_machines_from_one_state_have_different_random_numbers_and_nothing_in_common() {
    let draw = "head -c 32 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid; ls /root/mark 2>/dev/null; \
                touch /root/mark";
    let mut first = Vm::start(Boot::Bench, &Payload::new());
    let one = first.run(draw, MOMENT).text;
    let mut second = Vm::start(Boot::Bench, &Payload::new());
    let two = second.run(draw, MOMENT).text;
    assert!(
        one.lines().count() == 3 && two.lines().count() == 3,
        "{one}{two}"
    );
    for (one, two) in one.lines().zip(two.lines()) {
        assert_ne!(one, two);
    }
    assert!(first.run("ls /root/mark", MOMENT).code == 0);
}

#[test]
fn systemd_runs_in_it() {
    let mut vm = Vm::start(Boot::Systemd, &Payload::new());
    let said = vm.run(
        "systemctl is-system-running --wait; systemctl --failed --no-legend; systemctl is-active multi-user.target; \
         dpkg-query -W -f '${Version}\\n' systemd",
        MOMENT,
    );
    assert!(said.text.starts_with("running\nactive\n"), "{}", said.text);
}
