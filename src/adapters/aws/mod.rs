//! [`KeyService`] over KMS, STS and the tagging API.
//!
//! - [`clients`]: who calls; [`assume`]: as whom.
//! - [`send`]: one call; [`faults`]: what its error means, by the table of [`codes`].
//! - [`scan`]: looking for keys by their tags; [`keys`]: reading and writing one key;
//!   [`replica`]: the replicas of one.
//! - [`roles`]: the roles that are made; [`rights`]: the IAM policy that all of this needs.

mod assume;
mod clients;
pub(crate) mod codes;
mod faults;
mod keys;
mod operation;
mod options;
mod replica;
pub mod rights;
mod roles;
mod scan;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;

use clients::{ClientSet, Clients};
pub use operation::Operation;
pub use options::{Endpoints, Options};
use send::Sender;

use crate::adapters::limits::Limits;
use crate::adapters::watch::Watch;
use crate::clock::Clock;
use crate::domain::desired::NewKey;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::iam_role::{IamRole, NewRole};
use crate::domain::id::{KeyArn, Owner, Region};
use crate::domain::moment::Moment;
use crate::domain::observed::{Caller, Candidate, KeyFacts, Rotation};
use crate::domain::reading::Reading;
use crate::domain::role_powers::RolePowers;
use crate::ports::{KeyService, Place};

/// AWS over the wire.
pub struct AwsKeys {
    sender: Arc<Sender>,
    clients: Clients,
}

impl AwsKeys {
    /// AWS, called in this way. Sends nothing; the first call finds the credentials.
    pub fn new(options: Options, clock: Arc<dyn Clock>, limits: Arc<Limits<String>>, watch: Arc<dyn Watch>) -> Self {
        let sender = Arc::new(Sender { options, clock, limits, watch });
        Self { clients: Clients::new(sender.clone()), sender }
    }

    /// The outcome of a call. After AWS rejected our credentials they are fetched anew, and it is asked anew who we are.
    async fn noted<T>(&self, set: &ClientSet, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if outcome.as_ref().is_err_and(|fault| fault.cause == Cause::Credentials) {
            self.clients.renew();
        }
        if outcome.as_ref().is_err_and(|f| matches!(f.cause, Cause::Credentials | Cause::Role | Cause::OpenRole)) {
            *set.caller.lock().await = None;
        }
        outcome
    }

    /// The place for a deletion: the same, with the role that is configured for deletions, and the same External ID.
    fn place_of_deletion(&self, place: &Place) -> Result<Place, Fault> {
        let mut place = place.clone();
        let account = place.access.account.as_str();
        if let Some(role) = &self.sender.options.deletion_role {
            let role = role.replace("{account}", account);
            // AWS would say only that the key is not there.
            if role.split(':').nth(4) != Some(account) {
                let message = format!("the role for deletions is not in account {account}, where the key is");
                let fault = Fault::new(FaultClass::Refused, Operation::AssumeRole.action(), &role, message);
                return Err(fault.because(Cause::Role));
            }
            place.access.role_arn = Some(role);
        }
        Ok(place)
    }

    async fn who(&self, place: &Place) -> Result<Caller, Fault> {
        let set = self.clients.of(place).await?;
        let mut known = set.caller.lock().await;
        if let Some((at, caller)) = known.as_ref()
            && self.sender.clock.now().since(*at) < self.sender.options.caller_ttl
        {
            return Ok(caller.clone());
        }
        *known = None;
        let (operation, target) = (Operation::GetCallerIdentity, place.region.as_str());
        let reply = self.sender.send(operation, target, Box::pin(set.sts.get_caller_identity().send())).await;
        if reply.as_ref().is_err_and(|fault| fault.cause == Cause::Credentials) {
            self.clients.renew();
        }
        let reply = reply?;
        let (Some(account), Some(arn)) = (reply.account, reply.arn) else {
            return Err(Fault::new(FaultClass::Terminal, operation.action(), target, "the answer names nobody"));
        };
        let caller = Caller { account, arn };
        *known = Some((self.sender.clock.now(), caller.clone()));
        Ok(caller)
    }
}

impl KeyService for AwsKeys {
    async fn caller(&self, place: &Place) -> Reading<Caller> {
        self.who(place).await.map(Some).into()
    }

