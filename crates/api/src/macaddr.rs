//! [`MacaddrChange`]: a change of a source list.

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_core::MacAddr;
use utoipa::ToSchema;

/// What to do with a source list.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacaddrChange {
    /// Add or remove addresses, or replace the list.
    pub op: MacaddrOp,
    /// The addresses.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub addresses: Vec<MacAddr>,
}

/// How a source list is changed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MacaddrOp {
    /// Add addresses.
    Add,
    /// Remove addresses.
    Del,
    /// Replace the list; without addresses, empty it.
    Set,
}
