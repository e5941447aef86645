//! Deletion of an object.
//!
//! Under Retain nothing outside is touched, or even looked at: only an outcome that is not known yet holds the object
//! back, so that what it may have made is not forgotten. What is to be torn down goes by [`schedule`](super::schedule)
//! and [`terminate`](super::terminate); whatever blocks that is said, and changing to Retain always releases the object.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::confirmation::Token;
use crate::domain::desired::{Afterlife, Desired, Object};
use crate::domain::fault::Fault;
use crate::domain::id::Region;
use crate::domain::memory::RegionMemory;
use crate::domain::moment::{Moment, Span};
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::finding::{Finding, with_fix};
use super::step::Step;
use super::{RemovalReport, schedule, terminate};

/// What keeps something from being torn down, and who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocker {
    pub(super) region: Option<Region>,
    pub(super) message: String,
    pub(super) fix: String,
}

/// What an object shows first, and then all the rest, in the order of its conditions.
pub(super) fn conditions(desired: &Desired) -> &'static [ConditionType] {
    match desired {
        Desired::Key(_) => &[
            ConditionType::KeysReady,
            ConditionType::PoliciesReady,
            ConditionType::Registered,
            ConditionType::CredentialsValid,
        ],
        Desired::Cluster(_) => &[
            ConditionType::GateOpen,
            ConditionType::Deployed,
            ConditionType::EncryptionVerified,
            ConditionType::CredentialsValid,
        ],
    }
}

/// Plans the end of an object.
pub(super) fn plan(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    if !desired.object().finalizer {
        going(draft, "The object is being deleted; everything outside Kubernetes stays.");
        return;
    }
    if let Some(left) = unresolved(draft) {
        let conditions = conditions(desired);
        let message = format!("An attempt whose outcome is not known is waited for, {} s at most.", left.as_seconds());
        draft.working(conditions[0], None, Reason::Deleting, message);
        draft.blocked(&conditions[1..], None, Reason::Deleting, "The object is being deleted.");
        draft.wait(left);
        return;
    }
    match (desired.afterlife(), desired) {
        (Afterlife::Retain, _) => release(draft, "The object is being deleted; everything outside Kubernetes stays."),
        (Afterlife::TearDown, Desired::Key(key)) => schedule::plan(draft, key),
        (Afterlife::TearDown, Desired::Cluster(cluster)) => terminate::plan(draft, cluster),
    }
}

/// Lets the object go.
pub(super) fn release(draft: &mut Draft<'_>, message: &str) {
    going(draft, message);
    draft.step(Step::RemoveFinalizer);
}

/// Says that nothing keeps the object from going, or what is done before it goes.
pub(super) fn going(draft: &mut Draft<'_>, message: &str) {
    let conditions = conditions(draft.desired);
    draft.working(conditions[0], None, Reason::Deleting, message.to_owned());
    draft.blocked(&conditions[1..], None, Reason::Deleting, "The object is being deleted.");
}

/// Says what blocks the deletion of the object, and what lets it go all the same.
pub(super) fn block(draft: &mut Draft<'_>, blockers: Vec<Blocker>, token: Option<&Token>) {
    let conditions = conditions(draft.desired);
    let report = report(&blockers, token);
    for Blocker { region, message, fix } in blockers {
        draft.stuck(conditions[0], region.as_ref(), Reason::DeletionBlocked, message, &fix);
    }
    draft.stuck(
        conditions[0],
        None,
        Reason::DeletionBlocked,
        "Nothing outside is deleted while the deletion is blocked.".to_owned(),
        "to let the object go and keep everything outside, set spec.deletionPolicy to Retain.",
    );
    draft.blocked(&conditions[1..], None, Reason::DeletionBlocked, "The object is being deleted.");
    draft.deletion = Some(report);
}

/// Keeps showing the token while what it confirmed is under way: it stays confirmed, however often that has to be looked at
/// again, or done again.
pub(super) fn keep_shown(draft: &mut Draft<'_>, token: Option<&Token>) {
    let shown = token.filter(|token| draft.memory.deletion.as_deref() == Some(token.as_str()));
    if shown.is_some() {
        draft.deletion = Some(report(&[], shown));
    }
}

