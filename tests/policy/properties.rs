//! Properties of generated policies: what has to be so for every one of them.

use cmk_operator::domain::policy::{
    Condition, Effect, Grant, MergeOptions, PolicyDocument, PolicyHash, PrincipalGroup, PrincipalKind, PrincipalSet,
    Principals, Scalar, Selector, Statement, additive_principals, diff, holds, merge, pattern, principals_in,
    same_meaning, template,
};

use super::{CALLER, account, own};

const ROUNDS: u64 = 500;

/// A small generator of numbers (xorshift), so that a seed names a case for ever.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn some(&mut self, items: &[&str], most: usize) -> Vec<String> {
        (0..=self.below(most)).map(|_| self.pick(items).to_owned()).collect()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }

    fn document(&mut self) -> PolicyDocument {
        let statements = (0..self.below(6)).map(|_| self.statement()).collect();
        let mut document = PolicyDocument::new(statements);
        document.version = [Some("2012-10-17"), Some("2008-10-17"), None][self.below(3)].map(str::to_owned);
        document
    }

    fn statement(&mut self) -> Statement {
        let ours = own().sid(&cmk_operator::domain::policy::Label::new("use").unwrap());
        let sids =
            [None, Some("x"), Some("Enable IAM User Permissions"), Some("cmk 0badcafe use"), Some(ours.as_str())];
        let actions = ["kms:*", "kms:Decrypt", "KMS:decrypt", "kms:ReEncrypt*", "kms:CreateGrant", "kms:Describe?ey"];
        Statement {
            sid: sids[self.below(sids.len())].map(str::to_owned),
            effect: if self.below(4) == 0 { Effect::Deny } else { Effect::Allow },
            principals: match self.below(6) {
                0 => Principals::Missing,
                1 => Principals::AllBut(self.principals()),
                _ => Principals::Only(self.principals()),
            },
            actions: match self.below(6) {
                0 => Selector::Missing,
                1 => Selector::AllBut(self.some(&actions, 3)),
                _ => Selector::Only(self.some(&actions, 3)),
            },
            resources: Selector::Only(self.some(&["*", "*", "arn:aws:kms:::key/x"], 1)),
            conditions: self.conditions(),
            extra: Vec::new(),
        }
    }

    fn principals(&mut self) -> PrincipalSet {
        if self.below(5) == 0 {
            return PrincipalSet::Everyone;
        }
        let aws = [
            "*",
            "111111111111",
            "222222222222",
            "arn:aws:iam::222222222222:root",
            "arn:aws:iam::222222222222:role/r",
            "AROAEXAMPLEEXAMPLE12",
        ];
        let mut groups = vec![PrincipalGroup { kind: PrincipalKind::Aws, values: self.some(&aws, 3) }];
        if self.below(3) == 0 {
            groups.push(PrincipalGroup { kind: PrincipalKind::Service, values: self.some(&["s3.amazonaws.com"], 1) });
        }
        PrincipalSet::Listed(groups)
    }

    fn conditions(&mut self) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (operator, key) in
            [("Bool", "kms:GrantIsForAWSResource"), ("Bool", "x"), ("StringEquals", "kms:ViaService")]
        {
            if self.below(3) == 0 {
                let values = [Scalar::Bool(true), Scalar::Text("true".to_owned()), Scalar::Number(7.into())];
                let values = (0..=self.below(2)).map(|_| values[self.below(3)].clone()).collect();
                conditions.push(Condition { operator: operator.to_owned(), key: key.to_owned(), values });
            }
        }
        conditions
    }

    /// The same meaning in another form.
    fn disguise(&mut self, document: &PolicyDocument) -> PolicyDocument {
        let mut other = document.clone();
        for statement in &mut other.statements {
            match &mut statement.actions {
                Selector::Missing => {}
                Selector::Only(patterns) | Selector::AllBut(patterns) => {
                    patterns.extend(patterns.first().map(|pattern| pattern.to_uppercase()));
                    self.shuffle(patterns);
                }
            }
            if let Principals::Only(PrincipalSet::Listed(groups)) = &mut statement.principals {
                for group in groups.iter_mut() {
                    for value in &mut group.values {
                        if value == "222222222222" {
                            *value = account().root_arn_of("222222222222");
                        }
                    }
                    self.shuffle(&mut group.values);
                }
                self.shuffle(groups);
            }
            for condition in &mut statement.conditions {
                condition.key = condition.key.to_uppercase();
                condition.values = condition.values.iter().map(|value| Scalar::Text(value.text())).collect();
            }
            self.shuffle(&mut statement.conditions);
        }
        self.shuffle(&mut other.statements);
        other
    }
}

