//! Random sites on which a policy must hold what every policy should.

use super::{Site, assert_fits, charger};
use crate::{Charger, ChargerState, Phase, Plan, Policy, Series, Session, Signals, Snapshot};

const SEEDS: u64 = 1_000;
const DECISIONS: usize = 8;

/// The longest reason and the longest state that a host takes, bytes.
const MOST_REASON: usize = 256;
const MOST_STATE: usize = 64 * 1024;

/// Runs a policy on a thousand random sites, several decisions each. Panics with the seed unless every plan
/// fits ([`assert_fits`]), names exactly those who ask, each with a reason, and comes out the same again;
/// the state is bounded, and rubbish in its place is no reason to fail.
///
/// ```
/// use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, kit, settings};
///
/// /// Nobody gets anything: sound, if of little use.
/// struct Nothing;
///
/// impl Policy for Nothing {
///     fn describe() -> Description {
///         Description::default()
///     }
///
///     fn validate_settings(settings: &str) -> Vec<String> {
///         settings::none(settings)
///     }
///
///     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
///         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
///         let none = |(index, _)| Allocation { charger: index as u32, limit: 0, reason: "none".into() };
///         Ok(Plan { allocations: asking.map(none).collect(), state: Vec::new() })
///     }
/// }
///
/// kit::assert_sound::<Nothing>("");
/// ```
pub fn assert_sound<P: Policy>(settings: &str) {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut snapshot = random.snapshot();
        let mut state = Vec::new();
        for _ in 0..DECISIONS {
            let plan = P::decide(&snapshot, settings, &state).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_plan(&snapshot, &plan, seed);
            assert_eq!(P::decide(&snapshot, settings, &state).as_ref(), Ok(&plan), "seed {seed}: again");
            random.pass(&mut snapshot, &plan);
            state = plan.state;
            let damaged: Vec<u8> = (0..random.below(60)).map(|_| random.below(4) as u8).collect();
            assert!(P::decide(&snapshot, settings, &damaged).is_ok(), "seed {seed}: {damaged:?}");
        }
    }
}

fn assert_plan(snapshot: &Snapshot, plan: &Plan, seed: u64) {
    let told = std::panic::catch_unwind(|| assert_fits(snapshot, plan));
    assert!(told.is_ok(), "seed {seed}: the plan doesn't fit; see above");
    let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    let asking: Vec<u32> = asking.map(|(index, _)| index as u32).collect();
    let mut named: Vec<u32> = plan.allocations.iter().map(|allocation| allocation.charger).collect();
    named.sort_unstable();
    assert_eq!(named, asking, "seed {seed}: who asks is named");
    for allocation in &plan.allocations {
        let length = allocation.reason.len();
        assert!((1..=MOST_REASON).contains(&length), "seed {seed}: {:?}", allocation.reason);
    }
    assert!(plan.state.len() <= MOST_STATE, "seed {seed}: {} bytes of state", plan.state.len());
}

