//! Small bodies of requests and responses.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::spec::LinkSpec;

/// Body of a request for a new link: a [`LinkSpec`], the name of the interface, and an owner tag.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewLink {
    /// Name of the interface; empty, or ending in `%d`, for the first free number.
    pub name: String,
    /// Opaque owner tag, by which the creator finds its links again. A link with an owner is refused
    /// if its address is in use, or that of another link with an owner: it is set up by the owner's
    /// container, where nothing refuses it.
    pub owner: Option<String>,
    /// Settings of the link.
    #[serde(flatten)]
    pub spec: LinkSpec,
}

impl<'de> Deserialize<'de> for NewLink {
    /// Written by hand: serde cannot both flatten a struct and refuse unknown fields.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let name = fields.remove("name").ok_or_else(|| D::Error::missing_field("name"))?;
        let name = text::<_, D::Error>("name", name)?;
        let owner = fields.remove("owner").unwrap_or_default();
        let owner = text::<_, D::Error>("owner", owner)?;
        let spec = LinkSpec::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
        Ok(Self { name, owner, spec })
    }
}

fn text<T: DeserializeOwned, E: Error>(field: &str, value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(|error| E::custom(format!("{field}: {error}")))
}

impl PartialSchema for NewLink {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new().schema_type(Type::String).description(Some(
            "Name of the interface; empty, or ending in %d, for the first free number.",
        ));
        let owner = ObjectBuilder::new().schema_type(Type::String).description(Some(
            "Opaque owner tag, by which the creator finds its links again. A link with an owner \
                 is refused if its address is in use, or that of another link with an owner.",
        ));
        match LinkSpec::schema() {
            RefOr::T(Schema::Object(mut object)) => {
                object.properties.insert("name".to_owned(), name.into());
                object.properties.insert("owner".to_owned(), owner.into());
                object.required.push("name".to_owned());
                RefOr::T(Schema::Object(object))
            }
            _ => Ref::from_schema_name(LinkSpec::name()).into(),
        }
    }
}

impl ToSchema for NewLink {}

/// Changes that a reload of the configuration made, or would make.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changes {
    /// One line for each change; empty when there is nothing to do.
    pub changes: Vec<String>,
}

/// Result of saving the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct Saved {
    /// File that was written.
    pub path: String,
}

/// Log filter: a level, or targets with levels, as in `info,umacvlan=debug`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogFilter {
    /// The filter.
    pub filter: String,
}

/// Answer of a daemon that works.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `ok`: anything else is a [`Problem`](super::Problem).
    pub status: String,
    /// The daemon's version.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_link_is_a_spec_with_a_name() {
        let new: NewLink =
            serde_json::from_str(r#"{"name":"mac1","parent":"eth0","mode":"bridge"}"#).unwrap();
        assert_eq!((new.name.as_str(), new.spec.parent.as_str()), ("mac1", "eth0"));
        assert_eq!(new.owner, None);
        let owned = serde_json::json!({"name": "mac1", "owner": "cni/a", "parent": "eth0"});
        let owned: NewLink = serde_json::from_value(owned).unwrap();
        assert_eq!(owned.owner.as_deref(), Some("cni/a"));
        let again = serde_json::from_value(serde_json::to_value(&new).unwrap()).unwrap();
        assert_eq!(new, again);
    }

    #[test]
    fn what_a_new_link_does_not_know_is_named() {
        for (body, words) in [
            (r#"{"parent":"eth0"}"#, "missing field `name`"),
            (r#"{"name":"mac1"}"#, "missing field `parent`"),
            (r#"{"name":1,"parent":"eth0"}"#, "name: invalid type"),
            (r#"{"name":"a","owner":1,"parent":"eth0"}"#, "owner: invalid type"),
            (r#"{"name":"a","parent":"b","color":1}"#, "unknown field `color`"),
            (r#"{"name":"a","parent":"b","mode":"loud"}"#, "loud"),
            ("[]", "invalid type"),
        ] {
            let error = serde_json::from_str::<NewLink>(body).unwrap_err().to_string();
            assert!(error.contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn the_schema_of_a_new_link_has_the_name_and_the_rest() {
        let schema = serde_json::to_value(NewLink::schema()).unwrap();
        assert!(schema["properties"]["name"]["type"] == "string", "{schema}");
        assert!(schema["properties"]["parent"].is_object(), "{schema}");
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        assert!(schema["required"].as_array().unwrap().contains(&"name".into()));
    }
}
