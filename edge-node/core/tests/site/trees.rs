//! Trees of circuits, phases and wirings, one figure at a time.

use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{Milliamps, PerPhase, Phase};

use wattle_edge_core::*;
use wattle_rig::Rig;
use wattle_rig::parts::{self, amps, circuit, meter, model};

/// A grid connection with a meter and boards below it, each with one charger on L1.
fn tree(grid: f64, boards: &[f64]) -> SiteModel {
    let names: Vec<String> = (0..boards.len()).map(|i| format!("cp-{i}")).collect();
    let mut site = model(grid, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for (index, limit) in boards.iter().enumerate() {
        site.circuits.push(circuit(&format!("board-{index}"), Some(0), *limit));
        site.chargers[index].circuit = index + 1;
    }
    site
}

fn settled(rig: &mut Rig, expected: &[i32]) {
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), expected);
}

fn everyone_asks(site: SiteModel) -> Rig {
    let mut rig = Rig::new(site);
    rig.ask(&(0..rig.vehicles.len()).collect::<Vec<_>>());
    rig
}

#[test]
fn what_one_cable_cannot_carry_goes_to_the_other() {
    settled(&mut everyone_asks(tree(32.0, &[32.0, 8.0])), &[24, 8]);
}

#[test]
fn vehicles_on_different_phases_do_not_share() {
    let three = || model(20.0, &["cp-1", "cp-2", "cp-3"]);
    let sixteen = |mut site: SiteModel| {
        site.chargers.iter_mut().for_each(|charger| charger.max_ma = amps(16.0));
        site
    };
    settled(&mut everyone_asks(sixteen(three())), &[6, 6, 6]);
    let mut rotated = sixteen(three());
    for (charger, phase) in rotated.chargers.iter_mut().zip([Phase::L1, Phase::L3, Phase::L2]) {
        charger.phases = Some(vec![phase]);
    }
    settled(&mut everyone_asks(rotated), &[16, 16, 16]);
}

#[test]
fn a_charger_of_unknown_wiring_counts_on_every_phase() {
    let mut site = model(20.0, &["cp-1", "cp-2"]);
    site.chargers[0].phases = None;
    site.chargers[1].phases = Some(vec![Phase::L3]);
    let mut rig = everyone_asks(site);
    rig.vehicles[0].wired = vec![Phase::L2];
    settled(&mut rig, &[10, 10]);
}

#[test]
fn each_phase_of_a_three_phase_charger_has_to_fit() {
    let mut site = model(32.0, &["cp-1"]);
    site.chargers[0].phases = Some(vec![Phase::L2, Phase::L3, Phase::L1]);
    let mut rig = everyone_asks(site);
    rig.set_load(0, PerPhase([3.0, 19.5, 0.0].map(amps)));
    settled(&mut rig, &[12]);
}

