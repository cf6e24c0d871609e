//! The reference site as a network: a home with its gateway, the internet, two cloud head-ends and a VCN behind them.
//!
//! ```text
//!  home 192.168.2.250 ──lan0┐                              ┌─ drg1 198.51.100.1 (inside 10.1.0.1) ─┐
//!  lab  172.24.0.250 ───lan1┤ gateway ──wan0──(nat)── internet                                     vcn ── instance
//!  node1…3 ── switch ─lan200┘ 203.0.113.10       │        └─ drg2 198.51.100.2 (inside 10.2.0.1) ─┘     10.0.0.9
//!  192.168.200.31–.33                              └─ stranger 192.0.2.66
//! ```
//!
//! Only cables, addresses, default routes and forwarding: no daemon runs, and the gateway is left to whoever plays it.

use crate::cabling::Cabling;
use crate::netns::{Net, Ns};

/// Who has which address and which AS number.
pub mod addresses {
    /// The gateway's public address; behind a NAT it is the NAT's.
    pub const GATEWAY: &str = "203.0.113.10";
    /// The gateway's own address behind a NAT.
    pub const GATEWAY_BEHIND_NAT: &str = "192.168.1.2";
    /// The public addresses of the two head-ends.
    pub const HEAD_ENDS: [&str; 2] = ["198.51.100.1", "198.51.100.2"];
    /// The gateway's inside addresses: the even ones of each /31.
    pub const INSIDE_OURS: [&str; 2] = ["10.1.0.0", "10.2.0.0"];
    /// The head-ends' inside addresses.
    pub const INSIDE_THEIRS: [&str; 2] = ["10.1.0.1", "10.2.0.1"];
    /// The pre-shared keys of the two tunnels.
    pub const PSKS: [&str; 2] = [
        "Firsttunnelsecret0123456789",
        "Secondtunnelsecret0123456789",
    ];
    /// A machine on the home network.
    pub const HOME: &str = "192.168.2.250";
    /// A machine on the second home network.
    pub const LAB: &str = "172.24.0.250";
    /// What the site announces to the cloud.
    pub const SITE_NETWORKS: [&str; 2] = ["172.24.0.0/24", "192.168.2.0/24"];
    /// What the cloud announces to the site.
    pub const VCN: &str = "10.0.0.0/16";
    /// A machine in the cloud.
    pub const INSTANCE: &str = "10.0.0.9";
    /// Somebody on the internet.
    pub const STRANGER: &str = "192.0.2.66";
    /// The gateway on the nodes' network.
    pub const NODES_GATEWAY: &str = "192.168.200.1";
    /// The Kubernetes nodes.
    pub const NODES: [&str; 3] = ["192.168.200.31", "192.168.200.32", "192.168.200.33"];
    /// The service address that every node announces.
    pub const SERVICE: &str = "172.16.200.1";
    /// The cloud's AS number (Oracle's).
    pub const CLOUD_ASN: u32 = 31898;
    /// The site's AS number, towards the cloud.
    pub const SITE_ASN: u32 = 65000;
    /// The site's AS number towards the nodes: a 4-octet one.
    pub const LAN_ASN: u32 = 65551;
    /// The nodes' AS number.
    pub const NODES_ASN: u32 = 65000;
}

use addresses as at;

/// The reference site's network.
#[derive(Debug)]
pub struct ReferenceSite {
    /// A machine on the home network, 192.168.2.250.
    pub home: Ns,
    /// A machine on the second home network, 172.24.0.250.
    pub lab: Ns,
    /// The gateway: `wan0`, `lan0` 192.168.2.1/24, `lan1` 172.24.0.1/24, `lan200` 192.168.200.1/24.
    pub gateway: Ns,
    /// The NAT between the gateway and the internet, where there is one.
    pub nat: Option<Ns>,
    /// The router in the middle: `gateway`, `stranger`, and the bridge `cloud` with `drg1` and `drg2`.
    pub internet: Ns,
    /// The head-ends: `wan0` and `vcn0` each.
    pub drg: [Ns; 2],
    /// The VCN's router: `drg1`, `drg2`, `subnet`.
    pub vcn: Ns,
    /// A machine in the cloud, 10.0.0.9.
    pub instance: Ns,
    /// Somebody on the internet, 192.0.2.66.
    pub stranger: Ns,
    /// The Kubernetes nodes, 192.168.200.31 to .33; each has the service address on its loopback.
    pub nodes: [Ns; 3],
    /// The switch between the nodes and the gateway: ports `node1` to `node3` and `gateway`.
    pub switch: Ns,
    /// The network that all this is; the last field, so that it goes last.
    pub net: Net,
}

impl ReferenceSite {
    /// The site with its gateway at a public address.
    #[must_use]
    pub fn new() -> Self {
        Self::build(false)
    }

    /// The site with its gateway at 192.168.1.2 behind a router that masquerades it as 203.0.113.10.
    #[must_use]
    pub fn behind_nat() -> Self {
        Self::build(true)
    }

