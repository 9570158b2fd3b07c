//! What a system says becomes an input of its site: checked against the site, with moments in place of lengths of time.
//!
//! The journaled event holds the signal as it was taken, and [`told`] makes the input of it again: what the machine has
//! heard live, after a restart, or in a replay is the same.

use wattle_wire::policy::Series;
use wattle_wire::row::{Event, EventKind};
use wattle_wire::signal::{CircuitLimit, Course, MAX_SIGNAL_ID_BYTES, ManualCurrent, Right, Signal};
use wattle_wire::{Micros, Milliamps, Millis, Watts};

use crate::site::{Heard, Limit, MAX_SERIES_VALUES, Manual, Part, Signalled, SiteInput, SiteModel};

/// The longest that something may hold, and the furthest that a series may begin from now.
const MAX_AHEAD: Micros = Micros::from_secs(31 * 86_400);

/// When what is no series begins to count.
const AT_ONCE: Micros = Micros(i64::MIN);

/// Currents and powers above these are no limit that anyone means.
const MAX_CURRENT: Milliamps = Milliamps::from_amps(100_000);
const MAX_POWER: Watts = Watts(100_000_000);

/// Why a signal was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub(super) struct Refused {
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) text: String,
}

fn refused(code: &'static str, text: impl Into<String>) -> Refused {
    Refused { code, text: text.into() }
}

/// What a signal is about; a new one about the same takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Circuit(usize),
    Grid,
    Price,
    Surplus,
    Charger(usize),
}

impl About {
    /// Whether the last word counts, whoever says it; of limits each system has its own.
    pub(super) fn is_of_all(self) -> bool {
        matches!(self, Self::Price | Self::Surplus | Self::Charger(_))
    }
}

/// A signal that may be taken.
pub(super) struct Sound {
    pub(super) about: About,
    /// With moments in place of lengths of time.
    pub(super) signal: Signal,
    pub(super) input: SiteInput,
    /// When it begins to count, where that leaves what was signalled before the time until then.
    pub(super) begins_us: Micros,
    /// When it is over; none if it is not by itself, or takes something back.
    pub(super) ends_us: Option<Micros>,
    /// Whether it takes back what was signalled before.
    pub(super) is_end: bool,
}

/// The input that a journaled [`Signalled`](EventKind::Signalled) event stands for; none for other events, and for one
/// that doesn't fit the model, as after a change of the configuration.
pub fn told(event: &Event, model: &SiteModel) -> Option<SiteInput> {
    let Part::System(by) = model.part(event.device.as_ref()?)? else { return None };
    if event.kind != EventKind::Signalled {
        return None;
    }
    let signal: Signal = serde_json::from_str(&event.detail).ok()?;
    sound(&signal, by, model, None).ok().map(|sound| sound.input)
}

/// Checks a signal of the system with this index that came at `now`; without it one that was taken before, whose
/// moments may be over.
pub(super) fn sound(
    signal: &Signal,
    by: usize,
    model: &SiteModel,
    now: Option<Micros>,
) -> Result<Sound, Refused> {
    if signal.id.as_ref().is_some_and(|id| id.len() > MAX_SIGNAL_ID_BYTES) {
        return Err(refused("bad_id", format!("give an id of at most {MAX_SIGNAL_ID_BYTES} bytes")));
    }
    let held = [
        signal.limit.is_some(),
        signal.price.is_some(),
        signal.surplus_w.is_some(),
        signal.grid_limit_w.is_some(),
        signal.manual.is_some(),
    ];
    if held.iter().filter(|is_held| **is_held).count() != 1 {
        let text = "give exactly one of limit, price, surplus_w, grid_limit_w and manual";
        return Err(refused("not_one", text));
    }
    let allowed = |right: Right| {
        let may = model.systems.get(by).is_some_and(|system| system.may.contains(&right));
        let text = || {
            format!(
                "this login may not signal {0}; add \"{0}\" to its `may` in the site file",
                right.as_str()
            )
        };
        if may { Ok(()) } else { Err(refused("not_allowed", text())) }
    };
    if let Some(limit) = &signal.limit {
        allowed(Right::Limit)?;
        return circuit_limit(limit, signal, by, model, now);
    }
    if let Some(manual) = &signal.manual {
        allowed(Right::Manual)?;
        return manual_current(manual, signal, model, now);
    }
    if let Some(price) = &signal.price {
        allowed(Right::Price)?;
        let settled = course(price, now, i64::MIN)?;
        let signal = Signal { price: Some(settled.0.clone()), ..signal.clone() };
        return Ok(of_course(About::Price, signal, settled, Heard::Price));
    }
    if let Some(surplus) = &signal.surplus_w {
        allowed(Right::Surplus)?;
        let settled = course(surplus, now, i64::from(-MAX_POWER.0))?;
        let signal = Signal { surplus_w: Some(settled.0.clone()), ..signal.clone() };
        return Ok(of_course(About::Surplus, signal, settled, Heard::Surplus));
    }
    allowed(Right::Limit)?;
    let grid = signal.grid_limit_w.clone().unwrap_or(Course {
        start_us: None,
        step_ms: Millis(1),
        values: Vec::new(),
    });
    let settled = course(&grid, now, 0)?;
    let signal = Signal { grid_limit_w: Some(settled.0.clone()), ..signal.clone() };
    Ok(of_course(About::Grid, signal, settled, |limit| Heard::GridLimit { by, limit }))
}

