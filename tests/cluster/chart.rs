//! The chart: what it renders, what it refuses, and what becomes of it on a real API server. That its rights are the ones
//! that the operator needs is in `rights.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::rights::{Account, no_refusal};
use crate::support::controlplane::ControlPlane;
use crate::support::helm::{self, CHART, REQUIRED, environment, helm, of_kind, template, try_helm};
use crate::support::scene::{OPERATOR, Scene, find};

const REGION: &str = "us-east-1";

/// A file of values.
fn values(name: &str) -> String {
    format!("--values={}/tests/cluster/chart/{name}.yaml", env!("CARGO_MANIFEST_DIR"))
}

/// Everything that the chart renders, by kind.
fn kinds(objects: &[Value]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for object in objects {
        *kinds.entry(object["kind"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    kinds
}

#[test]
fn helm_lint_has_nothing_to_say() {
    for args in
        [vec![REQUIRED[0].to_owned(), REQUIRED[1].to_owned()], vec![values("everything")], vec![values("least")]]
    {
        let mut all = vec!["lint", "--strict", CHART];
        all.extend(args.iter().map(String::as_str));
        let said = helm(None, &all);
        assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
    }
}

#[test]
fn each_set_of_values_renders_what_it_asks_for() {
    let count = |list: &[(&str, usize)]| -> BTreeMap<String, usize> {
        list.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    };
    let usual = template("cmk-operator", "cmk-system", &REQUIRED);
    let expected = [
        ("ClusterRole", 1),
        ("ClusterRoleBinding", 1),
        ("CustomResourceDefinition", 2),
        ("Deployment", 1),
        ("PodDisruptionBudget", 1),
        ("Role", 1),
        ("RoleBinding", 1),
        ("Service", 1),
        ("ServiceAccount", 1),
    ];
    assert_eq!(kinds(&usual), count(&expected));

    let everything = template("cmk-operator", "cmk-system", &[&values("everything")]);
    let expected = [
        ("ClusterRole", 1),
        ("ClusterRoleBinding", 1),
        ("CustomResourceDefinition", 2),
        ("Deployment", 1),
        ("NetworkPolicy", 1),
        ("PodDisruptionBudget", 1),
        ("Role", 3),
        ("RoleBinding", 3),
        ("Service", 1),
        ("ServiceAccount", 1),
        ("ServiceMonitor", 1),
    ];
    assert_eq!(kinds(&everything), count(&expected));
    let deployment = of_kind(&everything, "Deployment")[0];
    let pod = &deployment["spec"]["template"];
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], format!("registry.example.com/cmk-operator@{digest}"));
    assert_eq!(container["ports"][0]["containerPort"], 9090);
    assert_eq!(container["envFrom"][0]["secretRef"]["name"], "aws");
    assert_eq!(pod["spec"]["serviceAccountName"], "keys");
    assert_eq!(pod["metadata"]["labels"]["team"], "platform");
    for (field, expected) in [
        ("priorityClassName", json!("system-cluster-critical")),
        ("terminationGracePeriodSeconds", json!(90)),
        ("nodeSelector", json!({ "kubernetes.io/os": "linux" })),
        ("tolerations", json!([{ "operator": "Exists" }])),
    ] {
        assert_eq!(pod["spec"][field], expected);
    }
    assert!(pod["spec"]["affinity"]["nodeAffinity"].is_object());
    assert_eq!(pod["spec"]["topologySpreadConstraints"][0]["maxSkew"], 1);

    let least = template("cmk-operator", "cmk-system", &[&values("least")]);
    assert_eq!(kinds(&least), count(&[("Deployment", 1)]));
    assert_eq!(least[0]["spec"]["strategy"]["type"], "Recreate", "without a Lease only this keeps two from acting");
}

#[test]
fn the_pod_has_no_rights_on_its_node() {
    for args in [REQUIRED.map(str::to_owned).to_vec(), vec![values("everything")], vec![values("least")]] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let objects = template("cmk-operator", "cmk-system", &args);
        let spec = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
        assert_eq!(
            spec["securityContext"],
            json!({
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" },
            })
        );
        let container = &spec["containers"][0];
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
            })
        );
        assert_eq!(container["livenessProbe"]["httpGet"], json!({ "path": "/healthz", "port": "http" }));
        assert_eq!(container["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": "http" }));
        assert!(container["resources"]["requests"]["memory"].is_string());
        for shared in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
            assert!(spec[shared].is_null(), "{shared}");
        }
    }
}

