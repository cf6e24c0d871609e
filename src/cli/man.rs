//! The manual pages: one for each command, from the command line's own description, and one for the site file, from its table
//! of keys. So they say what this very program does.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use config::schema::{self, Section};

use super::{Arguments, Failure};

/// What the pages call the collection that they belong to.
const MANUAL: &str = "Causeway";

/// The name of the page about the site file.
const SITE_PAGE: &str = "causeway-site";

/// The smallest complete site file.
const EXAMPLE: &str = include_str!("../../examples/minimal-oci.toml");

#[derive(Args)]
pub(crate) struct ManArguments {
    /// The page: a command such as `status`, `bgp routes`, or `site` for the site file. Without one, that of the program.
    page: Vec<String>,
    /// Write every page into this folder, which is made if need be.
    #[arg(long, value_name = "FOLDER", conflicts_with = "page")]
    output: Option<PathBuf>,
}

/// A page, in the language of man(7).
struct Page {
    name: String,
    section: &'static str,
    text: Vec<u8>,
}

pub(super) fn execute(arguments: &ManArguments) -> Result<(), Failure> {
    let pages = pages()?;
    if let Some(folder) = &arguments.output {
        return write_all(folder, &pages);
    }
    let mut wanted = vec!["causeway"];
    wanted.extend(arguments.page.iter().map(String::as_str));
    let wanted = wanted.join("-");
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        let names: Vec<_> = pages
            .iter()
            .filter_map(|page| page.name.strip_prefix("causeway-"))
            .map(|name| name.replace('-', " "))
            .collect();
        return Err(Failure::Invalid(format!(
            "there is no page {}; there are: {}",
            arguments.page.join(" "),
            names.join(", ")
        )));
    };
    io::stdout().write_all(&page.text)?;
    Ok(())
}

fn write_all(folder: &Path, pages: &[Page]) -> Result<(), Failure> {
    let cannot = |path: &Path, error: &io::Error| {
        Failure::Failed(format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
    for page in pages {
        let path = folder.join(format!("{}.{}", page.name, page.section));
        fs::write(&path, &page.text).map_err(|error| cannot(&path, &error))?;
    }
    Ok(())
}

fn pages() -> io::Result<Vec<Page>> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_command(&command, &mut pages)?;
    pages.push(site_page()?);
    Ok(pages)
}

/// Adds a command's page and those of the commands below it.
fn add_command(command: &clap::Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or("causeway").to_owned();
    let is_program = name == "causeway";
    let man = Man::new(command.clone())
        .source(source())
        .manual(MANUAL.to_owned());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    let mut roff = Roff::new();
    if is_program {
        about_the_program(&mut roff);
        see_also(&mut roff, &[("causeway-site", "5"), ("systemd.exec", "5")]);
    } else {
        see_also(&mut roff, &[("causeway", "1"), ("causeway-site", "5")]);
    }
    roff.to_writer(&mut text)?;
    pages.push(Page {
        name,
        section: "1",
        text,
    });
    for below in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        add_command(below, pages)?;
    }
    Ok(())
}

/// What holds for every command.
fn about_the_program(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "Done; also when the reader of the output went away."),
        ("1", "It was tried and failed."),
        (
            "2",
            "The site file or the command line is wrong; nothing was touched.",
        ),
        ("3", "No daemon answers on the control socket."),
    ] {
        item(roff, &[bold(status)], meaning);
    }
    roff.control("SH", ["SIGNALS"]);
    for (signal, meaning) in [
        (
            "SIGHUP",
            "The daemon reads the site file again and changes only what it changes.",
        ),
        (
            "SIGTERM, SIGINT",
            "The daemon takes leave of its peers and takes what is its own off the host.",
        ),
        (
            "SIGUSR2",
            "The daemon ends at once and leaves everything as it is, for the next run to go on with. A restart by systemd does this.",
        ),
    ] {
        item(roff, &[bold(signal)], meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in [
        (
            "CAUSEWAY_SOCKET",
            "The control socket, where --socket does not say it.",
        ),
        (
            "CAUSEWAY_LOG",
            "What is logged, as ike=debug,info, in place of the site file's log.",
        ),
        (
            "CREDENTIALS_DIRECTORY",
            "Where systemd puts the credentials that a site file may name.",
        ),
    ] {
        item(roff, &[bold(name)], meaning);
    }
    roff.control("SH", ["FILES"]);
    for (path, meaning) in [
        (
            "/etc/causeway/site.toml",
            "The site file: causeway-site(5).",
        ),
        ("/run/causeway/causeway.sock", "The control socket."),
        (
            "/run/causeway/sysctl.saved",
            "The kernel settings that were changed, as they were before.",
        ),
    ] {
        item(roff, &[italic(path)], meaning);
    }
}

fn site_page() -> io::Result<Page> {
    let mut roff = Roff::new();
    let source = source();
    roff.control("TH", [SITE_PAGE, "5", "", source.as_str(), MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{SITE_PAGE} - the site file of Causeway"))]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([italic("/etc/causeway/site.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in schema::INTRODUCTION.split("\n\n") {
        if paragraph.starts_with("# ") {
            continue;
        }
        roff.control("PP", []);
        let (items, prose): (Vec<_>, Vec<_>) =
            paragraph.lines().partition(|line| line.starts_with("- "));
        if !prose.is_empty() {
            roff.text(inlines(&prose.join(" ")));
        }
        for line in items {
            roff.control("IP", ["\\(bu", "2"]);
            roff.text(inlines(line.trim_start_matches("- ")));
        }
    }
    for section in schema::SECTIONS {
        add_section(&mut roff, section);
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.text([roman(
        "A home network with the two tunnels of an Oracle DRG:",
    )]);
    roff.control("PP", []);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    see_also(&mut roff, &[("causeway", "1"), ("causeway-check", "1")]);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(Page {
        name: SITE_PAGE.to_owned(),
        section: "5",
        text,
    })
}

fn add_section(roff: &mut Roff, section: &Section) {
    let title = section.title().replace('`', "");
    roff.control("SH", [title.as_str()]);
    roff.text(inlines(section.about));
    for key in section.keys {
        let mut tag = vec![bold(key.name)];
        if key.default.is_empty() {
            tag.push(roman(" (required)"));
        } else {
            tag.push(roman(" (default: "));
            tag.extend(inlines(key.default));
            tag.push(roman(")"));
        }
        item(roff, &tag, key.meaning);
    }
}

/// A tagged paragraph.
fn item(roff: &mut Roff, tag: &[Inline], text: &str) {
    roff.control("TP", []);
    roff.text(tag.to_vec());
    roff.text(inlines(text));
}

fn see_also(roff: &mut Roff, pages: &[(&str, &str)]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (name, section) in pages {
        if !words.is_empty() {
            words.push(roman(", "));
        }
        words.push(bold(*name));
        words.push(roman(format!("({section})")));
    }
    roff.text(words);
}

/// Text with what stands between backticks in bold.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(place, part)| {
            if place % 2 == 1 {
                bold(part)
            } else {
                roman(part)
            }
        })
        .collect()
}

fn source() -> String {
    format!("causeway {}", env!("CARGO_PKG_VERSION"))
}
