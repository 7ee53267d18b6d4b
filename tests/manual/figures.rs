//! The tables of measurements in README.md and docs/benchmarks.md, made from the reports in docs/results.
//! The test compares them; with `FIGURES=write`, which `make figures` sets, it writes them instead.

use std::env;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ROOT, read};

/// The paths of `umacvlan bench path` between two stations, and what the README calls them.
const PATHS: [(&str, &str); 3] = [
    ("sub-to-sub", "sub-interface to sub-interface"),
    ("wire-to-sub", "wire to sub-interface"),
    ("sub-to-wire", "sub-interface to wire"),
];

/// What a table of rates tells of each path: traffic, measure, its name in the README and in
/// docs/benchmarks.md.
const MEASURES: [(&str, &str, &str, &str); 4] = [
    ("tcp", "throughput", "TCP, one stream (CUBIC), more is better", "TCP, CUBIC"),
    ("tcp", "cpu", "processor time for 1000 bytes of it, less is better", "`cpu` of it"),
    ("unicast", "mrr", "64-byte frames, more is better", "64 bytes, `mrr`"),
    ("request", "rtt", "round trip, less is better", "`rtt`, median"),
];

#[test]
fn the_tables_of_figures_are_those_of_the_reports() {
    check("README.md", "speed", &speed());
    check("docs/benchmarks.md", "kinds", &kinds());
    check("docs/benchmarks.md", "program", &program());
    check("docs/benchmarks.md", "queue", &queue());
    check("docs/benchmarks.md", "queue-shared", &queue_shared());
    check("docs/benchmarks.md", "neighbour", &neighbour());
    check("docs/benchmarks.md", "path", &path());
}

/// Compares a document's table of the name with `table`, or replaces it if `FIGURES` is `write`.
fn check(document: &str, name: &str, table: &str) {
    let text = read(document);
    let begin = format!("<!-- figures: {name} -->\n");
    let (before, rest) = text.split_once(&begin).expect(&begin);
    let (found, after) = rest.split_once("<!-- end of figures -->").expect(&begin);
    if env::var_os("FIGURES").is_some_and(|value| value == "write") {
        let text = format!("{before}{begin}{table}<!-- end of figures -->{after}");
        fs::write(Path::new(ROOT).join(document), text).unwrap();
        return;
    }
    assert_eq!(found, table, "{document}: `make figures` writes the table `{name}`");
}

/// A report of docs/results.
struct Report(Value);

impl Report {
    fn read(name: &str) -> Self {
        Self(serde_json::from_str(&read(&format!("docs/results/{name}.json"))).expect(name))
    }

    /// The point of a key, if the report has it. The size is asked only where it is part of the key.
    fn point(
        &self,
        [path, traffic, measure, peer]: [&str; 4],
        size: Option<u64>,
    ) -> Option<Point<'_>> {
        let points = self.0["points"].as_array().expect("points");
        let is = |key: &Value| {
            let words =
                [("path", path), ("traffic", traffic), ("measure", measure), ("peer", peer)];
            words.iter().all(|(name, word)| key[*name] == *word) && key["size"].as_u64() == size
        };
        let mode = if path == "hairpin" { "vepa" } else { "bridge" };
        points.iter().find(|point| is(&point["key"]) && point["key"]["mode"] == mode).map(Point)
    }

    fn need(&self, key: [&str; 4], size: Option<u64>) -> Point<'_> {
        self.point(key, size).unwrap_or_else(|| panic!("no {key:?}"))
    }
}

struct Point<'a>(&'a Value);

impl Point<'_> {
    fn number(&self, object: &str, field: &str) -> f64 {
        self.0[object][field]
            .as_f64()
            .unwrap_or_else(|| panic!("no {object}.{field} in {}", self.0))
    }

    fn median(&self) -> f64 {
        self.number("summary", "median")
    }

    /// The median with its unit.
    fn text(&self) -> String {
        let unit = self.0["unit"].as_str().expect("unit");
        let (value, unit) = match unit {
            "bit/s" => (self.median() / 1e9, "Gbit/s"),
            "frames/s" if self.median() >= 1e6 => (self.median() / 1e6, "M/s"),
            "frames/s" => (self.median() / 1e3, "k/s"),
            "ns/kB" => (self.median(), "ns"),
            unit => (self.median(), unit),
        };
        format!("{} {unit}", digits(value))
    }

    /// The ratio to the peer of comparison.
    fn ratio(&self) -> String {
        digits(self.number("ratio", "value"))
    }

    /// The ratio with its interval or range.
    fn whole_ratio(&self) -> String {
        format!("{} ({})", self.ratio(), self.range())
    }

    fn range(&self) -> String {
        if self.0["ratio"]["interval"] == "none" {
            return "n/a".to_owned();
        }
        let [low, high] = ["low", "high"].map(|field| digits(self.number("ratio", field)));
        format!("{low} to {high}")
    }

    fn samples(&self) -> Vec<f64> {
        let samples = self.0["samples"].as_array().expect("samples");
        samples.iter().map(|sample| sample.as_f64().expect("a sample")).collect()
    }

    /// The median of quotients within a round.
    fn to(&self, other: &Self) -> String {
        let rounds = self.samples().into_iter().zip(other.samples());
        let mut quotients: Vec<f64> = rounds.map(|(a, b)| a / b).collect();
        quotients.sort_by(f64::total_cmp);
        digits(quotients[quotients.len() / 2])
    }
}

