//! The counter columns of `ip -s`.

use super::Human;
use umacvlan_api::Stats;

/// The lines of received and sent counters, with `errors` also errors by kind.
pub(super) fn lines(stats: &Stats, human: Human, errors: bool) -> Vec<String> {
    let (rx, tx) = (&stats.rx, &stats.tx);
    let nohandler = rx.nohandler.unwrap_or_default();
    let counts = |counts: &[u64]| counts.iter().map(|&count| human.count(count)).collect();
    let received: Vec<String> =
        counts(&[rx.bytes, rx.packets, rx.errors, rx.dropped, rx.missed_errors, rx.multicast]);
    let sent: Vec<String> =
        counts(&[tx.bytes, tx.packets, tx.errors, tx.dropped, tx.carrier_errors, tx.collisions]);
    let mut rx_errors: Vec<String> =
        counts(&[rx.length_errors, rx.crc_errors, rx.frame_errors, rx.fifo_errors, rx.over_errors]);
    let tx_errors: Vec<String> = counts(&[
        tx.aborted_errors,
        tx.fifo_errors,
        tx.window_errors,
        tx.heartbeat_errors,
        tx.carrier_changes,
    ]);
    let mut rx_error_names = vec!["length", "crc", "frame", "fifo", "overrun"];
    if nohandler > 0 {
        rx_errors.push(human.count(nohandler));
        rx_error_names.push("nohandler");
    }

    let mut columns = Columns::default();
    columns.widen(0, &received);
    columns.widen(0, &sent);
    if errors {
        columns.widen(1, &rx_errors);
        columns.widen(1, &tx_errors);
    }
    let mut lines = Vec::new();
    let head = ["bytes", "packets", "errors", "dropped", "missed", "mcast"];
    columns.table("RX:", &head, &received, &mut lines);
    if errors {
        columns.errors("RX errors:", &rx_error_names, &rx_errors, &mut lines);
    }
    let head = ["bytes", "packets", "errors", "dropped", "carrier", "collsns"];
    columns.table("TX:", &head, &sent, &mut lines);
    if errors {
        let names = ["aborted", "fifo", "window", "heartbt", "transns"];
        columns.errors("TX errors:", &names, &tx_errors, &mut lines);
    }
    lines
}

/// The widths of the columns, which grow with the numbers.
struct Columns([usize; 7]);

impl Default for Columns {
    fn default() -> Self {
        Self([10, 7, 6, 7, 7, 7, 9])
    }
}

impl Columns {
    fn widen(&mut self, first: usize, numbers: &[String]) {
        for (width, number) in self.0[first..].iter_mut().zip(numbers) {
            *width = number.len().max(*width);
        }
    }

    /// A heading whose first column begins with its title, and the numbers below it.
    fn table(&self, title: &str, head: &[&str], numbers: &[String], lines: &mut Vec<String>) {
        let first = self.0[0] - title.len();
        let rest = self.right(1, &head[1..]);
        lines.push(format!("    {title}{:>first$}{rest} {:10}", head[0], ""));
        lines.push(format!("   {} ", self.right(0, numbers)));
    }

    /// The same with the title in a column of its own.
    fn errors(&self, title: &str, head: &[&str], numbers: &[String], lines: &mut Vec<String>) {
        let first = self.0[0];
        lines.push(format!("    {title:first$}{}", self.right(1, head)));
        lines.push(format!("    {:first$}{} ", "", self.right(1, numbers)));
    }

    /// Tokens to the right of their columns, a blank before each.
    fn right<T: AsRef<str>>(&self, first: usize, words: &[T]) -> String {
        let cells = self.0[first..].iter().zip(words);
        cells.map(|(width, word)| format!(" {:>width$}", word.as_ref())).collect()
    }
}
