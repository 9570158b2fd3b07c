//! Decisions of one node with 1,000 chargers on 50 sites, beside a bare echo in the same run.
//!
//! Every site has a meter and 20 chargers that charge, confirm what they are told, and measure once a second, each over a
//! connection of its own; sites decide once a second, and at once when a reading shows that a limit is passed. One site
//! after the other the other load rises by 20 A, so that the reading that shows it forces all chargers of the site down
//! by 1 A. The time runs from handing that reading to the MQTT client to a charger's client having its setpoint in hand. Between
//! two such steps goes an echo. A step that a charger's setpoint has come before, because the node took the load to be
//! higher for a moment, gives no sample of it; how many those are is told.
//!
//! The echo goes over the same broker under the same load. The edge journals what comes on topics that nobody should use; so
//! the echo uses two of those that lead to devices, which the edge's own broker brings it too and it passes over. A second
//! echo in turn with the first goes over an idle broker of the same kind: what load alone makes of an echo.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use wattle_wire::message::{self, Setpoint};

use crate::decide::{Echo, reading};
use crate::load::edge::Uses;
use crate::load::publish::noisy;
use crate::load::{Broker, BrokerKind, Edge, PASSWORD};
use crate::report::Report;
use crate::sample::{micros, percentile};

const SITES: usize = 50;
const CHARGERS: usize = 20;
const MAX_MA: i32 = 32_000;
const MIN_MA: i32 = 6_000;
const LIMIT_MA: i32 = (MAX_MA + 1_000) * CHARGERS as i32;
/// The other load at which every charger may just have its maximum.
const LEAST_LOAD_MA: i32 = 500 * CHARGERS as i32;
const STEP_MA: i32 = 1_000 * CHARGERS as i32;
/// There and back: topics of devices that no site has, on channels that lead to devices.
const ECHO_TOPICS: [&str; 2] = ["wattle/v1/site-0/answerer/setpoint", "wattle/v1/site-0/hearer/setpoint"];
/// How often each device measures, and each site decides.
const PERIOD: Duration = Duration::from_secs(1);
/// For how long all chargers of a site have to be where they should before its next step.
const STEADY: Duration = Duration::from_millis(2_500);
/// Between two steps of the node.
const PAUSE: Duration = Duration::from_millis(25);
/// For how long steps are made.
const SPAN: Duration = Duration::from_secs(60);
/// How long all may take to connect and to charge at full power.
const START: Duration = Duration::from_secs(90);
/// How long a setpoint may take.
const ANSWER: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Default)]
struct Times {
    decisions: Vec<Duration>,
    echoes: Vec<Duration>,
    /// Over an idle broker.
    idle_echoes: Vec<Duration>,
    /// Setpoints that came before the step that should have forced them.
    early: usize,
    steps: usize,
}

/// Measures with Mosquitto and with the edge's own broker.
///
/// # Errors
/// When something doesn't start, or no setpoint comes.
pub fn measure(report: &mut Report) -> Result<()> {
    for kind in [BrokerKind::Mosquitto, BrokerKind::Rumqttd] {
        let idle = Broker::start(kind, &devices())?;
        let shared = match kind {
            BrokerKind::Mosquitto => Some(Broker::start(kind, &devices())?),
            BrokerKind::Rumqttd => None,
        };
        let uses = shared.as_ref().map_or(Uses::Embedded, |broker| Uses::External(broker.port()));
        add(report, kind.as_str(), &mut times(uses, idle.port())?);
    }
    Ok(())
}

fn add(report: &mut Report, broker: &str, times: &mut Times) {
    for percent in [50, 99] {
        let peer = micros(percentile(&mut times.echoes, percent));
        let decided = micros(percentile(&mut times.decisions, percent));
        let case = format!("{broker}: p{percent} of {} in {} steps", times.decisions.len(), times.steps);
        report.add("fleet", case, (decided, "us"), (format!("an echo's p{percent}, {peer:.0}"), peer));
        let idle = micros(percentile(&mut times.idle_echoes, percent));
        let against = (format!("an echo's over an idle broker p{percent}, {idle:.0}"), idle);
        report.add("fleet", format!("{broker}: p{percent}, the same"), (decided, "us"), against);
    }
    let all = (times.early + times.decisions.len()) as f64;
    let case = format!("{broker}: setpoints that came before their step");
    report.add("fleet", case, (times.early as f64, "setpoints"), (format!("all, {all:.0}"), all));
}

