use std::sync::{Arc, Mutex};

use wattle_process::{Health, HttpHandle, Pages, serve_pages};
use wattle_wire::policy::Allocation;

use super::*;

/// A site of one circuit with so much to share between two vehicles that ask and one charger that is free.
fn snapshot(now_us: i64) -> Value {
    let charger = |id: &str, state: &str, setpoint_ma: i32| {
        json!({
            "id": id, "circuit": 0, "phases": ["L1"], "state": state, "online": true, "min_ma": 6000, "max_ma": 32000, "step_ma": 1000,
            "safe_ma": 0, "setpoint_ma": setpoint_ma, "draw_ma": [setpoint_ma, 0, 0], "priority": 0, "session": null
        })
    };
    let circuit = json!({
        "id": "grid", "parent": null, "limit_ma": [20_000, 20_000, 20_000], "available_ma": [20_000, 20_000, 20_000],
        "uncontrolled_ma": [0, 0, 0], "stale": false
    });
    json!({
        "site": "depot", "now_us": now_us, "interval_ms": 100, "circuits": [circuit],
        "chargers": [charger("a", "charging", 10_000), charger("b", "charging", 10_000), charger("c", "available", 0)]
    })
}

fn decision(number: u64) -> Value {
    let done = |charger: &str| json!({ "charger": charger, "proposed_ma": 10_000, "setpoint_ma": 9_000, "reason": "half" });
    json!({
        "number": number, "cause": "interval", "policy": "fair-share 1", "chargers": [done("a"), done("b")], "snapshot": snapshot(1)
    })
}

fn seen() -> Seen {
    serde_json::from_value(decision(7)).expect("a decision")
}

fn plan(limits: &[(u32, i32)]) -> Plan {
    let one = |(charger, limit): &(u32, i32)| Allocation {
        charger: *charger,
        limit_ma: Milliamps(*limit),
        reason: String::new(),
    };
    Plan { allocations: limits.iter().map(one).collect(), state: Vec::new() }
}

/// What each charger was told and would have been told, mA.
fn compared(limits: &[(u32, i32)]) -> Vec<(String, i32, i32)> {
    let both = compare(&seen(), &plan(limits)).into_iter();
    both.map(|both| (both.charger.charger.to_string(), both.charger.was_told.0, both.charger.would_have.0))
        .collect()
}

#[test]
fn who_proposes_the_same_would_have_done_the_same_whatever_the_envelope_made_of_it() {
    let as_done = vec![("a".to_owned(), 9_000, 9_000), ("b".to_owned(), 9_000, 9_000)];
    assert_eq!(compared(&[(1, 10_000), (0, 10_000)]), as_done);
}

#[test]
fn another_proposal_goes_through_the_envelope_and_who_is_left_out_is_on_standby() {
    assert_eq!(compared(&[(0, 8_000)]), vec![("a".to_owned(), 9_000, 8_000), ("b".to_owned(), 9_000, 0)]);
    // More than there is: what `a` may still draw is in the way of a raise.
    let too_much = compared(&[(0, 32_000), (1, 32_000), (2, 32_000)]);
    assert!(too_much.iter().map(|(_, _, would)| would).sum::<i32>() <= 20_000, "{too_much:?}");
    assert_eq!(too_much.len(), 2, "only who asks is told anything");
}

#[test]
fn a_line_tells_what_was_done_and_what_would_have_been() {
    let both = compare(&seen(), &plan(&[(0, 9_000), (1, 8_500)]));
    let shown = text(&seen(), Ok(both), &["hm".into()]);
    assert_eq!(shown, "1970-01-01T00:00:00.000Z  a 9 A  b 9 A -> 8 A\n    hm");
    assert_eq!(
        text(&seen(), Err("it trapped".into()), &[]),
        "1970-01-01T00:00:00.000Z  gives no plan: it trapped"
    );
    assert_eq!(text(&seen(), Ok(Vec::new()), &[]), "1970-01-01T00:00:00.000Z  nobody asks");
}

type Script = Arc<Mutex<Vec<(&'static str, Value)>>>;

/// A node that gives these answers, each once and to its path alone; other paths are no page of it.
fn node(answers: Vec<(&'static str, Value)>) -> (HttpHandle, String, Script) {
    let script: Script = Arc::new(Mutex::new(answers));
    let left = script.clone();
    let find = move |path: &str| {
        let mut left = left.lock().expect("sound");
        let at = left.iter().position(|(of, _)| *of == path)?;
        Some(left.remove(at).1)
    };
    let pages = Pages::new(|| json!({ "sites": [{ "id": "depot" }] })).finding(find);
    let server =
        serve_pages("127.0.0.1:0".parse().expect("an address"), Health::new(), pages).expect("a free port");
    let url = format!("http://{}", server.address());
    (server, url, script)
}

fn page(run_us: u64, numbers: std::ops::Range<u64>) -> Value {
    json!({ "edge": "e", "site": "depot", "run_us": run_us, "next": numbers.end, "decisions": numbers.map(decision).collect::<Vec<_>>() })
}

#[tokio::test]
async fn decisions_are_taken_once_each_and_those_that_are_gone_are_counted() {
    let (_server, url, script) = node(vec![
        ("decisions/depot", page(1, 4..5)),
        ("decisions/depot/5", page(1, 5..5)),
        ("decisions/depot/5", page(1, 5..7)),
        ("decisions/depot/7", page(1, 9..10)),
        // Started again: its numbers begin anew.
        ("decisions/depot/10", page(2, 0..1)),
        ("decisions/depot/1", page(2, 1..2)),
    ]);
    let mut node = Node::find(&url, None).await.expect("a node");
    for (numbers, missed) in [(vec![4], 0), (vec![5, 6], 0), (vec![9], 2), (vec![0], 0), (vec![1], 0)] {
        let news = node.next().await.expect("news");
        let got: Vec<u64> = news.decisions.iter().map(|seen| seen.number).collect();
        assert_eq!((got, news.missed), (numbers, missed));
    }
    assert!(script.lock().expect("sound").is_empty());
    let error = node.next().await.err().expect("no such page").to_string();
    assert!(error.contains("doesn't show its decisions (404: there is no such page)"), "{error}");
}

#[tokio::test]
async fn what_is_not_understood_is_named_and_what_does_not_fit_together_is_refused() {
    let mut newer = page(1, 0..1);
    newer["decisions"][0]["snapshot"]["chargers"][1]["colour"] = json!("red");
    let mut torn = page(1, 0..1);
    torn["decisions"][0]["snapshot"]["chargers"][1]["circuit"] = json!(9);
    for (answer, expected) in [
        (newer, "decisions[0].snapshot.chargers[1].colour: unknown field `colour`"),
        (torn, "`chargers[1].circuit` is no index of `circuits`"),
    ] {
        let (_server, url, _) = node(vec![("decisions/depot", answer)]);
        let error =
            Node::find(&url, None).await.expect("a node").next().await.err().expect("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_site_that_is_not_there_is_told_with_those_that_are() {
    let (_server, url, _) = node(Vec::new());
    let other = SiteId::new("other").expect("a name");
    let error = Node::find(&url, Some(&other)).await.err().expect("no such site");
    assert!(error.is::<Usage>() && error.to_string().ends_with("has no site other; it has depot"), "{error}");
}
