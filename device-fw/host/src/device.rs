//! One device: a machine, its storage, its connection and its world, in a loop.
//!
//! The loop is generic over the `embedded-svc` traits, as a board's is. It waits for a message, a command, a
//! change on the cable or a moment; reads the sensors; tells the machine; and carries out what that wants, in
//! order. A device that can't store what it must stops, with its relay open.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use embedded_svc::mqtt::client::{Client, Enqueue, Event, EventPayload, QoS, asynch};
use embedded_svc::storage::RawStorage;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use wattle_device_core::register::Energy;
use wattle_device_core::{
    Charger, Counters, Input, Measurement, Meter, Now, Output, Publish, Qos, STATE_KEY, Start,
};
use wattle_wire::topic::{self, Channel};
use wattle_wire::{DeviceId, Micros, Milliamps, SiteId};

use crate::cable::{self, MeterEnd};
use crate::control::Command;
use crate::world::{ChargerWorld, MeterWorld};

/// How long a device that stops waits for the edge's acknowledgements.
pub const DRAIN: Duration = Duration::from_secs(2);

/// A machine with its world.
#[derive(Debug)]
pub enum Machine {
    /// A charger.
    Charger(Box<Charger>, ChargerWorld),
    /// A meter, and the cable where it has one.
    Meter(Box<Meter>, MeterWorld, Option<MeterEnd>),
}

/// A device that runs.
#[derive(Debug)]
pub struct Device<M, S> {
    /// Where.
    pub site: SiteId,
    /// Its login.
    pub login: DeviceId,
    /// Which connector of the device it is, where that has several.
    pub connector: Option<DeviceId>,
    /// Whether it speaks for the device: says what that is, and that it comes and goes.
    pub speaks: bool,
    /// Who, in what is printed: the device, or `device:connector`.
    pub id: DeviceId,
    /// What it is.
    pub machine: Machine,
    /// The sending half of its connection.
    pub mqtt: M,
    /// What survives it.
    pub storage: S,
    /// Whether each measurement is printed as a line of JSON.
    pub trace: bool,
    /// Since when the machine's clock counts.
    pub started: Instant,
}

/// The time since `started`, and of day.
pub fn now(started: Instant) -> Now {
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        utc_us: Some(Micros(i64::try_from(utc.as_micros()).unwrap_or(i64::MAX))),
    }
}

enum Wake {
    Mqtt(Happened),
    Command(Option<Command>),
    Cable,
    Moment,
    Stop,
}

enum Happened {
    Connected,
    Disconnected,
    Message(Channel, Vec<u8>),
    Nothing,
    Closed,
}

