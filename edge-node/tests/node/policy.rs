//! A policy's file is replaced while the node runs, and is broken when it starts again.

use std::fs;
use std::path::{Path, PathBuf};

use wattle_testkit::wait_for;
use wattle_wire::message::{self, Setpoint};

use crate::support::{Broker, Device, Edge, LIMIT};

const V1: &str = "1.0.0-hostile";
const V2: &str = "2.0.0-hostile";

#[test]
fn a_node_notices_another_version_tries_it_in_shadow_and_then_obeys_it() {
    let (first, second) = versions();
    let control = "policy = 'site'\npolicy_trial = 5\nsettings = { way = 'remember' }";
    let mut edge = Edge::start_with(Broker::Embedded, control, Some(&first));
    // A trial proves something only while a vehicle asks.
    let charger = edge.device("cp-1").ready();
    charger.say("announce", r#"{"kind":"charger","boot":1}"#);
    let mut seq = 1;
    decides(&edge, V1, &charger, &mut seq);
    let file = edge.folder.path().join("policies/site.wasm");
    fs::write(&file, "half of a policy that is being written").expect("writable");
    fs::write(file.with_extension("new"), &second).expect("writable");
    fs::rename(file.with_extension("new"), &file).expect("moved");
    decides(&edge, V2, &charger, &mut seq);
    // What was compiled is kept for the next start.
    let kept = fs::read_dir(edge.folder.path().join("data/policy-code")).expect("folder").count();
    assert_eq!(kept, 2);
    assert_eq!(edge.stop(), Some(0));
    edge.kill_and_restart();
    let charger = edge.device("cp-1").ready();
    decides(&edge, V2, &charger, &mut seq);
    assert_eq!(edge.stop(), Some(0));

    let journaled = edge.journaled();
    for (kind, detail, times) in [
        ("policy_loaded", V1, 1),
        ("policy_loaded", V2, 2),
        ("policy_shadow", "hostile 2.0.0-hostile decides beside hostile 1.0.0-hostile for 5 decisions", 1),
        ("policy_active", "hostile 2.0.0-hostile decides in place of hostile 1.0.0-hostile", 1),
    ] {
        assert_eq!(journaled.count(kind, detail), times, "{kind} {detail}: {:#?}", journaled.events);
    }
}

#[test]
fn a_node_that_was_killed_and_finds_a_broken_file_goes_on_with_the_version_that_proved_itself() {
    let (first, second) = versions();
    let control = "policy = 'site'\npolicy_trial = 3\nsettings = { way = 'remember' }";
    let mut edge = Edge::start_with(Broker::Embedded, control, Some(&first));
    let (file, kept) =
        (edge.folder.path().join("policies/site.wasm"), edge.folder.path().join("data/policy-last"));
    let mut seq = 1;
    let charger = edge.device("cp-1").ready();
    charger.say("announce", r#"{"kind":"charger","boot":1}"#);
    asks_until("the version to be kept", &edge, &charger, &mut seq, |_| kept.join("depot.last").exists());

    edge.kill();
    fs::write(&file, &first[..first.len() / 2]).expect("writable");
    edge.start_again();
    let charger = edge.device("cp-1").ready();
    decides(&edge, V1, &charger, &mut seq);
    // What is put right goes on trial beside it, and is kept in its turn.
    fs::write(file.with_extension("new"), &second).expect("writable");
    fs::rename(file.with_extension("new"), &file).expect("moved");
    decides(&edge, V2, &charger, &mut seq);
    let is_second = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes == second);
    asks_until("the second version to be kept", &edge, &charger, &mut seq, |_| {
        files(&kept, "wasm").iter().any(is_second)
    });

    // With nothing whole to go back to the node still runs.
    edge.kill();
    for path in files(&kept, "wasm").iter().chain([&file]) {
        fs::write(path, &second[..9]).expect("writable");
    }
    edge.start_again();
    let charger = edge.device("cp-1").ready();
    let built_in = |page: &serde_json::Value| page["sites"][0]["policy"] == "built-in equal-share";
    asks_until("a decision by the built-in share", &edge, &charger, &mut seq, built_in);
    assert_eq!(edge.stop(), Some(0));
    let journaled = edge.journaled();
    for (kind, detail, times) in [
        ("policy_loaded", "hostile 1.0.0-hostile, kept as the last that proved itself", 1),
        ("policy_refused", "; hostile 1.0.0-hostile decides", 1),
        ("policy_active", "hostile 2.0.0-hostile decides in place of hostile 1.0.0-hostile", 1),
        ("policy_refused", "; the built-in equal share decides", 1),
    ] {
        assert_eq!(journaled.count(kind, detail), times, "{kind} {detail}: {:#?}", journaled.events);
    }
}

/// A version and the next.
pub fn versions() -> (Vec<u8>, Vec<u8>) {
    let first = component("hostile");
    let at = first.windows(V1.len()).position(|window| window == V1.as_bytes()).expect("its version");
    let mut second = first.clone();
    second[at..at + V1.len()].copy_from_slice(V2.as_bytes());
    (first, second)
}

/// The files of a folder whose names end like this.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).expect("folder").map(|found| found.expect("entry").path());
    found.filter(|path| path.extension().is_some_and(|of| of == ending)).collect()
}

/// Waits for a decision by a version, while a vehicle asks.
fn decides(edge: &Edge, version: &str, charger: &Device, seq: &mut u64) {
    let policy = format!("hostile {version}");
    asks_until(&format!("a decision by {version}"), edge, charger, seq, |page| {
        page["sites"][0]["policy"] == policy.as_str()
    });
}

/// Waits until the node's status page is as it should be, while a vehicle asks.
fn asks_until(
    what: &str,
    edge: &Edge,
    charger: &Device,
    seq: &mut u64,
    is_as_it_should_be: impl Fn(&serde_json::Value) -> bool,
) {
    let mut obeyed = 0;
    wait_for(what, LIMIT, || {
        let told = charger.heard_so_far("/setpoint");
        let told = told.iter().map(|told| message::decode::<Setpoint>(told).expect("as agreed").number);
        obeyed = told.max().unwrap_or(obeyed);
        let values = format!(r#""state":"waiting","setpoint":{obeyed},"current_ma":[0]"#);
        charger.say("reading", format!(r#"{{"boot":1,"seq":{seq},{values}}}"#));
        *seq += 1;
        is_as_it_should_be(&edge.status()).then_some(())
    })
    .expect("it comes");
}

/// The bytes of a component that `make policies` has built.
pub fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/policies").into());
    let path = folder.join(name).with_extension("wasm");
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `make policies`", path.display()))
}
