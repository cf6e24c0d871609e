//! The peers of the reference site, running: the cloud's two ends and the Kubernetes nodes.

use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use crate::bgp::{Neighbor, Router, Speaker};
use crate::bird::Bird;
use crate::connection::Connection;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::head_end::{HeadEnd, Peers};
use crate::site::{ReferenceSite, addresses as at};
use crate::wait::eventually_true;

/// How long a head-end's daemon may take until it has its interface.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The cloud: strongSwan (or what [`Peers::asked_for`] says) at both head-ends, FRR at the first and BIRD at the second, and BIRD as the VCN's router, which
/// hears from both by iBGP what the site announces, so that the way back follows the tunnels that live.
#[derive(Debug)]
pub struct Cloud {
    /// The two head-ends; each connection and child is called `cpe`.
    pub swan: [HeadEnd; 2],
    /// The router at the first head-end.
    pub frr: Frr,
    /// The router at the second head-end.
    pub bird: Bird,
    /// The VCN's router.
    pub vcn: Bird,
}

impl Cloud {
    /// Starts the cloud with the reference site's parameters.
    #[track_caller]
    #[must_use]
    pub fn start(site: &ReferenceSite) -> Self {
        Self::start_with(site, |_, _| {})
    }

    /// The same, with a chance to change each head-end's connection (by its index, 0 or 1) before it is loaded.
    #[track_caller]
    #[must_use]
    pub fn start_with(
        site: &ReferenceSite,
        mut change: impl FnMut(usize, &mut Connection),
    ) -> Self {
        let peers = Peers::asked_for();
        let connections = [0, 1].map(|index| {
            let mut connection = Self::connection(index);
            change(index, &mut connection);
            connection
        });
        // Side by side: each of them takes its time to answer.
        std::thread::scope(|scope| {
            let mut index = 0..;
            let swan = connections.map(|connection| {
                let index = index.next().unwrap_or_default();
                let inside = format!("{}/31", at::INSIDE_THEIRS[index]);
                let ns = &site.drg[index];
                scope.spawn(move || HeadEnd::start(peers, ns, &inside, connection))
            });
            let frr = scope.spawn(|| {
                // FRR's bgpd may never hear of an interface that appears while it registers with zebra.
                eventually_true(START_LIMIT, "the first head-end has its interface", || {
                    let show = ["ip", "link", "show", "ipsec0"];
                    site.drg[0].try_exec(&show).ok()
                });
                Frr::start(&site.drg[0], &Self::speaker(0))
            });
            let bird = scope.spawn(|| Bird::start(&site.drg[1], &Self::speaker(1)));
            let vcn = Bird::start(&site.vcn, &Self::vcn_speaker());
            Self {
                swan: swan.map(started),
                frr: started(frr),
                bird: started(bird),
                vcn,
            }
        })
    }

    /// A head-end's side of its tunnel.
    #[must_use]
    pub fn connection(index: usize) -> Connection {
        Connection::new("cpe", at::HEAD_ENDS[index], at::GATEWAY, at::PSKS[index])
    }

    /// A head-end as a BGP speaker: eBGP with the gateway, iBGP with the VCN's router.
    #[must_use]
    pub fn speaker(index: usize) -> Speaker {
        let n = index + 1;
        let gateway = Neighbor::new(at::INSIDE_OURS[index], at::SITE_ASN);
        let vcn = Neighbor::new(&format!("100.64.{n}.2"), at::CLOUD_ASN);
        Speaker::new(at::CLOUD_ASN, at::INSIDE_THEIRS[index])
            .network(at::VCN)
            .neighbor(gateway.local(at::INSIDE_THEIRS[index]))
            .neighbor(vcn)
    }

    fn vcn_speaker() -> Speaker {
        Speaker::new(at::CLOUD_ASN, "10.0.0.1")
            .neighbor(Neighbor::new("100.64.1.1", at::CLOUD_ASN).passive())
            .neighbor(Neighbor::new("100.64.2.1", at::CLOUD_ASN).passive())
    }

    /// The router of a head-end, by its index.
    #[must_use]
    pub fn router(&self, index: usize) -> &dyn Router {
        if index == 0 { &self.frr } else { &self.bird }
    }

    /// Whether the head-end's session with the gateway is Established.
    #[track_caller]
    #[must_use]
    pub fn established(&self, index: usize) -> bool {
        self.router(index).established(at::INSIDE_OURS[index])
    }

    /// What the head-end has received from the gateway.
    #[track_caller]
    #[must_use]
    pub fn received(&self, index: usize) -> Vec<String> {
        let received = self.router(index).received(at::INSIDE_OURS[index]);
        received.into_iter().collect()
    }
}

/// What a thread has started; its panic goes on here.
fn started<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// GoBGP on the three Kubernetes nodes, each announcing the service address.
#[derive(Debug)]
pub struct Nodes {
    /// One speaker for each node.
    pub speakers: [GoBgp; 3],
}

impl Nodes {
    /// Starts the nodes' speakers.
    #[track_caller]
    #[must_use]
    pub fn start(site: &ReferenceSite) -> Self {
        std::thread::scope(|scope| {
            let starting = [0, 1, 2].map(|index| {
                scope.spawn(move || {
                    let gateway = Neighbor::new(at::NODES_GATEWAY, at::LAN_ASN).hold(9);
                    let speaker = Speaker::new(at::NODES_ASN, at::NODES[index])
                        .network(&format!("{}/32", at::SERVICE))
                        .neighbor(gateway.local(at::NODES[index]));
                    GoBgp::start(&site.nodes[index], &speaker)
                })
            });
            Self {
                speakers: starting.map(started),
            }
        })
    }

    /// How many sessions with the gateway are Established, in the nodes' own view.
    #[track_caller]
    #[must_use]
    pub fn established(&self) -> usize {
        let up = |node: &&GoBgp| node.established(at::NODES_GATEWAY);
        self.speakers.iter().filter(up).count()
    }
}
