//! The verdict on a reading: good, or the code of the first rule that it breaks.
//!
//! A verdict depends on its own row and on the configured [`Limits`], never on another row: so it is the same
//! however rows are batched and resent. What needs two rows (a register that falls) is judged where rows are
//! joined: [`crate::interval`] and [`crate::session`] count it and never bill it.
//!
//! [`RULES`] lists the rules in the order in which they are tried. [`RULE_VERSION`] grows with each change of
//! a rule and stands in every row beside its verdict.

use wattle_wire::{Micros, Milliamps, Millivolts, WattHours, Watts};

/// The version of [`RULES`].
pub const RULE_VERSION: i32 = 1;

/// What a reading that breaks no rule gets.
pub const GOOD: &str = "good";

/// A rule: the code that it gives, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The reason code in tables.
    pub code: &'static str,
    /// What breaks it, for people.
    pub says: &'static str,
}

macro_rules! rules {
    ($($name:ident $code:literal $says:literal)*) => {
        $(const $name: Rule = Rule { code: $code, says: $says };)*
        /// Every rule, in the order in which they are tried.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules!(
    CLOCK_AHEAD "clock_ahead" "measured more than 5 minutes after it arrived"
    TOO_LATE "too_late" "measured longer before it arrived than late data is taken"
    CURRENT_RANGE "current_range" "a current beyond 4,000 A, more than a low-voltage board carries"
    VOLTAGE_RANGE "voltage_range" "a voltage to neutral below 0 V or above 500 V"
    VOLTAGE_UNIT "voltage_unit" "a voltage between 0 and 10 V while 1 A or more flows: volts sent as millivolts"
    POWER_RANGE "power_range" "a power beyond 3 MW"
    POWER_UNIT "power_unit" "a power above twice what voltage and current can make: a wrong unit of one of the three"
    REGISTER_NEGATIVE "register_negative" "an energy register below zero"
    SOC_RANGE "soc_range" "a state of charge outside 0 to 100 %"
    TEMPERATURE_RANGE "temperature_range" "a temperature outside -60 to 150 °C"
    HUMIDITY_RANGE "humidity_range" "a relative humidity outside 0 to 100 %"
    SIGNAL_RANGE "signal_range" "a signal strength outside -150 to 0 dBm"
);

/// The furthest that a device's clock may be ahead of the arrival at its edge.
pub const MAX_AHEAD: Micros = Micros::from_secs(5 * 60);
/// How late a reading is taken if nothing else is configured: 7 days.
pub const DEFAULT_LATE: Micros = Micros::from_secs(7 * 86_400);

/// The largest current that a reading may show.
pub const MAX_CURRENT: Milliamps = Milliamps(4_000_000);
/// The largest voltage to neutral.
pub const MAX_VOLTAGE: Millivolts = Millivolts(500_000);
/// The largest power: three phases of [`MAX_CURRENT`] at 230 V, rounded up.
pub const MAX_POWER: Watts = Watts(3_000_000);

/// A live phase shows more than this; millivolts given as volts show less.
const UNIT_VOLTAGE: Millivolts = Millivolts(10_000);
const FLOWING: Milliamps = Milliamps(1_000);

/// What may differ between installations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest that a reading may have been under way. What is later is kept and not counted.
    pub late: Micros,
}

impl Default for Limits {
    fn default() -> Self {
        Self { late: DEFAULT_LATE }
    }
}

/// What of a reading the rules look at. Phases in the device's order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// By the device's clock.
    pub measured_at: Option<Micros>,
    /// By the edge's clock.
    pub arrived_at: Micros,
    /// Current per phase.
    pub current: [Option<Milliamps>; 3],
    /// Voltage to neutral per phase.
    pub voltage: [Option<Millivolts>; 3],
    /// Active power of all phases.
    pub power: Option<Watts>,
    /// Energy register.
    pub register: Option<WattHours>,
    /// State of charge, percent.
    pub soc_percent: Option<i32>,
    /// Thousandths of a degree Celsius.
    pub temperature_mc: Option<i32>,
    /// Relative humidity, percent.
    pub humidity_percent: Option<i32>,
    /// dBm.
    pub signal_dbm: Option<i32>,
}

