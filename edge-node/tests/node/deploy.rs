//! Policies deployed over HTTP to a node that runs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};
use wattle_testkit::wait_for;

use crate::policy::{component, versions};
use crate::replay::replayed;
use crate::support::{Broker, Edge, LIMIT};

/// The SHA-256 of the token "secret".
const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// What a node answers to a document: the status code and the JSON.
fn send(edge: &Edge, token: &str, order: &Value, body: &[u8]) -> (u16, Value) {
    let head = json!({
        "document": 1,
        "kind": "policy",
        "site": "depot",
        "sha256": digest(body),
        "policy": order,
    });
    send_with(edge, token, &head, body)
}

fn send_with(edge: &Edge, token: &str, head: &Value, body: &[u8]) -> (u16, Value) {
    let document = [head.to_string().as_bytes(), b"\n", body].concat();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, edge.http_port)).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    let length = document.len();
    let head = format!(
        "POST /documents HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // A node that refuses at once may end the connection.
    let _ = stream.write_all(&document);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
    (code, serde_json::from_str(body).expect("JSON"))
}

fn digest(body: &[u8]) -> String {
    use sha2::Digest as _;
    wattle_process::sealed::hex(&sha2::Sha256::digest(body))
}

fn start(control: &str) -> Edge {
    let mut edge = Edge::start_with(Broker::Embedded, control, Some(&component("fair-share")));
    edge.stop();
    edge.configure(&format!("[deploy]\ntokens = {{ anna = '{DIGEST}' }}\n"));
    edge.start_again();
    edge
}

