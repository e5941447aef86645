//! The invariants, as data: a name (with its number in the specification of safety) and what it says of an event.

use std::collections::BTreeSet;

use cmk_operator::api::condition::Condition;
use cmk_operator::api::{CustomerKey, EncryptedCluster, FINALIZER};
use cmk_operator::domain::desired::NewKey;
use cmk_operator::domain::id::{KeyArn, Region, tag};
use cmk_operator::sandbox::kms::KeyState;
use cmk_operator::sandbox::{ACCOUNT, ORGANIZATION, TrueKey, World};
use kube::Resource;
use serde_json::Value;

use super::act::Who;
use super::lab::Ghost;
use super::pass::Tape;
use super::scene::{ALIAS, AUDITOR, Config, KIND, REGIONS, vendor};

/// A write that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sent<'a> {
    CreateKey {
        region: &'a Region,
        key: &'a NewKey,
    },
    CreateAlias {
        key: &'a KeyArn,
    },
    PutPolicy {
        key: &'a KeyArn,
        policy: &'a str,
    },
    /// Of a key's tags, description or rotation.
    Change {
        key: &'a KeyArn,
    },
    Register {
        region: &'a Region,
        key: &'a KeyArn,
    },
    CreateDatabase {
        region: &'a Region,
    },
    AddRegion {
        region: &'a Region,
    },
}

/// What is judged.
#[derive(Clone, Copy)]
pub(crate) enum Event<'a> {
    /// A write is about to be sent.
    Send { who: Who, sent: &'a Sent<'a> },
    /// An object was written.
    Status { who: Who, before: &'a [Condition], after: &'a [Condition] },
    /// A transition is over.
    State,
}

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
}

/// What a judge may look at.
pub(crate) struct Court<'a> {
    world: &'a World,
    key: &'a CustomerKey,
    cluster: &'a EncryptedCluster,
    ghost: &'a Ghost,
    tape: &'a Tape,
}

type Rule = fn(&Court<'_>, &Event<'_>) -> Result<(), String>;

pub(crate) const PLAN_REFUSED: &str = "no plan of ours is refused by our own check";

/// The invariants.
pub(crate) const INVARIANTS: &[(&str, Rule)] = &[
    ("S1/S25 one key per identity is ever named", |court, event| court.one_key_is_named(event)),
    ("S1 one key per identity exists, unless the store was lost", |court, event| court.one_key_exists(event)),
    ("S2 CreateKey only after its intent is durable", |court, event| court.intent_is_durable(event)),
    ("S3 CreateKey is not repeated before settling and a scan", |court, event| court.create_is_not_repeated(event)),
    ("S5 only our own key is written to", |court, event| court.only_ours_is_written(event)),
    ("S7 a key in another state is not absent", |court, event| court.other_states_are_not_absence(event)),
    ("S8 every policy sent holds the root statement", |court, event| court.policy_holds_root(event)),
    ("S10 a foreign statement survives", |court, event| court.foreign_statement_survives(event)),
    ("S13 the cloud may use the key before it is registered", |court, event| court.principals_come_first(event)),
    ("S19 what is deployed is under the registered key", |court, event| court.deployed_under_the_key(event)),
    ("S19 deployed only after enough right looks", |court, event| court.deployed_after_looks(event)),
    ("S21 registered once, the right key, never over another", |court, event| court.registered_once(event)),
    ("S23 Ready is true of the world", |court, event| court.ready_is_true(event)),
    ("S24 conditions are whole and flip only when they change", |court, event| court.conditions_are_whole(event)),
    ("S26 the finalizer comes first", |court, event| court.finalizer_comes_first(event)),
    ("one database, each region added once", |court, event| court.deployed_once(event)),
];

/// Has every judge look at an event.
pub(crate) fn judge(
    config: &Config,
    world: &World,
    key: &CustomerKey,
    cluster: &EncryptedCluster,
    ghost: &mut Ghost,
    tape: &Tape,
    event: &Event<'_>,
) -> Result<(), Violation> {
    let named = named(world, key, cluster);
    for (region, arn) in &named {
        ghost.published.entry(region.clone()).or_insert_with(|| arn.clone());
    }
    let court = Court { world, key, cluster, ghost, tape };
    for (invariant, rule) in INVARIANTS {
        if !config.muted.contains(invariant) {
            rule(&court, event).map_err(|what| Violation { invariant, what })?;
        }
    }
    Ok(())
}

