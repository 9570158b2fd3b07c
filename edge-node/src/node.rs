//! Puts the parts of a node together, runs it, and ends it in order.
//!
//! Start: journal (recovered), broker, lanes, journal's actor, sites, devices (each with the state that it had
//! kept and the rows since), ingress last: nothing is read before everything behind it stands.
//!
//! End, at SIGTERM: the lanes stop taking; what was taken is synced and acknowledged; the devices' states go
//! into a checkpoint; the rest is sealed and, for a bounded time, sent up; the embedded broker ends last.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::prelude::*;
use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use wattle_edge_core::{DeviceOutput, Heard, Part, PeerMachine, SiteInput, SiteMachine, SystemMachine};
use wattle_policy_host::Limits;
use wattle_process::{Health, Pages};
use wattle_wire::row::{Event, EventKind, Row};
use wattle_wire::topic::Channel;
use wattle_wire::{DeviceId, Micros, Millis, SiteId};

use crate::actors::device::{Device, Keep};
use crate::actors::ingress::{Deliveries, Ingress, MAX_BATCH, Refused, Route, SiteRoute, Unsettled};
use crate::actors::journal::{Close, Journal, Shared};
use crate::actors::site::{Deployed, Intake, Offer, Site, Stop};
use crate::actors::uplink::{Stop as StopUplink, Uplink};
use crate::broker::RefusedLogin;
use crate::broker::supervisor::Supervisor as BrokerSupervisor;
use crate::clock::Clock;
use crate::config::Config;
use crate::down::folder::Folder;
use crate::down::follow::follow;
use crate::down::inbox::inbox;
use crate::down::place::Place;
use crate::down::worker::{Queue, Worker};
use crate::down::{self, Board, Down};
use crate::files::{self, Files};
use crate::former;
use crate::journal::RealDisk;
use crate::mqtt::{self, Delivery, Lane};
use crate::numbers;
use crate::peers::peers;
use crate::policy::aside::Aside;
use crate::policy::keep::Keeper;
use crate::policy::watch::{Reader, Watch};
use crate::policy::{self, Role, SitePolicy, Source};
use crate::restore::Restored;
use crate::setup::{broker_page, documents_way, open_journal, start_broker, start_lanes, uplink_way};
use crate::site_model;
use crate::status::{SiteBoard, Status};
use crate::told::Told;
use crate::uplink;

/// How often the devices' states are kept for a restart.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How long an end waits for what was taken to be synced and acknowledged.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// How often an end looks again at what it waits for.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a node until `stop` ends, then drains it. Must run on an actix system.
///
/// # Errors
/// When it can't start (the text says what and what to do), or when a batch was lost, so that a restart has
/// to take it again.
pub async fn run(files: Files, stop: impl Future<Output = std::io::Result<()>>) -> anyhow::Result<()> {
    let (failed, lost) = oneshot::channel();
    let node = Node::start(&files, failed).await?;
    // Of thousands of sites the files come to megabytes, and the node has taken what it needs.
    let drain_time = Duration::from_millis(files.config.uplink.drain_ms);
    drop(files);
    tokio::select! {
        stopped = stop => stopped.context("can't wait for SIGTERM")?,
        _ = lost => anyhow::bail!("a batch was lost before it reached the disk; start again to take it anew"),
    }
    node.drain(drain_time).await;
    Ok(())
}

struct Node {
    /// The embedded one.
    broker: Option<BrokerSupervisor>,
    lanes: Vec<Lane>,
    ingress: Addr<Ingress>,
    devices: Vec<Addr<Device>>,
    sites: Vec<Addr<Site>>,
    journal: Addr<Journal>,
    uplink: Option<Addr<Uplink>>,
    /// Those of former lives.
    _former: Vec<Addr<Uplink>>,
    clock: Arc<Clock>,
    http: wattle_process::HttpHandle,
    _policies: Watch,
}

