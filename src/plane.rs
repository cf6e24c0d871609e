//! Which data plane carries the packets: what the site file asks for, held against what this kernel can do.
//!
//! A site has one plane. The kernel is asked by trying ([`vti::kernel_plane::probe`]); what it says is judged here, for every suite and
//! every interface that the site file asks for, so that a tunnel does not come up and then carry nothing.

use std::fmt;

use config::model::{self, DataPlane, InterfaceKind, LARGEST_REQID};
use crypto::Suite;
use ike::EsnPolicy;
use tokio::sync::mpsc::Sender;
use vti::kept::KeptPort;
pub(crate) use vti::kernel_plane::probe;
use vti::kernel_plane::{KernelPlane, Probe, Reason, Wanted};
use vti::plane::{
    self, BINDINGS, Binding, DataPlane as Plane, Offload, PlaneEvent, PlaneKind, TunnelId,
};
use vti::user::{UserPlane, UserPlaneConfig};

use crate::plan::{self, TunnelPlan};

/// The plane that was chosen, and why.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) kind: PlaneKind,
    /// In words.
    pub(crate) reason: String,
    /// What the kernel can do, where it was asked.
    probe: Option<Answered>,
}

/// What the kernel was asked, and what it can do of it.
#[derive(Debug, Clone)]
struct Answered {
    suites: Vec<Suite>,
    wanted: Wanted,
    probe: Probe,
}

impl Answered {
    fn ask(tunnels: &[TunnelPlan], ask: impl FnOnce(&[Suite], Wanted) -> Probe) -> Self {
        let (suites, wanted) = (suites(tunnels), wanted(tunnels));
        let probe = ask(&suites, wanted);
        Self {
            suites,
            wanted,
            probe,
        }
    }

    /// Whether all that these tunnels may ask was asked.
    fn covers(&self, tunnels: &[TunnelPlan]) -> bool {
        self.wanted == wanted(tunnels)
            && suites(tunnels)
                .iter()
                .all(|suite| self.suites.contains(suite))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} data plane: {}", self.kind, self.reason)
    }
}

