//! Acknowledgements on their way to devices.
//!
//! A device that has had none for [`PAUSE`] gets its next one at once. One that sends faster than that gets, when the pause is over,
//! one for each range of all that has reached the disk meanwhile: so what the edge publishes does not grow with what devices
//! send. Answers never wait.
//!
//! Nothing is lost by waiting: what a device is not told it sends again. Bound: a device has at most [`MAX_WAITING`] that are not
//! neighbours waiting; the next one sends them all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use wattle_wire::message::{self, Ack};
use wattle_wire::signal::Answer;

/// The least time between two acknowledgements to a device, but for [`MAX_WAITING`].
pub const PAUSE: Duration = Duration::from_millis(25);
/// The most acknowledgements of one device that wait.
const MAX_WAITING: usize = 64;

/// What goes to a device or a system once its batch is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Where.
    pub topic: String,
    /// What.
    pub said: Told,
}

/// What a device or a system is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Messages of a device are on the disk.
    Ack(Ack),
    /// What became of a signal.
    Answer(Answer),
}

impl Told {
    /// As it is published.
    pub fn payload(&self) -> Vec<u8> {
        match self {
            Self::Ack(ack) => message::encode(ack),
            Self::Answer(answer) => message::encode(answer),
        }
    }
}

/// The replies that wait. Entries are bounded by the topics of a node's devices.
#[derive(Debug, Default)]
pub struct Replies {
    devices: HashMap<String, Waiting>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    told: Option<Instant>,
    acks: Vec<Ack>,
}

impl Replies {
    /// Takes replies; gives those that go out now, with their topics.
    pub fn take(&mut self, replies: Vec<Reply>, now: Instant) -> Vec<(String, Told)> {
        let mut out = Vec::new();
        for Reply { topic, said } in replies {
            match said {
                Told::Answer(_) => out.push((topic, said)),
                Told::Ack(ack) => self.take_ack(topic, ack, now, &mut out),
            }
        }
        out
    }

    fn take_ack(&mut self, topic: String, ack: Ack, now: Instant, out: &mut Vec<(String, Told)>) {
        let Some(device) = self.devices.get_mut(&topic) else {
            self.devices.insert(topic.clone(), Waiting { told: Some(now), acks: Vec::new() });
            return out.push((topic, Told::Ack(ack)));
        };
        if device.acks.is_empty() && device.told.is_none_or(|told| now - told >= PAUSE) {
            device.told = Some(now);
            return out.push((topic, Told::Ack(ack)));
        }
        let before = device.acks.len();
        match device
            .acks
            .last_mut()
            .filter(|last| last.boot == ack.boot && last.to.checked_add(1) == Some(ack.from))
        {
            Some(last) => last.to = ack.to,
            None => device.acks.push(ack),
        }
        self.waiting += device.acks.len() - before;
        if device.acks.len() >= MAX_WAITING {
            self.waiting -= device.acks.len();
            device.tell(&topic, now, out);
        }
    }

    /// Whether any waits.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Gives all that wait, with their topics.
    pub fn due(&mut self, now: Instant) -> Vec<(String, Told)> {
        let mut out = Vec::new();
        if self.waiting > 0 {
            self.devices.iter_mut().for_each(|(topic, device)| device.tell(topic, now, &mut out));
        }
        self.waiting = 0;
        out
    }
}

impl Waiting {
    fn tell(&mut self, topic: &str, now: Instant, out: &mut Vec<(String, Told)>) {
        if !self.acks.is_empty() {
            self.told = Some(now);
            let acks = merge(std::mem::take(&mut self.acks));
            out.extend(acks.into_iter().map(|ack| (topic.to_owned(), Told::Ack(ack))));
        }
    }
}

