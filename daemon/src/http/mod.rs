//! Metrics, health, the API and a page, on a thread and runtime of their own: they answer when the data path is stuck.

mod api;
mod guard;
mod openapi;
mod verbs;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::jobs::{RunningJob, Shared};
use crate::ready;
use crate::supervisor::Refused;

/// A running server. It ends with the process.
#[derive(Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
}

/// The OpenAPI document of the API: `docs/openapi.json`.
#[must_use]
pub fn openapi_document() -> serde_json::Value {
    openapi::document()
}

#[derive(Clone)]
struct Ctx {
    shared: Arc<Shared>,
    metrics: PrometheusHandle,
    address: SocketAddr,
}

/// Most bytes of a request's body: settings of a window are small.
const MOST_BODY: usize = 64 << 10;

/// Takes the address.
///
/// # Errors
/// When somebody else has it.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on daemon.http = \"{address}\": choose another address, or port 0 for any free one")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves on a thread of its own.
///
/// # Errors
/// When the operating system gives no thread.
pub fn serve(listener: TcpListener, shared: Arc<Shared>, metrics: PrometheusHandle) -> anyhow::Result<Http> {
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upkeep = metrics.clone();
    let router = router(Ctx { shared, metrics, address });
    std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(async {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    upkeep.run_upkeep();
                }
            });
            let served = async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await };
            if let Err(error) = served.await {
                tracing::error!(%error, "http server ended");
            }
        });
    })?;
    Ok(Http { address })
}

fn router(context: Ctx) -> Router {
    Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/api/jobs", get(jobs))
        .route("/api/jobs/{name}", get(job))
        .route("/api/jobs/{name}/positions", get(positions))
        .route("/api/jobs/{name}/tuning", get(tuning))
        .route("/api/jobs/{name}/window", get(window).put(verbs::set_window).patch(verbs::set_window))
        .route("/api/jobs/{name}/{verb}", post(verbs::job_verb))
        .route("/api/groups", get(groups))
        .route("/api/groups/{name}", get(group))
        .route("/api/groups/{name}/{verb}", post(verbs::group_verb))
        .route("/api/reload", post(verbs::reload))
        .route("/api/openapi.json", get(|| async { axum::Json(openapi::document()) }))
        .fallback(|| async { verbs::fail(StatusCode::NOT_FOUND, "no such path: see /api/openapi.json") })
        .method_not_allowed_fallback(|| async {
            verbs::fail(StatusCode::METHOD_NOT_ALLOWED, "not with this method: see /api/openapi.json")
        })
        .layer(axum::middleware::from_fn_with_state(context.clone(), verbs::guarded))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(context)
}

async fn metrics(State(context): State<Ctx>) -> impl IntoResponse {
    crate::metrics::refresh_process();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.metrics.render())
}

async fn readyz(State(context): State<Ctx>) -> impl IntoResponse {
    let shared = &context.shared;
    let now = shared.clock.now();
    let stall_after = shared.live().stall_after;
    let troubles: Vec<String> = shared
        .jobs()
        .iter()
        .filter_map(|job| {
            let max_age = job.bounds.get().max_age;
            let trouble = ready::trouble(&job.progress.snapshot(), now, max_age, stall_after)?;
            Some(format!("job {}: {trouble}\n", job.name))
        })
        .collect();
    if troubles.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles.concat())
    }
}

async fn jobs(State(context): State<Ctx>) -> impl IntoResponse {
    axum::Json(api::jobs(&context.shared))
}

async fn job(State(context): State<Ctx>, Path(name): Path<String>) -> Response {
    of_job(&context, name, |job| api::job(&context.shared, job))
}

async fn positions(State(context): State<Ctx>, Path(name): Path<String>) -> Response {
    of_job(
        &context,
        name,
        |job| serde_json::json!({"job": job.name, "positions": api::partitions(&job.progress.snapshot())}),
    )
}

async fn tuning(State(context): State<Ctx>, Path(name): Path<String>) -> Response {
    of_job(&context, name, api::tuning)
}

async fn window(State(context): State<Ctx>, Path(name): Path<String>) -> Response {
    of_job(&context, name, |job| serde_json::json!({"job": job.name, "window": api::window(job)}))
}

fn of_job(context: &Ctx, name: String, show: impl FnOnce(&RunningJob) -> serde_json::Value) -> Response {
    match context.shared.job(&name) {
        Some(job) => axum::Json(show(&job)).into_response(),
        None => verbs::refuse(context, &Refused::NoJob(name)),
    }
}

async fn groups(State(context): State<Ctx>) -> impl IntoResponse {
    axum::Json(api::groups(&context.shared))
}

async fn group(State(context): State<Ctx>, Path(name): Path<String>) -> Response {
    match context.shared.live().groups.get(&name) {
        Some(settings) => axum::Json(api::group(&context.shared, &name, settings)).into_response(),
        None => verbs::no_group(&context, &name),
    }
}
