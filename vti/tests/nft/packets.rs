//! Real packets between two namespaces.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use vti::nft::{
    Action, Alias, BgpPeer, CloudRule, Count, Firewall, PortRange, Ports, Ruleset, Scope, WanRules,
};

use crate::sandbox::{enter_new_namespace, in_namespace, nft, run};

pub(crate) const PEER: &str = "192.0.2.1";
const STRANGER: &str = "192.0.2.66";
pub(crate) const GATEWAY: &str = "192.0.2.7";

/// A datagram to send: from, to, port at both ends, size.
type Order = (String, String, u16, usize);

/// In place of a port: a packet of IP protocol 50.
const RAW_ESP: u16 = 0;

fn send_esp(from: &str, to: &str, size: usize) {
    let address = |text: &str| SockAddr::from(SocketAddr::new(text.parse().unwrap(), 0));
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(50))).unwrap();
    socket.bind(&address(from)).unwrap();
    socket.send_to(&vec![0x5a; size], &address(to)).unwrap();
}

/// A namespace on the far side of a veth pair, which sends what it is asked to.
pub(crate) struct FarSide {
    orders: mpsc::Sender<Order>,
    done: mpsc::Receiver<()>,
}

impl FarSide {
    /// Makes the pair: `wan0` here with the gateway's address, `far0` there with the peer's and a
    /// stranger's.
    pub(crate) fn connect() -> Self {
        let (orders, inbox) = mpsc::channel::<Order>();
        let (finished, done) = mpsc::channel();
        let (hello, tid) = mpsc::channel();
        let (go, ready) = mpsc::channel::<()>();
        thread::spawn(move || {
            enter_new_namespace();
            stay_on_one_processor();
            hello.send(nix::unistd::gettid().to_string()).unwrap();
            ready.recv().unwrap();
            for address in [PEER, STRANGER] {
                run(
                    "ip",
                    &["address", "add", &format!("{address}/24"), "dev", "far0"],
                );
            }
            run("ip", &["link", "set", "far0", "up"]);
            finished.send(()).unwrap();
            run("ip", &["route", "add", "default", "via", GATEWAY]);
            for (from, to, port, size) in inbox {
                if port == RAW_ESP {
                    send_esp(&from, &to, size);
                } else {
                    let socket = UdpSocket::bind((from.as_str(), port)).unwrap();
                    socket
                        .send_to(&vec![0x5a; size], (to.as_str(), port))
                        .unwrap();
                }
                finished.send(()).unwrap();
            }
        });
        let tid = tid.recv().unwrap();
        run(
            "ip",
            &[
                "link", "add", "wan0", "type", "veth", "peer", "name", "far0", "netns", &tid,
            ],
        );
        run(
            "ip",
            &["address", "add", &format!("{GATEWAY}/24"), "dev", "wan0"],
        );
        run("ip", &["link", "set", "wan0", "up"]);
        go.send(()).unwrap();
        done.recv().unwrap();
        Self { orders, done }
    }

    /// Sends a datagram from and to the same port. It arrives after those that were sent before it.
    pub(crate) fn send(&self, from: &str, port: u16, size: usize) {
        self.send_to(from, GATEWAY, port, size);
    }

    /// As [`Self::send`], to somebody behind the gateway.
    fn send_to(&self, from: &str, to: &str, port: u16, size: usize) {
        self.orders
            .send((from.to_owned(), to.to_owned(), port, size))
            .unwrap();
        self.done.recv().unwrap();
    }
}

/// A veth pair has a queue for each processor: only on one of them do datagrams keep their order.
fn stay_on_one_processor() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let first = (0..CpuSet::count())
        .find(|&cpu| allowed.is_set(cpu).unwrap())
        .unwrap();
    let mut only = CpuSet::new();
    only.set(first).unwrap();
    sched_setaffinity(this, &only).unwrap();
}

