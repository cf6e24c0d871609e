//! The gateway against an IKE endpoint in memory, on a virtual clock, with a data plane that does what the test says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use config::{Source, Unseen};
use crypto::Secret;
use ike::{DownReason, Event};
use vti::host::Report;
use vti::op::Op;
use vti::plane::{Direction, PlaneEvent, TunnelId};

use super::{Effect, Gateway, HostFacts, Inherited, Input, LocalPath, PlaneChange, Refused};
use crate::plan::{Keys, Plan};

mod verify;

const OURS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const CLOUD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const TUNNEL: TunnelId = TunnelId(1);

fn site(more: &str) -> Plan {
    let text = format!(
        r#"
[gateway]
address = "{OURS}"
networks = ["192.168.2.0/24"]

[tunnel.cloud]
remote = "{CLOUD}"
psk = {{ env = "UNUSED" }}
inside = "10.1.0.0/31"
ike = ["aes256-sha256-x25519"]
esp = ["aes256gcm16-x25519"]
{more}
[bgp]
asn = 65000

[bgp.neighbor.cloud]
tunnel = "cloud"
remote-asn = 65001
import = "none"
export = "none"
"#
    );
    let loaded = config::load(&Source::new("site.toml", &text), &Unseen);
    let site = loaded
        .site
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let keys = Keys::from([("cloud".to_owned(), key().into())]);
    Plan::of(&site, &keys).expect("the plan is made")
}

fn key() -> Secret {
    Secret::from_slice(b"a shared secret of some length")
}

/// Both ends and what is between them.
struct Bed {
    now: Instant,
    gateway: Gateway,
    cloud: ike::Endpoint,
    /// The cloud's connection with us.
    theirs: ike::Connection,
    /// What the data plane does not take.
    refuses: Vec<Refused>,
    /// What it was asked to take, refused or not.
    asked: Vec<Refused>,
    /// Whether it has the tunnel.
    has: bool,
    /// Inbound and outbound SPI of the SAs in the data plane.
    inbound: Vec<u32>,
    outbound: Option<u32>,
    /// After which time each would be ended without us.
    outlived: Vec<Option<Duration>>,
    /// What the cloud's endpoint said.
    heard: Vec<Event>,
    /// How many datagrams we sent.
    sent: usize,
    /// The cloud hears nothing of us.
    is_deaf: bool,
    /// Packets go out, and none come back.
    swallows: bool,
    /// What the tunnel has carried: in, out. It grows with each look.
    carried: (u64, u64),
    /// What verifying has shown.
    reports: Vec<serde_json::Value>,
}

impl Bed {
    fn new(more: &str, refuses: &[Refused]) -> Self {
        Self::with(more, refuses, |_, _| {})
    }

    /// The same, with a change to our connection and to the cloud's.
    fn with(
        more: &str,
        refuses: &[Refused],
        change: impl FnOnce(&mut ike::Connection, &mut ike::Connection),
    ) -> Self {
        let now = Instant::now();
        let mut plan = site(more);
        let ours = plan.tunnels[0].connection.clone();
        let mut theirs = ours.clone();
        theirs.local = CLOUD.into();
        theirs.remote = OURS.into();
        theirs.local_id = ours.remote_id.clone();
        theirs.remote_id = ours.local_id.clone();
        theirs.initiate = !ours.initiate;
        change(&mut plan.tunnels[0].connection, &mut theirs);
        let gateway = Gateway::new(now, plan, [1; 32], [2; 32], Inherited::default())
            .expect("the gateway starts");
        let mut cloud = ike::Endpoint::new(ike::EndpointConfig::default(), [3; 32]);
        cloud.command(now, ike::Command::Add(Box::new(theirs.clone())));
        let mut bed = Self {
            now,
            gateway,
            cloud,
            theirs,
            refuses: refuses.to_vec(),
            asked: Vec::new(),
            has: false,
            inbound: Vec::new(),
            outbound: None,
            outlived: Vec::new(),
            heard: Vec::new(),
            sent: 0,
            is_deaf: false,
            swallows: false,
            carried: (0, 0),
            reports: Vec::new(),
        };
        bed.carry();
        bed.reach(true);
        bed
    }

    /// The way to the cloud is there, or not.
    fn reach(&mut self, there: bool) {
        let path = if there {
            Ok(LocalPath {
                source: OURS.into(),
                interface: "wan0".into(),
                mtu: 1500,
            })
        } else {
            Err(format!("no route to {CLOUD}"))
        };
        let links = [("wan0".to_owned(), true), ("cw-cloud".to_owned(), true)];
        let facts = HostFacts {
            paths: BTreeMap::from([(IpAddr::from(CLOUD), path)]),
            links: links.into(),
            ..HostFacts::default()
        };
        self.tell(Input::Host(facts));
    }

