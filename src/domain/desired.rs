//! What the YAML means once it is parsed. The raw spec is not seen after this.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::capabilities::{Capabilities, Scope};
use super::id::{AccountId, KeyArn, Name, Owner, Region, tag};
use super::memory::Memory;
use super::moment::Moment;
use super::part::NewPart;
use super::policy::principal::account_of;
use super::policy::{KeyAccount, Ownership};
use super::portal::{Attested, GroupRequest};
use super::reading::Reading;
use super::role_link::RoleWish;

/// What one object declares.
#[expect(clippy::large_enum_variant, reason = "one value a pass, never in a collection")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Desired {
    /// A `CustomerKey`.
    Key(DesiredKey),
    /// An `EncryptedCluster`.
    Cluster(DesiredCluster),
}

impl Desired {
    /// The facts of the object itself.
    pub fn object(&self) -> &Object {
        match self {
            Self::Key(key) => &key.object,
            Self::Cluster(cluster) => &cluster.object,
        }
    }

    /// The key that the object is about, as far as it is known.
    pub fn key(&self) -> Option<&DesiredKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Cluster(cluster) => cluster.key.present().map(|linked| &linked.key),
        }
    }

    /// What becomes of what is outside when the object goes.
    pub fn afterlife(&self) -> Afterlife {
        match self {
            Self::Key(key) => key.afterlife,
            // What was not made by us is never ours to delete.
            Self::Cluster(cluster) if cluster.deployment.as_ref().is_some_and(|d| d.bound_id.is_some() || d.adopts) => {
                Afterlife::Retain
            }
            Self::Cluster(cluster) => cluster.afterlife,
        }
    }

    /// The regions that the object itself declares, the primary first.
    pub fn regions(&self) -> Vec<&Region> {
        match self {
            Self::Key(key) => key.regions.keys().collect(),
            Self::Cluster(cluster) => {
                let mut regions: Vec<_> = cluster.regions.iter().filter(|r| **r != cluster.primary).collect();
                regions.insert(0, &cluster.primary);
                regions
            }
        }
    }
}

/// The facts of an object that come with it from the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Object {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// `metadata.generation`: changes with the spec.
    #[serde(default)]
    pub generation: i64,
    /// Whether its deletion was asked for.
    #[serde(default)]
    pub deleting: bool,
    /// Whether it carries our finalizer.
    #[serde(default)]
    pub finalizer: bool,
    /// Whether the annotation `cmk-operator.io/paused` is set.
    #[serde(default)]
    pub paused: bool,
    /// Its uid: no part of a key's identity, but of what a confirmation is for.
    #[serde(default)]
    pub uid: String,
    /// When its deletion was asked for.
    #[serde(default)]
    pub deletion_asked: Option<Moment>,
    /// The [tokens](super::confirmation::Token) in the annotation `cmk-operator.io/confirm-deletion`.
    #[serde(default)]
    pub confirmed: Vec<String>,
}

impl Object {
    /// The tag on a key that holds the id of the database that this cluster created under it. A hash stands for the name,
    /// since names may be longer than what a tag has room for
    /// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_Tag.html>).
    pub fn database_tag(&self) -> String {
        let identity = format!("{}/{}", self.namespace, self.name);
        format!("{}{}", tag::DATABASE_PREFIX, Ownership::of(&identity).hash())
    }
}

/// As whom AWS is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Access {
    /// The account that has to be reached.
    pub account: AccountId,
    /// The role to assume; the operator's own credentials act where it is absent.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// The External ID to assume it with: unique per namespace and never chosen by a user
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html>).
    pub external_id: String,
}

/// Whether an object's keys and databases may outlive it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Afterlife {
    /// Everything outside Kubernetes stays as it is.
    #[default]
    Retain,
    /// What we made is torn down, once that is confirmed.
    TearDown,
}

