//! From a meter reading that forces a reduction to the setpoint that a charger receives, beside a bare echo.
//!
//! One site with a limit of 100 A, a meter, and three chargers that charge and confirm what they are told. Step by step the
//! other load rises by 3 A, so that each reading of the meter that shows it forces all three down by 1 A; each
//! charger's setpoint is a sample. An echo goes from one client to another, which sends it on to a third: what the two
//! hops of a decision cost without an edge. It goes over the same broker, or, as the edge's own takes only topics of its
//! sites, over one with the same settings. Echoes and steps take turns, each after a pause in which nobody sends, so
//! that both find the same machine and idle connections.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use wattle_wire::message::{self, Setpoint};

use crate::load::edge::Uses;
use crate::load::publish::noisy;
use crate::load::{Broker, BrokerKind, Edge, PASSWORD, SITE};
use crate::report::Report;
use crate::sample::{micros, percentile};

/// Chargers of the site; the other load rises by this many amperes a step.
const CHARGERS: usize = 3;
const LIMIT_MA: i32 = 100_000;
const MAX_MA: i32 = 32_000;
const MIN_MA: i32 = 6_000;
/// The other load at which every charger may just have its maximum: half an ampere for each is left over.
const LEAST_LOAD_MA: i32 = 2_500;
const STEP_MA: i32 = 3_000;
/// From the maximum to the minimum.
const STEPS: i32 = (MAX_MA - MIN_MA) / 1000;
/// Rises from the least load to the most.
const RISES: usize = 5;
/// The control interval, and for how long everything has to be steady before a step.
const INTERVAL_MS: u64 = 100;
const STEADY: Duration = Duration::from_millis(INTERVAL_MS * 3 / 2);
/// How often meter and chargers measure while nothing is timed.
const PACE: Duration = Duration::from_millis(25);
/// Before an echo or a step: longer than the system holds back what says that a segment has come (40 ms).
const PAUSE: Duration = Duration::from_millis(50);
/// Echoes for each step.
const ECHOES: usize = CHARGERS;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What was measured in turns.
#[derive(Default)]
struct Times {
    decisions: Vec<Duration>,
    echoes: Vec<Duration>,
}

/// Measures with the edge's own broker and with Mosquitto. Gives the median with its own.
///
/// # Errors
/// When something doesn't start, or a setpoint doesn't come.
pub fn measure(report: &mut Report) -> Result<Duration> {
    let mut own = with_own_broker(RISES)?;
    add(report, "rumqttd", &mut own);
    let broker = Broker::start(BrokerKind::Mosquitto, &devices())?;
    let mut times = times(Uses::External(broker.port()), broker.port(), RISES)?;
    add(report, "mosquitto", &mut times);
    Ok(percentile(&mut own.decisions, 50))
}

/// Only the median with the edge's own broker.
///
/// # Errors
/// As [`measure`].
pub fn p50() -> Result<Duration> {
    Ok(percentile(&mut with_own_broker(1)?.decisions, 50))
}

fn with_own_broker(rises: usize) -> Result<Times> {
    let broker = Broker::start(BrokerKind::Rumqttd, &devices())?;
    times(Uses::Embedded, broker.port(), rises)
}

fn add(report: &mut Report, name: &str, times: &mut Times) {
    for percent in [50, 99] {
        let echo = micros(percentile(&mut times.echoes, percent));
        report.add(
            "decide",
            format!("{name}: p{percent} of {}", times.decisions.len()),
            (micros(percentile(&mut times.decisions, percent)), "us"),
            (format!("an echo's p{percent}, {echo:.0}"), echo),
        );
    }
}

fn charger(n: usize) -> String {
    format!("charger-{n}")
}

fn devices() -> Vec<String> {
    let others = ["meter", "asker", "answerer", "hearer"].map(str::to_owned);
    (0..CHARGERS).map(charger).chain(others).collect()
}