/// Three digits, as the reports print them; two behind the point are enough.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Rows of cells as a table of Markdown; `columns` are how it aligns them.
fn table(head: &[&str], columns: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let columns = format!("|{}|\n", columns.join("|"));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    line(&head) + &columns + &rows
}

fn speed() -> String {
    let (tap, veth) = (Report::read("tap"), Report::read("veth"));
    let mut rows = Vec::new();
    for (path, name) in PATHS {
        for (place, (traffic, measure, text, _)) in MEASURES.into_iter().enumerate() {
            let size = (traffic == "unicast").then_some(64);
            let of = |peer| tap.need([path, traffic, measure, peer], size);
            let kernel = of("kernel");
            rows.push(vec![
                if place == 0 { name } else { "" }.to_owned(),
                text.to_owned(),
                of("umacvlan").ratio(),
                veth.need([path, traffic, measure, "umacvlan"], size).ratio(),
                of("bridge").to(&kernel),
                of("ovs").to(&kernel),
                kernel.text(),
            ]);
        }
    }
    let head = [
        "path",
        "measure",
        "TAP",
        "veth",
        "Linux bridge",
        "Open vSwitch in user space",
        "kernel macvlan is",
    ];
    table(&head, &["---", "---", "---:", "---:", "---:", "---:", "---:"], &rows)
}

fn kinds() -> String {
    let (tap, veth) = (Report::read("tap"), Report::read("veth"));
    let mut rows = Vec::new();
    for (path, _) in PATHS {
        for (traffic, measure, _, text) in MEASURES {
            let size = (traffic == "unicast").then_some(64);
            let key = |peer| [path, traffic, measure, peer];
            let (of_tap, of_veth) =
                (tap.need(key("umacvlan"), size), veth.need(key("umacvlan"), size));
            rows.push(vec![
                format!("`{path}`"),
                text.to_owned(),
                of_tap.text(),
                of_veth.text(),
                tap.need(key("kernel"), size).text(),
                of_tap.whole_ratio(),
                of_veth.whole_ratio(),
            ]);
        }
    }
    let head = ["path", "what", "TAP", "veth", "kernel", "TAP to kernel", "veth to kernel"];
    table(&head, &["---", "---", "---:", "---:", "---:", "---", "---"], &rows)
}

fn program() -> String {
    let report = Report::read("program");
    let row = |size: u64| {
        let of = |measure, peer| {
            report.need(["program-to-program", "unicast", measure, peer], Some(size))
        };
        let cost = of("cost", "umacvlan");
        let theirs = |peer| {
            let point = of("cost", peer);
            format!("{} ({} times)", digits(point.median()), point.to(&cost))
        };
        let ours = |measure| digits(of(measure, "umacvlan").median());
        vec![
            format!("{size} bytes"),
            ours("cost"),
            ours("cost-forwarder"),
            ours("cost-read"),
            ours("cost-write"),
            theirs("macvtap"),
            theirs("bridge"),
        ]
    };
    let head = [
        "frame",
        "`cost`",
        "`cost-forwarder`",
        "`cost-read`",
        "`cost-write`",
        "`cost` of `macvtap`",
        "of `bridge`",
    ];
    table(&head, &["---", "---:", "---:", "---:", "---:", "---:", "---:"], &[row(64), row(1518)])
}

/// The queues of `--measure queue`, and the reports of both congestion controls.
const QUEUES: [(&str, &str); 2] = [("200m", "200 Mbit/s"), ("1g", "1 Gbit/s")];
const CONTROLS: [(&str, &str); 2] = [("queue-cubic", "CUBIC"), ("queue-bbr", "BBR")];
const BOTH: [&str; 2] = ["umacvlan", "kernel"];

