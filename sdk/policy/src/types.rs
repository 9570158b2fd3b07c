//! What is handy to ask of the generated types.

use crate::{Charger, ChargerState, Description, PerPhase, Phase, Signals};

impl Charger {
    /// Whether a vehicle wants energy here and the charger can be reached: whether it takes part at all.
    pub fn asks(&self) -> bool {
        self.online && matches!(self.state, ChargerState::Waiting | ChargerState::Charging)
    }
}

impl PerPhase {
    /// The current on `phase`, mA.
    pub fn on(&self, phase: Phase) -> i32 {
        match phase {
            Phase::L1 => self.l1,
            Phase::L2 => self.l2,
            Phase::L3 => self.l3,
        }
    }
}

impl From<[i32; 3]> for PerPhase {
    /// L1, L2, L3, in mA.
    fn from([l1, l2, l3]: [i32; 3]) -> Self {
        Self { l1, l2, l3 }
    }
}

impl Phase {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::L3];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        }
    }
}

impl Default for Description {
    /// A policy without name, needs and settings that asks for the host's defaults.
    fn default() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            needs: Vec::new(),
            settings_schema: crate::settings::NONE_SCHEMA.into(),
            memory: 0,
            fuel: 0,
        }
    }
}

impl Default for Signals {
    /// Nothing is known.
    fn default() -> Self {
        Self { price: None, surplus: None, grid_limit: None }
    }
}
