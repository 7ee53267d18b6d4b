//! `/v1/log`: show and change the log filter.

use axum::Json as Answer;
use axum::extract::State;
use umacvlan_api::{Code, LogFilter, Problem};

use super::App;
use super::body::Json;
use super::problem::problem;
use crate::ServiceError;

/// The log filter.
#[utoipa::path(
    get,
    path = "/v1/log",
    tag = "daemon",
    responses(
        (status = 200, description = "The filter.", body = LogFilter),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn log(State(app): State<App>) -> Result<Answer<LogFilter>, ServiceError> {
    Ok(Answer(LogFilter { filter: app.backend.log.get() }))
}

/// Changes the log filter until the daemon ends.
#[utoipa::path(
    put,
    path = "/v1/log",
    tag = "daemon",
    request_body = LogFilter,
    responses(
        (status = 200, description = "The new filter.", body = LogFilter),
        (status = "default", description = "The problem.", body = Problem),
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