#[test]
fn text_and_back_changes_nothing() {
    for seed in 0..ROUNDS {
        let document = Dice::new(seed).document();
        assert_eq!(PolicyDocument::parse(&document.render()).unwrap(), document, "seed {seed}");
        assert_eq!(PolicyDocument::parse(&document.render_pretty()).unwrap(), document, "seed {seed}");
    }
}

#[test]
fn another_form_is_the_same_meaning() {
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed);
        let document = dice.document();
        let other = dice.disguise(&document);
        assert!(same_meaning(&document, &other, &account()), "seed {seed}: {} {}", document.render(), other.render());
        assert_eq!(diff(&document, &other, &account()), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_merge_leaves_the_foreign_alone_and_is_done_after_one_write() {
    let (own, account) = (own(), account());
    let grant = Grant { label: "use".to_owned(), actions: vec!["kms:Decrypt".to_owned()], conditions: Vec::new() };
    let vendor = ["arn:aws:iam::222222222222:role/r".to_owned()];
    let mut desired = vec![template::root(&own, &account).unwrap(), template::operator(&own, CALLER, false).unwrap()];
    desired.extend(template::grant(&own, &grant, &vendor).unwrap());
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed);
        let read = dice.document();
        let merged = merge(&read, &desired, &own, &account, MergeOptions::default());
        let hash = |document| PolicyHash::of_foreign(document, &own, &account);
        assert_eq!(hash(&read), hash(&merged.document), "seed {seed}");
        let foreign = |document: &PolicyDocument| -> Vec<Statement> {
            document.statements.iter().filter(|statement| !own.owns(statement)).cloned().collect()
        };
        assert_eq!(foreign(&read), foreign(&merged.document), "seed {seed}");
        assert_eq!(merged.foreign_kept, foreign(&read).len(), "seed {seed}");
        assert_eq!(merged.changed, !same_meaning(&read, &merged.document, &account), "seed {seed}");
        assert_eq!(merged.changed, !diff(&read, &merged.document, &account).is_empty(), "seed {seed}");

        let stored = dice.disguise(&merged.document);
        let again = merge(&stored, &desired, &own, &account, MergeOptions::default());
        assert!(!again.changed, "seed {seed}");
        assert_eq!(again.document, stored, "seed {seed}");
    }
}

#[test]
fn what_is_held_does_not_depend_on_the_form() {
    let grant = Grant {
        label: "use".to_owned(),
        actions: vec!["kms:Decrypt".to_owned(), "kms:CreateGrant".to_owned()],
        conditions: vec![Condition::new("Bool", "kms:GrantIsForAWSResource", ["true"])],
    };
    let wanted = ["arn:aws:iam::222222222222:role/r".to_owned(), "arn:aws:iam::111111111111:role/q".to_owned()];
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed);
        let document = dice.document();
        let other = dice.disguise(&document);
        let (one, two) = (holds(&document, &grant, &wanted, &account()), holds(&other, &grant, &wanted, &account()));
        assert_eq!(one.is_held(), two.is_held(), "seed {seed}");

        // A Deny more can never open the gate.
        let mut narrower = document.clone();
        let deny = Statement { effect: Effect::Deny, ..dice.statement() };
        narrower.statements.push(deny);
        let held = holds(&narrower, &grant, &wanted, &account()).is_held();
        assert!(one.is_held() || !held, "seed {seed}");
    }
}

