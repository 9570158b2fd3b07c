use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::util::pretty::pretty_format_batches;
use futures::{StreamExt, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn rows(devices: Vec<&str>) -> RecordBatch {
    let count = devices.len();
    let at = TimestampMicrosecondArray::from(vec![Some(1_773_136_800_250_000); count]).with_timezone("UTC");
    RecordBatch::try_from_iter_with_nullable([
        ("device", Arc::new(StringArray::from(devices)) as ArrayRef, false),
        ("at", Arc::new(at), true),
        (
            "energy_wh",
            Arc::new(Int64Array::from_iter((0..count).map(|i| (i % 2 == 0).then_some(1500)))),
            true,
        ),
        ("current_a", Arc::new(Float64Array::from(vec![Some(15.998); count])), true),
        ("end_estimated", Arc::new(BooleanArray::from(vec![false; count])), true),
    ])
    .expect("columns of one length")
}

fn answer(batches: Vec<RecordBatch>) -> Answer {
    let schema = rows(vec![]).schema();
    Answer { schema, batches: stream::iter(batches.into_iter().map(Ok)).boxed() }
}

async fn written(batches: Vec<RecordBatch>, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    write(answer(batches), format, &mut out).await.expect("written");
    out
}

async fn check(batches: Vec<RecordBatch>, format: Format, expected: &str) {
    assert_eq!(String::from_utf8(written(batches, format).await).expect("text"), expected);
}

fn two_batches() -> Vec<RecordBatch> {
    vec![rows(vec!["cp-1", "cp, \"2\""]), rows(vec!["cp-3"])]
}

#[tokio::test]
async fn a_table_is_as_released() {
    check(two_batches(), Format::Table, include_str!("golden/rows.table")).await;
    check(vec![], Format::Table, include_str!("golden/empty.table")).await;
}

#[tokio::test]
async fn csv_is_as_released() {
    check(two_batches(), Format::Csv, include_str!("golden/rows.csv")).await;
    check(vec![], Format::Csv, "device,at,energy_wh,current_a,end_estimated\n").await;
}

#[tokio::test]
async fn json_is_as_released_and_is_a_list() {
    check(two_batches(), Format::Json, include_str!("golden/rows.json")).await;
    check(vec![], Format::Json, "[]\n").await;
    let text = written(two_batches(), Format::Json).await;
    let list: Vec<serde_json::Value> = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(list.len(), 3);
    assert!(list[1]["energy_wh"].is_null());
}

#[tokio::test]
async fn parquet_reads_back_as_it_was() {
    for batches in [two_batches(), vec![]] {
        let bytes = written(batches.clone(), Format::Parquet).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).expect("Parquet");
        let back: Vec<RecordBatch> =
            reader.build().expect("a reader").collect::<Result<_, _>>().expect("rows");
        let text = |batches: &[RecordBatch]| pretty_format_batches(batches).expect("printable").to_string();
        assert_eq!(text(&back), text(&batches));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure_in_every_format() {
    for format in [Format::Table, Format::Csv, Format::Json, Format::Parquet] {
        let items = [Ok(rows(vec!["cp-1"])), Err(anyhow::anyhow!("the fog node is gone"))];
        let broken = Answer { schema: rows(vec![]).schema(), batches: stream::iter(items).boxed() };
        let error = write(broken, format, &mut Vec::new()).await.expect_err("it broke off");
        assert_eq!(error.to_string(), "the fog node is gone");
    }
}
