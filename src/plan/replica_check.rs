//! The part of the [safety check](super::check) that is about multi-Region keys: the rules are derived anew from what was
//! declared, seen and remembered.

use std::collections::BTreeMap;

use crate::domain::desired::{Desired, DesiredKey, NewKey};
use crate::domain::family::related;
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::{Memory, Subject};
use crate::domain::moment::Moment;
use crate::domain::observed::{KeyFacts, KeyState, Observed};
use crate::domain::policy::{Grant, PolicyDocument, holds};
use crate::domain::reading::Reading;

use super::check::{Rule, owned, require};
use super::step::{KeyRef, Step};
use super::{Pass, Plan};

pub(super) struct Kin<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) memory: &'a Memory,
    pub(super) pass: &'a Pass,
    pub(super) plan: &'a Plan,
}

impl Kin<'_> {
    pub(super) fn step(&self, step: &Step) -> Rule {
        let Desired::Key(key) = self.desired else { return Ok(()) };
        match step {
            Step::ReplicateKey { region, primary, key: new, not_after } => {
                self.may_replicate(key, region, primary, new, *not_after)
            }
            Step::CreateKey { region, .. } if key.multi_region.is_some() => self.may_begin(key, region),
            Step::CreateAlias { region, key: KeyRef::Arn(arn), .. }
            | Step::RecordKey { region, key: KeyRef::Arn(arn) }
                if key.multi_region.is_some() =>
            {
                self.is_related(key, region, arn)
            }
            Step::MarkDeletion { key: arn, .. } | Step::ScheduleDeletion { key: arn, .. } => self.may_end(key, arn),
            _ => Ok(()),
        }
    }

    /// There is no other key of the object anywhere.
    fn may_begin(&self, key: &DesiredKey, region: &Region) -> Rule {
        const RULE: &str = "a multi-Region key is created once: in the region that the spec names, and only where no region was seen to have it";
        require(key.multi_region.as_ref() == Some(region) && key.regions.values().all(|w| w.key_arn.is_none()), RULE)?;
        require(self.memory.regions.values().all(|memory| memory.key.is_none()), RULE)?;
        for other in key.regions.keys().filter(|other| *other != region) {
            let seen = self.observed.regions.get(other).ok_or(RULE)?;
            let theirs = seen.by_alias.present().is_some() && seen.tags.present().is_some_and(|tags| !owned(key, tags));
            let searched = seen.candidates.is_absent() || seen.candidates.present().is_some_and(Vec::is_empty);
            require((seen.by_alias.is_absent() || theirs) && searched, RULE)?;
        }
        Ok(())
    }

    /// The key is one with that of the primary's region, as the spec names it or status remembers it, or else with those of
    /// all other regions. Where the first is known, a key elsewhere that is no relative of it is refused there, and keeps
    /// nothing from being done here.
    fn is_related(&self, key: &DesiredKey, region: &Region, arn: &KeyArn) -> Rule {
        const RULE: &str = "the keys of all regions of a multi-Region key are related";
        let of = |region: &Region| {
            let named = key.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
            named.or(self.memory.regions.get(region).and_then(|memory| memory.key.as_ref()))
        };
        if let Some(primary) = key.multi_region.as_ref().and_then(of) {
            return require(primary.key_id() == arn.key_id(), RULE);
        }
        let named =
            key.regions.iter().filter(|(other, _)| *other != region).filter_map(|(_, wish)| wish.key_arn.as_ref());
        let recorded = self.memory.regions.iter().filter(|(other, _)| *other != region);
        let recorded =
            recorded.filter(|(other, _)| key.regions.contains_key(*other)).filter_map(|(_, m)| m.key.as_ref());
        require(named.chain(recorded).all(|other| other.key_id() == arn.key_id()), RULE)
    }

    fn may_replicate(
        &self,
        key: &DesiredKey,
        region: &Region,
        primary: &KeyArn,
        new: &NewKey,
        not_after: Moment,
    ) -> Rule {
        let asked = key.multi_region.is_some() && key.regions.get(region).is_some_and(|wish| wish.key_arn.is_none());
        require(asked, "a replica is made only where the spec asks for one")?;
        require(
            not_after <= self.pass.now + self.pass.settings.look_valid,
            "nothing is created on a look that is too old",
        )?;
        require(owned(key, &new.tags) && new.tags.contains_key(tag::NONCE), "a replica is made with its owner's tags")?;
        has_root(key, region, &new.policy)?;
        let replica = primary.in_region(region);
        require(
            primary.region() != region && *primary.account() == key.access.account,
            "a key of another account or region is never touched",
        )?;
        self.is_related(key, region, &replica)?;
        self.is_missing(region, &replica)?;
        self.is_ready(key, primary)
    }

    /// This pass saw that there is none, and if there was one, so did those before.
    fn is_missing(&self, region: &Region, replica: &KeyArn) -> Rule {
        let seen = self.observed.regions.get(region).ok_or("nothing without a look")?;
        require(
            seen.by_arn.is_absent() && seen.by_alias.is_absent(),
            "a replica is made only where a look of this pass said that there is none",
        )?;
        let Some(recorded) = self.memory.regions.get(region).and_then(|memory| memory.key.as_ref()) else {
            return Ok(());
        };
        let looks = self.plan.looks.get(&Subject::Key(region.clone())).map_or(0, |looks| looks.count);
        require(
            recorded == replica && looks >= self.pass.settings.gate_looks,
            "a replica that was there is made again only as the same key, after enough looks that missed it",
        )
    }

    /// The primary is the object's own, or may be used by it, and was seen to be usable.
    fn is_ready(&self, key: &DesiredKey, primary: &KeyArn) -> Rule {
        const RULE: &str =
            "a replica is made only of a key that this pass saw enabled, the primary, and the object's own";
        let (facts, tags) = self.seen(primary).ok_or(RULE)?;
        let leads = facts.family.as_ref().is_some_and(|family| family.primary == *primary);
        let kind = facts.symmetric && facts.kms_origin && facts.customer_managed && facts.multi_region;
        require(leads && kind && facts.state == KeyState::Enabled, RULE)?;
        let adopted = key.regions.get(primary.region()).is_some_and(|wish| wish.key_arn.is_some());
        let consent = tags.get(tag::ADOPT_BY) == Some(&key.owner.consent());
        require(if adopted { consent } else { owned(key, tags) } && !tags.contains_key(tag::HOLD), RULE)?;
        require(
            adopted || !self.pass.settings.is_held_elsewhere(tags.get(tag::HOLDER)),
            "a key that another cluster holds is not written to",
        )
    }

    fn seen(&self, arn: &KeyArn) -> Option<(&KeyFacts, &BTreeMap<String, String>)> {
        Some((self.observed.facts_of(arn).present()?, self.observed.tags_of(arn).present()?))
    }

    /// Every replica of the key is seen to be on its way out.
    fn may_end(&self, key: &DesiredKey, arn: &KeyArn) -> Rule {
        let seen = self.observed.regions.get(arn.region()).ok_or("nothing without a look")?;
        let facts = seen.facts_of(arn);
        let family = facts.present().and_then(|facts| facts.family.as_ref());
        let Some(family) = family.filter(|family| family.primary == *arn) else { return Ok(()) };
        let ends = |replica: &KeyArn| match self.observed.facts_of(replica) {
            Reading::Present(facts) => facts.state == KeyState::PendingDeletion,
            // Looked for by its own ARN, that is.
            Reading::Absent => {
                related(key, self.memory, replica.region()).as_ref() == Some(replica)
                    || !self.observed.regions.contains_key(replica.region())
            }
            Reading::Unknown(_) => false,
        };
        require(family.replicas.iter().all(ends), "a primary is scheduled only after all its replicas are")
    }
}

fn has_root(key: &DesiredKey, region: &Region, policy: &str) -> Rule {
    let account = key.account_in(region);
    let root = Grant { label: String::new(), actions: vec!["kms:*".to_owned()], conditions: Vec::new() };
    let document = PolicyDocument::parse(policy).map_err(|_| "a policy that is sent can be read")?;
    require(
        holds(&document, &root, &[account.root_arn()], &account).is_held_if_iam_allows(),
        "a policy of a key that we made gives the account root everything",
    )
}
