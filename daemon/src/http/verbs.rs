//! The API's answers, and what changes something.

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidemill_config as config;
use tidemill_engine::tuning::TuningMode;

use super::{Ctx, api, guard};
use crate::jobs::RunningJob;
use crate::supervisor::{Refused, Verb};
use crate::wire;

/// Who asks through the API, in the words of logs and reasons.
const WHO: &str = "a person through the API";

/// Lets only those change something who may.
pub(super) async fn guarded(State(context): State<Ctx>, request: Request, next: Next) -> Response {
    if !request.method().is_safe() {
        let live = context.shared.live();
        let ground = guard::Ground { address: context.address, token: live.api_token.as_deref() };
        if let Err((status, why)) = guard::check(ground, request.headers()) {
            tracing::warn!(path = request.uri().path(), status = status.as_u16(), why, "request refused");
            let mut response = fail(status, &why);
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            return response;
        }
    }
    next.run(request).await
}

pub(super) async fn job_verb(State(context): State<Ctx>, Path((name, verb)): Path<(String, String)>) -> Response {
    let Some(verb) = Verb::find(&verb) else { return no_verb(&verb) };
    match context.shared.asking.verb(&name, verb, WHO.into()).await {
        Ok(done) => (StatusCode::ACCEPTED, axum::Json(json!({"job": name, "verb": verb.as_str(), "done": done})))
            .into_response(),
        Err(refused) => refuse(&context, &refused),
    }
}

pub(super) async fn group_verb(State(context): State<Ctx>, Path((name, verb)): Path<(String, String)>) -> Response {
    let Some(verb) = Verb::find(&verb) else { return no_verb(&verb) };
    if !context.shared.live().groups.contains_key(&name) {
        return no_group(&context, &name);
    }
    let (mut jobs, mut all) = (Map::new(), true);
    for job in context.shared.jobs().iter().filter(|job| &*job.settings.group == name.as_str()) {
        let answer = context.shared.asking.verb(&job.name, verb, format!("{WHO}, for group `{name}`")).await;
        all &= answer.is_ok();
        let answer = match answer {
            Ok(done) => json!({"done": done}),
            Err(refused) => json!({"error": words(&context, &refused).1}),
        };
        jobs.insert(job.name.clone(), answer);
    }
    let status = if all { StatusCode::ACCEPTED } else { StatusCode::CONFLICT };
    let mut body = json!({"group": name, "verb": verb.as_str(), "jobs": jobs});
    if !all {
        body["error"] = "not all jobs of the group did it: see `jobs`".into();
    }
    (status, axum::Json(body)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadQuery {
    #[serde(default)]
    check: bool,
}

pub(super) async fn reload(
    State(context): State<Ctx>,
    query: Result<Query<ReloadQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return fail(StatusCode::BAD_REQUEST, "expected no parameter but check=true or check=false");
    };
    match context.shared.asking.reload(query.check).await {
        Ok(done) => (StatusCode::OK, axum::Json(json!({"applied": !query.check, "changes": done}))).into_response(),
        Err(refused) => refuse(&context, &refused),
    }
}

/// `PATCH` changes the bounds that are given, `PUT` sets all of them.
pub(super) async fn set_window(
    State(context): State<Ctx>,
    method: axum::http::Method,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let Some(job) = context.shared.job(&name) else { return refuse(&context, &Refused::NoJob(name)) };
    let (window, frozen) = match window(&job, &body, method == axum::http::Method::PUT) {
        Err(why) => return fail(StatusCode::BAD_REQUEST, &why),
        Ok(asked) => asked,
    };
    let tuning = job.tuning.as_ref().filter(|tuning| tuning.mode() == TuningMode::On);
    match (frozen, tuning) {
        (None, _) => {}
        (Some(frozen), Some(tuning)) => {
            tuning.freeze(frozen);
            tracing::info!(job = name, frozen, "tuning of the window set by {WHO}");
        }
        (Some(_), None) => {
            let why = format!("job `{name}` has no tuner that chooses its windows: nothing to freeze or thaw");
            return fail(StatusCode::CONFLICT, &why);
        }
    }
    let former = job.bounds.set(wire::window(&window));
    if former != job.bounds.caps() {
        tracing::info!(job = name, window = ?wire::window(&window), ?former, "window bounds set by {WHO}");
    }
    axum::Json(json!({"job": name, "window": api::window(&job), "former": api::bounds(&former)})).into_response()
}

/// The window settings that a body asks for, and whether the tuner is to be held (`None`: as it is).
fn window(job: &RunningJob, body: &[u8], whole: bool) -> Result<(config::Window, Option<bool>), String> {
    const KEYS: &[&str] = &["max_age", "max_rows", "max_bytes", "idle", "tuning"];
    let expected = || {
        format!(
            "expected a JSON object with {}, such as {{\"max_age\": \"5s\", \"max_bytes\": \"64MiB\", \"idle\": null}}",
            if whole {
                "max_age, max_rows, max_bytes and perhaps idle and tuning"
            } else {
                "one or more of max_age, max_rows, max_bytes, idle, tuning"
            }
        )
    };
    let mut given: Map<String, Value> = serde_json::from_slice(body).map_err(|e| format!("{}; {e}", expected()))?;
    if let Some(unknown) = given.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key `{unknown}`: {}", expected()));
    }
    if given.is_empty() || (whole && KEYS[..3].iter().any(|key| !given.contains_key(*key))) {
        return Err(expected());
    }
    let frozen = match given.remove("tuning").as_ref().map(|told| told.as_str()) {
        None => None,
        Some(Some("frozen")) => Some(true),
        Some(Some("on")) => Some(false),
        Some(_) => return Err("tuning: expected \"frozen\" (hold the window as it is) or \"on\"".into()),
    };
    let caps = job.bounds.caps();
    let mut window = job.settings.window.clone();
    (window.max_age, window.max_rows, window.max_bytes, window.idle) =
        (caps.max_age, caps.max_rows, caps.max_bytes, caps.idle);
    if whole {
        window.idle = None;
    }
    let Ok(Value::Object(mut merged)) = serde_json::to_value(&window) else {
        return Err("window settings have no JSON; this is a bug".into());
    };
    for (key, value) in given {
        if !(value.is_null() && key == "idle") {
            let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            serde_json::from_value::<config::Window>(alone).map_err(|e| format!("{key}: {e}"))?;
        }
        // A null takes the bound away, and only `idle` can be without.
        match value {
            Value::Null if key == "idle" => merged.remove("idle"),
            value => merged.insert(key, value),
        };
    }
    let window: config::Window = serde_json::from_value(Value::Object(merged)).map_err(|e| e.to_string())?;
    let zero = [
        ("max_age", window.max_age.is_zero()),
        ("max_rows", window.max_rows == 0),
        ("max_bytes", window.max_bytes == 0),
        ("idle", window.idle.is_some_and(|idle| idle.is_zero())),
    ];
    match zero.iter().find(|(_, zero)| *zero) {
        Some((key, _)) => Err(format!("{key}: expected more than 0")),
        None => Ok((window, frozen)),
    }
}

