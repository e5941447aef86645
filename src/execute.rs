//! The effects of a checked plan, one after another.
//!
//! # Guarantees
//! - Right before each effect the process asks whether it may still act, and whether the look that the effect rests on
//!   is still young enough.
//! - A fault in one region keeps only that region's later steps from being done. A lost race for the object, lost
//!   leadership or a dead process end everything.
//! - There is no choice here: a step carries every argument.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::clock::Clock;
use crate::domain::desired::{Desired, DesiredKey, NewKey};
use crate::domain::iam_role::NewRole;
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::moment::Moment;
use crate::domain::policy::role::{permissions, trust_policy};
use crate::domain::reading::Reading;
use crate::observe::{Credentials, place};
use crate::plan::check::Checked;
use crate::plan::policy_hash;
use crate::plan::role_step::{LinkRef, RoleStep};
use crate::plan::step::{DatabaseRef, KeyRef, Site, Step};
use crate::ports::{Authority, Cause, Fault, FaultClass, KeyService, Ledger, Record, Session, Upstream};

/// Who is told of every effect, right before and right after. Crash tests end the process here.
pub trait Witness: Send + Sync {
    /// An effect is about to be made. Break: the process is dead.
    fn before(&self, site: Site) -> ControlFlow<()>;

    /// An effect was made, or failed. Break: the process is dead.
    fn after(&self, site: Site, fault: Option<&Fault>) -> ControlFlow<()>;
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The steps that were done.
    pub done: Vec<Step>,
    /// The steps that failed, and why.
    pub failed: Vec<(Step, Fault)>,
    /// The keys that were created.
    pub keys: BTreeMap<Region, KeyArn>,
    /// The links that were made.
    pub links: BTreeMap<Region, String>,
    /// The database that was created.
    pub database: Option<String>,
    /// What was made inside the database: ids by name.
    pub parts: BTreeMap<String, String>,
    /// Whether nothing more may be done in this pass, not even a status write.
    pub over: bool,
}

/// The means to make effects.
pub struct Hands<'a, K, U, L> {
    /// AWS.
    pub keys: &'a K,
    /// The database cloud.
    pub upstream: &'a U,
    /// The object's record.
    pub ledger: &'a mut L,
    /// The cloud's sessions, where there are any.
    pub credentials: &'a Credentials,
    /// Whether this process may act.
    pub authority: &'a dyn Authority,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Who is told.
    pub witness: &'a dyn Witness,
}

/// Makes the effects of a checked plan.
pub async fn execute<K: KeyService, U: Upstream, L: Ledger>(
    mut hands: Hands<'_, K, U, L>,
    desired: &Desired,
    checked: &Checked,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut stopped: BTreeSet<Region> = BTreeSet::new();
    for step in &checked.plan().steps {
        if step.region().is_some_and(|region| stopped.contains(region)) {
            continue;
        }
        if hands.witness.before(step.site()).is_break() {
            outcome.over = true;
            return outcome;
        }
        let result = hands.perform(desired, step, &mut outcome).await;
        if hands.witness.after(step.site(), result.as_ref().err()).is_break() {
            outcome.over = true;
            return outcome;
        }
        match result {
            Ok(()) => outcome.done.push(step.clone()),
            Err(fault) => {
                let whole = !step.is_outside() || fault.cause == Cause::Leadership;
                outcome.over = whole && matches!(fault.class, FaultClass::Conflict);
                let region = step.region().cloned();
                outcome.failed.push((step.clone(), fault));
                match region {
                    Some(region) if !whole => {
                        stopped.insert(region);
                    }
                    _ => return outcome,
                }
            }
        }
    }
    outcome
}

