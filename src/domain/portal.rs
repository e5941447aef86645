//! What a cloud leaves to its portal: which words lead a human through it, and what the human says that was seen there.

use serde::{Deserialize, Serialize};

use super::condition::Actor;
use super::id::{KeyArn, Region};
use super::observed::DatabaseState;
use super::part::NewPart;

/// A cloud of which a human does in a portal what no API does: copy the policy that it suggests, and read which key a
/// database is under. These are the words of that cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Portal {
    /// How many equal looks in a row a state has to be seen before it is believed.
    pub believed_after: u32,
    /// What the cloud calls a database of ours.
    pub database: String,
    /// What the cloud calls a part of one.
    pub part: String,
    /// The form with which one is made.
    pub form: String,
    /// The form with which a second region is set up.
    pub replication_form: String,
    /// Where the portal shows the keys of a database.
    pub proof: String,
    /// The field of the spec that names a database which a human made.
    pub bind: String,
    /// The field of the spec that says what a human saw.
    pub attest: String,
    /// What the cloud demands before any of this is possible.
    pub prerequisites: String,
    /// What it means to lose the key.
    pub risk: String,
}

impl Portal {
    /// `SingleStore` Helios: its guide to customer-managed keys, section AWS volume encryption
    /// (<https://docs.singlestore.com/cloud/security/encryption/customer-managed-encryption-keys/>). Its portal's policy
    /// is printed nowhere, and no call reads back which key a group is under. Five equal polls are what the vendor's
    /// Terraform provider waits for (github.com/singlestore-labs/terraform-provider-singlestoredb).
    pub fn singlestore() -> Self {
        Self {
            believed_after: 5,
            database: "workspace group".to_owned(),
            part: "workspace".to_owned(),
            form: "the form for a new workspace group in SingleStore's portal".to_owned(),
            replication_form: "the form for replication of the workspace group in SingleStore's portal".to_owned(),
            proof: "the Security tab of the workspace group in SingleStore's portal".to_owned(),
            bind: "spec.deployment.singleStore.workspaceGroupId".to_owned(),
            attest: "spec.deployment.singleStore.attested".to_owned(),
            prerequisites: "SingleStore offers this in its Enterprise edition, and for replication only to users with the role owner or operator".to_owned(),
            risk: "keys can be named only there and then, and never changed; if a key is revoked or deleted later, the workspaces stop at once and their data may be lost".to_owned(),
        }
    }
}

/// The keys of a database, or of its copy in another region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BucketKeys {
    /// For data and volumes.
    pub data: KeyArn,
    /// For backups; may be the same.
    pub backup: KeyArn,
}

/// What a human saw in a portal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attested {
    /// The id of the database that was looked at.
    pub database: String,
    /// Who looked.
    pub by: String,
    /// When, as the human writes it.
    pub date: String,
    /// The keys that were shown.
    pub keys: BucketKeys,
}

/// What is asked for beside what every cloud is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupRequest {
    /// The address ranges that may connect; none: nobody.
    #[serde(default)]
    pub firewall_ranges: Vec<String>,
    /// The project in the organization.
    #[serde(default)]
    pub project: Option<String>,
    /// The keys of the region that is asked for; filled in by the decision, never by a spec.
    #[serde(default)]
    pub keys: Option<BucketKeys>,
    /// What is to run inside.
    #[serde(default)]
    pub parts: Vec<NewPart>,
    /// What a second region copies.
    #[serde(default)]
    pub copies: Option<Copies>,
}

/// What is copied to a second region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Copies {
    /// Databases by name.
    #[serde(default)]
    pub names: Vec<String>,
    /// And all that are made later.
    pub automatic: bool,
}

/// The copy of a database in a second region, as the cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// The region; absent: the cloud does not say, as long as there is nothing to copy.
    #[serde(default)]
    pub region: Option<String>,
    /// Its state.
    pub state: DatabaseState,
    /// What the cloud says of it.
    #[serde(default)]
    pub words: String,
}

/// A step that a human has to do, in the normal course.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HumanStep {
    /// What it is about, in a few words.
    pub title: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Who does it.
    pub who: Actor,
    /// What to do.
    pub instructions: String,
    /// What to paste, to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paste: Option<String>,
}
