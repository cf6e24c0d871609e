//! The host's side of the agent: a script goes in, an exit status comes out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lab::OrFail as _;

/// What came of waiting for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A whole line.
    Line(String),
    /// Nothing yet.
    Silence,
    /// The machine has ended.
    Gone,
}

/// The virtio port `control`, from the host's side.
#[derive(Debug)]
pub(crate) struct Agent {
    stream: UnixStream,
    pending: Vec<u8>,
}

impl Agent {
    /// Takes the connection that QEMU has made for the port.
    pub(crate) fn new(stream: UnixStream) -> Self {
        let limit = stream.set_read_timeout(Some(Duration::from_millis(100)));
        limit.or_fail("set a read timeout");
        Self {
            stream,
            pending: Vec::new(),
        }
    }

    /// Sends a script for bash.
    pub(crate) fn send(&mut self, script: &str) {
        let line = format!("{}\n", base64(script.as_bytes()));
        self.stream
            .write_all(line.as_bytes())
            .or_fail("send a script to the machine");
    }

    /// Waits for a line until `deadline`, but gives control back at least every 100 ms.
    pub(crate) fn poll(&mut self) -> Answer {
        if let Some(line) = self.take_line() {
            return Answer::Line(line);
        }
        let mut block = [0_u8; 256];
        match self.stream.read(&mut block) {
            Ok(0) => Answer::Gone,
            Ok(length) => {
                self.pending
                    .extend_from_slice(block.get(..length).unwrap_or_default());
                self.take_line().map_or(Answer::Silence, Answer::Line)
            }
            Err(error)
                if [
                    ErrorKind::WouldBlock,
                    ErrorKind::TimedOut,
                    ErrorKind::Interrupted,
                ]
                .contains(&error.kind()) =>
            {
                Answer::Silence
            }
            Err(_) => Answer::Gone,
        }
    }

    /// Waits for a line; [`Answer::Silence`] when `limit` has passed without one.
    pub(crate) fn wait(&mut self, limit: Duration, mut meanwhile: impl FnMut()) -> Answer {
        let started = Instant::now();
        loop {
            match self.poll() {
                Answer::Silence if started.elapsed() < limit => meanwhile(),
                answer => return answer,
            }
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<_> = self.pending.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = ALPHABET.get(group >> (18 - 6 * place) & 63);
            let letter = letter.filter(|_| place <= chunk.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648_section_10() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let (host, mut guest) = UnixStream::pair().or_fail("a pair of sockets");
        let mut agent = Agent::new(host);
        guest.write_all(b"rea").or_fail("write");
        assert_eq!(agent.poll(), Answer::Silence);
        guest.write_all(b"dy\nexit 0\n").or_fail("write");
        assert_eq!(agent.poll(), Answer::Line("ready".to_owned()));
        assert_eq!(agent.poll(), Answer::Line("exit 0".to_owned()));
        assert_eq!(agent.poll(), Answer::Silence);
        drop(guest);
        assert_eq!(agent.poll(), Answer::Gone);
    }
}