fn times(uses: Uses, echo_port: u16, rises: usize) -> Result<Times> {
    let echo = Echo::connect(echo_port)?;
    let edge = Edge::start(uses, &site(), &devices())?;
    let mut stand = Stand::connect(edge.mqtt_port())?;
    let mut times = Times::default();
    for _ in 0..rises {
        stand.load_ma = LEAST_LOAD_MA;
        for step in 0..STEPS {
            let steady = stand.settle(MAX_MA - step * 1000);
            steady.with_context(|| format!("the edge says: {}", edge.log()))?;
            for _ in 0..ECHOES {
                std::thread::sleep(PAUSE);
                times.echoes.push(echo.once()?);
            }
            std::thread::sleep(PAUSE);
            stand.load_ma += STEP_MA;
            times.decisions.extend(stand.reduce()?);
        }
    }
    Ok(times)
}

/// Three clients: a message goes from the first over the second to the third.
struct Echo {
    asker: Device,
    hearer: Device,
}

impl Echo {
    fn connect(port: u16) -> Result<Self> {
        let answerer = Device::connect(port, "answerer", &["echo/there"])?;
        std::thread::spawn(move || {
            for (_, payload, _) in answerer.heard {
                // The client is gone when the measurement is over.
                let _ = answerer.client.try_publish("echo/back", QoS::AtMostOnce, false, payload);
            }
        });
        let hearer = Device::connect(port, "hearer", &["echo/back"])?;
        Ok(Self { asker: Device::connect(port, "asker", &[])?, hearer })
    }

    fn once(&self) -> Result<Duration> {
        let payload = reading("charging", 1, Some(1), 16_000);
        let sent = Instant::now();
        self.asker.client.publish("echo/there", QoS::AtLeastOnce, false, payload)?;
        let (_, _, came) = self.hearer.heard.recv_timeout(LIMIT).context("an echo doesn't come")?;
        Ok(came - sent)
    }
}

fn site() -> String {
    let mut site = format!(
        "id = '{SITE}'\n[control]\ninterval_ms = {INTERVAL_MS}\nvalidity_ms = 5000\nraise_delay_ms = 0\n\
         [[circuits]]\nid = 'grid'\nlimit_a = {}\n[[meters]]\nid = 'meter'\ncircuit = 'grid'\n",
        LIMIT_MA / 1000
    );
    for n in 0..CHARGERS {
        site.push_str(&format!("[[chargers]]\nid = '{}'\ncircuit = 'grid'\nphases = ['L1']\n", charger(n)));
    }
    site
}

