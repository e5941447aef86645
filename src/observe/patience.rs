//! The clouds as a look asks them: it ends in time, whoever does not answer.
//!
//! # Guarantees
//! - What has not answered by the deadline of the look is unknown, and says so. So one region that hangs makes neither the
//!   looks at the others too old to act on, nor a pass so long that nothing is said.
//! - What answered before stays: every read is bounded by itself, and a late one is no different from one that failed.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::future::{BoxFuture, Either, Shared, pending, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::iam_role::IamRole;
use crate::domain::id::{KeyArn, Owner, Region};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Caller, Candidate, Database, KeyFacts, RegionOffer, Rotation};
use crate::domain::part::Part;
use crate::domain::portal::Replica;
use crate::domain::reading::{Reading, Why};
use crate::domain::role_link::{RegistrationSeen, RoleLink};
use crate::domain::role_powers::RolePowers;
use crate::domain::source::SourcesSeen;
use crate::plan::Settings;
use crate::ports::{KeyService, Patience, Place, Session, Upstream};

/// Of the time for which a look may be acted on, this share is for looking and the rest for acting, in percent.
const SHARE: i64 = 70;

/// How long a look at something that nothing is created by may take, in the same percent.
const LONG: i64 = 250;

/// How many regions in a row may be silent when they are asked whom AWS takes us for.
const ASKED: i64 = 3;

/// When a look is over.
#[derive(Clone)]
pub(super) struct Deadline {
    over: Shared<BoxFuture<'static, ()>>,
    span: Span,
}

impl Deadline {
    /// The deadline of a look by which something may be created.
    pub(super) fn of(patience: &dyn Patience, settings: &Settings) -> Self {
        Self::after(patience, Span(settings.look_valid.0 * SHARE / 100))
    }

    /// The deadline of a look at a long list, where no region waits to be created or registered.
    pub(super) fn long(patience: &dyn Patience, settings: &Settings) -> Self {
        Self::after(patience, Span(settings.look_valid.0 * LONG / 100))
    }

    fn after(patience: &dyn Patience, span: Span) -> Self {
        Self { over: patience.is_over_after(span).shared(), span }
    }

    /// What a read yields before the deadline. One that would begin after it does not begin.
    async fn read<T>(&self, call: &str, target: &str, read: impl Future<Output = Reading<T>>) -> Reading<T> {
        match select(self.over.clone(), pin!(read)).await {
            Either::Left(_) => unknown(self.fault(call, target)),
            Either::Right((reading, _)) => reading,
        }
    }

    fn fault(&self, call: &str, target: &str) -> Fault {
        let message = format!("no answer within {} s", self.span.as_seconds());
        Fault::new(FaultClass::Transient, call, target, message)
    }
}

fn unknown<T>(fault: Fault) -> Reading<T> {
    Reading::Unknown(Why::Failed(fault))
}

/// AWS, until the deadline.
pub(super) struct Keys<'a, K> {
    pub(super) aws: &'a K,
    pub(super) deadline: Deadline,
    pub(super) patience: &'a dyn Patience,
}

