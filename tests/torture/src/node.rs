//! One process of the line, that is killed and started again.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use wattle_testkit::Process;

use crate::plan::Target;

/// How it is known that a process answers.
#[derive(Debug, Clone)]
pub enum Probe {
    /// It speaks HTTP on this port, whatever it says of its health.
    Http(u16),
    /// It takes connections on this port.
    Tcp(u16),
    /// The file of this start is there.
    File(fn(&std::path::Path, u32) -> PathBuf, PathBuf),
}

/// Makes the command of a start, which is told its number.
pub type Launch = Box<dyn Fn(u32) -> Result<Command>>;

/// A process with what has happened to it.
pub struct Node {
    /// Who it is.
    pub target: Target,
    /// How often it was started.
    pub starts: u32,
    /// How often it was killed.
    pub kills: usize,
    /// How often it was stopped and continued.
    pub pauses: usize,
    launch: Launch,
    probe: Probe,
    log: PathBuf,
    process: Option<Process>,
}

impl Node {
    /// One that doesn't run yet; what it says goes to the end of `log`.
    pub fn new(target: Target, launch: Launch, probe: Probe, log: PathBuf) -> Self {
        Self { target, starts: 0, kills: 0, pauses: 0, launch, probe, log, process: None }
    }

    /// Starts it, and doesn't wait until it answers.
    ///
    /// # Errors
    /// When the system can't.
    pub fn start(&mut self) -> Result<()> {
        self.starts += 1;
        let mut command = (self.launch)(self.starts)?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        command.stdout(Stdio::from(log.try_clone()?)).stderr(log);
        self.process = Some(Process::start(command)?);
        Ok(())
    }

    /// SIGKILL, without waiting for its end: so several can be hit at once.
    ///
    /// # Errors
    /// When it doesn't run, or has ended by itself.
    pub fn strike(&mut self) -> Result<()> {
        self.check()?;
        self.running()?.signal("KILL")?;
        self.kills += 1;
        Ok(())
    }

    /// Waits until it is gone after [`Self::strike`].
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn bury(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it doesn't run, or has ended by itself.
    pub fn stop(&mut self) -> Result<()> {
        self.check()?;
        self.running()?.signal("STOP")?;
        self.pauses += 1;
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn go_on(&mut self) -> Result<()> {
        self.running()?.signal("CONT")
    }

    /// SIGTERM, and waits until it has drained; it has to say that all is well, unless it is a JVM, which never does.
    ///
    /// # Errors
    /// When it takes longer than `limit`, or ends with another code.
    pub fn terminate(&mut self, limit: Duration) -> Result<()> {
        self.check()?;
        let status = self.running()?.terminate(limit)?;
        self.process = None;
        let ends_well = status.success() || self.target == Target::Kafka;
        ensure!(ends_well, "{} was told to stop and ended with {status}", self.target.as_str());
        Ok(())
    }

    /// Whether it is still running, where it should.
    ///
    /// # Errors
    /// When it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let ended = process.ended_within(Duration::ZERO);
        let name = self.target.as_str();
        ensure!(ended.is_none(), "{name} has ended by itself: {}", ended.unwrap_or_default());
        Ok(())
    }

    /// Whether it answers.
    pub fn answers(&self) -> bool {
        self.process.is_some()
            && match &self.probe {
                Probe::Http(port) => Process::get(*port, "/healthz").is_ok_and(|page| !page.is_empty()),
                Probe::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
                Probe::File(path, folder) => path(folder, self.starts).exists(),
            }
    }

    fn running(&mut self) -> Result<&mut Process> {
        let name = self.target.as_str();
        self.process.as_mut().ok_or_else(|| anyhow::anyhow!("{name} doesn't run"))
    }
}
