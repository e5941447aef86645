//! Policies that a user pastes: what a cloud's portal gives as JSON. Each statement becomes ours.

use std::fmt;

use super::json::Json;
use super::ownership::{Label, LabelError, Ownership};
use super::parse::ParseError;
use super::statement::PolicyDocument;
use super::template::{Authored, DOCUMENT_KIND, Source};

/// Why a pasted document can't be used; says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    /// The name of the document in the spec.
    pub document: String,
    /// What is wrong.
    pub problem: DocumentProblem,
}

/// What is wrong with a pasted document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentProblem {
    /// Its name gives no label.
    Name(LabelError),
    /// It is not a policy.
    Parse(ParseError),
    /// Its list of statements is empty.
    NoStatements,
    /// A statement (its position, from 1) or the document (0) has an element that the policy language does not know; KMS would
    /// refuse it.
    UnknownElement(usize, String),
    /// A character outside tab, LF, CR and U+0020 to U+00FF.
    Character(char),
}

/// The statements of a pasted document as ours, with the labels `doc <name> <position>`.
///
/// `name` is a DNS label. `Version` and `Id` of the document are dropped, its Sids are replaced. Whether
/// the statements may be written is for [`guard`](super::guard) to say.
pub fn pasted(own: &Ownership, name: &str, json: &str, accept_risk: bool) -> Result<Vec<Authored>, DocumentError> {
    let fail = |problem| DocumentError { document: name.to_owned(), problem };
    let document = PolicyDocument::parse(json).map_err(|error| fail(DocumentProblem::Parse(error)))?;
    if let Some(character) = refused_character_in(&document.to_json()) {
        return Err(fail(DocumentProblem::Character(character)));
    }
    if let Some((key, _)) = document.extra.first() {
        return Err(fail(DocumentProblem::UnknownElement(0, key.clone())));
    }
    if document.statements.is_empty() {
        return Err(fail(DocumentProblem::NoStatements));
    }
    let number = |position| -> Result<Label, LabelError> {
        let base = Label::of_name(DOCUMENT_KIND, name)?;
        Label::new(format!("{base} {position}"))
    };
    (1..)
        .zip(document.statements)
        .map(|(position, statement)| {
            if let Some((key, _)) = statement.extra.first() {
                return Err(fail(DocumentProblem::UnknownElement(position, key.clone())));
            }
            let label = number(position).map_err(|error| fail(DocumentProblem::Name(error)))?;
            let authored = Authored::new(own, label, Source::Document(name.to_owned()), statement);
            Ok(Authored { accept_risk, ..authored })
        })
        .collect()
}

/// The first character in the strings of a document that KMS does not take.
///
/// Source: the pattern of `Policy` in <https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html>.
pub(super) fn refused_character_in(json: &Json) -> Option<char> {
    let mut found = None;
    json.each_string(&mut |text| {
        found = found.or_else(|| text.chars().find(|c| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}')));
    });
    found
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {:?}: ", self.document)?;
        match &self.problem {
            DocumentProblem::Name(error) => write!(f, "{error}"),
            DocumentProblem::Parse(error) => {
                write!(f, "{error}; paste the whole policy, from {{ to }}")
            }
            DocumentProblem::NoStatements => write!(f, "its list of statements is empty"),
            DocumentProblem::UnknownElement(0, key) => {
                write!(f, "a policy has no element {key:?}; remove it")
            }
            DocumentProblem::UnknownElement(position, key) => {
                write!(f, "statement {position} has an element {key:?} that no policy has; remove it")
            }
            DocumentProblem::Character(c) => write!(
                f,
                "the character {c:?} (U+{:04X}) is not allowed in a key policy; replace it (often a quotation mark or \
                 dash from a word processor)",
                u32::from(*c)
            ),
        }
    }
}

impl std::error::Error for DocumentError {}
