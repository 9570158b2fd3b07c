//! The last decisions of a site with what each was made on, for whoever asks another policy beside. `docs/edge.md` describes the page.
//!
//! Bounds: until somebody asks, only the last decision is kept; for [`WANTED_FOR`] after each question, the last [`MOST_KEPT`]. An answer
//! has decisions from the number that was asked for on, up to [`MOST_CHARGERS`] chargers in all, but at least one decision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wattle_wire::policy::Snapshot;
use wattle_wire::row::{DecidedCharger, Decision};

/// How long decisions are kept for somebody who has asked.
const WANTED_FOR: Duration = Duration::from_secs(60);
/// How many; whoever asks too seldom misses the older ones.
const MOST_KEPT: usize = 32;
/// Chargers of the snapshots of an answer; at most about 4 MB of JSON.
const MOST_CHARGERS: usize = 8_000;

/// A decision.
#[derive(Clone)]
pub struct Decided {
    /// What it was made on.
    pub snapshot: Arc<Snapshot>,
    /// The last one that was recorded, which has decided the same.
    pub recorded: Option<Arc<Decision>>,
}

/// The last decisions of a site, numbered from 0 in each run of the node.
#[derive(Default)]
pub struct Recent {
    /// The last one is the newest.
    kept: VecDeque<Decided>,
    next: u64,
    wanted_until: Option<Instant>,
}

impl Recent {
    /// Takes the newest decision.
    pub fn take(&mut self, decided: Decided, now: Instant) {
        let is_wanted = self.wanted_until.is_some_and(|until| now < until);
        let others = if is_wanted { MOST_KEPT - 1 } else { 0 };
        self.kept.drain(..self.kept.len().saturating_sub(others));
        self.kept.push_back(decided);
        self.next += 1;
    }

    /// The newest.
    pub fn last(&self) -> Option<&Decided> {
        self.kept.back()
    }

    /// The decisions from a number on, or the newest, with their numbers, and the number that the one after them has or will have.
    pub fn from(&mut self, number: Option<u64>, now: Instant) -> (Vec<(u64, Decided)>, u64) {
        self.wanted_until = Some(now + WANTED_FOR);
        let first = self.next - self.kept.len() as u64;
        let from = number.unwrap_or(self.next.saturating_sub(1)).clamp(first, self.next);
        let (mut chargers, mut page) = (0, Vec::new());
        for (number, decided) in (first..).zip(&self.kept).filter(|(number, _)| *number >= from) {
            chargers += decided.snapshot.chargers.len();
            if chargers > MOST_CHARGERS && !page.is_empty() {
                break;
            }
            page.push((number, decided.clone()));
        }
        let next = from + page.len() as u64;
        (page, next)
    }
}

/// A decision as the page shows it.
pub fn page(number: u64, decided: &Decided) -> Value {
    let recorded = decided.recorded.as_deref();
    let charger = |charger: &DecidedCharger| {
        json!({
            "charger": charger.charger,
            "proposed_ma": charger.proposed_ma,
            "setpoint_ma": charger.setpoint_ma,
            "reason": charger.reason,
        })
    };
    json!({
        "number": number,
        "cause": recorded.map(|decision| decision.cause.as_str()),
        "policy": recorded.map(|decision| decision.policy.as_str()),
        "chargers": recorded.iter().flat_map(|decision| &decision.chargers).map(charger).collect::<Vec<_>>(),
        "snapshot": *decided.snapshot,
    })
}

#[cfg(test)]
mod tests {
    use wattle_wire::policy::Signals;
    use wattle_wire::{Micros, Millis, SiteId};

    use super::*;

    fn decided(at: i64, chargers: usize) -> Decided {
        let charger = json!({
            "id": "cp-1", "circuit": 0, "phases": ["L1"], "state": "charging", "online": true, "min_ma": 6000, "max_ma": 16000,
            "step_ma": 1000, "safe_ma": 0, "setpoint_ma": 0, "draw_ma": [0, 0, 0], "priority": 0, "session": null
        });
        let charger = serde_json::from_value(charger).expect("a charger");
        let snapshot = Snapshot {
            site: SiteId::new("depot").expect("a name"),
            now_us: Micros(at),
            interval_ms: Millis(1_000),
            circuits: Vec::new(),
            chargers: vec![charger; chargers],
            signals: Signals::default(),
        };
        Decided { snapshot: Arc::new(snapshot), recorded: None }
    }

    fn numbers(recent: &mut Recent, from: Option<u64>, now: Instant) -> (Vec<u64>, u64) {
        let (page, next) = recent.from(from, now);
        assert!(page.iter().all(|(number, decided)| decided.snapshot.now_us.0 == *number as i64));
        (page.into_iter().map(|(number, _)| number).collect(), next)
    }

    #[test]
    fn only_the_last_is_kept_until_somebody_asks_and_again_once_nobody_does() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        assert_eq!(numbers(&mut recent, None, begin), (vec![], 0));
        let recent_of = |recent: &mut Recent, numbers: std::ops::Range<u64>, now| {
            numbers.for_each(|number| recent.take(decided(number as i64, 1), now));
        };
        let long_after = begin + WANTED_FOR;
        recent_of(&mut recent, 0..5, long_after);
        assert_eq!(recent.kept.len(), 1);
        assert_eq!(numbers(&mut recent, None, begin), (vec![4], 5));
        recent_of(&mut recent, 5..8, begin);
        assert_eq!(numbers(&mut recent, Some(5), begin), (vec![5, 6, 7], 8));
        assert_eq!(numbers(&mut recent, Some(8), begin), (vec![], 8), "there is none yet");
        assert_eq!(numbers(&mut recent, Some(0), begin), (vec![4, 5, 6, 7], 8), "what is gone is left out");
        assert_eq!(numbers(&mut recent, Some(u64::MAX), begin), (vec![], 8));
        recent_of(&mut recent, 8..9, long_after);
        assert_eq!(recent.kept.len(), 1);
    }

    #[test]
    fn what_is_kept_and_what_is_answered_is_bounded() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.from(None, now);
        (0..100).for_each(|number| recent.take(decided(number, MOST_CHARGERS / 2), now));
        assert_eq!(recent.kept.len(), MOST_KEPT);
        assert_eq!(numbers(&mut recent, Some(0), now), (vec![68, 69], 70), "what fits");
        recent.take(decided(100, MOST_CHARGERS + 1), now);
        assert_eq!(numbers(&mut recent, Some(100), now), (vec![100], 101), "one in any case");
    }
}
