//! One Delta table: opened or made, read at a snapshot, appended to with positions in the same commit.
//!
//! It is known in two ways, each as new as it was last asked for:
//! - a snapshot, with all its files, for whoever reads: its cost grows with their number;
//! - a [`Head`], the end of the log without any file, for whoever appends: its cost does not.
//!
//! An append is made onto the head that the caller has looked at. If another writer has committed since,
//! nothing is written and the caller is told ([`Append::Outdated`]): it refreshes, looks again at what the table has
//! by now, and tries again. The library's way to commit is not used, since it reads the list of all files after each
//! commit, and since its retries would repeat rows that the other writer has brought.
//!
//! In a local folder each data file and each log entry is fsynced, with its folder, before an append returns; and so is an
//! entry of another writer before anything is said of it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::execution::SessionState;
use datafusion::prelude::{DataFrame, ParquetReadOptions, col, lit};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add, StructType, Transaction};
use deltalake::logstore::CommitOrBytes;
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::checkpoints::{cleanup_metadata, create_checkpoint};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError, TableProperty};

use super::LakeError;
use super::admit::Journal;
use super::disk::{ToDisk, is_whole, sync, sync_entries};
use super::error::QueryContext as _;
use super::head::{Head, Position, entry};
use super::log::newest_checkpoint;
use super::raw::{Append, RawTable};
use super::views::bare_context;

/// How long files and log entries are kept that the newest version needs no more. A query that is slower, and a
/// derivation that is further behind, has to begin anew.
pub(super) const RETENTION: std::time::Duration = std::time::Duration::from_secs(2 * 3600);
/// The same, as the table's own properties say it.
const RETENTION_PROPERTY: &str = "interval 2 hours";
/// How many commits there are from one checkpoint of the log to the next.
const CHECKPOINT_EVERY: u64 = 100;

/// The most rows of a row group.
const ROW_GROUP: usize = 128 * 1024;

/// A table of the lake.
pub(crate) struct Table {
    name: &'static str,
    folder: PathBuf,
    to_disk: ToDisk,
    schema: SchemaRef,
    latest: RwLock<DeltaTable>,
    head: Mutex<Head>,
    /// The version of the last checkpoint that was written here.
    checkpointed: AtomicU64,
}

impl Table {
    /// Opens the table in `lake/name`, or makes it.
    pub(super) async fn open(
        lake: &Path,
        name: &'static str,
        schema: &SchemaRef,
        to_disk: &ToDisk,
    ) -> Result<Self, LakeError> {
        let folder = lake.join(name);
        std::fs::create_dir_all(&folder)
            .map_err(|source| LakeError::Folder { path: folder.clone(), source })?;
        let opening = |source| table_error(name, "opened", source);
        let columns: StructType =
            schema.as_ref().try_into_kernel().map_err(|source| opening(DeltaTableError::Arrow { source }))?;
        let table = deltalake::operations::create::CreateBuilder::new()
            .with_location(folder.to_string_lossy())
            .with_table_name(name)
            .with_columns(columns.fields().cloned())
            .with_save_mode(SaveMode::Ignore)
            .with_configuration_property(TableProperty::LogRetentionDuration, Some(RETENTION_PROPERTY))
            .with_configuration_property(
                TableProperty::DeletedFileRetentionDuration,
                Some(RETENTION_PROPERTY),
            )
            .await
            .map_err(opening)?;
        let head = Head::of(&table).map_err(opening)?;
        sync(to_disk, vec![folder.join("_delta_log"), folder.clone(), lake.to_owned()]).await?;
        sync_entries(to_disk, &folder, 0..=head.version()).await?;
        let head = Mutex::new(head);
        Ok(Self {
            name,
            folder,
            to_disk: to_disk.clone(),
            schema: schema.clone(),
            latest: RwLock::new(table),
            head,
            checkpointed: AtomicU64::new(0),
        })
    }

    /// The table as it was last seen here, without asking the disk.
    pub(crate) fn snapshot(&self) -> DeltaTable {
        self.latest.read().expect("nothing panics while it holds this lock").clone()
    }

