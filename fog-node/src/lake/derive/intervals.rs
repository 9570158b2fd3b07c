//! `intervals_revisions` from `readings_raw`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::prelude::{col, lit};
use deltalake::DeltaTable;
use futures::StreamExt as _;
use wattle_fog_core::clean::GOOD;
use wattle_fog_core::interval::{Interval, Sample, intervals, minute_of, reaches_back};
use wattle_wire::{Micros, WattHours, Watts};

use super::query::{by_device_and_time, collect, is_any, moment, rows, stream};
use super::{Append, FROM_READINGS, MAX_ATTEMPTS, Progress, contended, derived_to};
use crate::lake::columns::{column, texts, timestamps, value};
use crate::lake::error::{Context as _, QueryContext as _};
use crate::lake::{Lake, LakeError, schema};

/// How far before the first new reading we look for the readings that stand before it. What isn't found in one is
/// looked for in the next, and at last in the whole table.
const LOOK_BACK: [Micros; 3] = [Micros::from_secs(60), Micros::from_secs(600), Micros::from_secs(86_400)];

type Device = (String, String);
/// The newest revision of each minute of some devices.
type Known = BTreeMap<Device, BTreeMap<Micros, (i64, Interval)>>;

impl Lake {
    pub(super) async fn derive_intervals(&self, progress: &mut Progress) -> Result<usize, LakeError> {
        for _ in 0..MAX_ATTEMPTS {
            let raw = self.readings.reload().await?;
            let to = raw.version().unwrap_or_default();
            let since = derived_to(&self.intervals, progress.intervals, FROM_READINGS).await?;
            if since.is_some_and(|since| since >= to) {
                return Ok(0);
            }
            let onto = self.intervals.snapshot();
            let revisions = self.revised_intervals(&raw, &onto, since).await?;
            let count = revisions.count;
            if count > 0 {
                let positions = vec![(FROM_READINGS.to_owned(), to)];
                match self
                    .intervals
                    .append(&self.intervals.head_at(&onto)?, revisions.finish()?, positions)
                    .await?
                {
                    Append::Done => {}
                    Append::Outdated => continue,
                }
            }
            progress.intervals = Some(to);
            return Ok(count);
        }
        Err(contended(&self.intervals))
    }

    async fn revised_intervals(
        &self,
        raw: &DeltaTable,
        onto: &DeltaTable,
        since: Option<u64>,
    ) -> Result<Revisions, LakeError> {
        let mut revisions = Revisions::new(raw.version().unwrap_or_default());
        let added = match since {
            Some(since) => self.readings.added_since(since, raw).await?,
            None => None,
        };
        let Some(added) = added else {
            let known = self.known_intervals(onto, None).await?;
            let all = |_: &Device, samples: &[Sample]| Some(intervals(samples, true));
            self.each_device(raw, None, known, all, &mut revisions).await?;
            return Ok(revisions);
        };
        if added.is_empty() {
            return Ok(revisions);
        }
        let mut first_new = self.first_new(added).await?;
        for look_back in LOOK_BACK.map(Some).into_iter().chain([None]) {
            let Some(earliest) = first_new.values().min() else { break };
            let from = look_back.map(|length| minute_of(*earliest) - length);
            let scope = Scope { devices: first_new.keys().cloned().collect(), from };
            let known = self.known_intervals(onto, Some(&scope)).await?;
            let enough = |device: &Device, samples: &[Sample]| {
                let new = *first_new.get(device)?;
                let complete = look_back.is_none();
                (complete || reaches_back(samples, new)).then(|| intervals(samples, complete))
            };
            let done = self.each_device(raw, Some(&scope), known, enough, &mut revisions).await?;
            first_new.retain(|device, _| !done.contains(device));
        }
        Ok(revisions)
    }

