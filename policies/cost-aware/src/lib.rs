//! Cost aware: charge in the cheapest hours before departure.
//!
//! Who asks stands in line: highest priority first, then who leaves first, then who arrived and who was registered
//! first. At each decision all book hours anew, in that order: each vehicle the cheapest hours in which the
//! circuits above it have room, until it has what it still needs, to be ready `spare_s` before it leaves. Who has
//! booked the present hour charges, in the order of the line with as much as fits; the others wait. Where time is
//! short every hour is booked, so an urgent vehicle charges now at any price.
//!
//! - Later hours are taken to have `expected_free_percent` of each circuit's limit. Time of which the price isn't known
//!   is booked last.
//! - Without a price now, all that need energy charge as with `fair-share`.
//! - What nobody has said of departure and energy is assumed from the arrival on. A vehicle that has the
//!   energy that was only assumed charges in the cheapest hour that is known, with what the others leave. One that
//!   has what was asked for doesn't charge.
//!
//! Keeps no state: the same needs book the same hours again.

mod hours;

use wattle_policy::room::{self, Asking, Room};
use wattle_policy::settings::{self, Setting, Values};
use wattle_policy::stay::{self, Assumed, VOLTS, Wish};
use wattle_policy::text::span;
use wattle_policy::{Description, Need, Plan, Policy, Snapshot};

use hours::{Booked, Hours, Want};

/// The settings that it takes.
pub const SETTINGS: &[Setting] = &[
    stay::ASSUMED_STAY_S,
    stay::ASSUMED_ENERGY_WH,
    Setting::number("spare_s", 900, 0..=14_400, "s", "how long before it leaves a vehicle should be ready"),
    Setting::number(
        "expected_free_percent",
        75,
        1..=100,
        "%",
        "how much of each circuit's limit is taken to be free later",
    ),
];

/// The policy.
pub struct CostAware;

impl Policy for CostAware {
    fn describe() -> Description {
        Description {
            name: "cost-aware".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            needs: vec![Need::Price],
            settings_schema: settings::schema(SETTINGS),
            ..Description::default()
        }
    }

    fn validate_settings(settings: &str) -> Vec<String> {
        settings::faults(SETTINGS, settings)
    }

    fn decide(snapshot: &Snapshot, settings: &str, _state: &[u8]) -> Result<Plan, String> {
        let values = settings::read(SETTINGS, settings).map_err(|faults| faults.join("; "))?;
        let assumed = Assumed::read(&values);
        let wish = |one: &Asking<'_>| assumed.wish(one.charger, snapshot.now);
        let mut line = room::asking(snapshot)?;
        line.sort_by_cached_key(|one| {
            let (priority, arrived, index) = one.by_arrival();
            (priority, wish(one).stay_s, arrived, index)
        });
        let wishes: Vec<Wish> = line.iter().map(wish).collect();
        let turns = turns(snapshot, &line, &wishes, &values);
        let mut room = Room::new(snapshot, &line);
        share(&mut room, &turns);
        let reason = |position: usize| turns[position].told(room.reason(position));
        Ok(Plan { allocations: room.allocations(reason), state: Vec::new() })
    }
}

wattle_policy::export!(CostAware);

/// Whether a vehicle charges now, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has booked the present hour.
    Now,
    /// It has, and won't have all that it needs in time.
    Late,
    /// Its first hour begins in so many seconds.
    Waits(i64),
    NoHourLeft,
    NoPrice,
    /// It has what was assumed, and no lower price is known.
    More,
    HasItsEnergy,
}

impl Turn {
    fn told(self, reason: String) -> String {
        match self {
            Self::Now => reason + "; one of its cheapest hours",
            Self::Late => reason + "; urgent, at any price",
            Self::Waits(seconds) => {
                ["standby: waits for a lower price, ", &minutes(seconds), " from now"].concat()
            }
            Self::NoHourLeft => "standby: those before it have booked all hours until it leaves".into(),
            Self::NoPrice => reason + "; no price is known",
            Self::More => reason + "; no lower price is known",
            Self::HasItsEnergy => "standby: it has what was asked for".into(),
        }
    }
}

fn minutes(seconds: i64) -> String {
    if seconds < 60 { span(seconds) } else { span(seconds / 60 * 60) }
}

fn turns(snapshot: &Snapshot, line: &[Asking<'_>], wishes: &[Wish], values: &Values) -> Vec<Turn> {
    let last_s = wishes.iter().map(|wish| wish.stay_s).max().unwrap_or(0);
    let mut hours = Hours::of(snapshot, last_s, values.number("expected_free_percent"));
    let spare_s = values.number("spare_s");
    let turn = |(one, wish): (&Asking<'_>, &Wish)| match (&mut hours, wish.energy_wh, wish.is_stated) {
        (_, 0, true) => Turn::HasItsEnergy,
        (None, ..) => Turn::NoPrice,
        (Some(hours), 0, false) => match hours.cheapest_s() {
            0 => Turn::More,
            seconds => Turn::Waits(seconds),
        },
        (Some(hours), ..) => {
            let ready_s = wish.stay_s.saturating_sub(spare_s);
            let want = Want { charge: charge(one, wish), most: one.alone(snapshot), ready_s };
            match hours.book(one, want) {
                Booked { first_s: None, .. } => Turn::NoHourLeft,
                Booked { first_s: Some(0), missing: 0 } => Turn::Now,
                Booked { first_s: Some(0), .. } => Turn::Late,
                Booked { first_s: Some(seconds), .. } => Turn::Waits(seconds),
            }
        }
    };
    line.iter().zip(wishes).map(turn).collect()
}

/// The energy that a vehicle needs as charge on each of its phases, mA x s, rounded up.
fn charge(one: &Asking<'_>, wish: &Wish) -> i64 {
    let volts = VOLTS * one.loads().max(1);
    let volt_charge = wish.energy_wh.saturating_mul(3_600_000);
    volt_charge / volts + i64::from(volt_charge % volts > 0)
}

fn share(room: &mut Room<'_>, turns: &[Turn]) {
    let whose =
        |wanted: &'static [Turn]| (0..turns.len()).filter(move |position| wanted.contains(&turns[*position]));
    for position in whose(&[Turn::Now, Turn::Late]) {
        room.admit(position);
        room.fill(position);
    }
    let evenly: Vec<usize> =
        whose(&[Turn::NoPrice, Turn::More]).filter(|position| room.admit(*position)).collect();
    room.fill_evenly(&evenly);
}
