//! The seams to the outside: AWS, a database cloud, and the object's own record in Kubernetes.
//!
//! Reads never fail: what could not be seen is a [`Reading::Unknown`] with its fault. Writes yield a [`Fault`] that says
//! whether they may have been applied all the same.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use crate::domain::fault::{Applied, Cause, Fault, FaultClass};

use crate::domain::capabilities::Scope;
use crate::domain::desired::{Access, DatabaseRequest, NewKey};
use crate::domain::iam_role::{IamRole, NewRole};
use crate::domain::id::{KeyArn, Owner, Region};
use crate::domain::memory::{DeployIntent, KeyIntent};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Caller, Candidate, Database, KeyFacts, RegionOffer, Rotation};
use crate::domain::part::{NewPart, Part};
use crate::domain::portal::Replica;
use crate::domain::reading::Reading;
use crate::domain::role_link::{RegistrationSeen, RoleLink};
use crate::domain::role_powers::RolePowers;
use crate::domain::source::SourcesSeen;

/// Where a KMS call goes, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// As whom.
    pub access: Access,
    /// The region.
    pub region: Region,
    /// The object on whose behalf, `namespace/name`: a reserved slot in a quota bucket belongs to it.
    pub on_behalf_of: String,
}

/// AWS, as far as keys are concerned.
///
/// # Guarantees
/// Every method is one logical call. Implementations never repeat a write that is not idempotent, and never send a
/// write without the quota share for it; a write for which there is no share now is a `Throttled` fault that says when.
///
/// # Caveats
/// KMS is eventually consistent: a read may show an older state than one before it
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/programming-eventual-consistency.html>).
pub trait KeyService: Send + Sync {
    /// Whom AWS takes us for (`sts:GetCallerIdentity`).
    fn caller(&self, place: &Place) -> impl Future<Output = Reading<Caller>> + Send;

    /// A key by ARN or alias (`kms:DescribeKey`). Not found is `Absent`.
    fn describe(&self, place: &Place, key: &str) -> impl Future<Output = Reading<KeyFacts>> + Send;

    /// A key's tags (`kms:ListResourceTags`), all pages.
    fn tags(&self, place: &Place, key: &KeyArn) -> impl Future<Output = Reading<BTreeMap<String, String>>> + Send;

    /// A key's policy (`kms:GetKeyPolicy`).
    fn policy(&self, place: &Place, key: &KeyArn) -> impl Future<Output = Reading<String>> + Send;

    /// A key's rotation (`kms:GetKeyRotationStatus`).
    fn rotation(&self, place: &Place, key: &KeyArn) -> impl Future<Output = Reading<Rotation>> + Send;

    /// Keys with an owner's tags by the tagging index (`tag:GetResources`), which may lag by many minutes.
    fn search(&self, place: &Place, owner: &Owner) -> impl Future<Output = Reading<Vec<Candidate>>> + Send;

    /// Keys with an owner's tags by reading the tags of every key of the region (`kms:ListKeys`,
    /// `kms:ListResourceTags`). A scan that began at or after `not_before` may be shared by several callers.
    fn scan(
        &self,
        place: &Place,
        owner: &Owner,
        not_before: Moment,
    ) -> impl Future<Output = Reading<Vec<Candidate>>> + Send;

    /// Creates a key (`kms:CreateKey`). **Not idempotent and never retried inside**: KMS has no client token for it.
    fn create_key(&self, place: &Place, key: &NewKey) -> impl Future<Output = Result<KeyArn, Fault>> + Send;

    /// Makes a replica of a multi-Region key in another region (`kms:ReplicateKey`), with a policy, tags and a description
    /// of its own. The place is that of the primary. A `Conflict` if there is one already, so that it can be repeated.
    fn replicate_key(
        &self,
        place: &Place,
        primary: &KeyArn,
        region: &Region,
        replica: &NewKey,
    ) -> impl Future<Output = Result<KeyArn, Fault>> + Send;

