//! Condition types and reasons: the words in which everything is said, to people and to machines.
//!
//! A reason carries its text, who has to act, and its [`Standing`], from which `Ready`, `Reconciling` and
//! `Stalled` follow. Nothing outside this file decides what a reason means.

use serde::{Deserialize, Serialize};

/// The condition types that the two kinds publish.
///
/// `Ready`, `Reconciling` and `Stalled` follow the kstatus convention
/// (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// The whole object is as declared, at this generation.
    Ready,
    /// The operator is working or waiting; it will look again by itself.
    Reconciling,
    /// Nothing moves until somebody changes something.
    Stalled,
    /// Every region's KMS key exists, is enabled, and is ours or adopted.
    KeysReady,
    /// Every region's key policy holds what the declared parties need.
    PoliciesReady,
    /// Every region's key is registered with the database cloud and was read back.
    Registered,
    /// The credentials for AWS and for the database cloud work.
    CredentialsValid,
    /// Every region may be deployed to, now.
    GateOpen,
    /// The database runs in every declared region.
    Deployed,
    /// Whether the database is encrypted with the declared key.
    EncryptionVerified,
}

impl ConditionType {
    /// The name as it stands in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::KeysReady => "KeysReady",
            Self::PoliciesReady => "PoliciesReady",
            Self::Registered => "Registered",
            Self::CredentialsValid => "CredentialsValid",
            Self::GateOpen => "GateOpen",
            Self::Deployed => "Deployed",
            Self::EncryptionVerified => "EncryptionVerified",
        }
    }
}

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It could not be observed.
    Unknown,
}

impl Truth {
    /// The value as it stands in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// How a reason bears on the whole object. Ordered: the gravest comes last and wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// As declared.
    Fine,
    /// A difference that the operator is mending; the cloud can still use the key.
    Healing,
    /// It cannot be looked at now; what was known an hour ago may still be shown.
    Unseen,
    /// Working, or waiting for a cloud.
    Working,
    /// Waiting for a human in the normal course.
    Awaiting,
    /// Nothing moves until somebody changes something, or what was done is lost.
    Stuck,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// Nobody: the operator goes on by itself.
    Nobody,
    /// Whoever writes the YAML.
    Author,
    /// Whoever administers the AWS account.
    AwsAdministrator,
    /// Whoever administers the database cloud's organization.
    CloudAdministrator,
    /// Whoever runs this operator.
    OperatorAdministrator,
}

impl Actor {
    /// The actor in words, as they appear in messages and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Author => "the author of the YAML",
            Self::AwsAdministrator => "the AWS administrator",
            Self::CloudAdministrator => "the cloud's administrator",
            Self::OperatorAdministrator => "the operator's administrator",
        }
    }
}

macro_rules! reasons {
    ($( $name:ident $standing:ident $actor:ident $text:literal; )+) => {
        /// Why a condition has its value. One enum for both kinds, `plan`, `why`, events and metrics.
        #[expect(clippy::doc_markdown, reason = "the texts are shown to people who know kinds by their bare names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $( #[doc = $text] $name, )+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];

            /// The name as it stands in status, events and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )+ }
            }

            /// What it means, for documentation.
            pub fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// How it bears on the whole object.
            pub fn standing(self) -> Standing {
                match self { $( Self::$name => Standing::$standing, )+ }
            }

            /// Who has to act.
            pub fn actor(self) -> Actor {
                match self { $( Self::$name => Actor::$actor, )+ }
            }
        }
    };
}

