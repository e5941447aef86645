//! What a test can do to the clouds behind everybody's back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::astra::{AstraRegion, DatabaseType, OrgSettings};
use super::atlas::AtlasCommand;
use super::iam::{Identity, Trust};
use super::kms::KeyState;
use super::policy::{self, Policy};
use super::settings::Settings;
use super::world::World;

/// One act of somebody else: an administrator, the vendor, fate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Sets what holds for the world as a whole; what is not named goes back to its default.
    SetSettings(Settings),
    /// Changes the settings that are named.
    PatchSettings(Map<String, Value>),
    /// Disables a key.
    DisableKey {
        /// Key ARN.
        arn: String,
    },
    /// Enables a key; takes back a scheduled deletion too.
    EnableKey {
        /// Key ARN.
        arn: String,
    },
    /// Schedules the end of a key.
    ScheduleKeyDeletion {
        /// Key ARN.
        arn: String,
        /// Days from now.
        window_days: i32,
    },
    /// Removes a key and its aliases at once.
    DeleteKey {
        /// Key ARN.
        arn: String,
    },
    /// Puts a policy with no check of what it does to the caller; principals are still resolved if they can be.
    PutPolicy {
        /// Key ARN.
        arn: String,
        /// Policy text.
        policy: String,
    },
    /// Replaces all tags of a key.
    SetTags {
        /// Key ARN.
        arn: String,
        /// Tags.
        tags: BTreeMap<String, String>,
    },
    /// Makes a key one of another kind, in the words of `DescribeKey`, as somebody may have made it; what is not named stays.
    SetKind {
        /// Key ARN.
        arn: String,
        /// `RSA_2048`, `HMAC_256`, ...
        #[serde(default)]
        key_spec: Option<String>,
        /// `SIGN_VERIFY`, ...
        #[serde(default)]
        key_usage: Option<String>,
        /// `EXTERNAL`, `AWS_CLOUDHSM`, ...
        #[serde(default)]
        origin: Option<String>,
        /// `AWS`
        #[serde(default)]
        key_manager: Option<String>,
        /// How long ago it was made, in seconds.
        #[serde(default)]
        age_s: Option<i64>,
    },
    /// Points an alias at a key, wherever it pointed before.
    SetAlias {
        /// Key ARN.
        arn: String,
        /// `alias/...`
        alias: String,
    },
    /// Creates a role or user; one that exists is deleted first, so it gets a new unique id.
    CreatePrincipal {
        /// `arn:aws:iam::<account>:role/...` or `user/...`
        arn: String,
        /// Who may assume the role.
        #[serde(default)]
        trust: Option<Trust>,
    },
    /// Deletes a role or user: policies show its unique id from now on.
    DeletePrincipal {
        /// ARN.
        arn: String,
    },
    /// Says what a role or user may do: inline policies by name, or everything.
    SetRolePolicies {
        /// ARN.
        arn: String,
        /// Policy documents as JSON; absent: it is an administrator.
        #[serde(default)]
        policies: Option<BTreeMap<String, Value>>,
    },
    /// Puts a managed policy, for permissions boundaries.
    PutManagedPolicy {
        /// ARN.
        arn: String,
        /// Policy document as JSON.
        document: Value,
    },
    /// Something about Atlas.
    Atlas(AtlasCommand),
    /// Says whether a principal of an account that is not simulated exists.
    SetExternalPrincipal {
        /// ARN.
        arn: String,
        /// Whether it does.
        exists: bool,
    },
    /// Lets an access key id stand for a principal.
    AddAccessKey {
        /// Access key id.
        access_key_id: String,
        /// ARN of a user or role.
        principal: String,
    },
    /// Takes an access key id away: nobody has it any more.
    RemoveAccessKey {
        /// Access key id.
        access_key_id: String,
    },
    /// Denies an action to a principal by identity policy, or stops doing so.
    SetDenied {
        /// ARN, or `*`.
        principal: String,
        /// `kms:CreateKey`, `kms:*`, `tag:GetResources`, `sts:AssumeRole`.
        action: String,
        /// Whether it is denied.
        denied: bool,
    },
    /// Adds an Astra organization with one token of all permissions.
    AddOrg {
        /// Organization id.
        org: String,
        /// Token.
        token: String,
        /// Regions.
        regions: BTreeMap<String, AstraRegion>,
        /// Behaviour.
        #[serde(default)]
        settings: OrgSettings,
    },
    /// Sets how an organization behaves; what is not named goes back to its default.
    SetOrgSettings {
        /// Organization id.
        org: String,
        /// Behaviour.
        settings: OrgSettings,
    },
    /// Changes those of an organization's behaviours that are named.
    PatchOrgSettings {
        /// Organization id.
        org: String,
        /// Fields of [`OrgSettings`].
        settings: Map<String, Value>,
    },
    /// Sets the vendor's accounts in a region, several if wanted; the region is made if unknown.
    SetAccounts {
        /// Organization id.
        org: String,
        /// Region.
        region: String,
        /// Only for this type of databases; absent: for both.
        #[serde(default)]
        kind: Option<DatabaseType>,
        /// 12-digit ids.
        accounts: Vec<String>,
    },
    /// Reserves a region, or opens it.
    SetLocked {
        /// Organization id.
        org: String,
        /// Region.
        region: String,
        /// Whether it is locked.
        locked: bool,
    },
    /// Registers a key as somebody else, replacing what was there.
    Register {
        /// Organization id.
        org: String,
        /// Type of databases.
        kind: DatabaseType,
        /// Region.
        region: String,
        /// Key ARN.
        arn: String,
    },
    /// Forgets a registration, as the vendor's support can.
    ForgetRegistration {
        /// Organization id.
        org: String,
        /// Type of databases.
        kind: DatabaseType,
        /// Region.
        region: String,
    },
    /// Adds a database as somebody made it some time ago, when no key was registered.
    AddDatabase {
        /// Organization id.
        org: String,
        /// Name.
        name: String,
        /// `serverless`, or a classic size such as `D10`.
        tier: String,
        /// Region.
        region: String,
        /// How long ago, in seconds.
        age_s: i64,
    },
    /// Adds a token or changes what it may do.
    SetToken {
        /// Token.
        token: String,
        /// Organization id.
        org: String,
        /// Permissions; absent: all.
        #[serde(default)]
        permissions: Option<BTreeSet<String>>,
    },
    /// Kills a token.
    KillToken {
        /// Token.
        token: String,
    },
    /// Something about `SingleStore`.
    Singlestore(super::singlestore::Command),
}

