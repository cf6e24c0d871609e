//! What it would take to bring the host to what is desired, as commands, without doing it.

use serde::Serialize;
use vti::host::{Host, Reconciler};
use vti::kernel_plane;
use vti::nft::{self, Firewall, Ruleset};

use super::Imagined;

/// What would be done to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct HostPlan {
    /// The commands for interfaces, addresses, kernel settings, routes and the policies of the kernel's data plane, in order.
    pub(crate) commands: Vec<String>,
    /// What would be done to our firewall's table, if anything.
    pub(crate) firewall: Option<FirewallPlan>,
    /// What is wished for and can't be had now, and why.
    pub(crate) concerns: Vec<String>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<String>,
}

/// What would be done to our firewall's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FirewallPlan {
    /// How the table that is there differs from what it should be.
    pub(crate) because: Vec<String>,
    /// What `nft -f` would have to load.
    pub(crate) nft: String,
}

impl HostPlan {
    /// Whether there is anything to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.firewall.is_none()
    }
}

/// Looks at the host anew and compares.
///
/// # Errors
/// When the host cannot be looked at.
pub(super) async fn plan<H: Host>(
    reconciler: &mut Reconciler<H>,
    firewall: Result<&mut Firewall, &str>,
    imagined: &Imagined,
) -> Result<HostPlan, String> {
    let outcome = reconciler.preview(&imagined.desired).await;
    let plan = outcome.map_err(|error| error.to_string())?;
    let mut unseen = Vec::new();
    let firewall = match firewall {
        Ok(firewall) => compare(firewall, imagined.ruleset.as_ref())?,
        Err(reason) => {
            unseen.push(format!("the firewall: {reason}"));
            None
        }
    };
    let mut commands: Vec<String> = plan.ops.iter().map(ToString::to_string).collect();
    let tunnels = &imagined.tunnels;
    if tunnels.iter().any(|spec| spec.binding.is_some()) {
        commands.extend(kernel_plane::plan(tunnels).unwrap_or_else(|reason| {
            unseen.push(format!("XFRM policies, taken for absent: {reason}"));
            kernel_plane::plan_blindly(tunnels)
        }));
    }
    Ok(HostPlan {
        commands,
        firewall,
        concerns: plan.concerns.iter().map(ToString::to_string).collect(),
        unseen,
    })
}

fn compare(
    firewall: &mut Firewall,
    ruleset: Option<&Ruleset>,
) -> Result<Option<FirewallPlan>, String> {
    let observed = firewall.observe().map_err(|error| error.to_string())?;
    let Some(ruleset) = ruleset else {
        return Ok(observed.exists().then(|| FirewallPlan {
            because: vec!["the site file leaves the firewall to others".into()],
            nft: format!("delete table inet {}\n", nft::TABLE),
        }));
    };
    let wrong = |error: nft::RulesetError| error.to_string();
    let because = observed.differences(ruleset).map_err(wrong)?;
    if because.is_empty() {
        return Ok(None);
    }
    Ok(Some(FirewallPlan {
        because: because.iter().map(ToString::to_string).collect(),
        nft: nft::render(ruleset).map_err(wrong)?,
    }))
}
