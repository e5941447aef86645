//! The last word before anything is done: a plan that breaks an invariant is refused, whatever made it.
//!
//! The rules are derived anew from what was declared, seen and remembered; none of the planner's own code is asked.

use std::collections::BTreeMap;

use crate::domain::capabilities::{Need, Registration};
use crate::domain::desired::{Afterlife, Deployment, Desired, DesiredKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::Memory;
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Depth, KeyFacts, KeyState, Observed, RegionSeen};
use crate::domain::policy::addresses::without_restriction;
use crate::domain::policy::canonical::canonical_set;
use crate::domain::policy::{Effect, Grant, PolicyDocument, Statement, holds};
use crate::domain::reading::Reading;

use super::entrusted_check;
use super::own_again::own_again;
use super::removal_check::Removal;
use super::replica_check::Kin;
use super::step::{DatabaseRef, KeyRef, Step};
use super::{Pass, Plan};

/// A plan that breaks no invariant: the only thing that can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked(Plan);

impl Checked {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0
    }
}

/// A plan that must not be executed, and why. A defect of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {step:?}")]
pub struct Refused {
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The step that breaks it.
    pub step: Box<Step>,
}

/// Checks a plan against the invariants.
pub fn check(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    pass: &Pass,
    plan: Plan,
) -> Result<Checked, Refused> {
    let scene = Scene { desired, observed, memory, pass, plan: &plan };
    for (index, step) in plan.steps.iter().enumerate() {
        let before = plan.steps.get(..index).unwrap_or_default();
        let kin = Kin { desired, observed, memory, pass, plan: &plan };
        if let Err(rule) = scene.step(step, before).and_then(|()| kin.step(step)) {
            return Err(Refused { rule, step: Box::new(step.clone()) });
        }
    }
    Ok(Checked(plan))
}

pub(super) struct Scene<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) memory: &'a Memory,
    pub(super) pass: &'a Pass,
    pub(super) plan: &'a Plan,
}

pub(super) type Rule = Result<(), &'static str>;

pub(super) fn require(holds: bool, rule: &'static str) -> Rule {
    if holds { Ok(()) } else { Err(rule) }
}