    /// The table as it stands on the disk now.
    pub(crate) async fn reload(&self) -> Result<DeltaTable, LakeError> {
        let mut table = self.snapshot();
        let since = table.version().map_or(0, |version| version + 1);
        table.update_state().await.map_err(|source| table_error(self.name, "read", source))?;
        // What is made of it must not outlast it.
        self.sync_entries(since..=table.version().unwrap_or_default()).await?;
        self.keep(&table);
        Ok(table)
    }

    fn keep(&self, table: &DeltaTable) {
        let mut latest = self.latest.write().expect("nothing panics while it holds this lock");
        // Also at one version it may have come to know a checkpoint.
        if latest.version() <= table.version() {
            *latest = table.clone();
        }
    }

    /// What an append goes onto, as it was last seen here, without asking the disk.
    pub(crate) fn head(&self) -> Head {
        self.head.lock().expect("nothing panics while it holds this lock").clone()
    }

    /// What an append goes onto, as it stands on the disk now.
    pub(crate) async fn refresh(&self) -> Result<Head, LakeError> {
        let reading = |source| table_error(self.name, "read", source);
        let seen = self.head();
        let since = seen.version() + 1;
        let followed = seen.followed().await;
        // Looked at after the entries were read: what stands below a checkpoint may be what nobody reads.
        let overtaken = self.is_overtaken(since - 1)?;
        let head = match if overtaken { None } else { followed.map_err(reading)? } {
            Some(head) => head,
            None => Head::of(&self.reload().await?).map_err(reading)?,
        };
        self.sync_entries(since..=head.version()).await?;
        self.keep_head(&head);
        Ok(head)
    }

    /// What an append goes onto that is to follow a snapshot.
    pub(crate) fn head_at(&self, snapshot: &DeltaTable) -> Result<Head, LakeError> {
        let head = self.head();
        if Some(head.version()) == snapshot.version() {
            return Ok(head);
        }
        let head = Head::of(snapshot).map_err(|source| table_error(self.name, "read", source))?;
        self.keep_head(&head);
        Ok(head)
    }

    fn keep_head(&self, head: &Head) {
        let mut latest = self.head.lock().expect("nothing panics while it holds this lock");
        if latest.version() <= head.version() {
            *latest = head.clone();
        }
    }

    /// The position that an application has at a head.
    pub(crate) async fn position(&self, at: &Head, app: &str) -> Result<Option<u64>, LakeError> {
        let found = at.position(app, &self.log()).await;
        match found.map_err(|source| table_error(self.name, "read", source))? {
            Position::Known(position) => Ok(position),
            Position::LookedUp(position) => {
                let mut head = self.head.lock().expect("nothing panics while it holds this lock");
                if head.version() == at.version() {
                    head.remember(app, position);
                }
                Ok(position)
            }
        }
    }

    /// Appends batches as one commit that carries `positions`.
    pub(crate) async fn append(
        &self,
        onto: &Head,
        batches: Vec<RecordBatch>,
        positions: Vec<(String, u64)>,
    ) -> Result<Append, LakeError> {
        if onto.is_old() {
            return Ok(Append::Outdated);
        }
        let adds = self.write_files(onto.table(), batches).await?;
        self.append_files(onto, adds, positions).await
    }

