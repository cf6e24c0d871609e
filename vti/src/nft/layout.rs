//! From a [`Ruleset`] to the sets, chains and rules of our table.
//!
//! ```text
//! input    ─ from the WAN: ESP, IKE, NAT-T of peers accepted, of strangers dropped
//!          ─ from a LAN that has BGP neighbors: TCP 179 of neighbors accepted, of others dropped
//!          ─ from a tunnel ─► from_tunnel_to_us ─► from_cloud
//! forward  ─ from a tunnel ─► from_cloud: connections of ours, the cloud rules in order, the default
//!          ─ into a tunnel: accepted
//! clamp_mss ─ forwarded, from a tunnel or into one: TCP's MSS lowered to what the route carries
//! ```
//!
//! Everything else falls through to the base chains' policy, which is accept: this is not the host's
//! firewall. Fragments need no rule. IPv4 ones are put together before the input hook, and an IPv6 datagram
//! can only be put together if its first fragment, which has the ports, was let through.

use super::ruleset::{
    Action, Alias, CloudRule, Ports, Protocol, Ruleset, RulesetError, Scope, WanRules,
};
use super::set::{KeyType, Set, prefix_len};
use super::table::{Chain, Direction, Family, Hook, Match, Operand, Rule, Side, Table, Then};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ESP: u8 = 50;
const ICMPV6: u8 = 58;
/// RFC 4271, section 4.
const BGP_PORT: u16 = 179;
/// Single-hop BFD control packets (RFC 5881, section 4).
const BFD_PORT: u16 = 3784;

// Names of our own sets have no `_v4`, `_v6` or `_ports` at the end, as those of aliases do, so that no
// alias can collide with them.
const TUNNELS: &str = "tunnels";
const LAN_BGP_INTERFACES: &str = "lan_bgp_interfaces";
const FROM_CLOUD: &str = "from_cloud";
const TO_US: &str = "from_tunnel_to_us";
const CLAMPED: &str = "clamped";
const CLAMP_MSS: &str = "clamp_mss";

impl Ruleset {
    /// The table that this ruleset stands for.
    pub(super) fn table(&self) -> Result<Table, RulesetError> {
        self.validate()?;
        let mut table = Table::default();
        self.add_sets(&mut table);
        let mut input = Vec::new();
        let mut forward = Vec::new();
        if let Some(wan) = &self.wan {
            self.add_wan(wan, &table, &mut input);
        }
        self.add_lan_bgp(&table, &mut input);
        if table.sets.contains_key(TUNNELS) {
            table.chains.push(self.cloud_chain(&table));
            table.chains.push(self.gateway_chain(&table));
            let tunnels = |direction| Match::Interface(direction, Operand::Named(TUNNELS.into()));
            input.push(Rule::new(
                "tunnel-in",
                vec![tunnels(Direction::In)],
                Then::Jump(TO_US),
            ));
            forward.push(Rule::new(
                "cloud-in",
                vec![tunnels(Direction::In)],
                Then::Jump(FROM_CLOUD),
            ));
            forward.push(accept("to-cloud", vec![tunnels(Direction::Out)]));
        }
        for (hook, rules) in [(Hook::Input, input), (Hook::Forward, forward)] {
            if !rules.is_empty() {
                table.chains.push(Chain {
                    name: hook.words(),
                    hook: Some(hook),
                    rules,
                });
            }
        }
        self.add_clamp(&mut table);
        Ok(table)
    }

    /// A chain of its own: what is accepted in another one has not been seen there.
    fn add_clamp(&self, table: &mut Table) {
        let interfaces = Set::from_interfaces(self.clamp_mss.iter().map(String::as_str));
        if interfaces.is_empty() {
            return;
        }
        table.sets.insert(CLAMPED.into(), interfaces);
        let rules = [(Direction::In, "mss-in"), (Direction::Out, "mss-out")].map(|(way, name)| {
            let interface = Match::Interface(way, Operand::Named(CLAMPED.into()));
            Rule::new(name, vec![interface, Match::Syn], Then::ClampMss)
        });
        table.chains.push(Chain {
            name: CLAMP_MSS,
            hook: Some(Hook::Forward),
            rules: rules.into(),
        });
    }

    fn add_sets(&self, table: &mut Table) {
        let mut add = |name: String, set: Set| {
            if !set.is_empty() {
                table.sets.insert(name, set);
            }
        };
        for (name, alias) in &self.aliases {
            match alias {
                Alias::Networks(networks) => {
                    for (family, set) in Family::BOTH.into_iter().zip(Set::from_networks(networks))
                    {
                        add(alias_set(name, family), set);
                    }
                }
                Alias::Ports(ranges) => add(ports_set(name), Set::from_ports(ranges)),
            }
        }
        let tunnels = self.tunnel_interfaces.iter().map(String::as_str);
        add(TUNNELS.into(), Set::from_interfaces(tunnels));
        let lan = self.lan_bgp.iter().map(|peer| peer.interface.as_str());
        let ranges = self.lan_bgp_ranges.iter();
        let lan = lan.chain(ranges.map(|range| range.interface.as_str()));
        add(LAN_BGP_INTERFACES.into(), Set::from_interfaces(lan));
        for (prefix, peers) in [("bgp", &self.bgp), ("lan_bgp", &self.lan_bgp)] {
            for (family, set) in Family::BOTH.into_iter().zip(Set::from_peers(peers)) {
                debug_assert_eq!(set.key, family.pair_key());
                add(pairs_set(prefix, family), set);
            }
        }
    }

