//! What a speaker and its peers are told to be, and what a change of it costs.
//!
//! These are the parameters of an ideal client: complete, already validated values. Where they came
//! from (a file, its defaults, a cloud's profile) is the business of the program around this crate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::wire::Families;
use crate::{Asn, PeerName};

/// The speaker's own parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our autonomous system, for every peer that has no `local_asn`.
    pub asn: Asn,
    /// Our BGP Identifier; not zero, unique in our AS (RFC 6286).
    pub router_id: Ipv4Addr,
    /// How many equally good paths may carry one prefix's traffic, 1 to 256.
    pub maximum_paths: u16,
    /// With `true` AS paths of equal length are equally good; with `false` they must be identical.
    pub multipath_relax: bool,
}

/// What kind of network a peer stands for; it decides the safe defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A cloud's gateway behind a tunnel: it is never taught what another cloud taught us, and
    /// neither a default route nor anything overlapping our side is believed.
    Cloud,
    /// A router or node on our own network.
    Lan,
}

/// Which prefixes pass in one direction of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Everything, on purpose.
    PermitAll,
    /// Nothing, on purpose.
    DenyAll,
    /// What the prefix list of that name permits (see [`Command::SetPolicy`](crate::Command)).
    PrefixList(String),
    /// What the route map of that name permits, changed as it says.
    RouteMap(String),
}

/// What happens when a peer sends more prefixes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimit {
    /// Say so and go on.
    Warn,
    /// End the session with Cease / Maximum Number of Prefixes Reached (RFC 4486), and try again
    /// after `restart`, or not before the peer is enabled anew.
    Shutdown {
        /// Pause before the next attempt.
        restart: Option<Duration>,
    },
}

/// A limit on the number of prefixes of each family in one peer's Adj-RIB-In, before policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixLimit {
    /// The largest number that is fine.
    pub max: u32,
    /// What to do beyond it.
    pub over: OverLimit,
}

/// A TCP MD5 signature key (RFC 2385). It shows itself to nobody but the socket, and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Zeroizing<Vec<u8>>);

impl Md5Key {
    /// Takes the key's octets; Linux accepts 1 to 80 of them.
    #[must_use]
    pub fn new(key: Vec<u8>) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The octets, for the socket option.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(redacted)")
    }
}

impl Serialize for Md5Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("redacted")
    }
}

/// How a session with one peer takes part in graceful restart (RFC 4724), in both roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GracefulRestart {
    /// How long the peer is asked to keep our routes while we are away; whole seconds, up to
    /// [`wire::MAX_RESTART_TIME`](crate::wire::MAX_RESTART_TIME).
    pub restart_time: Duration,
    /// Where the peer does so as well, a NOTIFICATION and a hold time that ran out end a session gracefully too (RFC 8538).
    /// Without it only a connection that ends without a word does.
    pub notification: bool,
    /// What we tell this peer goes on being forwarded while this program is away. Without it we only help the peer.
    pub forwarding: bool,
}

