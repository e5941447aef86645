//! The registration of a key that the cloud uses as a role in the customer's account.
//!
//! # Protocol
//! The cloud keeps a link for each role; making one is not idempotent. So a link of the declared role is looked for first;
//! one is made after a durable intent, and an outcome that is not known is looked for until it is found or until the settle
//! window has passed. The cloud then assumes the role there and then, which its owner has to allow: what the role has to
//! trust is said from the moment at which it is known. Only then is the key registered, and only a key whose policy was
//! *seen* to let the role use it.
//!
//! A registration can be changed here. Another key is replaced only if the spec names it as an earlier one, and only after
//! the new one was seen right several times in a row.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::DesiredKey;
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::moment::Moment;
use crate::domain::observed::RegionSeen;
use crate::domain::policy::role::{permissions, trust_policy};
use crate::domain::reading::Reading;
use crate::domain::role_link::{RegistrationSeen, RoleLink, Through};

use super::attempt::Attempt;
use super::draft::Draft;
use super::region_key::{RegionKey, gate_facts};
use super::role_step::{LinkRef, RoleStep};
use super::step::Step;
use super::{RoleReport, made_role, registration, sources};

const CONDITION: ConditionType = ConditionType::Registered;

/// The cloud's way to a region's key.
struct Way<'a> {
    key: RegionKey<'a>,
    /// The declared role.
    role: &'a str,
}

/// Whether the key that is registered may be replaced by this object's: it is this very key under a shorter name, or one that
/// the spec names as an earlier one. Only ARNs name a key for certain; an id alone is that of a key of the same account.
pub(super) fn replaceable(desired: &DesiredKey, region: &Region, registered: &str, own: Option<&KeyArn>) -> bool {
    let previous = desired.regions.get(region).into_iter().flat_map(|wish| &wish.previous);
    previous.chain(own).any(|arn| names(arn, registered))
}

/// The unfinished links that an attempt can have made.
pub(super) fn attempted<'s>(draft: &Draft<'_>, seen: &'s RegionSeen, began: Moment) -> Vec<&'s RoleLink> {
    let settings = &draft.pass.settings;
    let (from, until) = (began - settings.clock_skew, began + settings.deploy_settle + settings.clock_skew);
    let all = seen.role.links.present().into_iter().flatten();
    all.filter(|link| link.role_arn.is_none() && link.created_at.is_some_and(|at| at >= from && at <= until)).collect()
}

/// Whether a text names a key: by its ARN, or by its id alone.
pub(super) fn names(arn: &KeyArn, text: &str) -> bool {
    let arn = arn.to_string();
    arn == text || arn.rsplit('/').next() == Some(text)
}

/// Has the cloud make a link for the declared role, where there is none, and makes that role where the spec asks for it. That
/// comes before everything that needs the role: only the link says whom the role has to trust, so there may be no role yet
/// that a key policy could name.
pub(super) fn prepare(draft: &mut Draft<'_>, key: RegionKey<'_>) {
    let RegionKey { desired, region, facts, seen, memory } = key;
    let Some(wish) = desired.role.as_ref().filter(|_| desired.capabilities.through_role) else { return };
    made_role::plan(draft, key);
    let free = match &seen.role.registration {
        Reading::Absent => true,
        Reading::Present(found) => {
            let switches = found.through != Through::Credentials || may_switch(desired, found, &facts.arn);
            replaceable(desired, region, &found.key, Some(&facts.arn)) && switches
        }
        Reading::Unknown(_) => false,
    };
    let rivalled = desired.rivals.unknown || desired.rivals.older.contains_key(region);
    if !free || rivalled || seen.role.links.present().is_none() || seen.role.link_of(&wish.arn).is_some() {
        return;
    }
    let way = Way { key, role: &wish.arn };
    if let Some(id) = &memory.link {
        match seen.role.link(id) {
            Some(link) if link.role_arn.is_none() => return,
            None if draft.look_at_deployment(region, &("no link", id)) < draft.pass.settings.gate_looks => {
                let message = format!("The cloud does not show its record {id} of the role; looking again.");
                draft.working(CONDITION, Some(region), Reason::LinkingRole, message);
                let spacing = draft.pass.settings.gate_spacing;
                draft.wait(spacing);
                return;
            }
            // Of a role that was declared before, or gone.
            Some(_) | None => {}
        }
    }
    way.make(draft);
}