    fn tell(&mut self, input: Input) {
        self.gateway.handle(self.now, input);
        self.carry();
    }

    /// Carries out what both sides want until they are quiet.
    fn carry(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(effect) = self.gateway.poll_effect() {
                quiet = false;
                match effect {
                    Effect::Send(transmit) => {
                        self.sent += 1;
                        let (from, to) = (transmit.local, transmit.remote);
                        if !self.is_deaf {
                            self.cloud
                                .handle_datagram(self.now, to, from, &transmit.payload);
                        }
                    }
                    Effect::Count(tunnel) => {
                        let (packets_in, packets_out) = &mut self.carried;
                        *packets_in += u64::from(!self.swallows);
                        *packets_out += 1;
                        let carried = Input::Carried {
                            tunnel,
                            packets_in: *packets_in,
                            packets_out: *packets_out,
                        };
                        self.gateway.handle(self.now, carried);
                    }
                    Effect::Verified(_, report) => self.reports.push(report),
                    Effect::Plane(change) => self.change_plane(change),
                    Effect::Compute(job) => {
                        self.gateway.handle(self.now, Input::Computed(job.run()));
                    }
                    _ => {}
                }
            }
            while let Some(transmit) = self.cloud.poll_transmit() {
                quiet = false;
                self.gateway.handle(
                    self.now,
                    Input::Plane(PlaneEvent::IkeDatagram {
                        local: transmit.remote,
                        remote: transmit.local,
                        payload: transmit.payload,
                    }),
                );
            }
            self.heard
                .extend(std::iter::from_fn(|| self.cloud.poll_event()));
            if quiet {
                return;
            }
        }
    }

    fn change_plane(&mut self, change: PlaneChange) {
        let what = match &change {
            PlaneChange::AddTunnel(_) => Refused::Tunnel,
            PlaneChange::AddInbound(..) | PlaneChange::SetOutbound(..) => Refused::Sa,
            PlaneChange::UpdatePath(..) => Refused::Path,
            PlaneChange::RemoveTunnel(_)
            | PlaneChange::RemoveInbound(..)
            | PlaneChange::ClearOutbound(_) => Refused::Removal,
        };
        self.asked.push(what);
        let exists = self.has && what == Refused::Tunnel;
        if exists || self.refuses.contains(&what) {
            let reason = match exists {
                true => "tunnel 1 exists already",
                false => "cannot add an SA: Operation not permitted",
            };
            let reason = reason.to_owned();
            let refused = Input::PlaneRefused {
                tunnel: TUNNEL,
                what,
                reason,
            };
            self.gateway.handle(self.now, refused);
            return;
        }
        if let PlaneChange::AddInbound(_, sa) | PlaneChange::SetOutbound(_, sa) = &change {
            self.outlived.push(sa.outlived);
        }
        match change {
            PlaneChange::AddTunnel(_) => self.has = true,
            PlaneChange::RemoveTunnel(_) => self.has = false,
            PlaneChange::AddInbound(_, sa) => self.inbound.push(sa.spi),
            PlaneChange::SetOutbound(_, sa) => self.outbound = Some(sa.spi),
            PlaneChange::RemoveInbound(_, spi) => self.inbound.retain(|one| *one != spi),
            PlaneChange::ClearOutbound(_) => self.outbound = None,
            _ => {}
        }
    }

    /// Lets time go by, event by event.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = [self.gateway.poll_timeout(), self.cloud.poll_timeout()];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            // A deadline that has come is answered in the same instant, so time has to move by itself.
            self.now = next.max(self.now + Duration::from_millis(1)).min(end);
            self.cloud.handle_timeout(self.now);
            self.tell(Input::Tick);
            if self.now >= end {
                return;
            }
        }
    }

    fn is_up(&self) -> bool {
        self.gateway.tunnels[&TUNNEL.0].is_up()
    }

    fn why(&self) -> &str {
        self.gateway.tunnels[&TUNNEL.0].why_down().unwrap_or("")
    }

    /// What the cloud heard of us that is a failure of negotiation.
    fn failures(&self) -> Vec<&Event> {
        let is_failure = |event: &&Event| match event {
            Event::Failure(_) => true,
            Event::TunnelDown { reason, .. } | Event::IkeDown { reason, .. } => {
                matches!(reason, DownReason::Refused(_) | DownReason::NoAnswer)
            }
            _ => false,
        };
        self.heard.iter().filter(is_failure).collect()
    }

    fn was_deleted(&self) -> usize {
        let deleted = |event: &&Event| {
            matches!(
                event,
                Event::TunnelDown {
                    reason: DownReason::DeletedByPeer,
                    ..
                }
            )
        };
        self.heard.iter().filter(deleted).count()
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_tunnel_comes_up() {
    let bed = Bed::new("", &[]);
    assert!(bed.is_up(), "{}", bed.why());
    assert_eq!((bed.inbound.len(), bed.outbound.is_some()), (1, true));
}

#[test]
fn a_peer_whose_sa_our_plane_refuses_is_told_of_a_deletion_and_of_nothing_else() {
    let mut bed = Bed::new("", &[Refused::Sa]);
    assert!(!bed.is_up());
    assert_eq!(bed.failures(), Vec::<&Event>::new());
    assert_eq!(bed.was_deleted(), 1);
    assert_eq!(
        bed.why(),
        "the data plane refuses: cannot add an SA: Operation not permitted"
    );
    bed.pass(secs(300));
    let tries = bed.was_deleted();
    // After 2, 4, 8, 16, 32 s, then every 60 s.
    assert!((7..=10).contains(&tries), "{tries} attempts in 300 s");
    assert_eq!(bed.failures(), Vec::<&Event>::new());
    assert!(bed.inbound.is_empty() && bed.outbound.is_none());
    bed.refuses.clear();
    bed.pass(secs(61));
    assert!(bed.is_up(), "{}", bed.why());
}

#[test]
fn a_peer_that_initiates_is_not_told_of_our_troubles_either() {
    let mut bed = Bed::new("initiate = false\n", &[Refused::Sa]);
    bed.pass(secs(20));
    assert!(!bed.is_up());
    assert!(bed.was_deleted() >= 1, "{:?}", bed.heard);
    // While we are silent it hears no answer, which is true.
    let others = bed.failures().into_iter().filter(|event| match event {
        Event::Failure(diagnosis) => !matches!(diagnosis.cause, ike::Cause::NoAnswer { .. }),
        _ => true,
    });
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&Event>::new());
    bed.refuses.clear();
    bed.pass(secs(90));
    assert!(bed.is_up(), "{}", bed.why());
}

