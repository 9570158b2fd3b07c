//! Limits that change: by the grid operator's signal and by the hour.

use wattle_wire::policy::{Series, Signals};
use wattle_wire::row::Cause;
use wattle_wire::{Micros, Milliamps, Millis, Millivolts, PerPhase, Phase, Watts};

use wattle_edge_core::*;
use wattle_rig::Rig;
use wattle_rig::parts::{amps, circuit, input, meter, model, stay};

fn rig(site: SiteModel) -> Rig {
    let mut rig = Rig::new(site);
    rig.set_home(5.0);
    rig.ask(&[0, 1]);
    rig.run_ms(3_000);
    rig
}

fn depot() -> SiteModel {
    model(30.0, &["cp-1", "cp-2"])
}

#[test]
fn a_signal_lowers_at_once_and_its_end_raises() {
    let mut rig = rig(depot());
    assert_eq!(rig.setpoints(), [12, 12]);
    rig.signal(0, 0, Limit::Current(PerPhase::all(amps(20.0))), 2_000);
    rig.run_ms(20);
    assert_eq!(rig.setpoints(), [7, 7], "not at the next interval: at once");
    rig.run_ms(1_500);
    assert_eq!(rig.setpoints(), [7, 7]);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [12, 12]);
}

#[test]
fn a_signal_never_raises_a_breaker_and_can_be_taken_back() {
    let mut rig = rig(depot());
    rig.signal(0, 0, Limit::Current(PerPhase::all(amps(60.0))), 60_000);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [12, 12]);
    rig.signal(0, 0, Limit::Current(PerPhase::all(amps(10.0))), 60_000);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [0, 0]);
    rig.signal(0, 0, Limit::Current(PerPhase::all(amps(60.0))), 0);
    rig.tell(input(Part::Circuit(0), Heard::Limit { by: 0, limit: None }));
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [12, 12]);
}

#[test]
fn of_two_systems_none_lifts_the_limit_of_the_other() {
    let mut rig = rig(depot());
    let until_us = rig.now + Micros::from_secs(600);
    let limit =
        |amount: f64| Some(Signalled { limit: Limit::Current(PerPhase::all(amps(amount))), until_us });
    let grid = |watts: i64| Series {
        start_us: Micros::ZERO,
        step_ms: Millis(i64::MAX / 1_000),
        values: vec![watts],
    };
    rig.excuse(0);
    for (by, limit, expected) in [(0, limit(20.0), [7, 7]), (1, limit(25.0), [7, 7]), (0, None, [10, 10])] {
        rig.tell(input(Part::Circuit(0), Heard::Limit { by, limit }));
        rig.run_ms(2_000);
        assert_eq!(rig.setpoints(), expected, "{by}");
    }
    for (by, limit, expected) in
        [(2, Some(grid(13_800)), [7, 7]), (1, Some(grid(20_000)), [7, 7]), (2, None, [10, 10])]
    {
        rig.excuse(0);
        rig.tell(input(Part::Site, Heard::GridLimit { by, limit }));
        rig.run_ms(2_000);
        assert_eq!(rig.setpoints(), expected, "{by}");
    }
    let shown = rig.machine.begin_decision(rig.now, Cause::Interval).signals.grid_limit_w;
    assert_eq!(shown.map(|shown| shown.values), Some(vec![20_000]));
    rig.tell(input(Part::Circuit(0), Heard::Limit { by: MAX_SYSTEMS, limit: limit(0.0) }));
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [10, 10], "of nobody that the site knows");
}

#[test]
fn a_signal_for_a_board_leaves_the_others_alone() {
    let mut site = depot();
    site.circuits.push(circuit("board", Some(0), 32.0));
    site.chargers[1].circuit = 1;
    let mut rig = rig(site);
    rig.signal(0, 1, Limit::Current(PerPhase::all(amps(8.0))), 60_000);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [17, 8]);
}

#[test]
fn a_limit_in_watts_is_the_same_current_on_each_phase() {
    let mut site = depot();
    site.chargers.iter_mut().for_each(|charger| charger.phases = Some(Phase::ALL.to_vec()));
    let mut rig = Rig::new(site);
    rig.ask(&[0, 1]);
    rig.run_ms(2_000);
    let until_us = rig.now + Micros::from_secs(60);
    // 4,200 W are 6.09 A on three phases of 230 V: one charger at its minimum.
    let limit = Limit::Power(Watts(4_200));
    rig.excuse(0);
    rig.tell(input(Part::Circuit(0), Heard::Limit { by: 0, limit: Some(Signalled { limit, until_us }) }));
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [6, 0]);
    let snapshot = rig.machine.begin_decision(rig.now, Cause::Interval);
    let told = snapshot.signals.grid_limit_w.expect("signalled");
    assert_eq!((told.values, told.start_us), (vec![4_200], rig.now));
    assert_eq!(snapshot.circuits[0].limit_ma, PerPhase::all(Milliamps(6_086)));
}

