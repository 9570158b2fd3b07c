//! What a node needs before its actors can start: the journal, the broker, and the lanes to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use rumqttc::{QoS, SubscribeFilter};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wattle_process::Health;
use wattle_wire::DeviceId;
use wattle_wire::topic;

use crate::broker::exchange::Settings;
use crate::broker::supervisor::{self, Board, Supervisor};
use crate::broker::{self, RefusedLogin};
use crate::clock::Clock;
use crate::config::{
    BrokerConfig, BrokerMode, Config, JournalConfig, SyncPolicy, UplinkTls, UplinkWay, host_and_port,
};
use crate::files;
use crate::former;
use crate::journal::{self, Journal as Log};
use crate::mqtt::{self, Delivery, Lane, Login};
use crate::passwords;
use crate::peers::peers;
use crate::restore::{self, Restored};
use crate::site_model;
use crate::uplink::{Direct, Tls, Way};

/// Opens the journal and brings the devices' machines to where it ends; gives also the journals of its former lives.
pub(crate) fn open_journal(
    config: &Config,
    sites: &[files::Site],
    clock: &Clock,
) -> anyhow::Result<(Restored, Vec<Log>)> {
    std::fs::create_dir_all(&config.data).with_context(|| {
        format!(
            "can't make the data folder {}; name one that the edge's user may write",
            config.data.display()
        )
    })?;
    let options = journal::Options { sites: sites.len(), ..journal_options(config) };
    let (log, recovery) = Log::open(options.clone(), clock.now()).context("can't open the journal")?;
    let machines = sites.iter().flat_map(|site| {
        let model = Arc::new(site_model(&site.file));
        let peers = peers(&site.file).into_iter();
        peers.map(move |peer| ((model.id.clone(), peer.id.clone()), peer.machine(&model)))
    });
    let mut machines: restore::Machines = machines.collect();
    // Until its first checkpoint it knows of no row by itself but those that it has.
    let is_new = recovery.checkpoint.is_none();
    let (former, known) = former::open(&options, is_new, &mut machines, clock.now())?;
    Ok((restore::restore_knowing(log, recovery, machines, known)?, former))
}

fn journal_options(config: &Config) -> journal::Options {
    let JournalConfig { budget_mib, sync, sync_interval_ms, seal_after_ms } = &config.journal;
    let millis = |ms: u64| wattle_wire::Millis(i64::try_from(ms).unwrap_or(i64::MAX));
    let sync = match sync {
        SyncPolicy::Batch => journal::SyncPolicy::Batch,
        SyncPolicy::Interval => journal::SyncPolicy::Interval(millis(*sync_interval_ms)),
        SyncPolicy::Off => journal::SyncPolicy::Off,
    };
    journal::Options {
        budget_bytes: budget_mib << 20,
        seal_after_ms: millis(*seal_after_ms),
        sync,
        ..journal::Options::new(config.data.join("journal"), config.id.clone())
    }
}

/// The embedded broker, and whom it refuses.
pub(crate) type Embedded = (Supervisor, mpsc::Receiver<RefusedLogin>);

