//! Publishers: four connections that publish readings of many devices at QoS 1, at a rate or as fast as the broker
//! takes them.
//!
//! Readings are of about 150 bytes, each with its own number, time and noise: a standard deviation of 0.05 A and
//! 0.5 V, never a constant. A connection's devices take turns, so that neighbouring readings are of different
//! devices: that is the harder case for whoever reads them.
//!
//! The count is of what the broker has acknowledged. A connection has at most [`WINDOW`] that it hasn't.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{PASSWORD, SITE, worker};

/// Connections.
pub const PUBLISHERS: usize = 4;
/// Devices, over all connections.
pub const DEVICES: usize = 200;
/// The most messages of a connection that the broker has not acknowledged.
const WINDOW: u64 = 1000;
/// Messages of one write.
const BURST: u64 = 100;
/// How often a connection looks what is due.
const PACE: Duration = Duration::from_millis(1);
/// How long the last acknowledgements are waited for.
const LAST: Duration = Duration::from_secs(3);

/// What the part is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long)]
    port: u16,
    /// Readings a second over all connections; as fast as possible without.
    #[arg(long)]
    rate: Option<f64>,
    /// Devices over all connections.
    #[arg(long, default_value_t = DEVICES)]
    devices: usize,
    /// Devices of a site, where there are several sites: then the first is `bench-0`.
    #[arg(long)]
    per_site: Option<usize>,
}

/// Who the publishers are at the broker.
pub fn users() -> impl Iterator<Item = String> {
    (0..PUBLISHERS).map(|n| format!("pub-{n}"))
}

/// The name of a device.
pub fn device(n: usize) -> String {
    format!("cp-{n:03}")
}

/// The part: publishes until its input ends, then waits for the last acknowledgements.
///
/// # Errors
/// When a connection is refused.
pub fn run(arguments: &Arguments) -> Result<()> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let sent = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicU64::new(0));
    for (n, user) in users().enumerate() {
        let stream = connect(arguments.port, &user)?;
        let rate = arguments.rate.map(|rate| rate / PUBLISHERS as f64);
        let publisher = Publisher {
            source: Source::new(n, arguments.devices, arguments.per_site),
            rate,
            stream,
            sent: sent.clone(),
            total: acknowledged.clone(),
            stop: stop.clone(),
        };
        publisher.start()?;
    }
    worker::say_ready();
    let mut input_ended = worker::end_of_input();
    let mut deadline = None;
    worker::report(&acknowledged, || {
        if deadline.is_none() && input_ended() {
            stop.store(1, Ordering::Release);
            deadline = Some(Instant::now() + LAST);
        }
        let is_whole = sent.load(Ordering::Acquire) == acknowledged.load(Ordering::Acquire);
        deadline.is_some_and(|deadline| is_whole || Instant::now() > deadline)
    });
    Ok(())
}

fn connect(port: u16, user: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b1100_0010, 0, 60];
    for text in [user, user, PASSWORD] {
        body.extend([0, text.len() as u8]);
        body.extend(text.as_bytes());
    }
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend(body);
    stream.write_all(&packet)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).context("the broker ends the connection")?;
    ensure!(answer == [0x20, 2, 0, 0], "the broker refuses {user}: {answer:?}");
    Ok(stream)
}

/// One connection.
struct Publisher {
    source: Source,
    rate: Option<f64>,
    stream: TcpStream,
    sent: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
}

impl Publisher {
    fn start(self) -> Result<()> {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (reader, counted, total) = (self.stream.try_clone()?, acknowledged.clone(), self.total.clone());
        let writer = std::thread::spawn(move || self.write(&acknowledged));
        let writer = writer.thread().clone();
        std::thread::spawn(move || {
            count_acknowledgements(reader, |count| {
                counted.fetch_add(count, Ordering::AcqRel);
                total.fetch_add(count, Ordering::AcqRel);
                writer.unpark();
            });
        });
        Ok(())
    }

    fn write(mut self, acknowledged: &AtomicU64) {
        let mut own = 0;
        let mut packets = Vec::with_capacity(32 << 10);
        let started = Instant::now();
        while self.stop.load(Ordering::Acquire) == 0 {
            let due = self.rate.map_or(u64::MAX, |rate| (started.elapsed().as_secs_f64() * rate) as u64);
            let room = WINDOW - (own - acknowledged.load(Ordering::Acquire));
            let count = due.saturating_sub(own).min(room).min(BURST);
            if count == 0 {
                std::thread::park_timeout(PACE);
                continue;
            }
            packets.clear();
            (0..count).for_each(|_| self.source.push(&mut packets));
            own += count;
            self.sent.fetch_add(count, Ordering::AcqRel);
            if self.stream.write_all(&packets).is_err() {
                // The counts no longer meet, which whoever reads them sees.
                return;
            }
        }
    }
}

