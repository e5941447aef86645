//! Tags of a key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Kms, Needs, page};
use crate::sandbox::failure::{Failure, ServiceError};

/// Tags per key (KMS guide, "Tagging keys").
const MOST: usize = 50;

/// A tag in the shape that KMS uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// 1 to 128 characters, not starting with `aws:`.
    pub tag_key: String,
    /// 0 to 256 characters.
    pub tag_value: String,
}

impl Tag {
    /// A tag.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { tag_key: key.into(), tag_value: value.into() }
    }
}

/// A page of `ListResourceTags`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagPage {
    /// Sorted by key.
    pub tags: Vec<Tag>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// There is a next page.
    pub truncated: bool,
}

fn bad_tag(text: &str) -> ServiceError {
    ServiceError::aws("TagException", text)
}

/// The tags with `more` added, or why not.
pub(super) fn checked_tags(
    held: &BTreeMap<String, String>,
    more: &[Tag],
) -> Result<BTreeMap<String, String>, ServiceError> {
    let mut all = held.clone();
    let mut seen = BTreeSet::new();
    for Tag { tag_key, tag_value } in more {
        let legal = |t: &str| t.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
        if !(1..=128).contains(&tag_key.chars().count()) || tag_value.chars().count() > 256 {
            return Err(ServiceError::validation(
                "1 validation error detected: a tag key has 1 to 128, a tag value 0 to 256 characters",
            ));
        }
        if tag_key.to_ascii_lowercase().starts_with("aws:") {
            return Err(bad_tag("Tag keys must not start with aws:, which is reserved"));
        }
        if !legal(tag_key) || !legal(tag_value) {
            return Err(bad_tag("Tags contain a character that is not allowed"));
        }
        if !seen.insert(tag_key) {
            return Err(bad_tag("Tags contain a key more than once"));
        }
        all.insert(tag_key.clone(), tag_value.clone());
    }
    if all.len() > MOST {
        return Err(bad_tag("Too many tags"));
    }
    Ok(all)
}

impl Kms<'_> {
    /// Adds tags or replaces their values.
    pub fn tag_resource(&mut self, key: &str, tags: &[Tag]) -> Result<(), Failure> {
        self.alter("TagResource", key, Needs::NotPending, |_, key| {
            key.tags = checked_tags(&key.tags, tags)?;
            key.was_tagged |= !tags.is_empty();
            Ok(())
        })
    }

    /// Removes tags; absent ones are no error.
    pub fn untag_resource(&mut self, key: &str, names: &[String]) -> Result<(), Failure> {
        self.alter("UntagResource", key, Needs::NotPending, |_, key| {
            if names.iter().any(|n| n.starts_with("aws:")) {
                return Err(bad_tag("Tag keys must not start with aws:, which is reserved"));
            }
            for name in names {
                key.tags.remove(name);
            }
            Ok(())
        })
    }

    /// The tags, a page at a time (1 to 50, default 50).
    pub fn list_resource_tags(
        &mut self,
        key: &str,
        limit: Option<i32>,
        marker: Option<&str>,
    ) -> Result<TagPage, Failure> {
        self.look("ListResourceTags", key, |_, _, key| {
            let (items, next_marker) = page(key.tags.iter().map(|(k, v)| (k.as_str(), v)), limit, 50, 50, marker)?;
            let tags = items.into_iter().map(|(k, v)| Tag::new(k, v)).collect();
            Ok(TagPage { tags, truncated: next_marker.is_some(), next_marker })
        })
    }
}
