//! The hours to come, and who is to charge in which.
//!
//! An *hour* is a time of one price, however long. The first one is now. What the circuits have in it is booked as charge,
//! current times time on each phase: in the first hour what they have now, in later ones the share of
//! their limits that is expected to be free. The time for which no price is known is one hour, dearer than all others.

use wattle_policy::room::Asking;
use wattle_policy::{PerPhase, Phase, Series, Snapshot};

const MICROS: i64 = 1_000_000;

/// The most hours with a price that are looked at; the time behind them counts as one without.
const MOST: usize = 96;

/// More than anybody stays; keeps a charge within its bounds.
const YEAR_S: i64 = 366 * 86_400;

/// The hours from now on.
pub struct Hours {
    list: Vec<Hour>,
    /// The indexes of `list`, the cheapest first, of equal prices the earlier first.
    cheapest: Vec<usize>,
}

/// Times are in seconds from now on.
struct Hour {
    start_s: i64,
    end_s: i64,
    price: Option<i64>,
    /// What is left of each circuit's phases, mA x s.
    left: Vec<[i64; 3]>,
}

/// What a vehicle wants to book.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// On each of its phases, mA x s.
    pub charge: i64,
    /// The most that it can have at a time, mA.
    pub most: i32,
    /// When it has to be ready, seconds from now; a vehicle that is late wants it within a second.
    pub ready_s: i64,
}

/// What a vehicle has booked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Booked {
    /// When its first hour begins, seconds from now; none if it has none.
    pub first_s: Option<i64>,
    /// What found no room, mA x s on each phase.
    pub missing: i64,
}

impl Hours {
    /// The hours of which the price is known, and the time from there until `until_s`, seconds from now. None if no
    /// price is known now.
    pub fn of(snapshot: &Snapshot, until_s: i64, expected_free_percent: i64) -> Option<Self> {
        let series = snapshot.signals.price.as_ref()?;
        let now = series.index(snapshot.now).filter(|now| *now < series.values.len())?;
        let mut list: Vec<Hour> = Vec::new();
        for index in (now..series.values.len()).take(MOST) {
            let start_s = list.last().map_or(0, |hour| hour.end_s);
            let end_s = begins_s(series, index + 1, snapshot.now);
            list.push(Hour { start_s, end_s, price: Some(series.values[index]), left: Vec::new() });
        }
        let known_s = list.last().map_or(0, |hour| hour.end_s);
        if known_s < until_s {
            list.push(Hour { start_s: known_s, end_s: until_s, price: None, left: Vec::new() });
        }
        for (index, hour) in list.iter_mut().enumerate() {
            let seconds = hour.end_s - hour.start_s;
            let percent = if index == 0 { None } else { Some(expected_free_percent) };
            hour.left = charge(snapshot, seconds, percent);
        }
        let dearness = |index: &usize| (list[*index].price.is_none(), list[*index].price);
        let mut cheapest = Vec::with_capacity(list.len());
        for index in 0..list.len() {
            let after = cheapest.partition_point(|other| dearness(other) <= dearness(&index));
            cheapest.insert(after, index);
        }
        Some(Self { list, cheapest })
    }

    /// Books the cheapest hours for a vehicle, as far as there is room.
    pub fn book(&mut self, one: &Asking<'_>, want: Want) -> Booked {
        let mut booked = Booked { first_s: None, missing: want.charge };
        for index in &self.cheapest {
            let hour = &mut self.list[*index];
            let usable_s = hour.end_s.min(want.ready_s.max(1)) - hour.start_s;
            if usable_s <= 0 {
                continue;
            }
            let most = i64::from(want.most) * usable_s.min(YEAR_S);
            let taken = booked.missing.min(most).min(hour.least_left(one));
            if taken > 0 {
                hour.take(one, taken);
                booked.missing -= taken;
                booked.first_s = Some(booked.first_s.map_or(hour.start_s, |first| first.min(hour.start_s)));
            }
            if booked.missing <= 0 {
                break;
            }
        }
        booked
    }

    /// When the cheapest hour of which the price is known begins, seconds from now.
    pub fn cheapest_s(&self) -> i64 {
        self.cheapest.first().map_or(0, |index| self.list[*index].start_s)
    }
}

impl Hour {
    fn least_left(&self, one: &Asking<'_>) -> i64 {
        let phases = &one.charger.phases;
        let on = |circuit: &usize| phases.iter().map(|phase| self.left[*circuit][*phase as usize]).min();
        one.path.iter().filter_map(on).min().unwrap_or(0)
    }

    fn take(&mut self, one: &Asking<'_>, charge: i64) {
        for circuit in &one.path {
            for phase in &one.charger.phases {
                self.left[*circuit][*phase as usize] -= charge;
            }
        }
    }
}

/// When the value of an index begins to hold, seconds from now, rounded up.
fn begins_s(series: &Series, index: usize, now: i64) -> i64 {
    let micros = series.begins(index).saturating_sub(now);
    micros / MICROS + i64::from(micros % MICROS > 0)
}

