//! Random sites with a random history: trees of circuits, phases, loads, vehicles, losses, restarts, changes of the site file, signals
//! and hostile plans; [`quirks`](crate::quirks) says what is not ideal about their devices.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use wattle_edge_core::*;
use wattle_wire::policy::{Allocation, Plan, Series};
use wattle_wire::{Micros, Milliamps, Millis, Millivolts, PerPhase, Phase};

use crate::parts::{charger, circuit, control, input, meter};
use crate::quirks::{Quirks, limit, quirks};
use crate::rig::Rig;
use crate::tally::Tally;

/// How random tests run: the same cases each time, `times` as many as `PROPTEST_CASES` says (256); others with
/// `PROPTEST_RNG_SEED`.
pub fn random(times: u32) -> ProptestConfig {
    let told = ProptestConfig::default();
    let rng_seed = match told.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed => fixed,
    };
    ProptestConfig { cases: times * told.cases, rng_seed, failure_persistence: None, ..told }
}

/// What is generated on each phase where something is, mA.
const GENERATED: i32 = 15_000;

/// The deepest tree.
const DEPTH: usize = 5;

#[derive(Debug, Clone)]
struct Branch {
    /// Which of the circuits before it feeds it.
    parent: prop::sample::Index,
    limit: [i32; 3],
    margin: i32,
    fallback: i32,
    metered: bool,
    /// When within a round its meter sends, in steps.
    offset: i64,
}

#[derive(Debug, Clone)]
struct Outlet {
    circuit: prop::sample::Index,
    wired: Vec<Phase>,
    wiring_is_known: bool,
    /// How many phases the vehicle loads.
    uses: usize,
    max: i32,
    safe: i32,
    priority: i32,
    offset: i64,
}

#[derive(Debug, Clone)]
enum Act {
    Load(prop::sample::Index, [i32; 3]),
    Ask(prop::sample::Index, bool),
    Take(prop::sample::Index, i32),
    Disobey(prop::sample::Index, Option<i32>),
    Vanish(prop::sample::Index, bool),
    Silence(prop::sample::Index, bool),
    RestartCharger(prop::sample::Index),
    RestartEdge,
    Jump(i64),
    /// A system limits a circuit.
    Signal(usize, prop::sample::Index, Limit, i64),
    /// A system limits the site, step by step, W.
    SignalGrid(usize, Vec<i64>, i64),
    Volts(i32),
    /// The edge restarts with another site file; how it has changed.
    ChangeSite(u64),
    Manual(prop::sample::Index, Option<i32>),
}

#[derive(Debug, Clone, Copy)]
enum Mind {
    Equal,
    Greedy,
    Hostile,
}

/// A site and what happens there.
#[derive(Debug, Clone)]
pub struct Case {
    /// How many times as long everything takes as in tests, where the interval is 200 ms.
    scale: i64,
    branches: Vec<Branch>,
    outlets: Vec<Outlet>,
    /// What happens, and how long until the next, in steps.
    acts: Vec<(Act, i64)>,
    mind: Mind,
    /// Whether what can be set is set: lending, ramp, room to resume, least times on and off.
    settings: [bool; 5],
    /// Of a hundred setpoints and answers so many are lost, and as many are late or come twice.
    troubled: u64,
    quirks: Quirks,
    seed: u64,
}

fn branch() -> impl Strategy<Value = Branch> {
    let limit = prop_oneof![3 => (10..80).prop_map(|limit| [limit; 3]), 1 => prop::array::uniform3(8..80)];
    let fallback = prop_oneof![1 => 0..8, 1 => 8..60];
    (any::<prop::sample::Index>(), limit, 0..4, fallback, prop::bool::weighted(0.6), 0..40_i64).prop_map(
        |(parent, limit, margin, fallback, metered, offset)| Branch {
            parent,
            limit,
            margin,
            fallback,
            metered,
            offset,
        },
    )
}

