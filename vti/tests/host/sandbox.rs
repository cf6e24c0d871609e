//! A network namespace for each test, with a LAN and real TUN interfaces in it.

use std::{future::Future, path::PathBuf, process::Command, thread};

use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tokio::sync::mpsc;
use vti::{
    host::Reconciler,
    ifname::IfName,
    kernel::KernelHost,
    plan::{Desired, LinkDesired, NextHop, RouteDesired, RouteKey},
    plane::{DataPlane as _, PlaneEvent, TunnelId, TunnelSpec},
    sysctl::Sysctls,
    user::{UserPlane, UserPlaneConfig},
};

/// Runs a test in a fresh network namespace with `lan0` (192.168.1.1/24) up. Fails if we are not root.
pub(crate) fn sandbox<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("this test makes a network namespace: run it as root");
        ip("link set lo up");
        ip("link add lan0 type veth peer name lan0p");
        ip("link set lan0 up");
        ip("link set lan0p up");
        ip("addr add 192.168.1.1/24 dev lan0");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    };
    if let Err(panic) = thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

/// The data plane with the TUN interfaces of tunnels 1 to `count`, down and without addresses.
pub(crate) fn tunnels(count: u32) -> (UserPlane, mpsc::Receiver<PlaneEvent>) {
    let (events, received) = mpsc::channel(64);
    let mut plane = UserPlane::new(&UserPlaneConfig::default(), events).unwrap();
    for id in 1..=count {
        plane.add_tunnel(&spec(TunnelId(id))).unwrap();
    }
    (plane, received)
}

/// The tunnel of that number, on an interface `tun<number>`.
pub(crate) fn spec(id: TunnelId) -> TunnelSpec {
    TunnelSpec {
        id,
        interface: format!("tun{id}"),
        mss_clamp: true,
        replay_window: 1024,
        outer_mtu: 1500,
        copy_dscp: false,
        binding: None,
        offload: vti::plane::Offload::Off,
    }
}

/// A state file of this test's own, in a directory that is gone at the end.
pub(crate) struct State(PathBuf);

impl State {
    pub(crate) fn new(test: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("causeway-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        Self(directory)
    }

    pub(crate) fn sysctls(&self) -> Sysctls {
        Sysctls::new("/proc/sys", self.0.join("run/sysctl.saved"))
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.join("run/sysctl.saved").exists()
    }

    /// A daemon that starts here and now.
    pub(crate) async fn start(&self) -> Reconciler<KernelHost> {
        Reconciler::new(KernelHost::open(self.sysctls()).await.unwrap())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Two tunnels with their even addresses, and nothing else.
pub(crate) fn two_tunnels() -> Desired {
    Desired::default()
        .with_tunnel(
            name("tun1"),
            LinkDesired::new("oci-1", 1400, [net("10.1.0.0/31")]),
        )
        .with_tunnel(
            name("tun2"),
            LinkDesired::new("oci-2", 1400, [net("10.2.0.0/31")]),
        )
}

pub(crate) fn both() -> [NextHop; 2] {
    [hop("tun1", "10.1.0.1"), hop("tun2", "10.2.0.1")]
}

pub(crate) fn route(desired: Desired, prefix: &str, hops: &[NextHop]) -> Desired {
    let set = hops.iter().copied().collect::<vti::plan::NextHopSet>();
    desired.with_route(RouteKey::main(net(prefix)), RouteDesired::via(set))
}

pub(crate) fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

pub(crate) fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

pub(crate) fn hop(dev: &str, via: &str) -> NextHop {
    NextHop::via(via.parse().unwrap(), name(dev))
}

/// Runs `ip` with these arguments; it must succeed.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `ip -j` says.
pub(crate) fn ip_json(arguments: &str) -> Vec<Value> {
    let text = ip(&format!("-j {arguments}"));
    if text.trim().is_empty() {
        Vec::new()
    } else {
        serde_json::from_str(&text).unwrap()
    }
}

/// The next hops that `ip` shows for a route of ours, as sorted "gateway dev" lines.
pub(crate) fn shown(prefix: &str) -> Vec<String> {
    let routes = ip_json(&format!("route show {prefix} proto 210"));
    let one = |hop: &Value| {
        let text = |key| {
            hop.get(key)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        format!("{} {}", text("gateway"), text("dev"))
    };
    let mut hops: Vec<String> = routes
        .iter()
        .flat_map(|route| match route.get("nexthops") {
            Some(Value::Array(hops)) => hops.iter().map(one).collect(),
            _ => vec![one(route)],
        })
        .collect();
    hops.sort();
    hops
}

pub(crate) fn sysctl(key: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{key}"))
        .unwrap()
        .trim()
        .to_owned()
}
