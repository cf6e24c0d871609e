//! The gateway does all its work with no more than the unit in `packaging/` leaves it.
//!
//! A user that is not root, capabilities, `NoNewPrivileges` and a read-only file system are the unit's own words, applied without
//! systemd. What cannot be applied here (its system call filter, its device list) is not tested here.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use lab::{Gateway, OrFail as _, ReferenceSite, Scene, SiteFile, addresses as at};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const UNIT: &str = include_str!("../packaging/causeway.service");

/// What the unit says of a setting.
fn setting(name: &str) -> &'static str {
    UNIT.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .or_fail(format_args!("find {name} in the unit"))
}

/// Some user that is not root, in place of the one that the package makes.
const NOBODY: u32 = 65534;

/// A program that is `causeway` with what the unit allows: a user that is not root, its capabilities and no more, nothing to be
/// gained by executing anything, and a file system (in a mount namespace of its own) that can be written in `folder` and below
/// /proc/sys/net alone.
fn confined(folder: &str) -> String {
    assert_eq!(setting("ProtectSystem"), "strict");
    assert_eq!(setting("ProtectKernelTunables"), "yes");
    assert_eq!(setting("ReadWritePaths"), "/proc/sys/net");
    assert_eq!(setting("NoNewPrivileges"), "yes");
    assert_eq!(setting("User"), "causeway");
    assert_eq!(
        setting("AmbientCapabilities"),
        setting("CapabilityBoundingSet")
    );
    let kept: Vec<_> = setting("CapabilityBoundingSet")
        .split_whitespace()
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    format!(
        "#!/bin/sh\n\
         chown -R {NOBODY} {folder}\n\
         exec unshare --mount --propagation private sh -c '\
         mount --bind {folder} {folder} && mount -o remount,bind,ro / && \
         mount --bind /proc/sys /proc/sys && mount --bind /proc/sys/net /proc/sys/net && \
         mount -o remount,bind,ro /proc/sys && \
         exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all,{kept} --ambient-caps=-all,{kept} \
         --bounding-set=-all,{kept} --no-new-privs {CAUSEWAY} \"$@\"' causeway \"$@\"\n",
        kept = kept.join(",")
    )
}

fn write_program(path: &str, script: &str) {
    std::fs::write(path, script).or_fail("write a program");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .or_fail("make it a program");
}

/// The capabilities that a process may use, as the kernel shows them.
fn permitted(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).or_fail("read its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapPrm:"))
        .or_fail("find the permitted set");
    u64::from_str_radix(line.trim(), 16).or_fail("read the permitted set")
}

#[test]
fn the_gateway_works_within_what_its_unit_allows() {
    let site = ReferenceSite::new();
    let cloud = lab::Cloud::start(&site);
    let folder = site.gateway.dir().display().to_string();
    let program = format!("{folder}/confined-causeway");
    write_program(&program, &confined(&folder));
    let mut launch = SiteFile::reference().launch(CAUSEWAY);
    launch.binary = program.into();
    let scene = Scene {
        gateway: Gateway::start(&site.gateway, &launch),
        cloud,
        site,
    };
    let pid = scene.gateway.daemon().pid().or_fail("its process");
    // NET_BIND_SERVICE, NET_ADMIN and NET_RAW have the numbers 10, 12 and 13.
    assert_eq!(permitted(pid), 1 << 10 | 1 << 12 | 1 << 13);
    let process = std::fs::metadata(format!("/proc/{pid}")).or_fail("look at its process");
    assert_eq!(process.uid(), NOBODY);

    scene.wait_until_up();
    let problems = scene.gateway.problems();
    assert!(!problems.contains("host:"), "{problems}");
    let pinged = lab::ping(&scene.site.home, at::INSTANCE, 3, &[]);
    assert!(pinged.all(), "{}", pinged.text);

    let Scene {
        mut gateway,
        cloud: _cloud,
        site,
    } = scene;
    let status = gateway.stop();
    assert!(status.success(), "{status}: {}", gateway.log());
    assert_eq!(site.gateway.exec(&["ip", "nexthop", "show"]), "");
    assert_eq!(site.gateway.exec(&["nft", "list", "tables"]), "");
    assert_eq!(site.gateway.read_sysctl("net/ipv4/ip_forward"), "0");
}