/// When a peer is told a default route of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultOriginate {
    /// Always.
    Always,
    /// While there is a usable route for exactly this prefix.
    While(IpNet),
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its identity; [`Command::ReplacePeer`](crate::Command) finds the old parameters by it.
    pub name: PeerName,
    /// Where it is; not a link-local address.
    pub address: IpAddr,
    /// Its TCP port, 179 unless somebody has reasons.
    pub port: u16,
    /// The AS that its OPEN must name.
    pub remote_asn: Asn,
    /// ASes of which its OPEN may name any; the session takes `remote_asn` from there. Empty where only `remote_asn` will do.
    pub allowed_asns: Vec<Asn>,
    /// The AS that we are on this session instead of the speaker's own: our OPEN names it, exported
    /// paths begin with it, and received paths must not contain it.
    pub local_asn: Option<Asn>,
    /// What is exchanged with it, as far as it wants to.
    pub families: Families,
    /// An address of ours on its network of the family that the session is not over, which that family's prefixes are told with
    /// as next hop. Without it they are not told, but for IPv4 prefixes on sessions over IPv6 with RFC 8950.
    pub next_hop_address: Option<IpAddr>,
    /// What kind of network it stands for.
    pub role: Role,
    /// The interface that it is reached over. While that interface is down its paths are unusable.
    pub interface: Option<String>,
    /// The address that our connections come from.
    pub update_source: Option<IpAddr>,
    /// Wait for the peer to connect, never dial.
    pub passive: bool,
    /// The hold time that we offer: zero (no keepalives at all) or three seconds and more.
    pub hold_time: Duration,
    /// How often we send KEEPALIVE at most; a third of the negotiated hold time where that is less,
    /// or where this is `None`.
    pub keepalive: Option<Duration>,
    /// The longest pause between two attempts to connect, and how long one attempt may take.
    pub connect_retry: Duration,
    /// Graceful restart; `None` takes no part in it.
    pub graceful_restart: Option<GracefulRestart>,
    /// The TTL of our packets; `None` leaves the system's default.
    pub ttl: Option<u8>,
    /// The least TTL that its packets may arrive with; 255 takes only what no router has touched (GTSM, RFC 5082). `None` takes any.
    pub min_ttl: Option<u8>,
    /// The TCP MD5 key, where the session is signed.
    pub md5: Option<Md5Key>,
    /// What we believe of what it says. `None` is no policy: nothing is imported (RFC 8212).
    pub import: Option<Policy>,
    /// What we tell it. `None` is no policy: nothing is exported (RFC 8212).
    pub export: Option<Policy>,
    /// LOCAL_PREF of what it teaches us; 100 where `None`. Higher wins.
    pub local_pref: Option<u32>,
    /// How many more times than once our AS stands in front of what we tell it.
    pub prepend: u8,
    /// MULTI_EXIT_DISC on what we tell it.
    pub med: Option<u32>,
    /// How often our AS may stand in the path of what it teaches us and is believed all the same.
    pub allow_own_as: u8,
    /// Put our AS in the place of the peer's in what we tell it, so that two sites of one AS hear of each other through us.
    pub as_override: bool,
    /// Take numbers for private use (RFC 6996) out of the paths that we tell it, but for our own in front.
    pub remove_private_as: bool,
    /// Tell it a default route of our own, whatever its export policy and the tables say.
    pub default_originate: Option<DefaultOriginate>,
    /// It is told what other internal peers taught us, and they are told what it taught (RFC 4456). Only inside one AS.
    pub route_reflector_client: bool,
    /// Name ourselves as the next hop of everything that we tell it, but for what is reflected. With `false` a learned next hop
    /// stays on sessions inside one AS; to another AS it is always ourselves.
    pub next_hop_self: bool,
    /// How many prefixes it may send.
    pub max_prefixes_in: PrefixLimit,
    /// How many prefixes of each family we send at most; the rest is held back and an event says so.
    pub max_prefixes_out: Option<u32>,
    /// Our own networks, which a `cloud` peer must not claim.
    pub own_networks: Vec<IpNet>,
    /// The tunnels' outer addresses on both ends, which a `cloud` peer must not claim either.
    pub outer_addresses: Vec<IpAddr>,
    /// Believe a default route from a `cloud` peer, where its list permits it.
    pub allow_default: bool,
    /// Believe a prefix of a `cloud` peer that overlaps ours, where its list permits it.
    pub allow_overlap: bool,
}

impl PeerConfig {
    /// A peer with this crate's defaults and no policy yet.
    #[must_use]
    pub fn new(name: impl Into<PeerName>, address: IpAddr, remote_asn: Asn, role: Role) -> Self {
        Self {
            name: name.into(),
            address,
            port: 179,
            remote_asn,
            allowed_asns: Vec::new(),
            local_asn: None,
            families: if address.is_ipv6() {
                Families::IPV6
            } else {
                Families::IPV4
            },
            next_hop_address: None,
            role,
            interface: None,
            update_source: None,
            passive: false,
            hold_time: Duration::from_secs(90),
            keepalive: None,
            connect_retry: Duration::from_secs(5),
            graceful_restart: None,
            ttl: None,
            min_ttl: None,
            md5: None,
            import: None,
            export: None,
            local_pref: None,
            prepend: 0,
            med: None,
            allow_own_as: 0,
            as_override: false,
            remove_private_as: false,
            default_originate: None,
            route_reflector_client: false,
            next_hop_self: true,
            max_prefixes_in: PrefixLimit {
                max: 100_000,
                over: OverLimit::Shutdown {
                    restart: Some(Duration::from_secs(60)),
                },
            },
            max_prefixes_out: None,
            own_networks: Vec::new(),
            outer_addresses: Vec::new(),
            allow_default: false,
            allow_overlap: false,
        }
    }

