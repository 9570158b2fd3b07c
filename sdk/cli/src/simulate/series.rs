//! Values over time from a file: what energy costs, or what a site has to spare.
//!
//! A CSV file with two columns. The first, `from`, says from when on the value of the second holds, until the next line:
//!
//! - times of the day, `06:00`, by the clocks of the site, the first of them `00:00`: the same every day; or
//! - moments with their offset from UTC, `2019-05-01T06:00:00-07:00`; before the first nothing is known, and the last
//!   value holds from then on.
//!
//! All of them on a quarter of an hour, in ascending order; at most [`MAX_LINES`]. The name of the second column is
//! that of the [`Quantity`].

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use wattle_wire::policy::Series;
use wattle_wire::{Micros, Millis};

use crate::Usage;

const HOUR_MS: i64 = 3_600_000;
const QUARTER_MS: i64 = HOUR_MS / 4;
const MAX_LINES: usize = 100_000;
/// How far ahead a policy sees.
const AHEAD_MS: i64 = 24 * HOUR_MS;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// `price_per_kwh`, in the currency, as decimal text; held in millionths.
    Price,
    /// `surplus_w`, a whole number of watts.
    Surplus,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    held: Held,
    /// How long the values of a series hold: an hour where none changes in between, else a quarter.
    step_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
enum Held {
    /// By the second of the day.
    Daily(TimeZone, Vec<(i64, i64)>),
    /// By milliseconds since 1970.
    From(Vec<(i64, i64)>),
}

impl Quantity {
    fn column(self) -> &'static str {
        match self {
            Self::Price => "price_per_kwh",
            Self::Surplus => "surplus_w",
        }
    }

    fn read(self, text: &str) -> Option<i64> {
        match self {
            Self::Price => {
                (text.parse::<Decimal>().ok()?.checked_mul(Decimal::ONE_HUNDRED * Decimal::from(10_000)))?
                    .round()
                    .to_i64()
                    .filter(|price| price.unsigned_abs() <= 1_000_000_000_000)
            }
            Self::Surplus => text.parse().ok().filter(|watts| (0..=1_000_000_000).contains(watts)),
        }
    }
}

impl Values {
    /// Reads a file; `zone` is that of the site's clocks.
    ///
    /// # Errors
    /// [`Usage`] with the first line that makes no sense.
    pub fn read(path: &Path, zone: &str, quantity: Quantity) -> Result<Self, Usage> {
        let name = path.display().to_string();
        let failed = |why: String| Usage(format!("{name}: {why}"));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text, zone, quantity).map_err(failed)
    }

    fn parse(text: &str, zone: &str, quantity: Quantity) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = format!("from,{}", quantity.column());
        if lines.next().is_none_or(|(_, line)| line.replace(' ', "") != header) {
            return Err(format!("the first line has to be {header}"));
        }
        let (mut daily, mut from) = (Vec::new(), Vec::new());
        for (number, line) in lines {
            let wrong = |why: &str| format!("line {}: {line:?} {why}", number + 1);
            let (at, value) = line.split_once(',').ok_or_else(|| wrong("has no second column"))?;
            let (at, value) = (at.trim(), value.trim());
            let value = quantity.read(value).ok_or_else(|| wrong("has no such value"))?;
            match (at.parse::<Time>(), at.parse::<Timestamp>()) {
                (_, Ok(moment)) => from.push((moment.as_millisecond(), value)),
                (Ok(time), _) => daily.push((second_of(time), value)),
                _ => return Err(wrong("begins with no time; write 06:00, or 2019-05-01T06:00:00-07:00")),
            }
            if daily.len() + from.len() > MAX_LINES {
                return Err(format!("has more than {MAX_LINES} lines"));
            }
        }
        match (daily.is_empty(), from.is_empty()) {
            (false, true) => Self::daily(daily, zone),
            (true, false) => Self::checked(&from, QUARTER_MS, HOUR_MS).map(|step_ms| {
                let held = Held::From(from);
                Self { held, step_ms }
            }),
            (true, true) => Err("has no values".into()),
            (false, false) => Err("has times of the day and moments; give one kind".into()),
        }
    }

    fn daily(values: Vec<(i64, i64)>, zone: &str) -> Result<Self, String> {
        if values[0].0 != 0 {
            return Err("does not begin at 00:00".into());
        }
        let step_ms = Self::checked(&values, QUARTER_MS / 1000, HOUR_MS / 1000)?;
        let zone = TimeZone::get(zone).map_err(|error| error.to_string())?;
        Ok(Self { held: Held::Daily(zone, values), step_ms })
    }

    /// Whether the times are in order and on a quarter; how long a step has to be.
    fn checked(values: &[(i64, i64)], quarter: i64, hour: i64) -> Result<i64, String> {
        if values.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err("has times that are not in ascending order".into());
        }
        if values.iter().any(|(at, _)| at.rem_euclid(quarter) != 0) {
            return Err("has a time that is on no quarter of an hour".into());
        }
        let is_hourly = values.iter().all(|(at, _)| at.rem_euclid(hour) == 0);
        Ok(if is_hourly { HOUR_MS } else { QUARTER_MS })
    }

    /// The value that holds at a moment, ms since 1970; none before the first.
    pub fn at(&self, at_ms: u64) -> Option<i64> {
        let at_ms = i64::try_from(at_ms).ok()?;
        let (values, at) = match &self.held {
            Held::From(values) => (values, at_ms),
            Held::Daily(zone, values) => {
                let moment = Timestamp::from_millisecond(at_ms).ok()?;
                (values, second_of(zone.to_datetime(moment).time()))
            }
        };
        let after = values.partition_point(|(from, _)| *from <= at);
        after.checked_sub(1).map(|index| values[index].1)
    }

    /// When the value may change next. Clocks are a whole number of quarters from UTC.
    pub fn next_ms(at_ms: u64) -> u64 {
        let quarter = QUARTER_MS.unsigned_abs();
        (at_ms / quarter + 1) * quarter
    }

    /// When the present step of [`Self::series`] has begun, ms.
    pub fn step_begin_ms(&self, at_ms: u64) -> u64 {
        let Held::Daily(zone, _) = &self.held else { return at_ms - at_ms % self.step_ms.unsigned_abs() };
        let moment = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let second = moment.map_or(0, |moment| second_of(zone.to_datetime(moment).time()));
        let into_ms = second.unsigned_abs() * 1000 % self.step_ms.unsigned_abs() + at_ms % 1000;
        at_ms - into_ms
    }

    /// What a policy is told at a moment: what holds from the present step on, for a day. None where nothing is known.
    pub fn series(&self, at_ms: u64) -> Option<Series> {
        let begin = self.step_begin_ms(at_ms);
        let moments = (0..AHEAD_MS / self.step_ms).map(|step| begin + (step * self.step_ms).unsigned_abs());
        let values: Option<Vec<i64>> = moments.map(|moment| self.at(moment)).collect();
        let start_us = Micros::from_millis(i64::try_from(begin).ok()?);
        Some(Series { start_us, step_ms: Millis(self.step_ms), values: values? })
    }
}

