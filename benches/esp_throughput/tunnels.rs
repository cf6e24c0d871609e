//! The tunnels that are measured: how each is set up between two namespaces.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lab::{
    Connection, Daemon, Gateway, Launch, Net, Ns, OrFail as _, Program, StartAction, StrongSwan,
    eventually_true, ping,
};

const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";
const NEAR_INSIDE: &str = "10.1.0.0";
const FAR_INSIDE: &str = "10.1.0.1";
const PSK: &str = "vc3Hk0lTn7xqZbRm2sWd9yJf4uGaQe8o";

/// How long a tunnel may take to carry the first packet.
const LIMIT: Duration = Duration::from_secs(20);

/// A tunnel that is up. Dropping it ends its daemons and removes its namespaces.
pub(crate) struct Bed {
    pub(crate) near: Ns,
    pub(crate) far: Ns,
    pub(crate) near_inside: Ipv4Addr,
    pub(crate) far_inside: Ipv4Addr,
    /// The processes that carry the packets.
    pub(crate) pids: Vec<u32>,
    _ends: Vec<End>,
    _net: Net,
}

/// What runs at one end.
#[expect(dead_code, reason = "kept until the bed is dropped")]
enum End {
    Causeway(Gateway),
    StrongSwan(StrongSwan),
    Other(Daemon),
}

/// A tunnel that can be measured.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Sets it up. The error says what is missing on this machine.
    pub(crate) start: fn() -> Result<Bed, String>,
}

/// All of them. The reference comes first.
pub(crate) const VARIANTS: &[Variant] = &[
    Variant {
        name: "ss/gcm",
        start: || strongswan("aes256gcm16"),
    },
    Variant {
        name: "ss/cbc-sha1",
        start: || strongswan("aes256-sha1"),
    },
    Variant {
        name: "wireguard-go",
        start: wireguard,
    },
    Variant {
        name: "openvpn/gcm",
        start: openvpn,
    },
    Variant {
        name: "causeway/udp-gcm",
        start: || causeway("force", "aes256gcm16-ecp256"),
    },
    Variant {
        name: "causeway/raw-gcm",
        start: || causeway("never", "aes256gcm16-ecp256"),
    },
    Variant {
        name: "causeway/udp-cbc-sha1",
        start: || causeway("force", "aes256-sha1-ecp256"),
    },
    Variant {
        name: "causeway/udp-cbc-sha256",
        start: || causeway("force", "aes256-sha256-ecp256"),
    },
    Variant {
        name: "mixed: causeway to ss/gcm",
        start: mixed,
    },
    Variant {
        name: "veth",
        start: veth,
    },
];

/// Two namespaces and the wire between them.
fn wire() -> (Net, Ns, Ns) {
    let net = Net::new();
    let (near, far) = (net.ns("near"), net.ns("far"));
    net.veth(
        (&near, "wire", &format!("{NEAR}/24")),
        (&far, "wire", &format!("{FAR}/24")),
    );
    (net, near, far)
}

/// The bed, once a packet has passed.
fn up(net: Net, near: Ns, far: Ns, inside: [&str; 2], pids: Vec<u32>, ends: Vec<End>) -> Bed {
    let [near_inside, far_inside] = inside;
    eventually_true(LIMIT, "the tunnel carries a ping", || {
        ping(&near, far_inside, 1, &[]).all()
    });
    Bed {
        near_inside: near_inside.parse().or_fail("read an address"),
        far_inside: far_inside.parse().or_fail("read an address"),
        near,
        far,
        pids,
        _ends: ends,
        _net: net,
    }
}

fn veth() -> Result<Bed, String> {
    let (net, near, far) = wire();
    Ok(up(net, near, far, [NEAR, FAR], Vec::new(), Vec::new()))
}

fn gateway(
    ns: &Ns,
    [local, remote]: [&str; 2],
    inside: &str,
    encapsulation: &str,
    esp: &str,
) -> Gateway {
    let site = format!(
        "[gateway]\naddress = \"{local}\"\n\n[daemon]\ndata-plane = \"userspace\"\nlog = \"warn\"\n\n\
         [firewall]\nenabled = false\n\n[tunnel.t]\nremote = \"{remote}\"\npsk = {{ file = \"{{dir}}/t.psk\" }}\n\
         inside = \"{inside}/31\"\nike = [\"aes256-sha256-ecp256\"]\nesp = [\"{esp}\"]\n\
         encapsulation = \"{encapsulation}\"\nmtu = 1400\n"
    );
    let launch = Launch::new(env!("CARGO_BIN_EXE_causeway"), &site).secret("t.psk", PSK);
    Gateway::start(ns, &launch)
}

