//! strongSwan (charon-systemd with swanctl) as a peer, with ESP in its own process (`kernel-libipsec`), because the
//! kernels that tests run on need not have ESP; or, inside the virtual machine, with the kernel's.
//!
//! What was found out about that plugin (5.9.8), and is handled here:
//! - It puts plain packets on one TUN interface, `ipsec0`, and chooses the CHILD_SA by traffic selectors alone. So one
//!   daemon serves one tunnel with selectors 0.0.0.0/0; several need selectors that do not overlap.
//! - `install_routes = no` does not stop it from routing its remote selectors into `ipsec0`, by routing table 220. We put
//!   the rule of that table behind the main one (`routing_table_prio`), so that routes by hand or by BGP decide; a
//!   namespace needs a default route of its own then, or everything unknown goes into the tunnel.
//! - With narrow selectors the inside address must be on an interface before the CHILD_SA, else `TS_UNACCEPTABLE`.
//! - It always encapsulates ESP in UDP: it announces a NAT that is not there (RFC 7296 section 2.23) and goes to
//!   port 4500, as initiator and as responder. Plain protocol 50 is not available.
//! - Debian confines `charon-systemd` and `swanctl` by AppArmor, by their paths, to files in `/etc`. Copies in the test's
//!   folder are not confined.
//! - A restarted daemon makes a new `ipsec0`: the inside addresses are put back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::connection::{Connection, PeerCertificate};
use crate::daemon::{Daemon, Program};
use crate::netns::{Finished, Ns};
use crate::sa::{ChildSa, IkeSa};
use crate::vici;
use crate::wait::{OrFail, eventually_true};

/// What is loaded into the daemon; the default set of Debian takes several times as long to start.
const PLUGINS: &str = "random nonce openssl aes sha1 sha2 hmac kdf gmp curve25519 gcm chapoly pem pkcs1 x509 pubkey constraints";

/// Folders that swanctl looks into beside its file, and complains about when they are not there.
const CREDENTIAL_FOLDERS: [&str; 13] = [
    "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa",
    "ecdsa", "bliss", "pkcs8", "pkcs12",
];

/// strongSwan's own two programs.
const PROGRAMS: [&str; 2] = ["/usr/sbin/charon-systemd", "/usr/sbin/swanctl"];

/// How much strongSwan says in its log: enough to see why a test fails, or next to nothing.
const VERBOSE: u8 = 1;
const QUIET: u8 = 0;

/// How long the daemon may take to answer after its start, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Where strongSwan's ESP is. Its interface is `ipsec0` on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPlane {
    /// In its own process, always encapsulated in UDP.
    Libipsec,
    /// In the kernel, its SAs tied to a VTI by marks.
    Vti,
    /// In the kernel, its SAs tied to an xfrm interface by their if_id.
    Xfrm,
}

impl DataPlane {
    /// The mark, or the if_id.
    const KEY: &'static str = "42";

    const fn plugins(self) -> &'static str {
        match self {
            Self::Libipsec => "kernel-libipsec kernel-netlink socket-default vici",
            Self::Vti | Self::Xfrm => "kernel-netlink socket-default vici",
        }
    }

    /// The lines of a child's section that tie it to the interface.
    fn child_lines(self) -> Vec<String> {
        let key = Self::KEY;
        match self {
            Self::Libipsec => vec![],
            Self::Vti => vec![format!("mark_in = {key}"), format!("mark_out = {key}")],
            Self::Xfrm => vec![format!("if_id_in = {key}"), format!("if_id_out = {key}")],
        }
    }
}

/// The kernel's interface of a head-end, for SAs with this mark (`vti`) or if_id (`xfrm`).
#[track_caller]
pub(crate) fn kernel_link(ns: &Ns, kind: &str, key: &str, connection: &Connection) {
    let mut argv = vec!["ip", "link", "add", "ipsec0", "type", kind];
    match kind {
        "vti" => argv.extend([
            "local",
            &connection.local,
            "remote",
            &connection.remote,
            "key",
            key,
        ]),
        _ => argv.extend(["dev", "lo", "if_id", key]),
    }
    ns.exec(&argv);
    // What the kernel decrypts has been judged by its SA; without this a packet would need a policy once more.
    ns.sysctl("net/ipv4/conf/ipsec0/disable_policy", "1");
    // As much as fits with any suite, with and without UDP encapsulation, and as `kernel-libipsec` has it.
    ns.exec(&["ip", "link", "set", "ipsec0", "mtu", "1400", "up"]);
}

