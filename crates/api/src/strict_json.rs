//! [`from_strict_json`]: JSON in which a key that an object has twice is an error.
//!
//! serde refuses a repeated field of a struct, and takes the last one of a map without a word. A
//! setting that is given twice with two values is a mistake of its author, whichever of them counts.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Parses JSON of a request or of a configuration.
///
/// # Errors
/// The text is not JSON, has a key twice in one object, or is no `T`.
pub fn from_strict_json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let value = serde_json::from_slice(text)?;
    serde_json::from_slice::<UniqueKeys>(text)?;
    Ok(value)
}

/// Any JSON value without a repeated key.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("duplicate field `{key}`")));
            }
            seen.insert(key);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{LinkChange, NewLink};

    #[test]
    fn a_key_twice_in_one_object_is_named_with_its_place() {
        for (text, key) in [
            (r#"{"name":"a","name":"b","parent":"p0"}"#, "name"),
            (r#"{"name":"a","parent":"p0","mode":"vepa","parent":"p1"}"#, "parent"),
            (r#"{"name":"a","parent":"p0","limits":{"rate":"1mbit","rate":"2mbit"}}"#, "rate"),
            (r#"{"name":"a","parent":"p0","n\u0061me":"b"}"#, "name"),
        ] {
            let error = from_strict_json::<NewLink>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(&format!("duplicate field `{key}` at line 1")), "{error}");
        }
        let text = br#"{"macvlan":{"rules":{"isolation":"web","isolation":"db"}}}"#;
        let error = from_strict_json::<LinkChange>(text).unwrap_err().to_string();
        assert!(error.contains("duplicate field `isolation`"), "{error}");
        let error = from_strict_json::<Value>(br#"[1,{"a":[{"b":1,"b":1}]}]"#).unwrap_err();
        assert!(error.to_string().contains("duplicate field `b`"), "{error}");
    }

    #[test]
    fn the_same_key_in_two_objects_and_every_kind_of_value_pass() {
        let text = r#"{"a":{"a":[null,true,-1,18446744073709551615,1.5,"a"]},"b":{"a":{}}}"#;
        let value = from_strict_json::<Value>(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_is_no_json_has_the_error_of_serde() {
        for text in ["", "{", "[1,]", "{} {}", "nul"] {
            let strict = from_strict_json::<Value>(text.as_bytes()).unwrap_err();
            assert_eq!(
                strict.to_string(),
                serde_json::from_str::<Value>(text).unwrap_err().to_string()
            );
        }
        let deep = "[".repeat(100_000);
        let error = from_strict_json::<Value>(deep.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("recursion limit"), "{error}");
    }
}
