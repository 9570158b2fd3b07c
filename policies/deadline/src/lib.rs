//! Deadline: who has the least time to spare charges first.
//!
//! A vehicle's *time to spare* (its laxity) is the time until it leaves less the time that the energy which it still
//! needs takes at the most that its charger and the limits above it allow. Where a vehicle hasn't said when
//! it leaves or what it needs, that is assumed from its arrival on, so that it grows urgent too and nobody starves.
//!
//! 1. Vehicles with no time to spare get as much as fits, the least first.
//! 2. The others get their minimum if that still fits, and then, again the least first, as much more as fits.
//! 3. Vehicles that have what they need come last.
//!
//! Within each group a higher priority goes first, and between equals who arrived, then who was registered first.
//!
//! So that vehicles don't take turns at every decision, one that charges counts as more urgent than it is: by
//! `hold_s` at full power, in proportion below that. Keeps no state: the setpoints in force tell who charges.

use wattle_policy::room::{self, Asking, Room};
use wattle_policy::settings::{self, Setting};
use wattle_policy::stay::{self, Assumed};
use wattle_policy::text::span;
use wattle_policy::{Description, Plan, Policy, Snapshot};

/// The settings that it takes.
pub const SETTINGS: &[Setting] = &[
    stay::ASSUMED_STAY_S,
    stay::ASSUMED_ENERGY_WH,
    Setting::number(
        "hold_s",
        600,
        0..=7_200,
        "s",
        "by how much less time to spare takes the place of one at full power",
    ),
];

/// The policy.
pub struct Deadline;

impl Policy for Deadline {
    fn describe() -> Description {
        Description {
            name: "deadline".into(),
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
        let assumed = Assumed::read(&values);
        let hold_s = values.number("hold_s");
        let urgency = |one: &Asking<'_>| urgency(snapshot, one, assumed, hold_s);
        let mut line = room::asking(snapshot)?;
        line.sort_by_cached_key(|one| {
            let Urgency { group, rank_s, .. } = urgency(one);
            let (priority, arrived, index) = one.by_arrival();
            (group, priority, rank_s, arrived, index)
        });
        let urgencies: Vec<Urgency> = line.iter().map(urgency).collect();
        let mut room = Room::new(snapshot, &line);
        share(&mut room, &urgencies);
        let reason = |position: usize| room.reason(position) + &told(urgencies[position]);
        Ok(Plan { allocations: room.allocations(reason), state: Vec::new() })
    }
}

wattle_policy::export!(Deadline);

/// In the order in which they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Urgent,
    HasTime,
    HasItsEnergy,
}

#[derive(Debug, Clone, Copy)]
struct Urgency {
    group: Group,
    /// The time to spare, less what one that charges is held for.
    rank_s: i64,
    spare_s: i64,
}

fn urgency(snapshot: &Snapshot, one: &Asking<'_>, assumed: Assumed, hold_s: i64) -> Urgency {
    let wish = assumed.wish(one.charger, snapshot.now);
    let full = one.alone(snapshot);
    let spare_s = wish.laxity_s(one.charger.watts(full));
    let setpoint = i64::from(one.charger.setpoint.clamp(0, full));
    let held_s = hold_s * setpoint / i64::from(full.max(1));
    let rank_s = spare_s.saturating_sub(held_s);
    let group = match (wish.energy_wh, rank_s) {
        (0, _) => Group::HasItsEnergy,
        (_, ..=0) => Group::Urgent,
        _ => Group::HasTime,
    };
    Urgency { group, rank_s, spare_s }
}

fn share(room: &mut Room<'_>, urgencies: &[Urgency]) {
    let urgent = urgencies.iter().take_while(|urgency| urgency.group == Group::Urgent).count();
    for position in 0..urgent {
        room.admit(position);
        room.fill(position);
    }
    for position in urgent..urgencies.len() {
        room.admit(position);
    }
    for position in urgent..urgencies.len() {
        room.fill(position);
    }
}

fn told(urgency: Urgency) -> String {
    let minutes = |seconds: i64| span(seconds / 60 * 60);
    match (urgency.group, urgency.spare_s) {
        (Group::HasItsEnergy, _) => "; it has what it needs".into(),
        (_, ..=-60) => "; late by ".to_string() + &minutes(urgency.spare_s.saturating_neg()),
        (_, ..=59) => "; no time to spare".into(),
        (_, seconds) => ["; ", &minutes(seconds), " to spare"].concat(),
    }
}
