//! Clouds that prove nothing of a database's encryption but by order: what was deployed after the key was registered is
//! under it.
//!
//! A cloud says when a database was made, and of a region that came later it does not. Those that this object adds go
//! through their gates; one that somebody else added has to be judged by what is seen when it is first seen, because the
//! operator itself registers the key a moment later, and nothing shows the order any more.
//!
//! # Guarantees
//! A region that was there while its key was not registered is never said to be encrypted, also after the key is. What is
//! found of such a region stands in status before its deployment does, or in the same write.
//!
//! # Caveats
//! An object without memory of its database, applied again or restored, cannot tell what an earlier one deployed from what
//! somebody added by hand: there the note of the registration on the region's key is enough, as it is for the first region
//! where the cloud does not say when a database was made.

use crate::domain::capabilities::Proof;
use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{Deployment, DesiredCluster, LinkedKey};
use crate::domain::id::{Region, tag};
use crate::domain::memory::Found;
use crate::domain::observed::{Database, DatabaseState};
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::{deploy, gate, registration};

const CONDITION: ConditionType = ConditionType::EncryptionVerified;

/// Judges the regions of a database that this object did not deploy to and sees for the first time.
pub(super) fn found(draft: &mut Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey, database: &Database) {
    if linked.key.capabilities.proof != Proof::ByOrder {
        return;
    }
    let anew = draft.remembered(&cluster.primary).deployment.is_none();
    for region in cluster.secondaries().filter(|region| is_there(database, region)) {
        let memory = draft.remembered(region);
        let attempt = draft.memory.deploying.as_ref();
        let own = attempt.is_some_and(|intent| intent.region == *region && intent.part.is_none());
        if own || memory.deployment.is_some() {
            draft.report(region).found = memory.found;
            continue;
        }
        match judge(draft, linked, region, anew) {
            Reading::Present(found) => draft.report(region).found = Some(found),
            Reading::Absent => {}
            Reading::Unknown(_) => {
                // As long as status shows no deployment, the next look judges it, and takes the object for one without memory
                // where this one did.
                draft.report(region).deployment = None;
                if anew {
                    draft.report(&cluster.primary).deployment = None;
                }
            }
        }
    }
}

fn is_there(database: &Database, region: &Region) -> bool {
    database.regions.get(region.as_str()).is_some_and(|state| *state != DatabaseState::Terminated)
}

/// What is to be remembered of a region that somebody else deployed to; absent: nothing, it is taken for the object's own.
fn judge(draft: &Draft<'_>, linked: &LinkedKey, region: &Region, anew: bool) -> Reading<Found> {
    let home = linked.key.home(region);
    let seen = draft.seen(home);
    let keyless = gate::subject(&linked.key, home, &seen).is_absent();
    let noted = match seen.tags.present() {
        Some(tags) => Some(tags.contains_key(tag::REGISTERED_AT)),
        None => keyless.then_some(false),
    };
    match (&seen.registration, noted) {
        (Reading::Unknown(_), _) | (_, None) => Reading::NOT_LOOKED,
        (Reading::Absent, Some(false)) => Reading::Present(Found::NotEncrypted),
        (Reading::Present(_), Some(true)) if anew => Reading::Absent,
        // A registration that was noted and is missing from one look says nothing of the order either.
        (Reading::Absent, Some(true)) | (Reading::Present(_), Some(_)) => Reading::Present(Found::Unverified),
    }
}

/// Was what is deployed made after the key was registered?
pub(super) fn verify(draft: &mut Draft<'_>, cluster: &DesiredCluster, deployment: &Deployment, database: &Database) {
    let id = &database.id;
    let registered_at = registration::not_before(&draft.seen(&cluster.primary));
    let skew = draft.pass.settings.clock_skew;
    let older = database.created_at.zip(registered_at).is_some_and(|(created, registered)| created + skew < registered);
    if older {
        let message = format!("Database {id} is older than the key's registration, so it is not encrypted with it.");
        let fix = "create a new database under the key and move the data.";
        draft.stuck(CONDITION, None, Reason::ExistingDatabaseNotEncrypted, message, fix);
    }
    let (mut bare, mut unverified) = (false, Vec::new());
    for region in cluster.secondaries() {
        match draft.report(region).found.or(draft.remembered(region).found) {
            Some(Found::NotEncrypted) => {
                bare = true;
                let message = format!(
                    "Database {id} was in {region} before the key of that region was registered, so it is not encrypted with it there."
                );
                let fix = "remove the region from the database in the cloud's portal and take it out of the spec; put back afterwards, it is added anew under its key.";
                draft.stuck(CONDITION, Some(region), Reason::ExistingDatabaseNotEncrypted, message, fix);
            }
            Some(Found::Unverified) => unverified.push(region.as_str()),
            None => {}
        }
    }
    let judged = |draft: &mut Draft<'_>, region: &Region| {
        draft.report(region).deployment.is_some() || draft.remembered(region).deployment.is_some()
    };
    let unjudged = cluster.secondaries().find(|region| is_there(database, region) && !judged(draft, region));
    if older || bare {
        return;
    }
    if let Some(region) = unjudged {
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::NotLookedYet);
        let message = format!(
            "Database {id} is in {region}, where this object did not deploy it; whether the key of that region was registered before could not be seen."
        );
        deploy::unproven(draft, reason, message);
    } else if !unverified.is_empty() {
        let message = format!(
            "Somebody else deployed database {id} in {}, and nothing shows whether the key was registered before.",
            unverified.join(" and ")
        );
        deploy::unproven(draft, Reason::ExistingDatabaseUnverified, message);
    } else if deployment.bound_id.is_some() {
        deploy::unproven(draft, Reason::ExistingDatabaseUnverified, Reason::ExistingDatabaseUnverified.text());
    } else {
        deploy::unproven(draft, Reason::ByOrder, Reason::ByOrder.text());
    }
}
