//! The evaluation of policies, row by row after AWS's documented logic.
//!
//! Source: IAM user guide, "Policy evaluation logic" with "Policy evaluation for requests within a single account" and
//! "Cross-account policy evaluation logic", "Permissions boundaries for IAM entities", "AWS JSON policy elements:
//! Principal" and "`NotPrincipal`", "IAM JSON policy elements: Condition operators", "Single-valued vs. multivalued context
//! keys"; KMS guide, "Default key policy" and "Allowing users in other accounts to use a KMS key".

use cmk_operator::domain::policy::PolicyDocument;
use cmk_operator::sandbox::{Decision, Facts, Identity, Policies, Request, decide};
use serde_json::{Value, json};

use Decision::{Allowed, DeniedExplicitly as Explicit, DeniedImplicitly as Implicit};

const OWNER: &str = "111111111111";
const OTHER: &str = "222222222222";
const KEY: &str = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-4333-8444-555555555555";
const ROLE: &str = "arn:aws:iam::111111111111:role/team/app";
const USER: &str = "arn:aws:iam::111111111111:user/ann";
const FOREIGN: &str = "arn:aws:iam::222222222222:role/app";
/// The unique id of whoever calls.
const UNIQUE: &str = "AROAUNIQUEIDOFTHEROLE";

fn session_of(role: &str) -> Identity {
    let account = role.split(':').nth(4).unwrap().to_owned();
    Identity { account, arn: role.to_owned(), session: Some("s1".into()) }
}

fn user() -> Identity {
    Identity { account: OWNER.into(), arn: USER.into(), session: None }
}

