//! Tunnels with their profiles' defaults.

use std::collections::BTreeSet;

use super::settings::{Settings, list};
use crate::model::{
    Asn, Auth, Encapsulation, Gateway, Identity, Inside, InterfaceKind, LARGEST_REQID, Mtu,
    Offload, Origin, Ppk, Remote, Tunnel,
};
use crate::profile::Profile;
use crate::proposal::{EspProposal, IkeProposal};
use crate::read::{At, RawDaemon, RawPpk, RawSite, RawTunnel};

/// In packets; enough for what ECMP and multi-queue senders reorder.
const REPLAY_WINDOW: u32 = 4_096;

pub(super) fn tunnels(
    raw: &RawSite,
    gateway: &Gateway,
    settings: &mut Settings<'_>,
) -> Option<Vec<Tunnel>> {
    let taken: BTreeSet<u32> = raw
        .tunnels
        .iter()
        .filter_map(|tunnel| tunnel.reqid.as_ref())
        .map(|reqid| reqid.value)
        .collect();
    let mut free = (1..=LARGEST_REQID).filter(|reqid| !taken.contains(reqid));
    raw.tunnels
        .iter()
        .map(|tunnel| {
            let reqid = match &tunnel.reqid {
                Some(reqid) => reqid.value,
                None => free.next()?,
            };
            resolve(tunnel, &raw.daemon, reqid, gateway, settings)
        })
        .collect()
}

