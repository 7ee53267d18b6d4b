//! Links as `ip link show` prints them, with additional lines and fields of umacvlan.

mod drop_reasons;
mod events;
mod human;
mod json;
mod pretty;
mod stats;
#[cfg(test)]
mod tests;
mod text;

use serde::Serialize;

pub(super) use human::Human;
pub(super) use json::LinkJson;
pub(super) use text::{Scene, full_name, link};

use super::error::{CommandError, FAILED};
use super::options::{Colour, Options};
use umacvlan_text::output::colour_on;

/// The output format.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    pub(super) brief: bool,
    pub(super) colour: bool,
    pub(super) details: bool,
    pub(super) human: Human,
    pub(super) numeric: bool,
    pub(super) oneline: bool,
    pub(super) pretty: bool,
    pub(super) statistics: u8,
    /// Seen from the namespace of the link (`-n`).
    pub(super) inside: bool,
}

impl Style {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            brief: options.brief,
            colour: match options.colour {
                Colour::Always => true,
                Colour::Auto => colour_on(&std::io::stdout()),
                Colour::Never => false,
            },
            details: options.details,
            human: Human::new(options.human, options.iec),
            numeric: options.numeric,
            oneline: options.oneline,
            pretty: options.pretty,
            statistics: options.statistics,
            inside: options.netns.is_some(),
        }
    }

    /// Whether the last events of a link are shown.
    const fn has_events(self) -> bool {
        self.details && self.statistics > 2
    }

    /// A value as JSON, with its line feed.
    pub(super) fn json(self, value: &impl Serialize) -> Result<String, CommandError> {
        let text =
            if self.pretty { pretty::to_string(value) } else { serde_json::to_string(value) };
        text.map(|text| format!("{text}\n"))
            .map_err(|error| CommandError::own(FAILED, format!("cannot write JSON: {error}")))
    }
}
