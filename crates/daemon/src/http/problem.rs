//! A [`Problem`] as a response.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::ServiceError;
use umacvlan_api::{Code, Problem};

/// A problem without an error number or device.
pub(super) fn problem(code: Code, message: impl Into<String>) -> ServiceError {
    ServiceError(Problem { code, message: message.into(), errno: None, kernel: None, device: None })
}

/// The problem of a request whose handler has panicked. The log has the details.
pub(super) fn panicked() -> ServiceError {
    problem(Code::Internal, "the daemon has a bug: its log has the place, please report it")
}

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        (status(self.0.code), axum::Json(self.0)).into_response()
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Code::Config => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Late => StatusCode::REQUEST_TIMEOUT,
        Code::Malformed => StatusCode::BAD_REQUEST,
        Code::NoDevice | Code::NoNamespace | Code::NotFound => StatusCode::NOT_FOUND,
        Code::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
        Code::Refused => StatusCode::CONFLICT,
        Code::Storage => StatusCode::INSUFFICIENT_STORAGE,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    }
}
