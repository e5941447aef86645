//! The gate: whether a region may be deployed to, by what this pass itself saw.
//!
//! # Guarantees
//! A gate opens only when the key is enabled and ours, its policy holds what the cloud needs, that exact key is
//! registered, and all of this was seen several times in a row, the last time in this very pass. Another object's status
//! is no evidence. Once open it stays open while the facts stay right, so that a restart does not close it.

use std::collections::BTreeMap;

use crate::domain::capabilities::Registration;
use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{Desired, DesiredKey, LinkedKey};
use crate::domain::fault::Fault;
use crate::domain::id::{Region, tag};
use crate::domain::memory::SEEN_REPEATEDLY;
use crate::domain::observed::{KeyFacts, KeyState, RegionSeen};
use crate::domain::reading::Reading;
use crate::domain::role_link::Through;

use super::draft::Draft;
use super::finding::Finding;
use super::{Check, GateReport, entrusted, key, region_key, registration, second, sources};

const CONDITION: ConditionType = ConditionType::GateOpen;

/// What the gate of a region says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// Whether a deployment may start in this pass.
    pub(super) may_deploy: bool,
    /// Whether everything is right that can be seen in one look.
    pub(super) facts_hold: bool,
}

/// One check, and what it means when it does not pass.
pub(super) struct Verdict {
    pub(super) name: &'static str,
    pub(super) outcome: Result<String, Failure>,
}

pub(super) enum Failure {
    /// It does not hold.
    Not { reason: Reason, message: String, fix: String },
    /// It could not be seen.
    Unseen(Option<Fault>),
    /// It waits for another check, which says why.
    Waits(&'static str),
}

pub(super) fn not(reason: Reason, message: impl Into<String>, fix: &str) -> Failure {
    Failure::Not { reason, message: message.into(), fix: fix.to_owned() }
}

/// Judges the gate of one region.
pub(super) fn plan_region(draft: &mut Draft<'_>, linked: &LinkedKey, region: &Region, aws: bool, cloud: bool) -> Gate {
    let home = linked.key.home(region);
    let seen = draft.seen(home);
    let memory = draft.remembered(region);
    let holder = draft.pass.settings.holder.clone();
    let mut verdicts = facts(linked, home, &seen, &holder, aws, cloud);
    verdicts.extend(second::verdicts(draft, linked, region));
    verdicts.extend(sources::lifted(draft, linked, region, &seen));
    let facts_hold = verdicts.iter().all(|v| v.outcome.is_ok());
    let needed = draft.pass.settings.gate_looks;
    let looks = match subject(&linked.key, home, &seen).present() {
        Some(facts) if facts_hold => {
            let others = second::facts(draft, region);
            draft.look(home, &(region_key::gate_facts(facts, &seen), others))
        }
        _ => 0,
    };
    if !facts_hold && !verdicts.iter().any(|v| matches!(v.outcome, Err(Failure::Not { .. }))) {
        draft.keep_looks(home);
    }
    let claimed = claimed(draft, region);
    let enough = looks >= needed && claimed;
    if !enough && facts_hold {
        draft.wait(draft.pass.settings.gate_spacing);
    }
    let open = facts_hold && (enough || memory.gate_was_open);
    verdicts.push(Verdict {
        name: SEEN_REPEATEDLY,
        outcome: if open {
            Ok(format!("The same was seen at least {needed} times in a row."))
        } else if facts_hold && looks >= needed {
            Err(not(Reason::LooksPending, "The claim on the key is being written down.", ""))
        } else if facts_hold {
            Err(not(Reason::LooksPending, format!("Seen right {looks} of {needed} times in a row."), ""))
        } else {
            Err(Failure::Waits("Counted once the other checks pass."))
        },
    });
    let checks = verdicts.iter().map(check).collect();
    say(draft, region, &verdicts);
    let report = draft.report(region);
    report.gate = Some(GateReport { open, checks });
    report.key_state = seen.by_alias.present().or(seen.by_arn.present()).map(|k| k.state.as_str().to_owned());
    report.policy_hash = seen.policy.present().and_then(|text| super::policy::hash(text));
    report.key = subject(&linked.key, home, &seen).present().map(|k| k.arn.clone());
    Gate { may_deploy: facts_hold && enough, facts_hold }
}

/// Whether an earlier pass wrote down that this cluster uses the region's key. Only then was the key read after the claim,
/// so that a teardown that did not see the claim is seen here.
fn claimed(draft: &Draft<'_>, region: &Region) -> bool {
    let Desired::Cluster(cluster) = draft.desired else { return false };
    let of = |key_ref: &String| draft.memory.claims.get(key_ref).is_some_and(|regions| regions.contains(region));
    of(&cluster.key_ref) && cluster.backup_taken().is_none_or(|backup| of(&backup.key_ref))
}

/// The key that the region's deployments have to be under, by its own identity, not by another object's status.
pub(super) fn subject<'s>(desired: &DesiredKey, region: &Region, seen: &'s RegionSeen) -> Reading<&'s KeyFacts> {
    match desired.regions.get(region).and_then(|wish| wish.key_arn.as_ref()) {
        Some(_) => seen.by_arn.as_ref(),
        None => seen.by_alias.as_ref(),
    }
}

