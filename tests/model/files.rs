//! What stands in the files that users apply, for each cloud: one key and one cluster over two regions. And the clouds that
//! they are applied to.

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::domain::capabilities::{Cloud, Scope};
use cmk_operator::domain::id::Name;
use cmk_operator::domain::observed::CredentialsSeen;
use cmk_operator::domain::reading::Reading;
use cmk_operator::observe::Credentials;
use cmk_operator::ports::Session;
use cmk_operator::sandbox::astra::OrgSettings;
use cmk_operator::sandbox::{
    self, ACCOUNT, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_PROJECT, ORGANIZATION, TOKEN, World,
};
use serde_json::{Value, json};

use super::scene::{LAG, Scene};

/// The primary region, and the one that is added.
pub(crate) const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];
pub(crate) const ALIAS: &str = "alias/cmk-operator/prod/team/orders";
pub(crate) const DATABASE: &str = "orders";
/// The role that the operator makes where the cloud needs one.
pub(crate) const ROLE: &str = "orders-kms";
pub(crate) const ROLE_ARN: &str = "arn:aws:iam::111111111111:role/cmk-operator/prod/team/orders-kms";
/// An account that somebody else lets use the key.
pub(crate) const AUDITOR: &str = "222222222222";
const START: i64 = 1_800_000_000_000;
/// How long it takes until something that is made, changed or removed is so.
const DEPLOYS_IN: i64 = 5_000;

pub(crate) fn installation() -> Name {
    "prod".parse().unwrap()
}

pub(crate) fn world() -> World {
    let mut world = World::sandbox(
        START,
        sandbox::Settings {
            history_ms: LAG,
            tag_index_lag_ms: LAG,
            astra_list_lag_ms: LAG,
            ..sandbox::Settings::default()
        },
    );
    world.edit_astra_org(ORGANIZATION, |org| {
        *org.settings_mut() = OrgSettings { deploy_ms: DEPLOYS_IN, terminate_ms: DEPLOYS_IN, ..OrgSettings::default() };
    });
    // A look at the registration has the cloud try the key too; that it does so by itself is beyond the horizon.
    let atlas = world.atlas_settings_mut();
    (atlas.deploy_ms, atlas.change_ms, atlas.delete_ms) = (DEPLOYS_IN, DEPLOYS_IN, DEPLOYS_IN);
    (atlas.retry_ms, atlas.check_ms) = (DEPLOYS_IN, i64::MAX / 2);
    // Somebody else's key, which nobody may touch.
    let foreign = sandbox::kms::CreateKey {
        description: Some("foreign".to_owned()),
        tags: vec![sandbox::kms::Tag::new("owner", "somebody else")],
        ..sandbox::kms::CreateKey::default()
    };
    world.kms(ACCOUNT, REGIONS[0]).create_key(&foreign).unwrap();
    world.advance(3_600_000);
    world.forget_before(i64::MAX);
    world
}

/// The key as it stands in the files.
pub(crate) fn key(scene: &Scene) -> CustomerKey {
    let policy = if scene.key_ends { "ScheduleDeletion" } else { "Retain" };
    let mut settings = json!({ "rotation": { "periodDays": 365 } });
    if scene.multi_region {
        settings["multiRegion"] = json!({ "primaryRegion": REGIONS[0] });
    }
    let (regions, upstream) = match scene.cloud {
        Cloud::Atlas => {
            let role = json!({ "create": { "name": ROLE } });
            let secret = json!({ "name": "cloud" });
            let upstream = json!({ "projectId": ATLAS_PROJECT, "role": role, "credentialsSecretRef": secret });
            (&REGIONS[..1], json!({ "atlas": upstream }))
        }
        Cloud::Astra | Cloud::SingleStore => {
            let secret = json!({ "name": "cloud" });
            let upstream =
                json!({ "organizationId": ORGANIZATION, "databaseType": "Serverless", "credentialsSecretRef": secret });
            (&REGIONS[..], json!({ "astra": upstream }))
        }
    };
    let object = json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "namespace": "team", "name": "orders", "uid": "k", "generation": 1, "resourceVersion": "1" },
        "spec": {
            "regions": named(regions),
            "deletionPolicy": policy,
            "key": settings,
            "aws": { "accountId": ACCOUNT },
            "upstream": upstream,
        }
    });
    serde_json::from_value(object).unwrap()
}

fn named(regions: &[&str]) -> Vec<Value> {
    regions.iter().map(|name| json!({ "name": name })).collect()
}

/// The cluster as it stands in the files.
pub(crate) fn cluster(scene: &Scene) -> EncryptedCluster {
    let policy = if scene.cluster_ends { "Delete" } else { "Retain" };
    let deployment = match scene.cloud {
        Cloud::Atlas => json!({ "atlas": { "name": DATABASE, "instanceSize": "M10" } }),
        Cloud::Astra | Cloud::SingleStore => {
            json!({ "astra": { "name": DATABASE, "tier": "serverless", "capacityUnits": 1 } })
        }
    };
    let object = json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "namespace": "team", "name": "orders", "uid": "c", "generation": 1, "resourceVersion": "1" },
        "spec": {
            "customerKeyRef": { "name": "orders" },
            "regions": named(&REGIONS),
            "primaryRegion": REGIONS[0],
            "deletionPolicy": policy,
            "deployment": deployment,
        }
    });
    serde_json::from_value(object).unwrap()
}

/// What the Secret of the key holds.
pub(crate) fn credentials(scope: &Scope) -> Credentials {
    let values = match scope.cloud {
        Cloud::Atlas => [("clientId", ATLAS_CLIENT_ID), ("clientSecret", ATLAS_CLIENT_SECRET)].as_slice(),
        Cloud::Astra | Cloud::SingleStore => [("token", TOKEN)].as_slice(),
    };
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let session = Session { scope: scope.clone(), credentials: cmk_operator::ports::Credentials(values) };
    Credentials {
        seen: Reading::Present(CredentialsSeen { secret: "team/cloud".to_owned(), lacking: Vec::new() }),
        session: Some(session.clone()),
        deploy: Some(session),
    }
}
