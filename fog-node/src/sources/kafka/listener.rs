//! What librdkafka calls back: trouble, assignments, and how its queues stand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use wattle_kafka::Faults;

use crate::sources::Fences;

/// How long a partition that goes is held for the commit of its work that is under way. The group waits for us as long as librdkafka's
/// `max.poll.interval.ms`, 5 min; our membership is kept alive meanwhile by a thread of librdkafka's own.
const HANDOVER: Duration = Duration::from_secs(20);

/// A change of what is ours to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(i32),
    Revoked(i32),
}

/// The consumer's listener.
pub(super) struct Listener {
    pub(super) faults: Faults,
    fences: Arc<Fences>,
    topic: String,
    changes: Mutex<Vec<Change>>,
    /// As [`HANDOVER`].
    handover: Duration,
    /// Messages between the stored offsets and the ends of our partitions, and whether a broker is connected.
    standing: Mutex<Option<(i64, bool)>>,
}

impl Listener {
    pub(super) fn new(topic: &str, fences: Arc<Fences>) -> Self {
        Self {
            faults: Faults::default(),
            fences,
            topic: topic.to_owned(),
            changes: Mutex::default(),
            handover: HANDOVER,
            standing: Mutex::default(),
        }
    }

    /// The changes since this was last asked.
    pub(super) fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lag in messages and whether a broker is connected, if that is news.
    pub(super) fn standing(&self) -> Option<(i64, bool)> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }

    /// Waits until what has begun of the work from these partitions is over: librdkafka gives them up after this.
    fn hand_over(&self, going: &[i32]) {
        going.iter().for_each(|partition| self.note(Change::Revoked(*partition)));
        if !self.fences.wait_for_commits(going, self.handover) {
            tracing::warn!(
                partitions = ?going,
                "a commit outlasts the handover of its partitions; the tables' positions keep it from writing a row twice"
            );
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Faults::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        let partitions =
            statistics.topics.get(&self.topic).into_iter().flat_map(|topic| topic.partitions.values());
        let ours = partitions.filter(|partition| self.fences.generation(partition.partition).is_some());
        let lag = ours.map(|partition| partition.consumer_lag_stored.max(0)).sum();
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some((lag, connected));
    }
}

impl ConsumerContext for Listener {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                let going: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
                // At once, on whatever thread this is: no commit of these begins from here on.
                going.iter().for_each(|partition| self.fences.revoke(*partition));
                self.hand_over(&going);
            }
            Rebalance::Assign(list) => {
                list.elements().iter().for_each(|element| self.note(Change::Assigned(element.partition())));
            }
            Rebalance::Error(error) => {
                self.faults.note(error, &error.to_string());
                // librdkafka gives everything up after this.
                self.hand_over(&self.fences.revoke_all());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use rdkafka::TopicPartitionList;
    use rdkafka::consumer::Consumer as _;

    use super::*;
    use crate::sources::Fence;

    /// What is given up is partition 0, while a commit of its work is under way; a member of no group.
    fn giving_up(handover: Duration) -> (BaseConsumer<Listener>, Arc<Fences>, Fence) {
        let fences = Arc::new(Fences::default());
        let listener = Listener { handover, ..Listener::new("segments", fences.clone()) };
        let consumer = rdkafka::ClientConfig::new().create_with_context(listener).expect("a consumer");
        let fence = Fence { fences: fences.clone(), partition: 0, generation: fences.renew(0) };
        (consumer, fences, fence)
    }

    fn give_up(consumer: &BaseConsumer<Listener>) {
        let mut list = TopicPartitionList::new();
        list.add_partition("segments", 0);
        consumer.context().pre_rebalance(consumer, &Rebalance::Revoke(&list));
    }

    #[test]
    fn a_partition_is_given_up_after_the_commit_of_its_work_that_is_under_way() {
        let (consumer, fences, fence) = giving_up(Duration::from_secs(60));
        let begun = fence.begin().expect("it is ours");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let going = scope.spawn(|| {
                give_up(&consumer);
                assert!(over.load(Ordering::SeqCst), "the commit is over");
            });
            let end = Instant::now() + Duration::from_secs(60);
            while fences.generation(0).is_some() {
                assert!(Instant::now() < end, "it was to be revoked");
                std::thread::yield_now();
            }
            assert!(fence.begin().is_none(), "no other begins meanwhile");
            over.store(true, Ordering::SeqCst);
            drop(begun);
            going.join().expect("it was given up");
        });
        assert_eq!(consumer.context().changes(), [Change::Revoked(0)]);
    }

    #[test]
    fn what_a_failed_rebalance_takes_is_no_longer_ours() {
        let (consumer, fences, fence) = giving_up(Duration::from_secs(60));
        let failed = KafkaError::Rebalance(rdkafka::types::RDKafkaErrorCode::Fail);
        consumer.context().pre_rebalance(&consumer, &Rebalance::Error(failed));
        assert!(fences.generation(0).is_none() && !fence.holds());
        assert_eq!(consumer.context().changes(), [Change::Revoked(0)]);
    }

    #[test]
    fn a_commit_that_does_not_end_holds_up_the_group_no_longer_than_the_bound() {
        let bound = Duration::from_millis(10);
        let (consumer, fences, fence) = giving_up(bound);
        let begun = fence.begin();
        let started = Instant::now();
        give_up(&consumer);
        assert!(started.elapsed() >= bound, "it was waited for");
        assert!(begun.is_some() && fences.generation(0).is_none());
    }
}
