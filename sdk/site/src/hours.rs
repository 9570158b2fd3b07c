//! Hours of the day on days of the week, as people write them in a file: `from = "22:00"`, `days = ["sat", "sun"]`.

use serde::{Deserialize, Deserializer};
use wattle_wire::{Milliamps, PerPhase, Watts};

use crate::amount::{optional_amps_per_phase, watts};

/// A time of the day by the site's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay {
    /// Minutes since midnight, 0 to 1440.
    pub minutes: u16,
}

impl TimeOfDay {
    const MIDNIGHT: Self = Self { minutes: 0 };
    const END: Self = Self { minutes: 24 * 60 };

    fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str| {
            let is_number = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let at = Self { minutes: hours * 60 + minutes };
        (minutes < 60 && at.minutes <= Self::END.minutes).then_some(at)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("is no time of day; give \"00:00\" to \"24:00\"");
        Self::parse(&text).ok_or_else(wrong)
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// Monday first.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

/// Hours of some days.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// When they begin; default `"00:00"`.
    #[serde(default = "midnight")]
    pub from: TimeOfDay,
    /// When they have ended, on the next day if that is not after `from`; default `"24:00"`.
    #[serde(default = "end_of_day")]
    pub to: TimeOfDay,
    /// The days on which they begin: `"mon"` to `"sun"`; default all.
    #[serde(default = "all_days")]
    pub days: Vec<Day>,
}

/// A limit that holds at some hours only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledLimit {
    /// As in [`Hours`].
    #[serde(default = "midnight")]
    pub from: TimeOfDay,
    /// As in [`Hours`].
    #[serde(default = "end_of_day")]
    pub to: TimeOfDay,
    /// As in [`Hours`].
    #[serde(default = "all_days")]
    pub days: Vec<Day>,
    /// What the circuit may carry then on each phase, A; this or `limit_w`.
    #[serde(rename = "limit_a", default, deserialize_with = "optional_amps_per_phase")]
    pub limit_ma: Option<PerPhase<Milliamps>>,
    /// What the circuit may carry then on all its phases together, W; this or `limit_a`.
    #[serde(default, deserialize_with = "watts")]
    pub limit_w: Option<Watts>,
}

impl ScheduledLimit {
    /// A limit in W at all hours.
    pub(crate) fn always(limit: Watts) -> Self {
        Self { from: midnight(), to: end_of_day(), days: all_days(), limit_ma: None, limit_w: Some(limit) }
    }

    /// When it holds.
    pub fn hours(&self) -> Hours {
        Hours { from: self.from, to: self.to, days: self.days.clone() }
    }
}

fn midnight() -> TimeOfDay {
    TimeOfDay::MIDNIGHT
}

fn end_of_day() -> TimeOfDay {
    TimeOfDay::END
}

fn all_days() -> Vec<Day> {
    Day::ALL.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_has_two_digits_on_either_side() {
        for (text, expected) in [("00:00", 0), ("07:05", 425), ("23:59", 1_439), ("24:00", 1_440)] {
            assert_eq!(TimeOfDay::parse(text).map(|at| at.minutes), Some(expected), "{text}");
        }
        for text in ["", "7:05", "07:5", "07:60", "24:01", "+7:00", "07-05", "99:99", "07:05:00"] {
            assert_eq!(TimeOfDay::parse(text), None, "{text}");
        }
    }
}
