//! `sessions_revisions` from `events`, and from `readings_raw` where an end is missing.
//!
//! A new event can change its own session and those of the same device that are open: the device's next session
//! closes them. A new reading can change its session only where the end was estimated.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::datatypes::Int64Type;
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::prelude::{DataFrame, col, lit};
use deltalake::DeltaTable;
use wattle_fog_core::clean::GOOD;
use wattle_fog_core::session::{LastReading, Session, Step, StepEvent, sessions};
use wattle_wire::{Micros, WattHours};

use super::query::{by_device_and_time, collect, is_any, moment, rows};
use super::session_rows::{Known, Revisions, known_in};
use super::{Append, FROM_EVENTS, FROM_READINGS, MAX_ATTEMPTS, Progress, contended, derived_to};
use crate::lake::columns::{column, text, texts, timestamps, value};
use crate::lake::error::QueryContext as _;
use crate::lake::{Lake, LakeError};

/// Where and which.
pub(super) type Device = (String, String);
/// A session of a device.
pub(super) type Key = (Device, String);

const STEPS: [&str; 4] = ["plugged", "started", "ended", "unplugged"];

/// The raw tables at the versions that are derived from.
struct Raw {
    events: DeltaTable,
    readings: DeltaTable,
}

impl Raw {
    fn versions(&self) -> (u64, u64) {
        (self.events.version().unwrap_or_default(), self.readings.version().unwrap_or_default())
    }
}

/// What is to be computed anew.
enum Affected {
    All,
    /// Each session with the earliest moment of its new events, if it has any.
    Some(BTreeMap<Key, Option<Micros>>),
}

impl Lake {
    pub(super) async fn derive_sessions(&self, progress: &mut Progress) -> Result<usize, LakeError> {
        for _ in 0..MAX_ATTEMPTS {
            let raw = Raw { events: self.events.reload().await?, readings: self.readings.reload().await? };
            let to = raw.versions();
            let remembered = progress.sessions;
            let events = derived_to(&self.sessions, remembered.map(|r| r.0), FROM_EVENTS).await?;
            let readings = derived_to(&self.sessions, remembered.map(|r| r.1), FROM_READINGS).await?;
            let since = events.zip(readings);
            if since.is_some_and(|since| since.0 >= to.0 && since.1 >= to.1) {
                return Ok(0);
            }
            let onto = self.sessions.snapshot();
            let revisions = self.revised_sessions(&raw, &onto, since).await?;
            let count = revisions.count();
            if count > 0 {
                let positions = vec![(FROM_EVENTS.to_owned(), to.0), (FROM_READINGS.to_owned(), to.1)];
                match self
                    .sessions
                    .append(&self.sessions.head_at(&onto)?, revisions.finish()?, positions)
                    .await?
                {
                    Append::Done => {}
                    Append::Outdated => continue,
                }
            }
            progress.sessions = Some(to);
            return Ok(count);
        }
        Err(contended(&self.sessions))
    }

    async fn revised_sessions(
        &self,
        raw: &Raw,
        onto: &DeltaTable,
        since: Option<(u64, u64)>,
    ) -> Result<Revisions, LakeError> {
        // A session may change twice between two versions of the events: by an event and by a late reading.
        let (events, readings) = raw.versions();
        let mut revisions = Revisions::new(events + readings);
        let affected = match since {
            Some(since) => self.touched(raw, since).await?,
            None => Affected::All,
        };
        let (known, scope) = match affected {
            Affected::All => (self.known_sessions(onto, None).await?, None),
            Affected::Some(touched) if touched.is_empty() => return Ok(revisions),
            Affected::Some(touched) => {
                let known = self.known_sessions(onto, Some(&touched)).await?;
                let scope = Scope::of(&touched, &known);
                (known, Some(scope))
            }
        };
        for (device, events) in self.steps(&raw.events, scope.as_ref()).await? {
            let found = self.with_last_readings(raw, &device, &events).await?;
            for session in found {
                let key = (device.clone(), session.id.clone());
                let in_scope = scope.as_ref().is_none_or(|scope| scope.sessions.contains(&key));
                if in_scope && known.get(&key).is_none_or(|(_, before)| *before != session) {
                    revisions.push(&key, &session);
                }
            }
        }
        Ok(revisions)
    }

