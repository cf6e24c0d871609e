//! A thousand changes behind our back, in random order and faster than they can be put right one by one; in the end the host is as
//! desired and what belongs to others is as it was. Both are read by `ip` and from `/proc`, not by what is being tested.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vti::{
    host::Reconciler,
    kernel::KernelHost,
    monitor::Monitor,
    plan::{Desired, NextHop, RouteDesired, RouteKey},
    plane::{DataPlane as _, PlaneEvent},
    user::UserPlane,
};

use crate::model::Dice;
use crate::sandbox::{
    State, both, hop, ip, ip_json, net, route, sandbox, spec, sysctl, tunnels, two_tunnels,
};

/// How many changes there are.
const CHANGES: usize = 1000;

/// What a run does at most at once, before anybody looks.
const BURST: u64 = 8;

#[test]
fn after_a_thousand_changes_by_others_the_host_is_as_desired_and_theirs_is_untouched() {
    let seed = std::env::var("CAUSEWAY_FLAP_SEED").map_or(7, |text| text.parse().unwrap());
    println!("seed {seed} (CAUSEWAY_FLAP_SEED)");
    sandbox(async move || {
        let (plane, mut lost) = tunnels(2);
        let mut keeper = Keeper::start(plane).await;
        make_foreign_things();
        keeper.bring_about().await;
        let foreign = foreign_things();
        assert_eq!(shown(), wanted());

        let mut dice = Dice(seed);
        let mut done = 0;
        while done < CHANGES {
            let count = dice.roll(BURST) as usize + 1;
            let commands: Vec<String> = (0..count).map(|_| mischief(&mut dice)).collect();
            run(&commands);
            done += count;
            keeper.remake_what_is_lost(&mut lost).await;
            // Sometimes the next burst comes while this one is being put right.
            if dice.roll(4) > 0 {
                keeper.look_once().await;
            }
        }
        keeper.settle(&mut lost).await;

        assert_eq!(shown(), wanted(), "seed {seed}");
        assert_eq!(foreign_things(), foreign, "seed {seed}");
        println!(
            "{done} changes, {} reconciliations, {} operations",
            keeper.looks, keeper.operations
        );
        assert!(
            keeper.operations > CHANGES / 4,
            "the changes did hardly anything"
        );
    });
}

/// What the daemon's host thread does, and the plane's owner.
struct Keeper {
    reconciler: Reconciler<KernelHost>,
    monitor: Monitor,
    plane: UserPlane,
    desired: Desired,
    _state: State,
    looks: usize,
    operations: usize,
}

impl Keeper {
    async fn start(plane: UserPlane) -> Self {
        let state = State::new("flapping");
        let mut reconciler = state.start().await;
        let monitor = Monitor::open(&[reconciler.host().port()]).unwrap();
        Self {
            reconciler,
            monitor,
            plane,
            desired: desired(),
            _state: state,
            looks: 0,
            operations: 0,
        }
    }

    async fn bring_about(&mut self) {
        self.reconciler.invalidate();
        let report = self.reconciler.reconcile(&self.desired).await.unwrap();
        self.looks += 1;
        self.operations += report.applied.len();
    }

    /// Waits for the word that something was changed, and puts it right. Nobody says when a setting that is told to nobody
    /// changes, so these are looked at.
    async fn look_once(&mut self) {
        let told = tokio::time::timeout(Duration::from_millis(5), self.monitor.events()).await;
        let silent = self
            .reconciler
            .host()
            .silent_changes(&self.desired)
            .unwrap();
        if told.is_ok() || !silent.is_empty() {
            self.bring_about().await;
        }
    }

    /// Goes on for as long as there is anything to hear: what is changed last must be noticed too, without an audit.
    async fn settle(&mut self, lost: &mut tokio::sync::mpsc::Receiver<PlaneEvent>) {
        for _ in 0..200 {
            self.remake_what_is_lost(lost).await;
            let before = self.looks;
            self.look_once().await;
            if self.looks == before && shown() == wanted() {
                return;
            }
        }
    }

    /// Makes interfaces again, and has them marked before anybody can take them for his own.
    async fn remake_what_is_lost(&mut self, lost: &mut tokio::sync::mpsc::Receiver<PlaneEvent>) {
        while let Ok(event) = lost.try_recv() {
            if let PlaneEvent::InterfaceLost { tunnel } = event {
                self.plane.remove_tunnel(tunnel).unwrap();
                self.plane.add_tunnel(&spec(tunnel)).unwrap();
                self.bring_about().await;
            }
        }
    }
}

