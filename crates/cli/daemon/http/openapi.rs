//! The description of the service, made from the handlers and the types themselves.

use axum::extract::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use hyper::body::Bytes;
use utoipa::OpenApi;

/// What the document says beside the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "umacvlan",
        description = "Sub-interfaces on parent NICs, as macvlan makes them, forwarded in user \
            space. Served on a Unix socket. GET is for whoever may connect, everything else for \
            root and one group.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "links", description = "Sub-interfaces."),
        (name = "parents", description = "The interfaces below them."),
        (name = "configuration", description = "The configuration file and what runs."),
        (name = "daemon", description = "The daemon itself."),
    )
)]
pub(super) struct Base;

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
pub(super) async fn openapi(Extension(Document(text)): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

/// The document as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn new(document: &utoipa::openapi::OpenApi) -> Self {
        // Plain data has no way to fail.
        Self(serde_json::to_vec(document).unwrap_or_default().into())
    }
}
