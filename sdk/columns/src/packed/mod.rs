//! A table as packed columns, the way it stands in a segment of format 2.
//!
//! Arrow's own files compress each buffer as it lies in memory; of a charger's noisy numbers little can be saved that
//! way. Here numbers are told by their distance from what is expected, byte by byte of the same weight, so that
//! what is left for zstd is close to the noise itself.
//!
//! ```text
//! table:    rows varint   columns varint   columns, that with the groups first
//! column:   name_len u8  name   type u8 (1 Int32, 2 Int64, 3 timestamp in us, 4 Utf8, 5 Binary)
//!           valid u8: 0 all, 1 none, 2 some: then a block of one bit per row, lowest first
//!           numbers (types 1 to 3), or texts (4, 5), of the valid rows; nothing when there are none
//! numbers:  flags u8: bit 0 by group, bits 1-2 expectation, bit 3 relative
//!           if relative: varint, the place of an earlier timestamp, all valid, which is subtracted first
//!           base varint (zigzag)   width u8, 0 to 8: how many bytes a distance takes
//!           width blocks, each one byte of every distance, the lowest first
//! texts:    kind u8
//!           0  dictionary: entries varint, bytes varint, block of (len varint, bytes) each; then numbers: the entries
//!           1  in full: numbers: the lengths; bytes varint, block of all bytes
//! block:    kind u8: 0 as it is, 1 zstd (its length as varint first), 2 one byte that is repeated; how many bytes
//!           come out is known before
//! varint:   LEB128, at most ten bytes
//! ```
//!
//! The **group** of a row is its value in the text column `device`, or else `charger`; rows by group stand in the order
//! in which groups occur, in each in their own order. **Expectations**: 0 the base, which is the least value; 1 the
//! value before in the group; 2 that and the step before it. At the begin of a group, what the group before began
//! with is expected, at the very first the base. A distance from 1 and 2 is zigzag.
//!
//! Bytes that are read are hostile: every length is checked against what is there, and all that is made of them
//! comes to at most [`MAX_DECODED_BYTES`].

mod bytes;
mod numbers;
mod texts;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};

use crate::SegmentError;
use bytes::{Packer, Reader};
use numbers::Order;

/// The most that a table may come to in memory, bytes.
pub(crate) const MAX_DECODED_BYTES: usize = 256 << 20;

const GROUPS: [&str; 2] = ["device", "charger"];
const ALL: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;

const INT32: u8 = 1;
const INT64: u8 = 2;
const TIMESTAMP: u8 = 3;
const UTF8: u8 = 4;
const BINARY: u8 = 5;

fn code(kind: &DataType) -> Option<u8> {
    Some(match kind {
        DataType::Int32 => INT32,
        DataType::Int64 => INT64,
        DataType::Timestamp(TimeUnit::Microsecond, _) => TIMESTAMP,
        DataType::Utf8 => UTF8,
        DataType::Binary => BINARY,
        _ => return None,
    })
}

/// Rows in groups, and the timestamps that later ones may be told relative to, as far as columns are done.
#[derive(Default)]
struct Known {
    groups: Option<Vec<u32>>,
    order: Option<Order>,
    moments: Vec<Option<Vec<i64>>>,
}

impl Known {
    fn learn_groups(&mut self, column: &StringArray) {
        let groups = groups_of(column);
        self.order = Some(Order::by_group(&groups));
        self.groups = Some(groups);
    }

    /// The order by group of the valid rows among all.
    fn order_of(&self, nulls: Option<&NullBuffer>) -> Option<std::borrow::Cow<'_, Order>> {
        use std::borrow::Cow;
        let Some(nulls) = nulls else { return self.order.as_ref().map(Cow::Borrowed) };
        let groups = self.groups.as_ref()?;
        let valid: Vec<u32> = nulls.valid_indices().map(|row| groups[row]).collect();
        Some(Cow::Owned(Order::by_group(&valid)))
    }
}

