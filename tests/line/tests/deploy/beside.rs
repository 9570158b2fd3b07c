//! `wattle policy run --beside`: a policy beside a live edge node, which doesn't notice.

use std::process::{Command, Stdio};

use serde_json::Value;
use wattle_testkit::{Process, program, wait_for};

use crate::{LIMIT, Rig, component, policies};

impl Rig {
    /// `wattle policy run ... --beside` the edge node: its exit code, the objects that it has printed, and what it said besides.
    fn beside(&self, line: &str) -> (Option<i32>, Vec<Value>, String) {
        let done = self.policy(&format!("run {line} --json --beside http://127.0.0.1:{}", self.edge_http));
        let lines = String::from_utf8(done.stdout).expect("text");
        let objects = lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        (done.status.code(), objects, String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// A charger with a vehicle that asks.
    fn asking(&self) -> Process {
        let mut charger = self.charger("cp-1");
        charger.say("plug anna").expect("it listens");
        self.site("a setpoint", |site| site["chargers"][0]["setpoint_ma"].as_i64() > Some(0));
        charger
    }
}

#[test]
fn a_policy_beside_a_live_edge_node_is_compared_at_each_decision_and_changes_nothing() {
    let mut rig = Rig::new("");
    rig.start_edge();
    let _charger = rig.asking();
    // What the site runs itself does what was done, at each decision.
    let (code, same, said) = rig.beside(&format!("{} --ticks 20", component("fair-share")));
    assert_eq!((code, same.len()), (Some(0), 21), "{said}");
    let sum = &same[20];
    assert_eq!(
        (&sum["decisions"], &sum["otherwise"], &sum["failed"]),
        (&20.into(), &0.into(), &0.into()),
        "{same:#?}"
    );
    assert!(same[..20].iter().all(|one| one["decided_by"] == "fair-share 0.1.0"), "{same:#?}");
    let numbers: Vec<u64> = same[..20].iter().filter_map(|one| one["number"].as_u64()).collect();
    let missed = sum["missed"].as_u64().expect("a count");
    assert_eq!(
        numbers[19] - numbers[0],
        19 + missed,
        "each decision once and in order, or counted: {numbers:?}"
    );
    assert_eq!(same[19]["chargers"][0]["setpoint_ma"], same[19]["chargers"][0]["would_have_ma"]);

    // A surplus policy on a site without a surplus would have told every vehicle otherwise.
    let (code, other, said) = rig.beside(&format!("{} --ticks 3", component("solar-surplus")));
    assert_eq!((code, &other[3]["otherwise"]), (Some(0), &3.into()), "{said} {other:#?}");
    let charger = &other[2]["chargers"][0];
    let amount = |key: &str| charger[key].as_i64().unwrap_or_else(|| panic!("{key}: {charger}"));
    assert_eq!(charger["charger"], "cp-1");
    assert!(amount("would_have_ma") < amount("setpoint_ma") && amount("proposed_ma") > 0, "{charger}");
    let site = rig.decides("fair-share 0.1.0");
    assert_eq!((&site["shadows"], &site["deployed"]), (&serde_json::json!([]), &Value::Null));
}

#[test]
fn what_an_edge_node_shows_of_a_decision_is_a_snapshot_for_a_policy() {
    let mut rig = Rig::new("");
    rig.start_edge();
    let _charger = rig.asking();
    let page = Process::get(rig.edge_http, "/decisions/depot").expect("a page");
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((&page["edge"], &page["site"]), (&"edge-1".into(), &"depot".into()));
    let snapshot = page["decisions"][0]["snapshot"].to_string();
    std::fs::write(rig.folder.path().join("now.json"), snapshot).expect("written");
    let done = rig.policy("run equal-share --snapshot now.json --envelope");
    let printed: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(printed["setpoints"][0]["charger"], "cp-1", "{printed:#}");
    for path in ["/decisions", "/decisions/", "/decisions/other", "/decisions/depot/x", "/decisions/depot/-1"]
    {
        let answer = Process::get(rig.edge_http, path).unwrap_or_default();
        assert!(answer.contains("there is no such page"), "{path}: {answer}");
    }
}

#[test]
fn an_edge_node_that_is_started_again_is_followed_and_an_interrupt_ends_with_the_sum() {
    let mut rig = Rig::new("");
    rig.start_edge();
    let out = rig.folder.path().join("beside.jsonl");
    let mut command = Command::new(program("wattle").expect("is built"));
    let url = format!("http://127.0.0.1:{}", rig.edge_http);
    command
        .args(["policy", "run", "first-come", "--json", "--beside", &url])
        .env("WATTLE_POLICIES", policies());
    command.stdout(Stdio::from(std::fs::File::create(&out).expect("made")));
    let mut beside = Process::start(command).expect("starts");
    let printed = || -> Vec<Value> {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait_for("the first decisions", LIMIT, || (printed().len() > 2).then_some(())).expect("printed");
    rig.kill_edge();
    rig.start_edge();
    let before = printed().len();
    wait_for("decisions of the next run", LIMIT, || (printed().len() > before + 5).then_some(()))
        .expect("printed");
    beside.signal("INT").expect("sent");
    assert_eq!(beside.ended_within(LIMIT).and_then(|status| status.code()), Some(0));
    let all = printed();
    let sum = all.last().expect("a sum");
    assert_eq!(sum["decisions"].as_u64(), Some(all.len() as u64 - 1), "{sum}");
}

#[test]
fn a_policy_that_fails_beside_and_what_can_not_be_asked_are_told() {
    let mut rig = Rig::new("");
    rig.start_edge();
    std::fs::write(rig.folder.path().join("trap.json"), r#"{"way":"trap"}"#).expect("written");
    let (code, all, said) = rig.beside(&format!("{} --settings trap.json --ticks 2", component("hostile")));
    assert_eq!((code, &all[2]["failed"]), (Some(1), &2.into()), "{all:#?}");
    assert!(said.contains("gave no plan for 2 of 2 decisions"), "{said}");
    assert!(all[0]["failed"].as_str().is_some_and(|why| !why.is_empty()), "{all:#?}");
    let (code, _, said) = rig.beside("equal-share --site other --ticks 1");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has no site other; it has depot"), "{said}");
    let (http, nobody) = (rig.edge_http, wattle_testkit::free_port().expect("a port"));
    for (line, code, expected) in [
        (format!("run equal-share --beside http://127.0.0.1:{nobody}"), 1, "no answer from"),
        (format!("run equal-share --beside http://127.0.0.1:{http} --snapshot x"), 2, "cannot be used with"),
        ("run equal-share --ticks 5".to_owned(), 2, "required arguments"),
        (format!("run equal-share --beside http://127.0.0.1:{http} --ticks 0"), 2, "--ticks"),
    ] {
        let done = rig.policy(&line);
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!((done.status.code(), told.contains(expected)), (Some(code), true), "{line}: {told}");
    }
    rig.start_fog();
    let done = rig.policy(&format!("run equal-share --beside http://127.0.0.1:{}", rig.fog_http));
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("is no edge node"));
}
