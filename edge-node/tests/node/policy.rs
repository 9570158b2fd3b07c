//! A policy's file is replaced while the node runs.

use std::fs;
use std::path::PathBuf;

use wattle_testkit::wait_for;
use wattle_wire::message::{self, Setpoint};

use crate::support::{Broker, Device, Edge, LIMIT};

const V1: &str = "1.0.0-hostile";
const V2: &str = "2.0.0-hostile";

#[test]
fn a_node_notices_another_version_tries_it_in_shadow_and_then_obeys_it() {
    let first = component("hostile");
    let at = first.windows(V1.len()).position(|window| window == V1.as_bytes()).expect("its version");
    let mut second = first.clone();
    second[at..at + V1.len()].copy_from_slice(V2.as_bytes());

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

/// Waits for a decision by a version, while a vehicle asks.
fn decides(edge: &Edge, version: &str, charger: &Device, seq: &mut u64) {
    let mut obeyed = 0;
    wait_for(&format!("a decision by {version}"), LIMIT, || {
        let told = charger.heard_so_far("/setpoint");
        let told = told.iter().map(|told| message::decode::<Setpoint>(told).expect("as agreed").number);
        obeyed = told.max().unwrap_or(obeyed);
        let values = format!(r#""state":"waiting","setpoint":{obeyed},"current_ma":[0]"#);
        charger.say("reading", format!(r#"{{"boot":1,"seq":{seq},{values}}}"#));
        *seq += 1;
        let page = edge.status();
        page["sites"][0]["policy"].as_str().filter(|policy| *policy == format!("hostile {version}")).map(drop)
    })
    .expect("decided");
}

/// The bytes of a component that `make policies` has built.
pub fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/policies").into());
    let path = folder.join(name).with_extension("wasm");
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `make policies`", path.display()))
}
