//! How objects may rest, once nobody breaks anything any more: ready, gone, or waiting for somebody, for a reason that is
//! true of the world.

use cmk_operator::api::condition::Condition;
use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::controller::kind::Kind;
use cmk_operator::domain::id::tag;
use cmk_operator::sandbox::ACCOUNT;

use super::files::ALIAS;
use super::node::Node;
use super::scene::Scene;
use super::truth::Truth;
use super::users::{self, Used};

/// What is said of the whole.
fn ready<K: Kind>(object: &K) -> Option<&Condition> {
    K::conditions(object.status()?).iter().find(|condition| condition.type_ == "Ready")
}

fn is_ready<K: Kind>(object: &K) -> bool {
    let ready = ready(object).filter(|ready| ready.status == "True" && ready.reason == "AsDeclared");
    ready.is_some_and(|ready| ready.observed_generation == object.meta().generation)
}

fn is_not_ready_because<K: Kind>(object: &K, reason: &str) -> bool {
    ready(object).is_some_and(|ready| ready.status == "False" && ready.reason == reason)
}

impl Node {
    /// Whether both objects may stay as they are.
    pub(crate) fn rests(&self, scene: &Scene) -> bool {
        let truth = Truth::of(&self.world, scene);
        self.key.as_deref().is_none_or(|key| self.key_rests(key, truth))
            && self.cluster.as_deref().is_none_or(|cluster| self.cluster_rests(cluster, truth))
    }

    fn key_rests(&self, key: &CustomerKey, truth: Truth<'_>) -> bool {
        if users::is_deleting(key) {
            return is_blocked(key);
        }
        if is_ready(key) {
            return true;
        }
        let removal_waits = key.removals().iter().any(|(_, status)| !status.blocked_by.is_empty());
        let lost = key.regions().iter().any(|region| self.registration_is_lost(region, truth));
        (removal_waits && (is_not_ready_because(key, "DeletionBlocked") || is_not_ready_because(key, "RegionInUse")))
            || (lost && is_not_ready_because(key, "RegistrationLost"))
            // Of several it cannot be told which was made for the object.
            || (truth.unfinished_records() > 1 && is_not_ready_because(key, "RegistrationConflict"))
    }

    /// The key was registered and is no more.
    fn registration_is_lost(&self, region: &str, truth: Truth<'_>) -> bool {
        let arn = self.world.true_alias(ACCOUNT, region, ALIAS);
        arn.is_some_and(|arn| self.ghost.registered.contains(arn)) && truth.registration(region).is_none()
    }

    fn cluster_rests(&self, cluster: &EncryptedCluster, truth: Truth<'_>) -> bool {
        if users::is_deleting(cluster) {
            return is_blocked(cluster);
        }
        let Some(key) = self.key.as_deref() else {
            return !is_ready(cluster);
        };
        if is_ready(cluster) {
            return true;
        }
        let recorded = cluster.status.as_ref().and_then(|status| status.upstream_id.as_deref());
        let databases = truth.databases();
        // One that is noted on the key as this cluster's is found again.
        let noted = |id: &str| {
            self.world
                .true_keys()
                .any(|key| key.tags.iter().any(|(name, value)| name.starts_with(tag::DATABASE_PREFIX) && value == id))
        };
        let another = databases.iter().any(|d| Some(d.id) != recorded && !d.gone && !noted(d.id));
        // Some clouds forget what is gone.
        let gone = recorded.is_some_and(|id| databases.iter().all(|d| d.id != id || d.goes));
        // A region of it was taken away, or taken away and put back into the spec.
        let removed = databases.iter().filter(|d| Some(d.id) == recorded).any(|d| {
            let goes = |region: &str| d.regions.iter().any(|of| of.region == region && of.goes);
            let is_there = |region: &str| d.regions.iter().any(|of| of.region == region);
            cluster.regions().iter().any(|region| goes(region) || !is_there(region))
        });
        let removal_waits = cluster.removals().iter().any(|(_, status)| !status.blocked_by.is_empty());
        let key_fails = users::is_deleting(key)
            || !is_ready(key)
            || cluster.regions().iter().any(|region| !key.regions().contains(&truth.key_region(region)));
        key_fails
            || (another && is_not_ready_because(cluster, "DatabaseConflict"))
            || ((gone || removed) && is_not_ready_because(cluster, "DatabaseGone"))
            || (removal_waits && is_not_ready_because(cluster, "DeletionBlocked"))
    }
}

/// An object that goes rests only while something blocks that, and says what.
fn is_blocked<K: Used>(object: &K) -> bool {
    let says = object.deletion().is_some_and(|status| !status.blocked_by.is_empty());
    object.tears_down() && says && is_not_ready_because(object, "DeletionBlocked")
}
