//! What has happened, known to nobody in the world: what devices published, what was acknowledged, which row stands under
//! which number of which journal. A model that is slow and obvious, and survives everything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::rc::Rc;

use wattle_wire::row::Row;
use wattle_wire::uplink::Incarnation;

use crate::invariant::{Invariant, Violation};

/// The number of a device's message: which device, in which start, the how many'th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Index of the device.
    pub device: usize,
    /// Its start.
    pub boot: u32,
    /// Its number in that start.
    pub seq: u64,
}

/// A journal: of which edge, in which life.
pub type JournalName = (usize, Incarnation);

/// What was journaled.
#[derive(Debug, Default)]
pub struct Journaled {
    /// The rows by number; a message of a device by its key.
    pub rows: BTreeMap<u64, Option<Key>>,
    /// The last number that was called durable.
    pub durable: u64,
    /// The numbers that an opening found and that weren't called durable before: of those a write that was cut may have
    /// left damage.
    doubtful: Vec<RangeInclusive<u64>>,
    /// The last number that the journal has noted to be in the lake.
    pub freed: u64,
    /// Of a journal that an image goes on with: what stood under its numbers on the machine that was lost.
    pub original: BTreeMap<u64, Option<Key>>,
}

impl Journaled {
    /// Whether there is an excuse for damage in the place of this number.
    pub fn may_be_damaged(&self, sequence: u64) -> bool {
        sequence > self.durable || self.doubtful.iter().any(|range| range.contains(&sequence))
    }
}

/// All that has happened.
#[derive(Debug, Default)]
pub struct Truth {
    now: u64,
    /// What each number said that was published.
    published: BTreeMap<Key, Vec<u8>>,
    /// What was acknowledged to a device, or to the broker.
    pub acknowledged: BTreeSet<Key>,
    /// Those of them that have to be in the lake.
    pub due: BTreeSet<Key>,
    /// The journals.
    pub journals: BTreeMap<JournalName, Journaled>,
    /// Whether journals may have to drop something.
    pub tight_budget: bool,
    /// Whether two edges journal what one site sends.
    pub twins: bool,
    /// Lives that a copy goes on from; nothing is added to them any more.
    formers: BTreeSet<JournalName>,
    /// What stood on a machine that was lost, and in no copy of its files: it may be in the lake or nowhere.
    pub gone: BTreeSet<Key>,
    /// What a copy of its files has only where a write was cut, and where: it is gone too if that is damage in the lake.
    pub doubtful: BTreeMap<Key, (JournalName, u64)>,
    violation: Option<Violation>,
    /// What came of an event, for people; none where nobody listens.
    notes: Option<Vec<String>>,
}

/// The truth, shared by all who add to it.
pub type SharedTruth = Rc<RefCell<Truth>>;

impl Truth {
    /// It is so late.
    pub fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// Whether anybody listens.
    pub fn take_notes(&mut self, takes: bool) {
        self.notes = takes.then(Vec::new);
    }

