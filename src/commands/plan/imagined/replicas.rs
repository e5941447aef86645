//! Replicas of multi-Region keys in the imagined world.

use std::collections::BTreeSet;

use super::{Inner, Key, missing};
use crate::domain::desired::NewKey;
use crate::domain::family::Family;
use crate::domain::id::{KeyArn, Region};
use crate::ports::Fault;

impl Inner {
    /// Makes a replica, and lets every member of the family know.
    pub(super) fn replicate(&mut self, primary: &KeyArn, region: &Region, new: &NewKey) -> Result<KeyArn, Fault> {
        if !self.keys.contains_key(primary) {
            return Err(missing("kms:ReplicateKey", &primary.to_string()));
        }
        let arn = primary.in_region(region);
        if let Some(words) = self.stand_ins.get(&primary.to_string()) {
            let words = words.replace(primary.region().as_str(), region.as_str());
            self.stand_ins.insert(arn.to_string(), words);
        }
        let NewKey { description, tags, policy, multi_region } = new;
        let replica = Key::new(arn.clone(), description, tags.clone(), policy, *multi_region, self.now);
        self.keys.insert(arn.clone(), replica);
        self.relate(primary);
        Ok(arn)
    }

    /// Makes all keys of one id a family, of which one is the primary.
    pub(super) fn relate(&mut self, primary: &KeyArn) {
        let related = |arn: &&KeyArn| arn.key_id() == primary.key_id();
        let replicas: BTreeSet<KeyArn> =
            self.keys.keys().filter(related).filter(|arn| *arn != primary).cloned().collect();
        for key in self.keys.iter_mut().filter(|(arn, _)| arn.key_id() == primary.key_id()).map(|(_, key)| key) {
            key.facts.multi_region = true;
            key.facts.family = Some(Family { primary: primary.clone(), replicas: replicas.clone() });
        }
    }
}
