//! Replays the fuzzers' corpora: what they once found stays fixed, without a fuzzer at hand.

use std::fs;
use std::path::Path;
use std::time::Instant;

use ike::wire::{Message, sk};
use ike::{Command, Connection, ConnectionId, Endpoint, EndpointConfig, Secret};

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
        .iter()
        .map(|file| fs::read(file).expect("a readable file"))
        .collect()
}

#[test]
fn every_seed_passes_through_the_decoders_and_an_endpoint() {
    let now = Instant::now();
    let (local, remote) = ([192, 0, 2, 1], [198, 51, 100, 1]);
    let mut decoded = 0;
    for bytes in corpus("ike_message")
        .into_iter()
        .chain(corpus("ike_sealed"))
    {
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