    /// The sessions that what has come since can change by itself.
    async fn touched(&self, raw: &Raw, since: (u64, u64)) -> Result<Affected, LakeError> {
        const WHAT: &str = "new session events";
        let (Some(events), Some(readings)) = (
            self.events.added_since(since.0, &raw.events).await?,
            self.readings.added_since(since.1, &raw.readings).await?,
        ) else {
            return Ok(Affected::All);
        };
        let mut touched = BTreeMap::new();
        if !events.is_empty() {
            let frame = only_steps(self.events.rows_in(events).await?, WHAT)?;
            let keys = vec![col("site"), col("device"), col("session")];
            let frame = frame.aggregate(keys, vec![min(col("at")).alias("first")]).querying(WHAT)?;
            for batch in collect(frame, WHAT).await? {
                let first = timestamps(&batch, "first");
                touched.extend(keys_of(&batch).zip(first.iter().map(|first| first.map(Micros))));
            }
        }
        if !readings.is_empty() {
            let frame = self
                .readings
                .rows_in(readings)
                .await?
                .filter(col("verdict").eq(lit(GOOD)).and(col("session").is_not_null()))
                .and_then(|frame| frame.select_columns(&["site", "device", "session"]))
                .and_then(DataFrame::distinct)
                .querying(WHAT)?;
            for batch in collect(frame, WHAT).await? {
                for key in keys_of(&batch) {
                    touched.entry(key).or_insert(None);
                }
            }
        }
        Ok(Affected::Some(touched))
    }

    /// The newest revisions of the sessions of the touched devices, or of all.
    async fn known_sessions(
        &self,
        onto: &DeltaTable,
        touched: Option<&BTreeMap<Key, Option<Micros>>>,
    ) -> Result<Known, LakeError> {
        const WHAT: &str = "known sessions";
        let mut frame = rows(&self.sessions, onto).await?;
        if let Some(touched) = touched {
            let devices: BTreeSet<_> = touched.keys().map(|((_, device), _)| device.as_str()).collect();
            frame = frame.filter(is_any("device", devices)).querying(WHAT)?;
        }
        let mut known = Known::new();
        for batch in collect(frame, WHAT).await? {
            for (key, revision, session) in known_in(&batch) {
                let newest = known.entry(key).or_insert_with(|| (revision, session.clone()));
                if newest.0 < revision {
                    *newest = (revision, session);
                }
            }
        }
        Ok(known)
    }

    /// The session events of each device in order of time.
    async fn steps(
        &self,
        events: &DeltaTable,
        scope: Option<&Scope>,
    ) -> Result<BTreeMap<Device, Vec<StepEvent>>, LakeError> {
        const WHAT: &str = "session events";
        let mut frame = only_steps(rows(&self.events, events).await?, WHAT)?;
        if let Some(scope) = scope {
            if scope.sessions.is_empty() {
                return Ok(BTreeMap::new());
            }
            let devices: BTreeSet<_> =
                scope.sessions.iter().map(|((_, device), _)| device.as_str()).collect();
            let wanted = is_any("device", devices).and(col("at").gt_eq(moment(scope.from)));
            frame = frame.filter(wanted).querying(WHAT)?;
        }
        let frame = frame.sort(by_device_and_time()).querying(WHAT)?;
        let mut steps: BTreeMap<Device, Vec<StepEvent>> = BTreeMap::new();
        for batch in collect(frame, WHAT).await? {
            for (row, (device, session)) in keys_of(&batch).enumerate() {
                if let Some(event) = step_in(&batch, row, session) {
                    steps.entry(device).or_default().push(event);
                }
            }
        }
        Ok(steps)
    }

