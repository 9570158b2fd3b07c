//! A charger: obeys numbered setpoints, sees a vehicle through its stay, and tells of it.
//!
//! ```text
//! Available --plug--> Plugged --start--> Waiting <-> Charging --end--> Finished
//!     ^                  |                  |            |                |
//!     +-----unplug-------+------------------+------------+----------------+
//! ```
//! A vehicle draws only while a charge is started, and at most the setpoint in force or, without one, the safe
//! current; a limit below the minimum is standby (0). An unplug during a charge ends it first. After a restart no
//! setpoint is in force, and a stay that was open is closed with the register as it was stored: a vehicle that
//! still stands there begins a new one.

use wattle_wire::message::{
    self, ChargerState, Confirm, DeviceKind, Reading, Session, SessionStep, Setpoint,
};
use wattle_wire::topic::Channel;
use wattle_wire::{Milliamps, SessionId};

use crate::config::ChargerConfig;
use crate::io::{Input, Measurement, Now, Output, Publish, Start};
use crate::line::{Counters, Line};
use crate::pace::Pace;
use crate::register::Energy;
use crate::saved::{SavedError, Stay};
use crate::setpoint::{InForce, Setpoints};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vehicle {
    Absent,
    Plugged,
    Asking,
    Finished,
}

/// The state machine of a charger. See the module's and the crate's documentation.
#[derive(Debug, Clone)]
pub struct Charger {
    line: Line,
    pace: Pace,
    setpoints: Setpoints,
    min_ma: Milliamps,
    max_ma: Milliamps,
    safe_ma: Milliamps,
    vehicle: Vehicle,
    session: Option<SessionId>,
    measured: Option<Measurement>,
    limit_ma: Milliamps,
    state: ChargerState,
}

impl Charger {
    /// Starts a charger from the bytes in storage under [`STATE_KEY`](crate::STATE_KEY); none for a new one, whose
    /// register begins at 0. Until the first [`Output::Limit`] nothing may be drawn.
    ///
    /// # Errors
    /// When the bytes can't be trusted.
    pub fn new(config: ChargerConfig, saved: Option<&[u8]>, now: Now) -> Result<Self, SavedError> {
        let numbered = config.line.numbered;
        let (line, stay) = Line::new(DeviceKind::Charger, config.line, saved, now)?;
        let setpoints =
            Setpoints::new(line.boot(), numbered, config.max_validity_ms, config.remembered_sends);
        let mut charger = Self {
            line,
            pace: Pace::new(config.pace),
            setpoints,
            min_ma: config.min_ma,
            max_ma: config.max_ma,
            safe_ma: config.safe_ma,
            vehicle: Vehicle::Absent,
            session: None,
            measured: None,
            limit_ma: Milliamps::ZERO,
            state: ChargerState::Available,
        };
        charger.close(stay);
        Ok(charger)
    }

