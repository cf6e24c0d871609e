//! Slow groups as a responder: the computation leaves the endpoint, and comes back late, in another order, or never.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ike::wire::{IkeSpi, Message, NotifyType, Payload};
use ike::{
    Command, Connection, ConnectionId, Encryption, Endpoint, EndpointConfig, EsnPolicy,
    EspProposal, Event, Group, IkeProposal, Integrity, Job, Prf, Secret, Transmit,
};

const RESPONDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn address(index: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, index).into()
}

fn connection(index: u8, local: IpAddr, remote: IpAddr, group: Group) -> Connection {
    let psk = Secret::from_slice(b"a shared secret of some length");
    let mut c = Connection::new(ConnectionId(index.into()), "t", local, remote, psk);
    c.ike = vec![IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha256,
        groups: vec![group],
        kems: Vec::new(),
    }];
    c.esp = vec![EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: vec![group],
        esn: EsnPolicy::Either,
    }];
    c
}

/// A responder whose slow groups leave, and initiators that it knows.
struct Bed {
    now: Instant,
    responder: Endpoint,
    initiators: Vec<Endpoint>,
}

impl Bed {
    fn new(initiators: u8, group: Group, job_limit: usize) -> Self {
        let now = Instant::now();
        let config = EndpointConfig {
            job_limit,
            ..EndpointConfig::default()
        };
        let mut responder = Endpoint::new(config, [1; 32]);
        let initiators = (0..initiators)
            .map(|index| {
                let mut theirs = connection(index, RESPONDER, address(index), group);
                theirs.initiate = false;
                responder.command(now, Command::Add(Box::new(theirs)));
                let mut endpoint = Endpoint::new(EndpointConfig::default(), [2 + index; 32]);
                let ours = connection(index, address(index), RESPONDER, group);
                endpoint.command(now, Command::Add(Box::new(ours)));
                endpoint
            })
            .collect();
        Self {
            now,
            responder,
            initiators,
        }
    }

    /// Carries datagrams until everybody is silent; gives the jobs that the responder has meanwhile.
    fn settle(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        loop {
            let mut idle = true;
            for endpoint in &mut self.initiators {
                while let Some(Transmit {
                    local,
                    remote,
                    payload,
                    ..
                }) = endpoint.poll_transmit()
                {
                    idle = false;
                    self.responder
                        .handle_datagram(self.now, remote, local, &payload);
                }
            }
            while let Some(job) = self.responder.poll_job() {
                jobs.push(job);
            }
            while let Some(transmit) = self.responder.poll_transmit() {
                idle = false;
                let to = |index: usize| transmit.remote.ip() == address(index as u8);
                let index = (0..self.initiators.len())
                    .find(|index| to(*index))
                    .unwrap_or_else(|| panic!("{transmit:?} is for none of them"));
                self.initiators[index].handle_datagram(
                    self.now,
                    transmit.remote,
                    transmit.local,
                    &transmit.payload,
                );
            }
            if idle {
                return jobs;
            }
        }
    }

    /// Lets time pass, and the initiators repeat what was not answered.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.responder.handle_timeout(self.now);
        for endpoint in &mut self.initiators {
            endpoint.handle_timeout(self.now);
        }
    }

    /// The connections that have come up at the responder.
    fn up(&mut self) -> Vec<u32> {
        let mut up = Vec::new();
        while let Some(event) = self.responder.poll_event() {
            if let Event::TunnelUp { connection } = event {
                up.push(connection.0);
            }
        }
        up
    }

    fn half_open(&self) -> usize {
        self.responder.status(self.now).half_open
    }
}

#[test]
fn a_slow_group_leaves_as_a_job_and_the_tunnel_comes_up_with_its_outcome() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let mut jobs = bed.settle();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].group(), Group::Modp2048);
    assert_eq!(bed.up(), [] as [u32; 0]);
    assert_eq!(bed.half_open(), 1, "it counts as half open");
    bed.responder.handle_outcome(bed.now, jobs.remove(0).run());
    assert!(bed.settle().is_empty());
    assert_eq!(bed.up(), [0]);
}

#[test]
fn a_quick_group_is_computed_at_once() {
    let mut bed = Bed::new(1, Group::Curve25519, 8);
    assert!(bed.settle().is_empty());
    assert_eq!(bed.up(), [0]);
}

#[test]
fn a_repeated_request_makes_no_second_job_and_is_answered_once() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let mut jobs = bed.settle();
    for _ in 0..3 {
        bed.wait(Duration::from_secs(1));
        jobs.extend(bed.settle());
    }
    assert_eq!(jobs.len(), 1);
    assert!(bed.responder.status(bed.now).counters.repeated_requests >= 3);
    bed.responder.handle_outcome(bed.now, jobs.remove(0).run());
    assert!(bed.settle().is_empty());
    assert_eq!(bed.up(), [0]);
    assert_eq!(
        bed.responder.status(bed.now).connections[0].ike_sas.len(),
        1
    );
}

