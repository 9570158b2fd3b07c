//! One site: what its meters and chargers say becomes setpoints that fit.
//!
//! The order of a decision: [`SiteMachine::handle`] or [`SiteMachine::wake`] says that one is due;
//! [`SiteMachine::begin_decision`] gives the snapshot; the policy runs; [`SiteMachine::finish_decision`]
//! takes what it proposes through the envelope and gives setpoints and rows. Inputs may come in between.
//!
//! - The uncontrolled load is found as the `load` module says, the reservations as the `ledger` module says,
//!   and what fits as the `envelope` module says.
//! - What a charger *may draw* is the highest of what it was told and has not superseded by a confirmation,
//!   what it is measured to draw (beyond a noise of 0.25 A), and its safe current.
//! - A charger that is offline, of which there was no reading of the present and no answer to a setpoint for
//!   a validity (a retained status is none), or that has left a setpoint unconfirmed for three intervals (at least a second) does not *answer*: what it may draw is then set
//!   aside before anything is shared, until its setpoints expire.
//! - A decision is due at the interval; at once when a reading shows that load and reservations pass a limit
//!   by more than the last decision had to leave; and at once when a vehicle comes, asks, or leaves, when a
//!   charger connects or goes, and when a reservation ends that a raise waits for. Expiries and stale meters
//!   are noticed with the interval.
//! - A phase of which no meter reading is younger than `meter_stale_ms` gives its circuit the fallback
//!   budget. A circuit without a meter has the load of the metered circuits below it.
//! - Setpoint numbers grow from the `first_number` that the machine is given. They must grow across restarts:
//!   use the milliseconds since 1970 at the start (a machine sends far fewer than a thousand per second and
//!   charger).
//! - Each setpoint is renewed at half its validity, and at the next decision an interval after it was sent if
//!   it is not confirmed. Standby is sent as 0. A charger at which nobody asks is sent 0 only to end what it
//!   was told before.
//! - At the start a charger may still obey what an earlier machine has told it. What that was the journal may
//!   not know, as setpoints don't wait for it: so the charger counts with its maximum, for one validity or
//!   until it confirms.

mod decide;
mod envelope;
mod input;
mod ledger;
mod load;
mod model;
mod record;
mod share;
mod station;
mod track;

#[cfg(test)]
mod tests;

use wattle_wire::row::{Cause, Event, EventKind, Row};
use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

pub use input::{Due, Heard, Outcome, Proposal, SendSetpoint, SiteInput, Stay};
use load::{Load, Times};
pub use model::{Charger, Circuit, Control, Meter, ModelError, Part, SiteModel};
use record::Recorder;
pub use share::equal_share;
use station::Station;

/// Events that wait for the next decision; more are dropped (each needs a change of state of one device, and
/// a decision comes every interval).
const MAX_PENDING_EVENTS: usize = 256;

/// The machine of one site. See the module for its rules.
#[derive(Debug, Clone)]
pub struct SiteMachine {
    model: SiteModel,
    paths: Vec<Vec<usize>>,
    times: Times,
    stations: Vec<Station>,
    /// One per meter.
    gauges: Vec<Gauge>,
    /// Per circuit the index of its meter.
    meter_of: Vec<Option<usize>>,
    /// Per circuit the chargers on it and below it.
    below: Vec<Vec<usize>>,
    started_at: Micros,
    decided_at: Option<Micros>,
    cause: Cause,
    next_number: u64,
    /// By how much the last decision had to leave a limit passed.
    left_excess: Milliamps,
    raise_waits: bool,
    events: Vec<Row>,
    last_plan: Option<decide::LastPlan>,
    failure: Option<String>,
    recorder: Recorder,
}

/// What a meter has said.
#[derive(Debug, Clone)]
struct Gauge {
    load: Load,
    is_stale: bool,
    is_over: bool,
}

