//! What is truly so in the database cloud, told alike of each: for judges, who never ask the operator.

use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::domain::moment::Moment;
use cmk_operator::sandbox::astra::DatabaseType;
use cmk_operator::sandbox::atlas::{ClusterState, Project, StoredCluster};
use cmk_operator::sandbox::{ACCOUNT, ATLAS_PROJECT, ORGANIZATION, World, provider_account};

use super::files::{REGIONS, ROLE_ARN};
use super::scene::{LAG, Scene};

const KIND: DatabaseType = DatabaseType::Serverless;

/// The database cloud as it is.
#[derive(Clone, Copy)]
pub(crate) struct Truth<'w> {
    world: &'w World,
    cloud: Cloud,
}

/// A database that was ever made, as far as the cloud knows of it.
pub(crate) struct Stored<'w> {
    pub(crate) id: &'w str,
    pub(crate) created_at_ms: i64,
    /// Whether its end was asked for.
    pub(crate) goes: bool,
    /// Whether it is no more.
    pub(crate) gone: bool,
    pub(crate) regions: Vec<Deployed<'w>>,
}

/// A region of a database.
pub(crate) struct Deployed<'w> {
    pub(crate) region: String,
    /// The key that it was put under when it was made.
    pub(crate) under: Option<&'w str>,
    pub(crate) serves: bool,
    /// Whether its end was asked for.
    pub(crate) goes: bool,
    /// Whether it is no more.
    pub(crate) gone: bool,
}

impl<'w> Truth<'w> {
    pub(crate) fn of(world: &'w World, scene: &Scene) -> Self {
        Self { world, cloud: scene.cloud }
    }

    /// Atlas's project.
    pub(crate) fn project(&self) -> Option<&'w Project> {
        (self.cloud == Cloud::Atlas).then(|| self.world.true_project(ATLAS_PROJECT)).flatten()
    }

    /// The region of the key that a deployment in a region is under.
    pub(crate) fn key_region<'r>(&self, region: &'r str) -> &'r str {
        match self.cloud {
            Cloud::Atlas => REGIONS[0],
            Cloud::Astra | Cloud::SingleStore => region,
        }
    }

    /// The key that is registered for the deployments of a region.
    pub(crate) fn registration(&self, region: &str) -> Option<&'w str> {
        match self.cloud {
            Cloud::Atlas => self.project()?.key.as_ref().map(|key| key.key.as_str()),
            Cloud::Astra | Cloud::SingleStore => self.world.true_registration(ORGANIZATION, KIND, region),
        }
    }

    /// The databases, in order of creation.
    pub(crate) fn databases(&self) -> Vec<Stored<'w>> {
        match self.cloud {
            Cloud::Atlas => self.project().iter().flat_map(|project| &project.clusters).map(|c| cluster(c)).collect(),
            Cloud::Astra | Cloud::SingleStore => self.astra_databases(),
        }
    }

    fn astra_databases(&self) -> Vec<Stored<'w>> {
        let now = self.world.now_ms();
        let databases = self.world.true_databases(ORGANIZATION).iter();
        let stored = databases.map(|database| {
            let regions = database.datacenters.iter().map(|deployed| {
                let status = deployed.status(now);
                Deployed {
                    region: deployed.region.clone(),
                    under: deployed.encrypted_with.as_deref(),
                    serves: status == "ACTIVE",
                    goes: deployed.terminated_at_ms.is_some(),
                    gone: status == "TERMINATED",
                }
            });
            Stored {
                id: &database.id,
                created_at_ms: database.created_at_ms,
                goes: database.terminated_ms.is_some(),
                gone: database.status(now) == "TERMINATED",
                regions: regions.collect(),
            }
        });
        stored.collect()
    }

    /// Whether the cloud may use a key of a region.
    pub(crate) fn cloud_may_use(&self, region: &str, arn: &str) -> bool {
        let user = self.user(region);
        ["kms:Decrypt", "kms:GenerateDataKey"].iter().all(|action| self.world.truly_allows(arn, &user, action))
    }

    /// As whom the cloud uses keys of a region.
    pub(crate) fn user(&self, region: &str) -> String {
        match self.cloud {
            Cloud::Atlas => ROLE_ARN.to_owned(),
            Cloud::Astra | Cloud::SingleStore => {
                format!("arn:aws:iam::{}:role/creator", provider_account(region))
            }
        }
    }

    /// How many records of roles there are that no role is in yet.
    pub(crate) fn unfinished_records(&self) -> usize {
        let records = self.project().into_iter().flat_map(|project| &project.roles);
        records.filter(|record| record.iam_role.is_none()).count()
    }

    /// The policies of the role that the operator makes, if it is there: whom it trusts, and what it may do.
    pub(crate) fn role(&self) -> Option<(String, Option<String>)> {
        let mut world = self.world.clone();
        let name = ROLE_ARN.rsplit('/').next()?;
        let role = world.iam(ACCOUNT).get_role(name).ok().filter(|role| role.arn == ROLE_ARN)?;
        let permissions = world.iam(ACCOUNT).get_role_policy(name, cmk_operator::domain::iam_role::PERMISSIONS);
        Some((role.assume_role_policy_document, permissions.ok()))
    }

    /// The moments at which something happens by itself.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        let mut all: Vec<Moment> = self.databases().iter().map(|d| Moment(d.created_at_ms + LAG)).collect();
        match self.cloud {
            Cloud::Atlas => {
                let clusters = self.project().into_iter().flat_map(|project| &project.clusters);
                all.extend(clusters.filter_map(|cluster| cluster.until_ms).map(Moment));
            }
            Cloud::Astra | Cloud::SingleStore => {
                for database in self.world.true_databases(ORGANIZATION) {
                    all.extend(database.terminated_ms.map(|(_, over)| Moment(over)));
                    all.extend(database.datacenters.iter().map(|d| Moment(d.ready_at_ms)));
                    all.extend(database.datacenters.iter().filter_map(|d| d.terminated_at_ms).map(Moment));
                }
            }
        }
        all
    }
}

fn cluster(cluster: &StoredCluster) -> Stored<'_> {
    let goes = cluster.state == ClusterState::Deleting;
    let regions = cluster.regions().into_iter().map(|region| Deployed {
        region,
        under: cluster.created_with.as_deref().filter(|_| cluster.needs_key()),
        serves: cluster.state == ClusterState::Idle,
        goes,
        gone: false,
    });
    Stored {
        id: cluster.spec.id.as_deref().unwrap_or_default(),
        created_at_ms: cluster.created_at_ms,
        goes,
        gone: false,
        regions: regions.collect(),
    }
}
