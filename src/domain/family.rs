//! Multi-Region keys: a primary and its replicas are one family, of one key id, with one member in a region.
//!
//! Key material, key id and rotation are shared; policy, tags, aliases, description and state are each member's own
//! (<https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html>).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::desired::DesiredKey;
use super::id::{KeyArn, Region};
use super::memory::Memory;

/// The primary and the replicas, as one member shows them
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_MultiRegionConfiguration.html>).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Family {
    /// The primary: the only one of which replicas can be made.
    pub primary: KeyArn,
    /// The replicas. One that is pending deletion is still among them.
    #[serde(default)]
    pub replicas: BTreeSet<KeyArn>,
}

/// What a key is in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The primary.
    Primary,
    /// A replica.
    Replica,
}

impl Family {
    /// The primary, then the replicas.
    pub fn members(&self) -> impl Iterator<Item = &KeyArn> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// What a member is.
    pub fn role_of(&self, arn: &KeyArn) -> Role {
        if self.primary == *arn { Role::Primary } else { Role::Replica }
    }
}

/// The ARN that the key of a region has, or will have, as one of the family of the object's multi-Region key. None: the
/// object asks for no such key, or nobody knows its id yet.
///
/// The id is that of a key that the spec names or status remembers; that of the primary's region first, so that every
/// pass decides the same where they differ.
pub fn related(key: &DesiredKey, memory: &Memory, region: &Region) -> Option<KeyArn> {
    let primary = key.multi_region.as_ref()?;
    let named = |region: &Region| key.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
    let recorded = |region: &Region| memory.regions.get(region).and_then(|memory| memory.key.as_ref());
    let of_primary = named(primary).or(recorded(primary));
    let of_others = || key.regions.keys().chain(memory.regions.keys()).find_map(|r| named(r).or(recorded(r)));
    of_primary.or_else(of_others).map(|arn| arn.in_region(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_is_the_first_member_and_the_only_one_of_its_role() {
        let arn = |region: &str| -> KeyArn {
            format!("arn:aws-cn:kms:{region}:111111111111:key/mrk-0a").parse().expect("an ARN")
        };
        let family = Family { primary: arn("cn-north-1"), replicas: [arn("cn-northwest-1")].into() };
        let members: Vec<_> =
            family.members().map(|member| (member.region().as_str(), family.role_of(member))).collect();
        assert_eq!(members, [("cn-north-1", Role::Primary), ("cn-northwest-1", Role::Replica)]);
    }
}
