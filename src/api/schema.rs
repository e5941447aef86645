//! Shapes that several fields share: patterns, and the schemas that derive attributes cannot spell.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};

/// An AWS region such as `us-east-1` or `us-gov-west-1`.
pub(super) const REGION: &str = "^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$";
/// A 12-digit AWS account id.
pub(super) const ACCOUNT: &str = "^[0-9]{12}$";
/// The ARN of a KMS key (not of an alias).
pub(super) const KEY_ARN: &str = "^arn:aws(-cn|-us-gov)?:kms:[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}:[0-9]{12}:key/(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$";
/// The ARN of an IAM role.
pub(super) const ROLE_ARN: &str = "^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$";
/// The ARN of a key administrator: an account, a role or a user.
pub(super) const ADMINISTRATOR_ARN: &str =
    "^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:(root|(role|user)/[A-Za-z0-9+=,.@_/-]{1,576})$";
/// An AWS principal of a key policy: everybody, an account id, or an ARN.
pub(super) const AWS_PRINCIPAL: &str = "^(\\*|[0-9]{12}|arn:aws(-cn|-us-gov)?:(iam|sts)::[0-9]{12}:(root|(role|user|assumed-role|federated-user)/[A-Za-z0-9+=,.@_/-]{1,576}))$";
/// A UUID in its usual lower-case spelling.
pub(super) const UUID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
/// An Atlas project id.
pub(super) const ATLAS_ID: &str = "^[0-9a-f]{24}$";
/// The name of a Kubernetes object that may hold dots.
pub(super) const SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A DNS label: the name of a namespace, of an object of ours, of a statement.
pub(super) const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A rule of an `EncryptedCluster` that holds once the creation of its database has begun. Until then the author may
/// still mend what the cloud refused. The intent is written against the version of the spec that it was decided on,
/// so nothing changes between the decision and the record of it.
pub(super) fn once_begun(rule: &str) -> String {
    format!("!has(oldSelf.status) || !(has(oldSelf.status.upstreamId) || has(oldSelf.status.creation)) || {rule}")
}

/// As [`once_begun`]: these fields of the deployment to a cloud stay as they are, the optional ones absent or present.
pub(super) fn once_begun_fixed(cloud: &str, fields: &[&str], optional: &[&str]) -> String {
    let new = format!("self.spec.deployment.{cloud}");
    let old = format!("oldSelf.spec.deployment.{cloud}");
    let mut same: Vec<String> = fields.iter().map(|field| format!("{new}.{field} == {old}.{field}")).collect();
    same.extend(optional.iter().map(|field| {
        format!("has({new}.{field}) == has({old}.{field}) && (!has({new}.{field}) || {new}.{field} == {old}.{field})")
    }));
    let deployed = |object: &str| format!("!has({object}.spec.deployment) || !has({object}.spec.deployment.{cloud})");
    once_begun(&format!("{} || {} || ({})", deployed("oldSelf"), deployed("self"), same.join(" && ")))
}

/// `operator -> context key -> values`, as in a key policy's `Condition`.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "type": "object",
            "maxProperties": 16,
            "minProperties": 1,
            "additionalProperties": {
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "items": { "type": "string", "maxLength": 1024 }
            }
        }
    })
}

/// Tags of an AWS key: at most 40, so that ours always fit beside them.
pub(super) fn tags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 40,
        "additionalProperties": {
            "type": "string",
            "maxLength": 256,
            "pattern": r"^[\p{L}\p{Z}\p{N}_.:/=+@-]*$"
        }
    })
}

/// Labels that a namespace must carry.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63 }
    })
}

/// Joins the lines of every description, since `kubectl explain` wraps them for itself and would break them twice.
/// Empty lines stay: they part paragraphs.
pub(super) fn join_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        let paragraphs: Vec<String> = description.split("\n\n").map(|text| text.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        join_lines(property);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => join_lines(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(join_lines),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = schema.additional_properties.as_mut() {
        join_lines(value);
    }
}
