//! The topics of the MQTT contract: `wattle/v1/<site>/<device>/<channel>`, and for a device of several connectors
//! `wattle/v1/<site>/<device>/<connector>/<channel>`.

use alloc::format;
use alloc::string::String;

use crate::{DeviceId, SiteId};

/// The first two levels of every topic: the product and the version of the contract.
pub const PREFIX: &str = "wattle/v1";

/// What a message on a topic is about. The first five go from a device up, two come down to it; a system signals and is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// What the device is. Retained.
    Announce,
    /// Whether it is connected; also its last will. Retained.
    Status,
    /// A numbered measurement.
    Reading,
    /// A numbered step in a vehicle's stay.
    Session,
    /// The answer to a setpoint.
    Confirm,
    /// Down: the most that the charger may draw.
    Setpoint,
    /// Down: numbered messages that are on the edge's disk.
    Ack,
    /// What a system tells the site from outside.
    Signal,
    /// Down: what became of a signal.
    Answer,
}

impl Channel {
    /// Those that a device publishes.
    pub const UP: [Self; 5] = [Self::Announce, Self::Status, Self::Reading, Self::Session, Self::Confirm];

    /// Whether the edge publishes it.
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Setpoint | Self::Ack | Self::Answer)
    }

    /// The last level of the topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Status => "status",
            Self::Reading => "reading",
            Self::Session => "session",
            Self::Confirm => "confirm",
            Self::Setpoint => "setpoint",
            Self::Ack => "ack",
            Self::Signal => "signal",
            Self::Answer => "answer",
        }
    }
}

/// The topic of one channel of one device.
pub fn topic(site: &SiteId, device: &DeviceId, channel: Channel) -> String {
    format!("{PREFIX}/{site}/{device}/{}", channel.as_str())
}

/// The topic of one channel of one connector of a device.
pub fn connector_topic(site: &SiteId, device: &DeviceId, connector: &DeviceId, channel: Channel) -> String {
    format!("{PREFIX}/{site}/{device}/{connector}/{}", channel.as_str())
}

/// What an edge subscribes to for a site: everything of every device. The two channels that come down are
/// the edge's own and are passed over when they come back.
pub fn site_filter(site: &SiteId) -> String {
    format!("{PREFIX}/{site}/#")
}

/// A topic taken apart: `(site, device, channel)`, or nothing if it is not one of ours. Of a connector the second is
/// `device/connector`.
pub fn parse(topic: &str) -> Option<(&str, &str, Channel)> {
    let rest = topic.strip_prefix(PREFIX)?.strip_prefix('/')?;
    let (rest, channel) = rest.rsplit_once('/')?;
    let (site, device) = rest.split_once('/')?;
    let (login, connector) = device.split_once('/').map_or((device, None), |(l, c)| (l, Some(c)));
    if site.is_empty() || login.is_empty() || connector.is_some_and(|c| c.is_empty() || c.contains('/')) {
        return None;
    }
    let channel = match channel {
        "announce" => Channel::Announce,
        "status" => Channel::Status,
        "reading" => Channel::Reading,
        "session" => Channel::Session,
        "confirm" => Channel::Confirm,
        "setpoint" => Channel::Setpoint,
        "ack" => Channel::Ack,
        "signal" => Channel::Signal,
        "answer" => Channel::Answer,
        _ => return None,
    };
    Some((site, device, channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_back_as_it_was_made() {
        let (site, device) = (SiteId::new("depot").expect("name"), DeviceId::new("cp-1").expect("name"));
        let others = [Channel::Setpoint, Channel::Ack, Channel::Signal, Channel::Answer];
        for channel in Channel::UP.into_iter().chain(others) {
            assert_eq!(parse(&topic(&site, &device, channel)), Some(("depot", "cp-1", channel)));
        }
    }

    #[test]
    fn the_topic_of_a_connector_has_its_name_behind_the_device_s() {
        let name = |name: &str| DeviceId::new(name).expect("name");
        let site = SiteId::new("depot").expect("name");
        let topic = connector_topic(&site, &name("box-1"), &name("2"), Channel::Reading);
        assert_eq!(topic, "wattle/v1/depot/box-1/2/reading");
        assert_eq!(parse(&topic), Some(("depot", "box-1/2", Channel::Reading)));
    }

    #[test]
    fn a_topic_of_another_shape_is_not_ours() {
        for topic in [
            "",
            "wattle/v1",
            "wattle/v1/s/d",
            "wattle/v2/s/d/reading",
            "wattle/v1/s/d/reading/x",
            "wattle/v1/s/d//reading",
            "wattle/v1/s//c/reading",
            "wattle/v1/s/d/c/x/reading",
            "wattle/v1//d/reading",
            "wattle/v1/s//reading",
            "wattle/v1/s/d/temperature",
            "wattle/v10/s/d/reading",
        ] {
            assert_eq!(parse(topic), None, "{topic}");
        }
    }
}
