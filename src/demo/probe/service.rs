//! A service on several nodes at one address: each connection is answered with the node's name.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use vti::netns::NetNs;

use super::echo::is_timeout;
use crate::demo::problem::Problem;
use crate::demo::stop::Stop;

/// The service's port.
const PORT: u16 = 8080;
/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// One node's part of the service. It ends when this is dropped.
pub(in crate::demo) struct Service {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts to answer in a namespace that has the address.
    ///
    /// # Errors
    /// The port can't be had.
    pub(in crate::demo) fn start(
        namespace: &NetNs,
        address: Ipv4Addr,
        name: &'static str,
    ) -> Result<Self, Problem> {
        let listen = || {
            let listener = TcpListener::bind((address, PORT))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let failed = || Problem::system(format!("listen on {address} at {name}"));
        let listener = namespace.run(listen)?.map_err(failed())?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let serve = move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that went away does not want its answer.
                    Ok((mut stream, _)) => drop(stream.write_all(name.as_bytes())),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(serve)
            .map_err(failed())?;
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Connects `count` times, one connection after the other, and counts who answered.
///
/// # Errors
/// A connection that is not answered.
pub(in crate::demo) fn spread(
    stop: &Stop,
    from: &NetNs,
    address: Ipv4Addr,
    count: usize,
) -> Result<BTreeMap<String, usize>, Problem> {
    from.run(|| {
        let mut answers = BTreeMap::new();
        for number in 1..=count {
            stop.check()?;
            let name = ask(SocketAddr::from((address, PORT))).map_err(Problem::system(format!(
                "connect to {address} (connection {number} of {count})"
            )))?;
            *answers.entry(name).or_insert(0) += 1;
        }
        Ok(answers)
    })?
}

fn ask(service: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&service, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut name = String::new();
    match stream.read_to_string(&mut name) {
        Err(error) if is_timeout(&error) => Err(io::ErrorKind::TimedOut.into()),
        other => other.map(|_| name),
    }
}
