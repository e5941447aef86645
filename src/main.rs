//! The binary: dispatches subcommands, and is the only place that names adapters.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use cmk_operator::adapters::limits::Limits;
use cmk_operator::adapters::watch::{Call, Watch};
use cmk_operator::adapters::{aws, upstream};
use cmk_operator::api;
use cmk_operator::cli::{Cli, Command, Hidden, IamPolicy, LogFormat, Plan, Rights, Run, Shared, Why};
#[cfg(feature = "sandbox")]
use cmk_operator::clock::AheadClock;
use cmk_operator::clock::{Clock, SystemClock};
use cmk_operator::commands::plan::live::Live;
use cmk_operator::commands::plan::{Report, Verdict, manifests, rehearsal, text};
use cmk_operator::commands::read_only::{ReadOnly, Viewer};
use cmk_operator::commands::why::{self, Subject};
use cmk_operator::commands::{Failed, Output};
use cmk_operator::controller::context::Pacing;
use cmk_operator::controller::run::{Exit, Parts, client, run};
use cmk_operator::controller::witness::Quiet;
use cmk_operator::execute::Witness;
use cmk_operator::leader::Terms;
use cmk_operator::plan::Settings;
use cmk_operator::telemetry::metrics::Metrics;
use cmk_operator::telemetry::tracing::{LogFormat as Lines, init};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // clap's own code for a wrong command line is 2, which has a meaning here.
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(options) => operate(&options).await,
        Command::Crds(options) => crds(options.dir.as_deref()),
        Command::Reasons => reasons(),
        Command::Plan(options) => Box::pin(plan(&options)).await,
        Command::Why(options) => why(&options).await,
        Command::IamPolicy(options) => iam_policy(&options),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => sandbox(&options).await,
        #[cfg(feature = "sandbox")]
        Command::Demo(options) => {
            cmk_operator::demo::run(&options).await.map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "cmk-operator: {error}");
        ExitCode::FAILURE
    })
}

#[cfg(feature = "sandbox")]
fn clock(hidden: &Hidden) -> Arc<dyn Clock> {
    match &hidden.clock_ahead {
        Some(file) => Arc::new(AheadClock::new(file.clone())),
        None => Arc::new(SystemClock),
    }
}

#[cfg(not(feature = "sandbox"))]
fn clock(_: &Hidden) -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

async fn operate(options: &Run) -> Result<ExitCode, Failure> {
    let lines = match options.log_format {
        LogFormat::Text => Lines::Text,
        LogFormat::Json => Lines::Json,
    };
    init(lines, &options.log)?;
    let clock = clock(&options.hidden);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), option_env!("CMK_REVISION").unwrap_or("unknown")));
    let watch: Arc<dyn Watch> = Arc::new(Counted(Arc::clone(&metrics)));
    let hidden = &options.hidden;

    let mut aws_options = aws::Options::new(options.installation.clone());
    aws_options.allow_open_roles = options.shared.allow_open_roles;
    aws_options.deletion_role.clone_from(&options.deletion_role_arn);
    aws_options.write_timeout = hidden.write_timeout.to_duration();
    let limits = Arc::new(Limits::new(options.quota_share));
    let keys = aws::AwsKeys::new(aws_options, Arc::clone(&clock), limits, Arc::clone(&watch));

    let mut cloud_options = cloud_options(&options.shared);
    cloud_options.timeout = hidden.write_timeout.to_duration();
    let clouds = upstream::Clouds::new(&cloud_options, Arc::clone(&clock), watch)?;

    let terms = Terms {
        lease: hidden.lease_duration.to_duration(),
        renew_every: hidden.lease_renew.to_duration(),
        act_within: hidden.lease_act.to_duration(),
    };
    if !terms.are_sound() {
        return Err(
            "the lease has to last longer than effects may be started, and that longer than renewals are apart".into(),
        );
    }
    let http = TcpListener::bind(options.http_address).await?;
    tracing::info!(address = %http.local_addr()?, "metrics and health");
    let parts = Parts {
        client: client().await?,
        keys,
        upstream: clouds,
        lacking: upstream::required_keys,
        installation: options.installation.clone(),
        settings: options.settings(),
        pacing: Pacing {
            longest_backoff: hidden.longest_backoff.to_duration(),
            secret_poll: hidden.secret_poll.to_duration(),
            ..Pacing::default()
        },
        clock,
        witness: witness(options)?,
        metrics,
        namespaces: options.shared.watch_namespaces.clone(),
        concurrency: options.concurrency,
        http: Some(http),
        election: options.leader_election.then(|| (options.lease_namespace(), options.identity(), terms)),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(match run(parts, stop).await {
        Exit::Stopped => ExitCode::SUCCESS,
        Exit::LeadershipLost => ExitCode::from(3),
    })
}

