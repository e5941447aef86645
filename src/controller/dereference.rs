//! What an object refers to in Kubernetes: its Secret, its key, its namespace. Read anew in every pass.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::api::parse::{self, Invalid};
use crate::api::{CustomerKey, EncryptedCluster, SecretRef};
use crate::controller::context::Context;
use crate::domain::capabilities::{Cloud, Scope};
use crate::domain::desired::{Afterlife, Desired, DesiredKey, LinkedKey, User};
use crate::domain::id::Name;
use crate::domain::moment::Moment;
use crate::domain::observed::CredentialsSeen;
use crate::domain::reading::{Reading, Why};
use crate::observe::Credentials;
use crate::ports::{Cause, Fault, FaultClass, KeyService, Session, Upstream};

/// What an object declares, with all that it refers to.
pub struct Dereferenced {
    /// What it declares.
    pub desired: Desired,
    /// The credentials for the database cloud.
    pub credentials: Credentials,
    /// The version of the Secret that they came from.
    pub secret_version: String,
}

impl<A: KeyService, U: Upstream> Context<A, U> {
    /// Reads what a `CustomerKey` refers to.
    pub async fn dereference_key(&self, key: &CustomerKey) -> Result<Dereferenced, Invalid> {
        let desired = self.claim(key, parse::customer_key(key, &self.installation))?;
        Ok(self.reader().key(key, desired).await)
    }

    /// Reads what an `EncryptedCluster` refers to.
    pub async fn dereference_cluster(&self, cluster: &EncryptedCluster) -> Result<Dereferenced, Invalid> {
        let (namespace, name) = parse::key_ref(cluster);
        let reader = self.reader();
        let key = reader.customer_key(&namespace, &name).await;
        reader.cluster(cluster, key).await
    }

    fn reader(&self) -> Reader<'_> {
        let Self { client, lacking, installation, namespaces, .. } = self;
        Reader { client, lacking: *lacking, installation, namespaces }
    }

    /// Notes which registrations a key claims, and learns who has claimed them for longer.
    fn claim(&self, key: &CustomerKey, desired: Result<DesiredKey, Invalid>) -> Result<DesiredKey, Invalid> {
        let name = (key.namespace().unwrap_or_default(), key.name_any());
        let created = key.creation_timestamp().map(|at| Moment(at.0.as_millisecond())).unwrap_or_default();
        let since = (created, key.uid().unwrap_or_default());
        self.trigger_keys(self.slots.claims(&name, since, desired.as_ref().ok()));
        let mut desired = desired?;
        desired.rivals = self.slots.rivals(&name, &desired);
        Ok(desired)
    }
}

/// Reads what objects refer to, and writes nothing.
pub struct Reader<'a> {
    /// The Kubernetes client.
    pub client: &'a Client,
    /// Which secret keys the clouds need.
    pub lacking: fn(Cloud, &BTreeMap<String, String>) -> Vec<String>,
    /// The name of this installation.
    pub installation: &'a Name,
    /// The namespaces that are watched; none: all.
    pub namespaces: &'a [String],
}

