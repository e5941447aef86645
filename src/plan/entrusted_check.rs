//! The last word on clouds of which a human does a part in a portal: derived anew from what was declared and seen, as all of
//! [`check`](super::check).

use crate::domain::desired::{Desired, DesiredCluster, DesiredKey, LinkedKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::Memory;
use crate::domain::observed::{KeyState, Observed, RegionSeen};
use crate::domain::policy::PolicyDocument;
use crate::domain::policy::entrusted::{entrusting, gives};
use crate::domain::portal::BucketKeys;
use crate::domain::reading::Reading;

use super::Pass;
use super::check::{Rule, owned, require};
use super::step::Step;

const POLICY: &str = "nothing is deployed unless the policy was seen to hold what the spec entrusts the key by";

/// What the rules are derived from.
struct Entrusted<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    pass: &'a Pass,
}

/// What has to be so of a step, beyond what every cloud needs.
pub(super) fn step(desired: &Desired, observed: &Observed, memory: &Memory, pass: &Pass, step: &Step) -> Rule {
    Entrusted { desired, observed, memory, pass }.step(step)
}

/// The policy of a region's key, as it was seen, gives whatever the spec entrusts it by, and that is not nothing.
pub(super) fn policy_holds(key: &DesiredKey, region: &Region, to: Option<&Region>, seen: Option<&RegionSeen>) -> Rule {
    if !key.capabilities.has_portal() {
        return Ok(());
    }
    let account = key.account_in(region);
    let text = seen.and_then(|seen| seen.policy.present()).ok_or(POLICY)?;
    let policy = PolicyDocument::parse(text).map_err(|_| POLICY)?;
    let mut any = false;
    for wished in key.policy.documents.iter().chain(&key.policy.statements) {
        if wished.replication_to.as_ref() != to || !wished.applies_to(region) {
            continue;
        }
        let document = PolicyDocument::parse(&wished.json).map_err(|_| POLICY)?;
        for statement in entrusting(&document, &account) {
            any = true;
            require(gives(&policy, statement, &account), POLICY)?;
        }
    }
    require(any, POLICY)
}

/// The cloud takes the credentials for the declared scope; one without an id is whichever they belong to.
pub(super) fn in_scope(observed: &Observed, key: &DesiredKey) -> Rule {
    require(
        observed.scope.present().is_some_and(|id| key.scope.id.is_empty() || key.scope.id == *id),
        "the cloud is told nothing unless it takes the credentials for the declared scope",
    )
}