    /// Takes an input. Every output is to be taken before the next one.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.line.advance(now);
        self.setpoints.expire(self.line.now_ms());
        self.settle();
        match input {
            Input::Connected => self.line.connected(),
            Input::Disconnected => self.line.disconnected(),
            Input::Message { channel: Channel::Setpoint, payload } => self.setpoint(payload),
            Input::Message { channel: Channel::Ack, payload } => self.line.acknowledged(payload),
            Input::Message { .. } | Input::Tick => {}
            Input::Plugged => self.plugged(None),
            Input::PluggedAs(session) => self.plugged(Some(session)),
            Input::Started(start) => self.started(start),
            Input::Ended => self.ended(),
            Input::Unplugged => self.unplugged(),
            Input::Measured(measurement) => self.measured(measurement),
            Input::Stop => self.line.stop(),
        }
        self.settle();
        self.report();
        let now_ms = self.line.now_ms();
        let setpoints = &mut self.setpoints;
        self.line.pump(|seq| setpoints.sent(seq, now_ms));
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.line.poll()
    }

    /// When the next [`Input::Tick`] is due at the latest, in the milliseconds of [`Now::mono_ms`]. It may lie in
    /// the past; none when only an input can change anything.
    pub fn next_wakeup(&self) -> Option<u64> {
        let expiry = self.setpoints.in_force().map(|s| s.expires_ms);
        let reading = self.measured.as_ref().and_then(|_| self.pace.due_ms(self.idle()));
        [expiry, reading, self.line.next_wakeup()].into_iter().flatten().min()
    }

    /// What the broker is to say when the connection breaks.
    pub fn will(&self) -> Publish {
        self.line.status_message(false)
    }

    /// What it is doing.
    pub fn state(&self) -> ChargerState {
        match self.vehicle {
            Vehicle::Absent => ChargerState::Available,
            Vehicle::Plugged => ChargerState::Plugged,
            Vehicle::Asking if self.granted_ma() > Milliamps::ZERO => ChargerState::Charging,
            Vehicle::Asking => ChargerState::Waiting,
            Vehicle::Finished => ChargerState::Finished,
        }
    }

    /// The most that the vehicle may draw now on each phase.
    pub fn limit_ma(&self) -> Milliamps {
        self.limit_ma
    }

    /// The setpoint in force.
    pub fn setpoint_in_force(&self) -> Option<InForce> {
        self.setpoints.in_force()
    }

    /// The number of this start.
    pub fn boot(&self) -> u32 {
        self.line.boot()
    }

    /// The register to the last digit; messages show the stored part of it.
    pub fn energy(&self) -> Energy {
        self.line.register.live()
    }

    /// How many numbered messages wait for the edge's acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.line.unacknowledged()
    }

    /// What it has counted since its start.
    pub fn counters(&self) -> Counters {
        self.line.counters()
    }

    fn setpoint(&mut self, payload: &[u8]) {
        let Ok(setpoint) = message::decode::<Setpoint>(payload) else {
            self.line.malformed += 1;
            return;
        };
        self.line.heard();
        let refused = self.setpoints.offer(&setpoint, self.line.now_ms()).err();
        self.line.refused += u64::from(refused.is_some());
        // The relay first: a confirmation says what already holds.
        self.settle();
        let boot = self.line.numbered().then_some(self.line.boot());
        let confirm = Confirm { boot, setpoint: setpoint.number, refused };
        self.line.publish(Channel::Confirm, message::encode(&confirm), false);
    }

    fn plugged(&mut self, session: Option<SessionId>) {
        if self.vehicle == Vehicle::Absent {
            self.vehicle = Vehicle::Plugged;
            self.session = session;
            self.step(SessionStep::Plug, Start::default(), Stay::Plugged);
        }
    }

    fn started(&mut self, start: Start) {
        if self.vehicle == Vehicle::Plugged {
            self.vehicle = Vehicle::Asking;
            self.session = start.session.clone().or(self.session.take());
            self.step(SessionStep::Start, start, Stay::Started);
        }
    }

    fn ended(&mut self) {
        if self.vehicle == Vehicle::Asking {
            self.vehicle = Vehicle::Finished;
            self.step(SessionStep::End, Start::default(), Stay::Plugged);
        }
    }

    fn unplugged(&mut self) {
        let stay = self.line.stay;
        self.vehicle = Vehicle::Absent;
        self.close(stay);
    }

    /// Ends what is open of a stay.
    fn close(&mut self, stay: Stay) {
        if stay == Stay::Started {
            self.step(SessionStep::End, Start::default(), Stay::Plugged);
        }
        if stay != Stay::None {
            self.step(SessionStep::Unplug, Start::default(), Stay::None);
        }
        self.session = None;
    }

    fn step(&mut self, step: SessionStep, start: Start, stay: Stay) {
        let session = Session {
            boot: None,
            seq: None,
            at_us: None,
            step,
            register_wh: None,
            session: self.session.clone(),
            user: start.user,
            requested_wh: start.requested_wh,
            departure_us: start.departure_us,
        };
        self.line.step(session, stay);
    }

    fn measured(&mut self, measurement: Measurement) {
        self.line.register.set_power(measurement.power_mw);
        self.pace.measured(measurement.current_ma);
        self.measured = Some(measurement);
    }

    /// What the setpoint in force grants, or the safe current.
    fn granted_ma(&self) -> Milliamps {
        let limit = self.setpoints.in_force().map_or(self.safe_ma, |s| s.limit_ma).min(self.max_ma);
        if limit < self.min_ma { Milliamps::ZERO } else { limit }
    }

    /// Brings relay and readings in line with what holds now.
    fn settle(&mut self) {
        let state = self.state();
        let limit_ma = if state == ChargerState::Charging { self.granted_ma() } else { Milliamps::ZERO };
        if limit_ma != self.limit_ma {
            self.limit_ma = limit_ma;
            self.line.output(Output::Limit(limit_ma));
            self.pace.changed();
        }
        if state != self.state {
            self.state = state;
            self.pace.changed();
        }
    }

    fn idle(&self) -> bool {
        !self.state.asks()
    }

    fn report(&mut self) {
        let now_ms = self.line.now_ms();
        let Some(measured) = &self.measured else { return };
        if self.pace.due_ms(self.idle()).is_none_or(|due| due > now_ms) {
            return;
        }
        let mut reading = Reading::default();
        reading.state = Some(self.state);
        reading.setpoint = Some(self.setpoints.in_force().map_or(0, |s| s.number));
        self.line.reading(reading, measured);
        self.pace.sent(now_ms, measured.current_ma);
    }
}
