//! `wattle-edge journal`: on the folder of a node that runs, and of one that doesn't, sound and damaged.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use wattle_testkit::wait_for;

use crate::support::{Broker, Edge, LIMIT, reading};

fn journal(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-edge"));
    command.arg("journal").args(arguments).output().expect("runs")
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// What a command says that must succeed.
fn said(arguments: &[&str]) -> String {
    let output = journal(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn said_json(arguments: &[&str]) -> Value {
    serde_json::from_str(&said(&[arguments, &["--json"]].concat())).expect("JSON")
}

/// A node that has journaled so many readings.
fn edge(readings: u64) -> (Edge, String) {
    let edge = Edge::start(Broker::Embedded);
    let charger = edge.device("cp-1").ready();
    (1..=readings).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    charger.acknowledged(1, 1, readings);
    let data = edge.folder.path().join("data").display().to_string();
    (edge, data)
}

fn files(data: &str, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(Path::new(data).join("journal")).expect("a folder");
    let mut found: Vec<PathBuf> = all.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(end));
    found.sort();
    found
}

#[test]
fn a_running_node_s_journal_is_shown_verified_followed_and_exported_and_not_repaired() {
    let (edge, data) = edge(50);
    let page = said_json(&["inspect", &data]);
    assert_eq!((page["edge"].as_str(), page["in_use"].as_bool()), (Some("edge-t"), Some(true)));
    assert!(page["last"].as_u64().expect("a number") >= 50, "{page}");
    assert!(said(&["inspect", &data, "--files"]).contains("in use by a running node"));
    assert_eq!(said_json(&["verify", &data])["sound"], true);

    let mut follow = Command::new(env!("CARGO_BIN_EXE_wattle-edge"));
    let follow = follow.args(["journal", "tail", &data, "-n", "1", "--follow", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().expect("runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    lines.next().expect("a line").expect("readable");
    edge.device("cp-1").ready().say("reading", reading(1, 51, 7_777));
    let mut next = || serde_json::from_str::<Value>(&lines.next()?.ok()?).ok();
    wait_for("the reading to be shown", LIMIT, || next().filter(|entry| entry["current_1_ma"] == 7_777))
        .expect("shown");
    follow.kill().expect("killed");
    follow.wait().expect("ended");

    let exported = said(&["export", &data, "--to", "-"]);
    let readings = exported.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert_eq!(readings.filter(|entry| entry["table"] == "readings").count(), 51);
    let refused = journal(&["repair", &data]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("stop it first"), "{}", text(&refused.stderr));
}

#[test]
fn entries_are_exported_as_json_lines_or_arrow_files_once_each_and_in_order() {
    let (mut edge, data) = edge(200);
    assert_eq!(edge.stop(), Some(0));
    let out = edge.folder.path().join("out");
    let path = |name: &str| out.join(name).display().to_string();
    fs::create_dir(&out).expect("a folder");
    said(&["export", &data, "--to", &path("all.jsonl")]);
    let all = fs::read_to_string(out.join("all.jsonl")).expect("there");
    let entries: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let numbers: Vec<u64> =
        entries.iter().map(|entry| entry["sequence"].as_u64().expect("a number")).collect();
    assert!(numbers.is_sorted());
    let seqs = entries.iter().filter(|e| e["table"] == "readings").filter_map(|e| e["seq"].as_u64());
    assert_eq!(seqs.collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());

    said(&["export", &data, "--to", &path("arrow"), "--format", "arrow"]);
    let file = fs::File::open(out.join("arrow/readings.arrow")).expect("there");
    let batches = arrow::ipc::reader::FileReader::try_new(file, None).expect("an Arrow file");
    assert_eq!(batches.map(|batch| batch.expect("sound").num_rows()).sum::<usize>(), 200);

    let some = said(&["export", &data, "--to", "-", "--first", "11", "--last", "20"]);
    assert!(some.lines().all(|line| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        (11..=20).contains(&entry["sequence"].as_u64().expect("a number"))
    }));
    // What is there is not written over.
    let refused = journal(&["export", &data, "--to", &path("all.jsonl")]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(said(&["tail", &data, "-n", "3"]).lines().count(), 3);
}

#[test]
fn damage_is_named_repaired_and_then_gone() {
    let (mut edge, data) = edge(100);
    edge.kill();
    let log = files(&data, ".wlog").pop().expect("a log file");
    let mut bytes = fs::read(&log).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).expect("writable");
    fs::write(log.with_file_name("log-00000000000000999999.wlog"), b"something else").expect("writable");

    let verified = journal(&["verify", &data]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        text(&verified.stdout).contains("1 records are damaged, in 1 places"),
        "{}",
        text(&verified.stdout)
    );
    assert!(text(&verified.stdout).contains("999999"), "{}", text(&verified.stdout));
    let repaired = said_json(&["repair", &data]);
    assert_eq!(repaired["damaged"], 1, "{repaired}");
    assert_eq!(repaired["set_aside"].as_array().map(Vec::len), Some(1), "{repaired}");
    // The row stays damaged where it is, and stands as a gap in what goes up.
    assert!(said(&["export", &data, "--to", "-"]).contains(r#""kind":"gap""#));
    assert_eq!(said_json(&["inspect", &data])["aside"], 2);
}

#[test]
fn a_node_says_in_the_event_of_its_start_what_it_had_to_repair() {
    let (mut edge, data) = edge(50);
    // A node that is stopped seals what it has.
    for seq in [51, 52] {
        assert_eq!(edge.stop(), Some(0));
        edge.start_again();
        edge.resends_until_acknowledged("cp-1", seq, seq);
    }
    edge.kill();
    let log = files(&data, ".wlog").pop().expect("a log file");
    // Of a node that is killed just after it made one a log file has nothing.
    let next = said_json(&["inspect", &data])["last"].as_u64().expect("a number") + 1;
    fs::write(log.with_file_name(format!("log-{next:020}.wlog")), b"").expect("writable");
    assert_eq!(said_json(&["verify", &data])["problems"], serde_json::json!([]));
    let mut bytes = fs::read(&log).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).expect("writable");
    let segment = files(&data, ".wseg").swap_remove(0);
    fs::remove_file(&segment).expect("there");
    edge.start_again();
    // What it says first is on the disk when anything after it is.
    edge.resends_until_acknowledged("cp-1", 53, 53);
    edge.kill();
    let started = edge.journaled().events.into_iter().rfind(|(kind, _)| kind == "node_started");
    let (_, said) = started.expect("it has started");
    assert!(said.contains("1 damaged places, 0 files set aside, missing segments [1..="), "{said}");
}

#[test]
fn a_folder_that_is_declared_restored_begins_a_new_life_with_the_rows_that_it_has_not_sent_up() {
    let (mut edge, data) = edge(20);
    edge.kill();
    let old = said_json(&["inspect", &data]);
    // What only mends hands nothing out.
    assert_eq!(said_json(&["repair", &data])["restored_from"], Value::Null);
    let repaired = said_json(&["repair", &data, "--restored"]);
    assert_eq!(repaired["restored_from"], old["incarnation"], "{repaired}");
    assert_ne!(repaired["incarnation"], old["incarnation"]);
    let former = Path::new(&data)
        .join("journal")
        .join(format!("before-{}", old["incarnation"].as_str().expect("text")));
    let former = former.display().to_string();
    // Nothing was ever sent up: all of it is the new life's.
    assert_eq!(said_json(&["inspect", &former])["last"], 0);
    assert_eq!(said_json(&["inspect", &data])["last"], old["last"]);
    let again = said_json(&["repair", &data, "--restored"]);
    assert_eq!(again["restored_from"], repaired["incarnation"], "{again}");
    assert_eq!(said_json(&["inspect", &data])["last"], old["last"], "nor was anything of the new life");
    // And nothing else is in the folder.
    assert_eq!(said_json(&["verify", &data])["problems"], serde_json::json!([]));

    // The node goes on, and knows what the devices have sent before.
    edge.start_again();
    edge.resends_until_acknowledged("cp-1", 1, 30);
    edge.kill();
    let new = edge.journaled();
    let numbers: Vec<i64> = new.readings.iter().map(|(_, _, seq)| *seq).collect();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
}

#[test]
fn what_a_copy_holds_of_its_former_life_is_shown_verified_and_mended_too() {
    let (mut edge, data) = edge(100);
    edge.kill();
    let old = said_json(&["inspect", &data]);
    let copy = edge.folder.path().join("copy");
    let copied = Command::new("cp").arg("-r").arg(&data).arg(&copy).status().expect("runs");
    assert!(copied.success());
    let copy = copy.display().to_string();
    assert_eq!(said_json(&["repair", &copy])["restored_from"], old["incarnation"]);

    let page = said_json(&["inspect", &copy]);
    let name = format!("before-{}", old["incarnation"].as_str().expect("text"));
    let former = &page["former"][0];
    assert_eq!(
        (&page["last"], &former["folder"], &former["last"]),
        (&Value::from(0), &Value::from(&*name), &old["last"])
    );
    let shown = said(&["inspect", &copy]);
    assert!(shown.contains(&format!("{name}, a former life on its way up:\n  journal of edge-t")), "{shown}");
    assert!(said(&["verify", &copy]).contains(&name));
    assert_eq!(said_json(&["verify", &copy])["sound"], true);
    let exported = journal(&["export", &copy, "--to", "-"]);
    let says =
        format!("not in it: entries 1 to {} of a former life, which wait for the lake; export ", old["last"]);
    assert!(text(&exported.stderr).contains(&says), "{}", text(&exported.stderr));
    assert!(text(&exported.stderr).contains("0 rows: no entry of that range"), "{}", text(&exported.stderr));

    let former = Path::new(&copy).join("journal").join(&name);
    let logs = fs::read_dir(&former).expect("a folder").map(|entry| entry.expect("an entry").path());
    let log =
        logs.filter(|path| path.extension().is_some_and(|end| end == "wlog")).max().expect("a log file");
    let mut bytes = fs::read(&log).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).expect("writable");
    let verified = journal(&["verify", &copy]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        text(&verified.stdout).contains("1 records are damaged, in 1 places"),
        "{}",
        text(&verified.stdout)
    );
    let repaired = said_json(&["repair", &copy]);
    assert_eq!((&repaired["damaged"], &repaired["former"][0]["damaged"]), (&Value::from(0), &Value::from(1)));
    // One that doesn't say whose it is can't be looked into, and is mended.
    fs::remove_file(former.join("identity")).expect("there");
    fs::write(former.join("identity"), "x").expect("writable");
    let verified = journal(&["verify", &copy]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified.stdout).contains("can't be looked into: "), "{}", text(&verified.stdout));
    let repaired = said_json(&["repair", &copy]);
    let mended = &repaired["former"][0];
    assert_eq!((&mended["incarnation"], &mended["last"]), (&old["incarnation"], &old["last"]), "{repaired}");
}

#[test]
fn a_range_that_can_not_be_exported_is_refused_and_an_empty_one_says_what_there_is() {
    let (mut edge, data) = edge(10);
    edge.kill();
    let last = &said_json(&["inspect", &data])["last"];
    let check = |words: &[&str], code: i32, says: &str| {
        let output = journal(&[&["export", &data], words].concat());
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), String::new()));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    };
    check(&["--to", "-", "--first", "50", "--last", "10"], 2, "--first 50 stands behind --last 10");
    check(&["--to", "-", "--format", "arrow"], 2, "--format arrow makes a folder; give its name with --to");
    assert!(!Path::new("-").exists());
    let says = format!("0 rows: no entry of that range is in this journal; it has the entries 1 to {last}\n");
    check(&["--to", "-", "--first", "99999999"], 0, &says);
}

