//! Any bytes as a protected message, and as a datagram for an endpoint.
#![no_main]

use std::time::Instant;

use ike::{Command, Connection, ConnectionId, Endpoint, EndpointConfig, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = ike::wire::sk::inspect(bytes);
    let now = Instant::now();
    let (local, remote) = ([192, 0, 2, 1], [198, 51, 100, 1]);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [7; 32]);
    let psk = Secret::from_slice(b"secret");
    let mut connection = Connection::new(ConnectionId(1), "fuzz", local.into(), remote.into(), psk);
    connection.initiate = false;
    endpoint.command(now, Command::Add(Box::new(connection)));
    endpoint.handle_datagram(now, (local, 500).into(), (remote, 500).into(), bytes);
    while endpoint.poll_transmit().is_some() {}
    while endpoint.poll_event().is_some() {}
});
