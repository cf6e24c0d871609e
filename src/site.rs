//! From the site file on disk to a plan for the cores, with its secrets.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::model::{Auth, Certificate, DataPlane, LogLevel, SecretSource};
use config::render::{self, Colour};
use config::{
    CertificateProblem, Diagnostic, Identities, SecretUnavailable, Secrets, Severity, Site, Source,
};
use crypto::Secret;

use crate::certificates;
use crate::cli::Failure;
use crate::plan::{Keys, Plan};
use crate::secrets::{self, SecretError};

/// The TCP port of BGP (RFC 4271, section 4).
const BGP_PORT: u16 = 179;

/// A larger site file is something else.
const MOST_OCTETS: u64 = 4 << 20;

/// What the shell has to know of a site, and the plan for the rest.
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    pub(crate) socket: PathBuf,
    pub(crate) log: String,
    pub(crate) clean_up: bool,
    pub(crate) ike_port: u16,
    pub(crate) nat_port: u16,
    pub(crate) bgp_port: u16,
    pub(crate) data_plane: DataPlane,
    /// Where the metrics are served over TCP.
    pub(crate) metrics: Option<SocketAddr>,
    /// The control socket by the site file; the command line may have chosen another.
    asked_socket: PathBuf,
}

/// A site file that was read, with everything found in it.
pub(crate) struct Checked {
    pub(crate) text: String,
    pub(crate) site: Option<Site>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Whether the secrets that a file refers to are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// They are read and checked.
    AtSecrets,
    /// The machine may not have them.
    AtTextOnly,
}

/// Reads a site file for `run`. Diagnostics go to standard error as people read them.
///
/// # Errors
/// [`Failure::Invalid`] when there is no usable site in the file.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    let site = usable(path, Look::AtSecrets)?;
    finish(&site, Look::AtSecrets).map_err(|error| wrong(path, &error))
}

/// Reads a site file for what needs no secrets: every pre-shared key in the plan is empty, also in place of certificates.
///
/// # Errors
/// [`Failure::Invalid`] when there is no usable site in the file.
pub(crate) fn load_without_secrets(path: &Path) -> Result<Loaded, Failure> {
    let site = usable(path, Look::AtTextOnly)?;
    finish(&site, Look::AtTextOnly).map_err(|error| wrong(path, &error))
}

fn wrong(path: &Path, error: &str) -> Failure {
    Failure::Invalid(format!("{}: {error}", path.display()))
}

/// The site in a file. Diagnostics go to standard error as people read them.
fn usable(path: &Path, look: Look) -> Result<Site, Failure> {
    let checked = check(path, look)?;
    let name = path.display().to_string();
    if !checked.diagnostics.is_empty() {
        let colour = if io::stderr().is_terminal() {
            Colour::Always
        } else {
            Colour::Never
        };
        let text = render::all(
            &Source::new(&name, &checked.text),
            &checked.diagnostics,
            colour,
        );
        write!(io::stderr(), "{text}")?;
    }
    checked
        .site
        .ok_or_else(|| Failure::Invalid(format!("{name} cannot be used; nothing was touched")))
}

/// Reads a site file for a reload. Warnings go to the log.
///
/// # Errors
/// Every diagnostic, one a line.
pub(crate) fn load_quietly(path: &Path) -> Result<Loaded, String> {
    let checked = check(path, Look::AtSecrets).map_err(|failure| failure.to_string())?;
    let name = path.display().to_string();
    let source = Source::new(&name, &checked.text);
    let lines = |wanted: fn(Severity) -> bool| {
        let chosen = checked
            .diagnostics
            .iter()
            .filter(move |one| wanted(one.severity));
        chosen
            .map(|one| render::line(&source, one))
            .collect::<Vec<_>>()
    };
    let Some(site) = &checked.site else {
        return Err(lines(|severity| severity == Severity::Error).join("\n"));
    };
    for line in lines(|severity| severity == Severity::Warning) {
        tracing::warn!("{line}");
    }
    finish(site, Look::AtSecrets).map_err(|error| format!("{name}: {error}"))
}

/// Reads and checks a site file.
///
/// # Errors
/// [`Failure::Invalid`] when the file cannot be read.
pub(crate) fn check(path: &Path, look: Look) -> Result<Checked, Failure> {
    let text = read(path)
        .map_err(|reason| Failure::Invalid(format!("cannot read {}: {reason}", path.display())))?;
    let name = path.display().to_string();
    let source = Source::new(&name, &text);
    let loaded = match look {
        Look::AtSecrets => config::load(&source, &Lender),
        Look::AtTextOnly => config::load(&source, &config::Unseen),
    };
    let (site, diagnostics) = (loaded.site, loaded.diagnostics);
    Ok(Checked {
        text,
        site,
        diagnostics,
    })
}

fn read(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    if metadata.len() > MOST_OCTETS {
        return Err(format!(
            "it has {} octets, which is no site file",
            metadata.len()
        ));
    }
    let octets = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(octets).map_err(|error| format!("it is not UTF-8: {error}"))
}

