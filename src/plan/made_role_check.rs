//! The part of the [safety check](super::check) that is about roles which the operator makes: the rules are derived anew from
//! what was declared, seen and remembered.

use std::collections::BTreeMap;

use crate::domain::iam_role::{IamRole, arn_of, path_and_name};
use crate::domain::id::{KeyArn, Region};
use crate::domain::reading::Reading;
use crate::domain::role_link::RoleLink;

use super::check::{Rule, Scene, owned, require};
use super::role_step::RoleStep;

impl Scene<'_> {
    /// Of a step that changes the declared role in AWS.
    pub(super) fn made_role_step(&self, step: &RoleStep, declared: &str) -> Rule {
        match step {
            RoleStep::MakeRole { region, role, link, boundary, description: _, tags } => {
                self.may_change(region, role, declared)?;
                self.trusts_the_cloud(region, link, declared)?;
                self.may_be_made(region, boundary.as_ref(), tags)
            }
            RoleStep::TrustCloud { region, role, link } => {
                self.may_change(region, role, declared)?;
                self.trusts_the_cloud(region, link, declared)?;
                self.is_our_role(region)
            }
            RoleStep::PermitRole { region, role, actions, keys, sources } => {
                self.may_change(region, role, declared)?;
                self.permits_no_more(region, actions, keys)?;
                self.may_be_let_in_from(region, sources.as_ref())?;
                self.is_our_role(region)
            }
            RoleStep::RecordIntent { .. }
            | RoleStep::Create { .. }
            | RoleStep::Record { .. }
            | RoleStep::Authorize { .. }
            | RoleStep::Register { .. }
            | RoleStep::Withdraw { .. }
            | RoleStep::RemoveLink { .. }
            | RoleStep::DeleteRole { .. } => Ok(()),
        }
    }

    fn may_change(&self, region: &Region, role: &str, declared: &str) -> Rule {
        let key = self.key()?;
        let made = key.role.as_ref().is_some_and(|wish| wish.made);
        require(
            made && role == declared,
            "no role is made or changed but the one that the spec has the operator make",
        )?;
        let name = path_and_name(role).map_or("", |(_, name)| name);
        require(
            !name.is_empty() && role == arn_of(&key.owner, &key.access.account, region, name),
            "a role is made only in the declared account, under the path of its namespace",
        )?;
        self.may_take_slot(region)?;
        self.in_scope()
    }

    fn trusts_the_cloud(&self, region: &Region, link: &RoleLink, declared: &str) -> Rule {
        let recorded = self.memory.regions.get(region).and_then(|memory| memory.link.as_ref());
        require(
            self.link(region, &link.id).is_ok_and(|seen| seen == link)
                && (link.role_arn.as_deref() == Some(declared)
                    || (link.role_arn.is_none() && recorded == Some(&link.id))),
            "a role trusts only what this object's own link of this pass says",
        )
    }

    fn may_be_made(&self, region: &Region, boundary: Option<&String>, tags: &BTreeMap<String, String>) -> Rule {
        let key = self.key()?;
        require(
            matches!(self.look(region)?.role.iam, Reading::Absent),
            "a role is made only where a read of this pass said that there is none",
        )?;
        require(owned(key, tags), "a role is made with its owner's tags")?;
        let account = key.access.account.as_str();
        let wanted = self.pass.settings.role_boundary.as_ref().map(|arn| arn.replace("{account}", account));
        require(boundary == wanted.as_ref(), "a role is made with the permissions boundary that is configured")
    }

    fn permits_no_more(&self, region: &Region, actions: &[String], keys: &[KeyArn]) -> Rule {
        const RULE: &str = "a role may do no more than what the cloud needs, on this object's keys alone";
        let key = self.key()?;
        let wish = key.regions.get(region).ok_or(RULE)?;
        let needed = |action: &String| key.capabilities.needs.iter().any(|need| need.actions.contains(action));
        require(actions.iter().all(needed), RULE)?;
        for arn in keys {
            require(wish.previous.contains(arn) || self.is_the_key(region, arn).is_ok(), RULE)?;
        }
        Ok(())
    }

    pub(super) fn is_our_role(&self, region: &Region) -> Rule {
        let key = self.key()?;
        let declared = key.role.as_ref().map(|wish| wish.arn.as_str());
        let ours = |role: &IamRole| Some(role.arn.as_str()) == declared && owned(key, &role.tags);
        require(
            self.look(region)?.role.iam.present().is_some_and(ours),
            "only a role that this pass saw with the owner's tags is changed",
        )
    }
}
