//! One key: what AWS says of it, and its creation.

use std::collections::BTreeMap;

use aws_sdk_kms::types::{KeyManagerType, KeySpec, KeyState as WireState, KeyUsageType, OriginType, Tag};
use aws_smithy_types::DateTime;

use super::clients::ClientSet;
use super::operation::Operation;
use super::scan::unreadable;
use super::send::Sender;
use crate::domain::desired::NewKey;
use crate::domain::fault::{Applied, Fault, FaultClass};
use crate::domain::id::KeyArn;
use crate::domain::moment::Moment;
use crate::domain::observed::{KeyFacts, KeyState, Rotation};
use crate::ports::Place;

/// The only name that a key's policy can have. Always sent: an emulator finds no policy without it.
pub(super) const POLICY_NAME: &str = "default";

/// AWS's period where it is switched on without one
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html>).
const DEFAULT_ROTATION_DAYS: i32 = 365;

/// A key or alias as faults name it. An ARN says its region itself.
pub(super) fn in_region(key: &str, place: &Place) -> String {
    if key.starts_with("arn:") { key.to_owned() } else { format!("{key} in {}", place.region) }
}

pub(super) async fn describe(
    sender: &Sender,
    set: &ClientSet,
    place: &Place,
    key: &str,
) -> Result<Option<KeyFacts>, Fault> {
    let (operation, target) = (Operation::DescribeKey, in_region(key, place));
    let call = set.reads.describe_key().key_id(key);
    let Some(reply) = sender.look(operation, &target, Box::pin(call.send())).await? else { return Ok(None) };
    let key = reply
        .key_metadata
        .ok_or_else(|| Fault::new(FaultClass::Terminal, operation.action(), &target, "the answer describes no key"))?;
    let arn = key.arn.as_deref().unwrap_or_default().parse().map_err(|e| unreadable(operation, &target, &e))?;
    Ok(Some(KeyFacts {
        arn,
        state: state(key.key_state.as_ref()),
        symmetric: key.key_spec == Some(KeySpec::SymmetricDefault)
            && key.key_usage == Some(KeyUsageType::EncryptDecrypt),
        kms_origin: key.origin == Some(OriginType::AwsKms),
        customer_managed: key.key_manager == Some(KeyManagerType::Customer),
        multi_region: key.multi_region.unwrap_or_default(),
        created_at: moment(key.creation_date),
        deletion_at: moment(key.deletion_date),
        window_days: key.pending_deletion_window_in_days,
        family: key.multi_region_configuration.as_ref().and_then(super::replica::family),
        description: key.description.unwrap_or_default(),
    }))
}

/// A state that this version does not know is one in which nothing is sure.
fn state(state: Option<&WireState>) -> KeyState {
    match state {
        Some(WireState::Enabled) => KeyState::Enabled,
        Some(WireState::Disabled) => KeyState::Disabled,
        Some(WireState::PendingDeletion) => KeyState::PendingDeletion,
        Some(WireState::PendingReplicaDeletion) => KeyState::PendingReplicaDeletion,
        Some(WireState::PendingImport) => KeyState::PendingImport,
        Some(WireState::Creating) => KeyState::Creating,
        Some(WireState::Updating) => KeyState::Updating,
        _ => KeyState::Unavailable,
    }
}

fn moment(time: Option<DateTime>) -> Option<Moment> {
    time?.to_millis().ok().map(Moment)
}

pub(super) async fn policy(sender: &Sender, set: &ClientSet, key: &KeyArn) -> Result<Option<String>, Fault> {
    let (operation, target) = (Operation::GetKeyPolicy, key.to_string());
    let call = set.reads.get_key_policy().key_id(&target).policy_name(POLICY_NAME);
    let Some(reply) = sender.look(operation, &target, Box::pin(call.send())).await? else { return Ok(None) };
    let missing = || Fault::new(FaultClass::Terminal, operation.action(), &target, "the answer has no policy");
    reply.policy.map(Some).ok_or_else(missing)
}

pub(super) async fn rotation(sender: &Sender, set: &ClientSet, key: &KeyArn) -> Result<Option<Rotation>, Fault> {
    let target = key.to_string();
    let call = set.reads.get_key_rotation_status().key_id(&target);
    let reply = sender.look(Operation::GetKeyRotationStatus, &target, Box::pin(call.send())).await?;
    Ok(reply.map(|reply| {
        let period = reply.rotation_period_in_days.unwrap_or(DEFAULT_ROTATION_DAYS);
        Rotation { period_days: reply.key_rotation_enabled.then_some(period), next: moment(reply.next_rotation_date) }
    }))
}

/// Creates a symmetric key for encryption with material of KMS. The lockout check is never bypassed.
pub(super) async fn create(sender: &Sender, set: &ClientSet, place: &Place, key: &NewKey) -> Result<KeyArn, Fault> {
    let (operation, target) = (Operation::CreateKey, place.region.as_str());
    let NewKey { description, tags, policy, multi_region } = key;
    let call = set
        .writes
        .create_key()
        .key_spec(KeySpec::SymmetricDefault)
        .key_usage(KeyUsageType::EncryptDecrypt)
        .origin(OriginType::AwsKms)
        .description(description)
        .policy(policy)
        .multi_region(*multi_region)
        .set_tags(Some(wire_tags(operation, target, tags)?));
    let reply = sender.write(operation, place, target, Box::pin(call.send())).await?;
    let arn = reply.key_metadata.and_then(|key| key.arn).unwrap_or_default();
    // It was made, and we cannot tell which: the same as a lost reply.
    arn.parse().map_err(|e| Fault { applied: Applied::Perhaps, ..unreadable(operation, target, &e) })
}

pub(super) fn wire_tags(
    operation: Operation,
    target: &str,
    tags: &BTreeMap<String, String>,
) -> Result<Vec<Tag>, Fault> {
    let tag = |(key, value): (&String, &String)| Tag::builder().tag_key(key).tag_value(value).build();
    let tags: Result<_, _> = tags.iter().map(tag).collect();
    tags.map_err(|e| Fault::new(FaultClass::Terminal, operation.action(), target, e.to_string()))
}
