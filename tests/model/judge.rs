//! The invariants, as data: a name (with its number in the specification of safety) and what it says of an event.

use cmk_operator::api::condition::Condition;
use cmk_operator::api::{CustomerKey, EncryptedCluster, KeyRegionStatus};
use cmk_operator::domain::desired::NewKey;
use cmk_operator::domain::id::{KeyArn, Region, tag};
use cmk_operator::sandbox::kms::KeyState;
use cmk_operator::sandbox::{ACCOUNT, Access, TrueKey, World};
use serde_json::Value;

use super::act::Who;
use super::files::{ALIAS, AUDITOR, REGIONS};
use super::lab::Ghost;
use super::pass::Tape;
use super::scene::{Config, Scene};
use super::truth::Truth;
use super::users::Used;

/// A write that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sent<'a> {
    CreateKey {
        region: &'a Region,
        key: &'a NewKey,
    },
    ReplicateKey {
        region: &'a Region,
        primary: &'a KeyArn,
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
    Schedule {
        key: &'a KeyArn,
    },
    /// Takes back a scheduled deletion.
    Restore {
        key: &'a KeyArn,
    },
    RemoveRegion {
        id: &'a str,
        region: &'a Region,
    },
    Terminate {
        id: &'a str,
    },
    /// Has the cloud make another record of a role.
    MakeLink,
    /// Has the cloud assume a role, and keep it in a record.
    Authorize {
        role: &'a str,
    },
    /// Takes the registration back.
    Withdraw,
    RemoveLink,
    MakeRole {
        role: &'a str,
    },
    /// Of whom a role trusts, or what it may do.
    ChangeRole {
        role: &'a str,
    },
    DeleteRole {
        role: &'a str,
    },
}

/// What is judged.
#[derive(Clone, Copy)]
pub(crate) enum Event<'a> {
    /// A write is about to be sent.
    Send { who: Who, sent: &'a Sent<'a> },
    /// An object was written.
    Status { who: Who, before: &'a [Condition], after: &'a [Condition] },
    /// An object is about to be gone.
    Gone { who: Who },
    /// A pass over an object that goes under Retain is over; these calls were made.
    Retained { calls: &'a [(String, Access)] },
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
    pub(super) config: &'a Config,
    pub(super) world: &'a World,
    pub(super) key: Option<&'a CustomerKey>,
    pub(super) cluster: Option<&'a EncryptedCluster>,
    pub(super) ghost: &'a Ghost,
    pub(super) tape: &'a Tape,
}

/// What a rule says of an event.
pub(crate) type Verdict = Result<(), String>;

type Rule = fn(&Court<'_>, &Event<'_>) -> Verdict;

/// The tags by which keys are known as ours.
pub(crate) const OWNER_TAGS: [(&str, &str); 3] =
    [(tag::INSTALLATION, "prod"), (tag::NAMESPACE, "team"), (tag::NAME, "orders")];

pub(crate) const USED: &str = "nothing that is used is scheduled for deletion";
pub(crate) const OURS: &str = "nothing that is not ours alone is scheduled for deletion";
pub(crate) const CONFIRMED: &str = "nothing goes that was not confirmed";
pub(crate) const BEGINS: &str = "nothing begins under a key that is being torn down";
pub(crate) const UNDER: &str = "nothing is under a key that the operator scheduled for deletion";
pub(crate) const LEFT: &str = "nothing is left behind by an object that goes";
pub(crate) const ONE_RECORD: &str = "the cloud has one record of the role, unless status was lost";
pub(crate) const LETS_GO: &str = "the cloud lets go of a key in order, and only when that was confirmed";
pub(crate) const ROLE_LEFT: &str = "no role, record or registration is left behind by a key that goes with everything";
pub(crate) const PLAN_REFUSED: &str = "no plan of ours is refused by our own check";