fn outlet() -> impl Strategy<Value = Outlet> {
    let wired = prop::sample::subsequence(Phase::ALL.to_vec(), 1..=3).prop_shuffle();
    let safe = prop_oneof![8 => Just(0), 1 => Just(6)];
    let of_wiring = (wired, prop::bool::weighted(0.8), 1..4_usize);
    (any::<prop::sample::Index>(), of_wiring, 6..33, safe, 0..3, 0..40_i64).prop_map(
        |(circuit, (wired, wiring_is_known, uses), max, safe, priority, offset)| Outlet {
            circuit,
            wired,
            wiring_is_known,
            uses,
            max,
            safe,
            priority,
            offset,
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    let load = prop::array::uniform3(0..30_000);
    prop_oneof![
        6 => (index(), load).prop_map(|(circuit, load)| Act::Load(circuit, load)),
        6 => (index(), prop::bool::weighted(0.7)).prop_map(|(charger, asks)| Act::Ask(charger, asks)),
        4 => (index(), 0..33_000).prop_map(|(charger, takes)| Act::Take(charger, takes)),
        1 => (index(), prop::option::of(0..40_000)).prop_map(|(charger, draw)| Act::Disobey(charger, draw)),
        1 => (index(), any::<bool>()).prop_map(|(charger, gone)| Act::Vanish(charger, gone)),
        1 => (index(), any::<bool>()).prop_map(|(meter, silent)| Act::Silence(meter, silent)),
        1 => index().prop_map(Act::RestartCharger),
        1 => Just(Act::RestartEdge),
        1 => prop_oneof![-20_000..0_i64, 1_000..20_000_i64, Just(3_600_000), Just(-3_600_000)].prop_map(Act::Jump),
        1 => (0..2_usize, index(), limit(), 0..5_000_i64)
            .prop_map(|(by, circuit, limit, ms)| Act::Signal(by, circuit, limit, ms)),
        1 => (0..2_usize, prop::collection::vec(0..50_000_i64, 1..5), 500..3_000_i64)
            .prop_map(|(by, watts, step_ms)| Act::SignalGrid(by, watts, step_ms)),
        1 => (207..=253_i32).prop_map(Act::Volts),
        1 => any::<u64>().prop_map(Act::ChangeSite),
        1 => (index(), prop::option::of(0..40_000)).prop_map(|(charger, manual)| Act::Manual(charger, manual)),
    ]
}

/// Any site, with any history.
pub fn case() -> impl Strategy<Value = Case> {
    case_of(1, 5..40)
}

/// Any site, with so many things that happen, and `scale` times as slow as in tests.
pub fn case_of(scale: i64, acts: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    let mind = prop_oneof![2 => Just(Mind::Equal), 1 => Just(Mind::Greedy), 2 => Just(Mind::Hostile)];
    (
        prop::collection::vec(branch(), 1..8),
        prop::collection::vec(outlet(), 1..7),
        prop::collection::vec((act(), 1..160_i64), acts),
        mind,
        prop::array::uniform5(prop::bool::weighted(0.3)),
        prop_oneof![4 => Just(0), 1 => 1..5_u64, 1 => 10..50_u64],
        quirks(),
        any::<u64>(),
    )
        .prop_map(move |(branches, outlets, acts, mind, settings, troubled, quirks, seed)| Case {
            scale,
            branches,
            outlets,
            acts,
            mind,
            settings,
            troubled,
            quirks,
            seed,
        })
}

#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn current(&mut self) -> Milliamps {
        match self.below(10) {
            0 => Milliamps(i32::MAX),
            1 => Milliamps(i32::MIN),
            2 => Milliamps(-6_000),
            3 => Milliamps(5_999),
            _ => Milliamps(self.below(40_000) as i32),
        }
    }

    /// A plan with unknown chargers, repetitions, and absurd currents; now and then with a million entries.
    fn plan(&mut self) -> Result<Plan, String> {
        if self.below(8) == 0 {
            return Err("trapped".into());
        }
        let (entries, words) = match self.below(2_000) {
            0 => (1_000_000, 1),
            1..20 => (1_000, 20),
            _ => (self.below(8), 200),
        };
        let allocations = (0..entries).map(|_| Allocation {
            charger: if self.below(6) == 0 { u32::MAX } else { self.below(7) as u32 },
            limit_ma: self.current(),
            reason: "é".repeat(self.below(words) as usize),
        });
        Ok(Plan { allocations: allocations.collect(), state: vec![0; self.below(100_000) as usize] })
    }
}

