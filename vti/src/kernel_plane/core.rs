//! What the plane does for each call, on whatever kernel.
//!
//! Invariants:
//! - A tunnel's three policies exist from [`Core::add_tunnel`] to [`Core::remove_tunnel`]. Each is replaced in one step, so there is
//!   no moment without one.
//! - The policy for what leaves names the SPI: which of two SAs carries a packet is never the kernel's guess, and switching is one
//!   replacement. The new SA is in the kernel before, the old one goes after.
//! - No SA is ever put into the kernel twice with the same sequence numbers.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use esp::Spi;

use super::adopt::Leftovers;
use super::kernel::{Kernel, gone};
use super::reason::{About, Reason};
use super::sa::{Carrier, Sa};
use super::tunnel::{Adopted, Tunnel};
use crate::plane::{
    Direction, Encap, Error, Offload, PlaneEvent, SaCounters, SaSpec, TunnelCounters, TunnelId,
    TunnelSpec,
};
use crate::xfrm::{Hook, Refusal, Replay};

/// How long SAs of an earlier process still receive when there are new ones: the peer may be slower to switch.
const ADOPTED_GRACE: Duration = Duration::from_secs(30);

/// How long the outbound SA before stays after the switch: a packet that was to leave by it may be on its way through the kernel on
/// another processor, and is dropped if its SA is deleted before it is sealed.
const SWITCHED_GRACE: Duration = Duration::from_millis(100);

/// The plane's knowledge of the kernel, and the kernel.
#[derive(Debug)]
pub(super) struct Core<K> {
    pub(super) kernel: K,
    /// Where the sockets are bound, which decides the outer address family.
    pub(super) bind: IpAddr,
    pub(super) tunnels: BTreeMap<TunnelId, Tunnel>,
    pub(super) leftovers: Leftovers,
    /// What the daemon has not been told yet.
    pub(super) unsaid: VecDeque<PlaneEvent>,
}

/// What an SA is called in errors.
fn adding(direction: Direction, tunnel: &TunnelSpec, sa: &SaSpec) -> String {
    let direction = match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    format!(
        "add the {direction} SA {:08x} of {} to the kernel",
        sa.spi, tunnel.interface
    )
}

impl<K: Kernel> Core<K> {
    pub(super) fn new(kernel: K, bind: IpAddr) -> Self {
        Self {
            kernel,
            bind,
            tunnels: BTreeMap::new(),
            leftovers: Leftovers::default(),
            unsaid: VecDeque::new(),
        }
    }

    pub(super) fn add_tunnel(&mut self, spec: &TunnelSpec) -> Result<(), Error> {
        let tunnel = spec.id;
        if self.tunnels.contains_key(&tunnel) {
            return Err(Error::TunnelExists { tunnel });
        }
        let binding = spec
            .binding
            .filter(|binding| binding.is_ours())
            .ok_or(Error::NoBinding { tunnel })?;
        let mut added = Tunnel::new(spec.clone(), binding);
        added.adopted = self.leftovers.take(tunnel, binding);
        if !added.adopted.is_empty() {
            tracing::info!(
                tunnel = %spec.interface,
                sas = added.adopted.len(),
                "SAs of an earlier run go on carrying packets until there are new ones"
            );
        }
        if let Err(refusal) = self.put_policies(&added) {
            let what = format!("install the policies of {}", spec.interface);
            self.discard(added);
            return Err(Reason::of(what, About::Xfrm, &refusal).into());
        }
        self.tunnels.insert(tunnel, added);
        Ok(())
    }

    pub(super) fn remove_tunnel(&mut self, tunnel: TunnelId) -> Result<(), Error> {
        let removed = self
            .tunnels
            .remove(&tunnel)
            .ok_or(Error::NoSuchTunnel { tunnel })?;
        self.discard(removed);
        Ok(())
    }

    pub(super) fn add_inbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error> {
        self.check_spi(&sa)?;
        let spi = sa.spi;
        let installed = self.install(tunnel, Direction::Inbound, sa, Replay::default())?;
        self.tunnel(tunnel)?.inbound.insert(spi, installed);
        Ok(())
    }

