//! A gateway whose peer has a name, with a resolver and a host that say what the test says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use config::{Source, Unseen};
use crypto::Secret;
use vti::nft::Alias;

use super::choose;
use crate::gateway::{Effect, Gateway, HostFacts, Inherited, Input, LocalPath};
use crate::plan::{Keys, Plan};

const NAME: &str = "vpn.example.net";

fn at(last: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, last])
}

fn site(remote: &str) -> Plan {
    let text = format!(
        "[gateway]\naddress = \"auto\"\n[tunnel.cloud]\nremote = \"{remote}\"\npsk = {{ env = \"UNUSED\" }}\ninside = \"10.1.0.0/31\"\n\
         [alias]\nfriends = {{ include = [\"peers\"] }}\n"
    );
    let loaded = config::load(&Source::new("site.toml", &text), &Unseen);
    let site = loaded
        .site
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let key = Secret::from_slice(b"a shared secret of some length");
    let keys = Keys::from([("cloud".to_owned(), key.into())]);
    Plan::of(&site, &keys).expect("the plan is made")
}

/// What the gateway has asked for since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Names to be looked up.
    names: Vec<String>,
    /// Where IKE messages go.
    sent: Vec<IpAddr>,
    /// The peers that the host is to be looked at for, as it was said last.
    watched: Option<Vec<IpAddr>>,
    /// What is in the firewall's aliases `peers` and `friends`, as it was said last.
    admitted: Option<[Vec<IpAddr>; 2]>,
}

struct Bed {
    now: Instant,
    gateway: Gateway,
}

impl Bed {
    fn new(remote: &str) -> Self {
        let now = Instant::now();
        let gateway = Gateway::new(now, site(remote), [1; 32], [2; 32], Inherited::default())
            .expect("the gateway starts");
        Self { now, gateway }
    }

    fn asked(&mut self) -> Asked {
        let mut asked = Asked::default();
        while let Some(effect) = self.gateway.poll_effect() {
            match effect {
                Effect::Resolve(name) => asked.names.push(name),
                Effect::Send(transmit) => asked.sent.push(transmit.remote.ip()),
                Effect::Watch(outline) => asked.watched = Some(outline.remotes.clone()),
                Effect::Firewall(Some(ruleset)) => {
                    let networks = |name: &str| match ruleset.aliases.get(name) {
                        Some(Alias::Networks(networks)) => {
                            networks.iter().map(|network| network.addr()).collect()
                        }
                        _ => Vec::new(),
                    };
                    asked.admitted = Some(["peers", "friends"].map(networks));
                }
                _ => {}
            }
        }
        asked.sent.dedup();
        asked
    }

    fn resolved(&mut self, outcome: Result<Vec<IpAddr>, String>) -> Asked {
        let name = NAME.to_owned();
        let input = Input::Resolved { name, outcome };
        self.gateway.handle(self.now, input);
        self.asked()
    }

    /// The host knows a way to these.
    fn reach(&mut self, remotes: &[IpAddr]) -> Asked {
        let path = || LocalPath {
            source: IpAddr::from([203, 0, 113, 10]),
            interface: "wan0".into(),
            mtu: 1500,
        };
        let paths: BTreeMap<_, _> = remotes.iter().map(|to| (*to, Ok(path()))).collect();
        let facts = HostFacts {
            paths,
            ..HostFacts::default()
        };
        self.gateway.handle(self.now, Input::Host(facts));
        self.asked()
    }

    fn pass(&mut self, span: Duration) -> Asked {
        self.now += span;
        self.gateway.handle(self.now, Input::Tick);
        self.asked()
    }

