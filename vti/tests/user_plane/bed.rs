//! Two gateways in two network namespaces, joined by a veth, with static keys.

use std::fs::File;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crypto::{Encryption, Integrity, Secret, Suite};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use vti::plane::{DataPlane as _, Encap, PlaneEvent, SaSpec, TunnelId, TunnelSpec};
use vti::user::{Offloads, UserPlane, UserPlaneConfig};

/// Long enough for a loaded machine; only failing tests wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const TUNNEL: TunnelId = TunnelId(1);
pub(crate) const INTERFACE: &str = "ipsec1";

/// A network namespace, which lasts as long as this.
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    pub(crate) fn new() -> Self {
        let fd = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("these tests make network namespaces: run as root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(
            fd.join()
                .expect("these tests make network namespaces: run as root")
                .into(),
        );
        namespace.ip("link set lo up");
        // Duplicate address detection would delay the IPv6 addresses.
        namespace.enter(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
        });
        namespace
    }

    /// Runs a function in the namespace.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            });
            inside.join().unwrap()
        })
    }

    /// Runs `ip` with these arguments.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.run("ip", arguments)
    }

    pub(crate) fn run(&self, program: &str, arguments: &str) -> String {
        let output = self.enter(|| {
            Command::new(program)
                .args(arguments.split_ascii_whitespace())
                .output()
                .unwrap()
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A bound UDP socket whose reads give up after a while.
    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.enter(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// One end: a namespace, a plane in it, and its events.
pub(crate) struct End {
    pub(crate) namespace: Namespace,
    pub(crate) plane: UserPlane,
    events: mpsc::Receiver<PlaneEvent>,
    pub(crate) outer: IpAddr,
}

impl End {
    fn new(namespace: Namespace, config: UserPlaneConfig, outer: IpAddr) -> Self {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        let plane = namespace.enter(|| UserPlane::new(&config, sender)).unwrap();
        let (forward, events) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(event) = receiver.blocking_recv() {
                if forward.send(event).is_err() {
                    break;
                }
            }
        });
        Self {
            namespace,
            plane,
            events,
            outer,
        }
    }

    pub(crate) fn add_tunnel(&mut self, spec: &TunnelSpec) {
        let plane = &mut self.plane;
        self.namespace.enter(|| plane.add_tunnel(spec)).unwrap();
    }

    /// The next event that is wanted; others are passed over.
    pub(crate) fn event<T>(&self, mut wanted: impl FnMut(&PlaneEvent) -> Option<T>) -> T {
        loop {
            let event = self
                .events
                .recv_timeout(PATIENCE)
                .expect("the event does not come");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }
}

/// How the two ends are joined.
#[derive(Clone, Copy)]
pub(crate) struct Wiring {
    pub(crate) suite: (Encryption, Option<Integrity>),
    pub(crate) esn: bool,
    pub(crate) udp: bool,
    pub(crate) outer: [&'static str; 2],
    pub(crate) nat_ports: [u16; 2],
    pub(crate) interface_mtu: u16,
    pub(crate) offloads: [Offloads; 2],
}

impl Wiring {
    pub(crate) fn new(encryption: Encryption, integrity: Option<Integrity>) -> Self {
        Self {
            suite: (encryption, integrity),
            esn: true,
            udp: false,
            outer: ["192.0.2.1", "192.0.2.2"],
            nat_ports: [4500, 4500],
            interface_mtu: 1400,
            offloads: [Offloads::ALL; 2],
        }
    }

    pub(crate) fn in_udp(self) -> Self {
        Self { udp: true, ..self }
    }

    fn suite(&self) -> Suite {
        Suite::new(self.suite.0, self.suite.1).unwrap()
    }

    /// An SA, of either direction, as end `seen_by` knows it. Keys follow from the SPI.
    pub(crate) fn sa(&self, seen_by: usize, spi: u32) -> SaSpec {
        let suite = self.suite();
        let bytes = |len: usize, salt: u8| {
            let mut byte = spi.to_be_bytes()[3] ^ salt;
            Secret::new(
                std::iter::repeat_with(|| {
                    byte = byte.wrapping_mul(5).wrapping_add(salt);
                    byte
                })
                .take(len)
                .collect(),
            )
        };
        let (here, there) = (seen_by, 1 - seen_by);
        let encap = if self.udp {
            Encap::Udp {
                local_port: self.nat_ports[here],
                remote_port: self.nat_ports[there],
            }
        } else {
            Encap::None
        };
        SaSpec {
            spi,
            suite,
            keymat: bytes(suite.keymat_len(), 17),
            integrity: bytes(suite.integrity_key_len(), 91),
            esn: self.esn,
            encap,
            local: self.outer[here].parse().unwrap(),
            remote: self.outer[there].parse().unwrap(),
            limits: esp::Limits::default(),
            outlived: None,
        }
    }

    /// Two ends with an interface each, addressed 10.1.0.0/31 and fd00::0/127, and no SA yet.
    pub(crate) fn join_without_sas(&self) -> [End; 2] {
        let namespaces = [Namespace::new(), Namespace::new()];
        namespaces[0].ip(&format!(
            "link add outer type veth peer name outer netns {}",
            namespaces[1].path()
        ));
        let mut index = 0;
        let ends = namespaces.map(|namespace| {
            let outer: IpAddr = self.outer[index].parse().unwrap();
            let length = if outer.is_ipv4() { 24 } else { 64 };
            namespace.ip(&format!("address add {outer}/{length} dev outer"));
            namespace.ip("link set outer up");
            let bind = if outer.is_ipv4() { "0.0.0.0" } else { "::" };
            let config = UserPlaneConfig {
                bind: bind.parse().unwrap(),
                ike_port: 500,
                nat_port: self.nat_ports[index],
                offloads: self.offloads[index],
            };
            let mut end = End::new(namespace, config, outer);
            end.add_tunnel(&spec());
            end.namespace.ip(&format!(
                "link set {INTERFACE} mtu {} up",
                self.interface_mtu
            ));
            end.namespace
                .ip(&format!("address add 10.1.0.{index}/31 dev {INTERFACE}"));
            end.namespace.ip(&format!(
                "address add fd00::{index}/127 dev {INTERFACE} nodad"
            ));
            index += 1;
            end
        });
        // Until the kernel's link watch has seen that the other end is up, which may take a second, a link drops all that
        // is sent.
        for end in &ends {
            wait_until("the outer link is up", || {
                end.namespace.ip("link show dev outer").contains("state UP")
            });
        }
        if self.outer[0].parse::<Ipv4Addr>().is_err() {
            wait_for_ipv6(&ends);
        }
        ends
    }

    /// Two ends with one SA each way: SPI 0x1001 to end 1, 0x1000 to end 0.
    pub(crate) fn join(&self) -> [End; 2] {
        let mut ends = self.join_without_sas();
        self.install(&mut ends, 0x1000);
        ends
    }

    /// Adds both inbound SAs, then switches both outbound ones: SPI `base` goes to end 0, `base +
    /// 1` to end 1.
    pub(crate) fn install(&self, ends: &mut [End; 2], base: u32) {
        for (to, end) in ends.iter_mut().enumerate() {
            end.plane
                .add_inbound(TUNNEL, self.sa(to, base + to as u32))
                .unwrap();
        }
        for (from, end) in ends.iter_mut().enumerate() {
            let to = 1 - from;
            end.plane
                .set_outbound(TUNNEL, self.sa(from, base + to as u32))
                .unwrap();
        }
    }
}

/// The link-local handshake of a new IPv6 link takes a moment: ping until it is over.
fn wait_for_ipv6(ends: &[End; 2]) {
    let other = ends[1].outer;
    ends[0]
        .namespace
        .run("ping", &format!("-c 1 -w 10 {other}"));
}

pub(crate) fn spec() -> TunnelSpec {
    TunnelSpec {
        id: TUNNEL,
        interface: INTERFACE.to_owned(),
        mss_clamp: true,
        replay_window: 1024,
        outer_mtu: 1500,
        copy_dscp: false,
        binding: None,
        offload: vti::plane::Offload::Off,
    }
}

/// Sends datagrams of these sizes through the tunnel and back, and asserts that all arrive as they
/// were.
pub(crate) fn echo(ends: &[End; 2], addresses: [&str; 2], sizes: &[usize]) {
    let near = ends[0].namespace.udp(addresses[0]);
    let far = ends[1].namespace.udp(addresses[1]);
    let target: SocketAddr = far.local_addr().unwrap();
    for &size in sizes {
        let payload: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        let mut buffer = vec![0; 65_536];
        near.send_to(&payload, target).unwrap();
        let (len, from) = far
            .recv_from(&mut buffer)
            .unwrap_or_else(|e| panic!("{size} there: {e}"));
        assert!(buffer[..len] == payload, "{size} bytes arrive as they were");
        far.send_to(&buffer[..len], from).unwrap();
        let len = near
            .recv(&mut buffer)
            .unwrap_or_else(|e| panic!("{size} back: {e}"));
        assert!(
            buffer[..len] == payload,
            "{size} bytes come back as they were"
        );
    }
}

/// The type of service of the next packet, for a socket that asks for it.
pub(crate) fn received_tos(socket: &UdpSocket) -> u8 {
    let mut control = nix::cmsg_space!(u8);
    let mut buffer = [0; 100];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::empty();
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags).unwrap();
    let tos = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(tos) => Some(tos),
        _ => None,
    });
    tos.expect("the kernel tells the type of service")
}

pub(crate) const V4: [&str; 2] = ["10.1.0.0:0", "10.1.0.1:0"];
pub(crate) const V6: [&str; 2] = ["[fd00::0]:0", "[fd00::1]:0"];

/// Until something that another thread or the kernel does has happened.
pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}: does not happen");
        std::thread::yield_now();
    }
}

pub(crate) const GCM: Encryption = Encryption::AesGcm256;
pub(crate) const CBC: Encryption = Encryption::AesCbc256;
/// Payloads that fit the tunnel, with all alignments of the padding and the largest.
pub(crate) const SIZES: [usize; 7] = [1, 2, 63, 64, 512, 1300, 1370];
