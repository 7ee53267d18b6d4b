//! Suggestions for mistyped words.

/// Returns `; did you mean "WORD"?` with the nearest of `words`, or nothing if none is near.
pub fn did_you_mean(typed: &str, words: &[&str]) -> String {
    // The comparison takes time in the product of the lengths, and a longer word is not a typo.
    let likely = typed.len() <= 64;
    let near = words
        .iter()
        .filter(|_| likely)
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .min()
        .filter(|(distance, word)| *distance <= word.len().max(typed.len()) / 3);
    near.map_or_else(String::new, |(_, word)| format!("; did you mean {word:?}?"))
}
