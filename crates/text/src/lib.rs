//! Text on the terminal: tables, number formats, output streams and suggestions.
//!
//! Every command prints through [`output`], so that a closed pipe does not end it and colours appear
//! on a terminal only. [`table`] aligns columns, [`mod@format`] writes numbers for people (JSON has
//! the exact ones), [`suggest`] finds the nearest known word, and [`arguments`] holds parsers of
//! option values that several commands share. [`log_limit`] leaves out lines that are repeated too often.
//!
//! Nothing here knows networks, configurations or the daemon.
//!
//! Architecture invariant: depends on no other crate of this workspace.

pub mod arguments;
pub mod format;
pub mod log_limit;
pub mod output;
pub mod suggest;
pub mod table;
