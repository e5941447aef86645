//! What a cluster may note on its key.

use crate::domain::desired::Desired;
use crate::domain::id::{KeyArn, Region};
use crate::domain::observed::KeyState;

use super::check::{Rule, Scene, owned, require};

impl Scene<'_> {
    /// The key is the one that the cluster's primary region is under, and the database the one that the cluster created.
    pub(super) fn may_note(&self, region: &Region, arn: &KeyArn, tag: &str, database: &str) -> Rule {
        let Desired::Cluster(cluster) = self.desired else { return Err("only a cluster notes a database") };
        let key = self.key()?;
        self.is_in_place(region, arn)?;
        require(
            region == key.home(&cluster.primary) && tag == cluster.object.database_tag(),
            "a cluster notes its database on the key of its primary region, under its own name",
        )?;
        require(
            cluster.deployment.as_ref().is_some_and(|d| d.bound_id.is_none() && !d.adopts)
                && self.memory.database.as_deref() == Some(database),
            "only the database that this cluster created and recorded is noted",
        )?;
        require(
            cluster.key.present().is_some_and(|linked| linked.allowed) && !key.object.deleting,
            "nothing is noted on a key that does not allow it, or that is being torn down",
        )?;
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        let adopted = key.regions.get(region).is_some_and(|wish| wish.key_arn.is_some());
        let subject = if adopted { seen.by_arn.present() } else { seen.by_alias.present() };
        require(
            subject.is_some_and(|facts| facts.arn == *arn && facts.state == KeyState::Enabled),
            "only the cluster's own key, seen enabled, is written to",
        )?;
        require(
            adopted || seen.tags.present().is_some_and(|tags| owned(key, tags)),
            "a cluster writes only to a key that carries the owner's tags",
        )?;
        self.may_write_to(region)
    }
}
