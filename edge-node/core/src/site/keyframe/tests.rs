//! The bytes of a keyframe are as released, and the state comes back from them.

use wattle_wire::message::{ChargerState, Number, Phases, Refusal};
use wattle_wire::row::Cause;
use wattle_wire::{CircuitId, DeviceId, PerPhase, Phase, SessionId, SiteId, UserId, WattHours};

use super::*;
use crate::site::voltage::Voltage;
use crate::site::{Charger, Circuit, Heard, LocalTime, Meter, Part, Proposal, SiteInput, Stay, equal_share};

const GOLDEN: &[u8] = include_bytes!("golden/keyframe-v3.bin");
const SECOND_GOLDEN: &[u8] = include_bytes!("golden/keyframe-v2.bin");
const FIRST_GOLDEN: &[u8] = include_bytes!("golden/keyframe-v1.bin");
const START: Micros = Micros::from_secs(1_800_000_000);

fn model(chargers: usize) -> SiteModel {
    let limit_ma = PerPhase::all(Milliamps::from_amps(10 * chargers as i32));
    let circuit = Circuit::new(CircuitId::new("grid").expect("name"), None, limit_ma);
    let charger = |index: usize| Charger {
        phases: Some(vec![Phase::ALL[index % 3]]),
        ..Charger::new(DeviceId::new(format!("cp-{index}")).expect("name"), 0)
    };
    SiteModel {
        id: SiteId::new("depot").expect("name"),
        control: Control::default(),
        circuits: vec![circuit],
        meters: vec![Meter { id: DeviceId::new("m-1").expect("name"), circuit: 0, lag_ms: Millis(0) }],
        chargers: (0..chargers).map(charger).collect(),
        users: Vec::new(),
        systems: Vec::new(),
        local_time: LocalTime::default(),
    }
}

fn tell(machine: &mut SiteMachine, part: Part, heard: Heard, now: Micros) {
    let seen = Some(Number { boot: 3, seq: (now.0 / 1_000_000) as u64 });
    machine.handle(SiteInput { part, seen, heard }, now);
}

fn reading(ma: &[i32], setpoint: Option<u64>) -> Heard {
    let current: Vec<_> = ma.iter().map(|ma| Milliamps(*ma)).collect();
    Heard::Reading {
        state: Some(ChargerState::Charging),
        setpoint,
        current_ma: Some(Phases::new(&current)),
        register_wh: Some(WattHours(12_345)),
        soc_percent: Some(40),
        temperature_mc: Some(31_000),
        voltage_mv: Some(Phases::new(&[Millivolts(231_000), Millivolts(229_000)])),
    }
}

/// Vehicles at most of the chargers, for so many seconds; every charger sends each second, with noise.
fn after(chargers: usize, seconds: i64) -> SiteMachine {
    let mut machine = SiteMachine::new(model(chargers), 1, START).expect("sound");
    let mut told = vec![None; chargers];
    for second in 1..=seconds {
        let now = START + Micros::from_secs(second);
        for (index, told) in told.iter().enumerate().filter(|(index, _)| index % 5 != 4) {
            let noise = ((second * 7 + index as i64 * 13) % 90) as i32;
            let at = now - Micros((index as i64 * 7_919) % 1_000_000);
            tell(&mut machine, Part::Charger(index), reading(&[8_000 + noise], *told), at);
        }
        let total = 3_000 * chargers as i32;
        tell(&mut machine, Part::Meter(0), reading(&[total, total, total + second as i32], None), now);
        let snapshot = machine.begin_decision(now, Cause::Interval);
        let mut plan = equal_share(&snapshot);
        plan.state = vec![second as u8];
        let (policy, policy_digest, settings_digest) = ("p 1".to_owned(), 0xfeed, 0xbeef);
        let proposal = Proposal { plan: Ok(plan), policy, policy_digest, settings_digest, fuel: 77 };
        for send in machine.finish_decision(proposal, now).setpoints {
            let index = machine.model().chargers.iter().position(|charger| charger.id == send.device);
            told[index.expect("of the site")] = Some(send.setpoint.number);
        }
    }
    machine
}

