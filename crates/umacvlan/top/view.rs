//! Rates as text: a table of workers and one of links, as wide and as high as there is room.

use std::fmt::Write;

use umacvlan_text::format::scaled;

use super::rates::{LinkRates, Rates, WorkerRates};

/// A column of a table: its heading, its least width, and the width of the terminal from which on it is
/// shown.
struct Column<T> {
    head: &'static str,
    width: usize,
    from: usize,
    cell: fn(&T) -> String,
}

const WORKERS: [Column<WorkerRates>; 9] = [
    Column { head: "frames/s", width: 9, from: 0, cell: |it| count(it.frames) },
    Column { head: "busy", width: 7, from: 0, cell: |it| percent(it.busy) },
    Column { head: "spin", width: 7, from: 80, cell: |it| percent(it.spinning) },
    Column { head: "asleep", width: 7, from: 0, cell: |it| percent(it.asleep) },
    Column {
        head: "per turn",
        width: 8,
        from: 70,
        cell: |it| format!("{:.1}", it.frames_per_turn),
    },
    Column { head: "syscalls/s", width: 10, from: 90, cell: |it| count(it.syscalls) },
    Column { head: "ring drops/s", width: 12, from: 100, cell: |it| count(it.ring_drops) },
    Column { head: "cpu", width: 4, from: 110, cell: |it| or_dash(it.cpu) },
    Column { head: "worker", width: 6, from: 60, cell: |it| it.worker.to_string() },
];

const LINKS: [Column<LinkRates>; 8] = [
    Column { head: "rx/s", width: 8, from: 0, cell: |it| count(it.rx_frames) },
    Column { head: "tx/s", width: 8, from: 0, cell: |it| count(it.tx_frames) },
    Column { head: "rx bit/s", width: 9, from: 75, cell: |it| count(it.rx_bytes * 8.0) },
    Column { head: "tx bit/s", width: 9, from: 75, cell: |it| count(it.tx_bytes * 8.0) },
    Column { head: "drops/s", width: 8, from: 0, cell: |it| count(it.drops) },
    Column { head: "drops", width: 8, from: 90, cell: |it| count(it.dropped as f64) },
    Column {
        head: "kernel",
        width: 7,
        from: 105,
        cell: |it| it.in_kernel.map_or_else(dash, percent),
    },
    Column { head: "state", width: 5, from: 60, cell: |it| state(it).to_owned() },
];