/// What a daemon may have changed, in the tools' own words.
fn host_state(gateway: &lab::Ns) -> Vec<String> {
    let tools = [
        "ip -o link show",
        "ip -4 route show table all",
        "ip rule show",
        "ip nexthop show",
        "nft list tables",
        "sysctl net.ipv4.ip_forward net.ipv4.fib_multipath_hash_policy",
    ];
    let words = |tool: &str| -> Vec<String> { tool.split(' ').map(str::to_owned).collect() };
    let run = |tool: &&str| {
        let words = words(tool);
        gateway.exec(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    tools.iter().map(run).collect()
}

#[test]
fn a_sweep_takes_off_what_a_killed_daemon_left_and_nothing_while_one_runs() {
    let site = ReferenceSite::new();
    let before = host_state(&site.gateway);
    let mut scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    let running = host_state(&scene.site.gateway);
    let refused = scene.gateway.command(&["sweep"]);
    assert!(
        !refused.ok() && refused.stderr.contains("stop it first"),
        "{refused:?}"
    );
    assert_eq!(host_state(&scene.site.gateway), running);

    scene.gateway.kill9();
    assert_ne!(host_state(&scene.site.gateway), before);
    let policy = |mark: &str| {
        let words = format!(
            "ip xfrm policy add dir out src 0.0.0.0/0 dst 0.0.0.0/0 mark {mark} mask 0xffffffff action block"
        );
        let words: Vec<_> = words.split(' ').collect();
        scene.site.gateway.exec(&words);
    };
    // As the kernel plane's, and somebody else's.
    policy("0xca050001");
    policy("0x5");
    let swept = scene.gateway.command(&["sweep"]);
    assert!(
        swept.ok() && swept.stdout.contains("nft delete table inet causeway"),
        "{swept:?}"
    );
    assert_eq!(host_state(&scene.site.gateway), before);
    let left = scene.site.gateway.exec(&["ip", "xfrm", "policy"]);
    assert!(
        left.contains("mark 0x5/") && !left.contains("0xca05"),
        "{left}"
    );
    let again = scene.gateway.command(&["sweep"]);
    assert_eq!(
        again.stdout, "nothing of ours is on this host\n",
        "{again:?}"
    );
}

#[test]
fn a_restart_by_the_service_manager_leaves_everything_to_the_next_run() {
    assert_eq!(setting("RestartKillSignal"), "SIGUSR2");
    let site = ReferenceSite::new();
    let before = host_state(&site.gateway);
    let mut scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    let kept = |gateway: &lab::Ns| {
        let firewall = gateway.exec(&["nft", "-s", "list", "ruleset"]);
        (firewall, gateway.read_sysctl("net/ipv4/ip_forward"))
    };
    let running = kept(&scene.site.gateway);
    assert!(running.0.contains("table inet causeway") && running.1 == "1");

    scene.gateway.daemon().signal(Signal::SIGUSR2);
    let ended = lab::eventually(Scene::SOON, "the daemon has ended", || {
        scene.gateway.ended()
    });
    assert!(ended.success(), "{ended}: {}", scene.gateway.log());
    assert_eq!(kept(&scene.site.gateway), running);

    scene.gateway.restart();
    scene.wait_until_up();
    assert!(scene.gateway.stop().success());
    assert_eq!(host_state(&scene.site.gateway), before);
}

/// What the daemon tells the service manager, one message after the other, until one of them has `word` in it.
fn told(socket: &UnixDatagram, word: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut buffer = [0; 512];
    while !messages
        .iter()
        .any(|message: &String| message.contains(word))
    {
        let length = socket
            .recv(&mut buffer)
            .or_fail(format_args!("hear {word} after {messages:?}"));
        messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    messages
}

#[test]
fn the_service_manager_hears_of_the_start_of_life_of_a_reload_and_of_the_end() {
    assert_eq!(setting("Type"), "notify");
    assert_eq!(setting("ExecReload"), "/bin/kill -HUP $MAINPID");
    let site = ReferenceSite::new();
    let folder = site.gateway.dir().display().to_string();
    let socket = UnixDatagram::bind(format!("{folder}/notify")).or_fail("bind the notify socket");
    socket
        .set_read_timeout(Some(Scene::SOON))
        .or_fail("limit the waiting");
    let program = format!("{folder}/notifying-causeway");
    let script = format!("#!/bin/sh\nNOTIFY_SOCKET={folder}/notify exec {CAUSEWAY} \"$@\"\n");
    write_program(&program, &script);
    let mut launch = SiteFile::reference().launch(CAUSEWAY);
    launch.binary = program.into();
    let mut gateway = Gateway::start(&site.gateway, &launch);
    told(&socket, "READY=1");
    told(&socket, "WATCHDOG=1");
    gateway.reload(SiteFile::reference().text());
    let reloading = told(&socket, "RELOADING=1");
    assert!(
        reloading.iter().any(|text| text.contains("MONOTONIC_USEC")),
        "{reloading:?}"
    );
    told(&socket, "READY=1");
    assert!(gateway.stop().success());
    told(&socket, "STOPPING=1");
}

#[test]
fn a_key_may_be_a_systemd_credential_or_come_from_the_environment() {
    let site = ReferenceSite::new();
    let folder = site.gateway.dir().join("credentials");
    std::fs::create_dir(&folder).or_fail("make a folder for credentials");
    std::fs::write(folder.join("oci-1"), at::PSKS[0]).or_fail("write a credential");
    let file = SiteFile::reference()
        .replace("file = \"{dir}/oci-1.psk\"", "credential = \"oci-1\"")
        .replace("file = \"{dir}/oci-2.psk\"", "env = \"OCI_2_PSK\"");
    let path = site.gateway.dir().join("site.toml");
    let placed = file.text().replace("{dir}", &folder.display().to_string());
    std::fs::write(&path, placed).or_fail("write the site file");
    let check = |with: &[(&str, &str)]| {
        let mut command = std::process::Command::new(CAUSEWAY);
        command.arg("check").arg(&path).env_clear();
        let output = command.envs(with.iter().copied()).output();
        let output = output.or_fail("run the check");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let credentials = folder.display().to_string();
    let (code, text) = check(&[
        ("CREDENTIALS_DIRECTORY", &credentials),
        ("OCI_2_PSK", at::PSKS[1]),
    ]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check(&[]);
    assert_eq!(code, Some(2), "{text}");
    for word in ["LoadCredential=oci-1", "OCI_2_PSK"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}
