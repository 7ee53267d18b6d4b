//! `/v1/config`: show, reload, compare and save the configuration.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use umacvlan_api::{Changes, Problem, Saved};

use super::App;
use super::body::{Force, Text};
use crate::ServiceError;

/// The running configuration, as a file that makes it again.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "configuration",
    responses(
        (status = 200, description = "The configuration.", body = String,
            content_type = "application/toml"),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn config(State(app): State<App>) -> Result<impl IntoResponse, ServiceError> {
    let toml = app.call(|service| service.running_config()).await?;
    Ok(([(CONTENT_TYPE, "application/toml")], toml))
}

/// Reads the configuration file again and carries out its changes. On failure all changes are
/// undone.
#[utoipa::path(
    post,
    path = "/v1/config/reload",
    tag = "configuration",
    responses(
        (status = 200, description = "The changes.", body = Changes),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn reload(State(app): State<App>) -> Result<Answer<Changes>, ServiceError> {
    let changes = app.call(|service| service.reload()).await?;
    Ok(Answer(Changes { changes }))
}

/// The changes that a reload would make, with the file or with the body in its place. Nothing is
/// changed.
#[utoipa::path(
    post,
    path = "/v1/config/diff",
    tag = "configuration",
    request_body(content = Option<String>, content_type = "application/toml"),
    responses(
        (status = 200, description = "The changes.", body = Changes),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn diff(
    State(app): State<App>,
    Text(text): Text,
) -> Result<Answer<Changes>, ServiceError> {
    let changes = app.call(move |service| service.diff(text.as_deref())).await?;
    Ok(Answer(Changes { changes }))
}

/// Writes the running configuration to the configuration file.
#[utoipa::path(
    post,
    path = "/v1/config/save",
    tag = "configuration",
    params(("force" = Option<bool>, Query, description = "Overwrite changes of the file that were \
        not applied.")),
    responses(
        (status = 200, description = "The file.", body = Saved),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn save(
    State(app): State<App>,
    Force(force): Force,
) -> Result<Answer<Saved>, ServiceError> {
    let path = app.call(move |service| service.save(force)).await?;
    Ok(Answer(Saved { path }))
}
