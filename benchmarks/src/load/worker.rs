//! This program, started again to play one part.
//!
//! A part says `ready` once, then `<UTC microseconds> <count>` again and again, a last time before it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

/// How long a part may take until it is ready.
const START: Duration = Duration::from_secs(10);
/// How often a part says its count.
const REPORT: Duration = Duration::from_millis(20);
/// Linux counts CPU time for others in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// How many, at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// UTC microseconds.
    pub at_us: u64,
    /// How many by then.
    pub count: u64,
}

impl Tally {
    /// How many a second since an earlier moment.
    pub fn rate_since(self, earlier: Self) -> f64 {
        let seconds = self.at_us.saturating_sub(earlier.at_us) as f64 / 1e6;
        self.since(earlier) / seconds.max(1e-6)
    }

    /// How many since an earlier moment.
    pub fn since(self, earlier: Self) -> f64 {
        self.count.saturating_sub(earlier.count) as f64
    }
}

/// A process of which the CPU time can be read.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// CPU time of all its threads so far, seconds; zero when it is gone.
    pub fn cpu_seconds(self) -> f64 {
        self.fields().map_or(0.0, |fields| (fields.user + fields.system) as f64 / TICKS_PER_SECOND)
    }

    /// As [`Self::cpu_seconds`], its running children included.
    pub fn family_cpu_seconds(self) -> f64 {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = entries.filter_map(|entry| Some(Self(entry.file_name().to_str()?.parse().ok()?)));
        let children = all.filter(|process| process.fields().is_some_and(|fields| fields.parent == self.0));
        self.cpu_seconds() + children.map(Self::cpu_seconds).sum::<f64>()
    }

    /// The most that it ever had in memory (`VmHWM`), in millions of bytes; none when it is gone.
    pub fn peak_memory_mb(self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0 / 1e6)
    }

    fn fields(self) -> Option<Fields> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name may hold spaces; what follows it begins with the third field.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Fields { parent: u32::try_from(number(4)?).ok()?, user: number(14)?, system: number(15)? })
    }
}

/// What `/proc/PID/stat` tells, times in ticks.
struct Fields {
    parent: u32,
    user: u64,
    system: u64,
}

/// A running part.
pub struct Worker {
    child: Child,
    tally: Arc<Mutex<Tally>>,
    ended: mpsc::Receiver<()>,
}

impl Worker {
    /// Starts a part and waits until it is ready.
    ///
    /// # Errors
    /// When it isn't within [`START`].
    pub fn start(part: &str, arguments: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(part)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start the part `{part}`"))?;
        let output = child.stdout.take().context("standard output is piped")?;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (ready, is_ready) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let heard = tally.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line == "ready" {
                    // The parent is gone only when the run is over.
                    let _ = ready.send(());
                } else if let Some(tally) = parse(&line) {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = tally;
                }
            }
            drop(end);
        });
        let worker = Self { child, tally, ended };
        is_ready.recv_timeout(START).with_context(|| format!("the part `{part}` is not ready"))?;
        Ok(worker)
    }

    /// What it said last.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Lets it end, and gives its last count.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub fn finish(mut self) -> Result<Tally> {
        drop(self.child.stdin.take());
        let end = self.ended.recv_timeout(START);
        ensure!(end == Err(mpsc::RecvTimeoutError::Disconnected), "a part doesn't end");
        Ok(self.tally())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Tally> {
    let (at_us, count) = line.split_once(' ')?;
    Some(Tally { at_us: at_us.parse().ok()?, count: count.parse().ok()? })
}

/// UTC microseconds.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

/// A part's side: says that it is ready.
pub fn say_ready() {
    println!("ready");
}

/// A part's side: says the count until `is_over`, then once more. Ends the process when nobody listens.
pub fn report(count: &AtomicU64, mut is_over: impl FnMut() -> bool) {
    loop {
        let over = is_over();
        let said = writeln!(std::io::stdout(), "{} {}", now_us(), count.load(Ordering::Acquire));
        if over || said.is_err() {
            return;
        }
        std::thread::sleep(REPORT);
    }
}

/// A part's side: gives something that says whether the part is to end.
pub fn end_of_input() -> impl FnMut() -> bool {
    let (running, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // An error is an end too.
        let _ = std::io::stdin().read_to_end(&mut rest);
        drop(running);
    });
    move || ended.try_recv() == Err(mpsc::TryRecvError::Disconnected)
}
