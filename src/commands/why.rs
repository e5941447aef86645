//! `cmk-operator why`: what live objects wait for, since when, what to do, and who has to do it.
//!
//! Everything comes from status, as the operator wrote it; nothing is judged anew here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::json;

use super::read_only::Viewer;
use super::{Failed, Output, failed};
use crate::api::condition::{Actor, Condition, ConditionType, Reason, Standing, Truth, find, moment};
use crate::api::{CustomerKey, DeletionStatus, EncryptedCluster, GateStatus, HumanStep};
use crate::controller::kind::Kind;
use crate::domain::moment::{Moment, Span};

/// Which objects are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One of them.
    One {
        /// `CustomerKey` or `EncryptedCluster`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Every one that is not ready.
    All,
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').ok_or("write it as KIND/NAME, such as ck/payments")?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "ck" | "customerkey" | "customerkeys" | "customerkeys.cmk-operator.io" => "CustomerKey",
            "ec" | "encryptedcluster" | "encryptedclusters" | "encryptedclusters.cmk-operator.io" => "EncryptedCluster",
            other => return Err(format!("{other:?} is neither ck (CustomerKey) nor ec (EncryptedCluster)")),
        };
        if name.is_empty() || name.contains('/') {
            return Err(format!("{text:?} names no object: write it as KIND/NAME, and the namespace with -n"));
        }
        Ok(Self::One { kind, name: name.to_owned() })
    }
}

/// What is known of why an object is as it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `CustomerKey` or `EncryptedCluster`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The value of Ready.
    pub ready: String,
    /// Since when it has that value, RFC 3339; absent: the operator has never said anything.
    pub since: Option<String>,
    /// Why.
    pub reason: String,
    /// What the reason means.
    pub meaning: String,
    /// What happened, and what to do.
    pub message: String,
    /// Who has to act.
    pub who: &'static str,
    /// What is to be known about what is said here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The other conditions that are not as they should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Part>,
    /// Region by region.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionAnswer>,
    /// What keeps the object, or a part of it, from being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,
    /// What humans have to do in the normal course.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub human_steps: Vec<String>,
}

/// One condition.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Its type.
    pub condition: String,
    /// Its value.
    pub status: String,
    /// Since when.
    pub since: String,
    /// Why.
    pub reason: String,
    /// What happened, and what to do.
    pub message: String,
    /// Who has to act.
    pub who: &'static str,
}

/// One region.
#[derive(Clone, Debug, Serialize)]
pub struct RegionAnswer {
    /// Its name.
    pub name: String,
    /// How far it got.
    pub stage: String,
    /// What it waits for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who has to act.
    pub who: &'static str,
    /// Its gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,
    /// What its removal waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,
}

impl Answer {
    /// Whether there is nothing to wait for.
    pub fn is_ready(&self) -> bool {
        self.ready == Truth::True.as_str()
    }
}

/// Asks the cluster. Yields what to print, and whether everything asked about is ready.
pub async fn why(
    viewer: &Viewer,
    subject: &Subject,
    namespace: Option<&str>,
    output: Output,
    now: Moment,
) -> Result<(String, bool), Failed> {
    let client = viewer.client();
    let answers = match subject {
        Subject::One { kind, name } => {
            let namespace = namespace.unwrap_or_else(|| client.default_namespace());
            let answer = match *kind {
                "CustomerKey" => one(client, namespace, name, key).await?,
                _ => one(client, namespace, name, cluster).await?,
            };
            vec![answer.ok_or_else(|| Failed(format!("there is no {kind} {name} in namespace {namespace}")))?]
        }
        Subject::All => {
            let mut all = every(client, namespace, key).await?;
            all.extend(every(client, namespace, cluster).await?);
            all
        }
    };
    let ready = answers.iter().all(Answer::is_ready);
    let text = match (output, subject) {
        (Output::Json, Subject::One { .. }) => pretty(&json!(answers.first())),
        (Output::Json, Subject::All) => pretty(&json!(answers.iter().filter(|a| !a.is_ready()).collect::<Vec<_>>())),
        (Output::Text, Subject::One { .. }) => answers.iter().map(|answer| told(answer, now)).collect(),
        (Output::Text, Subject::All) => grouped(&answers, now),
    };
    Ok((text, ready))
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

async fn one<K: Kind>(
    client: &Client,
    namespace: &str,
    name: &str,
    answer: fn(&K) -> Answer,
) -> Result<Option<Answer>, Failed> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let wrong = failed(format!("{} {namespace}/{name} cannot be read", K::kind(&())));
    Ok(found.map_err(|error| wrong(&error))?.as_ref().map(answer))
}

