//! Connections that are forwarded, and the segments that they agree upon.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use socket2::SockRef;
use vti::nft::{Firewall, Ruleset};

use crate::sandbox::{enter_new_namespace, in_namespace, run};

const SERVER: &str = "10.0.0.9";
const PORT: u16 = 8080;

/// The tunnel's MTU, which only the gateway's end of it knows.
const MTU: &str = "1380";

/// A namespace beyond one of the gateway's interfaces, in which `job` runs when it has its address.
fn neighbor<T: Send + 'static>(
    dev: &str,
    [gateway, address]: [&str; 2],
    job: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let (hello, tid) = mpsc::channel();
    let (go, ready) = mpsc::channel::<()>();
    let (address, via) = (format!("{address}/24"), gateway.to_owned());
    let running = thread::spawn(move || {
        enter_new_namespace();
        hello.send(nix::unistd::gettid().to_string()).unwrap();
        ready.recv().unwrap();
        run("ip", &["address", "add", &address, "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "up"]);
        run("ip", &["route", "add", "default", "via", &via]);
        job()
    });
    let tid = tid.recv().unwrap();
    run(
        "ip",
        &[
            "link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", &tid,
        ],
    );
    run(
        "ip",
        &["address", "add", &format!("{gateway}/24"), "dev", dev],
    );
    run("ip", &["link", "set", dev, "up"]);
    go.send(()).unwrap();
    running
}

/// What client and server may put into a segment, through a gateway that forwards into the tunnel.
fn agreed(ruleset: &Ruleset) -> [u32; 2] {
    in_namespace(|| {
        run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        let (listening, ready) = mpsc::channel();
        let server = neighbor("tun0", ["10.0.0.1", SERVER], move || {
            let listener = TcpListener::bind((SERVER, PORT)).unwrap();
            listening.send(()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            // Until the client has looked as well.
            let _ = stream.read(&mut [0]).unwrap();
            SockRef::from(&stream).tcp_mss().unwrap()
        });
        run("ip", &["link", "set", "tun0", "mtu", MTU]);
        Firewall::open().unwrap().apply(ruleset).unwrap();
        ready.recv().unwrap();
        let client = neighbor("lan0", ["192.168.2.1", "192.168.2.9"], || {
            let stream = TcpStream::connect((SERVER, PORT)).unwrap();
            SockRef::from(&stream).tcp_mss().unwrap()
        });
        [client.join().unwrap(), server.join().unwrap()]
    })
}

/// Ethernet's 1500 octets without the headers of IPv4 (20) and TCP (20, and 12 of timestamps).
const FULL: u32 = 1500 - 52;
/// The same of the tunnel's.
const CLAMPED: u32 = 1380 - 52;

#[test]
fn both_ends_of_a_forwarded_connection_agree_on_segments_that_fit_the_tunnel() {
    let clamped = Ruleset {
        clamp_mss: vec!["tun0".to_owned()],
        ..Ruleset::default()
    };
    assert_eq!(agreed(&clamped), [CLAMPED; 2]);
}

#[test]
fn connections_through_other_interfaces_are_left_alone() {
    let elsewhere = Ruleset {
        clamp_mss: vec!["tun1".to_owned()],
        ..Ruleset::default()
    };
    assert_eq!(agreed(&elsewhere), [FULL; 2]);
}
