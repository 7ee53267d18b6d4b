//! Parsing of request bodies, queries and paths.

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
use super::metrics::LinkSeries;
use super::problem::problem;
use crate::ServiceError;
use crate::service::Selector;
use umacvlan_api::{CALLER, Code, from_strict_json};

/// The largest body, in bytes: far more than the longest source list or any configuration.
pub(super) const LARGEST: usize = 1 << 20;

/// The time limit of a body.
const BODY: Duration = Duration::from_secs(10);

/// A JSON body. The content type is not checked, because nothing else is parsed.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ServiceError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ServiceError> {
        let body = read_body(request.into_body()).await?;
        let value = from_strict_json(&body)
            .map_err(|error| problem(Code::Malformed, format!("invalid body: {error}")))?;
        Ok(Self(value))
    }
}

/// A text body, absent if it is empty.
#[derive(Debug)]
pub(super) struct Text(pub(super) Option<String>);

impl<S: Sync> FromRequest<S> for Text {
    type Rejection = ServiceError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ServiceError> {
        let body = read_body(request.into_body()).await?;
        let text = String::from_utf8(body.into())
            .map_err(|error| problem(Code::Malformed, format!("the body is not UTF-8: {error}")))?;
        Ok(Self(Some(text).filter(|text| !text.is_empty())))
    }
}

/// The namespace of a request's query, and the client's process.
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
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ServiceError> {
        let peer = Peer::of_request(&parts.extensions)?;
        let Query(PlaceQuery { netns }) = query(parts)?;
        // The daemon may open paths that the client may not.
        let path = netns.as_deref().is_some_and(|netns| netns.contains('/'));
        if path && !peer.may_change(app.backend.admins) {
            let why =
                "only clients who may change things may name a namespace by its path: use its name";
            return Err(problem(Code::Forbidden, why));
        }
        if netns.as_deref() == Some(CALLER) && peer.pid.is_none() {
            let why = "the daemon does not see the client's process: give the namespace's name";
            return Err(problem(Code::NoNamespace, why));
        }
        Ok(Self { netns, caller: peer.pid })
    }
}

/// The link that a path and a query select.
#[derive(Debug)]
pub(super) struct Which(pub(super) Selector);

impl FromRequestParts<App> for Which {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ServiceError> {
        let Place { netns, caller } = Place::from_request_parts(parts, app).await?;
        let name = Path::<String>::from_request_parts(parts, app).await;
        let Path(name) = name.map_err(|error| {
            problem(Code::Malformed, format!("the path: {}", error.body_text()))
        })?;
        Ok(Self(Selector { name, netns, caller }))
    }
}

/// The owner tag of a query.
#[derive(Debug)]
pub(super) struct Owner(pub(super) String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerQuery {
    owner: String,
}

impl FromRequestParts<App> for Owner {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ServiceError> {
        let Query(OwnerQuery { owner }) = query(parts)?;
        Ok(Self(owner))
    }
}

/// Whether a query says that changes of a file may be lost.
#[derive(Debug)]
pub(super) struct Force(pub(super) bool);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForceQuery {
    #[serde(default)]
    force: bool,
}

impl FromRequestParts<App> for Force {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ServiceError> {
        let Query(ForceQuery { force }) = query(parts)?;
        Ok(Self(force))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesQuery {
    links: Option<String>,
}

impl FromRequestParts<App> for LinkSeries {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ServiceError> {
        let Query(SeriesQuery { links }) = query(parts)?;
        let series = links.map(|links| links.parse()).transpose();
        let malformed = |why| problem(Code::Malformed, format!("the query: {why}"));
        Ok(series.map_err(malformed)?.unwrap_or_default())
    }
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<Query<T>, ServiceError> {
    Query::try_from_uri(&parts.uri)
        .map_err(|error| problem(Code::Malformed, format!("the query: {}", error.body_text())))
}

/// Reads a body.
///
/// # Errors The body is too large, too slow, or incomplete.
pub async fn read_body(body: Body) -> Result<Bytes, ServiceError> {
    let late = |_| {
        let limit = BODY.as_secs();
        problem(Code::Late, format!("the body was not complete within {limit} seconds"))
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use umacvlan_api::LinkChange;

    async fn read<T: DeserializeOwned>(body: impl Into<Body>) -> Result<T, ServiceError> {
        Json::from_request(Request::new(body.into()), &()).await.map(|Json(value)| value)
    }

    #[tokio::test]
    async fn an_invalid_body_is_refused_with_place_and_reason() {
        for (body, words) in [
            ("", "EOF while parsing"),
            ("{\"mtu\":", "at line 1 column 7"),
            ("{\"mtu\":\"big\"}", "invalid type: string \"big\", expected u32"),
            ("{\"mtu\":-1}", "expected u32"),
            ("{\"colour\":1}", "unknown field `colour`, expected one of `macvlan`"),
            ("{} {}", "trailing characters"),
            ("{\"address\":\"x\"}", "address"),
            (
                "{\"macvlan\":{\"rules\":{\"isolation\":\"a\",\"isolation\":\"b\"}}}",
                "duplicate field `isolation`",
            ),
        ] {
            let problem = read::<LinkChange>(body).await.unwrap_err();
            assert_eq!(problem.0.code, Code::Malformed);
            assert!(problem.0.message.contains(words), "{body}: {problem}");
            assert!(!problem.0.message.contains('\n'), "{problem}");
        }
    }

    #[tokio::test]
    async fn deep_nesting_is_refused() {
        let problem = read::<Value>("[".repeat(100_000)).await.unwrap_err();
        assert!(problem.0.message.contains("recursion limit"), "{problem}");
    }

    #[tokio::test]
    async fn a_body_may_have_the_largest_size_and_not_a_byte_more() {
        let text = |length: usize| format!("\"{}\"", "a".repeat(length - 2));
        read::<String>(text(LARGEST)).await.unwrap();
        let problem = read::<String>(text(LARGEST + 1)).await.unwrap_err();
        assert_eq!(problem.0.code, Code::TooLarge);
    }

    #[tokio::test]
    async fn text_must_be_text() {
        let text = |body: &'static [u8]| async move {
            Text::from_request(Request::new(body.into()), &()).await.map(|Text(text)| text)
        };
        assert_eq!(text(b"").await.unwrap(), None);
        assert_eq!(text(b"a = 1").await.unwrap().as_deref(), Some("a = 1"));
        assert_eq!(text(b"\xff").await.unwrap_err().0.code, Code::Malformed);
    }
}
