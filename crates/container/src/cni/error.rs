//! [`CniError`]: the error object of the CNI specification.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use umacvlan_api::{Code, Problem};

/// The version of the specification is not supported.
pub(super) const INCOMPATIBLE: u32 = 1;
/// A field of the configuration has an unsupported value.
pub(super) const UNSUPPORTED: u32 = 2;
/// An environment variable is missing or invalid.
pub(super) const ENVIRONMENT: u32 = 4;
/// An I/O error.
pub(super) const IO: u32 = 5;
/// The input is not JSON or has another structure.
pub(super) const DECODING: u32 = 6;
/// The configuration is invalid.
pub(super) const CONFIG: u32 = 7;
/// The namespace does not exist. From the library, not in the specification.
pub(super) const NAMESPACE: u32 = 8;
/// Try again later: the daemon cannot be reached.
pub(super) const LATER: u32 = 11;
/// `ADD` would fail now; an answer to `STATUS`.
pub(super) const UNAVAILABLE: u32 = 50;
/// Plugin-specific: the rules of macvlan or the kernel refuse it.
pub(super) const REFUSED: u32 = 100;
/// Plugin-specific: the attachment has changed; an answer to `CHECK`.
pub(super) const CHANGED: u32 = 101;
/// A delegated plugin misbehaves. From the library, not in the specification.
pub(super) const INTERNAL: u32 = 999;

/// The JSON object that a plugin prints on failure.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct CniError {
    /// The version of the configuration, once it is known.
    #[serde(rename = "cniVersion", default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// One of the constants above.
    pub(super) code: u32,
    /// What failed, why, and what to do.
    pub(super) msg: String,
    /// Further text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) details: String,
}

impl CniError {
    pub(super) fn new(code: u32, msg: impl Display) -> Self {
        Self { version: None, code, msg: msg.to_string(), details: String::new() }
    }

    pub(super) fn with_details(self, details: impl Display) -> Self {
        Self { details: details.to_string(), ..self }
    }
}

impl From<umacvlan_client::RequestError> for CniError {
    fn from(failure: umacvlan_client::RequestError) -> Self {
        let code = match &failure {
            umacvlan_client::RequestError::Connect(_) => LATER,
            umacvlan_client::RequestError::Transport(_) => IO,
            umacvlan_client::RequestError::Problem(problem) => kind(problem),
        };
        Self::new(code, failure)
    }
}

impl From<umacvlan_client::ConnectError> for CniError {
    fn from(error: umacvlan_client::ConnectError) -> Self {
        Self::new(LATER, error)
    }
}

fn kind(problem: &Problem) -> u32 {
    match problem.code {
        Code::Busy | Code::Late => LATER,
        Code::Forbidden => IO,
        Code::NoDevice => CONFIG,
        Code::NoNamespace => NAMESPACE,
        _ => REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_error_has_the_fields_of_the_specification() {
        let error = CniError::new(CONFIG, "missing network name");
        let shown = serde_json::to_value(&error).unwrap();
        assert_eq!(shown, serde_json::json!({"code": 7, "msg": "missing network name"}));
        let error = CniError { version: Some("1.1.0".to_owned()), ..error.with_details("why") };
        let shown = serde_json::to_value(&error).unwrap();
        assert_eq!((&shown["cniVersion"], &shown["details"]), (&"1.1.0".into(), &"why".into()));
        assert_eq!(serde_json::from_value::<CniError>(shown).unwrap(), error);
    }

    #[test]
    fn temporary_failures_have_the_code_to_try_again() {
        let nobody =
            umacvlan_client::ConnectError::NotRunning { socket: Path::new("/s").to_owned() };
        assert_eq!(CniError::from(nobody).code, LATER);
        for (code, expected) in [
            (Code::Busy, LATER),
            (Code::NoDevice, CONFIG),
            (Code::NoNamespace, NAMESPACE),
            (Code::Refused, REFUSED),
            (Code::Forbidden, IO),
        ] {
            let message = "no".to_owned();
            let problem = Problem { code, message, errno: None, kernel: None, device: None };
            assert_eq!(CniError::from(umacvlan_client::RequestError::from(problem)).code, expected);
        }
    }
}
