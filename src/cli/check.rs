//! `check` and `explain`: what is wrong with a site file, before anything is touched.

use std::io::{self, Write};

use config::model::{Auth, SecretSource};
use config::render::{self, Colour};
use config::{Severity, Site, Source};
use serde_json::json;

use super::paint::Paint;
use super::{CheckArguments, Failure, print_json};
use crate::secrets;
use crate::site::{self, Checked, Look};

pub(super) fn execute(arguments: &CheckArguments) -> Result<(), Failure> {
    let look = if arguments.without_secrets {
        Look::AtTextOnly
    } else {
        Look::AtSecrets
    };
    let checked = site::check(&arguments.file, look)?;
    let name = arguments.file.display().to_string();
    if arguments.output.json {
        print_json(&as_json(&name, &checked, arguments.explain))?;
    } else {
        print(&name, &checked, arguments.explain)?;
    }
    let errors = checked
        .diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .count();
    if checked.site.is_none() {
        let errors = super::number(errors, "error");
        return Err(Failure::Invalid(format!("{name} has {errors}")));
    }
    Ok(())
}

fn print(name: &str, checked: &Checked, explain: bool) -> Result<(), Failure> {
    let paint = Paint::detect();
    let colour = if paint.is_on() {
        Colour::Always
    } else {
        Colour::Never
    };
    let mut out = io::stdout().lock();
    let source = Source::new(name, &checked.text);
    write!(
        out,
        "{}",
        render::all(&source, &checked.diagnostics, colour)
    )?;
    let Some(site) = &checked.site else {
        return Ok(());
    };
    if explain {
        write!(out, "{}", site.explain())?;
    }
    for note in notes(site) {
        writeln!(out, "{} {note}", paint.pending("note:"))?;
    }
    let neighbors = site.bgp.as_ref().map_or(0, |bgp| bgp.neighbors.len());
    let ranges = site.bgp.as_ref().map_or(0, |bgp| bgp.ranges.len());
    let ranges = match ranges {
        0 => String::new(),
        ranges => format!(", {}", super::number(ranges, "range") + " of neighbors"),
    };
    let tunnels = site.tunnels.len();
    writeln!(
        out,
        "{} {name}: gateway {}, {}, {}{ranges}",
        paint.good("ok"),
        site.gateway.name,
        super::number(tunnels, "tunnel"),
        super::number(neighbors, "neighbor")
    )?;
    Ok(())
}

/// What is right in the file and will go wrong all the same.
fn notes(site: &Site) -> Vec<String> {
    let sources = site.tunnels.iter().flat_map(|tunnel| {
        [
            Some(match &tunnel.auth {
                Auth::Psk(source) => source,
                Auth::Certificate(certificate) => &certificate.key,
            }),
            tunnel.ppk.as_ref().map(|ppk| &ppk.secret),
        ]
    });
    let keys = sources.flatten().filter_map(|source| match source {
        SecretSource::File(path) => secrets::hidden_from_the_daemon(path),
        SecretSource::Credential(_) | SecretSource::Env(_) => None,
    });
    keys.collect()
}

fn as_json(name: &str, checked: &Checked, explain: bool) -> serde_json::Value {
    json!({
        "version": 1,
        "file": name,
        "ok": checked.site.is_some(),
        "diagnostics": checked.diagnostics,
        "notes": checked.site.as_ref().map(notes),
        "site": checked.site.as_ref().filter(|_| explain),
    })
}

/// Says more about a code.
pub(super) fn explain(code: &str) -> Result<(), Failure> {
    let Some(text) = config::explain(code) else {
        return Err(Failure::Invalid(format!(
            "there is no code {code}; codes look like CW0101 and stand in brackets behind error, warning or note"
        )));
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
