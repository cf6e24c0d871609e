//! Every metric family. Those about BGP sessions have the names that GoBGP gives them, where it has them.
//!
//! `docs/metrics.md` is made from [`described`]. To make it anew after a change:
//! `CAUSEWAY_BLESS=1 cargo test --bin causeway the_reference_of_the_metrics_is_current`.

use super::exposition::{Family, Kind};

macro_rules! catalogue {
    ($($heading:literal {
        $($name:ident: $count:literal = $kind:ident $family:literal, $unit:literal, [$($label:literal),*], $help:literal;)+
    })+) => {
        $($(
            pub(crate) static $name: Family<$count> = Family {
                name: $family,
                kind: Kind::$kind,
                unit: $unit,
                labels: [$($label),*],
                help: $help,
            };
        )+)+

        /// Every family under its heading, in the order of the documentation.
        #[cfg(test)]
        pub(crate) fn described() -> Vec<(&'static str, Vec<Description>)> {
            vec![$(($heading, vec![$(Description::of(&$name)),+])),+]
        }
    };
}

// What each is called here, how many labels it has, its kind, name, unit, labels and meaning.
catalogue! {
    "The daemon" {
        BUILD: 1 = Info "causeway_build", "", ["version"],
            "The program.";
        GATEWAY: 2 = Info "causeway_gateway", "", ["gateway", "data_plane"],
            "The gateway's name, and what carries packets: kernel or userspace.";
        START_TIME: 0 = Gauge "process_start_time_seconds", "seconds", [],
            "When the daemon started, in seconds since 1970.";
        RESIDENT_MEMORY: 0 = Gauge "process_resident_memory_bytes", "bytes", [],
            "The daemon's memory that is in RAM.";
        PROCESSOR_TIME: 0 = Counter "process_cpu_seconds", "seconds", [],
            "Processor time that the daemon has used.";
        PROBLEMS: 0 = Gauge "causeway_problems", "", [],
            "How many problems `causeway status` shows; 0 when all is well.";
        HOST_FAILED: 0 = Gauge "causeway_host_failed", "", [],
            "1 while this host is not as the site file says, because the kernel refused something.";
    }
    "Tunnels" {
        TUNNEL: 5 = Info "causeway_tunnel", "", ["tunnel", "profile", "interface", "interface_kind", "remote"],
            "What the site file says of the tunnel; `interface_kind` is tun, xfrm or vti.";
        TUNNEL_UP: 1 = Gauge "causeway_tunnel_up", "", ["tunnel"],
            "1 while packets pass.";
        TUNNEL_STATE: 2 = StateSet "causeway_tunnel_state", "", ["tunnel", "causeway_tunnel_state"],
            "Where the tunnel stands: up, connecting, waiting (for the peer) or down.";
        TUNNEL_CHANGED: 1 = Gauge "causeway_tunnel_changed_timestamp_seconds", "seconds", ["tunnel"],
            "Since when packets have passed, or not, in seconds since 1970.";
        TUNNEL_DOWNS: 1 = Counter "causeway_tunnel_downs", "", ["tunnel"],
            "How often packets stopped passing.";
        TUNNEL_MTU: 1 = Gauge "causeway_tunnel_mtu_bytes", "bytes", ["tunnel"],
            "The interface's MTU.";
        TUNNEL_PACKETS_IN: 1 = Counter "causeway_tunnel_received_packets", "", ["tunnel"],
            "Packets that came out of the tunnel, authentic.";
        TUNNEL_OCTETS_IN: 1 = Counter "causeway_tunnel_received_bytes", "bytes", ["tunnel"],
            "Their octets, as they are inside the tunnel.";
        TUNNEL_PACKETS_OUT: 1 = Counter "causeway_tunnel_sent_packets", "", ["tunnel"],
            "Packets that were sent into the tunnel.";
        TUNNEL_OCTETS_OUT: 1 = Counter "causeway_tunnel_sent_bytes", "bytes", ["tunnel"],
            "Their octets, as they are inside the tunnel.";
        TUNNEL_DROPS: 2 = Counter "causeway_tunnel_dropped_packets", "", ["tunnel", "reason"],
            "Packets dropped, by reason; each of them is there from the start.";
        TUNNEL_LOST_SAS: 1 = Counter "causeway_tunnel_lost_sas", "", ["tunnel"],
            "How often somebody deleted an SA that packets needed (kernel plane).";
        TUNNEL_RESTORED_POLICIES: 1 = Counter "causeway_tunnel_restored_policies", "", ["tunnel"],
            "How often somebody deleted or changed an IPsec policy, and it was put back (kernel plane).";
        STRAY_DROPS: 1 = Counter "causeway_stray_dropped_packets", "", ["reason"],
            "ESP packets that belong to no tunnel, by reason.";
    }
    "IKE" {
        IKE_REKEYS: 2 = Counter "causeway_ike_rekeys", "", ["tunnel", "sa"],
            "SAs that were replaced in time; `sa` is ike or child.";
        IKE_FAILURES: 1 = Counter "causeway_ike_failures", "", ["tunnel"],
            "Exchanges that failed, by either side's refusal or silence.";
        IKE_ATTEMPTS: 1 = Gauge "causeway_ike_attempts", "", ["tunnel"],
            "Attempts to initiate since the tunnel was last up.";
        IKE_HEARD: 1 = Gauge "causeway_ike_last_heard_seconds", "seconds", ["tunnel"],
            "How long ago the peer was last heard on its IKE_SA; absent without one.";
        IKE_EXPIRY: 1 = Gauge "causeway_child_sa_expires_in_seconds", "seconds", ["tunnel"],
            "How long the CHILD_SA that we send on may still live; absent without one.";
        IKE_HALF_OPEN: 0 = Gauge "causeway_ike_half_open_handshakes", "", [],
            "Handshakes that a peer has begun and not finished.";
        IKE_RECEIVED: 0 = Counter "causeway_ike_received_messages", "", [],
            "Datagrams that came to IKE's ports.";
        IKE_SENT: 0 = Counter "causeway_ike_sent_messages", "", [],
            "IKE messages sent, without repetitions.";
        IKE_RETRANSMITTED: 0 = Counter "causeway_ike_retransmitted_messages", "", [],
            "Repetitions of our requests.";
        IKE_DROPPED: 1 = Counter "causeway_ike_dropped_messages", "", ["reason"],
            "IKE messages that were not taken, by reason.";
    }
    "BGP" {
        BGP_SPEAKER: 2 = Info "causeway_bgp_speaker", "", ["asn", "router_id"],
            "Our AS and BGP Identifier.";
        PEER_STATE: 3 = Gauge "bgp_peer_state", "", ["peer", "neighbor", "session_state"],
            "1; the session's state is in the label: IDLE, CONNECT, ACTIVE, OPENSENT, OPENCONFIRM or ESTABLISHED.";
        PEER_UP: 2 = Gauge "causeway_bgp_peer_up", "", ["peer", "neighbor"],
            "1 while the session is established.";
        PEER_ASN: 2 = Gauge "bgp_peer_asn", "", ["peer", "neighbor"],
            "The neighbor's AS.";
        PEER_LOCAL_ASN: 2 = Gauge "bgp_peer_local_asn", "", ["peer", "neighbor"],
            "Our AS on the session.";
        PEER_TYPE: 2 = Gauge "bgp_peer_type", "", ["peer", "neighbor"],
            "0 internal, 1 external.";
        PEER_PASSWORD: 2 = Gauge "bgp_peer_password_set", "", ["peer", "neighbor"],
            "1 where the session's segments are signed (TCP MD5).";
        PEER_ESTABLISHED: 2 = Gauge "bgp_peer_established_timestamp_seconds", "seconds", ["peer", "neighbor"],
            "Since when the session has been established, in seconds since 1970; absent while it is not.";
        PEER_FLOPS: 2 = Gauge "bgp_peer_flop_count", "", ["peer", "neighbor"],
            "How many established sessions have ended.";
        PEER_HOLD_TIME: 2 = Gauge "causeway_bgp_peer_hold_time_seconds", "seconds", ["peer", "neighbor"],
            "The hold time that was agreed, 0 is never; absent without a session.";
        PEER_FAULTS: 2 = Counter "causeway_bgp_peer_update_faults", "", ["peer", "neighbor"],
            "Malformed UPDATEs that sessions survived (RFC 7606).";
        ROUTES_RECEIVED: 3 = Gauge "bgp_routes_received", "", ["peer", "neighbor", "route_family"],
            "Prefixes that the neighbor teaches.";
        ROUTES_ACCEPTED: 3 = Gauge "bgp_routes_accepted", "", ["peer", "neighbor", "route_family"],
            "Of those, how many policy accepts.";
        ROUTES_ADVERTISED: 3 = Gauge "bgp_routes_advertised", "", ["peer", "neighbor", "route_family"],
            "Prefixes that the neighbor has been told.";
        ROUTES_STALE: 2 = Gauge "causeway_bgp_routes_stale", "", ["peer", "neighbor"],
            "Of those received, how many are kept while the neighbor restarts (RFC 4724).";
        ROUTES_PENDING: 2 = Gauge "causeway_bgp_routes_pending", "", ["peer", "neighbor"],
            "Prefixes that wait to be told to the neighbor.";
        RECEIVED_OPEN: 2 = Counter "bgp_received_open", "", ["peer", "neighbor"],
            "OPENs received, on all sessions.";
        RECEIVED_UPDATE: 2 = Counter "bgp_received_update", "", ["peer", "neighbor"],
            "UPDATEs received, on all sessions.";
        RECEIVED_NOTIFICATION: 2 = Counter "bgp_received_notification", "", ["peer", "neighbor"],
            "NOTIFICATIONs received, on all sessions.";
        RECEIVED_KEEPALIVE: 2 = Counter "bgp_received_keepalive", "", ["peer", "neighbor"],
            "KEEPALIVEs received, on all sessions.";
        RECEIVED_REFRESH: 2 = Counter "bgp_received_refresh", "", ["peer", "neighbor"],
            "ROUTE-REFRESHes received, on all sessions.";
        RECEIVED_MESSAGE: 2 = Counter "bgp_received_message", "", ["peer", "neighbor"],
            "Messages of all types received, on all sessions.";
        SENT_OPEN: 2 = Counter "bgp_sent_open", "", ["peer", "neighbor"],
            "OPENs sent, on all sessions.";
        SENT_UPDATE: 2 = Counter "bgp_sent_update", "", ["peer", "neighbor"],
            "UPDATEs sent, on all sessions.";
        SENT_NOTIFICATION: 2 = Counter "bgp_sent_notification", "", ["peer", "neighbor"],
            "NOTIFICATIONs sent, on all sessions.";
        SENT_KEEPALIVE: 2 = Counter "bgp_sent_keepalive", "", ["peer", "neighbor"],
            "KEEPALIVEs sent, on all sessions.";
        SENT_REFRESH: 2 = Counter "bgp_sent_refresh", "", ["peer", "neighbor"],
            "ROUTE-REFRESHes sent, on all sessions.";
        SENT_MESSAGE: 2 = Counter "bgp_sent_message", "", ["peer", "neighbor"],
            "Messages of all types sent, on all sessions.";
        RANGE_NEIGHBORS: 2 = Gauge "causeway_bgp_range_neighbors", "", ["range", "network"],
            "Neighbors that the range has now.";
        RANGE_LIMIT: 2 = Gauge "causeway_bgp_range_limit", "", ["range", "network"],
            "How many the range may have.";
        RANGE_TURNED_AWAY: 2 = Counter "causeway_bgp_range_turned_away", "", ["range", "network"],
            "Connections refused because the range was full.";
        BGP_PREFIXES: 0 = Gauge "causeway_bgp_prefixes", "", [],
            "Prefixes with at least one path.";
        BGP_PATHS: 0 = Gauge "causeway_bgp_paths", "", [],
            "Paths, the refused ones included.";
        BGP_SETS: 0 = Gauge "causeway_bgp_attribute_sets", "", [],
            "Distinct sets of attributes.";
        ROUTES: 0 = Gauge "causeway_routes", "", [],
            "Prefixes with next hops that BGP wants in the kernel.";
        ROUTES_WITHHELD: 0 = Gauge "causeway_routes_withheld", "", [],
            "Of those, how many are not installed, because they would break a tunnel.";
    }
    "BFD" {
        BFD_STATE: 3 = StateSet "causeway_bfd_state", "", ["peer", "neighbor", "causeway_bfd_state"],
            "The session's state: AdminDown, Down, Init or Up.";
        BFD_UPS: 2 = Counter "causeway_bfd_ups", "", ["peer", "neighbor"],
            "How many times the session has come up.";
        BFD_DETECTION: 2 = Gauge "causeway_bfd_detection_time_seconds", "seconds", ["peer", "neighbor"],
            "How long the neighbor may be silent; 0 before it was heard.";
        BFD_RECEIVED: 2 = Counter "causeway_bfd_received_packets", "", ["peer", "neighbor"],
            "Control packets heard.";
        BFD_SENT: 2 = Counter "causeway_bfd_sent_packets", "", ["peer", "neighbor"],
            "Control packets sent.";
        BFD_DROPPED: 3 = Counter "causeway_bfd_dropped_packets", "", ["peer", "neighbor", "reason"],
            "Control packets dropped, by reason.";
    }
    "Firewall" {
        FIREWALL_PACKETS: 1 = Counter "causeway_firewall_matched_packets", "", ["rule"],
            "Packets that a rule of our table matched, by its comment; absent where the firewall is off or did not answer in time.";
        FIREWALL_OCTETS: 1 = Counter "causeway_firewall_matched_bytes", "bytes", ["rule"],
            "Their octets.";
        FIREWALL_FAILED: 0 = Gauge "causeway_firewall_failed", "", [],
            "1 while our table is not as it should be.";
        FIREWALL_OBSTACLES: 0 = Gauge "causeway_firewall_obstacles", "", [],
            "What other tables would do to our peers' packets: how many obstacles `causeway status` shows.";
    }
}

