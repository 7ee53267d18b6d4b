//! Parsers of command-line values that several commands share.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A parser that accepts the names of these values and nothing else; `--help` and completion list
/// them.
pub fn one_of<T, const N: usize>(
    values: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: Clone + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(values.map(name)).try_map(move |word| {
        values.into_iter().find(|&value| name(value) == word).ok_or("not one of the values")
    })
}
