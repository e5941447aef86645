//! The ports as a pass of the model holds them: the simulated clouds, with judges who hear of every write before it is
//! sent, and with the one hidden thing that no fault rule can do: an index that shows nothing.

use std::collections::BTreeMap;

use cmk_operator::domain::desired::{DatabaseRequest, NewKey};
use cmk_operator::domain::iam_role::{IamRole, NewRole};
use cmk_operator::domain::id::{KeyArn, Owner, Region};
use cmk_operator::domain::moment::Moment;
use cmk_operator::domain::observed::{Caller, Candidate, Database, KeyFacts, RegionOffer, Rotation};
use cmk_operator::domain::reading::{Reading, Why};
use cmk_operator::domain::role_link::{RegistrationSeen, RoleLink};
use cmk_operator::ports::{Applied, Fault, KeyService, Place, Session, Upstream};

use super::act::Who;
use super::judge::{Event, Sent};
use super::lab::{Lab, lock};
use super::scene::Index;
use super::stopped::Answer;

/// The ports of one pass.
pub(crate) struct Wire<'l, 'c> {
    pub(crate) lab: &'l Lab<'c>,
    pub(crate) who: Who,
}

impl Wire<'_, '_> {
    fn read<T>(&self, reading: Reading<T>) -> Reading<T> {
        match reading {
            Reading::Unknown(Why::Failed(_)) if self.lab.config.devices.failed_read_is_absence() => Reading::Absent,
            other => other,
        }
    }

    /// Sends a write, unless it was sent before the pass stopped.
    async fn write(&self, sent: Sent<'_>, call: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
        if let Some(Answer::Done(known)) = self.lab.known() {
            return known;
        }
        self.send(&sent);
        let done = call.await;
        self.lab.answered(|| Answer::Done(done.clone()));
        done
    }

    fn send(&self, sent: &Sent<'_>) {
        {
            let mut counts = lock(&self.lab.counts);
            counts.outside = counts.outside.saturating_add(1);
        }
        self.lab.judge(&Event::Send { who: self.who, sent });
    }
}

impl KeyService for Wire<'_, '_> {
    async fn caller(&self, place: &Place) -> Reading<Caller> {
        self.read(self.lab.clouds.caller(place).await)
    }

    async fn describe(&self, place: &Place, key: &str) -> Reading<KeyFacts> {
        if key.starts_with("alias/") && self.lab.config.devices.ignores_alias() {
            return Reading::Absent;
        }
        self.read(self.lab.clouds.describe(place, key).await)
    }

    async fn tags(&self, place: &Place, key: &KeyArn) -> Reading<BTreeMap<String, String>> {
        self.read(self.lab.clouds.tags(place, key).await)
    }

    async fn policy(&self, place: &Place, key: &KeyArn) -> Reading<String> {
        if let Some(Answer::Policy(known)) = self.lab.known() {
            return known;
        }
        let read = self.read(self.lab.clouds.policy(place, key).await);
        self.lab.answered(|| Answer::Policy(read.clone()));
        read
    }

    async fn rotation(&self, place: &Place, key: &KeyArn) -> Reading<Rotation> {
        self.read(self.lab.clouds.rotation(place, key).await)
    }

    async fn search(&self, place: &Place, owner: &Owner) -> Reading<Vec<Candidate>> {
        let found = self.read(self.lab.clouds.search(place, owner).await);
        match self.lab.config.index {
            Index::Late => found,
            Index::Blind => found.map(|_| Vec::new()),
        }
    }

    async fn scan(&self, place: &Place, owner: &Owner, not_before: Moment) -> Reading<Vec<Candidate>> {
        self.read(self.lab.clouds.scan(place, owner, not_before).await)
    }

