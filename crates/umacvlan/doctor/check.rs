//! [`Check`]: one thing that was looked at, and what to do about it.

use serde::Serialize;
use serde_with::skip_serializing_none;

use umacvlan_text::table::Tint;

/// What was found out about one thing.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at; the same word in every version.
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// What is there, for people.
    pub(crate) found: String,
    /// The command that mends it, or what to do where no command can.
    #[serde(rename = "mend")]
    pub(crate) fix: Option<String>,
}

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nothing works without it.
    Fail,
    /// Neither good nor bad, and worth knowing.
    Info,
    /// As it should be.
    Ok,
    /// It works, but worse than it could, or not everywhere.
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

    /// The same with what to do.
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
