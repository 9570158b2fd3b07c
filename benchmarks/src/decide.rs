//! From a meter reading that forces a reduction to the setpoint that a charger receives, beside a bare echo.
//!
//! One site with a meter and three chargers, or a hundred, that charge and confirm what they are told. Step by step the
//! other load rises by 1 A for each charger, so that each reading of the meter that shows it forces all of them down by 1 A;
//! each charger's setpoint is a sample. An echo goes from one client to another, which sends it on to a third: what the two
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

const MAX_MA: i32 = 32_000;
const MIN_MA: i32 = 6_000;
/// What of the limit stands for each charger: its maximum, and an ampere.
const LIMIT_MA: i32 = MAX_MA + 1_000;
/// The other load for each charger at which every one may just have its maximum: half an ampere for each is left over.
const LEAST_LOAD_MA: i32 = 500;
/// By how much it rises a step.
const STEP_MA: i32 = 1_000;
/// From the maximum to the minimum.
const STEPS: i32 = (MAX_MA - MIN_MA) / 1000;
/// Chargers of a site, and rises from the least load to the most.
const SMALL: Size = Size { chargers: 3, rises: 5 };
const LARGE: Size = Size { chargers: 100, rises: 2 };
/// The control interval, and for how long everything has to be steady before a step.
const INTERVAL_MS: u64 = 100;
const STEADY: Duration = Duration::from_millis(INTERVAL_MS * 3 / 2);
/// How often meter and chargers measure while nothing is timed: so much later for each charger.
const PACE: Duration = Duration::from_millis(20);
const PACE_OF_ONE: Duration = Duration::from_millis(1);
/// Before an echo or a step: longer than the system holds back what says that a segment has come (40 ms).
const PAUSE: Duration = Duration::from_millis(50);
/// Echoes for each step.
const ECHOES: usize = 3;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Size {
    chargers: usize,
    rises: usize,
}

/// What was measured in turns.
#[derive(Default)]
struct Times {
    /// Of each charger at each step.
    decisions: Vec<Duration>,
    /// Of the first charger of each step.
    first: Vec<Duration>,
    echoes: Vec<Duration>,
}

/// Medians with the edge's own broker.
#[derive(Debug, Clone, Copy)]
pub struct Medians {
    /// From meter to setpoint with three chargers.
    pub small: Duration,
    /// With a hundred.
    pub large: Duration,
    /// The same, to the first of the hundred.
    pub large_first: Duration,
}

/// Measures with the edge's own broker and with Mosquitto.
///
/// # Errors
/// When something doesn't start, or a setpoint doesn't come.
pub fn measure(report: &mut Report) -> Result<Medians> {
    let mut own = [SMALL, LARGE].map(with_own_broker).into_iter().collect::<Result<Vec<_>>>()?;
    for (size, own) in [SMALL, LARGE].into_iter().zip(&mut own) {
        add(report, "rumqttd", size, own);
        let broker = Broker::start(BrokerKind::Mosquitto, &devices(size.chargers))?;
        let mut times = times(Uses::External(broker.port()), broker.port(), size)?;
        add(report, "mosquitto", size, &mut times);
    }
    Ok(medians(&mut own))
}

/// Only the medians with the edge's own broker, of one rise each.
///
/// # Errors
/// As [`measure`].
pub fn p50() -> Result<Medians> {
    let once = [SMALL, LARGE].map(|size| with_own_broker(Size { rises: 1, ..size }));
    Ok(medians(&mut once.into_iter().collect::<Result<Vec<_>>>()?))
}

fn medians(times: &mut [Times]) -> Medians {
    let [small, large] = times else { return Medians { small: LIMIT, large: LIMIT, large_first: LIMIT } };
    Medians {
        small: percentile(&mut small.decisions, 50),
        large: percentile(&mut large.decisions, 50),
        large_first: percentile(&mut large.first, 50),
    }
}

fn with_own_broker(size: Size) -> Result<Times> {
    let broker = Broker::start(BrokerKind::Rumqttd, &devices(size.chargers))?;
    times(Uses::Embedded, broker.port(), size)
}

