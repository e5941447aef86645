//! The command line: every flag has an environment variable, `CMK_` and its name in upper case. Nothing else reads the
//! environment, but for the AWS SDK's and the Kubernetes client's own variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use k8s_openapi::jiff::SignedDuration;

use crate::commands::Output;
use crate::commands::why::Subject;
use crate::domain::id::{AccountId, Name, Region};
use crate::domain::moment::Span;
use crate::plan::Settings;

/// Customer-managed AWS KMS keys for database clouds, in the only safe order.
#[derive(Debug, Parser)]
#[command(name = "cmk-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the controller.
    Run(Box<Run>),
    /// Prints the CRDs as YAML, or writes them to a directory.
    Crds(Crds),
    /// Prints what would be done for manifests, step by step, and changes nothing.
    ///
    /// Without --live it needs neither a cluster nor a cloud: it takes for granted that nothing is there yet and that
    /// everything succeeds, and plays the operator's own decisions to their end. The manifests are held to the schemas and
    /// rules of the CRDs. Exits with 0 where there is nothing to do, with 2 where something is done or waited for, and with
    /// 1 where something is refused.
    Plan(Box<Plan>),
    /// Says what an object waits for, since when, what to do, and who has to; without an object: everything not ready.
    ///
    /// Exits with 0 where everything asked about is ready, with 2 where something is not, and with 1 where it cannot be
    /// told.
    Why(Why),
    /// Prints the least IAM policy for the operator as JSON.
    IamPolicy(IamPolicy),
    /// Prints the table of condition reasons as Markdown.
    #[command(hide = true)]
    Reasons,
    /// Serves the simulated AWS and database clouds on loopback and prints one line of JSON with the addresses.
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
    /// Shows the whole thing on one machine: control plane, sandbox, operator, and the manifests given.
    #[cfg(feature = "sandbox")]
    Demo(Demo),
}

/// The flags of `run`.
#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub struct Run {
    /// The name of this installation: part of the identity of every key. Keep it when a cluster is rebuilt, and its keys
    /// are found again.
    #[arg(long, env = "CMK_INSTALLATION")]
    pub installation: Name,

    /// What `plan` knows too.
    #[command(flatten)]
    pub shared: Shared,

    /// Address of metrics and health, for example 0.0.0.0:8080.
    #[arg(long, env = "CMK_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// Between looks at the state of each key and database.
    #[arg(long, env = "CMK_STATE_INTERVAL", default_value = "10m", value_parser = span)]
    pub state_interval: Span,

    /// Between looks at each key policy.
    #[arg(long, env = "CMK_POLICY_INTERVAL", default_value = "1h", value_parser = span)]
    pub policy_interval: Span,

    /// Between looks at everything.
    #[arg(long, env = "CMK_RESYNC", default_value = "6h", value_parser = span)]
    pub resync: Span,

    /// Objects of each kind that are worked on at once.
    #[arg(long, env = "CMK_CONCURRENCY", default_value_t = 16)]
    pub concurrency: usize,

    /// The share of each AWS request quota that the operator uses at most.
    #[arg(long, env = "CMK_QUOTA_SHARE", default_value_t = 0.8)]
    pub quota_share: f64,

    /// The IAM role that schedules keys for deletion and does nothing else, assumed with the External ID of the key's
    /// namespace; {account} in it stands for the account of the key. Without it, whoever acts on a key does that too.
    #[arg(long, env = "CMK_DELETION_ROLE_ARN")]
    pub deletion_role_arn: Option<String>,

    /// Contends for a Lease, so that only one replica acts.
    #[arg(long, env = "CMK_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,

    /// The namespace of the Lease; that of the pod by default.
    #[arg(long, env = "CMK_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// The name of this replica; that of the host by default.
    #[arg(long, env = "CMK_IDENTITY")]
    pub identity: Option<String>,

    /// How logs look.
    #[arg(long, env = "CMK_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged, in the syntax of tracing-subscriber's `EnvFilter`.
    #[arg(long, env = "CMK_LOG", default_value = "")]
    pub log: String,

    /// What tests shorten.
    #[command(flatten)]
    pub hidden: Hidden,
}

