//! The daemons' site files: the reference site as the examples have it, and the sites of those whom it meets.
//!
//! The gateway's file is `examples/reference-site.toml` with other paths and nothing else, so that the demo shows what an
//! operator would run. Keys are made anew for each demo, live in files that only root may read, and are never shown.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::problem::Problem;
use super::random;
use super::topology::{Place, at};

const REFERENCE: &str = include_str!("../../examples/reference-site.toml");

/// Where the reference site keeps its keys.
const ETC: &str = "/etc/causeway/";

/// Octets of a key; letters and digits, as Oracle wants them.
const KEY: usize = 48;

/// The site file of a place where a daemon runs, whose folder is `dir`; `None` where none runs.
pub(super) fn text(place: Place, dir: &Path) -> Option<String> {
    let site = match place {
        Place::Gateway => REFERENCE.replace(ETC, &format!("{}/", dir.display())),
        Place::Drg1 => drg(1, dir),
        Place::Drg2 => drg(2, dir),
        Place::Vcn => vcn(),
        Place::Node1 => node(1),
        Place::Node2 => node(2),
        Place::Node3 => node(3),
        Place::Home
        | Place::Switch
        | Place::Isp
        | Place::Stranger
        | Place::Transit1
        | Place::Transit2
        | Place::Instance => return None,
    };
    Some(with_daemon(site, dir))
}

/// The control socket of the daemon whose folder is `dir`.
pub(super) fn socket(dir: &Path) -> std::path::PathBuf {
    dir.join("causeway.sock")
}

/// Makes the key of a tunnel and writes it to the files of both ends.
///
/// # Errors
/// A file can't be written.
pub(super) fn make_key(files: &[std::path::PathBuf]) -> Result<(), Problem> {
    let key = random::letters(KEY)?;
    for path in files {
        let failed = |cause| Problem::System {
            doing: format!("write {}", path.display()),
            cause,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(key.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// Adds the daemon's own settings.
fn with_daemon(mut site: String, dir: &Path) -> String {
    let socket = format!("socket = \"{}\"", socket(dir).display());
    if let Some(found) = site.find("\n[daemon]\n") {
        site.insert_str(found + "\n[daemon]\n".len(), &format!("{socket}\n"));
    } else {
        // A string takes any amount of text.
        let _ = write!(site, "\n[daemon]\n{socket}\n");
    }
    site
}

/// A DRG: answers on its tunnel, and has the VCN's router as a neighbor. It believes all that the home site says, so that
/// what arrives there shows what really left.
fn drg(number: u8, dir: &Path) -> String {
    let [_, second] = at::DRGS;
    let address = if number == 2 { second } else { at::DRGS[0] };
    format!(
        r#"[gateway]
name = "drg-{number}"
wan = "wan0"
address = "{address}"
networks = ["10.0.0.0/16", "10.99.0.0/24"]

[tunnel.home]
remote = "{home}"
psk = {{ file = "{dir}/home.psk" }}
inside = "10.{number}.0.1/31"
initiate = false
ike = ["aes256-sha1-modp2048"]
esp = ["aes256gcm16-ecp384-modp2048"]

[bgp]
asn = 31898

[bgp.neighbor.home]
tunnel = "home"
remote-asn = 65000
hold-time = "18s"
keepalive = "6s"
import = "all"
export = "subnets"

[bgp.neighbor.vcn]
address = "172.31.{number}.1"
remote-asn = 64600
source = "vcn0"
import = "subnets"
export = "all"

[prefix-list]
subnets = [{{ permit = "10.0.0.0/16" }}, {{ permit = "10.99.0.0/24" }}]

[firewall]
enabled = false
"#,
        home = at::WAN,
        dir = dir.display(),
    )
}

/// The VCN's router: knows the subnets, and hears of the home site from both DRGs.
fn vcn() -> String {
    r#"[gateway]
name = "vcn"
address = "10.0.0.1"
networks = ["10.0.0.0/16", "10.99.0.0/24"]

[bgp]
asn = 64600
maximum-paths = 2
redistribute = ["connected"]

[bgp.neighbor.drg-1]
address = "172.31.1.0"
remote-asn = 31898
source = "drg1"
import = "all"
export = "subnets"

[bgp.neighbor.drg-2]
address = "172.31.2.0"
remote-asn = 31898
source = "drg2"
import = "all"
export = "subnets"

[prefix-list]
subnets = [{ permit = "10.0.0.0/16" }, { permit = "10.99.0.0/24" }]

[firewall]
enabled = false
"#
    .to_owned()
}

/// A Kubernetes node: announces the service, and wants to know nothing.
fn node(number: u8) -> String {
    format!(
        r#"[gateway]
name = "node-{number}"
address = "192.168.200.3{number}"

[bgp]
asn = 65000
redistribute = ["connected"]

[bgp.neighbor.gateway]
profile = "cilium"
address = "192.168.200.1"
remote-asn = 65551
source = "eth0"
import = "none"
export = "services"

[prefix-list]
services = [{{ permit = "172.16.200.0/24", ge = 32 }}]

[firewall]
enabled = false
"#
    )
}

#[cfg(test)]
mod tests {
    use config::{Severity, Source};

    use super::*;

    #[test]
    fn every_daemon_has_a_site_file_without_errors() {
        let dir = Path::new("/run/demo/x");
        for place in Place::ALL {
            let text = text(place, dir);
            assert_eq!(text.is_some(), Place::DAEMONS.contains(&place), "{place:?}");
            let Some(text) = text else { continue };
            assert!(!text.contains(ETC), "{text}");
            let source = Source::new(place.name(), &text);
            let loaded = config::load(&source, &config::Unseen);
            let errors: Vec<_> = loaded
                .diagnostics
                .iter()
                .filter(|one| one.severity == Severity::Error)
                .collect();
            assert!(errors.is_empty(), "{place:?}: {errors:?}");
            let site = loaded.site.expect("a site");
            assert_eq!(site.daemon.socket, socket(dir), "{place:?}");
        }
    }

    #[test]
    fn the_gateway_runs_the_reference_site() {
        let text = text(Place::Gateway, Path::new("/etc/causeway")).unwrap();
        assert!(text.starts_with(REFERENCE), "only its end may differ");
    }
}
