//! Changes of a spec, made from the schema of its CRD, one after another: what is there afterwards is what applying the new
//! spec to nothing gives, and going back restores what was.
//!
//! # What equal means
//! Two moments are equal if the clouds and the objects are, but for ids, nonces, times and messages
//! ([`inprocess::picture`]). Applying to nothing cannot give all that a history gives; what stays of it is known
//! beforehand, and demanded as exactly as the rest ([`with_history`]):
//! - a tag that the spec no longer names stays on the key: it may be somebody else's by now;
//! - rotation that the spec no longer names stays as it is: absent means "left as it is found";
//! - a region that left the spec under Retain keeps its key, and its registration, as they were.
//!
//! # What else can become of a change
//! - The API server refuses it: then it is as if nothing had been tried. The judge here is the schema and its rules
//!   ([`inprocess::judge`]); `tests/cluster/spec_changes.rs` asks the real one.
//! - It asks for something that cannot be done ([`Expect::Refused`]): the object says the same reason as one that was
//!   applied to nothing, and nothing outside changes.
//! - It would take away what stands ([`Expect::Kept`]): nothing outside changes without more than a changed spec, and the
//!   object says why.
//! - Under `Observe` nothing is written, but what is there may be right ([`Expect::Observed`]).
//!
//! Which of these it is stands with the values in [`inprocess::changes`], and is checked for each change alone. From
//! everything that can be done, to everything else that can be done, is then tried in pairs.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test should stop at the place, and say what it saw"
)]

#[path = "inprocess/changes.rs"]
mod changes;
#[path = "transitions/ground.rs"]
mod ground;
#[path = "inprocess/mod.rs"]
mod inprocess;
#[path = "inprocess/judge.rs"]
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use changes::{Expect, changes};
use ground::{Rest, Specs, bases, fresh, ground as ground_of};
use inprocess::dice::Dice;
use inprocess::picture::{Picture, difference};
use judge::Judge;

const KINDS: [&str; 2] = ["CustomerKey", "EncryptedCluster"];

/// What was tried.
#[derive(Debug, Default)]
struct Count {
    /// Changes that the API server refuses.
    refused: usize,
    /// Changes, and ways back, after which everything is as demanded.
    transitions: usize,
    /// Pairs of specs of which the second takes something away that stands; tried one by one, not in pairs.
    taking: usize,
}

/// What a picture of applying to nothing lacks of what was there before.
fn with_history(before: &Picture, fresh: &Picture, key: Option<&Value>) -> Picture {
    let mut wanted = fresh.clone();
    let declared: Vec<&str> = key.map(|key| names(&key["regions"])).unwrap_or_default();
    let is_left = |name: &str| !declared.iter().any(|region| name.contains(region));
    for (name, was) in &before.outside {
        if (name.starts_with("key in") || name.starts_with("registration of")) && is_left(name) {
            wanted.outside.insert(name.clone(), was.clone());
            continue;
        }
        let Some(now) = wanted.outside.get_mut(name).filter(|now| now["tags"].is_object()) else { continue };
        for (tag, value) in was["tags"].as_object().into_iter().flatten() {
            if now["tags"].get(tag).is_none() {
                now["tags"][tag] = value.clone();
            }
        }
        if now["rotation"].is_null() && !was["rotation"].is_null() {
            now["rotation"] = was["rotation"].clone();
            let region = name.split([' ', ',']).nth(2).unwrap_or_default().to_owned();
            for said in wanted.said.values_mut().filter(|said| said["regions"][&region]["rotates"].is_boolean()) {
                said["regions"][&region]["rotates"] = json!(true);
            }
        }
    }
    wanted
}

fn names(items: &Value) -> Vec<&str> {
    items.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
}

/// What is expected of a change, where that depends on what else is declared.
fn expected(from: &Specs, kind: &str, field: &str, to: &Specs, expect: Expect) -> Expect {
    let Some(key) = &from.key else {
        // Nothing is judged as long as there is no key: no Secret is read.
        return if expect == Expect::Same { expect } else { Expect::Kept("EncryptedCluster", "KeyNotFound") };
    };
    let gone = |before: &Value, after: &Value| -> Vec<String> {
        let after = names(&after["regions"]);
        names(&before["regions"]).into_iter().filter(|r| !after.contains(r)).map(str::to_owned).collect()
    };
    match (kind, field) {
        ("CustomerKey", "regions[]") => {
            let gone = gone(key, to.key.as_ref().unwrap_or(&Value::Null));
            if gone.iter().any(|region| names(&from.cluster["regions"]).contains(&region.as_str())) {
                Expect::Kept("CustomerKey", "RegionInUse")
            } else if !gone.is_empty() && key["deletionPolicy"] == "ScheduleDeletion" {
                Expect::Kept("CustomerKey", "DeletionBlocked")
            } else {
                expect
            }
        }
        ("EncryptedCluster", "regions[]") if !gone(&from.cluster, &to.cluster).is_empty() => {
            match (from.cluster.get("deployment"), from.cluster["deletionPolicy"] == "Delete") {
                (None, _) => expect,
                (_, true) => Expect::Kept("EncryptedCluster", "DeletionBlocked"),
                (_, false) => Expect::Kept("EncryptedCluster", "RegionRetained"),
            }
        }
        _ => expect,
    }
}

