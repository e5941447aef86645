//! A scene: simulated clouds, an operator process, and a namespace of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::controlplane::{self, ControlPlane};
use super::wait;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The operator's binary, built with the sandbox.
pub const OPERATOR: &str = env!("CARGO_BIN_EXE_cmk-operator");

/// The organization, token and account of the sandbox.
pub const ORGANIZATION: &str = "5a9db0c5-0000-4000-8000-000000000001";
pub const TOKEN: &str = "AstraCS:sandbox:token";
pub const ACCOUNT: &str = "111111111111";

pub struct Scene {
    pub namespace: String,
    pub client: Client,
    pub plane: &'static ControlPlane,
    pub aws: String,
    pub astra: String,
    pub atlas: String,
    pub singlestore: String,
    pub control: String,
    pub http: reqwest::Client,
    pub dir: tempfile::TempDir,
    /// More arguments for the operator, such as the crash switch.
    pub extra: Vec<String>,
    /// More environment for the operator. A usual argument gives way to its variable.
    pub env: Vec<(String, String)>,
    /// Whose rights the operator has: an administrator's, or those of a ServiceAccount.
    pub kubeconfig: PathBuf,
    pub watched: Vec<String>,
    operator: Option<Child>,
    starts: u32,
    _sandbox: Child,
}

impl Scene {
    /// Clouds and a namespace; no operator yet.
    pub async fn new(name: &str) -> Self {
        let plane = tokio::task::spawn_blocking(controlplane::shared).await.unwrap();
        Self::on(plane, name).await
    }