/// The variables that the operator's help names for the flags of `run`; hidden flags are for tests.
fn variables_of_run() -> BTreeSet<String> {
    let output = Command::new(OPERATOR).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let found = help.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap().to_owned());
    found.filter(|name| name.starts_with("CMK_")).collect()
}

#[test]
fn every_flag_of_run_is_reached_by_a_value() {
    let objects = template("cmk-operator", "cmk-system", &[&values("everything")]);
    let environment = environment(of_kind(&objects, "Deployment")[0]);
    let set: BTreeSet<String> = environment.keys().filter(|name| name.starts_with("CMK_")).cloned().collect();
    let known = variables_of_run();
    assert!(known.len() > 10, "{known:?}");
    assert_eq!(set, known, "tests/cluster/chart/everything.yaml sets what `run` reads (left: set, right: read)");

    // The operator itself takes what the chart gives: it ends at the address, which is not free, and at no flag.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new(OPERATOR)
        .arg("run")
        .env_clear()
        .envs(environment)
        .env("CMK_HTTP_ADDRESS", taken.local_addr().unwrap().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Address already in use"), "{said}");
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["missing property 'installation'", "at '/image'", "missing property 'repository'"]),
        (&["--set=installation=Production", REQUIRED[1]], &["/installation"]),
        (&[REQUIRED[0], "--set=image.repository="], &["/image/repository"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=replica=2"], &["additional properties 'replica' not allowed"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=config.resinc=1h"], &["/config", "'resinc' not allowed"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=config.resync=often"], &["/config/resync"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=config.logFormat=xml"], &["/config/logFormat"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=config.quotaShare=1.5"], &["/config/quotaShare"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=config.concurrency=0"], &["/config/concurrency"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=config.astraEndpoint=astra"], &["/config/astraEndpoint"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=watchNamespaces=payments"], &["/watchNamespaces"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=watchNamespaces={Payments}"], &["/watchNamespaces/0"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=image.digest=latest"], &["/image/digest"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=replicas=2", "--set=config.leaderElection=false"], &["/replicas"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=serviceAccount.create=false"], &["/serviceAccount/name"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=terminationGracePeriodSeconds=30"], &["/terminationGracePeriodSeconds"]),
        (&[REQUIRED[0], REQUIRED[1], "--set=port=80"], &["/port"]),
        (
            &[REQUIRED[0], REQUIRED[1], "--set=metrics.serviceMonitor.enabled=true,metrics.service.enabled=false"],
            &["/metrics/service/enabled"],
        ),
        (&[REQUIRED[0], REQUIRED[1], "--set=serviceAccount.annotations.a=1"], &["/serviceAccount/annotations/a"]),
    ];
    for (args, says) in cases {
        let mut all = vec!["template", "cmk-operator", CHART];
        all.extend(*args);
        let (ok, said) = try_helm(None, &all);
        assert!(!ok, "{args:?} is let through");
        for words in *says {
            assert!(said.contains(words), "{args:?}: {words:?} is not in: {said}");
        }
    }
}

#[test]
fn every_object_of_the_values_is_closed() {
    fn visit(path: &str, schema: &Value, open: &mut Vec<String>) {
        let Some(properties) = schema["properties"].as_object() else { return };
        if schema["additionalProperties"] != false {
            open.push(path.to_owned());
        }
        for (name, property) in properties {
            visit(&format!("{path}/{name}"), property, open);
        }
    }
    let schema = std::fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap();
    let mut open = Vec::new();
    visit("", &serde_json::from_str(&schema).unwrap(), &mut open);
    assert_eq!(open, Vec::<String>::new(), "a misspelt value would be ignored here");
}

#[test]
fn the_charts_crds_are_the_generated_ones_and_are_kept() {
    let folder = format!("{CHART}/files/crds");
    let generated = cmk_operator::api::crd_files().unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), generated.len(), "{folder} holds a file too many");
    for (name, yaml) in &generated {
        let copy = std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
        assert!(copy == *yaml, "{folder}/{name} is stale; run: make crds");
    }
    let objects = template("cmk-operator", "cmk-system", &REQUIRED);
    let rendered: BTreeMap<&str, &Value> = of_kind(&objects, "CustomResourceDefinition")
        .into_iter()
        .map(|crd| (crd["metadata"]["name"].as_str().unwrap(), crd))
        .collect();
    for (_, yaml) in &generated {
        let mut expected: Value = serde_saphyr::from_str(yaml).unwrap();
        expected["metadata"]["annotations"]["helm.sh/resource-policy"] = json!("keep");
        assert_eq!(*rendered[expected["metadata"]["name"].as_str().unwrap()], expected);
    }
}

