//! Meters that fall silent, on some phases or on all: what is shared then, and what is said of it.

use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{Milliamps, PerPhase, Phase};

use wattle_edge_core::*;
use wattle_rig::Rig;
use wattle_rig::parts::{amps, circuit, meter, model, proposal, reading};

const NOTHING: Milliamps = Milliamps::ZERO;

fn on_l1(load: f64) -> PerPhase<Milliamps> {
    PerPhase([amps(load), NOTHING, NOTHING])
}

/// One metered circuit of 63 A with two vehicles that ask.
fn home(fallback: f64) -> Rig {
    let mut site = model(63.0, &["cp-1", "cp-2"]);
    site.circuits[0].fallback_ma = amps(fallback);
    asked(site)
}

fn asked(site: SiteModel) -> Rig {
    let mut rig = Rig::new(site);
    rig.ask(&[0, 1]);
    rig
}

/// A grid connection of 63 A without a meter, and two metered boards with a charger on each.
fn boards(fallback: f64, limits: [f64; 2], fallback_of_a: f64) -> Rig {
    let mut site = model(63.0, &["on-a", "on-b"]);
    site.circuits[0].fallback_ma = amps(fallback);
    site.circuits
        .push(Circuit { fallback_ma: amps(fallback_of_a), ..circuit("board-a", Some(0), limits[0]) });
    site.circuits.push(circuit("board-b", Some(0), limits[1]));
    site.meters = vec![meter("m-a", 1), meter("m-b", 2)];
    (site.chargers[0].circuit, site.chargers[1].circuit) = (1, 2);
    asked(site)
}

fn settled(rig: &mut Rig, expected: [i32; 2]) {
    rig.run_ms(5_000);
    assert_eq!(rig.setpoints(), expected);
}

fn explained(rig: &Rig) -> String {
    let mut machine = rig.machine.clone();
    let snapshot = machine.begin_decision(rig.now, Cause::Interval);
    machine.explain(proposal(Ok(equal_share(&snapshot))), rig.now).to_string()
}

#[test]
fn silence_gives_no_more_than_the_last_word_did() {
    let mut rig = home(30.0);
    rig.set_home(40.0);
    settled(&mut rig, [11, 11]);
    rig.silence(0, true);
    settled(&mut rig, [11, 11]);
    let limit = Limit::Current(PerPhase::all(amps(60.0)));
    rig.signal(0, 0, limit, 10_000);
    settled(&mut rig, [10, 10]);
}

#[test]
fn what_a_vehicle_leaves_while_a_meter_is_silent_another_may_have() {
    let mut rig = home(30.0);
    rig.set_home(40.0);
    settled(&mut rig, [11, 11]);
    rig.silence(0, true);
    settled(&mut rig, [11, 11]);
    rig.ask(&[1]);
    settled(&mut rig, [0, 23]);
}

#[test]
fn a_fallback_budget_that_fits_beside_the_largest_load_is_there_whatever_the_last_word_was() {
    for load in [0.0, 20.0, 43.0] {
        let mut rig = home(20.0);
        rig.set_home(load);
        rig.run_ms(5_000);
        rig.silence(0, true);
        settled(&mut rig, [10, 10]);
        rig.set_home(43.0);
        settled(&mut rig, [10, 10]);
    }
}

#[test]
fn a_meter_that_was_never_heard_leaves_the_fallback_budget_or_what_meters_below_it_leave() {
    let mut site = model(63.0, &["cp-1", "cp-2"]);
    site.circuits[0].fallback_ma = amps(30.0);
    site.circuits.push(circuit("board", Some(0), 63.0));
    site.meters.push(meter("m-board", 1));
    let mut rig = asked(site);
    rig.silence(0, true);
    settled(&mut rig, [15, 15]);
    rig.set_load(1, on_l1(45.0));
    settled(&mut rig, [9, 9]);
}

#[test]
fn a_load_that_a_fresh_meter_shows_counts_beside_a_silent_one() {
    let mut rig = boards(30.0, [40.0, 63.0], 30.0);
    rig.set_load(2, on_l1(40.0));
    settled(&mut rig, [11, 11]);
    rig.silence(0, true);
    settled(&mut rig, [11, 11]);
    rig.set_load(2, on_l1(50.0));
    settled(&mut rig, [6, 6]);
}