reasons! {
    // The object as a whole.
    AsDeclared Fine Nobody "Everything is as declared.";
    NotLookedYet Unseen Nobody "The operator has not looked at this object yet.";
    InProgress Working Nobody "The operator is working on it.";
    AwaitingAction Awaiting Author "A human has to do a step that is part of the normal course.";
    InvalidSpec Stuck Author "The spec contradicts itself in a way that the schema cannot see.";
    UpstreamNotSupported Stuck Author "This build cannot work with the database cloud that the spec names.";
    Paused Fine Author "The annotation cmk-operator.io/paused stops every write outside Kubernetes.";
    OnlyObserved Awaiting Author "Something is not there, or not as declared, and under managementPolicy Observe the operator does nothing about it.";
    OnHold Fine AwsAdministrator "The tag cmk-operator.io/hold on the key stops every write to it and closes the gate.";
    LastKnown Unseen Nobody "It cannot be looked at now; this was true when it was last seen, less than an hour ago.";
    Unobservable Unseen Nobody "It could not be looked at for so long that nothing is claimed any more.";
    MemoryTooNew Stuck OperatorAdministrator "The status was written by a newer version of the operator than this one.";
    KubernetesRefused Stuck OperatorAdministrator "The Kubernetes API refuses something to the operator's ServiceAccount.";
    SchemaOutdated Stuck OperatorAdministrator "The served CRDs are older than this operator, so that what it has to remember is dropped.";
    PlanRefused Stuck OperatorAdministrator "The operator's own safety check refused its plan: a defect, nothing was done.";

    // AWS as a whole.
    Unreachable Unseen Nobody "A service did not answer, or answered with an error of its own.";
    Throttled Unseen Nobody "A service, or the operator's own share of its quota, asks to slow down.";
    AccountMismatch Stuck Author "The AWS credentials belong to another account than spec.aws.accountId.";
    AccessDenied Stuck AwsAdministrator "AWS refuses an action to the operator's credentials.";
    AwsCredentialsInvalid Stuck OperatorAdministrator "AWS does not accept the operator's credentials, or there are none.";
    RoleNotAssumable Stuck AwsAdministrator "The role in spec.aws.roleArn cannot be assumed with the operator's External ID.";
    RoleTrustOpen Stuck AwsAdministrator "The role in spec.aws.roleArn can be assumed without the operator's External ID.";
    AmbientNotAllowed Stuck OperatorAdministrator "This namespace may not use the operator's own AWS credentials; spec.aws.roleArn is required.";

    // Keys.
    KeysEnabled Fine Nobody "Every region has its key, enabled, and ours or adopted.";
    CreatingKey Working Nobody "A region's key is being created.";
    CreateUncertain Working Nobody "The outcome of an earlier CreateKey is not known; the operator waits and searches before it tries again.";
    QuotaReached Stuck AwsAdministrator "AWS refuses because a quota of the account is reached.";
    AliasTaken Stuck AwsAdministrator "The alias that claims this key's identity points at a key that is not ours.";
    KeyDisabled Stuck AwsAdministrator "The key is disabled; the operator never enables what it did not disable.";
    KeyPendingDeletion Stuck AwsAdministrator "The key is scheduled for deletion; cancel that, then enable it.";
    KeyGone Stuck AwsAdministrator "The key that status names no longer exists; nothing is re-created in its place.";
    KeyUnavailable Stuck AwsAdministrator "The key is in a state in which it cannot be used.";
    KeyRestoring Working Nobody "The object was applied again, and the deletion of its key, which the operator itself had scheduled, is being taken back.";
    KeyStateSettling Working Nobody "AWS does not show the key, or its new state, everywhere yet.";
    KeyWrongKind Stuck Author "The key is not a symmetric encryption key of AWS KMS in the declared account and region.";
    AdoptionNotConsented Stuck AwsAdministrator "The key named by keyArn lacks the tag by which its owner allows this object to use it.";
    OwnedByAnother Stuck Author "The key carries the owner tags of another object.";
    HeldByAnotherCluster Stuck OperatorAdministrator "The key is held by another Kubernetes cluster with the same installation.";
    HealingKey Healing Nobody "An attribute of the key differs from what is declared and is being put right.";

    // Policies.
    PoliciesHold Fine Nobody "Every key policy holds what the declared parties need.";
    WritingPolicy Working Nobody "A key policy is being written.";
    PolicySettling Working Nobody "A key policy was written and AWS does not show it, or its principals, everywhere yet.";
    HealingPolicy Healing Nobody "A key policy differs from what is declared and is being put right.";
    PrincipalsUnknown Working Nobody "The principals that the cloud will use are not known yet.";
    PolicyInvalid Stuck Author "What is declared for the key policy cannot be written.";
    PolicyRisky Stuck Author "A declared statement would give a third party more than use of the key.";
    LockoutRisk Stuck AwsAdministrator "A statement in the key policy would stop the operator from changing it again.";
    OrphanedPrincipal Stuck AwsAdministrator "A foreign statement names a deleted principal, so AWS refuses every write of this policy.";
    PrincipalMissing Stuck Author "AWS has refused the key policy for minutes, because a principal in it does not exist.";
    RestrictionPending Working Nobody "The key is about to be restricted to the cloud's addresses; they have to be seen several times first.";
    RestrictionLifted Healing Nobody "The key is to be used from the cloud's addresses alone; that is lifted while a database is being made or changed, and until its addresses are known.";
    TooManyAddresses Stuck Author "The cloud calls from more addresses than a policy has room for, so the key is not restricted to them.";
    PolicyContested Stuck AwsAdministrator "Somebody undoes what the operator writes into this key policy.";

    // Registration with the database cloud.
    RegisteredAndRead Fine Nobody "Every region's key is registered and was read back.";
    Registering Working Nobody "A key is being registered.";
    RegistrationUncertain Working Nobody "The outcome of an earlier registration is not known; the operator reads until it is.";
    LinkingRole Working Nobody "The cloud is being told of the role as which it uses the key.";
    CloudRoleRefused Stuck AwsAdministrator "The cloud has been unable for minutes to use the key as the role: what the role trusts, or what it may do, is not enough.";
    MakingRole Working Nobody "The role as which the cloud uses the key is being made in AWS.";
    HealingRole Healing Nobody "The role that the operator made differs from what the cloud needs and is being put right.";
    CloudRoleTaken Stuck AwsAdministrator "AWS has a role of the declared name that this object did not make; it is never changed.";
    RegistrationWaits Working Nobody "Registration waits for the key and its policy.";
    RegistrationConflict Stuck CloudAdministrator "Another key is registered where this one should be; it is never overwritten.";
    RegistrationSlotTaken Stuck Author "An older object claims the same registration.";
    RegistrationRefused Stuck CloudAdministrator "The cloud refuses the registration.";
    RegistrationLost Stuck CloudAdministrator "The registration that was there is gone.";
    RegistrationNotValid Stuck CloudAdministrator "The cloud says that it cannot use the registered key.";
    RegistrationNotNeeded Fine Nobody "This cloud has no registration apart from the deployment.";
    UnprotectedDatabases Fine CloudAdministrator "The registration is right, but there are databases that are older than it, so they are not encrypted with the key.";
    RegionLocked Stuck CloudAdministrator "The cloud does not offer this region to the organization.";
    ScopeMismatch Stuck Author "The credentials belong to another organization or project than the spec names.";

    // Credentials for the database cloud.
    CredentialsAccepted Fine Nobody "The credentials work.";
    SecretMissing Stuck Author "The Secret that the spec refers to does not exist.";
    SecretKeyMissing Stuck Author "The Secret lacks a key that this cloud needs.";
    CredentialsRejected Stuck CloudAdministrator "The cloud does not accept the credentials.";
    CredentialsLackPermission Stuck CloudAdministrator "The credentials are valid but lack a permission.";

    // The gate.
    AllChecksPass Fine Nobody "Every check of every region passes.";
    LooksPending Working Nobody "Everything was found right; it has to be found so several times in a row before anything is deployed.";
    KeyNotFound Working Author "The CustomerKey that the spec refers to does not exist.";
    KeyNotAllowed Stuck Author "The CustomerKey does not allow clusters of this namespace.";
    KeyDeleting Stuck Author "The CustomerKey is being deleted.";
    RegionNotInKey Stuck Author "The CustomerKey does not have a region that the cluster declares.";
    KeyNotReady Working Nobody "A region's key is not ready for deployments yet.";
    KeyUnusable Stuck AwsAdministrator "A region's key cannot be used by the cloud now.";

    // Deployment.
    DeployedEverywhere Fine Nobody "The database runs in every declared region.";
    GateOnly Fine Nobody "Somebody else deploys; this object only says when that is safe.";
    GateClosed Working Nobody "The deployment waits for its gate.";
    Deploying Working Nobody "The cloud is deploying.";
    DeployUncertain Working Nobody "The outcome of an earlier deployment call is not known; the operator lists until it is.";
    DeployRefused Stuck CloudAdministrator "The cloud refuses the deployment.";
    CreateByPortal Awaiting CloudAdministrator "This organization cannot create such a database by API; create it in the portal, the gate is open.";
    DatabaseConflict Stuck Author "There is a database of that name that the operator did not create, or several that could be its own.";
    DatabaseFailed Stuck CloudAdministrator "The database is in a state that it does not leave by itself.";
    DatabaseGone Stuck CloudAdministrator "The database that status names no longer exists; no other is created in its place.";
    WrongRegion Stuck Author "The database, or its copy, lies in another region than the spec declares, where its key is.";
    DatabaseChanging Healing Nobody "The cloud is changing the database, which is deployed and encrypted all the while.";
    DatabaseBusy Working Nobody "The database is in a state in which it cannot be changed; the operator waits.";

    // Proof of encryption.
    EncryptionReported Fine Nobody "The cloud itself reports that the database is encrypted with this key.";
    ByOrder Fine Nobody "The key was registered before the database was deployed; this cloud offers no other proof.";
    Attested Fine Nobody "Somebody confirmed that the cloud's portal shows the database under exactly this key; the cloud has no call that says it.";
    NotDeployedYet Fine Nobody "There is nothing deployed yet that could be encrypted.";
    AwaitingAttestation Awaiting CloudAdministrator "Somebody has to confirm what the cloud's portal shows.";
    NotEncrypted Stuck CloudAdministrator "The cloud itself reports that the database is not encrypted with the key.";
    ExistingDatabaseUnverified Fine Nobody "The database existed before it was bound; whether it is encrypted with this key is not known.";
    ExistingDatabaseNotEncrypted Stuck CloudAdministrator "The database is older than the key's registration, so it is not encrypted with it.";

    // Deletion.
    Deleting Working Nobody "The object is being deleted.";
    DeletionBlocked Stuck Author "The deletion waits for something that the message names.";
    RegionInUse Stuck Author "A region was taken out of the spec, but EncryptedClusters use its key; it is still managed.";
    RegionRetained Fine Nobody "A region was taken out of the spec; the database stays deployed there under Retain.";
    NeverDeletable Fine CloudAdministrator "The cloud has no way to withdraw a registration, so the operator never deletes a key that was registered.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_must_act_is_named_when_stuck_or_awaiting() {
        for reason in Reason::ALL {
            if matches!(reason.standing(), Standing::Stuck | Standing::Awaiting) {
                assert_ne!(reason.actor(), Actor::Nobody, "{reason:?} waits for nobody");
            }
        }
    }
}
