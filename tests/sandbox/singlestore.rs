//! `SingleStore`: who may ask, groups and workspaces and their states over time, and that reads lag and flap.

use cmk_operator::sandbox::singlestore::{
    Command as Act, CreateGroup, CreateWorkspace, Role, SingleStore, UpdateGroup, UpdateWorkspace,
};
use cmk_operator::sandbox::{
    Command, Fault, Rule, SINGLESTORE_API_KEY as API_KEY, SINGLESTORE_ORGANIZATION as ORG, Settings, World,
};
use serde_json::{Map, Value, json};

use super::{START, code, world};

pub(crate) fn act(world: &mut World, act: Act) {
    world.command(Command::Singlestore(act)).unwrap();
}

pub(crate) fn patch(world: &mut World, settings: &Value) {
    let settings: Map<String, Value> = settings.as_object().unwrap().clone();
    act(world, Act::PatchSettings { org: ORG.into(), settings });
}

pub(crate) fn cloud(world: &mut World) -> SingleStore<'_> {
    world.singlestore(API_KEY)
}

/// A group by provider and region name.
pub(crate) fn form(name: &str, region: &str) -> CreateGroup {
    CreateGroup {
        name: Some(name.into()),
        firewall_ranges: Some(vec![]),
        provider: Some("AWS".into()),
        region_name: Some(region.into()),
        ..CreateGroup::default()
    }
}

/// A group's id.
pub(crate) fn group(world: &mut World, input: &CreateGroup) -> String {
    cloud(world).create_group(input).unwrap().id
}

pub(crate) fn state(world: &mut World, id: &str) -> &'static str {
    cloud(world).group(id).unwrap().state
}

fn workspace(name: &str, group: &str) -> CreateWorkspace {
    CreateWorkspace { name: Some(name.into()), group: Some(group.into()), ..CreateWorkspace::default() }
}

#[test]
fn an_api_key_is_of_one_organization_and_one_role() {
    let mut world = world();
    let (id, _) = cloud(&mut world).current_org().unwrap();
    assert_eq!(id, ORG);
    let made = group(&mut world, &form("g", "us-east-1"));
    world.advance(3000);
    for (key, role) in [("o", Role::Operator), ("w", Role::Writer), ("r", Role::Reader)] {
        act(&mut world, Act::SetApiKey { api_key: key.into(), org: ORG.into(), role });
    }
    for (key, look, make, replicate) in [
        (API_KEY, "ok", "ok", "400"),
        ("o", "ok", "ok", "400"),
        ("w", "ok", "ok", "403"),
        ("r", "ok", "403", "403"),
        ("nobody", "401", "401", "401"),
        ("", "401", "401", "401"),
    ] {
        let mut cloud = world.singlestore(key);
        assert_eq!(code(cloud.groups(false)), look, "{key}");
        assert_eq!(code(cloud.create_group(&form("g", "us-east-1"))), make, "{key}");
        let nothing = cmk_operator::sandbox::singlestore::SetUpReplication::default();
        assert_eq!(code(cloud.set_up_replication(&made, &nothing)), replicate, "{key}");
    }
    act(&mut world, Act::KillApiKey { api_key: API_KEY.into() });
    assert_eq!(code(cloud(&mut world).current_org()), "401");
    assert!(world.command(Command::Singlestore(Act::KillApiKey { api_key: API_KEY.into() })).is_err());
}

/// Only v1 has the ids, and only v2 the names that AWS uses: a lookup has to join them by what is shown to people, and
/// two clouds share such a name.
#[test]
fn regions_have_ids_in_one_list_and_names_in_another() {
    let mut world = world();
    let (v1, v2) = (cloud(&mut world).regions().unwrap(), cloud(&mut world).regions_v2().unwrap());
    assert_eq!((v1.len(), v2.len()), (7, 7));
    let ireland = v2.iter().find(|r| r.provider == "AWS" && r.name == "eu-west-1").unwrap();
    let same: Vec<_> = v1.iter().filter(|r| r.region == ireland.region).map(|r| r.provider.as_str()).collect();
    assert_eq!(same, ["AWS", "GCP"]);
    let id = v1.iter().find(|r| r.provider == "AWS" && r.region == ireland.region).unwrap().id.clone();
    let by_id = CreateGroup { provider: None, region_name: None, region_id: Some(id.clone()), ..form("g", "") };
    let made = group(&mut world, &by_id);
    let shown = cloud(&mut world).group(&made).unwrap();
    assert_eq!((shown.region_name.as_str(), shown.region_id), ("eu-west-1", id));
    assert_eq!(cloud(&mut world).projects().unwrap()[0].edition, "ENTERPRISE");
}

