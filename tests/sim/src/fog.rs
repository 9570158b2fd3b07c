//! A fog node: the product's checks, admission and commit over the lake in memory, between queues that the world empties.
//!
//! Work that waits for the lake is a future that the world polls a step at a time; killing the node drops it in the
//! middle of whatever it was doing.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wattle_columns::Segment;
use wattle_fog::lake::Journal;
use wattle_fog::sources::direct::{PIPELINE, committed, segment_of};
use wattle_fog::sources::{Fence, Outcome, outcome};
use wattle_wire::uplink::{Committed, Hello, SegmentHeader};

use crate::agenda::{Agenda, Conn, MS, SECOND, Way};
use crate::consumer::{Consumer, Taken};
use crate::edge::ANY_LIFE;
use crate::event::{EdgeEvent, Event, FogEvent};
use crate::kafka::{Kafka, LOOK};
use crate::lake::{Lake, Tables};
use crate::switch::Switch;

/// The most segments of one commit.
const MOST_SEGMENTS: usize = 256;

/// A fog node and its machine.
pub struct Fog {
    index: usize,
    lake: Lake,
    gather: u64,
    switch: Option<Switch>,
    /// Which start of it this is, for the world.
    pub life: u64,
    process: Option<Process>,
}

struct Process {
    tables: Arc<Tables>,
    conns: BTreeMap<Conn, Stream>,
    queue: VecDeque<Job>,
    gathering: bool,
    committing: bool,
    work: BTreeMap<u64, Work>,
    works: u64,
    consumer: Option<Consumer>,
}

/// An edge's connection.
struct Stream {
    edge: usize,
    life: u64,
    hello: Hello,
    /// What is answered, in this order; none while it isn't known yet.
    owed: VecDeque<(u64, Option<Committed>)>,
    answers: u64,
    /// What isn't read yet.
    unread: VecDeque<(Vec<u8>, Bytes)>,
}

/// A segment on its way into the lake, and where its answer goes.
struct Job {
    to: Target,
    segment: Segment,
    fence: Option<Fence>,
}

/// Where a segment came from.
enum Target {
    /// An edge's connection, and which of its answers.
    Stream(Conn, u64),
    /// The topic.
    Topic(Taken),
}

/// What has come out.
enum Answer {
    /// To an edge; none ends the connection.
    Stream((Conn, u64), Option<Committed>),
    /// To the intake.
    Topic(Taken, Outcome),
}

/// Something that waits for the lake.
struct Work {
    future: Pin<Box<dyn Future<Output = Vec<Answer>>>>,
    commits: bool,
}

impl Fog {
    /// The fog node of this index.
    pub fn new(index: usize, lake: Lake, gather: u64, switch: Option<Switch>) -> Self {
        Self { index, lake, gather, switch, life: 0, process: None }
    }

    /// Starts its process.
    pub fn start(&mut self, kafka: Option<&mut Kafka>, agenda: &mut Agenda) {
        if self.process.is_none() {
            let tables = Arc::new(Tables::open(&self.lake, agenda.random.fork(), self.switch));
            self.process = Some(Process {
                tables,
                conns: BTreeMap::new(),
                queue: VecDeque::new(),
                gathering: false,
                committing: false,
                work: BTreeMap::new(),
                works: 0,
                consumer: kafka.as_ref().map(|_| Consumer::new(self.index, agenda)),
            });
            if let Some(kafka) = kafka {
                kafka.join(self.index, agenda);
                agenda.soon(Event::Fog(self.index, self.life, FogEvent::Look));
            }
        }
    }

    /// Its process is killed; what it was doing is not done.
    pub fn kill(&mut self, kafka: Option<&mut Kafka>, agenda: &mut Agenda) {
        let Some(process) = self.process.take() else { return };
        if let Some(kafka) = kafka {
            kafka.leave(self.index, agenda);
        }
        self.life += 1;
        for (conn, stream) in process.conns {
            let notices = agenda.random.below(2 * SECOND);
            agenda.after(notices, Event::Edge(stream.edge, stream.life, EdgeEvent::LinkLost(conn)));
        }
        let off = agenda.random.between(200 * MS, 8 * SECOND);
        agenda.after(off, Event::StartFog(self.index));
    }