pub(super) fn facts(
    linked: &LinkedKey,
    region: &Region,
    seen: &RegionSeen,
    holder: &str,
    aws: bool,
    cloud: bool,
) -> Vec<Verdict> {
    let desired = &linked.key;
    let mut verdicts = vec![
        Verdict { name: "KeyAllowsNamespace", outcome: allowed(linked) },
        Verdict { name: "KeyNotDeleting", outcome: not_deleting(desired) },
        Verdict { name: "KeyHasRegion", outcome: has_region(desired, region) },
        Verdict {
            name: "AccountIsOurs",
            outcome: if aws { Ok(desired.access.account.to_string()) } else { Err(Failure::Unseen(None)) },
        },
        Verdict { name: "KeyEnabled", outcome: enabled(desired, region, seen) },
        Verdict { name: "KeyIsOurs", outcome: is_ours(desired, region, seen, holder) },
        Verdict { name: "PolicyHolds", outcome: policy(desired, region, seen) },
    ];
    if desired.capabilities.registration == Registration::PerRegion {
        verdicts.push(Verdict {
            name: "Registered",
            outcome: if cloud { is_registered(desired, region, seen) } else { Err(Failure::Unseen(None)) },
        });
        verdicts.push(Verdict { name: "RegionOffered", outcome: offered(seen) });
    }
    verdicts.push(Verdict {
        name: "UpstreamSaysUsable",
        outcome: match &desired.capabilities.portal {
            None if desired.capabilities.says_usable => says_usable(desired, seen),
            // What a cloud cannot say of a key, beside that it is registered, is said here.
            None => Ok("This cloud has no call that tries a key out; its registration is all that it says.".to_owned()),
            Some(_) => Ok("This cloud has no call that tries a key out, and none that shows which key a database is under; only its portal does.".to_owned()),
        },
    });
    verdicts
}

fn allowed(linked: &LinkedKey) -> Result<String, Failure> {
    if linked.allowed {
        Ok("The key allows clusters of this namespace.".to_owned())
    } else {
        Err(not(
            Reason::KeyNotAllowed,
            format!(
                "CustomerKey {}/{} does not allow clusters of this namespace.",
                linked.key.owner.namespace, linked.key.owner.name
            ),
            "have the key's owner set spec.allowedNamespaces.",
        ))
    }
}

fn not_deleting(desired: &DesiredKey) -> Result<String, Failure> {
    if desired.object.deleting {
        Err(not(Reason::KeyDeleting, "The CustomerKey is being deleted.", "refer to another key, or re-create it."))
    } else {
        Ok("The key's object is not being deleted.".to_owned())
    }
}

fn has_region(desired: &DesiredKey, region: &Region) -> Result<String, Failure> {
    if desired.leaving.contains(region) {
        let message = format!("The key of {region} is being torn down.");
        return Err(not(
            Reason::KeyDeleting,
            message,
            "wait until the CustomerKey shows the region without a deletion.",
        ));
    }
    if desired.regions.contains_key(region) {
        Ok(format!("The key declares {region}."))
    } else {
        Err(not(
            Reason::RegionNotInKey,
            format!("CustomerKey {}/{} has no region {region}.", desired.owner.namespace, desired.owner.name),
            "add the region to the key's spec.regions.",
        ))
    }
}

