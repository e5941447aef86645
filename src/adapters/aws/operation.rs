//! The AWS operations that the operator uses.

/// An operation of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `sts:AssumeRole`.
    AssumeRole,
    /// `sts:GetCallerIdentity`.
    GetCallerIdentity,
    /// `kms:DescribeKey`.
    DescribeKey,
    /// `kms:ListResourceTags`.
    ListResourceTags,
    /// `kms:GetKeyPolicy`.
    GetKeyPolicy,
    /// `kms:GetKeyRotationStatus`.
    GetKeyRotationStatus,
    /// `kms:ListKeys`.
    ListKeys,
    /// `tag:GetResources`.
    GetResources,
    /// `kms:CreateKey`.
    CreateKey,
    /// `kms:ReplicateKey`.
    ReplicateKey,
    /// `kms:CreateAlias`.
    CreateAlias,
    /// `kms:PutKeyPolicy`.
    PutKeyPolicy,
    /// `kms:EnableKeyRotation`.
    EnableKeyRotation,
    /// `kms:UpdateKeyDescription`.
    UpdateKeyDescription,
    /// `kms:TagResource`.
    TagResource,
    /// `kms:ScheduleKeyDeletion`.
    ScheduleKeyDeletion,
    /// `kms:CancelKeyDeletion`.
    CancelKeyDeletion,
    /// `kms:EnableKey`.
    EnableKey,
    /// `iam:GetRole`.
    GetRole,
    /// `iam:GetRolePolicy`.
    GetRolePolicy,
    /// `iam:SimulatePrincipalPolicy`.
    SimulatePrincipalPolicy,
    /// `iam:CreateRole`.
    CreateRole,
    /// `iam:UpdateAssumeRolePolicy`.
    UpdateAssumeRolePolicy,
    /// `iam:PutRolePolicy`.
    PutRolePolicy,
    /// `iam:DeleteRolePolicy`.
    DeleteRolePolicy,
    /// `iam:DeleteRole`.
    DeleteRole,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::AssumeRole,
        Self::GetCallerIdentity,
        Self::DescribeKey,
        Self::ListResourceTags,
        Self::GetKeyPolicy,
        Self::GetKeyRotationStatus,
        Self::ListKeys,
        Self::GetResources,
        Self::CreateKey,
        Self::ReplicateKey,
        Self::CreateAlias,
        Self::PutKeyPolicy,
        Self::EnableKeyRotation,
        Self::UpdateKeyDescription,
        Self::TagResource,
        Self::ScheduleKeyDeletion,
        Self::CancelKeyDeletion,
        Self::EnableKey,
        Self::GetRole,
        Self::GetRolePolicy,
        Self::SimulatePrincipalPolicy,
        Self::CreateRole,
        Self::UpdateAssumeRolePolicy,
        Self::PutRolePolicy,
        Self::DeleteRolePolicy,
        Self::DeleteRole,
    ];

    /// The IAM action.
    pub const fn action(self) -> &'static str {
        match self {
            Self::AssumeRole => "sts:AssumeRole",
            Self::GetCallerIdentity => "sts:GetCallerIdentity",
            Self::DescribeKey => "kms:DescribeKey",
            Self::ListResourceTags => "kms:ListResourceTags",
            Self::GetKeyPolicy => "kms:GetKeyPolicy",
            Self::GetKeyRotationStatus => "kms:GetKeyRotationStatus",
            Self::ListKeys => "kms:ListKeys",
            Self::GetResources => "tag:GetResources",
            Self::CreateKey => "kms:CreateKey",
            Self::ReplicateKey => "kms:ReplicateKey",
            Self::CreateAlias => "kms:CreateAlias",
            Self::PutKeyPolicy => "kms:PutKeyPolicy",
            Self::EnableKeyRotation => "kms:EnableKeyRotation",
            Self::UpdateKeyDescription => "kms:UpdateKeyDescription",
            Self::TagResource => "kms:TagResource",
            Self::ScheduleKeyDeletion => "kms:ScheduleKeyDeletion",
            Self::CancelKeyDeletion => "kms:CancelKeyDeletion",
            Self::EnableKey => "kms:EnableKey",
            Self::GetRole => "iam:GetRole",
            Self::GetRolePolicy => "iam:GetRolePolicy",
            Self::SimulatePrincipalPolicy => "iam:SimulatePrincipalPolicy",
            Self::CreateRole => "iam:CreateRole",
            Self::UpdateAssumeRolePolicy => "iam:UpdateAssumeRolePolicy",
            Self::PutRolePolicy => "iam:PutRolePolicy",
            Self::DeleteRolePolicy => "iam:DeleteRolePolicy",
            Self::DeleteRole => "iam:DeleteRole",
        }
    }

    /// The service, as the IAM action abbreviates it.
    pub fn service(self) -> &'static str {
        self.action().split_once(':').map_or("", |(service, _)| service)
    }

    /// The name in the service's API, under which quotas are counted.
    pub fn name(self) -> &'static str {
        self.action().split_once(':').map_or("", |(_, name)| name)
    }

    /// Whether it changes something, so that a lost reply leaves its outcome open.
    pub const fn writes(self) -> bool {
        match self {
            Self::AssumeRole
            | Self::GetCallerIdentity
            | Self::DescribeKey
            | Self::ListResourceTags
            | Self::GetKeyPolicy
            | Self::GetKeyRotationStatus
            | Self::ListKeys
            | Self::GetResources
            | Self::GetRole
            | Self::GetRolePolicy
            | Self::SimulatePrincipalPolicy => false,
            Self::CreateKey
            | Self::ReplicateKey
            | Self::CreateAlias
            | Self::PutKeyPolicy
            | Self::EnableKeyRotation
            | Self::UpdateKeyDescription
            | Self::TagResource
            | Self::ScheduleKeyDeletion
            | Self::CancelKeyDeletion
            | Self::EnableKey
            | Self::CreateRole
            | Self::UpdateAssumeRolePolicy
            | Self::PutRolePolicy
            | Self::DeleteRolePolicy
            | Self::DeleteRole => true,
        }
    }

    /// Whether it needs a slot of our share of its quota. Reads of single keys have quotas of a thousand and more per
    /// second, which the number of workers bounds well enough.
    pub const fn is_scarce(self) -> bool {
        self.writes() || matches!(self, Self::GetResources)
    }
}
