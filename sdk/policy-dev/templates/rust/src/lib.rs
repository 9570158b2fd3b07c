//! my-policy: who asks gets the minimum in order of the line; what is left is shared evenly.
//!
//! The line: highest priority first, then order of registration. Whose minimum no longer fits on every phase of every
//! circuit above the charger waits. What the circuits then have left is divided among those who charge; what one can't take
//! stays unused.

use std::cmp::Reverse;

use wattle_policy::settings::{self, Setting};
use wattle_policy::{Allocation, Charger, Description, PerPhase, Phase, Plan, Policy, Snapshot};

/// What the policy can be told: from this table come the check, the JSON schema and the values. Currents are mA.
const SETTINGS: &[Setting] = &[
    Setting::number("most_ma", 32_000, 6_000..=80_000, "mA", "the most that a vehicle gets"),
    Setting::number("keep_ma", 0, 0..=1_000_000, "mA", "what stays unused on each phase of each circuit"),
];

/// The policy.
pub struct MyPolicy;

impl Policy for MyPolicy {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings_schema: settings::schema(SETTINGS),
            ..Description::default()
        }
    }

    fn validate_settings(settings: &str) -> Vec<String> {
        settings::faults(SETTINGS, settings)
    }

    fn decide(snapshot: &Snapshot, settings: &str, _state: &[u8]) -> Result<Plan, String> {
        let values = settings::read(SETTINGS, settings).map_err(|faults| faults.join("; "))?;
        let (most, keep) = (values.number("most_ma") as i32, values.number("keep_ma") as i32);
        let mut line: Vec<_> = snapshot.chargers.iter().enumerate().filter(|(_, one)| one.asks()).collect();
        line.sort_by_key(|(_, charger)| Reverse(charger.priority));

        let mut rooms: Vec<_> =
            snapshot.circuits.iter().map(|c| Room::new(c.available, c.parent, keep)).collect();
        let charging: Vec<_> = line.iter().map(|(_, charger)| admit(&mut rooms, charger, most)).collect();
        let allocations = line.iter().zip(charging).map(|((index, charger), least)| {
            let (limit, reason) = match least {
                Some(least) => give(&rooms, charger, least, most),
                None => (0, "standby: its minimum doesn't fit"),
            };
            Allocation { charger: *index as u32, limit, reason: reason.into() }
        });
        Ok(Plan { allocations: allocations.collect(), state: Vec::new() })
    }
}

wattle_policy::export!(MyPolicy);

/// What a circuit still has, and how many that charge load it, on each phase.
struct Room {
    parent: Option<u32>,
    left: [i32; 3],
    among: [i32; 3],
}

impl Room {
    fn new(available: PerPhase, parent: Option<u32>, keep: i32) -> Self {
        Self { parent, left: Phase::ALL.map(|phase| available.on(phase).saturating_sub(keep)), among: [0; 3] }
    }
}

/// The circuits from a charger's own up to the grid connection.
fn above(rooms: &[Room], charger: &Charger) -> Vec<usize> {
    let parent = |index: &usize| rooms[*index].parent.map(|parent| parent as usize);
    std::iter::successors(Some(charger.circuit as usize), parent).collect()
}

/// Takes the minimum of a charger out of every circuit above it, if it is there on every phase; what that is, in whole steps.
fn admit(rooms: &mut [Room], charger: &Charger, most: i32) -> Option<i32> {
    let step = charger.step.max(1);
    let least = (charger.minimum.max(1) + step - 1) / step * step;
    let path = above(rooms, charger);
    let fits =
        |index: &usize| charger.phases.iter().all(|phase| rooms[*index].left[*phase as usize] >= least);
    if least > charger.maximum.min(most) || !path.iter().all(fits) {
        return None;
    }
    for index in path {
        for phase in &charger.phases {
            rooms[index].left[*phase as usize] -= least;
            rooms[index].among[*phase as usize] += 1;
        }
    }
    Some(least)
}

/// Its minimum with its even share of what is left, where that is least; and why.
fn give(rooms: &[Room], charger: &Charger, least: i32, most: i32) -> (i32, &'static str) {
    let shares = above(rooms, charger).into_iter().flat_map(|index| {
        charger
            .phases
            .iter()
            .map(move |phase| rooms[index].left[*phase as usize] / rooms[index].among[*phase as usize])
    });
    let (limit, most) = (least + shares.min().unwrap_or(0), most.min(charger.maximum));
    let reason = if limit >= most { "the most that it may have" } else { "an even share" };
    let limit = limit.min(most);
    (limit - limit % charger.step.max(1), reason)
}

#[cfg(test)]
mod tests {
    use wattle_policy::Policy;
    use wattle_policy::kit::{self, Day, Site};

    use super::MyPolicy;

    #[test]
    fn three_cars_get_the_same() {
        let site = Site::new([35_000, 0, 0]).asking("a").asking("b").asking("c");
        let plan = MyPolicy::decide(&site.snapshot(), "", &[]).expect("a plan");
        assert_eq!(kit::limits(&site.snapshot(), &plan), [11_000; 3]);
    }

    #[test]
    fn in_a_night_both_get_what_they_want_and_the_limit_holds() {
        let (site, hour) = (Site::new([16_000; 3]).asking("a").asking("b"), 3_600);
        let night = Day::new(&site).visit("a", 0..10 * hour, 15_000).visit("b", hour..10 * hour, 15_000);
        let outcome = night.run::<MyPolicy>(r#"{"keep_ma": 1000}"#);
        assert_eq!(outcome.delivered_wh, [15_000, 15_000]);
        assert!(outcome.peak_ma <= 15_000);
    }

    #[test]
    fn it_holds_what_every_policy_should_on_a_thousand_random_sites() {
        kit::assert_sound::<MyPolicy>("{}");
    }
}
