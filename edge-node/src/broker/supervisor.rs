//! Keeps the broker's process running.
//!
//! A child that ends, however, is started again on the same address: after [`FIRST_WAIT`] the first time, after twice as
//! long each further time up to [`LONGEST_WAIT`], and from the beginning once one has run for [`STEADY`]. It is tried for
//! as long as the edge runs, because nothing is lost meanwhile: devices keep what was not acknowledged. A child that says
//! what it shouldn't is ended like one that ended.
//!
//! The edge can't start without a first child that listens.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wattle_process::Health;

use super::exchange::{MAX_SAID_BYTES, Said, Settings};
use super::{REFUSALS, RefusedLogin};

/// The argument with which the edge's program is the broker's.
pub const ARGUMENT: &str = "--embedded-broker";
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a child has to run to count as a new beginning.
const STEADY: Duration = Duration::from_secs(60);
/// How long a child may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);
/// How long a child may take to end before it is killed.
const END_TIME: Duration = Duration::from_secs(2);
const HEALTH: &str = "broker";

/// A broker in a process of its own, which is started again whenever it ends. Dropping this ends it.
pub struct Supervisor {
    address: SocketAddr,
    board: Arc<Board>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the status page tells of the broker's process.
#[derive(Debug, Default)]
pub struct Board {
    process: AtomicU32,
    restarts: AtomicU64,
}

impl Board {
    /// Its process id; none while it is down.
    pub fn process(&self) -> Option<u32> {
        Some(self.process.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

/// The program that runs now, as the broker's; also when another has been installed in its place since.
pub fn own_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("wattle-edge").arg(ARGUMENT);
    command
}

impl Supervisor {
    /// Starts `program` and keeps it running from now on. Gives whom the broker refuses; of a flood only the first.
    /// Must be called inside a tokio or actix runtime.
    ///
    /// # Errors
    /// When the first child doesn't start or can't listen.
    pub async fn start(
        program: fn() -> Command,
        mut settings: Settings,
        health: Health,
    ) -> io::Result<(Self, mpsc::Receiver<RefusedLogin>)> {
        let (child, address) = Running::start(program, &settings).await?;
        settings.listen = address;
        let (refusals, refused) = mpsc::channel(REFUSALS);
        let board = Arc::new(Board::default());
        let keeper = Keeper { program, settings, health, board: board.clone(), refusals };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keeper.run(child, stopped));
        Ok((Self { address, board, stop, task }, refused))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is about, also later.
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Ends the child, and waits until it has ended.
    pub async fn stop(self) {
        // Whoever doesn't listen any more has ended; so has a task that can't be joined.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Keeper {
    program: fn() -> Command,
    settings: Settings,
    health: Health,
    board: Arc<Board>,
    refusals: mpsc::Sender<RefusedLogin>,
}

impl Keeper {
    async fn run(self, child: Running, stopped: oneshot::Receiver<()>) {
        let mut child = Some(child);
        tokio::select! {
            () = self.keep(&mut child) => {}
            // Also when the other half was dropped.
            _ = stopped => {}
        }
        if let Some(child) = child {
            child.end().await;
        }
    }

    /// Never ends by itself.
    async fn keep(&self, slot: &mut Option<Running>) {
        let mut backoff = Backoff::default();
        while let Some(child) = slot {
            self.board.process.store(child.id(), Ordering::Relaxed);
            let since = Instant::now();
            self.forward(child).await;
            self.board.process.store(0, Ordering::Relaxed);
            let ran = since.elapsed();
            self.health.fail(HEALTH, "the broker's process has ended; it is being started again");
            if let Some(child) = slot.take() {
                let how = child.end().await;
                tracing::warn!(how, "the embedded broker has ended; it is started again");
            }
            *slot = Some(self.start_again(&mut backoff, ran).await);
        }
    }

    async fn forward(&self, child: &mut Running) {
        while let Some(said) = child.hear().await {
            let Said::Refused { client, reason } = said else { return };
            // Full only under a flood, of which the first few say enough.
            let _ = self.refusals.try_send(RefusedLogin { client, reason });
        }
    }

    async fn start_again(&self, backoff: &mut Backoff, mut ran: Duration) -> Running {
        loop {
            tokio::time::sleep(backoff.next(ran)).await;
            self.board.restarts.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("wattle_edge_broker_restarts_total").increment(1);
            match Running::start(self.program, &self.settings).await {
                Ok((child, address)) => {
                    self.health.clear(HEALTH);
                    tracing::warn!(%address, "the embedded broker listens again");
                    return child;
                }
                Err(error) => {
                    self.health.fail(HEALTH, format!("the broker doesn't start: {error}"));
                    tracing::warn!(%error, "the embedded broker doesn't start; trying again");
                }
            }
            ran = Duration::ZERO;
        }
    }
}

struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: FIRST_WAIT }
    }
}

impl Backoff {
    /// How long to wait after a child that ran for so long.
    fn next(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            self.wait = FIRST_WAIT;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

/// A child that listens. It dies when this is dropped.
struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    async fn start(program: fn() -> Command, settings: &Settings) -> io::Result<(Self, SocketAddr)> {
        let mut command = program();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let input = child.stdin.take().expect("standard input is piped");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut running = Self { child, input, output };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "its process doesn't answer");
        let address = timeout(START_TIME, running.begin(settings)).await.map_err(late)??;
        Ok((running, address))
    }

