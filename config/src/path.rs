//! Paths of keys: `job.orders.operator[0].query`, `job.orders.source.properties."client.id"`.

/// The path one step up; `None` at the top.
pub(crate) fn parent(path: &str) -> Option<&str> {
    let (mut quoted, mut escaped, mut last) = (false, false, None);
    for (at, c) in path.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => last = Some(at),
            _ => {}
        }
    }
    match last {
        Some(at) => path.get(..at),
        None if path.is_empty() => None,
        None => Some(""),
    }
}

/// Whether `path` is `above` or lies under it.
pub(crate) fn is_under(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_up() {
        for (path, up) in [
            ("a.b[0].c", Some("a.b[0]")),
            ("a.b[0]", Some("a.b")),
            ("a.\"b.c[1]\"", Some("a")),
            ("a.\"b\\\".c\".d", Some("a.\"b\\\".c\"")),
            ("a", Some("")),
            ("", None),
        ] {
            assert_eq!(parent(path), up, "{path}");
        }
    }

    #[test]
    fn under() {
        assert!(is_under("a.b", "a") && is_under("a[0]", "a") && is_under("a", "a") && is_under("a", ""));
        assert!(!is_under("ab", "a") && !is_under("a", "a.b"));
    }
}
