//! A thousand changes behind the daemon's back, on the kernel's own data plane with both kinds of interface and under load: in the end
//! the host is as it was, read by `ip` and `nft`, and packets flow. Runs in the virtual machine.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lab::{
    Gateway, Ns, OrFail as _, ReferenceSite, Scene, SiteFile, addresses as at, eventually_true,
    ping,
};
use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const CHANGES: usize = 1000;

/// How many changes come at once.
const BURST: usize = 50;

/// What the tunnels' interfaces are.
const KINDS: [&str; 2] = ["vti", "xfrm"];

#[test]
fn after_a_thousand_changes_by_others_under_load_all_is_as_it_was() {
    lab::require_kernel_esp();
    let seed = std::env::var("CAUSEWAY_FLAP_SEED").map_or(11, |text| {
        text.parse().or_fail("CAUSEWAY_FLAP_SEED is a number")
    });
    println!("seed {seed} (CAUSEWAY_FLAP_SEED)");
    let dice = &mut Dice(seed);
    let file = SiteFile::reference()
        .replace("data-plane = \"userspace\"", "data-plane = \"kernel\"")
        .add(
            "tunnel.oci-1",
            &format!("interface-kind = \"{}\"", KINDS[0]),
        )
        .add(
            "tunnel.oci-2",
            &format!("interface-kind = \"{}\"", KINDS[1]),
        );
    let scene = Scene::start_with(ReferenceSite::new(), CAUSEWAY, &file, |_, _| {});
    scene.wait_until_up();
    let host = &scene.site.gateway;
    host.exec(&[
        "ip",
        "route",
        "add",
        "10.77.0.0/16",
        "via",
        "203.0.113.1",
        "proto",
        "186",
    ]);
    host.exec(&[
        "ip",
        "xfrm",
        "policy",
        "add",
        "src",
        "10.9.0.0/16",
        "dst",
        "10.8.0.0/16",
        "dir",
        "out",
        "action",
        "block",
    ]);
    let before = state(host);
    let flow = scene.flow_to_the_cloud();
    flow.wait_for(50, Scene::SOON);

    for _ in 0..CHANGES / BURST {
        let mut batch = String::new();
        for _ in 0..BURST {
            writeln!(batch, "{}", mischief(dice)).or_fail("write to a string");
        }
        // Many fail, because what they change is gone already.
        host.exec_with_input(&["ip", "-force", "-batch", "-"], &batch);
        if dice.roll(3) == 0 {
            host.exec(&["nft", "delete", "table", "inet", "causeway"]);
            host.exec(&["sysctl", "-q", "net.ipv4.fib_multipath_hash_policy=0"]);
        }
        // Not all of them on ruins: now and then there is time to put everything right.
        if dice.roll(3) == 0 {
            wait_until_restored(host, &before);
        }
    }
    wait_until_restored(host, &before);
    scene.wait_until_up();
    flow.wait_for(50, Scene::SOON);
    println!("{:?}", flow.stop());
    let pinged = ping(&scene.site.home, at::INSTANCE, 3, &[]);
    assert!(pinged.all(), "{}", pinged.text);
    let log = scene.gateway.log();
    assert!(
        log.contains("what is ours on this host was changed by somebody: interface cw-oci-"),
        "{log}"
    );
    assert!(log.lines().count() < 2000, "{} lines", log.lines().count());
    leaves_nothing(scene.gateway, host);
}

fn leaves_nothing(mut gateway: Gateway, host: &Ns) {
    assert!(gateway.stop().success());
    let left = state(host);
    let ours: Vec<_> = left
        .iter()
        .filter(|line| line.contains("cw-oci-") || line.contains("0xca05"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    assert!(
        left.iter().any(|line| line.contains("10.77.0.0/16")),
        "{left:?}"
    );
    assert!(
        left.iter().any(|line| line.contains("10.9.0.0/16")),
        "{left:?}"
    );
}

#[track_caller]
fn wait_until_restored(host: &Ns, before: &BTreeSet<String>) {
    let mut differs = Vec::new();
    let restored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually_true(Scene::SOON * 2, "the host is as it was", || {
            let now = state(host);
            differs = now.symmetric_difference(before).cloned().collect();
            differs.is_empty()
        });
    }));
    assert!(restored.is_ok(), "what differs: {differs:#?}");
}