    pub(super) fn set_outbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error> {
        let installed = self.install(tunnel, Direction::Outbound, sa, Replay::default())?;
        self.switch_outbound(tunnel, installed)
    }

    /// Lets the policy name another SA, which is in the kernel already, and has the one before removed soon.
    fn switch_outbound(&mut self, tunnel: TunnelId, new: Sa) -> Result<(), Error> {
        let bind = self.bind;
        let id = new.carrier.id;
        let of = self.tunnel(tunnel)?;
        let binding = of.binding;
        let old = of.outbound.replace(new);
        let policy = of.policy(Hook::Out, bind);
        if let Err(refusal) = self.kernel.put_policy(&policy) {
            let of = self.tunnel(tunnel)?;
            of.outbound = old;
            let what = format!("switch {} to SA {:08x}", of.spec.interface, id.spi);
            let _ = self.kernel.delete_state(id, binding);
            return Err(Reason::of(what, About::Xfrm, &refusal).into());
        }
        self.retire_adopted(tunnel);
        match old {
            // The same SA at another address, which may be back there soon: the way to the old one is dead anyway.
            Some(old) if old.carrier.id.spi == id.spi => self.forget(tunnel, old.carrier),
            Some(old) => self.tunnel(tunnel)?.adopted.push(Adopted {
                carrier: old.carrier,
                template: None,
                until: Some(Instant::now() + SWITCHED_GRACE),
            }),
            None => {}
        }
        Ok(())
    }

    /// There is a new outbound SA: the one of an earlier process goes soon, those that it received on follow.
    fn retire_adopted(&mut self, tunnel: TunnelId) {
        let Some(of) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let now = Instant::now();
        for adopted in &mut of.adopted {
            let grace = match adopted.carrier.direction {
                Direction::Inbound => ADOPTED_GRACE,
                Direction::Outbound => SWITCHED_GRACE,
            };
            adopted.template = None;
            adopted.until.get_or_insert(now + grace);
        }
    }

    pub(super) fn remove_inbound(&mut self, tunnel: TunnelId, spi: u32) -> Result<(), Error> {
        let removed = self.tunnel(tunnel)?.inbound.remove(&spi);
        let sa = removed.ok_or(Error::NoSuchSa {
            tunnel,
            spi: Spi(spi),
        })?;
        self.forget(tunnel, sa.carrier);
        Ok(())
    }

    pub(super) fn clear_outbound(&mut self, tunnel: TunnelId) -> Result<(), Error> {
        let bind = self.bind;
        let of = self.tunnel(tunnel)?;
        let old = of.outbound.take();
        let policy = of.policy(Hook::Out, bind);
        let put = self.kernel.put_policy(&policy);
        // The SA goes whether or not the policy could be changed: without it nothing leaves either.
        if let Some(old) = old {
            self.forget(tunnel, old.carrier);
        }
        put.map_err(|refusal| {
            Reason::of("block what has no SA to leave by", About::Xfrm, &refusal).into()
        })
    }

    pub(super) fn counters(&mut self, tunnel: TunnelId, now: Instant) -> Option<TunnelCounters> {
        let of = self.tunnels.get_mut(&tunnel)?;
        of.look(&mut self.kernel, now);
        Some(of.counters())
    }

    pub(super) fn sa_counters(&mut self, tunnel: TunnelId, now: Instant) -> Vec<SaCounters> {
        let Some(of) = self.tunnels.get_mut(&tunnel) else {
            return Vec::new();
        };
        of.look(&mut self.kernel, now);
        let sas = of.inbound.values().chain(&of.outbound);
        sas.map(|sa| {
            let carrier = &sa.carrier;
            let carried = carrier.carried();
            SaCounters {
                spi: carrier.id.spi,
                direction: carrier.direction,
                packets: carried.packets,
                bytes: carried.bytes,
                sequence: match carrier.direction {
                    Direction::Inbound => carrier.replay.received,
                    Direction::Outbound => carrier.replay.sent,
                },
            }
        })
        .collect()
    }

