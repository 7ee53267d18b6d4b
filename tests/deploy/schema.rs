//! Checks manifests against the types of a client of the Kubernetes API.
//!
//! The types leave out what they do not know and fill in what they miss. So a manifest is read into
//! them and written again, and both have to be the same: a misspelt field is gone, a missing one is
//! there.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The documents of a file, of any kind.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("no YAML: {error}"))
}

/// Checks a document by its kind.
///
/// # Errors
/// Names the field that is wrong.
pub(crate) fn check(document: &Value) -> Result<(), String> {
    let word = |key: &str| document[key].as_str().unwrap_or_default();
    match (word("apiVersion"), word("kind")) {
        ("apps/v1", "DaemonSet") => is::<DaemonSet>(document),
        ("apps/v1", "Deployment") => is::<Deployment>(document),
        ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition") => is::<Network>(document),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization") => is::<Kustomization>(document),
        ("v1", "ConfigMap") => is::<ConfigMap>(document),
        ("v1", "Pod") => is::<Pod>(document),
        (version, kind) => Err(format!("there is no kind \"{kind}\" in \"{version}\" here")),
    }
}

fn is<T: DeserializeOwned + Serialize>(document: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(read).map_err(|error| error.to_string())?;
    same(document, &written, "")
}

fn same(given: &Value, known: &Value, at: &str) -> Result<(), String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            if let Some(key) = given.keys().find(|key| !known.contains_key(*key)) {
                return Err(format!("{at}.{key} is not known"));
            }
            if let Some(key) = known.keys().find(|key| !given.contains_key(*key)) {
                return Err(format!("{at}.{key} is missing"));
            }
            given
                .iter()
                .try_for_each(|(key, value)| same(value, &known[key], &format!("{at}.{key}")))
        }
        (Value::Array(given), Value::Array(known)) if given.len() == known.len() => {
            let mut both = given.iter().zip(known).enumerate();
            both.try_for_each(|(index, (given, known))| {
                same(given, known, &format!("{at}[{index}]"))
            })
        }
        _ if given == known => Ok(()),
        _ => Err(format!("{at} is {given}, read as {known}")),
    }
}

/// The type of Multus that describes a network; its definition has no further fields.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Network {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: NetworkSpec,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NetworkSpec {
    config: String,
}

/// The fields that the manifests use.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    resources: Vec<String>,
    images: Vec<Image>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}
