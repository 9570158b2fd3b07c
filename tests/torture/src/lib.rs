//! Kills the processes of the whole line at random moments, and counts what the lake has of what was acknowledged.
//!
//! ```text
//! devices -> Mosquitto -> edge -> fog            the way `direct`
//! devices -> Mosquitto -> edge -> Kafka -> fog   the way `kafka`
//! ```
//! Each is a process with a folder on the disk and a port of its own, with the configuration that ships as far as it
//! concerns what is lost. The devices are one process: real device machines over real MQTT connections, which write down
//! in a [`book`] what they have made before it leaves them, and what was acknowledged when they hear of it. They are
//! killed too, and begin a new book with each start.
//!
//! A [`plan`] of blows is made from a seed: what is killed (SIGKILL), how many at once, whether again while it starts,
//! what is stopped and continued (SIGSTOP, SIGCONT), and after how long. Some blows wait until readings are acknowledged
//! again since the last, or until the lake has got further, so that also a slow machine is hit at work. After the last
//! blow everything is up; then
//! - every device has to be acknowledged a reading of its own again (nothing is wedged),
//! - the lake has to reach the end of the journal,
//! - every process has to stop when it is told to,
//! - and [`check`] compares book and lake: each acknowledged message in it once with its values, none twice, none that
//!   nobody has sent, every number of each journal there or in a gap.
//!
//! The seed fixes the plan, not what the processes do meanwhile: the same seed may find something only at times. What
//! a run has left is in its folder.

pub mod book;
pub mod cast;
pub mod check;
pub mod devices;
pub mod lake;
pub mod node;
pub mod place;
pub mod plan;
pub mod play;
mod record;
pub mod report;
pub mod tail;

/// The site that the devices belong to.
pub const SITE: &str = "torture";
/// The edge's name.
pub const EDGE: &str = "torture-edge";
/// The device that is a meter.
pub const METER: &str = "meter-1";
/// How many chargers there are beside it.
pub const CHARGERS: usize = 15;

/// Every device's name.
pub fn device_names() -> impl Iterator<Item = String> {
    chargers().chain([METER.to_owned()])
}

/// Every charger's name.
pub fn chargers() -> impl Iterator<Item = String> {
    (1..=CHARGERS).map(|n| format!("cp-{n}"))
}

/// The password of a user of the broker.
pub fn password(user: &str) -> String {
    format!("pw-{user}")
}
