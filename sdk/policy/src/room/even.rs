//! Even filling: max-min fairness in whole steps.
//!
//! What it gives is what one gets by this: again and again the charger that has least (of several, the first
//! in order) gets a step more, until nobody can have one. So nobody could have a step more without
//! someone having less who has no more than that already, and the remainder goes one step at a time, by order.
//!
//! It is found faster. Each place (a phase of a circuit, or the bound on all) has a level: the highest to which all
//! who rise there can be raised together. At the place of the lowest level they are raised to it and then, in order,
//! one step each; who can't have that step is done. That only raises the levels of other places, so a
//! level that was found stands as a lower bound until it is the lowest.

use super::Room;

/// A place and those of the chargers that rise there.
struct Shared {
    /// As in [`Room::left`], whose length stands for the bound on all together.
    place: usize,
    members: Vec<usize>,
    /// A level to which all of them can be raised.
    level: i64,
    /// Whether it is the highest such.
    is_highest: bool,
}

impl Room<'_> {
    /// Shares what is left evenly among those of `positions`, in their order, that were admitted.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, room::{self, Room}};
    ///
    /// let snapshot = Site::new([17_000, 0, 0]).asking("a").asking("b").snapshot();
    /// let order = room::asking(&snapshot).unwrap();
    /// let mut room = Room::new(&snapshot, &order);
    /// room.admit(0);
    /// room.admit(1);
    /// room.fill_evenly(&[0, 1]);
    /// assert_eq!([room.amount(0), room.amount(1)], [9_000, 8_000]);
    /// ```
    pub fn fill_evenly(&mut self, positions: &[usize]) {
        let mut rises = vec![false; self.seats.len()];
        for position in positions {
            rises[*position] = self.seats[*position].amount > 0;
        }
        let mut shared = self.shared(positions, &rises);
        let unit = self.common_step(positions);
        while let Some(level) = self.lowest_level(&mut shared, &rises, unit) {
            let mut stands = vec![false; self.seats.len()];
            for full in shared.iter().filter(|shared| shared.level == level) {
                full.members.iter().for_each(|position| stands[*position] = rises[*position]);
            }
            let standing = || positions.iter().copied().filter(|position| stands[*position]);
            for position in standing() {
                self.give(position, self.at_level(position, level) as i32);
            }
            for position in standing() {
                let amount = self.seats[position].amount;
                if i64::from(amount) > level {
                    continue;
                }
                rises[position] = self.can_rise(position);
                if rises[position] {
                    self.give(position, amount + self.order[position].step());
                }
            }
            shared.iter_mut().for_each(|shared| shared.is_highest = false);
        }
        for position in positions.iter().filter(|position| rises[**position]) {
            self.give(*position, self.order[*position].most());
        }
    }

    fn shared(&self, positions: &[usize], rises: &[bool]) -> Vec<Shared> {
        let amounts = positions.iter().filter(|position| rises[**position]);
        let lowest = amounts.map(|position| self.seats[*position].amount.into()).min().unwrap_or(0);
        let of = |place| Shared { place, members: Vec::new(), level: lowest, is_highest: false };
        let mut shared: Vec<Shared> = (0..=self.left.len()).map(of).collect();
        for position in positions.iter().filter(|position| rises[**position]) {
            for place in &self.seats[*position].places {
                shared[*place].members.push(*position);
            }
            if self.total.is_some() {
                shared[self.left.len()].members.push(*position);
            }
        }
        shared.retain(|shared| !shared.members.is_empty());
        shared
    }

    /// The lowest of all highest levels; places where all can have their maximum are dropped. None if none is left.
    fn lowest_level(&self, shared: &mut Vec<Shared>, rises: &[bool], unit: i64) -> Option<i64> {
        loop {
            let lowest = shared.iter().map(|shared| shared.level).min()?;
            if shared.iter().all(|shared| shared.is_highest || shared.level > lowest) {
                return Some(lowest);
            }
            shared.retain_mut(|shared| {
                shared.level > lowest || shared.is_highest || self.find_level(shared, rises, unit)
            });
        }
    }

    /// Finds the highest level of a place; false if all who rise there can have their maximum.
    fn find_level(&self, shared: &mut Shared, rises: &[bool], unit: i64) -> bool {
        shared.members.retain(|position| rises[*position]);
        let mosts = shared.members.iter().map(|position| i64::from(self.order[*position].most()));
        let top = mosts.max().unwrap_or(0);
        let (mut reach, mut widens) = (unit, true);
        while reach >= unit {
            let next = (shared.level + reach).min(top);
            if next > shared.level && self.fits_at(shared, next) {
                shared.level = next;
            } else {
                widens = false;
            }
            reach = if widens { reach * 2 } else { reach / 2 };
        }
        shared.is_highest = true;
        shared.level < top
    }

    fn fits_at(&self, shared: &Shared, level: i64) -> bool {
        let more =
            |position: &usize| self.at_level(*position, level) - i64::from(self.seats[*position].amount);
        if let Some(left) = self.left.get(shared.place) {
            return shared.members.iter().map(more).sum::<i64>() <= *left;
        }
        let loads = |position: &usize| more(position) * self.order[*position].loads();
        self.total.is_none_or(|total| shared.members.iter().map(loads).sum::<i64>() <= total.left)
    }

    /// What a charger has when all are at `level`: at least what it has, at most its maximum, in whole steps.
    fn at_level(&self, position: usize, level: i64) -> i64 {
        let one = &self.order[position];
        let (step, amount) = (i64::from(one.step()), i64::from(self.seats[position].amount));
        let steps = (level + step - 1) / step;
        (steps * step).min(one.most().into()).max(amount)
    }

    /// The largest current of which all their steps are multiples, mA.
    fn common_step(&self, positions: &[usize]) -> i64 {
        let steps = positions.iter().map(|position| i64::from(self.order[*position].step()));
        steps.fold(0, greatest_common_divisor).max(1)
    }
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
