//! [`Check`]: the result of one check, and how to fix it.

use serde::Serialize;
use serde_with::skip_serializing_none;

use umacvlan_text::table::Tint;

/// The result of one check.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// The subject, a stable identifier.
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// The finding, as text.
    pub(crate) found: String,
    /// The command that fixes it, or other advice.
    #[serde(rename = "mend")]
    pub(crate) fix: Option<String>,
}

/// The severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// umacvlan does not work without it.
    Fail,
    /// Information.
    Info,
    /// As it should be.
    Ok,
    /// It works with restrictions.
    Warn,
}

impl Check {
    pub(crate) fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { name, state, found: found.into(), fix: None }
    }

    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    pub(crate) fn info(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Info, found)
    }

    pub(crate) fn warn(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Warn, found)
    }

    pub(crate) fn fail(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Fail, found)
    }

    /// Adds the command that fixes it.
    pub(crate) fn fix(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Info => "info",
            Self::Ok => "ok",
            Self::Warn => "warn",
        }
    }

    pub(crate) const fn tint(self) -> Tint {
        match self {
            Self::Fail => Tint::Bad,
            Self::Info => Tint::Plain,
            Self::Ok => Tint::Good,
            Self::Warn => Tint::Warning,
        }
    }
}