fn causeway(encapsulation: &str, esp: &str) -> Result<Bed, String> {
    let (net, near, far) = wire();
    let ends = [
        gateway(&near, [NEAR, FAR], NEAR_INSIDE, encapsulation, esp),
        gateway(&far, [FAR, NEAR], FAR_INSIDE, encapsulation, esp),
    ];
    let pids = ends.iter().filter_map(|end| end.daemon().pid()).collect();
    let ends = ends.into_iter().map(End::Causeway).collect();
    Ok(up(net, near, far, [NEAR_INSIDE, FAR_INSIDE], pids, ends))
}

/// kernel-libipsec at one end: MTU 1400, selectors that are the inside addresses.
fn charon(
    ns: &Ns,
    [local, remote]: [&str; 2],
    [inside, theirs]: [&str; 2],
    esp: &str,
    start: StartAction,
) -> StrongSwan {
    let mut connection = Connection::new("t", local, remote, PSK);
    connection.ike = "aes256-sha256-ecp256".to_owned();
    connection.esp = format!("{esp}-ecp256,{esp}");
    connection.start = start;
    let swan = StrongSwan::start(ns, &[&format!("{inside}/32")], vec![connection]);
    ns.exec(&["ip", "link", "set", "ipsec0", "mtu", "1400"]);
    ns.exec(&[
        "ip", "route", "replace", theirs, "dev", "ipsec0", "src", inside,
    ]);
    swan
}

fn strongswan(esp: &str) -> Result<Bed, String> {
    let (net, near, far) = wire();
    let inside = [NEAR_INSIDE, FAR_INSIDE];
    let ends = [
        charon(
            &far,
            [FAR, NEAR],
            [FAR_INSIDE, NEAR_INSIDE],
            esp,
            StartAction::None,
        ),
        charon(&near, [NEAR, FAR], inside, esp, StartAction::Start),
    ];
    let pids = ends.iter().filter_map(|end| end.daemon().pid()).collect();
    let ends = ends.into_iter().map(End::StrongSwan).collect();
    Ok(up(net, near, far, inside, pids, ends))
}

fn mixed() -> Result<Bed, String> {
    let (net, near, far) = wire();
    let swan = charon(
        &far,
        [FAR, NEAR],
        [FAR_INSIDE, NEAR_INSIDE],
        "aes256gcm16",
        StartAction::None,
    );
    let ours = gateway(
        &near,
        [NEAR, FAR],
        NEAR_INSIDE,
        "force",
        "aes256gcm16-ecp256",
    );
    let pids = [swan.daemon().pid(), ours.daemon().pid()]
        .into_iter()
        .flatten()
        .collect();
    let ends = vec![End::StrongSwan(swan), End::Causeway(ours)];
    Ok(up(net, near, far, [NEAR_INSIDE, FAR_INSIDE], pids, ends))
}

