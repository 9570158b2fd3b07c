//! An edge: a real journal, what answers for it, and an uplink.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wattle_edge::journal::{Journal, Options};
use wattle_edge::uplink::{self, Request, Source, Status};
use wattle_wire::message::{ChargerState, Number, Values};
use wattle_wire::row::{Event, EventKind, Reading, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{DeviceId, EdgeId, Micros, SiteId, WattHours, Watts};

/// Each so many readings, an event.
const EVENT_EVERY: u64 = 10;

/// An edge whose uplink may run or not.
pub struct Edge {
    pub id: EdgeId,
    pub incarnation: Incarnation,
    journal: Arc<Mutex<Journal>>,
    sealed: watch::Sender<u64>,
    running: Option<Running>,
    /// Readings and events that were acknowledged.
    pub readings: u64,
    pub events: u64,
}

struct Running {
    status: watch::Receiver<Status>,
    _stop: oneshot::Sender<()>,
    tasks: [JoinHandle<()>; 2],
}

impl Edge {
    /// Opens the journal in a folder, or makes one.
    pub fn open(folder: &Path, id: &str) -> Self {
        Self::open_as(folder, id, false)
    }

    /// Opens the journal of a former life.
    pub fn open_former(folder: &Path, id: &str) -> Self {
        Self::open_as(folder, id, true)
    }

    fn open_as(folder: &Path, id: &str, is_former: bool) -> Self {
        let id = EdgeId::new(id).expect("a name");
        // Small segments, so that there are many.
        let options = Options { segment_bytes: 16 << 10, is_former, ..Options::new(folder, id.clone()) };
        let (journal, recovery) = Journal::open(options, now()).expect("the journal opens");
        let sealed = watch::channel(journal.stats().sealed_to).0;
        let journal = Arc::new(Mutex::new(journal));
        Self { id, incarnation: recovery.incarnation, journal, sealed, running: None, readings: 0, events: 0 }
    }

    /// Journals readings, and makes them last; `text` stands in each event.
    pub fn measure_with(&mut self, readings: u64, text: &str) {
        let mut journal = self.journal.lock().expect("sound");
        for _ in 0..readings {
            let sequence = journal.append(now(), reading(self.readings + 1)).expect("room");
            self.readings += 1;
            if sequence.is_multiple_of(EVENT_EVERY) {
                journal.append(now(), event(text)).expect("room");
                self.events += 1;
            }
        }
        journal.sync().expect("on the disk");
        journal.seal(now() + Micros::from_secs(7200)).expect("sealed");
        self.sealed.send_replace(journal.stats().sealed_to);
    }

    pub fn measure(&mut self, readings: u64) {
        self.measure_with(readings, "as usual");
    }

    /// Journals what comes to half a megabyte when it is packed.
    pub fn measure_what_stays_large(&mut self) {
        let mut noise = 1u64;
        for _ in 0..20 {
            let mut text = String::new();
            while text.len() < 4000 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("{noise:x}"));
            }
            self.measure_with(100, &text);
        }
    }

    /// The last entry.
    pub fn last(&self) -> u64 {
        self.journal.lock().expect("sound").stats().next_sequence - 1
    }

    /// The last entry that the journal was told the lake has.
    pub fn freed(&self) -> u64 {
        self.journal.lock().expect("sound").stats().committed
    }

    /// Starts the uplink.
    pub fn start(&mut self, options: uplink::Options) {
        let (requests, asked) = mpsc::channel(4);
        let source = Source::new(self.id.clone(), self.incarnation, requests, self.sealed.subscribe());
        let (status_to, status) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            // Told or dropped: either way it is to end.
            let _ = stopped.await;
        };
        let tasks = [
            tokio::spawn(uplink::run(options, source, status_to, shutdown)),
            tokio::spawn(serve(asked, self.journal.clone())),
        ];
        self.running = Some(Running { status, _stop: stop, tasks });
    }

    /// How the uplink stands.
    pub fn status(&self) -> Status {
        self.running.as_ref().map(|running| running.status.borrow().clone()).unwrap_or_default()
    }

    /// Ends the uplink wherever it is.
    pub async fn kill(&mut self) {
        let Some(running) = self.running.take() else { return };
        for task in running.tasks {
            task.abort();
            // It was told to end.
            let _ = task.await;
        }
    }

    /// The same journal, closed and opened anew.
    pub async fn reopened(mut self, folder: &Path) -> Self {
        self.kill().await;
        let (readings, events) = (self.readings, self.events);
        let id = self.id.to_string();
        drop(self);
        Self { readings, events, ..Self::open(folder, &id) }
    }
}

async fn serve(mut asked: mpsc::Receiver<Request>, journal: Arc<Mutex<Journal>>) {
    while let Some(request) = asked.recv().await {
        let mut journal = journal.lock().expect("sound");
        // The uplink may have given up waiting.
        match request {
            Request::Next { after, reply } => drop(reply.send(journal.read_after(after).expect("readable"))),
            Request::Committed { sequence, reply } => {
                drop(reply.send(journal.free(sequence).map_err(|error| error.to_string())));
            }
        }
    }
}

pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Micros(i64::try_from(since.as_micros()).expect("before 292000"))
}

fn reading(seq: u64) -> Row {
    Row::Reading(Reading {
        site: SiteId::new("depot").expect("a name"),
        device: DeviceId::new("cp-1").expect("a name"),
        number: Some(Number { boot: 1, seq }),
        measured_us: Some(now()),
        state: Some(ChargerState::Charging),
        setpoint: Some(1),
        session: None,
        values: Values {
            power_w: Some(Watts(3680)),
            register_wh: Some(WattHours(seq as i64)),
            ..Values::default()
        },
    })
}

fn event(text: &str) -> Row {
    Row::Event(Event::new(SiteId::new("depot").expect("a name"), None, EventKind::Malformed, text))
}