    /// What came of the last event.
    pub fn notes(&mut self) -> Vec<String> {
        self.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Something came of an event.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(format!("             -> {}", note()));
        }
    }

    /// Something doesn't hold; the first counts.
    pub fn violated(&mut self, invariant: Invariant, what: impl Into<String>) {
        let violation = Violation { invariant, at: self.now, what: what.into() };
        self.violation.get_or_insert(violation);
    }

    /// What didn't hold first.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A device publishes a numbered message.
    pub fn published(&mut self, key: Key, payload: &[u8]) {
        let before = self.published.entry(key).or_insert_with(|| payload.to_vec());
        if before != payload {
            self.violated(Invariant::AckedWasSent, format!("{key:?} was given to two messages"));
        }
    }

    /// An edge acknowledges a number.
    pub fn acknowledged(&mut self, key: Key) {
        self.note(|| format!("acknowledged {key:?}"));
        if !self.published.contains_key(&key) {
            self.violated(Invariant::AckedWasSent, format!("{key:?} was never published"));
        }
        self.acknowledged.insert(key);
    }

    /// What is acknowledged by now has to be in the lake in the end; later ones may be on their way.
    pub fn count_up_to_here(&mut self) {
        self.due = self.acknowledged.clone();
    }

    /// A journal gives a number to a row.
    pub fn appended(
        &mut self,
        journal: JournalName,
        sequence: u64,
        row: &Row,
        device: impl Fn(&str) -> usize,
    ) {
        let (device, number) = match row {
            Row::Reading(reading) => (Some(device(reading.device.as_str())), reading.number),
            Row::Event(event) => (event.device.as_ref().map(|d| device(d.as_str())), event.number),
            Row::Decision(_) | Row::Gap(_) => (None, None),
        };
        let key = device.zip(number).map(|(device, n)| Key { device, boot: n.boot, seq: n.seq });
        let journaled = self.journals.entry(journal).or_default();
        if sequence <= journaled.durable {
            self.violated(Invariant::OneLife, format!("{journal:?} gives the number {sequence} out again"));
            return;
        }
        journaled.rows.insert(sequence, key);
        self.note(|| format!("journaled {sequence} {key:?}"));
    }

    /// Up to which number a journal has called its rows durable; 0 for none.
    pub fn durable_of(&self, journal: JournalName) -> u64 {
        self.journals.get(&journal).map_or(0, |journaled| journaled.durable)
    }

    /// A journal calls everything up to this number durable.
    pub fn durable(&mut self, journal: JournalName, sequence: u64) {
        self.note(|| format!("durable to {sequence}"));
        let journaled = self.journals.entry(journal).or_default();
        journaled.durable = journaled.durable.max(sequence);
    }

    /// A journal has noted that the lake has everything up to this number.
    pub fn freed(&mut self, journal: JournalName, sequence: u64) {
        self.note(|| format!("freed to {sequence}"));
        let journaled = self.journals.entry(journal).or_default();
        journaled.freed = journaled.freed.max(sequence);
    }

    /// A machine is lost with all its journals: nothing is added to these any more.
    pub fn lost_machine(&mut self, edge: usize) {
        let of_edge = self.journals.iter().filter(|((of, _), _)| *of == edge);
        for (name, journaled) in of_edge {
            self.formers.insert(*name);
            self.gone.extend(journaled.rows.values().flatten());
        }
    }

    /// A machine is lost, and an image of its disk goes on with the same journal.
    pub fn imaged(&mut self, edge: usize) {
        self.lost_machine(edge);
        for (_, journaled) in self.journals.iter_mut().filter(|((of, _), _)| *of == edge) {
            journaled.original = std::mem::take(&mut journaled.rows);
            (journaled.durable, journaled.freed) = (0, 0);
        }
    }

    /// What an image had not handed out has moved behind the last entry of its former life, into this one.
    pub fn moved(&mut self, formers: &[(JournalName, u64)], new: JournalName) {
        for (name, last) in formers {
            let Some(former) = self.journals.get_mut(name).filter(|of| !of.original.is_empty()) else {
                continue;
            };
            let rows = former.rows.split_off(&(last + 1));
            let moved = rows.into_iter().map(|(sequence, key)| (sequence - last, key));
            self.journals.entry(new).or_default().rows.extend(moved);
        }
    }

    /// A copy that was found has all that a journal had given numbers to up to `last`.
    pub fn copied(&mut self, journal: JournalName, last: u64) {
        self.note(|| format!("a copy of {journal:?} to {last}"));
        let journaled = self.journals.entry(journal).or_default();
        let rows = journaled.rows.range(..=last);
        for (sequence, key) in rows.filter_map(|(sequence, key)| Some((*sequence, key.as_ref()?))) {
            let was_gone = self.gone.remove(key);
            match journaled.may_be_damaged(sequence) {
                true if was_gone => drop(self.doubtful.insert(*key, (journal, sequence))),
                true => {}
                false => drop(self.doubtful.remove(key)),
            }
        }
    }

    /// Whether a message of a device may rightly be in more than one journal: twins journal what the other had not
    /// acknowledged yet, and so does a copy that knows nothing of what came after it was made.
    pub fn has_copies(&self) -> bool {
        self.twins || !self.formers.is_empty()
    }

    /// A journal was opened: it ends at `last`, and knows the lake to be at `committed`.
    pub fn opened(&mut self, journal: JournalName, last: u64, committed: u64) {
        self.note(|| format!("opened {journal:?} to {last}, lake at {committed}"));
        let is_other =
            |name: &&JournalName| name.0 == journal.0 && name.1 != journal.1 && !self.formers.contains(*name);
        let others = self.journals.keys().filter(is_other).count();
        if others > 0 {
            self.violated(Invariant::OneLife, format!("the journal of edge {} has another life", journal.0));
        }
        let journaled = self.journals.entry(journal).or_default();
        if journaled.rows.is_empty() {
            // What an image has is what the original had.
            journaled.rows = journaled.original.clone();
            let kept = journaled.rows.range(..=last).filter_map(|(_, key)| key.as_ref());
            kept.for_each(|key| _ = self.gone.remove(key));
        }
        journaled.rows.split_off(&(last + 1));
        let Journaled { durable, freed, .. } = *journaled;
        if last > durable {
            journaled.doubtful.push(durable + 1..=last);
        }
        if last < durable {
            self.violated(
                Invariant::DurableLasts,
                format!("{journal:?} ends at {last} and had called {durable} durable"),
            );
        }
        if committed < freed {
            self.violated(
                Invariant::CommittedLasts,
                format!("{journal:?} knows the lake at {committed} and had noted {freed}"),
            );
        }
    }
}
