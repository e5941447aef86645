//! Multi-Region keys on the wire.

use aws_sdk_kms::types::MultiRegionConfiguration;

use super::clients::ClientSet;
use super::keys::wire_tags;
use super::operation::Operation;
use super::scan::unreadable;
use super::send::Sender;
use crate::domain::desired::NewKey;
use crate::domain::family::Family;
use crate::domain::fault::{Applied, Fault};
use crate::domain::id::{KeyArn, Region};
use crate::ports::Place;

/// The `CreateKey` calls in the replica's region that one `ReplicateKey` counts as
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/throttling.html>).
const AS_CREATIONS: u32 = 2;

/// The family, unless AWS shows no primary, as it may for seconds after that was moved
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdatePrimaryRegion.html>), or something unreadable.
pub(super) fn family(shown: &MultiRegionConfiguration) -> Option<Family> {
    let primary = shown.primary_key()?.arn()?.parse().ok()?;
    let replicas = shown.replica_keys().iter().map(|key| key.arn()?.parse().ok()).collect::<Option<_>>()?;
    Some(Family { primary, replicas })
}

/// Makes a replica; asks the region of the primary. The lockout check is never bypassed.
pub(super) async fn replicate(
    sender: &Sender,
    set: &ClientSet,
    place: &Place,
    primary: &KeyArn,
    region: &Region,
    replica: &NewKey,
) -> Result<KeyArn, Fault> {
    let (operation, target) = (Operation::ReplicateKey, format!("{primary} into {region}"));
    let NewKey { description, tags, policy, multi_region: _ } = replica;
    let call = set
        .writes
        .replicate_key()
        .key_id(primary.to_string())
        .replica_region(region.as_str())
        .description(description)
        .policy(policy)
        .set_tags(Some(wire_tags(operation, &target, tags)?));
    let there = Place { region: region.clone(), ..place.clone() };
    sender.reserve_many(Operation::CreateKey, &there, &target, AS_CREATIONS)?;
    let reply = sender.write(operation, place, &target, Box::pin(call.send())).await?;
    let arn = reply.replica_key_metadata.and_then(|key| key.arn).unwrap_or_default();
    // It was made; the next look shows which.
    arn.parse().map_err(|e| Fault { applied: Applied::Perhaps, ..unreadable(operation, &target, &e) })
}
