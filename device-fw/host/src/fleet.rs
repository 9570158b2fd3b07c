//! Makes the devices that a command line asks for and runs them until the process is told to stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use embedded_svc::storage::RawStorage;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wattle_device_core::saved::{started_before, starts, with_starts};
use wattle_device_core::{Charger, ChargerConfig, LineConfig, Meter, MeterConfig, PaceConfig, STATE_KEY};
use wattle_wire::topic::{self, Channel};
use wattle_wire::{DeviceId, Milliamps, Millivolts};

use crate::args::{Common, Kind};
use crate::cable::{ChargerEnd, MeterEnd};
use crate::control::{Command, MAX_SCENARIO_BYTES, Scenario};
use crate::device::{Device, Machine, now, stored};
use crate::mqtt::{self, Broker, Will};
use crate::storage::{FileStorage, MemoryStorage};
use crate::world::{ChargerWorld, MeterWorld, Surroundings};

/// Commands that may wait for a device; the reader of standard input waits when it is full.
const COMMANDS: usize = 64;
/// The most that a file of passwords may have.
const MAX_PASSWORD_BYTES: u64 = 16 << 20;

/// What was read before anything starts: a mistake in it is the user's.
pub struct Plan {
    kind: Kind,
    host: String,
    port: u16,
    passwords: BTreeMap<String, String>,
    scenario: Option<Scenario>,
}

impl Plan {
    /// Reads the files that the command line names.
    ///
    /// # Errors
    /// What can't be used, and why.
    pub fn read(kind: Kind) -> Result<Self> {
        let common = kind.common();
        let (host, port) = common.broker.rsplit_once(':').with_context(|| {
            format!("--broker {:?} has no port; write it as in 127.0.0.1:1883", common.broker)
        })?;
        let port = port.parse().with_context(|| {
            format!("--broker {:?}: the port is not a number from 1 to 65535", common.broker)
        })?;
        let host = host.to_owned();
        let passwords = match &common.password_file {
            Some(file) => passwords(&text(file, MAX_PASSWORD_BYTES)?)
                .with_context(|| format!("password file {}", file.display()))?,
            None => BTreeMap::new(),
        };
        let scenario = match &common.scenario {
            Some(file) => Some(
                Scenario::parse(&text(file, MAX_SCENARIO_BYTES)?)
                    .map_err(|e| anyhow!("scenario {}: {e}", file.display()))?,
            ),
            None => None,
        };
        let plan = Self { host, port, passwords, scenario, kind };
        for id in plan.ids()? {
            plan.password(&id)?;
        }
        Ok(plan)
    }

    fn ids(&self) -> Result<Vec<DeviceId>> {
        let common = self.kind.common();
        let Some(size) = common.fleet else { return Ok(vec![common.id.clone()]) };
        (1..=size)
            .map(|n| DeviceId::new(format!("{}-{n}", common.id)).context("--id is too long for a fleet"))
            .collect()
    }

    fn password(&self, id: &DeviceId) -> Result<Option<String>> {
        match (&self.kind.common().password_file, self.passwords.get(id.as_str())) {
            (None, _) => Ok(None),
            (Some(_), Some(password)) => Ok(Some(password.clone())),
            (Some(file), None) => {
                bail!("password file {} has no line for device {id}; add `{id}:<password>`", file.display())
            }
        }
    }

    /// Runs every device until SIGTERM or SIGINT. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// When a device can't start or its storage fails.
    pub async fn run(self) -> Result<()> {
        let (stop_all, stop) = watch::channel(false);
        let mut devices = JoinSet::new();
        let single = self.kind.common().fleet.is_none();
        let mut hearers = Vec::new();
        for id in self.ids()? {
            let mut parts = Vec::new();
            for connector in self.connectors() {
                let (say, commands) = mpsc::channel(COMMANDS);
                self.prepare(&named(&id, connector.as_ref())?, &say);
                hearers.push((connector.clone(), say));
                parts.push((connector, commands));
            }
            self.start(id, parts, stop.clone(), &mut devices)?;
        }
        if single {
            std::thread::spawn(move || listen(&hearers));
        }
        tokio::select! {
            signal = wattle_process::shutdown_signal() => signal.context("could not listen for signals")?,
            Some(ended) = devices.join_next() => return ended.context("a device has panicked")?,
        }
        let _ = stop_all.send(true);
        while let Some(ended) = devices.join_next().await {
            ended.context("a device has panicked")??;
        }
        Ok(())
    }

    /// The connectors of each device; none for a device that is one by itself.
    fn connectors(&self) -> Vec<Option<DeviceId>> {
        match &self.kind {
            Kind::Charger(args) if !args.connectors.is_empty() => {
                args.connectors.iter().cloned().map(Some).collect()
            }
            _ => vec![None],
        }
    }

    /// What happens to somebody from the beginning.
    fn prepare(&self, id: &DeviceId, say: &mpsc::Sender<Command>) {
        if let Some(scenario) = &self.scenario {
            tokio::task::spawn_local(play(scenario.of(id), self.scenario_start(), say.clone()));
        }
        if let Kind::Charger(args) = &self.kind
            && let Some(user) = &args.plugged
        {
            // The queue was made just now and is empty.
            let _ = say.try_send(Command::Plug(Some(user.clone())));
        }
    }

