//! What a third program reads in what we send: tshark takes our messages and packets apart with the keys that strongSwan has logged. So
//! neither our reader nor strongSwan's says what is in them.

use lab::{
    Connection, Daemon, DataPlane, Gateway, Launch, Net, Ns, OrFail as _, Program, Scene,
    StrongSwan, addresses as at, eventually_true, ping, require,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const PEER: &str = "203.0.113.20";
const INSIDE: [&str; 2] = ["10.1.0.0", "10.1.0.1"];

/// Two daemons on a cable, and everything that passes there in a file.
struct Bed {
    gateway: Gateway,
    swan: StrongSwan,
    file: String,
    ns: [Ns; 2],
    _capture: Daemon,
    _net: Net,
}

impl Bed {
    #[track_caller]
    fn start() -> Self {
        require(&["tshark", "tcpdump"]);
        let net = Net::new();
        let ns = ["here", "there"].map(|name| net.ns(name));
        let [ours, theirs] = [at::GATEWAY, PEER].map(|address| format!("{address}/24"));
        net.veth((&ns[0], "wan0", &ours), (&ns[1], "wan0", &theirs));
        let file = ns[0].dir().join("wire.pcap").display().to_string();
        let argv = [
            "tcpdump",
            "-Z",
            "root",
            "-U",
            "--immediate-mode",
            "-i",
            "wan0",
            "-w",
            &file,
            "udp",
        ];
        let capture = Daemon::start(&ns[0], "tcpdump", Program::new(&argv));
        eventually_true(Scene::SOON, "tcpdump listens", || {
            capture.log().contains("listening on")
        });
        let mut connection = Connection::new("t", PEER, at::GATEWAY, at::PSKS[0]);
        "aes256-sha256-ecp256".clone_into(&mut connection.ike);
        "aes256gcm16-ecp256".clone_into(&mut connection.esp);
        connection.keys_in_log = true;
        let inside = format!("{}/31", INSIDE[1]);
        let swan = StrongSwan::start_on(DataPlane::Libipsec, &ns[1], &[&inside], vec![connection]);
        let site = format!(
            "[gateway]\nname = \"here\"\nwan = \"wan0\"\naddress = \"{}\"\nnetworks = [\"192.168.2.0/24\"]\n\n\
             [tunnel.t]\nremote = \"{PEER}\"\npsk = {{ file = \"{{dir}}/psk\" }}\ninside = \"{}/31\"\n\
             ike = [\"aes256-sha256-ecp256\"]\nesp = [\"aes256gcm16-ecp256\"]\n\n\
             [daemon]\ndata-plane = \"userspace\"\nsocket = \"{{dir}}/control.sock\"\n",
            at::GATEWAY,
            INSIDE[0]
        );
        let launch = Launch::new(CAUSEWAY, &site).secret("psk", at::PSKS[0]);
        let gateway = Gateway::start(&ns[0], &launch);
        Self {
            gateway,
            swan,
            file,
            ns,
            _capture: capture,
            _net: net,
        }
    }

    /// The first secret that strongSwan's log has after these words, in hexadecimal.
    #[track_caller]
    fn logged(&self, words: &str) -> String {
        let log = self.swan.log();
        let mut lines = log.lines().skip_while(|line| !line.contains(words));
        let head = lines
            .next()
            .or_fail(format_args!("{words:?} in strongSwan's log"));
        let (_, length) = head.split_once("=> ").or_fail("a length");
        let length = length
            .split(' ')
            .next()
            .and_then(|text| text.parse::<usize>().ok());
        let mut key = String::new();
        for line in lines {
            // "… 16: 2B 98 35 51  +.5Q"
            let Some((_, octets)) = line.split_once(": ") else {
                break;
            };
            let octets = octets.split("  ").next().unwrap_or_default();
            key.extend(octets.split(' '));
            if Some(key.len() / 2) >= length {
                break;
            }
        }
        assert_eq!(Some(key.len() / 2), length, "{words}");
        key
    }

    /// What tshark says of the packets that a filter chooses.
    #[track_caller]
    fn read(&self, keys: &[String], filter: &str) -> String {
        let home = format!("HOME={}", self.ns[0].dir().display());
        let mut argv = vec!["env", &home, "tshark", "-r", &self.file, "-V", "-Y", filter];
        argv.extend(["-o", "esp.enable_encryption_decode:TRUE"]);
        argv.extend(["-o", "esp.enable_authentication_check:TRUE"]);
        for key in keys {
            argv.extend(["-o", key]);
        }
        let read = self.ns[0].try_exec(&argv);
        assert!(read.ok(), "tshark: {}", read.stderr);
        assert!(!read.stdout.contains("Malformed"), "{}", read.stdout);
        read.stdout
    }
}

/// These are in the text, one after the other.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("no {part:?}, or not after those before {parts:?}, in:\n{text}");
        };
        rest = after;
    }
}