/// Every (region, ARN) that a status, an alias, a registration or a database names.
fn named(world: &World, key: &CustomerKey, cluster: &EncryptedCluster) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    let of_key = key.status.iter().flat_map(|s| &s.regions).filter_map(|r| Some((r.name.clone(), r.key_arn.clone()?)));
    let of_cluster =
        cluster.status.iter().flat_map(|s| &s.regions).filter_map(|r| Some((r.name.clone(), r.key_arn.clone()?)));
    all.extend(of_key.chain(of_cluster));
    for region in REGIONS {
        let outside = [world.true_alias(ACCOUNT, region, ALIAS), world.true_registration(ORGANIZATION, KIND, region)];
        all.extend(outside.into_iter().flatten().map(|arn| (region.to_owned(), arn.to_owned())));
    }
    for database in world.true_databases(ORGANIZATION) {
        let with =
            |d: &cmk_operator::sandbox::astra::StoredDatacenter| Some((d.region.clone(), d.encrypted_with.clone()?));
        all.extend(database.datacenters.iter().filter_map(with));
    }
    all
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn is_ours(key: &TrueKey<'_>) -> bool {
    key.tags.get(tag::NAME).is_some_and(|name| name == "orders")
}

fn find<'c>(conditions: &'c [Condition], type_: &str) -> Option<&'c Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

