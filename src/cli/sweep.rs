//! `sweep`: takes off this host what a daemon left there that does not come back.

use std::io::{self, Write};
use std::path::Path;

use vti::host::Reconciler;
use vti::kernel::KernelHost;
use vti::nft::Firewall;
use vti::plan::Desired;

use super::{Failure, client};

/// How often what did not succeed is tried: clearing away is put off while something else fails.
const ATTEMPTS: usize = 3;

/// Takes off what is marked as ours, and gives the kernel settings back that the daemon with that control socket changed.
///
/// # Errors
/// When a daemon answers there, which would put everything back; when the kernel refuses.
pub(super) fn execute(socket: &Path) -> Result<(), Failure> {
    match client::get(socket, "/v1/status") {
        Err(Failure::NoDaemon(_)) => {}
        Ok(_) | Err(_) => {
            return Err(Failure::Failed(format!(
                "a daemon runs on {} and would put back what is taken away; stop it first",
                socket.display()
            )));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Interfaces before the policies that are asked for their packets: so nothing leaves unencrypted.
    let mut taken = runtime.block_on(sweep_host(socket))?;
    let failed = |reason: vti::kernel_plane::Reason| Failure::Failed(reason.to_string());
    taken.extend(vti::kernel_plane::clear().map_err(failed)?);
    if sweep_firewall()? {
        taken.push(format!("nft delete table inet {}", vti::nft::TABLE));
    }
    let mut out = io::stdout().lock();
    if taken.is_empty() {
        writeln!(out, "nothing of ours is on this host")?;
    }
    for command in taken {
        writeln!(out, "{command}")?;
    }
    Ok(())
}

/// Interfaces, addresses, routes, nexthop objects and kernel settings. Gives the commands that a person would have typed.
async fn sweep_host(socket: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: vti::host::Error| Failure::Failed(error.to_string());
    let state = socket.parent().unwrap_or(Path::new("/run/causeway"));
    let host = KernelHost::open_with_state_in(state.to_owned())
        .await
        .map_err(failed)?;
    let mut reconciler = Reconciler::new(host);
    let mut taken = Vec::new();
    let mut left = Vec::new();
    for _ in 0..ATTEMPTS {
        let report = reconciler
            .reconcile(&Desired::default())
            .await
            .map_err(failed)?;
        taken.extend(report.applied.iter().map(ToString::to_string));
        if report.is_settled() {
            return Ok(taken);
        }
        left = report.failed;
        reconciler.invalidate();
    }
    let reasons: Vec<_> = left.iter().map(|(_, error)| error.to_string()).collect();
    Err(Failure::Failed(format!(
        "not everything could be taken away: {}",
        reasons.join("; ")
    )))
}

/// Our table. Says whether there was one.
fn sweep_firewall() -> Result<bool, Failure> {
    let failed = |error: vti::nft::Error| Failure::Failed(error.to_string());
    let Ok(mut firewall) = Firewall::open() else {
        // A kernel without nf_tables has no table of ours.
        return Ok(false);
    };
    if firewall.observe().map_err(failed)?.is_absent() {
        return Ok(false);
    }
    firewall.remove().map_err(failed)?;
    Ok(true)
}
