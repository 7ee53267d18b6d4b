//! Parts that both commands use.

pub(crate) mod cores;
pub(crate) mod engine;
pub(crate) mod namespaces;
pub(crate) mod stats;
