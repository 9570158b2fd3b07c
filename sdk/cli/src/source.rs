//! Where answers come from: a fog node, or a lake folder that is opened without one.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use wattle_client::{Client, ClientError, DEFAULT_URL};
use wattle_fog::lake::Lake;
use wattle_fog::query::{QueryError, Statement};

use crate::Usage;

/// The part of a command line that says whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceArgs {
    /// The fog node to ask; http://127.0.0.1:7401 unless given
    #[arg(long, value_name = "URL", conflicts_with = "lake")]
    pub at: Option<String>,
    /// A lake folder to read without a fog node
    #[arg(long, value_name = "DIR")]
    pub lake: Option<PathBuf>,
}

/// Whom to ask.
pub enum Source {
    /// A fog node, over Flight SQL.
    Fog(Box<Client>),
    /// A folder of this machine.
    Lake(Box<Lake>),
}

/// An answer: its columns at once, its rows as they come.
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows; each batch has exactly these columns.
    pub batches: BoxStream<'static, anyhow::Result<RecordBatch>>,
}

impl SourceArgs {
    /// Connects, or opens the folder.
    ///
    /// # Errors
    /// [`Usage`] for an address or a folder that isn't one; others when nobody answers or the lake can't be read.
    pub async fn open(&self) -> anyhow::Result<Source> {
        match &self.lake {
            Some(folder) => open_lake(folder).await,
            None => connect(self.at.as_deref().unwrap_or(DEFAULT_URL)).await,
        }
    }
}

impl Source {
    /// Asks one query.
    ///
    /// # Errors
    /// When it is refused or can't be answered.
    pub async fn query(&mut self, sql: &str) -> anyhow::Result<Answer> {
        match self {
            Self::Fog(client) => {
                let rows = client.query(sql).await?;
                Ok(Answer { schema: rows.schema(), batches: rows.map_err(Into::into).boxed() })
            }
            Self::Lake(lake) => answer(Statement::plan(lake.session_context().await?, sql).await?).await,
        }
    }

    /// Asks one query and waits for all of its rows.
    ///
    /// # Errors
    /// When it is refused or can't be answered.
    pub async fn collect(&mut self, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
        self.query(sql).await?.batches.try_collect().await
    }
}

async fn answer(statement: Statement) -> anyhow::Result<Answer> {
    let schema = statement.schema();
    let columns = schema.clone();
    let batches = statement.run().await?.map(move |batch| {
        let batch = batch.map_err(QueryError::from)?;
        // What the engine knows to be never null may be announced as null at times.
        Ok(RecordBatch::try_new(columns.clone(), batch.columns().to_vec())?)
    });
    Ok(Answer { schema, batches: batches.boxed() })
}

async fn connect(url: &str) -> anyhow::Result<Source> {
    match Client::connect(url).await {
        Ok(client) => Ok(Source::Fog(Box::new(client))),
        Err(error @ ClientError::BadUrl(_)) => Err(Usage(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

async fn open_lake(folder: &Path) -> anyhow::Result<Source> {
    // Opening makes what is missing, and a question must not leave an empty lake behind.
    if !folder.join("events").join("_delta_log").is_dir() {
        let text = format!("{} is no lake folder; give the one that wattle-fog writes to", folder.display());
        return Err(Usage(text).into());
    }
    let lake = Lake::open(folder).await.with_context(|| format!("lake {}", folder.display()))?;
    Ok(Source::Lake(Box::new(lake)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_no_lake_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = SourceArgs { at: None, lake: Some(folder.path().to_owned()) };
        let error = args.open().await.err().expect("no lake");
        assert!(error.is::<Usage>());
        assert!(error.to_string().ends_with("is no lake folder; give the one that wattle-fog writes to"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_a_wrong_command_line() {
        let args = SourceArgs { at: Some("fog".into()), lake: None };
        assert!(args.open().await.err().expect("no address").is::<Usage>());
    }

    #[tokio::test]
    async fn an_empty_lake_answers_and_refuses_like_a_fog_node() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Lake::open(folder.path()).await.expect("a new lake"));
        let args = SourceArgs { at: None, lake: Some(folder.path().to_owned()) };
        let mut source = args.open().await.expect("a lake");
        let batches = source.collect("SELECT count(*) AS n FROM sessions").await.expect("answered");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        let error = source.collect("DROP TABLE events").await.expect_err("refused").to_string();
        assert!(error.starts_with("the lake is only read here: "), "{error}");
    }
}
