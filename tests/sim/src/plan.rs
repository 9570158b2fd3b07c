//! What a seed stands for: a world, and what goes wrong in it.

use crate::agenda::{MS, SECOND};
use crate::random::Random;

/// What goes wrong. Indices are of the world's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The edge's process is killed after so many more changes of its disk.
    KillEdge {
        /// Which.
        edge: usize,
        /// After how many.
        steps: usize,
    },
    /// The edge's process is killed, and after its next start, after so many changes of its disk, the power goes.
    KillAndCutPower {
        /// Which.
        edge: usize,
        /// After how many.
        steps: usize,
    },
    /// At the next start of the edge's process its machine loses its power, after so many changes of the disk.
    CutPowerAtStart {
        /// Which.
        edge: usize,
        /// After how many.
        steps: usize,
    },
    /// The edge's process is killed so, and its machine loses its power.
    CutPower {
        /// Which.
        edge: usize,
        /// After how many.
        steps: usize,
    },
    /// The edge's disk has so many bytes left, for a while.
    FillDisk {
        /// Which.
        edge: usize,
        /// How many.
        bytes: usize,
    },
    /// The edge's disk fails, for a while.
    FailDisk {
        /// Which.
        edge: usize,
    },
    /// The wall clock of the edge is set by so many milliseconds.
    SetClock {
        /// Which.
        edge: usize,
        /// By how much.
        by_ms: i64,
    },
    /// The edge's connection to its broker is cut.
    CutBroker {
        /// Which.
        edge: usize,
    },
    /// A broker is killed and started again.
    RestartBroker {
        /// Which.
        edge: usize,
        /// Whether it kept its sessions.
        kept: bool,
    },
    /// A device loses its connection.
    CutDevice {
        /// Which.
        device: usize,
    },
    /// A device loses its power for a moment.
    KillDevice {
        /// Which.
        device: usize,
    },
    /// The edge's connection to the fog node is cut; each end notices in its own time.
    CutUplink {
        /// Which.
        edge: usize,
    },
    /// The edge can't reach any fog node, for a while.
    NoUplink {
        /// Which.
        edge: usize,
    },
    /// A fog node is killed and started again.
    KillFog {
        /// Which.
        fog: usize,
    },
    /// The machine with the lake's disk loses its power, and every fog node with it.
    CutLake,
    /// The lake's disk fails, for a while.
    FailLake,
    /// Kafka is out of reach, for a while.
    KafkaAway,
    /// The topic of segments is deleted and made again.
    RecreateTopic,
    /// The group's offsets are lost.
    ForgetOffsets,
    /// The topic of positions is lost.
    ForgetPositions,
    /// Everything is written into the topic of segments once more.
    Replay,
    /// Partitions change hands.
    Rebalance,
    /// A copy of the edge's files is made, while it runs.
    BackUp {
        /// Which.
        edge: usize,
    },
    /// The edge's machine is lost, and another goes on with the last copy of its files.
    Restore {
        /// Which.
        edge: usize,
    },
    /// An image of the edge's disk is taken.
    TakeImage {
        /// Which.
        edge: usize,
    },
    /// The edge's machine is lost, and one with the image of its disk runs a while later. Once the lake is found to be ahead of
    /// that, it is declared to be a copy.
    RestoreImage {
        /// Which.
        edge: usize,
    },
    /// The second edge, which was set up with the first one's name at its broker, is given another broker.
    PartTwins,
}