async fn every<K: Kind>(
    client: &Client,
    namespace: Option<&str>,
    answer: fn(&K) -> Answer,
) -> Result<Vec<Answer>, Failed> {
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut page = ListParams::default().limit(500);
    let mut answers = Vec::new();
    loop {
        let listed = api.list(&page).await;
        let wrong = failed(format!("{} cannot be listed", K::plural(&())));
        let list = listed.map_err(|error| wrong(&error))?;
        answers.extend(list.items.iter().map(answer));
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(answers),
        }
    }
}

/// What the status of a `CustomerKey` says.
pub fn key(object: &CustomerKey) -> Answer {
    let mut answer = conditions(object);
    let Some(status) = Kind::status(object) else { return answer };
    answer.regions = status.regions.iter().map(|r| region(&r.name, r.stage.as_ref(), r.message.as_ref())).collect();
    for (answer, shown) in answer.regions.iter_mut().zip(&status.regions) {
        answer.deletion.clone_from(&shown.deletion);
    }
    answer.deletion.clone_from(&status.deletion);
    answer.human_steps = human_steps(&status.human_steps);
    for surplus in &status.surplus_keys {
        let token = surplus.confirmation_token.as_ref();
        let ask = token.map(|t| {
            format!(": it is scheduled for deletion once the annotation cmk-operator.io/confirm-deletion holds {t}")
        });
        answer.remarks.push(format!(
            "{}: {} is a surplus key of this object, and is used for nothing{}.",
            surplus.region,
            surplus.key_arn,
            ask.unwrap_or_default()
        ));
    }
    answer
}

/// What the status of an `EncryptedCluster` says.
pub fn cluster(object: &EncryptedCluster) -> Answer {
    let mut answer = conditions(object);
    let Some(status) = Kind::status(object) else { return answer };
    answer.regions = status.regions.iter().map(|r| region(&r.name, r.stage.as_ref(), r.message.as_ref())).collect();
    for (answer, shown) in answer.regions.iter_mut().zip(&status.regions) {
        answer.gate.clone_from(&shown.gate);
        answer.deletion.clone_from(&shown.deletion);
    }
    answer.deletion.clone_from(&status.deletion);
    answer.human_steps = human_steps(&status.human_steps);
    answer
}

fn human_steps(steps: &[HumanStep]) -> Vec<String> {
    steps
        .iter()
        .map(|step| {
            let place = step.region.as_ref().map(|r| format!("{r}: ")).unwrap_or_default();
            let who = step.who.as_ref().map(|who| format!(" ({who})")).unwrap_or_default();
            let paste = step.paste.as_ref().map(|text| format!("\n{text}")).unwrap_or_default();
            format!("{place}{}{who}: {}{paste}", step.title, step.instructions)
        })
        .collect()
}

fn region(name: &str, stage: Option<&String>, message: Option<&String>) -> RegionAnswer {
    let stage = stage.cloned().unwrap_or_else(|| "NotLookedYet".to_owned());
    RegionAnswer {
        name: name.to_owned(),
        who: reason(&stage).map_or(Actor::Nobody, Reason::actor).as_str(),
        stage,
        message: message.cloned().unwrap_or_default(),
        gate: None,
        deletion: None,
    }
}

fn reason(name: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == name)
}

