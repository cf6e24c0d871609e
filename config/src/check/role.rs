//! The tunnels' roles beside each other.

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::TunnelRole;
use crate::read::{RawSite, RawTunnel};

pub(super) fn check(raw: &RawSite, report: &mut Report<'_>) {
    let role = |tunnel: &RawTunnel| tunnel.role.as_ref().map(|role| role.value);
    let Some(written) = raw.tunnels.iter().find_map(|tunnel| tunnel.role.as_ref()) else {
        return;
    };
    if raw.tunnels.iter().all(|it| role(it) == Some(written.value)) {
        let word = match written.value {
            TunnelRole::Primary => "primary",
            TunnelRole::Backup => "a backup",
        };
        let message = format!("every tunnel is {word}, so the role decides nothing");
        drop(
            report
                .warning(Code::TunnelRole, written.span.clone(), message)
                .help("one tunnel is the primary, the others are its backups; without any role they share traffic"),
        );
        return;
    }
    let primary = raw.tunnels.iter().find_map(|tunnel| {
        tunnel
            .role
            .as_ref()
            .filter(|role| role.value == TunnelRole::Primary)
    });
    let Some(primary) = primary else { return };
    for tunnel in raw.tunnels.iter().filter(|tunnel| role(tunnel).is_none()) {
        let message = format!(
            "tunnel {} is beside a primary, and its cloud is not told that: traffic may come back by it",
            tunnel.name
        );
        drop(
            report
                .warning(Code::TunnelRole, tunnel.at.clone(), message)
                .also(primary.span.clone(), "the primary")
                .help("add role = \"backup\""),
        );
    }
}
