//! Every algorithm that strongSwan and we both have, agreed on by each side's initiative, and packets through what comes of it.
//!
//! Each row is an IKE SA and a child of its own. Together they have every cipher with every integrity algorithm, for IKE and for
//! ESP, every PRF with both classes of ciphers, and every group, for IKE and for a child's own exchange.

use std::fmt::Write as _;
use std::time::Instant;

use lab::{
    Connection, DataPlane, Gateway, Launch, Net, Ns, Scene, StrongSwan, addresses as at,
    eventually_true, ping,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// A suite in the words of both site file and strongSwan: for IKE, and for ESP with the group of the child's own exchange.
struct Row {
    ike: &'static str,
    esp: &'static str,
}

const fn row(ike: &'static str, esp: &'static str) -> Row {
    Row { ike, esp }
}

const ROWS: [Row; 21] = [
    row("aes128-sha1-modp2048", "aes128-sha1"),
    row("aes128-sha256-prfsha1-ecp256", "aes128-sha256-ecp256"),
    row("aes128-sha384-prfsha256-ecp384", "aes128-sha384"),
    row("aes128-sha512-prfsha384-ecp521", "aes128-sha512-ecp521"),
    row("aes192-sha1-prfsha512-curve25519", "aes192-sha1-curve25519"),
    row("aes192-sha256-modp1024", "aes192-sha256"),
    row("aes192-sha384-modp1536", "aes192-sha384-modp1536"),
    row("aes192-sha512-modp3072", "aes192-sha512"),
    row("aes256-sha1-modp2048", "aes256-sha1-modp1024"),
    row("aes256-sha256-ecp256", "aes256-sha256-modp2048"),
    row("aes256-sha384-ecp384", "aes256-sha384-modp3072"),
    row("aes256-sha512-ecp521", "aes256-sha512-ecp384"),
    row("aes128gcm16-prfsha1-curve25519", "aes128gcm16"),
    row("aes128gcm16-prfsha256-ecp256", "aes128gcm16-ecp256"),
    row("aes192gcm16-prfsha384-ecp384", "aes192gcm16-ecp384"),
    row("aes256gcm16-prfsha512-modp4096", "aes256gcm16"),
    row("aes256gcm16-prfsha384-ecp521", "aes256gcm16-modp4096"),
    row(
        "chacha20poly1305-prfsha256-curve25519",
        "chacha20poly1305-curve25519",
    ),
    row("chacha20poly1305-prfsha512-curve25519", "chacha20poly1305"),
    // The last two: agreed on, and no more than that.
    row("aes256-sha256-ecp256", "aes256-sha256-ecp256-esn"),
    row("aes256gcm16-prfsha256-ecp256", "aes256gcm16-esn"),
];

/// What strongSwan calls the algorithms when it lists SAs.
const NAMES: [(&str, &str); 24] = [
    ("aes128", "AES_CBC-128"),
    ("aes192", "AES_CBC-192"),
    ("aes256", "AES_CBC-256"),
    ("aes128gcm16", "AES_GCM_16-128"),
    ("aes192gcm16", "AES_GCM_16-192"),
    ("aes256gcm16", "AES_GCM_16-256"),
    ("chacha20poly1305", "CHACHA20_POLY1305"),
    ("sha1", "HMAC_SHA1_96"),
    ("sha256", "HMAC_SHA2_256_128"),
    ("sha384", "HMAC_SHA2_384_192"),
    ("sha512", "HMAC_SHA2_512_256"),
    ("prfsha1", "PRF_HMAC_SHA1"),
    ("prfsha256", "PRF_HMAC_SHA2_256"),
    ("prfsha384", "PRF_HMAC_SHA2_384"),
    ("prfsha512", "PRF_HMAC_SHA2_512"),
    ("modp1024", "MODP_1024"),
    ("modp1536", "MODP_1536"),
    ("modp2048", "MODP_2048"),
    ("modp3072", "MODP_3072"),
    ("modp4096", "MODP_4096"),
    ("ecp256", "ECP_256"),
    ("ecp384", "ECP_384"),
    ("ecp521", "ECP_521"),
    ("curve25519", "CURVE_25519"),
];

fn named(word: &str) -> &'static str {
    let found = NAMES.iter().find(|(ours, _)| *ours == word);
    found.unwrap_or_else(|| panic!("no name for {word}")).1
}

