//! A virtual site that runs a policy for a day, or for as long as its vehicles stay.

use std::ops::Range;

use super::{Site, assert_fits};
use crate::{ChargerState, PerPhase, Phase, Policy, Session, Snapshot};

/// The time between two decisions, seconds.
const STEP_S: i64 = 60;

/// A site with the vehicles that come to it.
///
/// ```
/// use wattle_policy::kit::{Day, Site};
/// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
/// # struct MyPolicy;
/// # impl Policy for MyPolicy {
/// #     fn describe() -> Description { Description::default() }
/// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
/// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
/// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, one)| one.asks());
/// #         let give = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
/// #         Ok(Plan { allocations: asking.map(give).collect(), state: Vec::new() })
/// #     }
/// # }
///
/// let site = Site::new([20_000; 3]).asking("a").asking("b");
/// let hour = 3_600;
/// let day = Day::new(&site)
///     .visit("a", 8 * hour..16 * hour, 10_000)
///     .visit("b", 9 * hour..10 * hour, 10_000)
///     .load("grid", 12 * hour, [8_000; 3]);
/// let outcome = day.run::<MyPolicy>("");
/// assert_eq!(outcome.delivered_wh, [10_000, 2_300]);
/// assert_eq!(outcome.peak_ma, 20_000);
/// ```
#[derive(Debug, Clone)]
pub struct Day {
    empty: Snapshot,
    visits: Vec<Visit>,
    loads: Vec<(i64, usize, [i32; 3])>,
}

#[derive(Debug, Clone)]
struct Visit {
    charger: usize,
    stay_s: Range<i64>,
    energy_wh: i64,
}

/// What became of a day.
///
/// ```
/// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
/// # struct Ten;
/// # impl Policy for Ten {
/// #     fn describe() -> Description {
/// #         Description { name: "ten".into(), ..Description::default() }
/// #     }
/// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
/// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
/// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
/// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
/// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
/// #     }
/// # }
/// use wattle_policy::kit::{Day, Site};
///
/// let day = Day::new(&Site::new([20_000; 3]).asking("a")).visit("a", 0..3_600, 1_000);
/// let outcome = day.run::<Ten>("");
/// assert_eq!((outcome.total_wh(), outcome.peak_ma, outcome.interruptions), (1_000, 10_000, 0));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What each visit got, Wh, in the order in which they were named.
    pub delivered_wh: Vec<i64>,
    /// The most that all chargers drew together on one phase, mA.
    pub peak_ma: i64,
    /// How often a vehicle was sent to standby while it charged.
    pub interruptions: usize,
}

impl Day {
    /// A day of a site, whose chargers are empty until a vehicle comes. The day begins at the site's own time.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// use wattle_policy::kit::{Day, Site};
    ///
    /// let day = Day::new(&Site::new([20_000; 3]).asking("a"));
    /// assert_eq!(day.run::<Ten>("").total_wh(), 0, "nobody comes");
    /// ```
    pub fn new(site: &Site) -> Self {
        let mut empty = site.snapshot();
        for charger in &mut empty.chargers {
            (charger.state, charger.session) = (ChargerState::Available, None);
        }
        Self { empty, visits: Vec::new(), loads: Vec::new() }
    }

    /// Adds a vehicle: at which charger, from when to when (seconds after the day's beginning), and what it wants, Wh. It takes
    /// all that it may until it has that, and has said both when it leaves and what it needs.
    ///
    /// # Panics
    /// When there is no such charger.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// use wattle_policy::kit::{Day, Site};
    ///
    /// let day = Day::new(&Site::new([20_000; 3]).asking("a")).visit("a", 0..3_600, 9_000);
    /// assert_eq!(day.run::<Ten>("").delivered_wh, [2_300], "10 A for an hour");
    /// ```
    pub fn visit(mut self, charger: &str, stay_s: Range<i64>, energy_wh: i64) -> Self {
        let found = self.empty.chargers.iter().position(|one| one.id == charger);
        let charger = found.unwrap_or_else(|| panic!("the test's site has no charger `{charger}`"));
        self.visits.push(Visit { charger, stay_s, energy_wh });
        self
    }

