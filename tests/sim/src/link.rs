//! An edge's end of the way up, direct or through Kafka: the product's sender over a connection that the world cuts.

use wattle_edge::journal::{Journal, JournalError};
use wattle_edge::uplink::kafka::Kafka;
use wattle_edge::uplink::sender::{Offer, Sender, Step};
use wattle_edge::uplink::{Options, direct_rules, gap};
use wattle_kafka::KafkaConfig;
use wattle_wire::Micros;
use wattle_wire::kafka::{Position, position_key};
use wattle_wire::uplink::{Committed, Hello};

use crate::agenda::{Agenda, Conn, MS, SECOND};
use crate::event::{EdgeEvent, KafkaEvent};
use crate::process::Effect;
use crate::switch::Switch;
use crate::truth::{JournalName, SharedTruth};

const FIRST_WAIT: u64 = 200 * MS;
const LONGEST_WAIT: u64 = 10 * SECOND;
/// How long an answer may take.
const ANSWER: u64 = 60 * SECOND;

/// The uplink of a running edge.
pub struct Link {
    hello: Hello,
    options: Options,
    truth: SharedTruth,
    name: JournalName,
    switch: Option<Switch>,
    /// Which edge it is of, in which life, if segments go through Kafka.
    kafka: Option<(usize, u64)>,
    up: Option<Up>,
    wait: u64,
    /// How many answers came: silence is when none does.
    heard: u64,
}

/// A connection.
struct Up {
    conn: Conn,
    sender: Sender,
    greeted: bool,
    /// When the pace lets the next one go, if that is awaited.
    paced: Option<Micros>,
}

impl Link {
    /// No connection yet.
    pub fn new(
        hello: Hello,
        name: JournalName,
        truth: SharedTruth,
        switch: Option<Switch>,
        kafka: Option<(usize, u64)>,
    ) -> Self {
        let options = Options::new("");
        Self { hello, options, truth, name, switch, kafka, up: None, wait: FIRST_WAIT, heard: 0 }
    }

    /// The connection.
    pub fn conn(&self) -> Option<Conn> {
        self.up.as_ref().map(|up| up.conn)
    }

    /// Dials, if there is no connection.
    pub fn dial(&mut self, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        if self.up.is_none() {
            let conn = agenda.connection();
            let rules = match self.kafka {
                Some(_) => Kafka::new(KafkaConfig::default()).rules(&self.options),
                None => direct_rules(&self.options),
            };
            let sender = Sender::new(rules, now(agenda));
            self.up = Some(Up { conn, sender, greeted: false, paced: None });
            if let Some((edge, life)) = self.kafka {
                let key = position_key(&self.hello.edge, self.hello.incarnation);
                effects.push(Effect::ToKafka(conn, KafkaEvent::Listens { edge, life, conn, key }));
            } else {
                effects.push(Effect::Dial(conn, self.hello.clone()));
                self.await_answer(conn, effects);
            }
        }
    }

    /// Takes an answer: frees the journal, or ends the connection.
    pub fn answered(
        &mut self,
        conn: Conn,
        answer: &Committed,
        log: &mut Journal,
        agenda: &mut Agenda,
        effects: &mut Vec<Effect>,
    ) {
        let Some(up) = self.up.as_mut().filter(|up| up.conn == conn) else { return };
        self.heard += 1;
        if answer.incarnation != self.hello.incarnation {
            return self.hang_up(agenda, effects);
        }
        let news = if std::mem::replace(&mut up.greeted, true) {
            let position = Position { sequence: answer.sequence, needs: false };
            up.sender.position(position, now(agenda))
        } else {
            up.sender.welcome(answer.sequence, now(agenda))
        };
        let is_owed = up.sender.open().0 > 0;
        if let Some(sequence) = news {
            if !self.free(sequence, log, effects) {
                return self.hang_up(agenda, effects);
            }
            self.wait = FIRST_WAIT;
        }
        if !answer.refused.is_empty() {
            return self.hang_up(agenda, effects);
        }
        if is_owed {
            self.await_answer(conn, effects);
        }
    }

