//! Which data plane carries the packets, and what an operator is told about it. What this machine's kernel can do is not known to the
//! tests, so they hold what is said against what then happens.

use lab::{Gateway, ReferenceSite, Scene, SiteFile, eventually, eventually_true};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// The plane that the bench runs its daemons on.
fn usual() -> String {
    std::env::var("CAUSEWAY_LAB_PLANE").unwrap_or_else(|_| "userspace".to_owned())
}

fn line(plane: &str) -> String {
    format!("data-plane = \"{plane}\"")
}

fn wishing(plane: &str) -> SiteFile {
    SiteFile::reference().replace(&line(&usual()), &line(plane))
}

#[test]
fn auto_takes_the_kernel_exactly_where_insisting_on_it_would_work_and_says_why_not() {
    let auto = Scene::start(CAUSEWAY, &wishing("auto"));
    auto.wait_until_up();
    let status = auto.gateway.status();
    let (kind, reason) = (
        &status["data_plane"]["kind"],
        &status["data_plane"]["reason"],
    );
    println!("auto: {kind}, {reason}");
    let shown = auto.gateway.command(&["status"]).stdout;
    assert!(shown.contains("data-plane = \"auto\""), "{shown}");
    drop(auto);

    let site = ReferenceSite::new();
    let before = site.gateway.exec(&["ip", "-d", "link"]);
    let mut insists = Gateway::launch(&site.gateway, &wishing("kernel").launch(CAUSEWAY));
    let ends = eventually(Scene::SOON, "it answers or ends", || {
        if insists.ended().is_some() {
            return Some(true);
        }
        insists.command(&["status"]).ok().then_some(false)
    });
    assert_eq!(ends, kind == "userspace");
    let log = insists.log();
    if ends {
        let why = reason.as_str().unwrap_or_default();
        let (_, first) = why
            .split_once("asks for: ")
            .expect("the reason names what is missing");
        let first = first.split(" (and ").next().unwrap_or_default();
        assert!(log.contains(first), "{first:?} is not in\n{log}");
        assert!(log.contains("data-plane = \"userspace\""), "{log}");
        assert_eq!(before, site.gateway.exec(&["ip", "-d", "link"]));
    }
}

#[test]
fn another_plane_waits_for_a_restart_and_a_reload_says_so() {
    let scene = Scene::up(CAUSEWAY);
    let said = scene.gateway.dir().join("site.toml");
    let text = std::fs::read_to_string(&said).expect("the site file");
    std::fs::write(&said, text.replace(&line(&usual()), &line("auto"))).expect("an edit");
    let reloaded = scene.gateway.command(&["reload"]);
    assert!(reloaded.ok(), "{}", reloaded.stderr);
    assert!(
        reloaded
            .stdout
            .contains("[daemon] data-plane: takes effect at a restart"),
        "{}",
        reloaded.stdout
    );
    let status = scene.gateway.status();
    assert_eq!(status["data_plane"]["kind"], usual());
    eventually_true(Scene::SOON, "both tunnels stay up", || {
        ["oci-1", "oci-2"]
            .iter()
            .all(|name| scene.gateway.tunnel(name)["state"] == "up")
    });
    let tunnel = scene.gateway.tunnel("oci-1");
    let made = tunnel["interface_kind"] != "tun";
    assert_eq!(made, usual() == "kernel", "{tunnel}");
    assert_eq!(tunnel["binding"].is_string(), made, "{tunnel}");
    assert_eq!(tunnel["offload"]["wanted"], "none");
}
