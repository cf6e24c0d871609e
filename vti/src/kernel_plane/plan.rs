//! What the plane would put into the kernel for its tunnels before they have any SA, as commands.

use std::net::{IpAddr, Ipv4Addr};

use super::reason::{About, Reason};
use super::tunnel::Tunnel;
use crate::plane::TunnelSpec;
use crate::xfrm::{Hook, Policy, PolicySeen, Socket};

/// The commands for these tunnels' policies, in order. `present` says what is in the kernel: what has a policy's place already is
/// kept or adapted by the plane and not among them, and what has the place of none of these tunnels is deleted.
fn commands(tunnels: &[TunnelSpec], present: &[PolicySeen]) -> Vec<String> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let wanted: Vec<Policy> = tunnels
        .iter()
        .filter_map(|spec| Some(Tunnel::new(spec.clone(), spec.binding?)))
        .flat_map(|tunnel| Hook::ALL.map(|hook| tunnel.policy(hook, any)))
        .collect();
    let stale = present
        .iter()
        .filter_map(PolicySeen::id)
        .filter(|id| id.binding.is_ours() && !wanted.iter().any(|policy| policy.id == *id));
    let is_missing = |policy: &&Policy| {
        !present
            .iter()
            .any(|seen| seen.id().as_ref() == Some(&policy.id))
    };
    let missing = wanted.iter().filter(is_missing).map(ToString::to_string);
    missing.chain(stale.map(|id| id.deletion())).collect()
}

/// The commands for the policies that these tunnels need and that are not in the kernel, and for those in it that nobody needs. A
/// tunnel without a [binding](TunnelSpec::binding) needs none.
///
/// # Errors
/// Why the kernel's policies cannot be looked at.
pub fn plan(tunnels: &[TunnelSpec]) -> Result<Vec<String>, Reason> {
    let present = Socket::open().and_then(|mut socket| socket.policies());
    let present =
        present.map_err(|refusal| Reason::of("look at policies", About::Xfrm, &refusal))?;
    Ok(commands(tunnels, &present))
}

/// The same where the kernel's policies cannot be looked at: as if there were none.
pub fn plan_blindly(tunnels: &[TunnelSpec]) -> Vec<String> {
    commands(tunnels, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::{Binding, Offload, TunnelId};

    #[test]
    fn each_tunnels_policies_are_bound_and_those_of_none_are_deleted() {
        let spec = |id, binding| TunnelSpec {
            id: TunnelId(id),
            interface: format!("cw{id}"),
            mss_clamp: true,
            replay_window: 128,
            outer_mtu: 1500,
            copy_dscp: false,
            binding,
            offload: Offload::Off,
        };
        let tunnels = [
            spec(1, Some(Binding::IfId(0xca05_0001))),
            spec(2, Some(Binding::Mark(0xca05_0002))),
            spec(3, None),
        ];
        let any = "src 0.0.0.0/0 dst 0.0.0.0/0";
        let tmpl = "tmpl src 0.0.0.0 dst 0.0.0.0 proto esp";
        assert_eq!(
            plan_blindly(&tunnels),
            [
                format!(
                    "ip xfrm policy update {any} dir in action allow priority 1 if_id 0xca050001 {tmpl} reqid 1 mode tunnel"
                ),
                format!(
                    "ip xfrm policy update {any} dir out action block priority 1 if_id 0xca050001"
                ),
                format!(
                    "ip xfrm policy update {any} dir fwd action allow priority 1 if_id 0xca050001 {tmpl} reqid 1 mode tunnel"
                ),
                format!(
                    "ip xfrm policy update {any} dir in mark 0xca050002 mask 0xffffffff action allow priority 1 {tmpl} reqid 2 mode tunnel"
                ),
                format!(
                    "ip xfrm policy update {any} dir out mark 0xca050002 mask 0xffffffff action block priority 1"
                ),
                format!(
                    "ip xfrm policy update {any} dir fwd mark 0xca050002 mask 0xffffffff action allow priority 1 {tmpl} reqid 2 mode tunnel"
                ),
            ]
        );
    }
}
