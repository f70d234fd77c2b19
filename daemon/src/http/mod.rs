//! Metrics, health, the API and a page, on a thread and runtime of their own: they answer when the data path is stuck.

mod api;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::ready;
use crate::service::Shared;

/// A running server. It ends with the process.
#[derive(Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
}

#[derive(Clone)]
struct Ctx {
    shared: Arc<Shared>,
    metrics: PrometheusHandle,
}

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
    let router = router(Ctx { shared, metrics });
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
        .with_state(context)
}

async fn metrics(State(context): State<Ctx>) -> impl IntoResponse {
    crate::metrics::refresh_process();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.metrics.render())
}

async fn readyz(State(context): State<Ctx>) -> impl IntoResponse {
    let shared = &context.shared;
    let now = shared.clock.now();
    let troubles: Vec<String> = shared
        .jobs
        .iter()
        .filter_map(|job| {
            let max_age = job.bounds.get().max_age;
            let trouble = ready::trouble(&job.progress.snapshot(), now, max_age, shared.stall_after)?;
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

async fn job(State(context): State<Ctx>, axum::extract::Path(name): axum::extract::Path<String>) -> impl IntoResponse {
    match context.shared.jobs.iter().find(|job| job.name == name) {
        Some(job) => (StatusCode::OK, axum::Json(api::job(&context.shared, job))),
        None => {
            let known: Vec<_> = context.shared.jobs.iter().map(|j| j.name.as_str()).collect();
            (StatusCode::NOT_FOUND, axum::Json(api::error(&format!("no job `{name}`; there are {}", known.join(", ")))))
        }
    }
}