/// Numbers that look random and are the same for the same seed.
///
/// ```
/// use wattle_policy::kit::Random;
///
/// assert_eq!(Random::new(7).snapshot(), Random::new(7).snapshot());
/// ```
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A source for a seed.
    ///
    /// ```
    /// use wattle_policy::kit::Random;
    ///
    /// assert_eq!(Random::new(7).below(1_000), Random::new(7).below(1_000));
    /// ```
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number from 0 up to, but without, `bound`, which is above 0.
    ///
    /// ```
    /// assert!(wattle_policy::kit::Random::new(7).below(10) < 10);
    /// ```
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// True once in `of` times.
    ///
    /// ```
    /// assert!(wattle_policy::kit::Random::new(7).once_in(1));
    /// ```
    pub fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// A site: up to six circuits in a tree, up to twelve chargers of all kinds, most of which ask.
    ///
    /// ```
    /// let snapshot = wattle_policy::kit::Random::new(7).snapshot();
    /// assert_eq!(snapshot.circuits[0].parent, None);
    /// ```
    pub fn snapshot(&mut self) -> Snapshot {
        let mut site = Site::new(self.currents(120_000));
        let mut circuits = vec!["grid".to_string()];
        for n in 0..self.below(6) {
            let (id, parent) = (format!("board-{n}"), self.pick(&circuits));
            site = site.circuit(&id, &parent, self.currents(60_000));
            circuits.push(id);
        }
        for n in 0..self.below(13) {
            let (range, circuit) = (self.range(), self.pick(&circuits));
            let new = charger(&format!("c{n}")).on(&circuit).phases(&self.phases());
            let new = new.range(range.0, range.1, range.2).priority(self.below(4) as i32 / 2);
            site = site.charger(new.with(|charger| self.plug(charger)));
        }
        let now = site.snapshot().now;
        let signals =
            Signals { price: self.series(now, 500_000), surplus: self.series(now, 30_000), grid_limit: None };
        site.signals(signals).snapshot()
    }

    /// Lets time pass: chargers do what the plan says, vehicles draw less than they may, some come and go, other
    /// consumers change.
    ///
    /// ```
    /// use wattle_policy::{Plan, kit::Random};
    ///
    /// let mut random = Random::new(7);
    /// let mut snapshot = random.snapshot();
    /// let before = snapshot.now;
    /// random.pass(&mut snapshot, &Plan { allocations: vec![], state: vec![] });
    /// assert!(snapshot.now > before);
    /// ```
    pub fn pass(&mut self, snapshot: &mut Snapshot, plan: &Plan) {
        let limits = super::limits(snapshot, plan);
        snapshot.now += self.pick(&[1, 1, 1, 30, 70, 900]) * 1_000_000;
        for (charger, limit) in snapshot.chargers.iter_mut().zip(limits) {
            charger.setpoint = limit;
            let draw = self.pick(&[0, limit / 2, limit]);
            let on = |phase| if charger.phases.contains(&phase) { draw } else { 0 };
            charger.draw = Phase::ALL.map(on).into();
            if self.once_in(10) {
                self.plug(charger);
            }
        }
        for circuit in &mut snapshot.circuits {
            if self.once_in(4) {
                circuit.available = self.currents(100_000).into();
            }
        }
    }

    fn currents(&mut self, below: u64) -> [i32; 3] {
        let even = self.below(below) as i32;
        match self.below(4) {
            0 => [even, 0, 0],
            1 => [even / 1_000 * 1_000; 3],
            _ => [even, self.below(below) as i32, self.below(below) as i32 - 5_000],
        }
    }

    fn range(&mut self) -> (i32, i32, i32) {
        let common = (6_000, 32_000, 1_000);
        let odd =
            [(6_000, 16_000, 1_000), (6_000, 32_000, 100), (8_000, 32_000, 4_000), (10_000, 20_500, 1_500)];
        if self.once_in(3) { self.pick(&odd) } else { common }
    }

    fn phases(&mut self) -> Vec<Phase> {
        use Phase::{L1, L2, L3};
        self.pick(&[vec![L1], vec![L2], vec![L3], vec![L1, L2, L3], vec![L2, L3, L1], vec![L3, L1]])
    }

    fn plug(&mut self, charger: &mut Charger) {
        use ChargerState::{Available, Charging, Finished, Waiting};
        charger.state = self.pick(&[Waiting, Charging, Charging, Charging, Charging, Available, Finished]);
        charger.online = !self.once_in(10);
        let arrived = 1_700_000_000_000_000 - self.below(20) as i64 * 3_600_000_000;
        let session = Session {
            id: format!("s{}", self.below(1_000_000)),
            user: None,
            arrived,
            departure: self.once_in(2).then(|| arrived + self.below(30) as i64 * 3_600_000_000),
            requested: self.once_in(3).then(|| self.below(60_000) as i64),
            needed: self.once_in(2).then(|| self.below(40_000) as i64),
            delivered: self.below(30_000) as i64,
            state_of_charge: None,
        };
        charger.session = (!self.once_in(12)).then_some(session);
    }

    fn series(&mut self, now: i64, below: u64) -> Option<Series> {
        let start = now - 600_000_000;
        let values = (0..self.below(48)).map(|_| self.below(below) as i64).collect();
        (!self.once_in(4)).then_some(Series { start, step_ms: 900_000, values })
    }
}