#[test]
fn creations_that_are_refused() {
    let mut world = world();
    let good = form("g", "us-east-1");
    let id = cloud(&mut world).regions().unwrap()[0].id.clone();
    for (input, want) in [
        (good.clone(), "ok"),
        (CreateGroup { name: None, ..good.clone() }, "400"),
        (CreateGroup { firewall_ranges: None, ..good.clone() }, "400"),
        (CreateGroup { region_name: None, ..good.clone() }, "400"),
        (CreateGroup { region_id: Some(id), ..good.clone() }, "400"),
        (CreateGroup { provider: Some("GCP".into()), ..good.clone() }, "400"),
        (CreateGroup { deployment_type: Some("TEST".into()), ..good.clone() }, "400"),
        (form("g", "mars-1"), "400"),
    ] {
        assert_eq!(code(cloud(&mut world).create_group(&input)), want, "{input:?}");
    }
    patch(&mut world, &json!({"out_of_credits": true}));
    assert_eq!(code(cloud(&mut world).create_group(&good)), "403");
    assert_eq!(world.true_groups(ORG).len(), 1);
}

#[test]
fn names_are_not_unique_and_creation_is_not_idempotent_unless_the_vendor_says_otherwise() {
    let mut world = world();
    let first = group(&mut world, &form("g", "us-east-1"));
    world.add_fault(Rule::nth("singlestore:CreateWorkspaceGroup", 1, Fault::AppliedButLost));
    assert_eq!(code(cloud(&mut world).create_group(&form("g", "us-east-1"))), "lost");
    let third = group(&mut world, &form("g", "us-east-1"));
    assert_ne!(first, third);
    let named = cloud(&mut world).groups(false).unwrap().into_iter().filter(|g| g.name == "g").count();
    assert_eq!(named, 3);
    patch(&mut world, &json!({"refuse_taken_name": true, "creation_lock_ms": 5000}));
    let text = |world: &mut World, name: &str| {
        let refused = cloud(world).create_group(&form(name, "us-east-1")).unwrap_err();
        let error = refused.service().unwrap().clone();
        (error.status, error.message)
    };
    let (status, message) = text(&mut world, "other");
    assert_eq!((status, message.contains("could not acquire lock")), (500, true), "{message}");
    world.advance(5000);
    let (status, message) = text(&mut world, "g");
    assert_eq!((status, message.contains("already exists")), (500, true), "{message}");
    assert_eq!(world.true_groups(ORG).len(), 3);
}

#[test]
fn the_password_is_in_the_answer_to_the_creation_and_nowhere_else() {
    let mut world = world();
    world.record(true);
    let given = CreateGroup { admin_password: Some("Secret-1234".into()), ..form("g", "us-east-1") };
    let made = cloud(&mut world).create_group(&given).unwrap();
    assert_eq!(made.admin_password, "Secret-1234");
    let update = UpdateGroup { admin_password: Some("Secret-5678".into()), ..UpdateGroup::default() };
    cloud(&mut world).update_group(&made.id, &update).unwrap();
    let other = cloud(&mut world).create_group(&form("h", "us-east-1")).unwrap();
    assert_ne!(other.admin_password, made.admin_password);
    let shown = json!(cloud(&mut world).groups(true).unwrap()).to_string();
    let log = json!(world.log().iter().map(|e| &**e).collect::<Vec<_>>()).to_string();
    for text in [shown, log, world.dump().to_string(), format!("{:?}", world.true_groups(ORG))] {
        assert!(!text.contains("Secret-") && !text.contains(&other.admin_password), "{text}");
    }
}