impl Case {
    fn model(&self) -> SiteModel {
        let mut circuits: Vec<Circuit> = Vec::new();
        let mut meters = Vec::new();
        for (index, branch) in self.branches.iter().enumerate() {
            let parents: Vec<usize> = (0..index).filter(|above| depth(&circuits, *above) < DEPTH).collect();
            let parent = (index > 0).then(|| *branch.parent.get(&parents));
            circuits.push(Circuit {
                limit_ma: PerPhase(branch.limit.map(Milliamps::from_amps)),
                margin_ma: Milliamps::from_amps(branch.margin),
                fallback_ma: Milliamps::from_amps(branch.fallback),
                ..circuit(&format!("c-{index}"), parent, 0.0)
            });
            if branch.metered {
                meters.push(meter(&format!("m-{index}"), index));
            }
        }
        let chargers = self.outlets.iter().enumerate().map(|(index, outlet)| Charger {
            circuit: outlet.circuit.index(circuits.len()),
            phases: outlet.wiring_is_known.then(|| outlet.wired.clone()),
            max_ma: Milliamps::from_amps(outlet.max),
            safe_ma: Milliamps::from_amps(outlet.safe),
            priority: outlet.priority,
            ..charger(&format!("cp-{index}"))
        });
        let chargers = chargers.collect();
        let (users, systems, local_time) = (Vec::new(), Vec::new(), LocalTime::default());
        let control = self.control();
        SiteModel {
            id: "depot".parse().expect("name"),
            control,
            circuits,
            meters,
            chargers,
            users,
            systems,
            local_time,
        }
    }

    fn control(&self) -> Control {
        let [lends, ramps, needs_room, rests, stays] = self.settings;
        let length = |is_set: bool, ms: i64| Millis(if is_set { ms * self.scale } else { 0 });
        let usual = control();
        let current = |is_set: bool, amps: i32| Milliamps::from_amps(if is_set { amps } else { 0 });
        Control {
            lend_after_ms: length(lends, 450),
            raise_ramp_ma_per_s: current(ramps, 5),
            resume_room_ma: current(needs_room, 1),
            least_off_ms: length(rests, 700),
            least_on_ms: length(stays, 900),
            interval_ms: Millis(usual.interval_ms.0 * self.scale),
            validity_ms: Millis(usual.validity_ms.0 * self.scale),
            meter_stale_ms: Millis(usual.meter_stale_ms.0 * self.scale),
            ..usual
        }
    }

    fn rig(&self) -> Rig {
        let mut rig = Rig::new(self.quirks.of_model(self.model()));
        for (vehicle, outlet) in rig.vehicles.iter_mut().zip(&self.outlets) {
            (vehicle.wired, vehicle.uses) = (outlet.wired.clone(), outlet.uses);
        }
        let step_ms = rig.pace.step_ms;
        rig.charger_offsets = self.outlets.iter().map(|outlet| step_ms * outlet.offset).collect();
        let metered = self.branches.iter().filter(|branch| branch.metered);
        rig.meter_offsets = metered.map(|branch| step_ms * branch.offset).collect();
        let (mut plans, mut fates, troubled) = (Random(self.seed), Random(!self.seed), self.troubled);
        match self.mind {
            Mind::Equal => {}
            Mind::Greedy => rig.policy = Box::new(|snapshot| Ok(greedy(snapshot.chargers.len()))),
            Mind::Hostile => rig.policy = Box::new(move |_| plans.plan()),
        }
        // Where a vehicle draws less from the very moment on at which a load rises, only the next round of their readings
        // tells how much the load is, and the next decision acts on it.
        let control = rig.machine.model().control;
        rig.extra_grace_ms = rig.pace.reading_ms + control.interval_ms.0;
        if troubled > 0 {
            rig.is_troubled = true;
            rig.fate = Box::new(move |_| match fates.below(100) {
                n if n < troubled => vec![],
                n if n < 2 * troubled => {
                    let late = |fates: &mut Random| step_ms + fates.below(120) as i64 * step_ms;
                    (0..1 + fates.below(2)).map(|_| late(&mut fates)).collect()
                }
                _ => vec![step_ms],
            });
        }
        let mut random = Random(self.seed.rotate_left(32));
        self.quirks.of_rig(&mut rig, move |bound| random.below(bound));
        rig
    }

    /// Plays it; the rig panics when the promise is broken.
    pub fn play(&self) {
        let mut rig = self.rig();
        for (act, steps) in &self.acts {
            self.act(&mut rig, act);
            rig.run_ms(steps * rig.pace.step_ms);
        }
    }

    /// Plays it, and counts when the promise is broken; how long it lasted, and what has happened.
    pub fn count(&self) -> (Micros, Tally) {
        let mut rig = self.rig();
        rig.goes_on = true;
        let start = rig.now;
        for (act, steps) in &self.acts {
            self.act(&mut rig, act);
            rig.run_ms(steps * rig.pace.step_ms);
            (rig.rows, rig.sent) = (Vec::new(), Vec::new());
        }
        rig.end_excesses();
        (rig.now - start, rig.tally)
    }