fn queue() -> String {
    let mut rows = Vec::new();
    for (queue, name) in QUEUES {
        for streams in [1, 8] {
            for (report, control) in CONTROLS {
                let report = Report::read(report);
                let of = |what: &str, peer| {
                    let measure = format!("queue-{queue}-{streams}-{what}");
                    report.need(["sub-to-wire", "tcp", &measure, peer], None)
                };
                let pair = |of_one: &dyn Fn(&'static str) -> String| BOTH.map(of_one).join(", ");
                let wait = |what: &'static str| {
                    pair(&|peer| {
                        let point = of(what, peer);
                        let median = point.number("extra", "probe_p50") / 1e3;
                        format!("{} and {}", digits(median), digits(point.median() / 1e3))
                    })
                };
                rows.push(vec![
                    name.to_owned(),
                    streams.to_string(),
                    control.to_owned(),
                    pair(&|peer| digits(of("goodput", peer).median() / 1e6)),
                    of("goodput", "umacvlan").range(),
                    pair(&|peer| format!("{:.0}", of("retransmits", peer).median())),
                    wait("other"),
                    wait("wire"),
                    wait("same"),
                ]);
            }
        }
    }
    let head = [
        "queue",
        "streams",
        "control",
        "Mbit/s",
        "to kernel",
        "retransmits",
        "another link",
        "from the wire",
        "the same link",
    ];
    table(&head, &["---"; 9], &rows)
}

fn queue_shared() -> String {
    let mut rows = Vec::new();
    for (queue, name) in QUEUES {
        for (report, control) in CONTROLS {
            let report = Report::read(report);
            let of = |what: &str, peer| {
                let measure = format!("queue-{queue}-shared-{what}");
                report.need(["sub-to-wire", "tcp", &measure, peer], None)
            };
            rows.push(vec![
                name.to_owned(),
                control.to_owned(),
                BOTH.map(|peer| digits(of("goodput", peer).median() / 1e6)).join(", "),
                of("goodput", "umacvlan").range(),
                BOTH.map(|peer| format!("{:.0}", of("retransmits", peer).median())).join(", "),
                BOTH.map(|peer| digits(of("least", peer).median())).join(", "),
            ]);
        }
    }
    let head = ["queue", "control", "Mbit/s", "to kernel", "retransmits", "slowest, of a quarter"];
    table(&head, &["---"; 6], &rows)
}

fn neighbour() -> String {
    let report = Report::read("neighbour");
    let mut rows = Vec::new();
    for (loaded, beside) in [("", ""), ("-loaded", ", two busy loops")] {
        for (kind, name) in [
            ("calm", "nobody"),
            ("udp", "UDP"),
            ("small", "60-byte frames"),
            ("gso", "GSO broadcasts"),
        ] {
            let measure = format!("neighbour-{kind}{loaded}");
            let mut row = vec![format!("{name}{beside}")];
            for path in ["sub-to-sub", "wire-to-sub"] {
                for peer in BOTH {
                    let point = report.need([path, "request", &measure, peer], None);
                    let median = digits(point.number("extra", "probe_p50") / 1e3);
                    row.push(format!("{median}, {}", digits(point.median() / 1e3)));
                }
            }
            rows.push(row);
        }
    }
    let head = [
        "beside",
        "sub to sub: p50, p99 in ms",
        "kernel",
        "from the wire: p50, p99 in ms",
        "kernel",
    ];
    table(&head, &["---"; 5], &rows)
}

/// What the table of all paths tells: traffic, size, measure, words.
const ALL: [(&str, Option<u64>, &str, &str); 11] = [
    ("unicast", Some(64), "mrr", "64 bytes, `mrr`"),
    ("unicast", Some(64), "ndr", "64 bytes, `ndr`"),
    ("unicast", Some(1518), "mrr", "1518 bytes, `mrr`"),
    ("imix", None, "mrr", "IMIX, `mrr`"),
    ("udp", Some(64), "mrr", "`udp` to a program, 64 bytes"),
    ("broadcast", Some(64), "mrr", "`broadcast`"),
    ("tcp-mtu", None, "throughput", "`tcp-mtu`"),
    ("tcp", None, "throughput", "`tcp`"),
    ("request", None, "rtt", "`rtt`, median"),
    ("unicast", Some(64), "latency-idle", "`latency-idle`, median"),
    ("unicast", Some(64), "latency-50", "latency at 50 % of `pdr`, median"),
];

fn path() -> String {
    let report = Report::read("path");
    let mut rows = Vec::new();
    for path in ["wire-to-sub", "sub-to-wire", "sub-to-sub", "hairpin"] {
        for (traffic, size, measure, text) in ALL {
            let point = |peer| report.point([path, traffic, measure, peer], size);
            let Some(ours) = point("umacvlan") else { continue };
            let mut row = vec![format!("`{path}`"), text.to_owned()];
            for peer in ["umacvlan", "kernel", "bridge", "ovs", "floor"] {
                row.push(point(peer).map_or_else(String::new, |point| point.text()));
            }
            row.push(ours.whole_ratio());
            rows.push(row);
        }
    }
    let head = ["path", "what", "umacvlan", "kernel", "bridge", "ovs", "floor", "ratio"];
    table(&head, &["---", "---", "---:", "---:", "---:", "---:", "---:", "---"], &rows)
}
