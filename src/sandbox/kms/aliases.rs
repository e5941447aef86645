//! Aliases: the one server-side compare-and-set that KMS offers.

use std::sync::Arc;

use serde::Serialize;

use super::{Alias, Kms, KmsRegion, Needs, authorize, not_found, own_key_id, page, seconds};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, kms_arn};

/// Aliases per key (KMS guide, "Resource quotas").
const MOST_PER_KEY: usize = 50;

/// An item of `ListAliases`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasEntry {
    /// `alias/...`
    pub alias_name: String,
    /// Alias ARN.
    pub alias_arn: String,
    /// The key it points at.
    pub target_key_id: String,
    /// ms since the epoch; seconds on the wire.
    #[serde(rename = "CreationDate", serialize_with = "seconds")]
    pub created_at_ms: i64,
    /// ms since the epoch; seconds on the wire.
    #[serde(rename = "LastUpdatedDate", serialize_with = "seconds")]
    pub updated_at_ms: i64,
}

/// A page of `ListAliases`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasPage {
    /// Sorted by name.
    pub aliases: Vec<AliasEntry>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// There is a next page.
    pub truncated: bool,
}

fn checked_name(name: &str) -> Result<(), ServiceError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    if name.is_empty() || name.len() > 256 || !name.chars().all(legal) {
        let text = format!(
            "1 validation error detected: Value '{name}' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$ and have length between 1 and 256"
        );
        return Err(ServiceError::validation(text));
    }
    match name.strip_prefix("alias/") {
        None | Some("") => {
            let text = "Alias must start with the prefix \"alias/\". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html";
            Err(ServiceError::validation(text))
        }
        Some(rest) if rest.starts_with("aws/") => {
            // The guide calls the prefix reserved; the API answers with NotAuthorized in some regions [not verified].
            Err(ServiceError::aws(
                "InvalidAliasNameException",
                "Alias names must not start with alias/aws/, which is reserved",
            ))
        }
        Some(_) => Ok(()),
    }
}

/// The id of the key that a name is to point at: a name can't point at another name.
fn target_id<'k>(who: &Identity, region: &str, key: &'k str) -> Result<&'k str, ServiceError> {
    let resource = arn_parts(key).map_or(key, |p| p[5]);
    if resource.starts_with("alias/") {
        return Err(ServiceError::validation("Aliases must refer to keys. Not aliases"));
    }
    own_key_id(who, region, key)
}

impl Kms<'_> {
    /// Points a new name at a key of this region. The name must be free.
    pub fn create_alias(&mut self, name: &str, key: &str) -> Result<(), Failure> {
        let call = self.call("CreateAlias", Access::Write, name);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, now_ms| {
            checked_name(name)?;
            let id = target_id(&who, &region, key)?;
            let target = world.writable_key(&who, &region, id, "CreateAlias")?;
            world.link.touched = Some(target.arn.clone());
            let aliases = world.present(&who.account, &region).map(|r| &r.aliases);
            if aliases.is_some_and(|all| all.get(name).is_some()) {
                let arn = kms_arn(&who.account, &region, name);
                return Err(ServiceError::aws(
                    "AlreadyExistsException",
                    format!("An alias with the name {arn} already exists"),
                ));
            }
            Needs::NotPending.check(&target)?;
            let held = aliases.map_or(0, |all| all.of_key(&target.id).count());
            if held >= MOST_PER_KEY {
                return Err(ServiceError::aws(
                    "LimitExceededException",
                    format!("Key {} has the most aliases allowed", target.arn),
                ));
            }
            let alias = Alias { key_id: target.id, created_at_ms: now_ms, updated_at_ms: now_ms };
            world.home(&who.account, &region).aliases.insert(name, alias);
            Ok(())
        })
    }

    /// Points an existing name at another key. The key it leaves may be pending deletion, the new one not.
    pub fn update_alias(&mut self, name: &str, key: &str) -> Result<(), Failure> {
        let call = self.call("UpdateAlias", Access::Write, name);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, now_ms| {
            checked_name(name)?;
            let home = world.present(&who.account, &region);
            let Some(old) = home.and_then(|r| r.aliases.get(name)).cloned() else {
                return Err(not_found(format!("Alias {} is not found.", kms_arn(&who.account, &region, name))));
            };
            let id = target_id(&who, &region, key)?;
            let target = world.writable_key(&who, &region, id, "UpdateAlias")?;
            if let Some(source) = home_key(world.present(&who.account, &region), &old.key_id) {
                authorize(world, &source, &who, "UpdateAlias")?;
            }
            Needs::NotPending.check(&target)?;
            world.link.touched = Some(target.arn);
            let alias = Alias { key_id: target.id, updated_at_ms: now_ms, ..old };
            world.home(&who.account, &region).aliases.insert(name, alias);
            Ok(())
        })
    }

    /// Frees a name. Works whatever state the key is in.
    pub fn delete_alias(&mut self, name: &str) -> Result<(), Failure> {
        let call = self.call("DeleteAlias", Access::Write, name);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, _| {
            checked_name(name)?;
            let home = world.present(&who.account, &region);
            let Some(old) = home.and_then(|r| r.aliases.get(name)) else {
                return Err(not_found(format!("Alias {} is not found.", kms_arn(&who.account, &region, name))));
            };
            if let Some(source) = home_key(home, &old.key_id) {
                authorize(world, &source, &who, "DeleteAlias")?;
            }
            world.home(&who.account, &region).aliases.remove(name);
            Ok(())
        })
    }

    /// Aliases of the region or of one key, a page at a time (1 to 100, default 50).
    pub fn list_aliases(
        &mut self,
        key: Option<&str>,
        limit: Option<i32>,
        marker: Option<&str>,
    ) -> Result<AliasPage, Failure> {
        let call = self.call("ListAliases", Access::Read, key.unwrap_or("*"));
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, at_ms| {
            let empty = KmsRegion::default();
            let view = world.kms.get(&(who.account.clone(), region.clone())).map_or(&empty, |r| r.at(at_ms));
            let id = key.map(|k| own_key_id(&who, &region, k)).transpose()?;
            if let Some(id) = id {
                super::find(view, &who, &region, id)?;
            }
            let (items, next_marker) = match id {
                Some(id) => page(view.aliases.of_key(id), limit, 50, 100, marker)?,
                None => page(view.aliases.iter(), limit, 50, 100, marker)?,
            };
            let aliases = items.into_iter().map(|(name, alias)| AliasEntry {
                alias_arn: kms_arn(&who.account, &region, name),
                alias_name: name.to_owned(),
                target_key_id: alias.key_id.clone(),
                created_at_ms: alias.created_at_ms,
                updated_at_ms: alias.updated_at_ms,
            });
            Ok(AliasPage { aliases: aliases.collect(), truncated: next_marker.is_some(), next_marker })
        })
    }
}

fn home_key(home: Option<&KmsRegion>, id: &str) -> Option<Arc<super::Key>> {
    home?.keys.get(id).cloned()
}
