//! What a site means: defaults, what follows from what, and what is let pass on purpose.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose site is refused has failed"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use config::model::{
    Alias, Asn, Bfd, DataPlane, Identity, InterfaceKind, Mtu, Offload, Origin, Policy, Ppk, Remote,
    Role, SecretSource, Site,
};
use config::proposal::Kem;
use config::{Code, Loaded, Source, Unseen, load};

const GATEWAY: &str = "[gateway]\naddress = \"203.0.113.10\"\nnetworks = [\"192.168.2.0/24\"]\n";
const TUNNEL: &str = "[tunnel.a]\nremote = \"198.51.100.1\"\npsk = { credential = \"a\" }\ninside = \"169.254.21.2/30\"\n";

#[test]
fn a_gateway_alone_is_a_site() {
    let site = site(GATEWAY);
    assert_eq!(
        (site.gateway.name.as_str(), site.tunnels.len(), site.bgp),
        ("gateway", 0, None)
    );
    assert!(site.firewall.enabled && site.daemon.cleanup);
    assert_eq!(site.firewall.aliases["peers"], Alias::Networks(Vec::new()));
}

#[test]
fn in_a_slash_30_the_peer_is_the_other_host() {
    let site = site(&format!("{GATEWAY}{TUNNEL}"));
    let tunnel = site.tunnel("a").unwrap();
    assert_eq!(tunnel.inside.peer, Ipv4Addr::new(169, 254, 21, 1));
    assert_eq!((tunnel.mtu, tunnel.line), (Mtu::Auto, 4));
}

#[test]
fn the_generic_profile_offers_proposals() {
    let site = site(&format!("{GATEWAY}{TUNNEL}"));
    let tunnel = site.tunnel("a").unwrap();
    assert!(tunnel.ike.len() > 1 && tunnel.esp.len() > 1);
    assert_eq!(tunnel.remote_asn, None);
}

#[test]
fn an_automatic_address_leaves_the_identity_to_the_route() {
    let text = format!(
        "{}{TUNNEL}[bgp]\nasn = 65000\n",
        GATEWAY.replace("203.0.113.10", "auto")
    );
    let site = site(&text);
    assert_eq!(
        (
            site.gateway.address,
            site.tunnel("a").unwrap().local_id.clone()
        ),
        (None, None)
    );
    assert_eq!(
        site.bgp.as_ref().unwrap().router_id,
        Ipv4Addr::new(169, 254, 21, 2)
    );
}

#[test]
fn reqids_go_around_those_that_are_written() {
    let second = TUNNEL
        .replace(
            "[tunnel.a]",
            "[tunnel.b]\nreqid = 1\nlocal-id = \"gw.example.org\"",
        )
        .replace("100.1", "100.2")
        .replace("21.2", "22.2");
    let site = site(&format!("{GATEWAY}{TUNNEL}{second}"));
    assert_eq!(
        (
            site.tunnel("a").unwrap().reqid,
            site.tunnel("b").unwrap().reqid
        ),
        (2, 1)
    );
    assert_eq!(
        site.tunnel("b").unwrap().local_id,
        Some(Identity::Fqdn("gw.example.org".to_owned()))
    );
}

#[test]
fn a_keepalive_follows_a_written_hold_time() {
    let neighbor = "[bgp]\nasn = 65000\n[bgp.neighbor.n]\naddress = \"192.168.2.9\"\nremote-asn = 65000\nhold-time = \"30s\"\nimport = \"all\"\nexport = \"none\"\n";
    let site = site(&format!("{GATEWAY}{neighbor}"));
    let neighbor = site.neighbor("n").unwrap();
    assert_eq!(
        (neighbor.keepalive, neighbor.role),
        (Duration::from_secs(10), Role::Lan)
    );
    assert_eq!(
        (neighbor.remote_asn, neighbor.local_asn, &neighbor.import),
        (Asn(65_000), None, &Policy::All)
    );
    let origin = |key: &str| {
        site.setting(&format!("bgp.neighbor.n.{key}"))
            .unwrap()
            .origin
            .clone()
    };
    assert_eq!(origin("hold-time"), Origin::File { line: 9 });
    assert_eq!(origin("keepalive"), Origin::Derived { from: "hold-time" });
    assert_eq!(origin("connect-retry"), Origin::Profile { name: "generic" });
}

