//! A cluster in another namespace than its key: what the key's owner allows, and nothing else, not even to be seen.

use serde_json::{Value, json};

use crate::support::scene::{ACCOUNT, ORGANIZATION, Scene, TOKEN, find};

const REGION: &str = "us-east-1";

/// The platform's namespace, with the key, and that of an application team.
struct Estate {
    scene: Scene,
    apps: String,
}

impl Estate {
    /// A key that is ready and allows what is given.
    async fn new(name: &str, labels: Value, allowed: Value) -> Self {
        let mut scene = Scene::new(name).await;
        let apps = format!("{}-apps", scene.namespace);
        scene.create_namespace(&apps, &labels).await;
        scene.watched.push(apps.clone());
        scene.start();
        let estate = Self { scene, apps };
        estate.scene.apply(&estate.scene.secret()).await.unwrap();
        estate.allow(allowed).await;
        estate.scene.ready("CustomerKey", "key").await;
        estate
    }

    /// Applies the key with these allowed namespaces.
    async fn allow(&self, allowed: Value) {
        let mut key = self.scene.key(&[REGION]);
        key["spec"]["allowedNamespaces"] = allowed;
        self.scene.apply(&key).await.unwrap();
    }

    /// A cluster of the application team that refers to the platform's key.
    fn cluster(&self, deployment: Option<Value>) -> Value {
        let mut cluster = self.scene.gate("db", "key", REGION);
        cluster["metadata"]["namespace"] = json!(self.apps);
        cluster["spec"]["customerKeyRef"]["namespace"] = json!(self.scene.namespace);
        if let Some(deployment) = deployment {
            cluster["spec"]["deployment"] = json!({ "astra": deployment });
        }
        cluster
    }

    async fn wait(&self, condition: &str, status: &str, reason: &str) -> Value {
        self.scene.wait_in(&self.apps, "EncryptedCluster", "db", condition, status, reason).await
    }

    async fn databases(&self) -> Value {
        self.scene.state().await["astra"][ORGANIZATION]["databases"].clone()
    }
}

