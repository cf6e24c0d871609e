//! What IKE's keys are made from beside the pre-shared key and one Diffie-Hellman exchange, with strongSwan as the peer and between two of ours.

use lab::{
    Connection, DataPlane, Gateway, Launch, Net, Ns, Scene, StrongSwan, addresses as at,
    eventually, eventually_true, ping,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// The post-quantum pre-shared keys: their names and texts.
const PPK: [&str; 2] = ["k1", "4Qy8sVd2mN6xT0bR9wLk3zHc7uJf5eGa"];
const OTHER: &str = "9Lk3zHc7uJf5eGa4Qy8sVd2mN6xT0bRw";

/// Two hosts and the cable between them.
struct Cable {
    ns: [Ns; 2],
    _net: Net,
}

impl Cable {
    #[track_caller]
    fn new() -> Self {
        let net = Net::new();
        let ns = ["here", "there"].map(|name| net.ns(name));
        net.veth((&ns[0], "wan0", ""), (&ns[1], "wan0", ""));
        let ends = [at::GATEWAY, at::HEAD_ENDS[0]];
        for (ns, [address, peer]) in ns.iter().zip([ends, [ends[1], ends[0]]]) {
            let address = format!("{address}/32");
            ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
        }
        Self { ns, _net: net }
    }
}

/// A site with one tunnel, `t`, to the other end of the cable.
fn site(end: usize, tunnel: &str) -> Launch {
    let (address, remote) = match end {
        0 => (at::GATEWAY, at::HEAD_ENDS[0]),
        _ => (at::HEAD_ENDS[0], at::GATEWAY),
    };
    let inside = [at::INSIDE_OURS[0], at::INSIDE_THEIRS[0]][end];
    let text = format!(
        "[gateway]\nname = \"here\"\nwan = \"wan0\"\naddress = \"{address}\"\nnetworks = [\"192.168.2.0/24\"]\n\n\
         [tunnel.t]\nremote = \"{remote}\"\npsk = {{ file = \"{{dir}}/t.psk\" }}\ninside = \"{inside}/31\"\n{tunnel}\n\n\
         [daemon]\ndata-plane = \"userspace\"\nsocket = \"{{dir}}/control.sock\"\n"
    );
    Launch::new(CAUSEWAY, &text)
        .secret("t.psk", at::PSKS[0])
        .secret("t.ppk", PPK[1])
}

/// Our daemon at one end, strongSwan at the other.
struct Bed {
    gateway: Gateway,
    swan: StrongSwan,
    cable: Cable,
}

impl Bed {
    #[track_caller]
    fn start(tunnel: &str, change: impl FnOnce(&mut Connection)) -> Self {
        let cable = Cable::new();
        let mut connection = Connection::new("t", at::HEAD_ENDS[0], at::GATEWAY, at::PSKS[0]);
        "aes256-sha256-ecp256".clone_into(&mut connection.ike);
        "aes256gcm16-ecp256,aes256gcm16".clone_into(&mut connection.esp);
        change(&mut connection);
        let inside = format!("{}/31", at::INSIDE_THEIRS[0]);
        let swan = StrongSwan::start_on(
            DataPlane::Libipsec,
            &cable.ns[1],
            &[&inside],
            vec![connection],
        );
        let tunnel =
            format!("ike = [\"aes256-sha256-ecp256\"]\nesp = [\"aes256gcm16-ecp256\"]\n{tunnel}");
        let gateway = Gateway::start(&cable.ns[0], &site(0, &tunnel));
        Self {
            gateway,
            swan,
            cable,
        }
    }

    /// The same, up: strongSwan initiates where we do not.
    #[track_caller]
    fn up(tunnel: &str, change: impl FnOnce(&mut Connection)) -> Self {
        let bed = Self::start(tunnel, change);
        if tunnel.contains("initiate = false") {
            let said = bed.swan.initiate("t");
            assert!(said.ok(), "{}{}", said.stdout, said.stderr);
        }
        bed.carries();
        bed
    }

    #[track_caller]
    fn carries(&self) {
        self.gateway.wait_for_tunnels(&["t"], Scene::SOON);
        eventually_true(Scene::SOON, "packets pass", || {
            ping(&self.cable.ns[0], at::INSIDE_THEIRS[0], 1, &[]).all()
        });
    }

    /// Whether the PPK is in the keys, as each side says.
    #[track_caller]
    fn ppk(&self) -> [bool; 2] {
        let sas = self.swan.swanctl(&["--list-sas", "--raw"]).stdout;
        [
            self.gateway.tunnel("t")["ike"]["ppk"] == true,
            sas.contains("ppk=yes"),
        ]
    }

    /// The last failure, once it is about this exchange.
    #[track_caller]
    fn line(&self, exchange: &str) -> String {
        let line = eventually(Scene::SOON, format!("a failure of {exchange}"), || {
            let failure = self.gateway.tunnel("t")["last_failure"]["text"].clone();
            let text = failure.as_str()?.to_owned();
            text.contains(exchange).then_some(text)
        });
        println!("{line}");
        assert_ne!(self.gateway.tunnel("t")["state"], "up");
        line
    }

    #[track_caller]
    fn event(&self, words: &str) {
        eventually_true(Scene::SOON, format!("an event with {words:?}"), || {
            let status = self.gateway.status();
            let mut events = status["events"].as_array().into_iter().flatten();
            events.any(|event| {
                event["text"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
            })
        });
    }
}

/// Our `ppk`, with more keys of its table.
fn ours(more: &str) -> String {
    format!(
        "ppk = {{ id = \"{}\", file = \"{{dir}}/t.ppk\"{more} }}\n",
        PPK[0]
    )
}

/// strongSwan's.
fn theirs(text: &str, required: bool) -> impl FnOnce(&mut Connection) {
    let ppk = [PPK[0].to_owned(), text.to_owned()];
    move |connection| {
        connection.ppk = Some(ppk);
        let required = if required { "yes" } else { "no" };
        connection.extra.push(format!("ppk_required = {required}"));
    }
}

const PASSIVE: &str = "initiate = false\n";
const OPTIONAL: &str = ", required = false";

/// The group of the only child's own exchange, as each side says.
#[track_caller]
fn pfs(bed: &Bed) -> [bool; 2] {
    let children = bed.gateway.tunnel("t")["children"].clone();
    assert_eq!(children.as_array().map(Vec::len), Some(1), "{children}");
    let theirs = bed.swan.installed();
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    [
        children[0]["pfs"] == "ecp256",
        theirs[0].suite.contains("ECP_256"),
    ]
}

fn childless(how: &str) -> impl FnOnce(&mut Connection) {
    let line = format!("childless = {how}");
    move |connection| connection.extra.push(line)
}

const CHILDLESS: &str = "childless = true\n";

#[test]
fn the_first_child_has_pfs_where_the_peer_can_do_without_it_in_ike_auth() {
    let bed = Bed::up(CHILDLESS, childless("allow"));
    assert_eq!(pfs(&bed), [true, true]);
}

#[test]
fn a_peer_that_takes_no_child_in_ike_auth_gets_none() {
    let bed = Bed::up(CHILDLESS, childless("force"));
    assert_eq!(pfs(&bed), [true, true]);
}

#[test]
fn a_peer_that_wants_the_child_in_ike_auth_gets_it_there() {
    let bed = Bed::up(CHILDLESS, childless("never"));
    assert_eq!(pfs(&bed), [false, false]);
}

#[test]
fn a_peer_that_initiates_without_a_child_gets_one_afterwards() {
    let bed = Bed::up(PASSIVE, childless("force"));
    assert_eq!(pfs(&bed), [true, true]);
}

#[test]
fn a_first_child_whose_group_the_peer_refuses_is_named_at_once() {
    let bed = Bed::start(CHILDLESS, |connection| {
        "aes256gcm16-modp2048".clone_into(&mut connection.esp);
    });
    insta::assert_snapshot!(bed.line("CREATE_CHILD_SA"), @"t with 198.51.100.1:4500: CREATE_CHILD_SA: the peer refuses our ESP (phase 2) proposal aes256gcm16-ecp256 with NO_PROPOSAL_CHOSEN and does not say what it wants; compare with the peer's ESP (phase 2) settings; site file: esp (line 12)");
}

#[test]
fn a_ppk_and_a_first_child_of_its_own_go_together() {
    let bed = Bed::up(&(CHILDLESS.to_owned() + &ours("")), theirs(PPK[1], true));
    assert_eq!((bed.ppk(), pfs(&bed)), ([true, true], [true, true]));
}

#[test]
fn a_ppk_that_both_have_is_in_the_keys_and_stays_there() {
    let bed = Bed::up(&ours(""), theirs(PPK[1], true));
    assert_eq!(bed.ppk(), [true, true]);
    let number = bed.swan.list_sas()[0].unique_id;
    let rekeyed = bed.gateway.command(&["tunnel", "t", "rekey"]);
    assert!(rekeyed.ok(), "{}", rekeyed.stderr);
    eventually_true(Scene::SOON, "another IKE_SA", || {
        let sas = bed.swan.list_sas();
        sas.len() == 1 && sas[0].unique_id != number
    });
    bed.carries();
    assert!(bed.ppk()[0]);
    let shown = bed.gateway.log() + &bed.gateway.status().to_string();
    assert!(
        !shown.contains(PPK[1]),
        "the key is in the log or the status"
    );
    let status = bed.gateway.command(&["tunnels"]).stdout;
    assert!(status.contains("-ecp256 ppk initiator"), "{status}");
}

#[test]
fn a_ppk_that_a_strongswan_that_initiates_has_too_is_in_the_keys() {
    let bed = Bed::up(&(PASSIVE.to_owned() + &ours("")), theirs(PPK[1], true));
    assert_eq!(bed.ppk(), [true, true]);
}

#[test]
fn a_wrong_ppk_when_the_peer_refuses_us() {
    let bed = Bed::start(&ours(""), theirs(OTHER, true));
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"t with 198.51.100.1:4500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_IPV4_ADDR '203.0.113.10' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the post-quantum keys (PPK) do, or the peer's is not named 'k1', or the peer expects another ID of us; site file: psk (line 9), ppk (line 13), address of [gateway] (line 4)");
}

#[test]
fn a_wrong_ppk_when_we_refuse_the_peer() {
    let bed = Bed::start(&(PASSIVE.to_owned() + &ours("")), theirs(OTHER, true));
    bed.swan.initiate("t");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"t with 198.51.100.1:4500: IKE_AUTH: the peer's proof as ID_IPV4_ADDR '198.51.100.1' does not verify (we are ID_IPV4_ADDR '203.0.113.10'): the pre-shared keys differ, or the post-quantum keys (PPK) 'k1' do; site file: psk (line 9), ppk (line 14)");
}