fn site_name(site: usize) -> String {
    format!("site-{site}")
}

fn charger(site: usize, charger: usize) -> String {
    format!("cp-{site}-{charger}")
}

fn meter_name(site: usize) -> String {
    format!("m-{site}")
}

fn devices() -> Vec<String> {
    let chargers = (0..SITES).flat_map(|site| (0..CHARGERS).map(move |n| charger(site, n)));
    let others = ["asker", "answerer", "hearer"].map(str::to_owned);
    chargers.chain((0..SITES).map(meter_name)).chain(others).collect()
}

fn site(site: usize) -> String {
    let mut text = format!(
        "id = '{}'\n[control]\npolicy = 'equal-share'\nvalidity_ms = 30000\nraise_delay_ms = 0\nresume_room_a = 0\nleast_off_ms = 0\n\
         [[circuits]]\nid = 'grid'\nlimit_a = {}\n[[meters]]\nid = '{}'\ncircuit = 'grid'\n",
        site_name(site),
        LIMIT_MA / 1000,
        meter_name(site)
    );
    for n in 0..CHARGERS {
        let id = charger(site, n);
        text.push_str(&format!("[[chargers]]\nid = '{id}'\ncircuit = 'grid'\nphases = ['L1']\n"));
    }
    text
}

fn times(uses: Uses, idle_port: u16) -> Result<Times> {
    let sites: Vec<String> = (0..SITES).map(site).collect();
    let edge = Edge::start(uses, &sites, &devices())?;
    let echoes = Echoes {
        loaded: Echo::over(edge.mqtt_port(), ECHO_TOPICS)?,
        idle: Echo::over(idle_port, ECHO_TOPICS)?,
    };
    let fleet = Fleet::connect(edge.mqtt_port())?;
    let measured = fleet.settle().and_then(|()| fleet.steps(&echoes));
    measured.with_context(|| format!("the edge says: {}", edge.log()))
}

struct Echoes {
    loaded: Echo,
    idle: Echo,
}

/// A site of the fleet as it really is.
struct Ground {
    load_ma: AtomicI32,
    chargers: Vec<Outlet>,
    meter: AsyncClient,
    meter_topic: String,
    meter_seq: AtomicU64,
}

struct Outlet {
    limit_ma: AtomicI32,
    obeyed: AtomicU64,
    seq: AtomicU64,
}

/// A lower setpoint that a charger has heard.
struct Heard {
    site: usize,
    at: Instant,
}

/// All devices, on a thread of their own.
struct Fleet {
    grounds: Arc<Vec<Ground>>,
    heard: mpsc::Receiver<Heard>,
    /// Why a connection has ended.
    broken: Arc<Mutex<Option<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Fleet {
    fn connect(port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (say, heard) = mpsc::channel();
        let broken = Arc::new(Mutex::new(None));
        let (mut grounds, mut lines) = (Vec::with_capacity(SITES), Vec::new());
        for site in 0..SITES {
            let (meter, line) = AsyncClient::new(options(port, &meter_name(site)), 100);
            lines.push((site, None, meter.clone(), line));
            for n in 0..CHARGERS {
                let (client, line) = AsyncClient::new(options(port, &charger(site, n)), 100);
                lines.push((site, Some(n), client, line));
            }
            let outlet =
                |_| Outlet { limit_ma: AtomicI32::new(0), obeyed: AtomicU64::new(0), seq: AtomicU64::new(0) };
            grounds.push(Ground {
                load_ma: AtomicI32::new(LEAST_LOAD_MA),
                chargers: (0..CHARGERS).map(outlet).collect(),
                meter,
                meter_topic: format!("wattle/v1/{}/{}/reading", site_name(site), meter_name(site)),
                meter_seq: AtomicU64::new(0),
            });
        }
        let grounds = Arc::new(grounds);
        for (order, (site, outlet, client, line)) in lines.into_iter().enumerate() {
            let late = PERIOD * order as u32 / (SITES * (CHARGERS + 1)) as u32;
            let device = Device { site, outlet, client, grounds: Arc::clone(&grounds) };
            runtime.spawn(device.clone().measure_on(late));
            let (broken, say) = (Arc::clone(&broken), say.clone());
            runtime.spawn(async move {
                if let Err(error) = device.listen(line, &say).await {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
                }
            });
        }
        Ok(Self { grounds, heard, broken, _runtime: runtime })
    }

    fn check(&self) -> Result<()> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.as_ref().map_or(Ok(()), |why| anyhow::bail!("a device's connection has ended: {why}"))
    }

