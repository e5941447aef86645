//! The part of the [safety check](super::check) that is about deleting: the rules are derived anew from what was declared,
//! seen and remembered.

use crate::domain::capabilities::Registration;
use crate::domain::confirmation::Token;
use crate::domain::desired::{Afterlife, Desired, DesiredCluster, DesiredKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::Memory;
use crate::domain::moment::Moment;
use crate::domain::observed::{DatabaseState, KeyState, Observed};
use crate::domain::reading::Reading;

use super::Pass;
use super::check::{Rule, owned, require};
use super::role::names;
use super::step::Step;

pub(super) struct Removal<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) memory: &'a Memory,
    pub(super) pass: &'a Pass,
}

impl Removal<'_> {
    pub(super) fn step(&self, step: &Step, before: &[Step]) -> Rule {
        match (step, self.desired) {
            (Step::MarkDeletion { region, key: arn, by, not_after }, Desired::Key(key)) => {
                require(*by == key.owner.consent(), "a key is marked in the name of the object that goes")?;
                self.in_time(*not_after)?;
                self.may_schedule(key, region, arn)
            }
            (Step::ScheduleDeletion { region, key: arn, window_days, not_after }, Desired::Key(key)) => {
                require((7..=30).contains(window_days), "a key is given 7 to 30 days")?;
                self.in_time(*not_after)?;
                self.may_schedule(key, region, arn)?;
                let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
                let marked = seen.tags_of(arn).present().and_then(|tags| tags.get(tag::DELETION_BY).cloned());
                require(
                    marked == Some(key.owner.consent())
                        || before.iter().any(|s| matches!(s, Step::MarkDeletion { key: k, .. } if k == arn)),
                    "a key is scheduled only once it is marked as the operator's own doing",
                )
            }
            (Step::RemoveRegion { region, database, not_after }, Desired::Cluster(cluster)) => {
                self.in_time(*not_after)?;
                self.is_our_database(cluster, database)?;
                require(!cluster.regions.contains(region), "a region that the spec names is not removed")?;
                let token = self.memory.regions.get(region).and_then(|memory| memory.removal.as_ref());
                require(
                    token.is_some_and(|token| cluster.object.confirmed.contains(token)),
                    "nothing is deleted unless it was confirmed by the token that status showed",
                )?;
                let seen = self.observed.database.by_id.present();
                require(
                    seen.is_some_and(|d| d.region != region.as_str() && d.regions.contains_key(region.as_str())),
                    "a region is removed only where this pass saw it, beside the one that the database was created in",
                )
            }
            (Step::TerminateDatabase { database, not_after }, Desired::Cluster(cluster)) => {
                self.in_time(*not_after)?;
                self.is_our_database(cluster, database)?;
                require(cluster.object.deleting, "a database is deleted only with the object")?;
                self.whole_is_confirmed([database])
            }
            _ => Err("what is deleted belongs to the kind of object"),
        }
    }

    pub(super) fn in_time(&self, not_after: Moment) -> Rule {
        require(
            not_after <= self.observed.at + self.pass.settings.look_valid,
            "nothing is deleted on a look that is too old",
        )
    }

    fn whole_is_confirmed<T: ToString>(&self, things: impl IntoIterator<Item = T>) -> Rule {
        let object = self.desired.object();
        let asked = object.deletion_asked.map(|at| at.to_string()).unwrap_or_default();
        let token = Token::of(&object.uid, &asked, things);
        require(
            self.memory.deletion.as_deref() == Some(token.as_str())
                && object.confirmed.iter().any(|c| c == token.as_str()),
            "nothing is deleted unless it was confirmed by the token that status showed",
        )
    }

    /// A human has confirmed the end of everything that the object made.
    pub(super) fn everything_is_confirmed(&self, key: &DesiredKey) -> Rule {
        self.whole_is_confirmed(self.keys(key))
    }

    fn may_schedule(&self, key: &DesiredKey, region: &Region, arn: &KeyArn) -> Rule {
        require(
            arn.region() == region && *arn.account() == key.access.account,
            "a key of another account or region is never touched",
        )?;
        self.is_ours(key, region, arn)?;
        self.is_unused(key, region, arn)?;
        let recorded = self.memory.regions.get(region).and_then(|memory| memory.key.as_ref());
        if key.object.deleting {
            require(key.afterlife == Afterlife::TearDown, "under Retain keys stay")?;
            let all: Vec<KeyArn> = self.keys(key);
            require(all.contains(arn), "what is scheduled is among what was confirmed")?;
            return self.whole_is_confirmed(all);
        }
        if recorded == Some(arn) {
            require(key.afterlife == Afterlife::TearDown, "under Retain keys stay")?;
            require(!key.regions.contains_key(region), "the key of a declared region is not scheduled")?;
            let token = self.memory.regions.get(region).and_then(|memory| memory.removal.as_ref());
            return require(
                token.is_some_and(|token| key.object.confirmed.contains(token)),
                "nothing is deleted unless it was confirmed by the token that status showed",
            );
        }
        require(recorded.is_some(), "a key is surplus only beside a recorded one")?;
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        require(
            seen.by_alias.present().is_none_or(|facts| facts.arn != *arn),
            "the key under the alias is not surplus",
        )?;
        require(
            seen.tags_of(arn).present().is_some_and(|tags| !tags.contains_key(tag::REGISTERED_AT)),
            "a key that was registered once is not surplus",
        )?;
        let token = super::surplus_token(&key.object.uid, arn);
        require(
            key.object.confirmed.iter().any(|c| c == token.as_str()),
            "nothing is deleted unless it was confirmed by the token that status showed",
        )
    }

    /// Every key of ours that this pass knows of, as the confirmation names them.
    fn keys(&self, key: &DesiredKey) -> Vec<KeyArn> {
        let mut all = Vec::new();
        let regions = key.regions.keys().chain(self.memory.regions.keys());
        for region in regions {
            if key.regions.get(region).is_some_and(|wish| wish.key_arn.is_some()) {
                continue;
            }
            let recorded = self.memory.regions.get(region).and_then(|memory| memory.key.clone());
            let Some(seen) = self.observed.regions.get(region) else { continue };
            let alias = seen.by_alias.present().map(|facts| facts.arn.clone());
            let candidates = seen.candidates.present().into_iter().flatten().map(|candidate| candidate.arn.clone());
            for arn in recorded.clone().into_iter().chain(alias).chain(candidates) {
                let tags = seen.tags_of(&arn).present().copied();
                let ours = tags.is_some_and(|tags| owned(key, tags) && tags.contains_key(tag::NONCE));
                let adopted = tags.is_some_and(|tags| tags.contains_key(tag::ADOPT_BY));
                if (ours || recorded.as_ref() == Some(&arn)) && !adopted {
                    all.push(arn);
                }
            }
        }
        all
    }

    /// What this pass saw proves that the object made the key, and nobody else has a say in it.
    pub(super) fn is_ours(&self, key: &DesiredKey, region: &Region, arn: &KeyArn) -> Rule {
        let named = key.regions.values().any(|wish| wish.key_arn.as_ref() == Some(arn) || wish.previous.contains(arn));
        require(!named, "a key that the spec names is not scheduled")?;
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        let tags = seen.tags_of(arn);
        let tags = *tags.present().ok_or("a key whose tags were not seen is not scheduled")?;
        require(
            owned(key, tags) && tags.contains_key(tag::NONCE) && !tags.contains_key(tag::ADOPT_BY),
            "only a key that its tags prove to be made by this object is scheduled",
        )?;
        let holder = &self.pass.settings.holder;
        require(
            !tags.contains_key(tag::HOLD)
                && tags.get(tag::HOLDER).is_none_or(|other| holder.is_empty() || other == holder),
            "a key on hold, or held by another cluster, is not scheduled",
        )?;
        let facts = seen.facts_of(arn);
        require(
            facts.present().is_some_and(|f| (!f.multi_region || f.family.is_some()) && f.customer_managed),
            "a multi-Region key, whose replicas are not known, is not scheduled",
        )
    }

    /// Nothing uses the key: what is not known is in use.
    fn is_unused(&self, key: &DesiredKey, region: &Region, arn: &KeyArn) -> Rule {
        const REGISTERED: &str = "a key that is registered, was so for good, or may be, is not scheduled";
        let recorded = self.memory.regions.get(region);
        if recorded.is_none_or(|memory| memory.key.as_ref() == Some(arn)) || key.object.deleting {
            let users = match &key.users {
                Reading::Present(all) => {
                    all.iter().any(|user| key.capabilities.one_key || user.regions.contains(region))
                }
                Reading::Absent => false,
                Reading::Unknown(_) => true,
            };
            require(!users, "a key that a cluster uses, or may use, is not scheduled")?;
        }
        let settled = recorded.is_none_or(|memory| {
            let settings = &self.pass.settings;
            let creating = memory.creating.as_ref().map(|intent| intent.started_at + settings.create_settle);
            let registering = memory.registering.map(|at| at + settings.deploy_settle);
            let linking = memory.linking.map(|at| at + settings.deploy_settle);
            creating.max(registering).max(linking).is_none_or(|until| self.pass.now >= until)
        });
        require(settled, "an attempt whose outcome is not known is waited for before anything is deleted")?;
        require(key.capabilities.registration == Registration::PerRegion, REGISTERED)?;
        require(self.observed.scope.present() == Some(&key.scope.id), REGISTERED)?;
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        let other = match &seen.registration {
            Reading::Present(registered) => !names(arn, registered),
            Reading::Absent => true,
            Reading::Unknown(_) => false,
        };
        let once = recorded.is_some_and(|memory| memory.registered.as_ref() == Some(&arn.to_string()))
            || seen.tags_of(arn).present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT));
        require(other && !(once && key.capabilities.registration_is_final), REGISTERED)
    }

    fn is_our_database(&self, cluster: &DesiredCluster, id: &str) -> Rule {
        require(cluster.afterlife == Afterlife::TearDown, "under Retain databases stay")?;
        let deployment = cluster.deployment.as_ref().ok_or("a database is deleted only where one is declared")?;
        require(
            deployment.bound_id.is_none() && !deployment.adopts && self.memory.database.as_deref() == Some(id),
            "only the database that this object created is deleted",
        )?;
        let seen = self.observed.database.by_id.present();
        require(
            seen.is_some_and(|d| {
                d.id == id && d.name == deployment.request.name && d.state != DatabaseState::Terminated
            }),
            "only a database that this pass saw, under the declared name, is deleted",
        )?;
        let scope = cluster.key.present().map(|linked| &linked.key.scope.id);
        require(
            scope.is_some_and(|id| self.observed.scope.present().is_some_and(|seen| id.is_empty() || id == seen)),
            "the cloud is told nothing unless it takes the credentials for the declared scope",
        )
    }

    /// What was to be torn down is, by what this pass saw.
    pub(super) fn is_over(&self) -> bool {
        match self.desired {
            Desired::Key(key) => {
                let recorded =
                    self.memory.regions.iter().filter_map(|(region, memory)| Some((region, memory.key.as_ref()?)));
                recorded.into_iter().all(|(region, arn)| self.is_gone(key, region, arn))
            }
            Desired::Cluster(cluster) => {
                let deployed = cluster.deployment.is_some();
                let Some(_) = self.memory.database.as_ref().filter(|_| deployed) else {
                    let named = &self.observed.database.named;
                    return !deployed || self.memory.deploying.is_none() || !matches!(named, Reading::Unknown(_));
                };
                match &self.observed.database.by_id {
                    Reading::Present(database) => database.state == DatabaseState::Terminated,
                    Reading::Absent => true,
                    Reading::Unknown(_) => false,
                }
            }
        }
    }

    fn is_gone(&self, key: &DesiredKey, region: &Region, arn: &KeyArn) -> bool {
        let wish = key.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
        let Some(seen) = self.observed.regions.get(region) else { return wish.is_some() };
        let adopted = wish.is_some() || seen.tags_of(arn).present().is_some_and(|t| t.contains_key(tag::ADOPT_BY));
        adopted
            || match seen.facts_of(arn) {
                Reading::Present(facts) => {
                    matches!(facts.state, KeyState::PendingDeletion | KeyState::PendingReplicaDeletion)
                }
                Reading::Absent => true,
                Reading::Unknown(_) => false,
            }
    }
}
