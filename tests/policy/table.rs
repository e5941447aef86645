//! The runner of the YAML tables: one `check` for every case.

use std::fmt::Write as _;

use cmk_operator::domain::policy::holds::{Holding, Missing, Why};
use cmk_operator::domain::policy::{
    Authored, Condition, Grant, MergeOptions, PolicyDocument, Problem, RootRule, Setting, diff, holds,
    lasting_principal, merge, pasted, review, same_meaning, template,
};
use serde::Deserialize;
use serde_json::Value;

use super::{CALLER, account, own};

#[derive(Deserialize, Debug)]
struct Case {
    name: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Parse(Parse),
    Equal(Equal),
    Merge(Box<Merging>),
    Holds(Holds),
    Document(Pasting),
    Caller(Caller),
}

/// A policy text, and the error that reading it gives, or the text that rendering it gives.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Parse {
    text: String,
    error: Option<String>,
    renders: Option<String>,
}

/// Two lists of statements that mean the same, or do not.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Equal {
    one: Value,
    other: Value,
    same: bool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Merging {
    /// Statements as read.
    #[serde(default)]
    read: Value,
    #[serde(default)]
    author: Author,
    #[serde(default)]
    remove_foreign: bool,
    #[serde(default)]
    remove_orphans: bool,
    /// An adopted key without `ensureRoot`.
    #[serde(default)]
    adopted: bool,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Author {
    /// Leave the operator's statement out.
    #[serde(default)]
    no_operator: bool,
    #[serde(default)]
    administrators: Vec<String>,
    #[serde(default)]
    grants: Vec<GrantTo>,
    #[serde(default)]
    user: Vec<User>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GrantTo {
    label: String,
    actions: Vec<String>,
    #[serde(default)]
    conditions: Vec<(String, String, Vec<String>)>,
    to: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct User {
    name: String,
    statement: Value,
    #[serde(default)]
    accept_risk: bool,
}

/// In full: what is not given is expected to be empty or false.
#[derive(Deserialize, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Expect {
    #[serde(default)]
    changed: bool,
    #[serde(default)]
    added: Vec<String>,
    #[serde(default)]
    removed: Vec<String>,
    #[serde(default)]
    altered: Vec<String>,
    #[serde(default)]
    foreign_removed: Vec<String>,
    #[serde(default)]
    orphans: Vec<String>,
    #[serde(default)]
    refusals: Vec<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    diff: Vec<String>,
    /// The Sids of the document in order; only looked at where given.
    #[serde(default)]
    order: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Holds {
    read: Value,
    grant: GrantTo,
    #[serde(default)]
    missing: Vec<String>,
    #[serde(default)]
    delegated: Vec<String>,
    held: bool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Pasting {
    name: String,
    json: String,
    #[serde(default)]
    sids: Vec<String>,
    error: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Caller {
    arn: String,
    known: Option<String>,
    is: Option<String>,
    error: Option<String>,
}

#[test]
fn parse() {
    run(include_str!("parse.yaml"), 15);
}

#[test]
fn equal() {
    run(include_str!("equal.yaml"), 15);
}

#[test]
fn merging() {
    run(include_str!("merge.yaml"), 15);
}

#[test]
fn guards() {
    run(include_str!("guard.yaml"), 20);
}

#[test]
fn gate() {
    run(include_str!("holds.yaml"), 20);
}

#[test]
fn documents() {
    run(include_str!("document.yaml"), 8);
}

#[test]
fn callers() {
    run(include_str!("caller.yaml"), 8);
}

/// Runs every case and reports all that fail. `at_least` keeps a table from shrinking unseen.
fn run(table: &str, at_least: usize) {
    let table = table.replace("HASH", own().hash());
    let cases: Vec<Case> = serde_saphyr::from_str(&table).unwrap();
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let mut report = String::new();
    for case in &cases {
        if let Err(difference) = check(case) {
            writeln!(report, "--- {}\n{difference}\n", case.name).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn check(case: &Case) -> Result<(), String> {
    match &case.kind {
        Kind::Parse(parse) => check_parse(parse),
        Kind::Equal(equal) => {
            let same = same_meaning(&policy(&equal.one), &policy(&equal.other), &account());
            compare("same meaning", &equal.same, &same)
        }
        Kind::Merge(merging) => check_merge(merging),
        Kind::Holds(asked) => check_holds(asked),
        Kind::Document(pasting) => {
            let result = pasted(&own(), &pasting.name, &pasting.json, false);
            compare("error", &pasting.error, &result.as_ref().err().map(ToString::to_string))?;
            let sids: Vec<String> = result.into_iter().flatten().filter_map(|one| one.statement.sid).collect();
            compare("sids", &pasting.sids, &sids)
        }
        Kind::Caller(caller) => {
            let result = lasting_principal(&caller.arn, caller.known.as_deref());
            compare("principal", &caller.is, &result.as_ref().ok().cloned())?;
            compare("error", &caller.error, &result.err().map(|error| error.to_string()))
        }
    }
}

fn check_parse(parse: &Parse) -> Result<(), String> {
    let result = PolicyDocument::parse(&parse.text);
    compare("error", &parse.error, &result.as_ref().err().map(ToString::to_string))?;
    match (&parse.renders, result) {
        (Some(renders), Ok(document)) => compare("text", renders, &document.render()),
        _ => Ok(()),
    }
}

fn check_merge(merging: &Merging) -> Result<(), String> {
    let (own, account) = (own(), account());
    let read = policy(&merging.read);
    let authored = authored(&merging.author, merging.adopted);
    let options = MergeOptions { remove_foreign: merging.remove_foreign, remove_orphans: merging.remove_orphans };
    let merged = merge(&read, &authored, &own, &account, options);
    let root = if merging.adopted { RootRule::AsFound } else { RootRule::Required };
    let setting = Setting { account: &account, own: &own, caller: Some(CALLER), root };
    let verdict = review(&merged, &authored, &setting);
    let codes =
        |problems: &[Problem]| problems.iter().map(|problem| format!("{}: {problem}", problem.code())).collect();
    let found = Expect {
        changed: merged.changed,
        added: merged.added.clone(),
        removed: merged.removed.clone(),
        altered: merged.altered.clone(),
        foreign_removed: merged.foreign_removed.clone(),
        orphans: merged.orphans.iter().map(|orphan| format!("{} in {}", orphan.id, orphan.statement)).collect(),
        refusals: codes(&verdict.refusals),
        warnings: codes(&verdict.warnings),
        diff: diff(&read, &merged.document, &account),
        order: if merging.expect.order.is_empty() {
            Vec::new()
        } else {
            merged.document.statements.iter().map(|one| one.sid.clone().unwrap_or_default()).collect()
        },
    };
    compare("merge", &merging.expect, &found)?;
    // What was written is read back as it is, and asks for no second write.
    let again = PolicyDocument::parse(&merged.document.render()).unwrap();
    compare("text and back", &merged.document, &again)?;
    compare("second merge", &false, &merge(&again, &authored, &own, &account, options).changed)
}

fn check_holds(asked: &Holds) -> Result<(), String> {
    let grant = asked.grant.grant();
    let holding: Holding = holds(&policy(&asked.read), &grant, &asked.grant.to, &account());
    compare("missing", &asked.missing, &holding.missing.iter().map(ToString::to_string).collect())?;
    compare("delegated", &asked.delegated, &holding.delegated.iter().map(ToString::to_string).collect())?;
    compare("held", &asked.held, &holding.is_held())
}

fn authored(author: &Author, adopted: bool) -> Vec<Authored> {
    let (own, account) = (own(), account());
    let mut all = Vec::new();
    if !adopted {
        all.push(template::root(&own, &account).unwrap());
    }
    if !author.no_operator {
        all.push(template::operator(&own, CALLER, false).unwrap());
    }
    all.extend(template::administrators(&own, &author.administrators).unwrap());
    for grant in &author.grants {
        all.extend(template::grant(&own, &grant.grant(), &grant.to).unwrap());
    }
    for user in &author.user {
        let statement = policy(&Value::Array(vec![user.statement.clone()])).statements.remove(0);
        all.push(template::user(&own, &user.name, statement, user.accept_risk).unwrap());
    }
    all
}

impl GrantTo {
    fn grant(&self) -> Grant {
        let conditions = self.conditions.iter();
        Grant {
            label: self.label.clone(),
            actions: self.actions.clone(),
            conditions: conditions.map(|(operator, key, values)| Condition::new(operator, key, values)).collect(),
        }
    }
}

/// A list of statements (or nothing, or a whole policy as text). `root` and `operator` stand for our own two, and
/// `account-root` for a foreign statement like our first.
fn policy(value: &Value) -> PolicyDocument {
    let text = match value {
        Value::Null => "{\"Version\":\"2012-10-17\",\"Statement\":[]}".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<Value> = items.iter().map(expand).collect();
            format!("{{\"Version\":\"2012-10-17\",\"Statement\":{}}}", Value::Array(items))
        }
        other => panic!("not a policy: {other}"),
    };
    PolicyDocument::parse(&text).unwrap()
}

fn expand(item: &Value) -> Value {
    let ours = |authored: Authored| serde_json::from_str(&authored.statement.to_json().to_compact()).unwrap();
    match item.as_str() {
        Some("root") => ours(template::root(&own(), &account()).unwrap()),
        Some("operator") => ours(template::operator(&own(), CALLER, false).unwrap()),
        Some("account-root") => {
            let mut root: Value = ours(template::root(&own(), &account()).unwrap());
            root["Sid"] = Value::from("Enable IAM User Permissions");
            root
        }
        _ => item.clone(),
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}\nexpected {expected:#?}\nfound    {found:#?}")) }
}

#[test]
fn an_empty_list_of_principals_holds_nothing() {
    let grant = Grant { label: "use".to_owned(), actions: vec!["kms:Decrypt".to_owned()], conditions: Vec::new() };
    let holding = holds(&policy(&Value::from(vec!["root"])), &grant, &[], &account());
    let missing = Missing { principal: String::new(), actions: grant.actions.clone(), why: Why::NotAllowed };
    assert_eq!(holding.missing, vec![missing]);
    assert!(!holding.is_held());
}