    /// Waits until every charger may have its maximum.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + START;
        let mut steady_since = Instant::now();
        while steady_since.elapsed() < STEADY {
            self.check()?;
            let missing = self.grounds.iter().filter(|ground| !ground.stands_at(MAX_MA)).count();
            if missing > 0 {
                steady_since = Instant::now();
            }
            ensure!(Instant::now() < deadline, "on {missing} sites some charger never has its maximum");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// One site after the other, an echo over each broker after each.
    fn steps(&self, echoes: &Echoes) -> Result<Times> {
        let mut times = Times::default();
        let mut sites: Vec<Stepping> = (0..SITES).map(|_| Stepping::default()).collect();
        let (started, mut next) = (Instant::now(), 0);
        while started.elapsed() < SPAN {
            self.check()?;
            let site = next % SITES;
            next += 1;
            let ground = &self.grounds[site];
            if !sites[site].is_steady(ground) {
                std::thread::sleep(PAUSE / SITES as u32);
                continue;
            }
            if sites[site].steps == (MAX_MA - MIN_MA) / 1000 {
                // Up again; it is some seconds before that is steady.
                sites[site].steps = 0;
                ground.load_ma.store(LEAST_LOAD_MA, Ordering::Relaxed);
                continue;
            }
            self.heard.try_iter().for_each(drop);
            sites[site].steps += 1;
            ground.load_ma.fetch_add(STEP_MA, Ordering::Relaxed);
            let sent = Instant::now();
            ground.measure()?;
            let deadline = sent + ANSWER;
            let expected = MAX_MA - sites[site].steps * 1000;
            let mut came = 0;
            while !ground.stands_at(expected) || came == 0 {
                let left = deadline.saturating_duration_since(Instant::now());
                let Ok(heard) = self.heard.recv_timeout(left) else { break };
                if heard.site == site && heard.at > sent {
                    times.decisions.push(heard.at - sent);
                    came += 1;
                }
            }
            ensure!(ground.is_at_most(expected), "site {site}: no setpoint of {expected} mA comes");
            for heard in self.heard.try_iter().filter(|heard| heard.site == site && heard.at > sent) {
                times.decisions.push(heard.at - sent);
                came += 1;
            }
            times.early += CHARGERS.saturating_sub(came);
            times.steps += 1;
            std::thread::sleep(PAUSE);
            times.echoes.push(echoes.loaded.once()?);
            std::thread::sleep(PAUSE);
            times.idle_echoes.push(echoes.idle.once()?);
            std::thread::sleep(PAUSE);
        }
        ensure!(times.steps > 100, "only {} steps could be made", times.steps);
        Ok(times)
    }
}

/// How far a site's steps have come.
#[derive(Default)]
struct Stepping {
    steps: i32,
    steady_since: Option<Instant>,
}

impl Stepping {
    /// Whether all chargers have been where they should be for a while.
    fn is_steady(&mut self, ground: &Ground) -> bool {
        if !ground.stands_at(MAX_MA - self.steps * 1000) {
            self.steady_since = None;
            return false;
        }
        let since = *self.steady_since.get_or_insert_with(Instant::now);
        let is_steady = since.elapsed() >= STEADY;
        if is_steady {
            self.steady_since = None;
        }
        is_steady
    }
}

impl Ground {
    fn stands_at(&self, limit_ma: i32) -> bool {
        self.chargers.iter().all(|outlet| outlet.limit_ma.load(Ordering::Relaxed) == limit_ma)
    }

