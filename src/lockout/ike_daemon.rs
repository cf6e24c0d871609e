//! Another IKE daemon: who has our ports, and how to find out where that may not be seen.

use std::path::Path;

use vti::plane;

/// Where systemd keeps a folder for each unit that runs, whoever may see its processes.
const UNITS: &str = "/sys/fs/cgroup/system.slice";

/// Units that answer IKE, with whose they are.
const CANDIDATES: &[(&str, &str)] = &[
    ("strongswan", "strongSwan"),
    ("strongswan-starter", "strongSwan"),
    ("strongswan-swanctl", "strongSwan"),
    ("ipsec", "Libreswan"),
    ("libreswan", "Libreswan"),
    ("racoon", "racoon"),
    ("iked", "OpenIKED"),
    ("charon-systemd", "strongSwan"),
];

/// What an error at the start says, with what to do where it is about a port of IKE's. The unit hides other users' processes from us, so
/// their units are looked for instead.
pub(crate) fn explain_port(error: &plane::Error) -> String {
    let runs = |unit: &str| Path::new(UNITS).join(format!("{unit}.service")).is_dir();
    explain(error, runs)
}

fn explain(error: &plane::Error, runs: impl Fn(&str) -> bool) -> String {
    let plane::Error::PortInUse { port, .. } = error else {
        return error.to_string();
    };
    let running = CANDIDATES
        .iter()
        .filter(|(unit, _)| runs(unit))
        .map(|(unit, who)| format!("{unit}.service ({who}) runs: systemctl disable --now {unit}"))
        .collect::<Vec<_>>();
    let what_to_do = if running.is_empty() {
        let names: Vec<&str> = CANDIDATES.iter().map(|(unit, _)| *unit).collect();
        format!(
            "see who it is with: ss -lunp 'sport = :{port}'; units that answer IKE are {}; stop it, or give us other ports ([daemon] ike-port, nat-port)",
            names.join(", ")
        )
    } else {
        running.join("; ")
    };
    format!("{error}: there can be one IKE daemon only; {what_to_do}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use(holder: Option<&str>) -> plane::Error {
        plane::Error::PortInUse {
            address: "0.0.0.0".parse().unwrap(),
            port: 500,
            holder: holder.map(str::to_owned),
        }
    }

    #[test]
    fn a_unit_that_runs_is_named_with_the_command_that_stops_it() {
        let unknown = explain(&in_use(None), |_| false);
        assert!(unknown.contains("ss -lunp 'sport = :500'"), "{unknown}");
        assert!(unknown.contains("strongswan-starter, "), "{unknown}");
        let known = explain(&in_use(None), |unit| unit == "ipsec");
        assert!(
            known.ends_with("ipsec.service (Libreswan) runs: systemctl disable --now ipsec"),
            "{known}"
        );
    }

    #[test]
    fn a_process_that_may_be_seen_is_named() {
        let text = explain(&in_use(Some("charon (pid 812)")), |_| false);
        assert!(
            text.starts_with("UDP port 500 on 0.0.0.0 is in use by charon (pid 812)"),
            "{text}"
        );
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let error = plane::Error::NotPermitted {
            action: "bind UDP port 500",
            capability: "CAP_NET_BIND_SERVICE",
        };
        assert_eq!(explain_port(&error), error.to_string());
    }
}
