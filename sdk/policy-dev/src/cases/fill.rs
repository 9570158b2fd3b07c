//! What of a snapshot may be left out of a case, and what stands there then.
//!
//! Of a circuit all but `id` and `limit_ma`, of a charger all but `id`, and all of the site's own values. A current per phase may be one number,
//! which then holds on each. What is written is taken as [`wattle_wire::policy::Snapshot`] has it, unknown keys are mistakes.

use serde_json::{Value, json};
use wattle_wire::policy::Snapshot;

/// The moment of a case that doesn't say one: 2023-11-14T22:13:20Z.
const NOW_US: i64 = 1_700_000_000_000_000;
const PER_PHASE: [&str; 4] = ["limit_ma", "available_ma", "uncontrolled_ma", "draw_ma"];

/// The snapshot that a value stands for.
///
/// # Errors
/// What is wrong, after the place within the snapshot.
pub fn snapshot(value: &Value) -> Result<Snapshot, String> {
    if !value.is_object() {
        return Err(": a snapshot is an object".into());
    }
    let filled = filled(value);
    let snapshot: Snapshot = serde_path_to_error::deserialize(&filled).map_err(|error| {
        let path = error.path().to_string();
        let dot = if path.starts_with('[') { "" } else { "." };
        format!("{dot}{path}: {}", error.inner())
    })?;
    snapshot.check().map_err(|error| format!(": {error}"))?;
    Ok(snapshot)
}

/// The same with all that was left out.
pub fn filled(value: &Value) -> Value {
    let mut value = value.clone();
    if !value.is_object() {
        return value;
    }
    let site = json!({
        "site": "test", "now_us": NOW_US, "interval_ms": 1000, "circuits": [], "chargers": [],
    });
    default(&mut value, &site);
    let now = value["now_us"].clone();
    for circuit in value["circuits"].as_array_mut().into_iter().flatten() {
        default(circuit, &json!({ "parent": null, "uncontrolled_ma": 0, "stale": false }));
        spread(circuit);
        if let Some(available) = available(circuit) {
            default(circuit, &json!({ "available_ma": available }));
        }
    }
    for charger in value["chargers"].as_array_mut().into_iter().flatten() {
        default(
            charger,
            &json!({
                "circuit": 0, "phases": ["L1"], "state": "waiting", "online": true, "min_ma": 6000, "max_ma": 32000,
                "step_ma": 1000, "safe_ma": 0, "setpoint_ma": 0, "draw_ma": 0, "priority": 0,
            }),
        );
        spread(charger);
        let id = charger["id"].as_str().unwrap_or_default();
        let session = json!({ "id": format!("{id}-1"), "arrived_us": now, "delivered_wh": 0 });
        if charger["state"] != "available" {
            default(charger, &json!({ "session": {} }));
        }
        if charger["session"].is_object() {
            default(&mut charger["session"], &session);
        }
    }
    value
}

/// Adds what an object lacks.
fn default(value: &mut Value, defaults: &Value) {
    let (Some(object), Some(defaults)) = (value.as_object_mut(), defaults.as_object()) else { return };
    for (name, value) in defaults {
        object.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// Makes one number three.
fn spread(value: &mut Value) {
    for name in PER_PHASE {
        if let Some(one) = value.get_mut(name).filter(|one| one.is_number()) {
            *one = json!([one, one, one]);
        }
    }
}

/// What a circuit has left of its limit; none where these are no currents.
fn available(circuit: &Value) -> Option<[i64; 3]> {
    let current = |name: &str, phase: usize| circuit[name][phase].as_i64();
    let left = |phase| Some(current("limit_ma", phase)?.saturating_sub(current("uncontrolled_ma", phase)?));
    Some([left(0)?, left(1)?, left(2)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_to_reason_may_be_left_out() {
        let short = json!({
            "circuits": [{ "id": "grid", "limit_ma": 32000, "uncontrolled_ma": [1000, 0, 0] }],
            "chargers": [{ "id": "a" }, { "id": "b", "state": "available" }, { "id": "c", "session": { "needed_wh": 7 } }],
        });
        let snapshot = snapshot(&short).expect("a snapshot");
        assert_eq!(snapshot.circuits[0].available_ma.0.map(|current| current.0), [31_000, 32_000, 32_000]);
        let sessions: Vec<_> = snapshot.chargers.iter().map(|charger| charger.session.as_ref()).collect();
        assert_eq!(sessions[0].expect("a stay").arrived_us, snapshot.now_us);
        assert!(sessions[1].is_none());
        assert_eq!(sessions[2].and_then(|stay| stay.needed_wh).map(|energy| energy.0), Some(7));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        check(json!({ "circuits": [{ "id": "grid" }] }), ".circuits[0]: missing field `limit_ma`");
        check(json!({ "circuits": [] }), ": `circuits` is empty");
        check(json!([]), ": a snapshot is an object");
        let circuits = json!([{ "id": "grid", "limit_ma": 1 }]);
        check(
            json!({ "circuits": circuits, "chargers": [{ "id": "a", "maximum": 1 }] }),
            ".chargers[0].maximum: ",
        );
        check(
            json!({ "circuits": circuits, "chargers": [{ "id": "a", "circuit": 7 }] }),
            "`chargers[0].circuit`",
        );
        check(
            json!({ "circuits": circuits, "chargers": [{ "id": "a", "max_ma": "x" }] }),
            ".chargers[0].max_ma: ",
        );
    }

    fn check(value: Value, expected: &str) {
        let error = snapshot(&value).expect_err("a mistake");
        assert!(error.contains(expected), "{error}");
    }
}
