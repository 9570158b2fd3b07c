//! What meters and chargers tell of themselves: what was when they measured it, and it may be late or lost.

use wattle_wire::message::{ChargerState, Phases, Refusal};
use wattle_wire::{Micros, Milliamps, Millivolts, PerPhase};

use crate::parts::reading;
use crate::rig::{Kind, Rig};
use wattle_edge_core::*;

/// What meters could measure at a moment.
pub(crate) struct Moment {
    flows: Vec<PerPhase<Milliamps>>,
    loads: Vec<PerPhase<Milliamps>>,
    voltage: Millivolts,
}

impl Rig {
    /// Keeps what is now for the meters that lag.
    pub(crate) fn remember(&mut self) {
        let longest = self.longest_lag_ms();
        if longest > 0 {
            let moment = self.moment();
            self.moments.push_back(moment);
            let kept = (longest / self.pace.step_ms) as usize;
            self.moments.drain(..self.moments.len().saturating_sub(kept));
        }
    }

    /// How old a reading is at most when it comes.
    pub(crate) fn longest_reading_ms(&self) -> i64 {
        self.longest_lag_ms() + self.reading_delay_ms
    }

    fn longest_lag_ms(&self) -> i64 {
        self.meter_lags_ms.iter().copied().max().unwrap_or(0)
    }

    fn moment(&self) -> Moment {
        let flows = (0..self.loads.len()).map(|circuit| self.flow(circuit)).collect();
        let loads = (0..self.loads.len()).map(|circuit| self.load(circuit)).collect();
        Moment { flows, loads, voltage: self.voltage_mv }
    }

    /// A meter measures, and sends what was so long ago as it lags.
    pub(crate) fn read_meter(&mut self, meter: usize) {
        let circuit = self.machine.model().meters[meter].circuit;
        let steps = (self.meter_lags_ms[meter] / self.pace.step_ms) as usize;
        let then = self.moments.len().checked_sub(steps).and_then(|index| self.moments.get(index));
        let (flow, load, voltage) = match then {
            Some(moment) => (moment.flows[circuit], moment.loads[circuit], moment.voltage),
            None => (self.flow(circuit), self.load(circuit), self.voltage_mv),
        };
        let shown = flow.map(|flow| flow + (self.noise)());
        let mut said = reading(Part::Meter(meter), None, None, &shown.0);
        if let Heard::Reading { voltage_mv, .. } = &mut said.heard {
            *voltage_mv = self.tells_voltage.then(|| Phases::new(&[voltage; 3]));
        }
        self.telling[meter].push_back(load);
        self.send_reading(said);
    }

    /// A charger measures, on as many of its phases as it can, and sends that.
    pub(crate) fn read_charger(&mut self, index: usize) {
        let vehicle = &self.vehicles[index];
        let state = if vehicle.asks { ChargerState::Charging } else { ChargerState::Available };
        let number = vehicle.obeyed.as_ref().map_or(0, |setpoint| setpoint.number);
        let loaded = self.loaded(index).len();
        let current = |i| if i < loaded { self.draw(index) } else { Milliamps::ZERO };
        let measured = vehicle.wired.len().min(vehicle.measures);
        let currents: Vec<Milliamps> = (0..measured).map(current).collect();
        self.send_reading(reading(Part::Charger(index), Some(state), Some(number), &currents));
    }

    /// A reading is on its way, or lost; none of one device overtakes another.
    fn send_reading(&mut self, said: SiteInput) {
        let delays = (self.fate)(Kind::Reading);
        let Some(delay) = delays.first() else {
            if let Part::Meter(meter) = said.part {
                self.telling[meter].pop_back();
            }
            return self.lose_reading(said.part);
        };
        let before = self
            .up
            .iter()
            .filter(|(_, input)| input.part == said.part && matches!(input.heard, Heard::Reading { .. }));
        let before = before.map(|(at, _)| *at).max();
        if *delay == 0 && before.is_none() {
            return self.deliver(said);
        }
        let arrives_at = (self.now + Micros::from_millis(*delay)).max(before.unwrap_or_default());
        self.up.push((arrives_at, said));
    }

    /// What a device says reaches the machine.
    pub(crate) fn deliver(&mut self, input: SiteInput) {
        match (input.part, &input.heard) {
            (Part::Meter(meter), Heard::Reading { .. }) => {
                let told = self.telling[meter].pop_front().expect("one for each reading on its way");
                self.hear_meter(meter, told);
            }
            (
                Part::Charger(index),
                Heard::Confirmed(number) | Heard::Reading { setpoint: Some(number), .. },
            ) => self.watch.confirmed(index, *number),
            (Part::Charger(index), Heard::Refused { number, reason }) if *reason != Refusal::Superseded => {
                self.watch.refused(index, *number);
            }
            _ => {}
        }
        self.tell(input);
    }
}
