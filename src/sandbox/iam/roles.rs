//! Roles through the API of IAM.
//!
//! Source: IAM API reference 2010-05-08; IAM user guide, "IAM identifiers" (unique ids), "IAM and AWS STS quotas" and
//! "Troubleshoot IAM" (changes are eventually visible). What a role may do and who may assume it take effect like reads:
//! from a state up to `iam_lag_ms` old.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Account, Identity, Principal, role_named};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::pick;
use crate::sandbox::policy::{self, Decision, Facts, Request, decide};
use crate::sandbox::sts::invalid;
use crate::sandbox::world::{Call, Service, World};

/// Tags of a role.
const MOST_TAGS: usize = 50;

/// Input of `CreateRole`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CreateRole {
    /// 1 to 64 characters of `[\w+=,.@-]`, unique in the account without regard to case.
    pub role_name: String,
    /// Begins and ends with `/`; absent: `/`.
    pub path: Option<String>,
    /// Trust policy.
    pub assume_role_policy_document: String,
    /// At most 1000 characters.
    pub description: Option<String>,
    /// ARN of a managed policy.
    pub permissions_boundary: Option<String>,
    /// At most 50.
    pub tags: Vec<(String, String)>,
    /// 3600 to 43200; default 3600.
    pub max_session_duration: Option<u32>,
}

/// A role as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// Path.
    pub path: String,
    /// Name.
    pub role_name: String,
    /// `AROA...`.
    pub role_id: String,
    /// ARN.
    pub arn: String,
    /// Simulated time, ms since the epoch.
    pub created_at_ms: i64,
    /// Trust policy as JSON text; principals that were deleted are shown by their unique ids.
    pub assume_role_policy_document: String,
    /// Free text.
    pub description: Option<String>,
    /// Longest session in seconds.
    pub max_session_duration: u32,
    /// ARN of the permissions boundary.
    pub permissions_boundary: Option<String>,
    /// Tags, by key.
    pub tags: Vec<(String, String)>,
}

/// A page of names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameList {
    /// Sorted.
    pub names: Vec<String>,
    /// For the next page, if there is one.
    pub marker: Option<String>,
}

/// A page of tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagList {
    /// Sorted by key.
    pub tags: Vec<(String, String)>,
    /// For the next page, if there is one.
    pub marker: Option<String>,
}

/// IAM on behalf of one caller.
#[derive(Debug)]
pub struct IamApi<'w> {
    world: &'w mut World,
    who: Identity,
}

impl World {
    /// IAM of an account, called by that account's user `sandbox`.
    pub fn iam(&mut self, account: &str) -> IamApi<'_> {
        self.iam_as(&Identity::of_account(account))
    }

    /// IAM as `who` calls it. It is one service for all regions.
    pub fn iam_as(&mut self, who: &Identity) -> IamApi<'_> {
        self.ensure_account(&who.account);
        IamApi { world: self, who: who.clone() }
    }

    /// Stores a changed role.
    fn put_principal(&mut self, principal: Principal) {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        Arc::make_mut(&mut self.iam).put(principal, now_ms, keep_ms);
    }
}

pub(super) fn no_role(name: &str) -> ServiceError {
    ServiceError::new(404, "NoSuchEntity", format!("The role with name {name} cannot be found."))
}

fn no_policy(name: &str) -> ServiceError {
    ServiceError::new(404, "NoSuchEntity", format!("The role policy with name {name} cannot be found."))
}

fn role_arn(account: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role{path}{name}")
}

/// Path and name of a role.
fn path_and_name(role: &Principal) -> (String, String) {
    let resource = role.arn.split(":role").nth(1).unwrap_or_default();
    match resource.rsplit_once('/') {
        Some((path, name)) => (format!("{path}/"), name.to_owned()),
        None => ("/".to_owned(), resource.to_owned()),
    }
}

