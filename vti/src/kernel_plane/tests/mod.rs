//! The plane's logic on a pretended kernel: what it asks for, in which order, and what it makes of what it hears.

mod calls;
mod fake;
mod heard;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crypto::{Encryption, Secret, Suite};
use esp::Limits;

use self::fake::Fake;
use super::core::Core;
use crate::plane::{Binding, Encap, Offload, PlaneEvent, SaSpec, TunnelId, TunnelSpec};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEERS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
const TUNNEL: TunnelId = TunnelId(7);
const BINDING: Binding = Binding::Mark(0xca05_0007);

fn spec() -> TunnelSpec {
    TunnelSpec {
        id: TUNNEL,
        interface: "ipsec7".into(),
        mss_clamp: true,
        replay_window: 1024,
        outer_mtu: 1500,
        copy_dscp: false,
        binding: Some(BINDING),
        offload: Offload::Off,
    }
}

fn sa(spi: u32) -> SaSpec {
    let suite = Suite::new(Encryption::AesGcm256, None).unwrap();
    SaSpec {
        spi,
        suite,
        keymat: Secret::new(vec![7; suite.keymat_len()]),
        integrity: Secret::default(),
        esn: true,
        encap: Encap::None,
        local: OURS,
        remote: PEERS,
        limits: Limits::default(),
        outlived: Some(Duration::from_secs(3660)),
    }
}

fn udp(remote_port: u16) -> Encap {
    Encap::Udp {
        local_port: 4500,
        remote_port,
    }
}

/// A plane with the tunnel and no SA, and nothing yet in the journal of its kernel.
fn plane() -> Core<Fake> {
    let mut core = Core::new(Fake::default(), IpAddr::from([0, 0, 0, 0]));
    core.add_tunnel(&spec()).unwrap();
    core.kernel.journal.clear();
    core
}

/// A plane that receives on SPI 0x100 and sends on 0x200.
fn joined() -> Core<Fake> {
    let mut core = plane();
    core.add_inbound(TUNNEL, sa(0x100)).unwrap();
    core.set_outbound(TUNNEL, sa(0x200)).unwrap();
    core.kernel.journal.clear();
    core
}

fn said(core: &mut Core<Fake>) -> Vec<PlaneEvent> {
    core.unsaid.drain(..).collect()
}
