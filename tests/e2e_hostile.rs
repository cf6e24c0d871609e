//! Enemies outside and vandals inside: floods, forgeries, replays, hostile neighbors and clients, hands in the kernel's tables.
//! Tunnels and sessions stay up, memory stays bounded, what was broken is put right.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{
    Cloud, Gateway, Ns, OrFail, ReferenceSite, Scene, SiteFile, addresses as at, eventually_true,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

mod hostile;

use hostile::datagrams::{Tape, ammunition, flood, ip, noise};
use hostile::neighbor::{bgp, dial, session, update};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// How much more memory an attack may leave behind, in KiB: queues have room to fill once.
const GROWTH: u64 = 6 << 10;

fn rss(gateway: &Gateway) -> u64 {
    gateway.daemon().rss_kib().or_fail("the daemon's memory")
}

#[track_caller]
fn assert_bounded(gateway: &Gateway, before: u64) {
    let after = rss(gateway);
    println!("memory: {before} KiB before, {after} KiB after");
    assert!(
        after < before + GROWTH,
        "memory grew from {before} to {after} KiB"
    );
}

/// The tunnels' SAs and for how long the cloud's sessions have been up.
fn continuity(scene: &Scene) -> (Vec<Value>, Vec<u64>) {
    let status = scene.gateway.status();
    let children = ["oci-1", "oci-2"].map(|name| {
        let tunnel = items(&status["tunnels"]).find(|tunnel| tunnel["name"] == name);
        tunnel
            .map(|tunnel| tunnel["times_down"].clone())
            .unwrap_or_default()
    });
    let sessions = at::INSIDE_THEIRS.map(|address| {
        let neighbor = items(&status["bgp"]["neighbors"]).find(|one| one["address"] == address);
        let neighbor = neighbor.or_fail("the cloud's neighbor");
        assert_eq!(neighbor["state"], "Established", "{neighbor}");
        neighbor["seconds_in_state"].as_u64().unwrap_or_default()
    });
    (children.to_vec(), sessions.to_vec())
}