#[test]
fn a_silent_board_leaves_the_others_what_its_breaker_does_not_let_through() {
    let mut rig = boards(0.0, [32.0, 32.0], 6.0);
    settled(&mut rig, [31, 31]);
    rig.silence(0, true);
    settled(&mut rig, [6, 31]);
    // Of what rises on it nobody knows, and there is room for it.
    rig.set_load(1, on_l1(26.0));
    settled(&mut rig, [6, 31]);
    let text = "no plausible reading of circuit board-a on L1, L2 and L3 for 2000 ms; its chargers share at most 6000 mA there";
    assert_eq!(rig.events(EventKind::MeterStale), [text]);
    let page = explained(&rig);
    let grid =
        "The meter of board-a is silent on L1, L2 and L3: it counts with what its breaker lets through";
    assert!(page.contains(grid), "{page}");
    assert_eq!(page.matches("Its meter is silent").count(), 1, "of board-a itself: {page}");
}

#[test]
fn the_fallback_budget_of_a_circuit_without_a_meter_holds_where_silent_boards_would_leave_less() {
    let mut rig = boards(20.0, [63.0, 63.0], 6.0);
    settled(&mut rig, [31, 31]);
    rig.silence(0, true);
    settled(&mut rig, [6, 14]);
}

#[test]
fn silence_below_a_circuit_without_a_meter_gives_no_more_than_the_last_word_did() {
    let mut rig = boards(60.0, [63.0, 63.0], 60.0);
    rig.set_load(1, on_l1(41.0));
    settled(&mut rig, [11, 11]);
    rig.silence(0, true);
    settled(&mut rig, [11, 11]);
}

/// Tells of some phases of the only meter, as it is, for so many rounds.
fn tell_of(rig: &mut Rig, phases: &[Phase], rounds: usize) {
    for _ in 0..rounds {
        rig.run_ms(200);
        let flow = rig.flow(0);
        let mut said = reading(Part::Meter(0), None, None, &flow.0);
        if let Heard::Reading { current_ma, .. } = &mut said.heard {
            let heard = |phase: Phase| phases.contains(&phase).then_some(flow[phase]);
            *current_ma = wattle_wire::message::Phases::of(Phase::ALL.map(heard));
        }
        rig.tell(said);
    }
}

#[test]
fn a_meter_that_loses_phases_is_told_with_their_names_and_limits_those() {
    let mut site = model(63.0, &["cp-1", "cp-2"]);
    site.chargers[1].phases = Some(Phase::ALL.to_vec());
    let mut rig = asked(site);
    settled(&mut rig, [31, 31]);
    rig.silence(0, true);
    tell_of(&mut rig, &[Phase::L1], 30);
    assert_eq!(rig.setpoints(), [32, 6]);
    let said = |phases: &str| {
        format!(
            "no plausible reading of circuit grid on {phases} for 2000 ms; its chargers share at most 6000 mA there"
        )
    };
    assert_eq!(rig.events(EventKind::MeterStale), [said("L2 and L3")]);
    assert!(explained(&rig).contains("Its meter is silent on L2 and L3:"), "{}", explained(&rig));
    // The rest of it falls silent too, and comes back phase by phase.
    rig.run_ms(4_000);
    assert_eq!(rig.events(EventKind::MeterStale), [said("L2 and L3"), said("L1, L2 and L3")]);
    tell_of(&mut rig, &[Phase::L1, Phase::L2], 30);
    assert!(rig.events(EventKind::MeterBack).is_empty());
    tell_of(&mut rig, &Phase::ALL, 50);
    assert_eq!(rig.setpoints(), [31, 31]);
    assert_eq!((rig.events(EventKind::MeterStale).len(), rig.events(EventKind::MeterBack).len()), (2, 1));
}

#[test]
fn nobody_waits_for_a_phase_that_a_circuit_does_not_have() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.circuits[0].limit_ma = on_l1(30.0);
    let mut rig = asked(site);
    rig.silence(0, true);
    tell_of(&mut rig, &[Phase::L1], 30);
    assert_eq!(rig.setpoints(), [15, 15]);
    assert!(rig.events(EventKind::MeterStale).is_empty());
    let mut machine = rig.machine.clone();
    assert!(!machine.begin_decision(rig.now, Cause::Interval).circuits[0].stale);
}