/// What the kernel cannot do of what the site file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// The tunnel and its line in the site file; none where it is about all of them.
    tunnel: Option<(String, usize)>,
    why: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tunnel {
            Some((name, line)) => write!(f, "tunnel {name} (line {line}): {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Chooses. `ask` tries what the kernel can do; it is not called where that does not matter.
///
/// # Errors
/// What stands against the kernel plane, where the site file insists on it.
pub(crate) fn choose(
    wish: DataPlane,
    tunnels: &[TunnelPlan],
    ask: impl FnOnce(&[Suite], Wanted) -> Probe,
) -> Result<Choice, String> {
    if wish == DataPlane::Userspace {
        return Ok(Choice {
            kind: PlaneKind::Userspace,
            reason: "[daemon] data-plane = \"userspace\"".into(),
            probe: None,
        });
    }
    let answered = Answered::ask(tunnels, ask);
    let obstacles = obstacles(tunnels, &answered.probe);
    let (kind, reason) = match (wish, obstacles.as_slice()) {
        (DataPlane::Kernel, []) => (PlaneKind::Kernel, "[daemon] data-plane = \"kernel\"".into()),
        (_, []) => (
            PlaneKind::Kernel,
            "[daemon] data-plane = \"auto\": the kernel takes every suite and interface that the site file asks for".into(),
        ),
        (DataPlane::Kernel, obstacles) => {
            return Err(format!(
                "[daemon] data-plane = \"kernel\", and this kernel does not do all that the site file asks for:\n{}\nor write data-plane = \"userspace\", which needs nothing of this",
                list(obstacles)
            ));
        }
        (_, [first, others @ ..]) => {
            let more = match others.len() {
                0 => String::new(),
                count => format!(" (and {count} more; data-plane = \"kernel\" lists them)"),
            };
            let reason = format!(
                "[daemon] data-plane = \"auto\", and this kernel does not do all that the site file asks for: {first}{more}"
            );
            (PlaneKind::Userspace, reason)
        }
    };
    Ok(Choice {
        kind,
        reason,
        probe: Some(answered),
    })
}

/// What a kernel that does everything would answer, for who may not try.
pub(crate) fn assume(suites: &[Suite], _: Wanted) -> Probe {
    Probe {
        xfrm: Ok(()),
        xfrm_interface: Ok(()),
        vti: Ok(()),
        suites: suites.iter().map(|suite| (*suite, Ok(()))).collect(),
    }
}

/// The device by which packets to an address leave now.
pub(crate) fn device_to(address: std::net::IpAddr) -> Option<String> {
    let path = crate::host::way_to(address).ok()??;
    Some(path.dev.to_string())
}

/// Opens the plane, which takes the ports that it shares with IKE, but for one that was kept for it: for the kernel's plane only.
///
/// # Errors
/// What the system says; above all that somebody else has a port.
pub(crate) fn open(
    kind: PlaneKind,
    config: &UserPlaneConfig,
    kept: Option<KeptPort>,
    events: Sender<PlaneEvent>,
) -> Result<Box<dyn Plane>, plane::Error> {
    Ok(match kind {
        PlaneKind::Userspace => Box::new(UserPlane::new(config, events)?),
        PlaneKind::Kernel => Box::new(KernelPlane::new(config, kept, events)?),
    })
}

impl Choice {
    /// Takes in what another site file asks for; the plane stays what it is. `ask` as for [`choose`]: where nothing is wished that was not
    /// tried before, it is not called, since trying makes objects in the kernel.
    ///
    /// # Errors
    /// What the kernel cannot do of it, where it is the plane.
    pub(crate) fn admit(
        &mut self,
        tunnels: &[TunnelPlan],
        ask: impl FnOnce(&[Suite], Wanted) -> Probe,
    ) -> Result<(), String> {
        if self.kind == PlaneKind::Userspace {
            return Ok(());
        }
        let known = self.probe.take().filter(|known| known.covers(tunnels));
        let answered = known.unwrap_or_else(|| Answered::ask(tunnels, ask));
        let obstacles = obstacles(tunnels, &answered.probe);
        self.probe = Some(answered);
        if !obstacles.is_empty() {
            return Err(format!(
                "the kernel's data plane runs, and this kernel does not do all that the site file asks for:\n{}\nor restart with data-plane = \"userspace\"",
                list(&obstacles)
            ));
        }
        Ok(())
    }

    /// Gives each tunnel what ties its interface to its SAs, and the device that its offload is for, which `device_to` finds.
    pub(crate) fn fit(
        &self,
        plan: &mut plan::Plan,
        device_to: impl Fn(std::net::IpAddr) -> Option<String>,
    ) {
        plan.clamp_mss = match self.kind {
            PlaneKind::Userspace => Vec::new(),
            PlaneKind::Kernel => (plan.tunnels.iter())
                .filter(|tunnel| tunnel.mss_clamp)
                .map(|tunnel| tunnel.interface().to_owned())
                .collect(),
        };
        let wan = plan.wan.clone();
        for tunnel in &mut plan.tunnels {
            // Where a rule does it the plane has no part in it, and a tunnel need not go for another wish.
            tunnel.spec.mss_clamp = tunnel.mss_clamp && self.kind == PlaneKind::Userspace;
            if self.kind == PlaneKind::Userspace {
                (tunnel.spec.binding, tunnel.spec.offload) = (None, Offload::Off);
                continue;
            }
            tunnel.spec.binding = Some(self.binding(tunnel.interface_kind, tunnel.spec.id));
            let device = || {
                let device = wan.clone().or_else(|| device_to(tunnel.connection.remote));
                if device.is_none() {
                    tracing::warn!(tunnel = %tunnel.name, "no offload: no route says by which device its packets leave; name it in [gateway] wan");
                }
                device
            };
            tunnel.spec.offload = match tunnel.offload {
                model::Offload::None => None,
                model::Offload::Crypto => device().map(|device| Offload::Crypto { device }),
                model::Offload::Packet => device().map(|device| Offload::Packet { device }),
            }
            .unwrap_or_default();
        }
        plan.promise_forwarding();
    }

    fn binding(&self, kind: InterfaceKind, id: TunnelId) -> Binding {
        let number = (BINDINGS.start() & !LARGEST_REQID) | id.0;
        if self.takes_xfrm(kind) {
            Binding::IfId(number)
        } else {
            Binding::Mark(number)
        }
    }

    fn takes_xfrm(&self, kind: InterfaceKind) -> bool {
        match kind {
            InterfaceKind::Xfrm => true,
            InterfaceKind::Vti => false,
            InterfaceKind::Auto => self
                .probe
                .as_ref()
                .is_none_or(|it| it.probe.xfrm_interface.is_ok()),
        }
    }

    /// Why a tunnel's interface is what it is.
    pub(crate) fn interface_reason(&self, kind: InterfaceKind) -> String {
        if self.kind == PlaneKind::Userspace {
            return "the userspace data plane has its own".into();
        }
        match (kind, self.probe.as_ref().map(|it| &it.probe.xfrm_interface)) {
            (InterfaceKind::Xfrm, _) => "interface-kind = \"xfrm\"".into(),
            (InterfaceKind::Vti, _) => "interface-kind = \"vti\"".into(),
            (InterfaceKind::Auto, Some(Err(reason))) => {
                format!("interface-kind = \"auto\": this kernel has no xfrm interfaces: {reason}")
            }
            (InterfaceKind::Auto, _) => {
                "interface-kind = \"auto\": this kernel has xfrm interfaces".into()
            }
        }
    }
}

/// What the tunnels may negotiate, each once.
fn suites(tunnels: &[TunnelPlan]) -> Vec<Suite> {
    let mut suites = Vec::new();
    for suite in tunnels.iter().flat_map(TunnelPlan::suites) {
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    suites
}

/// The most that any tunnel wants of an SA.
fn wanted(tunnels: &[TunnelPlan]) -> Wanted {
    let proposals = tunnels.iter().flat_map(|tunnel| &tunnel.connection.esp);
    Wanted {
        replay_window: (tunnels.iter().map(|tunnel| tunnel.spec.replay_window))
            .max()
            .unwrap_or(128),
        esn: proposals.into_iter().any(|it| it.esn != EsnPolicy::Never),
    }
}

fn obstacles(tunnels: &[TunnelPlan], probe: &Probe) -> Vec<Obstacle> {
    if let Err(reason) = &probe.xfrm {
        return vec![Obstacle {
            tunnel: None,
            why: reason.to_string(),
        }];
    }
    tunnels
        .iter()
        .flat_map(|tunnel| {
            let of_tunnel = move |why: String| Obstacle {
                tunnel: Some((tunnel.name.clone(), tunnel.line)),
                why,
            };
            let refused = tunnel.suites().filter_map(|suite| {
                let (_, outcome) = probe.suites.iter().find(|(asked, _)| *asked == suite)?;
                Some(outcome.as_ref().err()?.to_string())
            });
            let interface = no_interface(tunnel.interface_kind, probe);
            refused.chain(interface).map(of_tunnel).collect::<Vec<_>>()
        })
        .collect()
}

fn no_interface(kind: InterfaceKind, probe: &Probe) -> Option<String> {
    let refused = |outcome: &Result<(), Reason>| Some(outcome.as_ref().err()?.to_string());
    let (xfrm, vti) = (refused(&probe.xfrm_interface), refused(&probe.vti));
    match kind {
        InterfaceKind::Xfrm => xfrm,
        InterfaceKind::Vti => vti,
        InterfaceKind::Auto => Some(format!("{}; {}", xfrm?, vti?)),
    }
}

fn list(obstacles: &[Obstacle]) -> String {
    let lines: Vec<String> = obstacles.iter().map(|it| format!("  {it}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
