//! What is set up wrongly gives one line: the field, ours and theirs, the line of the site file, and the field in the cloud's console.
//! Each line is made by a real peer that is set up so, and is compared as a whole.

use lab::{
    Cloud, Connection, Disturbance, Gateway, Hook, ReferenceSite, Scene, SiteFile, StrongSwan,
    addresses as at, eventually,
};
use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Our daemon, and a peer for its first tunnel. Nobody answers at the second one.
struct Bed {
    gateway: Gateway,
    swan: StrongSwan,
    site: ReferenceSite,
}

impl Bed {
    fn start(file: &SiteFile, change: impl FnOnce(&mut Connection)) -> Self {
        Self::start_on(ReferenceSite::new(), file, change)
    }

    fn start_on(
        site: ReferenceSite,
        file: &SiteFile,
        change: impl FnOnce(&mut Connection),
    ) -> Self {
        let mut connection = Cloud::connection(0);
        change(&mut connection);
        let inside = format!("{}/31", at::INSIDE_THEIRS[0]);
        let swan = StrongSwan::start(&site.drg[0], &[&inside], vec![connection]);
        let gateway = Gateway::start(&site.gateway, &file.launch(CAUSEWAY));
        Self {
            gateway,
            swan,
            site,
        }
    }

    fn up(file: &SiteFile, change: impl FnOnce(&mut Connection)) -> Self {
        let bed = Self::start(file, change);
        bed.gateway.wait_for_tunnels(&["oci-1"], Scene::SOON);
        bed
    }

    /// The last failure of the first tunnel, once it is about this exchange.
    #[track_caller]
    fn failure(&self, exchange: &str) -> Value {
        let what = format!("a failure of {exchange}");
        eventually(Scene::SOON * 2, what, || {
            let failure = self.gateway.tunnel("oci-1")["last_failure"].clone();
            let text = failure["text"].as_str().unwrap_or_default();
            text.contains(exchange).then_some(failure)
        })
    }

    /// Its text, with what depends on time left out.
    #[track_caller]
    fn line(&self, exchange: &str) -> String {
        let failure = self.failure(exchange);
        let line = timeless(failure["text"].as_str().unwrap_or_default());
        println!("{line}");
        assert_eq!(line.lines().count(), 1);
        line
    }

    /// What `tunnel oci-1 verify --json` says, with this exit status.
    #[track_caller]
    fn verify(&self, status: i32) -> Value {
        let verified = self
            .gateway
            .command(&["tunnel", "oci-1", "verify", "--json"]);
        println!("{}{}", verified.stdout, verified.stderr);
        assert_eq!(verified.code, Some(status));
        serde_json::from_str(&verified.stdout).unwrap_or_default()
    }

    /// The newest change of state that has this word in it.
    #[track_caller]
    fn event(&self, word: &str) -> String {
        eventually(Scene::SOON, format!("an event with {word:?}"), || {
            let status = self.gateway.status();
            let mut events = status["events"].as_array()?.iter();
            let text = events
                .find_map(|event| event["text"].as_str().filter(|text| text.contains(word)))?;
            println!("{text}");
            Some(text.to_owned())
        })
    }
}

/// A line without how long something waited and how often.
fn timeless(line: &str) -> String {
    let mut rest = line;
    let mut out = String::new();
    for (before, after) in [("no answer after ", " s"), ("(attempt ", ")")] {
        if let Some((head, tail)) = rest.split_once(before)
            && let Some((_, tail)) = tail.split_once(after)
        {
            out.push_str(head);
            out.push_str(before);
            out.push('N');
            out.push_str(after);
            rest = tail;
        }
    }
    out + rest
}

fn passive() -> SiteFile {
    SiteFile::reference().add("tunnel.oci-1", "initiate = false")
}

