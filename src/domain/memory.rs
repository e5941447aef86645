//! What earlier passes wrote down because it cannot be seen outside.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::id::{KeyArn, Region};
use super::moment::Moment;
use super::part::PartMemory;

/// The version of what is remembered in status. A status of a later version is not touched.
pub const MEMORY_VERSION: i32 = 1;

/// What is remembered about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Memory {
    /// The version that wrote it; 0 for none.
    #[serde(default)]
    pub version: i32,
    /// Whether the object was Ready at its last status write.
    #[serde(default)]
    pub was_ready: bool,
    /// Since when it could only be said to be ready by what was last known.
    #[serde(default)]
    pub unseen_since: Option<Moment>,
    /// Region by region.
    #[serde(default)]
    pub regions: BTreeMap<Region, RegionMemory>,
    /// The database's id.
    #[serde(default)]
    pub database: Option<String>,
    /// An attempt to deploy whose outcome is not known.
    #[serde(default)]
    pub deploying: Option<DeployIntent>,
    /// What runs inside the database, by name.
    #[serde(default)]
    pub parts: BTreeMap<String, PartMemory>,
    /// The regions of keys, by `namespace/name`, that a cluster has said it uses.
    #[serde(default)]
    pub claims: BTreeMap<String, BTreeSet<Region>>,
    /// The token that status has shown for the deletion of the object.
    #[serde(default)]
    pub deletion: Option<String>,
    /// The looks of this process. Not durable: a new process counts anew.
    #[serde(default)]
    pub looks: BTreeMap<Subject, Looks>,
    /// When this process last looked at the policy, and at everything. Not durable.
    #[serde(default)]
    pub looked: LastLooks,
    /// The repeatable writes that this process made lately, by [their effect](crate::plan::step::Step::effect), and when.
    /// Not durable.
    #[serde(default)]
    pub recent: BTreeMap<u64, Moment>,
    /// The policies that this process wrote lately, region by region. Not durable.
    #[serde(default)]
    pub policy_writes: BTreeMap<Region, Vec<PolicyWrite>>,
    /// Since when AWS has refused a region's policy to this process because it does not know a principal in it. Not
    /// durable.
    #[serde(default)]
    pub unknown_principals: BTreeMap<Region, Moment>,
    /// Since when the cloud has told this process that it cannot use the key of a region as the role. Not durable.
    #[serde(default)]
    pub refused_roles: BTreeMap<Region, Moment>,
}

/// One write of a key policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyWrite {
    /// The hash of the meaning of our statements in it.
    pub wish: String,
    /// When.
    pub at: Moment,
}

/// What is remembered about one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegionMemory {
    /// The key's ARN. Once here, it never changes for a key that we made.
    #[serde(default)]
    pub key: Option<KeyArn>,
    /// An attempt to create the key whose outcome is not known.
    #[serde(default)]
    pub creating: Option<KeyIntent>,
    /// An attempt to register the key whose outcome is not known.
    #[serde(default)]
    pub registering: Option<Moment>,
    /// The ARN that was read back as registered.
    #[serde(default)]
    pub registered: Option<String>,
    /// When that was, as the note on the key said when it was last seen.
    #[serde(default)]
    pub registered_at: Option<Moment>,
    /// The databases that status shows as older than the registration; absent: never counted.
    #[serde(default)]
    pub unprotected: Option<Unprotected>,
    /// An attempt to have the cloud make a record of the role, whose outcome is not known.
    #[serde(default)]
    pub linking: Option<Moment>,
    /// The cloud's id of the record that was made for this object.
    #[serde(default)]
    pub link: Option<String>,
    /// The state of the key that status shows.
    #[serde(default)]
    pub key_state: Option<String>,
    /// The hash of the policy that status shows.
    #[serde(default)]
    pub policy_hash: Option<String>,
    /// The cloud's principals that status shows. A cloud that names fewer later takes none of them away.
    #[serde(default)]
    pub principals: Vec<String>,
    /// The state of the deployment in this region that status shows.
    #[serde(default)]
    pub deployment: Option<String>,
    /// What was found of that deployment, where it is not this object's.
    #[serde(default)]
    pub found: Option<Found>,
    /// Whether the gate was open at the last status write.
    #[serde(default)]
    pub gate_was_open: bool,
    /// The token that status has shown for the removal of the region: also the mark that the removal was written down.
    #[serde(default)]
    pub removal: Option<String>,
}

/// What was found of a deployment that somebody else made, when it was first seen. It cannot be seen later: by then the
/// key may be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Found {
    /// It was there before the region's key was registered, so it is not encrypted with it.
    NotEncrypted,
    /// Nothing shows which of the two came first.
    Unverified,
}

/// The databases of a region that are older than the registration of its key, so that the key does not protect them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unprotected {
    /// How many there are.
    pub count: u32,
    /// The oldest of them, as `name (id)`.
    #[serde(default)]
    pub sample: Vec<String>,
}

/// A durable intent to create a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyIntent {
    /// The tag that the key of this attempt carries.
    pub nonce: String,
    /// When the attempt began.
    pub started_at: Moment,
}

/// A durable intent to deploy: to create the database, to add a region to it, or to make a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeployIntent {
    /// The region that is deployed to.
    pub region: Region,
    /// When the attempt began.
    pub started_at: Moment,
    /// The name of the part of the database that is made; absent: it is the database, or its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// What is looked at several times before anything rests on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Subject {
    /// A region's key: what its gate rests on, or that it is gone.
    Key(Region),
    /// What is deployed in a region: that it is gone.
    Deployment(Region),
    /// From where the cloud uses a region's key.
    Sources(Region),
    /// What runs inside the database under a name, or that nothing does.
    Part(String),
}

const DEPLOYMENT: &str = "deployment in ";
const SOURCES: &str = "addresses for ";
const PART: &str = "part ";

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Key(region) => region.to_string(),
            Subject::Deployment(region) => format!("{DEPLOYMENT}{region}"),
            Subject::Sources(region) => format!("{SOURCES}{region}"),
            Subject::Part(name) => format!("{PART}{name}"),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = <Region as std::str::FromStr>::Err;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(region) = text.strip_prefix(SOURCES) {
            return Ok(Self::Sources(region.parse()?));
        }
        if let Some(name) = text.strip_prefix(PART) {
            return Ok(Self::Part(name.to_owned()));
        }
        Ok(match text.strip_prefix(DEPLOYMENT) {
            Some(region) => Self::Deployment(region.parse()?),
            None => Self::Key(text.parse()?),
        })
    }
}

/// The gate's check that everything was seen so several times in a row.
pub const SEEN_REPEATEDLY: &str = "SeenRepeatedly";

/// How often in a row the same was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Looks {
    /// What was seen, as a number that differs when anything that the gate rests on differs.
    pub fingerprint: u64,
    /// How many looks in a row saw it, each at least the configured spacing after the one before.
    pub count: u32,
    /// When the last counted look was.
    pub last: Moment,
}

/// When the deeper looks were last made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LastLooks {
    /// At the policy.
    #[serde(default)]
    pub policy: Moment,
    /// At everything.
    #[serde(default)]
    pub everything: Moment,
}
