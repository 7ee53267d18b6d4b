//! CSV with one row for each sample (RFC 4180, tidy data).

use crate::bench::report::{Better, Point, Report};

const HEAD: &str = "bench,path,mode,traffic,size,subs,measure,peer,unit,better,trial,value,outlier";

/// All samples of the report. The size is empty for points without one.
pub(super) fn render(report: &Report) -> String {
    let mut text = format!("{HEAD}\r\n");
    for point in &report.points {
        rows(&report.bench, point, &mut text);
    }
    text
}

fn rows(bench: &str, point: &Point, text: &mut String) {
    let key = &point.key;
    let size = key.size.map(|size| size.to_string()).unwrap_or_default();
    let subs = key.subs.to_string();
    let better = match point.better {
        Better::Higher => "higher",
        Better::Lower => "lower",
    };
    let fields = [
        bench,
        &key.path,
        &key.mode,
        &key.traffic,
        &size,
        &subs,
        &key.measure,
        &key.peer,
        &point.unit,
        better,
    ];
    let same = fields.map(quoted).join(",");
    for (trial, value) in point.samples.iter().enumerate() {
        let outlier = u8::from(point.summary.outliers.contains(&trial));
        text.push_str(&format!("{same},{trial},{value},{outlier}\r\n"));
    }
}

/// A field, quoted if necessary.
fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;

    #[test]
    fn there_is_a_row_for_each_sample_and_a_field_for_each_name() {
        let report = fixtures::report();
        let text = render(&report);
        let samples: usize = report.points.iter().map(|point| point.samples.len()).sum();
        assert_eq!(text.lines().count(), 1 + samples);
        let width = HEAD.split(',').count();
        assert!(text.lines().all(|line| line.split(',').count() == width));
    }

    #[test]
    fn separators_in_a_field_are_quoted() {
        assert_eq!(quoted("a\"b,c"), "\"a\"\"b,c\"");
        assert_eq!(quoted("udp"), "udp");
    }
}
