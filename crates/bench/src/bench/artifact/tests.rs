//! Artifacts that are whole, and ones that somebody has changed.

use umacvlan_testkit::Scratch;

use super::*;
use crate::bench::fixtures;

/// The report with figures that follow from its seed.
fn report() -> Report {
    let mut report = fixtures::report();
    report.environment.seed = 1;
    report.points.truncate(8);
    report.points[0].histogram = vec![(1500, 3), (90_000, 1)];
    report
}

/// Made up, since the sum of a test program takes a while.
fn binary() -> Binary {
    let [version, build, target] = ["0.0.0", "debug", "x86_64 linux"].map(str::to_owned);
    Binary { version, build, target, sha256: sum(b"a program"), bytes: 9 }
}

fn written(report: &Report) -> (Scratch, PathBuf) {
    let folder = Scratch::new();
    let file = folder.path().join("a.tar");
    write(&file, report, &binary()).unwrap();
    (folder, file)
}

/// Packs these files again, with sums that fit if `sums` says so.
fn pack(file: &Path, mut files: BTreeMap<String, String>, sums: bool) {
    if sums {
        files.remove(SUMS);
        let text = files.iter().map(|(name, text)| format!("{}  {name}\n", sum(text.as_bytes())));
        let text = text.collect();
        files.insert(SUMS.to_owned(), text);
    }
    let mut archive = tar::Builder::new(File::create(file).unwrap());
    for (name, text) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
}

/// Why an artifact is refused of which `change` has changed a file.
fn refusal(name: &str, sums: bool, change: impl FnOnce(&str) -> String) -> String {
    let (_folder, file) = written(&report());
    let mut files = unpack(&file).unwrap();
    let text = files.get_mut(name).unwrap();
    let changed = change(text);
    assert_ne!(*text, changed, "a change");
    *text = changed;
    pack(&file, files, sums);
    format!("{:#}", read(&file).unwrap_err())
}

#[test]
fn an_artifact_is_read_as_it_was_written() {
    let (_folder, file) = written(&report());
    let artifact = read(&file).unwrap();
    assert_eq!(artifact.report.points.len(), 8);
    assert_eq!(artifact.binary, binary());
    let files = unpack(&file).unwrap();
    assert!(
        files[HISTOGRAMS]
            .ends_with("mrr,umacvlan,1500,3\nwire-to-sub,bridge,udp,64,1,mrr,umacvlan,90000,1\n")
    );
    assert_eq!(files[SUMS].lines().count(), files.len() - 1);
    assert!(files["report.html"].ends_with("</html>\n"));
}

#[test]
fn its_files_are_in_a_folder_and_need_not_be() {
    let (_folder, file) = written(&report());
    let mut archive = tar::Archive::new(File::open(&file).unwrap());
    for entry in archive.entries().unwrap() {
        assert!(entry.unwrap().path().unwrap().starts_with("a"));
    }
    // As older versions wrote it.
    let files = unpack(&file).unwrap();
    pack(&file, files, false);
    assert_eq!(crate::bench::report::read(&file).unwrap().points.len(), 8);
}

#[test]
fn a_changed_file_has_another_sum() {
    for name in [REPORT, SAMPLES, BINARY, HISTOGRAMS, README] {
        let refused = refusal(name, false, |text| text.replacen('1', "2", 1) + " ");
        assert!(refused.contains(&format!("{name} has another sum")), "{refused}");
    }
}

#[test]
fn figures_that_do_not_follow_from_their_samples_are_refused_though_all_sums_fit() {
    let number = |at: f64| format!("{at}");
    let [point, ..] = &report().points[..] else { unreachable!("there are eight") };
    let (ratio, median) = (point.ratio.as_ref().unwrap().value, point.summary.median);
    let refused = refusal(REPORT, true, |text| text.replacen(&number(ratio), "1.5", 1));
    assert!(refused.contains("the ratio of wire-to-sub bridge udp 64 B"), "{refused}");
    let refused = refusal(REPORT, true, |text| {
        let at = text.find("\"median\"").unwrap();
        text[..at].to_owned() + &text[at..].replacen(&number(median), "9e9", 1)
    });
    assert!(refused.contains("the figures of wire-to-sub"), "{refused}");
    let refused = refusal(SAMPLES, true, |text| text.replacen(",0,", ",1,", 1));
    assert!(refused.contains("have different samples"), "{refused}");
}

#[test]
fn missing_files_and_other_archives_are_refused() {
    let (_folder, file) = written(&report());
    for name in [REPORT, BINARY, SUMS] {
        let mut files = unpack(&file).unwrap();
        files.remove(name);
        let other = file.with_extension("other");
        pack(&other, files, false);
        let refused = format!("{:#}", read(&other).unwrap_err());
        assert!(refused.contains(&format!("{name} is missing")), "{refused}");
    }
    fs::write(&file, "no archive at all").unwrap();
    assert!(format!("{:#}", read(&file).unwrap_err()).contains("is no artifact"));
    assert!(read(Path::new("/nonexistent")).is_err());
}
