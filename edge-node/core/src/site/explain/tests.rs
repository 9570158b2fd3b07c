//! Explanations, word by word.

use wattle_wire::message::{ChargerState, Number, Phases};
use wattle_wire::policy::{Allocation, Plan};
use wattle_wire::row::Cause;
use wattle_wire::{
    CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SessionId, SiteId, UserId, Watts,
};

use crate::site::{
    Charger, Circuit, Control, Heard, Limit, LocalTime, Meter, Part, Proposal, Signalled, SiteInput,
    SiteMachine, SiteModel, Stay, User,
};

const START: Micros = Micros::from_secs(1_800_000_000);
const PAGE: &str = include_str!("golden/page.txt");

fn amps(amps: i32) -> Milliamps {
    Milliamps::from_amps(amps)
}

fn model() -> SiteModel {
    let circuit = |id: &str, parent, limit| Circuit {
        fallback_ma: amps(6),
        ..Circuit::new(
            CircuitId::new(id).expect("name"),
            parent,
            PerPhase([amps(limit), Milliamps::ZERO, Milliamps::ZERO]),
        )
    };
    let charger = |id: &str, circuit, priority| Charger {
        phases: Some(vec![Phase::L1]),
        priority,
        ..Charger::new(DeviceId::new(id).expect("name"), circuit)
    };
    let grid = Circuit { margin_ma: amps(2), ..circuit("grid", None, 40) };
    SiteModel {
        id: SiteId::new("depot").expect("name"),
        control: Control { lend_after_ms: Millis(3_000), ..Control::default() },
        circuits: vec![grid, circuit("hall", Some(0), 20)],
        meters: vec![Meter { id: DeviceId::new("m-1").expect("name"), circuit: 0, lag_ms: Millis(0) }],
        chargers: vec![
            charger("cp-1", 1, 0),
            charger("cp-2", 1, 2),
            charger("cp-3", 1, 0),
            charger("cp-4", 0, 0),
            charger("cp-5", 0, 0),
            charger("cp-6", 0, 0),
        ],
        users: vec![User {
            id: UserId::new("ann").expect("name"),
            max_power: Some(Watts(2_024)),
            priority: None,
        }],
        systems: Vec::new(),
        local_time: LocalTime::default(),
    }
}

/// A site second by second: its chargers say what they obey and draw.
struct Depot {
    machine: SiteMachine,
    now: Micros,
    told: Vec<Option<(u64, Milliamps)>>,
    asks: Vec<bool>,
    takes: Vec<Milliamps>,
    silent: Vec<bool>,
    home: Milliamps,
}

impl Depot {
    fn new(model: SiteModel) -> Self {
        let chargers = model.chargers.len();
        Self {
            machine: SiteMachine::new(model, 100, START).expect("sound"),
            now: START,
            told: vec![None; chargers],
            asks: vec![false; chargers],
            takes: vec![amps(32); chargers],
            silent: vec![false; chargers],
            home: amps(4),
        }
    }

    fn tell(&mut self, part: Part, heard: Heard) {
        let seen = Some(Number { boot: 1, seq: 1 });
        self.machine.handle(SiteInput { part, seen, heard }, self.now);
    }

    fn hear(&mut self) {
        self.now += Micros::from_secs(1);
        let mut total = self.home;
        for index in 0..self.told.len() {
            let told = self.told[index].map_or(Milliamps::ZERO, |(_, limit)| limit);
            let draws = if self.asks[index] { told.min(self.takes[index]) } else { Milliamps::ZERO };
            total += draws;
            if self.silent[index] {
                continue;
            }
            let state = if self.asks[index] { ChargerState::Charging } else { ChargerState::Available };
            let heard = Heard::Reading {
                state: Some(state),
                setpoint: self.told[index].map(|(number, _)| number),
                current_ma: Some(Phases::new(&[draws])),
                register_wh: None,
                soc_percent: None,
                temperature_mc: None,
                voltage_mv: None,
            };
            self.tell(Part::Charger(index), heard);
        }
        let current_ma = Some(Phases::new(&[total]));
        let (state, setpoint, register_wh) = (None, None, None);
        let (soc_percent, temperature_mc, voltage_mv) = (None, None, None);
        let heard = Heard::Reading {
            state,
            setpoint,
            current_ma,
            register_wh,
            soc_percent,
            temperature_mc,
            voltage_mv,
        };
        self.tell(Part::Meter(0), heard);
    }