#[test]
fn a_wrong_ppk_of_a_peer_that_would_do_without_is_told_from_a_wrong_psk() {
    let bed = Bed::start(&(PASSIVE.to_owned() + &ours("")), theirs(OTHER, false));
    bed.swan.initiate("t");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"t with 198.51.100.1:4500: IKE_AUTH: the post-quantum keys (PPK) 'k1' differ; the pre-shared keys are the same; site file: ppk (line 14)");
}

#[test]
fn a_required_ppk_that_the_peer_does_not_have() {
    let bed = Bed::start(&ours(""), |_| {});
    insta::assert_snapshot!(bed.line("IKE_SA_INIT"), @"t with 198.51.100.1:4500: IKE_SA_INIT: the peer uses no post-quantum key (PPK), we require ours, 'k1': give the peer the same, or let ours be optional; site file: ppk (line 13)");
}

#[test]
fn a_required_ppk_that_the_peer_that_initiates_does_not_have() {
    let bed = Bed::start(&(PASSIVE.to_owned() + &ours("")), |_| {});
    bed.swan.initiate("t");
    insta::assert_snapshot!(bed.line("IKE_AUTH"), @"t with 198.51.100.1:4500: IKE_AUTH: the peer uses no post-quantum key (PPK), we require ours, 'k1': give the peer the same, or let ours be optional; site file: ppk (line 14)");
}