    fn is_at_most(&self, limit_ma: i32) -> bool {
        self.chargers.iter().all(|outlet| outlet.limit_ma.load(Ordering::Relaxed) <= limit_ma)
    }

    /// One reading of its meter.
    fn measure(&self) -> Result<()> {
        let drawn: i32 = self.chargers.iter().map(|outlet| outlet.limit_ma.load(Ordering::Relaxed)).sum();
        let seq = self.meter_seq.fetch_add(1, Ordering::Relaxed) + 1;
        let total = self.load_ma.load(Ordering::Relaxed) + drawn;
        let payload = reading("", seq, None, total);
        let sent = self.meter.try_publish(&self.meter_topic, QoS::AtLeastOnce, false, payload);
        sent.context("the meter's queue is full")
    }
}

/// One connection.
#[derive(Clone)]
struct Device {
    site: usize,
    /// Which charger; none for the meter.
    outlet: Option<usize>,
    client: AsyncClient,
    grounds: Arc<Vec<Ground>>,
}

impl Device {
    /// Measures from a moment on, again and again.
    async fn measure_on(self, late: Duration) {
        let mut moments = tokio::time::interval_at(tokio::time::Instant::now() + late, PERIOD);
        loop {
            moments.tick().await;
            // What finds no room in the queue of a connection that is not there yet is said later.
            let _ = match self.outlet {
                Some(outlet) => self.measure(outlet),
                None => self.grounds[self.site].measure(),
            };
        }
    }

    async fn listen(self, mut line: EventLoop, say: &mpsc::Sender<Heard>) -> Result<()> {
        line.network_options.set_tcp_nodelay(true);
        // A thousand connect at once.
        line.network_options.set_connection_timeout(START.as_secs());
        if let Some(outlet) = self.outlet {
            self.client.try_subscribe(self.topic(outlet, "setpoint"), QoS::AtMostOnce)?;
        }
        loop {
            if let (Event::Incoming(Packet::Publish(publish)), Some(outlet)) =
                (line.poll().await?, self.outlet)
            {
                self.obey(outlet, &publish.payload, Instant::now(), say)?;
            }
        }
    }

    fn obey(&self, outlet: usize, payload: &[u8], at: Instant, say: &mpsc::Sender<Heard>) -> Result<()> {
        let setpoint: Setpoint = message::decode(payload)?;
        let known = &self.grounds[self.site].chargers[outlet];
        if setpoint.number <= known.obeyed.load(Ordering::Relaxed) {
            return Ok(());
        }
        known.obeyed.store(setpoint.number, Ordering::Relaxed);
        let before = known.limit_ma.swap(setpoint.limit_ma.0, Ordering::Relaxed);
        if setpoint.limit_ma.0 < before {
            // The measurement is over when nobody listens.
            let _ = say.send(Heard { site: self.site, at });
        }
        let confirm = format!(r#"{{"boot":1,"setpoint":{}}}"#, setpoint.number);
        self.client.try_publish(self.topic(outlet, "confirm"), QoS::AtLeastOnce, false, confirm)?;
        if setpoint.limit_ma.0 != before {
            self.measure(outlet)?;
        }
        Ok(())
    }

    fn measure(&self, outlet: usize) -> Result<()> {
        let ground = &self.grounds[self.site];
        let known = &ground.chargers[outlet];
        let (limit, obeyed) = (known.limit_ma.load(Ordering::Relaxed), known.obeyed.load(Ordering::Relaxed));
        let seq = known.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let state = if limit == 0 { "waiting" } else { "charging" };
        let mut noise = StdRng::seed_from_u64(seq << 16 | outlet as u64);
        let draw = if limit == 0 { 0 } else { noisy(&mut noise, limit, 50) };
        let payload = reading(state, seq, Some(obeyed), draw);
        Ok(self.client.try_publish(self.topic(outlet, "reading"), QoS::AtLeastOnce, false, payload)?)
    }

    fn topic(&self, outlet: usize, channel: &str) -> String {
        format!("wattle/v1/{}/{}/{channel}", site_name(self.site), charger(self.site, outlet))
    }
}

fn options(port: u16, name: &str) -> MqttOptions {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_credentials(name, PASSWORD);
    options
}