/// An error as JSON.
pub(super) fn fail(status: StatusCode, why: &str) -> Response {
    (status, axum::Json(api::error(why))).into_response()
}

/// Something asked of the supervisor that it does not do.
pub(super) fn refuse(context: &Ctx, refused: &Refused) -> Response {
    let (status, why) = words(context, refused);
    let mut body = api::error(&why);
    if let Refused::Faults(faults) = refused {
        let fault = |f: &config::Fault| json!({"file": f.file, "line": f.line, "column": f.column, "key": f.key, "message": f.message});
        body["faults"] = faults.iter().map(fault).collect();
    }
    (status, axum::Json(body)).into_response()
}

fn words(context: &Ctx, refused: &Refused) -> (StatusCode, String) {
    match refused {
        Refused::NoJob(name) => {
            let known: Vec<_> = context.shared.jobs().iter().map(|job| job.name.clone()).collect();
            (StatusCode::NOT_FOUND, format!("no job `{name}`; there are {}", known.join(", ")))
        }
        Refused::Conflict(why) => (StatusCode::CONFLICT, why.clone()),
        Refused::Busy(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
        Refused::Faults(faults) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the configuration has {} faults, nothing was changed", faults.len()),
        ),
    }
}

fn no_verb(verb: &str) -> Response {
    let known: Vec<_> = Verb::ALL.into_iter().map(Verb::as_str).collect();
    fail(StatusCode::NOT_FOUND, &format!("no verb `{verb}`; there are {}", known.join(", ")))
}

/// There is no such group.
pub(super) fn no_group(context: &Ctx, name: &str) -> Response {
    let known: Vec<_> = context.shared.live().groups.into_keys().collect();
    fail(StatusCode::NOT_FOUND, &format!("no group `{name}`; there are {}", known.join(", ")))
}
