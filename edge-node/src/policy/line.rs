//! Which version of a policy decides, which is on trial, which stands in: a machine that knows nothing of guests.
//!
//! ```text
//! offered --> trial --after so many good decisions--> active --replaced--> stand-in
//!    |          |                                       |  ^                  |
//!    |          '--fails too often--> refused           |  '---rolled back----'
//!    '----------- straight --------------------------->-'--fails too often--> gone
//! ```
//!
//! *Too often* is [`MOST_FAILURES`] of the last [`WINDOW`] decisions. A version is offered straight when there is no
//! trial, nothing is active, or what is active fails too often. What failed too often stands in for nobody; so after a
//! rollback there is no stand-in until the next version comes. Offering what is active ends a trial, offering what is on
//! trial changes nothing. Of a version on trial only those good decisions count that were about something, see
//! [`SitePolicy`](super::SitePolicy). What somebody has taken back is forgotten in every place ([`Line::withdraw`]).
//!
//! What changes, changes between two decisions.

/// The decisions that are looked back on.
pub const WINDOW: u32 = 20;
/// So many failures among them are too many.
pub const MOST_FAILURES: u32 = 3;

/// What tells versions apart.
pub trait Versioned: Clone {
    /// The same for the same bytes under the same settings.
    fn digest(&self) -> [u8; 32];
}

/// The versions of one policy at one site.
#[derive(Debug, Clone)]
pub struct Line<V> {
    active: Option<Tried<V>>,
    stand_in: Option<V>,
    trial: Option<Tried<V>>,
    trial_decisions: u32,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<V> {
    /// The version that was offered is on trial.
    Trial,
    /// A version has become the active one; the one before it.
    Active(Option<V>),
    /// The version that was on trial is no more: it failed too often.
    Refused(V),
    /// The version that was on trial is no more: the active one was offered again.
    Withdrawn(V),
    /// The active version failed too often; the one before it is active again.
    RolledBack(V),
}

#[derive(Debug, Clone)]
struct Tried<V> {
    version: V,
    good: u32,
    failures: Failures,
}

/// Which of the last [`WINDOW`] decisions failed: one bit each, the last one lowest; 1 is a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failures(u32);

impl Failures {
    /// Takes how a decision went.
    pub fn take(&mut self, failed: bool) {
        self.0 = (self.0 << 1 | u32::from(failed)) & ((1 << WINDOW) - 1);
    }

    /// Whether there are [`MOST_FAILURES`] or more.
    pub fn are_too_many(self) -> bool {
        self.0.count_ones() >= MOST_FAILURES
    }
}

impl<V: Versioned> Line<V> {
    /// A line without a version. A new one makes `trial_decisions` good decisions before it is active.
    pub fn new(trial_decisions: u32) -> Self {
        Self { active: None, stand_in: None, trial: None, trial_decisions }
    }

    /// Who decides.
    pub fn active(&self) -> Option<&V> {
        self.active.as_ref().map(|tried| &tried.version)
    }

    /// Who decides when the active version fails.
    pub fn stand_in(&self) -> Option<&V> {
        self.stand_in.as_ref()
    }

    /// Who is on trial.
    pub fn trial(&self) -> Option<&V> {
        self.trial.as_ref().map(|tried| &tried.version)
    }

    /// How many good decisions who is on trial has made, and how many it has to make.
    pub fn progress(&self) -> Option<(u32, u32)> {
        self.trial.as_ref().map(|tried| (tried.good, self.trial_decisions))
    }

    /// Whether the active version failed too often, the last time too, and nobody is there to go back to.
    pub fn is_at_a_loss(&self) -> bool {
        let fails = |active: &Tried<V>| active.fails_too_often() && active.failures.0 & 1 == 1;
        self.stand_in.is_none() && self.active.as_ref().is_some_and(fails)
    }

    /// Whether this version would change anything but a trial.
    pub fn is_new(&self, version: &V) -> bool {
        let known = [self.active(), self.trial()];
        !known.into_iter().flatten().any(|known| known.digest() == version.digest())
    }