/// One with something in every field.
fn full() -> SiteMachine {
    let mut machine = after(3, 40);
    let now = START + Micros::from_secs(41);
    let stay = Stay {
        user: Some(UserId::new("ann").expect("name")),
        arrived_us: START,
        departure_us: Some(now),
        requested_wh: Some(WattHours(9_000)),
        register_wh: Some(WattHours(1)),
        ..Stay::named(SessionId::new("s-1").expect("name"))
    };
    tell(&mut machine, Part::Charger(0), Heard::Stay(Some(stay)), now);
    tell(
        &mut machine,
        Part::Charger(1),
        Heard::Manual(Some(crate::site::Manual { current_ma: Milliamps(7_000), until_us: Some(now) })),
        now,
    );
    tell(&mut machine, Part::Charger(1), Heard::Refused { number: 9, reason: Refusal::Expired }, now);
    tell(&mut machine, Part::Charger(2), Heard::Online(false), now);
    tell(&mut machine, Part::Charger(0), reading(&[31_000], None), now);
    let limit = crate::site::Limit::Power(wattle_wire::Watts(9_000));
    let signalled = crate::site::Signalled { limit, until_us: now + Micros::from_secs(60) };
    tell(&mut machine, Part::Circuit(0), Heard::Limit { by: 1, limit: Some(signalled) }, now);
    let price = wattle_wire::policy::Series { start_us: now, step_ms: Millis(900_000), values: vec![1, 2] };
    tell(&mut machine, Part::Site, Heard::Price(Some(price.clone())), now);
    tell(&mut machine, Part::Site, Heard::GridLimit { by: 2, limit: Some(price) }, now);
    let snapshot = machine.begin_decision(now, Cause::Breach);
    assert_eq!(snapshot.chargers.len(), 3);
    let proposal = Proposal {
        plan: Err("trap".into()),
        policy: "p 1".into(),
        policy_digest: 0xfeed,
        settings_digest: 0xbeef,
        fuel: 0,
    };
    machine.finish_decision(proposal, now);
    machine
}

#[test]
fn the_bytes_of_a_keyframe_are_as_released() {
    // The bytes of a state that once was, so that a machine that decides otherwise by now changes nothing here.
    let released = SiteMachine::from_keyframe(model(3), GOLDEN).map(|machine| machine.keyframe());
    if released.as_deref() != Ok(GOLDEN) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/site/keyframe/golden/keyframe.bin.new");
        std::fs::write(path, full().keyframe()).expect("writable");
        panic!("the format has changed: a released one never does. Bytes of the new one are in {path}");
    }
}

#[test]
fn the_state_comes_back_from_its_bytes() {
    for machine in [SiteMachine::new(model(2), 5, START).expect("sound"), after(7, 30), full()] {
        let bytes = machine.keyframe();
        let again = SiteMachine::from_keyframe(machine.model().clone(), &bytes).expect("read");
        assert_eq!(again.keyframe(), bytes);
    }
}

#[test]
fn keyframes_of_the_versions_before_give_the_same_state_without_voltages() {
    let read = |golden| SiteMachine::from_keyframe(model(3), golden).expect("read");
    let (first, second) = (read(FIRST_GOLDEN), read(SECOND_GOLDEN));
    assert_eq!(first.keyframe(), second.keyframe());
    for machine in [first, second] {
        assert!(machine.has_state(FIRST_GOLDEN) && machine.has_state(SECOND_GOLDEN));
        assert!(!machine.has_state(GOLDEN) && !machine.has_state(&FIRST_GOLDEN[1..]));
        assert_eq!(machine.gauges[0].voltage, Voltage::default());
        let at = START + Micros::from_secs(41);
        assert_eq!(machine.may_draw(0, at)[Phase::L1], Milliamps(31_000), "what it was measured to draw");
    }
    assert!(!after(3, 30).has_state(FIRST_GOLDEN));
}

