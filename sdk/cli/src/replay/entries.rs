//! Where a replay's entries come from: the journal of an edge, or a lake.

use std::path::PathBuf;

use anyhow::Context as _;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use jiff::Timestamp;
use wattle_columns::read;
use wattle_edge::journal::Reader;
use wattle_edge::policy;
use wattle_edge::replay::folders;
use wattle_wire::row::{Event, EventKind, Record, Row};
use wattle_wire::{Micros, SiteId};

use crate::Usage;
use crate::source::{Source, SourceArgs};

/// Entries that are read from a lake at once where no keyframes stand between them.
const PART: usize = 50_000;

/// The part of a command line that says what is replayed.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("recorded").required(true))]
pub struct EntriesArgs {
    /// An edge's data folder, or the folder `journal` in it; a node may be running on it
    #[arg(long, value_name = "DIR", group = "recorded")]
    journal: Option<PathBuf>,
    /// A lake folder
    #[arg(long, value_name = "DIR", group = "recorded")]
    lake: Option<PathBuf>,
    /// The site; may be left out where there is only one
    #[arg(long, value_name = "SITE")]
    site: Option<SiteId>,
    /// The folder with the components that decided, under any names; else as docs/edge.md says. With --journal those that the node
    /// keeps in its data folder are found too
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
}

/// What is replayed.
pub enum Entries {
    /// The folder of a journal.
    Journal(PathBuf),
    /// A lake.
    Lake(Source),
}

/// One journal, with the keyframes of one site in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The edge.
    pub edge: String,
    /// Which life of its journal.
    pub incarnation: String,
    /// The site.
    pub site: SiteId,
    /// Its keyframes in order: sequence and moment.
    keyframes: Vec<(u64, Micros)>,
}

impl EntriesArgs {
    /// Where the components that decided may be.
    pub fn folders(&self) -> Vec<PathBuf> {
        let policies = policy::folder(self.policies.as_deref());
        let data = self.journal.as_deref().map(|folder| match folder.parent() {
            Some(parent) if folder.ends_with("journal") => parent,
            _ => folder,
        });
        folders(&policies, data)
    }

    /// Opens what is named and finds the keyframes of the site.
    ///
    /// # Errors
    /// [`Usage`] where there is nothing to replay, or the site has to be named.
    pub async fn open(&self) -> anyhow::Result<(Entries, Vec<Life>)> {
        let mut entries = match (&self.journal, &self.lake) {
            (Some(folder), _) => {
                let inner = folder.join("journal");
                Entries::Journal(if inner.is_dir() { inner } else { folder.clone() })
            }
            (None, lake) => Entries::Lake(SourceArgs { at: None, lake: lake.clone() }.open().await?),
        };
        let mut lives = entries.lives().await?;
        let mut sites: Vec<SiteId> = lives.iter().map(|life| life.site.clone()).collect();
        sites.sort();
        sites.dedup();
        let site = match (&self.site, sites.as_slice()) {
            (Some(site), _) => site.clone(),
            (None, [site]) => site.clone(),
            (None, []) => {
                let text = "no keyframe was journaled here, so nothing can be replayed; a node writes one at its start";
                return Err(Usage(text.into()).into());
            }
            (None, _) => {
                let names: Vec<_> = sites.iter().map(SiteId::as_str).collect();
                return Err(Usage(format!("name one of the sites with --site: {}", names.join(", "))).into());
            }
        };
        lives.retain(|life| life.site == site);
        if lives.is_empty() {
            return Err(Usage(format!("no keyframe of site {site} was journaled here")).into());
        }
        Ok((entries, lives))
    }
}

impl Entries {
    async fn lives(&mut self) -> anyhow::Result<Vec<Life>> {
        match self {
            Self::Journal(folder) => lives_of_a_journal(folder),
            Self::Lake(lake) => lives_of_a_lake(lake).await,
        }
    }

    /// Gives `take` every entry of a life that a replay of the moments from `from` to `until` needs, in order, from a
    /// keyframe on; where none stands before `from`, from the first entry on, so that what can't be replayed is told.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn each(
        &mut self,
        life: &Life,
        (from, until): (Micros, Micros),
        mut take: impl FnMut(&Record),
    ) -> anyhow::Result<()> {
        let keyframes = life.needed(from, until);
        let Some(((first, first_at), (_, last_at))) = keyframes.first().zip(keyframes.last()) else {
            return Ok(());
        };
        let is_early = *first_at > from;
        match self {
            Self::Journal(folder) => {
                for record in Reader::open(folder)? {
                    let record = record?;
                    // Gaps that lie across the beginning take nothing away.
                    if record.sequence < *first && !is_early {
                        continue;
                    }
                    take(&record);
                    let ends = *last_at > until && record.at_us > until;
                    if ends && is_keyframe(&record, &life.site) {
                        return Ok(());
                    }
                }
            }
            Self::Lake(lake) => {
                let oldest = if is_early { first_of_a_lake(lake, life, *first).await? } else { *first };
                for begin in (oldest..*first).step_by(PART) {
                    let end = (begin + PART as u64).min(*first);
                    part_of_a_lake(lake, life, begin, end).await?.iter().for_each(&mut take);
                }
                for (index, (sequence, at)) in keyframes.iter().enumerate() {
                    let end = keyframes.get(index + 1).map(|(next, _)| *next);
                    // The last one is only compared.
                    let end = end.or((*at > until).then_some(sequence + 1)).unwrap_or(i64::MAX as u64);
                    part_of_a_lake(lake, life, *sequence, end).await?.iter().for_each(&mut take);
                }
            }
        }
        Ok(())
    }
}

