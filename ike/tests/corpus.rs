//! Replays the fuzzers' corpora: what they once found stays fixed, without a fuzzer at hand.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use ike::wire::{Message, sk};
use ike::{Command, Connection, ConnectionId, Endpoint, EndpointConfig, Secret};

fn corpus(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut files = fs::read_dir(folder)?
        .map(|e| Ok(e?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    files.into_iter().map(fs::read).collect()
}

#[test]
fn every_seed_passes_through_the_decoders_and_an_endpoint() {
    let now = Instant::now();
    let (local, remote) = ([192, 0, 2, 1], [198, 51, 100, 1]);
    let mut decoded = 0;
    let messages = corpus("ike_message").expect("a corpus");
    let sealed = corpus("ike_sealed").expect("a corpus");
    assert!(!messages.is_empty() && !sealed.is_empty());
    for bytes in messages.into_iter().chain(sealed) {
        if let Ok(message) = Message::decode(&bytes) {
            decoded += 1;
            assert!(Message::decode(&message.encode()).is_ok());
        }
        let _ = sk::inspect(&bytes);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), [7; 32]);
        let psk = Secret::from_slice(b"secret");
        let mut connection =
            Connection::new(ConnectionId(1), "fuzz", local.into(), remote.into(), psk);
        connection.initiate = false;
        endpoint.command(now, Command::Add(Box::new(connection)));
        for len in 0..=bytes.len() {
            let (to, from) = ((local, 500).into(), (remote, 500).into());
            endpoint.handle_datagram(now, to, from, &bytes[..len]);
            while endpoint.poll_transmit().is_some() {}
            while endpoint.poll_event().is_some() {}
        }
    }
    assert!(decoded > 0);
}