/// Where the database clouds are.
fn cloud_options(shared: &Shared) -> upstream::Options {
    upstream::Options {
        astra_endpoint: shared.astra_endpoint.clone(),
        atlas_endpoint: shared.atlas_endpoint.clone(),
        singlestore_endpoint: shared.singlestore_endpoint.clone(),
        ..upstream::Options::default()
    }
}

#[cfg(not(feature = "sandbox"))]
fn witness(_: &Run) -> Result<Arc<dyn Witness>, Failure> {
    Ok(Arc::new(Quiet))
}

#[cfg(feature = "sandbox")]
fn witness(options: &Run) -> Result<Arc<dyn Witness>, Failure> {
    use cmk_operator::controller::witness::CrashAt;
    Ok(match &options.hidden.crash_at {
        Some(text) => Arc::new(text.parse::<CrashAt>()?),
        None => Arc::new(Quiet),
    })
}

/// Counts every call to a cloud.
struct Counted(Arc<Metrics>);

impl Watch for Counted {
    fn called(&self, call: &Call) {
        let class = call.fault.map_or("ok", |fault| fault.as_str());
        self.0.request(call.service, call.operation, class, call.took);
    }
}

/// Prints the CRDs, or writes them to a directory.
fn crds(dir: Option<&Path>) -> Result<ExitCode, Failure> {
    match dir {
        None => std::io::stdout().write_all(api::crds_yaml()?.as_bytes())?,
        Some(dir) => {
            for (name, yaml) in api::crd_files()? {
                std::fs::write(dir.join(name), yaml)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what would be done for manifests.
async fn plan(options: &Plan) -> Result<ExitCode, Failure> {
    let settings = options.shared.settings();
    let mut manifests = manifests::read(&options.files, options.namespace.as_str(), &options.installation)?;
    let report = if !manifests.refused.is_empty() {
        Report { refused: manifests.refused, ignored: manifests.ignored, ..Report::default() }
    } else if options.live {
        Box::pin(look(options, settings).await?.plan(&mut manifests)).await?
    } else {
        rehearsal::rehearse(&manifests, &options.installation, &settings).await?
    };
    let told = match options.output {
        Output::Text => text::report(&report),
        Output::Json => format!("{:#}\n", report.json()),
    };
    std::io::stdout().write_all(told.as_bytes())?;
    Ok(match report.verdict() {
        Verdict::Nothing => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::FAILURE,
        Verdict::Changes => ExitCode::from(2),
    })
}

/// The means to look at the clouds and the cluster as they are.
async fn look(options: &Plan, settings: Settings) -> Result<Live<aws::AwsKeys, upstream::Clouds>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let mut aws_options = aws::Options::new(options.installation.clone());
    aws_options.allow_open_roles = options.shared.allow_open_roles;
    let limits = Arc::new(Limits::new(1.0));
    let keys = aws::AwsKeys::new(aws_options, Arc::clone(&clock), limits, Arc::clone(&watch));
    let clouds = upstream::Clouds::new(&cloud_options(&options.shared), Arc::clone(&clock), watch)?;
    Ok(Live {
        viewer: Viewer::infer().await?,
        keys: ReadOnly::new(keys),
        upstream: ReadOnly::new(clouds),
        lacking: upstream::required_keys,
        installation: options.installation.clone(),
        settings,
        namespaces: options.shared.watch_namespaces.clone(),
        principal: options.principal.clone(),
        now: clock.now(),
    })
}

/// Nobody counts the calls.
struct Unwatched;

impl Watch for Unwatched {
    fn called(&self, _: &Call) {}
}

/// Says what live objects wait for.
async fn why(options: &Why) -> Result<ExitCode, Failure> {
    let subject = options.object.clone().unwrap_or(Subject::All);
    let viewer = Viewer::infer().await?;
    let namespace = options.namespace.as_deref();
    let (told, ready) = why::why(&viewer, &subject, namespace, options.output, SystemClock.now()).await?;
    std::io::stdout().write_all(told.as_bytes())?;
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Prints the least IAM policy.
fn iam_policy(options: &IamPolicy) -> Result<ExitCode, Failure> {
    use aws::rights::{Narrowing, Part, policy};
    let IamPolicy {
        account,
        regions,
        installation,
        multi_region,
        cloud_roles,
        role_permissions_boundary,
        deletion,
        deletion_role_arn,
        assume_roles,
        only,
    } = options;
    let roles: Vec<String> = assume_roles.iter().chain(deletion_role_arn).cloned().collect();
    let restoring = (*deletion || deletion_role_arn.is_some()).then_some(Part::Restoring);
    let replicas = multi_region.then_some(Part::Replicas);
    let made = cloud_roles.then_some(Part::CloudRoles);
    let unmade = made.and(restoring).map(|_| Part::CloudRoleEnds);
    let keys = [Some(Part::Keys), replicas, restoring, made, unmade];
    let parts: Vec<Part> = match only {
        Some(Rights::Keys) => keys.into_iter().flatten().collect(),
        Some(Rights::Deletion) => vec![Part::Deletion],
        Some(Rights::Roles) => vec![Part::Roles],
        None => {
            let deletion = deletion.then_some(Part::Deletion);
            let assumes = (!roles.is_empty()).then_some(Part::Roles);
            keys.into_iter().chain([deletion, assumes]).flatten().collect()
        }
    };
    if parts.contains(&Part::Roles) && roles.is_empty() {
        return Err(Failed("name the roles with --assume-role or --deletion-role-arn".to_owned()).into());
    }
    let to = Narrowing {
        account: account.clone(),
        regions: regions.clone(),
        installation: installation.clone(),
        roles,
        boundary: role_permissions_boundary.clone(),
    };
    let text = format!("{:#}\n", policy(&parts, &to));
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the table of condition reasons.
fn reasons() -> Result<ExitCode, Failure> {
    std::io::stdout().write_all(cmk_operator::api::reasons::markdown().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "sandbox")]
#[expect(clippy::exit, reason = "a read of standard input that is still under way would hold the process back")]
async fn sandbox(options: &cmk_operator::cli::Sandbox) -> Result<ExitCode, Failure> {
    use cmk_operator::sandbox::astra::OrgSettings;
    use cmk_operator::sandbox::http::{Options, serve};
    use cmk_operator::sandbox::{Command, ORGANIZATION, SINGLESTORE_ORGANIZATION, singlestore};
    use tokio::io::AsyncReadExt;

    let running = serve(Options::default()).await?;
    if let Some(time) = options.deploy_time {
        let settings = OrgSettings { deploy_ms: time.0, ..OrgSettings::default() };
        let command = Command::SetOrgSettings { org: ORGANIZATION.to_owned(), settings };
        running.shared.with(|world| world.command(command))?;
        let times = ["deploy_ms", "workspace_ms", "replicate_ms", "failover_ms"];
        let settings = times.into_iter().map(|name| (name.to_owned(), time.0.into())).collect();
        let org = SINGLESTORE_ORGANIZATION.to_owned();
        let command = Command::Singlestore(singlestore::Command::PatchSettings { org, settings });
        running.shared.with(|world| world.command(command))?;
    }
    let line = serde_json::to_string(&running.addresses)?;
    writeln!(std::io::stdout(), "{line}")?;
    std::io::stdout().flush()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = async {
        if options.stop_with_stdin {
            let mut rest = Vec::new();
            let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = ended => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    running.shutdown().await;
    std::process::exit(0)
}