    fn add_wan(&self, wan: &WanRules, table: &Table, input: &mut Vec<Rule>) {
        let services = [
            (
                "esp",
                Match::Protocol(Operand::Inline(Set::from_protocols(&[ESP]))),
            ),
            ("ike", port(UDP, wan.ike_port)),
            ("nat-t", port(UDP, wan.nat_t_port)),
        ];
        for (service, is_service) in services {
            let name = format!("wan-{service}");
            for family in Family::BOTH {
                let peers = alias_set(&wan.peers, family);
                if !table.sets.contains_key(&peers) {
                    continue;
                }
                for mut matches in wan_scope(wan, Some(family)) {
                    matches.push(Match::Address(
                        family,
                        Side::Source,
                        Operand::Named(peers.clone()),
                    ));
                    matches.push(is_service.clone());
                    input.push(accept(&name, matches));
                }
            }
            let name = format!("stranger-{service}");
            for mut matches in wan_scope(wan, None) {
                matches.push(is_service.clone());
                input.push(drop(&name, matches));
            }
        }
    }

    fn add_lan_bgp(&self, table: &Table, input: &mut Vec<Rule>) {
        if !table.sets.contains_key(LAN_BGP_INTERFACES) {
            return;
        }
        for is_neighbor in pairs("lan_bgp", table) {
            input.push(accept("lan-bgp", vec![is_neighbor, port(TCP, BGP_PORT)]));
        }
        for range in &self.lan_bgp_ranges {
            let from = Set::from_networks(&[range.network]);
            for (family, set) in Family::BOTH.into_iter().zip(from) {
                if set.is_empty() {
                    continue;
                }
                let interface = Set::from_interfaces(std::iter::once(range.interface.as_str()));
                input.push(accept(
                    "lan-bgp-range",
                    vec![
                        Match::Interface(Direction::In, Operand::Inline(interface)),
                        Match::Address(family, Side::Source, Operand::Inline(set)),
                        port(TCP, BGP_PORT),
                    ],
                ));
            }
        }
        let interface = Match::Interface(Direction::In, Operand::Named(LAN_BGP_INTERFACES.into()));
        input.push(drop(
            "lan-bgp-stranger",
            vec![interface, port(TCP, BGP_PORT)],
        ));
    }

    /// What arrives on a tunnel for the gateway itself.
    fn gateway_chain(&self, table: &Table) -> Chain {
        let mut rules = Vec::new();
        for is_peer in pairs("bgp", table) {
            rules.push(accept("bgp", vec![is_peer.clone(), port(TCP, BGP_PORT)]));
            rules.push(accept("bfd", vec![is_peer, port(UDP, BFD_PORT)]));
        }
        rules.push(drop("bgp-stranger", vec![port(TCP, BGP_PORT)]));
        let icmp = Set::from_protocols(&[ICMP, ICMPV6]);
        rules.push(accept(
            "tunnel-icmp",
            vec![Match::Protocol(Operand::Inline(icmp))],
        ));
        rules.push(Rule::new("cloud-to-us", Vec::new(), Then::Jump(FROM_CLOUD)));
        Chain {
            name: TO_US,
            hook: None,
            rules,
        }
    }

    /// The rules of the site for what comes from the cloud, for us and for the home network alike.
    fn cloud_chain(&self, table: &Table) -> Chain {
        let mut rules = Vec::new();
        // Connection tracking costs something for every packet: it is only asked for where it decides.
        if self.can_refuse_cloud() {
            rules.push(accept("established", vec![Match::Established]));
        }
        for rule in &self.cloud {
            for matches in cloud_matches(rule, table) {
                if rule.log {
                    rules.push(Rule::new(&rule.name, matches.clone(), Then::Log));
                }
                rules.push(Rule::new(&rule.name, matches, Then::Decide(rule.action)));
            }
        }
        rules.push(Rule::new(
            "cloud-default",
            Vec::new(),
            Then::Decide(self.cloud_default),
        ));
        Chain {
            name: FROM_CLOUD,
            hook: None,
            rules,
        }
    }
}

/// The matches of a cloud rule: one list if no address is named, else one for each family that both sides
/// have. A side without members matches nothing.
fn cloud_matches(rule: &CloudRule, table: &Table) -> Vec<Vec<Match>> {
    let Some(ports) = ports_match(rule, table) else {
        return Vec::new();
    };
    if rule.source == Scope::Any && rule.destination == Scope::Any {
        let mut matches = protocol_match(rule, None);
        matches.extend(ports);
        return vec![matches];
    }
    let families = Family::BOTH.into_iter().filter_map(|family| {
        let mut matches = Vec::new();
        let sides = [
            (Side::Source, &rule.source),
            (Side::Destination, &rule.destination),
        ];
        for (side, scope) in sides {
            matches.extend(scope_match(scope, family, side, table)?);
        }
        matches.extend(protocol_match(rule, Some(family)));
        matches.extend(ports.clone());
        Some(matches)
    });
    families.collect()
}

