//! Texts and bytes, by a dictionary where they recur; see the module above for the layout.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;

use super::bytes::{Packer, Reader};
use super::numbers::{self, Order};
use crate::SegmentError;

const DICTIONARY: u8 = 0;
const FULL: u8 = 1;

/// Writes texts, at least one.
pub(super) fn encode(
    packer: &mut Packer,
    texts: &[&[u8]],
    order: Option<&Order>,
) -> Result<(), SegmentError> {
    let mut places = HashMap::new();
    let mut entries: Vec<&[u8]> = Vec::new();
    let ids: Vec<i64> = texts
        .iter()
        .map(|text| {
            *places.entry(*text).or_insert_with(|| {
                entries.push(text);
                entries.len() as i64 - 1
            })
        })
        .collect();
    if entries.len() * 2 > texts.len() && texts.len() > 1 {
        packer.u8(FULL);
        let lengths: Vec<i64> = texts.iter().map(|text| text.len() as i64).collect();
        numbers::encode(packer, &lengths, order, &[])?;
        let all = texts.concat();
        packer.varint(all.len() as u64);
        return packer.block(&all);
    }
    packer.u8(DICTIONARY);
    packer.varint(entries.len() as u64);
    let mut all = Vec::new();
    for entry in entries {
        put_len(&mut all, entry.len());
        all.extend_from_slice(entry);
    }
    packer.varint(all.len() as u64);
    packer.block(&all)?;
    numbers::encode(packer, &ids, order, &[])
}

fn put_len(bytes: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
}

/// Texts one after the other.
pub(super) struct Texts {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

/// Reads so many texts.
pub(super) fn decode(
    reader: &mut Reader,
    count: usize,
    order: Option<&Order>,
) -> Result<Texts, SegmentError> {
    if count == 0 {
        return Ok(Texts { bytes: Vec::new(), lengths: Vec::new() });
    }
    match reader.u8()? {
        FULL => {
            let lengths = numbers::decode(reader, count, order, &[])?;
            let len = reader.count()?;
            let bytes = reader.block(len)?;
            let lengths: Option<Vec<usize>> =
                lengths.into_iter().map(|len| usize::try_from(len).ok()).collect();
            let lengths = lengths.ok_or(SegmentError::Damaged("a text has no length"))?;
            if lengths.iter().try_fold(0_usize, |all, len| all.checked_add(*len)) != Some(bytes.len()) {
                return Err(SegmentError::Damaged("texts have other lengths than they should"));
            }
            Ok(Texts { bytes, lengths })
        }
        DICTIONARY => from_dictionary(reader, count, order),
        _ => Err(SegmentError::Damaged("texts are of no kind that is known")),
    }
}

fn from_dictionary(reader: &mut Reader, count: usize, order: Option<&Order>) -> Result<Texts, SegmentError> {
    let (entry_count, len) = (reader.count()?, reader.count()?);
    let block = reader.block(len)?;
    let mut rest = Reader::new(&block, len)?;
    let mut entries = Vec::new();
    for _ in 0..entry_count {
        let len = rest.count()?;
        entries.push(rest.take(len)?);
    }
    let ids = numbers::decode(reader, count, order, &[])?;
    let mut texts = Vec::with_capacity(count);
    for id in ids {
        let entry = usize::try_from(id).ok().and_then(|id| entries.get(id).copied());
        texts.push(entry.ok_or(SegmentError::Damaged("a text is not in its dictionary"))?);
    }
    reader.reserve(texts.iter().map(|text| text.len()).sum())?;
    Ok(Texts { bytes: texts.concat(), lengths: texts.iter().map(|text| text.len()).collect() })
}

impl Texts {
    /// As a column of this type; `nulls` says where there is none.
    pub(super) fn into_array(
        self,
        kind: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, SegmentError> {
        let lengths = match &nulls {
            None => self.lengths,
            Some(nulls) => {
                let mut all = vec![0; nulls.len()];
                nulls.valid_indices().zip(self.lengths).for_each(|(row, len)| all[row] = len);
                all
            }
        };
        // All bytes together are bounded far below what an offset can say.
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let bytes = Buffer::from(self.bytes);
        Ok(match kind {
            DataType::Utf8 => Arc::new(StringArray::try_new(offsets, bytes, nulls)?),
            _ => Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?),
        })
    }
}