/// The gravest reason among the conditions, which `Stalled` and `Reconciling` carry while they are true; `Ready` then
/// only says in general what it comes to.
fn cause(conditions: &[Condition]) -> Option<&Condition> {
    let holds = |type_| find(conditions, type_).filter(|c| c.status == Truth::True.as_str());
    let ready = find(conditions, ConditionType::Ready)?;
    if ready.status == Truth::True.as_str() {
        return Some(ready);
    }
    holds(ConditionType::Stalled).or_else(|| holds(ConditionType::Reconciling)).or(Some(ready))
}

/// What is common to both kinds.
fn conditions<K: Kind>(object: &K) -> Answer {
    let all = object.status().map(K::conditions).unwrap_or_default();
    let (ready, cause) = (find(all, ConditionType::Ready), cause(all));
    let name = cause.map_or(Reason::NotLookedYet.as_str(), |c| c.reason.as_str());
    let known = reason(name);
    let mut remarks = Vec::new();
    let observed = object.status().and_then(K::observed_generation);
    let generation = object.meta().generation.unwrap_or_default();
    if all.is_empty() {
        remarks.push(
            "The operator has not said anything about it yet: is it running, and does it watch this namespace?"
                .to_owned(),
        );
    } else if observed != Some(generation) {
        remarks.push(format!(
            "What is said here is about generation {} of the spec, and there is {generation}: the operator has not looked at it since it changed.",
            observed.unwrap_or_default()
        ));
    }
    if object.meta().deletion_timestamp.is_some() {
        remarks.push("It is being deleted.".to_owned());
    }
    let who = if all.is_empty() { Actor::OperatorAdministrator } else { known.map_or(Actor::Nobody, Reason::actor) };
    let whole = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled].map(ConditionType::as_str);
    let open = all.iter().filter(|c| !whole.contains(&c.type_.as_str()) && c.status != Truth::True.as_str());
    Answer {
        kind: if K::kind(&()) == "CustomerKey" { "CustomerKey" } else { "EncryptedCluster" },
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        ready: ready.map_or(Truth::Unknown.as_str(), |c| c.status.as_str()).to_owned(),
        since: ready.map(|c| since(c).to_string()),
        reason: name.to_owned(),
        meaning: known.map(Reason::text).unwrap_or_default().to_owned(),
        message: cause.map(|c| c.message.clone()).unwrap_or_default(),
        who: who.as_str(),
        remarks,
        conditions: open.map(part).collect(),
        regions: Vec::new(),
        deletion: None,
        human_steps: Vec::new(),
    }
}

