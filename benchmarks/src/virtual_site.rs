//! A site that needs no network: 64 chargers on three phases and two meters, each measured once a second with noise, a
//! decision every ten seconds, and sessions that come and go.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{Cause, DecidedCharger, DecidedCircuit, Decision, Event, EventKind, Reading, Row};
use wattle_wire::{
    CircuitId, DeviceId, Micros, Milliamps, Millivolts, PerPhase, SessionId, SiteId, UserId, WattHours, Watts,
};

use crate::load::publish::noisy;

/// Chargers of the site.
pub const CHARGERS: usize = 64;
/// Chargers and meters.
pub const DEVICES: usize = CHARGERS + 2;
/// When it begins, UTC seconds.
pub const START: i64 = 1_790_000_000;
/// Seconds from one decision to the next.
const DECISIONS: i64 = 10;
/// Seconds from the begin of a charger's session to that of its next, and how many of them it charges.
const STAY: i64 = 4 * 3600;
const CHARGE: i64 = 3 * 3600;

/// The site.
pub struct VirtualSite {
    id: SiteId,
    devices: Vec<Device>,
    noise: StdRng,
    setpoint: u64,
}

struct Device {
    id: DeviceId,
    seq: u64,
    session: Option<SessionId>,
    energy_mwh: i64,
}

impl VirtualSite {
    /// The same one each time.
    ///
    /// # Errors
    /// Never: its names are right.
    pub fn new() -> Result<Self> {
        let device = |n: usize| -> Result<Device> {
            let name = if n < CHARGERS { format!("cp-{n:02}") } else { format!("meter-{}", n - CHARGERS) };
            Ok(Device {
                id: DeviceId::new(name)?,
                seq: 0,
                session: None,
                energy_mwh: n as i64 * 1_000_000_000,
            })
        };
        let devices: Vec<Device> = (0..DEVICES).map(device).collect::<Result<_>>()?;
        Ok(Self { id: SiteId::new("outage")?, devices, noise: StdRng::seed_from_u64(1), setpoint: 1 })
    }

    /// The rows of one second, each with the moment when the edge has it.
    ///
    /// # Errors
    /// Never: its names are right.
    pub fn second(&mut self, second: i64) -> Result<Vec<(Micros, Row)>> {
        let mut rows = Vec::with_capacity(DEVICES + 2);
        for n in 0..DEVICES {
            self.session(n, second, &mut rows)?;
            // Devices measure at their own moment in the second, and not quite.
            let measured_us = second * 1_000_000 + n as i64 * 15_000 + self.noise.random_range(0..400_i64);
            let arrived_us = measured_us + 700 + self.noise.random_range(0..600_i64);
            let row = Row::Reading(self.reading(n, second, measured_us));
            rows.push((Micros::from_secs(START) + Micros(arrived_us), row));
        }
        if second % DECISIONS == 0 {
            rows.push((Micros::from_secs(START + second + 1), self.decision()?));
        }
        Ok(rows)
    }

    fn charges(n: usize, second: i64) -> bool {
        (second + n as i64 * 211) % STAY < CHARGE
    }

    fn session(&mut self, n: usize, second: i64, rows: &mut Vec<(Micros, Row)>) -> Result<()> {
        let charges = n < CHARGERS && Self::charges(n, second);
        let at = Micros::from_secs(START + second);
        let device = &mut self.devices[n];
        let steps = match (charges, &device.session) {
            (true, None) => {
                device.session = Some(SessionId::new(format!("{}-7-{}", device.id, device.seq + 1))?);
                [EventKind::Plugged, EventKind::Started]
            }
            (false, Some(_)) => [EventKind::Ended, EventKind::Unplugged],
            _ => return Ok(()),
        };
        for kind in steps {
            let mut event = Event::new(self.id.clone(), Some(device.id.clone()), kind, "");
            event.session.clone_from(&device.session);
            event.user = Some(UserId::new(format!("user-{n}"))?);
            event.register_wh = Some(WattHours(device.energy_mwh / 1000));
            rows.push((at, Row::Event(event)));
        }
        if !charges {
            device.session = None;
        }
        Ok(())
    }

    fn reading(&mut self, n: usize, second: i64, measured_us: i64) -> Reading {
        let noise = &mut self.noise;
        let is_meter = n >= CHARGERS;
        let mean_ma = match (is_meter, Self::charges(n, second)) {
            (true, _) => 180_000,
            (false, true) => 14_000,
            (false, false) => 0,
        };
        // A charger that is idle measures nothing, and shows so.
        let amps = [(); 3].map(|()| if mean_ma == 0 { 0 } else { noisy(noise, mean_ma, mean_ma / 300) });
        let volts = [(); 3].map(|()| noisy(noise, 230_000, 500));
        let watts = (0..3).map(|p| i64::from(amps[p]) * i64::from(volts[p]) / 1_000_000).sum::<i64>();
        let device = &mut self.devices[n];
        device.seq += 1;
        device.energy_mwh += watts * 1000 / 3600;
        let state = if mean_ma > 0 { ChargerState::Charging } else { ChargerState::Available };
        Reading {
            site: self.id.clone(),
            device: device.id.clone(),
            number: Some(Number { boot: 7, seq: device.seq }),
            measured_us: Some(Micros::from_secs(START) + Micros(measured_us)),
            state: (!is_meter).then_some(state),
            setpoint: (!is_meter).then_some(self.setpoint),
            session: device.session.clone(),
            values: Values {
                current_ma: Some(Phases::new(&amps.map(Milliamps))),
                voltage_mv: Some(Phases::new(&volts.map(Millivolts))),
                power_w: Some(Watts(watts as i32)),
                register_wh: Some(WattHours(device.energy_mwh / 1000)),
                ..Values::default()
            },
        }
    }

    fn decision(&mut self) -> Result<Row> {
        self.setpoint += 1;
        let mut charger = |device: &Device| DecidedCharger {
            charger: device.id.clone(),
            proposed_ma: Milliamps(14_000 + self.noise.random_range(0..3_i32) * 1000),
            setpoint_ma: Milliamps(14_000),
            number: self.setpoint,
            reason: "an equal share".into(),
        };
        let chargers = self.devices[..CHARGERS].iter().map(&mut charger).collect();
        let uncontrolled_ma = [(); 3].map(|()| Milliamps(noisy(&mut self.noise, 150_000, 500)));
        Ok(Row::Decision(Decision {
            site: self.id.clone(),
            cause: Cause::Interval,
            policy: "fair-share 1.0.0".into(),
            policy_digest: 0x1234_5678_9abc_def0,
            settings_digest: 7,
            fuel: 180_000 + self.setpoint % 100,
            circuits: vec![DecidedCircuit {
                circuit: CircuitId::new("grid")?,
                limit_ma: PerPhase::all(Milliamps(1_200_000)),
                uncontrolled_ma: PerPhase(uncontrolled_ma),
                reserved_ma: PerPhase::all(Milliamps(900_000)),
            }],
            chargers,
            state: Vec::new(),
        }))
    }
}
