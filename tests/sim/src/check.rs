//! What is in the lake in the end, held against what has happened.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use wattle_wire::uplink::Incarnation;

use crate::edge::Edge;
use crate::invariant::{Invariant, Violation};
use crate::lake::{Lake, LakeDisk, TABLES};
use crate::site::device_index;
use crate::truth::{JournalName, Key, SharedTruth, Truth};
use crate::world::Report;

/// What stands in a place of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Row(Option<Key>),
    Gap(Reason),
}

/// Why a gap is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Budget,
    Damage,
    Other,
}

/// What the lake has of the journals.
#[derive(Default)]
struct Rows {
    journals: BTreeMap<JournalName, BTreeMap<u64, Found>>,
    keys: BTreeMap<Key, Vec<(JournalName, u64)>>,
    gaps: u64,
    rows: usize,
}

/// Looks at everything.
///
/// # Errors
/// The first that doesn't hold.
pub fn lake(lake: &Lake, edges: &[Edge], truth: &SharedTruth) -> Result<Report, Violation> {
    let mut truth = truth.borrow_mut();
    let disk = lake.disk();
    positions_rise(&disk, &mut truth);
    let rows = read(&disk, edges, &mut truth);
    no_hole(&disk, edges, &rows, &mut truth);
    rows_are_true(&rows, &mut truth);
    no_durable_row_is_damaged(&rows, &mut truth);
    nothing_twice(&rows, &mut truth);
    nothing_lost(&rows, &mut truth);
    let acknowledged = truth.acknowledged.len();
    match truth.violation() {
        Some(violation) => Err(violation.clone()),
        None => Ok(Report { acknowledged, rows: rows.rows, gaps: rows.gaps, ..Report::default() }),
    }
}

fn positions_rise(disk: &LakeDisk, truth: &mut Truth) {
    for (table, name) in disk.tables.iter().zip(TABLES) {
        let mut reached = BTreeMap::new();
        for (app, position) in table.iter().flat_map(|entry| &entry.positions) {
            let before = reached.insert(app, position);
            if before.is_some_and(|before| before > position) {
                truth.violated(Invariant::PositionsRise, format!("{name}: {app} falls to {position}"));
            }
        }
    }
}

fn read(disk: &LakeDisk, edges: &[Edge], truth: &mut Truth) -> Rows {
    let mut rows = Rows::default();
    for (table, name) in disk.tables.iter().zip(TABLES) {
        for batch in table.iter().flat_map(|entry| &entry.rows) {
            rows.rows += batch.num_rows();
            rows.take(name, batch, edges, truth);
        }
    }
    rows
}

impl Rows {
    fn take(&mut self, table: &str, batch: &RecordBatch, edges: &[Edge], truth: &mut Truth) {
        let text =
            |name: &str, row: usize| batch.column_by_name(name).map(|c| c.as_string::<i32>().value(row));
        let number = |name: &str, row: usize| {
            let column = batch.column_by_name(name)?.as_primitive::<Int64Type>();
            (!column.is_null(row)).then(|| column.value(row).unsigned_abs())
        };
        let mut decision = None;
        for row in 0..batch.num_rows() {
            let Some(journal) = journal_of(text("edge", row), text("incarnation", row), edges) else {
                truth.violated(Invariant::RowsAreTrue, format!("{table} has a row of no journal"));
                continue;
            };
            let sequence = number("sequence", row).unwrap_or_default();
            let kind = text("kind", row);
            if table == "events" && kind == Some("gap") {
                self.gap(journal, text("detail", row).unwrap_or_default(), truth);
                continue;
            }
            // A decision has a row for each charger.
            if table == "decisions" && decision.replace((journal, sequence)) == Some((journal, sequence)) {
                continue;
            }
            let key = number("boot", row).zip(number("seq", row)).and_then(|(boot, seq)| {
                let device = device_index(text("device", row)?)?;
                Some(Key { device, boot: u32::try_from(boot).ok()?, seq })
            });
            self.put(journal, sequence, Found::Row(key), truth);
            // A refusal names the number that it is about; what it says was not taken.
            let refused = matches!(kind, Some("malformed" | "conflict"));
            if let Some(key) = key.filter(|_| !refused) {
                self.keys.entry(key).or_default().push((journal, sequence));
            }
            if table == "readings_raw" && text("verdict", row).is_none_or(str::is_empty) {
                truth.violated(Invariant::RowsAreTrue, format!("{key:?} has no verdict"));
            }
        }
    }

    fn gap(&mut self, journal: JournalName, detail: &str, truth: &mut Truth) {
        let parsed = detail.split_once(": ").and_then(|(range, reason)| {
            let (from, to) = range.split_once("..=")?;
            Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?, reason))
        });
        let Some((from, to, reason)) = parsed else {
            return truth.violated(Invariant::RowsAreTrue, format!("a gap says {detail:?}"));
        };
        let reason = match reason {
            "budget" => Reason::Budget,
            "damage" => Reason::Damage,
            _ => Reason::Other,
        };
        if reason == Reason::Other || (reason == Reason::Budget && !truth.tight_budget) {
            truth.violated(Invariant::GapHasReason, format!("{journal:?} has a gap {detail:?}"));
        }
        self.gaps += to - from + 1;
        (from..=to).for_each(|sequence| self.put(journal, sequence, Found::Gap(reason), truth));
    }

    fn put(&mut self, journal: JournalName, sequence: u64, found: Found, truth: &mut Truth) {
        let before = self.journals.entry(journal).or_default().insert(sequence, found);
        if let Some(before) = before {
            let what = format!("{journal:?} {sequence} is {before:?} and {found:?}");
            truth.violated(Invariant::NothingTwice, what);
        }
    }
}

