//! The setpoints that a charger may still act on.
//!
//! A setpoint counts from when it is sent until it expires, until the charger has confirmed a newer one, or
//! until the charger has refused it. A refusal of what the charger obeys, or has obeyed, counts for nothing:
//! a setpoint that is delivered twice is obeyed and then refused as superseded.
//!
//! What a charger may have been told before this machine was started is a reservation without a number: it ends with
//! the first confirmation, or one validity after the start. That the charger says to obey none doesn't end it: what
//! the earlier machine has sent may still be on its way.

use std::collections::VecDeque;

use wattle_wire::message::Refusal;
use wattle_wire::{Micros, Milliamps};

/// Setpoints that are kept one by one, and as many of those before them.
const MAX_SENT: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) limit: Milliamps,
    pub(super) sent_at: Micros,
    pub(super) expires_at: Micros,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub(super) sent: VecDeque<Sent>,
    /// Those for which there was no room: each with a higher limit than all that came after it. They end with the confirmation of
    /// any newer one.
    pub(super) older: Vec<Sent>,
    pub(super) inherited: Option<(Milliamps, Micros)>,
    pub(super) confirmed: u64,
}

impl Ledger {
    pub(super) fn inherit(&mut self, limit: Milliamps, expires_at: Micros) {
        self.inherited = Some((limit, expires_at));
    }

    /// Takes a setpoint that is sent at `now`. Expiries are counted on a time that never passes too fast, so they are
    /// another clock's.
    pub(super) fn push(&mut self, number: u64, limit: Milliamps, now: Micros, expires_at: Micros) {
        if self.sent.len() == MAX_SENT
            && let Some(oldest) = self.sent.pop_front()
        {
            self.put_aside(oldest);
        }
        self.sent.push_back(Sent { number, limit, sent_at: now, expires_at });
    }

    /// What a later one outlasts that allows as much is of no use. Of too many the lowest two become one.
    fn put_aside(&mut self, mut sent: Sent) {
        while let Some(before) = self.older.pop_if(|before| before.limit <= sent.limit) {
            sent =
                Sent { sent_at: before.sent_at, expires_at: before.expires_at.max(sent.expires_at), ..sent };
        }
        if self.older.len() == MAX_SENT
            && let Some(before) = self.older.pop()
        {
            sent = Sent { expires_at: sent.expires_at, ..before };
        }
        self.older.push(sent);
    }

    /// The charger obeys `number`, until then at the latest if the moment is given; whether that was news.
    pub(super) fn confirm(&mut self, number: u64, until: Option<Micros>) -> bool {
        let news = number > self.confirmed && self.sent.iter().any(|sent| sent.number == number);
        if news {
            self.confirmed = number;
            self.inherited = None;
            self.older.clear();
            self.sent.retain(|sent| sent.number >= number);
            if let (Some(sent), Some(until)) = (self.sent.front_mut(), until) {
                sent.expires_at = sent.expires_at.max(until);
            }
        }
        news
    }

    /// The charger will never obey `number`; unless it has confirmed that, or something newer, or says that
    /// it obeys something as new.
    pub(super) fn refuse(&mut self, number: u64, reason: Refusal) {
        if number > self.confirmed && reason != Refusal::Superseded {
            self.sent.retain(|sent| sent.number != number);
        }
    }

    pub(super) fn expire(&mut self, now: Micros) {
        self.sent.retain(|sent| sent.expires_at > now);
        self.older.retain(|older| older.expires_at > now);
        self.inherited = self.inherited.filter(|(_, expires_at)| *expires_at > now);
    }

    /// The most that the charger may draw by what it was told.
    pub(super) fn most(&self) -> Milliamps {
        let inherited = self.inherited.map_or(Milliamps::ZERO, |(limit, _)| limit);
        self.all().map(|sent| sent.limit).fold(inherited, Milliamps::max)
    }

    /// The same of what it was told until a moment, as far as that still counts.
    pub(super) fn most_at(&self, moment: Micros) -> Milliamps {
        let inherited = self.inherited.map_or(Milliamps::ZERO, |(limit, _)| limit);
        let told = self.all().filter(|sent| sent.sent_at <= moment);
        told.map(|sent| sent.limit).fold(inherited, Milliamps::max)
    }

    /// The newest setpoint.
    pub(super) fn newest(&self) -> Option<&Sent> {
        self.sent.back()
    }

    /// When the last of what it was told expires.
    pub(super) fn last_expiry(&self) -> Option<Micros> {
        let inherited = self.inherited.map(|(_, expires_at)| expires_at);
        self.all().map(|sent| sent.expires_at).chain(inherited).max()
    }

    /// Whether the newest setpoint is confirmed.
    pub(super) fn is_settled(&self) -> bool {
        self.newest().is_none_or(|sent| sent.number == self.confirmed)
    }

    /// Since when a setpoint waits for its confirmation.
    pub(super) fn unconfirmed_since(&self) -> Option<Micros> {
        self.all().find(|sent| sent.number > self.confirmed).map(|sent| sent.sent_at)
    }

