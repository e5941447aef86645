//! What there is to see at the end: the objects as kubectl shows them, the key policies, and the order of the calls.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::sandbox::http::Running;

use super::{Failed, Result, failed, say};

/// Prints it.
pub(super) async fn print(kubectl: &[String], kubeconfig: &Path, clouds: &Running) -> Result<()> {
    say("\nThe objects, as kubectl shows them:\n");
    say(&run(kubectl, kubeconfig, &["get", "ck,ec", "-A"]).await?);
    let (state, log) = clouds.shared.with(|world| {
        let log: Vec<Value> = world.log().iter().filter_map(|e| serde_json::to_value(&**e).ok()).collect();
        (world.dump(), log)
    });
    say("The key policies:\n");
    for (arn, key) in state["keys"].as_object().into_iter().flatten() {
        say(arn);
        let policy = serde_json::to_string_pretty(&key["policy"]).map_err(|e| failed("a policy")(&e))?;
        say(&policy);
    }
    say("\nThe order of the calls that changed something in the clouds:\n");
    for (number, call) in log.iter().filter(|c| c["access"] == "write").enumerate() {
        let text = |field: &str| call[field].as_str().unwrap_or_default().to_owned();
        say(&format!("{:>3}. {:<32} {:<14} {}", number + 1, text("operation"), text("region"), text("resource")));
    }
    Ok(())
}

async fn run(kubectl: &[String], kubeconfig: &Path, args: &[&str]) -> Result<String> {
    let wrong = failed("kubectl");
    let [program, rest @ ..] = kubectl else { return Err(Failed("there is no kubectl".to_owned())) };
    let output = Command::new(program)
        .args(rest)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("KUBECACHEDIR", kubeconfig.with_file_name("kubectl-cache"))
        .env("KUBERC", "off")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| wrong(&e))?;
    if !output.status.success() {
        return Err(wrong(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