    /// The devices with good readings in the added files, each with the moment of the earliest.
    async fn first_new(&self, added: Vec<String>) -> Result<BTreeMap<Device, Micros>, LakeError> {
        const WHAT: &str = "new readings";
        let frame = self
            .readings
            .rows_in(added)
            .await?
            .filter(col("verdict").eq(lit(GOOD)))
            .and_then(|frame| {
                frame.aggregate(vec![col("site"), col("device")], vec![min(col("at")).alias("first")])
            })
            .querying(WHAT)?;
        let mut first_new = BTreeMap::new();
        for batch in collect(frame, WHAT).await? {
            let (sites, devices) = (texts(&batch, "site"), texts(&batch, "device"));
            let first = timestamps(&batch, "first");
            for row in 0..batch.num_rows() {
                let device = (sites.value(row).to_owned(), devices.value(row).to_owned());
                first_new.insert(device, Micros(first.value(row)));
            }
        }
        Ok(first_new)
    }

    /// The newest revisions in a scope, or of everything.
    async fn known_intervals(&self, onto: &DeltaTable, scope: Option<&Scope>) -> Result<Known, LakeError> {
        const WHAT: &str = "known intervals";
        let mut frame = rows(&self.intervals, onto).await?;
        if let Some(scope) = scope {
            frame = frame.filter(scope.has_device()).querying(WHAT)?;
            if let Some(from) = scope.from {
                frame = frame.filter(col("start").gt_eq(moment(from))).querying(WHAT)?;
            }
        }
        let mut known = Known::new();
        for batch in collect(frame, WHAT).await? {
            let (sites, devices) = (texts(&batch, "site"), texts(&batch, "device"));
            let revisions = column::<Int64Type>(&batch, "revision");
            for row in 0..batch.num_rows() {
                let device = (sites.value(row).to_owned(), devices.value(row).to_owned());
                let interval = interval_in(&batch, row);
                let revision = revisions.value(row);
                let newest =
                    known.entry(device).or_default().entry(interval.start).or_insert((revision, interval));
                if newest.0 < revision {
                    *newest = (revision, interval);
                }
            }
        }
        Ok(known)
    }

    /// Computes the intervals of each device in a scope, or of every device, and notes those that differ from the
    /// known ones. Gives the devices for which `compute` had enough.
    async fn each_device(
        &self,
        raw: &DeltaTable,
        scope: Option<&Scope>,
        known: Known,
        compute: impl Fn(&Device, &[Sample]) -> Option<Vec<Interval>>,
        revisions: &mut Revisions,
    ) -> Result<Vec<Device>, LakeError> {
        const WHAT: &str = "readings";
        let mut frame = rows(&self.readings, raw).await?;
        frame = frame.filter(col("verdict").eq(lit(GOOD))).querying(WHAT)?;
        if let Some(scope) = scope {
            frame = frame.filter(scope.has_device()).querying(WHAT)?;
            if let Some(from) = scope.from {
                frame = frame.filter(col("at").gt_eq(moment(from))).querying(WHAT)?;
            }
        }
        let frame = frame.sort(by_device_and_time()).querying(WHAT)?;
        let mut batches = stream(frame, WHAT).await?;
        let mut done = Vec::new();
        let mut close = |device: Device, samples: &[Sample]| {
            if let Some(found) = compute(&device, samples) {
                revisions.note(&device, &found, known.get(&device));
                done.push(device);
            }
        };
        let mut current: Option<Device> = None;
        let mut samples = Vec::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.querying(WHAT)?;
            let (sites, devices) = (texts(&batch, "site"), texts(&batch, "device"));
            let at = timestamps(&batch, "at");
            let power = column::<Int32Type>(&batch, "power_w");
            let register = column::<Int64Type>(&batch, "register_wh");
            for row in 0..batch.num_rows() {
                let (site, device) = (sites.value(row), devices.value(row));
                if current.as_ref().is_none_or(|(s, d)| s != site || d != device) {
                    if let Some(finished) = current.replace((site.to_owned(), device.to_owned())) {
                        close(finished, &samples);
                    }
                    samples.clear();
                }
                samples.push(Sample {
                    at: Micros(at.value(row)),
                    power: value(power, row).map(Watts),
                    register: value(register, row).map(WattHours),
                });
            }
        }
        if let Some(finished) = current {
            close(finished, &samples);
        }
        Ok(done)
    }
}