/// Two tunnels, routes over both, over one, over the LAN, and one that leads nowhere.
fn desired() -> Desired {
    let desired = two_tunnels().with_gateway_sysctls(false);
    let desired = route(desired, "10.20.0.0/16", &both());
    let desired = route(desired, "10.21.0.0/16", &both());
    let desired = route(desired, "10.22.0.0/16", &both()[..1]);
    let desired = route(desired, "10.99.0.1/32", &nodes());
    let blackhole = RouteKey::main(net("10.23.0.0/16"));
    desired.with_route(blackhole, RouteDesired::blackhole())
}

fn nodes() -> [NextHop; 2] {
    ["192.168.1.11", "192.168.1.12"].map(|node| hop("lan0", node))
}

/// One change by somebody else.
fn mischief(dice: &mut Dice) -> String {
    let tunnel = ["tun1", "tun2"][dice.roll(2) as usize];
    let address = if tunnel == "tun1" {
        "10.1.0.0/31"
    } else {
        "10.2.0.0/31"
    };
    let prefix = [
        "10.20.0.0/16",
        "10.21.0.0/16",
        "10.22.0.0/16",
        "10.23.0.0/16",
        "10.99.0.1/32",
    ][dice.roll(5) as usize];
    // The one after these is somebody else's.
    let id = 210_000_000 + dice.roll(7);
    match dice.roll(22) {
        0 => format!("link del dev {tunnel}"),
        1 | 2 => format!("link set dev {tunnel} down"),
        3 => format!("link set dev {tunnel} mtu {}", 1300 + dice.roll(3)),
        4 => format!("link set dev {tunnel} alias somebody"),
        5 => format!("address del {address} dev {tunnel}"),
        6 => format!("address flush dev {tunnel}"),
        7 => format!("address add 203.0.113.{}/24 dev {tunnel}", dice.roll(9) + 1),
        8 | 9 => format!("route del {prefix} proto 210"),
        10 => "route flush proto 210".into(),
        11 => format!("route replace {prefix} via 192.168.1.99 metric 20 proto 210"),
        12 => format!(
            "route add 10.66.{}.0/24 via 192.168.1.99 metric 20 proto 210",
            dice.roll(9)
        ),
        13 | 14 => format!("nexthop del id {id}"),
        15 => "nexthop flush proto 210".into(),
        16 => format!("nexthop replace id {id} group 210000000 proto 210"),
        17 => format!(
            "nexthop add id {} via 192.168.1.77 dev lan0 proto 210",
            210_000_020 + dice.roll(5)
        ),
        18 => "sysctl net/ipv4/ip_forward 0".into(),
        19 => "sysctl net/ipv4/fib_multipath_hash_policy 0".into(),
        20 => format!("sysctl net/ipv4/conf/{tunnel}/rp_filter {}", dice.roll(2)),
        _ => format!("sysctl net/ipv4/conf/{tunnel}/forwarding 0"),
    }
}