/// What a `CustomerKey` declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DesiredKey {
    /// The object.
    pub object: Object,
    /// The identity of its keys.
    pub owner: Owner,
    /// As whom AWS is called.
    pub access: Access,
    /// Its regions.
    pub regions: BTreeMap<Region, DesiredRegion>,
    /// The keys' description.
    #[serde(default)]
    pub description: String,
    /// The user's tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Days between automatic rotations; absent: rotation is left alone.
    #[serde(default)]
    pub rotation_days: Option<i32>,
    /// The region of the primary of a multi-Region key.
    #[serde(default)]
    pub multi_region: Option<Region>,
    /// What the policy has to hold beside what the cloud needs.
    #[serde(default)]
    pub policy: PolicyWish,
    /// The role of the customer's as which the cloud uses the key, where it does so.
    #[serde(default)]
    pub role: Option<RoleWish>,
    /// Where the key is registered.
    pub scope: Scope,
    /// What that cloud can do.
    pub capabilities: Capabilities,
    /// Who else claims its registrations.
    #[serde(default)]
    pub rivals: Rivals,
    /// What becomes of the keys when the object goes.
    #[serde(default)]
    pub afterlife: Afterlife,
    /// Days between the scheduling of a key's deletion and the deletion.
    #[serde(default = "thirty")]
    pub window_days: i32,
    /// The clusters that use the key or want to. Read when something is to be torn down, and then after that was written
    /// down, so that of a cluster and a teardown that race at least one sees the other; and for a key that is restricted to
    /// addresses, which that is lifted for.
    #[serde(default)]
    pub users: Reading<Vec<User>>,
    /// The regions whose teardown status shows: no cluster may begin to use them.
    #[serde(default)]
    pub leaving: BTreeSet<Region>,
    /// Whether nothing may be written anywhere outside Kubernetes.
    #[serde(default)]
    pub observe_only: bool,
}

impl DesiredKey {
    /// The account of the key, in the partition of a region.
    pub fn account_in(&self, region: &Region) -> KeyAccount {
        KeyAccount::new(region.partition(), self.access.account.as_str())
    }

    /// Whether IAM of the key's own account, which is asked, knows the policies of a role.
    pub fn sees_policies_of(&self, role: &str) -> bool {
        account_of(role) == Some(self.access.account.as_str())
    }

    /// Whether the key may be used from the cloud's addresses alone.
    pub fn restricts_sources(&self) -> bool {
        self.capabilities.through_role && self.role.as_ref().is_some_and(|role| role.restricts_sources)
    }

    /// The region of the key that databases of a region are under.
    pub fn home<'k>(&'k self, region: &'k Region) -> &'k Region {
        if !self.capabilities.one_key || self.regions.contains_key(region) {
            return region;
        }
        self.regions.keys().next().unwrap_or(region)
    }
}

/// Which older objects claim the registrations that an object wants. There is one registration per scope and region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rivals {
    /// Whether there are objects whose claims are not known yet; then nothing is claimed.
    #[serde(default)]
    pub unknown: bool,
    /// The oldest claimant, region by region, as this object's author may know it.
    #[serde(default)]
    pub older: BTreeMap<Region, String>,
}

fn thirty() -> i32 {
    30
}

/// An `EncryptedCluster` that uses a key, or wants to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// Its `namespace/name`.
    pub name: String,
    /// The regions that it declares, or has claimed and not given back.
    pub regions: BTreeSet<Region>,
    /// Whether something is being deployed for it, or waits for nothing but that addresses which are not known yet may use
    /// the key, as its status says.
    #[serde(default)]
    pub deploys: bool,
}

/// What a `CustomerKey` declares for one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DesiredRegion {
    /// An existing key to adopt.
    #[serde(default)]
    pub key_arn: Option<KeyArn>,
    /// Earlier keys that have to stay usable.
    #[serde(default)]
    pub previous: Vec<KeyArn>,
}

/// What a policy has to hold, as the user says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyWish {
    /// ARNs of IAM principals that administer the key.
    #[serde(default)]
    pub administrators: Vec<String>,
    /// Statements in the user's words, each as the one statement of a policy document in JSON.
    #[serde(default)]
    pub statements: Vec<WishedStatements>,
    /// Whole documents as a vendor's portal gives them.
    #[serde(default)]
    pub documents: Vec<WishedStatements>,
    /// Whether statements that are not ours are removed.
    #[serde(default)]
    pub remove_foreign: bool,
    /// Whether the account root's statement is added to an adopted key.
    #[serde(default)]
    pub ensure_root: bool,
    /// Whether deleted principals are removed from foreign statements.
    #[serde(default)]
    pub remove_orphaned: bool,
}

/// Policy text of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WishedStatements {
    /// Its name in the spec.
    pub name: String,
    /// The regions that it is for; none: all.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// The policy document in JSON.
    pub json: String,
    /// Whether the user accepts that it gives a third party more than use of the key.
    #[serde(default)]
    pub accept_risk: bool,
    /// The second region whose copies it lets be made; absent: it lets the cloud use the key for the key's own region.
    #[serde(default)]
    pub replication_to: Option<Region>,
}

impl WishedStatements {
    /// Whether it is meant for a region.
    pub fn applies_to(&self, region: &Region) -> bool {
        self.regions.is_empty() || self.regions.contains(region)
    }
}

