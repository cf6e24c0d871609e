//! The sections of BGP and BFD.

use super::{Section, key};

/// `[bgp]`
pub const BGP: Section = Section {
    path: "bgp",
    about: "The BGP speaker.",
    keys: &[
        key("asn", "", "our AS number"),
        key(
            "router-id",
            "`gateway.address`",
            "our BGP identifier, written as an IPv4 address",
        ),
        key(
            "maximum-paths",
            "16",
            "how many equally good paths share one prefix's traffic, 1 to 256",
        ),
        key(
            "multipath-relax",
            "true",
            "AS paths of the same length are equally good, not only identical ones",
        ),
        key(
            "redistribute",
            "[]",
            "which routes of the host we originate: `connected`, `static`, `kernel`",
        ),
        key("neighbor", "none", "the neighbors"),
    ],
};

/// `[bgp.neighbor.NAME]`
pub const NEIGHBOR: Section = Section {
    path: "bgp.neighbor.NAME",
    about: "One neighbor, or several alike. Give `tunnel` for a cloud's end of a tunnel; its address, AS, source and timers then follow from the tunnel and its profile.",
    keys: &[
        key("tunnel", "none", "the tunnel whose other end this is"),
        key(
            "profile",
            "\"generic\"",
            "the kind of speaker outside a tunnel: `cilium`, `metallb`, `generic`",
        ),
        key(
            "address",
            "the tunnel's",
            "its address, IPv4 or, outside tunnels, IPv6 (not link-local)",
        ),
        key(
            "families",
            "the address's",
            "what is exchanged, `[\"ipv4\", \"ipv6\"]`, over a session of either; a tunnel carries IPv4",
        ),
        key(
            "next-hop-address",
            "none",
            "our address of the other family on its network, which prefixes of that family are told with; without it IPv4 prefixes on an IPv6 session have the session's own address as next hop, where the neighbor takes that (RFC 8950)",
        ),
        key(
            "addresses",
            "none",
            "several addresses: one neighbor for each, named NAME/address",
        ),
        key(
            "range",
            "none",
            "in place of an address a network, \"192.168.200.0/24\": whoever connects from there is a neighbor, named NAME/address, until its session ends; this section is the template of all of them",
        ),
        key(
            "range-limit",
            "32",
            "how many neighbors of the range there may be at a time, up to 1000",
        ),
        key(
            "remote-asns",
            "none",
            "for a range, several AS numbers in place of `remote-asn`: a neighbor may have any of them",
        ),
        key(
            "remote-asn",
            "profile",
            "its AS number; required where the tunnel's profile has none",
        ),
        key("local-asn", "`bgp.asn`", "the AS that we are towards it"),
        key(
            "source",
            "the route's",
            "interface or address that our connections come from",
        ),
        key(
            "import",
            "",
            "what we believe: a prefix list, a route map, \"all\" or \"none\"",
        ),
        key(
            "export",
            "",
            "what we tell: a prefix list, a route map, \"all\" (not to a cloud) or \"none\"",
        ),
        key(
            "role",
            "`cloud` with a tunnel, else `lan`",
            "`cloud` or `lan`: a cloud is never told what a cloud taught us, and not believed about a default route or our own networks",
        ),
        key("passive", "false", "wait for it to connect"),
        key(
            "shutdown",
            "false",
            "keep the session down: `true`, or words that its operator gets to read, \"back at six\" (RFC 9003)",
        ),
        key(
            "hold-time",
            "profile",
            "the hold time that we offer; \"0s\" is none, else at least 3s",
        ),
        key(
            "keepalive",
            "profile, or a third of `hold-time`",
            "pause between keepalives",
        ),
        key(
            "connect-retry",
            "5s",
            "longest pause between two attempts to connect",
        ),
        key(
            "graceful-restart",
            "true",
            "keep its routes while it restarts, and have it keep ours while we do (RFC 4724), where it can",
        ),
        key(
            "restart-time",
            "60s",
            "how long it is asked to keep our routes while we restart, up to 4095s",
        ),
        key(
            "max-prefixes",
            "cloud 10000, lan 1000",
            "how many prefixes it may send",
        ),
        key(
            "max-prefixes-action",
            "\"restart\"",
            "what happens when it sends more: `restart` ends the session and tries again after a pause, `shutdown` ends it until `max-prefixes` is another one, `warn` only says so",
        ),
        key(
            "max-prefixes-pause",
            "60s",
            "the pause before it is tried again, at least 1s",
        ),
        key(
            "max-prefixes-out",
            "profile (oci 2000)",
            "how many prefixes it is told at most; more are held back and the log says so",
        ),
        key(
            "allow-own-as",
            "0",
            "believe paths in which our AS stands up to so many times, up to 10",
        ),
        key(
            "as-override",
            "false",
            "put our AS in the place of its own in what it is told, so that sites of one AS hear of each other through us",
        ),
        key(
            "remove-private-as",
            "false",
            "take AS numbers for private use (RFC 6996) out of what it is told; ours in front stays",
        ),
        key(
            "default-originate",
            "false",
            "tell it a default route of our own, whatever `export` says: `true`, or only while there is a usable route for exactly this network, \"10.0.0.0/16\"; not to a cloud",
        ),
        key(
            "next-hop-self",
            "true",
            "in our own AS, name ourselves as the next hop of what others taught us; to another AS it is always so",
        ),
        key(
            "route-reflector-client",
            "false",
            "in our own AS, tell it what other neighbors of our AS taught us, and them what it taught, with their next hops (RFC 4456); so nodes of one AS need no sessions with each other",
        ),
        key(
            "allow-default",
            "false",
            "believe a default route from a cloud, where the list permits it",
        ),
        key(
            "allow-overlap",
            "false",
            "believe what overlaps our own networks from a cloud, where the list permits it",
        ),
        key(
            "local-pref",
            "100, or by the tunnel's `role`",
            "LOCAL_PREF of what it teaches us; higher wins",
        ),
        key(
            "prepend",
            "0, or by the tunnel's `role`",
            "how many more times our AS stands in front of what we tell it, up to 10",
        ),
        key(
            "med",
            "none",
            "MULTI_EXIT_DISC on what we tell it; lower wins",
        ),
        key(
            "ttl-security",
            "false",
            "take only packets that no router has touched (TTL 255, RFC 5082), and send such; the neighbor needs the same",
        ),
        key(
            "bfd",
            "false",
            "watch the path to it and end the session as soon as it is dead: `true`, or a table as below",
        ),
        key(
            "md5",
            "none",
            "where the TCP MD5 key is (RFC 2385), 1 to 80 octets; not with Oracle",
        ),
        key("port", "179", "its TCP port"),
    ],
};

/// `[bgp.neighbor.NAME.bfd]`
pub const BFD: Section = Section {
    path: "bgp.neighbor.NAME.bfd",
    about: "Bidirectional Forwarding Detection with a neighbor (RFC 5880), which has to have it too. When a path that was up is dead, the BGP session ends at once (Cease, BFD Down) and its routes go. A neighbor that never answers, or whose operator switches BFD off, is left to the hold time, unless `strict`.",
    keys: &[
        key(
            "min-tx",
            "300ms",
            "how often we would like to send, from 50ms to 1m; the slower of this and what the neighbor can take counts",
        ),
        key(
            "min-rx",
            "300ms",
            "how often the neighbor may send, from 50ms to 1m; the slower of this and what it would like counts",
        ),
        key(
            "multiplier",
            "3",
            "so many of our packets missing in a row are a failure to the neighbor; its own counts for us",
        ),
        key(
            "multihop",
            "false",
            "routers may lie between (RFC 5883, UDP 4784); otherwise only what arrives with TTL 255 is heard (UDP 3784)",
        ),
        key("passive", "false", "wait for the neighbor's first packet"),
        key(
            "strict",
            "false",
            "no BGP session before BFD is up, or the neighbor has switched it off",
        ),
    ],
};
