//! A typed policy to JSON text.
//!
//! The same document always gives the same text: elements in AWS's usual order, one value bare, several in an
//! array, in the order of the typed lists. A foreign statement keeps its order of values and of conditions.

use super::json::Json;
use super::statement::{Condition, PolicyDocument, PrincipalSet, Principals, Scalar, Selector, Statement};

impl PolicyDocument {
    /// Compact text: what is sent, and what counts against the size limit.
    pub fn render(&self) -> String {
        self.to_json().to_compact()
    }

    /// Text for humans.
    pub fn render_pretty(&self) -> String {
        self.to_json().to_pretty()
    }

    /// The JSON tree of the document.
    pub fn to_json(&self) -> Json {
        let mut entries = Vec::new();
        push_text(&mut entries, "Version", self.version.as_ref());
        push_text(&mut entries, "Id", self.id.as_ref());
        let statements = self.statements.iter().map(Statement::to_json).collect();
        entries.push(("Statement".to_owned(), Json::Array(statements)));
        entries.extend(self.extra.iter().cloned());
        Json::Object(entries)
    }
}

impl Statement {
    /// The JSON tree of the statement.
    pub fn to_json(&self) -> Json {
        let mut entries = Vec::new();
        push_text(&mut entries, "Sid", self.sid.as_ref());
        entries.push(("Effect".to_owned(), Json::String(self.effect.as_str().to_owned())));
        match &self.principals {
            Principals::Missing => {}
            Principals::Only(set) => entries.push(("Principal".to_owned(), principal_set(set))),
            Principals::AllBut(set) => {
                entries.push(("NotPrincipal".to_owned(), principal_set(set)));
            }
        }
        push_selector(&mut entries, ["Action", "NotAction"], &self.actions);
        push_selector(&mut entries, ["Resource", "NotResource"], &self.resources);
        if !self.conditions.is_empty() {
            entries.push(("Condition".to_owned(), conditions(&self.conditions)));
        }
        entries.extend(self.extra.iter().cloned());
        Json::Object(entries)
    }
}

fn push_text(entries: &mut Vec<(String, Json)>, key: &str, text: Option<&String>) {
    if let Some(text) = text {
        entries.push((key.to_owned(), Json::String(text.clone())));
    }
}

fn push_selector(entries: &mut Vec<(String, Json)>, [only, all_but]: [&str; 2], selector: &Selector) {
    match selector {
        Selector::Missing => {}
        Selector::Only(patterns) => entries.push((only.to_owned(), texts(patterns))),
        Selector::AllBut(patterns) => entries.push((all_but.to_owned(), texts(patterns))),
    }
}

fn principal_set(set: &PrincipalSet) -> Json {
    match set {
        PrincipalSet::Everyone => Json::String("*".to_owned()),
        PrincipalSet::Listed(groups) => {
            Json::Object(groups.iter().map(|group| (group.kind.as_str().to_owned(), texts(&group.values))).collect())
        }
    }
}

/// Tests of one operator stand together, in the order in which the operators first appear.
fn conditions(conditions: &[Condition]) -> Json {
    let mut operators: Vec<(String, Vec<(String, Json)>)> = Vec::new();
    for condition in conditions {
        let test = (condition.key.clone(), one_or_many(condition.values.iter().map(scalar).collect()));
        match operators.iter_mut().find(|(operator, _)| *operator == condition.operator) {
            Some((_, tests)) => tests.push(test),
            None => operators.push((condition.operator.clone(), vec![test])),
        }
    }
    Json::Object(operators.into_iter().map(|(operator, tests)| (operator, Json::Object(tests))).collect())
}

fn scalar(value: &Scalar) -> Json {
    match value {
        Scalar::Text(text) => Json::String(text.clone()),
        Scalar::Bool(value) => Json::Bool(*value),
        Scalar::Number(number) => Json::Number(number.clone()),
    }
}

fn texts(values: &[String]) -> Json {
    one_or_many(values.iter().cloned().map(Json::String).collect())
}

fn one_or_many(values: Vec<Json>) -> Json {
    match <[Json; 1]>::try_from(values) {
        Ok([single]) => single,
        Err(values) => Json::Array(values),
    }
}