/// A running strongSwan.
#[derive(Debug)]
pub struct StrongSwan {
    daemon: Daemon,
    plane: DataPlane,
    dir: PathBuf,
    connections: Vec<Connection>,
    inside: Vec<String>,
}

impl StrongSwan {
    /// Starts strongSwan in a namespace, with these connections, and these inside addresses (`"10.1.0.1/31"`) on its
    /// `ipsec0`, with ESP in its own process.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, inside: &[&str], connections: Vec<Connection>) -> Self {
        Self::start_on(DataPlane::Libipsec, ns, inside, connections)
    }

    /// The same, saying next to nothing in its log: for measuring, which a line flushed for each step would distort.
    #[track_caller]
    #[must_use]
    pub fn start_quietly(ns: &Ns, inside: &[&str], connections: Vec<Connection>) -> Self {
        Self::start_with(DataPlane::Libipsec, QUIET, ns, inside, connections)
    }

    /// The same on another data plane. The kernel's ones carry the first connection alone.
    #[track_caller]
    #[must_use]
    pub fn start_on(
        plane: DataPlane,
        ns: &Ns,
        inside: &[&str],
        connections: Vec<Connection>,
    ) -> Self {
        Self::start_with(plane, VERBOSE, ns, inside, connections)
    }

    #[track_caller]
    fn start_with(
        plane: DataPlane,
        level: u8,
        ns: &Ns,
        inside: &[&str],
        connections: Vec<Connection>,
    ) -> Self {
        let dir = ns.dir().join("strongswan");
        for folder in CREDENTIAL_FOLDERS {
            std::fs::create_dir_all(dir.join(folder)).or_fail("create a folder for strongSwan");
        }
        for program in PROGRAMS {
            crate::tools::require(&[program]);
            let copy = dir.join(Path::new(program).file_name().unwrap_or_default());
            // By a process of its own: a file that this one writes is open in whatever another thread starts meanwhile, until that
            // has become its program, and so long the kernel does not execute it (ETXTBSY).
            ns.exec(&["cp", program, &copy.display().to_string()]);
        }
        let settings = dir.join("strongswan.conf");
        let log = ns.dir().join("charon.log");
        // At its level 4 a part of strongSwan writes its secrets too.
        let levels = match connections.iter().any(|one| one.keys_in_log) {
            true => [4, 4],
            false => [2 * level, level],
        };
        let text = format!(
            "charon-systemd {{\n load = {PLUGINS} {}\n install_routes = no\n install_virtual_ip = no\n \
             signature_authentication = {}\n make_before_break = {}\n routing_table_prio = 40000\n retransmit_timeout = 1.0\n retransmit_base = 1.4\n retransmit_tries = 6\n \
             filelog {{\n  log {{\n   path = {}\n   default = {level}\n   ike = {}\n   chd = {}\n   knl = {level}\n   esp = {level}\n   \
             time_format = %H:%M:%S\n   flush_line = yes\n  }}\n }}\n plugins {{\n  vici {{\n   \
             socket = unix://{}\n  }}\n }}\n}}\nswanctl {{\n load = random openssl pem pkcs1 x509\n}}\n",
            plane.plugins(),
            match connections.iter().any(|one| one.legacy_signatures) {
                true => "no",
                false => "yes",
            },
            match connections.iter().any(|one| one.make_before_break) {
                true => "yes",
                false => "no",
            },
            log.display(),
            levels[0],
            levels[1],
            dir.join("vici").display()
        );
        std::fs::write(&settings, text).or_fail("write strongswan.conf");
        let program = Program::new(&[&dir.join("charon-systemd").display().to_string()])
            .env("STRONGSWAN_CONF", &settings.display().to_string())
            .own_run();
        let daemon = Daemon::start(ns, "charon-stdio", program);
        match (plane, connections.first()) {
            (DataPlane::Vti, Some(first)) => kernel_link(ns, "vti", DataPlane::KEY, first),
            (DataPlane::Xfrm, Some(first)) => kernel_link(ns, "xfrm", DataPlane::KEY, first),
            (DataPlane::Libipsec, _) | (_, None) => {}
        }
        let swan = Self {
            daemon,
            plane,
            dir,
            connections,
            inside: inside.iter().map(ToString::to_string).collect(),
        };
        swan.configure();
        swan
    }

    /// Waits for the daemon, puts the inside addresses on its interface, and loads the connections.
    #[track_caller]
    fn configure(&self) {
        let ns = self.daemon.ns();
        eventually_true(
            START_LIMIT,
            format_args!("strongSwan in {} answers", ns.name()),
            || {
                self.swanctl(&["--stats"]).ok()
                    && (self.plane != DataPlane::Libipsec
                        || ns.try_exec(&["ip", "link", "show", "ipsec0"]).ok())
            },
        );
        for address in &self.inside {
            ns.exec(&["ip", "addr", "replace", address, "dev", "ipsec0"]);
        }
        self.load();
    }

    #[track_caller]
    fn load(&self) {
        let mut text = String::new();
        for connection in &self.connections {
            let mut connection = connection.clone();
            connection.child_extra.extend(self.plane.child_lines());
            connection.swanctl(&mut text);
            if let Some(certificate) = &connection.certificate {
                self.keep(&connection.name, certificate);
            }
        }
        let file = self.dir.join("swanctl.conf");
        std::fs::write(&file, text).or_fail("write swanctl.conf");
        let file = file.display().to_string();
        let loaded = self.swanctl(&["--load-all", "--clear", "--file", &file]);
        assert!(
            loaded.ok(),
            "swanctl --load-all: {}{}",
            loaded.stderr,
            loaded.stdout
        );
    }

    /// Writes a connection's certificates and key where swanctl looks for them: beside its configuration.
    #[track_caller]
    fn keep(&self, name: &str, certificate: &PeerCertificate) {
        let PeerCertificate { own, trusted, .. } = certificate;
        let write = |folder: &str, name: String, text: &str| {
            let path = self.dir.join(folder).join(name);
            std::fs::write(&path, text).or_fail(format_args!("write {}", path.display()));
        };
        // One certificate a file is all that it reads.
        for (folder, stem, list) in [
            ("x509", name.to_owned(), &own.certificate),
            ("x509ca", format!("ca-{name}"), trusted),
        ] {
            for (index, one) in list
                .split_inclusive("-----END CERTIFICATE-----")
                .enumerate()
            {
                if one.contains("BEGIN") {
                    let name = match index {
                        0 => format!("{stem}.pem"),
                        _ => format!("{stem}-{index}.pem"),
                    };
                    write(folder, name, one);
                }
            }
        }
        write("private", format!("{name}.pem"), &own.key);
    }

    /// Replaces the connections; SAs that exist stay as they are.
    #[track_caller]
    pub fn reload(&mut self, connections: Vec<Connection>) {
        self.connections = connections;
        self.load();
    }

    /// Runs swanctl against this daemon.
    #[track_caller]
    pub fn swanctl(&self, arguments: &[&str]) -> Finished {
        let settings = format!(
            "STRONGSWAN_CONF={}",
            self.dir.join("strongswan.conf").display()
        );
        let uri = format!("unix://{}", self.dir.join("vici").display());
        let program = self.dir.join("swanctl").display().to_string();
        let (command, rest) = arguments.split_first().or_fail("swanctl has a command");
        let mut argv = vec![
            "env",
            settings.as_str(),
            program.as_str(),
            command,
            "--uri",
            uri.as_str(),
        ];
        argv.extend(rest);
        self.daemon.ns().try_exec(&argv)
    }

    /// The IKE_SAs that it has, with their children.
    #[track_caller]
    #[must_use]
    pub fn list_sas(&self) -> Vec<IkeSa> {
        let listed = self.swanctl(&["--list-sas", "--raw"]);
        vici::events(&listed.stdout, "list-sa")
            .iter()
            .map(|(name, sa)| IkeSa::read(name, sa))
            .collect()
    }

    /// The children that carry traffic, of all established IKE_SAs.
    #[track_caller]
    #[must_use]
    pub fn installed(&self) -> Vec<ChildSa> {
        self.list_sas()
            .into_iter()
            .filter(|sa| sa.state == "ESTABLISHED")
            .flat_map(|sa| sa.children)
            .filter(|child| child.state == "INSTALLED")
            .collect()
    }

    /// Sets a child up, and its IKE_SA if there is none; gives what swanctl said.
    #[track_caller]
    pub fn initiate(&self, child: &str) -> Finished {
        self.swanctl(&["--initiate", "--child", child, "--timeout", "10"])
    }

    /// Starts a rekey of a CHILD_SA. swanctl only queues it: watch [`StrongSwan::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_child(&self, child: &str) -> Finished {
        self.swanctl(&["--rekey", "--child", child])
    }

    /// Starts a rekey of an IKE_SA. swanctl only queues it: watch [`StrongSwan::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_ike(&self, ike: &str) -> Finished {
        self.swanctl(&["--rekey", "--ike", ike])
    }

    /// Sets up an IKE_SA in place of one, with its children and all proofs anew. swanctl only queues it.
    #[track_caller]
    pub fn reauthenticate(&self, ike: &str) -> Finished {
        self.swanctl(&["--rekey", "--ike", ike, "--reauth"])
    }

    /// Deletes an IKE_SA with its children, telling the peer.
    #[track_caller]
    pub fn terminate(&self, ike: &str) -> Finished {
        self.swanctl(&["--terminate", "--ike", ike, "--timeout", "10"])
    }

    /// Ends the daemon without a word to its peers, and its SAs with it, wherever they are.
    #[track_caller]
    pub fn kill(&mut self) {
        self.daemon.kill();
        if self.plane != DataPlane::Libipsec {
            let ns = self.daemon.ns();
            ns.exec(&["ip", "xfrm", "state", "flush"]);
            ns.exec(&["ip", "xfrm", "policy", "flush"]);
        }
    }

    /// Ends the daemon without a word if it runs, and starts it again with the same configuration and no SA.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.dir.join("vici"));
        self.daemon.restart();
        self.configure();
    }

    /// What it logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let path = self.daemon.ns().dir().join("charon.log");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

