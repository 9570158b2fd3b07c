//! The state of a site's machine as bytes, so that a replay can begin in the middle.
//!
//! What is written is all that a later decision can depend on, and nothing that follows from the site's model. So two
//! machines of one model whose bytes are equal decide the same for ever after, and comparing bytes compares machines.
//!
//! Layout: a version, then the types of this module in postcard, whose order of fields is the format: a change of any is a
//! new [`VERSION`]. Those of the versions before are read and never written: [`FIRST`] has longer tracks, and it and
//! [`SECOND`] know nothing of the newest reading of a meter but its load, nor of voltages. Moments are written as the time that has passed since, so
//! that they are short. Every list in it has the bound that the machine keeps: a charger comes to at most about 2 KB, to 150 bytes where little happens.
//!
//! A field that is added to the machine has to be added here: its parts are taken apart by name, field by field, so
//! that leaving one out doesn't compile.

mod gauge;
mod station;
#[cfg(test)]
mod tests;
mod track;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wattle_wire::policy::{Plan, Series};
use wattle_wire::row::{Decision, Row};
use wattle_wire::{Micros, Milliamps, Millis, Millivolts};

use super::decide::{BUILT_IN_DECIDES, LAST_PLAN_STANDS, LastPlan};
use super::outside::Outside;
use super::passing::Passing;
use super::record::Recorder;
use super::{Control, MAX_PENDING_EVENTS, Signalled, SiteMachine, SiteModel};
use crate::replay::input::SavedSignalled;
use gauge::{Gauged, SavedGauge, SecondGauge};
use station::SavedStation;
use track::{FirstTrack, SavedTrack, Tracked};

/// The version of the bytes, their first.
const VERSION: u8 = 3;
/// The versions before.
const SECOND: u8 = 2;
const FIRST: u8 = 1;

/// Why bytes are no state of this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyframeError {
    /// Written by another version.
    #[error(
        "the keyframe has version {0}, this program reads {FIRST} to {VERSION}; use the program that wrote it"
    )]
    Version(u8),
    /// No keyframe, or a damaged one.
    #[error("the keyframe can't be read")]
    Damaged,
    /// Of a site with other devices or circuits, or of a model that is not sound.
    #[error("the keyframe is of another site: {0}")]
    Site(String),
}

#[derive(Serialize, Deserialize)]
struct Saved<T, G> {
    control: SavedControl,
    passing: [Micros; 3],
    stations: Vec<SavedStation<T>>,
    gauges: Vec<G>,
    outside: SavedOutside,
    started_at: Micros,
    decided: Option<i64>,
    next_number: u64,
    left_excess: Milliamps,
    raise_waits: bool,
    events: Vec<Row>,
    last_plan: Option<SavedPlan>,
    failure: Option<String>,
    /// When it was said that the last plan stands in, and the built-in share; by the clock.
    said_at: [Option<Micros>; 2],
    recorded: Option<(Micros, Decision)>,
}

/// A simulation runs with other timings than its site file's, so they are part of the state.
#[derive(Serialize, Deserialize)]
struct SavedControl {
    interval_ms: Millis,
    validity_ms: Millis,
    raise_delay_ms: Millis,
    meter_stale_ms: Millis,
    lend_after_ms: Millis,
    raise_ramp_ma_per_s: Milliamps,
    resume_room_ma: Milliamps,
    least_on_ms: Millis,
    least_off_ms: Millis,
    nominal_mv: Millivolts,
}

/// What systems have said: by the index of each, and of series that take over from each other the first first. A list of one or none
/// has the bytes of the option that prices and surplus were before there could be more.
#[derive(Serialize, Deserialize)]
struct SavedOutside {
    circuits: Vec<Vec<(u32, SavedSignalled)>>,
    grid: Vec<(u32, Series)>,
    price: Vec<Series>,
    surplus_w: Vec<Series>,
}