/// Asserts that no tunnel and no session to the cloud went down since `before` was taken, `elapsed` ago.
#[track_caller]
fn assert_continuous(scene: &Scene, before: &(Vec<Value>, Vec<u64>), elapsed: Duration) {
    let after = continuity(scene);
    assert_eq!(after.0, before.0, "a tunnel went down");
    for (before, after) in before.1.iter().zip(&after.1) {
        assert!(
            *after + 1 >= *before + elapsed.as_secs(),
            "a session was reset: {before} s, then {after} s after {elapsed:?}"
        );
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// How many packets all tunnels have dropped for a reason.
fn drops(status: &Value, reason: &str) -> u64 {
    items(&status["tunnels"])
        .map(|tunnel| count(&tunnel["traffic"]["drops"][reason]))
        .sum()
}

#[test]
fn floods_of_noise_forgeries_and_replays_stop_nothing_and_are_counted() {
    let site = ReferenceSite::new();
    let tape = Tape::start(&site.internet, "gateway");
    let file = SiteFile::reference().add("firewall", "enabled = false");
    let scene = Scene::start_with(site, CAUSEWAY, &file, |_, _| {});
    scene.wait_until_up();
    let flows = [scene.flow_to_the_cloud(), scene.flow_from_the_cloud()];
    for flow in &flows {
        flow.wait_for(200, Scene::SOON);
    }
    let (before, memory, begun) = (continuity(&scene), rss(&scene.gateway), Instant::now());
    let mut rng = StdRng::seed_from_u64(0x1dea);
    let datagrams = ammunition(&mut rng, &tape.datagrams());
    let thrown = datagrams.len();
    let internet = scene.site.internet.clone();
    let attack = std::thread::spawn(move || flood(&internet, datagrams));
    let mut slowest = Duration::ZERO;
    while !attack.is_finished() {
        let asked = Instant::now();
        let _ = scene.gateway.status();
        slowest = slowest.max(asked.elapsed());
    }
    attack.join().or_fail("the flood");
    for flow in &flows {
        flow.wait_for(100, Scene::SOON);
    }
    let status = scene.gateway.status();
    println!(
        "{thrown} datagrams in {:?}, slowest status {slowest:?}: {} {}",
        begun.elapsed(),
        status["ike"],
        status["data_plane"]
    );
    for tunnel in items(&status["tunnels"]) {
        println!("{} {}", tunnel["name"], tunnel["traffic"]);
    }
    for flow in flows {
        let report = flow.stop();
        println!("{report:?}");
        assert!(report.lost * 10 < report.sent, "{report:?}");
        assert_eq!(report.duplicated, 0, "a replayed packet was let in");
    }
    assert_continuous(&scene, &before, begun.elapsed());
    assert_bounded(&scene.gateway, memory);
    assert!(
        slowest < Duration::from_secs(1),
        "a status took {slowest:?}"
    );
    let counters = &status["ike"]["counters"];
    for reason in [
        "malformed",
        "unknown_spi",
        "stranger",
        "bad_integrity",
        "bad_message_id",
    ] {
        assert!(
            count(&counters[reason]) > 0,
            "{reason} is not counted: {counters}"
        );
    }
    assert!(count(&counters["cookies_sent"]) > 0, "{counters}");
    assert!(
        count(&status["data_plane"]["unknown_spi"]) > 100,
        "{status}"
    );
    assert!(drops(&status, "authentication") > 0, "{status}");
    assert!(drops(&status, "replayed") > 0, "{status}");
    let problems = scene.gateway.log();
    assert!(
        problems.lines().count() < 300,
        "the flood is in the log line by line"
    );
}

#[test]
fn hostile_neighbors_hurt_nobody_but_themselves() {
    let file = SiteFile::reference().replace(
        "export = \"none\"",
        "export = \"to-oci\"\nmax-prefixes = 1000",
    );
    let scene = Scene::start(CAUSEWAY, &file);
    scene.wait_until_up();
    let (before, memory, begun) = (continuity(&scene), rss(&scene.gateway), Instant::now());
    let mut rng = StdRng::seed_from_u64(0xb6b);

    // Strangers, and one neighbor that hangs up a thousand times.
    scene.site.nodes[0].exec(&["ip", "addr", "add", "192.168.200.99/24", "dev", "eth0"]);
    for _ in 0..3 {
        let _ = dial(&scene, 0, "192.168.200.99")
            .map(|mut stream| stream.write_all(&noise(&mut rng, 4000)));
    }
    for _ in 0..1000 {
        drop(dial(&scene, 0, at::NODES[0]));
    }
    let files = || {
        let pid = scene.gateway.daemon().pid().or_fail("the daemon runs");
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .or_fail("its files")
            .count()
    };
    eventually_true(Scene::SOON, "the connections are gone", || files() < 60);

    // Noise instead of an OPEN, a length that cannot be, and half a header that never becomes a whole one.
    for _ in 0..20 {
        if let Ok(mut stream) = dial(&scene, 0, at::NODES[0]) {
            let _ = stream.write_all(&noise(&mut rng, 9000));
            let mut endless = vec![0xff; 16];
            endless.extend([0xff, 0xff, 2]);
            let _ = stream.write_all(&endless);
        }
    }
    let mut loris = dial(&scene, 0, at::NODES[0]).ok();

    // Two hundred thousand prefixes where a thousand are allowed.
    let mut greedy = session(&scene, 1);
    for block in 0..250 {
        if greedy
            .write_all(&update(ip(at::NODES[1]), block * 800, 800))
            .is_err()
        {
            break;
        }
        if let Some(stream) = &mut loris
            && block % 40 == 0
        {
            let _ = stream.write_all(&[0xff]);
        }
    }
    eventually_true(Scene::SOON, "the greedy neighbor is turned away", || {
        scene.gateway.neighbor(at::NODES[1])["state"] != "Established"
    });

    // One whose every UPDATE has an ORIGIN that there is not, which RFC 7606 tells us to bear.
    let mut strange = session(&scene, 0);
    let mut malformed = update(ip(at::NODES[0]), 0, 10);
    malformed[19 + 4 + 3] = 9;
    let malformed = malformed.repeat(200);
    for _ in 0..10 {
        let _ = strange.write_all(&malformed);
    }
    eventually_true(Scene::SOON, "malformed UPDATEs are told", || {
        scene.gateway.log().contains("malformed UPDATE")
    });

    // One that asks for everything again and again, and never reads.
    let mut deaf = session(&scene, 2);
    let refreshes = bgp(5, &[0, 1, 0, 1]).repeat(1000);
    let mut asked = 0;
    while asked < 100 && deaf.write_all(&refreshes).is_ok() {
        asked += 1;
    }
    let slow = Instant::now();
    let status = scene.gateway.status();
    println!(
        "{asked} thousand refreshes; status after {:?}",
        slow.elapsed()
    );
    assert!(slow.elapsed() < Duration::from_secs(1));
    println!("{}", status["bgp"]["neighbors"]);
    assert_continuous(&scene, &before, begun.elapsed());
    assert!(scene.ping_inside(0).all());
    assert_bounded(&scene.gateway, memory);
    let log = scene.gateway.log();
    let told = log.lines().filter(|line| line.contains("malformed UPDATE"));
    let told = told.count();
    println!(
        "{} lines of log, {told} of malformed UPDATEs",
        log.lines().count()
    );
    assert!(told <= 10, "{told} of 2000 malformed UPDATEs are told");
    assert!(log.lines().count() < 300, "the log is flooded");
    assert!(
        log.contains("1000 allowed") || log.contains("max-prefixes"),
        "{log}"
    );
}

/// One exchange with the control socket: what was said is sent, and all that comes back is read.
fn exchange(socket: &Path, said: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let _ = stream.write_all(said);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_hostile_client_of_the_control_socket_keeps_nobody_waiting_and_no_log_has_a_secret() {
    let file = SiteFile::reference().add("daemon", "log = \"trace\"");
    let scene = Scene::start(CAUSEWAY, &file);
    scene.wait_until_up();
    let (before, memory, begun) = (continuity(&scene), rss(&scene.gateway), Instant::now());
    let socket = scene.gateway.dir().join("control.sock");
    let mut rng = StdRng::seed_from_u64(0xc0);
    for _ in 0..50 {
        let _ = exchange(
            &socket,
            &[noise(&mut rng, 2000), b"\r\n\r\n".to_vec()].concat(),
        );
    }
    for request in [
        "GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n",
        "DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/bgp/routes?prefix=%ff%00 HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /v1/tunnels/../up HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
    ] {
        let answer = exchange(&socket, request.as_bytes()).or_fail("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 4"), "{request}: {answer}");
    }
    let huge = format!(
        "GET /v1/status HTTP/1.1\r\nhost: {}\r\n",
        "x".repeat(1 << 20)
    );
    let _ = exchange(&socket, huge.as_bytes());

    // Two hundred that say half of a request, or nothing, and stay; and some that ask and do not read.
    let idle: Vec<_> = (0..200)
        .filter_map(|number| {
            let mut stream = UnixStream::connect(&socket).ok()?;
            let said: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET /v1/status HTTP/1.1\r\nho",
                2 => b"GET /v1/tunnels HTTP/1.1\r\nhost: x\r\n\r\n",
                _ => b"GET /v1/bgp/routes HTTP/1.1\r\nhost: x\r\n\r\n",
            };
            let _ = stream.write_all(said);
            Some(stream)
        })
        .collect();
    for _ in 0..5 {
        let asked = Instant::now();
        let _ = scene.gateway.status();
        let took = asked.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "a status took {took:?} beside {} idle clients",
            idle.len()
        );
    }
    drop(idle);
    assert_continuous(&scene, &before, begun.elapsed());
    assert_bounded(&scene.gateway, memory);
    let log = scene.gateway.log();
    assert!(
        log.contains("DEBUG"),
        "the level of the log is not what was asked for"
    );
    for psk in at::PSKS {
        let mut hex = String::new();
        let _ = psk.bytes().try_for_each(|octet| write!(hex, "{octet:02x}"));
        let list = format!("{:?}", psk.as_bytes());
        for form in [psk, &hex, list.trim_matches(['[', ']'])] {
            assert!(!log.contains(form), "the log has a pre-shared key");
        }
    }
}

