//! Mosquitto itself, on a port of its own, with the configuration that Wattle ships and a user per device.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Process, free_port, wait_for};

/// Where Debian puts it.
pub const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// A running Mosquitto. Dropping it kills it.
pub struct Mosquitto {
    port: u16,
    folder: TempDir,
    process: Process,
}

impl Mosquitto {
    /// Starts one whose users are `(name, password)`, with `configuration` (lines of `mosquitto.conf` without
    /// listener and users).
    ///
    /// # Errors
    /// When Mosquitto isn't installed or doesn't start.
    pub fn start(users: &[(&str, &str)], configuration: &str) -> Result<Self> {
        ensure!(Path::new(MOSQUITTO).exists(), "{MOSQUITTO} isn't there; run `make setup`");
        let folder = TempDir::new()?;
        let passwords = folder.path().join("passwords");
        hash_passwords(&passwords, users)?;
        let port = free_port()?;
        let file = folder.path().join("mosquitto.conf");
        // It would give up root for a user of its own, who may not read the folder.
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\nuser root\npassword_file {}\n{configuration}\n",
            passwords.display()
        );
        fs::write(&file, text)?;
        let process = run(&file, port)?;
        Ok(Self { port, folder, process })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, then the same broker again on the same port.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = run(&self.folder.path().join("mosquitto.conf"), self.port)?;
        Ok(())
    }
}

/// Writes a file of `(name, password)` as Mosquitto reads it.
///
/// # Errors
/// When Mosquitto's tool isn't there, or the file can't be written.
pub fn hash_passwords(file: &Path, users: &[(&str, &str)]) -> Result<()> {
    let lines: String = users.iter().map(|(name, password)| format!("{name}:{password}\n")).collect();
    fs::write(file, lines)?;
    let status = Command::new("mosquitto_passwd").arg("-U").arg(file).status();
    ensure!(
        status.context("can't run mosquitto_passwd; run `make setup`")?.success(),
        "mosquitto_passwd failed"
    );
    Ok(())
}

fn run(file: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new(MOSQUITTO);
    command.arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(command)?;
    wait_for("Mosquitto to listen", Duration::from_secs(10), || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    })?;
    Ok(process)
}
