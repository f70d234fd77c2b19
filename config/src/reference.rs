//! `${env:NAME}` and `${file:/path}` inside strings.

use std::io::{self, Read as _};
use std::path::Path;

use crate::fault::{Fault, FaultKind};
use crate::near::did_you_mean;
use crate::text::{REDACTED, names_a_secret};
use crate::tree::{Node, Value, join};

/// Where references look: the process, or what a test says.
pub trait Lookup {
    /// The environment variable of this name.
    fn env(&self, name: &str) -> Option<String>;
    /// The text of this file.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The process's own environment and files.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// A secret is not larger; a file that is was named by mistake.
const LARGEST: u64 = 1 << 20;

impl Lookup for System {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1MiB"));
        }
        Ok(text)
    }
}

/// Expands the references in every string below `node`. A string that cannot be is a fault, and broken.
pub(crate) fn expand(node: &mut Node, path: &str, lookup: &dyn Lookup, faults: &mut Vec<Fault>) {
    match &mut node.value {
        Value::Text { value, shown } => match expand_text(value, lookup) {
            Ok(None) => {}
            Ok(Some(expanded)) => {
                let written = std::mem::replace(value, expanded.text);
                *shown = expanded.resolved.then(|| shown_text(path, written));
            }
            Err(message) => {
                faults.push(node.place.fault(FaultKind::Reference, path, message));
                node.value = Value::Broken;
            }
        },
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                expand(item, &format!("{path}[{i}]"), lookup, faults);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                expand(&mut entry.node, &join(path, &entry.key), lookup, faults);
            }
        }
        _ => {}
    }
}

/// What may be shown of a string with references: the string as written, unless a secret of its own may stand in it.
fn shown_text(path: &str, written: String) -> String {
    let only_reference = written.starts_with("${") && written.find('}') == Some(written.len() - 1);
    if names_a_secret(path) && !only_reference { REDACTED.into() } else { written }
}

struct Expanded {
    text: String,
    /// Whether a reference was resolved; else there were only escapes.
    resolved: bool,
}

/// `None`: nothing to expand. `$${` is a plain `${`.
fn expand_text(text: &str, lookup: &dyn Lookup) -> Result<Option<Expanded>, String> {
    let mut out = String::new();
    let (mut rest, mut changed, mut resolved) = (text, false, false);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            changed = true;
            continue;
        }
        out.push_str(before);
        let name_len = from[2..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len() - 2);
        let (kind, after) = from[2..].split_at(name_len);
        let Some(after) = after.strip_prefix(':') else {
            // Not of our kind: `${` in a query or a pattern.
            out.push_str("${");
            rest = &from[2..];
            continue;
        };
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("the reference ${{{kind}: has no closing '}}'; write $${{ for a plain ${{"));
        };
        out.push_str(&resolve(kind, name, lookup)?);
        rest = after;
        (changed, resolved) = (true, true);
    }
    out.push_str(rest);
    Ok(changed.then_some(Expanded { text: out, resolved }))
}

fn resolve(kind: &str, name: &str, lookup: &dyn Lookup) -> Result<String, String> {
    match kind {
        "env" => lookup.env(name).ok_or_else(|| {
            format!("${{env:{name}}}: the environment variable is not set (or not UTF-8); set it before the start")
        }),
        "file" => match lookup.file(Path::new(name)) {
            // Editors and `echo` end a file with a line break that is no part of the secret.
            Ok(text) => Ok(text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t)).to_owned()),
            Err(error) => Err(format!("${{file:{name}}}: the file cannot be read: {error}")),
        },
        _ => {
            let near = did_you_mean(kind, ["env", "file"]).map(|near| format!("; {near}")).unwrap_or_default();
            Err(format!(
                "expected ${{env:NAME}} or ${{file:/path}}, found ${{{kind}:…}}{near}; write $${{ for a plain ${{"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Lookup for Fixed {
        fn env(&self, name: &str) -> Option<String> {
            (name == "PW").then(|| "hunter2".into())
        }
        fn file(&self, path: &Path) -> io::Result<String> {
            if path == Path::new("/run/pw") { Ok("s3cret\r\n".into()) } else { Err(io::ErrorKind::NotFound.into()) }
        }
    }

    #[test]
    fn references_are_expanded() {
        for (text, expanded) in [
            ("plain $5 {x}", None),
            ("a{1,2} ${x} ${", None),
            ("${env:PW}", Some("hunter2")),
            ("${file:/run/pw}", Some("s3cret")),
            ("x${env:PW}-${file:/run/pw}y", Some("xhunter2-s3crety")),
            ("$${env:PW}", Some("${env:PW}")),
        ] {
            assert_eq!(expand_text(text, &Fixed).expect(text).map(|e| e.text).as_deref(), expanded, "{text}");
        }
    }

    #[test]
    fn what_a_reference_gives_is_not_expanded_again() {
        struct Nested;
        impl Lookup for Nested {
            fn env(&self, _: &str) -> Option<String> {
                Some("${file:/etc/passwd}".into())
            }
            fn file(&self, _: &Path) -> io::Result<String> {
                panic!("not asked")
            }
        }
        let expanded = expand_text("${env:A}", &Nested).expect("resolves").expect("changed");
        assert_eq!(expanded.text, "${file:/etc/passwd}");
    }

    #[test]
    fn what_cannot_be_resolved_says_why() {
        for (text, part) in [
            ("${env:NOPE}", "${env:NOPE}: the environment variable is not set"),
            ("${file:/nope}", "${file:/nope}: the file cannot be read"),
            ("${evn:PW}", "did you mean \"env\""),
            ("${vault:x}", "expected ${env:NAME} or ${file:/path}, found ${vault:…}; write $${"),
            ("${env:PW", "no closing '}'"),
        ] {
            let error = expand_text(text, &Fixed).map(drop).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
