//! The OpenAPI document of the API: `docs/openapi.json`, served at `/api/openapi.json`.
//!
//! [`ROUTES`] is what the document is made from; a test asks the router for each of them.

use serde_json::{Map, Value, json};

use crate::supervisor::Verb;

/// One operation.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    about: &'static str,
    /// Statuses beside those that every operation of its kind has.
    answers: &'static [(&'static str, &'static str)],
}

const fn route(
    method: &'static str,
    path: &'static str,
    about: &'static str,
    answers: &'static [(&'static str, &'static str)],
) -> Route {
    Route { method, path, about, answers }
}

const NO_JOB: (&str, &str) = ("404", "There is no such job.");
const NO_GROUP: (&str, &str) = ("404", "There is no such group.");
const WRONG_BODY: (&str, &str) = ("400", "The body is wrong; the error says how.");
const NO_TUNER: (&str, &str) = ("409", "`tuning` is given, and no tuner chooses the windows of this job.");
const CONFLICT: (&str, &str) = ("409", "Not in the state that the job is in; the error says which.");

/// All operations. `{verb}` stands for each verb.
pub(super) const ROUTES: &[Route] = &[
    route("get", "/api/jobs", "All jobs.", &[("200", "Instance, version, and every job as under its own path.")]),
    route(
        "get",
        "/api/jobs/{name}",
        "One job: state, since when and why, counts, lag, window bounds, partitions, the last commits and errors.",
        &[("200", "The job."), NO_JOB],
    ),
    route(
        "get",
        "/api/jobs/{name}/positions",
        "Positions as the sink holds them, of the partitions that are assigned here.",
        &[("200", "Topic, partition, position, end and lag of each."), NO_JOB],
    ),
    route(
        "get",
        "/api/jobs/{name}/tuning",
        "What the tuner of its windows has learned, chose and predicts, and why, in words too.",
        &[("200", "The tuner, or null for a job without a freshness, and sentences."), NO_JOB],
    ),
    route(
        "get",
        "/api/jobs/{name}/window",
        "The bounds of its windows.",
        &[("200", "The bounds that hold, the caps, and what becomes of the tuner's choices."), NO_JOB],
    ),
    route(
        "put",
        "/api/jobs/{name}/window",
        "Sets all bounds of its windows. They hold at once, without a new run, until they are changed again, in the \
         configuration too, or the daemon restarts. `tuning`: `frozen` holds the window that a tuner chose last, `on` \
         lets it choose again.",
        &[("200", "The bounds, and the former ones."), WRONG_BODY, NO_JOB, NO_TUNER],
    ),
    route(
        "patch",
        "/api/jobs/{name}/window",
        "Changes the bounds that are given.",
        &[("200", "The bounds, and the former ones."), WRONG_BODY, NO_JOB, NO_TUNER],
    ),
    route(
        "post",
        "/api/jobs/{name}/{verb}",
        "Tells a job to do something. It is begun, not done, when the answer comes: the job's state says how far it is.",
        &[("202", "What happens now."), NO_JOB, CONFLICT],
    ),
    route("get", "/api/groups", "All groups with their jobs and limits.", &[("200", "The groups.")]),
    route("get", "/api/groups/{name}", "One group.", &[("200", "The group."), NO_GROUP]),
    route(
        "post",
        "/api/groups/{name}/{verb}",
        "Tells each job of a group to do something.",
        &[("202", "What happens now, by job."), NO_GROUP, ("409", "Not all jobs did it; by job.")],
    ),
    route(
        "post",
        "/api/reload",
        "Takes over the configuration as its files are now, by the smallest change, or not at all. With `check=true` \
         nothing is changed: the answer says what would be.",
        &[
            ("200", "Jobs added, removed, restarted, with a new window and unchanged."),
            ("400", "The query is wrong."),
            ("409", "The daemon has no configuration file, or is stopping."),
            ("422", "The configuration has faults: all of them, with file, line, column and key. Nothing was changed."),
        ],
    ),
    route("get", "/api/openapi.json", "This document.", &[("200", "OpenAPI 3.1.")]),
];

fn about(verb: Verb) -> &'static str {
    match verb {
        Verb::Pause => "Commits what is read and takes no more; partitions and membership are kept. State: `paused`.",
        Verb::Resume => "Goes on after a pause; a job that is stopped, failed or finished starts.",
        Verb::Drain => "Commits what is read and stops. State: `draining`, then `stopped`.",
        Verb::Restart => "Commits what is read, stops and starts anew; a job that is over starts.",
        Verb::Cut => "Ends the open window now, if it has anything, and commits it.",
    }
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let verbs: Vec<Option<Verb>> =
            if route.path.contains("{verb}") { Verb::ALL.into_iter().map(Some).collect() } else { vec![None] };
        for verb in verbs {
            let path = route.path.replace("{verb}", verb.map_or("", Verb::as_str));
            let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
            item[route.method] = operation(route, &path, verb);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidemill",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Watch and control the jobs of a running daemon. Reading asks for nothing. What changes \
                something wants `Content-Type: application/json`, also without a body, a Host header that names \
                loopback where the daemon listens there, no foreign Origin, and the bearer token where `[daemon] \
                api_token` is set; beyond loopback without a token it is refused.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9464"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string", "description": "What is wrong and what to do."}},
                },
                "Window": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "max_age": {"type": "string", "examples": ["5s"]},
                        "max_rows": {"type": "integer", "minimum": 1},
                        "max_bytes": {"type": ["string", "integer"], "examples": ["64MiB"]},
                        "idle": {"type": ["string", "null"], "examples": ["200ms"]},
                        "tuning": {"type": "string", "enum": ["frozen", "on"]},
                    },
                },
            },
        },
    })
}

fn operation(route: &Route, path: &str, verb: Option<Verb>) -> Value {
    let error = || json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    let mut responses = Map::new();
    for (status, about) in route.answers {
        let content =
            if status.starts_with('2') { json!({"application/json": {"schema": {"type": "object"}}}) } else { error() };
        responses.insert((*status).to_owned(), json!({"description": about, "content": content}));
    }
    let mut operation = json!({"summary": verb.map_or(route.about, about)});
    if route.method != "get" {
        for (status, about) in [
            ("401", "The bearer token is missing or wrong."),
            ("403", "Not from this host, not from this origin, or beyond loopback without a token."),
            ("415", "Content-Type is not application/json."),
            ("503", "The supervisor is busy: try again."),
        ] {
            responses.insert(status.to_owned(), json!({"description": about, "content": error()}));
        }
        operation["security"] = json!([{"token": []}, {}]);
    }
    if path.contains("{name}") {
        operation["parameters"] =
            json!([{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}]);
    }
    if path.ends_with("/window") && route.method != "get" {
        let schema = json!({"$ref": "#/components/schemas/Window"});
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    if path == "/api/reload" {
        operation["parameters"] = json!([{"name": "check", "in": "query", "schema": {"type": "boolean"}}]);
    }
    operation["responses"] = Value::Object(responses);
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let made = format!("{:#}\n", document());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), made, "run the test again with UPDATE_DOCS=1");
    }
}
