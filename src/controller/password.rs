//! The password that a new database's admin is to have, from a Secret of the cluster's own namespace. It is needed only
//! until the database is there, and is never written down.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use crate::api::{EncryptedCluster, PasswordSecretRef};
use crate::controller::dereference::{Reader, reading};
use crate::domain::observed::CredentialsSeen;
use crate::domain::reading::Reading;
use crate::observe::Credentials;

/// Under which name the adapters look for it among the credentials of a deployment.
const ADMIN_PASSWORD: &str = "adminPassword";

/// The password that is still needed.
fn wanted(cluster: &EncryptedCluster) -> Option<&PasswordSecretRef> {
    let group = cluster.spec.deployment.as_ref()?.single_store.as_ref()?;
    let there = cluster.status.as_ref().is_some_and(|status| status.upstream_id.is_some());
    let made = there || group.workspace_group_id.is_some() || cluster.metadata.deletion_timestamp.is_some();
    group.admin_password_secret_ref.as_ref().filter(|_| !made)
}

impl Reader<'_> {
    /// Puts the password into what a cluster is deployed with; without it there is nothing to deploy with.
    pub(super) async fn with_password(
        &self,
        cluster: &EncryptedCluster,
        found: (Credentials, String),
    ) -> (Credentials, String) {
        let (mut credentials, version) = found;
        // Whatever else the Secret with the API key holds is not meant to be sent.
        if let Some(deploy) = &mut credentials.deploy {
            deploy.credentials.0.remove(ADMIN_PASSWORD);
        }
        let Some(PasswordSecretRef { name, key }) = wanted(cluster) else { return (credentials, version) };
        let namespace = cluster.namespace().unwrap_or_default();
        let target = format!("{namespace}/{name}");
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        let secret = match reading("get Secret", &target, api.get_opt(name).await) {
            Reading::Present(secret) => secret,
            Reading::Absent => Secret::default(),
            Reading::Unknown(why) => {
                return (Credentials { seen: Reading::Unknown(why), deploy: None, ..credentials }, version);
            }
        };
        let version = format!("{version}+{}", secret.resource_version().unwrap_or_default());
        let value = secret.data.as_ref().and_then(|data| data.get(key)).and_then(|v| std::str::from_utf8(&v.0).ok());
        let value = value.map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
        let Some(password) = value else {
            let lacks = CredentialsSeen { secret: target, lacking: vec![key.clone()] };
            return (Credentials { seen: Reading::Present(lacks), deploy: None, ..credentials }, version);
        };
        if let Some(deploy) = &mut credentials.deploy {
            deploy.credentials.0.insert(ADMIN_PASSWORD.to_owned(), password.to_owned());
        }
        (credentials, version)
    }
}