/// One change by somebody else, as a line for `ip -batch`.
fn mischief(dice: &mut Dice) -> String {
    let n = dice.roll(2);
    let kind = KINDS[n];
    let dev = ["cw-oci-1", "cw-oci-2"][n];
    let address = ["10.1.0.0/31", "10.2.0.0/31"][n];
    let id = 210_000_000 + dice.roll(5);
    match dice.roll(20) {
        0 | 1 => format!("link del dev {dev}"),
        2 | 3 => format!("link set dev {dev} down"),
        4 => format!("link set dev {dev} mtu {}", 1300 + dice.roll(3)),
        5 => format!("link set dev {dev} alias somebody"),
        6 => format!("address del {address} dev {dev}"),
        7 => format!("address flush dev {dev}"),
        8 => format!("address add 192.0.2.{}/24 dev {dev}", dice.roll(9) + 1),
        9 => "route del 10.0.0.0/16 proto 210".into(),
        10 => "route flush proto 210".into(),
        11 => "route replace 10.0.0.0/16 via 203.0.113.1 metric 20 proto 210".into(),
        12 => "route add 10.66.0.0/16 via 203.0.113.1 metric 20 proto 210".into(),
        13 | 14 => format!("nexthop del id {id}"),
        15 => "nexthop flush proto 210".into(),
        16 => format!(
            "nexthop add id {} via 203.0.113.1 dev wan0 proto 210",
            210_000_020 + dice.roll(5)
        ),
        17 => "xfrm state flush".into(),
        18 if kind == "vti" => format!(
            "link change dev {dev} type vti local 203.0.113.10 remote {} key 77",
            at::HEAD_ENDS[n]
        ),
        _ => format!(
            "xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir {} {}",
            ["in", "out", "fwd"][dice.roll(3)],
            match kind {
                "vti" => format!("mark 0xca05000{} mask 0xffffffff", n + 1),
                _ => format!("if_id 0xca05000{}", n + 1),
            }
        ),
    }
}

/// What is on the host, ours and others', in the tools' words without numbers that may differ: those of interfaces, nexthop objects and
/// SAs.
fn state(host: &Ns) -> BTreeSet<String> {
    let json = |words: &str| -> Vec<Value> {
        let words: Vec<_> = words.split(' ').collect();
        let text = host.exec(&words);
        if text.trim().is_empty() {
            return Vec::new();
        }
        serde_json::from_str(&text).or_fail("read what ip says")
    };
    let mut state = BTreeSet::new();
    for link in json("ip -j -d address show") {
        let name = &link["ifname"];
        let (kind, data) = (
            &link["linkinfo"]["info_kind"],
            &link["linkinfo"]["info_data"],
        );
        state.insert(format!(
            "{name} {kind} {data} {} {} {}",
            link["ifalias"], link["mtu"], link["flags"]
        ));
        for address in link["addr_info"].as_array().into_iter().flatten() {
            if address["family"] == "inet" {
                state.insert(format!(
                    "{name} {}/{}",
                    address["local"], address["prefixlen"]
                ));
            }
        }
    }
    for route in json("ip -j route show") {
        let ways: BTreeSet<String> = match route["nexthops"].as_array() {
            Some(hops) => hops.iter().map(way).collect(),
            None => [way(&route)].into(),
        };
        let (to, metric) = (&route["dst"], &route["metric"]);
        state.insert(format!("{to} {} {metric} {ways:?}", route["protocol"]));
    }
    let objects = json("ip -j nexthop show");
    let ways = objects
        .iter()
        .filter(|object| !object["gateway"].is_null())
        .map(way);
    state.extend(ways.map(|way| format!("nexthop {way}")));
    state.insert(format!("{} nexthop objects", objects.len()));
    let policies = host.exec(&["ip", "xfrm", "policy", "show"]);
    let words: Vec<&str> = policies.split_whitespace().collect();
    // The SPI in the template is the present SA's.
    let policies = words
        .split(|word| *word == "src")
        .filter(|words| words.contains(&"dir"));
    for policy in policies {
        state.insert(format!("policy {}", policy.join(" ")));
    }
    for (binding, count) in sas(host) {
        state.insert(format!("{binding}: {count} SAs"));
    }
    state.insert(host.exec(&["nft", "-s", "list", "ruleset"]));
    let interfaces = ["cw-oci-1", "cw-oci-2", "wan0"];
    let leaves = ["rp_filter", "forwarding", "disable_policy", "disable_xfrm"];
    for (name, leaf) in interfaces
        .iter()
        .flat_map(|name| leaves.map(|leaf| (name, leaf)))
    {
        let key = format!("net/ipv4/conf/{name}/{leaf}");
        if state
            .iter()
            .any(|line| line.starts_with(&format!("\"{name}\"")))
        {
            state.insert(format!("{key} {}", host.read_sysctl(&key)));
        }
    }
    for key in ["net/ipv4/ip_forward", "net/ipv4/fib_multipath_hash_policy"] {
        state.insert(format!("{key} {}", host.read_sysctl(key)));
    }
    state
}

fn way(hop: &Value) -> String {
    format!("{} {}", hop["gateway"], hop["dev"])
}

/// How many SAs there are of each reqid.
fn sas(host: &Ns) -> Vec<(String, usize)> {
    let shown = host.exec(&["ip", "xfrm", "state", "list", "nokeys"]);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let reqids: Vec<&str> = words
        .windows(2)
        .filter(|pair| pair[0] == "reqid")
        .map(|pair| pair[1])
        .collect();
    let kinds: BTreeSet<&str> = reqids.iter().copied().collect();
    let count = |kind: &str| reqids.iter().filter(|reqid| **reqid == kind).count();
    kinds
        .into_iter()
        .map(|kind| (format!("reqid {kind}"), count(kind)))
        .collect()
}

/// A generator of mischief (xorshift), so that a seed names a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 40).unwrap_or_default() % sides
    }
}