#[test]
fn the_charts_version_is_the_operators() {
    let chart = std::fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&chart).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// A copy of the chart whose CRDs say that their schema is older.
fn older_chart() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").args(["-r", CHART, dir.path().to_str().unwrap()]).status().unwrap();
    assert!(copied.success());
    let crds = dir.path().join("cmk-operator/files/crds");
    for file in std::fs::read_dir(crds).unwrap() {
        let file = file.unwrap().path();
        let yaml = std::fs::read_to_string(&file).unwrap();
        let (now, older) = (r#"schema-version: "1""#, r#"schema-version: "0""#);
        assert!(yaml.contains(now), "{}", file.display());
        std::fs::write(&file, yaml.replace(now, older)).unwrap();
    }
    dir
}

/// The whole life of a release in a cluster of its own, which has nothing before: too old, upgraded, at work in every
/// namespace, uninstalled, installed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_upgraded_used_uninstalled_and_installed_again() {
    let plane = tokio::task::spawn_blocking(ControlPlane::start).await.unwrap();
    let plane: &'static ControlPlane = Box::leak(Box::new(plane));
    let mut scene = Scene::on(plane, "released").await;
    let older = older_chart();
    let older = older.path().join("cmk-operator");
    let release = ["cmk-operator", "--namespace=cmk-system"];
    let install = |chart: &str| {
        let args = ["install", release[0], chart, release[1], "--create-namespace", REQUIRED[0], REQUIRED[1]];
        helm(Some(plane), &args)
    };
    let notes = install(older.to_str().unwrap());
    for words in ["installation \"test\"", "kubectl -n cmk-system rollout status deployment/cmk-operator", "finalizer"]
    {
        assert!(notes.contains(words), "{words:?} is not in the notes: {notes}");
    }

    // The operator is newer than the CRDs: it says so and does nothing, until the upgrade, which brings them.
    plane.recorder().watching();
    let account = Account::new(&scene, "cmk-system", "cmk-operator").await;
    account.run_as_deployed(&mut scene, "cmk-operator").await;
    let address = scene.address(&scene.log_file()).await;
    scene
        .until("the old CRDs are named", || async {
            match scene.ask(&address, "/readyz").await {
                (503, body) if body.contains("older than 1") => Ok(()),
                (code, body) => Err(format!("{code}: {body}")),
            }
        })
        .await;
    scene.apply_all(&[REGION]).await;
    helm(Some(plane), &["upgrade", release[0], CHART, release[1], REQUIRED[0], REQUIRED[1]]);
    let (key, _) = scene.all_ready().await;
    assert_eq!(scene.ask(&address, "/readyz").await.0, 200);

    // An upgrade to other values: these namespaces alone. The rights in all others are gone with it.
    assert_eq!(scene.stop().await, Some(0));
    let watched = format!("--set=watchNamespaces={{{}}}", scene.namespace);
    helm(Some(plane), &["upgrade", release[0], CHART, release[1], REQUIRED[0], REQUIRED[1], &watched]);
    assert!(account.may(&scene.namespace, "get", "secrets").await);
    assert!(!account.may("default", "get", "secrets").await);
    account.run_as_deployed(&mut scene, "cmk-operator").await;
    scene.apply(&scene.gate("later", "key", REGION)).await.unwrap();
    scene.ready("EncryptedCluster", "later").await;
    no_refusal(&scene);

    // What Helm puts into the cluster goes, but for the CRDs; and so the objects stay, and keys and databases with them.
    assert_eq!(scene.stop().await, Some(0));
    let before = scene.state().await;
    let said = helm(Some(plane), &["uninstall", release[0], release[1]]);
    assert!(said.contains("customerkeys.cmk-operator.io"), "what is kept is named: {said}");
    let left = plane.kubectl(&[
        "get",
        "deployment,service,serviceaccount,role,rolebinding,poddisruptionbudget,clusterrole,clusterrolebinding",
        "-A",
        "-l=app.kubernetes.io/instance=cmk-operator",
        "-o=name",
    ]);
    assert_eq!(left.trim(), "");
    assert!(!account.may(&scene.namespace, "get", "secrets").await);
    assert_eq!(scene.get("CustomerKey", "key").await["metadata"]["uid"], key["metadata"]["uid"]);

    // Installed again it takes the CRDs back, and finds what there is.
    install(CHART);
    let account = Account::new(&scene, "cmk-system", "cmk-operator").await;
    account.run_as_deployed(&mut scene, "cmk-operator").await;
    scene.apply(&scene.gate("again", "key", REGION)).await.unwrap();
    scene.ready("EncryptedCluster", "again").await;
    let (key, _) = scene.all_ready().await;
    assert_eq!(find(&key, "Ready").unwrap()["reason"], "AsDeclared");
    let after = scene.state().await;
    for what in ["keys", "aliases"] {
        let names = |state: &Value| state[what].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "no {what} are made anew");
    }
    no_refusal(&scene);
}

