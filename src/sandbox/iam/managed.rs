//! Managed policies, as far as boundaries need them: they are put by hand, and two of AWS's own are known.

use super::Iam;

const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
/// `PowerUserAccess` as far as it matters here: everything but IAM and organizations.
const POWER_USER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"}]}"#;

impl Iam {
    /// Puts a managed policy, replacing the one of that ARN.
    pub(in crate::sandbox) fn put_managed(&mut self, arn: &str, document: &str) {
        self.managed.insert(arn.to_owned(), document.to_owned());
    }

    /// The document of a managed policy.
    pub(super) fn managed_policy(&self, arn: &str) -> Option<String> {
        let own = match arn.rsplit_once(":iam::aws:policy/") {
            Some((_, "AdministratorAccess")) => Some(EVERYTHING),
            Some((_, "PowerUserAccess")) => Some(POWER_USER),
            _ => None,
        };
        own.map(str::to_owned).or_else(|| self.managed.get(arn).cloned())
    }
}
