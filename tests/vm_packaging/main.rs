//! The package's whole life on a Debian with systemd: install, start, upgrade, remove, purge.
//!
//! In a virtual machine with Debian's own kernel. The cloud is the same program in a namespace, run by hand; the machine itself is the
//! gateway, as the package's unit runs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::OrFail as _;
use serde_json::Value;
use vm::{Boot, Payload, Vm};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const NETWORK: &str = include_str!("network.sh");
const NETWORK_STATE: &str = include_str!("network-state.sh");
const FILES_STATE: &str = include_str!("files-state.sh");
const SITE: &str = include_str!("site.toml");
/// The operator's files, with their owners.
const CONFIGURATION: &str = "sha256sum /etc/causeway/*; stat -c '%n %U %a' /etc/causeway/*";
const CLEANUP: &str = "\n[daemon]\ncleanup = false\n";
const DROP_IN: &str = "/etc/systemd/system/causeway.service.d/key.conf";
const KEY: &str = "a key for the package only, 0123456789";

/// How long something in the machine may take; its processor may be emulated, and the host busy.
const SOON: Duration = Duration::from_secs(240);

/// What an account leaves behind when it was made: the tools' own copies of the files before.
const TRACES_OF_ACCOUNTS: [&str; 5] = [
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/.pwd.lock",
];

#[test]
fn the_package_installs_starts_upgrades_goes_and_leaves_nothing() {
    let (first, second) = (package("1.0-1"), package("1.1-1"));
    let payload = Payload::new()
        .file(&first, "/root/first.deb")
        .file(&second, "/root/second.deb");
    let mut host = Host(Vm::start(Boot::Systemd, &payload));
    host.run(NETWORK);
    let before = (host.run(NETWORK_STATE), host.lines(FILES_STATE));

    // Installed: enabled, and it waits for its site file.
    host.run("dpkg -i /root/first.deb");
    let unit = host.lines(
        "systemctl show causeway -p UnitFileState -p ActiveState -p ConditionResult -p Result",
    );
    for wanted in [
        "UnitFileState=enabled",
        "ActiveState=inactive",
        "ConditionResult=no",
        "Result=success",
    ] {
        assert!(unit.contains(wanted), "{unit:?}");
    }
    let folder = host.run("stat -c '%U %G %a' /etc/causeway");
    assert_eq!(folder.trim(), "root causeway 750");

    // Configured and started. What the operator forgets is said before the daemon stumbles over it.
    host.write("/etc/causeway/site.toml", SITE);
    host.write("/etc/causeway/cloud.psk", KEY);
    let checked = host.run("chmod 600 /etc/causeway/cloud.psk; causeway check");
    assert!(
        checked.contains("chown causeway /etc/causeway/cloud.psk"),
        "{checked}"
    );
    let checked = host.run("chown causeway /etc/causeway/cloud.psk; causeway check");
    assert!(!checked.contains("chown"), "{checked}");
    host.run("systemctl start causeway");
    let started = host.wait_until_it_carries();

    // It is no more than its unit says, and works.
    let process = host.run(&format!(
        "stat -c %U /proc/{started}; grep -E '^(CapPrm|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/{started}/status"
    ));
    let process: Vec<_> = process.split_whitespace().collect();
    assert_eq!(
        process,
        [
            "causeway",
            "CapPrm:",
            "0000000000003400",
            "CapBnd:",
            "0000000000003400",
            "CapAmb:",
            "0000000000003400",
            "NoNewPrivs:",
            "1",
            "Seccomp:",
            "2"
        ]
    );
    let exposure = host.run("systemd-analyze security --no-pager causeway | tail -1");
    println!("{}", exposure.trim());
    host.run("systemctl reload causeway");
    assert_eq!(host.run("systemctl is-active causeway").trim(), "active");

    // Killed: it comes back by itself, and with the kernel's data plane nobody notices.
    host.start_pinging();
    host.run(&format!("kill -9 {started}"));
    let again = host.wait_until_it_carries();
    assert_ne!(again, started);
    host.nothing_was_lost("while it was dead");

    // Upgraded: the new one goes on where the old one has ended, with the same site and keys. The key is one that only root can read by
    // now, and the daemon is to leave everything standing when it stops.
    host.run("mv /etc/causeway/cloud.psk /root/cloud.psk; chown root /root/cloud.psk");
    let site = SITE.replace(
        "file = \"/etc/causeway/cloud.psk\"",
        "credential = \"cloud\"",
    );
    host.write("/etc/causeway/site.toml", &(site + CLEANUP));
    host.run("mkdir /etc/systemd/system/causeway.service.d");
    host.write(DROP_IN, "[Service]\nLoadCredential=cloud:/root/cloud.psk");
    let configured = host.run(CONFIGURATION);
    host.start_pinging();
    host.run("dpkg -i /root/second.deb");
    let upgraded = host.wait_until_it_carries();
    host.nothing_was_lost("while it was upgraded");
    assert_ne!(upgraded, again);
    assert_eq!(host.run(CONFIGURATION), configured);
    let version = host.run("dpkg-query -W -f '${Version}' causeway");
    assert_eq!(version, "1.1-1");
    let journal = host.run(&format!("journalctl --no-pager -o cat _PID={again}"));
    assert!(journal.contains("for the next run"), "{journal}");

    // Another plane: what systemd has kept for the kernel's is no longer in the way of it.
    let kernels = host.run("cat /etc/causeway/site.toml");
    for (site, plane) in [
        (kernels.clone() + "data-plane = \"userspace\"", "userspace"),
        (kernels, "kernel"),
    ] {
        host.write("/etc/causeway/site.toml", &site);
        host.run("systemctl restart causeway");
        host.wait_until_it_carries();
        let status = host.run("causeway status");
        assert!(status.contains(&format!("{plane} data plane")), "{status}");
    }
    assert_eq!(host.run(CONFIGURATION), configured);

    // Removed: the host is as it was before, whatever the daemon was told to leave, and the configuration stays.
    host.run("dpkg -r causeway");
    assert_eq!(host.run(NETWORK_STATE), before.0);
    assert_eq!(host.run(CONFIGURATION), configured);

    // Purged: nothing is left but the operator's own drop-in.
    host.run("dpkg -P causeway");
    host.run("rm -r /etc/systemd/system/causeway.service.d");
    let after = host.lines(FILES_STATE);
    let left: Vec<_> = after
        .difference(&before.1)
        .filter(|path| !TRACES_OF_ACCOUNTS.contains(&path.as_str()))
        .collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    // systemd's tools clear away folders of theirs that are empty.
    let lost = before.1.difference(&after);
    let lost: Vec<_> = lost.filter(|path| !path.ends_with(".wants")).collect();
    assert!(lost.is_empty(), "taken away: {lost:#?}");
    let known = host
        .run("systemctl list-unit-files 'causeway.*' --no-legend; systemctl --failed --no-legend");
    assert_eq!(known, "");
}