impl Node {
    async fn start(files: &Files, failed: oneshot::Sender<()>) -> anyhow::Result<Self> {
        let Files { config, sites } = files;
        let clock = Arc::new(Clock::start());
        let health = Health::new();
        let (restored, former) = open_journal(config, sites, &clock)?;
        let (login, embedded) = start_broker(config, sites, &health).await?;
        let (lanes, receivers) = start_lanes(config, sites, &login)?;

        let journal_board = Arc::new(Mutex::new(Value::Null));
        let (sealed, sealed_to) = watch::channel(0);
        let (health_of_disk, board) = (health.clone(), journal_board.clone());
        let shared = Shared { clock: clock.clone(), health: health_of_disk, board, sealed, is_former: false };
        let Restored { log, machines, checkpoint, note } = restored;
        let incarnation = log.incarnation();
        let names: Vec<SiteId> = sites.iter().map(|site| site.file.id.clone()).collect();
        let thread = Arbiter::new();
        let former =
            former.into_iter().map(|log| (log.incarnation(), former::start(log, &shared, &thread.handle())));
        let former: Vec<_> = former.collect();
        let journal = Supervisor::start_in_arbiter(&thread.handle(), move |_| {
            Journal::new(log, shared, names, checkpoint)
        });

        let boards: Vec<_> = sites.iter().map(|s| Arc::new(SiteBoard::new(s.file.id.clone()))).collect();
        let (down, queue) = Down::new(Board::default());
        let builder =
            SiteBuilder { config, clock: &clock, lane: mqtt::voice(&lanes), journal: &journal, down: &down };
        let (site_actors, policies) = builder.start(sites, &boards, &note, queue)?;
        let (devices, routes) = start_devices(sites, &site_actors, machines, clock.now());

        let way = uplink_way(config);
        let address = way.as_ref().map(|way| way.name().to_owned()).unwrap_or_default();
        let uplink_board = Arc::new(Mutex::new(json!({"address": address, "state": "none"})));
        let options = way.map(|way| uplink::Options {
            bytes_per_second: config.uplink.bytes_per_second,
            ..uplink::Options::on(way)
        });
        let uplink = options.clone().map(|options| {
            let board = uplink_board.clone();
            Uplink::new(config.id.clone(), options, incarnation, journal.clone(), sealed_to, board).launch()
        });

        // What former lives hold goes the same way.
        let former = former.into_iter().filter_map(|(incarnation, (journal, sealed_to))| {
            let (id, board) = (config.id.clone(), Arc::default());
            let uplink = Uplink::new(id, options.clone()?, incarnation, journal, sealed_to, board);
            Some(uplink.of_former_life().launch())
        });
        let _former = former.collect();

        let site_routes = sites.iter().zip(&site_actors);
        let site_routes = site_routes
            .map(|(site, address)| SiteRoute { id: site.file.id.clone(), address: address.clone() });
        let mut failed = Some(failed);
        let failed = std::cell::RefCell::new(move || {
            if let Some(failed) = failed.take() {
                // Nobody listens only while the node ends anyway.
                let _ = failed.send(());
            }
        });
        let dropped = Arc::new(AtomicU64::new(0));
        let (told, site_routes) = (dropped.clone(), site_routes.collect());
        let ingress = Ingress::new(clock.clone(), lanes.clone(), site_routes, routes, told, move || {
            (failed.borrow_mut())();
        });
        let ingress = Supervisor::start(|_| ingress);
        for (lane, receiver) in receivers.into_iter().enumerate() {
            actix::spawn(feed(lane, receiver, ingress.clone()));
        }
        let broker = embedded.map(|(broker, refusals)| {
            actix::spawn(feed_refusals(refusals, ingress.clone()));
            broker
        });
        actix::spawn(keep_states(devices.clone(), clock.clone()));
        actix::spawn(mqtt::watch(lanes.clone(), dropped.clone(), health.clone()));

        if let Some(fog) = documents_way(config) {
            actix::spawn(follow(fog, config.id.clone(), down.clone()));
        }

        let status = Status {
            edge: config.id.clone(),
            broker: Box::new(broker_page(
                &config.broker,
                &login,
                broker.as_ref().map(BrokerSupervisor::board),
                dropped,
            )),
            sync: config.journal.sync.as_str(),
            lanes: lanes.clone(),
            sites: boards,
            journal: journal_board,
            uplink: uplink_board,
            documents: down.board().clone(),
        };
        let names = sites.iter().map(|site| site.file.id.clone()).collect();
        let inbox = inbox(config.deploy.tokens(), down.clone(), config.id.clone(), names);
        let status = Arc::new(status);
        let found = status.clone();
        let pages = Pages::new(move || status.json()).finding(move |path| found.find(path)).taking(inbox);
        let http = wattle_process::serve_pages(config.http.listen, health, pages).with_context(|| {
            format!("can't listen on {} for HTTP; choose another [http] listen", config.http.listen)
        })?;
        tracing::info!(
            edge = %config.id,
            broker = format!("{}:{}", login.host, login.port),
            http = %http.address(),
            sites = sites.len(),
            "running"
        );
        let (sites, _policies) = (site_actors, policies);
        Ok(Self { broker, lanes, ingress, devices, sites, journal, uplink, _former, clock, http, _policies })
    }