/// The cluster says that it may not, the gate is shut everywhere it is shown, and nothing of the key can be read from it.
fn refused(cluster: &Value, key: &Value) {
    for (condition, status) in [("Ready", "False"), ("Stalled", "True"), ("GateOpen", "False")] {
        assert_eq!(find(cluster, condition).unwrap()["status"], status, "{cluster:#}");
        assert_eq!(find(cluster, condition).unwrap()["reason"], "KeyNotAllowed");
    }
    let message = find(cluster, "GateOpen").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("does not allow clusters of this namespace"), "{message}");
    assert!(message.contains("To do: have the key's owner set spec.allowedNamespaces."), "{message}");
    for region in cluster["status"]["regions"].as_array().unwrap() {
        assert_ne!(region["gate"]["open"], true, "the gate is shown as open: {region:#}");
    }
    assert!(cluster["status"]["upstream"].is_null(), "not even its cloud is told: {:#}", cluster["status"]);
    let status = cluster["status"].to_string();
    let of_key = &key["status"]["regions"][0];
    let secrets = [&of_key["keyArn"], &of_key["alias"], &of_key["policyHash"], &of_key["principals"][0]];
    let secrets = secrets.into_iter().map(|value| value.as_str().unwrap()).chain([ACCOUNT, ORGANIZATION, TOKEN]);
    for secret in secrets {
        assert!(!status.contains(secret), "{secret} is of the key's namespace: {:#}", cluster["status"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_serves_its_own_namespace_alone_unless_it_says_otherwise() {
    let estate = Estate::new("same", json!({}), json!({ "from": "Same" })).await;
    let scene = &estate.scene;
    let key = scene.get("CustomerKey", "key").await;
    let mark = scene.mark().await;
    scene.apply(&estate.cluster(None)).await.unwrap();
    refused(&estate.wait("Stalled", "True", "KeyNotAllowed").await, &key);
    assert_eq!(scene.calls_since(mark).await, Vec::<Value>::new(), "nothing is asked on behalf of who may not ask");
    scene.apply(&scene.gate("own", "key", REGION)).await.unwrap();
    scene.ready("EncryptedCluster", "own").await;

    estate.allow(json!({ "from": "All" })).await;
    let cluster = estate.wait("Ready", "True", "*").await;
    assert_eq!(find(&cluster, "Deployed").unwrap()["reason"], "GateOnly");
    assert_eq!(cluster["status"]["regions"][0]["gate"]["open"], true);

    // What was allowed can be taken back: the gate shuts, and what was learnt of the key is gone.
    estate.allow(json!({ "from": "Same" })).await;
    refused(&estate.wait("Stalled", "True", "KeyNotAllowed").await, &key);
    scene.ready("EncryptedCluster", "own").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_elsewhere_needs_credentials_of_its_own() {
    let estate = Estate::new("all", json!({}), json!({ "from": "All" })).await;
    let scene = &estate.scene;
    let mut deployment = json!({ "name": "db", "tier": "serverless", "keyspace": "ks" });
    scene.apply(&estate.cluster(Some(deployment.clone()))).await.unwrap();
    let cluster = estate.wait("Stalled", "True", "SecretMissing").await;
    let message = find(&cluster, "CredentialsValid").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("credentialsSecretRef"), "{message}");
    assert!(message.contains("To do: create the Secret"), "{message}");
    assert_eq!(estate.databases().await, json!([]), "the key's token is never used to deploy for another namespace");

    // It is named, but not there yet; then it is.
    deployment["credentialsSecretRef"] = json!({ "name": "own" });
    scene.apply(&estate.cluster(Some(deployment))).await.unwrap();
    estate.wait("Stalled", "True", "SecretMissing").await;
    assert_eq!(estate.databases().await, json!([]));
    let mut secret = scene.secret();
    secret["metadata"] = json!({ "name": "own", "namespace": estate.apps });
    let own = "AstraCS:apps:token";
    let may = json!(["org-db-create", "org-db-view", "org-db-expand"]);
    scene.command(&json!({ "set_token": { "token": own, "org": ORGANIZATION, "permissions": may } })).await;
    secret["stringData"] = json!({ "token": own });
    scene.apply(&secret).await.unwrap();
    let cluster = estate.wait("Ready", "True", "*").await;
    let databases = estate.databases().await;
    assert_eq!(databases.as_array().unwrap().len(), 1);
    assert_eq!(databases[0]["id"], cluster["status"]["upstreamId"]);
    let key = scene.ready("CustomerKey", "key").await;
    assert_eq!(databases[0]["regions"][0]["encrypted_with"], key["status"]["regions"][0]["keyArn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_is_believed_as_it_stands_now() {
    let matching = |team: &str| json!({ "from": "Selector", "selector": { "matchLabels": { "team": team } } });
    let estate = Estate::new("selector", json!({ "team": "orders" }), matching("billing")).await;
    let scene = &estate.scene;
    let key = scene.get("CustomerKey", "key").await;
    scene.apply(&estate.cluster(None)).await.unwrap();
    refused(&estate.wait("Stalled", "True", "KeyNotAllowed").await, &key);

    estate.allow(matching("orders")).await;
    estate.wait("Ready", "True", "*").await;

    let expressions = json!({ "from": "Selector", "selector": {
        "matchExpressions": [{ "key": "team", "operator": "NotIn", "values": ["orders"] }],
    } });
    estate.allow(expressions).await;
    refused(&estate.wait("Stalled", "True", "KeyNotAllowed").await, &key);

    // The namespace may change as well as the selector.
    scene.create_namespace(&estate.apps, &json!({ "team": "shipping" })).await;
    estate.wait("Ready", "True", "*").await;
}