impl Entrusted<'_> {
    /// What has to be so of a deployment by API.
    fn step(&self, step: &Step) -> Rule {
        if let Step::CreatePart { region, .. } = step {
            return self.inside(region);
        }
        let (Step::CreateDatabase { region, request, .. } | Step::AddRegion { region, request, .. }) = step else {
            return Ok(());
        };
        let Desired::Cluster(cluster) = self.desired else { return Ok(()) };
        let Some(linked) = cluster.key.present().filter(|linked| linked.key.capabilities.has_portal()) else {
            return require(cluster.backup.is_none(), "a key for backups is only for clouds that take one");
        };
        let deployment = cluster.deployment.as_ref().ok_or("nothing is deployed that the spec does not ask for")?;
        require(!deployment.by_hand, "what a human makes in the portal is not made by API")?;
        let keys = request.group.as_ref().and_then(|group| group.keys.as_ref());
        let keys = keys.ok_or("nothing is deployed without naming its keys")?;
        require(
            *keys == self.keys(cluster, linked, region)?,
            "nothing is deployed under other keys than this pass saw",
        )?;
        if matches!(step, Step::AddRegion { .. }) { self.copy(cluster, linked, region) } else { Ok(()) }
    }

    /// The keys of a region, each seen enabled, ours, and with its policy right.
    fn keys(&self, cluster: &DesiredCluster, linked: &LinkedKey, region: &Region) -> Result<BucketKeys, &'static str> {
        let data = arn(&linked.key, region, self.observed.regions.get(region))?;
        let Some(backup) = &cluster.backup else { return Ok(BucketKeys { backup: data.clone(), data }) };
        let other = backup.key.present().filter(|other| other.allowed).ok_or("a key for backups has to allow it")?;
        let key = &other.key;
        require(
            !key.object.deleting && !key.leaving.contains(region),
            "nothing is deployed under a key for backups that is being torn down",
        )?;
        let claims = self.memory.claims.get(&backup.key_ref);
        require(
            claims.is_some_and(|regions| regions.contains(region)),
            "nothing is deployed before an earlier pass wrote down the claim on the key for backups",
        )?;
        let caller = self.observed.backup.caller.present();
        require(
            caller.is_some_and(|caller| caller.account == key.access.account.as_str()),
            "nothing is deployed unless AWS takes us for the declared account of the key for backups",
        )?;
        let seen = self.observed.backup.regions.get(region);
        let arn = arn(key, region, seen)?;
        let tags = seen.and_then(|seen| seen.tags.present()).filter(|tags| !tags.contains_key(tag::HOLD));
        let adopted = key.regions.get(region).is_some_and(|wish| wish.key_arn.is_some());
        let ours = tags.is_some_and(|tags| {
            if adopted { tags.get(tag::ADOPT_BY) == Some(&key.owner.consent()) } else { owned(key, tags) }
        });
        require(ours, "nothing is deployed under a key for backups that is on hold, or not proven to be ours")?;
        let held = tags.and_then(|tags| tags.get(tag::HOLDER));
        require(
            adopted || !self.pass.settings.is_held_elsewhere(held),
            "nothing is deployed under a key for backups that another cluster holds",
        )?;
        policy_holds(key, region, None, seen)?;
        Ok(BucketKeys { data, backup: arn })
    }

    /// A second region is set up only where this pass saw that there is none, after the first one's policies were extended
    /// and a human saw that the first one is under its keys.
    fn copy(&self, cluster: &DesiredCluster, linked: &LinkedKey, region: &Region) -> Rule {
        const EXTENDED: &str = "a second region is set up only after the policy of the first one's key was extended";
        require(
            self.observed.database.replica.is_absent(),
            "a second region is set up only where this pass saw that none is",
        )?;
        let primary = &cluster.primary;
        let seen = self.observed.regions.get(primary);
        policy_holds(&linked.key, primary, Some(region), seen).map_err(|_| EXTENDED)?;
        if let Some(backup) = &cluster.backup {
            let key = &backup.key.present().ok_or(EXTENDED)?.key;
            let seen = self.observed.backup.regions.get(primary);
            policy_holds(key, primary, Some(region), seen).map_err(|_| EXTENDED)?;
        }
        let proven = self.attested(cluster, linked)?;
        require(proven, "a second region is set up only after a human saw the first one under its keys")
    }

    /// Whether a human saw the database under the very keys that this pass saw.
    fn attested(&self, cluster: &DesiredCluster, linked: &LinkedKey) -> Result<bool, &'static str> {
        let primary = &cluster.primary;
        let attested = cluster.deployment.as_ref().and_then(|deployment| deployment.attested.as_ref());
        let first = self.keys(cluster, linked, primary)?;
        let database = self.observed.database.by_id.present();
        Ok(attested.zip(database).is_some_and(|(attested, database)| {
            attested.database == database.id && attested.keys == first && database.region == primary.as_str()
        }))
    }

    /// Something is made inside a database only after a human saw that under its keys, which are not younger than it.
    fn inside(&self, region: &Region) -> Rule {
        const RULE: &str = "nothing is made inside a database before a human saw it under its keys";
        let Desired::Cluster(cluster) = self.desired else { return Err(RULE) };
        let linked = cluster.key.present().filter(|linked| linked.key.capabilities.has_portal()).ok_or(RULE)?;
        require(self.attested(cluster, linked)?, RULE)?;
        let made = self.observed.database.by_id.present().and_then(|database| database.created_at);
        let seen = [self.observed.regions.get(region), self.observed.backup.regions.get(region)];
        let seen = seen.into_iter().flatten().flat_map(|seen| [&seen.by_arn, &seen.by_alias]);
        let mut keys = seen.filter_map(|reading| reading.present()?.created_at);
        let skew = self.pass.settings.clock_skew;
        require(
            made.is_none_or(|made| keys.all(|key| made + skew >= key)),
            "nothing is made inside a database that is older than its keys",
        )
    }
}

/// The key of a region, by its own identity, seen enabled and of the wanted kind.
fn arn(key: &DesiredKey, region: &Region, seen: Option<&RegionSeen>) -> Result<KeyArn, &'static str> {
    const RULE: &str = "nothing is deployed where this pass saw no key that is enabled and of the wanted kind";
    let seen = seen.ok_or(RULE)?;
    let reading: &Reading<_> = match key.regions.get(region).ok_or(RULE)?.key_arn {
        Some(_) => &seen.by_arn,
        None => &seen.by_alias,
    };
    let facts = reading.present().ok_or(RULE)?;
    let kind = facts.symmetric && facts.kms_origin && facts.customer_managed;
    let kind = kind && facts.multi_region == key.multi_region.is_some();
    let place = facts.arn.region() == region && *facts.arn.account() == key.access.account;
    require(kind && place && facts.state == KeyState::Enabled, RULE)?;
    Ok(facts.arn.clone())
}
