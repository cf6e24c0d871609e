//! One peer's Adj-RIB-Out: what it has been told, and what it still has to be told.
//!
//! Pending changes are a set of prefixes, not of messages: a peer that reads slowly gets the newest
//! state of each prefix once, and costs no memory for what it missed.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use ipnet::{IpNet, Ipv4Net};

use super::attribute_store::AttrId;
use super::prefix_table::PrefixId;
use super::{BestPath, BestSource, Rib};
use crate::DefaultOriginate;
use crate::policy::{Actions, DEFAULT_LOCAL_PREF, ExportContext, RouteJudge, Withheld};
use crate::wire::{
    Family, Origin, PathAttributes, RefreshKind, RouteRefresh, UpdateBuilder, end_of_rib,
};

/// What has been told of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    sent: Option<AttrId>,
    queued: bool,
}

/// What one step of telling came to.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    /// Whole messages.
    pub(crate) bytes: Vec<u8>,
    /// How many of them are UPDATEs.
    pub(crate) updates: u64,
    /// How many of them are ROUTE-REFRESHes.
    pub(crate) refreshes: u64,
    /// For the first time on this session something was held back for the limit.
    pub(crate) limit_reached: bool,
}

impl Flushed {
    fn mark(&mut self, kind: RefreshKind) {
        let family = Family::IPV4_UNICAST;
        self.bytes.extend(RouteRefresh { family, kind }.message());
        self.refreshes += 1;
    }
}

/// How far the marks around a refresh are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Marks {
    /// All that are due.
    #[default]
    Done,
    /// None of them.
    BeginDue,
    /// The one at the end is missing.
    EndDue,
}

/// How many prefixes one step looks at, so that a full table never keeps a KEEPALIVE waiting.
const STEP: usize = 1000;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct AdjOut {
    cells: Vec<Cell>,
    queue: VecDeque<PrefixId>,
    /// Prefixes that were told have to be told again.
    resend: bool,
    /// Once all is told again, it has to be told once more.
    resend_after: bool,
    advertised: u32,
    end_of_rib_due: bool,
    /// The peer wants to know where a refresh begins and ends (RFC 7313).
    enhanced: bool,
    /// What of that it has yet to be told.
    marks: Marks,
    /// End-of-RIB has to wait: we have not heard everything ourselves yet.
    end_of_rib_held: bool,
    held_back: bool,
    limit_told: bool,
}

impl AdjOut {
    /// A session begins: everything has to be told, then End-of-RIB.
    pub(crate) fn begin(&mut self, rib: &mut Rib, enhanced: bool) {
        self.end(rib);
        self.enhanced = enhanced;
        self.mark_all(rib);
        self.end_of_rib_due = true;
    }

    /// Whether End-of-RIB has to wait.
    pub(crate) fn hold_end_of_rib(&mut self, held: bool) {
        self.end_of_rib_held = held;
    }

    /// The session ended: the peer has forgotten what it was told.
    pub(crate) fn end(&mut self, rib: &mut Rib) {
        for cell in std::mem::take(&mut self.cells) {
            if let Some(attributes) = cell.sent {
                rib.attributes.release(attributes);
            }
        }
        *self = Self::default();
    }

    /// The peer asks for everything again (RFC 2918, section 4). While it is being told everything again, any number of further
    /// requests is one more round: a request is 23 octets and a round is the whole table, so they must not cost it each.
    ///
    /// Where the round is marked, it begins after End-of-RIB (RFC 7313, section 4).
    pub(crate) fn refresh(&mut self, rib: &Rib) {
        let begun = self.resend && self.has_pending();
        if begun || (self.enhanced && self.end_of_rib_due) {
            self.resend_after = true;
            return;
        }
        self.resend = true;
        self.mark_all(rib);
        if self.enhanced {
            self.marks = Marks::BeginDue;
        } else {
            self.end_of_rib_due = true;
        }
    }

    /// A prefix has another best path.
    pub(crate) fn mark(&mut self, id: PrefixId) {
        let slot = id.0 as usize;
        if self.cells.len() <= slot {
            self.cells.resize(slot + 1, Cell::default());
        }
        if let Some(cell) = self.cells.get_mut(slot).filter(|cell| !cell.queued) {
            cell.queued = true;
            self.queue.push_back(id);
        }
    }

    /// The rules for telling are others.
    pub(crate) fn mark_all(&mut self, rib: &Rib) {
        let bound = u32::try_from(rib.bound()).unwrap_or(u32::MAX);
        (0..bound)
            .map(PrefixId)
            .filter(|id| rib.prefix(*id).is_some())
            .for_each(|id| self.mark(id));
    }

    /// A default route of our own may have to be told, or to be taken back.
    pub(crate) fn mark_default(&mut self, rib: &mut Rib) {
        self.mark(rib.number_of(IpNet::V4(Ipv4Net::default())));
    }

    /// Whether a prefix's number must stay.
    pub(crate) fn needs(&self, id: PrefixId) -> bool {
        self.cells
            .get(id.0 as usize)
            .is_some_and(|cell| cell.queued || cell.sent.is_some())
    }

