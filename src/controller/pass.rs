//! One pass over one object: the same phases for both kinds.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::Api;
use tracing::{debug, info, warn};

use crate::api::parse::Invalid;
use crate::api::{ANNOTATION_RECONCILE_REQUESTED_AT, CustomerKey, EncryptedCluster};
use crate::controller::backoff::Failure;
use crate::controller::context::{Context, Note, Notes, ObjectName};
use crate::controller::dereference::Dereferenced;
use crate::controller::events;
use crate::controller::kind::Kind;
use crate::controller::ledger::KubeLedger;
use crate::controller::pace::{self, Rhythm, jitter, observed_calls};
use crate::controller::queue::{Lane, Next};
use crate::controller::timer::Timer;
use crate::domain::condition::{ConditionType, Reason, Standing, Truth};
use crate::domain::desired::{Desired, DesiredKey};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::memory::{MEMORY_VERSION, Memory, RegionMemory};
use crate::domain::moment::{Moment, Span};
use crate::execute::{Hands, Outcome, execute};
use crate::observe::{Sight, observe};
use crate::plan::check::check;
use crate::plan::finding::Finding;
use crate::plan::step::{Site, Step};
use crate::plan::{Pass, Plan, decide};
use crate::ports::{Applied, KeyService, Upstream};
use crate::telemetry::metrics::{Object, PassOutcome, Ready, StepOutcome};

/// Between looks at whether every object was read once, and how many of them there are before a pass goes on.
const CLAIMS: Duration = Duration::from_millis(200);
const PUT_OFF: u32 = 25;

/// Between looks at whether the served CRDs are recent enough again.
const OUTDATED: Duration = Duration::from_secs(2);

/// The schema's `maxLength` of `status.lastHandledReconcileAt`.
const LONGEST_REQUEST: usize = 256;

/// What the two kinds do differently: what they refer to, and where their notes are.
pub trait Subject: Kind {
    /// Reads what the object refers to.
    fn dereference<A: KeyService + 'static, U: Upstream + 'static>(
        &self,
        context: &Context<A, U>,
    ) -> impl Future<Output = Result<Dereferenced, Invalid>> + Send;

    /// The notes of its kind.
    fn notes<A, U>(context: &Context<A, U>) -> &Notes;

    /// Forgets what was known of an object that is gone, and tells those who wanted what it had.
    fn gone<A: KeyService, U: Upstream>(context: &Context<A, U>, name: &ObjectName);

    /// Tells those who depend on the object that it changed.
    fn changed<A: KeyService, U: Upstream>(context: &Context<A, U>, name: &ObjectName);
}

impl Subject for CustomerKey {
    async fn dereference<A: KeyService + 'static, U: Upstream + 'static>(
        &self,
        context: &Context<A, U>,
    ) -> Result<Dereferenced, Invalid> {
        context.dereference_key(self).await
    }

    fn notes<A, U>(context: &Context<A, U>) -> &Notes {
        &context.key_notes
    }

    fn gone<A: KeyService, U: Upstream>(context: &Context<A, U>, name: &ObjectName) {
        context.trigger_keys(context.slots.forget(name));
    }

    fn changed<A: KeyService, U: Upstream>(context: &Context<A, U>, name: &ObjectName) {
        context.key_changed(name);
    }
}

impl Subject for EncryptedCluster {
    async fn dereference<A: KeyService + 'static, U: Upstream + 'static>(
        &self,
        context: &Context<A, U>,
    ) -> Result<Dereferenced, Invalid> {
        let own = (self.namespace().unwrap_or_default(), self.name_any());
        context.users.refers(&own, &crate::api::parse::key_ref(self));
        if let Some(backup) = crate::api::parse::backup_key_ref(self) {
            context.users.refers(&own, &backup);
        }
        context.dereference_cluster(self).await
    }

    fn notes<A, U>(context: &Context<A, U>) -> &Notes {
        &context.cluster_notes
    }

    fn gone<A: KeyService, U: Upstream>(context: &Context<A, U>, name: &ObjectName) {
        context.cluster_changed(name);
        context.users.forget(name);
    }