pub(crate) fn site() -> Ruleset {
    Ruleset {
        aliases: [(
            "peers".to_owned(),
            Alias::Networks(vec![format!("{PEER}/32").parse().unwrap()]),
        )]
        .into(),
        wan: Some(WanRules {
            interface: Some("wan0".to_owned()),
            ..WanRules::from_peers("peers")
        }),
        ..Ruleset::default()
    }
}

pub(crate) fn listen(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((GATEWAY, port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

pub(crate) fn receive(socket: &UdpSocket) -> (String, usize) {
    let mut buffer = [0; 65_536];
    let (size, from) = socket.recv_from(&mut buffer).unwrap();
    (from.ip().to_string(), size)
}

fn packets(firewall: &mut Firewall, rule: &str) -> u64 {
    firewall
        .observe()
        .unwrap()
        .counters()
        .get(rule)
        .copied()
        .unwrap_or_default()
        .packets
}

#[test]
fn a_peers_datagrams_arrive_and_a_strangers_do_not_and_the_counters_agree() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&site()).unwrap();
        for (port, service) in [(500, "ike"), (4500, "nat-t")] {
            let socket = listen(port);
            far.send(STRANGER, port, 100);
            far.send(STRANGER, port, 100);
            // The peer's comes after the stranger's on the same wire, so whatever else was let through
            // would be read first.
            far.send(PEER, port, 100);
            assert_eq!(receive(&socket), (PEER.to_owned(), 100));
            assert_eq!(packets(&mut firewall, &format!("wan-{service}")), 1);
            assert_eq!(packets(&mut firewall, &format!("stranger-{service}")), 2);
        }
    });
}

#[test]
fn esp_is_accepted_from_the_peer_and_dropped_from_a_stranger() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&site()).unwrap();
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(50))).unwrap();
        raw.set_nonblocking(true).unwrap();
        let sentinel = listen(500);
        far.send(STRANGER, RAW_ESP, 64);
        far.send(PEER, RAW_ESP, 64);
        far.send(PEER, 500, 10);
        receive(&sentinel);
        assert_eq!(packets(&mut firewall, "wan-esp"), 1);
        assert_eq!(packets(&mut firewall, "stranger-esp"), 1);
        let mut buffer = [std::mem::MaybeUninit::uninit(); 256];
        let (_, from) = raw.recv_from(&mut buffer).unwrap();
        assert_eq!(from.as_socket().unwrap().ip().to_string(), PEER);
        let after = raw.recv_from(&mut buffer).unwrap_err();
        assert_eq!(after.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_fragmented_datagram_of_a_peer_arrives_whole() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&site()).unwrap();
        let socket = listen(500);
        far.send(STRANGER, 500, 4000);
        far.send(PEER, 500, 4000);
        assert_eq!(receive(&socket), (PEER.to_owned(), 4000));
        assert_eq!(packets(&mut firewall, "stranger-ike"), 1);
    });
}

#[test]
fn other_traffic_passes_untouched() {
    in_namespace(|| {
        let far = FarSide::connect();
        Firewall::open().unwrap().apply(&site()).unwrap();
        let socket = listen(5353);
        far.send(STRANGER, 5353, 64);
        assert_eq!(receive(&socket), (STRANGER.to_owned(), 64));
    });
}

