//! The OpenAPI description, made of the handlers and the types.

use axum::extract::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use hyper::body::Bytes;
use utoipa::OpenApi;

/// What the document says beside the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "umacvlan",
        description = "Macvlan links on parent NICs, forwarded in user space. Served on a Unix \
            socket. Every client that can connect may use GET; other methods are for root and \
            the members of one group.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "links", description = "Links (sub-interfaces)."),
        (name = "parents", description = "Parents of links."),
        (name = "configuration", description = "The configuration, in the file and as it runs."),
        (name = "daemon", description = "The daemon itself."),
    )
)]
/// The parts of the document beside the routes.
pub(super) struct Base;

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
pub(super) async fn openapi(Extension(Document(text)): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

/// The document as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn new(document: &utoipa::openapi::OpenApi) -> Self {
        // Plain data can always be serialized.
        Self(serde_json::to_vec(document).unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;
    use serde_json::Value;

    use super::super::router::described;

    fn document() -> Value {
        serde_json::to_value(described().1).unwrap()
    }

    /// Every operation of the document: its method in capitals, its path, itself.
    fn operations(document: &Value) -> Vec<(String, String, Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let operations = paths.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(|(method, it)| (method.to_uppercase(), path.clone(), it.clone()))
        });
        operations.collect()
    }

    fn each(value: &Value, see: &mut impl FnMut(&Value)) {
        see(value);
        match value {
            Value::Array(values) => values.iter().for_each(|value| each(value, see)),
            Value::Object(fields) => fields.values().for_each(|value| each(value, see)),
            _ => (),
        }
    }

    #[test]
    fn every_reference_has_a_target_and_every_schema_is_used() {
        let document = document();
        let mut used = BTreeSet::new();
        each(&document, &mut |value| {
            if let Some(Value::String(reference)) = value.get("$ref") {
                let pointer = reference.strip_prefix('#').expect(reference);
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                used.insert(reference.rsplit('/').next().unwrap().to_owned());
            }
        });
        let there: BTreeSet<_> =
            document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(there, used);
    }

    #[test]
    fn every_operation_says_what_it_does_and_how_it_fails() {
        let operations = operations(&document());
        assert_eq!(operations.len(), 18, "has this test to learn of a new one?");
        let mut names = BTreeSet::new();
        for (method, path, operation) in operations {
            let at = format!("{method} {path}");
            assert!(names.insert(operation["operationId"].to_string()), "{at}");
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{at}");
            for parameter in path.split('{').skip(1) {
                let name = parameter.split('}').next().unwrap();
                let parameters = operation["parameters"].as_array().expect(&at);
                assert!(
                    parameters.iter().any(|it| it["name"] == name && it["in"] == "path"),
                    "{at}"
                );
            }
            let fails = operation["responses"]
                .as_object()
                .unwrap()
                .iter()
                .find(|(status, _)| ["default", "503"].contains(&status.as_str()));
            let problem = "#/components/schemas/Problem";
            let described = fails.is_some_and(|(_, response)| {
                response["content"]["application/json"]["schema"]["$ref"] == problem
            });
            assert!(described || path == "/openapi.json", "{at}: {fails:?}");
        }
    }

    #[test]
    fn no_get_request_has_a_body() {
        let readers: Vec<_> = operations(&document())
            .into_iter()
            .filter(|(method, ..)| method == Method::GET.as_str())
            .collect();
        for (_, path, operation) in readers {
            assert!(operation.get("requestBody").is_none(), "{path} reads, and has a body");
        }
    }

    /// Method and path of each `curl` in docs/api.md.
    fn examples() -> Vec<(String, String)> {
        let page = include_str!("../../../../docs/api.md");
        let mut examples = Vec::new();
        for line in page.lines().filter(|line| line.contains("http://umacvlan/")) {
            let method =
                line.split_once("-X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
            let (_, rest) = line.split_once("http://umacvlan").unwrap();
            let path = rest.split([' ', '?', '\'']).next().unwrap();
            examples.push((method.to_owned(), path.to_owned()));
        }
        examples
    }

    /// True if a path of the document, with names in braces, is this one.
    fn fits(template: &str, path: &str) -> bool {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(part, given)| part.starts_with('{') || part == given)
    }

    #[test]
    fn the_page_about_the_api_calls_all_of_it_and_nothing_else() {
        let operations = operations(&document());
        let examples = examples();
        let called = |method: &str, template: &str| {
            examples.iter().any(|(m, path)| m == method && fits(template, path))
        };
        for (method, template, _) in &operations {
            assert!(called(method, template), "{method} {template} is not in docs/api.md");
        }
        for (method, path) in &examples {
            let routed =
                operations.iter().any(|(m, template, _)| m == method && fits(template, path));
            assert!(routed, "docs/api.md calls {method} {path}, which is not there");
        }
    }

    #[test]
    fn the_page_has_every_code_with_its_status() {
        use axum::response::IntoResponse;
        use umacvlan_api::Code;
        let page = include_str!("../../../../docs/api.md");
        let document = document();
        let codes = document.pointer("/components/schemas/Code/enum").unwrap().as_array().unwrap();
        assert!(codes.len() >= 13, "{codes:?}");
        for code in codes {
            let word = code.as_str().unwrap();
            let row = page
                .lines()
                .find(|line| line.starts_with("| `") && line.contains(&format!("`{word}`")));
            let code: Code = serde_json::from_value(word.into()).unwrap();
            let status = super::super::problem::problem(code, "").into_response().status();
            let row = row.unwrap_or_else(|| panic!("{word} is not in docs/api.md"));
            assert!(row.contains(&format!("| {} |", status.as_u16())), "{row}: {status}");
        }
    }

    #[test]
    fn the_bodies_on_the_page_are_bodies() {
        use umacvlan_api::{CaptureSpec, LinkChange, LogFilter, NewLink};
        let page = include_str!("../../../../docs/api.md");
        let mut count = 0;
        for line in page.lines().filter(|line| line.contains(" -d '")) {
            let body = line.split('\'').nth(1).unwrap();
            let read = match line.split(' ').nth(2).unwrap() {
                "POST" if line.contains("/v1/capture") => {
                    serde_json::from_str::<CaptureSpec>(body).map(drop)
                }
                "POST" => serde_json::from_str::<NewLink>(body).map(drop),
                "PATCH" => serde_json::from_str::<LinkChange>(body).map(drop),
                _ => serde_json::from_str::<LogFilter>(body).map(drop),
            };
            read.unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
        assert_eq!(count, 7);
    }
}
