//! Looking without touching: ports and a Kubernetes client that cannot write.
//!
//! # Guarantees
//! A write is refused here, before anything is sent. What takes these types cannot be given others.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use axum::http::{Method, Request};
use futures::future::{self, BoxFuture, FutureExt, TryFutureExt};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::{Layer, Service};

use super::{Failed, failed};
use crate::domain::desired::{DatabaseRequest, NewKey};
use crate::domain::iam_role::{IamRole, NewRole};
use crate::domain::id::{KeyArn, Owner, Region};
use crate::domain::moment::Moment;
use crate::domain::observed::{Caller, Candidate, Database, KeyFacts, RegionOffer, Rotation};
use crate::domain::part::{NewPart, Part};
use crate::domain::portal::Replica;
use crate::domain::reading::Reading;
use crate::domain::role_link::{RegistrationSeen, RoleLink};
use crate::domain::role_powers::RolePowers;
use crate::domain::source::SourcesSeen;
use crate::ports::{Fault, FaultClass, KeyService, Place, Session, Upstream};

/// A port of which only the reads go through.
pub struct ReadOnly<P>(P);

impl<P> ReadOnly<P> {
    /// Takes the writes away from a port.
    pub fn new(port: P) -> Self {
        Self(port)
    }
}

fn refused<T>(operation: &str, target: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(FaultClass::Refused, operation, target, "not sent: this command only looks"))
}

impl<P: KeyService> KeyService for ReadOnly<P> {
    async fn caller(&self, place: &Place) -> Reading<Caller> {
        self.0.caller(place).await
    }

    async fn describe(&self, place: &Place, key: &str) -> Reading<KeyFacts> {
        self.0.describe(place, key).await
    }

    async fn tags(&self, place: &Place, key: &KeyArn) -> Reading<BTreeMap<String, String>> {
        self.0.tags(place, key).await
    }

    async fn policy(&self, place: &Place, key: &KeyArn) -> Reading<String> {
        self.0.policy(place, key).await
    }

    async fn rotation(&self, place: &Place, key: &KeyArn) -> Reading<Rotation> {
        self.0.rotation(place, key).await
    }

    async fn search(&self, place: &Place, owner: &Owner) -> Reading<Vec<Candidate>> {
        self.0.search(place, owner).await
    }

    async fn scan(&self, place: &Place, owner: &Owner, not_before: Moment) -> Reading<Vec<Candidate>> {
        self.0.scan(place, owner, not_before).await
    }

    async fn create_key(&self, place: &Place, _: &NewKey) -> Result<KeyArn, Fault> {
        refused("kms:CreateKey", place.region.as_str())
    }

    async fn replicate_key(&self, _: &Place, primary: &KeyArn, _: &Region, _: &NewKey) -> Result<KeyArn, Fault> {
        refused("kms:ReplicateKey", primary.to_string())
    }

    async fn create_alias(&self, _: &Place, alias: &str, _: &KeyArn) -> Result<(), Fault> {
        refused("kms:CreateAlias", alias)
    }

    async fn put_policy(&self, _: &Place, key: &KeyArn, _: &str) -> Result<(), Fault> {
        refused("kms:PutKeyPolicy", key.to_string())
    }

    async fn enable_rotation(&self, _: &Place, key: &KeyArn, _: i32) -> Result<(), Fault> {
        refused("kms:EnableKeyRotation", key.to_string())
    }

    async fn describe_as(&self, _: &Place, key: &KeyArn, _: &str) -> Result<(), Fault> {
        refused("kms:UpdateKeyDescription", key.to_string())
    }

    async fn tag(&self, _: &Place, key: &KeyArn, _: &BTreeMap<String, String>) -> Result<(), Fault> {
        refused("kms:TagResource", key.to_string())
    }

    async fn schedule_deletion(&self, _: &Place, key: &KeyArn, _: i32) -> Result<(), Fault> {
        refused("kms:ScheduleKeyDeletion", key.to_string())
    }

    async fn cancel_deletion(&self, _: &Place, key: &KeyArn) -> Result<(), Fault> {
        refused("kms:CancelKeyDeletion", key.to_string())
    }

    async fn enable(&self, _: &Place, key: &KeyArn) -> Result<(), Fault> {
        refused("kms:EnableKey", key.to_string())
    }

    async fn role(&self, place: &Place, arn: &str) -> Reading<IamRole> {
        self.0.role(place, arn).await
    }

    async fn role_powers(&self, place: &Place, role: &str, actions: &[String], key: &KeyArn) -> Reading<RolePowers> {
        self.0.role_powers(place, role, actions, key).await
    }

    async fn create_role(&self, _: &Place, role: &NewRole) -> Result<(), Fault> {
        refused("iam:CreateRole", &role.arn)
    }

    async fn trust_role(&self, _: &Place, arn: &str, _: &str) -> Result<(), Fault> {
        refused("iam:UpdateAssumeRolePolicy", arn)
    }

    async fn permit_role(&self, _: &Place, arn: &str, _: &str) -> Result<(), Fault> {
        refused("iam:PutRolePolicy", arn)
    }

    async fn delete_role(&self, _: &Place, arn: &str) -> Result<(), Fault> {
        refused("iam:DeleteRole", arn)
    }
}

