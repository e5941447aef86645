//! A world in which nothing is there yet and everything succeeds at once: what the operator would do in it is the plan.
//!
//! It stands behind the same ports as the real clouds, so that the real look, decision and execution run on it. What only a
//! cloud can say is a stand-in here, which [`Imagined::in_words`] replaces.

mod parts;
mod replicas;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::capabilities::Scope;
use crate::domain::desired::{DatabaseRequest, NewKey};
use crate::domain::family::Family;
use crate::domain::iam_role::{IamRole, NewRole};
use crate::domain::id::{AccountId, KeyArn, Owner, Region, tag};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{
    Caller, Candidate, Database, DatabaseState, Encryption, KeyFacts, KeyState, RegionOffer, Rotation,
};
use crate::domain::part::{NewPart, Part};
use crate::domain::portal::Replica;
use crate::domain::reading::Reading;
use crate::domain::role_link::{RegistrationSeen, RoleLink, Through};
use crate::domain::source::SourcesSeen;
use crate::ports::{Fault, FaultClass, KeyService, Place, Session, Upstream};

/// 2000-01-01: a plan shows no times.
const BEGINNING: Moment = Moment(946_684_800_000);

/// No AWS account has this id.
const NOBODY: &str = "000000000000";

/// The world.
#[derive(Debug)]
pub struct Imagined(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    now: Moment,
    keys: BTreeMap<KeyArn, Key>,
    aliases: BTreeMap<(AccountId, Region, String), KeyArn>,
    registrations: BTreeMap<(Scope, Region), String>,
    /// The roles of IAM, by ARN.
    roles: BTreeMap<String, IamRole>,
    /// The records of roles of a scope, and that through which its key is used.
    links: BTreeMap<Scope, (Vec<RoleLink>, Option<RegistrationSeen>)>,
    /// By id, each with the organization or project that it is in.
    databases: BTreeMap<String, (String, Database)>,
    /// What runs inside them, by their ids.
    parts: BTreeMap<String, Vec<Part>>,
    /// What stands for something that only a cloud knows, and how that is said.
    stand_ins: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Key {
    facts: KeyFacts,
    tags: BTreeMap<String, String>,
    policy: String,
    rotation: Rotation,
}

impl Imagined {
    /// Nothing is there.
    pub fn new() -> Self {
        Self(Mutex::new(Inner {
            now: BEGINNING,
            keys: BTreeMap::new(),
            aliases: BTreeMap::new(),
            registrations: BTreeMap::new(),
            roles: BTreeMap::new(),
            links: BTreeMap::new(),
            databases: BTreeMap::new(),
            parts: BTreeMap::new(),
            stand_ins: BTreeMap::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time goes by.
    pub fn pass_time(&self, span: Span) {
        let mut inner = self.lock();
        inner.now = inner.now + span;
    }

    /// A key that the spec says is there, with its owner's consent and the policy that AWS gives to a new key
    /// (<https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>).
    pub fn add_key(&self, arn: &KeyArn, consent: &str) {
        let root = format!("arn:{}:iam::{}:root", arn.region().partition(), arn.account());
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": { "AWS": root },
                "Action": "kms:*", "Resource": "*",
            }],
        });
        let tags = BTreeMap::from([(tag::ADOPT_BY.to_owned(), consent.to_owned())]);
        let mut inner = self.lock();
        let key = Key::new(arn.clone(), "", tags, &policy.to_string(), false, inner.now);
        inner.keys.insert(arn.clone(), key);
    }

    /// That a key that the spec says is there is the primary of all of its id.
    pub fn add_family(&self, primary: &KeyArn) {
        self.lock().relate(primary);
    }

    /// A database that the spec says is there.
    pub fn add_database(&self, scope: &Scope, id: &str, request: &DatabaseRequest, cluster: (&Region, &[Region])) {
        let (primary, regions) = cluster;
        let mut inner = self.lock();
        let mut database = database(id, request, primary, inner.now);
        database.regions = regions.iter().map(|region| (region.to_string(), DatabaseState::Active)).collect();
        inner.databases.insert(id.to_owned(), (scope.id.clone(), database));
    }

    /// A text in which every stand-in is said for what it is.
    pub fn in_words(&self, text: &str) -> String {
        let inner = self.lock();
        // The longer ones first, since one may be the beginning of another.
        let mut stand_ins: Vec<_> = inner.stand_ins.iter().collect();
        stand_ins.sort_by_key(|(stand_in, _)| std::cmp::Reverse(stand_in.len()));
        stand_ins.iter().fold(text.to_owned(), |text, (stand_in, words)| text.replace(*stand_in, words))
    }

    fn alter(&self, arn: &KeyArn, operation: &str, change: impl FnOnce(&mut Key)) -> Result<(), Fault> {
        let mut inner = self.lock();
        let key = inner.keys.get_mut(arn).ok_or_else(|| missing(operation, &arn.to_string()))?;
        change(key);
        Ok(())
    }

    fn seen<T>(&self, arn: &KeyArn, what: impl FnOnce(&Key) -> T) -> Reading<T> {
        self.lock().keys.get(arn).map_or(Reading::Absent, |key| Reading::Present(what(key)))
    }

    fn with_database(&self, id: &str, operation: &str, change: impl FnOnce(&mut Database)) -> Result<(), Fault> {
        let mut inner = self.lock();
        let (_, database) = inner.databases.get_mut(id).ok_or_else(|| missing(operation, id))?;
        change(database);
        Ok(())
    }

    fn owned_by(&self, place: &Place, owner: &Owner) -> Vec<Candidate> {
        let belongs = |key: &Key| owner.tags().iter().all(|(k, v)| key.tags.get(*k).is_some_and(|value| value == v));
        let inner = self.lock();
        let there = inner.keys.iter().filter(|(arn, key)| {
            *arn.region() == place.region && *arn.account() == place.access.account && belongs(key)
        });
        there.map(|(arn, key)| Candidate::of(arn.clone(), &key.tags)).collect()
    }
}

impl Default for Imagined {
    fn default() -> Self {
        Self::new()
    }
}

impl Key {
    fn new(
        arn: KeyArn,
        description: &str,
        tags: BTreeMap<String, String>,
        policy: &str,
        multi_region: bool,
        now: Moment,
    ) -> Self {
        let family = || Family { primary: arn.clone(), replicas: BTreeSet::new() };
        let facts = KeyFacts {
            family: multi_region.then(family),
            arn,
            state: KeyState::Enabled,
            description: description.to_owned(),
            symmetric: true,
            kms_origin: true,
            customer_managed: true,
            multi_region,
            created_at: Some(now),
            deletion_at: None,
            window_days: None,
        };
        Self { facts, tags, policy: policy.to_owned(), rotation: Rotation { period_days: None, next: None } }
    }
}

fn missing(operation: &str, target: &str) -> Fault {
    Fault::new(FaultClass::Terminal, operation, target, "there is no such thing in the imagined world")
}

fn database(id: &str, request: &DatabaseRequest, region: &Region, now: Moment) -> Database {
    Database {
        id: id.to_owned(),
        name: request.name.clone(),
        state: DatabaseState::Active,
        created_at: Some(now),
        tier: request.tier.clone(),
        region: region.to_string(),
        regions: BTreeMap::from([(region.to_string(), DatabaseState::Active)]),
        message: String::new(),
        endpoints: Vec::new(),
        encryption: None,
    }
}

impl Inner {
    /// What stands for something that a cloud will say, another each time.
    fn stand_in(&mut self, stand_in: &str, words: &str) -> String {
        let alone = |n: u32| if n == 1 { stand_in.to_owned() } else { format!("{stand_in}-{n}") };
        let unused = (1..=u32::MAX).map(alone).find(|text| !self.stand_ins.contains_key(text));
        let unused = unused.unwrap_or_default();
        self.stand_ins.insert(unused.clone(), words.to_owned());
        unused
    }
}

impl KeyService for Imagined {
    async fn caller(&self, place: &Place) -> Reading<Caller> {
        let (partition, account) = (place.region.partition(), place.access.account.to_string());
        let arn = if let Some(role) = &place.access.role_arn {
            role.clone()
        } else {
            let arn = format!("arn:{partition}:iam::{account}:role/the-operators-principal");
            self.lock().stand_ins.insert(arn.clone(), "<the operator's principal>".to_owned());
            arn
        };
        Reading::Present(Caller { account, arn })
    }

    async fn describe(&self, place: &Place, key: &str) -> Reading<KeyFacts> {
        let arn = if key.starts_with("alias/") {
            let alias = (place.access.account.clone(), place.region.clone(), key.to_owned());
            self.lock().aliases.get(&alias).cloned()
        } else {
            key.parse().ok()
        };
        arn.map_or(Reading::Absent, |arn| self.seen(&arn, |key| key.facts.clone()))
    }

    async fn tags(&self, _: &Place, key: &KeyArn) -> Reading<BTreeMap<String, String>> {
        self.seen(key, |key| key.tags.clone())
    }

    async fn policy(&self, _: &Place, key: &KeyArn) -> Reading<String> {
        self.seen(key, |key| key.policy.clone())
    }

    async fn rotation(&self, _: &Place, key: &KeyArn) -> Reading<Rotation> {
        self.seen(key, |key| key.rotation)
    }

    async fn search(&self, place: &Place, owner: &Owner) -> Reading<Vec<Candidate>> {
        Reading::Present(self.owned_by(place, owner))
    }

    async fn scan(&self, place: &Place, owner: &Owner, _: Moment) -> Reading<Vec<Candidate>> {
        Reading::Present(self.owned_by(place, owner))
    }

    async fn create_key(&self, place: &Place, key: &NewKey) -> Result<KeyArn, Fault> {
        let mut inner = self.lock();
        let (region, account) = (&place.region, &place.access.account);
        let prefix = format!("arn:{}:kms:{region}:{account}:key/", region.partition());
        let words = format!("{prefix}<from AWS at apply>");
        let id = if key.multi_region { "mrk-from-AWS-at-apply" } else { "from-AWS-at-apply" };
        let arn = inner.stand_in(&format!("{prefix}{id}"), &words);
        let arn: KeyArn = arn.parse().map_err(|_| missing("kms:CreateKey", &arn))?;
        let NewKey { description, tags, policy, multi_region } = key;
        let key = Key::new(arn.clone(), description, tags.clone(), policy, *multi_region, inner.now);
        inner.keys.insert(arn.clone(), key);
        Ok(arn)
    }

    async fn replicate_key(
        &self,
        _: &Place,
        primary: &KeyArn,
        region: &Region,
        replica: &NewKey,
    ) -> Result<KeyArn, Fault> {
        self.lock().replicate(primary, region, replica)
    }

    async fn create_alias(&self, place: &Place, alias: &str, key: &KeyArn) -> Result<(), Fault> {
        let name = (place.access.account.clone(), place.region.clone(), alias.to_owned());
        self.lock().aliases.insert(name, key.clone());
        Ok(())
    }

    async fn put_policy(&self, _: &Place, key: &KeyArn, policy: &str) -> Result<(), Fault> {
        self.alter(key, "kms:PutKeyPolicy", |key| policy.clone_into(&mut key.policy))
    }

    async fn enable_rotation(&self, _: &Place, key: &KeyArn, period_days: i32) -> Result<(), Fault> {
        self.alter(key, "kms:EnableKeyRotation", |key| key.rotation.period_days = Some(period_days))
    }

    async fn describe_as(&self, _: &Place, key: &KeyArn, description: &str) -> Result<(), Fault> {
        self.alter(key, "kms:UpdateKeyDescription", |key| description.clone_into(&mut key.facts.description))
    }

    async fn tag(&self, _: &Place, key: &KeyArn, tags: &BTreeMap<String, String>) -> Result<(), Fault> {
        self.alter(key, "kms:TagResource", |key| key.tags.extend(tags.clone()))
    }

    async fn schedule_deletion(&self, _: &Place, key: &KeyArn, _: i32) -> Result<(), Fault> {
        self.alter(key, "kms:ScheduleKeyDeletion", |key| key.facts.state = KeyState::PendingDeletion)
    }

    async fn cancel_deletion(&self, _: &Place, key: &KeyArn) -> Result<(), Fault> {
        self.alter(key, "kms:CancelKeyDeletion", |key| key.facts.state = KeyState::Disabled)
    }

    async fn enable(&self, _: &Place, key: &KeyArn) -> Result<(), Fault> {
        self.alter(key, "kms:EnableKey", |key| key.facts.state = KeyState::Enabled)
    }

    async fn role(&self, _: &Place, arn: &str) -> Reading<IamRole> {
        self.lock().roles.get(arn).cloned().map_or(Reading::Absent, Reading::Present)
    }

    async fn create_role(&self, _: &Place, role: &NewRole) -> Result<(), Fault> {
        let NewRole { arn, trust, boundary: _, description: _, tags } = role.clone();
        self.lock().roles.insert(arn.clone(), IamRole { arn, trust, permissions: None, tags });
        Ok(())
    }

    async fn permit_role(&self, _: &Place, arn: &str, policy: &str) -> Result<(), Fault> {
        let mut inner = self.lock();
        let role = inner.roles.get_mut(arn).ok_or_else(|| missing("iam:PutRolePolicy", arn))?;
        role.permissions = Some(policy.to_owned());
        Ok(())
    }
}

impl Upstream for Imagined {
    async fn scope(&self, session: &Session) -> Reading<String> {
        Reading::Present(session.scope.id.clone())
    }

    async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        let Scope { cloud, principal_role, .. } = &session.scope;
        if principal_role.starts_with("arn:") {
            // The customer's own role, which the spec names.
            return Reading::Present(vec![principal_role.clone()]);
        }
        let prefix = format!("arn:{}:iam::", region.partition());
        let stand_in = format!("{prefix}{NOBODY}:");
        self.lock().stand_ins.insert(stand_in.clone(), format!("{prefix}<from {cloud} at apply>:"));
        Reading::Present(vec![format!("{stand_in}role/{principal_role}")])
    }

    async fn sources(&self, _: &Session) -> SourcesSeen {
        SourcesSeen { control: Reading::Absent, databases: Reading::Absent }
    }

    async fn offer(&self, _: &Session, _: &Region) -> Reading<RegionOffer> {
        Reading::Present(RegionOffer::Open)
    }

    async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        let registered = self.lock().registrations.get(&(session.scope.clone(), region.clone())).cloned();
        registered.map_or(Reading::Absent, Reading::Present)
    }

    async fn register(&self, session: &Session, region: &Region, key: &KeyArn) -> Result<(), Fault> {
        self.lock().registrations.insert((session.scope.clone(), region.clone()), key.to_string());
        Ok(())
    }

    async fn database(&self, _: &Session, id: &str) -> Reading<Database> {
        self.lock().databases.get(id).map_or(Reading::Absent, |(_, database)| Reading::Present(database.clone()))
    }

    async fn replica(&self, _: &Session, id: &str) -> Reading<Replica> {
        let inner = self.lock();
        let Some((_, database)) = inner.databases.get(id) else { return Reading::Absent };
        let second = database.regions.iter().find(|(region, _)| **region != database.region);
        second.map_or(Reading::Absent, |(region, state)| {
            Reading::Present(Replica { region: Some(region.clone()), state: state.clone(), words: String::new() })
        })
    }

    async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        let inner = self.lock();
        let named = inner.databases.values().filter(|(scope, database)| {
            *scope == session.scope.id && database.name == name && database.state != DatabaseState::Terminated
        });
        Reading::Present(named.map(|(_, database)| database.clone()).collect())
    }

    async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        let inner = self.lock();
        let of_scope = inner
            .databases
            .values()
            .filter(|(scope, database)| *scope == session.scope.id && database.state != DatabaseState::Terminated);
        Reading::Present(of_scope.map(|(_, database)| database.clone()).collect())
    }

    async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        let mut inner = self.lock();
        let words = format!("<from {} at apply>", session.scope.cloud);
        let id = inner.stand_in("the-id-of-the-database", &words);
        let mut database = database(&id, request, region, inner.now);
        let at_once = request.cluster.iter().flat_map(|cluster| &cluster.regions);
        database.regions.extend(at_once.map(|region| (region.to_string(), DatabaseState::Active)));
        database.encryption = inner.links.contains_key(&session.scope).then_some(Encryption::On);
        inner.databases.insert(id.clone(), (session.scope.id.clone(), database));
        Ok(id)
    }

    async fn add_region(&self, _: &Session, id: &str, _: &DatabaseRequest, region: &Region) -> Result<(), Fault> {
        self.with_database(id, "add a region", |database| {
            database.regions.insert(region.to_string(), DatabaseState::Active);
        })
    }

    async fn remove_region(&self, _: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        self.with_database(id, "remove a region", |database| {
            database.regions.remove(region.as_str());
        })
    }

    async fn terminate_database(&self, _: &Session, id: &str) -> Result<(), Fault> {
        self.with_database(id, "delete a database", |database| database.state = DatabaseState::Terminated)
    }

    async fn parts(&self, _: &Session, id: &str) -> Reading<Vec<Part>> {
        self.lock().parts_of(id)
    }

    async fn create_part(&self, session: &Session, id: &str, part: &NewPart) -> Result<String, Fault> {
        self.lock().add_part(session, id, part)
    }

    async fn registration_by_role(&self, session: &Session) -> Reading<RegistrationSeen> {
        let registered = self.lock().links.get(&session.scope).and_then(|(_, registered)| registered.clone());
        registered.map_or(Reading::Absent, Reading::Present)
    }

    async fn role_links(&self, session: &Session) -> Reading<Vec<RoleLink>> {
        let links = self.lock().links.get(&session.scope).map(|(links, _)| links.clone());
        Reading::Present(links.unwrap_or_default())
    }

    async fn create_role_link(&self, session: &Session) -> Result<RoleLink, Fault> {
        let mut inner = self.lock();
        let words = format!("<from {} at apply>", session.scope.cloud);
        let link = RoleLink {
            id: inner.stand_in("the-id-of-the-record", &words),
            trusted: inner.stand_in("the-account-to-trust", &words),
            external_id: inner.stand_in("the-external-id", &words),
            role_arn: None,
            authorized: false,
            created_at: Some(inner.now),
        };
        inner.links.entry(session.scope.clone()).or_default().0.push(link.clone());
        Ok(link)
    }

    async fn authorize_role_link(&self, session: &Session, link: &str, role: &str) -> Result<(), Fault> {
        let mut inner = self.lock();
        let links = inner.links.get_mut(&session.scope).map(|(links, _)| links);
        let found = links.and_then(|links| links.iter_mut().find(|known| known.id == link));
        let found = found.ok_or_else(|| missing("authorize a role", link))?;
        (found.role_arn, found.authorized) = (Some(role.to_owned()), true);
        Ok(())
    }

    async fn register_by_role(&self, session: &Session, _: &Region, key: &KeyArn, link: &str) -> Result<(), Fault> {
        let seen = RegistrationSeen { key: key.to_string(), usable: true, through: Through::Link(link.to_owned()) };
        self.lock().links.entry(session.scope.clone()).or_default().1 = Some(seen);
        Ok(())
    }

    async fn encrypt_database(&self, _: &Session, id: &str) -> Result<(), Fault> {
        self.with_database(id, "encrypt a database", |database| database.encryption = Some(Encryption::On))
    }
}