/// How many echoes were asked for up to the last one that was answered, and how many of these were answered. The answer to the very last
/// one may have been on its way when `ping` was stopped.
fn echoes(said: &str) -> (usize, usize) {
    let number = |line: &str| -> Option<usize> {
        let rest = line.split_once(" bytes from ")?.1;
        let number = rest.split_once("icmp_seq=")?.1;
        number.split(' ').next()?.parse().ok()
    };
    let answered: BTreeSet<usize> = said.lines().filter_map(number).collect();
    let last = answered.last().copied();
    (last.or_fail("an answer"), answered.len())
}

/// The package of this very program, as some version.
fn package(version: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-packages");
    let output = Command::new(root.join("scripts/package.sh"))
        .args(["--binary", CAUSEWAY, "--version", version, "--fast"])
        .arg("--output")
        .arg(&folder)
        .output()
        .or_fail("start scripts/package.sh");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "scripts/package.sh: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(said.lines().last().or_fail("the script names the package"))
}

/// The machine that the package is installed on.
struct Host(Vm);

impl Host {
    /// Runs a script that has to succeed.
    #[track_caller]
    fn run(&mut self, script: &str) -> String {
        let said = self.0.run(script, SOON);
        assert_eq!(said.code, 0, "{script}\n{}\n{}", said.text, self.journal());
        said.text
    }

    /// The lines of what a script says.
    #[track_caller]
    fn lines(&mut self, script: &str) -> BTreeSet<String> {
        self.run(script).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn write(&mut self, path: &str, text: &str) {
        self.run(&format!("cat >{path} <<'END'\n{}\nEND", text.trim_end()));
    }

    fn journal(&mut self) -> String {
        let script = "systemctl status --no-pager -l causeway; journalctl -b --no-pager -o cat -u causeway | tail -40; tail -5 /root/cloud/log";
        self.0.run(script, SOON).text
    }

    /// Waits until the tunnel and its BGP session are up, nothing is wrong and a packet comes back from the instance. Gives the
    /// daemon's process.
    #[track_caller]
    fn wait_until_it_carries(&mut self) -> u64 {
        let started = std::time::Instant::now();
        let mut last = String::new();
        while started.elapsed() < SOON {
            let said = self.0.run("causeway status --json || sleep 0.3", SOON);
            last = said.text;
            let status: Value = serde_json::from_str(&last).unwrap_or_default();
            let up = status["tunnels"][0]["state"] == "up"
                && status["bgp"]["neighbors"][0]["state"] == "Established"
                && !status["routes"][0]["next_hops"].is_null()
                && status["problems"].as_array().is_some_and(Vec::is_empty);
            if up && self.carries() {
                println!("data plane: {}", status["data_plane"]);
                return status["pid"]
                    .as_u64()
                    .or_fail("the status names the process");
            }
        }
        panic!("not within {SOON:?}: {last}\n{}", self.journal());
    }

    fn start_pinging(&mut self) {
        self.run("setsid ping -D -O -i 0.2 -I 192.168.2.1 10.0.0.1 >/root/ping 2>&1 </dev/null & echo $! >/root/pinging");
    }

    /// Ends the echoes; each was answered.
    #[track_caller]
    fn nothing_was_lost(&mut self, when: &str) {
        let pinged = self.run("kill -INT $(cat /root/pinging); sleep 0.5; cat /root/ping");
        let (asked, answered) = echoes(&pinged);
        println!("{when}: {answered} of {asked} echoes");
        if answered < asked {
            let unanswered = "grep 'no answer' /root/ping; journalctl -b --no-pager -o short-iso-precise -u causeway | tail -60; tail -60 /root/cloud/log";
            panic!("{when}: {answered} of {asked}\n{}", self.run(unanswered));
        }
    }

    fn carries(&mut self) -> bool {
        let pinged = self.0.run("ping -c 1 -W 2 -I 192.168.2.1 10.0.0.1", SOON);
        pinged.code == 0
    }
}
