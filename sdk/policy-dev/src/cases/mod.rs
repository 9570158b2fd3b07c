//! Cases: what a policy is shown, and what it is expected to give. `docs/policies/cases.md` is their format.
//!
//! A case is a JSON file: either settings and the faults that they have, or snapshots, one after the other, each with what is
//! expected of the plan. The state that a plan leaves is what the next snapshot is decided with. Whatever of a snapshot stands
//! to reason may be left out ([`fill`]). A case that can't be read is a mistake of its author, not a failure of the policy.

pub mod check;
pub mod fill;
pub mod print;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wattle_wire::policy::Snapshot;

use crate::{Usage, files};

/// The most cases of a folder.
const MOST_CASES: usize = 1_000;
/// The most steps of a case.
const MOST_STEPS: usize = 10_000;

/// A case as it stands in its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    about: String,
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default)]
    faults: Option<Vec<String>>,
    #[serde(default)]
    snapshot: Option<Value>,
    #[serde(default)]
    expect: Option<Expect>,
    #[serde(default)]
    steps: Option<Vec<WrittenStep>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    #[serde(default)]
    snapshot: Option<Value>,
    #[serde(default)]
    after_s: Option<i64>,
    #[serde(default)]
    change: Option<BTreeMap<String, Value>>,
    expect: Expect,
}

/// What is expected of a plan. What isn't said isn't checked, but for `fits`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The limit of each charger that is named, and why.
    #[serde(default)]
    pub plan: Option<BTreeMap<String, Limit>>,
    /// Chargers that get nothing.
    #[serde(default)]
    pub standby: Vec<String>,
    /// Chargers of which each gets at least as much as the next.
    #[serde(default)]
    pub order: Vec<String>,
    /// Chargers that get the same.
    #[serde(default)]
    pub equal: Vec<String>,
    /// What all get together, mA.
    #[serde(default)]
    pub sum_ma: Option<Sum>,
    /// Whether no circuit is over what it has on any phase, and each limit is 0 or a step within its charger's range.
    #[serde(default = "yes")]
    pub fits: bool,
    /// The policy declines, with this text in its reason.
    #[serde(default)]
    pub refuses: Option<String>,
}

fn yes() -> bool {
    true
}

/// What a charger is expected to get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Limit {
    /// This much, mA, for whatever reason.
    Milliamps(i32),
    /// This much, mA, for this reason.
    Reasoned {
        /// mA.
        limit_ma: i32,
        /// The policy's words.
        reason: String,
    },
}

/// What all are expected to get together.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Sum {
    /// Exactly this, mA.
    Exact(i64),
    /// Within these bounds, mA.
    Within {
        /// At least.
        #[serde(default)]
        at_least: Option<i64>,
        /// At most.
        #[serde(default)]
        at_most: Option<i64>,
    },
}

/// A case, read and checked.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its file.
    pub file: PathBuf,
    /// What it shows.
    pub about: String,
    /// The settings, as a policy gets them.
    pub settings: String,
    /// What is to happen.
    pub kind: Kind,
    /// The file's content, for writing new expectations into it.
    pub document: Value,
}

/// What a case is about.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The faults of its settings.
    Faults(Vec<String>),
    /// Plans.
    Steps(Vec<Step>),
}

/// One decision.
#[derive(Debug, Clone)]
pub struct Step {
    /// What the policy sees.
    pub snapshot: Snapshot,
    /// What it is expected to give.
    pub expect: Expect,
}

/// The cases of a folder, or of one file, in order of their names.
///
/// # Errors
/// [`Usage`], with file and place, when there is none or one can't be used.
pub fn read(path: &Path) -> Result<Vec<Case>, Usage> {
    if path.is_file() {
        return Ok(vec![read_one(path)?]);
    }
    if !path.exists() {
        let why = "there is none; name the cases with --cases, or make a project that has some with wattle policy new";
        return Err(files::unusable(path, &why));
    }
    let entries = std::fs::read_dir(path).map_err(|error| files::unusable(path, &error))?;
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(|error| files::unusable(path, &error))?.path());
    }
    found.retain(|file| file.extension().is_some_and(|end| end == "json"));
    found.sort();
    match found.len() {
        0 => Err(files::unusable(
            path,
            &"there is no case here; docs/policies/cases.md says how one is written",
        )),
        more if more > MOST_CASES => {
            Err(files::unusable(path, &format!("{more} cases; at most {MOST_CASES} are run")))
        }
        _ => found.iter().map(|file| read_one(file)).collect(),
    }
}

