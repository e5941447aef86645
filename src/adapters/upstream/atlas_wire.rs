//! The bodies of Atlas's Administration API, as far as we read them, and what they mean in our words.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::desired::{ClusterRequest, DatabaseRequest};
use crate::domain::fault::{Cause, FaultClass};
use crate::domain::id::Region;
use crate::domain::observed::{Database, DatabaseState, Encryption};
use crate::domain::role_link::{RegistrationSeen, RoleLink, Through};

/// The highest priority of a region: its nodes are elected first
/// (<https://www.mongodb.com/docs/atlas/reference/api-resources-spec/v2/>, `replicationSpecs[].regionConfigs[].priority`).
const FIRST_PRIORITY: i64 = 7;

/// A region in Atlas's spelling.
pub(super) fn spelled(region: &Region) -> String {
    region.as_str().to_ascii_uppercase().replace('-', "_")
}

/// A region in AWS's spelling.
pub(super) fn aws_name(region: &str) -> String {
    region.to_ascii_lowercase().replace('_', "-")
}

/// An error (schema `ApiError`).
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ApiError {
    error_code: Option<String>,
    detail: Option<String>,
}

impl ApiError {
    /// The vendor's code, if it says one.
    pub(super) fn code(&self) -> Option<&str> {
        self.error_code.as_deref().filter(|code| !code.is_empty())
    }

    /// What it says, code and words.
    pub(super) fn words(&self) -> Option<String> {
        let detail = self.detail.as_deref().unwrap_or_default();
        let text = [self.code().unwrap_or_default(), detail].join(" ").trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// What a code means (<https://www.mongodb.com/docs/atlas/reference/api-errors/>), where it says more than the status.
pub(super) fn meaning(code: &str) -> Option<(FaultClass, Cause)> {
    Some(match code {
        // While the role's trust and the key's policy spread, the vendor's own clients repeat the call for minutes on these.
        "CANNOT_ASSUME_ROLE"
        | "INVALID_AWS_CREDENTIALS"
        | "CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED"
        | "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND" => (FaultClass::Settling, Cause::CloudRole),
        // Whether the key can be used is seen at the key; until then this passes with it.
        "AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED"
        | "AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_DELETION"
        | "AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_IMPORT" => (FaultClass::Settling, Cause::Other),
        "NOT_IN_GROUP" | "GROUP_NOT_FOUND" | "INVALID_GROUP_ID" => (FaultClass::Refused, Cause::Scope),
        "USER_UNAUTHORIZED" | "NOT_ORG_GROUP_CREATOR" | "IP_ADDRESS_NOT_ON_ACCESS_LIST" => {
            (FaultClass::Refused, Cause::Permission)
        }
        // The world is not as it was looked at.
        "DUPLICATE_CLUSTER_NAME"
        | "CLUSTER_ALREADY_REQUESTED_DELETION"
        | "CLUSTER_NOT_FOUND"
        | "ENCRYPTION_AT_REST_NOT_ENABLED" => (FaultClass::Conflict, Cause::Other),
        "RATE_LIMITED_TOKEN_BUCKET" => (FaultClass::Throttled, Cause::Other),
        // Somebody has to do something in the cloud, and then it goes through unchanged.
        "ENCRYPTION_AT_REST_SETTINGS_INVALID"
        | "CANNOT_DISABLE_ENCRYPTION_AT_REST"
        | "CLOUD_PROVIDER_ACCESS_ROLE_IN_USE"
        | "ENCRYPTION_AT_REST_PROVIDER_NOT_SUPPORTED"
        | "CANNOT_USE_ENCRYPTION_AT_REST_TENANT"
        | "CANNOT_CHANGE_ENCRYPTION_AT_REST_PROVIDER"
        | "CANNOT_UPDATE_PAUSED_CLUSTER"
        | "TENANT_CLUSTER_UPDATE_UNSUPPORTED"
        | "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED"
        | "DUPLICATE_CLUSTER_NAME_PREFIX"
        | "OUT_OF_CAPACITY"
        | "REGION_UNAVAILABLE"
        | "UNSUPPORTED_FEATURE" => (FaultClass::Refused, Cause::Other),
        // Our requests are not what the API takes.
        "AWS_KMS_CREDENTIALS_AUTH_DEPRECATED" | "INVALID_VERSION_DATE" | "NOT_ACCEPTABLE" | "VERSION_REMOVED" => {
            (FaultClass::Terminal, Cause::Other)
        }
        _ => return None,
    })
}

/// A project (schema `Group`).
#[derive(Deserialize)]
pub(super) struct Project {
    pub(super) id: String,
}

/// `GET .../cloudProviderAccess`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Roles {
    pub(super) aws_iam_roles: Vec<Role>,
}

/// A role (schema `CloudProviderAccessRole`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Role {
    #[serde(rename = "roleId")]
    id: String,
    #[serde(rename = "atlasAWSAccountArn")]
    atlas_aws_account_arn: String,
    atlas_assumed_role_external_id: String,
    #[serde(default)]
    created_date: Option<String>,
    #[serde(default)]
    authorized_date: Option<String>,
    #[serde(default)]
    iam_assumed_role_arn: Option<String>,
}