#[test]
fn what_overlaps_may_be_allowed_on_purpose() {
    let neighbor = "[bgp]\nasn = 65000\n[bgp.neighbor.n]\ntunnel = \"a\"\nremote-asn = 65001\nallow-overlap = true\nimport = \"l\"\nexport = \"none\"\n[prefix-list]\nl = [{ permit = \"192.168.0.0/16\", le = 24 }]\n";
    let with = loaded(&format!("{GATEWAY}{TUNNEL}{neighbor}"));
    assert!(with.site.is_some(), "{:?}", with.diagnostics);
    let without = loaded(&format!(
        "{GATEWAY}{TUNNEL}{}",
        neighbor.replace("allow-overlap = true\n", "")
    ));
    assert!(
        without
            .diagnostics
            .iter()
            .any(|each| each.code == Code::PermittedOverlap)
    );
}

#[test]
fn a_list_that_denies_our_networks_first_does_not_overlap() {
    let neighbor = "[bgp]\nasn = 65000\n[bgp.neighbor.n]\ntunnel = \"a\"\nremote-asn = 65001\nimport = \"l\"\nexport = \"none\"\n[prefix-list]\nl = [{ deny = \"192.168.2.0/24\", le = 32 }, { permit = \"192.168.0.0/16\", ge = 24 }]\n";
    let loaded = loaded(&format!("{GATEWAY}{TUNNEL}{neighbor}"));
    assert!(loaded.site.is_some(), "{:?}", loaded.diagnostics);
}

#[test]
fn rules_without_numbers_come_ten_apart() {
    let text = format!(
        "{GATEWAY}[prefix-list]\nl = [{{ permit = \"10.0.0.0/8\" }}, {{ seq = 5, deny = \"10.1.0.0/16\" }}, {{ permit = \"10.2.0.0/16\", ge = 20 }}]\n"
    );
    let rules: Vec<(u32, (u8, u8))> = site(&text).prefix_lists["l"]
        .rules
        .iter()
        .map(|rule| (rule.seq, rule.lengths()))
        .collect();
    assert_eq!(rules, [(5, (16, 16)), (10, (8, 8)), (15, (20, 32))]);
}

#[test]
fn an_alias_holds_what_it_includes() {
    let text = format!(
        "{GATEWAY}[alias]\nadmins = {{ networks = [\"10.9.0.1\"], include = [\"lab\"] }}\nlab = {{ include = [\"home\", \"peers\"] }}\n{TUNNEL}"
    );
    assert_eq!(
        site(&text).firewall.aliases["admins"].to_string(),
        "[10.9.0.1/32, 192.168.2.0/24, 198.51.100.1/32]"
    );
}

#[test]
fn a_long_chain_of_aliases_is_followed() {
    let chain: String = (0..300)
        .map(|n| format!("a{n} = {{ include = [\"a{}\"] }}\n", n + 1))
        .collect();
    let site = site(&format!(
        "{GATEWAY}[alias]\n{chain}a300 = {{ ports = [443] }}\n"
    ));
    assert_eq!(site.firewall.aliases["a0"].to_string(), "[443]");
}

