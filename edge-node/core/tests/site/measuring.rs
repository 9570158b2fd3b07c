//! Chargers that measure nothing or not all of their phases, meters that lag, and what a machine that has just begun makes of
//! vehicles that charge.

use wattle_wire::message::{ChargerState, Phases};
use wattle_wire::{Milliamps, Millis, PerPhase, Phase};

use wattle_edge_core::*;
use wattle_rig::Rig;
use wattle_rig::parts::{amps, circuit, input, meter, model, reading};

/// A charger on `limit` A with a maximum of 16 A, which measures on the first `measured` of its phases only.
fn rig(limit: f64, phases: &[Phase], measured: usize) -> Rig {
    let mut site = model(limit, &["cp-1"]);
    site.control.raise_delay_ms = Millis(1_000);
    site.chargers[0].max_ma = amps(16.0);
    site.chargers[0].phases = Some(phases.to_vec());
    let mut rig = Rig::new(site);
    rig.vehicles[0].measures = measured;
    rig.ask(&[0]);
    rig
}

/// What the charger is told over so many ms, without repetitions.
fn told(rig: &mut Rig, ms: i64) -> Vec<i32> {
    let mut told = rig.setpoints();
    for _ in 0..ms / 5 {
        rig.run_ms(5);
        if told.last() != Some(&rig.setpoints()[0]) {
            told.push(rig.setpoints()[0]);
        }
    }
    told
}

#[test]
fn a_charger_that_does_not_measure_its_current_charges_on_without_a_break() {
    for (phases, measured) in
        [(&[Phase::L1][..], 0), (&Phase::ALL[..], 0), (&Phase::ALL[..], 1), (&Phase::ALL[..], 3)]
    {
        let mut rig = rig(20.0, phases, measured);
        let mut trembles = 0;
        rig.noise = Box::new(move || {
            trembles = (trembles + 1) % 3;
            Milliamps(50 * (trembles - 1))
        });
        rig.run_ms(3_000);
        assert_eq!(told(&mut rig, 30_000), [16], "{phases:?} {measured}");
    }
}

#[test]
fn a_load_beside_a_charger_that_does_not_measure_lowers_it_to_what_is_left() {
    let mut rig = rig(20.0, &[Phase::L1], 0);
    rig.run_ms(3_000);
    rig.set_home(8.0);
    assert_eq!(told(&mut rig, 10_000), [16, 12]);
    rig.set_home(30.0);
    assert_eq!(told(&mut rig, 3_000), [12, 0]);
    rig.set_home(0.0);
    assert_eq!(told(&mut rig, 5_000), [0, 16]);
}

#[test]
fn an_excess_beside_a_charger_that_draws_less_than_it_may_and_does_not_measure_ends_when_less_has_not_helped()
{
    for (wired, measured) in [(&[Phase::L1][..], 0), (&[Phase::L2, Phase::L1][..], 1)] {
        let mut rig = rig(20.0, wired, measured);
        rig.rows.clear();
        rig.run_ms(3_000);
        rig.take(0, amps(10.0));
        rig.run_ms(1_000);
        assert_eq!(rig.setpoints(), [16]);
        // As long as the meter shows no more than the limit nobody knows of it.
        rig.set_home(10.0);
        rig.run_ms(3_000);
        assert_eq!(rig.setpoints(), [16]);
        rig.set_home(11.0);
        rig.run_ms(1_700);
        assert_eq!(rig.setpoints(), [0], "it might draw nothing at all");
        // Then all that the meter shows is load, and it is known what is left.
        rig.run_ms(4_000);
        assert_eq!(rig.setpoints(), [9]);
        assert!(rig.decisions().iter().any(|decision| {
            decision.chargers.iter().any(|charger| charger.reason.contains("less has not helped"))
        }));
    }
}

