//! Expressions over AS paths, whose letters are AS numbers.
//!
//! An expression is compiled to a program for a machine that is in several places at once (Thompson's construction), so that a match
//! takes at most the path's length times the program's, whatever the expression and the path: there is nothing to go back to.

use thiserror::Error;

use super::NumberRange;
use crate::Asn;

/// The largest program: some hundreds of times what an operator writes.
const MOST_STEPS: usize = 2_000;

/// An expression, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsPathNode {
    /// Any one AS.
    Any,
    /// One AS out of these ranges.
    OneOf(Vec<NumberRange>),
    /// The path begins here.
    Start,
    /// The path ends here.
    End,
    /// One after the other; without any it matches in between.
    Sequence(Vec<Self>),
    /// One of them.
    Either(Vec<Self>),
    /// Again and again.
    Repeat {
        /// What.
        node: Box<Self>,
        /// How often at least.
        least: u32,
        /// How often at most; `None` is any number of times.
        most: Option<u32>,
    },
}

/// One step of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Takes one AS out of these ranges.
    Take(Vec<NumberRange>),
    /// Goes on here and there.
    Split(usize, usize),
    /// Goes on there.
    Jump(usize),
    /// Only at the beginning.
    Start,
    /// Only at the end.
    End,
    /// It matches.
    Found,
}

/// A compiled expression. It is found anywhere in a path, unless it says [`AsPathNode::Start`] or [`AsPathNode::End`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsPathRegex {
    steps: Vec<Step>,
}

/// The expression is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the expression is too large: repetitions multiply, and {MOST_STEPS} steps are the limit")]
pub struct TooLarge;

impl AsPathRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// When it takes too many steps.
    pub fn new(node: &AsPathNode) -> Result<Self, TooLarge> {
        let mut steps = Vec::new();
        compile(node, &mut steps)?;
        push(&mut steps, Step::Found)?;
        Ok(Self { steps })
    }

    /// Whether it is found in a path.
    #[must_use]
    pub fn is_match(&self, path: impl IntoIterator<Item = Asn>) -> bool {
        let mut machine = Machine {
            steps: &self.steps,
            here: Vec::new(),
            seen: vec![false; self.steps.len()],
        };
        let mut path = path.into_iter().peekable();
        let mut at_start = true;
        loop {
            let at_end = path.peek().is_none();
            // A match may begin at every place.
            if machine.enter(0, at_start, at_end) {
                return true;
            }
            let Some(asn) = path.next() else { return false };
            at_start = false;
            if machine.take(asn, path.peek().is_none()) {
                return true;
            }
        }
    }
}

/// All the places that the program is in.
struct Machine<'a> {
    steps: &'a [Step],
    here: Vec<usize>,
    seen: Vec<bool>,
}

impl Machine<'_> {
    /// Goes to a place and wherever that leads without taking an AS; `true` if it is found.
    fn enter(&mut self, place: usize, at_start: bool, at_end: bool) -> bool {
        let mut to_do = vec![place];
        while let Some(place) = to_do.pop() {
            match self.seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match self.steps.get(place) {
                Some(Step::Take(_)) => self.here.push(place),
                Some(Step::Split(one, other)) => to_do.extend([*one, *other]),
                Some(Step::Jump(there)) => to_do.push(*there),
                Some(Step::Start) if at_start => to_do.push(place + 1),
                Some(Step::End) if at_end => to_do.push(place + 1),
                Some(Step::Found) => return true,
                Some(Step::Start | Step::End) | None => {}
            }
        }
        false
    }

    /// Takes an AS; `true` if it is found.
    fn take(&mut self, asn: Asn, at_end: bool) -> bool {
        let before = std::mem::take(&mut self.here);
        self.seen.fill(false);
        before.into_iter().any(|place| {
            let taken = match self.steps.get(place) {
                Some(Step::Take(ranges)) => ranges.iter().any(|range| range.contains(asn.0)),
                _ => false,
            };
            taken && self.enter(place + 1, false, at_end)
        })
    }
}

fn push(steps: &mut Vec<Step>, step: Step) -> Result<usize, TooLarge> {
    if steps.len() >= MOST_STEPS {
        return Err(TooLarge);
    }
    steps.push(step);
    Ok(steps.len() - 1)
}

fn set(steps: &mut [Step], place: usize, step: Step) {
    if let Some(slot) = steps.get_mut(place) {
        *slot = step;
    }
}

fn compile(node: &AsPathNode, steps: &mut Vec<Step>) -> Result<(), TooLarge> {
    match node {
        AsPathNode::Any => drop(push(steps, Step::Take(vec![NumberRange::ANY]))?),
        AsPathNode::OneOf(ranges) => drop(push(steps, Step::Take(ranges.clone()))?),
        AsPathNode::Start => drop(push(steps, Step::Start)?),
        AsPathNode::End => drop(push(steps, Step::End)?),
        AsPathNode::Sequence(nodes) => {
            for node in nodes {
                compile(node, steps)?;
            }
        }
        AsPathNode::Either(nodes) => either(nodes, steps)?,
        AsPathNode::Repeat { node, least, most } => {
            for _ in 0..*least {
                // Even what takes nothing counts, so that the limit limits the time as well.
                let next = steps.len() + 1;
                push(steps, Step::Jump(next))?;
                compile(node, steps)?;
            }
            match most {
                None => star(node, steps)?,
                Some(most) => {
                    let mut skips = Vec::new();
                    for _ in *least..*most {
                        skips.push(push(steps, Step::Jump(0))?);
                        compile(node, steps)?;
                    }
                    let end = steps.len();
                    for skip in skips {
                        set(steps, skip, Step::Split(skip + 1, end));
                    }
                }
            }
        }
    }
    Ok(())
}

fn either(nodes: &[AsPathNode], steps: &mut Vec<Step>) -> Result<(), TooLarge> {
    let mut ends = Vec::new();
    let last = nodes.len().saturating_sub(1);
    for (index, node) in nodes.iter().enumerate() {
        if index == last {
            compile(node, steps)?;
            continue;
        }
        let split = push(steps, Step::Jump(0))?;
        compile(node, steps)?;
        ends.push(push(steps, Step::Jump(0))?);
        let next = steps.len();
        set(steps, split, Step::Split(split + 1, next));
    }
    let end = steps.len();
    for jump in ends {
        set(steps, jump, Step::Jump(end));
    }
    Ok(())
}

fn star(node: &AsPathNode, steps: &mut Vec<Step>) -> Result<(), TooLarge> {
    let split = push(steps, Step::Jump(0))?;
    compile(node, steps)?;
    push(steps, Step::Jump(split))?;
    let end = steps.len();
    set(steps, split, Step::Split(split + 1, end));
    Ok(())
}

#[cfg(test)]
#[path = "as_path_regex/tests.rs"]
mod tests;
