//! The plan against what is there: one look at the clouds and the cluster for each object, and what the operator would
//! decide on it. Nothing is written anywhere.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::manifests::Manifests;
use super::{Planned, PlannedStep, Report, details, name_of, nothing_done};
use crate::api::CustomerKey;
use crate::api::parse::{self, Invalid};
use crate::commands::read_only::{ReadOnly, Viewer};
use crate::commands::{Failed, failed};
use crate::controller::dereference::{Dereferenced, Reader};
use crate::controller::kind::Kind;
use crate::controller::slots::Slots;
use crate::controller::timer::Timer;
use crate::domain::capabilities::Cloud;
use crate::domain::condition::Reason;
use crate::domain::desired::Desired;
use crate::domain::id::Name;
use crate::domain::memory::MEMORY_VERSION;
use crate::domain::moment::Moment;
use crate::domain::observed::Depth;
use crate::domain::reading::Reading;
use crate::observe::{Sight, observe};
use crate::plan::check::check;
use crate::plan::step::Step;
use crate::plan::{Pass, Settings, decide, findings_after};
use crate::ports::{KeyService, Upstream};

/// The means to look.
pub struct Live<A, U> {
    /// The cluster.
    pub viewer: Viewer,
    /// AWS.
    pub keys: ReadOnly<A>,
    /// The database clouds.
    pub upstream: ReadOnly<U>,
    /// Which secret keys the clouds need.
    pub lacking: fn(Cloud, &BTreeMap<String, String>) -> Vec<String>,
    /// The name of the installation.
    pub installation: Name,
    /// The planner's settings; the holder is filled in.
    pub settings: Settings,
    /// The namespaces that the operator watches; none: all.
    pub namespaces: Vec<String>,
    /// The ARN of the operator's principal, which key policies name; absent: whoever looks is taken for the operator.
    pub principal: Option<String>,
    /// Now.
    pub now: Moment,
}

impl<A: KeyService, U: Upstream> Live<A, U> {
    /// What the operator would do next for each of the manifests, if they were applied now.
    pub async fn plan(mut self, manifests: &mut Manifests) -> Result<Report, Failed> {
        self.settings.holder = self.cluster_uid().await?;
        let mut keys = Vec::new();
        for key in std::mem::take(&mut manifests.keys) {
            keys.push(self.merged("CustomerKey", key, manifests).await?);
        }
        let mut clusters = Vec::new();
        for cluster in std::mem::take(&mut manifests.clusters) {
            clusters.push(self.merged("EncryptedCluster", cluster, manifests).await?);
        }
        let ignored = manifests.ignored.clone();
        let mut report = Report { refused: manifests.refused.clone(), ignored, ..Report::default() };
        if !report.refused.is_empty() {
            return Ok(report);
        }
        let slots = self.slots(&keys).await?;
        let Self { installation, lacking, namespaces, .. } = &self;
        let reader = Reader { client: self.viewer.client(), lacking: *lacking, installation, namespaces };
        for key in &keys {
            let mut desired = parse::customer_key(key, installation).map_err(|invalid| meaningless(key, &invalid))?;
            desired.rivals = slots.rivals(&name_of(key), &desired);
            let found = reader.key(key, desired).await;
            report.objects.push(self.object(key, found).await);
        }
        for cluster in &clusters {
            let (namespace, name) = parse::key_ref(cluster);
            let own = keys.iter().find(|key| name_of(*key) == (namespace.clone(), name.clone()));
            let key = match own {
                Some(key) => Reading::Present(key.clone()),
                None => reader.customer_key(&namespace, &name).await,
            };
            let found = reader.cluster(cluster, key).await.map_err(|invalid| meaningless(cluster, &invalid))?;
            report.objects.push(self.object(cluster, found).await);
        }
        report.number();
        Ok(report)
    }

