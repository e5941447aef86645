//! What a human saw of a database's encryption, where the cloud has no call that says it.
//!
//! # Guarantees
//! An attestation counts only for the very database that is bound and the very keys that the object is for; one that names
//! anything else counts for nothing, and the difference is said. A database that is older than its key is never taken for
//! encrypted with it, whatever was attested.

use crate::domain::condition::{Actor, ConditionType, Reason, Truth};
use crate::domain::desired::{Deployment, DesiredCluster, LinkedKey};
use crate::domain::moment::Moment;
use crate::domain::observed::Database;
use crate::domain::portal::{BucketKeys, HumanStep, Portal};

use super::draft::{Draft, Said};
use super::{gate, hand_off};

const CONDITION: ConditionType = ConditionType::EncryptionVerified;

/// Says what is known of the encryption of a database that was seen.
pub(super) fn plan(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    database: &Database,
) {
    if let Some(message) = too_old(draft, cluster, linked, database) {
        let fix = "create a new one under the key and move the data.";
        draft.stuck(CONDITION, None, Reason::ExistingDatabaseNotEncrypted, message, fix);
        return;
    }
    match judge(draft, cluster, deployment, linked, database) {
        Ok(message) => draft.fine(CONDITION, None, Reason::Attested, &message),
        Err(Doubt::Unseen(message)) => {
            // What keeps the key from being seen is said of the key; nobody has to attest anything again because of it.
            let reason = draft.said(ConditionType::GateOpen, &cluster.primary).unwrap_or(Reason::KeyNotReady);
            draft.blocked(&[CONDITION], None, reason, &message);
        }
        Err(Doubt::Not(message)) => {
            let keys = hand_off::keys(draft, cluster, linked, &cluster.primary);
            let portal = deployment.capabilities.portal.as_ref();
            let here = database.region == cluster.primary.as_str();
            let fix = portal
                .filter(|_| here)
                .map(|p| format!("look at {} and write what it shows into {}.", p.proof, p.attest));
            draft.say(Said {
                condition: CONDITION,
                region: None,
                truth: Truth::Unknown,
                reason: Reason::AwaitingAttestation,
                message,
                fix: fix.unwrap_or_default(),
            });
            if let (Some(portal), Some(keys), true) = (portal, keys, here) {
                draft.human_steps.push(step(cluster, portal, &database.id, &keys));
            }
        }
    }
}

/// Why an attestation counts for nothing, as far as can be seen.
pub(super) enum Doubt {
    /// There is none, or it is about something else.
    Not(String),
    /// The keys that it is compared with were not seen in this pass.
    Unseen(String),
}

/// Whether what was attested is about this database and these keys; if not, why not.
pub(super) fn judge(
    draft: &Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    database: &Database,
) -> Result<String, Doubt> {
    if database.region != cluster.primary.as_str() && deployment.capabilities.has_portal() {
        let message = format!("Whatever is attested of {} counts for nothing: it lies in another region.", database.id);
        return Err(Doubt::Not(message));
    }
    let Some(attested) = &deployment.attested else {
        return Err(Doubt::Not(Reason::AwaitingAttestation.text().to_owned()));
    };
    let who = format!("{} on {}", attested.by, attested.date);
    if attested.database != database.id {
        return Err(Doubt::Not(format!(
            "What was attested by {who} is about {}, and this object's database is {}.",
            attested.database, database.id
        )));
    }
    let Some(keys) = hand_off::keys(draft, cluster, linked, &cluster.primary) else {
        return Err(Doubt::Unseen(format!("What was attested by {who} is compared once the key is seen.")));
    };
    let differs = [("data", &attested.keys.data, &keys.data), ("backup", &attested.keys.backup, &keys.backup)];
    match differs.iter().find(|(_, attested, ours)| attested != ours) {
        Some((bucket, attested, ours)) => Err(Doubt::Not(format!(
            "What was attested by {who} names {attested} for the {bucket} bucket, and the key is {ours}."
        ))),
        None => Ok(format!(
            "The cloud's portal shows database {} under {}{}, as attested by {who}.",
            database.id,
            keys.data,
            if keys.backup == keys.data { String::new() } else { format!(" and {}", keys.backup) }
        )),
    }
}

/// Whether a key was made after the database, so that it cannot have been named when that was made.
pub(super) fn too_old(
    draft: &Draft<'_>,
    cluster: &DesiredCluster,
    linked: &LinkedKey,
    database: &Database,
) -> Option<String> {
    let primary = &cluster.primary;
    let made = database.created_at? + draft.pass.settings.clock_skew;
    let of_data =
        gate::subject(&linked.key, primary, &draft.seen(primary)).present().and_then(|facts| facts.created_at);
    let of_backup = hand_off::backup_facts(draft, cluster, primary).and_then(|facts| facts.created_at);
    let later = |at: &Moment| made < *at;
    let key = of_data.into_iter().chain(of_backup).find(later)?;
    Some(format!(
        "Database {} was made before its key, which is of {key}, so it is not encrypted with it.",
        database.id
    ))
}

fn step(cluster: &DesiredCluster, portal: &Portal, id: &str, keys: &BucketKeys) -> HumanStep {
    let field = portal.attest.rsplit('.').next().unwrap_or_default();
    let group = portal.bind.rsplit('.').next().unwrap_or_default();
    HumanStep {
        title: "Attest what the portal shows".to_owned(),
        region: Some(cluster.primary.clone()),
        who: Actor::CloudAdministrator,
        instructions: format!(
            "Open {} {id}. Only if it shows ENABLED with exactly these keys, put this into {}, with your name and the day. If it shows anything else, do not load data into it: it can never be put under a key.",
            portal.proof, portal.attest
        ),
        paste: Some(format!(
            "{field}:\n  {group}: {id}\n  by: <your name>\n  date: <YYYY-MM-DD>\n  dataBucketKeyArn: {}\n  backupBucketKeyArn: {}\n",
            keys.data, keys.backup
        )),
    }
}