    fn scenario_start(&self) -> tokio::time::Instant {
        let in_ms =
            self.kind.common().start_at.map_or(0, |at| i128::from(at) - since_1970().as_millis() as i128);
        let now = tokio::time::Instant::now();
        let length = Duration::from_millis(u64::try_from(in_ms.unsigned_abs()).unwrap_or(0));
        if in_ms >= 0 { now + length } else { now.checked_sub(length).unwrap_or(now) }
    }

    /// Starts a device; `parts` are its connectors, or itself.
    fn start(
        &self,
        id: DeviceId,
        parts: Vec<(Option<DeviceId>, mpsc::Receiver<Command>)>,
        stop: watch::Receiver<bool>,
        devices: &mut JoinSet<Result<()>>,
    ) -> Result<()> {
        macro_rules! run_on {
            ($open:expr) => {{
                let storages = parts.iter().map(|(connector, _)| $open(connector.as_ref()));
                let storages = one_start(storages.collect::<Result<Vec<_>>>()?)?;
                self.start_on(storages, id, parts, stop, devices)
            }};
        }
        match &self.kind.common().state {
            Some(folder) => run_on!(|connector: Option<&DeviceId>| {
                let folder = connector.map_or_else(|| folder.clone(), |c| folder.join(c.as_str()));
                FileStorage::open(&folder).with_context(|| format!("--state {}", folder.display()))
            }),
            None => {
                let boot = u32::try_from(since_1970().as_secs()).unwrap_or(u32::MAX - 1);
                run_on!(|_: Option<&DeviceId>| {
                    let mut storage = MemoryStorage::default();
                    storage.set_raw(STATE_KEY, &started_before(boot))?;
                    anyhow::Ok(storage)
                })
            }
        }
    }

    fn start_on<S>(
        &self,
        storages: Vec<S>,
        login: DeviceId,
        parts: Vec<(Option<DeviceId>, mpsc::Receiver<Command>)>,
        stop: watch::Receiver<bool>,
        devices: &mut JoinSet<Result<()>>,
    ) -> Result<()>
    where
        S: RawStorage + 'static,
        S::Error: std::error::Error + Send + Sync + 'static,
    {
        let started = Instant::now();
        let common = self.kind.common();
        let mut machines = Vec::new();
        for ((connector, commands), storage) in parts.into_iter().zip(storages) {
            let id = named(&login, connector.as_ref())?;
            let machine = self.machine(&id, stored(&storage)?.as_deref(), started)?;
            machines.push((id, connector, machine, commands, storage));
        }
        let topic = topic::topic(&common.site, &login, Channel::Status);
        let will = machines.first().map(|(_, _, machine, ..)| machine.will().payload).unwrap_or_default();
        let broker = Broker {
            host: self.host.clone(),
            port: self.port,
            name: login.as_str().to_owned(),
            password: self.password(&login)?,
        };
        let (mqtt, connection) = mqtt::connect(&broker, Will { topic, payload: will });
        let connectors: Vec<DeviceId> =
            machines.iter().filter_map(|(_, connector, ..)| connector.clone()).collect();
        let connections = if connectors.is_empty() { vec![connection] } else { connection.part(&connectors) };
        let mut running = Vec::new();
        for ((id, connector, machine, commands, storage), connection) in machines.into_iter().zip(connections)
        {
            let (site, login, trace, mqtt) =
                (common.site.clone(), login.clone(), common.trace_json, mqtt.clone());
            let speaks = running.is_empty();
            let device =
                Device { site, login, connector, speaks, id, machine, mqtt, storage, trace, started };
            running.push(run(device, connection, commands, stop.clone()));
        }
        devices.spawn_local(async move {
            let ended = all(running).await;
            mqtt.disconnect();
            for mut connection in ended? {
                let _ = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await;
            }
            Ok(())
        });
        Ok(())
    }

    fn machine(&self, id: &DeviceId, saved: Option<&[u8]>, started: Instant) -> Result<Machine> {
        let common = self.kind.common();
        let (line, pace) = (line(common), pace(common));
        let damaged = || {
            format!(
                "device {id}: its stored state can't be used; repair it, or remove it to begin at register 0"
            )
        };
        match &self.kind {
            Kind::Charger(args) => {
                let config = ChargerConfig {
                    line,
                    pace,
                    min_ma: args.min,
                    max_ma: args.max,
                    safe_ma: args.safe,
                    ..ChargerConfig::default()
                };
                let charger = Charger::new(config, saved, now(started)).with_context(damaged)?;
                let cable = common.cable.map(ChargerEnd::connect).transpose().context("--cable")?;
                let world = ChargerWorld::new(around(common), id.clone(), cable, Milliamps::from_amps(32));
                Ok(Machine::Charger(Box::new(charger), world))
            }
            Kind::Meter(args) => {
                let meter =
                    Meter::new(MeterConfig { line, pace }, saved, now(started)).with_context(damaged)?;
                let cable = common
                    .cable
                    .map(MeterEnd::bind)
                    .transpose()
                    .with_context(|| format!("--cable {:?} can't be listened on", common.cable))?;
                let load = [args.load, Milliamps::ZERO, Milliamps::ZERO];
                Ok(Machine::Meter(Box::new(meter), MeterWorld::new(around(common), load), cable))
            }
        }
    }
}

