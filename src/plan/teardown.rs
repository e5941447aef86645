//! Deletion of an object.
//!
//! Under Retain nothing outside is touched, or even looked at: only an outcome that is not known yet holds the object
//! back, so that what it may have made is not forgotten.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{Afterlife, Desired};
use crate::domain::moment::{Moment, Span};

use super::draft::Draft;
use super::step::Step;

/// Plans the end of an object.
pub(super) fn plan(draft: &mut Draft<'_>) {
    let (afterlife, conditions): (_, &[ConditionType]) = match draft.desired {
        Desired::Key(key) => (
            key.afterlife,
            &[
                ConditionType::KeysReady,
                ConditionType::PoliciesReady,
                ConditionType::Registered,
                ConditionType::CredentialsValid,
            ],
        ),
        Desired::Cluster(cluster) => (
            cluster.afterlife,
            &[
                ConditionType::GateOpen,
                ConditionType::Deployed,
                ConditionType::EncryptionVerified,
                ConditionType::CredentialsValid,
            ],
        ),
    };
    if !draft.desired.object().finalizer {
        going(draft, conditions);
        return;
    }
    if let Some(left) = unresolved(draft) {
        let message = format!("An attempt whose outcome is not known is waited for, {} s at most.", left.as_seconds());
        draft.working(conditions[0], None, Reason::Deleting, message);
        draft.blocked(&conditions[1..], None, Reason::Deleting, "The object is being deleted.");
        draft.wait(left);
        return;
    }
    match afterlife {
        Afterlife::Retain => {
            going(draft, conditions);
            draft.step(Step::RemoveFinalizer);
        }
        Afterlife::TearDown => {
            draft.stuck(
                conditions[0],
                None,
                Reason::DeletionBlocked,
                "This build cannot tear anything down outside Kubernetes.".to_owned(),
                "set deletionPolicy to Retain; then the object goes and everything outside stays.",
            );
            draft.blocked(&conditions[1..], None, Reason::DeletionBlocked, "The object is being deleted.");
        }
    }
}

/// Says that nothing keeps the object from going.
fn going(draft: &mut Draft<'_>, conditions: &[ConditionType]) {
    let message = "The object is being deleted; everything outside Kubernetes stays.".to_owned();
    draft.working(conditions[0], None, Reason::Deleting, message);
    draft.blocked(&conditions[1..], None, Reason::Deleting, "The object is being deleted.");
}

/// How long an outcome that is not known has to be waited for still.
fn unresolved(draft: &Draft<'_>) -> Option<Span> {
    let settings = &draft.pass.settings;
    let keys = draft
        .memory
        .regions
        .values()
        .filter_map(|r| r.creating.as_ref())
        .map(|i| i.started_at + settings.create_settle);
    let registrations =
        draft.memory.regions.values().filter_map(|r| r.registering).map(|at| at + settings.deploy_settle);
    let deployment = draft.memory.deploying.iter().map(|i| i.started_at + settings.deploy_settle);
    let until: Option<Moment> = keys.chain(registrations).chain(deployment).max();
    until.map(|until| until.since(draft.now())).filter(|left| left.0 > 0)
}
