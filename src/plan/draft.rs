//! A plan while it is being made: what every part of the decision reads, and where it puts what it decides.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::domain::condition::{ConditionType, Reason, Truth};
use crate::domain::desired::Desired;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::Region;
use crate::domain::memory::{Looks, Memory, RegionMemory, Subject};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Depth, Observed, RegionSeen};
use crate::domain::portal::HumanStep;
use crate::domain::reading::{Reading, Why};

use super::explain::step_text;
use super::finding::Finding;
use super::step::{DatabaseRef, KeyRef, Step};
use super::{
    DatabaseReport, NextLook, PartReport, Pass, Plan, RegionReport, RemovalReport, parts, second, sources, verdict,
};

/// The shortest pause after an answer that asks for one, even for one of zero.
const SHORTEST: Span = Span::seconds(1);

/// A plan while it is being made.
pub(super) struct Draft<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) memory: &'a Memory,
    pub(super) pass: &'a Pass,
    pub(super) database: Option<DatabaseReport>,
    pub(super) parts: Option<BTreeMap<String, PartReport>>,
    pub(super) deletion: Option<RemovalReport>,
    pub(super) human_steps: Vec<HumanStep>,
    steps: Vec<Step>,
    findings: Vec<Finding>,
    regions: BTreeMap<Region, RegionReport>,
    looks: BTreeMap<Subject, Looks>,
    soonest: Option<Span>,
    polling: bool,
    asked: Option<Span>,
}

/// A number that differs when facts differ.
pub(super) fn fingerprint(facts: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    hasher.finish()
}

/// What a finding says, in the order in which a sentence would.
pub(super) struct Said<'a> {
    pub(super) condition: ConditionType,
    pub(super) region: Option<&'a Region>,
    pub(super) truth: Truth,
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) fix: String,
}