impl IamApi<'_> {
    /// A call about one role by its name. `body` gets the role as it is to be seen, if it is.
    fn on_role<T>(
        &mut self,
        operation: &'static str,
        access: Access,
        name: &str,
        facts: &Facts,
        body: impl FnOnce(&mut World, Option<Arc<Principal>>, &str) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let who = self.who.clone();
        let call = Call {
            service: Service::Iam,
            operation,
            access,
            account: who.account.clone(),
            principal: who.arn.clone(),
            region: "us-east-1".into(),
            resource: name.to_owned(),
        };
        self.world.perform(call, |world, at_ms| {
            checked_name(name, "roleName", 64)?;
            let seen = world.iam.accounts.get(&who.account).map(|all| all.at(at_ms));
            let role = seen.and_then(|all: &Account| role_named(all, name)).cloned();
            let role = role.filter(|role| access == Access::Read || world.heard_of(role));
            let arn = match &role {
                Some(role) => role.arn.clone(),
                None => role_arn(&who.account, "/", name),
            };
            world.link.touched = Some(arn.clone());
            world.authorize_iam(&who, operation, &arn, facts)?;
            body(world, role, &arn)
        })
    }

    /// A change of a role that exists.
    fn alter<T>(
        &mut self,
        operation: &'static str,
        name: &str,
        body: impl FnOnce(&World, &mut Principal) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        self.on_role(operation, Access::Write, name, &Facts::default(), |world, role, _| {
            let mut role = Principal::clone(&*role.ok_or_else(|| no_role(name))?);
            let result = body(world, &mut role)?;
            world.put_principal(role);
            Ok(result)
        })
    }

    /// A look at a role that exists.
    pub(super) fn look<T>(
        &mut self,
        operation: &'static str,
        name: &str,
        body: impl FnOnce(&World, &Principal) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        self.on_role(operation, Access::Read, name, &Facts::default(), |world, role, _| {
            body(world, &*role.ok_or_else(|| no_role(name))?)
        })
    }

    /// Makes a role that may do nothing yet. The name is its natural key: a second one of that name is refused.
    pub fn create_role(&mut self, input: &CreateRole) -> Result<Role, Failure> {
        let name = input.role_name.as_str();
        let path = input.path.as_deref().unwrap_or("/");
        let arn = role_arn(&self.who.account, path, name);
        let facts = Facts::default()
            .and_maybe("iam:PermissionsBoundary", input.permissions_boundary.as_deref())
            .and_all("aws:TagKeys", input.tags.iter().map(|(key, _)| key.clone()));
        let facts =
            input.tags.iter().fold(facts, |facts, (key, value)| facts.and(&format!("aws:RequestTag/{key}"), value));
        let who = self.who.clone();
        let call = Call {
            service: Service::Iam,
            operation: "CreateRole",
            access: Access::Write,
            account: who.account.clone(),
            principal: who.arn.clone(),
            region: "us-east-1".into(),
            resource: name.to_owned(),
        };
        self.world.perform(call, |world, now_ms| {
            checked_name(name, "roleName", 64)?;
            checked_path(path)?;
            world.authorize_iam(&who, "CreateRole", &arn, &facts)?;
            if !input.tags.is_empty() {
                world.authorize_iam(&who, "TagRole", &arn, &facts)?;
            }
            let session = input.max_session_duration.unwrap_or(3600);
            if !(3600..=43_200).contains(&session) {
                return Err(invalid("Value at 'maxSessionDuration' failed to satisfy constraint"));
            }
            let visible_ms = now_ms - world.settings.principal_lag_ms;
            let trust = policy::accept_trust(&input.assume_role_policy_document, &world.iam, visible_ms)?;
            if let Some(boundary) = &input.permissions_boundary
                && world.iam.managed_policy(boundary).is_none()
            {
                let text = format!("Scope ARN: {boundary} does not exist or is not attachable.");
                return Err(ServiceError::new(404, "NoSuchEntity", text));
            }
            let taken = world.iam.accounts.get(&who.account).and_then(|all| role_named(all.get(), name));
            if taken.is_some() {
                let text = format!("Role with name {name} already exists.");
                return Err(ServiceError::new(409, "EntityAlreadyExists", text));
            }
            let fresh = Arc::make_mut(&mut world.iam).new_principal(&arn, now_ms);
            let role = Principal {
                trust: Some(trust),
                policies: Some(BTreeMap::new()),
                boundary: input.permissions_boundary.clone(),
                tags: checked_tags(&BTreeMap::new(), &input.tags)?,
                description: input.description.clone(),
                max_session_s: session,
                ..fresh
            };
            let shown = world.shown_role(&role);
            world.link.touched = Some(arn.clone());
            world.put_principal(role);
            Ok(shown)
        })
    }

    /// One role by its name.
    pub fn get_role(&mut self, name: &str) -> Result<Role, Failure> {
        self.look("GetRole", name, |world, role| Ok(world.shown_role(role)))
    }

    /// Replaces the trust policy.
    pub fn update_assume_role_policy(&mut self, name: &str, document: &str) -> Result<(), Failure> {
        self.alter("UpdateAssumeRolePolicy", name, |world, role| {
            let visible_ms = world.now_ms - world.settings.principal_lag_ms;
            role.trust = Some(policy::accept_trust(document, &world.iam, visible_ms)?);
            Ok(())
        })
    }

    /// Puts an inline policy, replacing the one of that name.
    pub fn put_role_policy(&mut self, name: &str, policy_name: &str, document: &str) -> Result<(), Failure> {
        self.alter("PutRolePolicy", name, |_, role| {
            checked_name(policy_name, "policyName", 128)?;
            policy::accept_identity(document)?;
            let all = role.policies.get_or_insert_default();
            all.insert(policy_name.to_owned(), document.to_owned());
            if all.values().map(|text| policy::without_space(text)).sum::<usize>() > policy::MOST_INLINE {
                let text = format!("Maximum policy size of {} bytes exceeded for role {name}", policy::MOST_INLINE);
                return Err(ServiceError::new(409, "LimitExceeded", text));
            }
            Ok(())
        })
    }

    /// An inline policy, as it was put.
    pub fn get_role_policy(&mut self, name: &str, policy_name: &str) -> Result<String, Failure> {
        self.look("GetRolePolicy", name, |_, role| {
            let found = role.policies.as_ref().and_then(|all| all.get(policy_name));
            found.cloned().ok_or_else(|| no_policy(policy_name))
        })
    }

    /// Removes an inline policy.
    pub fn delete_role_policy(&mut self, name: &str, policy_name: &str) -> Result<(), Failure> {
        self.alter("DeleteRolePolicy", name, |_, role| {
            let removed = role.policies.as_mut().and_then(|all| all.remove(policy_name));
            removed.map(drop).ok_or_else(|| no_policy(policy_name))
        })
    }

    /// Names of the inline policies, a page at a time (1 to 1000, default 100).
    pub fn list_role_policies(
        &mut self,
        name: &str,
        most: Option<usize>,
        marker: Option<&str>,
    ) -> Result<NameList, Failure> {
        self.look("ListRolePolicies", name, |_, role| {
            let all = role.policies.iter().flatten().map(|(name, _)| (name.clone(), ()));
            let (page, marker) = page(all, most, marker)?;
            Ok(NameList { names: page.into_iter().map(|(name, ())| name).collect(), marker })
        })
    }

    /// Deletes a role that has no inline policies any more. Policies that named it show its unique id from now on.
    pub fn delete_role(&mut self, name: &str) -> Result<(), Failure> {
        self.on_role("DeleteRole", Access::Write, name, &Facts::default(), |world, role, arn| {
            let role = role.ok_or_else(|| no_role(name))?;
            if role.policies.as_ref().is_some_and(|all| !all.is_empty()) {
                let text = "Cannot delete entity, must delete policies first.";
                return Err(ServiceError::new(409, "DeleteConflict", text));
            }
            let (now_ms, keep_ms) = (world.now_ms, world.keep_ms());
            Arc::make_mut(&mut world.iam).delete(arn, now_ms, keep_ms);
            Ok(())
        })
    }

    /// Adds tags or changes them.
    pub fn tag_role(&mut self, name: &str, tags: &[(String, String)]) -> Result<(), Failure> {
        self.alter("TagRole", name, |_, role| {
            role.tags = checked_tags(&role.tags, tags)?;
            Ok(())
        })
    }

    /// Tags, a page at a time (1 to 1000, default 100).
    pub fn list_role_tags(
        &mut self,
        name: &str,
        most: Option<usize>,
        marker: Option<&str>,
    ) -> Result<TagList, Failure> {
        self.look("ListRoleTags", name, |_, role| {
            let (tags, marker) = page(role.tags.clone().into_iter(), most, marker)?;
            Ok(TagList { tags, marker })
        })
    }
}

