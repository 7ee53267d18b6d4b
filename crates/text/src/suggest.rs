//! Suggestions for mistyped words.

/// `; did you mean "WORD"?` with the nearest of the words, if one is near.
pub fn did_you_mean(typed: &str, words: &[&str]) -> String {
    // Longer ones are no slip of the fingers, and comparing takes the product of the lengths.
    let likely = typed.len() <= 64;
    let near = words
        .iter()
        .filter(|_| likely)
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .min()
        .filter(|(distance, word)| *distance <= word.len().max(typed.len()) / 3);
    near.map_or_else(String::new, |(_, word)| format!("; did you mean {word:?}?"))
}
