//! The simulation of a role's policies: what AWS would say of a request, without making it.
//!
//! Source: IAM API reference, `SimulatePrincipalPolicy`.

use super::roles::no_role;
use super::{IamApi, Identity, OwnPolicies, Principal};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::ident::arn_parts;
use crate::sandbox::policy::{Decision, Facts, Policies, Request, decide};

/// What the simulation of one action on one resource yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// What the identity policies and the boundary come to.
    pub decision: Decision,
    /// Whether the boundary allows it, if there is one.
    pub within_boundary: Option<bool>,
}

impl IamApi<'_> {
    /// What a role's identity policies and its boundary say of actions on resources. AWS simulates no policies on resources
    /// for roles.
    pub fn simulate_principal_policy(
        &mut self,
        source_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> Result<Vec<Simulated>, Failure> {
        let name = source_arn.rsplit('/').next().unwrap_or_default();
        self.look("SimulatePrincipalPolicy", name, |world, role| {
            if role.arn != source_arn {
                return Err(no_role(source_arn));
            }
            if actions.is_empty() || actions.iter().any(|action| action.contains('*') || !action.contains(':')) {
                return Err(ServiceError::aws(
                    "InvalidInput",
                    "an action must be service:Operation, without wildcards",
                ));
            }
            let account = arn_parts(&role.arn).map_or("", |parts| parts[4]);
            let who = Identity { account: account.to_owned(), arn: role.arn.clone(), session: None };
            let own = world.iam.own_policies(&who, world.link.iam_at_ms);
            let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
            Ok(pairs.map(|(action, resource)| simulated(&who, role, &own, action, resource)).collect())
        })
    }
}

fn simulated(who: &Identity, role: &Principal, own: &OwnPolicies, action: &str, resource: &str) -> Simulated {
    let request = Request { caller: who, unique_id: &role.unique_id, action, resource, facts: &Facts::default() };
    let policies = own.policies();
    let unbounded = Policies { boundary: None, ..policies };
    let within = policies.boundary.map(|_| {
        let everything = Policies { of_identity: None, ..policies };
        decide(&request, &everything) == Decision::Allowed
    });
    let decision = match decide(&request, &policies) {
        // A Deny in the boundary is no explicit one here: AWS shows it as the boundary's.
        Decision::DeniedExplicitly if decide(&request, &unbounded) != Decision::DeniedExplicitly => {
            Decision::DeniedImplicitly
        }
        decision => decision,
    };
    Simulated { action: action.to_owned(), resource: resource.to_owned(), decision, within_boundary: within }
}
