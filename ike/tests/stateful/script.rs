//! The input as a script: each octet says what happens next to two endpoints that are about to meet, or have met.

use std::collections::BTreeSet;
use std::time::Duration;

use ike::Command;

use super::bytes::Bytes;
use super::change::change;
use super::pair::{Flight, ID, Pair, Setup};

/// Most steps of one script: a longer input is cut.
const MOST_STEPS: usize = 400;

/// Runs a script to its end and lets everything settle. Gives what has happened, in a few words each.
///
/// # Errors
/// The promise that was broken.
pub fn run(input: &[u8], trace: bool) -> Result<BTreeSet<String>, String> {
    let mut bytes = Bytes::new(input);
    let first = bytes.byte();
    let setup = Setup {
        both_initiate: first & 1 != 0,
        childless: first & 2 != 0,
        wrong_guess: first & 4 != 0,
        fragments: first & 8 != 0,
    };
    let mut pair = Pair::new(setup, trace)?;
    if first & 16 != 0 {
        while let Some(flight) = pair.net.pop_front() {
            pair.deliver(&flight)?;
        }
        pair.pass(Duration::from_secs(15))?;
        while let Some(flight) = pair.net.pop_front() {
            pair.deliver(&flight)?;
        }
    }
    for _ in 0..MOST_STEPS {
        let Some(kind) = bytes.next() else { break };
        step(&mut pair, kind, &mut bytes)?;
    }
    pair.say(|| "from here on everything arrives".to_owned());
    pair.settle()?;
    let counters = [0, 1].map(|side| pair.sides[side].endpoint.status(pair.now).counters);
    let mut seen = pair.seen;
    for counters in counters {
        let text = format!("{counters:?}");
        let raised = text
            .split(['{', ',', '}'])
            .filter(|one| one.contains(':') && !one.ends_with(": 0"));
        seen.extend(raised.filter_map(|one| Some(one.split_once(':')?.0.trim().to_owned())));
    }
    Ok(seen)
}

fn step(pair: &mut Pair, kind: u8, bytes: &mut Bytes<'_>) -> Result<(), String> {
    match kind % 20 {
        0..=5 => match pair.net.pop_front() {
            Some(flight) => {
                pair.say(|| format!("side {}'s oldest arrives", flight.from));
                pair.deliver(&flight)
            }
            None => fire(pair),
        },
        6 => match take(pair, bytes) {
            Some(flight) => pair.deliver(&flight),
            None => Ok(()),
        },
        7 => {
            pair.say(|| "a datagram is lost".to_owned());
            drop(take(pair, bytes));
            Ok(())
        }
        8 => match pick(pair, bytes) {
            Some(flight) => pair.deliver(&flight),
            None => Ok(()),
        },
        9 => fire(pair),
        10 | 11 => order(pair, bytes),
        12..=15 => altered(pair, bytes),
        16 => forged(pair, bytes),
        17 => pair.traffic(usize::from(bytes.byte() & 1)),
        18 => {
            let time = Duration::from_millis(u64::from(bytes.byte()) * 40);
            pair.say(|| format!("{time:?} pass"));
            pair.pass(time)
        }
        _ => {
            let time = Duration::from_secs(u64::from(bytes.byte()) * 20);
            pair.say(|| format!("{time:?} pass"));
            pair.pass(time)
        }
    }
}

fn take(pair: &mut Pair, bytes: &mut Bytes<'_>) -> Option<Flight> {
    let at = bytes.below(pair.net.len());
    pair.net.remove(at)
}

fn pick(pair: &mut Pair, bytes: &mut Bytes<'_>) -> Option<Flight> {
    let at = bytes.below(pair.net.len());
    pair.net.get(at).cloned()
}

fn fire(pair: &mut Pair) -> Result<(), String> {
    match pair.next_timer() {
        Some((_, side)) => {
            pair.say(|| format!("a timer of side {side}"));
            pair.fire(side)
        }
        None => Ok(()),
    }
}

/// Something is asked of a side.
fn order(pair: &mut Pair, bytes: &mut Bytes<'_>) -> Result<(), String> {
    let choice = bytes.byte();
    let side = usize::from(choice >> 7);
    let inbound = pair.inbound(side);
    let spi = match inbound.len() {
        0 => 77,
        count => inbound[usize::from(choice >> 4 & 7) % count],
    };
    let remote = match pair.net.front() {
        Some(flight) => flight.transmit.remote.ip(),
        None => [203, 0, 113, 9].into(),
    };
    let command = match choice % 10 {
        0..=2 => Command::RekeyChild(ID),
        3 | 4 => Command::RekeyIke(ID),
        5 => Command::SoftExpired { spi },
        6 => Command::HardExpired { spi },
        7 => Command::Down(ID),
        8 => Command::Up(ID),
        _ => Command::UnknownSpi { remote },
    };
    pair.say(|| format!("side {side} is told {command:?}"));
    pair.command(side, command)
}

/// A datagram arrives with another content, protected as if its sender had meant it.
fn altered(pair: &mut Pair, bytes: &mut Bytes<'_>) -> Result<(), String> {
    let Some(mut flight) = take(pair, bytes) else {
        return Ok(());
    };
    let (from, to) = (flight.from, 1 - flight.from);
    let Some(mut plain) = pair.sides[to].endpoint.reveal(&flight.transmit.payload) else {
        return pair.deliver(&flight);
    };
    for _ in 0..=bytes.below(3) {
        change(&mut plain, bytes, &pair.lore);
    }
    pair.say(|| format!("side {from} sends {plain:?}"));
    if let Some(payload) = pair.sides[from].endpoint.conceal(&plain) {
        flight.transmit.payload = payload;
    }
    pair.deliver(&flight)
}

/// A datagram arrives that somebody on the way has changed; the true one is still under way.
fn forged(pair: &mut Pair, bytes: &mut Bytes<'_>) -> Result<(), String> {
    let Some(mut flight) = pick(pair, bytes) else {
        return Ok(());
    };
    let payload = &mut flight.transmit.payload;
    let at = bytes.below(payload.len());
    match (payload.get_mut(at), bytes.byte()) {
        (Some(octet), change @ 1..=250) => *octet ^= change,
        _ => payload.truncate(at),
    }
    pair.say(|| format!("somebody changes a datagram of side {}", flight.from));
    pair.deliver_forged(&flight)
}