fn add(report: &mut Report, name: &str, size: Size, times: &mut Times) {
    let chargers = size.chargers;
    for percent in [50, 99] {
        let echo = micros(percentile(&mut times.echoes, percent));
        report.add(
            "decide",
            format!("{name}, {chargers} chargers: p{percent} of {}", times.decisions.len()),
            (micros(percentile(&mut times.decisions, percent)), "us"),
            (format!("an echo's p{percent}, {echo:.0}"), echo),
        );
    }
}

fn charger(n: usize) -> String {
    format!("charger-{n}")
}

fn devices(chargers: usize) -> Vec<String> {
    let others = ["meter", "asker", "answerer", "hearer"].map(str::to_owned);
    (0..chargers).map(charger).chain(others).collect()
}

fn times(uses: Uses, echo_port: u16, size: Size) -> Result<Times> {
    let chargers = size.chargers as i32;
    let echo = Echo::connect(echo_port)?;
    let edge = Edge::start(uses, &[site(size.chargers)], &devices(size.chargers))?;
    let mut stand = Stand::connect(edge.mqtt_port(), size.chargers)?;
    let mut times = Times::default();
    for _ in 0..size.rises {
        stand.load_ma = LEAST_LOAD_MA * chargers;
        for step in 0..STEPS {
            let steady = stand.settle(MAX_MA - step * 1000);
            steady.with_context(|| format!("the edge says: {}", edge.log()))?;
            for _ in 0..ECHOES {
                std::thread::sleep(PAUSE);
                times.echoes.push(echo.once()?);
            }
            std::thread::sleep(PAUSE);
            stand.load_ma += STEP_MA * chargers;
            let waited = stand.reduce()?;
            times.first.extend(waited.iter().min());
            times.decisions.extend(waited);
        }
    }
    Ok(times)
}

/// Three clients: a message goes from the first over the second to the third.
pub struct Echo {
    asker: Device,
    there: String,
    hearer: Device,
}

impl Echo {
    /// On a broker that listens here.
    ///
    /// # Errors
    /// When one of them isn't let in.
    pub fn connect(port: u16) -> Result<Self> {
        Self::over(port, ["echo/there", "echo/back"])
    }

    /// The same with the topics of the two ways.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn over(port: u16, [there, back]: [&str; 2]) -> Result<Self> {
        let answerer = Device::connect(port, "answerer", &[there])?;
        let hearer = Device::connect(port, "hearer", &[back])?;
        let back = back.to_owned();
        std::thread::spawn(move || {
            for (_, payload, _) in answerer.heard {
                // The client is gone when the measurement is over.
                let _ = answerer.client.try_publish(&back, QoS::AtMostOnce, false, payload);
            }
        });
        Ok(Self { asker: Device::connect(port, "asker", &[])?, there: there.to_owned(), hearer })
    }

    /// How long one takes.
    ///
    /// # Errors
    /// When it doesn't come.
    pub fn once(&self) -> Result<Duration> {
        let payload = reading("charging", 1, Some(1), 16_000);
        let sent = Instant::now();
        self.asker.client.publish(&self.there, QoS::AtLeastOnce, false, payload)?;
        let (_, _, came) = self.hearer.heard.recv_timeout(LIMIT).context("an echo doesn't come")?;
        Ok(came - sent)
    }
}

fn site(chargers: usize) -> String {
    let mut site = format!(
        "id = '{SITE}'\n[control]\npolicy = 'equal-share'\ninterval_ms = {INTERVAL_MS}\nvalidity_ms = 5000\nraise_delay_ms = 0\n\
         resume_room_a = 0\nleast_off_ms = 0\n[[circuits]]\nid = 'grid'\nlimit_a = {}\n[[meters]]\nid = 'meter'\ncircuit = 'grid'\n",
        LIMIT_MA / 1000 * chargers as i32
    );
    for n in 0..chargers {
        site.push_str(&format!("[[chargers]]\nid = '{}'\ncircuit = 'grid'\nphases = ['L1']\n", charger(n)));
    }
    site
}

/// What a device says: a charger with its state and setpoint, or a meter.
pub fn reading(state: &str, seq: u64, setpoint: Option<u64>, current_ma: i32) -> Vec<u8> {
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
    fn connect(port: u16, chargers: usize) -> Result<Self> {
        let chargers = (0..chargers).map(|n| {
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
            load_ma: 0,
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
            std::thread::sleep(PACE + PACE_OF_ONE * self.chargers.len() as u32);
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
        let mut times = Vec::with_capacity(self.chargers.len());
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