    fn proposal(plan: &[(usize, i32)]) -> Proposal {
        let allocation = |(charger, ma): &(usize, i32)| Allocation {
            charger: *charger as u32,
            limit_ma: Milliamps(*ma),
            reason: "its share".into(),
        };
        let plan = Plan { allocations: plan.iter().map(allocation).collect(), state: Vec::new() };
        Proposal {
            plan: Ok(plan),
            policy: "my-policy 1.0.0".into(),
            policy_digest: 1,
            settings_digest: 1,
            fuel: 1,
        }
    }

    /// A second passes and it is decided by this plan.
    fn decide(&mut self, plan: &[(usize, i32)]) {
        self.hear();
        self.machine.begin_decision(self.now, Cause::Interval);
        for send in self.machine.finish_decision(Self::proposal(plan), self.now).setpoints {
            let chargers = &self.machine.model().chargers;
            let index = chargers.iter().position(|charger| charger.id == send.device).expect("of the site");
            if !self.silent[index] {
                self.told[index] = Some((send.setpoint.number, send.setpoint.limit_ma));
            }
        }
    }

    /// A second passes, and it is told how it would be decided by this plan.
    fn explain(&mut self, plan: &[(usize, i32)], cause: Cause) -> super::Explanation {
        self.hear();
        self.machine.begin_decision(self.now, cause);
        let before = self.machine.keyframe();
        let explained = self.machine.explain(Self::proposal(plan), self.now);
        assert_eq!(self.machine.keyframe(), before, "explaining decides nothing");
        explained
    }
}

/// Every kind of step at once.
fn busy() -> super::Explanation {
    let mut depot = Depot::new(model());
    depot.asks = vec![true, true, false, true, true, true];
    depot.takes[3] = amps(7);
    for _ in 0..30 {
        depot.decide(&[(0, 8_000), (1, 12_000), (3, 12_000), (4, 6_000)]);
    }
    let stay = Stay { user: Some(UserId::new("ann").expect("name")), ..Stay::named(session("s-1")) };
    depot.tell(Part::Charger(4), Heard::Stay(Some(stay)));
    depot.silent[0] = true;
    for _ in 0..11 {
        depot.decide(&[(0, 8_000), (1, 12_000), (3, 12_000), (4, 6_000)]);
    }
    depot.asks[2] = true;
    let limit = Limit::Current(PerPhase::all(amps(36)));
    let until_us = depot.now + Micros::from_secs(600);
    depot.tell(Part::Circuit(0), Heard::Limit { by: 0, limit: Some(Signalled { limit, until_us }) });
    depot.explain(&[(1, 20_500), (2, 6_000), (3, 16_000), (4, 9_000), (5, 5_000)], Cause::Request)
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).expect("name")
}

#[test]
fn a_page_says_what_there_was_and_what_each_step_did() {
    let page = busy().to_string();
    if page != PAGE {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/site/explain/golden/page.txt.new");
        std::fs::write(path, &page).expect("writable");
        panic!("the page has changed, see {path}:\n{page}");
    }
}

/// What is said of a charger after 20 s of a steady plan and one decision by another.
fn check(prepare: impl FnOnce(&mut Depot), plan: &[(usize, i32)], charger: usize, expected: &[&str]) {
    let mut depot = Depot::new(model());
    depot.asks = vec![true, true, true, false, false, false];
    for _ in 0..20 {
        depot.decide(&[(0, 10_000), (1, 10_000)]);
    }
    prepare(&mut depot);
    let explained = depot.explain(plan, Cause::Interval);
    assert_eq!(explained.chargers[charger].steps, expected, "{explained}");
}

#[test]
fn a_charger_that_gets_what_was_proposed_needs_no_words() {
    check(|_| (), &[(0, 10_000), (1, 10_000)], 0, &[]);
}