/// The code of the first rule that a reading breaks, or [`GOOD`].
pub fn verdict(reading: &Measured, limits: Limits) -> &'static str {
    broken(reading, limits).map_or(GOOD, |rule| rule.code)
}

/// The moment that counts for a row: when it was measured, unless that is further from the arrival than the clock
/// rules allow; then when it arrived.
pub fn moment(measured_at: Option<Micros>, arrived_at: Micros, limits: Limits) -> Micros {
    match measured_at {
        Some(measured) if clock(measured, arrived_at, limits).is_none() => measured,
        _ => arrived_at,
    }
}

fn clock(measured: Micros, arrived: Micros, limits: Limits) -> Option<Rule> {
    let under_way = arrived - measured;
    if under_way < -MAX_AHEAD {
        Some(CLOCK_AHEAD)
    } else if under_way > limits.late {
        Some(TOO_LATE)
    } else {
        None
    }
}

fn broken(reading: &Measured, limits: Limits) -> Option<Rule> {
    reading
        .measured_at
        .and_then(|measured| clock(measured, reading.arrived_at, limits))
        .or_else(|| electric(reading))
        .or_else(|| surroundings(reading))
}

fn electric(reading: &Measured) -> Option<Rule> {
    let currents = || reading.current.iter().flatten();
    let voltages = || reading.voltage.iter().flatten();
    let flowing = currents().any(|current| current.0.abs() >= FLOWING.0);
    if currents().any(|current| outside(current.0, -MAX_CURRENT.0, MAX_CURRENT.0)) {
        return Some(CURRENT_RANGE);
    }
    if voltages().any(|voltage| outside(voltage.0, 0, MAX_VOLTAGE.0)) {
        return Some(VOLTAGE_RANGE);
    }
    if flowing && voltages().any(|voltage| voltage.0 > 0 && *voltage < UNIT_VOLTAGE) {
        return Some(VOLTAGE_UNIT);
    }
    if reading.power.is_some_and(|power| outside(power.0, -MAX_POWER.0, MAX_POWER.0)) {
        return Some(POWER_RANGE);
    }
    if power_is_impossible(reading) {
        return Some(POWER_UNIT);
    }
    reading.register.is_some_and(|register| register.0 < 0).then_some(REGISTER_NEGATIVE)
}

/// Active power is at most apparent power. Twice that and 500 W leave room for sensors that aren't read in the
/// same instant; what is beyond is a unit. Judged only where every phase with a current has its voltage.
fn power_is_impossible(reading: &Measured) -> bool {
    let Some(power) = reading.power else { return false };
    let mut apparent_uw = 0_i64;
    let mut phases = 0;
    for (current, voltage) in reading.current.iter().zip(&reading.voltage) {
        match (current, voltage) {
            (Some(current), Some(voltage)) => {
                phases += 1;
                apparent_uw += i64::from(current.0).abs() * i64::from(voltage.0);
            }
            (Some(_), None) => return false,
            (None, _) => {}
        }
    }
    phases > 0 && i64::from(power.0).abs() > 2 * (apparent_uw / 1_000_000) + 500
}

fn surroundings(reading: &Measured) -> Option<Rule> {
    let bounds = [
        (reading.soc_percent, 0, 100, SOC_RANGE),
        (reading.temperature_mc, -60_000, 150_000, TEMPERATURE_RANGE),
        (reading.humidity_percent, 0, 100, HUMIDITY_RANGE),
        (reading.signal_dbm, -150, 0, SIGNAL_RANGE),
    ];
    bounds
        .into_iter()
        .find(|(value, low, high, _)| value.is_some_and(|value| outside(value, *low, *high)))
        .map(|(_, _, _, rule)| rule)
}

