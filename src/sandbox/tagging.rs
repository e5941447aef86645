//! The Resource Groups Tagging API, for keys: an index that runs behind.

use serde::{Deserialize, Serialize};

use super::failure::{Failure, ServiceError};
use super::fault::Access;
use super::iam::Identity;
use super::kms::KmsRegion;
use super::world::{Call, Service, World};

/// Input of `GetResources`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GetResources {
    /// All must hold; at most 50.
    pub tag_filters: Vec<TagFilter>,
    /// `kms` or `kms:key`; other services have nothing here.
    pub resource_type_filters: Vec<String>,
    /// 1 to 100, default 50.
    pub resources_per_page: Option<i32>,
    /// From the page before; empty is the same as absent.
    pub pagination_token: Option<String>,
    /// Only these resources; not together with filters or paging.
    #[serde(rename = "ResourceARNList")]
    pub resource_arn_list: Vec<String>,
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TagFilter {
    /// Tag key.
    pub key: String,
    /// Any of these; empty: any value. At most 20.
    pub values: Vec<String>,
}

/// A tag in the shape that this API uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceTag {
    /// Tag key.
    pub key: String,
    /// Tag value.
    pub value: String,
}

/// A resource and its tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TaggedResource {
    /// Key ARN.
    #[serde(rename = "ResourceARN")]
    pub arn: String,
    /// All its tags.
    #[serde(rename = "Tags")]
    pub tags: Vec<ResourceTag>,
}

/// A page of `GetResources`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourcePage {
    /// Sorted by key id.
    #[serde(rename = "ResourceTagMappingList")]
    pub resources: Vec<TaggedResource>,
    /// Empty on the last page.
    pub pagination_token: String,
}

/// The Tagging API on behalf of one caller.
#[derive(Debug)]
pub struct Tagging<'w> {
    world: &'w mut World,
    who: Identity,
    region: String,
}

impl World {
    /// The Tagging API as `who` calls it at the endpoint of `region`.
    pub fn tagging(&mut self, who: &Identity, region: &str) -> Tagging<'_> {
        self.ensure_account(&who.account);
        Tagging { world: self, who: who.clone(), region: region.into() }
    }
}

impl Tagging<'_> {
    /// Keys of the region that are or once were tagged, as the index knew them a while ago.
    pub fn get_resources(&mut self, input: &GetResources) -> Result<ResourcePage, Failure> {
        let call = Call {
            service: Service::Tagging,
            operation: "GetResources",
            access: Access::Read,
            account: self.who.account.clone(),
            principal: self.who.arn.clone(),
            region: self.region.clone(),
            resource: "*".into(),
        };
        let home = (self.who.account.clone(), self.region.clone());
        self.world.perform(call, |world, at_ms| {
            let size = checked(input)?;
            let token = input.pagination_token.as_deref().filter(|t| !t.is_empty());
            let after = match token {
                None => "",
                Some(t) => t.strip_prefix("after:").ok_or_else(|| {
                    ServiceError::aws("PaginationTokenExpiredException", "the token is not one of ours")
                })?,
            };
            let empty = KmsRegion::default();
            let view = world.kms.get(&home).map_or(&empty, |r| r.at(at_ms - world.settings.tag_index_lag_ms));
            let mut found = view.keys.values().filter(|k| k.was_tagged && k.id.as_str() > after).filter(|k| {
                input
                    .tag_filters
                    .iter()
                    .all(|f| k.tags.get(&f.key).is_some_and(|v| f.values.is_empty() || f.values.contains(v)))
                    && (input.resource_arn_list.is_empty() || input.resource_arn_list.contains(&k.arn))
            });
            let keys_wanted = input.resource_type_filters.is_empty()
                || input.resource_type_filters.iter().any(|t| t == "kms" || t == "kms:key");
            let page: Vec<_> = found.by_ref().take(if keys_wanted { size } else { 0 }).collect();
            let more = keys_wanted && found.next().is_some();
            let pagination_token = page.last().filter(|_| more).map_or_else(String::new, |k| format!("after:{}", k.id));
            let tags = |k: &std::sync::Arc<super::kms::Key>| {
                k.tags.iter().map(|(key, value)| ResourceTag { key: key.clone(), value: value.clone() }).collect()
            };
            let resources = page.iter().map(|k| TaggedResource { arn: k.arn.clone(), tags: tags(k) }).collect();
            Ok(ResourcePage { resources, pagination_token })
        })
    }
}

fn checked(input: &GetResources) -> Result<usize, ServiceError> {
    let invalid = |text: &str| Err(ServiceError::aws("InvalidParameterException", text));
    if input.tag_filters.len() > 50 || input.tag_filters.iter().any(|f| f.values.len() > 20 || f.key.is_empty()) {
        return invalid("at most 50 tag filters with a key and at most 20 values each");
    }
    if !input.resource_arn_list.is_empty()
        && (!input.tag_filters.is_empty()
            || !input.resource_type_filters.is_empty()
            || input.resources_per_page.is_some())
    {
        return invalid("ResourceARNList excludes filters and paging");
    }
    match input.resources_per_page.unwrap_or(50) {
        n @ 1..=100 => Ok(usize::try_from(n).unwrap_or(0)),
        _ => invalid("ResourcesPerPage is between 1 and 100"),
    }
}