fn journal_of(edge: Option<&str>, incarnation: Option<&str>, edges: &[Edge]) -> Option<JournalName> {
    let index = edges.iter().position(|known| Some(known.id.as_str()) == edge)?;
    Some((index, Incarnation(u128::from_str_radix(incarnation?, 16).ok()?)))
}

/// Each table's rows up to its position, together, have every number up to the lowest of the positions.
fn no_hole(disk: &LakeDisk, edges: &[Edge], rows: &Rows, truth: &mut Truth) {
    let journals: Vec<_> = truth.journals.keys().copied().collect();
    for journal in journals {
        let app = format!("{}/{}", edges[journal.0].id, journal.1);
        let position = |table: &Vec<crate::lake::Entry>| {
            table
                .iter()
                .flat_map(|entry| &entry.positions)
                .filter(|(name, _)| *name == app)
                .map(|p| p.1)
                .max()
        };
        let lowest = disk.tables.iter().map(position).min().flatten().unwrap_or(0);
        let empty = BTreeMap::new();
        let found = rows.journals.get(&journal).unwrap_or(&empty);
        if let Some(missing) = (1..=lowest).find(|sequence| !found.contains_key(sequence)) {
            let what = format!("the lake is at {lowest} of {journal:?} and has no {missing}");
            truth.violated(Invariant::NoHole, what);
        }
    }
}

fn rows_are_true(rows: &Rows, truth: &mut Truth) {
    let mut wrong = None;
    for (journal, found) in &rows.journals {
        let journaled = truth.journals.get(journal);
        for (sequence, found) in found {
            let expected = journaled.and_then(|journaled| journaled.rows.get(sequence));
            let original = journaled.and_then(|journaled| journaled.original.get(sequence));
            let is_true = match found {
                // Whether there was a reason for it is looked at by itself.
                Found::Gap(_) => true,
                Found::Row(key) => expected == Some(key) || original == Some(key),
            };
            if !is_true {
                wrong.get_or_insert_with(|| {
                    format!("{journal:?} {sequence} is {found:?} and was {expected:?}")
                });
            }
        }
    }
    if let Some(wrong) = wrong {
        truth.violated(Invariant::RowsAreTrue, wrong);
    }
}

/// The disks of a world lose what was not synced, and nothing else.
fn no_durable_row_is_damaged(rows: &Rows, truth: &mut Truth) {
    let damaged = rows.journals.iter().find_map(|(journal, found)| {
        let journaled = truth.journals.get(journal)?;
        let mut gaps = found.iter().filter(|(_, found)| **found == Found::Gap(Reason::Damage));
        let (sequence, _) = gaps.find(|(sequence, _)| !journaled.may_be_damaged(**sequence))?;
        Some((*journal, *sequence, journaled.durable))
    });
    if let Some((journal, sequence, durable)) = damaged {
        let what = format!("{journal:?} {sequence} is damage in the lake, and {durable} was called durable");
        truth.violated(Invariant::NothingLost, what);
    }
}

fn nothing_twice(rows: &Rows, truth: &mut Truth) {
    let is_twice = |places: &Vec<(JournalName, u64)>| {
        let journals: BTreeSet<_> = places.iter().map(|(journal, _)| journal).collect();
        let most = if truth.has_copies() { journals.len() } else { 1 };
        places.len() > most
    };
    if let Some((key, places)) = rows.keys.iter().find(|(_, places)| is_twice(places)) {
        truth.violated(Invariant::NothingTwice, format!("{key:?} is in the lake at {places:?}"));
    }
}

fn nothing_lost(rows: &Rows, truth: &mut Truth) {
    let mut dropped = BTreeSet::new();
    for (journal, journaled) in &truth.journals {
        let Some(found) = rows.journals.get(journal) else { continue };
        let is_dropped = |sequence| found.get(sequence) == Some(&Found::Gap(Reason::Budget));
        let gone = journaled.rows.iter().filter(|(sequence, _)| is_dropped(sequence));
        dropped.extend(gone.filter_map(|(_, key)| *key));
    }
    let is_nowhere = |key: &&Key| !rows.keys.contains_key(key) && !dropped.contains(key);
    let found = |(journal, sequence): &(JournalName, u64)| rows.journals.get(journal)?.get(sequence);
    let is_damaged = |key: &Key| truth.doubtful.get(key).and_then(found) == Some(&Found::Gap(Reason::Damage));
    let is_gone = |key: &Key| truth.gone.contains(key) || is_damaged(key);
    let lost = truth.due.iter().filter(|key| !is_gone(key)).find(is_nowhere);
    if let Some(lost) = lost.copied() {
        truth.violated(Invariant::NothingLost, format!("{lost:?} was acknowledged and is nowhere"));
    }
}
