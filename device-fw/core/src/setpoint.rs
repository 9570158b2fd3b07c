//! Which setpoint a charger obeys, and until when.
//!
//! A setpoint names the last message of the device that the edge had seen. The device remembers when it sent its
//! latest messages, so its own clock tells how old the setpoint is at most, however long that was queued
//! somewhere. It holds for its validity from that moment, not from its arrival.
//!
//! What is forgotten after a restart doesn't matter: a setpoint from before names a message of another start.
//! The sending time of a message is that of its first try: a later one could only make a setpoint look younger.

use alloc::collections::VecDeque;

use wattle_wire::Milliamps;
use wattle_wire::message::{Number, Refusal, Setpoint};

/// The setpoint in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Its number.
    pub number: u64,
    /// The most on each phase.
    pub limit_ma: Milliamps,
    /// From this moment on it no longer holds.
    pub expires_ms: u64,
}

/// The setpoints of one charger.
#[derive(Debug, Clone)]
pub struct Setpoints {
    boot: u32,
    numbered: bool,
    max_validity_ms: i64,
    remembered: usize,
    sends: VecDeque<(u64, u64)>,
    last: u64,
    in_force: Option<InForce>,
}

impl Setpoints {
    /// None in force. `remembered` is how many sending times are kept, at least one.
    pub fn new(boot: u32, numbered: bool, max_validity_ms: i64, remembered: usize) -> Self {
        Self {
            boot,
            numbered,
            max_validity_ms,
            remembered: remembered.max(1),
            sends: VecDeque::new(),
            last: 0,
            in_force: None,
        }
    }

    /// The message `seq` is being sent. Only its first time counts.
    pub fn sent(&mut self, seq: u64, now_ms: u64) {
        if self.sends.back().is_some_and(|(last, _)| *last >= seq) {
            return;
        }
        if self.sends.len() >= self.remembered {
            self.sends.pop_front();
        }
        self.sends.push_back((seq, now_ms));
    }

    /// Takes a setpoint, or says why not.
    ///
    /// # Errors
    /// The reason to put into the confirmation; what was in force stays so.
    pub fn offer(&mut self, setpoint: &Setpoint, now_ms: u64) -> Result<InForce, Refusal> {
        let validity = setpoint.validity_ms.0;
        if setpoint.limit_ma < Milliamps::ZERO || validity <= 0 || validity > self.max_validity_ms {
            return Err(Refusal::OutOfRange);
        }
        if setpoint.number <= self.last {
            return Err(Refusal::Superseded);
        }
        let since_ms = self.counts_from(setpoint.seen, now_ms).ok_or(Refusal::UnknownSeen)?;
        let expires_ms = since_ms.saturating_add(validity.unsigned_abs());
        if expires_ms <= now_ms {
            return Err(Refusal::Expired);
        }
        self.last = setpoint.number;
        let in_force = InForce { number: setpoint.number, limit_ma: setpoint.limit_ma, expires_ms };
        self.in_force = Some(in_force);
        Ok(in_force)
    }

    fn counts_from(&self, seen: Option<Number>, now_ms: u64) -> Option<u64> {
        let Some(seen) = seen else {
            return (!self.numbered).then_some(now_ms);
        };
        if seen.boot != self.boot {
            return None;
        }
        let index = self.sends.binary_search_by_key(&seen.seq, |(seq, _)| *seq).ok()?;
        self.sends.get(index).map(|(_, sent)| *sent)
    }

