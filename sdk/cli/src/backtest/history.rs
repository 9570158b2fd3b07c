//! The history of a site, out of a lake: what it was, who came, and every row in order of time.
//!
//! What it was and who decided stands here, who came in `stays`, its rows in `rows`; `columns` is what all of them read.

mod columns;
mod rows;
mod stays;

use anyhow::Context as _;
use wattle_edge::replay;
use wattle_edge_core::replay::Keyframe;
use wattle_wire::row::{Event, EventKind};
use wattle_wire::{Micros, SiteId};

use crate::Usage;
use crate::source::Source;
use columns::{COLUMNS, foreign, numbers, precise, texts};
pub use rows::Missing;

/// A lake, asked about one site.
pub struct History<'a> {
    lake: &'a mut Source,
    site: SiteId,
}

/// A configuration that a site had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// From when on.
    pub at: Micros,
    /// The text of the site file.
    pub text: String,
}

/// A policy that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Name and version.
    pub policy: String,
    /// The first eight bytes of its SHA-256; 0 for the built-in share.
    pub policy_digest: u64,
    /// The same of its settings.
    pub settings_digest: u64,
    /// How many recorded decisions are its.
    pub decisions: u64,
}

/// Why a table can't be read: the first line of it, since a query engine goes on with all that there is.
fn unreadable(table: &str, error: &anyhow::Error) -> anyhow::Error {
    let told = format!("{error:#}");
    anyhow::anyhow!("{}: {}", foreign(table, "can't be read"), told.lines().next().unwrap_or_default())
}

impl<'a> History<'a> {
    /// The history of a site of a lake.
    ///
    /// # Errors
    /// [`Usage`] if the lake is of another version, or doesn't know the site.
    pub async fn open(lake: &'a mut Source, site: SiteId) -> anyhow::Result<Self> {
        for (table, columns) in COLUMNS {
            let answer = lake.query(&format!("SELECT * FROM {table} LIMIT 0")).await;
            let answer = answer.map_err(|error| unreadable(table, &error))?;
            let lacks = columns.iter().find(|name| answer.schema.column_with_name(name).is_none());
            if let Some(name) = lacks {
                return Err(Usage(foreign(table, &format!("has no column {name}"))).into());
            }
        }
        let batches = lake.collect("SELECT DISTINCT site FROM sites ORDER BY site").await?;
        let mut sites = Vec::new();
        for batch in &batches {
            sites.extend(texts(batch, 0)?.into_iter().flatten());
        }
        if sites.iter().any(|known| known == site.as_str()) {
            return Ok(Self { lake, site });
        }
        let known = if sites.is_empty() { "none".to_owned() } else { sites.join(", ") };
        Err(Usage(format!("the lake knows no site {site}; it knows {known}")).into())
    }

    /// The configurations of the site, in order.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn configurations(&mut self) -> anyhow::Result<Vec<Configured>> {
        let sql = format!(
            "SELECT CAST(configured_at AS BIGINT) AS at, text FROM sites WHERE site = '{}' ORDER BY configured_at, version",
            self.site
        );
        let mut all: Vec<Configured> = Vec::new();
        for batch in self.lake.collect(&sql).await? {
            for (at, text) in numbers(&batch, 0)?.into_iter().zip(texts(&batch, 1)?) {
                let (at, text) = (Micros(at.unwrap_or_default()), text.unwrap_or_default());
                if all.last().is_none_or(|last| last.text != text) {
                    all.push(Configured { at, text });
                }
            }
        }
        Ok(all)
    }

    /// The first and the last moment of which the lake has rows; none if it has none.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn span(&mut self) -> anyhow::Result<Option<(Micros, Micros)>> {
        let sql = format!(
            "SELECT CAST(min(at) AS BIGINT) AS first, CAST(max(at) AS BIGINT) AS last FROM (\
             SELECT arrived_at AS at FROM events WHERE site = '{0}' \
             UNION ALL SELECT arrived_at AS at FROM readings_raw WHERE site = '{0}')",
            self.site
        );
        let batches = self.lake.collect(&sql).await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
        let (first, last) = (numbers(batch, 0)?[0], numbers(batch, 1)?[0]);
        Ok(first.zip(last).map(|(first, last)| (Micros(first), Micros(last))))
    }

    /// Who decided from `from` up to `until`, the most recorded decisions first.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn policies(&mut self, from: Micros, until: Micros) -> anyhow::Result<Vec<Decided>> {
        let sql = format!(
            "SELECT policy, policy_digest, settings_digest, count(DISTINCT decided_at) AS n FROM decisions \
             WHERE site = '{}' AND cause <> 'shadow' AND decided_at >= '{}' AND decided_at <= '{}' \
             GROUP BY 1, 2, 3 ORDER BY n DESC, 1",
            self.site,
            precise(from),
            precise(until)
        );
        let mut all = Vec::new();
        for batch in self.lake.collect(&sql).await? {
            let [names, digests, settings] = [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?];
            let counts = numbers(&batch, 3)?;
            let digest = |text: &Option<String>| u64::from_str_radix(text.as_deref().unwrap_or_default(), 16);
            for row in 0..batch.num_rows() {
                all.push(Decided {
                    policy: names[row].clone().unwrap_or_default(),
                    policy_digest: digest(&digests[row]).context("a digest of the lake")?,
                    settings_digest: digest(&settings[row]).context("a digest of the lake")?,
                    decisions: counts[row].unwrap_or_default().unsigned_abs(),
                });
            }
        }
        Ok(all)
    }

    /// The program that wrote the site's first keyframe in a time, if there is one; or why it can't be read.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn program(&mut self, until: Micros) -> anyhow::Result<Option<Result<String, String>>> {
        let sql = format!(
            "SELECT detail FROM events WHERE site = '{}' AND kind = 'keyframe' AND arrived_at <= '{}' \
             ORDER BY arrived_at DESC LIMIT 1",
            self.site,
            precise(until)
        );
        for batch in self.lake.collect(&sql).await? {
            if let Some(Some(detail)) = texts(&batch, 0)?.into_iter().next() {
                let event = Event { detail, ..Event::new(self.site.clone(), None, EventKind::Keyframe, "") };
                let read = replay::bytes(&event).and_then(|bytes| Keyframe::decode(&bytes));
                return Ok(Some(read.map(|keyframe| keyframe.program).map_err(|error| error.to_string())));
            }
        }
        Ok(None)
    }
}
