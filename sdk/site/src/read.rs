//! TOML into a type, with every mistake at once.
//!
//! serde stops at the first mistake. So the value that it names is taken out of the document, or, where there must be
//! one, stood in for by one that can be read, and the document is read again. Each place is mended a few times at most,
//! so it ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

use crate::problem::Problems;

/// How each text begins that stands in for one that can't be read; what is found of it is no mistake of the file.
const STAND_IN: &str = "stand-in-";

/// Reads a configuration file's text and adds what `check` finds; `file` is how mistakes name it.
///
/// # Errors
/// Every mistake: a text that is no TOML (with line), unknown keys, wrong types, missing keys, and what `check` adds.
pub fn read<T: DeserializeOwned>(
    file: &str,
    text: &str,
    check: impl FnOnce(&T, &mut Problems),
) -> Result<T, Problems> {
    read_document(file, document(file, text)?, check)
}

/// The TOML of a text.
pub fn document(file: &str, text: &str) -> Result<Value, Problems> {
    text.parse::<Table>().map(Value::Table).map_err(|e| {
        let mut problems = Problems::default();
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        problems.add(file, "", "", format!("is no TOML: line {line}: {}", e.message()));
        problems
    })
}

/// As [`read`], of TOML.
pub fn read_document<T: DeserializeOwned>(
    file: &str,
    mut document: Value,
    check: impl FnOnce(&T, &mut Problems),
) -> Result<T, Problems> {
    let mut problems = Problems::default();
    // Lists that have lost all that they named, as a check names them: that they are empty is no mistake of the file.
    let mut emptied: BTreeSet<String> = BTreeSet::new();
    // How many stand-ins were tried at each place.
    let mut stand_ins: BTreeMap<Vec<Step>, usize> = BTreeMap::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(document.clone()) {
            Ok(value) => {
                let mut found = Problems::default();
                check(&value, &mut found);
                found.0.retain(|problem| {
                    !problem.to_string().contains(STAND_IN) && !emptied.contains(&problem.key)
                });
                problems.extend(found);
                return problems.or(value);
            }
            Err(error) => error,
        };
        let (place, why) = place_of(error.path(), error.inner().message());
        if !stand_ins.contains_key(&place) {
            let value = find(&document, &place).map(shown).unwrap_or_default();
            problems.add(file, name(&place), value, why);
        }
        let tried = stand_ins.get(&place).copied();
        let Some(tried) = mend(&mut document, &place, tried) else { return Err(problems) };
        if let Some((Step::Index(_), list)) = place.split_last()
            && find(&document, list).and_then(Value::as_array).is_some_and(Vec::is_empty)
        {
            emptied.insert(key(&document, list));
        }
        stand_ins.insert(place, tried);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

/// Where the mistake is and what it is. A key that is missing is a place too.
fn place_of(path: &Path, message: &str) -> (Vec<Step>, String) {
    let mut place: Vec<Step> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    if let Some(key) = missing {
        place.push(Step::Key(key.to_string()));
        return (place, "is missing".into());
    }
    (place, message.to_string())
}

fn name(place: &[Step]) -> String {
    let mut name = String::new();
    for step in place {
        match step {
            Step::Key(key) if name.is_empty() => name.push_str(key),
            Step::Key(key) => name.push_str(&format!(".{key}")),
            Step::Index(index) => name.push_str(&format!("[{index}]")),
        }
    }
    name
}

/// The same as a check names it: what a list holds by its name, and a connector by its charger's and its own.
fn key(document: &Value, place: &[Step]) -> String {
    let mut key = String::new();
    for (depth, step) in place.iter().enumerate() {
        let id = find(document, &place[..=depth]).and_then(|value| value.get("id")).and_then(Value::as_str);
        match (step, id) {
            (Step::Key(name), _) if key.is_empty() => key.push_str(name),
            (Step::Key(name), _) => key.push_str(&format!(".{name}")),
            (Step::Index(_), Some(id)) => match key.strip_suffix(".connectors") {
                Some(charger) => key = format!("{charger}:{id}"),
                None => key.push_str(&format!(".{id}")),
            },
            (Step::Index(index), None) => key.push_str(&format!("[{index}]")),
        }
    }
    key
}

fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => String::new(),
        value => value.to_string(),
    }
}

fn find<'a>(document: &'a Value, place: &[Step]) -> Option<&'a Value> {
    place.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get(key.as_str()),
        Step::Index(index) => value.get(*index),
    })
}

/// The first time takes the value out; if it is missed, puts something there that may be read. Gives how many stand-ins were
/// tried at this place, or nothing when nothing helps.
fn mend(document: &mut Value, place: &[Step], tried: Option<usize>) -> Option<usize> {
    let (last, parent) = place.split_last()?;
    let parent = parent.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::Index(index) => value.get_mut(*index),
    });
    match (parent?, last) {
        (Value::Table(table), Step::Key(key)) => {
            if table.remove(key).is_some() && tried.is_none() {
                return Some(0);
            }
            // Named by the place, so that no two stand-ins seem to be one thing named twice.
            let text = format!("{STAND_IN}{}", name(place).replace(['.', '[', ']'], "-"));
            let tried = tried.unwrap_or(0);
            // A number that is large as currents go, so that nothing else seems not to fit; decimal text for prices.
            let (large, amount) = (Value::Integer(1_000), Value::String("0".into()));
            let all = [Value::String(text), large, Value::Integer(1), Value::Array(Vec::new()), amount];
            let next = all.into_iter().nth(tried)?;
            table.insert(key.clone(), next);
            Some(tried + 1)
        }
        (Value::Array(list), Step::Index(index)) if *index < list.len() => {
            list.remove(*index);
            Some(0)
        }
        _ => None,
    }
}