impl<K: KeyService> Keys<'_, K> {
    /// Whom AWS takes us for: it is the same in every region, so one that is down, or closed to the account, keeps nobody
    /// from knowing. The next one is asked when one has failed or is late, and an answer counts whoever gives it; else what
    /// the first one says.
    pub(super) async fn caller(&self, places: &[Place]) -> Reading<Caller> {
        let (mut asked, mut failed) = (FuturesUnordered::new(), BTreeMap::new());
        let mut left = places.iter().enumerate();
        loop {
            let next = left.next().map(|(number, place)| {
                let read = self.deadline.read("sts:GetCallerIdentity", place.region.as_str(), self.aws.caller(place));
                read.map(move |reading| (number, reading))
            });
            let late = match &next {
                Some(_) => self.patience.is_over_after(Span(self.deadline.span.0 / ASKED)),
                None => Box::pin(pending()),
            };
            asked.extend(next);
            match select(asked.next(), late).await {
                Either::Left((Some((_, Reading::Present(caller))), _)) => return Reading::Present(caller),
                Either::Left((Some((number, reading)), _)) => {
                    failed.insert(number, reading);
                }
                Either::Left((None, _)) => break,
                Either::Right(_) => {}
            }
        }
        failed.into_values().next().unwrap_or(Reading::NOT_LOOKED)
    }

    pub(super) async fn describe(&self, place: &Place, key: &str) -> Reading<KeyFacts> {
        let target = format!("{key} in {}", place.region);
        self.deadline.read("kms:DescribeKey", &target, self.aws.describe(place, key)).await
    }

    pub(super) async fn tags(&self, place: &Place, key: &KeyArn) -> Reading<BTreeMap<String, String>> {
        self.deadline.read("kms:ListResourceTags", &key.to_string(), self.aws.tags(place, key)).await
    }

    pub(super) async fn policy(&self, place: &Place, key: &KeyArn) -> Reading<String> {
        self.deadline.read("kms:GetKeyPolicy", &key.to_string(), self.aws.policy(place, key)).await
    }

    pub(super) async fn rotation(&self, place: &Place, key: &KeyArn) -> Reading<Rotation> {
        self.deadline.read("kms:GetKeyRotationStatus", &key.to_string(), self.aws.rotation(place, key)).await
    }

    pub(super) async fn search(&self, place: &Place, owner: &Owner) -> Reading<Vec<Candidate>> {
        self.deadline.read("tag:GetResources", place.region.as_str(), self.aws.search(place, owner)).await
    }

    /// A scan goes on when nobody waits any more, so that a later look finds what it found.
    pub(super) async fn scan(&self, place: &Place, owner: &Owner, not_before: Moment) -> Reading<Vec<Candidate>> {
        self.deadline.read("kms:ListKeys", place.region.as_str(), self.aws.scan(place, owner, not_before)).await
    }

    pub(super) async fn role(&self, place: &Place, arn: &str) -> Reading<IamRole> {
        self.deadline.read("iam:GetRole", arn, self.aws.role(place, arn)).await
    }

    pub(super) async fn role_powers(
        &self,
        place: &Place,
        role: &str,
        actions: &[String],
        key: &KeyArn,
    ) -> Reading<RolePowers> {
        let read = self.aws.role_powers(place, role, actions, key);
        self.deadline.read("iam:SimulatePrincipalPolicy", role, read).await
    }
}

/// The database cloud, until the deadline.
pub(super) struct Cloud<'a, U> {
    pub(super) upstream: &'a U,
    pub(super) deadline: Deadline,
    /// That of the list of every database.
    pub(super) lists: Deadline,
}

impl<U: Upstream> Cloud<'_, U> {
    pub(super) async fn scope(&self, session: &Session) -> Reading<String> {
        self.read("scope", session, self.upstream.scope(session)).await
    }

    pub(super) async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        self.read_of(region, "principals", self.upstream.principals(session, region)).await
    }

    pub(super) async fn offer(&self, session: &Session, region: &Region) -> Reading<RegionOffer> {
        self.read_of(region, "offer", self.upstream.offer(session, region)).await
    }

    pub(super) async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        self.read_of(region, "registration", self.upstream.registration(session, region)).await
    }

    pub(super) async fn registration_by_role(&self, session: &Session) -> Reading<RegistrationSeen> {
        self.read("registration", session, self.upstream.registration_by_role(session)).await
    }

    pub(super) async fn role_links(&self, session: &Session) -> Reading<Vec<RoleLink>> {
        self.read("records of roles", session, self.upstream.role_links(session)).await
    }

    pub(super) async fn database(&self, session: &Session, id: &str) -> Reading<Database> {
        self.read("database", session, self.upstream.database(session, id)).await
    }

    pub(super) async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        self.read("databases by name", session, self.upstream.databases_named(session, name)).await
    }

    pub(super) async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        self.lists.read(&reading("databases"), &session.scope.id, self.upstream.databases(session)).await
    }

    pub(super) async fn replica(&self, session: &Session, id: &str) -> Reading<Replica> {
        self.read("copy of the database", session, self.upstream.replica(session, id)).await
    }

    pub(super) async fn parts(&self, session: &Session, id: &str) -> Reading<Vec<Part>> {
        self.read("parts of the database", session, self.upstream.parts(session, id)).await
    }

    pub(super) async fn sources(&self, session: &Session) -> SourcesSeen {
        match select(self.deadline.over.clone(), pin!(self.upstream.sources(session))).await {
            Either::Left(_) => {
                let fault = self.deadline.fault(&reading("addresses"), &session.scope.id);
                SourcesSeen { control: unknown(fault.clone()), databases: unknown(fault) }
            }
            Either::Right((seen, _)) => seen,
        }
    }

    async fn read<T>(&self, what: &str, session: &Session, read: impl Future<Output = Reading<T>>) -> Reading<T> {
        self.deadline.read(&reading(what), &session.scope.id, read).await
    }

    async fn read_of<T>(&self, region: &Region, what: &str, read: impl Future<Output = Reading<T>>) -> Reading<T> {
        self.deadline.read(&reading(what), region.as_str(), read).await
    }
}

/// A read of a cloud as its fault names it: which call it is, only the cloud's adapter knows.
fn reading(what: &str) -> String {
    format!("reading the {what}")
}