    /// Sets what other consumers draw on a circuit from a time on, mA.
    ///
    /// # Panics
    /// When there is no such circuit.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// use wattle_policy::kit::{Day, Site};
    ///
    /// let day = Day::new(&Site::new([20_000; 3]).asking("a")).visit("a", 0..60, 9_000).load("grid", 0, [10_000; 3]);
    /// assert_eq!(day.run::<Ten>("").peak_ma, 10_000);
    /// ```
    pub fn load(mut self, circuit: &str, from_s: i64, uncontrolled: [i32; 3]) -> Self {
        let found = self.empty.circuits.iter().position(|one| one.id == circuit);
        let circuit = found.unwrap_or_else(|| panic!("the test's site has no circuit `{circuit}`"));
        self.loads.push((from_s, circuit, uncontrolled));
        self.loads.sort_unstable_by_key(|(from_s, ..)| *from_s);
        self
    }

    /// Lets a policy decide once a minute until the last vehicle has left.
    ///
    /// # Panics
    /// When the policy declines, or a plan doesn't fit ([`assert_fits`]).
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// use wattle_policy::kit::{Day, Site};
    ///
    /// let day = Day::new(&Site::new([20_000; 3]).asking("a")).visit("a", 0..7_200, 9_000);
    /// assert_eq!(day.run::<Ten>("").total_wh(), 4_600);
    /// ```
    pub fn run<P: Policy>(&self, settings: &str) -> Outcome {
        let mut outcome = Outcome { delivered_wh: vec![0; self.visits.len()], ..Outcome::default() };
        let mut watt_seconds = vec![0; self.visits.len()];
        let (mut state, mut setpoints) = (Vec::new(), vec![0; self.empty.chargers.len()]);
        let end_s = self.visits.iter().map(|visit| visit.stay_s.end).max().unwrap_or(0);
        for at_s in (0..end_s).step_by(STEP_S as usize) {
            let snapshot = self.snapshot(at_s, &setpoints, &watt_seconds);
            let plan = P::decide(&snapshot, settings, &state)
                .unwrap_or_else(|why| panic!("{at_s} s after the beginning: {why}"));
            assert_fits(&snapshot, &plan);
            let limits = super::limits(&snapshot, &plan);
            outcome.peak_ma = outcome.peak_ma.max(peak(&snapshot, &limits));
            for (visit, given) in self.visits.iter().zip(&mut watt_seconds) {
                let charger = &snapshot.chargers[visit.charger];
                if visit.stay_s.contains(&at_s) && charger.asks() {
                    let limit = limits[visit.charger];
                    outcome.interruptions += usize::from(limit == 0 && setpoints[visit.charger] > 0);
                    *given = (*given + charger.watts(limit) * STEP_S).min(visit.energy_wh * 3_600);
                }
            }
            (state, setpoints) = (plan.state, limits);
        }
        outcome.delivered_wh = watt_seconds.iter().map(|given| given / 3_600).collect();
        outcome
    }

    /// What the policy sees at a time.
    fn snapshot(&self, at_s: i64, setpoints: &[i32], watt_seconds: &[i64]) -> Snapshot {
        let mut snapshot = self.empty.clone();
        let begins = snapshot.now;
        snapshot.now += at_s * 1_000_000;
        snapshot.interval_ms = STEP_S * 1_000;
        for (_, circuit, uncontrolled) in self.loads.iter().filter(|(from_s, ..)| *from_s <= at_s) {
            let circuit = &mut snapshot.circuits[*circuit];
            circuit.uncontrolled = (*uncontrolled).into();
            let left = |phase: Phase| circuit.limit.on(phase) - circuit.uncontrolled.on(phase);
            circuit.available = Phase::ALL.map(left).into();
        }
        let here = self.visits.iter().zip(watt_seconds).enumerate();
        for (number, (visit, given)) in here.filter(|(_, (visit, _))| visit.stay_s.contains(&at_s)) {
            let (charger, setpoint) = (&mut snapshot.chargers[visit.charger], setpoints[visit.charger]);
            let is_full = *given >= visit.energy_wh * 3_600;
            charger.state = match (is_full, setpoint) {
                (true, _) => ChargerState::Finished,
                (false, 0) => ChargerState::Waiting,
                (false, _) => ChargerState::Charging,
            };
            charger.setpoint = setpoint;
            let on = |phase| if charger.phases.contains(&phase) && !is_full { setpoint } else { 0 };
            charger.draw = PerPhase::from(Phase::ALL.map(on));
            charger.session = Some(Session {
                id: format!("visit-{number}"),
                user: None,
                arrived: begins + visit.stay_s.start * 1_000_000,
                departure: Some(begins + visit.stay_s.end * 1_000_000),
                requested: Some(visit.energy_wh),
                needed: Some(visit.energy_wh - given / 3_600),
                delivered: given / 3_600,
                state_of_charge: None,
            });
        }
        snapshot
    }
}

