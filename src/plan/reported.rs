//! Databases of a cloud that itself says whether they are encrypted with the customer's key, and that can put one under it
//! that was there before.
//!
//! # Guarantees
//! An existing database is bound only where the spec says so, is never deleted, and nothing of it is changed but that its
//! encryption is turned on, through the open gates of all its regions.

use std::collections::BTreeMap;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{Deployment, DesiredCluster, LinkedKey};
use crate::domain::id::Region;
use crate::domain::observed::{Database, DatabaseState, Encryption};

use super::deploy;
use super::draft::Draft;
use super::gate::{self, Gate};
use super::step::{DatabaseRef, Step};

const CONDITION: ConditionType = ConditionType::Deployed;
const VERIFIED: ConditionType = ConditionType::EncryptionVerified;

/// Binds the existing database of the declared name, once it is there.
pub(super) fn adopt(draft: &mut Draft<'_>, cluster: &DesiredCluster, deployment: &Deployment, named: &[Database]) {
    let primary = &cluster.primary;
    let name = &deployment.request.name;
    match named {
        [] => {
            let message = format!("There is no database named {name:?}; it is bound once it is there.");
            draft.working(CONDITION, None, Reason::GateClosed, message);
            draft.poll();
        }
        [one] => {
            let message = format!("Found database {} named {name:?}; binding it.", one.id);
            draft.working(CONDITION, Some(primary), Reason::Deploying, message);
            draft.step(Step::RecordDatabase { region: primary.clone(), database: DatabaseRef::Id(one.id.clone()) });
        }
        [one, other, ..] => {
            let message = format!("There are several databases named {name:?}: {} and {}.", one.id, other.id);
            draft.stuck(CONDITION, None, Reason::DatabaseConflict, message, "rename all but one.");
        }
    }
}

/// Turns the encryption of a bound database on, where it is off. Whether that is all there is to do for now.
pub(super) fn encrypt(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    database: &Database,
    gates: &BTreeMap<Region, Gate>,
) -> bool {
    if !deployment.adopts {
        return false;
    }
    let primary = &cluster.primary;
    let id = &database.id;
    match (&database.encryption, &database.state) {
        (Some(Encryption::Impossible(why)), _) => {
            let message = format!("Database {id} cannot be put under the key: {why}. It is left as it is.");
            let fix = "make another cluster under the key and move the data, or take this object away.";
            draft.stuck(CONDITION, None, Reason::NotEncrypted, message, fix);
            true
        }
        (Some(Encryption::Off), DatabaseState::Active) => {
            if !all_open(draft, cluster, gates) {
                return true;
            }
            let message = format!("The encryption of database {id} is being turned on; every node syncs anew.");
            draft.working(CONDITION, Some(primary), Reason::Deploying, message);
            let not_after = draft.observed.at + draft.pass.settings.look_valid;
            let (region, database) = (primary.clone(), id.clone());
            if !draft.repeatable(Step::EncryptDatabase { region, database, not_after }) {
                draft.poll();
            }
            true
        }
        (Some(Encryption::Off), DatabaseState::Busy(words)) => {
            let message = format!("Database {id} is {words}; its encryption is turned on when it is active.");
            draft.working(CONDITION, Some(primary), Reason::DatabaseBusy, message);
            draft.poll();
            true
        }
        (Some(Encryption::Off | Encryption::On) | None, _) => false,
    }
}

/// Whether the gates of all regions let something start that is about all of them.
pub(super) fn all_open(draft: &mut Draft<'_>, cluster: &DesiredCluster, gates: &BTreeMap<Region, Gate>) -> bool {
    let shut: Vec<&Region> =
        cluster.regions.iter().filter(|region| !gates.get(*region).is_some_and(|gate| gate.may_deploy)).collect();
    for region in &shut {
        draft.working(CONDITION, Some(region), Reason::GateClosed, format!("{region} waits for its gate."));
    }
    shut.is_empty()
}

/// Whether a database that the cloud is changing is what it was: it was found right, and the cloud still says that it is
/// encrypted. Clouds scale and mend databases by themselves, which is nobody's concern here.
pub(super) fn stays(draft: &Draft<'_>, database: &Database) -> bool {
    draft.memory.was_ready && database.encryption == Some(Encryption::On)
}

/// Says what the cloud says of the encryption.
pub(super) fn verify(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    gates: &BTreeMap<Region, Gate>,
    database: &Database,
) {
    let id = &database.id;
    let cloud = linked.key.scope.cloud;
    match (&database.encryption, &database.state) {
        (Some(Encryption::On), state)
            if *state == DatabaseState::Active
                || (matches!(state, DatabaseState::Busy(_)) && stays(draft, database)) =>
        {
            if !cluster.regions.iter().all(|region| gates.get(region).is_some_and(|gate| gate.facts_hold)) {
                let message = format!(
                    "{cloud} reports that database {id} is encrypted with the project's key; what the gate checks of that key is not right now."
                );
                let reason = draft.gravest(None).unwrap_or(Reason::KeyNotReady);
                deploy::unproven(draft, reason, message);
                return;
            }
            let home = linked.key.home(&cluster.primary).clone();
            let seen = draft.seen(&home);
            let key = gate::subject(&linked.key, &home, &seen).present().map(|facts| facts.arn.to_string());
            let message = format!(
                "{cloud} reports that database {id} is encrypted with the project's key, which is {}, and that it can use it.",
                key.unwrap_or_default()
            );
            draft.fine(VERIFIED, None, Reason::EncryptionReported, &message);
        }
        (Some(Encryption::On), DatabaseState::Busy(words)) => {
            let message = format!("Database {id} is {words}; whether it is encrypted is said when it is active.");
            deploy::unproven(draft, Reason::Deploying, message);
        }
        (Some(Encryption::Off), _) if deployment.adopts => {
            deploy::unproven(draft, Reason::Deploying, format!("The encryption of database {id} is not on yet."));
        }
        (Some(Encryption::Off), _) => {
            not_encrypted(draft, format!("{cloud} reports that database {id} is not encrypted with the key."));
        }
        (Some(Encryption::Impossible(why)), _) => {
            not_encrypted(draft, format!("Database {id} is not encrypted with the key: {why}."));
        }
        (Some(Encryption::On) | None, _) => {
            deploy::unproven(
                draft,
                Reason::NotDeployedYet,
                format!("{cloud} does not say whether database {id} is encrypted."),
            );
        }
    }
}

fn not_encrypted(draft: &mut Draft<'_>, message: String) {
    let fix = "turn the encryption on in the cloud, or create a new database under the key and move the data.";
    draft.stuck(VERIFIED, None, Reason::NotEncrypted, message, fix);
}
