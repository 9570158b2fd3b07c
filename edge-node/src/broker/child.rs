//! The broker's process: what `wattle-edge --embedded-broker` runs.
//!
//! It ends with exit code [`PANICKED`] at the first panic of any thread, because rumqttd may let nobody in after one;
//! with 0 when its standard input closes, so that it never outlives the edge, however that ended; with 1 when it
//! can't listen. It ignores SIGTERM and SIGINT, which a terminal or a service supervisor sends to all processes of a
//! service: the edge still needs the broker while it drains.
//!
//! Refused logins wait in a bounded queue for the edge to read them; what finds it full is not told.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::exchange::{MAX_SETTINGS_BYTES, Said, Settings};
use super::start;

/// The exit code after a panic.
pub const PANICKED: i32 = 70;
/// How long it waits for the address to be free: the broker of an edge that was killed may be about to end.
const BIND_TIME: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// Serves the broker until standard input closes.
pub fn run() -> ExitCode {
    end_at_the_first_panic();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::warn!(%error, "the embedded broker ends");
            // Nobody hears it only when the edge is gone.
            let _ = say(&Said::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn end_at_the_first_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let panic = panic.to_string().replace('\n', " ");
        tracing::warn!(panic, "the embedded broker has panicked and ends");
        std::process::exit(PANICKED);
    }));
}

/// Ends only with an error; at the end of standard input the process ends.
fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    // Whoever listens to a signal is not ended by it.
    let ignored = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let mut input = BufReader::new(io::stdin());
    let Settings { listen, accounts, edge_password, devices } = read_settings(&mut input)?;
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        // Whether it ends or fails, the edge is gone.
        let _ = io::copy(&mut input, &mut io::sink());
        std::process::exit(0);
    })?;
    let listen = free(listen)?;
    let (address, mut refused) = start(listen, accounts, edge_password, devices)?;
    say(&Said::Listening(address))?;
    drop(entered);
    while let Some(login) = refused.blocking_recv() {
        say(&Said::Refused { client: login.client, reason: login.reason })?;
    }
    drop(ignored);
    Err(io::Error::other("rumqttd has stopped"))
}

fn read_settings(input: &mut impl BufRead) -> io::Result<Settings> {
    let mut line = Vec::new();
    input.take(MAX_SETTINGS_BYTES).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// The address, with a port for 0, once nobody else listens there.
fn free(listen: SocketAddr) -> io::Result<SocketAddr> {
    let deadline = Instant::now() + BIND_TIME;
    loop {
        match TcpListener::bind(listen).and_then(|listener| listener.local_addr()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(LOOK);
            }
            outcome => return outcome,
        }
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let written = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            accounts: [("cp-1".to_owned(), "secret".to_owned())].into(),
            edge_password: "mine".into(),
            devices: 1,
        };
        let mut line = serde_json::to_vec(&written).expect("plain data");
        line.extend_from_slice(b"\nrest");
        let read = read_settings(&mut line.as_slice()).expect("right");
        assert_eq!((read.listen, read.accounts), (written.listen, written.accounts));
        assert_eq!((read.edge_password, read.devices), (written.edge_password, written.devices));
    }

    #[test]
    fn settings_that_are_cut_off_or_have_more_in_them_are_an_error() {
        assert!(read_settings(&mut b"".as_slice()).is_err());
        assert!(read_settings(&mut br#"{"listen":"127.0.0.1:0","accounts":{"#.as_slice()).is_err());
        let more = br#"{"listen":"127.0.0.1:0","accounts":{},"edge_password":"","devices":1,"tls":true}"#;
        assert!(read_settings(&mut more.as_slice()).is_err());
    }

    #[test]
    fn an_address_that_stays_taken_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("free port");
        let error = free(taken.local_addr().expect("bound")).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_becomes_free_is_waited_for() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = taken.local_addr().expect("bound");
        let waiting = std::thread::spawn(move || free(address));
        drop(taken);
        assert_eq!(waiting.join().expect("no panic").expect("free"), address);
    }
}
