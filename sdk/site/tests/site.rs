//! A site that fits is taken; one that doesn't is refused with every mistake at once.

use wattle_site::SiteFile;
use wattle_wire::{Milliamps, PerPhase, Phase};

const EXAMPLE: &str = include_str!("../../../docs/site.toml");

fn check(text: &str, expected: &[&str]) {
    let problems = SiteFile::parse("site.toml", text).expect_err("has mistakes").to_string();
    for part in expected {
        assert!(problems.contains(part), "{part:?} is missing in:\n{problems}");
    }
    assert_eq!(problems.lines().count(), expected.len(), "{problems}");
}

fn change(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    EXAMPLE.replacen(from, to, 1)
}

#[test]
fn the_example_that_ships_is_taken() {
    let site = SiteFile::parse("docs/site.toml", EXAMPLE).expect("fits");
    assert_eq!(site.circuits[0].limit_ma, PerPhase([Milliamps(30_000), Milliamps(0), Milliamps(0)]));
    assert_eq!(site.chargers[1].phases, Some(vec![Phase::L1]));
    assert_eq!(site.chargers[1].max_ma, Milliamps(32_000));
    assert_eq!(site.tariff.price_per_kwh.to_string(), "0.39");
}

#[test]
fn every_mistake_of_shape_is_named_at_once() {
    let text = change("limit_a = [30, 0, 0]", "limit_a = \"thirty\"\ncolour = 3")
        .replace("validity_ms = 10000", "validity = 10")
        .replace("id = \"cp-3\"", "id = \"cp/3\"");
    check(
        &text,
        &[
            "control.validity: 10: unknown field `validity`",
            "circuits[0].limit_a: \"thirty\": a number of amperes",
            "circuits[0].colour: 3: unknown field `colour`",
            "chargers[2].id: \"cp/3\": a name holds '/'",
        ],
    );
}

#[test]
fn every_mistake_of_sense_is_named_at_once() {
    let text = change("Europe/Berlin", "Europe/Bern")
        .replace("id = \"cp-2\"\ncircuit = \"grid\"", "id = \"cp-1\"\ncircuit = \"attic\"")
        .replace("validity_ms = 10000", "validity_ms = 500")
        .replace("currency = \"EUR\"", "currency = \"euro\"")
        .replace("start_fee = \"0.50\"", "start_fee = \"-1\"");
    check(
        &text,
        &[
            "time_zone: Europe/Bern",
            "control.validity_ms: 500: give 4000 to",
            "cp-1: stands twice",
            "chargers.cp-1.circuit: attic: is no circuit of this site (grid)",
            "tariff.currency: euro",
            "tariff.start_fee: -1: is below zero",
        ],
    );
}

#[test]
fn what_a_policy_is_granted_has_bounds_and_a_shadow_names_a_policy() {
    let text = change(
        "policy = \"fair-share\"",
        "policy = \"off\"\npolicy_trial = 100001\npolicy_memory_mib = 0\nshadow.policy = \"off\"",
    );
    check(
        &text,
        &[
            "control.policy_trial: 100001: give 0 to 100000",
            "control.policy_memory_mib: 0: give 1 to 256",
            "control.shadow.policy: off: is no policy",
        ],
    );
    let text = change(
        "policy = \"fair-share\"",
        "policy_trial = 0\npolicy_memory_mib = 32\nshadow = { policy = \"mine.wasm\", settings = { a = 1 } }",
    );
    let control = SiteFile::parse("site.toml", &text).expect("fits").control;
    assert_eq!((control.policy_trial, control.policy_memory_mib), (0, 32));
    assert_eq!(control.shadow.expect("there").settings["a"].as_integer(), Some(1));
}

#[test]
fn mistakes_of_shape_do_not_hide_those_of_sense() {
    let text = change("id = \"demo\"", "id = \"de/mo\"\ncolour = 3")
        .replace("Europe/Berlin", "Europe/Bern")
        .replace("interval_ms = 1000 ", "interval_ms = -1 ")
        .replace("limit_a = [30, 0, 0]", "limit_a = true")
        .replace("id = \"cp-2\"\ncircuit = \"grid\"", "id = \"cp 2\"\ncircuit = \"attic\"\nmax_a = 5")
        .replace("id = \"bob\"", "name_of = 1");
    check(
        &text,
        &[
            "id: \"de/mo\"",
            "colour: 3: unknown field",
            "time_zone: Europe/Bern",
            "control.interval_ms: -1",
            "circuits[0].limit_a: true",
            "chargers[1].id: \"cp 2\"",
            "users[1].name_of",
            "users[1].id: is missing",
        ],
    );
}

#[test]
fn safe_currents_that_do_not_fit_beside_the_load_are_refused() {
    let text = EXAMPLE.replace("phases = [\"L1\"]", "phases = [\"L1\"]\nsafe_a = 6");
    check(&text, &["circuits.grid: safe currents on L1 come to 18 A: at most 10 A fit"]);
}

#[test]
fn a_circuit_that_hangs_on_nothing_is_refused() {
    let extra = "[[circuits]]\nid = \"cable\"\nparent = \"roof\"\nlimit_a = 16\n\n[[meters]]";
    check(
        &change("[[meters]]", extra),
        &["circuits.cable.parent: roof: is no circuit above this one (grid)"],
    );
}

#[test]
fn a_charger_on_a_phase_that_is_not_there_is_refused() {
    check(
        &change("phases = [\"L1\"]", "phases = [\"L2\"]"),
        &["chargers.cp-1.phases: L2: circuit grid has no"],
    );
}

#[test]
fn a_missing_part_and_a_text_that_is_no_toml_are_told() {
    check("", &["id: is missing", "circuits: is missing", "circuits: is empty"]);
    let problems = SiteFile::parse("site.toml", "id = = 3").expect_err("no TOML").to_string();
    assert!(problems.starts_with("site.toml: is no TOML: ") && problems.contains("line 1"), "{problems}");
}

#[test]
fn amperes_may_have_three_decimals_and_no_more() {
    let site = SiteFile::parse("s", &change("margin_a = 0", "margin_a = 0.125")).expect("fits");
    assert_eq!(site.circuits[0].margin_ma, Milliamps(125));
    check(&change("margin_a = 0", "margin_a = 0.00001"), &["finer than a thousandth"]);
    check(&change("margin_a = 0", "margin_a = nan"), &["is no current"]);
}
