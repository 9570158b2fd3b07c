//! `wattle policy replay` and `wattle explain` on the lake of a simulation. The policy is the one that `make policies` builds.

mod lake;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use wattle_edge::journal::{Journal, Options, SyncPolicy};
use wattle_wire::message::Phases;
use wattle_wire::row::{Event, EventKind, Record, Row};
use wattle_wire::{EdgeId, Micros, Milliamps};

const SITE: &str = "id = \"park\"\ntime_zone = \"Europe/Berlin\"\n[control]\npolicy = \"fair-share\"\n\
                    [[circuits]]\nid = \"grid\"\nlimit_a = 20\n[[meters]]\nid = \"meter\"\ncircuit = \"grid\"\n";

struct Bench(TempDir);

impl Bench {
    /// A lake that holds a simulation under a limit that binds.
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(bench.path("site.toml"), SITE).expect("written");
        std::fs::write(bench.path("trace.csv"), include_str!("data/trace.csv")).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.arg("simulate").arg("--site").arg(bench.path("site.toml"));
        command.arg("--trace").arg(bench.path("trace.csv")).arg("--lake").arg(bench.path("lake"));
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.args(words).arg("--lake").arg(self.path("lake")).output().expect("it runs")
    }

    /// Replays a journal that holds these entries.
    fn journaled(&self, records: &[Record]) -> Output {
        let folder = tempfile::tempdir().expect("a folder");
        let edge = EdgeId::new("edge-1").expect("name");
        let options = Options { sync: SyncPolicy::Off, ..Options::new(folder.path().join("journal"), edge) };
        let (mut journal, _) = Journal::open(options, Micros(0)).expect("opened");
        for record in records {
            let sequence = journal.append(record.at_us, record.row.clone()).expect("appended");
            assert_eq!(sequence, record.sequence);
        }
        journal.sync().expect("synced");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.args(["policy", "replay", "--journal"]).arg(folder.path()).output().expect("it runs")
    }

    /// The lines of JSON that a command prints which succeeds.
    fn json(&self, words: &[&str]) -> Vec<Value> {
        let output = self.run(words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

#[test]
fn every_decision_of_a_simulated_lake_comes_out_again_and_one_can_be_explained() {
    let bench = Bench::new();
    let all = bench.json(&["policy", "replay", "--json"]);
    let [tally] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((&tally["different"], &tally["not_replayed"]), (&json!(0), &json!(0)));
    assert_eq!((&tally["keyframes"]["different"], &tally["stretches"]), (&json!(0), &json!([])));
    let same = tally["same"].as_u64().expect("a number");
    assert!(same > 30 && tally["made"].as_u64() >= Some(same), "{tally}");
    assert!(tally["keyframes"]["same"].as_u64() > Some(10), "{tally}");

    // A part of it, from the keyframe before.
    let rows = bench.json(&["policy", "replay", "--policy", "fair-share", "--json"]);
    assert_eq!(rows.len() as u64, same + 1);
    let (first, later) = (&rows[0]["at"], rows[rows.len() / 2]["at"].as_str().expect("a time"));
    let part = bench.json(&["policy", "replay", "--from", later, "--json"]);
    let part = part[0]["same"].as_u64().expect("a number");
    assert!((1..same).contains(&part), "{part} of {same}, from {later} after {first}");
    let is_same = |row: &Value| {
        let chargers = row["chargers"].as_array().expect("a list");
        chargers.iter().all(|charger| charger["setpoint_ma"] == charger["would_have_ma"])
    };
    assert!(rows[..rows.len() - 1].iter().all(is_same));
    let other = bench.json(&["policy", "replay", "--policy", "first-come", "--json"]);
    assert!(!other[..other.len() - 1].iter().all(is_same));

    let explained = &bench.json(&["explain", "--at", later, "--json"])[0];
    assert_eq!((&explained["same_as_recorded"], &explained["at"]), (&json!(true), &json!(later)));
    let text = bench.run(&["explain", "--at", later, "--charger", "P-01"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("Circuit grid") && text.contains("Charger P-01: "), "{text}");
    assert!(!text.contains("Charger P-02"), "{text}");
}

#[test]
fn what_can_not_be_replayed_is_a_wrong_command_line_or_a_failure_that_says_why() {
    let bench = Bench::new();
    let check = |words: &[&str], code: i32, says: &str| {
        let output = bench.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(says), "{error}");
    };
    check(
        &["policy", "replay", "--site", "elsewhere"],
        2,
        "no keyframe of site elsewhere was journaled here",
    );
    check(&["policy", "replay", "--from", "yesterday"], 2, "is no time such as");
    check(&["policy", "replay", "--policy", "/nowhere/p.wasm"], 2, "wattle: /nowhere/p.wasm: No such file");
    check(&["policy", "replay", "--policies", "/nowhere"], 1, "nothing could be replayed: fair-share ");
    let nothing = "no decision was recorded from the beginning to 2001-01-01T00:00:00.000Z, so nothing was compared; \
                   keyframes stand here from 2026-03-30T05:54:00.000Z to 2026-";
    check(&["policy", "replay", "--to", "2001-01-01T00:00:00Z"], 1, nothing);
    check(
        &["policy", "replay", "--at", "2026-03-30T05:54:30Z"],
        1,
        "no decision was recorded from 2026-03-30T05:54:30.000Z to 2026-03-30T05:54:30.999Z",
    );
    check(&["explain", "--at", "2001-01-01T00:00:00Z"], 1, "no recorded decision at or before that time");
    check(&["explain", "--charger", "cp-9"], 1, "the site has no charger cp-9");
}

#[tokio::test]
async fn decisions_before_the_first_keyframe_are_told_and_counted_of_a_journal_and_of_a_lake() {
    let bench = Bench::new();
    let mut records = lake::entries(&bench.path("lake")).await;
    let first = records.iter_mut().find_map(|record| match &mut record.row {
        Row::Event(event) if event.kind == EventKind::Keyframe => Some(event),
        _ => None,
    });
    *first.expect("one at the start") =
        Event::new("park".parse().expect("a name"), None, EventKind::NodeStopped, "");
    let told = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        let count = text.lines().find_map(|line| line.strip_prefix("not replayed          "));
        assert_ne!(count.expect(&text), "0 recorded decisions", "{text}");
        let lines = text.lines().filter(|line| line.contains("no keyframe stands before it"));
        assert_eq!(lines.count(), 1, "{text}");
        text
    };
    told(&bench.journaled(&records));
    std::fs::remove_dir_all(bench.path("lake")).expect("there");
    lake::of(&bench.path("lake"), &records).await;
    let text = told(&bench.run(&["policy", "replay"]));
    let second = records.iter().find_map(|record| match &record.row {
        Row::Event(event) if event.kind == EventKind::Keyframe => Some(record.sequence - 1),
        _ => None,
    });
    assert!(text.contains(&format!(" to {}, ", second.expect("one more"))), "{text}");
    // Of what is asked about a time behind it nothing is missing.
    let text = bench.run(&["policy", "replay", "--from", "2026-03-31T00:00:00Z"]).stdout;
    assert!(!String::from_utf8_lossy(&text).contains("not replayed"));
}

#[tokio::test]
async fn a_journal_with_another_value_is_told_and_fails() {
    let bench = Bench::new();
    let mut records = lake::entries(&bench.path("lake")).await;
    let output = bench.journaled(&records);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let charges = |record: &&mut Record| {
        let Row::Reading(reading) = &record.row else { return false };
        reading.device.as_str() == "P-01" && reading.values.power_w.is_some_and(|power| power.0 > 0)
    };
    let record = records.iter_mut().filter(charges).nth(3).expect("a reading of a charge");
    let sequence = record.sequence;
    if let Row::Reading(reading) = &mut record.row {
        reading.values.current_ma = Some(Phases::new(&[Milliamps(9_999)]));
    }
    let output = bench.journaled(&records);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("are not what the site's machine was told"), "entry {sequence}: {text}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "wattle: something comes out otherwise than it was recorded\n");
}
