//! The running fog node: one lake, its writer, the edges' port, the queries' port, the derivation, the
//! upkeep, and HTTP.
//!
//! On SIGTERM, in this order: edges are told nothing new and their streams end with the answers that are owed; what is
//! queued is committed; the derived tables are brought up; queries that run are finished; the process ends with 0.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use wattle_process::{Health, HttpHandle, Pages, serve_pages};

use crate::config::{FogConfig, UplinkTls};
use crate::documents::Store;
use crate::documents::inbox::inbox;
use crate::lake::Lake;
use crate::query;
use crate::sources::kafka::KafkaSource;
use crate::sources::{LakeWriter, WriterFigures, direct};
use crate::upkeep::Upkeep;

/// The longest that edges are given to take the answers that they are owed.
const DRAIN: Duration = Duration::from_secs(10);

/// A fog node that runs.
pub struct Node {
    lake: Arc<Lake>,
    uplink: SocketAddr,
    sql: SocketAddr,
    http: HttpHandle,
    writer: tokio::task::JoinHandle<()>,
    edges: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    kafka: Option<KafkaSource>,
    queries: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    deriving: tokio::task::JoinHandle<()>,
    upkeep: tokio::task::JoinHandle<()>,
    stop_edges: watch::Sender<bool>,
    stop_queries: watch::Sender<bool>,
}

impl Node {
    /// Opens the lake and starts to serve. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the lake can't be opened or an address can't be listened on.
    pub async fn start(config: &FogConfig) -> anyhow::Result<Self> {
        let lake = Arc::new(Lake::open_with(&config.lake, config.cleaning()).await?);
        let health = Health::new();
        let tls = config.uplink_tls.as_ref().map(server_tls).transpose()?;
        let edge_port = listen("uplink", config.uplink).await?;
        let query_port = listen("sql", config.sql).await?;
        let (uplink, sql) = (edge_port.local_addr()?, query_port.local_addr()?);
        let (stop_edges, edges_stop) = watch::channel(false);
        let (stop_queries, queries_stop) = watch::channel(false);
        let (writer, writing) = LakeWriter::start(lake.clone(), config.writer_limits(), health.clone());
        let figures = writer.figures();
        let derived = Arc::new(AtomicI64::new(-1));
        let folder = config.documents_folder();
        let documents = Store::open(&folder)
            .with_context(|| format!("`documents` {} can't be used", folder.display()))?;
        let documents = Arc::new(documents);
        let status = status(config, figures.clone(), derived.clone(), documents.clone());
        let pages = Pages::new(status).taking(inbox(config.deploy.tokens(), documents.clone()));
        let http = serve_pages(config.http, health.clone(), pages)
            .with_context(|| format!("`http` can't listen on {}: is the port in use?", config.http))?;
        let every = Duration::from_millis(config.derive_interval_ms);
        let deriving = Deriving { lake: lake.clone(), health: health.clone(), figures, derived };
        let kafka = config.kafka_options();
        let kafka = kafka.map(|options| KafkaSource::start(options, writer.clone(), health.clone()));
        let upkeep = Upkeep { lake: lake.clone(), health, compact_bytes: config.compact_bytes };
        Ok(Self {
            edges: tokio::spawn(direct::serve(
                lake.clone(),
                writer,
                documents,
                edge_port,
                tls,
                edges_stop.clone(),
            )),
            kafka,
            queries: tokio::spawn(query::serve(lake.clone(), query_port, is_set(queries_stop))),
            deriving: tokio::spawn(deriving.run(every, edges_stop)),
            upkeep: tokio::spawn(upkeep.run(Duration::from_millis(config.compact_interval_ms))),
            lake,
            uplink,
            sql,
            http,
            writer: writing,
            stop_edges,
            stop_queries,
        })
    }

    /// The lake that it writes.
    pub fn lake(&self) -> &Arc<Lake> {
        &self.lake
    }

    /// Where edges dial in.
    pub fn uplink(&self) -> SocketAddr {
        self.uplink
    }

    /// Where Flight SQL is answered.
    pub fn sql(&self) -> SocketAddr {
        self.sql
    }