impl Scene<'_> {
    fn step(&self, step: &Step, before: &[Step]) -> Rule {
        if step.is_outside() {
            self.outside(step, before)?;
        }
        entrusted_check::step(self.desired, self.observed, self.memory, self.pass, step)?;
        match step {
            Step::CreateKey { region, key, not_after } => {
                require(
                    before.iter().any(|s| matches!(s, Step::RecordKeyIntent { region: r, intent } if r == region && key.tags.get(tag::NONCE) == Some(&intent.nonce))),
                    "a key is created only after its intent was written down",
                )?;
                require(owned(self.key()?, &key.tags), "a key is created with its owner's tags")?;
                self.in_time(*not_after, self.pass.now)?;
                self.may_create(region)
            }
            Step::CreateAlias { region, alias, key } => {
                require(*alias == self.key()?.owner.alias(), "no alias is written but that of the identity")?;
                self.may_claim(region, key, before)
            }
            Step::RecordKey { region, key } => self.may_claim(region, key, before),
            Step::PutPolicy { region, key, document, .. } => {
                self.is_the_key(region, key)?;
                self.may_be_policy(region, document)?;
                self.may_restrict(region, document)
            }
            Step::EnableRotation { region, key, .. }
            | Step::UpdateDescription { region, key, .. }
            | Step::Tag { region, key, .. } => self.is_the_key(region, key),
            Step::Register { region, key, not_after } => self.may_register(region, key, *not_after, before),
            Step::CreateDatabase { region, not_after, request } => {
                require(self.memory.database.is_none(), "a database is created only when none is recorded")?;
                let binds =
                    matches!(self.desired, Desired::Cluster(c) if c.deployment.as_ref().is_some_and(|d| d.adopts));
                require(!binds, "no database is created where an existing one is to be bound")?;
                require(
                    matches!(&self.observed.database.named, Reading::Present(all) if all.is_empty())
                        || self.observed.database.named.is_absent(),
                    "a database is created only after a complete list showed none of its name",
                )?;
                self.deployable_at_once(request, *not_after)?;
                self.deployable(region, *not_after, before)
            }
            Step::RecordDatabase { database: DatabaseRef::Id(id), .. } => {
                require(self.memory.database.is_none(), "the recorded database of a cluster never changes")?;
                let named = self.observed.database.named.present();
                require(
                    named.is_some_and(|all| all.iter().any(|database| database.id == *id)),
                    "only a database that a list of this pass showed under the declared name is recorded",
                )
            }
            Step::NoteDatabase { region, key, tag, database } => self.may_note(region, key, tag, database),
            Step::AddRegion { region, database, not_after, .. } => {
                require(
                    self.observed
                        .database
                        .by_id
                        .present()
                        .is_some_and(|d| d.id == *database && !d.regions.contains_key(region.as_str())),
                    "a region is added only to a database that was seen not to have it",
                )?;
                require(
                    self.memory.regions.get(region).is_none_or(|r| r.deployment.is_none()),
                    "a region that the cloud once showed is not added again",
                )?;
                self.deployable(region, *not_after, before)
            }
            Step::CreatePart { region, database, part, not_after } => {
                self.may_create_part((region, database), part, *not_after, before)
            }
            Step::EncryptDatabase { database, not_after, .. } => self.may_encrypt(database, *not_after),
            Step::Role(step) => self.role_step(step, before),
            Step::RemoveFinalizer => self.may_go(),
            Step::CancelDeletion { region, key } => self.may_restore(region, key, KeyState::PendingDeletion),
            Step::EnableKey { region, key } => {
                let cancelled = |s: &Step| matches!(s, Step::CancelDeletion { key: k, .. } if k == key);
                if before.iter().any(cancelled) {
                    return Ok(());
                }
                self.may_restore(region, key, KeyState::Disabled)
            }
            Step::MarkDeletion { .. }
            | Step::ScheduleDeletion { .. }
            | Step::RemoveRegion { .. }
            | Step::TerminateDatabase { .. } => {
                Removal { desired: self.desired, observed: self.observed, memory: self.memory, pass: self.pass }
                    .step(step, before)
            }
            Step::AddFinalizer
            | Step::RecordKeyIntent { .. }
            | Step::ReplicateKey { .. }
            | Step::RecordRegistrationIntent { .. }
            | Step::RecordDeployIntent { .. }
            | Step::RecordDatabase { database: DatabaseRef::CreatedInThisPass, .. } => Ok(()),
        }
    }

    /// What has to be so for any effect outside.
    fn outside(&self, step: &Step, before: &[Step]) -> Rule {
        let object = self.desired.object();
        require(!object.paused, "a paused object writes nothing outside")?;
        require(
            !object.deleting || self.desired.afterlife() == Afterlife::TearDown,
            "an object that goes writes nothing outside under Retain",
        )?;
        let deletes = match step {
            Step::MarkDeletion { .. } | Step::ScheduleDeletion { .. } | Step::TerminateDatabase { .. } => true,
            Step::Role(role) => role.ends(),
            _ => false,
        };
        require(!object.deleting || deletes, "an object that goes makes and mends nothing outside")?;
        require(
            object.finalizer || before.contains(&Step::AddFinalizer),
            "the finalizer comes before every outside effect",
        )?;
        let key = self.desired.key().ok_or("nothing outside without a key object")?;
        require(!key.observe_only, "Observe writes nothing outside")?;
        require(self.observed.depth == Depth::Everything, "only a look at everything is acted on")?;
        require(
            matches!(step, Step::TerminateDatabase { .. })
                || self.observed.caller.present().is_some_and(|c| c.account == key.access.account.as_str()),
            "nothing outside unless AWS takes us for the declared account",
        )?;
        Ok(())
    }

    fn may_register(&self, region: &Region, key: &KeyArn, not_after: Moment, before: &[Step]) -> Rule {
        require(
            before.iter().any(|s| matches!(s, Step::RecordRegistrationIntent { region: r, .. } if r == region)),
            "a key is registered only after the intent was written down",
        )?;
        self.is_the_key(region, key)?;
        self.key_is_enabled(region, key)?;
        require(
            self.observed.regions.get(region).is_some_and(|seen| seen.registration.is_absent()),
            "a key is registered only where a read of this pass said that there is none",
        )?;
        let rivals = &self.key()?.rivals;
        require(
            !rivals.unknown && !rivals.older.contains_key(region),
            "a registration that an older object claims, or may claim, is not made",
        )?;
        self.policy_holds(region)?;
        self.in_scope()?;
        self.in_time(not_after, self.observed.at)?;
        self.settled(self.memory.regions.get(region).and_then(|r| r.registering), self.pass.settings.deploy_settle)?;
        require(
            !self.key()?.capabilities.registration_is_final || self.looked_enough(region),
            "a final registration is made only after enough equal looks",
        )
    }

    pub(super) fn key(&self) -> Result<&DesiredKey, &'static str> {
        self.desired.key().ok_or("nothing outside without a key object")
    }

    fn may_create(&self, region: &Region) -> Rule {
        let remembered = self.memory.regions.get(region);
        require(remembered.is_none_or(|r| r.key.is_none()), "a key is never created beside a recorded one")?;
        let seen = self.observed.regions.get(region).ok_or("a key is created only after a look")?;
        require(seen.by_alias.is_absent(), "a key is created only after a read said that the alias does not exist")?;
        let none = seen.candidates.is_absent() || seen.candidates.present().is_some_and(Vec::is_empty);
        require(none, "a key is created only after a search found none")?;
        if let Some(intent) = remembered.and_then(|r| r.creating.as_ref()) {
            require(
                self.pass.now.since(intent.started_at) >= self.pass.settings.create_settle && seen.scanned,
                "an unresolved creation is searched for, by a full scan after the settle window, before another attempt",
            )?;
        }
        Ok(())
    }

    fn may_claim(&self, region: &Region, key: &KeyRef, before: &[Step]) -> Rule {
        match key {
            KeyRef::CreatedInThisPass => require(
                before.iter().any(|s| matches!(s, Step::CreateKey { region: r, .. } | Step::ReplicateKey { region: r, .. } if r == region)),
                "what was created in this pass was created before",
            ),
            KeyRef::Arn(arn) => {
                self.is_in_place(region, arn)?;
                let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
                if let Some(memory) = self.memory.regions.get(region).filter(|memory| memory.key.is_some()) {
                    if memory.key.as_ref() == Some(arn) {
                        return self.is_the_key(region, arn);
                    }
                    let own = own_again(self.key()?, region, memory, seen);
                    return require(own.is_some_and(|own| own.arn == *arn), "the recorded key of a region never changes");
                }
                let found = seen.candidates.present().is_some_and(|all| all.iter().any(|c| c.arn == *arn));
                let there = seen.facts_of(arn).present().is_some();
                let tagged = seen.tags_of(arn).present().is_some_and(|tags| self.key().is_ok_and(|key| owned(key, tags)));
                require(
                    found || (there && tagged),
                    "only a key that this pass saw with the owner's tags is claimed",
                )
            }
        }
    }

    /// A policy that does not lock anybody out, nor loses what others wrote.
    fn may_be_policy(&self, region: &Region, document: &str) -> Rule {
        require(document.len() <= 32_768, "a policy is at most 32,768 bytes long")?;
        let key = self.key()?;
        let sent = PolicyDocument::parse(document).map_err(|_| "a policy that is sent can be read")?;
        let account = key.account_in(region);
        let root = Grant { label: String::new(), actions: vec!["kms:*".to_owned()], conditions: Vec::new() };
        let adopted = key.regions.get(region).is_some_and(|wish| wish.key_arn.is_some());
        // What a Deny takes away again is its author's business, but for the right to change the policy.
        let rooted = |document: &PolicyDocument| {
            let allows = document.statements.iter().filter(|statement| statement.effect == Effect::Allow);
            let allows = PolicyDocument::new(allows.cloned().collect());
            holds(&allows, &root, &[account.root_arn()], &account).is_held_if_iam_allows()
        };
        require(adopted || rooted(&sent), "a policy of a key that we made gives the account root everything")?;
        let denies = |statement: &Statement| {
            statement.effect == Effect::Deny && statement.actions.selects_some("kms:PutKeyPolicy")
        };
        require(!sent.statements.iter().any(denies), "no policy is sent that denies anybody to change it")?;
        let own = self.own(region)?;
        let foreign = |document: &PolicyDocument| {
            canonical_set(document.statements.iter().filter(|statement| !own.owns(statement)), &account)
        };
        let text = self.observed.regions.get(region).and_then(|seen| seen.policy.present());
        let seen =
            text.and_then(|text| PolicyDocument::parse(text).ok()).ok_or("a policy is sent only after it was read")?;
        require(rooted(&sent) || !rooted(&seen), "no policy is sent that takes everything from the account root")?;
        require(
            key.policy.remove_foreign || key.policy.remove_orphaned || foreign(&seen).is_subset(&foreign(&sent)),
            "a policy that is sent keeps every foreign statement",
        )
    }

    /// The policy, as this pass saw it, gives the cloud what it needs.
    pub(super) fn policy_holds(&self, region: &Region) -> Rule {
        const RULE: &str = "nothing is registered or deployed unless the policy was seen to hold what the cloud needs";
        let key = self.key()?;
        if !key.capabilities.principals_from_cloud {
            return entrusted_check::policy_holds(key, region, None, self.observed.regions.get(region));
        }
        let RegionSeen { policy, principals, .. } = self.observed.regions.get(region).ok_or(RULE)?;
        let (text, principals) = policy.present().zip(principals.present()).ok_or(RULE)?;
        let document = PolicyDocument::parse(text).map_err(|_| RULE)?;
        let document = without_restriction(&document, &self.own(region)?);
        let account = key.account_in(region);
        let held = |need: &Need| holds(&document, &need.grant(), principals, &account).is_held();
        require(key.capabilities.needs.iter().all(held), RULE)
    }

    pub(super) fn in_scope(&self) -> Rule {
        entrusted_check::in_scope(self.observed, self.key()?)
    }

    pub(super) fn in_time(&self, not_after: Moment, look: Moment) -> Rule {
        require(not_after <= look + self.pass.settings.look_valid, "nothing is created on a look that is too old")
    }

    /// An attempt that began then can have no effect any more that a look does not show.
    pub(super) fn settled(&self, started_at: Option<Moment>, settle: Span) -> Rule {
        require(
            started_at.is_none_or(|at| self.pass.now.since(at) >= settle),
            "an attempt whose outcome is not known is waited for before another",
        )
    }

    /// The object may go, and be forgotten.
    fn may_go(&self) -> Rule {
        require(self.desired.object().deleting, "the finalizer goes only with the object")?;
        let settings = &self.pass.settings;
        for region in self.memory.regions.values() {
            self.settled(region.creating.as_ref().map(|intent| intent.started_at), settings.create_settle)?;
            self.settled(region.registering, settings.deploy_settle)?;
            self.settled(region.linking, settings.deploy_settle)?;
        }
        self.settled(self.memory.deploying.as_ref().map(|intent| intent.started_at), settings.deploy_settle)?;
        let Self { desired, observed, memory, pass, plan: _ } = *self;
        require(
            desired.afterlife() == Afterlife::Retain || Removal { desired, observed, memory, pass }.is_over(),
            "what is to be torn down is not left behind",
        )
    }

    /// The ARN belongs to the declared region and account.
    pub(super) fn is_in_place(&self, region: &Region, arn: &KeyArn) -> Rule {
        let key = self.key()?;
        require(
            arn.region() == region && arn.account() == &key.access.account,
            "a key of another account or region is never touched",
        )
    }

    /// The ARN is that of the recorded or adopted key.
    pub(super) fn is_the_key(&self, region: &Region, arn: &KeyArn) -> Rule {
        self.is_in_place(region, arn)?;
        let adopted = self.key()?.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
        let recorded = self.memory.regions.get(region).and_then(|r| r.key.as_ref());
        require(adopted.or(recorded) == Some(arn), "only the recorded or adopted key is written to or registered")?;
        self.may_write_to(region)
    }

    /// The tags of the region's key, as this pass saw them, let it be written to.
    pub(super) fn may_write_to(&self, region: &Region) -> Rule {
        let adopted = self.key()?.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
        let tags = self.observed.regions.get(region).and_then(|seen| seen.tags.present());
        let tags = tags.filter(|tags| !tags.contains_key(tag::HOLD));
        let tags = tags.ok_or("a key on hold, or whose tags were not seen, is not written to")?;
        let owner = &self.key()?.owner;
        let ours = match adopted {
            Some(_) => tags.get(tag::ADOPT_BY) == Some(&owner.consent()),
            None => true,
        };
        // A tag of ours that is gone may be put back; one that names another owner may not.
        let ours = ours && owner.tags().iter().all(|(k, v)| tags.get(*k).is_none_or(|value| value == v));
        require(ours, "a key is written to only with its owner's consent, or with our tags")?;
        let elsewhere = self.pass.settings.is_held_elsewhere(tags.get(tag::HOLDER));
        require(adopted.is_some() || !elsewhere, "a key that another cluster holds is not written to")
    }

    /// A key whose deletion this operator had scheduled, for an object that is there again.
    fn may_restore(&self, region: &Region, arn: &KeyArn, state: KeyState) -> Rule {
        self.is_the_key(region, arn)?;
        require(
            self.key()?.regions.get(region).is_some_and(|wish| wish.key_arn.is_none()),
            "only a key that the object made, and declares, is restored",
        )?;
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        require(
            seen.tags.present().and_then(|tags| tags.get(tag::DELETION_BY)).is_some_and(|by| !by.is_empty()),
            "only a deletion that the operator itself scheduled is taken back",
        )?;
        let facts = [&seen.by_arn, &seen.by_alias].into_iter().find_map(|r| r.present().filter(|f| f.arn == *arn));
        let same = |found: KeyState| found == state || (found.is_ending() && state.is_ending());
        require(facts.is_some_and(|f| same(f.state)), "only a key that this pass saw in that state is restored")
    }

    pub(super) fn key_is_enabled(&self, region: &Region, arn: &KeyArn) -> Rule {
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        let facts = [&seen.by_arn, &seen.by_alias].into_iter().find_map(|r| r.present().filter(|f| f.arn == *arn));
        require(facts.is_some_and(|f| f.state == KeyState::Enabled), "only a key that this pass saw enabled is used")?;
        let wanted = self.key()?.multi_region.is_some();
        let kind = |f: &KeyFacts| f.symmetric && f.kms_origin && f.customer_managed && f.multi_region == wanted;
        require(facts.is_some_and(kind), "only a key of the wanted kind is used")
    }

    /// What has to be true of a region in this very pass before anything is deployed there.
    fn deployable(&self, region: &Region, not_after: Moment, before: &[Step]) -> Rule {
        Self::alone(before)?;
        require(
            before.iter().any(|s| matches!(s, Step::RecordDeployIntent { intent } if intent.region == *region)),
            "something is deployed only after the intent was written down",
        )?;
        self.settled(self.open_attempt().map(|intent| intent.started_at), self.pass.settings.deploy_settle)?;
        self.sound(region, not_after)
    }

    /// The same of anything that puts data under the key of a region.
    pub(super) fn sound(&self, region: &Region, not_after: Moment) -> Rule {
        self.in_scope()?;
        self.in_time(not_after, self.observed.at)?;
        let key = self.key()?;
        let home = key.home(region);
        let allowed =
            matches!(self.desired, Desired::Cluster(c) if c.key.present().is_some_and(|linked| linked.allowed));
        require(allowed, "nothing is deployed under a key that does not allow it")?;
        let same = |d: &Deployment| d.scope.cloud == key.scope.cloud && d.scope.id == key.scope.id;
        let elsewhere = matches!(self.desired, Desired::Cluster(c) if !c.deployment.as_ref().is_none_or(same));
        require(!elsewhere, "nothing is deployed in another project than the key is for")?;
        require(
            !key.object.deleting && !key.leaving.contains(home),
            "nothing is deployed under a key that is being torn down",
        )?;
        let claims = match self.desired {
            Desired::Cluster(cluster) => self.memory.claims.get(&cluster.key_ref),
            Desired::Key(_) => None,
        };
        require(
            claims.is_some_and(|regions| regions.contains(region)),
            "nothing is deployed before an earlier pass wrote down the claim on the key",
        )?;
        let seen = self.observed.regions.get(home).ok_or("nothing is deployed without a look")?;
        let facts =
            match key.regions.get(home).ok_or("nothing is deployed in a region that the key does not declare")? {
                wish if wish.key_arn.is_some() => seen.by_arn.present(),
                _ => seen.by_alias.present(),
            }
            .ok_or("nothing is deployed where this pass saw no key")?;
        self.is_in_place(home, &facts.arn)?;
        self.key_is_enabled(home, &facts.arn)?;
        require(
            seen.tags.present().is_some_and(|tags| !tags.contains_key(tag::HOLD)),
            "nothing is deployed under a key on hold, or whose tags were not seen",
        )?;
        self.policy_holds(home)?;
        self.is_used_from_anywhere(home)?;
        self.says_usable(home)?;
        if key.capabilities.registration == Registration::PerRegion {
            require(
                seen.registration.present().is_some_and(|arn| *arn == facts.arn.to_string()),
                "nothing is deployed unless this pass read back the registration of that exact key",
            )?;
        }
        require(self.looked_enough(home), "nothing is deployed before enough equal looks")?;
        require(
            self.plan.regions.get(region).and_then(|r| r.gate.as_ref()).is_some_and(|gate| gate.open),
            "nothing is deployed through a closed gate",
        )
    }
}

pub(super) fn owned(key: &DesiredKey, tags: &BTreeMap<String, String>) -> bool {
    key.owner.tags().iter().all(|(k, v)| tags.get(*k).is_some_and(|value| value == v))
}
