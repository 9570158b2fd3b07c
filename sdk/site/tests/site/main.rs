//! A site that fits is taken; one that doesn't is refused with every mistake at once.

mod circuits;
mod texts;

use wattle_site::{Day, SiteFile};
use wattle_wire::{Milliamps, PerPhase, Phase, Watts};

const EXAMPLE: &str = include_str!("../../../../docs/site.toml");

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
        "policy = \"off\"\npolicy_trial = 100001\npolicy_memory_mib = 0\npolicy_fuel_million = 19\nshadow.policy = \"off\"",
    );
    check(
        &text,
        &[
            "control.policy_trial: 100001: give 0 to 100000",
            "control.policy_memory_mib: 0: give 1 to 256",
            "control.policy_fuel_million: 19: give 20 to 10000 million",
            "control.shadow.policy: off: is no policy",
        ],
    );
    let text = change(
        "policy = \"fair-share\"",
        "policy_trial = 0\npolicy_memory_mib = 32\npolicy_fuel_million = 40\nshadow = { policy = \"mine.wasm\", settings = { a = 1 } }",
    );
    let control = SiteFile::parse("site.toml", &text).expect("fits").control;
    assert_eq!((control.policy_trial, control.policy_memory_mib, control.policy_fuel_million), (0, 32, 40));
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

/// The example with keys added to its control, its circuit, its first charger and its first user.
fn with(control: &str, circuit: &str, charger: &str, user: &str) -> String {
    EXAMPLE
        .replacen("policy = ", &format!("{control}\npolicy = "), 1)
        .replacen("margin_a = 0", &format!("margin_a = 0\n{circuit}"), 1)
        .replacen("min_a = 6\nmax_a = 32", charger, 1)
        .replacen("name = \"Alice Andersen\"", user, 1)
}

#[test]
fn the_rules_of_control_are_read() {
    let text = with(
        "",
        "generation = true\nschedule = [{ from = \"17:00\", to = \"21:30\", days = [\"mon\"], limit_a = [20, 0, 0] }, \
         { limit_w = 4200 }]",
        "kind = \"dc\"\nmax_w = 22000\ntimer = [{ from = \"22:00\", to = \"06:00\" }]\nmanual_a = 0",
        "max_w = 7000\npriority = -1",
    );
    let text = text.replace("raise_ramp_a_per_s = 0 ", "raise_ramp_a_per_s = 0.5 ");
    let site = SiteFile::parse("s", &text).expect("fits");
    assert_eq!(site.control.raise_ramp_ma_per_s, Milliamps(500));
    let [evening, always] = site.circuits[0].schedule.as_slice() else { panic!("two entries") };
    assert_eq!((evening.hours().from.minutes, evening.hours().to.minutes), (1_020, 1_290));
    assert_eq!((evening.hours().days, evening.limit_w), (vec![Day::Mon], None));
    assert_eq!((always.hours().days.len(), always.limit_w), (7, Some(Watts(4_200))));
    let charger = &site.chargers[0];
    // One phase of 230 V, and a minimum of one step.
    assert_eq!(
        (charger.min_on_a_phase(230), charger.max_on_a_phase(230)),
        (Milliamps(1_000), Milliamps(95_652))
    );
    assert_eq!((charger.timer.len(), charger.manual_ma), (1, Some(Milliamps::ZERO)));
    assert_eq!((site.users[0].max_w, site.users[0].priority), (Some(Watts(7_000)), Some(-1)));
}

#[test]
fn a_minimum_is_a_whole_number_of_steps() {
    let site = SiteFile::parse("s", &with("", "", "min_a = 6\nstep_a = 4\nmax_a = 16", "")).expect("fits");
    assert_eq!(site.chargers[0].min_on_a_phase(230), Milliamps(8_000));
    let refused = SiteFile::parse("s", &with("", "", "min_a = 6\nstep_a = 4\nmax_a = 7", ""));
    let text = refused.expect_err("nothing between 6 and 7 A is a step of 4 A").to_string();
    assert!(text.contains("is below min_a in whole steps of step_a"), "{text}");
}

#[test]
fn a_cable_is_a_second_maximum() {
    let site = SiteFile::parse("s", &with("", "", "cable_a = 20", "")).expect("fits");
    assert_eq!(site.chargers[0].max_on_a_phase(230), Milliamps(20_000));
    assert_eq!(site.chargers[1].max_on_a_phase(230), Milliamps(32_000));
}

