//! The site file as it is written.

use rust_decimal::Decimal;
use serde::Deserialize;
use wattle_wire::signal::Right;
use wattle_wire::{CircuitId, DeviceId, Milliamps, Millis, PerPhase, Phase, SiteId, UserId, Watts};

use crate::amount::{amps, amps_per_phase, money, optional_amps, watts};
use crate::check;
use crate::connector::Connector;
use crate::hours::{Hours, ScheduledLimit};
use crate::problem::Problems;
use crate::read::{document, read, read_document};

/// A site.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    /// Its name in topics and tables.
    pub id: SiteId,
    /// Its name for people; default none.
    #[serde(default)]
    pub name: String,
    /// IANA time zone, `Europe/Berlin`: months and days of bills are those of this zone. Default `UTC`.
    #[serde(default = "default_time_zone")]
    pub time_zone: String,
    /// How the site is controlled.
    #[serde(default)]
    pub control: Control,
    /// Circuits, a parent before its children; the first is the grid connection.
    pub circuits: Vec<Circuit>,
    /// Meters; default none.
    #[serde(default)]
    pub meters: Vec<Meter>,
    /// Chargers in order of registration; default none.
    #[serde(default)]
    pub chargers: Vec<Charger>,
    /// Who may tell the site limits, prices, surplus and currents by hand from outside; at most 16, default none.
    #[serde(default)]
    pub systems: Vec<System>,
    /// Who may be billed; default none.
    #[serde(default)]
    pub users: Vec<User>,
    /// What a charge costs.
    #[serde(default)]
    pub tariff: Tariff,
}

/// How the site is controlled.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Time between two decisions, ms; 50 to 60 000, default 1000.
    pub interval_ms: Millis,
    /// How long a setpoint holds, ms; at least four intervals, at most 3 600 000, default 10 000.
    pub validity_ms: Millis,
    /// How long a raise waits, ms; 0 to 600 000, default 5000.
    pub raise_delay_ms: Millis,
    /// How long a meter may be silent before its circuit has its fallback budget, ms; at least two intervals,
    /// default 10 000.
    pub meter_stale_ms: Millis,
    /// How long a vehicle draws less than it may before what it leaves is lent to others, ms; 0 to 3 600 000, 0 for
    /// never, default 30 000.
    pub lend_after_ms: Millis,
    /// How fast a setpoint rises, A per second; 0 for at once, which is the default.
    #[serde(rename = "raise_ramp_a_per_s", deserialize_with = "amps")]
    pub raise_ramp_ma_per_s: Milliamps,
    /// How much more than its minimum has to be free before a vehicle on standby charges again, A; default 1.
    #[serde(rename = "resume_room_a", deserialize_with = "amps")]
    pub resume_room_ma: Milliamps,
    /// How long a vehicle charges at least before a policy may put it on standby, ms; 0 to 3 600 000, default 0.
    pub least_on_ms: Millis,
    /// How long a vehicle stays on standby at least, ms; 0 to 3 600 000, default 60 000.
    pub least_off_ms: Millis,
    /// The voltage between a phase and neutral by which limits in W become currents, V; 100 to 300, default 230.
    pub nominal_v: i32,
    /// The policy: the name of a component in the policy folder, or a path that ends in `.wasm`; `off` for none,
    /// so that the built-in equal share decides. Default `fair-share`.
    pub policy: String,
    /// The policy's settings; default none.
    pub settings: toml::Table,
    /// Decisions that a new version of the policy makes in shadow before it is obeyed; 0 to 100 000, default 60.
    pub policy_trial: u32,
    /// The most memory that a policy of this site may ask for, MiB; 1 to 256, default 16.
    pub policy_memory_mib: u32,
    /// The fuel that a policy of this site has at a decision, and the most that it may ask for, millions; 20 to 10 000, default
    /// 20. The time that a decision may take grows with it, from 50 ms to a second.
    pub policy_fuel_million: u32,
    /// A policy that decides beside the other and is never obeyed; default none.
    pub shadow: Option<Shadow>,
}

/// `[control.shadow]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// The policy, as in `[control]`.
    pub policy: String,
    /// Its settings; default none.
    #[serde(default)]
    pub settings: toml::Table,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            interval_ms: Millis(1000),
            validity_ms: Millis(10_000),
            raise_delay_ms: Millis(5000),
            meter_stale_ms: Millis(10_000),
            lend_after_ms: Millis(30_000),
            raise_ramp_ma_per_s: Milliamps::ZERO,
            resume_room_ma: Milliamps::from_amps(1),
            least_on_ms: Millis(0),
            least_off_ms: Millis(60_000),
            nominal_v: 230,
            policy: "fair-share".into(),
            settings: toml::Table::new(),
            policy_trial: 60,
            policy_memory_mib: 16,
            policy_fuel_million: 20,
            shadow: None,
        }
    }
}

