//! The last word before anything is done: a plan that breaks an invariant is refused, whatever made it.
//!
//! The rules are derived anew from what was declared, seen and remembered; none of the planner's own code is asked.

use crate::domain::capabilities::Registration;
use crate::domain::desired::{Desired, DesiredKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::Memory;
use crate::domain::observed::{KeyState, Observed};
use crate::domain::reading::Reading;

use super::step::{KeyRef, Step};
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
        if let Err(rule) = scene.step(step, plan.steps.get(..index).unwrap_or_default()) {
            return Err(Refused { rule, step: Box::new(step.clone()) });
        }
    }
    Ok(Checked(plan))
}

struct Scene<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    pass: &'a Pass,
    plan: &'a Plan,
}

type Rule = Result<(), &'static str>;

fn require(holds: bool, rule: &'static str) -> Rule {
    if holds { Ok(()) } else { Err(rule) }
}

impl Scene<'_> {
    fn step(&self, step: &Step, before: &[Step]) -> Rule {
        let object = self.desired.object();
        if step.is_outside() {
            require(!object.paused, "a paused object writes nothing outside")?;
            require(!object.deleting, "an object that goes writes nothing outside under Retain")?;
            require(
                object.finalizer || before.contains(&Step::AddFinalizer),
                "the finalizer comes before every outside effect",
            )?;
            let key = self.desired.key().ok_or("nothing outside without a key object")?;
            require(!key.observe_only, "Observe writes nothing outside")?;
            require(
                self.observed.caller.present().is_some_and(|c| c.account == key.access.account.as_str()),
                "nothing outside unless AWS takes us for the declared account",
            )?;
        }
        match step {
            Step::CreateKey { region, key, .. } => {
                require(
                    before.iter().any(|s| matches!(s, Step::RecordKeyIntent { region: r, intent } if r == region && key.tags.get(tag::NONCE) == Some(&intent.nonce))),
                    "a key is created only after its intent was written down",
                )?;
                self.may_create(region)
            }
            Step::CreateAlias { region, key, .. } | Step::RecordKey { region, key } => {
                self.may_claim(region, key, before)
            }
            Step::PutPolicy { region, key, document, .. } => {
                self.is_the_key(region, key)?;
                require(document.len() <= 32_768, "a policy is at most 32,768 bytes long")
            }
            Step::EnableRotation { region, key, .. }
            | Step::UpdateDescription { region, key, .. }
            | Step::Tag { region, key, .. } => self.is_the_key(region, key),
            Step::Register { region, key, .. } => {
                require(
                    before.iter().any(|s| matches!(s, Step::RecordRegistrationIntent { region: r, .. } if r == region)),
                    "a key is registered only after the intent was written down",
                )?;
                self.is_the_key(region, key)?;
                self.key_is_enabled(region, key)?;
                require(
                    self.observed.regions.get(region).is_some_and(|seen| seen.registration.is_absent()),
                    "a key is registered only where a read of this pass said that there is none",
                )
            }
            Step::CreateDatabase { region, .. } => {
                require(self.memory.database.is_none(), "a database is created only when none is recorded")?;
                require(
                    matches!(&self.observed.database.named, Reading::Present(all) if all.is_empty())
                        || self.observed.database.named.is_absent(),
                    "a database is created only after a complete list showed none of its name",
                )?;
                self.deployable(region, before)
            }
            Step::AddRegion { region, database, .. } => {
                require(
                    self.observed
                        .database
                        .by_id
                        .present()
                        .is_some_and(|d| d.id == *database && !d.regions.contains_key(region.as_str())),
                    "a region is added only to a database that was seen not to have it",
                )?;
                self.deployable(region, before)
            }
            Step::AddFinalizer
            | Step::RemoveFinalizer
            | Step::RecordKeyIntent { .. }
            | Step::RecordRegistrationIntent { .. }
            | Step::RecordDeployIntent { .. }
            | Step::RecordDatabase { .. } => Ok(()),
        }
    }

    fn key(&self) -> Result<&DesiredKey, &'static str> {
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
                before.iter().any(|s| matches!(s, Step::CreateKey { region: r, .. } if r == region)),
                "what was created in this pass was created before",
            ),
            KeyRef::Arn(arn) => self.is_in_place(region, arn),
        }
    }

    /// The ARN belongs to the declared region and account.
    fn is_in_place(&self, region: &Region, arn: &KeyArn) -> Rule {
        let key = self.key()?;
        require(
            arn.region() == region && arn.account() == &key.access.account,
            "a key of another account or region is never touched",
        )
    }

    /// The ARN is that of the recorded or adopted key.
    fn is_the_key(&self, region: &Region, arn: &KeyArn) -> Rule {
        self.is_in_place(region, arn)?;
        let adopted = self.key()?.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
        let recorded = self.memory.regions.get(region).and_then(|r| r.key.as_ref());
        require(adopted.or(recorded) == Some(arn), "only the recorded or adopted key is written to or registered")?;
        let on_hold = self
            .observed
            .regions
            .get(region)
            .and_then(|seen| seen.tags.present())
            .is_none_or(|tags| tags.contains_key(tag::HOLD));
        require(!on_hold, "a key on hold, or whose tags were not seen, is not written to")
    }

    fn key_is_enabled(&self, region: &Region, arn: &KeyArn) -> Rule {
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        let facts = [&seen.by_arn, &seen.by_alias].into_iter().find_map(|r| r.present().filter(|f| f.arn == *arn));
        require(facts.is_some_and(|f| f.state == KeyState::Enabled), "only a key that this pass saw enabled is used")
    }

    /// What has to be true of a region in this very pass before anything is deployed there.
    fn deployable(&self, region: &Region, before: &[Step]) -> Rule {
        require(
            before.iter().any(|s| matches!(s, Step::RecordDeployIntent { intent } if intent.region == *region)),
            "something is deployed only after the intent was written down",
        )?;
        let key = self.key()?;
        require(!key.object.deleting, "nothing is deployed under a key that is being torn down")?;
        let seen = self.observed.regions.get(region).ok_or("nothing is deployed without a look")?;
        let facts =
            match key.regions.get(region).ok_or("nothing is deployed in a region that the key does not declare")? {
                wish if wish.key_arn.is_some() => seen.by_arn.present(),
                _ => seen.by_alias.present(),
            }
            .ok_or("nothing is deployed where this pass saw no key")?;
        self.is_in_place(region, &facts.arn)?;
        self.key_is_enabled(region, &facts.arn)?;
        if key.capabilities.registration == Registration::PerRegion {
            require(
                seen.registration.present().is_some_and(|arn| *arn == facts.arn.to_string()),
                "nothing is deployed unless this pass read back the registration of that exact key",
            )?;
        }
        require(
            self.plan.looks.get(region).is_some_and(|looks| looks.count >= self.pass.settings.gate_looks),
            "nothing is deployed before enough equal looks",
        )?;
        require(
            self.plan.regions.get(region).and_then(|r| r.gate.as_ref()).is_some_and(|gate| gate.open),
            "nothing is deployed through a closed gate",
        )
    }
}