fn of_course(
    about: About,
    signal: Signal,
    (_, series, ends_us): Settled,
    heard: impl FnOnce(Option<Series>) -> Heard,
) -> Sound {
    Sound {
        about,
        signal,
        begins_us: series.as_ref().map_or(AT_ONCE, |series| series.start_us),
        is_end: series.is_none(),
        input: SiteInput { part: Part::Site, seen: None, heard: heard(series) },
        ends_us,
    }
}

fn circuit_limit(
    limit: &CircuitLimit,
    signal: &Signal,
    by: usize,
    model: &SiteModel,
    now: Option<Micros>,
) -> Result<Sound, Refused> {
    let known = model.circuits.iter().map(|circuit| circuit.id.as_str());
    let circuit = position(known, limit.circuit.as_str(), "unknown_circuit", "circuit")?;
    let amount = match (limit.limit_ma, limit.limit_w) {
        (Some(_), Some(_)) => return Err(refused("not_one", "give one of limit_ma and limit_w")),
        (Some(current), None) => {
            let currents = current.per_phase();
            currents
                .0
                .iter()
                .try_for_each(|current| in_range(i64::from(current.0), i64::from(MAX_CURRENT.0), "mA"))?;
            Some(Limit::Current(currents))
        }
        (None, Some(power)) => {
            in_range(i64::from(power.0), i64::from(MAX_POWER.0), "W")?;
            Some(Limit::Power(power))
        }
        (None, None) => None,
    };
    let until_us = until(limit.for_ms, limit.until_us, now)?;
    let limited = match (amount, until_us) {
        (Some(limit), Some(until_us)) => Some(Signalled { limit, until_us }),
        (Some(_), None) => return Err(refused("no_end", "say for how long: for_ms, or until_us")),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(refused(
                "no_limit",
                "give limit_ma or limit_w; to take a limit back, only the circuit",
            ));
        }
    };
    let settled = CircuitLimit { for_ms: None, until_us, ..limit.clone() };
    let heard = Heard::Limit { by, limit: limited };
    Ok(Sound {
        about: About::Circuit(circuit),
        signal: Signal { limit: Some(settled), ..signal.clone() },
        input: SiteInput { part: Part::Circuit(circuit), seen: None, heard },
        begins_us: AT_ONCE,
        ends_us: until_us,
        is_end: limited.is_none(),
    })
}

fn manual_current(
    manual: &ManualCurrent,
    signal: &Signal,
    model: &SiteModel,
    now: Option<Micros>,
) -> Result<Sound, Refused> {
    let known = model.chargers.iter().map(|charger| charger.id.as_str());
    let charger = position(known, manual.charger.as_str(), "unknown_charger", "charger")?;
    let until_us = until(manual.for_ms, manual.until_us, now)?;
    let given = match manual.current_ma {
        Some(current_ma) => {
            in_range(i64::from(current_ma.0), i64::from(MAX_CURRENT.0), "mA")?;
            Some(Manual { current_ma, until_us })
        }
        None if until_us.is_some() => {
            return Err(refused("no_current", "give current_ma; to take a current back, only the charger"));
        }
        None => None,
    };
    let settled = ManualCurrent { for_ms: None, until_us, ..manual.clone() };
    Ok(Sound {
        about: About::Charger(charger),
        signal: Signal { manual: Some(settled), ..signal.clone() },
        input: SiteInput { part: Part::Charger(charger), seen: None, heard: Heard::Manual(given) },
        begins_us: AT_ONCE,
        ends_us: until_us,
        is_end: given.is_none(),
    })
}

