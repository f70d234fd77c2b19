//! The files as a tree of values, each with its place.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{Fault, FaultKind};

/// A place in a file, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<Path>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    pub(crate) fn fault(&self, kind: FaultKind, key: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault {
            file: self.file.to_path_buf(),
            line: self.line,
            column: self.column,
            key: key.into(),
            message: message.into(),
            kind,
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A string; `shown` is what may be shown of it when a reference was expanded in it.
    Text {
        value: String,
        shown: Option<String>,
    },
    /// An integer; `None`: larger than any we take.
    Integer(Option<i128>),
    Float(f64),
    Boolean(bool),
    /// As it stands in the file.
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// A fault is already known: a reference that did not resolve.
    Broken,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// `parent.key`, the key quoted where TOML needs it.
pub(crate) fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let mut path = parent.to_owned();
    if !path.is_empty() {
        path.push('.');
    }
    if bare {
        path.push_str(key);
    } else {
        let short: String = key.chars().take(100).collect();
        let _ = write!(path, "{short:?}");
    }
    path
}

/// Parses a file. With syntax faults there is no tree: half a tree would give faults that are none.
pub(crate) fn parse(file: &Arc<Path>, text: &str) -> Result<Node, Vec<Fault>> {
    let lines = Lines { file, text, starts: line_starts(text) };
    if let Some(at) = too_deep(text) {
        return Err(vec![lines.place(at).fault(FaultKind::Syntax, "", "keys and values are nested too deep")]);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let entries = lines.table(root.get_ref());
        return Ok(Node { place: lines.place(0), value: Value::Table(entries) });
    }
    Err(errors
        .iter()
        .map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            lines.place(at).fault(FaultKind::Syntax, "", format!("not TOML: {}", error.message()))
        })
        .collect())
}

/// Dots in one key, at most.
const MOST_DOTS: u32 = 16;

/// Where a dotted key is too long, if one is. The parser bounds nested brackets but not dotted keys, whose tables it
/// builds and drops by recursion.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut dots) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            // A quoted part of a key, or a value.
            b'"' | b'\'' => {
                at = end_of_string(text, at);
                continue;
            }
            b'.' => dots += 1,
            b'=' | b'[' | b']' | b'{' | b'}' | b',' | b'\n' => dots = 0,
            _ => {}
        }
        if dots > MOST_DOTS {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The byte after the string that begins at `at`; one without an end goes to the end of its line or of the text.
fn end_of_string(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let quote = &text[at..=at];
    let triple = quote.repeat(3);
    let (closing, mut end) = if text[at..].starts_with(&triple) { (&*triple, at + 3) } else { (quote, at + 1) };
    while let Some(byte) = bytes.get(end) {
        if bytes[end..].starts_with(closing.as_bytes()) {
            return end + closing.len();
        }
        match byte {
            b'\\' if quote == "\"" => end += 2,
            b'\n' if closing.len() == 1 => return end,
            _ => end += 1,
        }
    }
    bytes.len()
}

struct Lines<'a> {
    file: &'a Arc<Path>,
    text: &'a str,
    starts: Vec<usize>,
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

impl Lines<'_> {
    fn place(&self, at: usize) -> Place {
        let at = self.text.floor_char_boundary(at);
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file: Arc::clone(self.file), line: small(line), column: small(column) }
    }

    fn table(&self, table: &DeTable<'_>) -> Vec<Entry> {
        let mut entries: Vec<(usize, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let at = key.span().start;
                let place = self.place(at);
                let node = self.node(value, Some(&place));
                (at, Entry { key: key.get_ref().to_string(), place, node })
            })
            .collect();
        // The parser's maps are in the order of names; faults and messages want the file's.
        entries.sort_by_key(|(at, _)| *at);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// `key`: where the value's key stands; a table is found at its name.
    fn node(&self, node: &Spanned<DeValue<'_>>, key: Option<&Place>) -> Node {
        let value = match node.get_ref() {
            DeValue::String(text) => Value::Text { value: text.to_string(), shown: None },
            DeValue::Integer(integer) => Value::Integer(i128::from_str_radix(integer.as_str(), integer.radix()).ok()),
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.node(item, None)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        let place = match (key, &value) {
            (Some(key), Value::Table(_)) => key.clone(),
            _ => self.place(node.span().start),
        };
        Node { place, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<Path> {
        Arc::from(Path::new("a.toml"))
    }

    #[test]
    fn values_have_their_places() {
        let text = "# é\n[job.a]\n  x = \"ü\" # c\n[[job.a.op]]\nq = { \"é\" = \"ü\", e = 1 }\n";
        let root = parse(&file(), text).expect("toml");
        let get = |node: &Node, key: &str| -> Node {
            let Value::Table(entries) = &node.value else { panic!("a table") };
            entries.iter().find(|e| e.key == key).expect(key).node.clone()
        };
        let a = get(&get(&root, "job"), "a");
        assert_eq!((a.place.line, a.place.column), (2, 6));
        let x = get(&a, "x");
        assert_eq!((x.place.line, x.place.column), (3, 7));
        let Value::Array(items) = get(&a, "op").value else { panic!("an array") };
        assert_eq!(items[0].place.line, 4);
        let q = get(&items[0], "q");
        let e = get(&q, "e");
        assert_eq!((e.place.line, e.place.column), (5, 22), "columns count characters");
    }

    #[test]
    fn several_syntax_faults_at_once() {
        let faults = parse(&file(), "a = \nb = 1\nb = 2\nc = [1,\n").expect_err("faults");
        assert!(faults.len() >= 2, "{faults:?}");
        assert!(faults.iter().any(|f| (f.line, f.kind) == (1, FaultKind::Syntax)), "{faults:?}");
        assert!(faults.iter().any(|f| (f.line, f.kind) == (3, FaultKind::Syntax)), "{faults:?}");
    }

    #[test]
    fn depth_is_bounded() {
        let many = 100_000;
        for text in [
            format!("{} = 1", ["a"; 100_000].join(".")),
            format!("[{}]", ["a"; 100_000].join(".")),
            format!("[{}]", ["'a'"; 100_000].join(" . ")),
            format!("x = {{ {} = 1 }}", ["\"a\\\"\""; 100_000].join(".")),
            format!("a = {}1{}", "[".repeat(many), "]".repeat(many)),
            format!("a = {}", "{a=".repeat(many)),
        ] {
            assert!(parse(&file(), &text).is_err());
        }
        let dots = ".".repeat(40);
        for text in [
            format!("a = \"{dots}\" # {dots}"),
            format!("a = \"\"\"\n\"{dots}\\\"\n\"\"\""),
            "a = '\\'\nb.c = 1.5".into(),
        ] {
            assert!(parse(&file(), &text).is_ok(), "dots that are in no key: {text}");
        }
    }
}