#[test]
fn a_tunnel_takes_its_kind_of_interface_and_offload_from_the_daemon_unless_it_says_otherwise() {
    let text = format!(
        "{GATEWAY}{TUNNEL}{}interface-kind = \"xfrm\"\noffload = \"none\"\n[daemon]\ndata-plane = \"kernel\"\ninterface-kind = \"vti\"\noffload = \"packet\"\n",
        TUNNEL
            .replace("tunnel.a", "tunnel.b")
            .replace("198.51.100.1", "198.51.100.2")
            .replace("169.254.21.2", "169.254.22.2")
    );
    let site = site(&text);
    assert_eq!(site.daemon.data_plane, DataPlane::Kernel);
    let of = |name: &str| {
        let tunnel = site.tunnel(name).unwrap();
        (tunnel.interface_kind, tunnel.offload)
    };
    assert_eq!(of("a"), (InterfaceKind::Vti, Offload::Packet));
    assert_eq!(of("b"), (InterfaceKind::Xfrm, Offload::None));
    assert_eq!(
        site.setting("tunnel.a.interface-kind").unwrap().origin,
        Origin::Derived {
            from: "daemon.interface-kind"
        }
    );
}

#[test]
fn a_reqid_fits_into_the_lower_half_of_a_mark() {
    let with = |reqid: &str| loaded(&format!("{GATEWAY}{TUNNEL}reqid = {reqid}\n"));
    assert_eq!(
        with("65535").site.unwrap().tunnel("a").unwrap().reqid,
        65_535
    );
    let refused = with("65536");
    assert!(refused.site.is_none());
    assert!(
        refused
            .diagnostics
            .iter()
            .any(|each| each.code == Code::Reqid)
    );
}

#[test]
fn what_only_the_kernels_plane_knows_is_warned_about_in_user_space() {
    let with = |tunnel: &str, daemon: &str| {
        let loaded = loaded(&format!("{GATEWAY}{TUNNEL}{tunnel}[daemon]\n{daemon}"));
        assert!(loaded.site.is_some(), "{:?}", loaded.diagnostics);
        let conflicts = |each: &&config::Diagnostic| each.code == Code::ConflictingKeys;
        loaded.diagnostics.iter().filter(conflicts).count()
    };
    let userspace = "data-plane = \"userspace\"\n";
    let (kind, offload) = ("interface-kind = \"vti\"\n", "offload = \"crypto\"\n");
    assert_eq!(with(kind, ""), 0);
    assert_eq!(with(kind, userspace), 1);
    assert_eq!(with(offload, &format!("{userspace}{offload}")), 2);
    assert_eq!(with("offload = \"none\"\n", userspace), 0);
    let forced = "encapsulation = \"force\"\n";
    assert_eq!(with(forced, offload), 1);
    assert_eq!(with(forced, "offload = \"packet\"\n"), 0);
    assert_eq!(with(&format!("{forced}offload = \"none\"\n"), offload), 0);
}

#[test]
fn a_remote_is_an_address_or_a_name_and_a_mistyped_address_is_neither() {
    let with = |remote: &str| format!("{GATEWAY}{}", TUNNEL.replace("198.51.100.1", remote));
    let remote = |text: &str| site(&with(text)).tunnel("a").unwrap().remote.clone();
    assert_eq!(
        remote("2001:db8::1").address(),
        Some("2001:db8::1".parse().unwrap())
    );
    for name in ["vpn.example.net", "gw_1.example", "head-end", "a.b-c.d9"] {
        assert_eq!(remote(name), Remote::Name(name.to_owned()));
        let id = site(&with(name)).tunnel("a").unwrap().remote_id.clone();
        assert_eq!(id, Identity::Fqdn(name.to_owned()));
    }
    assert_eq!(remote("vpn.example.net.").name(), Some("vpn.example.net"));
    for wrong in [
        "198.51.100.l",
        "198.51.100.1O",
        "198.51.100",
        "vpn..example",
        "-vpn.example",
        "vpn example",
        "vpn.example:500",
        "",
    ] {
        let found = loaded(&with(wrong));
        let mut found = found.diagnostics.iter();
        assert!(found.any(|one| one.code == Code::BadValue), "{wrong}");
    }
}

