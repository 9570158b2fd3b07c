//! Entries of a segment one by one, in order, as JSON or as a line for people.

use anyhow::Context as _;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};
use wattle_columns::Segment;

/// One row of one table.
pub struct Entry<'a> {
    /// Its number in the journal.
    pub sequence: u64,
    /// Which table it belongs to.
    pub table: &'static str,
    batch: &'a RecordBatch,
    row: usize,
}

/// The entries of a segment whose numbers are in the range, in order.
pub fn of(segment: &Segment, from: u64, to: u64) -> Vec<Entry<'_>> {
    let tables =
        [("readings", &segment.readings), ("events", &segment.events), ("decisions", &segment.decisions)];
    let mut entries = Vec::with_capacity(segment.rows());
    for (table, batch) in tables {
        let sequences = batch.column_by_name("sequence").map(|c| c.as_primitive::<Int64Type>().values());
        let sequences = sequences.into_iter().flat_map(|values| values.iter()).enumerate();
        entries.extend(sequences.map(|(row, sequence)| Entry {
            sequence: sequence.unsigned_abs(),
            table,
            batch,
            row,
        }));
    }
    entries.retain(|entry| (from..=to).contains(&entry.sequence));
    entries.sort_by_key(|entry| entry.sequence);
    entries
}

impl Entry<'_> {
    /// All columns that have a value: numbers as numbers, moments in ISO 8601, bytes in hexadecimal.
    pub fn json(&self) -> anyhow::Result<Value> {
        let mut all = Map::new();
        all.insert("table".into(), self.table.into());
        for (field, column) in self.batch.schema().fields().iter().zip(self.batch.columns()) {
            if column.is_valid(self.row) {
                all.insert(field.name().clone(), self.value(column)?);
            }
        }
        Ok(all.into())
    }

    fn value(&self, column: &dyn Array) -> anyhow::Result<Value> {
        Ok(match column.data_type() {
            DataType::Int32 => column.as_primitive::<Int32Type>().value(self.row).into(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(self.row).into(),
            _ => {
                let format = FormatOptions::default();
                let formatter =
                    ArrayFormatter::try_new(column, &format).context("a column can't be shown")?;
                formatter.value(self.row).try_to_string().context("a value can't be shown")?.into()
            }
        })
    }

    /// One line: number, moment, table, whom it is about, and the rest as `name=value`.
    pub fn line(&self) -> anyhow::Result<String> {
        let Value::Object(mut all) = self.json()? else { anyhow::bail!("an entry has no columns") };
        let mut take = |name: &str| match all.remove(name) {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let (at, site, device) = (take("arrived_at") + &take("decided_at"), take("site"), take("device"));
        for name in ["table", "edge", "incarnation", "sequence"] {
            take(name);
        }
        let whom = if device.is_empty() { site } else { format!("{site}/{device}") };
        let rest: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(format!("{:>10}  {at}  {:<9}  {whom}  {}", self.sequence, self.table, rest.join(" ")))
    }
}

/// A segment without the rows whose numbers are not in the range.
pub fn within(segment: Segment, from: u64, to: u64) -> anyhow::Result<Segment> {
    let cut = |batch: &RecordBatch| -> anyhow::Result<RecordBatch> {
        let column = batch.column_by_name("sequence").context("a table has no sequences")?;
        let inside = |sequence: &i64| (from..=to).contains(&sequence.unsigned_abs());
        let wanted: BooleanArray =
            column.as_primitive::<Int64Type>().values().iter().map(|s| Some(inside(s))).collect();
        Ok(arrow::compute::filter_record_batch(batch, &wanted)?)
    };
    let (readings, events) = (cut(&segment.readings)?, cut(&segment.events)?);
    let decisions = cut(&segment.decisions)?;
    Ok(Segment { readings, events, decisions, header: segment.header })
}
