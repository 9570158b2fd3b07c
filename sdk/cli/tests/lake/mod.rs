//! The entries of a lake, as its edge journaled them.

use std::path::Path;

use arrow::compute::concat_batches;
use wattle::source::SourceArgs;
use wattle_columns::read;
use wattle_wire::row::Record;

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