    /// What replacing these parameters by `new` does to the session: the smallest effect that
    /// makes the new ones true.
    #[must_use]
    pub fn effect_of(&self, new: &Self) -> Effect {
        let mut effect = Effect::default();
        let mut differs = |field: &'static str, kind: EffectKind, differs: bool| {
            if differs {
                effect.kind = effect.kind.max(kind);
                effect.fields.push(field);
            }
        };
        use EffectKind::{None, Refresh, Reset};
        differs("address", Reset, self.address != new.address);
        differs("port", Reset, self.port != new.port);
        differs("remote_asn", Reset, self.remote_asn != new.remote_asn);
        differs("local_asn", Reset, self.local_asn != new.local_asn);
        differs("families", Reset, self.families != new.families);
        differs(
            "next_hop_address",
            Refresh,
            self.next_hop_address != new.next_hop_address,
        );
        differs("interface", Reset, self.interface != new.interface);
        differs(
            "update_source",
            Reset,
            self.update_source != new.update_source,
        );
        differs("hold_time", Reset, self.hold_time != new.hold_time);
        differs(
            "graceful_restart",
            Reset,
            self.graceful_restart != new.graceful_restart,
        );
        differs("ttl", Reset, self.ttl != new.ttl);
        differs("min_ttl", Reset, self.min_ttl != new.min_ttl);
        differs("md5", Reset, self.md5 != new.md5);
        differs("role", Refresh, self.role != new.role);
        differs("import", Refresh, self.import != new.import);
        differs("export", Refresh, self.export != new.export);
        differs("local_pref", Refresh, self.local_pref != new.local_pref);
        differs("prepend", Refresh, self.prepend != new.prepend);
        differs("med", Refresh, self.med != new.med);
        differs(
            "allow_own_as",
            Refresh,
            self.allow_own_as != new.allow_own_as,
        );
        differs("as_override", Refresh, self.as_override != new.as_override);
        differs(
            "remove_private_as",
            Refresh,
            self.remove_private_as != new.remove_private_as,
        );
        differs(
            "default_originate",
            Refresh,
            self.default_originate != new.default_originate,
        );
        differs(
            "route_reflector_client",
            Refresh,
            self.route_reflector_client != new.route_reflector_client,
        );
        differs(
            "next_hop_self",
            Refresh,
            self.next_hop_self != new.next_hop_self,
        );
        differs(
            "max_prefixes_out",
            Refresh,
            self.max_prefixes_out != new.max_prefixes_out,
        );
        differs(
            "own_networks",
            Refresh,
            self.own_networks != new.own_networks,
        );
        differs(
            "outer_addresses",
            Refresh,
            self.outer_addresses != new.outer_addresses,
        );
        differs(
            "allow_default",
            Refresh,
            self.allow_default != new.allow_default,
        );
        differs(
            "allow_overlap",
            Refresh,
            self.allow_overlap != new.allow_overlap,
        );
        differs(
            "max_prefixes_in",
            None,
            self.max_prefixes_in != new.max_prefixes_in,
        );
        differs("allowed_asns", None, self.allowed_asns != new.allowed_asns);
        differs("passive", None, self.passive != new.passive);
        differs("keepalive", None, self.keepalive != new.keepalive);
        differs(
            "connect_retry",
            None,
            self.connect_retry != new.connect_retry,
        );
        effect
    }
}

/// What a change of a peer's parameters does to its session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The largest effect among the changed fields.
    pub kind: EffectKind,
    /// The fields that differ.
    pub fields: Vec<&'static str>,
}

/// How far a change reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectKind {
    /// The session and its routes do not notice.
    #[default]
    None,
    /// Kept routes are judged anew in both directions; the session stays.
    Refresh,
    /// The session ends with Cease / Other Configuration Change and is opened anew.
    Reset,
}

/// Where a route of our own comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalSource {
    /// A network that one of our interfaces is in.
    Connected,
    /// A route that the operator wrote into the site.
    Static,
    /// A route that something else put into the kernel.
    Kernel,
}

/// A route of our own that peers may be told of, where their export policy permits it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LocalRoute {
    /// The destination.
    pub prefix: IpNet,
    /// Where it comes from.
    pub source: LocalSource,
    /// The interface that leads there. Its connected prefixes resolve next hops.
    pub interface: Option<String>,
    /// Tell peers about it. With `false` a connected route only helps to resolve next hops.
    pub redistribute: bool,
}