    /// Where HTTP is.
    pub fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// Waits for a part to end by itself. None should; without it the node would be there in vain, while edges wait for it and
    /// Kafka leaves it its partitions.
    pub async fn failure(&mut self) -> anyhow::Error {
        let kafka = async {
            match &mut self.kafka {
                Some(kafka) => kafka.ended().await,
                None => std::future::pending().await,
            }
        };
        // It returns by itself only when those that bring segments have ended.
        let writer = async {
            match (&mut self.writer).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let (part, ended) = tokio::select! {
            error = writer => ("the lake's writer", Err(error.into())),
            ended = &mut self.edges => ("the edges' port", flat(ended)),
            ended = kafka => ("the source from Kafka", ended.map_err(Into::into)),
            ended = &mut self.queries => ("the queries' port", flat(ended)),
            ended = &mut self.deriving => ("the derivation", ended.map_err(Into::into)),
            ended = &mut self.upkeep => ("the upkeep", ended.map_err(Into::into)),
        };
        let why = ended.err().unwrap_or_else(|| anyhow::anyhow!("it returned"));
        why.context(format!("{part} has ended; start the node again, edges keep what isn't committed"))
    }

    /// Commits what is queued, derives, and stops.
    ///
    /// # Errors
    /// When a server had failed, or the last derivation fails; what was answered is committed all the same.
    pub async fn stop(self) -> anyhow::Result<()> {
        // A merge that is cut off leaves the table as it was.
        self.upkeep.abort();
        self.stop_edges.send_replace(true);
        if let Some(kafka) = self.kafka {
            kafka.stop().await;
        }
        let mut edges = self.edges;
        match timeout(DRAIN, &mut edges).await {
            Ok(ended) => ended.context("edges")?.context("the edges' port failed")?,
            // An edge that doesn't read its answers asks for the position when it comes back.
            Err(_) => edges.abort(),
        }
        self.writer.await.context("the lake's writer failed")?;
        self.deriving.await.context("the derivation failed")?;
        self.lake.derive().await?;
        self.stop_queries.send_replace(true);
        self.queries.await.context("queries")?.context("the queries' port failed")?;
        self.http.stop().await;
        Ok(())
    }
}

fn flat<E: std::error::Error + Send + Sync + 'static>(
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> anyhow::Result<()> {
    Ok(ended??)
}

/// What the edges' port needs for mutual TLS.
fn server_tls(tls: &UplinkTls) -> anyhow::Result<ServerTlsConfig> {
    let read = |key: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("`uplink_tls.{key}` {} can't be read", path.display()))
    };
    let identity = Identity::from_pem(read("cert", &tls.cert)?, read("key", &tls.key)?);
    Ok(ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(read("ca", &tls.ca)?)))
}

async fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("`{key}` can't listen on {address}: is the port in use?"))
}

async fn is_set(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn status(
    config: &FogConfig,
    figures: Arc<WriterFigures>,
    derived: Arc<AtomicI64>,
    documents: Arc<Store>,
) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
    let lake = config.lake.display().to_string();
    let started = Instant::now();
    move || {
        let derived_ms = derived.load(Ordering::Relaxed);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "lake": lake,
            "up_s": started.elapsed().as_secs(),
            "commits": figures.commits.load(Ordering::Relaxed),
            "rows": figures.rows.load(Ordering::Relaxed),
            "segments_refused": figures.refused.load(Ordering::Relaxed),
            "last_derivation_ms": (derived_ms >= 0).then_some(derived_ms),
            "documents": documents.page(),
        })
    }
}

/// Brings the derived tables up after commits, in the background.
struct Deriving {
    lake: Arc<Lake>,
    health: Health,
    figures: Arc<WriterFigures>,
    derived: Arc<AtomicI64>,
}

impl Deriving {
    async fn run(self, every: Duration, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What a node that was killed has committed is derived at the first tick.
        let mut seen = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let commits = self.figures.commits.load(Ordering::Relaxed);
            if seen != Some(commits) && self.derive().await {
                seen = Some(commits);
            }
        }
    }

    async fn derive(&self) -> bool {
        let started = Instant::now();
        match self.lake.derive().await {
            Ok(report) => {
                self.health.clear("derivation");
                let took = started.elapsed();
                self.derived.store(i64::try_from(took.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
                metrics::histogram!("wattle_fog_derive_seconds").record(took.as_secs_f64());
                metrics::counter!("wattle_fog_interval_revisions_total").increment(report.intervals as u64);
                metrics::counter!("wattle_fog_session_revisions_total").increment(report.sessions as u64);
                true
            }
            Err(error) => {
                tracing::error!(%error, "derivation failed; it is tried again");
                self.health.fail("derivation", error.to_string());
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends a part.
    type Ends = fn(&Node);

    async fn node(folder: &Path) -> Node {
        let mut config = FogConfig { lake: folder.join("lake"), ..FogConfig::default() };
        for address in [&mut config.uplink, &mut config.sql, &mut config.http] {
            address.set_port(0);
        }
        Node::start(&config).await.expect("it starts")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_part_that_ends_by_itself_is_named() {
        let parts: [(&str, Ends); 5] = [
            ("writer", |node| node.writer.abort()),
            ("edges' port", |node| node.edges.abort()),
            ("queries' port", |node| node.queries.abort()),
            ("derivation", |node| node.deriving.abort()),
            ("upkeep", |node| node.upkeep.abort()),
        ];
        for (part, end) in parts {
            let folder = tempfile::tempdir().expect("a folder");
            let mut node = node(folder.path()).await;
            let waited = timeout(Duration::from_millis(50), node.failure()).await;
            assert!(waited.is_err(), "nothing has ended yet");
            end(&node);
            let error = timeout(Duration::from_secs(60), node.failure()).await.expect("it is noticed");
            assert!(error.to_string().contains(part), "{error:#}");
        }
    }
}
