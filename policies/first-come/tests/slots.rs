//! Slots: at most so many at once, and the next one when a vehicle is full.

use policy_first_come::{FirstCome, SETTINGS};
use wattle_policy::kit::{self, NewCharger, Site, charger};
use wattle_policy::{ChargerState, Phase, Plan, Policy, Snapshot};

const TWO: &str = r#"{"mode":"slots","slots":2}"#;

#[test]
fn every_plan_is_sound() {
    kit::assert_sound::<FirstCome>(TWO);
    kit::assert_sound::<FirstCome>(r#"{"slots":1,"full_after_s":1}"#);
    kit::assert_sound::<FirstCome>(r#"{"mode":"reserve"}"#);
}

#[test]
fn the_page_says_what_the_settings_are() {
    kit::assert_documents(include_str!("../../../docs/policies/first-come.md"), SETTINGS);
}

#[test]
fn two_charge_and_the_third_waits() {
    let mut car_park = CarPark::new(80, 3);
    car_park.expect(&[32, 32, 0]);
    assert_eq!(car_park.reason(2), "standby: waits for one of 2 slots, number 1 in line");
}

#[test]
fn the_next_one_starts_when_a_vehicle_has_hardly_drawn_for_a_minute() {
    let mut car_park = CarPark::new(80, 3);
    car_park.expect(&[32, 32, 0]);
    car_park.draw(0, 999);
    for _ in 0..60 {
        car_park.expect(&[32, 32, 0]);
    }
    car_park.expect(&[0, 32, 32]);
    assert!(car_park.reason(0).ends_with("full: it drew less than 1 A for 1 min"), "{}", car_park.reason(0));
    for _ in 0..100 {
        car_park.expect(&[0, 32, 32]);
    }
}

#[test]
fn a_draw_of_an_amp_in_between_starts_the_minute_anew() {
    let mut car_park = CarPark::new(80, 3);
    car_park.expect(&[32, 32, 0]);
    for _ in 0..3 {
        car_park.draw(1, 0);
        for _ in 0..59 {
            car_park.expect(&[32, 32, 0]);
        }
        car_park.draw(1, 1_000);
        car_park.expect(&[32, 32, 0]);
    }
}

#[test]
fn standby_is_no_time_in_which_a_vehicle_may_draw() {
    let mut car_park = CarPark::new(80, 4);
    for _ in 0..100 {
        car_park.expect(&[32, 32, 0, 0]);
    }
    car_park.draw(0, 0);
    car_park.draw(1, 0);
    for _ in 0..60 {
        car_park.expect(&[32, 32, 0, 0]);
    }
    car_park.expect(&[0, 0, 32, 32]);
}

#[test]
fn a_full_vehicle_may_stay_while_nobody_waits_and_charges_again_when_it_wants() {
    let mut car_park = CarPark::new(80, 2);
    car_park.draw(0, 0);
    for _ in 0..70 {
        car_park.expect(&[32, 32]);
    }
    car_park.draw(0, 10_000);
    car_park.expect(&[32, 32]);
    let third = car(2).with(|charger| charger.session.as_mut().expect("it asks").arrived += 900_000_000);
    car_park.arrive(third);
    for _ in 0..70 {
        car_park.expect(&[32, 32, 0]);
    }
}

/// An edge shows a vehicle that has to rest as plugged in and not asking.
#[test]
fn a_full_vehicle_that_had_to_rest_is_full_afterwards_too() {
    let mut car_park = CarPark::new(80, 3);
    car_park.draw(0, 500);
    (0..61).for_each(|_| car_park.expect(&[32, 32, 0]));
    for _ in 0..3 {
        car_park.expect(&[0, 32, 32]);
        car_park.snapshot.chargers[0].state = ChargerState::Plugged;
        (0..600).for_each(|_| car_park.expect(&[0, 32, 32]));
        car_park.snapshot.chargers[0].state = ChargerState::Waiting;
    }
    car_park.snapshot.chargers[0].session.as_mut().expect("it stays").id = "another".into();
    car_park.expect(&[32, 32, 0]);
}

#[test]
fn a_full_vehicle_that_draws_what_people_give_it_is_full_no_more() {
    let mut car_park = CarPark::new(80, 3);
    car_park.draw(0, 500);
    (0..61).for_each(|_| car_park.expect(&[32, 32, 0]));
    car_park.expect(&[0, 32, 32]);
    let given = |car_park: &mut CarPark, draw: i32| {
        let charger = &mut car_park.snapshot.chargers[0];
        (charger.state, charger.setpoint) = (ChargerState::Plugged, 16_000);
        charger.draw = [draw, 0, 0].into();
        car_park.expect(&[0, 32, 32]);
        car_park.snapshot.chargers[0].state = ChargerState::Waiting;
    };
    given(&mut car_park, 999);
    car_park.expect(&[0, 32, 32]);
    given(&mut car_park, 1_000);
    car_park.expect(&[32, 32, 0]);
}

#[test]
fn to_draw_little_without_asking_makes_no_vehicle_full() {
    let mut car_park = CarPark::new(80, 3);
    (0..50).for_each(|_| car_park.expect(&[32, 32, 0]));
    car_park.draw(0, 0);
    (0..50).for_each(|_| car_park.expect(&[32, 32, 0]));
    for (state, online) in [(ChargerState::Plugged, true), (ChargerState::Charging, false)] {
        for _ in 0..100 {
            let charger = &mut car_park.snapshot.chargers[0];
            (charger.state, charger.online, charger.setpoint) = (state, online, 32_000);
            let plan = car_park.decide();
            (car_park.state, car_park.snapshot.now) = (plan.state, car_park.snapshot.now + 1_000_000);
        }
    }
    (car_park.snapshot.chargers[0].state, car_park.snapshot.chargers[0].online) =
        (ChargerState::Charging, true);
    (0..60).for_each(|_| car_park.expect(&[32, 32, 0]));
    car_park.expect(&[0, 32, 32]);
}

#[test]
fn one_that_leaves_makes_room_at_once() {
    let mut car_park = CarPark::new(80, 3);
    car_park.expect(&[32, 32, 0]);
    car_park.snapshot.chargers[0].state = ChargerState::Finished;
    car_park.expect(&[0, 32, 32]);
}

#[test]
fn one_that_is_out_of_reach_keeps_its_slot_until_its_setpoint_expires() {
    let mut car_park = CarPark::new(80, 3);
    car_park.expect(&[32, 32, 0]);
    car_park.snapshot.chargers[0].online = false;
    let plan = car_park.decide();
    assert_eq!(kit::limits(&car_park.snapshot, &plan), [0, 32_000, 0]);
    car_park.snapshot.chargers[0].setpoint = 0;
    car_park.expect(&[0, 32, 32]);
}

#[test]
fn the_second_gets_what_the_first_leaves_and_one_that_does_not_fit_takes_no_slot() {
    CarPark::new(50, 3).expect(&[32, 18, 0]);
    CarPark::new(35, 3).expect(&[32, 0, 0]);
    let mut car_park = CarPark::new(35, 2);
    car_park.arrive(car(2).phases(&[Phase::L2]));
    car_park.expect(&[32, 0, 32]);
}

#[test]
fn a_reserved_minimum_leaves_something_to_those_who_come_later() {
    let four = (0..4).fold(Site::new([35_000, 0, 0]), |site, n| {
        site.charger(charger(&format!("c{n}")).range(6_000, 16_000, 1_000))
    });
    let snapshot = four.snapshot();
    let plan = FirstCome::decide(&snapshot, r#"{"mode":"reserve"}"#, &[]).expect("the site is whole");
    assert_eq!(kit::limits(&snapshot, &plan), [16_000, 7_000, 6_000, 6_000]);
    assert_eq!(plan.allocations[1].reason, "7 A: shares 35 A on grid L1 with 3 others");
}

#[test]
fn wrong_settings_are_named_with_value_and_reason() {
    assert_eq!(
        FirstCome::validate_settings(r#"{"mode":"fifo","slots":0}"#),
        [
            r#"mode: `"fifo"` is not one of "slots", "reserve""#,
            "slots: `0` is not a whole number from 1 to 1000",
        ]
    );
    let snapshot = Site::new([0; 3]).snapshot();
    let refusal = FirstCome::decide(&snapshot, r#"{"slot":2}"#, &[]).expect_err("no such setting");
    assert!(refusal.starts_with("slot: there is no such setting"), "{refusal}");
}

/// Chargers on L1 that do what they are told, decided for once a second.
struct CarPark {
    snapshot: Snapshot,
    state: Vec<u8>,
    /// What each vehicle draws at most, mA.
    wants: Vec<i32>,
}

impl CarPark {
    fn new(limit_a: i32, cars: usize) -> Self {
        let site = Site::new([limit_a * 1_000; 3]);
        let site = (0..cars).fold(site, |site, n| site.charger(car(n)));
        Self { snapshot: site.snapshot(), state: Vec::new(), wants: vec![32_000; cars] }
    }

    fn arrive(&mut self, new: NewCharger) {
        self.snapshot.chargers.extend(Site::new([0; 3]).charger(new).snapshot().chargers);
        self.wants.push(32_000);
    }

    fn draw(&mut self, car: usize, milliamps: i32) {
        self.wants[car] = milliamps;
        self.follow();
    }

    fn decide(&self) -> Plan {
        let plan = FirstCome::decide(&self.snapshot, TWO, &self.state).expect("the site is whole");
        kit::assert_fits(&self.snapshot, &plan);
        plan
    }

    fn reason(&self, car: u32) -> String {
        let plan = self.decide();
        let found = plan.allocations.iter().find(|allocation| allocation.charger == car);
        found.expect("it asks").reason.clone()
    }

    /// Decides, expects setpoints in A, and lets a second pass.
    fn expect(&mut self, expected: &[i32]) {
        let plan = self.decide();
        let limits = kit::limits(&self.snapshot, &plan);
        let amps: Vec<i32> = limits.iter().map(|limit| limit / 1_000).collect();
        assert_eq!(amps, expected, "after {} s", self.snapshot.now / 1_000_000 - 1_700_000_000);
        for (charger, limit) in self.snapshot.chargers.iter_mut().zip(limits) {
            charger.setpoint = limit;
        }
        self.follow();
        self.state = plan.state;
        self.snapshot.now += 1_000_000;
    }

    fn follow(&mut self) {
        for (charger, wants) in self.snapshot.chargers.iter_mut().zip(&self.wants) {
            charger.draw = [charger.setpoint.min(*wants), 0, 0].into();
        }
    }
}

fn car(n: usize) -> NewCharger {
    charger(&format!("c{n}"))
}