#[test]
fn a_limit_in_watts_is_kept_at_the_voltage_that_is_measured_or_a_tenth_above_nominal() {
    for (voltage, expected) in
        [(Some(253_000), 14), (None, 14), (Some(245_000), 14), (Some(241_000), 15), (Some(207_000), 15)]
    {
        let mut site = depot();
        site.chargers.truncate(1);
        site.chargers[0].phases = Some(Phase::ALL.to_vec());
        let mut rig = Rig::new(site);
        rig.voltage_mv = Millivolts(voltage.unwrap_or(253_000));
        rig.tells_voltage = voltage.is_some();
        rig.ask(&[0]);
        rig.run_ms(2_000);
        let (limit, until_us) = (Limit::Power(Watts(11_000)), rig.now + Micros::from_secs(60));
        rig.excuse(0);
        rig.tell(input(Part::Circuit(0), Heard::Limit { by: 0, limit: Some(Signalled { limit, until_us }) }));
        rig.run_ms(2_000);
        assert_eq!(rig.setpoints(), [expected], "{voltage:?}");
        let power = 3 * i64::from(expected) * i64::from(voltage.unwrap_or(253_000));
        assert!(power <= 11_000_000, "{power} mW");
    }
}

/// What a charger on all phases gets whose user, or who itself, may take 11 kW.
fn at_eleven_kilowatts(limit: impl Fn(&mut SiteModel), voltage: Option<i32>) -> i32 {
    let mut site = depot();
    site.chargers.truncate(1);
    site.chargers[0].phases = Some(Phase::ALL.to_vec());
    limit(&mut site);
    let mut rig = Rig::new(site);
    rig.voltage_mv = Millivolts(voltage.unwrap_or(253_000));
    rig.tells_voltage = voltage.is_some();
    rig.ask(&[0]);
    rig.tell(input(Part::Charger(0), stay(Some("ann"))));
    rig.run_ms(2_000);
    rig.setpoints()[0]
}

#[test]
fn the_highest_power_of_a_user_and_of_a_charger_is_kept_at_the_voltage_of_the_supply() {
    let power = Some(Watts(11_000));
    let of_user = |site: &mut SiteModel| {
        site.users = vec![User { id: "ann".parse().expect("name"), max_power: power, priority: None }];
    };
    let of_charger = |site: &mut SiteModel| site.chargers[0].max_power = power;
    for (voltage, expected) in
        [(Some(253_000), 14), (None, 14), (Some(245_000), 14), (Some(241_000), 15), (Some(207_000), 15)]
    {
        assert_eq!(at_eleven_kilowatts(of_user, voltage), expected, "{voltage:?}");
        assert_eq!(at_eleven_kilowatts(of_charger, voltage), expected, "{voltage:?}");
    }
    let of_both = |site: &mut SiteModel| {
        of_user(site);
        site.chargers[0].max_power = Some(Watts(6_900));
    };
    assert_eq!(at_eleven_kilowatts(of_both, Some(230_000)), 10, "the lower one counts");
}

#[test]
fn the_voltage_of_a_meter_that_has_fallen_silent_is_that_of_the_next_one_above() {
    let mut site = depot();
    site.circuits.push(circuit("board", Some(0), 32.0));
    site.circuits.iter_mut().for_each(|circuit| circuit.fallback_ma = amps(30.0));
    site.meters.push(meter("m-2", 1));
    site.chargers.truncate(1);
    let charger = &mut site.chargers[0];
    (charger.circuit, charger.phases, charger.max_power) =
        (1, Some(Phase::ALL.to_vec()), Some(Watts(11_000)));
    let stale = site.control.meter_stale_ms.0;
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    rig.voltage_mv = Millivolts(253_000);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [14]);
    rig.silence(1, true);
    rig.voltage_mv = Millivolts(236_000);
    rig.run_ms(stale / 2);
    assert_eq!(rig.setpoints(), [14], "what it said last still counts");
    rig.run_ms(stale + 10_000);
    assert_eq!(rig.setpoints(), [15]);
    rig.silence(0, true);
    rig.run_ms(stale + 10_000);
    assert_eq!(rig.setpoints(), [14], "nobody measures it");
}

