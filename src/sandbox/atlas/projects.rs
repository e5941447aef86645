//! Projects.

use serde::{Deserialize, Serialize};

use super::access::Credential;
use super::limits::PROJECTS;
use super::{About, Atlas, PageQuery, Paged, Project, ProjectRole, gone, missing, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::{object_id, rfc3339};
use crate::sandbox::versioned::Versioned;
use crate::sandbox::world::World;

/// Body of a creation, as far as it is simulated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NewProject {
    /// Unique in the organization.
    pub name: String,
    /// Organization.
    pub org_id: String,
}

/// A project in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectView {
    /// 24 hex digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// Organization.
    pub org_id: String,
    /// RFC 3339.
    pub created: String,
    /// How many clusters there are.
    pub cluster_count: usize,
}

impl Project {
    fn view(&self) -> ProjectView {
        ProjectView {
            id: self.id.clone(),
            name: self.name.clone(),
            org_id: self.org.clone(),
            created: rfc3339(self.created_at_ms),
            cluster_count: self.clusters.len(),
        }
    }
}

impl World {
    /// Adds a project by hand.
    pub fn add_atlas_project(&mut self, id: &str, name: &str, org: &str) {
        let now_ms = self.now_ms;
        self.vendor_mut().orgs.insert(org.to_owned());
        let project = Project {
            id: id.to_owned(),
            name: name.to_owned(),
            org: org.to_owned(),
            created_at_ms: now_ms,
            ..Project::default()
        };
        self.atlas_projects.insert(id.to_owned(), Versioned::new(project));
    }

    fn visible_projects(&self, credential: &Credential, at_ms: i64) -> Vec<ProjectView> {
        let all = self.atlas_projects.values().map(|p| p.at(at_ms)).filter(|p| !p.id.is_empty());
        all.filter(|p| credential.may(p, ProjectRole::GroupReadOnly).is_ok()).map(Project::view).collect()
    }
}

impl Atlas<'_> {
    /// `GET /groups`: those that the credential has a role in.
    pub fn projects(&mut self, query: PageQuery) -> Result<Paged<ProjectView>, Failure> {
        self.on_org(("ListProjects", Access::Read), PROJECTS, "", |world, credential, at_ms| {
            query.of(world.visible_projects(credential, at_ms))
        })
    }

    /// `POST /groups`.
    pub fn create_project(&mut self, input: &NewProject) -> Result<ProjectView, Failure> {
        self.on_org(("CreateProject", Access::Write), PROJECTS, &input.name, |world, credential, now_ms| {
            if input.name.is_empty() || input.org_id.is_empty() {
                return Err(missing(if input.name.is_empty() { "name" } else { "orgId" }));
            }
            if !world.atlas_orgs().contains(&input.org_id) {
                let text = format!("No organization with ID {} exists.", input.org_id);
                return Err(refused(404, "ORG_NOT_FOUND", text, &[&input.org_id]));
            }
            credential.may_create(&input.org_id)?;
            let taken = |p: &Versioned<Project>| p.get().org == input.org_id && p.get().name == input.name;
            if world.atlas_projects.values().any(taken) {
                let text = format!("A group with name \"{}\" already exists.", input.name);
                return Err(refused(409, "GROUP_ALREADY_EXISTS", text, &[&input.name]));
            }
            let n = world.next_id();
            let id = object_id(world.settings.seed, "project", n);
            world.add_atlas_project(&id, &input.name, &input.org_id);
            world.link.touched = Some(id.clone());
            Ok(world.project(&id, now_ms)?.view())
        })
    }

    /// `GET /groups/{groupId}`.
    pub fn project(&mut self, project: &str) -> Result<ProjectView, Failure> {
        let about = About { project, what: "", region: "" };
        let operation = ("GetProject", Access::Read);
        self.on_project(operation, PROJECTS, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            Ok(world.project(project, at_ms)?.view())
        })
    }

    /// `DELETE /groups/{groupId}`; not with clusters in it.
    pub fn delete_project(&mut self, project: &str) -> Result<(), Failure> {
        let about = About { project, what: "", region: "" };
        let operation = ("DeleteProject", Access::Write);
        self.on_project(operation, PROJECTS, ProjectRole::GroupOwner, about, |world, _| {
            if !world.project(project, i64::MAX)?.clusters.is_empty() {
                let text = "Cannot close group while it has active clusters; please terminate all clusters.";
                return Err(refused(409, "CANNOT_CLOSE_GROUP_ACTIVE_ATLAS_CLUSTERS", text, &[]));
            }
            world.atlas_projects.insert(project.to_owned(), gone());
            Ok::<_, ServiceError>(())
        })
    }
}
