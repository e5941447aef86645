//! The end of keys: of an object's and of surplus ones; of a removed region's [elsewhere](super::removal).
//!
//! # Guarantees
//! A key is scheduled for deletion only if
//! - this object made it: its tags of this pass prove that, and nobody adopted it, holds it elsewhere or put it on hold;
//! - no `EncryptedCluster` uses it, by a list that was read after the teardown was written down;
//! - the cloud does not have it registered, and never had where that is final: what was encrypted then may still be
//!   there. What could not be seen counts as in use;
//! - a human confirmed it with the token that status showed before.
//!
//! Of an object that goes, either all keys are scheduled or none. A scheduled key keeps its alias and its tags, so that the
//! same object, applied anew, finds it and [takes the deletion back](super::restore).

use std::collections::BTreeSet;

use crate::domain::capabilities::Registration;
use crate::domain::condition::{ConditionType, Reason};
use crate::domain::confirmation::Token;
use crate::domain::desired::{Afterlife, DesiredKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::RegionMemory;
use crate::domain::observed::{Database, KeyState, RegionSeen};
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::finding::with_fix;
use super::step::Step;
use super::teardown::{self, Blocker};
use super::{RemovalReport, credentials, key as keys, replica_end, role, unregister};

const CONDITION: ConditionType = ConditionType::KeysReady;

/// What is known of the end of a region's keys.
#[derive(Default)]
pub(super) struct Fate {
    /// The keys that we made.
    pub(super) ours: BTreeSet<KeyArn>,
    /// Those of them that are not scheduled for deletion yet.
    pub(super) left: Vec<KeyArn>,
    pub(super) blockers: Vec<Blocker>,
    /// Whether a key is not there, which one look does not prove.
    pub(super) vanishing: bool,
    /// Whether something could not be seen that may be another key of ours.
    partial: bool,
}

/// Whether AWS and the cloud take us for whom the spec means, and what keeps them from it.
pub(super) struct Access {
    pub(super) aws: bool,
    cloud: bool,
    trouble: Vec<Blocker>,
}

impl Access {
    pub(super) fn of(draft: &Draft<'_>, key: &DesiredKey) -> Self {
        let mut aside = draft.aside();
        let aws = credentials::aws_is_ours(&mut aside, key);
        let of_aws = aside.findings().len();
        let cloud = credentials::cloud_is_ours(&mut aside, key);
        let (aws_trouble, cloud_trouble) = aside.findings().split_at(of_aws);
        let then = "AWS cannot be asked about the keys";
        let mut trouble: Vec<Blocker> = aws_trouble.iter().map(|f| teardown::of_finding(f, then)).collect();
        let then = format!("{} cannot be asked whether it uses the keys, which counts as in use", key.scope.cloud);
        trouble.extend(cloud_trouble.iter().map(|f| teardown::of_finding(f, &then)));
        Self { aws, cloud, trouble }
    }
}

/// Plans the end of a `CustomerKey` whose keys are to be scheduled for deletion.
pub(super) fn plan(draft: &mut Draft<'_>, key: &DesiredKey) {
    let access = Access::of(draft, key);
    let mut regions: BTreeSet<Region> = key.regions.keys().cloned().collect();
    regions.extend(draft.memory.regions.keys().cloned());
    let mut all = Fate::default();
    for region in &regions {
        let fate = judge(draft, key, region, &access, true);
        all.ours.extend(fate.ours);
        all.left.extend(fate.left);
        all.blockers.extend(fate.blockers);
        all.vanishing |= fate.vanishing;
        all.partial |= fate.partial;
        show(draft, region);
    }
    let order = replica_end::order(draft, &all.left);
    all.blockers.extend(order.blockers);
    let next = if all.blockers.is_empty() { unregister::next(draft, key, &all.left) } else { None };
    if let Some(unregister::Next::Blocked(blocker)) = &next {
        all.blockers.push(blocker.clone());
    }
    let token = (!all.partial && !all.ours.is_empty()).then(|| teardown::token(draft.desired.object(), &all.ours));
    if !all.left.is_empty() || all.partial {
        all.blockers.extend(teardown::held_back(&key.object, key.observe_only));
    }
    if let Some(token) = token
        .as_ref()
        .filter(|token| !all.left.is_empty() && !teardown::confirmed(draft, token, draft.memory.deletion.as_ref()))
    {
        let withdrawn =
            if key.capabilities.through_role { " Before that the cloud is told to let go of it." } else { "" };
        let message = format!(
            "Nobody has confirmed that {} may be scheduled for deletion; what is encrypted with it is lost {} days later.{withdrawn}",
            list(&all.left),
            key.window_days
        );
        all.blockers.push(teardown::unconfirmed(draft, None, message, token.as_str()));
    }
    if !all.blockers.is_empty() {
        teardown::block(draft, all.blockers, token.as_ref());
    } else if all.vanishing {
        teardown::keep_shown(draft, token.as_ref());
        teardown::going(draft, "AWS does not show a key of this object; the operator looks again.");
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
    } else if all.left.is_empty() {
        teardown::release(draft, "The object is being deleted; what it made is scheduled for deletion, or gone.");
    } else if let Some(next) = next {
        teardown::keep_shown(draft, token.as_ref());
        unregister::go_on(draft, next);
    } else {
        let message = format!("{} is being scheduled for deletion in {} days.", list(&order.now), key.window_days);
        teardown::keep_shown(draft, token.as_ref());
        teardown::going(draft, &message);
        for arn in order.now {
            schedule(draft, key, &arn);
        }
    }
}

pub(super) fn list(keys: &[KeyArn]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Has a key marked as the operator's own doing, and scheduled.
pub(super) fn schedule(draft: &mut Draft<'_>, key: &DesiredKey, arn: &KeyArn) {
    let not_after = draft.observed.at + draft.pass.settings.look_valid;
    let (region, by) = (arn.region().clone(), key.owner.consent());
    let seen = draft.seen(&region);
    let marked = seen.tags_of(arn).present().is_some_and(|tags| tags.get(tag::DELETION_BY) == Some(&by));
    let mark = Step::MarkDeletion { region: region.clone(), key: arn.clone(), by, not_after };
    if marked || draft.repeatable(mark) {
        let window_days = key.window_days;
        draft.repeatable(Step::ScheduleDeletion { region, key: arn.clone(), window_days, not_after });
    }
}

/// Shows the state of a region's key as it is now.
pub(super) fn show(draft: &mut Draft<'_>, region: &Region) {
    let key = draft.remembered(region).key;
    let facts = draft.seen(region).by_arn.present().cloned();
    let report = draft.report(region);
    report.key = key;
    if let Some(facts) = facts {
        report.key_state = Some(facts.state.as_str().to_owned());
        report.deletion_at = facts.deletion_at;
    }
}

/// What is known of the end of a region's keys; of the recorded one alone, or of all that carry our tags.
pub(super) fn judge(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, access: &Access, all: bool) -> Fate {
    let (seen, memory) = (draft.seen(region), draft.remembered(region));
    let mut fate = Fate::default();
    if key.regions.get(region).is_some_and(|wish| wish.key_arn.is_some()) {
        // Somebody else made it.
        return fate;
    }
    let recorded = memory.key.is_some() || memory.creating.is_some();
    if !key.capabilities.supported || !access.aws {
        // What was never written down was never made.
        fate.partial = recorded;
        if recorded {
            fate.blockers.extend(out_of_reach(key, access));
        }
        return fate;
    }
    let mut keys: BTreeSet<KeyArn> = memory.key.iter().cloned().collect();
    if all {
        others(region, &seen, &mut keys, &mut fate);
    }
    for arn in &keys {
        one(draft, key, region, &seen, &memory, arn, &mut fate);
    }
    if !fate.left.is_empty() {
        // Of a whole object that goes, what can be withdrawn is withdrawn first.
        let withdraws = all && key.capabilities.through_role && !key.capabilities.registration_is_final;
        let databases = withdraws.then_some(&draft.observed.databases);
        let used = uses(key, region, &seen, &memory, &fate.left, access, databases);
        fate.blockers.extend(used);
    }
    fate
}

fn out_of_reach(key: &DesiredKey, access: &Access) -> Vec<Blocker> {
    if key.capabilities.supported {
        return access.trouble.clone();
    }
    let message =
        format!("This build cannot work with {}, so it cannot tell whether the keys are used.", key.scope.cloud);
    vec![Blocker { region: None, message, fix: "use a build that supports it.".to_owned() }]
}

/// Adds the keys that are ours by alias or by tag.
fn others(region: &Region, seen: &RegionSeen, keys: &mut BTreeSet<KeyArn>, fate: &mut Fate) {
    match &seen.by_alias {
        Reading::Present(facts) => {
            keys.insert(facts.arn.clone());
        }
        Reading::Absent => {}
        unknown @ Reading::Unknown(_) => {
            fate.partial = true;
            fate.blockers.push(teardown::unseen(Some(region), "The key under the object's alias", unknown));
        }
    }
    match &seen.candidates {
        Reading::Present(all) => keys.extend(all.iter().map(|candidate| candidate.arn.clone())),
        Reading::Absent => {}
        unknown @ Reading::Unknown(_) => {
            fate.partial = true;
            fate.blockers.push(teardown::unseen(Some(region), "Which keys carry the object's tags", unknown));
        }
    }
}

/// What is known of the end of one key.
fn one(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    memory: &RegionMemory,
    arn: &KeyArn,
    fate: &mut Fate,
) {
    let is_recorded = memory.key.as_ref() == Some(arn);
    let facts = match seen.facts_of(arn) {
        Reading::Present(facts) => facts,
        Reading::Absent if is_recorded => {
            // Reads may lag: one look that misses it proves nothing.
            fate.ours.insert(arn.clone());
            fate.vanishing |= draft.look(region, &("gone", arn)) < draft.pass.settings.gate_looks;
            return;
        }
        Reading::Absent => return,
        unknown @ Reading::Unknown(_) => {
            fate.partial = true;
            fate.blockers.push(teardown::unseen(Some(region), &format!("Key {arn}"), &unknown));
            return;
        }
    };
    let tags = match seen.tags_of(arn) {
        Reading::Present(tags) => tags,
        unknown => {
            fate.partial = true;
            fate.blockers.push(teardown::unseen(Some(region), &format!("The tags of {arn}"), &unknown));
            return;
        }
    };
    let mut block = |message: String, fix: &str| {
        fate.blockers.push(Blocker { region: Some(region.clone()), message, fix: fix.to_owned() });
    };
    if key.regions.values().any(|wish| wish.previous.contains(arn)) {
        block(format!("Key {arn} is named in previousKeyArns."), "take it out of the spec if it is to go.");
    }
    // Whatever may be taken over is taken over by an object that lives: nothing is deleted on the way.
    let holder = &draft.pass.settings.holder;
    let elsewhere = tags.get(tag::HOLDER).filter(|other| !holder.is_empty() && *other != holder);
    let made = keys::owned(key, tags) && tags.contains_key(tag::NONCE);
    if tags.contains_key(tag::ADOPT_BY) || (!made && !is_recorded) {
        return;
    }
    fate.ours.insert(arn.clone());
    if matches!(facts.state, KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) {
        return;
    }
    fate.left.push(arn.clone());
    if !made {
        block(
            format!("Key {arn} does not carry all the tags that prove that this object made it."),
            "an AWS administrator puts the tags back, or deletes the key by hand.",
        );
    }
    if let Some(other) = elsewhere {
        // A take-over is of the keys that status names: it never reaches one that is left beside them.
        let fix = if is_recorded {
            "delete the object there, or have the operator's administrator take the key over.".to_owned()
        } else {
            format!(
                "if that cluster is gone, an AWS administrator sets the tag {} of {arn} to {holder} (this cluster).",
                tag::HOLDER
            )
        };
        block(format!("Key {arn} is held by the cluster whose kube-system namespace has the uid {other}."), &fix);
    }
    if tags.contains_key(tag::HOLD) {
        block(
            format!("Key {arn} carries the tag {}.", tag::HOLD),
            "have the AWS administrator who put it there remove it.",
        );
    }
    if facts.multi_region && facts.family.is_none() {
        block(
            format!("Key {arn} is multi-Region, and AWS does not show which replicas it has."),
            "wait until it does; the operator looks again by itself.",
        );
    }
}

/// Who uses a region's keys, or may.
fn uses(
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    memory: &RegionMemory,
    left: &[KeyArn],
    access: &Access,
    databases: Option<&Reading<Vec<Database>>>,
) -> Vec<Blocker> {
    let mut blockers = users(key, region);
    let block = |message: String, fix: &str| Blocker { region: Some(region.clone()), message, fix: fix.to_owned() };
    let cloud = key.scope.cloud;
    if key.capabilities.registration != Registration::PerRegion {
        let message = format!("This build cannot ask {cloud} which databases use the key.");
        blockers.push(block(message, "an AWS administrator deletes the key by hand, once no database uses it."));
        return blockers;
    }
    if !access.cloud {
        blockers.extend(access.trouble.clone());
        return blockers;
    }
    match (&seen.registration, databases) {
        (Reading::Present(arn), Some(databases))
            if left.iter().any(|key| key.to_string() == *arn && unregister::is_own(seen, memory, key)) =>
        {
            blockers.extend(unregister::under(key, region, databases));
        }
        (Reading::Present(arn), _) if left.iter().any(|key| role::names(key, arn)) => {
            let message = if key.capabilities.registration_is_final {
                format!("{cloud} has {arn} registered, and has no call to withdraw a registration.")
            } else {
                format!("{cloud} has {arn} registered.")
            };
            let fix = if key.capabilities.through_role {
                "it was not registered by this object: take the key out of the project in the cloud, once none of its databases is under it; the operator looks again by itself."
            } else {
                "have the cloud's support remove the registration; after that an AWS administrator deletes the key by hand."
            };
            blockers.push(block(message, fix));
        }
        (Reading::Present(_) | Reading::Absent, _) => {
            let was = |arn: &KeyArn| {
                memory.registered.as_ref() == Some(&arn.to_string())
                    || seen.tags_of(arn).present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT))
            };
            if let Some(arn) = left.iter().find(|arn| key.capabilities.registration_is_final && was(arn)) {
                let message = format!(
                    "{arn} was registered with {cloud} once, and {cloud} cannot say whether anything is still encrypted with it."
                );
                let fix = "an AWS administrator deletes the key by hand, once it is known that nothing needs it.";
                blockers.push(block(message, fix));
            }
        }
        (unknown @ Reading::Unknown(_), _) => {
            blockers.push(teardown::unseen(Some(region), "Which key is registered with the cloud", unknown));
        }
    }
    blockers
}