#[test]
fn tshark_reads_in_what_we_send_what_we_say_that_it_is() {
    let bed = Bed::start();
    bed.gateway.wait_for_tunnels(&["t"], Scene::SOON);
    eventually_true(Scene::SOON, "packets pass", || {
        ping(&bed.ns[0], INSIDE[1], 1, &[]).all()
    });
    let status = bed.gateway.tunnel("t");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let [spi_i, spi_r] = ["initiator_spi", "responder_spi"].map(|key| word(&status["ike"][key]));
    let [first_in, first_out] = ["spi_in", "spi_out"].map(|key| word(&status["children"][0][key]));
    let [ei, er, ai, ar] =
        ["ei", "er", "ai", "ar"].map(|key| bed.logged(&format!("Sk_{key} secret")));
    let mut keys = vec![format!(
        "uat:ikev2_decryption_table:{spi_i},{spi_r},{ei},{er},\"AES-CBC-256 [RFC3602]\",{ai},{ar},\"HMAC_SHA2_256_128 [RFC4868]\""
    )];
    for (role, spi) in [("initiator", &first_out), ("responder", &first_in)] {
        let key = bed.logged(&format!("encryption {role} key"));
        keys.push(format!(
            "uat:esp_sa:\"IPv4\",\"*\",\"*\",\"0x{spi}\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x{key}\",\"NULL\",\"\",\"32-bit\""
        ));
    }

    // The peer rekeys the child on the same IKE SA.
    assert!(bed.swan.rekey_child("t").ok());
    let second_in = || word(&bed.gateway.tunnel("t")["children"][0]["spi_in"]);
    eventually_true(Scene::SOON, "we have another child alone", || {
        let children = bed.gateway.tunnel("t")["children"].clone();
        children.as_array().map(Vec::len) == Some(1) && second_in() != first_in
    });
    let second_in = second_in();
    let deleted = "isakmp.exchangetype == 37 && isakmp.flag_r == 1";
    eventually_true(Scene::SOON, "the deletion is in the capture", || {
        bed.read(&keys, deleted).contains("Payload: Delete")
    });

    let from_us = |exchange: u8| {
        format!(
            "isakmp.exchangetype == {exchange} && ip.src == {}",
            at::GATEWAY
        )
    };
    let init = bed.read(&keys, &from_us(34));
    in_order(
        &init,
        &[
            "Payload: Security Association",
            "ENCR_AES_CBC",
            "PRF_HMAC_SHA2_256",
            "AUTH_HMAC_SHA2_256_128",
            "256-bit random ECP group",
            "Payload: Key Exchange",
            "Payload: Nonce",
        ],
    );
    for notify in [
        "NAT_DETECTION_SOURCE_IP",
        "NAT_DETECTION_DESTINATION_IP",
        "IKEV2_FRAGMENTATION_SUPPORTED",
    ] {
        assert!(
            init.contains(&format!("Payload: Notify (41) - {notify}")),
            "{notify}: {init}"
        );
    }
    let auth = bed.read(&keys, &from_us(35));
    let spi = format!("SPI: {first_in}");
    in_order(
        &auth,
        &[
            &format!("Initiator SPI: {spi_i}"),
            &format!("Responder SPI: {spi_r}"),
            "Payload: Identification - Initiator",
            at::GATEWAY,
            "Payload: Notify (41) - INITIAL_CONTACT",
            "Payload: Identification - Responder",
            PEER,
            "Payload: Authentication",
            "Shared Key Message Integrity Code",
            "Protocol ID: ESP",
            &spi,
            "AES-GCM with a 16 octet ICV",
            "Payload: Traffic Selector - Initiator",
            "Starting Addr: 0.0.0.0",
            "Ending Addr: 255.255.255.255",
            "Payload: Traffic Selector - Responder",
            "Starting Addr: 0.0.0.0",
            "Ending Addr: 255.255.255.255",
        ],
    );
    let child = bed.read(&keys, &from_us(36));
    in_order(
        &child,
        &[
            "Payload: Security Association",
            "Protocol ID: ESP",
            &format!("SPI: {second_in}"),
            "Payload: Nonce",
            "Payload: Key Exchange",
            "256-bit random ECP group",
            "Payload: Traffic Selector",
        ],
    );
    let delete = bed.read(&keys, &from_us(37));
    in_order(&delete, &["Payload: Delete", "ESP", &first_in]);

    // Each protected message's checksum is what it should be, the peer's among them.
    let all = bed.read(&keys, "isakmp.exchangetype >= 35");
    let protected = all.matches("Payload: Encrypted and Authenticated").count();
    assert!(protected >= 6, "{all}");
    assert_eq!(all.matches("[correct]").count(), protected, "{all}");

    let echo = |from: &str, to: &str| format!("esp.spi == 0x{to} && icmp && ip.src == {from}");
    let sent = bed.read(&keys, &echo(INSIDE[0], &first_out));
    in_order(
        &sent,
        &[
            "ESP SPI",
            "[correct]",
            "Internet Control Message Protocol",
            "Echo (ping) request",
        ],
    );
    let answered = bed.read(&keys, &echo(INSIDE[1], &first_in));
    in_order(
        &answered,
        &[
            "ESP SPI",
            "[correct]",
            "Internet Control Message Protocol",
            "Echo (ping) reply",
        ],
    );
}