#[test]
fn a_wrong_pre_shared_key_when_the_peer_refuses_us() {
    let bed = Bed::start(&SiteFile::reference(), |connection| {
        "Anothersecret0123456789".clone_into(&mut connection.psk);
    });
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_IPV4_ADDR '203.0.113.10' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the peer expects another ID of us; site file: psk (line 13), address of [gateway] (line 7); Oracle's console: the tunnel's Shared secret (shared-secret), the connection's CPE IKE identifier and its type (cpe-local-identifier)");
    let fields = bed.failure("IKE_AUTH")["fields"].clone();
    assert_eq!(fields[0]["key"], "psk");
    assert!(fields[0]["line"].is_u64(), "{fields}");
    assert!(fields[0]["console"].is_string(), "{fields}");
}

#[test]
fn a_wrong_pre_shared_key_when_we_refuse_the_peer() {
    let bed = Bed::start(&passive(), |connection| {
        "Anothersecret0123456789".clone_into(&mut connection.psk);
    });
    bed.swan.initiate("cpe");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer's proof as ID_IPV4_ADDR '198.51.100.1' does not verify (we are ID_IPV4_ADDR '203.0.113.10'): the pre-shared keys differ; site file: psk (line 14); Oracle's console: the tunnel's Shared secret (shared-secret)");
}

#[test]
fn a_peer_of_another_name() {
    let bed = Bed::start(&passive(), |connection| {
        "198.51.100.77".clone_into(&mut connection.local_id);
    });
    bed.swan.initiate("cpe");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer says it is ID_IPV4_ADDR '198.51.100.77', we expect ID_IPV4_ADDR '198.51.100.1': set our remote ID to the former, or the peer's own ID to the latter; site file: remote-id (not written, from remote; below line 10); Oracle's console: the tunnel's Oracle VPN IP address (vpn-ip)");
}

#[test]
fn a_peer_with_the_right_name_of_the_wrong_type() {
    let bed = Bed::start(&passive(), |connection| {
        format!("fqdn:{}", at::HEAD_ENDS[0]).clone_into(&mut connection.local_id);
    });
    bed.swan.initiate("cpe");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer says it is ID_FQDN '198.51.100.1', we expect ID_IPV4_ADDR '198.51.100.1': set our remote ID to the former, or the peer's own ID to the latter; the text is the same and the type is not: an address is written as it is, a name with @ in front; site file: remote-id (not written, from remote; below line 10); Oracle's console: the tunnel's Oracle VPN IP address (vpn-ip)");
}

#[test]
fn our_address_written_as_a_name() {
    let file = SiteFile::reference().add("tunnel.oci-1", "local-id = \"@203.0.113.10\"");
    let bed = Bed::start(&file, |_| {});
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_FQDN '203.0.113.10' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the peer expects another ID of us; our ID is a name that reads like an address, and a peer that expects ID_IPV4_ADDR '203.0.113.10' takes it for another one: write it without @; site file: local-id (line 11), psk (line 14); Oracle's console: the connection's CPE IKE identifier and its type (cpe-local-identifier), the tunnel's Shared secret (shared-secret)");
}

#[test]
fn our_private_address_behind_a_nat() {
    let file = SiteFile::reference().replace("address = \"203.0.113.10\"", "address = \"auto\"");
    let bed = Bed::start_on(ReferenceSite::behind_nat(), &file, |_| {});
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_IPV4_ADDR '192.168.1.2' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the peer expects another ID of us; we are behind a NAT and say our private address 192.168.1.2, while the peer knows the NAT's: set address of [gateway], or local-id, to the public one; site file: address of [gateway] (line 7), psk (line 13); Oracle's console: the connection's CPE IKE identifier and its type (cpe-local-identifier), the tunnel's Shared secret (shared-secret)");
}

