//! From what users write about a workspace group of SingleStore to what it means.

use crate::domain::desired::DatabaseRequest;
use crate::domain::part::NewPart;
use crate::domain::portal::{Attested, BucketKeys, Copies, GroupRequest};

use super::parse::{Invalid, at};
use super::{Attestation, HandOffMode, SingleStoreDeployment, Workspace};

/// What is to be made.
pub(super) fn request(spec: &SingleStoreDeployment) -> DatabaseRequest {
    let copies = spec.replication.as_ref();
    DatabaseRequest {
        name: spec.name.clone(),
        tier: String::new(),
        capacity_units: None,
        keyspace: None,
        database_type: None,
        group: Some(GroupRequest {
            firewall_ranges: spec.firewall_ranges.clone(),
            project: spec.project_id.clone(),
            keys: None,
            parts: spec.workspaces.iter().map(part).collect(),
            copies: copies
                .map(|copies| Copies { names: copies.database_names.clone(), automatic: copies.auto_replication }),
        }),
        cluster: None,
    }
}

fn part(spec: &Workspace) -> NewPart {
    NewPart { name: spec.name.clone(), size: spec.size.clone() }
}

/// Whether a human makes the group. One that is bound is made, whoever did it; a mode says who sets up what is still to come.
pub(super) fn by_hand(spec: &SingleStoreDeployment) -> bool {
    spec.mode == HandOffMode::HandOff
}

/// What a human saw.
pub(super) fn attested(spec: &Attestation) -> Result<Attested, Invalid> {
    let data = spec.data_bucket_key_arn.parse().map_err(at("spec.deployment.singleStore.attested.dataBucketKeyArn"))?;
    let backup = match &spec.backup_bucket_key_arn {
        Some(arn) => arn.parse().map_err(at("spec.deployment.singleStore.attested.backupBucketKeyArn"))?,
        None => {
            spec.data_bucket_key_arn.parse().map_err(at("spec.deployment.singleStore.attested.dataBucketKeyArn"))?
        }
    };
    Ok(Attested {
        database: spec.workspace_group_id.clone(),
        by: spec.by.clone(),
        date: spec.date.clone(),
        keys: BucketKeys { data, backup },
    })
}
