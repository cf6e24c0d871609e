//! From what was written, and found right, to the effective site: defaults filled in, and who chose each value kept.

mod bfd;
mod bgp;
mod firewall;
mod route_map;
mod settings;
mod tunnel;

use std::path::PathBuf;

pub(crate) use bfd::{INTERVAL as BFD_INTERVAL, MULTIPLIER as BFD_MULTIPLIER};
pub(crate) use bgp::{prefix_list, sequence};
pub(crate) use route_map::sequence as rule_sequence;
use settings::Settings;

use crate::model::{
    Daemon, DataPlane, Gateway, InterfaceKind, LogLevel, Metrics, Offload, Origin, Route, Site, Way,
};
use crate::read::{RawDaemon, RawGateway, RawMetrics, RawRoute, RawSite};
use crate::source::Source;

/// The site, or `None` where something that is needed was not written; the checks have then reported it.
pub(crate) fn resolve(raw: &RawSite, source: &Source<'_>) -> Option<Site> {
    let mut settings = Settings::new(source);
    let gateway = gateway(&raw.gateway, &mut settings)?;
    let tunnels = tunnel::tunnels(raw, &gateway, &mut settings)?;
    let bgp = match &raw.bgp {
        Some(bgp) => Some(bgp::bgp(bgp, &raw.maps, &gateway, &tunnels, &mut settings)?),
        None => None,
    };
    let prefix_lists = raw
        .lists
        .iter()
        .map(|list| {
            (
                list.name.clone(),
                prefix_list(list, source.line_of(list.at.start)),
            )
        })
        .collect();
    let route_maps = raw
        .maps
        .iter()
        .map(|map| {
            let line = source.line_of(map.at.start);
            (map.name.clone(), route_map::route_map(map, line))
        })
        .collect();
    let routes = raw
        .routes
        .iter()
        .map(|route| self::route(route, source.line_of(route.at.start)))
        .collect::<Option<Vec<_>>>()?;
    let metrics = metrics(&raw.metrics, &mut settings);
    let daemon = daemon(&raw.daemon, &mut settings);
    let firewall = firewall::firewall(raw, &gateway, &tunnels, &daemon, &mut settings)?;
    Some(Site {
        gateway,
        tunnels,
        bgp,
        prefix_lists,
        route_maps,
        routes,
        firewall,
        metrics,
        daemon,
        settings: settings.into_list(),
    })
}

fn route(raw: &RawRoute, line: usize) -> Option<Route> {
    let way = if raw.drops() {
        Way::Blackhole
    } else {
        Way::Via {
            address: raw.via.as_ref()?.value,
            interface: raw.interface.as_ref()?.value.clone(),
        }
    };
    let prefix = raw.prefix.as_ref()?.value;
    Some(Route { line, prefix, way })
}

fn gateway(raw: &RawGateway, settings: &mut Settings<'_>) -> Option<Gateway> {
    settings.within("gateway");
    let name = settings.choose("name", &raw.name, "gateway".to_owned(), Origin::Default);
    let wan = settings.maybe("wan", &raw.wan);
    raw.address.as_ref()?;
    let address = raw.fixed().map(|at| at.value.into());
    settings.note(
        "address",
        raw.address.as_ref(),
        address.map_or("auto".to_owned(), |address: std::net::IpAddr| {
            address.to_string()
        }),
    );
    let networks: Vec<_> = raw.networks.iter().map(|network| network.value).collect();
    settings.note("networks", raw.networks.first(), settings::list(&networks));
    Some(Gateway {
        name,
        wan,
        address,
        networks,
    })
}

fn metrics(raw: &RawMetrics, settings: &mut Settings<'_>) -> Metrics {
    settings.within("metrics");
    Metrics {
        listen: settings.maybe("listen", &raw.listen),
    }
}

fn daemon(raw: &RawDaemon, settings: &mut Settings<'_>) -> Daemon {
    settings.within("daemon");
    let socket = PathBuf::from("/run/causeway/causeway.sock");
    Daemon {
        data_plane: settings.choose(
            "data-plane",
            &raw.data_plane,
            DataPlane::Auto,
            Origin::Default,
        ),
        interface_kind: settings.choose(
            "interface-kind",
            &raw.interface_kind,
            InterfaceKind::Auto,
            Origin::Default,
        ),
        offload: settings.choose("offload", &raw.offload, Offload::None, Origin::Default),
        socket: settings.choose("socket", &raw.socket, socket, Origin::Default),
        log: settings.choose("log", &raw.log, LogLevel::Info, Origin::Default),
        cleanup: settings.choose("cleanup", &raw.cleanup, true, Origin::Default),
        ike_port: settings.choose("ike-port", &raw.ike_port, 500, Origin::Default),
        nat_port: settings.choose("nat-port", &raw.nat_port, 4500, Origin::Default),
    }
}
