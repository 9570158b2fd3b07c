//! Room: who asks, and what of the circuits is left while they are given theirs.
//!
//! What policies have in common. [`asking()`] lists the chargers that ask, and a policy sorts them as it sees fit.
//! A [`Room`] then gives them current, and never more than every phase of every circuit above them has:
//!
//! - [`Room::admit`] gives a charger the least that it can charge with, if that fits;
//! - [`Room::fill`] gives one as much more as fits, [`Room::fill_evenly`] shares what is left among several;
//! - [`Room::reason`] says why a charger got what it got.
//!
//! All amounts are whole numbers of the charger's step. Chargers are named by their *position* in the order
//! that the policy has made.
//!
//! ```
//! use wattle_policy::{kit::Site, room::{self, Room}};
//!
//! let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").asking("c").snapshot();
//! let order = room::asking(&snapshot).unwrap();
//! let mut room = Room::new(&snapshot, &order);
//! let admitted: Vec<usize> = (0..order.len()).filter(|position| room.admit(*position)).collect();
//! room.fill_evenly(&admitted);
//! assert_eq!([0, 1, 2].map(|position| room.amount(position)), [9_000, 8_000, 0]);
//! assert_eq!(room.reason(0), "9 A: shares 17 A on grid L1 with 1 other");
//! assert_eq!(room.reason(2), "standby: 5 A is left on grid L1, it needs 6 A");
//! ```

mod asking;
mod even;
#[cfg(test)]
mod tests;

use crate::text::{amps, number};
use crate::{Allocation, Phase, Snapshot};

pub use asking::{Asking, asking, staying};

/// What is left, and who has got what.
///
/// ```
/// use wattle_policy::{kit::Site, room::{self, Room}};
///
/// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
/// let order = room::asking(&snapshot).unwrap();
/// let mut room = Room::new(&snapshot, &order);
/// assert!(room.admit(0) && room.admit(1));
/// assert_eq!(room.given(), 12_000);
/// ```
#[derive(Debug, Clone)]
pub struct Room<'a> {
    snapshot: &'a Snapshot,
    order: &'a [Asking<'a>],
    seats: Vec<Seat>,
    /// What is left of each phase of each circuit, mA; see [`place`].
    left: Vec<i64>,
    /// How many charge there.
    among: Vec<u32>,
    /// How many charge at all.
    charging: u32,
    total: Option<Total>,
}

/// What a charger has.
#[derive(Debug, Clone, Default)]
struct Seat {
    /// The phases of the circuits that it loads, its own circuit first.
    places: Vec<usize>,
    /// 0 until it is admitted.
    amount: i32,
    /// Why it was not admitted.
    shortage: Option<Shortage>,
}

#[derive(Debug, Clone, Copy)]
struct Shortage {
    stop: Stop,
    left: i64,
}

/// A bound on all chargers and phases together.
#[derive(Debug, Clone, Copy)]
struct Total {
    left: i64,
    name: &'static str,
}

/// What keeps a charger from a step more.
///
/// ```
/// use wattle_policy::{Phase, kit::Site, room::{self, Room, Stop}};
///
/// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
/// let order = room::asking(&snapshot).unwrap();
/// let mut room = Room::new(&snapshot, &order);
/// room.admit(0);
/// room.fill(0);
/// assert_eq!(room.stop(0), Some(Stop::Circuit { circuit: 0, phase: Phase::L1 }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its own maximum.
    Maximum,
    /// A phase of a circuit.
    Circuit {
        /// Index of the circuit.
        circuit: usize,
        /// The phase.
        phase: Phase,
    },
    /// The bound on all together.
    Total,
}

/// Where a phase of a circuit stands in the lists of a room.
fn place(circuit: usize, phase: Phase) -> usize {
    circuit * 3 + phase as usize
}