#[test]
fn a_load_behind_a_meter_of_its_own_counts_there_and_above() {
    let mut site = tree(40.0, &[20.0, 32.0]);
    site.meters.push(meter("sub", 1));
    let mut rig = everyone_asks(site);
    rig.set_load(0, PerPhase([amps(4.0), amps(0.0), amps(0.0)]));
    rig.set_load(1, PerPhase([amps(9.0), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[11, 16]);
    rig.set_load(1, PerPhase([amps(15.0), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[0, 21]);
}

#[test]
fn a_parent_without_a_meter_has_the_load_of_the_circuits_below_it() {
    let mut site = tree(40.0, &[32.0, 32.0]);
    site.meters = vec![meter("sub-1", 1), meter("sub-2", 2)];
    let mut rig = everyone_asks(site);
    rig.set_load(1, PerPhase([amps(10.0), amps(0.0), amps(0.0)]));
    rig.set_load(2, PerPhase([amps(2.0), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[14, 14]);
    rig.silence(1, true);
    settled(&mut rig, &[6, 0]);
}

#[test]
fn a_circuit_four_levels_down_keeps_every_limit_above_it() {
    let mut site = model(60.0, &["cp-1", "cp-2"]);
    for (index, limit) in [40.0, 30.0, 20.0, 16.0].into_iter().enumerate() {
        site.circuits.push(circuit(&format!("level-{index}"), Some(index), limit));
        site.meters.push(meter(&format!("meter-{index}"), index + 1));
    }
    site.chargers[0].circuit = 4;
    site.chargers[1].circuit = 2;
    let mut rig = everyone_asks(site);
    settled(&mut rig, &[15, 15]);
    rig.set_load(3, PerPhase([amps(12.0), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[8, 10]);
}

#[test]
fn who_draws_more_than_it_may_counts_as_it_is_on_its_own_phase_only() {
    let mut site = tree(30.0, &[32.0, 32.0, 32.0]);
    site.chargers[2].phases = Some(vec![Phase::L2]);
    let mut rig = everyone_asks(site);
    settled(&mut rig, &[15, 15, 30]);
    rig.disobey(0, Some(amps(20.0)));
    settled(&mut rig, &[15, 10, 30]);
    assert_eq!(rig.events(EventKind::OverDraw).len(), 1);
    assert!(
        rig.events(EventKind::OverDraw)[0].starts_with("draws 20000 mA"),
        "{:?}",
        rig.events(EventKind::OverDraw)
    );
}

#[test]
fn a_phase_that_is_not_there_gives_nothing() {
    let mut site = model(30.0, &["cp-1"]);
    site.circuits[0].limit_ma = PerPhase([amps(30.0), Milliamps::ZERO, Milliamps::ZERO]);
    site.chargers[0].phases = Some(vec![Phase::L2]);
    settled(&mut everyone_asks(site.clone()), &[0]);
    site.chargers[0].phases = Some(vec![Phase::L1]);
    settled(&mut everyone_asks(site), &[30]);
}

#[test]
fn a_charger_of_unknown_wiring_counts_on_no_phase_that_does_not_reach_it() {
    let limit = |amps_of: [f64; 3]| PerPhase(amps_of.map(amps));
    let mut site = tree(40.0, &[30.0]);
    site.circuits[0].limit_ma = limit([40.0, 40.0, 0.0]);
    site.circuits[1].limit_ma = limit([30.0, 0.0, 30.0]);
    site.chargers[0].phases = None;
    let mut rig = everyone_asks(site.clone());
    settled(&mut rig, &[30]);
    assert_eq!(rig.machine.begin_decision(rig.now, Cause::Interval).chargers[0].phases, [Phase::L1]);
    // It speaks of three phases, as it doesn't know that two of them are not there.
    rig.vehicles[0].wired = Phase::ALL.to_vec();
    rig.vehicles[0].uses = 1;
    settled(&mut rig, &[30]);
    site.circuits[1].limit_ma = limit([30.0, 20.0, 30.0]);
    let mut rig = everyone_asks(site);
    settled(&mut rig, &[20]);
    assert_eq!(rig.machine.model().chargers[0].wired(), [Phase::L1, Phase::L2]);
}

#[test]
fn what_a_roof_gives_is_shared_and_taken_back_when_a_cloud_comes() {
    let mut site = model(10.0, &["cp-1"]);
    site.circuits[0].generation = true;
    let mut rig = everyone_asks(site);
    rig.set_load(0, PerPhase([amps(-12.0), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[22]);
    rig.set_load(0, PerPhase([amps(-1.0), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[11]);
}

#[test]
fn without_generation_an_export_is_noise_and_no_room() {
    let mut rig = everyone_asks(model(10.0, &["cp-1"]));
    rig.set_load(0, PerPhase([amps(-0.4), amps(0.0), amps(0.0)]));
    settled(&mut rig, &[10]);
    rig.tell(parts::reading(Part::Meter(0), None, None, &[amps(-12.0)]));
    settled(&mut rig, &[10]);
}

#[test]
fn a_charger_of_unknown_wiring_that_stops_leaves_no_room_where_it_never_drew() {
    // The meter's reading less 6 A on every phase is 6.5 A of load on L3; the 6 A were drawn on L1.
    let mut site = model(20.0, &["cp-1", "cp-2"]);
    site.chargers[0].phases = None;
    site.chargers[0].max_ma = amps(6.0);
    site.chargers[1].phases = Some(vec![Phase::L3]);
    site.chargers[1].priority = 1;
    site.chargers[1].min_ma = amps(8.0);
    for offset in (0..200).step_by(20) {
        let mut rig = Rig::new(site.clone());
        rig.meter_offsets[0] = offset;
        rig.vehicles[0].wired = vec![Phase::L1];
        rig.set_load(0, PerPhase([0.0, 0.0, 12.5].map(amps)));
        rig.ask(&[0]);
        rig.run_ms(3_000);
        assert_eq!(rig.setpoints(), [6, 0]);
        rig.ask(&[0, 1]);
        for _ in 0..40 {
            rig.run_ms(55);
            assert_eq!(rig.setpoints()[1], 0, "12.5 A and 8 A don't fit");
        }
    }
}

#[test]
fn chargers_of_unknown_wiring_are_lowered_together_so_an_excess_ends_as_soon_as_elsewhere() {
    let mut site = parts::model(30.0, &["cp-1", "cp-2", "cp-3"]);
    site.chargers.iter_mut().for_each(|charger| charger.phases = None);
    let mut rig = Rig::new(site);
    for (vehicle, phase) in rig.vehicles.iter_mut().zip(Phase::ALL) {
        vehicle.wired = vec![phase];
    }
    rig.ask(&[0, 1, 2]);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [10, 10, 10]);
    // 4 A too much on L1, which one of them loads. The rig looks whether it ends in time.
    rig.set_load(0, PerPhase([amps(24.0), Milliamps::ZERO, Milliamps::ZERO]));
    rig.run_ms(420);
    assert_eq!((rig.setpoints(), rig.flow(0)[Phase::L1]), (vec![6, 6, 6], amps(30.0)));
    let reasons = rig.decisions().into_iter().flat_map(|decision| &decision.chargers);
    assert!(reasons.into_iter().any(|charger| charger.reason.ends_with("may load a phase that is full")));
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [6, 6, 6], "they count on all phases");
    rig.set_load(0, PerPhase::all(Milliamps::ZERO));
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [10, 10, 10]);
}

#[test]
fn who_is_known_to_load_a_phase_gives_first_and_has_it_back_when_the_others_have_shown_that_they_do() {
    let mut site = parts::model(30.0, &["cp-1", "cp-2"]);
    site.chargers[1].phases = None;
    let mut rig = Rig::new(site);
    rig.vehicles[1].wired = vec![Phase::L1];
    rig.ask(&[0, 1]);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [15, 15]);
    rig.sent.clear();
    rig.set_load(0, PerPhase([amps(8.0), Milliamps::ZERO, Milliamps::ZERO]));
    rig.run_ms(420);
    assert!(rig.flow(0)[Phase::L1] <= amps(30.0));
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [11, 11]);
    let least = |index: usize| {
        let of_it = rig.sent.iter().filter(|(_, charger, _)| *charger == index);
        of_it.map(|(_, _, setpoint)| setpoint.limit_ma).min()
    };
    assert_eq!((least(0), least(1)), (Some(amps(7.0)), Some(amps(11.0))));
}
