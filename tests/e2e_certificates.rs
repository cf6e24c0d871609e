//! Certificates in place of pre-shared keys, with strongSwan as the peer: keys of every kind in both roles, and what is said of those that
//! do not do.

use lab::{
    Authority, Cloud, Connection, DataPlane, Gateway, Issued, KeyType, Launch, Net, Ns,
    OrFail as _, PeerCertificate, ReferenceSite, Scene, SiteFile, StrongSwan, addresses as at,
    eventually, eventually_true, ping,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const KINDS: [KeyType; 4] = [KeyType::Rsa, KeyType::P256, KeyType::P384, KeyType::Ed25519];

/// Our side's files.
struct Ours {
    own: Issued,
    ca: String,
    crl: Option<String>,
    /// More lines for the tunnel.
    lines: String,
}

impl Ours {
    fn new(own: Issued, ca: &str) -> Self {
        Self {
            own,
            ca: ca.to_owned(),
            crl: None,
            lines: String::new(),
        }
    }

    fn with(mut self, line: &str) -> Self {
        self.lines += line;
        self.lines += "\n";
        self
    }

    fn launch(&self) -> Launch {
        let crl = self.crl.as_ref().map_or("", |_| ", crl = \"{dir}/t.crl\"");
        let text = format!(
            "[gateway]\nname = \"here\"\nwan = \"wan0\"\naddress = \"{}\"\nnetworks = [\"192.168.2.0/24\"]\n\n\
             [tunnel.t]\nremote = \"{}\"\ninside = \"{}/31\"\n\
             certificate = {{ file = \"{{dir}}/t.crt\", key = {{ file = \"{{dir}}/t.key\" }}, ca = \"{{dir}}/ca.pem\"{crl} }}\n\
             ike = [\"aes256-sha256-ecp256\"]\nesp = [\"aes256gcm16-ecp256\"]\n{}\n\
             [daemon]\ndata-plane = \"userspace\"\nsocket = \"{{dir}}/control.sock\"\n",
            at::GATEWAY,
            at::HEAD_ENDS[0],
            at::INSIDE_OURS[0],
            self.lines
        );
        Launch::new(CAUSEWAY, &text)
            .secret("t.crt", &self.own.certificate)
            .secret("t.key", &self.own.key)
            .secret("ca.pem", &self.ca)
            .secret("t.crl", self.crl.as_deref().unwrap_or("none"))
    }
}

/// Our daemon at one end of a cable, strongSwan at the other.
struct Bed {
    gateway: Gateway,
    swan: StrongSwan,
    ns: [Ns; 2],
    _net: Net,
}

impl Bed {
    #[track_caller]
    fn start(ours: &Ours, theirs: PeerCertificate, change: impl FnOnce(&mut Connection)) -> Self {
        let net = Net::new();
        let ns = ["here", "there"].map(|name| net.ns(name));
        net.veth((&ns[0], "wan0", ""), (&ns[1], "wan0", ""));
        let ends = [at::GATEWAY, at::HEAD_ENDS[0]];
        for (ns, [address, peer]) in ns.iter().zip([ends, [ends[1], ends[0]]]) {
            let address = format!("{address}/32");
            ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
        }
        let mut connection = Connection::new("t", at::HEAD_ENDS[0], at::GATEWAY, "");
        "aes256-sha256-ecp256".clone_into(&mut connection.ike);
        "aes256gcm16-ecp256,aes256gcm16".clone_into(&mut connection.esp);
        connection.certificate = Some(theirs);
        change(&mut connection);
        let inside = format!("{}/31", at::INSIDE_THEIRS[0]);
        let swan = StrongSwan::start_on(DataPlane::Libipsec, &ns[1], &[&inside], vec![connection]);
        Self {
            gateway: Gateway::start(&ns[0], &ours.launch()),
            swan,
            ns,
            _net: net,
        }
    }

    #[track_caller]
    fn carries(&self) {
        self.gateway.wait_for_tunnels(&["t"], Scene::SOON);
        eventually_true(Scene::SOON, "packets pass", || {
            ping(&self.ns[0], at::INSIDE_THEIRS[0], 1, &[]).all()
        });
    }

    /// The last failure, and that the tunnel is not up.
    #[track_caller]
    fn line(&self) -> String {
        let line = eventually(Scene::SOON, "a failure of IKE_AUTH", || {
            let failure = self.gateway.tunnel("t")["last_failure"]["text"].clone();
            let text = failure.as_str()?.to_owned();
            text.contains("IKE_AUTH").then_some(text)
        });
        println!("{line}");
        assert_ne!(self.gateway.tunnel("t")["state"], "up");
        line
    }

    /// That the peer was told.
    #[track_caller]
    fn peer_was_refused(&self) {
        eventually_true(
            Scene::SOON,
            "strongSwan hears AUTHENTICATION_FAILED",
            || self.swan.log().contains("AUTH_FAILED"),
        );
    }
}

/// Both ends' certificates of one authority, with the addresses in them.
fn pair(authority: &Authority, kind: KeyType) -> (Ours, PeerCertificate) {
    let ours = authority.issue(kind, "home", &[at::GATEWAY, "home.example"]);
    let theirs = authority.issue(kind, "cloud", &[at::HEAD_ENDS[0], "cloud.example"]);
    (
        Ours::new(ours, &authority.certificate),
        PeerCertificate::new(&theirs, &authority.certificate),
    )
}

#[test]
fn keys_of_every_kind_authenticate_both_ends_when_we_initiate() {
    for kind in KINDS {
        let authority = Authority::new("root");
        let (ours, theirs) = pair(&authority, kind);
        let bed = Bed::start(&ours, theirs, |_| {});
        bed.carries();
        let ike = bed.gateway.tunnel("t")["ike"].clone();
        assert_eq!(
            ike["peer_certificate"]["subject"],
            "C=DE, O=Example, CN=cloud"
        );
        assert_eq!(ike["peer_certificate"]["issuer"], "C=DE, CN=root");
        assert_eq!(ike["peer_certificate"]["not_after"], "4090-01-01");
        let log = bed.swan.log();
        let signed = match kind {
            KeyType::Rsa => "RSA_EMSA_PSS_SHA2_256_SALT_32",
            KeyType::P256 => "ECDSA_WITH_SHA256_DER",
            KeyType::P384 => "ECDSA_WITH_SHA384_DER",
            KeyType::Ed25519 => "ED25519",
        };
        let ours = format!(
            "authentication of '{}' with {signed} successful",
            at::GATEWAY
        );
        assert!(log.contains(&ours), "{ours}\n{log}");
    }
}

#[test]
fn keys_of_every_kind_authenticate_both_ends_when_the_peer_initiates() {
    for kind in KINDS {
        let authority = Authority::new("root");
        let (ours, theirs) = pair(&authority, kind);
        let bed = Bed::start(&ours.with("initiate = false"), theirs, |_| {});
        let said = bed.swan.initiate("t");
        assert!(said.ok(), "{}{}", said.stdout, said.stderr);
        bed.carries();
    }
}

#[test]
fn an_rsa_peer_may_sign_by_pss() {
    let authority = Authority::new("root");
    let (ours, mut theirs) = pair(&authority, KeyType::Rsa);
    "rsa/pss-sha384".clone_into(&mut theirs.scheme);
    let bed = Bed::start(&ours, theirs, |_| {});
    bed.carries();
}

#[test]
fn an_ecdsa_peer_that_knows_no_rfc_7427_signs_as_in_rfc_4754() {
    let authority = Authority::new("root");
    for initiates in [true, false] {
        let (ours, theirs) = pair(&authority, KeyType::P256);
        let bed = Bed::start(
            &ours.with(&format!("initiate = {initiates}")),
            theirs,
            |c| {
                c.legacy_signatures = true;
            },
        );
        if !initiates {
            let said = bed.swan.initiate("t");
            assert!(said.ok(), "{}{}", said.stdout, said.stderr);
        }
        bed.carries();
        let log = bed.swan.log();
        assert!(log.contains("with ECDSA-256 signature successful"), "{log}");
    }
}

#[test]
fn an_rsa_peer_that_knows_no_rfc_7427_is_refused_with_the_reason() {
    let authority = Authority::new("root");
    let (ours, theirs) = pair(&authority, KeyType::Rsa);
    let bed = Bed::start(&ours, theirs, |c| c.legacy_signatures = true);
    let line = bed.line();
    assert!(
        line.contains("the peer knows no RFC 7427 signatures"),
        "{line}"
    );
    assert!(line.contains("certificate (line 10)"), "{line}");
}

#[test]
fn intermediate_authorities_are_sent_along_by_both_ends() {
    let root = Authority::new("root");
    let (here, there) = (root.below("issuer here"), root.below("issuer there"));
    let ours = here.issue(KeyType::P384, "home", &[at::GATEWAY]);
    let theirs = there.issue(KeyType::Rsa, "cloud", &[at::HEAD_ENDS[0]]);
    let bed = Bed::start(
        &Ours::new(ours, &root.certificate),
        PeerCertificate::new(&theirs, &root.certificate),
        |_| {},
    );
    bed.carries();
}

#[test]
fn ends_are_known_by_host_names_and_by_subjects() {
    let authority = Authority::new("root");
    let (ours, theirs) = pair(&authority, KeyType::P256);
    let ours = ours
        .with("local-id = \"home.example\"")
        .with("remote-id = \"C=DE, O=Example, CN=cloud\"");
    let bed = Bed::start(&ours, theirs, |c| {
        "home.example".clone_into(&mut c.remote_id);
        "C=DE, O=Example, CN=cloud".clone_into(&mut c.local_id);
    });
    bed.carries();
    let (ours, theirs) = pair(&authority, KeyType::Ed25519);
    let ours = ours
        .with("local-id = \"C=DE, O=example, CN=home\"")
        .with("remote-id = \"cloud.example\"");
    let bed = Bed::start(&ours.with("initiate = false"), theirs, |c| {
        "C=DE, O=Example, CN=home".clone_into(&mut c.remote_id);
        "cloud.example".clone_into(&mut c.local_id);
    });
    let said = bed.swan.initiate("t");
    assert!(said.ok(), "{}{}", said.stdout, said.stderr);
    bed.carries();
}

#[test]
fn a_peer_of_another_authority_is_refused_and_named() {
    let (authority, other) = (Authority::new("root"), Authority::new("stranger"));
    let (ours, _) = pair(&authority, KeyType::P256);
    let theirs = other.issue(KeyType::P256, "cloud", &[at::HEAD_ENDS[0]]);
    let trusted = format!("{}{}", other.certificate, authority.certificate);
    let bed = Bed::start(&ours, PeerCertificate::new(&theirs, &trusted), |c| {
        c.extra.push("send_cert = always".to_owned());
    });
    let line = bed.line();
    let said = "the peer's certificate of C=DE, O=Example, CN=cloud is refused: no authority of ours has issued it: \
                its issuer is C=DE, CN=stranger, we trust C=DE, CN=root; site file: certificate (line 10)";
    assert!(line.ends_with(said), "{line}");
    bed.peer_was_refused();
}

#[test]
fn a_peer_that_does_not_trust_our_authority_is_named_with_what_it_asks_for() {
    let (authority, other) = (Authority::new("root"), Authority::new("stranger"));
    let mut ours = authority
        .below("issuer here")
        .issue(KeyType::P256, "home", &[at::GATEWAY]);
    // With it in the chain we know whom the peer would have to ask for.
    ours.certificate += &authority.certificate;
    let theirs = other.issue(KeyType::P256, "cloud", &[at::HEAD_ENDS[0]]);
    let bed = Bed::start(
        &Ours::new(ours, &other.certificate),
        PeerCertificate::new(&theirs, &other.certificate),
        |_| {},
    );
    let line = bed.line();
    assert!(
        line.contains("the peer asks for certificates of other authorities than ours"),
        "{line}"
    );
}

#[test]
fn an_expired_certificate_is_refused_with_its_last_day() {
    let authority = Authority::new("root");
    let (ours, _) = pair(&authority, KeyType::P256);
    let theirs = authority.issue_until(KeyType::P256, "cloud", &[at::HEAD_ENDS[0]], 2020);
    let bed = Bed::start(
        &ours.with("initiate = false"),
        PeerCertificate::new(&theirs, &authority.certificate),
        |_| {},
    );
    let said = bed.swan.initiate("t");
    assert!(!said.ok(), "{}", said.stdout);
    let line = bed.line();
    assert!(
        line.contains("it has expired: it, or one above it, was valid until 2020-01-01"),
        "{line}"
    );
    bed.peer_was_refused();
}

#[test]
fn a_revoked_certificate_is_refused() {
    let authority = Authority::new("root");
    let (mut ours, theirs) = pair(&authority, KeyType::P384);
    ours.crl = Some(authority.revoke(&[&theirs.own]));
    let bed = Bed::start(&ours, theirs, |_| {});
    let line = bed.line();
    assert!(line.contains("has revoked it"), "{line}");
    bed.peer_was_refused();
}

#[test]
fn a_certificate_without_the_identity_that_the_peer_says_is_refused_with_both() {
    let authority = Authority::new("root");
    let (ours, _) = pair(&authority, KeyType::P256);
    let theirs = authority.issue(KeyType::P256, "cloud", &["cloud.example"]);
    let theirs = PeerCertificate::new(&theirs, &authority.certificate);
    let bed = Bed::start(&ours, theirs, |_| {});
    let line = bed.line();
    let said = format!(
        "the peer says it is ID_IPV4_ADDR '{}', and its certificate is about C=DE, O=Example, CN=cloud, also named cloud.example",
        at::HEAD_ENDS[0]
    );
    assert!(line.contains(&said), "{line}");
    assert!(line.contains("remote-id"), "{line}");
    bed.peer_was_refused();
}

#[test]
fn one_tunnel_has_a_pre_shared_key_and_the_other_certificates() {
    let authority = Authority::new("root");
    let ours = authority.issue(KeyType::P384, "home", &[at::GATEWAY]);
    let theirs = authority.issue(KeyType::Rsa, "cloud", &[at::HEAD_ENDS[1]]);
    let file = SiteFile::reference()
        .replace(
            "profile = \"oci\"\nremote = \"198.51.100.2\"\npsk = { file = \"{dir}/oci-2.psk\" }",
            "remote = \"198.51.100.2\"\ncertificate = { file = \"{dir}/home.crt\", key = { file = \"{dir}/home.key\" }, ca = \"{dir}/ca.pem\" }",
        )
        .add("bgp.neighbor.oci-2", "remote-asn = 31898");
    let site = ReferenceSite::new();
    let cloud = Cloud::start_with(&site, |index, connection| {
        if index == 1 {
            let certificate = PeerCertificate::new(&theirs, &authority.certificate);
            connection.certificate = Some(certificate);
        }
    });
    let launch = (file.launch(CAUSEWAY))
        .secret("home.crt", &ours.certificate)
        .secret("home.key", &ours.key)
        .secret("ca.pem", &authority.certificate);
    let gateway = Gateway::start(&site.gateway, &launch);
    let scene = Scene {
        gateway,
        cloud,
        site,
    };
    scene.wait_until_up();
    scene.assert_traffic(10);
    let certificate = |name| scene.gateway.tunnel(name)["ike"]["peer_certificate"].clone();
    assert!(certificate("oci-1").is_null());
    assert_eq!(certificate("oci-2")["issuer"], "C=DE, CN=root");
    let shown = scene.gateway.command(&["tunnels"]).stdout;
    assert!(
        shown.contains(
            "certificate of C=DE, O=Example, CN=cloud, issued by C=DE, CN=root, until 4090-01-01"
        ),
        "{shown}"
    );
}

#[test]
fn a_certificate_of_ours_that_ends_soon_is_a_problem_and_a_new_one_takes_its_place_without_a_loss()
{
    let authority = Authority::new("root");
    let (mut ours, theirs) = pair(&authority, KeyType::P256);
    let lasting = ours.own.clone();
    ours.own = authority.issue_for_days("home", &[at::GATEWAY], (-300, 20));
    let bed = Bed::start(&ours, theirs, |_| {});
    bed.carries();
    let problems = bed.gateway.status()["problems"].to_string();
    assert!(
        problems.contains("tunnel t: our certificate of C=DE, O=Example, CN=home ends on"),
        "{problems}"
    );
    let before = bed.gateway.tunnel("t")["ike"]["responder_spi"].clone();
    let dir = bed.ns[0].dir().join("causeway");
    for (name, text) in [("t.crt", &lasting.certificate), ("t.key", &lasting.key)] {
        std::fs::write(dir.join(name), text).or_fail("write a file of the test");
    }
    let said = bed.gateway.command(&["reload"]);
    assert!(said.ok(), "{}{}", said.stdout, said.stderr);
    let problems = bed.gateway.status()["problems"].to_string();
    assert!(!problems.contains("certificate"), "{problems}");
    assert_eq!(bed.gateway.tunnel("t")["ike"]["responder_spi"], before);
}

/// What `causeway check` says of a site with these files in place of good ones.
#[track_caller]
fn checked(
    net: &Net,
    name: &str,
    change: impl FnOnce(&mut Vec<(&str, String)>, &mut String),
) -> String {
    let authority = Authority::new("root");
    let own = authority.issue(KeyType::P256, "home", &["home.example"]);
    let mut files = vec![
        ("t.crt", own.certificate),
        ("t.key", own.key),
        ("ca.pem", authority.certificate.clone()),
        ("t.crl", authority.revoke(&[])),
    ];
    let mut lines = "local-id = \"home.example\"\n".to_owned();
    change(&mut files, &mut lines);
    let ns = net.ns(name);
    let dir = ns.dir().display().to_string();
    for (file, text) in &files {
        let path = ns.dir().join(file);
        std::fs::write(&path, text).or_fail("write a file of the test");
        ns.exec(&["chmod", "600", &path.display().to_string()]);
    }
    let text = format!(
        "[gateway]\naddress = \"{}\"\nnetworks = [\"192.168.2.0/24\"]\n\n[tunnel.t]\nremote = \"{}\"\ninside = \"10.1.0.0/31\"\n\
         certificate = {{ file = \"{dir}/t.crt\", key = {{ file = \"{dir}/t.key\" }}, ca = \"{dir}/ca.pem\", crl = \"{dir}/t.crl\" }}\n{lines}",
        at::GATEWAY,
        at::HEAD_ENDS[0],
    );
    let site = ns.dir().join("site.toml");
    std::fs::write(&site, text).or_fail("write a file of the test");
    let said = ns.try_exec(&[CAUSEWAY, "check", &site.display().to_string()]);
    let all = format!("{}{}", said.stdout, said.stderr);
    println!("{name}: {all}");
    let is_error = all.contains("error[CW0126]");
    assert_eq!(said.ok(), !is_error, "{all}");
    all.replace(&dir, "")
}

#[test]
fn check_names_each_thing_that_does_not_fit() {
    type Change = fn(&mut Vec<(&str, String)>, &mut String);
    let net = Net::new();
    let cases: [(&str, Change, &str); 12] = [
        ("good", |_, _| {}, "ok"),
        (
            "missing",
            |files, _| files.retain(|(name, _)| *name != "ca.pem"),
            "tunnel t: cannot read /ca.pem: No such file",
        ),
        (
            "text",
            |files, _| "no PEM".clone_into(&mut files[0].1),
            "tunnel t: /t.crt: holds no certificate (a PEM block",
        ),
        (
            "nokey",
            |files, _| files[1].1 = files[0].1.clone(),
            "tunnel t: the file /t.key holds no PEM block",
        ),
        (
            "otherkey",
            |files, _| {
                let other = Authority::new("root").issue(KeyType::P256, "home", &[]);
                files[1].1 = other.key;
            },
            "the ECDSA P-256 key is not the one in the certificate of C=DE, O=Example, CN=home",
        ),
        (
            "expired",
            |files, _| {
                let own =
                    Authority::new("root").issue_for_days("home", &["home.example"], (-30, -2));
                (files[0].1, files[1].1) = (own.certificate, own.key);
            },
            "the certificate of C=DE, O=Example, CN=home has expired on",
        ),
        (
            "early",
            |files, _| {
                let own = Authority::new("root").issue_for_days("home", &["home.example"], (2, 30));
                (files[0].1, files[1].1) = (own.certificate, own.key);
            },
            "the certificate of C=DE, O=Example, CN=home is not valid yet: it begins on",
        ),
        (
            "soon",
            |files, _| {
                let own =
                    Authority::new("root").issue_for_days("home", &["home.example"], (-2, 20));
                (files[0].1, files[1].1) = (own.certificate, own.key);
            },
            "warning[CW0127]: tunnel t: our certificate of C=DE, O=Example, CN=home ends on",
        ),
        (
            "nobody",
            |files, _| files[2].1.clear(),
            "tunnel t: /ca.pem holds no certificate",
        ),
        (
            "crl",
            |files, _| "no list".clone_into(&mut files[3].1),
            "tunnel t: /t.crl holds no revocation list",
        ),
        (
            "name",
            |_, lines| lines.clear(),
            "tunnel t: our ID, ID_IPV4_ADDR '203.0.113.10', is not in the certificate of C=DE, O=Example, CN=home",
        ),
        (
            "subject",
            |_, lines| *lines += "remote-id = \"CN=a,X\"\n",
            "tunnel t: \"CN=a,X\" is not the subject of a certificate",
        ),
    ];
    for (name, change, said) in cases {
        let all = checked(&net, name, change);
        assert!(all.contains(said), "{name}: expected {said:?} in\n{all}");
    }
}
