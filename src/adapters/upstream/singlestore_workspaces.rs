//! The workspaces of a workspace group: what serves the data that the group holds.
//!
//! # What is inferred
//! Names are not documented to be unique in a group, so of one name there may be several in a list. A suspended workspace
//! serves nobody until somebody resumes it. A refusal for want of the organization's lock is read as it is of groups.

use serde::Deserialize;
use serde_json::json;

use super::http::{Request, quoted};
use super::singlestore::{SingleStore, of_creation};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::part::{NewPart, Part, PartState};
use crate::ports::Session;

const LIST: &str = "GET /v1/workspaces";
const CREATE: &str = "POST /v1/workspaces";

/// A workspace, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireWorkspace {
    #[serde(rename = "workspaceID")]
    id: String,
    #[serde(rename = "workspaceGroupID")]
    group: String,
    name: String,
    size: String,
    state: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    terminated_at: Option<String>,
}

/// The answer to a creation.
#[derive(Deserialize)]
struct Created {
    #[serde(rename = "workspaceID")]
    id: String,
}

impl WireWorkspace {
    /// The workspace as the planner knows it; none that is over. The set of states is open: one that this version does not
    /// know is on its way.
    fn into_part(self) -> Option<Part> {
        let Self { id, group: _, name, size, state, endpoint, terminated_at } = self;
        if terminated_at.is_some_and(|at| !at.is_empty()) {
            return None;
        }
        let state = match state.as_str() {
            "ACTIVE" => PartState::Active,
            "SUSPENDED" => PartState::Resting(state),
            "FAILED" => PartState::Failed(state),
            "TERMINATED" => return None,
            _ => PartState::Coming(state),
        };
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        Some(Part { id, name, size, state, endpoint })
    }
}

impl SingleStore {
    /// The workspaces of a group that are not over, by name and id; `None` without the group.
    pub async fn parts(&self, session: &Session, group: &str) -> Result<Option<Vec<Part>>, Fault> {
        let path = format!("/v1/workspaces?workspaceGroupID={}", quoted(group));
        let all: Option<Vec<WireWorkspace>> = self.get(session, LIST, group, path).await?;
        let Some(all) = all else { return Ok(None) };
        // Whoever answers with another group's workspaces is not to be believed about this one's.
        if all.iter().any(|workspace| workspace.group != group) {
            return Err(Fault::new(FaultClass::Terminal, LIST, group, "the answer is about another workspace group"));
        }
        let mut parts: Vec<Part> = all.into_iter().filter_map(WireWorkspace::into_part).collect();
        parts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(Some(parts))
    }

    /// Makes a workspace and gives its id. Not idempotent: after a fault that is
    /// [`Applied::Perhaps`](crate::domain::fault::Applied::Perhaps), look before you ask again.
    pub async fn create_workspace(&self, session: &Session, group: &str, new: &NewPart) -> Result<String, Fault> {
        let body = json!({ "name": new.name, "workspaceGroupID": group, "size": new.size });
        let target = format!("{} in {group}", new.name);
        let request = Request::post(CREATE, &target, "/v1/workspaces".to_owned(), body);
        let sent = self.send(session, &session.credentials, request).await;
        let reply = sent.map_err(|refusal| of_creation(refusal.fault))?;
        // It was made, and we cannot tell which: the same as a lost reply.
        let lost = || {
            let message = "the answer does not name the new workspace";
            Fault::new(FaultClass::Transient, CREATE, &target, message).uncertain()
        };
        let created: Created = reply.parse(CREATE, &target, &session.credentials).map_err(|_| lost())?;
        Some(created.id).filter(|id| !id.is_empty()).ok_or_else(lost)
    }
}
