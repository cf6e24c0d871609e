//! The metrics over TCP, for a collector that cannot open the control socket: `GET /metrics`, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::MEDIA_TYPE;
use crate::control::{self, Query};
use crate::http::{Clients, reply};

/// Connections served at a time.
const MOST_CONNECTIONS: usize = 8;

/// How long until an address that could not be had is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// A listener that ends when it is dropped.
pub(crate) struct Listener {
    address: SocketAddr,
    serving: AbortHandle,
}

impl Listener {
    /// Listens on `address`, as soon as it can be had, and has the loop answer.
    pub(crate) fn start(address: SocketAddr, requests: mpsc::Sender<control::Request>) -> Self {
        let serving = tokio::spawn(serve(address, requests)).abort_handle();
        Self { address, serving }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(address: SocketAddr, requests: mpsc::Sender<control::Request>) {
    let listener = open(address).await;
    let mut clients = Clients::new("the metrics listener", MOST_CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                clients.admit(stream, move |request| respond(request, requests.clone()));
            }
            Err(error) => {
                warn!(%error, "the metrics listener cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // Whoever has come with a request gets to say it before the next one is let in.
        tokio::task::yield_now().await;
    }
}

/// Tries until it has the address, and says once why it has not.
async fn open(address: SocketAddr) -> TcpListener {
    let mut is_first = true;
    loop {
        match bind(address) {
            Ok(listener) => {
                info!("metrics are served on http://{address}/metrics");
                return listener;
            }
            Err(error) if std::mem::take(&mut is_first) => {
                warn!(
                    "cannot serve metrics on {address}: {error}; see [metrics] listen. It is tried again every {} s",
                    PAUSE.as_secs()
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    // A listener that has just ended, with connections that the kernel still remembers, is in nobody's way.
    socket.set_reuse_address(true)?;
    // At boot the interface may get its address after we have started.
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(16)?;
    TcpListener::from_std(socket.into())
}

async fn respond(
    request: Request<Incoming>,
    requests: mpsc::Sender<control::Request>,
) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.uri().path() != "/metrics" {
        let words = "there is only /metrics here\n";
        return reply(StatusCode::NOT_FOUND, TEXT, words.into());
    }
    if request.method() != Method::GET {
        let words = "only GET is answered here\n";
        return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, words.into());
    }
    let stopping = || {
        let words = "the daemon is stopping\n";
        reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, words.into())
    };
    let (answer, answered) = oneshot::channel();
    let query = Query::Metrics;
    if requests
        .send(control::Request { query, answer })
        .await
        .is_err()
    {
        return stopping();
    }
    match answered.await {
        Ok(Ok(text)) => reply(
            StatusCode::OK,
            MEDIA_TYPE,
            text.as_str().unwrap_or_default().to_owned(),
        ),
        Ok(Err(refusal)) => reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            format!("{}\n", refusal.text()),
        ),
        Err(_) => stopping(),
    }
}