/// What status shows of a deletion or removal that is blocked.
pub(super) fn report(blockers: &[Blocker], token: Option<&Token>) -> RemovalReport {
    let text = |blocker: &Blocker| {
        let place = blocker.region.as_ref().map(|region| format!("{region}: ")).unwrap_or_default();
        format!("{place}{}", with_fix(&blocker.message, &blocker.fix))
    };
    RemovalReport {
        released: false,
        blocked_by: blockers.iter().map(text).collect(),
        token: token.map(|token| token.as_str().to_owned()),
    }
}

/// What keeps anything of an object from being written outside.
pub(super) fn held_back(object: &Object, observe_only: bool) -> Option<Blocker> {
    if object.paused {
        let message = "The annotation cmk-operator.io/paused stops every write outside.".to_owned();
        return Some(Blocker { region: None, message, fix: "remove the annotation.".to_owned() });
    }
    observe_only.then(|| Blocker {
        region: None,
        message: "Under managementPolicy Observe nothing outside is written.".to_owned(),
        fix: "set spec.managementPolicy of the CustomerKey to Manage.".to_owned(),
    })
}

/// Something that could not be seen, and so counts as in the way.
pub(super) fn unseen<T>(region: Option<&Region>, what: &str, reading: &Reading<T>) -> Blocker {
    let why = reading.fault().map_or_else(|| "it was not looked at".to_owned(), Fault::to_string);
    Blocker {
        region: region.cloned(),
        message: format!("{what} could not be seen, which counts as in use: {why}."),
        fix: "see to it that it can be seen; the operator looks again by itself.".to_owned(),
    }
}

/// What a finding keeps from being torn down.
pub(super) fn of_finding(finding: &Finding, then: &str) -> Blocker {
    let fix = if finding.fix.is_empty() {
        "see to it that it can be seen; the operator looks again by itself."
    } else {
        &finding.fix
    };
    Blocker { region: finding.region.clone(), message: format!("{then}: {}", finding.message), fix: fix.to_owned() }
}

/// That nobody has confirmed the end of things.
pub(super) fn unconfirmed(draft: &Draft<'_>, region: Option<&Region>, message: String, token: &str) -> Blocker {
    let object = draft.desired.object();
    let kind = match draft.desired {
        Desired::Key(_) => "customerkey",
        Desired::Cluster(_) => "encryptedcluster",
    };
    let fix = format!(
        "if that is meant: kubectl annotate {kind} --namespace {} {} --overwrite cmk-operator.io/confirm-deletion={token}",
        object.namespace, object.name
    );
    Blocker { region: region.cloned(), message, fix }
}

/// Whether a human has confirmed what the token stands for, which status has to have shown before.
pub(super) fn confirmed(draft: &Draft<'_>, token: &Token, shown: Option<&String>) -> bool {
    let text = token.as_str();
    shown.is_some_and(|shown| shown == text) && draft.desired.object().confirmed.iter().any(|c| c == text)
}

/// The token for the deletion of the object with these things.
pub(super) fn token<T: ToString>(object: &Object, things: impl IntoIterator<Item = T>) -> Token {
    let asked = object.deletion_asked.map(|at| at.to_string()).unwrap_or_default();
    Token::of(&object.uid, &asked, things)
}

/// How long an outcome that is not known has to be waited for still.
fn unresolved(draft: &Draft<'_>) -> Option<Span> {
    let settings = &draft.pass.settings;
    let regions = draft.memory.regions.values().filter_map(|memory| settled_at(draft, memory));
    let deployment = draft.memory.deploying.iter().map(|i| i.started_at + settings.deploy_settle);
    left(draft, regions.chain(deployment).max())
}

/// The same for one region of a key.
pub(super) fn unresolved_in(draft: &Draft<'_>, memory: &RegionMemory) -> Option<Span> {
    left(draft, settled_at(draft, memory))
}

fn settled_at(draft: &Draft<'_>, memory: &RegionMemory) -> Option<Moment> {
    let settings = &draft.pass.settings;
    let key = memory.creating.as_ref().map(|intent| intent.started_at + settings.create_settle);
    let registration = memory.registering.map(|at| at + settings.deploy_settle);
    let link = memory.linking.map(|at| at + settings.deploy_settle);
    key.max(registration).max(link)
}

/// How long it is until then; none: it is over.
pub(super) fn left(draft: &Draft<'_>, until: Option<Moment>) -> Option<Span> {
    until.map(|until| until.since(draft.now())).filter(|left| left.0 > 0)
}
