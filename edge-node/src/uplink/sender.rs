//! What is sent next, and what may be freed: the decisions of the way up, without a connection.
//!
//! The same machine stands behind both ways. It is told of what was sent, delivered and committed, and says which
//! segment to read next. It reads no clock: `now` is any clock that never goes back.
//!
//! # Rules
//! - A segment is *open* from its sending until it is confirmed: by the lake's position ([`Confirmed::ByCommit`]), or by the
//!   brokers that keep it until the lake has it ([`Confirmed::ByDelivery`]). At most [`Rules::max_open`] segments and about
//!   [`Rules::max_open_bytes`] are open; a single one always may be.
//! - The journal is freed by the lake's position; by a delivery only with [`Rules::free_on_delivery`].
//! - Whoever says that entries are missing after a position ([`Position::needs`]) gets all after it again.
//! - What is missing there and freed here is said to be so, in a gap of its own. Only a lake that has told where it stands is
//!   told of a gap: without its word, what was freed is taken to be in it. If it is known that nothing is left there
//!   ([`Sender::missing`]), the gap doesn't wait for the next segment.
//! - When something was delivered and nothing has been heard for [`Rules::probe_after`], the oldest uncommitted segment is sent
//!   once more. It is dropped where it is known, and its answer comes again; each further time waits twice as long.
//! - At most [`Rules::bytes_per_second`] are sent, over more than a second; order is kept, so that what has waited goes first.

use std::collections::VecDeque;

use wattle_wire::Micros;
use wattle_wire::kafka::Position;

/// A second, and the most that may be made up for at once.
const SECOND_US: i64 = 1_000_000;
/// How long a further word that the same entries are missing is taken to be about the same loss.
const SAME_LOSS: Micros = Micros(5 * SECOND_US);
/// The number of a journal's first entry.
const FIRST: u64 = 1;
/// How often the wait for a probe doubles, at most.
const MAX_DOUBLINGS: u32 = 4;

/// What confirms a segment, so that the next may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The lake has it.
    ByCommit,
    /// Something has it that keeps it until the lake has it.
    ByDelivery,
}

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What confirms a segment.
    pub confirmed: Confirmed,
    /// Whether a delivery frees the journal.
    pub free_on_delivery: bool,
    /// The most segments that are sent and not confirmed.
    pub max_open: usize,
    /// The bytes above which no further segment is sent until one is confirmed.
    pub max_open_bytes: usize,
    /// The most bytes a second; 0 for no bound.
    pub bytes_per_second: u64,
    /// How long nothing is heard before the oldest uncommitted segment is sent once more; none for never.
    pub probe_after: Option<Micros>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the first segment after a sequence, and ask [`Sender::offer`] about it.
    Read {
        /// After which; none for the first of all.
        after: Option<u64>,
    },
    /// Wait until a segment is confirmed.
    Full,
    /// Send nothing before this moment.
    NotBefore(Micros),
}

