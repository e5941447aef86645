//! `SingleStore`: groups under a customer's key, which only the portal shows, and what becomes of the fields for keys.

use cmk_operator::sandbox::singlestore::portal::Portal;
use cmk_operator::sandbox::singlestore::{CreateGroup, CreateWorkspace, UpdateGroup};
use cmk_operator::sandbox::{
    ACCOUNT, Command, SINGLESTORE_ORGANIZATION as ORG, World, kms::CreateKey, kms::ReplicateKey,
};
use serde_json::{Value, json};

use super::singlestore::{cloud, form, group, patch, state};
use super::{REGION, START, code, world};

pub(crate) const SECOND: &str = "us-west-2";

/// A key with these statements beside those of its account's root; `None`: no policy of the vendor's at all.
pub(crate) fn key(world: &mut World, region: &str, documents: &[Value]) -> String {
    let arn = world.kms(ACCOUNT, region).create_key(&CreateKey::default()).unwrap().arn;
    put(world, &arn, documents);
    arn
}

/// Puts a policy of the account's root statement and of documents as they were pasted.
pub(crate) fn put(world: &mut World, arn: &str, documents: &[Value]) {
    let mut statements = vec![json!({
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Action": "kms:*", "Resource": "*"
    })];
    statements.extend(documents.iter().flat_map(|d| d["Statement"].as_array().unwrap().clone()));
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let region = arn.split(':').nth(3).unwrap().to_owned();
    world.kms(ACCOUNT, &region).put_key_policy(arn, None, &policy, false).unwrap();
}

pub(crate) fn portal(world: &mut World, act: &Portal) -> Value {
    world.singlestore_portal(act).unwrap()
}

/// What the portal's form for a new group suggests.
pub(crate) fn suggested(world: &mut World, region: &str) -> Value {
    portal(world, &Portal::SuggestedPolicy { org: ORG.into(), region: region.into() })["key"].clone()
}

pub(crate) fn tab(world: &mut World, group: &str) -> Value {
    portal(world, &Portal::SecurityTab { org: ORG.into(), group: group.into() })
}

pub(crate) fn with_key(arn: &str, backup: Option<&str>) -> CreateGroup {
    CreateGroup { data_key: Some(arn.into()), backup_key: backup.map(Into::into), ..form("g", REGION) }
}

#[test]
fn only_the_portal_shows_the_key_and_no_call_of_the_api_does() {
    let mut world = world();
    let policy = suggested(&mut world, REGION);
    let arn = key(&mut world, REGION, &[policy]);
    let under = group(&mut world, &with_key(&arn, Some(&arn)));
    let without = group(&mut world, &form("g", REGION));
    world.advance(3000);
    let enabled = json!({"cmek": "ENABLED", "keyArn": arn});
    let disabled = json!({"cmek": "DISABLED"});
    assert_eq!(tab(&mut world, &under), json!({"data": enabled, "backup": enabled, "secondary": null}));
    assert_eq!(tab(&mut world, &without), json!({"data": disabled, "backup": disabled, "secondary": null}));
    let shown = |world: &mut World, id: &str| {
        let mut group = json!(cloud(world).group(id).unwrap());
        for name in ["workspaceGroupID", "createdAt"] {
            group.as_object_mut().unwrap().remove(name);
        }
        group
    };
    assert_eq!(shown(&mut world, &under), shown(&mut world, &without));
    assert!(!json!(cloud(&mut world).groups(true).unwrap()).to_string().contains("kms"));
}

/// The names that the API does show are not the ones to trust: a policy made of them lets nobody use the key.
#[test]
fn the_principal_is_that_of_the_suggested_policy_and_no_account_that_the_api_shows() {
    let mut world = world();
    let helper = group(&mut world, &form("helper", REGION));
    world.advance(3000);
    let inside = CreateWorkspace { name: Some("w".into()), group: Some(helper.clone()), ..CreateWorkspace::default() };
    let inside = cloud(&mut world).create_workspace(&inside).unwrap();
    let outbound = cloud(&mut world).group(&helper).unwrap().outbound_allow_list.unwrap();
    assert_eq!(cloud(&mut world).outbound_allow_list(&inside).unwrap().join(","), outbound);
    let identity = cloud(&mut world).identity(&helper).unwrap();
    let suggestion = suggested(&mut world, REGION);
    let text = suggestion.to_string();
    assert!(!text.contains(&outbound) && !text.contains(&identity), "{text}");
    let other_region = suggested(&mut world, SECOND);
    assert_ne!(other_region, suggestion);
    let guess = |principal: &str| json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"}]});
    for (documents, want) in [
        (vec![suggestion.clone()], "ACTIVE"),
        (vec![], "FAILED"),
        (vec![guess(&format!("arn:aws:iam::{outbound}:root"))], "FAILED"),
        (vec![guess(&identity)], "FAILED"),
        (vec![other_region], "FAILED"),
        // Every action matters.
        (
            vec![json!({"Statement": [{
                "Effect": "Allow", "Principal": suggestion["Statement"][0]["Principal"], "Resource": "*",
                "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*"]
            }]})],
            "FAILED",
        ),
    ] {
        let arn = key(&mut world, REGION, &documents);
        let id = group(&mut world, &with_key(&arn, None));
        assert_eq!(state(&mut world, &id), "PENDING");
        world.advance(3000);
        assert_eq!(state(&mut world, &id), want, "{documents:?}");
        // A group that did not come up stays so, whatever is done to the policy later.
        if want == "FAILED" {
            put(&mut world, &arn, std::slice::from_ref(&suggestion));
            assert_eq!(state(&mut world, &id), "FAILED");
        }
        // Both keys count.
        let good = key(&mut world, REGION, std::slice::from_ref(&suggestion));
        let pair = group(&mut world, &with_key(&good, Some(&arn)));
        put(&mut world, &arn, &documents);
        world.advance(3000);
        assert_eq!(state(&mut world, &pair), want, "{documents:?}");
    }
}

