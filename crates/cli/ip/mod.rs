//! `umacvlan link`, `parent` and `monitor`: the command that people's fingers know from iproute2.
//!
//! [`command`] takes apart what was typed, and knows nothing but words; [`show`] makes text or JSON
//! of links. A [`Complaint`](complaint::Complaint) is what `ip` says of the same mistake, with the same exit
//! status.

mod change;
mod command;
mod complaint;
mod help;
mod link;
mod macvlan;
mod options;
mod show;
mod words;

#[cfg(test)]
mod tests {
    /// The words of a line that has no quotes in it.
    pub(super) fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }
}