impl From<Role> for RoleLink {
    fn from(role: Role) -> Self {
        Self {
            id: role.id,
            trusted: role.atlas_aws_account_arn,
            external_id: role.atlas_assumed_role_external_id,
            role_arn: role.iam_assumed_role_arn.filter(|arn| !arn.is_empty()),
            authorized: role.authorized_date.is_some_and(|date| !date.is_empty()),
            created_at: role.created_date.and_then(|date| date.parse().ok()),
        }
    }
}

/// `GET .../encryptionAtRest`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptionAtRest {
    #[serde(default)]
    aws_kms: Option<AwsKms>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsKms {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default, rename = "customerMasterKeyID")]
    customer_master_key_id: Option<String>,
    #[serde(default)]
    role_id: Option<String>,
    #[serde(default, rename = "accessKeyID")]
    access_key_id: Option<String>,
    #[serde(default)]
    valid: Option<bool>,
}

impl EncryptionAtRest {
    /// The key that is set, if one is; an error for an answer that does not say which.
    pub(super) fn registration(self) -> Result<Option<RegistrationSeen>, &'static str> {
        let Some(aws) = self.aws_kms else { return Ok(None) };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        match (aws.enabled, given(aws.customer_master_key_id)) {
            (Some(false), _) | (None, None) => Ok(None),
            (Some(true), None) => Err("a key is enabled, and the answer does not name it"),
            (Some(true) | None, Some(key)) => Ok(Some(RegistrationSeen {
                key,
                // What is not said is not claimed.
                usable: aws.valid == Some(true),
                through: match (given(aws.role_id), given(aws.access_key_id)) {
                    (Some(role), _) => Through::Link(role),
                    (None, Some(_)) => Through::Credentials,
                    (None, None) => Through::NotSaid,
                },
            })),
        }
    }
}

/// A page of clusters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Clusters {
    pub(super) results: Vec<Cluster>,
    #[serde(default)]
    pub(super) total_count: Option<usize>,
}

/// A cluster (schema `ClusterDescription20240805`).
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    state_name: String,
    #[serde(default)]
    create_date: Option<String>,
    #[serde(default)]
    encryption_at_rest_provider: Option<String>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    replication_specs: Vec<Shard>,
    #[serde(default)]
    connection_strings: BTreeMap<String, Value>,
}

/// A shard. It is sent again as it came, so all of it is kept.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct Shard(Map<String, Value>);

impl Shard {
    fn configs(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.0.get("regionConfigs").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    }
}

fn text<'v>(object: &'v Map<String, Value>, field: &str) -> &'v str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn size(config: &Map<String, Value>) -> &str {
    config.get("electableSpecs").and_then(|specs| specs.get("instanceSize")).and_then(Value::as_str).unwrap_or_default()
}

impl Cluster {
    fn configs(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.replication_specs.iter().flat_map(Shard::configs)
    }