impl<M, S> Device<M, S>
where
    M: Client + Enqueue,
    S: RawStorage,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    /// Runs until `stop` says so, then drains for at most [`DRAIN`].
    ///
    /// # Errors
    /// When storage fails.
    pub async fn run<C: asynch::Connection>(
        &mut self,
        connection: &mut C,
        mut commands: mpsc::Receiver<Command>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        self.carry_out()?;
        let mut commands_open = true;
        loop {
            self.measure()?;
            let moment = self.next_moment();
            let wake = tokio::select! {
                happened = next(connection) => Wake::Mqtt(happened),
                command = commands.recv(), if commands_open => Wake::Command(command),
                () = self.machine.cable_changed() => Wake::Cable,
                () = tokio::time::sleep_until(moment.into()) => Wake::Moment,
                _ = stop.wait_for(|stop| *stop) => Wake::Stop,
            };
            match wake {
                Wake::Mqtt(Happened::Closed) => return Err(anyhow!("{}: the MQTT task has ended", self.id)),
                Wake::Mqtt(happened) => self.happened(happened)?,
                Wake::Command(Some(command)) => self.command(command)?,
                Wake::Command(None) => commands_open = false,
                Wake::Cable => {}
                Wake::Moment => self.machine.tell_cable(),
                Wake::Stop => return self.drain(connection).await,
            }
        }
    }

    async fn drain<C: asynch::Connection>(&mut self, connection: &mut C) -> Result<()> {
        self.machine.power_off();
        self.measure()?;
        let until = tokio::time::Instant::now() + DRAIN;
        while self.machine.unacknowledged() > 0 {
            let Ok(happened) = tokio::time::timeout_at(until, next(connection)).await else { break };
            if matches!(happened, Happened::Closed) {
                break;
            }
            self.happened(happened)?;
        }
        self.input(Input::Stop)?;
        if self.trace {
            let energy = self.machine.energy();
            let left = self.machine.unacknowledged();
            self.print(json!({"event": "stopped", "register_wh": energy.wh, "rest_uj": energy.rest_uj, "unacknowledged": left, "numbered": self.machine.counters().numbered}));
        }
        Ok(())
    }

    fn happened(&mut self, happened: Happened) -> Result<()> {
        match happened {
            Happened::Connected => {
                tracing::info!(device = %self.id, "connected");
                for channel in [Channel::Setpoint, Channel::Ack] {
                    let name = self.topic(channel);
                    if self.mqtt.subscribe(&name, QoS::AtLeastOnce).is_err() {
                        tracing::warn!(device = %self.id, topic = name, "could not subscribe: the queue is full");
                    }
                }
                self.input(Input::Connected)
            }
            Happened::Disconnected => self.input(Input::Disconnected),
            Happened::Message(channel, payload) => self.input(Input::Message { channel, payload: &payload }),
            Happened::Nothing | Happened::Closed => Ok(()),
        }
    }

    fn command(&mut self, command: Command) -> Result<()> {
        match (&mut self.machine, command) {
            (Machine::Meter(_, world, _), Command::Load(load_ma)) => world.set_load(load_ma),
            (Machine::Charger(_, world), Command::Max(max_ma)) => world.set_max(max_ma),
            (Machine::Charger(_, world), Command::Need(wh)) => world.set_need(wh.0.unsigned_abs()),
            (Machine::Charger(_, world), Command::Plug(user)) => {
                world.plug(true);
                self.input(Input::Plugged)?;
                if user.is_some() {
                    self.input(Input::Started(Start { user, ..Start::default() }))?;
                }
            }
            (Machine::Charger(..), Command::Start(user, requested_wh)) => {
                self.input(Input::Started(Start { user, requested_wh, ..Start::default() }))?;
            }
            // The current ceases before the charge counts as ended: what flowed belongs to the stay.
            (Machine::Charger(_, world), Command::End) => {
                world.set_limit(Milliamps::ZERO);
                self.measure()?;
                self.input(Input::Ended)?;
            }
            (Machine::Charger(_, world), Command::Unplug) => {
                world.plug(false);
                self.measure()?;
                self.input(Input::Unplugged)?;
            }
            (_, command) => tracing::warn!(device = %self.id, ?command, "not for this kind of device"),
        }
        Ok(())
    }

    /// Reads the sensors, until reading them changes nothing more.
    fn measure(&mut self) -> Result<()> {
        let now_ms = now(self.started).mono_ms;
        let measurement = self.machine.sample(now_ms);
        self.input(Input::Measured(measurement))?;
        let full = matches!(&self.machine, Machine::Charger(charger, world) if world.full() && charger.state().asks());
        if full {
            self.input(Input::Ended)?;
            let measurement = self.machine.sample(now_ms);
            self.input(Input::Measured(measurement))?;
        }
        if self.trace {
            self.print(self.machine.truth());
        }
        Ok(())
    }

    fn input(&mut self, input: Input<'_>) -> Result<()> {
        let now = now(self.started);
        match &mut self.machine {
            Machine::Charger(charger, _) => charger.handle(now, input),
            Machine::Meter(meter, ..) => meter.handle(now, input),
        }
        self.carry_out()
    }

    fn carry_out(&mut self) -> Result<()> {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Store { key, bytes } => {
                    self.storage.set_raw(key, &bytes).with_context(|| {
                        format!(
                            "{}: could not store its state; it stops, so that its register can't fall",
                            self.id
                        )
                    })?;
                }
                Output::Publish(publish) => self.publish(&publish),
                Output::Limit(limit_ma) => {
                    if let Machine::Charger(_, world) = &mut self.machine {
                        world.set_limit(limit_ma);
                    }
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, publish: &Publish) {
        let is_of_device = matches!(publish.channel, Channel::Announce | Channel::Status);
        if is_of_device && !self.speaks {
            return;
        }
        let name = self.topic(publish.channel);
        let qos = match publish.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
        };
        // What doesn't fit into the queue is sent again by the machine, when it is numbered; a confirmation that
        // is lost stands in the next reading.
        if self.mqtt.enqueue(&name, qos, publish.retained, &publish.payload).is_err() {
            tracing::debug!(device = %self.id, topic = name, "dropped: the queue to the broker is full");
        }
    }

    /// What the device is and that it is there it says for all its connectors.
    fn topic(&self, channel: Channel) -> String {
        match &self.connector {
            Some(connector) if !matches!(channel, Channel::Announce | Channel::Status) => {
                topic::connector_topic(&self.site, &self.login, connector, channel)
            }
            _ => topic::topic(&self.site, &self.login, channel),
        }
    }

    fn next_moment(&self) -> Instant {
        let wakeup = match &self.machine {
            Machine::Charger(charger, world) => {
                let full = world.full_at_ms().filter(|_| charger.state().asks());
                let repeat = cable::REPEAT.as_millis() as u64 + now(self.started).mono_ms;
                let repeat = world.has_cable().then_some(repeat);
                [charger.next_wakeup(), full, repeat].into_iter().flatten().min()
            }
            Machine::Meter(meter, ..) => meter.next_wakeup(),
        };
        let in_a_day = Instant::now() + Duration::from_secs(86_400);
        wakeup.and_then(|ms| self.started.checked_add(Duration::from_millis(ms))).unwrap_or(in_a_day)
    }

    fn print(&self, mut line: serde_json::Value) {
        line["device"] = json!(self.id);
        line["at_us"] = json!(now(self.started).utc_us);
        println!("{line}");
    }
}

