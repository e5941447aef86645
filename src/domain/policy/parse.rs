//! JSON text to a typed policy.
//!
//! Lenient in form, as AWS is: one value or an array, a single statement or a list, `"*"` or
//! `{"AWS": "*"}`, values of conditions with or without quotes. Strict in meaning: what would have to be
//! guessed is an error that names its place.

use std::fmt;

use super::json::Json;
use super::statement::{
    Condition, Effect, PolicyDocument, PrincipalGroup, PrincipalKind, PrincipalSet, Principals, Scalar, Selector,
    Statement,
};

/// Why a text is not a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Such as `Statement[2].Condition.StringEquals`; empty for the document itself.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(f, "{}", self.problem)
        } else {
            write!(f, "{}: {}", self.place, self.problem)
        }
    }
}

impl std::error::Error for ParseError {}

impl PolicyDocument {
    /// Reads a policy. Source: the grammar of the IAM policy language,
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.
    ///
    /// Errors: bad JSON (with line and column), a key that stands twice, no `Statement`, an element of the wrong
    /// type, an element together with its negation. Unknown elements are kept, not refused.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let json = Json::parse(text).map_err(|problem| error("", format!("not valid JSON: {problem}")))?;
        let Json::Object(entries) = json else {
            return Err(error("", format!("a policy is an object, this is {}", json.kind())));
        };
        let mut document = Self { version: None, id: None, statements: Vec::new(), extra: Vec::new() };
        let mut found = None;
        for (key, value) in entries {
            match key.as_str() {
                "Version" => document.version = Some(string(value, "Version")?),
                "Id" => document.id = Some(string(value, "Id")?),
                "Statement" => found = Some(value),
                _ => document.extra.push((key, value)),
            }
        }
        document.statements = match found {
            None => return Err(error("", "there is no \"Statement\" in it")),
            Some(Json::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| statement(item, &format!("Statement[{index}]")))
                .collect::<Result<_, _>>()?,
            Some(single) => vec![statement(single, "Statement")?],
        };
        Ok(document)
    }
}

fn statement(json: Json, place: &str) -> Result<Statement, ParseError> {
    let Json::Object(entries) = json else {
        return Err(error(place, format!("a statement is an object, this is {}", json.kind())));
    };
    let mut effect = None;
    let mut statement = Statement {
        sid: None,
        effect: Effect::Deny,
        principals: Principals::Missing,
        actions: Selector::Missing,
        resources: Selector::Missing,
        conditions: Vec::new(),
        extra: Vec::new(),
    };
    for (key, value) in entries {
        let here = format!("{place}.{key}");
        match key.as_str() {
            "Sid" => statement.sid = Some(string(value, &here)?),
            "Effect" => effect = Some(self::effect(value, &here)?),
            "Principal" | "NotPrincipal" if statement.principals != Principals::Missing => {
                return Err(error(place, "Principal and NotPrincipal exclude each other"));
            }
            "Principal" => statement.principals = Principals::Only(principal_set(value, &here)?),
            "NotPrincipal" => {
                statement.principals = Principals::AllBut(principal_set(value, &here)?);
            }
            "Action" | "NotAction" if statement.actions != Selector::Missing => {
                return Err(error(place, "Action and NotAction exclude each other"));
            }
            "Action" => statement.actions = Selector::Only(strings(value, &here)?),
            "NotAction" => statement.actions = Selector::AllBut(strings(value, &here)?),
            "Resource" | "NotResource" if statement.resources != Selector::Missing => {
                return Err(error(place, "Resource and NotResource exclude each other"));
            }
            "Resource" => statement.resources = Selector::Only(strings(value, &here)?),
            "NotResource" => statement.resources = Selector::AllBut(strings(value, &here)?),
            "Condition" => statement.conditions = conditions(value, &here)?,
            _ => statement.extra.push((key, value)),
        }
    }
    statement.effect = effect.ok_or_else(|| error(place, "there is no \"Effect\" in it"))?;
    Ok(statement)
}

fn effect(json: Json, place: &str) -> Result<Effect, ParseError> {
    match string(json, place)?.as_str() {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(error(place, format!("{other:?} is neither \"Allow\" nor \"Deny\" (case matters)"))),
    }
}

fn principal_set(json: Json, place: &str) -> Result<PrincipalSet, ParseError> {
    match json {
        Json::String(text) if text == "*" => Ok(PrincipalSet::Everyone),
        Json::String(text) => {
            Err(error(place, format!("{text:?}: a principal is \"*\" or an object such as {{\"AWS\": \"...\"}}")))
        }
        Json::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| {
                let values = strings(value, &format!("{place}.{key}"))?;
                Ok(PrincipalGroup { kind: PrincipalKind::of(&key), values })
            })
            .collect::<Result<_, _>>()
            .map(PrincipalSet::Listed),
        other => Err(error(place, format!("a principal is \"*\" or an object, this is {}", other.kind()))),
    }
}

fn conditions(json: Json, place: &str) -> Result<Vec<Condition>, ParseError> {
    let mut conditions = Vec::new();
    for (operator, tests) in object(json, place)? {
        let place = format!("{place}.{operator}");
        let tests = object(tests, &place)?;
        if tests.is_empty() {
            return Err(error(&place, "a condition operator without a condition key"));
        }
        for (key, values) in tests {
            let values = scalars(values, &format!("{place}.{key}"))?;
            conditions.push(Condition { operator: operator.clone(), key, values });
        }
    }
    Ok(conditions)
}

fn scalars(json: Json, place: &str) -> Result<Vec<Scalar>, ParseError> {
    list(json)
        .into_iter()
        .map(|item| match item {
            Json::String(text) => Ok(Scalar::Text(text)),
            Json::Bool(value) => Ok(Scalar::Bool(value)),
            Json::Number(number) => Ok(Scalar::Number(number)),
            other => Err(error(place, format!("expected a string, number or boolean, found {}", other.kind()))),
        })
        .collect()
}

fn strings(json: Json, place: &str) -> Result<Vec<String>, ParseError> {
    list(json).into_iter().map(|item| string(item, place)).collect()
}

fn string(json: Json, place: &str) -> Result<String, ParseError> {
    match json {
        Json::String(text) => Ok(text),
        other => Err(error(place, format!("expected a string, found {}", other.kind()))),
    }
}

fn object(json: Json, place: &str) -> Result<Vec<(String, Json)>, ParseError> {
    match json {
        Json::Object(entries) => Ok(entries),
        other => Err(error(place, format!("expected an object, found {}", other.kind()))),
    }
}

fn list(json: Json) -> Vec<Json> {
    match json {
        Json::Array(items) => items,
        single => vec![single],
    }
}

fn error(place: &str, problem: impl Into<String>) -> ParseError {
    ParseError { place: place.to_owned(), problem: problem.into() }
}
