//! The stable codes of diagnostics, and what `causeway explain` says about each.
//!
//! A code never changes its meaning and is never used again. CW00xx is about the file's form, CW01xx about the gateway
//! and its tunnels, CW02xx about BGP, CW03xx about aliases and the firewall, CW04xx about
//! what looks on.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $title:literal, $text:literal;)*) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name = $number,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it is about, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means, why it matters and what to do.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The text is no TOML.
    Syntax = 1, "not TOML",
        "The text does not follow TOML's grammar (https://toml.io), so nothing after this place can be trusted. Text belongs in quotes, addresses included; a table or key may be written only once.";
    /// A key or section that does not exist.
    UnknownKey = 2, "unknown key",
        "Every key has a meaning; one that has none is a slip of the hand or belongs elsewhere, and ignoring it would mean running something other than what is written. docs/site-file.md lists all of them.";
    /// A value of the wrong kind.
    WrongType = 3, "wrong kind of value",
        "The key wants another kind of value: text in quotes, a number without quotes, true or false, a list in [ ], a table in { }.";
    /// A key that has to be there.
    MissingKey = 4, "missing key",
        "There is no sensible default for this key, so the file has to say it.";
    /// A text that cannot be read.
    BadValue = 5, "value cannot be read",
        "The value has the right kind, but is no address, duration, network, word or number of the range that the key takes. Durations are written as 10s, 5m, 1h30m; networks as 192.168.2.0/24.";
    /// A name with characters that a name must not have.
    BadName = 6, "name cannot be used",
        "Names of tunnels, neighbors, lists and aliases appear in interface names, firewall sets and commands: letters, digits, '-', '_' and '.', beginning with a letter or digit, at most 32 characters. \"all\", \"none\" and \"any\" have a meaning of their own.";
    /// Keys that exclude each other.
    ConflictingKeys = 7, "keys that exclude each other",
        "Two keys say the same thing in two ways, or one has no meaning beside the other. Keep one of them. `interface-kind` and `offload` are about the kernel's data plane, and mean nothing with `data-plane = \"userspace\"`; a card that encrypts (`offload = \"crypto\"`) does not know ESP in UDP, so it does not go with `encapsulation = \"force\"`. `mobike` has to find NATs, which `encapsulation = \"never\"` rules out.";
    /// A network with bits set beyond its length.
    HostBits = 8, "host bits set in a network",
        "A network's address ends in zeros beyond its length: 192.168.2.5/24 is either the network 192.168.2.0/24 or the host 192.168.2.5/32, and a list that means one and gets the other passes the wrong routes.";

    /// The inside network is no point-to-point network.
    InsideNotPointToPoint = 101, "inside address is not in a /30 or /31",
        "A tunnel's two inside addresses live in a /31 (RFC 3021: both addresses are usable, the even one too) or in a /30 (its first and last address are not usable). Clouds take nothing else. The value is our own address with the length, such as 10.1.0.0/31.";
    /// The inside address is in a range that cannot be used.
    InsideForbidden = 102, "inside address in a forbidden range",
        "The cloud keeps this range for itself, or the addresses are no unicast addresses, so the tunnel could not be created with them. Oracle refuses 169.254.10.0-169.254.19.255, 169.254.100.0-169.254.109.255 and 169.254.192.0-169.254.201.255.";
    /// The two ends are the same, or in different networks.
    InsidePeer = 103, "inside addresses do not form a pair",
        "`inside` is our address and `peer-inside` the other one of the same /30 or /31. In different networks neither end could reach the other. Where peer-inside is absent it is the other address.";
    /// The two ends are probably exchanged.
    InsideSwapped = 104, "inside addresses look swapped",
        "It seems that the cloud's address was written where ours belongs. Both ends would then claim the same address: the tunnel comes up and BGP never does. On the cloud's side ours is called the CPE's or customer's interface.";
    /// Two networks that have to be different overlap.
    InsideOverlap = 105, "inside network overlaps another network",
        "The inside networks of two tunnels, or a tunnel's and one of ours, share addresses. The host could not tell which way those addresses are, and one of the two BGP sessions would stay down. Each tunnel needs a pair of its own.";
    /// The peer's address is our own.
    RemoteIsOurs = 106, "remote is our own address",
        "`remote` is the cloud's public address and `gateway.address` ours. A tunnel to ourselves is not possible.";
    /// Two tunnels to the same address.
    RemoteTwice = 107, "two tunnels with the same remote",
        "Between the same two addresses with the same identities there is one tunnel; a second one would replace the first again and again. Each of a cloud's tunnels has an address of its own.";
    /// The peer's address is inside what we route elsewhere.
    RemoteRouted = 108, "remote is inside a network that is routed elsewhere",
        "The tunnel's outer address lies in one of our own networks, or in a prefix that may be learnt through the tunnels. The encrypted packets would then be routed into the LAN or into the tunnel that is to carry them, and it would stop working as soon as it works.";
    /// An address of a kind that is not supported.
    Ipv6Unsupported = 109, "IPv6 is not supported here yet",
        "`gateway.address`, the inside addresses of tunnels, ranges of neighbors, BFD and route maps' `set.next-hop` are IPv4 so far, and tunnels carry no IPv6. It is refused rather than accepted and ignored. The tunnels' `remote` may be IPv6 addresses, all of them or none; neighbors outside tunnels, prefix lists, routes, `gateway.networks` and aliases may be IPv6.";
    /// A host name instead of an address.
    NotLiteral = 110, "host name where an address is needed",
        "A name is looked up for a tunnel's `remote` alone. `gateway.address` (\"auto\" follows what the host has) and neighbors are literal addresses: what this host is, and who it speaks BGP with, must not depend on a resolver.";
    /// An address that no peer can have.
    NotUnicast = 111, "not a host's address",
        "Loopback, multicast, broadcast and unspecified addresses cannot be the address of a gateway or neighbor.";
    /// A reqid twice, or out of range.
    Reqid = 112, "reqid cannot be used",
        "The reqid binds a tunnel's CHILD_SAs to its interface. With the same one twice, packets of one tunnel could leave through the other; 0 means none. On the kernel's data plane it is the lower half of the interface's mark or if_id (0xca05 is the upper half), so 65535 is the largest. Without the key each tunnel gets the lowest free one, in the order of the file.";
    /// A name that the kernel would not take for an interface.
    InterfaceName = 113, "interface name cannot be used",
        "Linux takes interface names of 1 to 15 octets without '/', ':', blanks or control characters, and not \".\", \"..\", \"all\" or \"default\". Without the key a tunnel's interface is cw- and the tunnel's name, which a long name makes too long: set `interface`.";
    /// Two tunnels with one interface.
    InterfaceTwice = 114, "interface used twice",
        "Each tunnel has an interface of its own, other than the WAN's.";
    /// A proposal that cannot be read.
    Proposal = 115, "proposal cannot be read",
        "A proposal is words with '-' between them: for `ike` a cipher, an integrity algorithm, perhaps a PRF, one or more groups (aes256-sha384-ecp384, aes256gcm16-prfsha384-ecp384); for `esp` a cipher, an integrity algorithm unless the cipher has one built in, groups for PFS, perhaps esn or noesn (aes256gcm16-ecp384). A proposal for `ike` may have an additional key exchange against quantum computers, ke1_mlkem768 or ke1_mlkem1024 (RFC 9370); a second proposal without it is for peers that have none.";
    /// An algorithm that is weak.
    LegacyAlgorithm = 116, "legacy algorithm",
        "RFC 8247 says SHOULD NOT of the groups modp1024 and modp1536, and counts on SHA-1 to be replaced. They are available because some peers know nothing better. A note, not a warning, for SHA-1: as HMAC it is not broken.";
    /// An algorithm that the cloud does not take.
    NotAccepted = 117, "the cloud does not accept this algorithm",
        "The algorithm is not in the list that the cloud publishes for this phase, so it answers NO_PROPOSAL_CHOSEN if there is no other proposal. Oracle takes AES-CBC with SHA-1, SHA-256 or SHA-384 for IKE; AES-GCM or AES-CBC with SHA-1 or SHA-256 for ESP; the groups modp1024, modp1536, modp2048, ecp256 and ecp384.";
    /// A duration that does not work.
    Duration = 118, "duration does not work",
        "Lifetimes of a few minutes make for constant rekeying, and of more than a day for keys that encrypt too much; a CHILD_SA does not outlive its IKE SA usefully; a liveness timeout shorter than the interval takes a living peer for dead.";
    /// A secret that cannot be had.
    SecretUnavailable = 119, "secret cannot be read",
        "The file, systemd credential or environment variable is missing, empty, or may be read by others. A secret file belongs to root (or the daemon's user) with mode 0600 or stricter.";
    /// A secret with characters that the cloud does not take.
    SecretCharacters = 120, "secret has characters that the cloud refuses",
        "The cloud's console would not have taken this key, so the two ends have different ones. Often it is a quotation mark, a space, or a line break that came along when it was copied. The key itself is never shown, only the place of the first wrong character.";
    /// A secret that is easily guessed.
    SecretWeak = 121, "secret is short",
        "Anybody who records one attempt of a man in the middle can guess a short pre-shared key at leisure (RFC 7296 section 2.15). Take 32 random characters or more; the one that the cloud generates is good. A post-quantum pre-shared key is only as good as its entropy: 256 bits or more (RFC 8784 section 6), which are 32 random octets.";
    /// Tunnels that share a secret.
    SecretShared = 122, "two tunnels share a secret",
        "Two tunnels name the same secret. It works if the cloud was told the same, but usually each tunnel has a key of its own and this is a slip of copying.";
    /// A tunnel that nothing uses.
    TunnelUnused = 123, "no BGP neighbor uses the tunnel",
        "The tunnel comes up, but no routes are exchanged over it, so nothing is ever sent through it. Add a [bgp.neighbor.NAME] with tunnel = \"…\".";
    /// An interface MTU that does not work.
    Mtu = 124, "MTU does not work",
        "An IPv4 network needs at least 576 octets (RFC 1122). Above 1446 the encrypted packet no longer fits into an Ethernet frame and is fragmented or lost. \"auto\" takes what fits.";

    /// A post-quantum key for a cloud that has none.
    Ppk = 125, "post-quantum key where the cloud has none",
        "A post-quantum pre-shared key (RFC 8784) works only if both ends have it, and the cloud's console has no place for one: where it is required the tunnel never comes up, and where it is not it is never used.";

    /// A certificate that does not work.
    Certificate = 126, "certificate cannot be used",
        "A certificate proves who we are only with its own private key, from its first day to its last, and for the names in it: local-id has to be one of them. The peer is believed only if an authority in `ca` vouches for it. Oracle's gateways take pre-shared keys alone. Look at one with: openssl x509 -noout -text -in FILE.";
    /// A certificate that will soon not work.
    CertificateEnds = 127, "certificate ends soon",
        "After its last day the peer refuses the certificate, and the tunnel stays down from its next authentication on: at the latest when either end restarts. Put a new one in its place and reload; the same key may stay.";

    /// An ASN that cannot be used.
    AsnReserved = 201, "AS number cannot be used",
        "0, 23456 (AS_TRANS), 65535 and 4294967295 are reserved (RFC 7607, RFC 6793, RFC 7300); some clouds refuse more: Oracle does not take 65534 from a customer. Private ones are 64512-65534 and 4200000000-4294967294 (RFC 6996).";
    /// Both ends are the same AS where they must not be.
    AsnSame = 202, "remote AS is our own",
        "A session with a cloud is external BGP: the two ends are different ASes. With the same number on both ends the OPEN is refused, or paths look like loops. Set `asn` (or this neighbor's local-asn) to yours and remote-asn to the cloud's.";
    /// A number of paths that does not work.
    MaximumPaths = 203, "maximum-paths is outside 1 to 256",
        "How many equally good paths share the traffic of one prefix: at least 1 (no sharing), at most 256.";
    /// No policy.
    NeighborWithoutPolicy = 204, "neighbor without policy",
        "RFC 8212: without an import and an export policy nothing is learnt and nothing is told, which looks like a broken session. Name a prefix list, or say \"none\" or \"all\" on purpose.";
    /// A tunnel that does not exist.
    UnknownTunnel = 205, "unknown tunnel",
        "`tunnel` names a section [tunnel.NAME] of the same file, and there is none of that name.";
    /// Two neighbors at the same address.
    NeighborTwice = 206, "two neighbors with the same address",
        "Between two addresses there is one BGP session. The second one would fight with the first over it.";
    /// A list that does not exist.
    UnknownPrefixList = 207, "unknown prefix list",
        "`import` and `export` name a list under [prefix-list] or a map under [route-map], or are \"all\" or \"none\"; a map's rule names lists. There is none of that name.";
    /// A list that nothing uses.
    UnusedPrefixList = 208, "prefix list is never used",
        "No neighbor's import or export names the list, nor does a rule of a route map. Perhaps one was meant to.";
    /// A sequence number twice.
    DuplicateSequence = 209, "sequence number twice",
        "The rules of a list apply in the order of their sequence numbers, so each number is there once. A rule without one comes ten after the rule before it.";
    /// Bounds of a rule that nothing can meet.
    PrefixLengths = 210, "ge and le do not fit the prefix",
        "A rule matches prefixes inside its own whose length is from ge to le: length <= ge <= le <= 32. Anything else matches nothing.";
    /// What may be learnt overlaps what is ours.
    PermittedOverlap = 211, "import list permits our own networks",
        "The list lets the cloud announce a prefix that overlaps one of our own networks. The two sites become one network, so the same addresses must not be on both sides. The safety filter of a cloud neighbor refuses such routes; narrow the list, or set allow-overlap if it is meant.";
    /// More may be told than the cloud bears.
    ExportTooWide = 212, "export list permits more prefixes than the cloud bears",
        "The list permits more different prefixes than the cloud accepts; Oracle ends the session beyond 2000. It is not wrong yet, but a route too many on our side would cut both sites off.";
    /// A cloud is told everything.
    ExportAllToCloud = 213, "a cloud neighbor needs an export list",
        "A cloud is told only what a prefix list permits: \"all\" would announce every connected network, the ISP's too, and draw its traffic into the tunnels.";
    /// Timers that do not work.
    Timers = 214, "BGP timers do not work",
        "A hold time is 0 (no keepalives) or at least 3 seconds (RFC 4271 section 4.2); the keepalive is shorter, usually a third of it. A cloud may have a range of its own; the lower of both sides' hold times counts.";
    /// The neighbor is ourselves.
    NeighborIsUs = 215, "neighbor's address is our own",
        "The neighbor's address is one of ours: the gateway's, or our end of a tunnel. For a tunnel's neighbor this usually means that the two inside addresses are swapped.";
    /// An MD5 key where the peer knows none.
    Md5Unsupported = 216, "the cloud does not support TCP MD5",
        "With an MD5 key on one side only, every segment is dropped and the session never leaves Connect. Oracle's Site-to-Site VPN has no MD5; the tunnel protects the session already.";
    /// A default route is permitted and yet refused.
    DefaultRefused = 217, "list permits a default route that is refused",
        "The import list permits 0.0.0.0/0, but a cloud neighbor is not believed about a default route unless allow-default is set: it would draw all the site's traffic, the tunnels' own included, into the cloud.";
    /// BFD that cannot work, or notices nothing.
    Bfd = 218, "BFD does not work like this",
        "BFD takes a path for dead when several packets in a row are missing: intervals from 50ms to 1m (RFC 5880 knows no bounds, but a false alarm takes all the neighbor's routes away), a multiplier of more than 1. What it notices later than the hold time it notices for nothing. Oracle's Site-to-Site VPN has no BFD; there the tunnel's own liveness (dead peer detection) does its work.";

    /// An expression over AS paths that cannot be read.
    AsPath = 219, "expression over AS paths cannot be read",
        "The letters of an expression over AS paths are whole AS numbers: 65000, [65000-65100, 65500] for one out of these, `.` for any one. After them `*`, `+`, `?`, {2}, {2,}, {2,4} repeat; `|` and ( ) are as usual; `^` and `$` are the path's ends. Digits are never matched one by one, so [0-9]+ is not \"any AS\" here.";
    /// A rule that asks for a neighbor that does not exist.
    UnknownNeighbor = 220, "unknown neighbor",
        "`match.neighbor` names a section [bgp.neighbor.NAME] of the same file, and there is none of that name. The rule would never be about any route.";
    /// A list and a map of one name.
    PolicyNameTwice = 221, "prefix list and route map with the same name",
        "`import` and `export` name either a prefix list or a route map, so a name belongs to one of them.";
    /// A map that nothing uses.
    UnusedRouteMap = 222, "route map is never used",
        "No neighbor's import or export names the map. Perhaps one was meant to.";
    /// A part of a route map that does nothing.
    RouteRuleWithoutEffect = 223, "part of a route map has no effect",
        "The first rule whose conditions a route meets decides: behind a rule without conditions no other is ever asked. What is denied is not changed, so a rule that denies has nothing to set. `weight` counts only between routes that come in.";

    /// A tunnel's role that decides less than it seems to.
    TunnelRole = 224, "tunnel's role decides nothing, or one direction only",
        "`role` is about tunnels beside each other: traffic takes a primary before one without a role before a backup. Which way the cloud sends is told only over a backup (our AS stands in front of the path more often there), so beside a primary the others have to be backups. Where all tunnels have the same role, they share traffic as if they had none.";
    /// A route of the file's own that does not work.
    Route = 225, "route does not work",
        "A route leads to a router on one of our interfaces (`via` and `interface`), or nowhere (`blackhole = true`), and there is one to each prefix. A blackhole must not swallow a tunnel's remote: its packets would be dropped with the rest.";

    /// A range of neighbors that cannot be one.
    NeighborRange = 226, "range of neighbors cannot be used",
        "A `range` is for nodes on our own network that come and go: whoever connects from it becomes a neighbor. It is a network of at least /8, in one section only. Its neighbors are waited for and never dialled, so `port` and `passive` say nothing. TCP MD5 and BFD are for neighbors with an address of their own so far: list them in `addresses`. A cloud's gateway is at the other end of a tunnel, never in a range.";

    /// An alias that does not exist.
    UnknownAlias = 301, "unknown alias",
        "The rule or alias names an alias that is neither under [alias] nor built in (peers, ike-ports, home).";
    /// An alias of the other kind.
    AliasKind = 302, "alias of the wrong kind",
        "An alias holds either networks or ports. Sources and destinations need networks, `ports` needs ports, and an alias includes only aliases of its own kind.";
    /// An alias with nothing in it.
    AliasEmpty = 303, "alias is empty",
        "A rule with an empty alias matches nothing, which is hardly meant: an accept would be a refusal.";
    /// An alias that includes itself.
    AliasCircular = 304, "alias includes itself",
        "Following `include` leads back to the alias where it began, so what it holds is not defined.";
    /// An alias with a built-in name.
    AliasBuiltin = 305, "alias name is taken",
        "peers, ike-ports and home are made from the rest of the file and cannot be written. Use include = [\"home\"] in an alias of another name to add to it.";
    /// Ports for a protocol that has none.
    PortsWithoutProtocol = 306, "ports need tcp or udp",
        "Only TCP and UDP have ports. Set protocol = \"tcp\" or \"udp\"; for both write two rules.";
    /// An alias that nothing uses.
    UnusedAlias = 307, "alias is never used",
        "No rule and no other alias names it. It has no effect; perhaps a rule was meant to name it.";
    /// Rules that have no effect.
    RuleWithoutEffect = 308, "rules have no effect",
        "The firewall is off, so its rules are not applied, or a rule stands after one that already matches everything.";

    /// Metrics for everybody.
    MetricsExposed = 401, "metrics can be read by others",
        "Whoever reaches `metrics.listen` can read the metrics: no password, no encryption. They hold no secrets, but the peers' addresses, the neighbors and how much is carried. Listen on the loopback (127.0.0.1) and collect from this host, or on an address of the LAN.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CW{:04}", *self as u16)
    }
}

/// A text that is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such code; codes look like CW0101")]
pub struct UnknownCode;

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let text = text.trim();
        let known = |code: &&Self| code.to_string().eq_ignore_ascii_case(text);
        Self::ALL.iter().find(known).copied().ok_or(UnknownCode)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
