//! TCP for BGP: dials, accepts, reads and writes; decides nothing.
//!
//! Each connection has one task that reads and one that writes. What they read goes to the loop's bounded queue, so a loop
//! that is behind slows the peer down. What the loop writes is counted, and a peer that does not read is closed once
//! [`MOST_QUEUED`] octets wait for it, because the loop itself must never wait.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bgpd::{ConnId, Md5Key};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

/// How many octets may wait for one slow peer.
const MOST_QUEUED: usize = 64 << 20;

/// How many octets one read takes at most.
const READ: usize = 16 << 10;

/// How long a dial may take before it has failed.
const DIAL: Duration = Duration::from_secs(5);

/// Somebody dialled us; whether it is adopted is decided by address.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// How long a peer may take to read what was sent before a close.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The longest pause between two attempts to get a segment through.
const RETRANSMISSION_PAUSE: Duration = Duration::from_secs(1);

/// What happens on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A dial succeeded.
    Connected {
        conn: ConnId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// A dial failed.
    ConnectFailed { conn: ConnId, reason: String },
    /// Octets arrived.
    Bytes { conn: ConnId, octets: Vec<u8> },
    /// The socket took octets that we sent.
    Sent { conn: ConnId, octets: usize },
    /// The connection is gone.
    Closed { conn: ConnId, reason: String },
}

/// Whom to dial, and how.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) conn: ConnId,
    pub(crate) local: Option<IpAddr>,
    pub(crate) interface: Option<String>,
    pub(crate) remote: SocketAddr,
    pub(crate) distance: Distance,
    pub(crate) md5: Option<Md5Key>,
}

/// How far away a peer may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Distance {
    /// The TTL of our packets; the system's default if `None`.
    pub(crate) ttl: Option<u8>,
    /// The least TTL that its packets may arrive with (RFC 5082).
    pub(crate) min_ttl: Option<u8>,
}

/// All connections.
pub(crate) struct Transport {
    inputs: mpsc::Sender<Event>,
    arrivals: mpsc::Sender<Arrival>,
    connections: BTreeMap<ConnId, Connection>,
    /// One for each address family that the host has.
    listeners: Vec<Listener>,
    /// Whose connections must be signed, and with what (RFC 2385).
    keys: BTreeMap<IpAddr, Md5Key>,
}

struct Listener {
    socket: Socket,
    is_ipv6: bool,
    task: JoinHandle<()>,
}

struct Connection {
    writer: mpsc::UnboundedSender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Transport {
    /// No connection yet; what happens goes to `inputs`, and who dials us to `arrivals`.
    pub(crate) fn new(inputs: mpsc::Sender<Event>, arrivals: mpsc::Sender<Arrival>) -> Self {
        Self {
            inputs,
            arrivals,
            connections: BTreeMap::new(),
            listeners: Vec::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Listens on the port, on all addresses of both families: who may speak is the speaker's decision, by address.
    ///
    /// # Errors
    /// When the port is taken, by another BGP daemon most likely. A host without IPv6 is none.
    pub(crate) fn listen(&mut self, port: u16) -> io::Result<()> {
        self.listen_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        match self.listen_at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Err(error) if is_without_ipv6(&error) => {
                debug!("this host has no IPv6, so BGP is spoken over IPv4 alone");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn listen_at(&mut self, address: SocketAddr) -> io::Result<()> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // Each family has a socket of its own: keys of MD5 are set by the addresses as they are written.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        let listener = TcpListener::from_std(socket.try_clone()?.into())?;
        let task = tokio::spawn(accept(listener, self.arrivals.clone()));
        self.listeners.push(Listener {
            socket,
            is_ipv6: address.is_ipv6(),
            task,
        });
        Ok(())
    }

    /// Takes connections from these peers only where they are signed with their keys; from then on no others are signed.
    pub(crate) fn sign(&mut self, keys: BTreeMap<IpAddr, Md5Key>) {
        let before = std::mem::replace(&mut self.keys, keys);
        let listener_of = |peer: &IpAddr| {
            let mut listeners = self.listeners.iter();
            let listener = listeners.find(|it| it.is_ipv6 == peer.is_ipv6());
            listener.map(|it| &it.socket)
        };
        for peer in before.keys().filter(|peer| !self.keys.contains_key(peer)) {
            // One that the kernel has no key of is what is wanted.
            let _ = listener_of(peer).map(|listener| vti::tcp::sign(listener, *peer, None));
        }
        for (peer, key) in &self.keys {
            let Some(listener) = listener_of(peer) else {
                continue;
            };
            if let Err(error) = vti::tcp::sign(listener, *peer, Some(key.expose())) {
                warn!("connections from {peer} cannot be signed, so none will come about: {error}");
            }
        }
    }

    /// Dials; the outcome is an input.
    pub(crate) fn dial(&mut self, dial: Dial) {
        let conn = dial.conn;
        let inputs = self.inputs.clone();
        let (writer, writes) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let counted = queued.clone();
        let task = tokio::spawn(async move {
            let remote = dial.remote;
            let connected = match tokio::time::timeout(DIAL, connect(&dial)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no answer to the TCP handshake",
                )),
            };
            match connected.and_then(|stream| Ok((stream.local_addr()?, stream))) {
                Ok((local, stream)) => {
                    if inputs
                        .send(Event::Connected {
                            conn,
                            local,
                            remote,
                        })
                        .await
                        .is_ok()
                    {
                        carry(conn, stream, writes, counted, inputs).await;
                    }
                }
                Err(error) => {
                    let reason = explain(&error);
                    let _ = inputs.send(Event::ConnectFailed { conn, reason }).await;
                }
            }
        });
        self.connections.insert(
            conn,
            Connection {
                writer,
                queued,
                task,
            },
        );
    }

    /// Takes over an accepted connection under its number.
    pub(crate) fn adopt(&mut self, conn: ConnId, stream: TcpStream, distance: Distance) {
        let kept = stream
            .peer_addr()
            .and_then(|peer| keep_distance(&stream, peer.ip(), distance));
        prepare(&stream);
        if let Err(error) = kept {
            debug!(%error, "cannot set how far away the peer may be");
        }
        let (writer, writes) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(carry(
            conn,
            stream,
            writes,
            queued.clone(),
            self.inputs.clone(),
        ));
        self.connections.insert(
            conn,
            Connection {
                writer,
                queued,
                task,
            },
        );
    }

    /// Queues octets. Returns a reason if the peer reads so little that the connection must be given up.
    pub(crate) fn send(&mut self, conn: ConnId, octets: Vec<u8>) -> Result<(), String> {
        let Some(connection) = self.connections.get(&conn) else {
            return Ok(());
        };
        let waiting = connection.queued.fetch_add(octets.len(), Ordering::Relaxed) + octets.len();
        if waiting > MOST_QUEUED {
            if let Some(connection) = self.connections.remove(&conn) {
                connection.task.abort();
            }
            return Err(format!(
                "the peer does not read: {waiting} octets wait for it"
            ));
        }
        // A closed writer has told, or will tell, its own end as an input.
        let _ = connection.writer.send(octets);
        Ok(())
    }

    /// Closes once what is queued is written, or when the peer has not read it within [`LAST_WORDS`].
    pub(crate) fn close(&mut self, conn: ConnId) {
        // Dropping the writer's end lets its task finish what waits, shut the connection down and end.
        if let Some(Connection { writer, task, .. }) = self.connections.remove(&conn) {
            drop(writer);
            tokio::spawn(async move {
                let abort = task.abort_handle();
                if tokio::time::timeout(LAST_WORDS, task).await.is_err() {
                    abort.abort();
                }
            });
        }
    }

    /// Forgets a connection that is gone.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.task.abort();
        }
    }
}

