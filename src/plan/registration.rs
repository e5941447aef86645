//! The registration of a region's key with the database cloud.
//!
//! It is made only when a read of this pass said that there is none, only for a key whose policy was *seen* to hold what
//! the cloud needs, and, where it cannot be changed afterwards, only after several equal looks. Another key that is
//! registered already is reported and never overwritten.

use crate::domain::capabilities::Registration;
use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::DesiredKey;
use crate::domain::id::{Region, tag};
use crate::domain::moment::Moment;
use crate::domain::observed::RegionSeen;
use crate::domain::reading::Reading;

use super::attempt::Attempt;
use super::draft::Draft;
use super::key::locked;
use super::region_key::{RegionKey, gate_facts};
use super::step::Step;
use super::{policy, role};

const CONDITION: ConditionType = ConditionType::Registered;

/// How the note begins on a key that was found registered.
const FOUND: &str = "found";

/// Says what would keep any key of ours from being registered here; then none is created.
pub(super) fn obstructed(draft: &mut Draft<'_>, region: &Region, seen: &RegionSeen) -> bool {
    let Some(desired) = draft.desired.key() else { return false };
    if desired.capabilities.registration != Registration::PerRegion {
        return false;
    }
    match &seen.registration {
        Reading::Absent if rivalled(draft, desired, region) => return true,
        Reading::Absent => {}
        Reading::Present(arn) if role::replaceable(desired, region, arn, None) => {}
        Reading::Present(arn) => {
            let arn = arn.clone();
            conflict(draft, region, &arn);
            return true;
        }
        unknown @ Reading::Unknown(_) => {
            not_seen(draft, region, unknown);
            return true;
        }
    }
    offered(draft, region, seen)
}

/// Plans the registration of a region's key.
pub(super) fn plan_region(draft: &mut Draft<'_>, key: RegionKey<'_>, cloud: bool, policy_holds: bool) {
    let RegionKey { desired, region, facts, seen, .. } = key;
    if desired.capabilities.registration != Registration::PerRegion {
        draft.fine(CONDITION, Some(region), Reason::RegistrationNotNeeded, Reason::RegistrationNotNeeded.text());
        return;
    }
    if !cloud {
        let reason = draft.gravest(None).unwrap_or(Reason::RegistrationWaits);
        draft.blocked(&[CONDITION], Some(region), reason, "Waits until the cloud accepts the credentials.");
        return;
    }
    if desired.capabilities.through_role {
        role::plan_region(draft, key, policy_holds);
        return;
    }
    let ours = facts.arn.to_string();
    match &seen.registration {
        Reading::Present(arn) if *arn == ours => registered(draft, key),
        Reading::Present(arn) => {
            let arn = arn.clone();
            draft.report(region).registered = Some(arn.clone());
            conflict(draft, region, &arn);
        }
        Reading::Absent => absent(draft, key, policy_holds),
        unknown @ Reading::Unknown(_) => not_seen(draft, region, unknown),
    }
}

/// The region's own key is registered: says so, and notes since when on the key.
pub(super) fn registered(draft: &mut Draft<'_>, key: RegionKey<'_>) {
    let RegionKey { desired, region, facts, seen, memory } = key;
    let arn = facts.arn.to_string();
    draft.report(region).registered = Some(arn.clone());
    let Some(tags) = seen.tags.present() else {
        not_seen(draft, region, &seen.tags);
        return;
    };
    if tags.contains_key(tag::REGISTERED_AT) || desired.observe_only {
        draft.fine(CONDITION, Some(region), Reason::RegisteredAndRead, &format!("{arn} is registered."));
        return;
    }
    // What is said of databases later rests on this moment, so it is kept with the key. A note that was removed is put back
    // as it was: a later moment would belie every database made since.
    let was_ours = memory.registered.as_ref() == Some(&arn);
    let noted = memory.registered_at.filter(|_| was_ours);
    let note = match (noted, memory.registering) {
        (Some(at), _) | (None, Some(at)) => at.to_string(),
        // Nobody knows since when, and the moment at which it was found would belie every database made before.
        (None, None) => format!("{FOUND} {}", draft.now()),
    };
    if noted.is_some() || (was_ours && memory.registering.is_none()) {
        let message = "The note of when the key was registered is missing from it and is put back.".to_owned();
        draft.healing(CONDITION, region, Reason::HealingKey, message);
    } else if memory.registering.is_some() {
        draft.working(CONDITION, Some(region), Reason::Registering, format!("{arn} is registered; noting when."));
    } else {
        let message = format!("{arn} was registered by somebody else; noting that it was found so.");
        draft.working(CONDITION, Some(region), Reason::Registering, message);
    }
    draft.repeatable(Step::Tag {
        region: region.clone(),
        key: facts.arn.clone(),
        tags: [(tag::REGISTERED_AT.to_owned(), note)].into(),
    });
}

/// The moment before which the key of a region was certainly not registered: that of the note on it or, where it was found
/// registered, that of its creation.
pub(super) fn not_before(seen: &RegionSeen) -> Option<Moment> {
    let note = seen.tags.present()?.get(tag::REGISTERED_AT).and_then(|text| text.parse().ok());
    let facts = seen.by_arn.present().or(seen.by_alias.present());
    note.or_else(|| facts?.created_at)
}