/// A circuit: a breaker and what hangs behind it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// The circuit that feeds it; none for the first, which is the grid connection.
    #[serde(default)]
    pub parent: Option<CircuitId>,
    /// What the breaker allows on each phase, A: one number for all, or three; 0 where it has no such phase.
    #[serde(rename = "limit_a", deserialize_with = "amps_per_phase")]
    pub limit_ma: PerPhase<Milliamps>,
    /// What is left unused on each phase, A; default 0.
    #[serde(rename = "margin_a", default, deserialize_with = "amps")]
    pub margin_ma: Milliamps,
    /// What the chargers may draw together at most on each phase while the circuit's meter is silent, A; what fits beside
    /// `max_load_a`; default 0.
    #[serde(rename = "fallback_a", default, deserialize_with = "amps")]
    pub fallback_ma: Milliamps,
    /// The largest load that other consumers are expected to put on a phase, A; default 0.
    #[serde(rename = "max_load_a", default, deserialize_with = "amps")]
    pub max_load_ma: Milliamps,
    /// Whether something on it or below it generates, so that its meter may show an export; default false.
    #[serde(default)]
    pub generation: bool,
    /// Lower limits at some hours; default none.
    #[serde(default)]
    pub schedule: Vec<ScheduledLimit>,
}

/// A meter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// Its name.
    pub id: DeviceId,
    /// The circuit that it measures.
    pub circuit: CircuitId,
    /// How old its readings are at most when they come, ms, besides half an interval. Default 0; up to five intervals.
    #[serde(default)]
    pub lag_ms: Millis,
}

/// How a charger's limits are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChargerKind {
    /// By the current on each phase.
    #[default]
    Ac,
    /// By the power that it takes from all its phases.
    Dc,
}

/// A charger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charger {
    /// Its name.
    pub id: DeviceId,
    /// The circuit that feeds it.
    pub circuit: CircuitId,
    /// `"ac"`, or `"dc"` with its limits in W; default `"ac"`.
    #[serde(default)]
    pub kind: ChargerKind,
    /// The phases of the site in the order in which they are wired to it, `["L2"]`; without it they are not known
    /// and it counts on all that each circuit on its way has.
    #[serde(default)]
    pub phases: Option<Vec<Phase>>,
    /// The least that a vehicle charges with, A; default 6.
    #[serde(rename = "min_a", default = "default_min", deserialize_with = "amps")]
    pub min_ma: Milliamps,
    /// The most that it can give, A; default 32.
    #[serde(rename = "max_a", default = "default_max", deserialize_with = "amps")]
    pub max_ma: Milliamps,
    /// Setpoints are multiples of this, A; default 1.
    #[serde(rename = "step_a", default = "default_step", deserialize_with = "amps")]
    pub step_ma: Milliamps,
    /// What it falls back to by itself, A; default 0.
    #[serde(rename = "safe_a", default, deserialize_with = "amps")]
    pub safe_ma: Milliamps,
    /// Higher goes first; default 0.
    #[serde(default)]
    pub priority: i32,
    /// The largest current that the vehicle's cable carries, A; default `max_a`.
    #[serde(rename = "cable_a", default, deserialize_with = "optional_amps")]
    pub cable_ma: Option<Milliamps>,
    /// With `kind = "dc"`: the least power that it charges with, W; default 0, which is one step.
    #[serde(default, deserialize_with = "watts")]
    pub min_w: Option<Watts>,
    /// With `kind = "dc"`, which needs it: the most power that it takes, W.
    #[serde(default, deserialize_with = "watts")]
    pub max_w: Option<Watts>,
    /// When it may charge; default always.
    #[serde(default)]
    pub timer: Vec<Hours>,
    /// What it gets, as far as it fits, whatever the policy says, A; 0 for standby; default none.
    #[serde(rename = "manual_a", default, deserialize_with = "optional_amps")]
    pub manual_ma: Option<Milliamps>,
    /// Its connectors, if it has several; its own limits are then those of its supply. Default none.
    #[serde(default)]
    pub connectors: Vec<Connector>,
}

/// Who may tell the site something from outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its login.
    pub id: DeviceId,
    /// What it may signal: `"limit"`, `"price"`, `"surplus"`, `"manual"`; at least one.
    pub may: Vec<Right>,
}

