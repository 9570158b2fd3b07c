//! One site: what its meters and chargers say becomes setpoints that fit.
//!
//! The order of a decision: [`SiteMachine::handle`] or [`SiteMachine::wake`] says that one is due;
//! [`SiteMachine::begin_decision`] gives the snapshot; the policy runs; [`SiteMachine::finish_decision`]
//! takes what it proposes through the envelope and gives setpoints and rows. Inputs may come in between.
//!
//! - The uncontrolled load is found as the `load` module says, the reservations as the `ledger` module says,
//!   what fits as the `envelope` module says, what follows from a wiring that is not known as the `doubt` module says, and
//!   a circuit's limit of the moment as the `limits` module says.
//! - What the site is told from outside holds as the `outside` module says.
//! - What a vehicle has no use for is lent to others (`lend`); some may not charge now though they ask (`hold`); what
//!   looks wrong becomes an event (`anomaly`).
//! - Time passes as the `passing` module says, whatever becomes of the clock.
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
//!   budget, or less, as the `budget` module says. A circuit without a meter has the load of the metered circuits below it.
//! - Setpoint numbers grow from the `first_number` that the machine is given. They must grow across restarts:
//!   use the milliseconds since 1970 at the start (a machine sends far fewer than a thousand per second and
//!   charger).
//! - Each setpoint is renewed at half its validity, and at the next decision an interval after it was sent if
//!   it is not confirmed; not to a charger that has been silent for three intervals, at least a second, unless it lowers what
//!   it may draw. Standby is sent as 0. A charger at which nobody asks is sent 0 only to end what it was told before.
//! - A setpoint is reserved for its validity, a sixteenth of it and two intervals more: no clock of an edge that is set goes
//!   faster. A device that numbers nothing counts the validity from when it hears of the setpoint; so then does the ledger, from
//!   when it hears that.
//! - At the start a charger may still obey what an earlier machine has told it. What that was the journal may
//!   not know, as setpoints don't wait for it: so the charger counts with its maximum, for one validity or
//!   until it confirms; with more and for longer, if the earlier machine's were ([`SiteMachine::inherit`]). What a vehicle draws
//!   then is taken for what its charger was told, so that it charges on. For four intervals at most what a charger draws that was not
//!   heard yet counts as load, a circuit whose meter was not heard has its limit, and nobody is raised before the load is settled.

mod anomaly;
mod budget;
mod calendar;
mod decide;
mod doubt;
mod envelope;
mod expect;
mod explain;
mod fit;
mod hear;
mod hold;
mod input;
mod keyframe;
mod ledger;
mod lend;
mod limits;
mod load;
mod manual;
mod model;
mod notice;
mod outside;
mod passing;
mod record;
mod share;
mod snapshot;
mod station;
mod succession;
mod track;
mod unmeasured;
mod voltage;

use std::collections::BTreeMap;

use wattle_wire::row::{Cause, Event, EventKind, Row};
use wattle_wire::{DeviceId, Micros, Milliamps, Millis, PerPhase};

pub use calendar::{LocalTime, Window};
pub(crate) use expect::telling;
pub use explain::{ExplainedCharger, ExplainedCircuit, Explanation};
pub use fit::{Fitted, fit};
pub use input::{Due, Heard, Manual, Outcome, Proposal, SendSetpoint, SiteInput, Stay};
pub use keyframe::KeyframeError;
pub use limits::Limit;
use load::{Load, Times};
pub use model::{Charger, Circuit, Control, MAX_SYSTEMS, Meter, ModelError, Part, SiteModel, System, User};
pub(crate) use outside::MAX_VALUES as MAX_SERIES_VALUES;
use outside::Outside;
pub use outside::Signalled;
use passing::Passing;
use record::Recorder;
pub use share::equal_share;
pub use station::DRAW_TOLERANCE;
use station::Station;
pub(crate) use succession::{drop_past, take_over};
use track::Track;
use voltage::Voltage;

/// Events that wait for the next decision; more are dropped (each needs a change of state of one device, and
/// a decision comes every interval).
const MAX_PENDING_EVENTS: usize = 256;

/// The machine of one site. See the module for its rules.
#[derive(Debug, Clone)]
pub struct SiteMachine {
    model: SiteModel,
    paths: Vec<Vec<usize>>,
    times: Times,
    passing: Passing,
    stations: Vec<Station>,
    /// One per meter.
    gauges: Vec<Gauge>,
    /// Per circuit the index of its meter.
    meter_of: Vec<Option<usize>>,
    /// Per circuit the chargers on it and below it.
    below: Vec<Vec<usize>>,
    outside: Outside,
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
    /// By what stood in, when a failure of the policy was journaled last.
    failure_said_at: BTreeMap<&'static str, Micros>,
    recorder: Recorder,
}

/// What a meter has said.
#[derive(Debug, Clone)]
struct Gauge {
    load: Load,
    voltage: Voltage,
    /// Whether it was told that it is silent on a phase.
    is_stale: bool,
    is_over: bool,
}

