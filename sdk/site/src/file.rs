//! The site file as it is written.

use rust_decimal::Decimal;
use serde::Deserialize;
use wattle_wire::{CircuitId, DeviceId, Milliamps, Millis, PerPhase, Phase, SiteId, UserId};

use crate::amount::{amps, amps_per_phase, optional_amps};
use crate::check;
use crate::problem::Problems;
use crate::read::read;

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
    /// The policy: the name of a component in the policy folder, or a path that ends in `.wasm`; `off` for none,
    /// so that the built-in equal share decides. Default `fair-share`.
    pub policy: String,
    /// The policy's settings; default none.
    pub settings: toml::Table,
    /// Decisions that a new version of the policy makes in shadow before it is obeyed; 0 to 100 000, default 60.
    pub policy_trial: u32,
    /// The most memory that a policy of this site may ask for, MiB; 1 to 256, default 16.
    pub policy_memory_mib: u32,
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
            policy: "fair-share".into(),
            settings: toml::Table::new(),
            policy_trial: 60,
            policy_memory_mib: 16,
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
    /// What the chargers may draw together on each phase while the circuit's meter is silent, A; default 0.
    #[serde(rename = "fallback_a", default, deserialize_with = "amps")]
    pub fallback_ma: Milliamps,
    /// The largest load that other consumers are expected to put on a phase, A; default 0.
    #[serde(rename = "max_load_a", default, deserialize_with = "amps")]
    pub max_load_ma: Milliamps,
}

/// A meter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// Its name.
    pub id: DeviceId,
    /// The circuit that it measures.
    pub circuit: CircuitId,
}

/// A charger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charger {
    /// Its name.
    pub id: DeviceId,
    /// The circuit that feeds it.
    pub circuit: CircuitId,
    /// The phases of the site in the order in which they are wired to it, `["L2"]`; without it they are not known
    /// and it counts on all three.
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
}

/// What a charge costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tariff {
    /// Which tariff this is; stands on each bill. Default `1`.
    pub version: String,
    /// ISO 4217; default `EUR`.
    pub currency: String,
    /// Price of a session, decimal text; default `"0"`.
    #[serde(with = "rust_decimal::serde::str")]
    pub start_fee: Decimal,
    /// Price of a kWh, decimal text; default `"0"`.
    #[serde(with = "rust_decimal::serde::str")]
    pub price_per_kwh: Decimal,
}

impl Default for Tariff {
    fn default() -> Self {
        Self {
            version: "1".into(),
            currency: "EUR".into(),
            start_fee: Decimal::ZERO,
            price_per_kwh: Decimal::ZERO,
        }
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
}

fn default_time_zone() -> String {
    "UTC".into()
}

fn default_min() -> Milliamps {
    Milliamps::from_amps(6)
}

fn default_max() -> Milliamps {
    Milliamps::from_amps(32)
}

fn default_step() -> Milliamps {
    Milliamps::from_amps(1)
}