#[test]
fn nothing_is_negotiated_for_an_interface_that_the_plane_refuses() {
    let mut bed = Bed::new("", &[Refused::Tunnel]);
    bed.pass(secs(30));
    assert_eq!((bed.sent, bed.is_up()), (0, false));
    let asked = |bed: &Bed| {
        bed.asked
            .iter()
            .filter(|one| **one == Refused::Tunnel)
            .count()
    };
    // At once, then after 2, 4, 8 and 16 s.
    assert_eq!(asked(&bed), 5, "{:?}", bed.asked);
    bed.refuses.clear();
    bed.pass(secs(40));
    assert_eq!(asked(&bed), 6);
    assert!(bed.is_up(), "{}", bed.why());
}

#[test]
fn an_interface_whose_name_was_another_planes_is_made_once_when_that_is_gone() {
    let mut bed = Bed::new("", &[Refused::Tunnel]);
    bed.refuses.clear();
    let dev = "cw-cloud".parse().expect("a name of an interface");
    let report = Report {
        applied: vec![Op::DelLink { dev }],
        ..Report::default()
    };
    bed.tell(Input::Reconciled(Ok(report)));
    assert!(bed.is_up(), "{}", bed.why());
    bed.pass(secs(60));
    assert!(bed.is_up(), "{}", bed.why());
    let asked = bed.asked.iter().filter(|one| **one == Refused::Tunnel);
    assert_eq!(asked.count(), 2, "{:?}", bed.asked);
}

#[test]
fn a_tunnel_that_is_held_down_by_hand_stays_down_when_its_plane_can_again() {
    let mut bed = Bed::new("", &[Refused::Sa]);
    let down = crate::control::TunnelCommand::Down;
    assert!(bed.gateway.tunnel(bed.now, "cloud", down).is_ok());
    bed.refuses.clear();
    bed.pass(secs(120));
    assert!(!bed.is_up());
    let up = crate::control::TunnelCommand::Up;
    assert!(bed.gateway.tunnel(bed.now, "cloud", up).is_ok());
    bed.pass(secs(1));
    assert!(bed.is_up(), "{}", bed.why());
}