    /// Sends what may go now.
    pub fn pump(&mut self, log: &mut Journal, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        while let Some(up) = self.up.as_mut().filter(|up| up.greeted) {
            let after = match up.sender.next(now(agenda)) {
                Step::Read { after } => after,
                Step::Full => return,
                Step::NotBefore(moment) => {
                    if up.paced.replace(moment) != Some(moment) {
                        let wait = u64::try_from((moment - now(agenda)).0).unwrap_or_default();
                        effects.push(Effect::After(wait, EdgeEvent::Paced));
                    }
                    return;
                }
            };
            let Ok(read) = log.read_after(after) else { return self.hang_up(agenda, effects) };
            let Some((mut header, mut bytes)) = read else { return };
            if let Offer::GapFirst { from, to } = up.sender.offer(header.from) {
                let Hello { edge, incarnation } = &self.hello;
                (header, bytes) =
                    gap::freed(edge, *incarnation, from, to).expect("a range that ends behind its start");
            }
            up.sender.sent(header.to, bytes.len(), now(agenda));
            if let Some((edge, life)) = self.kafka {
                let conn = up.conn;
                effects.push(Effect::ToKafka(conn, KafkaEvent::Produced { edge, life, conn, header, bytes }));
                continue;
            }
            let (conn, metadata) =
                (up.conn, postcard::to_allocvec(&header).expect("names and numbers can be written"));
            effects.push(Effect::Segment(conn, metadata, bytes));
            self.await_answer(conn, effects);
        }
    }

    /// Kafka says something, or has been silent.
    pub fn heard_of_kafka(
        &mut self,
        event: &EdgeEvent,
        log: &mut Journal,
        agenda: &mut Agenda,
        effects: &mut Vec<Effect>,
    ) {
        let Some(up) = &mut self.up else { return };
        let freed = match *event {
            EdgeEvent::KafkaReady(conn, found) if conn == up.conn => {
                up.greeted = true;
                found.and_then(|position| up.sender.position(position, now(agenda)))
            }
            EdgeEvent::KafkaDelivered(conn, to) if conn == up.conn => up.sender.delivered(to),
            EdgeEvent::KafkaPosition(conn, position) if conn == up.conn => {
                up.sender.position(position, now(agenda))
            }
            EdgeEvent::Probe(conn) if conn == up.conn => {
                up.sender.probe(now(agenda));
                None
            }
            _ => return,
        };
        if let Some(at) = up.sender.probe_at() {
            let wait = u64::try_from((at - now(agenda)).0).unwrap_or_default().max(MS);
            effects.push(Effect::After(wait, EdgeEvent::Probe(up.conn)));
        }
        if let Some(sequence) = freed
            && !self.free(sequence, log, effects)
        {
            self.hang_up(agenda, effects);
        }
    }

    /// Frees the journal; tells whether it could.
    fn free(&self, sequence: u64, log: &mut Journal, effects: &mut Vec<Effect>) -> bool {
        match log.free(sequence) {
            Ok(()) => self.truth.borrow_mut().freed(self.name, sequence),
            Err(JournalError::Ahead { .. }) if self.switch == Some(Switch::AheadCheck) => {}
            Err(error) => {
                if matches!(error, JournalError::Ahead { .. }) {
                    effects.push(Effect::BeginAnew);
                }
                return false;
            }
        }
        true
    }

    /// The connection is gone.
    pub fn lost(&mut self, conn: Conn, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        if self.conn() == Some(conn) {
            self.up = None;
            self.dial_later(agenda, effects);
        }
    }

    /// The time for an answer is over; `heard` is how many had come when it began.
    pub fn silent(&mut self, conn: Conn, heard: u64, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        if self.conn() == Some(conn) && self.heard == heard {
            self.hang_up(agenda, effects);
        }
    }

    fn await_answer(&self, conn: Conn, effects: &mut Vec<Effect>) {
        effects.push(Effect::After(ANSWER, EdgeEvent::Silent(conn, self.heard)));
    }

    fn hang_up(&mut self, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        if let Some(up) = self.up.take() {
            effects.push(Effect::HangUp(up.conn));
            self.dial_later(agenda, effects);
        }
    }

    fn dial_later(&mut self, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        let wait = self.wait - agenda.random.below(self.wait / 2);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        effects.push(Effect::After(wait, EdgeEvent::Dial));
    }
}

/// The time of a connection: any clock that never goes back.
fn now(agenda: &Agenda) -> Micros {
    Micros(agenda.now() as i64)
}
