//! The firmware on Linux: the machines of `wattle-device-core` behind the same `embedded-svc` traits that a
//! board has, implemented over rumqttc ([`mqtt`]) and files ([`storage`]), with a simulated world in place of
//! relay, sensors and cable ([`world`]).
//!
//! Everything runs on one thread: a device is a task of its own, and a fleet is many of them. MQTT goes through
//! a bounded queue per device; what doesn't fit is dropped, and the machine sends numbered messages again.
//! Storage is written in place, with its fsync, as a board does; a fleet keeps it in memory.

pub mod args;
pub mod cable;
pub mod control;
pub mod device;
pub mod fleet;
pub mod mqtt;
pub mod storage;
pub mod world;