impl World {
    /// Whether the host that takes a write has heard of the role yet.
    fn heard_of(&mut self, role: &Principal) -> bool {
        let (age_ms, lag_ms) = (self.now_ms - role.created_at_ms, self.settings.iam_lag_ms);
        if age_ms >= lag_ms {
            return true;
        }
        let n = self.next_id();
        pick(self.settings.seed, "iam host", n, lag_ms) <= age_ms
    }

    fn authorize_iam(&self, who: &Identity, operation: &str, arn: &str, facts: &Facts) -> Result<(), ServiceError> {
        let action = format!("iam:{operation}");
        if self.may_by_itself(who, &action, arn, facts) {
            return Ok(());
        }
        let text = format!("User: {} is not authorized to perform: {action} on resource: {arn}", who.caller_arn());
        Err(ServiceError::new(403, "AccessDenied", text))
    }

    /// Whether the caller's own policies, as they are seen in the present call, allow something that has no policy.
    pub(in crate::sandbox) fn may_by_itself(
        &self,
        who: &Identity,
        action: &str,
        resource: &str,
        facts: &Facts,
    ) -> bool {
        let own = self.iam.own_policies(who, self.link.iam_at_ms);
        if own.is_administrator() {
            return true;
        }
        let unique_id = self.iam.stored_name(who);
        let request = Request { caller: who, unique_id: &unique_id, action, resource, facts };
        decide(&request, &own.policies()) == Decision::Allowed
    }

