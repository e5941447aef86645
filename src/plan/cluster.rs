//! An `EncryptedCluster`: its key, its gates, its deployment, and what can be said of its encryption.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{DesiredCluster, LinkedKey};
use crate::domain::id::Region;
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::step::Step;
use super::{Check, GateReport, credentials, deploy, gate, terminate};

const AFTER_THE_KEY: [ConditionType; 4] = [
    ConditionType::GateOpen,
    ConditionType::Deployed,
    ConditionType::EncryptionVerified,
    ConditionType::CredentialsValid,
];

/// Plans an `EncryptedCluster`.
pub(super) fn plan(draft: &mut Draft<'_>, cluster: &DesiredCluster) {
    if !cluster.object.finalizer {
        draft.step(Step::AddFinalizer);
    }
    let Some(linked) = linked(draft, cluster) else { return };
    if !supported(draft, cluster, linked) {
        return;
    }
    let aws = credentials::aws_is_ours(draft, &linked.key);
    let cloud = credentials::cloud_is_ours(draft, &linked.key);
    if aws && cloud {
        draft.fine(
            ConditionType::CredentialsValid,
            None,
            Reason::CredentialsAccepted,
            "AWS and the cloud accept the credentials.",
        );
    }
    let gates = draft
        .desired
        .regions()
        .into_iter()
        .map(|region| (region.clone(), gate::plan_region(draft, linked, region, aws, cloud)))
        .collect();
    deploy::plan(draft, cluster, linked, &gates, cloud);
    terminate::removals(draft, cluster);
}

fn linked<'c>(draft: &mut Draft<'_>, cluster: &'c DesiredCluster) -> Option<&'c LinkedKey> {
    let condition = ConditionType::GateOpen;
    match &cluster.key {
        Reading::Present(linked) => return Some(linked),
        Reading::Absent => {
            let message = format!("CustomerKey {} does not exist (yet).", cluster.key_ref);
            shut(draft, "KeyExists", &message);
            draft.working(condition, None, Reason::KeyNotFound, message);
            draft.poll();
        }
        unknown @ Reading::Unknown(_) => match unknown.fault() {
            Some(fault) => {
                let fault = fault.clone();
                draft.fault(condition, None, &fault);
            }
            None => draft.blocked(&[condition], None, Reason::NotLookedYet, "The CustomerKey was not read yet."),
        },
    }
    let reason = draft.gravest(None).unwrap_or(Reason::KeyNotFound);
    draft.blocked(&AFTER_THE_KEY[1..], None, reason, "Waits for the CustomerKey.");
    None
}

/// Shuts the gate of every region where there is no key to judge it by: what was shown as open before must not stay so.
fn shut(draft: &mut Draft<'_>, name: &str, message: &str) {
    let regions: Vec<Region> = draft.desired.regions().into_iter().cloned().collect();
    for region in regions {
        let check = Check { name: name.to_owned(), passed: false, message: message.to_owned() };
        draft.report(&region).gate = Some(GateReport { open: false, checks: vec![check] });
    }
}

/// Whether the key may be used, this build can work with the clouds that the two objects name, and they name the same one.
fn supported(draft: &mut Draft<'_>, cluster: &DesiredCluster, linked: &LinkedKey) -> bool {
    let condition = ConditionType::Deployed;
    if !linked.allowed {
        // Nothing about the key is revealed to a namespace that may not use it.
        let message = format!("CustomerKey {} does not allow clusters of this namespace.", cluster.key_ref);
        shut(draft, "KeyAllowsNamespace", &message);
        draft.stuck(
            ConditionType::GateOpen,
            None,
            Reason::KeyNotAllowed,
            message,
            "have the key's owner set spec.allowedNamespaces.",
        );
        draft.blocked(&AFTER_THE_KEY[1..], None, Reason::KeyNotAllowed, "The key may not be used from this namespace.");
        return false;
    }
    let unsupported = (!linked.key.capabilities.supported)
        .then_some(linked.key.scope.cloud)
        .or_else(|| cluster.deployment.as_ref().filter(|d| !d.capabilities.supported).map(|d| d.scope.cloud));
    if let Some(cloud) = unsupported {
        let message = format!("This build cannot work with {cloud}.");
        shut(draft, "CloudSupported", &message);
        draft.stuck(condition, None, Reason::UpstreamNotSupported, message, "use a build that supports it.");
        let others = [ConditionType::GateOpen, ConditionType::EncryptionVerified, ConditionType::CredentialsValid];
        draft.blocked(&others, None, Reason::UpstreamNotSupported, "Nothing is looked at for an unsupported cloud.");
        return false;
    }
    if let Some(deployment) = cluster.deployment.as_ref().filter(|d| d.scope.cloud != linked.key.scope.cloud) {
        let message =
            format!("spec.deployment is for {} and the key is for {}.", deployment.scope.cloud, linked.key.scope.cloud);
        shut(draft, "SameCloud", &message);
        draft.stuck(condition, None, Reason::InvalidSpec, message, "refer to a key of the same cloud.");
        let others = [ConditionType::GateOpen, ConditionType::EncryptionVerified, ConditionType::CredentialsValid];
        draft.blocked(&others, None, Reason::InvalidSpec, "The deployment and the key are for different clouds.");
        return false;
    }
    if let Some(deployment) = cluster.deployment.as_ref().filter(|d| d.scope.id != linked.key.scope.id) {
        let (own, keys) = (&deployment.scope.id, &linked.key.scope.id);
        let message =
            format!("spec.deployment names {own:?} in {}, and the key is for {keys:?}.", deployment.scope.cloud);
        shut(draft, "SameScope", &message);
        draft.stuck(condition, None, Reason::InvalidSpec, message, "refer to a key of the same project.");
        let others = [ConditionType::GateOpen, ConditionType::EncryptionVerified, ConditionType::CredentialsValid];
        draft.blocked(&others, None, Reason::InvalidSpec, "The deployment and the key are for different projects.");
        return false;
    }
    true
}
