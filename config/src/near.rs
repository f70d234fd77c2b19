//! The nearest known name.

/// `did you mean "…"`, if one of the known names is near enough to be a slip of the same word.
pub(crate) fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(found, known).map(|name| format!("did you mean {name:?}"))
}

/// The known name at the least edit distance, at most a third of its length (at least 1); of several, one of the same
/// letters: `int46` is rather `int64` than `int16`.
pub(crate) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name this long is no slip, and the distance costs its square.
    if found.is_empty() || found.len() > 100 {
        return None;
    }
    let lower = found.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min_by_key(|(distance, name)| (*distance, letters(name) != letters(&lower)))
        .map(|(_, name)| name)
}

fn letters(name: &str) -> Vec<char> {
    let mut letters: Vec<char> = name.chars().collect();
    letters.sort_unstable();
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_and_none() {
        let known = ["max_age", "max_rows", "max_bytes", "idle"];
        assert_eq!(nearest("max_agee", known), Some("max_age"));
        assert_eq!(nearest("max-rows", known), Some("max_rows"));
        assert_eq!(nearest("MaxAge", known), Some("max_age"));
        assert_eq!(nearest("freshness", known), None);
        assert_eq!(nearest("int46", ["int16", "int64"]), Some("int64"));
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"max_age".repeat(1000), known), None);
    }
}
