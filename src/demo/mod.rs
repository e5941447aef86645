//! `cmk-operator demo`: the whole chain on one machine, against simulated clouds and a real API server.
//!
//! The control plane and the operator are processes of their own; the simulated clouds are served by this one. All of
//! them end with it.

mod human;
mod manifests;
mod progress;
mod report;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, Config, ResourceExt};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::api;
use crate::cli::Demo;
use crate::sandbox;
use crate::sandbox::astra::OrgSettings;
use crate::sandbox::http::{Options, Running, serve};

/// Where `make controlplane` puts the control plane.
const CONTROL_PLANE: &str = "target/controlplane/controlplane";

/// How far apart the looks of a gate are in the demo; in life it is five seconds.
const GATE_SPACING: &str = "1s";

/// Why the demo failed, in words for whoever ran it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

type Result<T> = std::result::Result<T, Failed>;

fn failed(what: impl Into<String>) -> impl Fn(&dyn std::fmt::Display) -> Failed {
    let what = what.into();
    move |why| Failed(format!("{what}: {why}"))
}

/// Runs the demo.
pub async fn run(demo: &Demo) -> Result<()> {
    let dir = scratch()?;
    let mut stage = Stage::set(demo, &dir).await?;
    let outcome = stage.play(demo).await;
    let log = stage.operator_log.clone();
    let outcome = outcome.map_err(|Failed(why)| Failed(format!("{why}\nThe operator's log: {}", log.display())));
    if demo.keep && outcome.is_ok() {
        stage.keep().await?;
    }
    stage.strike().await;
    outcome
}

fn scratch() -> Result<PathBuf> {
    let dir = PathBuf::from("target/demo").join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).map_err(|e| failed("the directory target/demo")(&e))?;
    dir.canonicalize().map_err(|e| failed("the directory target/demo")(&e))
}

/// Prints a line.
fn say(text: &str) {
    // Nobody reads any more: nothing is left to be said.
    let _ = writeln!(std::io::stdout(), "{text}");
}

struct Stage {
    kubeconfig: PathBuf,
    kubectl: Vec<String>,
    client: Client,
    clouds: Running,
    operator: Child,
    operator_log: PathBuf,
    control_plane: Option<Child>,
}

impl Stage {
    async fn set(demo: &Demo, dir: &Path) -> Result<Self> {
        let (kubeconfig, kubectl, control_plane) = match &demo.kubeconfig {
            Some(kubeconfig) => (kubeconfig.clone(), vec!["kubectl".to_owned()], None),
            None => control_plane(dir).await?,
        };
        let client = client(&kubeconfig).await?;
        say("Serving simulated AWS, Astra, Atlas and SingleStore on loopback.");
        let clouds = serve(Options::default()).await.map_err(|e| failed("the sandbox did not start")(&e))?;
        slow_down(&clouds)?;
        install_crds(&client).await?;
        let operator_log = dir.join("operator.log");
        let operator = operator(&kubeconfig, &clouds, &operator_log)?;
        Ok(Self { kubeconfig, kubectl, client, clouds, operator, operator_log, control_plane })
    }

    async fn play(&mut self, demo: &Demo) -> Result<()> {
        let objects = manifests::read(&demo.files)?;
        say(&format!("Applying {} objects at once; the operator has to find the order.", objects.len()));
        manifests::apply(&self.client, &objects).await?;
        let deadline = demo.timeout.to_duration();
        let terminal = std::io::stdout().is_terminal();
        let human = human::Human::new(&self.client, &self.clouds);
        progress::until_ready(&self.client, &mut self.operator, human, deadline, terminal).await?;
        report::print(&self.kubectl, &self.kubeconfig, &self.clouds).await
    }

    async fn keep(&mut self) -> Result<()> {
        say("\nEverything stays up until Ctrl-C. To look around:\n");
        say(&format!("  export KUBECONFIG={}", self.kubeconfig.display()));
        if let [program, rest @ ..] = self.kubectl.as_slice() {
            say(&format!("  alias kubectl='{program} {}'", rest.join(" ")));
        }
        say("  kubectl get ck,ec -A -o wide");
        say("  kubectl describe ec -A");
        say(&format!("  curl -s {}/log     # every call that reached the clouds", self.clouds.addresses.control));
        say(&format!("  curl -s {}/state   # everything that the clouds know", self.clouds.addresses.control));
        tokio::signal::ctrl_c().await.map_err(|e| failed("Ctrl-C")(&e))
    }

