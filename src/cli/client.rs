//! The command line's side of the control API.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Failure;

/// How long the daemon may take to answer; a reload of a large site takes longest.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks for something.
pub(crate) fn get(socket: &Path, path: &str) -> Result<Value, Failure> {
    exchange(socket, Method::GET, path, PATIENCE).and_then(|body| document(&body))
}

/// Asks for something that is text.
pub(super) fn get_text(socket: &Path, path: &str) -> Result<String, Failure> {
    let body = exchange(socket, Method::GET, path, PATIENCE)?;
    String::from_utf8(body.to_vec())
        .map_err(|e| Failure::Failed(format!("the daemon's answer is not UTF-8 ({e})")))
}

/// Asks for something to be done.
pub(super) fn post(socket: &Path, path: &str) -> Result<Value, Failure> {
    exchange(socket, Method::POST, path, PATIENCE).and_then(|body| document(&body))
}

/// Asks for something that takes as long as the peer does.
pub(super) fn post_and_wait(
    socket: &Path,
    path: &str,
    patience: Duration,
) -> Result<Value, Failure> {
    exchange(socket, Method::POST, path, patience).and_then(|body| document(&body))
}

fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    patience: Duration,
) -> Result<Bytes, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exchange = async {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| unreachable_daemon(socket, &error))?;
        request(stream, method, path).await
    };
    // The timer has to be made inside the runtime.
    runtime
        .block_on(async { tokio::time::timeout(patience, exchange).await })
        .unwrap_or_else(|_| {
            let seconds = patience.as_secs();
            Err(Failure::NoDaemon(format!(
                "the daemon on {} has not answered for {seconds} s",
                socket.display()
            )))
        })
}

async fn request(stream: UnixStream, method: Method, path: &str) -> Result<Bytes, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Failed(format!("the daemon did not answer: {error}"))
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(encode(path))
        .header(hyper::header::HOST, "causeway")
        .body(Empty::<Bytes>::new())
        .map_err(|e| Failure::Invalid(format!("cannot ask for {path}: {e}")))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|e| failed(&e))?
        .to_bytes();
    driver.abort();
    if status.is_success() {
        return Ok(body);
    }
    let value = document(&body)?;
    let text = value
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("the daemon refused")
        .to_owned();
    Err(if status.is_client_error() {
        Failure::Invalid(text)
    } else {
        Failure::Failed(text)
    })
}

fn document(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        Failure::Failed(format!(
            "the daemon's answer is not JSON ({e}); is it of another version?"
        ))
    })
}

/// Percent-encodes what a tunnel's or neighbor's name may hold beyond URL characters.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b'?'
            | b'='
            | b'&'
            | b':' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

fn unreachable_daemon(socket: &Path, error: &std::io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::NoDaemon(format!(
            "may not open {socket}; run this as root or as a member of the group that owns it"
        )),
        _ => Failure::NoDaemon(format!(
            "no daemon answers on {socket} ({error}); start it with `causeway run --config FILE` or `systemctl start causeway`, or name its socket with --socket"
        )),
    }
}
