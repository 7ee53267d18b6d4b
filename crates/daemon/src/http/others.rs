//! The configuration, the log, and how the daemon is.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::App;
use super::body::{Json, Text};
use super::metrics::{self, Scrape};
use super::problem::problem;
use crate::error::ServiceError;
use umacvlan_api::{Changes, Code, Health, LogFilter, Problem, Saved};

/// The running configuration, as a file that would make it again.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "configuration",
    responses(
        (status = 200, description = "The configuration.", body = String,
            content_type = "application/toml"),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn config(State(app): State<App>) -> Result<impl IntoResponse, ServiceError> {
    let toml = app.call(|service| service.running_config()).await?;
    Ok(([(CONTENT_TYPE, "application/toml")], toml))
}

/// Reads the configuration file again and does what has changed in it. On failure everything is
/// as it was.
#[utoipa::path(
    post,
    path = "/v1/config/reload",
    tag = "configuration",
    responses(
        (status = 200, description = "What was done.", body = Changes),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn reload(State(app): State<App>) -> Result<Answer<Changes>, ServiceError> {
    let changes = app.call(|service| service.reload()).await?;
    Ok(Answer(Changes { changes }))
}

/// Tells what a reload would do: of the file, or of the body in place of it. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/config/diff",
    tag = "configuration",
    request_body(content = Option<String>, content_type = "application/toml"),
    responses(
        (status = 200, description = "What would be done.", body = Changes),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn diff(
    State(app): State<App>,
    Text(text): Text,
) -> Result<Answer<Changes>, ServiceError> {
    let changes = app.call(move |service| service.diff(text.as_deref())).await?;
    Ok(Answer(Changes { changes }))
}

/// Writes the running configuration into the configuration file.
#[utoipa::path(
    post,
    path = "/v1/config/save",
    tag = "configuration",
    responses(
        (status = 200, description = "Where it was written to.", body = Saved),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn save(State(app): State<App>) -> Result<Answer<Saved>, ServiceError> {
    let path = app.call(|service| service.save()).await?;
    Ok(Answer(Saved { path }))
}

/// What is logged.
#[utoipa::path(
    get,
    path = "/v1/log",
    tag = "daemon",
    responses(
        (status = 200, description = "The filter.", body = LogFilter),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn log(State(app): State<App>) -> Result<Answer<LogFilter>, ServiceError> {
    let filter = app.backend.log.get();
    let filter = filter.map_err(|error| problem(Code::Internal, format!("{error:#}")))?;
    Ok(Answer(LogFilter { filter }))
}

/// Changes what is logged, from now on and until the daemon ends.
#[utoipa::path(
    put,
    path = "/v1/log",
    tag = "daemon",
    request_body = LogFilter,
    responses(
        (status = 200, description = "The filter as it is now.", body = LogFilter),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn set_log(
    State(app): State<App>,
    Json(LogFilter { filter }): Json<LogFilter>,
) -> Result<Answer<LogFilter>, ServiceError> {
    let set = app.backend.log.set(&filter);
    set.map_err(|error| problem(Code::Malformed, format!("{error:#}")))?;
    log(State(app)).await
}

/// Whether the daemon works: the thread that controls the engine has just answered.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "daemon",
    responses(
        (status = 200, description = "It does.", body = Health),
        (status = 503, description = "It does not.", body = Problem),
    )
)]
pub(super) async fn healthz(State(app): State<App>) -> Result<Answer<Health>, ServiceError> {
    let backend = Arc::clone(&app.backend);
    if answers(&app.health, move || (backend.alive)()).await {
        return Ok(Answer(Health { status: "ok".to_owned(), version: VERSION.to_owned() }));
    }
    let seconds = ALIVE.as_secs();
    let why = format!("the engine does not answer within {seconds} s: restart the daemon");
    Err(problem(Code::Busy, why))
}

/// Whether `alive` says so, and soon enough. If it hangs, one thread waits for it and not one a
/// question.
async fn answers(turn: &Arc<Semaphore>, alive: impl FnOnce() -> bool + Send + 'static) -> bool {
    let asked = async {
        let turn = Arc::clone(turn).acquire_owned().await.ok()?;
        let alive = spawn_blocking(move || {
            let _turn = turn;
            alive()
        });
        alive.await.ok()
    };
    timeout(ALIVE, asked).await.is_ok_and(|alive| alive == Some(true))
}

/// Counters of everything, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "daemon",
    responses(
        (status = 200, description = "OpenMetrics text.", body = String,
            content_type = "application/openmetrics-text"),
        (status = "default", description = "Why not.", body = Problem),
    )
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, ServiceError> {
    let (links, parents) =
        app.call(|service| Ok((service.links(None, None)?, service.parents()?))).await?;
    let scrape = Scrape { links, parents, uptime: app.started.elapsed(), version: VERSION };
    Ok(([(CONTENT_TYPE, metrics::CONTENT)], metrics::render(scrape)))
}

/// How long the engine may take for a sign of life.
const ALIVE: Duration = Duration::from_secs(1);

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn what_hangs_panics_or_says_no_is_not_healthy() {
        let turn = Arc::new(Semaphore::new(1));
        assert!(answers(&turn, || true).await);
        assert!(!answers(&turn, || false).await);
        assert!(!answers(&turn, || panic!("as the test wants it")).await);
        let (release, released) = channel::<()>();
        assert!(!answers(&turn, move || released.recv().is_err()).await);
        // While that one hangs nobody else is sent after it.
        assert!(!answers(&turn, || unreachable!()).await);
        drop(release);
        assert!(answers(&turn, || true).await);
    }
}
