//! What happened when: energy and waiting vehicles, in equal steps of time.

use serde::Serialize;

/// The lengths that a step may have, s.
const STEPS_S: [u64; 7] = [60, 300, 900, 3_600, 6 * 3_600, 86_400, 7 * 86_400];
/// The most steps of a course.
const MOST_STEPS: u64 = 800;
const MICROJOULES_PER_WATT_HOUR: f64 = 3_600_000_000.0;

/// When a course begins and how long its steps are, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// When the first step begins; a whole number of steps since 1970.
    pub from_ms: u64,
    /// How long each is.
    pub step_ms: u64,
    /// How many there are.
    pub count: usize,
}

impl Steps {
    /// The steps that cover a time.
    pub fn over(from_ms: u64, until_ms: u64) -> Self {
        let span = until_ms.saturating_sub(from_ms).max(1);
        let fits = |step: &&u64| span / (**step * 1000) < MOST_STEPS;
        let step_ms = STEPS_S.iter().find(fits).unwrap_or(&STEPS_S[STEPS_S.len() - 1]) * 1000;
        let from_ms = from_ms - from_ms % step_ms;
        let count = (until_ms.saturating_sub(from_ms)).div_ceil(step_ms).clamp(1, 2 * MOST_STEPS);
        Self { from_ms, step_ms, count: usize::try_from(count).unwrap_or(1) }
    }

    /// When a step begins, ms.
    pub fn begin_ms(&self, index: usize) -> u64 {
        self.from_ms + index as u64 * self.step_ms
    }
}

/// What adds up, step by step.
#[derive(Debug, Clone)]
pub struct Course {
    steps: Steps,
    at_ms: u64,
    power_mw: i64,
    waiting: u64,
    energy_uj: Vec<i64>,
    waiting_ms: Vec<u64>,
    peak_mw: i64,
}

/// Means of each step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Means {
    /// Power of all chargers, W.
    pub power_w: Vec<f64>,
    /// Vehicles that ask and draw nothing.
    pub waiting: Vec<f64>,
}

impl Course {
    /// Nothing flows yet, and nobody waits.
    pub fn new(steps: Steps) -> Self {
        Self {
            steps,
            at_ms: steps.from_ms,
            power_mw: 0,
            waiting: 0,
            energy_uj: vec![0; steps.count],
            waiting_ms: vec![0; steps.count],
            peak_mw: 0,
        }
    }

    /// From a moment on so much more power flows, and so many more vehicles wait. A moment that is over counts as now.
    pub fn add(&mut self, at_ms: u64, more_mw: i64, more_waiting: i64) {
        self.advance(at_ms);
        self.power_mw += more_mw;
        self.waiting = self.waiting.saturating_add_signed(more_waiting);
        self.peak_mw = self.peak_mw.max(self.power_mw);
    }

    fn advance(&mut self, to_ms: u64) {
        while self.at_ms < to_ms {
            let index = usize::try_from((self.at_ms - self.steps.from_ms) / self.steps.step_ms);
            let Some(index) = index.ok().filter(|index| *index < self.steps.count) else {
                self.at_ms = to_ms;
                return;
            };
            let next = self.steps.begin_ms(index + 1).min(to_ms);
            let span = next - self.at_ms;
            self.energy_uj[index] += self.power_mw * span.cast_signed();
            self.waiting_ms[index] += self.waiting * span;
            self.at_ms = next;
        }
    }

    /// The most power that flowed at once, W.
    pub fn peak_w(&self) -> i64 {
        self.peak_mw / 1000
    }

    /// The means of all steps, with what goes on counted up to a moment.
    pub fn means(mut self, until_ms: u64) -> Means {
        self.advance(until_ms);
        let step_ms = self.steps.step_ms as f64;
        let hours = step_ms / 3_600_000.0;
        let power = self.energy_uj.iter().map(|uj| *uj as f64 / MICROJOULES_PER_WATT_HOUR / hours);
        let waiting = self.waiting_ms.iter().map(|ms| *ms as f64 / step_ms);
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        Means { power_w: power.map(rounded).collect(), waiting: waiting.map(rounded).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_shortest_that_makes_few_enough_and_begins_on_a_whole_one() {
        let check = |from_ms, until_ms, expected| {
            let Steps { from_ms, step_ms, count } = Steps::over(from_ms, until_ms);
            assert_eq!((from_ms, step_ms, count), expected);
        };
        check(61_000, 61_000 + 3_600_000, (60_000, 60_000, 61));
        check(0, 86_400_000, (0, 300_000, 288));
        check(0, 123 * 86_400_000, (0, 6 * 3_600_000, 492));
        check(5, 5, (0, 60_000, 1));
    }

    #[test]
    fn power_and_waiting_are_means_of_their_step() {
        let steps = Steps { from_ms: 0, step_ms: 60_000, count: 3 };
        let mut course = Course::new(steps);
        course.add(30_000, 2_000_000, 1);
        course.add(60_000, 2_000_000, 0);
        course.add(90_000, -4_000_000, -1);
        assert_eq!(course.peak_w(), 4_000);
        let means = course.means(1_000_000);
        assert_eq!(means.power_w, [1_000.0, 2_000.0, 0.0]);
        assert_eq!(means.waiting, [0.5, 0.5, 0.0]);
    }
}
