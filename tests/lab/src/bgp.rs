//! What a BGP speaker of the bench is told, whichever program plays it.

use std::collections::BTreeSet;

/// A BGP speaker, to be played by FRR, BIRD or GoBGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its AS number.
    pub asn: u32,
    /// Its router id, in dotted form.
    pub router_id: String,
    /// Prefixes that it originates, of either family.
    pub networks: Vec<String>,
    /// Its neighbors.
    pub neighbors: Vec<Neighbor>,
    /// How many equal paths it puts into the kernel as one route.
    pub multipath: u16,
    /// It takes part in graceful restart in both roles (RFC 4724), and says at each start that it has restarted.
    pub graceful: bool,
}

impl Speaker {
    /// A speaker with nothing to say to nobody yet.
    #[must_use]
    pub fn new(asn: u32, router_id: &str) -> Self {
        Self {
            asn,
            router_id: router_id.to_owned(),
            networks: Vec::new(),
            neighbors: Vec::new(),
            multipath: 16,
            graceful: false,
        }
    }

    /// The same, originating one more prefix.
    #[must_use]
    pub fn network(mut self, prefix: &str) -> Self {
        self.networks.push(prefix.to_owned());
        self
    }

    /// The same, taking part in graceful restart.
    #[must_use]
    pub fn graceful(mut self) -> Self {
        self.graceful = true;
        self
    }

    /// The same, with one more neighbor.
    #[must_use]
    pub fn neighbor(mut self, neighbor: Neighbor) -> Self {
        self.neighbors.push(neighbor);
        self
    }
}

/// One neighbor of a speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address.
    pub address: String,
    /// Its AS number; equal to the speaker's for iBGP, where the speaker sets itself as the next hop.
    pub asn: u32,
    /// The speaker's own address on this session; empty lets the program choose.
    pub local: String,
    /// Only wait for the neighbor to connect.
    pub passive: bool,
    /// Proposed hold time in seconds; keepalives go at a third of what is negotiated.
    pub hold: u16,
    /// The TCP MD5 key (RFC 2385); empty for none.
    pub password: String,
    /// Only packets that no router has touched are taken (RFC 5082).
    pub ttl_security: bool,
    /// BFD watches the path, with three packets at this interval in milliseconds. FRR and BIRD have it.
    pub bfd: Option<u32>,
    /// Routers may lie between, for BGP and for BFD (FRR).
    pub multihop: bool,
    /// What is exchanged.
    pub families: Exchanged,
}

impl Neighbor {
    /// A neighbor that is connected to, with a hold time of 18 s (what Oracle accepts as the shortest).
    #[must_use]
    pub fn new(address: &str, asn: u32) -> Self {
        Self {
            address: address.to_owned(),
            asn,
            local: String::new(),
            passive: false,
            hold: 18,
            password: String::new(),
            ttl_security: false,
            bfd: None,
            multihop: false,
            families: Exchanged::Ipv4,
        }
    }

    /// The same, from this address of the speaker.
    #[must_use]
    pub fn local(mut self, address: &str) -> Self {
        self.local = address.to_owned();
        self
    }

    /// The same, with another hold time in seconds.
    #[must_use]
    pub fn hold(mut self, seconds: u16) -> Self {
        self.hold = seconds;
        self
    }

    /// The same, signed with this TCP MD5 key.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = password.to_owned();
        self
    }

    /// The same, taking only packets that no router has touched.
    #[must_use]
    pub fn ttl_security(mut self) -> Self {
        self.ttl_security = true;
        self
    }

    /// The same, watched by BFD with three packets at this interval in milliseconds.
    #[must_use]
    pub fn bfd(mut self, interval: u32) -> Self {
        self.bfd = Some(interval);
        self
    }

    /// The same, with routers between perhaps.
    #[must_use]
    pub fn multihop(mut self) -> Self {
        self.multihop = true;
        self
    }

    /// The same, exchanging other families than IPv4 alone. FRR and BIRD have them.
    #[must_use]
    pub fn families(mut self, families: Exchanged) -> Self {
        self.families = families;
        self
    }

    /// The same, waiting for the neighbor to connect.
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.passive = true;
        self
    }

    /// Seconds between keepalives: a third of the hold time (RFC 4271 section 10).
    #[must_use]
    pub fn keepalive(&self) -> u16 {
        (self.hold / 3).max(1)
    }
}

/// The address families of a session. IPv4 over IPv6 has next hops by RFC 8950.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchanged {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
    /// Both.
    Both,
}

impl Exchanged {
    /// Whether IPv4 unicast is among them.
    #[must_use]
    pub fn has_ipv4(self) -> bool {
        self != Self::Ipv6
    }

    /// Whether IPv6 unicast is among them.
    #[must_use]
    pub fn has_ipv6(self) -> bool {
        self != Self::Ipv4
    }
}

/// What a test asks of a router, whichever program it is.
pub trait Router {
    /// Whether the session with this neighbor is in state Established.
    fn established(&self, neighbor: &str) -> bool;

    /// The prefixes that this neighbor has announced and not withdrawn, in the router's own view.
    fn received(&self, neighbor: &str) -> BTreeSet<String>;

    /// The AS path of the best route to a prefix, as numbers.
    fn as_path(&self, prefix: &str) -> Option<Vec<u32>>;

    /// What the router says about the session, for messages.
    fn describe(&self, neighbor: &str) -> String;
}
