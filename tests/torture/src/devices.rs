//! The process of all devices: a meter and chargers with vehicles that come and go, each with its own connection and its
//! own folder for what survives a kill.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wattle_device::control::Command;
use wattle_device::device::{Device, Machine, now, stored};
use wattle_device::mqtt::{self, Broker, Will};
use wattle_device::storage::FileStorage;
use wattle_device::world::{ChargerWorld, MeterWorld, Surroundings};
use wattle_device_core::{Charger, ChargerConfig, LineConfig, Meter, MeterConfig, PaceConfig};
use wattle_wire::topic::{self, Channel};
use wattle_wire::{DeviceId, Milliamps, Millivolts, Phase, SiteId, UserId};

use crate::book::Writer;
use crate::record::{Shared, listen};
use crate::{METER, SITE, device_names, password};

/// Time between two readings of a device.
const INTERVAL_MS: u64 = 200;
/// The register is stored each time that it has grown by so much, so that the disk has other things to do as well.
const STORE_STEP_WH: i64 = 50;
/// Who charges.
const USERS: [&str; 3] = ["ann", "bob", "cem"];

/// What the process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where books and the devices' storage are.
    #[arg(long)]
    pub folder: PathBuf,
    /// Which start this is.
    #[arg(long)]
    pub start: u32,
    /// The broker's port.
    #[arg(long)]
    pub port: u16,
}

/// Runs all devices until SIGTERM. Must be called within a `LocalSet`.
///
/// # Errors
/// When the book is there already, or storage fails.
pub async fn run(args: &Args) -> Result<()> {
    let book: Shared = Rc::new(RefCell::new(Writer::begin(&args.folder, args.start)?));
    let (stop_all, stop) = watch::channel(false);
    let mut devices = JoinSet::new();
    for (n, name) in device_names().enumerate() {
        let mut dice = StdRng::seed_from_u64(u64::from(args.start) << 32 | n as u64);
        let (say, commands) = mpsc::channel(16);
        let machine_args = Start { args, id: DeviceId::new(&name)?, commands, stop: stop.clone() };
        start(machine_args, &book, &mut devices)?;
        if name != METER {
            tokio::task::spawn_local(async move { vehicles(&mut dice, &say).await });
        }
    }
    tokio::select! {
        signal = wattle_process::shutdown_signal() => signal.context("could not listen for signals")?,
        Some(ended) = devices.join_next() => return ended.context("a device has panicked")?,
    }
    // Each device has a receiver until it ends.
    let _ = stop_all.send(true);
    while let Some(ended) = devices.join_next().await {
        ended.context("a device has panicked")??;
    }
    Ok(())
}

struct Start<'a> {
    args: &'a Args,
    id: DeviceId,
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
}

fn start(start: Start<'_>, book: &Shared, devices: &mut JoinSet<Result<()>>) -> Result<()> {
    let Start { args, id, commands, stop } = start;
    let (site, started) = (SiteId::new(SITE)?, Instant::now());
    let storage = FileStorage::open(args.folder.join(id.as_str()))?;
    let machine = machine(&id, stored(&storage)?.as_deref(), started)?;
    let broker = Broker {
        host: "127.0.0.1".into(),
        port: args.port,
        name: id.as_str().to_owned(),
        password: Some(password(id.as_str())),
    };
    let topic = topic::topic(&site, &id, Channel::Status);
    let halves = mqtt::connect(&broker, Will { topic, payload: machine.will().payload });
    let (mqtt, mut connection) = listen(halves, book);
    let mut device = Device {
        site,
        login: id.clone(),
        connector: None,
        speaks: true,
        id,
        machine,
        mqtt,
        storage,
        trace: false,
        started,
    };
    devices.spawn_local(async move {
        let ended = device.run(&mut connection, commands, stop).await;
        device.mqtt.disconnect();
        // A broker that doesn't take what is left isn't waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await;
        ended
    });
    Ok(())
}

fn machine(id: &DeviceId, saved: Option<&[u8]>, started: Instant) -> Result<Machine> {
    let line = LineConfig { store_step_wh: STORE_STEP_WH, ..LineConfig::default() };
    let pace =
        PaceConfig { interval_ms: INTERVAL_MS, idle_interval_ms: Some(INTERVAL_MS), ..PaceConfig::default() };
    let around = Surroundings {
        phases: vec![Phase::L1],
        voltage_mv: Millivolts(230_000),
        noise_ma: 50,
        noise_mv: 500,
    };
    if id.as_str() == METER {
        let meter = Meter::new(MeterConfig { line, pace }, saved, now(started))?;
        let home = [Milliamps::from_amps(12), Milliamps::ZERO, Milliamps::ZERO];
        return Ok(Machine::Meter(Box::new(meter), MeterWorld::new(around, home), None));
    }
    let config = ChargerConfig { line, pace, ..ChargerConfig::default() };
    let charger = Charger::new(config, saved, now(started))?;
    let world = ChargerWorld::new(around, id.clone(), None, Milliamps::from_amps(32));
    Ok(Machine::Charger(Box::new(charger), world))
}

/// Vehicles come, charge and leave, until nobody listens.
async fn vehicles(dice: &mut StdRng, say: &mpsc::Sender<Command>) {
    loop {
        let user = UserId::new(USERS[dice.random_range(0..USERS.len())]).expect("a name");
        for (command, longest_ms) in
            [(Command::Plug(Some(user)), 8000), (Command::End, 1000), (Command::Unplug, 3000)]
        {
            if say.send(command).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..longest_ms))).await;
        }
    }
}

/// Where the devices keep what survives them.
pub fn folder(run: &Path) -> PathBuf {
    run.join("devices")
}
