//! The plan against nothing: the operator's own passes, played in an imagined world until nothing moves any more.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::imagined::Imagined;
use super::manifests::Manifests;
use super::{Planned, PlannedStep, Report, details, name_of, nothing_done};
use crate::api::parse::{self, Invalid};
use crate::api::{CustomerKey, EncryptedCluster, FINALIZER, NamespacesFrom, SecretRef};
use crate::clock::Clock;
use crate::commands::Failed;
use crate::controller::context::Note;
use crate::controller::kind::Kind;
use crate::controller::slots::Slots;
use crate::controller::witness::Quiet;
use crate::domain::capabilities::Scope;
use crate::domain::condition::Reason;
use crate::domain::desired::{Desired, DesiredKey, LinkedKey};
use crate::domain::id::Name;
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{CredentialsSeen, Depth};
use crate::domain::reading::Reading;
use crate::execute::{Hands, execute};
use crate::observe::{Credentials, Sight, observe};
use crate::plan::check::check;
use crate::plan::finding::Finding;
use crate::plan::{Pass, Settings, decide, findings_after};
use crate::ports::{self, Endless, Fault, Ledger, Record, Session};

/// More passes than any object needs; one that still moves then would move for ever.
const MOST: u32 = 1000;

/// How long nothing may move until it is believed that nothing will.
const LONG: Span = Span::seconds(600);

/// What would be done for these manifests if there were nothing yet.
pub async fn rehearse(manifests: &Manifests, installation: &Name, settings: &Settings) -> Result<Report, Failed> {
    let stage = Stage { manifests, installation, settings, world: Imagined::new(), slots: Slots::new(0) };
    let mut report = Report { ignored: manifests.ignored.clone(), ..Report::default() };
    stage.assume(&mut report.assumed);
    let mut keys: Vec<Actor<CustomerKey>> = manifests.keys.iter().cloned().map(Actor::new).collect();
    let mut clusters: Vec<Actor<EncryptedCluster>> = manifests.clusters.iter().cloned().map(Actor::new).collect();
    for (number, key) in keys.iter().enumerate() {
        let parsed = parse::customer_key(&key.object, installation);
        let since = (Moment(i64::try_from(number).unwrap_or(i64::MAX)), String::new());
        stage.slots.claims(&name_of(&key.object), since, parsed.as_ref().ok());
    }
    // One after another, so that what is done for one object stands together; then all of them once more, since one may
    // have waited for another.
    let mut moved = true;
    while moved {
        moved = false;
        for key in &mut keys {
            moved |= stage.to_rest(key).await?;
        }
        for cluster in &mut clusters {
            moved |= stage.to_rest(cluster).await?;
        }
        stage.world.pass_time(LONG);
    }
    report.objects.extend(keys.into_iter().map(|actor| actor.planned));
    report.objects.extend(clusters.into_iter().map(|actor| actor.planned));
    report.number();
    report.in_words(|text| stage.world.in_words(text));
    Ok(report)
}

/// An object that goes through its passes.
struct Actor<K> {
    object: K,
    note: Note,
    planned: Planned,
}

impl<K: Kind> Actor<K> {
    fn new(mut object: K) -> Self {
        object.meta_mut().generation = Some(1);
        let planned = Planned::of(&object);
        Self { object, note: Note::default(), planned }
    }
}

