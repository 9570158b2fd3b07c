//! The entries of a lake, as its edge journaled them, and a lake of entries.

use std::path::Path;

use arrow::compute::concat_batches;
use wattle::source::SourceArgs;
use wattle_columns::{SegmentBuilder, read};
use wattle_fog::lake::Lake;
use wattle_wire::row::Record;
use wattle_wire::uplink::Incarnation;

/// All entries of a lake folder, in order.
pub async fn entries(folder: &Path) -> Vec<Record> {
    let mut lake = SourceArgs { at: None, lake: Some(folder.to_owned()) }.open().await.expect("a lake");
    let mut records = Vec::new();
    for table in ["readings_raw", "events", "decisions"] {
        let batches = lake.collect(&format!("SELECT * FROM {table}")).await.expect("rows");
        let batch = concat_batches(&batches[0].schema(), &batches).expect("alike");
        let read = match table {
            "readings_raw" => read::readings(&batch),
            "events" => read::events(&batch),
            _ => read::decisions(&batch),
        };
        records.extend(read.expect("as an edge writes them"));
    }
    records.sort_by_key(|record| record.sequence);
    records
}

/// A new lake in this folder, with these entries of one edge.
pub async fn of(folder: &Path, records: &[Record]) {
    let mut builder = SegmentBuilder::new("edge-1".parse().expect("a name"), Incarnation(7));
    records.iter().for_each(|record| builder.push(record).expect("contiguous"));
    let lake = Lake::open(folder).await.expect("a new lake");
    lake.commit(vec![builder.finish().expect("rows")]).await.expect("committed");
    lake.derive().await.expect("derived");
}