    /// Ends in order; says in the log what it could not wait for.
    async fn drain(self, uplink_time: Duration) {
        tracing::info!("stopping: no more input is taken");
        self.lanes.iter().for_each(Lane::drain);
        if !within(SETTLE_TIME, || async { matches!(self.ingress.send(Unsettled).await, Ok(0)) }).await {
            tracing::warn!("some input was not synced in time; the broker delivers it again");
        }
        for site in &self.sites {
            site.do_send(Stop { reason: "told to stop".into() });
        }
        let at = self.clock.now();
        for device in &self.devices {
            // A device that is gone has nothing to keep.
            let _ = device.send(Keep { at }).await;
        }
        for site in &self.sites {
            let _ = site.send(crate::actors::site::Flush).await;
        }
        self.lanes.iter().for_each(Lane::disconnect);
        let closed = within(SETTLE_TIME, || self.is_closed()).await;
        let sent = match (&self.uplink, closed) {
            (Some(_), true) => within(uplink_time, || self.is_sent()).await,
            _ => closed,
        };
        if !sent {
            tracing::warn!(
                "some rows are not in the lake yet; they are in the journal and go up after the next start"
            );
        }
        if let Some(uplink) = &self.uplink {
            // An uplink that is gone has stopped.
            let _ = uplink.send(StopUplink).await;
        }
        within(SETTLE_TIME, || async { self.lanes.iter().all(|lane| !lane.is_connected()) }).await;
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        self.http.stop().await;
        tracing::info!("stopped");
    }

    async fn is_closed(&self) -> bool {
        match self.journal.send(Close).await {
            Ok(Ok(stats)) => stats.sealed_to + 1 == stats.next_sequence,
            Ok(Err(error)) => {
                // Asked again at once, many times; the journal's actor says once what keeps it from writing.
                tracing::debug!(%error, "the journal can't be closed yet");
                false
            }
            Err(_) => true,
        }
    }

    async fn is_sent(&self) -> bool {
        matches!(self.journal.send(crate::actors::journal::Ask).await, Ok(stats) if stats.depth == 0)
    }
}

/// Looks again and again until `done`; false when the time is up.
pub(crate) async fn within<F: Future<Output = bool>>(time: Duration, mut done: impl FnMut() -> F) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if done().await {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        actix::clock::sleep(LOOK).await;
    }
}

struct SiteBuilder<'a> {
    config: &'a Config,
    clock: &'a Arc<Clock>,
    lane: &'a Lane,
    journal: &'a Addr<Journal>,
    down: &'a Down,
}

