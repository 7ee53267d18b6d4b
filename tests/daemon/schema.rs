//! Checks values against the schemas of the OpenAPI document. It supports the part of JSON Schema
//! that the document uses and panics at anything else.

use serde_json::Value;

/// Checks `value` against `schema`, whose references lead into `document`.
///
/// # Panics
/// Names the place where the value does not match.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Err(why) = differs(document, schema, value, at) {
        panic!("{why}");
    }
}

fn differs(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (word, what) in schema.as_object().ok_or_else(|| format!("{at}: no schema: {schema}"))? {
        let right = match word.as_str() {
            "$ref" => {
                let pointer = what.as_str().unwrap().trim_start_matches('#');
                differs(document, document.pointer(pointer).unwrap(), value, at)?;
                true
            }
            "type" => match what {
                Value::Array(types) => types.iter().any(|name| has_type(value, name)),
                name => has_type(value, name),
            },
            "enum" => what.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= what.as_f64().unwrap()),
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    differs(document, what, item, &format!("{at}[{place}]"))?;
                }
                true
            }
            "allOf" => {
                for part in what.as_array().unwrap() {
                    differs(document, part, value, at)?;
                }
                true
            }
            "oneOf" => {
                let fits = |part: &&Value| differs(document, part, value, at).is_ok();
                what.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                what.as_array().unwrap().iter().find(missing).is_none()
            }
            "properties" => {
                for (name, part) in what.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        differs(document, part, field, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let more = value.as_object().into_iter().flatten();
                let mut more =
                    more.filter(|(name, _)| known.is_none_or(|it| !it.contains_key(*name)));
                match what {
                    Value::Bool(allowed) => *allowed || more.next().is_none(),
                    part => more.all(|(_, field)| differs(document, part, field, at).is_ok()),
                }
            }
            "propertyNames" | "description" | "format" | "default" | "examples" => true,
            other => panic!("{at}: what is {other} in a schema?"),
        };
        if !right {
            return Err(format!("{at} is {value}, against {word} {what}"));
        }
    }
    Ok(())
}

/// Names of fields in `value` that its schema lacks, at any depth. JSON Schema allows them, but
/// they are not described.
pub(crate) fn undescribed(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let properties = properties(document, schema);
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| match properties.iter().find(|(known, _)| known == name) {
                Some((_, part)) => undescribed(document, part, field),
                None if properties.is_empty() => Vec::new(),
                None => vec![name.clone()],
            })
            .collect(),
        Value::Array(items) => {
            let part = schema.get("items").unwrap_or(&Value::Null);
            items.iter().flat_map(|item| undescribed(document, part, item)).collect()
        }
        _ => Vec::new(),
    }
}

/// The fields that a schema and its parts describe.
fn properties(document: &Value, schema: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = reference.trim_start_matches('#');
        all.extend(properties(document, document.pointer(pointer).unwrap()));
    }
    for part in ["allOf", "oneOf"] {
        for part in schema.get(part).and_then(Value::as_array).into_iter().flatten() {
            all.extend(properties(document, part));
        }
    }
    let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    all.extend(own.map(|(name, part)| (name.clone(), part.clone())));
    all
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("what is the type {other}?"),
    }
}