impl Reader<'_> {
    /// What a `CustomerKey` refers to.
    pub async fn key(&self, key: &CustomerKey, mut desired: DesiredKey) -> Dereferenced {
        if ending(key, &desired) || desired.restricts_sources() {
            desired.users = self.users_of(key).await;
        }
        let secret = parse::credentials_of(&key.spec.upstream);
        let (credentials, secret_version) =
            self.credentials(&key.namespace().unwrap_or_default(), secret, &desired.scope).await;
        Dereferenced { desired: Desired::Key(desired), credentials, secret_version }
    }

    /// What an `EncryptedCluster` refers to beside its key, which was read before.
    pub async fn cluster(
        &self,
        cluster: &EncryptedCluster,
        key: Reading<CustomerKey>,
    ) -> Result<Dereferenced, Invalid> {
        let own_namespace = cluster.namespace().unwrap_or_default();
        let mut found = (Credentials::default(), String::new());
        let backup = self.backup_key(cluster, &own_namespace).await;
        let linked = match key {
            Reading::Present(key) => {
                let linked = self.link(&key, &own_namespace).await;
                if let Some(linked) = linked.present().filter(|linked| linked.allowed) {
                    found = self.cluster_credentials(cluster, &key, &linked.key.scope).await;
                    found = self.with_password(cluster, found).await;
                }
                linked
            }
            Reading::Absent => Reading::Absent,
            Reading::Unknown(why) => Reading::Unknown(why),
        };
        let mut desired = parse::encrypted_cluster(cluster, linked)?;
        if let (Some(of), Some(key)) = (&mut desired.backup, backup) {
            of.key = key;
        }
        Ok(Dereferenced { desired: Desired::Cluster(desired), credentials: found.0, secret_version: found.1 })
    }

    /// The key for backups that a cluster refers to, read anew.
    async fn backup_key(&self, cluster: &EncryptedCluster, own_namespace: &str) -> Option<Reading<LinkedKey>> {
        let (namespace, name) = parse::backup_key_ref(cluster)?;
        Some(match self.customer_key(&namespace, &name).await {
            Reading::Present(key) => self.link(&key, own_namespace).await,
            Reading::Absent => Reading::Absent,
            Reading::Unknown(why) => Reading::Unknown(why),
        })
    }

    /// A cluster's gate is read with the key's own credentials. It is deployed with the cluster's, which are the key's
    /// only within one namespace: a token of another namespace is never used to write for a tenant.
    async fn cluster_credentials(
        &self,
        cluster: &EncryptedCluster,
        key: &CustomerKey,
        scope: &Scope,
    ) -> (Credentials, String) {
        let key_namespace = key.namespace().unwrap_or_default();
        let own_namespace = cluster.namespace().unwrap_or_default();
        let of_key = self.credentials(&key_namespace, parse::credentials_of(&key.spec.upstream), scope).await;
        let Some(deployment) = &cluster.spec.deployment else { return of_key };
        match parse::credentials_of_deployment(deployment) {
            Some(own) => {
                let (own, own_version) = self.credentials(&own_namespace, Some(own), scope).await;
                let seen = if own.session.is_none() { own.seen } else { of_key.0.seen };
                let version = format!("{}+{own_version}", of_key.1);
                (Credentials { seen, session: of_key.0.session, deploy: own.session }, version)
            }
            None if own_namespace == key_namespace => of_key,
            None => (Credentials { seen: Reading::Absent, session: None, deploy: None }, "unset".to_owned()),
        }
    }

    /// The clusters that refer to a key, or have claimed it, by a list that the API server answers from its quorum, and
    /// that begins after the key itself was read. One that cannot be read whole is unknown.
    async fn users_of(&self, key: &CustomerKey) -> Reading<Vec<User>> {
        let apis: Vec<Api<EncryptedCluster>> = if self.namespaces.is_empty() {
            vec![Api::all(self.client.clone())]
        } else {
            self.namespaces.iter().map(|namespace| Api::namespaced(self.client.clone(), namespace)).collect()
        };
        let name = key.name_any();
        let mut users: Vec<User> = Vec::new();
        for api in apis {
            for field in ["spec.customerKeyRef.name", "spec.backupKeyRef.name"] {
                let mut page = ListParams::default().fields(&format!("{field}={name}")).limit(500);
                loop {
                    let listed = reading("list EncryptedClusters", &name, api.list(&page).await.map(Some));
                    let list = match listed {
                        Reading::Present(list) => list,
                        Reading::Absent => break,
                        Reading::Unknown(why) => return Reading::Unknown(why),
                    };
                    users.extend(list.items.iter().filter_map(|cluster| parse::user(cluster, key)));
                    match list.metadata.continue_.filter(|next| !next.is_empty()) {
                        Some(next) => page = page.continue_token(&next),
                        None => break,
                    }
                }
            }
        }
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users.dedup();
        Reading::Present(users)
    }

    /// A `CustomerKey`, as the API server has it now.
    pub async fn customer_key(&self, namespace: &str, name: &str) -> Reading<CustomerKey> {
        let api: Api<CustomerKey> = Api::namespaced(self.client.clone(), namespace);
        reading("get CustomerKey", &format!("{namespace}/{name}"), api.get_opt(name).await)
    }

    async fn link(&self, key: &CustomerKey, cluster_namespace: &str) -> Reading<LinkedKey> {
        let desired = match parse::customer_key(key, self.installation) {
            Ok(desired) => desired,
            Err(invalid) => return Reading::Unknown(Why::Failed(means_nothing(key, &invalid))),
        };
        let labels = if key.spec.allowed_namespaces.selector.is_some() {
            let api: Api<Namespace> = Api::all(self.client.clone());
            match reading("get Namespace", cluster_namespace, api.get_opt(cluster_namespace).await) {
                Reading::Present(namespace) => namespace.metadata.labels.unwrap_or_default(),
                Reading::Absent => BTreeMap::new(),
                Reading::Unknown(why) => return Reading::Unknown(why),
            }
        } else {
            BTreeMap::new()
        };
        let allowed = parse::allows(key, cluster_namespace, &labels);
        Reading::Present(LinkedKey { key: desired, allowed })
    }

    async fn credentials(&self, namespace: &str, secret: Option<&SecretRef>, scope: &Scope) -> (Credentials, String) {
        let Some(SecretRef { name }) = secret else { return (Credentials::default(), String::new()) };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let target = format!("{namespace}/{name}");
        let secret = match reading("get Secret", &target, api.get_opt(name).await) {
            Reading::Present(secret) => secret,
            Reading::Absent => {
                return (Credentials { seen: Reading::Absent, ..Credentials::default() }, "absent".to_owned());
            }
            Reading::Unknown(why) => {
                return (Credentials { seen: Reading::Unknown(why), ..Credentials::default() }, String::new());
            }
        };
        let version = secret.resource_version().unwrap_or_default();
        let values: BTreeMap<String, String> = secret
            .data
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?.trim().to_owned())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let lacking = (self.lacking)(scope.cloud, &values);
        let session = lacking
            .is_empty()
            .then(|| Session { scope: scope.clone(), credentials: crate::ports::Credentials(values) });
        let seen = Reading::Present(CredentialsSeen { secret: target, lacking });
        (Credentials { seen, deploy: session.clone(), session }, version)
    }
}