impl SiteMachine {
    /// A machine that has heard of nothing. The first setpoint has the number `first_number`.
    ///
    /// # Errors
    /// When the model is not sound; see [`SiteModel::check`].
    pub fn new(model: SiteModel, first_number: u64, now: Micros) -> Result<Self, ModelError> {
        model.check()?;
        let paths: Vec<Vec<usize>> =
            model.chargers.iter().map(|charger| model.path(charger.circuit)).collect();
        let below = |circuit| (0..paths.len()).filter(|i| paths[*i].contains(&circuit)).collect();
        let below = (0..model.circuits.len()).map(below).collect();
        let meter_on = |circuit| model.meters.iter().position(|meter| meter.circuit == circuit);
        let meter_of = (0..model.circuits.len()).map(meter_on).collect();
        let gauges = model.meters.iter().map(|meter| {
            let load = Load::new(model.circuits[meter.circuit].generation);
            Gauge { load, is_stale: false, is_over: false }
        });
        let gauges = gauges.collect();
        let mut stations = vec![Station::default(); model.chargers.len()];
        for (station, charger) in stations.iter_mut().zip(&model.chargers) {
            station.ledger.inherit(charger.max_ma, now + model.control.validity_ms.into());
        }
        Ok(Self {
            times: Times::of(model.control.interval_ms.into()),
            model,
            paths,
            stations,
            gauges,
            meter_of,
            below,
            started_at: now,
            decided_at: None,
            cause: Cause::Interval,
            next_number: first_number.max(1),
            left_excess: Milliamps::ZERO,
            raise_waits: false,
            events: Vec::new(),
            last_plan: None,
            failure: None,
            recorder: Recorder::default(),
        })
    }

    /// What the site is.
    pub fn model(&self) -> &SiteModel {
        &self.model
    }

    /// The bytes that the last good plan asked to find again; empty before the first.
    pub fn policy_state(&self) -> &[u8] {
        self.last_plan.as_ref().map_or(&[], |last| &last.plan.state)
    }

    /// Takes an input; whether a decision is due now. An index that the model doesn't have is passed over.
    pub fn handle(&mut self, input: SiteInput, now: Micros) -> Due {
        match input.part {
            Part::Meter(index) if index < self.gauges.len() => self.hear_meter(index, input.heard, now),
            Part::Charger(index) if index < self.stations.len() => self.hear_charger(index, input, now),
            _ => Due::No,
        }
    }

    /// When [`Self::wake`] is to be called next.
    pub fn next_wakeup(&self) -> Micros {
        self.decided_at.map_or(self.started_at, |at| at + self.model.control.interval_ms.into())
    }

    /// Looks at the time; whether a decision is due now.
    pub fn wake(&self, now: Micros) -> Due {
        if now >= self.next_wakeup() { Due::Now(Cause::Interval) } else { Due::No }
    }

    fn hear_meter(&mut self, index: usize, heard: Heard, now: Micros) -> Due {
        let Heard::Reading { current_ma: Some(current), .. } = heard else { return Due::No };
        let circuit = self.model.meters[index].circuit;
        let measured = station::plausible_meter(current, self.model.circuits[circuit].generation);
        if measured.0.iter().all(Option::is_none) {
            return Due::No;
        }
        let nothing = PerPhase::all(Milliamps::ZERO);
        let (mut most, mut least_lately, mut most_lately) = (nothing, nothing, nothing);
        for index in &self.below[circuit] {
            let (charger, station) = (&self.model.chargers[*index], &self.stations[*index]);
            let (low, high) = station.drawn_lately(now, self.times);
            most = most + station.may_have_drawn(charger, now, self.stale(), self.times);
            (least_lately, most_lately) = (least_lately + low, most_lately + high);
        }
        let limit = &self.model.circuits[circuit];
        let mut drawn = most;
        for phase in Phase::ALL {
            let allowed = limit.limit_ma[phase] - limit.margin_ma;
            if measured[phase].is_some_and(|measured| measured > allowed) {
                drawn[phase] = most_lately[phase];
            }
        }
        self.gauges[index].load.push(measured, drawn, least_lately, now, self.times.guard);
        self.note_over_limit(index, measured);
        self.breach(now)
    }

