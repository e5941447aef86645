//! Databases of a cluster's name that are not the cluster's. A request that was on its way when its process was frozen or
//! killed can arrive after another process has waited for it in vain and made another database. It cannot be called back,
//! and nothing here ever uses or deletes it; whoever pays for it has to hear of it.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::Deployment;
use crate::domain::reading::Reading;

use super::draft::Draft;

/// Says which other databases there are of the name of one that the operator made.
pub(super) fn plan(draft: &mut Draft<'_>, deployment: &Deployment, id: &str) {
    let Reading::Present(named) = &draft.observed.database.named else { return };
    let name = &deployment.request.name;
    let others: Vec<&str> =
        named.iter().filter(|other| other.id != id && other.name == *name).map(|other| other.id.as_str()).collect();
    if others.is_empty() || deployment.bound_id.is_some() {
        return;
    }
    let message = format!(
        "There are other databases named {name:?}, which this object does not use: {}. A request of the operator's that arrived late may have made them.",
        others.join(", ")
    );
    let fix = "find out whether anybody needs them; if not, delete them in the cloud's portal.";
    draft.remark(ConditionType::Deployed, Reason::DeployedEverywhere, message, fix);
}
