//! Astra: registrations are final, deployments take their key at that moment or never, statuses follow the clock.

use cmk_operator::sandbox::astra::{AwsKms, CreateDatabase, DatabaseType, DatacenterSpec, ExternalKms, ListDatabases};
use cmk_operator::sandbox::{ACCOUNT, Command, ORGANIZATION, TOKEN, World, provider_account};
use serde_json::{Map, Value, json};

use super::{REGION, code, new_key, world};

const SERVERLESS: DatabaseType = DatabaseType::Serverless;
const CLASSIC: DatabaseType = DatabaseType::Classic;

fn registration(arn: &str, region: &str) -> ExternalKms {
    ExternalKms { org_id: ORGANIZATION.into(), aws: Some(AwsKms { key_id: arn.into(), region: region.into() }) }
}

fn database(tier: &str, region: &str) -> CreateDatabase {
    CreateDatabase {
        name: "db".into(),
        cloud_provider: "AWS".into(),
        tier: tier.into(),
        capacity_units: 1,
        region: region.into(),
        ..CreateDatabase::default()
    }
}

fn patch(world: &mut World, settings: &Value) {
    let settings: Map<String, Value> = settings.as_object().unwrap().clone();
    world.command(Command::PatchOrgSettings { org: ORGANIZATION.into(), settings }).unwrap();
}

fn databases(world: &World) -> Value {
    world.dump()["astra"][ORGANIZATION]["databases"].clone()
}

#[test]
fn registration_is_final() {
    let mut world = world();
    let arn = new_key(&mut world);
    let other = new_key(&mut world);
    let mut astra = world.astra(TOKEN);
    assert_eq!(code(astra.key(SERVERLESS, "aws", REGION)), "404");
    assert_eq!(astra.register_key(SERVERLESS, &registration(&arn, REGION)).unwrap(), 201);
    assert_eq!(astra.register_key(SERVERLESS, &registration(&arn, REGION)).unwrap(), 201);
    assert_eq!(code(astra.register_key(SERVERLESS, &registration(&other, REGION))), "409");
    assert_eq!(astra.key(SERVERLESS, "aws", REGION).unwrap().aws.key_id, arn);
    // Classic is a registration of its own.
    assert_eq!(code(astra.key(CLASSIC, "aws", REGION)), "404");
    assert_eq!(astra.register_key(CLASSIC, &registration(&other, REGION)).unwrap(), 201);
    assert_eq!(astra.keys(CLASSIC).unwrap()[0].key_id, other);
    assert_eq!(astra.keys(SERVERLESS).unwrap().len(), 1);
    patch(&mut world, &json!({"refuse_same_arn": true, "register_status": 200}));
    let mut astra = world.astra(TOKEN);
    assert_eq!(code(astra.register_key(SERVERLESS, &registration(&arn, REGION))), "409");
    let away = arn.replace(REGION, "eu-west-1");
    assert_eq!(astra.register_key(SERVERLESS, &registration(&away, "eu-west-1")).unwrap(), 200);
}

#[test]
fn registrations_that_make_no_sense() {
    let mut world = world();
    let arn = new_key(&mut world);
    world.command(Command::SetLocked { org: ORGANIZATION.into(), region: "us-west-2".into(), locked: true }).unwrap();
    let locked = arn.replace(REGION, "us-west-2");
    let unknown = arn.replace(REGION, "sa-east-1");
    for (body, want) in [
        (registration("nonsense", REGION), "400"),
        (registration("arn:aws:s3:::bucket", REGION), "400"),
        (registration("arn:aws:kms:us-east-1:111111111111:alias/x", REGION), "400"),
        (registration(&arn, "eu-west-1"), "400"),
        (registration(&locked, "us-west-2"), "400"),
        (registration(&unknown, "sa-east-1"), "400"),
        (ExternalKms { org_id: ORGANIZATION.into(), aws: None }, "400"),
        (ExternalKms { org_id: "other".into(), ..registration(&arn, REGION) }, "403"),
    ] {
        assert_eq!(code(world.astra(TOKEN).register_key(SERVERLESS, &body)), want, "{body:?}");
    }
    assert!(world.astra(TOKEN).keys(SERVERLESS).unwrap().is_empty());
}