#[test]
fn an_excess_beside_a_charger_that_measures_nothing_ends_soon_also_where_the_meter_speaks_seldom() {
    let mut site = model(20.0, &["cp-1"]);
    (site.chargers[0].max_ma, site.control.meter_stale_ms) = (amps(16.0), Millis(10_000));
    let mut rig = Rig::new(site);
    rig.pace.reading_ms = 5_000;
    (rig.vehicles[0].measures, rig.vehicles[0].takes) = (0, amps(6.0));
    rig.ask(&[0]);
    rig.run_ms(20_000);
    rig.excuse(0);
    rig.set_home(15.0);
    rig.run_ms(25_000);
    assert_eq!(rig.setpoints(), [0]);
}

#[test]
fn a_raise_fits_beside_a_charger_that_does_not_measure_and_may_draw_nothing() {
    let mut rig = {
        let mut site = model(20.0, &["cp-1", "cp-2"]);
        site.chargers[0].max_ma = amps(16.0);
        Rig::new(site)
    };
    rig.vehicles.iter_mut().for_each(|vehicle| vehicle.measures = 0);
    rig.ask(&[0]);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [16, 0]);
    // The vehicle takes nothing any more, and another consumer as much as it had: the meter shows the same.
    rig.vehicles[0].takes = amps(0.0);
    rig.excuse(0);
    rig.set_home(4.0);
    rig.run_ms(3_000);
    rig.ask(&[0, 1]);
    rig.run_ms(3_000);
    let drawn: i32 = rig.setpoints().iter().sum();
    assert!(drawn <= 16, "{:?}", rig.setpoints());
}

#[test]
fn readings_of_the_state_alone_between_those_of_the_current_hold_no_raise_back() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    rig.set_home(5.0);
    rig.ask(&[0]);
    rig.run_ms(3_000);
    rig.ask(&[0, 1]);
    let state = Heard::Reading {
        state: Some(ChargerState::Charging),
        setpoint: None,
        current_ma: None,
        register_wh: None,
        soc_percent: None,
        temperature_mc: None,
        voltage_mv: None,
    };
    for _ in 0..30 {
        rig.run_ms(100);
        rig.tell(input(Part::Charger(0), state.clone()));
    }
    assert_eq!(rig.setpoints(), [12, 12]);
}

#[test]
fn what_chargers_draw_within_the_noise_adds_up_to_no_excess() {
    let names: Vec<String> = (0..20).map(|index| format!("cp-{index}")).collect();
    let mut rig = Rig::new(model(200.0, &names.iter().map(String::as_str).collect::<Vec<_>>()));
    rig.ask(&(0..20).collect::<Vec<_>>());
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [10; 20]);
    rig.vehicles.iter_mut().for_each(|vehicle| vehicle.above = Milliamps(200));
    rig.run_ms(1_000);
    let flows = rig.flow(0)[Phase::L1];
    assert!(flows <= amps(200.25), "{flows}");
    // It stays so, and nobody is switched off.
    for _ in 0..500 {
        rig.run_ms(10);
        assert!(rig.flow(0)[Phase::L1] <= amps(200.25) && rig.setpoints().iter().all(|told| *told >= 9));
    }
}

#[test]
fn chargers_that_speak_seldom_beside_a_short_interval_charge_on() {
    let mut rig = Rig::new(model(25.0, &["cp-1"]));
    rig.pace.reading_ms = 1_200;
    rig.set_home(4.0);
    rig.ask(&[0]);
    let mut told = Vec::new();
    for tenth in 0..400 {
        rig.run_ms(100);
        let shown = rig.flow(0).map(|flow| flow + Milliamps(50 * (tenth % 3 - 1)));
        rig.tell(reading(Part::Meter(0), None, None, &shown.0));
        told.push(rig.setpoints()[0]);
    }
    assert!(told[100..].iter().all(|amps| (18..=21).contains(amps)), "{told:?}");
}

#[test]
fn a_reading_of_absurd_currents_is_one_of_a_charger_that_does_not_measure() {
    let mut machine = SiteMachine::new(model(30.0, &["cp-1"]), 1, wattle_wire::Micros::ZERO).expect("sound");
    let heard = Heard::Reading {
        state: Some(ChargerState::Charging),
        setpoint: None,
        current_ma: Some(Phases::new(&[Milliamps::MAX])),
        register_wh: None,
        soc_percent: None,
        temperature_mc: None,
        voltage_mv: None,
    };
    machine.handle(input(Part::Charger(0), heard), wattle_wire::Micros::ZERO);
    let may = machine.may_draw(0, wattle_wire::Micros::ZERO);
    assert_eq!(may, PerPhase([amps(32.0), Milliamps::ZERO, Milliamps::ZERO]));
}

