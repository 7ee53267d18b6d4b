//! [`CniError`]: why something was not done, as the specification has it told.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use umacvlan_api::{Code, Problem};

/// A protocol version that this plugin does not speak.
pub(super) const INCOMPATIBLE: u32 = 1;
/// A key of the configuration with a value that cannot be served.
pub(super) const UNSUPPORTED: u32 = 2;
/// An environment variable is missing or wrong.
pub(super) const ENVIRONMENT: u32 = 4;
/// Something could not be read, written or asked.
pub(super) const IO: u32 = 5;
/// Not JSON, or JSON of another shape.
pub(super) const DECODING: u32 = 6;
/// The configuration is wrong.
pub(super) const CONFIG: u32 = 7;
/// There is no such namespace. Not in the specification; its library has it.
pub(super) const NAMESPACE: u32 = 8;
/// What is missing may come: the daemon.
pub(super) const LATER: u32 = 11;
/// Nothing can be added now; an answer of `STATUS`.
pub(super) const UNAVAILABLE: u32 = 50;
/// Ours: the rules of macvlan or the kernel refuse it.
pub(super) const REFUSED: u32 = 100;
/// Ours: an attachment is not what it was, an answer of `CHECK`.
pub(super) const CHANGED: u32 = 101;
/// What another plugin has done wrong. Not in the specification; its library has it.
pub(super) const INTERNAL: u32 = 999;

/// What a plugin prints instead of a result.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct CniError {
    /// The version in use, where it is known by then.
    #[serde(rename = "cniVersion", default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// What kind: see the constants.
    pub(super) code: u32,
    /// What failed, on what, why, what to do.
    pub(super) msg: String,
    /// More of it.
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
    fn an_error_has_the_shape_of_the_specification() {
        let error = CniError::new(CONFIG, "missing network name");
        let shown = serde_json::to_value(&error).unwrap();
        assert_eq!(shown, serde_json::json!({"code": 7, "msg": "missing network name"}));
        let error = CniError { version: Some("1.1.0".to_owned()), ..error.with_details("why") };
        let shown = serde_json::to_value(&error).unwrap();
        assert_eq!((&shown["cniVersion"], &shown["details"]), (&"1.1.0".into(), &"why".into()));
        assert_eq!(serde_json::from_value::<CniError>(shown).unwrap(), error);
    }

    #[test]
    fn what_passes_by_itself_is_to_be_tried_again_and_the_rest_is_not() {
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