fn installed(program: &str) -> Result<(), String> {
    let found = ["/usr/sbin", "/usr/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
    if found {
        Ok(())
    } else {
        Err(format!("{program} is not installed"))
    }
}

/// The key pairs of RFC 7748 section 6.1: private and public, in hexadecimal.
const X25519: [[&str; 2]; 2] = [
    [
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    ],
    [
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    ],
];

fn wireguard() -> Result<Bed, String> {
    installed("wireguard-go")?;
    let (net, near, far) = wire();
    let sides = [
        (&near, FAR, [NEAR_INSIDE, FAR_INSIDE], 0),
        (&far, NEAR, [FAR_INSIDE, NEAR_INSIDE], 1),
    ];
    let mut ends = Vec::new();
    for (ns, remote, [inside, theirs], side) in sides {
        let program = Program::new(&["wireguard-go", "--foreground", "wg0"])
            .env("WG_PROCESS_FOREGROUND", "1")
            .own_run();
        let daemon = Daemon::start(ns, "wireguard-go", program);
        let pid = daemon.pid().ok_or("wireguard-go has ended")?;
        // Its view of /run is its own.
        let socket = format!("/proc/{pid}/root/run/wireguard/wg0.sock");
        eventually_true(LIMIT, "wireguard-go answers", || {
            UnixStream::connect(&socket).is_ok()
        });
        let [private, _] = X25519[side];
        let [_, public] = X25519[1 - side];
        let mut stream = UnixStream::connect(&socket).or_fail("connect to wireguard-go");
        let request = format!(
            "set=1\nprivate_key={private}\nlisten_port=51820\npublic_key={public}\n\
             endpoint={remote}:51820\nallowed_ip=0.0.0.0/0\n\n"
        );
        stream
            .write_all(request.as_bytes())
            .or_fail("set wireguard-go up");
        let mut answer = [0; 256];
        let len = stream
            .read(&mut answer)
            .or_fail("read wireguard-go's answer");
        let answer = String::from_utf8_lossy(answer.get(..len).unwrap_or(&[])).into_owned();
        if !answer.contains("errno=0") {
            return Err(format!("wireguard-go answers {answer}"));
        }
        ns.exec(&[
            "ip",
            "addr",
            "replace",
            &format!("{inside}/32"),
            "dev",
            "wg0",
        ]);
        ns.exec(&["ip", "link", "set", "wg0", "mtu", "1400", "up"]);
        ns.exec(&[
            "ip", "route", "replace", theirs, "dev", "wg0", "src", inside,
        ]);
        ends.push(daemon);
    }
    let pids = ends.iter().filter_map(Daemon::pid).collect();
    let ends = ends.into_iter().map(End::Other).collect();
    Ok(up(net, near, far, [NEAR_INSIDE, FAR_INSIDE], pids, ends))
}

/// OpenVPN over UDP, one certificate each, trusted by its fingerprint.
fn openvpn() -> Result<Bed, String> {
    installed("openvpn")?;
    installed("openssl")?;
    let (net, near, far) = wire();
    let dir = net.dir().to_owned();
    let mut fingerprints = Vec::new();
    for name in ["near", "far"] {
        let [key, certificate] =
            ["key", "crt"].map(|kind| dir.join(format!("{name}.{kind}")).display().to_string());
        near.exec(&[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
        let text = near.exec(&[
            "openssl",
            "x509",
            "-in",
            &certificate,
            "-noout",
            "-fingerprint",
            "-sha256",
        ]);
        let fingerprint = text
            .trim()
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .to_owned();
        fingerprints.push(fingerprint);
    }
    let sides = [
        (
            &far,
            "far",
            0,
            NEAR,
            [FAR_INSIDE, NEAR_INSIDE],
            "tls-server",
        ),
        (
            &near,
            "near",
            1,
            FAR,
            [NEAR_INSIDE, FAR_INSIDE],
            "tls-client",
        ),
    ];
    let mut ends = Vec::new();
    for (ns, name, other, remote, [inside, theirs], role) in sides {
        let fingerprint = fingerprints.get(other).cloned().unwrap_or_default();
        let text = format!(
            "dev tun0\ndev-type tun\nproto udp\nport 1194\nremote {remote}\nifconfig {inside} {theirs}\n{role}\n\
             dh none\ncert {dir}/{name}.crt\nkey {dir}/{name}.key\npeer-fingerprint {fingerprint}\n\
             data-ciphers AES-256-GCM\ncipher AES-256-GCM\ntun-mtu 1400\nmssfix 0\ndisable-dco\nverb 1\n",
            dir = dir.display()
        );
        let file = dir.join(format!("{name}.ovpn"));
        fs::write(&file, text).or_fail("write OpenVPN's configuration");
        let program = Program::new(&["openvpn", "--config", &file.display().to_string()]);
        ends.push(Daemon::start(ns, "openvpn", program));
    }
    let pids = ends.iter().filter_map(Daemon::pid).collect();
    let ends = ends.into_iter().map(End::Other).collect();
    Ok(up(net, near, far, [NEAR_INSIDE, FAR_INSIDE], pids, ends))
}