impl<'a> Draft<'a> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, memory: &'a Memory, pass: &'a Pass) -> Self {
        Self {
            desired,
            observed,
            memory,
            pass,
            database: None,
            parts: None,
            deletion: None,
            human_steps: Vec::new(),
            steps: Vec::new(),
            findings: Vec::new(),
            regions: BTreeMap::new(),
            looks: BTreeMap::new(),
            soonest: None,
            polling: false,
            asked: None,
        }
    }

    /// An empty draft of the same decision, to judge something without saying it.
    pub(super) fn aside(&self) -> Self {
        Self::new(self.desired, self.observed, self.memory, self.pass)
    }

    /// What was said so far.
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn now(&self) -> Moment {
        self.pass.now
    }

    /// What was seen in a region; nothing, where it was not looked at.
    pub(super) fn seen(&self, region: &Region) -> RegionSeen {
        self.observed.regions.get(region).cloned().unwrap_or_default()
    }

    /// What is remembered of a region.
    pub(super) fn remembered(&self, region: &Region) -> RegionMemory {
        self.memory.regions.get(region).cloned().unwrap_or_default()
    }

    pub(super) fn report(&mut self, region: &Region) -> &mut RegionReport {
        self.regions.entry(region.clone()).or_default()
    }

    pub(super) fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Plans a write that can be repeated, unless this process made an equal one so lately that it may not be visible
    /// yet: reads are not monotonic, and a stale one must not cause a fight with ourselves. Whether it was planned.
    pub(super) fn repeatable(&mut self, step: Step) -> bool {
        let holdoff = self.pass.settings.repair_holdoff;
        if let Some(made) = self.memory.recent.get(&step.effect())
            && self.now().since(*made) < holdoff
        {
            self.poll();
            return false;
        }
        self.step(step);
        true
    }

    pub(super) fn say(&mut self, said: Said<'_>) {
        let Said { condition, region, truth, reason, message, fix } = said;
        self.findings.push(Finding { condition, region: region.cloned(), truth, reason, message, fix });
    }

    /// Says that something is as it should be.
    pub(super) fn fine(&mut self, condition: ConditionType, region: Option<&Region>, reason: Reason, message: &str) {
        let message = message.to_owned();
        self.say(Said { condition, region, truth: Truth::True, reason, message, fix: String::new() });
    }

    /// Says something that is worth knowing about what is as it should be, and what to do about it.
    pub(super) fn remark(&mut self, condition: ConditionType, reason: Reason, message: String, fix: &str) {
        self.say(Said { condition, region: None, truth: Truth::True, reason, message, fix: fix.to_owned() });
    }

    /// Says that something is on its way or waits.
    pub(super) fn working(
        &mut self,
        condition: ConditionType,
        region: Option<&Region>,
        reason: Reason,
        message: String,
    ) {
        self.say(Said { condition, region, truth: Truth::False, reason, message, fix: String::new() });
    }

    /// Says that a difference is being mended which does not keep the key from being used.
    pub(super) fn healing(&mut self, condition: ConditionType, region: &Region, reason: Reason, message: String) {
        let region = Some(region);
        self.say(Said { condition, region, truth: Truth::True, reason, message, fix: String::new() });
    }

    /// Whether anything was said about a condition of a region yet.
    pub(super) fn has(&self, condition: ConditionType, region: &Region) -> bool {
        self.said(condition, region).is_some()
    }

    /// The reason of what was said of a condition of a region.
    pub(super) fn said(&self, condition: ConditionType, region: &Region) -> Option<Reason> {
        let mut about = self.findings.iter().filter(|f| f.condition == condition && f.region.as_ref() == Some(region));
        about.next_back().map(|f| f.reason)
    }

    /// Says that somebody has to do something.
    pub(super) fn stuck(
        &mut self,
        condition: ConditionType,
        region: Option<&Region>,
        reason: Reason,
        message: String,
        fix: &str,
    ) {
        self.say(Said { condition, region, truth: Truth::False, reason, message, fix: fix.to_owned() });
    }

    /// Says what a fault means, under the condition that it keeps from being known.
    pub(super) fn fault(&mut self, condition: ConditionType, region: Option<&Region>, fault: &Fault) {
        let finding = Finding::of_fault(condition, region, fault);
        self.heed(fault);
        self.found(condition, finding);
    }

    /// Looks again no sooner and no oftener than a fault asks for. A slot of our own is a moment to be kept; a pause that
    /// somebody outside asks for is none: it may be asked for again each time, so how it grows is for the pace to say.
    pub(super) fn heed(&mut self, fault: &Fault) {
        let slot = fault.cause == Cause::Share;
        if !slot && (fault.class == FaultClass::Throttled || fault.retry_after.is_some()) {
            self.asked = self.asked.max(Some(fault.retry_after.unwrap_or_default()));
        }
        if let Some(span) = fault.retry_after {
            self.wait(if slot { span } else { span.max(SHORTEST) });
        }
    }

    /// Adds a finding that was met while judging a condition, and leaves that condition unknown if it bears on another.
    pub(super) fn found(&mut self, met: ConditionType, finding: Finding) {
        let region = finding.region.clone();
        self.unseen(met, region.as_ref(), finding.reason, &finding);
        self.findings.push(finding);
    }

    /// A fault shown under another condition leaves the one that it was met under unknown, for the same reason.
    fn unseen(&mut self, condition: ConditionType, region: Option<&Region>, reason: Reason, shown: &Finding) {
        if shown.condition != condition {
            let message = format!("Not known: {}", shown.message);
            self.say(Said { condition, region, truth: Truth::Unknown, reason, message, fix: String::new() });
        }
    }

    /// Leaves conditions unknown that cannot be judged before another thing is mended.
    pub(super) fn blocked(
        &mut self,
        conditions: &[ConditionType],
        region: Option<&Region>,
        reason: Reason,
        message: &str,
    ) {
        for condition in conditions {
            let message = message.to_owned();
            self.say(Said {
                condition: *condition,
                region,
                truth: Truth::Unknown,
                reason,
                message,
                fix: String::new(),
            });
        }
    }

    /// The reason of the gravest finding so far about a region, or about the whole.
    pub(super) fn gravest(&self, region: Option<&Region>) -> Option<Reason> {
        self.findings
            .iter()
            .filter(|f| region.is_none() || f.region.is_none() || f.region.as_ref() == region)
            .max_by_key(|f| f.reason.standing())
            .map(|f| f.reason)
    }

    /// Says that the cloud shows a state of something deployed that is believed only after so many equal looks in a row, and
    /// looks again. What served before does so until then.
    pub(super) fn not_believed_yet(
        &mut self,
        region: Option<&Region>,
        shown: &str,
        (looks, believed_after): (u32, u32),
        served: bool,
    ) {
        let message =
            format!("{shown}; seen {looks} of the {believed_after} times in a row after which that is believed.");
        if served {
            self.fine(ConditionType::Deployed, region, Reason::DeployedEverywhere, &message);
        } else {
            self.working(ConditionType::Deployed, region, Reason::Deploying, message);
        }
        self.wait(self.pass.settings.gate_spacing);
    }

    /// Wants to be asked again after a span at the latest.
    pub(super) fn wait(&mut self, span: Span) {
        self.soonest = Some(self.soonest.map_or(span, |s| s.min(span)));
    }

    /// Waits for something to come.
    pub(super) fn poll(&mut self) {
        self.polling = true;
        self.wait(self.pass.settings.poll);
    }

    /// Counts this pass's look at a region's key, and yields how many equal ones there were in a row.
    pub(super) fn look(&mut self, region: &Region, facts: &impl Hash) -> u32 {
        self.count(Subject::Key(region.clone()), facts)
    }

    /// The same for what is deployed in a region.
    pub(super) fn look_at_deployment(&mut self, region: &Region, facts: &impl Hash) -> u32 {
        self.count(Subject::Deployment(region.clone()), facts)
    }

    /// The same for from where a region's key is used.
    pub(super) fn look_at_sources(&mut self, region: &Region, facts: &impl Hash) -> u32 {
        self.count(Subject::Sources(region.clone()), facts)
    }

    /// The same for what runs inside the database under a name.
    pub(super) fn look_at_part(&mut self, name: &str, facts: &impl Hash) -> u32 {
        self.count(Subject::Part(name.to_owned()), facts)
    }

    fn count(&mut self, subject: Subject, facts: &impl Hash) -> u32 {
        let fingerprint = fingerprint(facts);
        let at = self.observed.at;
        let looks = match self.memory.looks.get(&subject) {
            Some(before) if before.fingerprint == fingerprint => {
                if at.since(before.last) >= self.pass.settings.gate_spacing {
                    Looks { fingerprint, count: before.count.saturating_add(1), last: at }
                } else {
                    *before
                }
            }
            _ => Looks { fingerprint, count: 1, last: at },
        };
        self.looks.insert(subject, looks);
        looks.count
    }

    /// Keeps what was counted of a region: a look that failed proves nothing, neither for nor against.
    pub(super) fn keep_looks(&mut self, region: &Region) {
        self.keep(Subject::Key(region.clone()));
    }

    /// The same of what was counted of anything.
    pub(super) fn keep(&mut self, subject: Subject) {
        if let Some(looks) = self.memory.looks.get(&subject) {
            self.looks.insert(subject, *looks);
        }
    }

    /// The verdict of a pass that looked at less than everything: nothing has changed, or look at everything at once.
    pub(super) fn glance(mut self) -> Plan {
        self.looks.clone_from(&self.memory.looks);
        if self.memory.was_ready && self.memory.unseen_since.is_none() && self.as_remembered() {
            let next_look = self.steady();
            return self.into_plan(next_look);
        }
        self.into_plan(NextLook { after: Span(0), depth: Depth::Everything, polling: false, asked: None })
    }

    /// Whether everything that was looked at is what status says.
    fn as_remembered(&self) -> bool {
        self.desired.regions().into_iter().all(|region| {
            let seen = self.seen(self.desired.key().map_or(region, |key| key.home(region)));
            let remembered = self.remembered(region);
            let key = match &seen.by_alias {
                Reading::Unknown(Why::NotLooked) => seen.by_arn.present(),
                by_alias => by_alias.present(),
            };
            let key_same = key.is_some_and(|key| {
                remembered.key.as_ref().is_none_or(|arn| *arn == key.arn)
                    && remembered.key_state.as_deref() == Some(key.state.as_str())
            });
            let policy_same = self.observed.depth < Depth::Policy
                || seen.policy.present().is_some_and(|text| super::policy::hash(text) == remembered.policy_hash);
            key_same && policy_same
        }) && second::as_usual(self)
            && sources::as_usual(self)
            && self.database_as_remembered()
            && parts::as_remembered(self)
    }

    fn database_as_remembered(&self) -> bool {
        let Some(id) = &self.memory.database else { return true };
        let second = match self.desired {
            Desired::Cluster(cluster) => cluster.secondaries().next(),
            Desired::Key(_) => None,
        };
        self.observed.database.by_id.present().is_some_and(|database| {
            let database = self.observed.database.with_copy(database, second);
            database.id == *id
                && self.desired.regions().into_iter().all(|region| {
                    database.regions.get(region.as_str()).map(super::deploy::state_text)
                        == self.remembered(region).deployment
                })
        })
    }

    /// The next look at something that is as declared.
    fn steady(&self) -> NextLook {
        let settings = &self.pass.settings;
        let at = self.now() + settings.state_interval;
        let looked = self.memory.looked;
        let depth = if at.since(looked.everything) >= settings.resync {
            Depth::Everything
        } else if at.since(looked.policy) >= settings.policy_interval {
            Depth::Policy
        } else {
            Depth::State
        };
        NextLook { after: settings.state_interval, depth, polling: false, asked: None }
    }

    /// The finished plan.
    pub(super) fn finish(mut self) -> Plan {
        let object = self.desired.object();
        if object.paused {
            self.steps.retain(|step| matches!(step, Step::AddFinalizer | Step::RemoveFinalizer));
        } else if self.desired.key().is_some_and(|key| key.observe_only) {
            self.only_observe();
        }
        self.findings.extend(verdict::overall(&self.findings, self.memory, object, self.now()));
        let next_look = if !self.steps.is_empty() {
            NextLook { after: Span(0), depth: Depth::Everything, polling: false, asked: None }
        } else if let Some(after) = self.soonest {
            NextLook { after, depth: Depth::Everything, polling: self.polling, asked: self.asked }
        } else if verdict::is_ready(&self.findings) {
            // A pass that found everything right has just looked at everything.
            let mut next = self.steady();
            if next.depth == Depth::Everything && self.pass.settings.state_interval < self.pass.settings.resync {
                next.depth = Depth::State;
            }
            next
        } else {
            let after = self.pass.settings.state_interval;
            NextLook { after, depth: Depth::Everything, polling: false, asked: self.asked }
        };
        self.into_plan(next_look)
    }

    /// Says of every write outside that it is not made, whatever was said of it before. What was found is still recorded
    /// in status, unless that would rest on such a write.
    fn only_observe(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        let (outside, inside): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(Step::is_outside);
        let stands = |region: &Region| !outside.iter().any(|step| step.region() == Some(region));
        self.steps = inside
            .into_iter()
            .filter(|step| match step {
                Step::AddFinalizer | Step::RemoveFinalizer => true,
                Step::RecordKey { region, key: KeyRef::Arn(_) }
                | Step::RecordDatabase { region, database: DatabaseRef::Id(_) } => stands(region),
                _ => false,
            })
            .collect();
        // A note for an operator that manages the key is nothing that anybody else could be asked for.
        for step in outside.iter().filter(|step| !matches!(step, Step::NoteDatabase { .. })) {
            let Some(condition) = step.condition() else { continue };
            let text = step_text(step);
            let region = step.region();
            let what = region.and_then(|region| text.strip_prefix(&format!("{region}: "))).unwrap_or(&text);
            let message = format!("Under managementPolicy Observe this is not done: {what}.");
            let fix = "do it by other means, or set spec.managementPolicy of the CustomerKey to Manage.";
            self.stuck(condition, region, Reason::OnlyObserved, message, fix);
        }
    }

    fn into_plan(self, next_look: NextLook) -> Plan {
        let Self { steps, findings, regions, looks, database, parts, deletion, human_steps, .. } = self;
        Plan { steps, findings, next_look, regions, looks, database, parts, deletion, human_steps }
    }
}
