//! What a system may say, what it is answered, and what is known of it after a restart.

use std::sync::Arc;

use wattle_wire::policy::Series;
use wattle_wire::row::{EventKind, Row};
use wattle_wire::signal::{Answer, Right};
use wattle_wire::topic::Channel;
use wattle_wire::{Micros, Milliamps, Millis, PerPhase, Watts};

use wattle_edge_core::{
    DeviceOutput, Heard, Limit, Manual, Part, SIGNALS_PER_MINUTE, Signalled, SiteInput, SiteModel, System,
    SystemMachine, told,
};
use wattle_rig::parts;

const NOW: Micros = Micros::from_secs(1_800_000_000);

fn model() -> Arc<SiteModel> {
    let mut model = parts::model(30.0, &["cp-1", "cp-2"]);
    let may = vec![Right::Limit, Right::Price, Right::Surplus, Right::Manual];
    model.systems = vec![
        System { id: "operator".parse().expect("name"), may: vec![Right::Limit] },
        System { id: "ems".parse().expect("name"), may },
    ];
    Arc::new(model)
}

fn ems() -> SystemMachine {
    SystemMachine::new(model(), 1)
}

fn say(machine: &mut SystemMachine, payload: &str, now: Micros) -> DeviceOutput {
    let mut out = DeviceOutput::default();
    machine.handle(Channel::Signal, payload.as_bytes(), now, &mut out);
    out
}

#[track_caller]
fn check(payload: &str, part: Part, heard: Heard) {
    let out = say(&mut ems(), payload, NOW);
    assert_eq!(out.answers, [Answer { id: None, refused: None }]);
    let [input] = &out.inputs[..] else { panic!("{:?}", out.inputs) };
    assert_eq!((input.part, &input.heard), (part, &heard));
    // What is journaled says the same, whenever it is read.
    let [Row::Event(event)] = &out.rows[..] else { panic!("{:?}", out.rows) };
    assert_eq!(told(event, &model()).as_ref(), Some(input));
}

#[track_caller]
fn check_refused(payload: &str, code: &str, shown: &str) {
    let mut machine = ems();
    let out = say(&mut machine, payload, NOW);
    let refused = out.answers[0].refused.as_deref().expect("refused");
    assert!(refused.starts_with(&format!("{code}: ")) && refused.contains(shown), "{refused}");
    assert!(out.inputs.is_empty());
    let [Row::Event(event)] = &out.rows[..] else { panic!("{:?}", out.rows) };
    assert_eq!(event.kind, EventKind::Malformed);
    assert!(event.detail.starts_with(&format!("{code}: ")), "{}", event.detail);
}