    async fn begin(&mut self, settings: &Settings) -> io::Result<SocketAddr> {
        let mut line = serde_json::to_vec(settings)?;
        line.push(b'\n');
        // What it says is of more use than that it no longer reads.
        let written = self.input.write_all(&line).await;
        match self.hear().await {
            Some(Said::Listening(address)) => written.map(|()| address),
            Some(Said::Failed(why)) => Err(io::Error::other(why)),
            Some(Said::Refused { .. }) | None => {
                Err(io::Error::other("its process ended before it listened"))
            }
        }
    }

    fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// The next thing said; none at the end and for what is not a line of ours.
    async fn hear(&mut self) -> Option<Said> {
        let mut line = Vec::new();
        (&mut self.output).take(MAX_SAID_BYTES).read_until(b'\n', &mut line).await.ok()?;
        serde_json::from_slice(&line).ok()
    }

    /// Tells it to end, waits, and says how it ended.
    async fn end(self) -> String {
        let Self { mut child, input, output } = self;
        drop((input, output));
        match timeout(END_TIME, child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                // Gone already is as good.
                let _ = child.kill().await;
                "killed, because it did not end".into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn settings() -> Settings {
        let listen = ([127, 0, 0, 1], 0).into();
        Settings { listen, accounts: [].into(), edge_password: String::new(), devices: 1 }
    }

    #[tokio::test]
    async fn a_child_that_ends_is_started_again_and_what_it_says_is_heard() {
        let program = || {
            shell(
                r#"read l; echo '{"listening":"127.0.0.1:7"}'
                echo '{"refused":{"client":"c","reason":"r"}}'; exit 70"#,
            )
        };
        let (supervisor, mut refused) =
            Supervisor::start(program, settings(), Health::new()).await.expect("started");
        assert_eq!(supervisor.address(), ([127, 0, 0, 1], 7).into());
        for _ in 0..3 {
            let login = refused.recv().await.expect("it goes on");
            assert_eq!(login, RefusedLogin { client: "c".into(), reason: "r".into() });
        }
        assert!(supervisor.board().restarts() >= 2);
        supervisor.stop().await;
        assert_eq!(refused.recv().await, None);
    }

    #[tokio::test]
    async fn while_there_is_no_child_the_node_is_not_healthy() {
        // The second, which is told the port of the first, can't listen.
        let program = || {
            shell(
                r#"read l; case $l in *:7*) echo '{"failed":"taken"}';; *) echo '{"listening":"127.0.0.1:7"}';; esac"#,
            )
        };
        let health = Health::new();
        let (supervisor, _refused) =
            Supervisor::start(program, settings(), health.clone()).await.expect("started");
        let expected = (HEALTH, "the broker doesn't start: taken".to_owned());
        let told = async {
            while !health.faults().contains(&expected) {
                tokio::task::yield_now().await;
            }
        };
        timeout(START_TIME, told).await.expect("told in time");
        assert_eq!(supervisor.board().process(), None);
    }

    #[tokio::test]
    async fn a_child_that_listens_ends_when_it_is_told() {
        let program = || shell(r#"read l; echo '{"listening":"127.0.0.1:7"}'; read l; exit 0"#);
        let (supervisor, mut refused) =
            Supervisor::start(program, settings(), Health::new()).await.expect("started");
        supervisor.stop().await;
        assert_eq!(refused.recv().await, None);
    }

    async fn check_start(program: fn() -> Command, expected: &str) {
        let error = Supervisor::start(program, settings(), Health::new()).await.err().expect("no broker");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[tokio::test]
    async fn a_first_child_that_does_not_listen_is_an_error() {
        check_start(|| shell(r#"echo '{"failed":"in use"}'"#), "in use").await;
        check_start(|| shell("exit 70"), "ended before it listened").await;
        check_start(|| shell("echo hello; read l"), "ended before it listened").await;
        check_start(|| shell("yes | tr -d '\\n'"), "ended before it listened").await;
        check_start(|| Command::new("/nowhere/wattle"), "No such file").await;
    }

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_after_a_steady_run() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.next(STEADY), FIRST_WAIT);
        assert_eq!(backoff.next(Duration::ZERO), FIRST_WAIT * 2);
    }
}