#[test]
fn a_storm_of_reloads_good_and_bad_resets_nothing_and_loses_nothing() {
    let scene = Scene::up(CAUSEWAY);
    let flows = [scene.flow_to_the_cloud(), scene.flow_from_the_cloud()];
    for flow in &flows {
        flow.wait_for(100, Scene::SOON);
    }
    let files = [
        SiteFile::reference().text().to_owned(),
        SiteFile::reference()
            .replace("le = 28", "le = 27")
            .text()
            .to_owned(),
        "[gateway\nname = ".to_owned(),
        SiteFile::reference()
            .replace("seq = 20", "seq = 10")
            .text()
            .to_owned(),
        SiteFile::reference()
            .replace("[80, 443]", "[80, 8443]")
            .text()
            .to_owned(),
        String::new(),
    ];
    let reload = |file: &String| {
        scene.gateway.reload(file);
        // The next signal comes when this one has been taken, or soon after: storms are not polite.
        let _ = scene.gateway.status();
    };
    files.iter().for_each(reload);
    let (before, memory, begun) = (continuity(&scene), rss(&scene.gateway), Instant::now());
    let children = [0, 1].map(|index| scene.child(index).unique_id);
    files.iter().cycle().take(50).for_each(reload);
    scene.gateway.reload(&files[0]);
    println!("50 reloads in {:?}", begun.elapsed());
    for flow in &flows {
        flow.wait_for(100, Scene::SOON);
    }
    eventually_true(Scene::SOON, "the firewall is the first file's", || {
        let rules = scene.site.gateway.exec(&["nft", "list", "ruleset"]);
        rules.contains("443") && !rules.contains("8443")
    });
    for flow in flows {
        flow.stop_without_loss();
    }
    assert_continuous(&scene, &before, begun.elapsed());
    assert_eq!([0, 1].map(|index| scene.child(index).unique_id), children);
    assert_bounded(&scene.gateway, memory);
    scene.wait_until_up();

    // A tunnel that leaves and comes back again and again is the same in the end.
    let lines: Vec<&str> = files[0].lines().collect();
    let without = |table: &str| {
        let mut inside = false;
        let kept = lines.iter().filter(|line| {
            if line.starts_with('[') {
                inside = **line == format!("[{table}]");
            }
            !inside
        });
        kept.fold(String::new(), |text, line| text + line + "\n")
    };
    let fewer = without("tunnel.oci-2");
    let fewer = fewer.replace(
        "[bgp.neighbor.oci-2]\ntunnel = \"oci-2\"\nimport = \"from-oci\"\nexport = \"to-oci\"\n",
        "",
    );
    let state = host_state(&scene.site.gateway);
    for _ in 0..15 {
        reload(&fewer);
        reload(&files[0]);
    }
    scene.wait_until_up();
    wait_until_restored(&scene, &state, "15 times one tunnel less");
    assert!(scene.ping_inside(1).all());
    assert_bounded(&scene.gateway, memory);
    let log = scene.gateway.log();
    assert!(log.contains("oci-2: tunnel removed"), "{log}");
}