fn text(section: &Value, key: &str) -> String {
    section[key].as_str().unwrap_or_default().to_owned()
}

fn number<N: std::str::FromStr + Default>(section: &Value, key: &str) -> N {
    text(section, key).parse().unwrap_or_default()
}

fn texts(section: &Value, key: &str) -> Vec<String> {
    let items = section[key]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// `AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048`, without what is absent.
fn suite(section: &Value) -> String {
    let mut parts = Vec::new();
    let (cipher, size) = (text(section, "encr-alg"), text(section, "encr-keysize"));
    parts.push(if size.is_empty() {
        cipher
    } else {
        format!("{cipher}-{size}")
    });
    for key in ["integ-alg", "prf-alg", "dh-group"] {
        parts.push(text(section, key));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

impl IkeSa {
    fn read(name: &str, sa: &Value) -> Self {
        let children = sa["child-sas"].as_object();
        Self {
            name: name.to_owned(),
            unique_id: number(sa, "uniqueid"),
            state: text(sa, "state"),
            initiator: text(sa, "initiator") == "yes",
            local_port: number(sa, "local-port"),
            remote_host: text(sa, "remote-host"),
            remote_port: number(sa, "remote-port"),
            remote_id: text(sa, "remote-id"),
            suite: suite(sa),
            children: children
                .into_iter()
                .flatten()
                .map(|(_, child)| ChildSa::read(child))
                .collect(),
        }
    }
}

impl ChildSa {
    fn read(child: &Value) -> Self {
        Self {
            name: text(child, "name"),
            unique_id: number(child, "uniqueid"),
            reqid: number(child, "reqid"),
            state: text(child, "state"),
            encap: text(child, "encap") == "yes",
            spi_in: text(child, "spi-in"),
            spi_out: text(child, "spi-out"),
            suite: suite(child),
            packets_in: number(child, "packets-in"),
            packets_out: number(child, "packets-out"),
            local_ts: texts(child, "local-ts"),
            remote_ts: texts(child, "remote-ts"),
        }
    }
}