#[test]
fn a_public_address_behind_a_nat_that_is_not_the_nats() {
    let file = SiteFile::reference().add("tunnel.oci-1", "local-id = \"203.0.113.77\"");
    let bed = Bed::start_on(ReferenceSite::behind_nat(), &file, |_| {});
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_IPV4_ADDR '203.0.113.77' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the peer expects another ID of us; we send from 192.168.1.2, behind a NAT, so 203.0.113.77 has to be the address that the peer sees; site file: local-id (line 11), psk (line 14); Oracle's console: the connection's CPE IKE identifier and its type (cpe-local-identifier), the tunnel's Shared secret (shared-secret)");
}

#[test]
fn no_common_ike_proposal_when_the_peer_refuses() {
    let bed = Bed::start(&SiteFile::reference(), |connection| {
        "aes128-sha256-ecp256".clone_into(&mut connection.ike);
    });
    insta::assert_snapshot!(bed.line("IKE_SA_INIT"), @"oci-1 with 198.51.100.1:500: IKE_SA_INIT: the peer refuses our IKE (phase 1) proposal aes256-sha1-modp2048 with NO_PROPOSAL_CHOSEN and does not say what it wants; compare with the peer's IKE (phase 1) settings; site file: ike (line 15); Oracle's console: the tunnel's Phase one (ISAKMP) configuration (phase-one-config), the tunnel's IKE version, which has to be IKEv2 (ike-version V2)");
}

#[test]
fn no_common_ike_proposal_when_we_refuse() {
    let bed = Bed::start(&passive(), |connection| {
        "aes256-sha384-ecp384".clone_into(&mut connection.ike);
    });
    bed.swan.initiate("cpe");
    insta::assert_snapshot!(bed.line("IKE_SA_INIT"), @"oci-1 with 198.51.100.1:500: IKE_SA_INIT: no common IKE (phase 1) proposal: we accept aes256-sha1-modp2048, the peer offers aes256-sha384-ecp384; nearest: prf prfsha1 here against prfsha384 there, integrity sha1 here against sha384 there, group modp2048 here against ecp384 there; site file: ike (line 16); Oracle's console: the tunnel's Phase one (ISAKMP) configuration (phase-one-config)");
}

#[test]
fn no_common_esp_proposal_when_the_peer_refuses() {
    let bed = Bed::start(&SiteFile::reference(), |connection| {
        "aes128-sha256".clone_into(&mut connection.esp);
    });
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: the peer refuses our ESP (phase 2) proposal aes256gcm16-ecp384-modp2048-modp1536 with NO_PROPOSAL_CHOSEN and does not say what it wants; compare with the peer's ESP (phase 2) settings; site file: esp (not written, from profile oci; below line 10); Oracle's console: the tunnel's Phase two (IPSec) configuration (phase-two-config)");
}

#[test]
fn no_common_esp_proposal_when_we_refuse() {
    let file = passive().add("tunnel.oci-1", "esp = [\"aes256gcm16-ecp384\"]");
    let bed = Bed::start(&file, |connection| {
        "aes128-sha256".clone_into(&mut connection.esp);
    });
    bed.swan.initiate("cpe");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: no common ESP (phase 2) proposal: we accept aes256gcm16-ecp384, the peer offers aes128-sha256-noesn; nearest: encryption aes256gcm16 here against aes128 there, integrity none here against sha256 there; site file: esp (line 11); Oracle's console: the tunnel's Phase two (IPSec) configuration (phase-two-config)");
}

#[test]
fn a_peer_for_certain_networks_only() {
    let bed = Bed::start(&passive(), |connection| {
        "10.0.0.0/16".clone_into(&mut connection.local_ts);
        "192.168.2.0/24".clone_into(&mut connection.remote_ts);
    });
    bed.swan.initiate("cpe");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: traffic selectors do not meet: we have 0.0.0.0/0 (here) = 0.0.0.0/0 (there), the peer has 192.168.2.0/24 (here) = 10.0.0.0/16 (there); both ends need the same pair, 0.0.0.0/0 = 0.0.0.0/0 for a route-based tunnel; Oracle's console: the tunnel's Routing type, which has to be BGP or static and not policy-based (routing)");
}

