//! The firewall: peers come in, a stranger does not even get an answer.

use super::{Tour, Verified};
use crate::demo::probe::{ATTEMPTS, Attempt, Echo, knock};
use crate::demo::problem::{Problem, verify};
use crate::demo::topology::{Place, at};

/// Lets a stranger try, and looks at the answers and at the firewall's counters.
pub(super) fn stranger(tour: &mut Tour) -> Result<Verified, Problem> {
    let from = tour.topology()?.at(Place::Stranger);
    let gateway = tour.daemon(Place::Gateway)?;
    // Silence means nothing where no packet arrives.
    Echo::open(from, at::WAN)?.series(&tour.stop, std::time::Duration::from_secs(3), 3)?;
    let before = gateway.status()?.firewall;
    let mut verified = Verified::new("not one answer, every packet counted");
    for attempt in Attempt::ALL {
        tour.progress.note(attempt.name());
        let answers = knock(&tour.stop, (from, at::STRANGER), at::WAN, attempt)?;
        verify(answers == 0, || {
            format!("{} was answered {answers} times", attempt.name())
        })?;
    }
    let after = gateway.status()?.firewall;
    for attempt in Attempt::ALL {
        let (peers, strangers) = attempt.rules();
        let count = |rule: &str| {
            let no_such = || Problem::Unverified(format!("the firewall has no counter {rule}"));
            Ok::<_, Problem>((
                before.packets(rule).ok_or_else(no_such)?,
                after.packets(rule).ok_or_else(no_such)?,
            ))
        };
        let (dropped_before, dropped) = count(strangers)?;
        let dropped = dropped.saturating_sub(dropped_before);
        verify(dropped == ATTEMPTS, || {
            format!(
                "{}: {ATTEMPTS} sent, {dropped} dropped by {strangers}",
                attempt.name()
            )
        })?;
        let (_, accepted) = count(peers)?;
        // There is no NAT here, so peers have no reason to use port 4500.
        verify(accepted > 0 || attempt == Attempt::NatTraversal, || {
            format!("{peers} has accepted nothing")
        })?;
        verified.lines.push(format!(
            "{}: {dropped} dropped; {accepted} accepted from the peers",
            attempt.name()
        ));
    }
    Ok(verified)
}
