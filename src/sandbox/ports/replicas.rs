//! Multi-Region keys in the words of the ports.

use super::{key_arn, tags};
use crate::domain::desired::NewKey;
use crate::domain::family::Family;
use crate::domain::fault::Fault;
use crate::domain::id::{KeyArn, Region};
use crate::sandbox::kms::{MultiRegionView, ReplicateKey};

pub(super) fn family(shown: &MultiRegionView) -> Result<Family, Fault> {
    let replicas = shown.replica_keys.iter().map(|key| key_arn(&key.arn)).collect::<Result<_, _>>()?;
    Ok(Family { primary: key_arn(&shown.primary_key.arn)?, replicas })
}

pub(super) fn request(primary: &KeyArn, region: &Region, replica: &NewKey) -> ReplicateKey {
    let NewKey { description, tags: wished, policy, multi_region: _ } = replica;
    ReplicateKey {
        key_id: primary.to_string(),
        replica_region: region.to_string(),
        policy: Some(policy.clone()),
        description: Some(description.clone()),
        tags: tags(wished),
        ..ReplicateKey::default()
    }
}
