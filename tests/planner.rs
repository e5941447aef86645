//! Every decision of the planner, as tables of cases: `tests/planner/*.yaml`, one file per concern.
//!
//! A case names a scene of `base.yaml`, what is different, and what has to come of it: all the steps, the state of the
//! object as a whole (the rows of the table in the design), further conditions, and the next look. What has to be so in
//! every case is in [`properties`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test should stop at the place")]

#[path = "planner/partitions.rs"]
mod partitions;
#[path = "planner/refused.rs"]
mod refused;
#[path = "planner/scene.rs"]
mod scene;
#[path = "planner/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cmk_operator::api::{CustomerKeyStatus, EncryptedClusterStatus};
use cmk_operator::domain::condition::{Actor, ConditionType, Standing};
use cmk_operator::domain::desired::{Desired, DesiredCluster, DesiredKey};
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Moment;
use cmk_operator::execute::Outcome;
use cmk_operator::plan::check::check;
use cmk_operator::plan::role_step::RoleStep;
use cmk_operator::plan::step::Step;
use cmk_operator::plan::{Plan, decide, findings_after};
use cmk_operator::ports::Record;
use cmk_operator::status;
use serde::Deserialize;
use serde_json::{Value, json};

use scene::{Scene, Scenes};

macro_rules! tables {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                check_table(concat!(stringify!($name), ".yaml"));
            }
        )+
        const TABLES: &[&str] = &[$(concat!(stringify!($name), ".yaml")),+];
    };
}

tables! {
    create uncertain recorded attributes adopted policy registration credentials tags gate deploy reattach add_region encryption
    multi_region atlas atlas_role atlas_addresses atlas_end atlas_clusters unprotected deletion teardown removal restore glance paused verdict unsupported faults
    failed singlestore singlestore_workspaces
}

#[test]
fn every_table_is_run() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planner");
    let mut found: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            std::path::Path::new(name).extension().is_some_and(|e| e == "yaml")
                && !["base.yaml", "refused.yaml"].contains(&name.as_str())
        })
        .collect();
    let mut run: Vec<String> = TABLES.iter().map(|name| (*name).to_owned()).collect();
    found.sort();
    run.sort();
    assert_eq!(found, run);
}

