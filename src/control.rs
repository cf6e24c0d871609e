//! The control API: HTTP and JSON on a Unix socket that only root, or the socket's group, may open.
//!
//! A request becomes a [`Request`] on the loop's bounded queue and its answer comes back on a one-shot; nothing is decided
//! here. Paths are documented in `docs/control-api.md`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::http::{self, Clients};
use crate::metrics;

/// Connections served at a time. For one more, somebody who only sits there has to go.
const MOST_CONNECTIONS: usize = 32;

/// What the API is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Everything at a glance.
    Status,
    /// Everything that is counted, as OpenMetrics text.
    Metrics,
    /// Every tunnel in full.
    Tunnels,
    /// One line for each neighbor.
    BgpSummary,
    /// One neighbor, by name or address.
    BgpNeighbor(String),
    /// Routes, or those of one prefix.
    BgpRoutes(Option<ipnet::IpNet>),
    /// Why packets to a prefix or an address go where they go.
    BgpWhy(String),
    /// Why a neighbor is told of a prefix, and believed about it, or not.
    BgpWhyNot { neighbor: String, prefix: String },
    /// What reading the site file again would do.
    Plan,
    /// Read the site file again.
    Reload,
    /// Act on a tunnel.
    Tunnel(String, TunnelCommand),
    /// Rekey a tunnel's SAs and report.
    Verify(String),
    /// Act on a neighbor, by name or address.
    Neighbor(String, NeighborCommand),
}

/// What can be done to a neighbor's session by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeighborCommand {
    Refresh,
    Reset,
}

/// What can be done to a tunnel by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelCommand {
    Up,
    Down,
    Rekey(Rekeyed),
}

/// The SAs that are to be replaced by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rekeyed {
    Both,
    Child,
    Ike,
}

/// Why the daemon does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such thing; says what there is.
    NotFound(String),
    /// The request makes no sense, or what it refers to (the site file) is wrong.
    Invalid(String),
    /// It was tried and failed.
    Failed(String),
}

impl Refusal {
    /// What it says.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::NotFound(text) | Self::Invalid(text) | Self::Failed(text) => text,
        }
    }
}

/// A question with the place for its answer: a JSON document, or a JSON string where the answer is text.
pub(crate) struct Request {
    pub(crate) query: Query,
    pub(crate) answer: oneshot::Sender<Result<Value, Refusal>>,
}

/// A socket in the file system that goes away with its owner.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens on `path`, taking over what a killed predecessor left there.
    ///
    /// # Errors
    /// When another daemon answers on that path, or the path cannot be made.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another causeway answers there; stop it first, or give this one its own [daemon] socket",
                ));
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until the loop's end of `requests` is dropped.
    pub(crate) async fn serve(self, requests: mpsc::Sender<Request>) {
        let mut clients = Clients::new("the control socket", MOST_CONNECTIONS);
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = requests.closed() => return,
            };
            match stream {
                Ok((stream, _)) => {
                    let requests = requests.clone();
                    clients.admit(stream, move |request| respond(request, requests.clone()));
                }
                Err(error) => {
                    warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            // Whoever has come with a request gets to say it before the next one is let in.
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have been removed by hand; then there is nothing left to do.
        let _ = fs::remove_file(&self.path);
    }
}

async fn respond(
    request: hyper::Request<Incoming>,
    requests: mpsc::Sender<Request>,
) -> Response<Full<Bytes>> {
    let query = match route(
        request.method(),
        request.uri().path(),
        request.uri().query(),
    ) {
        Ok(query) => query,
        Err(refusal) => return refuse(&refusal),
    };
    let (answer, answered) = oneshot::channel();
    if requests.send(Request { query, answer }).await.is_err() {
        return refuse(&Refusal::Failed("the daemon is stopping".into()));
    }
    match answered.await {
        Ok(Ok(Value::String(text))) => http::reply(StatusCode::OK, metrics::MEDIA_TYPE, text),
        Ok(Ok(value)) => reply(StatusCode::OK, &value),
        Ok(Err(refusal)) => refuse(&refusal),
        Err(_) => refuse(&Refusal::Failed("the daemon is stopping".into())),
    }
}

/// The query that a path stands for.
fn route(method: &Method, path: &str, parameters: Option<&str>) -> Result<Query, Refusal> {
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (method, parts.as_slice()) {
        (&Method::GET, ["v1", "status"]) => Ok(Query::Status),
        (&Method::GET, ["v1", "metrics"]) => Ok(Query::Metrics),
        (&Method::GET, ["v1", "tunnels"]) => Ok(Query::Tunnels),
        (&Method::GET, ["v1", "bgp", "summary"]) => Ok(Query::BgpSummary),
        (&Method::GET, ["v1", "bgp", "neighbors", name @ ..]) if !name.is_empty() => {
            Ok(Query::BgpNeighbor(name.join("/")))
        }
        (&Method::POST, ["v1", "bgp", "neighbors", name @ .., action]) if !name.is_empty() => {
            let command = match *action {
                "refresh" => NeighborCommand::Refresh,
                "reset" => NeighborCommand::Reset,
                other => {
                    return Err(Refusal::Invalid(format!(
                        "a neighbor cannot {other}; expected refresh or reset"
                    )));
                }
            };
            Ok(Query::Neighbor(name.join("/"), command))
        }
        (&Method::GET, ["v1", "bgp", "routes"]) => prefix(parameters).map(Query::BgpRoutes),
        (&Method::GET, ["v1", "bgp", "why"]) => parameter(parameters, "prefix").map(Query::BgpWhy),
        (&Method::GET, ["v1", "bgp", "why-not"]) => Ok(Query::BgpWhyNot {
            neighbor: parameter(parameters, "neighbor")?,
            prefix: parameter(parameters, "prefix")?,
        }),
        (&Method::GET, ["v1", "plan"]) => Ok(Query::Plan),
        (&Method::POST, ["v1", "reload"]) => Ok(Query::Reload),
        (&Method::POST, ["v1", "tunnels", name, "verify"]) => Ok(Query::Verify((*name).to_owned())),
        (&Method::POST, ["v1", "tunnels", name, action]) => {
            let command = match *action {
                "up" => TunnelCommand::Up,
                "down" => TunnelCommand::Down,
                "rekey" => TunnelCommand::Rekey(Rekeyed::Both),
                "rekey-child" => TunnelCommand::Rekey(Rekeyed::Child),
                "rekey-ike" => TunnelCommand::Rekey(Rekeyed::Ike),
                other => {
                    return Err(Refusal::Invalid(format!(
                        "a tunnel cannot {other}; expected up, down, rekey, rekey-child, rekey-ike or verify"
                    )));
                }
            };
            Ok(Query::Tunnel((*name).to_owned(), command))
        }
        _ => Err(Refusal::NotFound(format!(
            "no {method} {path} here; docs/control-api.md lists the paths"
        ))),
    }
}