    fn hear_charger(&mut self, index: usize, input: SiteInput, now: Micros) -> Due {
        let validity = self.model.control.validity_ms.into();
        let (asked, reachable, told) = {
            let station = &self.stations[index];
            (station.state().asks(), station.is_reachable(now, validity), station.ledger.most())
        };
        let may_before = self.may_draw(index, now);
        let stay_before = self.stations[index].stay.as_ref().map(|stay| stay.id.clone());
        let until = now + self.times.guard;
        let station = &mut self.stations[index];
        station.seen = input.seen;
        if matches!(input.heard, Heard::Reading { .. } | Heard::Confirmed(_) | Heard::Refused { .. }) {
            station.online = true;
            station.heard_at = Some(now);
        }
        station.hear(&self.model.chargers[index], input.heard, now, self.times.guard);
        station.hold(told, until);

        let station = &self.stations[index];
        let stay = station.stay.as_ref().map(|stay| &stay.id);
        let changed = station.state().asks() != asked
            || station.is_reachable(now, validity) != reachable
            || stay != stay_before.as_ref();
        let may = self.may_draw(index, now);
        let (freed, grown) = Phase::ALL.iter().fold((false, false), |(freed, grown), phase| {
            (freed || may[*phase] < may_before[*phase], grown || may[*phase] > may_before[*phase])
        });
        if changed || (freed && self.raise_waits) {
            return Due::Now(Cause::Request);
        }
        if grown { self.breach(now) } else { Due::No }
    }

    /// Whether load and reservations pass a limit by more than the last decision had to leave.
    fn breach(&self, now: Micros) -> Due {
        if self.excess(now) > self.left_excess { Due::Now(Cause::Breach) } else { Due::No }
    }

    fn note_over_limit(&mut self, meter: usize, measured: PerPhase<Option<Milliamps>>) {
        let circuit = &self.model.circuits[self.model.meters[meter].circuit];
        let over = |phase: &Phase| measured[*phase].is_some_and(|m| m > circuit.limit_ma[*phase]);
        let well_below = |phase: &Phase| {
            measured[*phase].is_none_or(|m| m <= circuit.limit_ma[*phase] - station::DRAW_TOLERANCE)
        };
        if let Some(phase) =
            Phase::ALL.iter().find(|phase| over(phase)).filter(|_| !self.gauges[meter].is_over)
        {
            let shown = measured[*phase].unwrap_or_default();
            let text = format!(
                "circuit {} draws {shown} on {phase:?}, its limit is {}",
                circuit.id, circuit.limit_ma[*phase]
            );
            self.gauges[meter].is_over = true;
            self.note(EventKind::OverLimit, Some(Part::Meter(meter)), text);
        } else if Phase::ALL.iter().all(well_below) {
            self.gauges[meter].is_over = false;
        }
    }

    fn note(&mut self, kind: EventKind, part: Option<Part>, text: String) {
        if self.events.len() < MAX_PENDING_EVENTS {
            let device = part.map(|part| match part {
                Part::Meter(index) => self.model.meters[index].id.clone(),
                Part::Charger(index) => self.model.chargers[index].id.clone(),
            });
            self.events.push(Row::Event(Event::new(self.model.id.clone(), device, kind, text)));
        }
    }

    fn may_draw(&self, index: usize, now: Micros) -> PerPhase<Milliamps> {
        self.stations[index].may_draw(&self.model.chargers[index], now, self.stale())
    }

    fn stale(&self) -> Micros {
        self.model.control.meter_stale_ms.into()
    }
}

impl Station {
    fn hear(&mut self, charger: &Charger, heard: Heard, now: Micros, guard: Micros) {
        match heard {
            Heard::Reading { state, setpoint, current_ma, register_wh, soc_percent } => {
                self.state = state.or(self.state);
                self.register = register_wh.filter(|register| register.0 >= 0).or(self.register);
                self.soc_percent = soc_percent.filter(|soc| (0..=100).contains(soc)).or(self.soc_percent);
                if let Some(number) = setpoint {
                    self.ledger.confirm(number);
                }
                if let Some(current) = current_ma {
                    self.measure(charger, current, now, guard);
                }
            }
            Heard::Confirmed(number) => {
                self.ledger.confirm(number);
            }
            Heard::Refused { number, reason } => self.ledger.refuse(number, reason),
            Heard::Online(online) => self.online = online,
            Heard::Stay(stay) => {
                if stay.is_none() {
                    self.soc_percent = None;
                }
                self.stay = stay;
            }
        }
    }
}