impl<K: KeyService, U: Upstream, L: Ledger> Hands<'_, K, U, L> {
    async fn perform(&mut self, desired: &Desired, step: &Step, outcome: &mut Outcome) -> Result<(), Fault> {
        self.may_act(step)?;
        match step {
            Step::AddFinalizer => self.ledger.add_finalizer().await,
            Step::RemoveFinalizer => self.ledger.remove_finalizer().await,
            Step::RecordKeyIntent { region, intent } => {
                self.ledger.record(&Record::KeyIntent(region.clone(), intent.clone())).await
            }
            Step::CreateKey { region, key, not_after } => {
                self.still_valid(step, *not_after)?;
                let place = place(desired, key_of(desired, step)?, region);
                let arn = self.keys.create_key(&place, key).await?;
                outcome.keys.insert(region.clone(), arn);
                Ok(())
            }
            Step::ReplicateKey { region, primary, key, not_after } => {
                self.still_valid(step, *not_after)?;
                outcome.keys.insert(region.clone(), self.replicate(desired, step, primary, region, key).await?);
                Ok(())
            }
            Step::CreateAlias { region, alias, key } => {
                let arn = resolve(step, region, key, outcome)?;
                self.keys.create_alias(&place(desired, key_of(desired, step)?, region), alias, &arn).await
            }
            Step::RecordKey { region, key } => {
                let arn = resolve(step, region, key, outcome)?;
                outcome.keys.insert(region.clone(), arn.clone());
                self.ledger.record(&Record::Key(region.clone(), arn)).await
            }
            Step::PutPolicy { region, key, document, replaces } => {
                let place = place(desired, key_of(desired, step)?, region);
                self.is_unchanged(&place, key, replaces).await?;
                self.keys.put_policy(&place, key, document).await
            }
            Step::EnableRotation { region, key, period_days } => {
                self.keys.enable_rotation(&place(desired, key_of(desired, step)?, region), key, *period_days).await
            }
            Step::UpdateDescription { region, key, description } => {
                self.keys.describe_as(&place(desired, key_of(desired, step)?, region), key, description).await
            }
            Step::Tag { region, key, tags } => {
                self.keys.tag(&place(desired, key_of(desired, step)?, region), key, tags).await
            }
            Step::RecordRegistrationIntent { region, started_at } => {
                self.ledger.record(&Record::RegistrationIntent(region.clone(), *started_at)).await
            }
            Step::Register { region, key, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.register(self.session(step)?, region, key).await
            }
            Step::RecordDeployIntent { intent } => self.ledger.record(&Record::DeployIntent(intent.clone())).await,
            Step::CreateDatabase { region, request, not_after } => {
                self.still_valid(step, *not_after)?;
                let id = self.upstream.create_database(self.session(step)?, request, region).await?;
                outcome.database = Some(id);
                Ok(())
            }
            Step::RecordDatabase { region: _, database } => {
                let id = match database {
                    DatabaseRef::Id(id) => id.clone(),
                    DatabaseRef::CreatedInThisPass => {
                        outcome.database.clone().ok_or_else(|| broken(step, "nothing was created in this pass"))?
                    }
                };
                outcome.database = Some(id.clone());
                self.ledger.record(&Record::Database(id)).await
            }
            Step::NoteDatabase { region, key, tag, database } => {
                let tags = BTreeMap::from([(tag.clone(), database.clone())]);
                self.keys.tag(&place(desired, key_of(desired, step)?, region), key, &tags).await
            }
            Step::AddRegion { region, database, request, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.add_region(self.session(step)?, database, request, region).await
            }
            Step::CreatePart { region: _, database, part, not_after } => {
                self.still_valid(step, *not_after)?;
                let id = self.upstream.create_part(self.session(step)?, database, part).await?;
                outcome.parts.insert(part.name.clone(), id);
                Ok(())
            }
            Step::EncryptDatabase { region: _, database, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.encrypt_database(self.session(step)?, database).await
            }
            Step::Role(role) => self.perform_role(desired, step, role, outcome).await,
            Step::MarkDeletion { .. }
            | Step::ScheduleDeletion { .. }
            | Step::CancelDeletion { .. }
            | Step::EnableKey { .. } => self.perform_end(desired, step).await,
            Step::RemoveRegion { region, database, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.remove_region(self.session(step)?, database, region).await
            }
            Step::TerminateDatabase { database, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.terminate_database(self.session(step)?, database).await
            }
        }
    }

    /// The end of a key, and its way back.
    async fn perform_end(&self, desired: &Desired, step: &Step) -> Result<(), Fault> {
        match step {
            Step::MarkDeletion { region, key, by, not_after } => {
                self.still_valid(step, *not_after)?;
                let tags = BTreeMap::from([(tag::DELETION_BY.to_owned(), by.clone())]);
                self.keys.tag(&place(desired, key_of(desired, step)?, region), key, &tags).await
            }
            Step::ScheduleDeletion { region, key, window_days, not_after } => {
                self.still_valid(step, *not_after)?;
                self.keys.schedule_deletion(&place(desired, key_of(desired, step)?, region), key, *window_days).await
            }
            Step::CancelDeletion { region, key } => {
                self.keys.cancel_deletion(&place(desired, key_of(desired, step)?, region), key).await
            }
            Step::EnableKey { region, key } => {
                self.keys.enable(&place(desired, key_of(desired, step)?, region), key).await
            }
            _ => Err(broken(step, "it ends no key")),
        }
    }

    /// Asks the primary's region for a replica in another.
    async fn replicate(
        &self,
        desired: &Desired,
        step: &Step,
        primary: &KeyArn,
        region: &Region,
        key: &NewKey,
    ) -> Result<KeyArn, Fault> {
        let place = place(desired, key_of(desired, step)?, primary.region());
        self.keys.replicate_key(&place, primary, region, key).await
    }

    async fn perform_role(
        &mut self,
        desired: &Desired,
        step: &Step,
        role: &RoleStep,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        match role {
            RoleStep::RecordIntent { region, started_at } => {
                self.ledger.record(&Record::RoleLinkIntent(region.clone(), *started_at)).await
            }
            RoleStep::Create { region, not_after } => {
                self.still_valid(step, *not_after)?;
                let link = self.upstream.create_role_link(self.session(step)?).await?;
                outcome.links.insert(region.clone(), link.id);
                Ok(())
            }
            RoleStep::Record { region, link } => {
                let id = match link {
                    LinkRef::Id(id) => id.clone(),
                    LinkRef::CreatedInThisPass => {
                        let made = outcome.links.get(region).cloned();
                        made.ok_or_else(|| broken(step, "nothing was created in this pass"))?
                    }
                };
                self.ledger.record(&Record::RoleLink(region.clone(), id)).await
            }
            RoleStep::Authorize { region: _, link, role } => {
                self.upstream.authorize_role_link(self.session(step)?, link, role).await
            }
            RoleStep::Register { region, key, link, replaces: _, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.register_by_role(self.session(step)?, region, key, link).await
            }
            RoleStep::Withdraw { region: _, key: _, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.withdraw(self.session(step)?).await
            }
            RoleStep::RemoveLink { region: _, link, not_after } => {
                self.still_valid(step, *not_after)?;
                self.upstream.remove_role_link(self.session(step)?, link).await
            }
            RoleStep::DeleteRole { region, role, not_after } => {
                self.still_valid(step, *not_after)?;
                self.keys.delete_role(&place(desired, key_of(desired, step)?, region), role).await
            }
            RoleStep::MakeRole { region, role, link, boundary, description, tags } => {
                let new = NewRole {
                    arn: role.clone(),
                    trust: trust_policy(link),
                    boundary: boundary.clone(),
                    description: description.clone(),
                    tags: tags.clone(),
                };
                self.keys.create_role(&place(desired, key_of(desired, step)?, region), &new).await
            }
            RoleStep::TrustCloud { region, role, link } => {
                let place = place(desired, key_of(desired, step)?, region);
                self.keys.trust_role(&place, role, &trust_policy(link)).await
            }
            RoleStep::PermitRole { region, role, actions, keys, sources } => {
                let place = place(desired, key_of(desired, step)?, region);
                self.keys.permit_role(&place, role, &permissions(actions, keys, sources.as_ref())).await
            }
        }
    }

    fn may_act(&self, step: &Step) -> Result<(), Fault> {
        if self.authority.may_act() {
            return Ok(());
        }
        let message = "another replica may be leading by now";
        Err(Fault::new(FaultClass::Conflict, step.site().as_str(), "this process", message).because(Cause::Leadership))
    }

    fn still_valid(&self, step: &Step, not_after: Moment) -> Result<(), Fault> {
        if self.clock.now() <= not_after {
            return Ok(());
        }
        let message = "the look that it rests on is too old by now; looking again";
        Err(Fault::new(FaultClass::Conflict, step.site().as_str(), target(step), message).because(Cause::Stale))
    }

    /// The policy is read once more right before it is replaced: KMS has no compare-and-set for it.
    async fn is_unchanged(&self, place: &crate::ports::Place, key: &KeyArn, replaces: &str) -> Result<(), Fault> {
        match self.keys.policy(place, key).await {
            Reading::Present(text) if policy_hash(&text).as_deref() == Some(replaces) => Ok(()),
            Reading::Unknown(crate::domain::reading::Why::Failed(fault)) => Err(fault),
            Reading::Present(_) | Reading::Absent | Reading::Unknown(_) => Err(Fault::new(
                FaultClass::Conflict,
                "kms:GetKeyPolicy",
                key.to_string(),
                "the policy changed since it was looked at; looking again",
            )),
        }
    }

    fn session(&self, step: &Step) -> Result<&Session, Fault> {
        let Credentials { seen: _, session, deploy } = self.credentials;
        let of_key = matches!(step, Step::Register { .. } | Step::Role(_));
        let session = if of_key { session } else { deploy };
        session.as_ref().ok_or_else(|| broken(step, "there is no session with the cloud"))
    }
}

fn key_of<'d>(desired: &'d Desired, step: &Step) -> Result<&'d DesiredKey, Fault> {
    desired.key().ok_or_else(|| broken(step, "there is no key object"))
}

fn resolve(step: &Step, region: &Region, key: &KeyRef, outcome: &Outcome) -> Result<KeyArn, Fault> {
    match key {
        KeyRef::Arn(arn) => Ok(arn.clone()),
        KeyRef::CreatedInThisPass => {
            outcome.keys.get(region).cloned().ok_or_else(|| broken(step, "nothing was created in this pass"))
        }
    }
}

fn target(step: &Step) -> String {
    step.region().map_or_else(|| "the object".to_owned(), ToString::to_string)
}

fn broken(step: &Step, message: &str) -> Fault {
    Fault::new(FaultClass::Terminal, step.site().as_str(), target(step), message)
}