/// What becomes of a segment that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is sent.
    Send,
    /// These entries are missing before it and are no more: a gap is sent first, then the segment is read again.
    GapFirst {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Sender {
    rules: Rules,
    /// The last sequence that was sent, as far as nothing is to be sent again.
    sent: Option<u64>,
    committed: Option<u64>,
    /// The last sequence that the journal was let free.
    freed: Option<u64>,
    /// Whether the lake has said itself that it lacks what comes after `sent`.
    told: bool,
    /// Last sequence and bytes of what is open, in the order of sending.
    open: VecDeque<(u64, usize)>,
    open_bytes: usize,
    /// When the next byte may go.
    pace: Micros,
    /// When a position or a segment last went either way.
    quiet_since: Micros,
    probes: u32,
    /// During a probe: up to where everything has been sent before.
    resume: Option<u64>,
    lost: Option<(Option<u64>, Micros)>,
    resent: u64,
}

impl Sender {
    /// One that knows nothing of the lake yet.
    pub fn new(rules: Rules, now: Micros) -> Self {
        Self {
            rules,
            sent: None,
            committed: None,
            freed: None,
            told: false,
            open: VecDeque::new(),
            open_bytes: 0,
            pace: now,
            quiet_since: now,
            probes: 0,
            resume: None,
            lost: None,
            resent: 0,
        }
    }

    /// The lake itself has said where it stands, none for nowhere: everything after that is sent. Gives what may be freed.
    pub fn welcome(&mut self, position: Option<u64>, now: Micros) -> Option<u64> {
        self.sent = position;
        self.told = true;
        self.hear(position, now)
    }

    /// A position that was found, and may be older than the lake. Gives what may be freed.
    pub fn position(&mut self, position: Position, now: Micros) -> Option<u64> {
        let freed = self.hear(position.sequence, now);
        if position.needs && self.sent > position.sequence && !self.is_known_loss(position.sequence, now) {
            self.resent += 1;
            self.lost = Some((position.sequence, now));
            self.sent = position.sequence;
            self.committed = position.sequence;
            self.told = true;
            self.resume = None;
        }
        freed
    }

    /// The brokers have the segment that ends at `to`. Gives what may be freed.
    pub fn delivered(&mut self, to: u64) -> Option<u64> {
        if self.rules.confirmed == Confirmed::ByDelivery
            && let Some(index) = self.open.iter().position(|(open, _)| *open == to)
            && let Some((_, bytes)) = self.open.remove(index)
        {
            self.open_bytes -= bytes;
        }
        let freed = self.rules.free_on_delivery.then_some(to);
        self.freed = self.freed.max(freed);
        freed
    }

    /// What to do now.
    pub fn next(&self, now: Micros) -> Step {
        let has_room = self.open.is_empty()
            || (self.open.len() < self.rules.max_open && self.open_bytes < self.rules.max_open_bytes);
        if !has_room {
            Step::Full
        } else if self.pace > now {
            Step::NotBefore(self.pace)
        } else {
            Step::Read { after: self.sent }
        }
    }

    /// What becomes of a segment that was read after [`Step::Read`].
    pub fn offer(&self, from: u64) -> Offer {
        let next = self.sent.map_or(FIRST, |sent| sent + 1);
        if self.told && from > next { Offer::GapFirst { from: next, to: from - 1 } } else { Offer::Send }
    }

    /// First and last of the entries that are sent next and that the journal was let free. What it has of them still is sent, and
    /// if that is nothing, a gap over all of them.
    pub fn missing(&self) -> Option<(u64, u64)> {
        let next = self.sent.map_or(FIRST, |sent| sent + 1);
        self.freed.filter(|freed| self.told && *freed >= next).map(|freed| (next, freed))
    }

    /// A segment that ends at `to`, or the last piece of it, was sent.
    pub fn sent(&mut self, to: u64, bytes: usize, now: Micros) {
        self.sent_piece(to, bytes, now);
        self.sent = self.sent.max(self.resume.take());
    }

    /// A piece of a segment was sent, and more of it follows.
    pub fn sent_piece(&mut self, to: u64, bytes: usize, now: Micros) {
        self.open.push_back((to, bytes));
        self.open_bytes += bytes;
        self.sent = Some(to);
        self.quiet_since = now;
        if self.rules.bytes_per_second > 0 {
            let span = bytes as u128 * SECOND_US as u128 / u128::from(self.rules.bytes_per_second);
            let span = i64::try_from(span).unwrap_or(i64::MAX);
            let begins = self.pace.0.max(now.0.saturating_sub(SECOND_US));
            self.pace = Micros(begins.saturating_add(span));
        }
    }

    /// When [`Sender::probe`] is due, if nothing happens until then.
    pub fn probe_at(&self) -> Option<Micros> {
        let after = self.rules.probe_after.filter(|_| self.open.is_empty() && self.sent > self.committed)?;
        Some(Micros(self.quiet_since.0.saturating_add(after.0 << self.probes.min(MAX_DOUBLINGS))))
    }

    /// Sends the oldest uncommitted segment once more, if that is due.
    pub fn probe(&mut self, now: Micros) {
        if self.probe_at().is_some_and(|at| at <= now) {
            self.resume = self.sent;
            self.sent = self.committed;
            self.quiet_since = now;
            self.probes += 1;
            self.resent += 1;
        }
    }

    /// The last sequence that the lake is known to have.
    pub fn committed(&self) -> Option<u64> {
        self.committed
    }

    /// How many segments are open, and their bytes.
    pub fn open(&self) -> (usize, usize) {
        (self.open.len(), self.open_bytes)
    }

    /// How often something was sent again.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    fn hear(&mut self, position: Option<u64>, now: Micros) -> Option<u64> {
        self.quiet_since = now;
        if self.rules.confirmed == Confirmed::ByCommit {
            while let Some((_, bytes)) = self.open.pop_front_if(|(to, _)| Some(*to) <= position) {
                self.open_bytes -= bytes;
            }
        }
        self.sent = self.sent.max(position);
        if position <= self.committed {
            return None;
        }
        self.committed = position;
        self.probes = 0;
        self.freed = self.freed.max(position);
        position
    }

    fn is_known_loss(&self, position: Option<u64>, now: Micros) -> bool {
        self.lost.is_some_and(|(lost, at)| lost == position && now - at < SAME_LOSS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        confirmed: Confirmed::ByDelivery,
        free_on_delivery: false,
        max_open: 4,
        max_open_bytes: 1000,
        bytes_per_second: 0,
        probe_after: Some(Micros(300 * SECOND_US)),
    };

    fn at(second: i64) -> Micros {
        Micros::from_secs(second)
    }

    fn said(sequence: Option<u64>, needs: bool) -> Position {
        Position { sequence, needs }
    }

    /// Sends and delivers segments that end at these.
    fn through(sender: &mut Sender, ends: &[u64], now: Micros) {
        for to in ends {
            sender.sent(*to, 10, now);
            assert_eq!(sender.delivered(*to), None);
        }
    }

    #[test]
    fn only_the_lakes_position_frees_unless_a_delivery_may() {
        let mut sender = Sender::new(RULES, at(0));
        through(&mut sender, &[10, 20], at(0));
        assert_eq!(sender.position(said(Some(10), false), at(1)), Some(10));
        assert_eq!(sender.position(said(Some(10), false), at(1)), None, "once");
        let mut sender = Sender::new(Rules { free_on_delivery: true, ..RULES }, at(0));
        sender.sent(10, 10, at(0));
        assert_eq!(sender.delivered(10), Some(10));
    }

    #[test]
    fn no_more_is_open_than_the_bounds_say_and_one_always_may_be() {
        let mut sender = Sender::new(RULES, at(0));
        sender.sent(1, 5000, at(0));
        assert_eq!(sender.next(at(0)), Step::Full);
        sender.delivered(1);
        assert_eq!(sender.next(at(0)), Step::Read { after: Some(1) });
        (2..6).for_each(|to| sender.sent(to, 1, at(0)));
        assert_eq!((sender.next(at(0)), sender.open()), (Step::Full, (4, 4)));
    }

    #[test]
    fn a_commit_confirms_on_the_direct_way_and_a_delivery_does_not() {
        let mut sender = Sender::new(Rules { confirmed: Confirmed::ByCommit, max_open: 1, ..RULES }, at(0));
        assert_eq!(sender.welcome(Some(5), at(0)), Some(5));
        sender.sent(10, 1, at(0));
        sender.delivered(10);
        assert_eq!(sender.next(at(0)), Step::Full);
        sender.position(said(Some(9), false), at(0));
        assert_eq!(sender.next(at(0)), Step::Full);
        sender.position(said(Some(10), false), at(0));
        assert_eq!(sender.next(at(0)), Step::Read { after: Some(10) });
    }

    #[test]
    fn what_is_missing_is_sent_again_and_once_for_one_loss() {
        let mut sender = Sender::new(RULES, at(0));
        through(&mut sender, &[10, 20, 30], at(0));
        sender.position(said(Some(10), true), at(1));
        assert_eq!(sender.next(at(1)), Step::Read { after: Some(10) });
        through(&mut sender, &[20, 30], at(1));
        sender.position(said(Some(10), true), at(2));
        assert_eq!(sender.next(at(2)), Step::Read { after: Some(30) }, "still the same loss");
        sender.position(said(Some(10), true), at(9));
        assert_eq!((sender.next(at(9)), sender.resent()), (Step::Read { after: Some(10) }, 2));
    }

    #[test]
    fn a_lake_that_has_gone_back_gets_what_there_is_and_a_gap_for_the_rest() {
        let mut sender = Sender::new(RULES, at(0));
        through(&mut sender, &[10, 20, 30], at(0));
        assert_eq!(sender.position(said(Some(20), false), at(1)), Some(20));
        sender.position(said(None, true), at(2));
        assert_eq!(sender.next(at(2)), Step::Read { after: None });
        assert_eq!(sender.offer(21), Offer::GapFirst { from: 1, to: 20 });
        sender.sent(20, 1, at(2));
        assert_eq!(sender.offer(21), Offer::Send);
        sender.delivered(20);
        assert_eq!(sender.position(said(Some(20), false), at(3)), Some(20), "it is told again");
    }

    #[test]
    fn without_the_lakes_word_what_was_freed_is_taken_to_be_there() {
        let sender = Sender::new(RULES, at(0));
        assert_eq!(sender.offer(1001), Offer::Send);
        let mut sender = Sender::new(RULES, at(0));
        sender.welcome(None, at(0));
        assert_eq!(sender.offer(1001), Offer::GapFirst { from: 1, to: 1000 });
    }

    #[test]
    fn what_is_missing_and_was_freed_is_known_without_another_segment() {
        let mut sender = Sender::new(Rules { free_on_delivery: true, ..RULES }, at(0));
        for to in [10, 20, 30] {
            sender.sent(to, 10, at(0));
            assert_eq!(sender.delivered(to), Some(to));
        }
        assert_eq!(sender.position(said(Some(10), false), at(1)), Some(10));
        assert_eq!(sender.missing(), None, "nobody has said that anything is");
        sender.position(said(Some(10), true), at(2));
        assert_eq!(sender.missing(), Some((11, 30)));
        sender.sent(30, 10, at(2));
        assert_eq!(sender.missing(), None);
        let mut sender = Sender::new(RULES, at(0));
        through(&mut sender, &[10, 20, 30], at(0));
        sender.position(said(Some(10), true), at(1));
        assert_eq!(sender.missing(), None, "nothing after it was freed");
    }

    #[test]
    fn a_position_ahead_of_what_was_sent_saves_the_way() {
        let mut sender = Sender::new(RULES, at(0));
        assert_eq!(sender.position(said(Some(500), false), at(0)), Some(500));
        assert_eq!(sender.next(at(0)), Step::Read { after: Some(500) });
    }

    #[test]
    fn silence_makes_it_ask_by_one_segment_and_less_and_less_often() {
        let mut sender = Sender::new(RULES, at(0));
        assert_eq!(sender.probe_at(), None, "nothing was sent");
        through(&mut sender, &[10, 20, 30], at(0));
        assert_eq!(sender.probe_at(), Some(at(300)));
        sender.probe(at(299));
        assert_eq!(sender.next(at(299)), Step::Read { after: Some(30) });
        sender.probe(at(300));
        assert_eq!(sender.next(at(300)), Step::Read { after: None });
        through(&mut sender, &[10], at(300));
        assert_eq!(sender.next(at(300)), Step::Read { after: Some(30) }, "the others are not sent again");
        assert_eq!(sender.probe_at(), Some(at(900)));
        sender.position(said(Some(30), false), at(400));
        assert_eq!(sender.probe_at(), None);
    }

    #[test]
    fn asking_by_a_segment_in_pieces_sends_that_segment_again_and_no_other() {
        let mut sender = Sender::new(RULES, at(0));
        through(&mut sender, &[5, 10, 20, 30], at(0));
        sender.probe(at(300));
        sender.sent_piece(5, 10, at(300));
        assert_eq!(sender.delivered(5), None);
        through(&mut sender, &[10], at(300));
        assert_eq!(sender.next(at(300)), Step::Read { after: Some(30) });
    }

    #[test]
    fn what_has_waited_goes_up_at_the_rate_and_not_faster() {
        let rules = Rules { bytes_per_second: 100, max_open: 1000, max_open_bytes: 1 << 20, ..RULES };
        let mut sender = Sender::new(rules, at(0));
        let (mut now, mut bytes) = (at(0), 0);
        while now < at(60) {
            match sender.next(now) {
                Step::Read { .. } => {
                    sender.sent(bytes as u64, 30, now);
                    bytes += 30;
                }
                Step::NotBefore(moment) => {
                    assert!(moment > now);
                    now = moment;
                }
                Step::Full => unreachable!("nothing bounds it but the rate"),
            }
        }
        assert!((60 * 100..=61 * 100 + 60).contains(&bytes), "{bytes}");
    }
}
