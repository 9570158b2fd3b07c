//! Solar surplus: charge from what the site generates and nobody else uses.
//!
//! The signal `surplus` says how many watts the chargers may draw together without drawing from the grid. What those draw whom
//! a policy doesn't serve, as they have a current by hand or can't be reached, is taken from it first. Who asks
//! stands in line: highest priority first, then who arrived first, then who was registered first. With mode
//!
//! - `surplus`, as many as the surplus has minima for charge, by the line. A charger starts once there has been
//!   enough for it for `start_after_s`, and stops once there hasn't been for `stop_after_s`; in between it keeps its
//!   minimum, at the worst from the grid.
//! - `minimum`, each in line gets its minimum if the circuits have it, from wherever it comes.
//!
//! What the surplus has beyond the minima is shared evenly, in whole steps. Power is current times 230 V times the
//! phases that a charger loads. Where no surplus is known there is none.
//!
//! The state keeps, per stay, whether it charges, and since when it should be otherwise. That goes on while a vehicle
//! doesn't ask, since an edge shows one that has to rest as if it were only plugged in: for it, too, there has been enough.

use wattle_policy::memory::{Mark, Memory};
use wattle_policy::room::{self, Asking, Room};
use wattle_policy::settings::{self, Setting, Values};
use wattle_policy::stay::VOLTS;
use wattle_policy::text::{kilowatts, span};
use wattle_policy::{Description, Need, Phase, Plan, Policy, Snapshot};

/// The settings that it takes.
pub const SETTINGS: &[Setting] = &[
    Setting::choice(
        "mode",
        &["surplus", "minimum"],
        "charge from surplus only, or always with the minimum and more from surplus",
    ),
    Setting::number(
        "start_after_s",
        60,
        0..=3_600,
        "s",
        "with mode `surplus`: how long there has to be enough before a charger starts",
    ),
    Setting::number(
        "stop_after_s",
        180,
        0..=3_600,
        "s",
        "with mode `surplus`: how long there may be too little before a charger stops",
    ),
];

/// The policy.
pub struct SolarSurplus;