    fn build(behind_nat: bool) -> Self {
        let net = Net::new();
        let mut cabling = Cabling::new(&net);
        let gateway = cabling.ns("gateway");
        let internet = cabling.ns("internet");
        internet.forward();
        let nat = behind_nat.then(|| cabling.ns("nat"));
        connect_gateway(&mut cabling, &gateway, nat.as_ref(), &internet);
        let [home, lab] = [
            ("home", at::HOME, "lan0", "192.168.2.1"),
            ("lab", at::LAB, "lan1", "172.24.0.1"),
        ]
        .map(|(name, address, link, router)| {
            let host = cabling.ns(name);
            let (here, there) = (format!("{address}/24"), format!("{router}/24"));
            cabling.veth((&host, "eth0", &here), (&gateway, link, &there));
            cabling.route(&host, &format!("default via {router}"));
            host
        });
        let stranger = cabling.ns("stranger");
        cabling.veth(
            (&stranger, "eth0", "192.0.2.66/24"),
            (&internet, "stranger", "192.0.2.1/24"),
        );
        cabling.route(&stranger, "default via 192.0.2.1");
        let (drg, vcn, instance) = build_cloud(&mut cabling, &internet);
        let (nodes, switch) = build_nodes(&mut cabling, &gateway);
        cabling.lay();
        Self {
            home,
            lab,
            gateway,
            nat,
            internet,
            drg,
            vcn,
            instance,
            stranger,
            nodes,
            switch,
            net,
        }
    }
}

impl Default for ReferenceSite {
    fn default() -> Self {
        Self::new()
    }
}

fn connect_gateway(cabling: &mut Cabling<'_>, gateway: &Ns, nat: Option<&Ns>, internet: &Ns) {
    let Some(nat) = nat else {
        cabling.veth(
            (gateway, "wan0", "203.0.113.10/24"),
            (internet, "gateway", "203.0.113.1/24"),
        );
        cabling.route(gateway, "default via 203.0.113.1");
        return;
    };
    cabling.veth(
        (gateway, "wan0", "192.168.1.2/24"),
        (nat, "lan0", "192.168.1.1/24"),
    );
    cabling.veth(
        (nat, "wan0", "203.0.113.10/24"),
        (internet, "gateway", "203.0.113.1/24"),
    );
    cabling.route(gateway, "default via 192.168.1.1");
    cabling.route(nat, "default via 203.0.113.1");
    nat.forward();
    nat.nft(
        "table ip nat {\n chain post {\n  type nat hook postrouting priority 100; policy accept;\n  \
         oifname \"wan0\" masquerade random\n }\n}\n",
    );
}

/// The two head-ends on one public subnet, the VCN's router behind both, and one machine in it.
fn build_cloud(cabling: &mut Cabling<'_>, internet: &Ns) -> ([Ns; 2], Ns, Ns) {
    let vcn = cabling.ns("vcn");
    vcn.forward();
    vcn.sysctl("net/ipv4/fib_multipath_hash_policy", "1");
    let drg = [1, 2].map(|n| {
        let drg = cabling.ns(&format!("drg{n}"));
        drg.forward();
        let (name, public) = (format!("drg{n}"), format!("198.51.100.{n}/24"));
        cabling.veth((&drg, "wan0", &public), (internet, &name, ""));
        cabling.route(&drg, "default via 198.51.100.254");
        let (here, there) = (format!("100.64.{n}.1/30"), format!("100.64.{n}.2/30"));
        cabling.veth((&drg, "vcn0", &here), (&vcn, &name, &there));
        cabling.route(&drg, &format!("{} via 100.64.{n}.2", at::VCN));
        drg
    });
    cabling.bridge(internet, "cloud", "198.51.100.254/24", &["drg1", "drg2"]);
    let instance = cabling.ns("instance");
    cabling.veth(
        (&instance, "eth0", "10.0.0.9/24"),
        (&vcn, "subnet", "10.0.0.1/24"),
    );
    cabling.route(&instance, "default via 10.0.0.1");
    (drg, vcn, instance)
}

/// Three nodes on a switch with the gateway.
fn build_nodes(cabling: &mut Cabling<'_>, gateway: &Ns) -> ([Ns; 3], Ns) {
    let switch = cabling.ns("switch");
    cabling.veth(
        (gateway, "lan200", "192.168.200.1/24"),
        (&switch, "gateway", ""),
    );
    let nodes = [1, 2, 3].map(|n| {
        let (name, address) = (format!("node{n}"), format!("192.168.200.3{n}/24"));
        let node = cabling.ns(&name);
        cabling.veth((&node, "eth0", &address), (&switch, &name, ""));
        cabling.route(&node, &format!("default via {}", at::NODES_GATEWAY));
        cabling.line(&node, &format!("addr add {}/32 dev lo", at::SERVICE));
        node
    });
    cabling.bridge(&switch, "br0", "", &["gateway", "node1", "node2", "node3"]);
    (nodes, switch)
}