    fn reload(&mut self, remote: &str) -> Vec<String> {
        let plan = site(remote);
        self.gateway.reload(self.now, plan).expect("a good plan")
    }
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn addresses_are_taken_in_turn_and_kept_while_they_may_still_work() {
    let all = [at(1), at(2), at(3)];
    for (in_use, is_over, next) in [
        (None, false, at(1)),
        (Some(at(2)), false, at(2)),
        (Some(at(2)), true, at(3)),
        (Some(at(3)), true, at(1)),
        (Some(at(9)), false, at(1)),
        (Some(at(9)), true, at(1)),
    ] {
        assert_eq!(
            choose(&all, in_use, is_over),
            Some(next),
            "{in_use:?} {is_over}"
        );
    }
    assert_eq!(choose(&[at(1)], Some(at(1)), true), Some(at(1)));
    assert_eq!(choose(&[], None, false), None);
}

#[test]
fn ike_the_firewall_and_the_host_follow_the_address_in_use() {
    let mut bed = Bed::new(NAME);
    let asked = bed.asked();
    assert_eq!((asked.names, asked.sent), (vec![NAME.to_owned()], vec![]));
    assert_eq!(asked.admitted, Some([vec![], vec![]]));
    for turn in [1, 2, 1] {
        let asked = bed.resolved(Ok(vec![at(1), at(2)]));
        assert_eq!(asked.watched, Some(vec![at(turn)]));
        assert_eq!(asked.admitted, Some([vec![at(turn)], vec![at(turn)]]));
        assert_eq!(bed.reach(&[at(turn)]).sent, [at(turn)]);
        // Nobody answers there. The name is asked for again, once, whatever else happens meanwhile.
        let asked = bed.pass(secs(12));
        assert_eq!(asked.names, [NAME]);
        assert_eq!(bed.pass(secs(60)).names, Vec::<String>::new());
    }
}

#[test]
fn a_name_that_does_not_resolve_is_asked_for_ever_more_rarely() {
    let mut bed = Bed::new(NAME);
    bed.asked();
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        let asked = bed.resolved(Err("no such name".into()));
        assert_eq!((asked.names.len(), asked.sent.len()), (0, 0));
        assert!(
            bed.pass(secs(pause) - Duration::from_millis(1))
                .names
                .is_empty()
        );
        assert_eq!(bed.pass(Duration::from_millis(1)).names, [NAME]);
    }
    let tunnel = bed.gateway.tunnels.values().next().expect("the tunnel");
    let why = tunnel.why_down().expect("a reason");
    assert!(why.starts_with("cannot look vpn.example.net up: no such name; correct remote"));
}

#[test]
fn an_address_that_the_name_had_is_tried_on_when_the_resolver_is_silent() {
    let mut bed = Bed::new(NAME);
    bed.asked();
    bed.resolved(Ok(vec![at(1)]));
    bed.reach(&[at(1)]);
    bed.pass(secs(12));
    let asked = bed.resolved(Err("temporary failure".into()));
    assert_eq!(asked.watched, None);
    assert!(bed.pass(secs(1)).sent.iter().all(|to| *to == at(1)));
}

#[test]
fn a_reload_keeps_the_address_of_the_same_name_and_drops_that_of_another() {
    let mut bed = Bed::new(NAME);
    bed.asked();
    bed.resolved(Ok(vec![at(1)]));
    bed.reach(&[at(1)]);
    assert_eq!(bed.reload(NAME), Vec::<String>::new());
    let asked = bed.asked();
    assert!(asked.names.is_empty());
    assert_eq!(asked.watched, Some(vec![at(1)]));

    assert_eq!(bed.reload("other.example.net").len(), 2);
    let asked = bed.asked();
    assert_eq!(asked.names, ["other.example.net"]);
    assert_eq!(asked.watched, Some(vec![]));
    assert!(bed.pass(secs(1)).sent.is_empty());

    // The answer to what is asked no more changes nothing.
    assert_eq!(bed.resolved(Ok(vec![at(1)])).watched, None);

    bed.reload("198.51.100.7");
    bed.asked();
    assert_eq!(bed.reach(&[at(7)]).sent, [at(7)]);
    assert_eq!(bed.pass(secs(60)).names, Vec::<String>::new());
}
