//! An SA of ours, and how the kernel is asked for it.

use std::net::{IpAddr, SocketAddr};

use crypto::Secret;
use esp::{Limits, tunnel_mtu};

use super::kernel::Kernel;
use crate::plane::{Binding, Direction, Encap, Offload, SaSpec, TunnelSpec};
use crate::xfrm::state::{Faults, OffloadTo, UdpPorts};
use crate::xfrm::{Lifetime, NewState, Refusal, Replay, SaId, StateSeen, Template, Usage};

/// How often, in seconds, the kernel repeats that packets come from another address, as long as we do not follow.
const MAPPING_INTERVAL: u32 = 10;

/// A state in the kernel, ours or one that we found, and what was last seen of it.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub(super) id: SaId,
    pub(super) direction: Direction,
    pub(super) binding: Binding,
    /// What it had carried when we met it.
    start: Usage,
    pub(super) last: Usage,
    start_faults: Faults,
    last_faults: Faults,
    pub(super) replay: Replay,
}

/// What something has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Carried {
    pub(super) fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Carrier {
    pub(super) fn new(id: SaId, direction: Direction, binding: Binding) -> Self {
        Self {
            id,
            direction,
            binding,
            start: Usage::default(),
            last: Usage::default(),
            start_faults: Faults::default(),
            last_faults: Faults::default(),
            replay: Replay::default(),
        }
    }

    /// One that is in the kernel already. What it carried before is not counted.
    pub(super) fn found(state: &StateSeen, direction: Direction, binding: Binding) -> Self {
        Self {
            start: state.usage,
            last: state.usage,
            start_faults: state.faults,
            last_faults: state.faults,
            replay: state.replay.clone(),
            ..Self::new(state.id, direction, binding)
        }
    }

    /// Asks the kernel how it is.
    pub(super) fn look(&mut self, kernel: &mut impl Kernel) -> Result<Option<StateSeen>, Refusal> {
        let seen = kernel.state(self.id, self.binding)?;
        if let Some(state) = &seen {
            self.note(state);
        }
        Ok(seen)
    }

    pub(super) fn note(&mut self, state: &StateSeen) {
        self.last = state.usage;
        self.last_faults = state.faults;
        self.replay.clone_from(&state.replay);
    }

    pub(super) fn is(&self, state: &StateSeen) -> bool {
        self.id == state.id && state.binding() == Some(self.binding)
    }

    pub(super) fn carried(&self) -> Carried {
        Carried {
            packets: self.last.packets.saturating_sub(self.start.packets),
            bytes: self.last.bytes.saturating_sub(self.start.bytes),
        }
    }

    /// What was wrong with packets that arrived: too old, replayed, not authentic.
    pub(super) fn faults(&self) -> [u64; 3] {
        let since = |last: u32, start: u32| u64::from(last.wrapping_sub(start));
        [
            since(self.last_faults.too_old, self.start_faults.too_old),
            since(self.last_faults.replayed, self.start_faults.replayed),
            since(self.last_faults.integrity, self.start_faults.integrity),
        ]
    }
}

/// Which of the things that are said once were said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) first: bool,
    pub(super) soft: bool,
    pub(super) hard: bool,
}

/// An SA of ours.
#[derive(Debug)]
pub(super) struct Sa {
    pub(super) carrier: Carrier,
    pub(super) spec: SaSpec,
    pub(super) told: Told,
    /// Where its packets come from, as far as we know: for one that we receive on.
    pub(super) expected: SocketAddr,
    /// The form in which the kernel took it.
    pub(super) form: Form,
}

/// In which of several forms the kernel takes a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    name_direction: bool,
    offload: Option<OffloadTo>,
}

/// A state was installed; the device's refusal, if there is one.
pub(super) type Installed = (Sa, Option<String>);

impl Sa {
    /// Asks the kernel for the SA, in the best form that it takes: with its direction named, on the device.
    pub(super) fn install(
        kernel: &mut impl Kernel,
        tunnel: &TunnelSpec,
        binding: Binding,
        direction: Direction,
        spec: SaSpec,
        replay: Replay,
        offload: &Offload,
    ) -> Result<Installed, Refusal> {
        let id = SaId {
            destination: match direction {
                Direction::Inbound => spec.local,
                Direction::Outbound => spec.remote,
            },
            spi: spec.spi,
        };
        let (offload, mut refused) = match target(kernel, offload) {
            Ok(offload) => (offload, None),
            Err(reason) => (None, Some(reason)),
        };
        let mut sa = Self {
            carrier: Carrier::new(id, direction, binding),
            expected: SocketAddr::new(spec.remote, remote_port(spec.encap)),
            spec,
            told: Told::default(),
            form: Form {
                name_direction: true,
                offload,
            },
        };
        sa.carrier.replay.clone_from(&replay);
        loop {
            match kernel.add_state(&sa.state(tunnel, replay.clone())) {
                Ok(()) => break,
                // A kernel that does not know directions wants a replay window of every SA with ESN.
                Err(refusal)
                    if refusal.errno == nix::errno::Errno::EINVAL
                        && sa.form.name_direction
                        && direction == Direction::Outbound =>
                {
                    sa.form.name_direction = false;
                }
                Err(refusal) if sa.form.offload.take().is_some() => {
                    sa.form.name_direction = true;
                    refused = Some(refusal.to_string());
                }
                Err(refusal) => return Err(refusal),
            }
        }
        // A device without the feature is passed over in silence.
        if sa.form.offload.is_some()
            && let Ok(Some(seen)) = sa.carrier.look(kernel)
            && seen.offload.is_none()
        {
            sa.form.offload = None;
            refused = Some("the device has no ESP offload".into());
        }
        Ok((sa, refused))
    }

