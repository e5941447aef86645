//! What comes before the end of a key that a cloud uses as a role: its registration is withdrawn, then the cloud's record of
//! the role goes, then the role, one after the other, as the cloud demands. What somebody else made stays.

use crate::domain::desired::DesiredKey;
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::RegionMemory;
use crate::domain::observed::{Database, DatabaseState, Encryption, RegionSeen};
use crate::domain::reading::Reading;
use crate::domain::role_link::Through;

use super::draft::Draft;
use super::role_step::{LinkRef, RoleStep};
use super::step::Step;
use super::teardown::{self, Blocker};
use super::{made_role, role};

/// The next thing to be done or waited for before the keys can go.
pub(super) enum Next {
    /// Something could not be seen.
    Blocked(Blocker),
    /// To be done, and how that is said.
    Do(Box<Step>, String),
    /// It has to be seen again.
    Look(String),
}

/// Whether this object made the registration of a key: it noted that on the key, or in status.
pub(super) fn is_own(seen: &RegionSeen, memory: &RegionMemory, arn: &KeyArn) -> bool {
    memory.registered.as_ref() == Some(&arn.to_string())
        || seen.tags_of(arn).present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT))
}

/// The databases under a registered key: while there is one, the cloud lets go of no key.
pub(super) fn under(key: &DesiredKey, region: &Region, databases: &Reading<Vec<Database>>) -> Option<Blocker> {
    let all = match databases {
        Reading::Present(all) => all.as_slice(),
        Reading::Absent => &[],
        unknown @ Reading::Unknown(_) => {
            return Some(teardown::unseen(Some(region), "Which databases are under the key", unknown));
        }
    };
    let encrypted = |d: &&Database| d.encryption == Some(Encryption::On) && d.state != DatabaseState::Terminated;
    let mut names: Vec<String> = all.iter().filter(encrypted).map(|d| format!("{} ({})", d.name, d.id)).collect();
    names.sort();
    (!names.is_empty()).then(|| Blocker {
        region: Some(region.clone()),
        message: format!("{} lets go of no key that a database is under: {}.", key.scope.cloud, names.join(", ")),
        fix: "delete these, or turn their encryption with the key off in the cloud.".to_owned(),
    })
}

/// Whatever is registered through a record keeps it, and so the role, from going.
fn still_used(key: &DesiredKey, region: &Region, seen: &RegionSeen, link: &str) -> Option<Blocker> {
    let found = match &seen.role.registration {
        Reading::Absent => return None,
        Reading::Present(found) if matches!(&found.through, Through::Link(other) if other != link) => return None,
        Reading::Present(found) => found,
        unknown @ Reading::Unknown(_) => return Some(teardown::unseen(Some(region), "What is registered", unknown)),
    };
    Some(Blocker {
        region: Some(region.clone()),
        message: format!(
            "{} has {} registered, which is none of the keys that go now, and its record {link} of this object's role may be what it uses it by.",
            key.scope.cloud, found.key
        ),
        fix: "register that key through a role of its own, or take it out of the project.".to_owned(),
    })
}

/// What has to be done before these keys are scheduled for deletion; none: nothing, any more.
pub(super) fn next(draft: &mut Draft<'_>, key: &DesiredKey, left: &[KeyArn]) -> Option<Next> {
    let wish = key.role.as_ref().filter(|_| key.capabilities.through_role)?;
    let region = left.first()?.region().clone();
    let (seen, memory) = (draft.seen(&region), draft.remembered(&region));
    let not_after = draft.observed.at + draft.pass.settings.look_valid;
    let registered = |arn: &&KeyArn| draft.seen(arn.region()).registration.present() == Some(&arn.to_string());
    if let Some(arn) = left.iter().find(registered) {
        let step = RoleStep::Withdraw { region: arn.region().clone(), key: arn.clone(), not_after };
        return Some(Next::Do(Box::new(Step::Role(step)), format!("The registration of {arn} is being withdrawn.")));
    }
    let noted = left.iter().any(|arn| is_own(&draft.seen(arn.region()), &draft.remembered(arn.region()), arn));
    let role_is_gone = wish.made && seen.role.iam.is_absent();
    let looked_enough =
        draft.look_at_deployment(&region, &("withdrawn", role_is_gone)) >= draft.pass.settings.gate_looks;
    if noted && !looked_enough {
        return Some(Next::Look("The cloud has no key of this object any more; the operator looks again.".to_owned()));
    }
    let Reading::Present(links) = &seen.role.links else {
        let what = "Which records of roles the cloud has";
        return Some(Next::Blocked(teardown::unseen(Some(&region), what, &seen.role.links)));
    };
    let own = links.iter().find(|link| match &link.role_arn {
        Some(role) => wish.made && *role == wish.arn,
        None => memory.link.as_ref() == Some(&link.id),
    });
    if let Some(link) = own {
        if let Some(blocker) = still_used(key, &region, &seen, &link.id) {
            return Some(Next::Blocked(blocker));
        }
        let message = format!("The cloud's record {} of the role is being removed.", link.id);
        let step = RoleStep::RemoveLink { region, link: link.id.clone(), not_after };
        return Some(Next::Do(Box::new(Step::Role(step)), message));
    }
    // One that an attempt may have made of which nobody learned; of several it cannot be told which.
    if let Some([link]) = memory.linking.map(|began| role::attempted(draft, &seen, began)).as_deref() {
        let (id, message) = (link.id.clone(), format!("Found the record {} that was made for this object.", link.id));
        let step = RoleStep::Record { region, link: LinkRef::Id(id) };
        return Some(Next::Do(Box::new(Step::Role(step)), message));
    }
    if !wish.made {
        return None;
    }
    match &seen.role.iam {
        Reading::Present(_) if made_role::may_be_named(key, &seen) => {
            let message = format!("The role {} is being deleted.", wish.arn);
            let step = RoleStep::DeleteRole { region, role: wish.arn.clone(), not_after };
            Some(Next::Do(Box::new(Step::Role(step)), message))
        }
        // One that was made a moment ago may not be shown yet.
        Reading::Absent if !looked_enough => {
            Some(Next::Look(format!("AWS shows no role {}; the operator looks again.", wish.arn)))
        }
        // Somebody else's stays.
        Reading::Present(_) | Reading::Absent => None,
        unknown @ Reading::Unknown(_) => {
            Some(Next::Blocked(teardown::unseen(Some(&region), &format!("The role {}", wish.arn), unknown)))
        }
    }
}

/// Does it.
pub(super) fn go_on(draft: &mut Draft<'_>, next: Next) {
    match next {
        Next::Do(step, message) => {
            teardown::going(draft, &message);
            draft.repeatable(*step);
        }
        Next::Look(message) => {
            teardown::going(draft, &message);
            let spacing = draft.pass.settings.gate_spacing;
            draft.wait(spacing);
        }
        Next::Blocked(_) => {}
    }
}
