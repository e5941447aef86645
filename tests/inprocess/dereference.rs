//! What an object refers to, as `controller::dereference` reads it.

use std::collections::BTreeMap;

use cmk_operator::api::parse::{self, Invalid, allows};
use cmk_operator::api::{CustomerKey, EncryptedCluster, SecretRef};
use cmk_operator::domain::capabilities::Scope;
use cmk_operator::domain::desired::{Afterlife, Desired, DesiredKey, LinkedKey};
use cmk_operator::domain::observed::CredentialsSeen;
use cmk_operator::domain::reading::Reading;
use cmk_operator::observe::Credentials;
use cmk_operator::ports::Session;

use super::lab::Lab;
use super::store::{Held, NAMESPACE};
use super::turn::turn;

/// What an object declares, with all that it refers to.
pub trait Refers: Held {
    fn dereference(&self, lab: &Lab) -> impl Future<Output = Result<(Desired, Credentials), Invalid>>;
}

impl Refers for CustomerKey {
    async fn dereference(&self, lab: &Lab) -> Result<(Desired, Credentials), Invalid> {
        let mut desired = parse::customer_key(self, &lab.installation())?;
        turn().await;
        if ending(self, &desired) {
            let users = lab.store().clusters.values().filter_map(|cluster| parse::user(cluster, self)).collect();
            desired.users = Reading::Present(users);
        }
        let found = credentials(lab, parse::credentials_of(&self.spec.upstream), &desired.scope);
        let mut desired = Desired::Key(desired);
        lab.twist.desired(&mut desired);
        Ok((desired, found))
    }
}

impl Refers for EncryptedCluster {
    async fn dereference(&self, lab: &Lab) -> Result<(Desired, Credentials), Invalid> {
        turn().await;
        let mut found = Credentials::default();
        let (namespace, name) = parse::key_ref(self);
        let key = stored(lab, &namespace, &name);
        let linked = link(lab, key.as_ref())?;
        if let (Some(key), Reading::Present(LinkedKey { key: desired, allowed: true })) = (&key, &linked) {
            found = self.credentials(lab, key, &desired.scope);
        }
        let mut desired = parse::encrypted_cluster(self, linked)?;
        if let (Some(backup), Some((namespace, name))) = (&mut desired.backup, parse::backup_key_ref(self)) {
            turn().await;
            backup.key = link(lab, stored(lab, &namespace, &name).as_ref())?;
        }
        let mut desired = Desired::Cluster(desired);
        lab.twist.desired(&mut desired);
        Ok((desired, found))
    }
}

fn stored(lab: &Lab, namespace: &str, name: &str) -> Option<CustomerKey> {
    lab.store().keys.get(name).filter(|_| namespace == NAMESPACE).cloned()
}

fn link(lab: &Lab, key: Option<&CustomerKey>) -> Result<Reading<LinkedKey>, Invalid> {
    let Some(key) = key else { return Ok(Reading::Absent) };
    let allowed = allows(key, NAMESPACE, &BTreeMap::new());
    Ok(Reading::Present(LinkedKey { key: parse::customer_key(key, &lab.installation())?, allowed }))
}

trait Deploys {
    fn credentials(&self, lab: &Lab, key: &CustomerKey, scope: &Scope) -> Credentials;
}

impl Deploys for EncryptedCluster {
    fn credentials(&self, lab: &Lab, key: &CustomerKey, scope: &Scope) -> Credentials {
        let of_key = credentials(lab, parse::credentials_of(&key.spec.upstream), scope);
        let own = self.spec.deployment.as_ref().and_then(parse::credentials_of_deployment);
        let Some(own) = own else { return of_key };
        let own = credentials(lab, Some(own), scope);
        let seen = if own.session.is_none() { own.seen } else { of_key.seen };
        Credentials { seen, session: of_key.session, deploy: own.session }
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

fn credentials(lab: &Lab, secret: Option<&SecretRef>, scope: &Scope) -> Credentials {
    let Some(SecretRef { name }) = secret else { return Credentials::default() };
    let Some(values) = lab.secrets.get(name).cloned() else {
        return Credentials { seen: Reading::Absent, ..Credentials::default() };
    };
    let session = Session { scope: scope.clone(), credentials: cmk_operator::ports::Credentials(values) };
    let seen = CredentialsSeen { secret: format!("{NAMESPACE}/{name}"), lacking: Vec::new() };
    Credentials { seen: Reading::Present(seen), session: Some(session.clone()), deploy: Some(session) }
}
