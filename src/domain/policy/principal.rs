//! Accounts, principal ARNs and what AWS makes of them.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html> and
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html>.

use std::fmt;

/// The AWS account that owns the key, with its partition (`aws`, `aws-cn`, `aws-us-gov`, ...).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyAccount {
    partition: String,
    id: String,
}

impl KeyAccount {
    /// The partition is that of the key's region; the id has twelve digits. Neither is checked here: a wrong one makes
    /// [`guard`](super::guard) refuse every statement.
    pub fn new(partition: impl Into<String>, id: impl Into<String>) -> Self {
        Self { partition: partition.into(), id: id.into() }
    }

    /// Such as `aws-cn`.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// Twelve digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The account principal of the key's own account.
    pub fn root_arn(&self) -> String {
        self.root_arn_of(&self.id)
    }

    /// The account principal of an account in the same partition.
    pub fn root_arn_of(&self, account: &str) -> String {
        format!("arn:{}:iam::{account}:root", self.partition)
    }

    /// The one spelling of an AWS principal: an account id becomes the ARN of its account principal, all else stays.
    pub fn canonical(&self, principal: &str) -> String {
        if is_account_id(principal) { self.root_arn_of(principal) } else { principal.to_owned() }
    }

    /// Whether the principal belongs to the key's account. Unique ids, services and `*` do not count as ours.
    pub fn owns(&self, principal: &str) -> bool {
        account_of(principal).is_some_and(|account| account == self.id)
    }
}

/// Twelve digits.
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a principal is the unique id (`AROA...`, `AIDA...`) that AWS shows after the role or user was deleted.
/// A policy that holds one cannot be written back: KMS answers "invalid principals".
pub fn is_unique_id(text: &str) -> bool {
    let known = text.starts_with("AROA") || text.starts_with("AIDA");
    known && text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The account in an ARN, or the account id itself.
pub fn account_of(principal: &str) -> Option<&str> {
    if is_account_id(principal) {
        return Some(principal);
    }
    PrincipalArn::split(principal).map(|arn| arn.account).filter(|account| is_account_id(account))
}

/// The parts of an ARN, without any check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrincipalArn<'a> {
    /// Such as `aws`.
    pub partition: &'a str,
    /// `iam` or `sts` for principals.
    pub service: &'a str,
    /// Twelve digits, or empty.
    pub account: &'a str,
    /// Such as `role/team/name`.
    pub resource: &'a str,
}

impl<'a> PrincipalArn<'a> {
    /// Splits an ARN into its parts; `None` if there are fewer than six.
    pub fn split(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let ("arn", partition, service, _region, account, resource) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?)
        else {
            return None;
        };
        Some(Self { partition, service, account, resource })
    }

    /// The role name of a session ARN (`arn:...:sts::...:assumed-role/NAME/SESSION`).
    pub fn session_role(&self) -> Option<&'a str> {
        let (name, session) = self.resource.strip_prefix("assumed-role/")?.split_once('/')?;
        (self.service == "sts" && !name.is_empty() && !session.is_empty()).then_some(name)
    }
}

/// Why the caller's ARN can't be named in a key policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerError {
    /// Not the ARN of a user, role, role session or account.
    NotAPrincipal(String),
    /// A federated user's session has no lasting principal behind it.
    Federated(String),
    /// IAM Identity Center roles live under a path that the session's ARN does not show.
    HiddenPath(String),
}

impl fmt::Display for CallerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPrincipal(arn) => {
                write!(f, "{arn:?} is not the ARN of a user, role or role session")
            }
            Self::Federated(arn) => {
                write!(
                    f,
                    "{arn:?} is a federated session, which a key policy cannot name for long; give the operator a role"
                )
            }
            Self::HiddenPath(arn) => {
                write!(f, "the path of the role behind {arn:?} is not in the session's ARN; give the role's full ARN")
            }
        }
    }
}

impl std::error::Error for CallerError {}

/// The lasting principal behind the ARN that `sts:GetCallerIdentity` gives: a role session becomes its role.
///
/// A session's ARN does not hold the role's *path*. `known_role` is the full ARN by which the role was assumed, where
/// the caller has it; it is taken if account and name agree. Without it a role with a path comes out wrong, and KMS
/// will refuse the policy ("invalid principals"): nothing is lost, but the full ARN is needed.
///
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>.
pub fn lasting_principal(caller: &str, known_role: Option<&str>) -> Result<String, CallerError> {
    let parts = PrincipalArn::split(caller).filter(|arn| is_account_id(arn.account));
    let arn = parts.ok_or_else(|| CallerError::NotAPrincipal(caller.to_owned()))?;
    match (arn.service, arn.resource) {
        ("iam", "root") => Ok(caller.to_owned()),
        ("iam", resource) if resource.starts_with("role/") || resource.starts_with("user/") => Ok(caller.to_owned()),
        ("sts", resource) if resource.starts_with("federated-user/") => Err(CallerError::Federated(caller.to_owned())),
        _ => {
            let name = arn.session_role().ok_or_else(|| CallerError::NotAPrincipal(caller.to_owned()))?;
            if let Some(known) = known_role.filter(|known| names_role(known, &arn, name)) {
                return Ok(known.to_owned());
            }
            if name.starts_with("AWSReservedSSO_") {
                return Err(CallerError::HiddenPath(caller.to_owned()));
            }
            Ok(format!("arn:{}:iam::{}:role/{name}", arn.partition, arn.account))
        }
    }
}

fn names_role(known: &str, session: &PrincipalArn<'_>, name: &str) -> bool {
    PrincipalArn::split(known).is_some_and(|role| {
        role.service == "iam"
            && role.partition == session.partition
            && role.account == session.account
            && role.resource.strip_prefix("role/").is_some_and(|path| path.rsplit('/').next() == Some(name))
    })
}

/// Why KMS would refuse an AWS principal in a statement of ours, or `None` if its form is right.
///
/// Right are: `*`, an account id, and the exact ARN of an account, user, role or session in the key's partition. KMS
/// takes no wildcard inside a principal's ARN.
pub fn malformed(principal: &str, account: &KeyAccount) -> Option<&'static str> {
    if principal == "*" || is_account_id(principal) {
        return None;
    }
    if is_unique_id(principal) {
        return Some("a unique id stands for a deleted user or role; give the ARN");
    }
    let Some(arn) = PrincipalArn::split(principal) else {
        return Some("neither an ARN nor an account id of twelve digits");
    };
    if arn.partition != account.partition() {
        return Some("an ARN of another AWS partition than the key's");
    }
    if !is_account_id(arn.account) {
        return Some("an ARN without an account id of twelve digits");
    }
    if principal.contains(['*', '?']) {
        return Some("a wildcard inside a principal; name each role or user exactly");
    }
    let named = |prefix| arn.resource.strip_prefix(prefix).is_some_and(|name: &str| !name.is_empty());
    let right = match arn.service {
        "iam" => arn.resource == "root" || named("role/") || named("user/"),
        "sts" => arn.session_role().is_some() || named("federated-user/"),
        _ => false,
    };
    (!right).then_some("not the ARN of an account, user, role or role session")
}
