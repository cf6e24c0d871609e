//! Numbered flows: datagrams that are echoed, each one accounted for, so that an outage can be measured from both ends.
//!
//! Several flows with ports of their own run beside each other, because ECMP decides for each of them which tunnel it takes,
//! there and back. An echo is missing whichever way has failed.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vti::netns::NetNs;

use crate::demo::problem::Problem;

/// How many flows run beside each other.
pub(in crate::demo) const FLOWS: usize = 16;
/// How often each of them sends.
const PACE: Duration = Duration::from_millis(20);
/// Later than this an echo counts as lost.
const LATEST: Duration = Duration::from_millis(500);

/// Flows under way. They end when this is dropped.
pub(in crate::demo) struct Flow {
    probes: Arc<Mutex<Vec<Probe>>>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A datagram.
#[derive(Clone, Copy, Debug)]
struct Probe {
    flow: usize,
    sent: Instant,
    answered: Option<Instant>,
}

/// What happened to the datagrams of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::demo) struct Losses {
    /// Datagrams sent.
    pub(in crate::demo) sent: usize,
    /// Datagrams without an echo.
    pub(in crate::demo) lost: usize,
    /// Flows that lost any.
    pub(in crate::demo) hurt: usize,
    /// From the span's beginning to the first datagram after the last lost one, of the flow that took longest.
    pub(in crate::demo) recovery: Duration,
}

impl Flow {
    /// Starts flows from one namespace to an address in another.
    ///
    /// # Errors
    /// A socket or a thread can't be had.
    pub(in crate::demo) fn start(
        from: &NetNs,
        (to, address): (&NetNs, Ipv4Addr),
    ) -> Result<Self, Problem> {
        let failed = |doing: &str| Problem::system(format!("{doing} {address}"));
        let echo = to.run(|| {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        })?;
        let echo: UdpSocket = echo.map_err(failed("listen on"))?;
        let target = echo.local_addr().map_err(failed("listen on"))?;
        let open = || {
            let one = |_| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect(target)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            (0..FLOWS).map(one).collect()
        };
        let sockets: std::io::Result<Vec<UdpSocket>> = from.run(open)?;
        let sockets = sockets.map_err(failed("open flows to"))?;
        let mut flow = Self {
            probes: Arc::default(),
            end: Arc::default(),
            threads: Vec::new(),
        };
        let (probes, end) = (Arc::clone(&flow.probes), Arc::clone(&flow.end));
        let ended = Arc::clone(&flow.end);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        flow.threads.push(
            thread("echo")
                .spawn(move || reflect(&echo, &ended))
                .map_err(failed("echo at"))?,
        );
        flow.threads.push(
            thread("flows")
                .spawn(move || send(&sockets, &probes, &end))
                .map_err(failed("send to"))?,
        );
        Ok(flow)
    }

    /// What happened to what was sent from `begin` on, as far as its echoes can be expected already.
    pub(in crate::demo) fn losses(&self, begin: Instant) -> Losses {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        losses(&probes, begin, Instant::now())
    }

    /// Whether nothing sent within the last `span` was lost.
    pub(in crate::demo) fn is_whole_since(&self, span: Duration) -> bool {
        let Some(begin) = Instant::now().checked_sub(span + LATEST) else {
            return false;
        };
        let losses = self.losses(begin);
        losses.sent > 0 && losses.lost == 0
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn losses(probes: &[Probe], begin: Instant, now: Instant) -> Losses {
    let mut losses = Losses::default();
    let mut last_lost: [Option<Instant>; FLOWS] = [None; FLOWS];
    for probe in probes
        .iter()
        .filter(|probe| probe.sent >= begin && probe.sent + LATEST <= now)
    {
        losses.sent += 1;
        let in_time = probe
            .answered
            .is_some_and(|answered| answered - probe.sent <= LATEST);
        if !in_time {
            losses.lost += 1;
            if let Some(last) = last_lost.get_mut(probe.flow) {
                *last = Some(probe.sent);
            }
        }
    }
    losses.hurt = last_lost.iter().flatten().count();
    if let Some(last) = last_lost.iter().flatten().max() {
        losses.recovery = *last + PACE - begin;
    }
    losses
}

fn reflect(socket: &UdpSocket, end: &AtomicBool) {
    let mut datagram = [0; 64];
    while !end.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            // Lost like any datagram if there is no way back.
            let _ = socket.send_to(datagram.get(..length).unwrap_or_default(), from);
        }
    }
}

fn send(sockets: &[UdpSocket], probes: &Mutex<Vec<Probe>>, end: &AtomicBool) {
    let mut next = Instant::now();
    while !end.load(Ordering::Relaxed) {
        for (flow, socket) in sockets.iter().enumerate() {
            let mut probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
            let number = probes.len() as u64;
            probes.push(Probe {
                flow,
                sent: Instant::now(),
                answered: None,
            });
            // Without a way it counts as lost.
            let _ = socket.send(&number.to_be_bytes());
        }
        next += PACE;
        while Instant::now() < next {
            sockets.iter().for_each(|socket| collect(socket, probes));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Takes all echoes that a socket has.
fn collect(socket: &UdpSocket, probes: &Mutex<Vec<Probe>>) {
    let mut number = [0; 8];
    while let Ok(length) = socket.recv(&mut number) {
        let answered = Some(Instant::now());
        let place = usize::try_from(u64::from_be_bytes(number)).unwrap_or(usize::MAX);
        let mut probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probe) = probes.get_mut(place)
            && length == number.len()
        {
            probe.answered = answered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_until_the_last_flow_has_recovered() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let probe = |flow, ms, lost: bool| Probe {
            flow,
            sent: at(ms),
            answered: (!lost).then(|| at(ms + 1)),
        };
        let probes = [
            probe(0, 0, true),
            probe(0, 20, true),
            probe(1, 40, false),
            probe(2, 60, true),
            probe(0, 80, false),
        ];
        assert_eq!(
            losses(&probes, at(10), at(1000)),
            Losses {
                sent: 4,
                lost: 2,
                hurt: 2,
                recovery: Duration::from_millis(70)
            }
        );
        assert_eq!(
            losses(&probes, at(10), at(20)),
            Losses::default(),
            "nothing can be said yet"
        );
    }

    #[test]
    fn a_late_echo_is_no_echo() {
        let start = Instant::now();
        let probe = Probe {
            flow: 0,
            sent: start,
            answered: Some(start + LATEST * 2),
        };
        assert_eq!(losses(&[probe], start, start + LATEST * 3).lost, 1);
    }
}