fn resolve(
    raw: &RawTunnel,
    daemon: &RawDaemon,
    reqid: u32,
    gateway: &Gateway,
    settings: &mut Settings<'_>,
) -> Option<Tunnel> {
    settings.within(format!("tunnel.{}", raw.name));
    let line = settings.line_of(raw.at.start);
    let facts = raw.facts();
    let by_profile = || Origin::Profile { name: facts.name };
    let profile = settings.choose("profile", &raw.profile, Profile::Generic, Origin::Default);
    let remote = raw.remote.as_ref()?;
    settings.note("remote", Some(remote), remote.value.to_string());
    let auth = match (&raw.psk, &raw.certificate) {
        (Some(psk), None) => {
            settings.note("psk", Some(psk), psk.value.to_string());
            Auth::Psk(psk.value.clone())
        }
        (None, Some(certificate)) => {
            let model = certificate.value.model();
            settings.note("certificate", Some(certificate), model.to_string());
            Auth::Certificate(model)
        }
        _ => return None,
    };
    let ppk = raw.ppk.as_ref().map(|at| ppk(at, settings));
    let net = raw.inside.as_ref()?;
    let inside = Inside {
        ours: net.value.addr(),
        peer: raw.peer()?,
        prefix_len: net.value.prefix_len(),
    };
    settings.note("inside", Some(net), inside.to_string());
    settings.record(
        "peer-inside",
        raw.peer_inside.as_ref().map(|at| at.span.start),
        inside.peer.to_string(),
        Origin::Derived { from: "inside" },
    );
    let interface = settings.choose(
        "interface",
        &raw.interface,
        raw.interface(),
        Origin::Derived {
            from: "the tunnel's name",
        },
    );
    let interface_kind = settings.choose(
        "interface-kind",
        &raw.interface_kind,
        (daemon.interface_kind.as_ref()).map_or(InterfaceKind::Auto, |at| at.value),
        by_daemon(daemon.interface_kind.is_some(), "daemon.interface-kind"),
    );
    settings.record(
        "reqid",
        raw.reqid.as_ref().map(|at| at.span.start),
        reqid.to_string(),
        Origin::Derived {
            from: "the order of the file",
        },
    );
    let local_id = raw
        .local_id
        .as_ref()
        .map(|at| at.value.clone())
        .or(gateway.address.map(Identity::Address));
    let shown = local_id
        .as_ref()
        .map_or("the outer address".to_owned(), ToString::to_string);
    settings.record(
        "local-id",
        raw.local_id.as_ref().map(|at| at.span.start),
        shown,
        Origin::Derived {
            from: "gateway.address",
        },
    );
    let remote_id = settings.choose_shown(
        "remote-id",
        &raw.remote_id,
        match &remote.value {
            Remote::Address(address) => Identity::Address(*address),
            Remote::Name(name) => Identity::Fqdn(name.clone()),
        },
        Origin::Derived { from: "remote" },
        ToString::to_string,
    );
    // A profile's proposals parse; a test says so.
    let ike = proposals(&raw.ike, facts.ike, |text| IkeProposal::parse(text).ok())?;
    settings.record(
        "ike",
        raw.ike.as_ref().map(|at| at.span.start),
        list(&ike),
        by_profile(),
    );
    let esp = proposals(&raw.esp, facts.esp, |text| EspProposal::parse(text).ok())?;
    settings.record(
        "esp",
        raw.esp.as_ref().map(|at| at.span.start),
        list(&esp),
        by_profile(),
    );
    let never_in_udp =
        (raw.encapsulation.as_ref()).is_some_and(|at| at.value == Encapsulation::Never);
    Some(Tunnel {
        name: raw.name.clone(),
        line,
        profile,
        remote: remote.value.clone(),
        auth,
        ppk,
        inside,
        interface,
        interface_kind,
        reqid,
        local_id,
        remote_id,
        ike,
        esp,
        pfs: settings.choose_shown(
            "pfs",
            &raw.pfs,
            facts.pfs,
            by_profile(),
            ToString::to_string,
        ),
        childless: settings.choose("childless", &raw.childless, false, Origin::Default),
        ike_lifetime: settings.duration(
            "ike-lifetime",
            &raw.ike_lifetime,
            facts.ike_lifetime,
            by_profile(),
        ),
        child_lifetime: settings.duration(
            "child-lifetime",
            &raw.child_lifetime,
            facts.child_lifetime,
            by_profile(),
        ),
        encapsulation: settings.choose(
            "encapsulation",
            &raw.encapsulation,
            Encapsulation::Auto,
            Origin::Default,
        ),
        role: settings.maybe_word("role", &raw.role),
        initiate: settings.choose("initiate", &raw.initiate, true, Origin::Default),
        mobike: settings.choose(
            "mobike",
            &raw.mobike,
            gateway.address.is_none() && !never_in_udp,
            Origin::Derived {
                from: "gateway.address",
            },
        ),
        liveness: settings.duration("liveness", &raw.liveness, facts.liveness, by_profile()),
        liveness_timeout: settings.duration(
            "liveness-timeout",
            &raw.liveness_timeout,
            facts.liveness_timeout,
            by_profile(),
        ),
        mtu: settings.choose_shown(
            "mtu",
            &raw.mtu,
            Mtu::Auto,
            Origin::Default,
            ToString::to_string,
        ),
        mss_clamp: settings.choose("mss-clamp", &raw.mss_clamp, true, Origin::Default),
        replay_window: settings.choose(
            "replay-window",
            &raw.replay_window,
            REPLAY_WINDOW,
            Origin::Default,
        ),
        offload: settings.choose(
            "offload",
            &raw.offload,
            (daemon.offload.as_ref()).map_or(Offload::None, |at| at.value),
            by_daemon(daemon.offload.is_some(), "daemon.offload"),
        ),
        remote_asn: facts.remote_asn.map(Asn),
    })
}

fn ppk(at: &At<RawPpk>, settings: &mut Settings<'_>) -> Ppk {
    let RawPpk {
        id,
        secret,
        required,
    } = &at.value;
    settings.note("ppk", Some(at), format!("{id}, {secret}"));
    Ppk {
        id: id.clone(),
        secret: secret.clone(),
        // Whoever writes it down wants it; falling back is for the time in which the peer gets it too.
        required: settings.choose("ppk.required", required, true, Origin::Default),
    }
}

/// Who chose what a tunnel takes from `[daemon]`.
const fn by_daemon(is_written: bool, key: &'static str) -> Origin {
    if is_written {
        Origin::Derived { from: key }
    } else {
        Origin::Default
    }
}

fn proposals<T: Clone>(
    written: &Option<At<Vec<At<T>>>>,
    usual: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    match written {
        Some(list) => Some(list.value.iter().map(|at| at.value.clone()).collect()),
        None => usual.iter().map(|text| parse(text)).collect(),
    }
}
