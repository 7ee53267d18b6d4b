//! Text for people: tables, number formats, output streams and suggestions.
//!
//! Every command prints through this crate, so that columns line up, colours appear on a terminal
//! only, and a closed pipe ends nothing. It knows nothing of networks.
//!
//! Architecture invariant: depends on no other crate of this workspace.
#![allow(missing_docs, reason = "TEMPORARY")]

pub mod arguments;
pub mod format;
pub mod output;
pub mod suggest;
pub mod table;