#[test]
fn tokens_and_permissions() {
    let mut world = world();
    let read_only = ["org-cmk-read".to_owned(), "org-db-view".to_owned()].into();
    world
        .command(Command::SetToken {
            token: "AstraCS:r".into(),
            org: ORGANIZATION.into(),
            permissions: Some(read_only),
        })
        .unwrap();
    let arn = new_key(&mut world);
    let create = database("serverless", REGION);
    for (token, accounts, register, list, make) in [
        (TOKEN, "ok", "ok", "ok", "ok"),
        ("AstraCS:r", "ok", "403", "ok", "401"),
        ("AstraCS:dead", "401", "401", "401", "401"),
    ] {
        let mut astra = world.astra(token);
        assert_eq!(code(astra.accounts(SERVERLESS, "aws", REGION)), accounts, "{token}");
        assert_eq!(code(astra.register_key(SERVERLESS, &registration(&arn, REGION))), register, "{token}");
        assert_eq!(code(astra.list_databases(&ListDatabases::default())), list, "{token}");
        assert_eq!(code(astra.create_database(&create)), make, "{token}");
    }
    world.command(Command::KillToken { token: TOKEN.into() }).unwrap();
    assert_eq!(code(world.astra(TOKEN).current_org()), "401");
    world.command(Command::SetToken { token: TOKEN.into(), org: ORGANIZATION.into(), permissions: None }).unwrap();
    assert_eq!(world.astra(TOKEN).current_org().unwrap(), ORGANIZATION);
}

#[test]
fn accounts_to_trust() {
    let mut world = world();
    let ids = |world: &mut World, kind| -> Vec<String> {
        world.astra(TOKEN).accounts(kind, "aws", REGION).unwrap().into_iter().map(|a| a.provider_id).collect()
    };
    assert_eq!(ids(&mut world, CLASSIC), [provider_account(REGION)]);
    let accounts = vec!["900000000098".to_owned(), "900000000099".to_owned()];
    let command = Command::SetAccounts {
        org: ORGANIZATION.into(),
        region: REGION.into(),
        kind: Some(CLASSIC),
        accounts: accounts.clone(),
    };
    world.command(command).unwrap();
    assert_eq!(ids(&mut world, CLASSIC), accounts);
    assert_eq!(ids(&mut world, SERVERLESS), [provider_account(REGION)]);
    assert_eq!(code(world.astra(TOKEN).accounts(CLASSIC, "gcp", REGION)), "400");
    assert_eq!(code(world.astra(TOKEN).accounts(CLASSIC, "aws", "mars-1")), "404");
}

#[test]
fn a_database_takes_the_key_registered_at_that_moment_or_none_for_ever() {
    let mut world = world();
    world.record(true);
    let arn = new_key(&mut world);
    let too_early = world.astra(TOKEN).create_database(&database("serverless", REGION)).unwrap();
    assert_eq!(world.log().last().unwrap().note, Some("unencrypted"));
    world.astra(TOKEN).register_key(SERVERLESS, &registration(&arn, REGION)).unwrap();
    let in_time = world.astra(TOKEN).create_database(&database("serverless", REGION)).unwrap();
    assert_eq!(world.log().last().unwrap().note, None);
    // A classic database does not take the key of the serverless ones.
    let classic = world.astra(TOKEN).create_database(&database("D10", REGION)).unwrap();
    let all = databases(&world);
    for (n, (id, key)) in
        [(too_early, Value::Null), (in_time.clone(), json!(arn)), (classic, Value::Null)].into_iter().enumerate()
    {
        assert_eq!((&all[n]["id"], &all[n]["regions"][0]["encrypted_with"]), (&json!(id), &key));
    }
    // Neither does a region that is added before its key is registered.
    world.advance(3000);
    let add = |region: &str| DatacenterSpec {
        tier: "serverless".into(),
        cloud_provider: "AWS".into(),
        region: region.into(),
    };
    world.astra(TOKEN).add_datacenters(&in_time, &[add("eu-west-1")]).unwrap();
    assert_eq!(databases(&world)[1]["regions"][1]["encrypted_with"], Value::Null);
    assert_eq!(world.log().last().unwrap().note, Some("unencrypted"));
}