/// The words as strongSwan lists them: the PRF of an IKE suite is that of its integrity algorithm where none is named.
fn listed(suite: &str, ike: bool) -> String {
    let mut names: Vec<&str> = suite
        .split('-')
        .filter(|word| *word != "esn")
        .map(named)
        .collect();
    if ike && names.len() == 3 && !suite.contains("-prf") {
        let prf = suite.split('-').nth(1).unwrap_or_default();
        names.insert(2, named(&format!("prf{prf}")));
    }
    names.join("/")
}

/// The group of a child's own exchange.
fn group(esp: &str) -> Option<&str> {
    let groups = ["modp", "ecp", "curve"];
    esp.split('-')
        .find(|word| groups.iter().any(|group| word.starts_with(group)))
}

/// The peer's outer address, and both inside addresses, of a row.
fn addresses(index: usize) -> [String; 3] {
    let n = index + 1;
    [
        format!("203.0.113.{}", 100 + n),
        format!("10.1.{n}.0"),
        format!("10.1.{n}.1"),
    ]
}

fn name(index: usize) -> String {
    format!("r{}", index + 1)
}

struct Bed {
    gateway: Gateway,
    swan: StrongSwan,
    ns: [Ns; 2],
    _net: Net,
}

impl Bed {
    /// All tunnels and connections at once; nobody initiates any by itself.
    #[track_caller]
    fn start() -> Self {
        let net = Net::new();
        let ns = ["here", "there"].map(|name| net.ns(name));
        let ours = format!("{}/24", at::GATEWAY);
        net.veth((&ns[0], "wan0", &ours), (&ns[1], "wan0", "203.0.113.1/24"));
        let mut site = format!(
            "[gateway]\nname = \"here\"\nwan = \"wan0\"\naddress = \"{}\"\nnetworks = [\"192.168.2.0/24\"]\n\n\
             [daemon]\ndata-plane = \"userspace\"\nsocket = \"{{dir}}/control.sock\"\n",
            at::GATEWAY
        );
        let mut connections = Vec::new();
        let mut inside = Vec::new();
        let mut outer = String::new();
        for (index, Row { ike, esp }) in ROWS.iter().enumerate() {
            let [peer, here, there] = addresses(index);
            let name = name(index);
            let _ = writeln!(
                site,
                "\n[tunnel.{name}]\nremote = \"{peer}\"\npsk = {{ file = \"{{dir}}/psk\" }}\ninside = \"{here}/31\"\n\
                 ike = [\"{ike}\"]\nesp = [\"{esp}\"]\nchildless = {}\ninitiate = false",
                group(esp).is_some()
            );
            let _ = writeln!(outer, "addr add {peer}/24 dev wan0");
            inside.push(format!("{there}/31"));
            let mut connection = Connection::new(&name, &peer, at::GATEWAY, at::PSKS[0]);
            (*ike).clone_into(&mut connection.ike);
            (*esp).clone_into(&mut connection.esp);
            if group(esp).is_some() {
                connection.extra.push("childless = force".to_owned());
            }
            connections.push(connection);
        }
        ns[1].ip(&outer);
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        let swan = StrongSwan::start_on(DataPlane::Libipsec, &ns[1], &inside, connections);
        let launch = Launch::new(CAUSEWAY, &site).secret("psk", at::PSKS[0]);
        Self {
            gateway: Gateway::start(&ns[0], &launch),
            swan,
            ns,
            _net: net,
        }
    }

    /// Both sides have exactly this row's suite, and packets pass.
    #[track_caller]
    fn has(&self, index: usize) {
        let Row { ike, esp } = &ROWS[index];
        let name = name(index);
        self.gateway.wait_for_tunnels(&[&name], Scene::SOON);
        eventually_true(Scene::SOON, format!("strongSwan has {name}"), || {
            self.swan.installed().len() == 1
        });
        let theirs = self.swan.list_sas();
        assert_eq!(theirs.len(), 1, "{name}: {theirs:?}");
        assert_eq!(theirs[0].suite, listed(ike, true), "{name}");
        assert_eq!(theirs[0].children[0].suite, listed(esp, false), "{name}");
        let ours = self.gateway.tunnel(&name);
        let child = &ours["children"][0];
        assert_eq!(child["pfs"].as_str(), group(esp), "{name}: {ours}");
        assert_eq!(child["esn"], false, "{name}: {ours}");
        let [_, _, there] = addresses(index);
        eventually_true(Scene::SOON, format!("packets pass through {name}"), || {
            ping(&self.ns[0], &there, 1, &[]).all()
        });
    }