/// The gateway's kernel state in words that do not depend on numbers that the kernel gives.
fn host_state(gateway: &Ns) -> Vec<String> {
    let commands = [
        "ip -o -4 addr show",
        "ip -4 route show table main",
        "ip rule show",
        "ip nexthop show",
        "nft -s list ruleset",
    ];
    let text: Vec<String> = commands
        .iter()
        .map(|words| gateway.exec(&words.split_whitespace().collect::<Vec<_>>()))
        .collect();
    let mut lines: Vec<String> = text
        .iter()
        .flat_map(|text| text.lines())
        .map(unnumbered)
        .collect();
    for key in [
        "ip_forward",
        "fib_multipath_hash_policy",
        "conf/all/rp_filter",
        "conf/wan0/rp_filter",
    ] {
        lines.push(format!(
            "{key} = {}",
            gateway.read_sysctl(&format!("net/ipv4/{key}"))
        ));
    }
    lines.sort();
    lines
}

/// A line of `ip` without interface indexes and nexthop ids.
fn unnumbered(line: &str) -> String {
    let mut words = Vec::new();
    let mut number_follows = false;
    for word in line.split_whitespace() {
        let is_number = word
            .trim_end_matches(':')
            .chars()
            .all(|c| c.is_ascii_digit());
        if !number_follows && !is_number {
            words.push(word);
        }
        number_follows = ["nhid", "id", "group"].contains(&word);
    }
    words.join(" ")
}