    /// One look at an object's world, and what is decided on it.
    async fn object<K: Kind>(&self, object: &K, found: Dereferenced) -> Planned {
        let mut planned = Planned::of(object);
        let Dereferenced { mut desired, credentials, .. } = found;
        let new = !desired.object().finalizer && !desired.object().deleting;
        if new {
            // The pass that adds the finalizer looks at nothing yet; the one after it does.
            planned.steps.push(PlannedStep::new(&Step::AddFinalizer, Vec::new()));
            match &mut desired {
                Desired::Key(key) => key.object.finalizer = true,
                Desired::Cluster(cluster) => cluster.object.finalizer = true,
            }
        }
        let memory = K::remember(object.status());
        if memory.version > MEMORY_VERSION {
            planned.findings = nothing_done(Reason::MemoryTooNew, Reason::MemoryTooNew.text());
            return planned;
        }
        let nonce = "made-up-at-apply".to_owned();
        let pass = Pass { now: self.now, nonce, settings: self.settings.clone() };
        let depth = Depth::Everything;
        let sight = Sight { keys: &self.keys, upstream: &self.upstream, patience: &Timer };
        let mut observed = observe(sight, &desired, &credentials, &memory, depth, &pass).await;
        if let (Some(arn), Reading::Present(caller)) = (&self.principal, &mut observed.caller) {
            caller.arn.clone_from(arn);
        }
        let plan = decide(&desired, &observed, &memory, &pass);
        let told = plan.clone();
        match check(&desired, &observed, &memory, &pass, plan) {
            Ok(checked) => {
                let step = |step| PlannedStep::new(step, details(step, &told, &desired, &self.settings));
                planned.steps.extend(checked.plan().steps.iter().map(step));
                planned.conclude(findings_after(&told, &[], &memory, desired.object(), self.now));
            }
            Err(refused) => planned.findings = nothing_done(Reason::PlanRefused, &refused.to_string()),
        }
        planned
    }

    /// A manifest as it would stand in the cluster: its spec, and of what is there the rest.
    async fn merged<K: Kind>(&self, kind: &str, mut new: K, manifests: &mut Manifests) -> Result<K, Failed> {
        let (namespace, name) = name_of(&new);
        let api: Api<K> = Api::namespaced(self.viewer.client().clone(), &namespace);
        let wrong = failed(format!("{kind} {namespace}/{name} cannot be read"));
        let Some(live) = api.get_opt(&name).await.map_err(|error| wrong(&error))? else {
            new.meta_mut().generation = Some(1);
            return Ok(new);
        };
        if let Some(status) = live.status() {
            new.set_status(status.clone());
        }
        manifests.hold_to(kind, &new, &live);
        let annotations = new.annotations().clone();
        let meta = new.meta_mut();
        meta.clone_from(live.meta());
        meta.annotations.get_or_insert_default().extend(annotations);
        Ok(new)
    }

    /// Who claims which registration: every key that is there, and those of the manifests.
    async fn slots(&self, new: &[CustomerKey]) -> Result<Slots, Failed> {
        let client = self.viewer.client();
        let apis: Vec<Api<CustomerKey>> = if self.namespaces.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            self.namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
        };
        let mut all: BTreeMap<(String, String), CustomerKey> = BTreeMap::new();
        for api in apis {
            let wrong = failed("CustomerKeys cannot be listed");
            let list = api.list(&ListParams::default()).await.map_err(|error| wrong(&error))?;
            all.extend(list.items.into_iter().map(|key| (name_of(&key), key)));
        }
        all.extend(new.iter().map(|key| (name_of(key), key.clone())));
        let slots = Slots::new(0);
        for (name, key) in &all {
            // One that is not there yet would be the youngest.
            let created = key.creation_timestamp().map_or(self.now, |at| Moment(at.0.as_millisecond()));
            let parsed = parse::customer_key(key, &self.installation);
            slots.claims(name, (created, key.uid().unwrap_or_default()), parsed.as_ref().ok());
        }
        Ok(slots)
    }

    async fn cluster_uid(&self) -> Result<String, Failed> {
        let api: Api<Namespace> = Api::all(self.viewer.client().clone());
        let wrong = failed("the namespace kube-system, whose uid says which cluster this is, cannot be read");
        let namespace = api.get("kube-system").await.map_err(|error| wrong(&error))?;
        Ok(namespace.uid().unwrap_or_default())
    }
}

fn meaningless<K: Kind>(object: &K, invalid: &Invalid) -> Failed {
    let (namespace, name) = name_of(object);
    Failed(format!("{} {namespace}/{name}: {invalid}", K::kind(&())))
}