/// The flags that `run` and `plan` share: what decides, and where the clouds are.
#[derive(Debug, Args)]
pub struct Shared {
    /// Namespaces to watch, separated by commas; all by default.
    #[arg(long, env = "CMK_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Namespaces whose keys may be managed with the operator's own AWS credentials, separated by commas; all by default.
    /// Elsewhere `spec.aws.roleArn` is required.
    #[arg(long, env = "CMK_AMBIENT_NAMESPACES", value_delimiter = ',')]
    pub ambient_namespaces: Option<Vec<Name>>,

    /// The uid of the kube-system namespace of a cluster that is gone: its keys are taken over.
    #[arg(long, env = "CMK_TAKE_OVER_FROM")]
    pub take_over_from: Option<String>,

    /// Base URL of the Astra DevOps API.
    #[arg(long, env = "CMK_ASTRA_ENDPOINT", default_value = "https://api.astra.datastax.com")]
    pub astra_endpoint: String,

    /// Base of Atlas's Administration API and of its token endpoint, without `/api`.
    #[arg(long, env = "CMK_ATLAS_ENDPOINT", default_value = "https://cloud.mongodb.com")]
    pub atlas_endpoint: String,

    /// Base URL of `SingleStore`'s Management API.
    #[arg(long, env = "CMK_SINGLESTORE_ENDPOINT", default_value = "https://api.singlestore.com")]
    pub singlestore_endpoint: String,

    /// Uses roles that anybody may assume without the operator's External ID all the same.
    #[arg(long, env = "CMK_ALLOW_OPEN_ROLES")]
    pub allow_open_roles: bool,

    /// The ARN of the permissions boundary of the IAM roles that the operator makes (spec.upstream.atlas.role.create);
    /// {account} in it stands for the account of the role. A role that is there already keeps the one that it has.
    #[arg(long, env = "CMK_ROLE_PERMISSIONS_BOUNDARY")]
    pub role_permissions_boundary: Option<String>,
}

/// Flags for tests: waiting times that nobody should shorten against real clouds.
#[derive(Debug, Args)]
pub struct Hidden {
    /// How long an uncertain `CreateKey` is searched for.
    #[arg(long, env = "CMK_CREATE_SETTLE", default_value = "120s", value_parser = span, hide = true)]
    pub create_settle: Span,

    /// How long an uncertain registration or deployment is looked for.
    #[arg(long, env = "CMK_DEPLOY_SETTLE", default_value = "5m", value_parser = span, hide = true)]
    pub deploy_settle: Span,

    /// How long a repeatable write is not repeated.
    #[arg(long, env = "CMK_REPAIR_HOLDOFF", default_value = "120s", value_parser = span, hide = true)]
    pub repair_holdoff: Span,

    /// How many equal looks open a gate.
    #[arg(long, env = "CMK_GATE_LOOKS", default_value_t = 3, hide = true)]
    pub gate_looks: u32,

    /// How far apart they are.
    #[arg(long, env = "CMK_GATE_SPACING", default_value = "5s", value_parser = span, hide = true)]
    pub gate_spacing: Span,

    /// How old a look may be when something is created because of it; most of that is for the look itself.
    #[arg(long, env = "CMK_LOOK_VALID", default_value = "10s", value_parser = span, hide = true)]
    pub look_valid: Span,

    /// Between looks at something on its way.
    #[arg(long, env = "CMK_POLL", default_value = "5s", value_parser = span, hide = true)]
    pub poll: Span,

    /// The longest pause after a failure.
    #[arg(long, env = "CMK_LONGEST_BACKOFF", default_value = "1h", value_parser = span, hide = true)]
    pub longest_backoff: Span,

    /// Between looks at a Secret that keeps an object from going on.
    #[arg(long, env = "CMK_SECRET_POLL", default_value = "10s", value_parser = span, hide = true)]
    pub secret_poll: Span,

