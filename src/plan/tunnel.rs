//! Tunnels, for IKE and the data plane.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::model::{self, Mtu};
use config::proposal;
use ike::{
    Auth, ConnectionId, EsnPolicy, EspProposal, Identity, IkeProposal, Liveness, PfsPolicy, Ports,
};
use ipnet::{IpNet, Ipv4Net};
use vti::ifname::IfName;
use vti::plane::{Offload, TunnelId, TunnelSpec};

use super::{Places, TunnelPlan};
use crate::certificates::identity;

/// What each tunnel's ends prove themselves by, by the tunnel's name.
pub(crate) type Keys = BTreeMap<String, Auth>;

pub(super) fn plan(site: &model::Site, keys: &Keys) -> Result<Vec<TunnelPlan>, String> {
    site.tunnels
        .iter()
        .map(|tunnel| one(site, tunnel, keys))
        .collect()
}

fn one(site: &model::Site, tunnel: &model::Tunnel, keys: &Keys) -> Result<TunnelPlan, String> {
    let wrong = |what: &dyn std::fmt::Display| {
        format!("line {}: tunnel {}: {what}", tunnel.line, tunnel.name)
    };
    let key = keys
        .get(&tunnel.name)
        .cloned()
        .ok_or_else(|| wrong(&"has neither a pre-shared key nor a certificate"))?;
    let named = |id: &model::Identity| {
        identity(id).ok_or_else(|| {
            wrong(&format_args!(
                "\"{id}\" is not the subject of a certificate"
            ))
        })
    };
    let inside = Ipv4Net::new(tunnel.inside.ours, tunnel.inside.prefix_len)
        .map_err(|error| wrong(&error))?;
    // Behind a NAT our public address is only what the peer knows us as.
    let known_as = tunnel
        .local_id
        .as_ref()
        .map(named)
        .transpose()?
        .map(|id| as_certified(id, &key))
        .or_else(|| site.gateway.address.map(Identity::from));
    Ok(TunnelPlan {
        name: tunnel.name.clone(),
        line: tunnel.line,
        places: Places::in_site(site, &tunnel.name),
        console: tunnel.profile.facts().console,
        known_address: site.gateway.address,
        number_is_chosen: site
            .setting(&format!("tunnel.{}.reqid", tunnel.name))
            .is_some_and(|setting| matches!(setting.origin, model::Origin::File { .. })),
        profile: tunnel.profile.name().to_owned(),
        interface: tunnel
            .interface
            .parse::<IfName>()
            .map_err(|error| wrong(&error))?,
        inside: IpNet::V4(inside),
        peer_inside: IpAddr::V4(tunnel.inside.peer),
        mtu: match tunnel.mtu {
            Mtu::Auto => None,
            Mtu::Fixed(mtu) => Some(mtu),
        },
        mss_clamp: tunnel.mss_clamp,
        interface_kind: tunnel.interface_kind,
        offload: tunnel.offload,
        spec: TunnelSpec {
            id: TunnelId(tunnel.reqid),
            interface: tunnel.interface.clone(),
            mss_clamp: tunnel.mss_clamp,
            replay_window: tunnel.replay_window,
            outer_mtu: 1500,
            copy_dscp: false,
            binding: None,
            offload: Offload::Off,
        },
        remote_name: tunnel.remote.name().map(str::to_owned),
        local_id_follows_address: known_as.is_none(),
        connection: connection(site, tunnel, key, (known_as, named(&tunnel.remote_id)?)),
    })
}

fn connection(
    site: &model::Site,
    tunnel: &model::Tunnel,
    key: Auth,
    (known_as, remote_id): (Option<Identity>, Identity),
) -> ike::Connection {
    // The source address is filled in when the way to the peer is known.
    let local = site.gateway.address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let mut connection = ike::Connection::new(
        ConnectionId(tunnel.reqid),
        tunnel.name.clone(),
        local,
        // What a name stands for is filled in when it has been looked up.
        (tunnel.remote.address()).unwrap_or(IpAddr::from([0, 0, 0, 0])),
        key,
    );
    connection.remote_ports = Ports {
        ike: site.daemon.ike_port,
        nat: site.daemon.nat_port,
    };
    connection.local_id = known_as.unwrap_or_else(|| Identity::from(local));
    connection.remote_id = remote_id;
    connection.ike = tunnel.ike.iter().map(ike_proposal).collect();
    connection.esp = tunnel.esp.iter().map(esp_proposal).collect();
    connection.pfs = PfsPolicy {
        ike_group: tunnel.pfs.ike_group,
        none: tunnel.pfs.none,
    };
    connection.childless = tunnel.childless;
    connection.ike_lifetime = tunnel.ike_lifetime;
    connection.child_lifetime = tunnel.child_lifetime;
    connection.liveness = Liveness {
        interval: tunnel.liveness,
        give_up: tunnel.liveness_timeout,
    };
    connection.encapsulation = match tunnel.encapsulation {
        model::Encapsulation::Auto => ike::Encapsulation::Auto,
        model::Encapsulation::Force => ike::Encapsulation::Force,
        model::Encapsulation::Never => ike::Encapsulation::Never,
    };
    connection.initiate = tunnel.initiate;
    connection.mobike = tunnel.mobike;
    connection
}