impl SavedOutside {
    fn of(outside: &Outside) -> Self {
        let Outside { circuits, grid, price, surplus_w } = outside;
        let circuit = |by: &BTreeMap<usize, Signalled>| {
            by.iter().map(|(by, signalled)| (*by as u32, SavedSignalled::from(*signalled))).collect()
        };
        Self {
            circuits: circuits.iter().map(circuit).collect(),
            grid: grid
                .iter()
                .flat_map(|(by, line)| line.iter().map(|series| (*by as u32, series.clone())))
                .collect(),
            price: price.clone(),
            surplus_w: surplus_w.clone(),
        }
    }

    fn load(self) -> Outside {
        let circuit = |by: Vec<(u32, SavedSignalled)>| {
            by.into_iter().map(|(by, signalled)| (by as usize, signalled.into())).collect()
        };
        let mut grid: BTreeMap<usize, Vec<Series>> = BTreeMap::new();
        for (by, series) in self.grid {
            grid.entry(by as usize).or_default().push(series);
        }
        Outside {
            circuits: self.circuits.into_iter().map(circuit).collect(),
            grid,
            price: self.price,
            surplus_w: self.surplus_w,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SavedPlan {
    plan: Plan,
    policy: String,
    policy_digest: u64,
    asked: Vec<bool>,
    held: u32,
}

/// How long ago each moment was, at one moment.
#[derive(Clone, Copy)]
struct Since(Micros);

impl Since {
    fn ago(self, moment: Micros) -> i64 {
        self.0.0.wrapping_sub(moment.0)
    }

    fn at(self, ago: i64) -> Micros {
        Micros(self.0.0.wrapping_sub(ago))
    }
}

impl SiteMachine {
    /// The state as bytes.
    pub fn keyframe(&self) -> Vec<u8> {
        postcard::to_extend(&self.saved(), vec![VERSION]).expect("the state is plain data")
    }

    /// Whether these bytes, of whichever version, are of the state that it has.
    pub fn has_state(&self, bytes: &[u8]) -> bool {
        let own = self.keyframe();
        own == bytes
            || bytes.first() != Some(&VERSION)
                && Self::from_keyframe(self.model.clone(), bytes).is_ok_and(|other| other.keyframe() == own)
    }

    /// The machine of `model` with this state.
    ///
    /// # Errors
    /// When the bytes are none, of another version, or of another site.
    pub fn from_keyframe(model: SiteModel, bytes: &[u8]) -> Result<Self, KeyframeError> {
        let (version, rest) = bytes.split_first().ok_or(KeyframeError::Damaged)?;
        match *version {
            VERSION => Self::read::<SavedTrack, SavedGauge>(model, rest),
            SECOND => Self::read::<SavedTrack, SecondGauge>(model, rest),
            FIRST => Self::read::<FirstTrack, SecondGauge>(model, rest),
            other => Err(KeyframeError::Version(other)),
        }
    }

    fn read<T: Tracked + DeserializeOwned, G: Gauged + DeserializeOwned>(
        mut model: SiteModel,
        bytes: &[u8],
    ) -> Result<Self, KeyframeError> {
        let (saved, rest) =
            postcard::take_from_bytes::<Saved<T, G>>(bytes).map_err(|_| KeyframeError::Damaged)?;
        if !rest.is_empty() {
            return Err(KeyframeError::Damaged);
        }
        model.control = load_control(&saved.control);
        let machine = Self::new(model, saved.next_number, saved.started_at)
            .map_err(|error| KeyframeError::Site(error.to_string()))?;
        machine.loaded(saved)
    }

    fn saved(&self) -> Saved<SavedTrack, SavedGauge> {
        let Self {
            model,
            paths: _,
            times: _,
            passing: Passing { clock, now, sure, longest: _ },
            stations,
            gauges,
            meter_of: _,
            below: _,
            outside,
            started_at,
            decided_at,
            // Found anew when a decision begins.
            cause: _,
            next_number,
            left_excess,
            raise_waits,
            events,
            last_plan,
            failure,
            failure_said_at,
            recorder: Recorder { last },
        } = self;
        let since = Since(*now);
        Saved {
            control: save_control(&model.control),
            passing: [*clock, *now, *sure],
            stations: stations.iter().map(|station| SavedStation::of(station, since, *sure)).collect(),
            gauges: gauges.iter().map(|gauge| SavedGauge::of(gauge, since)).collect(),
            outside: SavedOutside::of(outside),
            started_at: *started_at,
            decided: decided_at.map(|at| since.ago(at)),
            next_number: *next_number,
            left_excess: *left_excess,
            raise_waits: *raise_waits,
            events: events.clone(),
            last_plan: last_plan.as_ref().map(save_plan),
            failure: failure.clone(),
            said_at: [LAST_PLAN_STANDS, BUILT_IN_DECIDES].map(|who| failure_said_at.get(who).copied()),
            recorded: last.clone(),
        }
    }

    fn loaded<T: Tracked, G: Gauged>(mut self, saved: Saved<T, G>) -> Result<Self, KeyframeError> {
        let differs = |what: &str, found: usize, has: usize| {
            let text = format!("it has {found} {what}, the configuration {has}");
            (found == has).then_some(()).ok_or(KeyframeError::Site(text))
        };
        differs("chargers", saved.stations.len(), self.stations.len())?;
        differs("meters", saved.gauges.len(), self.gauges.len())?;
        differs("circuits", saved.outside.circuits.len(), self.outside.circuits.len())?;
        let [clock, now, sure] = saved.passing;
        let since = Since(now);
        self.passing = Passing { clock, now, sure, longest: self.passing.longest };
        self.stations = saved.stations.into_iter().map(|station| station.load(since, sure)).collect();
        for (gauge, saved) in self.gauges.iter_mut().zip(saved.gauges) {
            saved.load(gauge, since);
        }
        self.outside = saved.outside.load();
        self.decided_at = saved.decided.map(|ago| since.at(ago));
        self.next_number = saved.next_number;
        self.left_excess = saved.left_excess;
        self.raise_waits = saved.raise_waits;
        self.events = saved.events;
        self.events.truncate(MAX_PENDING_EVENTS);
        self.last_plan = saved.last_plan.map(load_plan);
        self.failure = saved.failure;
        let said = [LAST_PLAN_STANDS, BUILT_IN_DECIDES].into_iter().zip(saved.said_at);
        self.failure_said_at =
            said.filter_map(|(who, at)| Some((who, at?))).collect::<BTreeMap<&'static str, Micros>>();
        self.recorder = Recorder { last: saved.recorded };
        Ok(self)
    }
}

fn save_control(control: &Control) -> SavedControl {
    let Control {
        interval_ms,
        validity_ms,
        raise_delay_ms,
        meter_stale_ms,
        lend_after_ms,
        raise_ramp_ma_per_s,
        resume_room_ma,
        least_on_ms,
        least_off_ms,
        nominal_mv,
    } = *control;
    SavedControl {
        interval_ms,
        validity_ms,
        raise_delay_ms,
        meter_stale_ms,
        lend_after_ms,
        raise_ramp_ma_per_s,
        resume_room_ma,
        least_on_ms,
        least_off_ms,
        nominal_mv,
    }
}

fn load_control(saved: &SavedControl) -> Control {
    Control {
        interval_ms: saved.interval_ms,
        validity_ms: saved.validity_ms,
        raise_delay_ms: saved.raise_delay_ms,
        meter_stale_ms: saved.meter_stale_ms,
        lend_after_ms: saved.lend_after_ms,
        raise_ramp_ma_per_s: saved.raise_ramp_ma_per_s,
        resume_room_ma: saved.resume_room_ma,
        least_on_ms: saved.least_on_ms,
        least_off_ms: saved.least_off_ms,
        nominal_mv: saved.nominal_mv,
    }
}

fn save_plan(last: &LastPlan) -> SavedPlan {
    let LastPlan { plan, policy, policy_digest, asked, held } = last.clone();
    SavedPlan { plan, policy, policy_digest, asked, held }
}

fn load_plan(saved: SavedPlan) -> LastPlan {
    let SavedPlan { plan, policy, policy_digest, asked, held } = saved;
    LastPlan { plan, policy, policy_digest, asked, held }
}