/// A number for each row's text, in the order in which the texts occur; no text counts as one.
fn groups_of(column: &StringArray) -> Vec<u32> {
    let mut known = HashMap::new();
    column
        .iter()
        .map(|text| {
            let next = known.len() as u32;
            *known.entry(text).or_insert(next)
        })
        .collect()
}

/// The bytes of a table.
pub(crate) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, SegmentError> {
    let rows = batch.num_rows();
    let size: usize = batch.columns().iter().map(|column| column.get_array_memory_size()).sum();
    if size + rows * 8 * batch.num_columns() > MAX_DECODED_BYTES {
        return Err(SegmentError::TooLarge(size));
    }
    let mut packer = Packer::new()?;
    packer.varint(rows as u64);
    packer.varint(batch.num_columns() as u64);
    let mut known = Known::default();
    let groups = GROUPS.iter().find_map(|name| batch.schema().index_of(name).ok());
    for index in groups.into_iter().chain((0..batch.num_columns()).filter(|index| Some(*index) != groups)) {
        let (schema, column) = (batch.schema(), batch.column(index));
        let field = schema.field(index);
        let code = code(field.data_type()).ok_or(SegmentError::Columns("columns"))?;
        packer.u8(u8::try_from(field.name().len()).map_err(|_| SegmentError::Columns("columns"))?);
        packer.raw(field.name().as_bytes());
        packer.u8(code);
        let moments = encode_column(&mut packer, column, code, &known)?;
        known.moments.push(moments);
        if Some(index) == groups {
            known.learn_groups(column.as_string());
        }
    }
    Ok(packer.finish())
}

/// Gives the values of a timestamp that every row has.
fn encode_column(
    packer: &mut Packer,
    column: &ArrayRef,
    code: u8,
    known: &Known,
) -> Result<Option<Vec<i64>>, SegmentError> {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
    match nulls {
        None => packer.u8(ALL),
        Some(nulls) if nulls.null_count() == column.len() => {
            packer.u8(NONE);
            return Ok(None);
        }
        Some(nulls) => {
            packer.u8(SOME);
            packer.block(&bitmap(nulls))?;
        }
    }
    if column.is_empty() {
        return Ok(None);
    }
    let order = known.order_of(nulls);
    let values: Vec<i64> = match code {
        INT32 => column.as_primitive::<Int32Type>().iter().flatten().map(i64::from).collect(),
        INT64 => column.as_primitive::<Int64Type>().iter().flatten().collect(),
        TIMESTAMP => column.as_primitive::<TimestampMicrosecondType>().iter().flatten().collect(),
        UTF8 => {
            let texts: Vec<_> = column.as_string::<i32>().iter().flatten().map(str::as_bytes).collect();
            return texts::encode(packer, &texts, order.as_deref()).map(|()| None);
        }
        _ => {
            let texts: Vec<_> = column.as_binary::<i32>().iter().flatten().collect();
            return texts::encode(packer, &texts, order.as_deref()).map(|()| None);
        }
    };
    let whole = code == TIMESTAMP && nulls.is_none();
    let bases = if whole { &*known.moments } else { &[] };
    numbers::encode(packer, &values, order.as_deref(), bases)?;
    Ok(whole.then_some(values))
}

fn bitmap(nulls: &NullBuffer) -> Vec<u8> {
    let mut bits = vec![0; nulls.len().div_ceil(8)];
    nulls.valid_indices().for_each(|row| bits[row / 8] |= 1 << (row % 8));
    bits
}

/// How many rows these bytes say that their table has.
pub(crate) fn rows_of(bytes: &[u8]) -> Result<usize, SegmentError> {
    Reader::new(bytes, MAX_DECODED_BYTES)?.count()
}