/// The text of a look. Of the links there are as many as fit into `height` lines.
pub(super) fn text(rates: &Rates, width: usize, height: usize, colour: bool) -> String {
    let number = |count, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let links = number(rates.links.len(), "link");
    let workers = number(rates.workers.len(), "worker");
    let mut lines = vec![format!("{links}, {workers}, the last {:.1} s", rates.seconds)];
    if !rates.workers.is_empty() {
        lines.push(heading("parent", &WORKERS, width, colour));
        let rows = rates.workers.iter();
        lines.extend(rows.map(|row| self::row(&row.parent, row, &WORKERS, width, "")));
        lines.push(String::new());
    }
    lines.push(heading("link", &LINKS, width, colour));
    let room = height.saturating_sub(lines.len() + 1).max(1);
    let shown = rates.links.iter().take(room);
    lines.extend(shown.map(|link| row(&link.full_name(), link, &LINKS, width, &more(link))));
    if let Some(hidden @ 1..) = rates.links.len().checked_sub(room) {
        lines.push(format!("and {hidden} more: --filter, or --once for all"));
    }
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The same, over what was there before.
pub(super) fn in_place(text: &str) -> String {
    // Home; each line and the rest of the screen are erased.
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// The width that the first column has: what the others leave, between 12 and 40.
fn name_width<T>(columns: &[Column<T>], width: usize) -> usize {
    let shown = columns.iter().filter(|column| column.from <= width);
    let others: usize = shown.map(|column| column.width + 1).sum();
    width.saturating_sub(others).clamp(12, 32)
}

fn heading<T>(name: &str, columns: &[Column<T>], width: usize, colour: bool) -> String {
    let mut line = format!("{name:<0$}", name_width(columns, width));
    for column in columns.iter().filter(|column| column.from <= width) {
        let _ = write!(line, " {:>1$}", column.head, column.width);
    }
    match colour {
        true => format!("\x1b[1m{line}\x1b[0m"),
        false => line,
    }
}

fn row<T>(name: &str, row: &T, columns: &[Column<T>], width: usize, more: &str) -> String {
    let wide = name_width(columns, width);
    let mut line = format!("{:<wide$}", cut(name, wide));
    for column in columns.iter().filter(|column| column.from <= width) {
        let _ = write!(line, " {:>1$}", (column.cell)(row), column.width);
    }
    let room = width.saturating_sub(line.chars().count() + 2);
    if !more.is_empty() && room >= 12 {
        let _ = write!(line, "  {}", cut(more, room));
    }
    line
}

/// What is beside the columns of a link: its parent, and the reasons of drops.
fn more(link: &LinkRates) -> String {
    let reasons = link.reasons.iter().map(|(reason, count)| format!(" {reason} {count}"));
    format!("on {}{}", link.parent, reasons.collect::<String>())
}

/// A text without control characters, cut to a width.
fn cut(text: &str, width: usize) -> String {
    let plain = text.chars().map(|sign| if sign.is_control() { '?' } else { sign });
    match text.chars().count() <= width {
        true => plain.collect(),
        false => plain.take(width.saturating_sub(1)).chain(['+']).collect(),
    }
}

fn state(link: &LinkRates) -> &'static str {
    if link.up { "up" } else { "down" }
}

fn count(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        0.0..0.95 => format!("{rate:.1}"),
        rate => scaled(rate, "").replace(' ', ""),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn or_dash(number: Option<u32>) -> String {
    number.map_or_else(dash, |number| number.to_string())
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use umacvlan_api::{Amount, LinkView, ParentView, Reasons, WorkerCounters, WorkerView};

    use super::super::Order;
    use super::super::rates::Sample;
    use super::*;

    /// A moment at which each of `links` has received a thousand frames for each in `frames`.
    fn sample(start: Instant, seconds: u64, frames: [u64; 3]) -> Sample {
        let names = ["quiet", "a-very-long-name", "noisy"];
        let links = frames.iter().zip(names).zip(1..).map(|((&frames, name), id)| {
            let mut link = LinkView { ifname: name.to_owned(), ..LinkView::default() };
            link.umacvlan.id = id;
            link.umacvlan.parent = "eth0".to_owned();
            link.umacvlan.netns = Some(format!("container-{id}"));
            link.umacvlan.counters.delivered =
                Amount { frames: frames * 1000, bytes: frames * 60_000 };
            if frames > 5 {
                link.umacvlan.counters.dropped = Reasons::from([("spoofed".to_owned(), frames)]);
            }
            link
        });
        let time = WorkerCounters {
            frames: frames.iter().sum(),
            busy: seconds as f64 / 4.0,
            ..WorkerCounters::default()
        };
        let workers = vec![WorkerView { time, ..WorkerView::default() }];
        let parents =
            vec![ParentView { name: "eth0".to_owned(), workers, ..ParentView::default() }];
        Sample { time: start + Duration::from_secs(seconds), parents, links: links.collect() }
    }

    fn rates() -> Rates {
        let start = Instant::now();
        let mut rates = Rates::between(&sample(start, 0, [5, 0, 2]), &sample(start, 2, [5, 4, 22]));
        rates.sort(Order::Frames);
        rates
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_the_busiest_come_first() {
        for width in [60, 80, 100, 200] {
            let text = text(&rates(), width, 100, false);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name}: {text}"));
            assert!(place("noisy") < place("a-very-long") && place("a-very-long") < place("quiet"));
            assert!(text.contains("10.0k") && text.contains("25.0%"), "{text}");
        }
        assert!(text(&rates(), 200, 100, false).contains("on eth0 spoofed 22"));
    }

    #[test]
    fn a_low_terminal_says_how_many_links_are_hidden() {
        let text = text(&rates(), 80, 7, false);
        assert!(text.lines().count() <= 7 && text.contains("and 2 more"), "{text}");
        let drawn = in_place(&text);
        assert!(drawn.starts_with("\x1b[H") && drawn.ends_with("\x1b[J"));
    }

    #[test]
    fn rates_are_filtered_and_sorted_and_new_links_have_none() {
        let mut rates = rates();
        rates.sort(Order::Name);
        assert_eq!(rates.links[0].full_name(), "container-1/quiet");
        rates.sort(Order::Drops);
        assert_eq!((rates.links[0].name.as_str(), rates.links[0].drops), ("noisy", 11.0));
        rates.keep("container-3");
        assert_eq!((rates.links.len(), rates.workers.len()), (1, 1));
        rates.keep("nothing");
        assert_eq!((rates.links.len(), rates.workers.len()), (0, 0));
        let start = Instant::now();
        let mut before = sample(start, 0, [0; 3]);
        before.links.clear();
        let rates = Rates::between(&before, &sample(start, 1, [9; 3]));
        assert!(rates.links.iter().all(|link| link.rx_frames == 0.0 && link.drops == 0.0));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cut("a\x1bb", 5), "a?b");
        assert_eq!(cut("abcdef", 4), "abc+");
    }
}