/// Runs the commands in order, those of `ip` in one go. Many fail, because what they change is gone.
fn run(commands: &[String]) {
    let mut batch = String::new();
    for command in commands {
        match command.strip_prefix("sysctl ") {
            None => writeln!(batch, "{command}").unwrap(),
            Some(setting) => {
                let (key, value) = setting.split_once(' ').unwrap();
                let _ = std::fs::write(format!("/proc/sys/{key}"), value);
            }
        }
    }
    let mut child = Command::new("ip")
        .args(["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(batch.as_bytes())
        .unwrap();
    child.wait().unwrap();
}

/// What others have on this host, close to what is ours.
fn make_foreign_things() {
    for command in [
        "tuntap add dev tun9 mode tun",
        "link set dev tun9 alias vpn-of-somebody mtu 1380 up",
        "address add 172.16.0.1/24 dev tun9",
        "route add 10.20.0.0/16 via 192.168.1.98 metric 30",
        "route add 10.77.0.0/16 via 192.168.1.98 metric 20 proto 186",
        "nexthop add id 210000007 via 192.168.1.98 dev lan0 proto 186",
        "nexthop add id 5 via 192.168.1.98 dev lan0",
        "route add 10.78.0.0/16 nhid 5",
    ] {
        ip(command);
    }
}

fn foreign_things() -> Vec<String> {
    let mut lines = vec![
        ip("-4 address show dev tun9"),
        ip("-d link show dev lan0"),
        ip("-4 address show dev lan0"),
        sysctl("net/ipv4/conf/tun9/rp_filter"),
        sysctl("net/ipv4/conf/lan0/rp_filter"),
    ];
    lines.extend(
        ip("route show")
            .lines()
            .filter(|line| !line.contains("proto 210"))
            .map(str::to_owned),
    );
    lines.extend(
        ip("nexthop show")
            .lines()
            .filter(|line| !line.contains("proto 210"))
            .map(str::to_owned),
    );
    lines.retain(|line| !line.contains("dev tun1") && !line.contains("dev tun2"));
    lines
}

/// What is ours, in words.
fn shown() -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for link in ip_json("-d address show") {
        let name = link["ifname"].as_str().unwrap();
        if !["tun1", "tun2"].contains(&name) {
            continue;
        }
        let up = link["flags"].as_array().unwrap().contains(&"UP".into());
        shown.insert(format!(
            "{name}: {} mtu {} up {up}",
            link["ifalias"], link["mtu"]
        ));
        for address in link["addr_info"].as_array().unwrap() {
            if address["family"] == "inet" {
                shown.insert(format!(
                    "{name}: {}/{}",
                    address["local"], address["prefixlen"]
                ));
            }
        }
        for (leaf, wrong) in [("rp_filter", "2"), ("forwarding", "1")] {
            let value = sysctl(&format!("net/ipv4/conf/{name}/{leaf}"));
            if value != wrong {
                shown.insert(format!("{name}: {leaf} is {value}"));
            }
        }
    }
    for (prefix, ways) in ways() {
        shown.insert(format!("{prefix}: {ways:?}"));
    }
    for key in ["ip_forward", "fib_multipath_hash_policy"] {
        shown.insert(format!("{key} {}", sysctl(&format!("net/ipv4/{key}"))));
    }
    shown
}

/// Where our routes lead, by prefix. A nexthop object of ours that no route uses counts as one too many.
fn ways() -> BTreeMap<String, BTreeSet<String>> {
    let objects: BTreeMap<u64, Value> = ip_json("nexthop show")
        .into_iter()
        .map(|object| (object["id"].as_u64().unwrap(), object))
        .collect();
    let is_ours = |object: &Value| object["protocol"] == "210";
    let mut unused: BTreeSet<u64> = objects
        .iter()
        .filter(|(_, o)| is_ours(o))
        .map(|(id, _)| *id)
        .collect();
    let mut ways = BTreeMap::new();
    for route in ip_json("route show proto 210") {
        let mut hops = BTreeSet::new();
        if let Some(id) = route["nhid"].as_u64() {
            unused.remove(&id);
            let members = objects[&id]["group"].as_array().cloned();
            let members = members.map_or(vec![id], |group| {
                group.iter().map(|m| m["id"].as_u64().unwrap()).collect()
            });
            for member in members {
                unused.remove(&member);
                let object = &objects[&member];
                hops.insert(format!("{} {}", object["gateway"], object["dev"]));
            }
        }
        if route["type"] == "blackhole" {
            hops.insert("nowhere".into());
        }
        let key = format!(
            "{} metric {}",
            route["dst"].as_str().unwrap(),
            route["metric"]
        );
        assert_eq!(ways.insert(key, hops), None);
    }
    if !unused.is_empty() {
        ways.insert(
            "unused nexthop objects".into(),
            unused.iter().map(u64::to_string).collect(),
        );
    }
    ways
}

/// What [`shown`] says when all is well, written down by hand.
fn wanted() -> BTreeSet<String> {
    let one = r#""10.1.0.1" "tun1""#.to_owned();
    let two = r#""10.2.0.1" "tun2""#.to_owned();
    let nodes = ["11", "12"].map(|node| format!(r#""192.168.1.{node}" "lan0""#));
    let mut wanted: BTreeSet<String> = [
        r#"tun1: "causeway:oci-1" mtu 1400 up true"#,
        r#"tun2: "causeway:oci-2" mtu 1400 up true"#,
        r#"tun1: "10.1.0.0"/31"#,
        r#"tun2: "10.2.0.0"/31"#,
        "ip_forward 1",
        "fib_multipath_hash_policy 1",
    ]
    .map(str::to_owned)
    .into();
    let mut route = |prefix: &str, ways: BTreeSet<String>| {
        wanted.insert(format!("{prefix} metric 20: {ways:?}"));
    };
    route("10.20.0.0/16", [one.clone(), two.clone()].into());
    route("10.21.0.0/16", [one.clone(), two].into());
    route("10.22.0.0/16", [one].into());
    route("10.23.0.0/16", ["nowhere".to_owned()].into());
    route("10.99.0.1", nodes.into());
    wanted
}
