//! Which routes there are and which of them pass: prefix lists, route maps, static routes.

use super::{Section, key};

/// A rule of a prefix list.
pub const PREFIX_RULE: Section = Section {
    path: "prefix-list.NAME",
    about: "A list of rules; the first that matches decides, and what none matches is denied. Exactly one of `permit` and `deny`.",
    keys: &[
        key("seq", "ten after the rule before", "the rule's place"),
        key("permit", "", "the prefix that passes"),
        key("deny", "", "the prefix that does not pass"),
        key(
            "ge",
            "none",
            "shortest length that matches inside the prefix",
        ),
        key(
            "le",
            "the prefix's length, or a host's (32, 128) with `ge`",
            "longest length that matches inside the prefix",
        ),
    ],
};

/// A rule of a route map.
pub const ROUTE_RULE: Section = Section {
    path: "route-map.NAME",
    about: "A rule of a route map; the first whose conditions a route meets decides, and what none is about is denied. A rule without `match` is about every route. An edit acts at once, on what was received before it too, and resets no session.",
    keys: &[
        key("seq", "ten after the rule before", "the rule's place"),
        key("action", "\"permit\"", "`permit` or `deny`"),
        key(
            "match",
            "every route",
            "the conditions, which all have to hold: `match.med = 5`",
        ),
        key(
            "set",
            "nothing",
            "what becomes of a route that is permitted: `set.med = 5`",
        ),
    ],
};

/// Conditions of a route map's rule.
pub const ROUTE_MATCH: Section = Section {
    path: "route-map.NAME.match",
    about: "The conditions of a route map's rule. Each takes one value or a list, of which one has to hold, but for `med` and `local-pref`. Numbers in communities may be ranges, `[100-199]`, or `*`. An expression over AS paths has AS numbers for letters: `65000`, `[65000-65100, 65500]`, `.` for any one; `*`, `+`, `?`, `{2}`, `{2,}` and `{2,4}` repeat what is before them, `|` and `( )` are as usual, `^` and `$` are the path's ends, and without them it is found anywhere. `^$` is a route of our own, `^31898 .* [65000-65100]$` one that AS 31898 taught us and that began in one of these.",
    keys: &[
        key("prefix-list", "any", "its prefix is permitted by the list"),
        key("as-path", "any", "its AS path matches the expression"),
        key(
            "community",
            "any",
            "it has the community (RFC 1997): \"65000:100\", `no-export`, `no-advertise`, `no-export-subconfed`, `no-peer`, `graceful-shutdown`, `blackhole`",
        ),
        key(
            "extended-community",
            "any",
            "it has the extended community (RFC 4360): \"rt:65000:100\", \"ro:192.0.2.1:5\", or its eight octets as \"0x0002fde800000064\"",
        ),
        key(
            "large-community",
            "any",
            "it has the large community (RFC 8092): \"65000:1:2\"",
        ),
        key(
            "next-hop",
            "any",
            "its next hop is in the network; a route of our own has none",
        ),
        key(
            "med",
            "any",
            "its MULTI_EXIT_DISC: a number or a range, \"100-199\"",
        ),
        key(
            "local-pref",
            "any",
            "its LOCAL_PREF, likewise; that of the neighbor before the map",
        ),
        key(
            "neighbor",
            "any",
            "the section of the neighbor that taught it",
        ),
        key(
            "source",
            "any",
            "where it comes from: `bgp`, `connected`, `static` or `kernel`",
        ),
    ],
};

/// What a route map's rule sets.
pub const ROUTE_SET: Section = Section {
    path: "route-map.NAME.set",
    about: "What becomes of a route that a route map's rule permits. Of communities, those that are removed go first.",
    keys: &[
        key("local-pref", "as it is", "LOCAL_PREF; higher wins"),
        key(
            "med",
            "as it is",
            "MULTI_EXIT_DISC; lower wins, between routes of one neighboring AS",
        ),
        key(
            "weight",
            "0",
            "preference before LOCAL_PREF, for this gateway alone, up to 65535; only on the way in",
        ),
        key(
            "prepend",
            "0",
            "how many more times an AS stands in front of the path, up to 10: the neighbor's on the way in, ours on the way out",
        ),
        key("next-hop", "as it is", "the next hop's address"),
        key(
            "community",
            "as they are",
            "these communities and no others; `[]` takes all away",
        ),
        key("add-community", "none", "communities that come"),
        key(
            "remove-community",
            "none",
            "communities that go; ranges and `*` as in `match`",
        ),
        key("extended-community", "as they are", "these and no others"),
        key(
            "add-extended-community",
            "none",
            "extended communities that come",
        ),
        key(
            "remove-extended-community",
            "none",
            "extended communities that go",
        ),
        key("large-community", "as they are", "these and no others"),
        key("add-large-community", "none", "large communities that come"),
        key(
            "remove-large-community",
            "none",
            "large communities that go",
        ),
    ],
};

/// `[[route]]`
pub const ROUTE: Section = Section {
    path: "route",
    about: "A static route of this host. It is there while the daemon runs, comes before what neighbors teach of the same prefix, and neighbors are told of it where `bgp.redistribute` has `static` and their export policy permits it.",
    keys: &[
        key("prefix", "", "the destination"),
        key("via", "", "the router's address; with `interface`"),
        key(
            "interface",
            "",
            "the interface that the router is on; while it is down, the route is neither used nor told",
        ),
        key(
            "blackhole",
            "false",
            "drop what goes there and to nothing more specific, instead of `via` and `interface`: an aggregate to be told, or a network that must never leave by the ISP",
        ),
    ],
};
