//! What the tests on the real process and the real API server share.
//!
//! Every scene has its own namespace, its own simulated clouds and its own operator process; the API server is one for all
//! scenes of a test binary. Nothing uses a fixed port or path, so that the tests can run twice at once. Every process that
//! is started ends with the one that started it.

#![allow(dead_code, reason = "each test binary uses its own part of the support")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail loudly"
)]

pub mod aws;
pub mod controlplane;
pub mod helm;
pub mod kstatus;
pub mod proxy;
pub mod python;
pub mod scene;

use std::time::Duration;

use tokio::time::Instant;

/// Waits for a condition, asking again and again; fails with the last answer when the time is over.
pub async fn wait<T, F, Fut>(what: &str, within: Duration, mut ask: F) -> Result<T, String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + within;
    loop {
        let answer = ask().await;
        match answer {
            Ok(value) => return Ok(value),
            Err(not_yet) if Instant::now() > end => return Err(format!("waited {within:?} for {what}: {not_yet}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(150)).await,
        }
    }
}