impl<'a> Room<'a> {
    /// A room in which nobody has anything yet. A circuit that is overdrawn has nothing to give.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let room = Room::new(&snapshot, &order);
    /// assert_eq!((room.given(), room.amount(0)), (0, 0));
    /// ```
    pub fn new(snapshot: &'a Snapshot, order: &'a [Asking<'a>]) -> Self {
        let circuits = snapshot.circuits.iter();
        let left = circuits.flat_map(|circuit| Phase::ALL.map(|phase| circuit.available.on(phase).max(0)));
        let left: Vec<i64> = left.map(i64::from).collect();
        let seat = |one: &Asking<'_>| Seat { places: one.places(), ..Seat::default() };
        Self {
            snapshot,
            order,
            seats: order.iter().map(seat).collect(),
            among: vec![0; left.len()],
            left,
            charging: 0,
            total: None,
        }
    }

    /// From now on gives at most this much to all together, mA summed over phases and chargers; what was given
    /// before doesn't count. `name` is what reasons call it.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.limit_total(6_000, "the surplus");
    /// assert!(room.admit(0) && !room.admit(1));
    /// assert_eq!(room.reason(1), "standby: 0 A is left on the surplus, it needs 6 A");
    /// ```
    pub fn limit_total(&mut self, milliamps: i64, name: &'static str) {
        self.total = Some(Total { left: milliamps.max(0), name });
    }

    /// What a charger has, mA; 0 if it was not admitted.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// assert_eq!([room.amount(0), room.amount(1)], [6_000, 0]);
    /// ```
    pub fn amount(&self, position: usize) -> i32 {
        self.seats[position].amount
    }

    /// What all have together, mA summed over phases and chargers.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// room.fill(0);
    /// assert_eq!(room.given(), 17_000);
    /// ```
    pub fn given(&self) -> i64 {
        let given = |(one, seat): (&Asking<'_>, &Seat)| i64::from(seat.amount) * one.loads();
        self.order.iter().zip(&self.seats).map(given).sum()
    }

    /// Gives a charger the least that it can charge with, if that fits and it has nothing yet; whether it has
    /// something now.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// room.fill(0);
    /// assert!(!room.admit(1), "nothing is left");
    /// ```
    pub fn admit(&mut self, position: usize) -> bool {
        if self.seats[position].amount > 0 {
            return true;
        }
        let Some(least) = self.order[position].least else { return false };
        if let Some(shortage) = self.shortage(position, least) {
            self.seats[position].shortage = Some(shortage);
            return false;
        }
        self.give(position, least);
        self.charging += 1;
        for place in &self.seats[position].places {
            self.among[*place] += 1;
        }
        true
    }

    /// Whether [`Room::admit`] would give a charger something, or has.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([10_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// assert!(room.fits(0) && room.fits(1));
    /// room.admit(1);
    /// assert!(!room.fits(0) && room.fits(1));
    /// ```
    pub fn fits(&self, position: usize) -> bool {
        let fits = |least| self.shortage(position, least).is_none();
        self.seats[position].amount > 0 || self.order[position].least.is_some_and(fits)
    }

    /// Gives a charger that was admitted as much more as fits.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// room.admit(1);
    /// room.fill(0);
    /// assert_eq!([room.amount(0), room.amount(1)], [11_000, 6_000]);
    /// ```
    pub fn fill(&mut self, position: usize) {
        let (one, seat) = (&self.order[position], &self.seats[position]);
        if seat.amount == 0 {
            return;
        }
        let free = seat.places.iter().map(|place| self.left[*place]).min().unwrap_or(0);
        let free = self.total.map_or(free, |total| free.min(total.left / one.loads()));
        let steps = free.min(i64::from(one.most() - seat.amount)) / i64::from(one.step());
        self.give(position, seat.amount + steps as i32 * one.step());
    }

    /// What keeps a charger that was admitted from a step more; none if nothing does.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room, Stop}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// assert_eq!(room.stop(0), None);
    /// room.limit_total(0, "the surplus");
    /// assert_eq!(room.stop(0), Some(Stop::Total));
    /// ```
    pub fn stop(&self, position: usize) -> Option<Stop> {
        let (one, amount) = (&self.order[position], self.seats[position].amount);
        if amount >= one.most() {
            return Some(Stop::Maximum);
        }
        self.shortage(position, one.step()).map(|shortage| shortage.stop)
    }

    /// Why a charger has what it has, in at most 200 bytes with names of at most 64.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// room.fill(0);
    /// assert_eq!(room.reason(0), "17 A: alone has 17 A on grid L1");
    /// ```
    pub fn reason(&self, position: usize) -> String {
        let seat = &self.seats[position];
        match (seat.amount, seat.shortage) {
            (0, _) if self.order[position].least.is_none() => "standby: its range has no whole step".into(),
            (0, Some(Shortage { stop, left })) => {
                let mut text = String::with_capacity(128);
                text += "standby: ";
                text += &amps(clamp(left));
                text += " is left on ";
                self.push_name(&mut text, stop);
                text += ", it needs ";
                text += &amps(self.order[position].least.unwrap_or(0));
                text
            }
            (0, None) => "standby".into(),
            (amount, _) => self.why(position, amps(amount)),
        }
    }

    /// The allocations of all who ask, in the order of the snapshot.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(1);
    /// let allocations = room.allocations(|position| room.reason(position));
    /// assert_eq!([allocations[0].limit, allocations[1].limit], [0, 6_000]);
    /// ```
    pub fn allocations(&self, reason: impl Fn(usize) -> String) -> Vec<Allocation> {
        let mut positions = vec![None; self.snapshot.chargers.len()];
        for (position, one) in self.order.iter().enumerate() {
            positions[one.index] = Some(position);
        }
        let allocation = |position: usize| Allocation {
            charger: self.order[position].index as u32,
            limit: self.seats[position].amount,
            reason: reason(position),
        };
        positions.into_iter().flatten().map(allocation).collect()
    }

    fn why(&self, position: usize, mut text: String) -> String {
        let Some(stop) = self.stop(position) else { return text };
        let among = match stop {
            Stop::Maximum => return text + ": its maximum",
            Stop::Total => self.charging,
            Stop::Circuit { circuit, phase } => self.among[place(circuit, phase)],
        };
        text.reserve(96);
        text += if among > 1 { ": shares " } else { ": alone has " };
        if let Stop::Circuit { circuit, phase } = stop {
            text += &amps(self.snapshot.circuits[circuit].available.on(phase));
            text += " on ";
        }
        self.push_name(&mut text, stop);
        match among {
            0 | 1 => {}
            2 => text += " with 1 other",
            more => {
                text += " with ";
                text += &number(u64::from(more) - 1);
                text += " others";
            }
        }
        text
    }

    fn push_name(&self, text: &mut String, stop: Stop) {
        match stop {
            Stop::Maximum => text.push_str("the charger"),
            Stop::Circuit { circuit, phase } => {
                text.push_str(&self.snapshot.circuits[circuit].id);
                text.push(' ');
                text.push_str(phase.name());
            }
            Stop::Total => text.push_str(self.total.map_or("", |total| total.name)),
        }
    }

    /// Where there is less left than `amount` more for a charger.
    fn shortage(&self, position: usize, amount: i32) -> Option<Shortage> {
        let amount = i64::from(amount);
        let short = |place: &&usize| self.left[**place] < amount;
        if let Some(place) = self.seats[position].places.iter().find(short) {
            let stop = Stop::Circuit { circuit: place / 3, phase: Phase::ALL[place % 3] };
            return Some(Shortage { stop, left: self.left[*place] });
        }
        let loads = self.order[position].loads();
        let total = self.total.filter(|total| total.left < amount * loads)?;
        Some(Shortage { stop: Stop::Total, left: total.left / loads })
    }

    fn can_rise(&self, position: usize) -> bool {
        self.seats[position].amount > 0 && self.stop(position).is_none()
    }

    /// Sets what a charger has; the caller has seen that it fits.
    fn give(&mut self, position: usize, amount: i32) {
        let seat = &mut self.seats[position];
        let more = i64::from(amount) - i64::from(seat.amount);
        seat.amount = amount;
        for place in &seat.places {
            self.left[*place] -= more;
        }
        if let Some(total) = &mut self.total {
            total.left -= more * self.order[position].loads();
        }
    }
}

fn clamp(milliamps: i64) -> i32 {
    i32::try_from(milliamps).unwrap_or(i32::MAX)
}