    async fn strike(mut self) {
        // Each is ended by its own handle; one that is gone already needs nothing.
        let _ = self.operator.kill().await;
        if let Some(mut control_plane) = self.control_plane {
            // It stops when its standard input ends.
            drop(control_plane.stdin.take());
            let _ = tokio::time::timeout(Duration::from_secs(10), control_plane.wait()).await;
        }
        self.clouds.shutdown().await;
    }
}

async fn control_plane(dir: &Path) -> Result<(PathBuf, Vec<String>, Option<Child>)> {
    let binary = Path::new(CONTROL_PLANE).canonicalize().map_err(|_| {
        Failed(format!(
            "{CONTROL_PLANE} is missing. Build it with `make controlplane` (needs Go), or give --kubeconfig."
        ))
    })?;
    say("Starting a control plane (etcd, kube-apiserver) on loopback.");
    let mut child = Command::new(&binary)
        .args(["--stop-with-stdin", "--dir"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("the control plane did not start")(&e))?;
    let stdout = child.stdout.take().ok_or_else(|| Failed("the control plane has no output".to_owned()))?;
    let line = BufReader::new(stdout).lines().next_line().await.map_err(|e| failed("the control plane")(&e))?;
    if line.as_deref() != Some("ready") {
        return Err(Failed(format!("the control plane did not start; see {}", dir.display())));
    }
    let kubectl = vec![binary.display().to_string(), "kubectl".to_owned()];
    Ok((dir.join("kubeconfig"), kubectl, Some(child)))
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let wrong = failed("the kubeconfig cannot be used");
    let config = Kubeconfig::read_from(kubeconfig).map_err(|e| wrong(&e))?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.map_err(|e| wrong(&e))?;
    Client::try_from(config).map_err(|e| wrong(&e))
}

/// Lets deployments take long enough to be watched.
fn slow_down(clouds: &Running) -> Result<()> {
    let settings = OrgSettings { deploy_ms: 4_000, ..OrgSettings::default() };
    let command = sandbox::Command::SetOrgSettings { org: sandbox::ORGANIZATION.to_owned(), settings };
    clouds.shared.with(|world| world.command(command)).map_err(|e| failed("the sandbox")(&e))
}

async fn install_crds(client: &Client) -> Result<()> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let wrong = failed("the CRDs could not be installed");
    for crd in api::all() {
        let name = crd.name_any();
        let force = PatchParams::apply("cmk-operator-demo").force();
        crds.patch(&name, &force, &Patch::Apply(&crd)).await.map_err(|e| wrong(&e))?;
        let established = await_condition(crds.clone(), &name, is_crd_established());
        let established = tokio::time::timeout(Duration::from_secs(30), established).await;
        established.map_err(|e| wrong(&e))?.map_err(|e| wrong(&e))?;
    }
    Ok(())
}

fn operator(kubeconfig: &Path, clouds: &Running, log: &Path) -> Result<Child> {
    say(&format!("Starting the operator (gate looks {GATE_SPACING} apart instead of 5s, so that you wait less)."));
    let wrong = failed("the operator did not start");
    let binary = std::env::current_exe().map_err(|e| wrong(&e))?;
    let log = std::fs::File::create(log).map_err(|e| wrong(&e))?;
    Command::new(binary)
        .args(["run", "--installation", "demo", "--http-address", "127.0.0.1:0"])
        .args(["--gate-spacing", GATE_SPACING, "--poll", "500ms"])
        .args(["--astra-endpoint", &clouds.addresses.astra])
        .args(["--atlas-endpoint", &clouds.addresses.atlas])
        .args(["--singlestore-endpoint", &clouds.addresses.singlestore])
        .env("KUBECONFIG", kubeconfig)
        .env("AWS_ENDPOINT_URL", &clouds.addresses.aws)
        .env("AWS_ACCESS_KEY_ID", crate::sandbox::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", "sandbox")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| wrong(&e))
}