/// A world.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many edges there are, each with a site and a broker of its own, but for twins.
    pub edges: usize,
    /// Whether the second edge has the site of the first and, for a while, its client id at its broker: each takes the other's
    /// connection, and gets what that has not acknowledged.
    pub twins: bool,
    /// Whether segments go through Kafka.
    pub kafka: bool,
    /// How many chargers each site has, beside its meter.
    pub chargers: usize,
    /// How many fog nodes write the lake.
    pub fogs: usize,
    /// For how long devices measure and things go wrong.
    pub active: u64,
    /// How long a message takes at most, on the site and beyond.
    pub delays: (u64, u64),
    /// How often a device's sensors are read.
    pub sense: u64,
    /// The time between two decisions, in milliseconds.
    pub interval_ms: i64,
    /// Whether the journal waits for the disk at each sync; else no power is cut.
    pub syncs: bool,
    /// The journal's byte budget.
    pub budget_bytes: u64,
    /// The size of a segment.
    pub segment_bytes: u64,
    /// How many messages a device keeps.
    pub ring: usize,
    /// Whether a device takes the broker's word: it keeps nothing for the edge to ask for again.
    pub forgets: bool,
    /// How long the journal's disk takes for a batch at most.
    pub sync_takes: u64,
    /// How many messages the broker delivers before it waits for acknowledgements.
    pub broker_window: usize,
    /// How many messages the broker keeps for the edge; it drops what is more.
    pub broker_queue: Option<usize>,
    /// In how many of a hundred cases the broker gets a device's message twice.
    pub duplicates: u64,
    /// How long the first segment of a commit waits for others.
    pub gather: u64,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
}

/// How long what doesn't pass by itself lasts at most.
pub const LONGEST_FAULT: u64 = 20 * SECOND;
/// How long it takes until an image runs in the place of the machine that was lost: what that had sent is in the lake by then.
pub const IMAGE_IS_OFF: u64 = 120 * SECOND;

impl Plan {
    /// The world of a seed.
    pub fn of(random: &mut Random) -> Self {
        let mut plan = Self {
            edges: random.pick(&[1, 1, 2]),
            twins: false,
            kafka: random.chance(50),
            chargers: random.between(1, 2) as usize,
            fogs: random.pick(&[1, 2, 2]),
            active: random.between(40, 100) * SECOND,
            delays: (random.pick(&[2 * MS, 20 * MS, 100 * MS]), random.pick(&[5 * MS, 100 * MS, 3 * SECOND])),
            sense: random.pick(&[300 * MS, 1000 * MS]),
            interval_ms: random.pick(&[1_000, 5_000]),
            syncs: random.chance(85),
            budget_bytes: random.pick(&[1 << 30, 20_000, 6_000]),
            segment_bytes: random.pick(&[1 << 10, 2 << 20]),
            ring: random.pick(&[16, 1024, 1024]),
            forgets: false,
            sync_takes: 5 * MS,
            broker_window: random.pick(&[5, 20, 100]),
            broker_queue: random.pick(&[None, None, Some(20)]),
            duplicates: random.pick(&[0, 0, 10]),
            gather: random.pick(&[50 * MS, 1000 * MS, 5000 * MS]),
            faults: Vec::new(),
        };
        let count = random.between(0, 24);
        plan.faults = (0..count).map(|_| (random.below(plan.active), plan.fault(random))).collect();
        plan
    }

    /// The same with what few worlds have, by chances of its own, so that the other worlds stay as they are.
    #[must_use]
    pub fn with_rare(mut self, seed: u64) -> Self {
        let mut random = Random::new(!seed);
        match seed % 16 {
            2 | 10 => self.begin_on_full_disks(&mut random),
            3 | 11 => self.restore_backups(&mut random),
            4 => {
                self.restore_backups(&mut random);
                self.cut_power_of_copies(&mut random);
            }
            12 => self.restore_an_image(&mut random),
            5 | 13 => self.pair_twins(&mut random),
            6 | 14 => self.trust_the_broker(&mut random),
            _ => {}
        }
        self
    }

    fn begin_on_full_disks(&mut self, random: &mut Random) {
        for edge in 0..self.edges {
            self.faults.push((0, Fault::FillDisk { edge, bytes: random.below(20_000) as usize }));
            if self.syncs {
                let (at, steps) = (random.below(30 * SECOND), random.below(30) as usize);
                self.faults.push((at, Fault::CutPower { edge, steps }));
            }
        }
    }

    fn restore_backups(&mut self, random: &mut Random) {
        let edge = random.below(self.edges as u64) as usize;
        let mut at = 0;
        for _ in 0..random.between(1, 2) {
            at += random.between(SECOND, self.active / 3);
            self.faults.push((at, Fault::BackUp { edge }));
            at += random.below(self.active / 4);
            self.faults.push((at, Fault::Restore { edge }));
        }
    }