/// Which rows are looked at.
struct Scope {
    devices: Vec<Device>,
    from: Option<Micros>,
}

impl Scope {
    /// By the device's name alone: two sites may share it, and the other's rows come out as they are known.
    fn has_device(&self) -> datafusion::logical_expr::Expr {
        is_any("device", self.devices.iter().map(|(_, device)| device.as_str()))
    }
}

fn interval_in(batch: &RecordBatch, row: usize) -> Interval {
    let long = |name| column::<Int64Type>(batch, name);
    let watts = |name| value(column::<Int32Type>(batch, name), row).map(Watts);
    Interval {
        start: Micros(timestamps(batch, "start").value(row)),
        readings: long("readings").value(row),
        energy: value(long("energy_wh"), row).map(WattHours),
        energy_span_ms: long("energy_span_ms").value(row),
        power_mean: watts("power_mean_w"),
        power_min: watts("power_min_w"),
        power_max: watts("power_max_w"),
        covered_ms: long("covered_ms").value(row),
        resets: long("resets").value(row),
    }
}

/// New revisions, as columns in the order of the table's schema.
struct Revisions {
    revision: i64,
    count: usize,
    site: StringBuilder,
    device: StringBuilder,
    start: TimestampMicrosecondBuilder,
    readings: Int64Builder,
    energy: Int64Builder,
    energy_span: Int64Builder,
    power: [Int32Builder; 3],
    covered: Int64Builder,
    resets: Int64Builder,
}

impl Revisions {
    fn new(raw_version: u64) -> Self {
        Self {
            revision: i64::try_from(raw_version).unwrap_or(i64::MAX),
            count: 0,
            site: StringBuilder::new(),
            device: StringBuilder::new(),
            start: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            readings: Int64Builder::new(),
            energy: Int64Builder::new(),
            energy_span: Int64Builder::new(),
            power: Default::default(),
            covered: Int64Builder::new(),
            resets: Int64Builder::new(),
        }
    }

    fn note(
        &mut self,
        device: &Device,
        found: &[Interval],
        known: Option<&BTreeMap<Micros, (i64, Interval)>>,
    ) {
        for interval in found {
            let before = known.and_then(|known| known.get(&interval.start));
            if before.is_none_or(|(_, before)| before != interval) {
                self.push(device, interval);
            }
        }
    }

    fn push(&mut self, (site, device): &Device, interval: &Interval) {
        self.count += 1;
        self.site.append_value(site);
        self.device.append_value(device);
        self.start.append_value(interval.start.0);
        self.readings.append_value(interval.readings);
        self.energy.append_option(interval.energy.map(|energy| energy.0));
        self.energy_span.append_value(interval.energy_span_ms);
        let powers = [interval.power_mean, interval.power_min, interval.power_max];
        for (column, power) in self.power.iter_mut().zip(powers) {
            column.append_option(power.map(|power| power.0));
        }
        self.covered.append_value(interval.covered_ms);
        self.resets.append_value(interval.resets);
    }

    fn finish(mut self) -> Result<Vec<RecordBatch>, LakeError> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.site.finish()),
            Arc::new(self.device.finish()),
            Arc::new(self.start.finish()),
            Arc::new(self.readings.finish()),
            Arc::new(self.energy.finish()),
            Arc::new(self.energy_span.finish()),
        ];
        columns.extend(self.power.iter_mut().map(|power| Arc::new(power.finish()) as ArrayRef));
        columns.push(Arc::new(self.covered.finish()));
        columns.push(Arc::new(self.resets.finish()));
        columns.push(Arc::new(arrow::array::Int64Array::from_value(self.revision, self.count)));
        Ok(vec![RecordBatch::try_new(schema::intervals(), columns).columns("intervals")?])
    }
}