/// A parameter that has to be there.
fn parameter(parameters: Option<&str>, name: &str) -> Result<String, Refusal> {
    optional(parameters, name)
        .ok_or_else(|| Refusal::Invalid(format!("the parameter {name} is missing")))
}

fn optional(parameters: Option<&str>, name: &str) -> Option<String> {
    let pairs = parameters?.split('&').filter_map(|one| one.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name);
    values.next().map(|(_, value)| decode(value))
}

fn prefix(parameters: Option<&str>) -> Result<Option<ipnet::IpNet>, Refusal> {
    let Some(text) = optional(parameters, "prefix") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Refusal::Invalid(format!(
            "{text} is no prefix; expected one like 10.0.0.0/16"
        ))
    })
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        octets.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = match refusal {
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
        Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    reply(status, &json!({ "error": refusal.text() }))
}

fn reply(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    http::reply(status, "application/json", value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_documented_path_is_understood() {
        let get = |path, query| route(&Method::GET, path, query);
        assert_eq!(get("/v1/status", None), Ok(Query::Status));
        assert_eq!(get("/v1/metrics", None), Ok(Query::Metrics));
        assert_eq!(
            get("/v1/bgp/neighbors/k8s/192.168.200.31", None),
            Ok(Query::BgpNeighbor("k8s/192.168.200.31".into()))
        );
        assert_eq!(
            get("/v1/bgp/routes", Some("prefix=10.0.0.0%2F16")),
            Ok(Query::BgpRoutes(Some("10.0.0.0/16".parse().unwrap())))
        );
        assert_eq!(
            get("/v1/bgp/why", Some("prefix=10.0.5.9")),
            Ok(Query::BgpWhy("10.0.5.9".into()))
        );
        assert_eq!(
            get(
                "/v1/bgp/why-not",
                Some("prefix=10.0.0.0/16&neighbor=k8s/192.168.200.31")
            ),
            Ok(Query::BgpWhyNot {
                neighbor: "k8s/192.168.200.31".into(),
                prefix: "10.0.0.0/16".into()
            })
        );
        assert_eq!(
            route(&Method::POST, "/v1/tunnels/oci-1/rekey", None),
            Ok(Query::Tunnel(
                "oci-1".into(),
                TunnelCommand::Rekey(Rekeyed::Both)
            ))
        );
        assert_eq!(
            route(&Method::POST, "/v1/tunnels/oci-1/rekey-child", None),
            Ok(Query::Tunnel(
                "oci-1".into(),
                TunnelCommand::Rekey(Rekeyed::Child)
            ))
        );
        assert_eq!(
            route(&Method::POST, "/v1/tunnels/oci-1/verify", None),
            Ok(Query::Verify("oci-1".into()))
        );
        let post = |path| route(&Method::POST, path, None);
        assert_eq!(
            post("/v1/bgp/neighbors/oci-1/reset"),
            Ok(Query::Neighbor("oci-1".into(), NeighborCommand::Reset))
        );
        assert_eq!(
            post("/v1/bgp/neighbors/k8s/192.168.200.31/refresh"),
            Ok(Query::Neighbor(
                "k8s/192.168.200.31".into(),
                NeighborCommand::Refresh
            ))
        );
    }

    #[test]
    fn what_is_not_understood_says_what_would_be() {
        assert!(matches!(
            route(&Method::GET, "/", None),
            Err(Refusal::NotFound(_))
        ));
        assert!(matches!(
            route(&Method::POST, "/v1/tunnels/a/explode", None),
            Err(Refusal::Invalid(_))
        ));
        assert!(matches!(
            route(&Method::GET, "/v1/bgp/why-not", Some("neighbor=oci-1")),
            Err(Refusal::Invalid(_))
        ));
        assert!(matches!(
            route(&Method::POST, "/v1/bgp/neighbors/oci-1/explode", None),
            Err(Refusal::Invalid(_))
        ));
        assert!(matches!(
            route(&Method::GET, "/v1/bgp/routes", Some("prefix=ten")),
            Err(Refusal::Invalid(_))
        ));
    }

    #[test]
    fn percent_encoding_is_undone_and_nonsense_survives() {
        assert_eq!(decode("a%20b%2"), "a b%2");
        assert_eq!(decode("%zz"), "%zz");
    }
}