/// The invariants.
pub(crate) const INVARIANTS: &[(&str, Rule)] = &[
    ("S1/S25 one key per identity is ever named", |court, event| court.one_key_is_named(event)),
    ("S1 one key per identity exists, unless the store was lost", |court, event| court.one_key_exists(event)),
    ("one multi-Region key, in all its regions", |court, event| court.one_key_in_all_regions(event)),
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
    (USED, |court, event| court.nothing_used_is_scheduled(event)),
    (OURS, |court, event| court.only_ours_is_scheduled(event)),
    ("nothing is taken back that the operator did not schedule", |court, event| {
        court.only_its_own_is_taken_back(event)
    }),
    (CONFIRMED, |court, event| court.only_what_is_confirmed_goes(event)),
    (BEGINS, |court, event| court.nothing_begins_under_a_key_that_goes(event)),
    (UNDER, |court, event| court.nothing_is_under_a_scheduled_key(event)),
    ("Retain calls nobody", |court, event| court.retain_calls_nobody(event)),
    (LEFT, |court, event| court.nothing_is_left_behind(event)),
    (ONE_RECORD, |court, event| court.one_record_of_the_role(event)),
    ("a record is asked for only after its intent is durable", |court, event| court.link_intent_is_durable(event)),
    ("only our own role is written to", |court, event| court.only_our_role_is_written(event)),
    (LETS_GO, |court, event| court.what_lets_go_of_a_key_is_confirmed(event)),
    (ROLE_LEFT, |court, event| court.no_role_is_left_behind(event)),
];

/// Has every judge look at an event.
pub(crate) fn judge(
    config: &Config,
    world: &World,
    key: Option<&CustomerKey>,
    cluster: Option<&EncryptedCluster>,
    ghost: &mut Ghost,
    tape: &Tape,
    event: &Event<'_>,
) -> Result<(), Violation> {
    learn(world, &config.scene, key, cluster, ghost, event);
    let court = Court { config, world, key, cluster, ghost, tape };
    for (invariant, rule) in INVARIANTS {
        if !config.muted.contains(invariant) {
            rule(&court, event).map_err(|what| Violation { invariant, what })?;
        }
    }
    Ok(())
}

/// Takes note of what later judgements rest on.
fn learn(
    world: &World,
    scene: &Scene,
    key: Option<&CustomerKey>,
    cluster: Option<&EncryptedCluster>,
    ghost: &mut Ghost,
    event: &Event<'_>,
) {
    let published = &mut ghost.published;
    let _ = named(world, scene, key, cluster, |region, arn| {
        if !published.contains_key(region) {
            published.insert(region.to_owned(), arn.to_owned());
        }
        Ok(())
    });
    match event {
        Event::State => {
            for noted in world.true_keys().filter(|k| k.tags.contains_key(tag::REGISTERED_AT)) {
                if !ghost.registered.contains(noted.arn) {
                    ghost.registered.insert(noted.arn.to_owned());
                }
            }
        }
        Event::Status { who, .. } => {
            let shown = key.iter().flat_map(|key| &key.status).flat_map(|status| &status.regions);
            ghost.registered.extend(shown.filter_map(|region| region.registered_key_arn.clone()));
            // Each removal of a region is another occasion: what confirmed the one before is void.
            let removals = match who {
                Who::Key => key.map(Used::removals),
                Who::Cluster => cluster.map(Used::removals),
            };
            let tokens: Vec<&String> =
                removals.iter().flatten().filter_map(|(_, status)| status.confirmation_token.as_ref()).collect();
            ghost.removals += u64::from(!tokens.is_empty());
            ghost.confirmed[*who as usize]
                .retain(|token, meaning| !meaning.starts_with("region ") || tokens.contains(&token));
        }
        _ => {}
    }
}