#[test]
fn outer_addresses_are_of_one_family_and_a_vti_has_ipv4() {
    let other = |remote: &str| {
        let tunnel = TUNNEL
            .replace("tunnel.a", "tunnel.b")
            .replace("198.51.100.1", remote);
        let tunnel = tunnel.replace("169.254.21.2/30", "169.254.22.2/30");
        format!("{GATEWAY}{TUNNEL}{tunnel}")
    };
    let count = |text: &str, code| {
        let found = loaded(text).diagnostics;
        found.iter().filter(|one| one.code == code).count()
    };
    assert_eq!(count(&other("2001:db8::1"), Code::Ipv6Unsupported), 1);
    assert_eq!(count(&other("198.51.100.2"), Code::Ipv6Unsupported), 0);
    assert_eq!(count(&other("vpn.example.net"), Code::Ipv6Unsupported), 0);
    let vti = |remote: &str| {
        let tunnel = TUNNEL.replace("198.51.100.1", remote);
        format!("{GATEWAY}{tunnel}interface-kind = \"vti\"\n")
    };
    assert_eq!(count(&vti("2001:db8::1"), Code::ConflictingKeys), 1);
    assert_eq!(count(&vti("198.51.100.1"), Code::ConflictingKeys), 0);
}

#[test]
fn mobike_goes_with_an_automatic_address_and_not_without_nat_detection() {
    let auto = GATEWAY.replace("203.0.113.10", "auto");
    let mobike = |gateway: &str, more: &str| {
        let text = format!("{gateway}{TUNNEL}{more}");
        site(&text).tunnel("a").unwrap().mobike
    };
    assert!(mobike(&auto, ""));
    assert!(!mobike(GATEWAY, ""));
    assert!(mobike(GATEWAY, "mobike = true\n"));
    assert!(!mobike(&auto, "mobike = false\n"));
    assert!(!mobike(&auto, "encapsulation = \"never\"\n"));
    let both = format!("{auto}{TUNNEL}mobike = true\nencapsulation = \"never\"\n");
    let found = loaded(&both).diagnostics;
    assert!(found.iter().any(|one| one.code == Code::ConflictingKeys));
}

#[test]
fn aliases_that_hold_the_peers_are_known() {
    let text = format!(
        "{GATEWAY}{TUNNEL}[alias]\nfar = {{ include = [\"peers\"] }}\nfarther = {{ include = [\"far\"] }}\nnear = {{ networks = [\"192.0.2.0/24\"] }}\n"
    );
    let with_peers: Vec<String> = site(&text).firewall.with_peers.into_iter().collect();
    assert_eq!(with_peers, ["far", "farther", "peers"]);
}

#[test]
fn bfd_is_off_on_or_a_table_with_defaults() {
    let bfd = |line: &str| {
        let text = format!(
            "{GATEWAY}[bgp]\nasn = 65000\n[bgp.neighbor.node]\naddresses = [\"192.168.2.31\", \"192.168.2.32\"]\nremote-asn = 65001\nimport = \"none\"\nexport = \"none\"\n{line}\n"
        );
        let neighbors = site(&text).bgp.unwrap().neighbors;
        assert_eq!(neighbors[0].bfd, neighbors[1].bfd);
        neighbors[0].bfd.clone()
    };
    assert_eq!(bfd(""), None);
    assert_eq!(bfd("bfd = false"), None);
    let usual = Bfd {
        min_tx: Duration::from_millis(300),
        min_rx: Duration::from_millis(300),
        multiplier: 3,
        multihop: false,
        passive: false,
        strict: false,
    };
    assert_eq!(bfd("bfd = true"), Some(usual.clone()));
    assert_eq!(bfd("bfd = {}"), Some(usual));
    let written = "[bgp.neighbor.node.bfd]\nmin-tx = \"50ms\"\nmin-rx = \"1m\"\nmultiplier = 5\nmultihop = true\npassive = true\nstrict = true";
    let expected = Bfd {
        min_tx: Duration::from_millis(50),
        min_rx: Duration::from_secs(60),
        multiplier: 5,
        multihop: true,
        passive: true,
        strict: true,
    };
    assert_eq!(bfd(written), Some(expected));
}

