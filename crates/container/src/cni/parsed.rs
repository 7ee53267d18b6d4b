//! Values of the configuration that have several forms.

use std::net::IpAddr;

use serde::Deserialize;
use umacvlan_api::RulesJson;
use umacvlan_core::rules::{RuleError, Rules};

use super::error::{CONFIG, CniError};

/// The key `host`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "host: expected true, false or a list of IP addresses")]
pub(super) enum Host {
    Switch(bool),
    Addresses(Vec<IpAddr>),
}

impl Default for Host {
    fn default() -> Self {
        Self::Switch(false)
    }
}

/// The error about a rule.
pub(super) fn rule_error(error: RuleError) -> CniError {
    CniError::new(CONFIG, format!("rules: {error}"))
}

/// The rules of the link.
///
/// # Errors
/// A list is too long.
pub(super) fn parsed_rules(json: &RulesJson) -> Result<Rules, CniError> {
    json.clone().try_into().map_err(rule_error)
}
