//! `SingleStore`: replication to a second region, and its rules for keys.

use cmk_operator::sandbox::singlestore::portal::Portal;
use cmk_operator::sandbox::singlestore::{
    BucketKeys, Command as Act, CreateGroup, CreateWorkspace, Operation, SetUpReplication,
};
use cmk_operator::sandbox::{SINGLESTORE_ORGANIZATION as ORG, World};
use serde_json::{Value, json};

use super::singlestore::{act, cloud, form, group, patch, state};
use super::singlestore_keys::{SECOND, key, portal, put, suggested, tab};
use super::{REGION, code, world};

/// The id of the second region, as the API has it.
fn second(world: &mut World, group: &str) -> String {
    let name = cloud(world).regions_v2().unwrap().into_iter().find(|r| r.name == SECOND).unwrap().region;
    let offered = cloud(world).replication_regions(group).unwrap();
    assert!(offered.iter().all(|r| r.provider == "AWS" && r.region != "US East 1 (N. Virginia)"));
    offered.into_iter().find(|r| r.region == name).unwrap().id
}

fn set_up(world: &mut World, group: &str, data: Option<&str>, backup: Option<&str>) -> SetUpReplication {
    SetUpReplication {
        region_id: Some(second(world, group)),
        database_names: Some(vec![]),
        auto_replication: Some(true),
        data_key: data.map(Into::into),
        backup_key: backup.map(Into::into),
    }
}

/// What the portal's form for replication suggests: for the second key, and to append to the first one's policy.
fn suggestions(world: &mut World, group: &str) -> (Value, Value) {
    let act = Portal::SuggestedReplicationPolicies { org: ORG.into(), group: group.into(), region: SECOND.into() };
    let shown = portal(world, &act);
    (shown["secondary_key"].clone(), shown["append_to_primary_key"].clone())
}

/// An active group with keys, its first key, the suggested policy of that, and a good key in the second region.
struct Pair {
    group: String,
    first: String,
    policy: Value,
    appended: Value,
    second: String,
}

fn pair(world: &mut World, backup: bool) -> Pair {
    let policy = suggested(world, REGION);
    let first = key(world, REGION, std::slice::from_ref(&policy));
    let input =
        CreateGroup { data_key: Some(first.clone()), backup_key: backup.then(|| first.clone()), ..form("g", REGION) };
    let group = group(world, &input);
    world.advance(3000);
    assert_eq!(state(world, &group), "ACTIVE");
    let (for_second, appended) = suggestions(world, &group);
    let second = key(world, SECOND, &[for_second]);
    Pair { group, first, policy, appended, second }
}

fn copies(world: &mut World, group: &str) -> Vec<(String, &'static str)> {
    let status = cloud(world).replication_status(group).unwrap();
    status.storage.into_iter().map(|copy| (copy.database_name, copy.duplication_state)).collect()
}

fn compute(world: &mut World, group: &str) -> (Operation, &'static str) {
    let compute = cloud(world).replication_status(group).unwrap().compute;
    (compute.operation, compute.state)
}

/// Row 4 of the table: no key, a key but the first policy not extended, the backup key missing, all there.
#[test]
fn keys_in_the_second_region_are_mandatory_if_and_only_if_the_first_has_them() {
    let mut world = world();
    let it = pair(&mut world, true);
    let away = it.second.replace(SECOND, "eu-west-1");
    let bad = key(&mut world, SECOND, &[]);
    let good = it.second.as_str();
    let ask = |world: &mut World, data, backup| {
        let input = set_up(world, &it.group, data, backup);
        code(cloud(world).set_up_replication(&it.group, &input))
    };
    assert_eq!(ask(&mut world, Some(good), Some(good)), "400", "the first policy is not extended");
    put(&mut world, &it.first, &[it.policy.clone(), it.appended.clone()]);
    for (data, backup) in [
        (None, None),
        (Some(good), None),
        (None, Some(good)),
        (Some(good), Some(bad.as_str())),
        (Some(good), Some(away.as_str())),
        (Some(it.first.as_str()), Some(it.first.as_str())),
    ] {
        assert_eq!(ask(&mut world, data, backup), "400", "{data:?} {backup:?}");
    }
    assert_eq!(world.true_groups(ORG)[0].replication, None);
    assert_eq!(ask(&mut world, Some(good), Some(good)), "ok");
    let set = world.true_groups(ORG)[0].replication.clone().unwrap();
    let keys = BucketKeys { data: Some(good.into()), backup: Some(good.into()) };
    assert_eq!((set.region.as_str(), set.encrypted_with), (SECOND, keys));
    let shown = tab(&mut world, &it.group)["secondary"].clone();
    assert_eq!((&shown["region"], &shown["data"]["keyArn"]), (&json!(SECOND), &json!(good)));
    // Set once, for good.
    assert_eq!(ask(&mut world, Some(good), Some(good)), "409");
}