/// Waits until the site's active policy is this one.
fn decides(edge: &Edge, policy: &str) -> Value {
    wait_for(&format!("a decision by {policy}"), LIMIT, || {
        let page = edge.status();
        let site = page["sites"][0].clone();
        (site["policies"][0]["policy"] == policy).then_some(site)
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", edge.status()["sites"][0]))
}

#[test]
fn a_policy_that_a_person_deploys_decides_and_goes_on_deciding_after_the_node_was_killed() {
    let mut edge = start("policy = 'site'\npolicy_trial = 5");
    decides(&edge, "fair-share 0.1.0");
    let first_come = component("first-come");
    let order = json!({ "action": "activate", "settings": { "slots": 3 } });
    let (code, told) = send(&edge, "secret", &order, &first_come);
    assert_eq!((code, &told["outcome"]), (200, &json!("applied")), "{told}");
    let version = told["version"].as_u64().expect("a version");
    edge.kill_and_restart();
    let site = decides(&edge, "first-come 0.1.0");
    let standing = &site["deployed"]["standing"][0];
    assert_eq!((standing["version"].as_u64(), &standing["state"]), (Some(version), &json!("active")));
    assert_eq!((&standing["sent_by"], &standing["settings"]), (&json!("anna"), &json!({ "slots": 3 })));
    // What can't be used changes nothing.
    let order = json!({ "action": "activate", "settings": { "slots": 0 } });
    let (code, told) = send(&edge, "secret", &order, &first_come);
    assert_eq!(code, 422);
    assert!(told["error"].as_str().expect("why").contains("slots: `0` is not a whole number"), "{told}");
    for (token, code) in [("Secret", 401), ("", 401)] {
        assert_eq!(send(&edge, token, &order, &first_come).0, code, "{token}");
    }
    let site = decides(&edge, "first-come 0.1.0");
    let newest = &site["deployed"]["newest"];
    assert_eq!((&newest["outcome"], &newest["sent_by"]), (&json!("refused"), &json!("anna")));
    let (code, told) = send(&edge, "secret", &json!({ "action": "rollback" }), b"");
    assert_eq!(
        (code, &told["text"]),
        (200, &json!("first-come 0.1.0 is taken back; fair-share 0.1.0 of the site file"))
    );
    decides(&edge, "fair-share 0.1.0");
    assert_eq!(edge.stop(), Some(0));
    let journaled = edge.journaled();
    let times = |kind, part: &str| journaled.count(kind, part);
    // Once when it came, or at the start after it, or both.
    let applied = times("document_applied", &format!("\"version\":{version}"));
    assert!((1..=2).contains(&applied), "{:#?}", journaled.events);
    assert_eq!(times("document_refused", "slots: `0`"), 1, "{:#?}", journaled.events);
    assert_eq!(times("document_applied", "\"action\":\"rollback\""), 1);
}

#[test]
fn a_version_on_trial_begins_it_anew_after_a_restart_and_is_not_obeyed_by_accident() {
    let mut edge = start("policy = 'site'\npolicy_trial = 100000");
    let (code, told) = send(&edge, "secret", &json!({ "action": "trial" }), &component("equal-share"));
    assert_eq!(code, 200, "{told}");
    for _ in 0..2 {
        let site = wait_for("a trial", LIMIT, || {
            let site = edge.status()["sites"][0].clone();
            (site["policies"][1]["policy"] == "equal-share 0.1.0").then_some(site)
        })
        .expect("on trial");
        assert_eq!(site["policies"][0]["policy"], "fair-share 0.1.0");
        assert_eq!(
            (&site["policies"][1]["state"], &site["policies"][1]["of"]),
            (&json!("trial"), &json!(100_000))
        );
        assert_eq!(site["deployed"]["standing"][0]["state"], "trial");
        edge.kill_and_restart();
    }
}

/// Waits until so many deployments stand, and the newest document is as wanted.
fn stands(edge: &Edge, many: usize, outcome: &str) -> Value {
    wait_for("what stands", LIMIT, || {
        let site = edge.status()["sites"][0].clone();
        let deployed = &site["deployed"];
        let is_so = deployed["standing"].as_array().map(Vec::len) == Some(many)
            && deployed["newest"]["outcome"] == outcome;
        is_so.then_some(site)
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", edge.status()["sites"][0]))
}

#[test]
fn a_deployed_policy_that_traps_is_rolled_back_and_does_not_come_back_and_all_of_it_can_be_replayed() {
    let mut edge = start("policy = 'site'\npolicy_trial = 0");
    decides(&edge, "fair-share 0.1.0");
    let (one, two) = versions();
    let order = |way: &str| json!({ "action": "activate", "settings": { "way": way } });
    let (code, first) = send(&edge, "secret", &order("remember"), &one);
    assert_eq!(code, 200, "{first}");
    decides(&edge, "hostile 1.0.0-hostile");
    let (code, told) = send(&edge, "secret", &order("trap from 2"), &two);
    assert_eq!(code, 200, "{told}");
    let site = stands(&edge, 1, "refused");
    let why = site["deployed"]["newest"]["reason"].as_str().unwrap_or_default();
    assert!(why.contains("failed 3 of its last 20 decisions") && why.contains("decides again"), "{why}");
    decides(&edge, "hostile 1.0.0-hostile");
    edge.kill_and_restart();
    decides(&edge, "hostile 1.0.0-hostile");
    // It goes on from the state of the other, which declines when that is taken back.
    let (code, second) = send(&edge, "secret", &order("remember"), &two);
    assert_eq!(code, 200, "{second}");
    decides(&edge, "hostile 2.0.0-hostile");
    let back = json!({ "action": "rollback", "takes_back": second["version"] });
    let (code, told) = send(&edge, "secret", &back, b"");
    assert_eq!(
        (code, &told["text"]),
        (200, &json!("hostile 2.0.0-hostile is taken back; hostile 1.0.0-hostile"))
    );
    decides(&edge, "hostile 1.0.0-hostile");
    let (code, told) = send(&edge, "secret", &back, b"");
    assert!(
        code == 422 && told["error"].as_str().is_some_and(|why| why.contains("does not stand")),
        "{told}"
    );
    edge.kill_and_restart();
    decides(&edge, "hostile 1.0.0-hostile");
    let last = edge.folder.path().join("data/policy-last");
    let kept = std::fs::read_dir(last).into_iter().flatten().flatten().map(|file| file.path());
    let kept: Vec<_> = kept.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
    assert!(kept.iter().all(|path| std::fs::read(path).ok().as_deref() == Some(&component("fair-share"))));
    assert_eq!(edge.stop(), Some(0));
    assert_eq!(edge.journaled().count("policy_rolled_back", "hostile 1.0.0-hostile decides again"), 1);

    // What has failed and what was taken back is still there to be asked again.
    let deployed = std::fs::read_dir(edge.folder.path().join("data/deployed")).expect("there").flatten();
    for path in
        deployed.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "wasm"))
    {
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, edge.folder.path().join("policies").join(name)).expect("copied");
    }
    let (tally, recorded) = replayed(&edge);
    assert_eq!((tally.differences, tally.stretches), (vec![], vec![]));
    assert_eq!(tally.same, recorded);
}

#[test]
fn a_document_of_a_later_version_is_refused_with_what_to_do_and_what_was_added_to_one_is_passed_over() {
    let edge = start("policy = 'site'");
    let body = component("equal-share");
    let head = json!({
        "document": 1, "kind": "policy", "site": "depot", "sha256": digest(&body), "urgency": "high",
        "policy": { "action": "activate", "until": "2027-01-01T00:00:00Z" },
    });
    for (key, value, expected) in [
        ("document", json!(2), "the document has the layout 2; this version knows 1: update the node"),
        (
            "kind",
            json!("allowance"),
            "is of the kind \"allowance\"; this version knows \"policy\": update the node",
        ),
    ] {
        let mut later = head.clone();
        later[key] = value;
        let (code, answer) = send_with(&edge, "secret", &later, &body);
        let told = answer["error"].as_str().unwrap_or_default();
        assert!((400..500).contains(&code) && told.contains(expected), "{code} {answer}");
    }
    assert_eq!(send_with(&edge, "secret", &head, &body).1["outcome"], "applied");
    decides(&edge, "equal-share 0.1.0");
}

#[test]
fn a_node_whose_configuration_names_nobody_takes_nothing() {
    let edge = Edge::start_with(Broker::Embedded, "policy = 'site'", Some(&component("fair-share")));
    let (code, told) = send(&edge, "secret", &json!({ "action": "rollback" }), b"");
    assert!(
        code == 403 && told["error"].as_str().is_some_and(|why| why.contains("[deploy.tokens]")),
        "{told}"
    );
}