impl SiteMachine {
    /// A machine that has heard of nothing. The first setpoint has the number `first_number`.
    ///
    /// # Errors
    /// When the model is not sound; see [`SiteModel::check`].
    pub fn new(mut model: SiteModel, first_number: u64, now: Micros) -> Result<Self, ModelError> {
        model.check()?;
        model.find_reach();
        let paths: Vec<Vec<usize>> =
            model.chargers.iter().map(|charger| model.path(charger.circuit)).collect();
        let below = |circuit| (0..paths.len()).filter(|i| paths[*i].contains(&circuit)).collect();
        let below = (0..model.circuits.len()).map(below).collect();
        let meter_on = |circuit| model.meters.iter().position(|meter| meter.circuit == circuit);
        let meter_of = (0..model.circuits.len()).map(meter_on).collect();
        let gauges = model.meters.iter().map(|meter| {
            let load = Load::new(model.circuits[meter.circuit].generation);
            Gauge { load, voltage: Voltage::default(), is_stale: false, is_over: false }
        });
        let gauges = gauges.collect();
        let passing = Passing::new(now, model.control.interval_ms.into());
        let mut stations = vec![Station::default(); model.chargers.len()];
        for (station, charger) in stations.iter_mut().zip(&model.chargers) {
            station.ledger.inherit(charger.max_ma, passing.binds_until(model.control.validity_ms.into()));
            station.manual = charger.manual_ma;
        }
        Ok(Self {
            times: Times::of(&model.control, &model.meters)
                .lagging(model.meters.iter().map(|meter| meter.lag_ms).max().unwrap_or_default()),
            passing,
            outside: Outside::new(model.circuits.len()),
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
            failure_said_at: BTreeMap::new(),
            recorder: Recorder::default(),
        })
    }

    /// Reserves, at a start, what chargers may still obey of machines before this one: each of them so much as `most` says, or its
    /// maximum if that is more, for that validity, or the present one if that is longer.
    pub fn inherit(&mut self, validity: Millis, most: impl Fn(&DeviceId) -> Option<Milliamps>) {
        let validity = validity.max(self.model.control.validity_ms);
        let until = self.passing.binds_until(validity.into());
        for (station, charger) in self.stations.iter_mut().zip(&self.model.chargers) {
            let most = most(&charger.id).unwrap_or_default().max(charger.max_ma);
            station.ledger.inherit(most, until);
        }
    }

    /// What the site is.
    pub fn model(&self) -> &SiteModel {
        &self.model
    }

    /// The bytes that the last good plan asked to find again; empty before the first.
    pub fn policy_state(&self) -> &[u8] {
        self.last_plan.as_ref().map_or(&[], |last| &last.plan.state)
    }

    /// The clock as it was given last, without short steps back: what is told with an earlier time counts as told at this one.
    pub fn clock(&self) -> Micros {
        self.passing.clock()
    }

    /// Takes an input; whether a decision is due now. An index that the model doesn't have is passed over.
    pub fn handle(&mut self, input: SiteInput, now: Micros) -> Due {
        let is_set_back = self.passing.is_set_back(now);
        let now = self.pass(now);
        let due = self.hear(input, now);
        // Who wakes the machine was told a time by a clock that is no more.
        if is_set_back && due == Due::No { Due::Now(Cause::Interval) } else { due }
    }

    /// The clock stands at `clock`. After a jump nobody knows which moment before it a reading that is late tells of, so nothing of
    /// what was measured before is subtracted from it.
    fn pass(&mut self, clock: Micros) -> Micros {
        let before = self.passing.now;
        let now = self.passing.pass(clock);
        if now - before > self.passing.longest {
            self.stations.iter_mut().for_each(|station| station.track = Track::default());
        }
        now
    }

    /// When [`Self::wake`] is to be called next.
    pub fn next_wakeup(&self) -> Micros {
        let due = self.decided_at.map_or(self.started_at, |at| at + self.model.control.interval_ms.into());
        self.passing.clock_at(due)
    }

    /// Looks at the time; whether a decision is due now.
    pub fn wake(&self, now: Micros) -> Due {
        let is_set_back = self.passing.is_set_back(now);
        if is_set_back || now >= self.next_wakeup() { Due::Now(Cause::Interval) } else { Due::No }
    }

    fn note(&mut self, kind: EventKind, part: Option<Part>, text: String) {
        if self.events.len() < MAX_PENDING_EVENTS {
            let device = part.and_then(|part| match part {
                Part::Meter(index) => Some(self.model.meters[index].id.clone()),
                Part::Charger(index) => Some(self.model.chargers[index].id.clone()),
                Part::System(index) => Some(self.model.systems[index].id.clone()),
                Part::Circuit(_) | Part::Site => None,
            });
            self.events.push(Row::Event(Event::new(self.model.id.clone(), device, kind, text)));
        }
    }

    /// What a charger may draw at a moment, phase by phase.
    pub fn may_draw(&self, index: usize, now: Micros) -> PerPhase<Milliamps> {
        self.stations[index].may_draw(&self.model.chargers[index], now, self.stale())
    }

    fn stale(&self) -> Micros {
        self.model.control.meter_stale_ms.into()
    }
}
