//! A gateway without tunnels, and the nodes on its LAN.

use std::net::Ipv4Addr;

use lab::{
    Gateway, Launch, Neighbor, ReferenceSite, Scene, Speaker, addresses as at, eventually_true,
    kernel_route,
};

pub(crate) const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// A gateway without tunnels, and the nodes as neighbors.
pub(crate) fn site_file(more: &str) -> String {
    format!(
        r#"
[gateway]
name = "lan"
address = "203.0.113.10"
networks = ["192.168.2.0/24"]

[bgp]
asn = 65551
router-id = "192.168.200.1"
redistribute = ["connected"]

[bgp.neighbor.nodes]
addresses = ["192.168.200.31", "192.168.200.32", "192.168.200.33"]
remote-asn = 65000
source = "lan200"
hold-time = "9s"
import = "services"
export = "home"
{more}

[prefix-list]
services = [{{ permit = "172.16.200.0/24", ge = 32 }}]
home = [{{ permit = "192.168.2.0/24" }}]

[daemon]
data-plane = "userspace"
socket = "{{dir}}/control.sock"
"#
    )
}

pub(crate) fn node(index: usize) -> Speaker {
    let gateway = Neighbor::new(at::NODES_GATEWAY, at::LAN_ASN).hold(9);
    Speaker::new(at::NODES_ASN, at::NODES[index])
        .network(&format!("{}/32", at::SERVICE))
        .neighbor(gateway.local(at::NODES[index]))
}

/// The network, with our daemon running.
pub(crate) struct Lan {
    pub(crate) gateway: Gateway,
    pub(crate) site: ReferenceSite,
}

impl Lan {
    /// Starts the daemon, with more lines for the nodes' section.
    #[track_caller]
    pub(crate) fn start(more: &str) -> Self {
        Self::start_with(more, &[])
    }

    /// The same, with secret files.
    #[track_caller]
    pub(crate) fn start_with(more: &str, secrets: &[(&str, &str)]) -> Self {
        Self::start_site(&site_file(more), secrets)
    }

    /// The same with another site file.
    #[track_caller]
    pub(crate) fn start_file(file: &str) -> Self {
        Self::start_site(file, &[])
    }

    #[track_caller]
    fn start_site(file: &str, secrets: &[(&str, &str)]) -> Self {
        Self::start_in(ReferenceSite::new(), file, secrets)
    }

    /// The same in a network that the test has made its own.
    #[track_caller]
    pub(crate) fn start_in(site: ReferenceSite, file: &str, secrets: &[(&str, &str)]) -> Self {
        for node in &site.nodes {
            node.exec(&["ip", "route", "del", "default"]);
        }
        let mut launch = Launch::new(CAUSEWAY, file);
        for (name, text) in secrets {
            launch = launch.secret(name, text);
        }
        let gateway = Gateway::start(&site.gateway, &launch);
        Self { gateway, site }
    }

    pub(crate) fn ways(&self) -> Vec<String> {
        let route = kernel_route(&self.site.gateway, at::SERVICE);
        let hops = route.map_or_else(Vec::new, |route| route.next_hops);
        hops.into_iter().filter_map(|(via, _)| via).collect()
    }

    #[track_caller]
    pub(crate) fn wait_for_ways(&self, nodes: &[usize]) {
        let expected: Vec<&str> = nodes.iter().map(|index| at::NODES[*index]).collect();
        eventually_true(
            Scene::SOON,
            format_args!("the service is at {expected:?}"),
            || self.ways() == expected,
        );
    }

    /// A flow from home to the service; only for one that is on one node alone.
    pub(crate) fn flow_to_the_service(&self, node: usize) -> lab::UdpFlow {
        let service = Ipv4Addr::new(172, 16, 200, 1);
        lab::UdpFlow::start(&self.site.home, &self.site.nodes[node], service, 200, 64)
    }

    pub(crate) fn flow_home(&self, node: usize) -> lab::UdpFlow {
        let home = Ipv4Addr::new(192, 168, 2, 250);
        lab::UdpFlow::start(&self.site.nodes[node], &self.site.home, home, 200, 64)
    }
}