    pub(super) fn inner_mtu(&self, tunnel: TunnelId) -> Option<u16> {
        let of = self.tunnels.get(&tunnel)?;
        Some(of.outbound.as_ref()?.inner_mtu(of.outer_mtu()))
    }

    pub(super) fn tunnel(&mut self, tunnel: TunnelId) -> Result<&mut Tunnel, Error> {
        self.tunnels
            .get_mut(&tunnel)
            .ok_or(Error::NoSuchTunnel { tunnel })
    }

    /// The tunnel that has this inbound SPI must be none: the kernel would find the wrong one.
    fn check_spi(&self, sa: &SaSpec) -> Result<(), Error> {
        let holder = self
            .tunnels
            .iter()
            .find(|(_, of)| of.inbound.contains_key(&sa.spi));
        match holder {
            Some((&holder, _)) => Err(Error::SpiInUse {
                spi: Spi(sa.spi),
                holder,
            }),
            None => Ok(()),
        }
    }

    pub(super) fn install(
        &mut self,
        tunnel: TunnelId,
        direction: Direction,
        sa: SaSpec,
        replay: Replay,
    ) -> Result<Sa, Error> {
        let of = self
            .tunnels
            .get(&tunnel)
            .ok_or(Error::NoSuchTunnel { tunnel })?;
        let (suite, what) = (sa.suite, adding(direction, &of.spec, &sa));
        let offload = match replay == Replay::default() {
            true => of.spec.offload.clone(),
            // The device's own count of sequence numbers cannot be begun in the middle.
            false => Offload::Off,
        };
        let installed = Sa::install(
            &mut self.kernel,
            &of.spec,
            of.binding,
            direction,
            sa,
            replay,
            &offload,
        );
        let (sa, refused) =
            installed.map_err(|refusal| Reason::of(what, About::Sa(suite), &refusal))?;
        if let Some(reason) = refused {
            self.unsaid
                .push_back(PlaneEvent::OffloadRefused { tunnel, reason });
        }
        Ok(sa)
    }

    pub(super) fn put_policies(&mut self, tunnel: &Tunnel) -> Result<(), Refusal> {
        for policy in tunnel.policies(self.bind) {
            self.kernel.put_policy(&policy)?;
        }
        Ok(())
    }

    /// Deletes a state, after a last look at what it carried.
    pub(super) fn forget(&mut self, tunnel: TunnelId, mut carrier: Carrier) {
        let _ = carrier.look(&mut self.kernel);
        self.delete(&carrier);
        if let Some(of) = self.tunnels.get_mut(&tunnel) {
            of.remember(&carrier);
        }
    }

    fn delete(&mut self, carrier: &Carrier) {
        if let Err(refusal) = gone(self.kernel.delete_state(carrier.id, carrier.binding)) {
            // What is left carries nothing, and the next audit removes it.
            tracing::warn!(
                spi = format_args!("{:08x}", carrier.id.spi),
                "cannot delete an SA from the kernel: {refusal}"
            );
        }
    }

    /// Removes all that a tunnel has in the kernel: states first, so that nothing leaves by a policy that is still there.
    fn discard(&mut self, tunnel: Tunnel) {
        for carrier in tunnel.carriers() {
            self.delete(carrier);
        }
        for hook in Hook::ALL {
            let id = tunnel.policy_id(hook);
            if let Err(refusal) = gone(self.kernel.delete_policy(&id)) {
                tracing::warn!(tunnel = %tunnel.spec.interface, "cannot delete a policy: {refusal}");
            }
        }
    }

    /// Removes everything of ours.
    pub(super) fn clear(&mut self) {
        for (_, tunnel) in std::mem::take(&mut self.tunnels) {
            self.discard(tunnel);
        }
        self.sweep();
    }

    /// Where a tunnel's packets come from, for a policy of ours to say so.
    pub(super) fn expected(remote: IpAddr, encap: Encap) -> SocketAddr {
        SocketAddr::new(remote, super::sa::remote_port(encap))
    }
}
