//! Every JSON example of docs/mqtt.md is read by the types that the edge reads with.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wattle_wire::message::{self, *};
use wattle_wire::signal::{Answer, Signal};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mqtt.md");

#[test]
fn every_example_of_the_contract_is_read_and_written_back_the_same() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let mut seen = std::collections::BTreeMap::new();
    for block in page.split("```json ").skip(1) {
        let (kind, rest) = block.split_once('\n').expect("a kind stands behind json");
        let (example, _) = rest.split_once("```").expect("a block ends");
        match kind {
            "announce" => check::<Announce>(example),
            "status" => check::<Status>(example),
            "reading" => check::<Reading>(example),
            "session" => check::<Session>(example),
            "setpoint" => check::<Setpoint>(example),
            "confirm" => check::<Confirm>(example),
            "ack" => check::<Ack>(example),
            "signal" => check::<Signal>(example),
            "answer" => check::<Answer>(example),
            _ => panic!("{kind} is no channel"),
        }
        *seen.entry(kind.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 9, "every channel has an example: {seen:?}");
    assert!(!page.contains("```json\n"), "a JSON block without a kind is not checked");
}

#[test]
fn every_payload_of_the_walk_through_is_read() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("say ")).collect();
    assert!(lines.len() >= 9, "{lines:?}");
    for line in lines {
        let payload = line.split('\'').nth(1).expect("a quoted payload").as_bytes();
        let channel = line.split_whitespace().find_map(|w| w.strip_prefix("wattle/v1/depot/cp-1/"));
        let error = match channel.expect("a topic") {
            "announce" => message::decode::<Announce>(payload).err(),
            "status" => message::decode::<Status>(payload).err(),
            "reading" => message::decode::<Reading>(payload).err(),
            "session" => message::decode::<Session>(payload).err(),
            "confirm" => message::decode::<Confirm>(payload).err(),
            other => panic!("{other} is not for a device to say"),
        };
        assert_eq!(error, None, "{line}");
    }
}

fn check<T: DeserializeOwned + Serialize>(example: &str) {
    let read: T = message::decode(example.as_bytes()).unwrap_or_else(|e| panic!("{example}: {e}"));
    let plain = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
    assert_eq!(plain(&message::encode(&read)), plain(example.as_bytes()));
}