#[test]
fn a_groups_life() {
    let mut world = world();
    let id = group(&mut world, &form("g", "us-east-1"));
    let mut seen = vec![state(&mut world, &id)];
    for ms in [2999, 1] {
        world.advance(ms);
        seen.push(state(&mut world, &id));
    }
    assert_eq!(seen, ["PENDING", "PENDING", "ACTIVE"]);
    let update = UpdateGroup { name: Some("new".into()), allow_all_traffic: Some(true), ..UpdateGroup::default() };
    cloud(&mut world).update_group(&id, &update).unwrap();
    let shown = cloud(&mut world).group(&id).unwrap();
    assert_eq!((shown.name.as_str(), shown.allow_all_traffic, shown.firewall_ranges.len()), ("new", Some(true), 0));
    // The vendor updates it, and fails it.
    act(&mut world, Act::Maintain { org: ORG.into(), group: id.clone(), ms: 1000 });
    assert_eq!(state(&mut world, &id), "PENDING");
    world.advance(1000);
    assert_eq!(state(&mut world, &id), "ACTIVE");
    // With workspaces in it, it ends by force alone.
    let inside = cloud(&mut world).create_workspace(&workspace("w", &id)).unwrap();
    assert_eq!(code(cloud(&mut world).terminate_group(&id, false)), "400");
    cloud(&mut world).terminate_group(&id, true).unwrap();
    assert_eq!(code(cloud(&mut world).terminate_group(&id, true)), "404");
    assert_eq!(state(&mut world, &id), "PENDING");
    world.advance(1000);
    let over = cloud(&mut world).group(&id).unwrap();
    assert_eq!((over.state, over.terminated_at.is_some()), ("TERMINATED", true));
    assert_eq!(cloud(&mut world).workspace(&inside).unwrap().state, "TERMINATED");
    assert!(cloud(&mut world).groups(false).unwrap().is_empty());
    assert_eq!(cloud(&mut world).groups(true).unwrap().len(), 1);
    assert_eq!(code(cloud(&mut world).update_group(&id, &update)), "404");
    assert_eq!(code(cloud(&mut world).identity(&id)), "404");
    let failing = group(&mut world, &form("f", "us-east-1"));
    world.advance(3000);
    act(&mut world, Act::FailGroup { org: ORG.into(), group: failing.clone() });
    assert_eq!(state(&mut world, &failing), "FAILED");
    let none = "11111111-2222-4333-8444-555555555555";
    for (id, want) in [(none, "404"), ("nonsense", "400"), ("11111111-2222-4333-8444-55555555555g", "400")] {
        assert_eq!(code(cloud(&mut world).group(id)), want, "{id}");
        assert_eq!(code(cloud(&mut world).workspace(id)), want, "{id}");
    }
}

