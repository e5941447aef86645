//! What is really there, for judges of safety: no call is made, nothing is late, refused, logged or counted.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::astra::{DatabaseType, StoredDatabase};
use super::iam::Identity;
use super::ident::arn_parts;
use super::kms::KeyState;
use super::policy::Facts;
use super::world::World;

/// A key as it is.
#[derive(Clone, Copy, Debug)]
pub struct TrueKey<'w> {
    /// Its ARN.
    pub arn: &'w str,
    /// Where it is.
    pub region: &'w str,
    /// Its state.
    pub state: KeyState,
    /// Its description.
    pub description: &'w str,
    /// Its tags.
    pub tags: &'w BTreeMap<String, String>,
}

impl World {
    /// Every key.
    pub fn true_keys(&self) -> impl Iterator<Item = TrueKey<'_>> {
        self.kms.iter().flat_map(|((_, region), home)| {
            home.get().keys.values().map(move |key| TrueKey {
                arn: &key.arn,
                region,
                state: key.state,
                description: &key.description,
                tags: &key.tags,
            })
        })
    }

    /// The ARN of the key that an alias points at.
    pub fn true_alias(&self, account: &str, region: &str, name: &str) -> Option<&str> {
        let home = self.kms.get(&(account.to_owned(), region.to_owned()))?.get();
        home.keys.get(home.aliases.get(name)?.key_id.as_str()).map(|key| key.arn.as_str())
    }

    /// The key that is registered.
    pub fn true_registration(&self, org: &str, kind: DatabaseType, region: &str) -> Option<&str> {
        let registrations = &self.astra.get(org)?.get().registrations;
        registrations.get(&(kind, region.to_owned())).map(|registration| registration.arn.as_str())
    }

    /// Every database that was ever made, in order of creation.
    pub fn true_databases(&self, org: &str) -> &[Arc<StoredDatabase>] {
        self.astra.get(org).map_or(&[], |org| &org.get().databases)
    }

    /// Whether a key's policy lets a principal of another account do something.
    pub fn truly_allows(&self, arn: &str, principal: &str, action: &str) -> bool {
        let (Some(key), Some(parts)) = (self.key_by_arn(arn), arn_parts(principal)) else {
            return false;
        };
        let who = Identity { account: parts[4].to_owned(), arn: principal.to_owned(), session: None };
        self.key_permits(key, &who, action, self.now_ms, Facts::default)
    }

    /// Whether anything was different at some moment after this one, so that a read from the past could show it.
    pub fn changed_after(&self, at_ms: i64) -> bool {
        self.kms.values().any(|home| home.changed_after(at_ms))
            || self.astra.values().any(|org| org.changed_after(at_ms))
            || self.singlestore.orgs.values().any(|org| org.changed_after(at_ms))
            || self.iam.changed_after(at_ms)
            || self.atlas_projects.values().any(|project| project.changed_after(at_ms))
    }

    /// Hashes what calls can see and change: keys, aliases, registrations and databases of Astra, roles, and projects of
    /// Atlas, with what they were lately. Of the rest, which a model leaves alone, nothing.
    pub fn hash_state<H: Hasher>(&self, state: &mut H) {
        for home in self.kms.values() {
            home.versions().for_each(|version| version.hash(state));
        }
        for org in self.astra.values() {
            for (until, org) in org.versions() {
                (until, &org.registrations, &org.databases).hash(state);
            }
        }
        self.iam.hash_state(state);
        for project in self.atlas_projects.values() {
            project.versions().for_each(|version| version.hash(state));
        }
    }

    /// Lets happen what is due by now without a call, as the next call would.
    pub fn catch_up(&mut self) {
        self.age_atlas();
    }

    /// Forgets what was before a moment: no read will be served from there any more.
    pub fn forget_before(&mut self, at_ms: i64) {
        self.kms.values_mut().for_each(|home| home.forget_before(at_ms));
        self.astra.values_mut().for_each(|org| org.forget_before(at_ms));
        self.singlestore.orgs.values_mut().for_each(|org| org.forget_before(at_ms));
        if self.iam.changed_after(i64::MIN) {
            Arc::make_mut(&mut self.iam).forget_before(at_ms);
        }
        self.atlas_projects.values_mut().for_each(|project| project.forget_before(at_ms));
    }
}