/// What each circuit's phases have over so many seconds: what is available, or a share of the limit.
fn charge(snapshot: &Snapshot, seconds: i64, percent_of_limit: Option<i64>) -> Vec<[i64; 3]> {
    let over = |current: &PerPhase, percent: i64| {
        Phase::ALL.map(|phase| {
            i64::from(current.on(phase).max(0)).saturating_mul(percent).saturating_mul(seconds) / 100
        })
    };
    let circuits = snapshot.circuits.iter();
    circuits
        .map(|circuit| match percent_of_limit {
            None => over(&circuit.available, 100),
            Some(percent) => over(&circuit.limit, percent),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use wattle_policy::kit::{Site, charger};
    use wattle_policy::{Signals, room};

    use super::*;

    const HOUR_S: i64 = 3_600;

    fn snapshot(prices: &[i64]) -> Snapshot {
        let mut snapshot = Site::new([20_000, 0, 0])
            .load("grid", [4_000, 0, 0])
            .charger(charger("a"))
            .charger(charger("b"))
            .snapshot();
        let price = Series { start: snapshot.now, step_ms: 3_600_000, values: prices.to_vec() };
        snapshot.signals = Signals { price: Some(price), ..Signals::default() };
        snapshot
    }

    /// Books `amp_hours` at up to 10 A until `ready_h` for one after the other.
    fn book(snapshot: &Snapshot, wants: &[(i64, i64)]) -> Vec<Booked> {
        let asking = room::asking(snapshot).expect("a tree");
        let mut hours = Hours::of(snapshot, 9 * HOUR_S, 50).expect("a price now");
        let want = |(amp_hours, ready_h)| Want {
            charge: amp_hours * 1_000 * HOUR_S,
            most: 10_000,
            ready_s: ready_h * HOUR_S,
        };
        wants.iter().map(|one| hours.book(&asking[0], want(*one))).collect()
    }

    fn at(first_h: i64) -> Booked {
        Booked { first_s: Some(first_h * HOUR_S), missing: 0 }
    }

    #[test]
    fn the_cheapest_hours_are_booked_until_they_are_full() {
        let snapshot = snapshot(&[30, 10, 20, 10, 5]);
        assert_eq!(book(&snapshot, &[(10, 4), (5, 4), (5, 4), (5, 4)]), [at(1), at(3), at(3), at(2)]);
        assert_eq!(book(&snapshot, &[(10, 5), (10, 5)]), [at(4), at(1)]);
    }

    #[test]
    fn now_has_what_is_available_and_later_a_share_of_the_limit() {
        let snapshot = snapshot(&[5, 30]);
        assert_eq!(book(&snapshot, &[(10, 2), (6, 2), (1, 2)]), [at(0), at(0), at(1)]);
    }

    #[test]
    fn what_finds_no_room_in_time_is_missing() {
        let snapshot = snapshot(&[30, 10]);
        let missing = |amp_hours: i64| amp_hours * 1_000 * HOUR_S;
        assert_eq!(book(&snapshot, &[(25, 2)]), [Booked { missing: missing(5), ..at(0) }]);
        let four = book(&snapshot, &[(10, 2), (10, 2), (10, 2), (10, 2)]);
        assert_eq!(four[2], Booked { missing: missing(4), ..at(0) });
        assert_eq!(four[3], Booked { missing: missing(10), first_s: None });
        assert_eq!(book(&snapshot, &[(10, -3)])[0].first_s, Some(0), "late");
    }

    #[test]
    fn time_without_a_price_is_dearer_than_all_other() {
        let snapshot = snapshot(&[90, 95]);
        assert_eq!(book(&snapshot, &[(20, 9), (6, 9), (10, 9)]), [at(0), at(0), at(2)]);
    }

    #[test]
    fn without_a_price_now_there_are_no_hours() {
        let mut snapshot = snapshot(&[1, 2]);
        for moment in [-1, 7_200_000_000] {
            let mut other = snapshot.clone();
            other.now += moment;
            assert!(Hours::of(&other, HOUR_S, 50).is_none());
        }
        snapshot.signals.price = None;
        assert!(Hours::of(&snapshot, HOUR_S, 50).is_none());
    }

    #[test]
    fn hours_are_bounded_and_absurd_ones_do_not_overflow() {
        let many = snapshot(&[7; 5_000]);
        let hours = Hours::of(&many, i64::MAX / 2, 50).expect("a price now");
        assert_eq!(hours.list.len(), MOST + 1);
        let mut ages = snapshot(&[9, 1, 1]);
        let price = Series { start: 0, step_ms: i64::MAX / 1_000, values: vec![9, 1, 1] };
        ages.signals.price = Some(price);
        let asking = room::asking(&ages).expect("a tree");
        let mut hours = Hours::of(&ages, i64::MAX / 1_000_000, 100).expect("a price now");
        let booked = hours.book(&asking[0], Want { charge: i64::MAX, most: i32::MAX, ready_s: i64::MAX });
        assert!(booked.first_s.is_some());
    }
}