/// CRDs that were applied by hand are refused by name, and taken over when that is asked for.
#[test]
fn crds_that_are_there_already_are_taken_over_only_on_request() {
    let plane = ControlPlane::start();
    plane.apply_crds();
    let args =
        ["install", "cmk-operator", CHART, "--namespace=cmk-system", "--create-namespace", REQUIRED[0], REQUIRED[1]];
    let (ok, said) = try_helm(Some(&plane), &args);
    assert!(!ok && said.contains("customerkeys.cmk-operator.io") && said.contains("ownership"), "{said}");
    let without = [&args[..], &["--set=crds.install=false"]].concat();
    helm(Some(&plane), &without);
    helm(Some(&plane), &["uninstall", "cmk-operator", "--namespace=cmk-system"]);
    helm(Some(&plane), &[&args[..], &["--take-ownership"]].concat());
}

#[test]
fn the_image_runs_what_the_chart_starts() {
    let objects = template("cmk-operator", "cmk-system", &REQUIRED);
    let spec = &helm::of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let dockerfile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap();
    let lines: Vec<&str> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let user = format!("USER {0}:{0}", spec["securityContext"]["runAsUser"]);
    assert!(lines.contains(&user.as_str()), "{dockerfile}");
    assert!(lines.contains(&r#"ENTRYPOINT ["/cmk-operator"]"#));
    assert_eq!(spec["containers"][0]["args"], json!(["run"]));
    let cargo = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(!cargo.contains("build ="), "a build script would have to be copied as well");
    let build = lines.iter().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    assert!(build.starts_with("1.95.0-bookworm "), "a version to its last number, and Debian 12: {build}");
    assert!(lines.contains(&"ARG BASE=gcr.io/distroless/cc-debian12:nonroot"), "Debian 12 as well");
    let stages: Vec<&&str> = lines.iter().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages.len(), 2);
    assert_eq!(**stages[1], "FROM ${BASE}"[..]);
    // Only what is copied reaches the build, and it is there.
    let ignored = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.dockerignore")).unwrap();
    assert_eq!(ignored, "*\n!Cargo.toml\n!Cargo.lock\n!src\n");
    for line in ["COPY Cargo.toml Cargo.lock ./", "COPY src src"] {
        assert!(lines.contains(&line), "{line}");
    }
}