    fn shown_role(&self, role: &Principal) -> Role {
        let (path, role_name) = path_and_name(role);
        Role {
            path,
            role_name,
            role_id: role.unique_id.clone(),
            arn: role.arn.clone(),
            created_at_ms: role.created_at_ms,
            assume_role_policy_document: role
                .trust
                .as_ref()
                .map_or_else(String::new, |t| t.shown(&self.iam).to_string()),
            description: role.description.clone(),
            max_session_duration: role.max_session_s,
            permissions_boundary: role.boundary.clone(),
            tags: role.tags.clone().into_iter().collect(),
        }
    }
}

fn checked_name(name: &str, field: &str, most: usize) -> Result<(), ServiceError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if name.is_empty() || name.len() > most || !name.chars().all(good) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at '{field}' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]+"
        )));
    }
    Ok(())
}

fn checked_path(path: &str) -> Result<(), ServiceError> {
    let inner = path.chars().all(|c| matches!(c, '\u{21}'..='\u{7e}'));
    if path.len() > 512 || !inner || !path.starts_with('/') || !path.ends_with('/') {
        return Err(invalid(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
        ));
    }
    Ok(())
}

fn checked_tags(
    present: &BTreeMap<String, String>,
    more: &[(String, String)],
) -> Result<BTreeMap<String, String>, ServiceError> {
    let mut all = present.clone();
    for (key, value) in more {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 || key.starts_with("aws:") {
            return Err(ServiceError::aws("InvalidInput", format!("the tag {key} is invalid")));
        }
        all.insert(key.clone(), value.clone());
    }
    if all.len() > MOST_TAGS {
        let text = format!("The number of tags has reached the maximum limit of {MOST_TAGS}.");
        return Err(ServiceError::new(409, "LimitExceeded", text));
    }
    Ok(all)
}

/// Sorted entries, and the marker of the next page if there is one.
type Page<T> = (Vec<(String, T)>, Option<String>);

fn page<T>(
    all: impl Iterator<Item = (String, T)>,
    most: Option<usize>,
    marker: Option<&str>,
) -> Result<Page<T>, ServiceError> {
    let most = most.unwrap_or(100);
    if !(1..=1000).contains(&most) {
        return Err(invalid("Value at 'maxItems' failed to satisfy constraint: Member must be between 1 and 1000"));
    }
    let mut rest = all.skip_while(|(name, _)| marker.is_some_and(|m| name.as_str() <= m));
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let more = rest.next().is_some();
    let marker = page.last().filter(|_| more).map(|(name, _)| name.clone());
    Ok((page, marker))
}
