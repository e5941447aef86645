//! What AWS administrators and the cloud's support do, to the key of the primary region or to registrations.

use std::collections::BTreeMap;

use cmk_operator::domain::iam_role::PERMISSIONS;
use cmk_operator::domain::id::tag;
use cmk_operator::sandbox::astra::DatabaseType;
use cmk_operator::sandbox::kms::{KeyState, Tag};
use cmk_operator::sandbox::{ACCOUNT, Command, ORGANIZATION, World};
use serde_json::{Value, json};

use super::act::Act;
use super::files::{ALIAS, AUDITOR, REGIONS, ROLE};
use super::judge::OWNER_TAGS;
use super::lab::Ghost;
use super::scene::Scene;
use super::truth::Truth;

/// Does it. None: it is not possible here, or changes nothing.
pub(crate) fn act(act: Act, world: &mut World, scene: &Scene, ghost: &mut Ghost) -> Option<()> {
    if act == Act::Repair {
        return repair(world, ghost);
    }
    if matches!(act, Act::Unregister | Act::Withdraw) {
        let regions = if act == Act::Unregister { &REGIONS[1..] } else { &REGIONS };
        let there = |region: &&&str| Truth::of(world, scene).registration(region).is_some();
        let registered: Vec<&str> = regions.iter().filter(there).copied().collect();
        for region in &registered {
            world.edit_astra_org(ORGANIZATION, |org| org.forget_registration(DatabaseType::Serverless, region));
        }
        return (!registered.is_empty()).then_some(());
    }
    if matches!(act, Act::Distrust | Act::Unpermit) {
        let (trust, permissions) = Truth::of(world, scene).role()?;
        let iam = &mut world.iam(ACCOUNT);
        return match act {
            Act::Distrust if !trust.contains(AUDITOR) => iam.update_assume_role_policy(ROLE, &distrust()).ok(),
            Act::Unpermit if permissions.is_some() => iam.delete_role_policy(ROLE, PERMISSIONS).ok(),
            _ => None,
        };
    }
    let arn = ghost.published.get(REGIONS[0]).cloned()?;
    let (state, tags) = world.true_keys().find(|key| key.arn == arn).map(|key| (key.state, key.tags.clone()))?;
    let enabled = state == KeyState::Enabled;
    let kms = &mut world.kms(ACCOUNT, REGIONS[0]);
    match act {
        Act::Disable if enabled => world.command(Command::DisableKey { arn }).ok(),
        Act::Doom if state != KeyState::PendingDeletion => {
            world.command(Command::ScheduleKeyDeletion { arn, window_days: 30 }).ok()
        }
        Act::Cancel if state == KeyState::PendingDeletion => {
            ghost.scheduled.remove(&arn);
            kms.cancel_key_deletion(&arn).ok().map(drop)
        }
        Act::Strip => {
            let statements = [statement(ACCOUNT, "kms:*"), statement(AUDITOR, "kms:DescribeKey")];
            put(world, arn, &statements)
        }
        Act::Share => {
            let mut all = statements(&kms.get_key_policy(&arn, None).ok()?)?;
            let share = statement(AUDITOR, "kms:DescribeKey");
            (!all.contains(&share)).then(|| all.push(share))?;
            put(world, arn, &all)
        }
        Act::Tamper => {
            let mut all = statements(&kms.get_key_policy(&arn, None).ok()?)?;
            let ours = |s: &&mut Value| s["Sid"].as_str().is_some_and(|sid| sid.starts_with("cmk "));
            let ours = all.iter_mut().filter(ours).find(|s| s["Action"] != "kms:*")?;
            ours["Action"] = json!("kms:DescribeKey");
            put(world, arn, &all)
        }
        // Before the key is known by its alias or its tags the alias is the only claim; nobody takes that away in the
        // few seconds that the search by tags needs to learn of the key.
        Act::Unalias => {
            Truth::of(world, scene).registration(REGIONS[0])?;
            world.true_alias(ACCOUNT, REGIONS[0], ALIAS)?;
            world.kms(ACCOUNT, REGIONS[0]).delete_alias(ALIAS).ok()
        }
        Act::Unrotate => {
            kms.get_key_rotation_status(&arn).ok().filter(|status| status.key_rotation_enabled)?;
            kms.disable_key_rotation(&arn).ok()
        }
        Act::Untag if tags.contains_key(tag::NAME) => kms.untag_resource(&arn, &[tag::NAME.to_owned()]).ok(),
        Act::Hold if !tags.contains_key(tag::HOLD) => kms.tag_resource(&arn, &[Tag::new(tag::HOLD, "wait")]).ok(),
        Act::Lend if !tags.contains_key(tag::ADOPT_BY) => {
            kms.tag_resource(&arn, &[Tag::new(tag::ADOPT_BY, "prod/other/other")]).ok()
        }
        _ => None,
    }
}

fn statement(account: &str, action: &str) -> Value {
    json!({ "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{account}:root") }, "Action": action, "Resource": "*" })
}

/// That nobody may use a role but an auditor.
fn distrust() -> String {
    let statement = json!({
        "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{AUDITOR}:root") }, "Action": "sts:AssumeRole",
    });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

fn statements(policy: &str) -> Option<Vec<Value>> {
    let document: Value = serde_json::from_str(policy).ok()?;
    document["Statement"].as_array().cloned()
}

fn put(world: &mut World, arn: String, statements: &[Value]) -> Option<()> {
    let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    world.command(Command::PutPolicy { arn, policy }).ok()
}

/// Enables our keys again, and puts right their tags: what the operator must not mend by itself.
fn repair(world: &mut World, ghost: &mut Ghost) -> Option<()> {
    let mut broken = None;
    let ours: Vec<(String, BTreeMap<String, String>, bool)> = world
        .true_keys()
        .filter(|key| key.tags.contains_key(tag::NONCE))
        .map(|key| {
            let mut tags = key.tags.clone();
            tags.remove(tag::HOLD);
            tags.remove(tag::ADOPT_BY);
            tags.extend(OWNER_TAGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            (key.arn.to_owned(), tags, key.state != KeyState::Enabled)
        })
        .collect();
    for (arn, tags, rests) in ours {
        if world.true_keys().any(|key| key.arn == arn && *key.tags != tags) {
            world.command(Command::SetTags { arn: arn.clone(), tags }).unwrap();
            broken = Some(());
        }
        if rests {
            ghost.scheduled.remove(&arn);
            world.command(Command::EnableKey { arn }).unwrap();
            broken = Some(());
        }
    }
    broken
}