fn second_of(time: Time) -> i64 {
    i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: &str = "from,price_per_kwh\n00:00,0.08\n08:00,0.12\n12:00,0.29\n18:00, 0.12\n23:00,0.08\n";

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().expect("a time").as_millisecond()).expect("after 1970")
    }

    fn prices() -> Values {
        Values::parse(PRICES, "America/Los_Angeles", Quantity::Price).expect("right")
    }

    #[test]
    fn a_day_repeats_by_the_clocks_of_the_site_also_where_they_change() {
        let at = |text| prices().at(ms(text));
        assert_eq!(at("2019-05-01T07:59:59-07:00"), Some(80_000));
        assert_eq!(at("2019-05-01T08:00:00-07:00"), Some(120_000));
        assert_eq!(at("2019-05-01T12:00:00-07:00"), Some(290_000));
        assert_eq!(at("2019-12-01T12:00:00-08:00"), Some(290_000));
        assert_eq!(at("2019-12-01T11:59:00-08:00"), Some(120_000));
    }

    #[test]
    fn a_policy_is_told_a_day_from_the_present_step_on() {
        let series = prices().series(ms("2019-05-01T08:59:30.5-07:00")).expect("known");
        assert_eq!((series.step_ms, series.values.len()), (Millis(HOUR_MS), 24));
        assert_eq!(series.start_us.0 / 1000, ms("2019-05-01T08:00:00-07:00") as i64);
        assert_eq!(series.values[..5], [120_000, 120_000, 120_000, 120_000, 290_000]);
        let quarters = PRICES.replace("18:00", "18:15");
        let quarters = Values::parse(&quarters, "Asia/Kolkata", Quantity::Price).expect("right");
        let series = quarters.series(ms("2019-05-01T18:14:00+05:30")).expect("known");
        assert_eq!(
            (series.step_ms, series.values.len(), &series.values[..2]),
            (Millis(QUARTER_MS), 96, &[290_000, 120_000][..])
        );
    }

    #[test]
    fn moments_hold_from_the_first_on() {
        let text = "from,surplus_w\n2019-05-01T10:00:00Z,500\n2019-05-01T11:30:00Z,0\n";
        let values = Values::parse(text, "UTC", Quantity::Surplus).expect("right");
        let at = |text| values.at(ms(text));
        assert_eq!(at("2019-05-01T09:59:59Z"), None);
        assert_eq!((at("2019-05-01T10:00:00Z"), at("2020-01-01T00:00:00Z")), (Some(500), Some(0)));
        assert_eq!(values.series(ms("2019-05-01T09:00:00Z")), None);
        assert_eq!(values.series(ms("2019-05-01T11:20:00Z")).expect("known").values[..2], [500, 0]);
        assert_eq!(Values::next_ms(ms("2019-05-01T11:15:00Z")), ms("2019-05-01T11:30:00Z"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let check = |text: &str, expected: &str| {
            let error = Values::parse(text, "UTC", Quantity::Price).expect_err("wrong");
            assert!(error.contains(expected), "{error}");
        };
        check("", "the first line has to be from,price_per_kwh");
        check("from,surplus_w\n00:00,1\n", "the first line has to be");
        check("from,price_per_kwh\n", "has no values");
        check("from,price_per_kwh\n01:00,1\n", "does not begin at 00:00");
        check("from,price_per_kwh\n00:00,1\n00:00,2\n", "not in ascending order");
        check("from,price_per_kwh\n00:00,1\n00:10,2\n", "on no quarter");
        check("from,price_per_kwh\n00:00,cheap\n", "line 2: \"00:00,cheap\" has no such value");
        check("from,price_per_kwh\n00:00,99999999999999999999999999\n", "has no such value");
        check("from,price_per_kwh\n25:00,1\n", "begins with no time");
        check("from,price_per_kwh\n00:00\n", "has no second column");
        check("from,price_per_kwh\n00:00,1\n2019-05-01T10:00:00Z,1\n", "give one kind");
        assert!(Values::parse("from,surplus_w\n00:00,-1\n", "UTC", Quantity::Surplus).is_err());
    }
}