    fn changed<A: KeyService, U: Upstream>(_: &Context<A, U>, _: &ObjectName) {}
}

/// A pass, bounded in time and counted.
pub async fn pass<K: Subject, A: KeyService + 'static, U: Upstream + 'static>(
    context: &Context<A, U>,
    name: ObjectName,
) -> Next {
    let started = context.clock.monotonic_ms();
    let result = tokio::time::timeout(context.pacing.deadline, run::<K, A, U>(context, &name)).await;
    let next = result.unwrap_or_else(|_| {
        warn!(kind = K::KIND.as_str(), object = %named(&name), "the pass took too long and was cut");
        Next::Failed(Failure::new(FaultClass::Transient))
    });
    let outcome = match next {
        Next::Gone => PassOutcome::Gone,
        Next::Failed(_) | Next::Meanwhile(..) => PassOutcome::Failed,
        Next::Done | Next::After(..) => PassOutcome::Done,
    };
    let took = Span(context.clock.monotonic_ms() - started).to_duration();
    context.metrics.pass(K::KIND, outcome, took);
    next
}

async fn run<K: Subject, A: KeyService + 'static, U: Upstream + 'static>(
    context: &Context<A, U>,
    name: &ObjectName,
) -> Next {
    if !context.schemas.are_current(&context.client, context.clock.as_ref()).await {
        // An object that is read through an older schema lacks what was remembered, and one that is written loses it.
        return Next::After(OUTDATED, Lane::Resync);
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &name.0);
    let object = match api.get_opt(&name.1).await {
        Ok(Some(object)) => object,
        Ok(None) => {
            K::notes(context).forget(name);
            K::gone(context, name);
            context.metrics.forget(&metrics_object::<K>(name));
            K::changed(context, name);
            return Next::Gone;
        }
        // There is no status to say it in, and whoever gave the rights has to hear of it.
        Err(error) if matches!(&error, kube::Error::Api(status) if status.is_forbidden()) => {
            warn!(kind = K::KIND.as_str(), object = %named(name), %error, "could not be read");
            return Next::Failed(Failure::new(FaultClass::Refused).with_calls(0));
        }
        Err(error) => {
            debug!(object = %named(name), %error, "could not be read");
            return Next::Failed(Failure::new(FaultClass::Transient).with_calls(0));
        }
    };
    let uid = object.uid();
    let note = K::notes(context).get(name);
    let mut scene = Scene { context, name, note, now: context.clock.now(), api, key_listens: false };
    let next = scene.look_and_act(object).await;
    debug!(kind = K::KIND.as_str(), object = %named(name), uid, ?next, "pass is over");
    K::notes(context).keep(name, scene.note);
    next
}

/// How much of a status is written.
enum Extent {
    Whole,
    Conditions,
}

struct Scene<'a, K: Subject, A, U> {
    context: &'a Context<A, U>,
    name: &'a ObjectName,
    note: Note,
    now: Moment,
    api: Api<K>,
    /// Whether the object is a cluster whose key wants to know how far it is.
    key_listens: bool,
}

