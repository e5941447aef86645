//! What users write and read: the two kinds of the group `cmk-operator.io` and nothing else.
//!
//! Read [`customer_key`] first, then [`encrypted_cluster`]; `upstream`, `policy` and `deployment` are parts of
//! their specs. The schemas refuse what can be refused without looking outside (bounds, immutability, fields
//! that contradict each other), so that a mistake is seen at `kubectl apply`, not an hour later in status.
//!
//! Absent on purpose: decisions, clocks and clients. What a field means to the planner is said where the planner
//! converts it; here stands what it means to the person who writes it.

#![allow(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "the docs of fields are what `kubectl explain` prints, as plain text"
)]
#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct into a function of its own, where `pub` reaches nobody"
)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub mod admission;
pub mod condition;
pub mod customer_key;
pub mod customer_key_status;
pub mod deployment;
pub mod encrypted_cluster;
pub mod encrypted_cluster_status;
mod hand_off;
pub mod parse;
pub mod policy;
pub mod reasons;
mod schema;
pub mod upstream;

pub use customer_key::{
    AllowedNamespaces, AwsAccount, CustomerKey, CustomerKeySpec, KeyDeletionPolicy, KeyRegion, KeySettings,
    LabelRequirement, LabelSelector, ManagementPolicy, MultiRegion, NamespacesFrom, Rotation, SelectorOperator,
};
pub use customer_key_status::{
    AwsStatus, CloudRoleStatus, CreationIntent, CustomerKeyStatus, DeletionStatus, KeyRegionStatus, MultiRegionRole,
    RegistrationAttempt, RotationStatus, SurplusKey, UnprotectedDatabases, UsedBy,
};
pub use deployment::{
    AstraDeployment, AtlasDeployment, AtlasRegionNodes, Attestation, Deployment, ExistingPolicy, HandOffMode,
    PasswordSecretRef, Replication, SingleStoreDeployment, VectorType, Workspace,
};
pub use encrypted_cluster::{
    ClusterDeletionPolicy, ClusterRegion, CustomerKeyRef, EncryptedCluster, EncryptedClusterSpec,
};
pub use encrypted_cluster_status::{
    ClusterCreation, ClusterRegionStatus, ClusterWorkspace, CreationKind, EncryptedClusterStatus, Endpoint,
    FoundDeployment, GateCheck, GateStatus, HumanStep, KeyClaim,
};
pub use policy::{ConditionMap, Effect, ForeignStatements, PolicyDocument, PolicySpec, Principals, Statement};
pub use upstream::{
    AstraDatabaseType, AstraUpstream, AtlasRole, AtlasUpstream, CreateRole, SecretRef, SingleStoreUpstream, Upstream,
};

/// The API group of both kinds.
pub const GROUP: &str = "cmk-operator.io";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// The revision of the schemas. A CRD with a lower one may prune what this binary has to remember.
pub const SCHEMA_VERSION: i32 = 1;
/// The revision of what status remembers; a higher one was written by a newer binary.
pub const MEMORY_VERSION: i32 = 1;

/// The `observedGeneration` of an object that the operator has not seen yet.
pub const UNSEEN_GENERATION: i64 = -1;

/// The finalizer of both kinds.
pub const FINALIZER: &str = "cmk-operator.io/finalizer";

/// Annotation on the CRDs: the revision of their schemas.
pub const ANNOTATION_SCHEMA_VERSION: &str = "cmk-operator.io/schema-version";
/// Annotation on objects: `"true"` stops every write outside Kubernetes.
pub const ANNOTATION_PAUSED: &str = "cmk-operator.io/paused";
/// Annotation on objects: a new value asks for a pass at full depth.
pub const ANNOTATION_RECONCILE_REQUESTED_AT: &str = "cmk-operator.io/reconcile-requested-at";
/// Annotation on objects: the token that confirms a deletion.
pub const ANNOTATION_CONFIRM_DELETION: &str = "cmk-operator.io/confirm-deletion";

/// The prefix of every AWS tag that is ours.
pub const TAG_PREFIX: &str = "cmk-operator.io/";
/// Tag on an AWS key: its owner's consent to adoption, `<installation>/<namespace>/<name>`.
pub const TAG_ADOPT_BY: &str = "cmk-operator.io/adopt-by";
/// Tag on an AWS key: an administrator's stop.
pub const TAG_HOLD: &str = "cmk-operator.io/hold";
/// Tag on an AWS key: the cluster (uid of kube-system) that holds it.
pub const TAG_HOLDER: &str = "cmk-operator.io/holder";

/// The status that the API server shows before the operator writes one. Without it, tools that wait for objects (kstatus:
/// Flux, Argo CD, `helm --wait`) take a new object, which has no conditions yet, for done.
fn unseen() -> serde_json::Value {
    serde_json::json!({ "memoryVersion": 0, "observedGeneration": UNSEEN_GENERATION })
}

/// Every CRD of the group, in the order in which they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![CustomerKey::crd(), EncryptedCluster::crd()];
    for crd in &mut crds {
        for version in &mut crd.spec.versions {
            if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
                schema::join_lines(root);
            }
        }
    }
    crds
}

/// The generated files of `crds/`: file name and content.
pub fn crd_files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    all().iter().map(|crd| Ok((format!("{}.yaml", crd.spec.names.plural), serde_saphyr::to_string(crd)?))).collect()
}

/// Every CRD as one stream of YAML documents, as `cmk-operator crds` prints it.
pub fn crds_yaml() -> Result<String, serde_saphyr::ser::Error> {
    let documents: Vec<String> = crd_files()?.into_iter().map(|(_, yaml)| yaml).collect();
    Ok(format!("---\n{}", documents.join("---\n")))
}
