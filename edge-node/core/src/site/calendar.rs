//! Times of the day and of the week at a site.
//!
//! The machine knows no time zones. Whoever makes the model says from which moment on the site's clocks are how far
//! ahead of UTC; before the first such moment they are taken to agree with UTC.

use wattle_wire::Micros;

const MINUTE: i64 = 60_000_000;
const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// From when on a site's clocks are how many seconds ahead of UTC, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalTime(pub Vec<(Micros, i32)>);

impl LocalTime {
    /// The day, 0 for a Monday, and the minute of the day.
    fn at(&self, now: Micros) -> (usize, u16) {
        let offset = self.0.iter().rev().find(|(from, _)| *from <= now).map_or(0, |(_, offset)| *offset);
        let minutes = now.0.saturating_add(i64::from(offset) * 1_000_000).div_euclid(MINUTE);
        // 1970 began on a Thursday.
        let day = (minutes.div_euclid(MINUTES_OF_A_DAY) + 3).rem_euclid(7);
        (day as usize, minutes.rem_euclid(MINUTES_OF_A_DAY) as u16)
    }
}

/// A time of the day on some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The days on which it begins, Monday first.
    pub days: [bool; 7],
    /// The minute of the day at which it begins.
    pub from_minute: u16,
    /// The minute at which it has ended; at or before the first that of the next day.
    pub to_minute: u16,
}

impl Window {
    pub(super) fn holds(&self, local: &LocalTime, now: Micros) -> bool {
        let (day, minute) = local.at(now);
        if self.from_minute < self.to_minute {
            return self.days[day] && (self.from_minute..self.to_minute).contains(&minute);
        }
        let began_today = self.days[day] && minute >= self.from_minute;
        let began_yesterday = self.days[(day + 6) % 7] && minute < self.to_minute;
        began_today || began_yesterday
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 was a Saturday; this is its midnight in UTC.
    const SATURDAY: i64 = 1_795_219_200;

    fn check(window: Window, offset: i32, hours: i64, expected: bool) {
        let local = LocalTime(vec![(Micros::ZERO, offset)]);
        let now = Micros::from_secs(SATURDAY + hours * 3_600);
        assert_eq!(window.holds(&local, now), expected, "{hours} h, {offset} s ahead");
    }

    fn window(days: &[usize], from: u16, to: u16) -> Window {
        let days = std::array::from_fn(|day| days.contains(&day));
        Window { days, from_minute: from * 60, to_minute: to * 60 }
    }

    #[test]
    fn a_window_holds_from_its_first_minute_to_before_its_last() {
        for (hours, expected) in [(7, false), (8, true), (11, true), (12, false), (32, false)] {
            check(window(&[5], 8, 12), 0, hours, expected);
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
        for (hours, expected) in [(21, false), (22, true), (24, true), (29, true), (30, false), (46, false)] {
            check(window(&[5], 22, 6), 0, hours, expected);
        }
        check(window(&[4], 22, 6), 0, 3, true);
    }

    #[test]
    fn a_window_that_ends_where_it_began_is_a_day() {
        for (hours, expected) in [(7, false), (8, true), (31, true), (32, false)] {
            check(window(&[5], 8, 8), 0, hours, expected);
        }
    }

    #[test]
    fn the_clocks_of_the_site_count() {
        check(window(&[5], 8, 12), 3_600, 7, true);
        check(window(&[5], 8, 12), -3_600, 8, false);
        let night = window(&[4], 23, 24);
        assert_eq!(night.to_minute, 1_440);
        check(night, -3_600, 0, true);
    }

    #[test]
    fn the_offset_that_began_last_counts() {
        let from = |hours: i64| Micros::from_secs(SATURDAY + hours * 3_600);
        let local = LocalTime(vec![(from(0), 0), (from(10), 3_600)]);
        assert_eq!((local.at(from(9)), local.at(from(10))), ((5, 540), (5, 660)));
        assert_eq!(local.at(Micros(i64::MIN)).1, LocalTime::default().at(Micros(i64::MIN)).1);
    }
}