/// Waits until the gateway's kernel is as it was.
#[track_caller]
fn wait_until_restored(scene: &Scene, before: &[String], after: &str) {
    let took = eventually_true(
        Scene::SOON * 2,
        format_args!("all is as before, after {after}"),
        || {
            let now = host_state(&scene.site.gateway);
            let same = now == before;
            if !same && std::env::var_os("CAUSEWAY_LAB_KEEP").is_some() {
                let gone = before
                    .iter()
                    .filter(|line| !now.contains(line))
                    .collect::<Vec<_>>();
                let new = now
                    .iter()
                    .filter(|line| !before.contains(line))
                    .collect::<Vec<_>>();
                println!("{after}: gone {gone:?}, new {new:?}");
            }
            same
        },
    );
    println!("put right {took:?} after {after}");
}

#[test]
fn what_others_break_in_the_kernel_is_put_right_and_said_once() {
    let scene = Scene::up(CAUSEWAY);
    let gateway = &scene.site.gateway;
    let before = host_state(gateway);
    let memory = rss(&scene.gateway);
    for (what, commands) in [
        ("a tunnel's interface set down", "ip link set cw-oci-1 down"),
        ("addresses flushed", "ip addr flush dev cw-oci-2"),
        ("nexthops flushed", "ip nexthop flush"),
        ("the VCN's route deleted", "ip route del 10.0.0.0/16"),
        ("the firewall flushed", "nft flush ruleset"),
        ("forwarding switched off", "sysctl -q net.ipv4.ip_forward=0"),
        ("an interface deleted", "ip link del cw-oci-1"),
    ] {
        gateway.exec(&commands.split_whitespace().collect::<Vec<_>>());
        wait_until_restored(&scene, &before, what);
    }
    scene.wait_until_up();

    let flap = "link set wan0 down\nlink set wan0 up\nroute replace default via 203.0.113.1\n";
    let flapped = gateway.exec_with_input(&["ip", "-batch", "-"], &flap.repeat(200));
    assert!(flapped.ok(), "{}", flapped.stderr);
    wait_until_restored(&scene, &before, "200 flaps of the WAN");
    for _ in 0..5 {
        gateway.exec(&["ip", "link", "del", "cw-oci-2"]);
        wait_until_restored(&scene, &before, "an interface deleted again");
    }
    scene.wait_until_up();
    for index in [0, 1] {
        assert!(scene.ping_inside(index).all());
    }
    assert_bounded(&scene.gateway, memory);
    let log = scene.gateway.log();
    let times = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(times("cw-oci-1 was deleted by somebody"), 1, "{log}");
    assert_eq!(times("cw-oci-2 was deleted by somebody"), 5, "{log}");
    assert!(times("was changed by somebody: ") >= 6, "{log}");
    assert!(log.lines().count() < 400, "{log}");
}

#[test]
fn a_stop_in_the_middle_of_a_storm_of_changes_is_as_quick_and_clean_as_any() {
    let site = ReferenceSite::new();
    let before = host_state(&site.gateway);
    let mut scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    let gateway = scene.site.gateway.clone();
    let (blows, calm) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counted, told) = (Arc::clone(&blows), Arc::clone(&calm));
    let storm = std::thread::spawn(move || {
        let changes = "addr add 192.0.2.1/32 dev lan1\nroute add 192.0.2.128/25 dev lan1\nroute del 192.0.2.128/25\naddr del 192.0.2.1/32 dev lan1\n";
        // Bounded, should the test forget to say that it is enough.
        while !told.load(Ordering::Relaxed) && counted.fetch_add(1, Ordering::Relaxed) < 2000 {
            let blown = gateway.exec_with_input(&["ip", "-batch", "-"], &changes.repeat(50));
            assert!(blown.ok(), "{}", blown.stderr);
        }
    });
    eventually_true(Scene::SOON, "the storm blows", || {
        blows.load(Ordering::Relaxed) > 5
    });
    let asked = Instant::now();
    let status = scene.gateway.stop();
    println!("stopped after {:?}", asked.elapsed());
    assert!(!storm.is_finished(), "the stop was in the middle of it");
    calm.store(true, Ordering::Relaxed);
    assert!(status.success(), "{status}");
    storm.join().or_fail("the storm");
    assert_eq!(host_state(&scene.site.gateway), before);
}