/// Someone who may be billed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name in messages and tables.
    pub id: UserId,
    /// The name on a bill; default none.
    #[serde(default)]
    pub name: String,
    /// The highest power that the user may charge with, W; default none.
    #[serde(default, deserialize_with = "watts")]
    pub max_w: Option<Watts>,
    /// Instead of the charger's priority while this user charges; default none.
    #[serde(default)]
    pub priority: Option<i32>,
}

/// What a charge costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Which tariff this is; stands on each bill. Default `1`.
    #[serde(default = "default_version")]
    pub version: String,
    /// ISO 4217; default `EUR`.
    #[serde(default = "default_currency")]
    pub currency: String,
    /// Price of a session, decimal text; default `"0"`.
    #[serde(default, deserialize_with = "money")]
    pub start_fee: Decimal,
    /// Price of a kWh, decimal text; a site without a tariff has `"0"`.
    #[serde(deserialize_with = "money")]
    pub price_per_kwh: Decimal,
}

impl Default for Tariff {
    fn default() -> Self {
        Self {
            version: default_version(),
            currency: default_currency(),
            start_fee: Decimal::ZERO,
            price_per_kwh: Decimal::ZERO,
        }
    }
}

impl Circuit {
    /// Whether it has this phase.
    pub fn has(&self, phase: Phase) -> bool {
        self.limit_ma[phase] > Milliamps::ZERO
    }
}

impl Charger {
    /// The least that a vehicle charges with on each phase, in whole steps, `nominal_v` volts given.
    pub fn min_on_a_phase(&self, nominal_v: i32) -> Milliamps {
        let least = match self.kind {
            ChargerKind::Ac => self.min_ma,
            ChargerKind::Dc => {
                let least =
                    self.on_a_phase(self.min_w.unwrap_or_default(), nominal_v, |a, b| (a + b - 1) / b);
                least.max(self.step_ma)
            }
        };
        let whole = least.floor_to(self.step_ma);
        if whole < least { whole + self.step_ma } else { whole }
    }

    /// The most that it takes on each phase, by itself and by its cable, `nominal_v` volts given.
    pub fn max_on_a_phase(&self, nominal_v: i32) -> Milliamps {
        let most = match self.kind {
            ChargerKind::Ac => self.max_ma,
            ChargerKind::Dc => self.on_a_phase(self.max_w.unwrap_or_default(), nominal_v, |a, b| a / b),
        };
        self.cable_ma.map_or(most, |cable| most.min(cable))
    }

    fn on_a_phase(&self, power: Watts, nominal_v: i32, divide: impl Fn(i64, i64) -> i64) -> Milliamps {
        let phases = self.phases.as_ref().map_or(3, |phases| phases.len().max(1)) as i64;
        let milliamps = divide(i64::from(power.0) * 1000, phases * i64::from(nominal_v.max(1)));
        Milliamps(i32::try_from(milliamps).unwrap_or(i32::MAX))
    }
}

impl SiteFile {
    /// Reads a site; `file` is how mistakes name it.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        read(file, text, |site, problems| check::site(file, site, problems))
    }

    /// Reads a site as it was recorded when it was taken: what was right then is, whatever would be refused today. Prices
    /// could be numbers then, and a tariff without one had 0.
    ///
    /// # Errors
    /// Every mistake of shape.
    pub fn recorded(file: &str, text: &str) -> Result<Self, Problems> {
        let mut document = document(file, text)?;
        if let Some(tariff) = document.get_mut("tariff").and_then(toml::Value::as_table_mut) {
            tariff.entry("price_per_kwh").or_insert_with(|| "0".into());
            for (_, price) in
                tariff.iter_mut().filter(|(key, _)| matches!(key.as_str(), "start_fee" | "price_per_kwh"))
            {
                if price.is_float() || price.is_integer() {
                    *price = price.to_string().into();
                }
            }
        }
        read_document(file, document, |_, _| ())
    }
}

fn default_version() -> String {
    "1".into()
}

fn default_currency() -> String {
    "EUR".into()
}

fn default_time_zone() -> String {
    "UTC".into()
}

pub(crate) const DEFAULT_MIN: Milliamps = Milliamps::from_amps(6);
pub(crate) const DEFAULT_MAX: Milliamps = Milliamps::from_amps(32);

fn default_min() -> Milliamps {
    DEFAULT_MIN
}

fn default_max() -> Milliamps {
    DEFAULT_MAX
}

fn default_step() -> Milliamps {
    Milliamps::from_amps(1)
}