/// Joins neighbouring ranges of the same start of a device, so that few messages tell of them.
pub fn merge(mut acks: Vec<Ack>) -> Vec<Ack> {
    acks.sort_unstable_by_key(|a| (a.boot, a.from));
    let mut merged: Vec<Ack> = Vec::with_capacity(acks.len());
    for ack in acks {
        match merged.last_mut() {
            Some(last) if last.boot == ack.boot && ack.from <= last.to.saturating_add(1) => {
                last.to = last.to.max(ack.to);
            }
            _ => merged.push(ack),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(topic: &str, boot: u32, from: u64, to: u64) -> Reply {
        Reply { topic: topic.into(), said: Told::Ack(Ack { boot, from, to }) }
    }

    fn told(out: &[(String, Told)]) -> Vec<(&str, u64, u64)> {
        out.iter()
            .map(|(topic, said)| match said {
                Told::Ack(ack) => (topic.as_str(), ack.from, ack.to),
                Told::Answer(_) => (topic.as_str(), 0, 0),
            })
            .collect()
    }

    #[test]
    fn a_device_that_sends_now_and_then_is_told_at_once_and_one_that_sends_much_once_in_a_pause() {
        let (mut replies, start) = (Replies::default(), Instant::now());
        for seconds in 0..3 {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(
                told(&replies.take(vec![reply("a", 1, seconds, seconds)], now)),
                [("a", seconds, seconds)]
            );
            assert!(!replies.is_waiting());
        }
        let now = start + Duration::from_secs(9);
        let mut out = Vec::new();
        (10..500).for_each(|seq| out.extend(replies.take(vec![reply("a", 1, seq, seq)], now)));
        out.extend(replies.take(vec![reply("b", 1, 7, 8)], now));
        assert_eq!(told(&out), [("a", 10, 10), ("b", 7, 8)]);
        assert!(replies.is_waiting());
        assert_eq!(told(&replies.due(now + PAUSE)), [("a", 11, 499)]);
        assert!(!replies.is_waiting() && replies.due(now + PAUSE).is_empty());
        assert_eq!(told(&replies.take(vec![reply("a", 1, 500, 500)], now + PAUSE)), []);
        assert_eq!(told(&replies.due(now + 2 * PAUSE)), [("a", 500, 500)]);
    }

    #[test]
    fn what_is_not_neighbouring_waits_up_to_a_bound_and_all_of_it_is_told() {
        let (mut replies, now) = (Replies::default(), Instant::now());
        let mut all = Vec::new();
        for n in 0..1_000 {
            let out = replies.take(vec![reply("a", n % 2, u64::from(n) * 2, u64::from(n) * 2)], now);
            all.extend(out);
            assert!(replies.devices["a"].acks.len() < MAX_WAITING);
        }
        all.extend(replies.due(now));
        let mut told: Vec<u64> = told(&all).iter().map(|(_, from, _)| *from).collect();
        told.sort_unstable();
        assert_eq!(told, (0..1_000).map(|n| n * 2).collect::<Vec<_>>());
    }

    #[test]
    fn an_answer_never_waits() {
        let (mut replies, now) = (Replies::default(), Instant::now());
        for _ in 0..3 {
            let said = Told::Answer(Answer { id: None, refused: None });
            let answer = Reply { topic: "ems".into(), said: said.clone() };
            assert_eq!(replies.take(vec![answer], now), [("ems".to_owned(), said)]);
        }
    }

    fn check(acks: &[(u32, u64, u64)], expected: &[(u32, u64, u64)]) {
        let acks = acks.iter().map(|&(boot, from, to)| Ack { boot, from, to }).collect();
        let merged: Vec<_> = merge(acks).into_iter().map(|a| (a.boot, a.from, a.to)).collect();
        assert_eq!(merged, expected);
    }

    #[test]
    fn neighbouring_ranges_become_one() {
        check(&[(1, 3, 3), (1, 1, 1), (1, 2, 2)], &[(1, 1, 3)]);
        check(&[(1, 1, 5), (1, 3, 4)], &[(1, 1, 5)]);
    }

    #[test]
    fn what_was_not_received_stays_out_of_every_range() {
        check(&[(1, 1, 1), (1, 3, 3)], &[(1, 1, 1), (1, 3, 3)]);
        check(&[(1, 9, 9), (2, 10, 10)], &[(1, 9, 9), (2, 10, 10)]);
        check(&[(1, u64::MAX, u64::MAX), (2, 0, 0)], &[(1, u64::MAX, u64::MAX), (2, 0, 0)]);
    }
}
