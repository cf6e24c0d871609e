//! Traffic between namespaces, and what became of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{RcvBufForce, TcpMaxSeg};
use nix::sys::socket::{getsockopt, setsockopt};

use crate::daemon::{Daemon, Program};
use crate::netns::Ns;
use crate::wait::{OrFail, eventually_true, patience};

/// How many bytes may wait for the receiver of a flow.
const INBOX: usize = 8 << 20;

/// What `ping` counted.
#[derive(Debug, Clone, PartialEq)]
pub struct PingReport {
    /// Echo requests sent.
    pub sent: u32,
    /// Echo replies that came back.
    pub received: u32,
    /// All that ping printed.
    pub text: String,
}

impl PingReport {
    /// Whether every request was answered.
    #[must_use]
    pub fn all(&self) -> bool {
        self.sent > 0 && self.received == self.sent
    }
}

/// Pings an address: `count` requests, ten a second, each waiting at most a second; `options` are more words for ping.
#[track_caller]
#[must_use]
pub fn ping(from: &Ns, to: &str, count: u32, options: &[&str]) -> PingReport {
    crate::tools::require(&["ping"]);
    let (count, wait) = (count.to_string(), patience().min(3).to_string());
    let mut argv = vec!["ping", "-n", "-i", "0.1", "-W", &wait, "-c", &count];
    argv.extend(options);
    argv.push(to);
    let finished = from.try_exec(&argv);
    let text = finished.stdout + &finished.stderr;
    // "3 packets transmitted, 3 received, …"
    let counted = |word: &str| {
        let line = text
            .lines()
            .find(|line| line.contains("packets transmitted"))?;
        let part = line.split(',').find(|part| part.contains(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    PingReport {
        sent: counted("transmitted").unwrap_or_default(),
        received: counted("received").unwrap_or_default(),
        text,
    }
}

/// What became of a flow of numbered packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowReport {
    /// Packets that the sender gave to its kernel, or tried to.
    pub sent: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// Arrivals of a packet that had arrived before.
    pub duplicated: u64,
    /// Arrivals of a packet after one with a higher number.
    pub reordered: u64,
    /// The longest time between two arrivals.
    pub longest_gap: Duration,
}

/// A continuous flow of numbered UDP packets between two namespaces.
#[derive(Debug)]
pub struct UdpFlow {
    running: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Arrivals>,
}

impl UdpFlow {
    /// How long the receiver goes on listening after the last packet.
    const DRAIN: Duration = Duration::from_millis(500);

    /// Starts a flow of `per_second` packets of `size` payload bytes (at least 8) to `address`, an address of `to`.
    #[track_caller]
    #[must_use]
    pub fn start(from: &Ns, to: &Ns, address: Ipv4Addr, per_second: u32, size: usize) -> Self {
        let inbox = to
            .run(move || UdpSocket::bind((address, 0)))
            .or_fail("bind a UDP socket");
        let target = inbox.local_addr().or_fail("the address of a socket");
        inbox
            .set_read_timeout(Some(Duration::from_millis(50)))
            .or_fail("set a read timeout");
        // What waits in the socket while this process does not get the processor is not lost on the way.
        setsockopt(&inbox, RcvBufForce, &INBOX).or_fail("enlarge a receive buffer");
        let outbox = from
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
            .or_fail("bind a UDP socket");
        let running = Arc::new(AtomicBool::new(true));
        let (sending, receiving) = (Arc::clone(&running), Arc::clone(&running));
        let arrived = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&arrived);
        Self {
            running,
            arrived,
            sender: std::thread::spawn(move || send(&outbox, target, per_second, size, &sending)),
            receiver: std::thread::spawn(move || receive(&inbox, &receiving, &counter)),
        }
    }

    /// Waits until `more` packets have arrived from now on, and gives the time that this took.
    ///
    /// # Panics
    /// When they have not within `limit`.
    #[track_caller]
    pub fn wait_for(&self, more: u64, limit: Duration) -> Duration {
        let goal = self.arrived.load(Ordering::Relaxed) + more;
        eventually_true(
            limit,
            format_args!("{more} more packets of a flow arrive"),
            || self.arrived.load(Ordering::Relaxed) >= goal,
        )
    }

    /// Stops the sender, waits for what is still under way, and counts.
    #[track_caller]
    #[must_use]
    pub fn stop(self) -> FlowReport {
        self.running.store(false, Ordering::Relaxed);
        let sent = self.sender.join().or_fail("the sender's count");
        let arrivals = self.receiver.join().or_fail("the receiver's count");
        arrivals.report(sent)
    }

    /// Stops the sender; panics if a packet was lost, or came twice.
    #[track_caller]
    pub fn stop_without_loss(self) {
        let report = self.stop();
        assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    }
}

/// Sends numbered packets at a steady pace until told to stop; gives how many.
fn send(
    socket: &UdpSocket,
    to: SocketAddr,
    per_second: u32,
    size: usize,
    running: &AtomicBool,
) -> u64 {
    let started = Instant::now();
    let pause = Duration::from_secs(1) / per_second.max(1);
    let mut packet = vec![0_u8; size.max(8)];
    let mut number = 0_u64;
    let mut next = started;
    while running.load(Ordering::Relaxed) {
        if let Some(head) = packet.first_chunk_mut::<8>() {
            *head = number.to_be_bytes();
        }
        // A packet that the kernel refuses (no route, no buffer) is a packet lost.
        let _ = socket.send_to(&packet, to);
        number += 1;
        // What a busy machine has kept us from sending is not sent all at once later: that would be another flow.
        next = (next + pause).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    number
}

/// The arrivals of one flow, by number.
#[derive(Debug, Default)]
struct Arrivals {
    seen: Vec<bool>,
    duplicated: u64,
    reordered: u64,
    highest: Option<u64>,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Arrivals {
    fn note(&mut self, number: u64, at: Instant) {
        let Ok(index) = usize::try_from(number) else {
            return;
        };
        if self.seen.len() <= index {
            self.seen.resize(index + 1, false);
        }
        if let Some(seen) = self.seen.get_mut(index) {
            self.duplicated += u64::from(*seen);
            *seen = true;
        }
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
        if let Some(last) = self.last.replace(at) {
            self.longest_gap = self.longest_gap.max(at.duration_since(last));
        }
    }

    fn report(self, sent: u64) -> FlowReport {
        let received = self.seen.iter().filter(|seen| **seen).count() as u64;
        FlowReport {
            sent,
            received,
            lost: sent.saturating_sub(received),
            duplicated: self.duplicated,
            reordered: self.reordered,
            longest_gap: self.longest_gap,
        }
    }
}

/// Notes packets until the sender has stopped and nothing has come for a while.
fn receive(socket: &UdpSocket, running: &AtomicBool, arrived: &AtomicU64) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let mut buffer = [0_u8; 2048];
    let mut quiet_since = Instant::now();
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let now = Instant::now();
                quiet_since = now;
                arrived.fetch_add(1, Ordering::Relaxed);
                if let Some(number) = buffer.get(..length).and_then(|p| p.first_chunk::<8>()) {
                    arrivals.note(u64::from_be_bytes(*number), now);
                }
            }
            Err(_) if running.load(Ordering::Relaxed) => quiet_since = Instant::now(),
            Err(_) if quiet_since.elapsed() >= UdpFlow::DRAIN * patience() => return arrivals,
            Err(_) => {}
        }
    }
}