#[test]
fn a_group_without_a_key_takes_none_in_the_second_region() {
    let mut world = world();
    let policy = suggested(&mut world, SECOND);
    let arn = key(&mut world, SECOND, &[policy]);
    let id = group(&mut world, &form("g", REGION));
    let early = set_up(&mut world, &id, None, None);
    assert_eq!(code(cloud(&mut world).set_up_replication(&id, &early)), "400", "it is still PENDING");
    world.advance(3000);
    let with = set_up(&mut world, &id, Some(&arn), None);
    let without = set_up(&mut world, &id, None, None);
    for (input, want) in [
        (with, "400"),
        (SetUpReplication { auto_replication: None, ..without.clone() }, "400"),
        (SetUpReplication { database_names: None, ..without.clone() }, "400"),
        (SetUpReplication { region_id: None, ..without.clone() }, "400"),
        (
            SetUpReplication { region_id: Some(cloud(&mut world).group(&id).unwrap().region_id), ..without.clone() },
            "400",
        ),
        (without, "ok"),
    ] {
        assert_eq!(code(cloud(&mut world).set_up_replication(&id, &input)), want, "{input:?}");
    }
    assert_eq!(code(cloud(&mut world).replication_status("11111111-2222-4333-8444-555555555555")), "404");
    let other = group(&mut world, &form("h", REGION));
    assert_eq!(code(cloud(&mut world).replication_status(&other)), "404");
}

#[test]
fn what_the_server_makes_of_the_fields_for_keys() {
    for (fields, want) in [("honoured", "ok"), ("ignored", "400"), ("refused", "400")] {
        let mut world = world();
        let it = pair(&mut world, false);
        put(&mut world, &it.first, &[it.policy, it.appended]);
        patch(&mut world, &json!({"key_fields": fields}));
        let input = set_up(&mut world, &it.group, Some(&it.second), None);
        assert_eq!(code(cloud(&mut world).set_up_replication(&it.group, &input)), want, "{fields}");
        if want != "ok" {
            // By hand it goes in any case.
            let act = Portal::SetUpReplication {
                org: ORG.into(),
                group: it.group.clone(),
                region: SECOND.into(),
                data_key: Some(it.second.clone()),
                backup_key: None,
            };
            portal(&mut world, &act);
        }
        assert_eq!(tab(&mut world, &it.group)["secondary"]["data"]["keyArn"], json!(it.second));
    }
}

/// The order is unforgiving where the cloud does not check at once: set up too early, it never becomes active.
#[test]
fn a_set_up_that_came_too_early_can_be_for_good() {
    let mut world = world();
    patch(&mut world, &json!({"late_replication_errors": true}));
    let it = pair(&mut world, false);
    act(&mut world, Act::SetDatabases { org: ORG.into(), group: it.group.clone(), names: vec!["db".into()] });
    let input = set_up(&mut world, &it.group, Some(&it.second), None);
    cloud(&mut world).set_up_replication(&it.group, &input).unwrap();
    assert_eq!(copies(&mut world, &it.group), [("db".into(), "Pending")]);
    put(&mut world, &it.first, &[it.policy, it.appended]);
    world.advance(2000);
    assert_eq!(copies(&mut world, &it.group), [("db".into(), "Error")]);
    assert_eq!(code(cloud(&mut world).set_up_replication(&it.group, &input)), "409");
}

