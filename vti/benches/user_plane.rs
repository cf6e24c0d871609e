//! The userspace plane alone: two ends with static keys in two network namespaces on this machine, TCP through the tunnel.
//!
//! ```text
//! cargo bench -p causeway-vti --bench user_plane             # as root
//! cargo bench -p causeway-vti --bench user_plane -- udp/gcm  # the cases whose name contains this
//! ```
//!
//! Each case prints what arrived (Gbit/s) and the processor's time that all of it took (seconds per gigabyte: both ends,
//! both TCP stacks and the kernel's part). Figures of one run compare with each other and with nothing else. The same
//! beside other programs is `benches/esp_throughput.rs`.

#[path = "../tests/user_plane/bed.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod bed;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bed::{CBC, GCM, Namespace, Wiring};
use crypto::{Encryption, Integrity};
use nix::sys::resource::{UsageWho, getrusage};

/// How long one measurement takes, after a quarter of it to warm up.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let cases = [
        ("udp/gcm", Wiring::new(GCM, None).in_udp()),
        (
            "udp/cbc-sha1",
            Wiring::new(CBC, Some(Integrity::HmacSha1_96)).in_udp(),
        ),
        (
            "udp/cbc-sha256",
            Wiring::new(CBC, Some(Integrity::HmacSha256_128)).in_udp(),
        ),
        (
            "udp/chacha20",
            Wiring::new(Encryption::ChaCha20Poly1305, None).in_udp(),
        ),
        ("raw/gcm", Wiring::new(GCM, None)),
    ];
    println!(
        "{:<16} {:>8} {:>8} {:>10}",
        "case", "streams", "Gbit/s", "CPU s/GB"
    );
    for (name, wiring) in cases {
        if !name.contains(&wanted) {
            continue;
        }
        let ends = wiring.join();
        let [near, far] = ends.each_ref().map(|end| &end.namespace);
        for streams in [1, 4] {
            let (rate, cost) = tcp(near, far, "10.1.0.1", streams);
            println!("{name:<16} {streams:>8} {rate:>8.2} {cost:>10.2}");
        }
        if std::env::var_os("DROPS").is_some() {
            for end in &ends {
                use vti::plane::DataPlane as _;
                println!("{:?}", end.plane.counters(bed::TUNNEL));
            }
        }
    }
}

/// Gigabits per second that arrive, and seconds of the processor per gigabyte.
fn tcp(near: &Namespace, far: &Namespace, address: &str, streams: usize) -> (f64, f64) {
    let listener = far.enter(|| TcpListener::bind((address, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let end = Instant::now() + TIME + TIME / 4;
    std::thread::scope(|scope| {
        for _ in 0..streams {
            let stream = near.enter(|| TcpStream::connect(to).unwrap());
            scope.spawn(move || send(stream, end));
        }
        let receivers: Vec<_> = (0..streams)
            .map(|_| listener.accept().unwrap().0)
            .map(|stream| scope.spawn(move || receive(stream)))
            .collect();
        let before = cpu();
        let bytes: u64 = receivers
            .into_iter()
            .map(|receiver| receiver.join().unwrap())
            .sum();
        let whole = TIME + TIME / 4;
        let rate = bytes as f64 * 8.0 / whole.as_secs_f64() / 1e9;
        (rate, (cpu() - before) / (bytes as f64 / 1e9))
    })
}

fn send(mut stream: TcpStream, end: Instant) {
    let data = vec![0x5a; 128 << 10];
    while Instant::now() < end {
        stream.write_all(&data).unwrap();
    }
}

fn receive(mut stream: TcpStream) -> u64 {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return total,
            len => total += len as u64,
        }
    }
}

fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}
