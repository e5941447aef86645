//! One multi-Region key: a primary, a replica in every other region, and what becomes of them. Whatever is killed, lost,
//! moved or deleted, there is one primary, and one replica in each further region.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmk_operator::plan::step::Site;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::adopt::{CONSENT, tag};
use super::crash::{Play, all, both_ready, end_state, same};
use super::ending::confirm;
use super::faults::faults;
use crate::support::scene::{ORGANIZATION, Scene, TOKEN, find};

const HOME: &str = "us-east-1";
const OTHER: &str = "eu-west-1";
const THIRD: &str = "us-east-2";
const REGIONS: [&str; 2] = [HOME, OTHER];

/// So that every depth of look comes round within seconds.
const LOOKS: [&str; 6] = ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "3s"];

/// The effects that only a multi-Region key reaches.
pub const SITES: [Site; 1] = [Site::ReplicateKey];

fn key(scene: &Scene, regions: &[&str]) -> Value {
    let mut key = scene.key(regions);
    key["spec"]["key"]["multiRegion"] = json!({ "primaryRegion": HOME });
    key
}

/// As on AWS, a replica is not there at once.
async fn slow_replicas(scene: &Scene) {
    scene.command(&json!({ "patch_settings": { "replica_creating_ms": 700 } })).await;
}

/// All keys that there are: one family over these regions, each member under the object's alias. Yields the region of the
/// primary.
fn family(scene: &Scene, state: &Value, regions: &[&str]) -> Result<String, String> {
    let keys = state["keys"].as_object().unwrap();
    let field = |name: &str| -> Vec<&str> {
        let mut all: Vec<&str> = keys.values().map(|key| key[name].as_str().unwrap_or_default()).collect();
        all.sort_unstable();
        all
    };
    let mut expected = regions.to_vec();
    expected.sort_unstable();
    let (ids, primaries) = (field("id"), field("primary_region"));
    let one = ids.first() == ids.last() && primaries.first() == primaries.last();
    let alias = format!("alias/cmk-operator/test/{}/key", scene.namespace);
    let claimed = keys.values().all(|key| key["aliases"] == json!([alias]));
    if field("region") != expected || !one || !claimed || !expected.contains(&primaries[0]) {
        return Err(format!("not one key in {expected:?}: {keys:#?}"));
    }
    Ok(primaries[0].to_owned())
}

/// What status says that each region's key is.
fn roles(key: &Value) -> BTreeMap<&str, &str> {
    let regions = key["status"]["regions"].as_array().into_iter().flatten();
    regions.filter_map(|r| Some((r["name"].as_str()?, r["multiRegion"].as_str()?))).collect()
}

async fn roles_are(scene: &Scene, expected: &[(&str, &str)]) -> Value {
    let expected: BTreeMap<&str, &str> = expected.iter().copied().collect();
    let ask = || async {
        let key = scene.get("CustomerKey", "key").await;
        if roles(&key) == expected { Ok(key) } else { Err(key["status"].to_string()) }
    };
    scene.until(&format!("{expected:?}"), ask).await
}

async fn is_family(scene: &Scene, regions: &[&str]) {
    let ask = || async { family(scene, &scene.state().await, regions) };
    scene.until(&format!("one key in {regions:?}"), ask).await;
}

