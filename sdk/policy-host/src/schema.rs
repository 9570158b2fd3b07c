//! Settings against a policy's own JSON schema.
//!
//! Two things are looked at. Whether a policy keeps to the schema that it declares ([`check`]): whoever fills in a form made from
//! it must not be refused. And whether settings fit ([`faults`]): each fault with path, value and reason, those that the policy
//! itself finds first, and then those that the schema finds where the policy says nothing.
//!
//! Of JSON schema's words these are known, the others are passed over: `type`, `enum`, `const`, `minimum`, `maximum`,
//! `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`, `minLength`, `maxLength`, `items`, `minItems`, `maxItems`, `properties`,
//! `required`, `additionalProperties`.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Policy, RunError};

/// The most faults that are told.
const MOST_FAULTS: usize = 100;
/// The most that is told of a value, bytes.
const MOST_VALUE_BYTES: usize = 80;

/// Why a policy's schema, or settings under it, can't be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The policy doesn't keep to what it declares.
    #[error("{0}")]
    Broken(String),
    /// The policy fails at it.
    #[error("{0}")]
    Run(#[from] RunError),
}

/// Something that a schema doesn't allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: names with dots, indices in brackets; empty for the whole.
    pub path: String,
    /// What stands there, cut.
    pub value: String,
    /// Why it can't.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "settings" } else { &self.path };
        match self.value.as_str() {
            "" => write!(f, "{path}: {}", self.reason),
            value => write!(f, "{path}: `{value}` {}", self.reason),
        }
    }
}

/// Looks whether the schema is one, whether each default is what it allows, and whether the policy takes all of them together.
///
/// # Errors
/// A sentence with path, value and reason.
pub fn check(policy: &Policy) -> Result<(), SchemaError> {
    let schema = schema_of(policy)?;
    let mut defaults = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(default) = property.get("default") else { continue };
        if let Some(fault) = against(property, default).first() {
            let (value, reason) = (&fault.value, &fault.reason);
            let text = format!("its settings schema breaks itself: {name}: the default `{value}` {reason}");
            return Err(SchemaError::Broken(text));
        }
        defaults.insert(name.clone(), default.clone());
    }
    match policy.validate_settings(&Value::Object(defaults).to_string())?.as_slice() {
        [] => Ok(()),
        faults => Err(SchemaError::Broken(format!(
            "it refuses the defaults of its own settings schema: {}",
            faults.join("; ")
        ))),
    }
}

/// Every fault of settings (JSON text, empty for none).
///
/// # Errors
/// When the policy's schema is none, or the policy fails at it.
pub fn faults(policy: &Policy, settings: &str) -> Result<Vec<String>, SchemaError> {
    let schema = schema_of(policy)?;
    let mut told = policy.validate_settings(settings)?;
    let found = match settings {
        "" => against(&schema, &Value::Object(Map::new())),
        text => match serde_json::from_str(text) {
            Ok(value) => against(&schema, &value),
            Err(error) => vec![Fault::new("", "", format!("are no JSON: {error}"))],
        },
    };
    let is_told = |told: &[String], fault: &Fault| {
        told.iter().any(|line| {
            line.strip_prefix(fault.path.as_str()).is_some_and(|rest| rest.starts_with([':', '.', '[']))
        })
    };
    for fault in found {
        if !is_told(&told, &fault) && told.len() < MOST_FAULTS {
            told.push(fault.to_string());
        }
    }
    Ok(told)
}

fn schema_of(policy: &Policy) -> Result<Value, SchemaError> {
    let text = policy.description().settings_schema.as_str();
    let schema: Value = serde_json::from_str(text)
        .map_err(|error| SchemaError::Broken(format!("its settings schema is no JSON: {error}")))?;
    if schema["type"] != "object" {
        let text = "its settings schema describes no object; settings are one";
        return Err(SchemaError::Broken(text.into()));
    }
    Ok(schema)
}

/// What a schema doesn't allow of a value.
pub fn against(schema: &Value, value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    look(schema, value, "", &mut faults);
    faults.truncate(MOST_FAULTS);
    faults
}

fn look(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    if let Some(why) = wrong_kind(schema, value) {
        return faults.push(Fault::of(path, value, why));
    }
    let whys = [unlisted(schema, value), beyond(schema, value), wrong_length(schema, value)];
    faults.extend(whys.into_iter().flatten().map(|why| Fault::of(path, value, why)));
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(&schema["items"], item, &format!("{path}[{index}]"), faults);
            }
        }
        Value::Object(members) => look_at_members(schema, members, path, faults),
        _ => {}
    }
}

fn look_at_members(schema: &Value, members: &Map<String, Value>, path: &str, faults: &mut Vec<Fault>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let known = schema["properties"].as_object();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            faults.push(Fault::new(&below(name), "", "is missing".into()));
        }
    }
    for (name, member) in members {
        let rest = &schema["additionalProperties"];
        match known.and_then(|known| known.get(name)) {
            Some(property) => look(property, member, &below(name), faults),
            None if *rest == Value::Bool(false) => {
                let names: Vec<_> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let why = format!("is given to a setting that isn't there; there are: {there}");
                faults.push(Fault::of(&below(name), member, why));
            }
            None => look(rest, member, &below(name), faults),
        }
    }
}