/// The clusters that use a region.
pub(super) fn users(key: &DesiredKey, region: &Region) -> Vec<Blocker> {
    match &key.users {
        Reading::Present(all) => {
            let using = all.iter().filter(|user| key.capabilities.one_key || user.regions.contains(region));
            let block = |user: &crate::domain::desired::User| Blocker {
                region: Some(region.clone()),
                message: format!("EncryptedCluster {} uses the key.", user.name),
                fix: "its owner deletes it, or takes the region out of it.".to_owned(),
            };
            using.map(block).collect()
        }
        Reading::Absent => Vec::new(),
        unknown @ Reading::Unknown(_) => {
            vec![teardown::unseen(Some(region), "Which EncryptedClusters use the key", unknown)]
        }
    }
}

/// Says from the start what this cloud will never allow.
pub(super) fn warn(draft: &mut Draft<'_>, key: &DesiredKey) {
    let capabilities = &key.capabilities;
    let forever = capabilities.registration == Registration::PerRegion && capabilities.registration_is_final;
    if key.afterlife != Afterlife::TearDown || !forever {
        return;
    }
    let message = format!(
        "{} has no call to withdraw a registration: a key of this object that was registered is never deleted by the operator.",
        key.scope.cloud
    );
    draft.fine(ConditionType::Registered, None, Reason::NeverDeletable, &message);
    draft.deletion = Some(RemovalReport { blocked_by: vec![message], ..RemovalReport::default() });
}

