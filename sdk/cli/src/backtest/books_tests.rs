use super::*;
use wattle_wire::message::{ChargerState, Phases, Values};
use wattle_wire::row::{DecidedCharger, DecidedCircuit};
use wattle_wire::{SiteId, Watts};

const SECOND: i64 = 1_000_000;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// Two chargers behind a meter, of whose stays `mine` and `other` are counted.
fn books() -> Books {
    let counted = [("mine", 0), ("other", 1)].map(|(session, index)| [(name(session), index)].into());
    Books::new(Arc::new(Frame {
        chargers: [(name("A"), 0), (name("B"), 1)].into(),
        meter: Some(name("meter")),
        counted: counted.into(),
        stays: 2,
        outside: Outside::default(),
        steps: Steps::over(0, 3_600_000),
        from_ms: 0,
        until_ms: 3_600_000,
    }))
}

fn reading(device: &str, session: &str, state: ChargerState, amps: i32, register: i64) -> Row {
    Row::Reading(Reading {
        site: name("s"),
        device: name(device),
        number: None,
        measured_us: None,
        state: Some(state),
        setpoint: None,
        session: Some(name(session)),
        values: Values {
            current_ma: Some(Phases::new(&[Milliamps::from_amps(amps)])),
            power_w: Some(Watts(amps * 230)),
            register_wh: Some(WattHours(register)),
            ..Values::default()
        },
    })
}

fn event(device: &str, session: &str, kind: EventKind, register: i64) -> Row {
    let event = Event::new(name::<SiteId>("s"), Some(name(device)), kind, "");
    Row::Event(Event { session: Some(name(session)), register_wh: Some(WattHours(register)), ..event })
}

fn decision(cause: Cause, amps: i32) -> Row {
    let charger = |id: &str| DecidedCharger {
        charger: name(id),
        proposed_ma: Milliamps::ZERO,
        setpoint_ma: Milliamps::from_amps(amps),
        number: 0,
        reason: String::new(),
    };
    Row::Decision(Decision {
        site: name("s"),
        cause,
        policy: "p 1".into(),
        policy_digest: 1,
        settings_digest: 1,
        fuel: 0,
        circuits: Vec::<DecidedCircuit>::new(),
        chargers: ["A", "B", "gone"].map(charger).into(),
        state: Vec::new(),
    })
}

fn column(rows: &[(i64, Row)]) -> Column {
    let mut books = books();
    for (seconds, row) in rows {
        books.take(Micros(seconds * SECOND), row);
    }
    books.close()
}

#[test]
fn energy_is_told_by_registers_and_waits_by_readings() {
    use ChargerState::{Charging, Finished, Waiting};
    let column = column(&[
        (10, event("A", "mine", EventKind::Started, 100)),
        (10, reading("A", "mine", Waiting, 0, 100)),
        (70, reading("A", "mine", Charging, 16, 100)),
        (130, reading("A", "mine", Waiting, 0, 160)),
        (190, reading("A", "mine", Charging, 8, 160)),
        (250, event("A", "mine", EventKind::Ended, 190)),
        (250, reading("A", "mine", Finished, 0, 190)),
    ]);
    assert_eq!(column.energy_wh, [Some(90), None]);
    let expected = Served { asked: 1, wait_ms: 60_000, standby_ms: 120_000, switches: 1, never: 0 };
    assert_eq!((column.served, column.peak_w), (expected, 16 * 230));
    // The minute from 60 s on: 10 s at nothing, 50 s at 3,680 W.
    assert!((column.means.power_w[1] - 3_680.0 * 50.0 / 60.0).abs() < 0.01);
    assert_eq!(column.means.waiting[0], 0.833);
}

#[test]
fn of_several_readings_of_one_moment_the_last_counts() {
    use ChargerState::{Charging, Finished, Waiting};
    let column = column(&[
        (10, reading("A", "mine", Waiting, 0, 0)),
        (10, reading("A", "mine", Charging, 16, 0)),
        (70, reading("A", "mine", Charging, 0, 61)),
        (70, reading("A", "mine", Finished, 0, 61)),
    ]);
    assert_eq!(column.served, Served { asked: 1, ..Served::default() });
}

#[test]
fn a_stay_that_is_not_counted_has_power_and_nothing_else() {
    let column = column(&[
        (10, event("A", "stranger", EventKind::Started, 0)),
        (10, reading("A", "stranger", ChargerState::Charging, 16, 0)),
        (70, event("A", "stranger", EventKind::Unplugged, 60)),
    ]);
    assert_eq!((column.all_wh(), column.served), (0, Served::default()));
    assert!(column.means.power_w[0] > 0.0 && column.peak_w == 3_680);
}

#[test]
fn an_end_that_never_came_is_that_of_the_last_reading() {
    let column = column(&[
        (10, event("B", "other", EventKind::Started, 5)),
        (20, reading("B", "other", ChargerState::Charging, 16, 5)),
        (80, reading("B", "other", ChargerState::Charging, 16, 66)),
    ]);
    assert_eq!(column.energy_wh[1], Some(61));
    assert_eq!((column.served.asked, column.served.wait_ms), (1, 0));
}

#[test]
fn a_register_that_fell_tells_no_energy() {
    let rows =
        [(10, event("A", "mine", EventKind::Started, 50)), (20, event("A", "mine", EventKind::Ended, 5))];
    assert_eq!(column(&rows).energy_wh, [None, None]);
}

#[test]
fn a_reading_that_was_under_way_for_long_counts_from_now_on() {
    let mut late = reading("A", "mine", ChargerState::Charging, 16, 0);
    if let Row::Reading(late) = &mut late {
        late.measured_us = Some(Micros(SECOND));
    }
    let column = column(&[(60, reading("A", "mine", ChargerState::Waiting, 0, 0)), (61, late)]);
    assert_eq!((column.served.wait_ms, column.means.power_w[0]), (0, 0.0));
    assert!(column.means.power_w[1] > 0.0);
}

#[test]
fn the_meter_of_the_grid_connection_tells_the_peak_of_all_consumers() {
    let seen = |amps| reading("meter", "none", ChargerState::Available, amps, 0);
    let over = Row::Event(Event::new(name::<SiteId>("s"), Some(name("meter")), EventKind::OverLimit, ""));
    let column = column(&[
        (1, seen(12)),
        (2, seen(30)),
        (2, over.clone()),
        (3, seen(8)),
        (9_999, seen(99)),
        (9_999, over),
    ]);
    assert_eq!(column.peak_ma, Some(PerPhase([30, 0, 0].map(Milliamps::from_amps))));
    assert_eq!((column.over_limit, column.peak_w), (1, 0));
}

#[test]
fn what_a_shadow_would_have_done_is_no_decision() {
    let column = column(&[
        (1, decision(Cause::Request, 6)),
        (2, decision(Cause::Shadow, 9)),
        (3, decision(Cause::Interval, 6)),
    ]);
    assert_eq!((column.decisions, column.policies), (2, vec!["p 1".to_owned()]));
    let again = column.setpoints.against(&column.setpoints, Micros(0), Micros::MAX);
    assert_eq!((again.recorded, again.same), (4, 4));
}