#[test]
fn a_series_of_the_operator_limits_the_site_step_by_step_and_is_shown_to_policies() {
    let mut site = depot();
    site.circuits[0].limit_ma = PerPhase([amps(30.0), Milliamps::ZERO, Milliamps::ZERO]);
    let mut rig = rig(site);
    let series =
        |values: &[i64]| Some(Series { start_us: rig.now, step_ms: Millis(2_000), values: values.to_vec() });
    let signals = Signals {
        price: series(&[300_000, 100_000]),
        surplus_w: series(&[-5, 2_000]),
        grid_limit_w: series(&[4_600, 100_000]),
    };
    rig.excuse(0);
    let told = signals.clone();
    rig.tell(input(Part::Site, Heard::Price(told.price)));
    rig.tell(input(Part::Site, Heard::Surplus(told.surplus_w)));
    rig.tell(input(Part::Site, Heard::GridLimit { by: 0, limit: told.grid_limit_w }));
    rig.run_ms(1_500);
    // 20 A on the one phase that there is.
    assert_eq!(rig.setpoints(), [7, 7]);
    assert_eq!(rig.machine.begin_decision(rig.now, Cause::Interval).signals, signals);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [12, 12]);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [12, 12], "behind its last value a series says nothing");
}

#[test]
fn a_series_for_tomorrow_leaves_today_what_was_told_of_it() {
    let mut rig = rig(depot());
    let series = |begins_ms: i64, values: &[i64]| Series {
        start_us: rig.now + Micros::from_millis(begins_ms),
        step_ms: Millis(5_000),
        values: values.to_vec(),
    };
    let (today, tomorrow) = (series(0, &[13_800; 4]), series(10_000, &[20_000]));
    rig.excuse(0);
    rig.signal_grid(0, today.clone());
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [7, 7]);
    rig.signal_grid(0, tomorrow.clone());
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [7, 7], "what was told of today holds");
    for heard in [Heard::Price, Heard::Surplus] {
        for series in [&today, &tomorrow] {
            rig.tell(input(Part::Site, heard(Some(series.clone()))));
        }
    }
    let both = Some(Series { values: vec![13_800, 13_800, 20_000], ..today });
    let shown = rig.machine.begin_decision(rig.now, Cause::Interval).signals;
    assert_eq!(shown, Signals { price: both.clone(), surplus_w: both.clone(), grid_limit_w: both });
    rig.restart_edge();
    rig.run_ms(4_000);
    assert_eq!(rig.setpoints(), [7, 7], "also after a restart");
    rig.run_ms(3_500);
    assert_eq!(rig.setpoints(), [11, 11], "{}", rig.now);
    rig.run_ms(5_000);
    assert_eq!(rig.setpoints(), [12, 12], "after it the old one is over too");
    for by_whom in [0, 1] {
        rig.signal_grid(by_whom, Series { start_us: rig.now, ..tomorrow.clone() });
    }
    rig.signal_grid(0, Series { start_us: rig.now + Micros::from_secs(60), ..tomorrow });
    for (by, expected) in [(0, [11, 11]), (1, [12, 12])] {
        rig.take_back_grid(by);
        rig.run_ms(2_000);
        assert_eq!(rig.setpoints(), expected, "taken back is taken back as a whole");
    }
}

#[test]
fn a_series_that_is_too_long_is_cut() {
    let mut rig = Rig::new(depot());
    let price = Some(Series { start_us: rig.now, step_ms: Millis(1), values: vec![1; 1_000_000] });
    rig.tell(input(Part::Site, Heard::Price(price)));
    let snapshot = rig.machine.begin_decision(rig.now, Cause::Interval);
    assert_eq!(snapshot.signals.price.map(|price| price.values.len()), Some(2_016));
}

#[test]
fn a_schedule_lowers_within_an_interval_of_its_hour() {
    let mut site = depot();
    // The rig begins 1,000 s after the midnight of 1970-01-01; the site's clocks are a quarter of an hour ahead.
    site.local_time = LocalTime(vec![(Micros::ZERO, 900)]);
    let window = |from, to| Window { days: [true; 7], from_minute: from, to_minute: to };
    let limit = Limit::Current(PerPhase::all(amps(20.0)));
    site.circuits[0].schedule = vec![(window(32, 33), limit), (window(0, 0), Limit::Power(Watts(100_000)))];
    let mut rig = rig(site);
    rig.run_ms(15_000);
    assert_eq!(rig.setpoints(), [12, 12], "{}", rig.now);
    rig.run_ms(2_500);
    assert_eq!(rig.setpoints(), [7, 7], "{}", rig.now);
    rig.run_ms(62_000);
    assert_eq!(rig.setpoints(), [12, 12], "{}", rig.now);
}

#[test]
fn inputs_for_what_is_not_there_are_passed_over() {
    let mut rig = rig(depot());
    let signalled = Signalled { limit: Limit::Power(Watts(0)), until_us: Micros(i64::MAX) };
    for part in [Part::Circuit(9), Part::Site, Part::Meter(0), Part::Charger(0), Part::Charger(9)] {
        rig.tell(input(part, Heard::Limit { by: 0, limit: Some(signalled) }));
    }
    for part in [Part::Circuit(0), Part::Meter(0), Part::Charger(0)] {
        for heard in [Heard::Price(None), Heard::Surplus(None), Heard::GridLimit { by: 0, limit: None }] {
            rig.tell(input(part, heard));
        }
    }
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints(), [12, 12]);
}
