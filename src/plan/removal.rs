//! What becomes of the regions of a key that its spec no longer names.
//!
//! # Guarantees
//! A region that a cluster uses, or may use, stays managed and shown. Under Retain one that nobody uses is forgotten, and
//! found again when it is put back. Under `ScheduleDeletion` the removal is first written down, with a token; from then on no
//! cluster begins to use the region, and its key goes by the rules of [`schedule`](super::schedule).

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::confirmation::Token;
use crate::domain::desired::{Afterlife, DesiredKey, DesiredRegion};
use crate::domain::id::{Region, tag};
use crate::domain::memory::RegionMemory;
use crate::domain::observed::Candidate;

use super::draft::Draft;
use super::schedule::{Access, judge, list, schedule, show, users};
use super::step::{KeyRef, Step};
use super::teardown::{self, Blocker};
use super::{RemovalReport, key as keys, replica_end};

const CONDITION: ConditionType = ConditionType::KeysReady;

/// Plans what becomes of the regions that status shows and the spec no longer names.
pub(super) fn plan(draft: &mut Draft<'_>, key: &DesiredKey) {
    let regions: Vec<Region> =
        draft.memory.regions.keys().filter(|region| !key.regions.contains_key(*region)).cloned().collect();
    if regions.is_empty() {
        return;
    }
    let access = Access::of(draft, key);
    for region in regions {
        removal(draft, key, &region, &access);
    }
}

fn removal(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, access: &Access) {
    let memory = draft.remembered(region);
    if let Some(left) = teardown::unresolved_in(draft, &memory) {
        let message = format!(
            "{region} is no longer in the spec; an attempt whose outcome is not known is waited for, {} s at most.",
            left.as_seconds()
        );
        draft.working(CONDITION, Some(region), Reason::Deleting, message);
        draft.report(region).removal = Some(RemovalReport { token: memory.removal, ..RemovalReport::default() });
        draft.wait(left);
        return;
    }
    if !made_nothing(draft, region, &memory) {
        return;
    }
    let users = users(key, region);
    if !users.is_empty() {
        let why: Vec<&str> = users.iter().map(|user| user.message.as_str()).collect();
        let message = format!("{region} is no longer in the spec, but is still managed. {}", why.join(" "));
        let fix = "put the region back into the spec, or take it out of the clusters first.";
        draft.stuck(CONDITION, Some(region), Reason::RegionInUse, message, fix);
        stays(draft, key, region, &users, memory.removal.as_ref(), access);
        return;
    }
    if key.afterlife == Afterlife::Retain {
        let what = memory.key.map_or_else(|| "no key was made there".to_owned(), |arn| format!("{arn} stays in AWS"));
        let message = format!("{region} is no longer in the spec; {what}. Put the region back, and it is found again.");
        draft.fine(CONDITION, None, Reason::KeysEnabled, &message);
        draft.report(region).removal = Some(RemovalReport { released: true, ..RemovalReport::default() });
        return;
    }
    let mut fate = judge(draft, key, region, access, false);
    show(draft, region);
    if fate.ours.is_empty() && fate.blockers.is_empty() {
        draft.report(region).removal = Some(RemovalReport { released: true, ..RemovalReport::default() });
        return;
    }
    // The first token is for this occasion alone: the nonce of the pass that wrote the removal down.
    let fresh = Token::of(&key.object.uid, &draft.pass.nonce, memory.key.iter());
    let shown = memory.removal.clone().unwrap_or_else(|| fresh.as_str().to_owned());
    let confirmed = memory.removal.as_ref().is_some_and(|token| key.object.confirmed.contains(token));
    fate.blockers.extend(replica_end::order(draft, &fate.left).blockers);
    if !fate.left.is_empty() {
        fate.blockers.extend(teardown::held_back(&key.object, key.observe_only));
        if !confirmed {
            let message = format!(
                "{region} is no longer in the spec, and nobody has confirmed that {} may be scheduled for deletion; what is encrypted with it is lost {} days later.",
                list(&fate.left),
                key.window_days
            );
            fate.blockers.push(teardown::unconfirmed(draft, Some(region), message, &shown));
        }
    }
    if !fate.blockers.is_empty() {
        for Blocker { message, fix, .. } in &fate.blockers {
            draft.stuck(CONDITION, Some(region), Reason::DeletionBlocked, message.clone(), fix);
        }
        stays(draft, key, region, &fate.blockers, Some(&shown), access);
    } else if fate.vanishing || !fate.left.is_empty() {
        let message = format!("{region} is no longer in the spec; its key is being scheduled for deletion.");
        draft.working(CONDITION, Some(region), Reason::Deleting, message);
        draft.report(region).removal = Some(RemovalReport { token: Some(shown), ..RemovalReport::default() });
        for arn in fate.left {
            schedule(draft, key, &arn);
        }
        draft.poll();
    } else {
        draft.report(region).removal = Some(RemovalReport { released: true, ..RemovalReport::default() });
    }
}

/// Whether no attempt to make a key, whose outcome was never learned, has left one behind: once its window is over, a complete
/// scan says so. What it made is recorded, or it would be forgotten with the region.
fn made_nothing(draft: &mut Draft<'_>, region: &Region, memory: &RegionMemory) -> bool {
    let Some(intent) = memory.creating.as_ref().filter(|_| memory.key.is_none()) else { return true };
    let seen = draft.seen(region);
    let of_intent = |c: &&Candidate| c.nonce.as_deref() == Some(intent.nonce.as_str());
    let made = seen.candidates.present().and_then(|all| all.iter().find(of_intent)).map(|c| c.arn.clone());
    if made.is_none() && seen.scanned {
        return true;
    }
    let what = made.as_ref().map_or_else(
        || "whether an attempt to make a key there succeeded is not known yet".to_owned(),
        |arn| format!("{arn} was made there meanwhile"),
    );
    let message = format!("{region} is no longer in the spec; {what}.");
    draft.working(CONDITION, Some(region), Reason::Deleting, message);
    draft.report(region).removal = Some(RemovalReport { token: memory.removal.clone(), ..RemovalReport::default() });
    match made {
        Some(arn) => draft.step(Step::RecordKey { region: region.clone(), key: KeyRef::Arn(arn) }),
        None => draft.poll(),
    }
    false
}

/// A region that cannot go yet is managed as before, but for what would bind its key further.
fn stays(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    blockers: &[Blocker],
    token: Option<&String>,
    access: &Access,
) {
    let mut report = teardown::report(blockers, None);
    report.token = token.cloned();
    draft.report(region).removal = Some(report);
    let adopted = draft.seen(region).tags.present().is_some_and(|tags| tags.contains_key(tag::ADOPT_BY));
    if !adopted && draft.remembered(region).key.is_some() {
        keys::plan_region(draft, key, region, &DesiredRegion::default(), access.aws, false);
    }
}