/// How often an operation went through, region by region.
async fn count(scene: &Scene, operation: &str) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for call in scene.calls().await.iter().filter(|c| c["operation"] == operation && c["outcome"] == "ok") {
        *count.entry(call["region"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_in_all_regions_is_kept_wherever_its_primary_goes() {
    let mut scene = Scene::new("family").await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    slow_replicas(&scene).await;
    scene.start();
    for object in [scene.secret(), key(&scene, &REGIONS), scene.cluster(&REGIONS)] {
        scene.apply(&object).await.unwrap();
    }
    let (made, _) = scene.all_ready().await;
    assert_eq!(roles(&made), [(HOME, "Primary"), (OTHER, "Replica")].into());
    let state = scene.state().await;
    assert_eq!(family(&scene, &state, &REGIONS), Ok(HOME.to_owned()));
    assert_eq!(count(&scene, "kms:CreateKey").await, [(HOME.to_owned(), 1)].into());
    assert_eq!(count(&scene, "kms:ReplicateKey").await, [(HOME.to_owned(), 1)].into());
    // Nothing but the id is common: each has the statements of its own region, the tags, and the database under it.
    for (arn, member) in state["keys"].as_object().unwrap() {
        assert_eq!(member["tags"]["team"], "tests", "{arn}");
        assert!(member["policy"].to_string().contains("kms:ReplicateKey"), "{arn} may become the primary");
    }
    let marks = |arn: &str| state["keys"][arn]["policy"]["Statement"][0]["Sid"].as_str().unwrap()[..12].to_owned();
    let arns: Vec<&String> = state["keys"].as_object().unwrap().keys().collect();
    assert_ne!(marks(arns[0]), marks(arns[1]), "statements of ours carry the mark of their region");
    let deployed = &state["astra"][ORGANIZATION]["databases"][0]["regions"];
    assert!(deployed.as_array().unwrap().iter().all(|r| arns.iter().any(|arn| r["encrypted_with"] == **arn)));

    // Somebody moves the primary: that is shown, and nobody moves it back.
    let mark = scene.mark().await;
    let kms = scene.administrator(HOME).await;
    let (home, other) = (arn_in(&state, HOME), arn_in(&state, OTHER));
    kms.update_primary_region().key_id(&home).primary_region(OTHER).send().await.unwrap();
    roles_are(&scene, &[(HOME, "Replica"), (OTHER, "Primary")]).await;
    let (moved, _) = scene.all_ready().await;
    let said = find(&moved, "KeysReady").unwrap()["message"].as_str().unwrap();
    assert!(said.contains(&format!("The primary of this multi-Region key is {other}")), "{said}");
    assert_eq!(scene.written(mark).await, Vec::<String>::new());

    // Rotation is set where the primary is, and the next replica is made there.
    let mut bigger = key(&scene, &[HOME, OTHER, THIRD]);
    bigger["spec"]["key"]["rotation"]["periodDays"] = json!(180);
    scene.apply(&bigger).await.unwrap();
    is_family(&scene, &[HOME, OTHER, THIRD]).await;
    scene.all_ready().await;
    let state = scene.state().await;
    assert_eq!(state["keys"][&other]["rotation_period_days"], 180, "{:#}", state["keys"]);
    assert_eq!(count(&scene, "kms:ReplicateKey").await, [(HOME.to_owned(), 1), (OTHER.to_owned(), 1)].into());
    assert_eq!(family(&scene, &state, &[HOME, OTHER, THIRD]), Ok(OTHER.to_owned()));

    // A replica that somebody deletes is made again, as the same key.
    for gone in [arn_in(&state, THIRD), home] {
        scene.command(&json!({ "delete_key": { "arn": gone } })).await;
        let back = || async {
            let state = scene.state().await;
            let member = &state["keys"][&gone];
            let kept = member["tags"]["team"] == "tests" && member["policy"].to_string().contains("role/creator");
            if kept { Ok(()) } else { Err(member.to_string()) }
        };
        scene.until(&format!("{gone} is made again, with policy and tags"), back).await;
        is_family(&scene, &[HOME, OTHER, THIRD]).await;
        scene.all_ready().await;
    }
    assert_eq!(count(&scene, "kms:CreateKey").await, [(HOME.to_owned(), 1)].into(), "there is no second primary");
    let moves = scene.calls().await.into_iter().filter(|c| c["operation"] == "kms:UpdatePrimaryRegion").count();
    assert_eq!(moves, 1, "the operator moves none");

    // Under Retain a region goes with nothing done, and finds its replica again when it is put back.
    let mark = scene.mark().await;
    scene.apply(&key(&scene, &REGIONS)).await.unwrap();
    roles_are(&scene, &[(HOME, "Replica"), (OTHER, "Primary")]).await;
    scene.ready("CustomerKey", "key").await;
    scene.apply(&bigger).await.unwrap();
    roles_are(&scene, &[(HOME, "Replica"), (OTHER, "Primary"), (THIRD, "Replica")]).await;
    scene.ready("CustomerKey", "key").await;
    let written = scene.written(mark).await;
    let made: Vec<&String> = written.iter().filter(|w| w.contains("CreateKey") || w.contains("ReplicateKey")).collect();
    assert!(made.is_empty(), "{made:?}");
}

fn arn_in(state: &Value, region: &str) -> String {
    let keys = state["keys"].as_object().unwrap();
    keys.iter().find(|(_, key)| key["region"] == region).map(|(arn, _)| arn.clone()).unwrap()
}

/// From nothing to ready; yields the end state, made comparable.
async fn live(play: &mut Play) -> Result<Value, String> {
    for object in [play.scene.secret(), key(&play.scene, &REGIONS), play.scene.cluster(&REGIONS)] {
        play.scene.apply(&object).await.map_err(|e| e.to_string())?;
    }
    play.until("everything is ready", both_ready).await?;
    let end = end_state(&play.scene).await;
    family(&play.scene, &play.scene.state().await, &REGIONS)?;
    Ok(end)
}

async fn clean(name: &str) -> Arc<Value> {
    let mut play = Play::new(name, &[]).await;
    slow_replicas(&play.scene).await;
    Arc::new(live(&mut play).await.unwrap())
}

fn both_sides(effects: &[(Site, u32)]) -> Vec<String> {
    let switch = |(site, nth): &(Site, u32)| ["before", "after"].map(|side| format!("{}:{side}:{nth}", site.as_str()));
    effects.iter().flat_map(switch).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_any_effect_leaves_one_primary_and_one_replica() {
    let clean = clean("family-clean").await;
    // The second of some is that of the replica.
    let effects = [
        (Site::RecordKeyIntent, 1),
        (Site::CreateKey, 1),
        (Site::ReplicateKey, 1),
        (Site::CreateAlias, 1),
        (Site::CreateAlias, 2),
        (Site::RecordKey, 1),
        (Site::RecordKey, 2),
        (Site::PutPolicy, 1),
        (Site::PutPolicy, 2),
        (Site::EnableRotation, 1),
        (Site::Register, 1),
        (Site::Register, 2),
        (Site::Tag, 1),
        (Site::CreateDatabase, 1),
        (Site::AddRegion, 1),
        (Site::WriteStatus, 3),
    ];
    all(both_sides(&effects), move |switch: String| {
        let clean = Arc::clone(&clean);
        async move {
            let mut play = Play::new("familycrash", &["--crash-at".to_owned(), switch.clone()]).await;
            slow_replicas(&play.scene).await;
            let end = live(&mut play).await.map_err(|e| format!("{switch}: {e}"))?;
            same(&switch, &clean, &end, &play.scene)?;
            if play.died { Ok(()) } else { Err(format!("{switch}: the operator never came there")) }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_late_or_failed_reply_leaves_one_primary_and_one_replica() {
    let clean = clean("familyfaults-clean").await;
    let entries: Vec<_> = faults().into_iter().map(|(name, fault)| ("kms:ReplicateKey", 1, name, fault)).collect();
    // The second alias is that of the replica.
    let aliases = faults().into_iter().map(|(name, fault)| ("kms:CreateAlias", 2, name, fault));
    all(
        entries.into_iter().chain(aliases).collect(),
        move |(operation, nth, name, fault): (&'static str, u32, &'static str, Value)| {
            let clean = Arc::clone(&clean);
            let what = format!("{operation} {name}");
            let matches = json!({ "operation": operation, "nth": nth });
            async move {
                let mut play = Play::new("familyfaults", &[]).await;
                slow_replicas(&play.scene).await;
                play.scene.fault(&matches, &fault).await;
                let end = live(&mut play).await.map_err(|e| format!("{what}: {e}"))?;
                let fired = play.scene.fired().await;
                if fired != [1] {
                    return Err(format!("{what}: the fault fired {fired:?} times instead of once"));
                }
                same(&what, &clean, &end, &play.scene)
            }
        },
    )
    .await;
}

/// A multi-Region key that is made and not registered, so that it can be scheduled for deletion.
async fn mortal(play: &mut Play) -> Result<(), String> {
    slow_replicas(&play.scene).await;
    let may = ["org-cmk-read", "org-db-create", "org-db-view"];
    let token = json!({ "token": TOKEN, "org": ORGANIZATION, "permissions": may });
    play.scene.command(&json!({ "set_token": token })).await;
    let mut key = key(&play.scene, &REGIONS);
    key["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    for object in [play.scene.secret(), key] {
        play.scene.apply(&object).await.map_err(|e| e.to_string())?;
    }
    play.until("both keys can be used", enabled).await
}

async fn enabled(scene: &Scene) -> Result<(), String> {
    let key = scene.get("CustomerKey", "key").await;
    let regions = key["status"]["regions"].as_array().cloned().unwrap_or_default();
    let refused = find(&key, "Ready").is_some_and(|c| c["reason"] == "CredentialsLackPermission");
    let usable = regions.len() == REGIONS.len() && regions.iter().all(|r| r["keyState"] == "Enabled");
    if usable && refused { Ok(()) } else { Err(key["status"].to_string()) }
}

/// In which state each region's key is, and whether a mark of the operator's is on it.
fn states(state: &Value) -> BTreeMap<String, String> {
    let keys = state["keys"].as_object().unwrap().values();
    let of = |key: &Value| {
        let by = &key["tags"]["cmk-operator.io/deletion-by"];
        let by = if by.as_str().is_none_or(str::is_empty) { "" } else { " by us" };
        (key["region"].as_str().unwrap().to_owned(), format!("{}{by}", key["state"].as_str().unwrap()))
    };
    keys.map(of).collect()
}

/// The object goes, and everything that it made with it.
async fn part(play: &mut Play) -> Result<(), String> {
    play.scene.keys().delete("key", &DeleteParams::default()).await.map_err(|e| e.to_string())?;
    let whole = |object: &Value| object["status"]["deletion"]["confirmationToken"].clone();
    confirm(play, "CustomerKey", "key", whole, Value::is_null).await?;
    let state = play.scene.state().await;
    let expected = [(HOME, "PendingReplicaDeletion by us"), (OTHER, "PendingDeletion by us")];
    let expected: BTreeMap<String, String> = expected.map(|(r, s)| (r.to_owned(), s.to_owned())).into();
    if states(&state) != expected {
        return Err(format!("{:?}", states(&state)));
    }
    let calls = play.scene.calls().await;
    let scheduled = calls.iter().filter(|c| c["operation"] == "kms:ScheduleKeyDeletion" && c["outcome"] == "ok");
    let order: Vec<&str> = scheduled.map(|c| c["region"].as_str().unwrap()).collect();
    if order.first() == Some(&OTHER) && order.iter().rposition(|r| *r == OTHER) < order.iter().position(|r| *r == HOME)
    {
        Ok(())
    } else {
        Err(format!("replicas are not scheduled first: {order:?}"))
    }
}

/// The same object comes back, and with it what it made.
async fn come_back(play: &mut Play) -> Result<(), String> {
    let mut key = key(&play.scene, &REGIONS);
    key["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    play.scene.apply(&key).await.map_err(|e| e.to_string())?;
    play.until("both keys can be used again", enabled).await?;
    let unmarked = async |scene: &Scene| {
        let state = scene.state().await;
        family(scene, &state, &REGIONS)?;
        let states = states(&state);
        if states.values().all(|state| state == "Enabled") { Ok(()) } else { Err(format!("{states:?}")) }
    };
    play.until("nothing is left of the deletion", unmarked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_go_first_and_come_back_whatever_is_killed() {
    let effects = [
        (Site::MarkDeletion, 2),
        (Site::ScheduleDeletion, 1),
        (Site::ScheduleDeletion, 2),
        (Site::RemoveFinalizer, 1),
        (Site::CancelDeletion, 1),
        (Site::CancelDeletion, 2),
        (Site::EnableKey, 1),
        (Site::EnableKey, 2),
    ];
    all(both_sides(&effects), |switch: String| async move {
        let wrong = |problem: String| format!("{switch}: {problem}");
        let mut play = Play::new("parting", &[]).await;
        mortal(&mut play).await.map_err(wrong)?;
        play.scene.stop().await;
        play.scene.extra = vec!["--crash-at".to_owned(), switch.clone()];
        play.scene.start();
        part(&mut play).await.map_err(wrong)?;
        come_back(&mut play).await.map_err(wrong)?;
        if play.died { Ok(()) } else { Err(wrong("the operator never came there".to_owned())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_elsewhere_and_a_primary_in_a_region_that_leaves_block_the_end_and_say_what_to_do() {
    let mut play = Play::new("partingblocked", &LOOKS.map(ToOwned::to_owned)).await;
    mortal(&mut play).await.unwrap();
    let scene = &play.scene;
    let state = scene.state().await;
    let (home, other) = (arn_in(&state, HOME), arn_in(&state, OTHER));
    let kms = scene.administrator(HOME).await;

    // The primary is moved into a region that then leaves the spec.
    kms.update_primary_region().key_id(&home).primary_region(OTHER).send().await.unwrap();
    let mut smaller = key(scene, &[HOME]);
    smaller["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    scene.apply(&smaller).await.unwrap();
    let command = format!("aws kms update-primary-region --region {OTHER} --key-id {other} --primary-region {HOME}");
    let blocked = || async {
        let key = scene.get("CustomerKey", "key").await;
        let said = find(&key, "KeysReady").is_some_and(|c| c["message"].as_str().unwrap().contains(&command));
        let regions = key["status"]["regions"].as_array().cloned().unwrap_or_default();
        let shown = regions.iter().find(|r| r["name"] == OTHER).cloned().unwrap_or_default();
        if said && shown["deletion"]["blockedBy"].is_array() { Ok(()) } else { Err(key["status"].to_string()) }
    };
    scene.until("the region waits for the primary to be moved", blocked).await;
    // What is said is done, and the region goes once that is confirmed.
    let there = scene.administrator(OTHER).await;
    there.update_primary_region().key_id(&other).primary_region(HOME).send().await.unwrap();
    let of_region = |object: &Value| {
        let mut regions = object["status"]["regions"].as_array().into_iter().flatten();
        regions.find(|r| r["name"] == OTHER).map(|r| r["deletion"]["confirmationToken"].clone()).unwrap_or_default()
    };
    let without = |object: &Value| object["status"]["regions"].as_array().is_some_and(|all| all.len() == 1);
    confirm(&mut play, "CustomerKey", "key", of_region, without).await.unwrap();
    let state = play.scene.state().await;
    assert_eq!(states(&state)[OTHER], "PendingDeletion by us");
    assert_eq!(states(&state)[HOME], "Enabled");

    // A replica that a human made elsewhere keeps the primary.
    let stranger = kms.replicate_key().key_id(&home).replica_region(THIRD).send().await.unwrap();
    let stranger = stranger.replica_key_metadata().unwrap().arn().unwrap().to_owned();
    play.scene.keys().delete("key", &DeleteParams::default()).await.unwrap();
    let scene = &play.scene;
    let blocked = || async {
        let key = scene.get("CustomerKey", "key").await;
        let by = key["status"]["deletion"]["blockedBy"].to_string();
        if by.contains(&format!("is the primary of {stranger}, which stays")) { Ok(()) } else { Err(by) }
    };
    scene.until("the other replica blocks", blocked).await;
    assert_eq!(states(&scene.state().await)[HOME], "Enabled");
    // It is on its way out: then the primary may go, and waits in AWS.
    let there = scene.administrator(THIRD).await;
    there.schedule_key_deletion().key_id(&stranger).pending_window_in_days(7).send().await.unwrap();
    let whole = |object: &Value| object["status"]["deletion"]["confirmationToken"].clone();
    confirm(&mut play, "CustomerKey", "key", whole, Value::is_null).await.unwrap();
    assert_eq!(states(&play.scene.state().await)[HOME], "PendingReplicaDeletion by us");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_primary_keeps_its_replicas_and_gets_those_that_are_missing() {
    let mut scene = Scene::new("adoptfamily").await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    slow_replicas(&scene).await;
    let kms = scene.administrator(HOME).await;
    let name = format!("test/{}/key", scene.namespace);
    let consent = || tag(CONSENT, &name);
    let made = kms.create_key().multi_region(true).description("theirs").tags(consent()).send().await.unwrap();
    let home = made.key_metadata().unwrap().arn().unwrap().to_owned();
    let made = kms.replicate_key().key_id(&home).replica_region(OTHER).description("theirs").send().await.unwrap();
    let other = made.replica_key_metadata().unwrap().arn().unwrap().to_owned();
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    let mut manifest = key(&scene, &[HOME, OTHER, THIRD]);
    manifest["spec"]["regions"][0]["keyArn"] = json!(home);
    scene.apply(&manifest).await.unwrap();
    // Theirs is not taken for ours.
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "OwnedByAnother").await;
    let said = find(&stuck, "KeysReady").unwrap()["message"].as_str().unwrap();
    assert!(said.contains(&other) && said.contains("name it in keyArn"), "{said}");

    manifest["spec"]["regions"][1]["keyArn"] = json!(other);
    scene.apply(&manifest).await.unwrap();
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "AdoptionNotConsented").await;
    let there = scene.administrator(OTHER).await;
    there.tag_resource().key_id(&other).tags(consent()).send().await.unwrap();
    scene.ready("CustomerKey", "key").await;
    roles_are(&scene, &[(HOME, "Primary"), (OTHER, "Replica"), (THIRD, "Replica")]).await;
    let state = scene.state().await;
    for theirs in [&home, &other] {
        assert_eq!(state["keys"][theirs]["description"], "theirs", "{:#}", state["keys"]);
        assert_eq!(state["keys"][theirs]["aliases"], json!([]));
        assert!(state["keys"][theirs]["tags"]["cmk-operator.io/name"].is_null());
    }
    let ours = &state["keys"][&arn_in(&state, THIRD)];
    assert_eq!((&ours["description"], &ours["tags"]["cmk-operator.io/name"]), (&json!("for tests"), &json!("key")));
    let written = scene.written(0).await;
    let made: Vec<&String> = written.iter().filter(|w| w.contains("CreateKey") || w.contains("ReplicateKey")).collect();
    assert_eq!(made.iter().filter(|w| w.starts_with("kms:")).count(), 1, "{made:?}");
}
