//! A tenant names what belongs to another team: its key, role, registration, database, Secret. Each is refused, and
//! nothing is learnt of it that the tenant did not write himself.

use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, TOKEN, find};

const REGION: &str = "us-east-1";
const ROLE: &str = "arn:aws:iam::111111111111:role/treasury";
const OPEN_ROLE: &str = "arn:aws:iam::111111111111:role/open";

/// A team with everything, and the namespace of the scene, whose tenant would like to have it.
struct Street {
    scene: Scene,
    /// The other team's namespace.
    vault: String,
    key: Value,
    cluster: Value,
    before: Value,
}

impl Street {
    async fn new() -> Self {
        let mut scene = Scene::new("strangers").await;
        let vault = format!("vault-of-{}", scene.namespace);
        scene.create_namespace(&vault, &json!({})).await;
        scene.watched.push(vault.clone());
        let trust = json!({ "principals": [], "external_ids": [format!("cmk:test:{vault}")] });
        scene.command(&json!({ "create_principal": { "arn": ROLE, "trust": trust } })).await;
        let trust = json!({ "principals": [], "external_ids": [] });
        scene.command(&json!({ "create_principal": { "arn": OPEN_ROLE, "trust": trust } })).await;
        scene.start();
        let mut objects = [scene.secret(), scene.key(&[REGION]), scene.cluster(&[REGION])];
        for object in &mut objects {
            object["metadata"]["namespace"] = json!(vault);
        }
        objects[0]["metadata"]["name"] = json!("crown");
        objects[1]["metadata"]["name"] = json!("jewels");
        objects[1]["spec"]["upstream"]["astra"]["credentialsSecretRef"]["name"] = json!("crown");
        objects[1]["spec"]["aws"]["roleArn"] = json!(ROLE);
        objects[1]["spec"]["key"] =
            json!({ "description": "the ledger of the treasury", "tags": { "team": "treasurers" } });
        objects[2]["metadata"]["name"] = json!("ledger");
        objects[2]["spec"]["customerKeyRef"]["name"] = json!("jewels");
        objects[2]["spec"]["deployment"]["astra"]["name"] = json!("gold");
        for object in objects {
            scene.apply(&object).await.unwrap();
        }
        let key = scene.wait_in(&vault, "CustomerKey", "jewels", "Ready", "True", "*").await;
        let cluster = scene.wait_in(&vault, "EncryptedCluster", "ledger", "Ready", "True", "*").await;
        let before = scene.state().await;
        Self { scene, vault, key, cluster, before }
    }

    fn arn(&self) -> &str {
        self.key["status"]["regions"][0]["keyArn"].as_str().unwrap()
    }

    fn database(&self) -> &str {
        self.cluster["status"]["upstreamId"].as_str().unwrap()
    }

    /// What nobody else has to know.
    fn secrets(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let region = &self.key["status"]["regions"][0];
        let mut all = vec![
            self.vault.clone(),
            "jewels".to_owned(),
            "crown".to_owned(),
            "ledger".to_owned(),
            "gold".to_owned(),
            "treasurers".to_owned(),
            ROLE.to_owned(),
            TOKEN.to_owned(),
            ORGANIZATION.to_owned(),
            self.arn().to_owned(),
            self.database().to_owned(),
            text(&region["policyHash"]),
        ];
        let tags = self.before["keys"][self.arn()]["tags"].as_object().unwrap();
        all.push(text(&tags["cmk-operator.io/nonce"]));
        let endpoints = self.cluster["status"]["endpoints"].as_array().into_iter().flatten();
        all.extend(endpoints.filter_map(|endpoint| endpoint["url"].as_str().map(ToOwned::to_owned)));
        all
    }

