//! IAM: accounts, users, roles, access keys, who may do what.
//!
//! Users, and roles that somebody made by hand without saying what they may do, are administrators: their identity
//! policies allow everything that is not denied on purpose. Roles that were made through the API have the policies that
//! were put, and a boundary if one was given.

mod assume;
mod managed;
mod roles;
mod simulate;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use roles::{CreateRole, IamApi, NameList, Role, TagList};
pub use simulate::Simulated;

use super::ident::{arn_parts, is_account, unique_id};
use super::policy::{Policies, Policy};
use super::versioned::Versioned;
use crate::domain::policy::PolicyDocument;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Identity {
    /// 12 digits.
    pub account: String,
    /// As a key policy names it: the ARN of the user or role, or `arn:aws:iam::<account>:root`.
    pub arn: String,
    /// The name of the role session, for assumed roles.
    pub session: Option<String>,
}

impl Identity {
    /// The user `sandbox` of an account: what a 12-digit access key id stands for.
    pub fn of_account(account: &str) -> Self {
        Self { account: account.into(), arn: format!("arn:aws:iam::{account}:user/sandbox"), session: None }
    }

    /// What `GetCallerIdentity` shows.
    pub fn caller_arn(&self) -> String {
        match &self.session {
            None => self.arn.clone(),
            Some(session) => {
                let role = self.arn.rsplit('/').next().unwrap_or_default();
                format!("arn:aws:sts::{}:assumed-role/{role}/{session}", self.account)
            }
        }
    }
}

/// A user or a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Principal {
    pub(super) arn: String,
    /// `AROA...` or `AIDA...`: new with every creation, so a namesake is somebody else.
    pub(super) unique_id: String,
    pub(super) created_at_ms: i64,
    /// Who may assume the role; users have none.
    pub(super) trust: Option<Policy>,
    /// Inline policies by name; `None`: an administrator.
    pub(super) policies: Option<BTreeMap<String, String>>,
    /// ARN of the permissions boundary.
    pub(super) boundary: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) description: Option<String>,
    pub(super) max_session_s: u32,
}

/// The trust policy of a role that is made by hand, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// Accounts (12 digits) or principal ARNs that may assume it; empty: anybody.
    pub principals: Vec<String>,
    /// `sts:ExternalId` must be one of these; empty: it is not looked at.
    pub external_ids: Vec<String>,
}

impl Trust {
    /// The same as a policy. Who does not exist is kept by name.
    fn policy(&self, iam: &Iam) -> Policy {
        let stored = |name: &String| {
            if is_account(name) {
                format!("arn:aws:iam::{name}:root")
            } else {
                iam.resolve(name, i64::MAX).unwrap_or_else(|| name.clone())
            }
        };
        let principals: Vec<String> = self.principals.iter().map(stored).collect();
        let mut statement = json!({"Effect": "Allow", "Action": "sts:AssumeRole"});
        statement["Principal"] = if principals.is_empty() { json!("*") } else { json!({"AWS": principals}) };
        if !self.external_ids.is_empty() {
            statement["Condition"] = json!({"StringEquals": {"sts:ExternalId": self.external_ids}});
        }
        Policy::unchecked(&json!({"Version": "2012-10-17", "Statement": [statement]}).to_string())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
struct TemporaryKey {
    identity: Identity,
    expires_at_ms: i64,
}

/// What the caller gets from `AssumeRole`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Credentials {
    /// `ASIA...`.
    pub access_key_id: String,
    /// Not checked by the sandbox.
    pub secret_access_key: String,
    /// Must be sent along.
    pub session_token: String,
    /// Simulated time, ms since the epoch.
    pub expires_at_ms: i64,
    /// Whom they make of the caller.
    pub identity: Identity,
}

/// `role/path/name` or `user/name` -> principal
type Account = BTreeMap<String, Arc<Principal>>;

/// All of IAM. Simulated accounts know their principals; all other accounts are taken at their word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Iam {
    accounts: BTreeMap<String, Versioned<Account>>,
    access_keys: BTreeMap<String, Identity>,
    temporary: BTreeMap<String, TemporaryKey>,
    /// Principals of accounts that are not simulated and do not exist there.
    missing: BTreeSet<String>,
    /// (principal ARN or `*`, action or `prefix*`)
    denied: BTreeSet<(String, String)>,
    /// ARN -> document of a managed policy, for boundaries.
    managed: BTreeMap<String, String>,
    seed: u64,
    made: u64,
}

/// A caller's own policies, ready to be evaluated.
#[derive(Debug, Default)]
pub(super) struct OwnPolicies {
    identity: Option<Vec<PolicyDocument>>,
    boundary: Option<PolicyDocument>,
}

impl OwnPolicies {
    /// Allowed everything, by no boundary held back.
    pub(super) fn is_administrator(&self) -> bool {
        self.identity.is_none() && self.boundary.is_none()
    }

