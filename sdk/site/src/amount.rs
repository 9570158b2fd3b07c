//! Amperes, watts and money as people write them in a file: `6`, `0.5`, or one value per phase; `4200`; `"0.39"`.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use wattle_wire::{Milliamps, PerPhase, Watts};

/// The largest current that a file may name, A: far above any supply, far below what an integer holds.
const MAX_AMPS: f64 = 100_000.0;

/// The largest power that a file may name, W.
const MAX_WATTS: i32 = 100_000_000;

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of amperes")]
enum Number {
    Whole(i64),
    Broken(f64),
}

fn milliamps(number: Number) -> Result<Milliamps, String> {
    let amps = match number {
        Number::Whole(amps) => amps as f64,
        Number::Broken(amps) => amps,
    };
    if !amps.is_finite() || amps.abs() > MAX_AMPS {
        return Err(format!("{amps} A is no current; give -{MAX_AMPS} to {MAX_AMPS} A"));
    }
    let thousandths = (amps * 1000.0).round();
    if (thousandths - amps * 1000.0).abs() > 1e-6 {
        return Err(format!("{amps} A is finer than a thousandth of an ampere"));
    }
    Ok(Milliamps(thousandths as i32))
}

/// Reads a current in A.
pub fn amps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Milliamps, D::Error> {
    milliamps(Number::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Reads a current in A that may be absent.
pub fn optional_amps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Milliamps>, D::Error> {
    amps(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of amperes, or a list of three, one per phase")]
enum OneOrThree {
    One(Number),
    Three([Number; 3]),
}

/// Reads a current in A: one for all phases, or a list of three.
pub fn amps_per_phase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PerPhase<Milliamps>, D::Error> {
    let parsed = match OneOrThree::deserialize(deserializer)? {
        OneOrThree::One(number) => milliamps(number).map(PerPhase::all),
        OneOrThree::Three([a, b, c]) => [milliamps(a), milliamps(b), milliamps(c)]
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(|values| PerPhase([values[0], values[1], values[2]])),
    };
    parsed.map_err(serde::de::Error::custom)
}

/// Reads a current in A, as [`amps_per_phase`] does, that may be absent.
pub fn optional_amps_per_phase<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PerPhase<Milliamps>>, D::Error> {
    amps_per_phase(deserializer).map(Some)
}

/// Reads a power in whole W that may be absent.
pub fn watts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Watts>, D::Error> {
    let watts = i64::deserialize(deserializer)?;
    let in_range = i32::try_from(watts).ok().filter(|watts| (0..=MAX_WATTS).contains(watts));
    in_range.map(|watts| Some(Watts(watts))).ok_or_else(|| {
        serde::de::Error::custom(format!("{watts} W is no such power; give 0 to {MAX_WATTS} W"))
    })
}

/// A price that is written as text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a price is text, such as \"0.39\", so that no digit of it is lost")]
enum Price {
    Text(String),
}

/// Reads an amount of money, decimal text.
pub fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let Price::Text(text) = Price::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("is no amount; give decimal text, such as \"0.39\""))
}