impl Life {
    /// The moment of its last keyframe.
    pub fn last(&self) -> Option<Micros> {
        self.keyframes.last().map(|(_, at)| *at)
    }

    /// The moment of its last keyframe at or before a moment.
    pub fn last_before(&self, until: Micros) -> Option<Micros> {
        self.keyframes.iter().map(|(_, at)| *at).filter(|at| *at <= until).max()
    }

    /// The moments of its first and its last keyframe.
    pub fn ends(&self) -> Option<(Micros, Micros)> {
        let mut moments = self.keyframes.iter().map(|(_, at)| *at);
        moments.next().map(|first| (first, moments.next_back().unwrap_or(first)))
    }

    /// The moments of the first and the last entry that a replay reads, as far as keyframes tell; the same if there are none.
    pub fn span(&self, from: Micros, until: Micros) -> (Micros, Micros) {
        let needed = self.needed(from, until);
        let at = |keyframe: Option<&(u64, Micros)>| keyframe.map(|(_, at)| *at).unwrap_or_default();
        (at(needed.first()), at(needed.last()))
    }

    /// From the last keyframe before `from`, or the first, to the first after `until`.
    fn needed(&self, from: Micros, until: Micros) -> &[(u64, Micros)] {
        let after = |moment: Micros| self.keyframes.iter().position(|(_, at)| *at > moment);
        let start = after(from).unwrap_or(self.keyframes.len()).saturating_sub(1);
        let end = after(until).map_or(self.keyframes.len(), |index| index + 1);
        self.keyframes.get(start..end.max(start)).unwrap_or_default()
    }
}

fn is_keyframe(record: &Record, site: &SiteId) -> bool {
    matches!(&record.row, Row::Event(Event { kind: EventKind::Keyframe, site: of, .. }) if of == site)
}

fn lives_of_a_journal(folder: &std::path::Path) -> anyhow::Result<Vec<Life>> {
    let reader = Reader::open(folder)?;
    let (edge, incarnation) = reader.owner();
    let (edge, incarnation) = (edge.to_string(), incarnation.to_string());
    let mut lives: Vec<Life> = Vec::new();
    for record in reader {
        let record = record?;
        let Row::Event(event) = &record.row else { continue };
        if event.kind == EventKind::Keyframe {
            note(&mut lives, (&edge, &incarnation, &event.site), (record.sequence, record.at_us));
        }
    }
    Ok(lives)
}

fn note(lives: &mut Vec<Life>, (edge, incarnation, site): (&str, &str, &SiteId), keyframe: (u64, Micros)) {
    let known = lives
        .iter_mut()
        .find(|life| life.edge == edge && life.incarnation == incarnation && life.site == *site);
    match known {
        Some(life) => life.keyframes.push(keyframe),
        None => lives.push(Life {
            edge: edge.to_owned(),
            incarnation: incarnation.to_owned(),
            site: site.clone(),
            keyframes: vec![keyframe],
        }),
    }
}

async fn lives_of_a_lake(lake: &mut Source) -> anyhow::Result<Vec<Life>> {
    let sql = "SELECT edge, incarnation, site, sequence, CAST(arrived_at AS BIGINT) AS at FROM events \
               WHERE kind = 'keyframe' ORDER BY edge, incarnation, sequence";
    let mut lives = Vec::new();
    for batch in lake.collect(sql).await? {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (edges, incarnations, sites) = (text(0)?, text(1)?, text(2)?);
        let number = |column: usize| cast(batch.column(column), &DataType::Int64);
        let (sequences, moments) = (number(3)?, number(4)?);
        for row in 0..batch.num_rows() {
            let site = sites.as_string::<i32>().value(row).parse().context("a site of the lake")?;
            let of = (edges.as_string::<i32>().value(row), incarnations.as_string::<i32>().value(row), &site);
            let sequence = sequences.as_primitive::<Int64Type>().value(row).unsigned_abs();
            note(&mut lives, of, (sequence, Micros(moments.as_primitive::<Int64Type>().value(row))));
        }
    }
    Ok(lives)
}

