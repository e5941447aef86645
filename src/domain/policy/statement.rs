//! The typed key policy: document, statements and their elements.
//!
//! The types hold what AWS accepts and also what it merely stored in the past (a statement without
//! an action, unknown elements), because what is foreign must survive a read and a write unchanged in
//! meaning. What may be *written* by us is decided in [`guard`](super::guard), not here.
//!
//! Source: <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html> and
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

use super::json::Json;

/// The policy language version that we write; the older `2008-10-17` has no policy variables.
pub const CURRENT_VERSION: &str = "2012-10-17";

/// A key policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// `Version`; absent means `2008-10-17` to AWS.
    pub version: Option<String>,
    /// `Id`: a name without meaning.
    pub id: Option<String>,
    /// The statements, in the order they were read.
    pub statements: Vec<Statement>,
    /// Elements that we do not know, kept as they were.
    pub extra: Vec<(String, Json)>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `Sid`. In key policies it may hold spaces; foreign ones may repeat.
    pub sid: Option<String>,
    /// `Effect`.
    pub effect: Effect,
    /// `Principal` or `NotPrincipal`.
    pub principals: Principals,
    /// `Action` or `NotAction`.
    pub actions: Selector,
    /// `Resource` or `NotResource`; in a key policy only `"*"`, "this key", has a meaning.
    pub resources: Selector,
    /// `Condition`; all of them have to be true.
    pub conditions: Vec<Condition>,
    /// Elements that we do not know, kept as they were.
    pub extra: Vec<(String, Json)>,
}

/// What a statement does. A Deny always wins over an Allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// `Allow`
    Allow,
    /// `Deny`
    Deny,
}

/// Whom a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principals {
    /// Neither `Principal` nor `NotPrincipal`: no effect, and KMS refuses to store it.
    Missing,
    /// `Principal`
    Only(PrincipalSet),
    /// `NotPrincipal`: everybody else. AWS supports it with Deny alone.
    AllBut(PrincipalSet),
}

/// The value of `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalSet {
    /// The bare string `"*"`.
    Everyone,
    /// Lists by kind of principal.
    Listed(Vec<PrincipalGroup>),
}

/// The principals of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalGroup {
    /// The key in the JSON object.
    pub kind: PrincipalKind,
    /// ARNs, account ids, unique ids or `*`, by kind.
    pub values: Vec<String>,
}

/// The kinds of principal of the IAM policy language.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// `AWS`: accounts, users, roles, sessions.
    Aws,
    /// `Service`
    Service,
    /// `Federated`
    Federated,
    /// `CanonicalUser`
    CanonicalUser,
    /// Anything newer than this code.
    Other(String),
}

/// A list of patterns (with `*` and `?`), or everything but them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The element is absent: no effect, and KMS refuses to store it (since August 2025).
    Missing,
    /// `Action`, `Resource`
    Only(Vec<String>),
    /// `NotAction`, `NotResource`
    AllBut(Vec<String>),
}

/// One test of the `Condition` element: operator, context key, values (any of which may match).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Such as `StringEquals` or `ForAllValues:StringLikeIfExists`.
    pub operator: String,
    /// Such as `kms:ViaService`; case does not matter.
    pub key: String,
    /// The values as written: a boolean stays a boolean.
    pub values: Vec<Scalar>,
}

/// A value of a condition. AWS reads `true` and `"true"`, `5` and `"5"`, as the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A string.
    Text(String),
    /// `true` or `false` without quotes.
    Bool(bool),
    /// A number without quotes.
    Number(serde_json::Number),
}

impl PolicyDocument {
    /// A document of the current version with these statements.
    pub fn new(statements: Vec<Statement>) -> Self {
        Self { version: Some(CURRENT_VERSION.to_owned()), id: None, statements, extra: Vec::new() }
    }

    /// Whether policy variables (`${...}`) mean something in this document.
    pub fn has_variables(&self) -> bool {
        self.version.as_deref() == Some(CURRENT_VERSION)
    }
}

impl Statement {
    /// An Allow on this key (`Resource: "*"`) without Sid and conditions.
    pub fn allow(principals: Principals, actions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            sid: None,
            effect: Effect::Allow,
            principals,
            actions: Selector::Only(actions.into_iter().map(Into::into).collect()),
            resources: Selector::Only(vec!["*".to_owned()]),
            conditions: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// A name for messages: the Sid in quotes, or the position (from 1) when there is none.
    pub fn name(&self, position: usize) -> String {
        self.sid.as_ref().map_or_else(|| format!("number {}", position + 1), |sid| format!("'{sid}'"))
    }

    /// Whether a policy variable stands in a resource or a condition value.
    pub fn uses_variables(&self) -> bool {
        let in_conditions = self.conditions.iter().flat_map(|condition| &condition.values).any(|value| match value {
            Scalar::Text(text) => text.contains("${"),
            Scalar::Bool(_) | Scalar::Number(_) => false,
        });
        in_conditions || self.resources.patterns().iter().any(|pattern| pattern.contains("${"))
    }
}

impl Effect {
    /// As written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

impl Principals {
    /// `{"AWS": [...]}`
    pub fn aws(values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self::Only(PrincipalSet::Listed(vec![PrincipalGroup { kind: PrincipalKind::Aws, values }]))
    }

    /// Every listed value with its kind; `"*"` counts as an AWS principal `*`.
    pub fn listed(&self) -> Vec<(&PrincipalKind, &str)> {
        match self {
            Self::Missing => Vec::new(),
            Self::Only(set) | Self::AllBut(set) => set.listed(),
        }
    }
}

impl PrincipalSet {
    /// Every listed value with its kind; `"*"` counts as an AWS principal `*`.
    pub fn listed(&self) -> Vec<(&PrincipalKind, &str)> {
        match self {
            Self::Everyone => vec![(&PrincipalKind::Aws, "*")],
            Self::Listed(groups) => groups
                .iter()
                .flat_map(|group| group.values.iter().map(move |value| (&group.kind, value.as_str())))
                .collect(),
        }
    }
}

impl PrincipalKind {
    /// The key as written in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Aws => "AWS",
            Self::Service => "Service",
            Self::Federated => "Federated",
            Self::CanonicalUser => "CanonicalUser",
            Self::Other(name) => name,
        }
    }

    /// The kind written so; case matters.
    pub fn of(key: &str) -> Self {
        match key {
            "AWS" => Self::Aws,
            "Service" => Self::Service,
            "Federated" => Self::Federated,
            "CanonicalUser" => Self::CanonicalUser,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Selector {
    /// The patterns, whichever way they are meant.
    pub fn patterns(&self) -> &[String] {
        match self {
            Self::Missing => &[],
            Self::Only(patterns) | Self::AllBut(patterns) => patterns,
        }
    }
}

impl Condition {
    /// A test with string values.
    pub fn new(
        operator: impl Into<String>,
        key: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            operator: operator.into(),
            key: key.into(),
            values: values.into_iter().map(|value| Scalar::Text(value.into())).collect(),
        }
    }
}

impl Scalar {
    /// The value as AWS compares it.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}
