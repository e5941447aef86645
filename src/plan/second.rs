//! What a gate asks beside the cluster's own key: the key for backups, and, of a region that is a copy of the first one,
//! what has to be true there before.

use crate::domain::condition::Reason;
use crate::domain::desired::{BackupKey, Desired, DesiredCluster, DesiredKey, LinkedKey};
use crate::domain::id::Region;
use crate::domain::observed::{KeyState, RegionSeen};
use crate::domain::reading::{Reading, Why};

use super::attested::{self, Doubt};
use super::draft::Draft;
use super::gate::{self, Failure, Verdict, not};
use super::{entrusted, region_key};

/// The further checks of a region's gate.
pub(super) fn verdicts(draft: &Draft<'_>, linked: &LinkedKey, region: &Region) -> Vec<Verdict> {
    let Desired::Cluster(cluster) = draft.desired else { return Vec::new() };
    let mut verdicts = cluster.backup_taken().map(|key| of_backup(draft, linked, key, region)).unwrap_or_default();
    if *region != cluster.primary && linked.key.capabilities.has_portal() && cluster.deployment.is_some() {
        verdicts.extend(of_copy(draft, cluster, linked, region));
    }
    verdicts
}

/// What these checks rest on: equal looks are equal in all of this.
pub(super) fn facts(draft: &Draft<'_>, region: &Region) -> impl std::hash::Hash + use<> {
    let Desired::Cluster(cluster) = draft.desired else { return None };
    let of = |region: &Region| {
        let linked = cluster.backup.as_ref()?.key.present()?;
        let seen = draft.observed.backup.regions.get(region)?;
        let subject = gate::subject(&linked.key, region, seen);
        Some(region_key::gate_facts(subject.present()?, seen))
    };
    let primary = (*region != cluster.primary && cluster.backup.is_some()).then(|| of(&cluster.primary));
    let policy = (*region != cluster.primary).then(|| draft.seen(&cluster.primary).policy.present().cloned());
    Some((
        of(region),
        primary,
        policy.filter(|_| cluster.deployment.as_ref().is_some_and(|d| d.capabilities.has_portal())),
    ))
}

/// Whether the key for backups, where there is one, can be used in every region: a look at less than everything remembers no
/// more of it.
pub(super) fn as_usual(draft: &Draft<'_>) -> bool {
    let Desired::Cluster(cluster) = draft.desired else { return true };
    let Some(backup) = cluster.backup_taken() else { return true };
    backup.key.present().is_some_and(|linked| {
        cluster.regions.iter().all(|region| {
            let seen = seen(draft, region);
            gate::subject(&linked.key, region, &seen).present().is_some_and(|facts| facts.state == KeyState::Enabled)
        })
    })
}

fn of_backup(draft: &Draft<'_>, linked: &LinkedKey, backup: &BackupKey, region: &Region) -> Vec<Verdict> {
    let name = &backup.key_ref;
    let one = |outcome| vec![Verdict { name: "BackupKeyExists", outcome }];
    let other = match &backup.key {
        Reading::Present(other) => other,
        Reading::Absent => {
            let message = format!("CustomerKey {name}, which spec.backupKeyRef names, does not exist (yet).");
            return one(Err(not(Reason::KeyNotFound, message, "")));
        }
        unknown @ Reading::Unknown(_) => return one(Err(Failure::Unseen(unknown.fault().cloned()))),
    };
    if !other.allowed {
        // Nothing about the key is revealed to a namespace that may not use it.
        let message = format!("CustomerKey {name} does not allow clusters of this namespace.");
        return one(Err(not(Reason::KeyNotAllowed, message, "have the key's owner set spec.allowedNamespaces.")));
    }
    if other.key.scope.cloud != linked.key.scope.cloud || other.key.scope.id != linked.key.scope.id {
        let message = format!("CustomerKey {name}, for backups, is for another cloud or organization.");
        return one(Err(not(Reason::InvalidSpec, message, "refer to a key of the same cloud and organization.")));
    }
    let seen = seen(draft, region);
    let settings = &draft.pass.settings;
    let caller = draft.observed.backup.caller.present();
    let aws = settings.may_call_aws_for(&other.key)
        && caller.is_some_and(|caller| caller.account == other.key.access.account.as_str());
    let verdicts = gate::facts(other, region, &seen, &settings.holder, aws, true);
    verdicts.into_iter().filter_map(|v| Some(Verdict { name: renamed(v.name)?, ..v })).collect()
}