    /// The same on a control plane of its own.
    pub async fn on(plane: &'static ControlPlane, name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let client = plane.client().await;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{name}-{number}");
        let mut sandbox = Command::new(OPERATOR)
            .args(["sandbox", "--stop-with-stdin", "--deploy-time", "500ms"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let line = BufReader::new(sandbox.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| addresses[name].as_str().unwrap().to_owned();
        let scene = Self {
            watched: vec![namespace.clone()],
            namespace,
            client,
            plane,
            aws: address("aws"),
            astra: address("astra"),
            atlas: address("atlas"),
            singlestore: address("singlestore"),
            control: address("control"),
            http: reqwest::Client::new(),
            dir: tempfile::tempdir().unwrap(),
            extra: Vec::new(),
            env: Vec::new(),
            kubeconfig: plane.kubeconfig.clone(),
            operator: None,
            starts: 0,
            _sandbox: sandbox,
        };
        // Before there is anything to record.
        tokio::task::spawn_blocking(|| plane.recorder()).await.unwrap();
        scene.create_namespace(&scene.namespace.clone(), &json!({})).await;
        scene
    }

    /// Clouds, a namespace and a running operator.
    pub async fn started(name: &str) -> Self {
        let mut scene = Self::new(name).await;
        scene.start();
        scene
    }

    pub async fn create_namespace(&self, name: &str, labels: &Value) {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        self.apply(&object).await.unwrap();
    }

    /// The operator's log, of the latest start.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join(format!("operator-{}.log", self.starts))
    }

    /// Starts the operator with short waiting times.
    pub fn start(&mut self) {
        assert!(self.operator.is_none(), "the operator runs already");
        self.starts += 1;
        let log = File::create(self.log_file()).unwrap();
        self.operator = Some(self.spawn(&self.extra, log));
    }

    /// Another operator process beside the first one, and the file of its log. It dies when it is dropped.
    pub fn start_another(&self, name: &str, extra: &[&str]) -> (Child, PathBuf) {
        let file = self.dir.path().join(format!("{name}.log"));
        let extra: Vec<String> = extra.iter().map(|&text| text.to_owned()).collect();
        (self.spawn(&extra, File::create(&file).unwrap()), file)
    }

    fn spawn(&self, extra: &[String], log: File) -> Child {
        Command::new(OPERATOR)
            .arg("run")
            .args(self.arguments(extra))
            .args(extra)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("AWS_ENDPOINT_URL", &self.aws)
            .env("AWS_ACCESS_KEY_ID", "AKIASANDBOX")
            .env("AWS_SECRET_ACCESS_KEY", "sandbox")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// The arguments of every operator: short waiting times, but for what `extra` sets itself.
    fn arguments(&self, extra: &[String]) -> Vec<String> {
        let watched = self.watched.join(",");
        let usual = [
            ("--installation", "test"),
            ("--watch-namespaces", &watched),
            ("--lease-namespace", &self.namespace),
            ("--http-address", "127.0.0.1:0"),
            ("--astra-endpoint", &self.astra),
            ("--atlas-endpoint", &self.atlas),
            ("--singlestore-endpoint", &self.singlestore),
            ("--log-format", "json"),
            ("--log", "cmk_operator=debug"),
            ("--gate-spacing", "300ms"),
            ("--poll", "300ms"),
            ("--repair-holdoff", "2s"),
            ("--create-settle", "3s"),
            ("--deploy-settle", "4s"),
            ("--write-timeout", "2s"),
            ("--longest-backoff", "1s"),
            ("--secret-poll", "200ms"),
            // The same name at each start, so that a killed operator's lease is its successor's at once; the harness has
            // seen the end of the former before it starts the latter.
            ("--identity", &self.namespace),
            ("--lease-duration", "30s"),
            ("--lease-renew", "3s"),
            ("--lease-act", "20s"),
        ];
        let variable = |flag: &str| format!("CMK_{}", flag.trim_start_matches("--").replace('-', "_").to_uppercase());
        let set =
            |flag: &str| extra.iter().any(|own| own == flag) || self.env.iter().any(|(own, _)| *own == variable(flag));
        let usual = usual.into_iter().filter(|(flag, _)| !set(flag));
        usual.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
    }

    /// The operator's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where an operator with this log serves metrics and health.
    pub async fn address(&self, log: &Path) -> String {
        self.until("the address of metrics and health", || async {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["message"] == "metrics and health")
                .and_then(|line| Some(line["address"].as_str()?.to_owned()))
                .ok_or(text)
        })
        .await
    }

    /// What the operator answers to a GET of one of its own paths: the status and the body.
    pub async fn ask(&self, address: &str, path: &str) -> (u16, String) {
        let response = self.http.get(format!("http://{address}{path}")).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Waits until something is so; fails with the last answer and the end of the operator's log.
    pub async fn until<T, F, Fut>(&self, what: &str, ask: F) -> T
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, String>>,
    {
        wait(what, PATIENCE, ask).await.unwrap_or_else(|problem| panic!("{problem}\n{}", self.log_tail()))
    }

    /// The objects of a kind in a namespace.
    pub fn objects(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("cmk-operator.io", "v1alpha1", kind);
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk(&kind))
    }

    /// An object of any namespace as JSON; null if there is none.
    pub async fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Value {
        self.objects(namespace, kind).get_opt(name).await.unwrap().map_or(Value::Null, |object| json!(object))
    }

    /// Waits until a condition of an object in some namespace has a status and a reason (`*`: any) at its generation.
    pub async fn wait_in(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        self.until(&format!("{kind} {namespace}/{name} {condition}={status} {reason}"), || async {
            let object = self.get_in(namespace, kind, name).await;
            let current = object["metadata"]["generation"] == object["status"]["observedGeneration"];
            match find(&object, condition) {
                Some(c) if c["status"] == status && (reason == "*" || c["reason"] == reason) && current => Ok(object),
                _ => Err(object["status"].to_string()),
            }
        })
        .await
    }

    /// An Astra organization with one region, a Secret with its token, and a `CustomerKey` for it, which is not applied yet:
    /// there is one registration for each organization and region, so keys that live side by side need their own.
    pub async fn tenant(&self, name: &str, number: u32, region: &str) -> Value {
        let accounts = json!(["900000000000"]);
        self.command(&json!({ "add_org": {
            "org": organization(number), "token": tenant_token(name),
            "regions": { region: { "classic_accounts": accounts, "serverless_accounts": accounts, "locked": false } },
        } }))
        .await;
        let mut secret = self.secret();
        secret["metadata"]["name"] = json!(name);
        secret["stringData"]["token"] = json!(tenant_token(name));
        self.apply(&secret).await.unwrap();
        let mut key = self.key(&[region]);
        key["metadata"]["name"] = json!(name);
        key["spec"]["upstream"]["astra"]["organizationId"] = json!(organization(number));
        key["spec"]["upstream"]["astra"]["credentialsSecretRef"]["name"] = json!(name);
        key
    }

    /// A cluster that says only when it is safe to deploy.
    pub fn gate(&self, name: &str, key: &str, region: &str) -> Value {
        json!({
            "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": { "customerKeyRef": { "name": key }, "regions": [{ "name": region }] },
        })
    }

    /// The number of the latest call that reached the clouds.
    pub async fn mark(&self) -> u64 {
        self.calls().await.last().map_or(0, |call| call["seq"].as_u64().unwrap())
    }

    /// The calls that reached the clouds after a mark.
    pub async fn calls_since(&self, mark: u64) -> Vec<Value> {
        self.control_get(&format!("/log?after={mark}")).await.as_array().unwrap().clone()
    }

    /// The events about the objects of a namespace, oldest first.
    pub async fn events(&self, namespace: &str) -> Vec<Value> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let mut events: Vec<Value> =
            api.list(&ListParams::default()).await.unwrap().into_iter().map(|e| json!(e)).collect();
        events.sort_by_key(|event| event["eventTime"].to_string());
        events
    }

    /// Stops the operator in order and yields its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let mut child = self.operator.take().expect("the operator runs");
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it stops").unwrap();
        status.code()
    }

