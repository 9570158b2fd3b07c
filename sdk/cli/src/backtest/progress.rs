//! A bar on the terminal, once something takes longer than two seconds.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is shown before.
const QUIET: Duration = Duration::from_secs(2);
const WHOLE: u64 = 1_000;

/// How far something has got. Copies are of one bar, each with its own share of it.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    from: u64,
    until: u64,
    parts: u64,
    done: u64,
    begun: Instant,
    calls: u32,
}

impl Progress {
    /// From one moment to another, ms, so many times.
    pub fn new(what: &'static str, from: u64, until: u64, parts: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::with_template("{msg} [{bar:40}] {percent} %").expect("a template"));
        bar.set_message(what);
        let parts = parts.max(1) as u64;
        Self { bar, from, until: until.max(from + 1), parts, done: 0, begun: Instant::now(), calls: 0 }
    }

    /// It has got to this moment.
    pub fn tell(&mut self, at: u64) {
        self.calls = self.calls.wrapping_add(1);
        if !self.calls.is_multiple_of(64) && at < self.until {
            return;
        }
        if self.bar.is_hidden() && self.begun.elapsed() >= QUIET {
            // On a terminal only: elsewhere the target draws nothing.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let part = at.clamp(self.from, self.until) - self.from;
        let done = WHOLE * part / (self.until - self.from) / self.parts;
        self.bar.inc(done.saturating_sub(self.done));
        self.done = self.done.max(done);
    }

    /// It is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_one_bar() {
        let mut first = Progress::new("running", 100, 200, 2);
        let mut second = first.clone();
        first.tell(200);
        assert_eq!(first.bar.position(), 500);
        for at in 0..1_000 {
            second.tell(at / 10 + 100);
        }
        second.tell(300);
        assert_eq!(second.bar.position(), 1_000);
    }
}