    /// Waits until the tenant's object is refused, and sees that nothing is told but what he wrote.
    async fn refused(&self, object: &Value, reasons: &[&str]) -> Value {
        let scene = &self.scene;
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        scene.apply(object).await.unwrap();
        let shown = scene
            .until(&format!("{name} is refused: {reasons:?}"), || async {
                let shown = scene.get(kind, name).await;
                let stalled = find(&shown, "Stalled")
                    .is_some_and(|c| c["status"] == "True" && reasons.contains(&c["reason"].as_str().unwrap()));
                if stalled { Ok(shown) } else { Err(shown["status"].to_string()) }
            })
            .await;
        let written = object.to_string();
        let events = scene.events(&scene.namespace).await;
        let about = events.into_iter().filter(|event| event["regarding"]["name"] == *name);
        let told = format!("{} {}", shown["status"], json!(about.collect::<Vec<_>>()));
        for secret in self.secrets().iter().filter(|secret| !written.contains(secret.as_str())) {
            assert!(!told.contains(secret.as_str()), "{name}: {secret} is told: {told}");
        }
        shown
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_team_has_is_refused_and_nothing_is_told_of_it() {
    let street = Street::new().await;
    let scene = &street.scene;
    let mark = scene.mark().await;

    // Its key, in the account that the operator's own credentials may see.
    let mut key = scene.tenant("keyed", 1, REGION).await;
    key["spec"]["regions"][0]["keyArn"] = json!(street.arn());
    let shown = street.refused(&key, &["AdoptionNotConsented"]).await;
    assert!(shown["status"]["regions"][0]["keyState"].is_null(), "{:#}", shown["status"]);
    assert!(shown["status"]["regions"][0]["alias"].is_null(), "{:#}", shown["status"]);

    // The same, where its owner has let somebody else use it.
    let tags = street.before["keys"][street.arn()]["tags"].clone();
    let mut lent = tags.clone();
    lent["cmk-operator.io/adopt-by"] = json!(format!("test/{}/jewels", street.vault));
    scene.command(&json!({ "set_tags": { "arn": street.arn(), "tags": lent } })).await;
    let mut key = scene.tenant("lent", 2, REGION).await;
    key["spec"]["regions"][0]["keyArn"] = json!(street.arn());
    street.refused(&key, &["AdoptionNotConsented"]).await;
    scene.command(&json!({ "set_tags": { "arn": street.arn(), "tags": tags } })).await;

    // Its role, which wants that team's External ID, and one that would let anybody in.
    let mut key = scene.tenant("disguised", 3, REGION).await;
    key["spec"]["aws"]["roleArn"] = json!(ROLE);
    street.refused(&key, &["RoleNotAssumable"]).await;
    let mut key = scene.tenant("uninvited", 4, REGION).await;
    key["spec"]["aws"]["roleArn"] = json!(OPEN_ROLE);
    street.refused(&key, &["RoleTrustOpen"]).await;

    // Its registration, without a token of that organization.
    let mut key = scene.tenant("squatter", 5, REGION).await;
    key["spec"]["upstream"]["astra"]["organizationId"] = json!(ORGANIZATION);
    street.refused(&key, &["ScopeMismatch"]).await;

    // Its Secret: a name means one in the tenant's own namespace.
    let mut key = scene.tenant("pickpocket", 6, REGION).await;
    key["spec"]["upstream"]["astra"]["credentialsSecretRef"]["name"] = json!("crown");
    street.refused(&key, &["SecretMissing"]).await;

    // Its database, under a key and with a token of his own.
    let key = scene.tenant("own", 7, REGION).await;
    scene.apply(&key).await.unwrap();
    scene.ready("CustomerKey", "own").await;
    let mut cluster = scene.gate("bound", "own", REGION);
    cluster["spec"]["deployment"] = json!({ "astra": { "databaseId": street.database(), "name": "mine" } });
    let shown = street.refused(&cluster, &["DatabaseGone"]).await;
    let message = find(&shown, "Deployed").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("or another's"), "nobody is told that it was deleted: {message}");
    assert!(shown["status"]["endpoints"].as_array().is_none_or(Vec::is_empty), "{:#}", shown["status"]);

    // Its key object.
    let mut cluster = scene.gate("guest", "jewels", REGION);
    cluster["spec"]["customerKeyRef"]["namespace"] = json!(street.vault);
    street.refused(&cluster, &["KeyNotAllowed"]).await;

    // Metrics name the abnormal objects and nothing of what they name.
    let address = scene.address(&scene.log_file()).await;
    let metrics = scene.ask(&address, "/metrics").await.1;
    for secret in street.secrets() {
        assert!(!metrics.contains(&secret), "{secret} is in the metrics");
    }

    // Nothing of the other team's has changed, and nobody has acted in its name.
    let after = scene.state().await;
    assert_eq!(after["keys"][street.arn()], street.before["keys"][street.arn()]);
    assert_eq!(after["astra"][ORGANIZATION], street.before["astra"][ORGANIZATION]);
    let theirs = [street.arn(), street.database(), ORGANIZATION, ROLE, OPEN_ROLE];
    let writes = scene.calls_since(mark).await.into_iter().filter(|call| call["access"] == "write");
    let strange: Vec<Value> = writes.filter(|call| theirs.iter().any(|own| call.to_string().contains(own))).collect();
    assert!(strange.is_empty(), "{strange:#?}");
    assert_eq!(after["keys"].as_object().unwrap().len(), 2, "the other team's key, and the tenant's own");
    scene.wait_in(&street.vault, "CustomerKey", "jewels", "Ready", "True", "*").await;
    scene.wait_in(&street.vault, "EncryptedCluster", "ledger", "Ready", "True", "*").await;
}
