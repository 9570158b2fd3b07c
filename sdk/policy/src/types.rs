//! What is handy to ask of the generated types.

use crate::{Charger, ChargerState, Description, PerPhase, Phase, Signals};

impl Charger {
    /// Whether a vehicle wants energy here and the charger can be reached: whether it takes part at all.
    ///
    /// ```
    /// use wattle_policy::{ChargerState, kit::{Site, charger}};
    ///
    /// let site = Site::new([20_000; 3]).asking("a").charger(charger("b").state(ChargerState::Available));
    /// let asks: Vec<bool> = site.snapshot().chargers.iter().map(|charger| charger.asks()).collect();
    /// assert_eq!(asks, [true, false]);
    /// ```
    pub fn asks(&self) -> bool {
        self.online && matches!(self.state, ChargerState::Waiting | ChargerState::Charging)
    }
}

impl PerPhase {
    /// The current on `phase`, mA.
    ///
    /// ```
    /// use wattle_policy::{PerPhase, Phase};
    ///
    /// assert_eq!(PerPhase::from([1_000, 2_000, 3_000]).on(Phase::L2), 2_000);
    /// ```
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
    ///
    /// ```
    /// let limit: wattle_policy::PerPhase = [16_000, 16_000, 10_000].into();
    /// assert_eq!(limit.l3, 10_000);
    /// ```
    fn from([l1, l2, l3]: [i32; 3]) -> Self {
        Self { l1, l2, l3 }
    }
}

impl Phase {
    /// All three, in order.
    ///
    /// ```
    /// use wattle_policy::Phase;
    ///
    /// assert_eq!(Phase::ALL.map(Phase::name), ["L1", "L2", "L3"]);
    /// ```
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::L3];

    /// Its name, for people.
    ///
    /// ```
    /// assert_eq!(wattle_policy::Phase::L3.name(), "L3");
    /// ```
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
    ///
    /// ```
    /// use wattle_policy::{Description, settings};
    ///
    /// assert_eq!(Description::default().settings_schema, settings::NONE_SCHEMA);
    /// ```
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
    ///
    /// ```
    /// assert_eq!(wattle_policy::Signals::default().price, None);
    /// ```
    fn default() -> Self {
        Self { price: None, surplus: None, grid_limit: None }
    }
}
