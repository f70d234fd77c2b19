//! Errors of queries, in this project's words: lowercase, with the place in the query and the nearest name.

use arrow::datatypes::Schema;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Location;
use tidemill_engine::operator::OperatorError;

/// A query that is refused, or cannot be planned. Raised at plan time only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(*line, *column))]
pub struct SqlError {
    /// What is wrong and what was expected.
    pub message: String,
    /// Line in the query, from 1, where it is known.
    pub line: Option<u64>,
    /// Column in that line, in characters from 1, where it is known.
    pub column: Option<u64>,
}

fn place(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        _ => String::new(),
    }
}

impl SqlError {
    /// An error of the whole query.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None, column: None }
    }

    /// An error at a place. Line 0 is sqlparser's word for "nowhere".
    #[must_use]
    pub fn at(message: impl Into<String>, at: Location) -> Self {
        let known = at.line > 0;
        Self { message: message.into(), line: known.then_some(at.line), column: known.then_some(at.column) }
    }

    /// The place of an error that the parser met at the end of `text`.
    #[must_use]
    pub(crate) fn or_at_the_end_of(mut self, text: &str) -> Self {
        if self.line.is_none() && self.message.ends_with("found: EOF") {
            let last = text.trim_end().lines().last().unwrap_or_default();
            self.line = Some(text.trim_end().lines().count().max(1) as u64);
            self.column = Some(last.chars().count() as u64 + 1);
            self.message.truncate(self.message.len() - "EOF".len());
            self.message.push_str("the end of the query");
        }
        self
    }

    /// DataFusion's error, with names looked up in `input`.
    #[must_use]
    pub fn from_datafusion(error: &DataFusionError, input: &Schema) -> Self {
        // Of several errors the first is told: the others often follow from it.
        let error = error.iter().next().unwrap_or(error);
        let span = error.diagnostic().and_then(|d| d.span).map(|span| span.start);
        let mut found = match error.find_root() {
            DataFusionError::SQL(parser, _) => Self::from_parser(parser),
            DataFusionError::SchemaError(schema, _) => Self::new(schema_message(schema, input)),
            other => Self::new(plainer(sentence(other))),
        };
        if let (None, Some(at)) = (found.line, span.filter(|at| at.line > 0)) {
            found.line = Some(at.line);
            found.column = Some(at.column);
        }
        found
    }

    fn from_parser(error: &ParserError) -> Self {
        let text = match error {
            ParserError::RecursionLimitExceeded => {
                return Self::new("the query is nested too deeply (50 levels at most)");
            }
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        };
        let Some((message, at)) = text.rsplit_once(" at Line: ") else {
            return Self::new(lowercase(text));
        };
        let mut numbers = at.split(", Column: ").map(|n| n.trim().parse::<u64>().ok());
        Self { message: lowercase(message), line: numbers.next().flatten(), column: numbers.next().flatten() }
    }
}

fn schema_message(error: &SchemaError, input: &Schema) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = if valid_fields.is_empty() {
                input.fields().iter().map(|f| f.name().as_str()).collect()
            } else {
                valid_fields.iter().map(|c| c.name.as_str()).collect()
            };
            unknown("column", &field.name, &names)
        }
        SchemaError::AmbiguousReference { field } => {
            format!("column {:?} is ambiguous: say which table's it is (\"a.{}\")", field.name, field.name)
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            duplicate(name)
        }
    }
}

pub(crate) fn duplicate(name: &str) -> String {
    format!("two output columns are named {name:?}: give one another name with AS")
}

/// `unknown column "prise": did you mean "price"?`, or the names there are.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|k| (distance(&name.to_lowercase(), &k.to_lowercase()), *k))
        .filter(|(d, k)| *d <= 1 + k.chars().count().max(name.chars().count()) / 3)
        .min_by_key(|(d, _)| *d);
    if let Some((_, nearest)) = nearest {
        return format!("unknown {kind} {name:?}: did you mean {nearest:?}?");
    }
    let some: Vec<String> = known.iter().take(20).map(|k| format!("{k:?}")).collect();
    let more = if known.len() > some.len() { format!(" and {} more", known.len() - some.len()) } else { String::new() };
    format!("unknown {kind} {name:?}: there is {}{more}", some.join(", "))
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// DataFusion's words for [`duplicate`] and for a function's wrong arguments, turned into ours.
fn plainer(text: String) -> String {
    if let Some((_, rest)) = text.split_once("projections require unique expression names but the expression \"") {
        let expression = rest.split('"').next().unwrap_or_default();
        let name = expression.rsplit(" AS ").next().unwrap_or_default();
        return duplicate(name.strip_prefix("input.").unwrap_or(name));
    }
    if let Some((_, rest)) = text.split_once("Function '")
        && let Some((function, rest)) = rest.split_once("' failed to match any signature")
    {
        let received = rest.split_once("received ").map(|(_, r)| r.split(" (").next().unwrap_or_default());
        return match received {
            Some(received) => format!("function {function} does not take {received}"),
            None => format!("function {function} does not take these arguments"),
        };
    }
    text
}

/// An error while rows are worked on.
pub(crate) fn operator_error(error: &DataFusionError) -> OperatorError {
    OperatorError { message: sentence(error.find_root()) }
}

/// DataFusion's message on one line, without its prefixes, backtraces and requests to file a bug, lowercase.
fn sentence(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::ArrowError(e, _) => e.to_string(),
        DataFusionError::Plan(t)
        | DataFusionError::Execution(t)
        | DataFusionError::NotImplemented(t)
        | DataFusionError::ResourcesExhausted(t)
        | DataFusionError::Configuration(t) => t.clone(),
        DataFusionError::Internal(t) => format!("the query engine failed: {t}"),
        DataFusionError::External(e) => e.to_string(),
        other => other.to_string(),
    };
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
    let text = text.split("\nThis issue was likely caused by a bug").next().unwrap_or_default();
    let text = text.split("\n\nbacktrace").next().unwrap_or_default();
    let text: Vec<&str> = text.split_whitespace().collect();
    lowercase(text.join(" ").trim_end_matches('.'))
}

/// The first letter small, unless a word of capitals begins the sentence.
fn lowercase(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_told_and_only_a_near_one() {
        assert_eq!(unknown("column", "prise", &["user", "price"]), "unknown column \"prise\": did you mean \"price\"?");
        assert_eq!(unknown("column", "UserId", &["userid"]), "unknown column \"UserId\": did you mean \"userid\"?");
        assert_eq!(
            unknown("column", "zzz", &["user", "price"]),
            "unknown column \"zzz\": there is \"user\", \"price\""
        );
    }

    #[test]
    fn messages_are_one_lowercase_line() {
        let e = DataFusionError::Plan("Something\n  is wrong.".into());
        assert_eq!(sentence(&e), "something is wrong");
        assert_eq!(lowercase("SQL is odd"), "SQL is odd");
    }

    #[test]
    fn a_parser_error_gives_its_place() {
        let e = SqlError::from_parser(&ParserError::ParserError("Expected: a, found: b at Line: 3, Column: 14".into()));
        assert_eq!((e.line, e.column), (Some(3), Some(14)));
        assert_eq!(e.to_string(), "line 3, column 14: expected: a, found: b");
    }
}