fn parse(statements: &Value) -> PolicyDocument {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    PolicyDocument::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A statement of a key policy.
fn on(effect: &str, principal: &Value, action: &Value) -> Value {
    json!({"Effect": effect, "Principal": principal, "Action": action, "Resource": "*"})
}

fn aws(name: &str) -> Value {
    json!({ "AWS": name })
}

fn root(account: &str) -> Value {
    aws(&format!("arn:aws:iam::{account}:root"))
}

/// A statement of an identity policy.
fn may(effect: &str, action: &str, resource: &str) -> Value {
    json!({"Effect": effect, "Action": action, "Resource": resource})
}

fn with(mut statement: Value, condition: &Value) -> Value {
    statement["Condition"] = condition.clone();
    statement
}

/// A request and the policies that have a say.
struct Case {
    caller: Identity,
    on_resource: Option<Value>,
    /// `None`: an administrator.
    identity: Option<Vec<Value>>,
    boundary: Option<Value>,
    action: &'static str,
    resource: &'static str,
    facts: Facts,
}

impl Case {
    /// `kms:Decrypt` on the key by the role of its account, with these statements in the key policy.
    fn key(statements: Value) -> Self {
        Self {
            caller: session_of(ROLE),
            on_resource: Some(statements),
            identity: Some(vec![]),
            boundary: None,
            action: "kms:Decrypt",
            resource: KEY,
            facts: Facts::default(),
        }
    }

    /// The same by somebody else.
    fn by(self, caller: Identity) -> Self {
        Self { caller, ..self }
    }

    /// With these statements in the caller's identity policy.
    fn identity(self, statements: Value) -> Self {
        Self { identity: Some(vec![statements]), ..self }
    }

    fn boundary(self, statements: Value) -> Self {
        Self { boundary: Some(statements), ..self }
    }

    fn fact(self, key: &str, value: &str) -> Self {
        Self { facts: self.facts.and(key, value), ..self }
    }

    fn decided(&self) -> Decision {
        let on_resource = self.on_resource.as_ref().map(parse);
        let identity: Option<Vec<_>> = self.identity.as_ref().map(|all| all.iter().map(parse).collect());
        let boundary = self.boundary.as_ref().map(parse);
        let request = Request {
            caller: &self.caller,
            unique_id: UNIQUE,
            action: self.action,
            resource: self.resource,
            facts: &self.facts,
        };
        let policies = Policies {
            on_resource: on_resource.as_ref().map(|p| (p, OWNER)),
            of_identity: identity.as_deref(),
            boundary: boundary.as_ref(),
        };
        decide(&request, &policies)
    }
}

fn check(table: Vec<(&str, Case, Decision)>) {
    for (name, case, want) in table {
        assert_eq!(case.decided(), want, "{name}");
    }
}

#[test]
fn one_account() {
    let decrypt = json!("kms:Decrypt");
    let delegated = || json!([on("Allow", &root(OWNER), &json!("kms:*"))]);
    let named = |name: &str| json!([on("Allow", &aws(name), &decrypt)]);
    let mine = || json!([may("Allow", "kms:Decrypt", KEY)]);
    check(vec![
        ("nothing says yes", Case::key(json!([])), Implicit),
        ("an identity policy alone does not open a key", Case::key(json!([])).identity(mine()), Implicit),
        ("the root statement alone lets nobody in", Case::key(delegated()), Implicit),
        ("the root statement delegates to identity policies", Case::key(delegated()).identity(mine()), Allowed),
        ("to an administrator too", Case { identity: None, ..Case::key(delegated()) }, Allowed),
        (
            "an identity policy for another key is none",
            Case::key(delegated()).identity(json!([may(
                "Allow",
                "kms:Decrypt",
                "arn:aws:kms:us-east-1:111111111111:key/other"
            )])),
            Implicit,
        ),
        (
            "resources are patterns",
            Case::key(delegated()).identity(json!([may("Allow", "kms:De*", "arn:aws:kms:*:111111111111:key/*")])),
            Allowed,
        ),
        (
            "and compared with case",
            Case::key(delegated()).identity(json!([may("Allow", "kms:Decrypt", "arn:aws:KMS:*:111111111111:key/*")])),
            Implicit,
        ),
        (
            "actions are compared without case",
            Case::key(delegated()).identity(json!([may("Allow", "KMS:decrypt", "*")])),
            Allowed,
        ),
        (
            "NotAction leaves the rest",
            Case::key(delegated()).identity(json!([{"Effect": "Allow", "NotAction": "kms:Encrypt", "Resource": "*"}])),
            Allowed,
        ),
        (
            "NotAction takes away what it names",
            Case::key(delegated()).identity(json!([{"Effect": "Allow", "NotAction": "kms:De*", "Resource": "*"}])),
            Implicit,
        ),
        (
            "NotResource leaves the rest",
            Case::key(delegated()).identity(json!([{"Effect": "Allow", "Action": "*", "NotResource": KEY}])),
            Implicit,
        ),
        ("a role that is named needs no identity policy", Case::key(named(ROLE)), Allowed),
        ("by its unique id", Case::key(named(UNIQUE)), Allowed),
        ("its session", Case::key(named("arn:aws:sts::111111111111:assumed-role/app/s1")), Allowed),
        ("another session is not it", Case::key(named("arn:aws:sts::111111111111:assumed-role/app/s2")), Implicit),
        ("another role is not it", Case::key(named("arn:aws:iam::111111111111:role/app")), Implicit),
        ("anybody", Case::key(json!([on("Allow", &json!("*"), &decrypt)])), Allowed),
        ("anybody in AWS", Case::key(named("*")), Allowed),
        (
            "a service is somebody else",
            Case::key(json!([on("Allow", &json!({"Service": "s3.amazonaws.com"}), &decrypt)])),
            Implicit,
        ),
        ("a user that is named", Case::key(named(USER)).by(user()), Allowed),
        (
            "NotPrincipal with Allow reaches nobody",
            Case::key(json!([{"Effect": "Allow", "NotPrincipal": {"AWS": USER}, "Action": "*", "Resource": "*"}])),
            Implicit,
        ),
    ]);
}

#[test]
fn an_explicit_deny_wins_wherever_it_stands() {
    let decrypt = json!("kms:Decrypt");
    let open =
        |deny: Value| json!([on("Allow", &aws(ROLE), &decrypt), on("Allow", &root(OWNER), &json!("kms:*")), deny]);
    let mine = || json!([may("Allow", "kms:*", "*")]);
    let but =
        |names: Value| json!({"Effect": "Deny", "NotPrincipal": {"AWS": names}, "Action": "kms:*", "Resource": "*"});
    let account = "arn:aws:iam::111111111111:root";
    check(vec![
        ("none", Case::key(open(on("Deny", &aws(USER), &decrypt))).identity(mine()), Allowed),
        ("for the role", Case::key(open(on("Deny", &aws(ROLE), &decrypt))).identity(mine()), Explicit),
        ("for its account", Case::key(open(on("Deny", &root(OWNER), &decrypt))).identity(mine()), Explicit),
        ("for everybody", Case::key(open(on("Deny", &json!("*"), &json!("kms:*")))).identity(mine()), Explicit),
        (
            "in the identity policy",
            Case::key(open(on("Deny", &aws(USER), &decrypt))).identity(json!([may("Deny", "kms:Decrypt", "*")])),
            Explicit,
        ),
        (
            "in the boundary",
            Case::key(open(on("Deny", &aws(USER), &decrypt)))
                .boundary(json!([may("Allow", "*", "*"), may("Deny", "kms:*", "*")])),
            Explicit,
        ),
        ("of another action", Case::key(open(on("Deny", &aws(ROLE), &json!("kms:Encrypt")))).identity(mine()), Allowed),
        (
            "for all but the role and its account",
            Case::key(open(but(json!([ROLE, account])))).identity(mine()),
            Allowed,
        ),
        ("for all but the role, its account forgotten", Case::key(open(but(json!([ROLE])))).identity(mine()), Explicit),
        ("for all but another", Case::key(open(but(json!([USER, account])))).identity(mine()), Explicit),
        (
            "with a condition that does not hold",
            Case::key(open(with(on("Deny", &aws(ROLE), &decrypt), &json!({"Bool": {"aws:SecureTransport": "false"}}))))
                .identity(mine()),
            Allowed,
        ),
    ]);
}

#[test]
fn another_account_needs_both_sides() {
    let decrypt = json!("kms:Decrypt");
    let key = |principal: Value| Case::key(json!([on("Allow", &principal, &decrypt)])).by(session_of(FOREIGN));
    let mine = || json!([may("Allow", "kms:Decrypt", KEY)]);
    check(vec![
        ("neither", Case::key(json!([])).by(session_of(FOREIGN)), Implicit),
        ("only the key policy", key(aws(FOREIGN)), Implicit),
        ("only the identity policy", Case::key(json!([])).by(session_of(FOREIGN)).identity(mine()), Implicit),
        ("both, by the name of the role", key(aws(FOREIGN)).identity(mine()), Allowed),
        ("both, by its account", key(root(OTHER)).identity(mine()), Allowed),
        ("both, by its account's number", key(aws(OTHER)).identity(mine()), Allowed),
        ("both, by everybody", key(json!("*")).identity(mine()), Allowed),
        ("everybody and no identity policy", key(json!("*")), Implicit),
        ("both, by its session", key(aws("arn:aws:sts::222222222222:assumed-role/app/s1")).identity(mine()), Allowed),
        ("the session alone", key(aws("arn:aws:sts::222222222222:assumed-role/app/s1")), Implicit),
        ("the key's own account does not stand for another", key(root(OWNER)).identity(mine()), Implicit),
        ("a boundary over there", key(aws(FOREIGN)).identity(mine()).boundary(json!([])), Implicit),
        (
            "a deny over there",
            key(aws(FOREIGN)).identity(json!([may("Allow", "*", "*"), may("Deny", "kms:Decrypt", "*")])),
            Explicit,
        ),
    ]);
}

#[test]
fn boundaries_hold_back_and_grant_nothing() {
    let decrypt = json!("kms:Decrypt");
    let delegated = || json!([on("Allow", &root(OWNER), &json!("kms:*"))]);
    let named = |name: &str| Case::key(json!([on("Allow", &aws(name), &decrypt)]));
    let mine = || json!([may("Allow", "kms:Decrypt", "*")]);
    let within = || json!([may("Allow", "kms:*", "*")]);
    let without = || json!([may("Allow", "s3:*", "*")]);
    check(vec![
        ("within", Case::key(delegated()).identity(mine()).boundary(within()), Allowed),
        ("without", Case::key(delegated()).identity(mine()).boundary(without()), Implicit),
        ("alone", Case::key(delegated()).boundary(within()), Implicit),
        ("over an administrator", Case { identity: None, ..Case::key(delegated()) }.boundary(without()), Implicit),
        ("its silence holds a named role back", named(ROLE).boundary(without()), Implicit),
        ("not a named user", named(USER).by(user()).boundary(without()), Allowed),
        ("nor a named session", named("arn:aws:sts::111111111111:assumed-role/app/s1").boundary(without()), Allowed),
    ]);
}

#[test]
fn trust_policies() {
    let trust = |principal: Value, condition: Value| Case {
        action: "sts:AssumeRole",
        resource: ROLE,
        ..Case::key(
            json!([{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition}]),
        )
    };
    let external = json!({"StringEquals": {"sts:ExternalId": "word"}});
    let vendor = || Identity { account: OTHER.into(), arn: "arn:aws:iam::222222222222:root".into(), session: None };
    let admin = |case: Case| Case { identity: None, ..case.by(vendor()) };
    check(vec![
        (
            "an account with the word",
            admin(trust(root(OTHER), external.clone())).fact("sts:ExternalId", "word"),
            Allowed,
        ),
        ("with another word", admin(trust(root(OTHER), external.clone())).fact("sts:ExternalId", "Word"), Implicit),
        ("without any", admin(trust(root(OTHER), external.clone())), Implicit),
        (
            "another account",
            admin(trust(root("333333333333"), external.clone())).fact("sts:ExternalId", "word"),
            Implicit,
        ),
        (
            "who may not assume roles",
            trust(root(OTHER), external).by(session_of(FOREIGN)).fact("sts:ExternalId", "word"),
            Implicit,
        ),
        ("a role of the same account by name", trust(aws(ROLE), json!({})), Allowed),
        ("by its account only", trust(root(OWNER), json!({})), Implicit),
    ]);
}

#[test]
fn conditions() {
    let facts = Facts::default()
        .and("aws:SourceIp", "203.0.113.7")
        .and("kms:EncryptionContext:tenant", "blue")
        .and("s3:max-keys", "10")
        .and("aws:CurrentTime", "2026-01-15T00:00:00Z")
        .and("aws:SourceVpce", "vpce-1")
        .and_all("aws:TagKeys", ["a".to_owned(), "b".to_owned()])
        .and_all("none", []);
    let holds = |condition: &Value| {
        let statement = with(on("Allow", &aws(ROLE), &json!("kms:*")), condition);
        Case { facts: facts.clone(), ..Case::key(json!([statement])) }.decided() == Allowed
    };
    for (condition, want) in [
        // Several operators and keys: all; several values: any.
        (json!({"StringEquals": {"aws:SourceVpce": ["vpce-0", "vpce-1"]}}), true),
        (json!({"StringEquals": {"aws:SourceVpce": "vpce-1", "kms:EncryptionContext:tenant": "red"}}), false),
        (json!({"StringEquals": {"aws:SourceVpce": "vpce-1"}, "Bool": {"aws:SecureTransport": "false"}}), false),
        // Names of keys without case, values with it.
        (json!({"StringEquals": {"AWS:sourcevpce": "vpce-1"}}), true),
        (json!({"StringEquals": {"aws:SourceVpce": "VPCE-1"}}), false),
        (json!({"StringEqualsIgnoreCase": {"aws:SourceVpce": "VPCE-1"}}), true),
        (json!({"StringNotEqualsIgnoreCase": {"aws:SourceVpce": "VPCE-1"}}), false),
        (json!({"StringNotEquals": {"aws:SourceVpce": ["vpce-0", "vpce-1"]}}), false),
        (json!({"StringNotEquals": {"aws:SourceVpce": ["vpce-0", "vpce-2"]}}), true),
        (json!({"StringLike": {"kms:EncryptionContext:tenant": "bl?e"}}), true),
        (json!({"StringLike": {"kms:EncryptionContext:tenant": "*d"}}), false),
        (json!({"StringNotLike": {"kms:EncryptionContext:tenant": "b*"}}), false),
        // Of the caller.
        (json!({"StringEquals": {"aws:PrincipalAccount": OWNER, "kms:CallerAccount": OWNER}}), true),
        (json!({"ArnEquals": {"aws:PrincipalArn": ROLE}}), true),
        (json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/team/*"}}), true),
        (json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam:*:role/team/app"}}), false),
        (json!({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/team/*"}}), false),
        (json!({"ArnNotEquals": {"aws:PrincipalArn": USER}}), true),
        (json!({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}), true),
        (json!({"StringLike": {"aws:userid": "AROAUNIQUEIDOFTHEROLE:*"}}), true),
        (json!({"Bool": {"aws:SecureTransport": true}}), true),
        (json!({"Bool": {"aws:MultiFactorAuthPresent": "false"}}), false),
        (json!({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}), true),
        // Addresses.
        (json!({"IpAddress": {"aws:SourceIp": "203.0.113.7"}}), true),
        (json!({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}), true),
        (json!({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "203.0.113.8/31"]}}), false),
        (json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), true),
        (json!({"IpAddress": {"aws:SourceIp": "::/0"}}), false),
        (json!({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "203.0.113.6/31"]}}), false),
        (json!({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), true),
        (json!({"NotIpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}}), true),
        (json!({"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}}), false),
        // Numbers and dates.
        (json!({"NumericLessThanEquals": {"s3:max-keys": "10"}}), true),
        (json!({"NumericLessThan": {"s3:max-keys": "10"}}), false),
        (json!({"NumericGreaterThan": {"s3:max-keys": 9}}), true),
        (json!({"NumericEquals": {"s3:max-keys": "ten"}}), false),
        (json!({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}), true),
        (json!({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}), false),
        // What is not there.
        (json!({"Null": {"aws:SourceVpc": "true"}}), true),
        (json!({"Null": {"aws:SourceVpc": "false"}}), false),
        (json!({"Null": {"aws:SourceIp": "false"}}), true),
        (json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}}), false),
        (json!({"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}), true),
        (json!({"StringEqualsIfExists": {"aws:SourceVpce": "vpce-2"}}), false),
        (json!({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}), true),
        // Several values.
        (json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}}), true),
        (json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}), false),
        (json!({"ForAllValues:StringEquals": {"absent": ["a"]}}), true),
        (json!({"ForAllValues:StringEquals": {"none": ["a"]}}), true),
        (json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["b", "c"]}}), true),
        (json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["c"]}}), false),
        (json!({"ForAnyValue:StringEquals": {"absent": ["a"]}}), false),
        (json!({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["b"]}}), true),
        // What nobody knows is not met.
        (json!({"Sounds": {"aws:SourceIp": "203.0.113.7"}}), false),
    ] {
        assert_eq!(holds(&condition), want, "{condition}");
    }
}

#[test]
fn a_deny_by_address_closes_what_others_open() {
    // What restricts a key to addresses: an Allow with a condition would not, beside the root statement.
    let policy = || {
        json!([
            on("Allow", &root(OWNER), &json!("kms:*")),
            with(on("Deny", &aws(ROLE), &json!("kms:*")), &json!({"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}})),
        ])
    };
    let from = |ip: &str| Case::key(policy()).identity(json!([may("Allow", "kms:*", "*")])).fact("aws:SourceIp", ip);
    check(vec![
        ("from inside", from("192.0.2.9"), Allowed),
        ("from outside", from("198.51.100.1"), Explicit),
        ("from nowhere", Case::key(policy()).identity(json!([may("Allow", "kms:*", "*")])), Explicit),
    ]);
}