fn outside(value: i32, low: i32, high: i32) -> bool {
    value < low || value > high
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Micros = Micros::from_secs(1_700_000_000);

    fn charging() -> Measured {
        Measured {
            measured_at: Some(NOON),
            arrived_at: NOON + Micros::from_secs(1),
            current: [Some(Milliamps(16_000)), None, None],
            voltage: [Some(Millivolts(230_000)), None, None],
            power: Some(Watts(3_680)),
            register: Some(WattHours(1_000)),
            soc_percent: Some(55),
            temperature_mc: Some(31_000),
            humidity_percent: Some(40),
            signal_dbm: Some(-67),
        }
    }

    fn check(change: impl FnOnce(&mut Measured), expected: &str) {
        let mut reading = charging();
        change(&mut reading);
        assert_eq!(verdict(&reading, Limits::default()), expected);
    }

    #[test]
    fn a_plausible_reading_is_good() {
        check(|_| {}, GOOD);
        check(|r| *r = Measured { arrived_at: NOON, ..Measured::default() }, GOOD);
    }

    #[test]
    fn export_and_a_dead_phase_are_plausible() {
        check(
            |r| {
                r.current[0] = Some(Milliamps(-16_000));
                r.power = Some(Watts(-3_680));
            },
            GOOD,
        );
        check(
            |r| {
                r.current[0] = Some(Milliamps(0));
                r.voltage[0] = Some(Millivolts(0));
                r.power = Some(Watts(0));
            },
            GOOD,
        );
    }

    #[test]
    fn each_impossible_value_has_a_code_of_its_own() {
        check(|r| r.current[2] = Some(Milliamps(4_000_001)), "current_range");
        check(|r| r.current[2] = Some(Milliamps(i32::MIN)), "current_range");
        check(|r| r.voltage[1] = Some(Millivolts(-1)), "voltage_range");
        check(|r| r.voltage[1] = Some(Millivolts(500_001)), "voltage_range");
        check(|r| r.power = Some(Watts(i32::MIN)), "power_range");
        check(|r| r.register = Some(WattHours(-1)), "register_negative");
        check(|r| r.soc_percent = Some(101), "soc_range");
        check(|r| r.temperature_mc = Some(-273_150), "temperature_range");
        check(|r| r.humidity_percent = Some(-1), "humidity_range");
        check(|r| r.signal_dbm = Some(1), "signal_range");
    }

    #[test]
    fn a_wrong_unit_is_told_from_a_value_that_is_only_low() {
        check(|r| r.voltage[0] = Some(Millivolts(230)), "voltage_unit");
        check(|r| r.power = Some(Watts(2_900_000)), "power_unit");
        check(|r| r.power = Some(Watts(3)), GOOD);
        check(
            |r| {
                r.voltage[0] = None;
                r.power = Some(Watts(22_000));
            },
            GOOD,
        );
    }

    #[test]
    fn a_clock_far_from_the_arrival_is_told_by_its_direction() {
        check(|r| r.measured_at = Some(r.arrived_at + MAX_AHEAD), GOOD);
        check(|r| r.measured_at = Some(r.arrived_at + MAX_AHEAD + Micros(1)), "clock_ahead");
        check(|r| r.measured_at = Some(r.arrived_at - DEFAULT_LATE), GOOD);
        check(|r| r.measured_at = Some(r.arrived_at - DEFAULT_LATE - Micros(1)), "too_late");
        check(|r| r.measured_at = Some(Micros(i64::MIN)), "too_late");
        check(|r| r.measured_at = Some(Micros::MAX), "clock_ahead");
    }

    #[test]
    fn a_moment_that_a_clock_can_not_mean_gives_way_to_the_arrival() {
        let limits = Limits::default();
        assert_eq!(moment(Some(NOON), NOON + Micros(1), limits), NOON);
        assert_eq!(moment(Some(Micros(0)), NOON, limits), NOON);
        assert_eq!(moment(None, NOON, limits), NOON);
    }

    #[test]
    fn no_two_rules_share_a_code() {
        let codes: std::collections::BTreeSet<_> = RULES.iter().map(|rule| rule.code).collect();
        assert_eq!(codes.len(), RULES.len());
        assert!(!codes.contains(GOOD));
    }
}