/// A TCP transfer that arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferReport {
    /// Bytes that arrived, each compared with what was sent.
    pub bytes: u64,
    /// From the first connection attempt to the last byte.
    pub elapsed: Duration,
}

/// Sends `bytes` of a fixed pseudo-random sequence by TCP from one namespace to an address of another, and compares
/// every byte that arrives.
///
/// # Errors
/// What went wrong, in words: no connection, a stall of 10 s, a wrong byte, a short stream.
#[track_caller]
pub fn tcp_transfer(
    from: &Ns,
    to: &Ns,
    address: Ipv4Addr,
    bytes: u64,
) -> Result<TransferReport, String> {
    let stall = Duration::from_secs(10) * patience();
    let (listener, target) = listen(to, address);
    let started = Instant::now();
    let sender = from.thread(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&target, stall)?;
        stream.set_write_timeout(Some(stall))?;
        let mut source = Sequence::new();
        let mut left = bytes;
        let mut block = [0_u8; 16_384];
        while left > 0 {
            let length = left.min(block.len() as u64) as usize;
            let (part, _) = block.split_at_mut(length);
            source.fill(part);
            stream.write_all(part)?;
            left -= length as u64;
        }
        stream.shutdown(Shutdown::Write)
    });
    let received = accept(&listener, stall)
        .and_then(|stream| compare(stream, stall))
        .map_err(|error| format!("receiving from {}: {error}", from.name()));
    let sent = sender.join().or_fail("the sender's thread");
    sent.map_err(|error| format!("sending from {} to {target}: {error}", from.name()))?;
    let received = received?;
    if received != bytes {
        return Err(format!("{received} of {bytes} bytes arrived"));
    }
    Ok(TransferReport {
        bytes,
        elapsed: started.elapsed(),
    })
}

