//! Finding a cluster's database again when the object was deleted under Retain and applied anew.
//!
//! # Protocol
//! Names of databases are not unique, and status goes with the object. So the id of the database that a cluster created is
//! noted as a tag on the key of its primary region, under the cluster's own name. An object that remembers nothing finds
//! its database by that note if a list of the cloud shows it; what is merely named alike is a conflict, as ever.

use std::collections::BTreeMap;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{DesiredCluster, LinkedKey};
use crate::domain::id::Region;
use crate::domain::observed::Database;
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::gate::{self, Gate};
use super::step::{DatabaseRef, Step};

const CONDITION: ConditionType = ConditionType::Deployed;
/// The most tags that a KMS key can have (<https://docs.aws.amazon.com/kms/latest/APIReference/API_TagResource.html>).
const MOST_TAGS: usize = 50;

/// Looks for the noted database among those of the declared name. Whether that is all there is to do for now.
pub(super) fn plan(draft: &mut Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey, named: &[Database]) -> bool {
    let primary = &cluster.primary;
    match noted(draft, cluster, linked) {
        Reading::Present(id) if named.iter().any(|database| database.id == id) => {
            let message = format!("Database {id} is this object's, as its key says; recording it.");
            draft.working(CONDITION, Some(primary), Reason::Deploying, message);
            draft.step(Step::RecordDatabase { region: primary.clone(), database: DatabaseRef::Id(id) });
            true
        }
        Reading::Present(id) => {
            // A list may lag; only a database that is missing again and again is gone.
            let gone = draft.look_at_deployment(primary, &("noted database", &id)) >= draft.pass.settings.gate_looks;
            if !gone {
                let message = format!(
                    "The key says that this object created database {id}, and the cloud does not list it; looking again."
                );
                draft.working(CONDITION, Some(primary), Reason::DeployUncertain, message);
                let spacing = draft.pass.settings.gate_spacing;
                draft.wait(spacing);
            }
            !gone
        }
        Reading::Unknown(_) if !named.is_empty() => {
            let reason = draft.gravest(Some(primary)).unwrap_or(Reason::NotLookedYet);
            let message = format!(
                "There is a database named {:?}; whether it is this object's is known once the tags of the key in {primary} are seen.",
                cluster.deployment.as_ref().map_or("", |deployment| deployment.request.name.as_str())
            );
            draft.blocked(&[CONDITION], Some(primary), reason, &message);
            true
        }
        // With an unknown note and no database the gate, which needs the tags as well, is shut.
        Reading::Absent | Reading::Unknown(_) => false,
    }
}

/// The database that the key of the primary region says this cluster created.
fn noted(draft: &Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey) -> Reading<String> {
    let (key, primary) = (&linked.key, linked.key.home(&cluster.primary));
    let seen = draft.seen(primary);
    if gate::subject(key, primary, &seen).is_absent() {
        return Reading::Absent;
    }
    let tags = match seen.tags {
        Reading::Present(tags) => tags,
        Reading::Absent => return Reading::NOT_LOOKED,
        Reading::Unknown(why) => return Reading::Unknown(why),
    };
    // What stands on a key that is not ours, or not ours alone, proves nothing.
    let holder = &draft.pass.settings.holder;
    if !gate::proven(key, primary, &tags) || gate::other_holder(key, primary, &tags, holder).is_some() {
        return Reading::NOT_LOOKED;
    }
    tags.get(&cluster.object.database_tag()).cloned().map_or(Reading::Absent, Reading::Present)
}

/// Notes the recorded database, where that is not done yet and everything about the key is right.
pub(super) fn note(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    linked: &LinkedKey,
    id: &str,
    gates: &BTreeMap<Region, Gate>,
) {
    let primary = &cluster.primary;
    if draft.observed.database.by_id.present().is_none_or(|database| database.id != id) {
        return;
    }
    let home = linked.key.home(primary);
    let seen = draft.seen(home);
    let tag = cluster.object.database_tag();
    let key = gate::subject(&linked.key, home, &seen).present().map(|facts| facts.arn.clone());
    let (Some(key), Some(tags)) = (key, seen.tags.present()) else { return };
    let right = gates.get(primary).is_some_and(|gate| gate.facts_hold);
    let room = tags.contains_key(&tag) || tags.len() < MOST_TAGS;
    if !right || !room || tags.get(&tag).is_some_and(|noted| noted == id) {
        return;
    }
    let (region, database) = (home.clone(), id.to_owned());
    draft.repeatable(Step::NoteDatabase { region, key, tag, database });
}
