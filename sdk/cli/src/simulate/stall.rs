//! A charger with the vehicle that stands at it, and a meter, as virtual devices: the firmware's machines, driven.
//!
//! A vehicle takes what it may, at most its own most on each of its phases, until it has what it needs, exactly: the last
//! fraction of a millisecond is drawn at a lower power for a whole one.

use wattle_device_core::plant::Vehicle;
use wattle_device_core::{
    Charger, ChargerConfig, Input, LineConfig, Measurement, Meter, MeterConfig, Now, Output, PaceConfig,
    Publish, Start,
};
use wattle_wire::message::Phases;
use wattle_wire::{Micros, Milliamps, Millivolts, PerPhase};

use super::guest::Guest;
use super::site::READING_MS;

/// The most that a vehicle draws of which no more is known.
pub const VEHICLE_MA: Milliamps = Milliamps::from_amps(32);
/// Of each phase, where no other is known.
pub const VOLTAGE: Millivolts = Millivolts(230_000);
const MICROJOULES_PER_WATT_HOUR: u64 = 3_600_000_000;

/// Acknowledgements come in batches here, at the latest with the end of a stay, so waiting for one is no sign of a
/// loss.
const RESEND_MS: u64 = 86_400_000;

fn line() -> LineConfig {
    LineConfig {
        model: "simulated".into(),
        resend_ms: RESEND_MS,
        resend_max_ms: RESEND_MS,
        ..Default::default()
    }
}

fn pace() -> PaceConfig {
    PaceConfig { interval_ms: READING_MS, idle_interval_ms: None, ..Default::default() }
}

/// A moment as devices see it.
pub fn now(at_ms: u64) -> Now {
    Now { mono_ms: at_ms, utc_us: Some(Micros::from_millis(i64::try_from(at_ms).unwrap_or(i64::MAX))) }
}

/// A charger and what hangs on its cable.
pub struct Stall {
    charger: Charger,
    vehicle: Option<Vehicle>,
    voltage: Millivolts,
    limit: Milliamps,
    draw: Milliamps,
    power_mw: i64,
    since_ms: u64,
}

impl Stall {
    /// A new charger, connected, with no vehicle.
    pub fn new(
        model: &wattle_edge_core::Charger,
        voltage: Millivolts,
        at_ms: u64,
        sent: &mut dyn FnMut(Publish),
    ) -> Self {
        let config = ChargerConfig {
            line: line(),
            pace: pace(),
            min_ma: model.min_ma,
            max_ma: model.max_ma,
            safe_ma: model.safe_ma,
            ..Default::default()
        };
        let charger = Charger::new(config, None, now(at_ms)).expect("a new device reads no storage");
        let nothing = Milliamps::ZERO;
        let (limit, draw) = (nothing, nothing);
        let mut stall = Self { charger, vehicle: None, voltage, limit, draw, power_mw: 0, since_ms: at_ms };
        stall.handle(at_ms, Input::Connected, sent);
        let measured = stall.measurement();
        stall.handle(at_ms, Input::Measured(measured), sent);
        stall
    }

    /// A vehicle comes.
    pub fn arrive(&mut self, guest: &Guest, at_ms: u64, sent: &mut dyn FnMut(Publish)) {
        let need = guest.need.0.unsigned_abs() * MICROJOULES_PER_WATT_HOUR;
        self.handle(at_ms, Input::PluggedAs(guest.session.clone()), sent);
        self.vehicle = Some(Vehicle {
            min_ma: guest.min_ma,
            max_ma: guest.max_ma,
            phases: guest.phases,
            need_uj: Some(need),
        });
    }

    /// Its user starts the charge.
    pub fn start(&mut self, guest: &Guest, at_ms: u64, sent: &mut dyn FnMut(Publish)) {
        let start = Start {
            user: guest.user.clone(),
            requested_wh: guest.requested,
            departure_us: guest.estimated_departure,
            session: Some(guest.session.clone()),
        };
        self.handle(at_ms, Input::Started(start), sent);
        self.end_if_full(at_ms, sent);
    }

    /// The vehicle leaves.
    pub fn leave(&mut self, at_ms: u64, sent: &mut dyn FnMut(Publish)) {
        self.advance(at_ms);
        self.vehicle = None;
        // What was drawn until now counts for the step that ends the stay; what flows ends with it.
        self.handle(at_ms, Input::Unplugged, sent);
    }

