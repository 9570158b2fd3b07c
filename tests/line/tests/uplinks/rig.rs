//! Everything of one test: the way, an edge's folder, a lake's folder, and what has to be true at the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;
use tempfile::TempDir;
use tokio::time::Instant;
use wattle_edge::uplink::kafka::Kafka;
use wattle_edge::uplink::{Options, Way};
use wattle_fog::lake::Lake;

use crate::cluster::Cluster;
use crate::edge::Edge;
use crate::fog::Fog;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct Rig {
    pub cluster: Cluster,
    folder: TempDir,
}

/// librdkafka's times, shortened so that a test of a second stands for an outage of minutes: the defaults are 60 s for a
/// request ([`Cluster::request_timeout`]), 30 s for a topic that is unknown, 10 s between tries to connect.
const QUICK: [(&str, &str); 6] = [
    ("broker.address.family", "v4"),
    ("reconnect.backoff.max.ms", "200"),
    ("retry.backoff.max.ms", "200"),
    ("topic.metadata.refresh.interval.ms", "1000"),
    ("topic.metadata.propagation.max.ms", "1000"),
    ("fetch.error.backoff.ms", "50"),
];

/// The same for a member of a group: the default is 10 s until it is given up, and as long until the others go on.
const QUICK_MEMBER: [(&str, &str); 3] =
    [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500"), ("fetch.wait.max.ms", "10")];

/// What replaces a fog node's settings of librdkafka.
pub fn fog_overrides(cluster: &Cluster) -> Vec<(String, String)> {
    let mut overrides = owned(QUICK.into_iter().chain(QUICK_MEMBER));
    // While a group comes together, the mock doesn't look at a member's connection. A member that closes it then, since a
    // request has taken too long, and asks anew on another has two questions open, and the mock asserts that it has one.
    if !matches!(cluster, Cluster::Mock(..)) {
        overrides.push(quick_request(cluster));
    }
    overrides
}

/// What replaces an edge's.
fn edge_overrides(cluster: &Cluster) -> Vec<(String, String)> {
    let mut overrides = owned(QUICK.into_iter().filter(|(key, _)| !key.starts_with("fetch.")));
    overrides.push(quick_request(cluster));
    overrides
}

fn quick_request(cluster: &Cluster) -> (String, String) {
    ("socket.timeout.ms".to_owned(), cluster.request_timeout().as_millis().to_string())
}

fn owned<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Rig {
    pub fn direct() -> Self {
        Self::on(Cluster::direct())
    }

    pub fn mock() -> Self {
        Self::on(Cluster::mock())
    }

    pub fn apache() -> Self {
        Self::on(Cluster::apache())
    }

    /// Apache Kafka of its own, to be killed.
    pub fn apache_alone() -> Self {
        Self::on(Cluster::apache_alone())
    }

    fn on(cluster: Cluster) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            wattle_process::init_tracing();
        }
        Self { cluster, folder: tempfile::tempdir().expect("a folder") }
    }

    /// A folder of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn lake(&self) -> PathBuf {
        self.path("lake")
    }

    /// A new edge; its journal stands in the folder of its name.
    pub fn edge(&self, id: &str) -> Edge {
        Edge::open(&self.path(id), id)
    }

    pub async fn fog(&self) -> Fog {
        Fog::start(&self.lake(), &self.cluster).await
    }

    /// How an edge sends on this way, with short waits.
    pub fn options(&self) -> Options {
        let way = match &self.cluster {
            Cluster::Direct(port) => Options::new(format!("http://127.0.0.1:{port}")).way,
            Cluster::Mock(_, config) | Cluster::Apache(_, config) => {
                Way::Kafka(Kafka { overrides: edge_overrides(&self.cluster), ..Kafka::new(config.clone()) })
            }
        };
        let quick = Duration::from_millis(50);
        Options { first_wait: quick, longest_wait: 4 * quick, ..Options::on(way) }
    }

    /// The same, on Kafka, changed.
    pub fn kafka_options(&self, change: impl FnOnce(&mut Kafka)) -> Options {
        let mut options = self.options();
        if let Way::Kafka(kafka) = &mut options.way {
            change(kafka);
        }
        options
    }

    /// Waits until the lake has all of these edges and their journals know it; then every acknowledged row has to be there
    /// once.
    pub async fn settles(&self, fog: &Fog, edges: &[&Edge]) {
        for edge in edges {
            let last = edge.last();
            until(&format!("{} to be freed up to {last}", edge.id), || async { edge.freed() == last }).await;
            self.has_once(&fog.lake, edge).await;
        }
    }

    /// Every row of an edge is in the lake once.
    pub async fn has_once(&self, lake: &Lake, edge: &Edge) {
        let position = lake.positions(&edge.id, edge.incarnation).await.expect("positions");
        assert_eq!(position, Some(edge.last()), "{}", edge.id);
        for (table, expected) in [("readings_raw", edge.readings), ("events", edge.events)] {
            let found = rows(lake, table, edge).await;
            assert_eq!(found, (expected, expected), "{table} of {}: rows, and different ones", edge.id);
        }
    }
}

/// How many rows a table has of an edge, gaps apart, and how many different ones.
pub async fn rows(lake: &Lake, table: &str, edge: &Edge) -> (u64, u64) {
    let gaps = if table == "events" { "AND kind <> 'gap'" } else { "" };
    let of = format!("edge = '{}' AND incarnation = '{}' {gaps}", edge.id, edge.incarnation);
    let sql = format!("SELECT count(*), count(DISTINCT sequence) FROM {table} WHERE {of}");
    let numbers = numbers(lake, &sql).await;
    (numbers[0] as u64, numbers[1] as u64)
}

/// The numbers of a query's only row.
pub async fn numbers(lake: &Lake, sql: &str) -> Vec<i64> {
    let context = lake.session_context().await.expect("a context");
    let batches = context.sql(sql).await.expect("a plan").collect().await.expect("rows");
    batches[0].columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect()
}

/// The texts of a query's only column.
pub async fn texts(lake: &Lake, sql: &str) -> Vec<String> {
    let context = lake.session_context().await.expect("a context");
    let batches = context.sql(sql).await.expect("a plan").collect().await.expect("rows");
    let cell = |batch, row| array_value_to_string(batch, row).expect("printable");
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| cell(batch.column(0), row))).collect()
}

/// Looks again and again until it is so. As the kit's `wait_for`, for looks that wait themselves: both ends of the line run in
/// this process, on few threads.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    found(what, async || is_so().await.then_some(())).await;
}

/// Looks again and again until something is found.
pub async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Copies a folder of files.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
