//! Our table as the text that a person would load with `nft -f`.

use super::ruleset::{Action, Ruleset, RulesetError};
use super::set::{Set, interval_text, protocol_text};
use super::table::{
    Chain, Direction, Family, Match, Operand, PRIORITY, Rule, Side, TABLE, Table, Then, log_prefix,
};

/// The ruleset as a file for `nft -f`. Loading it replaces the table in one transaction, and the outcome
/// is the table that [`super::Firewall::apply`] makes.
///
/// # Errors
/// When the ruleset does not validate.
pub fn render(ruleset: &Ruleset) -> Result<String, RulesetError> {
    Ok(render_table(&ruleset.table()?))
}

fn render_table(table: &Table) -> String {
    let sets = table.sets.iter().map(|(name, set)| render_set(name, set));
    let blocks: Vec<String> = sets.chain(table.chains.iter().map(render_chain)).collect();
    // The empty declaration makes the deletion succeed where there is no such table yet.
    format!(
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{}}}\n",
        blocks.join("\n")
    )
}

fn render_set(name: &str, set: &Set) -> String {
    let flags = if set.key.is_interval() {
        "\t\tflags interval\n"
    } else {
        ""
    };
    let (key, elements) = (set.key.words(), set.elements_text());
    format!("\tset {name} {{\n\t\ttype {key}\n{flags}\t\telements = {{ {elements} }}\n\t}}\n")
}

fn render_chain(chain: &Chain) -> String {
    let hook = chain.hook.map_or_else(String::new, |hook| {
        let hook = hook.words();
        format!("\t\ttype filter hook {hook} priority {PRIORITY}; policy accept;\n")
    });
    let rules: String = chain
        .rules
        .iter()
        .map(|rule| format!("\t\t{}\n", render_rule(rule)))
        .collect();
    format!("\tchain {} {{\n{hook}{rules}\t}}\n", chain.name)
}

fn render_rule(rule: &Rule) -> String {
    let mut words: Vec<String> = rule.matches.iter().map(render_match).collect();
    words.push(match rule.then {
        Then::Decide(Action::Accept) => "counter accept".to_owned(),
        Then::Decide(Action::Drop) => "counter drop".to_owned(),
        Then::Jump(chain) => format!("jump {chain}"),
        Then::ClampMss => "tcp option maxseg size set rt mtu".to_owned(),
        Then::Log => {
            format!(
                "limit rate 5/second burst 5 packets log prefix \"{}\"",
                log_prefix(&rule.name)
            )
        }
    });
    words.push(format!("comment \"{}\"", rule.name));
    words.join(" ")
}

fn render_match(condition: &Match) -> String {
    match condition {
        Match::Established => "ct state established,related".to_owned(),
        Match::Syn => "tcp flags syn".to_owned(),
        Match::Family(Family::V4) => "meta nfproto ipv4".to_owned(),
        Match::Family(Family::V6) => "meta nfproto ipv6".to_owned(),
        Match::Interface(Direction::In, operand) => format!("iifname {}", render_operand(operand)),
        Match::Interface(Direction::Out, operand) => format!("oifname {}", render_operand(operand)),
        Match::Address(family, side, operand) => {
            let side = match side {
                Side::Source => "saddr",
                Side::Destination => "daddr",
            };
            format!("{} {side} {}", family.words(), render_operand(operand))
        }
        Match::InterfaceAndSource(family, set) => {
            format!("iifname . {} saddr @{set}", family.words())
        }
        Match::Protocol(operand) => format!("meta l4proto {}", render_operand(operand)),
        Match::Port(protocol, operand) => {
            format!(
                "{} dport {}",
                protocol_text(*protocol),
                render_operand(operand)
            )
        }
    }
}

fn render_operand(operand: &Operand) -> String {
    match operand {
        Operand::Named(name) => format!("@{name}"),
        Operand::Inline(set) => match set.intervals() {
            [only] => interval_text(set.key, only),
            _ => format!("{{ {} }}", set.elements_text()),
        },
    }
}
