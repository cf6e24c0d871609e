//! What is sent through a tunnel, and what is measured.

use std::fs;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use lab::{Ns, OrFail as _};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::tunnels::Bed;

/// How long each measurement of a rate takes, after a warm-up of a third of it.
pub(crate) const TIME: Duration = Duration::from_millis(2400);

/// How long one rate of small packets is tried.
const TRIAL: Duration = Duration::from_millis(700);

/// The payload of a small packet, in bytes.
const SMALL: usize = 64;

/// The loss that counts as none: a virtual machine that is paused loses packets that no program lost.
const NO_LOSS: f64 = 0.005;

/// A rate of TCP.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate {
    /// Gigabits of payload per second.
    pub(crate) gigabits: f64,
    /// Seconds of the processor per gigabyte of payload: both daemons, both ends of the traffic, and what the kernel did
    /// for them.
    pub(crate) cpu_per_gigabyte: f64,
}

/// Round trips, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latency {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

/// TCP streams through the tunnel, from the near end or towards it.
pub(crate) fn tcp(bed: &Bed, streams: usize, reverse: bool) -> Rate {
    let (from, to, address) = if reverse {
        (&bed.far, &bed.near, bed.near_inside)
    } else {
        (&bed.near, &bed.far, bed.far_inside)
    };
    let listener = to
        .run(move || TcpListener::bind((address, 0)))
        .or_fail("listen inside the tunnel");
    let target = listener.local_addr().or_fail("a listener's address");
    let warm = Instant::now() + TIME / 3;
    let end = warm + TIME;
    std::thread::scope(|scope| {
        for _ in 0..streams {
            let stream = from
                .run(move || TcpStream::connect(target))
                .or_fail("connect through the tunnel");
            scope.spawn(move || send(stream, end));
        }
        let receivers: Vec<_> = (0..streams)
            .map(|_| listener.accept().or_fail("accept through the tunnel").0)
            .map(|stream| scope.spawn(move || receive(stream, warm, end)))
            .collect();
        std::thread::sleep(warm.saturating_duration_since(Instant::now()));
        let before = cpu(bed);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        let used = cpu(bed) - before;
        let bytes: u64 = receivers
            .into_iter()
            .map(|receiver| receiver.join().unwrap_or_default())
            .sum();
        let bytes = bytes as f64;
        Rate {
            gigabits: bytes * 8.0 / TIME.as_secs_f64() / 1e9,
            cpu_per_gigabyte: used / (bytes / 1e9),
        }
    })
}

fn send(mut stream: TcpStream, end: Instant) {
    let data = vec![0x5a; 128 << 10];
    while Instant::now() < end && stream.write_all(&data).is_ok() {}
}

/// What arrives between two moments.
fn receive(mut stream: TcpStream, from: Instant, to: Instant) -> u64 {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        let now = Instant::now();
        if now > from && now <= to {
            total += len as u64;
        }
    }
    total
}