#[test]
fn ml_kem_is_offered_to_any_gateway_first_and_to_a_cloud_never() {
    let generic = site(&format!("{GATEWAY}{TUNNEL}"));
    let ike = &generic.tunnel("a").unwrap().ike;
    assert!(ike[0].kems == [Kem::MlKem768] && ike[1..].iter().all(|p| p.kems.is_empty()));
    let mut without = ike[0].clone();
    without.kems.clear();
    assert_eq!(ike[1], without);

    let cloud = format!("{GATEWAY}{TUNNEL}profile = \"oci\"\n");
    let ours = site(&cloud).tunnel("a").unwrap().ike.clone();
    assert!(ours.iter().all(|proposal| proposal.kems.is_empty()));
    let refused = loaded(&format!(
        "{cloud}ike = [\"aes256-sha384-ecp384-ke1_mlkem768\"]\n"
    ));
    assert!(refused.site.is_none());
    let codes: Vec<Code> = refused.diagnostics.iter().map(|each| each.code).collect();
    assert!(codes.contains(&Code::NotAccepted), "{codes:?}");
}

#[test]
fn a_ppk_is_required_unless_the_file_says_otherwise() {
    let ppk = |line: &str| {
        let site = site(&format!("{GATEWAY}{TUNNEL}{line}\n"));
        site.tunnel("a").unwrap().ppk.clone()
    };
    assert_eq!(ppk(""), None);
    let written = Ppk {
        id: "k1".to_owned(),
        secret: SecretSource::Credential("a.ppk".to_owned()),
        required: true,
    };
    let line = "ppk = { id = \"k1\", credential = \"a.ppk\" }";
    assert_eq!(ppk(line), Some(written.clone()));
    let line = "ppk = { id = \"k1\", credential = \"a.ppk\", required = false }";
    let optional = Ppk {
        required: false,
        ..written
    };
    assert_eq!(ppk(line), Some(optional));
}

#[test]
fn a_ppk_that_cannot_be_used_is_refused() {
    let codes = |line: &str| {
        let loaded = loaded(&format!("{GATEWAY}{TUNNEL}{line}\n"));
        assert!(loaded.site.is_none());
        let codes = loaded.diagnostics.iter().map(|each| each.code);
        codes
            .filter(|code| *code != Code::TunnelUnused)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes("ppk = { id = \"k1\" }"), [Code::MissingKey]);
    assert_eq!(codes("ppk = { env = \"K\" }"), [Code::MissingKey]);
    assert_eq!(
        codes("ppk = { id = \"two words\", env = \"K\" }"),
        [Code::BadValue]
    );
    assert_eq!(
        codes("ppk = { id = \"k1\", env = \"K\", file = \"/k\" }"),
        [Code::ConflictingKeys]
    );
    assert_eq!(codes("ppk = \"hunter2hunter2\""), [Code::WrongType]);
}

#[test]
fn the_same_text_gives_the_same_site() {
    let text = format!("{GATEWAY}{TUNNEL}");
    assert_eq!(site(&text), site(&text));
}

fn loaded(text: &str) -> Loaded {
    load(&Source::new("site.toml", text), &Unseen)
}

fn site(text: &str) -> Site {
    let Loaded { site, diagnostics } = loaded(text);
    assert!(site.is_some(), "{diagnostics:?}");
    site.unwrap()
}

#[test]
fn a_backup_tunnel_is_less_preferred_in_both_directions_unless_the_neighbor_says_otherwise() {
    let tunnels = format!(
        "{}{}",
        TUNNEL.replace("[tunnel.a]", "[tunnel.a]\nrole = \"primary\""),
        TUNNEL
            .replace("[tunnel.a]", "[tunnel.b]\nrole = \"backup\"")
            .replace("198.51.100.1", "198.51.100.2")
            .replace("21.2", "22.2"),
    );
    let neighbor = |name: &str, more: &str| {
        format!(
            "[bgp.neighbor.{name}]\ntunnel = \"{name}\"\nremote-asn = 65001\nimport = \"none\"\nexport = \"none\"\n{more}"
        )
    };
    let of = |more: &str| {
        let (a, b) = (neighbor("a", ""), neighbor("b", more));
        let site = site(&format!("{GATEWAY}{tunnels}[bgp]\nasn = 65000\n{a}{b}"));
        ["a", "b"].map(|name| {
            let neighbor = site.neighbor(name).unwrap();
            (neighbor.local_pref, neighbor.prepend)
        })
    };
    assert_eq!(of(""), [(200, 0), (50, 2)]);
    assert_eq!(of("local-pref = 70\nprepend = 5\n"), [(200, 0), (70, 5)]);
}

