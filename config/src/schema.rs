//! The file's form: every section and key, with its default and meaning.
//!
//! The reader refuses what is not here, "did you mean" looks here, and `docs/site-file.md` is made from here.

mod bgp;
mod markdown;
mod policy;

pub use bgp::{BFD, BGP, NEIGHBOR};
pub use markdown::{INTRODUCTION, markdown};
pub use policy::{PREFIX_RULE, ROUTE, ROUTE_MATCH, ROUTE_RULE, ROUTE_SET};

/// A kind of section.
#[derive(Debug)]
pub struct Section {
    /// How it is written: `tunnel.NAME`.
    pub path: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its keys; empty where the file chooses them.
    pub keys: &'static [Key],
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default for people; empty where the key is required.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default,
        meaning,
    }
}

/// Every section, in the order of the documentation.
pub const SECTIONS: &[&Section] = &[
    &ROOT,
    &GATEWAY,
    &TUNNEL,
    &SECRET,
    &CERTIFICATE,
    &PPK,
    &BGP,
    &NEIGHBOR,
    &BFD,
    &PREFIX_RULE,
    &ROUTE_RULE,
    &ROUTE_MATCH,
    &ROUTE_SET,
    &ROUTE,
    &ALIAS,
    &FIREWALL,
    &RULE,
    &METRICS,
    &DAEMON,
];

/// The file itself.
pub const ROOT: Section = Section {
    path: "",
    about: "The sections of a site file.",
    keys: &[
        key("gateway", "", "this machine"),
        key(
            "tunnel",
            "none",
            "one section `[tunnel.NAME]` for each tunnel",
        ),
        key(
            "bgp",
            "no routing",
            "routing, with one section `[bgp.neighbor.NAME]` for each neighbor or group",
        ),
        key(
            "prefix-list",
            "none",
            "named prefix lists: `NAME = [rules]`",
        ),
        key(
            "route-map",
            "none",
            "named route maps, `[[route-map.NAME]]` for each rule",
        ),
        key("route", "none", "routes of this host, `[[route]]` for each"),
        key(
            "alias",
            "none",
            "named groups of networks or ports; built in are `peers` (the tunnels' remotes), `ike-ports` and `home` (`gateway.networks`)",
        ),
        key(
            "firewall",
            "on",
            "what may come out of the tunnels; `[[firewall.rule]]` for each rule",
        ),
        key(
            "metrics",
            "on the control socket only",
            "where a collector gets the metrics over TCP",
        ),
        key("daemon", "all defaults", "the program itself"),
    ],
};

/// `[gateway]`
pub const GATEWAY: Section = Section {
    path: "gateway",
    about: "This machine.",
    keys: &[
        key("name", "\"gateway\"", "what people call it"),
        key("wan", "any interface", "interface towards the ISP"),
        key(
            "address",
            "",
            "our public IPv4 address: the IKE identity, and the source address when an interface has it; \"auto\" takes the one that the host uses towards each peer",
        ),
        key(
            "networks",
            "[]",
            "our own networks: checked for overlap, and a cloud is not believed about them",
        ),
    ],
};

