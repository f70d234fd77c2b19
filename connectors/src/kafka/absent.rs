//! Topics that are subscribed to and do not exist: a pure comparison of names.

/// The names and `^expressions` of `subscribed` that none of `existing` matches.
pub(super) fn absent<'a>(subscribed: &[String], existing: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let is_there = |wanted: &str| match wanted.starts_with('^') {
        // An expression that cannot be read is refused where the client subscribes.
        true => regex::Regex::new(wanted).map_or(true, |e| existing.clone().any(|name| e.is_match(name))),
        false => existing.clone().any(|name| name == wanted),
    };
    subscribed.iter().filter(|wanted| !is_there(wanted)).cloned().collect()
}

/// What is missing, for messages: `topic \`a\` does not exist`.
pub(super) fn describe(absent: &[String]) -> String {
    let one = |name: &String| match name.starts_with('^') {
        true => format!("no topic matches `{name}`"),
        false => format!("topic `{name}` does not exist"),
    };
    absent.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_expressions_without_a_topic_are_absent() {
        let wanted = ["orders", "ordres", "^ord.*s$", "^x"].map(str::to_owned);
        let missing = absent(&wanted, ["orders", "other"].into_iter());
        assert_eq!(missing, ["ordres", "^x"]);
        assert_eq!(describe(&missing), "topic `ordres` does not exist, no topic matches `^x`");
        assert_eq!(describe(&absent(&wanted[..1], ["orders"].into_iter())), "");
    }
}
