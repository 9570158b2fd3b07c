//! What is not ideal about the devices of a random site.

use proptest::prelude::*;
use wattle_edge_core::*;
use wattle_wire::{Milliamps, Millis, PerPhase, Watts};

use crate::rig::{Kind, Rig};

/// The most meters and chargers of a random site.
const MOST: usize = 8;

/// Lower limits of a circuit at some minutes.
#[derive(Debug, Clone)]
struct Scheduled {
    circuit: prop::sample::Index,
    from_minute: u16,
    minutes: u16,
    limit: Limit,
}

/// What a charger has that most don't.
#[derive(Debug, Clone)]
struct Own {
    /// On how many phases it measures its current.
    measures: usize,
    max_power: Option<i32>,
    /// The minute from which it may charge, and for how many.
    timer: Option<(u16, u16)>,
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Quirks {
    /// Whether something generates, on each circuit.
    pub(crate) generates: bool,
    /// How many intervals a raise waits.
    raise_delay: i64,
    /// By how much meters are wrong at most.
    noise: i32,
    /// By how many intervals each meter lags.
    lags: [i64; MOST],
    /// Of twenty readings so many are lost, and as many are up to so many steps late.
    readings_lost: u64,
    readings_late: u64,
    chargers: [Own; MOST],
    /// Whether meters measure the voltage.
    tells_voltage: bool,
    schedule: Vec<Scheduled>,
    /// How far the site's clocks are ahead of UTC, s.
    clocks_ahead: i32,
}

/// A current on each phase, or a power of all phases together.
pub(crate) fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        (0..40_000).prop_map(|ma| Limit::Current(PerPhase::all(Milliamps(ma)))),
        (0..28_000).prop_map(|watts| Limit::Power(Watts(watts))),
    ]
}

fn scheduled() -> impl Strategy<Value = Scheduled> {
    (any::<prop::sample::Index>(), 15..30_u16, 1..6_u16, limit())
        .prop_map(|(circuit, from_minute, minutes, limit)| Scheduled { circuit, from_minute, minutes, limit })
}

fn own() -> impl Strategy<Value = Own> {
    (
        prop_oneof![6 => Just(3), 1 => 0..3_usize],
        prop::option::weighted(0.15, 1_400..25_000),
        prop::option::weighted(0.1, (12..25_u16, 1..10_u16)),
    )
        .prop_map(|(measures, max_power, timer)| Own { measures, max_power, timer })
}

/// Any of them; most devices have none.
pub(crate) fn quirks() -> impl Strategy<Value = Quirks> {
    let seldom = |most: u64| prop_oneof![2 => Just(0), 1 => 1..=most];
    (
        prop_oneof![1 => Just(0), 1 => 1..4_i64],
        prop_oneof![2 => Just(0), 1 => 1..250_i32],
        prop::array::uniform(prop_oneof![5 => Just(0), 1 => 1..=5_i64]),
        seldom(6),
        seldom(18),
        prop::array::uniform(own()),
        prop::bool::weighted(0.7),
        prop::collection::vec(scheduled(), 0..3),
        0..60,
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(
                raise_delay,
                noise,
                lags,
                readings_lost,
                readings_late,
                chargers,
                tells_voltage,
                schedule,
                clocks_ahead,
                generates,
            )| Quirks {
                raise_delay,
                noise,
                lags,
                readings_lost,
                readings_late,
                chargers,
                tells_voltage,
                schedule,
                clocks_ahead,
                generates,
            },
        )
}

impl Quirks {
    /// The site as its file says it.
    pub(crate) fn of_model(&self, mut model: SiteModel) -> SiteModel {
        let interval = model.control.interval_ms.0;
        model.control.raise_delay_ms = Millis(self.raise_delay * interval);
        for (meter, lag) in model.meters.iter_mut().zip(self.lags) {
            meter.lag_ms = Millis(lag * interval);
        }
        for Scheduled { circuit, from_minute, minutes, limit } in &self.schedule {
            let circuits = model.circuits.len();
            let to_minute = from_minute + minutes;
            let window = Window { days: [true; 7], from_minute: *from_minute, to_minute };
            model.circuits[circuit.index(circuits)].schedule.push((window, *limit));
        }
        model.circuits.iter_mut().for_each(|circuit| circuit.generation = self.generates);
        for (charger, own) in model.chargers.iter_mut().zip(&self.chargers) {
            charger.max_power = own.max_power.map(Watts);
            let window = |(from_minute, minutes)| Window {
                days: [true; 7],
                from_minute,
                to_minute: from_minute + minutes,
            };
            charger.timer = own.timer.map(window).into_iter().collect();
        }
        model.local_time = LocalTime(vec![(wattle_wire::Micros::ZERO, self.clocks_ahead)]);
        model
    }

    /// The site as it is.
    pub(crate) fn of_rig(&self, rig: &mut Rig, mut random: impl FnMut(u64) -> u64 + Clone + 'static) {
        let lags = rig.machine.model().meters.iter().map(|meter| meter.lag_ms.0);
        rig.meter_lags_ms = lags.collect();
        for (vehicle, own) in rig.vehicles.iter_mut().zip(&self.chargers) {
            vehicle.measures = own.measures;
        }
        rig.tells_voltage = self.tells_voltage;
        rig.noise_most = Milliamps(self.noise);
        let (most, mut noises) = (self.noise, random.clone());
        rig.noise = Box::new(move || Milliamps(noises(2 * most as u64 + 1) as i32 - most));

        let (lost, late, step_ms) = (self.readings_lost, self.readings_late as i64, rig.pace.step_ms);
        rig.reading_delay_ms = late * step_ms;
        let mut others = std::mem::replace(&mut rig.fate, Box::new(|_| Vec::new()));
        rig.fate = Box::new(move |kind| match kind {
            Kind::Reading if lost + late as u64 == 0 => vec![0],
            Kind::Reading => match random(20) {
                n if n < lost => vec![],
                n if n < 2 * lost + 4 => vec![random(late as u64 + 1) as i64 * step_ms],
                _ => vec![0],
            },
            Kind::Setpoint | Kind::Answer => others(kind),
        });
    }
}