/// Plans the registration of a region's key, of which the cloud accepts the credentials.
pub(super) fn plan_region(draft: &mut Draft<'_>, key: RegionKey<'_>, policy_holds: bool) {
    let RegionKey { desired, region, facts, seen, memory } = key;
    let Some(wish) = &desired.role else {
        let message = "The spec names no role as which the cloud could use the key.".to_owned();
        draft.stuck(CONDITION, Some(region), Reason::InvalidSpec, message, "name one in spec.upstream.");
        return;
    };
    let way = Way { key, role: &wish.arn };
    // The one that is remembered counts only as long as no role is authorized through it: afterwards it is that of a role that
    // was declared before, and to be told from the one that is made for this role.
    let made = || seen.role.link(memory.link.as_deref()?).filter(|link| link.role_arn.is_none());
    let link = seen.role.link_of(&wish.arn).or_else(made).cloned();
    draft.report(region).cloud_role = Some(RoleReport { arn: wish.arn.clone(), link });
    if seen.role.links.present().is_none() {
        registration::not_seen(draft, region, &seen.role.links);
        return;
    }
    let registered = match &seen.role.registration {
        Reading::Present(registered) => Some(registered),
        Reading::Absent => None,
        unknown @ Reading::Unknown(_) => {
            registration::not_seen(draft, region, unknown);
            return;
        }
    };
    let ours = facts.arn.to_string();
    match registered {
        Some(found) if found.key == ours && way.is_by_the_role(found) => way.registered(draft, found),
        Some(found) => {
            draft.report(region).registered = Some(found.key.clone());
            if found.through == Through::Credentials && !may_switch(desired, found, &facts.arn) {
                by_credentials(draft, region, found, &ours);
            } else if replaceable(desired, region, &found.key, Some(&facts.arn)) {
                way.register(draft, Some(found), policy_holds);
            } else {
                conflict(draft, region, &ours, &found.key);
            }
        }
        None => way.absent(draft, policy_holds),
    }
}

