//! What truly flowed, told by the devices themselves, and promise 1 over all of it.
//!
//! An excess begins when what the chargers may draw, plus the home's load, passes the limit. The promise allows it only
//! after a rise of the home's load, and for at most one control interval after the reading that shows it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::script::{CHARGERS, LIMIT_MA, METER};

/// What a device has told last.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Line {
    device: String,
    at_us: i64,
    event: String,
    state: Option<String>,
    limit_ma: Option<i32>,
    draw_ma: Option<[i32; 3]>,
    home_ma: Option<[i32; 3]>,
    total_ma: Option<[i32; 3]>,
    register_wh: i64,
    unacknowledged: Option<u64>,
    numbered: Option<u64>,
}

/// The end of one device.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Its energy register, Wh.
    pub register_wh: i64,
    /// Messages that were not acknowledged.
    pub unacknowledged: u64,
    /// The last sequence number that it gave.
    pub numbered: u64,
}

/// One time in which the limit was passed.
#[derive(Debug, Clone, Copy)]
pub struct Excess {
    /// Whether the home's load had risen as it began.
    pub after_rise: bool,
    /// How long it lasted, µs.
    pub lasted_us: i64,
}

/// Everything that the devices have told.
pub struct Truth {
    lines: Receiver<String>,
    last: BTreeMap<String, Line>,
    history: Vec<Line>,
}

impl Truth {
    /// Listens to `lines`.
    pub fn new(lines: Receiver<String>) -> Self {
        Self { lines, last: BTreeMap::new(), history: Vec::new() }
    }

    /// Takes what is told during `span`.
    pub fn follow(&mut self, span: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + span;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(text) => {
                    let line: Line =
                        serde_json::from_str(&text).with_context(|| format!("a device said {text}"))?;
                    self.last.insert(line.device.clone(), line.clone());
                    self.history.push(line);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// What each charger may draw now, mA; 0 where nobody asks.
    pub fn limits_ma(&self) -> [i32; 3] {
        CHARGERS.map(|(id, _)| self.last.get(id).map_or(0, Line::may_draw_by_setpoint))
    }

    /// The total on L1 now, mA.
    pub fn total_ma(&self) -> i32 {
        self.last.get(METER).and_then(|line| line.total_ma).map_or(0, |total| total[0])
    }

    /// How many lines were told.
    pub fn told(&self) -> usize {
        self.history.len()
    }

    /// How each device has ended; none for one that hasn't said so.
    pub fn ends(&self) -> BTreeMap<&'static str, Option<End>> {
        let end = |id| {
            let line = self.history.iter().rev().find(|line| line.device == id && line.event == "stopped")?;
            Some(End {
                register_wh: line.register_wh,
                unacknowledged: line.unacknowledged?,
                numbered: line.numbered?,
            })
        };
        CHARGERS.iter().map(|(id, _)| *id).chain([METER]).map(|id| (id, end(id))).collect()
    }

    /// Every time in which the limit was passed.
    pub fn excesses(&self) -> Vec<Excess> {
        let mut lines: Vec<&Line> = self.history.iter().filter(|line| line.event == "measured").collect();
        lines.sort_by_key(|line| line.at_us);
        let mut now: BTreeMap<&str, &Line> = BTreeMap::new();
        let (mut excesses, mut begun, mut home_ma) = (Vec::new(), None, 0);
        for line in lines {
            now.insert(&line.device, line);
            let home_now_ma = line.home_ma.map_or(home_ma, |home| home[0]);
            let rises = home_now_ma > home_ma;
            home_ma = home_now_ma;
            let may_draw_ma: i32 =
                CHARGERS.iter().filter_map(|(id, _)| now.get(id)).map(|l| l.may_draw()).sum();
            match (may_draw_ma + home_ma > LIMIT_MA, begun) {
                (true, None) => begun = Some((line.at_us, rises)),
                (false, Some((since, after_rise))) => {
                    excesses.push(Excess { after_rise, lasted_us: line.at_us - since });
                    begun = None;
                }
                _ => {}
            }
        }
        if let Some((_, after_rise)) = begun {
            excesses.push(Excess { after_rise, lasted_us: i64::MAX });
        }
        excesses
    }
}

impl Line {
    /// A charger without a vehicle that asks is at 0, whatever it was told before.
    fn may_draw_by_setpoint(&self) -> i32 {
        let asks = matches!(self.state.as_deref(), Some("waiting" | "charging"));
        if asks { self.limit_ma.unwrap_or(0) } else { 0 }
    }

    fn may_draw(&self) -> i32 {
        self.may_draw_by_setpoint().max(self.draw_ma.map_or(0, |draw| draw[0]))
    }
}
