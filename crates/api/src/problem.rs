//! [`Problem`]: the body of every response that is not a success.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

/// Why a request failed. A failed request leaves nothing behind unless the message says so.
#[skip_serializing_none]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Kind of the problem.
    pub code: Code,
    /// What failed, on what, why, and what to do about it, in one line.
    pub message: String,
    /// Error number (of Linux) that the kernel's macvlan returns in the same case.
    pub errno: Option<i32>,
    /// Message of the kernel beside the error number (`NLMSGERR_ATTR_MSG`).
    pub kernel: Option<String>,
    /// Interface that the problem is about.
    pub device: Option<String>,
}

/// Kind of a problem. Each has its HTTP status.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 503: there are too many clients, or the request takes too long.
    Busy,
    /// 403: the client's user may not do this.
    Forbidden,
    /// 422: the configuration is invalid; the message has file, line and column.
    Config,
    /// 500: the daemon itself has failed.
    Internal,
    /// 408: the request was not complete in time.
    Late,
    /// 400: the request cannot be parsed.
    Malformed,
    /// 404: there is no such link of umacvlan, or no such parent. `device` has the name.
    NoDevice,
    /// 405: this path does not have that method.
    NoMethod,
    /// 404: there is no such namespace.
    NoNamespace,
    /// 404: there is no such path.
    NotFound,
    /// 409: a rule of macvlan or the kernel refuses the request. `errno` has the number.
    Refused,
    /// 507: the state cannot be written.
    Storage,
    /// 413: the body is too large.
    TooLarge,
}
