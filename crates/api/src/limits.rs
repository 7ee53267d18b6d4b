//! [`LimitsJson`]: limits in JSON, as an object of words and values.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use umacvlan_core::limit::{Limits, LimitsChange};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// Limits, as in `{"rate": "100mbit", "rx_pps": 1000}`: the words of `umacvlan link add` with their
/// values as text, or as numbers of bits, bytes or frames; `none` or 0 removes a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsJson(pub LimitsChange);

impl LimitsJson {
    /// Whether a field with limits is left out, so that older versions read the rest.
    pub fn is_unlimited(limits: &Limits) -> bool {
        limits.is_empty()
    }
}

impl From<LimitsJson> for Limits {
    fn from(json: LimitsJson) -> Self {
        json.0.apply(Self::default())
    }
}

impl From<Limits> for LimitsJson {
    fn from(limits: Limits) -> Self {
        Self(limits.into())
    }
}

impl From<LimitsJson> for LimitsChange {
    fn from(json: LimitsJson) -> Self {
        json.0
    }
}

impl From<LimitsChange> for LimitsJson {
    fn from(change: LimitsChange) -> Self {
        Self(change)
    }
}

impl Serialize for LimitsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.words())
    }
}

impl<'de> Deserialize<'de> for LimitsJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = LimitsJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of limits, as in {\"rate\": \"100mbit\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LimitsJson, A::Error> {
        let mut change = LimitsChange::default();
        while let Some(word) = map.next_key::<String>()? {
            let value = match map.next_value()? {
                TextOrNumber::Text(text) => text,
                TextOrNumber::Number(number) => number.to_string(),
            };
            change.set(&word, &value).map_err(A::Error::custom)?;
        }
        Ok(LimitsJson(change))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Number(u64),
}

impl PartialSchema for LimitsJson {
    fn schema() -> RefOr<Schema> {
        BTreeMap::<String, String>::schema()
    }
}

impl ToSchema for LimitsJson {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Limits, String> {
        serde_json::from_str::<LimitsJson>(text)
            .map(Limits::from)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        let limits = read(r#"{"rx_rate": "1gbit", "rate": "100mbit", "pps": 1000}"#).unwrap();
        assert_eq!(limits.to_string(), "pps 1000 rx_rate 1gbit tx_rate 100mbit");
        let text = serde_json::to_string(&LimitsJson::from(limits)).unwrap();
        assert_eq!(text, r#"{"pps":"1000","rx_rate":"1gbit","tx_rate":"100mbit"}"#);
        assert_eq!(read(&text), Ok(limits));
        assert!(read("{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            (r#"{"rat": "1mbit"}"#, "\"rat\" is not a limit"),
            (r#"{"rate": "fast"}"#, "rate: \"fast\" is not a rate"),
            (r#"{"rate": -1}"#, "did not match"),
            (r#"["rate"]"#, "an object of limits"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