fn enabled(desired: &DesiredKey, region: &Region, seen: &RegionSeen) -> Result<String, Failure> {
    match subject(desired, region, seen) {
        Reading::Present(facts) if facts.arn.region() != region || *facts.arn.account() != desired.access.account => {
            Err(not(
                Reason::KeyUnusable,
                format!("Key {} is not one of account {} in {region}.", facts.arn, desired.access.account),
                "see the CustomerKey's conditions.",
            ))
        }
        Reading::Present(facts) if key::wrong_kind(desired, region, facts).is_some() => {
            let differs = key::wrong_kind(desired, region, facts).unwrap_or_default();
            let message = format!("Key {} cannot be used: {differs}.", facts.arn);
            Err(not(Reason::KeyUnusable, message, "see the CustomerKey's conditions."))
        }
        Reading::Present(facts) if facts.state == KeyState::Enabled => Ok(facts.arn.to_string()),
        Reading::Present(facts) => Err(not(
            Reason::KeyUnusable,
            format!("Key {} is {}.", facts.arn, facts.state.as_str()),
            "see the CustomerKey's conditions.",
        )),
        Reading::Absent => Err(not(Reason::KeyNotReady, "The region has no key yet.", "")),
        unknown @ Reading::Unknown(_) => Err(Failure::Unseen(unknown.fault().cloned())),
    }
}

/// Whether tags prove that a region's key is the one that the object made or may use.
pub(super) fn proven(desired: &DesiredKey, region: &Region, tags: &BTreeMap<String, String>) -> bool {
    if desired.regions.get(region).is_some_and(|wish| wish.key_arn.is_some()) {
        tags.get(tag::ADOPT_BY) == Some(&desired.owner.consent()) && !key::of_another(desired, tags)
    } else {
        key::owned(desired, tags)
    }
}

/// The other cluster that holds the key, if one does.
pub(super) fn other_holder<'t>(
    desired: &DesiredKey,
    region: &Region,
    tags: &'t BTreeMap<String, String>,
    holder: &str,
) -> Option<&'t String> {
    let adopted = desired.regions.get(region).is_some_and(|wish| wish.key_arn.is_some());
    tags.get(tag::HOLDER).filter(|other| !adopted && !holder.is_empty() && *other != holder)
}

fn is_ours(desired: &DesiredKey, region: &Region, seen: &RegionSeen, holder: &str) -> Result<String, Failure> {
    let Some(tags) = seen.tags.present() else {
        return match seen.tags.fault() {
            Some(fault) => Err(Failure::Unseen(Some(fault.clone()))),
            None => Err(Failure::Waits("Compared once the key is seen.")),
        };
    };
    if let Some(other) = other_holder(desired, region, tags, holder) {
        // Both clusters would deploy the same database.
        let message = format!("The key is held by the cluster whose kube-system namespace has the uid {other}.");
        Err(not(Reason::HeldByAnotherCluster, message, "see the CustomerKey's conditions."))
    } else if tags.contains_key(tag::HOLD) {
        Err(not(
            Reason::OnHold,
            format!("The key carries the tag {}.", tag::HOLD),
            "have the AWS administrator remove it.",
        ))
    } else if !proven(desired, region, tags) {
        Err(not(
            Reason::KeyUnusable,
            "The key does not carry the tags of this CustomerKey.",
            "see the CustomerKey's conditions.",
        ))
    } else if desired.capabilities.registration == Registration::PerRegion
        && !tags.contains_key(tag::REGISTERED_AT)
        && !desired.observe_only
    {
        Err(not(Reason::KeyNotReady, "The moment of the registration is not noted on the key yet.", ""))
    } else {
        Ok("The key carries the tags of this CustomerKey.".to_owned())
    }
}

fn policy(desired: &DesiredKey, region: &Region, seen: &RegionSeen) -> Result<String, Failure> {
    if let Some(fault) = seen.policy.fault().or(seen.principals.fault()) {
        return Err(Failure::Unseen(Some(fault.clone())));
    }
    // Where the cloud names no principals, nobody asks it for them.
    let asked = desired.capabilities.principals_from_cloud || !desired.capabilities.has_portal();
    if matches!(seen.policy, Reading::Unknown(_)) || (asked && matches!(seen.principals, Reading::Unknown(_))) {
        return Err(Failure::Waits("Judged once the key and the cloud are seen."));
    }
    registration::policy_holds(desired, region, seen)
        .map(|()| "The key policy holds what the cloud's principals need.".to_owned())
        .map_err(|message| {
            let waits = desired.capabilities.has_portal() && entrusted::given(desired, region, None).is_empty();
            let fix = "see the CustomerKey's conditions: it says what to copy from the cloud's portal.";
            if waits { not(Reason::AwaitingAction, message, fix) } else { not(Reason::KeyNotReady, message, "") }
        })
}

