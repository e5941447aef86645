//! `cmk-operator plan`: what would be done for manifests.
//!
//! - [`manifests`]: what is planned. - [`rehearsal`]: against nothing, in an [`imagined`] world.
//! - [`live`]: against the clouds and the cluster as they are, which are only looked at. - [`text`]: how it is told.

pub mod imagined;
pub mod live;
pub mod manifests;
pub mod rehearsal;
pub mod text;

use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::controller::kind::Kind;
use crate::domain::condition::{ConditionType, Reason, Standing, Truth};
use crate::domain::desired::{DatabaseRequest, Desired, NewKey};
use crate::domain::id::tag;
use crate::plan::explain::step_text;
use crate::plan::finding::Finding;
use crate::plan::step::Step;
use crate::plan::{Plan, Settings};
use manifests::Refusal;

/// What a plan comes to, which is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is nothing to do: 0.
    Nothing,
    /// Something in the manifests is refused, or can't be done until somebody changes something: 1.
    Refused,
    /// Something will be done, or is waited for: 2.
    Changes,
}

/// A plan for some manifests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
    /// What is of another kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// What is taken for granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// The objects, keys first.
    pub objects: Vec<Planned>,
}

/// What would be done for one object, and what it comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// `CustomerKey` or `EncryptedCluster`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What would be done, in order.
    pub steps: Vec<PlannedStep>,
    /// What a human should know in the end.
    pub findings: Vec<Finding>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// Its number among all steps.
    pub number: usize,
    /// Its name in logs and metrics.
    pub effect: &'static str,
    /// Whether it changes something outside Kubernetes.
    pub outside: bool,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What is done.
    pub text: String,
    /// With what, and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl PlannedStep {
    fn new(step: &Step, details: Vec<String>) -> Self {
        Self {
            number: 0,
            effect: step.site().as_str(),
            outside: step.is_outside(),
            region: step.region().map(ToString::to_string),
            text: step_text(step),
            details,
        }
    }
}

impl Planned {
    fn of<K: Kind>(object: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: object.meta().namespace.clone().unwrap_or_default(),
            name: object.meta().name.clone().unwrap_or_default(),
            steps: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Takes note of what it comes to. A pass that found nothing new says nothing.
    fn conclude(&mut self, findings: Vec<Finding>) {
        if findings.iter().any(|finding| finding.condition == ConditionType::Ready) {
            self.findings = findings;
        }
    }

    /// What is found of a condition of the whole object.
    pub fn finding(&self, condition: ConditionType) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.condition == condition && finding.region.is_none())
    }

    fn holds(&self, condition: ConditionType) -> bool {
        self.finding(condition).is_some_and(|finding| finding.truth == Truth::True)
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        if self.holds(ConditionType::Stalled) {
            Verdict::Refused
        } else if self.steps.is_empty() && self.holds(ConditionType::Ready) && !self.holds(ConditionType::Reconciling) {
            Verdict::Nothing
        } else {
            Verdict::Changes
        }
    }
}

impl Report {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        let verdicts: Vec<Verdict> = self.objects.iter().map(Planned::verdict).collect();
        if !self.refused.is_empty() || verdicts.contains(&Verdict::Refused) {
            Verdict::Refused
        } else if verdicts.contains(&Verdict::Changes) {
            Verdict::Changes
        } else {
            Verdict::Nothing
        }
    }

    /// The plan as one JSON document.
    pub fn json(&self) -> Value {
        let verdict = match self.verdict() {
            Verdict::Nothing => "nothing",
            Verdict::Refused => "refused",
            Verdict::Changes => "changes",
        };
        let mut value = json!(self);
        value["verdict"] = json!(verdict);
        value
    }

    fn number(&mut self) {
        let steps = self.objects.iter_mut().flat_map(|object| &mut object.steps);
        for (number, step) in steps.enumerate() {
            step.number = number + 1;
        }
    }

    /// Puts every text through a filter.
    fn in_words(&mut self, words: impl Fn(&str) -> String) {
        for object in &mut self.objects {
            for step in &mut object.steps {
                step.text = words(&step.text);
                step.details = step.details.iter().map(|text| words(text)).collect();
            }
            for finding in &mut object.findings {
                finding.message = words(&finding.message);
                finding.fix = words(&finding.fix);
                // Where all is well there may be a time of the imagined world in what is said.
                if finding.reason.standing() == Standing::Fine {
                    finding.reason.text().clone_into(&mut finding.message);
                }
            }
        }
    }
}