    fn all(&self) -> impl Iterator<Item = &Sent> {
        self.older.iter().chain(&self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amps(amps: i32) -> Milliamps {
        Milliamps::from_amps(amps)
    }

    fn at(secs: i64) -> Micros {
        Micros::from_secs(secs)
    }

    #[test]
    fn a_higher_setpoint_counts_until_a_lower_one_is_confirmed() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(25), at(0), at(10));
        ledger.push(2, amps(12), at(1), at(11));
        assert_eq!((ledger.most(), ledger.newest().map(|s| s.limit)), (amps(25), Some(amps(12))));
        assert!(ledger.confirm(1, None));
        assert_eq!(ledger.most(), amps(25), "the confirmed one itself still counts");
        assert!(ledger.confirm(2, None));
        assert_eq!(ledger.most(), amps(12));
        assert!(!ledger.confirm(2, None) && !ledger.confirm(1, None));
    }

    #[test]
    fn a_number_that_was_never_sent_confirms_nothing() {
        let mut ledger = Ledger::default();
        ledger.inherit(amps(32), at(10));
        ledger.push(5, amps(6), at(0), at(10));
        assert!(!ledger.confirm(u64::MAX, None) && !ledger.confirm(4, None));
        assert_eq!(ledger.most(), amps(32));
        assert!(ledger.confirm(5, None));
        assert_eq!(ledger.most(), amps(6));
    }

    #[test]
    fn a_setpoint_counts_until_it_expires() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(25), at(0), at(10));
        ledger.expire(at(9));
        assert_eq!(ledger.most(), amps(25));
        ledger.expire(at(10));
        assert_eq!(ledger.most(), amps(0));
    }

    #[test]
    fn what_a_charger_without_numbers_confirms_counts_from_when_that_is_heard() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(25), at(0), at(10));
        ledger.push(2, amps(12), at(1), at(11));
        assert!(ledger.confirm(1, Some(at(14))));
        assert!(!ledger.confirm(1, Some(at(99))), "only the first time");
        ledger.expire(at(13));
        assert_eq!((ledger.most(), ledger.last_expiry()), (amps(25), Some(at(14))));
    }

    #[test]
    fn a_refused_setpoint_counts_no_more_and_the_one_before_it_does() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(25), at(0), at(10));
        ledger.push(2, amps(30), at(1), at(11));
        ledger.refuse(2, Refusal::Expired);
        assert_eq!((ledger.most(), ledger.newest().map(|s| s.number)), (amps(25), Some(1)));
    }

    #[test]
    fn a_second_delivery_that_is_refused_takes_nothing_from_what_the_charger_obeys() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(25), at(0), at(10));
        ledger.refuse(1, Refusal::Superseded);
        assert_eq!(ledger.most(), amps(25), "its confirmation was lost or is on its way");
        assert!(ledger.confirm(1, None));
        for reason in [Refusal::Superseded, Refusal::Expired, Refusal::UnknownSeen, Refusal::OutOfRange] {
            ledger.refuse(1, reason);
            assert_eq!((ledger.most(), ledger.is_settled()), (amps(25), true), "{reason:?}");
        }
    }

    #[test]
    fn many_unconfirmed_setpoints_never_count_less_than_their_highest() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(30), at(0), at(10));
        for number in 2..100 {
            ledger.push(number, amps(6), at(0), at(10));
        }
        assert_eq!((ledger.most(), ledger.sent.len()), (amps(30), MAX_SENT));
    }

    #[test]
    fn what_was_higher_ends_when_it_ends_however_often_something_lower_is_sent() {
        let mut ledger = Ledger::default();
        for second in 0..100 {
            let amps_then = if second < 13 {
                16
            } else if second < 30 {
                12
            } else {
                0
            };
            ledger.push(second as u64 + 1, amps(amps_then), at(second), at(second + 25));
            ledger.expire(at(second));
            let expected = if second < 37 {
                16
            } else if second < 54 {
                12
            } else {
                0
            };
            assert_eq!(ledger.most(), amps(expected), "{second}");
            assert!(ledger.older.len() <= 2);
        }
    }

    #[test]
    fn a_staircase_of_setpoints_is_kept_within_the_bound_and_never_counts_less_than_it_is() {
        let mut ledger = Ledger::default();
        for step in 0..100 {
            ledger.push(
                step as u64 + 1,
                Milliamps(32_000 - 100 * step),
                at(step.into()),
                at(i64::from(step) + 200),
            );
        }
        assert_eq!((ledger.older.len(), ledger.sent.len()), (MAX_SENT, MAX_SENT));
        for step in 0..100 {
            assert!(ledger.most() >= Milliamps(32_000 - 100 * step), "{step}");
            ledger.expire(at(i64::from(step) + 200));
        }
        assert_eq!(ledger.most(), amps(0));
    }

    #[test]
    fn what_has_no_room_of_its_own_is_not_ended_by_the_refusal_of_another() {
        let mut ledger = Ledger::default();
        ledger.push(1, amps(30), at(0), at(10));
        for number in 2..=MAX_SENT as u64 + 2 {
            ledger.push(number, amps(6), at(1), at(11));
        }
        for number in 2..=MAX_SENT as u64 + 2 {
            ledger.refuse(number, Refusal::Expired);
        }
        assert_eq!((ledger.most(), ledger.unconfirmed_since()), (amps(30), Some(at(0))));
        ledger.expire(at(11));
        assert_eq!(ledger.most(), amps(0));
    }
}