    /// Time has come to [`Self::due_ms`].
    pub fn wake(&mut self, at_ms: u64, sent: &mut dyn FnMut(Publish)) {
        self.handle(at_ms, Input::Tick, sent);
        self.end_if_full(at_ms, sent);
    }

    /// Gives the charger an input, carries out what it wants, and lets the vehicle react.
    pub fn handle(&mut self, at_ms: u64, input: Input<'_>, sent: &mut dyn FnMut(Publish)) {
        self.advance(at_ms);
        self.charger.handle(now(at_ms), input);
        self.carry_out(sent);
        loop {
            let (draw, power_mw) = self.demand();
            if (draw, power_mw) == (self.draw, self.power_mw) {
                return;
            }
            (self.draw, self.power_mw) = (draw, power_mw);
            self.charger.handle(now(at_ms), Input::Measured(self.measurement()));
            self.carry_out(sent);
        }
    }

    fn carry_out(&mut self, sent: &mut dyn FnMut(Publish)) {
        while let Some(output) = self.charger.poll() {
            match output {
                Output::Publish(publish) => sent(publish),
                Output::Limit(limit) => self.limit = limit,
                // No simulated charger restarts, so nothing is ever read back.
                Output::Store { .. } => {}
            }
        }
    }

    fn advance(&mut self, at_ms: u64) {
        if let Some(vehicle) = &mut self.vehicle {
            vehicle.advance(self.power_mw, at_ms.saturating_sub(self.since_ms));
        }
        self.since_ms = at_ms;
    }

    fn end_if_full(&mut self, at_ms: u64, sent: &mut dyn FnMut(Publish)) {
        if self.asks() && self.vehicle.is_some_and(|vehicle| vehicle.need_uj == Some(0)) {
            self.handle(at_ms, Input::Ended, sent);
        }
    }

    /// Current and power that the vehicle takes from now on.
    fn demand(&self) -> (Milliamps, i64) {
        let Some(vehicle) = self.vehicle else { return (Milliamps::ZERO, 0) };
        let draw = vehicle.draw_ma(self.limit);
        let power_mw = vehicle.power_mw(draw, self.voltage);
        match (vehicle.full_in_ms(power_mw), vehicle.need_uj) {
            // Microjoules over one millisecond are milliwatts.
            (Some(0), Some(need)) => {
                let power_mw = i64::try_from(need).unwrap_or(i64::MAX).min(power_mw);
                let volts = i64::from(self.voltage.0) * i64::from(vehicle.phases);
                (Milliamps((power_mw * 1000 / volts) as i32), power_mw)
            }
            _ => (draw, power_mw),
        }
    }

    /// When [`Self::wake`] is due; none while only an input can change anything.
    pub fn due_ms(&self) -> Option<u64> {
        let full = self.vehicle.and_then(|vehicle| vehicle.full_in_ms(self.power_mw));
        let full = full.map(|in_ms| self.since_ms.saturating_add(in_ms.max(1)));
        full.into_iter().chain(self.charger.next_wakeup()).min()
    }

    /// Whether a vehicle wants energy.
    pub fn asks(&self) -> bool {
        self.charger.state().asks()
    }

    /// What the vehicle draws on each of its phases.
    pub fn draw(&self) -> Milliamps {
        self.draw
    }

    /// Power of the vehicle.
    pub fn power_mw(&self) -> i64 {
        self.power_mw
    }

    fn measurement(&self) -> Measurement {
        let phases = usize::from(self.vehicle.map_or(1, |vehicle| vehicle.phases));
        Measurement {
            current_ma: Some(Phases::new(&[self.draw; 3][..phases.min(3)])),
            voltage_mv: Some(Phases::new(&[self.voltage; 3][..phases.min(3)])),
            power_mw: self.power_mw,
            ..Measurement::default()
        }
    }
}

/// A meter of one circuit.
pub struct Gauge {
    meter: Meter,
    voltage: Millivolts,
}