    /// Whether there is something to tell.
    pub(crate) fn has_pending(&self) -> bool {
        !self.queue.is_empty()
            || self.marks != Marks::Done
            || (self.end_of_rib_due && !self.end_of_rib_held)
    }

    /// How many prefixes wait to be told.
    pub(crate) fn pending(&self) -> usize {
        self.queue.len()
    }

    /// How many prefixes the peer has been told.
    pub(crate) fn advertised(&self) -> u32 {
        self.advertised
    }

    /// Whether a prefix waits to be told.
    pub(crate) fn is_queued(&self, id: PrefixId) -> bool {
        self.cells
            .get(id.0 as usize)
            .is_some_and(|cell| cell.queued)
    }

    /// What the peer has been told of a prefix.
    pub(crate) fn sent(&self, id: PrefixId) -> Option<AttrId> {
        self.cells.get(id.0 as usize)?.sent
    }

    /// What the peer has been told, by numbers of prefixes.
    pub(crate) fn all_sent(&self) -> impl Iterator<Item = (PrefixId, AttrId)> + '_ {
        (0..)
            .zip(&self.cells)
            .filter_map(|(id, cell)| cell.sent.map(|attributes| (PrefixId(id), attributes)))
    }

    /// Writes the messages for the next prefixes that wait.
    pub(crate) fn flush(
        &mut self,
        rib: &mut Rib,
        context: &ExportContext<'_>,
        four_octet_as: bool,
    ) -> Flushed {
        let mut step = Step {
            plain: context.judge_without_reading(),
            judged: BTreeMap::new(),
            rewritten: BTreeMap::new(),
            announced: BTreeMap::new(),
            default_route: None,
            four_octet_as,
        };
        let mut withdrawn = Vec::new();
        let mut flushed = Flushed::default();
        if self.marks == Marks::BeginDue {
            self.marks = Marks::EndDue;
            flushed.mark(RefreshKind::Begin);
        }
        for _ in 0..STEP {
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            if let Some(gone) = self.one(id, rib, context, &mut step, &mut flushed) {
                withdrawn.push(gone);
            }
        }
        write(
            &withdrawn,
            &step.announced,
            rib,
            four_octet_as,
            &mut flushed,
        );
        let made = step.rewritten.into_values().chain([step.default_route]);
        for attributes in made.flatten() {
            rib.attributes.release(attributes);
        }
        self.after_step(rib, context, &mut flushed);
        flushed
    }

    /// Compares what is to be told of one prefix with what has been; returns it to be withdrawn, or
    /// puts it among what is announced.
    fn one<'a>(
        &mut self,
        id: PrefixId,
        rib: &mut Rib,
        context: &ExportContext<'a>,
        step: &mut Step<'a>,
        flushed: &mut Flushed,
    ) -> Option<IpNet> {
        let cell = self.cells.get_mut(id.0 as usize)?;
        cell.queued = false;
        let old = cell.sent;
        let prefix = rib.prefix(id)?;
        let mut new = if originates(&prefix, rib, context) {
            step.default_route(rib, context)
        } else {
            rib.best(id)
                .and_then(|best| step.judge(&best, rib, context).ok())
        };
        let over = |limit| self.advertised >= limit;
        if old.is_none() && new.is_some() && context.peer.max_prefixes_out.is_some_and(over) {
            new = None;
            self.held_back = true;
            flushed.limit_reached |= !std::mem::replace(&mut self.limit_told, true);
        }
        if new == old && (new.is_none() || !self.resend) {
            return None;
        }
        cell.sent = new;
        if let Some(attributes) = new {
            rib.attributes.retain(attributes);
            step.announced.entry(attributes).or_default().push(prefix);
        }
        if let Some(attributes) = old {
            rib.attributes.release(attributes);
        }
        self.advertised += u32::from(new.is_some());
        self.advertised -= u32::from(old.is_some());
        new.is_none().then_some(prefix)
    }

    fn after_step(&mut self, rib: &Rib, context: &ExportContext<'_>, flushed: &mut Flushed) {
        if !self.queue.is_empty() {
            return;
        }
        self.resend = false;
        if self.marks == Marks::EndDue {
            self.marks = Marks::Done;
            flushed.mark(RefreshKind::End);
        }
        if !self.end_of_rib_held && std::mem::take(&mut self.end_of_rib_due) {
            flushed.bytes.extend(end_of_rib());
            flushed.updates += 1;
        }
        if !self.end_of_rib_due && std::mem::take(&mut self.resend_after) {
            self.refresh(rib);
        }
        let room = context
            .peer
            .max_prefixes_out
            .is_none_or(|limit| self.advertised < limit);
        if self.held_back && room {
            self.held_back = false;
            self.mark_all(rib);
        }
    }
}

/// What the attributes that a prefix is told with depend on, but for the prefix.
type Told = (AttrId, bool, BestSource);

