//! A Kubernetes node that speaks BGP by hand.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lab::{Scene, addresses as at, eventually};
use socket2::{Domain, Socket, Type};

use super::datagrams::ip;

/// A BGP message of a type.
pub(crate) fn bgp(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend((19 + body.len() as u16).to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// A node's OPEN: AS 65000, hold time 90 s, its address as identifier, IPv4 unicast, route refresh and 4-octet AS numbers.
pub(crate) fn open(address: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![4, 0xfd, 0xe8, 0, 90];
    body.extend(address.octets());
    body.extend([16, 2, 14, 1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, 0xfd, 0xe8]);
    bgp(1, &body)
}

/// An UPDATE that announces `prefixes` /32s, from the number `first` on.
pub(crate) fn update(next_hop: Ipv4Addr, first: u32, prefixes: u32) -> Vec<u8> {
    let mut attributes = vec![
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4,
    ];
    attributes.extend(next_hop.octets());
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    for number in first..first + prefixes {
        body.push(32);
        body.extend((0x0a80_0000 + number).to_be_bytes());
    }
    bgp(2, &body)
}

/// A connection from a node, by its index, to the gateway's BGP port.
pub(crate) fn dial(scene: &Scene, node: usize, from: &str) -> std::io::Result<TcpStream> {
    let from = SocketAddr::from((ip(from), 0));
    scene.site.nodes[node].run(move || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        let gateway = SocketAddr::from((ip(at::NODES_GATEWAY), 179));
        socket.connect_timeout(&gateway.into(), Duration::from_secs(2))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    })
}

/// Dials until somebody answers: the gateway turns a neighbor away while it backs off. Gives an established session.
#[track_caller]
pub(crate) fn session(scene: &Scene, node: usize) -> TcpStream {
    let address = at::NODES[node];
    eventually(Scene::SOON, "a session with the gateway", || {
        let mut stream = dial(scene, node, address).ok()?;
        stream.write_all(&open(ip(address))).ok()?;
        stream.write_all(&bgp(4, &[])).ok()?;
        let mut answer = [0; 19];
        stream.read_exact(&mut answer).ok()?;
        let established = || scene.gateway.neighbor(address)["state"] == "Established";
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            if established() {
                return Some(stream);
            }
        }
        None
    })
}
