//! What hangs on circuits has to fit there.

use wattle_site::SiteFile;

use super::{EXAMPLE, change, check, with};

#[test]
fn safe_currents_that_do_not_fit_beside_the_load_are_refused() {
    let text = EXAMPLE.replace("phases = [\"L1\"]", "phases = [\"L1\"]\nsafe_a = 6");
    check(&text, &["circuits.grid: safe currents on L1 come to 18 A: at most 10 A fit"]);
}

#[test]
fn safe_currents_fit_at_all_hours() {
    let text = |schedule: &str| {
        with("", &format!("schedule = [{schedule}]"), "min_a = 6\nmax_a = 32", "")
            .replace("phases = [\"L1\"]", "phases = [\"L1\"]\nsafe_a = 3")
            .replace("max_load_a = 20", "max_load_a = 2")
    };
    let says = |index: i32, fits: &str| {
        format!(
            "circuits.grid.schedule[{index}]: safe currents on L1 come to 9 A: at most {fits} A fit beside max_load_a"
        )
    };
    check(&text("{ limit_a = 11 }, { from = \"17:00\", to = \"21:00\", limit_a = 3 }"), &[&says(1, "1")]);
    // 11 A at 253 V are 2,783 W.
    check(
        &text("{ limit_w = 2783 }, { limit_w = 2782 }, { limit_a = 1 }"),
        &[&says(1, "8.996"), &says(2, "0")],
    );
}

#[test]
fn a_fallback_budget_fits_beside_the_largest_load_on_each_phase_that_is_there() {
    let text =
        |fallback: &str, more: &str| change("fallback_a = 6", &format!("fallback_a = {fallback}\n{more}"));
    assert!(SiteFile::parse("s", &text("10", "")).is_ok());
    check(
        &text("10.001", ""),
        &["circuits.grid.fallback_a: 10.001 A: at most 10 A fit beside max_load_a and margin_a on L1"],
    );
    check(
        &text("10", "").replace("margin_a = 0", "margin_a = 2"),
        &["grid.fallback_a: 10 A: at most 8 A fit"],
    );
    let other = text("10", "").replace("limit_a = [30, 0, 0]", "limit_a = [30, 25, 0]");
    check(&other, &["grid.fallback_a: 10 A: at most 5 A fit beside max_load_a and margin_a on L2"]);
    let none = text("1", "").replace("max_load_a = 20", "max_load_a = 30");
    check(&none, &["grid.fallback_a: 1 A: at most 0 A fit"]);
}

#[test]
fn a_largest_load_that_no_phase_carries_is_the_mistake_whatever_hangs_beside_it() {
    let text = change("max_load_a = 20", "max_load_a = 40");
    let says = ["circuits.grid.max_load_a: 40 A: L1 carries at most 30 A, limit_a less margin_a"];
    check(&text, &says);
    check(&text.replace("phases = [\"L1\"]", "phases = [\"L1\"]\nsafe_a = 1"), &says);
}

#[test]
fn a_circuit_that_hangs_on_nothing_is_refused() {
    let cable = |parent: &str| {
        let circuit = |id: &str, parent: &str| {
            format!("[[circuits]]\nid = \"{id}\"\nparent = \"{parent}\"\nlimit_a = [16, 0, 0]\n")
        };
        change("[[meters]]", &format!("{}{}\n[[meters]]", circuit("cable", parent), circuit("shed", "grid")))
    };
    check(&cable("roof"), &["circuits.cable.parent: roof: is no circuit above this one (grid)"]);
    check(
        &cable("cable"),
        &["circuits.cable.parent: cable: is this circuit itself; name the one that feeds it (grid)"],
    );
    check(
        &cable("shed"),
        &["circuits.cable.parent: shed: stands below this one; list a parent before what it feeds"],
    );
    check(
        &change("id = \"grid\"\n", "id = \"grid\"\nparent = \"grid\"\n"),
        &["circuits.grid.parent: grid: the first circuit is the grid connection, which has no parent"],
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
fn a_charger_counts_on_the_phases_that_reach_it() {
    let hall = |limit: &str, charger: &str| {
        let circuit =
            format!("[[circuits]]\nid = \"hall\"\nparent = \"grid\"\nlimit_a = {limit}\n\n[[meters]]");
        change("[[meters]]", &circuit).replacen(
            "circuit = \"grid\"\nphases = [\"L1\"]\nmin_a",
            &format!("circuit = \"hall\"\n{charger}\nmin_a"),
            1,
        )
    };
    // Its safe current doesn't count where no phase is.
    assert!(SiteFile::parse("s", &hall("16", "safe_a = 6")).is_ok());
    check(&hall("16", "phases = [\"L2\"]"), &["chargers.cp-1.phases: L2: circuit grid has no such phase"]);
    check(&hall("[0, 16, 16]", ""), &["chargers.cp-1.circuit: hall: is reached by no phase"]);
}
