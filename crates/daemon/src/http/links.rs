//! `/v1/links` and `/v1/parents`.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use super::auth::Peer;
use super::body::{Json, Owner, Place, Which};
use crate::ServiceError;
use umacvlan_api::{LinkChange, LinkView, NewLink, ParentView, Problem};

type Answered<T> = Result<Answer<T>, ServiceError>;

/// All links, by ascending number.
#[utoipa::path(
    get,
    path = "/v1/links",
    tag = "links",
    params(("netns" = Option<String>, Query, description = "Only links in this namespace: a \
        name, a path, a process id, or `@caller`.")),
    responses(
        (status = 200, description = "The links.", body = Vec<LinkView>),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn links(State(app): State<App>, place: Place) -> Answered<Vec<LinkView>> {
    app.call(move |service| service.links(place.netns.as_deref(), place.caller)).await.map(Answer)
}

/// Makes a link.
#[utoipa::path(
    post,
    path = "/v1/links",
    tag = "links",
    request_body = NewLink,
    responses(
        (status = 201, description = "The link as it is now.", body = LinkView),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn add_link(
    State(app): State<App>,
    peer: Peer,
    Json(new): Json<NewLink>,
) -> Result<(StatusCode, Answer<LinkView>), ServiceError> {
    let made = app.call(move |service| service.add_link(&new, peer.pid)).await?;
    Ok((StatusCode::CREATED, Answer(made)))
}

/// Removes every link of an owner. That there is none is no problem.
#[utoipa::path(
    delete,
    path = "/v1/links",
    tag = "links",
    params(("owner" = String, Query, description = "Owner tag of the links.")),
    responses(
        (status = 204, description = "The links are removed."),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn remove_owned(
    State(app): State<App>,
    Owner(owner): Owner,
) -> Result<StatusCode, ServiceError> {
    app.call(move |service| service.remove_owned(&owner)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One link.
#[utoipa::path(
    get,
    path = "/v1/links/{name}",
    tag = "links",
    params(
        ("name" = String, Path, description = "Name of the interface, or the name that its owner \
            gave it."),
        ("netns" = Option<String>, Query, description = "Namespace of the link: a name, a path, a \
            process id, or `@caller`. Without it, a link in the client's namespace is preferred, \
            then one in the daemon's, then the only one that its owner gave that name."),
    ),
    responses(
        (status = 200, description = "The link.", body = LinkView),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn link(State(app): State<App>, Which(which): Which) -> Answered<LinkView> {
    app.call(move |service| service.link(&which)).await.map(Answer)
}

/// Changes a link, in the order of the fields of `LinkChange`. The first one refused ends it, and
/// those before it remain.
#[utoipa::path(
    patch,
    path = "/v1/links/{name}",
    tag = "links",
    params(
        ("name" = String, Path, description = "Name of the interface."),
        ("netns" = Option<String>, Query, description = "Namespace of the link, as for GET."),
    ),
    request_body = LinkChange,
    responses(
        (status = 200, description = "The link as it is now.", body = LinkView),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn change_link(
    State(app): State<App>,
    Which(which): Which,
    Json(change): Json<LinkChange>,
) -> Answered<LinkView> {
    app.call(move |service| service.change_link(&which, &change)).await.map(Answer)
}

/// Removes a link.
#[utoipa::path(
    delete,
    path = "/v1/links/{name}",
    tag = "links",
    params(
        ("name" = String, Path, description = "Name of the interface."),
        ("netns" = Option<String>, Query, description = "Namespace of the link, as for GET."),
    ),
    responses(
        (status = 204, description = "The link is removed."),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn remove_link(
    State(app): State<App>,
    Which(which): Which,
) -> Result<StatusCode, ServiceError> {
    app.call(move |service| service.remove_link(&which)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All parents, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/parents",
    tag = "parents",
    responses(
        (status = 200, description = "The parents.", body = Vec<ParentView>),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn parents(State(app): State<App>) -> Answered<Vec<ParentView>> {
    app.call(|service| service.parents()).await.map(Answer)
}
