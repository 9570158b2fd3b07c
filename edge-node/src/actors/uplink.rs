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
    /// Whether it is that of a former life: the metrics tell of the node's own.
    is_former: bool,
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
        Self { edge, options, incarnation, journal, sealed, board, is_former: false, running: None }
    }

    /// The same, of a journal of a former life.
    #[must_use]
    pub fn of_former_life(self) -> Self {
        Self { is_former: true, ..self }
    }

    /// Starts it on a thread of its own.
    pub fn launch(self) -> Addr<Self> {
        Supervisor::start_in_arbiter(&Arbiter::new().handle(), move |_| self)
    }

    fn show(&self, status: &Status) {
        let lag = self.sealed.borrow().saturating_sub(status.committed.unwrap_or(0));
        if !self.is_former {
            publish(status, lag);
        }
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

/// As metrics.
fn publish(status: &Status, lag: u64) {
    metrics::gauge!("wattle_edge_uplink_connected").set(f64::from(u8::from(status.connected)));
    metrics::counter!("wattle_edge_uplink_connections_total").absolute(status.connections);
    metrics::counter!("wattle_edge_uplink_segments_total").absolute(status.sent);
    metrics::counter!("wattle_edge_uplink_bytes_total").absolute(status.sent_bytes);
    metrics::counter!("wattle_edge_uplink_resent_total").absolute(status.resent);
    metrics::gauge!("wattle_edge_uplink_open_segments").set(status.open as f64);
    metrics::gauge!("wattle_edge_uplink_open_bytes").set(status.open_bytes as f64);
    metrics::gauge!("wattle_edge_uplink_lag_entries").set(lag as f64);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;
    use crate::actors::journal::Shared;
    use crate::checkpoint::Checkpoint;
    use crate::clock::Clock;
    use crate::uplink::{Direct, Way};

    /// Counts what is told.
    #[derive(Default)]
    struct Told(AtomicUsize);

    impl Recorder for Told {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            self.0.fetch_add(1, Ordering::Relaxed);
            Counter::noop()
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            self.0.fetch_add(1, Ordering::Relaxed);
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn the_metrics_tell_of_the_nodes_own_uplink_and_not_of_those_of_former_lives() {
        let folder = tempfile::tempdir().expect("folder");
        let edge = EdgeId::new("edge-t").expect("name");
        let options = crate::journal::Options::new(folder.path(), edge.clone());
        let (log, recovery) = crate::journal::Journal::open(options, Default::default()).expect("opened");
        System::new().block_on(async {
            let (sealed, sealed_to) = watch::channel(0);
            let (clock, health) = (Arc::new(Clock::start()), wattle_process::Health::new());
            let shared = Shared { clock, health, board: Arc::default(), sealed, is_former: true };
            let journal = Journal::new(log, shared, Vec::new(), Checkpoint::default()).start();
            let way = Options::on(Way::Direct(Direct::new("http://127.0.0.1:1")));
            let uplink = Uplink::new(edge, way, recovery.incarnation, journal, sealed_to, Arc::default());
            let told = Told::default();
            metrics::with_local_recorder(&told, || uplink.show(&Status::default()));
            let of_its_own = told.0.swap(0, Ordering::Relaxed);
            let former = uplink.of_former_life();
            metrics::with_local_recorder(&told, || former.show(&Status::default()));
            assert_eq!((of_its_own, told.0.into_inner()), (8, 0));
            assert_eq!(former.board.lock().expect("sound")["state"], "down");
        });
    }
}