#[test]
fn outcomes_may_come_in_any_order_and_late() {
    let mut bed = Bed::new(4, Group::Modp2048, 8);
    let mut jobs = bed.settle();
    assert_eq!(jobs.len(), 4);
    jobs.reverse();
    let mut up = Vec::new();
    for job in jobs {
        bed.wait(Duration::from_secs(1));
        bed.responder.handle_outcome(bed.now, job.run());
        assert!(bed.settle().is_empty());
        up.extend(bed.up());
    }
    assert_eq!(up, [3, 2, 1, 0]);
}

#[test]
fn a_job_whose_outcome_never_comes_is_given_up_and_the_peers_next_try_makes_another() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let lost = bed.settle();
    assert_eq!(lost.len(), 1);
    bed.wait(Duration::from_secs(31));
    assert_eq!(bed.half_open(), 0);
    // The initiator has begun anew or repeats itself: either way it is heard.
    let mut jobs = bed.settle();
    assert_eq!(jobs.len(), 1);
    for late in lost {
        bed.responder.handle_outcome(bed.now, late.run());
    }
    assert!(bed.settle().is_empty());
    assert_eq!(bed.up(), [] as [u32; 0], "what is too late does nothing");
    bed.responder.handle_outcome(bed.now, jobs.remove(0).run());
    bed.settle();
    assert_eq!(bed.up(), [0]);
}

#[test]
fn no_more_jobs_leave_than_are_allowed_and_what_is_dropped_comes_again() {
    let mut bed = Bed::new(5, Group::Modp2048, 2);
    let mut jobs = bed.settle();
    assert_eq!(jobs.len(), 2);
    assert_eq!(bed.responder.status(bed.now).counters.half_open_limit, 3);
    let mut up = Vec::new();
    for _ in 0..20 {
        for job in std::mem::take(&mut jobs) {
            bed.responder.handle_outcome(bed.now, job.run());
        }
        jobs.extend(bed.settle());
        up.extend(bed.up());
        bed.wait(Duration::from_secs(1));
        jobs.extend(bed.settle());
        assert!(jobs.len() <= 2);
    }
    up.sort_unstable();
    assert_eq!(up, [0, 1, 2, 3, 4]);
}

#[test]
fn a_connection_that_goes_meanwhile_is_not_answered() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let mut jobs = bed.settle();
    bed.responder
        .command(bed.now, Command::Remove(ConnectionId(0)));
    bed.responder.handle_outcome(bed.now, jobs.remove(0).run());
    assert!(bed.responder.poll_transmit().is_none());
    assert_eq!(bed.half_open(), 0);
}

#[test]
fn a_connection_that_wants_another_group_meanwhile_is_met_by_the_next_try() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let mut jobs = bed.settle();
    let mut both = connection(0, RESPONDER, address(0), Group::Ecp384);
    both.initiate = false;
    bed.responder
        .command(bed.now, Command::Replace(Box::new(both)));
    bed.responder.handle_outcome(bed.now, jobs.remove(0).run());
    let answer = bed.responder.poll_transmit().unwrap();
    assert_eq!(
        notify(&answer.payload),
        Some(NotifyType::NO_PROPOSAL_CHOSEN)
    );
    assert_eq!(bed.half_open(), 0);
}

#[test]
fn a_public_value_that_is_none_is_refused_when_that_is_known() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let sent = bed.initiators[0].poll_transmit().unwrap();
    let mut message = Message::decode(&sent.payload).unwrap();
    message.header.spi_i = IkeSpi([7; 8]);
    for payload in &mut message.payloads {
        if let Payload::Ke(ke) = payload {
            // One gives away the shared secret (RFC 6989 section 2.1).
            ke.data.fill(0);
            *ke.data.last_mut().unwrap() = 1;
        }
    }
    let from = |ip: IpAddr| SocketAddr::new(ip, 500);
    bed.responder.handle_datagram(
        bed.now,
        from(RESPONDER),
        from(address(0)),
        &message.encode(),
    );
    let job = bed.responder.poll_job().unwrap();
    bed.responder.handle_outcome(bed.now, job.run());
    let answer = bed.responder.poll_transmit().unwrap();
    assert_eq!(notify(&answer.payload), Some(NotifyType::INVALID_SYNTAX));
    assert_eq!(bed.half_open(), 0);
}

#[test]
fn who_stops_answers_nobody_any_more() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let mut jobs = bed.settle();
    bed.responder.command(bed.now, Command::Shutdown);
    assert!(bed.responder.is_idle());
    bed.responder.handle_outcome(bed.now, jobs.remove(0).run());
    assert!(bed.responder.poll_transmit().is_none());
}

#[test]
fn what_a_job_has_of_secrets_is_not_printed() {
    let mut bed = Bed::new(1, Group::Modp2048, 8);
    let job = bed.settle().remove(0);
    assert_eq!(format!("{job:?}"), "Job(1, modp2048)");
    assert_eq!(format!("{:?}", job.run()), "Outcome(1)");
}

fn notify(bytes: &[u8]) -> Option<NotifyType> {
    let message = Message::decode(bytes).ok()?;
    message
        .payloads
        .into_iter()
        .find_map(|payload| match payload {
            Payload::Notify(notify) if notify.kind.is_error() => Some(notify.kind),
            _ => None,
        })
}
