//! QEMU's own control protocol (QMP): JSON, one command at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lab::{OrFail as _, eventually_true};
use serde_json::{Value, json};

/// A connection to one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes a connection that QEMU has made, and tells it that we speak its language.
    pub(crate) fn new(stream: UnixStream) -> Self {
        let limit = stream.set_read_timeout(Some(Duration::from_secs(60)));
        limit.or_fail("set a read timeout");
        let mut qmp = Self {
            reader: BufReader::new(stream),
        };
        let greeting = qmp.read();
        assert!(
            !greeting["QMP"].is_null(),
            "QEMU greets with its version, not {greeting}"
        );
        qmp.execute("qmp_capabilities", json!({}));
        qmp
    }

    /// Has the machine's whole state written to a file; the machine stands still afterwards.
    pub(crate) fn save(&mut self, file: &str) {
        // A terabyte a second: no limit.
        self.execute(
            "migrate-set-parameters",
            json!({ "max-bandwidth": 1_u64 << 40 }),
        );
        self.execute("migrate", json!({ "uri": format!("exec:cat >'{file}'") }));
        eventually_true(
            Duration::from_secs(120),
            "the machine's state is saved",
            || {
                let status = self.execute("query-migrate", json!({}));
                assert!(
                    status["status"] != "failed",
                    "QEMU can't save the machine's state: {status}"
                );
                status["status"] == "completed"
            },
        );
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        let sent = self
            .reader
            .get_mut()
            .write_all(format!("{line}\n").as_bytes());
        sent.or_fail(format_args!("tell QEMU {line}"));
        loop {
            let mut answer = self.read();
            assert!(
                answer["error"].is_null(),
                "QEMU refuses {line}: {}",
                answer["error"]
            );
            // What is neither is an event.
            if !answer["return"].is_null() {
                return answer["return"].take();
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .or_fail("read what QEMU says");
        serde_json::from_str(&line).or_fail(format_args!("read what QEMU says: {line:?}"))
    }
}