    /// Gives the state in the kernel our lifetime and ports again, or new ones.
    pub(super) fn update(
        &self,
        kernel: &mut impl Kernel,
        tunnel: &TunnelSpec,
    ) -> Result<(), Refusal> {
        // Should the kernel make a state of it after all, then one whose numbers go on.
        kernel.update_state(&self.state(tunnel, self.carrier.replay.clone()))
    }

    fn state(&self, tunnel: &TunnelSpec, replay: Replay) -> NewState<'_> {
        let SaSpec {
            suite,
            local,
            remote,
            ..
        } = self.spec;
        let Carrier {
            id,
            direction,
            binding,
            ..
        } = self.carrier;
        NewState {
            id,
            source: match direction {
                Direction::Inbound => remote,
                Direction::Outbound => local,
            },
            reqid: tunnel.id.0,
            binding,
            direction,
            name_direction: self.form.name_direction,
            suite,
            keymat: &self.spec.keymat,
            integrity: &self.spec.integrity,
            esn: self.spec.esn,
            window: tunnel.replay_window,
            replay,
            encap: self.ports(),
            lifetime: self.lifetime(),
            copy_dscp: tunnel.copy_dscp,
            output_mark: None,
            mapping_interval: Some(MAPPING_INTERVAL),
            offload: self.form.offload,
        }
    }

    fn lifetime(&self) -> Lifetime {
        let limits: Limits = self.spec.limits;
        Lifetime {
            limits: limits.within_sequence_space(self.spec.esn),
            seconds: self.spec.outlived.map(|after| after.as_secs().max(1)),
        }
    }

    /// The ports in its packets' headers.
    fn ports(&self) -> Option<UdpPorts> {
        let Encap::Udp {
            local_port,
            remote_port,
        } = self.spec.encap
        else {
            return None;
        };
        Some(match self.carrier.direction {
            Direction::Inbound => UdpPorts {
                source: remote_port,
                destination: local_port,
            },
            Direction::Outbound => UdpPorts {
                source: local_port,
                destination: remote_port,
            },
        })
    }

    /// Whether the kernel's state is as we want it, as far as that can be changed while it lives.
    pub(super) fn is_as_wanted(&self, seen: &StateSeen) -> bool {
        seen.lifetime == self.lifetime() && seen.encap == self.ports()
    }

    /// What the policy for packets that leave asks for: this SA and no other.
    pub(super) fn template(&self, tunnel: &TunnelSpec) -> Template {
        Template {
            id: self.carrier.id,
            source: self.spec.local,
            reqid: tunnel.id.0,
            tunnel: true,
        }
    }

    /// The index of the device that has to have the policy as well.
    pub(super) fn policy_offload(&self) -> Option<u32> {
        let offload = self.form.offload.filter(|offload| offload.packet)?;
        Some(offload.interface)
    }

    /// The largest inner packet.
    pub(super) fn inner_mtu(&self, outer_mtu: u16) -> u16 {
        let SaSpec {
            suite,
            encap,
            remote,
            ..
        } = self.spec;
        tunnel_mtu(outer_mtu, suite, encap.into(), remote.is_ipv6())
    }

    /// The same SA on another path, as a daemon would ask for it.
    pub(super) fn respec(&self, local: IpAddr, remote: IpAddr, encap: Encap) -> SaSpec {
        SaSpec {
            local,
            remote,
            encap,
            keymat: Secret::clone(&self.spec.keymat),
            integrity: Secret::clone(&self.spec.integrity),
            ..self.spec
        }
    }
}

pub(super) fn remote_port(encap: Encap) -> u16 {
    match encap {
        Encap::None => 0,
        Encap::Udp { remote_port, .. } => remote_port,
    }
}

fn target(kernel: &mut impl Kernel, offload: &Offload) -> Result<Option<OffloadTo>, String> {
    let (device, packet) = match offload {
        Offload::Off => return Ok(None),
        Offload::Crypto { device } => (device, false),
        Offload::Packet { device } => (device, true),
    };
    match kernel.device(device) {
        Ok(interface) => Ok(Some(OffloadTo { interface, packet })),
        Err(refusal) => Err(format!("device {device}: {refusal}")),
    }
}
