//! What a human does in a cloud's portal, step by step, and what is believed of the result.
//!
//! # Guarantees
//! No ARN is handed out for pasting before the gate of its region is open. A state is believed only after it was seen
//! several times in a row, because the cloud's reads are not monotonic.

use std::collections::BTreeMap;

use crate::domain::condition::{Actor, ConditionType, Reason};
use crate::domain::desired::{DatabaseRequest, Deployment, DesiredCluster, LinkedKey};
use crate::domain::id::Region;
use crate::domain::observed::{Database, KeyFacts};
use crate::domain::portal::{BucketKeys, HumanStep, Portal};
use crate::domain::reading::Reading;

use super::deploy::state_text;
use super::draft::Draft;
use super::gate::Gate;
use super::{entrusted, gate};

const CONDITION: ConditionType = ConditionType::Deployed;
const FOLLOW: &str = "follow the steps in status.humanSteps (cmk-operator why prints them).";

/// The key for backups of a region, where it is another one and was seen.
pub(super) fn backup_facts(draft: &Draft<'_>, cluster: &DesiredCluster, region: &Region) -> Option<KeyFacts> {
    let linked = cluster.backup.as_ref()?.key.present()?;
    let seen = draft.observed.backup.regions.get(region)?;
    gate::subject(&linked.key, region, seen).present().map(|facts| (*facts).clone())
}

/// The keys that a region's database has to be under, as this pass saw them.
pub(super) fn keys(
    draft: &Draft<'_>,
    cluster: &DesiredCluster,
    linked: &LinkedKey,
    region: &Region,
) -> Option<BucketKeys> {
    let data = gate::subject(&linked.key, region, &draft.seen(region)).present()?.arn.clone();
    let backup = match &cluster.backup {
        Some(_) => backup_facts(draft, cluster, region)?.arn,
        None => data.clone(),
    };
    Some(BucketKeys { data, backup })
}

/// What a cloud is asked for in a region, with the keys where it takes them in the same call.
pub(super) fn request(
    draft: &Draft<'_>,
    cluster: &DesiredCluster,
    linked: &LinkedKey,
    deployment: &Deployment,
    region: &Region,
) -> DatabaseRequest {
    let mut request = deployment.request.clone();
    if deployment.capabilities.has_portal() {
        let keys = keys(draft, cluster, linked, region);
        request.group.get_or_insert_default().keys = keys;
    }
    request
}

/// The database is to be made by hand, and none is named yet.
pub(super) fn to_be_made(draft: &mut Draft<'_>, cluster: &DesiredCluster, deployment: &Deployment, linked: &LinkedKey) {
    let primary = &cluster.primary;
    let Some(portal) = deployment.capabilities.portal.clone() else { return };
    let open = draft.report(primary).gate.as_ref().is_some_and(|gate| gate.open);
    let Some(keys) = keys(draft, cluster, linked, primary).filter(|_| open) else {
        draft.working(CONDITION, Some(primary), Reason::GateClosed, format!("{primary} waits for its gate."));
        copy_policies(draft, cluster, linked, primary);
        return;
    };
    let message = format!(
        "The gate of {primary} is open: a {} named {:?} can be made there now, by hand, under {}{}.",
        portal.database,
        deployment.request.name,
        keys.data,
        if keys.backup == keys.data { String::new() } else { format!(" and, for backups, {}", keys.backup) }
    );
    draft.stuck(CONDITION, Some(primary), Reason::AwaitingAction, message, FOLLOW);
    let named = match &draft.observed.database.named {
        Reading::Present(all) if !all.is_empty() => {
            let ids: Vec<&str> = all.iter().map(|database| database.id.as_str()).collect();
            format!(" There is one of this name already: {}.", ids.join(", "))
        }
        _ => String::new(),
    };
    draft.human_steps.extend(paste(&portal, &portal.form, primary, &keys));
    draft.human_steps.push(HumanStep {
        title: "Submit the form and say what came of it".to_owned(),
        region: Some(primary.clone()),
        who: Actor::CloudAdministrator,
        instructions: format!(
            "Name the {} {:?}, submit the form, and put the id that the portal shows into {}.{named}",
            portal.database, deployment.request.name, portal.bind
        ),
        paste: None,
    });
}

/// Phase 2: the ARNs go from here into the form.
fn paste(portal: &Portal, form: &str, region: &Region, keys: &BucketKeys) -> Vec<HumanStep> {
    let step = |bucket: &str, arn: String| HumanStep {
        title: format!("Paste the key of the {bucket} bucket"),
        region: Some(region.clone()),
        who: Actor::CloudAdministrator,
        instructions: format!(
            "In {form}, paste this ARN into the field for the key of the {bucket} bucket. {}.",
            portal.prerequisites
        ),
        paste: Some(arn),
    };
    vec![step("data", keys.data.to_string()), step("backup", keys.backup.to_string())]
}

/// Phase 1, of every key of the region that lacks it.
fn copy_policies(draft: &mut Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey, region: &Region) {
    for key in cluster.keys(linked) {
        let Some(portal) = &key.capabilities.portal else { continue };
        if key.regions.contains_key(region) && entrusted::given(key, region, None).is_empty() {
            draft.human_steps.extend(entrusted::steps(key, region, portal));
        }
    }
}

