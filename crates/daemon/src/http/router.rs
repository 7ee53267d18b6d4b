//! All routes. The same list makes the router and its OpenAPI description.

use axum::http::{Method, Uri};
use axum::{Extension, Router, middleware};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Description;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{Base, Document};
use super::problem::problem;
use super::{App, auth, capture, config, events, health, links, log, metrics, openapi};
use crate::ServiceError;
use umacvlan_api::Code;

/// The router.
pub(super) fn router(app: App) -> Router {
    let (router, document) = described();
    router
        .route_layer(middleware::from_fn_with_state(app.clone(), auth::authorize))
        .method_not_allowed_fallback(no_method)
        .fallback(not_found)
        .layer(Extension(Document::new(&document)))
        .with_state(app)
}

/// The routes and their description.
pub(super) fn described() -> (Router<App>, Description) {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(links::links, links::add_link, links::remove_owned))
        .routes(routes!(links::link, links::change_link, links::remove_link))
        .routes(routes!(links::parents))
        .routes(routes!(events::events))
        .routes(routes!(capture::capture))
        .routes(routes!(config::config))
        .routes(routes!(config::reload))
        .routes(routes!(config::diff))
        .routes(routes!(config::save))
        .routes(routes!(log::log, log::set_log))
        .routes(routes!(health::healthz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::openapi))
        .split_for_parts()
}

async fn not_found(uri: Uri) -> ServiceError {
    let path = uri.path();
    problem(Code::NotFound, format!("there is no {path} here: /openapi.json lists all paths"))
}

async fn no_method(method: Method, uri: Uri) -> ServiceError {
    let path = uri.path();
    problem(Code::NoMethod, format!("{path} has no {method}: the header Allow lists its methods"))
}