impl<P: Upstream> Upstream for ReadOnly<P> {
    async fn scope(&self, session: &Session) -> Reading<String> {
        self.0.scope(session).await
    }

    async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        self.0.principals(session, region).await
    }

    async fn offer(&self, session: &Session, region: &Region) -> Reading<RegionOffer> {
        self.0.offer(session, region).await
    }

    async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        self.0.registration(session, region).await
    }

    async fn register(&self, _: &Session, region: &Region, _: &KeyArn) -> Result<(), Fault> {
        refused("register a key", region.as_str())
    }

    async fn database(&self, session: &Session, id: &str) -> Reading<Database> {
        self.0.database(session, id).await
    }

    async fn replica(&self, session: &Session, id: &str) -> Reading<Replica> {
        self.0.replica(session, id).await
    }

    async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        self.0.databases_named(session, name).await
    }

    async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        self.0.databases(session).await
    }

    async fn create_database(&self, _: &Session, request: &DatabaseRequest, _: &Region) -> Result<String, Fault> {
        refused("create a database", &request.name)
    }

    async fn add_region(&self, _: &Session, id: &str, _: &DatabaseRequest, _: &Region) -> Result<(), Fault> {
        refused("add a region", id)
    }

    async fn remove_region(&self, _: &Session, id: &str, _: &Region) -> Result<(), Fault> {
        refused("remove a region", id)
    }

    async fn terminate_database(&self, _: &Session, id: &str) -> Result<(), Fault> {
        refused("delete a database", id)
    }

    async fn registration_by_role(&self, session: &Session) -> Reading<RegistrationSeen> {
        self.0.registration_by_role(session).await
    }

    async fn sources(&self, session: &Session) -> SourcesSeen {
        self.0.sources(session).await
    }

    async fn role_links(&self, session: &Session) -> Reading<Vec<RoleLink>> {
        self.0.role_links(session).await
    }

    async fn create_role_link(&self, session: &Session) -> Result<RoleLink, Fault> {
        refused("make a record of a role", &session.scope.id)
    }

    async fn authorize_role_link(&self, _: &Session, link: &str, _: &str) -> Result<(), Fault> {
        refused("authorize a role", link)
    }

    async fn register_by_role(&self, _: &Session, region: &Region, _: &KeyArn, _: &str) -> Result<(), Fault> {
        refused("register a key", region.as_str())
    }

    async fn withdraw(&self, session: &Session) -> Result<(), Fault> {
        refused("withdraw a registration", &session.scope.id)
    }

    async fn remove_role_link(&self, _: &Session, link: &str) -> Result<(), Fault> {
        refused("forget a role", link)
    }

    async fn parts(&self, session: &Session, id: &str) -> Reading<Vec<Part>> {
        self.0.parts(session, id).await
    }

    async fn create_part(&self, _: &Session, id: &str, _: &NewPart) -> Result<String, Fault> {
        refused("make a part of a database", id)
    }

    async fn encrypt_database(&self, _: &Session, id: &str) -> Result<(), Fault> {
        refused("encrypt a database", id)
    }
}

/// A Kubernetes client that sends nothing but GET.
#[derive(Clone)]
pub struct Viewer(Client);

impl Viewer {
    /// The client for the cluster of the kubeconfig, or of the pod.
    pub async fn infer() -> Result<Self, Failed> {
        let wrong = failed("there is no cluster to look at (KUBECONFIG)");
        let config = Config::infer().await.map_err(|error| wrong(&error))?;
        Self::of(config)
    }

    /// The client for a configured cluster.
    pub fn of(config: Config) -> Result<Self, Failed> {
        let wrong = failed("the cluster cannot be looked at");
        let builder = ClientBuilder::try_from(config).map_err(|error| wrong(&error))?;
        Ok(Self(builder.with_layer(&OnlyGet).build()))
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.0
    }
}

struct OnlyGet;

impl<S> Layer<S> for OnlyGet {
    type Service = Gets<S>;

    fn layer(&self, inner: S) -> Gets<S> {
        Gets(inner)
    }
}

#[derive(Clone)]
struct Gets<S>(S);

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl<S, B> Service<Request<B>> for Gets<S>
where
    S: Service<Request<B>>,
    S::Error: Into<Problem> + 'static,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Problem;
    type Future = BoxFuture<'static, Result<S::Response, Problem>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if *request.method() == Method::GET {
            return self.0.call(request).map_err(Into::into).boxed();
        }
        let what = format!("{} {} was not sent: this command only looks", request.method(), request.uri().path());
        future::err(what.into()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::Response;

    use super::*;

    static SENT: AtomicUsize = AtomicUsize::new(0);

    #[derive(Clone)]
    struct Counts;

    impl Service<Request<()>> for Counts {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = future::Ready<Result<Response<()>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            SENT.fetch_add(1, Ordering::Relaxed);
            future::ok(Response::new(()))
        }
    }

    #[test]
    fn nothing_but_get_is_sent() {
        let mut service = OnlyGet.layer(Counts);
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
            let request = Request::builder().method(method).uri("/api/v1/namespaces").body(()).unwrap();
            let answer = service.call(request).now_or_never().unwrap();
            assert_eq!(answer.is_ok(), method == "GET", "{method}");
        }
        assert_eq!(SENT.load(Ordering::Relaxed), 1);
    }
}
