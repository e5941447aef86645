//! Accounts to trust and registrations of customer keys.

use serde::{Deserialize, Serialize};

use super::{Astra, DatabaseType, Registration, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::{arn_parts, is_account};

/// Body of a registration (`ExternalKMS` of the spec).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalKms {
    /// Must be the organization of the token.
    #[serde(default)]
    pub org_id: String,
    /// The only provider here.
    #[serde(default)]
    pub aws: Option<AwsKms>,
}

/// The AWS part of a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AwsKms {
    /// Key ARN.
    #[serde(rename = "keyID", default)]
    pub key_id: String,
    /// Its region.
    #[serde(default)]
    pub region: String,
}

/// Answer of the call for one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OneKey {
    /// Organization.
    pub org_id: String,
    /// Key.
    pub aws: AwsKms,
}

/// An item of the list of keys, capitalised as the spec has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ListedKey {
    /// Organization.
    #[serde(rename = "OrganizationID")]
    pub organization_id: String,
    /// `aws`.
    #[serde(rename = "CloudProvider")]
    pub cloud_provider: String,
    /// Key ARN.
    #[serde(rename = "KeyID")]
    pub key_id: String,
    /// Region.
    #[serde(rename = "Region")]
    pub region: String,
}

/// An account of the vendor that the key policy must let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ProviderAccount {
    /// Organization.
    pub organization_id: String,
    /// AWS account, 12 digits.
    pub provider_id: String,
    /// `aws`.
    pub provider: String,
}

impl DatabaseType {
    fn operations(self) -> [&'static str; 4] {
        match self {
            Self::Serverless => ["GetCloudAccounts", "CreateKey", "GetServerlessKey", "ListKeys"],
            Self::Classic => ["GetClassicCloudAccounts", "CreateClassicKey", "GetClassicKey", "ListClassicKeys"],
        }
    }
}

fn only_aws(provider: &str) -> Result<(), ServiceError> {
    if provider == "aws" { Ok(()) } else { Err(refused(400, format!("unknown provider {provider}"))) }
}

impl Astra<'_> {
    /// `GET /v2/kms[/classic]/provider/{provider}/region/{region}/accounts`.
    pub fn accounts(
        &mut self,
        kind: DatabaseType,
        provider: &str,
        region: &str,
    ) -> Result<Vec<ProviderAccount>, Failure> {
        let permission = (Some("org-cmk-read"), 403);
        self.perform(kind.operations()[0], Access::Read, (region, ""), permission, |world, org, at_ms| {
            only_aws(provider)?;
            let offered = world.org(org, at_ms)?.regions.get(region);
            let offered = offered.ok_or_else(|| refused(404, format!("region {region} not found")))?;
            let ids = match kind {
                DatabaseType::Classic => &offered.classic_accounts,
                DatabaseType::Serverless => &offered.serverless_accounts,
            };
            let account = |id: &String| ProviderAccount {
                organization_id: org.to_owned(),
                provider_id: id.clone(),
                provider: "aws".into(),
            };
            Ok(ids.iter().map(account).collect())
        })
    }

    /// `POST /v2/kms[/classic]`; gives the status of success, which differs between the vendor's documents.
    pub fn register_key(&mut self, kind: DatabaseType, input: &ExternalKms) -> Result<u16, Failure> {
        let aws = input.aws.clone().unwrap_or_default();
        let permission = (Some("org-cmk-write"), 403);
        let about = (aws.region.as_str(), aws.key_id.as_str());
        self.perform(kind.operations()[1], Access::Write, about, permission, |world, org, _| {
            let now_ms = world.now_ms;
            if input.org_id != org {
                return Err(refused(403, "the token does not belong to this organization"));
            }
            let region = checked_arn(&aws)?;
            let state = world.org(org, now_ms)?;
            if state.open_region(region).is_none() {
                return Err(refused(400, format!("region {region} is not available to this organization")));
            }
            let status = state.settings.register_status;
            // What the vendor answers to a second registration is not documented; there is no call to change one.
            match state.registrations.get(&(kind, region.to_owned())) {
                Some(known) if known.arn != aws.key_id => {
                    return Err(refused(409, format!("a customer key is already registered for aws {region}")));
                }
                Some(_) if state.settings.refuse_same_arn => {
                    return Err(refused(409, format!("this customer key is already registered for aws {region}")));
                }
                Some(_) => return Ok(status),
                None => {}
            }
            let registration = Registration { arn: aws.key_id.clone(), at_ms: now_ms };
            world.org_to_change(org)?.registrations.insert((kind, region.to_owned()), registration);
            Ok(status)
        })
    }

    /// `GET /v2/kms[/classic]/provider/{provider}/region/{region}`.
    pub fn key(&mut self, kind: DatabaseType, provider: &str, region: &str) -> Result<OneKey, Failure> {
        let permission = (Some("org-cmk-read"), 403);
        self.perform(kind.operations()[2], Access::Read, (region, ""), permission, |world, org, at_ms| {
            only_aws(provider)?;
            let known = world.org(org, at_ms)?.registrations.get(&(kind, region.to_owned())).cloned();
            let known = known.ok_or_else(|| refused(404, format!("no customer key for aws {region}")))?;
            world.link.touched = Some(known.arn.clone());
            Ok(OneKey { org_id: org.to_owned(), aws: AwsKms { key_id: known.arn, region: region.to_owned() } })
        })
    }

    /// `GET /v2/kms[/classic]`.
    pub fn keys(&mut self, kind: DatabaseType) -> Result<Vec<ListedKey>, Failure> {
        let permission = (Some("org-cmk-read"), 403);
        self.perform(kind.operations()[3], Access::Read, ("", ""), permission, |world, org, at_ms| {
            let all = &world.org(org, at_ms)?.registrations;
            let listed = all.iter().filter(|((k, _), _)| *k == kind).map(|((_, region), registration)| ListedKey {
                organization_id: org.to_owned(),
                cloud_provider: "aws".into(),
                key_id: registration.arn.clone(),
                region: region.clone(),
            });
            Ok(listed.collect())
        })
    }
}

/// The region, if the ARN is one of a KMS key in it. Status 400 is a guess; the vendor documents none.
fn checked_arn(aws: &AwsKms) -> Result<&str, ServiceError> {
    let parts = arn_parts(&aws.key_id).filter(|p| p[2] == "kms" && is_account(p[4]) && p[5].starts_with("key/"));
    let parts = parts.ok_or_else(|| refused(400, format!("keyID {} is not the ARN of a KMS key", aws.key_id)))?;
    if parts[3] != aws.region {
        return Err(refused(400, format!("the key is in {}, not in {}", parts[3], aws.region)));
    }
    Ok(&aws.region)
}
