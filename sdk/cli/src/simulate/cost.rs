//! What the energy costs that flows, and how much of it is the site's own surplus.
//!
//! Energy is power times time, in microjoules, between any two changes of power or price; money is in millionths of the
//! currency, rounded once, at the end. All energy is paid for, surplus too: what it is worth otherwise is the owner's to say.

use std::path::Path;

use super::series::{Quantity, Values};
use crate::Usage;

/// Microjoules of a kWh.
const KWH_UJ: i128 = 3_600_000_000_000;
/// Microjoules of a Wh.
const WH_UJ: i128 = 3_600_000_000;

/// What is known of the world outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outside {
    /// What energy costs.
    pub prices: Option<Values>,
    /// What the site has to spare.
    pub surplus: Option<Values>,
}

impl Outside {
    /// Reads the files that there are; `zone` is that of the site's clocks.
    ///
    /// # Errors
    /// [`Usage`] with the first line that makes no sense.
    pub fn read(prices: Option<&Path>, surplus: Option<&Path>, zone: &str) -> Result<Self, Usage> {
        let read =
            |path: Option<&Path>, quantity| path.map(|path| Values::read(path, zone, quantity)).transpose();
        Ok(Self { prices: read(prices, Quantity::Price)?, surplus: read(surplus, Quantity::Surplus)? })
    }
}

/// Adds up.
#[derive(Debug)]
pub struct Cost {
    outside: Outside,
    at_ms: u64,
    power_mw: i64,
    /// Microjoules times millionths of the currency per kWh.
    cost: i128,
    surplus_uj: i128,
}

impl Cost {
    /// Nothing flows yet.
    pub fn new(outside: Outside, at_ms: u64) -> Self {
        Self { outside, at_ms, power_mw: 0, cost: 0, surplus_uj: 0 }
    }

    /// From a moment on so much power more flows.
    pub fn add(&mut self, at_ms: u64, more_mw: i64) {
        if more_mw != 0 {
            self.advance(at_ms);
            self.power_mw += more_mw;
        }
    }

    /// What everything until a moment has cost, millionths of the currency; none where no prices are known.
    pub fn micros(&mut self, at_ms: u64) -> Option<i64> {
        self.advance(at_ms);
        self.outside.prices.as_ref()?;
        i64::try_from((self.cost + KWH_UJ / 2).div_euclid(KWH_UJ)).ok()
    }

    /// How much of it the surplus covered, Wh; none where none is known.
    pub fn surplus_wh(&mut self, at_ms: u64) -> Option<i64> {
        self.advance(at_ms);
        self.outside.surplus.as_ref()?;
        i64::try_from(self.surplus_uj / WH_UJ).ok()
    }

    fn advance(&mut self, to_ms: u64) {
        while self.at_ms < to_ms {
            if self.power_mw == 0 {
                self.at_ms = to_ms;
                return;
            }
            let next = Values::next_ms(self.at_ms).min(to_ms);
            let span = i128::from(next - self.at_ms);
            let value = |values: &Option<Values>| values.as_ref().and_then(|values| values.at(self.at_ms));
            let (price, surplus_w) = (value(&self.outside.prices), value(&self.outside.surplus));
            self.cost += i128::from(self.power_mw) * span * i128::from(price.unwrap_or(0));
            let covered_mw = self.power_mw.min(surplus_w.unwrap_or(0) * 1000);
            self.surplus_uj += i128::from(covered_mw) * span;
            self.at_ms = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn values(folder: &Path, text: &str, quantity: Quantity) -> Option<Values> {
        let path = folder.join("values.csv");
        std::fs::write(&path, text).expect("written");
        Values::read(&path, "UTC", quantity).ok()
    }

    #[test]
    fn energy_is_paid_at_the_price_of_its_moment() {
        let folder = tempfile::tempdir().expect("folder");
        let prices = values(folder.path(), "from,price_per_kwh\n00:00,0.10\n01:00,0.50\n", Quantity::Price);
        let surplus = values(folder.path(), "from,surplus_w\n00:00,0\n01:30,1000\n", Quantity::Surplus);
        let mut cost = Cost::new(Outside { prices, surplus }, HOUR / 2);
        cost.add(HOUR / 2, 2_000_000);
        cost.add(3 * HOUR / 2, 2_000_000);
        cost.add(2 * HOUR, -4_000_000);
        // 1 kWh at 0.10, 1 kWh at 0.50, 2 kWh at 0.50.
        assert_eq!(cost.micros(5 * HOUR), Some(1_600_000));
        assert_eq!(cost.surplus_wh(5 * HOUR), Some(500));
    }

    #[test]
    fn where_nothing_is_known_nothing_is_said() {
        let mut cost = Cost::new(Outside::default(), 0);
        cost.add(0, 1_000_000);
        assert_eq!((cost.micros(HOUR), cost.surplus_wh(HOUR)), (None, None));
    }
}