    async fn describe(&self, place: &Place, key: &str) -> Reading<KeyFacts> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, keys::describe(&self.sender, &set, place, key).await).await
        };
        look.await.into()
    }

    async fn tags(&self, place: &Place, key: &KeyArn) -> Reading<BTreeMap<String, String>> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, scan::tags(&self.sender, &set, key).await).await
        };
        look.await.into()
    }

    async fn policy(&self, place: &Place, key: &KeyArn) -> Reading<String> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, keys::policy(&self.sender, &set, key).await).await
        };
        look.await.into()
    }

    async fn rotation(&self, place: &Place, key: &KeyArn) -> Reading<Rotation> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, keys::rotation(&self.sender, &set, key).await).await
        };
        look.await.into()
    }

    async fn search(&self, place: &Place, owner: &Owner) -> Reading<Vec<Candidate>> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, scan::search(&self.sender, &set, place, owner).await.map(Some)).await
        };
        look.await.into()
    }

    async fn scan(&self, place: &Place, owner: &Owner, not_before: Moment) -> Reading<Vec<Candidate>> {
        let look = async {
            let set = self.clients.of(place).await?;
            let scan = set.scans.candidates(&self.sender, &set, &place.region, owner, not_before).await;
            self.noted(&set, scan.map(Some)).await
        };
        look.await.into()
    }

    async fn create_key(&self, place: &Place, key: &NewKey) -> Result<KeyArn, Fault> {
        let set = self.clients.of(place).await?;
        self.noted(&set, keys::create(&self.sender, &set, place, key).await).await
    }

    async fn replicate_key(
        &self,
        place: &Place,
        primary: &KeyArn,
        region: &Region,
        replica: &NewKey,
    ) -> Result<KeyArn, Fault> {
        let set = self.clients.of(place).await?;
        self.noted(&set, replica::replicate(&self.sender, &set, place, primary, region, replica).await).await
    }

    async fn create_alias(&self, place: &Place, alias: &str, key: &KeyArn) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = keys::in_region(alias, place);
        let call = set.writes.create_alias().alias_name(alias).target_key_id(key.to_string());
        let done = self.sender.write(Operation::CreateAlias, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn put_policy(&self, place: &Place, key: &KeyArn, policy: &str) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let call = set.writes.put_key_policy().key_id(&target).policy_name(keys::POLICY_NAME).policy(policy);
        let done = self.sender.write(Operation::PutKeyPolicy, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn enable_rotation(&self, place: &Place, key: &KeyArn, period_days: i32) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let call = set.writes.enable_key_rotation().key_id(&target).rotation_period_in_days(period_days);
        let done = self.sender.write(Operation::EnableKeyRotation, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn describe_as(&self, place: &Place, key: &KeyArn, description: &str) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let call = set.writes.update_key_description().key_id(&target).description(description);
        let done = self.sender.write(Operation::UpdateKeyDescription, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn tag(&self, place: &Place, key: &KeyArn, tags: &BTreeMap<String, String>) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let tags = keys::wire_tags(Operation::TagResource, &target, tags)?;
        let call = set.writes.tag_resource().key_id(&target).set_tags(Some(tags));
        let done = self.sender.write(Operation::TagResource, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn cancel_deletion(&self, place: &Place, key: &KeyArn) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let call = set.writes.cancel_key_deletion().key_id(&target);
        let done = self.sender.write(Operation::CancelKeyDeletion, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn enable(&self, place: &Place, key: &KeyArn) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let call = set.writes.enable_key().key_id(&target);
        let done = self.sender.write(Operation::EnableKey, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn schedule_deletion(&self, place: &Place, key: &KeyArn, window_days: i32) -> Result<(), Fault> {
        let place = &self.place_of_deletion(place)?;
        let set = self.clients.of(place).await?;
        let target = key.to_string();
        let call = set.writes.schedule_key_deletion().key_id(&target).pending_window_in_days(window_days);
        let done = self.sender.write(Operation::ScheduleKeyDeletion, place, &target, Box::pin(call.send())).await;
        self.noted(&set, done.map(drop)).await
    }

    async fn role(&self, place: &Place, arn: &str) -> Reading<IamRole> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, roles::role(&self.sender, &set, arn).await).await
        };
        look.await.into()
    }

    async fn role_powers(&self, place: &Place, role: &str, actions: &[String], key: &KeyArn) -> Reading<RolePowers> {
        let look = async {
            let set = self.clients.of(place).await?;
            self.noted(&set, roles::powers(&self.sender, &set, role, actions, key).await).await
        };
        look.await.into()
    }

    async fn create_role(&self, place: &Place, role: &NewRole) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        self.noted(&set, roles::create(&self.sender, &set, place, role).await).await
    }

    async fn trust_role(&self, place: &Place, arn: &str, trust: &str) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        self.noted(&set, roles::trust(&self.sender, &set, place, arn, trust).await).await
    }

    async fn permit_role(&self, place: &Place, arn: &str, policy: &str) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        self.noted(&set, roles::permit(&self.sender, &set, place, arn, policy).await).await
    }

    async fn delete_role(&self, place: &Place, arn: &str) -> Result<(), Fault> {
        let set = self.clients.of(place).await?;
        self.noted(&set, roles::delete(&self.sender, &set, place, arn).await).await
    }
}
