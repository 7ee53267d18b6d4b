//! [`LastEvent`]: what has happened to a link lately.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

/// Something that has happened to a link.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LastEvent {
    /// When it has happened first: seconds since 1970, with a fraction.
    pub time: f64,
    /// Its kind: `address`, `adopted`, `carrier`, `created`, `limits`, `mode`, `moved`, `mtu`, `parent`,
    /// `program`, `renamed`, `reverted`, `rules`, `settings`, `state` or `trouble`.
    pub event: String,
    /// What has happened, in words.
    pub what: String,
    /// How often it has happened, alone or in turn with one other event; absent if once.
    pub count: Option<u64>,
    /// When it has happened last, in the unit of `time`; absent if once.
    pub last_time: Option<f64>,
}