fn seen(draft: &Draft<'_>, region: &Region) -> RegionSeen {
    draft.observed.backup.regions.get(region).cloned().unwrap_or_default()
}

fn renamed(name: &'static str) -> Option<&'static str> {
    Some(match name {
        "KeyAllowsNamespace" => "BackupKeyAllowsNamespace",
        "KeyNotDeleting" => "BackupKeyNotDeleting",
        "KeyHasRegion" => "BackupKeyHasRegion",
        "AccountIsOurs" => "BackupAccountIsOurs",
        "KeyEnabled" => "BackupKeyEnabled",
        "KeyIsOurs" => "BackupKeyIsOurs",
        "PolicyHolds" => "BackupPolicyHolds",
        _ => return None,
    })
}

/// Of a second region: the keys of the first one let it be copied, and the first one is known to be under them.
fn of_copy(draft: &Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey, region: &Region) -> Vec<Verdict> {
    let primary = &cluster.primary;
    let seen_of = [draft.seen(primary), seen(draft, primary)];
    let names = ["PrimaryExtended", "BackupPrimaryExtended"];
    let mut verdicts: Vec<Verdict> = cluster
        .keys(linked)
        .zip(names.into_iter().zip(&seen_of))
        .map(|(key, (name, seen))| Verdict { name, outcome: extended(key, primary, region, seen) })
        .collect();
    verdicts.push(Verdict { name: "PrimaryAttested", outcome: attested(draft, cluster, linked) });
    verdicts
}

/// The policy of the first region's key, as it was seen, lets the copy be made.
fn extended(key: &DesiredKey, primary: &Region, region: &Region, seen: &RegionSeen) -> Result<String, Failure> {
    let text = match &seen.policy {
        Reading::Present(text) => text,
        Reading::Absent => return Err(Failure::Waits("Judged once the key of the first region is seen.")),
        unknown @ Reading::Unknown(_) => return Err(Failure::Unseen(unknown.fault().cloned())),
    };
    let Err(missing) = entrusted::held(key, primary, Some(region), text) else {
        return Ok(format!("The key policy of {primary} lets the copy in {region} be made."));
    };
    Err(if entrusted::given(key, primary, Some(region)).is_empty() {
        let fix = format!(
            "copy the policy that the portal suggests for the primary's key into spec.policy.documents of CustomerKey {}/{}, with replicationTo: {region}.",
            key.owner.namespace, key.owner.name
        );
        not(Reason::AwaitingAction, missing, &fix)
    } else {
        not(Reason::KeyNotReady, missing, "")
    })
}

/// A second region takes a key if and only if the first one has one, which was said when that was made, or never.
fn attested(draft: &Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey) -> Result<String, Failure> {
    let Some(deployment) = &cluster.deployment else { return Ok("Somebody else deploys.".to_owned()) };
    let database = match &draft.observed.database.by_id {
        Reading::Present(database) => database,
        Reading::Unknown(why) if !matches!(why, Why::NotLooked) => {
            return Err(Failure::Unseen(draft.observed.database.by_id.fault().cloned()));
        }
        Reading::Absent | Reading::Unknown(_) => {
            return Err(Failure::Waits("Judged once the first region is deployed."));
        }
    };
    if let Some(message) = attested::too_old(draft, cluster, linked, database) {
        let message = format!(
            "{message} A second region can be put under a key only if the first one is, and that cannot be changed any more."
        );
        let fix = "create a new one under the key and move the data; it can be replicated then.";
        return Err(not(Reason::ExistingDatabaseNotEncrypted, message, fix));
    }
    attested::judge(draft, cluster, deployment, linked, database).map_err(|doubt| {
        let message = match doubt {
            Doubt::Not(message) => message,
            Doubt::Unseen(_) => return Failure::Waits("Compared once the first region's key is seen."),
        };
        let message = format!(
            "A second region can be put under a key only if the first one is, and nothing proves that yet: {message} If it was made without the key, it can never be replicated under one."
        );
        let field = deployment.capabilities.portal.as_ref().map_or("the spec", |portal| portal.attest.as_str());
        not(Reason::AwaitingAttestation, message, &format!("attest in {field} what the portal shows, or create a new one under the key."))
    })
}