    /// A device's sessions; readings are fetched only for those whose end is missing.
    async fn with_last_readings(
        &self,
        raw: &Raw,
        device: &Device,
        events: &[StepEvent],
    ) -> Result<Vec<Session>, LakeError> {
        let asked = RefCell::new(BTreeSet::new());
        let found = sessions(events, |id| {
            asked.borrow_mut().insert(id.to_owned());
            None
        });
        let asked = asked.into_inner();
        let Some(from) = events.first().map(|event| event.at).filter(|_| !asked.is_empty()) else {
            return Ok(found);
        };
        let last = self.last_readings(&raw.readings, device, &asked, from).await?;
        Ok(sessions(events, |id| last.get(id).copied()))
    }

    async fn last_readings(
        &self,
        readings: &DeltaTable,
        (site, device): &Device,
        asked: &BTreeSet<String>,
        from: Micros,
    ) -> Result<BTreeMap<String, LastReading>, LakeError> {
        const WHAT: &str = "last readings of sessions";
        let wanted = col("verdict")
            .eq(lit(GOOD))
            .and(col("site").eq(lit(site.as_str())))
            .and(col("device").eq(lit(device.as_str())))
            .and(col("at").gt_eq(moment(from)))
            .and(col("register_wh").is_not_null())
            .and(is_any("session", asked.iter().map(String::as_str)));
        let frame = rows(&self.readings, readings)
            .await?
            .filter(wanted)
            .and_then(|frame| frame.sort(by_device_and_time()))
            .querying(WHAT)?;
        let mut last = BTreeMap::new();
        for batch in collect(frame, WHAT).await? {
            let (at, register) = (timestamps(&batch, "at"), column::<Int64Type>(&batch, "register_wh"));
            for (row, (_, session)) in keys_of(&batch).enumerate() {
                let reading =
                    LastReading { at: Micros(at.value(row)), register: WattHours(register.value(row)) };
                last.insert(session, reading);
            }
        }
        Ok(last)
    }
}

/// The sessions to compute, and from when on their devices' events are needed for it.
struct Scope {
    sessions: BTreeSet<Key>,
    from: Micros,
}

impl Scope {
    fn of(touched: &BTreeMap<Key, Option<Micros>>, known: &Known) -> Self {
        let estimated = |key| known.get(key).is_some_and(|(_, session)| session.end_estimated);
        let mut sessions: BTreeSet<Key> = touched
            .iter()
            .filter(|(key, first)| first.is_some() || estimated(*key))
            .map(|(key, _)| key.clone())
            .collect();
        let devices: BTreeSet<Device> = touched
            .iter()
            .filter(|(_, first)| first.is_some())
            .map(|((device, _), _)| device.clone())
            .collect();
        let open = known.iter().filter(|((device, _), (_, s))| !s.closed && devices.contains(device));
        sessions.extend(open.map(|(key, _)| key.clone()));
        let known_firsts = sessions.iter().filter_map(|key| known.get(key)).filter_map(|(_, s)| s.first_at());
        let from = known_firsts.chain(touched.values().flatten().copied()).min().unwrap_or(Micros::MAX);
        Self { sessions, from }
    }
}

fn only_steps(frame: DataFrame, what: &'static str) -> Result<DataFrame, LakeError> {
    let wanted = is_any("kind", STEPS).and(col("session").is_not_null()).and(col("device").is_not_null());
    frame.filter(wanted).querying(what)
}

/// Site, device and session of each row.
pub(super) fn keys_of(batch: &RecordBatch) -> impl Iterator<Item = Key> + '_ {
    let (sites, devices, sessions) = (texts(batch, "site"), texts(batch, "device"), texts(batch, "session"));
    (0..batch.num_rows()).map(|row| {
        let device = (sites.value(row).to_owned(), devices.value(row).to_owned());
        (device, sessions.value(row).to_owned())
    })
}

fn step_in(batch: &RecordBatch, row: usize, session: String) -> Option<StepEvent> {
    let long = |name| value(column::<Int64Type>(batch, name), row).map(WattHours);
    Some(StepEvent {
        session,
        step: Step::of_kind(texts(batch, "kind").value(row))?,
        at: Micros(timestamps(batch, "at").value(row)),
        register: long("register_wh"),
        user: text(texts(batch, "user"), row).map(str::to_owned),
        requested: long("requested_wh"),
        departure: value(timestamps(batch, "departure_at"), row).map(Micros),
    })
}