    /// The same, of files that were written and brought to the disk.
    pub(super) async fn append_files(
        &self,
        onto: &Head,
        adds: Vec<Add>,
        positions: Vec<(String, u64)>,
    ) -> Result<Append, LakeError> {
        let writing = |source| table_error(self.name, "written", source);
        let transactions = positions
            .iter()
            .map(|(app, position)| Transaction::new(app, i64::try_from(*position).unwrap_or(i64::MAX)));
        let entry = CommitData::new(
            adds.iter().cloned().map(Action::Add).collect(),
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None },
            Default::default(),
            transactions.collect(),
        );
        let entry = entry.get_bytes().map_err(|source| writing(source.into()))?;
        let version = onto.version() + 1;
        let log = onto.table().log_store();
        if !self.claim(&adds)? {
            return Ok(Append::Outdated);
        }
        match log.write_commit_entry(version, CommitOrBytes::LogBytes(entry), Default::default()).await {
            Ok(()) => {}
            Err(TransactionError::VersionAlreadyExists(_)) => return Ok(Append::Outdated),
            Err(error) => return Err(writing(error.into())),
        }
        self.sync_log(version).await?;
        if self.is_overtaken(onto.version())? {
            tracing::warn!(
                table = self.name,
                version,
                "others have gone on and dropped that part of the log; looking again"
            );
            return Ok(Append::Outdated);
        }
        self.keep_head(&onto.after(positions));
        Ok(Append::Done)
    }

    /// Whether a checkpoint stands after a version: then the number after it may have been given, and dropped with what it
    /// named; and what stands there by now may be an entry that nobody reads.
    pub(super) fn is_overtaken(&self, version: u64) -> Result<bool, LakeError> {
        let log = self.log();
        let newest = newest_checkpoint(&log).map_err(|source| LakeError::Folder { path: log, source })?;
        Ok(newest > Some(version))
    }

    /// Where its data files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self) -> PathBuf {
        self.folder.join("_delta_log")
    }

    /// Writes a checkpoint and drops what the log needs no more, if enough commits have come since the last.
    pub(super) async fn checkpoint_if_due(&self) -> Result<(), LakeError> {
        let writing = |source| table_error(self.name, "checkpointed", source);
        let table = self.reload().await?;
        let version = table.version().unwrap_or_default();
        if version < self.checkpointed.load(Ordering::Relaxed) + CHECKPOINT_EVERY {
            return Ok(());
        }
        create_checkpoint(&table, None).await.map_err(writing)?;
        // What came before it is dropped for it: so it has to last.
        self.sync_checkpoint().await?;
        cleanup_metadata(&table, None).await.map_err(writing)?;
        // Positions are looked up in the log from a checkpoint on: what came before the last may be gone.
        let table = self.reload().await?;
        let mut head = self.head.lock().expect("nothing panics while it holds this lock");
        *head = head.rebased(&table).map_err(writing)?;
        self.checkpointed.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// Brings entries of the log to the disk that others may have written; see [`sync_entries`].
    pub(super) async fn sync_entries(&self, versions: RangeInclusive<u64>) -> Result<(), LakeError> {
        sync_entries(&self.to_disk, &self.folder, versions).await
    }

    /// Brings the checkpoints of the log to the disk.
    async fn sync_checkpoint(&self) -> Result<(), LakeError> {
        let log = self.folder.join("_delta_log");
        let reading = |source| LakeError::Folder { path: log.clone(), source };
        let mut files = Vec::new();
        for file in std::fs::read_dir(&log).map_err(reading)? {
            let path = file.map_err(reading)?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains("checkpoint")) {
                files.push(path);
            }
        }
        files.push(log);
        sync(&self.to_disk, files).await
    }

    pub(super) async fn write_files(
        &self,
        onto: &DeltaTable,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<Add>, LakeError> {
        let writing = |source| table_error(self.name, "written", source);
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(Vec::new());
        }
        let mut writer =
            RecordBatchWriter::for_table(onto).map_err(writing)?.with_writer_properties(file_properties());
        for batch in batches {
            writer.write(batch).await.map_err(writing)?;
        }
        let adds = writer.flush().await.map_err(writing)?;
        self.sync_files(&adds).await?;
        Ok(adds)
    }

    /// Brings data files to the disk; before they are committed.
    pub(super) async fn sync_files(&self, adds: &[Add]) -> Result<(), LakeError> {
        let mut written: Vec<_> = adds.iter().map(|add| self.folder.join(&add.path)).collect();
        written.push(self.folder.clone());
        sync(&self.to_disk, written).await
    }

    /// Brings an entry of the log to the disk.
    pub(super) async fn sync_log(&self, version: u64) -> Result<(), LakeError> {
        let log = self.folder.join("_delta_log");
        sync(&self.to_disk, vec![log.join(format!("{version:020}.json")), log]).await
    }

    /// The addresses of the files with the rows that came after version `since` up to the snapshot; none when that can't be told: the
    /// log doesn't reach back that far any more, rows were changed, or files are gone. What only moved
    /// rows from one file to another is passed over.
    pub(crate) async fn added_since(
        &self,
        since: u64,
        to: &DeltaTable,
    ) -> Result<Option<Vec<String>>, LakeError> {
        let reading = |source| table_error(self.name, "read", source);
        let log = to.log_store();
        let mut added = Vec::new();
        // Entries are dropped from the first on: where this one is there, what stands after it is what was written first.
        if entry(&log, since).await.map_err(reading)?.is_none() {
            return Ok(None);
        }
        for version in since + 1..=to.version().unwrap_or_default() {
            let Some(actions) = entry(&log, version).await.map_err(reading)? else { return Ok(None) };
            for action in actions {
                match action {
                    Action::Add(add) if add.data_change => {
                        // A compaction may have taken it out of the table; it is on the disk until the
                        // retention is over. Of one that is damaged whoever reads the table hears.
                        let bytes = u64::try_from(add.size).unwrap_or_default();
                        if is_whole(&self.folder.join(&add.path), bytes).is_err() {
                            return Ok(None);
                        }
                        added.push(address(to, &add.path));
                    }
                    Action::Remove(remove) if remove.data_change => return Ok(None),
                    _ => {}
                }
            }
        }
        Ok(Some(added))
    }

    /// What DataFusion reads the snapshot through.
    pub(crate) async fn provider(
        &self,
        at: &DeltaTable,
        session: Arc<SessionState>,
    ) -> Result<Arc<dyn datafusion::catalog::TableProvider>, LakeError> {
        let scan = at.table_provider().with_session(session).build().await;
        Ok(Arc::new(scan.map_err(|source| table_error(self.name, "read", DeltaTableError::from(source)))?))
    }

    /// The rows of some files of it, which may be in no version any more.
    pub(crate) async fn rows_in(&self, files: Vec<String>) -> Result<DataFrame, LakeError> {
        let options = ParquetReadOptions::default().schema(&self.schema);
        bare_context().read_parquet(files, options).await.querying(self.name)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its columns.
    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl RawTable for Table {
    type Head = Head;

    fn name(&self) -> &'static str {
        self.name
    }

    fn head(&self) -> Head {
        Self::head(self)
    }

    async fn refresh(&self) -> Result<Head, LakeError> {
        Self::refresh(self).await
    }

    async fn position(&self, at: &Head, app: &str) -> Result<Option<u64>, LakeError> {
        Self::position(self, at, app).await
    }

    async fn numbers(
        &self,
        journal: &Journal,
        range: RangeInclusive<u64>,
    ) -> Result<BTreeSet<u64>, LakeError> {
        let context = bare_context();
        let provider = self.provider(&self.reload().await?, Arc::new(context.state())).await?;
        let signed = |number: u64| lit(i64::try_from(number).unwrap_or(i64::MAX));
        let wanted = col("edge")
            .eq(lit(journal.edge.as_str()))
            .and(col("incarnation").eq(lit(journal.incarnation.to_string())))
            .and(col("sequence").between(signed(*range.start()), signed(*range.end())));
        let rows = context.read_table(provider).and_then(|table| table.filter(wanted));
        let rows = rows.and_then(|rows| rows.select_columns(&["sequence"])).querying(self.name)?;
        let batches = rows.collect().await.querying(self.name)?;
        let numbers = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
        Ok(numbers.map(|number| number.unsigned_abs()).collect())
    }

    async fn append(
        &self,
        onto: &Head,
        batches: Vec<RecordBatch>,
        positions: Vec<(String, u64)>,
    ) -> Result<Append, LakeError> {
        Self::append(self, onto, batches, positions).await
    }
}

/// The address of a data file.
pub(super) fn address(table: &DeltaTable, path: &str) -> String {
    let mut address = table.table_url().clone();
    let folder = address.path().trim_end_matches('/').to_owned();
    address.set_path(&format!("{folder}/{path}"));
    address.into()
}

pub(super) fn table_error(table: &'static str, doing: &'static str, source: DeltaTableError) -> LakeError {
    LakeError::Table { table, doing, source: Box::new(source) }
}

pub(super) fn file_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // So that a question about some minutes reads a part of a large file.
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build()
}
