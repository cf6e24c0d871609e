//! Exchanges that cross (RFC 7296 sections 2.8.1, 2.8.2 and 2.25): the one place that decides.
//!
//! A collision is a property of a pair: a request of the peer, and what we have under way or have
//! already agreed upon. The functions here read the SA's state and give a verdict.

use super::{Active, Task};
use crate::child::{Child, MOST_CHILDREN};
use crate::sa::established::Established;
use crate::wire::NotifyType;

/// Which one of two crossed exchanges stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What we initiated.
    Ours,
    /// What the peer initiated.
    Theirs,
}

/// The SA whose exchange has the lowest of all four nonces is the redundant one; whoever created
/// it deletes it, and the other one deletes the old SA (section 2.8.1).
pub(crate) fn resolve(our_low: &[u8], their_low: &[u8]) -> Verdict {
    if our_low < their_low {
        Verdict::Theirs
    } else {
        Verdict::Ours
    }
}

/// Whether the SA is on its way out, or in the middle of being replaced by us.
const fn ike_is_leaving(sa: &Established) -> bool {
    !sa.is_usable() || matches!(sa.active, Some(Active::DeleteIke | Active::RekeyIke(_)))
}

/// May the peer make a new child? Not while the IKE SA is being rekeyed or closed (2.25.2), nor
/// without end (section 1.3).
pub(crate) fn admit_create_child(sa: &Established) -> Result<(), NotifyType> {
    if ike_is_leaving(sa) {
        Err(NotifyType::TEMPORARY_FAILURE)
    } else if sa.children.len() >= MOST_CHILDREN {
        Err(NotifyType::NO_ADDITIONAL_SAS)
    } else {
        Ok(())
    }
}

/// May the peer rekey this child? Returns our inbound SPI of it.
pub(crate) fn admit_child_rekey(sa: &Established, old: Option<&Child>) -> Result<u32, NotifyType> {
    if ike_is_leaving(sa) {
        return Err(NotifyType::TEMPORARY_FAILURE);
    }
    // Never heard of, or deleted already (section 2.25.1).
    let Some(old) = old else {
        return Err(NotifyType::CHILD_SA_NOT_FOUND);
    };
    let spi = old.sa.spi_in;
    let deleting = matches!(sa.active, Some(Active::DeleteChild(s)) if s == spi)
        || sa.queue.contains(&Task::DeleteChild(spi));
    if deleting || old.doomed || old.replaced_by.is_some() {
        return Err(NotifyType::TEMPORARY_FAILURE);
    }
    if sa.children.len() >= MOST_CHILDREN {
        return Err(NotifyType::NO_ADDITIONAL_SAS);
    }
    Ok(spi)
}

/// May the peer rekey the IKE SA? Not while we create, rekey or delete a child, nor once it has
/// been replaced or is being closed; while we rekey it ourselves, yes: that is for the nonces to
/// decide (sections 2.8.2 and 2.25.2).
pub(crate) const fn admit_ike_rekey(sa: &Established) -> Result<(), NotifyType> {
    let busy = matches!(
        sa.active,
        Some(
            Active::CreateChild(_)
                | Active::RekeyChild(_)
                | Active::DeleteChild(_)
                | Active::DeleteIke
        )
    );
    let crossed_before = match &sa.active {
        // Once one more exchange is under way, ours is decided.
        Some(Active::RekeyIke(request)) => {
            request.crossed.is_some() || request.agreed.is_some() || sa.pending.is_some()
        }
        _ => false,
    };
    if busy || crossed_before || !sa.is_usable() {
        return Err(NotifyType::TEMPORARY_FAILURE);
    }
    Ok(())
}

/// The peer deletes a child that it has replaced, while our own request to replace it is open: it
/// has decided, and its new child is the successor (section 2.8.1).
pub(crate) fn decided_by_delete(sa: &mut Established, old: u32) {
    if let Some(Active::RekeyChild(request)) = &sa.active
        && request.old == old
        && let Some(theirs) = request.crossed.as_ref().map(|crossed| crossed.spi_in)
        && let Some(old) = sa.children.get_mut(&old)
    {
        old.replaced_by = Some(theirs);
    }
}