#[test]
fn a_peer_that_only_has_ikev1() {
    let bed = Bed::start(&SiteFile::reference(), |connection| {
        connection.extra.push("version = 1".to_owned());
    });
    insta::assert_snapshot!(bed.line("IKE_SA_INIT"), @"oci-1 with 198.51.100.1:500: IKE_SA_INIT: the peer refuses our IKE (phase 1) proposal aes256-sha1-modp2048 with NO_PROPOSAL_CHOSEN and does not say what it wants; compare with the peer's IKE (phase 1) settings; site file: ike (line 15); Oracle's console: the tunnel's Phase one (ISAKMP) configuration (phase-one-config), the tunnel's IKE version, which has to be IKEv2 (ike-version V2)");
}

#[test]
fn another_group_at_the_first_rekey() {
    let file = SiteFile::reference().add(
        "tunnel.oci-1",
        "esp = [\"aes256gcm16-ecp384\"]\npfs = \"strict\"",
    );
    let bed = Bed::up(&file, |connection| {
        "aes256gcm16-modp3072".clone_into(&mut connection.esp);
    });
    assert!(bed.gateway.command(&["tunnel", "oci-1", "rekey"]).ok());
    insta::assert_snapshot!(bed.line("CREATE_CHILD_SA"), @"oci-1 with 198.51.100.1:4500: CREATE_CHILD_SA: the peer refuses to rekey the CHILD_SA with NO_PROPOSAL_CHOSEN: the tunnel goes on until its CHILD_SA expires, and is then set up afresh. The ciphers were accepted before, so what it refuses is the Diffie-Hellman group (PFS); tried: ecp384. Put the peer's PFS group into esp, or let pfs permit what it wants, or set PFS there to one of ours; site file: esp (line 11), pfs (line 12); Oracle's console: the Perfect forward secrecy Diffie-Hellman group in the tunnel's Phase two (IPSec) configuration (pfs-dh-group)");
    assert_eq!(bed.gateway.tunnel("oci-1")["state"], "up");
    assert!(
        bed.gateway.problems().contains("(PFS)"),
        "it will not stay so"
    );
    assert_eq!(bed.swan.installed().len(), 1);
}

#[test]
fn another_group_when_the_peer_rekeys_first() {
    let file = SiteFile::reference().add(
        "tunnel.oci-1",
        "esp = [\"aes256gcm16-ecp384\"]\npfs = \"strict\"",
    );
    let bed = Bed::up(&file, |connection| {
        "aes256gcm16-modp3072".clone_into(&mut connection.esp);
    });
    assert!(bed.swan.rekey_child("cpe").ok());
    insta::assert_snapshot!(bed.line("CREATE_CHILD_SA"), @"oci-1 with 198.51.100.1:4500: CREATE_CHILD_SA: no common ESP (phase 2) proposal: we accept aes256gcm16-ecp384, the peer offers aes256gcm16-modp3072-noesn; nearest: group ecp384 here against modp3072 there; site file: esp (line 11); Oracle's console: the Perfect forward secrecy Diffie-Hellman group in the tunnel's Phase two (IPSec) configuration (pfs-dh-group)");
    assert_eq!(bed.gateway.tunnel("oci-1")["state"], "up");
}

#[test]
fn verifying_tells_what_was_agreed_and_that_packets_pass() {
    let bed = Bed::up(&SiteFile::reference(), |_| {});
    let verified = bed.gateway.command(&["tunnel", "oci-1", "verify"]);
    println!("{}{}", verified.stdout, verified.stderr);
    assert_eq!(verified.code, Some(0));
    let expected = "CHILD_SA  aes256gcm16 without a group of its own; now aes256gcm16 with ";
    assert!(verified.stdout.starts_with(expected), "{}", verified.stdout);
    assert!(
        verified
            .stdout
            .contains("IKE_SA    aes256-sha1-modp2048; now aes256-sha1-modp2048")
    );
    let report = bed.verify(0);
    assert_eq!(report["verified"], true, "{report}");
    assert!(report["child"]["before"]["group"].is_string(), "{report}");
    assert!(
        report["traffic"]["packets_in"].as_u64() > Some(0),
        "{report}"
    );
    assert!(
        report["traffic"]["packets_out"].as_u64() > Some(0),
        "{report}"
    );
    assert_eq!(bed.swan.installed().len(), 1);
}

