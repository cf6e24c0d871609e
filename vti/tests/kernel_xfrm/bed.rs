//! Two gateways in two network namespaces, joined by a veth, with static keys.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crypto::{Encryption, Integrity, Secret, Suite};
use esp::Limits;
use nix::sched::{CloneFlags, setns, unshare};
use vti::kernel_plane::KernelPlane;
use vti::plane::{
    Binding, DataPlane as _, Encap, Offload, PlaneEvent, SaSpec, TunnelId, TunnelSpec,
};
use vti::user::UserPlaneConfig;

/// Long enough for an emulated machine; only failing tests wait for it.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const TUNNEL: TunnelId = TunnelId(7);
pub(crate) const NUMBER: u32 = 0xca05_0007;
pub(crate) const INTERFACE: &str = "ipsec7";
pub(crate) const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
pub(crate) const INNER: [&str; 2] = ["10.1.0.0", "10.1.0.1"];

/// A network namespace, which lasts as long as this.
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    pub(crate) fn new() -> Self {
        let fd = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(
            fd.join()
                .expect("these tests make network namespaces: run as root")
                .into(),
        );
        namespace.ip("link set lo up");
        namespace.enter(|| {
            for interface in ["all", "default"] {
                let key = format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter");
                std::fs::write(key, "0").unwrap();
            }
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
            match inside.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a command line, words apart by single spaces.
    pub(crate) fn run(&self, command: &str) -> String {
        let (ok, text) = self.try_run(command);
        assert!(ok, "{command}: {text}");
        text
    }

    pub(crate) fn try_run(&self, command: &str) -> (bool, String) {
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        let output = self.enter(|| Command::new(words[0]).args(&words[1..]).output().unwrap());
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.run(&format!("ip {arguments}"))
    }

    pub(crate) fn nft(&self, rules: &str) {
        let output = self.enter(|| Command::new("nft").arg(rules).output().unwrap());
        assert!(
            output.status.success(),
            "{rules}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A pair of interfaces of that name, one here and one there.
    pub(crate) fn veth(&self, name: &str, there: &Self) {
        let there = there.path();
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {there}"
        ));
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Which interface a tunnel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Vti,
    Xfrm,
}

impl Kind {
    pub(crate) fn binding(self) -> Binding {
        match self {
            Self::Vti => Binding::Mark(NUMBER),
            Self::Xfrm => Binding::IfId(NUMBER),
        }
    }
}

pub(crate) struct Events(mpsc::Receiver<PlaneEvent>);

impl Events {
    /// The next event that is wanted; others are passed over.
    pub(crate) fn next<T>(&self, mut wanted: impl FnMut(&PlaneEvent) -> Option<T>) -> T {
        let mut others = Vec::new();
        loop {
            let Ok(event) = self.0.recv_timeout(PATIENCE) else {
                panic!("the event does not come; others were {others:?}");
            };
            if let Some(found) = wanted(&event) {
                return found;
            }
            others.push(event);
        }
    }

    pub(crate) fn so_far(&self) -> Vec<PlaneEvent> {
        self.0.try_iter().collect()
    }
}

/// One end: a namespace, an interface and a plane in it, and its events.
pub(crate) struct End {
    pub(crate) plane: KernelPlane,
    pub(crate) events: Events,
    pub(crate) namespace: Namespace,
    pub(crate) kind: Kind,
}

pub(crate) fn spec(kind: Kind) -> TunnelSpec {
    TunnelSpec {
        id: TUNNEL,
        interface: INTERFACE.to_owned(),
        mss_clamp: true,
        replay_window: 1024,
        outer_mtu: 1500,
        copy_dscp: false,
        binding: Some(kind.binding()),
        offload: Offload::Off,
    }
}

/// A plane in a namespace.
pub(crate) fn plane(namespace: &Namespace) -> (KernelPlane, Events) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(256);
    let plane = namespace
        .enter(|| KernelPlane::new(&UserPlaneConfig::default(), None, sender))
        .unwrap_or_else(|error| panic!("{error}\nthis test needs a kernel with ESP and runs in the virtual machine: cargo nextest run --test in_vm kernel_xfrm"));
    let (forward, events) = mpsc::channel();
    std::thread::spawn(move || {
        while let Some(event) = receiver.blocking_recv() {
            if forward.send(event).is_err() {
                break;
            }
        }
    });
    (plane, Events(events))
}

/// Two namespaces with a veth between them, addressed.
pub(crate) fn wire() -> [Namespace; 2] {
    let namespaces = [Namespace::new(), Namespace::new()];
    namespaces[0].veth("outer", &namespaces[1]);
    for (namespace, outer) in namespaces.iter().zip(OUTER) {
        namespace.ip(&format!("address add {outer}/24 dev outer"));
        namespace.ip("link set outer up");
    }
    namespaces
}

/// The tunnel's interface, as the host's half of the crate would make it.
pub(crate) fn interface(namespace: &Namespace, kind: Kind, index: usize) {
    let (local, remote) = (OUTER[index], OUTER[1 - index]);
    namespace.ip(&match kind {
        Kind::Vti => {
            format!("link add {INTERFACE} type vti local {local} remote {remote} key {NUMBER}")
        }
        Kind::Xfrm => format!("link add {INTERFACE} type xfrm if_id {NUMBER}"),
    });
    namespace.ip(&format!("link set {INTERFACE} mtu 1380 up"));
    namespace.ip(&format!("address add {}/31 dev {INTERFACE}", INNER[index]));
}

/// Two ends without SAs.
pub(crate) fn ends(kinds: [Kind; 2]) -> [End; 2] {
    let mut index = 0;
    wire().map(|namespace| {
        let kind = kinds[index];
        interface(&namespace, kind, index);
        index += 1;
        let (mut plane, events) = plane(&namespace);
        plane.add_tunnel(&spec(kind)).unwrap();
        End {
            plane,
            events,
            namespace,
            kind,
        }
    })
}

/// What the SAs are like.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) suite: Suite,
    pub(crate) esn: bool,
    pub(crate) udp: bool,
    pub(crate) limits: Limits,
    pub(crate) outlived: Option<Duration>,
}

impl Wish {
    pub(crate) fn gcm() -> Self {
        Self {
            suite: Suite::new(Encryption::AesGcm256, None).unwrap(),
            esn: true,
            udp: false,
            limits: Limits::default(),
            outlived: None,
        }
    }

    pub(crate) fn cbc() -> Self {
        let integrity = Some(Integrity::HmacSha1_96);
        Self {
            suite: Suite::new(Encryption::AesCbc256, integrity).unwrap(),
            esn: false,
            ..Self::gcm()
        }
    }

    pub(crate) fn in_udp(self) -> Self {
        Self { udp: true, ..self }
    }

    /// An SA as the end of that index knows it. Keys follow from the SPI.
    pub(crate) fn sa(&self, seen_by: usize, spi: u32) -> SaSpec {
        let bytes = |len: usize, salt: u8| {
            let mut byte = spi.to_be_bytes()[3] ^ salt;
            let next = std::iter::repeat_with(|| {
                byte = byte.wrapping_mul(5).wrapping_add(salt);
                byte
            });
            Secret::new(next.take(len).collect())
        };
        let address = |index: usize| -> IpAddr { OUTER[index].parse().unwrap() };
        SaSpec {
            spi,
            suite: self.suite,
            keymat: bytes(self.suite.keymat_len(), 17),
            integrity: bytes(self.suite.integrity_key_len(), 91),
            esn: self.esn,
            encap: if self.udp {
                Encap::Udp {
                    local_port: 4500,
                    remote_port: 4500,
                }
            } else {
                Encap::None
            },
            local: address(seen_by),
            remote: address(1 - seen_by),
            limits: self.limits,
            outlived: self.outlived,
        }
    }

    /// Both inbound SAs, then both outbound ones: SPI `base` goes to end 0, `base + 1` to end 1.
    pub(crate) fn install(&self, ends: &mut [End; 2], base: u32) {
        for (to, end) in ends.iter_mut().enumerate() {
            let sa = self.sa(to, base + to as u32);
            end.plane.add_inbound(TUNNEL, sa).unwrap();
        }
        for (from, end) in ends.iter_mut().enumerate() {
            let sa = self.sa(from, base + 1 - from as u32);
            end.plane.set_outbound(TUNNEL, sa).unwrap();
        }
    }
}

/// Two ends with SAs.
pub(crate) fn joined(kinds: [Kind; 2], wish: &Wish) -> [End; 2] {
    let mut ends = ends(kinds);
    wish.install(&mut ends, 0x1000);
    ends
}

impl End {
    /// Packets through the tunnel: how many of them were answered.
    pub(crate) fn ping(&self, to: &str, options: &str) -> u32 {
        let (_, text) = self.namespace.try_run(&format!("ping {options} -W 2 {to}"));
        let received = text
            .split(", ")
            .find_map(|part| part.strip_suffix(" received"))
            .unwrap_or_else(|| panic!("ping says {text}"));
        received.trim().parse().unwrap()
    }

    /// What `ip -s xfrm state` prints: the kernel as another program reads it.
    pub(crate) fn states(&self) -> String {
        self.namespace.ip("-s xfrm state")
    }

    pub(crate) fn policies(&self) -> String {
        self.namespace.ip("xfrm policy")
    }
}
