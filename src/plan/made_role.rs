//! The role as which a cloud uses a key, where the operator makes it.
//!
//! # Protocol
//! A role's name is unique in its account, so making one needs no intent: whoever made it, it is there or not, and its tags
//! say whose it is. Only the cloud's link says whom it has to trust, so the link comes first; then the role, then what it may
//! do, and only then is the cloud told to assume it. From then on all of this is kept: a role that is gone is made anew, and
//! one that differs is put right.
//!
//! # Guarantees
//! A role without the owner's tags, or of another path, is never changed, and no key policy names it.

use std::collections::BTreeSet;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::DesiredKey;
use crate::domain::iam_role::IamRole;
use crate::domain::id::{KeyArn, Region};
use crate::domain::observed::RegionSeen;
use crate::domain::policy::role::{permissions, same, trust_policy};
use crate::domain::reading::Reading;
use crate::domain::role_link::{RoleLink, RoleWish};
use crate::domain::source::Source;

use super::draft::Draft;
use super::region_key::RegionKey;
use super::role_step::RoleStep;
use super::step::Step;
use super::{key as keys, registration, sources};

const CONDITION: ConditionType = ConditionType::Registered;

/// The role that the operator makes, if it is to make one.
fn wished(desired: &DesiredKey) -> Option<&RoleWish> {
    desired.role.as_ref().filter(|wish| wish.made && desired.capabilities.through_role)
}

fn is_ours(desired: &DesiredKey, wish: &RoleWish, role: &IamRole) -> bool {
    role.arn == wish.arn && keys::owned(desired, &role.tags)
}

/// Whether a key policy may name the declared role: one that the operator makes has to be there, and be this object's.
pub(super) fn may_be_named(desired: &DesiredKey, seen: &RegionSeen) -> bool {
    let Some(wish) = wished(desired) else { return true };
    seen.role.iam.present().is_some_and(|role| is_ours(desired, wish, role))
}

/// The keys that the role may use: the region's, and the earlier ones, which backups may need still.
fn allowed(desired: &DesiredKey, region: &Region, own: &KeyArn) -> Vec<KeyArn> {
    let previous = desired.regions.get(region).into_iter().flat_map(|wish| &wish.previous);
    std::iter::once(own).chain(previous).cloned().collect()
}

fn actions(desired: &DesiredKey) -> Vec<String> {
    desired.capabilities.needs.iter().flat_map(|need| need.actions.clone()).collect()
}

fn trusts(role: &IamRole, link: &RoleLink) -> bool {
    same(&role.trust, &trust_policy(link))
}

fn permits(
    desired: &DesiredKey,
    region: &Region,
    own: &KeyArn,
    role: &IamRole,
    from: Option<&BTreeSet<Source>>,
) -> bool {
    let wanted = permissions(&actions(desired), &allowed(desired, region, own), from);
    role.permissions.as_deref().is_some_and(|text| same(text, &wanted))
}

/// Whether nothing is left to be done at the role before the cloud can use the key as it; true of one that somebody else
/// keeps.
pub(super) fn is_right(key: RegionKey<'_>, link: &RoleLink, from: Option<&BTreeSet<Source>>) -> bool {
    let RegionKey { desired, region, facts, seen, .. } = key;
    let Some(wish) = wished(desired) else { return true };
    seen.role.iam.present().is_some_and(|role| {
        is_ours(desired, wish, role) && trusts(role, link) && permits(desired, region, &facts.arn, role, from)
    })
}

/// Makes the role, or puts it right, once it is known whom it has to trust.
pub(super) fn plan(draft: &mut Draft<'_>, key: RegionKey<'_>) {
    let RegionKey { desired, region, facts, seen, memory } = key;
    let Some(wish) = wished(desired) else { return };
    if desired.rivals.unknown || desired.rivals.older.contains_key(region) {
        return;
    }
    let unfinished = || seen.role.link(memory.link.as_deref()?).filter(|link| link.role_arn.is_none());
    let Some(link) = seen.role.link_of(&wish.arn).or_else(unfinished) else { return };
    let role = match &seen.role.iam {
        Reading::Present(role) if is_ours(desired, wish, role) => role,
        Reading::Present(role) => return taken(draft, region, wish, role),
        Reading::Absent => return make(draft, desired, region, wish, link),
        unknown @ Reading::Unknown(_) => return registration::not_seen(draft, region, unknown),
    };
    let from = sources::decide(draft, desired, region, seen).list;
    let (region, arn) = (region.clone(), wish.arn.clone());
    let mut wrong = Vec::new();
    if !trusts(role, link) {
        wrong.push("whom it trusts");
        let (region, role, link) = (region.clone(), arn.clone(), link.clone());
        draft.repeatable(Step::Role(RoleStep::TrustCloud { region, role, link }));
    }
    if !permits(desired, &region, &facts.arn, role, from.as_ref()) {
        wrong.push("what it may do");
        let (actions, keys) = (actions(desired), allowed(desired, &region, &facts.arn));
        let (region, role) = (region.clone(), arn.clone());
        draft.repeatable(Step::Role(RoleStep::PermitRole { region, role, actions, keys, sources: from }));
    }
    if wrong.is_empty() {
        return;
    }
    let message = format!("The role {arn} is being put right: {}.", wrong.join(" and "));
    if draft.memory.was_ready {
        draft.healing(CONDITION, &region, Reason::HealingRole, message);
    } else {
        draft.working(CONDITION, Some(&region), Reason::MakingRole, message);
    }
}

fn make(draft: &mut Draft<'_>, desired: &DesiredKey, region: &Region, wish: &RoleWish, link: &RoleLink) {
    let account = desired.access.account.as_str();
    let boundary = draft.pass.settings.role_boundary.as_ref().map(|arn| arn.replace("{account}", account));
    let planned = draft.repeatable(Step::Role(RoleStep::MakeRole {
        region: region.clone(),
        role: wish.arn.clone(),
        link: link.clone(),
        boundary,
        description: format!("{} uses the key of {} as this role", desired.scope.cloud, desired.owner.consent()),
        tags: desired.owner.tags().iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }));
    let message = if planned {
        format!("The role {} is being made.", wish.arn)
    } else {
        format!("The role {} was made; AWS does not show it yet.", wish.arn)
    };
    draft.working(CONDITION, Some(region), Reason::MakingRole, message);
    draft.poll();
}

fn taken(draft: &mut Draft<'_>, region: &Region, wish: &RoleWish, role: &IamRole) {
    let message = if role.arn == wish.arn {
        format!(
            "There is a role {} already, and it does not carry the tags by which this object knows its own.",
            role.arn
        )
    } else {
        format!("There is a role {} already, and a name is taken in the whole account, whatever the path.", role.arn)
    };
    let fix = format!(
        "choose another name in role.create, or name that role in role.arn and keep it yourself; or have an AWS administrator delete it. The operator would make {}.",
        wish.arn
    );
    draft.stuck(CONDITION, Some(region), Reason::CloudRoleTaken, message, &fix);
}
