//! The SDK's own chain: endpoints and credentials from the environment.
//!
//! The environment of a running process cannot be changed safely, so this test runs itself again with another one.

use cmk_operator::adapters::aws::Options;
use cmk_operator::domain::observed::KeyState;
use cmk_operator::ports::KeyService;
use serde_json::json;

use super::aws::{ARN, bench, place};
use super::server::{Answer, Server};

const CHILD: &str = "CMK_TEST_OF_THE_CHAIN";

#[tokio::test]
async fn endpoints_and_credentials_come_from_the_environment() {
    if std::env::var_os(CHILD).is_some() {
        let keys = bench(Options::new("prod".parse().unwrap())).keys;
        let reading = keys.describe(&place(), ARN).await;
        assert_eq!(reading.present().map(|f| f.state), Some(KeyState::Enabled), "{reading:?}");
        assert!(keys.caller(&place()).await.present().is_some());
        return;
    }
    let kms = Server::start(|_| {
        Answer::json(200, &json!({"KeyMetadata": {"KeyId": "0a", "Arn": ARN, "KeyState": "Enabled"}}))
    })
    .await;
    let sts = Server::start(|_| {
        Answer::text(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>a</Arn><Account>1</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>",
        )
    })
    .await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["adapters::aws_chain::endpoints_and_credentials_come_from_the_environment", "--exact"]);
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("AWS_")) {
        child.env_remove(name);
    }
    child.env(CHILD, "1").env("AWS_ENDPOINT_URL", &kms.url).env("AWS_ENDPOINT_URL_STS", &sts.url);
    child
        .env("AWS_ACCESS_KEY_ID", "AKIAFROMTHECHAIN")
        .env("AWS_SECRET_ACCESS_KEY", "s")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    child.env("AWS_CONFIG_FILE", "/nowhere").env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
    let output = child.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!((kms.seen().len(), sts.seen().len()), (1, 1));
    let authorization = &kms.seen()[0].headers["authorization"];
    assert!(authorization.contains("AKIAFROMTHECHAIN") && authorization.contains("/eu-west-1/kms/"), "{authorization}");
}