#[test]
fn a_peer_that_is_added_is_heard_and_one_that_is_removed_is_not_and_counters_go_on() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        let mut site = site();
        firewall.apply(&site).unwrap();
        let socket = listen(4500);
        far.send(PEER, 4500, 10);
        assert_eq!(receive(&socket), (PEER.to_owned(), 10));
        let other = vec![format!("{STRANGER}/32").parse().unwrap()];
        site.aliases
            .insert("peers".to_owned(), Alias::Networks(other));
        firewall.apply(&site).unwrap();
        far.send(PEER, 4500, 20);
        far.send(STRANGER, 4500, 30);
        assert_eq!(receive(&socket), (STRANGER.to_owned(), 30));
        let observed = firewall.observe().unwrap();
        // 28 bytes are the IP and UDP headers.
        let wan = Count {
            packets: 2,
            bytes: 10 + 30 + 2 * 28,
        };
        assert_eq!(observed.counters().get("wan-nat-t"), Some(&wan));
        let stranger = Count {
            packets: 1,
            bytes: 20 + 28,
        };
        assert_eq!(observed.counters().get("stranger-nat-t"), Some(&stranger));
        socket.set_nonblocking(true).unwrap();
        assert_eq!(
            socket.recv(&mut [0; 9]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

/// `wan0` as a tunnel: a cloud from which only the peer's port 7000 is let in.
fn cloud_site() -> Ruleset {
    let from_peer = CloudRule {
        name: "seven thousand".to_owned(),
        action: Action::Accept,
        source: Scope::Networks(vec![format!("{PEER}/32").parse().unwrap()]),
        destination: Scope::Any,
        protocol: vti::nft::Protocol::Udp,
        ports: Ports::Ranges(vec![PortRange::single(7000)]),
        log: true,
    };
    Ruleset {
        tunnel_interfaces: vec!["wan0".to_owned()],
        cloud: vec![from_peer],
        cloud_default: Action::Drop,
        bgp: vec![BgpPeer {
            interface: "wan0".to_owned(),
            address: PEER.parse().unwrap(),
        }],
        ..Ruleset::default()
    }
}

#[test]
fn what_comes_from_the_cloud_to_us_obeys_the_cloud_rules() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&cloud_site()).unwrap();
        let socket = listen(7000);
        far.send(STRANGER, 7000, 10);
        far.send(PEER, 7000, 20);
        assert_eq!(receive(&socket), (PEER.to_owned(), 20));
        assert_eq!(packets(&mut firewall, "seven thousand"), 1);
        assert_eq!(packets(&mut firewall, "cloud-default"), 1);
    });
}

#[test]
fn bfd_is_heard_from_the_tunnels_peer_only() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&cloud_site()).unwrap();
        let socket = listen(3784);
        far.send(STRANGER, 3784, 10);
        far.send(PEER, 3784, 20);
        assert_eq!(receive(&socket), (PEER.to_owned(), 20));
        assert_eq!(packets(&mut firewall, "bfd"), 1);
    });
}

#[test]
fn an_answer_to_what_we_asked_the_cloud_is_let_in() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&cloud_site()).unwrap();
        let socket = listen(7777);
        socket.send_to(b"question", (PEER, 7777)).unwrap();
        far.send(STRANGER, 7777, 10);
        far.send(PEER, 7777, 20);
        assert_eq!(receive(&socket), (PEER.to_owned(), 20));
        assert_eq!(packets(&mut firewall, "established"), 1);
        assert_eq!(packets(&mut firewall, "cloud-default"), 1);
    });
}

#[test]
fn what_comes_from_the_cloud_into_the_home_network_obeys_the_same_rules() {
    in_namespace(|| {
        let far = FarSide::connect();
        run(
            "ip",
            &[
                "link", "add", "lan0", "type", "veth", "peer", "name", "lan1",
            ],
        );
        run("ip", &["address", "add", "192.168.2.1/24", "dev", "lan0"]);
        run("ip", &["link", "set", "lan0", "up"]);
        run("ip", &["link", "set", "lan1", "up"]);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&cloud_site()).unwrap();
        nft("table inet witness {
            chain left {
                type filter hook postrouting priority 0; policy accept;
                oifname \"lan0\" udp dport 7000 counter
            }
        }");
        far.send_to(STRANGER, "192.168.2.250", 7000, 10);
        far.send_to(PEER, "192.168.2.250", 7000, 20);
        // When this one is here, the others were forwarded or dropped.
        let sentinel = listen(7000);
        far.send(PEER, 7000, 30);
        receive(&sentinel);
        assert_eq!(packets(&mut firewall, "seven thousand"), 2);
        assert_eq!(packets(&mut firewall, "cloud-default"), 1);
        let witness = run("nft", &["list", "table", "inet", "witness"]);
        assert!(witness.contains("counter packets 1 bytes 48"), "{witness}");
    });
}
