//! `signal` and `answer`: what a site is told from outside, and what the edge says to it. `docs/mqtt.md` is their public
//! description.
//!
//! The same JSON stands in the detail of a journaled [`Signalled`](crate::row::EventKind::Signalled) event, there with
//! moments only: `until_us` in place of `for_ms`, and a `start_us` in each series.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Watts};

/// The largest payload of a signal that is parsed.
pub const MAX_SIGNAL_BYTES: usize = 16 * 1024;

/// The most bytes of a signal's `id`.
pub const MAX_SIGNAL_ID_BYTES: usize = 64;

/// What a system may signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Limits of circuits and of the site.
    Limit,
    /// Prices.
    Price,
    /// The surplus of the site's own generation.
    Surplus,
    /// What a charger gets whatever a policy says.
    Manual,
}

impl Right {
    /// How files and messages write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Price => "price",
            Self::Surplus => "surplus",
            Self::Manual => "manual",
        }
    }
}

/// `signal`: exactly one of what it may hold, beside its `id`. QoS 1, not retained, not numbered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Comes back with the answer, at most [`MAX_SIGNAL_ID_BYTES`]. A signal with the `id` of the one that was taken last
    /// is that one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What a circuit may carry for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<CircuitLimit>,
    /// Prices in millionths of the currency per kWh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Course>,
    /// Power of the site's own generation that is left over, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus_w: Option<Course>,
    /// What the whole site may draw from the grid, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_limit_w: Option<Course>,
    /// What a charger gets whatever a policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<ManualCurrent>,
}

/// What a circuit may carry for a time; without a limit there is none any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitLimit {
    /// Which.
    pub circuit: CircuitId,
    /// On each phase: one value for all, or one for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ma: Option<OneOrThree>,
    /// On all phases together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_w: Option<Watts>,
    /// For how long from its arrival on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<Millis>,
    /// Until when, in place of `for_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<Micros>,
}

/// A current: one value for all phases, or one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a whole number of mA, or a list of three, one per phase")]
pub enum OneOrThree {
    /// The same on each phase.
    One(Milliamps),
    /// Phase by phase.
    Three(PerPhase<Milliamps>),
}

impl OneOrThree {
    /// Phase by phase.
    pub fn per_phase(self) -> PerPhase<Milliamps> {
        match self {
            Self::One(current) => PerPhase::all(current),
            Self::Three(currents) => currents,
        }
    }
}

/// Values at equal distances; behind the last one nothing is known any more. No values: nothing is known from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// When the first value begins to hold; without it at its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_us: Option<Micros>,
    /// How long each value holds.
    pub step_ms: Millis,
    /// The values.
    pub values: Vec<i64>,
}

/// What a charger gets whatever a policy says, as far as it fits; without a current what the site file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManualCurrent {
    /// Which.
    pub charger: DeviceId,
    /// On each of its phases; 0 for standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_ma: Option<Milliamps>,
    /// For how long from its arrival on; without it and `until_us` until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<Millis>,
    /// Until when, in place of `for_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<Micros>,
}

/// `answer`: what became of a signal. A signal that is taken is on the edge's disk. QoS 0, never retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The signal's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Why it was refused: a code, a colon, a space, and what to do. Absent when it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let signal: Signal = serde_json::from_str(text).expect(text);
        assert_eq!(serde_json::to_string(&signal).expect("plain"), text);
    }

    #[test]
    fn a_signal_is_written_as_it_is_read() {
        check(r#"{"id":"7","limit":{"circuit":"grid","limit_ma":16000,"for_ms":900000}}"#);
        check(r#"{"limit":{"circuit":"grid","limit_ma":[16000,16000,10000],"until_us":5}}"#);
        check(r#"{"limit":{"circuit":"grid","limit_w":4200,"for_ms":900000}}"#);
        check(r#"{"price":{"start_us":1,"step_ms":3600000,"values":[300000,-20000]}}"#);
        check(r#"{"surplus_w":{"step_ms":60000,"values":[3100]}}"#);
        check(r#"{"manual":{"charger":"cp-1","current_ma":10000}}"#);
    }

    #[test]
    fn what_is_not_as_agreed_is_refused_with_the_reason() {
        for (text, expected) in [
            (r#"{"limit":{"circuit":"grid","limit_a":16}}"#, "unknown field `limit_a`"),
            (r#"{"limit":{"circuit":"grid","limit_ma":[1,2]}}"#, "a list of three"),
            (r#"{"limit":{"circuit":"grid","limit_w":4200.5}}"#, "floating point"),
            (r#"{"price":{"values":[1]}}"#, "missing field `step_ms`"),
            (r#"{"tariff":1}"#, "unknown field `tariff`"),
        ] {
            let error = serde_json::from_str::<Signal>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
