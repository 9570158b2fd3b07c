//! The cheapest hours, and ready by departure.

use policy_cost_aware::{CostAware, SETTINGS};
use wattle_policy::kit::{self, NewCharger, Site, charger};
use wattle_policy::{Plan, Policy, Series, Signals, Snapshot};

const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = 60_000_000;

#[test]
fn every_plan_is_sound() {
    kit::assert_sound::<CostAware>("");
    kit::assert_sound::<CostAware>(r#"{"spare_s":0,"assumed_energy_wh":0}"#);
}

#[test]
fn the_page_says_what_the_settings_are() {
    kit::assert_documents(include_str!("../../../docs/policies/cost-aware.md"), SETTINGS);
}

/// The examples of the page. In the last all time is needed.
#[test]
fn the_cheapest_hours_before_departure_are_taken() {
    let hours = |needed_kw_hours: i64, leaves_h| {
        let mut day = Day::new(44, &[car("a", leaves_h, needed_kw_hours * 7_360)], &[30, 20, 10, 25, 40]);
        (0..5).map(|_| day.pass(60)[0] / 60).collect::<Vec<_>>()
    };
    assert_eq!(hours(1, 5), [0, 0, 1, 0, 0]);
    assert_eq!(hours(2, 5), [0, 1, 1, 0, 0]);
    assert_eq!(hours(3, 5), [0, 1, 1, 1, 0]);
    assert_eq!(hours(2, 2), [1, 1, 0, 0, 0]);
}

#[test]
fn of_equal_prices_the_earlier_hours_are_taken() {
    let mut day = Day::new(32, &[car("a", 4, 7_360)], &[20, 20, 20, 20]);
    assert_eq!(day.pass(60), [60]);
    assert_eq!(day.pass(180), [0]);
}

#[test]
fn hours_without_a_price_are_kept_in_reserve() {
    let mut day = Day::new(44, &[car("a", 10, 14_720)], &[30, 20]);
    assert_eq!(day.pass(120), [120], "what is known suffices");
    let mut day = Day::new(44, &[car("a", 10, 7_360)], &[30, 20]);
    assert_eq!([day.pass(60), day.pass(60)], [[0], [60]], "the cheaper of what is known");
}

#[test]
fn an_urgent_vehicle_charges_at_any_price_and_goes_first() {
    let day = Day::new(44, &[car("waits", 5, 7_360), car("urgent", 1, 7_360)], &[30, 10, 10, 10, 10]);
    assert_eq!(
        day.reasons(),
        ["standby: waits for a lower price, 1 h from now", "32 A: its maximum; urgent, at any price"]
    );
    let day = Day::new(40, &[car("cheap", 9, 7_360), car("urgent", 1, 14_720)], &[10, 20, 20]);
    assert_eq!(kit::limits(&day.snapshot, &day.decide()), [8_000, 32_000]);
    assert_eq!(day.reasons()[0], "8 A: shares 40 A on grid L1 with 1 other; one of its cheapest hours");
    let late = car("late", -1, 7_360);
    let day = Day::new(32, &[car("urgent", 1, 14_720), late], &[10, 5]);
    assert_eq!(kit::limits(&day.snapshot, &day.decide()), [0, 32_000]);
}

#[test]
fn a_cheap_hour_is_booked_by_as_many_as_it_has_room_for() {
    let cars: Vec<NewCharger> = (0..3).map(|n| car(&format!("c{n}"), 6, 7_360)).collect();
    let mut day = Day::new(44, &cars, &[31, 20, 10, 30, 30, 30]);
    assert_eq!(day.pass(60), [0, 0, 0]);
    let cheap = [day.pass(60), day.pass(60)];
    assert_eq!((cheap[0][0], cheap[1][0]), (0, 60), "the first has the cheapest hour: {cheap:?}");
    assert!(cheap[0][1] > 55, "the second can't have it too: {cheap:?}");
    // 3 x 32 Ah less 2 x 44 Ah are 15 min at 32 A.
    assert_eq!((day.pass(180), day.needed()), (vec![0, 0, 16], vec![0; 3]), "dear for what is left only");
}

#[test]
fn what_is_needed_is_there_by_departure_also_when_many_want_the_same_cheap_hour() {
    let cars: Vec<NewCharger> = (0..10).map(|n| car(&format!("c{n}"), 10, 14_720)).collect();
    let prices = [30, 30, 30, 30, 30, 30, 5, 30, 30, 30];
    let mut day = Day::new(80, &cars, &prices);
    day.pass(600);
    assert!(day.needed().iter().all(|needed| *needed == 0), "{:?}", day.needed());
}

#[test]
fn a_vehicle_is_not_switched_more_often_than_prices_change() {
    let cars: Vec<NewCharger> = (0..6).map(|n| car(&format!("c{n}"), 10, 7_360 * (1 + n % 4))).collect();
    let mut day = Day::new(70, &cars, &[30, 10, 25, 12, 40, 8, 33, 21, 5, 38]);
    day.pass(600);
    assert!(day.switches.iter().all(|switches| *switches <= 10), "{:?}", day.switches);
    assert!(day.needed().iter().all(|needed| *needed == 0), "{:?}", day.needed());
}

#[test]
fn without_a_price_all_that_need_energy_share() {
    let day = Day::new(20, &[car("a", 9, 7_360), car("b", 9, 7_360)], &[]);
    assert_eq!(kit::limits(&day.snapshot, &day.decide()), [10_000, 10_000]);
    assert_eq!(day.reasons()[0], "10 A: shares 20 A on grid L1 with 1 other; no price is known");
}

#[test]
fn one_that_has_what_was_asked_for_stands_by() {
    let day = Day::new(32, &[car("a", 9, 0)], &[10]);
    assert_eq!(day.reasons(), ["standby: it has what was asked for"]);
}

#[test]
fn what_is_only_assumed_ends_in_charging_at_the_lowest_price_known() {
    let unknown = charger("a").with(|charger| charger.session.as_mut().expect("it asks").delivered = 30_000);
    let mut day = Day::new(44, &[unknown], &[20, 10, 30, 30, 30, 30, 30, 30, 30, 15, 40]);
    assert_eq!([(); 11].map(|()| day.pass(60)[0]), [0, 60, 0, 0, 0, 0, 0, 0, 0, 60, 60]);
}

#[test]
fn what_is_not_said_is_assumed() {
    // 20 kWh take 2 h 43 min of the 8 h: two cheap hours less a quarter of an hour to spare, and 58 min before.
    let mut day = Day::new(44, &[charger("a")], &[30, 30, 30, 30, 30, 30, 10, 10]);
    assert_eq!([day.pass(60), day.pass(300), day.pass(105)], [[59], [0], [105]]);
}

#[test]
fn wrong_settings_are_named_with_value_and_reason() {
    assert_eq!(
        CostAware::validate_settings(r#"{"spare":1}"#),
        [
            "spare: there is no such setting; there are assumed_stay_s, assumed_energy_wh, spare_s, expected_free_percent"
        ]
    );
}

/// A vehicle that leaves so many hours after its arrival and still needs so much.
fn car(id: &str, leaves_h: i64, needed_wh: i64) -> NewCharger {
    charger(id).with(|charger| {
        let session = charger.session.as_mut().expect("it asks");
        session.departure = Some(session.arrived + leaves_h * HOUR);
        session.needed = Some(needed_wh);
    })
}

/// A site on L1 under hourly prices, decided for once a minute.
struct Day {
    snapshot: Snapshot,
    switches: Vec<u32>,
    /// What each vehicle was given, W x minutes.
    given: Vec<i64>,
    asked: Vec<Option<i64>>,
}

impl Day {
    fn new(limit_a: i32, cars: &[NewCharger], prices: &[i64]) -> Self {
        let site =
            cars.iter().fold(Site::new([limit_a * 1_000, 0, 0]), |site, new| site.charger(new.clone()));
        let mut snapshot = site.snapshot();
        let price = Series { start: snapshot.now, step_ms: 3_600_000, values: prices.to_vec() };
        snapshot.signals = Signals { price: Some(price), ..Signals::default() };
        let asked = snapshot.chargers.iter().map(|charger| charger.session.as_ref().and_then(|s| s.needed));
        let asked = asked.collect();
        Self { snapshot, switches: vec![0; cars.len()], given: vec![0; cars.len()], asked }
    }

    fn decide(&self) -> Plan {
        let plan = CostAware::decide(&self.snapshot, "", &[]).expect("the site is whole");
        kit::assert_fits(&self.snapshot, &plan);
        plan
    }

    fn reasons(&self) -> Vec<String> {
        self.decide().allocations.into_iter().map(|allocation| allocation.reason).collect()
    }

    fn needed(&self) -> Vec<i64> {
        let sessions = self.snapshot.chargers.iter().filter_map(|charger| charger.session.as_ref());
        sessions.filter_map(|session| session.needed).collect()
    }

    /// Lets so many minutes pass; in how many of them each charged.
    fn pass(&mut self, minutes: usize) -> Vec<i32> {
        let mut charged = vec![0; self.switches.len()];
        for _ in 0..minutes {
            let limits = kit::limits(&self.snapshot, &self.decide());
            for (n, charger) in self.snapshot.chargers.iter_mut().enumerate() {
                charged[n] += i32::from(limits[n] > 0);
                self.switches[n] += u32::from((limits[n] > 0) != (charger.setpoint > 0));
                charger.setpoint = limits[n];
                self.given[n] += charger.watts(limits[n]);
                let session = charger.session.as_mut().expect("it asks");
                session.needed = self.asked[n].map(|asked| (asked - self.given[n] / 60).max(0));
                if self.asked[n].is_none() {
                    session.delivered += charger_energy(limits[n]);
                }
            }
            self.snapshot.now += MINUTE;
        }
        charged
    }
}

/// What a minute at a current on one phase gives, Wh.
fn charger_energy(milliamps: i32) -> i64 {
    i64::from(milliamps) * 230 / 60_000
}
