//! One peer's Adj-RIB-Out: what it has been told, and what it still has to be told.
//!
//! Pending changes are a set of prefixes, not of messages: a peer that reads slowly gets the newest
//! state of each prefix once, and costs no memory for what it missed.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::attribute_store::AttrId;
use super::prefix_table::PrefixId;
use super::{BestPath, BestSource, Rib};
use crate::DefaultOriginate;
use crate::policy::{Actions, DEFAULT_LOCAL_PREF, ExportContext, RouteJudge, Withheld};
use crate::wire::{
    Families, Family, Origin, PathAttributes, RefreshKind, RouteRefresh, UpdateBuilder, end_of_rib,
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
    fn mark(&mut self, family: Family, kind: RefreshKind) {
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
    /// The families of the session.
    families: Families,
    /// Prefixes of that family that were told have to be told again.
    resend: Option<Family>,
    /// Once that is done, those of these families have to be.
    resend_after: Families,
    advertised: u32,
    /// Of them, how many are IPv6 prefixes.
    advertised_ipv6: u32,
    end_of_rib_due: Families,
    /// The peer wants to know where a refresh begins and ends (RFC 7313).
    enhanced: bool,
    /// What of that it has yet to be told.
    marks: Marks,
    /// End-of-RIB has to wait: we have not heard everything ourselves yet.
    end_of_rib_held: bool,
    /// Families of which something was held back for the limit.
    held_back: Families,
    limit_told: bool,
}

impl AdjOut {
    /// A session of these families begins: everything has to be told, then End-of-RIB.
    pub(crate) fn begin(&mut self, rib: &mut Rib, families: Families, enhanced: bool) {
        self.end(rib);
        self.enhanced = enhanced;
        self.families = families;
        self.mark_all(rib);
        self.end_of_rib_due = families;
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

    /// The peer asks for everything of a family again (RFC 2918, section 4). While it is being told everything again, any number of further
    /// requests is one more round: a request is 23 octets and a round is the whole table, so they must not cost it each.
    ///
    /// Where the round is marked, it begins after End-of-RIB (RFC 7313, section 4).
    pub(crate) fn refresh(&mut self, rib: &Rib, family: Family) {
        let begun = self.resend.is_some() && self.has_pending();
        if begun || (self.enhanced && !self.end_of_rib_due.is_empty()) {
            self.resend_after.insert(family);
            return;
        }
        self.resend = Some(family);
        self.mark_where(rib, |prefix| Family::of(prefix) == family);
        if self.enhanced {
            self.marks = Marks::BeginDue;
        } else {
            self.end_of_rib_due.insert(family);
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
        let families = self.families;
        self.mark_where(rib, |prefix| families.contains(Family::of(prefix)));
    }

    fn mark_where(&mut self, rib: &Rib, concerns: impl Fn(&IpNet) -> bool) {
        let bound = u32::try_from(rib.bound()).unwrap_or(u32::MAX);
        (0..bound)
            .map(PrefixId)
            .filter(|id| rib.prefix(*id).is_some_and(|prefix| concerns(&prefix)))
            .for_each(|id| self.mark(id));
    }

    /// A default route of our own may have to be told, or to be taken back.
    pub(crate) fn mark_default(&mut self, rib: &mut Rib) {
        for family in self.families.iter() {
            let default = match family {
                Family::IPV6_UNICAST => IpNet::V6(Ipv6Net::default()),
                _ => IpNet::V4(Ipv4Net::default()),
            };
            self.mark(rib.number_of(default));
        }
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
            || !(self.end_of_rib_due.is_empty() || self.end_of_rib_held)
    }

    /// How many prefixes wait to be told.
    pub(crate) fn pending(&self) -> usize {
        self.queue.len()
    }

    /// How many prefixes the peer has been told.
    pub(crate) fn advertised(&self) -> u32 {
        self.advertised
    }

    /// How many prefixes of one family the peer has been told.
    pub(crate) fn advertised_of(&self, family: Family) -> u32 {
        match family {
            Family::IPV6_UNICAST => self.advertised_ipv6,
            _ => self.advertised.saturating_sub(self.advertised_ipv6),
        }
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
            default_routes: BTreeMap::new(),
            four_octet_as,
        };
        let mut withdrawn = Vec::new();
        let mut flushed = Flushed::default();
        if self.marks == Marks::BeginDue
            && let Some(family) = self.resend
        {
            self.marks = Marks::EndDue;
            flushed.mark(family, RefreshKind::Begin);
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
        let made = step.rewritten.into_values().flatten();
        for attributes in made.chain(step.default_routes.into_values()) {
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
        let family = Family::of(&prefix);
        let mut new = if originates(&prefix, rib, context) {
            step.default_route(family, rib, context)
        } else {
            rib.best(id)
                .and_then(|best| step.judge(&best, rib, context).ok())
        };
        let over = |limit| self.advertised_of(family) >= limit;
        if old.is_none() && new.is_some() && context.peer.max_prefixes_out.is_some_and(over) {
            new = None;
            self.held_back.insert(family);
            flushed.limit_reached |= !std::mem::replace(&mut self.limit_told, true);
        }
        if new == old && (new.is_none() || self.resend != Some(family)) {
            return None;
        }
        if let Some(cell) = self.cells.get_mut(id.0 as usize) {
            cell.sent = new;
        }
        if let Some(attributes) = new {
            rib.attributes.retain(attributes);
            step.announced.entry(attributes).or_default().push(prefix);
        }
        if let Some(attributes) = old {
            rib.attributes.release(attributes);
        }
        let (more, less) = (u32::from(new.is_some()), u32::from(old.is_some()));
        self.advertised = self.advertised + more - less;
        if family == Family::IPV6_UNICAST {
            self.advertised_ipv6 = self.advertised_ipv6 + more - less;
        }
        new.is_none().then_some(prefix)
    }

    fn after_step(&mut self, rib: &Rib, context: &ExportContext<'_>, flushed: &mut Flushed) {
        if !self.queue.is_empty() {
            return;
        }
        let resent = self.resend.take();
        if self.marks == Marks::EndDue
            && let Some(family) = resent
        {
            self.marks = Marks::Done;
            flushed.mark(family, RefreshKind::End);
        }
        if !self.end_of_rib_held {
            for family in std::mem::take(&mut self.end_of_rib_due).iter() {
                flushed.bytes.extend(end_of_rib(family));
                flushed.updates += 1;
            }
        }
        if self.end_of_rib_due.is_empty() {
            for family in std::mem::take(&mut self.resend_after).iter() {
                self.refresh(rib, family);
            }
        }
        let limit = context.peer.max_prefixes_out;
        let has_room = |family| limit.is_none_or(|limit| self.advertised_of(family) < limit);
        if self.held_back.iter().any(has_room) {
            self.held_back = Families::NONE;
            self.mark_all(rib);
        }
    }
}

/// What the attributes that a prefix is told with depend on, but for the prefix.
type Told = (AttrId, bool, BestSource, Family);

/// What one step has found out: each set of attributes is judged once, and rewritten once by each rule.
struct Step<'a> {
    /// Of a policy that asks nothing of attributes there is one for all.
    plain: Option<RouteJudge<'a>>,
    judged: BTreeMap<Told, RouteJudge<'a>>,
    /// By the place of the rule as well, if one changes it.
    rewritten: BTreeMap<(Told, Option<usize>), Option<AttrId>>,
    announced: BTreeMap<AttrId, Vec<IpNet>>,
    /// The attributes of a family's default route of our own, with a reference, if one is told.
    default_routes: BTreeMap<Family, AttrId>,
    four_octet_as: bool,
}

/// Whether a peer is told a default route of ours, and this is it.
pub(crate) fn originates(prefix: &IpNet, rib: &Rib, context: &ExportContext<'_>) -> bool {
    prefix.prefix_len() == 0
        && context.can_tell(Family::of(prefix)).is_ok()
        && match context.peer.default_originate {
            None => false,
            Some(DefaultOriginate::Always) => true,
            Some(DefaultOriginate::While(needed)) => {
                Family::of(&needed) == Family::of(prefix)
                    && rib.find(&needed).is_some_and(|id| rib.best(id).is_some())
            }
        }
}

impl<'a> Step<'a> {
    /// The attributes that a default route of our own is told with.
    fn default_route(
        &mut self,
        family: Family,
        rib: &mut Rib,
        context: &ExportContext<'_>,
    ) -> Option<AttrId> {
        if let Some(id) = self.default_routes.get(&family) {
            return Some(*id);
        }
        let set = PathAttributes::local(Origin::Igp);
        let set = context.rewrite(set, family, DEFAULT_LOCAL_PREF, None, None);
        let id = rib.attributes.intern(&set);
        self.default_routes.insert(family, id);
        Some(id)
    }

    /// The attributes that a best path is told with.
    fn judge(
        &mut self,
        best: &BestPath,
        rib: &mut Rib,
        context: &ExportContext<'a>,
    ) -> Result<AttrId, Withheld> {
        let family = Family::of(&best.prefix);
        let told = (best.attributes, best.rewritten, best.source, family);
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
    let family = Family::of(&best.prefix);
    let taught_by = rib.internal_teacher(best.source);
    let set = context.rewrite(set, family, rib.preference(best), taught_by, actions);
    let id = rib.attributes.intern(&set);
    let fits = Written::of(rib, id, four_octet_as)
        .builder(family)
        .is_some();
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
    for family in Families::BOTH.iter() {
        pack(UpdateBuilder::withdraw(family), family, withdrawn, flushed);
    }
    for (attributes, prefixes) in announced {
        let written = Written::of(rib, *attributes, four_octet_as);
        for family in Families::BOTH.iter() {
            // What does not fit has been sorted out before.
            if let Some(builder) = written.builder(family) {
                pack(builder, family, prefixes, flushed);
            }
        }
    }
}

/// Writes those of some prefixes that are of one family.
fn pack(mut builder: UpdateBuilder<'_>, family: Family, prefixes: &[IpNet], flushed: &mut Flushed) {
    prefixes
        .iter()
        .filter(|prefix| Family::of(prefix) == family)
        .for_each(|prefix| builder.push(*prefix, &mut flushed.bytes));
    flushed.updates += builder.finish(&mut flushed.bytes);
}

/// A set of attributes as the peer reads it.
struct Written<'a> {
    attributes: Cow<'a, [u8]>,
    /// An IPv6 next hop, which stands before the prefixes.
    next_hop: Option<Ipv6Addr>,
}

impl<'a> Written<'a> {
    fn of(rib: &'a Rib, id: AttrId, four_octet_as: bool) -> Self {
        let next_hop = match rib.attributes.next_hop(id) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        };
        let attributes = if four_octet_as && next_hop.is_none() {
            Cow::Borrowed(rib.attributes.bytes(id))
        } else {
            let mut bytes = Vec::new();
            if let Some(set) = rib.attributes.set(id) {
                set.emit(four_octet_as, &mut bytes);
            }
            Cow::Owned(bytes)
        };
        Self {
            attributes,
            next_hop,
        }
    }

    /// What packs a family's prefixes with it; `None` if no prefix has room in a message.
    fn builder(&self, family: Family) -> Option<UpdateBuilder<'_>> {
        match self.next_hop {
            Some(next_hop) => UpdateBuilder::reach(family, next_hop, &self.attributes),
            None => UpdateBuilder::announce(&self.attributes),
        }
    }
}
