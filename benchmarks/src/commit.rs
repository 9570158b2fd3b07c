//! From sealed segments to a committed lake, beside parquet alone.
//!
//! The lake's way is the fog node's: decode what an edge has sealed, judge each row, append to the raw tables, fsync,
//! commit with the positions. Parquet alone takes the same batches of readings, decoded beforehand, and writes one file
//! for each commit, with the same compression, and fsyncs it. Beside them a reader in Python, with pyarrow and deltalake,
//! appends the same batches to a Delta table.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wattle_columns::{Segment, SegmentBuilder};
use wattle_fog::lake::Lake;
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{Reading, Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{DeviceId, EdgeId, Micros, Milliamps, Millivolts, SessionId, SiteId, WattHours, Watts};

use crate::load::Place;
use crate::load::publish::noisy;
use crate::report::Report;
use crate::sample::median;

/// Devices that measure once a second.
const DEVICES: usize = 1000;
/// Readings of a segment, segments of a commit, and commits of a round.
const READINGS: usize = 20_000;
const SEGMENTS: usize = 2;
const COMMITS: usize = 8;
/// Rounds; the first does not count.
const ROUNDS: usize = 4;
/// When the first was measured, UTC seconds.
const START: i64 = 1_790_000_000;

/// Measures.
///
/// # Errors
/// When a folder can't be written, or the lake doesn't take all readings.
pub fn measure(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let sealed = sealed()?;
    let (mut alone, mut committed, mut python) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let place = Place::new()?;
        let rates = (parquet(place.path(), &sealed)?, runtime.block_on(lake(place.path(), &sealed))?);
        if round > 0 {
            alone.push(rates.0);
            committed.push(rates.1);
            python.extend(peer(place.path(), &sealed)?);
        }
    }
    let committed = median(committed);
    let alone = median(alone);
    report.add(
        "commit",
        format!("{} readings a commit", READINGS * SEGMENTS),
        (committed, "readings/s"),
        (format!("parquet alone, {alone:.0}"), alone),
    );
    if !python.is_empty() {
        let python = median(python);
        report.add(
            "commit",
            "beside Python",
            (committed, "readings/s"),
            (format!("pyarrow and deltalake, {python:.0}"), python),
        );
    }
    Ok(())
}

async fn lake(folder: &Path, sealed: &[Vec<u8>]) -> Result<f64> {
    let lake = Lake::open(folder.join("lake")).await?;
    let started = Instant::now();
    let mut readings = 0;
    for bytes in sealed.chunks(SEGMENTS) {
        let segments = bytes.iter().map(|bytes| Segment::decode(bytes)).collect::<Result<_, _>>()?;
        readings += lake.commit(segments).await?.readings;
    }
    let rate = readings as f64 / started.elapsed().as_secs_f64();
    ensure!(readings == READINGS * SEGMENTS * COMMITS, "the lake took {readings} readings");
    Ok(rate)
}

fn parquet(folder: &Path, sealed: &[Vec<u8>]) -> Result<f64> {
    let segments: Vec<Segment> =
        sealed.iter().map(|bytes| Segment::decode(bytes)).collect::<Result<_, _>>()?;
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let started = Instant::now();
    for (n, segments) in segments.chunks(SEGMENTS).enumerate() {
        let file = File::create(folder.join(format!("{n}.parquet")))?;
        let schema = wattle_columns::schema::readings();
        let mut writer = ArrowWriter::try_new(file.try_clone()?, schema, Some(properties.clone()))?;
        for segment in segments {
            writer.write(&segment.readings)?;
        }
        writer.close()?;
        file.sync_all()?;
    }
    Ok((READINGS * SEGMENTS * COMMITS) as f64 / started.elapsed().as_secs_f64())
}

/// The rate of a Python reader that appends the same batches, as Arrow IPC with zstd, to a table; none where it isn't installed.
fn peer(folder: &Path, sealed: &[Vec<u8>]) -> Result<Option<f64>> {
    let tools = std::env::var_os("WATTLE_TOOLS").map(PathBuf::from);
    let Some(python) = tools.map(|tools| tools.join("peer/bin/python")).filter(|python| python.exists())
    else {
        eprintln!("commit: without its peer in Python; `make bench` installs it");
        return Ok(None);
    };
    let batches = folder.join("batches");
    std::fs::create_dir(&batches)?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    for (n, bytes) in sealed.iter().enumerate() {
        let readings = Segment::decode(bytes)?.readings;
        let file = File::create(batches.join(format!("{n:04}.arrows")))?;
        let mut writer = StreamWriter::try_new_with_options(file, &readings.schema(), options.clone())?;
        writer.write(&readings)?;
        writer.finish()?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/delta_writer.py");
    let table = folder.join("python");
    let ran =
        Command::new(python).arg(script).arg(&batches).arg(&table).arg(SEGMENTS.to_string()).output()?;
    ensure!(ran.status.success(), "the peer failed: {}", String::from_utf8_lossy(&ran.stderr));
    let seconds: f64 = String::from_utf8(ran.stdout)?.trim().parse().context("the peer's seconds")?;
    Ok(Some((READINGS * SEGMENTS * COMMITS) as f64 / seconds))
}

/// What an edge has sealed: charging devices that measure once a second, with noise.
fn sealed() -> Result<Vec<Vec<u8>>> {
    let devices: Vec<Device> = (0..DEVICES).map(Device::new).collect::<Result<_>>()?;
    let mut noise = StdRng::seed_from_u64(1);
    let edge = EdgeId::new("edge-1")?;
    let mut builder = SegmentBuilder::new(edge, Incarnation(1));
    let mut sealed = Vec::new();
    for n in 0..READINGS * SEGMENTS * COMMITS {
        let (second, device) = (n / DEVICES, &devices[n % DEVICES]);
        let at_us = Micros::from_secs(START + second as i64) + Micros(n as i64 % DEVICES as i64);
        let row = Row::Reading(device.reading(second as u64, at_us, &mut noise));
        builder.push(&Record { sequence: n as u64 + 1, at_us: at_us + Micros(20_000), row })?;
        if (n + 1) % READINGS == 0 {
            sealed.push(builder.finish().context("a segment of readings")?.encode()?);
        }
    }
    Ok(sealed)
}

struct Device {
    site: SiteId,
    id: DeviceId,
    session: SessionId,
}

impl Device {
    fn new(n: usize) -> Result<Self> {
        let id = DeviceId::new(format!("cp-{n:03}"))?;
        let session = SessionId::new(format!("{id}-1-17"))?;
        Ok(Self { site: SiteId::new("bench")?, id, session })
    }

    fn reading(&self, second: u64, at_us: Micros, noise: &mut StdRng) -> Reading {
        let (current, voltage) = (noisy(noise, 16_000, 50), noisy(noise, 230_000, 500));
        Reading {
            site: self.site.clone(),
            device: self.id.clone(),
            number: Some(Number { boot: 1, seq: second + 1 }),
            measured_us: Some(at_us),
            state: Some(ChargerState::Charging),
            setpoint: Some(17),
            session: Some(self.session.clone()),
            values: Values {
                current_ma: Some(Phases::new(&[Milliamps(current)])),
                voltage_mv: Some(Phases::new(&[Millivolts(voltage)])),
                power_w: Some(Watts((i64::from(current) * i64::from(voltage) / 1_000_000) as i32)),
                register_wh: Some(WattHours(1_000_000 + second as i64)),
                ..Values::default()
            },
        }
    }
}
