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
const KEY: &str = "a key for the package only, 0123456789";

/// How long something in the machine may take; its processor may be emulated.
const SOON: Duration = Duration::from_secs(120);

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
    assert_eq!(host.run("systemctl is-enabled causeway").trim(), "enabled");
    assert_eq!(host.property("ActiveState"), "inactive");
    assert_eq!(host.property("ConditionResult"), "no");
    assert_eq!(host.property("Result"), "success");
    assert_eq!(
        host.run("stat -c '%U %G %a' /etc/causeway").trim(),
        "root causeway 750"
    );
    host.run("man --version >/dev/null 2>&1 || true; causeway --version");

    // Configured and started. What the operator forgets is said before the daemon stumbles over it.
    host.write("/etc/causeway/site.toml", SITE);
    host.write("/etc/causeway/cloud.psk", KEY);
    host.run("chmod 600 /etc/causeway/cloud.psk");
    let checked = host.run("causeway check");
    assert!(
        checked.contains("chown causeway /etc/causeway/cloud.psk"),
        "{checked}"
    );
    host.run("chown causeway /etc/causeway/cloud.psk");
    let checked = host.run("causeway check");
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
    assert_eq!(host.property("ActiveState"), "active");

    // Killed: it comes back by itself.
    host.run(&format!("kill -9 {started}"));
    let again = host.wait_until_it_carries();
    assert_ne!(again, started);

    // Upgraded: the new one runs, with the same site and keys, and the tunnel comes back by itself.
    let configured = host.run("sha256sum /etc/causeway/*; stat -c '%n %U %a' /etc/causeway/*");
    host.run("dpkg -i /root/second.deb");
    let upgraded = host.wait_until_it_carries();
    assert_ne!(upgraded, again);
    assert_eq!(
        host.run("sha256sum /etc/causeway/*; stat -c '%n %U %a' /etc/causeway/*"),
        configured
    );
    let version = host.run("dpkg-query -W -f '${Version}' causeway");
    assert_eq!(version, "1.1-1");

    // Removed: the host is as it was before, the configuration stays.
    host.run("dpkg -r causeway");
    assert_eq!(host.run(NETWORK_STATE), before.0);
    assert_eq!(
        host.run("sha256sum /etc/causeway/*; stat -c '%n %U %a' /etc/causeway/*"),
        configured
    );

    // Installed again where a site file is: it starts by itself.
    host.run("dpkg -i /root/second.deb");
    host.wait_until_it_carries();

    // Purged: nothing is left.
    host.run("dpkg -P causeway");
    assert_eq!(host.run(NETWORK_STATE), before.0);
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
        let began = std::time::Instant::now();
        let said = self.0.run(script, SOON);
        eprintln!(
            "TIMING {:.1} {}",
            began.elapsed().as_secs_f32(),
            script
                .chars()
                .take(50)
                .collect::<String>()
                .replace('\n', " ")
        );
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

    #[track_caller]
    fn property(&mut self, name: &str) -> String {
        let said = self.run(&format!("systemctl show causeway -P {name}"));
        said.trim().to_owned()
    }

    fn journal(&mut self) -> String {
        let script = "systemctl status --no-pager -l causeway; journalctl -b --no-pager -o cat -u causeway | tail -40; tail -5 /root/cloud/log";
        self.0.run(script, SOON).text
    }

    /// Waits until the tunnel and its BGP session are up and a packet comes back from the instance. Gives the daemon's process.
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
                && !status["routes"][0]["next_hops"].is_null();
            if up && self.carries() {
                eprintln!("TIMING {:.1} CARRIES", started.elapsed().as_secs_f32());
                let problems = &status["problems"];
                assert_eq!(*problems, Value::Array(Vec::new()), "{}", self.journal());
                return status["pid"]
                    .as_u64()
                    .or_fail("the status names the process");
            }
        }
        panic!("not within {SOON:?}: {last}\n{}", self.journal());
    }

    fn carries(&mut self) -> bool {
        let pinged = self.0.run("ping -c 1 -W 2 -I 192.168.2.1 10.0.0.1", SOON);
        pinged.code == 0
    }
}