    #[track_caller]
    fn tell(&self, name: &str, order: &str) {
        let said = self.gateway.command(&["tunnel", name, order]);
        assert!(said.ok(), "{name} {order}: {}", said.stderr);
    }

    /// strongSwan's ESP in its own process has no extended sequence numbers: it offers them, we choose them, and it deletes the
    /// child that it cannot install.
    #[track_caller]
    fn chooses_extended_sequence_numbers(&self, name: &str, words: &str) {
        let chosen = format!("selected proposal: ESP:{}/EXT_SEQ", listed(words, false));
        // As its log writes it: the key's size after another sign than in its list.
        let chosen = ["-128", "-192", "-256"].iter().fold(chosen, |text, size| {
            text.replace(size, &size.replace('-', "_"))
        });
        self.swan.initiate(name);
        let log = self.swan.log();
        assert!(log.contains(&chosen), "{name}: not {chosen:?} in its log");
        assert!(log.contains("ESN not supported"), "{name}");
        self.swan.terminate(name);
    }

    #[track_caller]
    fn is_gone(&self, index: usize) {
        eventually_true(Scene::SOON, format!("{} is gone", name(index)), || {
            self.swan.list_sas().is_empty() && self.gateway.tunnel(&name(index))["state"] != "up"
        });
    }
}

#[test]
fn every_algorithm_of_both_is_agreed_on_whoever_initiates_and_carries_packets() {
    let bed = Bed::start();
    for (index, Row { ike, esp }) in ROWS.iter().enumerate() {
        let started = Instant::now();
        let name = name(index);
        if let Some(words) = esp.strip_suffix("-esn") {
            bed.chooses_extended_sequence_numbers(&name, words);
            continue;
        }
        let said = bed.swan.initiate(&name);
        assert!(said.ok(), "{ike} {esp}: {}{}", said.stdout, said.stderr);
        bed.has(index);
        let said = bed.swan.terminate(&name);
        assert!(said.ok(), "{ike} {esp}: {}{}", said.stdout, said.stderr);
        bed.is_gone(index);
        bed.tell(&name, "up");
        bed.has(index);
        bed.tell(&name, "down");
        bed.is_gone(index);
        println!("{ike} {esp}: {:.1?}", started.elapsed());
    }
}

#[test]
fn the_table_has_every_algorithm_of_both() {
    let all = |words: &[&str], of: fn(&Row) -> &'static str| {
        for word in words {
            let has = ROWS
                .iter()
                .any(|row| of(row).split('-').any(|one| one == *word));
            assert!(has, "no row with {word}");
        }
    };
    let (ciphers, gcm) = (
        ["aes128", "aes192", "aes256"],
        [
            "aes128gcm16",
            "aes192gcm16",
            "aes256gcm16",
            "chacha20poly1305",
        ],
    );
    let prfs = ["prfsha1", "prfsha256", "prfsha384", "prfsha512"];
    let groups = [
        "modp1024",
        "modp1536",
        "modp2048",
        "modp3072",
        "modp4096",
        "ecp256",
        "ecp384",
        "ecp521",
        "curve25519",
    ];
    for of in [|row: &Row| row.ike, |row: &Row| row.esp] {
        all(&gcm, of);
        all(&groups, of);
        for cipher in ciphers {
            for integrity in ["sha1", "sha256", "sha384", "sha512"] {
                let pair = format!("{cipher}-{integrity}");
                let has = ROWS.iter().any(|row| of(row).starts_with(&pair));
                assert!(has, "no row with {pair}");
            }
        }
    }
    let prf_with = |combined: bool| {
        for prf in prfs {
            let has = ROWS.iter().any(|row| {
                let words = listed(row.ike, true);
                words.contains(named(prf))
                    && combined == (row.ike.contains("gcm") || row.ike.contains("poly"))
            });
            assert!(has, "no row with {prf}");
        }
    };
    prf_with(true);
    prf_with(false);
}
