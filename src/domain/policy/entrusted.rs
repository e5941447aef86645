//! Statements by which a key is entrusted to somebody outside its account, where only their author knows to whom: a
//! cloud's portal suggests them, and no API names the principals.

use super::canonical::CanonicalStatement;
use super::holds::holds;
use super::principal::KeyAccount;
use super::statement::{Effect, PolicyDocument, PrincipalKind, Selector, Statement};
use super::template::Grant;

/// Whoever stores encrypted data has to be able to read it again.
const READ: &str = "kms:Decrypt";

/// The statements of a document that let somebody outside the key's account decrypt with it.
pub fn entrusting<'d>(document: &'d PolicyDocument, account: &KeyAccount) -> Vec<&'d Statement> {
    let outside = |statement: &Statement| {
        statement.principals.listed().iter().any(|(kind, who)| **kind == PrincipalKind::Aws && !account.owns(who))
    };
    let entrusts = |statement: &&Statement| {
        statement.effect == Effect::Allow && statement.actions.selects_some(READ) && outside(statement)
    };
    document.statements.iter().filter(entrusts).collect()
}

/// Whether a policy, whosever statements do it, gives what an Allow is meant to give, and no Deny takes it away again.
pub fn gives(policy: &PolicyDocument, wanted: &Statement, account: &KeyAccount) -> bool {
    let listed = wanted.principals.listed();
    let everybody = listed.iter().any(|(kind, who)| **kind == PrincipalKind::Aws && *who == "*");
    let (Selector::Only(actions), false) = (&wanted.actions, everybody) else {
        // Nobody is named whose rights could be looked at, so the statement itself has to be there.
        return policy.statements.iter().any(|held| same(held, wanted, account));
    };
    let grant = Grant { label: String::new(), actions: actions.clone(), conditions: wanted.conditions.clone() };
    let principals: Vec<String> =
        listed.iter().filter(|(kind, _)| **kind == PrincipalKind::Aws).map(|(_, who)| (*who).to_owned()).collect();
    holds(policy, &grant, &principals, account).is_held()
}

/// Whether two statements mean the same, whatever their Sids.
fn same(one: &Statement, other: &Statement, account: &KeyAccount) -> bool {
    let plain = |statement: &Statement| CanonicalStatement::of(&Statement { sid: None, ..statement.clone() }, account);
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "111111111111";

    fn document(statements: &str) -> PolicyDocument {
        PolicyDocument::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap()
    }

    fn statement(effect: &str, who: &str, actions: &str) -> String {
        format!(r#"{{"Effect":"{effect}","Principal":{{"AWS":"{who}"}},"Action":[{actions}],"Resource":"*"}}"#)
    }

    const VENDOR: &str = "arn:aws:iam::910000000000:role/cmek";

    #[test]
    fn only_what_lets_somebody_outside_decrypt_entrusts_the_key() {
        let account = KeyAccount::new("aws", KEY);
        let table = [
            (statement("Allow", VENDOR, r#""kms:Decrypt""#), 1),
            (statement("Allow", VENDOR, r#""kms:*""#), 1),
            (statement("Allow", "910000000000", r#""kms:Decrypt""#), 1),
            (statement("Allow", "*", r#""kms:Decrypt""#), 1),
            (statement("Allow", VENDOR, r#""kms:DescribeKey""#), 0),
            (statement("Deny", VENDOR, r#""kms:Decrypt""#), 0),
            (statement("Allow", KEY, r#""kms:Decrypt""#), 0),
            (statement("Allow", "arn:aws:iam::111111111111:role/audit", r#""kms:Decrypt""#), 0),
        ];
        for (text, count) in table {
            assert_eq!(entrusting(&document(&text), &account).len(), count, "{text}");
        }
    }

    #[test]
    fn a_policy_gives_it_by_whatever_statements_unless_it_is_denied() {
        let account = KeyAccount::new("aws", KEY);
        let wanted = document(&statement("Allow", VENDOR, r#""kms:Decrypt","kms:ReEncrypt*""#));
        let wanted = &wanted.statements[0];
        let whole = statement("Allow", VENDOR, r#""kms:*""#);
        let half = statement("Allow", VENDOR, r#""kms:Decrypt""#);
        let rest = statement("Allow", VENDOR, r#""kms:ReEncrypt*""#);
        let deny = statement("Deny", "*", r#""kms:Decrypt""#);
        let table = [
            (whole.clone(), true),
            (format!("{half},{rest}"), true),
            (half, false),
            (format!("{whole},{deny}"), false),
            (statement("Allow", "arn:aws:iam::910000000000:role/other", r#""kms:*""#), false),
        ];
        for (text, given) in table {
            assert_eq!(gives(&document(&text), wanted, &account), given, "{text}");
        }
    }

    #[test]
    fn what_names_nobody_has_to_be_there_as_it_is() {
        let account = KeyAccount::new("aws", KEY);
        let text = r#"{"Sid":"a","Effect":"Allow","Principal":"*","Action":["kms:Decrypt"],"Resource":"*","Condition":{"StringEquals":{"kms:CallerAccount":"910000000000"}}}"#;
        let wanted = document(text);
        assert!(gives(&document(&text.replace(r#""Sid":"a""#, r#""Sid":"b""#)), &wanted.statements[0], &account));
        assert!(!gives(&document(&text.replace("910000000000", "910000000001")), &wanted.statements[0], &account));
    }
}