/// A family as the documentation shows it.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) family: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: &'static str,
    pub(crate) labels: Vec<&'static str>,
    pub(crate) help: &'static str,
}

#[cfg(test)]
impl Description {
    fn of<const N: usize>(family: &'static Family<N>) -> Self {
        Self {
            family: family.name,
            kind: family.kind,
            unit: family.unit,
            labels: family.labels.to_vec(),
            help: family.help,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    fn markdown() -> String {
        let mut out = String::from(include_str!("introduction.md"));
        for (heading, families) in described() {
            let _ = writeln!(
                out,
                "\n## {heading}\n\n| metric | type | labels | meaning |\n|---|---|---|---|"
            );
            for family in families {
                let labels: Vec<String> =
                    family.labels.iter().map(|it| format!("`{it}`")).collect();
                let _ = writeln!(
                    out,
                    "| `{}{}` | {} | {} | {} |",
                    family.family,
                    family.kind.suffix(),
                    family.kind.word(),
                    labels.join(", "),
                    family.help
                );
            }
        }
        out
    }

    #[test]
    fn the_reference_of_the_metrics_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let made = markdown();
        if std::env::var_os("CAUSEWAY_BLESS").is_some() {
            std::fs::write(&path, &made).expect("the reference is written");
        }
        let written = std::fs::read_to_string(&path).expect("the reference is there");
        assert!(
            written == made,
            "docs/metrics.md differs from the catalogue; see the head of this file"
        );
    }

    #[test]
    fn names_are_as_openmetrics_wants_them() {
        let mut seen = BTreeSet::new();
        for family in described().into_iter().flat_map(|(_, families)| families) {
            let name = family.family;
            assert!(seen.insert(name), "{name} twice");
            let is_word = |text: &str| {
                text.chars()
                    .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
            };
            assert!(
                is_word(name) && family.labels.iter().all(|it| is_word(it)),
                "{name}"
            );
            // What the kind appends is not written twice, and the unit is the last word.
            assert!(
                !name.ends_with("_total") && !name.ends_with("_info"),
                "{name}"
            );
            assert!(name.ends_with(family.unit), "{name} is in {}", family.unit);
            if family.kind == Kind::StateSet {
                assert_eq!(family.labels.last(), Some(&name));
            }
            assert!(family.help.ends_with('.'), "{name}");
        }
    }
}