    /// Takes a version that can be used; what that changes.
    pub fn offer(&mut self, version: V) -> Option<Step<V>> {
        let straight = self.trial_decisions == 0 || self.active.as_ref().is_none_or(Tried::fails_too_often);
        self.take(version, straight)
    }

    /// The same without a trial: the version is active at once, one that is on trial too.
    pub fn offer_at_once(&mut self, version: V) -> Option<Step<V>> {
        self.trial.take_if(|trial| trial.version.digest() == version.digest());
        self.take(version, true)
    }

    fn take(&mut self, version: V, straight: bool) -> Option<Step<V>> {
        if self.active().is_some_and(|active| active.digest() == version.digest()) {
            return self.trial.take().map(|trial| Step::Withdrawn(trial.version));
        }
        if !self.is_new(&version) {
            return None;
        }
        let newcomer = Tried::new(version);
        if straight {
            self.trial = None;
            return Some(self.activate(newcomer));
        }
        self.trial = Some(newcomer);
        Some(Step::Trial)
    }

    /// Takes how the active version's decision went.
    pub fn decided(&mut self, failed: bool) -> Option<Step<V>> {
        let active = self.active.as_mut()?;
        active.take(failed);
        if !active.fails_too_often() {
            return None;
        }
        let before = self.stand_in.take()?;
        self.trial.take_if(|trial| trial.version.digest() == before.digest());
        self.active.replace(Tried::new(before)).map(|failed| Step::RolledBack(failed.version))
    }

    /// Takes how the decision of the version on trial went.
    pub fn tried(&mut self, failed: bool) -> Option<Step<V>> {
        let trial = self.trial.as_mut()?;
        trial.take(failed);
        if trial.fails_too_often() {
            return self.trial.take().map(|trial| Step::Refused(trial.version));
        }
        if trial.good < self.trial_decisions {
            return None;
        }
        let proven = self.trial.take()?.version;
        Some(self.activate(Tried::new(proven)))
    }

    /// Takes a version out that somebody has taken back: it is neither active, nor on trial, nor does it stand in any more. Of what
    /// is left `decides` is active and `stand_in` stands in; another's trial goes on. None where nothing changes but that.
    pub fn withdraw(&mut self, gone: [u8; 32], decides: Option<V>, stand_in: Option<V>) -> Option<Step<V>> {
        let digest = decides.as_ref().map(V::digest);
        self.stand_in = stand_in.filter(|other| other.digest() != gone && Some(other.digest()) != digest);
        let ends = [Some(gone), digest];
        let trial = self.trial.take_if(|trial| ends.contains(&Some(trial.version.digest())));
        match (&mut self.active, decides) {
            (Some(active), Some(decides)) if active.version.digest() == decides.digest() => {
                active.version = decides;
                trial.map(|trial| Step::Withdrawn(trial.version))
            }
            (None, None) => trial.map(|trial| Step::Withdrawn(trial.version)),
            (active, decides) => {
                let before = std::mem::replace(active, decides.map(Tried::new));
                Some(Step::Active(before.map(|before| before.version)))
            }
        }
    }

    fn activate(&mut self, newcomer: Tried<V>) -> Step<V> {
        let digest = newcomer.version.digest();
        let before = self.active.replace(newcomer);
        let good = before.as_ref().filter(|before| !before.fails_too_often());
        let stand_in = good.map(|good| good.version.clone()).or(self.stand_in.take());
        self.stand_in = stand_in.filter(|stand_in| stand_in.digest() != digest);
        Step::Active(before.map(|before| before.version))
    }
}

impl<V> Tried<V> {
    fn new(version: V) -> Self {
        Self { version, good: 0, failures: Failures::default() }
    }

    fn take(&mut self, failed: bool) {
        self.good = self.good.saturating_add(u32::from(!failed));
        self.failures.take(failed);
    }

