//! The metrics as a collector gets them, read by Prometheus's own parser of OpenMetrics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use lab::{
    A_RANGE, Frr, Gateway, Launch, Neighbor, Nodes, Ns, OrFail as _, ReferenceSite, Router as _,
    Scene, SiteFile, Speaker, addresses as at, eventually_true,
};
use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// The gateway's address on its LAN, and the port of the example.
const LISTEN: &str = "192.168.2.1:9469";

/// Prometheus's parser is strict: what it does not take is an error, and so is a family that is there twice.
const PARSER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(json.dumps([
    [family.name, sample.name, sample.labels, sample.value]
    for family in text_string_to_metric_families(sys.stdin.read())
    for sample in family.samples
]))
";

/// A sample: its family, its name, its labels and its value.
type Sample = (String, String, BTreeMap<String, String>, f64);

/// All samples of a text.
struct Samples(Vec<Sample>);

impl Samples {
    #[track_caller]
    fn of(ns: &Ns, text: &str) -> Self {
        // Debian's own interpreter has Debian's packages.
        let parsed = ns.exec_with_input(&["/usr/bin/python3", "-c", PARSER], text);
        assert!(parsed.ok(), "{}\n{text}", parsed.stderr);
        let rows = serde_json::from_str(&parsed.stdout);
        Self(rows.or_fail("read what the parser has read"))
    }

    /// The values of all samples of this name that have these labels.
    fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |there: &BTreeMap<String, String>| {
            let mut labels = labels.iter();
            labels.all(|(key, value)| there.get(*key).is_some_and(|it| it == value))
        };
        let rows = self.0.iter().filter(|row| row.1 == name && has(&row.2));
        rows.map(|row| row.3).collect()
    }

    #[track_caller]
    fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let all = self.all(name, labels);
        assert_eq!(all.len(), 1, "{name} {labels:?}: {all:?}");
        all[0]
    }

    /// Every name of a sample.
    fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(|row| row.1.clone()).collect()
    }
}

/// What a server answers to these octets, from a namespace; `None` where nobody listens.
fn ask(ns: &Ns, to: &str, request: &str) -> Option<String> {
    let (to, request): (SocketAddr, _) = (to.parse().or_fail("an address"), request.to_owned());
    ns.run(move || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// What `GET /metrics` brings, where it is answered as it should be.
fn collect(ns: &Ns, from: &str) -> Option<String> {
    let answer = ask(ns, from, "GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n")?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_right = head.starts_with("HTTP/1.1 200 ")
        && head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8");
    is_right.then(|| body.to_owned())
}

/// What `docs/metrics.md` promises.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.map(str::to_owned).collect()
}

fn neighbor<'a>(status: &'a Value, address: &str) -> &'a Value {
    let mut all = status["bgp"]["neighbors"].as_array().into_iter().flatten();
    all.find(|it| it["address"] == address)
        .unwrap_or(&Value::Null)
}