/// The token by which a surplus key is confirmed to be scheduled for deletion.
pub(crate) fn surplus_token(uid: &str, arn: &KeyArn) -> Token {
    Token::of(uid, "surplus", [arn])
}

/// Plans the end of the surplus keys that a human named by their tokens.
pub(super) fn surplus(draft: &mut Draft<'_>, key: &DesiredKey) {
    if key.object.confirmed.is_empty() {
        return;
    }
    let access = Access::of(draft, key);
    for region in key.regions.keys() {
        let (seen, memory) = (draft.seen(region), draft.remembered(region));
        let Some(recorded) = memory.key.clone().filter(|_| access.aws) else { continue };
        let open = teardown::unresolved_in(draft, &memory);
        for arn in seen.others.keys().filter(|arn| **arn != recorded) {
            let token = surplus_token(&key.object.uid, arn);
            if !key.object.confirmed.iter().any(|c| c == token.as_str()) {
                continue;
            }
            if seen.tags_of(arn).present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT)) {
                let message = format!(
                    "{arn} is not scheduled for deletion: it was registered once, and what was encrypted under it, backups included, needs it."
                );
                draft.fine(CONDITION, Some(region), Reason::KeysEnabled, &message);
                continue;
            }
            if let Some(left) = open {
                draft.wait(left);
                continue;
            }
            let mut fate = Fate::default();
            let alone = RegionMemory::default();
            one(draft, key, region, &seen, &alone, arn, &mut fate);
            if seen.by_alias.present().is_some_and(|facts| facts.arn == *arn) || fate.left.is_empty() {
                continue;
            }
            // Clusters use the key that is recorded; what may use this one is only the cloud.
            let nobody = DesiredKey { users: Reading::Absent, ..key.clone() };
            fate.blockers.extend(uses(&nobody, region, &seen, &alone, &fate.left, &access, None));
            fate.blockers.extend(replica_end::order(draft, &fate.left).blockers);
            match fate.blockers.first() {
                Some(blocker) => {
                    let message = format!(
                        "Surplus key {arn} is not scheduled for deletion. {}",
                        with_fix(&blocker.message, &blocker.fix)
                    );
                    draft.fine(CONDITION, Some(region), Reason::KeysEnabled, &message);
                }
                None => schedule(draft, key, arn),
            }
        }
    }
}