fn name_of<K: Kind>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What else is to be known of a step: with what it is done, and what it has to wait for.
fn details(step: &Step, plan: &Plan, desired: &Desired, settings: &Settings) -> Vec<String> {
    let looks = format!(
        "once everything has looked right {} times in a row, at least {} s apart",
        settings.gate_looks,
        settings.gate_spacing.as_seconds()
    );
    match step {
        Step::CreateKey { key: NewKey { description, tags, multi_region, .. }, .. }
        | Step::ReplicateKey { key: NewKey { description, tags, multi_region, .. }, .. } => {
            let tags =
                tags.iter().filter(|(name, _)| *name != tag::NONCE).map(|(name, value)| format!("{name}={value}"));
            let mut lines = vec![
                format!("described as {description:?}"),
                format!("tagged {}", tags.collect::<Vec<_>>().join(", ")),
                "its first policy lets in the account itself and the operator, nobody else".to_owned(),
            ];
            if *multi_region && matches!(step, Step::CreateKey { .. }) {
                lines.push("as the primary of a multi-Region key".to_owned());
            }
            lines
        }
        Step::PutPolicy { region, .. } => {
            let said = |f: &&Finding| {
                f.condition == ConditionType::PoliciesReady
                    && f.region.as_ref() == Some(region)
                    && matches!(f.reason, Reason::WritingPolicy | Reason::HealingPolicy)
            };
            let sentences = plan.findings.iter().find(said).map(|f| f.message.as_str()).unwrap_or_default();
            let sentences = sentences.strip_prefix("Writing the key policy: ").unwrap_or(sentences);
            sentences.trim_end_matches('.').split("; ").filter(|s| !s.is_empty()).map(str::to_owned).collect()
        }
        Step::Register { .. } => {
            let last = desired.key().is_some_and(|key| key.capabilities.registration_is_final);
            if last {
                vec![looks, "no call of this cloud changes or withdraws it afterwards".to_owned()]
            } else {
                Vec::new()
            }
        }
        Step::CreateDatabase { request, .. } => {
            vec![requested(request), format!("through the region's open gate: {looks}")]
        }
        Step::AddRegion { request, .. } => {
            let asked = request.group.as_ref().map(|_| requested(request));
            asked.into_iter().chain([format!("through the region's open gate: {looks}")]).collect()
        }
        Step::CreatePart { .. } => {
            let portal = desired.key().and_then(|key| key.capabilities.portal.as_ref());
            let times = portal.map_or(settings.gate_looks, |portal| portal.believed_after);
            vec![
                "after somebody attested what the cloud's portal shows of the database".to_owned(),
                format!("once the cloud has shown none of the name {times} times in a row"),
                format!("through the region's open gate: {looks}"),
            ]
        }
        _ => Vec::new(),
    }
}

fn requested(request: &DatabaseRequest) -> String {
    let DatabaseRequest { name: _, tier, capacity_units, keyspace, database_type, group, cluster: _ } = request;
    let keys = group.as_ref().and_then(|group| group.keys.as_ref());
    let parts = [
        (!tier.is_empty()).then(|| format!("tier {tier}")),
        capacity_units.map(|units| format!("{units} capacity units")),
        keyspace.as_ref().map(|keyspace| format!("keyspace {keyspace}")),
        database_type.as_ref().map(|kind| format!("type {kind}")),
        keys.map(|keys| format!("under {}, backups under {}", keys.data, keys.backup)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What is to be known of an object that the operator does nothing for.
fn nothing_done(reason: Reason, message: &str) -> Vec<Finding> {
    let say = |condition, truth| Finding {
        condition,
        region: None,
        truth,
        reason,
        message: message.to_owned(),
        fix: String::new(),
    };
    vec![say(ConditionType::Ready, Truth::False), say(ConditionType::Stalled, Truth::True)]
}