    fn act(&self, rig: &mut Rig, act: &Act) {
        let metered: Vec<usize> = rig.machine.model().meters.iter().map(|meter| meter.circuit).collect();
        match act {
            // Where no meter is nobody knows of a load.
            Act::Load(_, _) | Act::Silence(_, _) if metered.is_empty() => {}
            Act::Load(circuit, load) => {
                let generated = if self.quirks.generates { GENERATED } else { 0 };
                let load = PerPhase(load.map(|load| Milliamps(load - generated)));
                rig.set_load(*circuit.get(&metered), load);
            }
            Act::Silence(meter, silent) => {
                rig.silence(meter.index(metered.len()), *silent);
                let unknown = (0..rig.vehicles.len()).filter(|index| !rig.is_watched(*index));
                unknown.collect::<Vec<_>>().into_iter().for_each(|index| rig.disobey(index, None));
            }
            Act::Ask(charger, asks) => {
                rig.want(charger.index(rig.vehicles.len()), *asks);
            }
            Act::Take(charger, takes) => {
                rig.take(charger.index(rig.vehicles.len()), Milliamps(*takes));
            }
            // Of one that neither obeys nor speaks nobody can know, nor of one that is measured neither by itself nor by a meter.
            Act::Disobey(charger, draw) => {
                let index = charger.index(rig.vehicles.len());
                if !rig.vehicles[index].offline && rig.is_watched(index) {
                    rig.disobey(index, draw.map(Milliamps));
                }
            }
            Act::Vanish(charger, gone) => {
                let index = charger.index(rig.vehicles.len());
                rig.disobey(index, None);
                rig.vanish(index, *gone);
            }
            Act::RestartCharger(charger) => rig.restart_charger(charger.index(rig.vehicles.len())),
            Act::RestartEdge => rig.restart_edge(),
            Act::Jump(ms) => rig.jump_ms(*ms),
            Act::Signal(by, circuit, limit, ms) => {
                let circuit = circuit.index(self.branches.len());
                rig.signal(*by, circuit, *limit, *ms * self.scale);
            }
            Act::SignalGrid(by, watts, step_ms) => {
                // Of each three one begins a step later.
                let ahead = if step_ms % 3 == 0 { *step_ms * self.scale } else { 0 };
                let start_us = rig.machine_now() + Micros::from_millis(ahead);
                let step_ms = Millis(*step_ms * self.scale);
                rig.signal_grid(*by, Series { start_us, step_ms, values: watts.clone() });
            }
            Act::Volts(volts) => rig.set_voltage(Millivolts(volts * 1_000)),
            Act::ChangeSite(seed) => {
                let site = changed(rig.machine.model().clone(), &mut Random(*seed), self.scale);
                rig.restart_edge_as(site);
            }
            Act::Manual(charger, manual) => {
                let index = charger.index(rig.vehicles.len());
                let manual = manual.map(|ma| Manual { current_ma: Milliamps(ma), until_us: None });
                rig.tell(input(Part::Charger(index), Heard::Manual(manual)));
            }
        }
    }
}

/// A site whose file was changed: what is allowed, how it is controlled, and what is known of the wiring.
fn changed(mut site: SiteModel, random: &mut Random, scale: i64) -> SiteModel {
    let amps =
        |random: &mut Random, from: i32, below: u64| Milliamps::from_amps(from + random.below(below) as i32);
    for circuit in &mut site.circuits {
        match random.below(4) {
            0 => circuit.limit_ma = PerPhase::all(amps(random, 8, 72)),
            1 => circuit.margin_ma = amps(random, 0, 4),
            2 => circuit.fallback_ma = amps(random, 0, 60),
            _ => {}
        }
    }
    for charger in &mut site.chargers {
        match random.below(4) {
            0 => charger.max_ma = amps(random, 6, 27),
            1 => charger.priority = random.below(3) as i32,
            _ => {}
        }
    }
    site.control.validity_ms = Millis((1_000 + 500 * random.below(5) as i64) * scale);
    site.control.raise_delay_ms = Millis(100 * random.below(5) as i64 * scale);
    site
}

fn depth(circuits: &[Circuit], index: usize) -> usize {
    std::iter::successors(Some(index), |index| circuits[*index].parent).count()
}

fn greedy(chargers: usize) -> Plan {
    let allocations = (0..chargers as u32).map(|charger| Allocation {
        charger,
        limit_ma: Milliamps::MAX,
        reason: String::new(),
    });
    Plan { allocations: allocations.collect(), state: Vec::new() }
}