impl SiteBuilder<'_> {
    fn start(
        &self,
        sites: &[files::Site],
        boards: &[Arc<SiteBoard>],
        note: &str,
        queue: Queue,
    ) -> anyhow::Result<(Vec<Addr<Site>>, Watch)> {
        let host = policy::host(&self.config.data, Limits::default())
            .context("can't start the runtime for policies")?;
        let host = policy::trusting(host, self.config);
        let folder = policy::folder(self.config.policies.as_deref());
        let keeper =
            Keeper::start(&self.config.data).context("can't start the thread that keeps policies")?;
        let aside = Aside::start().context("can't start the thread of policies in shadow")?;
        let now = self.clock.now();
        let first_number = numbers::take(&RealDisk, &self.config.data, now);
        let (mut present, before) = (Told::default(), Told::read(&RealDisk, &self.config.data));
        let mut all = before.clone();
        for site in sites {
            let model = site_model(&site.file);
            present.add(&model);
            all.add(&model);
        }
        all.write(&RealDisk, &self.config.data);
        forget_later(present, before.holds_for(), self.config.data.clone());
        let mut actors = Vec::with_capacity(sites.len());
        let deployed =
            Folder::open(&self.config.data).context("can't make the folder for what is deployed")?;
        let (mut readers, mut places) = (Vec::new(), BTreeMap::new());
        for (index, (site, board)) in sites.iter().zip(boards).enumerate() {
            let mut machine = SiteMachine::new(site_model(&site.file), first_number, now)
                .with_context(|| format!("site {}", site.file.id))?;
            before.reserve(&mut machine);
            let last = keeper.place(&site.file.id, &site.file.control.policy);
            let (control, aside) = (&site.file.control, Some(aside.clone()));
            let mut policy = SitePolicy::load_with(&host, &folder, control, Some(last), aside);
            let sources: Vec<_> = policy.sources().map(|(role, source)| (role, source.clone())).collect();
            let (clock, lane, journal) = (self.clock.clone(), self.lane.clone(), self.journal.clone());
            let topics = peers(&site.file);
            let topics = topics.into_iter().map(|peer| (peer.id, peer.address.topic(Channel::Setpoint)));
            let id = &site.file.id;
            let (kept, mut missed) = down::start::read(&deployed, id);
            let of = (id, &site.file.control);
            let standing = down::start::place(&host, &deployed, of, (&kept, &mut missed), &mut policy);
            let rows = self.first_rows(site, note).into_iter().chain(standing).collect();
            let mut place = Place {
                control: site.file.control.clone(),
                text: site.text.as_str().into(),
                sources: of_the_file(&sources),
                kept,
                missed,
                tell: Box::new(|_| ()),
            };
            let configuration = place.configuration();
            let (lane, board) = ((lane, topics.collect()), board.clone());
            let (machine, policy) = ((machine, configuration.as_str()), (policy, self.down.clone()));
            let actor = Site::new(clock, machine, policy, lane, journal, board, rows);
            let actor = actor.first_after(turn(index, sites.len(), control.interval_ms));
            let address = Supervisor::start(|_| actor);
            self.down.board().keep(id, &place.kept, place.unloaded());
            let actor = address.clone();
            // There is one per document and per policy that fails.
            place.tell = Box::new(move |order| actor.do_send(Deployed(order)));
            places.insert(id.clone(), place);
            readers.extend(sources.into_iter().map(|(role, source)| reader(role, source, &address)));
            actors.push(address);
        }
        let loads = host.loads();
        tracing::info!(loads.compiled, loads.from_cache, loads.shared, "policies loaded");
        self.down.board().refused(deployed.strangers());
        let worker = Worker {
            edge: self.config.id.clone(),
            host: host.clone(),
            folder: deployed,
            clock: self.clock.clone(),
            places,
            board: self.down.board().clone(),
        };
        Down::start(queue, worker).context("can't start the thread that takes what is deployed")?;
        let watch = Watch::start(host, readers).context("can't start the thread that watches policies")?;
        Ok((actors, watch))
    }

    /// That the node has started, and with which configuration.
    fn first_rows(&self, site: &files::Site, note: &str) -> Vec<Row> {
        let id = site.file.id.clone();
        let detail = format!(
            "version {}, sync {}; {note}",
            env!("CARGO_PKG_VERSION"),
            self.config.journal.sync.as_str()
        );
        let started = Event::new(id.clone(), None, EventKind::NodeStarted, detail);
        let configured =
            Event { detail: site.text.clone(), ..Event::new(id, None, EventKind::Configured, "") };
        vec![Row::Event(started), Row::Event(configured)]
    }
}

/// How long after the start of a node with so many sites one of them has its turn.
fn turn(index: usize, sites: usize, interval: Millis) -> Duration {
    let interval = Duration::from_millis(u64::try_from(interval.0).unwrap_or_default());
    interval.mul_f64(index as f64 / sites.max(1) as f64)
}

/// Keeps only what this start may tell once nothing that was told before it holds any more.
fn forget_later(present: Told, before: Duration, data: std::path::PathBuf) {
    actix::spawn(async move {
        tokio::time::sleep(before).await;
        // A thread that can't be had leaves more than is needed.
        let _ = tokio::task::spawn_blocking(move || present.write(&RealDisk, &data)).await;
    });
}