/// Whether going from one to the other takes away something that stands.
fn takes(from: &Specs, to: &Specs) -> bool {
    let (Some(old), Some(new)) = (&from.key, &to.key) else { return false };
    let lacks = |before: &Value, after: &Value| -> BTreeSet<String> {
        let after = names(&after["regions"]);
        names(&before["regions"]).into_iter().filter(|r| !after.contains(r)).map(str::to_owned).collect()
    };
    let of_key = lacks(old, new);
    let used = names(&from.cluster["regions"]).into_iter().chain(names(&to.cluster["regions"]));
    let in_use = used.into_iter().any(|region| of_key.contains(region));
    let blocked = !of_key.is_empty() && new["deletionPolicy"] == "ScheduleDeletion";
    let deployed = from.cluster.get("deployment").is_some() && !lacks(&from.cluster, &to.cluster).is_empty();
    in_use || blocked || deployed
}

fn says(picture: &Picture, kind: &str, reason: &str) -> Result<(), String> {
    let mut said = picture.said.iter().filter(|(name, _)| name.starts_with(kind));
    let conditions = |shown: &Value| shown["conditions"].to_string();
    if said.any(|(_, shown)| conditions(shown).contains(&format!(" {reason}\""))) {
        return Ok(());
    }
    Err(format!("no {kind} says {reason}: {:#?}", picture.said))
}

fn equal(what: &str, wanted: &Picture, found: &Picture) -> Result<(), String> {
    let lines = wanted.differs(found);
    if lines.is_empty() { Ok(()) } else { Err(format!("{what}:\n  {}", lines.join("\n  "))) }
}

/// One change and the way back, if the API server lets anybody go back. Yields how many changes that were.
fn there_and_back(judge: &Judge, from: &Rest, to: &Specs, expect: Expect) -> Result<usize, String> {
    let mut rest = from.fork();
    rest.change(judge, to)?;
    let still = |rest: &Rest| {
        let lines = difference(&from.picture.outside, &rest.picture.outside);
        if lines.is_empty() { Ok(()) } else { Err(format!("something changed outside:\n  {}", lines.join("\n  "))) }
    };
    match expect {
        Expect::Same => {
            let wanted = fresh(judge, to)?;
            let wanted = with_history(&from.picture, &wanted.picture, to.key.as_ref());
            equal("it differs from applying the same to nothing", &wanted, &rest.picture)?;
            rest.is_quiet()?;
        }
        Expect::Refused(kind, reason) => {
            says(&rest.picture, kind, reason)?;
            still(&rest)?;
            says(&fresh(judge, to)?.picture, kind, reason).map_err(|e| format!("applied to nothing, {e}"))?;
        }
        Expect::Kept(kind, reason) => {
            says(&rest.picture, kind, reason)?;
            still(&rest)?;
        }
        Expect::Observed => {
            says(&rest.picture, "CustomerKey", "AsDeclared")?;
            still(&rest)?;
        }
    }
    let gone = rest.picture.clone();
    let judged = from.specs.key.is_some() || expect == Expect::Same;
    if !judged || rest.may_become(judge, &from.specs).is_err() {
        return Ok(1);
    }
    if takes(to, &from.specs) {
        // It would take away what stands by now: that needs more than a changed spec.
        rest.change(judge, &from.specs)?;
        let lines = difference(&gone.outside, &rest.picture.outside);
        let changed = || format!("the way back changed something outside:\n  {}", lines.join("\n  "));
        return if lines.is_empty() { Ok(2) } else { Err(changed()) };
    }
    rest.change(judge, &from.specs)?;
    let wanted = with_history(&gone, &from.picture, from.specs.key.as_ref());
    equal("going back does not restore what was", &wanted, &rest.picture)?;
    rest.is_quiet()?;
    let lost: Vec<_> = from.picture.ids.iter().filter(|(name, id)| rest.picture.ids.get(*name) != Some(id)).collect();
    if lost.is_empty() { Ok(2) } else { Err(format!("{lost:?} are others now: {:?}", rest.picture.ids)) }
}

