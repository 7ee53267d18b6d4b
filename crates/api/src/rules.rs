//! [`RulesJson`]: rules of a link in JSON, as an object of words and values.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use umacvlan_core::rules::{RuleError, RuleOp, RuleWord, Rules, RulesChange};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// Rules, as in `{"isolation": "web", "allow_ethertype": ["arp", "ipv4"]}`: the words of
/// `umacvlan link add` with lists of their values. In a change, an object edits a list:
/// `{"allow_mac": {"add": ["02:00:00:00:00:01"]}}`; the operations are `add`, `del` and `set`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesJson(pub RulesChange);

impl RulesJson {
    /// Whether a field with rules is left out, so that older versions read the rest.
    pub fn is_open(rules: &Rules) -> bool {
        rules.is_empty()
    }
}

impl TryFrom<RulesJson> for Rules {
    type Error = RuleError;

    fn try_from(json: RulesJson) -> Result<Self, RuleError> {
        json.0.apply(Self::default())
    }
}

impl From<Rules> for RulesJson {
    fn from(rules: Rules) -> Self {
        Self((&rules).into())
    }
}

impl From<RulesJson> for RulesChange {
    fn from(json: RulesJson) -> Self {
        json.0
    }
}

impl From<RulesChange> for RulesJson {
    fn from(change: RulesChange) -> Self {
        Self(change)
    }
}

impl Serialize for RulesJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (word, op, values) in self.0.words() {
            match (word.is_list(), op) {
                (false, _) => {
                    let group = values.first().map_or("off", String::as_str);
                    map.serialize_entry(word.name(), group)?;
                }
                (true, RuleOp::Set) => map.serialize_entry(word.name(), &values)?,
                (true, _) => {
                    map.serialize_entry(word.name(), &BTreeMap::from([(op.name(), &values)]))?;
                }
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RulesJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = RulesJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of rules, as in {\"isolation\": \"web\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RulesJson, A::Error> {
        let mut change = RulesChange::default();
        while let Some(name) = map.next_key::<String>()? {
            let word = RuleWord::named(&name).ok_or_else(|| {
                let words = RuleWord::ALL.map(RuleWord::name).join(", ");
                A::Error::custom(format!("\"{name}\" is not a rule, expected one of {words}"))
            })?;
            let mut edit = |op, values: &[String]| {
                let values = values.iter().map(String::as_str);
                change.edit(word, op, values).map_err(A::Error::custom)
            };
            match map.next_value()? {
                Value::Switch(on) => {
                    edit(RuleOp::Set, &[(if on { "on" } else { "off" }).to_owned()])?;
                }
                Value::Text(text) => change.set(word, &text).map_err(A::Error::custom)?,
                Value::List(values) => edit(RuleOp::Set, &values)?,
                Value::Edit(Edit { set, del, add }) => {
                    let edits = [(RuleOp::Set, set), (RuleOp::Del, del), (RuleOp::Add, add)];
                    for (op, values) in edits {
                        if let Some(values) = values {
                            edit(op, &values)?;
                        }
                    }
                }
            }
        }
        Ok(RulesJson(change))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Switch(bool),
    Text(String),
    List(Vec<String>),
    Edit(Edit),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    set: Option<Vec<String>>,
    del: Option<Vec<String>>,
    add: Option<Vec<String>>,
}

impl PartialSchema for RulesJson {
    fn schema() -> RefOr<Schema> {
        BTreeMap::<String, Vec<String>>::schema()
    }
}

impl ToSchema for RulesJson {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RulesChange, String> {
        let json = serde_json::from_str::<RulesJson>(text);
        json.map(RulesChange::from).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let text = r#"{"isolation": "web", "allow_ethertype": "ipv4,arp", "allow_ip": ["::1"]}"#;
        let rules = read(text).unwrap().apply(Rules::default()).unwrap();
        let text = serde_json::to_string(&RulesJson::from(rules.clone())).unwrap();
        let expected = r#"{"allow_ethertype":["ipv4","arp"],"allow_ip":["::1"],"isolation":"web"}"#;
        assert_eq!(text, expected);
        assert_eq!(read(&text).unwrap().apply(Rules::default()), Ok(rules));
        assert!(read("{}").unwrap().is_empty());
        let alone = read(r#"{"isolation": true}"#).unwrap().apply(Rules::default()).unwrap();
        assert_eq!(alone.to_string(), "isolation on");
    }

    #[test]
    fn a_change_edits_lists() {
        let text = r#"{"allow_ip":{"add":["10.0.0.2"]},"isolation":"off"}"#;
        let change = read(text).unwrap();
        assert_eq!(serde_json::to_string(&RulesJson(change.clone())).unwrap(), text);
        let before = read(r#"{"allow_ip": ["10.0.0.1"], "isolation": "web"}"#).unwrap();
        let rules = change.apply(before.apply(Rules::default()).unwrap()).unwrap();
        assert_eq!(rules.to_string(), "allow_ip 10.0.0.1 10.0.0.2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            (r#"{"isolat": "web"}"#, "\"isolat\" is not a rule"),
            (r#"{"allow_mac": ["x"]}"#, "allow_mac: \"x\" is not a unicast MAC address"),
            (r#"{"allow_mac": {"ad": []}}"#, "did not match"),
            (r#"{"allow_mac": 5}"#, "did not match"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