fn part(condition: &Condition) -> Part {
    Part {
        condition: condition.type_.clone(),
        status: condition.status.clone(),
        since: since(condition).to_string(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        who: reason(&condition.reason).map_or(Actor::Nobody, Reason::actor).as_str(),
    }
}

fn since(condition: &Condition) -> Moment {
    moment(&condition.last_transition_time)
}

fn ago(since: &str, now: Moment) -> String {
    let Ok(since) = since.parse::<Moment>() else { return String::new() };
    let Span(ms) = now.since(since);
    let (minutes, hours, days) = (ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    if days > 1 {
        format!(", {days} days ago")
    } else if hours > 1 {
        format!(", {hours} hours ago")
    } else if minutes > 1 {
        format!(", {minutes} minutes ago")
    } else {
        format!(", {} seconds ago", ms / 1000)
    }
}

/// Everything about one object, in words.
pub fn told(answer: &Answer, now: Moment) -> String {
    let Answer { kind, namespace, name, reason, meaning, message, who, .. } = answer;
    let mut text = String::new();
    let state = match answer.ready.as_str() {
        "True" => "is ready",
        "False" => "is not ready",
        _ => "is not known to be ready",
    };
    let since = answer.since.as_ref().map(|at| format!(" since {at}{}", ago(at, now))).unwrap_or_default();
    let _ = writeln!(text, "{kind} {namespace}/{name} {state}{since}");
    let _ = writeln!(text, "  why: {reason}: {meaning}");
    if !message.is_empty() && message != meaning {
        let _ = writeln!(text, "  what: {message}");
    }
    if !answer.is_ready() {
        let _ = writeln!(text, "  who has to act: {}", acting(who));
    }
    for remark in &answer.remarks {
        let _ = writeln!(text, "  {remark}");
    }
    for Part { condition, status, since, reason: named, message, who } in &answer.conditions {
        let fine = self::reason(named).is_some_and(|r| r.standing() == Standing::Fine);
        let who = if fine { String::new() } else { format!(" [{}]", acting(who)) };
        let _ = writeln!(text, "  {condition}={status} since {since}: {named}: {message}{who}");
    }
    for region in &answer.regions {
        told_region(&mut text, region);
    }
    if let Some(deletion) = &answer.deletion {
        told_deletion(&mut text, "  ", "the deletion", deletion);
    }
    for (number, step) in answer.human_steps.iter().enumerate() {
        let _ = writeln!(text, "  step {} for a human: {step}", number + 1);
    }
    text
}

fn told_region(text: &mut String, region: &RegionAnswer) {
    let RegionAnswer { name, stage, message, who, gate, deletion } = region;
    let who = if stage == "Done" { String::new() } else { format!(" [{}]", acting(who)) };
    let said = if message.is_empty() { String::new() } else { format!(": {message}") };
    let _ = writeln!(text, "  {name}: {stage}{said}{who}");
    if let Some(gate) = gate {
        let _ = writeln!(text, "    the gate is {}", if gate.open { "open" } else { "shut" });
        for check in &gate.checks {
            let mark = if check.passed { "passes" } else { "FAILS " };
            let _ = writeln!(text, "      {mark} {}: {}", check.name, check.message.as_deref().unwrap_or_default());
        }
    }
    if let Some(deletion) = deletion {
        told_deletion(text, "    ", "the removal of the region", deletion);
    }
}

fn told_deletion(text: &mut String, indent: &str, what: &str, deletion: &DeletionStatus) {
    for blocked in &deletion.blocked_by {
        let _ = writeln!(text, "{indent}{what} waits: {blocked}");
    }
    if let Some(token) = &deletion.confirmation_token {
        let _ = writeln!(text, "{indent}the token that confirms {what}: {token}");
    }
}

fn acting(who: &str) -> String {
    if who == Actor::Nobody.as_str() { "nobody, the operator goes on by itself".to_owned() } else { who.to_owned() }
}

/// Whose part is told first: nobody's comes last.
const ORDER: [Actor; 5] =
    [Actor::Author, Actor::AwsAdministrator, Actor::CloudAdministrator, Actor::OperatorAdministrator, Actor::Nobody];

/// Everything that is not ready, by who has to act.
pub fn grouped(answers: &[Answer], now: Moment) -> String {
    let mut by_actor: BTreeMap<usize, Vec<&Answer>> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| !answer.is_ready()) {
        let place = ORDER.iter().position(|actor| actor.as_str() == answer.who).unwrap_or(ORDER.len());
        by_actor.entry(place).or_default().push(answer);
    }
    let ready = answers.iter().filter(|answer| answer.is_ready()).count();
    let mut text = String::new();
    for (place, waiting) in &by_actor {
        let who = ORDER.get(*place).map_or("somebody", |actor| actor.as_str());
        let _ = writeln!(text, "{}:", acting(who));
        for answer in waiting {
            let Answer { kind, namespace, name, reason, message, meaning, .. } = answer;
            let since = answer.since.as_ref().map(|at| format!(" since {at}{}", ago(at, now))).unwrap_or_default();
            let said = if message.is_empty() { meaning } else { message };
            let _ = writeln!(text, "  {kind} {namespace}/{name}: {reason}{since}");
            let _ = writeln!(text, "    {said}");
            for remark in &answer.remarks {
                let _ = writeln!(text, "    {remark}");
            }
        }
    }
    let _ = writeln!(text, "{ready} of {} objects are ready", answers.len());
    text
}