#[test]
fn a_meter_lags_by_five_intervals_at_most() {
    let lag = |ms: i32| {
        with("", "", "", "").replace("id = \"meter-1\"", &format!("id = \"meter-1\"\nlag_ms = {ms}"))
    };
    assert!(SiteFile::parse("depot.toml", &lag(5_000)).is_ok_and(|site| site.meters[0].lag_ms.0 == 5_000));
    check(&lag(5_001), &["meters.meter-1.lag_ms: 5001: give 0 to 5000 ms"]);
    check(&lag(-1), &["meters.meter-1.lag_ms: -1: give 0 to 5000 ms"]);
}

#[test]
fn every_mistake_in_the_rules_of_control_is_named_at_once() {
    let text = with(
        "",
        "schedule = [{ from = \"24:00\", days = [] }, { limit_a = -1 }, { limit_a = 1, limit_w = 1 }]",
        "max_w = 7000\nmanual_a = -1\ntimer = [{ days = [\"sun\", \"sun\"] }]",
        "",
    );
    let text = text
        .replace("lend_after_ms = 30000", "lend_after_ms = -1")
        .replace("resume_room_a = 1", "resume_room_a = -2")
        .replace("nominal_v = 230", "nominal_v = 23");
    check(
        &text,
        &[
            "control.lend_after_ms: -1: give 0 to",
            "control.resume_room_a: -2 A: is below zero",
            "control.nominal_v: 23: give 100 to 300 V",
            "circuits.grid.schedule[0]: give one of limit_a and limit_w",
            "circuits.grid.schedule[0].days: must name one to seven days",
            "circuits.grid.schedule[0].from: 24:00: give",
            "circuits.grid.schedule[1].limit_a: has a value below zero",
            "circuits.grid.schedule[2]: give one of",
            "chargers.cp-1.max_w: is for kind = \"dc\" only",
            "chargers.cp-1.manual_a: is below zero",
            "chargers.cp-1.timer[0].days: must name one to seven days",
        ],
    );
}

#[test]
fn hours_and_powers_that_are_none_are_named() {
    let text = with(
        "",
        "schedule = [{ from = \"5pm\", limit_w = 1.5 }, { to = 7, limit_w = -1 }, { days = [\"someday\"], limit_a = 1 }]",
        "",
        "",
    );
    check(
        &text,
        &[
            "schedule[0].from: \"5pm\": is no time of day; give \"00:00\" to \"24:00\"",
            "schedule[0].limit_w: 1.5",
            "schedule[0]: give one of",
            "schedule[1].to: 7",
            "schedule[1].limit_w: -1: -1 W is no such power",
            "schedule[1]: give one of",
            "schedule[2].days[0]: \"someday\"",
        ],
    );
}

#[test]
fn a_dc_charger_has_its_limits_in_watts() {
    check(
        &with("", "", "kind = \"dc\"\nmin_a = 8\nmax_a = 16", ""),
        &["cp-1.max_w: is missing", "cp-1.min_a: is for kind = \"ac\"", "cp-1.max_a: is for kind = \"ac\""],
    );
    check(&with("", "", "kind = \"dc\"\nmin_w = 9000\nmax_w = 8000", ""), &["cp-1.max_w: is below min_w"]);
}

#[test]
fn the_clocks_of_a_site_change_twice_a_year_where_they_do() {
    let changes =
        |zone: &str| SiteFile::parse("s", &change("Europe/Berlin", zone)).expect("fits").clock_changes();
    let berlin = changes("Europe/Berlin");
    // 2020-03-29T01:00:00Z and 2020-10-25T01:00:00Z.
    let secs = wattle_wire::Micros::from_secs;
    assert_eq!(
        berlin[..3],
        [(secs(1_577_836_800), 3_600), (secs(1_585_443_600), 7_200), (secs(1_603_587_600), 3_600)]
    );
    assert!(berlin.last().is_some_and(|(last, _)| *last > secs(2_524_608_000)), "beyond 2050");
    assert_eq!(changes("UTC"), [(secs(1_577_836_800), 0)]);
}

