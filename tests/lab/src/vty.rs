//! FRR's line of command, by the socket that vtysh itself uses: vtysh reads a command tree of megabytes at each start, which an
//! emulated machine takes seconds for.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::wait::patience;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A session with one of FRR's daemons, with all rights.
#[derive(Debug)]
pub(crate) struct Vty(UnixStream);

impl Vty {
    /// Opens a session; the socket is called `DAEMON.vty`.
    pub(crate) fn open(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT * patience()))?;
        let mut vty = Self(stream);
        vty.command("enable")?;
        Ok(vty)
    }

    /// Runs a command, and gives what the daemon says.
    ///
    /// # Errors
    /// When the daemon refuses the command (the error has its words), or ends.
    pub(crate) fn command(&mut self, command: &str) -> std::io::Result<String> {
        self.0.write_all(command.as_bytes())?;
        self.0.write_all(b"\0")?;
        let mut answer = Vec::new();
        let mut block = [0_u8; 4096];
        loop {
            let length = self.0.read(&mut block)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(block.get(..length).unwrap_or_default());
            // Three zeros and the command's status end an answer; its text has none.
            if let [text @ .., 0, 0, 0, status] = answer.as_slice() {
                let text = String::from_utf8_lossy(text).into_owned();
                return match *status {
                    0 => Ok(text),
                    status => Err(std::io::Error::other(format!("status {status}: {text}"))),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::OrFail as _;

    #[test]
    fn an_answer_ends_with_three_zeros_and_its_status_however_it_is_cut() {
        let (ours, mut theirs) = UnixStream::pair().or_fail("a pair of sockets");
        let mut vty = Vty(ours);
        let daemon = std::thread::spawn(move || {
            let mut heard = [0_u8; 64];
            let length = theirs.read(&mut heard).or_fail("read a command");
            for part in [&b"{ \"a\": 1 }\n\0"[..], b"\0\0", b"\0"] {
                theirs.write_all(part).or_fail("answer");
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = theirs.read(&mut heard);
            theirs
                .write_all(b"no such thing\n\0\0\0\x02")
                .or_fail("answer");
            heard.get(..length).map(<[u8]>::to_vec)
        });
        assert_eq!(vty.command("show").or_fail("an answer"), "{ \"a\": 1 }\n");
        let refused = vty.command("shew").map_err(|error| error.to_string());
        assert_eq!(refused, Err("status 2: no such thing\n".to_owned()));
        assert!(daemon.join().is_ok());
    }
}