#[test]
fn each_documented_metric_is_there_and_says_what_the_status_and_the_peers_say() {
    let file = SiteFile::reference()
        .add("bgp.neighbor.k8s", "bfd = true")
        .append(&format!("\n[metrics]\nlisten = \"{LISTEN}\"\n"))
        .append(A_RANGE);
    let scene = Scene::start(CAUSEWAY, &file);
    scene.wait_until_up();
    let _nodes = Nodes::start(&scene.site);
    scene.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    let rekeyed = scene
        .gateway
        .command(&["tunnel", "oci-1", "verify", "--json"]);
    assert!(rekeyed.ok(), "{} {}", rekeyed.stdout, rekeyed.stderr);
    // Something that BFD drops, so that each of its counters is there.
    scene.site.nodes[0].run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").or_fail("bind a port");
        socket.set_ttl(255).or_fail("set the TTL");
        socket
            .send_to(b"not BFD", (at::NODES_GATEWAY, 3784))
            .or_fail("send to BFD's port");
    });
    eventually_true(Scene::SOON, "BFD has dropped something", || {
        let text = collect(&scene.site.home, LISTEN).unwrap_or_default();
        text.contains("causeway_bfd_dropped_packets_total{")
    });

    let before = scene.gateway.status();
    let text = collect(&scene.site.home, LISTEN).or_fail("collect the metrics");
    let after = scene.gateway.status();
    let samples = Samples::of(&scene.site.home, &text);
    assert_eq!(samples.names(), documented());

    for (index, tunnel) in ["oci-1", "oci-2"].into_iter().enumerate() {
        let of = [("tunnel", tunnel)];
        assert_eq!(samples.one("causeway_tunnel_up", &of), 1.0);
        let states = [("tunnel", tunnel), ("causeway_tunnel_state", "up")];
        assert_eq!(samples.one("causeway_tunnel_state", &states), 1.0);
        assert_eq!(samples.all("causeway_tunnel_state", &of).len(), 4);
        for (metric, field) in [
            ("causeway_tunnel_received_packets_total", "packets_in"),
            ("causeway_tunnel_sent_packets_total", "packets_out"),
            ("causeway_tunnel_received_bytes_total", "octets_in"),
            ("causeway_tunnel_sent_bytes_total", "octets_out"),
        ] {
            let field = format!("/tunnels/{index}/traffic/{field}");
            let shown = |status: &Value| status.pointer(&field).and_then(Value::as_f64);
            let (low, high) = (shown(&before), shown(&after));
            let value = Some(samples.one(metric, &of));
            assert!(
                low <= value && value <= high,
                "{metric}: {low:?} {value:?} {high:?}"
            );
            assert!(value > Some(0.0), "{metric}");
        }
        let peer = [("peer", at::INSIDE_THEIRS[index]), ("neighbor", tunnel)];
        let status = neighbor(&after, at::INSIDE_THEIRS[index]);
        assert_eq!(
            status["received"],
            samples.one("bgp_routes_received", &peer)
        );
        // What we say that we told it is what it has.
        let told = samples.one("bgp_routes_advertised", &peer);
        assert_eq!(told, scene.cloud.received(index).len() as f64);
        let state = [peer[0], ("session_state", "ESTABLISHED")];
        assert_eq!(samples.one("bgp_peer_state", &state), 1.0);
        assert!(samples.one("bgp_received_update_total", &peer) >= 1.0);
        assert!(samples.one("causeway_bgp_peer_hold_time_seconds", &peer) > 0.0);
    }
    for sa in ["ike", "child"] {
        let of = |tunnel| [("tunnel", tunnel), ("sa", sa)];
        assert_eq!(samples.one("causeway_ike_rekeys_total", &of("oci-1")), 1.0);
        assert_eq!(samples.one("causeway_ike_rekeys_total", &of("oci-2")), 0.0);
    }
    let problems = after["problems"].as_array().map_or(0, Vec::len);
    assert_eq!(samples.one("causeway_problems", &[]), problems as f64);
    assert!(samples.one("process_resident_memory_bytes", &[]) > 1e6);
    for secret in at::PSKS {
        assert!(!text.contains(secret), "a secret is in the metrics");
    }
    // The command prints the same families.
    let printed = scene.gateway.command(&["metrics"]);
    assert!(printed.ok(), "{}", printed.stderr);
    let printed = Samples::of(&scene.site.home, &printed.stdout);
    assert_eq!(printed.names(), documented());
}

/// A gateway without tunnels, with one neighbor.
fn lan(metrics: &str) -> String {
    format!(
        r#"
[gateway]
address = "203.0.113.10"
networks = ["192.168.2.0/24"]

[bgp]
asn = 65551
router-id = "192.168.200.1"

[bgp.neighbor.node]
address = "192.168.200.31"
remote-asn = 65000
source = "lan200"
hold-time = "9s"
import = "all"
export = "none"

{metrics}

[daemon]
data-plane = "userspace"
socket = "{{dir}}/control.sock"
"#
    )
}