#[test]
fn verifying_names_the_group_that_the_peer_wants_and_goes_on_with_it() {
    // Oracle's default, and the last in the profile's list.
    let bed = Bed::up(&SiteFile::reference(), |connection| {
        "aes256gcm16-modp1536".clone_into(&mut connection.esp);
    });
    let report = bed.verify(0);
    assert_eq!(report["child"]["after"]["group"], "modp1536", "{report}");
    assert_eq!(
        report["child"]["refusals"][0]["wanted"], "modp1536",
        "{report}"
    );
}

#[test]
fn verifying_fails_where_no_group_is_common_and_the_tunnel_stays() {
    let file = SiteFile::reference().add(
        "tunnel.oci-1",
        "esp = [\"aes256gcm16-ecp384\"]\npfs = \"strict\"",
    );
    let bed = Bed::up(&file, |connection| {
        "aes256gcm16-modp3072".clone_into(&mut connection.esp);
    });
    let report = bed.verify(1);
    assert_eq!(report["verified"], false, "{report}");
    let fields = &report["child"]["failure"]["fields"];
    assert_eq!(
        (&fields[0]["key"], &fields[0]["line"]),
        (&Value::from("esp"), &Value::from(11))
    );
    assert!(report["ike"]["after"].is_object(), "{report}");
    let said = bed.gateway.command(&["tunnel", "oci-1", "verify"]);
    println!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert_eq!(bed.gateway.tunnel("oci-1")["times_down"], 0);
    assert_eq!(bed.swan.installed().len(), 1);
}

#[test]
fn nothing_comes_back() {
    let site = ReferenceSite::new();
    let block = Disturbance::block(&site.internet, Hook::Forward, "udp dport 500");
    let bed = Bed::start_on(site, &SiteFile::reference(), |_| {});
    insta::assert_snapshot!(bed.line("IKE_SA_INIT"), @"oci-1 with 198.51.100.1:500: IKE_SA_INIT: no answer after N s (attempt N): is the address right, and are UDP 500 and 4500 open on the way? site file: remote (line 12); Oracle's console: the tunnel's Oracle VPN IP address (vpn-ip)");
    assert!(block.dropped() > 0);
}

#[test]
fn a_peer_that_falls_silent() {
    let file = SiteFile::reference().add(
        "tunnel.oci-1",
        "liveness = \"2s\"\nliveness-timeout = \"4s\"",
    );
    let mut bed = Bed::up(&file, |_| {});
    bed.swan.kill();
    insta::assert_snapshot!(bed.line("INFORMATIONAL"), @"oci-1 with 198.51.100.1:4500: INFORMATIONAL: no answer after N s (attempt N): is the address right, and are UDP 500 and 4500 open on the way? It was answered before, so the peer or the way to it is gone");
    let next = eventually(Scene::SOON * 2, "the peer is tried again", || {
        let tunnel = bed.gateway.tunnel("oci-1");
        let attempts = tunnel["attempts"].as_u64()?;
        (tunnel["state"] == "connecting" && attempts > 1).then_some(attempts)
    });
    println!("attempt {next}");
}

#[test]
fn port_4500_does_not_pass() {
    let site = ReferenceSite::new();
    let block = Disturbance::block(&site.internet, Hook::Forward, "udp dport 4500");
    let bed = Bed::start_on(site, &SiteFile::reference(), |_| {});
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"oci-1 with 198.51.100.1:4500: IKE_AUTH: no answer after N s (attempt N): is the address right, and are UDP 500 and 4500 open on the way? IKE_SA_INIT was answered, so the address is right and UDP 500 passes: it is UDP 4500 that does not");
    assert!(block.dropped() > 0);
}