/// The first entry before `end` from which on a decision or a gap is told; `end` if there is none.
async fn first_of_a_lake(lake: &mut Source, life: &Life, end: u64) -> anyhow::Result<u64> {
    let (of, site) = (of_a_lake(life, 0, end), &life.site);
    let sql = format!(
        "SELECT min(sequence) AS first FROM (SELECT sequence FROM decisions WHERE {of} AND site = '{site}' \
         UNION ALL SELECT sequence FROM events WHERE {of} AND kind = 'gap')"
    );
    let batches = lake.collect(&sql).await?;
    let found = batches.first().map(|batch| cast(batch.column(0), &DataType::Int64)).transpose()?;
    let found = found.and_then(|found| found.as_primitive::<Int64Type>().iter().next().flatten());
    Ok(found.map_or(end, i64::unsigned_abs))
}

/// The entries `from..end` of a life.
fn of_a_lake(life: &Life, from: u64, end: u64) -> String {
    let quoted = |text: &str| text.replace('\'', "''");
    let (edge, incarnation) = (quoted(&life.edge), quoted(&life.incarnation));
    format!("edge = '{edge}' AND incarnation = '{incarnation}' AND sequence >= {from} AND sequence < {end}")
}

/// The entries of a site and the gaps whose sequences are in `from..end`.
async fn part_of_a_lake(lake: &mut Source, life: &Life, from: u64, end: u64) -> anyhow::Result<Vec<Record>> {
    let (of, site) = (of_a_lake(life, from, end), &life.site);
    let mut records = Vec::new();
    let sql = format!("SELECT * FROM readings_raw WHERE {of} AND site = '{site}'");
    for batch in lake.collect(&sql).await? {
        records.extend(read::readings(&batch)?);
    }
    let sql = format!("SELECT * FROM events WHERE {of} AND (site = '{site}' OR kind = 'gap')");
    for batch in lake.collect(&sql).await? {
        records.extend(read::events(&batch)?);
    }
    let sql = format!("SELECT * FROM decisions WHERE {of} AND site = '{site}'");
    let batches: Vec<RecordBatch> = lake.collect(&sql).await?;
    if let Some(first) = batches.first() {
        records.extend(read::decisions(&concat_batches(&first.schema(), &batches)?)?);
    }
    records.sort_by_key(|record| record.sequence);
    Ok(records)
}

/// A moment of a command line: a time with an offset from UTC.
///
/// # Errors
/// When it is none.
pub fn moment(text: &str) -> Result<Micros, String> {
    let read = |text: &str| text.parse::<Timestamp>();
    let at = read(text).or_else(|_| read(&format!("{text}Z")));
    at.map(|at| Micros(at.as_microsecond()))
        .map_err(|_| format!("{text:?} is no time such as 2026-05-01T18:00:00Z or 2026-05-01T20:00:00+02:00"))
}

/// A moment as people read it.
pub fn shown(at: Micros) -> String {
    Timestamp::from_microsecond(at.0).map_or_else(|_| format!("{} us", at.0), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(moments: &[i64]) -> Life {
        let keyframes = moments.iter().enumerate().map(|(i, at)| (i as u64 * 100 + 1, Micros(*at))).collect();
        let site = "s".parse().expect("name");
        Life { edge: "e".into(), incarnation: "i".into(), site, keyframes }
    }

    fn check(moments: &[i64], from: i64, until: i64, expected: &[i64]) {
        let life = life(moments);
        let needed: Vec<i64> = life.needed(Micros(from), Micros(until)).iter().map(|(_, at)| at.0).collect();
        assert_eq!(needed, expected, "{moments:?} {from} {until}");
    }

    #[test]
    fn a_replay_begins_at_the_last_keyframe_before_and_ends_at_the_first_after() {
        let moments = [10, 20, 30, 40];
        check(&moments, 0, 99, &[10, 20, 30, 40]);
        check(&moments, 25, 25, &[20, 30]);
        check(&moments, 20, 29, &[20, 30]);
        check(&moments, 45, 50, &[40]);
        check(&moments, 0, 5, &[10]);
        // The clock was set back in between.
        check(&[10, 20, 12, 22], 15, 21, &[10, 20, 12, 22]);
    }

    #[test]
    fn a_time_needs_no_offset_and_is_then_utc() {
        let at = moment("2026-05-01T18:00:00").expect("a time");
        assert_eq!(moment("2026-05-01T20:00:00+02:00"), Ok(at));
        assert_eq!(shown(at), "2026-05-01T18:00:00.000Z");
        assert!(moment("yesterday").is_err());
    }
}