/// Starts the embedded broker, or gives how to reach the external one.
pub(crate) async fn start_broker(
    config: &Config,
    sites: &[files::Site],
    health: &Health,
) -> anyhow::Result<(Login, Option<Embedded>)> {
    let broker = &config.broker;
    if broker.mode == BrokerMode::External {
        let (host, port) = host_and_port(&broker.address).context("broker.address is host:port")?;
        let password = broker.password_file.as_deref().map(first_line).transpose()?.unwrap_or_default();
        let (client_id, user) = (broker.client_id.clone(), broker.user.clone());
        return Ok((Login { host, port, client_id, user, password, may_be_shared: true }, None));
    }
    let peers: Vec<_> = sites.iter().flat_map(|site| peers(&site.file)).collect();
    let devices: Vec<&DeviceId> = peers.iter().map(|peer| &peer.address.device).collect();
    let accounts = passwords::load(&config.data.join(passwords::FILE_NAME), &devices)?;
    let password = passwords::random();
    let (listen, devices) = (broker.listen, devices.len());
    let settings = Settings { listen, accounts, edge_password: password.clone(), devices };
    let embedded = Supervisor::start(supervisor::own_program, settings, health.clone())
        .await
        .with_context(|| format!("can't listen on {listen} for devices; choose another [broker] listen"))?;
    let address = broker::reachable(embedded.0.address());
    let login = Login {
        host: address.ip().to_string(),
        port: address.port(),
        client_id: broker::EDGE_USER.into(),
        user: broker::EDGE_USER.into(),
        password,
        may_be_shared: false,
    };
    Ok((login, Some(embedded)))
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the broker's password from {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

pub(crate) type Receivers = Vec<mpsc::Receiver<Delivery>>;

/// Connects to the broker; gives each lane with what it reads.
pub(crate) fn start_lanes(
    config: &Config,
    sites: &[files::Site],
    login: &Login,
) -> anyhow::Result<(Vec<Lane>, Receivers)> {
    let lanes =
        mqtt::start(login, subscriptions(&config.broker, sites)).context("can't start the MQTT client")?;
    Ok(lanes.into_iter().unzip())
}

/// What each lane subscribes to; see [`crate::mqtt`].
fn subscriptions(broker: &BrokerConfig, sites: &[files::Site]) -> Vec<Vec<SubscribeFilter>> {
    let acknowledged = |filter: String| SubscribeFilter::new(filter, QoS::AtLeastOnce);
    if broker.mode == BrokerMode::External {
        let mut filters: Vec<_> =
            sites.iter().map(|site| acknowledged(topic::site_filter(&site.file.id))).collect();
        filters.extend(
            crate::foreign::FILTERS.map(|filter| SubscribeFilter::new(filter.into(), QoS::AtMostOnce)),
        );
        return vec![filters];
    }
    if broker.lanes == 1 {
        // The broker is ours alone: whatever is published there concerns us.
        return vec![vec![acknowledged("#".into())]];
    }
    let mut lanes = vec![Vec::new(); broker.lanes + 1];
    lanes[0].push(SubscribeFilter::new("#".into(), QoS::AtMostOnce));
    for (index, peer) in sites.iter().flat_map(|site| peers(&site.file)).enumerate() {
        let lane = &mut lanes[1 + index % broker.lanes];
        lane.extend(peer.channels().iter().map(|channel| acknowledged(peer.address.topic(*channel))));
    }
    lanes.retain(|filters| !filters.is_empty());
    lanes
}

/// How the status page tells of the broker; `board` of the embedded one, `dropped` as an external one says.
pub(crate) fn broker_page(
    broker: &BrokerConfig,
    login: &Login,
    board: Option<Arc<Board>>,
    dropped: Arc<AtomicU64>,
) -> impl Fn() -> Value + Send + Sync + 'static {
    let mode = match broker.mode {
        BrokerMode::Embedded => "embedded",
        BrokerMode::External => "external",
    };
    let (address, lanes) = (format!("{}:{}", login.host, login.port), broker.lanes);
    move || {
        json!({
            "mode": mode,
            "address": address,
            "lanes": lanes,
            "process": board.as_ref().and_then(|board| board.process()),
            "restarts": board.as_ref().map(|board| board.restarts()),
            "dropped": dropped.load(Ordering::Relaxed),
        })
    }
}

/// How the fog node is dialled that hands documents down. Where there is none that somebody may expect, that is logged.
pub(crate) fn documents_way(config: &Config) -> Option<Direct> {
    if let Some(note) = config.documents_note() {
        tracing::warn!("{note}");
    }
    let fog = config.documents_from()?;
    Some(Direct { tls: tls(config), ..Direct::new(fog) })
}

fn tls(config: &Config) -> Option<Tls> {
    let tls = config.uplink.tls.clone();
    tls.map(|UplinkTls { ca, cert, key, server_name }| Tls { ca, cert, key, server_name })
}

/// The configured way up; none when rows are to stay in the journal.
pub(crate) fn uplink_way(config: &Config) -> Option<Way> {
    let uplink = &config.uplink;
    match uplink.way {
        UplinkWay::Direct if uplink.address.is_empty() => None,
        UplinkWay::Direct => {
            Some(Way::Direct(Direct { tls: tls(config), ..Direct::new(uplink.address.clone()) }))
        }
        #[cfg(feature = "kafka")]
        UplinkWay::Kafka => Some(Way::Kafka(crate::uplink::kafka::Kafka {
            compression: uplink.compression,
            max_message_bytes: uplink.max_message_bytes,
            free_on_delivery: uplink.free_on_delivery,
            probe_after: std::time::Duration::from_secs(uplink.probe_after_s),
            ..crate::uplink::kafka::Kafka::new(config.kafka.clone())
        })),
        // The configuration was refused.
        #[cfg(not(feature = "kafka"))]
        UplinkWay::Kafka => None,
    }
}