/// `None`: the scope has nobody of this family. An empty list: no restriction.
fn scope_match(scope: &Scope, family: Family, side: Side, table: &Table) -> Option<Vec<Match>> {
    let operand = match scope {
        Scope::Any => return Some(Vec::new()),
        Scope::Alias(name) => {
            let name = alias_set(name, family);
            table
                .sets
                .contains_key(&name)
                .then_some(Operand::Named(name))?
        }
        Scope::Networks(networks) => {
            let [v4, v6] = Set::from_networks(networks);
            let set = if family == Family::V4 { v4 } else { v6 };
            if set.intervals().first().and_then(prefix_len) == Some(0) {
                return Some(vec![Match::Family(family)]);
            }
            (!set.is_empty()).then_some(Operand::Inline(set))?
        }
    };
    Some(vec![Match::Address(family, side, operand)])
}

/// The protocol, unless a match on its port says it already.
fn protocol_match(rule: &CloudRule, family: Option<Family>) -> Vec<Match> {
    let number = match rule.protocol {
        Protocol::Any => return Vec::new(),
        Protocol::Icmp => {
            let numbers: &[u8] = match family {
                None => &[ICMP, ICMPV6],
                Some(Family::V4) => &[ICMP],
                Some(Family::V6) => &[ICMPV6],
            };
            return vec![Match::Protocol(Operand::Inline(Set::from_protocols(
                numbers,
            )))];
        }
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Number(number) => number,
    };
    if rule.ports == Ports::Any {
        vec![Match::Protocol(Operand::Inline(Set::from_protocols(&[
            number,
        ])))]
    } else {
        Vec::new()
    }
}

/// `None`: the rule names ports, but there are none in them.
fn ports_match(rule: &CloudRule, table: &Table) -> Option<Option<Match>> {
    let operand = match &rule.ports {
        Ports::Any => return Some(None),
        Ports::Alias(name) => {
            let name = ports_set(name);
            table
                .sets
                .contains_key(&name)
                .then_some(Operand::Named(name))?
        }
        Ports::Ranges(ranges) => {
            let set = Set::from_ports(ranges);
            (!set.is_empty()).then_some(Operand::Inline(set))?
        }
    };
    let protocol = match rule.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Number(number) => number,
        Protocol::Any | Protocol::Icmp => return None,
    };
    Some(Some(Match::Port(protocol, operand)))
}

/// The beginnings of the WAN rules: interface and our addresses. With `only`, for one family.
fn wan_scope(wan: &WanRules, only: Option<Family>) -> Vec<Vec<Match>> {
    let interface = wan
        .interface
        .as_deref()
        .map(|name| Match::Interface(Direction::In, Operand::Inline(Set::from_interfaces([name]))));
    let interface: Vec<Match> = interface.into_iter().collect();
    if wan.addresses.is_empty() {
        return vec![interface];
    }
    let addresses: Vec<_> = wan
        .addresses
        .iter()
        .map(|&address| address.into())
        .collect();
    let sets = Family::BOTH.into_iter().zip(Set::from_networks(&addresses));
    let wanted = sets
        .filter(|(family, set)| !set.is_empty() && only.is_none_or(|only| only == *family))
        .map(|(family, set)| {
            let mut matches = interface.clone();
            matches.push(Match::Address(
                family,
                Side::Destination,
                Operand::Inline(set),
            ));
            matches
        });
    wanted.collect()
}

fn pairs(prefix: &str, table: &Table) -> Vec<Match> {
    let named = Family::BOTH
        .into_iter()
        .map(|family| (family, pairs_set(prefix, family)));
    let present = named.filter(|(_, name)| table.sets.contains_key(name));
    present
        .map(|(family, name)| Match::InterfaceAndSource(family, name))
        .collect()
}

fn port(protocol: u8, number: u16) -> Match {
    let set = Set::from_ports(&[super::ruleset::PortRange::single(number)]);
    debug_assert_eq!(set.key, KeyType::Service);
    Match::Port(protocol, Operand::Inline(set))
}

fn accept(name: &str, matches: Vec<Match>) -> Rule {
    Rule::new(name, matches, Then::Decide(Action::Accept))
}

fn drop(name: &str, matches: Vec<Match>) -> Rule {
    Rule::new(name, matches, Then::Decide(Action::Drop))
}

fn alias_set(alias: &str, family: Family) -> String {
    format!("{alias}_{}", family.suffix())
}

fn ports_set(alias: &str) -> String {
    format!("{alias}_ports")
}

fn pairs_set(prefix: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{prefix}4"),
        Family::V6 => format!("{prefix}6"),
    }
}