#[test]
fn a_group_ceases_to_work_when_the_key_is_taken_away() {
    for (name, take) in [
        ("policy", None),
        ("disabled", Some(Command::DisableKey { arn: String::new() })),
        ("pending deletion", Some(Command::ScheduleKeyDeletion { arn: String::new(), window_days: 7 })),
        ("deleted", Some(Command::DeleteKey { arn: String::new() })),
    ] {
        let mut world = world();
        let policy = suggested(&mut world, REGION);
        let arn = key(&mut world, REGION, std::slice::from_ref(&policy));
        let id = group(&mut world, &with_key(&arn, None));
        world.advance(3000);
        let inside = CreateWorkspace { name: Some("w".into()), group: Some(id.clone()), ..CreateWorkspace::default() };
        let inside = cloud(&mut world).create_workspace(&inside).unwrap();
        world.advance(2000);
        let both = |world: &mut World| (state(world, &id), cloud(world).workspace(&inside).unwrap().state);
        assert_eq!(both(&mut world), ("ACTIVE", "ACTIVE"));
        match take {
            None => put(&mut world, &arn, &[]),
            Some(Command::DisableKey { .. }) => world.command(Command::DisableKey { arn: arn.clone() }).unwrap(),
            Some(Command::DeleteKey { .. }) => world.command(Command::DeleteKey { arn: arn.clone() }).unwrap(),
            Some(_) => {
                world.command(Command::ScheduleKeyDeletion { arn: arn.clone(), window_days: 7 }).unwrap();
            }
        }
        assert_eq!(both(&mut world), ("FAILED", "FAILED"), "{name}");
        // The portal goes on to show what was set.
        assert_eq!(tab(&mut world, &id)["data"]["cmek"], "ENABLED", "{name}");
    }
}

#[test]
fn what_the_server_makes_of_the_fields_for_keys() {
    for (fields, want, cmek, note) in [
        ("honoured", "ok", "ENABLED", None),
        ("ignored", "ok", "DISABLED", Some("unencrypted")),
        ("refused", "400", "", None),
    ] {
        let mut world = world();
        world.record(true);
        patch(&mut world, &json!({"key_fields": fields}));
        let policy = suggested(&mut world, REGION);
        let arn = key(&mut world, REGION, &[policy]);
        for (data, backup) in [(true, true), (true, false)] {
            let input = CreateGroup {
                data_key: data.then(|| arn.clone()),
                backup_key: backup.then(|| arn.clone()),
                ..form("g", REGION)
            };
            let made = cloud(&mut world).create_group(&input);
            assert_eq!(code(made.clone()), want, "{fields}");
            assert_eq!(world.log().last().unwrap().note, note, "{fields}");
            if let Ok(made) = made {
                world.advance(3000);
                // The API says the same of both: nothing.
                assert_eq!(state(&mut world, &made.id), "ACTIVE");
                assert_eq!(tab(&mut world, &made.id)["data"]["cmek"], cmek, "{fields}");
                let stored = world.true_groups(ORG).last().unwrap();
                assert_eq!(stored.encrypted_with.data.is_some(), cmek == "ENABLED");
            }
        }
        // Without the fields a creation is good in any case.
        assert_eq!(code(cloud(&mut world).create_group(&form("plain", REGION))), "ok", "{fields}");
        assert_eq!(world.log().last().unwrap().note, Some("unencrypted"));
    }
}

