//! Every manifest passes the checks, and manifests with one error each do not.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::schema::{check, documents};

/// Where the manifests are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes")
}

/// The documents of a file in there.
pub(crate) fn read(file: &str) -> Vec<Value> {
    documents(&fs::read_to_string(folder().join(file)).expect(file))
}

/// The names of all files in a subfolder that can contain manifests.
fn files(below: &str) -> Vec<String> {
    let names = fs::read_dir(folder().join(below)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".yaml")).map(|name| format!("{below}{name}")).collect()
}

/// The DaemonSet.
pub(crate) fn daemonset() -> Value {
    read("daemonset.yaml").remove(0)
}

#[test]
fn kubernetes_accepts_every_manifest() {
    for file in [files(""), files("examples/")].concat() {
        if file == "privileged.yaml" {
            continue;
        }
        let documents = read(&file);
        assert!(!documents.is_empty(), "{file}");
        documents.iter().for_each(|document| check(document).expect(&file));
    }
}

#[test]
fn the_patch_for_privileges_changes_that_and_nothing_else() {
    let [patch] = read("privileged.yaml").try_into().unwrap();
    let mut patched = daemonset();
    merge(&mut patched, &patch);
    check(&patched).unwrap();
    let privileged = "/spec/template/spec/containers/0/securityContext/privileged";
    assert_eq!(patched.pointer(privileged), Some(&Value::Bool(true)));
    let context = patched.pointer_mut(privileged.strip_suffix("/privileged").unwrap()).unwrap();
    context.as_object_mut().unwrap().remove("privileged");
    assert_eq!(patched, daemonset());
}

/// Does what `kubectl patch` does, as far as the manifests need it: lists of named objects are
/// merged by name.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(patch)) => {
            for part in patch {
                let same = into.iter_mut().find(|item| item["name"] == part["name"]);
                merge(same.expect("nothing of that name"), part);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

#[test]
fn misspelt_missing_and_wrongly_typed_fields_are_found() {
    let whole = fs::read_to_string(folder().join("daemonset.yaml")).unwrap();
    for (right, wrong, complaint) in [
        ("hostNetwork: true", "hostNetwerk: true", ".spec.template.spec.hostNetwerk is not known"),
        ("mountPropagation:", "mountPropagations:", "mountPropagations is not known"),
        ("              add: [NET", "              plus: [NET", "capabilities.plus is not known"),
        ("hostNetwork: true", "hostNetwork: yes please", "invalid type: string"),
        ("maxSurge: 0", "maxSurge: {}", "expected IntOrString"),
        ("periodSeconds: 1\n", "periodSeconds: 1s\n", "expected i32"),
        (
            "  selector:\n    matchLabels:",
            "  selectors:\n    matchLabels:",
            "selectors is not known",
        ),
        ("    spec:\n      # The parents", "    specs:\n      # The parents", "specs is not known"),
        ("kind: DaemonSet", "kind: DemonSet", "no kind \"DemonSet\""),
    ] {
        assert!(whole.contains(right), "{right}");
        let document = documents(&whole.replacen(right, wrong, 1)).remove(0);
        let error = check(&document).expect_err(wrong);
        assert!(error.contains(complaint), "{wrong}: {error}");
    }
    let no_selector = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n\
                       spec: {template: {spec: {containers: [{name: a}]}}}\n";
    let error = check(&documents(no_selector)[0]).unwrap_err();
    assert_eq!(error, ".spec.selector is missing");
}

#[test]
fn a_duplicate_key_is_found() {
    let twice: Result<Vec<Value>, _> = serde_saphyr::from_multiple("a: 1\nb: 2\na: 3\n");
    assert!(twice.is_err());
}

#[test]
fn kustomize_includes_every_manifest_but_the_optional_ones() {
    let kustomization = read("kustomization.yaml").remove(0);
    let mut named: Vec<&str> = kustomization["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    named.extend(["kustomization.yaml", "networks.yaml", "privileged.yaml"]);
    named.sort_unstable();
    let mut there = files("");
    there.sort_unstable();
    assert_eq!(named, there);
}

#[test]
fn the_walkthrough_names_existing_files() {
    let text = fs::read_to_string(folder().join("../../docs/kubernetes.md")).unwrap();
    let mut named = 0;
    for word in text.split(|sign: char| sign.is_whitespace() || "`,()".contains(sign)) {
        if word.starts_with("deploy/") {
            assert!(folder().join("../..").join(word).exists(), "{word}");
            named += 1;
        }
    }
    assert!(named > 5, "{named}");
}

#[test]
fn the_image_has_the_version_of_this_package_and_the_programs_used() {
    let version = env!("CARGO_PKG_VERSION");
    let kustomization = read("kustomization.yaml").remove(0);
    assert_eq!(kustomization["images"][0]["newTag"], version);
    let daemonset = daemonset();
    let spec = &daemonset["spec"]["template"]["spec"];
    for container in [&spec["containers"][0], &spec["initContainers"][0]] {
        assert_eq!(container["image"], format!("umacvlan:{version}"));
        assert_eq!(kustomization["images"][0]["name"], "umacvlan");
    }
    let dockerfile = fs::read_to_string(folder().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("-t umacvlan:{version} ")), "{dockerfile}");
    let plugin = "/usr/libexec/umacvlan/umacvlan-cni";
    let install = spec["initContainers"][0]["command"].to_string();
    assert!(dockerfile.contains(plugin) && install.contains(plugin), "{install}");
    let channel = fs::read_to_string(folder().join("../../rust-toolchain.toml")).unwrap();
    let rust = dockerfile.split("FROM rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(channel.contains(&format!("\"{rust}")), "{rust} is not in {channel}");
}
