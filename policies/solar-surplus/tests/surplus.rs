//! Charging from surplus, with delays.

use policy_solar_surplus::{SETTINGS, SolarSurplus};
use wattle_policy::kit::{self, NewCharger, Site, charger};
use wattle_policy::{ChargerState, Phase, Plan, Policy, Series, Signals, Snapshot};

const MINIMUM: &str = r#"{"mode":"minimum"}"#;

#[test]
fn every_plan_is_sound() {
    kit::assert_sound::<SolarSurplus>("");
    kit::assert_sound::<SolarSurplus>(r#"{"start_after_s":0,"stop_after_s":0}"#);
    kit::assert_sound::<SolarSurplus>(MINIMUM);
}

#[test]
fn the_page_says_what_the_settings_are() {
    kit::assert_documents(include_str!("../../../docs/policies/solar-surplus.md"), SETTINGS);
}

/// The example of the page.
#[test]
fn the_surplus_decides_how_many_charge_and_how_much() {
    let after_delays = |watts, chargers: &[NewCharger]| {
        let mut roof = Roof::new(chargers);
        roof.shine(watts);
        (0..300).for_each(|_| drop(roof.second("")));
        roof.second("")
    };
    let one = [single("a")];
    assert_eq!(after_delays(1_379, &one), [0]);
    assert_eq!(after_delays(1_380, &one), [6]);
    assert_eq!(after_delays(4_000, &one), [17]);
    let two = [single("a"), single("b")];
    assert_eq!(after_delays(2_000, &two), [8, 0]);
    assert_eq!(after_delays(4_000, &two), [9, 8]);
    let mixed = [three("a"), single("b")];
    assert_eq!(after_delays(4_000, &mixed), [0, 17]);
    assert_eq!(after_delays(7_000, &mixed), [7, 9]);
}

#[test]
fn it_starts_when_there_has_been_enough_for_the_whole_delay() {
    let mut roof = Roof::new(&[single("a")]);
    roof.shine(3_000);
    (0..59).for_each(|_| assert_eq!(roof.second(""), [0]));
    roof.shine(1_000);
    assert_eq!(roof.second(""), [0]);
    roof.shine(3_000);
    (0..60).for_each(|_| assert_eq!(roof.second(""), [0]));
    assert_eq!(roof.reason(""), "13 A: alone has the surplus; surplus 3 kW");
    assert_eq!(roof.second(""), [13]);
}

#[test]
fn it_keeps_its_minimum_through_a_cloud_and_stops_when_that_lasts() {
    let mut roof = Roof::new(&[single("a")]);
    roof.shine(3_000);
    (0..61).for_each(|_| drop(roof.second("")));
    roof.shine(500);
    (0..179).for_each(|_| assert_eq!(roof.second(""), [6]));
    roof.shine(3_000);
    assert_eq!(roof.second(""), [13]);
    roof.shine(500);
    (0..180).for_each(|_| assert_eq!(roof.second(""), [6]));
    assert_eq!(roof.second(""), [0]);
}

#[test]
fn reasons_tell_how_long_it_takes() {
    let mut roof = Roof::new(&[single("a")]);
    roof.shine(3_000);
    (0..15).for_each(|_| drop(roof.second("")));
    assert_eq!(roof.reason(""), "standby: starts in 45 s; surplus 3 kW");
    (0..50).for_each(|_| drop(roof.second("")));
    roof.shine(690);
    (0..50).for_each(|_| drop(roof.second("")));
    assert_eq!(roof.reason(""), "6 A: alone has the surplus; stops in 2 min 10 s; surplus 0.69 kW");
    (0..200).for_each(|_| drop(roof.second("")));
    assert_eq!(roof.reason(""), "standby: 3 A is left on the surplus, it needs 6 A; surplus 0.69 kW");
}

#[test]
fn delays_of_nothing_follow_the_surplus_at_once() {
    let mut roof = Roof::new(&[single("a")]);
    let at_once = r#"{"start_after_s":0,"stop_after_s":0}"#;
    for (watts, amps) in [(3_000, 13), (1_000, 0), (1_380, 6)] {
        roof.shine(watts);
        assert_eq!(roof.second(at_once), [amps]);
    }
}

#[test]
fn with_mode_minimum_all_charge_and_the_surplus_is_on_top() {
    let mut roof = Roof::new(&[single("a"), single("b")]);
    for (watts, amps) in
        [(0, [6, 6]), (2_760, [6, 6]), (2_990, [7, 6]), (9_200, [20, 20]), (90_000, [32, 31])]
    {
        roof.shine(watts);
        assert_eq!(roof.second(MINIMUM), amps, "{watts} W");
    }
}

#[test]
fn circuits_bound_what_the_surplus_gives() {
    let mut roof = Roof::new(&[single("a"), single("b")]);
    roof.snapshot.circuits[0].available = [10_000; 3].into();
    roof.shine(20_000);
    assert_eq!(roof.second(MINIMUM), [10, 0]);
    (0..100).for_each(|_| drop(roof.second("")));
    assert_eq!(roof.second(""), [10, 0]);
}

#[test]
fn an_unknown_surplus_is_none() {
    let mut roof = Roof::new(&[single("a")]);
    roof.shine(3_000);
    (0..100).for_each(|_| drop(roof.second("")));
    roof.snapshot.signals.surplus = None;
    (0..180).for_each(|_| assert_eq!(roof.second(""), [6]));
    assert_eq!(roof.second(""), [0]);
    assert!(roof.reason("").ends_with("; no surplus is known"), "{}", roof.reason(""));
    roof.shine(3_000);
    if let Some(surplus) = &mut roof.snapshot.signals.surplus {
        surplus.values = vec![];
    }
    assert_eq!(roof.second(MINIMUM), [6]);
    roof.shine(-5_000);
    assert_eq!(roof.second(MINIMUM), [6]);
}

#[test]
fn one_that_charges_already_goes_on_and_has_the_stop_delay() {
    let mut roof = Roof::new(&[single("a").with(|charger| charger.setpoint = 20_000)]);
    roof.shine(0);
    (0..180).for_each(|_| assert_eq!(roof.second(""), [6]));
    assert_eq!(roof.second(""), [0]);
}

/// An edge shows one that has a current by hand as plugged in and not asking.
#[test]
fn what_others_draw_is_no_surplus_any_more() {
    let draws = |new: NewCharger, ma: [i32; 3]| new.with(|charger| charger.draw = ma.into());
    let by_hand = draws(single("a"), [16_000, 0, 0]).state(ChargerState::Plugged);
    let out_of_reach = draws(three("a"), [4_000, 4_000, 4_000]).offline();
    for (other, watts, with_surplus, with_minimum) in [
        (&by_hand, 3_680, 0, 6),
        (&by_hand, 3_680 + 1_379, 0, 6),
        (&by_hand, 3_680 + 2_300, 10, 10),
        (&by_hand, 1_000, 0, 6),
        (&out_of_reach, 2_760 + 1_380, 6, 6),
        (&out_of_reach, 2_760 + 1_379, 0, 6),
    ] {
        let mut roof = Roof::new(&[other.clone(), single("b")]);
        roof.shine(watts);
        assert_eq!(roof.second(MINIMUM), [0, with_minimum], "{watts} W");
        (0..300).for_each(|_| drop(roof.second("")));
        roof.state.clear();
        roof.snapshot.chargers[1].setpoint = 0;
        (0..60).for_each(|_| assert_eq!(roof.second(""), [0, 0]));
        assert_eq!(roof.second(""), [0, with_surplus], "{watts} W");
    }
    let mut roof = Roof::new(&[by_hand, single("b")]);
    roof.shine(6_000);
    let told = roof.decide(MINIMUM).allocations.pop().expect("one asks").reason;
    assert_eq!(told, "10 A: alone has the surplus; surplus 6 kW, less 3.68 kW of others");
}

/// An edge shows a vehicle that has to rest as plugged in and not asking.
#[test]
fn one_that_had_to_rest_starts_at_once_if_there_has_been_enough_meanwhile() {
    let mut roof = Roof::new(&[single("a").with(|charger| charger.setpoint = 6_000)]);
    roof.shine(500);
    (0..181).for_each(|_| drop(roof.second("")));
    roof.show(0, ChargerState::Plugged);
    roof.shine(3_000);
    (0..600).for_each(|_| assert_eq!(roof.second(""), [0]));
    roof.show(0, ChargerState::Waiting);
    assert_eq!(roof.second(""), [13]);
}

#[test]
fn what_is_missing_of_the_delay_after_a_rest_is_waited_for() {
    let mut roof = Roof::new(&[single("a")]);
    roof.shine(3_000);
    (0..20).for_each(|_| assert_eq!(roof.second(""), [0]));
    roof.show(0, ChargerState::Plugged);
    (0..30).for_each(|_| assert_eq!(roof.second(""), [0]));
    roof.show(0, ChargerState::Waiting);
    (0..10).for_each(|_| assert_eq!(roof.second(""), [0]));
    assert_eq!(roof.second(""), [13]);
}

#[test]
fn a_rest_in_which_there_was_too_little_counts_for_nothing() {
    for before in [0, 30, 70] {
        let mut roof = Roof::new(&[single("a")]);
        roof.shine(3_000);
        (0..before).for_each(|_| drop(roof.second("")));
        roof.show(0, ChargerState::Plugged);
        assert_eq!(roof.second(""), [0]);
        (0..300).for_each(|_| assert_eq!(roof.second(""), [0]));
        roof.shine(500);
        assert_eq!(roof.second(""), [0]);
        roof.show(0, ChargerState::Waiting);
        assert_eq!(roof.second(""), [0], "it was off, so it takes nothing from the grid");
        roof.shine(3_000);
        (0..60).for_each(|_| assert_eq!(roof.second(""), [0]));
        assert_eq!(roof.second(""), [13], "after {before} s");
    }
}

#[test]
fn one_that_rests_takes_nothing_of_what_others_deserve_and_deserves_nothing_that_those_before_it_have() {
    let mut roof = Roof::new(&[single("a"), single("b")]);
    roof.show(0, ChargerState::Plugged);
    roof.shine(2_000);
    (0..60).for_each(|_| assert_eq!(roof.second(""), [0, 0]));
    assert_eq!(roof.second(""), [0, 8]);
    let mut roof = Roof::new(&[single("a"), single("b")]);
    roof.show(1, ChargerState::Plugged);
    roof.shine(2_000);
    (0..300).for_each(|_| drop(roof.second("")));
    roof.show(1, ChargerState::Waiting);
    (0..300).for_each(|_| assert_eq!(roof.second(""), [8, 0]));
}

#[test]
fn wrong_settings_are_named_with_value_and_reason() {
    assert_eq!(
        SolarSurplus::validate_settings(r#"{"stop_after_s":-1}"#),
        ["stop_after_s: `-1` is not a whole number from 0 to 3600"]
    );
}

/// Chargers under a roof that shines, decided for once a second.
struct Roof {
    snapshot: Snapshot,
    state: Vec<u8>,
}

impl Roof {
    fn new(chargers: &[NewCharger]) -> Self {
        let site = chargers.iter().fold(Site::new([63_000; 3]), |site, new| site.charger(new.clone()));
        Self { snapshot: site.snapshot(), state: Vec::new() }
    }

    fn shine(&mut self, watts: i64) {
        let surplus = Series { start: self.snapshot.now, step_ms: 86_400_000, values: vec![watts] };
        self.snapshot.signals = Signals { surplus: Some(surplus), ..Signals::default() };
    }

    fn show(&mut self, charger: usize, state: ChargerState) {
        self.snapshot.chargers[charger].state = state;
    }

    fn decide(&self, settings: &str) -> Plan {
        let plan = SolarSurplus::decide(&self.snapshot, settings, &self.state).expect("the site is whole");
        kit::assert_fits(&self.snapshot, &plan);
        plan
    }

    fn reason(&self, settings: &str) -> String {
        self.decide(settings).allocations[0].reason.clone()
    }

    /// Decides, lets a second pass, and gives the limits, A.
    fn second(&mut self, settings: &str) -> Vec<i32> {
        let plan = self.decide(settings);
        let limits = kit::limits(&self.snapshot, &plan);
        for (charger, limit) in self.snapshot.chargers.iter_mut().zip(&limits) {
            charger.setpoint = *limit;
        }
        self.state = plan.state;
        self.snapshot.now += 1_000_000;
        limits.iter().map(|limit| limit / 1_000).collect()
    }
}

fn single(id: &str) -> NewCharger {
    charger(id)
}

fn three(id: &str) -> NewCharger {
    charger(id).phases(&Phase::ALL)
}