#[test]
fn a_charger_with_connectors_is_seen_by_control_as_a_circuit_and_a_charger_for_each() {
    let text = change(
        "id = \"cp-2\"\ncircuit = \"grid\"\n",
        "id = \"cp-2\"\ncircuit = \"grid\"\nmax_a = 20\nconnectors = [{ id = \"1\" }, { id = \"2\", max_a = 16 }]\n",
    );
    let site = SiteFile::parse("site.toml", &text).expect("fits");
    let outlets = site.outlets().expect("short names");
    let names: Vec<&str> = outlets.evses.iter().map(|evse| evse.charger.id.as_str()).collect();
    assert_eq!(names, ["cp-1", "cp-2:1", "cp-2:2", "cp-3"]);
    let supply = outlets.circuits.last().expect("added");
    assert_eq!((supply.id.as_str(), supply.parent.as_ref().map(|p| p.as_str())), ("cp-2", Some("grid")));
    assert_eq!(supply.limit_ma, PerPhase([Milliamps(20_000), Milliamps(0), Milliamps(0)]));
    assert_eq!(outlets.evses[2].charger.max_ma, Milliamps(16_000));
    assert_eq!(
        (outlets.evses[2].device.as_str(), outlets.evses[2].charger.circuit.as_str()),
        ("cp-2", "cp-2")
    );
}

#[test]
fn every_mistake_about_connectors_is_named_at_once() {
    let with = |connectors: &str| {
        change(
            "id = \"cp-2\"\ncircuit = \"grid\"\n",
            &format!("id = \"cp-2\"\ncircuit = \"grid\"\nconnectors = [{connectors}]\n"),
        )
    };
    check(&with("{ id = \"1\" }, { id = \"1\" }"), &["chargers, meters and systems: cp-2:1: stands twice"]);
    check(&with("{ id = \"a/b\" }"), &["chargers[1].connectors[0].id: \"a/b\": a name holds '/'"]);
    check(&with("{}"), &["chargers[1].connectors[0].id: is missing"]);
    check(&with("{ id = \"1\", min_a = 6 }"), &["chargers[1].connectors[0].min_a: 6: unknown field"]);
    check(&with("{ id = \"1\", max_a = 5 }"), &["chargers.cp-2:1.max_a: 5 A: is below min_a"]);
    check(&with("{ id = \"1\", max_w = 5000 }"), &["chargers.cp-2:1.max_w: is for kind = \"dc\" only"]);
    check(
        &with("{ id = \"1\", phases = [\"L2\"] }"),
        &["chargers.cp-2:1.phases: L2: circuit cp-2 has no such phase"],
    );
    check(
        &with("{ id = \"1\" }, { id = \"2\" }").replace("id = \"meter-1\"", "id = \"cp-2:2\""),
        &["chargers, meters and systems: cp-2:2: stands twice"],
    );
    check(
        &with("{ id = \"1\" }").replace(
            "[[meters]]",
            "[[circuits]]\nid = \"cp-2\"\nparent = \"grid\"\nlimit_a = [9, 0, 0]\n[[meters]]",
        ),
        &["chargers.cp-2.id: cp-2: is the name of a circuit too"],
    );
    let long = "x".repeat(60);
    check(&with(&format!("{{ id = \"{long}\" }}")), &["a name has 65 bytes"]);
    // Each falls back to 12 A by itself, and the supply of both carries 20 A.
    let safe = with("{ id = \"1\" }, { id = \"2\" }")
        .replace("grid\"\nconnectors =", "grid\"\nsafe_a = 12\nmax_a = 20\nconnectors =");
    let safe = safe.replace("max_load_a = 20", "max_load_a = 0");
    check(&safe, &["circuits.cp-2: safe currents on L1 come to 24 A"]);
}

#[test]
fn every_mistake_about_systems_is_named_at_once() {
    let systems = |lines: &str| format!("{EXAMPLE}\n{lines}");
    check(&systems("[[systems]]\nid = \"ems\"\nmay = []"), &["systems.ems.may: must name one to four of"]);
    check(
        &systems("[[systems]]\nid = \"ems\"\nmay = [\"limit\", \"limit\"]"),
        &["systems.ems.may: must name one to four of"],
    );
    check(
        &systems("[[systems]]\nid = \"ems\"\nmay = [\"limit\", \"tariff\"]"),
        &["systems[1].may[1]: \"tariff\": unknown variant `tariff`"],
    );
    check(
        &systems("[[systems]]\nid = \"cp-1\"\nmay = [\"limit\"]"),
        &["chargers, meters and systems: cp-1: stands twice"],
    );
    let many: String = (0..16).map(|n| format!("[[systems]]\nid = \"s-{n}\"\nmay = [\"limit\"]\n")).collect();
    check(&systems(&many), &["systems: 17: give at most 16"]);
}
