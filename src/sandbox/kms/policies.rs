//! Reading and replacing the key policy. There is no compare-and-set: the last writer wins.

use super::{Kms, Needs, not_found};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::iam::Identity;
use crate::sandbox::policy::{self, Policy};
use crate::sandbox::world::World;

impl World {
    /// `key` is the ARN of the key that the policy is for.
    pub(super) fn accept_policy(
        &self,
        who: &Identity,
        key: &str,
        text: &str,
        bypass: bool,
    ) -> Result<Policy, ServiceError> {
        policy::accept(text, &self.iam, who, key, self.now_ms - self.settings.principal_lag_ms, bypass)
    }
}

impl Kms<'_> {
    /// The policy, reformatted and with principals as they are now. The only policy name is `default`.
    pub fn get_key_policy(&mut self, key: &str, name: Option<&str>) -> Result<String, Failure> {
        let unknown = name.is_some_and(|n| n != "default");
        self.look("GetKeyPolicy", key, |world, _, key| {
            if unknown {
                return Err(not_found("No such policy exists"));
            }
            Ok(key.policy.render(&world.iam))
        })
    }

    /// Replaces the policy.
    pub fn put_key_policy(
        &mut self,
        key: &str,
        name: Option<&str>,
        text: &str,
        bypass_lockout_check: bool,
    ) -> Result<(), Failure> {
        let who = self.who.clone();
        let unknown = name.is_some_and(|n| n != "default");
        self.alter("PutKeyPolicy", key, Needs::Any, |world, key| {
            world.note_bypass(bypass_lockout_check);
            if unknown {
                return Err(ServiceError::validation("PolicyName must be default"));
            }
            key.policy = world.accept_policy(&who, &key.arn, text, bypass_lockout_check)?;
            Ok(())
        })
    }

    /// Always just `default`.
    pub fn list_key_policies(&mut self, key: &str) -> Result<Vec<String>, Failure> {
        self.look("ListKeyPolicies", key, |_, _, _| Ok(vec!["default".to_owned()]))
    }
}
