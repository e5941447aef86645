//! The rights that the chart gives are the ones that the operator needs: with all of them nothing is refused, and without
//! any single one something visibly fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::controlplane::ControlPlane;
use crate::support::helm::{CHART, REQUIRED, environment, helm, of_kind, template};
use crate::support::scene::{Scene, find};
use crate::support::wait;

const REGION: &str = "us-east-1";

/// How long a step may take with the rights complete.
const COMPLETE: Duration = Duration::from_secs(90);

/// How long until a missing right has to be seen.
const CRIPPLED: Duration = Duration::from_secs(30);

/// How many crippled operators run at once.
const AT_ONCE: usize = 4;

/// A ServiceAccount, by a token of its own.
pub struct Account {
    namespace: String,
    name: String,
    kubeconfig: PathBuf,
    client: kube::Client,
}

impl Account {
    /// Asks the API server for a token and writes a kubeconfig that holds nothing else.
    pub async fn new(scene: &Scene, namespace: &str, name: &str) -> Self {
        let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let token = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
        let text = std::fs::read_to_string(&scene.plane.kubeconfig).unwrap();
        let mut config: Value = serde_saphyr::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({ "token": token.status.unwrap().token });
        let kubeconfig = scene.dir.path().join(format!("{namespace}-{name}.kubeconfig"));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { namespace: namespace.to_owned(), name: name.to_owned(), kubeconfig, client: scene.client.clone() }
    }

    /// What the server's authorizer says.
    pub async fn may(&self, namespace: &str, verb: &str, resource: &str) -> bool {
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some(verb.to_owned()),
            resource: Some(resource.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{}:{}", self.namespace, self.name)),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    }

    /// Runs the operator as the Deployment says, with this account's token.
    pub async fn run_as_deployed(&self, scene: &mut Scene, deployment: &str) {
        let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), &self.namespace);
        let deployment = json!(deployments.get(deployment).await.unwrap());
        assert_eq!(deployment["spec"]["template"]["spec"]["serviceAccountName"], self.name);
        self.run(scene, &deployment);
    }

    fn run(&self, scene: &mut Scene, deployment: &Value) {
        let mut env = environment(deployment);
        // A free port of loopback instead.
        env.remove("CMK_HTTP_ADDRESS").unwrap();
        scene.env = env.into_iter().collect();
        // Somebody who installs the chart as it is has to see what is refused.
        scene.env.push(("CMK_LOG".to_owned(), String::new()));
        scene.kubeconfig.clone_from(&self.kubeconfig);
        scene.start();
    }
}

/// What the operators of a scene logged of refusals by the API server.
fn refusals(scene: &Scene) -> Vec<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(scene.dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "log"));
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let refused = |line: &&str| line.contains("is forbidden");
    text.lines().filter(refused).map(str::to_owned).collect()
}

/// Nothing was refused to the operators of a scene.
pub fn no_refusal(scene: &Scene) {
    assert!(scene.log().contains("\"leading\""), "{}", scene.log());
    assert_eq!(refusals(scene), Vec::<String>::new());
}

