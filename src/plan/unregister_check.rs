//! The part of the [safety check](super::check) that is about what a cloud has of a key that goes: derived anew from what was
//! declared, seen and remembered.

use crate::domain::desired::{Afterlife, Desired, DesiredKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::moment::Moment;
use crate::domain::observed::{DatabaseState, Encryption};
use crate::domain::reading::Reading;
use crate::domain::role_link::Through;

use super::check::{Rule, Scene, require};
use super::removal_check::Removal;
use super::role_step::RoleStep;

impl Scene<'_> {
    /// Of a step that takes back what the cloud has of a key.
    pub(super) fn unregistering(&self, step: &RoleStep, declared: &str) -> Rule {
        match step {
            RoleStep::Withdraw { region, key, not_after } => {
                self.is_given_up(*not_after)?;
                self.may_withdraw(region, key)
            }
            RoleStep::RemoveLink { region, link, not_after } => {
                self.is_given_up(*not_after)?;
                self.may_remove_link(region, link, declared)
            }
            RoleStep::DeleteRole { region, role, not_after } => {
                self.is_given_up(*not_after)?;
                require(role == declared, "no role is deleted but the one that the spec has the operator make")?;
                self.may_delete_role(region, declared)
            }
            _ => Ok(()),
        }
    }

    /// The object goes with everything that it made, which was confirmed, and no cluster uses it.
    fn is_given_up(&self, not_after: Moment) -> Rule {
        let Desired::Key(key) = self.desired else {
            return Err("what a cloud has of a key is taken back only by the key's own object");
        };
        require(
            key.object.deleting && key.afterlife == Afterlife::TearDown,
            "what a cloud has of a key is taken back only with the object, and never under Retain",
        )?;
        let users = match &key.users {
            Reading::Present(all) => all.is_empty(),
            Reading::Absent => true,
            Reading::Unknown(_) => false,
        };
        require(users, "what a cloud has of a key is not taken back while a cluster uses the key, or may use it")?;
        let Self { desired, observed, memory, pass, plan: _ } = *self;
        let removal = Removal { desired, observed, memory, pass };
        removal.in_time(not_after)?;
        removal.everything_is_confirmed(key)?;
        self.in_scope()
    }

    fn may_withdraw(&self, region: &Region, arn: &KeyArn) -> Rule {
        let (key, text) = (self.key()?, arn.to_string());
        let seen = self.look(region)?;
        require(
            seen.registration.present() == Some(&text) && self.made(key, region, arn),
            "only the registration of a key that this object made and registered is withdrawn",
        )?;
        let noted = self.memory.regions.get(region).is_some_and(|memory| memory.registered.as_ref() == Some(&text))
            || seen.tags_of(arn).present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT));
        require(noted, "only the registration of a key that this object made and registered is withdrawn")?;
        let free = match &self.observed.databases {
            Reading::Present(all) => {
                !all.iter().any(|d| d.encryption == Some(Encryption::On) && d.state != DatabaseState::Terminated)
            }
            Reading::Absent => true,
            Reading::Unknown(_) => false,
        };
        require(free, "a registration is withdrawn only where this pass saw no database under it")
    }

    fn made(&self, key: &DesiredKey, region: &Region, arn: &KeyArn) -> bool {
        let Self { desired, observed, memory, pass, plan: _ } = *self;
        Removal { desired, observed, memory, pass }.is_ours(key, region, arn).is_ok()
    }

    fn may_remove_link(&self, region: &Region, id: &str, declared: &str) -> Rule {
        let link = self.link(region, id)?;
        let made = self.key()?.role.as_ref().is_some_and(|wish| wish.made);
        let recorded = self.memory.regions.get(region).and_then(|memory| memory.link.as_deref());
        let own = match link.role_arn.as_deref() {
            Some(role) => made && role == declared,
            None => recorded == Some(id),
        };
        require(own, "only a link that was made for this object's own role is removed")?;
        let unused = match &self.look(region)?.role.registration {
            Reading::Present(found) => matches!(&found.through, Through::Link(other) if other != id),
            Reading::Absent => true,
            Reading::Unknown(_) => false,
        };
        require(unused, "a link is removed only once nothing is registered through it")
    }

    fn may_delete_role(&self, region: &Region, declared: &str) -> Rule {
        require(
            self.key()?.role.as_ref().is_some_and(|wish| wish.made),
            "no role is deleted but the one that the spec has the operator make",
        )?;
        self.is_our_role(region)?;
        let links = self.look(region)?.role.links.present();
        require(
            links.is_some_and(|all| !all.iter().any(|link| link.role_arn.as_deref() == Some(declared))),
            "a role is deleted only once the cloud has no link of it",
        )
    }
}
