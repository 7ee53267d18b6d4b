//! [`Problem`]: the body of every answer that is not a success.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

/// Why something was not done. Nothing of it is left behind unless the text says so.
#[skip_serializing_none]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// What failed, on what, why, and what to do: one line.
    pub message: String,
    /// The error number that the kernel's macvlan answers in the same case, in Linux's numbering.
    pub errno: Option<i32>,
    /// The kernel's own words where it adds some to the number (`NLMSGERR_ATTR_MSG`).
    pub kernel: Option<String>,
    /// The interface that it is about.
    pub device: Option<String>,
}

/// What kind of problem, and which status of HTTP it comes with.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 503: there are too many clients, or it takes too long.
    Busy,
    /// 403: the client's user may not do this.
    Forbidden,
    /// 422: the configuration is wrong; the message has file, line and column.
    Config,
    /// 500: the daemon itself is in trouble.
    Internal,
    /// 408: the request did not come to its end in time.
    Late,
    /// 400: the request cannot be understood.
    Malformed,
    /// 404: there is no such link among ours, or no such parent. `device` has the name.
    NoDevice,
    /// 405: this address does something else.
    NoMethod,
    /// 404: there is no such namespace.
    NoNamespace,
    /// 404: no such address of this service.
    NotFound,
    /// 409: the rules of macvlan or the kernel refuse it. `errno` has the number.
    Refused,
    /// 507: the state could not be written.
    Storage,
    /// 413: the body is larger than any that has a meaning.
    TooLarge,
}