/// `[tunnel.NAME]`
pub const TUNNEL: Section = Section {
    path: "tunnel.NAME",
    about: "One IKEv2 tunnel. Traffic selectors are always 0.0.0.0/0: routes decide what enters it.",
    keys: &[
        key(
            "profile",
            "\"generic\"",
            "the kind of gateway at the other end: `oci` or `generic`; it gives defaults and limits",
        ),
        key(
            "remote",
            "",
            "the peer's public IPv4 or IPv6 address, or its DNS name, which is looked up at the start and whenever the tunnel fails",
        ),
        key(
            "psk",
            "",
            "where the pre-shared key is; or `certificate` in its place",
        ),
        key(
            "certificate",
            "none",
            "our certificate, its key, and who vouches for the peer's, in place of `psk`, as below",
        ),
        key(
            "ppk",
            "none",
            "a post-quantum pre-shared key beside it (RFC 8784), as below",
        ),
        key(
            "inside",
            "",
            "our address inside the tunnel with its length, /30 or /31: \"10.1.0.0/31\"",
        ),
        key(
            "peer-inside",
            "the other address",
            "the peer's address inside the tunnel",
        ),
        key(
            "interface",
            "\"cw-NAME\"",
            "the tunnel interface, at most 15 characters",
        ),
        key(
            "interface-kind",
            "`daemon.interface-kind`",
            "what the interface is on the kernel's data plane: `auto`, `xfrm` or `vti`",
        ),
        key(
            "reqid",
            "lowest free",
            "binds the interface to its CHILD_SAs; unique, 1 to 65535",
        ),
        key(
            "local-id",
            "the outer address",
            "who we say that we are: an address, a name, or a mail address",
        ),
        key(
            "remote-id",
            "`remote`",
            "who the peer has to be; a DNS name in `remote` is an identity of the kind FQDN",
        ),
        key(
            "ike",
            "profile",
            "proposals for the IKE SA, the preferred one first: [\"aes256-sha384-ecp384\"]; with `ke1_mlkem768` or `ke1_mlkem1024` there is one more key exchange (RFC 9370), which a proposal without it makes optional",
        ),
        key(
            "esp",
            "profile",
            "proposals for CHILD_SAs; groups in them are for PFS: [\"aes256gcm16-ecp384\"]",
        ),
        key(
            "pfs",
            "\"ike-group\"",
            "what CREATE_CHILD_SA may fall back to beside the groups in `esp`: `strict` (nothing), `ike-group`, or `any` (no exchange at all, too)",
        ),
        key(
            "childless",
            "false",
            "as initiator, make the first CHILD_SA by an exchange of its own, with the PFS of its successors, where the peer can do with that (RFC 6023)",
        ),
        key(
            "ike-lifetime",
            "profile (8h)",
            "hard lifetime of the IKE SA; rekeyed well before",
        ),
        key(
            "child-lifetime",
            "profile (1h)",
            "hard lifetime of CHILD_SAs; rekeyed well before",
        ),
        key(
            "encapsulation",
            "\"auto\"",
            "ESP in UDP: `auto` (behind a NAT), `force`, `never`",
        ),
        key("initiate", "true", "whether we initiate; we always answer"),
        key(
            "mobike",
            "true with `gateway.address = \"auto\"`",
            "whether SAs follow when an outer address changes, where the peer has that too (RFC 4555); IKE then uses UDP 4500 without a NAT as well",
        ),
        key(
            "liveness",
            "profile (10s)",
            "silence after which the peer is asked whether it lives",
        ),
        key(
            "liveness-timeout",
            "profile (20s)",
            "how long it may take to answer",
        ),
        key(
            "mtu",
            "\"auto\"",
            "the interface's MTU in octets, 576 to 9000",
        ),
        key("mss-clamp", "true", "clamp TCP's MSS to what fits"),
        key(
            "replay-window",
            "4096",
            "anti-replay window in packets, 128 to 4096",
        ),
        key(
            "offload",
            "`daemon.offload`",
            "what the network card does of ESP on the kernel's data plane: `none`, `crypto` or `packet`",
        ),
        key(
            "role",
            "traffic is shared",
            "`primary` or `backup`: traffic takes the primary tunnel in both directions while it works, then the backup. It sets the neighbor's `local-pref` (200 and 50), and on a backup `prepend` (2); without it tunnels share traffic (ECMP)",
        ),
    ],
};

/// A secret's source.
pub const SECRET: Section = Section {
    path: "tunnel.NAME.psk",
    about: "Where a secret is: exactly one of these. `bgp.neighbor.NAME.md5` is written in the same way.",
    keys: &[
        key(
            "file",
            "",
            "absolute path of a file that only its owner may read (mode 0600); one final line break is not part of the secret",
        ),
        key(
            "credential",
            "",
            "name of a systemd credential (`LoadCredential=`)",
        ),
        key("env", "", "name of an environment variable"),
    ],
};

/// A tunnel's certificate.
pub const CERTIFICATE: Section = Section {
    path: "tunnel.NAME.certificate",
    about: "Certificates in place of a pre-shared key: both ends sign (RFC 7427), with RSA, ECDSA (P-256, P-384) or Ed25519 keys, and nothing falls back to anything else. `local-id` has to be in our certificate, `remote-id` in the peer's: an address, a host name or a mail address as subjectAltName, or the whole subject, written `\"C=DE, O=Example, CN=gateway\"` in the certificate's order (`openssl x509 -noout -subject`). Files are read at the start and at each reload; nothing is fetched.",
    keys: &[
        key(
            "file",
            "",
            "absolute path of our certificate, PEM or DER; in PEM, those between it and its authority may follow, and are sent along",
        ),
        key(
            "key",
            "",
            "where its private key is, as for any secret: PEM without a passphrase (PKCS #8, PKCS #1 or SEC 1)",
        ),
        key(
            "ca",
            "",
            "absolute path of the authorities that may vouch for the peer, PEM or DER; the peer's own certificate trusts that one alone",
        ),
        key(
            "crl",
            "none",
            "absolute path of their revocation lists, PEM or DER: a certificate that one of them has is refused, and so is all that an outdated one would tell about",
        ),
    ],
};