fn listening(port: u16) -> String {
    lan(&format!("[metrics]\nlisten = \"192.168.2.1:{port}\""))
}

#[test]
fn the_listener_answers_get_metrics_alone_and_idle_clients_keep_nobody_out() {
    let site = ReferenceSite::new();
    let gateway = Gateway::start(&site.gateway, &Launch::new(CAUSEWAY, &listening(9469)));
    eventually_true(Scene::SOON, "the metrics are served", || {
        collect(&site.home, LISTEN).is_some()
    });
    for (request, expected) in [
        (
            "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 404 ",
        ),
        (
            "POST /v1/reload HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 404 ",
        ),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "),
    ] {
        let answer = ask(&site.home, LISTEN, request).unwrap_or_default();
        assert!(answer.starts_with(expected), "{request}: {answer}");
    }
    let idle = site.home.run(|| {
        let one = |_| TcpStream::connect(LISTEN).or_fail("connect and say nothing");
        (0..40).map(one).collect::<Vec<_>>()
    });
    assert!(
        collect(&site.home, LISTEN).is_some(),
        "idle clients are in the way"
    );
    drop(idle);

    // Another port takes effect at a reload, and so does none.
    gateway.reload(&listening(9470));
    eventually_true(Scene::SOON, "the metrics are served elsewhere", || {
        collect(&site.home, "192.168.2.1:9470").is_some()
    });
    assert_eq!(collect(&site.home, LISTEN), None);
    gateway.reload(&lan(""));
    eventually_true(Scene::SOON, "nobody listens any more", || {
        collect(&site.home, "192.168.2.1:9470").is_none()
    });
    assert!(gateway.command(&["metrics"]).ok());
}

#[test]
fn a_neighbor_that_leaves_shows_in_its_state_and_as_a_flap() {
    let site = ReferenceSite::new();
    let gateway = Gateway::start(&site.gateway, &Launch::new(CAUSEWAY, &lan("")));
    let us = Neighbor::new(at::NODES_GATEWAY, at::LAN_ASN).hold(9);
    let speaker = Speaker::new(at::NODES_ASN, at::NODES[0])
        .network("172.16.200.1/32")
        .neighbor(us.local(at::NODES[0]));
    let mut frr = Frr::start(&site.nodes[0], &speaker);
    gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    assert!(frr.established(at::NODES_GATEWAY));
    let look = || Samples::of(&site.home, &gateway.command(&["metrics"]).stdout);
    let peer = [("peer", at::NODES[0]), ("neighbor", "node")];
    eventually_true(Scene::SOON, "its route is counted", || {
        look().all("bgp_routes_accepted", &peer) == [1.0]
    });
    let up = look();
    assert_eq!(up.one("causeway_bgp_peer_up", &peer), 1.0);
    assert_eq!(up.one("bgp_peer_flop_count", &peer), 0.0);
    let since = up.one("bgp_peer_established_timestamp_seconds", &peer);
    let started = up.one("process_start_time_seconds", &[]);
    assert!(
        since >= started && since < started + 120.0,
        "{started} {since}"
    );
    // The same moment is the same number, whenever it is asked for.
    let again = look().one("bgp_peer_established_timestamp_seconds", &peer);
    assert_eq!(since.to_bits(), again.to_bits());

    frr.kill();
    eventually_true(Scene::SOON, "the flap is counted", || {
        look().all("bgp_peer_flop_count", &peer) == [1.0]
    });
    let down = look();
    assert_eq!(down.one("causeway_bgp_peer_up", &peer), 0.0);
    assert_eq!(down.one("bgp_routes_received", &peer), 0.0);
    let moments = down.all("bgp_peer_established_timestamp_seconds", &peer);
    assert_eq!(moments, Vec::<f64>::new());
    let established = [peer[0], ("session_state", "ESTABLISHED")];
    assert_eq!(down.all("bgp_peer_state", &established), Vec::<f64>::new());
}