impl Court<'_> {
    fn one_key_is_named(&self, _: &Event<'_>) -> Result<(), String> {
        for (region, arn) in named(self.world, self.key, self.cluster) {
            let first = self.ghost.published.get(&region);
            require(first == Some(&arn), || format!("{region}: {arn} is named beside {first:?}"))?;
        }
        Ok(())
    }

    fn one_key_exists(&self, event: &Event<'_>) -> Result<(), String> {
        if !matches!(event, Event::State) || self.ghost.rebuilt {
            return Ok(());
        }
        for region in REGIONS {
            let all: Vec<_> =
                self.world.true_keys().filter(|k| k.region == region && is_ours(k)).map(|k| k.arn).collect();
            require(all.len() <= 1, || format!("{region}: {all:?}"))?;
        }
        Ok(())
    }

    fn intent_is_durable(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::CreateKey { region, key }, .. } = event else { return Ok(()) };
        let mut regions = self.key.status.iter().flat_map(|s| &s.regions);
        let stored = regions.find(|r| r.name == region.as_str()).and_then(|r| r.creation.as_ref()).map(|c| &c.nonce);
        let tagged = key.tags.get(tag::NONCE);
        require(stored.is_some() && stored == tagged, || format!("stored {stored:?}, sent {tagged:?}"))
    }

    fn create_is_not_repeated(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::CreateKey { region, .. }, .. } = event else { return Ok(()) };
        let Some(at) = self.ghost.unresolved.get(region.as_str()).filter(|_| !self.ghost.rebuilt) else {
            return Ok(());
        };
        let age = self.world.now_ms() - at;
        let seen = self.tape.observed.as_ref().and_then(|o| o.regions.get(region));
        let searched = seen.is_some_and(|s| s.scanned && s.candidates.present().is_none_or(Vec::is_empty));
        let settle = super::scene::settings().create_settle.0;
        require(age >= settle && searched, || format!("{region}: sent again after {age} ms, searched: {searched}"))
    }

    fn only_ours_is_written(&self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Send {
                sent: Sent::PutPolicy { key, .. } | Sent::Change { key } | Sent::Register { key, .. },
                ..
            } => {
                let arn = key.to_string();
                let mut regions = self.key.status.iter().flat_map(|s| &s.regions);
                require(regions.any(|r| r.key_arn.as_ref() == Some(&arn)), || format!("{arn} is not recorded"))
            }
            Event::Send { sent: Sent::CreateAlias { key }, .. } => {
                let arn = key.to_string();
                let ours = self.world.true_keys().any(|k| k.arn == arn && is_ours(&k));
                require(ours, || format!("{arn} does not carry our tags"))
            }
            Event::Send { .. } | Event::Status { .. } => Ok(()),
            Event::State => {
                let foreign = self.world.true_keys().find(|k| k.description == "foreign");
                let whole = foreign.is_some_and(|k| k.tags.len() == 1 && k.state == KeyState::Enabled);
                require(whole, || "somebody else's key was changed".to_owned())
            }
        }
    }

    fn other_states_are_not_absence(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::CreateKey { region, .. }, .. } = event else { return Ok(()) };
        let resting =
            self.world.true_keys().find(|k| k.region == region.as_str() && is_ours(k) && k.state != KeyState::Enabled);
        let lost = self.ghost.rebuilt;
        require(resting.is_none() || lost, || format!("{region}: created beside {:?}", resting.map(|k| k.arn)))
    }

    fn policy_holds_root(&self, event: &Event<'_>) -> Result<(), String> {
        let text = match event {
            Event::Send { sent: Sent::CreateKey { key, .. }, .. } => &key.policy,
            Event::Send { sent: Sent::PutPolicy { policy, .. }, .. } => *policy,
            _ => return Ok(()),
        };
        let document: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let root = format!("arn:aws:iam::{ACCOUNT}:root");
        let one =
            |value: &Value, text: &str| value == text || value.as_array().is_some_and(|a| a.iter().any(|v| v == text));
        let holds = document["Statement"].as_array().is_some_and(|all| {
            all.iter().any(|s| {
                s["Effect"] == "Allow"
                    && one(&s["Principal"]["AWS"], &root)
                    && one(&s["Action"], "kms:*")
                    && one(&s["Resource"], "*")
                    && s.get("Condition").is_none()
            })
        });
        require(holds, || text.to_owned())
    }

    fn foreign_statement_survives(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::PutPolicy { key, policy }, .. } = event else { return Ok(()) };
        let auditor = format!("arn:aws:iam::{AUDITOR}:root");
        let holds = self.world.truly_allows(&key.to_string(), &auditor, "kms:DescribeKey");
        require(!holds || policy.contains(AUDITOR), || format!("{key}: the auditor's statement is lost"))
    }

    fn principals_come_first(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::Register { region, key }, .. } = event else { return Ok(()) };
        let holds = self.vendor_may_use(region.as_str(), &key.to_string());
        require(holds || self.tape.disturbed, || format!("{key} is registered, and its policy lacks the cloud"))
    }

    fn deployed_under_the_key(&self, event: &Event<'_>) -> Result<(), String> {
        if !matches!(event, Event::State) {
            return Ok(());
        }
        for database in self.world.true_databases(ORGANIZATION) {
            for deployed in &database.datacenters {
                let with = deployed.encrypted_with.as_ref();
                let named = self.ghost.published.get(&deployed.region);
                require(with.is_some() && with == named, || {
                    format!(
                        "{} in {} is encrypted with {with:?}, and the key is {named:?}",
                        database.id, deployed.region
                    )
                })?;
            }
        }
        Ok(())
    }

    fn deployed_after_looks(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::CreateDatabase { region } | Sent::AddRegion { region }, .. } = event else {
            return Ok(());
        };
        let (count, last) = self.ghost.right_looks.get(region.as_str()).copied().unwrap_or_default();
        let needed = super::scene::settings().gate_looks;
        let at = self.tape.observed.as_ref().map(|o| o.at.0);
        let valid =
            at.is_some_and(|at| self.world.now_ms() - at <= super::scene::settings().look_valid.0 && last <= at);
        require(u32::from(count) >= needed && valid, || format!("{region}: {count} right looks, the last at {last}"))
    }

    fn registered_once(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { sent: Sent::Register { region, key }, .. } = event else { return Ok(()) };
        require(key.region() == *region && key.account().as_str() == ACCOUNT, || format!("{key} for {region}"))?;
        let there = self.world.true_registration(ORGANIZATION, KIND, region.as_str());
        require(there.is_none(), || format!("{key} is registered where {there:?} is"))
    }

    fn ready_is_true(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Status { who, after, .. } = event else { return Ok(()) };
        let Some(ready) = find(after, "Ready").filter(|r| r.status == "True" && r.reason == "AsDeclared") else {
            return Ok(());
        };
        let (generation, observed) = match who {
            Who::Key => (self.key.meta().generation, self.key.status.as_ref().and_then(|s| s.observed_generation)),
            Who::Cluster => {
                (self.cluster.meta().generation, self.cluster.status.as_ref().and_then(|s| s.observed_generation))
            }
        };
        require(generation == observed && ready.observed_generation == observed, || {
            format!("generation {generation:?}, observed {observed:?}")
        })?;
        if self.tape.disturbed || ready.last_transition_time.0.as_millisecond() != self.world.now_ms() {
            return Ok(());
        }
        for region in REGIONS {
            self.region_is_right(region)?;
        }
        if *who == Who::Cluster {
            let [database] = self.world.true_databases(ORGANIZATION) else { return Err("not one database".to_owned()) };
            for region in REGIONS {
                let deployed = database.datacenters.iter().find(|d| d.region == region);
                let serves = deployed.is_some_and(|d| d.status(self.world.now_ms()) == "ACTIVE");
                require(serves, || format!("{region} does not serve"))?;
            }
        }
        Ok(())
    }

    /// Whether the region's key is enabled, usable by the cloud, claimed, recorded and registered.
    fn region_is_right(&self, region: &str) -> Result<(), String> {
        let arn = self.world.true_alias(ACCOUNT, region, ALIAS).ok_or_else(|| format!("{region}: no alias"))?;
        let enabled = self.world.true_keys().any(|k| k.arn == arn && k.state == KeyState::Enabled);
        require(enabled, || format!("{arn} is not enabled"))?;
        require(self.vendor_may_use(region, arn), || format!("the cloud may not use {arn}"))?;
        let registered = self.world.true_registration(ORGANIZATION, KIND, region);
        require(registered == Some(arn), || format!("{region}: {registered:?} is registered"))?;
        let recorded = self.ghost.published.get(region);
        require(recorded.is_some_and(|r| r == arn), || format!("{region}: {recorded:?} is recorded"))
    }

    fn vendor_may_use(&self, region: &str, arn: &str) -> bool {
        ["kms:Decrypt", "kms:GenerateDataKey"]
            .iter()
            .all(|action| self.world.truly_allows(arn, &vendor(region), action))
    }

    fn conditions_are_whole(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Status { before, after, .. } = event else { return Ok(()) };
        if after.is_empty() {
            return Ok(());
        }
        require(after.len() == 7, || format!("{} conditions", after.len()))?;
        let first = before.is_empty() && find(after, "Ready").is_some_and(|r| r.status == "True");
        require(!first, || "Ready in the first status".to_owned())?;
        for is in *after {
            let Some(was) = find(before, &is.type_) else { continue };
            let flipped = was.status != is.status;
            let moved = was.last_transition_time != is.last_transition_time;
            require(!moved || flipped, || format!("{}: time moved without the status", is.type_))?;
        }
        Ok(())
    }

    fn finalizer_comes_first(&self, event: &Event<'_>) -> Result<(), String> {
        let Event::Send { who, .. } = event else { return Ok(()) };
        let finalizers = match who {
            Who::Key => &self.key.meta().finalizers,
            Who::Cluster => &self.cluster.meta().finalizers,
        };
        let there = finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == FINALIZER));
        require(there, || format!("{who:?} has no finalizer"))
    }

    fn deployed_once(&self, event: &Event<'_>) -> Result<(), String> {
        let databases = self.world.true_databases(ORGANIZATION);
        match event {
            Event::Send { sent: Sent::CreateDatabase { .. }, .. } => {
                require(databases.is_empty(), || "a database is created beside another".to_owned())
            }
            Event::Send { sent: Sent::AddRegion { region }, .. } => {
                let there = databases.iter().any(|d| d.datacenters.iter().any(|d| d.region == region.as_str()));
                require(!there, || format!("{region} is added again"))
            }
            Event::Send { .. } | Event::Status { .. } => Ok(()),
            Event::State => require(databases.len() <= 1, || format!("{} databases", databases.len())),
        }
    }
}
