//! Whether a policy keeps to its own settings schema: whoever fills in a form made from it must not be refused.

use serde_json::{Map, Value};
use wattle_policy_host::Policy;

/// Looks whether the schema is one, whether each default is what the schema allows, and whether the policy takes all of them together.
///
/// # Errors
/// A sentence with path, value and reason.
pub fn check(policy: &Policy) -> Result<(), String> {
    let text = policy.description().settings_schema.as_str();
    let schema: Value =
        serde_json::from_str(text).map_err(|error| format!("its settings schema is no JSON: {error}"))?;
    if schema["type"] != "object" {
        return Err("its settings schema describes no object; settings are one".into());
    }
    let mut defaults = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(default) = property.get("default") else { continue };
        if let Some(why) = disallowed(default, property) {
            return Err(format!("its settings schema breaks itself: {name}: the default `{default}` {why}"));
        }
        defaults.insert(name.clone(), default.clone());
    }
    let faults =
        policy.validate_settings(&Value::Object(defaults).to_string()).map_err(|error| error.to_string())?;
    match faults.as_slice() {
        [] => Ok(()),
        faults => Err(format!("it refuses the defaults of its own settings schema: {}", faults.join("; "))),
    }
}

/// Why a schema doesn't allow a value; of the schema's words those that the SDKs use.
fn disallowed(value: &Value, schema: &Value) -> Option<String> {
    let number = |name: &str| schema[name].as_f64();
    let is_kind = match schema["type"].as_str() {
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    let beyond = value.as_f64().and_then(|value| {
        let low =
            number("minimum").filter(|least| value < *least).map(|least| format!("is less than {least}"));
        low.or(number("maximum").filter(|most| value > *most).map(|most| format!("is more than {most}")))
    });
    let options = schema["enum"].as_array();
    if !is_kind {
        Some(format!("is no {}", schema["type"].as_str().unwrap_or_default()))
    } else if options.is_some_and(|options| !options.contains(value)) {
        Some("is none of its `enum`".into())
    } else {
        beyond
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_default_that_the_schema_does_not_allow_is_told_why() {
        check(json!(5), json!({ "type": "integer", "minimum": 6 }), Some("is less than 6"));
        check(json!(9), json!({ "type": "integer", "maximum": 8 }), Some("is more than 8"));
        check(json!(1.5), json!({ "type": "integer" }), Some("is no integer"));
        check(json!("c"), json!({ "enum": ["a", "b"] }), Some("is none of its `enum`"));
        check(json!("a"), json!({ "enum": ["a", "b"] }), None);
        check(json!(7), json!({ "type": "integer", "minimum": 7, "maximum": 7 }), None);
    }

    fn check(value: Value, schema: Value, expected: Option<&str>) {
        assert_eq!(disallowed(&value, &schema).as_deref(), expected, "{value} {schema}");
    }
}
