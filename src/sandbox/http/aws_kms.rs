//! The operations of KMS by name, from JSON to the typed call and back.

use serde::Deserialize;
use serde_json::{Value, json};

use super::aws::{parse, unknown_operation};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::kms::{CreateKey, Kms, ReplicateKey, Tag};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnKey {
    key_id: String,
    policy_name: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
    description: Option<String>,
    primary_region: Option<String>,
    rotation_period_in_days: Option<i32>,
    pending_window_in_days: Option<i32>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
    limit: Option<i32>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnAlias {
    alias_name: String,
    target_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paged {
    key_id: Option<String>,
    limit: Option<i32>,
    marker: Option<String>,
}

fn required(value: Option<String>, name: &str) -> Result<String, ServiceError> {
    value.ok_or_else(|| {
        ServiceError::validation(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

pub(super) fn call(kms: &mut Kms<'_>, operation: &str, body: &[u8]) -> Result<Value, Failure> {
    let done = |()| Value::Null;
    Ok(match operation {
        "CreateKey" => json!({"KeyMetadata": kms.create_key(&parse::<CreateKey>(body)?)?}),
        "ListKeys" => {
            let i: Paged = parse(body)?;
            json!(kms.list_keys(i.limit, i.marker.as_deref())?)
        }
        "ListAliases" => {
            let i: Paged = parse(body)?;
            json!(kms.list_aliases(i.key_id.as_deref(), i.limit, i.marker.as_deref())?)
        }
        "CreateAlias" | "UpdateAlias" => {
            let i: OnAlias = parse(body)?;
            let key = required(i.target_key_id, "targetKeyId")?;
            let result = if operation == "CreateAlias" {
                kms.create_alias(&i.alias_name, &key)
            } else {
                kms.update_alias(&i.alias_name, &key)
            };
            result.map(done)?
        }
        "ReplicateKey" => {
            json!(kms.replicate_key(&parse::<ReplicateKey>(body)?)?)
        }
        "UpdatePrimaryRegion" => {
            let i: OnKey = parse(body)?;
            kms.update_primary_region(&i.key_id, &required(i.primary_region, "primaryRegion")?).map(done)?
        }
        "DeleteAlias" => kms.delete_alias(&parse::<OnAlias>(body)?.alias_name).map(done)?,
        _ => on_key(kms, operation, body)?,
    })
}

fn on_key(kms: &mut Kms<'_>, operation: &str, body: &[u8]) -> Result<Value, Failure> {
    const KNOWN: [&str; 16] = [
        "DescribeKey",
        "GetKeyPolicy",
        "PutKeyPolicy",
        "ListKeyPolicies",
        "EnableKey",
        "DisableKey",
        "EnableKeyRotation",
        "DisableKeyRotation",
        "GetKeyRotationStatus",
        "UpdateKeyDescription",
        "TagResource",
        "UntagResource",
        "ListResourceTags",
        "ScheduleKeyDeletion",
        "CancelKeyDeletion",
        "",
    ];
    if operation.is_empty() || !KNOWN.contains(&operation) {
        return Err(unknown_operation(operation));
    }
    let i: OnKey = parse(body)?;
    let key = i.key_id.as_str();
    let done = |()| Value::Null;
    Ok(match operation {
        "DescribeKey" => json!({"KeyMetadata": kms.describe_key(key)?}),
        "GetKeyPolicy" => {
            json!({"Policy": kms.get_key_policy(key, i.policy_name.as_deref())?, "PolicyName": "default"})
        }
        "PutKeyPolicy" => {
            let policy = required(i.policy, "policy")?;
            kms.put_key_policy(key, i.policy_name.as_deref(), &policy, i.bypass_policy_lockout_safety_check)
                .map(done)?
        }
        "ListKeyPolicies" => {
            json!({"PolicyNames": kms.list_key_policies(key)?, "Truncated": false})
        }
        "EnableKey" => kms.enable_key(key).map(done)?,
        "DisableKey" => kms.disable_key(key).map(done)?,
        "EnableKeyRotation" => kms.enable_key_rotation(key, i.rotation_period_in_days).map(done)?,
        "DisableKeyRotation" => kms.disable_key_rotation(key).map(done)?,
        "GetKeyRotationStatus" => json!(kms.get_key_rotation_status(key)?),
        "UpdateKeyDescription" => {
            kms.update_key_description(key, &required(i.description, "description")?).map(done)?
        }
        "TagResource" => kms.tag_resource(key, &i.tags).map(done)?,
        "UntagResource" => kms.untag_resource(key, &i.tag_keys).map(done)?,
        "ListResourceTags" => json!(kms.list_resource_tags(key, i.limit, i.marker.as_deref())?),
        "ScheduleKeyDeletion" => json!(kms.schedule_key_deletion(key, i.pending_window_in_days)?),
        _ => json!({"KeyId": kms.cancel_key_deletion(key)?}),
    })
}