impl Policy for SolarSurplus {
    fn describe() -> Description {
        Description {
            name: "solar-surplus".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            needs: vec![Need::Surplus],
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
        line.sort_by_cached_key(Asking::by_arrival);
        match values.choice("mode") {
            "minimum" => Ok(minimum(snapshot, &line)),
            _ => surplus_only(snapshot, &line, state, &values),
        }
    }
}

wattle_policy::export!(SolarSurplus);

/// The surplus now, W, if it is known; one below zero is none.
fn surplus_w(snapshot: &Snapshot) -> Option<i64> {
    let surplus = snapshot.signals.surplus.as_ref()?.at(snapshot.now)?;
    Some(surplus.max(0))
}

/// What of the surplus is for those who ask, as a current, mA summed over phases.
fn surplus_ma(snapshot: &Snapshot) -> i64 {
    let surplus = surplus_w(snapshot).unwrap_or(0).saturating_mul(1_000) / VOLTS;
    (surplus - others_ma(snapshot)).max(0)
}

/// What chargers draw that are not to be served, mA summed over phases.
fn others_ma(snapshot: &Snapshot) -> i64 {
    let others = snapshot.chargers.iter().filter(|charger| !charger.asks());
    let drawn = others.flat_map(|other| Phase::ALL.map(|phase| i64::from(other.draw.on(phase).max(0))));
    drawn.sum()
}

fn minimum(snapshot: &Snapshot, line: &[Asking<'_>]) -> Plan {
    let mut room = Room::new(snapshot, line);
    let charging: Vec<usize> = (0..line.len()).filter(|position| room.admit(*position)).collect();
    share_surplus(snapshot, &mut room, &charging);
    let told = told(snapshot);
    let reason = |position: usize| room.reason(position) + &told;
    Plan { allocations: room.allocations(reason), state: Vec::new() }
}

fn surplus_only(
    snapshot: &Snapshot,
    line: &[Asking<'_>],
    state: &[u8],
    values: &Values,
) -> Result<Plan, String> {
    let mut staying = room::staying(snapshot)?;
    staying.sort_by_cached_key(Asking::by_arrival);
    let mut deserved = Room::new(snapshot, &staying);
    deserved.limit_total(surplus_ma(snapshot), "the surplus");
    let marks = marks(snapshot, &staying, &mut deserved, &Memory::read(state), values);
    // Those who ask stand in the same order there.
    let asking: Vec<usize> =
        (0..staying.len()).filter(|position| staying[*position].charger.asks()).collect();
    let mut room = Room::new(snapshot, line);
    let charging: Vec<usize> =
        (0..line.len()).filter(|position| marks[asking[*position]].flag && room.admit(*position)).collect();
    share_surplus(snapshot, &mut room, &charging);
    let told = told(snapshot);
    let reason = |position: usize| {
        let mark = marks[asking[position]];
        let left = |delay: &str| span(values.number(delay) - mark.seconds(snapshot.now).unwrap_or(0));
        let text = match (mark.flag, mark.since) {
            (true, None) => room.reason(position),
            (true, Some(_)) => room.reason(position) + "; stops in " + &left("stop_after_s"),
            (false, None) => deserved.reason(asking[position]),
            (false, Some(_)) => "standby: starts in ".to_string() + &left("start_after_s"),
        };
        text + &told
    };
    let allocations = room.allocations(reason);
    Ok(Plan { allocations, state: memory(&staying, &marks).bytes() })
}

/// What is to be remembered of each that stays. Who doesn't ask takes nothing of what those behind it deserve.
fn marks(
    snapshot: &Snapshot,
    staying: &[Asking<'_>],
    deserved: &mut Room<'_>,
    before: &Memory,
    values: &Values,
) -> Vec<Mark> {
    let mark = |(position, one): (usize, &Asking<'_>)| {
        let charger = one.charger;
        let first = Mark { flag: charger.setpoint > 0, since: None };
        let before = before.of(charger).unwrap_or(first);
        let should = if charger.asks() { deserved.admit(position) } else { deserved.fits(position) };
        if !should && !charger.asks() && charger.setpoint == 0 {
            // It doesn't charge, so there is nothing to go on with.
            return Mark::default();
        }
        turn(before, should, snapshot.now, values)
    };
    staying.iter().enumerate().map(mark).collect()
}

/// The marks, of those who ask first, should there be too many.
fn memory(staying: &[Asking<'_>], marks: &[Mark]) -> Memory {
    let mut memory = Memory::default();
    for asks in [true, false] {
        for (one, mark) in staying.iter().zip(marks).filter(|(one, _)| one.charger.asks() == asks) {
            memory.keep(one.charger, *mark);
        }
    }
    memory
}

/// Whether a vehicle charges from now on, when it should by the surplus of this moment.
fn turn(before: Mark, should: bool, now: i64, values: &Values) -> Mark {
    if before.flag == should {
        return Mark { flag: should, since: None };
    }
    let delay_s = values.number(if should { "start_after_s" } else { "stop_after_s" });
    let waiting = Mark { since: Some(before.since.unwrap_or(now).min(now)), ..before };
    if waiting.seconds(now) >= Some(delay_s) { Mark { flag: should, since: None } } else { waiting }
}

/// Shares what the surplus has beyond what was given.
fn share_surplus(snapshot: &Snapshot, room: &mut Room<'_>, charging: &[usize]) {
    room.limit_total(surplus_ma(snapshot).saturating_sub(room.given()), "the surplus");
    room.fill_evenly(charging);
}

fn told(snapshot: &Snapshot) -> String {
    match surplus_w(snapshot) {
        Some(watts) => {
            let others = match others_ma(snapshot) * VOLTS / 1_000 {
                0 => String::new(),
                drawn => ", less ".to_string() + &kilowatts(drawn) + " of others",
            };
            "; surplus ".to_string() + &kilowatts(watts) + &others
        }
        None => "; no surplus is known".into(),
    }
}
