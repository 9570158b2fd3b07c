//! What a machine is told with a row, as a rule.
//!
//! Whoever writes down what a machine was told leaves out what this rule gives, and says the rest in full
//! ([`crate::replay`]). So a rule that is wrong, or a row that came back from a table with less than it had, costs bytes
//! and nothing else.

use wattle_wire::message::{Number, Phases, Refusal};
use wattle_wire::row::{Event, EventKind, Reading, Row};
use wattle_wire::{DeviceId, Micros, SessionId};

use super::{Heard, Part, SiteInput, SiteMachine, Stay};

/// Begins the detail of an unplug that the edge itself has put in.
const IMPLIED: &str = "implied";

/// The device that a row of this kind tells the machine about; none for a row that tells it nothing.
pub(crate) fn telling(row: &Row) -> Option<&DeviceId> {
    match row {
        Row::Reading(reading) => Some(&reading.device),
        Row::Event(event) => event.device.as_ref().filter(|_| tells(event)),
        Row::Decision(_) | Row::Gap(_) => None,
    }
}

fn tells(event: &Event) -> bool {
    match event.kind {
        EventKind::Confirmed | EventKind::Refused => event.setpoint.is_some(),
        EventKind::Online | EventKind::Offline | EventKind::Plugged => true,
        EventKind::Started | EventKind::Ended | EventKind::Signalled => true,
        EventKind::Unplugged => !event.detail.starts_with(IMPLIED),
        _ => false,
    }
}

impl SiteMachine {
    /// What this machine is told next, as a rule, if a row that tells of `part` is taken at `at`.
    pub(crate) fn expected(&self, row: &Row, part: Part, at: Micros) -> Option<SiteInput> {
        let station = match part {
            Part::Charger(index) => Some(self.stations.get(index)?),
            _ => None,
        };
        let seen = station.and_then(|station| station.seen);
        let (seen, heard) = match row {
            Row::Reading(reading) => (after(seen, reading.number), reading_of(reading)),
            Row::Event(event) if event.kind == EventKind::Signalled => {
                return crate::device::told(event, &self.model);
            }
            Row::Event(event) => {
                let stay = station.and_then(|station| station.stay.as_ref());
                (after(seen, event.number), event_of(event, stay, at)?)
            }
            Row::Decision(_) | Row::Gap(_) => return None,
        };
        Some(SiteInput { part, seen, heard })
    }
}

/// The last numbered message after one with this number.
fn after(seen: Option<Number>, number: Option<Number>) -> Option<Number> {
    match (seen, number) {
        (Some(seen), Some(number)) if number.boot >= seen.boot => Some(seen.max(number)),
        (Some(seen), _) => Some(seen),
        (None, number) => number,
    }
}

fn reading_of(reading: &Reading) -> Heard {
    let values = &reading.values;
    Heard::Reading {
        state: reading.state,
        setpoint: reading.setpoint.map(as_in_tables),
        current_ma: values.current_ma.and_then(without_trailing_nulls),
        register_wh: values.register_wh,
        soc_percent: values.soc_percent,
        temperature_mc: values.temperature_mc,
        voltage_mv: values.voltage_mv.and_then(without_trailing_nulls),
    }
}

/// Tables hold signed numbers.
fn as_in_tables(number: u64) -> u64 {
    number.min(i64::MAX.unsigned_abs())
}

/// Tables don't say how many phases a device speaks of.
fn without_trailing_nulls<T: Copy>(phases: Phases<T>) -> Option<Phases<T>> {
    Phases::of([0, 1, 2].map(|phase| phases.get(phase)))
}

fn event_of(event: &Event, stay: Option<&Stay>, at: Micros) -> Option<Heard> {
    let number = event.setpoint.map(as_in_tables);
    Some(match event.kind {
        EventKind::Confirmed => Heard::Confirmed(number?),
        EventKind::Refused => Heard::Refused { number: number?, reason: refusal(&event.detail)? },
        EventKind::Online => Heard::Online(true),
        EventKind::Offline => Heard::Online(false),
        EventKind::Plugged => Heard::Stay(Some(begun(event, at))),
        EventKind::Started => Heard::Stay(Some(started(event, stay, at))),
        EventKind::Ended => Heard::Stay(stay.cloned()),
        EventKind::Unplugged => Heard::Stay(None),
        _ => return None,
    })
}

fn refusal(text: &str) -> Option<Refusal> {
    let all = [Refusal::Expired, Refusal::UnknownSeen, Refusal::Superseded, Refusal::OutOfRange];
    all.into_iter().find(|refusal| crate::device::refusal_text(*refusal) == text)
}

fn begun(event: &Event, at: Micros) -> Stay {
    let id = event.session.clone().unwrap_or_else(|| SessionId::new("none").expect("a name"));
    Stay { arrived_us: event.measured_us.unwrap_or(at), register_wh: event.register_wh, ..Stay::named(id) }
}

fn started(event: &Event, stay: Option<&Stay>, at: Micros) -> Stay {
    let open = stay.filter(|stay| Some(&stay.id) == event.session.as_ref()).cloned();
    let open = open.unwrap_or_else(|| begun(event, at));
    Stay {
        user: open.user.or_else(|| event.user.clone()),
        requested_wh: event.requested_wh.or(open.requested_wh),
        departure_us: event.departure_us.or(open.departure_us),
        register_wh: open.register_wh.or(event.register_wh),
        ..open
    }
}