impl Gauge {
    /// A new meter, connected, that measures nothing yet.
    pub fn new(voltage: Millivolts, at_ms: u64, sent: &mut dyn FnMut(Publish)) -> Self {
        let config = MeterConfig { line: line(), pace: pace() };
        let meter = Meter::new(config, None, now(at_ms)).expect("a new device reads no storage");
        let mut gauge = Self { meter, voltage };
        gauge.handle(at_ms, Input::Connected, sent);
        gauge.measure(at_ms, PerPhase::default(), sent);
        gauge
    }

    /// What flows through its circuit from now on.
    pub fn measure(&mut self, at_ms: u64, current: PerPhase<Milliamps>, sent: &mut dyn FnMut(Publish)) {
        let power = |i: &Milliamps| i64::from(i.0) * i64::from(self.voltage.0) / 1000;
        let measurement = Measurement {
            current_ma: Some(Phases::new(&current.0)),
            voltage_mv: Some(Phases::new(&[self.voltage; 3])),
            power_mw: current.0.iter().map(power).sum(),
            ..Measurement::default()
        };
        self.handle(at_ms, Input::Measured(measurement), sent);
    }

    /// Gives the meter an input.
    pub fn handle(&mut self, at_ms: u64, input: Input<'_>, sent: &mut dyn FnMut(Publish)) {
        self.meter.handle(now(at_ms), input);
        while let Some(output) = self.meter.poll() {
            if let Output::Publish(publish) = output {
                sent(publish);
            }
        }
    }

    /// When a tick is due.
    pub fn due_ms(&self) -> Option<u64> {
        self.meter.next_wakeup()
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::Stay;
    use super::*;
    use wattle_wire::message::{self, Number, Session, Setpoint};
    use wattle_wire::topic::Channel;
    use wattle_wire::{Millis, WattHours};

    fn guest(delivered: i64) -> Guest {
        Guest::from(&Stay {
            row: 1,
            arrival: Micros::ZERO,
            departure: Micros::from_secs(7200),
            requested: None,
            delivered: WattHours(delivered),
            station: "A".parse().expect("name"),
            session: "s".parse().expect("name"),
            estimated_departure: None,
            user: None,
        })
    }

    fn model() -> wattle_edge_core::Charger {
        wattle_edge_core::Charger::new("A".parse().expect("name"), 0)
    }

    /// Charges at a steady limit for as long as there is to do; the registers of start and end in Wh.
    fn charged(delivered: i64, limit: i32) -> (i64, i64) {
        let mut published = Vec::new();
        let mut sent = |publish: Publish| published.push(publish);
        let mut stall = Stall::new(&model(), VOLTAGE, 0, &mut sent);
        stall.arrive(&guest(delivered), 1000, &mut sent);
        stall.start(&guest(delivered), 1000, &mut sent);
        let setpoint = Setpoint {
            number: 1,
            limit_ma: Milliamps(limit),
            validity_ms: Millis(3_600_000),
            seen: Some(Number { boot: 1, seq: 1 }),
        };
        let payload = message::encode(&setpoint);
        stall.handle(1000, Input::Message { channel: Channel::Setpoint, payload: &payload }, &mut sent);
        while let Some(due) = stall.due_ms().filter(|due| *due < 3_000_000) {
            stall.wake(due, &mut sent);
        }
        stall.leave(3_000_000, &mut sent);
        let registers: Vec<i64> = published
            .iter()
            .filter(|publish| publish.channel == Channel::Session)
            .map(|publish| message::decode::<Session>(&publish.payload).expect("ours"))
            .filter_map(|step| step.register_wh.map(|wh| wh.0))
            .collect();
        assert_eq!(registers.len(), 4, "plug, start, end, unplug");
        (registers[1], registers[2])
    }

    #[test]
    fn a_vehicle_takes_exactly_what_the_trace_says_whatever_it_may_draw() {
        for delivered in [0, 1, 506, 1111] {
            for limit in [6_000, 13_000, 31_000, 40_000] {
                assert_eq!(charged(delivered, limit), (0, delivered), "{delivered} Wh at {limit} mA");
            }
        }
    }

    #[test]
    fn a_vehicle_that_may_not_draw_or_leaves_early_takes_what_there_was_time_for() {
        assert_eq!(charged(500, 0), (0, 0));
        let (_, end) = charged(100_000, 32_000);
        assert_eq!(end, 7_360 * 2_999 / 3_600);
    }
}