/// The spec writes `AWS`, the documentation of the vendor's Python client `aws`.
#[test]
fn the_provider_is_read_in_either_case_and_shown_in_upper_case() {
    let mut world = world();
    for (provider, want) in [("AWS", "ok"), ("aws", "ok"), ("gcp", "400")] {
        let input = CreateDatabase { cloud_provider: provider.into(), ..database("serverless", REGION) };
        let made = world.astra(TOKEN).create_database(&input);
        if let Ok(id) = &made {
            assert_eq!(world.astra(TOKEN).database(id).unwrap().info.cloud_provider, "AWS");
        }
        assert_eq!(code(made), want, "{provider}");
    }
}

#[test]
fn statuses_follow_the_clock() {
    let mut world = world();
    let id = world.astra(TOKEN).create_database(&database("serverless", REGION)).unwrap();
    let status = |world: &mut World| world.astra(TOKEN).database(&id).unwrap().status;
    let mut seen = vec![status(&mut world)];
    for _ in 0..3 {
        world.advance(1000);
        seen.push(status(&mut world));
    }
    assert_eq!(seen, ["PENDING", "INITIALIZING", "INITIALIZING", "ACTIVE"]);
    let add = |region: &str| DatacenterSpec {
        tier: "serverless".into(),
        cloud_provider: "AWS".into(),
        region: region.into(),
    };
    for (regions, want) in [
        (vec![add("eu-west-1"), add("eu-central-1")], "400"),
        (vec![], "400"),
        (vec![add(REGION)], "400"),
        (vec![add("mars-1")], "400"),
        (vec![DatacenterSpec { tier: "D10".into(), ..add("eu-west-1") }], "400"),
        (vec![add("eu-west-1")], "ok"),
        (vec![add("eu-central-1")], "409"),
    ] {
        assert_eq!(code(world.astra(TOKEN).add_datacenters(&id, &regions)), want, "{regions:?}");
    }
    assert_eq!(status(&mut world), "MAINTENANCE");
    world.advance(3000);
    assert_eq!(status(&mut world), "ACTIVE");
    let regions = world.astra(TOKEN).datacenters(&id, false).unwrap();
    assert_eq!((regions.len(), regions[1].status.as_str()), (2, "ACTIVE"));
    let second = regions[1].id.clone();
    assert_eq!(code(world.astra(TOKEN).terminate_datacenter(&id, "none")), "404");
    world.astra(TOKEN).terminate_datacenter(&id, &second).unwrap();
    assert_eq!(status(&mut world), "MAINTENANCE");
    world.advance(1000);
    assert_eq!(world.astra(TOKEN).datacenters(&id, false).unwrap().len(), 1);
    assert_eq!(world.astra(TOKEN).datacenters(&id, true).unwrap().len(), 2);
    assert_eq!(code(world.astra(TOKEN).terminate_datacenter(&id, &regions[0].id)), "409");
    world.astra(TOKEN).terminate_database(&id).unwrap();
    assert_eq!(status(&mut world), "TERMINATING");
    assert_eq!(code(world.astra(TOKEN).terminate_database(&id)), "409");
    world.advance(1000);
    assert_eq!(status(&mut world), "TERMINATED");
    assert_eq!(code(world.astra(TOKEN).terminate_database(&id)), "404");
    assert!(world.astra(TOKEN).list_databases(&ListDatabases::default()).unwrap().is_empty());
    let all = ListDatabases { include: Some("all".into()), ..ListDatabases::default() };
    assert_eq!(world.astra(TOKEN).list_databases(&all).unwrap().len(), 1);
}

