//! Even filling: max-min fairness in whole steps.
//!
//! What it gives is what one gets by this: again and again the charger that has least (of several, the first
//! in order) gets a step more, until nobody can have one. So nobody could have a step more without
//! someone having less who has no more than that already, and the remainder goes one step at a time, by order.
//!
//! It is found faster: all who can still rise are raised at once to the highest level at which they all fit, then
//! one step each by order; who can't have that step is done. The work is levels x chargers x
//! depth of the tree, where levels is at most the number of steps between the least minimum and the highest
//! maximum, and of the circuits' phases that run out.

use super::Room;

impl Room<'_> {
    /// Shares what is left evenly among those of `positions`, in their order, that were admitted.
    pub fn fill_evenly(&mut self, positions: &[usize]) {
        let mut rising = positions.to_vec();
        let unit = self.common_step(&rising);
        let mut extra = vec![0; self.left.len()];
        loop {
            rising.retain(|position| self.can_rise(*position));
            let Some(lowest) = rising.iter().map(|position| self.seats[*position].amount).min() else {
                return;
            };
            let level = self.highest_level(&rising, lowest.into(), unit, &mut extra);
            for position in &rising {
                self.give(*position, self.at_level(*position, level) as i32);
            }
            for position in &rising {
                let amount = self.seats[*position].amount;
                if i64::from(amount) == level && self.can_rise(*position) {
                    self.give(*position, amount + self.order[*position].step());
                }
            }
        }
    }

    /// The highest level, in whole units from `from` on, to which all of `rising` can be raised together.
    fn highest_level(&self, rising: &[usize], from: i64, unit: i64, extra: &mut [i64]) -> i64 {
        let mosts = rising.iter().map(|position| i64::from(self.order[*position].most()));
        let top = mosts.max().unwrap_or(from);
        let (mut level, mut reach, mut widens) = (from, unit, true);
        while reach >= unit {
            let next = (level + reach).min(top);
            if next > level && self.fits_at(rising, next, extra) {
                level = next;
            } else {
                widens = false;
            }
            reach = if widens { reach * 2 } else { reach / 2 };
        }
        level
    }

    fn fits_at(&self, rising: &[usize], level: i64, extra: &mut [i64]) -> bool {
        extra.fill(0);
        let mut total = 0;
        for position in rising {
            let seat = &self.seats[*position];
            let more = self.at_level(*position, level) - i64::from(seat.amount);
            for place in &seat.places {
                extra[*place] += more;
            }
            total += more * self.order[*position].loads();
        }
        let fits = extra.iter().zip(&self.left).all(|(extra, left)| extra <= left);
        fits && self.total.is_none_or(|bound| total <= bound.left)
    }

    /// What a charger has when all are at `level`: at least what it has, at most its maximum, in whole steps.
    fn at_level(&self, position: usize, level: i64) -> i64 {
        let one = &self.order[position];
        let (step, amount) = (i64::from(one.step()), i64::from(self.seats[position].amount));
        let steps = (level + step - 1).div_euclid(step);
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