/// The processor's time of the daemons and of this process, in seconds.
fn cpu(bed: &Bed) -> f64 {
    let own = getrusage(UsageWho::RUSAGE_SELF).or_fail("ask for the time used");
    let own: f64 = [own.user_time(), own.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum();
    own + bed.pids.iter().map(|pid| cpu_of(*pid)).sum::<f64>()
}

/// In hundredths of a second, as `/proc` tells it.
fn cpu_of(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

/// The highest rate of small UDP packets that arrives without loss, in packets per second: tried in steps of a quarter,
/// each a second time if it fails, until one fails twice.
pub(crate) fn small_packets(bed: &Bed) -> f64 {
    let mut best = 0.0;
    let mut rate = 8_000.0;
    while (0..2).any(|_| {
        let (arrived, lost) = trial(bed, rate);
        if lost <= NO_LOSS {
            best = f64::max(best, arrived);
        }
        // A sender that cannot keep up has reached its own limit.
        lost <= NO_LOSS && arrived > rate * 0.9
    }) {
        rate *= 1.25;
    }
    best
}

/// Sends at this rate; what arrived per second, and which part was lost.
fn trial(bed: &Bed, rate: f64) -> (f64, f64) {
    let inside = bed.far_inside;
    let inbox = bed
        .far
        .run(move || UdpSocket::bind((inside, 0)))
        .or_fail("bind inside the tunnel");
    let _ = setsockopt(&inbox, sockopt::RcvBufForce, &(8 << 20));
    let target = inbox.local_addr().or_fail("a socket's address");
    let outbox = bed
        .near
        .run(move || UdpSocket::bind("0.0.0.0:0"))
        .or_fail("bind inside the tunnel");
    outbox.connect(target).or_fail("connect a UDP socket");
    inbox
        .set_read_timeout(Some(Duration::from_millis(250)))
        .or_fail("set a read timeout");
    std::thread::scope(|scope| {
        let counted = scope.spawn(|| count(&inbox));
        let start = Instant::now();
        let sent = send_paced(&outbox, rate);
        let elapsed = start.elapsed().as_secs_f64();
        let arrived = counted.join().unwrap_or_default();
        (
            arrived as f64 / elapsed,
            1.0 - arrived as f64 / sent.max(1) as f64,
        )
    })
}

/// Packets in bursts of up to 64, as many as are due.
fn send_paced(outbox: &UdpSocket, rate: f64) -> u64 {
    const BURST: usize = 64;
    let payload = [0x5a; SMALL];
    let vectors = [[IoSlice::new(&payload)]; BURST];
    let nobody: [Option<SockaddrIn>; BURST] = [None; BURST];
    let mut headers = MultiHeaders::preallocate(BURST, None);
    let start = Instant::now();
    let mut sent = 0_u64;
    loop {
        let elapsed = start.elapsed();
        if elapsed > TRIAL {
            return sent;
        }
        let due = (elapsed.as_secs_f64() * rate) as u64 - sent;
        if due == 0 {
            // A burst is due in less than this at every rate that matters.
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        let burst = due.min(BURST as u64) as usize;
        let result = sendmmsg(
            outbox.as_raw_fd(),
            &mut headers,
            vectors.iter().take(burst),
            nobody.iter().take(burst).copied().collect::<Vec<_>>(),
            [],
            MsgFlags::empty(),
        );
        sent += result.map_or(0, |results| results.count() as u64);
    }
}

/// Counts until nothing comes any more.
fn count(inbox: &UdpSocket) -> u64 {
    const BURST: usize = 64;
    let mut total = 0;
    let mut first = [0; 2048];
    let mut room = vec![[0_u8; 128]; BURST];
    while inbox.recv(&mut first).is_ok() {
        total += 1;
        loop {
            let mut vectors: Vec<_> = room
                .iter_mut()
                .map(|slot| [IoSliceMut::new(slot)])
                .collect();
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BURST, None);
            let received = recvmmsg(
                inbox.as_raw_fd(),
                &mut headers,
                vectors.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None::<TimeSpec>,
            );
            match received.map(Iterator::count) {
                Ok(some @ 1..) => total += some as u64,
                _ => break,
            }
        }
    }
    total
}

/// Pings through the tunnel, while it is idle or while one TCP stream fills it.
pub(crate) fn latency(bed: &Bed, loaded: bool) -> Latency {
    if !loaded {
        return ping(&bed.near, &bed.far_inside.to_string());
    }
    std::thread::scope(|scope| {
        let load = scope.spawn(|| tcp(bed, 1, false));
        std::thread::sleep(TIME / 3);
        let latency = ping(&bed.near, &bed.far_inside.to_string());
        let _ = load.join();
        latency
    })
}

fn ping(from: &Ns, to: &str) -> Latency {
    // 1.2 s at most, so that a loaded measurement ends before its load.
    let argv = ["ping", "-n", "-i", "0.004", "-c", "300", "-w", "2", to];
    let text = from.try_exec(&argv).stdout;
    let mut times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split("time=").nth(1))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        .map(|millis| millis * 1000.0)
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or(f64::NAN)
    };
    Latency {
        median: at(50),
        p99: at(99),
    }
}