    /// Something happens to it.
    pub fn handle(&mut self, life: u64, event: FogEvent, kafka: Option<&mut Kafka>, agenda: &mut Agenda) {
        if life != self.life && life != ANY_LIFE {
            return;
        }
        let Some(process) = &mut self.process else {
            if let FogEvent::Dialled { edge, life, conn, .. } = event {
                agenda.soon(Event::Edge(edge, life, EdgeEvent::LinkLost(conn)));
            }
            return;
        };
        let node = Node { index: self.index, life: self.life, gather: self.gather, switch: self.switch };
        match event {
            FogEvent::Dialled { edge, life, conn, hello } => {
                let (owed, unread) = (VecDeque::from([(0, None)]), VecDeque::new());
                process
                    .conns
                    .insert(conn, Stream { edge, life, hello: hello.clone(), owed, answers: 1, unread });
                process.ask_position(conn, 0, hello, None, node, agenda);
            }
            FogEvent::Segment { conn, metadata, body } => {
                if let Some(stream) = process.conns.get_mut(&conn) {
                    stream.unread.push_back((metadata, body));
                    process.read(conn, node, agenda);
                }
            }
            FogEvent::Lost(conn) => {
                process.conns.remove(&conn);
            }
            FogEvent::Gathered => {
                process.gathering = false;
                process.commit(node, agenda);
            }
            FogEvent::Step(work) => process.step(work, node, agenda),
            FogEvent::Assigned(..) | FogEvent::Revoked(..) | FogEvent::Look => {
                if let Some(kafka) = kafka {
                    process.hear(event, kafka, node, agenda);
                }
            }
        }
    }
}

/// What a process knows of its node.
#[derive(Clone, Copy)]
struct Node {
    index: usize,
    life: u64,
    gather: u64,
    switch: Option<Switch>,
}

impl Node {
    fn event(self, event: FogEvent) -> Event {
        Event::Fog(self.index, self.life, event)
    }
}

impl Process {
    /// Answers with how far the lake is.
    fn ask_position(
        &mut self,
        conn: Conn,
        answer: u64,
        hello: Hello,
        refused: Option<String>,
        node: Node,
        agenda: &mut Agenda,
    ) {
        let tables = self.tables.clone();
        let future = async move {
            let Hello { edge, incarnation } = hello;
            let answered = match (tables.raw().position(&Journal { edge, incarnation }).await, refused) {
                (Ok(sequence), refused) => {
                    Some(Committed { incarnation, sequence, refused: refused.unwrap_or_default() })
                }
                (Err(_), Some(refused)) => Some(Committed { incarnation, sequence: None, refused }),
                // Who can't be greeted is sent away.
                (Err(_), None) => None,
            };
            vec![Answer::Stream((conn, answer), answered)]
        };
        self.begin(Box::pin(future), false, node, agenda);
    }

    /// Reads as many segments of a stream as may be unanswered.
    fn read(&mut self, conn: Conn, node: Node, agenda: &mut Agenda) {
        while let Some(stream) = self.conns.get_mut(&conn) {
            // The greeting is answered before a segment is read.
            if stream.owed.len() >= PIPELINE || stream.owed.front().is_some_and(|(number, _)| *number == 0) {
                return;
            }
            let Some((metadata, body)) = stream.unread.pop_front() else { return };
            let answer = stream.answers;
            stream.answers += 1;
            stream.owed.push_back((answer, None));
            match segment_of(&stream.hello, &metadata, &body) {
                Ok(segment) => {
                    let job = Job { to: Target::Stream(conn, answer), segment, fence: None };
                    self.offer(job, node, agenda);
                }
                Err(refused) => {
                    let hello = stream.hello.clone();
                    self.ask_position(conn, answer, hello, Some(refused), node, agenda);
                }
            }
        }
    }

    /// Something about the topic.
    fn hear(&mut self, event: FogEvent, kafka: &mut Kafka, node: Node, agenda: &mut Agenda) {
        let Some(consumer) = &mut self.consumer else { return };
        match event {
            FogEvent::Assigned(partition, epoch) => consumer.assigned(partition, epoch, kafka),
            FogEvent::Revoked(partition, epoch) => consumer.revoked(partition, epoch),
            _ => {
                let offered = consumer.look(kafka, agenda);
                for told in consumer.turn(kafka, agenda) {
                    let wait = agenda.random.below(20 * MS);
                    agenda.after(wait, Event::Kafka(told));
                }
                for (taken, segment, fence) in offered {
                    let job = Job { to: Target::Topic(taken), segment, fence: Some(fence) };
                    self.offer(job, node, agenda);
                }
                agenda.after(LOOK, node.event(FogEvent::Look));
            }
        }
    }

