//! `umacvlan bench`: writing a report, and keeping or replacing an existing one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::world::UMACVLAN;

/// An empty directory, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("umacvlan-bench-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// A report whose single point has seven samples around `value`.
    fn report(&self, name: &str, around: f64) -> PathBuf {
        let samples: Vec<f64> = (0..7).map(|trial| around + f64::from(trial)).collect();
        let report = json!({
            "schema": "umacvlan-bench/1",
            "bench": "path",
            "environment": { "version": "0.1.0", "kernel": "6.18.0" },
            "points": [{
                "key": {
                    "path": "wire-to-sub", "mode": "bridge", "traffic": "unicast", "size": 64,
                    "subs": 1, "measure": "mrr", "peer": "umacvlan",
                },
                "unit": "frames/s",
                "better": "higher",
                "samples": samples,
                "summary": {
                    "median": around + 3.0, "mad": 2.0, "low": around, "high": around + 6.0,
                    "outliers": [],
                },
                "ratio": { "to": "kernel", "value": 0.8, "low": 0.75, "high": 0.85 },
            }],
        });
        let file = self.0.join(name);
        fs::write(&file, report.to_string()).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that made it unremovable reports another failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bench(words: &[&str], files: &[&Path]) -> Output {
    Command::new(UMACVLAN).arg("bench").args(words).args(files).output().unwrap()
}

fn parts(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_report_is_shown_in_every_form() {
    let folder = Folder::new("show");
    let report = folder.report("a.json", 1e6);
    let [csv, html, out] =
        ["a.csv", "a.html", "b.json"].map(|name| folder.0.join(name).display().to_string());
    let words = ["show", "-j", "--csv", &csv, "--html", &html, "--out", &out];
    let shown = bench(&words, &[&report]);
    let (status, told, complaints) = parts(&shown);
    assert_eq!((status, complaints), (0, ""));
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["points"][0]["key"]["size"], 64);
    let written: Value = serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(told, written);
    assert_eq!(fs::read_to_string(csv).unwrap().lines().count(), 8);
    assert!(fs::read_to_string(html).unwrap().ends_with("</html>\n"));
}

#[test]
fn a_condition_that_is_true_fails_and_says_of_what() {
    let folder = Folder::new("fail");
    let report = folder.report("a.json", 1e6);
    let fine = bench(&["show", "--fail-if", "ratio < 0.78"], &[&report]);
    assert_eq!(parts(&fine).0, 0);
    let failed = bench(&["show", "--fail-if", "size=64: ratio < 0.9"], &[&report]);
    let (status, told, complaints) = parts(&failed);
    assert!(status == 1 && told.contains("1.00 Mframes/s"), "{told}");
    assert!(complaints.contains("true of 1 of 1 points"), "{complaints}");
    assert!(complaints.contains("64 B 1 subs mrr umacvlan: ratio 0.800"), "{complaints}");
    let nothing = bench(&["show", "--fail-if", "size=65: ratio < 0.9"], &[&report]);
    let (status, _, complaints) = parts(&nothing);
    assert!(status == 1 && complaints.contains("no point of the report is meant"), "{complaints}");
    let wrong = bench(&["show", "--fail-if", "ratio"], &[&report]);
    assert_eq!(parts(&wrong).0, 2);
}

#[test]
fn arguments_that_measure_nothing_are_refused_before_anything_is_measured() {
    for (words, why) in [
        (vec!["path", "--fail-if", "foo < 1"], "\"foo\" is no figure; the figures are value, "),
        (vec!["forward", "--fail-if", "foo < 1"], "\"foo\" is no figure"),
        (
            vec!["path", "--congestion", "foo"],
            "no TCP congestion control \"foo\": this kernel has ",
        ),
        (
            vec!["path", "--mode", "bridge", "--path", "hairpin"],
            "path hairpin is measured in mode source or vepa only",
        ),
    ] {
        let refused = bench(&words, &[]);
        let (status, told, complaints) = parts(&refused);
        assert_eq!((status, told, complaints.lines().count()), (1, "", 1), "{complaints}");
        assert!(complaints.contains(why), "{complaints}");
    }
}

#[test]
fn a_slowdown_fails_a_comparison() {
    let folder = Folder::new("compare");
    let (fast, slow) = (folder.report("a.json", 1e6), folder.report("b.json", 9e5));
    let worse = bench(&["compare"], &[&fast, &slow]);
    let (status, told, _) = parts(&worse);
    assert!(status == 1 && told.contains("-10.0 %") && told.contains("WORSE"), "{told}");
    assert_eq!(parts(&bench(&["compare"], &[&slow, &fast])).0, 0);
    assert_eq!(parts(&bench(&["compare", "--threshold", "20"], &[&fast, &slow])).0, 0);
    let same = bench(&["compare", "-j"], &[&fast, &fast]);
    let (status, told, _) = parts(&same);
    let told: Value = serde_json::from_str(told).unwrap();
    assert!(status == 0 && told["changes"][0]["verdict"] == "same", "{told}");
}

#[test]
fn one_trial_is_shown_without_an_interval() {
    let folder = Folder::new("single");
    let report = folder.report("a.json", 1e6);
    let mut older: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    older["points"][0]["samples"] = vec![1e6].into();
    fs::write(&report, older.to_string()).unwrap();
    let html = folder.0.join("a.html").display().to_string();
    let shown = bench(&["show", "--html", &html], &[&report]);
    let (status, told, _) = parts(&shown);
    let table = told.split_once("\n\n").unwrap().1;
    assert!(
        status == 0
            && table.contains("  n/a\n")
            && !table.contains("n/a of kernel")
            && !table.contains(" to "),
        "{told}"
    );
    assert!(fs::read_to_string(html).unwrap().contains("<td>0.800 of kernel (n/a)</td>"));
    let told = bench(&["show", "-j"], &[&report]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let point = &told["points"][0];
    assert_eq!(
        (&point["summary"]["interval"], &point["ratio"]["interval"]),
        (&"none".into(), &"none".into())
    );
    let tested = bench(&["show", "--fail-if", "low < 1"], &[&report]);
    let (status, _, complaints) = parts(&tested);
    assert!(status == 1 && complaints.contains("has a low"), "{complaints}");
}

#[test]
fn trials_go_on_until_the_interval_is_as_narrow_as_requested() {
    let words = "forward --mode passthru --subs 1 --quick --trials auto --width 100 -j";
    let output = bench(&words.split(' ').collect::<Vec<_>>(), &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for point in report["points"].as_array().unwrap() {
        assert!((7..=100).contains(&point["samples"].as_array().unwrap().len()), "{point}");
        assert_eq!(point["summary"]["interval"], "confidence");
    }
    for (words, complaint) in [
        ("forward --width 5", "--width needs --trials auto"),
        ("forward --trials 7 --width 5", "--width needs --trials auto"),
        ("forward --trials auto --width 0", "a width is 0.1 to 100 percent"),
        ("forward --trials some", "trials are a number above 0, or auto"),
    ] {
        let output = bench(&words.split(' ').collect::<Vec<_>>(), &[]);
        let (status, told, complaints) = parts(&output);
        assert!(status != 0 && told.is_empty() && complaints.contains(complaint), "{complaints}");
    }
}

#[test]
fn a_machine_that_does_something_else_is_refused_if_it_must_be_stable() {
    let ended = AtomicBool::new(false);
    let loops = thread::available_parallelism().unwrap().get();
    thread::scope(|scope| {
        for _ in 0..loops {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let words = "forward --quick --trials 1 --mode passthru --subs 1 -j";
        let strict = format!("{words} --strict");
        let refused = bench(&strict.split(' ').collect::<Vec<_>>(), &[]);
        let noted = bench(&words.split(' ').collect::<Vec<_>>(), &[]);
        ended.store(true, Ordering::Relaxed);
        let (status, told, complaints) = parts(&refused);
        assert_eq!((status, told), (1, ""), "{complaints}");
        assert!(complaints.contains("the machine is not stable"), "{complaints}");
        assert!(complaints.contains("other-load "), "{complaints}");
        let (status, told, complaints) = parts(&noted);
        assert_eq!(status, 0, "{complaints}");
        assert!(complaints.contains("machine: NOT stable: timer-jitter "), "{complaints}");
        let report: Value = serde_json::from_str(told).unwrap();
        let stability = &report["environment"]["stability"];
        assert_eq!(stability["stable"], false, "{stability}");
        let mut findings = stability["findings"].as_array().unwrap().iter();
        let load = findings.find(|finding| finding["name"] == "other-load").unwrap();
        assert!(load["value"].as_f64() > load["limit"].as_f64(), "{load}");
    });
}

#[test]
fn an_artifact_is_measured_again_with_a_verdict_for_each_claim() {
    let folder = Folder::new("artifact");
    let file = folder.0.join("a.tar");
    let words = "forward --quick --trials 1 --mode passthru --subs 1 -j --artifact";
    let output = bench(&words.split(' ').collect::<Vec<_>>(), &[&file]);
    let (status, report, complaints) = parts(&output);
    assert_eq!(status, 0, "{complaints}");
    let report: Value = serde_json::from_str(report).unwrap();
    let ratios =
        report["points"].as_array().unwrap().iter().filter(|point| point["ratio"].is_object());
    let ratios = ratios.count();
    // A tolerance that no machine exceeds: this is about what is measured, not how fast.
    let again = bench(&["replicate", "-j", "--tolerance", "1e7"], &[&file]);
    let (status, told, complaints) = parts(&again);
    assert_eq!(status, 0, "{complaints}");
    assert!(complaints.contains("umacvlan bench forward --quick --trials=1"), "{complaints}");
    let told: Value = serde_json::from_str(told).unwrap();
    let claims = told["claims"].as_array().unwrap();
    assert!(claims.len() == ratios && ratios > 0, "{told}");
    assert!(claims.iter().all(|claim| claim["verdict"] == "replicated"), "{told}");
    assert_eq!((&told["same_binary"], &told["tolerance"]), (&true.into(), &1e7.into()));
    // A program whose engine takes so many times as long: the shell, which runs a script `bench`.
    let replicate = |factor: f64| {
        let mut slowed = report.clone();
        for point in slowed["points"].as_array_mut().unwrap() {
            let slower = |value: &Value| Value::from(value.as_f64().unwrap() * factor);
            if point["ratio"].is_object() {
                point["ratio"]["value"] = slower(&point["ratio"]["value"]);
            }
        }
        fs::write(folder.0.join("slowed.json"), slowed.to_string()).unwrap();
        fs::write(folder.0.join("bench"), "cat slowed.json\n").unwrap();
        let mut command = Command::new(UMACVLAN);
        command.args(["bench", "replicate", "--binary", "/bin/sh"]).arg(&file);
        command.current_dir(&folder.0).output().unwrap()
    };
    let good = format!("{ratios} of {ratios} claims replicated, with a tolerance of 25 %\n");
    for (factor, status, words) in [(1.0, 0, good.as_str()), (1.2, 0, &good), (1.3, 1, "\n0 of ")] {
        let output = replicate(factor);
        let (found, told, complaints) = parts(&output);
        assert!(found == status && told.contains(words), "{factor}: {told}{complaints}");
        assert_eq!(told.contains("NOT replicated"), status == 1, "{told}");
    }
}

#[test]
fn an_artifact_that_was_changed_is_not_measured() {
    let folder = Folder::new("doctored");
    let file = folder.0.join("a.tar");
    let words = "forward --quick --trials 1 --mode passthru --subs 1 -j --artifact";
    let output = bench(&words.split(' ').collect::<Vec<_>>(), &[&file]);
    assert!(output.status.success());
    let mut bytes = fs::read(&file).unwrap();
    let text = b"\"lookup\"";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at + 1] = b'L';
    fs::write(&file, bytes).unwrap();
    for (file, complaint) in [
        (file.as_path(), "report.json has another sum than SHA256SUMS says"),
        (&folder.report("a.json", 1e6), "is no artifact"),
        (Path::new("/nonexistent"), "No such file"),
    ] {
        let output = bench(&["replicate"], &[file]);
        let (status, told, complaints) = parts(&output);
        assert!(status == 1 && told.is_empty(), "{told}");
        assert!(
            complaints.contains(complaint) && !complaints.contains("measuring"),
            "{complaints}"
        );
    }
    let output = bench(&["forward", "--artifact", "/nonexistent/a.tar"], &[]);
    assert!(parts(&output).0 == 1 && parts(&output).2.contains("no such directory"));
}

#[test]
fn a_trend_fails_if_a_point_is_worse_than_before() {
    let folder = Folder::new("against");
    let words = "forward --quick --trials 5 --mode passthru --subs 1 -j";
    let run = |more: &[&str], files: &[&Path]| {
        let words: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
        bench(&words, files)
    };
    let first: Value = serde_json::from_slice(&run(&[], &[]).stdout).unwrap();
    let points = first["points"].as_array().unwrap().len();
    let older = |name: &str, factor: f64| {
        let mut report = first.clone();
        for point in report["points"].as_array_mut().unwrap() {
            for sample in point["samples"].as_array_mut().unwrap() {
                *sample = (sample.as_f64().unwrap() * factor).into();
            }
        }
        let file = folder.0.join(name);
        fs::write(&file, report.to_string()).unwrap();
        file
    };
    // Far more than any two runs differ.
    let (fast, slow) = (older("fast.json", 1e-4), older("slow.json", 1e4));
    let worse = run(&["--tolerance", "10", "--against"], &[&fast]);
    let (status, told, complaints) = parts(&worse);
    assert!(status == 1 && serde_json::from_str::<Value>(told).is_ok(), "{complaints}");
    let words = format!("{points} points, 0 better and {points} worse by more than 10 %");
    assert!(complaints.contains(&words) && complaints.contains("(WORSE)"), "{complaints}");
    assert_eq!(parts(&run(&["--against"], &[&slow])).0, 0);
    let (nothing, wrong) =
        (run(&["--tolerance", "10"], &[]), run(&["--against", "/nonexistent"], &[]));
    assert_eq!((parts(&nothing).0, parts(&wrong).0), (2, 1));
    assert!(parts(&wrong).2.contains("cannot read /nonexistent"), "{}", parts(&wrong).2);
}

#[test]
fn the_engine_is_measured_in_memory_beside_a_bare_look_up() {
    let words = ["forward", "--quick", "--trials", "1", "--mode", "passthru", "-j"];
    let output = bench(&words, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let points = report["points"].as_array().unwrap();
    assert!(points.len() >= 20, "{points:?}");
    for pair in points.chunks(2) {
        assert_eq!(pair[0]["key"]["peer"], "umacvlan");
        assert_eq!(pair[0]["ratio"]["to"], "lookup");
        assert_eq!(pair[1]["key"]["peer"], "lookup");
    }
}
