//! The part of a key policy that only the user can give, where a cloud's portal suggests it and no API names whom to trust.
//!
//! Nothing of it is guessed: as long as the spec says nothing for a region, its key is not usable by the cloud and the
//! object says what a human has to copy from where.

use crate::domain::condition::{Actor, ConditionType, Reason};
use crate::domain::desired::{DesiredKey, WishedStatements};
use crate::domain::id::Region;
use crate::domain::policy::entrusted::{entrusting, gives};
use crate::domain::policy::{PolicyDocument, Statement};
use crate::domain::portal::{HumanStep, Portal};

use super::draft::Draft;

/// What the spec entrusts a region's key by: for the region itself, or for copies to a second one.
pub(super) fn given(key: &DesiredKey, region: &Region, replication_to: Option<&Region>) -> Vec<Statement> {
    let account = key.account_in(region);
    let wished = key.policy.statements.iter().chain(&key.policy.documents);
    let meant =
        |wished: &&WishedStatements| wished.applies_to(region) && wished.replication_to.as_ref() == replication_to;
    // What cannot be read is said where the policy is written.
    let documents = wished.filter(meant).filter_map(|wished| PolicyDocument::parse(&wished.json).ok());
    documents.flat_map(|document| entrusting(&document, &account).into_iter().cloned().collect::<Vec<_>>()).collect()
}

/// Whether the policy, as it was seen, gives everything that the spec entrusts the key by; if not, what is missing.
pub(super) fn held(
    key: &DesiredKey,
    region: &Region,
    replication_to: Option<&Region>,
    text: &str,
) -> Result<(), String> {
    let cloud = key.scope.cloud;
    let wanted = given(key, region, replication_to);
    if wanted.is_empty() {
        return Err(match replication_to {
            None => format!("spec.policy has nothing yet that lets {cloud} use the key of {region}."),
            Some(to) => {
                format!("spec.policy has nothing yet that lets {cloud} copy from {region} to {to}.")
            }
        });
    }
    let account = key.account_in(region);
    let document = PolicyDocument::parse(text).map_err(|e| format!("the key policy cannot be read: {e}."))?;
    let missing = wanted.iter().filter(|statement| !gives(&document, statement, &account)).count();
    if missing == 0 {
        return Ok(());
    }
    let whom: Vec<&str> = wanted.iter().flat_map(|s| s.principals.listed()).map(|(_, who)| who).collect();
    Err(format!("the key policy does not give {} what spec.policy says.", whom.join(", ")))
}

/// Says so where the spec has nothing yet for a region, and what to do. Yields whether it is so.
pub(super) fn awaited(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region) -> bool {
    let Some(portal) = key.capabilities.portal.as_ref().filter(|_| given(key, region, None).is_empty()) else {
        return false;
    };
    let message = format!("spec.policy has nothing yet that lets {} use the key of {region}.", key.scope.cloud);
    let fix = format!(
        "1. open {} in {region}; 2. copy the policy that it suggests into spec.policy.documents (name, regions: [{region}], json); 3. keep the form open.",
        portal.form
    );
    draft.stuck(ConditionType::PoliciesReady, Some(region), Reason::AwaitingAction, message, &fix);
    draft.human_steps.extend(steps(key, region, portal));
    true
}

/// Phase 1: the policy goes from the portal into the spec.
pub(super) fn steps(key: &DesiredKey, region: &Region, portal: &Portal) -> Vec<HumanStep> {
    let (owner, form) = (&key.owner, &portal.form);
    let place = Some(region.clone());
    vec![
        HumanStep {
            title: "Open the form".to_owned(),
            region: place.clone(),
            who: Actor::CloudAdministrator,
            instructions: format!(
                "Open {form}, choose {region} and a key of your own (where {region} is to be the second region: {}). {}; {}. Do not submit it yet.",
                portal.replication_form, portal.prerequisites, portal.risk
            ),
            paste: None,
        },
        HumanStep {
            title: "Copy the policy".to_owned(),
            region: place.clone(),
            who: Actor::Author,
            instructions: format!(
                "Copy the key policy that the form suggests into spec.policy.documents of CustomerKey {}/{}. The statements that the operator needs stay; there is nothing to merge.",
                owner.namespace, owner.name
            ),
            paste: Some(format!(
                "spec:\n  policy:\n    documents:\n    - name: portal-{region}\n      regions: [{region}]\n      json: |\n        <the policy from the form>\n"
            )),
        },
        HumanStep {
            title: "Keep the form open".to_owned(),
            region: place,
            who: Actor::CloudAdministrator,
            instructions: "The ARNs to paste into it are shown by the EncryptedCluster as soon as the key and its policy are seen to be right.".to_owned(),
            paste: None,
        },
    ]
}
