//! Logs: text for people, JSON for machines, on standard error.
//!
//! The environment is not read here; the filter comes in as a string.

use tracing_subscriber::filter::{EnvFilter, FilterFn, LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What the libraries may say unless the filter names them: their `info` is our `debug`.
const QUIET: &str = "info,kube=warn,kube_client=warn,kube_runtime=warn,aws_config=warn,aws_credential_types=warn,\
    aws_runtime=warn,aws_sdk_kms=warn,aws_sdk_sts=warn,aws_sdk_resourcegroupstagging=warn,aws_sigv4=warn,\
    aws_smithy_runtime=warn,aws_smithy_runtime_api=warn,aws_smithy_http_client=warn,hyper=warn,hyper_util=warn,\
    h2=warn,reqwest=warn,rustls=warn,tower=warn,axum=warn";

/// Libraries that print whole requests, tokens included, at this level; no filter may ask for it.
const WHOLE_REQUESTS: [&str; 7] = ["aws_", "hyper", "h2", "reqwest", "kube", "rustls", "tower"];

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter makes no sense.
    #[error("the log filter {filter:?} can't be understood")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Somebody else logs already.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Starts logging for the process. An empty `filter` means the default: our `info`, the libraries' warnings.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = self::filter(filter)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter).with_filter(FilterFn::new(is_safe));
    Ok(tracing_subscriber::registry().with(lines).try_init()?)
}

/// The directives of `filter` after the quiet ones: of two for the same target the later holds.
fn filter(filter: &str) -> Result<EnvFilter, LogError> {
    let separator = if filter.is_empty() { "" } else { "," };
    let all = format!("{QUIET}{separator}{filter}");
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(all)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })
}

fn is_safe(event: &tracing::Metadata<'_>) -> bool {
    let library = WHOLE_REQUESTS.iter().any(|prefix| event.target().starts_with(prefix));
    *event.level() <= tracing::Level::DEBUG || !library
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::subscriber::with_default;

    /// The messages that come through `filter`.
    fn heard(filter_text: &str) -> Vec<String> {
        let heard = Arc::new(Mutex::new(Vec::<u8>::new()));
        let sink = Arc::clone(&heard);
        let write = move || Sink(Arc::clone(&sink));
        let lines = fmt::layer().with_writer(write).without_time().with_ansi(false).with_level(false);
        let lines = lines.with_target(false).with_filter(filter(filter_text).unwrap());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(FilterFn::new(is_safe)));
        with_default(subscriber, || {
            tracing::info!("ours info");
            tracing::debug!("ours debug");
            tracing::info!(target: "kube_runtime::watcher", "kube info");
            tracing::warn!(target: "aws_smithy_runtime::client", "aws warn");
            tracing::debug!(target: "aws_smithy_runtime::client", "aws debug");
            tracing::trace!(target: "aws_smithy_runtime::client", "aws trace");
        });
        let text = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn filters() {
        assert_eq!(heard(""), ["ours info", "aws warn"]);
        assert_eq!(heard("debug"), ["ours info", "ours debug", "aws warn"]);
        assert_eq!(heard("warn"), ["aws warn"]);
        assert_eq!(heard("kube_runtime=info"), ["ours info", "kube info", "aws warn"]);
        // Whole requests hold tokens: nobody gets them.
        assert_eq!(heard("aws_smithy_runtime=trace"), ["ours info", "aws warn", "aws debug"]);
        assert!(filter("cmk_operator=loud").is_err());
    }
}
