//! What a person at a terminal sees while something takes longer than two seconds: a bar, or a sign of life where nobody knows how long it
//! takes. Both go to standard error, are shown on a terminal only, and are gone when the answer is printed.

use std::io::{IsTerminal as _, stderr};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is shown before.
const QUIET: Duration = Duration::from_secs(2);
/// How often a sign of life is renewed.
const TURN: Duration = Duration::from_millis(120);
const WHOLE: u64 = 1_000;
/// The clock is looked at once in so many calls.
const CALLS: u32 = 16;

/// How far something has got. Copies are of one bar, each with its own share of it.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    is_wanted: bool,
    from: u64,
    until: u64,
    parts: u64,
    done: u64,
    begun: Instant,
    calls: u32,
}

impl Progress {
    /// From one moment or count to another, so many times. Never shown unless it `is_wanted`.
    pub fn new(what: &'static str, from: u64, until: u64, parts: usize, is_wanted: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::with_template("{msg} [{bar:40}] {percent} %").expect("a template"));
        bar.set_message(what);
        let (parts, until) = (parts.max(1) as u64, until.max(from));
        Self { bar, is_wanted, from, until, parts, done: 0, begun: Instant::now(), calls: 0 }
    }

    /// It has got to this moment or count.
    pub fn tell(&mut self, at: u64) {
        self.calls = self.calls.wrapping_add(1);
        if !self.calls.is_multiple_of(CALLS) && at < self.until {
            return;
        }
        if self.is_wanted && self.bar.is_hidden() && self.begun.elapsed() >= QUIET {
            // On a terminal only: elsewhere the target draws nothing.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let part = u128::from(at.clamp(self.from, self.until) - self.from);
        let span = u128::from((self.until - self.from).max(1));
        let done = u128::from(WHOLE) * part / span / u128::from(self.parts);
        let done = u64::try_from(done).unwrap_or(WHOLE);
        self.bar.inc(done.saturating_sub(self.done));
        self.done = self.done.max(done);
    }

    /// It is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A sign of life for as long as this is there.
#[must_use]
pub struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

impl Waiting {
    /// Says after two seconds what is waited for, unless it isn't wanted or nobody sees it.
    pub fn on(what: &'static str, is_wanted: bool) -> Self {
        if !is_wanted || !stderr().is_terminal() {
            return Self(None);
        }
        let (end, ended) = mpsc::channel();
        let is_on = move |span| ended.recv_timeout(span) == Err(RecvTimeoutError::Timeout);
        let turn = move || {
            if !is_on(QUIET) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(what);
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}, {elapsed}").expect("a template"));
            bar.set_elapsed(QUIET);
            while is_on(TURN) {
                bar.tick();
            }
            bar.finish_and_clear();
        };
        Self(Some((end, std::thread::spawn(turn))))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_one_bar() {
        let mut first = Progress::new("running", 100, 200, 2, true);
        let mut second = first.clone();
        first.tell(200);
        assert_eq!(first.bar.position(), 500);
        for at in 0..1_000 {
            second.tell(at / 10 + 100);
        }
        second.tell(300);
        assert_eq!(second.bar.position(), 1_000);
    }

    #[test]
    fn any_two_ends_make_a_bar() {
        for (from, until) in [(0, 0), (5, 3), (u64::MAX, u64::MAX), (0, u64::MAX)] {
            let mut progress = Progress::new("running", from, until, 0, false);
            [0, from, until, u64::MAX].into_iter().for_each(|at| progress.tell(at));
            assert!(progress.bar.position() <= WHOLE && progress.bar.is_hidden());
        }
    }

    #[test]
    fn who_waits_for_nothing_is_not_held_up() {
        let begun = Instant::now();
        drop(Waiting::on("building", false));
        drop(Waiting::on("building", true));
        assert!(begun.elapsed() < QUIET, "it is ended, not waited out");
    }
}
