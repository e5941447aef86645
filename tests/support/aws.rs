//! AWS as others than the operator call it.

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use serde_json::{Value, json};

use super::scene::{ACCOUNT, Scene};

const ADMINISTRATOR: &str = "AKIAADMINISTRATOR";

/// KMS of a region, for whoever has an access key.
pub async fn kms(endpoint: &str, region: &str, access_key: &str, secret: &str) -> Client {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(access_key, secret, None, None, "test"))
        .load()
        .await;
    Client::new(&config)
}

impl Scene {
    /// KMS of a region, for an administrator of the account who is not the operator.
    pub async fn administrator(&self, region: &str) -> Client {
        let principal = administrator();
        self.command(&json!({ "create_principal": { "arn": principal } })).await;
        self.command(&json!({ "add_access_key": { "access_key_id": ADMINISTRATOR, "principal": principal } })).await;
        kms(&self.aws, region, ADMINISTRATOR, "secret").await
    }

    /// The writes after a mark that were not an administrator's: the operation and what it was about.
    pub async fn written(&self, mark: u64) -> Vec<String> {
        let calls = self.calls_since(mark).await;
        let ours = calls.iter().filter(|c| c["access"] == "write" && c["principal"] != administrator());
        let text = |name: &Value| name.as_str().unwrap_or_default().to_owned();
        ours.map(|c| format!("{} {}", text(&c["operation"]), text(&c["resource"]))).collect()
    }
}

/// The ARN of that administrator.
pub fn administrator() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/administrator")
}
