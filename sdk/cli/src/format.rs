//! An answer as a table for people, or as CSV, JSON or Parquet. All but the table are written as rows come.
//!
//! Nulls are empty in a table and in CSV, and `null` in JSON. Times are UTC (RFC 3339). JSON is one list of
//! objects.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::json::writer::{JsonArray, WriterBuilder as JsonBuilder};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::source::Answer;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; all rows are in memory at once
    Table,
    /// Comma-separated values with a header
    Csv,
    /// A list of objects
    Json,
    /// A Parquet file, zstd
    Parquet,
}

/// Writes an answer.
///
/// # Errors
/// When the query breaks off or `out` takes no more.
pub async fn write(answer: Answer, format: Format, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    match format {
        Format::Table => table(answer, out).await,
        Format::Csv => csv(answer, out).await,
        Format::Json => json(answer, out).await,
        Format::Parquet => parquet(answer, out).await,
    }
}

async fn table(answer: Answer, out: &mut impl Write) -> anyhow::Result<()> {
    let mut batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
    // An answer without rows still has its columns.
    batches.push(RecordBatch::new_empty(answer.schema));
    let options = FormatOptions::default().with_null("");
    writeln!(out, "{}", pretty_format_batches_with_options(&batches, &options)?)?;
    Ok(())
}

async fn csv(mut answer: Answer, out: &mut impl Write) -> anyhow::Result<()> {
    let mut writer = CsvBuilder::new().with_header(true).build(out);
    writer.write(&RecordBatch::new_empty(answer.schema))?;
    while let Some(batch) = answer.batches.try_next().await? {
        writer.write(&batch)?;
    }
    Ok(())
}

async fn json(mut answer: Answer, out: &mut impl Write) -> anyhow::Result<()> {
    let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out);
    while let Some(batch) = answer.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    writeln!(writer.into_inner())?;
    Ok(())
}

async fn parquet(mut answer: Answer, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(out, answer.schema, Some(properties))?;
    while let Some(batch) = answer.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