/// Whether something of the key may be torn down, so that who uses it has to be known.
fn ending(key: &CustomerKey, desired: &DesiredKey) -> bool {
    if desired.object.deleting {
        return desired.afterlife == Afterlife::TearDown;
    }
    let shown = key.status.iter().flat_map(|status| &status.regions);
    let mut left = shown.filter(|r| !desired.regions.keys().any(|region| region.as_str() == r.name));
    left.next().is_some()
}

/// The spec of a key that a cluster names, and that the key itself refuses. It keeps the cluster waiting, and no more: it is
/// for the key's author to mend, and the field is told there alone, for not everybody who names a key may know it.
fn means_nothing(key: &CustomerKey, invalid: &Invalid) -> Fault {
    let target = format!("{}/{}", key.namespace().unwrap_or_default(), key.name_any());
    tracing::debug!(target, %invalid, "the spec of a CustomerKey means nothing");
    let message = "its spec means nothing; its own status says why, and its author has to correct it";
    Fault::new(FaultClass::Invalid, "read CustomerKey", target, message)
}

pub(super) fn reading<T>(operation: &str, target: &str, result: kube::Result<Option<T>>) -> Reading<T> {
    match result {
        Ok(Some(value)) => Reading::Present(value),
        Ok(None) => Reading::Absent,
        Err(error) => {
            let class = match &error {
                kube::Error::Api(status) if matches!(status.code, 401 | 403) => FaultClass::Refused,
                _ => FaultClass::Transient,
            };
            if class == FaultClass::Refused {
                tracing::warn!(operation, target, %error, "the API server refuses a read");
            }
            let fault = Fault::new(class, operation, target, error.to_string()).because(Cause::Kubernetes);
            Reading::Unknown(Why::Failed(fault))
        }
    }
}
