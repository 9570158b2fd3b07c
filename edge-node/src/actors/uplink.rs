//! The uplink's actor: runs [`crate::uplink`] on a thread of its own, and fetches from the journal's actor what
//! it asks for.
//!
//! It asks for one segment at a time, so at most one request is on its way to the journal. A journal that is
//! busy or can't read lets the uplink wait and ask again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use wattle_wire::EdgeId;
use wattle_wire::uplink::Incarnation;

use super::journal::{Free, Journal, ReadAfter};
use crate::uplink::{self, Options, Request, Source, Status};

/// Requests of the uplink that wait; it makes one at a time.
const REQUESTS: usize = 4;
/// How often the status page is brought up to date.
const LOOK: Duration = Duration::from_millis(200);

/// The actor.
pub struct Uplink {
    edge: EdgeId,
    options: Options,
    incarnation: Incarnation,
    journal: Addr<Journal>,
    /// The last sealed sequence.
    sealed: watch::Receiver<u64>,
    board: Arc<Mutex<Value>>,
    /// Ends the connection when it is dropped.
    running: Option<oneshot::Sender<()>>,
}

/// Ends the connection; what was not answered is sent again after the next start.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Uplink {
    /// An uplink of this edge's journal, on the way of `options`.
    pub fn new(
        edge: EdgeId,
        options: Options,
        incarnation: Incarnation,
        journal: Addr<Journal>,
        sealed: watch::Receiver<u64>,
        board: Arc<Mutex<Value>>,
    ) -> Self {
        Self { edge, options, incarnation, journal, sealed, board, running: None }
    }

    /// Starts it on a thread of its own.
    pub fn launch(self) -> Addr<Self> {
        Supervisor::start_in_arbiter(&Arbiter::new().handle(), move |_| self)
    }

    fn show(&self, status: &Status) {
        metrics::gauge!("wattle_edge_uplink_connected").set(f64::from(u8::from(status.connected)));
        metrics::counter!("wattle_edge_uplink_connections_total").absolute(status.connections);
        metrics::counter!("wattle_edge_uplink_segments_total").absolute(status.sent);
        metrics::counter!("wattle_edge_uplink_bytes_total").absolute(status.sent_bytes);
        metrics::counter!("wattle_edge_uplink_resent_total").absolute(status.resent);
        metrics::gauge!("wattle_edge_uplink_open_segments").set(status.open as f64);
        metrics::gauge!("wattle_edge_uplink_open_bytes").set(status.open_bytes as f64);
        let sealed = *self.sealed.borrow();
        let lag = sealed.saturating_sub(status.committed.unwrap_or(0));
        metrics::gauge!("wattle_edge_uplink_lag_entries").set(lag as f64);
        let page = json!({
            "address": self.options.way.name(),
            "state": if status.connected { "connected" } else { "down" },
            "committed": status.committed,
            "lag": lag,
            "sent": status.sent,
            "open": status.open,
            "resent": status.resent,
            "reason": status.reason,
        });
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

impl Actor for Uplink {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(REQUESTS);
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (status_to, mut status) = watch::channel(Status::default());
        let (running, stopped) = oneshot::channel::<()>();
        self.running = Some(running);
        self.show(&Status::default());
        let source = Source::new(self.edge.clone(), self.incarnation, requests, self.sealed.clone());
        let shutdown = async move {
            // Told or dropped: either way it is to end.
            let _ = stopped.await;
        };
        actix::spawn(uplink::run(self.options.clone(), source, status_to, shutdown));
        actix::spawn(serve(asked, self.journal.clone()));
        ctx.run_interval(LOOK, move |uplink, _| {
            if status.has_changed().unwrap_or(false) {
                uplink.show(&status.borrow_and_update().clone());
            }
        });
    }
}

impl Supervised for Uplink {}

impl Handler<Stop> for Uplink {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.running = None;
    }
}

/// Fetches from the journal's actor what the uplink asks for, one after the other.
async fn serve(mut asked: mpsc::Receiver<Request>, journal: Addr<Journal>) {
    while let Some(request) = asked.recv().await {
        // The uplink may have given up waiting; then nobody takes the answer.
        match request {
            Request::Next { after, reply } => match journal.send(ReadAfter(after)).await {
                Ok(Ok(segment)) => drop(reply.send(segment)),
                Ok(Err(error)) => tracing::error!(%error, "a segment can't be read for the uplink"),
                Err(_) => return,
            },
            Request::Committed { sequence, reply } => match journal.send(Free(sequence)).await {
                Ok(result) => drop(reply.send(result.map_err(|error| error.to_string()))),
                Err(_) => return,
            },
        }
    }
}