    fn fails_too_often(&self) -> bool {
        self.failures.are_too_many()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Versioned for u8 {
        fn digest(&self) -> [u8; 32] {
            [*self; 32]
        }
    }

    /// A line on which version 1 is active.
    fn line(trial_decisions: u32) -> Line<u8> {
        let mut line = Line::new(trial_decisions);
        assert_eq!(line.offer(1), Some(Step::Active(None)), "the first is active at once");
        line
    }

    fn check(line: &Line<u8>, active: u8, stand_in: Option<u8>, trial: Option<u8>) {
        assert_eq!(
            (line.active(), line.stand_in(), line.trial()),
            (Some(&active), stand_in.as_ref(), trial.as_ref())
        );
    }

    #[test]
    fn a_version_that_proves_itself_becomes_active_after_so_many_good_decisions() {
        let mut line = line(3);
        assert_eq!(line.offer(2), Some(Step::Trial));
        check(&line, 1, None, Some(2));
        for failed in [false, true, false] {
            assert_eq!(line.tried(failed), None);
        }
        assert_eq!(line.tried(false), Some(Step::Active(Some(1))));
        check(&line, 2, Some(1), None);
        assert_eq!(line.tried(false), None, "nothing is on trial");
    }

    #[test]
    fn without_a_trial_a_version_is_active_at_once() {
        let mut line = line(0);
        assert_eq!(line.offer(2), Some(Step::Active(Some(1))));
        check(&line, 2, Some(1), None);
    }

    #[test]
    fn a_version_that_is_to_decide_at_once_does_so_from_its_trial_too() {
        let mut line = line(100);
        assert_eq!(line.offer_at_once(2), Some(Step::Active(Some(1))));
        line.offer(3);
        line.tried(false);
        assert_eq!((line.offer_at_once(3), line.progress()), (Some(Step::Active(Some(2))), None));
        line.offer(4);
        assert_eq!(line.offer_at_once(3), Some(Step::Withdrawn(4)));
        check(&line, 3, Some(2), None);
    }

    #[test]
    fn a_version_that_fails_too_often_on_trial_is_refused_and_nothing_else_changes() {
        let mut line = line(100);
        line.offer(2);
        assert_eq!((line.tried(true), line.tried(false), line.tried(true)), (None, None, None));
        assert_eq!(line.tried(true), Some(Step::Refused(2)));
        check(&line, 1, None, None);
        assert_eq!(line.offer(2), Some(Step::Trial), "it may be tried again");
    }

    #[test]
    fn an_active_version_that_fails_too_often_is_rolled_back_once() {
        let mut line = line(0);
        line.offer(2);
        assert_eq!((line.decided(true), line.decided(true)), (None, None));
        assert_eq!(line.decided(true), Some(Step::RolledBack(2)));
        check(&line, 1, None, None);
        for _ in 0..100 {
            assert_eq!(line.decided(true), None, "there is nothing to go back to");
        }
        assert!(line.is_at_a_loss());
        assert_eq!((line.decided(false), line.is_at_a_loss()), (None, false));
        assert_eq!((line.decided(true), line.is_at_a_loss()), (None, true));
        assert_eq!((line.offer(3), line.is_at_a_loss()), (Some(Step::Active(Some(1))), false));
        let mut line = super::tests::line(0);
        line.offer(2);
        assert_eq!((0..MOST_FAILURES).find_map(|_| line.decided(true)), Some(Step::RolledBack(2)));
        assert!(!line.is_at_a_loss(), "the version before has not failed");
        check(&line, 1, None, None);
    }

    #[test]
    fn failures_far_apart_are_forgiven() {
        let mut line = line(0);
        line.offer(2);
        for n in 0..10 * WINDOW {
            assert_eq!(line.decided(n % (WINDOW / 2) == 0), None, "two of twenty");
        }
        check(&line, 2, Some(1), None);
    }

    #[test]
    fn one_that_failed_too_often_stands_in_for_nobody() {
        let mut line = line(60);
        (0..MOST_FAILURES).for_each(|_| assert_eq!(line.decided(true), None));
        assert_eq!(line.offer(2), Some(Step::Active(Some(1))), "nothing is lost by trying it for real");
        check(&line, 2, None, None);
    }

    #[test]
    fn a_newer_version_takes_the_place_of_the_one_on_trial() {
        let mut line = line(2);
        line.offer(2);
        line.tried(false);
        assert_eq!(line.offer(3), Some(Step::Trial));
        assert_eq!(line.tried(false), None, "it proves itself from the beginning");
        assert_eq!(line.tried(false), Some(Step::Active(Some(1))));
        check(&line, 3, Some(1), None);
    }

    #[test]
    fn what_is_known_is_taken_once_and_the_active_version_ends_a_trial() {
        let mut line = line(2);
        assert_eq!(line.offer(1), None);
        line.offer(2);
        assert_eq!(line.offer(2), None);
        assert_eq!(line.offer(1), Some(Step::Withdrawn(2)));
        check(&line, 1, None, None);
    }

    #[test]
    fn the_version_before_may_come_back_by_its_file() {
        let mut line = line(0);
        line.offer(2);
        assert_eq!(line.offer(1), Some(Step::Active(Some(2))));
        check(&line, 1, Some(2), None);
    }

    #[test]
    fn what_was_taken_back_decides_no_more_and_stands_in_for_nobody() {
        let mut line = line(0);
        line.offer(2);
        line.offer(3);
        check(&line, 3, Some(2), None);
        assert_eq!(line.withdraw([3; 32], Some(2), Some(1)), Some(Step::Active(Some(3))));
        check(&line, 2, Some(1), None);
        // The one that was taken back is not gone back to, whatever fails.
        assert_eq!((0..MOST_FAILURES).find_map(|_| line.decided(true)), Some(Step::RolledBack(2)));
        check(&line, 1, None, None);
        assert_eq!(line.withdraw([1; 32], None, Some(1)), Some(Step::Active(Some(1))));
        assert_eq!((line.active(), line.stand_in()), (None, None));
        assert_eq!(line.withdraw([1; 32], None, None), None);
    }

    #[test]
    fn a_trial_ends_when_it_is_taken_back_and_goes_on_when_another_is() {
        let mut line = line(5);
        line.offer(2);
        line.tried(false);
        assert_eq!(line.withdraw([9; 32], Some(1), None), None, "one that stood by before");
        assert_eq!(line.progress(), Some((1, 5)));
        assert_eq!(line.withdraw([2; 32], Some(1), None), Some(Step::Withdrawn(2)));
        check(&line, 1, None, None);
        // What failed before goes on counting: nothing was replaced.
        assert_eq!((line.decided(true), line.decided(true)), (None, None));
        line.withdraw([9; 32], Some(1), Some(4));
        assert_eq!(line.decided(true), Some(Step::RolledBack(1)));
    }

    #[test]
    fn a_line_without_a_version_passes_outcomes_over() {
        let mut line = Line::<u8>::new(5);
        assert_eq!((line.decided(true), line.tried(true)), (None, None));
        assert_eq!((line.active(), line.stand_in(), line.trial()), (None, None, None));
    }

    #[test]
    fn whatever_happens_a_failing_version_is_never_both_active_and_stand_in() {
        let mut seed = 7u64;
        let mut next = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % most
        };
        let mut line = line(3);
        for _ in 0..20_000 {
            let failed = next(3) == 0;
            let step = match next(4) {
                0 => line.offer(1 + next(5) as u8),
                1 => line.tried(failed),
                _ => line.decided(failed),
            };
            let active = *line.active().expect("one is always active");
            assert_ne!(line.stand_in(), Some(&active));
            assert_ne!(line.trial(), Some(&active));
            if let Some(Step::RolledBack(gone) | Step::Refused(gone)) = step {
                assert_ne!(gone, active);
            }
        }
    }
}