async fn accept(listener: TcpListener, arrivals: mpsc::Sender<Arrival>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Ok(local) = stream.local_addr() else {
                    continue;
                };
                if arrivals
                    .send(Arrival {
                        stream,
                        local,
                        remote,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: the pause keeps this from spinning.
                debug!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let socket = if dial.remote.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(interface) = &dial.interface {
        SockRef::from(&socket).bind_device(Some(interface.as_bytes()))?;
    }
    keep_distance(&socket, dial.remote.ip(), dial.distance)?;
    if let Some(key) = &dial.md5 {
        vti::tcp::sign(&socket, dial.remote.ip(), Some(key.expose()))?;
    }
    if let Some(local) = dial.local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(dial.remote).await?;
    prepare(&stream);
    Ok(stream)
}

/// Sends with the TTL that is wanted, and hears nobody from farther away than is allowed.
fn keep_distance(socket: &impl AsFd, peer: IpAddr, distance: Distance) -> io::Result<()> {
    if let Some(ttl) = distance.ttl {
        let (socket, ttl) = (SockRef::from(socket), u32::from(ttl));
        match peer {
            IpAddr::V4(_) => socket.set_ttl_v4(ttl)?,
            IpAddr::V6(_) => socket.set_unicast_hops_v6(ttl)?,
        }
    }
    match distance.min_ttl {
        Some(least) => vti::tcp::demand_ttl(socket, peer, least),
        None => Ok(()),
    }
}

/// Low delay, and precedence "internetwork control" as RFC 4271 appendix E says.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // A kernel that refuses either still carries the session.
    let _ = socket.set_tcp_nodelay(true);
    let _ = match stream.peer_addr() {
        Ok(peer) if peer.is_ipv6() => socket.set_tclass_v6(0xc0),
        _ => socket.set_tos_v4(0xc0),
    };
    // A tunnel may be away for a moment; the session goes on as soon as it is back.
    let _ = vti::tcp::limit_retransmission_pause(stream, RETRANSMISSION_PAUSE);
}

async fn carry(
    conn: ConnId,
    stream: TcpStream,
    mut writes: mpsc::UnboundedReceiver<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    inputs: mpsc::Sender<Event>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let told = inputs.clone();
    let write = async {
        while let Some(octets) = writes.recv().await {
            writer.write_all(&octets).await?;
            queued.fetch_sub(octets.len(), Ordering::Relaxed);
            let _ = told
                .send(Event::Sent {
                    conn,
                    octets: octets.len(),
                })
                .await;
        }
        writer.shutdown().await
    };
    let read = async {
        let mut buffer = vec![0; READ];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return "the peer closed the connection".to_owned(),
                Ok(count) => {
                    let octets = buffer.get(..count).unwrap_or_default().to_vec();
                    if inputs.send(Event::Bytes { conn, octets }).await.is_err() {
                        return "we are stopping".to_owned();
                    }
                }
                Err(error) => return error.to_string(),
            }
        }
    };
    let reason = tokio::select! {
        reason = read => reason,
        written = write => match written {
            Ok(()) => return,
            Err(error) => error.to_string(),
        },
    };
    let _ = inputs.send(Event::Closed { conn, reason }).await;
}

/// Whether a socket cannot be for lack of IPv6 on this host.
fn is_without_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "it refuses: no BGP daemon listens there, or it does not know our address".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("the source address is on no interface ({error})")
        }
        _ => error.to_string(),
    }
}
