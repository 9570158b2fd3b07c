//! A guest that was built for version 1 of the interface and kept: whatever the host becomes, it goes on working.
//!
//! `fixtures/v1-guest.wasm` is what `wattle policy new v1-guest --lang c` makes. It is never built anew.

use wattle_policy_host::RunError;
use wattle_wire::Milliamps;

use crate::common::{host, snapshot};

const GUEST: &[u8] = include_bytes!("../fixtures/v1-guest.wasm");

/// Of the bytes that were built then.
const SHA_256: &str = "b85f264104b6177ac928e35e8202e705cec6da148434687c2410728c17ff6eb9";

#[test]
fn the_guest_is_the_one_that_was_built_for_version_1() {
    assert_eq!(
        wattle_policy_host::sign::sha256(GUEST),
        SHA_256,
        "a fixture is never built anew; add another beside it"
    );
    // The stamp: a section of its own, whose data are the version.
    let stamp = [b"wattle:load-policy".as_slice(), b"1"].concat();
    assert!(GUEST.windows(stamp.len()).any(|bytes| bytes == stamp));
}

#[test]
fn a_guest_built_for_version_1_says_who_it_is() {
    let policy = host().load(GUEST).expect("version 1 is run");
    assert_eq!((policy.name(), policy.version()), ("v1-guest", "0.1.0"));
    let schema = &policy.description().settings_schema;
    assert!(schema.contains(r#""most_ma":{"type":"integer","minimum":6000"#), "{schema}");
    assert_eq!((policy.description().memory_bytes, policy.description().fuel), (0, 0));
}

#[test]
fn a_guest_built_for_version_1_decides_as_it_did() {
    let policy = host().load(GUEST).expect("version 1 is run");
    // Two on each phase.
    let site = snapshot(6, Milliamps::from_amps(20));
    let limits = |settings: &str| {
        let plan = policy.decide(&site, settings, b"rubbish").expect("a plan").plan;
        let limits: Vec<_> = plan.allocations.iter().map(|one| (one.charger, one.limit_ma.0)).collect();
        (limits, plan.allocations[0].reason.clone())
    };
    let all = |limit| (0..6).map(|charger| (charger, limit)).collect::<Vec<_>>();
    assert_eq!(limits(""), (all(10_000), "an even share".into()));
    assert_eq!(limits(r#"{"most_ma": 8000}"#), (all(8_000), "the most that it may have".into()));
    assert_eq!(limits(r#"{"keep_ma": 4000}"#), (all(8_000), "an even share".into()));
}

#[test]
fn a_guest_built_for_version_1_answers_what_is_wrong() {
    let policy = host().load(GUEST).expect("version 1 is run");
    let faults = policy.validate_settings(r#"{"most_ma": 1, "x": [{}]}"#).expect("it answers");
    let expected = [
        "most_ma: `1` is not a whole number from 6000 to 80000",
        "x: there is no such setting; there are most_ma, keep_ma",
    ];
    assert_eq!(faults, expected);
    let site = snapshot(1, Milliamps::from_amps(20));
    let declined = policy.decide(&site, r#"{"most_ma": 1}"#, &[]);
    assert_eq!(declined, Err(RunError::Refused("the settings are wrong; validate-settings says how".into())));
    assert_eq!(policy.migrate_state("0.0.1", &[1, 2, 3]), Ok(Vec::new()));
}
