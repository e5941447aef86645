//! Who may ask: service accounts with access tokens, API keys, and their roles in projects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Project, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::uuid;
use crate::sandbox::world::{Call, Service, World};

/// How long an access token is good for.
const TOKEN_S: i64 = 3600;

/// How a caller shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// An access token of a service account.
    Token(String),
    /// A service account without the detour of a token: for calls in process.
    ServiceAccount {
        /// `mdb_sa_id_...`
        client_id: String,
        /// `mdb_sa_sk_...`
        client_secret: String,
    },
    /// An API key; over HTTP both halves stand behind a digest.
    ApiKey {
        /// The user name.
        public_key: String,
        /// The password.
        private_key: String,
    },
    /// Nobody.
    Nobody,
}

/// What a credential may do in a project, from much to little; who has one has those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProjectRole {
    /// `GROUP_OWNER`
    GroupOwner,
    /// `GROUP_CLUSTER_MANAGER`
    GroupClusterManager,
    /// `GROUP_READ_ONLY`
    GroupReadOnly,
}

/// A service account or an API key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Credential {
    secret: String,
    service_account: bool,
    pub(super) org: String,
    /// Role by project; `*` is for all projects of the organization.
    roles: BTreeMap<String, ProjectRole>,
}

impl Credential {
    /// Whether it may do in a project what `needs` may.
    pub(super) fn may(&self, project: &Project, needs: ProjectRole) -> Result<(), ServiceError> {
        let has = self.roles.get(&project.id).or_else(|| self.roles.get("*"));
        match has.filter(|_| self.org == project.org) {
            None => {
                let text = "The current user is not in the group, or the group does not exist.";
                Err(refused(401, "NOT_IN_GROUP", text, &[]))
            }
            Some(role) if *role <= needs => Ok(()),
            Some(_) => {
                let text = "Current user is not authorized to perform this action.";
                Err(refused(401, "USER_UNAUTHORIZED", text, &[]))
            }
        }
    }

    /// Whether it may make projects.
    pub(super) fn may_create(&self, org: &str) -> Result<(), ServiceError> {
        if self.org == org && self.roles.get("*") == Some(&ProjectRole::GroupOwner) {
            return Ok(());
        }
        let text = format!("The currently logged in user does not have the group creator role in organization {org}.");
        Err(refused(401, "NOT_ORG_GROUP_CREATOR", text, &[org]))
    }
}

/// Answer of the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccessToken {
    /// The token.
    pub access_token: String,
    /// Seconds.
    pub expires_in: i64,
    /// `Bearer`.
    pub token_type: &'static str,
}

/// The code of an answer that has none: nobody is let in.
const NOBODY: &str = "401";

fn nobody() -> ServiceError {
    ServiceError::new(401, NOBODY, "You are not authorized for this resource.")
}

impl World {
    /// Adds a service account or an API key, or changes it. No roles named means owner of all projects.
    pub fn set_atlas_credential(
        &mut self,
        id: &str,
        secret: &str,
        service_account: bool,
        org: &str,
        roles: Option<BTreeMap<String, ProjectRole>>,
    ) {
        let roles = roles.unwrap_or_else(|| BTreeMap::from([("*".to_owned(), ProjectRole::GroupOwner)]));
        let credential = Credential { secret: secret.to_owned(), service_account, org: org.to_owned(), roles };
        let vendor = self.vendor_mut();
        vendor.orgs.insert(org.to_owned());
        vendor.credentials.insert(id.to_owned(), credential);
    }

    /// Kills a service account with its tokens, or an API key.
    pub fn kill_atlas_credential(&mut self, id: &str) -> bool {
        let vendor = self.vendor_mut();
        vendor.tokens.retain(|_, (owner, _)| owner != id);
        vendor.credentials.remove(id).is_some()
    }

    /// Ends all access tokens now.
    pub fn kill_atlas_tokens(&mut self) {
        self.vendor_mut().tokens.clear();
    }

    /// The private half of an API key, for the digest.
    pub(in crate::sandbox) fn atlas_private_key(&self, public_key: &str) -> Option<String> {
        let found = self.atlas.credentials.get(public_key).filter(|c| !c.service_account)?;
        Some(found.secret.clone())
    }

    /// `POST /api/oauth/token`. Each call makes another token; the earlier ones stay good.
    pub fn atlas_token(&mut self, client_id: &str, client_secret: &str) -> Result<AccessToken, Failure> {
        let found = self.atlas.credentials.get(client_id);
        let found = found.filter(|c| c.service_account && c.secret == client_secret).cloned();
        let call = Call {
            service: Service::Atlas,
            operation: "CreateToken",
            access: Access::Write,
            account: found.as_ref().map_or_else(String::new, |c| c.org.clone()),
            principal: if found.is_some() { client_id.to_owned() } else { String::new() },
            region: String::new(),
            resource: String::new(),
        };
        self.perform(call, |world, now_ms| {
            if found.is_none() {
                return Err(ServiceError::new(401, "invalid_client", "Client authentication failed"));
            }
            let seed = world.settings.seed;
            let tokens = &mut Arc::make_mut(&mut world.atlas).tokens;
            tokens.retain(|_, (_, over_ms)| *over_ms > now_ms);
            // Of the moment: how often somebody logged in tells on no id that comes after.
            let token = format!("mdb_at_{}", uuid(seed, &format!("token of {now_ms}"), tokens.len() as u64));
            tokens.insert(token.clone(), (client_id.to_owned(), now_ms + TOKEN_S * 1000));
            Ok(AccessToken { access_token: token, expires_in: TOKEN_S, token_type: "Bearer" })
        })
    }

    /// The credential behind a login, with its public name.
    pub(super) fn atlas_credential(&self, login: &Login) -> Result<(String, Credential), ServiceError> {
        let of = |id: &str, secret: Option<&str>, service_account: bool| {
            let found = self.atlas.credentials.get(id);
            let found = found.filter(|c| c.service_account == service_account && secret.is_none_or(|s| c.secret == s));
            found.map(|c| (id.to_owned(), c.clone())).ok_or_else(nobody)
        };
        match login {
            Login::Nobody => Err(nobody()),
            Login::ServiceAccount { client_id, client_secret } => of(client_id, Some(client_secret), true),
            Login::ApiKey { public_key, private_key } => of(public_key, Some(private_key), false),
            Login::Token(token) => match self.atlas.tokens.get(token) {
                Some((owner, over_ms)) if *over_ms > self.now_ms => of(owner, None, true),
                _ => Err(nobody()),
            },
        }
    }

    /// The organizations that are known.
    pub(super) fn atlas_orgs(&self) -> &BTreeSet<String> {
        &self.atlas.orgs
    }
}