    async fn create_key(&self, place: &Place, key: &NewKey) -> Result<KeyArn, Fault> {
        if let Some(Answer::Key(known)) = self.lab.known() {
            return known;
        }
        self.send(&Sent::CreateKey { region: &place.region, key });
        let created = self.lab.clouds.create_key(place, key).await;
        // It was sent only because the one before had been searched for long enough; now this one is the open question.
        let now = self.lab.clouds.world().now_ms();
        {
            let mut ghost = lock(&self.lab.ghost);
            if created.as_ref().is_err_and(|fault| fault.applied == Applied::Perhaps) {
                ghost.unresolved.insert(place.region.to_string(), now);
            } else {
                ghost.unresolved.remove(place.region.as_str());
            }
        }
        self.lab.answered(|| Answer::Key(created.clone()));
        created
    }

    async fn replicate_key(
        &self,
        place: &Place,
        primary: &KeyArn,
        region: &Region,
        new: &NewKey,
    ) -> Result<KeyArn, Fault> {
        if let Some(Answer::Key(known)) = self.lab.known() {
            return known;
        }
        self.send(&Sent::ReplicateKey { region, primary, key: new });
        let made = self.lab.clouds.replicate_key(place, primary, region, new).await;
        self.lab.answered(|| Answer::Key(made.clone()));
        made
    }

    async fn create_alias(&self, place: &Place, alias: &str, key: &KeyArn) -> Result<(), Fault> {
        if self.lab.config.devices.ignores_alias() {
            return Ok(());
        }
        self.write(Sent::CreateAlias { key }, self.lab.clouds.create_alias(place, alias, key)).await
    }

    async fn put_policy(&self, place: &Place, key: &KeyArn, policy: &str) -> Result<(), Fault> {
        self.write(Sent::PutPolicy { key, policy }, self.lab.clouds.put_policy(place, key, policy)).await
    }

    async fn enable_rotation(&self, place: &Place, key: &KeyArn, period_days: i32) -> Result<(), Fault> {
        self.write(Sent::Change { key }, self.lab.clouds.enable_rotation(place, key, period_days)).await
    }

    async fn describe_as(&self, place: &Place, key: &KeyArn, description: &str) -> Result<(), Fault> {
        self.write(Sent::Change { key }, self.lab.clouds.describe_as(place, key, description)).await
    }

    async fn tag(&self, place: &Place, key: &KeyArn, tags: &BTreeMap<String, String>) -> Result<(), Fault> {
        self.write(Sent::Change { key }, self.lab.clouds.tag(place, key, tags)).await
    }

    async fn cancel_deletion(&self, place: &Place, key: &KeyArn) -> Result<(), Fault> {
        let done = self.write(Sent::Restore { key }, self.lab.clouds.cancel_deletion(place, key)).await;
        if !matches!(&done, Err(fault) if fault.applied == Applied::No) {
            lock(&self.lab.ghost).scheduled.remove(&key.to_string());
        }
        done
    }

    async fn enable(&self, place: &Place, key: &KeyArn) -> Result<(), Fault> {
        self.write(Sent::Change { key }, self.lab.clouds.enable(place, key)).await
    }

    async fn schedule_deletion(&self, place: &Place, key: &KeyArn, window_days: i32) -> Result<(), Fault> {
        let done = self.write(Sent::Schedule { key }, self.lab.clouds.schedule_deletion(place, key, window_days)).await;
        if !matches!(&done, Err(fault) if fault.applied == Applied::No) {
            lock(&self.lab.ghost).scheduled.insert(key.to_string());
        }
        done
    }

    async fn role(&self, place: &Place, arn: &str) -> Reading<IamRole> {
        self.read(self.lab.clouds.role(place, arn).await)
    }

    async fn create_role(&self, place: &Place, role: &NewRole) -> Result<(), Fault> {
        self.write(Sent::MakeRole { role: &role.arn }, self.lab.clouds.create_role(place, role)).await
    }

    async fn trust_role(&self, place: &Place, arn: &str, trust: &str) -> Result<(), Fault> {
        self.write(Sent::ChangeRole { role: arn }, self.lab.clouds.trust_role(place, arn, trust)).await
    }

