//! Network namespaces that live as long as a thread, and the site that the tests use.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use vti::nft::{
    Action, Alias, BgpPeer, BgpRange, CloudRule, PortRange, Ports, Protocol, Ruleset, Scope,
    WanRules,
};

/// Runs `test` in a new network namespace, which goes away with it.
pub(crate) fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            enter_new_namespace();
            test()
        });
        match outcome.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Moves the calling thread into a new network namespace with its loopback up.
pub(crate) fn enter_new_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root to make network namespaces");
    run("ip", &["link", "set", "lo", "up"]);
}

/// Runs a program, which inherits the calling thread's namespace, and returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    feed(program, arguments, "")
}

/// As [`run`], with text for its standard input.
pub(crate) fn feed(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {errors}\n{input}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Loads text with the `nft` program.
pub(crate) fn nft(text: &str) {
    feed("nft", &["-f", "-"], text);
}

/// Every kind of rule that there is.
pub(crate) fn full_site() -> Ruleset {
    let networks = |list: &[&str]| {
        list.iter()
            .map(|net| net.parse().unwrap())
            .collect::<Vec<_>>()
    };
    let rule = |name: &str, action, source, destination, protocol, ports, log| CloudRule {
        name: name.to_owned(),
        action,
        source,
        destination,
        protocol,
        ports,
        log,
    };
    let alias = |name: &str| Scope::Alias(name.to_owned());
    let peers = networks(&["192.0.2.1/32", "198.51.100.0/28", "2001:db8:1::1/128"]);
    let home = networks(&["192.168.2.0/24", "172.24.0.0/24", "2001:db8:2::/48"]);
    let web = vec![
        PortRange::single(80),
        PortRange::single(443),
        PortRange::new(8000, 8100).unwrap(),
    ];
    Ruleset {
        aliases: [
            ("peers".to_owned(), Alias::Networks(peers)),
            ("home".to_owned(), Alias::Networks(home)),
            ("web".to_owned(), Alias::Ports(web)),
        ]
        .into(),
        wan: Some(WanRules {
            interface: Some("wan0".to_owned()),
            addresses: vec![
                "203.0.113.7".parse().unwrap(),
                "2001:db8::7".parse().unwrap(),
            ],
            ..WanRules::from_peers("peers")
        }),
        tunnel_interfaces: vec!["vti1".to_owned(), "vti2".to_owned()],
        clamp_mss: vec!["vti1".to_owned(), "vti2".to_owned()],
        cloud: vec![
            rule(
                "web",
                Action::Accept,
                Scope::Networks(networks(&["10.0.0.0/16", "10.9.0.0/17", "2001:db8:9::/48"])),
                alias("home"),
                Protocol::Tcp,
                Ports::Alias("web".to_owned()),
                false,
            ),
            rule(
                "no backups",
                Action::Drop,
                Scope::Any,
                Scope::Networks(networks(&["192.168.2.128/25"])),
                Protocol::Udp,
                Ports::Ranges(vec![PortRange::new(873, 880).unwrap()]),
                true,
            ),
            rule(
                "two ports",
                Action::Accept,
                Scope::Networks(networks(&["10.0.0.0/8"])),
                Scope::Any,
                Protocol::Tcp,
                Ports::Ranges(vec![
                    PortRange::single(22),
                    PortRange::new(5000, 5010).unwrap(),
                ]),
                false,
            ),
            rule(
                "ping",
                Action::Accept,
                Scope::Any,
                Scope::Any,
                Protocol::Icmp,
                Ports::Any,
                false,
            ),
            rule(
                "gre",
                Action::Accept,
                alias("home"),
                Scope::Any,
                Protocol::Number(47),
                Ports::Any,
                true,
            ),
            rule(
                "every v6",
                Action::Accept,
                Scope::Networks(networks(&["::/0"])),
                Scope::Any,
                Protocol::Any,
                Ports::Any,
                false,
            ),
        ],
        cloud_default: Action::Drop,
        bgp: vec![
            BgpPeer {
                interface: "vti1".to_owned(),
                address: "10.1.0.1".parse().unwrap(),
            },
            BgpPeer {
                interface: "vti2".to_owned(),
                address: "10.2.0.1".parse().unwrap(),
            },
            BgpPeer {
                interface: "vti2".to_owned(),
                address: "2001:db8:ff::1".parse().unwrap(),
            },
        ],
        lan_bgp_ranges: ["192.168.200.0/24", "2001:db8:2:c8::/64"]
            .map(|network| BgpRange {
                interface: "lan0".to_owned(),
                network: network.parse().unwrap(),
            })
            .into(),
        lan_bgp: vec![
            BgpPeer {
                interface: "vlan200".to_owned(),
                address: "192.168.200.31".parse().unwrap(),
            },
            BgpPeer {
                interface: "vlan200".to_owned(),
                address: "192.168.200.32".parse().unwrap(),
            },
        ],
    }
}