    /// Waits until the operator died by SIGKILL; fails if it ends in another way or not at all.
    pub async fn died(&mut self) -> Result<(), String> {
        use std::os::unix::process::ExitStatusExt;
        let mut child = self.operator.take().expect("the operator runs");
        let status = tokio::time::timeout(PATIENCE, child.wait())
            .await
            .map_err(|_| "the crash switch was never reached".to_owned())?
            .unwrap();
        match status.signal() {
            Some(9) => Ok(()),
            _ => Err(format!("the operator ended with {status:?} instead of SIGKILL")),
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.operator.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn keys(&self) -> Api<CustomerKey> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn clusters(&self) -> Api<EncryptedCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an object by server-side apply, as a GitOps tool does.
    pub async fn apply(&self, object: &Value) -> Result<DynamicObject, kube::Error> {
        let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object["apiVersion"].as_str().unwrap()),
        };
        let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        let resource = ApiResource::from_gvk(&kind);
        let name = object["metadata"]["name"].as_str().unwrap();
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        api.patch(name, &PatchParams::apply("gitops"), &Patch::Apply(object)).await
    }

    pub fn secret(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "astra", "namespace": self.namespace },
            "stringData": { "token": TOKEN },
        })
    }

    pub fn key(&self, regions: &[&str]) -> Value {
        json!({
            "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
            "metadata": { "name": "key", "namespace": self.namespace },
            "spec": {
                "regions": regions.iter().map(|r| json!({ "name": r })).collect::<Vec<_>>(),
                "key": { "description": "for tests", "rotation": { "periodDays": 365 }, "tags": { "team": "tests" } },
                "aws": { "accountId": ACCOUNT },
                "upstream": { "astra": {
                    "organizationId": ORGANIZATION, "databaseType": "Serverless", "credentialsSecretRef": { "name": "astra" },
                } },
            },
        })
    }

    pub fn cluster(&self, regions: &[&str]) -> Value {
        json!({
            "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
            "metadata": { "name": "db", "namespace": self.namespace },
            "spec": {
                "customerKeyRef": { "name": "key" },
                "regions": regions.iter().map(|r| json!({ "name": r })).collect::<Vec<_>>(),
                "primaryRegion": regions[0],
                "deployment": { "astra": { "name": "db", "tier": "serverless", "keyspace": "ks" } },
            },
        })
    }

    /// Applies Secret, key and cluster over these regions.
    pub async fn apply_all(&self, regions: &[&str]) {
        for object in [self.secret(), self.key(regions), self.cluster(regions)] {
            self.apply(&object).await.unwrap();
        }
    }

    /// The object as JSON.
    pub async fn get(&self, kind: &str, name: &str) -> Value {
        match kind {
            "CustomerKey" => self.keys().get_opt(name).await.unwrap().map_or(Value::Null, |o| json!(o)),
            _ => self.clusters().get_opt(name).await.unwrap().map_or(Value::Null, |o| json!(o)),
        }
    }

    /// Waits until a condition of an object has a status and a reason (`*`: any).
    pub async fn wait_for(&self, kind: &str, name: &str, condition: &str, status: &str, reason: &str) -> Value {
        let what = format!("{kind}/{name} {condition}={status} {reason}");
        let answer = wait(&what, PATIENCE, || async {
            let object = self.get(kind, name).await;
            let current = object["metadata"]["generation"] == object["status"]["observedGeneration"];
            match find(&object, condition) {
                Some(c) if c["status"] == status && (reason == "*" || c["reason"] == reason) && current => Ok(object),
                _ => Err(format!("{}", object["status"])),
            }
        })
        .await;
        match answer {
            Ok(object) => object,
            Err(problem) => panic!("{problem}\n{}", self.log_tail()),
        }
    }

    /// The end of the operator's log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        format!("operator's log, the end:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    pub async fn ready(&self, kind: &str, name: &str) -> Value {
        self.wait_for(kind, name, "Ready", "True", "*").await
    }

    pub async fn all_ready(&self) -> (Value, Value) {
        (self.ready("CustomerKey", "key").await, self.ready("EncryptedCluster", "db").await)
    }

    pub async fn control_get(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.control)).send().await.unwrap().json().await.unwrap()
    }

    pub async fn control_post(&self, path: &str, body: &Value) -> Value {
        let response = self.http.post(format!("{}{path}", self.control)).json(body).send().await.unwrap();
        let ok = response.status().is_success();
        let answer: Value = response.json().await.unwrap();
        assert!(ok, "{path} {body}: {answer}");
        answer
    }

    /// What an administrator, the vendor or fate does to the clouds.
    pub async fn command(&self, command: &Value) {
        self.control_post("/world", command).await;
    }

    /// Adds a fault.
    pub async fn fault(&self, matches: &Value, fault: &Value) {
        self.control_post("/faults", &json!({ "match": matches, "fault": fault })).await;
    }

    /// How often each fault fired.
    pub async fn fired(&self) -> Vec<u64> {
        self.control_get("/faults").await.as_array().unwrap().iter().map(|f| f["fired"].as_u64().unwrap()).collect()
    }

    pub async fn clear_faults(&self) {
        self.http.delete(format!("{}/faults", self.control)).send().await.unwrap();
    }

    /// The calls that reached the clouds.
    pub async fn calls(&self) -> Vec<Value> {
        self.control_get("/log").await.as_array().unwrap().clone()
    }

    /// Everything that the clouds know.
    pub async fn state(&self) -> Value {
        self.control_get("/state").await
    }

    pub async fn object(&self, name: &str) -> String {
        self.keys().get_opt(name).await.unwrap().map(|o| o.name_any()).unwrap_or_default()
    }
}

/// At the end of every scene: kstatus saw each version of each object as it should.
impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // there is a better reason already
        }
        let seen = self.plane.recorder().settled(&self.watched).unwrap();
        let wrong: Vec<&String> = seen.values().flat_map(|seen| &seen.wrong).collect();
        let count = wrong.len();
        assert!(count == 0, "kstatus saw {count} versions otherwise than it should, of which the first: {}", wrong[0]);
    }
}

/// A condition of an object.
pub fn find<'v>(object: &'v Value, condition: &str) -> Option<&'v Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == condition)
}

/// The id of a tenant's organization.
pub fn organization(number: u32) -> String {
    format!("5a9db0c5-0000-4000-8000-1{number:011}")
}

/// The token of a tenant.
pub fn tenant_token(name: &str) -> String {
    format!("AstraCS:{name}:sesame")
}