#[test]
fn a_charger_that_is_shed_hears_where_and_for_whom() {
    let expected = [
        "is lowered to 8 A: 2 A too much for L1 of hall; cp-2 (priority 2) goes before it",
        "goes from 10 A to 8 A at once",
    ];
    check(|_| (), &[(0, 10_000), (1, 12_000)], 0, &expected);
    let expected = [
        "stands by: 6 A too much for L1 of hall; cp-2 (priority 2) and cp-1 (registered before) go before it",
    ];
    check(|_| (), &[(0, 10_000), (1, 10_000), (2, 6_000)], 2, &expected);
}

#[test]
fn a_raise_hears_how_long_it_waits_and_for_whom() {
    let expected = ["stays at 10 A: a raise to 12 A waits for the raise delay, 5 s more"];
    check(|_| (), &[(0, 8_000), (1, 12_000)], 1, &expected);
    let mut depot = Depot::new(SiteModel {
        control: Control { raise_delay_ms: Millis(0), ..Control::default() },
        ..model()
    });
    depot.asks = vec![true, true, false, false, false, false];
    for _ in 0..20 {
        depot.decide(&[(0, 10_000), (1, 10_000)]);
    }
    // The first charger is told less, and its answer is under way.
    let told = depot.told[0];
    depot.decide(&[(0, 8_000), (1, 12_000)]);
    depot.told[0] = told;
    let explained = depot.explain(&[(0, 8_000), (1, 12_000)], Cause::Interval);
    let said = explained.chargers[1].steps.join("\n");
    assert_eq!(
        said,
        "stays at 10 A of 12 A: 10 A are free for it on L1 of hall now; waits until it is confirmed and measured that cp-1 draws 2 A less"
    );
}

#[test]
fn a_proposal_below_the_minimum_or_between_steps_hears_so() {
    let expected = ["stands by: 5 A are below its minimum of 6 A", "goes from 10 A to 0 A at once"];
    check(|_| (), &[(0, 5_000), (1, 10_000)], 0, &expected);
    let expected = ["is lowered to 9 A: whole steps of 1 A, 32 A at most", "goes from 10 A to 9 A at once"];
    check(|_| (), &[(0, 9_700), (1, 10_000)], 0, &expected);
}

#[test]
fn a_charger_that_may_not_charge_hears_why() {
    check(|_| (), &[(0, 10_000), (1, 10_000), (3, 9_000)], 3, &["gets nothing: no vehicle asks"]);
    let by_hand = |depot: &mut Depot| {
        depot.tell(
            Part::Charger(0),
            Heard::Manual(Some(crate::site::Manual { current_ma: amps(7), until_us: None })),
        )
    };
    check(by_hand, &[(0, 10_000), (1, 10_000)], 0, &["goes from 10 A to 7 A at once"]);
}

#[test]
fn a_silent_meter_is_told_with_the_circuit() {
    let mut depot = Depot::new(model());
    depot.asks[0] = true;
    for _ in 0..5 {
        depot.decide(&[(0, 10_000)]);
    }
    depot.now += Micros::from_secs(15);
    depot.machine.begin_decision(depot.now, Cause::Interval);
    let explained = depot.machine.explain(Depot::proposal(&[(0, 10_000)]), depot.now);
    let text = explained.to_string();
    assert!(text.contains("Its meter is silent on L1: its chargers share the fallback budget"), "{text}");
    assert!(text.contains("was not heard of for 15 s"), "{text}");
}

#[test]
fn a_failure_of_the_policy_is_told_with_who_stood_in() {
    let mut depot = Depot::new(model());
    depot.decide(&[]);
    depot.hear();
    depot.machine.begin_decision(depot.now, Cause::Interval);
    let proposal = Proposal { plan: Err("trap".into()), ..Depot::proposal(&[]) };
    let text = depot.machine.explain(proposal, depot.now).to_string();
    assert!(text.contains("No plan was given (trap); proposed by my-policy 1.0.0 (last plan)."), "{text}");
}