    fn state(&self) -> DatabaseState {
        match self.state_name.as_str() {
            "IDLE" if self.paused => DatabaseState::Busy("PAUSED".to_owned()),
            "IDLE" => DatabaseState::Active,
            "DELETING" | "DELETED" => DatabaseState::Terminated,
            other => DatabaseState::Busy(other.to_owned()),
        }
    }

    /// Whether a customer's key is on it, or why none can be
    /// (<https://www.mongodb.com/docs/atlas/security-kms-encryption/>: M10 and larger).
    fn encryption(&self) -> Encryption {
        let shared = self.configs().any(|c| {
            ["TENANT", "FLEX", "SERVERLESS"].contains(&text(c, "providerName")) || ["M0", "M2", "M5"].contains(&size(c))
        });
        match self.encryption_at_rest_provider.as_deref().unwrap_or("NONE") {
            "AWS" => Encryption::On,
            "NONE" if shared => Encryption::Impossible(
                "it is smaller than M10, and Atlas encrypts none of those with a customer's key".to_owned(),
            ),
            "NONE" => Encryption::Off,
            other => Encryption::Impossible(format!(
                "it is encrypted with a customer's key of {other}, which Atlas does not change for another one"
            )),
        }
    }

    /// What Atlas is doing with the cluster that may give it other addresses, if it is.
    pub(super) fn changing(&self) -> Option<String> {
        match self.state() {
            DatabaseState::Busy(words) | DatabaseState::Failed(words) if !self.paused => Some(words),
            _ => None,
        }
    }

    /// Whether it uses the project's key now: one that is paused has no nodes that would.
    pub(super) fn uses_key(&self) -> bool {
        self.encryption() == Encryption::On && !self.paused && self.state() != DatabaseState::Terminated
    }

    /// The cluster in our words.
    pub(super) fn into_database(self) -> Database {
        let state = self.state();
        let encryption = self.encryption();
        let first = self.configs().next();
        let region = first.map(|c| aws_name(text(c, "regionName"))).unwrap_or_default();
        let tier = first.map(|c| size(c).to_owned()).unwrap_or_default();
        let regions = self.configs().map(|c| (aws_name(text(c, "regionName")), state.clone())).collect();
        let mut endpoints: Vec<String> = ["standardSrv", "standard"]
            .iter()
            .filter_map(|kind| self.connection_strings.get(*kind)?.as_str().map(ToOwned::to_owned))
            .take(1)
            .collect();
        endpoints.retain(|e| !e.is_empty());
        Database {
            id: self.id,
            name: self.name,
            state,
            created_at: self.create_date.and_then(|date| date.parse().ok()),
            tier,
            region,
            regions,
            message: String::new(),
            endpoints,
            encryption: Some(encryption),
        }
    }

    /// The shards as they have to be sent for a cluster that loses a region; the priorities of the others stay in order.
    pub(super) fn without_region(&self, region: &Region) -> Value {
        let shards = self.replication_specs.iter().map(|shard| {
            let kept = shard.configs().filter(|c| text(c, "regionName") != spelled(region));
            let mut next = FIRST_PRIORITY;
            let configs: Vec<Value> = kept
                .map(|config| {
                    let mut config = writable(config);
                    if config.get("priority").and_then(Value::as_i64).is_some_and(|priority| priority > 0) {
                        config.insert("priority".to_owned(), json!(next));
                        next -= 1;
                    }
                    Value::Object(config)
                })
                .collect();
            let mut sent = shard.0.clone();
            sent.insert("regionConfigs".to_owned(), Value::Array(configs));
            Value::Object(sent)
        });
        Value::Array(shards.collect())
    }