impl Way<'_> {
    /// Whether the registered key is used through the declared role, as far as the cloud says.
    fn is_by_the_role(&self, found: &RegistrationSeen) -> bool {
        match &found.through {
            Through::NotSaid => true,
            Through::Link(id) => {
                self.key.seen.role.link(id).is_some_and(|link| link.role_arn.as_deref() == Some(self.role))
            }
            Through::Credentials => false,
        }
    }

    /// The right key is registered, by the right role.
    fn registered(&self, draft: &mut Draft<'_>, found: &RegistrationSeen) {
        let RegionKey { desired, region, facts, seen, memory } = self.key;
        draft.report(region).registered = Some(found.key.clone());
        let settings = draft.pass.settings.clone();
        let noted = seen.tags.present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT));
        if !found.usable {
            let young = memory.registering.is_some_and(|at| draft.now().since(at) < settings.deploy_settle);
            if young && !noted {
                let message = format!("{} is registered, and the cloud cannot use it yet.", facts.arn);
                draft.working(CONDITION, Some(region), Reason::Registering, message);
                draft.poll();
            } else {
                self.unusable(draft);
            }
            return;
        }
        let looks = draft.look(region, &gate_facts(facts, seen));
        if !noted && !desired.observe_only && looks < settings.gate_looks {
            let message = format!(
                "{} is registered and usable; that has to be seen {} times in a row ({looks} so far).",
                facts.arn, settings.gate_looks
            );
            draft.working(CONDITION, Some(region), Reason::Registering, message);
            draft.wait(settings.gate_spacing);
            return;
        }
        let previous = self.previous();
        if noted && !previous.is_empty() {
            let message = format!(
                "{} is registered. Backups that were made under {} need that key still: it is left as it is, and the role keeps its right to it.",
                facts.arn,
                previous.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            );
            draft.fine(CONDITION, Some(region), Reason::RegisteredAndRead, &message);
            return;
        }
        registration::registered(draft, self.key);
    }

    fn previous(&self) -> &[KeyArn] {
        self.key.desired.regions.get(self.key.region).map_or(&[], |wish| wish.previous.as_slice())
    }

    /// The cloud says that it cannot use the key.
    fn unusable(&self, draft: &mut Draft<'_>) {
        let RegionKey { desired, region, facts, .. } = self.key;
        let message = format!(
            "{} says that it cannot use {}. On its next check it shuts down the databases that are under the key; their data stay, and come back with the key.",
            desired.scope.cloud, facts.arn
        );
        let fix = format!(
            "see to it that {} may be assumed by the cloud and may use the key.{}",
            self.role,
            self.to_allow(self.key.seen.role.link_of(self.role))
        );
        draft.stuck(CONDITION, Some(region), Reason::RegistrationNotValid, message, &fix);
    }

    /// No key is registered.
    fn absent(&self, draft: &mut Draft<'_>, policy_holds: bool) {
        let RegionKey { region, facts, seen, memory, .. } = self.key;
        let settings = draft.pass.settings.clone();
        let noted = seen.tags.present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT));
        let was_ours = memory.registered.as_ref() == Some(&facts.arn.to_string());
        let looks = draft.look(region, &gate_facts(facts, seen));
        if (was_ours || noted) && looks < settings.gate_looks {
            // It was there. Reads are not monotonic, so one look that misses it proves nothing.
            draft.wait(settings.gate_spacing);
            let message = "The cloud does not show the registration; the operator looks again.".to_owned();
            draft.working(CONDITION, Some(region), Reason::RegistrationUncertain, message);
            return;
        }
        self.register(draft, None, policy_holds);
    }

    /// Registers the key, or the role of the registered key, once the way to it is open.
    fn register(&self, draft: &mut Draft<'_>, replaces: Option<&RegistrationSeen>, policy_holds: bool) {
        let RegionKey { desired, region, facts, seen, .. } = self.key;
        if registration::rivalled(draft, desired, region) {
            return;
        }
        let Some(link) = self.link(draft) else { return };
        if !policy_holds {
            let message = "Waits until the key policy is seen to hold.".to_owned();
            draft.working(CONDITION, Some(region), Reason::RegistrationWaits, message);
            return;
        }
        if replaces.is_some_and(|found| found.through == Through::Credentials) && !self.may_open_what_is_there(draft) {
            return;
        }
        let settings = draft.pass.settings.clone();
        let looks = draft.look(region, &gate_facts(facts, seen));
        if replaces.is_some() && looks < settings.gate_looks {
            let message = format!(
                "Ready to register {} in place of what is registered; everything has to look right {} times in a row ({looks} so far).",
                facts.arn, settings.gate_looks
            );
            draft.working(CONDITION, Some(region), Reason::Registering, message);
            draft.wait(settings.gate_spacing);
            return;
        }
        let step = Step::Role(RoleStep::Register {
            region: region.clone(),
            key: facts.arn.clone(),
            link: link.id.clone(),
            replaces: replaces.map(|found| found.key.clone()),
            not_after: draft.observed.at + settings.look_valid,
        });
        if self.refused_for_long(draft, Some(&link)) {
            self.send(draft, step);
            return;
        }
        let message = match replaces {
            Some(found) => format!("{} is being registered in place of {}.", facts.arn, found.key),
            None => format!("{} is being registered.", facts.arn),
        };
        draft.working(CONDITION, Some(region), Reason::Registering, message);
        self.send(draft, step);
    }

    /// Whether nothing in the role's own policies keeps it from what is encrypted under the registered key. What the key policy
    /// says was seen before. Of a role of another account IAM over here knows nothing: there the cloud's own try, which it
    /// makes before it changes anything, has to do.
    fn may_open_what_is_there(&self, draft: &mut Draft<'_>) -> bool {
        let Self { key: RegionKey { desired, region, facts, seen, .. }, role } = *self;
        if !desired.sees_policies_of(role) {
            return true;
        }
        let (what, fix) = match &seen.role.powers {
            Reading::Present(powers) => match powers.in_the_way() {
                None => return true,
                Some(what) => (what, "an administrator of the role changes that policy or boundary."),
            },
            Reading::Absent => ("there is no such role".to_owned(), "an administrator makes the role."),
            unknown @ Reading::Unknown(_) => {
                registration::not_seen(draft, region, unknown);
                return false;
            }
        };
        let message = format!(
            "What is encrypted under {} could not be opened as {role}: {what}. The cloud goes on with its access key.",
            facts.arn
        );
        draft.stuck(CONDITION, Some(region), Reason::CloudRoleRefused, message, fix);
        false
    }

    fn send(&self, draft: &mut Draft<'_>, step: Step) {
        let started_at = draft.now();
        let holdoff = draft.pass.settings.repair_holdoff;
        let made = draft.memory.recent.get(&step.effect()).copied();
        if made.is_some_and(|at| started_at.since(at) < holdoff) {
            // It was done, and is not shown yet.
            draft.poll();
            return;
        }
        draft.step(Step::RecordRegistrationIntent { region: self.key.region.clone(), started_at });
        draft.step(step);
    }

    /// The link through which the cloud can use the key as the declared role; none as long as there is something to do for it.
    fn link(&self, draft: &mut Draft<'_>) -> Option<RoleLink> {
        let Self { key: RegionKey { desired, region, seen, memory, .. }, role } = *self;
        let unfinished = || seen.role.link(memory.link.as_deref()?).filter(|link| link.role_arn.is_none());
        // Where there is none, or the role is still being made, that was said before.
        let link = seen.role.link_of(role).or_else(unfinished)?;
        let from = sources::decide(draft, desired, region, seen).list;
        if !made_role::is_right(self.key, link, from.as_ref()) {
            return None;
        }
        if link.authorized {
            return Some(link.clone());
        }
        self.authorize(draft, link);
        None
    }

    /// Has the cloud make a link, unless an earlier attempt may have made one.
    fn make(&self, draft: &mut Draft<'_>) {
        let Self { key: RegionKey { desired, region, seen, memory, .. }, role } = *self;
        let settings = draft.pass.settings.clone();
        if let Some(started_at) = memory.linking {
            let mut found = attempted(draft, seen, started_at).into_iter();
            match (found.next(), found.next()) {
                (Some(link), None) => {
                    let message = format!("Found the record {} that was made for this object; keeping it.", link.id);
                    draft.working(CONDITION, Some(region), Reason::LinkingRole, message);
                    let link = LinkRef::Id(link.id.clone());
                    draft.step(Step::Role(RoleStep::Record { region: region.clone(), link }));
                    return;
                }
                (Some(one), Some(other)) => {
                    let message = format!(
                        "Of the unfinished records of roles {} and {}, and perhaps others, it cannot be told which was made for this object.",
                        one.id, other.id
                    );
                    let fix = format!(
                        "in {}, remove the records that nobody needs, or authorize one with {role}.",
                        desired.scope.cloud
                    );
                    draft.stuck(CONDITION, Some(region), Reason::RegistrationConflict, message, &fix);
                    return;
                }
                (None, _) => {}
            }
            let what = "the request for a record of the role";
            let attempt = Attempt { what, began: started_at, settles_in: settings.deploy_settle, searched: true };
            if draft.awaits(&attempt, CONDITION, region, Reason::LinkingRole) {
                return;
            }
        }
        let message = format!("The cloud is being asked for a record of the role {role}.");
        draft.working(CONDITION, Some(region), Reason::LinkingRole, message);
        let (region, started_at) = (region.clone(), draft.now());
        draft.step(Step::Role(RoleStep::RecordIntent { region: region.clone(), started_at }));
        draft
            .step(Step::Role(RoleStep::Create { region: region.clone(), not_after: started_at + settings.look_valid }));
        draft.step(Step::Role(RoleStep::Record { region, link: LinkRef::CreatedInThisPass }));
    }

    fn authorize(&self, draft: &mut Draft<'_>, link: &RoleLink) {
        let Self { key: RegionKey { region, .. }, role } = *self;
        let planned = draft.repeatable(Step::Role(RoleStep::Authorize {
            region: region.clone(),
            link: link.id.clone(),
            role: role.to_owned(),
        }));
        if self.refused_for_long(draft, Some(link)) {
            return;
        }
        let message = if planned {
            format!("The cloud is about to assume the role {role}.{}", self.to_allow(Some(link)))
        } else {
            format!("The cloud has assumed the role {role}, and does not show it yet.")
        };
        draft.working(CONDITION, Some(region), Reason::LinkingRole, message);
    }

    /// Says so where the cloud has been unable to use the key as the role for longer than it takes a change to be seen
    /// everywhere. It is tried all the same.
    fn refused_for_long(&self, draft: &mut Draft<'_>, link: Option<&RoleLink>) -> bool {
        let Self { key: RegionKey { desired, region, facts, .. }, role } = *self;
        let Some(since) = draft.memory.refused_roles.get(region).copied() else { return false };
        if draft.now().since(since) < draft.pass.settings.deploy_settle {
            return false;
        }
        let message =
            format!("{} has been unable to use {} as the role {role} since {since}.", desired.scope.cloud, facts.arn);
        let fix = if desired.role.as_ref().is_some_and(|wish| wish.made) {
            "the role and the key policy are as they should be; find what else in AWS keeps the cloud out, such as a permissions boundary of the role or a policy of the organization.".to_owned()
        } else {
            format!("an administrator of the role adds what is missing.{}", self.to_allow(link))
        };
        draft.stuck(CONDITION, Some(region), Reason::CloudRoleRefused, message, &fix);
        true
    }

    /// What the role has to trust, and what it has to be allowed, as JSON.
    fn to_allow(&self, link: Option<&RoleLink>) -> String {
        let actions: Vec<String> =
            self.key.desired.capabilities.needs.iter().flat_map(|need| need.actions.clone()).collect();
        let keys: Vec<KeyArn> = std::iter::once(&self.key.facts.arn).chain(self.previous()).cloned().collect();
        let trust =
            link.map(|link| format!(" Its trust policy has to hold {}.", trust_policy(link))).unwrap_or_default();
        format!("{trust} Its permissions have to hold {}.", permissions(&actions, &keys, None))
    }
}