    /// Points a new alias at a key (`kms:CreateAlias`). A `Conflict` if the alias exists.
    fn create_alias(&self, place: &Place, alias: &str, key: &KeyArn) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Replaces a key's policy (`kms:PutKeyPolicy`), never bypassing the lockout check.
    fn put_policy(&self, place: &Place, key: &KeyArn, policy: &str) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Switches rotation on with a period in days (`kms:EnableKeyRotation`). Repeatable.
    fn enable_rotation(
        &self,
        place: &Place,
        key: &KeyArn,
        period_days: i32,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Sets a key's description (`kms:UpdateKeyDescription`). Repeatable.
    fn describe_as(
        &self,
        place: &Place,
        key: &KeyArn,
        description: &str,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Sets tags and leaves others alone (`kms:TagResource`). Repeatable.
    fn tag(
        &self,
        place: &Place,
        key: &KeyArn,
        tags: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Takes back the deletion of a key (`kms:CancelKeyDeletion`), which leaves it disabled. A `Conflict` if none is
    /// scheduled.
    fn cancel_deletion(&self, place: &Place, key: &KeyArn) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Enables a key (`kms:EnableKey`).
    fn enable(&self, place: &Place, key: &KeyArn) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Schedules a key for deletion after 7 to 30 days (`kms:ScheduleKeyDeletion`), as the role that is configured for
    /// it, if one is. A `Conflict` if it is scheduled already.
    fn schedule_deletion(
        &self,
        place: &Place,
        key: &KeyArn,
        window_days: i32,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// A role of IAM by its ARN, with the inline policy that is ours (`iam:GetRole`, `iam:GetRolePolicy`). It is looked for by
    /// its name, so that one of another path is shown with its own ARN. Not found is `Absent`.
    fn role(&self, place: &Place, arn: &str) -> impl Future<Output = Reading<IamRole>> + Send {
        let _ = (place, arn);
        async { Reading::NOT_LOOKED }
    }

    /// What a role's own policies and its permissions boundary say of these actions on a key
    /// (`iam:SimulatePrincipalPolicy`). Only IAM of the role's own account knows. A role that is not there is `Absent`.
    fn role_powers(
        &self,
        place: &Place,
        role: &str,
        actions: &[String],
        key: &KeyArn,
    ) -> impl Future<Output = Reading<RolePowers>> + Send {
        let _ = (place, role, actions, key);
        async { Reading::NOT_LOOKED }
    }

    /// Makes a role (`iam:CreateRole`). Its name is unique in the account: a `Conflict` if there is one, so that it can be
    /// repeated.
    fn create_role(&self, place: &Place, role: &NewRole) -> impl Future<Output = Result<(), Fault>> + Send {
        no_roles("iam:CreateRole", place, &role.arn)
    }

    /// Replaces a role's trust policy (`iam:UpdateAssumeRolePolicy`). Repeatable.
    fn trust_role(&self, place: &Place, arn: &str, trust: &str) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = trust;
        no_roles("iam:UpdateAssumeRolePolicy", place, arn)
    }

    /// Puts the inline policy that is ours (`iam:PutRolePolicy`). Repeatable.
    fn permit_role(&self, place: &Place, arn: &str, policy: &str) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = policy;
        no_roles("iam:PutRolePolicy", place, arn)
    }

    /// Deletes a role and the inline policy that is ours (`iam:DeleteRolePolicy`, `iam:DeleteRole`). AWS refuses it while
    /// somebody else's policies are on it. Repeatable; one that is gone is a success.
    fn delete_role(&self, place: &Place, arn: &str) -> impl Future<Output = Result<(), Fault>> + Send {
        no_roles("iam:DeleteRole", place, arn)
    }
}

/// That an implementation has nothing to do with roles.
fn no_roles(operation: &str, place: &Place, arn: &str) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
    let fault =
        Fault::new(FaultClass::Terminal, operation, arn, format!("no roles are made for {}", place.on_behalf_of));
    async { Err(fault) }
}

/// The secret values with which a database cloud is called. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(pub BTreeMap<String, String>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A database cloud's scope and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The scope.
    pub scope: Scope,
    /// The credentials.
    pub credentials: Credentials,
}