    fn offer(&mut self, job: Job, node: Node, agenda: &mut Agenda) {
        if node.switch == Some(Switch::CommitBeforeAnswer)
            && let Target::Stream(conn, answer) = job.to
        {
            let SegmentHeader { incarnation, to, .. } = job.segment.header;
            let committed = Committed { incarnation, sequence: Some(to), refused: String::new() };
            self.answer((conn, answer), committed, agenda);
        }
        self.queue.push_back(job);
        if !self.gathering && !self.committing {
            self.gathering = true;
            agenda.after(node.gather, node.event(FogEvent::Gathered));
        }
    }

    /// Commits what has gathered; what comes meanwhile waits for the next.
    fn commit(&mut self, node: Node, agenda: &mut Agenda) {
        if self.committing || self.queue.is_empty() {
            return;
        }
        self.committing = true;
        let jobs: Vec<_> = self.queue.drain(..self.queue.len().min(MOST_SEGMENTS)).collect();
        let mut fences: BTreeMap<Journal, Vec<Fence>> = BTreeMap::new();
        let (mut segments, mut asked) = (Vec::new(), Vec::new());
        for Job { to, segment, fence } in jobs {
            if let Some(fence) = fence {
                fences.entry(Journal::of(&segment.header)).or_default().push(fence);
            }
            asked.push((to, segment.header.clone()));
            segments.push(segment);
        }
        let tables = self.tables.clone();
        let future = async move {
            let raw = tables.raw();
            let guard =
                |journal: &Journal| fences.get(journal).is_none_or(|all| all.iter().all(Fence::holds));
            let report = raw.commit(segments, &guard).await;
            let mut answers = Vec::with_capacity(asked.len());
            for (to, header) in asked {
                let outcome = match &report {
                    Ok(report) => outcome(report, &header),
                    Err(error) => {
                        let position = raw.position(&Journal::of(&header)).await.ok().flatten();
                        Outcome::Failed(position, format!("the lake could not be written: {error}"))
                    }
                };
                answers.push(match to {
                    Target::Stream(conn, answer) => {
                        Answer::Stream((conn, answer), Some(committed(header.incarnation, outcome)))
                    }
                    Target::Topic(taken) => Answer::Topic(taken, outcome),
                });
            }
            answers
        };
        self.begin(Box::pin(future), true, node, agenda);
    }

    fn begin(
        &mut self,
        future: Pin<Box<dyn Future<Output = Vec<Answer>>>>,
        commits: bool,
        node: Node,
        agenda: &mut Agenda,
    ) {
        self.works += 1;
        self.work.insert(self.works, Work { future, commits });
        agenda.soon(node.event(FogEvent::Step(self.works)));
    }

    /// One piece of work goes a step on.
    fn step(&mut self, number: u64, node: Node, agenda: &mut Agenda) {
        let Some(work) = self.work.get_mut(&number) else { return };
        let Poll::Ready(answers) = work.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            let wait = agenda.random.below(30 * MS);
            agenda.after(wait, node.event(FogEvent::Step(number)));
            return;
        };
        let commits = work.commits;
        self.work.remove(&number);
        for answer in answers {
            match answer {
                Answer::Topic(taken, outcome) => {
                    if let Some(consumer) = &mut self.consumer {
                        consumer.answer(&taken, outcome, agenda);
                    }
                }
                Answer::Stream(to, Some(committed)) => {
                    self.answer(to, committed, agenda);
                    self.read(to.0, node, agenda);
                }
                Answer::Stream(to, None) => {
                    if let Some(stream) = self.conns.remove(&to.0) {
                        let lost = EdgeEvent::LinkLost(to.0);
                        agenda.send_far(to.0, Way::Down, Event::Edge(stream.edge, stream.life, lost));
                    }
                }
            }
        }
        if commits {
            self.committing = false;
            if !self.queue.is_empty() && !self.gathering {
                self.gathering = true;
                agenda.after(node.gather, node.event(FogEvent::Gathered));
            }
        }
    }

    /// An answer is known: it goes once those before it have gone.
    fn answer(&mut self, (conn, number): (Conn, u64), committed: Committed, agenda: &mut Agenda) {
        let Some(stream) = self.conns.get_mut(&conn) else { return };
        if let Some((_, answer)) = stream.owed.iter_mut().find(|(owed, _)| *owed == number) {
            answer.get_or_insert(committed);
        }
        while let Some((_, Some(committed))) = stream.owed.pop_front_if(|(_, answer)| answer.is_some()) {
            let answered = EdgeEvent::Answered(conn, committed);
            agenda.send_far(conn, Way::Down, Event::Edge(stream.edge, stream.life, answered));
        }
    }
}