    async fn permit_role(&self, place: &Place, arn: &str, policy: &str) -> Result<(), Fault> {
        self.write(Sent::ChangeRole { role: arn }, self.lab.clouds.permit_role(place, arn, policy)).await
    }

    async fn delete_role(&self, place: &Place, arn: &str) -> Result<(), Fault> {
        self.write(Sent::DeleteRole { role: arn }, self.lab.clouds.delete_role(place, arn)).await
    }
}

impl Upstream for Wire<'_, '_> {
    async fn scope(&self, session: &Session) -> Reading<String> {
        self.read(self.lab.adapters().scope(session).await)
    }

    async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        self.read(self.lab.adapters().principals(session, region).await)
    }

    async fn offer(&self, session: &Session, region: &Region) -> Reading<RegionOffer> {
        self.read(self.lab.adapters().offer(session, region).await)
    }

    async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        self.read(self.lab.adapters().registration(session, region).await)
    }

    async fn register(&self, session: &Session, region: &Region, key: &KeyArn) -> Result<(), Fault> {
        self.write(Sent::Register { region, key }, self.lab.adapters().register(session, region, key)).await
    }

    async fn database(&self, session: &Session, id: &str) -> Reading<Database> {
        self.read(self.lab.adapters().database(session, id).await)
    }

    async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        self.read(self.lab.adapters().databases_named(session, name).await)
    }

    async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        // Nothing is done because of it, so it is no place for faults.
        self.lab.adapters().databases(session).await
    }

    async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        if let Some(Answer::Database(known)) = self.lab.known() {
            return known;
        }
        self.send(&Sent::CreateDatabase { region });
        let created = self.lab.adapters().create_database(session, request, region).await;
        self.lab.answered(|| Answer::Database(created.clone()));
        created
    }

    async fn add_region(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<(), Fault> {
        self.write(Sent::AddRegion { region }, self.lab.adapters().add_region(session, id, request, region)).await
    }

    async fn remove_region(&self, session: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        self.write(Sent::RemoveRegion { id, region }, self.lab.adapters().remove_region(session, id, region)).await
    }

    async fn terminate_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        self.write(Sent::Terminate { id }, self.lab.adapters().terminate_database(session, id)).await
    }

    async fn registration_by_role(&self, session: &Session) -> Reading<RegistrationSeen> {
        self.read(self.lab.adapters().registration_by_role(session).await)
    }

    async fn role_links(&self, session: &Session) -> Reading<Vec<RoleLink>> {
        self.read(self.lab.adapters().role_links(session).await)
    }

    async fn create_role_link(&self, session: &Session) -> Result<RoleLink, Fault> {
        if let Some(Answer::Link(known)) = self.lab.known() {
            return known;
        }
        self.send(&Sent::MakeLink);
        let made = self.lab.adapters().create_role_link(session).await;
        self.lab.answered(|| Answer::Link(made.clone()));
        made
    }

    async fn authorize_role_link(&self, session: &Session, link: &str, role: &str) -> Result<(), Fault> {
        self.write(Sent::Authorize { role }, self.lab.adapters().authorize_role_link(session, link, role)).await
    }

    async fn register_by_role(
        &self,
        session: &Session,
        region: &Region,
        key: &KeyArn,
        link: &str,
    ) -> Result<(), Fault> {
        self.write(Sent::Register { region, key }, self.lab.adapters().register_by_role(session, region, key, link))
            .await
    }

    async fn withdraw(&self, session: &Session) -> Result<(), Fault> {
        self.write(Sent::Withdraw, self.lab.adapters().withdraw(session)).await
    }

    async fn remove_role_link(&self, session: &Session, link: &str) -> Result<(), Fault> {
        self.write(Sent::RemoveLink, self.lab.adapters().remove_role_link(session, link)).await
    }
}
