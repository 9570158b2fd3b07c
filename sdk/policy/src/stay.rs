//! What a vehicle still needs and by when, also where nobody has said.

use crate::Charger;
use crate::settings::{Setting, Values};

/// The voltage between a phase and neutral by which power and current are turned into each other.
///
/// ```
/// assert_eq!(wattle_policy::stay::VOLTS, 230);
/// ```
pub const VOLTS: i64 = 230;

/// The setting of [`Assumed::stay_s`].
///
/// ```
/// use wattle_policy::{settings, stay::ASSUMED_STAY_S};
///
/// assert_eq!(settings::read(&[ASSUMED_STAY_S], "").unwrap().number("assumed_stay_s"), 28_800);
/// ```
pub const ASSUMED_STAY_S: Setting = Setting::number(
    "assumed_stay_s",
    28_800,
    600..=604_800,
    "s",
    "how long a vehicle stays that hasn't said when it leaves",
);
/// The setting of [`Assumed::energy_wh`].
///
/// ```
/// use wattle_policy::{settings, stay::ASSUMED_ENERGY_WH};
///
/// assert_eq!(settings::read(&[ASSUMED_ENERGY_WH], "").unwrap().number("assumed_energy_wh"), 20_000);
/// ```
pub const ASSUMED_ENERGY_WH: Setting = Setting::number(
    "assumed_energy_wh",
    20_000,
    0..=500_000,
    "Wh",
    "what a vehicle asks for in all that hasn't said",
);

/// What is assumed of a vehicle of which it isn't known.
///
/// ```
/// use wattle_policy::{kit::Site, stay::Assumed};
///
/// let snapshot = Site::new([20_000; 3]).asking("a").snapshot();
/// let wish = Assumed { stay_s: 3_600, energy_wh: 7_000 }.wish(&snapshot.chargers[0], snapshot.now);
/// assert_eq!((wish.energy_wh, wish.is_stated), (7_000, false));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assumed {
    /// How long it stays after its arrival, seconds.
    pub stay_s: i64,
    /// What it asks for in all, Wh.
    pub energy_wh: i64,
}

/// What a vehicle wants.
///
/// ```
/// use wattle_policy::stay::Wish;
///
/// let wish = Wish { energy_wh: 2_300, stay_s: 7_200, is_stated: true };
/// assert_eq!((wish.seconds_at(2_300), wish.laxity_s(2_300)), (3_600, 3_600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// What it still needs, Wh; 0 if it has what was asked for.
    pub energy_wh: i64,
    /// How long it still stays, seconds; below 0 if it should have left.
    pub stay_s: i64,
    /// Whether the energy is what was asked for, not what is assumed.
    pub is_stated: bool,
}

impl Assumed {
    /// What a policy's settings say, of which [`ASSUMED_STAY_S`] and [`ASSUMED_ENERGY_WH`] are two.
    ///
    /// ```
    /// use wattle_policy::{settings, stay::{ASSUMED_ENERGY_WH, ASSUMED_STAY_S, Assumed}};
    ///
    /// let values = settings::read(&[ASSUMED_STAY_S, ASSUMED_ENERGY_WH], r#"{"assumed_stay_s":600}"#).unwrap();
    /// assert_eq!(Assumed::read(&values), Assumed { stay_s: 600, energy_wh: 20_000 });
    /// ```
    pub fn read(values: &Values) -> Self {
        Self { stay_s: values.number("assumed_stay_s"), energy_wh: values.number("assumed_energy_wh") }
    }

    /// What the vehicle at a charger wants at `now`, with what isn't known assumed. One without a session is taken to
    /// have arrived now.
    ///
    /// ```
    /// use wattle_policy::{kit, stay::{Assumed, Wish}};
    ///
    /// let snapshot = kit::Site::new([20_000; 3]).asking("a").after_seconds(600).snapshot();
    /// let wish = Assumed { stay_s: 3_600, energy_wh: 20_000 }.wish(&snapshot.chargers[0], snapshot.now);
    /// assert_eq!(wish, Wish { energy_wh: 20_000, stay_s: 3_000, is_stated: false });
    /// ```
    pub fn wish(self, charger: &Charger, now: i64) -> Wish {
        let Some(session) = &charger.session else {
            return Wish { energy_wh: self.energy_wh, stay_s: self.stay_s, is_stated: false };
        };
        let less_delivered = |asked: i64| asked.saturating_sub(session.delivered);
        let stated = session.needed.or(session.requested.map(less_delivered));
        let departure = session.departure.map(|departure| departure.saturating_sub(now) / 1_000_000);
        let since_arrival = now.saturating_sub(session.arrived) / 1_000_000;
        Wish {
            energy_wh: stated.unwrap_or_else(|| less_delivered(self.energy_wh)).max(0),
            stay_s: departure.unwrap_or(self.stay_s.saturating_sub(since_arrival)),
            is_stated: stated.is_some(),
        }
    }
}