    /// Where nothing else goes wrong in between, so that what the original has sent is in the lake before the image runs.
    fn restore_an_image(&mut self, random: &mut Random) {
        let edge = random.below(self.edges as u64) as usize;
        let at = random.between(SECOND, self.active / 2);
        let then = at + random.between(SECOND, self.active / 4);
        self.faults.retain(|(fault_at, _)| *fault_at + LONGEST_FAULT < at || *fault_at > then + IMAGE_IS_OFF);
        self.faults.push((at, Fault::TakeImage { edge }));
        self.faults.push((then, Fault::RestoreImage { edge }));
        self.active += IMAGE_IS_OFF;
    }

    /// The power goes while a copy begins its new life.
    fn cut_power_of_copies(&mut self, random: &mut Random) {
        let restores = self.faults.clone().into_iter().filter_map(|(at, fault)| match fault {
            Fault::Restore { edge } if self.syncs => Some((at, edge)),
            _ => None,
        });
        let cuts = restores
            .map(|(at, edge)| (at, Fault::CutPowerAtStart { edge, steps: random.below(30) as usize }));
        self.faults.extend(cuts);
    }

    /// Nobody keeps a message but the broker, while a slow disk has the edge wait with its acknowledgements.
    fn trust_the_broker(&mut self, random: &mut Random) {
        self.forgets = true;
        self.sync_takes = 2 * SECOND;
        for _ in 0..random.between(1, 4) {
            let (at, edge) = (random.below(self.active), random.below(self.edges as u64) as usize);
            self.faults.push((at, Fault::CutBroker { edge }));
            let steps = random.below(5) as usize;
            self.faults.push((at + random.below(2 * SECOND), Fault::KillEdge { edge, steps }));
        }
    }

    fn pair_twins(&mut self, random: &mut Random) {
        self.edges = 2;
        self.twins = true;
        let devices = self.devices();
        for (_, fault) in &mut self.faults {
            if let Fault::CutDevice { device } | Fault::KillDevice { device } = fault {
                *device %= devices;
            }
        }
        self.faults.push((random.between(self.active / 4, self.active), Fault::PartTwins));
    }

    /// How many sites there are, each with a broker.
    pub fn sites(&self) -> usize {
        if self.twins { 1 } else { self.edges }
    }

    /// Which site and broker an edge has.
    pub fn site_of(&self, edge: usize) -> usize {
        edge % self.sites()
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.sites() * self.devices_of_a_site()
    }

    /// How many devices a site has: chargers and a meter.
    pub fn devices_of_a_site(&self) -> usize {
        self.chargers + 1
    }

    fn fault(&self, random: &mut Random) -> Fault {
        let edge = random.below(self.edges as u64) as usize;
        let device = random.below(self.devices() as u64) as usize;
        let steps = random.below(30) as usize;
        let of_kafka = [
            Fault::KafkaAway,
            Fault::RecreateTopic,
            Fault::ForgetOffsets,
            Fault::ForgetPositions,
            Fault::Replay,
            Fault::Rebalance,
        ];
        if self.kafka && random.chance(25) {
            return random.pick(&of_kafka);
        }
        match random.below(20) {
            0 | 1 => Fault::KillEdge { edge, steps },
            2 if self.syncs => Fault::KillAndCutPower { edge, steps },
            2 => Fault::KillEdge { edge, steps },
            3..=6 if self.syncs => Fault::CutPower { edge, steps },
            3..=6 => Fault::KillEdge { edge, steps },
            7 => Fault::FillDisk { edge, bytes: random.below(40_000) as usize },
            8 => Fault::FailDisk { edge },
            9 => Fault::SetClock { edge, by_ms: random.between(0, 7_200_000) as i64 - 3_600_000 },
            10 => Fault::CutBroker { edge },
            11 => Fault::RestartBroker { edge, kept: random.chance(50) },
            12 => Fault::CutDevice { device },
            13 => Fault::KillDevice { device },
            14 | 15 => Fault::CutUplink { edge },
            16 => Fault::NoUplink { edge },
            17 => Fault::KillFog { fog: random.below(self.fogs as u64) as usize },
            18 => Fault::CutLake,
            _ => Fault::FailLake,
        }
    }
}
