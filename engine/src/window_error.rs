//! What a person has to know about a window that an operator refused: which, what of, and what to do.

use crate::operator::{OperatorError, WindowOperator};
use crate::partition::Partition;
use crate::run::RunError;

/// Longest part of a query that is shown.
const QUERY_MAX: usize = 200;
/// Most partitions that are named.
const SHOWN: usize = 5;

/// An error of `operator`, with what the operator does.
pub(crate) fn refused(operator: &dyn WindowOperator, error: OperatorError) -> RunError {
    let query = operator.describe().split_whitespace().collect::<Vec<_>>().join(" ");
    let message = match query.chars().count() {
        0 => error.message,
        n if n > QUERY_MAX => {
            let begin: String = query.chars().take(QUERY_MAX).collect();
            format!("{}; in the query `{begin} …`", error.message)
        }
        _ => format!("{}; in the query `{query}`", error.message),
    };
    RunError::operator(OperatorError { message })
}

/// The same error, with the window it is of: from `from` by partition, to `ends` where the window is cut.
pub(crate) fn within(error: RunError, partitions: &[Partition], from: &[i64], ends: Option<&[i64]>) -> RunError {
    let RunError::Part { part: part @ "operator", reaction, message } = error else { return error };
    let ranges: Vec<_> = match ends {
        Some(ends) => partitions
            .iter()
            .zip(from.iter().zip(ends))
            .filter(|(_, (from, end))| from < end)
            .map(|(p, (from, end))| format!("{p} [{from}, {end})"))
            .collect(),
        None => partitions.iter().zip(from).map(|(p, from)| format!("{p} from {from} on")).collect(),
    };
    let more = ranges.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let ranges = ranges.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let message = format!(
        "{message}, over the window of {ranges}{more}. A query over windows fails as a whole, whichever record is the \
         cause: guard the expression (CASE, NULLIF, TRY_CAST), sort such records out in an operator before it, or pass \
         over them with `tidemill positions JOB --set P=N`"
    );
    RunError::Part { part, reaction, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::OpenWindow;

    struct Sums(&'static str);

    impl WindowOperator for Sums {
        fn schema(&self) -> arrow::datatypes::SchemaRef {
            arrow::datatypes::SchemaRef::new(arrow::datatypes::Schema::empty())
        }
        fn open(&self) -> Box<dyn OpenWindow> {
            unreachable!("only described")
        }
        fn describe(&self) -> String {
            self.0.to_owned()
        }
    }

    #[test]
    fn an_error_names_the_query_the_window_and_the_way_out() {
        let partitions = [Partition::new("t", 0), Partition::new("t", 1)];
        let error = || OperatorError { message: "divide by zero".into() };
        let text =
            within(refused(&Sums("SELECT 1 /\n  x"), error()), &partitions, &[10, 7], Some(&[20, 7])).to_string();
        let begin =
            "operator: divide by zero; in the query `SELECT 1 / x`, over the window of t/0 [10, 20). A query over";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("tidemill positions JOB --set P=N"), "{text}");
        let open = within(refused(&Sums(""), error()), &partitions, &[10, 7], None).to_string();
        assert!(
            open.starts_with("operator: divide by zero, over the window of t/0 from 10 on, t/1 from 7 on."),
            "{open}"
        );
        let other = within(RunError::bug("b"), &partitions, &[1, 2], None).to_string();
        assert_eq!(other, "engine: b", "errors of other parts stay as they are");
    }
}
