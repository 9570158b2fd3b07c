//! First come, first served: full power in order of arrival.
//!
//! Who asks stands in line: highest priority first, then who arrived first, then who was registered first; vehicles
//! that are full stand behind all others. With mode
//!
//! - `slots`, the first ones in line charge, at most so many at once, each with as much as fits. The others wait. A
//!   charger whose minimum doesn't fit takes no slot; one that is out of reach keeps its slot until its
//!   setpoint has expired.
//! - `reserve`, each in line gets its minimum if that still fits; then the first gets as much more as fits, then
//!   the second, and so on.
//!
//! A vehicle is *full* once it has drawn less than a bound for some time while it might draw more. It stays so until it
//! draws again, which it can when nobody else wants its slot. That is what the state keeps, per stay, also while the
//! vehicle doesn't ask: an edge shows one that has to rest as if it were only plugged in.

use wattle_policy::memory::{Mark, Memory};
use wattle_policy::room::{self, Room};
use wattle_policy::settings::{self, Setting, Values};
use wattle_policy::text::{amps, number, span};
use wattle_policy::{Charger, Description, Plan, Policy, Snapshot};

/// The settings that it takes.
pub const SETTINGS: &[Setting] = &[
    Setting::choice(
        "mode",
        &["slots", "reserve"],
        "a few at full power, or a minimum for all and the rest by order",
    ),
    Setting::number("slots", 2, 1..=1_000, "vehicles", "with mode `slots`: how many charge at once"),
    Setting::number(
        "full_below_ma",
        1_000,
        1..=6_000,
        "mA",
        "a vehicle that draws less while it may draw is nearly full",
    ),
    Setting::number("full_after_s", 60, 1..=3_600, "s", "once it has drawn so little for so long it is full"),
];

/// The policy.
pub struct FirstCome;

impl Policy for FirstCome {
    fn describe() -> Description {
        Description {
            name: "first-come".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings_schema: settings::schema(SETTINGS),
            ..Description::default()
        }
    }

    fn validate_settings(settings: &str) -> Vec<String> {
        settings::faults(SETTINGS, settings)
    }

    fn decide(snapshot: &Snapshot, settings: &str, state: &[u8]) -> Result<Plan, String> {
        let values = settings::read(SETTINGS, settings).map_err(|faults| faults.join("; "))?;
        let mut line = room::asking(snapshot)?;
        let memory = look(snapshot, &Memory::read(state), &values);
        line.sort_by_cached_key(|one| (is_full(&memory, one.charger), one.by_arrival()));
        let mut room = Room::new(snapshot, &line);
        let served = match values.choice("mode") {
            "reserve" => reserve(&mut room, line.len()),
            _ => serve(&mut room, line.len(), free_slots(snapshot, &values)),
        };
        let (slots, below) = (values.number("slots"), values.number("full_below_ma") as i32);
        let waits = ["standby: waits for one of ", &number(slots as u64), " slots, number "].concat();
        let full =
            ["; full: it drew less than ", &amps(below), " for ", &span(values.number("full_after_s"))]
                .concat();
        let reason = |position: usize| {
            let mut reason = match position.checked_sub(served) {
                Some(before) => [&waits, &number(before as u64 + 1), " in line"].concat(),
                None => room.reason(position),
            };
            if is_full(&memory, line[position].charger) {
                reason += &full;
            }
            reason
        };
        Ok(Plan { allocations: room.allocations(reason), state: memory.bytes() })
    }
}

wattle_policy::export!(FirstCome);

/// Gives each its minimum, then all that fits in order; how far it came in line.
fn reserve(room: &mut Room<'_>, count: usize) -> usize {
    for position in 0..count {
        room.admit(position);
    }
    for position in 0..count {
        room.fill(position);
    }
    count
}

/// Gives all that fits to so many as there are slots; how far it came in line.
fn serve(room: &mut Room<'_>, count: usize, mut slots: usize) -> usize {
    for position in 0..count {
        if slots == 0 {
            return position;
        }
        if room.admit(position) {
            room.fill(position);
            slots -= 1;
        }
    }
    count
}

/// The slots that no charger keeps which is out of reach and may still draw.
fn free_slots(snapshot: &Snapshot, values: &Values) -> usize {
    let kept = snapshot.chargers.iter().filter(|charger| !charger.online && charger.setpoint > 0).count();
    usize::try_from(values.number("slots")).unwrap_or(usize::MAX).saturating_sub(kept)
}

fn is_full(memory: &Memory, charger: &Charger) -> bool {
    memory.of(charger).is_some_and(|mark| mark.flag)
}

/// What is to be remembered of all who are plugged in, with what they draw now. Those who ask come first, should there be too many.
fn look(snapshot: &Snapshot, before: &Memory, values: &Values) -> Memory {
    let mut memory = Memory::default();
    let asking = snapshot.chargers.iter().filter(|charger| charger.asks());
    let others = snapshot.chargers.iter().filter(|charger| !charger.asks() && charger.session.is_some());
    for charger in asking.chain(others) {
        if let Some(mark) = mark(charger, before.of(charger), snapshot.now, values) {
            memory.keep(charger, mark);
        }
    }
    memory
}

/// The mark of a vehicle. Only while it asks is drawing little a sign that it is full.
fn mark(charger: &Charger, before: Option<Mark>, now: i64, values: &Values) -> Option<Mark> {
    let draw = charger.draw.l1.max(charger.draw.l2).max(charger.draw.l3);
    let (may_draw, draws) = (charger.setpoint > 0, i64::from(draw) >= values.number("full_below_ma"));
    match (may_draw, draws) {
        (true, true) => None,
        (true, false) if charger.asks() => Some(waiting_for_draw(before, now, values.number("full_after_s"))),
        _ => before.filter(|mark| mark.flag),
    }
}

/// The mark of a vehicle that may draw and hardly does: since when, and whether it is full.
fn waiting_for_draw(before: Option<Mark>, now: i64, full_after_s: i64) -> Mark {
    let before = before.unwrap_or_default();
    let mark = Mark { since: Some(before.since.unwrap_or(now).min(now)), ..before };
    Mark { flag: mark.flag || mark.seconds(now) >= Some(full_after_s), ..mark }
}