#[test]
fn twenty_kills_at_any_moment_of_the_start_leave_nothing_that_a_clean_stop_does_not_remove() {
    let site = ReferenceSite::new();
    let before = host_state(&site.gateway);
    let cloud = Cloud::start(&site);
    let mut gateway = Gateway::launch(&site.gateway, &SiteFile::reference().launch(CAUSEWAY));
    let mut rng = StdRng::seed_from_u64(20);
    for _ in 0..20 {
        let (alive, wait) = (
            Instant::now(),
            Duration::from_micros(rng.random_range(0..250_000)),
        );
        eventually_true(Scene::SOON, "its moment has come", || {
            alive.elapsed() >= wait
        });
        gateway.kill9();
        gateway.spawn_again();
    }
    gateway.kill9();
    gateway.restart();
    let mut scene = Scene {
        gateway,
        cloud,
        site,
    };
    scene.wait_until_up();
    for index in [0, 1] {
        assert!(scene.ping_inside(index).all());
    }

    // The last one dies with everything in place, and its successor's file wants less: what is too much goes.
    scene.gateway.kill9();
    let dir = scene.gateway.dir().to_owned();
    let less = SiteFile::reference().add("firewall", "enabled = false");
    let less = less.text().replace("{dir}", &dir.display().to_string());
    std::fs::write(dir.join("site.toml"), less).or_fail("write the site file");
    scene.gateway.restart();
    eventually_true(Scene::SOON, "the dead one's firewall is gone", || {
        let rules = scene.site.gateway.exec(&["nft", "list", "ruleset"]);
        rules.trim().is_empty()
    });
    scene.wait_until_up();
    let status = scene.gateway.stop();
    assert!(status.success(), "{status}");
    assert_eq!(host_state(&scene.site.gateway), before);
}

#[test]
fn a_tunnel_taken_down_by_hand_stays_down_whatever_the_peer_and_reloads_do() {
    let scene = Scene::up(CAUSEWAY);
    let down = scene.gateway.command(&["tunnel", "oci-1", "down"]);
    assert!(down.ok(), "{}", down.stderr);
    eventually_true(Scene::SOON, "the head-end has no SA left", || {
        scene.cloud.swan[0].list_sas().is_empty()
    });
    let stays_down = |after: &str| {
        let begun = Instant::now();
        eventually_true(Scene::SOON, "a while has passed", || {
            let tunnel = scene.gateway.tunnel("oci-1");
            assert_ne!(tunnel["state"], "up", "after {after}: {tunnel}");
            begun.elapsed() > Duration::from_millis(1200)
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| scene.cloud.swan[0].initiate("cpe"));
        stays_down("the peer's own attempt");
        for (change, what) in [
            ("esp = [\"aes256gcm16-ecp256\"]", "another suite"),
            ("mss-clamp = false", "another interface"),
        ] {
            let other = SiteFile::reference().add("tunnel.oci-1", change);
            scene.gateway.reload(other.text());
            stays_down(what);
        }
        scene.gateway.reload(SiteFile::reference().text());
        stays_down("the file that it began with");
        let gateway = &scene.site.gateway;
        gateway.exec(&["ip", "link", "del", "cw-oci-1"]);
        stays_down("its interface was deleted");
        assert!(scene.ping_inside(1).all());
        let up = scene.gateway.command(&["tunnel", "oci-1", "up"]);
        assert!(up.ok(), "{}", up.stderr);
        scene.wait_until_up();
    });
    let log = scene.gateway.log();
    for change in ["oci-1: tunnel changed", "oci-1: tunnel removed"] {
        assert!(
            log.contains(change),
            "no reload did what it is here for: {log}"
        );
    }
}