/// What an object declares among the manifests.
trait Declares: Kind {
    fn desired(&self, stage: &Stage<'_>) -> Result<(Desired, Credentials), Invalid>;
}

impl Declares for CustomerKey {
    fn desired(&self, stage: &Stage<'_>) -> Result<(Desired, Credentials), Invalid> {
        let mut desired = stage.key(self)?;
        desired.rivals = stage.slots.rivals(&name_of(self), &desired);
        if desired.restricts_sources() {
            // No cluster's status shows anything yet.
            desired.users = Reading::Present(Vec::new());
        }
        let secret = parse::credentials_of(&self.spec.upstream);
        let credentials = credentials(&self.namespace().unwrap_or_default(), secret, &desired.scope);
        Ok((Desired::Key(desired), credentials))
    }
}

impl Declares for EncryptedCluster {
    fn desired(&self, stage: &Stage<'_>) -> Result<(Desired, Credentials), Invalid> {
        let (own, (namespace, name)) = (self.namespace().unwrap_or_default(), parse::key_ref(self));
        let key = stage.manifests.keys.iter().find(|key| name_of(*key) == (namespace.clone(), name.clone()));
        let Some(key) = key else {
            let desired = parse::encrypted_cluster(self, Reading::Absent)?;
            return Ok((Desired::Cluster(desired), Credentials::default()));
        };
        let linked = LinkedKey { key: stage.key(key)?, allowed: stage.allows(key, &own) };
        let scope = linked.key.scope.clone();
        let of_key = credentials(&namespace, parse::credentials_of(&key.spec.upstream), &scope);
        let deployment = self.spec.deployment.as_ref();
        // As the controller does it: a token of another namespace is never used to write for a tenant.
        let credentials = match deployment.map(parse::credentials_of_deployment) {
            Some(None) if own != namespace => Credentials { seen: Reading::Absent, session: None, deploy: None },
            _ => of_key,
        };
        let mut desired = parse::encrypted_cluster(self, Reading::Present(linked))?;
        if let (Some(backup), Some(named)) = (&mut desired.backup, parse::backup_key_ref(self)) {
            let other = stage.manifests.keys.iter().find(|key| name_of(*key) == named);
            backup.key = match other {
                Some(other) => {
                    let allowed = stage.allows(other, &own);
                    Reading::Present(LinkedKey { key: stage.key(other)?, allowed })
                }
                None => Reading::Absent,
            };
        }
        Ok((Desired::Cluster(desired), credentials))
    }
}

/// The Secret is assumed to be there, and to be accepted.
fn credentials(namespace: &str, secret: Option<&SecretRef>, scope: &Scope) -> Credentials {
    let Some(SecretRef { name }) = secret else { return Credentials::default() };
    let session = Session { scope: scope.clone(), credentials: ports::Credentials::default() };
    let seen = CredentialsSeen { secret: format!("{namespace}/{name}"), lacking: Vec::new() };
    Credentials { seen: Reading::Present(seen), deploy: Some(session.clone()), session: Some(session) }
}

struct Stage<'a> {
    manifests: &'a Manifests,
    installation: &'a Name,
    settings: &'a Settings,
    world: Imagined,
    slots: Slots,
}