impl<K: Subject, A: KeyService + 'static, U: Upstream + 'static> Scene<'_, K, A, U> {
    /// The table of contents.
    async fn look_and_act(&mut self, object: K) -> Next {
        let context = self.context;
        let found = match object.dereference(context).await {
            Ok(found) => found,
            Err(invalid) => return self.refuse_spec(object, &invalid).await,
        };
        let generation = object.meta().generation.unwrap_or_default();
        // First: what did not work with this Secret may do so by now, without a word of it in the cluster.
        let requested = Self::reconcile_requested(&object);
        if requested {
            self.note.try_again();
        }
        if let Some(next) = self.waits_for_secret(&found, generation) {
            return next;
        }
        let mut memory = K::remember(object.status());
        if let Some(next) = self.waits_for_memory(&object).await {
            return next;
        }
        if let Some(next) = self.waits_for_claims(&found, &memory) {
            return next;
        }
        self.note.enrich(&mut memory);
        if memory.version > MEMORY_VERSION {
            return self.too_new(object, memory.version).await;
        }
        let settled = object.status().and_then(K::observed_generation) == Some(generation)
            && !found.desired.object().deleting
            && !requested;
        let depth = self.note.depth(self.now, settled);
        let pass = Pass {
            now: self.now,
            nonce: uuid::Uuid::new_v4().simple().to_string(),
            settings: context.settings.clone(),
        };
        let Dereferenced { desired, credentials, secret_version } = &found;
        self.key_listens =
            matches!(desired, Desired::Cluster(_)) && desired.key().is_some_and(DesiredKey::restricts_sources);

        let sight = Sight { keys: &context.keys, upstream: &context.upstream, patience: &Timer };
        let observed = observe(sight, desired, credentials, &memory, depth, &pass).await;
        let plan = decide(desired, &observed, &memory, &pass);
        let checked = match check(desired, &observed, &memory, &pass, plan) {
            Ok(checked) => checked,
            Err(refused) => return self.plan_refused(object, desired, &refused.to_string()).await,
        };
        let mut ledger = KubeLedger::new(self.api.clone(), object, context.clock.as_ref());
        let hands = Hands {
            keys: &context.keys,
            upstream: &context.upstream,
            ledger: &mut ledger,
            credentials,
            authority: context.leadership.as_ref(),
            clock: context.clock.as_ref(),
            witness: context.witness.as_ref(),
        };
        let outcome = execute(hands, desired, &checked).await;
        self.report(&outcome);
        if outcome.done.contains(&Step::AddFinalizer) {
            // There is nothing to tell or to remember yet: the look comes after it, when the watch tells of it.
            return Next::After(Duration::from_secs(1), Lane::Fresh);
        }
        let plan = checked.plan();
        self.note.passed(depth, plan, &outcome, self.now, &context.settings);
        if outcome.over {
            return Next::After(Duration::from_millis(200), Lane::Fresh);
        }
        if outcome.done.contains(&Step::RemoveFinalizer) {
            return Next::Done;
        }
        let object = ledger.object().clone();
        let status = if plan.is_unchanged() && outcome.failed.is_empty() {
            None
        } else {
            K::render(object.status(), desired, &memory, plan, &outcome, self.now)
        };
        let fault = self.write(&mut ledger, status, Extent::Whole).await.err();
        self.note.seen = Some(seen(ledger.object()));
        if let Some(fault) = &fault {
            self.not_written(fault);
        }
        self.remember_secret(plan, &outcome, secret_version, generation);
        self.next(plan, &outcome, fault.as_ref(), observed_calls(&observed))
    }

    /// Writes the status if it differs, tells of what changed, and triggers those who depend on it.
    async fn write(
        &mut self,
        ledger: &mut KubeLedger<'_, K>,
        status: Option<K::Status>,
        extent: Extent,
    ) -> Result<(), Fault> {
        let context = self.context;
        let Some(mut status) = status else { return Ok(()) };
        let requested = request(ledger.object());
        if requested.is_some() {
            *K::handled(&mut status) = requested;
        }
        self.gauge(&status);
        if ledger.object().status() == Some(&status) {
            return Ok(());
        }
        let before = ledger.object().status().cloned();
        if !context.leadership.may_act() {
            return Ok(());
        }
        let _ = context.witness.before(Site::WriteStatus);
        let written = match extent {
            Extent::Whole => ledger.write(status).await,
            Extent::Conditions => ledger.amend(status).await,
        };
        let _ = context.witness.after(Site::WriteStatus, written.as_ref().err());
        if written? {
            events::publish(context, ledger.object(), before.as_ref()).await;
            K::changed(context, self.name);
            if self.key_listens {
                context.cluster_changed(self.name);
            }
        }
        Ok(())
    }

    fn next(&mut self, plan: &Plan, outcome: &Outcome, written: Option<&Fault>, calls: u32) -> Next {
        let rhythm = Rhythm { now: self.now, slowest: self.context.pacing.slowest_poll, jitter: jitter(self.name) };
        pace::next(&mut self.note, plan, outcome, written, calls, rhythm)
    }

    fn failed(&mut self, class: FaultClass, retry_after: Option<Duration>, calls: u32) -> Next {
        pace::failed(&mut self.note, self.now, class, retry_after, calls)
    }

    /// While a Secret that did not work is still the same, nothing outside is asked again before its time.
    fn waits_for_secret(&mut self, found: &Dereferenced, generation: i64) -> Option<Next> {
        let (version, for_generation, until) = self.note.stuck_on.as_ref()?;
        let same = *version == found.secret_version && *for_generation == generation;
        if same && self.now < *until && !found.desired.object().deleting {
            return Some(Next::After(self.context.pacing.secret_poll, Lane::Resync));
        }
        self.note.stuck_on = None;
        None
    }

    /// The same version of an object that remembers something else than before is read through another schema, which has
    /// just begun to be served, or is just ending. Its next write would make that last.
    async fn waits_for_memory(&mut self, object: &K) -> Option<Next> {
        let seen = seen(object);
        let same = |before: &(String, u64)| before.0 != seen.0 || before.1 == seen.1;
        if self.note.seen.as_ref().is_none_or(same) || self.note.pruned >= PUT_OFF {
            self.note.pruned = 0;
            self.note.seen = Some(seen);
            return None;
        }
        self.note.pruned += 1;
        self.context.schemas.doubt().await;
        Some(Next::After(CLAIMS, Lane::Resync))
    }

    /// Before every object was read once, nobody is granted a registration: so nothing outside is looked at for one that
    /// needs it. If an object can't be read for long, the pass goes on, and says what it waits for.
    fn waits_for_claims(&mut self, found: &Dereferenced, memory: &Memory) -> Option<Next> {
        let Desired::Key(key) = &found.desired else { return None };
        let registered = |region| memory.regions.get(region).is_some_and(|r: &RegionMemory| r.registered.is_some());
        let waits = key.rivals.unknown && !key.object.deleting && !key.regions.keys().all(registered);
        if !waits || self.note.put_off >= PUT_OFF {
            self.note.put_off = 0;
            return None;
        }
        self.note.put_off += 1;
        Some(Next::After(CLAIMS, Lane::Fresh))
    }

    fn remember_secret(&mut self, plan: &Plan, outcome: &Outcome, version: &str, generation: i64) {
        let about_secret = |reason: Reason| {
            matches!(
                reason,
                Reason::SecretMissing
                    | Reason::SecretKeyMissing
                    | Reason::CredentialsRejected
                    | Reason::CredentialsLackPermission
                    | Reason::ScopeMismatch
            )
        };
        let failed = outcome.failed.iter().any(|(step, fault)| {
            let finding = step.condition().map(|c| Finding::of_fault(c, step.region(), fault));
            finding.is_some_and(|finding| about_secret(finding.reason))
        });
        let stuck = failed || plan.findings.iter().any(|f| f.truth == Truth::False && about_secret(f.reason));
        if stuck {
            let until = self.now + Span::from(self.context.pacing.longest_backoff.min(Duration::from_mins(10)));
            self.note.stuck_on = Some((version.to_owned(), generation, until));
        }
    }

    fn reconcile_requested(object: &K) -> bool {
        let requested = request(object);
        let handled = object.status().cloned().and_then(|mut status| K::handled(&mut status).take());
        requested.is_some() && requested != handled
    }

    /// The spec means nothing although the schema let it through.
    async fn refuse_spec(&mut self, object: K, invalid: &Invalid) -> Next {
        let generation = object.meta().generation.unwrap_or_default();
        let message = invalid.to_string();
        warn!(object = %named(self.name), message, "the spec means nothing");
        self.stalled(object, generation, Reason::InvalidSpec, &message).await
    }

    async fn too_new(&mut self, object: K, version: i32) -> Next {
        let generation = object.meta().generation.unwrap_or_default();
        let message = format!(
            "The status has memory version {version} and this operator knows {MEMORY_VERSION}; it does nothing. Run the newer operator."
        );
        self.stalled(object, generation, Reason::MemoryTooNew, &message).await
    }

    async fn plan_refused(&mut self, object: K, desired: &Desired, message: &str) -> Next {
        tracing::error!(object = %named(self.name), message, "the plan was refused by the safety check");
        self.stalled(object, desired.object().generation, Reason::PlanRefused, message).await
    }

    /// Says that nothing moves, and changes nothing else of the status.
    async fn stalled(&mut self, object: K, generation: i64, reason: Reason, message: &str) -> Next {
        let mut status = object.status().cloned().unwrap_or_else(|| K::initial(generation, self.now));
        K::stall(&mut status, generation, reason, message, self.now);
        let mut ledger = KubeLedger::new(self.api.clone(), object, self.context.clock.as_ref());
        if let Err(fault) = self.write(&mut ledger, Some(status), Extent::Conditions).await {
            self.not_written(&fault);
        }
        self.failed(FaultClass::Terminal, None, 0)
    }

    /// What nobody reads in status, somebody has to read in the log, unless the next pass writes it.
    fn not_written(&self, fault: &Fault) {
        if matches!(fault.class, FaultClass::Conflict | FaultClass::Transient) {
            debug!(kind = K::KIND.as_str(), object = %named(self.name), %fault, "status was not written");
        } else {
            warn!(kind = K::KIND.as_str(), object = %named(self.name), %fault, "status was not written");
        }
    }

    /// Logs and counts what was done.
    fn report(&self, outcome: &Outcome) {
        let metrics = &self.context.metrics;
        for step in &outcome.done {
            let region = step.region().map(ToString::to_string);
            info!(kind = K::KIND.as_str(), object = %named(self.name), region, step = step.site().as_str(), "done");
            metrics.step(step.site().as_str(), StepOutcome::Done);
        }
        for (step, fault) in &outcome.failed {
            let region = step.region().map(ToString::to_string);
            let result = match (fault.class, fault.applied) {
                (FaultClass::Throttled, Applied::No) => StepOutcome::Deferred,
                (_, Applied::Perhaps) => StepOutcome::Uncertain,
                _ => StepOutcome::Failed,
            };
            warn!(kind = K::KIND.as_str(), object = %named(self.name), region, step = step.site().as_str(), %fault, "failed");
            metrics.step(step.site().as_str(), result);
        }
    }

    fn gauge(&self, status: &K::Status) {
        let conditions = K::conditions(status);
        let ready = match crate::api::condition::find(conditions, ConditionType::Ready).map(|c| c.status.as_str()) {
            Some("True") => Ready::True,
            Some("False") => Ready::False,
            _ => Ready::Unknown,
        };
        let abnormal: Vec<&'static str> = Reason::ALL
            .iter()
            .filter(|r| r.standing() == Standing::Stuck && conditions.iter().any(|c| c.reason == r.as_str()))
            .map(|r| r.as_str())
            .collect();
        let object = metrics_object::<K>(self.name);
        self.context.metrics.object(&object, ready, &abnormal);
        // Not among what is abnormal, whose number is capped: in a fleet these may be many, and stay for ever.
        self.context.metrics.unprotected(&object, K::unprotected(status));
    }
}

fn metrics_object<K: Kind>(name: &ObjectName) -> Object {
    Object { kind: K::KIND, namespace: name.0.clone(), name: name.1.clone() }
}

fn named(name: &ObjectName) -> String {
    format!("{}/{}", name.0, name.1)
}

/// What asks for a pass, as far as status can hold it: a status that is refused for its sake would say nothing at all.
fn request<K: Kind>(object: &K) -> Option<String> {
    let asked = object.annotations().get(ANNOTATION_RECONCILE_REQUESTED_AT)?;
    Some(asked.chars().take(LONGEST_REQUEST).collect())
}

/// The version of an object, and a number for what its status remembers.
fn seen<K: Kind>(object: &K) -> (String, u64) {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    K::remember(object.status()).hash(&mut hasher);
    (object.resource_version().unwrap_or_default(), hasher.finish())
}