fn wrong_kind(schema: &Value, value: &Value) -> Option<String> {
    let is = |kind: &str| match kind {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    (!kinds.iter().any(|kind| is(kind))).then(|| format!("is no {}", kinds.join(" or ")))
}

fn unlisted(schema: &Value, value: &Value) -> Option<String> {
    if let Some(only) = schema.get("const").filter(|only| *only != value) {
        return Some(format!("is not {only}"));
    }
    let options = schema["enum"].as_array().filter(|options| !options.contains(value))?;
    let options: Vec<_> = options.iter().map(Value::to_string).collect();
    Some(format!("is none of {}", options.join(", ")))
}

fn beyond(schema: &Value, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let bound = |name: &str| schema[name].as_f64();
    let least = bound("minimum").filter(|least| number < *least);
    let most = bound("maximum").filter(|most| number > *most);
    let above = bound("exclusiveMinimum").filter(|least| number <= *least);
    let below = bound("exclusiveMaximum").filter(|most| number >= *most);
    let step = bound("multipleOf").filter(|step| *step > 0.0 && (number / step).fract().abs() > f64::EPSILON);
    least
        .map(|least| format!("is less than {least}"))
        .or(most.map(|most| format!("is more than {most}")))
        .or(above.map(|least| format!("is not more than {least}")))
        .or(below.map(|most| format!("is not less than {most}")))
        .or(step.map(|step| format!("is no multiple of {step}")))
}

fn wrong_length(schema: &Value, value: &Value) -> Option<String> {
    let (length, least, most, what) = match value {
        Value::String(text) => (text.chars().count() as u64, "minLength", "maxLength", "characters"),
        Value::Array(items) => (items.len() as u64, "minItems", "maxItems", "items"),
        _ => return None,
    };
    let few = schema[least].as_u64().filter(|least| length < *least);
    let many = schema[most].as_u64().filter(|most| length > *most);
    few.map(|least| format!("has fewer than {least} {what}"))
        .or(many.map(|most| format!("has more than {most} {what}")))
}

impl Fault {
    fn new(path: &str, value: &str, reason: String) -> Self {
        Self { path: path.to_owned(), value: value.to_owned(), reason }
    }

    fn of(path: &str, value: &Value, reason: String) -> Self {
        let mut value = value.to_string();
        if value.len() > MOST_VALUE_BYTES {
            value.truncate(value.floor_char_boundary(MOST_VALUE_BYTES));
            value.push('…');
        }
        Self { path: path.to_owned(), value, reason }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, schema: Value, expected: &[&str]) {
        let found: Vec<_> = against(&schema, &value).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{value} {schema}");
    }

    #[test]
    fn what_a_schema_does_not_allow_is_told_why() {
        check(json!(5), json!({ "type": "integer", "minimum": 6 }), &["settings: `5` is less than 6"]);
        check(json!(9), json!({ "type": "integer", "maximum": 8 }), &["settings: `9` is more than 8"]);
        check(json!(1.5), json!({ "type": "integer" }), &["settings: `1.5` is no integer"]);
        check(json!("c"), json!({ "enum": ["a", "b"] }), &["settings: `\"c\"` is none of \"a\", \"b\""]);
        check(json!(2), json!({ "const": 1 }), &["settings: `2` is not 1"]);
        check(json!(0), json!({ "exclusiveMinimum": 0 }), &["settings: `0` is not more than 0"]);
        check(json!(8), json!({ "exclusiveMaximum": 8 }), &["settings: `8` is not less than 8"]);
        check(json!(7), json!({ "multipleOf": 2 }), &["settings: `7` is no multiple of 2"]);
        check(json!("é"), json!({ "minLength": 2 }), &["settings: `\"é\"` has fewer than 2 characters"]);
        check(json!([1, 2]), json!({ "maxItems": 1 }), &["settings: `[1,2]` has more than 1 items"]);
        check(
            json!(null),
            json!({ "type": ["string", "array"] }),
            &["settings: `null` is no string or array"],
        );
    }

    #[test]
    fn what_a_schema_allows_has_no_fault() {
        check(json!("a"), json!({ "enum": ["a", "b"] }), &[]);
        check(json!(7), json!({ "type": "integer", "minimum": 7, "maximum": 7, "multipleOf": 7 }), &[]);
        check(json!({ "any": 1 }), json!({ "type": "object" }), &[]);
        check(json!([[1]]), json!({ "items": { "items": { "type": "integer" } } }), &[]);
        check(json!(3), json!({ "oneOf": "a word that is not known" }), &[]);
        check(json!(3), json!(true), &[]);
    }

    #[test]
    fn each_fault_has_its_place() {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["mode"],
            "properties": {
                "mode": {},
                "slots": { "type": "integer" },
                "hours": { "items": { "properties": { "from": { "maximum": 23 } } } },
            },
        });
        check(
            json!({ "slots": "many", "hours": [{ "from": 1 }, { "from": 24 }], "slot": 1 }),
            schema,
            &[
                "mode: is missing",
                "hours[1].from: `24` is more than 23",
                "slot: `1` is given to a setting that isn't there; there are: hours, mode, slots",
                "slots: `\"many\"` is no integer",
            ],
        );
    }

    #[test]
    fn what_is_told_is_bounded() {
        let faults = against(&json!({ "items": { "const": 1 } }), &json!(vec!["é".repeat(500); 500]));
        assert_eq!(faults.len(), MOST_FAULTS);
        assert!(faults.iter().all(|fault| fault.value.len() < 2 * MOST_VALUE_BYTES));
    }
}