fn position<'a>(
    mut known: impl Iterator<Item = &'a str> + Clone,
    name: &str,
    code: &'static str,
    what: &str,
) -> Result<usize, Refused> {
    let all = known.clone();
    known.position(|id| id == name).ok_or_else(|| {
        let names: Vec<&str> = all.take(16).collect();
        refused(code, format!("the site has no {what} {name}; it has {}", names.join(", ")))
    })
}

fn in_range(amount: i64, most: i64, unit: &str) -> Result<(), Refused> {
    if (0..=most).contains(&amount) {
        return Ok(());
    }
    Err(refused("out_of_range", format!("{amount} {unit} is no such amount; give 0 to {most} {unit}")))
}

/// Until when something holds that came at `now`.
fn until(
    length: Option<Millis>,
    until: Option<Micros>,
    now: Option<Micros>,
) -> Result<Option<Micros>, Refused> {
    match (length, until) {
        (Some(_), Some(_)) => Err(refused("not_one", "give one of for_ms and until_us")),
        (Some(length), None) if length.0 > 0 && Micros::from(length) <= MAX_AHEAD => {
            now.map(|now| Some(now + length.into())).ok_or_else(no_moment)
        }
        (Some(length), None) => {
            let most = MAX_AHEAD.0 / 1_000;
            Err(refused("out_of_range", format!("for_ms {} is no such time; give 1 to {most}", length.0)))
        }
        (None, Some(until)) if now.is_some_and(|now| until - now > MAX_AHEAD) => {
            Err(refused("out_of_range", "until_us is more than 31 days ahead; is it in microseconds?"))
        }
        (None, Some(until)) if now.is_some_and(|now| until <= now) => {
            Err(refused("over", "until_us is over already; look at the clock, or give for_ms"))
        }
        (None, until) => Ok(until),
    }
}

/// What was journaled has moments only.
fn no_moment() -> Refused {
    refused("no_moment", "it says no moment, only a length of time")
}

type Settled = (Course, Option<Series>, Option<Micros>);

fn course(course: &Course, now: Option<Micros>, least: i64) -> Result<Settled, Refused> {
    let start_us = course.start_us.or(now).ok_or_else(no_moment)?;
    if course.values.is_empty() {
        return Ok((Course { start_us: Some(start_us), ..course.clone() }, None, None));
    }
    if course.values.len() > MAX_SERIES_VALUES {
        let text = format!("{} values; give at most {MAX_SERIES_VALUES}", course.values.len());
        return Err(refused("too_long", text));
    }
    if course.step_ms.0 <= 0 || Micros::from(course.step_ms) > MAX_AHEAD {
        let text = format!("step_ms {} is no such time; give 1 to {}", course.step_ms.0, MAX_AHEAD.0 / 1_000);
        return Err(refused("out_of_range", text));
    }
    if let Some(value) = course.values.iter().find(|value| **value < least || **value > i64::from(i32::MAX)) {
        return Err(refused("out_of_range", format!("the value {value} is no such amount")));
    }
    let length = course.step_ms.0.saturating_mul(course.values.len() as i64);
    let ends_us = start_us + Micros::from_millis(length);
    if now.is_some_and(|now| start_us - now > MAX_AHEAD) {
        return Err(refused("out_of_range", "start_us is more than 31 days ahead; is it in microseconds?"));
    }
    if now.is_some_and(|now| ends_us <= now) {
        return Err(refused("over", "all values are over already; look at start_us and the clock"));
    }
    let series = Series { start_us, step_ms: course.step_ms, values: course.values.clone() };
    Ok((Course { start_us: Some(start_us), ..course.clone() }, Some(series), Some(ends_us)))
}