/// Everything that an operator ever asks of the API server: a key and a cluster are made, their gate opens, a tag that was
/// taken away is put back, one event repeats, both objects go, the key not before nothing uses it. How far it got, if not to the end.
async fn life(scene: &Scene, database: &str, patience: Duration) -> Result<(), String> {
    let mut key = scene.key(&[REGION]);
    // A selector, and the namespace's labels have to be read.
    let labels = json!({ "kubernetes.io/metadata.name": scene.namespace });
    key["spec"]["allowedNamespaces"] = json!({ "from": "Selector", "selector": { "matchLabels": labels } });
    let mut cluster = scene.cluster(&[REGION]);
    cluster["spec"]["deployment"]["astra"]["name"] = json!(database);
    for object in [scene.secret(), key, cluster] {
        scene.apply(&object).await.unwrap();
    }
    let key = condition(scene, patience, "CustomerKey", "key", ("Ready", "True")).await?;
    condition(scene, patience, "EncryptedCluster", "db", ("Ready", "True")).await?;

    let arn = key["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
    let tags = scene.state().await["keys"][&arn]["tags"].clone();
    let mut fewer = tags.clone();
    assert!(fewer.as_object_mut().unwrap().remove("team").is_some(), "{tags}");
    scene.command(&json!({ "set_tags": { "arn": arn, "tags": fewer } })).await;
    touch(scene, "drift").await;
    wait("the tag to be put back", patience, || async {
        let now = scene.state().await["keys"][&arn]["tags"].clone();
        if now == tags { Ok(()) } else { Err(now.to_string()) }
    })
    .await?;

    for round in 0..2 {
        scene.command(&json!({ "disable_key": { "arn": arn } })).await;
        touch(scene, &format!("disabled {round}")).await;
        condition(scene, patience, "CustomerKey", "key", ("Stalled", "True")).await?;
        scene.command(&json!({ "enable_key": { "arn": arn } })).await;
        touch(scene, &format!("enabled {round}")).await;
        condition(scene, patience, "CustomerKey", "key", ("Ready", "True")).await?;
    }
    wait("an event to be counted", patience, || async {
        let events = scene.events(&scene.namespace).await;
        let counted = events.iter().any(|event| event["series"]["count"].as_i64() >= Some(2));
        if counted { Ok(()) } else { Err(json!(events).to_string()) }
    })
    .await?;

    scene.clusters().delete("db", &DeleteParams::default()).await.unwrap();
    gone(scene, patience, "EncryptedCluster", "db").await?;
    // Whether it is still used is found out; then it may go, and everything stays.
    policy(scene, "ScheduleDeletion").await;
    scene.keys().delete("key", &DeleteParams::default()).await.unwrap();
    wait("the deletion to be blocked", patience, || async {
        let object = scene.get("CustomerKey", "key").await;
        let stalled = find(&object, "Stalled").is_some_and(|c| c["reason"] == "DeletionBlocked");
        if stalled { Ok(()) } else { Err(object["status"].to_string()) }
    })
    .await?;
    policy(scene, "Retain").await;
    gone(scene, patience, "CustomerKey", "key").await
}

async fn policy(scene: &Scene, deletion: &str) {
    let patch = json!({ "spec": { "deletionPolicy": deletion } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn touch(scene: &Scene, request: &str) {
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn condition(
    scene: &Scene,
    patience: Duration,
    kind: &str,
    name: &str,
    (condition, status): (&str, &str),
) -> Result<Value, String> {
    wait(&format!("{kind} {condition}={status}"), patience, || async {
        let object = scene.get(kind, name).await;
        match find(&object, condition) {
            Some(found) if found["status"] == status => Ok(object),
            _ => Err(object["status"].to_string()),
        }
    })
    .await
}

async fn gone(scene: &Scene, patience: Duration, kind: &str, name: &str) -> Result<(), String> {
    wait(&format!("{kind} to be gone"), patience, || async {
        let object = scene.get(kind, name).await;
        if object.is_null() { Ok(()) } else { Err(object["metadata"].to_string()) }
    })
    .await
}

/// As installed, in every namespace and in listed ones, the operator does all that it has to do and nothing is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rights_suffice_in_both_modes() {
    let plane = tokio::task::spawn_blocking(ControlPlane::start).await.unwrap();
    let plane: &'static ControlPlane = Box::leak(Box::new(plane));
    let mut scene = Scene::on(plane, "rights").await;
    let other = format!("{}-other", scene.namespace);
    scene.create_namespace(&other, &json!({})).await;
    let listed = format!("--set=watchNamespaces={{{},{other}}}", scene.namespace);
    let install = ["install", "keys", CHART, "--namespace=cmk-system", "--create-namespace", REQUIRED[0], REQUIRED[1]];
    let upgrade = ["upgrade", "keys", CHART, "--namespace=cmk-system", REQUIRED[0], REQUIRED[1], &listed];

    for (args, everywhere) in [(&install[..], true), (&upgrade[..], false)] {
        helm(Some(plane), args);
        plane.recorder().watching();
        let account = Account::new(&scene, "cmk-system", "keys-cmk-operator").await;
        // The authorizer is on, and asks the roles that the chart made.
        assert!(account.may(&scene.namespace, "get", "secrets").await);
        assert_eq!(account.may("default", "get", "secrets").await, everywhere);
        assert!(!account.may(&scene.namespace, "list", "secrets").await);
        assert!(!account.may(&scene.namespace, "delete", "secrets").await);
        account.run_as_deployed(&mut scene, "keys-cmk-operator").await;
        let watched = scene.env.iter().find(|(name, _)| name == "CMK_WATCH_NAMESPACES");
        assert_eq!(watched.is_none(), everywhere, "{watched:?}");
        // It watches what the chart says and not what scenes usually do.
        scene.watched = vec![scene.namespace.clone()];
        // The database of the first life stays, so the second one needs a name of its own.
        let database = if everywhere { "first" } else { "second" };
        life(&scene, database, COMPLETE).await.unwrap_or_else(|error| panic!("{error}\n{}", scene.log_tail()));
        assert_eq!(scene.stop().await, Some(0));
        no_refusal(&scene);
    }
}

/// One verb on one thing.
#[derive(Clone, Debug, PartialEq)]
struct Right {
    /// The role that gives it: kind and name.
    role: (String, String),
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl Right {
    fn rule(&self) -> Value {
        let names = self.name.iter().collect::<Vec<_>>();
        let mut rule = json!({ "apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb] });
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    }
}

/// Every single right that the chart's roles give.
fn rights(objects: &[Value]) -> Vec<Right> {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|entry| entry.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = Vec::new();
    for role in of_kind(objects, "ClusterRole").into_iter().chain(of_kind(objects, "Role")) {
        let of = (role["kind"].as_str().unwrap().to_owned(), role["metadata"]["name"].as_str().unwrap().to_owned());
        for rule in role["rules"].as_array().unwrap() {
            let names = list(&rule["resourceNames"]);
            let names: Vec<Option<String>> =
                if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    for name in &names {
                        for verb in list(&rule["verbs"]) {
                            rights.push(Right {
                                role: of.clone(),
                                group: group.clone(),
                                resource: resource.clone(),
                                name: name.clone(),
                                verb,
                            });
                        }
                    }
                }
            }
        }
    }
    rights
}

/// A scene whose operator has all rights of the chart but the given one, which is the one of that number. How that showed.
async fn without(listed: bool, number: usize) -> Result<(Right, String), String> {
    let mut scene = Scene::new("crippled").await;
    let system = format!("{}-system", scene.namespace);
    scene.create_namespace(&system, &json!({})).await;
    let release = format!("r-{}", scene.namespace);
    let objects = render(&release, &system, listed.then_some(&scene.namespace));
    let all = rights(&objects);
    let missing = all[number].clone();
    for mut object in objects.iter().cloned() {
        let kind = object["kind"].as_str().unwrap().to_owned();
        if kind == "Role" || kind == "ClusterRole" {
            let own = (kind.clone(), object["metadata"]["name"].as_str().unwrap().to_owned());
            let kept = all.iter().enumerate().filter(|(n, right)| *n != number && right.role == own);
            object["rules"] = kept.map(|(_, right)| right.rule()).collect();
        }
        if ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"].contains(&kind.as_str()) {
            scene.apply(&object).await.unwrap();
        }
    }
    let deployment = of_kind(&objects, "Deployment")[0].clone();
    let account =
        Account::new(&scene, &system, deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap());
    account.await.run(&mut scene, &deployment);
    let refused = async {
        loop {
            if let Some(line) = told(&scene).await {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        line = refused => Ok((missing, line)),
        end = life(&scene, "db", CRIPPLED) => {
            // What the end of the life brought about may still be on its way to the log.
            let _ = scene.stop().await;
            match (end, told(&scene).await) {
                (_, Some(line)) => Ok((missing, line)),
                (Err(stuck), None) => Err(format!("{missing:?}: stuck, and nobody was told of a refusal: {stuck}")),
                (Ok(()), None) => Err(format!("{missing:?}: nobody missed it")),
            }
        }
    }
}

/// The first refusal that somebody is told of: in the log, or in a condition.
async fn told(scene: &Scene) -> Option<String> {
    if let Some(line) = refusals(scene).into_iter().next() {
        return Some(line);
    }
    let objects = [scene.get("CustomerKey", "key").await, scene.get("EncryptedCluster", "db").await];
    let conditions = objects.iter().filter_map(|object| object["status"]["conditions"].as_array()).flatten();
    let messages = conditions.map(|condition| condition["message"].to_string());
    messages.into_iter().find(|message| message.contains("is forbidden"))
}

fn render(release: &str, namespace: &str, listed: Option<&String>) -> Vec<Value> {
    let watched = listed.map(|namespace| format!("--set=watchNamespaces={{{namespace}}}"));
    let mut args = vec![REQUIRED[0], REQUIRED[1], "--set=crds.install=false"];
    args.extend(watched.as_deref());
    template(release, namespace, &args)
}

/// The operator without each of these rights, some at a time.
async fn each_is_missed(which: Vec<(bool, usize)>) {
    let count = which.len();
    let results: Vec<_> = futures::stream::iter(which)
        .map(|(listed, number)| async move { tokio::spawn(without(listed, number)).await.unwrap() })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut seen = BTreeMap::new();
    let mut unseen = Vec::new();
    for result in results {
        match result {
            Ok((right, line)) => {
                let Right { group, resource, verb, .. } = &right;
                // The refusal is the one of this right; quotation marks may be escaped twice.
                let said = format!("cannot {verb} resource \"{resource}\"");
                if !line.replace('\\', "").contains(&said) {
                    unseen.push(format!("{right:?}: {said} is not what was refused: {line}"));
                }
                seen.insert(format!("{} {verb} {group}/{resource} {:?}", right.role.1, right.name), line);
            }
            Err(problem) => unseen.push(problem),
        }
    }
    for (right, line) in &seen {
        println!("without {right}: {line}");
    }
    assert!(unseen.is_empty(), "{} of {count}:\n{}", unseen.len(), unseen.join("\n"));
    println!("{count} rights, each missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_right_is_missed_when_it_is_gone() {
    let count = |listed: bool| rights(&render("count", "count", listed.then_some(&"count".to_owned()))).len();
    let all = [false, true].into_iter().flat_map(|listed| (0..count(listed)).map(move |number| (listed, number)));
    each_is_missed(all.collect()).await;
}