    /// The shards as they have to be sent for a cluster that gets another region: those that are there with their ids, each
    /// with the region at its end.
    pub(super) fn with_region(&self, region: &Region, request: &DatabaseRequest) -> Value {
        let shards = self.replication_specs.iter().map(|shard| {
            let last = shard.configs().filter_map(|c| c.get("priority")?.as_i64()).filter(|p| *p > 0).min();
            let mut config = shard.configs().next().cloned().unwrap_or_default();
            config.retain(|field, _| field == "autoScaling");
            let specs = shard.configs().next().and_then(|c| c.get("electableSpecs")).cloned().unwrap_or(json!({}));
            config.extend([
                ("providerName".to_owned(), json!("AWS")),
                ("regionName".to_owned(), json!(spelled(region))),
                ("priority".to_owned(), json!(last.unwrap_or(FIRST_PRIORITY + 1) - 1)),
                ("electableSpecs".to_owned(), specs),
            ]);
            config["electableSpecs"]["nodeCount"] = json!(nodes(request, region, false));
            let mut sent = shard.0.clone();
            let mut all: Vec<Value> = shard.configs().map(|c| Value::Object(writable(c))).collect();
            all.push(Value::Object(config));
            sent.insert("regionConfigs".to_owned(), Value::Array(all));
            Value::Object(sent)
        });
        Value::Array(shards.collect())
    }
}

/// A region without what Atlas alone computes.
fn writable(config: &Map<String, Value>) -> Map<String, Value> {
    config.iter().filter(|(field, _)| !field.starts_with("effective")).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn nodes(request: &DatabaseRequest, region: &Region, first: bool) -> i32 {
    let declared = request.cluster.as_ref().and_then(|cluster| cluster.nodes.get(region));
    declared.copied().unwrap_or(if first { 3 } else { 2 })
}

/// The body that creates a cluster under the project's key.
pub(super) fn creation(request: &DatabaseRequest, primary: &Region) -> Value {
    let DatabaseRequest { name, tier, cluster, .. } = request;
    let ClusterRequest { regions, nodes: _, version, disk_gb, backup } = cluster.clone().unwrap_or_default();
    let others = regions.iter().filter(|region| *region != primary);
    let configs: Vec<Value> = std::iter::once(primary)
        .chain(others)
        .zip((1..=FIRST_PRIORITY).rev())
        .map(|(region, priority)| {
            let mut specs = json!({"instanceSize": tier, "nodeCount": nodes(request, region, region == primary)});
            if let Some(size) = disk_gb {
                specs["diskSizeGB"] = json!(size);
            }
            json!({
                "providerName": "AWS", "regionName": spelled(region), "priority": priority, "electableSpecs": specs,
            })
        })
        .collect();
    let mut body = json!({
        "name": name,
        "clusterType": "REPLICASET",
        "backupEnabled": backup,
        "encryptionAtRestProvider": "AWS",
        "replicationSpecs": [{ "regionConfigs": configs }],
    });
    if let Some(version) = version {
        body["mongoDBMajorVersion"] = json!(version);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(aws: &Value) -> Result<Option<RegistrationSeen>, &'static str> {
        serde_json::from_value::<EncryptionAtRest>(json!({ "awsKms": aws })).unwrap().registration()
    }

    #[test]
    fn a_key_is_absent_only_where_the_answer_says_so() {
        assert_eq!(seen(&json!({"enabled": false, "valid": false})), Ok(None));
        assert_eq!(seen(&json!({"enabled": false, "customerMasterKeyID": "k"})), Ok(None));
        assert!(seen(&json!({"enabled": true})).is_err());
        let key = seen(&json!({"enabled": true, "customerMasterKeyID": "k", "roleId": "r", "valid": true}));
        let through = Through::Link("r".to_owned());
        assert_eq!(key, Ok(Some(RegistrationSeen { key: "k".to_owned(), usable: true, through })));
        let old = seen(&json!({"enabled": true, "customerMasterKeyID": "k", "accessKeyID": "AKIA", "valid": true}));
        assert_eq!(old.unwrap().unwrap().through, Through::Credentials);
        let unsaid = seen(&json!({"enabled": true, "customerMasterKeyID": "k"})).unwrap().unwrap();
        assert!(!unsaid.usable, "what is not said is not claimed");
        assert_eq!(unsaid.through, Through::NotSaid);
    }

    #[test]
    fn regions_are_spelled_both_ways() {
        for (aws, atlas) in [("us-east-1", "US_EAST_1"), ("us-gov-west-1", "US_GOV_WEST_1")] {
            assert_eq!(spelled(&aws.parse().unwrap()), atlas);
            assert_eq!(aws_name(atlas), aws);
        }
    }
}