/// What an `EncryptedCluster` declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DesiredCluster {
    /// The object.
    pub object: Object,
    /// The `CustomerKey` that it refers to, read in the same pass.
    pub key: Reading<LinkedKey>,
    /// How the spec names that key: `namespace/name`.
    pub key_ref: String,
    /// Its regions.
    pub regions: Vec<Region>,
    /// The region of the first deployment.
    pub primary: Region,
    /// What is deployed; absent: somebody else deploys.
    #[serde(default)]
    pub deployment: Option<Deployment>,
    /// What becomes of the database when the object goes.
    #[serde(default)]
    pub afterlife: Afterlife,
    /// The key for backups, where it is another one.
    #[serde(default)]
    pub backup: Option<BackupKey>,
}

impl DesiredCluster {
    /// The regions beside the one of the first deployment.
    pub fn secondaries(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().filter(|region| **region != self.primary)
    }

    /// The key for backups, where the cloud takes one. A cluster that only says when it is safe may name one all the same.
    pub fn backup_taken(&self) -> Option<&BackupKey> {
        let linked = self.key.present()?;
        self.backup.as_ref().filter(|_| linked.key.capabilities.has_portal())
    }

    /// Every key that it is to be under and may be: that of its data, and the one for backups where there is one.
    pub fn keys<'k>(&'k self, data: &'k LinkedKey) -> impl Iterator<Item = &'k DesiredKey> {
        let backup = self.backup.as_ref().and_then(|backup| backup.key.present()).filter(|backup| backup.allowed);
        [Some(data), backup].into_iter().flatten().map(|linked| &linked.key)
    }
}

/// A second `CustomerKey`, for backups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackupKey {
    /// The object, read in the same pass.
    pub key: Reading<LinkedKey>,
    /// How the spec names it: `namespace/name`.
    pub key_ref: String,
}

/// A `CustomerKey` as seen from an `EncryptedCluster`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkedKey {
    /// What it declares.
    pub key: DesiredKey,
    /// Whether it allows clusters of this namespace.
    pub allowed: bool,
}

/// What an `EncryptedCluster` deploys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Deployment {
    /// Where; equal to the key's scope, or it is refused.
    pub scope: Scope,
    /// What this build can do there.
    pub capabilities: Capabilities,
    /// An existing database to bind.
    #[serde(default)]
    pub bound_id: Option<String>,
    /// Whether an existing database of the declared name is bound.
    #[serde(default)]
    pub adopts: bool,
    /// What to create.
    pub request: DatabaseRequest,
    /// Whether a human makes it, in the cloud's portal.
    #[serde(default)]
    pub by_hand: bool,
    /// What a human saw of its encryption.
    #[serde(default)]
    pub attested: Option<Attested>,
}

impl Deployment {
    /// What is to run inside the database, where the cloud makes that apart.
    pub fn parts(&self) -> &[NewPart] {
        let parts = self.request.group.as_ref().filter(|_| self.capabilities.makes_parts);
        parts.map(|group| group.parts.as_slice()).unwrap_or_default()
    }

    /// Whether what runs inside the database matters: something is declared, was made, or may have been.
    pub fn looks_at_parts(&self, memory: &Memory) -> bool {
        let attempted = memory.deploying.as_ref().is_some_and(|intent| intent.part.is_some());
        self.capabilities.makes_parts && (!self.parts().is_empty() || !memory.parts.is_empty() || attempted)
    }
}

/// A database to be created.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseRequest {
    /// Its name.
    pub name: String,
    /// The vendor's size or tier.
    #[serde(default)]
    pub tier: String,
    /// How many units of that size.
    #[serde(default)]
    pub capacity_units: Option<i32>,
    /// The first keyspace.
    #[serde(default)]
    pub keyspace: Option<String>,
    /// The vendor's kind of database.
    #[serde(default)]
    pub database_type: Option<String>,
    /// What else a cloud with a [`Portal`](super::portal::Portal) is asked for.
    #[serde(default)]
    pub group: Option<GroupRequest>,
    /// What is said of a cluster that is created in all its regions at once.
    #[serde(default)]
    pub cluster: Option<ClusterRequest>,
}

/// A cluster that is created in all its regions at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClusterRequest {
    /// Its regions.
    pub regions: Vec<Region>,
    /// The nodes that can be elected, where another number is declared than the usual one.
    #[serde(default)]
    pub nodes: BTreeMap<Region, i32>,
    /// The version of the database.
    #[serde(default)]
    pub version: Option<String>,
    /// The size of each node's disk in GiB.
    #[serde(default)]
    pub disk_gb: Option<i32>,
    /// Whether the cloud backs it up.
    #[serde(default)]
    pub backup: bool,
}

/// A key to be created.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewKey {
    /// Its description.
    pub description: String,
    /// Its tags: the owner's, the nonce, the holder's and the user's.
    pub tags: BTreeMap<String, String>,
    /// Its first policy: root and operator only.
    pub policy: String,
    /// Whether it is the primary of a multi-Region key.
    pub multi_region: bool,
}
