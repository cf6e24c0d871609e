//! `plan`: what bringing this host to what the site file says would take, as commands, without doing it.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use config::model::DataPlane;
use serde_json::{Value, json};

use super::{Failure, PlanArguments, client, print_json};
use crate::gateway::Gateway;
use crate::host::{self, HostPlan, Imagined};
use crate::plane as choice;
use crate::site::{self, Loaded};

pub(super) fn execute(arguments: &PlanArguments, socket: Option<&Path>) -> Result<(), Failure> {
    let mut loaded = site::load_without_secrets(&arguments.file)?;
    if let Some(socket) = socket {
        loaded.socket = socket.to_owned();
    }
    let document = match ask_daemon(&arguments.file, &loaded)? {
        Asked::Answer(document) => document,
        Asked::Nobody(why) => plan_here(&arguments.file, loaded, why)?,
    };
    if arguments.output.json {
        print_json(&document)?;
    } else {
        write!(io::stdout(), "{}", script(&document))?;
    }
    if arguments.exit_code && document["changes"] == true {
        return Err(Failure::Changes);
    }
    Ok(())
}

enum Asked {
    Answer(Value),
    /// Nobody can speak for this file, with why, if that is worth a word.
    Nobody(Option<String>),
}

/// A daemon that runs with this file knows best what it would do.
fn ask_daemon(file: &Path, loaded: &Loaded) -> Result<Asked, Failure> {
    let document = match client::get(&loaded.socket, "/v1/plan") {
        Ok(document) => document,
        Err(Failure::NoDaemon(why)) => {
            let is_hidden = loaded.socket.exists();
            return Ok(Asked::Nobody(is_hidden.then_some(why)));
        }
        Err(failure) => return Err(failure),
    };
    let its_file = document["file"].as_str().unwrap_or_default();
    let same = |a: &Path, b: &Path| a == b || a.canonicalize().ok() == b.canonicalize().ok();
    if same(file, Path::new(its_file)) {
        return Ok(Asked::Answer(document));
    }
    Ok(Asked::Nobody(Some(format!(
        "the daemon on {} runs with another file, {its_file}: its routes are among what would be deleted, and what its neighbors would notice is not known",
        loaded.socket.display()
    ))))
}

fn plan_here(file: &Path, mut loaded: Loaded, unseen: Option<String>) -> Result<Value, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = loaded.runtime_folder();
    let wish = loaded.data_plane;
    let may_try = nix::unistd::geteuid().is_root();
    let ask = if may_try {
        choice::probe
    } else {
        choice::assume
    };
    let choice = choice::choose(wish, &loaded.plan.tunnels, ask).map_err(Failure::Failed)?;
    choice.fit(&mut loaded.plan, choice::device_to);
    let plan = loaded.plan;
    let work = async {
        let facts = host::facts_here(&plan.outline()).await?;
        let in_the_way = facts.hindrances.clone();
        let inherited = match host::inherited(state.clone()).await {
            Ok(inherited) => inherited,
            Err(error) => return Err(error.to_string()),
        };
        let (ruleset, tunnels) = (plan.ruleset(), plan.specs());
        let desired = Gateway::first_wish(Instant::now(), plan, inherited, facts)?;
        let imagined = Imagined {
            desired,
            ruleset,
            tunnels,
        };
        let mut host = host::plan_here(state, &imagined).await?;
        host.concerns.extend(in_the_way);
        Ok::<_, String>(host)
    };
    let mut host = runtime.block_on(work).map_err(Failure::Failed)?;
    host.unseen.extend(unseen);
    if !may_try && wish != DataPlane::Userspace {
        host.unseen.push(
            "what this kernel's own data plane can do: only root may try, so it is taken for able"
                .into(),
        );
    }
    Ok(document(file, &host, &choice.to_string(), None))
}

/// The whole answer. `reload` is there where a daemon runs with the file.
pub(crate) fn document(file: &Path, host: &HostPlan, plane: &str, reload: Option<Reload>) -> Value {
    let has_reload = reload
        .as_ref()
        .is_some_and(|reload| !reload.touched.is_empty());
    json!({
        "version": 1,
        "file": file.display().to_string(),
        "changes": !host.is_empty() || has_reload,
        "plane": plane,
        "commands": host.commands,
        "firewall": host.firewall,
        "concerns": host.concerns,
        "unseen": host.unseen,
        "reload": reload.map(|reload| json!({
            "touched": reload.touched,
            "tunnels": reload.tunnels,
            "neighbors": reload.neighbors,
        })),
    })
}

