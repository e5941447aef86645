//! What happens by itself: clusters come up, change and go, and Atlas checks the keys every 15 minutes.
//!
//! A cluster that is under the customer's key uses it from its own addresses. While it can't, it does not come up; if it
//! could and can't any more, its processes are shut down until it can again (guide, "Encryption at Rest using Customer
//! Key Management": the data stays). No field of the API says so; [`StoredCluster::down_since_ms`] does, for judges.

use std::sync::Arc;

use super::Project;
use super::cluster::{ClusterState, StoredCluster};
use crate::sandbox::world::World;

impl Project {
    /// When something happens in it next.
    fn wakes_at_ms(&self) -> i64 {
        let check = if self.key.is_some() { self.next_check_ms } else { i64::MAX };
        self.clusters.iter().filter_map(|c| c.until_ms).chain([check]).min().unwrap_or(i64::MAX)
    }
}

impl World {
    /// Lets happen what is due by now.
    pub(in crate::sandbox) fn age_atlas(&mut self) {
        while self.atlas_wake_ms <= self.now_ms {
            self.link.iam_at_ms = self.now_ms;
            let now_ms = self.now_ms;
            let due =
                |(id, p): (&String, &super::Versioned<Project>)| (p.get().wakes_at_ms() <= now_ms).then(|| id.clone());
            for id in self.atlas_projects.iter().filter_map(due).collect::<Vec<_>>() {
                self.age_clusters(&id);
                if self.project(&id, i64::MAX).is_ok_and(|p| p.key.is_some() && p.next_check_ms <= now_ms) {
                    let next_ms = now_ms + self.atlas.settings.check_ms.max(1);
                    if let Ok(project) = self.project_mut(&id) {
                        project.next_check_ms = next_ms;
                    }
                    self.check_atlas_key(&id);
                }
            }
            let wakes = self.atlas_projects.values().map(|p| p.get().wakes_at_ms());
            self.atlas_wake_ms = wakes.min().unwrap_or(i64::MAX);
        }
    }

    /// Ends what was under way in a project and is due.
    fn age_clusters(&mut self, id: &str) {
        let Ok(project) = self.project(id, i64::MAX) else { return };
        let now_ms = self.now_ms;
        let retry_ms = self.atlas.settings.retry_ms.max(1);
        let due = |c: &Arc<StoredCluster>| c.until_ms.is_some_and(|at| at <= now_ms);
        if !project.clusters.iter().any(due) {
            return;
        }
        let aged: Vec<Arc<StoredCluster>> = project
            .clusters
            .iter()
            .filter(|c| !(due(c) && c.state == ClusterState::Deleting))
            .map(|c| {
                if !due(c) {
                    return Arc::clone(c);
                }
                let mut changed = StoredCluster::clone(c);
                let all = [c.addresses.outbound.clone(), c.pending.outbound.clone()].concat();
                if c.uses_key() && !self.node_can_use_key(project, &all) {
                    changed.until_ms = Some(now_ms + retry_ms);
                } else {
                    changed.settle();
                }
                Arc::new(changed)
            })
            .collect();
        if let Ok(project) = self.project_mut(id) {
            project.clusters = aged;
        }
    }

    fn node_can_use_key(&self, project: &Project, sources: &[String]) -> bool {
        project.key.as_ref().is_some_and(|key| self.atlas_uses(project, key, sources).is_ok())
    }

    /// Checks a project's key: `valid` is what the control plane finds from its addresses; a cluster is up as long as
    /// that holds and its own addresses are let in too.
    pub(super) fn check_atlas_key(&mut self, id: &str) {
        let now_ms = self.now_ms;
        let Ok(project) = self.project(id, i64::MAX) else { return };
        let Some(key) = &project.key else { return };
        let found = self.atlas_uses(project, key, &self.atlas.control_plane.sources());
        let (valid, trouble) = (found.is_ok(), found.err().map(|e| e.code));
        let up = |c: &Arc<StoredCluster>| {
            let settled = c.state != ClusterState::Creating && c.uses_key();
            !settled || (valid && self.node_can_use_key(project, &c.addresses.outbound))
        };
        let ups: Vec<bool> = project.clusters.iter().map(up).collect();
        let same = project.clusters.iter().zip(&ups).all(|(c, up)| c.down_since_ms.is_none() == *up);
        if (key.valid, &key.trouble) == (valid, &trouble) && same {
            return;
        }
        let Ok(project) = self.project_mut(id) else { return };
        if let Some(key) = &mut project.key {
            (key.valid, key.trouble) = (valid, trouble);
        }
        for (cluster, up) in project.clusters.iter_mut().zip(ups) {
            if cluster.down_since_ms.is_none() != up {
                Arc::make_mut(cluster).down_since_ms = (!up).then_some(now_ms);
            }
        }
    }
}
