//! Limits of a sub-interface: bits, frames and group frames per second, in either direction.
//!
//! [`Limits`] are the settings. A [`Limiter`] decides by them: it holds token buckets, which it fills
//! from the [`Moment`] that the caller passes in, so it needs no clock and no timer. What a caller does
//! with a frame over the limit, to keep it for a while or to drop it, is up to the caller.

mod bucket;
mod change;
mod limiter;
mod settings;
mod units;

pub use bucket::Moment;
pub use change::LimitsChange;
pub use limiter::{Direction, Gate, Limiter, wire_load};
pub use settings::{LimitError, LimitKind, LimitWord, Limits};