#[test]
fn a_workspaces_life() {
    let mut world = world();
    let in_group = group(&mut world, &form("g", "us-east-1"));
    assert_eq!(code(cloud(&mut world).create_workspace(&workspace("w", &in_group))), "400");
    world.advance(3000);
    for (input, want) in [
        (CreateWorkspace { name: None, ..workspace("w", &in_group) }, "400"),
        (CreateWorkspace { size: Some("huge".into()), ..workspace("w", &in_group) }, "400"),
        (CreateWorkspace { cache_config: Some(3), ..workspace("w", &in_group) }, "400"),
        (workspace("w", "11111111-2222-4333-8444-555555555555"), "404"),
    ] {
        assert_eq!(code(cloud(&mut world).create_workspace(&input)), want, "{input:?}");
    }
    let id = cloud(&mut world).create_workspace(&workspace("w", &in_group)).unwrap();
    let state = |world: &mut World| cloud(world).workspace(&id).unwrap().state;
    let size = UpdateWorkspace { size: Some("S-1".into()), ..UpdateWorkspace::default() };
    assert_eq!(state(&mut world), "PENDING");
    assert_eq!(code(cloud(&mut world).update_workspace(&id, &size)), "409");
    assert_eq!(code(cloud(&mut world).suspend(&id)), "400");
    world.advance(2000);
    assert_eq!(state(&mut world), "ACTIVE");
    assert!(cloud(&mut world).workspace(&id).unwrap().endpoint.is_some());
    assert_eq!(code(cloud(&mut world).resume(&id)), "400");
    cloud(&mut world).update_workspace(&id, &size).unwrap();
    assert_eq!(state(&mut world), "PENDING");
    world.advance(2000);
    assert_eq!(cloud(&mut world).workspace(&id).unwrap().size, "S-1");
    cloud(&mut world).suspend(&id).unwrap();
    world.advance(2000);
    assert_eq!(state(&mut world), "SUSPENDED");
    cloud(&mut world).resume(&id).unwrap();
    assert_eq!(state(&mut world), "PENDING");
    world.advance(2000);
    assert_eq!(state(&mut world), "ACTIVE");
    cloud(&mut world).terminate_workspace(&id).unwrap();
    assert_eq!(code(cloud(&mut world).terminate_workspace(&id)), "404");
    world.advance(1000);
    assert_eq!(state(&mut world), "TERMINATED");
    assert!(cloud(&mut world).workspaces(&in_group, false).unwrap().is_empty());
    assert_eq!(cloud(&mut world).workspaces(&in_group, true).unwrap().len(), 1);
    assert_eq!(code(cloud(&mut world).workspaces("", false)), "400");
}

/// A state that was seen once may be gone in the next look: it has to be seen several times in a row.
#[test]
fn reads_lag_and_flap_and_lists_run_behind() {
    let settings = Settings { singlestore_read_lag_ms: 2000, singlestore_list_lag_ms: 4000, ..Settings::default() };
    let mut world = World::sandbox(START, Settings { seed: 3, ..settings });
    let id = group(&mut world, &form("g", "us-east-1"));
    let seen = |world: &mut World| match cloud(world).group(&id) {
        Ok(group) => group.state.to_owned(),
        Err(failure) => failure.code().to_owned(),
    };
    let changes = |all: &[String]| all.windows(2).filter(|pair| pair[0] != pair[1]).count();
    world.advance(1000);
    let early: Vec<String> = (0..40).map(|_| seen(&mut world)).collect();
    assert!(early.contains(&"404".into()) && early.contains(&"PENDING".into()), "{early:?}");
    assert!(changes(&early) > 3, "{early:?}");
    world.advance(3000);
    assert!(cloud(&mut world).groups(false).unwrap().is_empty() || world.now_ms() >= START + 4000);
    let turning: Vec<String> = (0..40).map(|_| seen(&mut world)).collect();
    assert!(turning.contains(&"PENDING".into()) && turning.contains(&"ACTIVE".into()), "{turning:?}");
    assert!(changes(&turning) > 3, "{turning:?}");
    let last_five_equal = turning.windows(5).filter(|five| five.iter().all(|s| s == "PENDING")).count();
    assert!(last_five_equal < 5, "{turning:?}");
    world.advance(2000);
    let settled: Vec<String> = (0..40).map(|_| seen(&mut world)).collect();
    assert!(settled.iter().all(|s| s == "ACTIVE"), "{settled:?}");
}

#[test]
fn a_group_is_missing_from_lists_while_it_is_young() {
    let mut world = World::sandbox(START, Settings { singlestore_list_lag_ms: 4000, ..Settings::default() });
    let id = group(&mut world, &form("g", "us-east-1"));
    world.advance(3999);
    assert!(cloud(&mut world).groups(false).unwrap().is_empty());
    assert_eq!(state(&mut world, &id), "ACTIVE");
    world.advance(1);
    assert_eq!(cloud(&mut world).groups(false).unwrap().len(), 1);
    // And so is a workspace.
    let inside = cloud(&mut world).create_workspace(&workspace("w", &id)).unwrap();
    world.advance(3999);
    assert!(cloud(&mut world).workspaces(&id, false).unwrap().is_empty());
    assert_eq!(cloud(&mut world).workspace(&inside).unwrap().state, "ACTIVE");
    world.advance(1);
    assert_eq!(cloud(&mut world).workspaces(&id, false).unwrap().len(), 1);
}
