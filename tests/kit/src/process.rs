//! A program of ours as a process of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait_for;

/// The path of a program of the workspace, built beside the test that asks.
///
/// # Errors
/// When it isn't there: it says how to build it.
pub fn program(name: &str) -> Result<PathBuf> {
    // target/debug/deps/test-1234 -> target/debug/name
    let test = std::env::current_exe()?;
    let path = test.ancestors().nth(2).context("a test lives two folders below the programs")?.join(name);
    ensure!(path.exists(), "{} isn't there; run `cargo build --workspace --bins`", path.display());
    Ok(path)
}

/// A running process. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; its standard error goes where the test's goes.
    ///
    /// # Errors
    /// When the system can't start it.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).spawn().with_context(|| format!("can't start {name}"))?;
        Ok(Self { name, child })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it has closed it.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("standard input is piped")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} doesn't listen", self.name))
    }

    /// Its standard output, if it is piped and wasn't taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it has ended by itself, if it does within `span`.
    pub fn ended_within(&mut self, span: Duration) -> Option<ExitStatus> {
        let child = &mut self.child;
        wait_for("its end", span, || child.try_wait().ok().flatten()).ok()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When the system can't.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by its name, as in `STOP`.
    ///
    /// # Errors
    /// When the system can't.
    pub fn signal(&self, name: &str) -> Result<()> {
        // Signals have no way through the standard library.
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        ensure!(sent.success(), "can't send {name} to {}", self.name);
        Ok(())
    }

    /// SIGTERM, and waits until it has drained.
    ///
    /// # Errors
    /// When it hasn't ended within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let child = &mut self.child;
        wait_for(&format!("the end of {}", self.name), limit, || child.try_wait().ok().flatten())
    }

    /// Waits until `GET /healthz` on `port` answers 200.
    ///
    /// # Errors
    /// When it ends before that, or hasn't answered within `limit`.
    pub fn wait_healthy(&mut self, port: u16, limit: Duration) -> Result<()> {
        let (name, child) = (&self.name, &mut self.child);
        let outcome = wait_for(&format!("{name} to be healthy"), limit, || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(anyhow::anyhow!("{name} has ended early: {status}")));
            }
            get(port, "/healthz").ok().filter(|answer| answer.starts_with("HTTP/1.1 200")).map(|_| Ok(()))
        });
        outcome?
    }

    /// The body of `GET path` on `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(port: u16, path: &str) -> Result<String> {
        let answer = get(port, path)?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