/// What one step has found out: each set of attributes is judged once, and rewritten once by each rule.
struct Step<'a> {
    /// Of a policy that asks nothing of attributes there is one for all.
    plain: Option<RouteJudge<'a>>,
    judged: BTreeMap<Told, RouteJudge<'a>>,
    /// By the place of the rule as well, if one changes it.
    rewritten: BTreeMap<(Told, Option<usize>), Option<AttrId>>,
    announced: BTreeMap<AttrId, Vec<IpNet>>,
    /// The attributes of a default route of our own, with a reference, if one is told.
    default_route: Option<AttrId>,
    four_octet_as: bool,
}

/// Whether a peer is told a default route of ours, and this is it.
pub(crate) fn originates(prefix: &IpNet, rib: &Rib, context: &ExportContext<'_>) -> bool {
    prefix.prefix_len() == 0
        && match context.peer.default_originate {
            None => false,
            Some(DefaultOriginate::Always) => true,
            Some(DefaultOriginate::While(needed)) => {
                rib.find(&needed).is_some_and(|id| rib.best(id).is_some())
            }
        }
}

impl<'a> Step<'a> {
    /// The attributes that a default route of our own is told with.
    fn default_route(&mut self, rib: &mut Rib, context: &ExportContext<'_>) -> Option<AttrId> {
        let set = PathAttributes::local(Origin::Igp);
        let set = context.rewrite(set, DEFAULT_LOCAL_PREF, None);
        let id = rib.attributes.intern(&set);
        self.default_route = Some(id);
        Some(id)
    }

    /// The attributes that a best path is told with.
    fn judge(
        &mut self,
        best: &BestPath,
        rib: &mut Rib,
        context: &ExportContext<'a>,
    ) -> Result<AttrId, Withheld> {
        let told = (best.attributes, best.rewritten, best.source);
        let judge = match &self.plain {
            Some(plain) => plain,
            None => self
                .judged
                .entry(told)
                .or_insert_with(|| judge(best, rib, context)),
        };
        let actions = context.judge_prefix(judge, &best.prefix)?.actions();
        let key = (told, actions.map(|(place, _)| place));
        let rewritten = match self.rewritten.get(&key) {
            Some(rewritten) => *rewritten,
            None => {
                let actions = actions.map(|(_, actions)| actions);
                let rewritten = rewrite(best, rib, context, actions, self.four_octet_as);
                self.rewritten.insert(key, rewritten);
                rewritten
            }
        };
        rewritten.ok_or(Withheld::TooLong)
    }
}

/// Export policy before a best path.
pub(crate) fn judge<'a>(best: &BestPath, rib: &Rib, context: &ExportContext<'a>) -> RouteJudge<'a> {
    context.judge_set(|| {
        let source = rib.export_source(best.source)?;
        let set = rib.attributes.set(best.attributes)?;
        Some((source, rib.preference(best), set))
    })
}

/// The attributes of a path as the peer gets to see them, with a reference; `None` if it must not.
fn rewrite(
    best: &BestPath,
    rib: &mut Rib,
    context: &ExportContext<'_>,
    actions: Option<&Actions>,
    four_octet_as: bool,
) -> Option<AttrId> {
    let set = rib.attributes.set(best.attributes)?;
    let source = rib.export_source(best.source)?;
    context.judge_route(&source, &set).ok()?;
    let set = context.rewrite(set, rib.preference(best), actions);
    let id = rib.attributes.intern(&set);
    let fits = UpdateBuilder::announce(&written(rib, id, four_octet_as)).is_some();
    if !fits {
        rib.attributes.release(id);
        return None;
    }
    Some(id)
}

/// Writes one step's messages: withdrawals first, then by set of attributes.
fn write(
    withdrawn: &[IpNet],
    announced: &BTreeMap<AttrId, Vec<IpNet>>,
    rib: &Rib,
    four_octet_as: bool,
    flushed: &mut Flushed,
) {
    let mut builder = UpdateBuilder::withdraw();
    withdrawn
        .iter()
        .for_each(|prefix| builder.push(*prefix, &mut flushed.bytes));
    flushed.updates += builder.finish(&mut flushed.bytes);
    for (attributes, prefixes) in announced {
        let bytes = written(rib, *attributes, four_octet_as);
        // What does not fit has been sorted out before.
        let Some(mut builder) = UpdateBuilder::announce(&bytes) else {
            continue;
        };
        prefixes
            .iter()
            .for_each(|prefix| builder.push(*prefix, &mut flushed.bytes));
        flushed.updates += builder.finish(&mut flushed.bytes);
    }
}

/// A set of attributes as the peer reads it.
fn written(rib: &Rib, id: AttrId, four_octet_as: bool) -> Cow<'_, [u8]> {
    if four_octet_as {
        return Cow::Borrowed(rib.attributes.bytes(id));
    }
    let mut bytes = Vec::new();
    if let Some(set) = rib.attributes.set(id) {
        set.emit(false, &mut bytes);
    }
    Cow::Owned(bytes)
}
