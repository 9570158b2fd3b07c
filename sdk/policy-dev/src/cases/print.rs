//! Writes a case with new expectations, in one form: what fits on a line stands on one.
//!
//! Only what was given replaces what was expected: the plan with the same chargers as before (all that ask where there was no plan), with
//! reasons where reasons stood; the faults; the text of a refusal. Assertions such as `order` stay as they are: they are what
//! the author means, and go on failing.

use serde_json::{Map, Value, json};

use super::check::{Given, Shares};

/// The longest line that an object or a list is put on.
const LINE: usize = 110;

/// The document of a case with what was given as what is expected.
pub fn updated(document: &Value, given: &Given) -> Value {
    let mut document = document.clone();
    match given {
        Given::Faults(faults) => document["faults"] = json!(faults),
        Given::Plans(plans) => {
            let many = document.get("steps").is_some();
            for (index, plan) in plans.iter().enumerate() {
                let step = if many { &mut document["steps"][index] } else { &mut document };
                expectation(&mut step["expect"], plan);
            }
        }
    }
    document
}

fn expectation(expect: &mut Value, given: &Result<Shares, String>) {
    if !expect.is_object() {
        *expect = json!({});
    }
    let Some(object) = expect.as_object_mut() else { return };
    match given {
        Err(why) => {
            object.remove("plan");
            object.insert("refuses".into(), json!(why));
        }
        Ok(shares) => {
            object.remove("refuses");
            let before = object.get("plan").and_then(Value::as_object);
            let plan = plan(shares, before);
            object.insert("plan".into(), plan);
        }
    }
}

fn plan(shares: &Shares, before: Option<&Map<String, Value>>) -> Value {
    let kept = shares.iter().filter(|(id, (limit, why))| match before {
        Some(before) => before.contains_key(*id),
        None => *limit != 0 || !why.is_empty(),
    });
    let entry = |(id, (limit, why)): (&String, &(i32, String))| {
        let reasoned = before.and_then(|before| before.get(id)).is_some_and(Value::is_object);
        let value = if reasoned { json!({ "limit_ma": limit, "reason": why }) } else { json!(limit) };
        (id.clone(), value)
    };
    Value::Object(kept.map(entry).collect())
}

/// A document as text, indented by two.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0, 0);
    out.push('\n');
    out
}

/// Writes a value after `used` characters of a line whose indentation is `indent`.
fn write(out: &mut String, value: &Value, indent: usize, used: usize) {
    let line = one_line(value);
    let is_short = indent + used + line.len() <= LINE && indent > 0;
    match value {
        Value::Object(object) if !is_short && !object.is_empty() => {
            let entries =
                object.iter().map(|(name, value)| (format!("{}: ", Value::from(name.as_str())), value));
            block(out, ['{', '}'], entries, indent);
        }
        Value::Array(list) if !is_short && !list.is_empty() => {
            block(out, ['[', ']'], list.iter().map(|value| (String::new(), value)), indent);
        }
        _ => out.push_str(&line),
    }
}

fn block<'a>(
    out: &mut String,
    brackets: [char; 2],
    entries: impl Iterator<Item = (String, &'a Value)>,
    indent: usize,
) {
    out.push(brackets[0]);
    for (index, (name, value)) in entries.enumerate() {
        out.push_str(if index > 0 { ",\n" } else { "\n" });
        out.extend(std::iter::repeat_n(' ', indent + 2));
        out.push_str(&name);
        write(out, value, indent + 2, name.len());
    }
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
    out.push(brackets[1]);
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let entries = object
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), one_line(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_on_a_line_stands_on_one() {
        let value = json!({ "a": [1, 2], "b": { "c": "x".repeat(60), "d": ["y".repeat(60)] }, "e": {} });
        let printed = text(&value);
        assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), value);
        assert!(printed.contains("  \"a\": [1, 2],\n"), "{printed}");
        assert!(printed.lines().all(|line| line.len() <= LINE), "{printed}");
        assert!(printed.contains("\n    \"d\": [\"yyy"), "{printed}");
    }

    #[test]
    fn what_was_given_takes_the_place_of_what_was_expected_and_assertions_stay() {
        let document = json!({ "about": "x", "expect": { "plan": { "a": { "limit_ma": 1, "reason": "r" }, "b": 2 }, "order": ["b", "a"] } });
        let shares = [("a", 6, "why"), ("b", 7, "so"), ("c", 8, "too")];
        let shares = shares.into_iter().map(|(id, limit, why)| (id.into(), (limit, why.into()))).collect();
        let new = updated(&document, &Given::Plans(vec![Ok(shares)]));
        let plan = json!({ "a": { "limit_ma": 6, "reason": "why" }, "b": 7 });
        assert_eq!(new["expect"], json!({ "plan": plan, "order": ["b", "a"] }));
        let declined = updated(&new, &Given::Plans(vec![Err("no".into())]));
        assert_eq!(declined["expect"], json!({ "refuses": "no", "order": ["b", "a"] }));
    }
}