#[test]
fn a_folder_of_rubbish_is_mended_to_an_empty_journal_and_no_gaps_are_promised() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("log-00000000000000000001.wlog"), vec![b'x'; 500]).expect("writable");
    let repaired = said(&["repair", &folder.path().display().to_string(), "--edge", "edge-t"]);
    assert!(repaired.contains("entries up to 0") && !repaired.contains("gaps stand"), "{repaired}");
}

#[test]
fn the_metrics_tell_how_the_journal_stands() {
    let (edge, _) = edge(50);
    let metric = |name: &str| edge.metric(&format!("wattle_edge_journal_{name}"));
    wait_for("the rows to be told", LIMIT, || (metric("depth") >= 50.0).then_some(())).expect("told");
    assert!(metric("bytes") > 1_000.0);
    assert!((0.0..60.0).contains(&metric("oldest_seconds")));
    assert!(metric("seconds_left") > 0.0);
    let page = wattle_testkit::Process::get(edge.http_port, "/metrics").expect("answer");
    for name in ["depth", "bytes", "segments", "dropped", "damaged", "oldest_seconds", "seconds_left"] {
        assert!(page.contains(&format!("\nwattle_edge_journal_{name} ")), "{name} is missing:\n{page}");
    }
}

#[test]
fn what_is_no_journal_is_said_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    for command in ["inspect", "verify", "repair", "tail"] {
        let output = journal(&[command, &path]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(text(&output.stderr).contains("holds no journal"), "{command}: {}", text(&output.stderr));
    }
    let output = journal(&["inspect", "/nowhere"]);
    assert_eq!(text(&output.stderr).matches("No such file").count(), 1, "{}", text(&output.stderr));
    assert_eq!(journal(&["inspect"]).status.code(), Some(2));
}