/// Every (region, ARN) that a status, an alias, a registration or a database names, as long as nobody objects.
fn named(
    world: &World,
    scene: &Scene,
    key: Option<&CustomerKey>,
    cluster: Option<&EncryptedCluster>,
    mut each: impl FnMut(&str, &str) -> Verdict,
) -> Verdict {
    for region in key.iter().flat_map(|key| &key.status).flat_map(|status| &status.regions) {
        region.key_arn.as_ref().map_or(Ok(()), |arn| each(&region.name, arn))?;
    }
    for region in cluster.iter().flat_map(|cluster| &cluster.status).flat_map(|status| &status.regions) {
        region.key_arn.as_ref().map_or(Ok(()), |arn| each(&region.name, arn))?;
    }
    let truth = Truth::of(world, scene);
    for region in REGIONS {
        world.true_alias(ACCOUNT, region, ALIAS).map_or(Ok(()), |arn| each(region, arn))?;
        truth.registration(region).map_or(Ok(()), |arn| each(region, arn))?;
    }
    for deployed in truth.databases().iter().flat_map(|database| &database.regions) {
        deployed.under.map_or(Ok(()), |arn| each(&deployed.region, arn))?;
    }
    Ok(())
}

pub(super) fn require(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

pub(super) fn is_ours(key: &TrueKey<'_>) -> bool {
    key.tags.get(tag::NAME).is_some_and(|name| name == "orders")
}

impl Court<'_> {
    pub(super) fn truth(&self) -> Truth<'_> {
        Truth::of(self.world, &self.config.scene)
    }

    /// The regions of the key that status shows.
    pub(super) fn shown(&self) -> impl Iterator<Item = &KeyRegionStatus> {
        self.key.into_iter().flat_map(|key| &key.status).flat_map(|status| &status.regions)
    }

    fn one_key_is_named(&self, _: &Event<'_>) -> Verdict {
        named(self.world, &self.config.scene, self.key, self.cluster, |region, arn| {
            let first = self.ghost.published.get(region);
            require(first.is_some_and(|first| first == arn), || format!("{region}: {arn} is named beside {first:?}"))
        })
    }

    fn one_key_exists(&self, event: &Event<'_>) -> Verdict {
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

    fn intent_is_durable(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::CreateKey { region, key }, .. } = event else { return Ok(()) };
        let mut regions = self.shown();
        let stored = regions.find(|r| r.name == region.as_str()).and_then(|r| r.creation.as_ref()).map(|c| &c.nonce);
        let tagged = key.tags.get(tag::NONCE);
        require(stored.is_some() && stored == tagged, || format!("stored {stored:?}, sent {tagged:?}"))
    }

    fn create_is_not_repeated(&self, event: &Event<'_>) -> Verdict {
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

    fn only_ours_is_written(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::Send {
                who,
                sent:
                    Sent::PutPolicy { key, .. } | Sent::Change { key } | Sent::Restore { key } | Sent::Register { key, .. },
            } => {
                let arn = key.to_string();
                let read = &self.tape.read;
                let named = self.ghost.published.get(key.region().as_str()) == Some(&arn);
                let recorded = match who {
                    Who::Key => self.shown().any(|r| r.key_arn.as_ref() == Some(&arn)),
                    // A cluster notes its database on the key that it sees under the alias.
                    Who::Cluster => named,
                };
                // One that goes on after a stop may find that its object is gone.
                let gone = self.key.is_none() && read.recorded.contains(&arn);
                // What is to be scheduled is marked before.
                let goes = read.deleting || read.confirmed.iter().any(|all| all.contains(&arn));
                require(recorded || gone || goes, || format!("{arn} is not recorded"))
            }
            Event::Send { sent: Sent::CreateAlias { key }, .. } => {
                let arn = key.to_string();
                let ours = self.world.true_keys().any(|k| k.arn == arn && is_ours(&k));
                require(ours, || format!("{arn} does not carry our tags"))
            }
            Event::Send { .. } | Event::Status { .. } | Event::Gone { .. } | Event::Retained { .. } => Ok(()),
            Event::State => {
                let foreign = self.world.true_keys().find(|k| k.description == "foreign");
                let whole = foreign.is_some_and(|k| k.tags.len() == 1 && k.state == KeyState::Enabled);
                require(whole, || "somebody else's key was changed".to_owned())
            }
        }
    }

    fn other_states_are_not_absence(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::CreateKey { region, .. } | Sent::ReplicateKey { region, .. }, .. } = event else {
            return Ok(());
        };
        let resting =
            self.world.true_keys().find(|k| k.region == region.as_str() && is_ours(k) && k.state != KeyState::Enabled);
        let lost = self.ghost.rebuilt;
        require(resting.is_none() || lost, || format!("{region}: created beside {:?}", resting.map(|k| k.arn)))
    }

    fn policy_holds_root(&self, event: &Event<'_>) -> Verdict {
        let text = match event {
            Event::Send { sent: Sent::CreateKey { key, .. } | Sent::ReplicateKey { key, .. }, .. } => &key.policy,
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

    fn foreign_statement_survives(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::PutPolicy { key, policy }, .. } = event else { return Ok(()) };
        let auditor = format!("arn:aws:iam::{AUDITOR}:root");
        let holds = self.world.truly_allows(&key.to_string(), &auditor, "kms:DescribeKey");
        require(!holds || policy.contains(AUDITOR), || format!("{key}: the auditor's statement is lost"))
    }

    fn principals_come_first(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::Register { region, key }, .. } = event else { return Ok(()) };
        let holds = self.truth().cloud_may_use(region.as_str(), &key.to_string());
        require(holds || self.tape.disturbed, || format!("{key} is registered, and its policy lacks the cloud"))
    }

    fn deployed_under_the_key(&self, event: &Event<'_>) -> Verdict {
        if !matches!(event, Event::State) {
            return Ok(());
        }
        for database in self.truth().databases() {
            for deployed in &database.regions {
                let with = deployed.under;
                let named = self.ghost.published.get(&deployed.region).map(String::as_str);
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

    fn deployed_after_looks(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::CreateDatabase { region } | Sent::AddRegion { region }, .. } = event else {
            return Ok(());
        };
        if self.tape.flies {
            // It was sent when the looks were right.
            return Ok(());
        }
        let region = self.truth().key_region(region.as_str());
        let (count, last) = self.ghost.right_looks.get(region).copied().unwrap_or_default();
        let needed = super::scene::settings().gate_looks;
        let at = self.tape.observed.as_ref().map(|o| o.at.0);
        let valid =
            at.is_some_and(|at| self.world.now_ms() - at <= super::scene::settings().look_valid.0 && last <= at);
        require(u32::from(count) >= needed && valid, || format!("{region}: {count} right looks, the last at {last}"))
    }

    fn registered_once(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::Register { region, key }, .. } = event else { return Ok(()) };
        require(key.region() == *region && key.account().as_str() == ACCOUNT, || format!("{key} for {region}"))?;
        let there = self.truth().registration(region.as_str());
        // Through a role the same key is registered again, which changes nothing.
        let again = self.truth().project().is_some() && there == Some(key.to_string().as_str());
        require(there.is_none() || again, || format!("{key} is registered where {there:?} is"))
    }

    fn deployed_once(&self, event: &Event<'_>) -> Verdict {
        let databases = self.truth().databases();
        let live = || databases.iter().filter(|d| !d.gone);
        match event {
            Event::Send { sent: Sent::CreateDatabase { .. }, .. } => {
                require(live().next().is_none(), || "a database is created beside another".to_owned())
            }
            Event::Send { sent: Sent::AddRegion { region }, .. } => {
                let there = live().any(|d| d.regions.iter().any(|d| d.region == region.as_str() && !d.gone));
                require(!there, || format!("{region} is added again"))
            }
            Event::State => require(live().count() <= 1, || format!("{} databases", live().count())),
            _ => Ok(()),
        }
    }
}