/// Our name as our certificate has it, where it says the same: a peer may compare octets.
fn as_certified(id: Identity, auth: &Auth) -> Identity {
    let Auth::Certificate(certificates) = auth else {
        return id;
    };
    let subject = certificates.credential.certificate();
    let subject = subject.map(|own| Identity::Dn(own.subject().der().to_vec()));
    subject.filter(|subject| subject.is_same(&id)).unwrap_or(id)
}

fn ike_proposal(proposal: &proposal::IkeProposal) -> IkeProposal {
    IkeProposal {
        encryption: encryption(proposal.encryption),
        integrity: proposal.integrity.map(integrity),
        prf: match proposal.prf {
            proposal::Prf::HmacSha1 => crypto::Prf::HmacSha1,
            proposal::Prf::HmacSha256 => crypto::Prf::HmacSha256,
            proposal::Prf::HmacSha384 => crypto::Prf::HmacSha384,
            proposal::Prf::HmacSha512 => crypto::Prf::HmacSha512,
        },
        groups: proposal.groups.iter().copied().map(group).collect(),
        kems: proposal.kems.iter().copied().map(kem).collect(),
    }
}

fn kem(kem: proposal::Kem) -> crypto::Kem {
    match kem {
        proposal::Kem::MlKem768 => crypto::Kem::MlKem768,
        proposal::Kem::MlKem1024 => crypto::Kem::MlKem1024,
    }
}

fn esp_proposal(proposal: &proposal::EspProposal) -> EspProposal {
    EspProposal {
        encryption: encryption(proposal.encryption),
        integrity: proposal.integrity.map(integrity),
        groups: proposal.groups.iter().copied().map(group).collect(),
        esn: match proposal.esn {
            proposal::Esn::Either => EsnPolicy::Either,
            proposal::Esn::Require => EsnPolicy::Require,
            proposal::Esn::Never => EsnPolicy::Never,
        },
    }
}

fn encryption(encryption: proposal::Encryption) -> crypto::Encryption {
    use proposal::Encryption as From;
    match encryption {
        From::AesCbc128 => crypto::Encryption::AesCbc128,
        From::AesCbc192 => crypto::Encryption::AesCbc192,
        From::AesCbc256 => crypto::Encryption::AesCbc256,
        From::AesGcm128 => crypto::Encryption::AesGcm128,
        From::AesGcm192 => crypto::Encryption::AesGcm192,
        From::AesGcm256 => crypto::Encryption::AesGcm256,
        From::ChaCha20Poly1305 => crypto::Encryption::ChaCha20Poly1305,
    }
}

fn integrity(integrity: proposal::Integrity) -> crypto::Integrity {
    use proposal::Integrity as From;
    match integrity {
        From::HmacSha1_96 => crypto::Integrity::HmacSha1_96,
        From::HmacSha256_128 => crypto::Integrity::HmacSha256_128,
        From::HmacSha384_192 => crypto::Integrity::HmacSha384_192,
        From::HmacSha512_256 => crypto::Integrity::HmacSha512_256,
    }
}

fn group(group: proposal::Group) -> crypto::Group {
    use proposal::Group as From;
    match group {
        From::Modp1024 => crypto::Group::Modp1024,
        From::Modp1536 => crypto::Group::Modp1536,
        From::Modp2048 => crypto::Group::Modp2048,
        From::Modp3072 => crypto::Group::Modp3072,
        From::Modp4096 => crypto::Group::Modp4096,
        From::Ecp256 => crypto::Group::Ecp256,
        From::Ecp384 => crypto::Group::Ecp384,
        From::Ecp521 => crypto::Group::Ecp521,
        From::Curve25519 => crypto::Group::Curve25519,
    }
}
