//! The client that readings are counted against: it reads, acknowledges, and does nothing else. Same library, same
//! session and same subscription as an edge with an external broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use wattle_edge::broker::EDGE_USER;
use wattle_edge::mqtt::MAX_UNSYNCED;

use super::{PASSWORD, SITE, worker};

/// What the part is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long)]
    port: u16,
}

/// The part: counts what it has acknowledged.
///
/// # Errors
/// When the connection ends.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut options = MqttOptions::new(EDGE_USER, "127.0.0.1", arguments.port);
    options.set_credentials(EDGE_USER, PASSWORD);
    options.set_clean_session(false);
    options.set_manual_acks(true);
    options.set_keep_alive(Duration::from_secs(20));
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut eventloop) = AsyncClient::new(options, 4 * MAX_UNSYNCED);
    eventloop.network_options.set_tcp_nodelay(true);
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        if let Err(error) = runtime.block_on(drain(&client, eventloop, &counted)) {
            eprintln!("wattle-bench drain: {error:#}");
            std::process::exit(1);
        }
    });
    worker::report(&count, worker::end_of_input());
    Ok(())
}

async fn drain(client: &AsyncClient, mut eventloop: EventLoop, count: &AtomicU64) -> Result<()> {
    client.subscribe(format!("wattle/v1/{SITE}/#"), QoS::AtLeastOnce).await?;
    loop {
        match eventloop.poll().await.context("no connection to the broker")? {
            Event::Incoming(Packet::Publish(publish)) => {
                client.try_ack(&publish).context("more acknowledgements wait than an edge would hold")?;
                count.fetch_add(1, Ordering::AcqRel);
            }
            Event::Incoming(Packet::SubAck(_)) => worker::say_ready(),
            _ => {}
        }
    }
}