fn is_registered(desired: &DesiredKey, region: &Region, seen: &RegionSeen) -> Result<String, Failure> {
    let subject = subject(desired, region, seen);
    let Some(key) = subject.present().map(|facts| facts.arn.to_string()) else {
        return Err(Failure::Waits("Compared once the key is seen."));
    };
    match &seen.registration {
        Reading::Present(arn) if *arn == key => Ok(format!("{arn} is registered.")),
        Reading::Present(arn) => Err(not(
            Reason::KeyUnusable,
            format!("The cloud has another key registered: {arn}."),
            "see the CustomerKey's conditions.",
        )),
        Reading::Absent => Err(not(Reason::KeyNotReady, "The cloud has no key registered for this region.", "")),
        unknown @ Reading::Unknown(_) => Err(Failure::Unseen(unknown.fault().cloned())),
    }
}

/// What a cloud that tries the key out says of it, and whether it does so as the declared role.
fn says_usable(desired: &DesiredKey, seen: &RegionSeen) -> Result<String, Failure> {
    let found = match &seen.role.registration {
        Reading::Present(found) => found,
        Reading::Absent => return Err(Failure::Waits("Known once the key is registered.")),
        unknown @ Reading::Unknown(_) => return Err(Failure::Unseen(unknown.fault().cloned())),
    };
    if !found.usable {
        let message = format!("{} says that it cannot use {}.", desired.scope.cloud, found.key);
        return Err(not(Reason::KeyUnusable, message, "see the CustomerKey's conditions."));
    }
    let declared = desired.role.as_ref().map(|role| role.arn.as_str());
    let role = match &found.through {
        Through::NotSaid => declared,
        Through::Link(_) => seen.role.in_use().and_then(|link| link.role_arn.as_deref()),
        Through::Credentials => None,
    };
    if role.is_none() || role != declared {
        let message = "The cloud does not use the key as the declared role.";
        return Err(not(Reason::KeyNotReady, message, ""));
    }
    Ok(format!("{} says that it can use {} as {}.", desired.scope.cloud, found.key, role.unwrap_or_default()))
}

fn offered(seen: &RegionSeen) -> Result<String, Failure> {
    match (key::locked(seen), &seen.offer) {
        (Some(words), _) => Err(not(
            Reason::RegionLocked,
            format!("The cloud does not offer this region: {words}"),
            "ask the cloud to unlock the region, or remove it.",
        )),
        (None, Reading::Unknown(_) | Reading::Absent) => Err(Failure::Unseen(seen.offer.fault().cloned())),
        (None, Reading::Present(_)) => Ok("The cloud offers this region.".to_owned()),
    }
}

fn check(verdict: &Verdict) -> Check {
    let (passed, message) = match &verdict.outcome {
        Ok(message) => (true, message.clone()),
        Err(Failure::Not { message, .. }) => (false, message.clone()),
        Err(Failure::Unseen(Some(fault))) => (false, format!("Could not be seen: {fault}.")),
        Err(Failure::Unseen(None)) => (false, "Could not be seen.".to_owned()),
        Err(Failure::Waits(message)) => (false, (*message).to_owned()),
    };
    Check { name: verdict.name.to_owned(), passed, message }
}

/// Says the gravest of what keeps the gate shut, and the first one of these.
fn say(draft: &mut Draft<'_>, region: &Region, verdicts: &[Verdict]) {
    let mut worst: Option<Finding> = None;
    for verdict in verdicts {
        let finding = match &verdict.outcome {
            Ok(_) | Err(Failure::Waits(_)) => continue,
            Err(Failure::Unseen(Some(fault))) => Finding::of_fault(CONDITION, Some(region), fault),
            Err(Failure::Unseen(None)) => Finding {
                condition: CONDITION,
                region: Some(region.clone()),
                truth: crate::domain::condition::Truth::Unknown,
                reason: draft.gravest(None).unwrap_or(Reason::NotLookedYet),
                message: format!("{} could not be seen.", verdict.name),
                fix: String::new(),
            },
            Err(Failure::Not { reason, message, fix }) => Finding {
                condition: CONDITION,
                region: Some(region.clone()),
                truth: crate::domain::condition::Truth::False,
                reason: *reason,
                message: message.clone(),
                fix: fix.clone(),
            },
        };
        if worst.as_ref().is_none_or(|w| finding.reason.standing() > w.reason.standing()) {
            worst = Some(finding);
        }
    }
    match worst {
        None if verdicts.iter().all(|v| v.outcome.is_ok()) => {
            draft.fine(CONDITION, Some(region), Reason::AllChecksPass, &format!("{region} may be deployed to."));
        }
        None => draft.blocked(&[CONDITION], Some(region), Reason::NotLookedYet, "Not looked at yet."),
        Some(finding) => draft.found(CONDITION, finding),
    }
}