    /// For the evaluation of a request on something that has no policy.
    pub(super) fn policies(&self) -> Policies<'_> {
        Policies { on_resource: None, of_identity: self.identity.as_deref(), boundary: self.boundary.as_ref() }
    }
}

impl Iam {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Makes sure the account is simulated, with its user `sandbox`.
    pub(super) fn ensure_account(&mut self, account: &str) {
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.into(), Versioned::default());
            let user = self.new_principal(&Identity::of_account(account).arn, 0);
            self.put(user, 0, 0);
        }
    }

    pub(super) fn is_simulated(&self, account: &str) -> bool {
        self.accounts.contains_key(account)
    }

    /// Somebody new, with nothing but a name.
    fn new_principal(&mut self, arn: &str, now_ms: i64) -> Principal {
        let resource = arn_parts(arn).map_or("", |p| p[5]);
        self.made += 1;
        let prefix = if resource.starts_with("role/") { "AROA" } else { "AIDA" };
        Principal {
            arn: arn.to_owned(),
            unique_id: unique_id(prefix, self.seed, self.made),
            created_at_ms: now_ms,
            trust: None,
            policies: None,
            boundary: None,
            tags: BTreeMap::new(),
            description: None,
            max_session_s: 3600,
        }
    }

    /// Adds a principal or replaces the one of that name.
    fn put(&mut self, principal: Principal, now_ms: i64, keep_ms: i64) {
        let [_, _, _, _, account, resource] = arn_parts(&principal.arn).unwrap_or([""; 6]).map(str::to_owned);
        let all = self.accounts.entry(account).or_default().change(now_ms, keep_ms);
        all.insert(resource, Arc::new(principal));
    }

    /// Creates a principal by hand, as somebody new if the ARN was taken: an administrator.
    pub(super) fn create(&mut self, arn: &str, trust: Option<Trust>, now_ms: i64, keep_ms: i64) -> String {
        let trust = trust.map(|t| t.policy(self));
        let principal = Principal { trust, ..self.new_principal(arn, now_ms) };
        let unique_id = principal.unique_id.clone();
        self.put(principal, now_ms, keep_ms);
        unique_id
    }

    /// Says by hand what a principal may do: inline policies by name, or everything.
    pub(super) fn set_policies(
        &mut self,
        arn: &str,
        policies: Option<BTreeMap<String, String>>,
        now_ms: i64,
        keep_ms: i64,
    ) -> bool {
        let Some(found) = self.principal(arn, i64::MAX).cloned() else {
            return false;
        };
        self.put(Principal { policies, ..Principal::clone(&found) }, now_ms, keep_ms);
        true
    }

    pub(super) fn delete(&mut self, arn: &str, now_ms: i64, keep_ms: i64) -> bool {
        if self.principal(arn, i64::MAX).is_none() {
            return false;
        }
        let [_, _, _, _, account, resource] = arn_parts(arn).unwrap_or([""; 6]);
        let all = self.accounts.get_mut(account).map(|all| all.change(now_ms, keep_ms));
        all.is_some_and(|all| all.remove(resource).is_some())
    }

    /// A principal of a simulated account as it was at a moment.
    fn principal(&self, arn: &str, at_ms: i64) -> Option<&Arc<Principal>> {
        let parts = arn_parts(arn)?;
        self.accounts.get(parts[4])?.at(at_ms).get(parts[5])
    }

    pub(super) fn add_access_key(&mut self, id: &str, identity: Identity) {
        self.access_keys.insert(id.into(), identity);
    }

    pub(super) fn remove_access_key(&mut self, id: &str) -> bool {
        self.access_keys.remove(id).is_some()
    }

    /// Who a lasting access key stands for.
    pub(super) fn owner_of(&self, access_key: &str) -> Option<&Identity> {
        self.access_keys.get(access_key)
    }

    pub(super) fn set_missing(&mut self, arn: &str, missing: bool) {
        if missing {
            self.missing.insert(arn.into());
        } else {
            self.missing.remove(arn);
        }
    }

    pub(super) fn set_denied(&mut self, principal: &str, action: &str, denied: bool) {
        let pair = (principal.to_owned(), action.to_owned());
        if denied {
            self.denied.insert(pair);
        } else {
            self.denied.remove(&pair);
        }
    }

    /// Whether something above all policies that are simulated (an SCP: the caller can't tell) denies this.
    pub(super) fn denies(&self, who: &Identity, action: &str) -> bool {
        self.denied.iter().any(|(principal, denied)| {
            (principal == "*" || *principal == who.arn) && crate::domain::policy::pattern::covers(denied, action)
        })
    }

    /// A caller's own policies as they were at a moment.
    pub(super) fn own_policies(&self, who: &Identity, at_ms: i64) -> OwnPolicies {
        let Some(principal) = self.principal(&who.arn, at_ms) else {
            return OwnPolicies::default();
        };
        let read = |text: &String| PolicyDocument::parse(text).ok();
        OwnPolicies {
            identity: principal.policies.as_ref().map(|all| all.values().filter_map(read).collect()),
            // A boundary that can't be read holds everything back.
            boundary: principal.boundary.as_ref().map(|arn| {
                let none = PolicyDocument { version: None, id: None, statements: Vec::new(), extra: Vec::new() };
                self.managed_policy(arn).and_then(|text| PolicyDocument::parse(&text).ok()).unwrap_or(none)
            }),
        }
    }

    /// Who an access key id stands for.
    pub(super) fn identify(&mut self, access_key: &str, now_ms: i64) -> Result<Identity, KeyRefused> {
        if let Some(known) = self.access_keys.get(access_key) {
            return Ok(known.clone());
        }
        if let Some(temporary) = self.temporary.get(access_key) {
            return if temporary.expires_at_ms > now_ms {
                Ok(temporary.identity.clone())
            } else {
                Err(KeyRefused::Expired)
            };
        }
        if is_account(access_key) {
            self.ensure_account(access_key);
            return Ok(Identity::of_account(access_key));
        }
        Err(KeyRefused::Unknown)
    }

    /// The stored form of a principal: the unique id where the account is simulated, else the text itself.
    pub(super) fn resolve(&self, arn: &str, visible_before_ms: i64) -> Option<String> {
        let parts = arn_parts(arn)?;
        let (service, account, resource) = (parts[2], parts[4], parts[5]);
        if service == "sts" {
            let role = resource.strip_prefix("assumed-role/")?.split('/').next()?;
            let known = self.accounts.get(account).is_none_or(|all| role_named(all.get(), role).is_some());
            return known.then(|| arn.to_owned());
        }
        if service != "iam" || !is_account(account) {
            return None;
        }
        if resource == "root" {
            return Some(arn.to_owned());
        }
        if !resource.starts_with("role/") && !resource.starts_with("user/") || resource.contains('*') {
            return None;
        }
        match self.accounts.get(account) {
            None => (!self.missing.contains(arn)).then(|| arn.to_owned()),
            Some(all) => {
                let found = all.get().get(resource)?;
                (found.created_at_ms <= visible_before_ms).then(|| found.unique_id.clone())
            }
        }
    }

    /// The ARN behind a unique id, while its owner exists.
    pub(super) fn arn_of(&self, unique: &str) -> Option<String> {
        self.principals().find(|p| p.unique_id == unique).map(|p| p.arn.clone())
    }

    /// The unique id of a caller, as a stored policy names it; its ARN where it is not simulated.
    pub(super) fn stored_name(&self, who: &Identity) -> String {
        self.resolve(&who.arn, i64::MAX).unwrap_or_else(|| who.arn.clone())
    }

    /// Everybody in the simulated accounts.
    pub(super) fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.accounts.values().flat_map(|all| all.get().values())
    }

    pub(super) fn changed_after(&self, at_ms: i64) -> bool {
        self.accounts.values().any(|all| all.changed_after(at_ms))
    }

    pub(super) fn forget_before(&mut self, at_ms: i64) {
        self.accounts.values_mut().for_each(|all| all.forget_before(at_ms));
    }

    /// Hashes the principals of simulated accounts, with what they were lately.
    pub(super) fn hash_state<H: Hasher>(&self, state: &mut H) {
        for account in self.accounts.values() {
            account.versions().for_each(|version| version.hash(state));
        }
    }

    /// The roles, for a dump of the world: what they trust and what they may do (`null`: everything).
    pub(super) fn dump_roles(&self) -> Value {
        let roles = self.principals().filter(|p| p.trust.is_some()).map(|p| {
            let policies: Option<BTreeMap<&String, Value>> = p.policies.as_ref().map(|all| {
                all.iter().map(|(name, text)| (name, serde_json::from_str(text).unwrap_or_default())).collect()
            });
            let trust = p.trust.as_ref().map(|t| t.shown(self));
            let shown = json!({
                "unique_id": p.unique_id, "trust": trust, "policies": policies, "boundary": p.boundary, "tags": p.tags
            });
            (p.arn.clone(), shown)
        });
        Value::Object(roles.collect())
    }
}

/// A role by its name, which is unique in an account whatever its path and case.
fn role_named<'a>(all: &'a Account, name: &str) -> Option<&'a Arc<Principal>> {
    let named = |resource: &str| {
        resource.starts_with("role/") && resource.rsplit('/').next().is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    all.iter().find(|(resource, _)| named(resource)).map(|(_, role)| role)
}

/// Why an access key id is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefused {
    /// Never heard of.
    Unknown,
    /// Temporary and over.
    Expired,
}
