//! A meter: measures a circuit and tells of it. It obeys nothing but acknowledgements.

use wattle_wire::message::{DeviceKind, Reading};
use wattle_wire::topic::Channel;

use crate::config::MeterConfig;
use crate::io::{Input, Measurement, Now, Output, Publish};
use crate::line::{Counters, Line};
use crate::pace::Pace;
use crate::register::Energy;
use crate::saved::SavedError;

/// The state machine of a meter. Inputs that are about vehicles or setpoints are passed over.
#[derive(Debug, Clone)]
pub struct Meter {
    line: Line,
    pace: Pace,
    measured: Option<Measurement>,
}

impl Meter {
    /// Starts a meter from the bytes in storage under [`STATE_KEY`](crate::STATE_KEY); none for a new one, whose
    /// register begins at 0.
    ///
    /// # Errors
    /// When the bytes can't be trusted.
    pub fn new(config: MeterConfig, saved: Option<&[u8]>, now: Now) -> Result<Self, SavedError> {
        let (line, _) = Line::new(DeviceKind::Meter, config.line, saved, now)?;
        Ok(Self { line, pace: Pace::new(config.pace), measured: None })
    }

    /// Takes an input. Every output is to be taken before the next one.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.line.advance(now);
        match input {
            Input::Connected => self.line.connected(),
            Input::Disconnected => self.line.disconnected(),
            Input::Message { channel: Channel::Ack, payload } => self.line.acknowledged(payload),
            Input::Measured(measurement) => self.measured(measurement),
            Input::Stop => self.line.stop(),
            Input::Message { .. }
            | Input::Tick
            | Input::Plugged
            | Input::PluggedAs(_)
            | Input::Started(_)
            | Input::Ended
            | Input::Unplugged => {}
        }
        self.report();
        self.line.pump(|_| {});
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.line.poll()
    }

    /// When the next [`Input::Tick`] is due at the latest, in the milliseconds of [`Now::mono_ms`].
    pub fn next_wakeup(&self) -> Option<u64> {
        let reading = self.measured.as_ref().and_then(|_| self.pace.due_ms(false));
        [reading, self.line.next_wakeup()].into_iter().flatten().min()
    }

    /// What the broker is to say when the connection breaks.
    pub fn will(&self) -> Publish {
        self.line.status_message(false)
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

    fn measured(&mut self, measurement: Measurement) {
        self.line.register.set_power(measurement.power_mw);
        self.pace.measured(measurement.current_ma);
        self.measured = Some(measurement);
    }

    fn report(&mut self) {
        let now_ms = self.line.now_ms();
        let Some(measured) = &self.measured else { return };
        if self.pace.due_ms(false).is_none_or(|due| due > now_ms) {
            return;
        }
        self.line.reading(Reading::default(), measured);
        self.pace.sent(now_ms, measured.current_ma);
    }
}
