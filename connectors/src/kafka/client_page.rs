//! `docs/kafka-client.md`: which properties of the client a job's file may set, from the very lists that decide it.

use std::fmt::Write;

use super::properties::{ALLOWED, CONNECTION, DANGEROUS, OWNED};
use super::sink::properties as sink;

const HEAD: &str = include_str!("client_page_head.md");

/// The page, in Markdown.
#[must_use]
pub fn client_page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Allowed\nTo sources and sinks: identity, connections, TLS and SASL by value.\n\n");
    names(&mut out, CONNECTION);
    out.push_str("\nTo a source beside them:\n\n");
    names(&mut out, ALLOWED);
    out.push_str("\nTo a sink beside them:\n\n");
    names(&mut out, sink::ALLOWED);
    out.push_str(
        "\n## Only with `unsafe_properties = true`\nEvery property that is on no list here. These have a reason of their \
         own:\n\n",
    );
    reasons(&mut out, DANGEROUS);
    out.push_str("\n## Never\nA source sets these itself:\n\n");
    reasons(&mut out, OWNED);
    out.push_str("\nA sink sets these itself:\n\n");
    reasons(&mut out, sink::OWNED);
    out
}

fn names(out: &mut String, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(out, "{}", names.join(", "));
}

fn reasons(out: &mut String, list: &[(&str, &str)]) {
    out.push_str("| property | why |\n|---|---|\n");
    for (name, why) in list {
        let _ = writeln!(out, "| `{name}` | {why} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::properties;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kafka-client.md");

    #[test]
    fn the_page_in_docs_is_this_one() {
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(PATH, client_page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(PATH).unwrap(), client_page(), "run the test again with UPDATE_DOCS=1");
    }

    /// What the page shows in its first example is allowed, to both.
    #[test]
    fn the_example_needs_nothing_unsafe() {
        let (_, block) = HEAD.split_once("properties = {").unwrap();
        let (block, _) = block.split_once(" }\n").unwrap();
        let names = block.split('"').skip(1).step_by(4);
        let given: std::collections::BTreeMap<_, _> = names.map(|name| (name.to_owned(), String::new())).collect();
        assert!(given.contains_key("security.protocol") && given.contains_key("ssl.ca.pem"), "{given:?}");
        assert_eq!(properties::check(&given, false), Vec::<String>::new());
        assert_eq!(sink::check(&given, false), Vec::<String>::new());
    }
}