/// Whether what the cloud shows of a database may be taken for true, and is where it has to be. Says what keeps it from
/// that.
pub(super) fn believed(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    database: &Database,
) -> bool {
    let Some(portal) = deployment.capabilities.portal.clone() else { return true };
    let primary = &cluster.primary;
    let replica = draft.observed.database.replica.clone();
    if cluster.secondaries().next().is_some() && matches!(replica, Reading::Unknown(_)) {
        match replica.fault() {
            Some(fault) => draft.fault(CONDITION, None, &fault.clone()),
            None => draft.blocked(&[CONDITION], None, Reason::NotLookedYet, "Not looked at yet."),
        }
        return false;
    }
    let shown = state_text(&database.state);
    let known = cluster
        .regions
        .iter()
        .all(|region| draft.remembered(region).deployment == database.regions.get(region.as_str()).map(state_text));
    let facts = (&database.state, &database.region, &database.regions, &replica);
    let looks = draft.look_at_deployment(primary, &facts);
    if !known && looks < portal.believed_after {
        let what = format!("The cloud shows {} {} as {shown}", portal.database, database.id);
        let served = draft.memory.was_ready;
        draft.not_believed_yet(None, &what, (looks, portal.believed_after), served);
        return false;
    }
    in_place(draft, cluster, &portal, database)
}

/// Whether the database, and its copy, lie in the declared regions.
fn in_place(draft: &mut Draft<'_>, cluster: &DesiredCluster, portal: &Portal, database: &Database) -> bool {
    let primary = &cluster.primary;
    let elsewhere = |region: &str| if region.is_empty() { "no region of AWS".to_owned() } else { region.to_owned() };
    if database.region != primary.as_str() {
        let message = format!(
            "The {} {} lies in {}, and the spec declares {primary}, where the key is: a key and what it encrypts have to lie in the same region.",
            portal.database,
            database.id,
            elsewhere(&database.region)
        );
        let fix = format!("bind one that lies in {primary}, under the key of that region.");
        draft.stuck(CONDITION, None, Reason::WrongRegion, message, &fix);
        return false;
    }
    let copied_to = draft.observed.database.replica.present().and_then(|replica| replica.region.clone());
    if let (Some(to), Some(second)) = (copied_to, cluster.secondaries().next())
        && to != second.as_str()
    {
        let message = format!(
            "The {} {} is replicated to {}, and the spec declares {second}. That is set up once and cannot be changed.",
            portal.database,
            database.id,
            elsewhere(&to)
        );
        let fix = format!("declare the region that it is replicated to in place of {second}.");
        draft.stuck(CONDITION, Some(second), Reason::WrongRegion, message, &fix);
        return false;
    }
    let words = draft.observed.database.replica.present().map(|replica| replica.words.clone());
    if let Some(words) = words.filter(|words| !words.is_empty()) {
        draft.remark(CONDITION, Reason::DeployedEverywhere, words, "");
    }
    true
}

/// The second region is to be set up by hand, and is not.
pub(super) fn to_be_copied(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    region: &Region,
    gates: &BTreeMap<Region, Gate>,
) {
    let Some(portal) = deployment.capabilities.portal.clone() else { return };
    let open = gates.contains_key(region) && draft.report(region).gate.as_ref().is_some_and(|gate| gate.open);
    let Some(keys) = keys(draft, cluster, linked, region).filter(|_| open) else {
        draft.working(CONDITION, Some(region), Reason::GateClosed, format!("{region} waits for its gate."));
        copy_policies(draft, cluster, linked, region);
        extend_primary(draft, cluster, linked, region);
        return;
    };
    let message = format!("The gate of {region} is open: replication to it can be set up there now, by hand.");
    draft.stuck(CONDITION, Some(region), Reason::AwaitingAction, message, FOLLOW);
    draft.human_steps.extend(paste(&portal, &portal.replication_form, region, &keys));
    draft.human_steps.push(HumanStep {
        title: "Submit the form".to_owned(),
        region: Some(region.clone()),
        who: Actor::CloudAdministrator,
        instructions:
            "Submit the form. That is done once and cannot be changed; the operator sees by itself what becomes of it."
                .to_owned(),
        paste: None,
    });
}

/// The step that lets the second region read under the first one's keys, of every key that lacks it.
fn extend_primary(draft: &mut Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey, region: &Region) {
    let primary = &cluster.primary;
    for key in cluster.keys(linked) {
        let Some(portal) = &key.capabilities.portal else { continue };
        if !entrusted::given(key, primary, Some(region)).is_empty() {
            continue;
        }
        draft.human_steps.push(HumanStep {
            title: "Copy the policy for the primary's key".to_owned(),
            region: Some(primary.clone()),
            who: Actor::Author,
            instructions: format!(
                "Open {}, choose {region}, and copy the second policy that it suggests, the one to append to the key of {primary}, into spec.policy.documents of CustomerKey {}/{}.",
                portal.replication_form, key.owner.namespace, key.owner.name
            ),
            paste: Some(format!(
                "spec:\n  policy:\n    documents:\n    - name: replication-to-{region}\n      regions: [{primary}]\n      replicationTo: {region}\n      json: |\n        <the second policy from the form>\n"
            )),
        });
    }
}