/// Calls with the number of acknowledgements in each read, to the end of the connection. A broker sends a publisher
/// nothing else, and each has four bytes.
fn count_acknowledgements(mut stream: TcpStream, mut on: impl FnMut(u64)) {
    let mut buffer = [0; 16 << 10];
    let mut bytes = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes += read;
        on((bytes / 4) as u64);
        bytes %= 4;
    }
}

/// The readings of one connection's devices, as packets.
struct Source {
    noise: StdRng,
    topics: Vec<String>,
    seqs: Vec<u64>,
    next: usize,
    pkid: u16,
    payload: String,
}

impl Source {
    fn new(n: usize, devices: usize, per_site: Option<usize>) -> Self {
        let site = |n: usize| per_site.map_or(SITE.to_owned(), |per_site| format!("{SITE}-{}", n / per_site));
        let devices = (n..devices).step_by(PUBLISHERS);
        let topics: Vec<_> =
            devices.map(|n| format!("wattle/v1/{}/{}/reading", site(n), device(n))).collect();
        Self {
            noise: StdRng::seed_from_u64(n as u64),
            seqs: vec![0; topics.len()],
            topics,
            next: 0,
            pkid: 0,
            payload: String::with_capacity(256),
        }
    }

    fn push(&mut self, packets: &mut Vec<u8>) {
        let device = self.next;
        self.next = (self.next + 1) % self.topics.len();
        self.seqs[device] += 1;
        self.pkid = self.pkid % u16::MAX + 1;
        let seq = self.seqs[device];
        let (current, voltage) = (noisy(&mut self.noise, 16_000, 50), noisy(&mut self.noise, 230_000, 500));
        let power = i64::from(current) * i64::from(voltage) / 1_000_000;
        self.payload.clear();
        write!(
            self.payload,
            r#"{{"boot":1,"seq":{seq},"at_us":{},"state":"charging","current_ma":[{current}],"voltage_mv":[{voltage}],"power_w":{power},"register_wh":{}}}"#,
            worker::now_us(),
            1_000_000 + seq
        )
        .expect("a text takes what is written to it");
        push_publish(packets, &self.topics[device], self.pkid, self.payload.as_bytes());
    }
}

/// A value with noise of a standard deviation.
pub fn noisy(noise: &mut StdRng, mean: i32, deviation: i32) -> i32 {
    // Three even ones come close to a normal one, and stay within three deviations.
    let sum: f64 = (0..3).map(|_| noise.random::<f64>() - 0.5).sum();
    mean + (sum * 2.0 * f64::from(deviation)) as i32
}

fn push_publish(packets: &mut Vec<u8>, topic: &str, pkid: u16, payload: &[u8]) {
    let mut remaining = 2 + topic.len() + 2 + payload.len();
    packets.push(0x32);
    while remaining >= 128 {
        packets.push((remaining % 128) as u8 | 128);
        remaining /= 128;
    }
    packets.push(remaining as u8);
    packets.extend((topic.len() as u16).to_be_bytes());
    packets.extend(topic.as_bytes());
    packets.extend(pkid.to_be_bytes());
    packets.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_wire::message::{Reading, decode};

    #[test]
    fn a_packet_is_a_reading_as_agreed_of_about_150_bytes() {
        let mut source = Source::new(1, DEVICES, None);
        let mut packets = Vec::new();
        source.push(&mut packets);
        let start = packets.iter().position(|byte| *byte == b'{').expect("a payload");
        let payload = &packets[start..];
        assert!((140..=165).contains(&payload.len()), "{} bytes", payload.len());
        let reading: Reading = decode(payload).expect("as agreed");
        assert_eq!((reading.boot, reading.seq), (Some(1), Some(1)));
        // One byte of kind, two of length, and the length counts the rest.
        let remaining = usize::from(packets[1] & 127) + 128 * usize::from(packets[2]);
        assert_eq!(packets.len(), 3 + remaining);
    }

    #[test]
    fn noise_has_its_deviation_and_is_no_constant() {
        let mut noise = StdRng::seed_from_u64(7);
        let values: Vec<f64> = (0..10_000).map(|_| f64::from(noisy(&mut noise, 0, 500))).collect();
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        assert!((450.0..550.0).contains(&variance.sqrt()), "{}", variance.sqrt());
    }

    #[test]
    fn every_device_belongs_to_one_connection() {
        let mut topics: Vec<_> = (0..PUBLISHERS).flat_map(|n| Source::new(n, DEVICES, None).topics).collect();
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), DEVICES);
    }
}