#[test]
fn a_ppk_that_the_peer_requires_and_we_do_not_have() {
    let bed = Bed::start("", theirs(PPK[1], true));
    insta::assert_snapshot!(bed.line("IKE_"), @"t with 198.51.100.1:4500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_IPV4_ADDR '203.0.113.10' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the peer expects another ID of us; site file: psk (line 9), address of [gateway] (line 4)");
}

#[test]
fn an_optional_ppk_that_the_peer_does_not_have_is_not_used_and_an_event_says_so() {
    let bed = Bed::up(&ours(OPTIONAL), |_| {});
    assert_eq!(bed.ppk(), [false, false]);
    bed.event("the peer does not use the post-quantum key (PPK) 'k1'");
}

#[test]
fn an_optional_ppk_that_the_peer_that_initiates_does_not_have_is_not_used() {
    let bed = Bed::up(&(PASSIVE.to_owned() + &ours(OPTIONAL)), |_| {});
    assert_eq!(bed.ppk(), [false, false]);
}

#[test]
fn a_peers_optional_ppk_of_another_name_than_ours_is_not_used() {
    let named = |connection: &mut Connection| {
        connection.ppk = Some(["k2".to_owned(), OTHER.to_owned()]);
    };
    let bed = Bed::up(&(PASSIVE.to_owned() + &ours(OPTIONAL)), named);
    assert_eq!(bed.ppk(), [false, false]);
}