fn absent(draft: &mut Draft<'_>, key: RegionKey<'_>, policy_holds: bool) {
    let RegionKey { desired, region, facts, seen, memory } = key;
    let looks = draft.look(region, &gate_facts(facts, seen));
    let settings = draft.pass.settings.clone();
    let tagged = seen.tags.present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT));
    // What status shows as registered may be another's key that was in the way.
    let was_ours = memory.registered.as_ref() == Some(&facts.arn.to_string());
    if was_ours || tagged {
        // It was there. Reads are not monotonic, so one look that misses it proves nothing; and it is never made anew.
        if looks < settings.gate_looks {
            draft.wait(settings.gate_spacing);
            let message = "The cloud does not show the registration; the operator looks again.".to_owned();
            draft.working(CONDITION, Some(region), Reason::RegistrationUncertain, message);
        } else {
            let message = format!("The registration of {} is gone.", facts.arn);
            draft.stuck(
                CONDITION,
                Some(region),
                Reason::RegistrationLost,
                message,
                "ask the cloud's support what became of it.",
            );
        }
        return;
    }
    if !policy_holds {
        draft.working(
            CONDITION,
            Some(region),
            Reason::RegistrationWaits,
            "Waits until the key policy is seen to hold.".to_owned(),
        );
        return;
    }
    if offered(draft, region, seen) || rivalled(draft, desired, region) {
        return;
    }
    if let Some(began) = memory.registering {
        let attempt = Attempt { what: "the registration", began, settles_in: settings.deploy_settle, searched: true };
        if draft.awaits(&attempt, CONDITION, region, Reason::RegistrationUncertain) {
            return;
        }
    }
    if desired.capabilities.registration_is_final && looks < settings.gate_looks {
        let message = format!(
            "Ready to register the key; that is final here, so everything has to look right {} times in a row ({looks} so far).",
            settings.gate_looks
        );
        draft.working(CONDITION, Some(region), Reason::Registering, message);
        draft.wait(settings.gate_spacing);
        return;
    }
    draft.working(CONDITION, Some(region), Reason::Registering, format!("{} is being registered.", facts.arn));
    let now = draft.now();
    draft.step(Step::RecordRegistrationIntent { region: region.clone(), started_at: now });
    draft.step(Step::Register {
        region: region.clone(),
        key: facts.arn.clone(),
        not_after: draft.observed.at + settings.look_valid,
    });
}

/// Says so where the cloud does not offer the region. Yields whether nothing can be done here.
fn offered(draft: &mut Draft<'_>, region: &Region, seen: &RegionSeen) -> bool {
    if let Some(words) = locked(seen) {
        let message = format!("The cloud does not offer {region} to this organization: {words}");
        draft.stuck(
            CONDITION,
            Some(region),
            Reason::RegionLocked,
            message,
            "ask the cloud to unlock the region, or remove it.",
        );
        return true;
    }
    if seen.offer.present().is_none() {
        not_seen(draft, region, &seen.offer);
        return true;
    }
    false
}

/// Says so where an older object claims the registration, or may. Yields whether nothing can be done here.
pub(super) fn rivalled(draft: &mut Draft<'_>, desired: &DesiredKey, region: &Region) -> bool {
    if let Some(older) = desired.rivals.older.get(region) {
        let message =
            format!("{} has one registration in {region}, and {older} has claimed it for longer.", desired.scope);
        let fix = "delete one of the two, or take the region out of one.";
        draft.stuck(CONDITION, Some(region), Reason::RegistrationSlotTaken, message, fix);
        return true;
    }
    if desired.rivals.unknown {
        let message =
            "Waits until every CustomerKey was read once: an older one may claim the registration.".to_owned();
        draft.working(CONDITION, Some(region), Reason::RegistrationWaits, message);
        draft.poll();
        return true;
    }
    false
}

fn conflict(draft: &mut Draft<'_>, region: &Region, arn: &str) {
    let message = format!("The cloud has {arn} registered for {region}, which is not this object's key.");
    draft.stuck(
        CONDITION,
        Some(region),
        Reason::RegistrationConflict,
        message,
        "if that key is the right one, name it in keyArn; else have the cloud's support remove it. It is never overwritten.",
    );
}

/// Says that what the registration rests on could not be seen.
pub(super) fn not_seen<T>(draft: &mut Draft<'_>, region: &Region, reading: &Reading<T>) {
    match reading.fault() {
        Some(fault) => {
            let fault = fault.clone();
            draft.fault(CONDITION, Some(region), &fault);
        }
        None => draft.blocked(&[CONDITION], Some(region), Reason::NotLookedYet, "Not looked at yet."),
    }
}

/// Whether what was seen of the policy gives the cloud's principals what they need.
pub(super) fn policy_holds(desired: &DesiredKey, region: &Region, seen: &RegionSeen) -> Result<(), String> {
    policy::holds_now(desired, region, seen)
}
