//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wattle_wire::{DeviceId, Milliamps, Phase, SiteId, UserId};

use crate::control::amps;

/// A charger or a meter on this machine: the firmware with a simulated world around it.
#[derive(Debug, Parser)]
#[command(name = "wattle-device", version)]
pub struct Cli {
    /// What kind of device.
    #[command(subcommand)]
    pub kind: Kind,
}

/// What kind of device.
#[derive(Debug, Subcommand)]
pub enum Kind {
    /// A charger.
    Charger(ChargerArgs),
    /// A meter.
    Meter(MeterArgs),
}

impl Kind {
    /// What both kinds share.
    pub fn common(&self) -> &Common {
        match self {
            Self::Charger(args) => &args.common,
            Self::Meter(args) => &args.common,
        }
    }
}

/// What both kinds share.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The site.
    #[arg(long)]
    pub site: SiteId,
    /// The device's id; in a fleet what its devices' ids begin with.
    #[arg(long)]
    pub id: DeviceId,
    /// The broker's host and port.
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub broker: String,
    /// A file with lines `device:password`. Without it no password is given.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
    /// The folder that survives a restart. Without it everything is forgotten, and the number of the start is
    /// the time of day in seconds.
    #[arg(long, conflicts_with = "fleet")]
    pub state: Option<PathBuf>,
    /// The longest time between two readings, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub interval_ms: u64,
    /// The most messages that wait for an acknowledgement.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub ring: u32,
    /// The most of them that are under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: u32,
    /// How long to wait for an acknowledgement before sending again, in milliseconds.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub resend_ms: u64,
    /// The phases that it is wired to, in its own order, as in `L1` or `L3,L1,L2`.
    #[arg(long, default_value = "L1", value_parser = phases)]
    pub phases: PhaseList,
    /// The simulated cable: where the meter of these chargers listens, on this machine.
    #[arg(long)]
    pub cable: Option<SocketAddr>,
    /// The voltage, in volts.
    #[arg(long, default_value_t = 230, value_parser = clap::value_parser!(u16).range(100..=400))]
    pub voltage: u16,
    /// The most that a current lies below what it could be, in milliamperes.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub noise_ma: u16,
    /// The most that the voltage wanders to either side, in millivolts.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub noise_mv: u16,
    /// A scenario file; the steps for this device are taken.
    #[arg(long)]
    pub scenario: Option<PathBuf>,
    /// When the scenario begins, in milliseconds since 1970; now, if not given.
    #[arg(long)]
    pub start_at: Option<u64>,
    /// Print each measurement, as it truly is, as a line of JSON.
    #[arg(long)]
    pub trace_json: bool,
    /// So many devices in this process, `<id>-1` to `<id>-N`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub fleet: Option<u32>,
    /// Readings per second of the whole fleet; takes the place of the interval.
    #[arg(long, requires = "fleet", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
}

/// The command line of a charger.
#[derive(Debug, Clone, Args)]
pub struct ChargerArgs {
    /// What both kinds share.
    #[command(flatten)]
    pub common: Common,
    /// The least that a vehicle is offered, in amperes.
    #[arg(long, default_value = "6", value_parser = amps)]
    pub min: Milliamps,
    /// The most that the charger gives, in amperes.
    #[arg(long, default_value = "32", value_parser = amps)]
    pub max: Milliamps,
    /// What may be drawn without a setpoint, in amperes.
    #[arg(long, default_value = "0", value_parser = amps)]
    pub safe: Milliamps,
    /// A vehicle stands there, at each connector, from the beginning, started by this user.
    #[arg(long)]
    pub plugged: Option<UserId>,
    /// The connectors of a charger that has several, as in `1,2`. Each has a vehicle, a register and a state of its own; a
    /// command on standard input begins with the connector it is for, as in `2 plug alice`.
    #[arg(long, value_delimiter = ',', conflicts_with = "fleet")]
    pub connectors: Vec<DeviceId>,
}

/// The command line of a meter.
#[derive(Debug, Clone, Args)]
pub struct MeterArgs {
    /// What both kinds share.
    #[command(flatten)]
    pub common: Common,
    /// What the home draws on L1, in amperes.
    #[arg(long, default_value = "0", value_parser = amps)]
    pub load: Milliamps,
}

/// One to three different phases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseList(pub Vec<Phase>);

fn phases(text: &str) -> Result<PhaseList, String> {
    let mut list = Vec::new();
    for name in text.split(',') {
        let phase = match name {
            "L1" => Phase::L1,
            "L2" => Phase::L2,
            "L3" => Phase::L3,
            _ => return Err(format!("{name:?} is not a phase; use L1, L2, L3")),
        };
        if list.contains(&phase) {
            return Err(format!("{name} is named twice"));
        }
        list.push(phase);
    }
    Ok(PhaseList(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &str, expected: &str) {
        let words = ["wattle-device"].into_iter().chain(args.split_whitespace());
        match Cli::try_parse_from(words) {
            Ok(cli) => panic!("{args} was taken as {cli:?}"),
            Err(e) => {
                assert!(e.to_string().contains(expected), "{args}: {e}");
                assert_eq!(e.exit_code(), 2);
            }
        }
    }

    #[test]
    fn a_command_line_that_cannot_be_used_is_refused_with_the_reason() {
        check("charger --site s", "--id");
        check("charger --site a/b --id cp-1", "holds '/'");
        check("charger --site s --id cp-1 --phases L1,L1", "named twice");
        check("charger --site s --id cp-1 --min six", "not a number of amperes");
        check("meter --site s --id m --rate 5", "--fleet");
        check("charger --site s --id cp --connectors 1,2 --fleet 3", "--fleet");
        check("charger --site s --id cp --connectors 1,a/b", "holds '/'");
        check("meter --site s --id m --plugged x", "--plugged");
        check("toaster", "toaster");
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let cli = Cli::try_parse_from("wattle-device charger --site s --id cp-1".split(' ')).expect("enough");
        let Kind::Charger(args) = cli.kind else { panic!("a charger") };
        assert_eq!((args.min.0, args.max.0, args.safe.0), (6000, 32_000, 0));
        assert_eq!((args.common.interval_ms, args.common.phases.0), (1000, vec![Phase::L1]));
    }
}