impl Machine {
    fn poll(&mut self) -> Option<Output> {
        match self {
            Self::Charger(charger, _) => charger.poll(),
            Self::Meter(meter, ..) => meter.poll(),
        }
    }

    fn sample(&mut self, now_ms: u64) -> Measurement {
        match self {
            Self::Charger(_, world) => world.sample(now_ms),
            Self::Meter(_, world, cable) => {
                world.sample(cable.as_mut().map(MeterEnd::draws).unwrap_or_default())
            }
        }
    }

    fn unacknowledged(&self) -> usize {
        match self {
            Self::Charger(charger, _) => charger.unacknowledged(),
            Self::Meter(meter, ..) => meter.unacknowledged(),
        }
    }

    fn counters(&self) -> Counters {
        match self {
            Self::Charger(charger, _) => charger.counters(),
            Self::Meter(meter, ..) => meter.counters(),
        }
    }

    fn energy(&self) -> Energy {
        match self {
            Self::Charger(charger, _) => charger.energy(),
            Self::Meter(meter, ..) => meter.energy(),
        }
    }

    /// The last will.
    pub fn will(&self) -> Publish {
        match self {
            Self::Charger(charger, _) => charger.will(),
            Self::Meter(meter, ..) => meter.will(),
        }
    }

    async fn cable_changed(&mut self) {
        match self {
            Self::Meter(_, _, Some(cable)) => cable.changed().await,
            _ => std::future::pending().await,
        }
    }

    fn tell_cable(&self) {
        if let Self::Charger(_, world) = self {
            world.tell();
        }
    }

    /// The relay opens.
    fn power_off(&mut self) {
        if let Self::Charger(_, world) = self {
            world.set_limit(Milliamps::ZERO);
        }
    }

    /// What truly is, for a checker.
    fn truth(&self) -> serde_json::Value {
        let energy = self.energy();
        match self {
            Self::Charger(charger, world) => json!({
                "event": "measured",
                "state": charger.state().as_str(),
                "limit_ma": charger.limit_ma(),
                "setpoint": charger.setpoint_in_force().map_or(0, |s| s.number),
                "draw_ma": world.on_site_ma(),
                "register_wh": energy.wh,
                "rest_uj": energy.rest_uj,
                "unacknowledged": charger.unacknowledged(),
            }),
            Self::Meter(meter, world, _) => {
                let mut line = world.truth();
                line["event"] = json!("measured");
                line["register_wh"] = json!(energy.wh);
                line["rest_uj"] = json!(energy.rest_uj);
                line["unacknowledged"] = json!(meter.unacknowledged());
                line
            }
        }
    }
}

/// Reads what a device has in storage.
///
/// # Errors
/// When it can't be read.
pub fn stored<S: RawStorage>(storage: &S) -> Result<Option<Vec<u8>>>
where
    S::Error: std::error::Error + Send + Sync + 'static,
{
    let mut buf = [0; 64];
    Ok(storage.get_raw(STATE_KEY, &mut buf)?.map(<[u8]>::to_vec))
}

async fn next<C: asynch::Connection>(connection: &mut C) -> Happened {
    let Ok(event) = connection.next().await else { return Happened::Closed };
    match event.payload() {
        EventPayload::Connected(_) => Happened::Connected,
        EventPayload::Disconnected => Happened::Disconnected,
        EventPayload::Error(error) => {
            tracing::warn!(?error, "not connected");
            Happened::Disconnected
        }
        EventPayload::Received { topic: Some(name), data, .. } => match topic::parse(name) {
            Some((_, _, channel)) => Happened::Message(channel, data.to_vec()),
            None => Happened::Nothing,
        },
        _ => Happened::Nothing,
    }
}