/// Another key is registered, which the spec does not name.
fn conflict(draft: &mut Draft<'_>, region: &Region, ours: &str, arn: &str) {
    let message = format!("The cloud has {arn} registered, which is not this object's key.");
    let fix = format!(
        "if {ours} is to take its place, name {arn} in previousKeyArns; if that key is the right one, name it in keyArn. It is not overwritten before."
    );
    draft.stuck(CONDITION, Some(region), Reason::RegistrationConflict, message, &fix);
}

/// Whether a key that the cloud uses by an access key may be used by the role: the spec says so, and it is this very key. It
/// stays the key, so that what is encrypted under it can be opened all the while; another one comes after that.
fn may_switch(desired: &DesiredKey, found: &RegistrationSeen, own: &KeyArn) -> bool {
    desired.role.as_ref().is_some_and(|wish| wish.may_replace_credentials) && names(own, &found.key)
}

/// The cloud uses a key by an access key of an IAM user, as it was done before there were roles.
fn by_credentials(draft: &mut Draft<'_>, region: &Region, found: &RegistrationSeen, ours: &str) {
    let message = format!(
        "The cloud uses {} by an access key of an IAM user, the old way; changing that to a role cannot be undone.",
        found.key
    );
    let fix = format!(
        "to have it changed, set switchFromCredentials, and name that key in keyArn: the role is changed first, with the same key. Another key, such as {ours}, can take its place after that."
    );
    draft.stuck(CONDITION, Some(region), Reason::RegistrationConflict, message, &fix);
}