#[test]
fn what_a_system_says_becomes_what_the_site_hears_and_the_row_says_it_again() {
    let until_us = NOW + Micros::from_secs(900);
    let limit = |limit| Heard::Limit { by: 1, limit: Some(Signalled { limit, until_us }) };
    let grid = Part::Circuit(0);
    let currents = PerPhase([Milliamps(16_000), Milliamps(0), Milliamps(5)]);
    check(
        r#"{"limit":{"circuit":"grid","limit_ma":16000,"for_ms":900000}}"#,
        grid,
        limit(Limit::Current(PerPhase::all(Milliamps(16_000)))),
    );
    check(
        r#"{"limit":{"circuit":"grid","limit_ma":[16000,0,5],"until_us":1800000900000000}}"#,
        grid,
        limit(Limit::Current(currents)),
    );
    check(
        r#"{"limit":{"circuit":"grid","limit_w":4200,"for_ms":900000}}"#,
        grid,
        limit(Limit::Power(Watts(4_200))),
    );
    check(r#"{"limit":{"circuit":"grid"}}"#, grid, Heard::Limit { by: 1, limit: None });
    let manual =
        |current_ma, until_us| Heard::Manual(Some(Manual { current_ma: Milliamps(current_ma), until_us }));
    check(r#"{"manual":{"charger":"cp-2","current_ma":0}}"#, Part::Charger(1), manual(0, None));
    check(
        r#"{"manual":{"charger":"cp-2","current_ma":9000,"for_ms":900000}}"#,
        Part::Charger(1),
        manual(9_000, Some(until_us)),
    );
    check(r#"{"manual":{"charger":"cp-1"}}"#, Part::Charger(0), Heard::Manual(None));
    let series = |start_us, values: &[i64]| {
        Some(Series { start_us, step_ms: Millis(60_000), values: values.to_vec() })
    };
    check(
        r#"{"price":{"start_us":1799999990000000,"step_ms":60000,"values":[300000,-20000]}}"#,
        Part::Site,
        Heard::Price(series(NOW - Micros::from_secs(10), &[300_000, -20_000])),
    );
    check(
        r#"{"surplus_w":{"step_ms":60000,"values":[3100]}}"#,
        Part::Site,
        Heard::Surplus(series(NOW, &[3_100])),
    );
    check(r#"{"surplus_w":{"step_ms":60000,"values":[]}}"#, Part::Site, Heard::Surplus(None));
    check(
        r#"{"grid_limit_w":{"step_ms":60000,"values":[4200]}}"#,
        Part::Site,
        Heard::GridLimit { by: 1, limit: series(NOW, &[4_200]) },
    );
}

#[test]
fn what_cannot_be_taken_is_answered_with_one_reason_and_changes_nothing() {
    check_refused("{", "malformed", "EOF");
    check_refused(&" ".repeat(16 * 1024 + 1), "too_large", "16385 bytes");
    check_refused("{}", "not_one", "exactly one");
    check_refused(
        r#"{"price":{"step_ms":1,"values":[]},"surplus_w":{"step_ms":1,"values":[]}}"#,
        "not_one",
        "exactly one",
    );
    check_refused(r#"{"limit":{"circuit":"roof","limit_w":1,"for_ms":1}}"#, "unknown_circuit", "it has grid");
    check_refused(r#"{"manual":{"charger":"cp-9","current_ma":1}}"#, "unknown_charger", "cp-1, cp-2");
    check_refused(r#"{"limit":{"circuit":"grid","limit_w":1}}"#, "no_end", "for_ms");
    check_refused(r#"{"limit":{"circuit":"grid","for_ms":5}}"#, "no_limit", "limit_w");
    check_refused(r#"{"limit":{"circuit":"grid","limit_w":1,"limit_ma":1,"for_ms":5}}"#, "not_one", "one of");
    check_refused(r#"{"limit":{"circuit":"grid","limit_w":1,"until_us":5,"for_ms":5}}"#, "not_one", "one of");
    check_refused(r#"{"limit":{"circuit":"grid","limit_w":-1,"for_ms":5}}"#, "out_of_range", "-1 W");
    check_refused(r#"{"limit":{"circuit":"grid","limit_ma":[1,-1,1],"for_ms":5}}"#, "out_of_range", "-1 mA");
    check_refused(r#"{"limit":{"circuit":"grid","limit_w":1,"for_ms":0}}"#, "out_of_range", "for_ms 0");
    check_refused(
        r#"{"limit":{"circuit":"grid","limit_w":1,"for_ms":9223372036854775807}}"#,
        "out_of_range",
        "for_ms 9223372036854775807",
    );
    check_refused(r#"{"limit":{"circuit":"grid","limit_w":1,"until_us":1800000000000000}}"#, "over", "clock");
    check_refused(
        r#"{"limit":{"circuit":"grid","limit_w":1,"until_us":1900000000000000}}"#,
        "out_of_range",
        "31 days",
    );
    check_refused(r#"{"price":{"step_ms":0,"values":[1]}}"#, "out_of_range", "step_ms 0");
    check_refused(r#"{"price":{"start_us":5,"step_ms":60000,"values":[1]}}"#, "over", "start_us");
    check_refused(r#"{"surplus_w":{"step_ms":60000,"values":[99999999999]}}"#, "out_of_range", "99999999999");
    check_refused(r#"{"grid_limit_w":{"step_ms":60000,"values":[-1]}}"#, "out_of_range", "-1");
    let many = format!(r#"{{"price":{{"step_ms":60000,"values":[1{}]}}}}"#, ",1".repeat(2_016));
    check_refused(&many, "too_long", "2017 values");
    check_refused(r#"{"manual":{"charger":"cp-1","for_ms":1}}"#, "no_current", "current_ma");
}

#[test]
fn a_system_signals_what_it_may_and_nothing_else() {
    let mut operator = SystemMachine::new(model(), 0);
    let out = say(&mut operator, r#"{"id":"a","limit":{"circuit":"grid","limit_w":1,"for_ms":5}}"#, NOW);
    assert_eq!(out.answers, [Answer { id: Some("a".into()), refused: None }]);
    for payload in [
        r#"{"id":"b","price":{"step_ms":60000,"values":[1]}}"#,
        r#"{"id":"b","surplus_w":{"step_ms":60000,"values":[1]}}"#,
        r#"{"id":"b","manual":{"charger":"cp-1"}}"#,
    ] {
        let out = say(&mut operator, payload, NOW);
        let refused = out.answers[0].refused.as_deref().expect("refused");
        assert!(refused.starts_with("not_allowed: ") && out.inputs.is_empty(), "{refused}");
        assert_eq!(out.answers[0].id.as_deref(), Some("b"));
    }
}

#[test]
fn a_signal_that_comes_again_is_answered_again_and_taken_once_also_over_a_restart() {
    let mut machine = ems();
    let payload = r#"{"id":"7","limit":{"circuit":"grid","limit_w":1,"for_ms":60000}}"#;
    let first = say(&mut machine, payload, NOW);
    let mut restarted = ems();
    restarted.restore(&machine.state()).expect("its own");
    let mut replayed = ems();
    replayed.replay(&first.rows[0], NOW);
    for machine in [&mut machine, &mut restarted, &mut replayed] {
        let again = say(machine, payload, NOW + Micros::from_secs(30));
        assert_eq!((again.answers, again.rows, again.inputs), (first.answers.clone(), vec![], vec![]));
    }
}

#[test]
fn what_still_holds_is_told_again_after_a_restart_and_what_is_over_is_not() {
    let mut machine = ems();
    for payload in [
        r#"{"limit":{"circuit":"grid","limit_w":1,"for_ms":5000}}"#,
        r#"{"price":{"step_ms":60000,"values":[1]}}"#,
        r#"{"surplus_w":{"step_ms":60000,"values":[1]}}"#,
        r#"{"surplus_w":{"step_ms":60000,"values":[]}}"#,
        r#"{"manual":{"charger":"cp-1","current_ma":7000}}"#,
        r#"{"manual":{"charger":"cp-2","current_ma":7000}}"#,
        r#"{"manual":{"charger":"cp-2"}}"#,
    ] {
        say(&mut machine, payload, NOW);
    }
    let mut restarted = ems();
    restarted.restore(&machine.state()).expect("its own");
    for (after, expected) in [
        (0, vec![Part::Circuit(0), Part::Site, Part::Charger(0)]),
        (6, vec![Part::Site, Part::Charger(0)]),
        (61, vec![Part::Charger(0)]),
    ] {
        let mut out = DeviceOutput::default();
        SystemMachine::again(std::iter::once(&mut restarted), NOW + Micros::from_secs(after), &mut out);
        let parts: Vec<Part> = out.inputs.iter().map(|input| input.part).collect();
        assert_eq!((parts, out.rows.len()), (expected.clone(), expected.len()), "after {after} s");
    }
}

/// What the systems of a site tell its machine again after a restart, from their states or from the rows; whom it is about.
fn again_after(said: &[(usize, &str)], from_rows: bool) -> Vec<SiteInput> {
    let mut model = (*model()).clone();
    model.systems[0].may = model.systems[1].may.clone();
    let model = Arc::new(model);
    let new = || [0, 1].map(|index| SystemMachine::new(model.clone(), index));
    let (mut systems, mut restarted) = (new(), new());
    for (second, (by, payload)) in said.iter().enumerate() {
        let at = NOW + Micros::from_secs(second as i64);
        let out = say(&mut systems[*by], payload, at);
        assert_eq!(out.answers[0].refused, None);
        out.rows.iter().filter(|_| from_rows).for_each(|row| restarted[*by].replay(row, at));
    }
    if !from_rows {
        restarted.iter_mut().zip(&systems).for_each(|(new, old)| new.restore(&old.state()).expect("its own"));
    }
    let mut out = DeviceOutput::default();
    SystemMachine::again(restarted.iter_mut(), NOW + Micros::from_secs(60), &mut out);
    assert_eq!(out.rows.len(), out.inputs.len());
    out.inputs
}

#[test]
fn after_a_restart_the_last_word_counts_as_before_whoever_said_it() {
    let price = |value: i64| format!(r#"{{"price":{{"step_ms":600000,"values":[{value}]}}}}"#);
    let by_hand = r#"{"manual":{"charger":"cp-1","current_ma":0}}"#;
    let taken_back = r#"{"manual":{"charger":"cp-1"}}"#;
    let limit = r#"{"limit":{"circuit":"grid","limit_w":1,"for_ms":600000}}"#;
    let over = r#"{"surplus_w":{"step_ms":1000,"values":[1]}}"#;
    let longer = r#"{"surplus_w":{"step_ms":600000,"values":[1]}}"#;
    for from_rows in [false, true] {
        let again = |said: &[(usize, &str)]| again_after(said, from_rows);
        assert_eq!(again(&[(1, by_hand), (0, taken_back)]), []);
        assert_eq!(again(&[(1, taken_back), (0, by_hand)]).len(), 1);
        assert_eq!(again(&[(0, limit), (1, limit)]).len(), 2, "of limits each has its own");
        assert_eq!(again(&[(1, longer), (0, over)]), [], "what is over now had taken its place");
        let [only] = &again(&[(1, &price(1)), (0, &price(2))])[..] else { panic!("one price") };
        let Heard::Price(Some(series)) = &only.heard else { panic!("{only:?}") };
        assert_eq!(series.values, [2]);
    }
}

#[test]
fn after_a_restart_a_series_for_later_leaves_those_before_it_their_time_whoever_said_them() {
    let series = |what: &str, begins_s: i64, value: i64| {
        let start_us = NOW.0 + begins_s * 1_000_000;
        format!(r#"{{"{what}":{{"start_us":{start_us},"step_ms":600000,"values":[{value}]}}}}"#)
    };
    for (what, from_rows) in [("price", false), ("price", true), ("surplus_w", false), ("surplus_w", true)] {
        let said = [series(what, 0, 1), series(what, 300, 2), series(what, 400, 3), series(what, 200, 4)];
        let [today, late, later, tomorrow] = &said;
        let again = |said: &[(usize, &str)]| -> Vec<i64> {
            let value = |input: SiteInput| match input.heard {
                Heard::Price(Some(series)) | Heard::Surplus(Some(series)) => series.values[0],
                other => panic!("{other:?}"),
            };
            again_after(said, from_rows).into_iter().map(value).collect()
        };
        assert_eq!(again(&[(0, today), (0, late), (0, later), (0, tomorrow)]), [1, 4]);
        assert_eq!(
            again(&[(1, today), (0, late), (1, later)]),
            [1, 2, 3],
            "in the order in which they were said"
        );
        assert_eq!(again(&[(1, today), (1, later), (0, late)]), [1, 2]);
        assert_eq!(again(&[(0, later), (1, today)]), [1]);
        let taken_back = format!(r#"{{"{what}":{{"step_ms":1,"values":[]}}}}"#);
        assert_eq!(again(&[(0, today), (1, later), (1, &taken_back)]), [0; 0]);
    }
    let limits =
        [series("grid_limit_w", 0, 1), series("grid_limit_w", 300, 2), series("grid_limit_w", 10, 3)];
    for from_rows in [false, true] {
        assert_eq!(again_after(&[(0, &limits[0]), (0, &limits[1])], from_rows).len(), 2);
        // By a minute later the third has begun.
        assert_eq!(again_after(&[(0, &limits[0]), (0, &limits[2])], from_rows).len(), 1);
        assert_eq!(again_after(&[(0, &limits[0]), (1, &limits[2])], from_rows).len(), 2, "each has its own");
    }
}

#[test]
fn what_was_told_again_after_a_restart_is_told_again_after_the_next() {
    let mut model = (*model()).clone();
    model.systems[0].may = model.systems[1].may.clone();
    let model = Arc::new(model);
    let new = || [0, 1].map(|index| SystemMachine::new(model.clone(), index));
    let mut systems = new();
    let start_us = NOW.0 + 300_000_000;
    say(&mut systems[1], r#"{"price":{"step_ms":600000,"values":[1]}}"#, NOW);
    say(&mut systems[0], &format!(r#"{{"price":{{"start_us":{start_us},"step_ms":1,"values":[2]}}}}"#), NOW);
    let mut told = DeviceOutput::default();
    SystemMachine::again(systems.iter_mut(), NOW, &mut told);
    assert_eq!(told.inputs.len(), 2);
    for _ in 0..2 {
        let mut restarted = new();
        for row in &told.rows {
            restarted.iter_mut().for_each(|system| system.replay(row, NOW));
        }
        let mut again = DeviceOutput::default();
        SystemMachine::again(restarted.iter_mut(), NOW, &mut again);
        assert_eq!(again.inputs, told.inputs);
        told = again;
    }
}

#[test]
fn a_state_that_does_not_say_when_something_was_told_is_read_and_any_later_word_goes_before_it() {
    let by_hand = r#"{"manual":{"charger":"cp-1","current_ma":7000}}"#;
    let first = postcard::to_extend(&(vec![by_hand], None::<String>), vec![1]).expect("plain data");
    let mut other = (*model()).clone();
    other.systems[0].may = vec![Right::Manual];
    let mut systems = [SystemMachine::new(Arc::new(other), 0), ems()];
    systems[1].restore(&first).expect("of the version before");
    let again = |systems: &mut [SystemMachine]| {
        let mut out = DeviceOutput::default();
        SystemMachine::again(systems.iter_mut(), NOW, &mut out);
        out.inputs.len()
    };
    assert_eq!(again(&mut systems), 1);
    say(&mut systems[0], r#"{"manual":{"charger":"cp-1"}}"#, NOW);
    assert_eq!(again(&mut systems), 0);
}

#[test]
fn a_damaged_state_is_refused_and_what_no_longer_fits_the_site_is_left_out() {
    let mut machine = ems();
    say(&mut machine, r#"{"manual":{"charger":"cp-2","current_ma":7000}}"#, NOW);
    let state = machine.state();
    assert!(ems().restore(&[]).is_err() && ems().restore(&[9, 0, 0]).is_err());
    assert!((1..state.len()).all(|end| ems().restore(&state[..end]).is_err()));
    let mut smaller = (*model()).clone();
    smaller.chargers.pop();
    let mut restarted = SystemMachine::new(Arc::new(smaller), 1);
    restarted.restore(&state).expect("sound");
    let mut out = DeviceOutput::default();
    SystemMachine::again(std::iter::once(&mut restarted), NOW, &mut out);
    assert!(out.rows.is_empty() && out.inputs.is_empty());
}

#[test]
fn a_flood_of_signals_is_a_bounded_number_of_rows_a_minute() {
    let mut machine = ems();
    let (mut rows, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let out = say(&mut machine, r#"{"surplus_w":{"step_ms":60000,"values":[1]}}"#, NOW);
        rows += out.rows.len();
        refused += out.answers.iter().filter(|answer| answer.refused.is_some()).count();
    }
    assert_eq!((rows, refused), (SIGNALS_PER_MINUTE as usize + 10, 1_000 - SIGNALS_PER_MINUTE as usize));
    let later =
        say(&mut machine, r#"{"surplus_w":{"step_ms":60000,"values":[1]}}"#, NOW + Micros::from_secs(60));
    assert_eq!(later.answers[0].refused, None);
}

#[test]
fn on_another_channel_a_system_is_not_heard_and_its_own_answers_are_passed_over() {
    for (channel, rows) in
        [(Channel::Reading, 1), (Channel::Status, 1), (Channel::Answer, 0), (Channel::Ack, 0)]
    {
        let mut out = DeviceOutput::default();
        ems().handle(channel, b"{}", NOW, &mut out);
        assert_eq!((out.rows.len(), out.inputs.len(), out.answers.len()), (rows, 0, 0), "{channel:?}");
    }
}