#[test]
fn a_tunnel_that_lost_an_sa_is_down_until_ike_has_replaced_it() {
    for direction in [Direction::Inbound, Direction::Outbound] {
        let mut bed = Bed::new("", &[]);
        let before = (bed.inbound[0], bed.outbound);
        let spi = match direction {
            Direction::Inbound => bed.inbound[0],
            Direction::Outbound => bed.outbound.unwrap_or_default(),
        };
        let lost = PlaneEvent::SaLost {
            tunnel: TUNNEL,
            spi,
            direction,
        };
        bed.gateway.handle(bed.now, Input::Plane(lost));
        assert!(!bed.is_up(), "packets do not pass now");
        assert!(bed.why().contains("somebody deleted its"), "{}", bed.why());
        bed.carry();
        assert!(bed.is_up(), "{}", bed.why());
        assert_ne!(before, (bed.inbound[0], bed.outbound));
        assert_eq!(bed.was_deleted(), 0, "the IKE_SA lives on");
        assert_eq!(bed.gateway.tunnels[&TUNNEL.0].downs, 1);
        assert_eq!(bed.gateway.tunnels[&TUNNEL.0].lost_sas, 1);
    }
}

#[test]
fn a_policy_that_was_put_back_is_told_and_counted_and_takes_nothing_down() {
    let mut bed = Bed::new("", &[]);
    for _ in 0..2 {
        let restored = PlaneEvent::PolicyRestored { tunnel: TUNNEL };
        bed.tell(Input::Plane(restored));
    }
    assert!(bed.is_up());
    let tunnel = &bed.gateway.tunnels[&TUNNEL.0];
    assert_eq!((tunnel.restored_policies, tunnel.downs), (2, 0));
    let told: Vec<_> = bed.gateway.journal.newest().collect();
    let (_, last) = told.first().expect("it is in the journal");
    assert!(last.contains("put back, 2 times so far"), "{last}");
}

#[test]
fn the_kernel_may_end_an_sa_when_ike_would_have_done_it_before() {
    let bed = Bed::new("child-lifetime = \"20m\"\n", &[]);
    assert_eq!(bed.outlived, [Some(secs(1260)); 2]);
}

#[test]
fn an_sa_that_nothing_needs_any_more_may_go() {
    let mut bed = Bed::new("", &[]);
    let old = bed.inbound[0];
    bed.gateway.handle(
        bed.now,
        Input::Plane(PlaneEvent::SoftLimit {
            tunnel: TUNNEL,
            spi: old,
            direction: Direction::Inbound,
        }),
    );
    bed.carry();
    assert_ne!(bed.inbound.last(), Some(&old), "it was rekeyed");
    let lost = PlaneEvent::SaLost {
        tunnel: TUNNEL,
        spi: old,
        direction: Direction::Inbound,
    };
    bed.tell(Input::Plane(lost));
    assert!(bed.is_up());
    assert_eq!(bed.gateway.tunnels[&TUNNEL.0].downs, 0);
}

#[test]
fn everything_is_negotiated_anew_where_a_lost_sa_gets_no_successor() {
    let mut bed = Bed::new("", &[]);
    // The cloud forgets everything, so its IKE_SA cannot rekey.
    bed.cloud = ike::Endpoint::new(ike::EndpointConfig::default(), [4; 32]);
    let mut theirs = site("").tunnels[0].connection.clone();
    (theirs.local, theirs.remote) = (CLOUD.into(), OURS.into());
    std::mem::swap(&mut theirs.local_id, &mut theirs.remote_id);
    theirs.initiate = false;
    bed.cloud
        .command(bed.now, ike::Command::Add(Box::new(theirs)));
    let lost = PlaneEvent::SaLost {
        tunnel: TUNNEL,
        spi: bed.outbound.unwrap_or_default(),
        direction: Direction::Outbound,
    };
    bed.tell(Input::Plane(lost));
    assert!(!bed.is_up());
    bed.pass(secs(60));
    assert!(bed.is_up(), "{}", bed.why());
}

#[test]
fn a_lost_way_is_said_and_takes_nothing_down_by_itself() {
    let mut bed = Bed::new("", &[]);
    bed.reach(false);
    assert!(bed.is_up());
    assert_eq!(bed.why(), "");
    let down = crate::control::TunnelCommand::Down;
    assert!(bed.gateway.tunnel(bed.now, "cloud", down).is_ok());
    bed.pass(secs(1));
    assert_eq!(bed.why(), format!("no route to {CLOUD}"));
    bed.reach(true);
    assert!(!bed.why().contains("no route"), "{}", bed.why());
}
