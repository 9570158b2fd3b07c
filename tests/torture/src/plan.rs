//! What is killed when, from a seed.
//!
//! Targets are dealt from a shuffled deck that holds each once: so a short run hits every process too, and nobody can
//! tell which is next. The times are such that a process is hit as it starts, as it catches up, and at work.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// How the edge's segments reach the fog node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Way {
    /// The edge dials the fog node.
    Direct,
    /// Through Apache Kafka.
    Kafka,
}

impl Way {
    /// How command line and table write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Kafka => "kafka",
        }
    }

    /// The processes of this way, the last stage first: in this order they are started.
    pub fn targets(self) -> Vec<Target> {
        let mut targets = vec![Target::Fog, Target::Mosquitto, Target::Edge, Target::Devices];
        if self == Self::Kafka {
            targets.insert(0, Target::Kafka);
        }
        targets
    }
}

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Apache Kafka.
    Kafka,
    /// `wattle-fog`.
    Fog,
    /// The MQTT broker.
    Mosquitto,
    /// `wattle-edge`.
    Edge,
    /// All devices.
    Devices,
}

impl Target {
    /// How the table and its log file write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Fog => "fog",
            Self::Mosquitto => "mosquitto",
            Self::Edge => "edge",
            Self::Devices => "devices",
        }
    }
}

/// What is waited for before a blow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing: processes may still be starting.
    Anyhow,
    /// Readings were acknowledged since the last blow.
    Acknowledging,
    /// The lake has got further since the last blow.
    Committing,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// SIGKILL to all of these at once; they are started again after `down`.
    Kill {
        /// Whom.
        targets: BTreeSet<Target>,
        /// How long they are away.
        down: Duration,
    },
    /// SIGKILL, started again after `down`, and killed once more `again` after that.
    KillTwice {
        /// Whom.
        target: Target,
        /// How long it is away, each time.
        down: Duration,
        /// How long the second start lasts.
        again: Duration,
    },
    /// SIGSTOP, and SIGCONT after `span`.
    Pause {
        /// Whom.
        target: Target,
        /// How long it stands still.
        span: Duration,
    },
}

/// One blow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blow {
    /// What is waited for before it.
    pub when: When,
    /// How much later it comes.
    pub after: Duration,
    /// What happens.
    pub what: What,
}

impl What {
    /// How many kills it is.
    pub fn kills(&self) -> usize {
        match self {
            Self::Kill { targets, .. } => targets.len(),
            Self::KillTwice { .. } => 2,
            Self::Pause { .. } => 0,
        }
    }

    /// How many of them hit this process.
    pub fn kills_of(&self, who: Target) -> usize {
        match self {
            Self::Kill { targets, .. } => usize::from(targets.contains(&who)),
            Self::KillTwice { target, .. } => 2 * usize::from(*target == who),
            Self::Pause { .. } => 0,
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} ms later: ", self.when, self.after.as_millis())?;
        match &self.what {
            What::Kill { targets, down } => {
                let names: Vec<_> = targets.iter().map(|target| target.as_str()).collect();
                write!(f, "kill {}, away for {} ms", names.join(" and "), down.as_millis())
            }
            What::KillTwice { target, down, again } => write!(
                f,
                "kill {}, away for {} ms, and again {} ms after its start",
                target.as_str(),
                down.as_millis(),
                again.as_millis()
            ),
            What::Pause { target, span } => {
                write!(f, "stop {} for {} ms", target.as_str(), span.as_millis())
            }
        }
    }
}

/// Makes the blows of a run: `kills` kills in all, and pauses between them.
pub fn plan(seed: u64, kills: usize, way: Way) -> Vec<Blow> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut deck = Deck { all: way.targets(), left: Vec::new() };
    let mut blows = Vec::new();
    let mut left = kills;
    while left > 0 {
        let what = what(&mut dice, &mut deck, left);
        left -= what.kills();
        let when = match dice.random_range(0..10) {
            0..4 => When::Anyhow,
            4..7 => When::Acknowledging,
            _ => When::Committing,
        };
        blows.push(Blow { when, after: between(&mut dice, 0, 1500), what });
    }
    blows
}

fn what(dice: &mut StdRng, deck: &mut Deck, left: usize) -> What {
    let manner = dice.random_range(0..100);
    if manner < 12 {
        let target = deck.all[dice.random_range(0..deck.all.len())];
        return What::Pause { target, span: between(dice, 100, 7000) };
    }
    let target = deck.next(dice);
    let down = between(dice, 0, 1200);
    match manner {
        12..27 if left >= 2 => {
            // A JVM takes seconds to start, the others less than one.
            let longest = if target == Target::Kafka { 6000 } else { 1000 };
            What::KillTwice { target, down, again: between(dice, 5, longest) }
        }
        27..47 if left >= 2 => {
            let several = dice.random_range(2..=deck.all.len().min(left).min(3));
            let mut targets = BTreeSet::from([target]);
            while targets.len() < several {
                targets.insert(deck.next(dice));
            }
            What::Kill { targets, down }
        }
        _ => What::Kill { targets: BTreeSet::from([target]), down },
    }
}

fn between(dice: &mut StdRng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(dice.random_range(from_ms..=to_ms))
}

struct Deck {
    all: Vec<Target>,
    left: Vec<Target>,
}

impl Deck {
    fn next(&mut self, dice: &mut StdRng) -> Target {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(dice);
        }
        self.left.pop().expect("there are targets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills_of(blows: &[Blow], target: Target) -> usize {
        blows.iter().map(|blow| blow.what.kills_of(target)).sum()
    }

    #[test]
    fn a_plan_has_as_many_kills_as_were_asked_for() {
        for seed in 0..50 {
            for kills in [1, 2, 8, 200] {
                for way in [Way::Direct, Way::Kafka] {
                    let sum: usize = plan(seed, kills, way).iter().map(|blow| blow.what.kills()).sum();
                    assert_eq!(sum, kills, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_another() {
        assert_eq!(plan(7, 200, Way::Kafka), plan(7, 200, Way::Kafka));
        assert_ne!(plan(7, 200, Way::Kafka), plan(8, 200, Way::Kafka));
    }

    #[test]
    fn two_hundred_kills_hit_everyone_alike_and_in_every_manner() {
        let blows = plan(1, 200, Way::Kafka);
        for target in Way::Kafka.targets() {
            let kills = kills_of(&blows, target);
            assert!((25..60).contains(&kills), "{target:?} is killed {kills} times");
        }
        let any = |found: fn(&What) -> bool| blows.iter().any(|blow| found(&blow.what));
        assert!(any(|what| matches!(what, What::Pause { .. })));
        assert!(any(|what| matches!(what, What::KillTwice { .. })));
        assert!(any(|what| matches!(what, What::Kill { targets, .. } if targets.len() > 1)));
        for when in [When::Anyhow, When::Acknowledging, When::Committing] {
            assert!(blows.iter().any(|blow| blow.when == when), "{when:?}");
        }
    }

    #[test]
    fn without_kafka_nobody_kills_it() {
        assert_eq!(kills_of(&plan(3, 200, Way::Direct), Target::Kafka), 0);
    }
}