#[test]
fn a_route_maps_rules_are_in_order_and_its_name_is_a_policy() {
    let text = format!(
        "{GATEWAY}[bgp]\nasn = 65000\nrouter-id = \"1.1.1.1\"\n[bgp.neighbor.n]\naddress = \"192.168.2.9\"\nremote-asn = 65001\nimport = \"m\"\nexport = \"l\"\n[prefix-list]\nl = [{{ permit = \"10.0.0.0/8\" }}]\n[[route-map.m]]\nmatch.prefix-list = \"l\"\nmatch.med = \"5-9\"\nset.community = []\n[[route-map.m]]\nseq = 5\naction = \"deny\"\nmatch.community = [\"1:2\", \"no-export\"]\n"
    );
    let site = site(&text);
    let neighbor = site.neighbor("n").unwrap();
    assert_eq!(neighbor.import, Policy::RouteMap("m".to_owned()));
    assert_eq!(neighbor.export, Policy::PrefixList("l".to_owned()));
    let rules = &site.route_maps["m"].rules;
    assert_eq!([rules[0].seq, rules[1].seq], [5, 10]);
    assert_eq!(rules[0].conditions.communities.len(), 2);
    assert_eq!(rules[1].conditions.prefix_lists, ["l"]);
    let med = rules[1].conditions.med.unwrap();
    assert_eq!((med.low, med.high), (5, 9));
    assert!(rules[1].changes.communities.clear && rules[1].changes.communities.add.is_empty());
}

/// A site whose only neighbor has these lines, and a list with these rules.
fn with_neighbor(lines: &str, rules: &str) -> String {
    format!(
        "{GATEWAY}[bgp]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n[bgp.neighbor.n]\nremote-asn = 65001\nimport = \"l\"\nexport = \"none\"\n{lines}\n[prefix-list]\nl = [{rules}]\n"
    )
}

const ANY: &str = "{ permit = \"2001:db8::/32\", le = 64 }";

#[test]
fn a_neighbor_exchanges_its_addresss_family_unless_the_file_says_otherwise() {
    use config::model::AddressFamily::{Ipv4, Ipv6};
    let families = |lines: &str| -> Vec<Vec<_>> {
        let neighbors = site(&with_neighbor(lines, ANY)).bgp.unwrap().neighbors;
        let each = neighbors.iter();
        each.map(|it| it.families.iter().copied().collect())
            .collect()
    };
    assert_eq!(families("address = \"192.0.2.9\""), [[Ipv4]]);
    assert_eq!(families("address = \"2001:db8::9\""), [[Ipv6]]);
    let mixed = "addresses = [\"192.0.2.9\", \"2001:db8::9\"]";
    assert_eq!(families(mixed), [[Ipv4], [Ipv6]]);
    let both = "address = \"2001:db8::9\"\nfamilies = [\"ipv6\", \"ipv4\"]";
    assert_eq!(families(both), [[Ipv4, Ipv6]]);
}