/// A tunnel's PPK.
pub const PPK: Section = Section {
    path: "tunnel.NAME.ppk",
    about: "A post-quantum pre-shared key (RFC 8784): what is recorded today stays secret even if its key exchange is broken one day. The peer has the same name and key. Exactly one of `file`, `credential` and `env`, as for any secret.",
    keys: &[
        key(
            "id",
            "",
            "its name, which goes over the wire encrypted: printable ASCII without blanks, at most 64 characters",
        ),
        key(
            "required",
            "true",
            "no tunnel without it; with `false` a peer that has none, or one of another name, is taken as it is",
        ),
        key("file", "", "where the key is: 32 random octets or more"),
        key("credential", "", "likewise, a systemd credential"),
        key("env", "", "likewise, an environment variable"),
    ],
};

/// `[alias]`
pub const ALIAS: Section = Section {
    path: "alias.NAME",
    about: "A named group, of networks or of ports.",
    keys: &[
        key("networks", "[]", "networks and addresses"),
        key("ports", "[]", "ports and ranges: [80, 443, \"8000-8100\"]"),
        key("include", "[]", "other aliases of the same kind"),
    ],
};

/// `[firewall]`
pub const FIREWALL: Section = Section {
    path: "firewall",
    about: "What may come in: from the peers ESP and IKE, and out of the tunnels what is said here. What goes towards the clouds is not filtered.",
    keys: &[
        key("enabled", "true", "whether there is a firewall"),
        key(
            "from-cloud",
            "\"accept\"",
            "what happens to traffic out of a tunnel that no rule is about: `accept` or `drop`",
        ),
        key("rule", "none", "the rules, in order"),
    ],
};

/// `[[firewall.rule]]`
pub const RULE: Section = Section {
    path: "firewall.rule",
    about: "A rule for traffic out of a tunnel; the first that matches decides.",
    keys: &[
        key("action", "", "`accept` or `drop`"),
        key(
            "source",
            "\"any\"",
            "where from: an alias, a network, or a list of networks",
        ),
        key("destination", "\"any\"", "where to, likewise"),
        key(
            "protocol",
            "\"any\"",
            "`any`, `tcp`, `udp`, `icmp` or an IANA protocol number",
        ),
        key(
            "ports",
            "any",
            "destination ports of tcp or udp: an alias, a port, a range, or a list of them",
        ),
        key("log", "false", "log each new match"),
    ],
};

/// `[metrics]`
pub const METRICS: Section = Section {
    path: "metrics",
    about: "Where a collector such as Prometheus gets the metrics (`docs/metrics.md`) over TCP, as OpenMetrics text. `causeway metrics` prints them in any case.",
    keys: &[key(
        "listen",
        "",
        "our address and port for `GET /metrics`: \"127.0.0.1:9469\"; the loopback's or one of the LAN, for nobody is asked for a password",
    )],
};

/// `[daemon]`
pub const DAEMON: Section = Section {
    path: "daemon",
    about: "The program itself.",
    keys: &[
        key(
            "data-plane",
            "\"auto\"",
            "what carries packets: `kernel` (XFRM), `userspace` (a TUN and our own ESP), or `auto`: the kernel where it can do all that this file asks for",
        ),
        key(
            "interface-kind",
            "\"auto\"",
            "the tunnels' interfaces on the kernel's data plane: `xfrm`, `vti`, or `auto`: `xfrm` where the kernel has it",
        ),
        key(
            "offload",
            "\"none\"",
            "what the card of the interface towards the peers does of ESP on the kernel's data plane: `none`, `crypto` (encryption), `packet` (all of it)",
        ),
        key(
            "socket",
            "\"/run/causeway/causeway.sock\"",
            "the control socket",
        ),
        key(
            "log",
            "\"info\"",
            "`error`, `warn`, `info`, `debug` or `trace`",
        ),
        key(
            "cleanup",
            "true",
            "remove interfaces, routes and rules at a clean stop",
        ),
        key("ike-port", "500", "our UDP port for IKE"),
        key(
            "nat-port",
            "4500",
            "our UDP port for IKE and ESP behind a NAT",
        ),
    ],
};