/// The table of these bytes, with the columns of `schema`. An optional column that the bytes lack is null: they are of
/// an older version.
pub(crate) fn decode(
    bytes: &[u8],
    schema: &SchemaRef,
    table: &'static str,
) -> Result<RecordBatch, SegmentError> {
    let mut reader = Reader::new(bytes, MAX_DECODED_BYTES)?;
    let (rows, count) = (reader.count()?, reader.count()?);
    reader.reserve(rows.saturating_mul(8 * schema.fields().len()))?;
    let mut arrays: Vec<Option<ArrayRef>> = vec![None; schema.fields().len()];
    let mut known = Known::default();
    for _ in 0..count {
        let len = reader.u8()?.into();
        let name = str::from_utf8(reader.take(len)?).map_err(|_| SegmentError::Columns(table))?;
        let index = schema.index_of(name).map_err(|_| SegmentError::Columns(table))?;
        let kind = schema.field(index).data_type();
        if code(kind) != Some(reader.u8()?) || arrays[index].is_some() {
            return Err(SegmentError::Columns(table));
        }
        let (array, moments) = decode_column(&mut reader, kind, rows, &known)?;
        known.moments.push(moments);
        if GROUPS.contains(&name) && known.groups.is_none() && known.moments.len() == 1 {
            known.learn_groups(array.as_string());
        }
        arrays[index] = Some(array);
    }
    if !reader.is_empty() {
        return Err(SegmentError::Damaged("a table has more than its columns"));
    }
    let null = |index: usize| new_null_array(schema.field(index).data_type(), rows);
    let arrays = arrays.into_iter().enumerate();
    let arrays = arrays.map(|(index, array)| array.unwrap_or_else(|| null(index))).collect();
    // Refuses null where the schema has none.
    RecordBatch::try_new(schema.clone(), arrays).map_err(SegmentError::Arrow)
}

/// Gives also the values of a timestamp that every row has.
fn decode_column(
    reader: &mut Reader,
    kind: &DataType,
    rows: usize,
    known: &Known,
) -> Result<(ArrayRef, Option<Vec<i64>>), SegmentError> {
    let nulls = match reader.u8()? {
        ALL => None,
        NONE => return Ok((new_null_array(kind, rows), None)),
        SOME => {
            let bits = reader.block(rows.div_ceil(8))?;
            Some(NullBuffer::new(BooleanBuffer::new(Buffer::from(bits), 0, rows)))
        }
        _ => return Err(SegmentError::Damaged("a column is neither whole nor empty")),
    };
    let valid = nulls.as_ref().map_or(rows, |nulls| rows - nulls.null_count());
    let order = known.order_of(nulls.as_ref());
    if matches!(kind, DataType::Utf8 | DataType::Binary) {
        let texts = texts::decode(reader, valid, order.as_deref())?;
        return Ok((texts.into_array(kind, nulls)?, None));
    }
    let is_moment = matches!(kind, DataType::Timestamp(..));
    let bases = if is_moment && nulls.is_none() { &*known.moments } else { &[] };
    let values = numbers::decode(reader, valid, order.as_deref(), bases)?;
    let array = number_array(kind, spread(&values, nulls.as_ref()), nulls.clone())?;
    Ok((array, (is_moment && nulls.is_none()).then_some(values)))
}

/// Values of valid rows in the places of all rows.
fn spread(values: &[i64], nulls: Option<&NullBuffer>) -> Vec<i64> {
    let Some(nulls) = nulls else { return values.to_vec() };
    let mut all = vec![0; nulls.len()];
    nulls.valid_indices().zip(values).for_each(|(row, value)| all[row] = *value);
    all
}

fn number_array(
    kind: &DataType,
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, SegmentError> {
    Ok(match kind {
        DataType::Int32 => {
            let narrow: Result<Vec<i32>, _> = values.into_iter().map(i32::try_from).collect();
            let narrow = narrow.map_err(|_| SegmentError::Damaged("a number is too large"))?;
            Arc::new(Int32Array::try_new(narrow.into(), nulls)?)
        }
        DataType::Int64 => Arc::new(Int64Array::try_new(values.into(), nulls)?),
        _ => Arc::new(TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_data_type(kind.clone())),
    })
}