/// Runs all parts of a device until each has ended, or one fails.
async fn all<F>(mut parts: Vec<F>) -> Result<Vec<mqtt::Connection>>
where
    F: Future<Output = Result<mqtt::Connection>> + 'static,
{
    if parts.len() == 1
        && let Some(part) = parts.pop()
    {
        return Ok(vec![part.await?]);
    }
    let mut running = JoinSet::new();
    for part in parts {
        running.spawn_local(part);
    }
    let mut connections = Vec::new();
    while let Some(ended) = running.join_next().await {
        connections.push(ended.context("a connector has panicked")??);
    }
    Ok(connections)
}

async fn run<S>(
    mut device: Device<mqtt::Sender, S>,
    mut connection: mqtt::Connection,
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
) -> Result<mqtt::Connection>
where
    S: RawStorage,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    device.run(&mut connection, commands, stop).await?;
    Ok(connection)
}

/// The name in what is printed: a device's, or a connector's behind its device's.
fn named(device: &DeviceId, connector: Option<&DeviceId>) -> Result<DeviceId> {
    let Some(connector) = connector else { return Ok(device.clone()) };
    DeviceId::new(format!("{device}:{connector}")).context("--id is too long for a device with connectors")
}

/// Connectors of one device start together: all are given the highest number of starts of any.
fn one_start<S>(mut storages: Vec<S>) -> Result<Vec<S>>
where
    S: RawStorage,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    // What can't be used the machine says, with what to do.
    let boots =
        storages.iter().map(|storage| anyhow::Ok(stored(storage)?.and_then(|bytes| starts(&bytes).ok())));
    let highest = boots.collect::<Result<Vec<_>>>()?.into_iter().flatten().max();
    for storage in &mut storages {
        let Some(boot) = highest else { break };
        let bytes = stored(storage)?;
        let with = bytes.map_or_else(|| Ok(started_before(boot)), |bytes| with_starts(&bytes, boot));
        if let Ok(bytes) = with {
            storage.set_raw(STATE_KEY, &bytes)?;
        }
    }
    Ok(storages)
}

fn around(common: &Common) -> Surroundings {
    Surroundings {
        phases: common.phases.0.clone(),
        voltage_mv: Millivolts(i32::from(common.voltage) * 1000),
        noise_ma: common.noise_ma.into(),
        noise_mv: common.noise_mv.into(),
    }
}

fn line(common: &Common) -> LineConfig {
    LineConfig {
        ring: common.ring as usize,
        in_flight: common.in_flight as usize,
        resend_ms: common.resend_ms,
        ..LineConfig::default()
    }
}

fn pace(common: &Common) -> PaceConfig {
    let interval_ms = match (common.rate, common.fleet) {
        (Some(rate), Some(size)) => (u64::from(size) * 1000 / u64::from(rate)).max(1),
        _ => common.interval_ms,
    };
    PaceConfig { interval_ms, idle_interval_ms: Some(interval_ms), ..PaceConfig::default() }
}

fn text(file: &Path, most: u64) -> Result<String> {
    let length = std::fs::metadata(file).with_context(|| format!("can't read {}", file.display()))?.len();
    if length > most {
        bail!("{} has {length} bytes; at most {most} are read", file.display());
    }
    std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))
}

fn passwords(text: &str) -> Result<BTreeMap<String, String>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let (device, password) = line
                .split_once(':')
                .with_context(|| format!("line {} is not `device:password`", index + 1))?;
            Ok((device.to_owned(), password.to_owned()))
        })
        .collect()
}

async fn play(steps: Vec<(u64, Command)>, start: tokio::time::Instant, say: mpsc::Sender<Command>) {
    for (at_ms, command) in steps {
        tokio::time::sleep_until(start + Duration::from_millis(at_ms)).await;
        if say.send(command).await.is_err() {
            return;
        }
    }
}

/// Reads commands from standard input, on a thread of its own: a read can't be woken. Where there are connectors the first
/// word of each says which.
fn listen(hearers: &[(Option<DeviceId>, mpsc::Sender<Command>)]) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (hearer, words) = match hearers {
            [(None, say)] => (Some(say), line.as_str()),
            _ => {
                let (first, words) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
                let is_meant =
                    |name: &Option<DeviceId>| name.as_ref().is_some_and(|name| name.as_str() == first);
                (hearers.iter().find(|(name, _)| is_meant(name)).map(|(_, say)| say), words)
            }
        };
        let Some(say) = hearer else {
            tracing::warn!("{line:?} names no connector; begin with one");
            continue;
        };
        match Command::parse(words) {
            Ok(command) => {
                if say.blocking_send(command).is_err() {
                    return;
                }
            }
            Err(problem) => tracing::warn!("{problem}"),
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
