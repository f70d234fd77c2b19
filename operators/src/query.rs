//! From text to one read-only query over `input`, or a refusal that says where and why.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Spanned, Statement as Ast, Visit, Visitor,
    visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::error::{SqlError, unknown};

/// The only table.
pub const TABLE: &str = "input";

/// Nesting of parentheses, subqueries and operators that the parser follows.
const NESTING_MAX: usize = 50;

/// Levels of one expression, `a + b + c` having two above its leaves.
const DEPTH_MAX: usize = 200;

/// An expression's own text becomes its output name up to this many characters.
const NAME_CHARS_MAX: usize = 120;

/// Parses `text`: exactly one `SELECT` (with `WITH`, `UNION`, …) that reads `input` and the table functions named in
/// `table_functions`. Unnamed output expressions get their own text as names.
pub fn parse(text: &str, bytes_max: usize, table_functions: &[&str]) -> Result<Statement, SqlError> {
    if text.len() > bytes_max {
        return Err(SqlError::new(format!("the query is {} bytes long, {bytes_max} are allowed", text.len())));
    }
    let mut statements = DFParserBuilder::new(text)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(NESTING_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|e: DataFusionError| {
            SqlError::from_datafusion(&e, &arrow::datatypes::Schema::empty()).or_at_the_end_of(text)
        })?;
    let Some(statement) = statements.pop_front() else {
        return Err(SqlError::new("the query is empty: expected SELECT … FROM input"));
    };
    if let Some(second) = statements.front() {
        let at = match second {
            Statement::Statement(ast) => ast.span().start,
            _ => Location { line: 0, column: 0 },
        };
        return Err(SqlError::at("a second statement: one query is expected", at));
    }
    let Statement::Statement(ast) = statement else {
        return Err(not_a_query(&first_word(text)));
    };
    let Ast::Query(mut query) = *ast else {
        return Err(not_a_query(&first_word(text)));
    };
    if !query.locks.is_empty()
        || query.for_clause.is_some()
        || query.format_clause.is_some()
        || query.settings.is_some()
    {
        // DataFusion passes over these, and what is written but not done misleads.
        return Err(SqlError::new("FOR, FORMAT and SETTINGS behind a query have no meaning here: leave them out"));
    }
    depth_within(&query, DEPTH_MAX)?;
    name_outputs(&mut query.body)?;
    let statement = Statement::Statement(Box::new(Ast::Query(query)));
    only_input(&statement, table_functions)?;
    Ok(statement)
}

/// Planning takes time by the square of an expression's depth and more; a chain of `OR`s is as deep as it is long.
fn depth_within(query: &Query, max: usize) -> Result<(), SqlError> {
    struct Depth {
        now: usize,
        max: usize,
    }
    impl Visitor for Depth {
        type Break = ();
        fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
            self.now += 1;
            if self.now > self.max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
            self.now -= 1;
            ControlFlow::Continue(())
        }
    }
    if query.visit(&mut Depth { now: 0, max }).is_break() {
        return Err(SqlError::new(format!(
            "an expression has more than {max} levels: split it (a long chain of OR is an IN list)"
        )));
    }
    Ok(())
}

fn not_a_query(word: &str) -> SqlError {
    SqlError {
        message: format!("{word} is not allowed: a job only reads, with one SELECT over {TABLE:?}"),
        line: Some(1),
        column: Some(1),
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().trim_end_matches(';').to_uppercase()
}

/// Every table that is read is `input`.
fn only_input(statement: &Statement, table_functions: &[&str]) -> Result<(), SqlError> {
    let planned = |e: DataFusionError| SqlError::from_datafusion(&e, &arrow::datatypes::Schema::empty());
    let (tables, _) = resolve_table_references(statement, false).map_err(planned)?;
    for table in &tables {
        let name = table.to_string();
        if name == TABLE || table_functions.contains(&name.as_str()) {
            continue;
        }
        let message = unknown("table", table.table(), &[TABLE]);
        let at = match statement {
            Statement::Statement(ast) => place_of(ast, &name),
            _ => None,
        };
        return Err(SqlError::at(message, at.unwrap_or(Location { line: 0, column: 0 })));
    }
    if tables.iter().any(|t| t.to_string() == TABLE) {
        return Ok(());
    }
    Err(SqlError::new(format!("the query does not read {TABLE:?}: expected FROM {TABLE}")))
}

fn place_of(ast: &Ast, table: &str) -> Option<Location> {
    let found = visit_relations(ast, |name: &ObjectName| {
        if name.to_string().replace('"', "") == table {
            ControlFlow::Break(name.span().start)
        } else {
            ControlFlow::Continue(())
        }
    });
    match found {
        ControlFlow::Break(at) => Some(at),
        ControlFlow::Continue(()) => None,
    }
}

/// Output names come from the leftmost `SELECT`. DataFusion would name an expression by its plan
/// (`input.price * Int64(2)`), which changes between versions: a table's column may not.
fn name_outputs(body: &mut SetExpr) -> Result<(), SqlError> {
    // A loop, as unions of unions nest on the left.
    let mut body = body;
    loop {
        match body {
            SetExpr::Select(select) => return name_items(select),
            SetExpr::Query(query) => {
                let inner: &mut Query = query;
                body = &mut inner.body;
            }
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return Ok(()),
        }
    }
}

fn name_items(select: &mut Select) -> Result<(), SqlError> {
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) || is_unnest(expr) {
            continue;
        }
        let text = expr.to_string();
        if text.chars().count() > NAME_CHARS_MAX {
            let message =
                format!("this expression needs a name: add AS (its text is over {NAME_CHARS_MAX} characters)");
            return Err(SqlError::at(message, expr.span().start));
        }
        let alias = Ident::with_quote('"', text);
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
    Ok(())
}

/// `unnest(struct)` gives several columns and cannot have one name.
fn is_unnest(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("unnest"))
}
