//! HTTP for a few small answers: bounded connections, bounded time, one request to a connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tracing::debug;

/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long a client may take in all, reading the answer included: until then the answer is kept in memory for it.
const CONVERSATION_TIME: Duration = Duration::from_secs(30);

/// What a request's head may have, in octets.
const MOST_OCTETS: usize = 16 * 1024;

/// Who is connected, the oldest first.
pub(crate) struct Clients {
    /// What they are connected to, for the log.
    what: &'static str,
    most: usize,
    connected: VecDeque<Client>,
}

struct Client {
    /// It has said a whole request.
    has_asked: Arc<AtomicBool>,
    conversation: AbortHandle,
}

impl Clients {
    /// Nobody yet, and `most` at a time: for one more, somebody who only sits there has to go.
    pub(crate) const fn new(what: &'static str, most: usize) -> Self {
        Self {
            what,
            most,
            connected: VecDeque::new(),
        }
    }

    /// Lets one more in. When there is no place, the oldest that has asked for nothing yet makes room, or else the oldest: idle clients
    /// cannot keep others out.
    pub(crate) fn admit<S, R, F>(&mut self, stream: S, respond: R)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        R: Fn(Request<Incoming>) -> F + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send,
    {
        self.connected
            .retain(|client| !client.conversation.is_finished());
        if self.connected.len() >= self.most {
            let is_idle = |client: &Client| !client.has_asked.load(Ordering::Relaxed);
            let leaves = self.connected.iter().position(is_idle).unwrap_or_default();
            if let Some(client) = self.connected.remove(leaves) {
                client.conversation.abort();
                debug!("{} has too many clients; one was sent away", self.what);
            }
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let (what, asked) = (self.what, has_asked.clone());
        let conversation = tokio::spawn(async move {
            let conversation = converse(what, stream, respond, asked);
            if tokio::time::timeout(CONVERSATION_TIME, conversation)
                .await
                .is_err()
            {
                debug!("a client of {what} took too long");
            }
        });
        self.connected.push_back(Client {
            has_asked,
            conversation: conversation.abort_handle(),
        });
    }
}

async fn converse<S, R, F>(what: &'static str, stream: S, respond: R, has_asked: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .keep_alive(false)
        .max_buf_size(MOST_OCTETS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a conversation with a client of {what} ended early");
    }
}

/// An answer of this media type.
pub(crate) fn reply(
    status: StatusCode,
    media_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
