//! What every Wattle process does alike: logs, health, metrics, a drain on SIGTERM.
//!
//! - [`init_tracing`]: log lines on standard error, `RUST_LOG` decides which (default `info`).
//! - [`choose_crypto`]: what TLS computes with.
//! - [`shutdown_signal`]: ends when the process is asked to stop; the caller drains.
//! - [`Health`]: whether the process does its work, and if not, why.
//! - [`serve_http`]: `/healthz`, `/metrics` (Prometheus text) and `/status` (JSON); [`serve_pages`] with more.
//! - [`inbox`]: `/documents`, what people send a node, by a token.
//! - [`sealed`]: small files that survive a power cut whole.
//!
//! Invariants: a metric may be counted before or after [`serve_http`]; there is one recorder per process. It
//! decides nothing about what a process serves or when it is healthy.

mod health;
mod http;
pub mod inbox;
pub mod sealed;

pub use health::Health;
pub use http::{HttpHandle, Pages, serve_http, serve_pages};
pub use inbox::Inbox;

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The exit code for a configuration or a command line that can't be used.
pub const EXIT_USAGE: i32 = 2;

/// Sends log lines to standard error. `RUST_LOG` says which; without it `info` and above, of others `warn`.
pub fn init_tracing() {
    // The embedded broker and the table library speak of what is no fault of anyone's.
    const DEFAULT: &str = "info,rumqttd=warn,rumqttd::server::broker=off,rumqttd::router::routing=off,rumqttc=warn,\
        actix_server=warn,tracing::span=warn,buoyant_kernel=warn,buoyant_kernel_engine=warn,\
        deltalake_core=warn,deltalake_core::writer::stats=error";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    // A second call, as tests make it, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // Where no line can be written, to a file on a full disk or to a pipe that nobody reads, the process goes on without: to say
        // it there too would panic.
        .log_internal_errors(false)
        .try_init();
}

/// Chooses what TLS computes with. Has to be called before the first connection with TLS: libraries bring two of them, and
/// rustls takes none by itself then.
pub fn choose_crypto() {
    // Whoever has chosen before has chosen well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Ends at SIGTERM or SIGINT.
///
/// # Errors
/// When the system lets no handler be set.
pub async fn shutdown_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