#[test]
fn creations_that_are_refused() {
    let mut world = world();
    patch(&mut world, &json!({"refuse_classic": true}));
    world.command(Command::SetLocked { org: ORGANIZATION.into(), region: "us-west-2".into(), locked: true }).unwrap();
    let good = database("serverless", REGION);
    for (body, want) in [
        (good.clone(), "ok"),
        (CreateDatabase { name: String::new(), ..good.clone() }, "400"),
        (CreateDatabase { cloud_provider: "GCP".into(), ..good.clone() }, "400"),
        (CreateDatabase { tier: "huge".into(), ..good.clone() }, "400"),
        (CreateDatabase { capacity_units: 0, ..good }, "400"),
        (database("D10", REGION), "422"),
        (database("serverless", "us-west-2"), "422"),
        (database("serverless", "mars-1"), "422"),
    ] {
        assert_eq!(code(world.astra(TOKEN).create_database(&body)), want, "{body:?}");
    }
}

#[test]
fn the_vendor_can_try_the_key() {
    let allow = |account: &str| {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Action": "kms:*", "Resource": "*"},
            {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{account}:role/creator")}, "Resource": "*",
             "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]}]})
        .to_string()
    };
    for (policy, disabled, want) in [
        (Some(allow(&provider_account(REGION))), false, "ACTIVE"),
        (Some(allow("900000000099")), false, "ERROR"),
        (None, false, "ERROR"),
        (Some(allow(&provider_account(REGION))), true, "ERROR"),
    ] {
        let mut world = world();
        patch(&mut world, &json!({"try_key": true}));
        let arn = new_key(&mut world);
        if let Some(policy) = &policy {
            world.kms(ACCOUNT, REGION).put_key_policy(&arn, None, policy, false).unwrap();
        }
        if disabled {
            world.command(Command::DisableKey { arn: arn.clone() }).unwrap();
        }
        world.astra(TOKEN).register_key(SERVERLESS, &registration(&arn, REGION)).unwrap();
        let id = world.astra(TOKEN).create_database(&database("serverless", REGION)).unwrap();
        world.advance(3000);
        let shown = world.astra(TOKEN).database(&id).unwrap();
        assert_eq!(shown.status, want, "{}", shown.message);
        assert_eq!(databases(&world)[0]["regions"][0]["key_was_usable"], want == "ACTIVE");
    }
}

#[test]
fn lists_are_paged_and_may_run_behind() {
    let mut world = world();
    let made: Vec<String> =
        (0..30).map(|_| world.astra(TOKEN).create_database(&database("serverless", REGION)).unwrap()).collect();
    let mut seen = Vec::new();
    loop {
        let query = ListDatabases { starting_after: seen.last().cloned(), ..ListDatabases::default() };
        let page = world.astra(TOKEN).list_databases(&query).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 25);
        seen.extend(page.into_iter().map(|d| d.id));
    }
    assert_eq!(seen, made);
    let query = |limit| ListDatabases { limit: Some(limit), ..ListDatabases::default() };
    assert_eq!(code(world.astra(TOKEN).list_databases(&query(0))), "400");
    assert_eq!(code(world.astra(TOKEN).list_databases(&query(101))), "400");
    let lag = json!({"astra_list_lag_ms": 10_000}).as_object().unwrap().clone();
    world.command(Command::PatchSettings(lag)).unwrap();
    world.advance(20_000);
    let late = world.astra(TOKEN).create_database(&database("serverless", REGION)).unwrap();
    assert_eq!(world.astra(TOKEN).list_databases(&query(100)).unwrap().len(), 30);
    assert_eq!(world.astra(TOKEN).database(&late).unwrap().status, "PENDING");
    world.advance(10_000);
    assert_eq!(world.astra(TOKEN).list_databases(&query(100)).unwrap().len(), 31);
}