#[test]
fn what_the_newest_reading_says_of_chargers_of_unknown_wiring_comes_back() {
    let mut machine = {
        let mut model = model(3);
        model.chargers.iter_mut().for_each(|charger| charger.phases = None);
        SiteMachine::new(model, 1, START).expect("sound")
    };
    tell(&mut machine, Part::Charger(0), reading(&[9_000], None), START);
    tell(&mut machine, Part::Meter(0), reading(&[40_000; 3], None), START);
    assert_eq!(machine.gauges[0].load.lately[0], PerPhase::all(Milliamps(9_000)));
    let again = SiteMachine::from_keyframe(machine.model().clone(), &machine.keyframe()).expect("read");
    assert_eq!(again.gauges[0].load.lately, machine.gauges[0].load.lately);
}

#[test]
fn an_anomaly_that_there_was_not_from_the_first_comes_back() {
    let mut machine = full();
    let short = machine.keyframe().len();
    let last = machine.stations[0].anomalies.0.last_mut().expect("of the last kind");
    *last = Some((START, true));
    let bytes = machine.keyframe();
    let again = SiteMachine::from_keyframe(machine.model().clone(), &bytes).expect("read");
    assert_eq!(again.stations[0].anomalies.0, machine.stations[0].anomalies.0);
    assert!(bytes.len() > short && again.keyframe() == bytes);
}

#[test]
fn series_that_take_over_from_each_other_come_back() {
    let mut machine = full();
    let now = machine.clock();
    let start_us = now + Micros::from_secs(600);
    let later = Series { start_us, step_ms: Millis(900_000), values: vec![3] };
    for heard in [Heard::Price, Heard::Surplus, |limit| Heard::GridLimit { by: 2, limit }] {
        tell(&mut machine, Part::Site, heard(Some(later.clone())), now);
    }
    assert_eq!([machine.outside.price.len(), machine.outside.grid[&2].len()], [2, 2]);
    let again = SiteMachine::from_keyframe(machine.model().clone(), &machine.keyframe()).expect("read");
    assert_eq!(again.outside.grid, machine.outside.grid);
    assert_eq!(again.outside.price, machine.outside.price);
    assert_eq!(again.outside.surplus_w, machine.outside.surplus_w);
}

#[test]
fn a_state_that_was_cut_or_is_of_another_version_is_refused() {
    let (model, bytes) = (model(3), full().keyframe());
    for (end, whole) in (0..bytes.len())
        .map(|end| (end, &bytes[..]))
        .chain((0..FIRST_GOLDEN.len()).map(|end| (end, FIRST_GOLDEN)))
        .chain((0..SECOND_GOLDEN.len()).map(|end| (end, SECOND_GOLDEN)))
    {
        assert!(SiteMachine::from_keyframe(model.clone(), &whole[..end]).is_err(), "{end}");
    }
    let other = [&[VERSION + 1], &bytes[1..]].concat();
    let error = SiteMachine::from_keyframe(model, &other).expect_err("of another version");
    assert_eq!(error, KeyframeError::Version(VERSION + 1));
}

#[test]
fn bytes_that_are_flipped_never_make_the_machine_trip() {
    let model = model(3);
    let places = |whole: &'static [u8]| (1..whole.len()).map(move |place| (place, whole));
    for (place, whole) in places(GOLDEN).chain(places(SECOND_GOLDEN)).chain(places(FIRST_GOLDEN)) {
        for bit in [0x01, 0x10, 0x80] {
            let mut bytes = whole.to_vec();
            bytes[place] ^= bit;
            let Ok(mut machine) = SiteMachine::from_keyframe(model.clone(), &bytes) else { continue };
            let now = START + Micros::from_secs(50);
            tell(&mut machine, Part::Charger(0), reading(&[9_000], Some(1)), now);
            let snapshot = machine.begin_decision(now, Cause::Interval);
            let plan = Ok(equal_share(&snapshot));
            let proposal =
                Proposal { plan, policy: "p".into(), policy_digest: 1, settings_digest: 1, fuel: 0 };
            machine.finish_decision(proposal, now);
        }
    }
}

#[test]
fn the_state_of_a_site_of_100_chargers_is_tens_of_kilobytes() {
    let bytes = after(100, 60).keyframe().len();
    println!("a keyframe of 100 chargers: {bytes} bytes");
    assert!((10_000..80_000).contains(&bytes), "{bytes}");
}