/// Every `stride`-th change alone, from each base.
fn alone(judge: &Judge, stride: usize, count: &mut Count, wrong: &mut Vec<String>) -> Vec<(Rest, Vec<Specs>)> {
    let mut all = Vec::new();
    let ground = ground_of();
    for base in bases() {
        let base = base.kept(judge).unwrap();
        let rest = fresh(judge, &base).unwrap_or_else(|e| panic!("{}: {e}", base.name));
        rest.is_quiet().unwrap_or_else(|e| panic!("{}: {e}", base.name));
        let mut possible = vec![base.clone()];
        for kind in KINDS {
            let Some(spec) = base.spec(kind) else { continue };
            for change in changes(kind, judge.spec(kind), spec, &ground).into_iter().step_by(stride) {
                let to = base.with(kind, change.spec.clone(), &change.name);
                if let Err(why) = rest.may_become(judge, &to) {
                    assert!(!why.is_empty());
                    count.refused += 1;
                    continue;
                }
                let to = to.kept(judge).unwrap();
                if to.is_same(&base) {
                    continue;
                }
                let expect = expected(&base, kind, &change.field, &to, change.expect);
                match there_and_back(judge, &rest, &to, expect) {
                    Ok(transitions) => count.transitions += transitions,
                    Err(problem) => wrong.push(format!("{}, {} ({expect:?}): {problem}", base.name, change.name)),
                }
                if expect == Expect::Same {
                    possible.push(to);
                }
            }
        }
        all.push((rest, possible));
    }
    all
}

/// From everything that is possible to everything else: every `stride`-th pair.
fn in_pairs(judge: &Judge, all: Vec<(Rest, Vec<Specs>)>, stride: usize, count: &mut Count, wrong: &mut Vec<String>) {
    for (_, mut possible) in all {
        mixed(judge, &mut possible);
        let mut rests: BTreeMap<usize, Rest> = BTreeMap::new();
        for (one, from) in possible.iter().enumerate() {
            for (other, to) in possible.iter().enumerate() {
                if one == other || (one * 7 + other) % stride != 0 {
                    continue;
                }
                if takes(from, to) || takes(to, from) {
                    count.taking += 1;
                    continue;
                }
                let rest = rests.entry(one).or_insert_with(|| fresh(judge, from).unwrap());
                if rest.may_become(judge, to).is_err() {
                    count.refused += 1;
                    continue;
                }
                match there_and_back(judge, rest, to, Expect::Same) {
                    Ok(transitions) => count.transitions += transitions,
                    Err(problem) => wrong.push(format!("{}\n  to {}: {problem}", from.name, to.name)),
                }
            }
        }
    }
}

/// Adds specs with several changes at once.
fn mixed(judge: &Judge, possible: &mut Vec<Specs>) {
    let mut dice = Dice(42);
    let base = possible[0].clone();
    let ground = ground_of();
    for _ in 0..8 {
        let mut specs = base.clone();
        for _ in 0..=dice.below(3) {
            let kind = *dice.pick(&KINDS);
            let Some(spec) = specs.spec(kind) else { continue };
            let all = changes(kind, judge.spec(kind), spec, &ground);
            let change = dice.pick(&all);
            let to = specs.with(kind, change.spec.clone(), &change.name);
            let expect = expected(&specs, kind, &change.field, &to, change.expect);
            let Ok(to) = to.kept(judge) else { continue };
            if expect == Expect::Same && !takes(&base, &to) {
                specs = Specs { name: format!("{} + {}", specs.name, change.name), ..to };
            }
        }
        possible.push(specs);
    }
}

fn report(name: &str, count: &Count, wrong: &[String], began: Instant) {
    let Count { refused, transitions, taking } = count;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{name}: {transitions} transitions, {refused} changes refused, {taking} pairs left out, in {seconds:.1} s"
    );
    assert!(wrong.is_empty(), "{} go wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A part of [`from_any_spec_to_any_other_and_back`].
#[test]
fn after_any_change_all_is_as_if_the_spec_had_been_applied_to_nothing_and_back_again() {
    let tried = everything("a part of the changes", 7, 40);
    assert!(tried.transitions >= 60 && tried.refused >= 30, "{tried:?}");
}

/// Every `alone`-th change alone, and every `pairs`-th pair of specs.
fn everything(name: &str, alone_stride: usize, pairs_stride: usize) -> Count {
    let began = Instant::now();
    let (judge, mut count, mut wrong) = (Judge::new(), Count::default(), Vec::new());
    let all = alone(&judge, alone_stride, &mut count, &mut wrong);
    report(&format!("{name}, alone"), &count, &wrong, began);
    in_pairs(&judge, all, pairs_stride, &mut count, &mut wrong);
    report(&format!("{name}, in pairs too"), &count, &wrong, began);
    count
}

/// An author who changes their mind again and again is nobody who undoes what the operator writes.
#[test]
fn changing_ones_mind_again_and_again_is_no_contest() {
    let judge = Judge::new();
    let one = bases().remove(0);
    let mut key = one.key.clone().unwrap();
    key["policy"]["administrators"] = json!([]);
    let other = one.with("CustomerKey", key, "without administrators");
    let mut rest = fresh(&judge, &one).unwrap();
    for specs in [&other, &one].into_iter().cycle().take(8) {
        rest.change(&judge, specs).unwrap();
        says(&rest.picture, "CustomerKey", "AsDeclared").and_then(|()| rest.is_quiet()).unwrap();
    }
}

/// All changes, and one in twenty pairs of specs. `make pairs`: they need an optimised build.
#[cfg(feature = "model")]
#[test]
fn from_any_spec_to_any_other_and_back() {
    let tried = everything("every change", 1, 20);
    assert!(tried.transitions >= 600, "{tried:?}");
}