fn read_one(file: &Path) -> Result<Case, Usage> {
    let text = files::read_text(file)?;
    let document: Value = serde_json::from_str(&text).map_err(|error| files::unusable(file, &error))?;
    let written: Written = serde_path_to_error::deserialize(&document)
        .map_err(|error| files::unusable(file, &format!("{}: {}", error.path(), error.inner())))?;
    let settings = written.settings.as_ref().map(Value::to_string).unwrap_or_default();
    let kind =
        kind(&written, file.parent().unwrap_or(Path::new("."))).map_err(|why| files::unusable(file, &why))?;
    Ok(Case { file: file.into(), about: written.about, settings, kind, document })
}

fn kind(written: &Written, folder: &Path) -> Result<Kind, String> {
    match (&written.faults, &written.snapshot, &written.expect, &written.steps) {
        (Some(faults), None, None, None) => Ok(Kind::Faults(faults.clone())),
        (None, Some(snapshot), Some(expect), None) => {
            let filled = fill::snapshot(&whole(snapshot, folder)?).map_err(|why| format!("snapshot{why}"))?;
            named(&filled, expect).map_err(|why| format!("expect.{why}"))?;
            Ok(Kind::Steps(vec![Step { snapshot: filled, expect: expect.clone() }]))
        }
        (None, None, None, Some(written)) if (1..=MOST_STEPS).contains(&written.len()) => {
            steps(written, folder)
        }
        (None, None, None, Some(_)) => Err(format!("`steps` has 1 to {MOST_STEPS} entries")),
        _ => Err("a case has `settings` and `faults`, or `snapshot` and `expect`, or `steps`".into()),
    }
}

fn steps(written: &[WrittenStep], folder: &Path) -> Result<Kind, String> {
    let mut steps = Vec::new();
    let mut last: Option<Value> = None;
    for (index, step) in written.iter().enumerate() {
        let place = |why: String| format!("steps[{index}].{why}");
        let mut value = match (&step.snapshot, last.take()) {
            (Some(snapshot), _) => whole(snapshot, folder).map_err(place)?,
            (None, Some(last)) => last,
            (None, None) => {
                return Err(place("snapshot: the first step has none before it to change".into()));
            }
        };
        value = fill::filled(&value);
        for (pointer, new) in step.change.iter().flatten() {
            change(&mut value, pointer, new).map_err(place)?;
        }
        let now = value["now_us"].as_i64().unwrap_or(0);
        value["now_us"] = now.saturating_add(step.after_s.unwrap_or(0).saturating_mul(1_000_000)).into();
        let snapshot = fill::snapshot(&value).map_err(|why| place(format!("snapshot{why}")))?;
        named(&snapshot, &step.expect).map_err(|why| place(format!("expect.{why}")))?;
        steps.push(Step { snapshot, expect: step.expect.clone() });
        last = Some(value);
    }
    Ok(Kind::Steps(steps))
}

/// A snapshot that stands in the case, or in a file beside it.
fn whole(snapshot: &Value, folder: &Path) -> Result<Value, String> {
    let Value::String(name) = snapshot else { return Ok(snapshot.clone()) };
    let text = files::read_text(&folder.join(name)).map_err(|error| format!("snapshot: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("snapshot: {name}: {error}"))
}

/// Changes what a JSON pointer leads to; its last name may be a new one of an object.
fn change(value: &mut Value, pointer: &str, new: &Value) -> Result<(), String> {
    if let Some(old) = value.pointer_mut(pointer) {
        *old = new.clone();
        return Ok(());
    }
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    match value.pointer_mut(parent) {
        Some(Value::Object(object)) if !name.is_empty() => {
            object.insert(name.into(), new.clone());
            Ok(())
        }
        _ => Err(format!("change: `{pointer}` leads nowhere; it is a path as `/chargers/0/state`")),
    }
}

/// Looks whether every charger that is expected to get something is there.
fn named(snapshot: &Snapshot, expect: &Expect) -> Result<(), String> {
    let lists = [("standby", &expect.standby), ("order", &expect.order), ("equal", &expect.equal)];
    let plan = expect.plan.iter().flat_map(BTreeMap::keys).map(|id| ("plan", id));
    let mut named = lists.into_iter().flat_map(|(key, ids)| ids.iter().map(move |id| (key, id))).chain(plan);
    match named.find(|(_, id)| !snapshot.chargers.iter().any(|one| one.id.as_str() == id.as_str())) {
        Some((key, id)) => Err(format!("{key}: the snapshot has no charger `{id}`")),
        None => Ok(()),
    }
}
