//! What each database cloud can and cannot do, as data. The planner reads this and names no vendor.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::policy::{Condition, Grant, Scalar};
use super::portal::Portal;

/// The clouds that a spec can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cloud {
    /// `DataStax` Astra.
    Astra,
    /// `MongoDB` Atlas.
    Atlas,
    /// `SingleStore` Helios.
    SingleStore,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Astra => "Astra",
            Self::Atlas => "Atlas",
            Self::SingleStore => "SingleStore",
        })
    }
}

/// Where a key is registered: one slot per region exists in each such scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The cloud.
    pub cloud: Cloud,
    /// The organization or project.
    pub id: String,
    /// The kind of database, where a cloud keeps separate keys per kind; empty where it does not.
    #[serde(default)]
    pub database_type: String,
    /// The role name in the cloud's own AWS accounts that uses the key; empty where there is none.
    #[serde(default)]
    pub principal_role: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.database_type.is_empty() {
            write!(f, "{}", self.cloud)
        } else {
            write!(f, "{}/{}", self.cloud, self.database_type)
        }
    }
}

/// A set of actions that a cloud's principals need on the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Need {
    /// The label of the statement, letters, digits and spaces.
    pub label: String,
    /// The actions, as the cloud's guide lists them.
    pub actions: Vec<String>,
    /// Granted only on behalf of AWS services that integrate with KMS: the condition `kms:GrantIsForAWSResource`
    /// (<https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-grant-is-for-aws-resource>).
    #[serde(default)]
    pub for_aws_resources_only: bool,
}

impl Need {
    /// The need as what a policy has to give.
    pub fn grant(&self) -> Grant {
        let for_aws_resources = Condition {
            operator: "Bool".to_owned(),
            key: "kms:GrantIsForAWSResource".to_owned(),
            values: vec![Scalar::Text("true".to_owned())],
        };
        let conditions = if self.for_aws_resources_only { vec![for_aws_resources] } else { Vec::new() };
        Grant { label: self.label.clone(), actions: self.actions.clone(), conditions }
    }
}

/// How a cloud takes note of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Registration {
    /// A call per region, apart from any deployment.
    PerRegion,
    /// None: keys are named when a database is deployed.
    AtDeployment,
}

/// How far a cloud can prove that a database is encrypted with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Proof {
    /// Only by order: registered first, deployed after.
    ByOrder,
    /// The cloud reports it.
    Reported,
    /// A human reads it in the portal.
    Attested,
}

/// What a cloud can do, as far as the planner has to know.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a cloud, each read by its name")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities {
    /// Whether this build has an adapter for the cloud.
    pub supported: bool,
    /// How the cloud takes note of a key.
    pub registration: Registration,
    /// Whether a registration can be changed or withdrawn by API. If not, it is made only on confirmed looks.
    pub registration_is_final: bool,
    /// Whether the principals come from the cloud's API.
    pub principals_from_cloud: bool,
    /// Whether the cloud can say that it can use the registered key.
    pub says_usable: bool,
    /// What the cloud's principals need.
    pub needs: Vec<Need>,
    /// How far encryption can be proven.
    pub proof: Proof,
    /// Whether a database is created in one region and the others are added to it one by one.
    pub adds_regions: bool,
    /// What a human has to do in the cloud's portal, among it to copy the policy that lets the cloud use the key. None:
    /// nothing.
    #[serde(default)]
    pub portal: Option<Portal>,
    /// Whether the cloud uses the key as a role in the customer's own account, which it has to be told of.
    pub through_role: bool,
    /// Whether a scope has one key, in one region, for its databases in every region.
    pub one_key: bool,
    /// Whether what serves a database is made apart from it, by a call that is not idempotent.
    #[serde(default)]
    pub makes_parts: bool,
}

impl Capabilities {
    /// Whether a human has a part to do in the cloud's portal.
    pub fn has_portal(&self) -> bool {
        self.portal.is_some()
    }

    /// A cloud that this build knows by name only.
    fn unsupported(proof: Proof) -> Self {
        Self {
            supported: false,
            registration: Registration::AtDeployment,
            registration_is_final: true,
            principals_from_cloud: false,
            says_usable: false,
            needs: Vec::new(),
            proof,
            adds_regions: false,
            portal: None,
            through_role: false,
            one_key: false,
            makes_parts: false,
        }
    }

    /// What a cloud can do.
    pub fn of(cloud: Cloud) -> Self {
        match cloud {
            Cloud::Astra => Self {
                supported: true,
                registration: Registration::PerRegion,
                // Changing or deleting a registered key is a support ticket
                // (<https://docs.datastax.com/en/astra-db-classic/administration/customer-keys-manage.html>).
                registration_is_final: true,
                principals_from_cloud: true,
                says_usable: false,
                needs: astra_needs(),
                proof: Proof::ByOrder,
                adds_regions: true,
                portal: None,
                through_role: false,
                one_key: false,
                makes_parts: false,
            },
            Cloud::Atlas => Self {
                supported: true,
                registration: Registration::PerRegion,
                // A key is set by PATCH, and set again (<https://www.mongodb.com/docs/atlas/security-aws-kms/>).
                registration_is_final: false,
                principals_from_cloud: true,
                says_usable: true,
                needs: atlas_needs(),
                proof: Proof::Reported,
                adds_regions: false,
                portal: None,
                through_role: true,
                one_key: true,
                makes_parts: false,
            },
            Cloud::SingleStore => Self {
                supported: true,
                adds_regions: true,
                portal: Some(Portal::singlestore()),
                // Workspaces of a workspace group (<https://docs.singlestore.com/cloud/reference/management-api/>).
                makes_parts: true,
                ..Self::unsupported(Proof::Attested)
            },
        }
    }
}

/// What the customer's role needs on the key. The guide names the first three
/// (<https://www.mongodb.com/docs/atlas/security-aws-kms/>), the vendor's own Terraform module gives the fourth as well.
fn atlas_needs() -> Vec<Need> {
    let actions = ["Encrypt", "Decrypt", "DescribeKey", "GenerateDataKey*"];
    vec![Need {
        label: "use".to_owned(),
        actions: actions.iter().map(|name| format!("kms:{name}")).collect(),
        for_aws_resources_only: false,
    }]
}

/// The statements that the vendor's guide demands beside the account root's
/// (<https://docs.datastax.com/en/astra-db-classic/administration/customer-keys-aws.html>). The guide names the second
/// one without printing it; its condition is inferred from the AWS console's template.
fn astra_needs() -> Vec<Need> {
    let actions = |names: &[&str]| names.iter().map(|n| format!("kms:{n}")).collect();
    vec![
        Need {
            label: "use".to_owned(),
            actions: actions(&[
                "EnableKey",
                "Encrypt",
                "Decrypt",
                "GenerateDataKey",
                "GenerateDataKeyWithoutPlaintext",
                "ReEncryptTo",
                "ReEncryptFrom",
                "DescribeKey",
            ]),
            for_aws_resources_only: false,
        },
        Need {
            label: "persistent resources".to_owned(),
            actions: actions(&["CreateGrant", "ListGrants", "RevokeGrant"]),
            for_aws_resources_only: true,
        },
    ]
}