#[test]
fn vehicles_charge_on_through_a_restart_of_the_edge() {
    for offset in (0..200).step_by(25) {
        let mut site = model(30.0, &["cp-1", "cp-2"]);
        site.control.raise_delay_ms = Millis(1_000);
        let mut rig = Rig::new(site);
        rig.meter_offsets[0] = offset;
        rig.set_home(5.0);
        rig.ask(&[0, 1]);
        rig.run_ms(6_000);
        assert_eq!(rig.setpoints(), [12, 12]);
        rig.restart_edge();
        for _ in 0..1_600 {
            rig.run_ms(5);
            assert_eq!(rig.setpoints(), [12, 12], "{offset}");
        }
    }
}

#[test]
fn a_load_that_rose_while_the_edge_was_away_is_shed_as_soon_as_a_meter_shows_it() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    rig.set_home(5.0);
    rig.ask(&[0, 1]);
    rig.run_ms(3_000);
    rig.restart_edge();
    rig.set_home(20.0);
    rig.run_ms(450);
    let told: i32 = rig.setpoints().iter().sum();
    assert!(told <= 10, "{:?}", rig.setpoints());
    rig.run_ms(4_000);
    assert_eq!(rig.setpoints(), [10, 0]);
}

#[test]
fn a_load_that_rose_before_a_restart_is_shed_though_another_meter_and_another_charger_are_not_heard() {
    let mut site = model(40.0, &["cp-1", "cp-2"]);
    site.circuits.push(circuit("hall", Some(0), 8.0));
    site.meters.push(meter("hall-meter", 1));
    site.chargers[0].circuit = 1;
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    rig.vehicles[0].takes = amps(0.0);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [8, 0]);
    rig.silence(0, true);
    rig.vanish(1, true);
    rig.set_load(1, PerPhase([Milliamps(2_001), Milliamps::ZERO, Milliamps::ZERO]));
    rig.restart_edge();
    rig.run_ms(450);
    assert_eq!(rig.setpoints(), [0, 0]);
}

#[test]
fn without_a_meter_since_a_restart_there_is_the_fallback_budget_a_moment_later() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    rig.ask(&[0, 1]);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [15, 15]);
    rig.silence(0, true);
    rig.restart_edge();
    rig.run_ms(1_450);
    assert_eq!(rig.setpoints(), [6, 0]);
}

/// What two chargers are told, without repetitions, when the load rises from 5 A to 11 A beside a meter that lags by three
/// intervals; the rig looks at the limit at each step.
fn lagging(raise_delay_ms: i64) -> Vec<Vec<i32>> {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.raise_delay_ms = Millis(raise_delay_ms);
    site.control.validity_ms = Millis(4_000);
    site.meters[0].lag_ms = Millis(600);
    let mut rig = Rig::new(site);
    rig.meter_lags_ms[0] = 600;
    rig.set_home(5.0);
    rig.ask(&[0]);
    rig.run_ms(6_000);
    assert_eq!(rig.setpoints(), [25, 0]);
    rig.ask(&[0, 1]);
    rig.run_ms(8_000);
    assert_eq!(rig.setpoints(), [12, 12]);
    rig.set_home(11.0);
    let mut told = vec![rig.setpoints()];
    for _ in 0..3_000 {
        rig.run_ms(5);
        if told.last() != Some(&rig.setpoints()) {
            told.push(rig.setpoints());
        }
    }
    told
}

#[test]
fn a_meter_that_lags_lowers_chargers_by_what_a_load_has_risen_and_a_step_at_most() {
    for raise_delay_ms in [0, 1_000] {
        let told = lagging(raise_delay_ms);
        assert!(told.iter().all(|told| told.iter().all(|amps| *amps >= 8)), "{told:?}");
        assert_eq!(told.last(), Some(&vec![9, 9]), "{told:?}");
    }
}