impl Stage<'_> {
    fn key(&self, key: &CustomerKey) -> Result<DesiredKey, Invalid> {
        parse::customer_key(key, self.installation)
    }

    /// Whether a key allows a namespace, by the labels in the manifests; where they are not there, it is assumed.
    fn allows(&self, key: &CustomerKey, namespace: &str) -> bool {
        let known = self.manifests.labels.get(namespace);
        let unknown = known.is_none() && key.spec.allowed_namespaces.from == NamespacesFrom::Selector;
        unknown || parse::allows(key, namespace, known.unwrap_or(&BTreeMap::new()))
    }

    /// Puts into the world what the manifests say is there, and says so.
    fn assume(&self, assumed: &mut Vec<String>) {
        assumed.push(format!(
            "Nothing is there yet, but for the Secrets; the installation is called {:?}.",
            self.installation.as_str()
        ));
        for key in &self.manifests.keys {
            let Ok(desired) = self.key(key) else { continue };
            for arn in desired.regions.values().filter_map(|region| region.key_arn.as_ref()) {
                let consent = desired.owner.consent();
                self.world.add_key(arn, &consent);
                assumed.push(format!(
                    "Key {arn} is there, enabled, with the tag cmk-operator.io/adopt-by={consent} and AWS's default policy."
                ));
            }
            if let Some(primary) = desired.multi_region.as_ref().and_then(|r| desired.regions.get(r)?.key_arn.as_ref())
            {
                self.world.add_family(primary);
            }
        }
        for cluster in &self.manifests.clusters {
            let Ok((Desired::Cluster(desired), _)) = cluster.desired(self) else { continue };
            let (namespace, name) = parse::key_ref(cluster);
            let own = desired.object.namespace.as_str();
            let key = self.manifests.keys.iter().find(|key| name_of(*key) == (namespace.clone(), name.clone()));
            let by_labels = key.is_some_and(|key| key.spec.allowed_namespaces.from == NamespacesFrom::Selector);
            if by_labels && !self.manifests.labels.contains_key(own) {
                assumed.push(format!("Namespace {own} has the labels that CustomerKey {namespace}/{name} asks for."));
            }
            let Some(deployment) = &desired.deployment else { continue };
            if let Some(id) = &deployment.bound_id {
                self.world.add_database(
                    &deployment.scope,
                    id,
                    &deployment.request,
                    (&desired.primary, &desired.regions),
                );
                assumed.push(format!("Database {id} is there, and active in every region that the spec names."));
            }
        }
    }

    /// Lets an object go on until it rests. Whether it moved at all.
    async fn to_rest<K: Declares>(&self, actor: &mut Actor<K>) -> Result<bool, Failed> {
        let (mut moved, mut still) = (false, 0);
        for _ in 0..MOST {
            if self.pass(actor).await? {
                (moved, still) = (true, 0);
            } else {
                still += 1;
            }
            if still == 2 {
                return Ok(moved);
            }
            self.world.pass_time(self.settings.gate_spacing);
        }
        let Planned { kind, namespace, name, .. } = &actor.planned;
        Err(Failed(format!("the plan for {kind} {namespace}/{name} does not come to an end: a defect of this program")))
    }

    /// One pass, put together as the controller does it. Whether anything moved.
    async fn pass<K: Declares>(&self, actor: &mut Actor<K>) -> Result<bool, Failed> {
        let (world, now) = (&self.world, self.world.now());
        let name = name_of(&actor.object);
        let defect = |what: &str| Failed(format!("{} {}/{}: {what}", K::kind(&()), name.0, name.1));
        let (desired, credentials) = actor.object.desired(self).map_err(|invalid| defect(&invalid.to_string()))?;
        let mut memory = K::remember(actor.object.status());
        actor.note.enrich(&mut memory);
        let pass = Pass { now, nonce: format!("attempt-{}", now.0), settings: self.settings.clone() };
        let depth = Depth::Everything;
        let sight = Sight { keys: world, upstream: world, patience: &Endless };
        let observed = observe(sight, &desired, &credentials, &memory, depth, &pass).await;
        let plan = decide(&desired, &observed, &memory, &pass);
        let checked = match check(&desired, &observed, &memory, &pass, plan) {
            Ok(checked) => checked,
            // As the operator would say it. Nothing of the plan is done.
            Err(refused) => {
                actor.planned.conclude(nothing_done(Reason::PlanRefused, &refused.to_string()));
                return Ok(false);
            }
        };
        let mut record = Shelf { object: actor.object.clone(), now };
        let hands = Hands {
            keys: world,
            upstream: world,
            ledger: &mut record,
            credentials: &credentials,
            authority: world,
            clock: world,
            witness: &Quiet,
        };
        let outcome = execute(hands, &desired, &checked).await;
        let plan = checked.plan();
        if let Some((_, fault)) = outcome.failed.first() {
            return Err(defect(&format!("a step failed where none can: {fault}")));
        }
        actor.note.passed(depth, plan, &outcome, now, self.settings);
        let before = actor.object.status().cloned();
        actor.object = record.object;
        if let Some(status) = K::render(actor.object.status(), &desired, &memory, plan, &outcome, now) {
            actor.object.set_status(status);
        }
        let step = |step| PlannedStep::new(step, details(step, plan, &desired, self.settings));
        actor.planned.steps.extend(outcome.done.iter().map(step));
        let findings: Vec<Finding> = findings_after(plan, &outcome.failed, &memory, desired.object(), now);
        actor.planned.conclude(findings);
        Ok(!outcome.done.is_empty() || before.as_ref() != actor.object.status())
    }
}

/// The object's record: every write goes through.
struct Shelf<K> {
    object: K,
    now: Moment,
}

impl<K: Kind> Ledger for Shelf<K> {
    async fn add_finalizer(&mut self) -> Result<(), Fault> {
        self.object.meta_mut().finalizers.get_or_insert_default().push(FINALIZER.to_owned());
        Ok(())
    }

    async fn remove_finalizer(&mut self) -> Result<(), Fault> {
        self.object.meta_mut().finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        Ok(())
    }

    async fn record(&mut self, record: &Record) -> Result<(), Fault> {
        self.object = self.object.recorded(record, self.now);
        Ok(())
    }
}
