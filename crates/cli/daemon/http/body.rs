//! What a request says, read with care.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::App;
use super::auth::Peer;
use super::problem::problem;
use crate::api::{CALLER, Code, Problem};
use crate::daemon::service::Selector;

/// The largest body: far more than the longest list of stations or any configuration needs.
pub(super) const LARGEST: usize = 1 << 20;

/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);

/// A body of JSON. The type of content that the client claims is not looked at: nothing else is
/// understood anyway.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let body = whole(request.into_body()).await?;
        let value = serde_json::from_slice(&body).map_err(|error| {
            problem(Code::Malformed, format!("the body is not what is expected here: {error}"))
        })?;
        Ok(Self(value))
    }
}

/// A body of text, absent if it is empty.
#[derive(Debug)]
pub(super) struct Text(pub(super) Option<String>);

impl FromRequest<App> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let body = whole(request.into_body()).await?;
        let text = String::from_utf8(body.into()).map_err(|error| {
            problem(Code::Malformed, format!("the body is not text in UTF-8: {error}"))
        })?;
        Ok(Self(Some(text).filter(|text| !text.is_empty())))
    }
}

/// The namespace that a request is about, and who asks.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) netns: Option<String>,
    pub(super) caller: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceQuery {
    netns: Option<String>,
}

impl FromRequestParts<App> for Place {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let peer = Peer::of_request(&parts.extensions)?;
        let Query(PlaceQuery { netns }) = Query::try_from_uri(&parts.uri).map_err(|error| {
            problem(Code::Malformed, format!("the query: {}", error.body_text()))
        })?;
        // The daemon opens what a path leads to, and it may open much that others may not.
        let path = netns.as_deref().is_some_and(|netns| netns.contains('/'));
        if path && !peer.may_change(app.backend.admins) {
            let why = "only who may change things may name a namespace by its path: use its name";
            return Err(problem(Code::Forbidden, why));
        }
        if netns.as_deref() == Some(CALLER) && peer.pid.is_none() {
            let why = "the daemon does not see the client's process: name the namespace";
            return Err(problem(Code::NoNamespace, why));
        }
        Ok(Self { netns, caller: peer.pid })
    }
}

/// The link that a path names, and where.
#[derive(Debug)]
pub(super) struct Which(pub(super) Selector);

impl FromRequestParts<App> for Which {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Place { netns, caller } = Place::from_request_parts(parts, app).await?;
        let name = Path::<String>::from_request_parts(parts, app).await;
        let Path(name) = name.map_err(|error| {
            problem(Code::Malformed, format!("the path: {}", error.body_text()))
        })?;
        Ok(Self(Selector { name, netns, caller }))
    }
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    let late = |_| {
        let limit = BODY.as_secs();
        problem(Code::Late, format!("the body did not come to its end within {limit} seconds"))
    };
    let read = timeout(BODY, Limited::new(body, LARGEST).collect()).await.map_err(late)?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(problem(Code::TooLarge, format!("the body has more than {LARGEST} bytes")))
        }
        Err(error) => Err(problem(Code::Malformed, format!("the body broke off: {error}"))),
    }
}