fn reading(state: &str, seq: u64, setpoint: Option<u64>, current_ma: i32) -> Vec<u8> {
    let at_us = crate::load::worker::now_us();
    let setpoint = setpoint.map_or(String::new(), |number| format!(r#""setpoint":{number},"#));
    let state = if state.is_empty() { String::new() } else { format!(r#""state":"{state}","#) };
    format!(r#"{{"boot":1,"seq":{seq},"at_us":{at_us},{state}{setpoint}"current_ma":[{current_ma}]}}"#).into()
}

/// A connection, and what it hears with the moment at which it was heard.
struct Device {
    client: Client,
    heard: mpsc::Receiver<(String, Vec<u8>, Instant)>,
}

impl Device {
    fn connect(port: u16, name: &str, topics: &[&str]) -> Result<Self> {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_credentials(name, PASSWORD);
        let (client, mut connection) = Client::new(options, 1000);
        connection.eventloop.network_options.set_tcp_nodelay(true);
        for topic in topics {
            client.subscribe(*topic, QoS::AtMostOnce)?;
        }
        let (say, heard) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let said = (publish.topic, publish.payload.to_vec(), Instant::now());
                        if say.send(said).is_err() {
                            return;
                        }
                    }
                    // Nobody waits for it once the connection stands.
                    Ok(Event::Incoming(Packet::SubAck(_) | Packet::ConnAck(_))) => drop(ready.send(())),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        for _ in 0..=topics.len() {
            is_ready.recv_timeout(LIMIT).with_context(|| format!("{name} can't connect"))?;
        }
        Ok(Self { client, heard })
    }
}

/// The site's meter and chargers.
struct Stand {
    meter: Device,
    chargers: Vec<Charger>,
    load_ma: i32,
    seq: u64,
    noise: StdRng,
}

struct Charger {
    device: Device,
    topic: String,
    obeyed: u64,
    limit_ma: i32,
    draw_ma: i32,
}

impl Stand {
    fn connect(port: u16) -> Result<Self> {
        let chargers = (0..CHARGERS).map(|n| {
            let name = charger(n);
            let device = Device::connect(port, &name, &[&format!("wattle/v1/{SITE}/{name}/setpoint")])?;
            Ok(Charger {
                device,
                topic: format!("wattle/v1/{SITE}/{name}"),
                obeyed: 0,
                limit_ma: 0,
                draw_ma: 0,
            })
        });
        Ok(Self {
            chargers: chargers.collect::<Result<_>>()?,
            meter: Device::connect(port, "meter", &[])?,
            load_ma: LEAST_LOAD_MA,
            seq: 0,
            noise: StdRng::seed_from_u64(1),
        })
    }

    /// Measures and obeys until every charger has been at this limit, for a while.
    fn settle(&mut self, expected_ma: i32) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let mut steady_since = Instant::now();
        while steady_since.elapsed() < STEADY {
            let now = Instant::now();
            let limits: Vec<i32> = self.chargers.iter().map(|charger| charger.limit_ma).collect();
            ensure!(now < deadline, "setpoints of {expected_ma} mA don't come; the chargers have {limits:?}");
            self.measure_chargers()?;
            self.measure_meter()?;
            std::thread::sleep(PACE);
            let changed = self.obey()?;
            if changed || self.chargers.iter().any(|charger| charger.limit_ma != expected_ma) {
                steady_since = Instant::now();
            }
        }
        Ok(())
    }

    /// One reading of the meter; how long each charger waited for its lower setpoint.
    fn reduce(&mut self) -> Result<Vec<Duration>> {
        self.obey()?;
        let sent = Instant::now();
        self.measure_meter()?;
        let mut times = Vec::with_capacity(CHARGERS);
        for charger in &mut self.chargers {
            let before_ma = charger.limit_ma;
            while charger.limit_ma >= before_ma {
                let heard = charger.device.heard.recv_timeout(LIMIT).context("no lower setpoint comes")?;
                charger.take(&heard.1)?;
                if charger.limit_ma < before_ma {
                    times.push(heard.2 - sent);
                }
            }
            charger.confirm()?;
        }
        Ok(times)
    }

    /// Takes every setpoint that has come; whether a limit changed.
    fn obey(&mut self) -> Result<bool> {
        let mut changed = false;
        for charger in &mut self.chargers {
            let before = (charger.limit_ma, charger.obeyed);
            while let Ok((_, payload, _)) = charger.device.heard.try_recv() {
                charger.take(&payload)?;
            }
            if charger.obeyed != before.1 {
                charger.confirm()?;
            }
            changed |= charger.limit_ma != before.0;
        }
        Ok(changed)
    }

    fn measure_chargers(&mut self) -> Result<()> {
        self.seq += 1;
        for charger in &mut self.chargers {
            charger.draw_ma =
                if charger.limit_ma == 0 { 0 } else { noisy(&mut self.noise, charger.limit_ma, 50) };
            let state = if charger.limit_ma == 0 { "waiting" } else { "charging" };
            let payload = reading(state, self.seq, Some(charger.obeyed), charger.draw_ma);
            let topic = format!("{}/reading", charger.topic);
            charger.device.client.publish(topic, QoS::AtLeastOnce, false, payload)?;
        }
        Ok(())
    }

    fn measure_meter(&mut self) -> Result<()> {
        self.seq += 1;
        let drawn: i32 = self.chargers.iter().map(|charger| charger.draw_ma).sum();
        let payload = reading("", self.seq, None, noisy(&mut self.noise, self.load_ma + drawn, 50));
        let topic = format!("wattle/v1/{SITE}/meter/reading");
        Ok(self.meter.client.publish(topic, QoS::AtLeastOnce, false, payload)?)
    }
}

impl Charger {
    fn take(&mut self, payload: &[u8]) -> Result<()> {
        let setpoint: Setpoint = message::decode(payload)?;
        if setpoint.number > self.obeyed {
            (self.obeyed, self.limit_ma) = (setpoint.number, setpoint.limit_ma.0);
        }
        Ok(())
    }

    fn confirm(&self) -> Result<()> {
        let payload = format!(r#"{{"boot":1,"setpoint":{}}}"#, self.obeyed);
        Ok(self.device.client.publish(format!("{}/confirm", self.topic), QoS::AtLeastOnce, false, payload)?)
    }
}