#[test]
fn copies_follow_the_keys() {
    let mut world = world();
    let it = pair(&mut world, false);
    put(&mut world, &it.first, &[it.policy.clone(), it.appended.clone()]);
    act(&mut world, Act::SetDatabases { org: ORG.into(), group: it.group.clone(), names: vec!["a".into()] });
    let named = SetUpReplication {
        database_names: Some(vec!["b".into()]),
        ..set_up(&mut world, &it.group, Some(&it.second), None)
    };
    cloud(&mut world).set_up_replication(&it.group, &named).unwrap();
    assert_eq!(copies(&mut world, &it.group), [("b".into(), "Pending"), ("a".into(), "Pending")]);
    world.advance(2000);
    assert_eq!(copies(&mut world, &it.group), [("b".into(), "Active"), ("a".into(), "Active")]);
    let more = vec!["a".into(), "later".into()];
    act(&mut world, Act::SetDatabases { org: ORG.into(), group: it.group.clone(), names: more });
    assert_eq!(copies(&mut world, &it.group).len(), 3);
    // What is appended has to stay.
    put(&mut world, &it.first, std::slice::from_ref(&it.policy));
    assert_eq!(copies(&mut world, &it.group)[0].1, "Error");
    assert_eq!(state(&mut world, &it.group), "ACTIVE");
    put(&mut world, &it.first, &[it.policy.clone(), it.appended.clone()]);
    assert_eq!(copies(&mut world, &it.group)[0].1, "Active");
    put(&mut world, &it.second, &[]);
    assert_eq!(copies(&mut world, &it.group)[0].1, "Error");
}

#[test]
fn failover_and_back_and_provisioning_ahead() {
    use Operation::{Failback, Failover, PreProvisionStart, PreProvisionStop};
    let mut world = world();
    let it = pair(&mut world, false);
    put(&mut world, &it.first, &[it.policy.clone(), it.appended.clone()]);
    act(&mut world, Act::SetDatabases { org: ORG.into(), group: it.group.clone(), names: vec!["db".into()] });
    let inside =
        CreateWorkspace { name: Some("w".into()), group: Some(it.group.clone()), ..CreateWorkspace::default() };
    cloud(&mut world).create_workspace(&inside).unwrap();
    let ask = |world: &mut World, operation| code(cloud(world).operate_replication(&it.group, operation));
    assert_eq!(ask(&mut world, Failover), "404", "nothing is set up");
    let input = set_up(&mut world, &it.group, Some(&it.second), None);
    cloud(&mut world).set_up_replication(&it.group, &input).unwrap();
    world.advance(2000);
    assert_eq!(ask(&mut world, Failback), "400");
    assert_eq!(ask(&mut world, PreProvisionStop), "400");
    assert_eq!(ask(&mut world, PreProvisionStart), "ok");
    assert_eq!(compute(&mut world, &it.group), (PreProvisionStart, "Active"));
    assert_eq!(ask(&mut world, Failover), "409", "one at a time");
    world.advance(2000);
    let status = cloud(&mut world).replication_status(&it.group).unwrap().compute;
    assert_eq!((status.state, status.total_workspaces, status.completed_workspaces), ("Completed", 1, 1));
    let [there] = status.secondary.as_slice() else { panic!("{:?}", status.secondary) };
    let shown = cloud(&mut world).group(there).unwrap();
    assert_eq!((shown.name.as_str(), shown.region_name.as_str()), ("g-secondary", SECOND));
    assert_eq!(tab(&mut world, there)["data"]["keyArn"], json!(it.second));
    // The same group takes over, and is given up on the way back.
    assert_eq!(ask(&mut world, Failover), "ok");
    world.advance(2000);
    assert_eq!(compute(&mut world, &it.group), (Failover, "Completed"));
    assert_eq!(cloud(&mut world).replication_status(&it.group).unwrap().compute.secondary.join(","), *there);
    assert_eq!(copies(&mut world, &it.group), [("db".into(), "Inactive")]);
    assert_eq!(ask(&mut world, PreProvisionStart), "400");
    assert_eq!(ask(&mut world, Failback), "ok");
    world.advance(2000);
    assert_eq!(compute(&mut world, &it.group), (Failback, "Completed"));
    assert_eq!(copies(&mut world, &it.group), [("db".into(), "Active")]);
    assert_eq!(cloud(&mut world).group(there).unwrap().state, "TERMINATED");
    // Under a key that can't be used it fails, and can be tried again.
    put(&mut world, &it.second, &[]);
    assert_eq!(ask(&mut world, Failover), "ok");
    world.advance(2000);
    assert_eq!(compute(&mut world, &it.group), (Failover, "Failed"));
    let (for_second, _) = suggestions(&mut world, &it.group);
    put(&mut world, &it.second, &[for_second]);
    assert_eq!(ask(&mut world, Failover), "ok");
    world.advance(2000);
    assert_eq!(compute(&mut world, &it.group), (Failover, "Completed"));
}