/// Tells a site of the versions that come from a source.
fn reader(role: Role, source: Source, site: &Addr<Site>) -> Reader {
    let site = site.clone();
    let from = source.clone();
    (source, Box::new(move |found| site.do_send(Offer { role, source: from.clone(), found })))
}

/// Where a site file's policy and its shadow come from.
fn of_the_file(sources: &[(Role, Source)]) -> (Option<Source>, Option<Source>) {
    let of = |role| sources.iter().find(|(of, _)| *of == role).map(|(_, source)| source.clone());
    (of(Role::Active), of(Role::Shadow))
}

fn start_devices(
    sites: &[files::Site],
    actors: &[Addr<Site>],
    mut machines: BTreeMap<(SiteId, DeviceId), PeerMachine>,
    now: Micros,
) -> (Vec<Addr<Device>>, Vec<Route>) {
    let mut devices = Vec::new();
    let mut routes = Vec::new();
    for (index, (site, address)) in sites.iter().zip(actors).enumerate() {
        let here = machines.iter_mut().filter(|((of, _), _)| *of == site.file.id);
        let mut again = DeviceOutput::default();
        SystemMachine::again(here.filter_map(|(_, machine)| machine.system_mut()), now, &mut again);
        let tell = |DeviceOutput { rows, inputs, .. }| {
            if !inputs.is_empty() {
                address.do_send(Intake { at: now, rows, inputs, ..Intake::default() });
            }
        };
        tell(again);
        for peer in peers(&site.file) {
            let key = (site.file.id.clone(), peer.id.clone());
            let Some(machine) = machines.remove(&key) else { continue };
            tell(known_again(&machine, peer.part));
            let speaks = peer.address;
            let actor = Device::new(index, peer.id, speaks.clone(), machine, address.clone());
            let actor = Supervisor::start(|_| actor);
            routes.push(Route { site: index, speaks, address: actor.clone() });
            devices.push(actor);
        }
    }
    (devices, routes)
}

/// What the site's machine, which starts anew, has to know again of a device.
fn known_again(machine: &PeerMachine, part: Part) -> DeviceOutput {
    let mut again = DeviceOutput::default();
    match machine {
        PeerMachine::Device(machine) if machine.stay().is_some() => {
            // Whether the charger is there the site learns from the charger.
            let heard = [Heard::Stay(machine.stay().cloned()), Heard::Online(false)];
            again.inputs = heard.map(|heard| SiteInput { part, seen: None, heard }).into();
        }
        PeerMachine::Device(_) | PeerMachine::System(_) => {}
    }
    again
}

/// Brings what a lane has read to the ingress, as much at a time as is there.
async fn feed(lane: usize, mut receiver: mpsc::Receiver<Delivery>, ingress: Addr<Ingress>) {
    let mut messages = Vec::with_capacity(MAX_BATCH);
    while receiver.recv_many(&mut messages, MAX_BATCH).await > 0 {
        let batch = std::mem::replace(&mut messages, Vec::with_capacity(MAX_BATCH));
        if ingress.send(Deliveries { lane, messages: batch }).await.is_err() {
            return;
        }
    }
}

async fn feed_refusals(mut refusals: mpsc::Receiver<RefusedLogin>, ingress: Addr<Ingress>) {
    while let Some(login) = refusals.recv().await {
        if ingress.send(Refused(login)).await.is_err() {
            return;
        }
    }
}

async fn keep_states(devices: Vec<Addr<Device>>, clock: Arc<Clock>) {
    let mut interval = actix::clock::interval(KEEP_INTERVAL);
    loop {
        interval.tick().await;
        let at = clock.now();
        for device in &devices {
            // One after the other, so that states don't pile up; a device that is gone has nothing to keep.
            let _ = device.send(Keep { at }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sites_of_a_node_take_turns_within_the_interval() {
        let turns: Vec<_> = (0..4).map(|index| turn(index, 4, Millis(1_000)).as_millis()).collect();
        assert_eq!(turns, [0, 250, 500, 750]);
        assert_eq!(turn(0, 1, Millis(1_000)), Duration::ZERO);
        assert_eq!(turn(999, 1_000, Millis(60_000)), Duration::from_millis(59_940));
    }
}