#[test]
fn more_addresses_than_a_policy_has_room_for_restrict_nothing_and_that_is_said() {
    let addresses: Vec<String> = (0..2_000).map(|n| format!("198.51.{}.{}/32", n / 250, n % 250)).collect();
    let database = json!([{ "name": "shop", "uses_key": true, "now": addresses }]);
    let given = json!({ "observed": { "sources": { "databases": { "Present": database } } } });
    let scene = Scenes::load().build("atlas_restricted", &[&given]);
    let plan = decide(&scene.desired, &scene.observed, &scene.memory, &scene.pass);
    check(&scene.desired, &scene.observed, &scene.memory, &scene.pass, plan.clone()).unwrap();
    let steps: Vec<String> = plan.steps.iter().map(words::step).collect();
    let [lifts] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(lifts.contains("~use: ") && !lifts.contains("~addresses"), "{lifts}");
    assert!(plan.findings.iter().any(|f| f.message.contains("calls from 2003 addresses")), "{:#?}", plan.findings);

    let open = json!({ "seen": { "policy": { "ours addresses": null } } });
    let scene = Scenes::load().build("atlas_restricted", &[&given, &open]);
    let plan = decide(&scene.desired, &scene.observed, &scene.memory, &scene.pass);
    let stalled = plan.findings.iter().find(|f| f.condition == ConditionType::Stalled).unwrap();
    assert_eq!((stalled.reason.as_str(), plan.steps.len()), ("TooManyAddresses", 0), "{stalled:?}");
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The scene of every case that names no other.
    scene: String,
    #[serde(default)]
    given: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Case {
    /// A sentence that says the behaviour.
    name: String,
    scene: Option<String>,
    #[serde(default)]
    given: Value,
    /// The status before the pass.
    #[serde(default)]
    before: Value,
    /// Steps that this process made, by how their words begin, and when.
    #[serde(default)]
    recent: BTreeMap<String, String>,
    /// A step that fails when the plan is executed, and with what; the steps before it are done.
    #[serde(default)]
    fails: BTreeMap<String, String>,
    expect: Expect,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// All of them, in order.
    #[serde(default)]
    steps: Vec<String>,
    /// A row of the design's table, and the reason that decides.
    state: String,
    /// Further conditions, as `<value> <reason>`.
    #[serde(default)]
    conditions: BTreeMap<String, String>,
    next: Option<String>,
    /// What the messages say, among other things.
    #[serde(default)]
    says: Vec<String>,
    /// What status shows, among other things.
    status: Option<Value>,
    /// What the next pass remembers of it, among other things; null: nothing.
    remembers: Option<Value>,
    /// How many equal looks are counted.
    looks: Option<BTreeMap<String, u32>>,
}

fn check_table(file: &str) {
    let scenes = Scenes::load();
    let table: Table = scene::table(file);
    let mut report = String::new();
    let mut names = std::collections::BTreeSet::new();
    for case in &table.cases {
        assert!(names.insert(&case.name), "{file}: two cases are named {:?}", case.name);
        let mut scene = scenes.build(case.scene.as_ref().unwrap_or(&table.scene), &[&table.given, &case.given]);
        remember_recent(&mut scene, &case.recent);
        let wrong = judge(&scene, case);
        if !wrong.is_empty() {
            let _ = writeln!(report, "\n{file}: {}", case.name);
            for line in wrong {
                let _ = writeln!(report, "  {}", line.replace('\n', "\n  "));
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn remember_recent(scene: &mut Scene, recent: &BTreeMap<String, String>) {
    let plan = decide(&scene.desired, &scene.observed, &scene.memory, &scene.pass);
    for (start, at) in recent {
        let step = plan.steps.iter().find(|step| words::step(step).starts_with(start.as_str()));
        let step = step.unwrap_or_else(|| panic!("there would be no step {start:?}"));
        scene.memory.recent.insert(step.effect(), scene::moment(at).unwrap());
    }
}

/// Everything that is wrong with a case.
fn judge(scene: &Scene, case: &Case) -> Vec<String> {
    let plan = decide(&scene.desired, &scene.observed, &scene.memory, &scene.pass);
    let mut wrong = Vec::new();
    let steps: Vec<String> = plan.steps.iter().map(words::step).collect();
    differ(&mut wrong, "steps", &case.expect.steps.join("\n"), &steps.join("\n"));
    let outcome = outcome(&plan, &case.fails);
    let shown = Shown::after(scene, &case.before, &plan, &outcome);
    state(&mut wrong, &case.expect.state, &shown);
    for (name, expected) in &case.expect.conditions {
        differ(&mut wrong, name, expected, &shown.said(name));
    }
    if let Some(expected) = &case.expect.next {
        let next = words::next(plan.next_look);
        differ(&mut wrong, "next", expected, &next);
    }
    let texts = texts(&plan, &shown);
    for part in &case.expect.says {
        if !texts.contains(part.as_str()) {
            wrong.push(format!("nowhere: {part}"));
        }
    }
    if let Some(expected) = &case.expect.status {
        subset(&mut wrong, "status", expected, &shown.status);
    }
    if let Some(expected) = &case.expect.remembers {
        let token = plan.deletion.as_ref().and_then(|d| d.token.clone()).or(scene.memory.deletion.clone());
        let expected = expected.to_string().replace("the-token", &token.unwrap_or_default());
        subset(&mut wrong, "remembers", &serde_json::from_str(&expected).unwrap(), &json!(shown.memory));
    }
    if let Some(expected) = &case.expect.looks {
        let counted: BTreeMap<String, u32> = plan.looks.iter().map(|(s, l)| (s.clone().into(), l.count)).collect();
        differ(&mut wrong, "looks", &format!("{expected:?}"), &format!("{counted:?}"));
    }
    properties(&mut wrong, scene, &plan, &outcome, &shown, &texts);
    if !wrong.is_empty() {
        wrong.push(format!("all that was said:\n  {}", texts.replace('\n', "\n  ")));
    }
    wrong
}

fn differ(wrong: &mut Vec<String>, what: &str, expected: &str, got: &str) {
    if expected != got {
        wrong.push(format!("{what}:\n  expected: {}\n  got:      {}", indent(expected), indent(got)));
    }
}

fn indent(text: &str) -> String {
    if text.is_empty() { "(none)".to_owned() } else { text.replace('\n', "\n            ") }
}

/// The rows of the table in the design, section 3: Ready, Reconciling, Stalled. `$` is the reason that decides; where a
/// row says nothing of a reason, none is compared.
fn state(wrong: &mut Vec<String>, expected: &str, shown: &Shown) {
    let (row, reason) = expected.split_once(' ').unwrap_or((expected, ""));
    let rows: [&str; 3] = match row {
        "done" => ["True AsDeclared", "False", "False"],
        "working" => ["False $", "True $", "False"],
        "awaiting" => ["False AwaitingAction", "True $", "False"],
        "healing" => ["True $", "True $", "False"],
        "stuck" => ["False $", "False", "True $"],
        "last-known" => ["True LastKnown", "True $", "False"],
        "unobservable" => ["Unknown Unobservable", "True $", "False"],
        "stopped-ready" => ["True $", "False $", "False $"],
        "stopped-unready" => ["False $", "False $", "False $"],
        "unchanged" => ["none", "none", "none"],
        _ => panic!("no such row: {row}"),
    };
    for (name, value) in ["Ready", "Reconciling", "Stalled"].into_iter().zip(rows) {
        let value = value.replace('$', reason);
        let said = shown.said(name);
        let said = if value.contains(' ') || value == "none" {
            said
        } else {
            said.split(' ').next().unwrap_or_default().to_owned()
        };
        differ(wrong, name, &value, &said);
    }
}

/// What status shows after a pass, whatever the kind.
struct Shown {
    types: &'static [ConditionType],
    /// Nothing, where the pass found no change.
    status: Value,
    memory: Memory,
    again: Value,
    on_top: Value,
}

impl Shown {
    fn after(scene: &Scene, before: &Value, plan: &Plan, outcome: &Outcome) -> Self {
        match &scene.desired {
            Desired::Key(key) => Self::of_key(key, scene, before, plan, outcome),
            Desired::Cluster(cluster) => Self::of_cluster(cluster, scene, before, plan, outcome),
        }
    }

    fn of_key(key: &DesiredKey, scene: &Scene, before: &Value, plan: &Plan, outcome: &Outcome) -> Self {
        let mut before: Option<CustomerKeyStatus> = serde_json::from_value(before.clone()).unwrap();
        for record in records(plan, outcome) {
            status::key::put(before.get_or_insert_default(), &record);
        }
        let render = |before: Option<&CustomerKeyStatus>| {
            status::key::render(before, key, &scene.memory, plan, outcome, scene.pass.now)
        };
        let status = render(before.as_ref());
        Self {
            types: &status::key::CONDITIONS,
            memory: status::key::remember(Some(&status)),
            again: value(&render(before.as_ref())),
            on_top: value(&render(Some(&status))),
            status: if plan.is_unchanged() && outcome.failed.is_empty() { Value::Null } else { value(&status) },
        }
    }

    fn of_cluster(cluster: &DesiredCluster, scene: &Scene, before: &Value, plan: &Plan, outcome: &Outcome) -> Self {
        let mut before: Option<EncryptedClusterStatus> = serde_json::from_value(before.clone()).unwrap();
        for record in records(plan, outcome) {
            status::cluster::put(before.get_or_insert_default(), &record);
        }
        let render = |before: Option<&EncryptedClusterStatus>| {
            status::cluster::render(before, cluster, &scene.memory, plan, outcome, scene.pass.now)
        };
        let status = render(before.as_ref());
        Self {
            types: &status::cluster::CONDITIONS,
            memory: status::cluster::remember(Some(&status)),
            again: value(&render(before.as_ref())),
            on_top: value(&render(Some(&status))),
            status: if plan.is_unchanged() && outcome.failed.is_empty() { Value::Null } else { value(&status) },
        }
    }

    /// A condition as `<value> <reason>`.
    fn said(&self, condition: &str) -> String {
        let all = self.status["conditions"].as_object();
        all.and_then(|all| all.get(condition)).map_or_else(
            || "none".to_owned(),
            |c| format!("{} {}", c["status"].as_str().unwrap(), c["reason"].as_str().unwrap()),
        )
    }
}

/// A status with its lists as maps, so that a part of it can be named.
fn value(status: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(status).unwrap();
    for (list, by) in [("conditions", "type"), ("regions", "name"), ("workspaces", "name")] {
        if let Some(all) = value[list].as_array() {
            value[list] = all.iter().map(|one| (one[by].as_str().unwrap().to_owned(), one.clone())).collect();
        }
    }
    value
}

/// What was written down before a step failed; nothing, where none did.
fn records(plan: &Plan, outcome: &Outcome) -> Vec<Record> {
    let Some((failed, _)) = outcome.failed.first() else { return Vec::new() };
    let done = plan.steps.iter().take_while(|step| *step != failed);
    let records = done.filter_map(|step| match step {
        Step::RecordKeyIntent { region, intent } => Some(Record::KeyIntent(region.clone(), intent.clone())),
        Step::RecordRegistrationIntent { region, started_at } => {
            Some(Record::RegistrationIntent(region.clone(), *started_at))
        }
        Step::RecordDeployIntent { intent } => Some(Record::DeployIntent(intent.clone())),
        Step::Role(RoleStep::RecordIntent { region, started_at }) => {
            Some(Record::RoleLinkIntent(region.clone(), *started_at))
        }
        _ => None,
    });
    records.collect()
}

fn outcome(plan: &Plan, fails: &BTreeMap<String, String>) -> Outcome {
    let mut outcome = Outcome::default();
    for (start, fault) in fails {
        let step = plan.steps.iter().find(|step| words::step(step).starts_with(start.as_str()));
        let step = step.unwrap_or_else(|| panic!("the plan has no step {start:?}")).clone();
        outcome.failed.push((step, scene::fault(fault)));
    }
    outcome
}

/// Every text that a human is shown.
fn texts(plan: &Plan, shown: &Shown) -> String {
    let mut texts: Vec<String> = plan
        .findings
        .iter()
        .map(|f| {
            let place = f.region.as_ref().map(|r| format!(" {r}")).unwrap_or_default();
            format!("{}={} {}{place}: {}", f.condition.as_str(), f.truth.as_str(), f.reason.as_str(), f.text())
        })
        .collect();
    if let Some(conditions) = shown.status["conditions"].as_object() {
        texts.extend(conditions.iter().map(|(name, c)| format!("{name}: {}", c["message"].as_str().unwrap())));
    }
    texts.join("\n")
}

/// Whether everything that is expected is there; lists are compared whole.
fn subset(wrong: &mut Vec<String>, path: &str, expected: &Value, got: &Value) {
    match expected {
        Value::Object(entries) => {
            for (key, value) in entries {
                subset(wrong, &format!("{path}.{key}"), value, got.get(key).unwrap_or(&Value::Null));
            }
        }
        _ => differ(wrong, path, &expected.to_string(), &got.to_string()),
    }
}

/// What has to be so in every case.
fn properties(wrong: &mut Vec<String>, scene: &Scene, plan: &Plan, outcome: &Outcome, shown: &Shown, texts: &str) {
    let Scene { desired, observed, memory, pass } = scene;
    if let Err(refused) = check(desired, observed, memory, pass, plan.clone()) {
        wrong.push(format!("the plan is refused: {refused}"));
    }
    if decide(desired, observed, memory, pass) != *plan {
        wrong.push("deciding twice gives two plans".to_owned());
    }
    let read: Plan = serde_json::from_value(json!(plan)).unwrap();
    if read != *plan {
        wrong.push("the plan does not survive being written and read".to_owned());
    }
    if plan.steps.is_empty() && shown.said("Ready").starts_with("True") {
        let mut later = memory.clone();
        later.looks.clone_from(&plan.looks);
        let steps: Vec<String> = decide(desired, observed, &later, pass).steps.iter().map(words::step).collect();
        if !steps.is_empty() {
            wrong.push(format!("Ready, and then there is something to do: {steps:?}"));
        }
    }
    if shown.again != *shown_or(&shown.status, &shown.again) {
        wrong.push("rendering twice gives two statuses".to_owned());
    }
    if shown.on_top["conditions"] != shown.again["conditions"] || shown.on_top["regions"] != shown.again["regions"] {
        wrong.push("rendering on top of the same status changes it".to_owned());
    }
    for type_ in shown.types {
        let observed_generation = &shown.again["conditions"][type_.as_str()]["observedGeneration"];
        if *observed_generation != json!(desired.object().generation) {
            wrong.push(format!("{} is not there for this generation", type_.as_str()));
        }
    }
    for finding in findings_after(plan, &outcome.failed, memory, desired.object(), Moment(pass.now.0)) {
        let stuck = finding.reason.standing() == Standing::Stuck;
        if stuck && finding.fix.is_empty() && finding.reason.actor() == Actor::Nobody {
            wrong.push(format!("{} says neither what to do nor who has to", finding.reason.as_str()));
        }
        if finding.message.trim().is_empty() {
            wrong.push(format!("{} says nothing", finding.reason.as_str()));
        }
    }
    for secret in ["AstraCS", "Some(", "None", "Region(", "\\\""] {
        if texts.contains(secret) {
            wrong.push(format!("a message holds {secret:?}"));
        }
    }
}

fn shown_or<'v>(status: &'v Value, otherwise: &'v Value) -> &'v Value {
    if status.is_null() { otherwise } else { status }
}