    /// Lets go of a setpoint whose time is over; says whether there was one.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let over = self.in_force.is_some_and(|s| s.expires_ms <= now_ms);
        if over {
            self.in_force = None;
        }
        over
    }

    /// The setpoint in force.
    pub fn in_force(&self) -> Option<InForce> {
        self.in_force
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_wire::Millis;

    fn setpoint(number: u64, seq: u64) -> Setpoint {
        Setpoint {
            number,
            limit_ma: Milliamps(16_000),
            validity_ms: Millis(10_000),
            seen: Some(Number { boot: 3, seq }),
        }
    }

    /// A charger in its third start that sent message n at n seconds and remembers the last four of ten.
    fn charger() -> Setpoints {
        let mut setpoints = Setpoints::new(3, true, 3_600_000, 4);
        (1..=10).for_each(|n| setpoints.sent(n, n * 1000));
        setpoints
    }

    fn check(offered: Setpoint, now_ms: u64, expected: Result<u64, Refusal>) {
        assert_eq!(charger().offer(&offered, now_ms).map(|s| s.expires_ms), expected, "{offered:?}");
    }

    #[test]
    fn validity_counts_from_the_sending_of_the_message_that_it_names() {
        check(setpoint(1, 10), 10_001, Ok(20_000));
        check(setpoint(1, 7), 16_999, Ok(17_000));
    }

    #[test]
    fn one_whose_time_is_over_is_refused() {
        check(setpoint(1, 7), 17_000, Err(Refusal::Expired));
        check(setpoint(1, 10), 3_600_000, Err(Refusal::Expired));
    }

    #[test]
    fn one_that_names_a_message_of_another_start_or_a_forgotten_or_a_future_one_is_refused() {
        check(setpoint(1, 6), 10_001, Err(Refusal::UnknownSeen));
        check(setpoint(1, 11), 10_001, Err(Refusal::UnknownSeen));
        let other = Setpoint { seen: Some(Number { boot: 2, seq: 10 }), ..setpoint(1, 10) };
        check(other, 10_001, Err(Refusal::UnknownSeen));
        check(Setpoint { seen: None, ..setpoint(1, 10) }, 10_001, Err(Refusal::UnknownSeen));
    }

    #[test]
    fn limits_and_validities_out_of_range_are_refused() {
        let good = setpoint(1, 10);
        check(Setpoint { limit_ma: Milliamps(-1), ..good.clone() }, 10_001, Err(Refusal::OutOfRange));
        check(Setpoint { validity_ms: Millis(0), ..good.clone() }, 10_001, Err(Refusal::OutOfRange));
        check(Setpoint { validity_ms: Millis(i64::MIN), ..good.clone() }, 10_001, Err(Refusal::OutOfRange));
        check(Setpoint { validity_ms: Millis(3_600_001), ..good }, 10_001, Err(Refusal::OutOfRange));
    }

    #[test]
    fn an_equal_or_lower_number_is_superseded_even_when_the_last_one_has_expired() {
        let mut charger = charger();
        assert!(charger.offer(&setpoint(5, 10), 10_000).is_ok());
        assert_eq!(charger.offer(&setpoint(5, 10), 10_000), Err(Refusal::Superseded));
        assert!(charger.expire(20_000));
        charger.sent(11, 20_000);
        assert_eq!(charger.offer(&setpoint(4, 11), 20_001), Err(Refusal::Superseded));
        assert!(charger.offer(&setpoint(6, 11), 20_001).is_ok());
    }

    #[test]
    fn a_refused_one_leaves_what_is_in_force() {
        let mut charger = charger();
        let first = charger.offer(&setpoint(5, 10), 10_000).expect("fresh");
        charger.offer(&setpoint(6, 1), 10_000).expect_err("forgotten");
        assert_eq!(charger.in_force(), Some(first));
    }

    #[test]
    fn sending_again_does_not_make_a_setpoint_younger() {
        let mut charger = charger();
        charger.sent(10, 19_000);
        assert_eq!(charger.offer(&setpoint(1, 10), 20_000), Err(Refusal::Expired));
    }

    #[test]
    fn a_device_that_does_not_number_counts_from_arrival() {
        let mut charger = Setpoints::new(1, false, 3_600_000, 4);
        let offered = Setpoint { seen: None, ..setpoint(1, 1) };
        assert_eq!(charger.offer(&offered, 500).map(|s| s.expires_ms), Ok(10_500));
    }
}