/// What a reload would do.
pub(crate) struct Reload {
    pub(crate) touched: Vec<String>,
    pub(crate) tunnels: Value,
    pub(crate) neighbors: Value,
}

/// The answer as a script for a shell: what is not a command is a comment.
fn script(document: &Value) -> String {
    let mut lines = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>()
    };
    lines.push(format!(
        "# {}; {}",
        text(&document["file"]),
        text(&document["plane"])
    ));
    for unseen in texts(&document["unseen"]) {
        lines.push(format!("# not looked at: {unseen}"));
    }
    let commands = texts(&document["commands"]);
    let firewall = &document["firewall"];
    if commands.is_empty() && firewall.is_null() {
        lines.push("# This host: nothing to do.".into());
    }
    lines.extend(commands);
    if !firewall.is_null() {
        for difference in texts(&firewall["because"]) {
            lines.push(format!("# the firewall: {difference}"));
        }
        lines.push(format!("nft -f - <<'END'\n{}END", text(&firewall["nft"])));
    }
    for concern in texts(&document["concerns"]) {
        lines.push(format!("# {concern}"));
    }
    let reload = &document["reload"];
    if reload.is_null() {
        lines.push("# No daemon runs with this file. SAs and BGP's routes follow from negotiation, and are not in this.".into());
    } else {
        reload_lines(reload, &mut lines);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn reload_lines(reload: &Value, lines: &mut Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let touched = all(&reload["touched"]);
    if touched.is_empty() {
        lines.push("# A reload would change nothing.".into());
        return;
    }
    lines.push("# A reload would say:".into());
    lines.extend(touched.iter().map(|line| format!("#   {}", text(line))));
    for (kind, noticed) in [
        ("tunnel", &reload["tunnels"]),
        ("neighbor", &reload["neighbors"]),
    ] {
        for one in all(noticed) {
            let fields: Vec<String> = all(&one["fields"]).iter().map(text).collect();
            let fields = if fields.is_empty() {
                String::new()
            } else {
                format!(" ({})", fields.join(", "))
            };
            let (name, effect) = (text(&one["name"]), text(&one["effect"]));
            lines.push(format!("# {kind} {name}: {effect}{fields}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_script_whose_words_are_comments() {
        let host = HostPlan {
            commands: vec!["ip link set dev cw0 up".into()],
            firewall: Some(host::FirewallPlan {
                because: vec!["table inet causeway is missing".into()],
                nft: "table inet causeway {\n}\n".into(),
            }),
            concerns: vec!["interface cw1 is not ours".into()],
            unseen: vec!["the moon".into()],
        };
        let document = document(Path::new("/a"), &host, "userspace", None);
        assert_eq!(document["changes"], true);
        let script = script(&document);
        let expected = "# /a; userspace\n# not looked at: the moon\nip link set dev cw0 up\n# the firewall: table inet causeway is missing\nnft -f - <<'END'\ntable inet causeway {\n}\nEND\n# interface cw1 is not ours\n";
        assert!(script.starts_with(expected), "{script}");
    }

    #[test]
    fn what_neighbors_would_notice_is_said_only_if_something_changes() {
        let reload = |touched: &[&str]| Reload {
            touched: touched.iter().map(ToString::to_string).collect(),
            tunnels: json!([{ "name": "oci-1", "effect": "none" }]),
            neighbors: json!([{ "name": "oci-1", "effect": "reset", "fields": ["hold_time"] }]),
        };
        let host = HostPlan::default();
        let quiet = document(Path::new("/a"), &host, "userspace", Some(reload(&[])));
        assert_eq!(quiet["changes"], false);
        assert!(script(&quiet).ends_with("nothing to do.\n# A reload would change nothing.\n"));
        let loud = document(Path::new("/a"), &host, "userspace", Some(reload(&["x"])));
        assert_eq!(loud["changes"], true);
        assert!(
            script(&loud).ends_with("# tunnel oci-1: none\n# neighbor oci-1: reset (hold_time)\n")
        );
    }
}
