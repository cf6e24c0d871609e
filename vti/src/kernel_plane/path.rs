//! Other outer addresses or ports: MOBIKE, or a NAT that changed its mapping.
//!
//! Ports can be changed while a state lives. Addresses cannot: XFRM's migration finds policies by their selector, which is the same
//! for all tunnels, and knows no marks. So the state is made again at the new address, and the point is that no sequence number is
//! used twice under one key, for with counter modes that would give the key away: nothing leaves while it is made, it begins well
//! above the last number that was seen, and the daemon is asked for fresh keys.

use std::net::IpAddr;

use super::core::Core;
use super::kernel::Kernel;
use super::reason::{About, Reason};
use super::sa::Sa;
use crate::plane::{Direction, Encap, Error, PlaneEvent, SaSpec, TunnelId};
use crate::xfrm::{Action, Hook, Policy, Refusal, Replay};

/// More packets than can be on their way through the kernel with a number that was taken after we looked: the policy blocks new ones
/// by then. Receivers do not mind a gap.
const SEQUENCE_GAP: u64 = 1 << 16;

impl<K: Kernel> Core<K> {
    pub(super) fn update_path(
        &mut self,
        tunnel: TunnelId,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error> {
        let of = self.tunnel(tunnel)?;
        of.path_mtu = None;
        let spis: Vec<u32> = of.inbound.keys().copied().collect();
        let mut outcome = self.move_outbound(tunnel, local, remote, encap);
        for spi in spis {
            outcome = outcome.and(self.move_inbound(tunnel, spi, local, remote, encap));
        }
        outcome
    }

    /// What we receive on is found by our own address and SPI; where its packets come from matters only for telling changes.
    fn move_inbound(
        &mut self,
        tunnel: TunnelId,
        spi: u32,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error> {
        let of = self.tunnel(tunnel)?;
        let Some(mut sa) = of.inbound.remove(&spi) else {
            return Ok(());
        };
        let old = sa.spec.clone();
        let moved = if same_place(&old, local, None, encap) {
            (sa.spec.remote, sa.spec.encap) = (remote, encap);
            sa.expected = Self::expected(remote, encap);
            match self.update(tunnel, &sa, &old) {
                Ok(()) => Ok(sa),
                Err(error) => Err((sa.carrier, error)),
            }
        } else {
            // The window goes along, so that nothing that was received can be received again.
            let _ = sa.carrier.look(&mut self.kernel);
            let replay = Replay {
                sent: 0,
                ..sa.carrier.replay.clone()
            };
            let spec = sa.respec(local, remote, encap);
            self.forget(tunnel, sa.carrier.clone());
            self.install(tunnel, Direction::Inbound, spec, replay)
                .map(|installed| Sa {
                    told: sa.told,
                    ..installed
                })
                .map_err(|error| (sa.carrier, error))
        };
        match moved {
            Ok(sa) => {
                self.tunnel(tunnel)?.inbound.insert(spi, sa);
                Ok(())
            }
            Err((carrier, error)) => {
                self.forget(tunnel, carrier);
                self.lose(tunnel, spi, Direction::Inbound);
                Err(error)
            }
        }
    }

    fn move_outbound(
        &mut self,
        tunnel: TunnelId,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error> {
        let bind = self.bind;
        let of = self.tunnel(tunnel)?;
        let Some(mut sa) = of.outbound.take() else {
            return Ok(());
        };
        let old = sa.spec.clone();
        if same_place(&old, local, Some(remote), encap) {
            sa.spec.encap = encap;
            let outcome = self.update(tunnel, &sa, &old);
            self.tunnel(tunnel)?.outbound = Some(sa);
            return outcome;
        }
        let spi = old.spi;
        let moved = self.begin_again(tunnel, &mut sa, local, remote, encap);
        match moved {
            Ok(new) => {
                // Fresh keys soon: what was promised above holds for packets in the kernel, not for ever.
                self.unsaid.push_back(PlaneEvent::SoftLimit {
                    tunnel,
                    spi,
                    direction: Direction::Outbound,
                });
                let of = self.tunnel(tunnel)?;
                of.outbound = Some(new);
                let policy = of.policy(Hook::Out, bind);
                self.kernel
                    .put_policy(&policy)
                    .map_err(|refusal| path_error(&refusal))
            }
            Err(error) => {
                self.lose(tunnel, spi, Direction::Outbound);
                Err(error)
            }
        }
    }

    /// The same SA at another address, with numbers that were not used. The old state is gone afterwards.
    fn begin_again(
        &mut self,
        tunnel: TunnelId,
        sa: &mut Sa,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<Sa, Error> {
        let bind = self.bind;
        // `sa` is out of the tunnel, so what its policy would ask for now is nothing.
        let blocked = Policy {
            action: Action::Block,
            template: None,
            ..self.tunnel(tunnel)?.policy(Hook::Out, bind)
        };
        self.kernel
            .put_policy(&blocked)
            .map_err(|refusal| path_error(&refusal))?;
        let seen = sa.carrier.look(&mut self.kernel);
        let spec = sa.respec(local, remote, encap);
        self.forget(tunnel, sa.carrier.clone());
        let sent = match seen {
            Ok(Some(seen)) => seen.replay.sent,
            Ok(None) => return Err(path_error(&nix::errno::Errno::ESRCH.into())),
            Err(refusal) => return Err(path_error(&refusal)),
        };
        let replay = Replay {
            sent: sent.saturating_add(SEQUENCE_GAP),
            ..Replay::default()
        };
        let installed = self.install(tunnel, Direction::Outbound, spec, replay)?;
        Ok(Sa {
            told: sa.told,
            ..installed
        })
    }

    /// Changes the ports of a state that lives.
    fn update(&mut self, tunnel: TunnelId, sa: &Sa, old: &SaSpec) -> Result<(), Error> {
        if sa.spec.encap == old.encap {
            return Ok(());
        }
        let of = self
            .tunnels
            .get(&tunnel)
            .ok_or(Error::NoSuchTunnel { tunnel })?;
        sa.update(&mut self.kernel, &of.spec).map_err(|refusal| {
            let what = format!("change the ports of SA {:08x}", sa.carrier.id.spi);
            Reason::of(what, About::Sa(sa.spec.suite), &refusal).into()
        })
    }
}

/// Whether a state can stay where it is: at most its ports are others.
fn same_place(old: &SaSpec, local: IpAddr, remote: Option<IpAddr>, encap: Encap) -> bool {
    old.local == local
        && remote.is_none_or(|remote| old.remote == remote)
        && matches!(
            (old.encap, encap),
            (Encap::None, Encap::None) | (Encap::Udp { .. }, Encap::Udp { .. })
        )
}

fn path_error(refusal: &Refusal) -> Error {
    Reason::of(
        "move the outbound SA to another address",
        About::Xfrm,
        refusal,
    )
    .into()
}