    /// The longest wait for an answer to a write.
    #[arg(long, env = "CMK_WRITE_TIMEOUT", default_value = "20s", value_parser = span, hide = true)]
    pub write_timeout: Span,

    /// How long a lease lasts.
    #[arg(long, env = "CMK_LEASE_DURATION", default_value = "60s", value_parser = span, hide = true)]
    pub lease_duration: Span,

    /// How often it is renewed.
    #[arg(long, env = "CMK_LEASE_RENEW", default_value = "10s", value_parser = span, hide = true)]
    pub lease_renew: Span,

    /// How long after a renewal effects may be started.
    #[arg(long, env = "CMK_LEASE_ACT", default_value = "20s", value_parser = span, hide = true)]
    pub lease_act: Span,

    /// Ends the process with SIGKILL at an effect: `SITE:before` or `SITE:after`, optionally `:N` for the N-th time.
    #[cfg(feature = "sandbox")]
    #[arg(long, env = "CMK_CRASH_AT", hide = true)]
    pub crash_at: Option<String>,

    /// A file with the milliseconds by which the operator's clock is ahead of the machine's, read again and again.
    #[cfg(feature = "sandbox")]
    #[arg(long, env = "CMK_CLOCK_AHEAD", hide = true)]
    pub clock_ahead: Option<PathBuf>,
}

/// The flags of `crds`.
#[derive(Debug, Args)]
pub struct Crds {
    /// Writes one file per kind into this directory instead of printing them.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// The flags of `plan`.
#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub struct Plan {
    /// Manifests: files, directories of YAML files, or - for standard input. What is neither a `CustomerKey` nor an
    /// `EncryptedCluster` is ignored, but for the labels of Namespaces.
    #[arg(short = 'f', long = "file", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// The namespace of manifests that name none.
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: Name,

    /// Looks at the cluster (KUBECONFIG), at AWS and at the database cloud, once, and says what the operator would do
    /// next. Everything is only read.
    #[arg(long)]
    pub live: bool,

    /// How the plan looks.
    #[arg(short = 'o', long, default_value = "text")]
    pub output: Output,

    /// The name of the installation, as in `run`: part of the identity of every key.
    #[arg(long, env = "CMK_INSTALLATION", default_value = "installation", required_if_eq("live", "true"))]
    pub installation: Name,

    /// With --live: the ARN of the IAM role or user that the operator runs as, which key policies name. By default you are
    /// taken for it, and a key policy that names the operator seems to want a change.
    #[arg(long, env = "CMK_PRINCIPAL")]
    pub principal: Option<String>,

    /// What `run` knows too.
    #[command(flatten)]
    pub shared: Shared,
}

/// The flags of `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// KIND/NAME; the kind is ck (`CustomerKey`) or ec (`EncryptedCluster`), by any of its names.
    pub object: Option<Subject>,

    /// The namespace; without an object: all namespaces by default.
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,

    /// How the answer looks.
    #[arg(short = 'o', long, default_value = "text")]
    pub output: Output,
}

/// The flags of `iam-policy`.
#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub struct IamPolicy {
    /// Narrows it to the keys of this account.
    #[arg(long)]
    pub account: Option<AccountId>,

    /// Narrows it to this region; may be given several times.
    #[arg(long = "region")]
    pub regions: Vec<Region>,

    /// Narrows every write to keys that carry the tags of this installation, or the consent of their owner to it.
    #[arg(long, env = "CMK_INSTALLATION")]
    pub installation: Option<Name>,

    /// Lets multi-Region keys be made (spec.key.multiRegion), and replicas of them.
    #[arg(long)]
    pub multi_region: bool,

    /// Lets the roles be made as which a cloud uses keys (spec.upstream.atlas.role.create).
    #[arg(long)]
    pub cloud_roles: bool,

    /// The permissions boundary of such roles, as in `run`: without it none can be made.
    #[arg(long, env = "CMK_ROLE_PERMISSIONS_BOUNDARY")]
    pub role_permissions_boundary: Option<String>,

    /// Lets keys that the operator made be scheduled for deletion, and that be taken back.
    #[arg(long)]
    pub deletion: bool,

    /// The role that schedules keys for deletion, as in `run`: the operator may assume it, and does not do it itself.
    #[arg(long, env = "CMK_DELETION_ROLE_ARN", conflicts_with = "deletion")]
    pub deletion_role_arn: Option<String>,

    /// A role in some spec.aws.roleArn that the operator assumes; may be given several times, and hold wildcards.
    #[arg(long = "assume-role")]
    pub assume_roles: Vec<String>,

    /// Prints only what is needed for this: to make and keep keys (for a role in spec.aws.roleArn), to schedule them for
    /// deletion (for the role of --deletion-role-arn), or to assume roles (for an operator that does nothing itself).
    #[arg(long)]
    pub only: Option<Rights>,
}