fn finish(site: &Site, look: Look) -> Result<Loaded, String> {
    let fetch: fn(&SecretSource) -> Result<Secret, SecretError> = match look {
        Look::AtSecrets => fetch,
        Look::AtTextOnly => |_| Ok(Secret::default()),
    };
    let mut keys = Keys::new();
    for tunnel in &site.tunnels {
        let wrong = |what: &dyn std::fmt::Display| {
            format!("line {}: tunnel {}: {what}", tunnel.line, tunnel.name)
        };
        let auth = match &tunnel.auth {
            Auth::Psk(source) => fetch(source).map_err(|error| wrong(&error))?.into(),
            Auth::Certificate(_) if look == Look::AtTextOnly => Secret::default().into(),
            Auth::Certificate(files) => {
                let loaded = certificates::load(files, fetch);
                let loaded = loaded.map_err(|problem| wrong(&problem.reason))?;
                ike::Auth::Certificate(Arc::new(loaded))
            }
        };
        keys.insert(tunnel.name.clone(), auth);
    }
    let mut plan = Plan::of(site, &keys)?;
    for tunnel in &site.tunnels {
        let Some(ppk) = &tunnel.ppk else { continue };
        let key = fetch(&ppk.secret).map_err(|error| {
            format!("line {}: tunnel {}: ppk: {error}", tunnel.line, tunnel.name)
        })?;
        plan.mix(tunnel, ppk, key);
    }
    for neighbor in site.bgp.iter().flat_map(|bgp| &bgp.neighbors) {
        let Some(source) = &neighbor.md5 else {
            continue;
        };
        let wrong = |what: &dyn std::fmt::Display| {
            format!("line {}: neighbor {}: {what}", neighbor.line, neighbor.name)
        };
        let key = fetch(source).map_err(|error| wrong(&error))?;
        plan.sign(&neighbor.name, &key)
            .map_err(|error| wrong(&error))?;
    }
    Ok(Loaded {
        plan,
        socket: site.daemon.socket.clone(),
        log: level(site.daemon.log).to_owned(),
        clean_up: site.daemon.cleanup,
        ike_port: site.daemon.ike_port,
        nat_port: site.daemon.nat_port,
        bgp_port: BGP_PORT,
        data_plane: site.daemon.data_plane,
        metrics: site.metrics.listen,
        asked_socket: site.daemon.socket.clone(),
    })
}

impl Loaded {
    /// Where state lives that has to survive a crash: beside the control socket.
    pub(crate) fn runtime_folder(&self) -> PathBuf {
        self.socket
            .parent()
            .map_or_else(|| PathBuf::from("/run/causeway"), Path::to_owned)
    }

    /// Takes over what a running daemon cannot change, and says what that leaves for a restart. Tunnels keep their numbers, whatever the
    /// order of the file is now.
    ///
    /// # Errors
    /// What cannot even be kept as it was.
    pub(crate) fn keep_from(&mut self, running: &Self) -> Result<Vec<String>, String> {
        if (self.ike_port, self.nat_port) != (running.ike_port, running.nat_port) {
            return Err("[daemon] ike-port and nat-port take effect at a restart only".into());
        }
        if self.plan.runs_over_ipv6() != running.plan.runs_over_ipv6() {
            return Err(
                "the outer addresses of the tunnels are of another family, which takes effect at a restart only".into(),
            );
        }
        let mut kept = Vec::new();
        let mut keep = |what: &str, differs: bool| {
            if differs {
                kept.push(format!("[daemon] {what}: takes effect at a restart"));
            }
        };
        keep("socket", self.asked_socket != running.asked_socket);
        keep("log", self.log != running.log);
        keep("data-plane", self.data_plane != running.data_plane);
        self.socket.clone_from(&running.socket);
        self.asked_socket.clone_from(&running.asked_socket);
        self.log.clone_from(&running.log);
        self.data_plane = running.data_plane;
        self.plan.keep_numbers(&running.plan);
        Ok(kept)
    }
}

/// What a reload says of another address for the metrics.
pub(crate) fn metrics_words(address: Option<SocketAddr>) -> String {
    address.map_or_else(
        || "[metrics]: no longer served over TCP".to_owned(),
        |address| format!("[metrics]: served on http://{address}/metrics"),
    )
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn fetch(source: &SecretSource) -> Result<Secret, SecretError> {
    match source {
        SecretSource::File(path) => secrets::from_file(path),
        SecretSource::Credential(name) => secrets::from_credential(name),
        SecretSource::Env(name) => secrets::from_environment(name),
    }
}

/// Lends secrets to the checks, which look and keep nothing.
struct Lender;

impl Secrets for Lender {
    fn inspect(
        &self,
        source: &SecretSource,
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<(), SecretUnavailable> {
        let secret = fetch(source).map_err(|error| SecretUnavailable {
            reason: error.to_string(),
            help: error.help(),
        })?;
        look(secret.expose());
        Ok(())
    }

    fn judge(&self, certificate: &Certificate, ids: Identities<'_>) -> Vec<CertificateProblem> {
        certificates::judge(certificate, ids, fetch)
    }
}