/// Whether the network lets no TCP connection through: nobody answers, neither the first packet nor its repetition a second later.
#[track_caller]
#[must_use]
pub fn tcp_is_dropped(from: &Ns, to: &Ns, address: Ipv4Addr) -> bool {
    let (_listener, target) = listen(to, address);
    let limit = Duration::from_secs(3);
    let connected = from.run(move || TcpStream::connect_timeout(&target, limit));
    matches!(connected, Err(error) if error.kind() == ErrorKind::TimedOut)
}

/// What both ends of a TCP connection through the network agree to put into one segment, in octets: the client in `from`, the server
/// in `to`.
#[track_caller]
#[must_use]
pub fn tcp_segments(from: &Ns, to: &Ns, address: Ipv4Addr) -> [u32; 2] {
    let limit = Duration::from_secs(10) * patience();
    let (listener, target) = listen(to, address);
    let client = from.run(move || TcpStream::connect_timeout(&target, limit));
    let client = client.or_fail(format_args!("connect to {target}"));
    let server = accept(&listener, limit).or_fail("accept a connection");
    [client, server]
        .map(|stream| getsockopt(&stream, TcpMaxSeg).or_fail("ask for a connection's segment size"))
}

/// A socket for [`accept`], at a port that is free.
#[track_caller]
fn listen(ns: &Ns, address: Ipv4Addr) -> (TcpListener, SocketAddr) {
    let listener = ns
        .run(move || TcpListener::bind((address, 0)))
        .or_fail("bind a TCP socket");
    let target = listener.local_addr().or_fail("the address of a socket");
    listener
        .set_nonblocking(true)
        .or_fail("make a socket non-blocking");
    (listener, target)
}

fn accept(listener: &TcpListener, limit: Duration) -> std::io::Result<TcpStream> {
    let started = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock && started.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads to the end; gives how many bytes came, all as they were sent.
fn compare(mut stream: TcpStream, stall: Duration) -> std::io::Result<u64> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(stall))?;
    let mut expected = Sequence::new();
    let (mut block, mut want) = ([0_u8; 16_384], [0_u8; 16_384]);
    let mut total = 0_u64;
    loop {
        let length = stream.read(&mut block)?;
        if length == 0 {
            return Ok(total);
        }
        let (got, _) = block.split_at(length);
        let (want, _) = want.split_at_mut(length);
        expected.fill(want);
        if got != want {
            let text = format!("a wrong byte after {total} good ones");
            return Err(std::io::Error::new(ErrorKind::InvalidData, text));
        }
        total += length as u64;
    }
}

/// A fixed pseudo-random sequence of bytes (xorshift64), the same however it is cut into blocks.
#[derive(Debug)]
struct Sequence(u64);

impl Sequence {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn fill(&mut self, block: &mut [u8]) {
        for byte in block {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *byte = (self.0 >> 32) as u8;
        }
    }
}

/// A running `tcpdump` on one interface.
#[derive(Debug)]
pub struct Capture {
    daemon: Daemon,
}

impl Capture {
    /// Starts capturing what matches `filter` (as tcpdump reads it) on an interface (`any` for all), and waits until it
    /// listens.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, interface: &str, filter: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        crate::tools::require(&["tcpdump"]);
        let argv = [
            "tcpdump",
            "-l",
            "-n",
            "-U",
            "--immediate-mode",
            "-i",
            interface,
            filter,
        ];
        let name = format!("tcpdump{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let daemon = Daemon::start(ns, &name, Program::new(&argv));
        eventually_true(Duration::from_secs(5), "tcpdump listens", || {
            daemon.log().contains("listening on")
        });
        Self { daemon }
    }

    /// The packets so far, a line each.
    #[must_use]
    pub fn packets(&self) -> Vec<String> {
        let log = self.daemon.log();
        log.lines()
            .filter(|line| line.contains(" IP"))
            .map(ToOwned::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_counts_loss_duplicates_and_reordering() {
        let mut arrivals = Arrivals::default();
        let start = Instant::now();
        for (number, at) in [(0, 0), (2, 10), (1, 50), (2, 55)] {
            arrivals.note(number, start + Duration::from_millis(at));
        }
        let report = arrivals.report(5);
        assert_eq!(
            report,
            FlowReport {
                sent: 5,
                received: 3,
                lost: 2,
                duplicated: 1,
                reordered: 1,
                longest_gap: Duration::from_millis(40),
            }
        );
    }

    #[test]
    fn a_sequence_does_not_depend_on_the_cut() {
        let mut whole = [0_u8; 100];
        Sequence::new().fill(&mut whole);
        let mut parts = [0_u8; 100];
        let mut source = Sequence::new();
        let (left, right) = parts.split_at_mut(33);
        source.fill(left);
        source.fill(right);
        assert_eq!(whole, parts);
    }
}