/// What rights are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rights {
    /// Making and keeping keys.
    Keys,
    /// Scheduling keys for deletion.
    Deletion,
    /// Assuming roles.
    Roles,
}

/// The flags of `sandbox`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct Sandbox {
    /// How long a simulated deployment takes.
    #[arg(long, value_parser = span)]
    pub deploy_time: Option<Span>,

    /// Stops when standard input ends, so that nothing is left over when the parent dies.
    #[arg(long)]
    pub stop_with_stdin: bool,
}

/// What `demo` applies: objects of every cloud, side by side.
#[cfg(feature = "sandbox")]
const DEMO_FILES: [&str; 4] = [
    "examples/astra/several-regions.yaml",
    "examples/astra/multi-region.yaml",
    "examples/atlas/simplest.yaml",
    "examples/singlestore/simplest.yaml",
];

/// The flags of `demo`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Manifests to apply: files or directories.
    #[arg(short = 'f', long = "file", default_values = DEMO_FILES)]
    pub files: Vec<PathBuf>,

    /// Uses this cluster instead of starting a control plane.
    #[arg(long, env = "CMK_DEMO_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Stays up after the objects are ready, and prints how to look around.
    #[arg(long)]
    pub keep: bool,

    /// Gives up after this time.
    #[arg(long, default_value = "5m", value_parser = span)]
    pub timeout: Span,
}

/// How logs look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Shared {
    /// The planner's settings, as far as these flags decide.
    pub fn settings(&self) -> Settings {
        Settings {
            take_over_from: self.take_over_from.clone(),
            ambient_namespaces: self.ambient_namespaces.clone(),
            role_boundary: self.role_permissions_boundary.clone(),
            ..Settings::default()
        }
    }
}

impl Run {
    /// The planner's settings.
    pub fn settings(&self) -> Settings {
        let hidden = &self.hidden;
        Settings {
            create_settle: hidden.create_settle,
            deploy_settle: hidden.deploy_settle,
            gate_looks: hidden.gate_looks,
            gate_spacing: hidden.gate_spacing,
            look_valid: hidden.look_valid,
            repair_holdoff: hidden.repair_holdoff,
            state_interval: self.state_interval,
            policy_interval: self.policy_interval,
            resync: self.resync,
            poll: hidden.poll,
            ..self.shared.settings()
        }
    }

    /// The namespace of the Lease: the flag's, or the pod's.
    pub fn lease_namespace(&self) -> String {
        let mounted = || std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
        self.lease_namespace.clone().or_else(mounted).unwrap_or_else(|| "default".to_owned())
    }

    /// The name of this replica: the flag's, or the host's with a random part, since two may share a host.
    pub fn identity(&self) -> String {
        let host = || std::env::var("HOSTNAME").unwrap_or_else(|_| "cmk-operator".to_owned());
        self.identity.clone().unwrap_or_else(|| format!("{}_{}", host(), uuid::Uuid::new_v4().simple()))
    }
}

/// Reads a length of time such as `90s`, `500ms` or `6h`.
fn span(text: &str) -> Result<Span, String> {
    let duration: SignedDuration = text.parse().map_err(|e| format!("{e}"))?;
    let duration = Duration::try_from(duration).map_err(|_| "a length of time is not negative".to_owned())?;
    Ok(Span::from(duration))
}