impl Wish {
    /// How long the energy takes at a power, in whole seconds, rounded up.
    ///
    /// ```
    /// use wattle_policy::stay::Wish;
    ///
    /// assert_eq!(Wish { energy_wh: 1_000, stay_s: 0, is_stated: true }.seconds_at(3_700), 973);
    /// ```
    pub fn seconds_at(self, watts: i64) -> i64 {
        let watt_seconds = self.energy_wh.max(0).saturating_mul(3_600);
        watt_seconds / watts.max(1) + i64::from(watt_seconds % watts.max(1) > 0)
    }

    /// The time to spare at a power: how long it stays less how long it has to charge, seconds.
    ///
    /// ```
    /// use wattle_policy::stay::Wish;
    ///
    /// assert_eq!(Wish { energy_wh: 1_000, stay_s: 600, is_stated: true }.laxity_s(3_600), -400);
    /// ```
    pub fn laxity_s(self, watts: i64) -> i64 {
        self.stay_s.saturating_sub(self.seconds_at(watts))
    }
}

impl Charger {
    /// The power of a current on each of its phases, W, at [`VOLTS`].
    ///
    /// ```
    /// use wattle_policy::{Phase, kit::{Site, charger}};
    ///
    /// let site = Site::new([20_000; 3]).asking("a").charger(charger("b").phases(&Phase::ALL));
    /// let chargers = site.snapshot().chargers;
    /// assert_eq!((chargers[0].watts(10_000), chargers[1].watts(10_000)), (2_300, 6_900));
    /// ```
    pub fn watts(&self, milliamps: i32) -> i64 {
        i64::from(milliamps) * self.phases.len() as i64 * VOLTS / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Phase;
    use crate::kit::{Site, charger};

    const ASSUMED: Assumed = Assumed { stay_s: 8 * 3_600, energy_wh: 20_000 };

    fn wish(change: impl FnOnce(&mut crate::Session), after_s: i64) -> Wish {
        let one = charger("a").with(|charger| change(charger.session.as_mut().expect("it asks")));
        let snapshot = Site::new([0; 3]).charger(one).after_seconds(after_s).snapshot();
        ASSUMED.wish(&snapshot.chargers[0], snapshot.now)
    }

    #[test]
    fn what_is_known_counts() {
        let known = wish(
            |session| {
                session.needed = Some(5_000);
                session.requested = Some(9_000);
                session.departure = Some(session.arrived + 7_200_000_000);
            },
            600,
        );
        assert_eq!(known, Wish { energy_wh: 5_000, stay_s: 6_600, is_stated: true });
    }

    #[test]
    fn what_was_asked_for_less_what_was_delivered_stands_for_what_is_needed() {
        let asked = |delivered| {
            wish(|session| (session.requested, session.delivered) = (Some(9_000), delivered), 0).energy_wh
        };
        assert_eq!([0, 4_000, 9_000, 9_500].map(asked), [9_000, 5_000, 0, 0]);
    }

    #[test]
    fn what_is_not_known_is_assumed_and_ends() {
        let unknown = |delivered, after| wish(|session| session.delivered = delivered, after);
        assert_eq!(unknown(5_000, 3_600), Wish { energy_wh: 15_000, stay_s: 7 * 3_600, is_stated: false });
        assert_eq!(unknown(25_000, 9 * 3_600), Wish { energy_wh: 0, stay_s: -3_600, is_stated: false });
    }

    #[test]
    fn time_to_charge_is_rounded_up_and_survives_absurd_numbers() {
        let wish = |energy_wh, stay_s| Wish { energy_wh, stay_s, is_stated: true };
        assert_eq!(wish(7_360, 0).seconds_at(7_360), 3_600);
        assert_eq!(wish(1, 0).seconds_at(7_360), 1);
        assert_eq!(wish(0, 100).laxity_s(7_360), 100);
        assert_eq!(wish(7_360, 3_500).laxity_s(7_360), -100);
        assert_eq!(wish(i64::MAX, i64::MIN).laxity_s(0), i64::MIN);
    }

    #[test]
    fn power_counts_every_phase() {
        let snapshot =
            Site::new([0; 3]).asking("one").charger(charger("three").phases(&Phase::ALL)).snapshot();
        assert_eq!(snapshot.chargers[0].watts(16_000), 3_680);
        assert_eq!(snapshot.chargers[1].watts(16_000), 11_040);
    }
}
