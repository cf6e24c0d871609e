//! The model that the laws are proved on, against the kernel: whatever is wished for, and whatever
//! is done behind our back, what the reconciler believes afterwards is what the kernel shows.

use std::collections::BTreeMap;

use vti::{
    host::{Host as _, Reconciler},
    ifname::IfName,
    kernel::KernelHost,
    observed::{Nexthop, NexthopId, Observed, RouteObserved},
    plan::{Desired, LinkDesired, NextHop, RouteDesired, RouteKey},
    sysctl::{Saved, Sysctl},
};

use crate::sandbox::{State, hop, ip, name, net, route, sandbox, tunnels};

#[test]
fn what_is_believed_is_what_the_kernel_shows() {
    for seed in 1..=6 {
        sandbox(async move || {
            let _plane = tunnels(2);
            let state = State::new(&format!("model-{seed}"));
            let mut host = state.start().await;
            let mut dice = Dice(seed);
            for step in 0..40 {
                let desired = dice.desired();
                if dice.roll(3) == 0 {
                    dice.disturb();
                    host.invalidate();
                }
                let report = host.reconcile(&desired).await.unwrap();
                assert!(report.is_settled(), "seed {seed}, step {step}: {report:?}");
                compare(
                    &mut host,
                    &format!("seed {seed}, step {step}, {:?}", report.applied),
                )
                .await;
            }
        });
    }
}

async fn compare(host: &mut Reconciler<KernelHost>, context: &str) {
    let shown = host.host().observe().await.unwrap();
    let believed = host.believed().unwrap();
    assert_eq!(ours(believed), ours(&shown), "{context}");
}

type Ours = (
    BTreeMap<IfName, (String, u32, bool, Vec<String>)>,
    BTreeMap<Sysctl, String>,
    BTreeMap<Sysctl, Saved>,
    BTreeMap<NexthopId, Nexthop>,
    BTreeMap<RouteKey, RouteObserved>,
);

/// What the model answers for. Connected routes, link-local addresses and the like come and go by the kernel's own rules.
fn ours(observed: &Observed) -> Ours {
    let addresses = |link: &vti::observed::LinkObserved| {
        let v4 = link.addresses.iter().filter(|net| net.addr().is_ipv4());
        v4.map(ToString::to_string).collect()
    };
    let links = observed.links.iter().filter(|(_, link)| link.is_ours());
    let links = links.map(|(dev, link)| {
        (
            *dev,
            (link.alias.clone(), link.mtu, link.up, addresses(link)),
        )
    });
    (
        links.collect(),
        observed.sysctls.clone(),
        observed.saved.clone(),
        observed.nexthops.clone(),
        observed.routes.clone(),
    )
}

/// A generator of wishes and mischief (xorshift), so that a seed names a run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// Both tunnels always, since one that is not wished for is deleted; the rest as it falls.
    fn desired(&mut self) -> Desired {
        let mut desired = Desired::default();
        if self.roll(2) == 0 {
            desired = desired.with_gateway_sysctls(self.roll(2) == 0);
        }
        for (dev, choices) in [
            (
                "tun1",
                ["10.1.0.0/31", "10.1.0.1/31", "10.1.0.0/30", "192.0.2.1/32"],
            ),
            (
                "tun2",
                ["10.2.0.0/31", "10.2.0.2/30", "10.2.0.0/30", "192.0.2.2/32"],
            ),
        ] {
            let first = net(choices[self.roll(3) as usize]);
            let second = net(choices[self.roll(4) as usize]);
            let mtu = 1400 + self.roll(3) as u32;
            desired = desired.with_tunnel(name(dev), LinkDesired::new(dev, mtu, [first, second]));
        }
        for prefix in [
            "10.20.0.0/16",
            "10.21.0.0/16",
            "10.22.0.0/16",
            "10.99.0.1/32",
            "0.0.0.0/0",
        ] {
            match self.roll(6) {
                0 => {}
                1 => {
                    let key = RouteKey::main(net(prefix));
                    desired = desired.with_route(key, RouteDesired::blackhole());
                }
                _ => {
                    let hops = self.hops();
                    desired = route(desired, prefix, &hops);
                    let key = RouteKey::main(net(prefix));
                    if let (0, Some(route)) = (self.roll(3), desired.routes.get_mut(&key)) {
                        let source = ["192.168.1.1", "10.1.0.0"][self.roll(2) as usize];
                        route.prefsrc = source.parse().ok();
                    }
                }
            }
        }
        desired
    }

    fn hops(&mut self) -> Vec<NextHop> {
        let all = [
            hop("tun1", "10.1.0.1"),
            hop("tun2", "10.2.0.1"),
            hop("lan0", "192.168.1.11"),
            hop("lan0", "192.168.1.12"),
            hop("lan0", "203.0.113.9"),
            NextHop::dev(name("tun2")),
        ];
        let mut hops: Vec<NextHop> = all.into_iter().filter(|_| self.roll(2) == 0).collect();
        for hop in &mut hops {
            hop.weight = if self.roll(4) == 0 { 7 } else { 1 };
        }
        if hops.is_empty() { vec![all[0]] } else { hops }
    }

    /// What happens on hosts, as far as the kernel is done with it at once: a lost carrier it works off
    /// later, while we look.
    fn disturb(&mut self) {
        let command = match self.roll(7) {
            0 => "link set tun1 down",
            1 => "link set tun2 down",
            2 => "link set lan0 down",
            3 => "addr flush dev tun1",
            4 => "route flush proto 210",
            5 => "nexthop flush proto 210",
            _ => "route replace 10.22.0.0/16 via 192.168.1.99 metric 20 proto 186",
        };
        // Whether there was something to disturb does not matter.
        let _ = std::process::Command::new("ip")
            .args(command.split(' '))
            .output();
        if self.roll(2) == 0 {
            ip("link set lan0 up");
        }
    }
}