#[test]
fn families_that_cannot_be_exchanged_are_refused() {
    let v4 = "address = \"192.0.2.9\"";
    let v6 = "address = \"2001:db8::9\"";
    let both = "families = [\"ipv4\", \"ipv6\"]";
    let ours = "next-hop-address = \"2001:db8::1\"";
    let cases = [
        (format!("{v4}\n{both}\n{ours}"), None),
        (format!("{v6}\n{both}"), None),
        (
            format!("{v6}\n{both}\nnext-hop-address = \"192.0.2.1\""),
            None,
        ),
        (format!("{v4}\n{both}"), Some(Code::MissingKey)),
        (format!("{v4}\n{ours}"), Some(Code::ConflictingKeys)),
        (format!("{v6}\n{both}\n{ours}"), Some(Code::ConflictingKeys)),
        (
            format!("{v4}\n{both}\nnext-hop-address = \"fe80::1\""),
            Some(Code::NotUnicast),
        ),
        (format!("{v4}\nfamilies = []"), Some(Code::BadValue)),
        (
            format!("addresses = [\"192.0.2.9\", \"2001:db8::9\"]\n{both}"),
            Some(Code::ConflictingKeys),
        ),
        (
            format!("{v6}\nhold-time = \"9s\"\nbfd = true"),
            Some(Code::Ipv6Unsupported),
        ),
        ("address = \"fe80::9\"".to_owned(), Some(Code::NotUnicast)),
    ];
    for (lines, expected) in cases {
        let found: Vec<Code> = loaded(&with_neighbor(&lines, ANY))
            .diagnostics
            .iter()
            .map(|one| one.code)
            .collect();
        assert_eq!(found, Vec::from_iter(expected), "{lines}");
    }
    let tunnel = format!(
        "{}{TUNNEL}",
        with_neighbor("tunnel = \"a\"\nfamilies = [\"ipv6\"]", ANY)
    );
    let found = loaded(&tunnel).diagnostics;
    assert!(found.iter().any(|one| one.code == Code::Ipv6Unsupported));
}

#[test]
fn prefix_lists_and_routes_are_of_either_family_and_never_of_two() {
    let rules = |rules: &str| {
        let text = with_neighbor("address = \"2001:db8::9\"", rules);
        let found = loaded(&text).diagnostics;
        found
            .iter()
            .filter(|one| one.code == Code::PrefixLengths)
            .count()
    };
    assert_eq!(
        rules("{ permit = \"2001:db8::/32\", ge = 48, le = 128 }"),
        0
    );
    assert_eq!(rules("{ permit = \"2001:db8::/32\", le = 24 }"), 1);
    assert_eq!(rules("{ permit = \"2001:db8::/32\", le = 129 }"), 1);
    assert_eq!(rules("{ permit = \"10.0.0.0/8\", le = 33 }"), 1);
    let list = &site(&with_neighbor(
        "address = \"2001:db8::9\"",
        "{ permit = \"2001:db8::/32\", ge = 48 }",
    ))
    .prefix_lists["l"];
    assert!(list.permits("2001:db8:1::1/128".parse().unwrap()));
    assert!(!list.permits("2001:db8::/32".parse().unwrap()));
    let route = |via: &str| {
        let text = format!(
            "{GATEWAY}[[route]]\nprefix = \"2001:db8:7::/48\"\nvia = \"{via}\"\ninterface = \"lan0\"\n"
        );
        let found = loaded(&text).diagnostics;
        found.iter().filter(|one| one.code == Code::Route).count()
    };
    assert_eq!(
        (route("2001:db8::7"), route("fe80::7"), route("192.0.2.7")),
        (0, 0, 1)
    );
}

#[test]
fn only_a_neighbor_of_our_own_as_is_a_client_of_a_route_reflector() {
    let client = |more: &str| {
        let lines = format!("address = \"192.0.2.9\"\nroute-reflector-client = true\n{more}");
        let text = with_neighbor(&lines, ANY);
        let found = loaded(&text.replace("remote-asn = 65001", "")).diagnostics;
        found
            .iter()
            .filter(|one| one.code == Code::ConflictingKeys)
            .count()
    };
    assert_eq!(client("remote-asn = 65000"), 0);
    assert_eq!(client("remote-asn = 65002"), 1);
    assert_eq!(client("remote-asn = 65002\nlocal-asn = 65002"), 0);
}
