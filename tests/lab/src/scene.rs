//! The whole reference site running, with our daemon at the gateway.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::causeway::Gateway;
use crate::cloud::Cloud;
use crate::connection::Connection;
use crate::sa::ChildSa;
use crate::site::{ReferenceSite, addresses as at};
use crate::site_file::SiteFile;

use crate::tools::{Route, kernel_route};
use crate::traffic::{PingReport, UdpFlow, ping};
use crate::wait::eventually_true;

/// The names of the two tunnels in [`SiteFile::reference`].
const TUNNELS: [&str; 2] = ["oci-1", "oci-2"];

/// Our daemon, the cloud and the network between them. Fields go in the order that they should end in.
#[derive(Debug)]
pub struct Scene {
    /// Our daemon.
    pub gateway: Gateway,
    /// The peers.
    pub cloud: Cloud,
    /// The network.
    pub site: ReferenceSite,
}

impl Scene {
    /// How long a step that should take a moment may take on a busy machine.
    pub const SOON: Duration = Duration::from_secs(15);

    /// Starts the cloud, then the daemon `binary` with a site file, and waits until it answers; for nothing else.
    #[track_caller]
    #[must_use]
    pub fn start(binary: &str, file: &SiteFile) -> Self {
        Self::start_with(ReferenceSite::new(), binary, file, |_, _| {})
    }

    /// The same on a network of the caller's, with a change to the head-ends' connections.
    #[track_caller]
    #[must_use]
    pub fn start_with(
        site: ReferenceSite,
        binary: &str,
        file: &SiteFile,
        change: impl FnMut(usize, &mut Connection),
    ) -> Self {
        let cloud = Cloud::start_with(&site, change);
        let gateway = Gateway::start(&site.gateway, &file.launch(binary));
        Self {
            gateway,
            cloud,
            site,
        }
    }

    /// Starts all with the reference site's file and waits until both tunnels and both sessions are up on both sides.
    #[track_caller]
    #[must_use]
    pub fn up(binary: &str) -> Self {
        let scene = Self::start(binary, &SiteFile::reference());
        scene.wait_until_up();
        scene
    }

    /// Waits until both tunnels and both sessions are up, in our view and in the peers', and the routes are in place on
    /// both sides.
    #[track_caller]
    pub fn wait_until_up(&self) {
        self.gateway.wait_for_tunnels(&TUNNELS, Self::SOON);
        self.gateway.wait_for_bgp(&at::INSIDE_THEIRS, Self::SOON);
        for index in [0, 1] {
            eventually_true(Self::SOON, "the head-end's session is Established", || {
                self.cloud.established(index)
            });
            eventually_true(
                Self::SOON,
                "the head-end has the site's networks, and no more",
                || self.cloud.received(index) == at::SITE_NETWORKS,
            );
        }
        eventually_true(
            Self::SOON,
            "the gateway's kernel has both ways to the VCN",
            || self.ways_to_the_vcn() == 2,
        );
        eventually_true(Self::SOON, "the VCN has both ways to the site", || {
            self.ways_back() == 2
        });
    }

    /// The gateway's kernel route to the VCN.
    #[track_caller]
    #[must_use]
    pub fn route_to_the_vcn(&self) -> Option<Route> {
        kernel_route(&self.site.gateway, at::VCN)
    }

    /// How many next hops the gateway's kernel has to the VCN.
    #[track_caller]
    #[must_use]
    pub fn ways_to_the_vcn(&self) -> usize {
        self.route_to_the_vcn()
            .map_or(0, |route| route.next_hops.len())
    }

    /// How many next hops the VCN's router has to the home network.
    #[track_caller]
    #[must_use]
    pub fn ways_back(&self) -> usize {
        kernel_route(&self.site.vcn, "192.168.2.0/24").map_or(0, |route| route.next_hops.len())
    }

    /// The one child that a head-end has.
    ///
    /// # Panics
    /// When it has not exactly one that carries traffic.
    #[track_caller]
    #[must_use]
    pub fn child(&self, index: usize) -> ChildSa {
        let children = self.cloud.swan[index].installed();
        match <[ChildSa; 1]>::try_from(children) {
            Ok([child]) => child,
            Err(children) => panic!("the head-end has not exactly one child: {children:?}"),
        }
    }

    /// Pings from the gateway through a tunnel to the head-end's inside address.
    #[track_caller]
    #[must_use]
    pub fn ping_inside(&self, index: usize) -> PingReport {
        ping(
            &self.site.gateway,
            at::INSIDE_THEIRS[index],
            3,
            &["-I", at::INSIDE_OURS[index]],
        )
    }

    /// A machine at home and the instance in the cloud answer each other, every echo of so many each way.
    #[track_caller]
    pub fn assert_traffic(&self, echoes: u32) {
        for (from, to) in [
            (&self.site.home, at::INSTANCE),
            (&self.site.instance, at::HOME),
        ] {
            let pinged = ping(from, to, echoes, &[]);
            assert!(pinged.all(), "{}", pinged.text);
        }
    }

    /// A flow of 200 packets a second from a machine at home to the instance in the cloud.
    #[track_caller]
    #[must_use]
    pub fn flow_to_the_cloud(&self) -> UdpFlow {
        UdpFlow::start(
            &self.site.home,
            &self.site.instance,
            Ipv4Addr::new(10, 0, 0, 9),
            200,
            256,
        )
    }

    /// A flow of 200 packets a second from the instance in the cloud to a machine at home.
    #[track_caller]
    #[must_use]
    pub fn flow_from_the_cloud(&self) -> UdpFlow {
        UdpFlow::start(
            &self.site.instance,
            &self.site.home,
            Ipv4Addr::new(192, 168, 2, 250),
            200,
            256,
        )
    }
}
