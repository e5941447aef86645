//! The Query protocol of IAM: a form in, XML out. Policies travel URL-encoded within the XML.

use std::fmt::Write as _;

use axum::http::request::Parts;

use super::aws::{caller, escape};
use super::form::{Form, encode};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::iam::{CreateRole, IamApi, Role, Simulated};
use crate::sandbox::ident::rfc3339;
use crate::sandbox::policy::Decision;
use crate::sandbox::world::World;

/// The version of the API, which forms name.
pub(super) const VERSION: &str = "2010-05-08";

pub(super) fn call(world: &mut World, parts: &Parts, form: &Form, request_id: &str) -> Result<String, Failure> {
    let action = form.get("Action").unwrap_or_default();
    let (who, _) = caller(world, parts, true)?;
    let result = answer(&mut world.iam_as(&who), action, form)?;
    let result = result.map(|text| format!("<{action}Result>{text}</{action}Result>")).unwrap_or_default();
    Ok(format!(
        "<{action}Response xmlns=\"https://iam.amazonaws.com/doc/{VERSION}/\">{result}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    ))
}

/// What stands in the result; `None` for a call that has none.
fn answer(iam: &mut IamApi<'_>, action: &str, form: &Form) -> Result<Option<String>, Failure> {
    let field = |name: &str| {
        form.get(name).ok_or_else(|| {
            let text = format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null");
            ServiceError::new(400, "ValidationError", text)
        })
    };
    let number = |name: &str| form.get(name).and_then(|n| n.parse().ok());
    let most = number("MaxItems");
    let marker = form.get("Marker");
    Ok(match action {
        "CreateRole" => {
            let role = iam.create_role(&CreateRole {
                role_name: field("RoleName")?.to_owned(),
                path: form.get("Path").map(str::to_owned),
                assume_role_policy_document: field("AssumeRolePolicyDocument")?.to_owned(),
                description: form.get("Description").map(str::to_owned),
                permissions_boundary: form.get("PermissionsBoundary").map(str::to_owned),
                tags: form.tags(),
                max_session_duration: form.get("MaxSessionDuration").and_then(|n| n.parse().ok()),
            })?;
            Some(shown(&role))
        }
        "GetRole" => Some(shown(&iam.get_role(field("RoleName")?)?)),
        "UpdateAssumeRolePolicy" => {
            iam.update_assume_role_policy(field("RoleName")?, field("PolicyDocument")?)?;
            None
        }
        "PutRolePolicy" => {
            iam.put_role_policy(field("RoleName")?, field("PolicyName")?, field("PolicyDocument")?)?;
            None
        }
        "GetRolePolicy" => {
            let (role, policy) = (field("RoleName")?, field("PolicyName")?);
            let document = encode(&iam.get_role_policy(role, policy)?);
            Some(format!(
                "<RoleName>{}</RoleName><PolicyName>{}</PolicyName><PolicyDocument>{document}</PolicyDocument>",
                escape(role),
                escape(policy)
            ))
        }
        "DeleteRolePolicy" => {
            iam.delete_role_policy(field("RoleName")?, field("PolicyName")?)?;
            None
        }
        "DeleteRole" => {
            iam.delete_role(field("RoleName")?)?;
            None
        }
        "ListRolePolicies" => {
            let page = iam.list_role_policies(field("RoleName")?, most, marker)?;
            let names = page.names.iter().fold(String::new(), |mut out, name| {
                let _ = write!(out, "<member>{}</member>", escape(name));
                out
            });
            Some(format!("<PolicyNames>{names}</PolicyNames>{}", next_page(page.marker.as_deref())))
        }
        "SimulatePrincipalPolicy" => {
            let (actions, resources) = (form.list("ActionNames"), form.list("ResourceArns"));
            let results = iam.simulate_principal_policy(field("PolicySourceArn")?, &actions, &resources)?;
            let members: String = results.iter().map(simulated).collect();
            Some(format!("<EvaluationResults>{members}</EvaluationResults>{}", next_page(None)))
        }
        "TagRole" => {
            iam.tag_role(field("RoleName")?, &form.tags())?;
            None
        }
        "ListRoleTags" => {
            let page = iam.list_role_tags(field("RoleName")?, most, marker)?;
            Some(format!("{}{}", tags(&page.tags), next_page(page.marker.as_deref())))
        }
        other => {
            let text = format!("Could not find operation {other} for version {VERSION}");
            return Err(ServiceError::new(400, "InvalidAction", text).into());
        }
    })
}

fn simulated(result: &Simulated) -> String {
    let decision = match result.decision {
        Decision::Allowed => "allowed",
        Decision::DeniedExplicitly => "explicitDeny",
        Decision::DeniedImplicitly => "implicitDeny",
    };
    let boundary = result.within_boundary.map_or_else(String::new, |within| {
        format!("<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>{within}</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>")
    });
    format!(
        "<member><EvalActionName>{}</EvalActionName><EvalResourceName>{}</EvalResourceName><EvalDecision>{decision}</EvalDecision>{boundary}</member>",
        escape(&result.action),
        escape(&result.resource)
    )
}

fn next_page(marker: Option<&str>) -> String {
    match marker {
        None => "<IsTruncated>false</IsTruncated>".to_owned(),
        Some(marker) => format!("<IsTruncated>true</IsTruncated><Marker>{}</Marker>", escape(marker)),
    }
}

fn tags(all: &[(String, String)]) -> String {
    let mut out = "<Tags>".to_owned();
    for (key, value) in all {
        let _ = write!(out, "<member><Key>{}</Key><Value>{}</Value></member>", escape(key), escape(value));
    }
    out + "</Tags>"
}

fn shown(role: &Role) -> String {
    let mut out = format!(
        "<Role><Path>{}</Path><RoleName>{}</RoleName><RoleId>{}</RoleId><Arn>{}</Arn><CreateDate>{}</CreateDate><AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument><MaxSessionDuration>{}</MaxSessionDuration>",
        escape(&role.path),
        escape(&role.role_name),
        role.role_id,
        escape(&role.arn),
        rfc3339(role.created_at_ms),
        encode(&role.assume_role_policy_document),
        role.max_session_duration
    );
    if let Some(text) = &role.description {
        let _ = write!(out, "<Description>{}</Description>", escape(text));
    }
    if let Some(arn) = &role.permissions_boundary {
        let _ = write!(
            out,
            "<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType><PermissionsBoundaryArn>{}</PermissionsBoundaryArn></PermissionsBoundary>",
            escape(arn)
        );
    }
    if !role.tags.is_empty() {
        out.push_str(&tags(&role.tags));
    }
    out + "</Role>"
}