#[test]
fn patterns_agree_with_every_text_they_are_tried_on() {
    let letters = ["a", "b", "*", "?", "ab", "a*", "*b"];
    let texts: Vec<String> =
        ["", "a", "b", "ab", "ba", "aa", "bb", "aab", "abb", "bab", "aba", "abab", "bbaa"].map(str::to_owned).to_vec();
    for seed in 0..5_000 {
        let mut dice = Dice::new(seed);
        let (one, other) = (dice.some(&letters, 4).concat(), dice.some(&letters, 4).concat());
        let both = |text: &String| pattern::matches_exactly(&one, text) && pattern::matches_exactly(&other, text);
        if texts.iter().any(both) {
            assert!(pattern::overlaps(&one, &other), "{one} {other}");
        }
        if pattern::covers(&one, &other) {
            let escapes =
                |text: &&String| pattern::matches_exactly(&other, text) && !pattern::matches_exactly(&one, text);
            assert_eq!(texts.iter().find(escapes), None, "{one} {other}");
            assert!(pattern::overlaps(&one, &other), "{one} {other}");
        }
        assert_eq!(pattern::overlaps(&one, &other), pattern::overlaps(&other, &one), "{one} {other}");
    }
}

#[test]
fn a_shorter_answer_takes_no_principal_away() {
    let (own, account) = (own(), account());
    let grant = Grant { label: "use".to_owned(), actions: vec!["kms:Decrypt".to_owned()], conditions: Vec::new() };
    let arns =
        |ids: &[&str]| -> Vec<String> { ids.iter().map(|id| format!("arn:aws:iam::{id}:role/creator")).collect() };
    let first = arns(&["222222222222", "333333333333"]);
    let statement = template::grant(&own, &grant, &first).unwrap().unwrap().statement;
    let live = PolicyDocument::new(vec![statement]);

    let seen = principals_in(&live, &own, "use", &account);
    assert_eq!(seen, first);
    assert_eq!(additive_principals(&seen, &[]), first);
    assert_eq!(additive_principals(&seen, &arns(&["333333333333"])), first);
    let more = arns(&["444444444444", "222222222222"]);
    assert_eq!(additive_principals(&seen, &more), arns(&["222222222222", "333333333333", "444444444444"]));
    assert_eq!(principals_in(&live, &own, "other", &account), Vec::<String>::new());

    // A deleted role cannot be named again by its unique id; an account id comes back as AWS spells it.
    let mixed = ["AROAEXAMPLEEXAMPLE12".to_owned(), "222222222222".to_owned(), "*".to_owned()];
    let statement = template::grant(&own, &grant, &mixed).unwrap().unwrap().statement;
    let live = PolicyDocument::new(vec![statement]);
    assert_eq!(principals_in(&live, &own, "use", &account), [account.root_arn_of("222222222222")]);
}

#[test]
fn the_size_limit_is_that_of_the_bytes_sent() {
    use cmk_operator::domain::policy::{Problem, RootRule, Setting, guard::LARGEST_POLICY, review};
    let (own, account) = (own(), account());
    let desired = vec![template::root(&own, &account).unwrap()];
    let empty = PolicyDocument::new(Vec::new());
    let base = merge(&empty, &desired, &own, &account, MergeOptions::default());
    let setting = Setting { account: &account, own: &own, caller: None, root: RootRule::Required };
    let with_padding = |bytes: usize| {
        let mut merged = base.clone();
        // Two bytes in UTF-8, one character.
        merged.document.id = Some(format!("é{}", "x".repeat(bytes - 2)));
        review(&merged, &desired, &setting).refusals
    };
    let fixed = base.document.render().len() + r#""Id":"","#.len();
    let most = LARGEST_POLICY - fixed;
    assert_eq!(with_padding(most), Vec::new());
    assert_eq!(with_padding(most + 1), vec![Problem::TooLarge(LARGEST_POLICY + 1)]);
}
