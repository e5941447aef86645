//! IAM as far as KMS and STS look at it: accounts, users, roles, access keys, who may do nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::failure::ServiceError;
use super::ident::{arn_parts, is_account, unique_id};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Principal {
    pub(super) arn: String,
    /// `AROA...` or `AIDA...`: new with every creation, so a namesake is somebody else.
    pub(super) unique_id: String,
    pub(super) created_at_ms: i64,
    /// Who may assume the role; users have none.
    pub(super) trust: Option<Trust>,
}

/// The trust policy of a role, as far as it is simulated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// Accounts (12 digits) or principal ARNs that may assume it; empty: anybody.
    pub principals: Vec<String>,
    /// `sts:ExternalId` must be one of these; empty: it is not looked at.
    pub external_ids: Vec<String>,
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

/// All of IAM. Simulated accounts know their principals; all other accounts are taken at their word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Iam {
    /// account -> (`role/path/name` or `user/name` -> principal)
    accounts: BTreeMap<String, BTreeMap<String, Principal>>,
    access_keys: BTreeMap<String, Identity>,
    temporary: BTreeMap<String, TemporaryKey>,
    /// Principals of accounts that are not simulated and do not exist there.
    missing: BTreeSet<String>,
    /// (principal ARN or `*`, action or `prefix*`)
    denied: BTreeSet<(String, String)>,
    seed: u64,
    made: u64,
}

impl Iam {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Makes sure the account is simulated, with its user `sandbox`.
    pub(super) fn ensure_account(&mut self, account: &str) {
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.into(), BTreeMap::new());
            self.create(&Identity::of_account(account).arn, None, 0);
        }
    }

    pub(super) fn is_simulated(&self, account: &str) -> bool {
        self.accounts.contains_key(account)
    }

    /// Creates a principal, as somebody new if the ARN was taken.
    pub(super) fn create(&mut self, arn: &str, trust: Option<Trust>, now_ms: i64) -> String {
        let [_, _, _, _, account, resource] = arn_parts(arn).unwrap_or([""; 6]);
        self.made += 1;
        let prefix = if resource.starts_with("role/") { "AROA" } else { "AIDA" };
        let unique_id = unique_id(prefix, self.seed, self.made);
        let principal = Principal { arn: arn.to_owned(), unique_id: unique_id.clone(), created_at_ms: now_ms, trust };
        self.accounts.entry(account.into()).or_default().insert(resource.into(), principal);
        unique_id
    }

    pub(super) fn delete(&mut self, arn: &str) -> bool {
        arn_parts(arn).and_then(|p| self.accounts.get_mut(p[4])?.remove(p[5])).is_some()
    }

    pub(super) fn add_access_key(&mut self, id: &str, identity: Identity) {
        self.access_keys.insert(id.into(), identity);
    }

    pub(super) fn remove_access_key(&mut self, id: &str) -> bool {
        self.access_keys.remove(id).is_some()
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

    /// Whether an identity policy (or a boundary, or an SCP: the caller can't tell) denies this.
    pub(super) fn denies(&self, who: &Identity, action: &str) -> bool {
        self.denied.iter().any(|(principal, denied)| {
            (principal == "*" || *principal == who.arn) && super::policy::wildcard(denied, action)
        })
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
            let named = |r: &String| r.starts_with("role/") && r.rsplit('/').next() == Some(role);
            let known = self.accounts.get(account).is_none_or(|all| all.keys().any(named));
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
                let found = all.get(resource)?;
                (found.created_at_ms <= visible_before_ms).then(|| found.unique_id.clone())
            }
        }
    }

    /// The ARN behind a unique id, while its owner exists.
    pub(super) fn arn_of(&self, unique: &str) -> Option<String> {
        let mut all = self.accounts.values().flat_map(BTreeMap::values);
        all.find(|p| p.unique_id == unique).map(|p| p.arn.clone())
    }

    /// The unique id of a caller, as a stored policy names it; its ARN where it is not simulated.
    pub(super) fn stored_name(&self, who: &Identity) -> String {
        self.resolve(&who.arn, i64::MAX).unwrap_or_else(|| who.arn.clone())
    }

    pub(super) fn assume(
        &mut self,
        caller: &Identity,
        request: &super::sts::AssumeRole,
        now_ms: i64,
    ) -> Result<Credentials, ServiceError> {
        let refused = || {
            let text = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.caller_arn(),
                request.role_arn
            );
            ServiceError::new(403, "AccessDenied", text)
        };
        let parts = arn_parts(&request.role_arn)
            .ok_or_else(|| super::sts::invalid(format!("{} is invalid", request.role_arn)))?;
        let (account, resource) = (parts[4], parts[5]);
        let role = self.accounts.get(account).and_then(|all| all.get(resource)).ok_or_else(refused)?;
        let trust = role.trust.as_ref().ok_or_else(refused)?;
        let trusted = trust.principals.is_empty()
            || trust.principals.iter().any(|p| {
                *p == caller.account || *p == caller.arn || *p == format!("arn:aws:iam::{}:root", caller.account)
            });
        let external = trust.external_ids.is_empty()
            || request.external_id.as_ref().is_some_and(|id| trust.external_ids.contains(id));
        if !trusted || !external {
            return Err(refused());
        }
        let identity = Identity {
            account: account.into(),
            arn: request.role_arn.clone(),
            session: Some(request.role_session_name.clone()),
        };
        self.made += 1;
        let id = unique_id("ASIA", self.seed, self.made);
        let expires_at_ms = now_ms + i64::from(request.duration_seconds.unwrap_or(3600)) * 1000;
        let temporary = TemporaryKey { identity: identity.clone(), expires_at_ms };
        self.temporary.retain(|_, t| t.expires_at_ms > now_ms);
        self.temporary.insert(id.clone(), temporary);
        Ok(Credentials {
            secret_access_key: format!("sandbox-secret-{id}"),
            session_token: format!("sandbox-session-{id}"),
            access_key_id: id,
            expires_at_ms,
            identity,
        })
    }

    pub(super) fn accounts(&self) -> &BTreeMap<String, BTreeMap<String, Principal>> {
        &self.accounts
    }
}

/// Why an access key id is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefused {
    /// Never heard of.
    Unknown,
    /// Temporary and over.
    Expired,
}