/// What the chargers draw together on the phase where that is most, mA.
fn peak(snapshot: &Snapshot, limits: &[i32]) -> i64 {
    let on = |phase: Phase| {
        let loading = snapshot.chargers.iter().zip(limits).filter(|(one, _)| one.phases.contains(&phase));
        loading.map(|(_, limit)| i64::from(*limit)).sum::<i64>()
    };
    Phase::ALL.into_iter().map(on).max().unwrap_or(0)
}

impl Outcome {
    /// What all visits got together, Wh.
    ///
    /// ```
    /// use wattle_policy::kit::Outcome;
    ///
    /// assert_eq!(Outcome { delivered_wh: vec![3, 4], ..Outcome::default() }.total_wh(), 7);
    /// ```
    pub fn total_wh(&self) -> i64 {
        self.delivered_wh.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{self, Room};
    use crate::{Description, Plan, settings};

    const HOUR: i64 = 3_600;

    /// Shares evenly, and declines where its state says so.
    struct Even;

    impl Policy for Even {
        fn describe() -> Description {
            Description::default()
        }

        fn validate_settings(settings: &str) -> Vec<String> {
            settings::none(settings)
        }

        fn decide(snapshot: &Snapshot, settings: &str, state: &[u8]) -> Result<Plan, String> {
            if !settings.is_empty() && state.len() == 60 {
                return Err("an hour is over".into());
            }
            let line = room::asking(snapshot)?;
            let mut room = Room::new(snapshot, &line);
            let charging: Vec<usize> = (0..line.len()).filter(|position| room.admit(*position)).collect();
            room.fill_evenly(&charging);
            let state = vec![0; state.len() + 1];
            Ok(Plan { allocations: room.allocations(|position| room.reason(position)), state })
        }
    }

    #[test]
    fn vehicles_get_what_they_want_or_what_fits_in_their_stay() {
        let site = Site::new([16_000, 0, 0]).asking("a").asking("b").asking("c");
        let day = Day::new(&site)
            .visit("a", 0..10 * HOUR, 3_680)
            .visit("b", 2 * HOUR..3 * HOUR, 9_000)
            .visit("c", 2 * HOUR..3 * HOUR, 9_000)
            .visit("a", 11 * HOUR..12 * HOUR, 1_000);
        let outcome = day.run::<Even>("");
        assert_eq!(outcome.delivered_wh, [3_680, 1_840, 1_840, 1_000]);
        assert_eq!((outcome.peak_ma, outcome.interruptions, outcome.total_wh()), (16_000, 0, 8_360));
    }

    #[test]
    fn who_is_sent_to_standby_was_interrupted() {
        let site = Site::new([12_000, 0, 0]).asking("a").asking("b");
        let day = Day::new(&site).visit("a", 0..2 * HOUR, 9_000).visit("b", 0..2 * HOUR, 9_000);
        let outcome = day.load("grid", HOUR, [6_000, 0, 0]).run::<Even>("");
        assert_eq!((outcome.delivered_wh, outcome.interruptions), (vec![2_760, 1_380], 1));
    }

    #[test]
    #[should_panic(expected = "3600 s after the beginning: an hour is over")]
    fn a_policy_that_declines_is_told_when() {
        Day::new(&Site::new([12_000, 0, 0]).asking("a")).visit("a", 0..2 * HOUR, 90_000).run::<Even>("x");
    }

    #[test]
    #[should_panic(expected = "no charger `z`")]
    fn a_visit_to_a_charger_that_is_not_there_is_named() {
        let _ = Day::new(&Site::new([0; 3])).visit("z", 0..HOUR, 1);
    }
}