/// A database cloud.
pub trait Upstream: Send + Sync {
    /// The organization or project that the credentials belong to.
    fn scope(&self, session: &Session) -> impl Future<Output = Reading<String>> + Send;

    /// The ARNs that will use the key of a region. Only ever grows; an empty answer is `Absent`.
    fn principals(&self, session: &Session, region: &Region) -> impl Future<Output = Reading<Vec<String>>> + Send;

    /// Whether the cloud offers a region to this organization.
    fn offer(&self, session: &Session, region: &Region) -> impl Future<Output = Reading<RegionOffer>> + Send;

    /// The key that is registered for a region.
    fn registration(&self, session: &Session, region: &Region) -> impl Future<Output = Reading<String>> + Send;

    /// Registers a key. Only after [`Upstream::registration`] was `Absent`; another key already there is a `Conflict`.
    fn register(
        &self,
        session: &Session,
        region: &Region,
        key: &KeyArn,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// A database by id. Terminated is a state; not found is `Absent`.
    fn database(&self, session: &Session, id: &str) -> impl Future<Output = Reading<Database>> + Send;

    /// Every database of a name that is not terminated, all pages; a list that is not complete is `Unknown`.
    fn databases_named(&self, session: &Session, name: &str) -> impl Future<Output = Reading<Vec<Database>>> + Send;

    /// Every database of the scope that is not terminated, all pages; a list that is not complete is `Unknown`. As far as
    /// the cloud tells, only those of the scope's kind of databases and on AWS. Of each, what a list shows: its regions may
    /// be missing, but for the one that it was created in.
    fn databases(&self, session: &Session) -> impl Future<Output = Reading<Vec<Database>>> + Send;

    /// The copy of a database in a second region, where a second region is a copy that is set up once; `Absent`: none is
    /// set up. Clouds whose databases have regions of their own are not asked.
    fn replica(&self, session: &Session, id: &str) -> impl Future<Output = Reading<Replica>> + Send {
        let _ = (session, id);
        async { Reading::NOT_LOOKED }
    }

    /// Creates a database and yields its id. **Not idempotent and never retried inside.**
    fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> impl Future<Output = Result<String, Fault>> + Send;

    /// Adds a region to a database. **Not idempotent and never retried inside.**
    fn add_region(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Removes a region, with its data, from a database. A `Conflict` where the database does not have it, or cannot be
    /// changed now.
    fn remove_region(
        &self,
        session: &Session,
        id: &str,
        region: &Region,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Deletes a database with its data. A `Conflict` where it is going already, or cannot be changed now.
    fn terminate_database(&self, session: &Session, id: &str) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The registration, of a cloud that uses the key as a role in the customer's account and says more of it than the key.
    fn registration_by_role(&self, session: &Session) -> impl Future<Output = Reading<RegistrationSeen>> + Send {
        let _ = session;
        async { Reading::NOT_LOOKED }
    }

    /// The cloud's records of such roles; an empty list is `Present`.
    fn role_links(&self, session: &Session) -> impl Future<Output = Reading<Vec<RoleLink>>> + Send {
        let _ = session;
        async { Reading::NOT_LOOKED }
    }

    /// From where the cloud calls KMS. An answer without any address of the control plane, or without any database, is
    /// `Absent`; a list that is not complete is `Unknown`.
    fn sources(&self, session: &Session) -> impl Future<Output = SourcesSeen> + Send {
        let _ = session;
        async { SourcesSeen::default() }
    }

    /// Has the cloud make another such record, unfinished. **Not idempotent and never retried inside.**
    fn create_role_link(&self, session: &Session) -> impl Future<Output = Result<RoleLink, Fault>> + Send {
        unsupported("make a record of a role", session)
    }

    /// Has the cloud assume a role there and then, and keep it in a record. Repeatable.
    fn authorize_role_link(
        &self,
        session: &Session,
        link: &str,
        role: &str,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = (link, role);
        unsupported("authorize a role", session)
    }

    /// Registers a key that the cloud uses through a record of a role. Repeatable, and replaces another key: only after
    /// [`Upstream::registration_by_role`] said that there is none, or one that may be replaced.
    fn register_by_role(
        &self,
        session: &Session,
        region: &Region,
        key: &KeyArn,
        link: &str,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = (region, key, link);
        unsupported("register a key by a role", session)
    }

    /// Takes the scope's key back. Refused by the cloud while a database is under it.
    fn withdraw(&self, session: &Session) -> impl Future<Output = Result<(), Fault>> + Send {
        unsupported("withdraw a registration", session)
    }

    /// Has the cloud forget a record of a role that nothing uses.
    fn remove_role_link(&self, session: &Session, link: &str) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = link;
        unsupported("forget a role", session)
    }

    /// Everything that runs inside a database and is not gone, of a cloud that makes that apart; a list that is not complete
    /// is `Unknown`, and without the database it is `Absent`.
    fn parts(&self, session: &Session, id: &str) -> impl Future<Output = Reading<Vec<Part>>> + Send {
        let _ = (session, id);
        async { Reading::NOT_LOOKED }
    }

    /// Makes a part of a database and yields its id. **Not idempotent and never retried inside.**
    fn create_part(
        &self,
        session: &Session,
        id: &str,
        part: &NewPart,
    ) -> impl Future<Output = Result<String, Fault>> + Send {
        let _ = (id, part);
        unsupported("make a part of a database", session)
    }

    /// Puts an existing database under the scope's key. Repeatable.
    fn encrypt_database(&self, session: &Session, id: &str) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = id;
        unsupported("encrypt a database", session)
    }
}

/// That a cloud has no such call. The planner asks for none that a cloud's capabilities do not name.
fn unsupported<T: Send>(operation: &str, session: &Session) -> impl Future<Output = Result<T, Fault>> + Send + use<T> {
    let fault = Fault::new(FaultClass::Terminal, operation, session.scope.to_string(), "this cloud has no such call");
    async { Err(fault) }
}

/// One thing to be remembered before the pass goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A key is about to be created; replaces an earlier intent.
    KeyIntent(Region, KeyIntent),
    /// A region's key.
    Key(Region, KeyArn),
    /// A key is about to be registered.
    RegistrationIntent(Region, Moment),
    /// The cloud is about to be asked for a record of a role.
    RoleLinkIntent(Region, Moment),
    /// The cloud's id of that record.
    RoleLink(Region, String),
    /// Something is about to be deployed.
    DeployIntent(DeployIntent),
    /// The database's id.
    Database(String),
}

/// The object's own record in Kubernetes.
///
/// # Guarantees
/// A write goes through only against the version of the object that the pass has read (or last wrote); otherwise it is
/// a `Conflict`. It counts as done only if the API server's response holds it.
pub trait Ledger: Send {
    /// Adds our finalizer.
    fn add_finalizer(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Removes our finalizer; the object may be gone after this.
    fn remove_finalizer(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Writes one thing into status.
    fn record(&mut self, record: &Record) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// How long a look waits for those that it asks.
pub trait Patience: Send + Sync {
    /// Comes to its end when a span has passed.
    fn is_over_after(&self, span: Span) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The patience of those whose world answers at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endless;

impl Patience for Endless {
    fn is_over_after(&self, _: Span) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// Whether this process may act now. Asked right before each write.
pub trait Authority: Send + Sync {
    /// Whether it may.
    fn may_act(&self) -> bool;
}
