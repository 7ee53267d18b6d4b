//! The words of a question as any text, for `umacvlan-fuzz`.

use anyhow::bail;

use super::question::Question;

/// Reads a line as the words of `umacvlan explain`, and as a frame in hex.
pub fn question(line: &str) {
    // There are no links.
    let named = |name: &str| bail!("no {name}");
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    for hex in [None, Some(line)] {
        if let Ok(question) = Question::read(&words, hex) {
            // A frame without an address is an error.
            let _ = question.frame.bytes(None, named);
        }
    }
    let place = ["eth0", "ingress"].map(str::to_owned);
    if let Ok(question) = Question::read(&place, Some(line)) {
        let _ = question.frame.bytes(None, named);
    }
}
