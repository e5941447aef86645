//! The human who confirms whatever status shows a token of.

use cmk_operator::api::{ANNOTATION_CONFIRM_DELETION, CustomerKey, EncryptedCluster};
use kube::ResourceExt;

use super::lab::Lab;
use super::store::Held;

/// A kind whose status shows tokens.
pub trait Confirms: Held {
    /// The tokens of the object's deletion and of its regions' removal.
    fn tokens(&self) -> Vec<String>;
}

impl Confirms for CustomerKey {
    fn tokens(&self) -> Vec<String> {
        let Some(status) = &self.status else { return Vec::new() };
        let regions = status.regions.iter().filter_map(|r| r.deletion.as_ref());
        status.deletion.iter().chain(regions).filter_map(|d| d.confirmation_token.clone()).collect()
    }
}

impl Confirms for EncryptedCluster {
    fn tokens(&self) -> Vec<String> {
        let Some(status) = &self.status else { return Vec::new() };
        let regions = status.regions.iter().filter_map(|r| r.deletion.as_ref());
        status.deletion.iter().chain(regions).filter_map(|d| d.confirmation_token.clone()).collect()
    }
}

/// Confirms what an object shows the tokens of, unless that was done before.
pub fn confirm<K: Confirms>(lab: &Lab, name: &str) {
    let found = K::shelf(&lab.store()).get(name).cloned();
    let Some(object) = found else { return };
    let tokens = object.tokens();
    let annotation = object.annotations().get(ANNOTATION_CONFIRM_DELETION).cloned().unwrap_or_default();
    if tokens.iter().any(|token| !annotation.contains(token.as_str())) {
        lab.store().annotate::<K>(name, ANNOTATION_CONFIRM_DELETION, tokens.join(","));
    }
}
