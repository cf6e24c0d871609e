//! `check` and `explain`: what is wrong with a site file, before anything is touched.

use std::io::{self, Write};

use config::render::{self, Colour};
use config::{Severity, Source};
use serde_json::json;

use super::paint::Paint;
use super::{CheckArguments, Failure, print_json};
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
        let files = if errors == 1 {
            "1 error".to_owned()
        } else {
            format!("{errors} errors")
        };
        return Err(Failure::Invalid(format!("{name} has {files}")));
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
    let neighbors = site.bgp.as_ref().map_or(0, |bgp| bgp.neighbors.len());
    let tunnels = site.tunnels.len();
    writeln!(
        out,
        "{} {name}: gateway {}, {tunnels} tunnels, {neighbors} neighbors",
        paint.good("ok"),
        site.gateway.name
    )?;
    Ok(())
}

fn as_json(name: &str, checked: &Checked, explain: bool) -> serde_json::Value {
    json!({
        "version": 1,
        "file": name,
        "ok": checked.site.is_some(),
        "diagnostics": checked.diagnostics,
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