#[test]
fn our_public_address_has_changed() {
    let bed = Bed::up(&SiteFile::reference(), |_| {});
    let wan = |words: &str| {
        let mut argv = vec!["ip"];
        argv.extend(words.split_whitespace());
        bed.site.gateway.exec(&argv);
    };
    wan("addr add 203.0.113.20/24 dev wan0");
    wan("addr del 203.0.113.10/24 dev wan0");
    wan("addr replace 203.0.113.20/24 dev wan0");
    wan("route replace default via 203.0.113.1");
    insta::assert_snapshot!(bed.line("IKE_SA_INIT"), @"oci-1 with 198.51.100.1:500: IKE_SA_INIT: the peer refuses our IKE (phase 1) proposal aes256-sha1-modp2048 with NO_PROPOSAL_CHOSEN and does not say what it wants; compare with the peer's IKE (phase 1) settings; we send from 203.0.113.20, and the peer knows this gateway as 203.0.113.10: its public address has changed; site file: address of [gateway] (line 7); Oracle's console: the CPE's public IP address (cpe-ip), which cannot be changed: for another one make a new CPE object and connection");
}

#[test]
fn a_peer_that_does_not_initiate_either() {
    let bed = Bed::start(&passive(), |_| {});
    let reason = eventually(Scene::SOON, "the reason says who waits for whom", || {
        let reason = bed.gateway.tunnel("oci-1")["reason"].as_str()?.to_owned();
        reason.contains("initiate").then_some(reason)
    });
    insta::assert_snapshot!(reason, @"waiting for 198.51.100.1 to initiate, because the site file says initiate = false; site file: initiate (line 11); Oracle's console: the tunnel's Oracle initiation (oracle-initiation)");
}

#[test]
fn another_suite_than_before() {
    let file = SiteFile::reference().add(
        "tunnel.oci-1",
        "esp = [\"aes256gcm16-ecp384\", \"aes128gcm16-ecp384\"]",
    );
    // Each side chooses by its own order when the other one asks.
    let bed = Bed::up(&file, |connection| {
        "aes128gcm16-ecp384,aes256gcm16-ecp384".clone_into(&mut connection.esp);
    });
    assert!(bed.swan.rekey_child("cpe").ok());
    insta::assert_snapshot!(bed.event("suite was"), @"oci-1: the ESP (phase 2) suite was aes128gcm16 and is aes256gcm16 now: both ends accept both, and which it is depends on who asks; leave one of them; site file: esp (line 11); Oracle's console: the tunnel's Phase two (IPSec) configuration (phase-two-config)");
}

#[test]
fn a_second_child_for_the_same_tunnel() {
    let another = "}\n again {\n mode = tunnel\n local_ts = 0.0.0.0/0\n remote_ts = 0.0.0.0/0\n esp_proposals = aes256gcm16-ecp384";
    let bed = Bed::up(&SiteFile::reference(), |connection| {
        connection.child_extra.push(another.to_owned());
    });
    let initiated = bed.swan.initiate("again");
    assert!(initiated.ok(), "{}{}", initiated.stdout, initiated.stderr);
    let text = bed.event("CHILD_SAs for this tunnel");
    let words: Vec<&str> = text
        .split(' ')
        .filter(|word| word.len() < 8 || !word.bytes().all(|b| b.is_ascii_hexdigit()))
        .collect();
    insta::assert_snapshot!(words.join(" "), @"oci-1: the peer and we had 2 CHILD_SAs for this tunnel; inbound SPI stays, ends");
    let tunnel = bed.gateway.tunnel("oci-1");
    let children = tunnel["children"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let carrying = children.iter().filter(|child| child["outbound"] == true);
    assert_eq!(
        (tunnel["state"].as_str(), carrying.count()),
        (Some("up"), 1),
        "{tunnel}"
    );
}