fn principal(arn: &str) -> Result<(&str, &str), String> {
    let parts = super::ident::arn_parts(arn).ok_or_else(|| format!("{arn} is not an ARN"))?;
    Ok((parts[4], parts[5]))
}

/// A value with some of its fields replaced.
pub(super) fn patched<T: Serialize + DeserializeOwned>(current: &T, patch: Map<String, Value>) -> Result<T, String> {
    let mut value = serde_json::to_value(current).map_err(|e| e.to_string())?;
    for (name, new) in patch {
        value[name] = new;
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}

impl World {
    /// Does it, or says what it did not find.
    pub fn command(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::SetSettings(settings) => self.set_settings(settings),
            Command::PatchSettings(patch) => {
                let settings = patched(self.settings(), patch)?;
                self.set_settings(settings);
            }
            Command::DisableKey { .. }
            | Command::EnableKey { .. }
            | Command::ScheduleKeyDeletion { .. }
            | Command::DeleteKey { .. }
            | Command::PutPolicy { .. }
            | Command::SetTags { .. }
            | Command::SetKind { .. }
            | Command::SetAlias { .. } => return self.key_command(command),
            Command::CreatePrincipal { arn, trust } => {
                if self.create_principal(&arn, trust).is_none() {
                    return Err(format!("{arn} is not the ARN of a role or user"));
                }
            }
            Command::DeletePrincipal { arn } => {
                if !self.delete_principal(&arn) {
                    return Err(format!("no principal {arn}"));
                }
            }
            Command::SetExternalPrincipal { arn, exists } => {
                Arc::make_mut(&mut self.iam).set_missing(&arn, !exists);
            }
            Command::SetRolePolicies { arn, policies } => {
                let text = |(name, document): (String, Value)| (name, document.to_string());
                let policies = policies.map(|all| all.into_iter().map(text).collect());
                let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
                if !Arc::make_mut(&mut self.iam).set_policies(&arn, policies, now_ms, keep_ms) {
                    return Err(format!("no principal {arn}"));
                }
            }
            Command::PutManagedPolicy { arn, document } => {
                Arc::make_mut(&mut self.iam).put_managed(&arn, &document.to_string());
            }
            Command::Atlas(command) => return self.atlas_command(command),
            Command::AddAccessKey { access_key_id, principal: arn } => {
                let (account, _) = principal(&arn)?;
                let who = Identity { account: account.into(), arn: arn.clone(), session: None };
                self.add_access_key(&access_key_id, who);
            }
            Command::RemoveAccessKey { access_key_id } => {
                if !Arc::make_mut(&mut self.iam).remove_access_key(&access_key_id) {
                    return Err(format!("no access key {access_key_id}"));
                }
            }
            Command::SetDenied { principal, action, denied } => {
                Arc::make_mut(&mut self.iam).set_denied(&principal, &action, denied);
            }
            Command::Singlestore(command) => return self.singlestore_command(command),
            other => return self.astra_command(other),
        }
        Ok(())
    }

    fn key_command(&mut self, command: Command) -> Result<(), String> {
        let now_ms = self.now_ms();
        let (arn, found) = match command {
            Command::DisableKey { arn } => {
                let found = self.edit_key(&arn, |k| k.set_state(KeyState::Disabled));
                (arn, found)
            }
            Command::EnableKey { arn } => {
                let found = self.edit_key(&arn, |k| k.set_state(KeyState::Enabled));
                (arn, found)
            }
            Command::ScheduleKeyDeletion { arn, window_days } => {
                let found = self.edit_key(&arn, |k| k.schedule_deletion(now_ms, window_days, false));
                (arn, found)
            }
            Command::DeleteKey { arn } => {
                let found = self.remove_key(&arn);
                (arn, found)
            }
            Command::PutPolicy { arn, policy: text } => {
                let (account, _) = principal(&arn)?;
                let who = Identity::of_account(account);
                let accepted = policy::accept(&text, &self.iam, &who, &arn, i64::MAX, true);
                let put = accepted.unwrap_or_else(|_| Policy::unchecked(&text));
                let found = self.edit_key(&arn, |k| k.policy = put);
                (arn, found)
            }
            Command::SetTags { arn, tags } => {
                let found = self.edit_key(&arn, |k| {
                    k.was_tagged |= !tags.is_empty();
                    k.tags = tags;
                });
                (arn, found)
            }
            Command::SetKind { arn, key_spec, key_usage, origin, key_manager, age_s } => {
                let words = [&key_spec, &key_usage, &origin, &key_manager].map(Option::as_deref);
                let mut known = true;
                let found = self.edit_key(&arn, |k| {
                    match k.kind.with(words) {
                        Some(kind) => k.kind = kind,
                        None => known = false,
                    }
                    k.created_at_ms = age_s.map_or(k.created_at_ms, |age| now_ms - age * 1000);
                });
                if !known {
                    return Err("KMS has no such kind of keys".to_owned());
                }
                (arn, found)
            }
            Command::SetAlias { arn, alias } => {
                let found = self.point_alias(&alias, &arn);
                (arn, found)
            }
            _ => return Ok(()),
        };
        if found { Ok(()) } else { Err(format!("no key {arn}")) }
    }

    fn astra_command(&mut self, command: Command) -> Result<(), String> {
        let now_ms = self.now_ms();
        let (org, found) = match command {
            Command::AddOrg { org, token, regions, settings } => {
                self.add_astra_org(&org, regions, settings);
                self.set_astra_token(&token, &org, None);
                return Ok(());
            }
            Command::SetToken { token, org, permissions } => {
                self.set_astra_token(&token, &org, permissions);
                return Ok(());
            }
            Command::KillToken { token } => {
                return if self.kill_astra_token(&token) { Ok(()) } else { Err("no such token".into()) };
            }
            Command::SetOrgSettings { org, settings } => {
                let found = self.edit_astra_org(&org, |o| *o.settings_mut() = settings);
                (org, found)
            }
            Command::PatchOrgSettings { org, settings } => {
                let current = self.astra.get(&org).map(|o| o.get().settings.clone());
                let current = current.ok_or_else(|| format!("no organization {org}"))?;
                let settings = patched(&current, settings)?;
                let found = self.edit_astra_org(&org, |o| *o.settings_mut() = settings);
                (org, found)
            }
            Command::SetAccounts { org, region, kind, accounts } => {
                let found = self.edit_astra_org(&org, |o| {
                    let offered = o.region_mut(&region);
                    if kind != Some(DatabaseType::Serverless) {
                        offered.classic_accounts.clone_from(&accounts);
                    }
                    if kind != Some(DatabaseType::Classic) {
                        offered.serverless_accounts = accounts;
                    }
                });
                (org, found)
            }
            Command::SetLocked { org, region, locked } => {
                let found = self.edit_astra_org(&org, |o| o.region_mut(&region).locked = locked);
                (org, found)
            }
            Command::Register { org, kind, region, arn } => {
                let found = self.edit_astra_org(&org, |o| o.preregister(kind, &region, &arn, now_ms));
                (org, found)
            }
            Command::AddDatabase { org, name, tier, region, age_s } => {
                let found = self.add_old_database(&org, name, tier, region, now_ms - age_s * 1000)?;
                (org, found)
            }
            Command::ForgetRegistration { org, kind, region } => {
                let found = self.edit_astra_org(&org, |o| o.forget_registration(kind, &region));
                (org, found)
            }
            _ => return Ok(()),
        };
        if found { Ok(()) } else { Err(format!("no organization {org}")) }
    }
}