#[test]
fn keys_that_make_no_sense() {
    let mut world = world();
    let policy = suggested(&mut world, REGION);
    let arn = key(&mut world, REGION, &[policy]);
    let away = arn.replace(REGION, "eu-west-1");
    let gcp =
        CreateGroup { provider: Some("GCP".into()), region_name: Some("europe-west1".into()), ..with_key(&arn, None) };
    for (input, want) in [
        (with_key(&arn, Some(&arn)), "ok"),
        (with_key("nonsense", None), "400"),
        (with_key(&arn.replace("key/", "alias/"), None), "400"),
        (with_key(&away, None), "400"),
        (with_key(&arn, Some(&away)), "400"),
        (gcp, "400"),
    ] {
        assert_eq!(code(cloud(&mut world).create_group(&input)), want, "{input:?}");
    }
    patch(&mut world, &json!({"edition": "STANDARD"}));
    assert_eq!(code(cloud(&mut world).create_group(&with_key(&arn, None))), "400");
    assert_eq!(code(cloud(&mut world).create_group(&form("plain", REGION))), "ok");
}

/// There is no call that puts an existing group under a key, or under another one.
#[test]
fn a_key_is_set_once() {
    for fields in ["honoured", "ignored", "refused"] {
        let mut world = world();
        let policy = suggested(&mut world, REGION);
        let arn = key(&mut world, REGION, &[policy]);
        let id = group(&mut world, &form("g", REGION));
        world.advance(3000);
        patch(&mut world, &json!({"key_fields": fields}));
        let update = UpdateGroup { data_key: Some(arn), ..UpdateGroup::default() };
        let want = if fields == "ignored" { "ok" } else { "400" };
        assert_eq!(code(cloud(&mut world).update_group(&id, &update)), want);
        assert_eq!(tab(&mut world, &id)["data"]["cmek"], "DISABLED");
    }
}

#[test]
fn a_human_makes_a_group_in_the_portal_with_arns_pasted_in() {
    let mut world = world();
    // Whatever the API makes of its fields.
    patch(&mut world, &json!({"key_fields": "refused"}));
    let policy = suggested(&mut world, REGION);
    let arn = key(&mut world, REGION, &[policy]);
    let form = |region: &str, key: Option<&str>| Portal::CreateGroup {
        org: ORG.into(),
        name: "by hand".into(),
        region: region.into(),
        data_key: key.map(Into::into),
        backup_key: None,
    };
    let made = portal(&mut world, &form(REGION, Some(&arn)));
    let id = made["workspaceGroupID"].as_str().unwrap();
    assert!(made["adminPassword"].is_string());
    world.advance(3000);
    assert_eq!(state(&mut world, id), "ACTIVE");
    assert_eq!(tab(&mut world, id)["data"], json!({"cmek": "ENABLED", "keyArn": arn}));
    let named: Vec<_> = cloud(&mut world).groups(false).unwrap().into_iter().map(|g| g.name).collect();
    assert_eq!(named, ["by hand"]);
    for (act, complaint) in [
        (form(SECOND, Some(&arn)), "is not in us-west-2"),
        (form("mars-1", None), "no such region"),
        (Portal::SuggestedPolicy { org: ORG.into(), region: "mars-1".into() }, "no such region"),
        (Portal::SuggestedPolicy { org: "other".into(), region: REGION.into() }, "organization not found"),
    ] {
        let said = world.singlestore_portal(&act).unwrap_err();
        assert!(said.contains(complaint), "{said}");
    }
}

#[test]
fn a_stale_read_shows_the_key_as_it_was_then() {
    let settings = cmk_operator::sandbox::Settings { history_ms: 60_000, ..Default::default() };
    let mut world = World::sandbox(START, settings);
    let policy = suggested(&mut world, REGION);
    let arn = key(&mut world, REGION, &[policy]);
    let id = group(&mut world, &with_key(&arn, None));
    world.advance(10_000);
    put(&mut world, &arn, &[]);
    world.advance(1000);
    assert_eq!(state(&mut world, &id), "FAILED");
    let old = cmk_operator::sandbox::Fault::StaleRead { ms: 2000 };
    world.add_fault(cmk_operator::sandbox::Rule::always("singlestore:GetWorkspaceGroup", old));
    assert_eq!(state(&mut world, &id), "ACTIVE");
}

/// A replica of a multi-Region key is a key of its region like any other.
#[test]
fn a_replica_of_a_multi_region_key_will_do() {
    let mut world = world();
    let primary = CreateKey { multi_region: true, ..CreateKey::default() };
    let primary = world.kms(ACCOUNT, REGION).create_key(&primary).unwrap().arn;
    let input = ReplicateKey { key_id: primary, replica_region: SECOND.into(), ..ReplicateKey::default() };
    let replica = world.kms(ACCOUNT, REGION).replicate_key(&input).unwrap().metadata.arn;
    let policy = suggested(&mut world, SECOND);
    put(&mut world, &replica, &[policy]);
    let id = group(&mut world, &CreateGroup { data_key: Some(replica), ..form("g", SECOND) });
    world.advance(3000);
    assert_eq!(state(&mut world, &id), "ACTIVE");
}
