//! Plans that break one invariant each, and have to be refused with the text of that rule.
//!
//! A plan is made in one scene, altered by hand, and judged in the scene as it is after another patch.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cmk_operator::plan::check::check;
use cmk_operator::plan::decide;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::scene::{self, Scenes};
use crate::words;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Refusal {
    name: String,
    scene: String,
    /// The scene that the planner sees.
    #[serde(default)]
    given: Value,
    /// Steps of the plan to leave out.
    #[serde(default)]
    without: Vec<String>,
    /// Steps to put in the place of all others, as they are serialised.
    steps: Option<Vec<Value>>,
    /// What is different in steps, each by how its words begin.
    #[serde(default)]
    alter: BTreeMap<String, Value>,
    /// What is different where the plan is judged.
    #[serde(default)]
    but: Value,
    /// The plan's looks are left out.
    #[serde(default)]
    without_looks: bool,
    /// The rule.
    rule: String,
}

#[test]
fn refused() {
    let scenes = Scenes::load();
    let table: Vec<Refusal> = scene::table("refused.yaml");
    let mut report = String::new();
    for case in &table {
        let got = outcome(&scenes, case);
        if got != case.rule {
            let _ = writeln!(report, "\n{}\n  expected: {}\n  got:      {got}", case.name, case.rule);
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn outcome(scenes: &Scenes, case: &Refusal) -> String {
    let seen = scenes.build(&case.scene, &[&case.given]);
    let mut plan = decide(&seen.desired, &seen.observed, &seen.memory, &seen.pass);
    if let Err(refused) = check(&seen.desired, &seen.observed, &seen.memory, &seen.pass, plan.clone()) {
        return format!("refused before it was altered: {refused}");
    }
    if let Some(steps) = &case.steps {
        plan.steps = steps.iter().map(|step| serde_json::from_value(scene::expand(step, None)).unwrap()).collect();
    }
    let before = plan.steps.len();
    plan.steps.retain(|step| !case.without.iter().any(|start| words::step(step).starts_with(start.as_str())));
    assert_eq!(before - plan.steps.len(), case.without.len(), "{}: there is no such step", case.name);
    for (start, patch) in &case.alter {
        let step = plan.steps.iter_mut().find(|step| words::step(step).starts_with(start.as_str())).unwrap();
        let mut value = json!(step);
        scene::merge(&mut value, &scene::expand(patch, None));
        *step = serde_json::from_value(value).unwrap();
    }
    if case.without_looks {
        plan.looks.clear();
    }
    let judged = scenes.build(&case.scene, &[&case.given, &case.but]);
    match check(&judged.desired, &judged.observed, &judged.memory, &judged.pass, plan) {
        Ok(_) => "accepted".to_owned(),
        Err(refused) => refused.rule.to_owned(),
    }
}
