//! What import policy makes of sets of attributes, each judged once for all prefixes that come with it.

use ipnet::IpNet;

use crate::policy::{ImportContext, Permit, Refusal, RouteJudge, Verdict};
use crate::rib::{AttrId, AttributeStore, Judged, Rewritten};
use crate::wire::PathAttributes;

/// One set of attributes before one peer's import policy.
#[derive(Debug)]
pub(super) struct JudgedSet<'a> {
    import: ImportContext<'a>,
    judge: RouteJudge<'a>,
    id: AttrId,
    /// Nothing stands against the attributes themselves.
    good: bool,
    /// What rules of a route map made of it, by their places. Each has a reference.
    made: Vec<(usize, Rewritten)>,
}

impl<'a> JudgedSet<'a> {
    /// A set of which is known whether something stands against it.
    pub(super) fn new(
        import: ImportContext<'a>,
        attributes: &AttributeStore,
        id: AttrId,
        good: bool,
    ) -> Self {
        Self {
            import,
            judge: import.judge_set(|| attributes.set(id)),
            id,
            good,
            made: Vec::new(),
        }
    }

    /// What becomes of a prefix with these attributes, and why it is refused, if its prefix or the policy refuse it.
    pub(super) fn judge(
        &mut self,
        attributes: &mut AttributeStore,
        prefix: &IpNet,
    ) -> (Judged, Option<Refusal>) {
        match self.import.judge_prefix(&self.judge, prefix) {
            Err(refusal) => (Judged::default(), Some(refusal)),
            Ok(_) if !self.good => (Judged::default(), None),
            Ok(permit) => {
                let judged = Judged {
                    accepted: true,
                    rewritten: self.rewritten(attributes, &permit),
                };
                (judged, None)
            }
        }
    }

    fn rewritten(
        &mut self,
        attributes: &mut AttributeStore,
        permit: &Permit<'a>,
    ) -> Option<Rewritten> {
        let (place, actions) = permit.actions()?;
        if let Some((_, made)) = self.made.iter().find(|(of, _)| *of == place) {
            return Some(*made);
        }
        let set = self.import.change(actions, attributes.set(self.id)?);
        let made = Rewritten {
            attributes: attributes.intern(&set),
            weight: actions.weight.unwrap_or(0),
        };
        self.made.push((place, made));
        Some(made)
    }

    /// Gives its references back.
    pub(super) fn release(self, attributes: &mut AttributeStore) {
        for (_, made) in self.made {
            attributes.release(made.attributes);
        }
    }
}

/// The verdict on a route; attributes first, as what stands against them does so for all their prefixes.
pub(super) fn verdict(import: &ImportContext<'_>, prefix: &IpNet, set: &PathAttributes) -> Verdict {
    let judge = import.judge_set(|| Some(set.clone()));
    let judged = import
        .judge_attributes(set)
        .and_then(|()| import.judge_prefix(&judge, prefix));
    match judged {
        Ok(permit) => Verdict::Accepted(permit.name()),
        Err(refusal) => Verdict::Refused(refusal),
    }
}
