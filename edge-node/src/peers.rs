//! Who speaks to a node for a site: its devices and its systems, each with its login, its topics and its machine.

use std::sync::Arc;

use wattle_edge_core::{DeviceMachine, Part, PeerMachine, SiteModel, SystemMachine};
use wattle_site::SiteFile;
use wattle_wire::topic::{self, Channel};
use wattle_wire::{DeviceId, SiteId};

use crate::model::outlets;

/// Where somebody publishes and is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The site.
    pub site: SiteId,
    /// The login.
    pub device: DeviceId,
    /// Which connector of the device, where that has several.
    pub connector: Option<DeviceId>,
}

impl Address {
    /// The topic of one channel.
    pub fn topic(&self, channel: Channel) -> String {
        match &self.connector {
            Some(connector) if !is_of_device(channel) => {
                topic::connector_topic(&self.site, &self.device, connector, channel)
            }
            _ => topic::topic(&self.site, &self.device, channel),
        }
    }
}

/// Whether it is the device that speaks there, for all its connectors.
pub fn is_of_device(channel: Channel) -> bool {
    matches!(channel, Channel::Announce | Channel::Status)
}

/// Somebody who speaks to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name in rows.
    pub id: DeviceId,
    /// The topics.
    pub address: Address,
    /// What it is in the site's model.
    pub part: Part,
}

impl Peer {
    /// What it publishes on.
    pub fn channels(&self) -> &'static [Channel] {
        match self.part {
            Part::System(_) => &[Channel::Signal],
            _ => &Channel::UP,
        }
    }

    /// A machine that has heard of nothing.
    pub fn machine(&self, model: &Arc<SiteModel>) -> PeerMachine {
        match self.part {
            Part::System(index) => PeerMachine::System(Box::new(SystemMachine::new(model.clone(), index))),
            part => {
                PeerMachine::Device(Box::new(DeviceMachine::new(model.id.clone(), self.id.clone(), part)))
            }
        }
    }
}

/// All of a site: meters, chargers and their connectors, systems, each in the order of the file.
pub fn peers(site: &SiteFile) -> Vec<Peer> {
    let peer = |id: &DeviceId, device: &DeviceId, connector: Option<&DeviceId>, part| Peer {
        id: id.clone(),
        address: Address { site: site.id.clone(), device: device.clone(), connector: connector.cloned() },
        part,
    };
    let alone = |id: &DeviceId, part| peer(id, id, None, part);
    let meters = site.meters.iter().enumerate().map(|(index, meter)| alone(&meter.id, Part::Meter(index)));
    let outlets = outlets(site);
    let chargers = outlets.evses.iter().enumerate().map(|(index, evse)| {
        peer(&evse.charger.id, &evse.device, evse.connector.as_ref(), Part::Charger(index))
    });
    let systems =
        site.systems.iter().enumerate().map(|(index, system)| alone(&system.id, Part::System(index)));
    meters.chain(chargers).chain(systems).collect()
}
