//! A fog node: a lake, its writer, and the source of the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::ServerTlsConfig;
use wattle_fog::documents::Store;
use wattle_fog::lake::Lake;
use wattle_fog::sources::kafka::{KafkaSource, Options};
use wattle_fog::sources::{LakeWriter, WriterLimits, direct};
use wattle_process::Health;

use crate::cluster::{Cluster, PARTITIONS};
use crate::rig::{fog_overrides, found};

pub struct Fog {
    pub lake: Arc<Lake>,
    pub health: Health,
    stop: watch::Sender<bool>,
    writing: JoinHandle<()>,
    serving: Option<JoinHandle<()>>,
    kafka: Option<KafkaSource>,
}

impl Fog {
    /// One that serves edges on the way of `cluster`.
    pub async fn start(folder: &Path, cluster: &Cluster) -> Self {
        Self::start_with(folder, cluster, None, |_| ()).await
    }

    pub async fn start_with(
        folder: &Path,
        cluster: &Cluster,
        tls: Option<ServerTlsConfig>,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let lake = Arc::new(Lake::open(folder).await.expect("a lake"));
        let health = Health::new();
        let limits = WriterLimits { interval: Duration::from_millis(30), ..WriterLimits::default() };
        let (writer, writing) = LakeWriter::start(lake.clone(), limits, health.clone());
        let (stop, stopped) = watch::channel(false);
        let (mut serving, mut kafka) = (None, None);
        match cluster {
            Cluster::Direct(port) => {
                let listener = listen(*port).await;
                let documents = Store::open(&folder.join("documents")).expect("a folder");
                let served = direct::serve(lake.clone(), writer, documents.into(), listener, tls, stopped);
                serving = Some(tokio::spawn(async move { served.await.expect("the server") }));
            }
            Cluster::Mock(_, config) | Cluster::Apache(_, config) => {
                let mut options = Options {
                    partitions: PARTITIONS,
                    overrides: fog_overrides(cluster),
                    ..Options::new(config.clone())
                };
                change(&mut options);
                kafka = Some(KafkaSource::start(options, writer, health.clone()));
            }
        }
        Self { lake, health, stop, writing, serving, kafka }
    }

    /// Ends it wherever it is, in the middle of a commit too.
    pub async fn kill(self) {
        self.writing.abort();
        if let Some(serving) = self.serving {
            serving.abort();
            let _ = serving.await;
        }
        let _ = self.writing.await;
        if let Some(kafka) = self.kafka {
            kafka.abandon().await;
        }
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Some(kafka) = self.kafka {
            kafka.stop().await;
        }
        if let Some(serving) = self.serving {
            serving.await.expect("it ends");
        }
        self.writing.await.expect("the writer ends");
    }
}

/// The port may still be held by connections of the node before.
async fn listen(port: u16) -> TcpListener {
    found("the port", async || TcpListener::bind(("127.0.0.1", port)).await.ok()).await
}
