//! How vehicles are served: how long they wait, and how often they are put on standby.
//!
//! A vehicle *asks* from when it is started until it has what it takes or leaves. While it asks and draws nothing it
//! stands by. Told from what flows, not from setpoints.

/// How all of them were served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Stays in which a vehicle asked.
    pub asked: u64,
    /// From when they asked to when they first drew, or to their end where they never did, all together.
    pub wait_ms: u64,
    /// For how long they stood by while they asked, all together.
    pub standby_ms: u64,
    /// How often one that drew had to stop while it asked.
    pub switches: u64,
    /// Stays in which a vehicle asked and never drew.
    pub never: u64,
}

/// A vehicle that asks.
#[derive(Debug, Clone, Copy)]
struct Asking {
    since_ms: u64,
    has_drawn: bool,
    /// Since when it stands by.
    idle_since_ms: Option<u64>,
}

/// The observer.
#[derive(Debug)]
pub struct Service {
    asking: Vec<Option<Asking>>,
    served: Served,
}

impl Service {
    /// Of so many chargers.
    pub fn new(chargers: usize) -> Self {
        Self { asking: vec![None; chargers], served: Served::default() }
    }

    /// Looks at a charger, after each change of what its vehicle wants or draws.
    pub fn look(&mut self, charger: usize, at_ms: u64, asks: bool, draws: bool) {
        let one = &mut self.asking[charger];
        if !asks {
            if let Some(one) = one.take() {
                self.served.end(one, at_ms);
            }
            return;
        }
        let one = one.get_or_insert(Asking { since_ms: at_ms, has_drawn: false, idle_since_ms: Some(at_ms) });
        match (draws, one.idle_since_ms) {
            (true, Some(since)) => {
                self.served.standby_ms += at_ms - since;
                if !one.has_drawn {
                    self.served.wait_ms += at_ms - one.since_ms;
                }
                (one.has_drawn, one.idle_since_ms) = (true, None);
            }
            (false, None) => {
                self.served.switches += 1;
                one.idle_since_ms = Some(at_ms);
            }
            _ => {}
        }
    }

    /// How all vehicles whose stays have ended were served.
    pub fn served(&self) -> Served {
        self.served
    }
}

impl Served {
    fn end(&mut self, one: Asking, at_ms: u64) {
        self.asked += 1;
        self.standby_ms += one.idle_since_ms.map_or(0, |since| at_ms - since);
        if !one.has_drawn {
            self.wait_ms += at_ms - one.since_ms;
            self.never += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(looks: &[(u64, bool, bool)], expected: Served) {
        let mut service = Service::new(1);
        for (at_ms, asks, draws) in looks {
            service.look(0, *at_ms, *asks, *draws);
        }
        assert_eq!(service.served(), expected);
    }

    #[test]
    fn a_wait_ends_with_the_first_draw_and_standby_counts_each_time() {
        check(
            &[
                (10, true, false),
                (30, true, true),
                (40, true, true),
                (50, true, false),
                (60, true, false),
                (80, true, true),
                (90, false, false),
            ],
            Served { asked: 1, wait_ms: 20, standby_ms: 50, switches: 1, never: 0 },
        );
    }

    #[test]
    fn one_that_never_draws_waits_for_all_of_its_stay_and_one_that_does_not_ask_not_at_all() {
        let never = Served { asked: 1, wait_ms: 90, standby_ms: 90, switches: 0, never: 1 };
        check(&[(10, true, false), (100, false, false), (110, false, false)], never);
        check(&[(10, false, false), (20, false, false)], Served::default());
    }

    #[test]
    fn one_that_draws_until_it_leaves_is_not_switched() {
        let served = Served { asked: 1, ..Served::default() };
        check(&[(10, true, true), (100, false, false)], served);
    }
}
