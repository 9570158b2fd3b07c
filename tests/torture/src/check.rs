//! Book against lake.

use std::collections::BTreeMap;

use crate::book::{Book, Name};
use crate::lake::{Entry, Rows};

/// What was counted, and what is wrong, each in a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Readings that were acknowledged.
    pub readings: usize,
    /// Steps of stays that were acknowledged.
    pub steps: usize,
    /// Acknowledged messages that the lake hasn't got, and numbers of a journal that are nowhere.
    pub missing: Vec<String>,
    /// Messages and numbers that the lake has more than once.
    pub duplicates: Vec<String>,
    /// Messages whose values aren't those that were sent.
    pub changed: Vec<String>,
    /// Rows that nobody has sent, and what the book itself finds odd.
    pub strange: Vec<String>,
}

impl Findings {
    /// Whether everything is as promised.
    pub fn is_sound(&self) -> bool {
        self.all().next().is_none()
    }

    /// Everything that is wrong.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.missing.iter().chain(&self.duplicates).chain(&self.changed).chain(&self.strange)
    }
}

/// Compares; `ends` is how far each journal goes, by `<edge>/<incarnation>`.
pub fn compare(book: &Book, lake: &Rows, ends: &BTreeMap<String, u64>) -> Findings {
    let mut findings = Findings { strange: book.odd.clone(), ..Findings::default() };
    let times = rows_of(book, lake, &mut findings);
    for (name, made) in book.made.iter().filter(|(_, made)| made.acknowledged) {
        *(if made.is_reading { &mut findings.readings } else { &mut findings.steps }) += 1;
        if !times.contains_key(name) {
            findings.missing.push(format!("{name} was acknowledged and isn't in the lake: {}", made.content));
        }
    }
    for (name, times) in times.iter().filter(|(_, times)| **times > 1) {
        findings.duplicates.push(format!("{name} stands {times} times in the lake"));
    }
    for (journal, entries) in &lake.entries {
        sequences(journal, entries, ends.get(journal).copied(), &mut findings);
    }
    for (journal, end) in ends.iter().filter(|(journal, _)| !lake.entries.contains_key(*journal)) {
        findings.missing.push(format!("journal {journal}: nothing of its {end} entries is in the lake"));
    }
    findings
}

/// Holds each row against what was sent; gives how often each message stands there.
fn rows_of<'a>(book: &Book, lake: &'a Rows, findings: &mut Findings) -> BTreeMap<&'a Name, usize> {
    let mut times = BTreeMap::new();
    for row in &lake.numbered {
        let (name, table, content) = (&row.name, row.table, &row.content);
        *times.entry(name).or_insert(0) += 1;
        match book.made.get(name) {
            None => {
                findings.strange.push(format!("{name} stands in {table}, and nobody has sent it: {content}"))
            }
            Some(made) if made.content != *content => {
                let sent = &made.content;
                findings
                    .changed
                    .push(format!("{name} was sent with {sent} and stands in {table} with {content}"));
            }
            Some(_) => {}
        }
    }
    times
}

/// Every number from 1 to the end once.
fn sequences(journal: &str, entries: &[Entry], end: Option<u64>, findings: &mut Findings) {
    let mut entries = entries.to_vec();
    entries.sort();
    let mut next = 1;
    for Entry { from, to, table } in entries {
        if from < next {
            findings
                .duplicates
                .push(format!("journal {journal}: entry {from} stands twice, once more in {table}"));
        } else if from > next {
            findings.missing.push(format!("journal {journal}: entries {next} to {} are nowhere", from - 1));
        }
        next = next.max(to + 1);
    }
    match end {
        Some(end) if end >= next => {
            findings
                .missing
                .push(format!("journal {journal}: entries {next} to {end} are nowhere, its last ones"));
        }
        Some(_) => {}
        None => findings.strange.push(format!("the lake has journal {journal}, and the edge has another")),
    }
}
